"""Inventories: what one side has, and what another side reads of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.transfer.export_images import arch, artifact, image, index, reachable

from distore.content.memory import MemoryStore
from distore.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from distore.oci.digest import Digest
from distore.testing.strategies import digests
from distore.transfer import inventory
from distore.transfer.inventory import HEADER, inventory_of, parse_inventory

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


def test_an_inventory_has_what_is_here_of_an_image_sorted() -> None:
    store = MemoryStore()
    here = image(store, 1, platform=arch("amd64"))
    root = index(store, [here, image(MemoryStore(), 2, platform=arch("arm64"))])
    referrer = artifact(store, b"signature", here)
    image(store, 3)

    found = inventory_of(store, [root])

    wanted = {root.digest} | reachable(store, here) | reachable(store, referrer)
    assert found == sorted((digest, store.info(digest).size) for digest in wanted)


def test_an_image_that_is_not_whole_counts_as_far_as_it_is_here() -> None:
    store = MemoryStore()
    root = image(store, 1, layers=1)
    before = inventory_of(store, [root])
    gone = next(digest for digest, _ in before if digest != root.digest)
    store.delete(gone)

    assert inventory_of(store, [root]) == [pair for pair in before if pair[0] != gone]


def test_a_root_that_is_not_here_is_not_found() -> None:
    with pytest.raises(NotFound):
        inventory_of(MemoryStore(), [image(MemoryStore(), 1)])


@given(st.lists(digests()))
def test_what_is_written_is_what_is_read(found: list[Digest]) -> None:
    text = "".join(f"{line}\n" for line in [HEADER, *found])

    assert parse_inventory(text.encode(), subject="x") == set(found)


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE}\n{TWO}\n",
        f"{ONE}\n{TWO}",
        f"{HEADER}\r\n{ONE}\r\n{TWO}\r\n",
        f"# anything\n\n  {ONE}  \n{TWO}\n{ONE}\n",
    ],
)
def test_comments_and_blanks_are_passed_over(text: str) -> None:
    assert parse_inventory(text.encode(), subject="x") == {ONE, TWO}


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"nonsense", 1),
        (f"{ONE}\nsha256:12\n".encode(), 2),
        (f"{HEADER}\n{ONE} {TWO}".encode(), 2),
        (b"\n\n\xff\xfe\x00", 3),
        (b"md5:" + b"0" * 32, 1),
        (b"x" * 100_000, 1),
        (f"{ONE}\n{str(TWO).upper()}".encode(), 2),
    ],
)
def test_a_line_that_is_no_digest_is_named(data: bytes, line: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_inventory(data, subject="there.txt")

    assert str(caught.value).startswith(f"there.txt: line {line}: digest ")
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_an_inventory_of_a_newer_version_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match="line 1: inventory version '2', want 1"):
        parse_inventory(b"# distore inventory 2\n", subject="x")


def test_an_inventory_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MAX_INVENTORY_SIZE", 10)

    with pytest.raises(ResourceExhausted, match="11 bytes, the limit is 10"):
        parse_inventory(b"#" * 11, subject="x")
