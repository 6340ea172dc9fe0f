"""The part of ContentSuite about ingests as they are seen from outside."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from distore import errors
from distore.oci.digest import Digest
from distore.testing.content_contract import BLOB, DIGEST, OTHER

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import SegmentWriter, Status
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

    def test_an_ingest_starts_once_however_often_it_is_opened(
        self, store: FullStore, reopen: Callable[[], FullStore]
    ) -> None:
        with store.writer("r") as writer:
            first = writer.status()
        with reopen().writer("r") as writer:
            writer.write(BLOB)
            again = writer.status()

        assert again.started == first.started <= first.updated <= again.updated

    def test_a_closed_writer_tells_what_became_of_its_ingest(self, store: FullStore) -> None:
        first = store.writer("r")
        first.close()
        with store.writer("r") as second:
            second.write(BLOB)

        assert first.status() == store.status("r")

    def test_a_committed_ingest_has_no_status(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            writer.commit()

            with pytest.raises(errors.NotFound):
                writer.status()
        with pytest.raises(errors.NotFound):
            store.status("r")

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

    def test_of_many_threads_that_want_one_ref_one_gets_it(
        self, store: FullStore, reopen: Callable[[], FullStore]
    ) -> None:
        handles = [reopen() for _ in range(4)]
        start = threading.Barrier(4)

        def want(handle: FullStore) -> SegmentWriter | None:
            start.wait(10)
            try:
                return handle.writer("r")
            except errors.Locked:
                return None

        with ThreadPoolExecutor(4) as pool:
            writers = [writer for writer in pool.map(want, handles) if writer is not None]

        assert len(writers) == 1
        writers[0].close()

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

    def test_who_follows_learns_the_digest_of_a_blob_that_was_there(
        self, store: FullStore, reopen: Callable[[], FullStore]
    ) -> None:
        store.writer("first").commit()
        writer = store.writer("r")

        def on_progress(status: Status) -> None:
            with pytest.raises(errors.AlreadyExists):
                writer.commit()

        assert reopen().follow("r", on_progress=on_progress, timeout=10) == Digest.of(b"")

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
