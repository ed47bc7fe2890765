"""Public trades beside the books: read exactly, kept coming, and no trouble to anything else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import (
    Acked,
    BookUpdate,
    PublicTrade,
    Side,
    StreamDown,
    StreamUp,
    TimeInForce,
    UnwatchBook,
    WatchBook,
)
from ems.venues.dialects.binance import BINANCE
from ems.venues.dialects.dialect import Dialect
from ems.venues.dialects.kraken import KRAKEN
from ems.venues.streams import Streams
from ems.venues.transport import exact_json, exchange_class
from simulator.faults import Rule
from tests.venues.gateways import new_order, opened
from tests.venues.simulated import KEYS, Simulated, simulated
from tests.venues.stories import run

each_exchange = pytest.mark.parametrize("exchange", ["binance", "kraken"])
NOW = datetime(2026, 1, 2, tzinfo=UTC)
D = Decimal


# --- Frames ---


def binance(**change: Any) -> str:
    fields = {"e": '"trade"', "s": '"BTCUSDT"', "p": '"20000.10"', "q": '"0.50000000"', "m": "true", **change}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


def kraken(*rows: str, kind: str = "update") -> str:
    return f'{{"channel": "trade", "type": "{kind}", "data": [{", ".join(rows)}]}}'


def row(side: str = "buy", price: str = "20000.10", quantity: str = "0.00100000") -> str:
    return f'{{"symbol": "BTCUSDT", "side": "{side}", "price": {price}, "qty": {quantity}, "trade_id": 7}}'


def seen(side: Side, price: str = "20000.10", quantity: str = "0.5") -> PublicTrade:
    return PublicTrade(symbol="BTCUSDT", price=D(price), quantity=D(quantity), side=side, at=NOW)


@pytest.mark.parametrize(
    ("case", "dialect", "frame", "expected"),
    [
        ("the buyer waited", BINANCE, binance(), [seen(Side.SELL)]),
        ("the seller waited", BINANCE, binance(m="false"), [seen(Side.BUY)]),
        ("another market", BINANCE, binance(s='"ETHUSDT"'), []),
        ("no price", BINANCE, binance(p='"NaN"'), []),
        ("nothing traded", BINANCE, binance(q='"0"'), []),
        ("fields missing", BINANCE, '{"e": "trade", "s": "BTCUSDT"}', []),
        ("one", KRAKEN, kraken(row()), [seen(Side.BUY, quantity="0.001")]),
        (
            "several, with every digit",
            KRAKEN,
            kraken(row("sell", "20000.00000000000001"), row(quantity="0.10000000000000003")),
            [
                seen(Side.SELL, "20000.00000000000001", "0.001"),
                seen(Side.BUY, quantity="0.10000000000000003"),
            ],
        ),
        ("the past", KRAKEN, kraken(row(), kind="snapshot"), []),
        ("a side of next year", KRAKEN, kraken(row("both")), []),
        ("rows that are none", KRAKEN, kraken("1", "null"), []),
        ("good before broken", KRAKEN, kraken(row(), row("both")), [seen(Side.BUY, quantity="0.001")]),
    ],
)
def test_what_a_frame_says(case: str, dialect: Dialect, frame: str, expected: list[PublicTrade]) -> None:
    told: list[Any] = []

    async def no_book(symbol: str) -> Any:
        raise AssertionError(symbol)

    ccxt = exchange_class(dialect.ccxt_id)()
    streams = Streams(ccxt, dialect, deliver=told.append, now=lambda: NOW, fetch_book=no_book)
    streams._trades["BTCUSDT"] = None  # type: ignore[assignment]
    assert streams.on_frame(None, exact_json(frame)) is True  # ccxt need not see it, whatever it says
    assert told == expected


# --- On the wire ---


def others_trade(venue: Simulated, price: str, quantity: str, side: str) -> None:
    now = venue.server.now()
    venue.exchange.public_trade(venue.symbol, D(price), D(quantity), side, now)  # type: ignore[arg-type]


async def until_trades_come(venue: Simulated, reports: Any) -> None:
    """Let others trade until one of their trades is told: the subscription is on."""
    async with asyncio.timeout(10):
        while not reports.of(PublicTrade):
            others_trade(venue, "20010", "0.0001", "buy")
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)
    reports.all.clear()


@each_exchange
def test_a_watched_book_brings_the_public_trades_of_its_market_our_own_among_them(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            others_trade(venue, "20010", "0.7", "buy")  # before anybody watched
            gateway.send(WatchBook(symbol=venue.symbol))
            await until_trades_come(venue, reports)
            before = datetime.now(UTC)
            others_trade(venue, "20009.9", "0.1234", "sell")
            others_trade(venue, "20010", "0.25", "buy")
            first, second = await reports.next(PublicTrade), await reports.next(PublicTrade)
            assert (first.symbol, first.price, first.quantity, first.side) == (
                venue.symbol,
                D("20009.9"),
                D("0.1234"),
                Side.SELL,
            )
            assert (second.quantity, second.side) == (D("0.25"), Side.BUY)
            assert before <= first.at <= second.at <= datetime.now(UTC)
            order = new_order(exchange, quantity="0.3", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            await reports.next(Acked)
            ours = await reports.next(PublicTrade)
            assert (ours.price, ours.quantity, ours.side) == (D("20010"), D("0.3"), Side.BUY)

    run(story())


@each_exchange
def test_trades_come_back_after_a_cut(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            gateway.send(WatchBook(symbol=venue.symbol))
            for _ in range(2):
                await until_trades_come(venue, reports)
                await venue.server.cut()
                await reports.next(StreamDown)
            await until_trades_come(venue, reports)

    run(story())


@each_exchange
def test_nobody_hears_of_trades_who_does_not_watch_and_may_watch_again(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            gateway.send(WatchBook(symbol=venue.symbol))
            await until_trades_come(venue, reports)
            gateway.send(UnwatchBook(symbol=venue.symbol))
            await asyncio.sleep(0.3)
            reports.all.clear()
            others_trade(venue, "20010", "0.25", "buy")
            await asyncio.sleep(0.3)
            assert not reports.of(PublicTrade)
            gateway.send(WatchBook(symbol=venue.symbol))
            await until_trades_come(venue, reports)

    run(story())


@each_exchange
@pytest.mark.parametrize("fault", ["cut", "silence", "lost", "garbage"])
def test_no_trouble_with_trades_reaches_the_books_or_the_orders(exchange: str, fault: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            gateway.send(WatchBook(symbol=venue.symbol))
            await reports.next(BookUpdate)
            await until_trades_come(venue, reports)
            clients = gateway._ccxt.clients
            connected = [client for client in clients.values() if client.connection is not None]
            mine = [client for client in connected if any("trade" in one for one in client.futures)]
            others = [client for client in connected if client not in mine]
            assert (len(mine), len(others)) == (1, 2)  # the account's and the books' are others
            if fault == "garbage":
                mine[0].handle_text_or_binary_message('{"channel": "trade", "e": "trade", "p": NaN}')
            else:
                venue.strike(Rule(action=fault, kinds=("trades",), count=1, seconds=(60.0, 60.0)))
                others_trade(venue, "20010", "0.25", "buy")
            await asyncio.sleep(0.2)
            assert [client for client in clients.values() if client in others] == others
            assert not any(client.connection.closed for client in others)
            reports.all.clear()
            venue.set_book(bid="19000", ask="19010")
            update = await reports.next(BookUpdate)
            assert update.bids[0][0] == 19000
            order = new_order(exchange, quantity="0.1", price="18000")
            gateway.send(order)
            await reports.next(Acked)
            assert not reports.of(StreamDown)
            if fault != "silence":  # a stream that is silent and a market that is quiet look the same
                await until_trades_come(venue, reports)

    run(story())
