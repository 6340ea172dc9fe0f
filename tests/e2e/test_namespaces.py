"""``dist namespaces``, and other verbs in one, as processes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from distore.oci.digest import Digest

pytestmark = pytest.mark.slow
Dist = Callable[..., "CompletedProcess[bytes]"]
HELLO = Digest.of(b"hello\n")


def test_they_are_listed_with_their_labels(dist: Dist) -> None:
    assert dist("namespaces", "create", "team", "a=b", "c=d").stdout == b"team\n"

    head, *rows = dist("ns").stdout.decode().splitlines()

    assert re.fullmatch(r"NAME +LABELS", head)
    assert [row.split() for row in rows] == [["default"], ["team", "a=b", "c=d"]]
    assert dist("namespaces", "-q").stdout == b"default\nteam\n"
    assert [json.loads(line) for line in dist("namespaces", "--json").stdout.splitlines()] == [
        {"name": "default", "labels": {}},
        {"name": "team", "labels": {"a": "b", "c": "d"}},
    ]


def test_labels_are_changed_one_by_one(dist: Dist) -> None:
    dist("namespaces", "create", "team", "a=b")

    assert dist("namespaces", "label", "team", "a=", "c=d").stdout == b"team c=d\n"
    assert dist("namespaces", "label", "team").stdout == b"team c=d\n"
    assert dist("namespaces", "label", "none", "a=b").returncode == 11


def test_only_an_empty_one_is_removed(dist: Dist) -> None:
    dist("ingest", "r", "--namespace", "team", input=b"hello\n")

    refused = dist("namespaces", "rm", "team", "none")

    assert (refused.returncode, refused.stdout) == (14, b"")
    assert refused.stderr.decode().splitlines() == [
        "dist: namespace team: has 1 blob; only an empty one goes",
        "dist: namespace none: not found",
    ]
    dist("delete", "--namespace", "team", HELLO)
    assert dist("namespaces", "-q").stdout == b"default\n"
    dist("namespaces", "create", "team")
    assert dist("namespaces", "rm", "-", input=b"team\n").stdout == b"team\n"
    assert dist("namespaces", "-q").stdout == b"default\n"


def test_a_blob_is_seen_where_it_was_brought(dist: Dist) -> None:
    dist("ingest", "r", "--namespace", "team", input=b"hello\n")

    assert dist("get", HELLO).returncode == 11
    assert dist("list", "-q").stdout == b""
    assert dist("get", HELLO, env={"DIST_NAMESPACE": "team"}).stdout == b"hello\n"
    assert dist("list", "-q", "--namespace", "team").stdout.decode().split() == [HELLO]


def test_under_isolation_the_bytes_are_asked_for(dist: Dist) -> None:
    assert dist("namespaces", "policy").stdout == b"shared\n"
    dist("ingest", "r", input=b"hello\n")
    shared = dist("ingest", "r", "--namespace", "one", "--expected-digest", HELLO, input=b"")
    assert dist("namespaces", "policy", "isolated").stdout == b"isolated\n"

    isolated = dist("ingest", "r", "--namespace", "two", "--expected-digest", HELLO, input=b"")

    assert shared.returncode in (0, 12)
    assert isolated.returncode == 20
    assert dist("get", "--namespace", "one", HELLO).stdout == b"hello\n"
    assert dist("get", "--namespace", "two", HELLO).returncode == 11
    assert dist("ingest", "s", "--namespace", "two", input=b"hello\n").returncode == 0
    assert dist("get", "--namespace", "two", HELLO).stdout == b"hello\n"


def test_processes_that_bring_one_blob_into_many_namespaces_share_its_bytes(
    dist: Dist, tmp_path: Path
) -> None:
    names = [*(f"n{number}" for number in range(7)), "default"]

    def ingest(name: str) -> int:
        return dist("ingest", "r", "--namespace", name, input=b"hello\n").returncode

    with ThreadPoolExecutor(len(names)) as pool:
        codes = list(pool.map(ingest, names))

    assert codes == [0] * len(names)
    assert dist("namespaces", "-q").stdout.decode().split() == sorted(names)
    for name in names:
        assert dist("get", "--namespace", name, HELLO).stdout == b"hello\n"
    assert len(list((tmp_path / ".content" / "blobs").glob("*/*"))) == 1
    for name in names[1:]:
        dist("delete", "--namespace", name, HELLO)
    assert dist("get", "--namespace", names[0], HELLO).stdout == b"hello\n"
    dist("delete", "--namespace", names[0], HELLO)
    assert list((tmp_path / ".content" / "blobs").glob("*/*")) == []


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("ls", "team"), 2, "takes no names"),
        (("create",), 2, "want a name"),
        (("create", "a/b"), 2, "letters and digits"),
        (("create", "team", "label"), 2, "KEY=VALUE"),
        (("rm",), 2, "want a name"),
        (("rm", "default"), 14, "always there"),
        (("label",), 2, "want a name"),
        (("policy", "open"), 2, "shared or isolated"),
        (("policy", "shared", "isolated"), 2, "one word"),
    ],
)
def test_what_makes_no_sense_is_refused_and_makes_no_store(
    dist: Dist, tmp_path: Path, words: tuple[str, ...], code: int, part: str
) -> None:
    done = dist("namespaces", *words)

    assert (done.returncode, done.stdout) == (code, b"")
    assert part in done.stderr.decode()
    assert list(tmp_path.iterdir()) == []
