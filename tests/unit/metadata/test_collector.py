"""The collector: what goes, what stays, and that others are not kept waiting."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distore._internal import filelock
from distore.content.local.store import LocalStore
from distore.errors import DataLoss, NotFound, Unavailable
from distore.images.gclabels import GC_REF_CONTENT
from distore.leases import EXPIRE, Resource
from distore.metadata.collector import Collector
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "docker.io/library/redis:7"


def put(store: LocalStore, data: bytes, *children: Digest, **labels: str) -> Digest:
    named = {f"{GC_REF_CONTENT}.l.{number}": child for number, child in enumerate(children)}
    with store.writer(f"put-{Digest.of(data).encoded[:8]}") as writer:
        writer.write(data)
        return writer.commit(labels={**named, **labels})


def target(digest: Digest) -> Descriptor:
    return Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=1)


def metadata(store: LocalStore) -> Metadata:
    return Metadata(store, command="a test")


def collect(store: LocalStore, **options: float) -> list[str]:
    return [each.key for each in metadata(store).collector.collect(**options)]  # type: ignore[arg-type] # both


@contextmanager
def aged(store: LocalStore, ref: str, hours: float) -> Iterator[None]:
    """An ingest that was last written so long ago."""
    writer = store.writer(ref)
    writer.write(b"part")
    writer.close()
    paths = store.paths.ingest(ref)
    past = time.time() - hours * 3600
    Path(paths.started).write_text(datetime.fromtimestamp(past, UTC).isoformat())
    os.utime(paths.data, (past, past))
    yield


def test_what_an_image_leads_to_stays_and_the_rest_goes(store: LocalStore) -> None:
    layer = put(store, b"layer")
    manifest = put(store, b"manifest", layer)
    stray = put(store, b"stray")
    metadata(store).images.put(NAME, target(manifest))
    collector = metadata(store).collector

    removed = list(collector.collect())

    assert [(each.kind, each.namespace, each.key, each.freed) for each in removed] == [
        ("content", "default", stray, 5)
    ]
    assert set(store.digests()) == {layer, manifest}
    assert (collector.summary.kept, collector.summary.removed, collector.summary.freed) == (2, 1, 5)
    assert not Path(store.paths.blob(stray)).exists()


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "none"))

    assert collect(store) == []
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_changes_nothing(store: LocalStore) -> None:
    stray = put(store, b"stray")

    assert collect(store, dry_run=True) == [stray]
    assert list(store.digests()) == [stray]
    assert not os.path.exists(store.paths.database)
    assert not os.path.exists(store.paths.collecting)


def test_a_blob_that_comes_after_the_start_is_left_to_its_program(store: LocalStore) -> None:
    first = put(store, b"first")
    removed = metadata(store).collector.collect()
    late: list[Digest] = []

    store.sleep = lambda _seconds: late.append(put(store, b"late")) if not late else None
    gone = [each.key for each in removed]

    assert gone == [first]
    assert list(store.digests()) == late != []


def test_older_than_spares_what_is_younger(store: LocalStore) -> None:
    put(store, b"young")

    assert collect(store, older_than=3600.0) == []


def test_a_document_goes_before_what_it_names(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distore.metadata.sweep._MOST", 1)
    layers = [put(store, b"layer %d" % number) for number in range(4)]
    manifests = [put(store, b"manifest %d" % number, *layers) for number in range(4)]
    index = put(store, b"index", *manifests)

    collector = metadata(store).collector
    order = [each.key for each in collector.collect()]

    assert (collector.summary.kept, collector.summary.removed) == (0, 9)
    assert order[0] == index
    assert set(order[1:5]) == set(manifests)
    assert set(order[5:]) == set(layers)


def test_a_document_that_comes_meanwhile_keeps_what_it_names(store: LocalStore) -> None:
    layer = put(store, b"layer")
    late: list[Digest] = []
    removed = metadata(store).collector.collect()
    put(store, b"stray")
    put(store, b"another")
    store.sleep = lambda _seconds: late.append(put(store, b"late", layer)) if not late else None

    assert layer not in [each.key for each in removed]
    assert set(store.digests()) == {layer, *late}


def test_older_than_spares_what_the_young_ones_name(store: LocalStore) -> None:
    layer, stray = put(store, b"layer"), put(store, b"stray")
    manifest = put(store, b"manifest", layer)
    assert collect(store, older_than=3600.0) == []
    assert {layer, stray, manifest} == set(store.digests())


def test_a_lease_that_comes_between_two_batches_saves_what_it_holds(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distore.metadata.sweep._MOST", 1)
    layer = put(store, b"layer")
    manifest = put(store, b"manifest", layer)
    strays = {put(store, bytes([number])) for number in range(5)}
    leases = metadata(store).leases
    removed = set()

    for each in metadata(store).collector.collect():
        removed.add(each.key)
        if len(removed) == 1:
            leases.create("mine")
            leases.add("mine", Resource(type="content", key=manifest if each.key == layer else layer))
            leases.add("mine", Resource(type="content", key=manifest if each.key != manifest else layer))

    assert {manifest, layer} & set(store.digests()) == {manifest, layer} - removed
    assert len({manifest, layer} & removed) <= 1
    assert not strays & set(store.digests())


def once(store: LocalStore, change: Callable[[], object]) -> None:
    """Have ``change`` done when the collector pauses for the first time, its mark complete."""
    left = [change]

    def pause(_seconds: float) -> None:
        if left and store.database.query("SELECT 1 FROM gc_run"):
            left.pop()()

    store.sleep = pause


def test_a_lease_that_is_prolonged_meanwhile_holds_again(store: LocalStore) -> None:
    held = put(store, b"held", put(store, b"its layer"))
    put(store, b"stray")
    leases = metadata(store).leases
    leases.create("mine", labels={EXPIRE: "2020-01-01T00:00:00Z"})
    leases.add("mine", Resource(type="content", key=held))
    once(store, lambda: store.database.change("DELETE FROM lease_labels"))

    assert collect(store) == [Digest.of(b"stray")]


def test_what_attaches_itself_meanwhile_to_something_kept_stays(store: LocalStore) -> None:
    manifest = put(store, b"manifest")
    signature = put(store, b"signature", put(store, b"its layer"))
    metadata(store).images.put(NAME, target(manifest))
    row = ("default", signature, "containerd.io/gc.bref.content", manifest)
    once(store, lambda: store.database.change("INSERT INTO content_labels VALUES (?, ?, ?, ?)", *row))

    assert collect(store) == []


def test_two_collectors_do_not_run_at_once_and_the_second_names_the_first(store: LocalStore) -> None:
    put(store, b"stray")
    first = metadata(store).collector.collect()
    next(first)
    other = LocalStore(store.root)

    with pytest.raises(Unavailable, match=f"pid {os.getpid()} .* collects its garbage"):
        collect(other)
    metadata(other).discard([Digest.of(b"x")])  # leaves it to the one that runs

    list(first)
    assert collect(other) == []
    other.close()


@pytest.mark.parametrize("ended", [False, True])
def test_who_has_lost_the_lock_to_another_collector_removes_nothing_more(
    store: LocalStore, ended: bool
) -> None:
    for number in range(250):
        put(store, b"stray %d" % number)
    first = metadata(store).collector.collect()
    next(first)
    os.unlink(store.paths.collecting)
    other = LocalStore(store.root)
    second = metadata(other).collector.collect(older_than=3600.0 if ended else 0.0)
    if ended:
        list(second)
    else:
        next(second)

    with pytest.raises(Unavailable, match="another collector began"):
        list(first)

    assert other.database.query("SELECT count(*) FROM gc_run") == [(0 if ended else 1,)]
    list(second)
    other.close()


def test_nothing_goes_where_a_trigger_is_missing(store: LocalStore) -> None:
    stray = put(store, b"stray")
    store.database.change("DROP TRIGGER images_touched_insert")

    with pytest.raises(DataLoss, match="triggers are missing"):
        collect(store)

    assert list(store.digests()) == [stray]
    assert store.database.query("SELECT * FROM gc_run") == []


def test_a_document_that_stays_for_its_time_keeps_what_it_names(store: LocalStore) -> None:
    layer = put(store, b"layer")
    document = put(store, b"document", layer)
    stray = put(store, b"stray")
    row = ("default", "1", 1, 0)
    store.database.change("INSERT INTO leases VALUES (?, ?, ?, ?)", *row)

    def touch(_namespace: str, _id: str) -> bool:
        """Asked for while the collector marks: a backup gives the file another name and takes it away."""
        os.link(store.path(document), f"{store.root}/backup")
        os.unlink(f"{store.root}/backup")
        return True

    removed = [each.key for each in Collector(store, lease_is_live=touch).collect()]

    assert removed == [stray]
    assert set(store.digests()) == {document, layer}


def test_a_pass_that_is_given_up_leaves_nothing_of_itself(store: LocalStore) -> None:
    put(store, b"one")
    put(store, b"two")
    first = metadata(store).collector.collect()
    next(first)
    first.close()  # type: ignore[attr-defined] # a generator

    assert store.database.query("SELECT * FROM gc_run") == []
    collect(store)
    assert list(store.digests()) == []


def test_what_a_dead_collector_left_is_cleared(store: LocalStore) -> None:
    stray = put(store, b"stray")
    store.database.change("INSERT INTO gc_run VALUES (1)")
    metadata(store).images.put(NAME, target(stray))
    metadata(store).images.delete(NAME)
    assert store.database.query("SELECT * FROM gc_touched") != []

    assert collect(store) == [stray]
    assert store.database.query("SELECT * FROM gc_touched") == []


def test_an_expired_image_goes_with_what_it_led_to(store: LocalStore) -> None:
    manifest = put(store, b"manifest")
    past = datetime.now(UTC) - timedelta(hours=1)
    metadata(store).images.create(NAME, target(manifest), labels={EXPIRE: past.isoformat()})

    assert collect(store, dry_run=True) == [NAME, manifest]
    assert collect(store) == [NAME, manifest]
    assert list(metadata(store).images.list()) == []


def test_a_dead_lease_goes_with_all_that_belongs_to_it(store: LocalStore) -> None:
    held = put(store, b"held")
    with metadata(store).leases.held("work") as lease:
        metadata(store).leases.add(lease.id, Resource(type="content", key=held))
        assert collect(store) == []
        row = store.database.query("SELECT * FROM leases")[0]
    store.database.change("INSERT INTO leases VALUES (?, ?, ?, ?)", *row)  # as if the process had died
    store.database.change(
        "INSERT INTO lease_resources VALUES (?, ?, 'content', ?)", "default", lease.id, held
    )

    assert collect(store) == [lease.id, held]
    assert store.database.query("SELECT * FROM lease_resources") == []


def test_an_ingest_keeps_what_it_expects_and_goes_a_day_after_its_last_write(store: LocalStore) -> None:
    blob = put(store, b"expected")
    with aged(store, "fresh", 23), aged(store, "old", 25):
        Path(store.paths.ingest("fresh").expected).write_text(blob)

    assert collect(store) == ["old"]
    assert [status.ref for status in store.statuses()] == ["fresh"]
    assert list(store.digests()) == [blob]


def test_an_old_ingest_stays_while_somebody_writes_it_or_a_lease_holds_it(store: LocalStore) -> None:
    with aged(store, "leased", 25), aged(store, "written", 25):
        pass
    leases = metadata(store).leases
    leases.create("mine")
    leases.add("mine", Resource(type="ingests", key="leased"))
    lock = filelock.acquire(store.paths.ingest("written").lock, sleep=time.sleep)
    assert lock is not None

    assert collect(store) == []
    lock.release()
    assert collect(store) == ["written"]


def test_bytes_stay_as_long_as_another_namespace_needs_them(store: LocalStore) -> None:
    blob = put(store, b"shared")
    other = store.view(namespace="other")
    metadata(other).images.put(NAME, target(blob))
    assert other.visibility.share(blob)

    removed = list(metadata(store).collector.collect())

    assert [(each.namespace, each.key, each.freed) for each in removed] == [("default", blob, 0)]
    with pytest.raises(NotFound):
        store.info(blob)
    assert other.info(blob).size == 6
    metadata(other).images.delete(NAME)
    assert [each.freed for each in metadata(store).collector.collect()] == [6]


def test_rows_that_a_crash_left_go_unless_something_leads_to_them(store: LocalStore) -> None:
    layer = put(store, b"layer")
    quarantined = put(store, b"manifest", layer)
    crashed = put(store, b"crashed", layer)
    metadata(store).images.put(NAME, target(quarantined))
    for digest in (quarantined, crashed):
        Path(store.paths.blob(digest)).unlink()
    store.records.set_verified([crashed], 1)

    assert collect(store) == []
    assert store.database.query("SELECT digest FROM content_labels") == [(quarantined,)]
    assert store.database.query("SELECT digest FROM blobs") == []
    assert list(store.digests()) == [layer]


def test_discard_takes_only_what_it_is_told_and_nothing_reaches(store: LocalStore) -> None:
    kept, gone, other = put(store, b"kept"), put(store, b"gone"), put(store, b"other")
    metadata(store).images.put(NAME, target(kept))

    metadata(store).discard([kept, gone, Digest.of(b"never there")])

    assert set(store.digests()) == {kept, other}


def test_labels_and_images_of_nobody_go(store: LocalStore) -> None:
    put(store, b"x")
    store.database.change("INSERT INTO image_labels VALUES ('default', 'gone', 'a', 'b')")
    store.database.change("INSERT INTO lease_labels VALUES ('default', 'gone', 'a', 'b')")
    store.database.change("INSERT INTO lease_resources VALUES ('default', 'gone', 'content', 'b')")

    collect(store)

    for table in ("image_labels", "lease_labels", "lease_resources"):
        assert store.database.query(f"SELECT * FROM {table}") == []


@pytest.mark.slow
def test_writers_get_in_between_the_batches(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distore.metadata.sweep._MOST", 10)
    folder = Path(store.paths.blobs, "sha256")
    folder.mkdir(parents=True)
    for number in range(2000):
        data = b"%d" % number
        (folder / Digest.of(data).encoded).write_bytes(data)
    other = LocalStore(store.root)
    other.database.change("INSERT INTO settings VALUES ('n', '0')")
    waits: list[float] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            began = time.perf_counter()
            with other.database.transaction(durable=False) as connection:
                connection.execute("UPDATE settings SET value = value + 1 WHERE key = 'n'")
            waits.append(time.perf_counter() - began)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        removed = collect(store)
    finally:
        done.set()
        thread.join()
        other.close()

    assert len(removed) == 2000
    assert len(waits) > 20
    assert max(waits) < 2.0


def test_one_transaction_removes_no_more_than_time_allows(store: LocalStore) -> None:
    for number in range(7):
        put(store, bytes([number]))
    ticks = iter(range(10_000))
    collector = Collector(
        store, lease_is_live=lambda _space, _id: True, monotonic=lambda: next(ticks) * 0.011
    )
    pauses: list[float] = []
    store.sleep = pauses.append

    removed = list(collector.collect())

    assert len(removed) == 7
    assert len([pause for pause in pauses if pause > 0.01]) >= 3  # two a transaction, then others may write
