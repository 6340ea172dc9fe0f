"""``dist mutate``: an image of the store, changed under a new name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.imagewords import EPOCH, add_config, pair, rfc3339, seconds_of
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.diff.overlaytar import LayerTar
    from distore.oci.descriptor import Descriptor
    from distore.oci.reference import Reference
    from distore.transfer.mutate import Mutated, MutateOptions
    from distore.transfer.mutate_config import ConfigChanges
    from distore.transfer.mutate_rebase import Rebase

SUMMARY: Final = "change an image without a container: layers, base, config, annotations"
EXAMPLES: Final = (
    "dist mutate redis:8 redis:mine --append ./overlay --env TZ=UTC --label team=data",
    "tar c -C build . | dist mutate debian:13 app:1 --append - --entrypoint '[\"/app\"]'",
    "dist mutate app:1 app:2 --rebase debian:13.1 debian:13.2",
    "dist mutate app:2 app:flat --flatten --annotation org.opencontainers.image.version=2",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="an image of the store, by name or digest")
    parser.add_argument("name", help="what the result is called; it may be the same")
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="P",
        help="change this image of an index, the others stay; may be given again (default: change all)",
    )
    _add_layers(parser)
    _add_config(parser)
    for flag, text in (("--annotation", "of each changed manifest"), ("--index-annotation", "of the index")):
        parser.add_argument(
            flag,
            action="append",
            type=pair,
            default=[],
            metavar="KEY=VALUE",
            help=f"{text}; KEY= removes it",
        )


def _add_layers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rebase",
        nargs=2,
        metavar=("OLD_BASE", "NEW_BASE"),
        help="replace the layers of one base image by those of another, both in the store",
    )
    parser.add_argument(
        "--append",
        action="append",
        default=[],
        metavar="PATH",
        help="put a tar file (plain, gzip or zstd; - is standard input) or a folder on top as a layer",
    )
    parser.add_argument("--flatten", action="store_true", help="make one layer of all of them")
    parser.add_argument(
        "--timestamp",
        metavar="TIME",
        help="of new layers and of the files of a folder, RFC 3339 or seconds"
        f" (default: ${EPOCH}; files else 0)",
    )
    parser.add_argument("--keep-times", action="store_true", help="files of a folder keep theirs")
    parser.add_argument(
        "--keep-owner", action="store_true", help="files of a folder keep theirs (else: root)"
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--exposed-port", action="append", default=[], metavar="PORT[/PROTO]", help="add it")
    parser.add_argument("--volume", action="append", default=[], metavar="PATH", help="add it")
    parser.add_argument("--stop-signal", metavar="SIGNAL", help="'' removes it")
    parser.add_argument("--author", help="'' removes it")
    parser.add_argument("--created", metavar="TIME", help="RFC 3339 or seconds; '' removes it")
    parser.add_argument("--set-platform", metavar="P", help="say that it is for os/architecture[/variant]")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.oci.reference import Reference
    from distore.transfer.mutate import MutateOptions, mutate

    name = Reference.parse(args.name)
    if name.digest is not None:
        raise InvalidArgument(f"name {name}: the result has its own digest; leave it out")
    options = _options(args, app)
    if options == MutateOptions(platforms=options.platforms, created=options.created):
        raise InvalidArgument("mutate: nothing to change; see dist mutate --help")
    root = app.copier.root_of(flags.image(args.source))  # before anything is made for what is not there
    with app.leased("mutate") as content:
        result = mutate(content, root, options)
        app.images.put(str(name), result.root)
    _tell(result, root, name, out)


def _tell(result: Mutated, old: Descriptor, name: Reference, out: Output) -> None:
    if result.absent:
        out.note(f"dist: left out what is not in the store: {_names(result.absent)}")
    if result.attestations:
        count = len(result.attestations)
        out.note(f"dist: dropped {count} attestation{'s' if count > 1 else ''} about what is changed now")
    if result.root.digest == old.digest:
        out.note("dist: that is how it was")
    out.record(
        result.root.digest,
        name=str(name),
        target=result.root.to_json(),
        changed=result.changed,
        dropped=[str(each.digest) for each in (*result.attestations, *result.absent)],
    )


def _names(absent: tuple[Descriptor, ...]) -> str:
    return ", ".join(str(each.platform or each.digest) for each in absent)


def _options(args: argparse.Namespace, app: App) -> MutateOptions:
    from distore.transfer.mutate import MutateOptions

    told = args.timestamp if args.timestamp is not None else os.environ.get(EPOCH) or None
    seconds = (
        None if told is None else seconds_of(told, "--timestamp" if args.timestamp is not None else EPOCH)
    )
    return MutateOptions(
        rebase=_rebase(args.rebase, app) if args.rebase else None,
        append=_additions(args, seconds),
        flatten=args.flatten,
        config=_changes(args),
        annotations=dict(args.annotation),
        index_annotations=dict(args.index_annotation),
        platforms=flags.chosen_platforms(args) or None,
        created=None if seconds is None else rfc3339(seconds),
    )


def _rebase(given: list[str], app: App) -> Rebase:
    from distore.transfer.mutate_rebase import Rebase

    old, new = (flags.image(text) for text in given)
    root_of = app.copier.root_of
    return Rebase(old=root_of(old), new=root_of(new), new_name=str(new) if new.digest is None else None)


def _additions(args: argparse.Namespace, seconds: int | None) -> tuple[LayerTar, ...]:
    from distore.transfer.mutate_append import FolderOptions, addition, tar_stream

    if "" in args.append:
        raise InvalidArgument("--append '': want a tar file, a folder, or - for standard input")
    if args.append.count("-") > 1:
        raise InvalidArgument("--append -: standard input can be read once")
    mtime = None if args.keep_times else seconds or 0
    options = FolderOptions(mtime=mtime, keep_owner=args.keep_owner)
    return tuple(
        tar_stream(_standard_input, name="standard input") if path == "-" else addition(path, options)
        for path in args.append
    )


def _standard_input() -> int:
    return flags.standard_input().fileno()


def _changes(args: argparse.Namespace) -> ConfigChanges:
    from distore.oci.platform import Platform
    from distore.transfer.mutate_config import ConfigChanges

    created = args.created
    return ConfigChanges(
        env=(*((name, None) for name in args.unset_env), *args.env),
        labels=dict(args.label),
        entrypoint=args.entrypoint,
        cmd=args.cmd,
        user=args.user,
        workdir=args.workdir,
        ports=tuple(args.exposed_port),
        volumes=tuple(args.volume),
        stop_signal=args.stop_signal,
        author=args.author,
        created=rfc3339(seconds_of(created, "--created")) if created else created,
        platform=Platform.parse(args.set_platform) if args.set_platform else None,
    )
