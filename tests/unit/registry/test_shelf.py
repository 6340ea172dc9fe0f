"""The images of a store, served beside what is pushed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.images.gclabels import referrer_labels
from distore.images.image import ImageStore
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.documents import Documents
from distore.registry.message import BytesBody, Request, Response, Slice
from distore.registry.routes import PushRegistry
from distore.registry.shelf import Shelf
from distore.registry.shelfimages import FRESH, ShelfImages
from distore.testing.memory_repositories import MemoryRepositories

REDIS = "docker.io/library/redis"
LAYER = b"the layer of redis"
CONFIG = b'{"architecture":"arm64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Grant:
    """May do ``actions``, but not in ``hidden``."""

    actions: tuple[str, ...]
    hidden: str = ""
    user: str | None = None

    def may(self, action: str, repository: str, /) -> bool:
        return action in self.actions and repository != self.hidden


@dataclass
class Served:
    """A shelf over a registry, and the store of both."""

    store: LocalStore
    images: ImageStore
    clock: Clock = field(default_factory=Clock)
    repositories: MemoryRepositories = field(default_factory=MemoryRepositories)

    def __post_init__(self) -> None:
        self.registry = PushRegistry(self.store, self.repositories)
        images = ShelfImages(self.images, self.store, Documents(self.store), clock=self.clock)
        self.shelf = Shelf(self.registry, images, self.store, self.repositories)

    def put(self, data: bytes, media_type: str = mediatypes.OCI_LAYER) -> Descriptor:
        digest = Digest.of(data)
        with self.store.writer(f"put-{digest}") as writer:
            writer.write(data)
            writer.commit()
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def manifest(self, *layers: Descriptor, **fields: object) -> Descriptor:
        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": self.put_once(CONFIG, mediatypes.OCI_CONFIG).to_json(),
            "layers": [layer.to_json() for layer in layers],
            **fields,
        }
        return self.put(json.dumps(document).encode(), mediatypes.OCI_MANIFEST)

    def put_once(self, data: bytes, media_type: str) -> Descriptor:
        digest = Digest.of(data)
        if digest in {info.digest for info in self.store.walk()}:
            return Descriptor(media_type=media_type, digest=digest, size=len(data))
        return self.put(data, media_type)

    def index(self, *manifests: Descriptor) -> Descriptor:
        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [each.to_json() for each in manifests],
        }
        return self.put(json.dumps(document).encode(), mediatypes.OCI_INDEX)

    def ask(self, method: str, path: str, body: bytes = b"", grants: Grant | None = None) -> Response:
        bare, _, query = path.partition("?")
        pairs = [part.partition("=") for part in query.split("&") if part]
        request = Request(
            method=method,
            path=f"/v2/{bare}",
            query={name: value for name, _, value in pairs},
            headers={"content-type": mediatypes.OCI_MANIFEST} if body else {},
            body=BytesBody(body),
            **({} if grants is None else {"grants": grants}),  # type: ignore[arg-type] # one field
        )
        return self.shelf.handle(request)

    def get(self, path: str) -> bytes:
        response = self.ask("GET", path)
        assert response.status == 200, response.body
        if isinstance(response.body, Slice):
            with response.body.reader as reader:
                return reader.read_at(response.body.length, response.body.start)
        return response.body


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    store = LocalStore(str(tmp_path / "store"))
    yield Served(store, Metadata(store, command="tests").images)
    store.close()


@pytest.fixture
def redis(served: Served) -> Descriptor:
    """An image with one layer, named redis:latest in the store."""
    target = served.manifest(served.put(LAYER))
    served.images.put(f"{REDIS}:latest", target)
    return target


def test_an_image_is_had_by_its_whole_name(served: Served, redis: Descriptor) -> None:
    response = served.ask("HEAD", f"{REDIS}/manifests/latest")

    assert response.status == 200
    assert response.headers["content-type"] == mediatypes.OCI_MANIFEST
    assert response.headers["docker-content-digest"] == redis.digest
    response.close()
    assert json.loads(served.get(f"{REDIS}/manifests/latest"))["layers"][0]["digest"] == Digest.of(LAYER)
    assert served.get(f"{REDIS}/manifests/{redis.digest}") == served.get(f"{REDIS}/manifests/latest")
    assert served.get(f"{REDIS}/blobs/{Digest.of(LAYER)}") == LAYER


def test_a_part_of_a_blob_is_had(served: Served, redis: Descriptor) -> None:
    request = Request(
        method="GET", path=f"/v2/{REDIS}/blobs/{Digest.of(LAYER)}", headers={"range": "bytes=4-8"}
    )

    response = served.shelf.handle(request)

    assert response.status == 206
    assert isinstance(response.body, Slice)
    assert response.body.reader.read_at(response.body.length, response.body.start) == LAYER[4:9]
    response.close()


def test_only_what_an_image_leads_to_is_offered(served: Served, redis: Descriptor) -> None:
    secret = served.put(b"of nobody's image")
    served.images.put("docker.io/library/other:1", served.manifest(served.put(b"of another image")))

    assert served.ask("GET", f"{REDIS}/blobs/{secret.digest}").status == 404
    assert served.ask("GET", f"{REDIS}/blobs/{Digest.of(b'of another image')}").status == 404
    assert served.ask("GET", f"{REDIS}/manifests/{Digest.of(LAYER)}").status == 404
    assert served.ask("GET", f"{REDIS}/manifests/absent").status == 404
    assert served.ask("GET", f"library/redis/blobs/{Digest.of(LAYER)}").status == 404


def test_the_images_of_an_index_are_offered_and_a_sparse_one_as_far_as_it_is_there(served: Served) -> None:
    here = served.manifest(served.put(LAYER))
    absent = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"absent"), size=6)
    served.images.put(f"{REDIS}:7", served.index(here, absent))

    assert served.get(f"{REDIS}/blobs/{Digest.of(LAYER)}") == LAYER
    assert served.ask("GET", f"{REDIS}/manifests/{here.digest}").status == 200
    assert served.ask("GET", f"{REDIS}/manifests/{absent.digest}").status == 404


def test_what_comes_later_is_offered_once_its_tag_was_asked_for(served: Served, redis: Descriptor) -> None:
    served.get(f"{REDIS}/manifests/latest")
    served.images.put(f"{REDIS}:8", served.manifest(served.put(b"newer")))

    served.get(f"{REDIS}/manifests/8")

    assert served.get(f"{REDIS}/blobs/{Digest.of(b'newer')}") == b"newer"


def test_an_index_that_got_more_offers_more_after_a_while(served: Served) -> None:
    body = b'{"schemaVersion":2,"config":%s,"layers":[]}'
    config = json.dumps(served.put(CONFIG, mediatypes.OCI_CONFIG).to_json()).encode()
    later = body % config
    child = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(later), size=len(later))
    served.images.put(f"{REDIS}:7", served.index(child))
    assert served.ask("GET", f"{REDIS}/blobs/{Digest.of(CONFIG)}").status == 404

    served.put(later)
    served.clock.now += FRESH

    assert served.get(f"{REDIS}/blobs/{Digest.of(CONFIG)}") == CONFIG


def test_tags_and_repositories_of_both_are_listed(served: Served, redis: Descriptor) -> None:
    body = served.get(f"{REDIS}/manifests/latest")
    for digest in (Digest.of(LAYER), Digest.of(CONFIG)):
        assert served.ask("HEAD", f"{REDIS}/blobs/{digest}").status == 200
    assert served.ask("PUT", f"{REDIS}/manifests/mine", body).status == 201

    tags = json.loads(served.get(f"{REDIS}/tags/list"))
    first = served.ask("GET", f"{REDIS}/tags/list?n=1")
    catalog = json.loads(served.get("_catalog"))

    assert tags == {"name": REDIS, "tags": ["latest", "mine"]}
    assert first.headers["link"] == f'</v2/{REDIS}/tags/list?n=1&last=latest>; rel="next"'
    assert catalog == {"repositories": [REDIS]}


def test_the_catalog_leaves_out_what_somebody_may_not_pull(served: Served, redis: Descriptor) -> None:
    served.images.put("docker.io/library/secret:1", redis)

    response = served.ask("GET", "_catalog", grants=Grant(("pull",), hidden="docker.io/library/secret"))

    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == {"repositories": [REDIS]}


def test_a_blob_that_head_said_is_there_can_be_named_by_a_push(served: Served, redis: Descriptor) -> None:
    body = served.get(f"{REDIS}/manifests/latest")
    assert served.ask("PUT", f"{REDIS}/manifests/new", body).status == 404

    for digest in (Digest.of(LAYER), Digest.of(CONFIG)):
        assert served.ask("HEAD", f"{REDIS}/blobs/{digest}").status == 200

    assert served.ask("PUT", f"{REDIS}/manifests/new", body).status == 201


def test_who_may_not_push_changes_nothing_by_head(served: Served, redis: Descriptor) -> None:
    response = served.ask("HEAD", f"{REDIS}/blobs/{Digest.of(LAYER)}", grants=Grant(("pull",)))

    assert response.status == 200
    response.close()
    assert served.repositories.names() == []


def test_a_blob_of_an_image_is_mounted_into_a_repository(served: Served, redis: Descriptor) -> None:
    response = served.ask("POST", f"mine/blobs/uploads/?mount={Digest.of(LAYER)}&from={REDIS}")

    assert response.status == 201
    assert served.repositories.has("mine", Digest.of(LAYER))
    assert not served.repositories.exists(REDIS)


def test_nothing_is_mounted_from_where_one_may_not_pull(served: Served, redis: Descriptor) -> None:
    grants = Grant(("pull", "push"), hidden=REDIS)

    response = served.ask("POST", f"mine/blobs/uploads/?mount={Digest.of(LAYER)}&from={REDIS}", grants=grants)

    assert response.status == 202
    assert not served.repositories.has("mine", Digest.of(LAYER))
    served.registry.close()


def test_what_refers_to_an_image_is_listed_and_offered(served: Served, redis: Descriptor) -> None:
    layer = served.put(b"a signature")
    signature = served.manifest(layer, subject=redis.to_json(), artifactType="application/x-signature")
    info = served.store.info(redis.digest)
    served.store.update(info._replace(labels=referrer_labels([signature])), "labels")

    listed = json.loads(served.get(f"{REDIS}/referrers/{redis.digest}"))
    other = json.loads(served.get(f"{REDIS}/referrers/{redis.digest}?artifactType=x/y"))

    assert [each["digest"] for each in listed["manifests"]] == [signature.digest]
    assert listed["manifests"][0]["artifactType"] == "application/x-signature"
    assert other["manifests"] == []
    assert served.get(f"{REDIS}/blobs/{layer.digest}") == b"a signature"


@pytest.mark.parametrize(
    "name", ["r.example:5000/app:1", "just text", "docker.io/library/UPPER:1", "../../etc/passwd:1"]
)
def test_an_image_with_a_name_that_no_repository_has_is_left_out(served: Served, name: str) -> None:
    target = served.manifest(served.put(LAYER))
    served.images.put(name, target)

    repository = name.rpartition(":")[0]

    assert json.loads(served.get("_catalog")) == {"repositories": []}
    assert served.ask("GET", f"{repository}/manifests/1").status in (400, 404)


def test_a_repository_that_takes_no_pushes_gets_nothing_by_head(served: Served, redis: Descriptor) -> None:
    images = ShelfImages(served.images, served.store, Documents(served.store), clock=served.clock)
    shelf = Shelf(
        served.registry, images, served.store, served.repositories, takes=lambda name: name != REDIS
    )
    request = Request(method="HEAD", path=f"/v2/{REDIS}/blobs/{Digest.of(LAYER)}")

    response = shelf.handle(request)

    assert response.status == 200
    response.close()
    assert not served.repositories.exists(REDIS)
