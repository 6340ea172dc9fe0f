"""EndName: what people type as the source or the destination of a copy."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from distore.errors import InvalidArgument
from distore.oci.reference import Reference

FORMS: Final = (
    "docker://REF or REF, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF] or store:REF"
)
MAX_PATH: Final = 4096  # bytes (Linux, PATH_MAX)
_MAX_NAME: Final = 512  # characters of the name of an image within a layout
_SHOWN: Final = 80  # characters of a bad name that a message repeats
# image-spec, annotations.md: ref.name; a little wider, for a tag may begin and end with _ . -
_NAME: Final = re.compile(r"[A-Za-z0-9._:@/+-]+")
_REGISTRY: Final = "docker://"
# Other programs' ends. `dir:x` would parse as an image of that name, which nobody means.
_FOREIGN: Final = frozenset(
    ("atomic", "containers-storage", "dir", "docker-daemon", "ostree", "sif", "tarball")
)


class Kind(enum.StrEnum):
    """What an end is; the value is the word before the colon."""

    REGISTRY = "docker"
    STORE = "store"
    LAYOUT = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndName:
    """One end of a copy; ``parse`` makes it of what people type.

    ``path`` is the folder of a layout or the file of an archive, as typed. ``name`` is the image
    within a layout or an OCI archive, ``reference`` the image in a registry, in the store, or
    within a docker archive. What an end does not have is None.
    """

    kind: Kind
    path: str | None = None
    name: str | None = None
    reference: Reference | None = None

    @classmethod
    def parse(cls, text: str) -> EndName:
        """Parse.

        The first colon behind the kind ends the path, as skopeo has it, so that the rest may be
        a whole reference: ``oci:folder:redis:7``. A path with a colon cannot be named.

        Raises:
            InvalidArgument: None of FORMS; one line that lists them or says what is wrong.
        """
        word, colon, rest = text.partition(":")
        if text.startswith(_REGISTRY):
            return cls(kind=Kind.REGISTRY, reference=_reference(text, text.removeprefix(_REGISTRY)))
        if colon and word == Kind.STORE:
            return cls(kind=Kind.STORE, reference=_reference(text, rest))
        if colon and word in (Kind.LAYOUT, Kind.OCI_ARCHIVE, Kind.DOCKER_ARCHIVE):
            return _within(text, Kind(word), rest)
        if (colon and word in _FOREIGN) or "://" in text or text.startswith(("/", "./", "../")):
            raise _bad(text, "not an end that is known")
        return cls(kind=Kind.REGISTRY, reference=_reference(text, text))

    def __str__(self) -> str:
        if self.path is None:
            return f"{self.kind}:{'//' if self.kind is Kind.REGISTRY else ''}{self.reference}"
        inner = self.name or self.reference
        return f"{self.kind}:{self.path}" + (f":{inner}" if inner else "")


def _within(text: str, kind: Kind, rest: str) -> EndName:
    path, colon, inner = rest.partition(":")
    if not path or "\0" in path or len(path.encode(errors="surrogatepass")) > MAX_PATH:
        raise _bad(text, "want a path behind the colon")
    if colon and not inner:
        raise _bad(text, "nothing follows the last colon")
    if not colon:
        return EndName(kind=kind, path=path)
    if kind is not Kind.DOCKER_ARCHIVE:
        if len(inner) > _MAX_NAME or not _NAME.fullmatch(inner):
            raise _bad(text, f"bad image name {_shown(inner)}")
        return EndName(kind=kind, path=path, name=inner)
    reference = _reference(text, inner)
    if reference.digest is not None:
        raise _bad(text, "an image in a docker archive has a tag, not a digest")
    return EndName(kind=kind, path=path, reference=reference)


def _reference(text: str, part: str) -> Reference:
    try:
        return Reference.parse(part)
    except InvalidArgument as error:
        raise _bad(text, str(error)) from error


def _bad(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"end {_shown(text)}: {why}; want {FORMS}")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
