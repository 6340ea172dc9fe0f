"""``dist version``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "print the version"
EXAMPLES: Final = ("dist version", "dist version --json")


def configure(parser: argparse.ArgumentParser) -> None:
    """No flags of its own."""


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from importlib.metadata import version

    out.record(f"dist {version('distore')}", version=version("distore"))
