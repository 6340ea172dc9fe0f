"""Reference: the name of an image, normalised the way Docker does it.

``redis`` is ``docker.io/library/redis:latest``. The rules are those of distribution/reference:
the first component is a host when it has a dot or a colon, is ``localhost``, or is not lower case.
Every check is linear in the length of the text, which is capped first; nothing here backtracks.
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
MAX_PORT: Final = 65535
_SHOWN: Final = 80  # characters of a bad part that a message repeats
_LEGACY_DOMAIN: Final = "index.docker.io"
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_IPV6: Final = re.compile(r"\[[0-9A-Fa-f:]+\]")
_PORT: Final = re.compile(r":[0-9]{1,5}")
_COMPONENT_CHARS: Final = re.compile(r"[a-z0-9._-]+")
_SEPARATORS: Final = re.compile(r"\.|__?|-+")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A validated image reference in normal form; ``parse`` makes one of anything people type.

    ``domain`` may have a port; ``path`` is the repository.

    Raises:
        InvalidArgument: A part that no reference has, or one that ``parse`` would have changed.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        _check_domain(self.domain)
        _check_path(self.path)
        if len(self.name) > MAX_NAME_LENGTH:
            raise InvalidArgument(f"the name is over {MAX_NAME_LENGTH} characters")
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            raise InvalidArgument(f"bad tag {_shown(self.tag)}")
        short = self.domain == DEFAULT_DOMAIN and "/" not in self.path
        if short or self.domain == _LEGACY_DOMAIN or not _is_domain(self.domain):
            raise InvalidArgument(f"name {_shown(self.name)} is not in normal form")

    @classmethod
    def parse(cls, text: str, *, default_tag: str | None = DEFAULT_TAG) -> Reference:
        """Parse and normalise.

        Args:
            default_tag: The tag when there is neither tag nor digest; None leaves it open.
        Raises:
            InvalidArgument: Not a reference; one line that says why.
        """
        try:
            return _parse(text, default_tag)
        except InvalidArgument as error:
            raise InvalidArgument(f"reference {_shown(text)}: {error}") from error

    @classmethod
    def parse_name(cls, text: str) -> Reference:
        """Parse and normalise a name alone, as ``docker.io/library/redis`` of ``dist fetch``.

        Raises:
            InvalidArgument: Not a name, or one with a tag or digest.
        """
        reference = cls.parse(text, default_tag=None)
        if reference.object is not None:
            raise InvalidArgument(f"reference {_shown(text)}: want a name without tag and digest")
        return reference

    @property
    def name(self) -> str:
        """Domain and path: ``docker.io/library/redis``; what containerd calls the locator."""
        return f"{self.domain}/{self.path}"

    @property
    def object(self) -> str | None:
        """What a registry is asked for: the digest if there is one, else the tag."""
        return self.digest or self.tag

    @property
    def familiar(self) -> str:
        """The short form that people type: ``redis:latest``; it parses to this reference again."""
        short = self.path.removeprefix(OFFICIAL)
        if "/" in short:
            short = self.path
        first, slash, _ = short.partition("/")
        ambiguous = (slash and _is_domain(first)) or _IDENTIFIER.fullmatch(short)
        if self.domain != DEFAULT_DOMAIN or ambiguous:
            return str(self)
        return short + self._suffix()

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
    if _IDENTIFIER.fullmatch(text):
        raise InvalidArgument("64 hex characters are an identifier, not a name; did you mean sha256:...?")
    rest, at, encoded = text.partition("@")
    digest = Digest(encoded) if at else None
    domain, path = _split_domain(rest)
    path, colon, tag = path.partition(":")
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    if not colon and digest is None:
        return Reference(domain=domain, path=path, tag=default_tag)
    return Reference(domain=domain, path=path, tag=tag if colon else None, digest=digest)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or not _is_domain(first):
        return DEFAULT_DOMAIN, text
    return DEFAULT_DOMAIN if first == _LEGACY_DOMAIN else first, rest


def _is_domain(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first.lower() != first


def _check_domain(domain: str) -> None:
    if domain.startswith("["):
        end = domain.find("]") + 1
        host, port = domain[:end], domain[end:]
        good = bool(_IPV6.fullmatch(host))
    else:
        host, colon, port = domain.partition(":")
        port = colon + port
        good = all(_LABEL.fullmatch(label) for label in host.split("."))
    # The length comes first: int() takes time that grows with the square.
    if not good or (port and (not _PORT.fullmatch(port) or int(port[1:]) > MAX_PORT)):
        raise InvalidArgument(f"bad host {_shown(domain)}")


def _check_path(path: str) -> None:
    if len(path) > MAX_NAME_LENGTH:
        raise InvalidArgument(f"the name is over {MAX_NAME_LENGTH} characters")
    if path.lower() != path:
        raise InvalidArgument(f"the repository must be lower case; did you mean {_shown(path.lower())}?")
    for component in path.split("/"):
        # What is left between the separators must never be empty: no separator leads, ends or doubles.
        if not _COMPONENT_CHARS.fullmatch(component) or not all(_SEPARATORS.split(component)):
            raise InvalidArgument(f"bad repository component {_shown(component)}")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
