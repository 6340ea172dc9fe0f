"""Supervisor: binds the sockets, and has as many workers on them as the settings say.

It serves nothing itself, opens no store and has no threads: so it can fork at any time, there is
little in it that could fail, and a reload with one worker is the same as with many.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import DistoreError, Unavailable
from distore.registry.server import meetingplace, past
from distore.registry.server.listeners import Listeners
from distore.registry.server.notify import Notifier, forget, handed_over

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distore.registry.server.configuration import Configuration

READY: Final = b"R"  # from a worker: it serves
DRAIN: Final = b"D"  # to a worker: others take over; finish, and let nobody notice
STOP: Final = b"S"  # to a worker: finish what is under way
END: Final = b"E"  # to a worker: end at once

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_LAST_WORDS: Final = 2.0  # seconds that a worker gets to end at once
_STARTING: Final = 60.0  # seconds that a worker gets until it serves
_BACKOFF: Final = (
    0.0,
    0.1,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
)  # seconds before a worker is replaced, by failures in a row
_HEALTHY: Final = 30.0  # seconds after which a worker that dies has not failed in a row


class Job(NamedTuple):
    """What a worker is given. ``folder``: where workers meet, each at ``PID.sock``."""

    configuration: Configuration
    listeners: Sequence[socket.socket]
    control: socket.socket
    folder: str


@dataclass(slots=True, kw_only=True)
class _Worker:
    pid: int
    control: socket.socket
    generation: int
    started: float
    ready: bool = False
    leaving: bool = False


@dataclass(slots=True, kw_only=True)
class _Reload:
    """Under way: the old workers go once the new ones serve."""

    configuration: Configuration
    before: Configuration
    listeners: Sequence[socket.socket]


class Supervisor:
    """``run`` serves until a signal ends it.

    Args:
        read: Read the configuration, again and again.
        load: Bring into memory what all workers need, once; starts no threads.
        work: Be a worker, in a process of its own; gives its exit status.
        listening: Told the addresses and whether TLS is spoken, once all workers serve.
        say: Told what people should know, in one line.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Configuration],
        load: Callable[[], None],
        work: Callable[[Job], int],
        listening: Callable[[list[str], bool], None],
        say: Callable[[str], None],
    ) -> None:
        self._read = read
        self._load = load
        self._work = work
        self._listening = listening
        self._say = say
        self._notifier = Notifier(os.environ.get("NOTIFY_SOCKET"))
        self._open = Listeners(handed_over(os.environ, pid=os.getpid()))
        forget(os.environ)
        self._workers: dict[int, _Worker] = {}
        self._generation = 0
        self._failures = 0
        self._replace_at: list[float] = []
        self._reload: _Reload | None = None
        self._again = False  # somebody asked for a reload while that could not begin
        self._serving = False
        self._status: int | None = None  # set: it ends
        self._kill_at: float | None = None

    def run(self) -> int:
        """The exit status.

        Raises:
            DistoreError: It cannot begin.
        """
        self._configuration = self._read()
        self._listeners: Sequence[socket.socket] = self._open.bind(self._configuration.server.listen)
        # A signal that comes before somebody listens for it waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        place = meetingplace.make(tempfile.gettempdir(), uid=os.getuid())
        self._folder = place.folder
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)
        before = {number: signal.signal(number, _ignore) for number in _SIGNALS}
        wakeup = signal.set_wakeup_fd(self._ends[0].fileno(), warn_on_full_buffer=False)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._load()
            self._spawn_all(self._configuration, self._listeners)
            while self._workers or self._status is None:
                self._turn(self._ends[1])
            return self._status or 0
        finally:
            self._end_all()
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            for end in self._ends:
                end.close()
            self._open.close()
            place.remove()

    def _turn(self, woken: socket.socket) -> None:
        """Wait for something, and see to it."""
        controls = {worker.control: worker for worker in self._workers.values() if not worker.ready}
        readable, _, _ = select.select([woken, *controls], [], [], self._patience())
        for each in readable:
            if each is woken:
                for number in woken.recv(64):
                    self._signalled(number)
            elif each in controls:
                self._heard(controls[each])
        self._reap()
        self._on_time()

    def _patience(self) -> float | None:
        now = time.monotonic()
        starting = [worker.started + _STARTING for worker in self._workers.values() if not worker.ready]
        due = [*self._replace_at, *starting, *([self._kill_at] if self._kill_at else [])]
        return max(0.0, min(due) - now) if due else None

    def _signalled(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(128 + signal.SIGINT if number == signal.SIGINT else 0)
        elif number == signal.SIGHUP and self._status is None:
            self._begin_reload()

    def _stop(self, status: int) -> None:
        """Finish; asked a second time, end at once."""
        again = self._status is not None
        self._status = status if self._status is None else self._status
        self._replace_at = []
        self._open.close()  # the workers close theirs: who comes now is refused, and not left waiting
        self._notifier.stopping()
        # The first word about an end counts for workers that are still starting, too.
        for worker in self._workers.values():
            self._tell(worker, END if again else STOP)
        grace = 0.0 if again else self._configuration.server.grace
        self._kill_at = time.monotonic() + grace + _LAST_WORDS
        if not again and any(worker.ready for worker in self._workers.values()):
            self._say(f"dist: stopping; what is under way has {grace:g} s (again: stop at once)")

    def _begin_reload(self) -> None:
        if self._reload is not None or not self._serving:
            self._again = True
            return
        self._again = False
        self._notifier.reloading()
        try:
            configuration = self._read()
            listeners = self._open.bind(configuration.server.listen)
        except DistoreError as error:
            self._say(f"dist: {error}; the configuration stays as it was")
            self._notifier.ready("serving with the configuration as it was")
            return
        self._reload = _Reload(
            configuration=configuration,
            before=self._configuration,
            listeners=listeners,
        )
        self._generation += 1
        self._replace_at = []
        try:
            self._spawn_all(configuration, listeners)
        except Unavailable as error:
            self._say(f"dist: {error}")
            self._end_reload(good=False)

    def _end_reload(self, *, good: bool) -> None:
        reload = self._reload
        assert reload is not None
        self._reload = None
        old = self._generation - 1 if good else self._generation
        for worker in self._workers.values():
            if (worker.generation <= old) if good else (worker.generation == old):
                self._tell(worker, DRAIN if good else END)
        if good:
            self._configuration, self._listeners = reload.configuration, reload.listeners
            self._open.keep(self._configuration.server.listen)
            self._announce()
        else:
            self._generation -= 1
            self._open.keep(reload.before.server.listen)
            self._say("dist: the new workers did not start; the configuration stays as it was")
            self._notifier.ready("serving with the configuration as it was")
            self._fill()
        if self._again:
            self._begin_reload()

    def _heard(self, worker: _Worker) -> None:
        with suppress(OSError):
            worker.ready = worker.control.recv(1) == READY
        current = [
            each
            for each in self._workers.values()
            if each.generation == self._generation and not each.leaving
        ]
        wanted = (self._reload.configuration if self._reload else self._configuration).server.workers
        if self._status is None and sum(each.ready for each in current) >= wanted:
            if self._reload is not None:
                self._end_reload(good=True)
            elif not self._serving:
                self._serving = True
                self._announce()
                if self._again:
                    self._begin_reload()

    def _announce(self) -> None:
        names = self._open.names()
        self._listening(names, self._configuration.server.tls is not None)
        self._notifier.ready(f"serving on {', '.join(names)}")

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = self._workers.pop(pid, None)
            if worker is not None:
                worker.control.close()
                past.settle(self._folder, pid)
                self._lost(worker, os.waitstatus_to_exitcode(status))

    def _lost(self, worker: _Worker, code: int) -> None:
        """See to it that another one takes its place, if it should have one."""
        if self._status is not None or worker.leaving:
            return
        if self._reload is not None and worker.generation == self._generation:
            self._end_reload(good=False)
            return
        if not worker.ready and not self._serving:
            self._status = code if code > 0 else DistoreError.exit_code
            for other in self._workers.values():
                self._tell(other, END)
            self._kill_at = time.monotonic() + _LAST_WORDS
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        lived = time.monotonic() - worker.started
        self._failures = 0 if lived > _HEALTHY else self._failures + 1
        self._replace(f"worker {worker.pid} {how}")

    def _replace(self, why: str) -> None:
        pause = _BACKOFF[min(self._failures, len(_BACKOFF) - 1)]
        self._say(f"dist: {why}; another one takes its place in {pause:g} s")
        self._replace_at.append(time.monotonic() + pause)

    def _on_time(self) -> None:
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._end_all()
            self._kill_at = now + _LAST_WORDS
        for worker in list(self._workers.values()):
            if not worker.ready and not worker.leaving and now - worker.started > _STARTING:
                self._say(f"dist: worker {worker.pid}: does not serve after {_STARTING:g} s")
                os.kill(worker.pid, signal.SIGKILL)
                worker.started = now  # once
        due = [when for when in self._replace_at if when <= now]
        self._replace_at = [when for when in self._replace_at if when > now]
        if due and self._status is None and self._reload is None:
            self._fill()

    def _fill(self) -> None:
        """As many workers as there should be, but for those that are due later."""
        there = sum(not worker.leaving for worker in self._workers.values())
        for _ in range(self._configuration.server.workers - there - len(self._replace_at)):
            try:
                self._spawn(self._configuration, self._listeners)
            except Unavailable as error:
                self._failures += 1
                self._replace(str(error))

    def _spawn_all(self, configuration: Configuration, listeners: Sequence[socket.socket]) -> None:
        for _ in range(configuration.server.workers):
            self._spawn(configuration, listeners)

    def _spawn(self, configuration: Configuration, listeners: Sequence[socket.socket]) -> None:
        """Start a worker.

        Raises:
            Unavailable: The system has no room for one more process.
        """
        # Until the child has forgotten our descriptors, no signal of its own may be told to us.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    pid = os.fork()
                except OSError:
                    ours.close()
                    raise
                if pid == 0:
                    ours.close()
                    self._be_worker(Job(configuration, listeners, theirs, self._folder))
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise Unavailable(f"a worker could not be started: {why}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._workers[pid] = _Worker(
            pid=pid, control=ours, generation=self._generation, started=time.monotonic()
        )

    def _be_worker(self, job: Job) -> None:
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                # Ctrl-C goes to all processes of a terminal: what becomes of it is for the supervisor.
                signal.signal(
                    number, signal.SIG_IGN if number in (signal.SIGINT, signal.SIGHUP) else signal.SIG_DFL
                )
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for end in self._ends:
                end.close()
            for worker in self._workers.values():
                worker.control.close()
            status = self._work(job)
        finally:
            os._exit(status)

    def _tell(self, worker: _Worker, word: bytes) -> None:
        worker.leaving = True
        with suppress(OSError):
            worker.control.send(word)

    def _end_all(self) -> None:
        for pid in self._workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _ignore(number: int, frame: object) -> None:
    """Signals come through the wakeup descriptor."""
