"""ContentSuite: the contract of content/store.py, one test a sentence, for any Store.

Subclass it and give a ``store`` fixture; ``reopen`` gives a second handle on the same store, as
another process has. Nothing in the suite knows which implementation it runs on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distore.testing.content_blobs import BlobSuite
from distore.testing.content_ingests import IngestSuite
from distore.testing.content_writing import WritingSuite

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.testing.content_contract import FullStore


class ContentSuite(WritingSuite, IngestSuite, BlobSuite):
    """The whole contract."""

    @pytest.fixture
    def reopen(self, store: FullStore) -> Callable[[], FullStore]:
        return lambda: store
