"""The referrers tag: kept where a registry does not know of subjects, and only there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from tests.unit.remotes.pushing import Clients, keep
from tests.unit.transfer.ends_images import family, make_image

from distore.content.memory import MemoryStore
from distore.errors import FailedPrecondition, Unavailable
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.remotes.http.pusher import HttpPusher
from distore.remotes.http.repository import fallback_tag
from distore.testing import server
from distore.testing.server import FakeRegistry

SBOM = "application/spdx+json"


@pytest.fixture
def old() -> Iterator[FakeRegistry]:
    """A registry without the referrers API."""
    with FakeRegistry(referrers=False) as registry:
        yield registry


@pytest.fixture
def subject(memory: MemoryStore, clients: Clients, old: FakeRegistry) -> Descriptor:
    """An image, in ``memory`` and in ``demo`` of ``old``."""
    store, root = make_image(1)
    pusher = clients.pusher(f"{old.address}/demo:v1")
    for child in family(store, root):
        pusher.push(child, store)
    pusher.tag(root, store)
    keep(memory, store.reader(root.digest).read_at(root.size, 0), root.media_type)
    return root


@pytest.fixture
def pusher(clients: Clients, old: FakeRegistry) -> HttpPusher:
    return clients.pusher(f"{old.address}/demo")


def referrer(
    store: MemoryStore,
    subject: Descriptor,
    note: str,
    *,
    artifact_type: str | None = SBOM,
    config: str = mediatypes.OCI_EMPTY,
) -> Descriptor:
    """A manifest about ``subject``, in ``store`` with its config."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": keep(store, b"{}", config).to_json(),
        "layers": [],
        "subject": subject.to_json(),
        "annotations": {"note": note},
    }
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    return keep(store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)


def entries(registry: FakeRegistry, subject: Descriptor) -> list[dict[str, object]]:
    """What the referrers tag has."""
    tagged = registry.repositories["demo"][fallback_tag(subject.digest)]
    document = json.loads(registry.blobs.data[tagged.digest])
    assert (document["schemaVersion"], document["mediaType"]) == (2, mediatypes.OCI_INDEX)
    assert tagged.media_type == mediatypes.OCI_INDEX
    return list(document["manifests"])


def push(pusher: HttpPusher, store: MemoryStore, *referrers: Descriptor) -> None:
    for one in referrers:
        for child in family(store, one):
            pusher.push(child, store)
        pusher.push(one, store)


def test_the_tag_is_the_digest_spelled_as_a_tag() -> None:
    assert fallback_tag(Digest("sha256:" + "a" * 64)) == "sha256-" + "a" * 64
    assert fallback_tag(Digest("sha512:" + "a" * 128)) == "sha512-" + "a" * 64


def test_a_registry_that_knows_subjects_gets_no_tag(
    registry: FakeRegistry, clients: Clients, memory: MemoryStore
) -> None:
    about = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"x"), size=1)

    push(clients.pusher(f"{registry.address}/demo"), memory, referrer(memory, about, "one"))

    assert registry.repositories["demo"] == {}


def test_a_registry_that_does_not_gets_an_index_under_the_tag(
    old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor
) -> None:
    one = referrer(memory, subject, "one")

    push(pusher, memory, one)

    assert entries(old, subject) == [
        {
            "mediaType": mediatypes.OCI_MANIFEST,
            "digest": one.digest,
            "size": one.size,
            "annotations": {"note": "one"},
            "artifactType": SBOM,
        }
    ]


def test_entries_of_others_are_kept(
    old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor
) -> None:
    both = [referrer(memory, subject, "one"), referrer(memory, subject, "two")]

    push(pusher, memory, *both)

    assert [entry["digest"] for entry in entries(old, subject)] == [one.digest for one in both]


@pytest.mark.parametrize("config", ["application/vnd.acme.config", mediatypes.OCI_CONFIG])
def test_without_an_artifact_type_that_of_the_config_stands_for_it(
    config: str, old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor
) -> None:
    push(pusher, memory, referrer(memory, subject, "one", artifact_type=None, config=config))

    assert entries(old, subject)[0]["artifactType"] == config


def test_an_index_about_an_image_has_the_artifact_type_it_says(
    old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor
) -> None:
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [],
        "subject": subject.to_json(),
    }
    plain = keep(memory, json.dumps(document).encode(), mediatypes.OCI_INDEX)
    typed = keep(memory, json.dumps({**document, "artifactType": SBOM}).encode(), mediatypes.OCI_INDEX)

    push(pusher, memory, plain, typed)

    assert [entry.get("artifactType") for entry in entries(old, subject)] == [None, SBOM]


def test_what_is_entered_is_not_entered_again(
    old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor
) -> None:
    one = referrer(memory, subject, "one")
    push(pusher, memory, one, one)

    pusher.tag(one, memory)

    assert len(entries(old, subject)) == 1


def test_a_push_that_broke_off_before_the_entry_is_mended_by_the_next(
    old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor
) -> None:
    one = referrer(memory, subject, "one")
    tag = fallback_tag(subject.digest)
    old.inject(server.unavailable(), path=tag, method="PUT", times=4)
    with pytest.raises(Unavailable):
        push(pusher, memory, one)
    assert old.has("demo", one.digest)
    assert tag not in old.repositories["demo"]

    push(pusher, memory, one)

    assert len(entries(old, subject)) == 1


def test_a_busy_registry_is_asked_again(
    old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor, clients: Clients
) -> None:
    old.inject(server.throttled(3), path=fallback_tag(subject.digest), method="PUT")

    push(pusher, memory, referrer(memory, subject, "one"))

    assert len(entries(old, subject)) == 1
    assert clients.naps == [3.0]


def test_referrers_that_go_at_once_are_all_entered(
    old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor
) -> None:
    many = [referrer(memory, subject, str(number)) for number in range(8)]
    push(pusher, memory, many[0])
    threads = [threading.Thread(target=pusher.push, args=(one, memory)) for one in many[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {entry["digest"] for entry in entries(old, subject)} == {one.digest for one in many}


def test_a_tag_that_stands_for_something_else_is_not_written_over(
    old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor
) -> None:
    other = b'{"schemaVersion": 2, "config": {"mediaType": "a/b", "digest": "%s", "size": 1}, "layers": []}'
    tag = fallback_tag(subject.digest)
    for data in (other % Digest.of(b"x").encode(), b"{}", b"not JSON"):
        precious = old.tag("demo", tag, data)

        with pytest.raises(FailedPrecondition, match=f"referrers tag .*demo:{tag}: "):
            push(pusher, memory, referrer(memory, subject, "one"))

        assert old.repositories["demo"][tag] == precious


def test_a_tag_that_is_refused_names_it(
    old: FakeRegistry, pusher: HttpPusher, memory: MemoryStore, subject: Descriptor
) -> None:
    tag = fallback_tag(subject.digest)
    old.inject(server.refuse(418), path=tag, method="PUT")

    with pytest.raises(FailedPrecondition, match=f"referrers tag .*demo:{tag}: "):
        push(pusher, memory, referrer(memory, subject, "one"))
