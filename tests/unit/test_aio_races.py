"""Cancelled transfers whose threads wait for something that is no connection."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import distore
from distore import aio
from distore._internal.retry import Policy, Retrier
from distore.content.local.hashing import FrontierHasher
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.remotes.refkey import ref_key
from distore.testing import server
from distore.testing.server import FakeRegistry

LAYER = random.Random(1).randbytes(50_000)
REF = ref_key(mediatypes.OCI_LAYER_GZIP, Digest.of(LAYER))
SLOW = 2.0  # seconds after which what hangs is let go, so that a failure ends, too


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


def threads() -> list[str]:
    names = ("distore-aio", "distore-crew", "distore-pool")
    return [each.name for each in threading.enumerate() if each.name.startswith(names)]


def begun_and_cancelled(store: Path, reference: str, kind: type[distore.Event]) -> None:
    """Pull up to the first event of a kind about the layer, which is all that is left by then; cancel,
    and see the threads end."""

    async def pull(seen: asyncio.Event) -> None:
        wanted, others = False, False
        async with aio.Store(store) as images:
            async for event in images.pull(reference, concurrency=2):
                about = getattr(event, "digest", None) == Digest.of(LAYER)
                others |= isinstance(event, distore.Done) and not about
                wanted |= isinstance(event, kind) and (about or isinstance(event, distore.Noted))
                if wanted and others:
                    seen.set()

    async def main() -> None:
        seen = asyncio.Event()
        task = asyncio.create_task(pull(seen))
        await asyncio.wait_for(seen.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until = time.monotonic() + 0.5
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    assert threads() == []


@pytest.fixture
def reference(registry: FakeRegistry) -> str:
    registry.image("team/app", "1", [LAYER])
    return f"{registry.address}/team/app:1"


def test_while_another_process_brings_the_blob(reference: str, tmp_path: Path) -> None:
    writer = distore.Store(tmp_path).content.writer(REF)
    writer.write(LAYER[:10])
    free = threading.Timer(SLOW, writer.close)
    free.start()

    begun_and_cancelled(tmp_path, reference, distore.Moved)

    free.cancel()
    writer.close()


def test_while_it_waits_for_the_next_try(
    registry: FakeRegistry, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.inject(server.drop_at(100), path=f"/blobs/{Digest.of(LAYER)}", times=None)
    patient = partial(Retrier, Policy(base=SLOW), random=lambda: 1.0)
    monkeypatch.setattr("distore.transfer.download.Retrier", patient)

    begun_and_cancelled(tmp_path, reference, distore.Noted)

    assert distore.Store(tmp_path).content.status(REF).offset == 100


def test_while_kept_bytes_are_hashed(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with distore.Store(tmp_path).content.writer(REF) as writer:
        writer.write(LAYER)
    real, until = FrontierHasher._read, time.monotonic() + SLOW

    def read(hasher: FrontierHasher, space: memoryview) -> Any:
        if time.monotonic() < until:
            time.sleep(0.01)
            return real(hasher, space[:1])
        return real(hasher, space)

    monkeypatch.setattr(FrontierHasher, "_read", read)

    begun_and_cancelled(tmp_path, reference, distore.Started)
