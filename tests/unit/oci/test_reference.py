"""References: Docker's normal form, the short form, and names that nobody may use."""

from __future__ import annotations

import time

import pytest

from distore.errors import InvalidArgument
from distore.oci.digest import Digest
from distore.oci.reference import Reference

HEX = "dbcc1c35ac38df41fd2f5e4130b32ffdb93ebae8b3dbe638c23575912276fc9c"
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "normal", "familiar"),
    [
        ("redis", "docker.io/library/redis:latest", "redis:latest"),
        ("redis:7.4-alpine", "docker.io/library/redis:7.4-alpine", "redis:7.4-alpine"),
        ("library/redis", "docker.io/library/redis:latest", "redis:latest"),
        ("docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
        ("index.docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
        ("index.docker.io/fooo/bar", "docker.io/fooo/bar:latest", "fooo/bar:latest"),
        ("fooo/bar:1", "docker.io/fooo/bar:1", "fooo/bar:1"),
        ("library/foo/bar", "docker.io/library/foo/bar:latest", "library/foo/bar:latest"),
        ("docker.io/test.com/foo", "docker.io/test.com/foo:latest", "docker.io/test.com/foo:latest"),
        ("docker.io/" + HEX, f"docker.io/library/{HEX}:latest", f"docker.io/library/{HEX}:latest"),
        (HEX[1:], f"docker.io/library/{HEX[1:]}:latest", f"{HEX[1:]}:latest"),
        (f"redis@{DIGEST}", f"docker.io/library/redis@{DIGEST}", f"redis@{DIGEST}"),
        (f"redis:7@{DIGEST}", f"docker.io/library/redis:7@{DIGEST}", f"redis:7@{DIGEST}"),
        ("a_b/c__d/e--f.g", "docker.io/a_b/c__d/e--f.g:latest", "a_b/c__d/e--f.g:latest"),
        ("test_com/foo", "docker.io/test_com/foo:latest", "test_com/foo:latest"),
        ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
        ("192.168.0.1:80", "docker.io/library/192.168.0.1:80", "192.168.0.1:80"),
        ("xn--n3h.com:18080/foo", "xn--n3h.com:18080/foo:latest", "xn--n3h.com:18080/foo:latest"),
    ],
)
def test_a_name_has_one_normal_and_one_short_form(text: str, normal: str, familiar: str) -> None:
    reference = Reference.parse(text)

    assert (str(reference), reference.familiar) == (normal, familiar)
    assert Reference.parse(normal) == Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    ("text", "domain", "path"),
    [
        ("example.com/a", "example.com", "a"),
        ("example:5000/a/b", "example:5000", "a/b"),
        ("localhost/a", "localhost", "a"),
        ("localhost:65535/a", "localhost:65535", "a"),
        ("127.0.0.1:8000/private/moonbase", "127.0.0.1:8000", "private/moonbase"),
        ("[fc00::1]:5000/docker", "[fc00::1]:5000", "docker"),
        ("[fc00:1:2:3:4:5:6:7]/docker", "[fc00:1:2:3:4:5:6:7]", "docker"),
        ("Docker/docker", "Docker", "docker"),
        ("registry-1.docker.io/library/redis", "registry-1.docker.io", "library/redis"),
        ("docker/migrator", "docker.io", "docker/migrator"),
    ],
)
def test_the_first_component_is_a_host_when_it_cannot_be_anything_else(
    text: str, domain: str, path: str
) -> None:
    reference = Reference.parse(text)

    assert (reference.domain, reference.path, reference.name) == (domain, path, f"{domain}/{path}")


def test_a_registry_is_asked_for_the_digest_before_the_tag() -> None:
    assert Reference.parse("redis").object == "latest"
    assert Reference.parse(f"redis:7@{DIGEST}").object == Digest(DIGEST)
    assert Reference.parse(f"redis@{DIGEST}").tag is None
    assert Reference.parse("redis", default_tag=None).object is None


def test_a_bare_name_takes_neither_tag_nor_digest() -> None:
    assert str(Reference.parse_name("docker.io/redis")) == "docker.io/library/redis"

    for text in ("redis:7", f"redis@{DIGEST}"):
        with pytest.raises(InvalidArgument, match="want a name"):
            Reference.parse_name(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" redis", "character"),
        ("redis\n", "character"),
        ("re\0dis", "character"),
        ("re\x1b[31mdis", "character"),
        ("redís", "character"),
        ("redi\u0455", "character"),
        ("\ud800", "character"),
        ("https://docker.io/redis", "scheme"),
        ("docker/Docker", "lower case; did you mean 'docker/docker'"),
        ("docker.io/docker/Docker", "lower case"),
        (HEX, "did you mean sha256:"),
        ("redis:", "bad tag"),
        ("redis:-x", "bad tag"),
        ("redis:" + "x" * 129, "bad tag"),
        ("a:b:c", "bad tag"),
        (f"redis:@{DIGEST}", "bad tag"),
        ("redis@", "digest"),
        ("redis@sha256:beef", "digest"),
        ("redis@md5:d41d8cd98f00b204e9800998ecf8427e", "digest"),
        (f"redis@{DIGEST}@{DIGEST}", "digest"),
        (f"redis@{DIGEST.upper()}", "digest"),
        (f"@{DIGEST}", "component"),
        ("/redis", "component"),
        ("docker/", "component"),
        ("docker///docker", "component"),
        ("-docker", "component"),
        ("docker-/docker", "component"),
        ("_docker/_docker", "component"),
        ("____/____", "component"),
        ("a/dock..er", "component"),
        ("a/dock_.er", "component"),
        ("a/dock___er", "component"),
        ("a/../b", "component"),
        ("a/b?c=d", "component"),
        ("a/b%2f", "component"),
        ("[fc00::1]", "component"),
        ("-docker.io/docker/docker", "bad host"),
        ("docker..io/a", "bad host"),
        ("../../etc/passwd", "bad host"),
        ("fc00::1:5000/debian", "bad host"),
        ("[fe80::1%eth0]:5000/debian", "bad host"),
        ("[2001:db8:3:4::192.0.2.33]:5000/debian", "bad host"),
        ("[]:5000/debian", "bad host"),
        ("[::1]5000/debian", "bad host"),
        ("user:password@example.com/a", "digest"),
        ("example.com:/a", "bad host"),
        ("example.com:65536/a", "bad host"),
        ("example.com:+80/a", "bad host"),
        ("example.com:" + "9" * 200 + "/a", "bad host"),
        ("a" * 256, "over 255"),
        ("x" * 522, "limit"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_reference_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        Reference.parse(text)

    assert str(caught.value).isprintable()


def test_a_name_of_255_characters_is_the_longest() -> None:
    path = "a" * (255 - len("docker.io/library/"))

    assert len(Reference.parse(path).name) == 255
    with pytest.raises(InvalidArgument, match="over 255"):
        Reference.parse(path + "a")


@pytest.mark.parametrize(
    "text",
    ["a" * 5_000_000, "a-" * 250, "a." * 127 + "/", "_" * 500, "-" * 250 + "/a", "a/" * 127, "[" + ":" * 500],
    ids=lambda text: text[:4],
)
def test_hostile_length_costs_no_time_and_makes_no_long_message(text: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidArgument) as caught:
        Reference.parse(text)

    # A pattern that backtracks would take longer than the age of the universe, not a little longer.
    assert time.process_time() - started < 0.2
    assert len(str(caught.value)) < 400


def test_parts_in_normal_form_make_a_reference() -> None:
    reference = Reference(domain="docker.io", path="library/redis", tag="latest")

    assert reference == Reference.parse("redis")


@pytest.mark.parametrize(
    ("domain", "path", "tag"),
    [
        ("index.docker.io", "library/redis", "latest"),
        ("docker", "library/redis", "latest"),
        ("docker.io/library", "redis", "latest"),
        ("", "library/redis", "latest"),
        ("docker.io", "redis", "latest"),
        ("docker.io", "Library/redis", "latest"),
        ("docker.io", "", "latest"),
        ("docker.io", "library/redis", ""),
        ("docker.io", "library/redis", "a b"),
    ],
)
def test_other_parts_make_none(domain: str, path: str, tag: str) -> None:
    with pytest.raises(InvalidArgument):
        Reference(domain=domain, path=path, tag=tag)
