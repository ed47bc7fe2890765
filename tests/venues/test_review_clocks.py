"""What is looked for by time is found by the exchange's clock, as far as ours may be wrong while we trade."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import Acked, Found, LookupFailed, OrderStatus, StreamUp, TimeInForce, TradesAnswer
from ems.histories import Histories
from ems.store import MemoryStore
from ems.venues.dialects import DIALECTS
from ems.venues.gateway import VenueUnavailable
from simulator.faults import Rule
from tests.venues.gateways import look_up, new_order, opened, trades_of
from tests.venues.simulated import simulated
from tests.venues.stories import run

every_exchange = pytest.mark.parametrize("exchange", sorted(DIALECTS))
either_way = pytest.mark.parametrize("ahead", [1, -1], ids=["ours ahead", "ours behind"])


@either_way
@every_exchange
def test_an_order_that_was_filled_is_not_taken_for_one_that_never_arrived(exchange: str, ahead: int) -> None:
    """Nobody knows the exchange's number for it: the answer to the create was lost."""
    off = timedelta(seconds=ahead * 0.45 * DIALECTS[exchange].recv_window_s)

    def clock() -> datetime:
        return datetime.now(UTC) + off

    async def story() -> None:
        async with simulated(exchange) as venue:
            options: dict[str, Any] = {"shapes": (), "request_timeout_s": 5, "clock": clock}
            async with opened(exchange, venue.url, venue.keys, **options) as (gateway, reports):
                await reports.next(StreamUp, within_s=10)
                sent_at = clock()
                order = new_order(exchange, 1, quantity="0.01", price="20100", time_in_force=TimeInForce.IOC)
                gateway.send(order)
                acked = await reports.answer_to(order.order_id)
                assert isinstance(acked, Acked), acked
                gateway.send(replace(look_up(order), since=sent_at))
                status = await reports.next(OrderStatus, lambda one: one.query_sent_at is not None)
                assert (status.found, status.filled_quantity) == (Found.CLOSED, Decimal("0.01"))
                venue.strike(Rule(action="hide_closed"))
                gateway.send(trades_of(order, sent_at, acked.exchange_order_id))
                found = await reports.next(
                    object,
                    lambda one: isinstance(one, TradesAnswer | LookupFailed),
                )
                if isinstance(found, TradesAnswer):
                    assert sum(fill.quantity for fill in found.fills) == Decimal("0.01")

    run(story())


def test_a_clock_that_ran_an_hour_ahead_for_a_while_loses_no_order() -> None:
    """The hour to come was kept as read, and what was placed in it was never seen."""
    off = timedelta(hours=1)

    def clock() -> datetime:
        return datetime.now(UTC) + off

    async def story() -> None:
        nonlocal off
        options: dict[str, Any] = {"shapes": (), "request_timeout_s": 5, "clock": clock}
        async with (
            simulated("coinbaseexchange") as venue,
            opened("coinbaseexchange", venue.url, venue.keys, **options) as (gateway, reports),
        ):
            await reports.next(StreamUp, within_s=10)
            async with asyncio.timeout(5):
                while (await gateway.fetch_health())["clock_skew_ms"] is None:
                    await asyncio.sleep(0.05)
            loop = asyncio.get_running_loop()
            store, place = MemoryStore(), ("coinbaseexchange", "default")

            def wait(work: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
                return asyncio.run_coroutine_threadsafe(work, loop).result(timeout_s)

            histories = Histories(store, {place: gateway}, wait, clock)
            wanted: dict[str, Any] = dict.fromkeys(("user", "symbol", "since", "until", "cursor"))

            def ask() -> Any:
                return histories.orders(*place, **wanted, limit=100)

            with pytest.raises(VenueUnavailable, match="clock"):
                await asyncio.to_thread(ask)
            assert store.spans == {}
            off = timedelta(0)
            await gateway.fetch_health()
            gateway.send(new_order("coinbaseexchange", 1, quantity="0.01", price="20100"))
            await reports.answer_to("order-1")
            off = timedelta(seconds=1)
            assert len((await asyncio.to_thread(ask)).rows) == 1

    run(story())
