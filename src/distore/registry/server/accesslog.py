"""AccessLog: one line for each request, written by a thread of its own."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.registry.message import NO_ANSWER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.registry.server.exchange import Exchange

_MOST: Final = 50_000  # lines that wait for a disk; further ones are lost
_AT_ONCE: Final = 200  # lines in one write
_MAX_TEXT: Final = 500  # characters of what a client says
# What of a query is no secret; the rest does not belong in a log.
_SHOWN: Final = ("digest", "mount", "from", "ns", "n", "last", "tag", "artifactType", "scope", "service")


class AccessLog:
    """Write to the end of ``path`` (``-``: standard output); ``close`` writes what waits.

    Each line is written whole: several processes may write one file.

    Args:
        form: One of FORMATS.
        now: Seconds since the epoch.
    Raises:
        InvalidArgument: The file cannot be written.
    """

    def __init__(self, path: str, *, form: str, now: Callable[[], float]) -> None:
        self._format = _common if form == "common" else _json
        self._now = now
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.dup(1) if path == "-" else os.open(path, flags, 0o640)
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise InvalidArgument(f"access log {path}: cannot be written: {why}") from error
        self._thread = threading.Thread(target=self._write, name="distore-access-log", daemon=True)
        self._thread.start()

    def add(self, exchange: Exchange) -> None:
        """Log one request; waits for nothing."""
        if self._lines.qsize() < _MOST:
            self._lines.put(self._format(exchange, self._now()))

    def close(self) -> None:
        """Write what waits."""
        self._lines.put(None)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            os.close(self._file)

    def _write(self) -> None:
        going = True
        while going:
            lines = [self._lines.get()]
            try:
                while len(lines) < _AT_ONCE:
                    lines.append(self._lines.get_nowait())
            except Empty:
                pass
            going = None not in lines
            data = "".join(f"{line}\n" for line in lines if line is not None).encode()
            try:
                while data:
                    data = data[os.write(self._file, data) :]
            except OSError:
                continue  # a full disk loses lines, not requests


def _json(exchange: Exchange, now: float) -> str:
    request = exchange.request
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "id": exchange.id,
        "client": request.client or "unix",
        "user": request.notes.get("user") or request.grants.user,
        "method": request.method[:_MAX_TEXT],
        "path": request.path[:_MAX_TEXT],
        "query": _shown(request.query),
        "status": None if exchange.status == NO_ANSWER else exchange.status,
        "received": exchange.received,
        "sent": exchange.sent,
        "ms": round(exchange.seconds * 1000, 1),
        "agent": request.headers.get("user-agent", "")[:_MAX_TEXT],
        "scheme": request.scheme,
    }
    if "cache" in request.notes:
        fields["cache"] = request.notes["cache"]
    return json.dumps(fields, separators=(",", ":"))  # ASCII: no terminal obeys it


def _common(exchange: Exchange, now: float) -> str:
    """As web servers write it ("combined"), with the milliseconds and the id at the end."""
    request = exchange.request
    query = "&".join(f"{name}={value}" for name, value in _shown(request.query).items())
    target = request.path[:_MAX_TEXT] + (f"?{query}" if query else "")
    when = datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    user = request.notes.get("user") or request.grants.user or "-"
    agent = request.headers.get("user-agent", "-")[:_MAX_TEXT]
    asked = _quoted(f"{request.method[:40]} {target} HTTP/1.1")
    return (
        f"{request.client or 'unix'} - {_bare(user)} [{when}] {asked} "
        f"{exchange.status or '-'} {exchange.sent} {_quoted('-')} {_quoted(agent)} "
        f"{exchange.seconds * 1000:.1f} {exchange.id}"
    )


def _shown(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query[name][:_MAX_TEXT] for name in _SHOWN if name in query}


def _quoted(text: str) -> str:
    return json.dumps(text)


def _bare(text: str) -> str:
    return json.dumps(text)[1:-1].replace(" ", "\\u0020")
