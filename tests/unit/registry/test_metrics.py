"""Metrics: counted, added up over processes, and written as Prometheus reads them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from distore.errors import Unavailable
from distore.registry.metrics import Metrics, dump, load, page, summed


def values(metrics: list[Metrics]) -> dict[str, float]:
    """What Prometheus' own parser reads of the page, by name and labels."""
    text = page(summed(load(dump(each.collect())) for each in metrics)).decode()
    return {
        sample.name + "".join(sorted(map(str, sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_counted_is_on_the_page_summed_over_processes() -> None:
    one, two = Metrics(), Metrics()
    for metrics in (one, two):
        metrics.counter("a_total", "A.", ("kind",)).add(2, "x")
        metrics.gauge("b", "B.", lambda: 3)
        metrics.gauge("c", "C.", lambda: 5, shared=True)
    one.counter("a_total", "A.", ("kind",)).add(1, 'with "quotes"\n\\')

    assert values([one, two]) == {
        "a_total('kind', 'x')": 4,
        "a_total('kind', 'with \"quotes\"\\n\\\\')": 1,
        "b": 6,
        "c": 5,
    }


def test_a_histogram_tells_how_many_were_at_most_so_large() -> None:
    metrics = Metrics()
    histogram = metrics.histogram("s", "S.", bounds=(1.0, 2.0))
    for number in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(number)

    assert values([metrics]) == {
        "s_bucket('le', '1')": 2,
        "s_bucket('le', '2')": 3,
        "s_bucket('le', '+Inf')": 4,
        "s_sum": 12.0,
        "s_count": 4,
    }


def test_a_number_that_cannot_be_told_is_left_out() -> None:
    def fail() -> float:
        raise Unavailable("no")

    metrics = Metrics()
    metrics.gauge("a", "A.", fail)
    metrics.gauge("b", "B.", lambda: 1)

    assert values([metrics]) == {"b": 1}


def test_labels_from_strangers_do_not_fill_the_memory() -> None:
    metrics = Metrics()
    counter = metrics.counter("a_total", "A.", ("path",))
    for number in range(5000):
        counter.add(1, str(number))

    assert len(values([metrics])) == 1000


@pytest.mark.parametrize("data", [b"", b"{}x", b"[1]", b"[[1,2]]", b'[["a","b","c",[["",[],"x"]],0]]'])
def test_what_no_worker_says_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        load(data)
