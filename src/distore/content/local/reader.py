"""LocalReader: positioned reads from one committed file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from distore._internal.oserrors import translated
from distore.errors import FailedPrecondition, OutOfRange

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from distore.oci.digest import Digest


class LocalReader:
    """A Reader; ``fileno`` is there for sendfile and its like."""

    def __init__(self, digest: Digest, fd: int) -> None:
        self._digest = digest
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def read_at(self, length: int, offset: int, /) -> bytes:
        if length < 0 or offset < 0:
            raise OutOfRange(f"content {self._digest}: cannot read {length} bytes at {offset}")
        space = bytearray(max(0, min(length, self.size - offset)))
        return bytes(memoryview(space)[: self.readinto_at(space, offset)])

    def readinto_at(self, buffer: WriteableBuffer, offset: int, /) -> int:
        if offset < 0:
            raise OutOfRange(f"content {self._digest}: cannot read at {offset}")
        view = memoryview(buffer).cast("B")
        done = 0
        with translated(f"content {self._digest}"):
            while done < len(view):
                size = os.preadv(self.fileno(), [view[done:]], offset + done)
                if not size:
                    break
                done += size
        return done

    def fileno(self) -> int:
        """The open file; valid until ``close``."""
        if self._fd < 0:
            raise FailedPrecondition(f"content {self._digest}: read from a closed reader")
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> LocalReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
