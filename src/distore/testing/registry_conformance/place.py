"""Place: a repository of its own for each row, and what rows do there again and again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from distore.oci import mediatypes
from distore.testing.registry_conformance.row import Absent, Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.testing.registry_conformance.asking import Answer, Asking, Query

OCTETS: Final = "application/octet-stream"
CODES: Final = (
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
)
ANY_MANIFEST: Final = ", ".join(
    (
        mediatypes.OCI_MANIFEST,
        mediatypes.OCI_INDEX,
        mediatypes.DOCKER_MANIFEST,
        mediatypes.DOCKER_INDEX,
        "*/*",
    )
)
CONFIG: Final = b"{}"  # the empty descriptor's


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Its digest."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def described(data: bytes, media_type: str = OCTETS, *, algorithm: str = "sha256") -> dict[str, object]:
    """Its descriptor."""
    return {"mediaType": media_type, "digest": digest_of(data, algorithm), "size": len(data)}


def expect(answer: Answer, *statuses: int) -> Answer:
    """The answer, which has one of ``statuses``."""
    if answer.status not in statuses:
        wanted = " or ".join(map(str, statuses))
        raise Failed(f"{answer.asked}: want {wanted}, got {answer.status} {answer.body[:200]!r}")
    return answer


def expect_equal(what: str, found: object, wanted: object) -> None:
    """They are the same."""
    if found != wanted:
        raise Failed(f"{what}: want {str(wanted)[:200]!r}, got {str(found)[:200]!r}")


def expect_header(answer: Answer, name: str, wanted: str | None = None) -> str:
    """A header that must be there, and be ``wanted``."""
    found = answer.header(name)
    if found is None:
        raise Failed(f"{answer.asked}: no header {name}")
    if wanted is not None:
        expect_equal(f"{answer.asked}: header {name}", found, wanted)
    return found


def expect_code(answer: Answer, *codes: str) -> None:
    """The body is an error document with one of ``codes`` (none given: of the specification's)."""
    found = answer.json().get("errors")
    if not isinstance(found, list) or not found or not all(isinstance(error, dict) for error in found):
        raise Failed(f"{answer.asked}: no list of errors in {answer.body[:200]!r}")
    for error in found:
        if error.get("code") not in (codes or CODES):
            raise Failed(f"{answer.asked}: error code {error.get('code')!r}")


class Place:
    """Args:
    asking: Asks the registry.
    prefix: Repositories go below it.
    unique: A text that no other row of this or an earlier run has.
    """

    def __init__(self, asking: Asking, *, prefix: str, unique: Callable[[], str]) -> None:
        self.ask = asking.ask
        self.base = asking.base
        self._prefix = prefix
        self._unique = unique
        self.repository = self.new_repository()

    def new_repository(self) -> str:
        """The name of one that is not there."""
        return f"{self._prefix}/{self._unique()}"

    def fresh(self, size: int = 0) -> bytes:
        """Bytes that the registry has not seen."""
        text = self._unique().encode()
        return text.ljust(size, b".")

    def path(self, kind: str, last: str, *, repository: str | None = None) -> str:
        """Of an endpoint of the repository."""
        return f"/v2/{repository or self.repository}/{kind}/{last}"

    def get(self, kind: str, last: str, *, method: str = "GET", **headers: str) -> Answer:
        """GET or HEAD; underscores in the names of headers mean dashes. Any manifest is accepted."""
        named = {"accept": ANY_MANIFEST} if kind == "manifests" else {}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(method, self.path(kind, last), headers=named)

    def begin(self, *, query: Query = (), repository: str | None = None) -> str:
        """The location of a new upload."""
        answer = self.ask("POST", self.path("blobs", "uploads/", repository=repository), b"", query=query)
        return expect_header(expect(answer, 202), "location")

    def patch(self, location: str, data: bytes, *, start: int | None = None) -> Answer:
        """A chunk; its Content-Range is told unless ``start`` is None."""
        headers = {"Content-Type": OCTETS}
        if start is not None:
            headers["Content-Range"] = f"{start}-{start + len(data) - 1}"
        return self.ask("PATCH", location, data, headers=headers)

    def finish(self, location: str, digest: str, data: bytes = b"", *, start: int | None = None) -> Answer:
        """The end of an upload."""
        headers = {"Content-Type": OCTETS}
        if start is not None:
            headers["Content-Range"] = f"{start}-{start + len(data) - 1}"
        return self.ask("PUT", location, data, query=(("digest", digest),), headers=headers)

    def blob(self, data: bytes, *, algorithm: str = "sha256", repository: str | None = None) -> str:
        """Push one with POST and PUT; its digest."""
        query = () if algorithm == "sha256" else (("digest-algorithm", algorithm),)
        location = self.begin(query=query, repository=repository)
        digest = digest_of(data, algorithm)
        expect(self.finish(location, digest, data), 201)
        return digest

    def put(
        self,
        name: str,
        document: Mapping[str, object] | bytes,
        *,
        media_type: str | None = None,
        query: Query = (),
    ) -> Answer:
        """Push a manifest; the media type is the document's unless it is given."""
        data = document if isinstance(document, bytes) else encoded(document)
        if media_type is None:
            told = document.get("mediaType") if not isinstance(document, bytes) else None
            media_type = str(told or mediatypes.OCI_MANIFEST)
        headers = {"Content-Type": media_type}
        return self.ask("PUT", self.path("manifests", name), data, query=query, headers=headers)

    def image(self, *layers: bytes, **fields: object) -> dict[str, object]:
        """The manifest of an artifact with an empty config; its blobs are pushed, it is not."""
        for data in {CONFIG, *layers}:
            self.blob(data)
        return self.unpushed(*layers, **fields)

    def unpushed(self, *layers: bytes, **fields: object) -> dict[str, object]:
        """As ``image``, and nothing is pushed."""
        return {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "artifactType": "application/vnd.example.thing",
            "config": described(CONFIG, mediatypes.OCI_EMPTY),
            "layers": [described(data) for data in layers],
            "annotations": {"unique": self._unique()},
            **fields,
        }

    def pushed(self, *tags: str, **fields: object) -> bytes:
        """Push an image without layers under ``tags``, or under its digest; its bytes."""
        data = encoded(self.image(**fields))
        for name in tags or (digest_of(data),):
            expect(self.put(name, data), 201)
        return data

    def index(self, *children: Mapping[str, object], **fields: object) -> dict[str, object]:
        """An index; nothing is pushed."""
        return {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": list(children),
            "annotations": {"unique": self._unique()},
            **fields,
        }

    def expect_stored(self, name: str, data: bytes, media_type: str = mediatypes.OCI_MANIFEST) -> None:
        """A manifest comes back as it was pushed."""
        answer = expect(self.get("manifests", name), 200)
        expect_equal(f"{answer.asked}: body", answer.body, data)
        expect_header(answer, "content-type", media_type)

    def expect_pullable(self, answer: Answer, data: bytes) -> None:
        """What its Location leads to is ``data``."""
        found = expect(self.ask("GET", self.absolute(answer), headers={"Accept": ANY_MANIFEST}), 200)
        expect_equal(f"{found.asked}: body", found.body, data)

    def absolute(self, answer: Answer) -> str:
        """Its Location, whole."""
        return urljoin(self.base, expect_header(answer, "location"))

    def next_page(self, answer: Answer) -> str | None:
        """Where its Link with rel=next leads, None without one."""
        link = answer.header("link")
        if link is None:
            return None
        target, _, parameters = link.partition(">")
        if not target.startswith("<") or 'rel="next"' not in parameters.replace("rel=next", 'rel="next"'):
            raise Failed(f"{answer.asked}: Link is {link!r}")
        parts = urlsplit(
            urljoin(urljoin(self.base, urlsplit(answer.asked.partition(" ")[2]).path), target[1:])
        )
        return f"{parts.path}?{parts.query}"

    def referrers(self, subject: str, *, query: Query = ()) -> Answer:
        """The list; Absent where the registry has none."""
        answer = self.ask("GET", self.path("referrers", subject), query=query)
        if answer.status == 404:
            raise Absent("no referrers API")
        return expect(answer, 200)


def encoded(document: Mapping[str, object]) -> bytes:
    """As it is pushed."""
    return json.dumps(document, indent=1).encode()


def is_off(answer: Answer) -> Answer:
    """The answer to a deletion; Absent where it is disabled as the specification says."""
    if answer.status in (400, 405):
        raise Absent("deletion is disabled")
    return expect(answer, 202)
