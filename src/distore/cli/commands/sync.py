"""``dist sync``: the tags of a repository to another one, only what is missing or has moved."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import DistoreError, InvalidArgument, NotFound

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from distore.app import App
    from distore.cli.output import Output
    from distore.config import Config
    from distore.oci.digest import Digest
    from distore.oci.reference import Reference
    from distore.transfer.endname import EndName

SUMMARY: Final = "copy the tags of a repository that are missing or have moved"
EXAMPLES: Final = (
    "dist sync docker.io/library/redis registry.example/mirror/redis --tag '8.*' --tag latest",
    "dist sync --dry-run --exclude '*-rc*' docker.io/library/redis oci:mirror",
)


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


def config(config: Config, args: argparse.Namespace) -> Config:
    return flags.registry_config(config, args)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    """Goes on after a tag that fails; the first failure decides the exit status."""
    from dataclasses import replace

    from distore.oci.reference import Reference
    from distore.transfer.endname import EndName, Kind

    source = Reference.parse_name(args.source)
    options = flags.copy_options(args, every_platform=True)
    for tag in _tags(args, app, source):
        name = EndName(kind=Kind.REGISTRY, reference=replace(source, tag=tag))
        try:
            there = _destination(args.destination, tag)
            digest = app.resolver.resolve(replace(source, tag=tag)).digest
            how = "present"
            if _digest_of(app, there) != digest:
                how = "missing" if args.dry_run else "copied"
            if how == "copied":
                for event in app.copier.copy(name, there, options):
                    if not args.quiet and event.event == "note":
                        out.note(f"dist: {event.to_json()['text']}")
        except DistoreError as error:
            out.error(error)
            continue
        out.record(f"{how} {tag} {digest}", tag=tag, digest=digest, how=how)
        out.flush()


def _tags(args: argparse.Namespace, app: App, source: Reference) -> Iterator[str]:
    for tag in app.resolver.repository(source).tags():
        wanted = not args.tag or any(fnmatchcase(tag, pattern) for pattern in args.tag)
        if wanted and not any(fnmatchcase(tag, pattern) for pattern in args.exclude):
            yield tag


def _destination(text: str, tag: str) -> EndName:
    from distore.transfer.endname import EndName, Kind

    end = EndName.parse(f"{text}:{tag}")
    if end.kind not in (Kind.REGISTRY, Kind.STORE, Kind.LAYOUT):
        raise InvalidArgument(f"destination {text[:80]!r}: an archive holds one image; use oci:DIR")
    return end


def _digest_of(app: App, end: EndName) -> Digest | None:
    """What the name stands for at the destination already."""
    from distore.transfer.endname import Kind

    try:
        if end.kind is Kind.REGISTRY and end.reference is not None:
            return app.resolver.resolve(end.reference).digest
        with app.copier.origin(end) as origin:
            return origin.resolve().digest
    except NotFound:
        return None
