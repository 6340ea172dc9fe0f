"""Pulling: the command lines that get an image from here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from distore.registry.pages.markup import Html, el

if TYPE_CHECKING:
    from distore.registry.message import Request
    from distore.registry.pages.links import Place

_HOST: Final = re.compile(r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_LOOPBACK: Final = re.compile(r"(?:localhost|127\.[0-9.]+|\[::1\])(?::[0-9]+)?")


def pull_lines(request: Request, place: Place, *, image: bool = True) -> Html:
    """How to get what is at ``place`` with each client, as the visitor reaches this server.

    Args:
        image: It can be run; other artifacts are not for container engines.
    """
    host = host_of(request)
    plain = request.scheme != "https"
    foreign = plain and not _LOOPBACK.fullmatch(host)
    reference = f"{host}/{place}"
    last = place.repository.rpartition("/")[2]
    tag = place.name if place.name and not place.is_digest else "latest"
    insecure = " --tls-verify=false" if plain else ""
    lines = [
        ("docker", f"docker pull {reference}"),
        ("podman", f"podman pull{insecure} {reference}"),
        (
            "skopeo",
            f"skopeo copy{insecure and ' --src-tls-verify=false'} docker://{reference} oci:{last}:{tag}",
        ),
        ("ctr", f"ctr images pull{' --plain-http' if plain else ''} {reference}"),
        ("dist", f"dist pull{' --plain-http' if foreign else ''} {reference}"),
    ]
    if not image:
        lines = [
            ("oras", f"oras pull{' --plain-http' if plain else ''} {reference}"),
            *(line for line in lines if line[0] in ("skopeo", "dist")),
        ]
    note = None
    if foreign and image:
        note = el(
            "p",
            "This server speaks plain HTTP: docker wants ",
            el("code", host),
            " among its ",
            el("code", "insecure-registries"),
            ".",
            class_="note",
        )
    return el(
        "section",
        el("h2", "Pull", id="pull"),
        el(
            "dl",
            [
                el(
                    "div",
                    el("dt", name),
                    el("dd", el("code", line, data_copy=line, data_name=f"{name} command")),
                )
                for name, line in lines
            ],
            class_="pull",
        ),
        note,
        aria_labelledby="pull",
    )


def host_of(request: Request) -> str:
    """How the visitor calls this server; a Host that is none is not repeated."""
    host = request.headers.get("host", "")
    return host if len(host) <= 255 and _HOST.fullmatch(host) else "HOST"
