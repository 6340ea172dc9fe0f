"""Documents that nothing reaches, those that name others first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.metadata.nodes import CONTENT, FLAT_CONTENT, key_of
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.metadata.collector import Pass

_REFERENCES: Final = (
    "SELECT namespace, digest, key, value FROM content_labels"
    " WHERE (namespace, digest, key) > (?, ?, ?)"
    " AND key >= 'containerd.io/gc.ref.content' AND key < 'containerd.io/gc.ref.contenu'"
    " ORDER BY namespace, digest, key LIMIT ?"
)


def documents(run: Pass) -> Iterator[Digest]:
    """In an order in which none is met before one that names it; those that name each other, last.

    Namespaces are not told apart: a document goes from all of them before what any of it names.
    """
    children = _white(run)
    named = dict.fromkeys(children, 0)  # by how many of them
    for kids in children.values():
        for kid in kids:
            if kid in named:
                named[kid] += 1
    free = [digest for digest, count in named.items() if not count]
    while free:
        digest = free.pop()
        del named[digest]
        yield _digest(digest)
        for kid in children[digest]:
            if kid in named:
                named[kid] -= 1
                if not named[kid]:
                    free.append(kid)
    for digest in named:
        yield _digest(digest)


def _white(run: Pass) -> dict[bytes, set[bytes]]:
    nodes, reached = run.graph.nodes, run.mark.reached
    children: dict[bytes, set[bytes]] = {}
    for row in run.graph.pages(_REFERENCES, ("", "", ""), (0, 1, 2)):
        namespace, digest, key, value = map(str, row)
        node = nodes.content(namespace, digest)
        if node is None or node in reached or nodes.head(FLAT_CONTENT, namespace) + _plain(node) in reached:
            continue
        child = nodes.named(namespace, key.removeprefix("containerd.io/gc.ref."), value)
        if child is not None and child != node:
            children.setdefault(_plain(node), set()).add(_plain(child))
    return children


def _plain(node: bytes) -> bytes:
    return node[len(_HEAD) :]


def _digest(plain: bytes) -> Digest:
    return Digest(key_of(_HEAD + plain))


_HEAD: Final = CONTENT + bytes(3)
