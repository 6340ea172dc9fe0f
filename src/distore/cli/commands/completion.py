"""``dist completion``: a shell completion script, made from the parsers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from distore.cli.commands import ALIASES, VERBS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "print a shell completion script"
EXAMPLES: Final = (
    "dist completion bash > ~/.local/share/bash-completion/completions/dist",
    "dist completion zsh > ~/.zfunc/_dist",
    "dist completion fish > ~/.config/fish/completions/dist.fish",
)
# Verbs whose words are digests of the store, and refs of ingests.
_DIGESTS: Final = ("path", "get", "info", "label", "edit", "delete")
_REFS: Final = ("abort", "commit")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(_SHELLS))


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    out.line(_SHELLS[args.shell]())


def options(name: str) -> Mapping[str, str]:
    """Long options of a verb and their help."""
    from distore.cli.main import parser_of

    found = {}
    for action in parser_of(name)._actions:  # argparse has no public list of them
        for option in action.option_strings:
            if option.startswith("--"):
                found[option] = action.help or ""
    return found


def _bash() -> str:
    names = " ".join([*VERBS, *ALIASES])
    cases = "\n".join(f'    {_pattern(name)}) options="{" ".join(options(name))}" ;;' for name in VERBS)
    return f"""# bash completion for dist
_dist() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} verb= options= words= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in -*) ;; *) verb=${{COMP_WORDS[i]}}; break ;; esac
  done
  if [[ -z $verb ]]; then
    COMPREPLY=($(compgen -W "{names} --help --version --root --json --debug" -- "$word"))
    return
  fi
  case $verb in
{cases}
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
    return
  fi
  case $verb in
    {"|".join([*_DIGESTS, "del", "rm"])}) words=$("$1" list -q 2>/dev/null | head -n 200) ;;
    {"|".join(_REFS)}) words=$("$1" active -q 2>/dev/null | head -n 200) ;;
    *) COMPREPLY=($(compgen -f -- "$word")); return ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  # A digest holds a colon, at which readline breaks words.
  if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
    COMPREPLY=("${{COMPREPLY[@]#"${{word%:*}}:"}}")
  fi
}}
complete -F _dist dist"""


def _pattern(name: str) -> str:
    return "|".join([name, *(alias for alias, verb in ALIASES.items() if verb == name)])


def _zsh() -> str:
    verbs = "\n".join(f"    {_quoted(f'{name}:{summary}')}" for name, summary in VERBS.items())
    flags = {
        name: " ".join(_quoted(f"{option}[{_plain(text)}]") for option, text in options(name).items())
        for name in VERBS
    }
    cases = "\n".join(f"    {_pattern(name)}) flags=({flags[name]}) ;;" for name in VERBS)
    return f"""#compdef dist
_dist() {{
  local -a verbs flags found
  verbs=(
{verbs}
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  case $words[2] in
{cases}
  esac
  case $words[2] in
    {"|".join([*_DIGESTS, "del", "rm"])}) found=(${{(f)"$(dist list -q 2>/dev/null | head -n 200)"}}) ;;
    {"|".join(_REFS)}) found=(${{(f)"$(dist active -q 2>/dev/null | head -n 200)"}}) ;;
  esac
  _arguments $flags '*:word:{{ (( $#found )) && compadd -a found || _files }}'
}}
_dist "$@\""""


def _fish() -> str:
    lines = ["# fish completion for dist", "complete -c dist -f"]
    for name, summary in VERBS.items():
        lines.append(f"complete -c dist -n __fish_use_subcommand -a {name} -d {_quoted(summary)}")
        seen = f"'__fish_seen_subcommand_from {_pattern(name).replace('|', ' ')}'"
        for option, text in options(name).items():
            lines.append(f"complete -c dist -n {seen} -l {option[2:]} -d {_quoted(_plain(text))}")
        if name in _DIGESTS:
            lines.append(f"complete -c dist -n {seen} -a '(dist list -q 2>/dev/null | head -n 200)'")
        if name in _REFS:
            lines.append(f"complete -c dist -n {seen} -a '(dist active -q 2>/dev/null | head -n 200)'")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Help text without what zsh and argparse give a meaning."""
    return " ".join(text.replace("[", "(").replace("]", ")").replace(":", ",").replace("%%", "%").split())


def _quoted(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


_SHELLS: Final[Mapping[str, Callable[[], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
