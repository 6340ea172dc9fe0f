"""Markup: HTML out of elements; text that is not HTML already is escaped, always."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

VOID: Final = frozenset(("br", "hr", "input", "link", "meta"))
# Controls, and what changes the direction of the text around it: a label may not rewrite the page.
_STRANGE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
_HALVES: Final = re.compile("[\ud800-\udfff]")  # no encoding has them, JSON does


class Html(str):
    """Text that is HTML."""

    __slots__ = ()


Child: TypeAlias = "Html | str | int | Iterable[Child] | None"
Attribute: TypeAlias = str | int | bool | None


def text(value: str) -> Html:
    """Escaped; characters that could disturb what stands around them are shown by their number."""
    return Html(html.escape(visible(value)))


def visible(value: str) -> str:
    """Text with nothing in it that is obeyed instead of shown."""
    shown = _STRANGE.sub(lambda found: f"\N{LEFT CEILING}U+{ord(found[0]):04X}\N{RIGHT FLOOR}", value)
    return _HALVES.sub("\N{REPLACEMENT CHARACTER}", shown)


def el(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """An element.

    Args:
        children: HTML as it is, text escaped, None left out, and lists of those.
        attributes: A trailing underscore is dropped, others become dashes; True stands alone, False and
            None are left out.
    """
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """Children beside each other."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(text(child))
        elif isinstance(child, int):
            parts.append(str(child))
        elif child is not None:
            parts.append(join(*child))
    return Html("".join(parts))


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(str(value))}"'
