"""The page for people, asked without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.metadata.repositories import StoredRepositories
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.documents import Documents
from distore.registry.message import Request, Response
from distore.registry.pages import words
from distore.registry.pages.configview import moment_of
from distore.registry.pages.links import Place, place_of
from distore.registry.pages.markup import Html, el, join
from distore.registry.pages.pulling import pull_lines
from distore.registry.pages.service import Pages
from distore.registry.routes import PushRegistry
from distore.registry.shelfimages import ShelfImages
from distore.repositories import ManifestRecord, Repositories
from distore.testing.memory_repositories import MemoryRepositories

NOW = 1_800_000_000.0
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
FORBIDDEN = ("style", "srcdoc", "formaction")


class Grant:
    """May pull whatever begins with ``start``."""

    user: str | None = "ann"

    def __init__(self, start: str) -> None:
        self._start = start

    def may(self, action: str, repository: str, /) -> bool:
        return action == "pull" and repository.startswith(self._start)


class Strict(HTMLParser):
    """Checks that a document nests rightly and has nothing that a policy would forbid."""

    VOID = frozenset(("br", "hr", "input", "link", "meta"))

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"{tag} has an attribute twice"
        assert not [name for name in given if name.startswith("on") or name in FORBIDDEN], (tag, given)
        assert tag != "script" or str(given.get("src")).startswith("/ui/static/")
        for name in ("href", "src", "action"):
            value = given.get(name)
            assert value is None or value.startswith(("/", "#", "http://", "https://")), (tag, value)
        self.tags.append((tag, given))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


class Site:
    """Pages over a registry that keeps what ``put`` and ``push`` give it."""

    def __init__(self, store: LocalStore, repositories: Repositories | None = None) -> None:
        self.store = store
        self.repositories = repositories or MemoryRepositories(now=lambda: NOW - 7200)
        self.images = Metadata(store, command="tests").images
        documents = Documents(store)
        self.pages = Pages(
            PushRegistry(store, self.repositories),
            repositories=self.repositories,
            content=store,
            documents=documents,
            shelf=ShelfImages(self.images, store, documents, clock=lambda: NOW),
            now=lambda: NOW,
            free=lambda: 5_000_000_000,
        )

    def put(self, repository: str, data: bytes, media_type: str, **more: object) -> dict[str, object]:
        digest = Digest.of(data)
        if not self.repositories.owners(digest):
            with self.store.writer(f"put-{digest}") as writer:
                writer.write(data)
                writer.commit()
        self.repositories.add_blob(repository, digest, len(data))
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def push(
        self, repository: str, tag: str | None, document: Mapping[str, object], media_type: str
    ) -> dict[str, object]:
        given = {"schemaVersion": 2, "mediaType": media_type, **document}
        described = self.put(repository, json.dumps(given).encode(), media_type)
        descriptor = Descriptor.from_json({**described, "artifactType": document.get("artifactType")})
        subject = document.get("subject")
        parts = [document.get("config"), *list(document.get("layers", []))]  # type: ignore[call-overload]
        record = ManifestRecord(
            descriptor=descriptor,
            subject=Digest(str(subject["digest"])) if isinstance(subject, dict) else None,
            children=tuple((Digest(part["digest"]), part["size"]) for part in parts if part),
        )
        self.repositories.put_manifest(repository, record, tags=(tag,) if tag else ())
        return described

    def image(
        self, repository: str, tag: str | None, *layers: bytes, config: object = None, **more: object
    ) -> dict[str, object]:
        given = config if config is not None else CONFIG
        document = {
            "config": self.put(repository, json.dumps(given).encode(), mediatypes.OCI_CONFIG),
            "layers": [self.put(repository, layer, mediatypes.OCI_LAYER_GZIP) for layer in layers],
            **more,
        }
        return self.push(repository, tag, document, mediatypes.OCI_MANIFEST)

    def ask(self, path: str, *, start: str | None = None, method: str = "GET", **headers: str) -> Response:
        bare, _, query = path.partition("?")
        request = Request(
            method=method,
            path=bare,
            query=dict(parse_qsl(query)),
            headers={"host": "r.example:5000", **headers},
            **({} if start is None else {"grants": Grant(start)}),  # type: ignore[arg-type] # one field
        )
        return self.pages.handle(request)

    def page(self, path: str, *, start: str | None = None) -> Strict:
        response = self.ask(path, start=start)
        assert response.status == 200, response.body
        assert isinstance(response.body, bytes)
        return Strict(response.body.decode())


CONFIG = {
    "architecture": "arm64",
    "os": "linux",
    "created": "2026-11-01T10:00:00Z",
    "config": {"Cmd": ["serve", "--fast"], "Env": ["A=1"], "Labels": {"a": "https://a.example/x"}},
    "rootfs": {"type": "layers", "diff_ids": []},
    "history": [
        {"created_by": "/bin/sh -c #(nop) ADD file:1 in / "},
        {"created_by": "ENV A=1", "empty_layer": True},
        {"created_by": "RUN /bin/sh -c make # buildkit"},
    ],
}


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


def test_other_paths_are_for_the_registry(site: Site) -> None:
    assert site.ask("/v2/").body == b"{}"
    assert site.ask("/uix").status == 404
    assert site.pages.quick(Request(method="GET", path="/v2/")) is None


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


@pytest.mark.parametrize(
    ("host", "scheme", "line"),
    [
        ("r.example", "https", "podman pull r.example/a/b:1"),
        ("r.example", "http", "podman pull --tls-verify=false r.example/a/b:1"),
        ("r.example", "http", "dist pull --plain-http r.example/a/b:1"),
        ("localhost:5000", "http", "dist pull localhost:5000/a/b:1"),
        ("[::1]:5000", "http", "ctr images pull --plain-http [::1]:5000/a/b:1"),
        ("r.example", "https", "skopeo copy docker://r.example/a/b:1 oci:b:1"),
        ("r.example;rm -rf /", "https", "docker pull HOST/a/b:1"),
        ("r.example\n", "https", "docker pull HOST/a/b:1"),
    ],
)
def test_pull_lines_name_the_server_as_the_visitor_does(host: str, scheme: str, line: str) -> None:
    request = Request(method="GET", path="/", headers={"host": host}, scheme=scheme)

    shown = Strict(pull_lines(request, Place("a/b", "1"))).text

    assert line in shown


@given(st.text(), st.text())
def test_markup_gives_back_the_text_that_it_was_given(value: str, attribute: str) -> None:
    made = el("p", value, title=attribute)

    assert made.startswith("<p title=")
    assert made.count("<") == 2
    assert made.count(">") == 2
    assert '"' not in made.partition('="')[2].partition('">')[0]


def test_markup_leaves_html_alone_and_escapes_the_rest() -> None:
    assert join(el("br"), ["<", None, 5, Html("<i></i>")]) == "<br>&lt;5<i></i>"
    assert el("input", disabled=True, value=None, for_="x", aria_label="'") == (
        '<input disabled for="x" aria-label="&#x27;">'
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (10**9, "31 years ago"),
    ],
)
def test_ages_are_told_in_the_largest_unit(seconds: float, text: str) -> None:
    assert words.age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (123_456_789, "123 MB"), (None, "\N{EN DASH}")],
)
def test_sizes_are_told_by_thousands(count: int | None, text: str) -> None:
    assert words.size(count).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    "given", ["", "x", "2026-01-01", 5, None, "0001-01-01T00:00:00+23:59", "1970-01-01T00:00:00Z"]
)
def test_a_time_that_is_none_is_left_out(given: object) -> None:
    assert moment_of(given) is None


def test_a_time_of_go_has_more_digits_than_ours() -> None:
    moment = moment_of("2026-11-01T10:00:00.123456789+02:00")

    assert moment is not None
    assert moment.isoformat() == "2026-11-01T08:00:00+00:00"


@given(st.text(max_size=50))
def test_any_end_of_a_path_is_a_place(text: str) -> None:
    place = place_of(text)

    assert place.is_digest is ("@" in text)
