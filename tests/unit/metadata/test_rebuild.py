"""A new database of what the old one and the blobs tell."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest
from tests.unit.metadata.repository_world import World

from distore.content import blobs
from distore.content.local.store import LocalStore
from distore.errors import FailedPrecondition, NotFound, Unavailable, UnsupportedStore
from distore.images.gclabels import gc_labels, referrer_labels
from distore.metadata.db import Metadata
from distore.metadata.rebuild import Rebuilt, rebuild
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import parse_manifest

NOW = 1_767_323_045.123456
STAMP = "20260102T030405.123456Z"
NAME = "registry.example/team/app:1"


def put(store: LocalStore, data: bytes, labels: dict[str, str] | None = None) -> Digest:
    with store.writer("r") as writer:
        writer.write(data)
        return writer.commit(labels=labels or {})


def described(digest: Digest, data: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest, "size": len(data)}


class Image:
    """An index with one image of one layer, its blobs without labels unless asked for."""

    def __init__(
        self, store: LocalStore, *, seed: bytes = b"", annotations: dict[str, str] | None = None
    ) -> None:
        self.layer = put(store, b"layer" + seed)
        config = b'{"architecture":"amd64"}' + b" " * len(seed)
        self.config = put(store, config)
        manifest = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_MANIFEST,
            "config": described(self.config, config, mediatypes.OCI_CONFIG),
            "layers": [described(self.layer, b"layer" + seed, mediatypes.OCI_LAYER_GZIP)],
        }
        data = json.dumps(manifest).encode()
        self.manifest = put(store, data)
        child = described(self.manifest, data, mediatypes.OCI_MANIFEST) | {"annotations": annotations or {}}
        index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [child]}
        self.data = json.dumps(index).encode()
        self.index = put(store, self.data)
        self.target = Descriptor(media_type=mediatypes.OCI_INDEX, digest=self.index, size=len(self.data))
        self.labels = {
            self.manifest: gc_labels(parse_manifest(data, media_type=None, subject="m")),
            self.index: gc_labels(parse_manifest(self.data, media_type=None, subject="i")),
        }


def run(store: LocalStore, *, dry_run: bool = False, force: bool = False) -> Rebuilt:
    store.close()
    return rebuild(store.root, now=NOW, dry_run=dry_run, force=force)


def files(store: LocalStore) -> dict[str, bytes]:
    """Files at the root."""
    return {each.name: each.read_bytes() for each in Path(store.root).iterdir() if each.is_file()}


def zero(store: LocalStore, at: int = 0, size: int = 100) -> bytes:
    """Damage the database; what it was then."""
    store.close()
    path = Path(store.paths.database)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(size))
    return path.read_bytes()


def test_a_whole_database_is_left_alone(store: LocalStore) -> None:
    put(store, b"x", {"a": "b"})
    store.close()
    before = files(store)

    rebuilt = run(store)

    assert not rebuilt.done
    assert files(store) == before


def test_records_come_back_and_the_damaged_file_is_kept(store: LocalStore) -> None:
    image = Image(store)
    store.update(store.info(image.layer)._replace(labels={"a": "b"}), "labels")
    Metadata(store, command="test").images.put(NAME, image.target)
    damaged = zero(store)

    rebuilt = run(store)

    kept = Path(f"{store.paths.database}.damaged-{STAMP}")
    assert (rebuilt.done, rebuilt.kept) == (True, str(kept))
    assert kept.read_bytes() == damaged
    again = LocalStore(store.root)
    assert again.info(image.layer).labels == {"a": "b"}
    assert Metadata(again, command="test").images.get(NAME).target == image.target
    assert again.records.damage() is None
    again.close()
    assert sorted(files(again)) == ["dist.db", kept.name]


def test_what_repositories_offer_comes_back_whole_where_some_of_its_rows_are_lost(store: LocalStore) -> None:
    world = World(store)
    manifest, layer = world.image("it", "v1")
    world.metadata.close()
    with store.database.transaction() as connection:
        connection.execute("DELETE FROM repositories")
        connection.execute("DELETE FROM repository_blobs WHERE digest = ?", (manifest,))
        connection.execute("DELETE FROM repository_dropped")
    zero(store)

    run(store)

    again = LocalStore(store.root)
    repositories = Metadata(again, command="test").repositories
    assert repositories.names() == ["app"]
    assert [repositories.has("app", digest) for digest in (manifest, layer)] == [True, True]
    tag, record = repositories.tag("app", "v1"), repositories.manifest("app", manifest)
    assert tag is not None
    assert record is not None
    assert (tag.descriptor.digest, record.children) == (manifest, ((layer, 1),))
    again.close()


def test_documents_are_labelled_as_a_pull_does_when_labels_are_lost(store: LocalStore) -> None:
    image = Image(store)
    put(store, b'{"not": "a document"}')
    (Path(store.root) / "dist.db").write_bytes(b"gone")

    rebuilt = run(store)

    again = LocalStore(store.root)
    labels = {info.digest: dict(info.labels) for info in again.walk() if info.labels}
    assert labels == image.labels
    assert rebuilt.told.labels == 3
    again.close()


def test_a_referrer_is_found_from_what_it_is_about(store: LocalStore) -> None:
    image = Image(store)
    empty = put(store, b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": described(empty, b"{}", mediatypes.OCI_EMPTY),
        "layers": [],
        "subject": image.target.to_json(),
    }
    data = json.dumps(document).encode()
    about = put(store, data)
    (Path(store.root) / "dist.db").write_bytes(b"gone")

    run(store)

    again = LocalStore(store.root)
    expected = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=about, size=len(data))
    assert again.info(image.index).labels == image.labels[image.index] | referrer_labels([expected])
    again.close()


def test_a_damaged_document_tells_nothing(store: LocalStore) -> None:
    image = Image(store)
    path = Path(store.path(image.index))
    path.chmod(0o644)
    path.write_bytes(image.data.replace(b"sha256", b"sha256"[::-1]))

    rebuilt = run(store)

    assert rebuilt.told.labels == len(image.labels[image.manifest])


def test_names_come_from_a_layout_and_from_annotations(store: LocalStore) -> None:
    named = Image(store, seed=b"1", annotations={"io.containerd.image.name": "registry.example/inner:1"})
    other = Image(store, seed=b"22")
    outer = {"org.opencontainers.image.ref.name": "registry.example/outer:2"}
    tag_only = {"org.opencontainers.image.ref.name": "latest"}
    missing = described(Digest.of(b"missing"), b"", mediatypes.OCI_MANIFEST)
    layout = {
        "schemaVersion": 2,
        "manifests": [
            other.target.to_json() | {"annotations": outer},
            named.target.to_json() | {"annotations": tag_only},
            missing | {"annotations": {"io.containerd.image.name": "registry.example/missing:1"}},
        ],
    }
    (Path(store.root) / "index.json").write_text(json.dumps(layout))

    rebuilt = run(store)

    again = LocalStore(store.root)
    images = {image.name: image.target.digest for image in Metadata(again, command="test").images.list()}
    assert images == {"registry.example/inner:1": named.manifest, "registry.example/outer:2": other.index}
    assert rebuilt.told.names == 2
    again.close()


def test_what_nothing_names_is_held_by_a_lease_and_survives_the_collector(store: LocalStore) -> None:
    image, loose = Image(store), put(store, b"loose")
    Metadata(store, command="test").images.put(NAME, image.target)
    store.close()
    (Path(store.root) / "dist.db").write_bytes(b"gone")

    rebuilt = run(store)

    assert (rebuilt.told.lease, rebuilt.told.held) == (
        f"dist-db-rebuild-{STAMP}",
        2,
    )  # the index, the loose one
    again = LocalStore(store.root)
    metadata = Metadata(again, command="test")
    held = {resource.key for resource in metadata.leases.resources(str(rebuilt.told.lease))}
    assert held == {image.index, loose}
    metadata.collect()
    assert set(again.digests()) == {image.index, image.manifest, image.config, image.layer, loose}
    again.close()


def test_each_namespace_keeps_its_own(store: LocalStore) -> None:
    team = store.view(namespace="team")
    image = Image(team)
    loose = put(team, b"loose")
    Metadata(team, command="test").images.put(NAME, image.target)
    mine = put(store, b"mine")
    damaged = zero(store)

    rebuilt = run(store)

    assert damaged
    again = LocalStore(store.root)
    theirs = again.view(namespace="team")
    assert set(again.digests()) == {mine}
    assert set(theirs.digests()) == {image.layer, image.config, image.manifest, image.index, loose}
    assert theirs.info(image.index).labels == image.labels[image.index]
    assert Metadata(theirs, command="test").images.get(NAME).target == image.target
    assert rebuilt.told.held == 2
    again.close()


def test_a_dry_run_changes_nothing_and_tells_the_same(store: LocalStore) -> None:
    image = Image(store)
    Metadata(store, command="test").images.put(NAME, image.target)
    zero(store)
    before = files(store)

    would = run(store, dry_run=True)

    assert files(store) == before
    done = run(store)
    assert (would.salvaged, would.told, would.kept) == (done.salvaged, done.told, done.kept)


def test_a_database_that_somebody_has_open_is_left_alone(store: LocalStore) -> None:
    put(store, b"x", {"a": "b"})

    with pytest.raises(Unavailable, match=f"process {os.getpid()} has it open"):
        rebuild(store.root, now=NOW)
    store.close()


def version(store: LocalStore, *pragmas: str) -> None:
    store.close()
    connection = sqlite3.connect(store.paths.database)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
    connection.close()


@pytest.mark.parametrize(
    ("pragma", "error"), [("user_version = 9", UnsupportedStore), ("application_id = 7", FailedPrecondition)]
)
def test_a_newer_or_foreign_database_is_replaced_by_force_alone(
    store: LocalStore, pragma: str, error: type[Exception]
) -> None:
    digest = put(store, b"x", {"a": "b"})
    version(store, pragma)
    before = files(store)

    with pytest.raises(error, match="--force"):
        rebuild(store.root, now=NOW)

    assert files(store) == before
    rebuild(store.root, now=NOW, force=True)
    again = LocalStore(store.root)
    assert again.info(digest).labels == {"a": "b"}
    again.close()


def test_a_missing_database_is_made_of_what_blobs_tell(store: LocalStore) -> None:
    image = Image(store)
    Path(f"{store.paths.database}-wal").write_bytes(b"left")

    rebuilt = run(store)

    assert rebuilt.kept is None
    assert set(files(store)) == {"dist.db", f"dist.db.damaged-{STAMP}-wal"}
    assert LocalStore(store.root).exists()
    assert rebuilt.told.labels == sum(map(len, image.labels.values()))


def test_a_place_without_a_store_is_not_made_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not found"):
        rebuild(str(tmp_path / "none"), now=NOW)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="not found"):
        rebuild(str(tmp_path / "empty"), now=NOW)
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_interrupted_run_is_taken_up_from_the_old_database(store: LocalStore) -> None:
    digest = put(store, b"x", {"a": "b"})
    store.close()
    database = Path(store.paths.database)
    database.rename(f"{database}.damaged-before")
    database.write_text(
        "distore: dist db rebuild was interrupted; run it again. The old database is dist.db.damaged-before\n"
    )

    with pytest.raises(FailedPrecondition, match="dist db rebuild"):
        LocalStore(store.root)
    rebuilt = run(store)

    assert rebuilt.kept == f"{database}.damaged-before"
    again = LocalStore(store.root)
    assert again.info(digest).labels == {"a": "b"}
    again.close()
    assert set(files(store)) == {"dist.db", "dist.db.damaged-before"}


def test_a_mark_that_names_another_place_is_no_way_out_of_the_store(
    store: LocalStore, tmp_path: Path
) -> None:
    put(store, b"x")
    other = LocalStore(str(tmp_path / "other"))
    put(other, b"x", {"not": "ours"})
    other.close()
    name = "dist.db.damaged-/../../other/dist.db"
    mark = f"distore: dist db rebuild was interrupted; run it again. The old database is {name}\n"
    Path(store.paths.database).write_text(mark)

    rebuilt = run(store)

    assert rebuilt.salvaged.rows["content_labels"] == 0


def test_the_database_keeps_its_mode(store: LocalStore) -> None:
    put(store, b"x", {"a": "b"})
    zero(store)
    Path(store.paths.database).chmod(0o660)

    run(store)

    assert Path(store.paths.database).stat().st_mode & 0o777 == 0o660


def test_fsck_of_the_rows_finds_what_fits_no_blob(store: LocalStore) -> None:
    from distore.content.local import rowcheck

    image = Image(store)
    metadata = Metadata(store, command="test")
    metadata.images.put(NAME, image.target)
    metadata.images.put("registry.example/gone:1", Descriptor(
        media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"gone"), size=4
    ))  # fmt: skip
    orphan = put(store, b"orphan", {"a": "b"})
    kept = put(store, b"in quarantine", {"a": "b"})
    os.unlink(store.paths.blob(orphan))
    quarantine = Path(store.paths.quarantine) / "sha256"
    quarantine.mkdir(parents=True)
    os.rename(store.paths.blob(kept), quarantine / f"{kept.encoded}.20260102T030405.123456Z")
    store.database.change("CREATE TABLE strange (a)")

    def found(*, dry_run: bool) -> list[tuple[str, str, str]]:
        problems = rowcheck.problems(store.database, store.paths, dry_run=dry_run)
        return [(each.kind, each.subject, each.action) for each in problems]

    others = [("database", store.paths.database, "none")]
    images = [("image", "registry.example/gone:1", "none")]
    assert found(dry_run=True) == [*others, ("row", orphan, "none"), *images]
    assert found(dry_run=False) == [*others, ("row", orphan, "removed"), *images]
    assert found(dry_run=False) == [*others, *images]
    assert store.database.query("SELECT DISTINCT digest FROM content_labels") == [(kept,)]
    assert blobs.read_blob(store, image.layer, max_size=10) == b"layer"
    store.close()
