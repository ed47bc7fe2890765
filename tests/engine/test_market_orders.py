"""A market order goes out as a limit that takes at once: at the bound of the slippage limit, or where there
are no market orders as far as it has to reach."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.instrument import PriceBand, Rules
from ems.core.messages import (
    Ending,
    MarketOrder,
    MarketsLoaded,
    OrderType,
    PlaceOrder,
    PriceBounds,
    Refusal,
    Rejected,
    Side,
    TimeInForce,
)
from ems.core.order import fold
from ems.core.records import QueryStatus, Status
from tests.builders import at, fill, market
from tests.engine.test_risk import set_limit
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
    order = world.order("q1.1.1")
    assert (order.order_type, order.price, order.protection_price) == (OrderType.MARKET, None, D(price))


def test_without_a_slippage_limit_it_is_one_where_there_are_market_orders():
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


# --- With a slippage limit


def protected(limit="1", free=RICH, markets=None):
    world = EngineWorld(free=free, **({} if markets is None else {"markets": markets}))
    set_limit(world, "slippage_limit", limit)
    world.tokens = 0
    world.book()
    return world


BANDED = (
    market(
        "ETH/USDT",
        rules=Rules(
            band=PriceBand(buy_low=D("0.99"), buy_high=D("1.01"), sell_low=D("0.99"), sell_high=D("1.01"))
        ),
    ),
)


@pytest.mark.parametrize(
    ("case", "side", "limit", "markets", "price"),
    [
        # Best bid 2000, best ask 2000.5, in steps of a cent.
        ("a purchase", Side.BUY, "1", None, "2020.5"),  # 2020.505: never beyond the limit
        ("a sale", Side.SELL, "1", None, "1980"),
        ("a sale, rounded inward", Side.SELL, "0.0333", None, "1999.34"),  # 1999.334
        ("no further than the best price", Side.BUY, "0", None, "2000.5"),
        ("where there are no market orders", Side.BUY, "1", WITHOUT, "2020.5"),
        ("no further than the exchange takes", Side.BUY, "50", BANDED, "2020.25"),
        ("no further than the exchange takes", Side.SELL, "100", BANDED, "1980.25"),
    ],
)
def test_it_is_sent_as_a_limit_at_the_bound_and_told_as_a_market_order(case, side, limit, markets, price):
    world = protected(limit, markets=markets)
    world.submit(market_order(side, "5"), query_id="q1")
    (request,) = world.placed()
    assert (request.order_type, request.price, request.time_in_force) == (
        OrderType.LIMIT,
        D(price),
        TimeInForce.IOC,
    )
    order = world.order("q1.1.1")
    assert (order.order_type, order.price, order.protection_price) == (OrderType.MARKET, None, D(price))
    kept = world.store.orders["q1.1.1"]
    assert fold(world.store.history("q1.1.1")).protection_price == kept.protection_price == D(price)


@pytest.mark.parametrize(
    ("side", "markets", "limit", "price"),
    [
        (Side.BUY, None, "1", "2010"),
        (Side.SELL, None, "1", "1990"),
        (Side.BUY, WITHOUT, "off", "2001"),  # it would have reached to 2001.51
    ],
)
def test_the_bound_is_kept_within_what_the_exchange_takes_just_now(side, markets, limit, price):
    world = protected(limit, markets=markets)
    highest = D(2010) if limit != "off" else D(2001)
    world.venue(
        PriceBounds(symbol="ETH/USDT", highest_buy=highest, lowest_sell=D(1990), query_sent_at=at(world.now))
    )
    world.submit(market_order(side))
    assert [(r.order_type, r.price) for r in world.placed()] == [(OrderType.LIMIT, D(price))]


def test_a_band_is_measured_from_what_the_exchange_says():
    world = protected("50", markets=BANDED)
    world.venue(PriceBounds(symbol="ETH/USDT", reference=D(1990), query_sent_at=at(world.now)))
    world.submit(market_order())
    assert [r.price for r in world.placed()] == [D("2009.9")]


def test_the_place_of_a_market_order_by_any_name():
    world = protected()
    command = PlaceOrder(
        exchange="binance", symbol="ETH/USDT", side=Side.BUY, quantity=D(5), order_type=OrderType.MARKET
    )
    world.submit(command)
    assert [(r.order_type, r.price) for r in world.placed()] == [(OrderType.LIMIT, D("2020.5"))]


def test_one_that_would_walk_the_book_beyond_it_is_refused():
    world = protected("0.02")  # the second level is 0.025 % away, and 10 are on the first
    world.submit(market_order(quantity="10.0001"))
    assert world.problem().code == errors.SLIPPAGE_LIMIT and world.placed() == []
    world.submit(market_order(quantity="10"), key="key-2")
    assert [r.price for r in world.placed()] == [D("2000.9")]


@pytest.mark.parametrize(
    ("money", "price"),
    [
        ("10150", "2020.5"),  # more than enough: the bound
        ("10050", "2007.99"),  # five at 2007.992008, the fee of 0.1 % paid
        ("10017.56", "2001.51"),  # as much as it needs, with 5 bp to spare
        ("10017.55", None),
    ],
)
def test_where_money_does_not_reach_to_the_bound_the_bound_is_where_it_reaches(money, price):
    fees = (market("ETH/USDT", fee_mode="quote", taker_fee="0.001"),)
    world = protected(free={"USDT": D(money), "ETH": D(0)}, markets=fees)
    world.submit(market_order(quantity="5"), query_id="q1")
    if price is None:
        assert world.problem().code == errors.FUNDS_INSUFFICIENT and world.placed() == []
        return
    assert [r.price for r in world.placed()] == [D(price)]
    assert world.order("q1.1.1").reserved == D(5) * D(price) * D("1.001") <= D(money)


def test_what_is_beyond_the_bound_when_it_arrives_is_left_and_told():
    world = protected()
    world.submit(market_order(quantity="5"), query_id="q1")
    got = fill("f1", "3", price="2019", when=world.now, order_id="q1.1.1", side=Side.BUY, symbol="ETH/USDT")
    world.ack("q1.1.1", filled_quantity=D(3), ending=Ending.EXPIRED, fills=(got,))
    order, query = world.order("q1.1.1"), world.query()
    assert (order.status, order.filled_quantity) == (Status.EXPIRED, D(3))
    assert query.status is QueryStatus.DONE and query.result["filled_quantity"] == "3"
    assert world.placed() == [], "what is left is the caller's to ask for again"


def test_refused_by_new_rules_it_is_sent_again_as_the_market_order_it_is():
    world = protected()
    world.submit(replace(market_order(quantity="5"), resubmit=True), query_id="q1")
    world.venue(Rejected(order_id="q1.1.1", refusal=Refusal.LOT_TICK, message="step"))
    world.venue(MarketsLoaded(markets=(market("ETH/USDT", tick="1"),)))
    assert [(r.order_type, r.price) for r in world.placed()] == [(OrderType.LIMIT, D(2020))]
    again = world.order("q1.1.2")
    assert (again.order_type, again.price, again.protection_price) == (OrderType.MARKET, None, D(2020))


@pytest.mark.parametrize(
    ("markets", "limit", "price"),
    [(None, "1", "1919"), (None, "2", "1938"), (WITHOUT, "off", "1902")],  # best ask 1900.5
)
def test_refused_by_new_rules_it_is_sent_again_at_the_bound_of_the_book_as_it_is_then(markets, limit, price):
    world = protected("1" if limit == "2" else limit, markets=markets)
    world.submit(replace(market_order(quantity="5"), resubmit=True), query_id="q1")
    world.venue(Rejected(order_id="q1.1.1", refusal=Refusal.LOT_TICK, message="step"))
    world.now = 8
    world.book(bid="1900", ask="1900.5")
    if limit == "2":
        set_limit(world, "slippage_limit", limit)
    world.venue(MarketsLoaded(markets=(market("ETH/USDT", tick="1", market_orders=markets is None),)))
    assert [(r.order_type, r.price) for r in world.placed()] == [(OrderType.LIMIT, D(price))]
    assert world.order("q1.1.2").protection_price == D(price)


def test_without_a_book_to_bound_it_by_the_exchanges_no_stands():
    world = protected()
    world.submit(replace(market_order(quantity="5"), resubmit=True), query_id="q1")
    world.venue(Rejected(order_id="q1.1.1", refusal=Refusal.LOT_TICK, message="step"))
    world.now = 9
    world.book(bid="2001", ask="2000.5")  # crossed
    world.venue(MarketsLoaded(markets=(market("ETH/USDT", tick="1"),)))
    assert world.placed() == [] and world.query().status is QueryStatus.FAILED
    assert "step" in str(world.query().error)
