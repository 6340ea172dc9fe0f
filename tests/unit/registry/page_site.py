"""A registry with pages, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import parse_qsl

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.documents import Documents
from distore.registry.message import Request, Response
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
