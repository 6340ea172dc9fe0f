"""Htpasswd: names and bcrypt hashes of passwords, as Apache's ``htpasswd -B`` writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import bcrypt

from distore.errors import InvalidArgument
from distore.registry.basic import is_usable

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FILE: Final = 1024 * 1024  # bytes
_MAX_USER: Final = 255  # characters
_MAX_COST: Final = 17  # as htpasswd; one more doubles the time of a check
_USUAL_COST: Final = 10  # of the check for a user that is not there, in a file without entries
# The 22nd character of the salt has two bits to say; bcrypt refuses others.
_HASH: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_RESERVED: Final = ("anonymous", "*")  # what rules call others than users
_KINDS: Final = (("$apr1$", "MD5"), ("{SHA}", "SHA-1"), ("$5$", "SHA-256"), ("$6$", "SHA-512"))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Htpasswd:
    """``hashes`` by name; ``stranger``: the hash that a name without one is checked against."""

    hashes: Mapping[str, bytes]
    stranger: bytes

    @classmethod
    def parse(cls, data: bytes, *, path: str) -> Htpasswd:
        """Of a file.

        Raises:
            InvalidArgument: A line is none, or its hash is not of bcrypt; names the line.
        """
        hashes: dict[str, bytes] = {}
        cost = 0
        try:
            lines = data.decode().splitlines()
        except ValueError as error:
            raise InvalidArgument(f"{path}: not a text in UTF-8") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            where = f"{path}: line {number}"
            user, kept, own = _entry(line, where=where)
            if user in hashes:
                raise InvalidArgument(f"{where}: user {user[:60]!a} is there twice")
            hashes[user] = kept
            cost = max(cost, own)
        return cls(hashes=hashes, stranger=_stranger(cost or _USUAL_COST))

    def proof(self, user: str, /) -> bytes | None:
        """What is kept of a user, another one for another password; None: there is no such user."""
        return self.hashes.get(user)

    def verify(self, user: str, password: str, /) -> bool:
        """Whether it is the password; takes as long for a user that is not there."""
        kept = self.hashes.get(user)
        given = password.encode()
        usable = is_usable(password)
        # One check, whoever asks: the time tells nothing about who has an account.
        right = bcrypt.checkpw(given if usable else b"", self.stranger if kept is None else kept)
        return right and usable and kept is not None


def _entry(line: str, *, where: str) -> tuple[str, bytes, int]:
    user, colon, kept = line.partition(":")
    kept = kept.strip()
    if not colon or not user or len(user) > _MAX_USER or not user.isprintable():
        raise InvalidArgument(f"{where}: want NAME:HASH; htpasswd -B writes such lines")
    if user in _RESERVED or user.startswith("@"):
        raise InvalidArgument(f"{where}: a user cannot be called {user[:60]!a}; rules mean others by that")
    found = _HASH.fullmatch(kept)
    if found is None:
        kind = next((name for prefix, name in _KINDS if kept.startswith(prefix)), "another kind")
        detail = "a damaged bcrypt hash" if kept.startswith("$2") else f"a hash of {kind}"
        raise InvalidArgument(
            f"{where}: user {user[:60]!a} has {detail}, want bcrypt; htpasswd -B FILE NAME makes one"
        )
    cost = int(found[1])
    if not 4 <= cost <= _MAX_COST:
        raise InvalidArgument(f"{where}: user {user[:60]!a}: cost {cost}, want 4 to {_MAX_COST}")
    return user, kept.encode(), cost


def _stranger(cost: int) -> bytes:
    """A hash that no password has: it is well formed, and was made of none."""
    return f"$2b${cost:02d}${'.' * 21}O{'.' * 31}".encode()
