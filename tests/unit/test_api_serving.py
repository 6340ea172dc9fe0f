"""Store.serve: a registry for as long as a block runs."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import distore
from distore import aio
from distore.errors import InvalidArgument, Unavailable


def put(url: str, data: bytes) -> distore.Digest:
    """Push a blob in one request."""
    digest = distore.Digest.of(data)
    request = urllib.request.Request(f"{url}/v2/app/blobs/uploads/?digest={digest}", data=data, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201
    return digest


def test_what_is_pushed_is_in_the_store_and_stays_there(tmp_path: Path) -> None:
    with distore.Store(tmp_path / "store") as store:
        with store.serve() as served:
            digest = put(served.url, b"bytes")

        with store.content.reader(digest) as reader:
            assert reader.read_at(5, 0) == b"bytes"
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{served.url}/v2/")


def test_settings_are_those_of_the_file(tmp_path: Path) -> None:
    with (
        distore.Store(tmp_path / "store") as store,
        store.serve(settings={"keep": {"quota": 3}}) as served,
        pytest.raises(urllib.error.HTTPError) as caught,
    ):
        put(served.url, b"more than three")

    with caught.value as answer:
        assert (answer.code, json.load(answer)["errors"][0]["code"]) == (403, "DENIED")


def test_a_setting_that_is_none_is_named(tmp_path: Path) -> None:
    with (
        distore.Store(tmp_path / "store") as store,
        pytest.raises(InvalidArgument, match=r"settings \[keep\]: 'qouta'"),
        store.serve(settings={"keep": {"qouta": 3}}),
    ):
        pass


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with (
        distore.Store(tmp_path / "store") as store,
        store.serve() as served,
        pytest.raises(Unavailable, match=served.address),
        store.serve(port=int(served.address.rpartition(":")[2])),
    ):
        pass


async def _asked(root: Path) -> int:
    async with aio.Store(root) as store, store.serve() as served:
        return await asyncio.to_thread(lambda: int(urllib.request.urlopen(f"{served.url}/v2/").status))


def test_a_store_serves_beside_an_event_loop(tmp_path: Path) -> None:
    assert asyncio.run(_asked(tmp_path / "store")) == 200
