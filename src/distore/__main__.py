"""``python -m distore`` is ``dist``."""

from __future__ import annotations

from distore.cli.main import entry

if __name__ == "__main__":
    entry()
