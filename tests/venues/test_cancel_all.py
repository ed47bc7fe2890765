"""Cancelling everything through the gateway: what is said to be cancelled is, and what is left is told.

Every story is told of every exchange, with a call of its own for it or without; the ledger says what is true.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from ems.core.messages import (
    Acked,
    CancelEverything,
    Ending,
    EverythingCancelled,
    NewOrder,
    OrderType,
    Side,
    StreamUp,
)
from ems.venues.dialects import DIALECTS
from ems.venues.gateway import CancelledAll, VenueUnavailable
from simulator.dialects.dialect import Request
from simulator.faults import Rule
from tests.venues.gateways import new_order, opened
from tests.venues.simulated import Simulated, simulated
from tests.venues.stories import D, run
from tests.venues.test_waiting_orders import LAST, kinds_of, prints, spied, stop

ALL = sorted(name for name, one in DIALECTS.items() if not one.paper_only)
each_exchange = pytest.mark.parametrize("exchange", ALL)
BY_NUMBERS = {"okx", "coinbase"}  # their own call names the orders: to a fault it is a cancel like any other
CALLS = {"okx": 2}  # orders that wait are cancelled apart; everywhere else one call


def some_orders(exchange: str) -> list[NewOrder]:
    """Two that rest, and one of each kind of order that waits."""
    orders = [
        new_order(exchange, 1, quantity="0.05", price="19900"),
        new_order(exchange, 2, side=Side.SELL, quantity="0.05", price="20200"),
    ]
    return orders + [
        replace(stop(exchange, kind, number), quantity=D("0.01"))
        for number, kind in enumerate(kinds_of(exchange), start=3)
    ]


@asynccontextmanager
async def with_orders(exchange: str, **options: Any) -> AsyncIterator[tuple[Simulated, Any, Any, list[str]]]:
    """Yield the venue, the gateway, its reports and the numbers of the orders that are open."""
    async with (
        simulated(exchange, limits=False) as venue,
        opened(exchange, venue.url, venue.keys, shapes=(), **options) as (gateway, reports),
    ):
        await reports.next(StreamUp)
        prints(venue, LAST)
        numbers = []
        for order in some_orders(exchange):
            gateway.send(order)
            numbers.append((await reports.next(Acked)).exchange_order_id)
        yield venue, gateway, reports, numbers


def numbers_of(statuses: tuple[Any, ...]) -> list[str]:
    return sorted(one.exchange_order_id for one in statuses)


def open_in(venue: Simulated) -> list[Any]:
    return [one for one in venue.exchange.orders.values() if one.open]


def check(venue: Simulated, told: CancelledAll) -> None:
    """Whatever went wrong: what it says of the orders is what the ledger says."""
    assert all(one.ending is not Ending.FILLED for one in told.cancelled)
    by_name = {one.client_order_id: one for one in venue.exchange.orders.values()}
    for one in (*told.cancelled, *told.filled):
        assert not by_name[one.client_order_id].open
    for one in told.cancelled:
        assert by_name[one.client_order_id].filled_quantity == one.filled_quantity
    named = {one.client_order_id for one in (*told.still_open, *told.unproven)}
    assert {one.client_order_id for one in open_in(venue)} <= named
    assert venue.exchange.imbalance() == {}


@each_exchange
@pytest.mark.parametrize("of", ["all markets", "its market"])
def test_everything_is_cancelled_and_looked_up(exchange: str, of: str) -> None:
    async def story() -> None:
        async with with_orders(exchange) as (venue, gateway, _, numbers):
            seen = spied(venue)
            told = await gateway.cancel_all(None if of == "all markets" else venue.symbol)
            assert numbers_of(told.cancelled) == sorted(numbers)
            assert (told.filled, told.still_open, told.unproven, told.problems) == ((), (), (), ())
            assert {one.ending for one in told.cancelled} == {Ending.CANCELED}
            assert {one.order_id for one in told.cancelled} == {one.order_id for one in some_orders(exchange)}
            assert not open_in(venue)
            check(venue, told)
            calls = [kind for _, kind, _ in seen if kind in ("cancel", "cancel_all")]
            if of == "all markets":
                assert set(calls) == {"cancel" if exchange in BY_NUMBERS else "cancel_all"}
                assert len(calls) <= 3
            again = await gateway.cancel_all(None)
            assert again == CancelledAll(cancelled=(), filled=(), still_open=(), unproven=(), problems=())

    run(story())


@each_exchange
def test_nothing_open_means_nothing_is_sent(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            seen = spied(venue)
            told = await gateway.cancel_all(None)
            assert told == CancelledAll(cancelled=(), filled=(), still_open=(), unproven=(), problems=())
            assert not [kind for _, kind, _ in seen if kind in ("cancel", "cancel_all")]

    run(story())


@each_exchange
def test_orders_of_another_market_stay(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            quote = venue.symbol.split("/")[1]
            other = f"ETH/{quote}"
            market = replace(venue.exchange.markets[venue.symbol], symbol=other, base="ETH")
            venue.exchange.add_market(market)
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports):
                await reports.next(StreamUp)
                numbers = {}
                for number, symbol in enumerate((venue.symbol, other), start=1):
                    gateway.send(new_order(exchange, number, quantity="0.05", price="1900", symbol=symbol))
                    numbers[symbol] = (await reports.next(Acked)).exchange_order_id
                told = await gateway.cancel_all(venue.symbol)
                assert numbers_of(told.cancelled) == [numbers[venue.symbol]]
                assert (told.still_open, told.problems) == ((), ())
                [left] = open_in(venue)
                assert left.symbol == other
                told = await gateway.cancel_all(None)
                assert numbers_of(told.cancelled) == [numbers[other]] and not open_in(venue)

    run(story())


@each_exchange
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", ["hang", "reset", "empty", "html", "object", "status"])
def test_a_lost_answer_neither_proves_nor_stops_anything(exchange: str, fault: str, when: Any) -> None:
    """The venue's own call goes wrong: what is left goes one by one, and what is gone is looked up."""

    async def story() -> None:
        async with with_orders(exchange) as (venue, gateway, _, numbers):
            rule = Rule(action=fault, kinds=("cancel_all",), when=when, status=503)
            if exchange in BY_NUMBERS:
                rule = replace(rule, kinds=("cancel",), count=CALLS.get(exchange, 1))
            venue.strike(rule)
            told = await gateway.cancel_all(None)
            check(venue, told)
            assert told.problems
            assert numbers_of(told.cancelled) == sorted(numbers)
            assert (told.still_open, told.unproven) == ((), ())


@each_exchange
def test_without_a_call_for_all_each_is_cancelled_by_itself(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DIALECTS, exchange, replace(DIALECTS[exchange], cancel_all=None))

    async def story() -> None:
        async with with_orders(exchange) as (venue, gateway, _, numbers):
            seen = spied(venue)
            told = await gateway.cancel_all(None)
            assert numbers_of(told.cancelled) == sorted(numbers) and not told.problems
            check(venue, told)
            assert {kind for _, kind, _ in seen if kind in ("cancel", "cancel_all")} == {"cancel"}

    run(story())


@each_exchange
def test_one_that_is_half_done_tells_what_is_left(exchange: str) -> None:
    """Every way of cancelling ends after the first: nothing is claimed that is not so."""

    async def story() -> None:
        async with with_orders(exchange) as (venue, gateway, _, numbers):
            handle, cancels = venue.dialect.handle, []

            def broken(request: Request) -> Any:
                if venue.dialect.kind(request) not in ("cancel", "cancel_all"):
                    return handle(request)
                cancels.append(request)
                # The venue's own call finds nothing works, then one order goes.
                works = len(cancels) == 1 + (3 if exchange == "bybit" else CALLS.get(exchange, 1))
                return handle(request) if works else venue.dialect.failure(503)

            venue.dialect.handle = broken  # type: ignore[method-assign]
            told = await gateway.cancel_all(None)
            check(venue, told)
            left = len(open_in(venue))
            assert left == len(told.still_open) == len(numbers) - 1
            assert len(told.cancelled) == 1 and len(told.problems) >= left

    run(story())


@each_exchange
def test_one_that_acts_late_is_not_believed_before(exchange: str) -> None:
    """The answer says nothing yet, the venue acts later: reading again finds what is so then."""

    async def story() -> None:
        async with with_orders(exchange, request_timeout_s=0.4) as (venue, gateway, _, numbers):
            kinds = ("cancel_all", "cancel")
            venue.strike(Rule(action="delay", kinds=kinds, seconds=(0.8, 0.8)))
            told = await gateway.cancel_all(None)
            assert told.problems
            by_number = {*numbers_of(told.cancelled), *numbers_of(told.still_open)}
            assert by_number | set(numbers_of(told.unproven)) == set(numbers)
            by_name = {one.client_order_id: one for one in venue.exchange.orders.values()}
            for one in told.cancelled:
                assert not by_name[one.client_order_id].open
            await asyncio.sleep(1)
            venue.strike()
            told = await gateway.cancel_all(None)
            check(venue, told)
            assert not told.still_open and not open_in(venue)

    run(story())


@each_exchange
def test_what_is_filled_meanwhile_is_told_as_filled(exchange: str) -> None:
    async def story() -> None:
        async with with_orders(exchange) as (venue, gateway, _, numbers):
            handle = venue.dialect.handle
            first = open_in(venue)[0]

            def fill_first(request: Request) -> Any:
                if venue.dialect.kind(request) in ("cancel", "cancel_all") and first.open:
                    venue.set_book(bid="19700", ask="19800")
                    assert first.status == "filled"
                return handle(request)

            venue.dialect.handle = fill_first  # type: ignore[method-assign]
            told = await gateway.cancel_all(None)
            check(venue, told)
            assert [one.client_order_id for one in told.filled] == [first.client_order_id]
            assert len(told.cancelled) == len(numbers) - 1 and not told.still_open

    run(story())


@each_exchange
def test_what_is_placed_meanwhile_is_told_and_not_chased(exchange: str) -> None:
    async def story() -> None:
        async with with_orders(exchange) as (venue, gateway, _, numbers):
            handle, placed = venue.dialect.handle, []

            def place(request: Request) -> Any:
                answer = handle(request)
                if venue.dialect.kind(request) in ("cancel", "cancel_all") and not open_in(venue):
                    placed.append(
                        venue.exchange.create_order(
                            venue.account, symbol=venue.symbol, side="buy", order_type="limit",
                            quantity=D("0.01"), price=D("19000"), client_order_id="another",
                            time_in_force="GTC", now=time.time(),
                        )
                    )  # fmt: skip
                return answer

            venue.dialect.handle = place  # type: ignore[method-assign]
            told = await gateway.cancel_all(None)
            assert placed and placed[0].open
            assert numbers_of(told.cancelled) == sorted(numbers)
            [left] = told.still_open
            assert left.stop_price is None and left.exchange_order_id not in numbers

    run(story())


@each_exchange
def test_lists_that_cannot_be_read_are_no_empty_ones(exchange: str) -> None:
    async def story() -> None:
        async with with_orders(exchange) as (venue, gateway, _, numbers):
            seen = spied(venue)
            for rule in (
                Rule(action="status", kinds=("open_orders",), status=503),
                Rule(action="hang", kinds=("open_orders",)),
                Rule(action="object", kinds=("open_orders",)),
            ):
                venue.strike(rule)
                with pytest.raises(VenueUnavailable, match="open orders|answer|HTTP|open_orders"):
                    await gateway.cancel_all(None)
            assert not [kind for _, kind, _ in seen if kind in ("cancel", "cancel_all")]
            assert len(open_in(venue)) == len(numbers)

    run(story())


@pytest.mark.parametrize("exchange", [name for name in ALL if OrderType.STOP_LOSS_LIMIT in kinds_of(name)])
def test_one_that_fired_is_among_them(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            prints(venue, LAST)
            venue.exchange.set_book(venue.symbol, [(D("19000"), D("5"))], [(D("21000"), D("5"))], time.time())
            gateway.send(stop(exchange, OrderType.STOP_LOSS_LIMIT, price=D("19790")))
            acked = await reports.next(Acked)
            prints(venue, "19795")
            [there] = open_in(venue)
            assert not there.waiting
            told = await gateway.cancel_all(None)
            assert numbers_of(told.cancelled) == [acked.exchange_order_id] and not there.open
            check(venue, told)

    run(story())


@each_exchange
def test_the_engines_request_empties_the_account_and_says_what_it_could_not_prove(exchange: str) -> None:
    async def story() -> None:
        async with with_orders(exchange) as (venue, gateway, reports, numbers):
            gateway.send(CancelEverything())
            told = await reports.next(EverythingCancelled)
            assert (told.cancelled, told.problems) == (len(numbers), ())
            assert open_in(venue) == []

    run(story())
