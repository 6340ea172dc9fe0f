"""An image whose layers hold files like those of a root filesystem, of a size that is asked for."""

from __future__ import annotations

import hashlib
import io
import math
import random
import sysconfig
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import IO, cast

import peers

POOL_SIZE = 64_000_000  # bytes of programs and texts that files are cut from
NOISE = 0.38  # of the bytes are those of pictures and archives, which do not compress
MEDIAN, SIGMA = 4_000, 2.15  # bytes; log-normal, 40 kB in the mean, as in Debian's packages
MAX_FILE = 40_000_000  # bytes
FILES_A_FOLDER = 12
LINKS = 0.06  # of the names are symbolic links


def make_image(folder: Path, name: str, sizes: Sequence[int]) -> peers.Image:
    """An OCI layout with one image under the tag 1, whose layers hold that many bytes of files."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    # Processes, so that what they hold counts in nobody's peak memory.
    with ProcessPoolExecutor() as processes:
        jobs = [processes.submit(_layer, folder, number, size) for number, size in enumerate(sizes)]
        layers = [job.result() for job in jobs]
    return peers.describe_image(folder, name, layers)


def _pool() -> bytes:
    """Programs and texts of this Python's, in a fixed order."""
    base = Path(sysconfig.get_path("stdlib"))
    found, size = [], 0
    for path in sorted(base.rglob("*")):
        if path.is_file() and not path.is_symlink() and size < POOL_SIZE:
            found.append(path.read_bytes())
            size += len(found[-1])
    return b"".join(found)


class _Packer(io.RawIOBase):
    """Takes a tar file; writes it compressed, and keeps both digests."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._pack = zlib.compressobj(6, wbits=31)
        self.packed, self.plain = hashlib.sha256(), hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # tarfile writes bytes
        self.plain.update(data)
        self._emit(self._pack.compress(data))
        return len(data)

    def finish(self) -> None:
        self._emit(self._pack.flush())

    def _emit(self, data: bytes) -> None:
        self.packed.update(data)
        self._out.write(data)


def _layer(folder: Path, number: int, size: int) -> tuple[str, str]:
    """Write a layer; the hex digests of it and of what is in it."""
    path = folder / f"layer-{number}"
    with path.open("wb") as out:
        packer = _Packer(out)
        with tarfile.open(fileobj=cast(IO[bytes], packer), mode="w|", bufsize=1 << 20) as tar:
            for info, data in _members(random.Random(number), f"layer{number}", size):
                tar.addfile(info, io.BytesIO(data) if data else None)
        packer.finish()
    path.rename(folder / "blobs" / "sha256" / packer.packed.hexdigest())
    return packer.packed.hexdigest(), packer.plain.hexdigest()


def _members(numbers: random.Random, top: str, size: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    pool = _pool()
    left, folder, count = size, "", 0
    while left > 0:
        if count % FILES_A_FOLDER == 0:
            # Three deep, as /usr/share/doc/NAME is.
            folder = f"usr/share/{top}/{count // 400:03}/{count // FILES_A_FOLDER:05}"
            yield _info(folder, tarfile.DIRTYPE, numbers), b""
        count += 1
        if numbers.random() < LINKS:
            link = _info(f"{folder}/link-{count:06}", tarfile.SYMTYPE, numbers)
            link.linkname = f"file-{count - 1:06}"
            yield link, b""
            continue
        data = _content(
            pool, numbers, min(left, MAX_FILE, int(numbers.lognormvariate(math.log(MEDIAN), SIGMA)))
        )
        left -= len(data)
        info = _info(f"{folder}/file-{count:06}", tarfile.REGTYPE, numbers)
        info.size = len(data)
        yield info, data


def _content(pool: bytes, numbers: random.Random, size: int) -> bytes:
    if numbers.random() < NOISE:
        return numbers.randbytes(size)
    pieces, left = [], size
    while left > 0:
        at = numbers.randrange(len(pool) - 1)
        pieces.append(pool[at : at + min(left, 262_144)])
        left -= len(pieces[-1])
    return b"".join(pieces)


def _info(name: str, kind: bytes, numbers: random.Random) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mtime = kind, 1_600_000_000 + numbers.randrange(100_000_000)
    info.mode = 0o755 if kind == tarfile.DIRTYPE or numbers.random() < 0.1 else 0o644
    return info
