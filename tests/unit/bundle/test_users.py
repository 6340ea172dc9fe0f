"""Who USER[:GROUP] is, by the files of an image that may say anything."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from distore.bundle.users import MAX_FILE_SIZE, MAX_ID, User, resolve_user
from distore.errors import DistoreError, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

PASSWD = """\
# accounts
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:

broken
short:x:5
letters:x:abc:1::/:
huge:x:4294967295:0::/:
negative:x:-1:0::/:
app:x:1000:1000:An App,,,:/home/app:/bin/sh
  spaced : x : 1001 : 1001 :: /home/spaced :
twice:x:1002:1002::/first:
twice:x:1003:1003::/second:
1234:x:77:77::/named-by-digits:
nohome:x:1004:1004
relative:x:1005:1005::srv:
+::::::
"""
GROUP = """\
root:x:0:root
app:x:1000:
video:x:44:app,root
extra:x:2000:other,app
bad:x:abc:app
huge:x:4294967295:app
almost:x:45:apple,snapp
4321:x:88:
extra:x:2001:
again:x:44:app
"""


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    etc = tmp_path / "rootfs" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text(PASSWD)
    (etc / "group").write_text(GROUP)
    return tmp_path / "rootfs"


@pytest.mark.parametrize(
    ("text", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (0, 44), "/root"),
        ("root", 0, 0, (0, 44), "/root"),
        ("0", 0, 0, (0, 44), "/root"),
        ("app", 1000, 1000, (1000, 44, 2000), "/home/app"),
        ("1000", 1000, 1000, (1000, 44, 2000), "/home/app"),
        ("app:video", 1000, 44, (44,), "/home/app"),
        ("app:0", 1000, 0, (0,), "/home/app"),
        ("app:1234", 1000, 1234, (1234,), "/home/app"),
        ("1000:extra", 1000, 2000, (2000,), "/home/app"),
        ("4000", 4000, 0, (0,), None),
        ("4000:4001", 4000, 4001, (4001,), None),
        ("04000", 4000, 0, (0,), None),
        ("spaced", 1001, 1001, (1001,), "/home/spaced"),
        ("twice", 1002, 1002, (1002,), "/first"),
        ("1234", 77, 77, (77,), "/named-by-digits"),
        ("app:4321", 1000, 88, (88,), "/home/app"),
        ("nohome", 1004, 1004, (1004,), None),
        ("relative", 1005, 1005, (1005,), None),
        (str(MAX_ID), MAX_ID, 0, (0,), None),
    ],
)
def test_names_and_numbers_are_looked_up(
    rootfs: Path, text: str, uid: int, gid: int, groups: tuple[int, ...], home: str | None
) -> None:
    assert resolve_user(text, str(rootfs)) == User(uid=uid, gid=gid, groups=groups, home=home)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("nobody", NotFound, "user 'nobody': /etc/passwd of the image has no such account"),
        ("broken", NotFound, "no such account"),
        ("letters", NotFound, "no such account"),
        ("huge", NotFound, "no such account"),
        ("app:nobody", NotFound, "group 'nobody': /etc/group of the image has no such group"),
        ("app:bad", NotFound, "no such group"),
        ("4294967295", InvalidArgument, "ids end at"),
        ("99999999999999999999", InvalidArgument, "ids end at"),
        ("app:4294967295", InvalidArgument, "ids end at"),
        (":", InvalidArgument, "want USER or USER:GROUP"),
        (":app", InvalidArgument, "want USER or USER:GROUP"),
        ("app:", InvalidArgument, "want USER or USER:GROUP"),
        ("app:1:2", InvalidArgument, "want USER or USER:GROUP"),
        ("a\nb", InvalidArgument, "want USER or USER:GROUP"),
        ("-1", NotFound, "no such account"),
        ("0x10", NotFound, "no such account"),
        ("\uff11", NotFound, "no such account"),
    ],
)
def test_what_is_nobody_is_one_clear_line(
    rootfs: Path, text: str, kind: type[DistoreError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        resolve_user(text, str(rootfs))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_files_numbers_are_fine_and_root_is_known(tmp_path: Path) -> None:
    assert resolve_user("", str(tmp_path)) == User(uid=0, gid=0, groups=(0,))
    assert resolve_user("7:8", str(tmp_path)) == User(uid=7, gid=8, groups=(8,))
    with pytest.raises(NotFound):
        resolve_user("root", str(tmp_path))


@pytest.mark.parametrize("link", ["/lib/passwd", "../lib/passwd", "../../../lib/passwd", "/a/passwd"])
def test_links_are_followed_as_in_the_container(rootfs: Path, link: str) -> None:
    (rootfs / "lib").mkdir()
    (rootfs / "a").symlink_to("./b/../lib")
    (rootfs / "b").symlink_to("lib")
    (rootfs / "lib" / "passwd").write_text("inside:x:9:9::/:\n")
    (rootfs / "etc" / "passwd").unlink()
    (rootfs / "etc" / "passwd").symlink_to(link)

    assert resolve_user("inside", str(rootfs)).uid == 9


@pytest.mark.parametrize("place", ["file", "folder"])
def test_no_link_leads_out_of_the_root(rootfs: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "passwd").write_text("outside:x:9:9::/:\n")
    if place == "file":
        (rootfs / "etc" / "passwd").unlink()
        (rootfs / "etc" / "passwd").symlink_to(tmp_path / "outside" / "passwd")
    else:
        (rootfs / "etc").rename(rootfs / "old")
        (rootfs / "etc").symlink_to("../outside")

    with pytest.raises(NotFound):
        resolve_user("outside", str(rootfs))


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    at = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(at)


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _long(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_FILE_SIZE + 1)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (_fifo, FailedPrecondition, "not a file"),
        (_socket, FailedPrecondition, "not a file"),
        (Path.mkdir, FailedPrecondition, "not a file"),
        (_circle, FailedPrecondition, "too many links"),
        (_long, ResourceExhausted, "more than"),
    ],
)
def test_what_is_no_file_is_refused_and_holds_nobody(
    rootfs: Path, make: object, kind: type[DistoreError], message: str
) -> None:
    (rootfs / "etc" / "passwd").unlink()
    assert callable(make)
    make(rootfs / "etc" / "passwd")

    with pytest.raises(kind, match=message):
        resolve_user("app", str(rootfs))


def test_lines_that_are_none_are_passed_over(rootfs: Path) -> None:
    long = "long:x:1:1::" + "/" * 70_000 + ":\n"
    (rootfs / "etc" / "passwd").write_bytes(
        b"\xff\xfe:::\n" + long.encode() + b"nul\0:x:2:2::/:\nok:x:3:3::/:"
    )

    assert resolve_user("ok", str(rootfs)).uid == 3
    with pytest.raises(NotFound):
        resolve_user("long", str(rootfs))
