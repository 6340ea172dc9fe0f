"""Images for fsspec: read as any other file system, by fsspec's own tests and by ours."""

from __future__ import annotations

import os
import pickle
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from hashlib import md5
from importlib import import_module
from pathlib import Path

import fsspec  # type: ignore[import-untyped]  # it has no types
import pytest
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests  # type: ignore[import-untyped]  # as above
from tests.unit.diff.applied_trees import layer, member
from tests.unit.unpack.layered import put_image

from distore.api.fsspecfs import ImageFileSystem
from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata

BULK = ("file1", "file2", "subdir/subfile1", "subdir/subfile2", "subdir/nesteddir/nestedfile")
GLOB = (
    "file1",
    "file2",
    *(f"subdir{n}/{name}" for n in range(2) for name in ("subfile1", "subfile2", "nesteddir/nestedfile")),
)
PREFIX = ("subdir.txt", "subdir/subfile.txt")
HASHED = {f"{md5(str(n).encode()).hexdigest()}.txt": str(n).encode() for n in range(10)}
DATA = bytes(range(256)) * 20


def scenario() -> bytes:
    """What fsspec's tests read."""
    trees = {"bulk": dict.fromkeys(BULK, b""), "glob": dict.fromkeys(GLOB, b"")}
    trees |= {"prefix": dict.fromkeys(PREFIX, b""), "hashed": HASHED}
    return layer(
        *(
            member(f"{tree}/source/{name}", data=data)
            for tree, files in trees.items()
            for name, data in files.items()
        )
    )


def ours() -> bytes:
    return layer(
        member("etc/data", data=DATA, mtime=1000, mode=0o640, uid=3),
        member("etc/circle", tarfile.SYMTYPE, "."),
        member("etc/link", tarfile.SYMTYPE, "/../etc/data"),
        member("etc/gone", tarfile.SYMTYPE, "nowhere"),
        member("lib", tarfile.SYMTYPE, "etc"),
        member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("store"))
    store = LocalStore(folder)
    images = Metadata(store, command="tests").images
    images.put("docker.io/library/scenario:1", put_image(store, scenario()))
    images.put("docker.io/library/app:1", put_image(store, ours()))
    store.close()
    return folder


@pytest.fixture
def app(root: str) -> Iterator[ImageFileSystem]:
    fsspec.register_implementation("dist", ImageFileSystem, clobber=True)
    yield ImageFileSystem("app:1", root=root)
    ImageFileSystem.clear_instance_cache()


class TestAsFsspecTests(AbstractFixtures, AbstractGetTests):  # type: ignore[misc]  # as above
    """Those of fsspec's abstract tests that only read."""

    test_get_directory_recursive = None  # it writes its own scenario first

    @pytest.fixture
    def fs(self, root: str) -> ImageFileSystem:
        return ImageFileSystem("scenario:1", root=root)

    @pytest.fixture
    def fs_path(self) -> str:
        return "/hashed"

    @pytest.fixture
    def fs_join(self) -> Callable[..., str]:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self) -> str:
        return "/bulk/source"

    @pytest.fixture
    def fs_glob_edge_cases_files(self) -> str:
        return "/glob/source"

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self) -> str:
        return "/prefix/source"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self) -> str:
        return "/hashed/source"


def test_a_url_opens_a_file(app: ImageFileSystem, root: str) -> None:
    with fsspec.open("dist://app:1:/etc/data", root=root) as file:
        assert file.read() == DATA
    with fsspec.open("dist://docker.io/library/app:1:/lib/link", "rt", encoding="latin-1", root=root) as file:
        assert file.read(2) == "\0\1"
    assert app.unstrip_protocol("etc/data") == "dist://app:1:/etc/data"


def test_files_are_listed_found_and_matched(app: ImageFileSystem) -> None:
    assert app.ls("", detail=False) == ["/etc", "/lib", "/null"]
    assert app.ls("/lib", detail=False) == ["/lib/circle", "/lib/data", "/lib/gone", "/lib/link"]
    assert app.find("") == ["/etc/data", "/etc/link"]
    assert app.find("lib", withdirs=True) == ["/lib", "/lib/data", "/lib/link"]
    assert app.find("/", maxdepth=1) == []
    assert app.find("/etc/data") == ["/etc/data"]
    assert app.glob("/**/d*a") == app.glob("/e*/data") == ["/etc/data"]
    assert [names for _, _, names in app.walk("/")] == [["lib", "null"], ["circle", "data", "gone", "link"]]


def test_a_path_is_described(app: ImageFileSystem) -> None:
    assert app.info("dist://app:1:/etc/data") == {
        "name": "/etc/data",
        "size": len(DATA),
        "type": "file",
        "islink": False,
        "mode": 0o100640,
        "uid": 3,
        "gid": 0,
        "mtime": 1000.0,
        "nlink": 1,
    }
    link = app.info("/etc/link")
    assert (link["type"], link["size"], link["destination"]) == ("file", len(DATA), "/../etc/data")
    assert app.info("/lib")["type"] == "directory"
    assert app.info("/null")["type"] == "other"
    assert app.modified("/etc/data").timestamp() == 1000
    assert app.ukey("/etc/link") == app.ukey("/lib/data") != app.ukey("/null") != app.ukey("/etc")


def test_bytes_are_read_in_parts(app: ImageFileSystem) -> None:
    assert app.cat("/etc/data") == app.read_bytes("/etc/link") == DATA
    assert app.cat_file("/etc/data", start=10, end=20) == DATA[10:20]
    assert app.cat_file("/etc/data", start=-5) == DATA[-5:]
    assert app.cat_file("/etc/data", start=30, end=20) == b""
    assert app.head("/etc/data", 3) == DATA[:3]
    assert app.tail("/etc/data", 3) == DATA[-3:]
    assert app.cat_ranges(["/etc/data"] * 2, [0, 5], [5, 10]) == [DATA[:5], DATA[5:10]]


def test_a_mapping_holds_the_files(app: ImageFileSystem) -> None:
    mapped = app.get_mapper("/etc")

    assert dict(mapped) == {"data": DATA, "link": DATA}


def test_a_folder_is_fetched_without_its_circles(app: ImageFileSystem, tmp_path: Path) -> None:
    app.get("/etc", str(tmp_path / "out"), recursive=True)

    assert sorted(os.listdir(tmp_path / "out")) == ["data", "link"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/none", FileNotFoundError),
        ("/etc/gone", FileNotFoundError),
        ("/a\0b", FileNotFoundError),
        ("/etc", IsADirectoryError),
        ("/etc/data/x", NotADirectoryError),
        ("/null", OSError),
    ],
)
def test_errors_are_those_of_a_file_system(app: ImageFileSystem, path: str, error: type[OSError]) -> None:
    with pytest.raises(error):
        app.open(path)
    assert not app.isfile(path)


def test_nothing_can_be_written(app: ImageFileSystem) -> None:
    for write, words in ((app.open, ("/x", "wb")), (app.pipe, ("/x", b"")), (app.rm, ("/etc/data",))):
        with pytest.raises((OSError, NotImplementedError)):
            write(*words)


def test_a_file_system_travels_to_another_process(app: ImageFileSystem) -> None:
    again = pickle.loads(pickle.dumps(app))

    assert again.cat("/etc/data") == DATA


def test_the_protocol_is_an_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    module, _, name = project["entry-points"]["fsspec.specs"]["dist"].partition(":")

    assert getattr(import_module(module), name) is ImageFileSystem
