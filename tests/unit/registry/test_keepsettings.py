"""The table [keep]."""

from __future__ import annotations

import tomllib

import pytest

from distore.errors import InvalidArgument
from distore.registry.keepsettings import KeepRule, KeepSettings, Quota
from distore.registry.patterns import Patterns
from distore.registry.table import Table


def read(text: str) -> KeepSettings:
    return KeepSettings.read(Table(tomllib.loads(text), where="serve.toml [keep]", folder="/"))


def test_an_empty_table_keeps_everything() -> None:
    assert read("") == KeepSettings()
    assert KeepSettings().rules == ()
    assert (KeepSettings().grace, KeepSettings().interval, KeepSettings().uploads) == (3600, 3600, 86400)


def test_every_key_is_read() -> None:
    found = read(
        """
        interval = "10m"
        grace = "5s"
        uploads = "1d"
        untagged = "30d"
        collect = "all"
        high_water = 0.9
        free = "2G"
        [[rule]]
        repositories = ["team/**", "!team/old"]
        tags = "v*"
        newest = 3
        pushed_within = "7d"
        pulled_within = "12h"
        [[quota]]
        size = "50G"
        [[quota]]
        repositories = ["team/**"]
        size = "5Gi"
        """
    )

    assert found == KeepSettings(
        interval=600,
        grace=5,
        uploads=86400,
        untagged=30 * 86400,
        collect="all",
        high_water=0.9,
        free=2 * 10**9,
        rules=(
            KeepRule(
                repositories=Patterns(("team/**",), ("team/old",)),
                tags=Patterns(("v*",)),
                newest=3,
                pushed_within=7 * 86400,
                pulled_within=12 * 3600,
            ),
        ),
        quotas=(Quota(size=50 * 10**9), Quota(repositories=Patterns(("team/**",)), size=5 * 2**30)),
    )


def test_one_quota_for_all_is_one_line() -> None:
    assert read('quota = "50G"').quotas == (Quota(size=50 * 10**9),)


def test_zero_means_at_once_or_never() -> None:
    found = read('interval = 0\ngrace = "0s"\nuploads = 0')

    assert (found.interval, found.grace, found.uploads) == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep = 1", "'keep': no such setting"),
        ('quota = "much"', "'quota': want a number of bytes"),
        ("quota = [1]", "'quota': want tables"),
        ("[[quota]]\nsize = 1\nname = 'x'", "[[quota]] 1: 'name': no such setting"),
        ("[[rule]]\ntags = [1]", "[[rule]] 1: 'tags': want a list of texts"),
        ("[[rule]]\ntags = ['!']", "want 1 to 300 characters"),
        ("[[rule]]\nnewest = 1.5", "'newest': want a whole number"),
        ("[[rule]]\npushed_within = 'long'", "want a duration"),
        ("untagged = 30", "'untagged': want a duration, such as 90s, 24h or 30d"),  # of what?
        ("high_water = 0", "want a number above 0"),
        ("high_water = true", "want a number above 0"),
        ("interval = '500ms'", "want 0 for never, or a second or more"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(text)

    assert said in str(caught.value)
    assert str(caught.value).startswith("serve.toml [keep]")
