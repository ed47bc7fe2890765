"""What every order asks its exchange for: to be ended itself where it would meet one of its own account.

The engine refuses such orders before they go out; this is for what crosses on the way, and for orders on the
account that are not ours. Advanced Trade of Coinbase and Gemini offer no such choice for one order.
"""

from __future__ import annotations

import pytest

from ems.core.messages import Acked, Ending, OrderStatus, Side, StreamUp
from tests.venues.gateways import look_up, new_order, opened
from tests.venues.simulated import simulated
from tests.venues.stories import D, run


@pytest.mark.parametrize("exchange", ["binance", "bybit", "coinbaseexchange", "kraken", "okx"])
def test_a_new_order_ends_before_it_meets_our_own_and_that_one_stays(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            rests = new_order(exchange, 1, side=Side.SELL, quantity="0.01", price="20005")
            gateway.send(rests)
            assert isinstance(await reports.answer_to(rests.order_id), Acked)
            comes = new_order(exchange, 2, side=Side.BUY, quantity="0.01", price="20006")
            gateway.send(comes)
            answer = await reports.answer_to(comes.order_id)
            assert isinstance(answer, Acked), answer
            gateway.send(look_up(comes))  # the stream may have said it before
            status = await reports.next(
                OrderStatus,
                lambda r: (
                    r.ending is not None
                    and (r.order_id == comes.order_id or r.client_order_id == comes.client_order_id)
                ),
            )
            assert status.ending in (Ending.CANCELED, Ending.EXPIRED), status
            assert status.filled_quantity == D(0)
            by_side = {order.side: order for order in venue.exchange.orders.values()}
            assert by_side["sell"].open and by_side["sell"].filled_quantity == 0
            assert not by_side["buy"].open and by_side["buy"].filled_quantity == 0

    run(story())
