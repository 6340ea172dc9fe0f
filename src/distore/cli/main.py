"""Parse, run, and turn what happens into an exit status."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, cast

from distore.cli import flags
from distore.cli.commands import ALIASES, VERBS
from distore.cli.output import Output, inert
from distore.errors import DistoreError, InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from distore.app import App

# argparse's own messages stay English, as ours are: looking for a translation imports locale and
# costs 4 ms of every start.
vars(argparse)["_"] = str

INTERNAL_ERROR: Final = 70  # sysexits.h EX_SOFTWARE
INTERRUPTED: Final = 130  # 128 + SIGINT, as a shell reports it
TERMINATED: Final = 143  # 128 + SIGTERM
CLOSED_PIPE: Final = 141  # 128 + SIGPIPE


class Verb(Protocol):
    """What a module of ``commands`` has."""

    SUMMARY: str
    EXAMPLES: tuple[str, ...]

    def configure(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace, app: App, out: Output) -> None: ...


class Terminated(BaseException):
    """SIGTERM, raised in the main thread so that every ``with`` block ends as it should."""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal, found without shutil: that costs 4 ms, and argparse makes one
    formatter for every argument it is given."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_width())


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ours: one line that says how to get help."""

    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(f"{message}; see {self.prog} --help")


def entry() -> NoReturn:
    """``dist`` as a process: run, flush, and end at once.

    Everything durable is done and every ``with`` block is left by now; taking the interpreter
    apart would only cost 6 ms more.
    """
    gc.disable()  # until the verb runs: what is imported stays, and looking through it costs 4 ms
    status = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            status = status or DistoreError.exit_code
    os._exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dist``; the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    _catch_terminate()
    try:
        status = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except DistoreError as error:
        if debug:
            raise
        _say(f"dist: {error}")
        return error.exit_code
    except BrokenPipeError:
        _forget_output()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated:
        return TERMINATED
    except OSError as error:
        if debug:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _say(f"dist: {(error.strerror or str(error)).lower()}{where}")
        return DistoreError.exit_code
    except Exception as error:  # the last line of defence: no traceback for users
        if debug:
            raise
        if ended := _ended_by(error):
            return ended
        line = " ".join(str(error).split())
        _say(f"dist: internal error: {type(error).__name__}: {line}; run with --debug and report it")
        return INTERNAL_ERROR


def _ended_by(error: BaseException) -> int | None:
    """The status of the signal during whose handling ``error`` came up; None: there was none.

    A second signal may hit a thread that waits between two locks, which then complains.
    """
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, KeyboardInterrupt):
            return INTERRUPTED
        if isinstance(at, Terminated):
            return TERMINATED
        at = at.__context__
    return None


def load(name: str) -> Verb:
    """The module of a verb."""
    module = import_module(f"distore.cli.commands.{name.replace('-', '_')}")
    return cast("Verb", module)


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of one verb, with its examples."""
    verb = load(name)
    examples = "".join(f"  {line}\n" for line in verb.EXAMPLES)
    parser = Parser(
        prog=f"dist {name}",
        description=verb.SUMMARY[0].upper() + verb.SUMMARY[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    verb.configure(parser)
    flags.add_common(parser)
    return parser


def _width() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdecimal() and int(columns):
        return int(columns) - 2
    try:
        return os.get_terminal_size(1).columns - 2
    except OSError:
        return 98


def _run(words: list[str]) -> int:
    before, name, rest = _split(words)
    if name is None:
        return _frame(before)
    if name == "help":
        target = next((word for word in rest if not word.startswith("-")), None)
        rest = ["--help"]
        if target is None:
            return _frame(["--help"])
        name = target
    name = ALIASES.get(name, name)
    if name not in VERBS:
        raise NotFound(f"no verb {name[:40]!r}{_suggestion(name)}; dist --help lists them")
    parser = parser_of(name)
    try:
        # Options before the verb count too; intermixed, so that --root may stand anywhere, but where the
        # rest of the line is another program's.
        parse = parser.parse_args if hasattr(load(name), "REST") else parser.parse_intermixed_args
        args = parse([*before, *rest])
    except SystemExit:  # --help
        return 0
    return _act(name, args)


def _act(name: str, args: argparse.Namespace) -> int:
    from distore.app import App
    from distore.config import Config

    out = Output(as_json=args.json)
    verb = load(name)
    config = Config(
        root=flags.root(args.root), command=f"dist {name}", namespace=flags.namespace(args.namespace)
    )
    configured = getattr(verb, "config", None)
    config = configured(config, args) if configured else config
    app = App(config, note=lambda text: out.note(f"dist: {text}"))
    gc.enable()
    try:
        verb.run(args, app, out)
    finally:
        app.close()
    return out.status


def _split(words: list[str]) -> tuple[list[str], str | None, list[str]]:
    """Options before the verb, the verb, and the rest."""
    takes_value = ("-p", "--root", "--path", "--namespace")
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "-":
        at += 2 if words[at] in takes_value else 1
    if at >= len(words):
        return words, None, []
    return words[:at], words[at], words[at + 1 :]


def _frame(options: list[str]) -> int:
    """``dist`` without a verb."""
    out = Output()
    if "--version" in options:
        out.line(version())
        return 0
    if not options or "--help" in options or "-h" in options:
        out.line(overview())
        return 0
    raise InvalidArgument(f"{options[0]}: want a verb; dist --help lists them")


def overview() -> str:
    """What ``dist --help`` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name.ljust(width)}  {summary}" for name, summary in VERBS.items())
    aliases = ", ".join(f"{alias} = {name}" for alias, name in ALIASES.items())
    return (
        "usage: dist [--debug] VERB ...\n\n"
        "A content-addressable store for container images and OCI artifacts.\n\n"
        f"verbs ({aliases}):\n{verbs}\n\n"
        "options:\n"
        "  --root DIR   the store's folder (default: $DIST_ROOT, $CONTAINERD_DIST_CONTENT_STORE, .content)\n"
        "  --namespace NAME\n"
        "               whose blobs and names (default: $DIST_NAMESPACE, $CONTAINERD_NAMESPACE, default)\n"
        "  --json       print one JSON object a line\n"
        "  --debug      show a traceback when something fails\n"
        "  --version    print the version\n\n"
        "examples:\n"
        "  dist pull redis\n"
        "  dist copy redis registry.example/mirror/redis\n"
        "  echo hello | dist ingest greeting\n"
        "  dist VERB --help   has examples for each verb"
    )


def version() -> str:
    """``dist`` and its version."""
    from importlib.metadata import version as installed

    return f"dist {installed('distore')}"


def _suggestion(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, [*VERBS, *ALIASES], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _catch_terminate() -> None:
    import signal

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(inert(text) + "\n")


def _forget_output() -> None:
    """Nobody reads us: keep the interpreter from trying to flush at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
