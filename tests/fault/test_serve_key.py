"""The secret that signs tokens: whole or not there, whenever the machine stops."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from distore.registry.jwtkeys import ensure_secret, signing_key
from distore.testing import faults


def test_a_crash_at_any_step_leaves_a_whole_secret_or_none(tmp_path: Path) -> None:
    for number in itertools.count(1):
        path = tmp_path / str(number) / "serve.key"
        with faults.crash_before(number):
            try:
                ensure_secret(str(path), random=os.urandom)
            except faults.Crash:
                pass
            else:
                break
        made = path.read_bytes() if path.exists() else None

        ensure_secret(str(path), random=os.urandom)

        signing_key(path.read_bytes(), path="key")
        assert made in (None, path.read_bytes())
        assert path.stat().st_mode & 0o777 == 0o600
    assert number > 6


def test_its_name_comes_after_its_bytes(tmp_path: Path) -> None:
    with faults.record() as steps:
        ensure_secret(str(tmp_path / "serve.key"), random=os.urandom)

    assert [step.name for step in steps] == ["write", "sync_file", "link", "unlink", "sync_directory"]
