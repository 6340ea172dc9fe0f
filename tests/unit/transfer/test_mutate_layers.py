"""Mutate: layers put on top, and another base below."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.unit.transfer.ends_images import read
from tests.unit.transfer.mutate_images import AMD64, ARM64, Maker, child, files, put

from distore.errors import DataLoss, FailedPrecondition, NotFound
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer.mutate_append import FolderOptions, addition, tar_stream
from distore.transfer.mutate_rebase import Rebase

OPTIONS = FolderOptions()


@pytest.fixture
def made() -> Maker:
    return Maker()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with some of everything."""
    top = tmp_path / "tree"
    (top / "b").mkdir(parents=True)
    (top / "b" / "file").write_bytes(b"x" * 700)
    (top / "b" / "second").hardlink_to(top / "b" / "file")
    (top / "a").symlink_to("b/file")
    (top / "b" / "run").write_bytes(b"#!")
    (top / "b" / "run").chmod(0o755)
    (top / "b-c").write_bytes(b"")
    os.mkfifo(top / "fifo")
    return top


def layer_of(made: Maker, root: Descriptor, number: int = -1) -> list[tarfile.TarInfo]:
    data = gzip.decompress(read(made.store, Digest(made.document(root)["layers"][number]["digest"])))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getmembers()


def append(made: Maker, root: Descriptor, path: Path, options: FolderOptions = OPTIONS) -> Descriptor:
    return made.mutate(root, append=(addition(str(path), options),)).root


@pytest.mark.parametrize("packed", [True, False])
def test_a_tar_file_becomes_the_highest_layer(packed: bool, made: Maker, tmp_path: Path) -> None:
    root = made.image(files("a"), history=[{"created_by": "first"}])
    (tmp_path / "x.tar").write_bytes(gzip.compress(files("b")) if packed else files("b"))

    result = append(made, root, tmp_path / "x.tar")

    assert made.names(result) == [["a"], ["b"]]
    assert made.config(result)["history"] == [
        {"created_by": "first"},
        {"created_by": "dist mutate --append x.tar"},
    ]
    assert made.document(result)["layers"][1]["mediaType"] == mediatypes.OCI_LAYER_GZIP


def test_layers_whose_making_is_unknown_have_an_empty_entry_in_the_history(made: Maker, tree: Path) -> None:
    result = append(made, made.image(files("a"), files("b")), tree)

    assert made.config(result)["history"] == [{}, {}, {"created_by": "dist mutate --append tree"}]


def test_a_folder_becomes_a_layer_with_nothing_of_the_machine_in_it(made: Maker, tree: Path) -> None:
    root = made.image(files("a"))

    result = append(made, root, tree)
    os.utime(tree / "b" / "file", (5, 5))
    again = append(made, root, tree)

    assert result == again
    found = layer_of(made, result)
    assert [one.name for one in found] == ["a", "b", "b/file", "b/run", "b/second", "b-c", "fifo"]
    assert {(one.uid, one.gid, one.uname, one.mtime) for one in found} == {(0, 0, "", 0)}
    kinds = {one.name: (one.type, one.linkname, one.size) for one in found}
    assert kinds["b/file"] == (tarfile.REGTYPE, "", 700)
    assert kinds["b/second"] == (tarfile.LNKTYPE, "b/file", 0)
    assert kinds["a"] == (tarfile.SYMTYPE, "b/file", 0)
    assert kinds["fifo"] == (tarfile.FIFOTYPE, "", 0)
    assert next(one for one in found if one.name == "b/run").mode == 0o755


def test_times_and_owners_of_a_folder_are_kept_on_request(made: Maker, tree: Path) -> None:
    os.utime(tree / "b-c", ns=(0, 1_500_000_000_250_000_000))
    stamped = append(made, made.image(files("a")), tree, FolderOptions(mtime=77))
    kept = append(made, made.image(files("a")), tree, FolderOptions(mtime=None, keep_owner=True))

    assert {one.mtime for one in layer_of(made, stamped)} == {77}
    file = next(one for one in layer_of(made, kept) if one.name == "b-c")
    assert (file.mtime, file.uid) == (1_500_000_000.25, os.getuid())


def test_a_file_named_as_a_whiteout_is_refused_in_a_folder(made: Maker, tree: Path) -> None:
    (tree / ".wh.b").touch()

    with pytest.raises(FailedPrecondition, match="its name would remove another one"):
        append(made, made.image(files("a")), tree)


def test_a_layer_is_compressed_as_the_highest_one_is(made: Maker, tmp_path: Path) -> None:
    docker = made.image(files("a"), docker=True)
    (tmp_path / "x.tar").write_bytes(files("b"))

    result = append(made, docker, tmp_path / "x.tar")

    assert made.document(result)["layers"][1]["mediaType"] == mediatypes.DOCKER_LAYER_GZIP
    assert made.names(result) == [["a"], ["b"]]


def test_what_is_read_once_goes_into_every_image_of_an_index(made: Maker, tmp_path: Path) -> None:
    images = [made.image(files("a")), made.image(files("b"), platform=ARM64, docker=True)]
    root = made.index(child(images[0], AMD64), child(images[1], ARM64))
    (tmp_path / "x.tar").write_bytes(files("c"))

    with (tmp_path / "x.tar").open("rb") as file:
        result = made.mutate(root, append=(tar_stream(file.fileno, name="standard input"),)).root

    first, second = (Descriptor.from_json(entry) for entry in made.document(result)["manifests"])
    assert (made.names(first), made.names(second)) == ([["a"], ["c"]], [["b"], ["c"]])
    kinds = [made.document(each)["layers"][1]["mediaType"] for each in (first, second)]
    assert kinds == [mediatypes.OCI_LAYER_GZIP, mediatypes.DOCKER_LAYER_GZIP]


def test_another_compression_is_made_of_what_was_stored(made: Maker, tmp_path: Path) -> None:
    plain = made.image(files("b"), platform=ARM64)
    document = made.document(plain)
    document["layers"][0]["mediaType"] = mediatypes.OCI_LAYER
    changed = made.index(child(made.image(files("a")), AMD64), child(put_manifest(made, document), ARM64))
    (tmp_path / "x.tar").write_bytes(files("c"))

    with (tmp_path / "x.tar").open("rb") as file:
        result = made.mutate(changed, append=(tar_stream(file.fileno, name="standard input"),)).root

    second = Descriptor.from_json(made.document(result)["manifests"][1])
    added = made.document(second)["layers"][1]
    assert (added["mediaType"], read(made.store, Digest(added["digest"]))) == (
        mediatypes.OCI_LAYER,
        files("c"),
    )


def put_manifest(made: Maker, document: dict[str, Any]) -> Descriptor:
    return put(made.store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)


def test_what_is_no_tar_file_is_refused_and_leaves_no_ingest(made: Maker, tmp_path: Path) -> None:
    root = made.image(files("a"))
    (tmp_path / "text").write_text("no tar file\n" * 100)
    (tmp_path / "half.tar").write_bytes(files("a" * 50)[:700])
    out = tmp_path / "out.tar"
    with tarfile.open(out, "w") as tar:
        tar.addfile(tarfile.TarInfo("../x"))

    with pytest.raises(FailedPrecondition, match="text: not a tar file"):
        append(made, root, tmp_path / "text")
    with pytest.raises(DataLoss, match="truncated"):
        append(made, root, tmp_path / "half.tar")
    with pytest.raises(FailedPrecondition, match="leads out of the image"):
        append(made, root, out)
    with pytest.raises(NotFound, match="no such file or folder"):
        append(made, root, tmp_path / "nothing")
    assert list(made.store.statuses()) == []


BASE = files("etc/old")
NEW = files("etc/new")
APP = files("app")


def rebase(made: Maker, image: Descriptor, old: Descriptor, new: Descriptor, **more: Any) -> Descriptor:
    return made.mutate(image, rebase=Rebase(old=old, new=new, **more)).root


def test_the_layers_of_the_base_are_replaced_and_histories_joined(made: Maker) -> None:
    step, nothing = {"created_by": "FROM"}, {"created_by": "ENV", "empty_layer": True}
    old = made.image(BASE, history=[step, nothing])
    new = made.image(NEW, files("etc/more"), history=[{"created_by": "1"}, {"created_by": "2"}])
    image = made.image(BASE, APP, history=[step, nothing, nothing, {"created_by": "COPY"}])

    result = rebase(made, image, old, new)

    assert made.names(result) == [["etc/new"], ["etc/more"], ["app"]]
    assert made.config(result)["history"] == [
        {"created_by": "1"},
        {"created_by": "2"},
        nothing,
        {"created_by": "COPY"},
    ]


def test_the_images_own_changes_win_and_the_rest_is_that_of_the_new_base(made: Maker) -> None:
    old = made.image(
        BASE,
        config={"Env": ["PATH=/bin", "V=1", "GONE=1"], "Labels": {"base": "1"}, "Cmd": ["sh"], "User": "a"},
    )
    new = made.image(
        NEW,
        config={
            "Env": ["PATH=/usr/bin", "V=2", "GONE=1"],
            "Labels": {"base": "2"},
            "Cmd": ["bash"],
            "User": "b",
        },
    )
    image = made.image(
        BASE,
        APP,
        config={
            "Env": ["PATH=/bin", "V=own", "APP=1"],
            "Labels": {"base": "1", "Env": "x"},
            "Entrypoint": ["/app"],
            "Cmd": None,
            "User": "a",
        },
    )

    run = made.run(rebase(made, image, old, new))

    assert run == {
        "Env": ["PATH=/usr/bin", "V=own", "APP=1"],
        "Labels": {"base": "2", "Env": "x"},
        "Entrypoint": ["/app"],
        "Cmd": None,
        "User": "b",
    }


def test_an_image_on_its_own_base_stays_what_it_is(made: Maker) -> None:
    old, image = made.image(BASE), made.image(BASE, APP, config={"Env": ["A=1"]})

    assert rebase(made, image, old, old) == image


def test_an_image_on_another_base_is_refused_with_the_first_difference(made: Maker) -> None:
    old = made.image(files("x"), BASE)
    image = made.image(files("x"), APP)
    short = made.image(files("x"))
    other, app = made.config(old)["rootfs"]["diff_ids"][1], made.config(image)["rootfs"]["diff_ids"][1]

    with pytest.raises(FailedPrecondition, match=f"its layer 2 is {app}, the base's {other}"):
        rebase(made, image, old, made.image(NEW))
    with pytest.raises(FailedPrecondition, match=f"its layer 2 is none, the base's {other}"):
        rebase(made, short, old, made.image(NEW))


def test_a_base_for_another_platform_is_refused(made: Maker) -> None:
    image, old = made.image(BASE, APP), made.image(BASE)

    with pytest.raises(FailedPrecondition, match=r"is for linux/amd64, the base .* for linux/arm64"):
        rebase(made, image, old, made.image(NEW, platform=ARM64))


def test_each_image_of_an_index_gets_the_base_for_its_platform(made: Maker) -> None:
    def both(*layers: bytes) -> Descriptor:
        return made.index(
            child(made.image(*layers), AMD64),
            child(made.image(*[each + bytes(1024) for each in layers], platform=ARM64), ARM64),
        )

    result = rebase(made, both(BASE, APP), both(BASE), both(NEW))

    entries = [Descriptor.from_json(entry) for entry in made.document(result)["manifests"]]
    assert [made.names(entry) for entry in entries] == [[["etc/new"], ["app"]]] * 2
    with pytest.raises(NotFound, match="has nothing for linux/arm64"):
        rebase(made, both(BASE, APP), both(BASE), made.index(child(made.image(NEW), AMD64)))


def test_what_is_said_about_the_base_is_brought_up_to_date(made: Maker) -> None:
    old, new = made.image(BASE), made.image(NEW)
    prefix = "org.opencontainers.image.base."
    image = made.image(BASE, APP, annotations={f"{prefix}digest": str(old.digest), f"{prefix}name": "old:1"})

    result = rebase(made, image, old, new, new_name="new:2")

    assert made.document(result)["annotations"] == {
        f"{prefix}digest": str(new.digest),
        f"{prefix}name": "new:2",
    }


def test_layers_of_a_base_of_the_other_family_get_fitting_media_types(made: Maker) -> None:
    old, new = made.image(BASE), made.image(NEW, docker=True)

    result = rebase(made, made.image(BASE, APP), old, new)

    assert {entry["mediaType"] for entry in made.document(result)["layers"]} == {mediatypes.OCI_LAYER_GZIP}


def test_a_base_whose_layers_are_not_there_is_refused(made: Maker) -> None:
    new = made.image(NEW)
    made.store.delete(Digest(made.document(new)["layers"][0]["digest"]))

    with pytest.raises(NotFound, match="is not in the store; dist pull brings it"):
        rebase(made, made.image(BASE, APP), made.image(BASE), new)


def test_operations_follow_each_other_in_their_order(made: Maker, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(files(".wh.app", "x"))
    image = made.image(BASE, APP)

    result = made.mutate(
        image,
        rebase=Rebase(old=made.image(BASE), new=made.image(NEW)),
        append=(addition(str(tmp_path / "x.tar"), OPTIONS),),
        flatten=True,
        annotations={"done": "1"},
    ).root

    assert made.names(result) == [["etc/new", "x"]]
    assert made.document(result)["annotations"] == {"done": "1"}
