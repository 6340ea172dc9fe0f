"""Assets: style, script and icon of the page, under names that change with what is in them."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from distore.registry.message import Response
from distore.registry.pages.links import STATIC

if TYPE_CHECKING:
    from distore.registry.message import Request

_TYPES: Final = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Assets:
    """The files beside this one, read once."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        self._files: dict[str, tuple[str, bytes]] = {}
        for name, media_type in _TYPES.items():
            data = files("distore.registry.pages").joinpath(name).read_bytes()
            stem, _, kind = name.partition(".")
            path = f"{STATIC}{stem}.{hashlib.sha256(data).hexdigest()[:12]}.{kind}"
            self._paths[name] = path
            self._files[path] = (media_type, data)

    def path(self, name: str) -> str:
        """Where one is served."""
        return self._paths[name]

    def answer(self, request: Request) -> Response | None:
        """The file, which never changes; None: there is none."""
        found = self._files.get(request.path)
        if found is None:
            return None
        etag = f'"{request.path.rpartition("/")[2]}"'
        headers = {
            "content-type": found[0],
            "cache-control": "public, max-age=31536000, immutable",
            "etag": etag,
            "x-content-type-options": "nosniff",
        }
        if request.headers.get("if-none-match") == etag:
            return Response(status=304, headers=headers)
        return Response(status=200, headers=headers, body=found[1])
