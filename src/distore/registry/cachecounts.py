"""CacheCounts: what a cache counts for ``/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distore.registry.metrics import Metrics

HIT: Final = "hit"  # it was here
MISS: Final = "miss"  # it came from an upstream
STALE: Final = "stale"  # it was here, and the upstream could not say whether it is still so
ABSENT: Final = "absent"  # the upstream has it not, or does not give it
FAILED: Final = "failed"  # the upstream does not answer


class CacheCounts:
    """Safe to use from any thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._requests = metrics.counter(
            "distore_cache_requests_total", "Requests for what is a copy of an upstream's", ("result",)
        )
        self._bytes = metrics.counter(
            "distore_cache_upstream_bytes_total", "Bytes of blobs received from upstreams"
        )
        self._evicted = metrics.counter("distore_cache_evicted_bytes_total", "Bytes of copies given up")

    def answered(self, result: str) -> None:
        """One request: HIT, MISS, STALE, ABSENT or FAILED."""
        self._requests.add(1, result)

    def received(self, size: int) -> None:
        """Bytes of a blob from an upstream."""
        self._bytes.add(size)

    def evicted(self, size: int) -> None:
        """Bytes that are offered no more."""
        self._evicted.add(size)
