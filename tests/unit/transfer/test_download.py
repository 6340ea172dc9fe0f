"""One blob in several parts: whatever the order of things, every byte comes once and in its place."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.transfer.download_steps import (
    REF,
    Terms,
    Writer,
)

from distore.content.blobs import read_blob
from distore.errors import Cancelled, DigestMismatch, NotFound
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer import download as module
from distore.transfer.download import Download
from distore.transfer.progress import Moved, Started


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PART", 20)


DATA = bytes(range(256)) * 4


def test_one_worker_brings_it_in_order() -> None:
    terms = Terms(DATA)

    terms.finish()

    terms.check()
    assert terms.fetcher.opened == [(0, None)]
    started = terms.events[0]
    assert isinstance(started, Started)
    assert (started.offset, started.size) == (0, len(DATA))


def test_kept_bytes_do_not_come_again() -> None:
    terms = Terms(DATA, kept=DATA[:1000])

    terms.finish()

    terms.check(kept=1000)
    assert terms.fetcher.opened == [(1000, None)]
    (note,) = terms.notes()
    assert note.startswith(f"a.example/b@{terms.descriptor.digest}: resuming")


def test_what_an_earlier_try_left_behind_gaps_does_not_come_again() -> None:
    terms = Terms(DATA, kept=DATA[:100], islands=[(300, 400), (900, 1024)])
    second = terms.halve()  # one that nobody has begun

    assert second is not None
    terms.finish()

    terms.check(kept=100)
    assert sorted(terms.fetcher.opened) == [(100, 300), (400, 900)]
    assert terms.halve() is None


@pytest.mark.parametrize("kept", [DATA, DATA + b"more"])
def test_kept_bytes_that_are_all_or_too_many(kept: bytes) -> None:
    terms = Terms(DATA, kept=kept)

    terms.finish()

    assert read_blob(terms.store, terms.descriptor.digest, max_size=2000) == DATA
    assert terms.fetcher.opened == ([] if kept == DATA else [(0, None)])


def test_an_empty_blob_needs_no_connection() -> None:
    terms = Terms(b"")

    terms.finish()

    terms.check()
    assert terms.fetcher.opened == []


def test_bytes_that_the_descriptor_has_need_no_connection() -> None:
    terms = Terms(b"")
    inline = Descriptor(media_type="a/b", digest=Digest.of(b"inline"), size=6, data=b"inline")
    writer = Writer(terms.store.writer("inline", expected=inline.digest))
    download = Download(inline, writer, terms)

    assert download.work(download.first())

    assert read_blob(terms.store, inline.digest, max_size=6) == b"inline"
    assert terms.fetcher.opened == []


def test_nothing_is_halved_before_its_speed_is_known_or_for_little_gain() -> None:
    terms = Terms(DATA)
    terms.workers[0].step()

    assert terms.halve() is None
    terms.now += 0.2
    assert terms.halve() is None
    terms.now += 0.1
    assert terms.download.rest() > 0
    assert terms.halve() is not None  # nothing came yet: who knows how long it takes

    terms.finish()
    terms.check()


def test_what_is_fast_enough_is_left_alone() -> None:
    terms = Terms(DATA, piece=500)
    for _ in range(3):
        terms.workers[0].step()
    terms.now += 0.3

    assert 0 < terms.download.rest() < module.MIN_GAIN
    assert terms.halve() is None
    terms.finish()


def test_the_second_half_of_the_rest_is_taken() -> None:
    terms = Terms(DATA, piece=24)
    for _ in range(3):
        terms.workers[0].step()
    terms.now += 10
    second = terms.halve()
    assert second is not None

    second.step()
    second.step()
    assert terms.fetcher.opened[1] == (24 + 500, None)
    terms.now += 10
    third = terms.halve()
    assert third is not None
    terms.finish()

    terms.check()
    assert len(terms.fetcher.opened) == 3


def test_a_registry_that_ignores_ranges_is_left_to_the_first() -> None:
    terms = Terms(DATA, ranges=False)
    for _ in range(4):
        terms.workers[0].step()
    terms.now += 10
    second = terms.halve()
    assert second is not None
    while not second.done:
        second.step()

    assert second.result is False
    terms.now += 10
    assert terms.halve() is None  # it would be for nothing again
    terms.finish()

    terms.check()
    assert len(terms.fetcher.opened) == 2


def test_a_registry_that_cannot_begin_where_it_is_to_is_read_from_its_start() -> None:
    terms = Terms(DATA, kept=DATA[:600], ranges=False)

    terms.finish()

    terms.check(kept=600)


def test_damaged_kept_bytes_are_given_up_once() -> None:
    terms = Terms(DATA, kept=b"x" * 100)

    terms.finish()

    terms.check()
    assert terms.notes()[-1].endswith("the kept bytes are damaged; starting over")
    assert [event.offset for event in terms.events if isinstance(event, Started)] == [100, 0]


@pytest.mark.parametrize("kept", [b"", b"x" * 100])
def test_wrong_bytes_are_refused_in_the_end_and_not_kept(kept: bytes) -> None:
    terms = Terms(DATA, kept=kept, promised=DATA[::-1])

    terms.finish()

    (worker,) = terms.workers
    assert isinstance(worker.error, DigestMismatch)
    assert str(worker.error).startswith(f"a.example/b@{terms.descriptor.digest}: sent other bytes")
    assert terms.writer.commits == 0
    assert terms.store.status(REF).offset == 0
    assert terms.fetcher.streams == (2 if kept else 1)


def test_wrong_bytes_over_several_connections_are_tried_once_more() -> None:
    terms = Terms(DATA, promised=DATA[::-1])
    terms.workers[0].step()
    terms.now += 10
    assert terms.halve() is not None

    terms.finish()

    errors = [worker.error for worker in terms.workers if worker.error]
    assert [type(error) for error in errors] == [DigestMismatch]
    assert len([event for event in terms.events if isinstance(event, Started)]) == 2


def test_a_stop_ends_every_part_and_keeps_what_came() -> None:
    terms = Terms(DATA)
    for _ in range(5):
        terms.workers[0].step()
    terms.now += 10
    terms.halve()
    terms.stop.set()

    terms.finish()

    assert all(isinstance(worker.error, Cancelled) for worker in terms.workers)
    terms.download.close()
    terms.download.close()
    assert terms.store.status(REF).offset == 40
    with pytest.raises(NotFound):
        terms.store.info(terms.descriptor.digest)


def test_a_connection_that_is_broken_off_on_purpose_is_not_news() -> None:
    terms = Terms(DATA)
    for _ in range(3):
        terms.workers[0].step()
    terms.stop.set()
    terms.fetcher.drops = 1

    terms.finish()

    assert isinstance(terms.workers[0].error, Cancelled)
    assert terms.notes() == []


def test_progress_is_told_a_few_times_a_second() -> None:
    terms = Terms(DATA, piece=1)
    for _ in range(500):
        terms.workers[0].step()
        terms.now += 0.01

    told = [event.offset for event in terms.events if isinstance(event, Moved)]

    assert 20 <= len(told) <= 27
    assert told == sorted(told)
    terms.finish()


def test_an_end_that_is_given_back_after_it_was_read_beyond_loses_no_byte() -> None:
    terms = Terms(DATA, piece=1000)
    terms.slow_events = True
    terms.workers[0].step()
    terms.workers[0].step()  # it waits for as much as there is
    terms.now += 10
    second = terms.halve()
    assert second is not None
    terms.fetcher.ranges = False

    terms.workers[0].step()  # more came than it may have by now, and it is about to see that
    while not second.done:
        second.step()
    terms.finish()

    terms.check()


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_order_of_things_loses_a_byte_or_writes_one_twice(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 600))
    kept = data.draw(st.integers(0, size))
    edges = sorted(data.draw(st.sets(st.integers(kept, size), max_size=4)))
    islands = list(zip(edges[::2], edges[1::2], strict=False))
    terms = Terms(
        DATA[:size],
        kept=DATA[:kept],
        islands=islands,
        piece=data.draw(st.integers(1, 60)),
        ranges=data.draw(st.booleans()),
    )

    drops, terms.slow_events = 0, data.draw(st.booleans())
    for _ in range(data.draw(st.integers(0, 60))):
        deed = data.draw(st.sampled_from(["step", "step", "halve", "wait", "ranges", "drop"]))
        running = terms.running()
        if deed == "step" and running:
            data.draw(st.sampled_from(running)).step()
        elif deed == "halve" and len(terms.workers) < 12:
            terms.halve()
        elif deed == "wait":
            terms.now += 3
        elif deed == "ranges":
            terms.fetcher.ranges = not terms.fetcher.ranges
        elif deed == "drop" and drops < 4:  # five in a row are one too many
            drops += 1
            terms.fetcher.drops = 1
    terms.finish()

    assert terms.halve() is None
    terms.check(kept=kept)
