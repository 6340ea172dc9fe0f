"""FileBlob: a file that is no store's as a Provider of one blob."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.content.slices import SliceReader
from distore.errors import FailedPrecondition, NotFound
from distore.oci.digest import Digest, new_hasher

if TYPE_CHECKING:
    from typing import BinaryIO

_CHUNK: Final = 1024 * 1024  # bytes


class FileBlob:
    """Holds the file open until ``close``; leaving the ``with`` block does that.

    Args:
        file: Open for reading, from which it takes over.
        subject: What messages call it.
        algorithm: Of the digest.
    """

    def __init__(self, file: BinaryIO, *, subject: str, algorithm: str = "sha256") -> None:
        self._file = file
        self._subject = subject
        hasher = new_hasher(algorithm)
        space = memoryview(bytearray(_CHUNK))
        self.size = 0
        with translated(subject):
            while size := os.preadv(file.fileno(), [space], self.size):
                hasher.update(space[:size])
                self.size += size
        self.digest = Digest.from_hasher(algorithm, hasher)

    @classmethod
    def open(cls, path: str) -> FileBlob:
        """A regular file.

        Raises:
            NotFound, PermissionDenied: It cannot be opened.
            FailedPrecondition: It is a folder or a device.
        """
        with translated(path):
            try:
                file = open(path, "rb")  # noqa: SIM115 - close() closes it
            except FileNotFoundError as error:
                raise NotFound(f"{path}: no such file") from error
            except IsADirectoryError as error:
                raise FailedPrecondition(f"{path}: a folder, want a file") from error
        return cls(file, subject=path)

    @classmethod
    def spooled(cls, source: BinaryIO) -> FileBlob:
        """What can be read once: it goes through an unnamed temporary file, for a digest must be
        known before its bytes are sent."""
        with translated("temporary file"):
            file = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
            while piece := source.read(_CHUNK):
                file.write(piece)
            file.flush()
        return cls(file, subject="standard input")

    def reader(self, digest: Digest, /) -> SliceReader:
        if digest != self.digest:
            raise NotFound(f"content {digest}: not found")
        return SliceReader(self._file.fileno(), start=0, size=self.size, subject=self._subject)

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> FileBlob:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
