"""Addresses: texts, sockets, and what is said when there is none to be had."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from distore.errors import AlreadyExists, InvalidArgument, Unavailable
from distore.registry.server.addresses import Address, name_of
from distore.registry.server.listeners import Listeners


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("127.0.0.1:5001", "127.0.0.1", 5001, ""),
        ("localhost", "localhost", 5000, ""),
        (":80", "", 80, ""),
        ("[::1]:0", "::1", 0, ""),
        ("[::1]", "::1", 5000, ""),
        ("unix:/run/x:y", "", 0, "/run/x:y"),
    ],
)
def test_an_address_is_what_its_text_says(text: str, host: str, port: int, path: str) -> None:
    assert Address.parse(text) == Address(host=host, port=port, path=path)


@pytest.mark.parametrize("text", ["::1:5000", "host:port", "host:-1", "host:65536", "host:99999999", "unix:"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="address"):
        Address.parse(text)


def test_a_socket_that_somebody_listens_on_is_not_taken_away(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "sock"))
    [first] = address.bind()

    with first, pytest.raises(AlreadyExists, match="another process listens there"):
        address.bind()


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "sock"))
    address.bind()[0].close()

    [second] = address.bind()

    assert name_of(second) == str(address)
    second.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sock").write_text("mine")

    with pytest.raises(AlreadyExists, match="a file that is no socket is there"):
        Address(path=str(tmp_path / "sock")).bind()

    assert (tmp_path / "sock").read_text() == "mine"


def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(Unavailable, match=r"192\.0\.2\.1:0: cannot listen there"):
        Address(host="192.0.2.1").bind()


def test_a_name_that_nobody_knows_is_said() -> None:
    with pytest.raises(Unavailable, match=r"nowhere\.invalid:1: cannot listen there: the name is not known"):
        Address(host="nowhere.invalid", port=1).bind()


def test_what_stays_in_the_settings_stays_open_and_the_rest_is_closed() -> None:
    one, two = Address(host="127.0.0.1", port=0), Address(host="::1", port=0)
    listeners = Listeners()
    [first] = listeners.bind([one])

    again, _ = listeners.bind([one, two])
    listeners.keep([one])

    assert again is first
    assert listeners.names() == [name_of(first)]
    listeners.close()
    assert first.fileno() == -1


def test_sockets_that_were_handed_over_are_used_instead() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        listeners = Listeners([given])

        assert listeners.bind([Address(host="127.0.0.1", port=1)]) == [given]
        assert listeners.names() == [name_of(given)]
