"""Rules that every content store keeps: names of ingests, labels, field paths, filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.content.store import MAX_LABEL_SIZE, MAX_REF_LENGTH
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore._internal.filters import Adaptor
    from distore.content.store import Info, Status

MAX_NAMESPACE_LENGTH: Final = 76  # characters
_SHOWN: Final = 60  # characters of a bad name that a message repeats


def check_ref(ref: str) -> str:
    """``ref`` itself when an ingest may have that name.

    Raises:
        InvalidArgument: Empty, over MAX_REF_LENGTH bytes, not UTF-8, or not printable.
    """
    if not ref:
        raise InvalidArgument("ingest '': the ref is empty")
    shown = _shown(ref)
    try:
        size = len(ref.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"ingest {shown}: the ref is not UTF-8 text") from error
    if size > MAX_REF_LENGTH:
        raise InvalidArgument(f"ingest {shown}: the ref has {size} bytes, the limit is {MAX_REF_LENGTH}")
    if not ref.isprintable():
        raise InvalidArgument(f"ingest {shown}: the ref has a character that cannot be printed")
    return ref


def check_namespace(name: str) -> str:
    """``name`` itself when a namespace may have it (containerd pkg/identifiers): letters and digits of
    ASCII, in words joined by one of ``. _ -``.

    Raises:
        InvalidArgument: It may not.
    """
    words = name.replace(".", "-").replace("_", "-").split("-")
    if len(name) > MAX_NAMESPACE_LENGTH or not name.isascii() or not all(word.isalnum() for word in words):
        raise InvalidArgument(
            f"namespace {_shown(name)}: want letters and digits, in words joined by . _ or -,"
            f" up to {MAX_NAMESPACE_LENGTH} characters"
        )
    return name


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that are too long (containerd pkg/labels) or have no key.

    Raises:
        InvalidArgument: Naming the key.
    """
    for key, value in labels.items():
        if not key:
            raise InvalidArgument("label '': the key is empty")
        try:
            size = len(key.encode()) + len(value.encode())
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"label {_shown(key)}: not UTF-8 text") from error
        if size > MAX_LABEL_SIZE:
            raise InvalidArgument(
                f"label {_shown(key)}: key and value have {size} bytes, the limit is {MAX_LABEL_SIZE}"
            )


def updated_labels(
    old: Mapping[str, str], new: Mapping[str, str], fieldpaths: tuple[str, ...]
) -> dict[str, str]:
    """The labels after ``Manager.update``; an empty value removes a label.

    Raises:
        InvalidArgument: A field path that is neither ``labels`` nor ``labels.KEY``.
    """
    labels = dict(old)
    for path in fieldpaths or ("labels",):
        if path == "labels":
            labels = dict(new)
        elif path.startswith("labels.") and path != "labels.":
            key = path.removeprefix("labels.")
            labels[key] = new.get(key, "")
        else:
            raise InvalidArgument(f"field path {_shown(path)}: want labels or labels.KEY")
    return {key: value for key, value in labels.items() if value}


def info_adaptor(info: Info) -> Adaptor:
    """What a filter sees of a blob: digest, size, labels."""

    def field(path: tuple[str, ...]) -> str | None:
        if path == ("digest",):
            return info.digest
        if path == ("size",):
            return str(info.size)
        if path[0] == "labels" and len(path) > 1:
            return info.labels.get(".".join(path[1:]))
        return None

    return field


def status_adaptor(status: Status) -> Adaptor:
    """What a filter sees of an ingest: ref."""
    return lambda path: status.ref if path == ("ref",) else None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
