"""A recorded Coinbase feed, played over a socket and followed by what follows the live one."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ems.core.messages import BookUpdate, PublicTrade, Side, StreamDown, StreamUp, WatchBook
from simulator.dialects.coinbase import MARKETS, Coinbase
from simulator.dialects.coinbase_streams import Streams
from simulator.dialects.coinbase_words import stamp
from simulator.dialects.dialect import BOOK
from simulator.exchange import Exchange
from simulator.records import Market
from simulator.wire import SimulatorServer
from tests.venues.gateways import opened
from tests.venues.simulated import keys_of

RECORDING = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "raw_ws" / "coinbase.jsonl.gz"
KEYS = keys_of("coinbase")
SYMBOLS = ("BTC/USD", "ETH/USD")

pytestmark = pytest.mark.skipif(not RECORDING.is_file(), reason="no recorded stream here")


def frames() -> Iterator[dict[str, Any]]:
    with gzip.open(RECORDING, "rt") as lines:
        for line in lines:
            record = json.loads(line)
            if record["t"] == "recv":
                yield json.loads(record["data"])


class Playing(Coinbase):
    """A Coinbase that answers a subscription of books with the recording, once for each connection."""

    def __init__(self, exchange: Exchange, leave_out: int | None) -> None:
        super().__init__(exchange)
        self.leave_out = leave_out  # a number that the first connection is not told
        self.played = 0

    def open_session(self, request: Any, send: Any) -> Any:
        return PlayingStreams(self, send, request)


class PlayingStreams(Streams):
    coinbase: Playing

    def receive(self, text: str, request: Any) -> None:
        message = json.loads(text)
        if message["channel"] == "user" or (message["channel"] == "heartbeats" and self._api_key):
            return super().receive(text, request)
        if message["channel"] == "level2" and message["type"] == "subscribe":
            left_out = self.coinbase.leave_out if not self.coinbase.played else None
            self.coinbase.played += 1
            for frame in frames():
                if frame["sequence_num"] != left_out:
                    # What is told a second time is not late: it leaves now.
                    self._send({**frame, "timestamp": stamp(time.time())}, BOOK)
        return None


class PlayedVenue:
    def __init__(self, leave_out: int | None = None) -> None:
        rules = {name: getattr(MARKETS[0], name) for name in ("tick", "lot", "min_qty", "fee_mode")}
        markets = [
            Market(symbol=symbol, base=symbol[:3], quote="USD", maker_fee=Decimal(0), **rules)
            for symbol in SYMBOLS
        ]
        exchange = Exchange("coinbase", markets)
        account = exchange.open_account(KEYS.public, KEYS.private)
        exchange.deposit(account, "USD", Decimal(100), time.time())
        self.coinbase = Playing(exchange, leave_out)
        self.server = SimulatorServer(exchange, self.coinbase)

    async def __aenter__(self) -> PlayedVenue:
        await self.server.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()


def rebuilt() -> dict[str, tuple[Any, Any]]:
    """Both books at the end of the recording, put together as plainly as possible."""
    books: dict[str, dict[str, dict[Decimal, Decimal]]] = {}
    for frame in frames():
        if frame["channel"] != "l2_data":
            continue
        for event in frame["events"]:
            symbol = event["product_id"].replace("-", "/")
            if event["type"] == "snapshot":
                books[symbol] = {"bid": {}, "offer": {}}
            for row in event["updates"]:
                books[symbol][row["side"]][Decimal(row["price_level"])] = Decimal(row["new_quantity"])
    return {
        symbol: tuple(
            tuple(sorted(((p, q) for p, q in sides[side].items() if q), reverse=side == "bid")[:50])
            for side in ("bid", "offer")
        )  # type: ignore[misc]
        for symbol, sides in books.items()
    }


def test_the_recording_has_no_gap() -> None:
    numbers = [frame["sequence_num"] for frame in frames()]
    assert numbers == list(range(len(numbers))) and len(numbers) == 1030


def test_both_books_are_rebuilt_to_the_last_level_and_nothing_is_missed() -> None:
    async def story() -> None:
        async with PlayedVenue() as venue:
            async with opened("coinbase", venue.server.url, KEYS, shapes=(), request_timeout_s=5) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                for symbol in SYMBOLS:
                    gateway.send(WatchBook(symbol=symbol))
                for symbol, (bids, asks) in rebuilt().items():
                    await reports.next(
                        BookUpdate,
                        lambda book, want=(symbol, bids, asks): (book.symbol, book.bids, book.asks) == want,
                        within_s=20,
                    )
                assert not reports.of(StreamDown)
                assert not [book.unfit for book in reports.of(BookUpdate) if book.unfit]
                assert venue.coinbase.played == 1
                trades = reports.of(PublicTrade)
                told = [
                    row
                    for frame in frames()
                    if frame["channel"] == "market_trades"
                    for event in frame["events"]
                    if event["type"] == "update"
                    for row in event["trades"]
                ]
                assert len(trades) == len(told) > 50
                assert [trade.price for trade in trades] == [Decimal(row["price"]) for row in told]

    asyncio.run(story())


def test_the_side_of_a_trade_is_the_makers_and_we_tell_the_takers() -> None:
    """The ticker of the same trade shows between which prices it happened."""
    touch: dict[str, tuple[Decimal, Decimal]] = {}
    at_ask: list[str] = []
    at_bid: list[str] = []
    for frame in frames():
        for event in frame["events"]:
            for row in event.get("tickers", ()):
                touch[row["product_id"]] = (Decimal(row["best_bid"]), Decimal(row["best_ask"]))
            for row in event.get("trades", ()):
                bid, ask = touch.get(row["product_id"], (None, None))
                if Decimal(row["price"]) == ask:
                    at_ask.append(row["side"])
                elif Decimal(row["price"]) == bid:
                    at_bid.append(row["side"])
    assert len(at_ask) > 10 and at_ask.count("SELL") > 0.9 * len(at_ask)
    assert len(at_bid) > 10 and at_bid.count("BUY") > 0.9 * len(at_bid)
    gateway_side = {"SELL": Side.BUY, "BUY": Side.SELL}

    async def story() -> None:
        async with PlayedVenue() as venue:
            async with opened("coinbase", venue.server.url, KEYS, shapes=()) as (gateway, _):
                for frame in frames():
                    if gateway.dialect.tape.is_trades(frame) and frame["events"][0]["type"] == "update":
                        trades = gateway.dialect.tape.read(gateway._ccxt, frame, datetime.now(UTC))
                        sides = [gateway_side[row["side"]] for row in frame["events"][0]["trades"]]
                        assert [trade.side for trade in trades] == sides

    asyncio.run(story())


@pytest.mark.parametrize("number", [200, 1000])
def test_a_frame_that_is_missing_ends_the_connection_and_the_next_one_tells_all(number: int) -> None:
    async def story() -> None:
        async with PlayedVenue(leave_out=number) as venue:
            async with opened("coinbase", venue.server.url, KEYS, shapes=(), request_timeout_s=5) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                gateway.send(WatchBook(symbol="BTC/USD"))
                bids, asks = rebuilt()["BTC/USD"]
                await reports.next(
                    BookUpdate, lambda book: (book.bids, book.asks) == (bids, asks), within_s=20
                )
                assert venue.coinbase.played == 2
                assert not reports.of(StreamDown)  # the account's stream is another connection

    asyncio.run(story())
