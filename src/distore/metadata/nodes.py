"""Nodes: what the collector reaches, as few bytes each: kind, namespace, digest or name.

A flat node is kept itself and refers to (next to) nothing: what a lease with the label FLAT holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.leases import CONTENT as CONTENT_RESOURCE
from distore.leases import IMAGES, INGESTS, SNAPSHOTS, parse_expire
from distore.oci.digest import HEX_LENGTHS

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT: Final = b"c"
IMAGE: Final = b"i"
INGEST: Final = b"n"
SNAPSHOT: Final = b"s"
_FLAT: Final = {CONTENT: b"C", IMAGE: b"I", SNAPSHOT: b"S", INGEST: INGEST}
FLAT_CONTENT: Final = _FLAT[CONTENT]
FLAT_IMAGE: Final = _FLAT[IMAGE]
FLAT_SNAPSHOT: Final = _FLAT[SNAPSHOT]
_WIDTH: Final = 3  # bytes of a namespace's number
_HEAD: Final = 1 + _WIDTH
_ALGORITHMS: Final = {length // 2: f"{name}:" for name, length in HEX_LENGTHS.items()}


class Nodes:
    """Numbers the namespaces, makes nodes and takes them apart. Not thread-safe."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._numbers: dict[str, bytes] = {}

    def head(self, kind: bytes, namespace: str) -> bytes:
        """What the nodes of a kind and namespace begin with."""
        number = self._numbers.get(namespace)
        if number is None:
            number = self._numbers[namespace] = len(self._names).to_bytes(_WIDTH)
            self._names.append(namespace)
        return kind + number

    def namespace(self, node: bytes) -> str:
        """Whose it is."""
        return self._names[int.from_bytes(node[1:_HEAD])]

    def content(self, namespace: str, digest: str, *, flat: bool = False) -> bytes | None:
        """The node of a blob; None when ``digest`` is none."""
        value = raw(digest)
        return None if value is None else self.head(FLAT_CONTENT if flat else CONTENT, namespace) + value

    def other(self, kind: bytes, namespace: str, key: str, *, flat: bool = False) -> bytes:
        """The node of an image, an ingest or a snapshot (``SNAPSHOTTER/KEY``)."""
        return self.head(_FLAT[kind] if flat else kind, namespace) + key.encode(errors="surrogateescape")

    def resource(self, namespace: str, type: str, key: str, *, flat: bool = False) -> bytes | None:
        """The node of what a lease holds; None for what nobody knows."""
        if type == CONTENT_RESOURCE:
            return self.content(namespace, key, flat=flat)
        if type.startswith(SNAPSHOTS):
            return self.other(SNAPSHOT, namespace, f"{type.removeprefix(SNAPSHOTS)}/{key}", flat=flat)
        kind = {IMAGES: IMAGE, INGESTS: INGEST}.get(type)
        return None if kind is None else self.other(kind, namespace, key, flat=flat)

    def named(self, namespace: str, what: str, value: str) -> bytes | None:
        """The node that a label names.

        Args:
            what: Its key after ``gc.ref.`` or ``gc.bref.``: ``content``, ``image`` (either may be
                followed by ``.`` or ``/`` and a name) or ``snapshot.SNAPSHOTTER[/NAME]``.
        """
        if what.startswith(("content.", "content/")) or what == "content":
            return self.content(namespace, value)
        if what.startswith(("image.", "image/")) or what == "image":
            return self.other(IMAGE, namespace, value)
        if what.startswith("snapshot."):
            snapshotter = what.removeprefix("snapshot.").partition("/")[0]
            return self.other(SNAPSHOT, namespace, f"{snapshotter}/{value}")
        return None

    def by_namespace(self, nodes: list[bytes]) -> Iterator[tuple[bytes, str, list[bytes]]]:
        """The nodes in groups of one kind and namespace each."""
        groups: dict[bytes, list[bytes]] = {}
        for node in nodes:
            groups.setdefault(node[:_HEAD], []).append(node)
        for head, group in groups.items():
            yield head[:1], self.namespace(head), group


def kind_of(node: bytes) -> bytes:
    """CONTENT, IMAGE, INGEST or SNAPSHOT, or the flat form of one."""
    return node[:1]


def key_of(node: bytes) -> str:
    """The digest, name, ref or ``SNAPSHOTTER/KEY``."""
    if node[:1] in (CONTENT, FLAT_CONTENT):
        value = node[_HEAD:]
        return _ALGORITHMS[len(value)] + value.hex()
    return node[_HEAD:].decode(errors="surrogateescape")


def raw(digest: str) -> bytes | None:
    """The bytes that a digest is the hex of; None when it is no digest."""
    algorithm, _, encoded = digest.partition(":")
    if len(encoded) != HEX_LENGTHS.get(algorithm) or not digest.islower():
        return None
    try:
        value = bytes.fromhex(encoded)
    except ValueError:
        return None
    return value if len(value) * 2 == len(encoded) else None  # it passes over spaces


def expiry(text: str) -> float | None:
    """Seconds since the epoch, of an RFC 3339 time; None for anything else, which does not count."""
    moment = parse_expire(text)
    return None if moment is None else moment.timestamp()
