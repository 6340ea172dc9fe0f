"""Mismatches between what was promised and what a registry sent, named after the remote object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.errors import DigestMismatch, SizeMismatch

if TYPE_CHECKING:
    from distore.oci.digest import Digest


def wrong_digest(source: str, *, expected: Digest, actual: Digest) -> DigestMismatch:
    """The bytes from ``source`` are not those of ``expected``."""
    error = DigestMismatch(ref=source, expected=expected, actual=actual)
    error.args = (f"{source}: sent other bytes: expected {expected}, got {actual}",)
    return error


def wrong_size(source: str, *, expected: int, actual: int) -> SizeMismatch:
    """``source`` has ``actual`` bytes; for more than can be counted, one more than expected."""
    error = SizeMismatch(ref=source, expected=expected, actual=actual)
    error.args = (f"{source}: has {actual} bytes there, {expected} were promised",)
    return error


def too_long(source: str, *, expected: int) -> SizeMismatch:
    """``source`` goes on after its last byte."""
    error = SizeMismatch(ref=source, expected=expected, actual=expected + 1)
    error.args = (f"{source}: sends more than the {expected} bytes it should have",)
    return error
