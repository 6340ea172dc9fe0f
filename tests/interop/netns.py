"""A network namespace at the end of a wire that delays, loses, and can be cut.

The wire is two TUN devices and a process that carries packets between them: many kernels are built
without tc's netem, and TUN is nearly everywhere. Run as a program, this module is that process.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TUN = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_OFFLOADS = 0x7  # checksums and TCP segments of IPv4 and IPv6 are left to the receiver
_LARGEST = 66_000  # bytes: a packet before it is cut into segments, and its header
_BATCH = 32  # packets taken from one end before the other gets its turn
_NETWORKS = ipaddress.ip_network("198.18.0.0/15")  # RFC 2544: for benchmarks, routed nowhere
_QUEUE = "10000"  # packets that a device holds: the wire itself shall not be what loses them


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A namespace that is up. ``address`` is its end of the wire; ``device`` is ours."""

    namespace: str
    address: str
    device: str

    def inside(self, *command: str) -> list[str]:
        """The command that runs ``command`` in the namespace, under the same process id."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def received(self) -> int:
        """Bytes that came from the namespace so far, headers of IP and TCP too."""
        return int(Path(f"/sys/class/net/{self.device}/statistics/rx_bytes").read_text())

    def sent(self) -> int:
        """Bytes that went to the namespace so far, headers of IP and TCP too."""
        return int(Path(f"/sys/class/net/{self.device}/statistics/tx_bytes").read_text())

    @contextmanager
    def cut(self) -> Iterator[None]:
        """The far end of the link is down within the block; nobody here is told."""
        self._link("down")
        try:
            yield
        finally:
            self._link("up")

    def _link(self, state: str) -> None:
        ip("-n", self.namespace, "link", "set", f"{self.device}f", state)


@contextmanager
def network(*, delay: float = 0.0, loss: float = 0.0, seed: int = 1) -> Iterator[Network]:
    """A namespace within the block; what runs in it must have ended before the block does.

    Args:
        delay: Seconds that packets from the namespace are late; there is none the other way, so that
            it is the round trip too.
        loss: Share of the packets lost, each way, from 0 to 1; ``seed`` decides which.

    Raises:
        OSError: It could not be made; standard error says why. Needs root and TUN.
    """
    words = [sys.executable, "-I", __file__, str(delay), str(loss), str(seed)]
    # In a session of its own: it outlives a Ctrl-C until the pipe to it is closed.
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with process:  # closes the pipe and waits
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise OSError("the wire could not be made")
        yield Network(**json.loads(line))


def possible() -> bool:
    """Whether this user on this kernel can make one."""
    return os.geteuid() == 0 and os.access(TUN, os.R_OK | os.W_OK)


def ip(*words: str) -> None:
    """Run iproute2's ``ip``."""
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL)


def _tun(name: str, offloads: int) -> int:
    """A file descriptor that reads and writes the packets of the new device ``name``."""
    fd = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    fcntl.ioctl(fd, _TUNSETOFFLOAD, offloads)
    return fd


def _make(name: str, offloads: int) -> tuple[int, int, Network]:
    """Both devices, with addresses, the far one in the namespace ``name``."""
    number = os.getpid() % (_NETWORKS.num_addresses // 4)
    near_address, far_address = (_NETWORKS[4 * number + host] for host in (1, 2))
    far_name = f"{name}f"
    near, far = _tun(name, offloads), _tun(far_name, offloads)
    ip("link", "set", far_name, "netns", name)
    for where, device, address in (([], name, near_address), (["-n", name], far_name, far_address)):
        ip(*where, "address", "add", f"{address}/30", "dev", device)
        ip(*where, "link", "set", device, "txqueuelen", _QUEUE)
        ip(*where, "link", "set", device, "up")
    ip("-n", name, "link", "set", "lo", "up")
    return near, far, Network(namespace=name, address=str(far_address), device=name)


@dataclass(slots=True)
class _Wire:
    """Carries packets, headers for segmentation included, as they are."""

    near: int
    far: int
    delay: float
    loss: float
    draw: random.Random

    def carry(self, until: int) -> None:
        """Carry until the descriptor ``until`` has something to read or is closed."""
        late: deque[tuple[float, bytes]] = deque()  # when it is due, and the packet
        poll = select.poll()
        for fd in (self.near, self.far, until):
            poll.register(fd, select.POLLIN)
        while True:
            wait = None if not late else max(0.0, late[0][0] - time.monotonic()) * 1000
            ready = [fd for fd, _ in poll.poll(wait)]
            if until in ready:
                return
            if self.near in ready:
                for packet in self._taken(self.near):
                    self._put(self.far, packet)
            if self.far in ready:
                due = time.monotonic() + self.delay
                late.extend((due, packet) for packet in self._taken(self.far))
            while late and late[0][0] <= time.monotonic():
                self._put(self.near, late.popleft()[1])

    def _taken(self, fd: int) -> Iterator[bytes]:
        for _ in range(_BATCH):
            try:
                packet = os.read(fd, _LARGEST)
            except OSError:  # nothing more, or the link is down
                return
            if not self.loss or self.draw.random() >= self.loss:
                yield packet

    def _put(self, fd: int, packet: bytes) -> None:
        with suppress(OSError):  # the link is down: the packet is lost, as on any wire
            os.write(fd, packet)


def main(words: Sequence[str]) -> None:
    """Make the network, describe it in one line, carry until standard input is closed, remove it."""
    delay, loss, seed = float(words[0]), float(words[1]), int(words[2])
    name = f"dist{os.getpid()}"
    ip("netns", "add", name)
    try:
        # One lost packet is to be one segment, not the 64 KiB that offloading makes of it.
        near, far, made = _make(name, 0 if loss else _OFFLOADS)
        described = {"namespace": made.namespace, "address": made.address, "device": made.device}
        print(json.dumps(described), flush=True)
        _Wire(near, far, delay, loss, random.Random(seed)).carry(sys.stdin.fileno())
    finally:
        ip("netns", "delete", name)


if __name__ == "__main__":
    main(sys.argv[1:])
