"""Platforms: spellings, what a machine runs, and fields that nobody should send."""

from __future__ import annotations

import pytest

from distore.errors import InvalidArgument
from distore.oci.platform import MAX_FIELD, Only, Platform

ARM_HOST = Platform(os="linux", architecture="arm", variant="v6")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux", "linux/amd64"),
        ("windows", "windows/amd64"),
        ("macos", "darwin/amd64"),
        ("amd64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("riscv64", "linux/riscv64"),
        ("armhf", "linux/arm/v7"),
        ("linux/amd64", "linux/amd64"),
        ("Linux/X86_64", "linux/amd64"),
        ("linux/x86-64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/i386/x", "linux/386"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/arm/v8", "linux/arm/v8"),
        ("linux/armhf/v6", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("plan10/abacus/x.y", "plan10/abacus/x.y"),
        ("windows(10.0.17763)", "windows(10.0.17763)/amd64"),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ("windows(10.0.17763+win32k)/amd64", "windows(10.0.17763+win32k)/amd64"),
        ("linux(+b+a+b)/arm64", "linux(+a+b)/arm64"),
        ("linux()/arm64", "linux/arm64"),
        ("linux(a%2Fb%20%C3%A9)/arm64", "linux(a%2Fb%20%C3%A9)/arm64"),
    ],
)
def test_a_platform_has_one_normal_form(text: str, normal: str) -> None:
    platform = Platform.parse(text)

    assert str(platform) == normal
    assert Platform.parse(normal) == platform == platform.normalized()


def test_what_a_single_word_leaves_open_comes_from_the_host() -> None:
    assert str(Platform.parse("freebsd", host=ARM_HOST)) == "freebsd/arm/v6"
    assert str(Platform.parse("s390x", host=Platform.parse("zos/s390x"))) == "zos/s390x"
    assert str(Platform.parse("linux/arm", host=ARM_HOST)) == "linux/arm/v7"


@pytest.mark.parametrize(
    ("system", "machine", "normal"),
    [
        ("Linux", "x86_64", "linux/amd64"),
        ("Linux", "aarch64", "linux/arm64"),
        ("Linux", "armv7l", "linux/arm/v7"),
        ("Linux", "armv6l", "linux/arm/v6"),
        ("Linux", "i686", "linux/386"),
        ("Linux", "ppc64le", "linux/ppc64le"),
        ("Darwin", "arm64", "darwin/arm64"),
        ("FreeBSD", "amd64", "freebsd/amd64"),
    ],
)
def test_the_host_is_what_uname_says(system: str, machine: str, normal: str) -> None:
    assert str(Platform.host(system=system, machine=machine)) == normal


def test_version_and_features_of_the_os_are_unescaped() -> None:
    platform = Platform.parse("linux(5%2B1%25+a%28b)/arm64")

    assert (platform.os_version, platform.os_features) == ("5+1%", ("a(b",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "linux/",
        "/amd64",
        "linux//v7",
        "abacus",
        "linux/amd64/v1/x",
        "linux/amd64 ",
        "linux/*",
        "li nux/amd64",
        "li.nux/amd64",
        "linux\n/amd64",
        "linux/ämd64",
        "linux(/amd64",
        "linux(5)6/amd64",
        "linux(a+)/amd64",
        "arm64(5)",
        "linux(%)/amd64",
        "linux(%4)/amd64",
        "linux(%zz)/amd64",
        "linux(%ff)/amd64",
        "linux(%00)/amd64",
        "linux(%0A)/amd64",
        "linux/" + "a" * 65,
        "linux(" + "1" * 300 + ")/amd64",
        "/" * 2_000_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_platform_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidArgument, match="platform") as caught:
        Platform.parse(text)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("host", "best_first"),
    [
        ("linux/amd64", ["linux/amd64", "linux/386"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/amd64/odd", ["linux/amd64/odd", "linux/386"]),
        ("linux/arm/v8", ["linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v5", ["linux/arm/v5"]),
        ("linux/arm64", ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        (
            "linux/arm64/v8.2",
            [
                *("linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64"),
                *("linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"),
            ],
        ),
        (
            "linux/arm64/v9.1",
            [
                *("linux/arm64/v9.1", "linux/arm64/v9"),
                *(
                    "linux/arm64/v8.6",
                    "linux/arm64/v8.5",
                    "linux/arm64/v8.2",
                    "linux/arm64/v8.1",
                    "linux/arm64",
                ),
                *("linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"),
            ],
        ),
        ("linux/riscv64/rva22", ["linux/riscv64/rva22", "linux/riscv64"]),
        ("linux/s390x", ["linux/s390x"]),
        ("windows/amd64", ["windows/amd64", "windows(10.0.20348)/amd64"]),
    ],
)
def test_a_machine_runs_older_variants_and_prefers_the_newest(host: str, best_first: list[str]) -> None:
    everything = [
        *("linux/386", "linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4"),
        *("linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8", "linux/amd64/odd"),
        *("linux/arm64", "linux/arm64/v8.1", "linux/arm64/v8.2", "linux/arm64/v8.5", "linux/arm64/v8.6"),
        *("linux/arm64/v8.7", "linux/arm64/v9", "linux/arm64/v9.1", "linux/arm64/v9.2", "linux/s390x"),
        *("linux/riscv64", "linux/riscv64/rva22", "linux/riscv64/rva23", "windows/amd64"),
        *("windows(10.0.20348)/amd64", "freebsd/amd64", "unknown/unknown"),
    ]
    only = Only(Platform.parse(host))

    best = only.best([Platform.parse(text) for text in everything])

    assert [str(platform) for platform in best] == best_first
    assert [text for text in everything if only.match(Platform.parse(text))] == sorted(
        best_first, key=everything.index
    )


def test_a_document_may_spell_a_platform_its_own_way() -> None:
    spelled = Platform(os="Linux", architecture="aarch64", variant="v8")

    assert Only(Platform.parse("linux/arm64")).rank(spelled) == 0
    assert Only(spelled).rank(Platform.parse("linux/arm64")) == 0


@pytest.mark.parametrize(
    ("image", "runs"),
    [
        ("windows(10.0.17763.1)/amd64", True),
        ("windows(10.0.17763.9999)/amd64", True),
        ("windows/amd64", True),
        ("windows(10.0.20348.1)/amd64", False),
        ("windows(10.0)/amd64", False),
    ],
)
def test_windows_wants_the_same_build(image: str, runs: bool) -> None:
    only = Only(Platform.parse("windows(10.0.17763.5329)/amd64"))

    assert only.match(Platform.parse(image)) is runs


def test_linux_does_not_care_for_the_version_of_the_os() -> None:
    only = Only(Platform.parse("linux(5.0)/amd64"))

    assert only.match(Platform.parse("linux(6.0)/amd64"))


def test_an_image_that_wants_features_needs_a_host_that_has_them() -> None:
    image = Platform.parse("linux(+a+b)/amd64")

    assert Only(Platform.parse("linux(+b+a+c)/amd64")).match(image)
    assert not Only(Platform.parse("linux(+a)/amd64")).match(image)
    assert Only(Platform.parse("linux(+a)/amd64")).match(Platform.parse("linux/amd64"))


def test_json_is_kept_as_it_stands() -> None:
    document = {
        "architecture": "ARM64",
        "os": "windows",
        "os.version": "10.0.17763",
        "os.features": ["win32k", "b", "a"],
        "variant": "v8",
    }

    platform = Platform.from_json(document)

    assert platform.to_json() == document
    assert list(platform.to_json()) == list(document)
    assert Platform.from_json({"os": "linux", "architecture": "amd64"}).to_json() == {
        "architecture": "amd64",
        "os": "linux",
    }


def test_a_platform_that_says_nothing_is_unknown_and_runs_nowhere() -> None:
    nothing = Platform.from_json({"variant": None, "features": ["sse4"]})

    assert str(nothing) == "unknown"
    assert not Only(Platform.parse("linux/amd64")).match(nothing)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "linux/amd64",
        {"os": 1, "architecture": "amd64"},
        {"os": "linux", "architecture": ["amd64"]},
        {"os": "linux", "architecture": "amd64", "variant": False},
        {"os": "linux", "architecture": "amd64", "os.version": 5},
        {"os": "linux", "architecture": "amd64", "os.features": "win32k"},
        {"os": "linux", "architecture": "amd64", "os.features": {}},
        {"os": "linux", "architecture": "amd64", "os.features": [1]},
        {"os": "linux", "architecture": "amd64", "os.features": ["\x1b[31m"]},
        {"os": "linux\n", "architecture": "amd64"},
        {"os": "\ud800", "architecture": "amd64"},
        {"os": "linux", "architecture": "a" * (MAX_FIELD + 1)},
    ],
)
def test_json_of_another_shape_is_refused(document: object) -> None:
    with pytest.raises(InvalidArgument, match="platform") as caught:
        Platform.from_json(document)

    assert str(caught.value).isprintable()
