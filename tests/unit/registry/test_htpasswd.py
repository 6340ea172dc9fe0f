"""Htpasswd: bcrypt and nothing else, and no hint at who has an account."""

from __future__ import annotations

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.errors import InvalidArgument
from distore.registry.htpasswd import Htpasswd


def entry(user: str, password: str, *, cost: int = 4) -> str:
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()}\n"


def parse(text: str | bytes) -> Htpasswd:
    return Htpasswd.parse(text.encode() if isinstance(text, str) else text, path="users")


def test_the_right_password_of_a_user_is_right() -> None:
    users = parse(f"# users\n\n{entry('ann', 'pw')}{entry('bob', 'ü')}")

    assert users.verify("ann", "pw")
    assert users.verify("bob", "ü")
    assert not users.verify("ann", "ü")
    assert not users.verify("eve", "pw")
    assert not users.verify("", "")


@pytest.mark.parametrize("kind", ["$2a$", "$2b$", "$2y$"])
def test_every_name_of_bcrypt_is_known(kind: str) -> None:
    assert parse(entry("ann", "pw").replace("$2b$", kind)).verify("ann", "pw")


def test_a_user_that_is_not_there_costs_one_check_of_the_same_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bytes] = []

    def check(password: bytes, kept: bytes) -> bool:
        checked.append(kept[:7])
        return False

    monkeypatch.setattr(bcrypt, "checkpw", check)
    users = parse(entry("ann", "pw", cost=5))

    for user, password in [("ann", "pw"), ("eve", "pw"), ("ann", "x" * 99), ("eve", "x" * 99), ("eve", "")]:
        users.verify(user, password)

    assert checked == [b"$2b$05$"] * 5


@pytest.mark.parametrize("password", ["", "x" * 73, "ü" * 37, "pw\0", "pw\0x"])
def test_a_password_that_bcrypt_would_cut_is_wrong(password: str) -> None:
    cut = password.encode()[:72].partition(b"\0")[0]
    users = parse(f"ann:{bcrypt.hashpw(cut, bcrypt.gensalt(4)).decode()}")

    assert not users.verify("ann", password)


def test_a_password_of_72_bytes_is_not_too_long() -> None:
    assert parse(entry("ann", "x" * 72)).verify("ann", "x" * 72)


HASH = bcrypt.hashpw(b"pw", b"$2b$04$" + b"." * 22).decode()  # the same in every process


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "ann:$apr1$x$y",
            "line 2: user 'ann' has a hash of MD5, want bcrypt; htpasswd -B FILE NAME makes one",
        ),
        ("ann:{SHA}x", "a hash of SHA-1"),
        ("ann:$6$x$y", "a hash of SHA-512"),
        ("ann:plain", "a hash of another kind"),
        ("ann:", "a hash of another kind"),
        ("ann:$2y$05$short", "a damaged bcrypt hash"),
        (f"ann:{HASH[:28]}z{HASH[29:]}", "a damaged bcrypt hash"),
        (f"ann:{HASH.replace('$04$', '$31$')}", "cost 31, want 4 to 17"),
        (f"ann:{HASH.replace('$04$', '$03$')}", "cost 3"),
        ("ann", "line 2: want NAME:HASH"),
        (f":{HASH}", "line 2: want NAME:HASH"),
        (f"a\x07:{HASH}", "line 2: want NAME:HASH"),
        (f"anonymous:{HASH}", "cannot be called 'anonymous'"),
        (f"*:{HASH}", "cannot be called"),
        (f"@ci:{HASH}", "cannot be called"),
        (f"zoe:{HASH}", "user 'zoe' is there twice"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(f"zoe:{HASH}\n{line}\n")

    assert str(caught.value).startswith("users: line 2: ")
    assert message in str(caught.value)
    assert HASH not in str(caught.value)


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="users: not a text"):
        parse(b"ann:\xff")


@given(st.text())
def test_any_file_is_read_or_refused(text: str) -> None:
    try:
        users = parse(text)
    except InvalidArgument:
        return

    assert all(kept.startswith(b"$2") for kept in users.hashes.values())


def test_hashes_are_in_no_repr() -> None:
    assert HASH not in repr(parse(f"ann:{HASH}"))
