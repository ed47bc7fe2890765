"""CoinAPI's words, as its documentation and its wire write them."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ems.core.depth import Change, Depth
from ems.feeds.coinapi_messages import (
    BookMessage,
    Failure,
    Heartbeat,
    Reconnect,
    Unreadable,
    hello,
    read,
    symbol_id,
)

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coinapi"
with_samples = pytest.mark.skipif(not DATA.is_dir(), reason="no samples here")


@pytest.mark.parametrize(
    ("exchange", "symbol", "name"),
    [
        ("binance", "BTC/USDT", "BINANCE_SPOT_BTC_USDT"),
        ("okx", "ETH/BTC", "OKEX_SPOT_ETH_BTC"),
        ("bybit", "SOL/USDT", "BYBITSPOT_SPOT_SOL_USDT"),
        ("coinbase", "BTC/USD", "COINBASE_SPOT_BTC_USD"),
        ("coinbaseexchange", "BTC/USD", "COINBASE_SPOT_BTC_USD"),
        ("okx", "BTC/USDT:USDT", None),  # a perpetual is another market
        ("bittrex", "BTC/USDT", None),
    ],
)
def test_names(exchange: str, symbol: str, name: str | None) -> None:
    assert symbol_id(exchange, symbol) == name


def test_the_hello_says_everything_the_page_asks_for() -> None:
    assert json.loads(hello("73034021", ["KRAKEN_SPOT_BTC_USD", "BINANCE_SPOT_BTC_USDT"])) == {
        "type": "hello",
        "apikey": "73034021",
        "heartbeat": True,
        "subscribe_data_type": ["book"],
        "subscribe_filter_symbol_id": ["BINANCE_SPOT_BTC_USDT$", "KRAKEN_SPOT_BTC_USD$"],
    }


def book(**change: Any) -> str:
    body = {
        "time_exchange": "2026-09-25T01:29:06.0656180Z",
        "time_coinapi": "2026-09-25T01:29:06.1438272Z",
        "is_snapshot": False,
        "asks": [],
        "bids": [],
        "symbol_id": "COINBASE_SPOT_BTC_USD",
        "sequence": 7,
        "type": "book",
        **change,
    }
    return json.dumps(body)


def test_a_book_keeps_its_digits() -> None:
    text = book().replace('"bids": []', '"bids": [{"price":84520.02,"size":0.00000004},{"price":9,"size":0}]')
    assert read(text) == BookMessage(
        symbol_id="COINBASE_SPOT_BTC_USD",
        change=Change(
            bids=(("84520.02", "0.00000004"), ("9", "0")),
            asks=(),
            first=7,
            last=7,
            told_at=datetime(2026, 9, 25, 1, 29, 6, 143827, tzinfo=UTC),
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type":"hearbeat"}', Heartbeat()),
        ('{"type":"heartbeat"}', Heartbeat()),
        (
            '{"type":"reconnect","within_seconds":10,"before_time":"2020-08-06T19:19:09.7035429Z"}',
            Reconnect(within_s=10),
        ),
        ('{"type":"error","message":"Invalid API key"}', Failure(message="Invalid API key", final=True)),
        (
            '{"type":"error","message":"Reached maximum allowed buffered messages for this connection."}',
            Failure(message="Reached maximum allowed buffered messages for this connection.", final=False),
        ),
        ('{"type":"trade","price":1}', None),
        ('{"type":"next year\'s"}', None),
    ],
)
def test_the_rest(text: str, message: object) -> None:
    assert read(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        '{"type": "book"}',
        book(bids=None),
        book(bids=[{"price": 1}]),
        book(sequence="x"),
    ],
)
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text)


@with_samples
@pytest.mark.parametrize("file", ["coinapi_real_samples.jsonl", "coinapi_doc_examples.jsonl"])
def test_every_sample_is_read_or_not_ours(file: str) -> None:
    found = {}
    for line in (DATA / file).read_text().splitlines():
        sample = json.loads(line)
        if sample.get("api", "websocket") == "websocket":
            found[sample["kind"]] = read(json.dumps(sample["raw"]))
    assert {kind for kind, message in found.items() if message is not None} == (
        set() if "real" in file else {"book", "reconnect", "heartbeat"}
    )


@with_samples
@pytest.mark.parametrize(
    ("file", "least"),
    [("derived_BINANCE_SPOT_BTC_USDT_180s", 1793), ("derived_BINANCE_SPOT_NEXO_USDT_3h", 1000)],
)
def test_long_recordings_add_up(file: str, least: int) -> None:
    """Made from an exchange's recording: `book` rebuilt agrees with the five best levels told beside it."""
    depth = Depth()
    books = agreed = compared = 0
    five: dict[str, Any] = {}
    with gzip.open(DATA / f"{file}.jsonl.gz", "rt") as lines:
        for line in lines:
            raw = json.loads(line, parse_float=Decimal, parse_int=Decimal)
            if raw["type"] == "book5":
                five[raw["time_exchange"]] = raw
            elif raw["type"] == "book":
                message = read(line)
                assert isinstance(message, BookMessage)
                assert depth.apply(message.change) == ""
                assert depth.whole and not depth.crossed
                books += 1
    assert books >= least
    # Again, now that the judge is known.
    depth = Depth()
    with gzip.open(DATA / f"{file}.jsonl.gz", "rt") as lines:
        for line in lines:
            if not line.rstrip().endswith('"type":"book"}'):
                continue
            message = read(line)
            assert isinstance(message, BookMessage)
            depth.apply(message.change)
            judge = five.get(json.loads(line)["time_exchange"])
            if judge is not None:
                compared += 1
                agreed += all(
                    side(5) == tuple((level["price"], level["size"]) for level in judge[name])
                    for side, name in ((depth.bids, "bids"), (depth.asks, "asks"))
                )
    assert compared > 100 and agreed == compared
