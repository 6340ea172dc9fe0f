"""Worker: one process that answers, from the word that it may to the word that it shall end."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import resource
import select
import signal
import socket
import threading
import time
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.registry.app import RegistryServer, Surroundings
from distore.registry.metrics import Metrics, dump
from distore.registry.routes import target_of
from distore.registry.server import past
from distore.registry.server.accesslog import AccessLog
from distore.registry.server.certificates import Certificates
from distore.registry.server.handover import HandOver
from distore.registry.server.neighbours import Neighbours
from distore.registry.server.operations import Operations
from distore.registry.server.supervisor import DRAIN, END, READY, STOP, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from distore.registry.message import Service
    from distore.registry.server.exchange import Exchange
    from distore.registry.server.settings import Network
    from distore.registry.settings import ServeSettings

_ARENA_MAX: Final = -8  # of mallopt
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_KINDS: Final = ("blobs", "manifests", "tags", "referrers", "uploads", "upload")


class Serving(NamedTuple):
    """``check`` raises a DistoreError when the store cannot be used."""

    service: Service
    check: Callable[[], None]


def work(
    job: Job,
    *,
    serving: Callable[[ServeSettings, Metrics], AbstractContextManager[Serving]],
    say: Callable[[str], None],
) -> int:
    """Serve until told otherwise; the exit status.

    Args:
        serving: Opens the registry.
    Raises:
        DistoreError: It cannot begin.
    """
    settings = job.configuration.server
    _raise_limits()
    _share_arenas()
    metrics = Metrics()
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    with ExitStack() as stack:
        opened = stack.enter_context(serving(job.configuration.serve, metrics))
        server = _server(job, opened, metrics, say, stack)
        server.start()
        stack.callback(lambda: past.leave(job.folder, os.getpid(), metrics.collect()))
        with suppress(OSError):
            job.control.send(READY)
        _until_told(server, job.control, woken, settings.grace)
    return 0


def _server(
    job: Job, opened: Serving, metrics: Metrics, say: Callable[[str], None], stack: ExitStack
) -> RegistryServer:
    settings, pid = job.configuration.server, os.getpid()
    log = None
    if settings.log.access is not None:
        log = stack.enter_context(
            closing(AccessLog(settings.log.access, form=settings.log.format, now=time.time))
        )
    certificates = (
        None if settings.tls is None else Certificates(settings.tls, monotonic=time.monotonic, say=say)
    )
    neighbours = Neighbours(job.folder, pid=pid, own=metrics.collect)
    service = Operations(
        opened.service,
        check=opened.check,
        is_ending=lambda: server.is_ending,
        page=neighbours.page,
        shows=lambda client: _is_within(client, settings.metrics_from),
    )
    count = _counted(metrics)

    def observe(exchange: Exchange) -> None:
        count(exchange)
        if log is not None:
            log.add(exchange)

    server = RegistryServer(
        service.handle,
        around=Surroundings(
            listeners=job.listeners,
            private=_meeting_place(job.folder, pid),
            quick=service.quick,
            limits=settings.limits,
            trusted=settings.trusted_proxies,
            hand_over=HandOver(job.folder),
            numbers=lambda: dump(metrics.collect()),
            observe=observe,
            say=say,
            tls=None if certificates is None else certificates.context,
        ),
    )
    _measure(metrics, server)
    return server


def _until_told(server: RegistryServer, control: socket.socket, woken: socket.socket, grace: float) -> None:
    """Wait for the word, then for the end of what is under way; a supervisor that is gone is a word, too."""
    stopping: threading.Thread | None = None
    while stopping is None or stopping.is_alive():
        readable, _, _ = select.select([control, woken], [], [], None if stopping is None else 0.05)
        word = b""
        if control in readable:
            word = control.recv(1) or STOP
            if stopping is not None and word == STOP:  # its end is closed: nothing more will be said
                stopping.join()
                return
        elif woken in readable:
            woken.recv(64)
            word = STOP
        if word == END or (word and stopping is not None):
            server.end()
        if word and stopping is None:
            linger = word == DRAIN
            stopping = threading.Thread(
                target=server.stop, kwargs={"grace": grace, "linger": linger}, name="distore-stopping"
            )
            stopping.start()


def _meeting_place(folder: str, pid: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.path.join(folder, f"{pid}.sock"))
    listener.listen(64)
    return listener


def _counted(metrics: Metrics) -> Callable[[Exchange], None]:
    """Counts requests."""
    total = metrics.counter(
        "distore_http_requests_total", "Requests answered.", ("method", "route", "status")
    )
    seconds = metrics.histogram(
        "distore_http_request_seconds", "From the head of a request to the end of its answer.", ("route",)
    )
    received = metrics.counter("distore_http_received_bytes_total", "Bytes of bodies of requests.")
    sent = metrics.counter("distore_http_sent_bytes_total", "Bytes of bodies of answers.")

    def count(exchange: Exchange) -> None:
        method = exchange.request.method if exchange.request.method in _METHODS else "other"
        route = _route(exchange.request.path)
        total.add(1, method, route, str(exchange.status or "none"))
        seconds.observe(exchange.seconds, route)
        received.add(exchange.received)
        sent.add(exchange.sent)

    return count


def _route(path: str) -> str:
    if not path.startswith("/v2/"):
        return "other"
    kind = target_of(path).kind
    return kind if kind in _KINDS else "other"


def _measure(metrics: Metrics, server: RegistryServer) -> None:
    crowd = server.crowd
    metrics.gauge("distore_http_connections", "Connections open.", lambda: crowd.connections)
    metrics.gauge("distore_http_requests", "Requests at work.", lambda: crowd.requests)
    metrics.gauge("distore_http_uploads", "Requests at work that bring many bytes.", lambda: crowd.uploads)
    metrics.gauge("distore_workers", "Processes that answer.", lambda: 1)
    metrics.gauge("distore_resident_bytes", "Memory of the processes that answer.", _resident)


def _resident() -> float:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _is_within(client: str, networks: Sequence[Network]) -> bool:
    return not client or any(
        ipaddress.ip_address(client.partition("%")[0]) in network for network in networks
    )


def _raise_limits() -> None:
    """A connection is a file, and so are a blob and an upload."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _share_arenas() -> None:
    """Have all threads get memory from a few places: with one for each, as the C library likes it, what
    hundreds of uploads have let go of stays with the process."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)
