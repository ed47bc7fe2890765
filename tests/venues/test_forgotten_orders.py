"""An order that was acknowledged once and that the exchange no longer knows: asked about, it ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ems.core.messages import Acked, Found, OrderStatus, TradesAnswer
from tests.venues.gateways import look_up, new_order, opened, trades_of
from tests.venues.simulated import KEYS, Simulated, simulated


def forget(venue: Simulated, *, trades: bool) -> None:
    """Let the exchange forget every order, and its trades too: as one that was restarted from nothing."""
    account = venue.account
    for known in (account.orders, account.open, account.by_client_id, venue.exchange.orders):
        known.clear()
    if trades:
        account.fills.clear()


@pytest.mark.parametrize(("name", "trades"), [("binance", False), ("binance", True), ("kraken", True)])
def test_it_is_not_found_and_its_fills_are_read_from_the_history(name: str, trades: bool) -> None:
    async def story() -> None:
        async with (
            simulated(name) as venue,
            opened(name, venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            since = datetime.now(UTC) - timedelta(seconds=1)
            order = new_order(name, quantity="0.01", price="20100")  # through the ask: fills at once
            gateway.send(order)
            acked = await reports.next(Acked)
            forget(venue, trades=trades)
            reports.all.clear()
            gateway.send(look_up(order, acked.exchange_order_id))
            status = await reports.next(OrderStatus, lambda report: report.query_sent_at is not None)
            assert status.found is Found.NOT_FOUND
            gateway.send(trades_of(order, since, acked.exchange_order_id))
            answer = await reports.next(TradesAnswer)
            filled = sum((fill.quantity for fill in answer.fills), Decimal(0))
            assert filled == (Decimal(0) if trades else Decimal("0.01"))
            assert all(fill.order_id == order.order_id for fill in answer.fills)
            assert answer.query_sent_at >= since

    asyncio.run(story())
