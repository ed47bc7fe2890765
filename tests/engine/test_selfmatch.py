"""No order of ours meets another of ours on the same account (RELIABILITY.md E, 13)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.messages import (
    CancelAcked,
    CancelOrder,
    LimitOrder,
    MarketOrder,
    NewOrder,
    OrderType,
    OutcomeUnknown,
    Side,
    Style,
    TimeInForce,
)
from ems.core.records import Query
from tests.builders import at, fill, market, smart_order
from tests.engine.world import EngineWorld

D = Decimal


def limit(side, price, quantity="1", **fields):
    return LimitOrder(
        exchange="binance", symbol="ETH/USDT", side=side, quantity=D(quantity), price=D(price), **fields
    )


def take(side, quantity="1"):
    return MarketOrder(exchange="binance", symbol="ETH/USDT", side=side, quantity=D(quantity))


def resting(side=Side.SELL, price="2000.5", *, world=None, **ticket):
    """Return a world in which this order rests; the touch is 2000 / 2000.5."""
    world = world or EngineWorld(free={"USDT": D(100_000), "ETH": D(50)})
    world.book()
    world.submit(limit(side, price), key="resting", query_id="r", **ticket)
    world.ack("r.1.1", exchange_id="R1")
    return world


@pytest.mark.parametrize(
    ("rests", "comes", "passes"),
    [
        ((Side.SELL, "2000.5"), limit(Side.BUY, "2000.5"), "2000.49"),
        ((Side.SELL, "2000.5"), limit(Side.BUY, "2001"), "2000.49"),
        ((Side.SELL, "2000.5"), limit(Side.BUY, "2001", time_in_force=TimeInForce.IOC), "2000.49"),
        ((Side.SELL, "2000.5"), take(Side.BUY), "2000.49"),
        ((Side.SELL, "2001"), take(Side.BUY, "15"), "2000.99"),  # the second level is needed
        ((Side.BUY, "2000"), limit(Side.SELL, "2000"), "2000.01"),
        ((Side.BUY, "2000"), take(Side.SELL), "2000.01"),
    ],
)
def test_an_order_that_would_meet_our_own_is_refused_with_the_price_that_passes(rests, comes, passes):
    world = resting(*rests)
    refused = world.submit(comes, key="comes")
    assert refused.code == errors.SELF_MATCH and not refused.retry_safe
    assert refused.details["limit"] == passes and passes in refused.hint
    assert refused.details["resting_order_id"] == "r.1.1" and "r.1.1" in refused.message
    assert world.placed() == []
    if isinstance(comes, LimitOrder):
        again = world.submit(replace(comes, price=D(passes), time_in_force=TimeInForce.GTC), key="again")
        assert isinstance(again, Query) and len(world.placed()) == 1


@pytest.mark.parametrize(
    ("rests", "comes"),
    [
        ((Side.SELL, "2000.5"), limit(Side.BUY, "2000.49")),
        ((Side.SELL, "2000.5"), limit(Side.SELL, "2000.01")),  # the same side never meets
        ((Side.SELL, "2010"), take(Side.BUY)),  # out of reach of what it wants
        ((Side.BUY, "1990"), take(Side.SELL)),
    ],
)
def test_an_order_that_reaches_none_of_ours_passes(rests, comes):
    world = resting(*rests)
    assert isinstance(world.submit(comes, key="comes"), Query)
    assert len(world.placed()) == 1


def test_another_users_order_is_in_the_way_too_and_its_id_stays_its_owners():
    world = resting(user="bob")
    refused = world.submit(limit(Side.BUY, "2000.5"), key="comes")
    assert refused.code == errors.SELF_MATCH
    assert refused.details["resting_price"] == "2000.5"
    assert "r.1.1" not in str(refused)


def test_an_order_counts_until_its_end_is_certain():
    """In flight, in doubt, its cancel asked for: it may trade all the while."""
    world = EngineWorld(free={"USDT": D(100_000), "ETH": D(50)})
    world.book()
    world.submit(limit(Side.SELL, "2000.5"), key="resting", query_id="r")

    def refused(key):
        answer = world.submit(limit(Side.BUY, "2000.5"), key=key)
        return getattr(answer, "code", None) == errors.SELF_MATCH

    assert refused("on its way")
    world.venue(OutcomeUnknown(order_id="r.1.1", request="create", message="timeout"))
    assert refused("in doubt")
    world.ack("r.1.1", exchange_id="R1")
    world.submit(CancelOrder(order_id="r.1.1"), key="cancel")
    assert refused("its cancel not settled")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert not refused("gone")


def test_a_filled_order_is_in_nobodys_way():
    world = resting()
    world.venue(
        fill("f1", "1", price="2000.5", side=Side.SELL, order_id="r.1.1", exchange_order_id="R1", when=1)
    )
    assert isinstance(world.submit(limit(Side.BUY, "2000.5"), key="comes"), Query)


def test_what_rests_is_known_after_a_restart():
    first = resting()
    world = EngineWorld(free={"USDT": D(100_000), "ETH": D(50)}, store=first.store)
    world.book()
    assert world.submit(limit(Side.BUY, "2000.5"), key="comes", query_id="c").code == errors.SELF_MATCH


def test_other_markets_are_not_concerned():
    world = EngineWorld(
        free={"USDT": D(100_000), "ETH": D(50)}, markets=(market("ETH/USDT"), market("BTC/USDT"))
    )
    resting(world=world)
    world.book("BTC/USDT")
    answer = world.submit(replace(limit(Side.BUY, "2000.5"), symbol="BTC/USDT"), key="comes")
    assert isinstance(answer, Query)


def test_a_dry_run_says_so_too():
    world = resting()
    assert world.submit(limit(Side.BUY, "2000.5"), key="dry", dry_run=True).code == errors.SELF_MATCH


def test_a_leg_that_takes_keeps_a_tick_away_from_our_own_order_and_goes_on():
    """Our order rests behind the touch: the take is cut to a tick before it, and does not fail."""
    world = resting(price="2000.7")
    world.submit(smart_order("2000", style=Style(algo="market")), key="smart", query_id="s")
    placed = world.placed()
    assert placed and all(order.price == D("2000.69") for order in placed)


def test_a_leg_waits_while_our_own_order_is_the_touch_and_goes_on_when_it_is_gone():
    world = resting(price="2000.5")
    world.submit(smart_order("2000", style=Style(algo="market")), key="smart", query_id="s")
    assert world.placed() == []
    note = world.engine.parents.progress("s", at(world.now))["note"]
    assert note.endswith("an order of ours is in the way")
    world.submit(CancelOrder(order_id="r.1.1"), key="cancel")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    world.now = 1.0
    world.book()
    assert [order.order_type for order in world.sent(NewOrder)] == [OrderType.LIMIT]


def test_a_leg_that_rests_quotes_a_tick_away_from_our_own_order():
    """The book does not show our bid in the spread yet: the quote of a sale keeps above it all the same."""
    world = resting(Side.BUY, "2000.49")
    world.submit(
        replace(limit(Side.SELL, "2000", quantity="3"), style=Style(algo="adaptive")),
        key="work",
        query_id="w",
    )
    assert world.placed() and all(order.price >= D("2000.5") for order in world.placed())
