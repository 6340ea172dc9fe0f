"""``dist edit``: change a copy of a blob in an editor and store the result."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import FailedPrecondition, InvalidArgument
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "change a copy of a blob in an editor and store the result"
EXAMPLES: Final = (
    "dist edit sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa",
    "dist edit --editor 'sed -i s/amd64/arm64/' --json \\\n"
    "    sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa",
)
MAX_EDIT_SIZE: Final = 64 * 1024 * 1024  # bytes; what an editor and a person can still handle


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("digest", type=Digest, help="the blob to start from; it stays as it is")
    parser.add_argument("--editor", help="command to run on the copy (default: $VISUAL, $EDITOR, vi)")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        type=flags.label,
        metavar="KEY=VALUE",
        help="label of the result",
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    import shlex
    import subprocess
    import tempfile

    from distore.content import blobs

    editor = args.editor or os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        command = shlex.split(editor)
    except ValueError as error:
        raise InvalidArgument(f"editor {editor!r}: {error}") from error
    if not command:
        raise InvalidArgument("editor '': want a command")
    data = blobs.read_blob(app.content, args.digest, max_size=MAX_EDIT_SIZE)
    with tempfile.TemporaryDirectory(prefix="dist-edit-") as folder:
        copy = os.path.join(folder, args.digest.encoded[:12])
        with open(copy, "wb") as file:
            file.write(data)
        try:
            status = subprocess.run([*command, copy], check=False).returncode
        except OSError as error:
            raise FailedPrecondition(f"editor {command[0]!r}: {(error.strerror or '').lower()}") from error
        if status:
            raise FailedPrecondition(f"editor {command[0]!r}: exit status {status}; nothing was stored")
        with open(copy, "rb") as file:
            edited = file.read()
    if edited == data:
        out.note("dist: nothing changed")
    digest = blobs.write_blob(app.content, f"edit-{Digest.of(edited)}", edited)
    if args.label:
        info = app.content.info(digest)
        changes = dict(args.label)
        app.content.update(info._replace(labels=changes), *(f"labels.{key}" for key in changes))
    out.record(digest, digest=digest, size=len(edited))
