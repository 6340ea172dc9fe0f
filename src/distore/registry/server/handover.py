"""HandOver: a request for another worker, on its way there, and the answer on its way back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import web

from distore.registry import errors
from distore.registry.server.sending import hung_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from distore.registry.incoming import Incoming
    from distore.registry.message import Request

_PIECE: Final = 256 * 1024  # bytes
_CONNECT: Final = 5.0  # seconds
_HOPS: Final = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class HandOver:
    """Reaches the workers of one server through their sockets in ``folder``."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    async def __call__(
        self, request: web.BaseRequest, plain: Request, incoming: Incoming, owner: str
    ) -> web.StreamResponse | None:
        """Give ``request``, whose body nobody has read, to the worker of pid ``owner``, and its answer to
        the client; None: there is no such worker, and the body is still unread."""
        path = os.path.join(self._folder, f"{owner}.sock")
        if not (owner.isascii() and owner.isdecimal()) or not os.path.exists(path):
            return None
        headers = {name: value for name, value in plain.headers.items() if name not in _HOPS}
        headers |= {"x-forwarded-for": plain.client, "x-forwarded-proto": plain.scheme}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
        async with aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=path), timeout=timeout, auto_decompress=False
        ) as session:
            try:
                answer = await session.request(
                    request.method,
                    f"http://worker{request.raw_path}",
                    headers=headers,
                    skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
                    data=_body(incoming) if request.body_exists else None,
                    allow_redirects=False,
                )
            except (aiohttp.ClientError, OSError, TimeoutError):
                return None if incoming.untouched else _gone()
            async with answer:
                return await _relay(request, answer, keep=not request.body_exists or incoming.ended)


async def _body(incoming: Incoming) -> AsyncIterator[bytes]:
    while piece := await incoming.next(_PIECE):
        yield piece


async def _relay(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, *, keep: bool
) -> web.StreamResponse:
    named = {name: value for name, value in answer.headers.items() if name.lower() not in _HOPS}
    response = web.StreamResponse(status=answer.status, headers=named)
    if not keep:
        response.force_close()
    try:
        await response.prepare(request)
        async for piece in answer.content.iter_chunked(_PIECE):
            await response.write(piece)
        await response.write_eof()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return hung_up(request)  # what came so far must not look whole
    return response


def _gone() -> web.StreamResponse:
    refusal = errors.refusal(503, errors.UNKNOWN, "the worker that has this upload has just ended")
    assert isinstance(refusal.body, bytes)
    response = web.Response(status=503, headers={**refusal.headers, "retry-after": "1"}, body=refusal.body)
    response.force_close()
    return response
