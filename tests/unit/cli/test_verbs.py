"""Every verb is in the table, has help with an example, and completes."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from distore.cli.commands import ALIASES, VERBS
from distore.cli.main import load, main, parser_of

COMMANDS = Path(__file__).parents[3] / "src" / "distore" / "cli" / "commands"


def test_the_table_names_every_module_and_no_other() -> None:
    modules = {path.stem.replace("_", "-") for path in COMMANDS.glob("*.py")} - {"--init--"}

    assert set(VERBS) == modules
    assert set(ALIASES.values()) <= set(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_has_the_summary_of_the_table_and_an_example(name: str) -> None:
    verb = load(name)

    assert VERBS[name] == verb.SUMMARY
    assert verb.EXAMPLES
    assert any(f"dist {name}" in example for example in verb.EXAMPLES)


@pytest.mark.parametrize("name", VERBS)
def test_help_of_a_verb_shows_its_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    by_option = capsys.readouterr().out
    assert main(["help", name]) == 0

    assert capsys.readouterr().out == by_option
    assert "examples:\n  " in by_option
    assert "--root" in by_option


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_dist_alone_shows_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0

    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in VERBS)


def test_every_option_has_a_help_text() -> None:
    for name in VERBS:
        for action in parser_of(name)._actions:
            if action.option_strings:
                assert action.help, f"{name} {action.option_strings}"


@pytest.mark.parametrize(
    ("shell", "check"), [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])]
)
def test_completion_scripts_are_sound(
    shell: str,
    check: list[str],
    peer: Callable[[str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    peer(shell)
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)

    done = subprocess.run([*check, str(script)], capture_output=True, check=False, timeout=30)

    assert (done.returncode, done.stderr) == (0, b"")


def test_bash_completes_verbs_options_and_digests(tmp_path: Path, peer: Callable[[str], str]) -> None:
    dist = tmp_path / "dist"
    dist.write_text(f'#!/bin/sh\nexec {sys.executable} -I -m distore "$@"\n')
    dist.chmod(0o755)
    script = r"""
      source <(./dist completion bash)
      digest=$(echo hello | ./dist ingest r)
      complete_words() {
        COMP_WORDS=(./dist "$@"); COMP_CWORD=$#; COMP_WORDBREAKS=$' \t\n'; COMPREPLY=()
        _dist ./dist; printf '%s\n' "${COMPREPLY[*]}"
      }
      complete_words muta
      complete_words ingest --expected-
      complete_words path "${digest:0:12}"
    """

    done = subprocess.run(
        [peer("bash"), "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.splitlines() == [
        "mutate",
        "--expected-digest --expected-size",
        "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    ]


@pytest.mark.parametrize("name", VERBS)
def test_an_example_names_flags_and_actions_that_the_verb_has(name: str) -> None:
    known = {option for action in parser_of(name)._actions for option in action.option_strings}

    for example in load(name).EXAMPLES:
        words = shlex.split(example.replace("\\\n", " ").replace(";", " |"))
        for part in (list(group) for is_pipe, group in groupby(words, key="|".__eq__) if not is_pipe):
            if part[:2] != ["dist", name]:
                continue
            used = {word.partition("=")[0] for word in part if word.startswith("-") and word != "-"}
            assert used <= known, example


@pytest.mark.parametrize("name", [name for name in VERBS if name != "completion"])
def test_a_flag_that_no_verb_has_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--nonsense"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("dist: ")
    assert f"dist {name} --help" in err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["pull"], "reference"),
        (["push"], "reference"),
        (["copy", "a"], "destination"),
        (["sync", "a"], "destination"),
        (["tags"], "repository"),
        (["catalog"], "registry"),
        (["referrers"], "reference"),
        (["manifest", "get"], "reference"),
        (["blob"], "action"),
        (["push-object", "a"], "digest"),
        (["pull", "a", "--concurrency", "0"], "1 to 64"),
        (["pull", "a", "--limit-rate", "fast"], "fast"),
        (["copy", "a", "store:b", "--min-speed", "-1"], "size '-1'"),
    ],
)
def test_a_word_that_is_missing_or_wrong_is_named(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2

    err = capsys.readouterr().err
    assert part in err
    assert err.count("\n") == 1


def test_an_unforeseen_error_is_one_line_without_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(load("version"), "run", broken)

    assert main(["version"]) == 70
    assert capsys.readouterr().err.startswith(
        "dist: internal error: ZeroDivisionError: two lines; run with --debug"
    )
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "version"])


def test_options_may_stand_before_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "--json", "list"]) == 0
    assert capsys.readouterr().out == ""
