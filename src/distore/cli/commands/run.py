"""``dist run``: a container, in the foreground."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from distore.cli import flags, runflags, unpacked
from distore.errors import CommandNotExecutable, CommandNotFound, NotFound
from distore.oci.digest import HEX_LENGTHS

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.bundle.spec import SpecOptions
    from distore.cli.output import Output
    from distore.cli.unpacked import UnpackedImage
    from distore.metadata.db import Metadata
    from distore.oci.platform import Platform

SUMMARY: Final = "run a container of an image with runc or crun, in the foreground"
EXAMPLES: Final = (
    "dist run alpine",
    "dist run --tty --network host alpine sh",
    "dist run --user nobody --read-only --mount type=bind,src=.,dst=/src,ro alpine ls /src",
    "dist run --keep --name build alpine apk add make",
)
REST: Final = True  # words behind the image are the container's, whatever they look like
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as shells have it

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Options stand before the image. The status is that of the container's process, or 128 and the number"
        " of the signal that ended it. Signals are handed on, and a program without a handler ignores INT and"
        " TERM, as it is process 1: the third one kills it. Without root it runs in a user namespace. It"
        " ends with dist, however that ends; the next dist run or dist gc removes what a killed one left on"
        " the disk."
    )
    parser.add_argument("image", help="an image of the store or of a registry")
    command = parser.add_argument(
        "command", nargs="...", metavar="CMD", help="what to run instead of the image's command"
    )
    command.required = False  # argparse would name it when the image is missing
    parser.add_argument("--name", help="of the container (default: one that is made up)")
    parser.add_argument("-t", "--tty", action="store_true", help="give it a terminal; wants one here")
    runflags.add_spec(parser)
    parser.add_argument(
        "--runtime", metavar="NAME", help="runc, crun or a path (default: the first that is there)"
    )
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument("--rm", action="store_true", help="forget what it wrote when it ends (the default)")
    keep.add_argument("--keep", action="store_true", help="keep what it wrote, for dist commit-rootfs")
    parser.add_argument(
        "--pull",
        choices=("missing", "never"),
        default="missing",
        help="bring the image from its registry when it is not here (default: missing)",
    )
    unpacked.add_flags(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.bundle.runtime import find_runtime

    out.as_json = False  # standard output is the container's
    runtime = find_runtime(args.runtime, path=os.environ.get("PATH"))
    size = runflags.terminal_size() if args.tty else None
    given = args.command[1:] if args.command[:1] == ["--"] else args.command
    maps = None
    if args.rootless or not runflags.is_root():
        maps = runflags.enter_namespace()  # before there are threads, and open files of the store
    name = args.name or os.urandom(6).hex()
    options = runflags.spec_options(
        args,
        command=tuple(given) or None,
        terminal=args.tty,
        console_size=size,
        max_files=runflags.max_files(),
        is_rootless=maps is not None,
        maps=maps,
        cgroups_path=f"/{app.config.namespace}/{name}",
    )
    from distore.cli.runs import clear_left_over

    clear_left_over(app, out)
    try:
        with app.working("run") as metadata:
            image = _image(args, app, metadata, out)
            _note_platform(args.image, image.image.config.platform, out)
            out.status = _run(args, app, image, options, name=name, runtime=runtime)
    except (CommandNotFound, CommandNotExecutable) as error:
        out.error(error)
        out.status = _NOT_FOUND if isinstance(error, CommandNotFound) else _NOT_EXECUTABLE
    if args.keep:
        out.note(f"dist: kept as snapshot run-{name}; dist commit-rootfs makes an image of it")


def _image(args: argparse.Namespace, app: App, metadata: Metadata, out: Output) -> UnpackedImage:
    """The image, unpacked; pulled when it is not here."""
    try:
        return unpacked.unpacked(app, metadata, args.image, args, out, quiet=args.quiet)
    except NotFound:
        is_digest = args.image.partition(":")[0] in HEX_LENGTHS  # which no registry can be asked for
        if args.pull == "never" or is_digest:
            raise
        reference = flags.image(args.image)
    if not args.quiet:
        out.note(f"dist: image {reference}: not in the store, or not all of it; asking its registry")
    from distore.cli.progress import show
    from distore.images.select import Selection
    from distore.transfer.copy import CopyOptions
    from distore.transfer.endname import EndName, Kind

    source, store = (EndName(kind=kind, reference=reference) for kind in (Kind.REGISTRY, Kind.STORE))
    selection = Selection(platforms=(unpacked.platform(args.platform),))
    events = app.copier.copy(source, store, CopyOptions(selection=selection))
    show(events, out, quiet=args.quiet, clock=time.monotonic)
    return unpacked.unpacked(app, metadata, args.image, args, out, quiet=args.quiet)


def _note_platform(name: str, made_for: Platform, out: Output) -> None:
    """Say it before the kernel does, who names neither: an image that is no index is taken as it is."""
    from dataclasses import replace

    from distore.oci.platform import Only

    machine = unpacked.platform(None)
    if not Only(machine).match(replace(made_for, variant="")):
        out.note(f"dist: image {name}: made for {made_for}, and this machine is {machine}; it may not start")


def _run(
    args: argparse.Namespace,
    app: App,
    image: UnpackedImage,
    options: SpecOptions,
    *,
    name: str,
    runtime: str,
) -> int:
    from distore.bundle import running
    from distore.cli.runs import drop

    bundled = runflags.bundled(args.image, image.image)
    key = f"run-{name}"
    record = running.Record(
        runtime=runtime,
        namespace=app.config.namespace,
        snapshotter="" if args.keep else image.snapshotter.name,
        key="" if args.keep else key,
        cgroup="" if options.is_rootless else options.cgroups_path or "",
    )
    fields = {"pid": str(os.getpid()), "command": app.config.command, "image": args.image}
    drop_it = lambda record: drop(app, record)  # noqa: E731 - says what it does
    with running.start(app.content.root, name, drop=drop_it, sleep=time.sleep, fields=fields) as one:
        return running.run(
            one,
            record,
            bundled,
            options,
            mounts=lambda: image.snapshotter.prepare(key, image.image.chain_id, labels=_labels(args)),
            environment=runflags.runtime_environment(),
        )


def _labels(args: argparse.Namespace) -> dict[str, str]:
    from datetime import UTC, datetime

    from distore.bundle.roots import GC_ROOT

    return {GC_ROOT: datetime.now(UTC).isoformat()} if args.keep else {}
