"""A market order where the exchange has none: a limit order that takes at once, as far as it has to reach."""

from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.messages import Ending, MarketOrder, OrderType, Side, TimeInForce
from ems.core.records import QueryStatus, Status
from tests.builders import fill, market
from tests.engine.world import EngineWorld

D = Decimal
WITHOUT = (market("ETH/USDT", fee_mode="quote", market_orders=False),)
RICH = {"USDT": D(200_000), "ETH": D(100)}


def market_order(side=Side.BUY, quantity="1"):
    return MarketOrder(exchange="binance", symbol="ETH/USDT", side=side, quantity=D(quantity))


@pytest.mark.parametrize(
    ("case", "side", "quantity", "price"),
    [
        # The book has 10 on each of five levels, half a dollar apart; 5 bp beyond, rounded away.
        ("the first level is enough", Side.BUY, "10", "2001.51"),
        ("three levels are needed", Side.BUY, "25", "2002.51"),
        ("more than is shown", Side.BUY, "70", "2003.51"),
        ("a sale", Side.SELL, "1", "1999"),
        ("a sale of three levels", Side.SELL, "25", "1998"),
    ],
)
def test_it_reaches_as_far_as_it_has_to(case, side, quantity, price):
    world = EngineWorld(markets=WITHOUT, free=RICH)
    world.book()
    world.submit(market_order(side, quantity))
    (request,) = world.placed()
    assert (request.order_type, request.time_in_force, request.post_only) == (
        OrderType.LIMIT,
        TimeInForce.IOC,
        False,
    )
    assert (request.quantity, request.price) == (D(quantity), D(price))
    assert world.order("q1.1.1").order_type is OrderType.LIMIT, "people are told what was sent"


def test_where_there_are_market_orders_it_is_one():
    world = EngineWorld(free=RICH)
    world.book()
    world.submit(market_order(quantity="25"))
    (request,) = world.placed()
    assert (request.order_type, request.price) == (OrderType.MARKET, None)


def test_what_was_not_there_any_more_ends_it_like_a_market_order():
    world = EngineWorld(markets=WITHOUT, free=RICH)
    world.book()
    world.submit(market_order(quantity="25"))
    order = world.order("q1.1.1")
    got = fill(
        "f1",
        "10",
        price="2000.5",
        when=world.now,
        order_id="q1.1.1",
        side=Side.BUY,
        symbol="ETH/USDT",
    )
    world.ack("q1.1.1", filled_quantity=D(10), ending=Ending.CANCELED, fills=(got,))
    assert world.order("q1.1.1").status is Status.CANCELED
    query = world.query()
    assert query.status not in (QueryStatus.WORKING, QueryStatus.FAILED)
    assert (query.result["filled_quantity"], order.quantity) == ("10", D(25))
    assert world.placed() == [], "no second try"


def test_the_money_is_that_of_its_own_limit():
    free = {"USDT": D("20015.1") * D("1.001") - D("0.01"), "ETH": D(0)}  # ten at 2001.51, and the fee
    world = EngineWorld(markets=WITHOUT, free=free)
    world.book()
    world.submit(market_order(quantity="10"))
    assert world.problem().code == errors.FUNDS_INSUFFICIENT
    assert world.placed() == []
