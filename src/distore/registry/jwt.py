"""JSON Web Tokens: signed with a key, and believed only when everything about them is right (RFC 7519)."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError

from distore.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distore.registry.jwtkeys import SigningKey, VerifyingKey

MAX_TOKEN: Final = 16 * 1024  # characters
_MAX_HEADER: Final = 2 * 1024  # characters
_MAX_TIME: Final = 10**12  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a token must say.

    Args:
        kind: Its ``typ``; None: any, or none.
        algorithms: That may sign it.
        leeway: Seconds that the clock of whoever signed may be off.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    leeway: float = 0.0
    kind: str | None = None


def signed(claims: Mapping[str, object], key: SigningKey, *, kind: str) -> str:
    """A token with ``claims``."""
    header = {"kid": key.kid, "typ": kind}
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return PyJWS().encode(payload, key.key, algorithm=key.algorithm, headers=header)


def claims_of(token: str, keys: Sequence[VerifyingKey], wanted: Wanted, *, now: float) -> dict[str, Any]:
    """What a token says that one of ``keys`` proves and that holds now.

    Raises:
        Unauthenticated: It is none, or does not hold; nothing in the message is of the token.
    """
    if len(token) > MAX_TOKEN or token.count(".") != 2:
        raise Unauthenticated("token: not a signed JSON Web Token")
    header = _header(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in wanted.algorithms:
        raise Unauthenticated("token: signed with an algorithm that is not allowed")
    if "crit" in header or "b64" in header:
        raise Unauthenticated("token: wants something that is not known here")
    if wanted.kind is not None and header.get("typ") != wanted.kind:
        raise Unauthenticated("token: of another kind")
    # A key in the header (jwk, jku, x5c, x5u) is the word of whoever made the token: never looked at.
    for key in _fitting(keys, algorithm=algorithm, kid=kid):
        claims = _proved(token, key, algorithm)
        if claims is not None:
            _check(claims, wanted, now=now)
            return claims
    raise Unauthenticated("token: no key that is known here has signed it")


def _fitting(keys: Sequence[VerifyingKey], *, algorithm: object, kid: object) -> list[VerifyingKey]:
    """Those that may have signed it: of its name, or without one, and for its algorithm."""
    fitting = [key for key in keys if algorithm in key.algorithms]
    named = [key for key in fitting if key.kid is not None and key.kid == kid]
    return named or [key for key in fitting if key.kid is None or kid is None]


def _proved(token: str, key: VerifyingKey, algorithm: str) -> dict[str, Any] | None:
    try:
        payload = PyJWS().decode(token, key=key.key, algorithms=[algorithm])
        claims = json.loads(payload)
    except (PyJWTError, ValueError, TypeError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _header(token: str) -> dict[str, Any]:
    text = token.partition(".")[0]
    try:
        if len(text) > _MAX_HEADER:
            raise ValueError
        header = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError) as error:
        raise Unauthenticated("token: not a signed JSON Web Token") from error
    if not isinstance(header, dict) or not isinstance(header.get("alg"), str):
        raise Unauthenticated("token: not a signed JSON Web Token")
    return header


def _check(claims: Mapping[str, Any], wanted: Wanted, *, now: float) -> None:
    ends = _time(claims, "exp")
    if ends is None:
        raise Unauthenticated("token: does not say when it ends")
    if now >= ends + wanted.leeway:
        raise Unauthenticated("token: has ended")
    for name in ("nbf", "iat"):
        begins = _time(claims, name)
        if begins is not None and now < begins - wanted.leeway:
            raise Unauthenticated("token: does not hold yet")
    if claims.get("iss") != wanted.issuer:
        raise Unauthenticated("token: of another issuer")
    audience = claims.get("aud")
    if wanted.audience not in (audience if isinstance(audience, list) else [audience]):
        raise Unauthenticated("token: for another service")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    # Written so that NaN and numbers no float can hold are refused, too.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _MAX_TIME:
        raise Unauthenticated("token: a time in it is none")
    return float(value)
