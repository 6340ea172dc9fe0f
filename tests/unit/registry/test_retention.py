"""What stays of a repository, and why."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.keepsettings import KeepRule, KeepSettings
from distore.registry.patterns import Patterns
from distore.registry.retention import Verdicts, attached_to, decide
from distore.repositories import ManifestRecord, Tag

NOW = datetime(2026, 11, 27, tzinfo=UTC)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DAY = 86400.0


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def record(
    name: str,
    *,
    subject: str | None = None,
    children: Sequence[str] = (),
    pushed: float = 99,
    pulled: float | None = None,
) -> ManifestRecord:
    """A manifest, pushed and pulled so many days ago."""
    return ManifestRecord(
        descriptor=Descriptor(media_type=MANIFEST, digest=digest(name), size=len(name)),
        subject=None if subject is None else digest(subject),
        children=tuple((digest(child), len(child)) for child in children),
        pushed=NOW - timedelta(days=pushed),
        pulled=None if pulled is None else NOW - timedelta(days=pulled),
    )


def tag(name: str, of: str, *, updated: float | None = 0, pulled: float | None = None) -> Tag:
    return Tag(
        name=name,
        descriptor=Descriptor(media_type=MANIFEST, digest=digest(of), size=len(of)),
        updated=None if updated is None else NOW - timedelta(days=updated),
        pulled=None if pulled is None else NOW - timedelta(days=pulled),
    )


def decided(
    tags: Sequence[Tag],
    manifests: Sequence[ManifestRecord],
    *rules: KeepRule,
    untagged: float | None = None,
    repository: str = "team/app",
) -> Verdicts:
    settings = KeepSettings(rules=rules, untagged=untagged)
    return decide(repository, tags, manifests, settings=settings, now=NOW)


def kept(found: Verdicts) -> tuple[set[str], set[Digest]]:
    tags = {tag.name for tag, verdict in found.tags if verdict.keep}
    return tags, {one.descriptor.digest for one, verdict in found.manifests if verdict.keep}


def digests(*names: str) -> set[Digest]:
    return {digest(name) for name in names}


def reasons(found: Verdicts) -> Mapping[str, str]:
    return {tag.name: verdict.reason for tag, verdict in found.tags}


def test_without_rules_everything_stays() -> None:
    found = decided([tag("1", "a", updated=9999)], [record("a"), record("b", pushed=9999)])

    assert kept(found) == ({"1"}, digests("a", "b"))
    assert found.going_tags == []
    assert found.going_manifests == []


def test_the_newest_tags_of_a_rule_stay_and_the_others_go_with_their_manifests() -> None:
    tags = [tag("v1", "a", updated=30), tag("v2", "b", updated=20), tag("v3", "c", updated=10)]
    rule = KeepRule(tags=Patterns(("v*",)), newest=2)

    found = decided(tags, [record("a"), record("b"), record("c")], rule)

    assert kept(found) == ({"v2", "v3"}, digests("b", "c"))
    assert reasons(found)["v3"] == "newest 2 of v*"
    assert reasons(found)["v1"] == "not among the newest 2 of v*; pushed 30d ago"


def test_a_tag_that_no_rule_is_about_stays() -> None:
    rule = KeepRule(tags=Patterns(("v*",)), pushed_within=0)

    found = decided([tag("latest", "a", updated=99)], [record("a")], rule)

    assert kept(found) == ({"latest"}, digests("a"))
    assert reasons(found) == {"latest": "no rule is about it"}


def test_rules_are_for_their_repositories() -> None:
    rule = KeepRule(repositories=Patterns(("other/**",)), pushed_within=1)

    assert kept(decided([tag("1", "a", updated=9)], [record("a")], rule))[0] == {"1"}
    assert kept(decided([tag("1", "a", updated=9)], [record("a")], rule, repository="other/x"))[0] == set()


def test_the_first_rule_about_a_tag_decides() -> None:
    rules = (KeepRule(tags=Patterns(("v1",))), KeepRule(pushed_within=DAY))

    found = decided(
        [tag("v1", "a", updated=9), tag("v2", "b", updated=9)], [record("a"), record("b")], *rules
    )

    assert kept(found)[0] == {"v1"}


@pytest.mark.parametrize(
    ("one", "stays"),
    [
        (tag("1", "a", updated=2, pulled=None), True),
        (tag("1", "a", updated=8, pulled=1), True),
        (tag("1", "a", updated=8, pulled=6), False),
        (tag("1", "a", updated=8, pulled=None), False),
        (tag("1", "a", updated=4, pulled=None), True),  # it has had no time to be pulled
        (tag("1", "a", updated=None, pulled=None), True),
    ],
)
def test_any_condition_of_a_rule_keeps_a_tag(one: Tag, stays: bool) -> None:
    rule = KeepRule(pushed_within=3 * DAY, pulled_within=5 * DAY)

    assert kept(decided([one], [record("a")], rule))[0] == ({"1"} if stays else set())


def test_pushing_the_same_again_counts_as_a_push() -> None:
    rule = KeepRule(pushed_within=DAY)

    assert kept(decided([tag("1", "a", updated=9)], [record("a", pushed=0)], rule))[0] == {"1"}


def test_a_manifest_with_another_tag_stays() -> None:
    tags = [tag("old", "a", updated=9), tag("latest", "a", updated=9)]

    found = decided(tags, [record("a")], KeepRule(tags=Patterns(("old",)), pushed_within=DAY))

    assert kept(found) == ({"latest"}, digests("a"))


def test_children_and_referrers_of_what_stays_stay_however_deep() -> None:
    manifests = [
        record("index", children=["amd64", "arm64"]),
        record("amd64", pushed=99),
        record("arm64", pushed=99),
        record("signature", subject="amd64", pushed=99),
        record("of the signature", subject="signature", pushed=99),
    ]

    found = decided([tag("1", "index")], manifests, untagged=DAY)

    assert kept(found)[1] == digests("index", "amd64", "arm64", "signature", "of the signature")


def test_children_and_referrers_go_with_what_goes() -> None:
    manifests = [
        record("index", children=["amd64", "shared"]),
        record("amd64"),
        record("shared"),
        record("signature", subject="index"),
        record("kept", children=["shared"]),
    ]
    tags = [tag("v1", "index", updated=9), tag("v2", "kept")]

    found = decided(tags, manifests, KeepRule(newest=1))

    assert kept(found) == ({"v2"}, digests("kept", "shared"))
    going = [one.descriptor.digest for one in found.going_manifests]
    assert set(going) == digests("index", "amd64", "signature")
    assert going.index(digest("index")) < going.index(digest("amd64"))


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_tags_that_hang_on_a_digest_follow_what_it_names(suffix: str) -> None:
    def signed(name: str) -> str:
        return digest(name).replace(":", "-") + suffix

    tags = [
        tag("v1", "a", updated=9),
        tag("v2", "b", updated=9),
        tag(signed("a"), "of a", updated=9),
        tag(signed("b"), "of b", updated=9),
    ]
    manifests = [record("a"), record("b"), record("of a"), record("of b")]

    found = decided(tags, manifests, KeepRule(tags=Patterns(("v2",))), KeepRule(pushed_within=DAY))

    assert kept(found) == ({"v2", signed("b")}, digests("b", "of b"))
    assert reasons(found)[signed("b")].startswith("belongs to sha256:")
    assert reasons(found)[signed("a")].startswith("goes with sha256:")


def test_a_tag_that_hangs_on_nothing_that_is_there_is_as_any_other() -> None:
    name = digest("gone").replace(":", "-") + ".sig"

    assert kept(decided([tag(name, "a")], [record("a")]))[0] == {name}
    assert kept(decided([tag(name, "a", updated=9)], [record("a")], KeepRule(newest=0)))[0] == set()


def test_an_image_that_has_its_own_digest_for_a_tag_stays_with_it() -> None:
    name = digest("a").replace(":", "-")

    found = decided([tag(name, "a", updated=99)], [record("a", pushed=99)], untagged=DAY)

    assert kept(found) == ({name}, digests("a"))


def test_untagged_manifests_go_when_nobody_pushed_or_got_them_for_long() -> None:
    manifests = [
        record("new", pushed=1),
        record("old", pushed=9),
        record("used", pushed=9, pulled=1),
        record("about old", subject="old", pushed=1),
        record("about used", subject="used", pushed=9),
        record("of old", pushed=9),
    ]

    found = decided([], [*manifests, record("list", children=["of old"], pushed=9)], untagged=7 * DAY)

    assert kept(found)[1] == digests("new", "used", "about used")
    assert kept(decided([], manifests))[1] == {one.descriptor.digest for one in manifests}


def test_a_referrer_of_what_was_never_here_is_untagged() -> None:
    manifests = [
        record("early", subject="elsewhere", pushed=1),
        record("late", subject="elsewhere", pushed=9),
    ]

    assert kept(decided([], manifests, untagged=7 * DAY))[1] == digests("early")


@pytest.mark.parametrize(
    ("text", "hangs"),
    [
        ("sha256-" + "a" * 64, True),
        ("sha256-" + "a" * 64 + ".sig", True),
        ("sha512-" + "a" * 128, True),
        ("sha512-" + "a" * 64, False),
        ("sha256-" + "A" * 64, False),
        ("sha256-abc", False),
        ("latest", False),
    ],
)
def test_the_names_of_tags_that_hang(text: str, hangs: bool) -> None:
    assert (attached_to(text) is not None) is hangs


@given(seed=st.integers(0, 2**32), untagged=st.sampled_from([None, 0.0, 5 * DAY]))
def test_what_stays_is_whole(seed: int, untagged: float | None) -> None:
    """No tag names what goes, no index that stays loses a child, no referrer outlives its subject."""
    draw = random.Random(seed)
    names = [f"m{number}" for number in range(12)]
    manifests = []
    for number, name in enumerate(names):
        children = draw.sample(names[:number], k=min(number, draw.choice([0, 0, 1, 3])))
        subject = draw.choice(names[:number]) if number and draw.random() < 0.3 else None
        manifests.append(record(name, subject=subject, children=children, pushed=draw.randint(0, 20)))
    tags = [tag(f"v{number}", draw.choice(names), updated=draw.randint(0, 20)) for number in range(5)]
    for name in draw.sample(names, k=3):
        tags.append(tag(digest(name).replace(":", "-") + ".sig", draw.choice(names), updated=20))

    found = decided(tags, manifests, KeepRule(newest=draw.randint(0, 5)), untagged=untagged)

    staying_tags, staying = kept(found)
    for one in tags:
        assert one.name not in staying_tags or one.descriptor.digest in staying
    for each in manifests:
        if each.descriptor.digest in staying:
            assert {child for child, _ in each.children} <= staying
        elif each.subject is None:
            continue
    for each in manifests:
        if each.subject in staying:
            assert each.descriptor.digest in staying
    assert {one.descriptor.digest for one in found.going_manifests} == digests(*names) - staying


def used(one: ManifestRecord, seconds: float) -> ManifestRecord:
    """Somebody was told of it so many seconds ago."""
    return replace(one, used=NOW - timedelta(seconds=seconds))


def test_what_was_of_use_within_the_time_of_grace_stays_and_what_belongs_to_it() -> None:
    signed = digest("a").replace(":", "-") + ".sig"
    tags = [tag("v1", "a", updated=9), tag("v2", "b", updated=9), tag(signed, "of a", updated=9)]
    manifests = [
        used(record("a"), 60),
        used(record("b"), 3700),
        record("of a"),
        record("about a", subject="a"),
        used(record("loose"), 60),
    ]

    found = decided(tags, manifests, KeepRule(pushed_within=DAY), untagged=DAY)

    assert kept(found) == ({"v1", signed}, digests("a", "of a", "about a", "loose"))
    assert reasons(found)["v1"] == "pushed or asked for 1m ago"


@pytest.mark.parametrize(
    "manifests",
    [[record("a", pulled=1)], [record("a", children=["amd64"]), record("amd64", pulled=1)]],
    ids=["the manifest", "one of the index"],
)
def test_who_gets_it_by_digest_pulls_the_tag(manifests: list[ManifestRecord]) -> None:
    rule = KeepRule(pulled_within=2 * DAY)

    assert kept(decided([tag("1", "a", updated=9)], manifests, rule))[0] == {"1"}


def test_one_of_an_untagged_index_stays_that_is_got_by_its_digest() -> None:
    manifests = [
        record("index", children=["amd64", "arm64"], pushed=9),
        record("amd64", pushed=9, pulled=1),
        record("arm64", pushed=9),
    ]

    assert kept(decided([], manifests, untagged=7 * DAY))[1] == digests("amd64")


def test_a_subject_goes_before_what_is_about_it() -> None:
    manifests = [record("signature", subject="amd64"), record("amd64"), record("index", children=["amd64"])]

    found = decided([], manifests, untagged=DAY)

    going = [one.descriptor.digest for one in found.going_manifests]
    assert going == [digest("index"), digest("amd64"), digest("signature")]
