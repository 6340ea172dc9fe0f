"""hosts.toml: containerd's files decide which servers stand for a registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distore.errors import InvalidArgument
from distore.remotes.http.hosts import CAPABILITIES, Host, folder_names, host_at, hosts_of
from distore.remotes.http.hoststoml import MAX_SIZE
from distore.remotes.options import RegistryOptions

Write = Callable[..., tuple[Host, ...]]


@pytest.fixture
def hosts(tmp_path: Path) -> Write:
    """Write a hosts.toml and read it: the servers for ``registry``."""

    def write(text: str, *, registry: str = "example.com", folder: str | None = None) -> tuple[Host, ...]:
        place = tmp_path / (folder or registry)
        place.mkdir(exist_ok=True)
        (place / "hosts.toml").write_text(text)
        return hosts_of(registry, RegistryOptions(hosts_dir=str(tmp_path)))

    return write


def urls(hosts: tuple[Host, ...]) -> list[str]:
    return [host.url for host in hosts]


@pytest.mark.parametrize(
    ("registry", "url"),
    [
        ("example.com", "https://example.com/v2"),
        ("example.com:5000", "https://example.com:5000/v2"),
        ("docker.io", "https://registry-1.docker.io/v2"),
        ("localhost", "http://localhost/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("127.8.9.10:5000", "http://127.8.9.10:5000/v2"),
        ("[::1]:5000", "http://[::1]:5000/v2"),
        ("localhost:443", "https://localhost:443/v2"),
        ("localhost.example.com", "https://localhost.example.com/v2"),
        ("128.0.0.1", "https://128.0.0.1/v2"),
    ],
)
def test_without_a_file_a_registry_stands_for_itself(registry: str, url: str) -> None:
    assert urls(hosts_of(registry, RegistryOptions())) == [url]


def test_plain_http_is_for_every_host_without_a_scheme_of_its_own(hosts: Write, tmp_path: Path) -> None:
    hosts('[host."https://mirror.example"]')

    found = hosts_of("example.com", RegistryOptions(hosts_dir=str(tmp_path), plain_http=True))

    assert urls(found) == ["https://mirror.example/v2", "http://example.com/v2"]


def test_mirrors_come_first_in_the_order_of_the_file_and_the_server_last(hosts: Write) -> None:
    found = hosts("""
        server = "https://origin.example"
        [host."https://z.example"]
        [host."http://a.example:5000/v2/"]
        [host."m.example/prefix"]
    """)

    assert urls(found) == [
        "https://z.example/v2",
        "http://a.example:5000/v2",
        "https://m.example/prefix/v2",
        "https://origin.example/v2",
    ]


def test_a_path_that_overrides_is_used_as_it_is(hosts: Write) -> None:
    found = hosts("""
        [host."https://a.example/other/api"]
        override_path = true
        [host."https://b.example"]
        override_path = true
    """)

    assert urls(found)[:2] == ["https://a.example/other/api", "https://b.example"]


def test_a_mirror_is_told_on_behalf_of_which_registry_it_is_asked(hosts: Write) -> None:
    found = hosts('[host."https://mirror.example"]\n[host."https://example.com"]')

    assert [host.namespace for host in found] == ["example.com", None, None]


def test_the_hub_s_own_server_is_no_mirror_of_it(hosts: Write) -> None:
    found = hosts('server = "https://registry-1.docker.io"', registry="docker.io")

    assert [host.namespace for host in found] == [None]


def test_every_option_of_a_host_is_understood(hosts: Write, tmp_path: Path) -> None:
    folder = tmp_path / "example.com"
    folder.mkdir()
    for name in ("a.pem", "b.pem", "cert.pem", "key.pem"):
        (folder / name).touch()

    mirror, server = hosts("""
        [host."https://mirror.example"]
        capabilities = ["Pull", "resolve"]
        ca = ["a.pem", "b.pem"]
        client = [["cert.pem", "key.pem"]]
        skip_verify = true
        dial_timeout = "1m30s"
        [host."https://mirror.example".header]
        x-one = "1"
        x-two = ["2", "3"]
    """)

    assert mirror.capabilities == {"pull", "resolve"}
    assert mirror.ca == (f"{folder}/a.pem", f"{folder}/b.pem")
    assert mirror.client == ((f"{folder}/cert.pem", f"{folder}/key.pem"),)
    assert (mirror.skip_verify, mirror.connect_timeout) == (True, 90)
    assert mirror.headers == (("x-one", "1"), ("x-two", "2"), ("x-two", "3"))
    assert (server.ca, server.client, server.headers, server.skip_verify) == ((), (), (), False)


@pytest.mark.parametrize("value", ['"a.pem"', '["a.pem"]', '[["a.pem", ""]]'])
def test_a_client_certificate_may_have_its_key_in_the_same_file(
    hosts: Write, tmp_path: Path, value: str
) -> None:
    (tmp_path / "example.com").mkdir()
    (tmp_path / "example.com" / "a.pem").touch()

    found = hosts(f"client = {value}")

    assert found[0].client == ((f"{tmp_path}/example.com/a.pem", None),)


@pytest.mark.parametrize("line", ["", "capabilities = []"])
def test_a_host_without_capabilities_has_all(hosts: Write, line: str) -> None:
    assert hosts(f'[host."https://mirror.example"]\n{line}')[0].capabilities == CAPABILITIES


def test_headers_are_never_part_of_a_printed_host(hosts: Write) -> None:
    found = hosts('[header]\nauthorization = "Basic c2VjcmV0"')

    assert found[0].headers == (("authorization", "Basic c2VjcmV0"),)
    assert "c2VjcmV0" not in repr(found)


@pytest.mark.parametrize("folder", ["localhost_5000_", "localhost:5000", "_default"])
def test_a_folder_may_have_any_of_three_names(hosts: Write, folder: str) -> None:
    found = hosts('server = "https://found.example"', registry="localhost:5000", folder=folder)

    assert urls(found) == ["https://found.example/v2"]
    assert (found[0].decided_by or "").endswith(f"{folder}/hosts.toml")


def test_the_more_special_folder_counts() -> None:
    assert folder_names("a.example:5000") == ("a.example_5000_", "a.example:5000", "_default")
    assert folder_names("a.example") == ("a.example", "_default")


def test_certificates_beside_no_file_or_an_empty_one_are_used_as_docker_does(
    hosts: Write, tmp_path: Path
) -> None:
    folder = tmp_path / "example.com"
    folder.mkdir()
    for name in ("own.crt", "me.cert", "me.key", "notes.txt"):
        (folder / name).touch()

    without = hosts_of("example.com", RegistryOptions(hosts_dir=str(tmp_path)))
    empty = hosts("")

    assert without == empty
    assert without[0].ca == (f"{folder}/own.crt",)
    assert without[0].client == ((f"{folder}/me.cert", f"{folder}/me.key"),)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "example.com").mkdir()
    (tmp_path / "example.com" / "me.cert").touch()

    with pytest.raises(InvalidArgument, match=r"me\.cert has no me\.key beside it"):
        hosts_of("example.com", RegistryOptions(hosts_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = [", "not TOML"),
        ("server = 1", "server: want a string"),
        ('server = "ftp://a"', "server: .*want http"),
        ('server = "https://user:pw@a"', "server: .*user name has no place"),
        ('server = "https://a/?q"', "server: leave out what follows the path"),
        ('server = "https://a:99999"', "server: .*not a URL"),
        ('server = "https://"', "server: .*want http"),
        ('server = "https://a b"', "server: .*not plain ASCII"),
        ("host = 1", "host: want tables"),
        ('[host]\n"https://a" = 1', 'host."https://a": want a table'),
        ('[host."https://a"]\nskip_verify = "yes"', r'host."https://a"\.skip_verify: want true or false'),
        ('[host."https://a"]\noverride-path = true', r'host."https://a"\.override-path: unknown; known are'),
        ('capabilities = ["pull", "fly"]', "capabilities: unknown 'fly'; known are"),
        ("capabilities = 1", "capabilities: want a string or a list"),
        ('ca = "gone.pem"', r"ca: no file .*example\.com/gone\.pem"),
        ("ca = [1]", "ca: want a string or a list"),
        ('client = [["a"]]', "client: want"),
        ("client = 1", "client: want"),
        ('client = "gone.pem"', "client: no file"),
        ('dial_timeout = "soon"', "dial_timeout: duration 'soon'"),
        ("dial_timeout = 5", "dial_timeout: want a duration"),
        ("header = 1", "header: want a table"),
        ('[header]\n"x y" = "1"', r"header\.'x y': not the name of a header"),
        ('[header]\nx = "a\\r\\nevil: 1"', r"header\.x: the value has a character"),
        ("[header]\nx = 1", r"header\.x: want a string or a list"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(hosts: Write, text: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"example\.com/hosts\.toml: {why}") as caught:
        hosts(text)

    message = str(caught.value)
    assert "\n" not in message
    assert "pw" not in message


def test_a_file_that_is_too_large_is_not_parsed(hosts: Write) -> None:
    with pytest.raises(InvalidArgument, match="larger than"):
        hosts("#" * (MAX_SIZE + 1))


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "example.com").mkdir()
    (tmp_path / "example.com" / "hosts.toml").write_bytes(b"server = '\xff'")

    with pytest.raises(InvalidArgument, match="not TOML"):
        hosts_of("example.com", RegistryOptions(hosts_dir=str(tmp_path)))


def test_a_file_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "example.com" / "hosts.toml").mkdir(parents=True)

    with pytest.raises(InvalidArgument, match=r"hosts\.toml: is a directory"):
        hosts_of("example.com", RegistryOptions(hosts_dir=str(tmp_path)))


def test_a_folder_of_hosts_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"hosts folder .*gone: not a folder"):
        hosts_of("example.com", RegistryOptions(hosts_dir=str(tmp_path / "gone")))


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://a.example:5000/b/c", "http://a.example:5000/v2", "b/c"),
        ("https://a.example/b/", "https://a.example/v2", "b"),
        ("https://docker.io/library/redis", "https://registry-1.docker.io/v2", "library/redis"),
    ],
)
def test_a_url_names_server_and_repository(url: str, host: str, path: str) -> None:
    found, found_path = host_at(url, RegistryOptions())

    assert (found.url, found_path) == (host, path)


@pytest.mark.parametrize("url", ["http://a.example", "https://a.example/", "https://a/b?c", "https://a/b#c"])
def test_a_url_without_a_repository_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="HOST/REPOSITORY"):
        host_at(url, RegistryOptions())
