"""ConfigChanges: what an image runs and says about itself, set and removed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from distore.errors import FailedPrecondition, InvalidArgument
from distore.transfer.mutate_image import Draft, as_list, as_object, changed_texts, with_value
from distore.transfer.newimage import DOCKER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distore.oci.platform import Platform

_PORT: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?")
_MAX_PORT: Final = 65535
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChanges:
    """What to change in a config; None, or nothing in a collection, leaves it as it is.

    Args:
        env: Variables and values in order; a value of None removes one.
        labels: An empty value removes one.
        entrypoint: Its words; none remove it. Another entrypoint removes the command as well, which
            was that of the old one, unless there is a new one.
        cmd: Its words; none remove it.
        user, workdir, stop_signal, author: "" removes it.
        ports: To add, such as ``80/tcp``; a number alone is tcp.
        volumes: Paths to add.
        created: RFC 3339, or "" to remove it.
        platform: The platform that the image is said to be for.
    Raises:
        InvalidArgument: A variable without a name, or no port.
    """

    env: tuple[tuple[str, str | None], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    user: str | None = None
    workdir: str | None = None
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str | None = None
    author: str | None = None
    created: str | None = None
    platform: Platform | None = None

    def __post_init__(self) -> None:
        for name, value in self.env:
            if not name or "=" in name or "\0" in name + (value or ""):
                raise InvalidArgument(f"variable {name[:_SHOWN]!r}: want NAME=VALUE")
        for port in self.ports:
            port_key(port)

    def __bool__(self) -> bool:
        """Whether anything is to be changed."""
        return self != ConfigChanges()


def port_key(text: str) -> str:
    """A port as a config names it: ``80/tcp``.

    Raises:
        InvalidArgument: None.
    """
    found = _PORT.fullmatch(text)
    numbers = [int(digits) for digits in found.groups()[:2] if digits] if found else []
    if not found or any(not 0 < number <= _MAX_PORT for number in numbers) or numbers != sorted(numbers):
        raise InvalidArgument(f"port {text[:_SHOWN]!r}: want a port such as 80, 80/udp or 8000-8010/tcp")
    return text if found[3] else f"{text}/tcp"


def configured(draft: Draft, changes: ConfigChanges) -> Draft:
    """The image with its config changed.

    Raises:
        InvalidArgument: The config has something else where a list or an object should be.
    """
    config = dict(draft.config)
    old = as_object(config.get("config"), draft.subject)
    own = _container(old, changes, draft.subject)
    if own != old:
        config["config"] = own
    for key, text in (("author", changes.author), ("created", changes.created)):
        if text is not None:
            config = with_value(config, key, text)
    if changes.platform is not None:
        config = _on(config, changes.platform)
        return replace(draft, config=config, platform=changes.platform)
    return replace(draft, config=config)


def annotated(draft: Draft, annotations: Mapping[str, str]) -> Draft:
    """The image with annotations of its manifest changed; an empty text removes one.

    Raises:
        FailedPrecondition: An image of docker's media types, which have none.
    """
    manifest = changed_texts(draft.manifest, "annotations", annotations.items(), draft.subject)
    if manifest != draft.manifest:
        check_flavour(draft.flavour, draft.subject)
    return replace(draft, manifest=manifest)


def check_flavour(flavour: str, subject: str) -> None:
    """Whether such documents have annotations.

    Raises:
        FailedPrecondition: No.
    """
    if flavour == DOCKER:
        raise FailedPrecondition(
            f"{subject}: docker's media types have no annotations; dist convert --oci first"
        )


def _container(own: dict[str, object], changes: ConfigChanges, subject: str) -> dict[str, object]:
    """The part of a config that tells how to run the image."""
    own = with_value(own, "Env", _env(as_list(own.get("Env"), subject), changes.env))
    own = changed_texts(own, "Labels", changes.labels.items(), subject)
    if changes.entrypoint is not None:
        words = list(changes.entrypoint)
        if words != as_list(own.get("Entrypoint"), subject):
            own = with_value(with_value(own, "Entrypoint", words), "Cmd", None)
    if changes.cmd is not None:
        own = with_value(own, "Cmd", list(changes.cmd))
    texts = (("User", changes.user), ("WorkingDir", changes.workdir), ("StopSignal", changes.stop_signal))
    for key, text in texts:
        if text is not None:
            own = with_value(own, key, text)
    for key, names in (
        ("ExposedPorts", [port_key(text) for text in changes.ports]),
        ("Volumes", changes.volumes),
    ):
        there = as_object(own.get(key), subject)
        own = with_value(own, key, {**there, **{name: {} for name in names if name not in there}})
    return own


def _env(there: list[object], changes: Iterable[tuple[str, str | None]]) -> list[object]:
    """Variables keep their place; a name that was there twice is there once."""
    for name, value in changes:
        places = [at for at, text in enumerate(there) if str(text).partition("=")[0] == name]
        new = [] if value is None else [f"{name}={value}"]
        if not places:
            there = [*there, *new]
            continue
        rest = [text for at, text in enumerate(there) if at not in places]
        there = [*rest[: places[0]], *new, *rest[places[0] :]]
    return there


def _on(config: dict[str, object], platform: Platform) -> dict[str, object]:
    """Said to be for another platform."""
    told = platform.to_json()
    for key in ("architecture", "os", "variant", "os.version", "os.features"):
        config = with_value(config, key, told.get(key))
    return config
