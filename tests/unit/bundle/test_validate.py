"""The rules of the runtime specification: what keeps them passes, and every broken one is named."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.bundle.validate import validate
from distore.errors import InvalidArgument

GOLDEN = Path(__file__).parents[2] / "golden" / "bundle"
PLAIN: dict[str, Any] = json.loads((GOLDEN / "rootless.json").read_text())
MISSING = object()
ID_MAP = {"containerID": 0, "hostID": 0, "size": 1}
SYSCALL = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}


def with_value(path: str, value: object) -> dict[str, Any]:
    """The plain document with one value changed, added or (MISSING) removed."""
    document = copy.deepcopy(PLAIN)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    at: Any = document
    for part in parents:
        at = at[part] if isinstance(part, int) else at.setdefault(part, {})
    if value is MISSING:
        del at[last]
    else:
        at[last] = value
    return document


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_what_we_write_keeps_the_rules(name: str) -> None:
    validate(json.loads((GOLDEN / f"{name}.json").read_text()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ociVersion", "1.2.1-dev+x"),
        ("unknown", {"anything": [None]}),
        ("process.unknown", 1),
        ("annotations", {"a": ""}),
        ("hooks", {"poststop": [{"path": "/bin/true", "args": ["true"], "timeout": 1}], "unknown": 1}),
        ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}]),
        ("process.user.umask", 0o22),
        ("process.oomScoreAdj", -1000),
        ("process.consoleSize", {"height": 24, "width": 80}),
        ("linux.sysctl", {"net.ipv4.ip_forward": "1"}),
        ("linux.rootfsPropagation", "slave"),
        (
            "linux.devices",
            [{"type": "p", "path": "/dev/pipe"}, {"type": "c", "path": "/x", "major": 1, "minor": 3}],
        ),
        ("linux.resources", {"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": 10}}),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}),
        ("linux.uidMappings", [ID_MAP, {"containerID": 1, "hostID": 1, "size": 2**32 - 1}]),
        ("linux.cgroupsPath", "system.slice:x:y"),
        ("mounts", [{"destination": "/x"}]),
    ],
)
def test_what_the_specification_allows_passes(path: str, value: object) -> None:
    validate(with_value(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("ociVersion", MISSING, "ociVersion: missing"),
        ("ociVersion", 1, "ociVersion: not a string"),
        ("ociVersion", "2.0.0", "ociVersion: want a version 1.x.y"),
        ("ociVersion", "1.0", "ociVersion: want"),
        ("root", MISSING, "root: missing"),
        ("root", [], "root: not an object"),
        ("root.path", "", "root.path: is empty"),
        ("root.path", "a\0b", "a NUL in"),
        ("root.readonly", "yes", "root.readonly: neither true nor false"),
        ("process", MISSING, "process: missing"),
        ("process.cwd", MISSING, "process.cwd: missing"),
        ("process.cwd", "srv", "process.cwd: 'srv' is not absolute"),
        ("process.args", [], "process.args: want a program"),
        ("process.args", [""], "process.args: want a program"),
        ("process.args", "sh", "process.args: not a list"),
        ("process.args", [1], "process.args: not a list of strings"),
        ("process.args", ["sh", "\0"], "a NUL in"),
        ("process.env", ["A"], "process.env: 'A' is not NAME=VALUE"),
        ("process.env", ["=A"], "not NAME=VALUE"),
        ("process.user", MISSING, "process.user: missing"),
        ("process.user.uid", -1, "process.user.uid: want a whole number"),
        ("process.user.uid", True, "process.user.uid: want"),
        ("process.user.gid", 2**32 - 1, "process.user.gid: want"),
        ("process.user.gid", "0", "process.user.gid: want"),
        ("process.user.umask", 0o1000, "process.user.umask: want"),
        ("process.user.additionalGids", [-1], "additionalGids: want group ids"),
        ("process.user.additionalGids", ["0"], "additionalGids: want group ids"),
        ("process.terminal", 1, "process.terminal: neither"),
        ("process.consoleSize", {"height": 1}, "process.consoleSize.width: missing"),
        ("process.oomScoreAdj", 1001, "process.oomScoreAdj: want"),
        ("process.capabilities.bounding", ["CAP_FLY"], "bounding: there is no 'CAP_FLY'"),
        ("process.capabilities.effective", ["CAP_BPF"], "effective: more than what is permitted"),
        ("process.capabilities.ambient", ["CAP_KILL"], "ambient: want what is permitted and inheritable"),
        ("process.rlimits", [{"type": "NOFILE", "soft": 1, "hard": 1}], "rlimits[0].type: 'NOFILE' is none"),
        (
            "process.rlimits",
            [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}],
            "rlimits[0].soft: over the hard one",
        ),
        ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 2}], "rlimits[0].hard: missing"),
        ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1, "hard": 2**64}], "rlimits[0].hard: want"),
        ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2, "there twice"),
        ("hostname", "h" * 65, "hostname: want 64 bytes"),
        ("mounts", [{"source": "x"}], "mounts[0].destination: missing"),
        ("mounts", [{"destination": "x"}], "mounts[0].destination: 'x' is not absolute"),
        ("mounts", ["/x"], "mounts[0]: not an object"),
        ("mounts", {}, "mounts: not a list"),
        ("mounts", [{"destination": "/x", "options": ["rbind"]}], "mounts[0].source: a bind mount has one"),
        ("mounts", [{"destination": "/x", "options": "ro"}], "mounts[0].options: not a list"),
        ("linux.namespaces", [{"type": "sky"}], "namespaces[0].type: 'sky' is none of"),
        ("linux.namespaces", [{"type": "pid", "path": "ns"}], "namespaces[0].path: 'ns' is not absolute"),
        ("linux.namespaces", [{"type": "pid"}, {"type": "pid"}], "namespaces: one of them is there twice"),
        ("linux.namespaces", [{"type": "mount"}], "uidMappings: without a user namespace"),
        ("linux.uidMappings", [ID_MAP, ID_MAP], "uidMappings: an id is in two of them"),
        ("linux.uidMappings", [ID_MAP, {**ID_MAP, "containerID": 5}], "an id is in two of them"),
        ("linux.gidMappings", [{**ID_MAP, "size": 0}], "gidMappings[0].size: want"),
        ("linux.gidMappings", [{**ID_MAP, "hostID": 9, "size": 2**32 - 1}], "it goes past the last id"),
        ("linux.gidMappings", [{"containerID": 0}], "gidMappings[0].hostID: missing"),
        ("linux.maskedPaths", ["proc"], "maskedPaths: 'proc' is not absolute"),
        ("linux.readonlyPaths", [0], "readonlyPaths: not a list of strings"),
        ("linux.cgroupsPath", "/a/../../b", "cgroupsPath: is empty, or leads out"),
        ("linux.cgroupsPath", "", "cgroupsPath: is empty"),
        ("linux.rootfsPropagation", "rslave", "rootfsPropagation: 'rslave' is none of"),
        ("linux.sysctl", {"a": 1}, "sysctl: want texts"),
        ("linux.devices", [{"type": "x", "path": "/x"}], "devices[0].type: 'x' is none of"),
        ("linux.devices", [{"type": "c", "path": "/x", "major": 1}], "devices[0].minor: missing"),
        ("linux.devices", [{"type": "p", "path": "/x"}, {"type": "p", "path": "/x"}], "'/x' is there twice"),
        ("linux.resources", {"devices": [{"access": "r"}]}, "devices[0].allow: missing"),
        ("linux.resources", {"devices": [{"allow": True, "access": "rx"}]}, "access: want some of"),
        ("linux.resources", {"memory": {"limit": 1.5}}, "memory.limit: want a whole number"),
        ("linux.seccomp", {}, "seccomp.defaultAction: missing"),
        ("linux.seccomp", {"defaultAction": "ALLOW"}, "defaultAction: 'ALLOW' is none of"),
        ("linux.seccomp.architectures", ["amd64"], "architectures: there is no 'amd64'"),
        ("linux.seccomp.flags", ["X"], "flags: there is no 'X'"),
        ("linux.seccomp.syscalls", [{**SYSCALL, "names": []}], "syscalls[0].names: want names"),
        ("linux.seccomp.syscalls", [{**SYSCALL, "errnoRet": 1}], "errnoRet: SCMP_ACT_ALLOW takes none"),
        ("linux.seccomp.syscalls", [{"names": ["read"]}], "syscalls[0].action: missing"),
        (
            "linux.seccomp.syscalls",
            [{**SYSCALL, "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}],
            "args[0].index: want a whole number from 0 to 5",
        ),
        (
            "linux.seccomp.syscalls",
            [{**SYSCALL, "args": [{"index": 0, "value": 2**64, "op": "SCMP_CMP_EQ"}]}],
            "args[0].value: want",
        ),
        ("linux.seccomp.syscalls", [{**SYSCALL, "args": [{"index": 0, "value": 1}]}], "args[0].op: missing"),
        ("hooks", {"poststop": [{"path": "true"}]}, "hooks.poststop[0].path: 'true' is not absolute"),
        ("hooks", {"prestart": [{"path": "/x", "timeout": 0}]}, "prestart[0].timeout: want"),
        ("annotations", {"": "x"}, "annotations: want texts"),
        ("annotations", {"x": 1}, "annotations: want texts"),
    ],
)
def test_a_broken_rule_is_named_with_its_field(path: str, value: object, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)) as caught:
        validate(with_value(path, value))

    assert str(caught.value).startswith("config.json: ")
    assert "\n" not in str(caught.value)


def test_a_host_name_needs_a_namespace_of_its_own() -> None:
    document = with_value("hostname", "box")
    document["linux"]["namespaces"] = [{"type": "user"}]

    with pytest.raises(InvalidArgument, match="a uts namespace"):
        validate(document)


def test_a_document_of_any_depth_ends() -> None:
    deep: object = 1
    for _ in range(5000):
        deep = [deep]

    with pytest.raises(InvalidArgument, match="objects in objects"):
        validate(with_value("unknown", deep))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
PLACES = [
    "process", "process.user", "process.args", "process.env", "process.capabilities", "process.rlimits",
    "root", "mounts", "hostname", "linux", "linux.namespaces", "linux.uidMappings", "linux.seccomp",
    "linux.seccomp.syscalls", "linux.devices", "linux.resources", "hooks", "annotations",
]  # fmt: skip


@pytest.mark.slow
@given(st.sampled_from(PLACES), JSON)
def test_whatever_stands_there_it_passes_or_is_refused(path: str, value: object) -> None:
    document = with_value(path, value)

    try:
        validate(document)
    except InvalidArgument as error:
        assert str(error).startswith("config.json: ")
