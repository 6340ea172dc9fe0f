"""What the specification says of content management."""

from __future__ import annotations

from typing import Final

from distore.testing.registry_conformance.place import (
    Place,
    digest_of,
    expect,
    expect_code,
    expect_equal,
    is_off,
)
from distore.testing.registry_conformance.row import MAY, MUST, SHOULD, row

_TAGS: Final = "Deleting tags (end-9)"
_MANIFESTS: Final = "Deleting Manifests (end-9)"
_BLOBS: Final = "Deleting Blobs (end-10)"


@row(MUST, _TAGS, "DELETE of a tag is answered with 202 (or with 400 or 405 where that is disabled).")
def delete_tag(place: Place) -> None:
    place.pushed("latest")
    is_off(place.ask("DELETE", place.path("manifests", "latest")))


@row(MUST, _TAGS, "A deleted tag is answered with 404; its manifest and other tags stay.")
def delete_tag_alone(place: Place) -> None:
    data = place.pushed("one", "two")
    is_off(place.ask("DELETE", place.path("manifests", "one")))
    expect(place.get("manifests", "one"), 404)
    place.expect_stored("two", data)
    place.expect_stored(digest_of(data), data)


@row(MUST, _TAGS, "A deleted tag is not listed any more.")
def delete_tag_unlists(place: Place) -> None:
    place.pushed("one", "two")
    is_off(place.ask("DELETE", place.path("manifests", "one")))
    expect_equal("tags", place.get("tags", "list").json().get("tags"), ["two"])


@row(SHOULD, _TAGS, "DELETE of a tag that is not there is answered with 404.")
def delete_tag_unknown(place: Place) -> None:
    place.pushed("latest")
    is_off(place.ask("DELETE", place.path("manifests", "latest")))
    expect_code(expect(place.ask("DELETE", place.path("manifests", "latest")), 404), "MANIFEST_UNKNOWN")


@row(MUST, _MANIFESTS, "DELETE of a manifest is answered with 202 (or with 400 or 405 where it is disabled).")
def delete_manifest(place: Place) -> None:
    is_off(place.ask("DELETE", place.path("manifests", digest_of(place.pushed()))))


@row(MUST, _MANIFESTS, "A deleted manifest and every tag of it are answered with 404.")
def delete_manifest_tags(place: Place) -> None:
    data = place.pushed("one", "two")
    is_off(place.ask("DELETE", place.path("manifests", digest_of(data))))
    for name in (digest_of(data), "one", "two"):
        expect(place.get("manifests", name), 404)


@row(MUST, _MANIFESTS, "DELETE in a repository that is not there is answered with 404.")
def delete_manifest_unknown_repository(place: Place) -> None:
    digest = digest_of(place.fresh())
    place.repository = place.new_repository()
    expect(place.ask("DELETE", place.path("manifests", digest)), 404, 400, 405)


@row(SHOULD, _MANIFESTS, "A manifest that was deleted can be pushed again.")
def delete_manifest_push_again(place: Place) -> None:
    data = place.pushed("one")
    is_off(place.ask("DELETE", place.path("manifests", digest_of(data))))
    expect(place.put("one", data), 201)
    place.expect_stored("one", data)


@row(MUST, _BLOBS, "DELETE of a blob is answered with 202 (or with 400 or 405 where that is disabled).")
def delete_blob(place: Place) -> None:
    is_off(place.ask("DELETE", place.path("blobs", place.blob(place.fresh()))))


@row(MUST, _BLOBS, "A deleted blob is answered with 404.")
def delete_blob_gone(place: Place) -> None:
    digest = place.blob(place.fresh())
    is_off(place.ask("DELETE", place.path("blobs", digest)))
    expect(place.get("blobs", digest), 404)
    expect(place.get("blobs", digest, method="HEAD"), 404)


@row(MUST, _BLOBS, "DELETE of a blob that is not there is answered with 404.")
def delete_blob_unknown(place: Place) -> None:
    place.blob(place.fresh())
    answer = place.ask("DELETE", place.path("blobs", digest_of(place.fresh())))
    if answer.status not in (400, 405):
        expect_code(expect(answer, 404), "BLOB_UNKNOWN")


@row(MUST, _BLOBS, "A blob that was deleted can be pushed again.")
def delete_blob_push_again(place: Place) -> None:
    data = place.fresh()
    digest = place.blob(data)
    is_off(place.ask("DELETE", place.path("blobs", digest)))
    expect_equal("digest", place.blob(data), digest)
    expect_equal("body", expect(place.get("blobs", digest), 200).body, data)


@row(MAY, _BLOBS, "A blob that is deleted in one repository stays in another.")
def delete_blob_elsewhere(place: Place) -> None:
    data, other = place.fresh(), place.new_repository()
    digest = place.blob(data)
    place.blob(data, repository=other)
    is_off(place.ask("DELETE", place.path("blobs", digest)))
    expect(place.ask("GET", place.path("blobs", digest, repository=other)), 200)
