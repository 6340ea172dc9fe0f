"""What ``dist images inspect``, ``check`` and ``usage`` show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.output import human_size, printable, row, timestamp
from distore.errors import DataLoss, DistoreError, InvalidArgument, NotFound
from distore.images.check import Checker, State
from distore.images.children import has_children, is_attestation
from distore.images.select import ALL, Selection
from distore.oci import mediatypes
from distore.oci.digest import HEX_LENGTHS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from distore.api.images import Images
    from distore.app import App
    from distore.cli.output import Output
    from distore.images.check import Checked, Object
    from distore.images.image import Image
    from distore.images.usage import Usage
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest

_NAME_WIDTH: Final = 40
_FIRST: Final = 12  # the first column of inspect
_CHECK_WIDTHS: Final = (_NAME_WIDTH, 8, 71, 10, 18)
_USAGE_WIDTHS: Final = (_NAME_WIDTH, 8, 8)
_STATES: Final = {
    State.PRESENT: "",
    State.ELSEWHERE: "elsewhere",
    State.MISSING: "missing",
    State.WRONG_SIZE: "wrong size",
    State.DAMAGED: "damaged",
}


def check(args: argparse.Namespace, app: App, images: Images, out: Output) -> None:
    """One line an image; fails when one that was asked for is incomplete."""
    selection = _selection(args)
    checker = Checker(app.content)
    out.header(row(("REF", "TYPE", "DIGEST", "STATUS", "MISSING", "PLATFORMS"), _CHECK_WIDTHS))
    count = incomplete = damaged = 0
    for name, target in _asked(args.image, images, out):
        try:
            checked = checker.check(target, selection)
        except DistoreError as error:
            out.error(error, subject=f"image {name}")
            continue
        count += 1
        incomplete += bool(_lacking(checked, args))
        damaged += checked.is_damaged
        _check_line(name, checked, _lacking(checked, args), out)
    if incomplete:
        text = f"{incomplete} of {count} image{'' if count == 1 else 's'} incomplete"
        out.error(
            DataLoss(f"{text}, {damaged} damaged; dist fsck --repair mends blobs, dist pull brings the rest")
            if damaged
            else NotFound(f"{text}; dist pull brings what is missing")
        )


def inspect(args: argparse.Namespace, app: App, images: Images, out: Output) -> None:
    """The record of an image, and the tree of what is below its root."""
    if len(args.image) != 1:
        raise InvalidArgument("images inspect: want one image")
    image, target = _held(args.image[0], images)
    checked = Checker(app.content).check(target)
    if out.as_json:
        out.record(
            "",
            name=image.name if image else None,
            target=target.to_json(),
            created=image.created if image else None,
            updated=image.updated if image else None,
            labels=dict(image.labels) if image else {},
            complete=checked.is_complete,
            size=checked.size,
            missing=sum(part.lacking for part in checked.missing),
            platforms=list(checked.platforms),
            tree=_tree(checked),
        )
        return
    for name, value in _record(image, checked):
        out.line(f"{name.ljust(_FIRST)} {printable(value)}")
    for line in _lines(checked):
        out.line(printable(line))


def usage(args: argparse.Namespace, app: App, images: Images, out: Output) -> None:
    """One line an image: all bytes, those it shares, its own."""
    from distore.metadata.diskusage import ImageUsages

    usages = ImageUsages(app.metadata, report=lambda name, error: out.error(error, subject=f"image {name}"))
    usage_header(out)
    if not args.image:
        for image in images.values():
            if (found := usages.of(image)) is not None:
                usage_line(image.name, found, out)
        return
    for name, target in _asked(args.image, images, out):
        try:
            usage_line(name, usages.of_target(target), out)
        except DistoreError as error:
            out.error(error, subject=f"image {name}")


def usage_header(out: Output) -> None:
    """The head of the table."""
    out.header(row(("IMAGE", "TOTAL", "SHARED", "UNIQUE"), _USAGE_WIDTHS))


def usage_line(name: str, found: Usage, out: Output, **more: object) -> None:
    """One image; ``more`` are further fields of JSON, which go first."""
    cells = (printable(name), *map(human_size, (found.total, found.shared, found.unique)))
    fields = {"name": name, "total": found.total, "shared": found.shared, "unique": found.unique}
    out.record(row(cells, _USAGE_WIDTHS), **more, **fields)


def _asked(words: list[str], images: Images, out: Output) -> Iterator[tuple[str, Descriptor]]:
    """The images that were named, or all; a bad one is reported."""
    if not words:
        yield from ((image.name, image.target) for image in images.values())
        return
    for text in words:
        try:
            image, target = _held(text, images)
        except DistoreError as error:
            out.error(error)
        else:
            yield image.name if image else text, target


def _held(text: str, images: Images) -> tuple[Image | None, Descriptor]:
    """An image, or what a digest alone stands for."""
    if text.partition(":")[0] in HEX_LENGTHS:
        return None, images.target(text)
    image = images[text]
    return image, image.target


def _selection(args: argparse.Namespace) -> Selection:
    platforms = flags.chosen_platforms(args)
    return Selection(platforms=platforms) if platforms else ALL


def _lacking(checked: Checked, args: argparse.Namespace) -> tuple[Object, ...]:
    """What has to be there and is not."""
    if args.all_platforms:
        return tuple(part for part in checked.objects.values() if not part.is_good)
    return checked.missing


def _check_line(name: str, checked: Checked, lacking: tuple[Object, ...], out: Output) -> None:
    root, size = checked.root, sum(part.lacking for part in lacking)
    blobs = f"{len(lacking)} blob{'' if len(lacking) == 1 else 's'}, {human_size(size)}" if lacking else "-"
    cells = (
        printable(name),
        _kind(root),
        root.digest,
        "incomplete" if lacking else "complete",
        blobs,
        printable(",".join(checked.platforms)) or "-",
    )
    out.record(
        row(cells, _CHECK_WIDTHS),
        name=name,
        media_type=root.media_type,
        digest=root.digest,
        complete=not lacking,
        size=checked.size,
        missing=size,
        missing_blobs=len(lacking),
        platforms=list(checked.platforms),
        absent=[branch.manifest.digest for branch in checked.absent],
        problems=[_problem(part) for part in lacking],
    )


def _problem(part: Object) -> dict[str, object]:
    return {
        "digest": part.descriptor.digest,
        "media_type": part.descriptor.media_type,
        "size": part.descriptor.size,
        "state": part.state,
        "received": part.received,
        "detail": part.detail or None,
    }


def _record(image: Image | None, checked: Checked) -> Iterator[tuple[str, str]]:
    """Names and texts of what comes before the tree."""
    if image:
        yield "name", image.name
        yield "created", timestamp(image.created)
        yield "updated", timestamp(image.updated)
        yield from (("label", f"{key}={value}") for key, value in image.labels.items())
    yield "target", checked.root.digest
    yield "type", checked.root.media_type
    yield from (("annotation", f"{key}={value}") for key, value in checked.root.annotations.items())
    yield "platforms", ",".join(checked.platforms) or "none is whole"
    yield "size", human_size(checked.size)
    if checked.missing:
        size = sum(part.lacking for part in checked.missing)
        yield "missing", f"{len(checked.missing)} of {len(checked.objects)} objects, {human_size(size)}"


def _lines(checked: Checked) -> Iterator[str]:
    """The tree, each object indented below what names it; a document is opened once."""
    depths = _depths(checked)

    def below(kind: str, at: Descriptor, depth: int) -> Iterator[str]:
        yield "  " * depth + _object(kind, at, checked.objects[at.digest])
        if depths.get(at.digest) == depth:
            del depths[at.digest]
            for inner, child in _children(checked, at):
                yield from below(inner, child, depth + 1)

    return below(_kind(checked.root), checked.root, 0)


def _depths(checked: Checked) -> dict[Digest, int]:
    """How many levels below the root each object is at least: a document is opened there, for strangers
    can make a chain of any length whose links the root names, too."""
    depths = {checked.root.digest: 0}
    for digest, found in checked.below.items():  # level by level
        for child in found:
            depths.setdefault(child.digest, depths[digest] + 1)
    return depths


def _object(kind: str, at: Descriptor, part: Object) -> str:
    words = [kind, at.digest, *([str(at.platform)] if at.platform else []), human_size(at.size)]
    if part.state is not State.PRESENT:
        words.append(_STATES[part.state])
    if part.received:
        words.append(f"({human_size(part.received)} received)")
    if part.detail:
        words.append(f"({part.detail})")
    return "  ".join(words)


def _tree(checked: Checked) -> dict[str, object]:
    """The same as nested objects."""
    depths = _depths(checked)

    def node(kind: str, at: Descriptor, depth: int) -> dict[str, object]:
        part = checked.objects[at.digest]
        is_opened = depths.get(at.digest) == depth
        if is_opened:
            del depths[at.digest]
        return {
            "kind": kind,
            "digest": at.digest,
            "media_type": at.media_type,
            "size": at.size,
            "platform": str(at.platform) if at.platform else None,
            "state": part.state,
            "received": part.received,
            "detail": part.detail or None,
            "children": [node(*each, depth + 1) for each in _children(checked, at)] if is_opened else [],
        }

    return node(_kind(checked.root), checked.root, 0)


def _children(checked: Checked, at: Descriptor) -> Iterator[tuple[str, Descriptor]]:
    """What a document names, and what that is to it."""
    is_index = mediatypes.is_index(at.media_type)
    for number, child in enumerate(checked.below.get(at.digest, ())):
        if is_index or has_children(child):
            yield _kind(child), child
        else:
            yield "layer" if number else "config", child


def _kind(at: Descriptor) -> str:
    if mediatypes.is_index(at.media_type):
        return "index"
    if is_attestation(at):
        return "attestation"
    return "manifest" if mediatypes.is_manifest(at.media_type) else "blob"
