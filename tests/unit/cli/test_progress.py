"""Progress on standard output and error: JSON, lines, bars, or nothing."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator

import pytest

from distore.cli.output import Output
from distore.cli.progress import Total, describe, show
from distore.errors import Unavailable
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer.progress import Done, Event, Finished, Moved, Noted, Planned, Resolved, Started

ONE, TWO, HERE = Digest.of(b"one"), Digest.of(b"two"), Digest.of(b"here")
ROOT = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"root"), size=500)
LAYER = mediatypes.OCI_LAYER_GZIP
EVENTS: list[Event] = [
    Resolved(name="a/b:c", descriptor=ROOT),
    Done(digest=HERE, media_type=LAYER, size=1000, how="present"),
    Planned(blobs=3, size=6000, missing_blobs=2, missing=4500, kept=500),
    Started(digest=ONE, media_type=LAYER, size=3000, offset=500),
    Moved(digest=ONE, offset=1500, size=3000),
    Noted(text="x: broke off; trying again in 0.1 s (4 left)"),
    Started(digest=TWO, media_type=LAYER, size=2000, offset=0),
    Done(digest=ONE, media_type=LAYER, size=3000, how="fetched"),
    Moved(digest=TWO, offset=100, size=2000),
    Done(digest=TWO, media_type=LAYER, size=2000, how="fetched"),
    Finished(name="a/b:c", descriptor=ROOT, size=6500, moved=4500, seconds=2.0),
]


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_with_json_every_event_is_a_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show(EVENTS, Output(as_json=True), quiet=False, clock=clock)

    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [event.to_json() for event in EVENTS]
    assert err == ""


def test_without_a_terminal_a_line_tells_of_each_thing_that_happened(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = show(EVENTS, Output(), quiet=False, clock=clock)

    out, err = capsys.readouterr()
    assert finished == EVENTS[-1]
    assert out == ""
    assert err.splitlines() == [
        f"a/b:c: {ROOT.digest}",
        f"present {HERE[:19]} 1.0 kB",
        "3 blobs, 6.0 kB; 1 there already, 4.5 kB to move, 500 B kept from before",
        "dist: x: broke off; trying again in 0.1 s (4 left)",
        f"fetched {ONE[:19]} 3.0 kB",
        f"fetched {TWO[:19]} 2.0 kB",
        "4.5 kB moved in 2.0 s, 2.2 kB/s",
    ]


def test_quiet_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(EVENTS, Output(), quiet=True, clock=clock) == EVENTS[-1]

    assert capsys.readouterr() == ("", "")


def test_json_is_json_even_when_quiet(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show(EVENTS, Output(as_json=True), quiet=True, clock=clock)

    assert len(capsys.readouterr().out.splitlines()) == len(EVENTS)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_comes_through_after_what_was_shown(
    clock: Clock, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    def events() -> Iterator[Event]:
        yield EVENTS[0]
        raise Unavailable("gone")

    with pytest.raises(Unavailable):
        show(events(), Output(as_json=as_json), quiet=False, clock=clock)

    out, err = capsys.readouterr()
    assert str(ROOT.digest) in (out if as_json else err)


def test_events_that_do_not_finish_give_none(clock: Clock) -> None:
    assert show(EVENTS[:3], Output(), quiet=True, clock=clock) is None


def test_whoever_shows_closes_what_it_shows_when_it_is_interrupted(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    def events() -> Iterator[Event]:
        try:
            yield from EVENTS
        finally:
            closed.append(True)

    def interrupted(text: str) -> None:
        raise KeyboardInterrupt

    out, kept = Output(), events()
    monkeypatch.setattr(out, "note", interrupted)

    with pytest.raises(KeyboardInterrupt):
        show(kept, out, quiet=False, clock=clock)

    assert closed == [True]


def test_every_few_seconds_a_line_tells_of_the_whole(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def events() -> Iterator[Event]:
        yield Planned(blobs=1, size=10_000_000, missing_blobs=1, missing=10_000_000)
        yield Started(digest=ONE, media_type=LAYER, size=10_000_000, offset=0)
        for second in range(12):
            clock.now += 1
            yield Moved(digest=ONE, offset=(second + 1) * 100_000, size=10_000_000)

    show(events(), Output(), quiet=False, clock=clock)

    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("...")] == [
        "... 500 kB of 10.0 MB, 100 kB/s, 1 minute left",
        "... 1.0 MB of 10.0 MB, 100 kB/s, 1 minute left",
    ]


def test_the_total_counts_what_travelled_since_the_plan(clock: Clock) -> None:
    total = Total(clock)
    for event in EVENTS[:5]:
        total.add(event)
    clock.now += 2

    assert (total.moved, total.rate) == (1000, 500.0)
    assert str(total) == "1.0 kB of 4.5 kB, 500 B/s, 7 seconds left"
    for event in EVENTS[5:]:
        total.add(event)
    assert total.moved == 4500


def test_what_another_process_brings_does_not_count_as_moved(clock: Clock) -> None:
    total = Total(clock)
    total.add(Planned(blobs=1, size=9, missing_blobs=1, missing=9))

    total.add(Moved(digest=ONE, offset=5, size=9))
    total.add(Done(digest=ONE, media_type=LAYER, size=9, how="followed"))

    assert (total.moved, total.rate) == (0, 0.0)


def test_a_name_cannot_play_tricks_on_a_terminal() -> None:
    text = describe(Resolved(name="a\x1b[31m", descriptor=ROOT))

    assert text is not None
    assert text.isprintable()


def test_an_image_that_is_there_has_no_speed() -> None:
    assert describe(Finished(name="a", descriptor=ROOT, size=1, moved=0, seconds=0.0)) == "done in 0.0 s"


class TestBars:
    """On a terminal."""

    @pytest.fixture(autouse=True)
    def _terminal(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm")

    def test_what_happened_stays_and_the_bars_go(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert show(EVENTS, Output(), quiet=False, clock=clock) == EVENTS[-1]

        out, err = capsys.readouterr()
        assert out == ""
        for event in (EVENTS[0], EVENTS[2], EVENTS[5], EVENTS[7], EVENTS[-1]):
            text = describe(event)
            assert text is not None and text in err
        assert err.count("present") == 1

    def test_the_bar_of_the_whole_ends_where_all_has_come(self) -> None:
        from distore.cli.bars import Bars

        bars = Bars()
        for event in EVENTS:
            bars.show(event)
        bars.close()

        (task,) = bars._progress.tasks
        assert (task.completed, task.total) == (4500, 4500)

    def test_a_blob_that_starts_over_keeps_one_bar(self) -> None:
        from distore.cli.bars import Bars

        bars = Bars()
        again = Started(digest=ONE, media_type=LAYER, size=3000, offset=0)
        for event in (*EVENTS[:5], again, Moved(digest=ONE, offset=10, size=3000)):
            bars.show(event)

        assert [(task.completed, task.total) for task in bars._progress.tasks[1:]] == [(10, 3000)]
        bars.show(EVENTS[7])
        bars.close()
        assert len(bars._progress.tasks) == 1

    def test_one_of_many_shows_notes_alone(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        show(EVENTS, Output(), quiet=False, clock=clock, brief=True)

        err = capsys.readouterr().err
        assert "broke off" in err
        assert "fetched" not in err

    def test_words_in_brackets_are_words(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        show([Noted(text="[red]layer[/red] [bold]")], Output(), quiet=False, clock=clock)

        assert "dist: [red]layer[/red] [bold]" in capsys.readouterr().err

    def test_a_failure_ends_the_bars(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        def events() -> Iterator[Event]:
            yield from EVENTS[:5]
            raise Unavailable("gone")

        before = threading.active_count()
        with pytest.raises(Unavailable):
            show(events(), Output(), quiet=False, clock=clock)

        assert threading.active_count() == before
        assert "3 blobs" in capsys.readouterr().err
