"""``dist ls``: the files of an image, and the blobs as in 2017."""

from __future__ import annotations

import pytest
from tests.e2e.image_files import Dist


def test_a_folder_is_listed_by_name(files: Dist) -> None:
    assert files("ls", "app:1").split() == ["bin", "dev", "etc", "srv", "up", "usr"]
    assert files("ls", "app:1:/etc").split() == ["passwd", "shadow"]
    assert files("ls", "app:1:/bin/").split() == files("ls", "app:1:/up/../usr/bin").split() == ["su", "su2"]
    assert files("ls", "docker.io/library/app:1:/usr/bin/su") == "/usr/bin/su\n"


def test_the_long_form_tells_mode_owner_size_and_time(files: Dist) -> None:
    assert files("ls", "-l", "app:1:/etc").splitlines() == [
        "-rw-r--r--  1     0     0          9 1970-01-01 00:06 passwd",
        "-rw-------  1     0    42          7 1970-01-01 00:03 shadow",
    ]
    assert files("ls", "-l", "app:1:/dev") == ("crw-rw-rw-  1     0     0       1, 3 1970-01-01 00:00 null\n")
    assert "-rwsr-xr-x  2" in files("ls", "-l", "app:1:/usr/bin")
    assert files("ls", "-l", "app:1:/bin").endswith(" /bin -> usr/bin\n")


def test_all_below_is_listed_by_path_and_no_name_reaches_the_terminal_raw(files: Dist) -> None:
    assert files("ls", "-R", "app:1").splitlines() == [
        "/bin",
        "/dev",
        "/dev/null",
        "/etc",
        "/etc/passwd",
        "/etc/shadow",
        "/srv",
        "'/srv/a\\x1b[31m'",
        "/up",
        "/usr",
        "/usr/bin",
        "/usr/bin/su",
        "/usr/bin/su2",
    ]
    assert "\x1b" not in files("ls", "-lR", "--json", "app:1")


def test_json_has_a_line_for_each_file(files: Dist) -> None:
    (record,) = files.records("ls", "app:1:/usr/bin/su")

    layer = record.pop("layer")

    assert str(layer).startswith("sha256:")
    assert record == {
        "path": "/usr/bin/su",
        "type": "file",
        "mode": "4755",
        "uid": 0,
        "gid": 0,
        "size": 4,
        "mtime": "1970-01-01T00:05:00Z",
        "link": None,
        "device": None,
        "links": 2,
        "xattrs": {},
    }
    assert files.records("ls", "app:1:/dev")[0]["device"] == "1:3"


def test_several_are_listed_one_after_the_other_and_what_fails_does_not_keep_them_back(files: Dist) -> None:
    assert files("ls", "app:1:/etc", "app:1:/none", "app:2:/opt", status=11).splitlines() == [
        "app:1:/etc:",
        "passwd",
        "shadow",
        "",
        "app:2:/opt:",
        "new",
    ]
    assert files.error == "dist: image app:1: '/none' is not there\n"


def test_words_that_begin_a_digest_or_none_list_blobs_as_before(files: Dist) -> None:
    every = files("list", "-q")

    assert files("ls", "-q") == files("ls", "-q", "sha256:") == files("ls", "-q", "s") == every
    one = every.split()[0]
    assert files("ls", "-q", one.removeprefix("sha256:")[:12]) == files("ls", "-q", one) == f"{one}\n"
    assert files("ls").startswith("DIGEST")
    assert files("ls", "--json") == files("list", "--json")


def test_an_image_may_be_named_by_its_digest(files: Dist) -> None:
    (_, second, _) = files.records("images")
    target = second["target"]
    assert isinstance(target, dict)

    assert files("ls", f"{target['digest']}:/opt") == "new\n"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("ls", "nope"), 11, "library/nope:latest: not in the store; dist pull brings it"),
        (
            ("ls", "artifact:1"),
            14,
            "image artifact:1: an artifact ('application/vnd.example.config'), not an image",
        ),
        (("ls", "app:1", "01"), 2, "'01' is the beginning of a digest; 01:/ is the image of that name"),
        (("ls", "-l"), 2, "-l, -R and --platform want an image"),
        (("ls", "-q", "app:1"), 2, "-q and --filter are for blobs"),
        (("ls", "app:1:/etc/passwd/x"), 14, "image app:1: '/etc/passwd' is no folder"),
        (("ls", "UPPER"), 2, "UPPER"),
    ],
)
def test_what_cannot_be_listed_is_said_in_one_line(
    files: Dist, words: tuple[str, ...], status: int, says: str
) -> None:
    assert files(*words, status=status) == ""
    assert says in files.error
    assert files.error.count("\n") == 1


def test_missing_layers_are_named(files: Dist) -> None:
    layer = str(files.records("ls", "app:1:/etc/shadow")[0]["layer"])
    files("delete", layer)

    files("ls", "app:1", status=11)

    assert f"image app:1: the store lacks {layer}; dist pull --platform" in files.error
