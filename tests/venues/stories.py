"""Which story is told of which exchange, by the files that hold all of them to the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import Acked, Found, NewOrder, OpenOrders, OrderStatus, QueryOpenOrders
from tests.venues.gateways import look_up

EXCHANGES = ["binance", "bybit", "coinbase", "coinbaseexchange", "gemini", "kraken", "okx"]

FIGURES = "its fees and filters are other figures"
THIN = "its answers and its stream tell less, each in its own way"
# story -> exchange -> why it is told otherwise in a file of its own
OTHERWISE: dict[str, dict[str, str]] = {
    "markets_come_with_rules_and_the_accounts_own_fees": dict.fromkeys(
        ("bybit", "coinbase", "gemini", "okx"), FIGURES
    ),
    "what_people_read": dict.fromkeys(("bybit", "coinbase", "coinbaseexchange", "okx"), FIGURES),
    "an_order_rests_is_found_three_ways_and_is_cancelled": {
        "bybit": "it is cancelled by either id, and told with its own figures",
        "coinbaseexchange": "a cancelled order without a fill is forgotten",
        "gemini": "it is cancelled by its number alone",
    },
    "an_immediate_order_tells_its_fills_the_same_every_way": dict.fromkeys(
        ("bybit", "coinbase", "coinbaseexchange", "gemini", "okx"), THIN
    ),
    "a_resting_order_fills_as_maker": dict.fromkeys(("coinbase", "coinbaseexchange", "gemini"), THIN),
    "a_client_id_in_use_is_a_reason_to_look_not_a_no": {
        "coinbase": "it answers with the order there is",
        "coinbaseexchange": "it would take a second one",
        "gemini": "it would take a second one",
        "okx": "it refuses with a code that is no proof, told with what else it refuses",
    },
    "a_cancel_that_goes_wrong_proves_nothing": {
        "coinbaseexchange": "a cancelled order without a fill is forgotten"
    },
    "lost_and_doubled_events_change_no_facts": dict.fromkeys(
        ("coinbase", "coinbaseexchange", "gemini"), "a lost event is a gap that breaks its stream"
    ),
}


def each_exchange(story: Callable[..., None]) -> Callable[..., None]:
    """Tell a story of every exchange of which it is true as it stands."""
    otherwise = OTHERWISE.get(story.__name__.removeprefix("test_"), {})
    names = [name for name in EXCHANGES if name not in otherwise]
    mark: Callable[[Callable[..., None]], Callable[..., None]] = pytest.mark.parametrize("exchange", names)
    return mark(story)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def D(text: str) -> Decimal:
    return Decimal(text)


async def rests_and_is_found(symbol: str, gateway: Any, reports: Any, order: NewOrder) -> Acked:
    """Send an order that rests: its answer, its event, both look-ups and the list of open orders agree."""
    began = datetime.now(UTC)
    gateway.send(order)
    acked: Acked = await reports.next(Acked)
    assert (acked.ending, acked.fills) == (None, ())
    named = (acked.exchange_order_id, order.client_order_id, symbol)
    event = await reports.next(OrderStatus)
    assert (event.found, event.exchange_order_id, event.client_order_id, event.symbol) == (Found.OPEN, *named)
    assert (event.side, event.quantity, event.query_sent_at) == (order.side, order.quantity, None)
    for exchange_order_id in (None, acked.exchange_order_id):
        gateway.send(look_up(order, exchange_order_id))
        found = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
        assert began < found.query_sent_at < datetime.now(UTC)
        assert (found.found, found.exchange_order_id, found.client_order_id, found.symbol) == (
            Found.OPEN,
            *named,
        )
        assert (found.order_id, found.side, found.quantity, found.filled_quantity) == (
            order.order_id,
            order.side,
            order.quantity,
            0,
        )
    gateway.send(QueryOpenOrders())
    (listed,) = (await reports.next(OpenOrders)).orders
    assert (listed.exchange_order_id, listed.client_order_id, listed.symbol) == named
    assert (listed.order_id, listed.quantity) == (order.order_id, order.quantity)
    return acked
