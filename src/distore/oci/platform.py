"""Platform: os, architecture and variant of an image, as containerd's platforms package has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OS: Final = re.compile(r"([A-Za-z0-9_.-]{1,64})(?:\(([A-Za-z0-9_.%-]{0,128})\))?")
# fmt: off
_SYSTEMS: Final = frozenset((
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
    "netbsd", "openbsd", "plan9", "solaris", "windows", "zos",
))
_ARCHITECTURES: Final = frozenset((
    "386", "amd64", "arm", "arm64", "armbe", "arm64be", "loong64", "mips", "mipsle", "mips64",
    "mips64le", "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390",
    "s390x", "sparc", "sparc64", "wasm",
))
# fmt: on
# uname and other spellings -> (architecture, variant)
_ALIASES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform in normal form. Empty strings mean "not said", as in the OCI documents."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        os = {"macos": "darwin"}.get(self.os.lower(), self.os.lower())
        architecture, variant = _normal(self.architecture, self.variant)
        object.__setattr__(self, "os", os)
        object.__setattr__(self, "architecture", architecture)
        object.__setattr__(self, "variant", variant)

    @classmethod
    def parse(cls, text: str, *, host: Platform | None = None) -> Platform:
        """From ``os``, ``architecture``, ``os/architecture`` or ``os/architecture/variant``.

        ``os(version)`` gives the os version; %XX in it are unescaped. What a single word leaves
        open comes from ``host``, or is linux and amd64.

        Raises:
            InvalidArgument: Not a platform.
        """
        host = host or cls(os="linux", architecture="amd64")
        shown = ascii(text[:80])
        parts = text.split("/")
        if len(parts) > 3:
            raise InvalidArgument(f"platform {shown}: want os/architecture[/variant]")
        found = _OS.fullmatch(parts[0])
        if not found or not all(_WORD.fullmatch(part) for part in parts[1:]):
            raise InvalidArgument(f"platform {shown}: want os/architecture[/variant], such as linux/arm64")
        os, version = found[1], _unescape(found[2] or "")
        if len(parts) > 1:
            return cls(
                os=os, architecture=parts[1], variant=parts[2] if len(parts) == 3 else "", os_version=version
            )
        if os.lower() in _SYSTEMS or os.lower() == "macos":
            return cls(os=os, architecture=host.architecture, variant=host.variant, os_version=version)
        if _normal(os, "")[0] in _ARCHITECTURES:
            return cls(os=host.os, architecture=os)
        raise InvalidArgument(f"platform {shown}: neither an os nor an architecture that is known")

    @classmethod
    def host(cls, *, system: str, machine: str) -> Platform:
        """The platform of a machine, from what uname says of it."""
        return cls(os=system, architecture=machine)

    @classmethod
    def from_json(cls, document: object) -> Platform:
        """From the ``platform`` object of a descriptor.

        Raises:
            InvalidArgument: A field has the wrong type.
        """
        if not isinstance(document, dict):
            raise InvalidArgument("platform: want a JSON object")
        fields = {}
        for name in ("os", "architecture", "variant", "os.version"):
            value = document.get(name, "")
            if not isinstance(value, str):
                raise InvalidArgument(f"platform: {name} is not a string")
            fields[name.replace(".", "_")] = value
        features = document.get("os.features") or []
        if not isinstance(features, list) or not all(isinstance(part, str) for part in features):
            raise InvalidArgument("platform: os.features is not a list of strings")
        return cls(**fields, os_features=tuple(features))

    def to_json(self) -> dict[str, object]:
        """As the ``platform`` object of a descriptor."""
        document: dict[str, object] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            document["os.version"] = self.os_version
        if self.os_features:
            document["os.features"] = list(self.os_features)
        if self.variant:
            document["variant"] = self.variant
        return document

    def __str__(self) -> str:
        version = f"({_escape(self.os_version)})" if self.os_version else ""
        return "/".join(part for part in (self.os + version, self.architecture, self.variant) if part)


class Only:
    """Matches what a machine of ``platform`` can run, and says which of two suits it better.

    An arm machine runs older variants too, an amd64 one lower levels and 386, an arm64 one arm.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._choices = tuple(_runnable(platform))

    def match(self, platform: Platform) -> bool:
        """Whether it runs here."""
        return self.rank(platform) is not None

    def rank(self, platform: Platform) -> int | None:
        """0 for the best choice, larger for worse ones, None when it does not run here."""
        if platform.os != self.platform.os:
            return None
        wanted = self.platform.os_version
        # Windows wants the same build: the first three of four numbers.
        known = platform.os == "windows" and wanted and platform.os_version
        if known and platform.os_version.split(".")[:3] != wanted.split(".")[:3]:
            return None
        try:
            return self._choices.index((platform.architecture, platform.variant))
        except ValueError:
            return None

    def best(self, platforms: Iterable[Platform]) -> list[Platform]:
        """Those that run here, the best first."""
        ranked = [(rank, platform) for platform in platforms if (rank := self.rank(platform)) is not None]
        return [platform for _, platform in sorted(ranked, key=lambda pair: pair[0])]


def _runnable(platform: Platform) -> list[tuple[str, str]]:
    architecture, variant = platform.architecture, platform.variant
    if architecture == "amd64":
        level = int(variant[1:]) if re.fullmatch(r"v[2-9]", variant) else 1
        levels = [("amd64", f"v{n}") for n in range(level, 1, -1)]
        return [*levels, ("amd64", ""), ("386", "")]
    if architecture == "arm":
        newest = int(variant[1:]) if re.fullmatch(r"v[5-9]", variant) else 7
        return [("arm", f"v{n}") for n in range(newest, 4, -1)]
    if architecture == "arm64":
        own = [("arm64", variant)] if variant else []
        return [*own, ("arm64", ""), *(("arm", f"v{n}") for n in range(8, 4, -1))]
    return [(architecture, variant), *([(architecture, "")] if variant else [])]


def _normal(architecture: str, variant: str) -> tuple[str, str]:
    architecture, variant = architecture.lower(), variant.lower()
    if architecture in _ALIASES:
        architecture, implied = _ALIASES[architecture]
        variant = variant or implied
    if architecture == "amd64" and variant == "v1":
        variant = ""
    if architecture == "arm64" and variant in ("8", "v8", "v8.0"):
        variant = ""
    if architecture == "arm":
        variant = {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"}.get(variant, variant)
    return architecture, variant


def _escape(text: str) -> str:
    return "".join(char if re.fullmatch(r"[A-Za-z0-9_.-]", char) else f"%{ord(char):02X}" for char in text)


def _unescape(text: str) -> str:
    return re.sub(r"%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), text)
