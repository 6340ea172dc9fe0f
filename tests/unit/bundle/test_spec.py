"""From an image's config to a runtime's; the whole documents are in tests/golden/bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distore._internal.userns import IdMap, Maps
from distore.bundle import mounts
from distore.bundle.capabilities import chosen
from distore.bundle.mounts import parse_mount
from distore.bundle.spec import PATH, Network, SpecOptions, runtime_config, user_of
from distore.bundle.users import User
from distore.bundle.validate import validate
from distore.errors import DistoreError, FailedPrecondition, InvalidArgument, ResourceExhausted
from distore.oci.runconfig import MAX_WORD, RunConfig

GOLDEN = Path(__file__).parents[2] / "golden" / "bundle"
ROOT = User(uid=0, gid=0, groups=(0,), home="/root")
APP = User(uid=1000, gid=1000, groups=(1000, 44), home="/home/app")
SHELL = RunConfig(cmd=("sh",))
SERVER = RunConfig(
    user="app",
    env=("PATH=/bin", "LANG=C.UTF-8", "PORT=80"),
    entrypoint=("/entry", "--"),
    cmd=("serve", "--fast"),
    working_dir="/srv",
)
ONE_ID = Maps(
    uids=(IdMap(container=0, host=1000, size=1),), gids=(IdMap(container=0, host=1000, size=1),), groups=False
)
RANGES = Maps(
    uids=(IdMap(container=0, host=1000, size=1), IdMap(container=1, host=100_000, size=65_536)),
    gids=(IdMap(container=0, host=1000, size=1), IdMap(container=1, host=100_000, size=65_536)),
    groups=True,
)
CASES = {
    "plain": (SHELL, ROOT, SpecOptions(cgroups_path="/default/box"), "amd64"),
    "server": (
        SERVER,
        APP,
        SpecOptions(
            command=("serve", "--slow"),
            env=("PORT=8080", "NEW=1"),
            hostname="box",
            network=Network.HOST,
            read_only=True,
            terminal=True,
            capabilities=chosen(["net_admin"], ["MKNOD", "cap_net_raw"]),
            mounts=(parse_mount("type=tmpfs,dst=/tmp,size=1m"), parse_mount("type=bind,src=/,dst=/run,ro")),
            cgroups_path="/default/box",
        ),
        "arm64",
    ),
    "rootless": (SHELL, ROOT, SpecOptions(is_rootless=True, maps=ONE_ID, new_userns=True), "amd64"),
    "ranges": (SERVER, APP, SpecOptions(is_rootless=True, maps=RANGES, new_userns=True), "s390x"),
    "privileged": (
        SHELL,
        ROOT,
        SpecOptions(capabilities=chosen(["ALL"]), is_confined=False, cgroups_path="/default/box"),
        "riscv64",
    ),
}


def config(
    image: RunConfig = SHELL,
    user: User = ROOT,
    options: SpecOptions | None = None,
    architecture: str = "amd64",
) -> dict[str, Any]:
    document = runtime_config(
        image, user, options or SpecOptions(), architecture=architecture, subject="image x"
    )
    validate(document)
    return document


@pytest.mark.parametrize("name", CASES)
def test_the_documents_are_these(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_ETC", ("/etc/passwd",))  # is on every machine
    image, user, options, architecture = CASES[name]

    document = config(image, user, options, architecture)

    assert document == json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("entrypoint", "command", "words"),
    [
        (None, None, ["/entry", "--", "serve", "--fast"]),
        (None, ("ls",), ["/entry", "--", "ls"]),
        (("sh",), None, ["sh"]),
        (("sh",), ("-c", ""), ["sh", "-c", ""]),
        ((), ("ls",), ["ls"]),
    ],
)
def test_words_take_the_place_of_the_images(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...] | None, words: list[str]
) -> None:
    found = config(SERVER, APP, SpecOptions(entrypoint=entrypoint, command=command))

    assert found["process"]["args"] == words


@pytest.mark.parametrize("options", [SpecOptions(), SpecOptions(entrypoint=()), SpecOptions(command=("",))])
def test_nothing_to_run_is_said(options: SpecOptions) -> None:
    with pytest.raises(FailedPrecondition, match="image x: nothing to run"):
        config(RunConfig(), ROOT, options)


@pytest.mark.parametrize(
    ("image", "given", "user", "env"),
    [
        ((), (), replace(ROOT, home=None), [PATH]),
        ((), (), ROOT, [PATH, "HOME=/root"]),
        (("A=1",), (), replace(ROOT, home=None), [PATH, "A=1"]),
        (("A=1", "PATH=/x", "B="), ("A=2", "C=3"), ROOT, ["A=2", "PATH=/x", "B=", "C=3", "HOME=/root"]),
        (("A=1", "B=2", "A=3"), ("HOME=/",), ROOT, [PATH, "A=3", "B=2", "HOME=/"]),
        (("PATH=",), (), replace(ROOT, home=None), ["PATH="]),
    ],
)
def test_variables_keep_the_order_of_the_image(
    image: tuple[str, ...], given: tuple[str, ...], user: User, env: list[str]
) -> None:
    found = config(RunConfig(cmd=("sh",), env=image), user, SpecOptions(env=given))

    assert found["process"]["env"] == env


@pytest.mark.parametrize(
    ("image", "given", "cwd"),
    [
        ("", None, "/"),
        ("/a/../b//c/", None, "/b/c"),
        ("srv", None, "/srv"),
        ("/a", "/b", "/b"),
        ("/a", "", "/"),
        ("../..", None, "/"),
    ],
)
def test_the_working_folder_is_absolute(image: str, given: str | None, cwd: str) -> None:
    found = config(RunConfig(cmd=("sh",), working_dir=image), ROOT, SpecOptions(working_dir=given))

    assert found["process"]["cwd"] == cwd


def test_a_terminal_has_a_kind_unless_the_image_says_which() -> None:
    assert "TERM=xterm" in config(options=SpecOptions(terminal=True))["process"]["env"]
    own = config(RunConfig(cmd=("sh",), env=("TERM=vt100",)), ROOT, SpecOptions(terminal=True))
    assert own["process"]["env"].count("TERM=vt100") == 1
    assert "TERM=xterm" not in own["process"]["env"]


def test_the_size_of_the_terminal_is_told() -> None:
    found = config(options=SpecOptions(terminal=True, console_size=(24, 80)))

    assert found["process"]["consoleSize"] == {"height": 24, "width": 80}


def test_a_user_that_the_namespace_does_not_know_is_refused() -> None:
    options = SpecOptions(is_rootless=True, maps=ONE_ID, new_userns=True)

    with pytest.raises(FailedPrecondition, match="user 1000 is not mapped"):
        config(SERVER, APP, options)
    with pytest.raises(FailedPrecondition, match="group 5 is not mapped"):
        config(SHELL, User(uid=0, gid=5, groups=(5,)), options)


def test_groups_that_the_namespace_does_not_know_are_left_out() -> None:
    user = User(uid=0, gid=0, groups=(0, 44, 70_000))

    in_ranges = config(SHELL, user, SpecOptions(is_rootless=True, maps=RANGES))
    in_one = config(SHELL, user, SpecOptions(is_rootless=True, maps=ONE_ID))

    assert in_ranges["process"]["user"]["additionalGids"] == [0, 44]
    assert "additionalGids" not in in_one["process"]["user"]


def test_in_a_namespace_that_is_there_the_runtime_makes_none() -> None:
    found = config(SHELL, ROOT, SpecOptions(is_rootless=True, maps=ONE_ID))

    assert {"type": "user"} not in found["linux"]["namespaces"]
    assert "uidMappings" not in found["linux"]


def test_a_mount_takes_the_place_of_a_default_one() -> None:
    own = parse_mount("type=tmpfs,dst=/dev/shm,size=1g")

    found = config(options=SpecOptions(mounts=(own,)))

    shm = [mount for mount in found["mounts"] if mount["destination"] == "/dev/shm"]
    assert shm == [own.to_json()]
    assert found["mounts"][-1] == own.to_json()


def test_the_user_is_the_options_or_the_images() -> None:
    assert user_of(SERVER, SpecOptions()) == "app"
    assert user_of(SERVER, SpecOptions(user="0:0")) == "0:0"
    assert user_of(SERVER, SpecOptions(user="")) == ""


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (SpecOptions(env=("A",)), InvalidArgument),
        (SpecOptions(env=("=1",)), InvalidArgument),
        (SpecOptions(env=("A=\0",)), InvalidArgument),
        (SpecOptions(command=("a\0b",)), InvalidArgument),
        (SpecOptions(command=("a" * (MAX_WORD + 1),)), ResourceExhausted),
        (SpecOptions(working_dir="/\0"), InvalidArgument),
        (SpecOptions(hostname="h" * 65), InvalidArgument),
        (SpecOptions(hostname="a\0"), InvalidArgument),
        (SpecOptions(profile={"defaultAction": "SCMP_ACT_PANIC"}), InvalidArgument),
    ],
)
def test_what_no_process_can_have_is_refused(options: SpecOptions, kind: type[DistoreError]) -> None:
    with pytest.raises(kind):
        config(options=options)
