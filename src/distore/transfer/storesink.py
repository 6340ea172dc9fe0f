"""StoreSink: a content store as the destination of a copy."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.blobs import open_writer
from distore.content.rules import check_labels
from distore.content.store import Follower, Manager, Store
from distore.errors import (
    AlreadyExists,
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    Locked,
    NotFound,
)
from distore.oci.digest import Digest
from distore.remotes.mismatch import wrong_digest
from distore.remotes.refkey import ref_key
from distore.transfer.pouring import check_size, pour

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.content.store import Provider, Writer
    from distore.oci.descriptor import Descriptor

_TRIES: Final = 8


class SinkStore(Store, Follower, Protocol):
    """What a sink needs of a store."""


class StoreSink:
    """A Pusher into a store. Bytes of a push that broke off are kept and resumed by the next one.

    Args:
        name: What messages call it.
        labels: Labels for an object that is new.
        on_tag: Told of the root once everything is there.
    """

    parallel: int | None = None

    def __init__(
        self,
        store: SinkStore,
        *,
        name: str,
        labels: Callable[[Descriptor, Provider], Mapping[str, str]] = lambda _descriptor, _provider: {},
        on_tag: Callable[[Descriptor], None] = lambda _descriptor: None,
    ) -> None:
        self._store = store
        self._labels = labels
        self._on_tag = on_tag
        self.name = name

    def exists(self, descriptor: Descriptor, /) -> bool:
        try:
            return self._store.info(descriptor.digest).size == descriptor.size
        except NotFound:
            return False

    def push(
        self,
        descriptor: Descriptor,
        provider: Provider,
        /,
        *,
        sources: Sequence[str] = (),
        on_progress: Callable[[int], None] = lambda _offset: None,
    ) -> str:
        if self.exists(descriptor):
            return self._present(descriptor, provider)
        ref = ref_key(descriptor.media_type, descriptor.digest)
        with provider.reader(descriptor.digest) as reader:
            check_size(reader, descriptor)
            while True:
                try:
                    with self._writer(ref, descriptor, on_progress) as writer:
                        resumed = _resume(writer, descriptor)
                        pour(reader, writer.write, offset=writer.offset, subject=ref, on_progress=on_progress)
                        writer.commit(
                            size=descriptor.size,
                            expected=descriptor.digest,
                            labels=self._labels(descriptor, provider),
                        )
                    return "pushed"
                except AlreadyExists:
                    return self._present(descriptor, provider)
                except DigestMismatch as error:
                    # None of these bytes can be told right from wrong.
                    self._abort(ref)
                    if not resumed:
                        actual = Digest(error.actual)
                        raise wrong_digest(
                            f"content {descriptor.digest}", expected=descriptor.digest, actual=actual
                        ) from error

    def tag(self, descriptor: Descriptor, provider: Provider, /) -> None:
        self.push(descriptor, provider)
        self._on_tag(descriptor)

    def close(self) -> None:
        """The store is its owner's to close."""

    def _present(self, descriptor: Descriptor, provider: Provider) -> str:
        """Whoever stored it may not have said what it keeps."""
        add_labels(self._store, descriptor.digest, self._labels(descriptor, provider))
        return "present"

    def _writer(self, ref: str, descriptor: Descriptor, on_progress: Callable[[int], None]) -> Writer:
        expected: Digest | None = descriptor.digest
        for trial in range(1, _TRIES + 1):
            try:
                return open_writer(
                    self._store,
                    ref,
                    total=descriptor.size,
                    expected=expected,
                    on_locked="follow",
                    on_progress=lambda status: on_progress(status.offset),
                )
            except AlreadyExists:
                if self.exists(descriptor):
                    raise
                # A file of that name with another size is damage. Verified bytes take its place
                # at the commit; a writer that does not know the digest beforehand comes so far.
                expected = None
            except NotFound:
                # Another process has just removed the empty ingest/ (see close).
                if trial == _TRIES:
                    raise
        raise FailedPrecondition(f"{self.name}: {descriptor.digest} is damaged there; remove it")

    def _abort(self, ref: str) -> None:
        try:
            self._store.abort(ref)
        except (NotFound, Locked):  # somebody took it up or ended it since
            return


def add_labels(store: Manager, digest: Digest, wanted: Mapping[str, str]) -> None:
    """Set those of ``wanted`` that a blob lacks; what it has stays. Labels that are too long are
    left out, all of them."""
    if not wanted:
        return
    info = store.info(digest)
    added = {key: value for key, value in wanted.items() if key not in info.labels}
    if not added:
        return
    with suppress(InvalidArgument):
        check_labels(added)
        labels = {**info.labels, **added}
        store.update(info._replace(labels=labels), *(f"labels.{key}" for key in added))


def _resume(writer: Writer, descriptor: Descriptor) -> bool:
    """Whether some of its bytes are kept; too many are dropped."""
    if writer.offset > descriptor.size:
        writer.truncate()
    return writer.offset > 0
