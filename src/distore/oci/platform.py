"""Platform: os, architecture and variant of an image, as containerd's platforms package has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FIELD: Final = 255  # characters of any one field
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OS: Final = re.compile(r"([A-Za-z0-9_-]{1,64})(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?")
_ESCAPE: Final = re.compile(r"[^A-Za-z0-9_.-]")
_MAX_TEXT: Final = 1024  # characters
_SHOWN: Final = 80
# fmt: off
_SYSTEMS: Final = frozenset((
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
    "nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos",
))
_ARCHITECTURES: Final = frozenset((
    "386", "amd64", "amd64p32", "arm", "arm64", "armbe", "arm64be", "loong64", "mips", "mipsle", "mips64",
    "mips64le", "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390",
    "s390x", "sparc", "sparc64", "wasm",
))
# fmt: on
# Spellings of uname and of Debian -> (architecture, variant); a variant of None is kept as given.
_ALIASES: Final = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
}
# The variant that goes without saying is "", but for arm, where it is v7.
_VARIANTS: Final = {
    "amd64": {"v1": ""},
    "arm64": {"8": "", "v8": "", "v8.0": "", "9": "v9", "v9.0": "v9"},
    "arm": {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform as a document says it; ``normalized`` is what to compare.

    Empty strings mean "not said", as in the OCI documents.

    Raises:
        InvalidArgument: A field over MAX_FIELD characters, or one that cannot be printed.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in (self.os, self.architecture, self.variant, self.os_version, *self.os_features):
            if len(text) > MAX_FIELD or not text.isprintable():
                raise InvalidArgument(f"platform: bad field {_shown(text)}")

    @classmethod
    def parse(cls, text: str, *, host: Platform | None = None) -> Platform:
        """From ``os``, ``architecture``, ``os/architecture`` or ``os/architecture/variant``, normalised.

        The os may be followed by its version and features, ``windows(10.0.17763+win32k)``, in
        which %XX are unescaped. What a single word leaves open comes from ``host``, or is linux
        and amd64.

        Raises:
            InvalidArgument: Not a platform.
        """
        try:
            return _parse(text, host or cls(os="linux", architecture="amd64")).normalized()
        except InvalidArgument as error:
            raise InvalidArgument(f"platform {_shown(text)}: {error}") from error

    @classmethod
    def host(cls, *, system: str, machine: str) -> Platform:
        """The platform of a machine, from what uname says of it, normalised."""
        return cls(os=system, architecture=machine).normalized()

    @classmethod
    def from_json(cls, document: object) -> Platform:
        """From the ``platform`` object of a descriptor, as it stands there.

        Raises:
            InvalidArgument: A field has the wrong type.
        """
        if not isinstance(document, dict):
            raise InvalidArgument("platform: want a JSON object")
        fields = {}
        for name in ("os", "architecture", "variant", "os.version"):
            value = document.get(name)
            if value is not None and not isinstance(value, str):
                raise InvalidArgument(f"platform: {name} is not a string")
            fields[name.replace(".", "_")] = value or ""
        features = document.get("os.features")
        features = [] if features is None else features
        if not isinstance(features, list) or not all(isinstance(part, str) for part in features):
            raise InvalidArgument("platform: os.features is not a list of strings")
        return cls(**fields, os_features=tuple(features))

    def to_json(self) -> dict[str, object]:
        """As the ``platform`` object of a descriptor, fields in the order of the specification."""
        document: dict[str, object] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            document["os.version"] = self.os_version
        if self.os_features:
            document["os.features"] = list(self.os_features)
        if self.variant:
            document["variant"] = self.variant
        return document

    def normalized(self) -> Platform:
        """The same platform in the spelling that all its spellings share."""
        os = self.os.lower()
        architecture, variant = self.architecture.lower(), self.variant.lower()
        architecture, implied = _ALIASES.get(architecture, (architecture, None))
        variant = variant if implied is None else implied
        return Platform(
            os="darwin" if os == "macos" else os,
            architecture=architecture,
            variant=_VARIANTS.get(architecture, {}).get(variant, variant),
            os_version=self.os_version,
            os_features=tuple(sorted(set(self.os_features))),
        )

    def __str__(self) -> str:
        if not self.os:
            return "unknown"
        options = "".join([_escape(self.os_version), *(f"+{_escape(part)}" for part in self.os_features)])
        os = f"{self.os}({options})" if options else self.os
        return "/".join(part for part in (os, self.architecture, self.variant) if part)


class Only:
    """Matches what a machine of ``platform`` can run, and says which of two suits it better.

    An arm machine runs older variants too, an amd64 one lower levels and 386, an arm64 one lower
    versions and arm.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform.normalized()
        self._choices = _runnable(self.platform.architecture, self.platform.variant)

    def match(self, platform: Platform) -> bool:
        """Whether it runs here."""
        return self.rank(platform) is not None

    def rank(self, platform: Platform) -> int | None:
        """0 for the best choice, larger for worse ones, None when it does not run here."""
        here, there = self.platform, platform.normalized()
        if there.os != here.os or not set(there.os_features) <= set(here.os_features):
            return None
        # Windows wants the same build: the first three of four numbers.
        known = there.os == "windows" and here.os_version and there.os_version
        if known and there.os_version.split(".")[:3] != here.os_version.split(".")[:3]:
            return None
        try:
            return self._choices.index((there.architecture, there.variant))
        except ValueError:
            return None

    def best(self, platforms: Iterable[Platform]) -> list[Platform]:
        """Those that run here, the best first; equals stay in the order they came in."""
        ranked = [(rank, platform) for platform in platforms if (rank := self.rank(platform)) is not None]
        return [platform for _, platform in sorted(ranked, key=lambda pair: pair[0])]


def _runnable(architecture: str, variant: str) -> list[tuple[str, str]]:
    """What a normal architecture and variant run, the best first."""
    own = [(architecture, variant)]
    if architecture == "amd64":
        level = int(variant[1:]) if re.fullmatch(r"v[2-9]", variant) else 1
        return [*own, *_named(architecture, [f"v{n}" for n in range(level - 1, 0, -1)]), ("386", "")]
    if architecture == "arm":
        newest = int(variant[1:]) if re.fullmatch(r"v[5-9]", variant) else 5
        return [*own, *_named(architecture, [f"v{n}" for n in range(newest - 1, 4, -1)])]
    if architecture == "arm64":
        return [*own, *_named(architecture, _older(variant or "v8")), *_runnable("arm", "v8")]
    return [*own, *([(architecture, "")] if variant else [])]


def _older(variant: str) -> list[str]:
    """Versions of arm64 below one: 9.N runs every 9 below and what 8.(N+5) runs; 8 ends at 8.9."""
    found = re.fullmatch(r"v([89])(?:\.([0-9]{1,2}))?", variant)
    if not found:
        return []
    minor = int(found[2] or 0)
    names = [f"v{found[1]}.{n}" for n in range(minor - 1, -1, -1)]
    if found[1] == "9":
        names += [f"v8.{n}" for n in range(min(minor + 5, 9), -1, -1)]
    return names


def _named(architecture: str, variants: Iterable[str]) -> list[tuple[str, str]]:
    known = _VARIANTS[architecture]
    return [(architecture, known.get(variant, variant)) for variant in variants]


def _parse(text: str, host: Platform) -> Platform:
    parts = text.split("/", 3)
    found = _OS.fullmatch(parts[0]) if len(text) <= _MAX_TEXT else None
    if not found or len(parts) > 3 or not all(_WORD.fullmatch(part) for part in parts[1:]):
        raise InvalidArgument("want os/architecture[/variant], such as linux/arm64")
    os, features = found[1], (found[3] or "").split("+")[1:]
    given = Platform(
        os=os,
        architecture=parts[1] if len(parts) > 1 else host.architecture,
        variant=parts[2] if len(parts) > 2 else "" if len(parts) == 2 else host.variant,
        os_version=_unescape(found[2] or ""),
        os_features=tuple(_unescape(part) for part in features),
    )
    if len(parts) > 1 or given.normalized().os in _SYSTEMS:
        return given
    lone = Platform(os=host.os, architecture=os)
    if found[0] != os or lone.normalized().architecture not in _ARCHITECTURES:
        raise InvalidArgument("neither an os nor an architecture that is known")
    return lone


def _escape(text: str) -> str:
    return _ESCAPE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def _unescape(text: str) -> str:
    data = re.sub(r"%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), text)
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise InvalidArgument("% wants two hex digits")
    try:
        return data.encode("latin-1").decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument("what is escaped is not UTF-8") from error


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
