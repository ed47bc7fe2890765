"""Sign and verify HTTP requests: RFC 9421 message signatures with Ed25519, in one strict profile, oms-v1.

The rules, which client and server share by sharing this file:

1. Every request carries exactly three headers, in one spelling, so nothing is negotiated:
       Content-Digest: sha-256=:<base64 of SHA-256 of the body, which may be empty>:
       Signature-Input: oms=("@method" "@authority" "@path" "@query" "content-digest")
           ;created=N;expires=N;keyid="<16 hex>";alg="ed25519";nonce="<128 bit>";tag="oms-v1"      (one line)
       Signature: oms=:<64 bytes as base64>:
2. What is signed is the target exactly as it stands on the request line. A decoded path would make
   `/BTC%2FUSDT` and `/BTC/USDT` the same request.
3. Everything here is a pure function: the time and the nonce are arguments.

RFC 9421 (https://www.rfc-editor.org/rfc/rfc9421) gives the signature base, RFC 9530
(https://www.rfc-editor.org/rfc/rfc9530) the digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit

from nacl import bindings
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

TAG = "oms-v1"
LABEL = "oms"
COMPONENTS = ("@method", "@authority", "@path", "@query", "content-digest")
LIFETIME_S = 30
LIFETIME_S_MAX = 300
HEADER_BYTES_MAX = 1024
BODY_BYTES_MAX = 64 * 1024

PUBLIC_PREFIX = "omspk_"
PRIVATE_PREFIX = "omssk_"  # a fixed prefix lets secret scanners find a leaked key

_COVERED = " ".join(f'"{name}"' for name in COMPONENTS)
_SIGNATURE_INPUT = re.compile(
    re.escape(f"{LABEL}=({_COVERED})")
    + r";created=(?P<created>0|[1-9][0-9]{0,11});expires=(?P<expires>0|[1-9][0-9]{0,11})"
    + r';keyid="(?P<keyid>[0-9a-f]{16})";alg="ed25519"'
    + rf';nonce="(?P<nonce>[A-Za-z0-9_-]{{22,64}})";tag="{re.escape(TAG)}"'
)
# Base64 has several spellings of the same bytes unless the unused bits of the last character are zero;
# the last character class allows only the one spelling (RFC 4648 3.5).
_SIGNATURE = re.compile(LABEL + r"=:([A-Za-z0-9+/]{85}[AQgw]==):")
_CONTENT_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=):")
_HEX = re.compile(r"[0-9a-fA-F]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class MalformedSignature(ValueError):
    """A signature header does not have the one form the profile allows."""


class BadKey(ValueError):
    """A text is not a key of the wanted kind; the message never repeats the text."""


@dataclass(frozen=True)
class SignatureInput:
    """What a request says about its own signature."""

    created: int  # seconds since 1970, UTC
    expires: int  # seconds since 1970, UTC
    keyid: str
    nonce: str

    @property
    def params(self) -> str:
        """Spell the signature parameters as they are signed and sent."""
        return (
            f'({_COVERED});created={self.created};expires={self.expires};keyid="{self.keyid}"'
            f';alg="ed25519";nonce="{self.nonce}";tag="{TAG}"'
        )


# --- the base that is signed -------------------------------------------------------------------------------


def signature_base(components: list[tuple[str, str]], params: str) -> bytes:
    """Build the signature base of RFC 9421 2.5 from component names with their values, and the parameters."""
    lines = [f'"{name}": {value}' for name, value in components]
    lines.append(f'"@signature-params": {params}')
    base = "\n".join(lines)
    if base.count("\n") != len(components):
        raise MalformedSignature("a signed value contains a line break")
    try:
        return base.encode("ascii")
    except UnicodeEncodeError:
        raise MalformedSignature("a signed value contains a character outside ASCII") from None


def split_target(target: str) -> tuple[str, str]:
    """Split a raw request target into the values of @path and @query (RFC 9421 2.2.6, 2.2.7)."""
    path, mark, query = target.partition("?")
    return path or "/", "?" + query if mark else "?"


def authority(host: str, scheme: str = "") -> str:
    """Spell a Host value as @authority: lower case, without the scheme's default port (RFC 9421 2.2.3)."""
    host = host.strip().lower()
    default = _DEFAULT_PORTS.get(scheme)
    return host[: -len(default) - 1] if default and host.endswith(":" + default) else host


def authority_of(url: str) -> str:
    """Give the @authority a request to this URL carries."""
    parts = urlsplit(url)
    return authority(parts.netloc.rpartition("@")[2], parts.scheme.lower())


def request_base(method: str, host: str, target: str, digest: str, signed: SignatureInput) -> bytes:
    """Build the base of one request in the profile; `host` is an @authority, `target` the raw target."""
    path, query = split_target(target)
    values = (method, host, path, query, digest)
    return signature_base(list(zip(COMPONENTS, values)), signed.params)


def content_digest(body: bytes) -> str:
    """Give the Content-Digest header of a body (RFC 9530 2)."""
    return "sha-256=:{}:".format(base64.b64encode(hashlib.sha256(body).digest()).decode("ascii"))


# --- reading the headers -----------------------------------------------------------------------------------


def parse_signature_input(value: str) -> SignatureInput:
    """Read a Signature-Input header; raise MalformedSignature for anything but the profile's one form."""
    if len(value) > HEADER_BYTES_MAX:
        raise MalformedSignature(f"Signature-Input is longer than {HEADER_BYTES_MAX} bytes")
    match = _SIGNATURE_INPUT.fullmatch(value)
    if match is None:
        raise MalformedSignature(
            f'Signature-Input is not of the form {LABEL}=({_COVERED});created=..;expires=..;keyid="..";'
            f'alg="ed25519";nonce="..";tag="{TAG}"'
        )
    signed = SignatureInput(int(match["created"]), int(match["expires"]), match["keyid"], match["nonce"])
    if not 0 < signed.expires - signed.created <= LIFETIME_S_MAX:
        raise MalformedSignature(f"expires must be 1 to {LIFETIME_S_MAX} seconds after created")
    return signed


def parse_signature(value: str) -> bytes:
    """Read a Signature header into its 64 bytes; raise MalformedSignature for any second spelling."""
    match = _SIGNATURE.fullmatch(value) if len(value) <= HEADER_BYTES_MAX else None
    if match is None:
        raise MalformedSignature(f"Signature is not of the form {LABEL}=:<64 bytes as canonical base64>:")
    return base64.b64decode(match[1])


def parse_content_digest(value: str) -> bytes:
    """Read a Content-Digest header into its 32 bytes; raise MalformedSignature for any other form."""
    match = _CONTENT_DIGEST.fullmatch(value) if len(value) <= HEADER_BYTES_MAX else None
    if match is None:
        raise MalformedSignature("Content-Digest is not of the form sha-256=:<32 bytes as canonical base64>:")
    return base64.b64decode(match[1])


# --- keys --------------------------------------------------------------------------------------------------


class PublicKey:
    """An Ed25519 public key."""

    __slots__ = ("_verify_key", "keyid")

    def __init__(self, raw: bytes) -> None:
        self._verify_key = VerifyKey(raw)
        self.keyid = keyid_of(raw)

    def __bytes__(self) -> bytes:
        return bytes(self._verify_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(bytes(self))

    def __str__(self) -> str:
        return PUBLIC_PREFIX + _base64url(bytes(self))

    def __repr__(self) -> str:
        return f"PublicKey(keyid={self.keyid!r})"


class PrivateKey:
    """An Ed25519 private key that refuses to be printed or pickled; ask `reveal` for its text."""

    __slots__ = ("_signing_key", "public")

    def __init__(self, seed: bytes) -> None:
        self._signing_key = SigningKey(seed)
        self.public = PublicKey(bytes(self._signing_key.verify_key))

    @property
    def keyid(self) -> str:
        """Name the key; the server finds the public key by it."""
        return self.public.keyid

    def sign(self, message: bytes) -> bytes:
        """Sign bytes; the signature is 64 bytes."""
        return self._signing_key.sign(message).signature

    def reveal(self) -> str:
        """Give the private key as text, for the one place that hands it to its owner."""
        return PRIVATE_PREFIX + _base64url(bytes(self._signing_key))

    def __repr__(self) -> str:
        return f"PrivateKey(keyid={self.keyid!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a private key is not pickled or copied")


class KeyPair(NamedTuple):
    """Both halves of a new key, as text for the two environments."""

    private: str  # for OMS_KEY, on the bot's machine
    public: str  # for OMS_KEYS, on the server
    keyid: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r}, keyid={self.keyid!r})"


def generate_keys(seed: bytes | None = None) -> KeyPair:
    """Make a new key pair, from the system's randomness unless 32 bytes are given."""
    key = PrivateKey(os.urandom(32) if seed is None else seed)
    return KeyPair(key.reveal(), str(key.public), key.keyid)


def keyid_of(public: bytes) -> str:
    """Name a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def parse_private_key(text: str) -> PrivateKey:
    """Read a private key from hex, base64, base64url or omssk_ text; 64 bytes are libsodium's form."""
    text = text.strip()
    if text.startswith(PUBLIC_PREFIX):
        raise BadKey(
            f"this is a PUBLIC key ({PUBLIC_PREFIX}...); put the private one ({PRIVATE_PREFIX}...) here"
        )
    raw = _key_bytes(text[len(PRIVATE_PREFIX) :] if text.startswith(PRIVATE_PREFIX) else text)
    if len(raw) == 64:
        key = PrivateKey(raw[:32])
        if bytes(key.public) != raw[32:]:  # libsodium writes the seed and the public key one after the other
            raise BadKey("the two halves of this 64-byte key do not belong together; copy it again")
        return key
    if len(raw) != 32:
        raise BadKey(_wrong_length(raw))
    return PrivateKey(raw)


def parse_public_key(text: str) -> PublicKey:
    """Read a public key from hex, base64, base64url or omspk_ text; a private key put here is recognised."""
    text = text.strip()
    if text.startswith(PRIVATE_PREFIX):
        raise BadKey(
            "this is a PRIVATE key; put the public one here, and since the private one has now been "
            "shown to another machine make a new pair"
        )
    raw = _key_bytes(text[len(PUBLIC_PREFIX) :] if text.startswith(PUBLIC_PREFIX) else text)
    if len(raw) == 64:
        raise BadKey("this is a 64-byte PRIVATE key; put the 32-byte public one here and make a new pair")
    if len(raw) != 32:
        raise BadKey(_wrong_length(raw))
    # Fifteen of sixteen random strings are not a point of the curve's main group: a private key without a
    # prefix, or a typing error, is mostly caught here.
    if bindings.has_crypto_core_ed25519 and not bindings.crypto_core_ed25519_is_valid_point(raw):
        raise BadKey(
            "this is not an Ed25519 public key (perhaps it is the private one, or a character is wrong)"
        )
    return PublicKey(raw)


def _key_bytes(text: str) -> bytes:
    if len(text) in (64, 128) and _HEX.fullmatch(text):
        return bytes.fromhex(text)
    if _BASE64.fullmatch(text):
        body = text.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        except binascii.Error:
            pass
    raise BadKey(
        "a key is 32 bytes written as hex, base64 or base64url, or our own "
        f"{PUBLIC_PREFIX}.../{PRIVATE_PREFIX}... form"
    )


def _wrong_length(raw: bytes) -> str:
    return f"a key is 32 bytes long, this text holds {len(raw)}; copy it again from `oms keygen`"


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


# --- signing and verifying ---------------------------------------------------------------------------------


def make_nonce(random_bytes: bytes) -> str:
    """Spell at least 16 random bytes as a nonce."""
    if len(random_bytes) < 16:
        raise ValueError("a nonce needs 16 random bytes")
    return _base64url(random_bytes)


def sign(
    key: PrivateKey,
    method: str,
    host: str,
    target: str,
    body: bytes,
    *,
    now: int,
    nonce: str,
    lifetime_s: int = LIFETIME_S,
) -> dict[str, str]:
    """Give the three headers that sign a request; `now` is in seconds UTC, `host` an @authority."""
    digest = content_digest(body)
    signed = SignatureInput(int(now), int(now) + lifetime_s, key.keyid, nonce)
    base = request_base(method, host, target, digest, signed)
    headers = {
        "Content-Digest": digest,
        "Signature-Input": f"{LABEL}={signed.params}",
        "Signature": "{}=:{}:".format(LABEL, base64.b64encode(key.sign(base)).decode("ascii")),
    }
    parse_signature_input(
        headers["Signature-Input"]
    )  # a lifetime or nonce the server would refuse fails here
    return headers


def verify(public: PublicKey, base: bytes, signature: bytes) -> bool:
    """Say whether the signature of this base was made by this key."""
    try:
        public._verify_key.verify(base, signature)
    except (BadSignatureError, CryptoError, ValueError):
        return False
    return True
