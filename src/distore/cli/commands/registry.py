"""``dist registry explain``: how a registry is reached, and whether it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.output import printable

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.remotes.explanation import Explanation

SUMMARY: Final = "show how a registry is reached, and whether it answers"
EXAMPLES: Final = (
    "dist registry explain docker.io/library/redis",
    "dist registry explain --offline --json quay.io/team/app",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=["explain"], help="explain: every host in order, and what decides about it"
    )
    parser.add_argument("reference", help="an image or a repository, such as docker.io/library/redis")
    parser.add_argument("--offline", action="store_true", help="ask nobody, only say what would be done")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.oci.reference import Reference

    reference = Reference.parse(args.reference, default_tag=None)
    for number, one in enumerate(app.explain(reference, live=not args.offline), start=1):
        lines = [f"{number}  {one.url}", *(f"   {name.ljust(12)} {text}" for name, text in _lines(one))]
        out.record("\n".join(lines), **_fields(one))
        if one.error is not None:
            out.status = out.status or one.error.exit_code


def _fields(one: Explanation) -> dict[str, object]:
    return {
        "host": one.url,
        "decided_by": one.decided_by,
        "capabilities": one.capabilities,
        "namespace": one.namespace,
        "headers": one.headers,
        "user": one.user,
        "source": one.source,
        "verify": one.verify,
        "ca": one.ca,
        "client": one.client,
        "proxy": one.proxy,
        "status": one.status,
        "ms": round(one.seconds * 1000) if one.seconds is not None else None,
        "auth": one.schemes,
        "error": str(one.error) if one.error else None,
    }


def _lines(one: Explanation) -> list[tuple[str, str]]:
    lines = [
        ("decided by", printable(one.decided_by) if one.decided_by else "nothing: the default"),
        ("may", ", ".join(one.capabilities)),
        ("ns", one.namespace or ""),
        ("headers", printable(", ".join(one.headers))),
        ("credential", f"{printable(one.user)}, from {printable(one.source or '')}" if one.user else "none"),
        ("tls", _tls(one)),
        ("proxy", one.proxy or "none"),
    ]
    if one.status is not None:
        wants = f", asks for {' or '.join(one.schemes)}" if one.schemes else ""
        lines.append(("answers", f"{one.status}, in {(one.seconds or 0.0) * 1000:.0f} ms{wants}"))
    lines.append(("error", printable(str(one.error)) if one.error else ""))
    return [(name, text) for name, text in lines if text]


def _tls(one: Explanation) -> str:
    if one.verify is None:
        return "none: plain HTTP"
    system = () if one.only_ca else ("the system's authorities",)
    against = ", ".join((*system, *map(printable, one.ca)))
    text = f"checked against {against}" if one.verify else "certificate not checked"
    return f"{text}; shows {', '.join(map(printable, one.client))}" if one.client else text
