"""What the specification says of pushing blobs."""

from __future__ import annotations

from typing import Final

from distore.testing.registry_conformance.place import (
    OCTETS,
    Place,
    digest_of,
    expect,
    expect_code,
    expect_equal,
    expect_header,
)
from distore.testing.registry_conformance.row import MAY, MUST, SHOULD, Absent, Failed, row

_WHOLE: Final = "POST then PUT (end-4a, end-6)"
_POST: Final = "Single POST (end-4b)"
_CHUNKS: Final = "Pushing a blob in chunks (end-5, end-6)"
_STATUS: Final = "Pushing a blob in chunks (end-13)"
_CANCEL: Final = "Cancel a blob upload (end-14)"
_MOUNT: Final = "Mounting a blob from another repository (end-11)"


@row(MUST, _WHOLE, "POST is answered with 202 and a Location.")
def upload_begins(place: Place) -> None:
    place.begin()


@row(MUST, _WHOLE, "Every upload has a Location of its own.")
def upload_is_unique(place: Place) -> None:
    if place.begin() == place.begin():
        raise Failed("two uploads have one Location")


@row(MUST, _WHOLE, "PUT is answered with 201 and a Location where the blob can be pulled.")
def upload_whole(place: Place) -> None:
    data = place.fresh()
    answer = expect(place.finish(place.begin(), digest_of(data), data), 201)
    place.expect_pullable(answer, data)


@row(MUST, _WHOLE, "A blob without a byte can be pushed.")
def upload_empty(place: Place) -> None:
    digest = place.blob(b"")
    expect_equal("body", expect(place.get("blobs", digest), 200).body, b"")


@row(MUST, _WHOLE, "A blob that is there can be pushed again.")
def upload_again(place: Place) -> None:
    data = place.fresh()
    place.blob(data)
    place.blob(data)


@row(MAY, _POST, "POST with a digest and the bytes is answered with 201 and a Location to pull from.")
def upload_single_post(place: Place) -> None:
    data = place.fresh()
    query = (("digest", digest_of(data)),)
    headers = {"Content-Type": OCTETS}
    answer = place.ask("POST", place.path("blobs", "uploads/"), data, query=query, headers=headers)
    if answer.status == 202:
        raise Absent("answered with an upload")
    place.expect_pullable(expect(answer, 201), data)


@row(SHOULD, _POST, "Without support for it, POST with a digest begins an upload that PUT can end.")
def upload_single_post_falls_back(place: Place) -> None:
    data = place.fresh()
    query = (("digest", digest_of(data)),)
    answer = expect(place.ask("POST", place.path("blobs", "uploads/"), data, query=query), 201, 202)
    if answer.status == 202:
        expect(place.finish(place.absolute(answer), digest_of(data), data), 201)
    expect(place.get("blobs", digest_of(data), method="HEAD"), 200)


@row(MUST, _POST, "Bytes with another digest than is told are refused and not kept.")
def upload_wrong_digest(place: Place) -> None:
    data, wrong = place.fresh(), digest_of(place.fresh())
    expect(place.finish(place.begin(), wrong, data), 400)
    expect(place.get("blobs", wrong, method="HEAD"), 404)


@row(MUST, "Error Codes", "A wrong digest is DIGEST_INVALID.")
def upload_wrong_digest_code(place: Place) -> None:
    answer = place.finish(place.begin(), digest_of(place.fresh()), place.fresh())
    expect_code(expect(answer, 400), "DIGEST_INVALID")


@row(SHOULD, "Pushing blobs", "A digest that is none is answered with 400.")
def upload_bad_digest(place: Place) -> None:
    for digest in ("nonsense", "sha256:abc", "sha256:" + "g" * 64):
        expect(place.finish(place.begin(), digest, place.fresh()), 400)


@row(SHOULD, "Pushing blobs", "A digest of an algorithm that is not known is answered with 400.")
def upload_unknown_algorithm(place: Place) -> None:
    expect(place.finish(place.begin(), "crc32:00000000", place.fresh()), 400)


@row(MUST, _CHUNKS, "Chunks with Content-Range make a blob; each is answered with 202, Location and Range.")
def chunks(place: Place) -> None:
    data, location = place.fresh(size=300), place.begin()
    for start in range(0, 300, 100):
        answer = expect(place.patch(location, data[start : start + 100], start=start), 202)
        expect_header(answer, "range", f"0-{start + 99}")
        location = place.absolute(answer)
    place.expect_pullable(expect(place.finish(location, digest_of(data)), 201), data)


@row(MUST, _CHUNKS, "The last chunk may come with the closing PUT.")
def chunks_last_in_put(place: Place) -> None:
    data = place.fresh(size=200)
    answer = expect(place.patch(place.begin(), data[:100], start=0), 202)
    ended = place.finish(place.absolute(answer), digest_of(data), data[100:], start=100)
    place.expect_pullable(expect(ended, 201), data)


@row(MAY, _CHUNKS, "A PATCH without Content-Range is taken as a stream.")
def chunks_streamed(place: Place) -> None:
    data = place.fresh(size=200)
    answer = expect(place.patch(place.begin(), data), 202)
    expect(place.finish(place.absolute(answer), digest_of(data)), 201)


@row(MUST, _CHUNKS, "A first chunk that does not begin with 0 is answered with 416.")
def chunks_begin_with_0(place: Place) -> None:
    expect(place.patch(place.begin(), place.fresh(size=100), start=100), 416)


@row(MUST, _CHUNKS, "A chunk behind a gap is answered with 416.")
def chunks_gap(place: Place) -> None:
    data = place.fresh(size=300)
    answer = expect(place.patch(place.begin(), data[:100], start=0), 202)
    expect(place.patch(place.absolute(answer), data[200:], start=200), 416)


@row(MUST, _CHUNKS, "A chunk that came already is answered with 416.")
def chunks_again(place: Place) -> None:
    data = place.fresh(size=200)
    answer = expect(place.patch(place.begin(), data[:100], start=0), 202)
    expect(place.patch(place.absolute(answer), data[:100], start=0), 416)


@row(MUST, _CHUNKS, "A last chunk out of order in the closing PUT is answered with 416.")
def chunks_last_out_of_order(place: Place) -> None:
    data = place.fresh(size=300)
    answer = expect(place.patch(place.begin(), data[:100], start=0), 202)
    expect(place.finish(place.absolute(answer), digest_of(data), data[200:], start=200), 416)


@row(MUST, _CHUNKS, "After a 416 the upload goes on where GET says.")
def chunks_after_416(place: Place) -> None:
    data = place.fresh(size=200)
    location = place.absolute(expect(place.patch(place.begin(), data[:100], start=0), 202))
    expect(place.patch(location, data[:100], start=0), 416)
    status = expect(place.ask("GET", location), 204)
    expect_header(status, "range", "0-99")
    ended = place.finish(place.absolute(status), digest_of(data), data[100:], start=100)
    place.expect_pullable(expect(ended, 201), data)


@row(SHOULD, _CHUNKS, "A Content-Range that is not as long as the body is refused.")
def chunks_length(place: Place) -> None:
    headers = {"Content-Type": OCTETS, "Content-Range": "0-49"}
    answer = place.ask("PATCH", place.begin(), place.fresh(size=100), headers=headers)
    expect(answer, 400, 416)


@row(SHOULD, _CHUNKS, "A smallest chunk is told in OCI-Chunk-Min-Length, as a number.")
def chunks_min_length(place: Place) -> None:
    answer = expect(place.ask("POST", place.path("blobs", "uploads/"), b""), 202)
    told = answer.header("oci-chunk-min-length")
    if told is None:
        raise Absent("chunks have no smallest size")
    if not told.isdecimal():
        raise Failed(f"OCI-Chunk-Min-Length is {told!r}")


@row(SHOULD, "Pushing a blob in chunks (end-4c)", "digest-algorithm=sha512 begins an upload for a sha512.")
def algorithm_is_told(place: Place) -> None:
    data, location = place.fresh(size=200), place.begin(query=(("digest-algorithm", "sha512"),))
    location = place.absolute(expect(place.patch(location, data[:100], start=0), 202))
    digest = digest_of(data, "sha512")
    ended = expect(place.finish(location, digest, data[100:], start=100), 201)
    place.expect_pullable(ended, data)


@row(SHOULD, "Pushing blobs", "A blob may be pushed under its sha512.")
def upload_sha512(place: Place) -> None:
    data = place.fresh()
    digest = digest_of(data, "sha512")
    expect(place.finish(place.begin(), digest, data), 201)
    expect_equal("body", expect(place.get("blobs", digest), 200).body, data)


@row(SHOULD, "Pushing blobs", "Other bytes than the sha512 says are refused.")
def upload_wrong_sha512(place: Place) -> None:
    wrong = digest_of(place.fresh(), "sha512")
    expect(place.finish(place.begin(), wrong, place.fresh()), 400)
    expect(place.get("blobs", wrong, method="HEAD"), 404)


@row(MUST, _STATUS, "GET of an upload is answered with 204, Location and Range.")
def status(place: Place) -> None:
    location = place.absolute(expect(place.patch(place.begin(), place.fresh(size=100), start=0), 202))
    answer = expect(place.ask("GET", location), 204)
    expect_header(answer, "range", "0-99")
    expect_header(answer, "location")


@row(MUST, _STATUS, "GET of an upload that is not there is answered with 404.")
def status_unknown(place: Place) -> None:
    data, location = place.fresh(), place.begin()
    expect(place.finish(location, digest_of(data), data), 201)
    expect_code(expect(place.ask("GET", location), 404), "BLOB_UPLOAD_UNKNOWN")


@row(SHOULD, _CANCEL, "DELETE of an upload is answered with 204.")
def cancel(place: Place) -> None:
    expect(place.ask("DELETE", place.begin()), 204)


@row(SHOULD, _CANCEL, "An upload that was given up is not there any more.")
def cancel_ends(place: Place) -> None:
    location = place.begin()
    expect(place.ask("DELETE", location), 204)
    expect(place.ask("GET", location), 404)
    expect(place.patch(location, place.fresh()), 404)


@row(MUST, _MOUNT, "A mount is answered with 201 and a Location to pull from, or with 202.")
def mount(place: Place) -> None:
    data, other = place.fresh(), place.new_repository()
    query = (("mount", place.blob(data)), ("from", place.repository))
    answer = place.ask("POST", place.path("blobs", "uploads/", repository=other), b"", query=query)
    if expect(answer, 201, 202).status == 202:
        raise Absent("answered with an upload")
    place.expect_pullable(answer, data)


@row(SHOULD, _MOUNT, "What cannot be mounted begins an upload that PUT can end.")
def mount_unknown(place: Place) -> None:
    data = place.fresh()
    query = (("mount", digest_of(data)), ("from", place.new_repository()))
    answer = expect(place.ask("POST", place.path("blobs", "uploads/"), b"", query=query), 202)
    expect(place.finish(place.absolute(answer), digest_of(data), data), 201)


@row(MAY, _MOUNT, 'A mount without "from" finds the blob by itself.')
def mount_from_anywhere(place: Place) -> None:
    data, other = place.fresh(), place.new_repository()
    query = (("mount", place.blob(data)),)
    answer = place.ask("POST", place.path("blobs", "uploads/", repository=other), b"", query=query)
    if expect(answer, 201, 202).status == 202:
        raise Absent("answered with an upload")
    place.expect_pullable(answer, data)
