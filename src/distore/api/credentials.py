"""Credentials that a program has, and after them those of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.errors import InvalidArgument
from distore.remotes.credentials import TOKEN_USER, Credential, FileCredentials, Found, host_name
from distore.remotes.logins import parse_server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class GivenCredentials:
    """Credentials.

    Args:
        given: User name and secret by host; the user ``<token>`` has an identity token.
        files: Where to look for the other hosts.
    Raises:
        InvalidArgument: A key that is no host, or a value that is no pair of texts.
    """

    def __init__(self, given: Mapping[str, tuple[str, str]], files: Sequence[str]) -> None:
        self._given = {_host(key): _found(key, pair) for key, pair in given.items()}
        self._files = FileCredentials(files)

    def credential(self, netloc: str, repository: str, /) -> Found | None:
        return self._given.get(host_name(netloc)) or self._files.credential(netloc, repository)


def _host(key: str) -> str:
    host = parse_server(key)
    if "/" in host:
        raise InvalidArgument(f"credentials of {key[:80]!a}: want HOST[:PORT] alone")
    return host_name(host)


def _found(key: str, pair: tuple[str, str]) -> Found:
    # Never the pair in a message: it holds a secret.
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise InvalidArgument(f"credentials of {key[:80]!a}: want (user, secret)")
    user, secret = pair
    if user == TOKEN_USER:
        credential = Credential(username=user, identity_token=secret)
    else:
        credential = Credential(username=user, secret=secret)
    return Found(credential=credential, source="this program")
