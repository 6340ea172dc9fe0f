"""Config: what the config of an image says about running it."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from distore.registry.pages import words
from distore.registry.pages.frame import facts, table
from distore.registry.pages.markup import Child, Html, el

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.oci.manifest import ImageConfig

MAX_PAIRS: Final = 100  # labels, or variables, that a page shows
_WORDS: Final = 40  # of one command
_TIME: Final = 19  # characters of a time up to its seconds


def config_view(config: ImageConfig | None) -> Html | None:
    """Command, user, ports, environment, labels: whatever of it has the right form."""
    if config is None:
        return None
    given = config.document.get("config")
    inner = given if isinstance(given, dict) else {}
    author = config.document.get("author")
    known: list[tuple[str, Child]] = [
        ("Entrypoint", _command(inner.get("Entrypoint"))),
        ("Command", _command(inner.get("Cmd"))),
        ("Working folder", _code(inner.get("WorkingDir"))),
        ("User", _code(inner.get("User"))),
        ("Ports", _keys(inner.get("ExposedPorts"))),
        ("Volumes", _keys(inner.get("Volumes"))),
        ("Stop signal", _code(inner.get("StopSignal"))),
        ("Author", words.cut(author) if isinstance(author, str) and author else None),
    ]
    labels = inner.get("Labels")
    return el(
        "section",
        el("h2", "Config", id="config"),
        facts(known) if any(value is not None for _, value in known) else None,
        pairs("Environment", _variables(inner.get("Env")), level="h3"),
        pairs("Labels", labels if isinstance(labels, dict) else {}, level="h3"),
        aria_labelledby="config",
    )


def pairs(title: str, given: Mapping[str, object], *, level: str = "h2") -> Html | None:
    """A table of names and texts; addresses of the web become links."""
    texts = [(key, value) for key, value in given.items() if isinstance(value, str)]
    if not texts:
        return None
    rows: list[list[Child]] = [
        [el("code", words.cut(key, 300)), _linked(words.cut(value))] for key, value in texts[:MAX_PAIRS]
    ]
    caption = words.count(len(texts), "entry", "entries")
    if len(texts) > MAX_PAIRS:
        caption += f"; {MAX_PAIRS} are shown"
    return el(
        "div",
        el(level, title),
        table(caption, [("Name", "name"), ("Value", "wide")], rows, class_="pairs"),
    )


def created_of(config: ImageConfig | None) -> datetime | None:
    """When it says that it was made; None when it says nothing that could be so."""
    return None if config is None else moment_of(config.document.get("created"))


def moment_of(given: object) -> datetime | None:
    """A time of a document (RFC 3339), to the second; that of the epoch stands for none."""
    if not isinstance(given, str) or len(given) > 64:
        return None
    text = given.upper()
    zone = text[_TIME:].lstrip(".0123456789")
    try:
        moment = datetime.fromisoformat(text[:_TIME] + ("+00:00" if zone == "Z" else zone))
        utc = moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return utc if utc is not None and utc.timestamp() > 0 else None


def _linked(value: str) -> Child:
    if not value.startswith(("https://", "http://")) or not value.isprintable() or " " in value:
        return el("code", value)
    try:
        host = urlsplit(value).hostname
    except ValueError:
        host = None
    return el("a", value, href=value, rel="nofollow noreferrer noopener") if host else el("code", value)


def _variables(given: object) -> dict[str, str]:
    found = {}
    for each in given if isinstance(given, list) else []:
        if isinstance(each, str):
            name, _, value = each.partition("=")
            found[name] = value
    return found


def _command(given: object) -> Html | None:
    if isinstance(given, str) and given:
        given = [given]
    if not isinstance(given, list) or not given:
        return None
    parts = [each for each in given if isinstance(each, str)]
    shown: list[Child] = [el("code", words.cut(each)) for each in parts[:_WORDS]]
    if len(parts) > _WORDS:
        shown.append(f"and {len(parts) - _WORDS} more")
    return el("span", shown, class_="command") if parts else None


def _code(given: object) -> Html | None:
    return el("code", words.cut(given)) if isinstance(given, str) and given else None


def _keys(given: object) -> Html | None:
    if not isinstance(given, dict) or not given:
        return None
    return el(
        "span", [el("code", words.cut(str(each), 200)) for each in islice(given, _WORDS)], class_="command"
    )
