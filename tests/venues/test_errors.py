"""What counts as a no: the exact lists, and above all what is not on them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ems.core.messages import Refusal
from ems.venues.dialects import DIALECTS
from ems.venues.errors import Said, refusal_of

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "fees_errors"


def binance(code: int, message: str) -> dict[str, object]:
    return {"code": code, "msg": message}


def kraken(*errors: str) -> dict[str, object]:
    return {"error": list(errors)}


CREATES = [
    # exchange, HTTP status, body, what it means (None: unknown)
    (
        "binance",
        400,
        binance(-2010, "Account has insufficient balance for requested action."),
        "INSUFFICIENT_FUNDS",
    ),
    ("binance", 400, binance(-2010, "Order would immediately match and take."), "POST_ONLY_WOULD_CROSS"),
    ("binance", 400, binance(-1013, "Filter failure: NOTIONAL"), "MIN_SIZE"),
    ("binance", 400, binance(-1013, "Filter failure: LOT_SIZE"), "LOT_TICK"),
    ("binance", 400, binance(-1013, "Filter failure: PRICE_FILTER"), "LOT_TICK"),
    ("binance", 400, binance(-1111, "Parameter 'price' has too much precision."), "LOT_TICK"),
    ("binance", 400, binance(-1013, "Market is closed."), "MARKET_CLOSED"),
    ("binance", 400, binance(-1021, "Timestamp for this request is outside of the recvWindow."), "CLOCK"),
    ("binance", 401, binance(-2015, "Invalid API-key, IP, or permissions for action."), "AUTH"),
    ("binance", 400, binance(-1022, "Signature for this request is not valid."), "AUTH"),
    (
        "binance",
        400,
        binance(-1015, "Too many new orders; current limit is 100 orders per 10s."),
        "RATE_LIMIT",
    ),
    ("binance", 429, binance(-1015, "Too many new orders."), "RATE_LIMIT"),
    ("binance", 429, binance(-1003, "Too many requests queued."), None),
    ("binance", 418, binance(-1003, "Way too much request weight used"), None),
    ("binance", 400, binance(-1121, "Invalid symbol."), "PERMANENT"),
    # Not a no: the first one arrived.
    ("binance", 400, binance(-2010, "Duplicate order sent."), None),
    # Not a no: new words, even under a known code.
    ("binance", 400, binance(-2010, "Account has insufficient balance for requested action"), None),
    ("binance", 400, binance(-2010, "account has insufficient balance for requested action."), None),
    ("binance", 400, binance(-2010, "A message of next year."), None),
    ("binance", 400, binance(-9999, "Unheard of."), None),
    # Not a no: the venue says itself that it does not know.
    ("binance", 400, binance(-1006, "An unexpected response was received from the message bus."), None),
    ("binance", 504, binance(-1007, "Timeout waiting for response from backend server."), None),
    ("binance", 503, binance(-1008, "Server is currently overloaded with other requests."), None),
    # Not a no: a 5xx, whatever words it carries; and success is no error.
    ("binance", 502, binance(-2010, "Account has insufficient balance for requested action."), None),
    ("binance", 200, binance(-2010, "Account has insufficient balance for requested action."), None),
    # Not a no: the wrong shape.
    (
        "binance",
        400,
        {"code": "-2010", "msg": "Account has insufficient balance for requested action."},
        None,
    ),
    ("binance", 400, [binance(-2010, "Account has insufficient balance for requested action.")], None),
    ("binance", 400, {"code": -2010}, None),
    ("binance", 400, None, None),
    ("kraken", 200, kraken("EOrder:Insufficient funds"), "INSUFFICIENT_FUNDS"),
    ("kraken", 200, kraken("EOrder:Order minimum not met"), "MIN_SIZE"),
    ("kraken", 200, kraken("EOrder:Post only order"), "POST_ONLY_WOULD_CROSS"),
    ("kraken", 200, kraken("EOrder:Rate limit exceeded"), "RATE_LIMIT"),
    ("kraken", 200, kraken("EAPI:Invalid key"), "AUTH"),
    ("kraken", 200, kraken("EAPI:Invalid nonce"), "CLOCK"),
    ("kraken", 200, kraken("EService:Deadline elapsed"), None),
    ("kraken", 200, kraken("EService:Market in cancel_only mode"), "MARKET_CLOSED"),
    ("kraken", 200, kraken("EOrder:Insufficient funds", "EOrder:Insufficient funds"), "INSUFFICIENT_FUNDS"),
    ("kraken", 200, kraken("EAPI:Rate limit exceeded"), None),
    ("kraken", 200, kraken("EGeneral:Temporary lockout"), None),
    ("kraken", 200, kraken("EGeneral:Invalid arguments:cl_ord_id not unique"), None),
    ("kraken", 200, kraken("EService:Unavailable"), None),
    ("kraken", 200, kraken("EService:Busy"), None),
    ("kraken", 200, kraken("EGeneral:Internal error"), None),
    ("kraken", 200, kraken("EOrder:Insufficient funds", "EService:Busy"), None),
    ("kraken", 200, kraken("EOrder:Insufficient funds (USD)"), None),
    ("kraken", 200, kraken("EOrder:Duplicate cl_ord_id"), None),
    ("kraken", 200, kraken(), None),
    ("kraken", 500, kraken("EOrder:Insufficient funds"), None),
    ("kraken", 200, {"error": ["EOrder:Insufficient funds"], "result": {"txid": ["O-1"]}}, None),
    ("kraken", 200, {"error": "EOrder:Insufficient funds"}, None),
    ("kraken", 200, {"error": [["EOrder:Insufficient funds"]]}, None),
]


@pytest.mark.parametrize(("exchange", "status", "body", "meaning"), CREATES)
def test_what_an_answer_to_a_create_means(
    exchange: str, status: int, body: object, meaning: str | None
) -> None:
    dialect = DIALECTS[exchange]
    said = dialect.words.said(status, body)
    assert refusal_of(said, dialect.words.create_refusals) == (None if meaning is None else Refusal(meaning))


@pytest.mark.parametrize(
    ("exchange", "status", "body", "meaning"),
    [
        ("binance", 400, binance(-2011, "Unknown order sent."), "UNKNOWN_ORDER"),
        ("binance", 400, binance(-2011, "Something else."), None),
        ("binance", 400, binance(-2010, "Account has insufficient balance for requested action."), None),
        ("kraken", 200, kraken("EOrder:Unknown order"), "UNKNOWN_ORDER"),
        ("kraken", 200, kraken("EOrder:Insufficient funds"), None),
    ],
)
def test_what_an_answer_to_a_cancel_means(
    exchange: str, status: int, body: object, meaning: str | None
) -> None:
    dialect = DIALECTS[exchange]
    said = dialect.words.said(status, body)
    assert refusal_of(said, dialect.words.cancel_refusals) == (None if meaning is None else Refusal(meaning))


def test_nothing_said_means_nothing() -> None:
    for dialect in DIALECTS.values():
        assert refusal_of((), dialect.words.create_refusals) is None


# The venue's own list of codes whose outcome it does not know or did not decide.
UNDECIDED = {-1000, -1001, -1006, -1007, -1008, -1016}


@pytest.mark.skipif(not DATA.is_dir(), reason="the recorded samples are not here")
def test_no_undecided_code_of_binances_own_list_is_a_no() -> None:
    listed = json.loads((DATA / "binance_errors.json").read_text())["codes"]
    assert {entry["code"] for entry in listed} >= UNDECIDED
    dialect = DIALECTS["binance"]
    for entry in listed:
        for message in entry["messages"]:
            said = (Said(str(entry["code"]), message),)
            if entry["code"] in UNDECIDED:
                assert refusal_of(said, dialect.words.create_refusals) is None, entry
                assert refusal_of(said, dialect.words.cancel_refusals) is None, entry


@pytest.mark.skipif(not DATA.is_dir(), reason="the recorded samples are not here")
@pytest.mark.parametrize("exchange", ["binance", "kraken"])
def test_what_ccxt_takes_for_an_outage_is_never_a_no(exchange: str) -> None:
    """ccxt's own table names the codes that leave the outcome open."""
    table = json.loads(gzip.open(DATA / "venue_error_map.json.gz").read())["venues"][exchange]["exact"]
    open_ended = {
        "ExchangeNotAvailable",
        "RequestTimeout",
        "OperationFailed",
        "NetworkError",
        "DuplicateOrderId",
    }
    dialect = DIALECTS[exchange]
    named = [words for words, kind in table.items() if kind in open_ended]
    assert exchange == "binance" or named
    for words in named:
        assert refusal_of((Said(words, words),), dialect.words.create_refusals) is None, words
