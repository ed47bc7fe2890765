"""The account's trades past the first page: read to the end, or honestly not."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import Acked, LookupFailed, StreamUp, TimeInForce, TradesAnswer
from ems.venues.dialects import binance, kraken
from simulator.faults import Rule
from tests.venues.gateways import client_id, new_order, opened, trades_of
from tests.venues.scripted import Reply, ScriptedVenue
from tests.venues.simulated import KEYS, Simulated, simulated
from tests.venues.stories import run
from tests.venues.test_lookups import (
    ABSENT,
    MY_TRADES,
    ORDER,
    answer,
    binance_order,
    binance_trade,
    kraken_order,
    kraken_trade,
)

each_exchange = pytest.mark.parametrize("exchange", ["binance", "kraken"])
D = Decimal
# More than a page of Binance's 1,000 and of Kraken's 50; more orders than are looked up one by one.
BUSY = {"binance": 1100, "kraken": 130}


def deep_book(venue: Simulated, levels: int) -> None:
    asks = [(D("20010") + D(level) / 10, D("0.0005")) for level in range(levels)]
    venue.exchange.set_book(venue.symbol, [(D("20000"), D(9))], asks, time.time())


def others_orders(venue: Simulated, count: int) -> None:
    """Let somebody else trade with the same keys."""
    venue.exchange.set_book(venue.symbol, [(D("20000"), D(9))], [(D("20010"), D(99))], time.time())
    for number in range(count):
        venue.exchange.create_order(
            venue.account,
            venue.symbol,
            "buy",
            "limit",
            D("0.0003"),
            D("20010"),
            client_order_id=client_id(10_000 + number),
            now=time.time(),
        )


@pytest.mark.parametrize(
    ("exchange", "trades"), [("binance", 1000), ("binance", 1100), ("kraken", 40), ("kraken", 45)]
)
def test_every_fill_of_an_order_with_more_of_them_than_a_page_holds(exchange: str, trades: int) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            venue.exchange.deposit(venue.account, venue.symbol.split("/")[1], D(20_000), time.time())
            deep_book(venue, trades)
            async with opened(exchange, venue.url, KEYS, shapes=(), request_timeout_s=5) as (
                gateway,
                reports,
            ):
                began = datetime.now(UTC)
                quantity = D("0.0005") * trades
                order = new_order(
                    exchange, quantity=str(quantity), price="20200", time_in_force=TimeInForce.IOC
                )
                gateway.send(order)
                acked = await reports.next(Acked)
                gateway.send(trades_of(order, began, acked.exchange_order_id))
                said = await reports.next(TradesAnswer)
                assert len({fill.fill_id for fill in said.fills}) == len(said.fills) == trades
                assert sum((fill.quantity for fill in said.fills), D(0)) == quantity
                assert began <= said.query_sent_at <= datetime.now(UTC)
                # The way people ask is the same way.
                fills = await gateway.fetch_order_fills(order.symbol, acked.exchange_order_id)
                assert len(fills) == trades

    run(story())


@each_exchange
@pytest.mark.parametrize("found", [True, False])
def test_an_order_nobody_knows_is_settled_on_a_busy_account(exchange: str, found: bool) -> None:
    """After a restart every number in the history is a stranger's, and ours is pages down in it."""

    async def story() -> None:
        async with simulated(exchange, limits=False) as venue:
            since = datetime.now(UTC) - timedelta(seconds=1)
            order = new_order(exchange, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            if found:
                async with opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports):
                    gateway.send(order)
                    await reports.next(Acked)
            others_orders(venue, BUSY[exchange])
            async with opened(exchange, venue.url, KEYS, shapes=(), request_timeout_s=5) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                if found:  # its name finds nothing, as while the venue's lists are behind
                    lists = {"binance": "fetch", "kraken": "closed_orders"}[exchange]
                    venue.strike(Rule(action="hide_closed", kinds=(lists,)))
                gateway.send(trades_of(order, since))
                said = await reports.answer_to(order.order_id, within_s=20)
                assert isinstance(said, TradesAnswer), said
                assert [fill.quantity for fill in said.fills] == ([D("0.1")] if found else [])
                assert all(fill.client_order_id == order.client_order_id for fill in said.fills)
                assert since <= said.query_sent_at

    run(story())


@each_exchange
def test_past_the_last_page_we_cannot_say(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (binance, kraken):
        monkeypatch.setattr(module, "PAGES_MAX", 2)
    monkeypatch.setattr(binance, "_PAGE", 50)

    async def story() -> None:
        async with simulated(exchange) as venue:
            others_orders(venue, 101)
            async with opened(exchange, venue.url, KEYS, shapes=(), request_timeout_s=5) as (
                gateway,
                reports,
            ):
                order = new_order(exchange)
                gateway.send(trades_of(order, datetime.now(UTC) - timedelta(seconds=60)))
                said = await reports.answer_to(order.order_id)
                assert isinstance(said, LookupFailed), said
                assert (said.request, said.refusal) == ("trades", None)
                assert "100" in said.message

    run(story())


def test_what_was_learned_of_strangers_is_kept_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kraken, "PAGES_MAX", 3)
    monkeypatch.setattr(kraken, "_IDS_AT_ONCE", 2)

    async def story() -> None:
        async with simulated("kraken") as venue:
            others_orders(venue, 8)
            async with opened("kraken", venue.url, KEYS, shapes=(), request_timeout_s=5) as (
                gateway,
                reports,
            ):
                order = new_order("kraken")
                since = datetime.now(UTC) - timedelta(seconds=60)
                gateway.send(trades_of(order, since))
                said = await reports.answer_to(order.order_id)
                assert isinstance(said, LookupFailed) and "8 unknown orders" in said.message
                gateway.send(trades_of(order, since))
                said = await reports.answer_to(order.order_id)
                assert isinstance(said, TradesAnswer) and said.fills == ()

    run(story())


@each_exchange
def test_an_order_asked_about_twice_is_read_once(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            async with opened(exchange, venue.url, KEYS, shapes=(), request_timeout_s=5) as (
                gateway,
                reports,
            ):
                venue.strike(Rule(action="delay", seconds=(0.2, 0.2), kinds=("my_trades",)))
                one, other = new_order(exchange, 1), new_order(exchange, 2)
                began = datetime.now(UTC)
                for order in (one, one, other, one):
                    gateway.send(trades_of(order, began))
                for order in (one, other):
                    assert isinstance(await reports.answer_to(order.order_id), TradesAnswer)
                await asyncio.sleep(0.3)
                assert not reports.of(TradesAnswer)
                assert len(venue.server.faults.log) == 2
                gateway.send(trades_of(one, began))  # and later it is asked again
                assert isinstance(await reports.answer_to(one.order_id), TradesAnswer)

    run(story())


# --- What is asked ---


def test_binance_is_asked_day_by_day_and_by_number_once_a_page_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints: 24 hours at most
    between startTime and endTime, and neither beside fromId."""
    monkeypatch.setattr(binance, "_PAGE", 2)
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2, hours=1)
    pages = deque(
        [
            Reply(body=[binance_trade(7, 102)]),
            Reply(body=[binance_trade(8, 102), binance_trade(9, 102)]),
            Reply(body=[]),
            Reply(body=[binance_trade(10, 102), binance_trade(11, 101)]),
            Reply(body=[]),
        ]
    )
    order = new_order("binance")
    by_number = {str(100 + number): Reply(body=binance_order(number, status="FILLED")) for number in (1, 2)}

    async def story() -> None:
        async with ScriptedVenue("binance") as venue:
            venue.replies[MY_TRADES] = pages
            usual = venue._reply

            def reply(asked: Any) -> Reply:
                if (asked.method, asked.path) == ORDER:
                    return by_number.get(asked.fields.get("orderId", ""), ABSENT)
                return usual(asked)

            venue._reply = reply  # type: ignore[method-assign]
            async with opened("binance", venue.base_url, shapes=()) as (gateway, reports):
                gateway.send(trades_of(order, since))
                said = await reports.answer_to(order.order_id)
                assert isinstance(said, TradesAnswer), said
                assert [fill.fill_id for fill in said.fills] == ["11"]
            asked = [one.fields for one in venue.requests(*MY_TRADES)]
            begin = int(since.timestamp() * 1000) - 5000
            day = 24 * 3600 * 1000
            spans = [(one.get("startTime"), one.get("endTime"), one.get("fromId")) for one in asked]
            assert spans == [
                (str(begin), str(begin + day - 1), None),
                (str(begin + day), str(begin + 2 * day - 1), None),
                (str(begin + day), "1799999999999", None),  # was there anything before this full page?
                (None, None, "10"),
                (None, None, "12"),
            ]

    run(story())


def test_a_full_page_that_is_not_the_oldest_is_not_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance, "_PAGE", 2)
    pages = deque(
        [Reply(body=[binance_trade(8, 102), binance_trade(9, 102)]), Reply(body=[binance_trade(7, 101)])]
    )
    replies: dict[tuple[str, str], Reply | deque[Reply]] = {ORDER: ABSENT, MY_TRADES: pages}
    asked = trades_of(new_order("binance"), datetime.now(UTC) - timedelta(hours=1))
    report, _ = asyncio.run(answer("binance", replies, asked))
    assert isinstance(report, LookupFailed), report


def page_of(first: int, last: int, count: int) -> Reply:
    """Answer with the trades of these numbers, newest first, as Kraken does."""
    trades = {f"T{number}": kraken_trade("OTHER", vol="0.001") for number in range(last, first - 1, -1)}
    return Reply(body={"error": [], "result": {"trades": trades, "count": count}})


@pytest.mark.parametrize(
    ("case", "pages", "offsets"),
    [
        ("one page", [page_of(1, 30, 30)], ["0"]),
        ("a page that is just full", [page_of(1, 50, 50)], ["0"]),
        (
            "three pages",
            [page_of(71, 120, 120), page_of(21, 70, 120), page_of(1, 20, 120)],
            ["0", "50", "100"],
        ),
        # Between the questions 3 more traded: everything has moved down by 3.
        (
            "trading goes on",
            [page_of(71, 120, 120), page_of(24, 73, 123), page_of(1, 23, 123)],
            ["0", "50", "100"],
        ),
        ("a page is missing", [page_of(71, 120, 120), page_of(31, 70, 120)], None),
        ("the same page again and again", [page_of(71, 120, 120)], None),
        ("an empty page too early", [page_of(71, 120, 120), page_of(1, 0, 120)], None),
    ],
)
def test_krakens_pages_are_read_until_all_are_there(
    case: str, pages: list[Reply], offsets: list[str] | None
) -> None:
    nothing = Reply(body={"error": [], "result": {"open": {}, "closed": {}, "count": 0}})
    history = ("POST", "/0/private/TradesHistory")
    replies: dict[tuple[str, str], Reply | deque[Reply]] = {
        ("POST", "/0/private/OpenOrders"): nothing,
        ("POST", "/0/private/ClosedOrders"): nothing,
        ("POST", "/0/private/QueryOrders"): Reply(
            body={"error": [], "result": {"OTHER": kraken_order(9, status="closed")}}
        ),
        history: deque(pages),
    }
    since = datetime.now(UTC) - timedelta(minutes=1)
    report, venue = asyncio.run(answer("kraken", replies, trades_of(new_order("kraken"), since)))
    if offsets is None:
        assert isinstance(report, LookupFailed), (case, report)
        assert "120" in report.message
        return
    assert isinstance(report, TradesAnswer) and report.fills == (), (case, report)
    assert [asked.fields["ofs"] for asked in venue.requests(*history)] == offsets
    assert {int(asked.fields["start"]) for asked in venue.requests(*history)} == {int(since.timestamp() - 5)}
