"""What an image says about running it, and what it must not say."""

from __future__ import annotations

import json

import pytest

from distore.errors import DistoreError, InvalidArgument, ResourceExhausted
from distore.oci import runconfig
from distore.oci.manifest import parse_config
from distore.oci.runconfig import MAX_NAME, MAX_WORD, MAX_WORDS, RunConfig, run_config


def read(own: object) -> RunConfig:
    document: dict[str, object] = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}}
    document["config"] = own
    return run_config(parse_config(json.dumps(document).encode(), subject="x"), subject="image x")


def test_all_that_tells_how_to_run_is_read() -> None:
    found = read(
        {
            "User": "app:video",
            "Env": ["A=1", "B=", "A=2"],
            "Entrypoint": ["/init"],
            "Cmd": ["-v", ""],
            "WorkingDir": "/srv",
            "StopSignal": "SIGQUIT",
            "Labels": {"k": "v"},
            "Volumes": {"/data": {}},
            "ExposedPorts": {"80/tcp": {}},
            "ArgsEscaped": True,
            "OnBuild": ["RUN x"],
        }
    )

    assert found == RunConfig(
        user="app:video",
        env=("A=1", "B=", "A=2"),
        entrypoint=("/init",),
        cmd=("-v", ""),
        working_dir="/srv",
        stop_signal="SIGQUIT",
        labels={"k": "v"},
        volumes=("/data",),
        exposed_ports=("80/tcp",),
    )


@pytest.mark.parametrize("own", [None, {}, dict.fromkeys(("User", "Env", "Cmd", "Labels", "Volumes"))])
def test_what_is_not_said_is_empty(own: object) -> None:
    assert read(own) == RunConfig()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([], "config is not an object"),
        ({"User": 0}, "User is not a string"),
        ({"User": "a\0b"}, "User: a NUL"),
        ({"WorkingDir": "\ud800"}, "not Unicode"),
        ({"WorkingDir": ["/"]}, "WorkingDir is not a string"),
        ({"Env": "A=1"}, "Env is not a list"),
        ({"Env": {"A": "1"}}, "Env is not a list"),
        ({"Env": ["A"]}, "Env: 'A' is not NAME=VALUE"),
        ({"Env": ["=1"]}, "not NAME=VALUE"),
        ({"Env": [1]}, "Env is not a list of strings"),
        ({"Env": ["A=\0"]}, "Env: a NUL"),
        ({"Cmd": "ls"}, "Cmd is not a list"),
        ({"Entrypoint": [None]}, "Entrypoint is not a list of strings"),
        ({"Entrypoint": ["a\0"]}, "Entrypoint: a NUL"),
        ({"Labels": []}, "Labels is not an object"),
        ({"Labels": {"a": 1}}, "Labels is not a list of strings"),
        ({"Volumes": ["/a"]}, "Volumes is not an object"),
        ({"ExposedPorts": {"\0": {}}}, "ExposedPorts: a NUL"),
    ],
)
def test_a_value_of_another_kind_is_refused_in_one_line(own: object, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(own)

    assert message in str(caught.value)
    assert str(caught.value).startswith("image x: its config: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "own",
    [
        {"User": "u" * (MAX_NAME + 1)},
        {"Cmd": ["x" * (MAX_WORD + 1)]},
        {"Env": ["A=" + "ä" * (MAX_WORD // 2)]},
        {"Cmd": [""] * (MAX_WORDS + 1)},
        {"Volumes": {"v" * (MAX_NAME + 1): {}}},
    ],
)
def test_absurd_sizes_are_refused(own: object) -> None:
    with pytest.raises(ResourceExhausted):
        read(own)


def test_sizes_at_the_limit_are_taken() -> None:
    found = read({"User": "u" * MAX_NAME, "Cmd": ["x" * MAX_WORD]})

    assert len(found.user) == MAX_NAME


def test_a_text_that_no_process_can_have_is_refused_wherever_it_comes_from() -> None:
    for text in ("\0", "\udcff", "x" * 11):
        with pytest.raises(DistoreError, match=r"^flag: "):
            runconfig.check_text(text, "flag", limit=10)
