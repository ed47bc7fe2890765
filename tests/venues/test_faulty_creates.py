"""A create that goes wrong on its way or on the way back, at every exchange that speaks the real wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ems.core.messages import (
    Acked,
    Found,
    OrderStatus,
    OutcomeUnknown,
    Rejected,
    StreamUp,
    TradesAnswer,
)
from simulator.faults import Rule
from tests.venues.gateways import look_up, new_order, opened, trades_of
from tests.venues.simulated import simulated
from tests.venues.stories import EXCHANGES, run

CREATE_FAULTS = [
    *("refuse", "reset", "hang", "truncate", "empty", "html", "null", "object", "garbage", "half"),
    *("status 500", "status 502", "status 503", "status 504", "status 429", "status 403"),
    *("failure 500", "failure 503", "failure 504", "rate_limit", "ban"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("exchange", "fault"),
    [(exchange, fault) for exchange in EXCHANGES for fault in CREATE_FAULTS]
    + [("coinbase", "status 401"), ("coinbase", "status 404")],
)
def test_a_create_that_goes_wrong(exchange: str, when: Any, fault: str) -> None:
    """Never a wrong no, never sent twice, and a look-up finds the order where there is one."""

    async def story() -> None:
        action, _, status = fault.partition(" ")
        async with simulated(exchange) as venue:
            order = new_order(exchange, 1, quantity="0.1", price="19000")
            async with opened(exchange, venue.url, venue.keys, shapes=(), request_timeout_s=0.3) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                venue.strike(Rule(action=action, when=when, kinds=("create",), status=int(status or 500)))
                gateway.send(order)
                answer = await reports.next(
                    object, lambda report: isinstance(report, Acked | Rejected | OutcomeUnknown)
                )
                assert isinstance(answer, OutcomeUnknown), answer
                assert answer.request == "create"
                assert [strike.target for strike in venue.server.faults.log] == ["create"]  # asked once
                assert len(venue.orders()) == (1 if when == "after" else 0)
                venue.strike()
            # Whoever looks, even after a restart, sees the truth.
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports):
                gateway.send(look_up(order))
                seen = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                gateway.send(trades_of(order, datetime.now(UTC)))
                assert (await reports.next(TradesAnswer)).fills == ()
            assert seen.found is (Found.OPEN if when == "after" else Found.NOT_FOUND)
            assert len(venue.orders()) == (1 if when == "after" else 0)

    run(story())
