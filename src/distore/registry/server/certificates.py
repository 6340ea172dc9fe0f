"""Certificates: the TLS context, made again when its files change."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.server.settings import TlsSettings

_LOOK: Final = 2.0  # seconds between two looks at the files


class Certificates:
    """``context`` is for the next connection; those that are open keep theirs.

    Args:
        monotonic: Seconds.
        say: Told when new files are no good; the old ones go on then.
    Raises:
        InvalidArgument: The files are no good.
    """

    def __init__(
        self, settings: TlsSettings, *, monotonic: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._say = say
        self._seen = self._stamps()
        self._context = _made(settings)
        self._looked = monotonic()

    def context(self) -> ssl.SSLContext:
        """The context as the files are now."""
        now = self._monotonic()
        if now - self._looked >= _LOOK:
            self._looked = now
            seen = self._stamps()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._context = _made(self._settings)
                except InvalidArgument as error:
                    self._say(f"dist: {error}; the certificate stays as it was")
        return self._context

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for path in (self._settings.certificate, self._settings.key, self._settings.client_ca):
            try:
                there = os.stat(path or "")
            except OSError:
                found.append(None)
            else:
                found.append((there.st_ino, there.st_mtime_ns, there.st_size))
        return found


def _made(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    path = settings.certificate
    try:
        # A key with a passphrase would ask on the terminal, where nobody may be.
        context.load_cert_chain(settings.certificate, settings.key, password=lambda: "")
        if settings.client_ca is not None:
            path = settings.client_ca
            context.load_verify_locations(path)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as error:
        both = path if path == settings.client_ca else f"{settings.certificate} and {settings.key}"
        why = error.reason or "not what OpenSSL reads"
        raise InvalidArgument(f"tls: {both}: {why.lower().replace('_', ' ')}") from error
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise InvalidArgument(f"tls: {error.filename or path}: {why}") from error
    return context
