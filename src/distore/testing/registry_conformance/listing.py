"""What the specification says of finding content: tags, referrers, and the catalog beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.oci import mediatypes
from distore.testing.registry_conformance.place import (
    CONFIG,
    Place,
    described,
    digest_of,
    encoded,
    expect,
    expect_equal,
    expect_header,
)
from distore.testing.registry_conformance.row import MAY, MUST, SHOULD, Absent, Failed, row

if TYPE_CHECKING:
    from distore.testing.registry_conformance.asking import Answer

_TAGS: Final = "Listing Tags (end-8a)"
_PAGES: Final = "Listing Tags (end-8b)"
_REFERRERS: Final = "Listing Referrers (end-12a)"
_FILTER: Final = "Listing Referrers (end-12b)"
_NAMES: Final = ("a", "b", "c1", "c2", "d", "e-1", "e.1", "f")
_SBOM: Final = "application/vnd.example.sbom"
_SIGNATURE: Final = "application/vnd.example.signature"


def _tags(place: Place, **query: str) -> Answer:
    answer = place.ask("GET", place.path("tags", "list"), query=tuple(query.items()))
    return expect(answer, 200)


@row(MUST, _TAGS, "The list of tags has the name of the repository and every tag.")
def tags(place: Place) -> None:
    place.pushed(*reversed(_NAMES))
    document = _tags(place).json()
    expect_equal("name", document.get("name"), place.repository)
    expect_equal("tags", sorted(map(str, _list(document.get("tags")))), list(_NAMES))


@row(MUST, _TAGS, "Tags come in lexical order.")
def tags_in_order(place: Place) -> None:
    place.pushed(*reversed(_NAMES))
    expect_equal("tags", _tags(place).json().get("tags"), list(_NAMES))


@row(MUST, _TAGS, "The list of tags of a repository without tags is empty.")
def tags_empty(place: Place) -> None:
    place.pushed()
    expect_equal("tags", _list(_tags(place).json().get("tags")), [])


@row(MUST, _TAGS, "The list of tags of a repository that is not there is answered with 404.")
def tags_unknown(place: Place) -> None:
    expect(place.get("tags", "list"), 404)


@row(MUST, _PAGES, "n tags come when n are asked for.")
def tags_n(place: Place) -> None:
    place.pushed(*_NAMES)
    expect_equal("tags", _tags(place, n="2").json().get("tags"), list(_NAMES[:2]))


@row(MUST, _PAGES, "All tags come when more are asked for than there are.")
def tags_n_large(place: Place) -> None:
    place.pushed(*_NAMES)
    expect_equal("tags", _tags(place, n="100").json().get("tags"), list(_NAMES))


@row(MUST, _PAGES, "n=0 gives an empty list without a Link.")
def tags_n_0(place: Place) -> None:
    place.pushed(*_NAMES)
    answer = _tags(place, n="0")
    expect_equal("tags", _list(answer.json().get("tags")), [])
    expect_equal("Link", answer.header("link"), None)


@row(MUST, _PAGES, "last gives the tags behind that one.")
def tags_last(place: Place) -> None:
    place.pushed(*_NAMES)
    expect_equal("tags", _tags(place, last="b", n="2").json().get("tags"), list(_NAMES[2:4]))


@row(MUST, _PAGES, "last works without n.")
def tags_last_alone(place: Place) -> None:
    place.pushed(*_NAMES)
    expect_equal("tags", _tags(place, last="b").json().get("tags"), list(_NAMES[2:]))


@row(MUST, _PAGES, "last need not be a tag that is there.")
def tags_last_gone(place: Place) -> None:
    place.pushed(*_NAMES)
    expect_equal("tags", _tags(place, last="c").json().get("tags"), list(_NAMES[2:]))


@row(MAY, _PAGES, 'A Link with rel="next" leads through all the pages.')
def tags_link(place: Place) -> None:
    place.pushed(*_NAMES)
    answer = _tags(place, n="2")
    found = _list(answer.json().get("tags"))
    if place.next_page(answer) is None:
        raise Absent("no Link")
    while (target := place.next_page(answer)) is not None and len(found) < 2 * len(_NAMES):
        answer = expect(place.ask("GET", target), 200)
        found += _list(answer.json().get("tags"))
    expect_equal("tags", found, list(_NAMES))


@row(MUST, _REFERRERS, "Nobody refers to it: an empty index with 200.")
def referrers_none(place: Place) -> None:
    place.pushed("1")
    answer = place.referrers(digest_of(place.fresh()))
    expect_equal("manifests", answer.json().get("manifests"), [])


@row(MUST, _REFERRERS, "The list is an OCI index, by Content-Type and by what it says.")
def referrers_type(place: Place) -> None:
    answer = place.referrers(digest_of(place.pushed("1")))
    expect_header(answer, "content-type", mediatypes.OCI_INDEX)
    expect_equal("mediaType", answer.json().get("mediaType"), mediatypes.OCI_INDEX)
    expect_equal("schemaVersion", answer.json().get("schemaVersion"), 2)


@row(MUST, _REFERRERS, "A digest that is none is answered with 400.")
def referrers_bad_digest(place: Place) -> None:
    place.referrers(digest_of(place.pushed("1")))
    expect(place.get("referrers", "sha256:nonsense"), 400)


def _refer(place: Place, subject: bytes, **fields: object) -> tuple[bytes, dict[str, object]]:
    """Push an image about ``subject``; its bytes and what the list has to say of it."""
    document = place.image(subject=described(subject, mediatypes.OCI_MANIFEST), **fields)
    data = encoded(document)
    expect(place.put(digest_of(data), data), 201)
    entry = {
        **described(data, mediatypes.OCI_MANIFEST),
        "annotations": document["annotations"],
        "artifactType": document["artifactType"],
    }
    return data, entry


def _entry(answer: Answer, digest: str) -> dict[str, object]:
    """What the list says of a digest."""
    for entry in _list(answer.json().get("manifests")):
        if isinstance(entry, dict) and entry.get("digest") == digest:
            return entry
    raise Failed(f"{answer.asked}: {digest} is not in the list")


@row(MUST, _REFERRERS, "Every manifest with the subject is listed with size, type and annotations.")
def referrers_listed(place: Place) -> None:
    subject = place.pushed("1")
    place.referrers(digest_of(subject))
    for data, entry in (_refer(place, subject), _refer(place, subject)):
        found = _entry(place.referrers(digest_of(subject)), digest_of(data))
        expect_equal("entry", {name: found.get(name) for name in entry}, entry)


@row(MUST, _REFERRERS, "Without an artifact type that of the config is listed.")
def referrers_config_type(place: Place) -> None:
    subject = place.pushed("1")
    place.referrers(digest_of(subject))
    config = {**described(CONFIG), "mediaType": _SBOM}
    for empty in (None, ""):
        data, _ = _refer(place, subject, config=config, artifactType=empty)
        entry = _entry(place.referrers(digest_of(subject)), digest_of(data))
        expect_equal("artifactType", entry.get("artifactType"), _SBOM)


@row(MUST, _REFERRERS, "An index with the subject is listed, and without an artifact type has none there.")
def referrers_index(place: Place) -> None:
    subject = place.pushed("1")
    place.referrers(digest_of(subject))
    document = place.index(subject=described(subject, mediatypes.OCI_MANIFEST))
    expect(place.put(digest_of(encoded(document)), document), 201)
    entry = _entry(place.referrers(digest_of(subject)), digest_of(encoded(document)))
    expect_equal("artifactType", entry.get("artifactType"), None)
    expect_equal("annotations", entry.get("annotations"), document["annotations"])


@row(MUST, _REFERRERS, "Referrers of a subject that is not there are listed.")
def referrers_of_nothing(place: Place) -> None:
    missing = place.fresh()
    place.referrers(digest_of(missing))
    data, _ = _refer(place, missing)
    _entry(place.referrers(digest_of(missing)), digest_of(data))


@row(MUST, _REFERRERS, "Referrers in another repository are not listed.")
def referrers_elsewhere(place: Place) -> None:
    subject = place.fresh()
    place.referrers(digest_of(subject))
    _refer(place, subject)
    place.repository = place.new_repository()
    place.pushed("1")
    expect_equal("manifests", place.referrers(digest_of(subject)).json().get("manifests"), [])


@row(MUST, _REFERRERS, "A referrer that is deleted is not listed any more.")
def referrers_deleted(place: Place) -> None:
    subject = place.pushed("1")
    place.referrers(digest_of(subject))
    data, _ = _refer(place, subject)
    if place.ask("DELETE", place.path("manifests", digest_of(data))).status in (400, 405):
        raise Absent("deletion is disabled")
    expect_equal("manifests", place.referrers(digest_of(subject)).json().get("manifests"), [])


@row(SHOULD, _FILTER, "artifactType filters the list, and OCI-Filters-Applied says so.")
def referrers_filtered(place: Place) -> None:
    subject = place.pushed("1")
    place.referrers(digest_of(subject))
    _refer(place, subject, artifactType=_SBOM)
    data, _ = _refer(place, subject, artifactType=_SIGNATURE)
    answer = place.referrers(digest_of(subject), query=(("artifactType", _SIGNATURE),))
    if answer.header("oci-filters-applied") is None:
        raise Absent("not filtered")
    expect_header(answer, "oci-filters-applied", "artifactType")
    found = [entry["digest"] for entry in _list(answer.json().get("manifests")) if isinstance(entry, dict)]
    expect_equal("manifests", found, [digest_of(data)])


@row(SHOULD, _FILTER, "A filter that nothing passes gives an empty index.")
def referrers_filtered_out(place: Place) -> None:
    subject = place.pushed("1")
    place.referrers(digest_of(subject))
    _refer(place, subject, artifactType=_SBOM)
    answer = place.referrers(digest_of(subject), query=(("artifactType", _SIGNATURE),))
    if answer.header("oci-filters-applied") is None:
        raise Absent("not filtered")
    expect_equal("manifests", answer.json().get("manifests"), [])


@row(MAY, "Docker's registry API, not in the specification", "GET /v2/_catalog lists repositories.")
def catalog(place: Place) -> None:
    place.pushed("1")
    answer = place.ask("GET", "/v2/_catalog", query=(("n", "1000"),))
    if answer.status in (401, 403, 404, 405):
        raise Absent("no catalog")
    if place.next_page(expect(answer, 200)) is None:
        found = _list(answer.json().get("repositories"))
        expect_equal("the repository is listed", place.repository in found, True)


def _list(value: object) -> list[object]:
    """Null is an empty list to many a client."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Failed(f"want a list, got {value!r}")
    return value
