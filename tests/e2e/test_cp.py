"""``dist cp``: files out of an image, never outside of where they shall go."""

from __future__ import annotations

import io
import os
import resource
import stat
import tarfile
from pathlib import Path

import pytest
from tests.e2e.image_files import Dist
from tests.unit.diff.applied_trees import layer, member
from tests.unit.unpack.layered import put_image

from distore.app import App
from distore.config import Config
from distore.errors import ResourceExhausted

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices are for root")


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_a_file_goes_into_a_folder_or_under_a_new_name(files: Dist, out: Path) -> None:
    files("cp", "app:1:/etc/passwd", str(out))
    files("cp", "app:1:/up/passwd", str(out / "other"))

    assert names(out) == ["other", "passwd"]
    assert (out / "other").read_bytes() == (out / "passwd").read_bytes() == b"root\nweb\n"
    info = (out / "passwd").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_mtime) == (0o644, 400)


@as_root
def test_a_folder_goes_with_all_that_is_told_of_it(files: Dist, out: Path) -> None:
    files("cp", "app:1:/etc", str(out))
    files("cp", "app:1:/usr", str(out / "u"))

    assert names(out) == ["etc", "etc/passwd", "etc/shadow", "u", "u/bin", "u/bin/su", "u/bin/su2"]
    assert (out / "etc").stat().st_mtime == 100
    shadow = (out / "etc" / "shadow").stat()
    assert (shadow.st_gid, stat.S_IMODE(shadow.st_mode)) == (42, 0o600)
    su = (out / "u" / "bin" / "su").stat()
    assert (su.st_nlink, stat.S_IMODE(su.st_mode)) == (2, 0o4755)


def test_a_file_that_cannot_be_written_is_named(files: Dist, out: Path) -> None:
    app = App(Config(root=str(files.root)))
    big = layer(member("srv/big", data=bytes(3 << 20)))
    app.images.put("docker.io/library/big:1", put_image(app.content, big))
    app.close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, limits[1]))
    try:
        files("cp", "big:1:/srv/big", str(out / "other"), status=ResourceExhausted.exit_code)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "image big:1: 'big': file too large" in files.error
    assert names(out) == []


def test_what_is_in_a_folder_goes_without_it(files: Dist, out: Path) -> None:
    files("cp", "app:1:/etc/.", str(out))
    files("cp", "app:1:/etc/.", str(out / "new"))

    assert names(out) == ["new", "new/passwd", "new/shadow", "passwd", "shadow"]
    assert (out / "new").stat().st_mtime == 100
    assert out.stat().st_mtime != 100


def test_a_link_to_a_folder_is_a_folder_to_copy_into(files: Dist, out: Path) -> None:
    (out / "real").mkdir()
    (out / "link").symlink_to("real")

    files("cp", "app:1:/etc/.", str(out / "link"))
    files("cp", "app:1:/etc", str(out / "link"))

    assert names(out / "real") == ["etc", "etc/passwd", "etc/shadow", "passwd", "shadow"]


def test_a_link_is_copied_as_a_link_unless_it_is_to_be_followed(files: Dist, out: Path) -> None:
    files("cp", "app:1:/bin", str(out))
    files("cp", "-L", "app:1:/bin", str(out / "real"))

    assert os.readlink(out / "bin") == "usr/bin"
    assert names(out / "real") == ["su", "su2"]


def test_nothing_is_written_over_unless_it_is_asked_for(files: Dist, out: Path) -> None:
    (out / "passwd").write_text("mine")
    (out / "etc").mkdir()
    (out / "etc" / "mine").write_text("mine")

    files("cp", "app:1:/etc/passwd", str(out), status=12)
    assert "there already; --force writes over it" in files.error
    files("cp", "app:1:/etc", str(out), status=12)
    files("cp", "app:1:/etc/.", str(out), status=12)
    files("cp", "--force", "app:1:/etc", str(out / "passwd"), status=14)
    files("cp", "--force", "app:1:/bin", str(out / "etc" / "mine" / "x"), status=11)
    assert (out / "passwd").read_text() == "mine"
    assert names(out) == ["etc", "etc/mine", "passwd"]

    files("cp", "--force", "app:1:/etc/passwd", str(out))
    files("cp", "--force", "app:1:/etc", str(out))
    assert (out / "passwd").read_bytes() == b"root\nweb\n"
    assert names(out / "etc") == ["mine", "passwd", "shadow"]


def test_a_file_never_takes_the_place_of_a_folder(files: Dist, out: Path) -> None:
    (out / "passwd").mkdir()

    files("cp", "--force", "app:1:/etc/passwd", str(out), status=14)

    assert names(out) == ["passwd"]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("app:1:/none", "x"), 11, "image app:1: '/none' is not there"),
        (("app:1:/etc/passwd", "none/x"), 11, "folder 'none': not found"),
        (("app:1:/etc/passwd", "none/"), 11, "folder 'none/': not found"),
        (("app:1", "x"), 2, "want IMAGE:/PATH"),
    ],
)
def test_what_cannot_be_copied_leaves_nothing(
    files: Dist, out: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], status: int, says: str
) -> None:
    monkeypatch.chdir(out)

    files("cp", *words, status=status)

    assert says in files.error
    assert names(out) == []


def test_a_tar_file_goes_to_standard_output(files: Dist) -> None:
    def listed(path: str) -> dict[str, tuple[bytes, str]]:
        with tarfile.open(fileobj=io.BytesIO(files.raw("cp", path, "-"))) as tar:
            return {info.name: (info.type, info.linkname) for info in tar}

    assert listed("app:1:/etc/passwd") == {"passwd": (b"0", "")}
    assert listed("app:1:/bin") == {"bin": (b"2", "usr/bin")}
    assert listed("app:1:/usr") == {
        "usr": (b"5", ""),
        "usr/bin": (b"5", ""),
        "usr/bin/su": (b"0", ""),
        "usr/bin/su2": (b"1", "usr/bin/su"),
    }
    assert sorted(listed("app:1:/etc/.")) == [".", "passwd", "shadow"]
    assert "srv/a\x1b[31m" in listed("app:1:/")


def test_json_tells_what_was_made(files: Dist, out: Path) -> None:
    (record,) = files.records("cp", "app:1:/etc/passwd", str(out))

    assert record == {"source": "app:1:/etc/passwd", "destination": str(out / "passwd"), "left_out": 0}


def test_links_of_an_image_lead_no_copy_out_of_its_folder(tmp_path: Path, files: Dist, out: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    app = App(Config(root=str(files.root)))
    lower = layer(
        member("d/evil", tarfile.SYMTYPE, str(victim)), member("d/up", tarfile.SYMTYPE, "../../victim")
    )
    upper = layer(member("d/evil/x", data=b"!"), member("d/up/y", data=b"!"))
    app.images.put("docker.io/library/evil:1", put_image(app.content, lower, upper))
    app.close()

    files("cp", "evil:1:/", str(out / "all"))
    files("cp", "evil:1:/d", str(out))
    files("cp", "--force", "evil:1:/d", str(out))
    files("cp", "--force", "evil:1:/.", str(out))

    assert names(victim) == []
    assert os.readlink(out / "d" / "evil") == str(victim)


def test_links_that_are_there_lead_no_copy_out_of_its_folder(files: Dist, out: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (out / "usr").mkdir()
    (out / "usr" / "bin").symlink_to(victim)

    files("cp", "--force", "app:1:/usr", str(out))

    assert names(victim) == []
    assert names(out) == ["usr", "usr/bin", "usr/bin/su", "usr/bin/su2"]


@as_root
def test_devices_are_made_by_root(files: Dist, out: Path) -> None:
    files("cp", "app:1:/dev", str(out))

    assert (out / "dev" / "null").stat().st_rdev == os.makedev(1, 3)
