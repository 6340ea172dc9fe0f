"""The page for people, when somebody means it ill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.registry.page_site import CONFIG, EVIL, NOW, Site, Strict

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.metadata.repositories import StoredRepositories
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.documents import Documents
from distore.registry.message import Request, Response
from distore.registry.pages.service import Pages
from distore.registry.routes import PushRegistry
from distore.repositories import ManifestRecord


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = LocalStore(str(tmp_path / "store"))
    yield Site(store)
    store.close()


def test_only_what_somebody_may_pull_is_shown(site: Site) -> None:
    mine = site.image("mine/app", "1", b"shared")
    site.image("secret/app", "1", b"shared")
    site.images.put("docker.io/library/secret:1", Descriptor.from_json(mine))

    assert "secret" not in site.page("/", start="mine/").text
    assert "secret" in site.page("/ui/r/mine/app:1").text
    assert "secret" not in site.page("/ui/r/mine/app:1", start="mine/").text
    for path in (
        "/ui/r/secret/app",
        "/ui/r/secret/app:1",
        f"/ui/r/secret/app@{mine['digest']}",
        f"/ui/raw/secret/app@{mine['digest']}",
        "/ui/r/docker.io/library/secret:1",
    ):
        assert site.ask(path, start="mine/").status == 404


def test_a_digest_in_a_manifest_opens_nothing_of_another_repository(site: Site) -> None:
    config = {**CONFIG, "config": {"Env": ["PASSWORD=hunter2"]}}
    secret = site.image("secret/app", "1", b"layer" * 1000, config=config)
    stolen = {"mediaType": mediatypes.OCI_CONFIG, "digest": Digest.of(json.dumps(config).encode()), "size": 9}
    index = {**secret, "platform": {"os": "linux", "architecture": "arm64"}}
    site.push("mine/copy", "1", {"config": stolen, "layers": []}, mediatypes.OCI_MANIFEST)
    site.push("mine/index", "1", {"manifests": [index]}, mediatypes.OCI_INDEX)

    image, many = (
        site.page("/ui/r/mine/copy:1", start="mine/"),
        site.page("/ui/r/mine/index:1", start="mine/"),
    )

    assert "hunter2" in site.page("/ui/r/secret/app:1").text
    assert "hunter2" not in image.text
    assert "0 of 1 manifest here" in many.text
    assert "kB" not in many.text
    assert "arm64" not in site.page("/ui/r/mine/copy", start="mine/").text


def test_what_strangers_wrote_is_text_and_nothing_else(site: Site) -> None:
    config = {
        "architecture": EVIL[:200],
        "os": EVIL,
        "config": {
            "Labels": {EVIL: EVIL, "url": "javascript:alert(1)", "bidi": "a\u202eb\x00"},
            "Env": [EVIL, 7, None],
            "Cmd": [EVIL, {"a": 1}],
            "Entrypoint": EVIL,
            "ExposedPorts": {EVIL: {}},
            "Volumes": [EVIL],
            "User": 5,
        },
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [{"created_by": EVIL}],
    }
    site.image("team/app", "1", b"layer", config=config, annotations={EVIL: EVIL}, artifactType=None)
    site.push(
        "team/app",
        "2",
        {"config": site.put("team/app", b"{}", EVIL[:200]), "layers": []},
        mediatypes.OCI_MANIFEST,
    )

    for path in (
        "/ui/r/team/app",
        "/ui/r/team/app:1",
        "/ui/r/team/app:2",
        f"/?q={EVIL}",
        f"/ui/r/team/app?q={EVIL}",
    ):
        page = site.page(path)
        assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert "a⌈U+202E⌋b⌈U+0000⌋" in site.page("/ui/r/team/app:1").text


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b"not json",
        b"\xff\xfe",
        b'{"schemaVersion":1}',
        b"[" * 20_000,
        b'{"schemaVersion":2,"manifests":{}}',
        b'{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:x","size":-1},"layers":[]}',
    ],
)
def test_a_document_that_is_none_has_a_page_that_says_so(site: Site, document: bytes) -> None:
    described = site.put("team/app", document, mediatypes.OCI_MANIFEST)
    record = ManifestRecord(descriptor=Descriptor.from_json(described))
    site.repositories.put_manifest("team/app", record, tags=("bad",))

    assert "cannot show it" in site.page("/ui/r/team/app:bad").text
    site.page("/ui/r/team/app")


@pytest.mark.parametrize(
    "config",
    [
        {"os": "linux", "architecture": "x", "rootfs": {"diff_ids": []}, "history": "no", "config": []},
        {"os": "linux", "architecture": "x", "rootfs": {"diff_ids": []}, "history": [1, None], "created": 5},
        {"os": "linux", "architecture": "x", "rootfs": {"diff_ids": []}, "created": "9999-99-99T99:99:99Z"},
        {"os": "linux", "architecture": "x", "rootfs": {"diff_ids": []}, "history": [{"created_by": {}}]},
        {"os": 5},
        [],
    ],
)
def test_a_config_of_any_shape_is_shown_as_far_as_it_goes(site: Site, config: object) -> None:
    site.image("team/app", "1", b"layer", config=config)

    assert "1 layer" in site.page("/ui/r/team/app:1").text


def test_a_large_index_costs_no_more_than_its_share(site: Site) -> None:
    children = [
        {"mediaType": mediatypes.OCI_MANIFEST, "digest": Digest.of(str(number).encode()), "size": 1}
        for number in range(5000)
    ]
    site.push("team/app", "1", {"manifests": children}, mediatypes.OCI_INDEX)

    assert "4,800 more are not shown" in site.page("/ui/r/team/app:1").text
    site.page("/ui/r/team/app")


def test_an_index_of_itself_ends(site: Site) -> None:
    inner = site.push("team/app", None, {"manifests": []}, mediatypes.OCI_INDEX)
    for _ in range(30):
        inner = site.push("team/app", "1", {"manifests": [inner, inner]}, mediatypes.OCI_INDEX)

    assert "2 of 2 manifests here" in site.page("/ui/r/team/app:1").text


def test_answers_carry_a_strict_policy(site: Site) -> None:
    for path in ("/", "/ui/running", "/ui/nothing", "/ui/running.json"):
        headers = site.ask(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "private, no-store"


def test_a_crowd_of_visitors_is_asked_to_come_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distore.registry.pages.service._PATIENCE", 0.01)
    answers: list[Response] = []

    def crowd() -> int:
        answers.extend(site.ask("/") for _ in range(5))
        return 0

    site.pages = Pages(
        PushRegistry(site.store, site.repositories),
        repositories=site.repositories,
        content=site.store,
        documents=Documents(site.store),
        shelf=None,
        now=lambda: NOW,
        free=crowd,
        at_once=1,
    )

    assert site.ask("/").status == 200
    assert [answer.status for answer in answers] == [503] * 5


def test_a_crowd_of_visitors_does_not_keep_the_threads_of_pulls(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distore.registry.pages.service._PATIENCE", 1e6)
    statuses: list[int] = []

    def crowd() -> int:
        statuses.extend(site.ask("/").status for _ in range(5))
        return 0

    site.pages = Pages(
        PushRegistry(site.store, site.repositories),
        repositories=site.repositories,
        content=site.store,
        documents=Documents(site.store),
        shelf=None,
        now=lambda: NOW,
        free=crowd,
        at_once=1,
        waiting=0,
    )

    assert site.ask("/").status == 200
    assert statuses == [503] * 5


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_page_is_only_read(site: Site, method: str) -> None:
    assert site.ask("/", method=method).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/ui",
        "/ui/",
        "/ui/r/",
        "/ui/r/absent",
        "/ui/r/../../etc/passwd",
        "/ui/r/team/app:absent",
        "/ui/r/team/app@sha256:0",
        f"/ui/r/team/app@{Digest.of(b'absent')}",
        "/ui/raw/team/app",
        f"/ui/raw/team/app@{Digest.of(b'absent')}",
        "/ui/r/a\udc80b",
        "/ui/r/team/app:\x00",
        "/ui/r/" + "a" * 5000,
    ],
)
def test_what_is_not_there_has_a_page_that_says_so(site: Site, path: str) -> None:
    site.image("team/app", "1")

    response = site.ask(path)

    assert response.status == 404
    assert response.headers["content-type"].startswith("text/html")
    assert isinstance(response.body, bytes)
    assert "Not here" in Strict(response.body.decode()).text


@pytest.mark.parametrize(
    "path",
    ["/", "/ui/r/team/app", "/ui/r/a\udc80", "/ui/r/team/app:a\udc80", "/ui/raw/a\udc80@sha256:\udc80"],
)
def test_half_characters_reach_no_database(tmp_path: Path, path: str) -> None:
    with closing(LocalStore(str(tmp_path / "store"))) as store:
        leases = Metadata(store, command="tests").leases
        with closing(StoredRepositories(store, leases=leases, now=lambda: NOW)) as repositories:
            site = Site(store, repositories)
            site.image("team/app", "1", b"layer")
            query = dict.fromkeys(("q", "after", "sort", "page"), "��" * 1000)
            request = Request(method="GET", path=path, query=query)

            assert site.pages.handle(request).status in (200, 404)


def test_a_layer_is_not_shown_as_json(site: Site) -> None:
    site.image("team/app", "1", b"\x00binary")

    assert site.ask(f"/ui/raw/team/app@{Digest.of(bytes(1) + b'binary')}").status == 404


class Stranger:
    """May pull what is public, and has no name."""

    user = None

    def may(self, action: str, repository: str, /) -> bool:
        return action == "pull" and repository.startswith("public/")


def test_a_stranger_is_told_neither_what_comes_nor_what_all_of_it_takes(site: Site) -> None:
    site.image("secret/app", "1", b"x" * 54_321)
    digest = Digest.of(b"what others pull")

    def page(path: str) -> str:
        response = site.pages.handle(Request(method="GET", path=path, grants=Stranger()))
        assert isinstance(response.body, bytes)
        return response.body.decode()

    with site.store.writer("cache-x", expected=digest):
        assert digest[:15] in site.page("/ui/running", start="mine/").text
        assert digest[:15] not in page("/ui/running") + page("/ui/running.json")
    assert "Stored" in site.page("/", start="mine/").text
    assert "Stored" not in page("/")


def test_brackets_in_brackets_make_no_page_of_many_times_their_size(site: Site) -> None:
    deep, many = 300, 200_000
    data = ("[" * deep + "1," * many + "1" + "]" * deep).encode()
    digest = site.put("team/app", data, mediatypes.OCI_CONFIG)["digest"]

    body = site.ask(f"/ui/raw/team/app@{digest}").body

    assert isinstance(body, bytes)
    assert len(data) < len(body) < 2 * len(data)


def test_running_ingests_do_not_tell_what_others_push_and_pull(site: Site) -> None:
    with site.store.writer("registry/secret/app/upload-1"), site.store.writer("secret thing"):
        page = site.page("/ui/running", start="mine/")
        body = site.ask("/ui/running.json", start="mine/").body

        assert "secret/app" in site.page("/ui/running", start="secret/").text
        assert "secret thing" in site.page("/ui/running").text

    assert "2 ingests" in page.text
    assert "secret" not in page.text
    assert isinstance(body, bytes)
    assert b"secret" not in body
