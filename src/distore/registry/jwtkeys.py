"""Keys of tokens: what signs those given out here, and what proves those of others."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from distore._internal import fsops
from distore._internal.oserrors import translate
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_FILE: Final = 1024 * 1024  # bytes
_MAX_KEYS: Final = 32  # in all files
_LEAST_SECRET: Final = 32  # bytes: as long as what SHA-256 gives
_LEAST_RSA: Final = 2048  # bits
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_PEM_END: Final = b"-----END "
_BEGIN: Final = b"-----BEGIN "


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyingKey:
    """``algorithms``: the only ones that it is for, whatever a token says; ``kid``: its name, if any."""

    key: Any = field(repr=False)
    algorithms: tuple[str, ...]
    kid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """Signs with ``algorithm``; what it signs is proved by ``verifying``. ``seal``: as secret as the key."""

    key: Any = field(repr=False)
    seal: bytes = field(repr=False)
    algorithm: str
    kid: str
    verifying: VerifyingKey


def signing_key(data: bytes, *, path: str) -> SigningKey:
    """Of a file: a private key in PEM, or a secret of 32 bytes or more.

    Raises:
        InvalidArgument: It is neither.
    """
    if data.lstrip().startswith(_BEGIN):
        return _private(data, path=path)
    secret = data.strip()
    if len(secret) < _LEAST_SECRET:
        raise InvalidArgument(f"{path}: {len(secret)} bytes, want a secret of {_LEAST_SECRET} or a PEM key")
    kid = hashlib.sha256(b"kid" + secret).hexdigest()[:16]
    proof = VerifyingKey(key=secret, algorithms=("HS256",), kid=kid)
    return SigningKey(key=secret, seal=_seal(data), algorithm="HS256", kid=kid, verifying=proof)


def verifying_keys(data: bytes, *, path: str) -> tuple[VerifyingKey, ...]:
    """Of a file: public keys and certificates in PEM, or a JWK set.

    Raises:
        InvalidArgument: There is none in it, or one that is no public key.
    """
    keys = _of_jwks(data, path=path) if data.lstrip().startswith(b"{") else _of_pem(data, path=path)
    if not 0 < len(keys) <= _MAX_KEYS:
        raise InvalidArgument(f"{path}: {len(keys)} public keys, want 1 to {_MAX_KEYS}")
    return keys


def ensure_secret(path: str, *, random: Callable[[int], bytes]) -> None:
    """Make the file of a secret, for its owner only, unless there is one; all processes find the same.

    Raises:
        DistoreError: It cannot be made.
    """
    if os.path.exists(path):
        return
    beside = f"{path}.{random(8).hex()}"
    try:
        fsops.ensure_directory(os.path.dirname(path) or ".")
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fsops.write(fd, random(_LEAST_SECRET).hex().encode() + b"\n", 0)
            fsops.sync_file(fd)
            # The name comes last, and to whoever is first: nobody finds half a secret, or another one.
            fsops.link(beside, path)
        except FileExistsError:
            pass
        finally:
            os.close(fd)
            fsops.unlink(beside)
        fsops.sync_directory(os.path.dirname(path) or ".")
    except OSError as error:
        raise translate(error, f"secret {path} (auth.token.key names another file)") from error


def _private(data: bytes, *, path: str) -> SigningKey:
    try:
        key: Any = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(f"{path}: not a private key in PEM without a password") from error
    if not isinstance(key, (RSAPrivateKey, EllipticCurvePrivateKey, Ed25519PrivateKey)):
        raise InvalidArgument(f"{path}: want a key of RSA, of a NIST curve, or of Ed25519")
    public = key.public_key()
    proof = _proving(public, path=path, kid=_thumbprint(public))
    return SigningKey(
        key=key, seal=_seal(data), algorithm=proof.algorithms[0], kid=proof.kid or "", verifying=proof
    )


def _seal(data: bytes) -> bytes:
    return hashlib.sha256(b"seal" + data).digest()


def _of_pem(data: bytes, *, path: str) -> tuple[VerifyingKey, ...]:
    keys = []
    for part in _blocks(data):
        public: Any
        try:
            if b"CERTIFICATE-----" in part:
                public = load_pem_x509_certificate(part).public_key()
            else:
                public = serialization.load_pem_public_key(part)
        except (ValueError, UnsupportedAlgorithm) as error:
            detail = "a private key" if b"PRIVATE KEY" in part else "something else"
            raise InvalidArgument(f"{path}: want public keys or certificates in PEM, not {detail}") from error
        keys.append(_proving(public, path=path, kid=None))
    return tuple(keys)


def _blocks(data: bytes) -> list[bytes]:
    """What is between a BEGIN and the end of the line of its END."""
    found = []
    for part in data.split(_BEGIN)[1:]:
        head, end, tail = part.partition(_PEM_END)
        found.append(_BEGIN + head + end + tail.partition(b"\n")[0] + b"\n")
    return found


def _of_jwks(data: bytes, *, path: str) -> tuple[VerifyingKey, ...]:
    try:
        document = json.loads(data)
        entries = document["keys"]
        if not isinstance(entries, list) or len(entries) > _MAX_KEYS:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidArgument(f"{path}: not a JWK set with {_MAX_KEYS} keys at most") from error
    return tuple(
        _of_jwk(entry, where=f"{path}: key {number}") for number, entry in enumerate(entries, start=1)
    )


def _of_jwk(entry: object, *, where: str) -> VerifyingKey:
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
        raise InvalidArgument(f"{where}: want a public key (kty RSA, EC or OKP)")
    if "d" in entry:
        raise InvalidArgument(f"{where}: is a private key; want the public half only")
    kid, algorithm = entry.get("kid"), entry.get("alg")
    try:
        # The type says what it is for; "alg" can only narrow that.
        public = PyJWK.from_dict({name: value for name, value in entry.items() if name != "alg"}).key
    except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(f"{where}: not a key") from error
    proof = _proving(public, path=where, kid=kid if isinstance(kid, str) and kid else None)
    if algorithm is None:
        return proof
    if algorithm not in proof.algorithms:
        raise InvalidArgument(f"{where}: is not for algorithm {str(algorithm)[:20]!a}")
    return VerifyingKey(key=proof.key, algorithms=(str(algorithm),), kid=proof.kid)


def _proving(public: object, *, path: str, kid: str | None) -> VerifyingKey:
    algorithms: Sequence[str] = ()
    if isinstance(public, RSAPublicKey):
        if public.key_size < _LEAST_RSA:
            raise InvalidArgument(f"{path}: RSA with {public.key_size} bits, want {_LEAST_RSA} at least")
        algorithms = _RSA
    elif isinstance(public, EllipticCurvePublicKey):
        algorithms = [name for curve, name in _CURVES.items() if public.curve.name == curve]
    elif isinstance(public, Ed25519PublicKey):
        algorithms = ["EdDSA"]
    if not algorithms:
        raise InvalidArgument(f"{path}: want a key of RSA, of a NIST curve, or of Ed25519")
    return VerifyingKey(key=public, algorithms=tuple(algorithms), kid=kid)


def _thumbprint(public: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).hexdigest()[:16]
