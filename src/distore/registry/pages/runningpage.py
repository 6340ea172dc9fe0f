"""The page of running ingests: uploads and downloads that have not become blobs yet."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError
from distore.registry.grants import EVERYTHING, PULL
from distore.registry.message import Response
from distore.registry.pages import links, words
from distore.registry.pages.frame import HEADERS, View, is_stranger, table
from distore.registry.pages.markup import Child, Html, el, join
from distore.registry.sessions import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distore.content.store import IngestManager, Status
    from distore.registry.grants import Grants

MAX_INGESTS: Final = 200  # that a page shows
_DOWNLOADS: Final = ("layer-", "config-", "manifest-", "index-", "unknown-")  # remotes/refkey.py


def running_page(ingests: IngestManager, *, now: float, grants: Grants) -> View:
    """As it is at this moment; the script keeps it up to date."""
    found = list(_first(ingests))
    content = join(
        el("h1", "Running"),
        el("p", "Uploads and downloads that are not blobs yet, the ones that wait to be resumed, too."),
        el(
            "section",
            _table(found, now, grants),
            id="running",
            data_poll=links.RUNNING_JSON,
            aria_label="Running ingests",
        ),
        el("p", el("a", "Look again", href=links.RUNNING), class_="again"),
    )
    return View(title="Running", content=content, here=links.RUNNING)


def running_json(ingests: IngestManager, *, now: float, grants: Grants) -> Response:
    """The same for the script, which asks every second: a stream of events would hold one of the
    server's threads for every visitor."""
    rows = [
        {
            "id": _key(each),
            "kind": _kind(each),
            "name": _name(each, grants),
            "offset": each.offset,
            "total": each.total,
            "active": each.owner is not None,
            "started": words.age(now - each.started.timestamp()),
        }
        for each in _first(ingests)
    ]
    headers = {**HEADERS, "content-type": "application/json"}
    return Response(status=200, headers=headers, body=json.dumps({"running": rows}).encode())


def _first(ingests: IngestManager) -> Iterable[Status]:
    """The newest of those that there are, within reason."""
    found: list[Status] = []
    try:
        for each in ingests.statuses():
            found.append(each)
            if len(found) >= MAX_INGESTS:
                break
    except DistoreError:
        return found
    return sorted(found, key=lambda each: each.started, reverse=True)


def _table(found: list[Status], now: float, grants: Grants) -> Html:
    if not found:
        return el("p", "Nothing is running.", class_="empty")
    columns = [
        ("What", "name"),
        ("Progress", "wide"),
        ("Received", "number"),
        ("Speed", "number"),
        ("Began", "time"),
    ]
    rows = [_row(each, now, grants) for each in found]
    return table(words.count(len(found), "ingest"), columns, rows, class_="list running")


def _row(each: Status, now: float, grants: Grants) -> list[Child]:
    done = words.size(each.offset)
    if each.total:
        done += f" of {words.size(each.total)}"
    elapsed = each.updated.timestamp() - each.started.timestamp()
    name = _name(each, grants)
    label = f"Progress of {_kind(each)} {name}"
    return [
        join(el("span", _kind(each), class_="badge"), " ", el("code", name)),
        el("progress", value=each.offset, max=each.total, aria_label=label)
        if each.total
        else el("progress", aria_label=label)
        if each.owner is not None
        else el("span", "waits", class_="none"),
        done,
        f"{words.size(int(each.offset / elapsed))}/s" if elapsed > 0.5 and each.owner else "\N{EN DASH}",
        words.moment(each.started, now),
    ]


def _key(each: Status) -> str:
    return hashlib.sha256(each.ref.encode("utf-8", "replace")).hexdigest()[:16]


def _kind(each: Status) -> str:
    if each.ref.startswith(PREFIX):
        return "upload"
    return "download" if each.ref.startswith(_DOWNLOADS) else "ingest"


def _name(each: Status, grants: Grants) -> str:
    """The repository, the digest or the ref, whichever says most; nothing that is not for the visitor."""
    if each.ref.startswith(PREFIX):
        repository = each.ref.removeprefix(PREFIX).rpartition("/")[0]
        return words.cut(repository, 255) if grants.may(PULL, repository) else _key(each)
    if each.expected is not None and not is_stranger(grants):
        return words.short(each.expected)
    # A ref may name what others pull: only where nobody is kept from anything is it shown.
    return words.cut(each.ref, 100) if grants is EVERYTHING else _key(each)
