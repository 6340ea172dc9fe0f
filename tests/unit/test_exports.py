"""The public face is a golden list; everything else may change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import distore

GOLDEN = Path(__file__).parents[1] / "golden" / "exports.txt"
ELSEWHERE = {"ContentStore": "Store", "Snapshot": "Info"}  # what they are called at home


def test_the_public_names_are_those_of_the_golden_list() -> None:
    assert distore.__all__ == GOLDEN.read_text().split()


def test_every_public_name_is_there() -> None:
    for name in distore.__all__:
        own = getattr(distore, name).__name__.removeprefix("distore.")
        assert own == ELSEWHERE.get(name, name)
        assert name in dir(distore)


def test_the_protocol_and_the_class_for_people_are_two_things() -> None:
    from distore.content.store import Store as Protocol

    assert distore.ContentStore is Protocol
    assert distore.Store.__module__ == "distore.api.store"


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = distore.nonsense


def test_importing_distore_imports_nothing_else_of_it() -> None:
    script = "import sys, distore; print(*(name for name in sys.modules if name.startswith('distore.')))"

    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == ""
