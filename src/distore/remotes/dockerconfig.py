"""AuthFile: a file with credentials as Docker's config.json and podman's auth.json have them."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translate
from distore.errors import InvalidArgument
from distore.remotes.credentials import TOKEN_USER, Credential, Found, host_name, server_name
from distore.remotes.helpers import Helper, is_helper_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_AUTH_FILE: Final = 1024 * 1024  # bytes
MAX_SECRET: Final = 64 * 1024  # characters
_SCHEMES: Final = ("https://", "http://")
_API_PATHS: Final = ("v1/", "v2/")
# Docker's own login keeps these beside the credential proper, under keys that look like hosts.
_NO_HOST: Final = ("/access-token", "/refresh-token")


class AuthFile:
    """One file as parsed. What is asked about is checked, the rest is nobody's business."""

    def __init__(self, path: str, document: Mapping[str, object]) -> None:
        self.path = path
        self.document = document
        self._auths = _table(document.get("auths"), f"auth file {path}: auths")
        self._helpers = _table(document.get("credHelpers"), f"auth file {path}: credHelpers")

    @property
    def helper_for_all(self) -> Helper | None:
        """``credsStore``.

        Raises:
            InvalidArgument: Not a helper's name.
        """
        return self._helper(self.document.get("credsStore"), "credsStore")

    @property
    def helper_hosts(self) -> tuple[str, ...]:
        """The hosts that have a helper of their own."""
        return tuple(sorted({parse_key(key)[0] for key in self._helpers}))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of ``auths``, as they are spelled."""
        return tuple(self._auths)

    def helper_for(self, host: str) -> Helper | None:
        """The helper for that host alone.

        Raises:
            InvalidArgument: Not a helper's name.
        """
        for key, name in self._helpers.items():
            if parse_key(key) == (host, ""):
                return self._helper(name, f"credHelpers.{_shown(key)}")
        return None

    def below(self, host: str, repository: str) -> Found | None:
        """What the longest key with a path says that ``repository`` is or lies below.

        Raises:
            InvalidArgument: It is damaged; names file and key.
        """
        paths = [
            (path, key)
            for key in self._auths
            for name, path in (parse_key(key),)
            if name == host and path and f"{repository}/".startswith(f"{path}/")
        ]
        longest_first = sorted(paths, key=lambda pair: len(pair[0]), reverse=True)
        return next(self._found(key for _, key in longest_first), None)

    def whole(self, host: str) -> Found | None:
        """What the key of the host itself says.

        Raises:
            InvalidArgument: It is damaged; names file and key.
        """
        return next(self._found(key for key in self._auths if parse_key(key) == (host, "")), None)

    def _found(self, keys: Iterator[str]) -> Iterator[Found]:
        for key in keys:
            credential = _credential(self._auths[key], f"auth file {self.path}: auths.{_shown(key)}")
            if credential is not None:
                yield Found(credential=credential, source=self.path)

    def _helper(self, name: object, key: str) -> Helper | None:
        if name is None or name == "":
            return None
        if not isinstance(name, str) or not is_helper_name(name):
            raise InvalidArgument(f"auth file {self.path}: {key}: want NAME of docker-credential-NAME")
        return Helper(name=name, named_by=self.path)


def load(path: str) -> AuthFile | None:
    """The file, or None when there is none.

    Raises:
        InvalidArgument: Not JSON, or not made as such a file is; names file and key.
        PermissionDenied, DistoreError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_AUTH_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise translate(error, f"auth file {path}") from error
    if len(data) > MAX_AUTH_FILE:
        raise InvalidArgument(f"auth file {path}: larger than {MAX_AUTH_FILE} bytes")
    if not data.strip():
        return AuthFile(path, {})
    try:
        document = json.loads(data)
    except ValueError as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        # Without its cause: a decoder's error has the whole document, secrets and all, in it.
        raise InvalidArgument(f"auth file {path}: not JSON{where}") from None
    except RecursionError:
        raise InvalidArgument(f"auth file {path}: nested too deep") from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"auth file {path}: want one JSON object")
    return AuthFile(path, document)


def parse_key(key: str) -> tuple[str, str]:
    """Host and repository path (or nothing) of a key.

    Docker's keys are hosts, or URLs whose path means nothing; podman's are hosts or
    ``HOST/NAMESPACE/REPOSITORY``.
    """
    scheme = next((scheme for scheme in _SCHEMES if key.lower().startswith(scheme)), "")
    host, _, path = key[len(scheme) :].partition("/")
    if path in _API_PATHS or (scheme and not f"/{path}".endswith(_NO_HOST)):
        path = ""
    return host_name(host), path.strip("/")


def spelled(host: str, path: str) -> str:
    """The key to write: one that Docker and podman both find."""
    return f"{host}/{path}" if path else server_name(host)


def entry_of(credential: Credential) -> dict[str, str]:
    """The value to write under a key, as Docker does."""
    secret = "" if credential.identity_token else credential.secret or ""
    pair = f"{credential.username}:{secret}".encode()
    entry = {"auth": base64.b64encode(pair).decode()}
    if credential.identity_token:
        entry["identitytoken"] = credential.identity_token
    return entry


def _credential(value: object, where: str) -> Credential | None:
    """None for an entry without a secret: Docker leaves those where a helper has it."""
    entry = _table(value, where)
    username, secret = _text(entry, "username", where), _text(entry, "password", where)
    token = _text(entry, "identitytoken", where)
    if auth := _text(entry, "auth", where):
        username, secret = _decoded(auth, f"{where}.auth")
    if ":" in username:
        raise InvalidArgument(f"{where}.username: a user name has no colon")
    if token:
        return Credential(username=username or TOKEN_USER, secret=secret or None, identity_token=token)
    if username and secret:
        return Credential(username=username, secret=secret)
    return None


def _decoded(auth: str, where: str) -> tuple[str, str]:
    try:
        username, colon, secret = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        # Without its cause: a decoder's error has the bytes in it.
        raise InvalidArgument(f"{where}: want base64 of USER:PASSWORD")
    return username, secret.strip("\0")


def _table(value: object, where: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"{where}: want a JSON object")
    return value


def _text(entry: Mapping[str, object], name: str, where: str) -> str:
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_SECRET:
        raise InvalidArgument(f"{where}.{name}: want a string of up to {MAX_SECRET} characters")
    return value


def _shown(key: str) -> str:
    return ascii(key[:120])
