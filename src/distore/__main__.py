"""``python -m distore`` is ``dist``."""

from __future__ import annotations

import sys

from distore.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
