"""RunConfig: what the config of an image says about running it (image-spec, config.md, "config")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distore.oci.manifest import ImageConfig

MAX_WORDS: Final = 16384  # in one list; an entrypoint has a few, Env of large images a hundred
MAX_WORD: Final = 128 * 1024  # bytes: what execve(2) takes as one word (MAX_ARG_STRLEN)
MAX_NAME: Final = 4096  # bytes of a user, a folder, a signal, a port
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What to run and as whom; "" and () where an image does not say.

    Args:
        env: ``NAME=VALUE``, in the image's order, a name that is there twice included.
        volumes, exposed_ports: The keys alone.
    """

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()


def run_config(config: ImageConfig, *, subject: str) -> RunConfig:
    """The part of an image config that tells how to run it; what else is in there is passed over.

    Args:
        subject: What messages call the image.
    Raises:
        InvalidArgument: A value of another type than the specification has, a NUL in a text, or a
            variable without a name.
        ResourceExhausted: A list or a text over MAX_WORDS, MAX_WORD or MAX_NAME.
    """
    own = config.document.get("config")
    if own is None:
        return RunConfig()
    try:
        if not isinstance(own, dict):
            raise InvalidArgument("config is not an object")
        env = _words(own, "Env")
        for variable in env:
            if variable.find("=") < 1:
                raise InvalidArgument(f"Env: {variable[:_SHOWN]!a} is not NAME=VALUE")
        return RunConfig(
            user=_name(own, "User"),
            env=env,
            entrypoint=_words(own, "Entrypoint"),
            cmd=_words(own, "Cmd"),
            working_dir=_name(own, "WorkingDir"),
            stop_signal=_name(own, "StopSignal"),
            labels=_labels(own),
            volumes=_keys(own, "Volumes"),
            exposed_ports=_keys(own, "ExposedPorts"),
        )
    except InvalidArgument as error:
        raise InvalidArgument(f"{subject}: its config: {error}") from error
    except ResourceExhausted as error:
        raise ResourceExhausted(f"{subject}: its config: {error}") from error


def check_text(text: str, key: str, *, limit: int) -> str:
    """The text, if it can be handed to the system.

    Raises:
        InvalidArgument: A NUL, or half of a character, in it.
        ResourceExhausted: Over ``limit`` bytes.
    """
    if "\0" in text:
        raise InvalidArgument(f"{key}: a NUL in {text[:_SHOWN]!a}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{key}: {text[:_SHOWN]!a} is not Unicode text") from error
    if size > limit:
        raise ResourceExhausted(f"{key}: a text of {size} bytes, the limit is {limit}")
    return text


def _name(own: Mapping[str, object], key: str) -> str:
    value = own.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidArgument(f"{key} is not a string")
    return check_text(value, key, limit=MAX_NAME)


def _words(own: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = own.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidArgument(f"{key} is not a list")
    return _texts(value, key, limit=MAX_WORD)


def _texts(values: Iterable[object], key: str, *, limit: int) -> tuple[str, ...]:
    found = []
    for value in values:
        if not isinstance(value, str):
            raise InvalidArgument(f"{key} is not a list of strings")
        found.append(check_text(value, key, limit=limit))
        if len(found) > MAX_WORDS:
            raise ResourceExhausted(f"{key}: more than {MAX_WORDS} of them")
    return tuple(found)


def _keys(own: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = own.get(key)
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise InvalidArgument(f"{key} is not an object")
    return _texts(value, key, limit=MAX_NAME)


def _labels(own: Mapping[str, object]) -> dict[str, str]:
    value = own.get("Labels")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument("Labels is not an object")
    names = _texts(value, "Labels", limit=MAX_WORD)
    return dict(zip(names, _texts(value.values(), "Labels", limit=MAX_WORD), strict=True))
