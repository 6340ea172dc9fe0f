"""JSON Web Tokens: believed only when everything about them is right."""

from __future__ import annotations

import base64
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from distore.errors import DistoreError, InvalidArgument, Unauthenticated
from distore.registry.jwt import Wanted, claims_of, signed
from distore.registry.jwtkeys import SigningKey, ensure_secret, signing_key, verifying_keys

NOW = 1_000_000.0
SECRET = b"0123456789abcdef0123456789abcdef"
EVERY = ("HS256", "RS256", "ES256", "EdDSA")
CLAIMS: dict[str, Any] = {"iss": "me", "aud": "here", "exp": NOW + 60, "nbf": NOW, "iat": NOW, "sub": "ann"}


def wanted(**values: Any) -> Wanted:
    return Wanted(**{"issuer": "me", "audience": "here", "algorithms": EVERY, **values})


@cache
def private(kind: str, number: int = 0) -> bytes:
    """A private key in PEM; another one for another number."""
    key: Any = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "small": lambda: rsa.generate_private_key(65537, 1024),
        "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
        "k1": lambda: ec.generate_private_key(ec.SECP256K1()),
        "ed": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    pem, raw = serialization.Encoding.PEM, serialization.NoEncryption()
    return bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, raw))


def public(pem: bytes) -> bytes:
    key: Any = serialization.load_pem_private_key(pem, password=None)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))


@pytest.fixture
def secret() -> SigningKey:
    return signing_key(SECRET, path="key")


def believed(token: str, *keys: Any, now: float = NOW, **values: Any) -> Any:
    return claims_of(token, keys, wanted(**values), now=now)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("data", "algorithm"), [(SECRET, "HS256"), ("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")]
)
def test_a_token_that_is_signed_is_believed(data: bytes | str, algorithm: str) -> None:
    key = signing_key(private(data) if isinstance(data, str) else data, path="key")

    token = signed(CLAIMS, key, kind="JWT")

    assert key.algorithm == algorithm
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT", "kid": key.kid}
    assert believed(token, key.verifying) == CLAIMS


def test_another_library_believes_it_as_well(secret: SigningKey) -> None:
    token = signed({**CLAIMS, "exp": 2**33, "nbf": 0, "iat": 0}, secret, kind="JWT")

    assert jwt.decode(token, SECRET, algorithms=["HS256"], audience="here", issuer="me")["sub"] == "ann"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"exp": NOW}, "has ended"),
        ({"exp": None}, "when it ends"),
        ({"exp": "1"}, "a time in it is none"),
        ({"exp": True}, "a time in it is none"),
        ({"exp": float("nan")}, "a time in it is none"),
        ({"exp": float("inf")}, "a time in it is none"),
        ({"exp": 10**400}, "a time in it is none"),
        ({"nbf": NOW + 1}, "does not hold yet"),
        ({"iat": NOW + 1}, "does not hold yet"),
        ({"iss": "other"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"iss": ["me"]}, "another issuer"),
        ({"aud": "there"}, "another service"),
        ({"aud": None}, "another service"),
        ({"aud": ["there"]}, "another service"),
        ({"aud": {"here": 1}}, "another service"),
        ({"aud": "here and there"}, "another service"),
    ],
)
def test_a_claim_that_is_wrong_is_told(secret: SigningKey, change: dict[str, Any], why: str) -> None:
    with pytest.raises(Unauthenticated, match=why):
        believed(signed({**CLAIMS, **change}, secret, kind="JWT"), secret.verifying)


def test_an_audience_may_be_one_of_several(secret: SigningKey) -> None:
    token = signed({**CLAIMS, "aud": ["there", "here"]}, secret, kind="JWT")

    assert believed(token, secret.verifying)["sub"] == "ann"


def test_another_server_s_clock_may_be_off_a_little(secret: SigningKey) -> None:
    token = signed(CLAIMS, secret, kind="JWT")

    for now in (NOW - 59, NOW + 119):
        assert believed(token, secret.verifying, now=now, leeway=60)
    for now in (NOW - 61, NOW + 120):
        with pytest.raises(Unauthenticated):
            believed(token, secret.verifying, now=now, leeway=60)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "RS256", "ES256", "HS512"])
def test_a_public_key_is_no_secret_and_no_signature_is_none(algorithm: str) -> None:
    pem = public(private("rsa"))
    (key,) = verifying_keys(pem, path="keys")
    head = f"{segment({'alg': algorithm, 'typ': 'JWT'})}.{segment(CLAIMS)}"
    import hmac

    mac = base64.urlsafe_b64encode(hmac.digest(pem, head.encode(), "sha256")).decode().rstrip("=")

    for signature in ("", mac):
        with pytest.raises(Unauthenticated):
            believed(f"{head}.{signature}", key, algorithms=(*EVERY, "none", "HS512"))


def test_an_algorithm_that_is_not_allowed_is_refused_even_with_a_good_signature() -> None:
    key = signing_key(private("ec"), path="key")
    token = signed(CLAIMS, key, kind="JWT")

    with pytest.raises(Unauthenticated, match="algorithm"):
        believed(token, key.verifying, algorithms=("RS256",))


@pytest.mark.parametrize("extra", [{"crit": ["exp"]}, {"b64": False}])
def test_a_header_that_wants_more_than_is_known_is_refused(secret: SigningKey, extra: dict[str, Any]) -> None:
    token = jwt.PyJWS().encode(json.dumps(CLAIMS).encode(), SECRET, "HS256", headers={"kid": secret.kid})
    head = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
    text = f"{segment({**head, **extra})}.{token.split('.')[1]}"
    import hmac

    mac = base64.urlsafe_b64encode(hmac.digest(SECRET, text.encode(), "sha256")).decode().rstrip("=")

    with pytest.raises(Unauthenticated, match="not known here"):
        believed(f"{text}.{mac}", secret.verifying)


def test_a_key_that_a_token_brings_is_not_looked_at() -> None:
    mine, (theirs,) = private("ec", 1), verifying_keys(public(private("ec")), path="keys")
    key: Any = serialization.load_pem_private_key(mine, None)
    entry = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key))
    token = jwt.encode(CLAIMS, mine, "ES256", headers={"jwk": entry, "jku": "http://127.0.0.1/", "kid": "x"})

    with pytest.raises(Unauthenticated, match="no key"):
        believed(token, theirs)


def test_a_name_of_a_key_picks_that_key_alone() -> None:
    entries = []
    for number, kid in enumerate(["one", "two"]):
        key: Any = serialization.load_pem_private_key(private("ec", number), None)
        entry = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
        entries.append({**entry, "kid": kid, "alg": "ES256", "use": "sig"})
    keys = verifying_keys(json.dumps({"keys": entries}).encode(), path="keys")
    pem = private("ec", 1)

    def token(**headers: str) -> str:
        return jwt.encode(CLAIMS, pem, "ES256", headers=headers)

    assert believed(token(kid="two"), *keys) == CLAIMS
    assert believed(token(), *keys) == CLAIMS
    for kid in ("one", "three"):
        with pytest.raises(Unauthenticated):
            believed(token(kid=kid), *keys)


def test_a_token_of_one_kind_is_none_of_another(secret: SigningKey) -> None:
    token = signed(CLAIMS, secret, kind="refresh+jwt")

    assert believed(token, secret.verifying, kind="refresh+jwt")
    with pytest.raises(Unauthenticated, match="another kind"):
        believed(token, secret.verifying, kind="JWT")


@given(st.text())
def test_any_text_is_refused_as_a_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        believed(text, signing_key(SECRET, path="key").verifying)


@given(st.tuples(st.integers(0, 2), st.integers(0, 300), st.characters(codec="ascii")))
def test_a_token_with_one_other_character_is_refused(change: tuple[int, int, str]) -> None:
    key = signing_key(SECRET, path="key")
    token = signed(CLAIMS, key, kind="JWT")
    which, place, character = change
    parts = token.split(".")
    at = place % len(parts[which])
    # The last character of 32 bytes in base64 has two bits that say nothing.
    last = which == 2 and at == len(parts[2]) - 1
    if parts[which][at] == character or last or character in "=\r\n":
        return
    parts[which] = parts[which][:at] + character + parts[which][at + 1 :]

    with pytest.raises(Unauthenticated):
        believed(".".join(parts), key.verifying)


@pytest.mark.parametrize(
    "token",
    [
        "x" * 20_000,
        f"{'[' * 1500}.x.y",
        f"{base64.urlsafe_b64encode(b'[' * 1500).decode()}.x.y",
        f"{segment({'alg': 'HS256', 'x': 'y' * 3000})}.x.y",
        f"{segment({'alg': ['HS256']})}.x.y",
        f"{segment([])}.x.y",
        "..",
        "é.é.é",
    ],
)
def test_a_hostile_token_is_refused(secret: SigningKey, token: str) -> None:
    with pytest.raises(Unauthenticated):
        believed(token, secret.verifying)


@pytest.mark.parametrize("payload", [b"[]", b"1", b"x", b"[" * 9000, b"\xff"])
def test_a_payload_that_is_no_object_is_refused(secret: SigningKey, payload: bytes) -> None:
    with pytest.raises(Unauthenticated):
        believed(jwt.PyJWS().encode(payload, SECRET, "HS256"), secret.verifying)


def _by_message(value: object) -> str:
    """Keys differ between processes, which must call a test the same."""
    return value if isinstance(value, str) else "data"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"short", "5 bytes, want a secret of 32"),
        (b"-----BEGIN x", "not a private key in PEM"),
        (public(private("rsa")), "not a private key in PEM"),
        (private("small"), "RSA with 1024 bits"),
        (private("k1"), "want a key of RSA"),
    ],
    ids=_by_message,
)
def test_what_cannot_sign_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^key: .*{message}"):
        signing_key(data, path="key")


def jwks(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 public keys"),
        (b"text", "0 public keys"),
        (private("rsa"), "not a private key"),
        (b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n", "not something else"),
        (b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "not something else"),
        (public(private("small")), "RSA with 1024 bits"),
        (public(private("rsa")) * 33, "33 public keys"),
        (b"{", "not a JWK set"),
        (b'{"keys":1}', "not a JWK set"),
        (b'{"keys":' + b"[" * 9000, "not a JWK set"),
        (jwks(*[{}] * 33), "not a JWK set"),
        (jwks(1), "key 1: want a public key"),
        (jwks({"kty": "oct", "k": "AAAA"}), "key 1: want a public key"),
        (jwks({"kty": "RSA", "d": "x"}), "key 1: is a private key"),
        (jwks({"kty": "RSA", "n": 1, "e": "AQAB"}), "key 1: not a key"),
        (jwks({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), "key 1: not a key"),
    ],
    ids=_by_message,
)
def test_what_proves_nothing_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^keys: .*{message}"):
        verifying_keys(data, path="keys")


def test_a_certificate_has_a_key(tmp_path: Path) -> None:
    import subprocess

    key, cert = tmp_path / "key", tmp_path / "cert"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    signing = signing_key(key.read_bytes(), path="key")

    (proof,) = verifying_keys(cert.read_bytes(), path="keys")

    assert believed(signed(CLAIMS, signing, kind="JWT"), proof) == CLAIMS


def test_keys_are_in_no_repr(secret: SigningKey) -> None:
    assert "0123456789abcdef" not in repr(secret)


def test_every_process_finds_the_same_secret(tmp_path: Path) -> None:
    path = tmp_path / "store" / "serve.key"

    ensure_secret(str(path), random=os.urandom)
    made = path.read_bytes()
    ensure_secret(str(path), random=os.urandom)

    assert path.read_bytes() == made
    assert len(made.strip()) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["serve.key"]


def test_of_two_processes_that_make_the_secret_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "serve.key"

    def late(size: int) -> bytes:
        ensure_secret(str(path), random=os.urandom)  # somebody was faster
        return os.urandom(size)

    ensure_secret(str(path), random=late)

    assert os.listdir(tmp_path) == ["serve.key"]
    signing_key(path.read_bytes(), path="key")


def test_a_secret_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(DistoreError, match=r"auth\.token\.key names another file"):
        ensure_secret(str(tmp_path / "file" / "key"), random=os.urandom)
