"""The part of ContentSuite about writing, committing, keeping and resuming."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from distore import errors
from distore.oci.digest import HEX_LENGTHS, Digest
from distore.testing.content_contract import BLOB, DIGEST, OTHER, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import Writer
    from distore.testing.content_contract import FullStore


class WritingSuite:
    """From the first byte to the commit."""

    def test_what_is_committed_can_be_read(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            assert writer.write(BLOB) == len(BLOB)
            assert writer.commit() == DIGEST

        with store.reader(DIGEST) as reader:
            assert reader.size == len(BLOB)
            assert reader.read_at(len(BLOB), 0) == BLOB
        assert list(store.statuses()) == []

    def test_an_empty_blob_is_a_blob(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            digest = writer.commit(size=0, expected=Digest.of(b""))

        assert store.info(digest).size == 0

    def test_nothing_is_visible_before_the_commit(self, store: FullStore) -> None:
        with store.writer("r", expected=DIGEST) as writer:
            writer.write(BLOB)

            assert list(store.walk()) == []
            with pytest.raises(errors.NotFound):
                store.reader(DIGEST)

    def test_a_buffer_may_be_reused_after_write(self, store: FullStore) -> None:
        space = bytearray(300_000)
        with store.writer("r") as writer:
            for byte in (b"a", b"b", b"c"):
                space[:] = byte * len(space)
                writer.write(memoryview(space))
            space[:] = b"x" * len(space)
            digest = writer.commit()

        assert digest == Digest.of(b"a" * 300_000 + b"b" * 300_000 + b"c" * 300_000)

    def test_many_small_writes_and_large_ones_mix(self, store: FullStore) -> None:
        pieces = [bytes([n % 256]) * size for n, size in enumerate([1, 7, 200_000, 3, 0, 131_072, 50] * 20)]
        with store.writer("r") as writer:
            for piece in pieces:
                writer.write(piece)

            assert writer.commit() == Digest.of(b"".join(pieces))

    def test_a_write_counts_bytes_whatever_the_items_of_the_buffer(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            assert writer.write(memoryview(b"12345678").cast("I")) == 8
            assert writer.write_at(memoryview(b"abcd").cast("H"), 8) == 4
            assert writer.offset == 12

            assert writer.commit() == Digest.of(b"12345678abcd")

    @pytest.mark.parametrize("algorithm", HEX_LENGTHS)
    def test_a_digest_of_any_algorithm_counts_when_promised_at_the_opening(
        self, store: FullStore, algorithm: str
    ) -> None:
        expected = Digest.of(BLOB, algorithm=algorithm)
        with store.writer("r", expected=expected) as writer:
            writer.write(BLOB)
            assert writer.digest() == expected
            assert writer.commit() == expected

        assert store.info(expected).size == len(BLOB)

    @pytest.mark.parametrize("algorithm", HEX_LENGTHS)
    def test_a_digest_of_any_algorithm_counts_when_promised_at_the_commit(
        self, store: FullStore, algorithm: str
    ) -> None:
        expected = Digest.of(BLOB, algorithm=algorithm)
        with store.writer("r") as writer:
            writer.write(BLOB)
            assert writer.commit(expected=expected) == expected

        assert [info.digest for info in store.walk()] == [expected]

    def test_a_wrong_digest_is_refused_and_the_ingest_kept(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            writer.write(BLOB)
            with pytest.raises(errors.DigestMismatch) as caught:
                writer.commit(expected=OTHER)

        assert (caught.value.expected, caught.value.actual) == (OTHER, DIGEST)
        assert store.status("r").offset == len(BLOB)
        assert list(store.walk()) == []

    def test_the_digest_promised_at_the_opening_is_checked_too(self, store: FullStore) -> None:
        with store.writer("r", expected=OTHER) as writer:
            writer.write(BLOB)
            with pytest.raises(errors.DigestMismatch):
                writer.commit()

    def test_a_wrong_size_is_refused_and_the_ingest_kept(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            writer.write(BLOB)
            with pytest.raises(errors.SizeMismatch) as caught:
                writer.commit(size=1)

        assert (caught.value.expected, caught.value.actual) == (1, len(BLOB))
        assert store.status("r").offset == len(BLOB)

    def test_a_refused_commit_closes_the_writer_and_the_next_one_may_make_it_good(
        self, store: FullStore
    ) -> None:
        writer = store.writer("r", total=len(BLOB), expected=DIGEST)
        writer.write(BLOB[:-1] + b"!")
        with pytest.raises(errors.DigestMismatch):
            writer.commit()
        with pytest.raises(errors.FailedPrecondition, match="closed"):
            writer.write(b"x")

        with store.writer("r") as again:
            again.truncate(len(BLOB) - 1)
            again.write(BLOB[-1:])
            assert again.commit() == DIGEST

    def test_kept_bytes_answer_to_a_promise_of_another_algorithm(self, store: FullStore) -> None:
        with store.writer("r", expected=DIGEST) as writer:
            writer.write(BLOB[:6000])
        promised = Digest.of(BLOB, algorithm="sha512")

        with store.writer("r", expected=promised) as writer:
            writer.write(BLOB[6000:])
            assert writer.digest() == promised
            assert writer.commit() == promised

    def test_a_commit_closes_the_writer(self, store: FullStore) -> None:
        writer = store.writer("r")
        writer.write(BLOB)
        writer.commit()

        with pytest.raises(errors.FailedPrecondition):
            writer.commit()

    @pytest.mark.parametrize("what", ["write", "digest", "truncate", "commit"])
    def test_a_closed_writer_refuses_everything(self, store: FullStore, what: str) -> None:
        writer = store.writer("r")
        writer.close()
        writer.close()

        calls: dict[str, Callable[[Writer], object]] = {
            "write": lambda w: w.write(b"x"),
            "digest": lambda w: w.digest(),
            "truncate": lambda w: w.truncate(),
            "commit": lambda w: w.commit(),
        }
        with pytest.raises(errors.FailedPrecondition, match=r"^ingest 'r': "):
            calls[what](writer)

    def test_a_blob_that_is_there_is_not_ingested_again(self, store: FullStore) -> None:
        put(store, BLOB)

        with pytest.raises(errors.AlreadyExists) as caught:
            store.writer("again", expected=DIGEST)

        assert caught.value.subject == DIGEST
        assert list(store.statuses()) == []

    def test_a_commit_of_a_blob_that_is_there_drops_the_ingest(self, store: FullStore) -> None:
        put(store, BLOB)
        with store.writer("again") as writer:
            writer.write(BLOB)
            with pytest.raises(errors.AlreadyExists) as caught:
                writer.commit()

        assert caught.value.subject == DIGEST
        assert list(store.statuses()) == []

    def test_a_blob_that_is_there_keeps_its_own_labels(self, store: FullStore) -> None:
        put(store, BLOB, labels={"a": "1"})
        with store.writer("again") as writer:
            writer.write(BLOB)
            with pytest.raises(errors.AlreadyExists):
                writer.commit(labels={"b": "2"})

        assert store.info(DIGEST).labels == {"a": "1"}

    def test_two_refs_may_end_in_one_digest(self, store: FullStore) -> None:
        first, second = store.writer("one"), store.writer("two")
        for writer in (first, second):
            writer.write(BLOB)

        assert first.commit() == DIGEST
        with pytest.raises(errors.AlreadyExists):
            second.commit()
        assert [info.digest for info in store.walk()] == [DIGEST]

    def test_many_threads_may_bring_one_blob(self, store: FullStore, reopen: Callable[[], FullStore]) -> None:
        handles = [reopen() for _ in range(4)]

        def ingest(number: int) -> str:
            with handles[number % 4].writer(f"ref {number}") as writer:
                writer.write(BLOB)
                try:
                    return f"committed {writer.commit()}"
                except errors.AlreadyExists as error:
                    return f"found {error.subject}"

        with ThreadPoolExecutor(4) as pool:
            results = set(pool.map(ingest, range(12)))

        # Two commits at the same moment may both have put it there.
        assert f"committed {DIGEST}" in results <= {f"committed {DIGEST}", f"found {DIGEST}"}
        assert [info.digest for info in store.walk()] == [DIGEST]
        assert list(store.statuses()) == []

    def test_a_closed_ingest_is_kept_and_resumed_at_its_offset(
        self, store: FullStore, reopen: Callable[[], FullStore]
    ) -> None:
        for start in range(0, len(BLOB), 5000):
            with reopen().writer("r") as writer:
                assert writer.offset == start
                writer.write(BLOB[start : start + 5000])

        with reopen().writer("r") as writer:
            assert writer.commit(size=len(BLOB), expected=DIGEST) == DIGEST

    def test_an_exception_in_the_block_keeps_the_bytes(self, store: FullStore) -> None:
        with pytest.raises(RuntimeError), store.writer("r") as writer:
            writer.write(BLOB)
            raise RuntimeError

        assert store.status("r").offset == len(BLOB)

    def test_a_truncated_ingest_goes_on_from_there(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            writer.write(b"wrong")
            assert writer.digest() == Digest.of(b"wrong")
            writer.truncate(2)
            assert writer.offset == 2
            writer.write(b"ite")
            assert writer.digest() == Digest.of(b"write")
            writer.truncate()
            writer.write(BLOB)

            assert writer.commit() == DIGEST

    @pytest.mark.parametrize(("size", "error"), [(-1, errors.InvalidArgument), (6, errors.OutOfRange)])
    def test_a_truncation_out_of_range_is_refused(
        self, store: FullStore, size: int, error: type[errors.DistoreError]
    ) -> None:
        with store.writer("r") as writer:
            writer.write(b"12345")
            with pytest.raises(error, match="truncate"):
                writer.truncate(size)

            assert writer.commit() == Digest.of(b"12345")

    def test_the_digest_so_far_is_known_at_any_time(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            assert writer.digest() == Digest.of(b"")
            for end in (1, 300, 12_000):
                writer.write(BLOB[writer.offset : end])
                assert writer.digest() == Digest.of(BLOB[:end])

    def test_segments_may_come_in_any_order_from_many_threads(self, store: FullStore) -> None:
        data = random.Random(1).randbytes(1_000_000)
        starts = list(range(0, len(data), 30_011))
        random.Random(2).shuffle(starts)
        writer = store.writer("r", total=len(data))

        def work(mine: list[int]) -> None:
            for start in mine:
                writer.write_at(data[start : start + 30_011], start)

        threads = [threading.Thread(target=work, args=(starts[n::4],)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert writer.offset == len(data)
        assert writer.commit(size=len(data)) == Digest.of(data)

    def test_the_offset_is_the_end_of_what_has_no_gap(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            writer.write_at(b"56", 4)
            assert writer.offset == 0
            writer.write(b"12")
            assert writer.offset == 2
            assert writer.digest() == Digest.of(b"12")
            with pytest.raises(errors.OutOfRange):
                writer.write_at(b"x", 1)
            writer.write_at(b"34", 2)

            assert writer.offset == 6
            assert writer.commit() == Digest.of(b"123456")

    def test_a_gap_cannot_be_committed(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            writer.write_at(b"12", 0)
            writer.write_at(b"56", 4)
            with pytest.raises(errors.FailedPrecondition, match="bytes 2 to 4 are missing"):
                writer.commit()

        assert store.status("r").offset == 2

    def test_no_bytes_far_away_make_no_gap(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            assert writer.write(b"12") == 2
            assert writer.write_at(b"", 1000) == 0
            assert writer.offset == 2

            assert writer.commit() == Digest.of(b"12")

    def test_a_truncation_drops_what_lies_behind_a_gap(self, store: FullStore) -> None:
        with store.writer("r") as writer:
            writer.write(b"12")
            writer.write_at(b"56", 4)
            writer.truncate(1)

            assert writer.digest() == Digest.of(b"1")
            writer.write_at(b"45", 3)
            assert store.status("r").offset == writer.offset == 1
            writer.write(b"23")
            assert writer.commit() == Digest.of(b"12345")

    def test_what_lies_behind_a_gap_is_not_kept(
        self, store: FullStore, reopen: Callable[[], FullStore]
    ) -> None:
        with store.writer("r") as writer:
            writer.write_at(b"12", 0)
            writer.write_at(b"56", 4)

        with reopen().writer("r") as writer:
            assert writer.offset == 2
            writer.write(b"3")
            assert writer.commit() == Digest.of(b"123")
