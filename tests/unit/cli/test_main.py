"""main: what becomes of an error that no verb foresaw."""

from __future__ import annotations

from typing import NoReturn

import pytest

from distore.cli import main as cli
from distore.cli.main import INTERNAL_ERROR, INTERRUPTED, TERMINATED, Terminated, main


@pytest.mark.parametrize(("signal", "status"), [(KeyboardInterrupt, INTERRUPTED), (Terminated, TERMINATED)])
def test_an_error_while_a_signal_is_handled_is_the_end_by_that_signal(
    signal: type[BaseException],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(words: list[str]) -> NoReturn:
        try:
            raise signal
        finally:
            raise RuntimeError("release unlocked lock")

    monkeypatch.setattr(cli, "_run", run)

    assert main(["list"]) == status
    assert capsys.readouterr().err == ""


def test_any_other_error_is_an_internal_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(words: list[str]) -> NoReturn:
        raise RuntimeError("release unlocked lock")

    monkeypatch.setattr(cli, "_run", run)

    assert main(["list"]) == INTERNAL_ERROR
    assert "internal error: RuntimeError: release unlocked lock" in capsys.readouterr().err
