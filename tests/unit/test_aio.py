"""distore.aio: the same as distore, under an event loop that goes on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import assert_type

import pytest

import distore
from distore import aio, errors
from distore.api.interrupt import Interrupt
from distore.registry.message import Handler, Request, Response
from distore.testing.server import FakeRegistry, Fault

LAYERS = [b"one layer", b"another" * 100]
PROMPT = 1.0  # seconds that a cancelled task may take


@pytest.fixture
def stalled() -> Iterator[Fault]:
    """Answers nothing until the test ends."""
    over = threading.Event()

    def act(request: Request, handler: Handler) -> Response:
        over.wait(20)
        return handler(request)

    yield act
    over.set()


async def until(true: Callable[[], object]) -> None:
    """Wait for it, while the loop goes on."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def cancelled(task: asyncio.Task[object]) -> float:
    """Cancel it; how many seconds that took."""
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.monotonic() - started


def workers() -> list[str]:
    """Threads of the client that still live."""
    names = ("distore-aio", "distore-crew", "distore-pool")
    return [each.name for each in threading.enumerate() if each.name.startswith(names)]


def test_a_pull_is_an_asynchronous_iterator_of_the_same_events(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    root = registry.image("team/app", "1", LAYERS)
    reference = f"{registry.address}/team/app:1"

    async def main() -> None:
        async with aio.Store(tmp_path) as store:
            events = [event async for event in store.pull(reference)]
            assert_type(events, list[distore.Event])
            last = events[-1]
            assert isinstance(events[0], distore.Resolved)
            assert isinstance(last, distore.Finished)
            assert last.descriptor.digest == root.digest
            assert [name async for name in store.images] == [reference]
            assert (await store.images.get(reference)).target.digest == root.digest
            assert await store.images.contains(reference)
            await store.images.delete(reference)
            assert not await store.images.contains(reference)
            assert (await store.free_space() or 0) > 0

    asyncio.run(main())


def test_a_registry_is_asked_and_told(registry: FakeRegistry, tmp_path: Path) -> None:
    root = registry.image("team/app", "1", LAYERS)
    name = f"{registry.address}/team/app"

    async def main() -> None:
        async with aio.Registry() as client:
            assert_type(await client.resolve(f"{name}:1"), distore.Descriptor)
            document = await client.manifest(f"{name}:1")
            assert document.descriptor.digest == root.digest
            assert [tag async for tag in client.tags(name)] == ["1"]
            blob = await client.put_blob(name, b"x" * 1000)
            assert [each async for each in client.blob(f"{name}@{blob.digest}")] == [b"x" * 1000]
            await client.put_manifest(f"{name}:2", document.data)
            await client.delete(f"{name}:1")
            assert [each async for each in client.catalog(registry.address)] == ["team/app"]
            assert [each async for each in client.referrers(f"{name}:2")] == []

    asyncio.run(main())

    assert registry.repositories["team/app"].keys() == {"2"}


def test_copy_and_push_go_through_the_faces(registry: FakeRegistry, tmp_path: Path) -> None:
    root = registry.image("team/app", "1", LAYERS)
    source = f"{registry.address}/team/app:1"

    async def main() -> None:
        async with aio.Registry() as client, aio.Store(tmp_path, registry=client) as store:
            async for _ in aio.copy(source, "store:app", store=store):
                pass
            async for _ in store.push(f"{registry.address}/mirror/app:1", "app"):
                pass
            async for _ in client.copy(source, f"{registry.address}/mirror/app:2"):
                pass
            async for _ in aio.copy(source, f"{registry.address}/mirror/app:3", registry=client):
                pass

    asyncio.run(main())

    assert registry.repositories["mirror/app"] == {"1": root, "2": root, "3": root}


def test_every_method_of_the_classes_has_a_face() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    own = {
        "interruptible",
        "options",
        "resolvers",
        "leases",
        "namespaces",
        "snapshots",
    }  # the last three: without a wait worth a thread
    assert names(distore.Registry) - own == names(aio.Registry)
    assert names(distore.Store) - own == names(aio.Store)


def test_errors_are_those_of_distore(registry: FakeRegistry, tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.Registry() as client, aio.Store(tmp_path) as store:
            with pytest.raises(errors.NotFound):
                await client.resolve(f"{registry.address}/team/app:1")
            with pytest.raises(errors.NotFound):
                async for _ in store.pull(f"{registry.address}/team/app:1"):
                    pass
            with pytest.raises(errors.InvalidArgument):
                async for _ in store.pull("No Name"):
                    pass

    asyncio.run(main())


def test_settings_come_from_the_environment_on_request(
    registry_factory: Callable[..., FakeRegistry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = registry_factory(users={"ann": "secret"})
    registry.image("team/app", "1", LAYERS)
    auth = tmp_path / "auth.json"
    auth.write_text(f'{{"auths": {{"{registry.address}": {{"auth": "YW5uOnNlY3JldA=="}}}}}}')
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(auth))

    async def main() -> None:
        async with aio.Registry.from_environment() as client:
            await client.resolve(f"{registry.address}/team/app:1")
        async with aio.Registry(credentials={registry.address: ("ann", "secret")}) as client:
            await client.resolve(f"{registry.address}/team/app:1")

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_cancelling_a_pull_from_a_silent_server_is_prompt(
    registry: FakeRegistry, tmp_path: Path, stalled: Fault, where: str
) -> None:
    registry.image("team/app", "1", LAYERS)
    registry.inject(stalled, path=where, times=None)
    took = []

    async def main() -> None:
        async with aio.Store(tmp_path) as store:

            async def pull() -> None:
                async for _ in store.pull(f"{registry.address}/team/app:1"):
                    pass

            task: asyncio.Task[object] = asyncio.create_task(pull())
            await asyncio.sleep(0.2)
            took.append(await cancelled(task))
            await until(lambda: not workers())

    asyncio.run(main())

    assert took[0] < PROMPT


@pytest.mark.slow
def test_cancelling_a_pull_keeps_what_came_and_the_next_one_goes_on(
    registry_factory: Callable[..., FakeRegistry], tmp_path: Path
) -> None:
    size = 4_000_000
    registry = registry_factory(rate=4_000_000)
    registry.image("team/app", "1", [bytes(size)])
    reference = f"{registry.address}/team/app:1"

    async def main() -> None:
        async with aio.Store(tmp_path) as store:
            begun = asyncio.Event()

            async def pull() -> None:
                async for event in store.pull(reference):
                    if isinstance(event, distore.Moved) and event.size > 1000:
                        begun.set()

            task: asyncio.Task[object] = asyncio.create_task(pull())
            await begun.wait()
            took = await cancelled(task)
            (kept,) = store.sync.content.statuses()
            assert took < PROMPT
            assert kept.owner is None
            assert 0 < kept.offset < size
            last = [event async for event in store.pull(reference)][-1]
            assert isinstance(last, distore.Finished)
            assert last.moved <= size + 1000 - kept.offset

    asyncio.run(main())


@pytest.mark.slow
def test_a_call_to_a_silent_server_ends_with_its_timeout(registry: FakeRegistry, stalled: Fault) -> None:
    registry.inject(stalled, times=None)

    async def main() -> float:
        async with aio.Registry() as client:
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.resolve(f"{registry.address}/team/app:1")
            await until(lambda: not workers())
            return time.monotonic() - started

    assert asyncio.run(main()) < 0.2 + PROMPT


@pytest.mark.slow
def test_cancelling_one_of_two_pulls_leaves_the_other_alone(
    registry_factory: Callable[..., FakeRegistry], tmp_path: Path
) -> None:
    registry = registry_factory(rate=2_000_000)
    for name in ("a", "b"):
        registry.image(name, "1", [name.encode() * 1_000_000])

    async def main() -> list[distore.Event]:
        async with aio.Registry() as client, aio.Store(tmp_path, registry=client) as store:

            async def pull(name: str) -> list[distore.Event]:
                return [event async for event in store.pull(f"{registry.address}/{name}:1")]

            async with asyncio.TaskGroup() as group:
                first, second = (group.create_task(pull(name)) for name in ("a", "b"))
                await until(lambda: len(list(store.sync.content.statuses())) == 2)
                first.cancel()
            assert first.cancelled()
            return second.result()

    events = asyncio.run(main())

    assert isinstance(events[-1], distore.Finished)
    assert not [event for event in events if isinstance(event, distore.Noted)]


@pytest.mark.slow
def test_two_pulls_run_at_once(registry_factory: Callable[..., FakeRegistry], tmp_path: Path) -> None:
    registry = registry_factory(rate=2_000_000)
    for name in ("a", "b"):
        registry.image(name, "1", [name.encode() * 500_000])

    async def main() -> tuple[list[float], list[float]]:
        async with aio.Store(tmp_path) as store:

            async def pull(name: str) -> list[float]:
                return [time.monotonic() async for _ in store.pull(f"{registry.address}/{name}:1")]

            return await asyncio.gather(pull("a"), pull("b"))

    one, two = asyncio.run(main())

    assert one[0] < two[-1]
    assert two[0] < one[-1]


@pytest.mark.slow
def test_the_loop_goes_on_during_a_large_pull(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.image("team/app", "1", [bytes([n]) * 10_000_000 for n in range(5)])
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.001)

    async def main() -> None:
        async with aio.Store(tmp_path) as store:
            ticker = asyncio.create_task(tick())
            async for _ in store.pull(f"{registry.address}/team/app:1"):
                pass
            ticker.cancel()

    asyncio.run(main())

    gaps = [after - before for before, after in pairwise(ticks)]
    assert len(gaps) > 20
    assert max(gaps) < 0.25


def test_leaving_the_loop_early_stops_the_transfer(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.image("team/app", "1", LAYERS)

    async def main() -> None:
        async with aio.Store(tmp_path) as store:
            async with aclosing(store.pull(f"{registry.address}/team/app:1")) as events:
                async for _ in events:
                    break
            await until(lambda: not workers())

    asyncio.run(main())


def test_a_thread_that_waits_for_room_ends_with_its_reader() -> None:
    def numbers() -> Generator[int, None, None]:
        yield from range(1000)

    async def main() -> None:
        for _ in range(50):
            async with aclosing(aio._bridge(numbers, Interrupt())) as items:
                await anext(items)
        await until(lambda: not workers())

    asyncio.run(main())


def test_an_iterator_runs_ahead_only_a_little() -> None:
    made = []

    def numbers() -> Generator[int, None, None]:
        for number in range(1000):
            made.append(number)
            yield number

    async def main() -> None:
        async with aclosing(aio._bridge(numbers, Interrupt())) as items:
            assert await anext(items) == 0
            await until(lambda: len(made) > aio._AHEAD)
            await asyncio.sleep(0.02)
            assert len(made) <= aio._AHEAD + 2

    asyncio.run(main())


@pytest.mark.slow
def test_a_thread_that_does_not_end_holds_nobody_up() -> None:
    over = threading.Event()

    async def main() -> float:
        task: asyncio.Task[object] = asyncio.create_task(aio._hop(lambda: over.wait(20), Interrupt()))
        await asyncio.sleep(0.01)
        return await cancelled(task)

    try:
        assert asyncio.run(main()) < PROMPT
    finally:
        over.set()


def test_an_error_that_comes_after_the_cancellation_is_nobody_s(recwarn: pytest.WarningsRecorder) -> None:
    interrupt = Interrupt()
    told: list[object] = []

    def fail() -> None:
        while not interrupt.is_set:
            time.sleep(0.001)
        raise ValueError("late")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
        task: asyncio.Task[object] = asyncio.create_task(aio._hop(fail, interrupt))
        await asyncio.sleep(0.01)
        await cancelled(task)
        gc.collect()

    asyncio.run(main())

    assert told == []
    assert not list(recwarn)


def test_it_wants_asyncio(tmp_path: Path) -> None:
    call = aio.Store(tmp_path).free_space()

    with pytest.raises(RuntimeError, match="no running event loop"):
        call.send(None)
