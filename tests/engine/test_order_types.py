"""Orders of every type and time in force: what is sent, what is waited for, and what becomes of it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from ems.core import errors, retries
from ems.core.messages import (
    CancelAcked,
    CancelAllOrders,
    CancelOrder,
    CancelRequest,
    Ending,
    Found,
    MarketsLoaded,
    OrderStatus,
    OrderType,
    PlaceOrder,
    PriceBounds,
    Problem,
    Refusal,
    Rejected,
    Side,
    StreamUp,
    TimeInForce,
    TradesAnswer,
)
from ems.core.order import fold
from ems.core.records import Notice, Phase, Query, QueryStatus, Status
from tests.builders import at, book, fill, market
from tests.engine.test_risk import set_limit
from tests.engine.world import EngineWorld

D = Decimal
STOPS = frozenset(kind for kind in OrderType if kind.waits)
NATIVE = (market("ETH/USDT", stops=STOPS, stop_times=frozenset({TimeInForce.GTC})),)


def place(order_type, side=Side.SELL, quantity="1", **fields):
    for name in ("price", "stop_price"):
        if name in fields:
            fields[name] = D(fields[name])
    return PlaceOrder(
        exchange="binance",
        symbol="ETH/USDT",
        side=side,
        quantity=D(quantity),
        order_type=OrderType(order_type),
        **fields,
    )


def stop_sell(stop_price="1900", **fields):
    return place("stop_loss", stop_price=stop_price, **fields)


def quoted(world, bid="2000"):
    """Let a book come whose middle is a quarter above its bid."""
    return world.book(bid=bid, ask=str(D(bid) + D("0.5")))


def emulating(**options):
    world = EngineWorld(**options)
    quoted(world)
    return world


# --- Native ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "sent"),
    {
        "a stop loss": (stop_sell(), ("stop_loss", None, D(1900))),
        "a stop limit": (
            place("stop_loss_limit", stop_price="1900", price="1890"),
            ("stop_loss_limit", D(1890), D(1900)),
        ),
        "a take profit": (place("take_profit", stop_price="2100"), ("take_profit", None, D(2100))),
        "a take profit to buy, limited": (
            place("take_profit_limit", Side.BUY, stop_price="1900", price="1905"),
            ("take_profit_limit", D(1905), D(1900)),
        ),
        "a stop that is no multiple of the step waits for the step beyond": (
            stop_sell("1900.009"),
            ("stop_loss", None, D("1900")),
        ),
    }.values(),
)
def test_what_the_exchange_has_is_sent_as_it_is(command, sent):
    world = emulating(markets=NATIVE)
    answer = world.submit(command)
    assert isinstance(answer, Query), answer
    (request,) = world.placed()
    assert (str(request.order_type), request.price, request.stop_price) == sent
    assert world.order("q1.1.1").emulated is False
    world.ack("q1.1.1")
    assert world.query().status is QueryStatus.DONE and world.query().result["emulated"] is False


def test_a_price_that_is_met_already_is_refused_though_the_exchange_would_take_it():
    world = emulating(markets=NATIVE)
    refused = world.submit(stop_sell("2100"))
    assert isinstance(refused, Problem) and refused.code == errors.PRICE_INVALID, refused
    assert world.placed() == []


def test_without_a_book_the_exchange_judges_a_stop_price_after_the_look():
    world = EngineWorld(markets=NATIVE)
    assert world.submit(stop_sell()) is None and world.placed() == []
    world.now = 6
    world.timer("held", "1")
    assert len(world.placed()) == 1


def test_a_time_in_force_the_exchange_has_not_behind_a_stop_is_waited_for_here():
    world = EngineWorld(markets=NATIVE)
    quoted(world)
    world.submit(place("stop_loss_limit", stop_price="1900", price="1890", time_in_force=TimeInForce.IOC))
    assert world.placed() == [] and world.order("q1.1.1").emulated
    quoted(world, "1899")
    (request,) = world.placed()
    assert (request.order_type, request.price, request.time_in_force) == (
        OrderType.LIMIT,
        D(1890),
        TimeInForce.IOC,
    )


# --- Emulated ----------------------------------------------------------------------------------------------


def test_an_order_that_waits_here_is_an_order_from_the_beginning():
    world = emulating()
    answer = world.submit(stop_sell())
    assert (answer.status, answer.result["status"], answer.result["emulated"]) == (
        QueryStatus.DONE,
        "created",
        True,
    )
    order = world.store.orders["q1.1.1"]
    assert (order.status, order.emulated, order.stop_price) == (Status.CREATED, True, D(1900))
    assert world.placed() == [] and fold(world.store.history("q1.1.1")) == order


def test_it_is_sent_when_its_price_has_come_and_only_once():
    world = emulating()
    world.submit(stop_sell())
    quoted(world, "1900")
    assert world.placed() == [], "the middle is above the stop"
    quoted(world, "1899.5")
    (request,) = world.placed()
    assert (request.order_type, request.price, request.quantity) == (OrderType.MARKET, None, D(1))
    assert world.order("q1.1.1").status is Status.PENDING
    assert "triggered" in world.store.history("q1.1.1")[-1].message
    quoted(world, "1898")
    assert world.placed() == []
    world.ack("q1.1.1")
    assert world.order("q1.1.1").status is Status.SUBMITTED


BOOKS = {
    "crossed": book(bid="1800", ask="1700"),
    "contradicted by others": replace(book(bid="1800", ask="1800.5"), unfit="others say 2000"),
    "one side only": replace(book(bid="1800", ask="1800.5"), asks=()),
    "old": book(bid="1800", ask="1800.5", when=-60),
}


@pytest.mark.parametrize("shown", BOOKS.values(), ids=BOOKS)
def test_a_book_that_is_not_fit_triggers_nothing(shown):
    world = emulating()
    world.submit(stop_sell())
    world.venue(shown)
    assert world.placed() == [] and world.order("q1.1.1").status is Status.CREATED


def test_a_stop_that_would_not_wait_is_refused_with_the_price():
    world = emulating()
    answer = world.submit(stop_sell("2001"))
    assert isinstance(answer, Problem) and answer.code == errors.PRICE_INVALID
    assert answer.details["field"] == "stop_price" and answer.details["limit"] == "2000.25"


def test_where_there_are_no_market_orders_it_goes_as_a_limit_that_reaches():
    world = emulating(markets=(market("ETH/USDT", market_orders=False),))
    world.submit(stop_sell())
    quoted(world, "1899")
    (request,) = world.placed()
    assert (request.order_type, request.time_in_force) == (OrderType.LIMIT, TimeInForce.IOC)
    assert D(1890) < request.price < D(1899) and world.order("q1.1.1").price == request.price


def test_with_a_slippage_limit_it_goes_as_a_limit_at_the_bound_and_people_hear_of_what_is_left():
    world = emulating()
    set_limit(world, "slippage_limit", "1")
    world.submit(stop_sell(), query_id="q1")
    quoted(world, "1899")
    (request,) = world.placed()
    assert (request.order_type, request.time_in_force, request.price) == (
        OrderType.LIMIT,
        TimeInForce.IOC,
        D("1880.01"),
    )
    got = fill("f1", "0.4", price="1881", order_id="q1.1.1", side=Side.SELL, symbol="ETH/USDT")
    world.ack("q1.1.1", filled_quantity=D("0.4"), ending=Ending.CANCELED, fills=(got,))
    (notice,) = [n for n in world.store.notices if n.group.endswith("not-triggered")]
    assert "0.6 were not to be had up to 1880.01" in notice.why


def test_its_bound_is_kept_within_what_the_exchange_takes_just_now():
    world = emulating()
    set_limit(world, "slippage_limit", "1")
    world.submit(stop_sell())
    world.venue(PriceBounds(symbol="ETH/USDT", lowest_sell=D(1890), query_sent_at=at(world.now)))
    quoted(world, "1899")
    assert [(r.order_type, r.price) for r in world.placed()] == [(OrderType.LIMIT, D(1890))]


def test_what_only_reduces_gets_out_at_any_price():
    world = emulating()
    set_limit(world, "slippage_limit", "1")
    world.submit(replace(stop_sell(), reduce_only=True), query_id="q1")
    quoted(world, "1899")
    assert [(r.order_type, r.price) for r in world.placed()] == [(OrderType.MARKET, None)]


def test_its_money_is_held_against_the_rest_of_our_work():
    world = emulating()
    world.submit(stop_sell(quantity="1.5"))
    answer = world.submit(stop_sell(quantity="1"), key="key-2")
    answer = world.timer("held", "2") and world.answer() if answer is None else answer
    assert isinstance(answer, Problem) and answer.code == errors.FUNDS_INSUFFICIENT
    assert "0.5 ETH" in answer.message


@pytest.mark.parametrize("slippage", ["1", None], ids=["to a bound", "as a market order"])
def test_what_it_holds_follows_the_price_that_it_is_sent_at(slippage):
    world = EngineWorld(free={"USDT": D(3000)})
    quoted(world)
    if slippage:
        set_limit(world, "slippage_limit", slippage)
    world.submit(place("stop_loss", Side.BUY, stop_price="2005"), query_id="q1")
    quoted(world, "2060")  # a gap through the stop
    (request,) = world.placed()
    order, claims = world.order("q1.1.1"), world.engine.work.claims(world.account)
    assert claims["USDT"] == order.reserved >= (request.price or D("2060.5"))
    assert request.price is None or order.reserved == request.price == D("2081.1")
    assert fold(world.store.history("q1.1.1")) == world.store.orders["q1.1.1"]
    counted = world.engine.risk.ledger._open["q1.1.1"][1]
    assert counted == order.usd_value, "what the risk controls count, too"
    half = fill("f1", "0.5", price="2060.5", order_id="q1.1.1", symbol="ETH/USDT")
    world.ack("q1.1.1", filled_quantity=D("0.5"), ending=Ending.CANCELED, fills=(half,))
    assert world.engine.work.claims(world.account).get("USDT", D(0)) == D(0)


def test_it_survives_a_restart_and_waits_for_the_account_to_be_ready():
    world = emulating()
    world.submit(stop_sell())
    reborn = EngineWorld(store=world.store, ready=False)
    reborn.venue(MarketsLoaded(markets=(market("ETH/USDT"),)))
    quoted(reborn, "1890")
    assert reborn.placed() == []
    reborn.venue(StreamUp())
    assert reborn.order("q1.1.1").status is Status.CREATED, "lost contact says nothing of what is ours alone"
    reborn.connect()
    assert [request.order_id for request in reborn.placed()] == ["q1.1.1"]


def test_it_is_cancelled_at_once_and_nothing_is_asked():
    world = emulating()
    world.submit(stop_sell())
    answer = world.submit(CancelOrder(order_id="q1.1.1"), key="key-2")
    assert answer.result["canceled"] == ["q1.1.1"] and world.sent(CancelRequest) == []
    order = world.store.orders["q1.1.1"]
    assert (order.status, order.phase, order.reserved) == (Status.CANCELED, Phase.SETTLED, D(0))
    quoted(world, "1800")
    assert world.placed() == []


def test_cancel_all_finds_it():
    world = emulating()
    world.submit(stop_sell())
    answer = world.submit(CancelAllOrders(), key="key-2")
    assert answer.result["canceled"] == ["q1.1.1"]


def test_no_turn_at_the_exchange_is_no_end_it_waits_again_as_a_new_order():
    world = emulating()
    world.submit(stop_sell())
    quoted(world, "1890")
    refused = Rejected(order_id="q1.1.1", refusal=Refusal.RATE_LIMIT, message="no turn in time", sent=False)
    world.venue(refused)
    assert world.order("q1.1.1").status is Status.REJECTED
    again = world.order("q1.1.2")
    assert (again.status, again.replaces, again.emulated) == (Status.CREATED, "q1.1.1", True)
    quoted(world, "1890")
    assert world.placed() == [], "not at once"
    world.now = 3.0
    quoted(world, "1890")
    assert [request.order_id for request in world.placed()] == ["q1.1.2"]


SPACED = {
    "a take profit": (place("take_profit", stop_price="2200"), "2210", [1, 2, 4, 8, 16, 30, 30, 30, 30]),
    "a stop loss, which cannot wait": (stop_sell(), "1890", [1, 2, 2, 2, 2, 2, 2, 2, 2]),
}


@pytest.mark.parametrize(("command", "come", "steady"), SPACED.values(), ids=SPACED)
def test_it_is_tried_at_growing_intervals_and_people_are_told_but_it_is_never_given_up(command, come, steady):
    world = emulating()
    world.submit(command)
    gaps, told, last = [], [], 0.0
    quoted(world, come)
    for _ in range(retries.ORDERS.tries + 3):
        (request,) = world.placed()
        no = Rejected(order_id=request.order_id, refusal=Refusal.RATE_LIMIT, message="no turn", sent=False)
        world.venue(no)
        told.append(len([r for r in world.turn.records if isinstance(r, Notice)]))
        last = world.now
        while not world.placed():
            world.now += 0.25
            quoted(world, come)
        gaps.append(world.now - last)
    for gap, wait in zip(gaps, steady, strict=True):
        assert 0.75 * wait <= gap <= 1.25 * wait + 0.25
    assert told == [0] * (retries.ORDERS.tries - 1) + [1, 0, 0, 0], "once, at the sixth"


def test_one_that_provably_never_arrived_waits_again():
    world = emulating()
    world.submit(stop_sell())
    quoted(world, "1890")
    reborn = EngineWorld(store=world.store)  # it died before a byte left, for all we know
    for seconds in (30.0, 35.0, 40.0, 60.0, 65.0):
        reborn.now = seconds
        reborn.venue(OrderStatus(order_id="q1.1.1", found=Found.NOT_FOUND, query_sent_at=at(seconds)))
        reborn.venue(TradesAnswer(order_id="q1.1.1", fills=(), query_sent_at=at(seconds)))
    assert reborn.order("q1.1.1").status is Status.REJECTED
    assert reborn.order("q1.1.2").replaces == "q1.1.1"


def test_one_that_was_to_go_does_not_wait_again():
    world = emulating()
    world.submit(stop_sell())
    quoted(world, "1890")
    reborn = EngineWorld(store=world.store)
    reborn.submit(CancelOrder(order_id="q1.1.1"), key="key-2", query_id="q9")
    for seconds in (30.0, 35.0, 40.0, 60.0, 65.0):
        reborn.now = seconds
        reborn.venue(OrderStatus(order_id="q1.1.1", found=Found.NOT_FOUND, query_sent_at=at(seconds)))
        reborn.venue(TradesAnswer(order_id="q1.1.1", fills=(), query_sent_at=at(seconds)))
    assert reborn.order("q1.1.1").status is Status.REJECTED and "q1.1.2" not in reborn.engine.work.children


def test_a_no_to_what_it_is_ends_it_and_people_are_told():
    world = emulating()
    world.submit(stop_sell())
    quoted(world, "1890")
    world.venue(
        Rejected(
            order_id="q1.1.1",
            refusal=Refusal.INSUFFICIENT_FUNDS,
            message="balance too low",
            venue_code="-2010",
        )
    )
    assert world.order("q1.1.1").status is Status.REJECTED and "q1.1.2" not in world.engine.work.children
    (notice,) = [r for r in world.turn.records if isinstance(r, Notice)]
    assert (notice.event, notice.severity) == ("not_triggered", "critical")
    assert "was not placed" in notice.subject and "balance too low" in notice.why
    report = world.store.history("q1.1.1")[-1].report
    assert (report["venue_code"], report["venue_message"]) == ("-2010", "balance too low")


# --- Times in force ----------------------------------------------------------------------------------------


def test_day_ends_at_midnight_utc_and_the_exchange_is_told_gtc():
    world = EngineWorld()
    world.submit(place("limit", Side.BUY, price="1900", time_in_force=TimeInForce.DAY))
    (request,) = world.placed()
    assert request.time_in_force is TimeInForce.GTC
    order = world.order("q1.1.1")
    assert (order.time_in_force, order.expires_at) == (TimeInForce.DAY, at(0) + timedelta(days=1))
    assert world.wakes()["expiry", "q1.1.1"] == order.expires_at
    world.ack("q1.1.1")
    assert world.query().status is QueryStatus.DONE, "it stands"


def test_when_its_time_is_over_it_is_cancelled_and_ends_as_expired():
    world = EngineWorld()
    world.submit(place("limit", Side.BUY, price="1900", time_in_force=TimeInForce.GTD, expires_at=at(100)))
    world.ack("q1.1.1")
    world.now = 100.0
    world.timer("expiry", "q1.1.1")
    assert len(world.sent(CancelRequest)) == 1
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    order = world.order("q1.1.1")
    assert (order.status, order.phase) == (Status.EXPIRED, Phase.SETTLED)


def test_a_cancel_before_its_time_is_a_cancel_however_long_it_takes():
    world = EngineWorld()
    world.submit(place("limit", Side.BUY, price="1900", time_in_force=TimeInForce.GTD, expires_at=at(100)))
    world.ack("q1.1.1")
    world.submit(CancelOrder(order_id="q1.1.1"), key="key-2")
    world.now = 100.0
    world.timer("expiry", "q1.1.1")
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    assert world.order("q1.1.1").status is Status.CANCELED


def test_its_time_is_kept_over_a_restart_that_slept_through_it():
    world = emulating()
    world.submit(stop_sell(time_in_force=TimeInForce.GTD, expires_at=at(10)))
    reborn = EngineWorld(store=world.store, ready=False)
    assert reborn.wakes()["expiry", "q1.1.1"] == at(10)
    reborn.now = 500.0
    reborn.timer("expiry", "q1.1.1")
    assert reborn.order("q1.1.1").status is Status.EXPIRED and reborn.sent(CancelRequest) == []


def test_a_time_that_is_over_is_refused():
    world = EngineWorld()
    world.now = 50.0
    answer = world.submit(
        place("limit", Side.BUY, price="1900", time_in_force=TimeInForce.GTD, expires_at=at(10))
    )
    assert (answer.code, answer.details["field"]) == (errors.REQUEST_FIELD_INVALID, "expires_at")


# --- Reduce only -------------------------------------------------------------------------------------------


def test_reduce_only_sells_no_more_than_is_held():
    world = EngineWorld()
    world.submit(place("limit", quantity="50", price="2100", reduce_only=True))
    assert [request.quantity for request in world.placed()] == [D(2)]


def test_reduce_only_of_nothing_is_refused():
    world = EngineWorld(free={"USDT": D(10000)})
    answer = world.submit(place("limit", quantity="1", price="2100", reduce_only=True))
    assert answer.code == errors.FUNDS_INSUFFICIENT


def test_reduce_only_is_measured_again_when_the_price_comes():
    world = emulating()
    world.submit(stop_sell(quantity="2", reduce_only=True))
    world.balances(free={"USDT": D(10000), "ETH": D("0.5")})
    quoted(world, "1890")
    assert [request.quantity for request in world.placed()] == [D("0.5")]
    order = world.order("q1.1.1")
    assert order.quantity == D("0.5") and fold(world.store.history("q1.1.1")) == order


def test_reduce_only_with_nothing_left_ends_without_being_sent():
    world = emulating()
    world.submit(stop_sell(quantity="2", reduce_only=True))
    world.balances(free={"USDT": D(10000)})
    quoted(world, "1890")
    assert world.placed() == [] and world.order("q1.1.1").status is Status.INVALIDATED
    assert any(isinstance(r, Notice) for r in world.turn.records)
