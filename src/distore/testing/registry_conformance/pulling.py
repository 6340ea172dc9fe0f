"""What the specification says of pulling."""

from __future__ import annotations

from typing import Final

from distore.testing.registry_conformance.place import (
    Place,
    digest_of,
    expect,
    expect_code,
    expect_equal,
    expect_header,
)
from distore.testing.registry_conformance.row import MAY, MUST, SHOULD, Failed, row

_MANIFESTS: Final = "Pulling manifests (end-3)"
_BLOBS: Final = "Pulling blobs (end-2)"
_EXISTS: Final = "Checking if content exists in the registry (end-2, end-3)"


@row(MUST, "Determining Support (end-1)", "GET /v2/ is answered with 200.")
def support(place: Place) -> None:
    expect(place.ask("GET", "/v2/"), 200)


@row(MUST, _MANIFESTS, "A manifest comes by its tag, byte for byte, with 200.")
def manifest_by_tag(place: Place) -> None:
    place.expect_stored("latest", place.pushed("latest"))


@row(MUST, _MANIFESTS, "A manifest comes by its digest, byte for byte, with 200.")
def manifest_by_digest(place: Place) -> None:
    data = place.pushed()
    place.expect_stored(digest_of(data), data)


@row(MUST, _MANIFESTS, "A manifest comes with its digest in Docker-Content-Digest.")
def manifest_digest_header(place: Place) -> None:
    data = place.pushed("latest")
    expect_header(expect(place.get("manifests", "latest"), 200), "docker-content-digest", digest_of(data))


@row(MUST, _MANIFESTS, "The longest tag there may be names a manifest.")
def longest_tag(place: Place) -> None:
    tag = "_" + "aB9.-_" * 21 + "z"
    place.expect_stored(tag, place.pushed(tag))


@row(MUST, _MANIFESTS, "Every form of repository name that the grammar allows works.")
def repository_names(place: Place) -> None:
    for more in ("a", "a.b", "a_b", "a__b", "a-b", "a---b", "0/1/2/3"):
        place.repository = f"{place.new_repository()}/{more}"
        place.expect_stored("1", place.pushed("1"))


@row(SHOULD, _MANIFESTS, "Content-Type is what the manifest was pushed as, without parameters.")
def manifest_content_type(place: Place) -> None:
    data = place.pushed()
    answer = place.get("manifests", digest_of(data))
    expect_header(expect(answer, 200), "content-type", "application/vnd.oci.image.manifest.v1+json")


@row(MUST, _MANIFESTS, "A tag that is not there is answered with 404.")
def manifest_unknown_tag(place: Place) -> None:
    place.pushed("latest")
    expect(place.get("manifests", "gone"), 404)


@row(MUST, _MANIFESTS, "A digest that is not there is answered with 404.")
def manifest_unknown_digest(place: Place) -> None:
    place.pushed("latest")
    expect(place.get("manifests", digest_of(place.fresh())), 404)


@row(MUST, "Pushing Manifests", "A repository that is not there is answered with 404.")
def unknown_repository(place: Place) -> None:
    expect(place.get("manifests", "latest"), 404)


@row(MUST, _BLOBS, "A blob comes by its digest, byte for byte, with 200.")
def blob(place: Place) -> None:
    data = place.fresh()
    answer = expect(place.get("blobs", place.blob(data)), 200)
    expect_equal("body", answer.body, data)


@row(MUST, _BLOBS, "A blob comes with its digest in Docker-Content-Digest.")
def blob_digest_header(place: Place) -> None:
    digest = place.blob(place.fresh())
    expect_header(expect(place.get("blobs", digest), 200), "docker-content-digest", digest)


@row(MUST, _BLOBS, "A blob that is not there is answered with 404.")
def blob_unknown(place: Place) -> None:
    place.blob(place.fresh())
    expect(place.get("blobs", digest_of(place.fresh())), 404)


@row(MUST, _BLOBS, "A blob that only another repository has is answered with 404.")
def blob_of_another(place: Place) -> None:
    digest = place.blob(place.fresh(), repository=place.new_repository())
    place.blob(place.fresh())
    expect(place.get("blobs", digest), 404)


@row(SHOULD, _BLOBS, "A Range with both ends is answered with 206 and those bytes (RFC 9110, 14.2).")
def blob_range(place: Place) -> None:
    data = place.fresh(size=100)
    answer = expect(place.get("blobs", place.blob(data), range="bytes=10-19"), 206)
    expect_equal("body", answer.body, data[10:20])
    expect_header(answer, "content-range", "bytes 10-19/100")


@row(SHOULD, _BLOBS, "A Range without an end goes to the last byte (RFC 9110, 14.1.2).")
def blob_range_open(place: Place) -> None:
    data = place.fresh(size=100)
    answer = expect(place.get("blobs", place.blob(data), range="bytes=95-"), 206)
    expect_equal("body", answer.body, data[95:])


@row(SHOULD, _BLOBS, "A Range without a start is the last bytes (RFC 9110, 14.1.2).")
def blob_range_suffix(place: Place) -> None:
    data = place.fresh(size=100)
    answer = expect(place.get("blobs", place.blob(data), range="bytes=-5"), 206)
    expect_equal("body", answer.body, data[-5:])


@row(SHOULD, _BLOBS, "A Range that ends behind the blob is cut there (RFC 9110, 14.1.2).")
def blob_range_cut(place: Place) -> None:
    data = place.fresh(size=100)
    answer = expect(place.get("blobs", place.blob(data), range="bytes=90-1000"), 206)
    expect_header(answer, "content-range", "bytes 90-99/100")


@row(SHOULD, _BLOBS, "A Range that begins behind the blob is answered with 416 (RFC 9110, 15.5.17).")
def blob_range_behind(place: Place) -> None:
    data = place.fresh(size=100)
    answer = expect(place.get("blobs", place.blob(data), range="bytes=100-200"), 416)
    expect_header(answer, "content-range", "bytes */100")


@row(SHOULD, _BLOBS, "If-Range with another entity tag gives the whole blob (RFC 9110, 13.1.5).")
def blob_if_range(place: Place) -> None:
    data = place.fresh(size=100)
    answer = place.get("blobs", place.blob(data), range="bytes=1-2", if_range='"other"')
    expect_equal("body", expect(answer, 200).body, data)


@row(SHOULD, _BLOBS, "A Range that is none is passed over (RFC 9110, 14.2).")
def blob_range_nonsense(place: Place) -> None:
    data = place.fresh(size=100)
    answer = expect(place.get("blobs", place.blob(data), range="lines=1-2"), 200)
    expect_equal("body", answer.body, data)


@row(MUST, _EXISTS, "HEAD of a blob is answered with 200 and its digest.")
def blob_head(place: Place) -> None:
    digest = place.blob(place.fresh())
    answer = expect(place.get("blobs", digest, method="HEAD"), 200)
    expect_header(answer, "docker-content-digest", digest)


@row(MUST, _EXISTS, "HEAD of a blob says its size in Content-Length.")
def blob_head_length(place: Place) -> None:
    answer = expect(place.get("blobs", place.blob(place.fresh(size=77)), method="HEAD"), 200)
    expect_header(answer, "content-length", "77")


@row(MUST, _EXISTS, "HEAD of a manifest by its tag is answered with 200 and its digest.")
def manifest_head_tag(place: Place) -> None:
    data = place.pushed("latest")
    answer = expect(place.get("manifests", "latest", method="HEAD"), 200)
    expect_header(answer, "docker-content-digest", digest_of(data))


@row(MUST, _EXISTS, "HEAD of a manifest by its digest is answered with 200 and its digest.")
def manifest_head_digest(place: Place) -> None:
    data = place.pushed()
    answer = expect(place.get("manifests", digest_of(data), method="HEAD"), 200)
    expect_header(answer, "docker-content-digest", digest_of(data))


@row(MUST, _EXISTS, "HEAD of a manifest says its size in Content-Length.")
def manifest_head_length(place: Place) -> None:
    data = place.pushed("latest")
    answer = expect(place.get("manifests", "latest", method="HEAD"), 200)
    expect_header(answer, "content-length", str(len(data)))


@row(MUST, _EXISTS, "HEAD of what is not there is answered with 404.")
def head_unknown(place: Place) -> None:
    place.pushed("latest")
    expect(place.get("blobs", digest_of(place.fresh()), method="HEAD"), 404)
    expect(place.get("manifests", digest_of(place.fresh()), method="HEAD"), 404)
    expect(place.get("manifests", "gone", method="HEAD"), 404)


@row(MUST, "Error Codes", "Error documents have the form and the codes of the specification.")
def error_documents(place: Place) -> None:
    place.pushed("latest")
    for answer, code in (
        (place.get("manifests", "gone"), "MANIFEST_UNKNOWN"),
        (place.get("blobs", digest_of(place.fresh())), "BLOB_UNKNOWN"),
        (place.get("tags", "list"), ""),
    ):
        if code:
            expect_code(expect(answer, 404), code)
    place.repository = place.new_repository()
    expect_code(expect(place.get("tags", "list"), 404), "NAME_UNKNOWN")


@row(MUST, "Error Codes", "What is wrong with a request is told with a code of the specification's table.")
def error_codes(place: Place) -> None:
    for answer in (
        place.get("blobs", "sha256:nonsense"),
        place.ask("POST", "/v2/UPPER/blobs/uploads/", b""),
        place.put("-not-a-tag", place.unpushed()),
    ):
        if not 400 <= answer.status < 500:
            raise Failed(f"{answer.asked}: want a refusal, got {answer.status}")
        if "json" in (answer.header("content-type") or ""):
            expect_code(answer)


@row(MAY, "Warnings", 'Warning headers have code 299, agent "-" and no date, 4096 bytes together.')
def warnings(place: Place) -> None:
    document = place.image()
    del document["mediaType"]
    answer = expect(place.put("1", document, media_type="application/vnd.oci.image.manifest.v1+json"), 201)
    found = [value for name, value in answer.headers if name == "warning"]
    for value in found:
        if not (value.startswith('299 - "') and value.endswith('"')):
            raise Failed(f"Warning is {value!r}")
    if sum(map(len, found)) > 4096:
        raise Failed("over 4096 bytes of warnings")
