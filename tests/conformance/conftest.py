"""The suites are in distore.testing, where pytest would not explain a failed assertion by itself."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "distore.testing.content_blobs",
    "distore.testing.content_ingests",
    "distore.testing.content_writing",
    "distore.testing.image_suite",
    "distore.testing.lease_suite",
    "distore.testing.namespace_content",
    "distore.testing.namespace_contract",
    "distore.testing.namespace_suite",
    "distore.testing.remote_suite",
    "distore.testing.repository_blobs",
    "distore.testing.repository_contract",
    "distore.testing.repository_manifests",
    "distore.testing.repository_sharing",
    "distore.testing.snapshot_contents",
    "distore.testing.snapshot_suite",
)
