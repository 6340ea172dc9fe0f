"""Faults: what FakeRegistry can be told to do wrong; each gets the request and who answers it rightly."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace

from distore.content.slices import BytesReader
from distore.registry import errors
from distore.registry.message import NO_ANSWER, BytesBody, Handler, Request, Response, Slice
from distore.testing.altered import Altered, CutBody

# Gets the request and who would answer it rightly.
Fault = Callable[[Request, Handler], Response]


def refuse(status: int, code: str = errors.UNKNOWN, message: str = "no", **headers: str) -> Fault:
    """Answer with an error document."""
    return lambda request, handler: errors.refusal(status, code, message, **headers)


def throttled(retry_after: int | str) -> Fault:
    """429, and when to come again."""
    return refuse(429, errors.TOO_MANY_REQUESTS, "slow down", retry_after=str(retry_after))


def unavailable() -> Fault:
    """503."""
    return refuse(503, errors.UNKNOWN, "back soon")


def drop_at(offset: int) -> Fault:
    """Break off before the byte at ``offset`` of the object."""
    return _reading(until=offset)


def other_bytes() -> Fault:
    """As many bytes as promised, all of them wrong."""
    return _reading(flipped=True)


def trickle(size: int = 1) -> Fault:
    """``size`` bytes at a time."""
    return _reading(most=size)


def ignore_range() -> Fault:
    """The whole object, whatever part is asked for."""

    def act(request: Request, handler: Handler) -> Response:
        headers = {name: value for name, value in request.headers.items() if name != "range"}
        return handler(replace(request, headers=headers))

    return act


def with_headers(**headers: str) -> Fault:
    """The right answer under wrong headers; underscores in names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def act(request: Request, handler: Handler) -> Response:
        response = handler(request)
        return replace(response, headers={**response.headers, **named})

    return act


def lie_about_length(length: int) -> Fault:
    """A Content-Length that is not that of the body."""
    return with_headers(content_length=str(length))


def claim_digest(text: str) -> Fault:
    """A Docker-Content-Digest that is not that of the body."""
    return with_headers(docker_content_digest=text)


def redirect(url: str, status: int = 307) -> Fault:
    """Send the client to ``url``."""
    return lambda request, handler: Response(status=status, headers={"location": url})


def gzipped() -> Fault:
    """The body gzip-encoded, though nobody asked for that."""

    def act(request: Request, handler: Handler) -> Response:
        response = handler(request)
        data = response.body
        if isinstance(data, Slice):
            data = data.reader.read_at(data.length, data.start)
            response.close()
        return replace(
            response, headers={**response.headers, "content-encoding": "gzip"}, body=gzip.compress(data)
        )

    return act


def drop_upload_at(offset: int) -> Fault:
    """The connection dies after so many bytes of the request's body; those are taken and kept.

    A body of exactly ``offset`` bytes is taken whole, and its answer is what gets lost.
    """

    def act(request: Request, handler: Handler) -> Response:
        body = CutBody(request.body, offset)
        response = handler(replace(request, body=body))
        if not body.is_cut:
            return response
        response.close()
        return Response(status=NO_ANSWER)

    return act


def drop_answer() -> Fault:
    """Everything is done as asked, and the connection dies before the answer."""

    def act(request: Request, handler: Handler) -> Response:
        handler(request).close()
        return Response(status=NO_ANSWER)

    return act


def lose_session() -> Fault:
    """The upload is gone, as after a restart: 404 BLOB_UPLOAD_UNKNOWN, now and from now on."""

    def act(request: Request, handler: Handler) -> Response:
        handler(replace(request, method="DELETE", query={}, body=BytesBody())).close()
        return errors.refusal(404, errors.BLOB_UPLOAD_UNKNOWN, "the upload is unknown")

    return act


def _reading(*, most: int | None = None, until: int | None = None, flipped: bool = False) -> Fault:
    def act(request: Request, handler: Handler) -> Response:
        response = handler(request)
        body = response.body
        if not body:
            return response
        if isinstance(body, bytes):
            body = Slice(reader=BytesReader(body), start=0, length=len(body))
        reader = Altered(body.reader, most=most, until=until, flipped=flipped)
        return replace(response, body=replace(body, reader=reader))

    return act
