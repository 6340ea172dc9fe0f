"""Running a program that must not outlive us, in mount and process namespaces of its own.

Three processes stand between this one and the program::

    we ── keeper (new mount namespace) ── init (process 1 of a new pid namespace) ── the program

Each gets SIGKILL when the one before it ends (PR_SET_PDEATHSIG), and with an init all of its namespace
goes: containers, too, which a runtime has put there and knows no more of. The mounts end with the last
process that sees them. So nothing is left when we are killed, but files.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from distore import errors
from distore._internal.userns import CLONE_NEWNS, CLONE_NEWPID, unshare
from distore.errors import DistoreError, FailedPrecondition
from distore.mount import Mount, mount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PDEATHSIG: Final = 1  # linux/prctl.h
_REC, _SLAVE = 1 << 14, 1 << 19  # linux/mount.h
_SI_KERNEL: Final = 0x80  # asm-generic/siginfo.h: from a terminal; its whole group got it
_FAILED: Final = 125  # status of a process between that could not do its part; never seen outside
_LOOK: Final = 0.1  # seconds
_KILLS: Final = 3  # requests to end after which nobody is asked any more
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
FORWARDED: Final = frozenset(
    (*_ENDING, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
)
_WAITED: Final = FORWARDED | {signal.SIGCHLD}
_HIDDEN: Final = "/sys/fs/cgroup/unified"
_CGROUP2: Final = 0x63677270  # linux/magic.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A program to run.

    Args:
        command: Its path and its words.
        before: Called first, in the keeper.
        mounts: Made then, and seen by nobody else.
        prepare: Then called, in the keeper; what it raises is raised here.
        output: A descriptor to have in place of the standard streams.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...] = ()
    before: Callable[[], None] = field(default=lambda: None, repr=False)
    prepare: Callable[[], None] = field(default=lambda: None, repr=False)
    output: int | None = None


def supervise(job: Job) -> int:
    """Run it, with our standard streams, and hand on the signals that come; its exit status, or 128 and
    the signal that ended it. The third SIGINT or SIGTERM kills it.

    Signals that a terminal sends are not handed on: the program, in our process group, has got them.

    Raises:
        DistoreError: It was not started: as ``mount``, ``unshare`` and ``prepare``, or there is no such
            program.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # what is in there would be written by each process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    old = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored nobody can be waited for
    try:
        reader, writer = os.pipe()
        us = os.getpid()
        keeper = os.fork()
        if not keeper:
            _keep(job, us, writer, before)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            report = file.read()  # until the program has taken the place of the last one that has it
        return _attend(keeper, report)
    finally:
        signal.signal(signal.SIGCHLD, old if old is not None else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hidden_cgroups() -> tuple[Mount, ...]:
    """An empty file system over the second tree of cgroups, where a machine has both kinds: crun does not
    start there when the new kind has controllers, and needs none of it."""
    try:
        with open(f"{_HIDDEN}/cgroup.controllers", "rb") as file:
            if not file.read(1):
                return ()
    except OSError:
        return ()
    return (Mount(type="tmpfs", source="none", target=_HIDDEN, options=("nosuid", "nodev", "noexec")),)


def _attend(keeper: int, report: bytes) -> int:
    """Until the keeper ends; the program's status."""
    asked = 0

    def hand_on(told: signal.struct_siginfo) -> int | None:
        nonlocal asked
        asked += told.si_signo in _ENDING
        if asked >= _KILLS:
            return signal.SIGKILL
        return None if told.si_code == _SI_KERNEL else told.si_signo

    # A signal for the process may go to any of its threads, and be lost there.
    is_alone = len(os.listdir("/proc/self/task")) == 1
    try:
        status = _wait(keeper, hand_on, look=None if is_alone else _LOOK)
    except BaseException:
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)
        raise
    if report:
        raise _raised(report)
    return status


def _wait(
    child: int, hand_on: Callable[[signal.struct_siginfo], int | None], *, look: float | None = None
) -> int:
    """Until a child ends; its status, as a shell has it. Process 1 takes in orphans meanwhile.

    Args:
        hand_on: Which signal the child gets when one comes; None: none.
        look: Seconds after which it is looked for without a signal; None: never.
    """
    whoever = -1 if os.getpid() == 1 else child
    while True:
        told = signal.sigwaitinfo(_WAITED) if look is None else signal.sigtimedwait(_WAITED, look)
        if told is not None and told.si_signo != signal.SIGCHLD:
            number = hand_on(told)
            if number is not None:
                os.kill(child, number)  # it is there: nobody but us takes it in
            continue
        with suppress(ChildProcessError):
            while (done := os.waitpid(whoever, os.WNOHANG))[0]:
                if done[0] == child:
                    return _status(done[1])


def _keep(job: Job, parent: int, report: int, mask: set[int] | set[signal.Signals]) -> NoReturn:
    """In the keeper."""
    try:
        _die_with_parent()
        if os.getppid() != parent:
            os._exit(_FAILED)
        unshare(CLONE_NEWNS | CLONE_NEWPID)
        _detach_mounts()
        job.before()
        for one in job.mounts:
            mount(one)
        job.prepare()
        init = os.fork()
        if not init:
            _init(job, report, mask)
        os.close(report)
        # We are in the group that the terminal sends to, and so is the program: only our parent counts.
        os._exit(_wait(init, lambda told: told.si_signo if told.si_pid == parent else None))
    except BaseException as error:  # noqa: BLE001 - nothing may run on in a second copy of us
        _tell(report, error)
        os._exit(_FAILED)


def _init(job: Job, report: int, mask: set[int] | set[signal.Signals]) -> NoReturn:
    """In the init: start the program, hand on signals, take in orphans."""
    try:
        _die_with_parent()
        # Process numbers are those of the namespace from here on.
        mount(Mount(type="proc", source="proc", target="/proc", options=("nosuid", "nodev", "noexec")))
        program = os.fork()
        if not program:
            _become(job, report, mask)
        os.close(report)
        os.setpgid(0, 0)  # signals for the group reach the program by themselves
        os._exit(_wait(program, lambda told: told.si_signo))
    except BaseException as error:  # noqa: BLE001 - as in the keeper
        _tell(report, error)
        os._exit(_FAILED)


def _become(job: Job, report: int, mask: set[int] | set[signal.Signals]) -> NoReturn:
    """Be the program. Python ignores SIGPIPE and SIGXFSZ, and a program inherits that."""
    try:
        for number in (*FORWARDED, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for stream in (0, 1, 2) if job.output is not None else ():
            os.dup2(job.output or 0, stream)
        os.execve(job.command[0], job.command, dict(job.environment))  # noqa: S606 - what we are for
    except OSError as error:
        failed = FailedPrecondition(f"{job.command[0]}: {(error.strerror or '').lower()}")
        _tell(report, failed)
        os._exit(_FAILED)


def _die_with_parent() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _detach_mounts() -> None:
    """What is mounted here is seen here alone; what the machine unmounts goes here, too."""
    if ctypes.CDLL(None, use_errno=True).mount(b"none", b"/", None, _SLAVE | _REC, None):
        code = ctypes.get_errno()
        raise FailedPrecondition(f"mount namespace: {os.strerror(code).lower()}")


def _tell(report: int, error: BaseException) -> None:
    """The class and the message, for ``_raised``. An error that we do not know is shown as what it is."""
    name, text = type(error).__name__, str(error)
    with suppress(OSError):
        os.write(report, f"{name}\n{text}".encode(errors="surrogateescape")[:4000])


def _raised(problem: bytes) -> DistoreError:
    name, _, text = problem.decode(errors="surrogateescape").partition("\n")
    kind = getattr(errors, name, None)
    line = " ".join(text.split())
    if not (isinstance(kind, type) and issubclass(kind, DistoreError)):
        return FailedPrecondition(f"run: {name}: {line}")
    made = kind.__new__(kind)  # leaf classes want fields that we have no more
    made.args = (line,)
    return made


def _status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
