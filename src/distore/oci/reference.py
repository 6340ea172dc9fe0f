"""Reference: the name of an image, normalised the way Docker does it.

``redis`` is ``docker.io/library/redis:latest``. The rules are those of distribution/reference:
the first component is a host when it has a dot or a colon, is ``localhost``, or is not lower case.
Every check is linear in the length of the text; nothing here backtracks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from distore.errors import InvalidArgument
from distore.oci.digest import Digest

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
OFFICIAL: Final = "library/"
MAX_NAME_LENGTH: Final = 255  # characters of domain and path together
_MAX_LENGTH: Final = MAX_NAME_LENGTH + 1 + 128 + 1 + 8 + 128  # :tag, @algorithm:hex
_SHOWN: Final = 80

_ALIASES: Final = {"index.docker.io": DEFAULT_DOMAIN, "registry-1.docker.io": DEFAULT_DOMAIN}
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_IPV6: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_COMPONENT_CHARS: Final = re.compile(r"[a-z0-9._-]+")
_SEPARATORS: Final = re.compile(r"\.|__?|-+")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A validated image reference. ``domain`` may have a port; ``path`` is the repository."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_tag: str | None = DEFAULT_TAG) -> Reference:
        """Parse and normalise.

        Args:
            default_tag: The tag when there is neither tag nor digest; None leaves it open.
        Raises:
            InvalidArgument: Not a reference; one line that says why.
        """
        shown = ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
        try:
            return _parse(text, default_tag)
        except InvalidArgument as error:
            raise InvalidArgument(f"reference {shown}: {error}") from error

    @property
    def name(self) -> str:
        """Domain and path: ``docker.io/library/redis``."""
        return f"{self.domain}/{self.path}"

    @property
    def object(self) -> str | None:
        """What a registry is asked for: the digest if there is one, else the tag."""
        return self.digest or self.tag

    @property
    def familiar(self) -> str:
        """The short form that people type: ``redis:latest``."""
        path = self.path
        if self.domain == DEFAULT_DOMAIN:
            return path.removeprefix(OFFICIAL) + self._suffix()
        return str(self)

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return tag + (f"@{self.digest}" if self.digest else "")


def _parse(text: str, default_tag: str | None) -> Reference:
    if not text:
        raise InvalidArgument("it is empty")
    if len(text) > _MAX_LENGTH:
        raise InvalidArgument(f"it has {len(text)} characters, the limit is {_MAX_LENGTH}")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidArgument("it has a character that no reference has")
    if "://" in text:
        raise InvalidArgument("leave out the scheme, such as https://")
    rest, at, encoded = text.partition("@")
    digest = Digest(encoded) if at else None
    domain, path = _split_domain(rest)
    tag = None
    if ":" in path:
        path, _, tag = path.partition(":")
        if not _TAG.fullmatch(tag):
            raise InvalidArgument(f"bad tag {tag[:_SHOWN]!r}")
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    _check_path(path)
    if len(domain) + 1 + len(path) > MAX_NAME_LENGTH:
        raise InvalidArgument(f"the name is over {MAX_NAME_LENGTH} characters")
    if re.fullmatch(r"[0-9a-f]{64}", text):
        raise InvalidArgument("64 hex characters are an identifier, not a name; did you mean sha256:...?")
    if tag is None and digest is None:
        tag = default_tag
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    is_domain = "." in first or ":" in first or first == "localhost" or first.lower() != first
    if not slash or not is_domain:
        return DEFAULT_DOMAIN, text
    _check_domain(first)
    return _ALIASES.get(first, first), rest


def _check_domain(domain: str) -> None:
    host, port = domain, ""
    if domain.startswith("["):
        end = domain.find("]") + 1
        host, port = domain[:end], domain[end:]
        good = bool(_IPV6.fullmatch(host)) and (not port or port.startswith(":"))
        port = port[1:] if port else "0"
    else:
        host, colon, port = domain.partition(":")
        port = port if colon else "0"
        good = all(_LABEL.fullmatch(label) for label in host.split("."))
    if not good or not (port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        raise InvalidArgument(f"bad host {domain[:_SHOWN]!r}")


def _check_path(path: str) -> None:
    if path.lower() != path:
        raise InvalidArgument("the repository must be lower case")
    for component in path.split("/"):
        if not _COMPONENT_CHARS.fullmatch(component):
            raise InvalidArgument(f"bad repository component {component[:_SHOWN]!r}")
        # What is left between the separators must never be empty: no separator leads, ends or doubles.
        if not all(_SEPARATORS.split(component)):
            raise InvalidArgument(f"bad repository component {component[:_SHOWN]!r}")
