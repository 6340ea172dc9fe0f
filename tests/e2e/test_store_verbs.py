"""The verbs over the store, as processes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from distore.content.local.store import LocalStore
from distore.oci.digest import Digest

pytestmark = pytest.mark.slow
Dist = Callable[..., "CompletedProcess[bytes]"]

HELLO = Digest.of(b"hello\n")
MISSING = Digest.of(b"missing")


def ingest(dist: Dist, data: bytes, ref: str = "r", *words: str) -> Digest:
    done = dist("ingest", ref, *words, input=data)
    assert done.returncode == 0, done.stderr
    return Digest(done.stdout.decode().strip())


def test_ingest_prints_the_digest_and_the_blob_can_be_got(dist: Dist) -> None:
    assert ingest(dist, b"hello\n") == HELLO

    got = dist("get", HELLO)

    assert (got.returncode, got.stdout, got.stderr) == (0, b"hello\n", b"")


def test_ingest_without_a_key_is_named_after_the_digest(dist: Dist) -> None:
    kept = dist("ingest", "--expected-digest", HELLO, "--keep", input=b"hel")

    assert kept.stdout.decode() == f"{HELLO.replace(':', '-')} 3\n"


def test_ingest_of_nothing_named_says_what_it_needs(dist: Dist) -> None:
    done = dist("ingest", input=b"x")

    assert done.returncode == 2
    assert done.stderr.decode() == "dist: must specify a transaction reference or expected digest\n"


def test_a_blob_that_is_there_needs_no_input(dist: Dist) -> None:
    ingest(dist, b"hello\n")

    again = dist("ingest", "--expected-digest", HELLO, input=b"")

    assert again.returncode == 0
    assert again.stderr.decode() == f"content with digest {HELLO} already exists\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--expected-size", "5"], 21), (["--expected-digest", MISSING], 20)],
)
def test_broken_promises_fail_and_leave_no_blob(dist: Dist, words: list[str], status: int) -> None:
    done = dist("ingest", "r", *words, input=b"hello\n")

    assert done.returncode == status
    assert done.stderr.decode().startswith("dist: ingest 'r': expected ")
    assert dist("list", "-q").stdout == b""


def test_keep_resume_and_commit_build_a_blob_in_steps(dist: Dist) -> None:
    assert dist("ingest", "--keep", "r", input=b"hel").stdout == b"r 3\n"
    assert dist("ingest", "--keep", "--resume", "r", input=b"lo\n").stdout == b"r 6\n"

    done = dist("commit", "--expected-size", "6", "--expected-digest", HELLO, "--label", "a=b", "r")

    assert done.stdout.decode() == f"{HELLO}\n"
    assert json.loads(dist("info", HELLO, "--json").stdout)["labels"] == {"a": "b"}


def test_ingest_without_resume_starts_over(dist: Dist) -> None:
    dist("ingest", "--keep", "r", input=b"something else")

    assert ingest(dist, b"hello\n") == HELLO


def test_commit_of_a_missing_ingest_is_not_found(dist: Dist) -> None:
    done = dist("commit", "none")

    assert (done.returncode, done.stderr) == (11, b"dist: ingest 'none': not found\n")
    assert dist("active", "-q").stdout == b""


@pytest.mark.parametrize("link", ["auto", "copy", "hardlink"])
def test_a_file_can_be_taken_in(dist: Dist, tmp_path: Path, link: str) -> None:
    (tmp_path / "file").write_bytes(b"hello\n" * 50_000)

    done = dist("ingest", "--from", "file", "--link", link)

    assert done.stdout.decode().strip() == Digest.of(b"hello\n" * 50_000)
    same = os.path.samefile(
        tmp_path / "file", dist("path", "-q", done.stdout.decode().strip()).stdout.decode().strip()
    )
    assert same == (link == "hardlink")


def test_a_folder_is_no_file_to_take_in(dist: Dist, tmp_path: Path) -> None:
    done = dist("ingest", "--from", ".")

    assert done.returncode == 14
    assert b"not a regular file" in done.stderr


def test_list_shows_a_table_and_quiet_only_digests(dist: Dist) -> None:
    ingest(dist, b"hello\n")

    lines = dist("list").stdout.decode().splitlines()

    assert re.fullmatch(r"DIGEST +SIZE +AGE", lines[0])
    assert re.fullmatch(rf"{HELLO}  6 B +(now|\d+ seconds?)", lines[1])
    assert dist("ls", "-q").stdout.decode() == f"{HELLO}\n"


def test_list_selects_by_prefix_and_filter(dist: Dist) -> None:
    digests = {ingest(dist, data, "r", "--label", f"n={data.decode()}") for data in (b"1", b"2", b"3")}
    one = Digest.of(b"1")

    def listed(*words: str) -> set[str]:
        return set(dist("list", "-q", *words).stdout.decode().split())

    assert listed() == digests
    assert listed(one[:20]) == listed(one.encoded[:8]) == listed("--filter", "labels.n==1") == {one}
    assert listed("sha256:", one.encoded) == digests
    assert listed("--filter", "size>1") == set()
    assert listed("--filter", "labels.n==1", "--filter", "labels.n==2") == {one, Digest.of(b"2")}


def test_path_delete_and_get_report_each_bad_digest_and_go_on(dist: Dist, tmp_path: Path) -> None:
    ingest(dist, b"hello\n")

    path = dist("path", "nonsense", MISSING, HELLO)
    deleted = dist("delete", "nonsense", HELLO, MISSING)

    where = tmp_path / ".content" / "blobs" / "sha256" / HELLO.encoded
    assert path.stdout.decode() == f"{HELLO} {where}\n"
    assert path.returncode == 2
    assert [line.partition(": ")[0] for line in path.stderr.decode().splitlines()] == ["dist", "dist"]
    assert deleted.stdout.decode() == f"{HELLO}\n"
    assert deleted.returncode == 2
    assert dist("delete", HELLO).returncode == 11


def test_a_dash_reads_digests_from_standard_input(dist: Dist) -> None:
    digests = "".join(f"{ingest(dist, data)}\n" for data in (b"1", b"2"))

    paths = dist("path", "-q", "-", input=digests.encode())
    deleted = dist("del", "-", input=digests.encode())

    assert len(paths.stdout.splitlines()) == 2
    assert deleted.stdout.decode() == digests
    assert dist("list", "-q").stdout == b""


def test_part_of_a_blob_can_be_got(dist: Dist) -> None:
    ingest(dist, b"hello\n")

    assert dist("get", HELLO, "--offset", "1", "--length", "3").stdout == b"ell"
    assert dist("get", HELLO, "--offset", "7").returncode == 15


def test_getting_a_damaged_blob_ends_in_an_error(dist: Dist) -> None:
    ingest(dist, b"hello\n")
    damage(dist, HELLO)

    got = dist("get", HELLO)

    assert got.returncode == 29
    assert b"damaged" in got.stderr


def test_labels_are_shown_set_and_removed(dist: Dist) -> None:
    ingest(dist, b"hello\n")

    assert dist("label", HELLO, "a=1", "b=x y").stdout.decode() == f"{HELLO} a=1 b=x y\n"
    assert dist("label", HELLO, "a=").stdout.decode() == f"{HELLO} b=x y\n"
    assert dist("label", "-", input=f"{HELLO}\n".encode()).stdout.decode() == f"{HELLO} b=x y\n"
    assert dist("label", HELLO, "novalue").returncode == 2


def test_edit_stores_what_the_editor_made(dist: Dist) -> None:
    ingest(dist, b"hello\n")

    done = dist("edit", HELLO, "--editor", "sed -i s/hello/bye/", "--label", "by=sed")

    assert done.stdout.decode().strip() == Digest.of(b"bye\n")
    assert dist("get", HELLO).stdout == b"hello\n"
    assert dist("label", Digest.of(b"bye\n")).stdout.decode().endswith(" by=sed\n")


def test_edit_with_a_failing_editor_stores_nothing(dist: Dist) -> None:
    ingest(dist, b"hello\n")

    done = dist("edit", HELLO, env={"EDITOR": "false", "VISUAL": ""})

    assert done.returncode == 14
    assert dist("list", "-q").stdout.decode() == f"{HELLO}\n"


def test_active_lists_and_abort_drops(dist: Dist) -> None:
    dist("ingest", "--keep", "one", "--expected-size", "10", input=b"123")
    dist("ingest", "--keep", "two", input=b"")

    lines = dist("active").stdout.decode().splitlines()
    quiet = dist("active", "-q", "--filter", "ref==one").stdout
    aborted = dist("abort", "one", "none", "two")

    assert re.fullmatch(r"REF +SIZE +AGE", lines[0])
    assert re.fullmatch(r"one +3 B +(now|\d+ seconds?)", lines[1])
    assert quiet == b"one\n"
    assert (aborted.returncode, aborted.stdout) == (11, b"one\ntwo\n")
    assert dist("active", "-q").stdout == b""


def test_prune_drops_only_what_is_old_enough_and_nobody_writes(dist: Dist, tmp_path: Path) -> None:
    for ref in ("old", "new", "held"):
        dist("ingest", "--keep", ref, input=b"123")
    store = LocalStore(str(tmp_path / ".content"))
    for folder in (tmp_path / ".content" / "ingest").iterdir():
        if (folder / "ref").read_text() != "new":
            os.utime(folder / "data", (0, 0))
            (folder / "startedat").write_text("2020-01-01T00:00:00Z")

    with store.writer("held"):
        would = dist("prune", "ingests", "--older-than", "24h", "--dry-run")
        done = dist("prune", "ingests", "--older-than", "24h")

    assert would.stdout == done.stdout == b"old\n"
    assert done.stderr == b"dist: dropped 1 ingest, 3 B\n"
    assert set(dist("active", "-q").stdout.decode().split()) == {"new", "held"}


def damage(dist: Dist, digest: str) -> Path:
    path = Path(dist("path", "-q", digest).stdout.decode().strip())
    path.chmod(0o644)
    path.write_bytes(b"HELLO\n")
    path.chmod(0o444)
    return path


def test_fsck_finds_quarantines_and_repairs(dist: Dist, tmp_path: Path) -> None:
    ingest(dist, b"hello\n")
    ingest(dist, b"good\n")
    dist("ingest", "copy", "--root", "backup", input=b"hello\n")
    path = damage(dist, HELLO)

    dry = dist("fsck", "--dry-run")
    assert (dry.returncode, path.exists()) == (29, True)
    assert f"damaged: {HELLO}: its 6 bytes are those of sha256:" in dry.stdout.decode()

    found = dist("fsck", "--json")
    problem, summary = (json.loads(line) for line in found.stdout.splitlines())
    assert found.returncode == 29
    assert (problem["kind"], problem["subject"], problem["action"]) == ("damaged", HELLO, "quarantined")
    assert (summary["blobs"], summary["verified"], summary["unresolved"]) == (2, 1, 1)
    assert dist("get", HELLO).returncode == 11
    assert len(list((tmp_path / ".content/quarantine/sha256").iterdir())) == 1

    repaired = dist("fsck", "--repair", "--from", "backup")
    assert repaired.returncode == 0, repaired
    assert dist("get", HELLO).stdout == b"hello\n"
    assert dist("fsck").returncode == 0


def test_fsck_repairs_by_a_swap_and_keeps_the_damaged_copy(dist: Dist, tmp_path: Path) -> None:
    ingest(dist, b"hello\n")
    dist("ingest", "copy", "--root", "backup", input=b"hello\n")
    damage(dist, HELLO)

    done = dist("fsck", "--repair", "--from", "backup")

    assert done.returncode == 0
    assert b"[repaired]" in done.stdout
    (kept,) = (tmp_path / ".content/quarantine/sha256").iterdir()
    assert kept.read_bytes() == b"HELLO\n"
    assert dist("get", HELLO).stdout == b"hello\n"


def test_fsck_does_not_repair_from_a_damaged_supplier(dist: Dist) -> None:
    ingest(dist, b"hello\n")
    dist("ingest", "copy", "--root", "backup", input=b"hello\n")
    damage(dist, HELLO)
    bad = Path(dist("path", "-q", HELLO, "--root", "backup").stdout.decode().strip())
    bad.chmod(0o644)
    bad.write_bytes(b"wrong\n")

    done = dist("fsck", "--repair", "--from", "backup")

    assert done.returncode == 29
    assert b"not repaired" in done.stdout
    assert dist("get", HELLO).returncode == 11


def test_fsck_sees_strays_modes_and_leftovers(dist: Dist, tmp_path: Path) -> None:
    ingest(dist, b"hello\n")
    content = tmp_path / ".content"
    (content / "blobs" / "sha256" / "junk").write_text("x")
    (content / "blobs" / "sha256" / ("0" * 64)).symlink_to("/etc/passwd")
    (content / "blobs" / "md5").mkdir()
    (content / "ingest" / "left").mkdir()
    (content / "blobs" / "sha256" / HELLO.encoded).chmod(0o644)

    done = dist("fsck", "--json")

    problems = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    assert sorted((p["kind"], p["action"]) for p in problems) == [
        ("ingest", "removed"),
        ("stray", "none"),
        ("stray", "none"),
        ("stray", "none"),
        ("writable", "fixed"),
    ]
    assert done.returncode == 29
    assert dist("get", f"sha256:{'0' * 64}").returncode != 0
    assert not (content / "ingest" / "left").exists()


def test_a_scrub_passes_over_what_was_verified_lately(dist: Dist, tmp_path: Path) -> None:
    ingest(dist, b"hello\n")
    blob = tmp_path / ".content" / "blobs" / "sha256" / HELLO.encoded
    os.utime(blob, (0, 0))

    first = json.loads(dist("fsck", "--json", "--older-than", "7d", "--rate", "1M").stdout)
    second = json.loads(dist("fsck", "--json", "--older-than", "7d").stdout)

    assert (first["verified"], first["skipped"]) == (1, 0)
    assert (second["verified"], second["skipped"]) == (0, 1)
