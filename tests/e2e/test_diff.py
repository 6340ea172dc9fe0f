"""``dist diff``: what two images do not have in common."""

from __future__ import annotations

import tarfile

import pytest
from tests.e2e.image_files import Dist
from tests.unit.diff.applied_trees import layer, member
from tests.unit.unpack.layered import opened, put_image

from distore.content.memory import MemoryStore
from distore.unpack.fileaccess import LayerFiles
from distore.unpack.filediff import file_changes


def test_what_was_added_changed_and_deleted_is_told_with_its_sizes(files: Dist) -> None:
    assert files("diff", "app:1", "app:2").splitlines() == [
        "C /etc/passwd  9 -> 9",
        "C /etc/shadow  7 -> 7",
        "A /opt",
        "A /opt/new  - -> 5",
        "D /srv",
        "D '/srv/a\\x1b[31m'  8 -> -",
    ]
    assert files.error == "dist: 2 added, 2 changed, 2 deleted, -3 B\n"


def test_an_image_is_the_same_as_itself(files: Dist) -> None:
    assert files("diff", "app:1", "docker.io/library/app:1") == ""
    assert files.error == "dist: 0 added, 0 changed, 0 deleted, +0 B\n"


def test_json_has_a_line_for_each_change(files: Dist) -> None:
    assert files.records("diff", "app:1", "app:2")[:4] == [
        {"change": "C", "path": "/etc/passwd", "before": 9, "after": 9},
        {"change": "C", "path": "/etc/shadow", "before": 7, "after": 7},
        {"change": "A", "path": "/opt", "before": None, "after": None},
        {"change": "A", "path": "/opt/new", "before": None, "after": 5},
    ]


def test_an_image_that_is_not_there_is_named(files: Dist) -> None:
    files("diff", "app:1", "app:9", status=11)

    assert "library/app:9: not in the store" in files.error


def changes(before: LayerFiles, after: LayerFiles) -> list[str]:
    return [f"{each.change} {each.path}" for each in file_changes(before, after)]


def test_bytes_count_where_all_else_is_the_same() -> None:
    one = layer(member("a", data=b"1"), member("b", data=b"2"), member("d/c", data=b"x" * 3000))
    other = layer(member("d/c", data=b"x" * 3000), member("a", data=b"1"), member("b", data=b"3"))
    store = MemoryStore()
    before, after = (opened(store, put_image(store, each)) for each in (one, other))

    assert changes(before, after) == ["C /b"]


def test_layers_that_both_have_are_not_read() -> None:
    base = layer(member("a", data=b"1"))
    store = MemoryStore()
    before = opened(store, put_image(store, base))
    after = opened(store, put_image(store, base, layer(member("b", data=b"2"))))
    store.delete(before.image.layers[0].digest)

    assert changes(before, after) == ["A /b"]


def test_a_folder_that_became_a_file_takes_its_files_along() -> None:
    store = MemoryStore()
    before = opened(store, put_image(store, layer(member("x/y", data=b"1"), member("x.z"))))
    after = opened(store, put_image(store, layer(member("x", data=b"1"), member("x.z"))))

    assert changes(before, after) == ["C /x", "D /x/y"]


@pytest.mark.parametrize("field", [{"mode": 0o600}, {"uid": 1}, {"gid": 1}, {"mtime": 1}])
def test_what_is_told_of_a_file_counts(field: dict[str, int]) -> None:
    store = MemoryStore()
    before = opened(store, put_image(store, layer(member("a", data=b"1", mode=0o644))))
    told: dict[str, object] = {"mode": 0o644, **field}
    changed = tarfile.TarInfo("a")
    for name, value in {**told, "size": 1}.items():
        setattr(changed, name, value)
    after = opened(store, put_image(store, layer(changed.tobuf(), b"1".ljust(512, b"\0"))))

    assert changes(before, after) == ["C /a"]
