"""The rules, carried out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.keepsettings import KeepRule, KeepSettings
from distore.registry.patterns import Patterns
from distore.registry.pruning import prune
from distore.repositories import ManifestRecord
from distore.testing.lease_suite import Clock
from distore.testing.memory_repositories import MemoryRepositories

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DAY = 86400.0
SETTINGS = KeepSettings(rules=(KeepRule(tags=Patterns(("v*",)), pushed_within=DAY),))


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def signature_of(name: str) -> str:
    return digest(name).replace(":", "-") + ".sig"


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.repositories = MemoryRepositories(now=self.clock)

    def push(self, name: str, *tags: str, subject: str | None = None, children: Sequence[str] = ()) -> None:
        record = ManifestRecord(
            descriptor=Descriptor(media_type=MANIFEST, digest=digest(name), size=len(name)),
            subject=None if subject is None else digest(subject),
            children=tuple((digest(child), 1) for child in children),
        )
        assert self.repositories.put_manifest("app", record, tags=tags) == []

    def prune(self, *, dry_run: bool = False) -> set[str]:
        """Tags and digests that went, or would."""
        judged = prune(self.repositories, SETTINGS, now=self.clock.now, dry_run=dry_run)
        return {one.tag or one.digest for one in judged if (not one.keep if dry_run else one.gone)}

    def there(self) -> tuple[set[str], set[Digest]]:
        return (
            {tag.name for tag in self.repositories.tags("app")},
            {record.descriptor.digest for record in self.repositories.manifests("app")},
        )


@pytest.fixture
def world() -> World:
    """An image under v1 with a list, a signature by tag, one by subject, and one of the signature."""
    world = World()
    world.push("amd64")
    world.push("image", "v1", children=["amd64"])
    world.push("of image", signature_of("image"))
    world.push("of of image", signature_of("of image"))
    world.push("about image", subject="image")
    world.clock.now += 9 * DAY
    return world


def test_an_image_goes_with_all_that_belongs_to_it(world: World) -> None:
    world.prune()

    assert world.there() == (set(), set())


@pytest.mark.parametrize("of_use", [(), ("image",), ("amd64",), ("of image",), ("about image",)])
def test_a_dry_run_tells_what_a_real_one_does(world: World, of_use: tuple[str, ...]) -> None:
    for name in of_use:
        assert world.repositories.use("app", digest(name))
    world.clock.now += 60

    told = world.prune(dry_run=True)

    assert told == world.prune()


def test_an_image_that_somebody_came_to_use_since_the_verdict_keeps_its_signatures(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.there()
    manifests = world.repositories.manifests

    def late(repository: str) -> list[ManifestRecord]:
        found = manifests(repository)
        world.push("image", "prod", children=["amd64"])
        return found

    monkeypatch.setattr(world.repositories, "manifests", late)
    gone = world.prune()

    assert gone <= {"v1"}
    assert world.there()[1] == before[1]
    assert before[0] - {"v1"} <= world.there()[0]
