"""Spacing: the same after it was written and read; requests never closer than it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.remotes.spacing import (
    MAX_PAUSE,
    WIDEST,
    Spacing,
    parse,
    refused,
    reserve,
    still_good,
    succeeded,
    write,
)

NOW = 1_700_000_000.0
# What happens to a host, and how many seconds later.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("refused", "asked to wait", "succeeded", "reserve")),
        st.floats(0, 100),
        st.floats(0, 2 * MAX_PAUSE),
        st.floats(0, 1, exclude_max=True),
    ),
    max_size=30,
)


@given(EVENTS)
def test_whatever_happens_no_two_moments_are_closer_than_the_spacing_of_the_first(
    events: list[tuple[str, float, float, float]],
) -> None:
    now, free = NOW, 0.0
    known: Spacing | None = None
    for what, later, asked, chance in [("refused", 0.0, 0.0, 0.0), *events]:
        now += later
        if what == "succeeded":
            known = succeeded(known, now)
        elif what != "reserve":
            known = refused(known, now, retry_after=asked if what != "refused" else None, chance=chance)
        elif known is not None:
            wait, new = reserve(known, now)
            assert now + wait >= max(free, known.until) - 1e-6
            known, free = new, now + wait + known.spacing
        if known is None:
            free = 0.0  # it is forgiven
            continue
        assert 0 < known.spacing <= WIDEST
        read = parse(dict(line.split() for line in write(known).splitlines()))
        if known.slot - known.told <= 2 * MAX_PAUSE:
            assert read == pytest.approx(known, abs=1e-5)
        assert still_good(known, now) == known


@given(st.dictionaries(st.sampled_from(Spacing._fields), st.text(max_size=12)))
def test_no_text_is_an_error(fields: dict[str, str]) -> None:
    found = parse(fields)

    assert found is None or 0 < found.spacing <= WIDEST


def test_a_wish_for_the_moon_is_cut() -> None:
    assert refused(None, NOW, retry_after=1e12, chance=0.0).until == NOW + MAX_PAUSE
