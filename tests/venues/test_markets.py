"""A venue's rules, status and fees change while we run: they are read again, asked or not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ems.core.instrument import Market
from ems.core.messages import (
    Acked,
    CancelAcked,
    LookupFailed,
    MarketsLoaded,
    QueryMarkets,
    Refusal,
    Rejected,
    StreamUp,
)
from ems.venues import markets
from simulator.faults import Rule
from simulator.records import CANCEL_ONLY_MODE, HALT, TRADING
from tests.venues.gateways import cancel_of, new_order, opened
from tests.venues.simulated import KEYS, Simulated, simulated
from tests.venues.stories import run

each_exchange = pytest.mark.parametrize("exchange", ["binance", "kraken"])
D = Decimal


def change(venue: Simulated, **rules: Decimal) -> None:
    market = venue.exchange.markets[venue.symbol]
    venue.exchange.add_market(replace(market, **rules))  # type: ignore[arg-type]


def the_market(loaded: MarketsLoaded) -> Market:
    (market,) = loaded.markets
    assert isinstance(market, Market)
    return market


@each_exchange
@pytest.mark.parametrize("mode", [HALT, CANCEL_ONLY_MODE])
def test_a_halt_is_seen_and_its_end_too(exchange: str, mode: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, wait=False, shapes=()) as (gateway, reports),
        ):
            assert the_market(await reports.next(MarketsLoaded)).active is True
            venue.exchange.set_mode(mode, venue.server.now(), venue.symbol)
            gateway.send(QueryMarkets())
            halted = the_market(await reports.next(MarketsLoaded))
            assert halted.active is False
            assert (halted.lot, halted.taker_fee) == (D("0.0001"), D("0.002"))  # its rules are still known
            assert (await gateway.fetch_health())["markets"] == 0
            venue.exchange.set_mode(TRADING, venue.server.now(), venue.symbol)
            gateway.send(QueryMarkets())
            assert the_market(await reports.next(MarketsLoaded)).active is True

    run(story())


@each_exchange
def test_fees_that_cannot_be_read_again_are_those_read_before(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            venue.strike(Rule(action="html", kinds=("fees",)))
            change(venue, lot=D("0.01"), maker_fee=D("0.0004"), taker_fee=D("0.0008"))
            gateway.send(QueryMarkets())
            market = the_market(await reports.next(MarketsLoaded))
            assert (market.lot, market.maker_fee, market.taker_fee) == (D("0.01"), D("0.001"), D("0.002"))
            health: dict[str, Any] = await gateway.fetch_health()
            assert any("those read before" in problem for problem in health["problems"])

    run(story())


@each_exchange
def test_a_halt_learned_of_by_asking_is_watched_as_well(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markets, "AGAIN_S", 0.1)
    monkeypatch.setattr(markets, "HALTED_S", 0.2)

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            venue.exchange.set_mode(HALT, venue.server.now(), venue.symbol)
            gateway.send(QueryMarkets())
            await reports.next(MarketsLoaded, lambda one: not the_market(one).active)
            venue.exchange.set_mode(TRADING, venue.server.now(), venue.symbol)
            await reports.next(MarketsLoaded, lambda one: the_market(one).active)

    run(story())


@each_exchange
def test_the_end_of_a_halt_is_looked_out_for(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markets, "AGAIN_S", 0.1)
    monkeypatch.setattr(markets, "HALTED_S", 0.2)

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            venue.exchange.set_mode(HALT, venue.server.now(), venue.symbol)
            gateway.send(new_order(exchange))
            await reports.next(MarketsLoaded, lambda one: not the_market(one).active)
            venue.exchange.set_mode(TRADING, venue.server.now(), venue.symbol)
            await reports.next(MarketsLoaded, lambda one: the_market(one).active)
            reports.all.clear()
            await asyncio.sleep(0.4)
            assert not reports.of(MarketsLoaded)  # and that was that

    run(story())


@each_exchange
def test_new_rules_and_fees_come_when_asked_for(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            change(venue, tick=D("0.5"), lot=D("0.01"), min_qty=D("0.01"), min_notional=D(7))
            change(venue, maker_fee=D("0.0004"), taker_fee=D("0.0008"))
            gateway.send(QueryMarkets())
            market = the_market(await reports.next(MarketsLoaded))
            assert (market.tick, market.lot, market.min_quantity, market.min_notional) == (
                D("0.5"),
                D("0.01"),
                D("0.01"),
                D(7),
            )
            assert (market.maker_fee, market.taker_fee) == (D("0.0004"), D("0.0008"))

    run(story())


@each_exchange
@pytest.mark.parametrize(
    ("case", "refusal"), [("another step", Refusal.LOT_TICK), ("a halt", Refusal.MARKET_CLOSED)]
)
def test_a_refusal_that_tells_of_other_rules_brings_them_unasked(
    exchange: str, case: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markets, "AGAIN_S", 0.1)

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            resting = new_order(exchange, 1, quantity="0.1", price="19000")
            gateway.send(resting)
            acked = await reports.next(Acked)
            if refusal is Refusal.LOT_TICK:
                change(venue, tick=D("0.5"))
            else:
                venue.exchange.set_mode(HALT, venue.server.now(), venue.symbol)
            gateway.send(new_order(exchange, 2, quantity="0.1", price="19000.1"))
            rejected = await reports.next(Rejected)
            assert (rejected.refusal, rejected.sent) == (refusal, True)
            assert rejected.venue_code is not None
            market = the_market(await reports.next(MarketsLoaded))
            if refusal is Refusal.LOT_TICK:
                assert (market.tick, market.active) == (D("0.5"), True)
            else:
                assert market.active is False
            gateway.send(cancel_of(resting, acked.exchange_order_id))  # what rests can be taken away
            await reports.next(CancelAcked)
            assert not venue.account.open

    run(story())


@each_exchange
def test_refusals_do_not_bring_the_markets_again_and_again(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            venue.exchange.set_mode(HALT, venue.server.now(), venue.symbol)
            for number in range(3):
                gateway.send(new_order(exchange, number))
                await reports.next(Rejected)
            await asyncio.sleep(0.3)
            assert not reports.of(MarketsLoaded)

    run(story())


@each_exchange
def test_the_markets_come_again_unasked(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert markets.EVERY_S <= 600
    monkeypatch.setattr(markets, "EVERY_S", 0.2)

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (_, reports),
        ):
            change(venue, taker_fee=D("0.003"))
            await reports.next(MarketsLoaded, lambda one: the_market(one).taker_fee == D("0.003"))

    run(story())


@pytest.mark.parametrize(
    ("exchange", "skip", "count"), [("binance", 0, 1), ("kraken", 0, 2), ("kraken", 0, 1), ("kraken", 1, 1)]
)
@pytest.mark.parametrize("fault", ["html", "null", "object", "half", "hang", "failure"])
def test_markets_that_cannot_be_read_are_said_to_be_so_and_the_old_ones_stay(
    exchange: str, skip: int, count: int, fault: str
) -> None:
    """Kraken tells its assets and its pairs apart: either half of it may be the one that is missing."""

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.strike(Rule(action=fault, kinds=("markets",), skip=skip, count=count))
            gateway.send(QueryMarkets())
            gateway.send(new_order(exchange, quantity="0.1", price="19000"))
            assert isinstance(await reports.next(Rejected | Acked), Acked)  # type: ignore[arg-type]
            failed = await reports.next(LookupFailed)
            assert (failed.request, failed.order_id) == ("markets", None)
            assert (await gateway.fetch_health())["markets"] == 1
            gateway.send(new_order(exchange, 2, quantity="0.1", price="19000"))
            assert isinstance(await reports.next(Rejected | Acked), Acked)  # type: ignore[arg-type]

    run(story())
