"""A plain order refused because the exchange's rules have changed: read again, rounded, sent once more."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.messages import (
    CancelAllOrders,
    CancelOrder,
    HaltTrading,
    LimitOrder,
    MarketsLoaded,
    OutcomeUnknown,
    QueryMarkets,
    Refusal,
    Rejected,
    Side,
)
from ems.core.records import QueryStatus, Status
from ems.engine.resubmissions import MARKETS_S
from tests.builders import market
from tests.engine.world import EngineWorld

D = Decimal
COARSE = (market("ETH/USDT", tick="0.5", lot="0.01", min_quantity="0.01"),)


def limit(quantity="1.2345", price="1900.25", **fields):
    values = {"exchange": "binance", "symbol": "ETH/USDT", "side": Side.BUY, "resubmit": True, **fields}
    return LimitOrder(quantity=D(quantity), price=D(price), **values)


def refused(world, order_id="q1.1.1", refusal=Refusal.LOT_TICK, **fields):
    report = Rejected(
        order_id=order_id, refusal=refusal, message="Filter failure", venue_code="-1013", **fields
    )
    return world.venue(report)


def waiting(command=None):
    world = EngineWorld()
    world.submit(command or limit())
    refused(world)
    return world


def test_it_is_rounded_by_the_new_rules_and_sent_once_more_as_a_new_order():
    world = waiting()
    assert world.sent(QueryMarkets) and world.placed() == []
    assert world.query().status is QueryStatus.WORKING
    first = world.order("q1.1.1")
    world.venue(MarketsLoaded(markets=COARSE))
    (request,) = world.placed()
    assert (request.order_id, request.quantity, request.price) == ("q1.1.2", D("1.23"), D(1900))
    assert request.client_order_id != first.client_order_id
    assert world.order("q1.1.2").replaces == "q1.1.1" and world.order("q1.1.1").status is Status.REJECTED
    world.ack("q1.1.2")
    query = world.query()
    assert (query.status, query.result["order_id"]) == (QueryStatus.DONE, "q1.1.2")
    told = [(c["field"], c["asked"], c["used"]) for c in query.result["corrections"]]
    assert told == [
        ("order_id", "q1.1.1", "q1.1.2"),
        ("price", "1900.25", "1900"),
        ("quantity", "1.2345", "1.23"),
    ]
    assert "Filter failure" in query.result["corrections"][0]["why"]


def test_without_leave_the_rules_are_read_and_the_no_stands():
    world = waiting(limit(resubmit=False))
    assert world.sent(QueryMarkets), "the next order is judged by the new ones"
    assert world.query().status is QueryStatus.FAILED
    world.venue(MarketsLoaded(markets=COARSE))
    assert world.placed() == []


def test_where_the_rules_change_nothing_the_no_stands():
    world = waiting()
    world.venue(MarketsLoaded(markets=(market("ETH/USDT"),)))
    assert world.placed() == [] and world.query().status is QueryStatus.FAILED
    assert world.query().error.venue_message == "Filter failure"


def test_once_is_enough():
    world = waiting()
    world.venue(MarketsLoaded(markets=COARSE))
    refused(world, "q1.1.2")
    world.venue(MarketsLoaded(markets=(market("ETH/USDT", tick="1", lot="0.1"),)))
    assert world.placed() == [] and world.query().status is QueryStatus.FAILED


def test_what_the_new_rules_do_not_allow_is_refused_with_what_they_do():
    world = waiting(limit("0.003", "1900"))
    world.venue(MarketsLoaded(markets=COARSE))
    error = world.query().error
    assert world.placed() == [] and error.code == errors.AMOUNT_TOO_SMALL
    assert (error.details["nearest"], error.venue_message) == ("0.01", "Filter failure")


def test_it_is_raised_where_that_is_allowed_too():
    world = waiting(limit("0.003", "1900", raise_to_minimum=True))
    world.venue(MarketsLoaded(markets=COARSE))
    assert [r.quantity for r in world.placed()] == [D("0.01")]


@pytest.mark.parametrize("refusal", [Refusal.INSUFFICIENT_FUNDS, Refusal.PERMANENT, Refusal.RATE_LIMIT])
def test_another_no_is_never_answered_with_another_order(refusal):
    world = EngineWorld()
    world.submit(limit())
    refused(world, refusal=refusal)
    assert world.query().status is QueryStatus.FAILED
    world.venue(MarketsLoaded(markets=COARSE))
    assert world.placed() == []


def test_what_was_in_doubt_is_never_sent_again():
    world = EngineWorld()
    world.submit(limit())
    world.venue(OutcomeUnknown(order_id="q1.1.1", request="create", message="timeout"))
    refused(world)
    world.venue(MarketsLoaded(markets=COARSE))
    assert world.placed() == []


def test_rules_that_do_not_come_leave_the_no():
    world = waiting()
    world.now += MARKETS_S
    world.timer("parent", "q1.1")
    assert world.query().status is QueryStatus.FAILED
    world.venue(MarketsLoaded(markets=COARSE))
    assert world.placed() == []


@pytest.mark.parametrize(
    "command",
    [
        CancelOrder(order_id="q1.1.1"),
        CancelOrder(client_order_id="key-1"),
        CancelAllOrders(exchange="binance"),
        HaltTrading(all=True),
    ],
    ids=["cancel", "by key", "cancel all", "halt"],
)
def test_a_cancel_or_a_halt_ends_the_waiting(command):
    world = waiting()
    world.submit(command, key="key-2", query_id="q2")
    assert world.query().status is QueryStatus.FAILED
    world.venue(MarketsLoaded(markets=COARSE))
    assert world.placed() == []


def test_another_users_cancel_does_not():
    world = waiting()
    world.submit(CancelAllOrders(), key="key-2", query_id="q2", user="bob")
    world.venue(MarketsLoaded(markets=COARSE))
    assert len(world.placed()) == 1


def test_money_that_went_elsewhere_meanwhile_is_not_spent_twice():
    world = waiting()
    world.balances(free={"USDT": D(100), "ETH": D(2)})
    world.venue(MarketsLoaded(markets=COARSE))
    assert world.placed() == [] and world.query().error.code == errors.FUNDS_INSUFFICIENT


def test_a_restart_while_it_waits_sends_nothing():
    world = waiting()
    again = EngineWorld(store=world.store)
    assert again.query().status is QueryStatus.FAILED
    again.venue(MarketsLoaded(markets=COARSE))
    assert again.placed() == []


def test_a_halted_market_gets_no_second_try():
    world = waiting()
    closed = tuple(replace(one, active=False) for one in COARSE)
    world.venue(MarketsLoaded(markets=closed))
    assert world.placed() == [] and world.query().error.code == errors.MARKET_NOT_OPEN
