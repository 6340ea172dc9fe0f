"""Copies come and give way while the collector runs; nobody gets less than what the upstream has."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest

from distore.app import App
from distore.config import Config
from distore.oci.digest import Digest
from distore.registry.message import Request, Response, Slice
from distore.registry.metrics import Metrics
from distore.registry.settings import ServeSettings
from distore.registry.table import Table
from distore.testing.server import FakeRegistry

IMAGES = 12
ROUNDS = 4
CLIENTS = 3


@pytest.mark.slow
def test_no_copy_is_lost_under_those_who_pull(tmp_path: Path) -> None:
    draw = random.Random(17)
    with FakeRegistry() as fake:
        for number in range(IMAGES):
            fake.image("library/app", str(number), [b"shared" * 5000, draw.randbytes(50_000)])
        app = App(Config(root=str(tmp_path / "store")))
        values = {
            "images": False,
            "page": False,
            "cache": {"upstream": [{"host": fake.address, "prefix": "hub"}]},
        }
        settings = ServeSettings.read(Table(values, where="serve.toml", folder=str(tmp_path)))
        over = threading.Event()
        failures: list[BaseException] = []

        with app.serving(settings, Metrics()) as composed:

            def ask(path: str) -> bytes:
                return body_of(
                    composed.service.handle(Request(method="GET", path=f"/v2/hub/library/app/{path}"))
                )

            def pull(seed: int) -> None:
                choose = random.Random(seed)
                for number in choose.sample(range(IMAGES), IMAGES) * ROUNDS:
                    manifest = ask(f"manifests/{number}")
                    for layer in json.loads(manifest)["layers"]:
                        assert Digest.of(ask(f"blobs/{layer['digest']}")) == layer["digest"]

            def collect() -> None:
                other = App(Config(root=str(tmp_path / "store")))
                while not over.is_set():
                    other.collect()
                    for name in range(0, IMAGES, 2):
                        tag = other.repositories.tag("hub/library/app", str(name))
                        if tag is not None:
                            other.repositories.delete_manifest("hub/library/app", tag.descriptor.digest)
                            forget_blobs(other)
                other.close()

            def guarded(work: object, *words: int) -> None:
                try:
                    work(*words)  # type: ignore[operator] # one of the two above
                except BaseException as error:  # noqa: BLE001 - told by the test
                    failures.append(error)

            collecting = threading.Thread(target=guarded, args=(collect,))
            pulling = [threading.Thread(target=guarded, args=(pull, seed)) for seed in range(CLIENTS)]
            for thread in (collecting, *pulling):
                thread.start()
            for thread in pulling:
                thread.join()
            over.set()
            collecting.join()
        app.close()

    assert failures == []


def forget_blobs(app: App) -> None:
    """Offer no more what no manifest names."""
    kept = {
        digest for record in app.repositories.manifests("hub/library/app") for digest, _ in record.children
    }
    for info in list(app.content.walk()):
        if info.digest not in kept:
            app.repositories.delete_blob("hub/library/app", info.digest)


def body_of(response: Response) -> bytes:
    assert response.status == 200, response.body
    if isinstance(response.body, bytes):
        return response.body
    assert isinstance(response.body, Slice)
    data = bytearray()
    try:
        while len(data) < response.body.length:
            data += response.body.reader.read_at(response.body.length - len(data), len(data))
    finally:
        response.close()
    return bytes(data)
