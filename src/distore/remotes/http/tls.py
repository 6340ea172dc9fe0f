"""Trust: which certificates a connection accepts and shows."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace

from distore.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """TLS settings of one server. ``ca`` adds to what the transport trusts anyway."""

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str | None], ...] = ()
    skip_verify: bool = False

    def abroad(self, *, skip_verify: bool) -> Trust:
        """What remains for another server: no client certificate, and its own check."""
        return replace(self, client=(), skip_verify=skip_verify)


def context(trust: Trust, *, ca: str | None) -> ssl.SSLContext:
    """A context for connections under ``trust``.

    Args:
        ca: PEM bundle instead of the system's, or None.
    Raises:
        InvalidArgument: A file is missing or not PEM; names it.
    """
    made = ssl.create_default_context(cafile=None) if ca is None else _with_only(ca)
    for path in trust.ca:
        _load(made, path)
    for certificate, key in trust.client:
        try:
            made.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"client certificate {certificate}: {_why(error)}") from error
    if trust.skip_verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _with_only(ca: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(made, ca)
    return made


def _load(made: ssl.SSLContext, path: str) -> None:
    try:
        made.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidArgument(f"CA file {path}: {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "not a PEM file with certificates"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).lower() or "not usable"


def _no_password() -> str:
    """OpenSSL would ask on the terminal otherwise."""
    raise ValueError("the key is encrypted, and there is no way to give its password")
