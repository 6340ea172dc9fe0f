"""A crash before every step, and an error at every step: nothing wrong appears, a second run ends it."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distore.content.local.store import LocalStore
from distore.errors import (
    AlreadyExists,
    DataLoss,
    DiskFull,
    DistoreError,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    ReadOnly,
)
from distore.oci.digest import Digest
from distore.testing import faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.local.problem import Problem

BLOB = bytes(range(256)) * 1024  # 256 KiB, handed over in pieces
DIGEST = Digest.of(BLOB)
REF = "crash/me"
PIECE = 100_000


def ingest(root: str) -> None:
    """Bring BLOB in, from wherever an earlier run stopped."""
    try:
        with LocalStore(root).writer(REF, total=len(BLOB), expected=DIGEST) as writer:
            for start in range(writer.offset, len(BLOB), PIECE):
                writer.write(BLOB[start : start + PIECE])
            writer.commit(size=len(BLOB), expected=DIGEST)
    except AlreadyExists:
        return


def ingest_segments(root: str) -> None:
    """The same out of order."""
    try:
        with LocalStore(root).writer(REF, total=len(BLOB), expected=DIGEST) as writer:
            middle = (writer.offset + len(BLOB)) // 2
            writer.write_at(BLOB[middle:], middle)
            writer.write_at(BLOB[writer.offset : middle], writer.offset)
            writer.commit(expected=DIGEST)
    except AlreadyExists:
        return


def resume(root: str) -> None:
    """The same in two openings."""
    store = LocalStore(root)
    try:
        with store.writer(REF, expected=DIGEST) as writer:
            if not writer.offset:
                writer.write(BLOB[:PIECE])
    except AlreadyExists:
        return
    ingest(root)


def delete(root: str) -> None:
    """Bring BLOB in and take it away."""
    ingest(root)
    try:
        LocalStore(root).delete(DIGEST)
    except NotFound:
        return


def abort(root: str) -> None:
    """Begin and drop it."""
    store = LocalStore(root)
    with store.writer("other") as writer:
        writer.write(BLOB)
    store.abort("other")


SCENARIOS = {f.__name__: f for f in (ingest, ingest_segments, resume, delete, abort)}


def check(root: str) -> None:
    """No blob is wrong, and the ingest can be brought to its end."""
    store = LocalStore(root)
    for digest in store.digests():
        with store.reader(digest) as reader:
            assert Digest.of(reader.read_at(reader.size, 0)) == digest
    for scenario in (ingest, ingest_segments):
        scenario(root)
    with store.reader(DIGEST) as reader:
        assert reader.read_at(reader.size, 0) == BLOB
    for status in list(store.statuses()):
        store.abort(status.ref)
    assert [problem for problem in problems(store) if not problem.resolved] == []


def problems(store: LocalStore) -> list[Problem]:
    from distore.content.local.check import Check, CheckOptions

    run = Check(store, CheckOptions(workers=1), now=lambda: 0.0, monotonic=lambda: 0.0, sleep=lambda s: None)
    return list(run.run())


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_before_any_step_leaves_nothing_wrong_and_a_second_run_ends_it(
    name: str, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    cases = 0
    for number in itertools.count(1):
        root = str(tmp_path / str(number))
        with faults.crash_before(number) as done:
            try:
                SCENARIOS[name](root)
            except faults.Crash:
                pass
            else:
                break  # no step was left to crash before
        cases += 1
        assert len(done) == number - 1

        check(root)

    assert cases >= 10
    count(f"crash before each step of {name}", cases)


ERRORS = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: QuotaExceeded,
    errno.EROFS: ReadOnly,
    errno.EACCES: PermissionDenied,
    errno.EIO: DataLoss,
}


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["ingest", "ingest_segments", "delete"])
def test_an_error_at_any_step_has_its_class_and_a_second_run_ends_it(
    name: str, code: int, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    cases = ignored = 0
    for number in itertools.count(1):
        root = str(tmp_path / str(number))
        with faults.fail_at(number, code) as tried:
            try:
                SCENARIOS[name](root)
                ignored += 1  # a step whose failure costs nothing: lock text, the rest of an ended ingest
            except DistoreError as error:
                assert type(error) is ERRORS[code], f"step {number} {tried[number - 1]}: {error!r}"
                assert "\n" not in str(error)
        if len(tried) < number:
            break
        cases += 1

        check(root)

    assert cases - ignored >= 8
    count(f"{errno.errorcode[code]} at each step of {name}, {ignored} of them harmless", cases)


def test_the_steps_of_a_commit_are_those_of_the_durability_contract(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with faults.record() as steps:
        ingest(str(root))

    order = []
    for step in steps:
        first = step.arguments[0]
        where = str(Path(first).relative_to(tmp_path)) if isinstance(first, str) else ""
        order.append(f"{step.name} {where}".strip().replace(str(Digest.of(REF.encode()).encoded), "<ref>"))
    golden = Path(__file__).parents[1] / "golden" / "commit-order.txt"
    assert "\n".join(order) + "\n" == golden.read_text()


def test_bytes_that_fsync_failed_for_are_not_kept(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    with faults.fail_at(0, 0) as tried:
        ingest(str(tmp_path / "other"))
    number = tried.index("sync_file") + 1

    with faults.fail_at(number, errno.EIO), pytest.raises(DataLoss):
        ingest(root)

    assert LocalStore(root).status(REF).offset == 0
