"""ImageFileSystem: images of a store for fsspec, under the protocol ``dist``. Needs ``distore[fsspec]``."""

from __future__ import annotations

import io
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

# fsspec has no types (no py.typed), so that its class is Any here.
from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]

from distore.api.files import ImageFiles, layer_files
from distore.api.store import Store
from distore.api.transfers import this_platform
from distore.errors import FailedPrecondition, InvalidArgument, NotFound
from distore.oci.platform import Platform
from distore.unpack.filetree import FileKind

if TYPE_CHECKING:
    import os

    from distore.unpack.filetree import FileInfo

_SCHEME: Final = "dist://"
_SIGN: Final = ":/"


class ImageFileSystem(AbstractFileSystem):  # type: ignore[misc]  # see above
    """The files of one image of a local store, read-only.

    ``fsspec.open("dist://redis:8:/etc/passwd", root="/var/lib/dist")`` opens a file;
    ``fsspec.filesystem("dist", image="redis:8", root=...)`` is the file system, in which paths are as
    within the image. It shows the image as it was when it was made, whatever becomes of the name.

    A listing gives links to files as files, and other links as ``other``, so that nobody runs in circles;
    whoever asks for one path is told of what it leads to. Links lead nowhere out of the image.

    Args:
        image: A name or a digest in the store.
        root: The store's folder.
        platform: Which image of an index; None: this machine's.
        namespace: Whose images.
    Raises:
        NotFound: No such image, or a part of it is missing.
        FailedPrecondition: An artifact, no image.
    """

    protocol: ClassVar[str] = "dist"
    root_marker: ClassVar[str] = "/"

    def __init__(
        self,
        image: str,
        root: str | os.PathLike[str] = ".content",
        platform: str | None = None,
        namespace: str = "default",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._image = image
        host = this_platform()
        store = Store(root, namespace=namespace)
        self._end = weakref.finalize(self, store.close)
        chosen = Platform.parse(platform, host=host) if platform else host
        self.files = ImageFiles(
            layer_files(store.content, store.images.target(image), chosen, subject=f"image {image}")
        )

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = str(path)
        if text.startswith(_SCHEME):
            _, sign, inner = text.removeprefix(_SCHEME).rpartition(_SIGN)
            text = inner if sign else ""
        return "/" + text.strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        image, sign, _ = path.removeprefix(_SCHEME).rpartition(_SIGN)
        return {"image": image if sign else path.removeprefix(_SCHEME)}

    def unstrip_protocol(self, name: str) -> str:
        """The URL of a path."""
        return f"{_SCHEME}{self._image}:{self._strip_protocol(name)}"

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        """What is told of a path; of what a link leads to."""
        name = self._strip_protocol(path)
        link = self._stat(name, follow=False)
        found = self._stat(name) if link.kind is FileKind.SYMLINK else link
        return _described(name, found, link)

    def ls(self, path: str, detail: bool = True, **_options: Any) -> list[Any]:
        """What is in a folder; of a file itself."""
        name = self._strip_protocol(path)
        if self._stat(name).kind is not FileKind.FOLDER:
            found = [self.info(name)]
        else:
            found = [
                self._entry(name.rstrip("/") + "/" + each.name, each) for each in self.files.scandir(name)
            ]
        return found if detail else [each["name"] for each in found]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **_options: Any,
    ) -> Any:
        """Files below a path, and folders ``withdirs``; neither devices nor links that lead to no file."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        name = self._strip_protocol(path)
        if not self.files.exists(name):
            return {} if detail else []
        top = self.files.stat(name)
        if top.kind is FileKind.FILE:
            return {name: self.info(name)} if detail else [name]
        cut, prefix = len(top.path.rstrip("/")), name.rstrip("/")
        found: dict[str, Any] = {}
        for each in self.files.walk(name):
            inner = each.path.rstrip("/")[cut:]
            if maxdepth is not None and inner.count("/") > maxdepth:
                continue
            entry = self._entry(prefix + inner or "/", each)
            if entry["type"] == "file" or (withdirs and entry["type"] == "directory"):
                found[entry["name"]] = entry
        return found if detail else sorted(found)

    def isdir(self, path: str) -> bool:
        """Whether a path leads to a folder."""
        return self.files.is_folder(self._strip_protocol(path))

    def isfile(self, path: str) -> bool:
        """Whether a path leads to a regular file."""
        name = self._strip_protocol(path)
        return self.files.exists(name) and self.files.stat(name).kind is FileKind.FILE

    def exists(self, path: str, **_options: Any) -> bool:
        """Whether a path leads to anything."""
        return self.files.exists(self._strip_protocol(path))

    def modified(self, path: str) -> datetime:
        """When a file changed, as the image tells."""
        return datetime.fromtimestamp(self._stat(self._strip_protocol(path)).mtime / 1e9, UTC)

    def ukey(self, path: str) -> str:
        """The same for the same bytes: a layer, and where in it."""
        info = self._stat(self._strip_protocol(path))
        if info.place is None:
            return f"{self.files.image.chain_id} {info.path}"
        return f"{self.files.image.diff_ids[info.place.layer]} {info.place.start}"

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_options: Any) -> bytes:
        """The bytes of a file, or some of them."""
        name = self._strip_protocol(path)
        first, last, _ = slice(start, end).indices(self._regular(name).size)
        with self._open(name) as file:
            file.seek(first)
            return file.read(max(0, last - first))

    def _open(self, path: str, mode: str = "rb", *_rest: Any, **_options: Any) -> io.BufferedIOBase:
        name = self._strip_protocol(path)
        if mode != "rb":
            raise OSError(f"{name}: images are read-only")
        self._regular(name)
        return self.files.open(name)

    def _regular(self, name: str) -> FileInfo:
        info = self._stat(name)
        if info.kind is FileKind.FOLDER:
            raise IsADirectoryError(name)
        if info.kind is not FileKind.FILE:
            raise OSError(f"{name}: a {info.kind}, want a file")
        return info

    def _stat(self, name: str, *, follow: bool = True) -> FileInfo:
        """Errors as those of a file system: what calls fsspec handles these."""
        try:
            return self.files.stat(name, follow=follow)
        except (NotFound, InvalidArgument) as error:
            raise FileNotFoundError(name) from error
        except FailedPrecondition as error:
            raise NotADirectoryError(name) from error

    def _entry(self, name: str, link: FileInfo) -> dict[str, Any]:
        """A name in a listing."""
        if link.kind is FileKind.SYMLINK and self.isfile(name):
            return _described(name, self._stat(name), link)
        return _described(name, link, link)


def _described(name: str, info: FileInfo, link: FileInfo) -> dict[str, Any]:
    types = {FileKind.FILE: "file", FileKind.FOLDER: "directory"}
    found: dict[str, Any] = {
        "name": name,
        "size": info.size,
        "type": types.get(info.kind, "other"),
        "islink": link.kind is FileKind.SYMLINK,
        "mode": info.mode,
        "uid": info.uid,
        "gid": info.gid,
        "mtime": info.mtime / 1e9,
        "nlink": info.links,
    }
    return found if link.link is None else found | {"destination": link.link}
