"""The page for people, asked without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.registry.page_site import CONFIG, Site

from distore.content.local.store import LocalStore
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.message import Request
from distore.repositories import ManifestRecord


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = LocalStore(str(tmp_path / "store"))
    yield Site(store)
    store.close()


def test_repositories_are_listed_with_their_size(site: Site) -> None:
    site.image("team/app", "1", b"x" * 3000)
    site.image("team/app", "2", b"x" * 3000, annotations={"a": "b"})

    page = site.page("/")

    assert "1 repository" in page.text
    assert ("a", {"href": "/ui/r/team/app"}) in page.tags
    assert "2 hours ago" in page.text
    assert "5.0\N{NO-BREAK SPACE}GB".replace("\N{NO-BREAK SPACE}", " ") in page.text


def test_a_search_finds_parts_of_names(site: Site) -> None:
    for name in ("team/app", "team/web", "other/app"):
        site.image(name, "1")

    page = site.page("/?q=APP")

    assert "team/app" in page.text
    assert "other/app" in page.text
    assert "team/web" not in page.text


def test_many_repositories_come_page_by_page(site: Site) -> None:
    for number in range(120):
        site.repositories.add_blob(f"r/{number:03}", Digest.of(b"x"), 1)

    seen: list[str] = []
    path: str | None = "/"
    while path is not None:
        page = site.page(path)
        hrefs = [(given.get("href") or "", given) for tag, given in page.tags if tag == "a"]
        seen += [href for href, _ in hrefs if href.startswith("/ui/r/")]
        path = next((href for href, given in hrefs if given.get("rel") == "next"), None)

    assert seen == [f"/ui/r/r/{number:03}" for number in range(120)]


def test_a_repository_shows_tags_platforms_and_signatures(site: Site) -> None:
    image = site.image("team/app", "1", b"layer")
    empty = site.put("team/app", b"{}", mediatypes.OCI_EMPTY)
    signature = {
        "config": empty,
        "layers": [],
        "subject": image,
        "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
    }
    site.push("team/app", None, signature, mediatypes.OCI_MANIFEST)
    site.push("team/app", f"{str(image['digest']).replace(':', '-')}.sig", signature, mediatypes.OCI_MANIFEST)

    page = site.page("/ui/r/team/app")

    assert "linux/arm64" in page.text
    assert "signature" in page.text
    assert "1 tag; 1 of signatures and the like left out" in page.text
    assert "docker pull r.example:5000/team/app:1" in page.text
    assert ".sig" in site.page("/ui/r/team/app?sort=name").text


def test_an_image_shows_its_history_config_and_what_it_shares(site: Site) -> None:
    site.image("team/app", "1", b"base" * 250, b"own" * 1000, config=CONFIG)
    site.image("team/base", "1", b"base" * 250)

    page = site.page("/ui/r/team/app:1")

    assert "ADD file:1 in /" in page.text
    assert "RUN make" in page.text
    assert "buildkit" not in page.text
    assert "3.0 kB that nothing else here has, 1.0 kB that is shared" in page.text.replace("\xa0", " ")
    assert "serve --fast" in page.text or "serve--fast" in page.text
    assert ("a", {"href": "https://a.example/x", "rel": "nofollow noreferrer noopener"}) in page.tags
    assert ("a", {"href": "/ui/r/team/base"}) in page.tags


def test_an_index_shows_which_platforms_are_here(site: Site) -> None:
    arm = site.image("team/app", None, b"arm")
    absent = {"mediaType": mediatypes.OCI_MANIFEST, "digest": Digest.of(b"absent"), "size": 6}
    index = {
        "manifests": [
            {**arm, "platform": {"os": "linux", "architecture": "arm64"}},
            {**absent, "platform": {"os": "linux", "architecture": "s390x"}},
        ]
    }
    site.push("team/app", "1", index, mediatypes.OCI_INDEX)

    page = site.page("/ui/r/team/app:1")

    assert "1 of 2 manifests here" in page.text
    assert "linux/s390x\N{EN DASH}not here" in page.text


def test_images_of_the_store_have_pages_too(site: Site) -> None:
    image = site.image("team/app", "1", b"layer")
    site.images.put("docker.io/library/redis:7", Descriptor.from_json(image))

    assert "from the store" in site.page("/").text
    assert "linux/arm64" in site.page("/ui/r/docker.io/library/redis").text
    assert (
        "docker pull r.example:5000/docker.io/library/redis:7"
        in site.page("/ui/r/docker.io/library/redis:7").text
    )
    assert "schemaVersion" in site.page(f"/ui/raw/docker.io/library/redis@{image['digest']}").text


def test_style_and_script_have_names_of_their_content_and_never_change(site: Site) -> None:
    page = site.page("/")
    paths = [
        given.get("href") or given.get("src") or "" for tag, given in page.tags if tag in ("link", "script")
    ]

    assert len(paths) == 3
    for path in paths:
        assert re.fullmatch(r"/ui/static/\w+\.[0-9a-f]{12}\.(css|js|svg)", path)
        request = Request(method="GET", path=path)
        quick = site.pages.quick(request)
        assert quick is not None
        assert quick.status == 200
        assert "immutable" in quick.headers["cache-control"]
        again = site.ask(path, **{"if-none-match": quick.headers["etag"]})
        assert again.status == 304
    assert site.ask("/ui/static/style.000000000000.css").status == 404


def test_other_paths_are_for_the_registry(site: Site) -> None:
    assert site.ask("/v2/").body == b"{}"
    assert site.ask("/uix").status == 404
    assert site.pages.quick(Request(method="GET", path="/v2/")) is None


def test_running_ingests_are_shown_and_told_to_the_script(site: Site) -> None:
    with site.store.writer("registry/team/app/upload-1", total=2000) as writer:
        writer.write(bytes(500))

        page = site.page("/ui/running")
        body = site.ask("/ui/running.json").body

    (bar,) = [given for tag, given in page.tags if tag == "progress"]
    assert bar == {"value": "500", "max": "2000", "aria-label": "Progress of upload team/app"}
    assert isinstance(body, bytes)
    (told,) = json.loads(body)["running"]
    assert (told["kind"], told["name"], told["offset"], told["total"]) == ("upload", "team/app", 500, 2000)
    assert told["active"] is True


def test_tags_of_more_than_a_page_can_sort_come_by_name(site: Site) -> None:
    described = site.image("team/app", None, b"layer")
    record = ManifestRecord(descriptor=Descriptor.from_json(described))
    site.repositories.put_manifest("team/app", record, tags=[f"t{number:04}" for number in range(1100)])

    page = site.page("/ui/r/team/app")

    assert "t0000" in page.text
    assert "t0050" not in page.text
    assert "t0050" in site.page("/ui/r/team/app?after=t0049").text
    assert "t1099" in site.page("/ui/r/team/app?q=1099").text


def test_the_newest_tags_come_first_and_the_older_ones_behind(site: Site) -> None:
    described = site.image("team/app", None, b"layer")
    record = ManifestRecord(descriptor=Descriptor.from_json(described))
    site.repositories.put_manifest("team/app", record, tags=[f"t{number:03}" for number in range(60)])

    assert "t059" in site.page("/ui/r/team/app?page=1").text
    assert "No tags here" in site.page("/ui/r/team/app?page=7").text
    assert "t000" in site.page("/ui/r/team/app?page=x").text
