"""The contract of snapshotters on every implementation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.mount import Mount, may_mount, mounting
from distore.snapshots.snapshotter import Snapshotter
from distore.testing.snapshot_contents import Show
from distore.testing.snapshot_suite import SnapshotSuite

NESTED = "DISTORE_IN_USER_NAMESPACE"
WORKER = """
import sys
from distore.content.local.store import LocalStore
from distore.errors import DistoreError
from distore.metadata.db import Metadata
snapshots = Metadata(LocalStore(sys.argv[1]), command="dist test").snapshotter(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
try:
    if sys.argv[3] == "prepare":
        snapshots.prepare("key")
    elif sys.argv[3] == "commit":
        snapshots.commit("name", "key")
    else:
        snapshots.remove("key")
except DistoreError as error:
    print(type(error).__name__)
else:
    print("ok")
"""


class TestSnapshotters(SnapshotSuite):
    @pytest.fixture(params=["overlayfs", "native"])
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def metadata(self, tmp_path: Path) -> Iterator[Metadata]:
        store = LocalStore(str(tmp_path / "store"))
        yield Metadata(store, command="dist test")
        store.close()

    @pytest.fixture
    def snapshots(self, metadata: Metadata, name: str) -> Snapshotter:
        return metadata.snapshotter(name)

    @pytest.fixture
    def reopen(self, tmp_path: Path, name: str) -> Callable[[], Snapshotter]:
        return lambda: Metadata(LocalStore(str(tmp_path / "store")), command="again").snapshotter(name)

    @pytest.fixture
    def other(self, metadata: Metadata, name: str) -> Snapshotter:
        return Metadata(metadata.content.view(namespace="other"), command="dist test").snapshotter(name)

    @pytest.fixture
    def leased(self, metadata: Metadata, name: str) -> tuple[Snapshotter, Callable[[], set[str]]]:
        id = metadata.leases.create("work").id
        view = Metadata(metadata.content.view(lease=id), command="dist test").snapshotter(name)

        def held() -> set[str]:
            found = list(metadata.leases.resources(id))
            assert {each.type for each in found} <= {f"snapshots/{name}"}
            return {each.key for each in found}

        return view, held

    @pytest.fixture
    def show(self, tmp_path: Path) -> Show:
        @contextmanager
        def shown(mounts: Sequence[Mount]) -> Iterator[Path]:
            if not may_mount():
                pytest.skip("only root may mount")
            target = Path(tempfile.mkdtemp(dir=tmp_path))
            with mounting([replace(one, target=str(target)) for one in mounts]):
                yield target

        return shown

    @pytest.fixture
    def race(self, tmp_path: Path, name: str) -> Callable[[str, int], list[str]]:
        def run(act: str, number: int) -> list[str]:
            command = [sys.executable, "-I", "-c", WORKER, str(tmp_path / "store"), name, act]
            started = [
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                for _ in range(number)
            ]
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            for process in started:
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            return [process.communicate(timeout=60)[0].strip() for process in started]

        return run


@pytest.mark.slow
@pytest.mark.skipif(NESTED in os.environ, reason="runs the others, once")
def test_the_suite_passes_in_a_user_namespace(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    command = [str(unshare), "--user", "--map-root-user", "--mount"]
    if unshare is None or subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    tests = [__file__, "-k", "overlayfs", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-n", "0"]
    command += [sys.executable, "-m", "pytest", *tests, f"--basetemp={tmp_path / 'inner'}"]

    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, NESTED: "1"}, timeout=100
    )

    assert done.returncode == 0, done.stdout[-3000:]
    assert "only root may mount" not in done.stdout
