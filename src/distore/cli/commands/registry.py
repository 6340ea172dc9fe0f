"""``dist registry``: how a registry is reached, what the rules keep in our own, and who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.output import printable
from distore.errors import InvalidArgument, NotFound, PermissionDenied

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.registry.pruning import Judged
    from distore.remotes.explanation import Explanation

SUMMARY: Final = "how a registry is reached; what the rules of our own keep and allow"
EXAMPLES: Final = (
    "dist registry explain docker.io/library/redis",
    "dist registry explain --offline --json quay.io/team/app",
    "dist registry prune --config serve.toml --dry-run team/app",
    "dist registry prune --config serve.toml && dist gc",
    "dist registry may --config serve.toml ann push team/app",
    "dist registry may --config serve.toml anonymous pull team/app",
)
_ENVIRONMENT: Final = "DIST_SERVE_CONFIG"

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=["explain", "may", "prune"],
        help="explain: every host in order, and what decides about it. prune: carry out the rules of [keep]"
        " on the repositories that dist serve offers, now; it may serve meanwhile. may: whether the rules of"
        " [auth] let a user do something, and which one does; fails when they do not",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="explain: an image or a repository, such as docker.io/library/redis. prune: repositories of"
        " dist serve (default: all). may: a user or anonymous; pull, push or delete; a repository",
    )
    parser.add_argument(
        "--offline", action="store_true", help="explain: ask nobody, only say what would be done"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="prune, may: settings of dist serve, with the rules (default: $DIST_SERVE_CONFIG)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="prune: only say what would stay and go, and why"
    )
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    for flag, whats in (("offline", ("explain",)), ("config", ("prune", "may")), ("dry_run", ("prune",))):
        if getattr(args, flag) and args.what not in whats:
            raise InvalidArgument(f"registry {args.what}: takes no --{flag.replace('_', '-')}")
    {"explain": _explain, "may": _may, "prune": _prune}[args.what](args, app, out)


def _explain(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.oci.reference import Reference

    if len(args.names) != 1:
        raise InvalidArgument("registry explain: want one image or repository")
    reference = Reference.parse(args.names[0], default_tag=None)
    for number, one in enumerate(app.explain(reference, live=not args.offline), start=1):
        lines = [f"{number}  {one.url}", *(f"   {name.ljust(12)} {text}" for name, text in _lines(one))]
        out.record("\n".join(lines), **_fields(one))
        if one.error is not None:
            out.status = out.status or one.error.exit_code


def _may(args: argparse.Namespace, app: App, out: Output) -> None:
    import os

    from distore.registry.gatewords import decide
    from distore.registry.rules import ANONYMOUS
    from distore.registry.server.configuration import read

    path = args.config or os.environ.get(_ENVIRONMENT)
    if not path or len(args.names) != 3:
        raise InvalidArgument("registry may: want --config FILE, a user, an action and a repository")
    user, action, repository = args.names
    known = None if user == ANONYMOUS else user
    allowed, why = decide(read(path, {}).serve.auth, user=known, action=action, repository=repository)
    fields = {"user": known, "action": action, "repository": repository, "allowed": allowed, "rule": why}
    out.record(f"{'yes' if allowed else 'no'}: {printable(why)}", **fields)
    if not allowed:
        out.status = PermissionDenied.exit_code


def _prune(args: argparse.Namespace, app: App, out: Output) -> None:
    import os
    import time
    from dataclasses import replace

    from distore.registry.keepsettings import read_keep
    from distore.registry.pruning import prune

    settings = read_keep(args.config or os.environ.get(_ENVIRONMENT) or None)
    settings = replace(settings, grace=max(settings.grace, app.upkeep.promised()))
    if unknown := [name for name in args.names if not app.repositories.exists(name)]:
        raise NotFound(f"repository {unknown[0]}: not found in {app.content.root}")
    judged = prune(
        app.repositories,
        settings,
        now=time.time(),
        names=args.names or None,
        dry_run=args.dry_run,
    )
    tags = manifests = 0
    for one in judged:
        going = not one.keep if args.dry_run else one.gone
        tags += going and one.tag is not None
        manifests += going and one.tag is None
        if going or args.dry_run:
            _show(one, out, dry_run=args.dry_run)
    blobs = [] if args.names else list(app.upkeep.sweep(grace=settings.grace, dry_run=args.dry_run))
    verb = "would remove" if args.dry_run else "removed"
    out.note(
        f"dist: {verb} {_count(tags, 'tag')}, {_count(manifests, 'manifest')} and"
        f" {_count(len(blobs), 'blob')} that no manifest names"
    )


def _show(one: Judged, out: Output, *, dry_run: bool) -> None:
    verb = "keep" if one.keep else "remove" if dry_run else "removed"
    name = f"{one.repository}:{one.tag}" if one.tag is not None else f"{one.repository}@{one.digest}"
    out.record(
        f"{verb.ljust(7)}  {printable(name)}  {printable(one.reason)}",
        repository=one.repository,
        tag=one.tag,
        digest=one.digest,
        size=one.size,
        keep=one.keep,
        removed=one.gone,
        reason=one.reason,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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
