"""The rules of ``linux.seccomp`` (runtime-spec, config-linux.md, "Seccomp")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.bundle.validating import enum, integer, items, path, strings

if TYPE_CHECKING:
    from distore.bundle.validating import At

# fmt: off
_ACTIONS: Final = frozenset(f"SCMP_ACT_{name}" for name in (
    "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY",
))
_ARCHITECTURES: Final = frozenset(f"SCMP_ARCH_{name}" for name in (
    "X86", "X86_64", "X32", "ARM", "AARCH64", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64",
    "MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390", "S390X", "PARISC", "PARISC64", "RISCV64",
    "LOONGARCH64", "M68K", "SH", "SHEB",
))
_FLAGS: Final = frozenset(f"SECCOMP_FILTER_FLAG_{name}" for name in (
    "TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV",
))
_OPERATORS: Final = frozenset(f"SCMP_CMP_{name}" for name in (
    "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ",
))
# fmt: on
_WITH_ERRNO: Final = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_MAX_ERRNO: Final = 4095  # linux/err.h
_MAX_64: Final = (1 << 64) - 1


def check_seccomp(at: At) -> None:
    """Look at a profile.

    Raises:
        InvalidArgument: It breaks a rule; names the field.
    """
    action = enum(at, "defaultAction", _ACTIONS, required=True)
    _errno(at, "defaultErrnoRet", action)
    for key, known in (("architectures", _ARCHITECTURES), ("flags", _FLAGS)):
        if unknown := set(strings(at, key)) - known:
            raise at.wrong(key, f"there is no {min(unknown)[:40]!a}")
    path(at, "listenerPath")
    for rule in items(at, "syscalls"):
        names = strings(rule, "names", required=True)
        if not names or "" in names:
            raise rule.wrong("names", "want names of system calls")
        _errno(rule, "errnoRet", enum(rule, "action", _ACTIONS, required=True))
        for argument in items(rule, "args"):
            integer(argument, "index", 0, 5, required=True)
            integer(argument, "value", 0, _MAX_64, required=True)
            integer(argument, "valueTwo", 0, _MAX_64)
            enum(argument, "op", _OPERATORS, required=True)


def _errno(at: At, key: str, action: str | None) -> None:
    if integer(at, key, 0, _MAX_ERRNO) is not None and action not in _WITH_ERRNO:
        raise at.wrong(key, f"{action} takes none")
