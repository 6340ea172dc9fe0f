"""``dist sync``: the tags of a repository to another one, only what is missing or has moved."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import DistoreError, InvalidArgument, NotFound, PermissionDenied

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.reference import Reference
    from distore.transfer.copy import CopyOptions
    from distore.transfer.endname import EndName

SUMMARY: Final = "copy the tags of a repository that are missing or have moved"
EXAMPLES: Final = (
    "dist sync docker.io/library/redis registry.example/mirror/redis --tag '8.*' --tag latest",
    "dist sync --dry-run --exclude '*-rc*' docker.io/library/redis oci:mirror",
)
_ALIKE: Final = 3  # tags in a row that fail with the same words: so would the others

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a repository, such as docker.io/library/redis")
    parser.add_argument("destination", help="a repository, store:REPOSITORY, or oci:DIR")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="PATTERN", help="only tags that match, such as '8.*'"
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="not the tags that match"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be copied")
    flags.add_selection(parser, default="all of them")
    flags.add_transfer(parser)
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    """Goes on after a tag that fails, unless it is plain that all will; the first failure decides
    the exit status."""
    source = _source(args.source)
    sync = _Sync(args, app, out, _destination(args.destination, source))
    last, alike = "", 0
    for tag in _tags(args, app, source):
        try:
            sync.tag(replace(source, tag=tag), tag)
        except DistoreError as error:
            sync.failed(tag, error)
            alike = alike + 1 if str(error) == last else 1
            last = str(error)
            if alike == _ALIKE:
                out.note(f"dist: {alike} tags in a row failed alike; the others were not tried")
                break
        else:
            last = ""
    if not args.quiet:
        out.note(f"dist: {sync.summary()}")


class _Sync:
    """What is done with each tag, and how often."""

    def __init__(self, args: argparse.Namespace, app: App, out: Output, there: EndName) -> None:
        self._args = args
        self._app = app
        self._out = out
        self._there = there
        self._options: CopyOptions = flags.copy_options(args, every_platform=True)
        self._counts = {"missing" if args.dry_run else "copied": 0, "present": 0, "failed": 0}

    def tag(self, reference: Reference, tag: str) -> None:
        """Have it at the destination."""
        from distore.transfer.endname import EndName, Kind

        source = EndName(kind=Kind.REGISTRY, reference=reference)
        there = _named(self._there, tag)
        root = self._root(source)
        is_there = _digest_of(self._app, there) == root.digest
        how = "present" if is_there else "missing"
        # The same name does not say that the same platforms are there, or as many referrers.
        if not self._args.dry_run and not (is_there and self._is_whole(root)):
            how = self._copy(source, there, is_there=is_there)
        self._counts[how] += 1
        self._out.record(f"{how} {tag} {root.digest}", tag=tag, digest=root.digest, how=how, error=None)
        self._out.flush()

    def failed(self, tag: str, error: DistoreError) -> None:
        self._counts["failed"] += 1
        self._out.error(error, subject=tag)
        if self._out.as_json:
            self._out.record("", tag=tag, digest=None, how="failed", error=str(error))

    def summary(self) -> str:
        if not any(self._counts.values()):
            return f"no tag of {self._args.source} is wanted; nothing to do"
        return ", ".join(f"{number} {how}" for how, number in self._counts.items())

    def _root(self, source: EndName) -> Descriptor:
        """What the destination is to have under the name."""
        from distore.transfer.copy import narrowed
        from distore.transfer.endname import Kind

        with self._app.copier.origin(source) as origin:
            root = origin.resolve()
            if self._there.kind is Kind.STORE:
                return root
            return narrowed(origin, root, self._options.selection)

    def _is_whole(self, root: Descriptor) -> bool:
        """Whether nothing but ``root`` decides what belongs to it."""
        from distore.images.select import ALL
        from distore.oci import mediatypes

        options = self._options
        return not options.referrers and (
            options.selection == ALL or not mediatypes.is_index(root.media_type)
        )

    def _copy(self, source: EndName, there: EndName, *, is_there: bool) -> str:
        import time

        from distore.cli.progress import show

        events = self._app.copier.copy(source, there, self._options)
        finished = show(events, self._out, quiet=self._args.quiet, clock=time.monotonic, brief=True)
        return "present" if is_there and finished is not None and not finished.moved else "copied"


def _tags(args: argparse.Namespace, app: App, source: Reference) -> Iterator[str]:
    for tag in app.resolver.repository(source).tags():
        wanted = not args.tag or any(fnmatchcase(tag, pattern) for pattern in args.tag)
        if wanted and not any(fnmatchcase(tag, pattern) for pattern in args.exclude):
            yield tag


def _source(text: str) -> Reference:
    from distore.oci.reference import Reference
    from distore.transfer.endname import EndName, Kind

    if EndName.parse(text).kind is not Kind.REGISTRY:
        raise InvalidArgument(f"source {text[:80]!r}: want a repository of a registry")
    return Reference.parse_name(text.removeprefix("docker://"))


def _destination(text: str, source: Reference) -> EndName:
    """Where the tags go; without one of them."""
    from distore.oci.reference import Reference
    from distore.transfer.endname import EndName, Kind

    end = EndName.parse(text)
    if end.kind not in (Kind.REGISTRY, Kind.STORE, Kind.LAYOUT):
        raise InvalidArgument(f"destination {text[:80]!r}: an archive holds one image; use oci:DIR")
    if end.reference is None:
        return end
    repository = Reference.parse_name(text.removeprefix("docker://").removeprefix("store:"))
    if end.kind is Kind.REGISTRY and repository == source:
        raise InvalidArgument(f"sync: {source.name} is both the source and the destination")
    return replace(end, reference=repository)


def _named(end: EndName, tag: str) -> EndName:
    if end.reference is not None:
        return replace(end, reference=replace(end.reference, tag=tag))
    return replace(end, name=f"{end.name}:{tag}" if end.name else tag)


def _digest_of(app: App, end: EndName) -> Digest | None:
    """What the name stands for at the destination already."""
    try:
        with app.copier.origin(end) as origin:
            return origin.resolve().digest
    # Registries answer 403 as well for a repository that the first push will make.
    except (NotFound, PermissionDenied):
        return None
