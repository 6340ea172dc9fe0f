"""Images with a real root filesystem: debootstrap and apt make it, umoci and GNU tar pack it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import struct
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.interop.conftest import program

TAG = "real"
NAME = f"rootfs.example/debian:{TAG}"
PACKAGES = ("less", "procps")
SPARSE_SIZE = 64 * 1024 * 1024  # bytes
ODD_TIME = 1_234_567_890_123_456_789  # nanoseconds since the epoch
# Version 2, effective: cap_net_raw (13) and cap_net_admin (12) permitted.
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 12 | 1 << 13, 0, 0, 0)
_OBJECT, _USER, _USER_NAMED, _GROUP, _MASK, _OTHER, _NOBODY = 1, 1, 2, 4, 16, 32, 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class RealImage:
    """An image in an OCI layout; ``archive`` is the same as one file. ``layers`` counts them."""

    layout: Path
    tag: str
    layers: int

    @property
    def image(self) -> str:
        """As umoci names it."""
        return f"{self.layout}:{self.tag}"

    def archive(self, path: Path) -> Path:
        """The layout as one tar file."""
        subprocess.run(["tar", "-C", str(self.layout), "-cf", str(path), "."], check=True)
        return path


def acl(mode: int, *, user: int, rights: int) -> bytes:
    """A POSIX ACL, as ``system.posix_acl_access`` holds it, with one more user in it."""
    owner, group, other = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    entries = [(_USER, owner, _NOBODY), (_USER_NAMED, rights, user), (_GROUP, group, _NOBODY)]
    entries += [(_MASK, group | rights, _NOBODY), (_OTHER, other, _NOBODY)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def mirror() -> tuple[str, str]:
    """Where apt gets Debian's main packages from on this machine, and the release's name."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    template = "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)"
    command = [program("apt-get"), "indextargets", "--format", template]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        uri, *rest = line.split()
        if rest == [codename, "main", "Debian"]:
            return uri, codename
    # Before the first `apt-get update` apt knows of no origin; the sources are there all the same.
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        for line in path.read_text().splitlines() if path.is_file() else ():
            words = line.split()
            if words[:1] == ["URIs:"] or (words[:1] == ["deb"] and codename in words):
                return next(word for word in words if "://" in word), codename
    return "", codename


def give_up(why: str) -> None:
    """In CI there has to be a mirror; elsewhere the test is skipped, aloud."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


def _proxies() -> dict[str, str]:
    """apt's own way out, for debootstrap, which does not read apt's settings."""
    command = ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    proxy = said.partition("PROXY='")[2].rstrip("'\n")
    return {"http_proxy": proxy} if proxy else {}


class Builder:
    """A bundle of umoci's whose rootfs is changed and packed, layer by layer."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.layout, self.rootfs = base / "layout", base / "bundle" / "rootfs"
        self.layers = 0
        self._umoci = program("umoci")
        self._image = f"{self.layout}:{TAG}"

    def call(self, *words: str) -> None:
        done = subprocess.run(words, capture_output=True, timeout=300, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr.decode()[-2000:]}"

    def begin(self) -> None:
        self.call(self._umoci, "init", "--layout", str(self.layout))
        self.call(self._umoci, "new", "--image", self._image)
        config = ["--config.cmd", "/bin/sh", "--config.env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        self.call(self._umoci, "config", "--image", self._image, *config)
        self.call(self._umoci, "unpack", "--image", self._image, str(self.rootfs.parent))

    def pack(self, words: str) -> None:
        """What changed since the last time becomes a layer."""
        comment = ["--refresh-bundle", "--history.created_by", words]
        self.call(self._umoci, "repack", *comment, "--image", self._image, str(self.rootfs.parent))
        self.layers += 1

    def add(self, tar: Path) -> None:
        """A layer as it is; the rootfs here does not have it."""
        self.call(self._umoci, "raw", "add-layer", "--image", self._image, str(tar))
        self.layers += 1


def bootstrap(builder: Builder) -> None:
    """Debian's minimal root filesystem, of the release of this machine."""
    uri, codename = mirror()
    if not uri:
        give_up("apt knows no mirror of Debian on this machine")
    command = [program("debootstrap"), "--variant=minbase", codename, str(builder.rootfs), uri]
    environment = {**os.environ, **_proxies()}
    done = subprocess.run(command, capture_output=True, timeout=600, env=environment, check=False)
    if done.returncode:
        give_up(f"debootstrap cannot make a {codename}: {(done.stdout + done.stderr).decode()[-500:]}")
    shutil.rmtree(builder.rootfs / "var/cache/apt/archives")


def install(builder: Builder) -> None:
    """Two packages, by the apt of the root filesystem."""
    (builder.rootfs / "var/cache/apt/archives/partial").mkdir(parents=True)
    apt = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
    environment = {**_proxies(), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["chroot", str(builder.rootfs), *apt], capture_output=True, timeout=300, env=environment, check=False
    )
    if done.returncode:
        give_up(f"apt cannot install {PACKAGES}: {done.stderr.decode()[-500:]}")


def change(root: Path) -> None:
    """Deletions, replacements and all kinds of files."""
    for name in ("usr/share/doc", "usr/share/man", "var/lib/apt/lists"):
        shutil.rmtree(root / name)  # a whole folder, thousands of files
    (root / "var/lib/apt/lists").mkdir()  # and one that comes back empty
    (root / "usr/bin/perl").unlink()  # one name of several
    (root / "etc/issue").write_text("replaced\n")
    (root / "etc/issue").chmod(0o600)
    (root / "etc/debian_version").unlink()
    (root / "etc/debian_version").symlink_to("/usr/lib/os-release")
    (root / "usr/bin/less").chmod(0o4711)
    os.chown(root / "var/spool", 33, 65_534)
    # A folder where a file was; hand_layer has the other way round.
    (root / "etc/issue.net").unlink()
    (root / "etc/issue.net").mkdir()
    (root / "etc/issue.net/inside").write_text("a file in a folder that was a file\n")
    kinds = root / "srv/kinds"
    kinds.mkdir()
    os.mkfifo(kinds / "fifo", 0o640)
    os.mknod(kinds / "null", 0o20666, os.makedev(1, 3))
    os.mknod(kinds / "block", 0o60660, os.makedev(259, 1_000_000))
    (kinds / "first").write_bytes(b"one inode\n" * 1000)
    for name in ("second", "third"):
        os.link(kinds / "first", kinds / name)
    (kinds / "to-nowhere").symlink_to("/does/not/exist")
    (kinds / "empty").touch()
    (kinds / ("n" * 200)).write_text("a long name\n")
    (kinds / "sticky").mkdir()
    (kinds / "sticky").chmod(0o3777)
    attributes(root)


def attributes(root: Path) -> None:
    """Capabilities, ACLs, and an attribute of a user's."""
    kinds = root / "srv/kinds"
    ping = kinds / "capable"
    ping.write_bytes(b"#!/bin/true\n")
    ping.chmod(0o755)
    os.setxattr(ping, "security.capability", CAPABILITY)
    (kinds / "listed").write_text("for one more\n")
    os.setxattr(kinds / "listed", "system.posix_acl_access", acl(0o640, user=1000, rights=6))
    (kinds / "listed-folder").mkdir()
    os.setxattr(kinds / "listed-folder", "system.posix_acl_default", acl(0o750, user=1000, rights=7))
    os.setxattr(kinds / "empty", "user.distore.test", bytes(range(256)))
    os.setxattr(root / "srv", "user.folder", b"of a folder")


def change_again(root: Path) -> None:
    """What a later layer does to an earlier one's odd files."""
    kinds = root / "srv/kinds"
    (kinds / "second").unlink()  # one name of three: the others stay one inode
    (kinds / "fifo").unlink()
    (kinds / "fifo").write_text("no fifo any more\n")
    os.removexattr(kinds / "empty", "user.distore.test")
    (kinds / "null").unlink()


def tar_layer(base: Path) -> Path:
    """A layer of GNU tar's in its PAX format: holes, nanoseconds, names of 300 bytes, twins."""
    tree, layer = base / "tree", base / "pax.tar"
    deep = tree / "opt" / ("d" * 150) / ("e" * 150)
    deep.mkdir(parents=True)
    (deep / "file").write_text("far down\n")
    os.link(deep / "file", tree / "opt" / "twin")
    with (tree / "opt/sparse").open("wb") as file:
        for at in (0, 1_000_000, SPARSE_SIZE - 4096):
            file.seek(at)
            file.write(b"data" * 1024)
    (tree / "opt/übung-日本").write_text("no ASCII\n")
    (tree / "opt/odd-time").write_text("nanoseconds\n")
    os.setxattr(tree / "opt/odd-time", "user.binary", b"a\0=\n\xff")
    os.chown(tree / "opt/odd-time", 4_000_000, 3_000_000)  # more than the old header holds
    (tree / "opt/link").symlink_to("x" * 200)
    for folder, _, files in os.walk(tree, topdown=False):
        for name in files:
            os.utime(f"{folder}/{name}", ns=(ODD_TIME, ODD_TIME), follow_symlinks=False)
        os.utime(folder, ns=(ODD_TIME, ODD_TIME + 1))
    command = ["tar", "-C", str(tree), "--format=pax", "--sparse", "--xattrs", "--xattrs-include=user.*"]
    # The access time would make each layer another.
    command += ["--numeric-owner", "--sort=name", "--pax-option=delete=atime,delete=ctime"]
    subprocess.run([*command, "-cf", str(layer), "opt"], check=True)
    return layer


class HandTar:
    """A layer by hand, in GNU's format."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - `with` closes it

    def __enter__(self) -> HandTar:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def put(self, name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size, info.mtime = kind, link, len(data), 1_500_000_000
        info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
        self._tar.addfile(info, io.BytesIO(data))


def hand_layer(path: Path) -> Path:
    """An opaque folder, files where folders were, a name that comes twice."""
    with HandTar(path) as tar:
        tar.put("usr/lib/locale", kind=tarfile.DIRTYPE)
        tar.put("usr/lib/locale/.wh..wh..opq")
        tar.put("usr/lib/locale/only", b"what was here is gone\n")
        tar.put("usr/share/lintian", b"a file that was a folder\n")
        tar.put("etc/issue.net", b"a file again\n")
        tar.put("srv", kind=tarfile.DIRTYPE)
        tar.put("srv/" + "g" * 150, b"a name in GNU's way\n")
        tar.put("srv/twice", b"first")
        tar.put("srv/twice", b"second, and longer")
        tar.put("opt", kind=tarfile.DIRTYPE)
        tar.put("opt/.wh.odd-time")
        tar.put("opt/.wh.never-was-there")
    return path


def build(base: Path) -> RealImage:
    """The image with a real root filesystem, in six layers; takes one or two minutes."""
    builder = Builder(base)
    builder.begin()
    bootstrap(builder)
    builder.pack("debootstrap")
    install(builder)
    builder.pack("apt-get install")
    change(builder.rootfs)
    builder.pack("changes")
    change_again(builder.rootfs)
    builder.pack("more changes")
    builder.add(tar_layer(base))
    builder.add(hand_layer(base / "hand.tar"))
    shutil.rmtree(builder.rootfs.parent)
    shutil.rmtree(base / "tree")
    return RealImage(layout=builder.layout, tag=TAG, layers=builder.layers)


def crossed(base: Path) -> RealImage:
    """A small image that containerd cannot unpack into an overlay.

    Its second layer, umoci's, has a file where a folder was and, behind it, whiteouts of what was in
    that folder; its third has a hard link to a file of the first.
    """
    builder = Builder(base)
    builder.begin()
    for name in ("was-folder", "was-folder/below", "was-folder/below/deep"):
        (builder.rootfs / name).mkdir()
        (builder.rootfs / name / "file").write_text(name)
    (builder.rootfs / "was-file").write_text("a file")
    (builder.rootfs / "linked").write_text("has another name later")
    os.setxattr(builder.rootfs / "linked", "user.kept", b"by both names")
    builder.pack("folders")
    shutil.rmtree(builder.rootfs / "was-folder")
    (builder.rootfs / "was-folder").write_text("a file")
    (builder.rootfs / "was-file").unlink()
    (builder.rootfs / "was-file").mkdir()
    builder.pack("the other way round")
    shutil.rmtree(builder.rootfs.parent)
    with HandTar(base / "hand.tar") as tar:
        tar.put("links", kind=tarfile.DIRTYPE)
        tar.put("links/here", kind=tarfile.LNKTYPE, link="linked")
    builder.add(base / "hand.tar")
    return RealImage(layout=builder.layout, tag=TAG, layers=builder.layers)


def tall(folder: Path, count: int) -> RealImage:
    """An image of so many small layers: each adds a file, writes one anew and removes one."""
    layers = []
    for number in range(count):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name in (f"all/{number}", "all/latest", f"own-{number}/file"):
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(str(number)), 1_500_000_000 + number
                tar.addfile(info, io.BytesIO(str(number).encode()))
            if number >= 3:
                tar.addfile(tarfile.TarInfo(f"all/.wh.{number - 3}"))
        layers.append(data.getvalue())
    write_layout(folder, layers, TAG)
    return RealImage(layout=folder, tag=TAG, layers=count)


def write_layout(folder: Path, layers: list[bytes], tag: str) -> None:
    """An OCI layout with one image of plain layers for this machine."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        kind = f"application/vnd.oci.image.{kind}"
        return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(data)}

    found = [put(layer, "layer.v1.tar") for layer in layers]
    rootfs = {"type": "layers", "diff_ids": [one["digest"] for one in found]}
    document = {"architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": {"Cmd": ["/bin/sh"]}}
    config = put(json.dumps(document).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "config": config, "layers": found}
    root = put(json.dumps(manifest).encode(), "manifest.v1+json")
    root["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
