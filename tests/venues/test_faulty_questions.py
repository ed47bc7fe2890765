"""Cancels and questions that go wrong at every exchange, and lists that are behind."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from ems.core.messages import (
    Acked,
    CancelAcked,
    CancelRefused,
    Found,
    LookupFailed,
    OpenOrders,
    OrderStatus,
    OutcomeUnknown,
    QueryOpenOrders,
    Refusal,
    StreamUp,
    TimeInForce,
    TradesAnswer,
)
from simulator.faults import Rule
from tests.venues.gateways import cancel_of, look_up, new_order, opened, trades_of
from tests.venues.simulated import simulated
from tests.venues.stories import D, each_exchange, run


@each_exchange
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", ["refuse", "hang", "empty", "html", "object", "status 503", "failure 500"])
def test_a_cancel_that_goes_wrong_proves_nothing(exchange: str, when: Any, fault: str) -> None:
    async def story() -> None:
        action, _, status = fault.partition(" ")
        async with simulated(exchange) as venue:
            async with opened(exchange, venue.url, venue.keys, shapes=(), request_timeout_s=0.3) as (
                gateway,
                reports,
            ):
                order = new_order(exchange, 1, quantity="0.1", price="19000")
                gateway.send(order)
                acked = await reports.next(Acked)
                venue.strike(Rule(action=action, when=when, kinds=("cancel",), status=int(status or 500)))
                gateway.send(cancel_of(order, acked.exchange_order_id))
                answer = await reports.next(
                    object, lambda report: isinstance(report, CancelAcked | CancelRefused | OutcomeUnknown)
                )
                # A cancel may go out twice when a connection was closed; then the second finds it cancelled.
                if isinstance(answer, CancelRefused):
                    assert (exchange, fault, when, answer.refusal) == (
                        "binance",
                        "refuse",
                        "after",
                        Refusal.UNKNOWN_ORDER,
                    )
                else:
                    assert answer == OutcomeUnknown(
                        order_id=order.order_id, request="cancel", message=getattr(answer, "message", "")
                    )
                venue.strike()
                gateway.send(look_up(order, acked.exchange_order_id))
                seen = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                assert seen.found is (Found.CLOSED if when == "after" else Found.OPEN)

    run(story())


@each_exchange
@pytest.mark.parametrize("kind", ["orders", "trades", "open_orders"])
@pytest.mark.parametrize(
    "fault", ["refuse", "hang", "empty", "html", "null", "object", "half", "status 503", "rate_limit"]
)
def test_a_question_that_goes_wrong_is_never_an_answer(exchange: str, kind: str, fault: str) -> None:
    async def story() -> None:
        action, _, status = fault.partition(" ")
        async with simulated(exchange) as venue:
            order = new_order(exchange, 1, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports):
                gateway.send(order)
                await reports.next(Acked)
            async with opened(exchange, venue.url, venue.keys, shapes=(), request_timeout_s=0.3) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                venue.strike(
                    Rule(
                        action=action,
                        kinds=("fetch", "open_orders", "closed_orders", "my_trades"),
                        status=int(status or 500),
                    )
                )
                if kind == "orders":
                    gateway.send(look_up(order))
                elif kind == "trades":
                    gateway.send(trades_of(order, datetime.now(UTC)))
                else:
                    gateway.send(QueryOpenOrders())
                failed = await reports.next(LookupFailed, within_s=8)
                assert failed.message
                assert failed.refusal in (None, Refusal.RATE_LIMIT)
                await asyncio.sleep(0.05)
                answers = (OrderStatus, TradesAnswer, OpenOrders)
                assert not [one for one in reports.all if isinstance(one, answers)]

    run(story())


@each_exchange
def test_hidden_history_is_not_found_and_fills_still_tell(exchange: str) -> None:
    """Where the venue's lists are behind, the trades are still there to ask for."""

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            began = datetime.now(UTC)
            order = new_order(exchange, 1, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            venue.strike(Rule(action="hide_closed"))
            gateway.send(look_up(order))
            seen = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
            assert seen.found is Found.NOT_FOUND
            gateway.send(trades_of(order, began))  # asked by client id: the history is read instead
            answer = await reports.next(TradesAnswer)
            assert [(fill.exchange_order_id, fill.quantity) for fill in answer.fills] == [
                (acked.exchange_order_id, D("0.1"))
            ]

    run(story())
