"""Exchange keys: read once, taken out of the environment, shown nowhere."""

from __future__ import annotations

import base64
import copy
import io
import json
import logging
import pickle
import sys
import traceback
from urllib.parse import quote, quote_plus, urlencode

import pytest

from server.keystore import KeystoreError, RedactingFilter, Redactor, Vault, load_vault

PUBLIC = "CANARY-public-4f1d9b"
PRIVATE = "CANARYprivate/kQH5+HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow=="
PHRASE = "CANARY phrase, with a comma & more"
PEM = (
    "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBcanaryEc1canaryEc2canaryEc3canaryEc4oAoGCCqGSM49\n"
    "AwEHoUQDQgAEcanaryEc5canaryEc6canaryEc7==\n-----END EC PRIVATE KEY-----"
)


def keys_of(environ):
    vault = load_vault(environ)
    return {
        account: (keys.public, keys.private, keys.passphrase)
        for account in vault.accounts()
        if (keys := vault.get(*account)) is not None
    }


# --- reading ---


@pytest.mark.parametrize(
    ("environ", "keys"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"KRAKEN_TRADE_KEYS": "  "}, {}, id="empty"),
        pytest.param(
            {"KRAKEN_TRADE_KEYS": "pub,priv"}, {("kraken", "default"): ("pub", "priv", "")}, id="pair"
        ),
        pytest.param(
            {"GDAX_TRADE_KEYS": " pub , priv , a, b "},
            {("coinbaseexchange", "default"): ("pub", "priv", "a, b")},
            id="passphrase",
        ),
        pytest.param(
            {"KRAKEN_TRADE_KEYS": "p1,q1", "KRAKEN__ARB_2_TRADE_KEYS": "p2,q2"},
            {("kraken", "default"): ("p1", "q1", ""), ("kraken", "arb_2"): ("p2", "q2", "")},
            id="a further account",
        ),
        pytest.param(
            {"COINBASE_TRADE_KEYS": "organizations/x/apiKeys/y," + PEM.replace("\n", "\\n")},
            {("coinbase", "default"): ("organizations/x/apiKeys/y", PEM, "")},
            id="PEM on one line",
        ),
        pytest.param(
            {"BINANCE_API_KEY": "p", "BINANCE_API_SECRET": "q"},
            {("binance", "default"): ("p", "q", "")},
            id="binance's own names",
        ),
        pytest.param(
            {"BINANCE_API_KEY": "p", "BINANCE_SECRET": "q"},
            {("binance", "default"): ("p", "q", "")},
            id="the short name",
        ),
        pytest.param(
            {"OKX_API_KEY": "p", "OKX_SECRET_KEY": "q", "OKX_PASSPHRASE": "r"},
            {("okx", "default"): ("p", "q", "r")},
            id="okx's own names",
        ),
        pytest.param(
            {"OKX_API_KEY": "p", "OKX_API_SECRET_KEY": "q", "OKX_API_PASSPHRASE": "r"},
            {("okx", "default"): ("p", "q", "r")},
            id="okx's long names",
        ),
        pytest.param(
            {"COINCALL_API_KEY": "p", "COINCALL_API_SECRET": "q"},
            {("coincall", "default"): ("p", "q", "")},
            id="coincall",
        ),
        pytest.param(
            {"BINANCE_TRADE_KEYS": "p,q", "BINANCE_API_KEY": "p", "BINANCE_API_SECRET": "q"},
            {("binance", "default"): ("p", "q", "")},
            id="twice the same",
        ),
    ],
)
def test_sources(environ, keys):
    environ = {"HOME": "/home/x", "OMS_KEYS": "a,b", **environ}
    assert keys_of(environ) == keys
    assert environ == {"HOME": "/home/x", "OMS_KEYS": "a,b"}


def test_a_file(tmp_path):
    path = tmp_path / "kraken"
    path.write_text(f"{PUBLIC},{PRIVATE}\n")
    path.chmod(0o600)
    environ = {"KRAKEN_TRADE_KEYS_FILE": str(path)}
    vault = load_vault(environ)
    keys = vault.get("kraken")
    assert keys is not None and (keys.public, keys.private) == (PUBLIC, PRIVATE)
    assert vault.warnings == () and environ == {}


def test_a_file_others_can_read_is_used_with_a_warning(tmp_path):
    path = tmp_path / "kraken"
    path.write_text("p,q")
    path.chmod(0o644)
    vault = load_vault({"KRAKEN_TRADE_KEYS_FILE": str(path)})
    assert len(vault) == 1
    assert vault.warnings == (f"KRAKEN_TRADE_KEYS_FILE: others can read {path}; run: chmod 600 {path}",)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        pytest.param({"KRAKEN_TRADE_KEYS": PRIVATE}, "KRAKEN_TRADE_KEYS: there is no comma", id="no comma"),
        pytest.param({"KRAKEN_TRADE_KEYS": f",{PRIVATE}"}, "the public key is empty", id="no public key"),
        pytest.param({"KRAKEN_TRADE_KEYS": f"{PUBLIC},"}, "the private key is empty", id="no private key"),
        pytest.param(
            {"OKX_TRADE_KEYS": f"{PUBLIC},{PRIVATE},"}, "the passphrase after", id="empty passphrase"
        ),
        pytest.param(
            {"KRAKEN_TRADE_KEYS": "<PUBLIC KEY>,<PRIVATE KEY>"},
            "still the placeholder",
            id="the manual's example",
        ),
        pytest.param({"KRAKEN_TRADE_KEYS": f'"{PUBLIC},{PRIVATE}"'}, "quotation marks", id="quoted"),
        pytest.param(
            {"KRAKEN_TRADE_KEYS": f"{PUBLIC},{PRIVATE[:9]} {PRIVATE[9:]}"}, "a space", id="space inside"
        ),
        pytest.param(
            {"KRAKEN__ARB_TRADE_KEYS": PRIVATE}, "KRAKEN__ARB_TRADE_KEYS: there is no", id="account"
        ),
        pytest.param(
            {"BINANCE_API_KEY": PUBLIC}, "BINANCE_API_KEY is set, but BINANCE_API_SECRET", id="half a pair"
        ),
        pytest.param({"BINANCE_API_SECRET": PRIVATE}, "but BINANCE_API_KEY", id="the other half"),
        pytest.param(
            {"OKX_API_KEY": PUBLIC, "OKX_SECRET_KEY": PRIVATE},
            r"OKX_PASSPHRASE \(the passphrase\)",
            id="no phrase",
        ),
        pytest.param(
            {
                "BINANCE_TRADE_KEYS": f"{PUBLIC},{PRIVATE}",
                "BINANCE_API_KEY": PUBLIC,
                "BINANCE_API_SECRET": "other",
            },
            "BINANCE_API_KEY: BINANCE_TRADE_KEYS already gives other keys",
            id="two that differ",
        ),
        pytest.param({"KRAKEN_TRADE_KEYS_FILE": "/nowhere/key"}, "/nowhere/key cannot be read", id="no file"),
    ],
)
def test_a_wrong_value_is_one_clear_line_that_does_not_repeat_it(environ, says):
    with pytest.raises(KeystoreError, match=says) as caught:
        load_vault(environ)
    message = str(caught.value)
    assert "\n" not in message
    assert next(iter(environ), "") == ""  # nothing stays behind in the environment
    for secret in (PUBLIC, PRIVATE, PRIVATE[:9]):
        assert secret not in message
    assert not any(
        secret in text for text in traceback.format_exception(caught.value) for secret in (PUBLIC, PRIVATE)
    )


# --- the vault keeps its mouth shut ---


@pytest.mark.parametrize(
    "leak",
    [
        repr,
        str,
        "{}".format,
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        lambda thing: json.dumps(thing),
        lambda thing: thing.__getstate__(),
        vars,
    ],
)
def test_neither_vault_nor_keys_can_be_printed_pickled_or_copied(leak):
    vault = load_vault({"OKX_TRADE_KEYS": f"{PUBLIC},{PRIVATE},{PHRASE}"})
    for thing in (vault, vault.get("okx"), Redactor(vault.secrets())):
        try:
            shown = str(leak(thing))
        except TypeError as refusal:
            shown = str(refusal)
        assert "CANARY" not in shown


def test_repr_names_what_a_person_needs():
    vault = load_vault({"OKX_TRADE_KEYS": f"{PUBLIC},{PRIVATE},{PHRASE}"})
    assert repr(vault) == "<Vault with keys of 1 accounts>"
    assert repr(vault.get("okx")) == "<ExchangeKeys okx/default from OKX_TRADE_KEYS>"
    assert vault.get("kraken") is None and repr(Vault()) == "<Vault with keys of 0 accounts>"


# --- redaction ---

redact = Redactor(load_vault({"OKX_TRADE_KEYS": f"{PUBLIC},{PRIVATE},{PHRASE}"}).secrets())


def b64(text):
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("secret", [PUBLIC, PRIVATE, PHRASE])
@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda s: s, id="plain"),
        pytest.param(b64, id="base64"),
        pytest.param(lambda s: b64(s).rstrip("="), id="base64 without padding"),
        pytest.param(lambda s: base64.urlsafe_b64encode(s.encode()).decode(), id="base64url"),
        pytest.param(lambda s: s.encode().hex(), id="hex"),
        pytest.param(lambda s: s.encode().hex().upper(), id="HEX"),
        pytest.param(lambda s: quote(s, safe=""), id="percent-encoded"),
        pytest.param(quote_plus, id="form-encoded"),
        pytest.param(lambda s: json.dumps({"x": s}), id="JSON"),
        pytest.param(lambda s: repr({"x": s}), id="repr"),
        pytest.param(lambda s: urlencode({"q": s, "r": 1}), id="query string"),
        pytest.param(lambda s: f"https://x.test/a?b={quote(s)}&c=1", id="URL"),
    ],
)
def test_a_known_secret_is_scrubbed_in_every_spelling(secret, written):
    text = written(secret)
    shown = redact(f"before {text} after")
    assert text not in shown and "[redacted]" in shown
    assert shown.startswith("before ") and shown.endswith(" after")
    for spelling in (secret, b64(secret), secret.encode().hex(), quote(secret, safe="")):
        assert spelling not in shown


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 4])
def test_a_secret_inside_longer_base64_is_scrubbed(shift):
    """HTTP Basic encodes user:password as one text; the secret then stands at any of three alignments."""
    encoded = b64("u" * shift + ":" + PRIVATE + ":tail")
    shown = redact(encoded)
    assert "[redacted]" in shown
    assert b64(PRIVATE)[8:-8] not in shown
    assert len(shown.replace("[redacted]", "")) < len(encoded) / 2


def test_a_secret_that_is_base64_is_scrubbed_as_the_bytes_it_stands_for():
    """Kraken's private key is base64; a library in trouble may print the decoded bytes."""
    secret = b64("CANARY raw signing key bytes 0123")
    scrub = Redactor([secret])
    assert scrub(base64.b64decode(secret).hex()) == "[redacted]"


def test_each_line_of_a_pem_key_is_scrubbed():
    scrub = Redactor([PEM])
    for line in PEM.splitlines()[1:-1]:
        assert scrub(f"x {line} y") == "x [redacted] y"
    assert "canary" not in scrub(json.dumps(PEM)) and "canary" not in scrub(repr(PEM))


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/v3/account?timestamp=1&signature=SECRETVALUE123 HTTP/1.1",
        "https://api.huobi.pro/v1/account?AccessKeyId=SECRETVALUE123&SignatureVersion=2",
        "{'apiKey': 'SECRETVALUE123', 'x': 1}",
        '{"api_key": "SECRETVALUE123"}',
        '"secret": "SECRETVALUE123"',
        "X-MBX-APIKEY: SECRETVALUE123",
        "API-Key: SECRETVALUE123",
        "API-Sign: SECRETVALUE123/+==",
        "OK-ACCESS-PASSPHRASE: SECRETVALUE123",
        "X-BAPI-SIGN: SECRETVALUE123",
        "KC-API-KEY: x, X-GATE-PASSPHRASE=SECRETVALUE123",
        "Authorization: Bearer SECRETVALUE123",
        "authorization: basic U0VDUkVUVkFMVUUxMjM= SECRETVALUE123"[:47],
        "password=SECRETVALUE123",
        "smtp://user:SECRETVALUE123@mail.test:25",
        "postgres://oms:SECRETVALUE123@db/oms",
        "OMS_KEY=omssk_SECRETVALUE123-_abc",
        "-----BEGIN PRIVATE KEY-----\nSECRETVALUE123\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nSECRETVALUE123 cut off",
    ],
)
def test_an_unknown_secret_is_scrubbed_by_where_it_stands(text):
    shown = Redactor()(text)
    assert "SECRETVALUE123" not in shown and "U0VDUkVUVkFMVUUxMjM" not in shown
    assert "[redacted]" in shown


@pytest.mark.parametrize(
    "text",
    [
        "alice placed order o-5f0c2a71 on kraken: buy 0.25 ETH/USDT at 2450.1",
        "the signature does not fit this request",
        "AUTH_UNKNOWN_KEY: no key 33bef4d13a20b735 is known here",
        '"@method": POST\n"@authority": 127.0.0.1:8888',
        "secretary: none of the keys; tokens per second 5",
        "OMS_KEYS=alice,omspk_eMmz_2RH0MvjgC0Vqi_6D1O5dradWm-wtL_y-8olxVo",
        "http://127.0.0.1:8888/api/get_balances?exchange=kraken",
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert redact(text) == text


def test_a_secret_too_short_to_be_one_does_not_shred_the_text():
    assert Redactor(["a", "abc"])("abacus abc") == "abacus abc"


def test_redacting_twice_changes_nothing_more():
    once = redact(f"apiKey={PUBLIC}&signature=xyz Authorization: Bearer {PRIVATE}")
    assert redact(once) == once


def test_long_hostile_text_is_scrubbed_in_linear_time():
    for piece in ("signature=", "apiKey:'", "x-a-", "-----BEGIN ", "://a:", "bearer "):
        assert isinstance(redact(piece * 20_000), str)


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(lambda logger: logger.error("key %s", PRIVATE), id="argument"),
        pytest.param(lambda logger: logger.error(f"key {PRIVATE}"), id="message"),
        pytest.param(lambda logger: logger.error({"secret": PRIVATE}), id="object"),
        pytest.param(lambda logger: logger.error("%s %s", PRIVATE), id="arguments that do not fit"),
        pytest.param(lambda logger: logger.error("x", stack_info=True), id="stack"),
    ],
)
def test_a_log_handler_writes_no_secret(log):
    text = logged(log)
    assert PRIVATE not in text and PUBLIC not in text


def test_a_logged_exception_shows_no_secret():
    def log(logger):
        try:
            try:
                raise ValueError(f"refused {PRIVATE}")
            except ValueError as inner:
                raise RuntimeError(f"https://x.test/?apiKey={PUBLIC}") from inner
        except RuntimeError:
            logger.exception("failed")

    text = logged(log)
    assert "CANARY" not in text
    assert "Traceback" in text and "RuntimeError" in text and "refused [redacted]" in text


def test_no_later_handler_finds_the_exception_again():
    """A formatter of another kind would print exc_info itself, secrets and all."""
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "m", None, (ValueError, ValueError(PRIVATE), None))
    assert RedactingFilter(redact).filter(record)
    assert record.exc_info is None and "[redacted]" in str(record.exc_text)
    assert PRIVATE not in str(vars(record))


def logged(log):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(redact))
    logger = logging.Logger("canary")
    logger.addHandler(handler)
    stderr, sys.stderr = sys.stderr, stream  # logging reports its own failures there
    try:
        log(logger)
    finally:
        sys.stderr = stderr
    assert stream.getvalue()
    return stream.getvalue()
