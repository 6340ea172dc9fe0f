"""The main job: a registry with a real image, the pipeline of 2017 against it, and a registry of our own.

Everything happens in a temporary folder and on free loopback ports. The exit status is not zero
when a command fails that should not, or when any digest is wrong. With ``--keep`` the registry of our
own is served until Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import image
from distore.content.local.store import LocalStore
from distore.registry.app import RegistryServer
from distore.registry.features import Features
from distore.registry.routes import PushRegistry
from distore.testing.gates import TokenGate
from distore.testing.memory_repositories import MemoryRepositories

DIST = Path(__file__).parents[1] / "dist"
RATE = 250_000  # bytes a second for each connection: slow enough to watch
FETCH = (
    "./dist fetch docker.io/library/redis latest"
    " mediatype:application/vnd.docker.distribution.manifest.v2+json"
)
WITH_JQ = rf"""{FETCH} | \
  jq -r '.layers[] | "./dist fetch docker.io/library/redis "+.digest + "| ./dist ingest --expected-digest "+.digest+" --expected-size "+(.size | tostring) +" docker.io/library/redis@"+.digest' | xargs -I{{}} -P10 -n1 sh -c "{{}}"
""".rstrip()  # noqa: E501 - to the letter
WITHOUT_JQ = (
    FETCH + " | ./dist ls-layers | \\\n"
    "  while read digest size; do\n"
    '    echo "./dist fetch docker.io/library/redis $digest | ./dist ingest --expected-digest $digest'
    ' --expected-size $size docker.io/library/redis@$digest"\n'
    '  done | xargs -I{} -P10 -n1 sh -c "{}"'
)


class Failed(Exception):
    """Something the demo shows did not work."""


class Demo:
    """One run in ``folder``, against the registry at ``address``."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        (folder / "dist").symlink_to(DIST)
        hosts = folder / "hosts" / "docker.io"
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(f'server = "http://{address}"\n')
        self.environment = {**os.environ, "DIST_HOSTS_DIR": str(folder / "hosts")}
        for name in ("DIST_ROOT", "CONTAINERD_DIST_CONTENT_STORE", "CONTAINERD_FETCH_TIMEOUT"):
            self.environment.pop(name, None)

    def start(self, script: str) -> subprocess.Popen[str]:
        """Show a line as it would be typed, and start it."""
        print(f"\n$ {script.removeprefix('exec ')}", flush=True)
        return subprocess.Popen(
            ["sh", "-c", script], cwd=self.folder, env=self.environment, stderr=subprocess.STDOUT, text=True
        )

    def run(self, script: str) -> None:
        """Show and run a line that must succeed."""
        if status := self.start(script).wait():
            raise Failed(f"exit status {status}: {script}")

    def ask(self, script: str) -> str:
        """The output of a line, not shown."""
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self.folder,
            env=self.environment,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"exit status {done.returncode}: {script}: {done.stderr.strip()}")
        return done.stdout

    def verify(self, root: str = ".content") -> None:
        """Hash every blob with nothing of distore in between."""
        blobs = sorted((self.folder / root / "blobs" / "sha256").iterdir())
        for blob in blobs:
            if hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name:
                raise Failed(f"wrong digest: {blob}")
        print(f"\n# {len(blobs)} blobs hashed again by hashlib alone: every digest is right.")

    def wait_for_bytes(self, process: subprocess.Popen[str]) -> None:
        """Until an ingest has some."""
        for _ in range(500):
            if any(data.stat().st_size for data in (self.folder / ".content" / "ingest").glob("*/data")):
                return
            if process.poll() is not None:
                break
            time.sleep(0.02)
        raise Failed("the download ended before it could be interrupted")


def say(text: str) -> None:
    """A word to the newcomer."""
    print(f"\n# {text}", flush=True)


def show(demo: Demo, *, keep: bool) -> None:
    """The whole tour."""
    jq = shutil.which("jq") is not None
    say(
        "The pipeline of 2017: the manifest, then every layer, ten at a time."
        + ("" if jq else " (No jq here.)")
    )
    pipeline = demo.start(WITH_JQ if jq else WITHOUT_JQ)
    for _ in range(3):
        time.sleep(0.9)
        if pipeline.poll() is None:
            demo.run("./dist active")
    if pipeline.wait():
        raise Failed("the pipeline failed")

    say("What has arrived, and where it lies. Running the same pipeline again would ignore it all.")
    demo.run("./dist list")
    first = demo.ask("./dist list -q").split()[0]
    demo.run(f"./dist path {first}")
    demo.run("./dist fsck")
    demo.verify()

    interrupt(demo)
    images(demo)

    with serving(demo) as address:
        own_registry(demo, address)
        away(demo)
        if keep:
            stay(address)


def away(demo: Demo) -> None:
    """Delete what was fetched."""
    say("And away with all that was fetched.")
    demo.run("./dist list -q | xargs ./dist delete")
    if demo.ask("./dist list -q"):
        raise Failed("something is left")


def interrupt(demo: Demo) -> None:
    """A download that is killed and goes on."""
    sizes = {}
    for line in demo.ask(f"{FETCH} | ./dist ls-layers").splitlines():
        digest, size = line.split()
        sizes[digest] = int(size)
    digest = max(sizes, key=lambda name: sizes[name])
    say("A download is killed with SIGKILL half-way; what came is kept, and the next one goes on there.")
    demo.run(f"./dist delete {digest}")
    fetch = f"exec ./dist fetch --store docker.io/library/redis {digest} size:{sizes[digest]}"
    process = demo.start(fetch)
    demo.wait_for_bytes(process)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    demo.run("./dist active")
    demo.run(fetch)
    demo.run("./dist fsck")
    demo.verify()


def images(demo: Demo) -> None:
    """Whole images: pulled, looked at."""
    say("The same image as a whole: what is there does not travel again, and the name comes last.")
    demo.run("./dist pull redis")
    demo.run("./dist images")


@contextmanager
def serving(demo: Demo) -> Iterator[str]:
    """A registry of our own, over a store of its own; its address."""
    say("A registry of our own: it pushes, pulls, caches and collects garbage while it runs.")
    words = "serve --root served --listen 127.0.0.1:0"
    print(f"\n$ ./dist {words} &", flush=True)
    log = demo.folder / "serve.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            ["./dist", *words.split(), "--json"],
            cwd=demo.folder,
            env=demo.environment,
            stdout=subprocess.PIPE,
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us to handle
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise Failed(f"dist serve did not come up: {log.read_text().strip()}")
        address = str(json.loads(line)["addresses"][0])
        print(f"# It listens at http://{address}/", flush=True)
        yield address
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def own_registry(demo: Demo, address: str) -> None:
    """Push to it, and pull back."""
    say("Pushed there; for a copy in a second repository the registry mounts the blobs, and no byte travels.")
    demo.run(f"./dist push {address}/team/redis:1 redis")
    demo.run(f"./dist copy {address}/team/redis:1 {address}/mirror/redis:1")
    demo.run(f"./dist catalog {address}")
    demo.run(f"./dist tags {address}/team/redis")
    say("Pulled back into an empty store, and from there into an image layout.")
    demo.run(f"./dist pull --quiet --root back {address}/team/redis:1")
    demo.run("./dist fsck --root back")
    demo.verify("back")
    demo.run(f"./dist copy --quiet {address}/mirror/redis:1 oci:layout:1")
    demo.run("./dist inspect oci:layout:1")


def stay(address: str) -> None:
    """Until Ctrl-C."""
    say(f"The registry goes on: http://{address}/ shows what it has. Ctrl-C ends it.")
    print(f"  docker pull {address}/team/redis:1   (or podman, skopeo, ctr, dist)", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="serve the registry of our own until Ctrl-C")
    keep = parser.parse_args().keep
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="distore-demo-") as temporary:
        folder = Path(temporary)
        say("An image is built from Python's standard library and served by an embedded, slow registry.")
        store = LocalStore(str(folder / "registry"))
        tags = image.build(store)
        offers = MemoryRepositories({"library/redis": dict(tags)}, everywhere=set(store.digests()))
        registry = PushRegistry(store, offers, features=Features(guess=True))
        gate = TokenGate(registry.handle, secret=secrets.token_bytes(32), clock=time.monotonic)
        with RegistryServer(gate.handle, rate=RATE) as server:
            print(
                f"# {', '.join(tags)}: docker.io/library/redis is http://{server.address} here (hosts.toml)"
            )
            work = folder / "work"
            work.mkdir()
            try:
                show(Demo(work, server.address), keep=keep)
            except Failed as error:
                print(f"demo: {error}", file=sys.stderr)
                return 1
    say(f"All of it worked, in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
