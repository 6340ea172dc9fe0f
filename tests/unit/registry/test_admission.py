"""Pushes that there is no room for."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from distore.content.memory import MemoryStore
from distore.errors import DiskFull, PermissionDenied
from distore.oci.digest import Digest
from distore.registry.admission import Admission
from distore.registry.keepsettings import KeepSettings, Quota
from distore.registry.message import BytesBody, Request, Response
from distore.registry.patterns import Patterns
from distore.registry.room import Room, Space
from distore.registry.routes import PushRegistry
from distore.registry.sizes import human
from distore.testing.memory_repositories import MemoryRepositories

GB = 10**9


@dataclass
class World:
    """A registry behind an Admission, with a disk and a clock that a test sets."""

    settings: KeepSettings
    repositories: MemoryRepositories = field(default_factory=MemoryRepositories)
    free: int = 100 * GB
    total: int = 100 * GB
    clock: float = 0.0
    full: int = 0

    def __post_init__(self) -> None:
        def on_full() -> None:
            self.full += 1

        self.room = Room(
            self.repositories,
            self.settings,
            space=lambda: Space(self.free, self.total),
            monotonic=lambda: self.clock,
            on_full=on_full,
        )
        self.store = MemoryStore()
        self.registry = PushRegistry(self.store, self.repositories)
        self.service = Admission(self.registry, self.room, content=self.store, repositories=self.repositories)

    def ask(
        self, method: str, path: str, data: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Response:
        path, _, query = path.partition("?")
        given = {"content-length": str(len(data))} if headers is None else headers
        return self.service.handle(
            Request(
                method=method,
                path=path,
                query=dict(part.split("=", 1) for part in query.split("&") if part),
                headers=given,
                body=BytesBody(data),
            )
        )

    def push(self, repository: str, data: bytes, headers: Mapping[str, str] | None = None) -> Response:
        """One blob by POST, PATCH and PUT; the first answer that is a refusal."""
        started = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        if started.status != 202:
            return started
        where = started.headers["location"]
        sent = self.ask("PATCH", where.partition("?")[0], data, headers)
        if sent.status != 202:
            return sent
        return self.ask("PUT", f"{where.partition('?')[0]}?digest={Digest.of(data)}")


def message(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return str(json.loads(response.body)["errors"][0]["message"])


def code(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return str(json.loads(response.body)["errors"][0]["code"])


def limited(size: int, *patterns: str) -> KeepSettings:
    return KeepSettings(quotas=(Quota(repositories=Patterns(patterns), size=size),))


@pytest.fixture
def world() -> World:
    return World(limited(1000, "team/**"))


def test_a_push_that_fits_goes_through(world: World) -> None:
    assert world.push("team/app", b"x" * 1000).status == 201


def test_a_blob_that_does_not_fit_is_refused_before_its_first_byte(world: World) -> None:
    assert world.push("team/a", b"x" * 600).status == 201
    world.clock += 2

    refused = world.push("team/b", b"y" * 500)

    assert (refused.status, code(refused)) == (403, "DENIED")
    assert message(refused) == "quota of team/** is used up: 600 B of 1 kB; 400 B free; this needs 500 B"
    assert world.push("team/b", b"y" * 400).status == 201


def test_a_full_quota_refuses_to_begin(world: World) -> None:
    assert world.push("team/a", b"x" * 1000).status == 201
    world.clock += 2

    for method, path in (
        ("POST", "/v2/team/b/blobs/uploads/"),
        ("POST", f"/v2/team/b/blobs/uploads/?digest={Digest.of(b'')}"),
        ("PUT", "/v2/team/b/manifests/1"),
    ):
        assert world.ask(method, path).status == 403


def test_other_repositories_and_pulls_go_on(world: World) -> None:
    data = b"x" * 1000
    assert world.push("team/a", data).status == 201
    world.clock += 2

    assert world.push("other/b", b"y" * 5000).status == 201
    assert world.ask("GET", f"/v2/team/a/blobs/{Digest.of(data)}").status == 200
    assert world.ask("DELETE", f"/v2/team/a/blobs/{Digest.of(data)}").status == 202


def test_a_deletion_makes_room(world: World) -> None:
    data = b"x" * 1000
    assert world.push("team/a", data).status == 201
    world.clock += 2
    assert world.push("team/a", b"y").status == 403

    world.ask("DELETE", f"/v2/team/a/blobs/{Digest.of(data)}")
    world.clock += 2

    assert world.push("team/a", b"y").status == 201


def test_a_blob_that_two_repositories_have_counts_once(world: World) -> None:
    data = b"x" * 600
    assert world.push("team/a", data).status == 201
    world.repositories.mount("team/a", "team/b", Digest.of(data))
    world.clock += 2

    assert world.push("team/b", b"y" * 400).status == 201


def test_bytes_that_nobody_announced_are_counted_as_they_come() -> None:
    world = World(limited(100_000_000))
    data = random.Random(1).randbytes(1_000_000) * 120

    refused = world.push("team/a", data, headers={"transfer-encoding": "chunked"})

    assert (refused.status, code(refused)) == (403, "DENIED")
    used = re.fullmatch(r"quota of \*\* is used up: ([0-9.]+) MB of 100 MB; 0 B free", message(refused))
    assert used is not None
    assert float(used[1]) <= 101
    assert list(world.store.statuses()) == []


def test_what_came_counts_before_anybody_adds_it_up(world: World) -> None:
    assert world.push("team/a", b"x" * 900).status == 201

    assert world.push("team/a", b"y" * 900).status == 403


def test_what_came_and_was_not_kept_counts_no_longer(world: World) -> None:
    where = world.ask("POST", "/v2/team/a/blobs/uploads/").headers["location"].partition("?")[0]
    assert world.ask("PATCH", where, b"x" * 900).status == 202
    assert world.ask("DELETE", where).status == 204
    world.clock += 2

    assert world.push("team/a", b"y" * 900).status == 201


def test_what_is_in_uploads_that_nobody_finishes_counts_until_they_are_dropped(world: World) -> None:
    where = world.ask("POST", "/v2/team/a/blobs/uploads/").headers["location"].partition("?")[0]
    for _ in range(2):
        assert world.ask("PATCH", where, b"x" * 300).status == 202
        world.clock += 60
    assert world.push("team/b", b"y" * 600).status == 403
    assert world.push("other", b"y" * 600).status == 201

    done = world.ask("PUT", f"{where}?digest={Digest.of(b'x' * 600)}")
    assert done.status == 201
    world.clock += 60
    assert world.push("team/b", b"y" * 600).status == 403
    assert world.push("team/b", b"y" * 400).status == 201


def test_an_upload_that_nobody_goes_on_with_counts_no_longer_than_it_is_there(world: World) -> None:
    where = world.ask("POST", "/v2/team/a/blobs/uploads/").headers["location"].partition("?")[0]
    assert world.ask("PATCH", where, b"x" * 600).status == 202
    world.clock += world.settings.uploads

    assert world.push("team/b", b"y" * 600).status == 201


def test_an_upload_that_is_refused_is_dropped_with_what_came_of_it() -> None:
    world = World(limited(1000, "**"))
    begun = world.ask("POST", "/v2/app/blobs/uploads/").headers["location"].partition("?")[0]
    assert world.ask("PATCH", begun, b"x" * 600).status == 202

    refused = world.ask("PATCH", begun, b"x" * 600)

    assert (refused.status, code(refused)) == (403, "DENIED")
    assert world.ask("GET", begun).status == 404
    assert list(world.store.statuses()) == []
    assert world.push("app", b"y" * 900).status == 201


def test_a_mount_counts_where_it_brings_bytes(world: World) -> None:
    data, digest = b"x" * 900, Digest.of(b"x" * 900)
    assert world.push("other/a", data).status == 201
    assert world.push("team/a", b"y" * 200).status == 201
    world.clock += 2

    refused = world.ask("POST", f"/v2/team/b/blobs/uploads/?mount={digest}&from=other/a")

    assert (refused.status, code(refused)) == (403, "DENIED")
    assert message(refused).endswith("this needs 900 B")
    # What the quota counts already may be offered by another of its repositories.
    inside = world.ask("POST", f"/v2/team/b/blobs/uploads/?mount={Digest.of(b'y' * 200)}&from=team/a")
    assert inside.status == 201
    assert world.ask("POST", "/v2/team/b/blobs/uploads/?mount=nonsense").status == 202


class Nothing:
    """May pull from nowhere."""

    user = "ann"

    def may(self, action: str, repository: str, /) -> bool:
        return action != "pull"


@pytest.mark.parametrize("query", [{}, {"from": "secret"}, {"from": "team/a"}])
def test_a_quota_does_not_tell_that_there_is_a_blob_which_may_not_be_read(
    world: World, query: dict[str, str]
) -> None:
    secret = b"x" * 5000
    assert world.push("secret", secret).status == 201

    for digest in (Digest.of(secret), Digest.of(b"not here")):
        request = Request(
            method="POST",
            path="/v2/team/a/blobs/uploads/",
            query={"mount": digest, **query},
            grants=Nothing(),
        )
        assert world.service.handle(request).status == 202
    assert world.push("team/a", b"y" * 1000).status == 201


def test_every_quota_must_have_room() -> None:
    quotas = (Quota(size=1000), Quota(repositories=Patterns(("team/*",)), size=100))
    world = World(KeepSettings(quotas=quotas))

    assert message(world.push("team/a", b"x" * 101)).startswith("quota of team/* is used up")
    assert world.push("other/a", b"x" * 101).status == 201


def test_a_full_disk_refuses_pushes_and_wakes_the_housekeeper() -> None:
    world = World(KeepSettings(high_water=0.9))
    world.free = 10 * GB

    refused = world.push("team/a", b"x")

    assert refused.status == 507
    assert message(refused).startswith("the disk of this registry is full: 10 GB of 100 GB are free, 10 GB")
    assert world.full == 1
    assert world.ask("GET", "/v2/").status == 200
    world.free = 11 * GB
    assert world.push("team/a", b"x").status == 201


@pytest.mark.parametrize(
    ("settings", "total", "least"),
    [
        (KeepSettings(), 1000 * GB, GB),
        (KeepSettings(), 10 * GB, GB // 2),
        (KeepSettings(free=3 * GB), 10 * GB, 3 * GB),
        (KeepSettings(free=0), 10 * GB, 0),
        (KeepSettings(high_water=0.95), 1000 * GB, 50 * GB),
        (KeepSettings(high_water=0.5, free=7 * GB), 10 * GB, 7 * GB),
    ],
)
def test_what_has_to_stay_free(settings: KeepSettings, total: int, least: int) -> None:
    world = World(settings, total=total, free=least + 1000)

    assert world.room.check_disk(999) in (999, 1000, 1001)  # a share is not a whole number
    with pytest.raises(DiskFull):
        world.room.check_disk(1002)


def test_a_disk_that_nobody_knows_is_never_full() -> None:
    room = Room(MemoryRepositories(), KeepSettings(high_water=0.1), space=lambda: None, monotonic=lambda: 0.0)

    assert room.check("team/a", 10**15) > 10**15


def test_a_sum_that_takes_long_is_not_asked_for_often() -> None:
    class Slow(MemoryRepositories):
        sums = 0

        def size(self, repositories: object = None, /) -> int:
            self.sums += 1
            clock[0] += 5
            return 0

    clock = [0.0]
    slow = Slow()
    room = Room(slow, limited(1000), space=lambda: None, monotonic=lambda: clock[0])

    for _ in range(90):
        room.check("a")
        clock[0] += 1

    assert slow.sums == 1


def test_hostile_lengths_are_none() -> None:
    world = World(limited(10))

    for told in ("-1", "9" * 400, "1e3", "٣"):
        assert world.ask("PUT", "/v2/a/manifests/1", b"x" * 20, {"content-length": told}).status in (403, 413)


def test_sizes_are_told_by_thousands() -> None:
    assert [human(size) for size in (0, 999, 1000, 1234567, 5 * GB)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.2 MB",
        "5 GB",
    ]


def test_denied_is_not_full() -> None:
    room = World(limited(0)).room

    with pytest.raises(PermissionDenied, match="0 B of 0 B; 0 B free"):
        room.check("a")
