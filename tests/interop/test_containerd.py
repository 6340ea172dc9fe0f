"""One tree, two programs: our store under containerd's root, and containerd's under ours."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from distore.content.local.store import LocalStore
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from tests.interop.conftest import Containerd

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]

BLOB = os.urandom(3_000_000)
DIGEST = Digest(f"sha256:{hashlib.sha256(BLOB).hexdigest()}")


def test_containerd_reads_what_we_committed(containerd: Containerd) -> None:
    with LocalStore(str(containerd.content)).writer("ours") as writer:
        writer.write(BLOB)
        writer.commit(expected=DIGEST)

    # Naming a blob that its store holds makes it visible in a namespace. ctr seeks its input to
    # the end, for there is nothing left to send; a pipe cannot do that, a file can.
    source = containerd.socket.with_name("blob")
    source.write_bytes(BLOB)
    known = containerd.ctr(
        *("content", "ingest", "--expected-digest", DIGEST, "--expected-size", str(len(BLOB)), "theirs"),
        stdin=source,
    )
    got = containerd.ctr("content", "get", DIGEST)

    assert known.returncode == 0 or b"exists" in known.stderr, known.stderr
    assert got.returncode == 0, got.stderr
    assert got.stdout == BLOB


def test_we_read_what_containerd_committed(containerd: Containerd) -> None:
    source = containerd.socket.with_name("blob")
    source.write_bytes(BLOB)
    done = containerd.ctr("content", "ingest", "--expected-digest", DIGEST, "theirs", stdin=source)
    assert done.returncode == 0, done.stderr

    store = LocalStore(str(containerd.content))

    assert [info.digest for info in store.walk()] == [DIGEST]
    with store.reader(DIGEST) as reader:
        assert reader.read_at(reader.size, 0) == BLOB


def test_containerd_lists_an_ingest_that_we_keep_and_we_list_its(containerd: Containerd) -> None:
    store = LocalStore(str(containerd.content))
    with store.writer("test/1/kept", total=len(BLOB)) as writer:
        writer.write(BLOB[:1000])

    status = store.status("test/1/kept")

    assert (status.offset, status.total) == (1000, len(BLOB))
    fields = {path.name for path in next((containerd.content / "ingest").iterdir()).iterdir()}
    assert {"ref", "data", "startedat", "updatedat", "total"} <= fields


def test_we_resume_what_containerd_began(containerd: Containerd) -> None:
    # What containerd 1.6 leaves behind when its client dies, file by file.
    ref = "test/2/began"
    folder = containerd.content / "ingest" / hashlib.sha256(ref.encode()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "ref").write_text(ref)
    (folder / "data").write_bytes(BLOB[:1_000_000])
    (folder / "startedat").write_text("2026-01-02T03:04:05.123456789Z")
    (folder / "updatedat").write_text("2026-01-02T03:04:05.123456789Z")
    (folder / "total").write_text(str(len(BLOB)))
    store = LocalStore(str(containerd.content))

    status = store.status(ref)
    with store.writer(ref) as writer:
        writer.write(BLOB[1_000_000:])
        digest = writer.commit(expected=DIGEST)

    assert (status.offset, status.total, status.started.year) == (1_000_000, len(BLOB), 2026)
    assert digest == DIGEST
