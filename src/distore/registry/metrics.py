"""Metrics: what is counted, for Prometheus; summed over the worker processes of one server."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import DistoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BUCKETS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)  # seconds
_MAX_SERIES: Final = 1000  # of one name: label values must not come from strangers, and this makes sure
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Values = tuple[str, ...]


class Sample(NamedTuple):
    """One line of the page: ``suffix`` goes behind the name of its family."""

    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(NamedTuple):
    """All samples of one name. ``shared``: every process would tell the same number, so one does."""

    name: str
    kind: str
    help: str
    samples: list[Sample]
    shared: bool = False


class Counter:
    """Only grows. ``add(2, "GET", "200")``: the amount, then a value for each label."""

    def __init__(self, name: str, about: str, labels: Sequence[str]) -> None:
        self._name, self._about, self._labels = name, about, tuple(labels)
        self._guard = threading.Lock()
        self._values: dict[Values, float] = {} if labels else {(): 0.0}

    def add(self, amount: float = 1, /, *values: str) -> None:
        """Count ``amount`` more."""
        with self._guard:
            if values in self._values or len(self._values) < _MAX_SERIES:
                self._values[values] = self._values.get(values, 0.0) + amount

    def value(self, *values: str) -> float:
        """What was counted so far."""
        return self._values.get(values, 0.0)

    def collect(self) -> Family:
        """As it is now."""
        with self._guard:
            counted = list(self._values.items())
        samples = [
            Sample("", tuple(zip(self._labels, values, strict=True)), value) for values, value in counted
        ]
        return Family(self._name, "counter", self._about, samples)


class Gauge:
    """A number that somebody knows; ``read`` is asked whenever somebody looks."""

    def __init__(self, name: str, about: str, read: Callable[[], float], *, shared: bool) -> None:
        self._name, self._about, self._read, self._shared = name, about, read, shared

    def collect(self) -> Family:
        """As it is now; nothing, if it cannot be told."""
        try:
            samples = [Sample("", (), float(self._read()))]
        except (DistoreError, OSError, ValueError):  # a look at numbers must not fail for one of them
            samples = []
        return Family(self._name, "gauge", self._about, samples, self._shared)


class Histogram:
    """How often a number was how large."""

    def __init__(self, name: str, about: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._about, self._labels = name, about, tuple(labels)
        self._bounds = (*bounds, float("inf"))
        self._guard = threading.Lock()
        self._values: dict[Values, list[float]] = {}  # a count for each bound, then the sum

    def observe(self, number: float, /, *values: str) -> None:
        """One more."""
        with self._guard:
            counts = self._values.get(values)
            if counts is None:
                if len(self._values) >= _MAX_SERIES:
                    return
                counts = self._values[values] = [0.0] * (len(self._bounds) + 1)
            counts[-1] += number
            for at, bound in enumerate(self._bounds):
                if number <= bound:
                    counts[at] += 1
                    return

    def collect(self) -> Family:
        """As it is now."""
        with self._guard:
            counted = [(values, list(counts)) for values, counts in self._values.items()]
        samples = []
        for values, counts in counted:
            labels = tuple(zip(self._labels, values, strict=True))
            total = 0.0
            for bound, count in zip(self._bounds, counts, strict=False):
                total += count
                samples.append(Sample("_bucket", (*labels, ("le", _number(bound))), total))
            samples += [Sample("_sum", labels, counts[-1]), Sample("_count", labels, total)]
        return Family(self._name, "histogram", self._about, samples)


class Metrics:
    """The numbers of one process; safe to use from any thread. Names begin with ``distore_``.

    A name that is asked for twice is the same thing.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._all: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Counter:
        """Something that only grows; its name ends in ``_total``. Label values are ours."""
        found = self._add(name, lambda: Counter(name, about, labels))
        assert isinstance(found, Counter)
        return found

    def gauge(self, name: str, about: str, read: Callable[[], float], *, shared: bool = False) -> None:
        """Something that comes and goes.

        Args:
            read: Called from any thread.
            shared: It is the same in all processes; otherwise theirs are added up.
        """
        with self._guard:
            self._all[name] = Gauge(name, about, read, shared=shared)

    def histogram(
        self, name: str, about: str, labels: Sequence[str] = (), bounds: Sequence[float] = BUCKETS
    ) -> Histogram:
        """How often something was how large."""
        found = self._add(name, lambda: Histogram(name, about, labels, bounds))
        assert isinstance(found, Histogram)
        return found

    def collect(self) -> list[Family]:
        """All of it, as it is now."""
        with self._guard:
            every = list(self._all.values())
        return [each.collect() for each in every]

    def _add(self, name: str, make: Callable[[], Counter | Histogram]) -> Counter | Gauge | Histogram:
        with self._guard:
            if name not in self._all:
                self._all[name] = make()
            return self._all[name]


def dump(families: Iterable[Family]) -> bytes:
    """For another process, which has ``load``."""
    return json.dumps(
        [[*family[:3], [list(sample) for sample in family.samples], family.shared] for family in families]
    ).encode()


def load(data: bytes) -> list[Family]:
    """What ``dump`` gave.

    Raises:
        ValueError, TypeError: It is something else.
    """
    return [
        Family(
            str(name),
            str(kind),
            str(about),
            [
                Sample(str(suffix), tuple((str(key), str(text)) for key, text in labels), float(value))
                for suffix, labels, value in samples
            ],
            bool(shared),
        )
        for name, kind, about, samples, shared in json.loads(data)
    ]


def summed(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """The numbers of all processes as one."""
    families: dict[str, Family] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for process in processes:
        for family in process:
            families.setdefault(family.name, family)
            of_name = sums.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.suffix, sample.labels)
                before = 0.0 if family.shared else of_name.get(key, 0.0)
                of_name[key] = before + sample.value
    return [
        family._replace(samples=[Sample(*key, value) for key, value in sums[name].items()])
        for name, family in families.items()
    ]


def page(families: Iterable[Family]) -> bytes:
    """The text that Prometheus reads (exposition format 0.0.4)."""
    lines = []
    for name, kind, about, samples, _ in families:
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        for suffix, labels, value in samples:
            shown = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels)
            lines.append(
                f"{name}{suffix}{{{shown}}} {_number(value)}" if shown else f"{name}{suffix} {_number(value)}"
            )
    return ("\n".join(lines) + "\n").encode()


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
