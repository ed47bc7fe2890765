"""Coinbase's API keys and the tokens signed with them: a JSON Web Token of ES256 for each request.

The owner of a key holds its private half, an elliptic curve key on P-256 as PEM; the exchange needs no more
than the public half, and asks:

1. Is it ES256, by the key it names (`kid` and `sub`), with a signature of that key?
2. Is it valid now (`nbf`, `exp`), and for two minutes at most?
3. Is it for this very request? `uri` names method, host and path, without the query; a stream's has none.

https://docs.cdp.coinbase.com/coinbase-app/authentication-authorization/api-key-authentication
"""

import base64
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from simulator.records import Key

LIFE_S = 120
HOST = "api.coinbase.com"  # what the official client signs, wherever it is sent
ISSUERS = ("cdp", "coinbase-cloud")
# The order of P-256, by which a private key is a number from 1 up to it.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Unauthorized(Exception):
    """This token opens nothing; Coinbase does not say why."""


def new_keys(random: Callable[[int], bytes]) -> tuple[str, str, None]:
    """Make a key's name and its private half as PEM, of the random bytes given."""
    number = int.from_bytes(random(40), "big") % (ORDER - 1) + 1
    pem = ec.derive_private_key(number, ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    organization, key = (_uuid(random(16).hex()) for _ in range(2))
    return f"organizations/{organization}/apiKeys/{key}", pem.decode(), None


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


class Tokens:
    """Checks tokens against the keys of one exchange."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = keys
        self._public: dict[
            str, ec.EllipticCurvePublicKey
        ] = {}  # key name -> what its signatures are checked by

    def check(self, token: str, clock: float, uris: Collection[str] | None) -> Key:
        """Return whose token it is; `uris` are what it may be for, None asks for no such claim."""
        try:
            head, claims, signature = (_decoded(part) for part in token.split("."))
            header, told = json.loads(head), json.loads(claims)
        except ValueError as error:
            raise Unauthorized from error
        if not isinstance(header, dict) or not isinstance(told, dict) or header.get("alg") != "ES256":
            raise Unauthorized
        key = self._keys.get(str(told.get("sub")))
        if key is None or key.revoked or header.get("kid") != key.api_key:
            raise Unauthorized
        self._check_signature(key, token.rpartition(".")[0].encode(), signature)
        begins, ends = told.get("nbf"), told.get("exp")
        if not _is_time(begins) or not _is_time(ends) or told.get("iss") not in ISSUERS:
            raise Unauthorized
        if not begins <= clock < ends or ends - begins > LIFE_S:
            raise Unauthorized
        if uris is not None and told.get("uri") not in uris:
            raise Unauthorized
        return key

    def _check_signature(self, key: Key, signed: bytes, signature: bytes) -> None:
        # RFC 7518, 3.4: the two numbers of the signature as 32 bytes each.
        if len(signature) != 64:
            raise Unauthorized
        both = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        try:
            self._public_of(key).verify(utils.encode_dss_signature(*both), signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise Unauthorized from error

    def _public_of(self, key: Key) -> ec.EllipticCurvePublicKey:
        public = self._public.get(key.api_key)
        if public is None:
            try:
                private = serialization.load_pem_private_key(key.secret.encode(), None)
            except ValueError as error:
                raise Unauthorized from error  # this account has no key that could sign
            if not isinstance(private, ec.EllipticCurvePrivateKey):
                raise Unauthorized
            public = self._public[key.api_key] = private.public_key()
        return public


def uris_of(method: str, host: str, path: str) -> list[str]:
    """What a token may be for: ccxt leaves the scheme in where it is not https."""
    return [f"{method} {where}{path}" for where in (host, f"http://{host}", HOST)]


def _decoded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
