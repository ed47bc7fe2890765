"""OKX through the gateway: the stories of every exchange, and what is true of OKX alone."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ems.core.messages import (
    Acked,
    Balances,
    CancelAcked,
    CancelRefused,
    Ending,
    FillReport,
    Found,
    Liquidity,
    LookupFailed,
    MarketsLoaded,
    OrderStatus,
    OutcomeUnknown,
    PublicTrade,
    QueryBalances,
    Refusal,
    Rejected,
    Side,
    StreamDown,
    StreamUp,
    TimeInForce,
    TradesAnswer,
    WatchBook,
)
from ems.venues.dialects import DIALECTS
from ems.venues.dialects import okx as dialect
from ems.venues.errors import refusal_of
from ems.venues.gateway import VenueRefused
from ems.venues.translation import market_of
from ems.venues.transport import exact_json, exchange_class
from simulator.faults import Rule
from tests.venues import gateways
from tests.venues import test_on_simulator as stories
from tests.venues.gateways import cancel_of, look_up, new_order, opened, trades_of
from tests.venues.simulated import keys_of
from tests.venues.simulated import simulated as simulated_exchange
from tests.venues.stories import D, run

SYMBOL = "BTC/USDT"
KEYS = keys_of("okx")
simulated = partial(simulated_exchange, "okx")
order_of = partial(new_order, "okx")
client_id = partial(gateways.client_id, style="hex32")


# --- What is true of OKX alone ---


def test_markets_come_with_rules_and_the_accounts_own_fees() -> None:
    async def story() -> None:
        async with simulated() as venue:
            async with opened("okx", venue.url, KEYS, wait=False, shapes=()) as (gateway, reports):
                (market,) = (await reports.next(MarketsLoaded)).markets
                await reports.next(StreamUp)
                assert (market.symbol, market.tick, market.lot, market.min_quantity) == (
                    SYMBOL,
                    D("0.1"),
                    D("0.0001"),
                    D("0.0001"),
                )
                assert (market.min_notional, market.maker_fee, market.taker_fee, market.fee_mode) == (
                    D("0"),
                    D("0.001"),
                    D("0.002"),
                    "received",
                )
                assert await gateway.fetch_fees(SYMBOL) == [
                    {"symbol": SYMBOL, "maker": D("0.001"), "taker": D("0.002")}
                ]
                with pytest.raises(VenueRefused, match="NO/SUCH"):
                    await gateway.fetch_fees("NO/SUCH")

    run(story())


def test_money_and_transfers() -> None:
    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            gateway.send(order_of(quantity="0.1", price="19000"))
            await reports.next(Acked)
            assert await gateway.fetch_balances() == {
                "BTC": {"free": D("2"), "used": D("0"), "total": D("2")},
                "USDT": {"free": D("8100"), "used": D("1900"), "total": D("10000")},
            }
            gateway.send(QueryBalances())
            balances = await reports.next(Balances)
            assert balances.free == {"BTC": D("2"), "USDT": D("8100")}
            assert balances.used == {"BTC": D("0"), "USDT": D("1900")}
            venue.exchange.withdraw(venue.account, "USDT", D("50"), time.time(), fee=D("1"))
            begun = datetime.now(UTC) - timedelta(minutes=5)
            transfers = await gateway.fetch_transfers(begun, begun + timedelta(minutes=10))
            assert sorted((row.kind, row.currency, row.amount, row.fee) for row in transfers) == [
                ("deposit", "BTC", D("2"), 0),
                ("deposit", "USDT", D("10000"), 0),
                ("withdrawal", "USDT", D("50"), D("1")),
            ]
            assert {row.status for row in transfers} == {"ok"}
            health = await gateway.fetch_health()
            assert (health["reachable"], health["markets"], health["problems"]) == (True, 1, [])

    run(story())


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_an_immediate_order_tells_its_fills_the_same_every_way(side: Side) -> None:
    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            venue.set_book(size="0.1")
            began = datetime.now(UTC)
            price = "20011" if side is Side.BUY else "19999"  # two levels: 0.2 of the 0.3 wanted
            order = order_of(side=side, quantity="0.3", price=price, time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity, ended.quantity) == (
                Ending.CANCELED,
                D("0.2"),
                D("0.3"),
            )
            streamed = reports.of(FillReport)
            answers = []
            for exchange_order_id in (None, acked.exchange_order_id):
                gateway.send(trades_of(order, began, exchange_order_id))
                answers.append((await reports.next(TradesAnswer)).fills)
            for_people = await gateway.fetch_order_fills(SYMBOL, acked.exchange_order_id)

            def facts(fills: Any) -> list[tuple[object, ...]]:
                return sorted(
                    (fill.fill_id, fill.exchange_order_id, fill.symbol, fill.side, fill.price, fill.quantity)
                    + (fill.fee, fill.fee_currency, fill.liquidity, fill.order_id, fill.client_order_id)
                    for fill in fills
                )

            assert facts(streamed) == facts(answers[0]) == facts(answers[1]) == facts(for_people)
            assert len(streamed) == 2
            for fill in streamed:
                got = fill.quantity if side is Side.BUY else fill.price * fill.quantity
                assert (fill.fee, fill.fee_currency) == (
                    got * D("0.002"),
                    "BTC" if side is Side.BUY else "USDT",
                )
                assert (fill.liquidity, fill.order_id) == (Liquidity.TAKER, order.order_id)
                assert began.timestamp() - 1 < fill.at.timestamp() < datetime.now(UTC).timestamp() + 1

    run(story())


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_market_order_counts_in_the_base_currency(side: Side) -> None:
    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            gateway.send(order_of(side=side, quantity="0.2", price=None))
            await reports.next(Acked)
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity, ended.quantity) == (
                Ending.FILLED,
                D("0.2"),
                D("0.2"),
            )

    run(story())


def test_a_market_order_that_cannot_be_paid_is_refused_and_not_made_smaller() -> None:
    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            gateway.send(order_of(quantity="0.6", price=None))
            rejected = await reports.answer_to("order-1")
            assert isinstance(rejected, Rejected)
            assert (rejected.refusal, rejected.venue_code) == (Refusal.INSUFFICIENT_FUNDS, "51008")
            assert not venue.orders()

    run(story())


def test_a_post_only_order_that_would_take_is_accepted_and_cancelled() -> None:
    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            order = order_of(quantity="0.1", price="20010", post_only=True)
            gateway.send(order)
            acked = await reports.next(Acked)
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity) == (Ending.CANCELED, D("0"))
            assert ended.exchange_order_id == acked.exchange_order_id
            assert ended.reason is not None and "post-only" in ended.reason
            for exchange_order_id in (None, acked.exchange_order_id):
                gateway.send(look_up(order, exchange_order_id))
                seen = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                assert (seen.found, seen.ending, seen.filled_quantity) == (
                    Found.CLOSED,
                    Ending.CANCELED,
                    D("0"),
                )
            gateway.send(cancel_of(order))
            refused = await reports.next(CancelRefused)
            assert refused.refusal is Refusal.UNKNOWN_ORDER
            assert not venue.orders() and venue.exchange.imbalance() == {}

    run(story())


def test_a_client_id_in_use_is_looked_up_and_never_taken_for_a_no() -> None:
    async def story() -> None:
        async with simulated() as venue:
            order = order_of(quantity="0.1", price="19000")
            async with opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
                gateway.send(order)
                acked = await reports.next(Acked)
            # A restart that knows nothing of the first sending.
            async with opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
                gateway.send(order)
                unknown = await reports.answer_to(order.order_id)
                assert isinstance(unknown, OutcomeUnknown) and "51016" in unknown.message
                gateway.send(look_up(order))
                found = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                assert (found.found, found.exchange_order_id) == (Found.OPEN, acked.exchange_order_id)
                gateway.send(cancel_of(order, acked.exchange_order_id))
                await reports.next(CancelAcked)
            assert len(venue.orders()) == 1

    run(story())


def test_an_order_with_more_fills_than_a_page_is_read_to_its_end() -> None:
    async def story() -> None:
        async with simulated() as venue:
            async with opened("okx", venue.url, KEYS, shapes=(), request_timeout_s=5) as (gateway, reports):
                await reports.next(StreamUp)
                began = datetime.now(UTC)
                order = order_of(quantity="0.25", price="20000.1", post_only=True)
                gateway.send(order)
                acked = await reports.next(Acked)
                for _ in range(230):
                    venue.exchange.public_trade(SYMBOL, D("20000.1"), D("0.001"), "sell", time.time())
                for exchange_order_id in (None, acked.exchange_order_id):
                    gateway.send(trades_of(order, began, exchange_order_id))
                    fills = (await reports.next(TradesAnswer)).fills
                    assert len({fill.fill_id for fill in fills}) == 230
                    assert sum(fill.quantity for fill in fills) == D("0.23")

    run(story())


def test_fills_that_are_not_all_listed_yet_are_no_answer() -> None:
    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            began = datetime.now(UTC)
            order = order_of(quantity="0.2", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            venue.strike(Rule(action="lag_orders", kinds=("my_trades",), seconds=(60, 60)))
            gateway.send(trades_of(order, began, acked.exchange_order_id))
            failed = await reports.next(LookupFailed)
            assert "not all of its trades are listed yet" in failed.message
            venue.strike()
            gateway.send(trades_of(order, began, acked.exchange_order_id))
            assert [fill.quantity for fill in (await reports.next(TradesAnswer)).fills] == [D("0.2")]

    run(story())


def test_more_pages_than_we_read_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "PAGES_MAX", 1)

    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            began = datetime.now(UTC)
            order = order_of(quantity="0.25", price="20000.1")
            gateway.send(order)
            acked = await reports.next(Acked)
            for _ in range(100):
                venue.exchange.public_trade(SYMBOL, D("20000.1"), D("0.001"), "sell", time.time())
            gateway.send(trades_of(order, began, acked.exchange_order_id))
            failed = await reports.next(LookupFailed)
            assert failed.request == "trades" and "more than" in failed.message

    run(story())


def test_fills_of_last_week_are_found_where_older_ones_are_listed() -> None:
    async def story() -> None:
        async with simulated() as venue:
            ago = time.time() - 5 * 86_400
            order = venue.exchange.create_order(
                venue.account, SYMBOL, "buy", "limit", D("0.1"), D("20010"), now=ago
            )
            number = str(venue.dialect.ord_id(order.order_id))
            async with opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
                (fill,) = await gateway.fetch_order_fills(SYMBOL, number)
                assert (fill.exchange_order_id, fill.quantity) == (number, D("0.1"))
                known = replace(order_of(), client_order_id="unknown")
                gateway.send(trades_of(known, datetime.fromtimestamp(ago - 60, UTC)))
                assert (await reports.next(TradesAnswer)).fills == ()  # the fill is that of a stranger

    run(story())


def test_the_history_names_the_order_of_every_fill() -> None:
    """An order that the lists forgot is found by its fills among those of many others."""

    async def story() -> None:
        async with simulated(limits=False) as venue:
            began = datetime.now(UTC)
            orders = [
                order_of(number=number, quantity="0.01", price="20010", time_in_force=TimeInForce.IOC)
                for number in range(1, 9)
            ]
            async with opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
                for order in orders:
                    gateway.send(order)
                    await reports.next(Acked)
            async with opened("okx", venue.url, KEYS, shapes=(), request_timeout_s=5) as (gateway, reports):
                venue.strike(Rule(action="hide_closed", kinds=("fetch",)))
                gateway.send(trades_of(orders[3], began))
                (fill,) = (await reports.next(TradesAnswer)).fills
                assert (fill.client_order_id, fill.quantity) == (client_id(4), D("0.01"))

    run(story())


def test_public_trades_come_with_the_takers_side() -> None:
    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            gateway.send(WatchBook(symbol=SYMBOL))
            for _ in range(100):  # until the subscription is there
                venue.exchange.public_trade(SYMBOL, D("20010"), D("0.01"), "buy", time.time())
                if reports.of(PublicTrade):
                    break
                await asyncio.sleep(0.05)
            trade = await reports.next(PublicTrade)
            assert (trade.symbol, trade.price, trade.quantity, trade.side) == (
                SYMBOL,
                D("20010"),
                D("0.01"),
                Side.BUY,
            )

    run(story())


def test_a_book_message_that_was_lost_is_noticed_and_the_book_begun_anew() -> None:
    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            gateway.send(WatchBook(symbol=SYMBOL))
            await reports.next(stories.BookUpdate)
            venue.strike(Rule(action="lost", kinds=("book",), count=1))
            venue.set_book("20001", "20010")
            await asyncio.sleep(0.3)
            assert not reports.of(stories.BookUpdate)
            venue.set_book("20002", "20010")
            book = await reports.next(stories.BookUpdate, stories.begins("20002"))
            assert [price for price, _ in book.bids] == [D("20002") - step for step in range(5)]

    run(story())


def test_a_login_that_is_refused_is_told_and_tried_again() -> None:
    async def story() -> None:
        async with simulated() as venue:
            venue.exchange.revoke_key(KEYS.public)
            async with opened("okx", venue.url, KEYS, shapes=()) as (_, reports):
                down = await reports.next(StreamDown)
                assert "Invalid apiKey" in down.message
                venue.exchange.revoke_key(KEYS.public, False)
                await reports.next(StreamUp)

    run(story())


def test_a_notice_of_an_upgrade_ends_the_stream_in_the_open() -> None:
    async def story() -> None:
        async with simulated() as venue, opened("okx", venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            client = gateway._ccxt.clients[gateway.dialect.stream.url(gateway._ccxt)]
            client.handle_text_or_binary_message(
                json.dumps({"event": "notice", "code": "64008", "msg": "soon"})
            )
            assert "ended the stream" in (await reports.next(StreamDown)).message
            await reports.next(StreamUp)

    run(story())


def test_a_run_within_our_limits_meets_none_of_okxs() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("okx", venue.url, KEYS, request_timeout_s=5) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            for number in range(1, 36):  # more than the bucket holds
                gateway.send(order_of(number=number, quantity="0.001", price="19000"))
            for _ in range(35):
                await reports.next(Acked)
            assert len(venue.orders()) == 35

    run(story())


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_fill_that_was_not_charged_has_a_fee_of_nothing(side: Side) -> None:
    """Both ways of reading it; the columns may be empty then."""
    ccxt_exchange = exchange_class("okx")({})
    ccxt_exchange.set_markets(ccxt_exchange.parse_markets([INSTRUMENT]))
    received = "BTC" if side is Side.BUY else "USDT"
    fill = {"instId": "BTC-USDT", "instType": "SPOT", "ordId": "7", "tradeId": "1", "side": str(side)}
    pushed = {
        "fillPx": "20000",
        "fillSz": "0.1",
        "fillFee": "",
        "fillFeeCcy": "",
        "fillTime": "1",
        "execType": "M",
    }
    order = {"state": "filled", "accFillSz": "0.1", "sz": "0.1", "clOrdId": ""}
    frame = {"arg": {"channel": "orders"}, "data": [fill | pushed | order]}
    streamed = next(iter(DIALECTS["okx"].stream.read(ccxt_exchange, frame)))
    assert isinstance(streamed, FillReport)
    assert (streamed.fee, streamed.fee_currency, streamed.client_order_id) == (D("0"), received, None)

    async def ask(what: str, question: Any) -> Any:
        if what == "order":
            return {"filled": D("0.1"), "info": {"ordId": "7"}}
        listed = {"billId": "9", "fillPx": "20000", "fillSz": "0.1", "fee": "", "feeCcy": "", "ts": "1"}
        return {"code": "0", "data": [fill | listed | {"execType": "M"}]}

    read = asyncio.run(DIALECTS["okx"].fills_of(ask, ccxt_exchange, SYMBOL, "7"))
    assert read is not None
    (trade,) = read.trades
    assert (trade["fee"]["cost"], trade["fee"]["currency"]) == (D("0"), received)


INSTRUMENT = {
    "instId": "BTC-USDT",
    "instType": "SPOT",
    "baseCcy": "BTC",
    "quoteCcy": "USDT",
    "tickSz": "0.1",
    "lotSz": "0.0001",
    "minSz": "0.0001",
    "state": "live",
}


# --- What was recorded of the real exchange ---

RECORDED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def instruments(kind: str) -> Any:
    return exact_json(
        gzip.decompress((RECORDED / "metadata" / f"okx_instruments_{kind}_20220513.json.gz").read_bytes())
    )


@pytest.mark.skipif(not RECORDED.is_dir(), reason="nothing recorded here")
def test_the_recorded_markets_are_read_with_their_steps() -> None:
    body = instruments("SPOT")
    assert DIALECTS["okx"].whole["markets"](body)
    ccxt_exchange = exchange_class("okx")({})
    read = [
        market_of(
            "okx",
            raw,
            fees=None,
            fee_mode="received",
            tick_key=None,
            precision_mode=ccxt_exchange.precisionMode,
            market_orders=True,
            rules=DIALECTS["okx"].rules(raw["info"]),
        )
        for raw in ccxt_exchange.parse_markets(body["data"])
    ]
    assert len(read) == len(body["data"]) > 400
    for market, row in zip(read, body["data"], strict=True):
        assert market is not None
        assert (market.tick, market.lot, market.min_quantity) == (
            D(row["tickSz"]),
            D(row["lotSz"]),
            D(row["minSz"]),
        )
        assert market.active == (row["state"] == "live")


# --- What an answer means ---


def row(code: str, message: str = "", **more: str) -> dict[str, Any]:
    return {"code": "1", "data": [{"sCode": code, "sMsg": message, **more}], "msg": "All operations failed"}


def whole(code: str, message: str = "") -> dict[str, Any]:
    return {"code": code, "data": [], "msg": message}


@pytest.mark.parametrize(
    ("case", "status", "body", "meaning"),
    [
        ("no money", 200, row("51008", "Insufficient USDT balance in account."), "INSUFFICIENT_FUNDS"),
        ("too small", 200, row("51020"), "MIN_SIZE"),
        ("off the lot", 200, row("51121"), "LOT_TICK"),
        ("a bad price", 200, row("51000", "Parameter px error"), "LOT_TICK"),
        ("a bad parameter", 200, row("51000", "Parameter side error"), "PERMANENT"),
        ("suspended", 200, row("51022"), "MARKET_CLOSED"),
        ("too many orders a second", 200, row("50061"), "RATE_LIMIT"),
        ("an old signature", 401, whole("50102"), "CLOCK"),
        ("a wrong signature", 401, whole("50113"), "AUTH"),
        ("a wrong passphrase", 401, whole("50105"), "AUTH"),
        ("no such key", 200, whole("50119"), "AUTH"),
        ("no right to trade", 200, whole("50120"), "AUTH"),
        # The first one arrived.
        ("a client id in use", 200, row("51016"), None),
        # A proxy may say it of a repetition.
        ("too many requests", 429, whole("50011"), None),
        ("timed out", 400, whole("50004"), None),
        ("timed out in the engine", 200, row("51149"), None),
        ("busy", 429, whole("50013"), None),
        ("a broken system", 500, row("51008"), None),
        ("maintenance", 503, whole("50001"), None),
        ("new to us", 200, row("59999"), None),
        ("refused for no reason", 200, whole("1", "Operation failed."), None),
        ("half done", 200, {"code": "2", "data": [{"sCode": "0"}, {"sCode": "51008"}], "msg": ""}, None),
        ("one reason unknown", 200, whole("1") | {"data": [{"sCode": "51008"}, {"sCode": "59999"}]}, None),
        ("no code", 200, {"data": [], "msg": ""}, None),
        ("a number for a code", 200, {"code": 51008, "data": [], "msg": ""}, None),
        ("nothing", 200, None, None),
        ("a list", 200, [], None),
    ],
)  # fmt: skip
def test_what_an_answer_to_a_create_means(case: str, status: int, body: object, meaning: str | None) -> None:
    dialect = DIALECTS["okx"]
    refusal = refusal_of(dialect.words.said(status, body), dialect.words.create_refusals)
    assert refusal == (None if meaning is None else Refusal(meaning))


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        (row("51400", "Order cancellation failed as the order has been filled..."), "UNKNOWN_ORDER"),
        (row("51410", "Cancellation failed as the order is already in canceling status..."), None),
        (row("51008"), None),
        (whole("50011"), "RATE_LIMIT"),
    ],
)
def test_what_an_answer_to_a_cancel_means(body: object, meaning: str | None) -> None:
    dialect = DIALECTS["okx"]
    refusal = refusal_of(dialect.words.said(200, body), dialect.words.cancel_refusals)
    assert refusal == (None if meaning is None else Refusal(meaning))


def test_a_good_answer_says_nothing() -> None:
    said = DIALECTS["okx"].words.said
    assert said(200, {"code": "0", "data": [{"sCode": "0", "sMsg": "Order placed"}], "msg": ""}) == ()
    assert said(200, {"code": "0", "data": [], "msg": ""}) == ()
    half = {"code": "2", "data": [{"sCode": "0"}, {"sCode": "51008", "sMsg": "no"}], "msg": "partially"}
    assert [one.code for one in said(200, half)] == ["2"]
    # An algo order's answer may say 0 above a row that was refused.
    assert [one.code for one in said(200, row("51000") | {"code": "0"})] == ["51000"]
