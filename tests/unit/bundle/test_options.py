"""Capabilities, system calls and mounts: what is asked for, and what that means."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distore.bundle import mounts
from distore.bundle.capabilities import DEFAULT, NAMES, chosen, known_here
from distore.bundle.mounts import default_mounts, host_network_mounts, parse_mount
from distore.bundle.seccomp import NAMESPACE_FLAGS, default_profile, parse_profile
from distore.bundle.validate_seccomp import check_seccomp
from distore.bundle.validating import At
from distore.errors import InvalidArgument, NotFound


def test_containers_have_the_capabilities_that_containerd_gives() -> None:
    assert chosen() == DEFAULT
    assert len(DEFAULT) == 14
    assert set(DEFAULT) < set(NAMES)


@pytest.mark.parametrize(
    ("add", "drop", "found"),
    [
        (["sys_admin"], [], (*DEFAULT, "CAP_SYS_ADMIN")),
        (["CAP_KILL", "kill"], [], DEFAULT),
        ([], ["all"], ()),
        (["Net_Raw"], ["ALL"], ("CAP_NET_RAW",)),
        (["ALL"], ["MKNOD"], tuple(name for name in NAMES if name != "CAP_MKNOD")),
        (["ALL"], ["ALL"], ()),
        ([], ["MKNOD", "KILL"], tuple(name for name in DEFAULT if name not in ("CAP_MKNOD", "CAP_KILL"))),
    ],
)
def test_capabilities_are_added_and_dropped(add: list[str], drop: list[str], found: tuple[str, ...]) -> None:
    assert chosen(add, drop) == found


@pytest.mark.parametrize("name", ["", "FLY", "CAP_", "CAP_CAP_KILL", "KILL "])
def test_no_capability_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="there is none"):
        chosen([name])


def test_all_are_those_that_the_kernel_has() -> None:
    assert chosen(["ALL"], known=NAMES[:3]) == NAMES[:3]
    assert known_here() == NAMES[: len(known_here())]


def names(profile: dict[str, Any], action: str = "SCMP_ACT_ALLOW", *, bare: bool = True) -> set[str]:
    rules = [rule for rule in profile["syscalls"] if rule["action"] == action]
    return {name for rule in rules if bool(rule.get("args")) != bare for name in rule["names"]}


@pytest.mark.parametrize(
    "architecture", ["amd64", "386", "arm64", "arm", "ppc64le", "riscv64", "s390x", "mips64le", "odd"]
)
def test_the_profile_keeps_the_rules_on_every_architecture(architecture: str) -> None:
    profile = default_profile(architecture, DEFAULT)

    check_seccomp(At(profile, "x: seccomp"))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"


def test_a_machine_takes_the_calls_of_its_smaller_sisters() -> None:
    assert default_profile("amd64", ())["architectures"] == [
        "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32",
    ]  # fmt: skip
    assert default_profile("arm64", ())["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert "architectures" not in default_profile("odd", ())


def test_what_no_container_needs_is_forbidden() -> None:
    allowed = names(default_profile("amd64", DEFAULT))

    assert {"read", "execve", "openat2", "futex", "statx", "pidfd_open", "rseq", "chroot"} <= allowed
    forbidden = (
        "mount umount2 unshare setns bpf perf_event_open keyctl add_key request_key userfaultfd kexec_load"
        " init_module open_by_handle_at reboot swapon io_uring_setup clone clone3 personality socket iopl"
        " settimeofday syslog quotactl pivot_root move_pages nfsservctl"
    )
    assert not allowed & set(forbidden.split())


def test_a_capability_brings_the_calls_that_need_it() -> None:
    allowed = names(default_profile("amd64", (*DEFAULT, "CAP_SYS_ADMIN", "CAP_SYS_TIME", "CAP_SYSLOG")))

    assert {"mount", "unshare", "clone", "clone3", "bpf", "clock_settime", "syslog"} <= allowed
    assert "reboot" not in allowed
    assert "chroot" not in names(default_profile("amd64", ()))


def test_new_namespaces_need_a_capability() -> None:
    profile = default_profile("amd64", DEFAULT)

    (rule,) = [rule for rule in profile["syscalls"] if rule["names"] == ["clone"]]  # type: ignore[attr-defined]  # JSON
    assert rule["args"] == [{"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    assert names(profile, "SCMP_ACT_ERRNO") == {"clone3"}
    (other,) = [
        rule
        for rule in default_profile("s390x", DEFAULT)["syscalls"]  # type: ignore[attr-defined]  # JSON
        if rule["names"] == ["clone"]
    ]
    assert other["args"][0]["index"] == 1


def test_some_calls_depend_on_their_arguments() -> None:
    profile = default_profile("amd64", DEFAULT)

    assert names(profile, bare=False) == {"personality", "socket", "clone"}


def test_every_allowed_call_has_one_name() -> None:
    listed = default_profile("amd64", NAMES)["syscalls"][0]["names"]  # type: ignore[index]  # JSON

    assert len(set(listed)) == len(listed)
    assert all(re.fullmatch(r"_?[a-z0-9_]+", name) for name in listed)


def test_a_profile_of_ones_own_is_read_as_it_is() -> None:
    own = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}

    assert parse_profile(json.dumps(own).encode(), subject="x") == own


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"archMap": []}', "conditions"),
        (b'{"syscalls": [{"names": ["x"], "includes": {"caps": ["CAP_X"]}}]}', "conditions"),
    ],
)
def test_other_forms_of_profiles_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_profile(data, subject="profile x")


@pytest.mark.parametrize(
    ("text", "type", "options"),
    [
        ("type=bind,src={0},dst=/x", "bind", ("rbind", "rprivate")),
        ("src={0},target=/x,ro", "bind", ("rbind", "ro", "rprivate")),
        ("type=bind,source={0},destination=/x,readonly", "bind", ("rbind", "ro", "rprivate")),
        ("type=bind,source={0},destination=/x,readonly=true", "bind", ("rbind", "ro", "rprivate")),
        ("src={0},dst=//x/../x/,bind,rslave,nosuid", "bind", ("bind", "rslave", "nosuid")),
        ("type=tmpfs,dst=/x", "tmpfs", ("nosuid", "nodev")),
        (
            "type=tmpfs,dst=/x,size=1m,mode=0700,ro",
            "tmpfs",
            ("nosuid", "nodev", "size=1m", "mode=0700", "ro"),
        ),
    ],
)
def test_mounts_are_asked_for_as_with_docker(
    tmp_path: Path, text: str, type: str, options: tuple[str, ...]
) -> None:
    found = parse_mount(text.format(tmp_path))

    assert (found.destination, found.type, found.options) == ("/x", type, options)
    assert found.source == (str(tmp_path) if type == "bind" else "tmpfs")


def test_a_source_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert parse_mount("src=.,dst=/x").source == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty option"),
        ("src=/", "want an absolute path in the container"),
        ("src=/,dst=x", "want an absolute path in the container"),
        ("src=/,dst=/", "not over the root"),
        ("src=/,dst=/a/..", "not over the root"),
        ("dst=/x", "want a source"),
        ("type=volume,src=/,dst=/x", "want bind or tmpfs"),
        ("type=bind,src=/,src=/,dst=/x", "want one source"),
        ("src=/,dst=/x,", "an empty option"),
        ("src=,dst=/x", "want one source"),
        ("src=/,dst=/\0", "a NUL"),
    ],
)
def test_what_is_no_mount_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_mount(text)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"source '{tmp_path}/none': not found"):
        parse_mount(f"src={tmp_path}/none,dst=/x")


def test_rootless_mounts_need_nothing_of_the_machines_root() -> None:
    found = {one.destination: one for one in default_mounts(is_rootless=True)}

    assert "gid=5" not in found["/dev/pts"].options
    assert (found["/sys"].type, "rbind" in found["/sys"].options) == ("none", True)


def test_the_machines_names_for_hosts_are_mounted_where_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts").write_text("")
    monkeypatch.setattr(mounts, "_ETC", (str(tmp_path / "hosts"), str(tmp_path / "resolv.conf")))

    (only,) = host_network_mounts()

    assert (only.source, only.options) == (str(tmp_path / "hosts"), ("rbind", "ro"))
