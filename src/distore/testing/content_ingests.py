"""The part of ContentSuite about ingests as they are seen from outside."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from distore import errors
from distore.oci.digest import Digest
from distore.testing.content_contract import BLOB, DIGEST, OTHER

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.testing.content_contract import FullStore


class IngestSuite:
    """Status, owners, names, following."""

    def test_a_status_tells_ref_offset_promises_and_times(
        self, store: FullStore, reopen: Callable[[], FullStore]
    ) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        with store.writer("r", total=len(BLOB), expected=DIGEST) as writer:
            writer.write(BLOB[:100])

        status = reopen().status("r")
        assert (status.ref, status.offset, status.total) == ("r", 100, len(BLOB))
        assert status.expected == DIGEST
        assert before <= status.started <= status.updated
        assert status.owner is None

    def test_a_promise_is_kept_until_another_takes_its_place(self, store: FullStore) -> None:
        store.writer("r", total=10, expected=OTHER).close()
        store.writer("r").close()
        kept = store.status("r")
        store.writer("r", total=20, expected=DIGEST).close()
        replaced = store.status("r")

        assert (kept.total, kept.expected) == (10, OTHER)
        assert (replaced.total, replaced.expected) == (20, DIGEST)

    def test_statuses_are_filtered_by_ref(self, store: FullStore) -> None:
        for ref in ("a/1", "a/2", "b/1"):
            store.writer(ref).close()

        assert {s.ref for s in store.statuses()} == {"a/1", "a/2", "b/1"}
        assert {s.ref for s in store.statuses("ref~=^a/")} == {"a/1", "a/2"}
        assert {s.ref for s in store.statuses("ref==a/1", "ref==b/1")} == {"a/1", "b/1"}

    def test_a_missing_ingest_is_not_found(self, store: FullStore) -> None:
        for call in (store.status, store.abort):
            with pytest.raises(errors.NotFound, match=r"^ingest 'none': not found"):
                call("none")

    def test_an_aborted_ingest_is_gone(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            writer.write(BLOB)

        store.abort("r")

        assert list(store.statuses()) == []
        with store.writer("r") as writer:
            assert writer.offset == 0

    def test_an_ingest_has_one_writer(self, store: FullStore, reopen: Callable[[], FullStore]) -> None:
        with store.writer("r") as writer:
            with pytest.raises(errors.Locked, match=r"^ingest 'r': locked by") as caught:
                reopen().writer("r")
            with pytest.raises(errors.Locked):
                reopen().abort("r")
            owner = store.status("r").owner
            writer.write(BLOB)

        assert caught.value.ref == "r"
        assert owner is not None
        assert store.status("r").owner is None
        reopen().writer("r").close()

    @pytest.mark.parametrize(
        "ref",
        ["", "a\nb", "a\x00b", "x" * 10_000, "\udcff", "tab\t"],
        ids=["empty", "newline", "nul", "long", "surrogate", "tab"],
    )
    def test_a_bad_ref_is_refused_in_one_short_line(self, store: FullStore, ref: str) -> None:
        for call in (store.writer, store.status, store.abort):
            with pytest.raises(errors.InvalidArgument) as caught:
                call(ref)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("ref", ["a/b/../c", "..", "ünï", "layer-sha256:ab", "x" * 4096, " spaces "])
    def test_a_ref_is_any_text(self, store: FullStore, ref: str) -> None:
        with store.writer(ref) as writer:
            writer.write(BLOB)

        assert store.status(ref).ref == ref
        assert [status.ref for status in store.statuses()] == [ref]

    def test_a_negative_total_is_refused(self, store: FullStore) -> None:
        with pytest.raises(errors.InvalidArgument):
            store.writer("r", total=-1)

    def test_who_follows_learns_the_digest(self, store: FullStore, reopen: Callable[[], FullStore]) -> None:
        seen = threading.Event()
        result: list[Digest | None] = []
        writer = store.writer("r", total=len(BLOB))
        thread = threading.Thread(
            target=lambda: result.append(reopen().follow("r", on_progress=lambda status: seen.set()))
        )
        thread.start()
        writer.write(BLOB)
        assert seen.wait(10)

        writer.commit()
        thread.join(10)

        assert result == [DIGEST]

    def test_who_follows_an_ingest_that_is_given_up_learns_nothing(
        self, store: FullStore, reopen: Callable[[], FullStore]
    ) -> None:
        seen = threading.Event()
        result: list[Digest | None] = []
        writer = store.writer("r")
        thread = threading.Thread(
            target=lambda: result.append(reopen().follow("r", on_progress=lambda status: seen.set()))
        )
        thread.start()
        assert seen.wait(10)

        writer.close()
        thread.join(10)

        assert result == [None]

    def test_nobody_to_follow_is_no_wait(self, store: FullStore) -> None:
        store.writer("kept").close()

        assert store.follow("kept") is None
        assert store.follow("none") is None

    def test_following_ends_with_its_timeout(self, store: FullStore) -> None:
        with store.writer("r"), pytest.raises(errors.DeadlineExceeded, match="'r'"):
            store.follow("r", timeout=0.01)
