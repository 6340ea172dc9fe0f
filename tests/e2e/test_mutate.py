"""``dist mutate``: an image of the store, changed under a new name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.offered import failure, offer
from tests.unit.transfer.mutate_images import files

from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Done = subprocess.CompletedProcess[bytes]
Dist = Callable[..., Done]


@pytest.fixture
def app(dist: Dist, registry: FakeRegistry) -> str:
    """The digest of an image that the store has as app:1."""
    root = offer(registry, "team/app:1")
    assert dist("copy", "-q", f"{registry.address}/team/app:1", "store:app:1").returncode == 0
    return str(root.digest)


def good(done: Done) -> str:
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode().strip()


def config_of(dist: Dist, name: str) -> Any:
    return json.loads(good(dist("inspect", "--config", f"store:{name}")))


def test_a_changed_image_gets_the_new_name_and_the_old_one_stays(dist: Dist, app: str) -> None:
    digest = good(
        dist(
            *("mutate", "app:1", "app:2", "--env", "A=b c", "--label", "team=data", "--user", "1000"),
            *("--entrypoint", "/app --serve", "--cmd", '["a", "b c"]', "--exposed-port", "80"),
            *("--volume", "/data", "--workdir", "/srv", "--stop-signal", "SIGINT", "--author", "ann"),
            *("--created", "1700000000", "--annotation", "k=v"),
        )
    )

    names = dict(line.split()[:2] for line in dist("images").stdout.decode().splitlines()[1:])
    assert names == {"docker.io/library/app:1": app, "docker.io/library/app:2": digest}
    config = config_of(dist, "app:2")
    assert (config["author"], config["created"]) == ("ann", "2023-11-14T22:13:20Z")
    run = config["config"]
    assert {key: run[key] for key in ("Entrypoint", "Cmd", "User", "ExposedPorts")} == {
        "Entrypoint": ["/app", "--serve"],
        "Cmd": ["a", "b c"],
        "User": "1000",
        "ExposedPorts": {"80/tcp": {}},
    }
    assert "A=b c" in run["Env"]
    assert json.loads(good(dist("get", digest)))["annotations"]["k"] == "v"


def test_layers_come_from_standard_input_and_from_folders(dist: Dist, app: str, tmp_path: Path) -> None:
    (tmp_path / "tree" / "etc").mkdir(parents=True)
    (tmp_path / "tree" / "etc" / "file").write_text("text")
    words = ("mutate", "app:1", "app:2", "--append", "-", "--append", "tree/")
    moment = {"SOURCE_DATE_EPOCH": "1700000000"}

    first = good(dist(*words, input=files("x"), env=moment))
    second = good(dist(*words, input=files("x"), env=moment))

    assert first == second
    steps = config_of(dist, "app:2")["history"][-2:]
    assert steps == [
        {"created": "2023-11-14T22:13:20Z", "created_by": f"dist mutate --append {name}"}
        for name in ("standard input", "tree")
    ]


def test_json_tells_what_was_made(dist: Dist, app: str) -> None:
    done = dist("mutate", "--json", app, "app:2", "--label", "a=b")

    told = json.loads(good(done))
    assert list(told) == ["name", "target", "changed", "dropped"]
    assert (told["name"], told["changed"], told["dropped"]) == ("docker.io/library/app:2", 1, [])


def test_a_change_that_changes_nothing_says_so_and_names_the_same_image(dist: Dist, app: str) -> None:
    done = dist("mutate", "app:1", "app:same", "--unset-env", "NONE")

    assert (done.returncode, done.stdout.decode().strip()) == (0, app)
    assert done.stderr == b"dist: that is how it was\n"


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["app:1", "app:2"], 2, "nothing to change"),
        (["none:1", "app:2", "--env", "A=1"], 11, "dist pull brings it"),
        (["app:1", "app:2", "--env", "A"], 2, "want NAME=VALUE"),
        (["app:1", "app:2", "--label", "=x"], 2, "want KEY=VALUE"),
        (["app:1", "app:2", "--cmd", "[1]"], 2, "want a JSON list of strings"),
        (["app:1", "app:2", "--cmd", "'"], 2, "want a JSON list of strings"),
        (["app:1", "app:2", "--created", "now"], 2, "want a time such as"),
        (["app:1", "app:2", "--created", "2026-01-01T00:00:00"], 2, "no time zone"),
        (["app:1", "app:2", "--exposed-port", "http"], 2, "want a port"),
        (["app:1", "app:2", "--append", "none.tar"], 11, "none.tar: no such file or folder"),
        (["app:1", "app:2", "--append", "-", "--append", "-"], 2, "can be read once"),
        (["app:1", "app:2", "--append", "-"], 14, "standard input: not a tar file"),
        (["app:1", "app:2", "--index-annotation", "a=b"], 14, "no index"),
        (["app:1", "app:2", "--set-platform", "?"], 2, "want os/architecture"),
        (["app:1", "app:2", "--platform", "linux/s390x", "--env", "A=1"], 11, "not for linux/s390x"),
        (["app:1", "app@sha256:" + 64 * "0", "--env", "A=1"], 2, "leave it out"),
        (["app:1", "app:2", "--rebase", "app:1", "none:1"], 11, "dist pull brings it"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], status: int, part: str, dist: Dist, app: str
) -> None:
    assert part in failure(dist("mutate", *words), status)
    assert good(dist("images", "-q")) == "docker.io/library/app:1"
