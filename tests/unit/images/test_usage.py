"""The bytes of images: what is counted once, twice, or not at all."""

from __future__ import annotations

import json

import pytest

from distore.content.local.store import LocalStore
from distore.errors import ResourceExhausted
from distore.images import usage as module
from distore.images.gclabels import referrer_labels
from distore.images.usage import Survey, Usage, blobs_of
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest


def put(store: LocalStore, data: bytes, media_type: str = mediatypes.OCI_LAYER) -> Descriptor:
    with store.writer("put") as writer:
        writer.write(data)
        digest = writer.commit()
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def manifest(store: LocalStore, *layers: Descriptor, subject: Descriptor | None = None) -> Descriptor:
    empty = Descriptor(media_type=mediatypes.OCI_EMPTY, digest=Digest.of(b"{}"), size=2)
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": empty.to_json(),
        "layers": [layer.to_json() for layer in layers],
        **({"subject": subject.to_json()} if subject else {}),
    }
    return put(store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)


def test_what_two_images_need_is_shared(store: LocalStore) -> None:
    put(store, b"{}")
    both, own = put(store, b"x" * 100), put(store, b"y" * 10)
    one, two = manifest(store, both, own, own), manifest(store, both)
    survey = Survey()

    needed = [survey.add(store, target, names=1) for target in (one, two)]

    assert [survey.usage(each) for each in needed] == [
        Usage(total=one.size + 112, shared=102, unique=one.size + 10),
        Usage(total=two.size + 102, shared=102, unique=two.size),
    ]


def test_all_of_an_image_with_two_names_is_shared(store: LocalStore) -> None:
    root = manifest(store, put(store, b"x"))
    survey = Survey()

    needed = survey.add(store, root, names=2)

    assert survey.usage(needed) == Usage(total=root.size + 1, shared=root.size + 1, unique=0)


def test_what_has_no_name_shares_what_an_image_needs(store: LocalStore) -> None:
    layer, own = put(store, b"x" * 100), put(store, b"y" * 10)
    root, nameless = manifest(store, layer), manifest(store, layer, own)
    survey = Survey()

    of_root = survey.add(store, root, names=1)
    of_nameless = survey.add(store, nameless, names=0)

    assert survey.usage(of_nameless) == Usage(
        total=nameless.size + 110, shared=100, unique=nameless.size + 10
    )
    assert survey.usage(of_root).shared == 0


def test_what_is_not_there_counts_nothing_and_what_is_wrong_as_it_is(store: LocalStore) -> None:
    missing = Descriptor(media_type=mediatypes.OCI_LAYER, digest=Digest.of(b"missing"), size=7)
    real = put(store, b"x" * 10)
    wrong = Descriptor(media_type=mediatypes.OCI_LAYER, digest=real.digest, size=1000)
    with store.writer("r", expected=missing.digest) as writer:
        writer.write(b"miss")
    root = manifest(store, missing, wrong)

    assert dict(blobs_of(store, root)) == {root.digest: root.size, real.digest: 10}


def test_what_refers_to_an_image_is_part_of_it(store: LocalStore) -> None:
    root = manifest(store, put(store, b"x"))
    signature = manifest(store, put(store, b"signature"), subject=root)
    about = manifest(store, put(store, b"about"), subject=signature)
    for subject, referrer in ((root, signature), (signature, about), (about, root)):
        info = store.info(subject.digest)
        store.update(info._replace(labels=referrer_labels([referrer])))
    gone = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"gone"), size=4)
    nonsense = put(store, b"no manifest")
    labels = {**store.info(root.digest).labels, **referrer_labels([gone, nonsense])}
    store.update(store.info(root.digest)._replace(labels=labels))

    found = dict(blobs_of(store, root))

    assert {root.digest, signature.digest, about.digest} <= set(found)
    assert (len(found), nonsense.digest in found) == (6, False)


def test_too_many_objects_count_nothing(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OBJECTS", 3)
    layers = [put(store, b"%d" % number) for number in range(4)]
    survey = Survey()

    with pytest.raises(ResourceExhausted, match="more than 3 objects"):
        survey.add(store, manifest(store, *layers), names=1)

    other = manifest(store, layers[0])
    assert survey.usage(survey.add(store, other, names=1)).shared == 0
