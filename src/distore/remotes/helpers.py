"""Helper: the programs ``docker-credential-NAME`` that keep secrets for Docker and podman."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translate
from distore.errors import DeadlineExceeded, FailedPrecondition
from distore.remotes.credentials import TOKEN_USER, Credential

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

TIMEOUT: Final = 60.0  # seconds; a key ring may ask its owner for a passphrase
MAX_OUTPUT: Final = 256 * 1024  # bytes
_PREFIX: Final = "docker-credential-"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_UNKNOWN: Final = b"credentials not found"  # docker-credential-helpers: how all of them say it


def is_helper_name(text: str) -> bool:
    """Whether a helper may be called so: nothing that leads elsewhere in the file system."""
    return bool(_NAME.fullmatch(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """One helper, and the file that names it.

    Every method raises FailedPrecondition when the program is missing, fails or answers nonsense,
    and DeadlineExceeded when it takes too long. What the program prints goes into no message: it
    may hold secrets.
    """

    name: str
    named_by: str

    @property
    def source(self) -> str:
        """Program and file, for messages."""
        return f"{_PREFIX}{self.name}, named by {self.named_by}"

    def get(self, server: str, *, timeout: float = TIMEOUT) -> Credential | None:
        """The credential for ``server``, or None when the helper has none.

        Args:
            timeout: Seconds.
        """
        status, output = self._run("get", server.encode(), timeout=timeout)
        if status:
            if _UNKNOWN in output.lower():
                return None
            raise self._failed("get", f"status {status}")
        document = self._parsed("get", output)
        username, secret = document.get("Username"), document.get("Secret")
        if not isinstance(username, str) or not isinstance(secret, str) or ":" in username:
            raise self._failed("get", "an answer without Username and Secret")
        if not secret:
            return None
        if username in (TOKEN_USER, ""):
            return Credential(username=TOKEN_USER, identity_token=secret)
        return Credential(username=username, secret=secret)

    def store(self, server: str, credential: Credential) -> None:
        """Keep ``credential`` for ``server`` instead of what it has."""
        token = credential.identity_token
        document = {
            "ServerURL": server,
            "Username": TOKEN_USER if token else credential.username,
            "Secret": token or credential.secret or "",
        }
        status, _ = self._run("store", json.dumps(document).encode())
        if status:
            raise self._failed("store", f"status {status}")

    def erase(self, server: str) -> bool:
        """Forget ``server``; whether there was anything to forget."""
        if self.get(server) is None:
            return False
        status, _ = self._run("erase", server.encode())
        if status:
            raise self._failed("erase", f"status {status}")
        return True

    def servers(self) -> tuple[str, ...]:
        """Every server that it has a credential for."""
        status, output = self._run("list", b"")
        if status:
            raise self._failed("list", f"status {status}")
        return tuple(self._parsed("list", output))

    def _parsed(self, verb: str, output: bytes) -> dict[str, object]:
        try:
            document = json.loads(output)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            # Not inside the handler: a decoder's error has the output, secrets and all, in it.
            raise self._failed(verb, "an answer that is no JSON object")
        return document

    def _run(self, verb: str, data: bytes, *, timeout: float = TIMEOUT) -> tuple[int, bytes]:
        """Status and output; ``data`` is standard input, never an argument."""
        import subprocess

        program = _PREFIX + self.name
        try:
            process = subprocess.Popen(
                [program, verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError as error:
            raise FailedPrecondition(
                f"credential helper {program}: not on PATH; install it, or take it out of {self.named_by}"
            ) from error
        except OSError as error:
            raise translate(error, f"credential helper {program}") from error
        try:
            return self._talk(process, verb, data, end=time.monotonic() + timeout)
        finally:
            _end(process)

    def _talk(
        self, process: subprocess.Popen[bytes], verb: str, data: bytes, *, end: float
    ) -> tuple[int, bytes]:
        import subprocess

        _feed(process, data)
        try:
            output = _collect(process, end=end, clock=time.monotonic)
            status = process.wait(max(0.0, end - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise DeadlineExceeded(
                f"credential helper {_PREFIX}{self.name}: {verb} takes too long"
            ) from error
        if len(output) > MAX_OUTPUT:
            raise self._failed(verb, f"more than {MAX_OUTPUT} bytes")
        return status, output

    def _failed(self, verb: str, how: str) -> FailedPrecondition:
        return FailedPrecondition(
            f"credential helper {_PREFIX}{self.name}: {verb} ended with {how}; {self.named_by} names it"
        )


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(data)
        process.stdin.close()
    except BrokenPipeError:
        return  # it knows enough; its status says how that went


def _collect(process: subprocess.Popen[bytes], *, end: float, clock: Callable[[], float]) -> bytes:
    """Standard output up to its end, or one byte more than allowed.

    Raises:
        TimeoutError: The moment ``end`` on the clock came first.
    """
    import selectors

    assert process.stdout is not None
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(output) <= MAX_OUTPUT:
            if not selector.select(max(0.0, end - clock())):
                raise TimeoutError
            piece = os.read(process.stdout.fileno(), MAX_OUTPUT + 1 - len(output))
            if not piece:
                break
            output += piece
    if len(output) > MAX_OUTPUT:
        process.kill()
    return output


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # what it did not want to read
                pipe.close()
