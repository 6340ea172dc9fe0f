"""RepositorySuite: the contract of repositories.py, one test a sentence.

Subclass it and give the fixtures that ``RepositoryContract`` declares. Nothing in the suite knows how
records are kept.
"""

from __future__ import annotations

from distore.testing.repository_blobs import RepositoryBlobs
from distore.testing.repository_manifests import RepositoryManifests
from distore.testing.repository_sharing import RepositorySharing


class RepositorySuite(RepositoryBlobs, RepositoryManifests, RepositorySharing):
    """The whole contract but what a collector does meanwhile."""
