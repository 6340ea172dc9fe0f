"""Records of pax headers: ``length key=value\\n`` (POSIX, pax, "pax Extended Header")."""

from __future__ import annotations

from typing import Final

from distore.errors import DataLoss

SPARSE_MAP: Final = b"GNU.sparse.map"
_PAIRS: Final = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")  # of version 0.0, again and again


def parsed(data: bytes, *, subject: str) -> dict[bytes, bytes]:
    """The records; of those with one key the last counts, but for the pairs of a sparse map.

    Raises:
        DataLoss: They are damaged.
    """
    records: dict[bytes, bytes] = {}
    pairs: list[bytes] = []
    start = 0
    while start < len(data) and data[start]:
        digits, space, _ = data[start : start + 9].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        key, equals, value = data[start + len(digits) + 1 : start + length].partition(b"=")
        if length > len(data) - start or not key or not equals or not value.endswith(b"\n"):
            raise DataLoss(f"{subject}: damaged: bad pax records")
        if key in _PAIRS:
            if key != _PAIRS[len(pairs) % 2]:
                raise DataLoss(f"{subject}: damaged: bad sparse map in pax records")
            pairs.append(value[:-1])
        else:
            records[key] = value[:-1]
        start += length
    if pairs:
        records[SPARSE_MAP] = b",".join(pairs)
    return records


def formatted(records: dict[bytes, bytes]) -> bytes:
    """The bytes of records, in order."""
    return b"".join(_record(key, value) for key, value in sorted(records.items()))


def _record(key: bytes, value: bytes) -> bytes:
    """One record, whose length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
