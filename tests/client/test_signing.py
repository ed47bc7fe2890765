"""The signature: fixed vectors, one spelling only, and nothing survives being changed."""

from __future__ import annotations

import base64
import copy
import pickle
import random

import pytest

from oms_client import signing
from oms_client.signing import BadKey, MalformedSignature

SEED = bytes(range(32))
NOW = 1_795_222_286
NONCE = signing.make_nonce(b"\x07" * 16)

# RFC 9421 B.1.4: the key test-key-ed25519, and B.2.6: the request signed with it.
# https://www.rfc-editor.org/rfc/rfc9421#appendix-B.2.6
RFC_PRIVATE = "n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU"
RFC_PUBLIC = "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"
RFC_COMPONENTS = [
    ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
    ("@method", "POST"),
    ("@path", "/foo"),
    ("@authority", "example.com"),
    ("content-type", "application/json"),
    ("content-length", "18"),
]
RFC_PARAMS = (
    '("date" "@method" "@path" "@authority" "content-type" "content-length")'
    ';created=1618884473;keyid="test-key-ed25519"'
)
RFC_BASE = (
    '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
    '"@method": POST\n'
    '"@path": /foo\n'
    '"@authority": example.com\n'
    '"content-type": application/json\n'
    '"content-length": 18\n'
    '"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length")'
    ';created=1618884473;keyid="test-key-ed25519"'
)
RFC_SIGNATURE = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="


def test_the_vector_of_the_rfc():
    key = signing.parse_private_key(RFC_PRIVATE)
    base = signing.signature_base(RFC_COMPONENTS, RFC_PARAMS)
    assert base.decode() == RFC_BASE
    assert key.public == signing.parse_public_key(RFC_PUBLIC)
    assert base64.b64encode(key.sign(base)).decode() == RFC_SIGNATURE
    assert signing.verify(key.public, base, base64.b64decode(RFC_SIGNATURE))


def test_the_digests_of_the_rfc():
    # RFC 9530 appendix B.1 and B.2, https://www.rfc-editor.org/rfc/rfc9530#appendix-B
    assert signing.content_digest(b'{"hello": "world"}\n') == (
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    )
    assert signing.content_digest(b"") == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"


def test_our_own_vector():
    """A client in another language checks itself against these lines, which a second library gave."""
    key = signing.PrivateKey(SEED)
    headers = signing.sign(
        key, "POST", "127.0.0.1:8888", "/api/smart_order?x=%2F", b"{}", now=NOW, nonce=NONCE
    )
    assert key.keyid == "56475aa75463474c"
    assert headers == {
        "Content-Digest": "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:",
        "Signature-Input": 'oms=("@method" "@authority" "@path" "@query" "content-digest")'
        ';created=1795222286;expires=1795222316;keyid="56475aa75463474c";alg="ed25519"'
        ';nonce="BwcHBwcHBwcHBwcHBwcHBw";tag="oms-v1"',
        "Signature": "oms=:"
        "+ujfYPMWzTIluOJcbYR1Xno/7z2NYuxWhbL2m2M93srKqmmg7n+aVDbrDoEijgW63LHuDF2zG4w3b4vJzv3EDA==:",
    }


def signed_request(**changes):
    request = {
        "method": "POST",
        "host": "oms.example.com",
        "target": "/api/smart_order?a=1",
        "body": b'{"start_amount": "1000"}',
    }
    request.update(changes)
    return request


def accepted(public, request, headers):
    """Verify as the server does, without clock and nonce."""
    try:
        signed = signing.parse_signature_input(headers["Signature-Input"])
        signature = signing.parse_signature(headers["Signature"])
        signing.parse_content_digest(headers["Content-Digest"])
    except MalformedSignature:
        return False
    if signed.keyid != public.keyid or headers["Content-Digest"] != signing.content_digest(request["body"]):
        return False
    base = signing.request_base(
        request["method"], request["host"], request["target"], headers["Content-Digest"], signed
    )
    return signing.verify(public, base, signature)


def sign(request, **options):
    options = {"now": NOW, "nonce": NONCE, **options}
    return signing.sign(
        signing.PrivateKey(SEED),
        request["method"],
        request["host"],
        request["target"],
        request["body"],
        **options,
    )


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"method": "GET"}, id="method"),
        pytest.param({"host": "oms.example.org"}, id="host"),
        pytest.param({"host": "oms.example.com:8888"}, id="port"),
        pytest.param({"target": "/api/market_order?a=1"}, id="path"),
        pytest.param({"target": "/api/smart_order?a=2"}, id="query"),
        pytest.param({"target": "/api/smart_order"}, id="query left out"),
        pytest.param({"target": "/api/smart_order%3Fa=1"}, id="question mark encoded"),
        pytest.param({"target": "/api/smart_order?a=1&a=1"}, id="query doubled"),
        pytest.param({"target": "/api/smart%5Forder?a=1"}, id="the same path, encoded"),
        pytest.param({"body": b'{"start_amount": "9000"}'}, id="body"),
        pytest.param({"body": b""}, id="body left out"),
    ],
)
def test_a_changed_request_is_refused(changes):
    public = signing.PrivateKey(SEED).public
    request = signed_request()
    headers = sign(request)
    assert accepted(public, request, headers)
    assert not accepted(public, signed_request(**changes), headers)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("created=1795222286", "created=1795222287"),
        ("expires=1795222316", "expires=1795222317"),
        (NONCE, NONCE[:-1] + "A"),
        ("oms-v1", "oms-v2"),
        ("ed25519", "ed25518"),
        (' "content-digest"', ""),
        ('"@method" "@authority"', '"@authority" "@method"'),
        ("oms=(", "oms=( "),
        ("oms=(", "sig=("),
        (";created", "; created"),
        (";created=1795222286", ";created=01795222286"),
        (";created=1795222286", ";created=1795222286;created=1795222286"),
        ('tag="oms-v1"', 'tag="oms-v1";x=1'),
        ('tag="oms-v1"', 'tag="oms-v1", other=()'),
        ('tag="oms-v1"', 'tag="oms-v1"\n'),
    ],
)
def test_changed_parameters_are_refused(old, new):
    request = signed_request()
    headers = sign(request)
    assert old in headers["Signature-Input"]
    headers["Signature-Input"] = headers["Signature-Input"].replace(old, new)
    assert not accepted(signing.PrivateKey(SEED).public, request, headers)


def test_another_key_does_not_fit():
    request = signed_request()
    other = signing.PrivateKey(b"\x01" * 32).public
    assert not accepted(other, request, sign(request))


def test_three_thousand_random_mutations_are_refused():
    """Change one to three bytes anywhere in the request or its headers; seeded, so a failure comes back."""
    seed = 20261121
    rng = random.Random(seed)
    public = signing.PrivateKey(SEED).public
    refused = 0
    for number in range(3000):
        request = signed_request(target=f"/api/smart_order?a={number}")
        headers = sign(request)
        changed, changed_headers = dict(request), dict(headers)
        where = rng.choice(["method", "host", "target", "body", *headers])
        for _ in range(rng.randint(1, 3)):
            holder = changed if where in changed else changed_headers
            holder[where] = mutate(rng, holder[where])
        if (changed, changed_headers) == (request, headers):
            continue
        assert not accepted(public, changed, changed_headers), f"seed {seed}, number {number}, {where}"
        refused += 1
    assert refused > 2800


def mutate(rng, value):
    data = bytearray(value if isinstance(value, bytes) else value.encode("ascii"))
    at = rng.randrange(len(data) + 1)
    kind = rng.choice(["flip", "insert", "delete", "swap"])
    if kind == "insert" or at == len(data):
        data.insert(at, rng.randrange(33, 127))
    elif kind == "flip":
        data[at] = rng.randrange(33, 127)
    elif kind == "delete":
        del data[at]
    else:
        other = rng.randrange(len(data))
        data[at], data[other] = data[other], data[at]
    return bytes(data) if isinstance(value, bytes) else data.decode("ascii")


def test_only_canonical_base64_is_read():
    """The last character of 64 bytes in base64 has four unused bits: sixteen spellings, one accepted."""
    value = sign(signed_request())["Signature"]
    last = value[-4]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    same = [
        value[:-4] + c + value[-3:]
        for c in alphabet
        if c != last and base64.b64decode(value[5:-4] + c + "==") == signing.parse_signature(value)
    ]
    assert len(same) == 15
    for spelling in [*same, value.replace("==", ""), value.replace("==:", "=:"), value + " ", " " + value]:
        with pytest.raises(MalformedSignature):
            signing.parse_signature(spelling)


@pytest.mark.parametrize("lifetime", [0, -1, 301])
def test_a_lifetime_beyond_the_profile_cannot_be_signed(lifetime):
    with pytest.raises(MalformedSignature, match="1 to 300 seconds"):
        sign(signed_request(), lifetime_s=lifetime)


def test_line_breaks_cannot_forge_a_component():
    with pytest.raises(MalformedSignature, match="line break"):
        signing.signature_base([("@path", '/a\n"@query": ?')], "()")


@pytest.mark.parametrize(
    ("host", "scheme", "authority"),
    [
        ("OMS.Example.COM", "", "oms.example.com"),
        ("oms.example.com:80", "http", "oms.example.com"),
        ("oms.example.com:443", "https", "oms.example.com"),
        ("oms.example.com:443", "http", "oms.example.com:443"),
        ("127.0.0.1:8888", "http", "127.0.0.1:8888"),
        ("127.0.0.1:8080", "http", "127.0.0.1:8080"),
        ("[::1]:8888", "http", "[::1]:8888"),
    ],
)
def test_authority(host, scheme, authority):
    assert signing.authority(host, scheme) == authority


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/a", ("/a", "?")),
        ("/a?", ("/a", "?")),
        ("/a?b=1?c", ("/a", "?b=1?c")),
        ("", ("/", "?")),
        ("/BTC%2FUSDT", ("/BTC%2FUSDT", "?")),
    ],
)
def test_target(target, parts):
    assert signing.split_target(target) == parts


# --- keys ---

PUBLIC = bytes(signing.PrivateKey(SEED).public)
B64 = base64.b64encode
B64URL = base64.urlsafe_b64encode


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SEED.hex(), id="hex"),
        pytest.param(SEED.hex().upper(), id="HEX"),
        pytest.param(B64(SEED).decode(), id="base64"),
        pytest.param(B64(SEED).decode().rstrip("="), id="base64 without padding"),
        pytest.param(B64URL(SEED).decode(), id="base64url"),
        pytest.param("omssk_" + B64URL(SEED).decode().rstrip("="), id="omssk_"),
        pytest.param((SEED + PUBLIC).hex(), id="libsodium, hex"),
        pytest.param(B64(SEED + PUBLIC).decode(), id="libsodium, base64"),
        pytest.param(f"  {SEED.hex()}\n", id="white space around"),
    ],
)
def test_private_key_forms(text):
    assert signing.parse_private_key(text).reveal() == signing.PrivateKey(SEED).reveal()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PUBLIC.hex(), id="hex"),
        pytest.param(B64(PUBLIC).decode(), id="base64"),
        pytest.param(B64URL(PUBLIC).decode().rstrip("="), id="base64url"),
        pytest.param(str(signing.PrivateKey(SEED).public), id="omspk_"),
    ],
)
def test_public_key_forms(text):
    assert bytes(signing.parse_public_key(text)) == PUBLIC


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        pytest.param("private", "omspk_" + "A" * 43, "this is a PUBLIC key", id="public as private"),
        pytest.param("private", (SEED + SEED).hex(), "do not belong together", id="two halves of two keys"),
        pytest.param("private", "abcd", "32 bytes long", id="short"),
        pytest.param("private", "not a key!", "hex, base64", id="no encoding"),
        pytest.param("private", SEED.hex()[:-1], "hex, base64|32 bytes long", id="a digit lost"),
        pytest.param("public", "omssk_" + "A" * 43, "this is a PRIVATE key", id="private as public"),
        pytest.param("public", (SEED + PUBLIC).hex(), "PRIVATE key", id="libsodium's private as public"),
        pytest.param("public", "00" * 32, "not an Ed25519 public key", id="the zero point"),
        pytest.param("public", "ff" * 32, "not an Ed25519 public key", id="no point of the curve"),
    ],
)
def test_wrong_keys_are_explained_and_never_repeated(parse, text, says):
    with pytest.raises(BadKey, match=says) as caught:
        (signing.parse_private_key if parse == "private" else signing.parse_public_key)(text)
    assert text not in str(caught.value)


def test_generated_keys_belong_together():
    pair = signing.generate_keys()
    assert pair != signing.generate_keys()
    key = signing.parse_private_key(pair.private)
    assert key.public == signing.parse_public_key(pair.public)
    assert key.keyid == pair.keyid == signing.keyid_of(bytes(key.public))
    assert pair.private not in repr(pair)


@pytest.mark.parametrize(
    "leak", [repr, str, pickle.dumps, copy.copy, copy.deepcopy, lambda key: key.__getstate__()]
)
def test_a_private_key_does_not_show_itself(leak):
    key = signing.PrivateKey(SEED)
    try:
        shown = str(leak(key))
    except TypeError as refusal:
        shown = str(refusal)
    assert SEED.hex() not in shown
    assert key.reveal()[6:] not in shown
