"""distore for asyncio: the names of ``distore``, each call one hop into a thread.

Calls are awaited, iterators become asynchronous ones; arguments, results and errors are the same::

    async with aio.Store("images") as store:
        async for event in store.pull("redis"):
            print(event)

A task that is cancelled breaks its connections off, waits a moment until what came is kept, and
goes on being cancelled. Any number of calls may run at once; one more thread runs for each of
them. It is made for asyncio and no other loop.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, closing, suppress
from copy import copy as _shallow
from functools import partial, wraps
from typing import TYPE_CHECKING, Concatenate, Final, Generic, ParamSpec, Protocol, Self, TypeVar

from distore.api.copying import copy_until
from distore.api.images import Images as _Images
from distore.api.interrupt import Interrupt
from distore.api.registry import Registry as _Registry
from distore.api.store import Store as _Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
    from typing import Unpack

    from distore.api.serving import Served, ServeKeywords
    from distore.api.settings import Path, Settings
    from distore.api.transfers import CopyKeywords
    from distore.transfer.progress import Event

__all__ = ["Images", "Registry", "Store", "copy"]

_AHEAD: Final = 16  # items of an iterator that may wait for the loop
_GRACE: Final = 0.8  # seconds that a cancelled task waits for its thread; that ends by itself
_AGAIN: Final = 0.05  # seconds between two interruptions, for what was begun in between


class Interruptible(Protocol):
    """What a face needs of the class behind it."""

    def interruptible(self, interrupt: Interrupt) -> Self:
        """Itself, ending its calls when ``interrupt`` is set."""
        ...


S = TypeVar("S", bound=Interruptible)
P = ParamSpec("P")
R = TypeVar("R")


class Face(Generic[S]):
    """An asynchronous face of ``sync``, which can be used beside it."""

    def __init__(self, sync: S) -> None:
        self.sync = sync


def _call(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[Face[S], P], Coroutine[object, object, R]]:
    @wraps(method)
    async def call(face: Face[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        interrupt = Interrupt()
        bound = face.sync.interruptible(interrupt)
        return await _hop(partial(method, bound, *args, **kwargs), interrupt)

    return call


def _each(
    method: Callable[Concatenate[S, P], Generator[R, None, None]],
) -> Callable[Concatenate[Face[S], P], AsyncGenerator[R, None]]:
    @wraps(method)
    def each(face: Face[S], /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, None]:
        interrupt = Interrupt()
        bound = face.sync.interruptible(interrupt)
        return _bridge(partial(method, bound, *args, **kwargs), interrupt)

    return each


class Registry(Face[_Registry]):
    """``distore.Registry`` for asyncio; takes what that takes."""

    def __init__(self, **settings: Unpack[Settings]) -> None:
        super().__init__(_Registry(**settings))

    @classmethod
    def from_environment(cls, **given: Unpack[Settings]) -> Self:
        """As ``distore.Registry.from_environment``."""
        made = cls()
        made.sync = _Registry.from_environment(**given)
        return made

    resolve = _call(_Registry.resolve)
    manifest = _call(_Registry.manifest)
    blob = _each(_Registry.blob)
    tags = _each(_Registry.tags)
    referrers = _each(_Registry.referrers)
    catalog = _each(_Registry.catalog)
    delete = _call(_Registry.delete)
    put_manifest = _call(_Registry.put_manifest)
    put_blob = _call(_Registry.put_blob)
    copy = _each(_Registry.copy)
    close = _call(_Registry.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class Images(Face[_Images]):
    """The images of a store; ``async for`` gives their names."""

    get = _call(_Images.__getitem__)
    contains = _call(_Images.__contains__)
    values = _each(_Images.values)
    list = _each(_Images.list)
    target = _call(_Images.target)
    tag = _call(_Images.tag)
    update = _call(_Images.update)
    delete = _call(_Images.delete)
    check = _call(_Images.check)
    usage = _call(_Images.usage)
    usages = _each(_Images.usages)

    async def __aiter__(self) -> AsyncIterator[str]:
        async for image in self.values():
            yield image.name


class Store(Face[_Store]):
    """``distore.Store`` for asyncio; its content store is ``sync.content``, its leases, namespaces and
    snapshots are ``sync.leases``, ``sync.namespaces`` and ``sync.snapshots()``."""

    def __init__(
        self,
        root: Path = ".content",
        *,
        registry: Registry | None = None,
        command: str = "python",
        namespace: str = "default",
    ) -> None:
        way = None if registry is None else registry.sync
        super().__init__(_Store(root, registry=way, command=command, namespace=namespace))
        self.images = Images(self.sync.images)

    def namespace(self, name: str) -> Store:
        """The same store as another namespace sees it; close the first one only."""
        return self._over(self.sync.namespace(name))

    @asynccontextmanager
    async def lease(self, purpose: str = "python") -> AsyncIterator[Store]:
        """The same store under a lease; see ``distore.Store.lease``."""
        held = self.sync.lease(purpose)
        view = await _hop(held.__enter__, Interrupt())
        try:
            yield self._over(view)
        finally:
            await _hop(partial(held.__exit__, None, None, None), Interrupt())

    @asynccontextmanager
    async def serve(self, **options: Unpack[ServeKeywords]) -> AsyncIterator[Served]:
        """Be an OCI registry while the block runs; see ``distore.Store.serve``."""
        serving = self.sync.serve(**options)
        served = await _hop(serving.__enter__, Interrupt())
        try:
            yield served
        finally:
            await _hop(partial(serving.__exit__, None, None, None), Interrupt())

    def _over(self, sync: _Store) -> Store:
        view = _shallow(self)
        view.sync = sync
        view.images = Images(sync.images)
        return view

    pull = _each(_Store.pull)
    unpack = _each(_Store.unpack)
    rootfs = _each(_Store.rootfs)
    files = _call(_Store.files)
    commit_rootfs = _call(_Store.commit_rootfs)
    push = _each(_Store.push)
    copy = _each(_Store.copy)
    export = _each(_Store.export)
    import_archive = _each(_Store.import_archive)
    convert = _each(_Store.convert)
    mutate = _call(_Store.mutate)
    gc = _call(_Store.gc)
    garbage = _each(_Store.garbage)
    explain = _call(_Store.explain)
    free_space = _call(_Store.free_space)
    close = _call(_Store.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def copy(
    source: str,
    destination: str,
    *,
    store: Store | Path | None = None,
    registry: Registry | None = None,
    **options: Unpack[CopyKeywords],
) -> AsyncGenerator[Event, None]:
    """As ``distore.copy``."""
    interrupt = Interrupt()
    kept = store.sync if isinstance(store, Store) else store
    way = None if registry is None else registry.sync
    make = partial(copy_until, interrupt, source, destination, store=kept, registry=way, **options)
    return _bridge(make, interrupt)


async def _bridge(
    make: Callable[[], Generator[R, None, None]], interrupt: Interrupt
) -> AsyncGenerator[R, None]:
    """The items of a generator that runs in a thread, at most _AHEAD of them before they are wanted."""
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[tuple[R] | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    def pump() -> None:
        try:
            with closing(make()) as made:
                for item in made:
                    room.acquire()
                    if interrupt.is_set:
                        return
                    _tell(loop, items.put_nowait, (item,))
        finally:
            _tell(loop, items.put_nowait, None)

    done = _start(loop, pump)
    try:
        while (item := await items.get()) is not None:
            room.release()
            yield item[0]
        await asyncio.shield(done)
    finally:
        interrupt.set()  # before there is room: the thread must not put another item
        room.release()
        await _ended(done, interrupt)


async def _hop(work: Callable[[], R], interrupt: Interrupt) -> R:
    """What ``work`` returns, in a thread."""
    done = _start(asyncio.get_running_loop(), work)
    try:
        return await asyncio.shield(done)
    finally:
        await _ended(done, interrupt)


def _start(loop: asyncio.AbstractEventLoop, work: Callable[[], R]) -> asyncio.Future[R]:
    """Run ``work`` in a thread of its own.

    The loop's own executor would not do: a transfer holds its thread for long, there are few of
    them, and the end of the program waits for each.
    """
    done: asyncio.Future[R] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed to the task, which raises it
            _tell(loop, _fail, done, error)
        else:
            _tell(loop, done.set_result, result)

    threading.Thread(target=run, name="distore-aio", daemon=True).start()
    return done


def _fail(done: asyncio.Future[R], error: BaseException) -> None:
    done.set_exception(error)
    done.exception()  # whoever was cancelled does not ask, and that is no reason for a warning


def _tell(loop: asyncio.AbstractEventLoop, act: Callable[..., object], *args: object) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(act, *args)


async def _ended(done: asyncio.Future[R], interrupt: Interrupt) -> None:
    """Interrupt a thread that still works, and wait for its end, for a moment."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _GRACE
    while not done.done() and loop.time() < until:
        interrupt.set()
        await asyncio.wait([done], timeout=_AGAIN)
