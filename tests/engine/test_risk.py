"""The risk controls at work: what is refused, what waits, what halts, and that a restart counts on."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.algos import walker
from ems.algos.view import Place
from ems.core import errors
from ems.core.messages import (
    CancelOrder,
    CancelRequest,
    Ending,
    FillReport,
    LimitOrder,
    Liquidity,
    MarketsLoaded,
    OutcomeUnknown,
    Problem,
    QueryDay,
    Refusal,
    Rejected,
    ResumeTrading,
    SetLimit,
    Side,
    SmartOrder,
    Style,
    WatchBook,
)
from ems.core.positions import result_of
from ems.core.reconcile import Difference
from ems.core.records import Notice, Query, QueryStatus
from tests.builders import at, market
from tests.engine.world import MARKETS, TRIANGLE, EngineWorld

D = Decimal


def limit(price="2000", **fields):
    given = {"exchange": "binance", "symbol": "ETH/USDT", "side": Side.BUY, "quantity": D("0.5"), **fields}
    return LimitOrder(price=D(price), **given)


def smart(amount="1000", **style):
    given = {"algo": "classic", "time_limit": D(60), **style}
    return SmartOrder(
        exchange="binance",
        start_currency="USDT",
        end_currency="ETH",
        start_amount=D(amount),
        style=Style(**given),
    )


def opened(**fields):
    """Return a world with nothing limited and a book."""
    world = EngineWorld(**fields)
    world.book()
    return world


def set_limit(world, setting, value, role="admin", user="adam", **scope):
    answer = world.submit(
        SetLimit(setting=setting, value=value, **scope), key=f"set-{world.tokens}", user=user, role=role
    )
    return answer


def number(world):
    return f"key-{world.tokens}"


def place(world, command=None, **fields):
    return world.submit(command or limit(), key=number(world), **fields)


def filled(order_id, quantity="0.5", exchange_id="X1", fill_id="f1", price="2000", when=0.0, side=Side.BUY):
    return FillReport(
        fill_id=fill_id,
        exchange_order_id=exchange_id,
        symbol="ETH/USDT",
        side=side,
        price=D(price),
        quantity=D(quantity),
        fee=D(0),
        fee_currency="USDT",
        liquidity=Liquidity.TAKER,
        at=at(when),
        order_id=order_id,
    )


def trade(world, command=None, **fields):
    """Place an order that fills at once."""
    query = place(world, command, **fields)
    assert isinstance(query, Query), query
    order_id = f"{query.query_id}.1.1"
    order = world.order(order_id)
    fill = filled(
        order_id, str(order.quantity), f"X-{order_id}", f"f-{order_id}", when=world.now, side=order.side
    )
    world.ack(order_id, f"X-{order_id}", filled_quantity=order.quantity, ending=Ending.FILLED, fills=(fill,))
    return order_id


def restarted(world):
    again = EngineWorld(store=world.store, ready=False)
    again.now = world.now
    again.engine = type(world.engine)([again.account], mark="0e5a51b2")
    again.do(lambda now: again.engine.restore(again.store.load(at(world.now - 600), now), now))
    again.venue(MarketsLoaded(markets=MARKETS))
    again.connect()
    again.book()
    return again


# --- Refused before anything is recorded


def test_a_refused_order_leaves_nothing_and_says_code_limit_value_and_setting():
    world = EngineWorld(limited=True)
    world.book()
    answer = place(world, limit("2200"))
    assert isinstance(answer, Problem) and answer.code == errors.PRICE_COLLAR
    assert answer.details["setting"] == "price_collar"
    assert answer.details["limit"] == "5" and answer.details["value"] == "9.9863"
    assert answer.details["nearest"] == "2100.26"
    assert world.placed() == [] and world.engine.work.children == {} and world.store.orders == {}
    assert isinstance(place(world, limit(answer.details["nearest"])), Query)


def test_a_dry_run_is_judged_too_and_counts_nothing():
    world = opened()
    set_limit(world, "max_open_orders", "1")
    for _ in range(2):
        answer = place(world, dry_run=True)
        assert isinstance(answer, Query) and answer.result["dry_run"]
    assert isinstance(place(world), Query)
    refused = place(world, dry_run=True)
    assert isinstance(refused, Problem) and refused.code == errors.MAX_OPEN_ORDERS


def test_a_book_is_looked_at_before_an_order_is_refused_for_lack_of_one():
    world = EngineWorld(limited=True)
    assert place(world) is None
    assert world.sent(WatchBook) == [WatchBook(symbol="ETH/USDT")]
    world.now = 1
    world.book()
    assert isinstance(world.answer(), Query) and len(world.placed()) == 1


def test_without_a_book_an_order_is_refused_after_the_look():
    world = EngineWorld(limited=True)
    place(world)
    world.now = 6
    world.timer("held", "1")
    assert world.problem().code == errors.MARKET_DATA_STALE
    assert world.placed() == []


def test_an_order_in_another_currency_is_valued_through_its_dollar_market():
    world = EngineWorld(limited=True, markets=TRIANGLE, free={"BTC": D(10)})
    world.book("ETH/BTC", bid="1", ask="2")
    assert place(world, limit("1.49", symbol="ETH/BTC", quantity=D("0.1"))) is None
    assert world.sent(WatchBook) == [WatchBook(symbol="BTC/USDT")]
    world.book("BTC/USDT", bid="100000", ask="100001")
    assert world.problem().code == errors.NOTIONAL_EXCEEDS_MAX_PER_ORDER
    assert world.problem().details["value"] == "14900.0745"


def test_cancels_pass_whatever_is_limited():
    world = opened()
    query = place(world)
    world.ack(f"{query.query_id}.1.1")
    for setting in ("orders_per_minute", "max_open_orders", "credit_limit"):
        set_limit(world, setting, "0")
    world.submit(CancelOrder(order_id=f"{query.query_id}.1.1"), key="cancel")
    assert len(world.sent(CancelRequest)) == 1


@pytest.mark.parametrize(
    "setting, value, code",
    [
        ("max_open_orders", "2", errors.MAX_OPEN_ORDERS),
        ("orders_per_minute", "2", errors.RATE_LIMIT_EXCEEDED),
        ("order_burst", "2", errors.RATE_LIMIT_EXCEEDED),
        ("credit_limit", "2000", errors.CREDIT_LIMIT),
        ("global_credit_limit", "2000", errors.CREDIT_LIMIT),
    ],
)
def test_what_is_counted_is_counted_on_after_a_restart(setting, value, code):
    world = opened()
    set_limit(world, setting, value)
    if setting == "order_burst":
        set_limit(world, "orders_per_second", "0.001")
    for n in range(2):
        query = place(world)
        world.ack(f"{query.query_id}.1.1", f"X{n}")
    for one in (world, restarted(world)):
        one.tokens = 90
        one.book()
        answer = one.submit(limit(), key="after", query_id="q90")
        assert isinstance(answer, Problem) and code in str(answer.details), answer


def test_executions_duplicates_and_losses_survive_a_restart():
    world = opened()
    set_limit(world, "executions_per_minute", "2")
    set_limit(world, "daily_loss", "100")
    set_limit(world, "duplicate_window", "2")
    trade(world, limit(quantity=D("0.4")))
    trade(world, limit(quantity=D("0.3")))
    world.now = 1
    for one in (world, restarted(world)):
        one.tokens = 90
        one.book(bid="1800", ask="1800.5")
        answer = one.submit(limit(quantity=D("0.4")), key="after")
        codes = [p["code"] for p in answer.details["problems"]]
        assert codes == [errors.EXECUTION_THROTTLE, errors.DUPLICATE_SUSPECTED, errors.LOSS_LIMIT]


def test_every_order_carries_its_worth_and_its_release():
    world = opened()
    world.engine.work.release = "0.1.0+abc"
    query = place(world)
    order = world.store.orders[f"{query.query_id}.1.1"]
    assert (order.usd_value, order.release) == (D(1000), "0.1.0+abc")


# --- What was traded in 24 hours


def with_day_limits(**scope):
    world = EngineWorld(free={"USDT": D(10000), "ETH": D(5)})
    set_limit(world, "price_collar", "5")
    set_limit(world, "price_collar_volatile", "10")
    set_limit(world, "max_volume_share", "5", **scope)
    world.book()
    return world


def test_the_first_order_of_a_market_waits_for_its_day_and_later_ones_do_not():
    world = with_day_limits(exchange="binance")
    assert place(world) is None
    assert world.sent(QueryDay) == [QueryDay(symbol="ETH/USDT")] and world.placed() == []
    world.day(volume=D(8), low=D(1900), high=D(2100))
    refused = world.problem()
    assert refused.code == errors.QUANTITY_EXCEEDS_MAXIMUM
    assert (refused.details["setting"], refused.details["most"]) == ("max_volume_share", "0.4")
    assert isinstance(place(world, limit(quantity=D("0.4"))), Query)
    assert world.sent(QueryDay) == []
    world.now = 299
    world.book()
    assert isinstance(place(world, limit(quantity=D("0.4"))), Query) and world.sent(QueryDay) == []
    world.now = 300
    world.book()
    assert isinstance(place(world, limit(quantity=D("0.4"))), Query)
    assert world.sent(QueryDay) == [QueryDay(symbol="ETH/USDT")], "read anew in passing"


@pytest.mark.parametrize("high, collar", [("2400", "5"), ("2400.02", "10")])
def test_a_market_that_ranged_widely_has_the_wider_collar(high, collar):
    world = with_day_limits(exchange="binance")
    world.day(volume=D(10**6), low=D(2000), high=D(high))
    refused = place(world, limit("2300"))
    assert (refused.code, refused.details["limit"]) == (errors.PRICE_COLLAR, collar)
    assert isinstance(place(world, limit("2150")), Query) is (collar == "10")


@pytest.mark.parametrize("later, known", [(900, True), (900.1, False)])
def test_an_old_day_is_not_known(later, known):
    world = with_day_limits(exchange="binance")
    world.day(volume=D(1), low=D(2000), high=D(2000))
    world.now = later
    world.book()
    refused = place(world)
    if not known:
        assert refused is None, "it waits for a new one"
        world.now += 5
        world.timer("held", str(world.tokens))
        refused = world.problem()
    assert refused.code == (errors.QUANTITY_EXCEEDS_MAXIMUM if known else errors.MARKET_DATA_STALE)


def test_orders_after_a_long_pause_wait_for_a_new_day():
    world = with_day_limits(exchange="binance")
    world.day(volume=D(10**6), low=D(2000), high=D(2000))
    world.now = 901
    world.book()
    assert place(world) is None and world.sent(QueryDay) == [QueryDay(symbol="ETH/USDT")]
    assert place(world) is None, "nor does the next one pass while the answer is out"
    for _ in range(4):
        world.book()
        assert world.placed() == [], "an old day is no answer"
    world.day(volume=D(8), low=D(1900), high=D(2100))
    answers = [e.answer for e in world.turn.effects if hasattr(e, "answer")]
    assert [a.details["most"] for a in answers] == ["0.4", "0.4"] and world.placed() == []


def test_an_answer_that_does_not_come_is_not_waited_for_by_every_order():
    world = with_day_limits(exchange="binance")
    assert place(world) is None
    world.now = 5
    world.book()
    assert place(world).code == errors.MARKET_DATA_STALE


@pytest.mark.parametrize(
    "scope, code", [({}, errors.MARKET_DATA_STALE), ({"exchange": "binance"}, errors.MARKET_DATA_STALE)]
)
def test_a_share_of_an_unknown_day_that_somebody_has_set_refuses(scope, code):
    world = with_day_limits(**scope)
    assert place(world) is None
    world.day()
    assert world.problem().code == code and world.problem().retry_safe


def test_a_share_of_an_unknown_day_refuses_nothing_by_default():
    world = EngineWorld(limited=True)
    world.book()
    assert isinstance(place(world), Query)


def test_an_exchange_that_does_not_answer_is_waited_for_once():
    world = with_day_limits()
    set_limit(world, "max_volume_share", "default")
    assert place(world) is None
    world.now = 5
    world.timer("held", str(world.tokens))
    assert isinstance(world.answer(), Query)
    assert isinstance(place(world, limit(quantity=D("0.4"))), Query)


# --- An algorithm's own orders


def test_an_algorithms_order_is_made_as_large_as_one_may_be():
    world = opened()
    set_limit(world, "max_order_value", "600")
    query = place(world, smart("1000"))
    (first,) = world.placed()
    assert first.quantity * first.price <= 600 and first.quantity * first.price > 590
    world.ack(
        first.order_id,
        filled_quantity=first.quantity,
        ending=Ending.FILLED,
        fills=(replace(filled(first.order_id, str(first.quantity)), price=first.price),),
    )
    for world.now in range(1, 30):
        world.book()
        world.timer("parent", f"{query.query_id}.1")
    second = world.order(f"{query.query_id}.1.2")
    assert 390 < second.quantity * second.price <= 401
    assert query.status is QueryStatus.WORKING


def test_an_algorithm_waits_for_what_passes_with_time():
    world = opened()
    set_limit(world, "orders_per_minute", "1")
    world.ack(f"{place(world).query_id}.1.1")
    query = place(world, smart())
    assert world.placed() == []
    note = world.engine.parents.progress(query.query_id, at(0))["note"]
    assert note.startswith("waiting for RATE_LIMIT_EXCEEDED")
    for second in range(1, 62):
        world.now = second
        world.book()
        world.timer("parent", f"{query.query_id}.1")
        if world.placed():
            break
    assert second == 61


@pytest.mark.parametrize(
    "command, field",
    [
        (smart("1000"), "start_amount"),
        (replace(smart("1000"), start_amount=None, end_amount=D("0.5")), "end_amount"),
        (
            replace(limit("2010", quantity=D("0.5")), style=Style(algo="classic", time_limit=D(60))),
            "quantity",
        ),
    ],
)
@pytest.mark.parametrize(
    "setting, code", [("credit_limit", errors.CREDIT_LIMIT), ("max_position", errors.POSITION_LIMIT)]
)
def test_what_has_no_room_as_a_whole_is_refused_at_once_with_the_number_that_passes(
    command, field, setting, code
):
    world = opened(free={"USDT": D(10000), "ETH": D(0)})
    world.ack(f"{place(world, limit(quantity=D('0.1'))).query_id}.1.1")  # 200 USD
    scope = {"exchange": "binance"} if setting == "max_position" else {"user": "alice"}
    set_limit(world, setting, "700", **scope)
    refused = place(world, command)
    assert isinstance(refused, Problem) and refused.code == code and world.placed() == []
    details = refused.details
    assert (details["setting"], details["field"]) == (setting, field)
    left = D(details["remaining"])
    assert abs(left - 500) < D("0.5")
    most = D(details["most"])
    asked = getattr(command, field)
    assert asked * D("0.49") < most < asked * D("0.501")
    query = place(world, replace(command, **{field: most}))
    assert isinstance(query, Query), query
    worked_to_the_end(world, query)
    done = world.query(query.query_id)
    assert done.status is QueryStatus.DONE, done


def worked_to_the_end(world, query):
    """Fill every order of a query at its limit, as soon as it is out."""
    for _ in range(80):
        for request in world.placed():
            size = str(request.quantity)
            fill = replace(filled(request.order_id, size, f"X-{request.order_id}", f"f-{request.order_id}"),
                           price=request.price, at=at(world.now))  # fmt: skip
            world.ack(request.order_id, f"X-{request.order_id}", filled_quantity=request.quantity,
                      ending=Ending.FILLED, fills=(fill,))  # fmt: skip
        if world.query(query.query_id).status is not QueryStatus.WORKING:
            return
        world.now += 1
        world.book()
        world.timer("parent", f"{query.query_id}.1")


def test_every_part_of_a_plan_counts_towards_what_has_no_room():
    world = opened(markets=TRIANGLE, free={"USDT": D(10000)})
    for symbol, bid in (("ETH/USDT", "3000"), ("BTC/USDT", "100000"), ("ETH/BTC", "0.02")):
        step = D("0.00001") if symbol == "ETH/BTC" else D(1)
        world.book(symbol, bid=bid, ask=str(D(bid) + step), size="50")
    set_limit(world, "global_credit_limit", "1500")
    refused = place(world, smart("1000"))  # through BTC, where ETH is a third cheaper: 1000 USD twice
    assert refused.code == errors.CREDIT_LIMIT, refused
    assert D(refused.details["value"]) > 1900 and D(refused.details["most"]) < 760


def test_an_algorithm_ends_with_the_code_of_a_limit_that_time_does_not_mend():
    world = opened()
    set_limit(world, "max_order_value", "600")
    query = place(world, smart("1000"))
    (first,) = world.placed()
    set_limit(world, "credit_limit", "1000")
    world.ack(f"{place(world, limit(quantity=D('0.2'))).query_id}.1.1", "X-other")  # takes 400 of it
    fill = replace(filled(first.order_id, str(first.quantity)), price=first.price)
    world.ack(first.order_id, filled_quantity=first.quantity, ending=Ending.FILLED, fills=(fill,))
    for world.now in range(1, 30):
        world.book()
        world.timer("parent", f"{query.query_id}.1")
    ended = world.query(query.query_id)
    assert ended.status is QueryStatus.FAILED and ended.error.code == errors.CREDIT_LIMIT
    assert D(ended.error.details["remaining"]) < 1


def test_an_algorithm_that_may_never_place_ends_with_the_code_when_its_time_is_over():
    world = opened()
    set_limit(world, "max_open_orders", "0")
    query = place(world, smart())
    for second in range(0, 140, 5):
        world.now = second
        world.book()
        world.timer("parent", f"{query.query_id}.1")
    ended = world.query(query.query_id)
    assert ended.status is QueryStatus.FAILED and ended.error.code == errors.MAX_OPEN_ORDERS
    assert world.store.orders == {}


# --- Controls that are judged elsewhere, at their limits

LOT = D("0.0001")


@pytest.mark.parametrize("lots, stopped", [(-1, False), (0, False), (1, True)])
def test_an_order_of_all_that_its_parent_may_spend_passes_and_one_lot_more_is_stopped(
    monkeypatch, lots, stopped
):
    decide = walker.decide
    world = opened()
    place(world, smart("1000"))
    (price,) = (request.price for request in world.placed())

    def all_of_it(seen, now):
        decision = decide(seen, now)
        quantity = D("0.4") + lots * LOT
        return replace(decision, quantity=quantity, price=price) if isinstance(decision, Place) else decision

    monkeypatch.setattr(walker, "decide", all_of_it)
    world = opened()
    query = place(world, smart(str(D("0.4") * price)))
    assert (len(world.placed()) == 0) is stopped
    ended = world.query(query.query_id)
    assert (ended.error is not None and ended.error.code == errors.OVEREXECUTION_GUARD) is stopped


@pytest.mark.parametrize("price, refused", [("2002.98", False), ("2002.99", False), ("2003", True)])
def test_an_order_up_to_a_tick_before_our_own_passes_and_one_tick_further_does_not(price, refused):
    world = opened()
    world.ack(f"{place(world, limit('2003', side=Side.SELL)).query_id}.1.1")
    answer = place(world, limit(price))
    assert (isinstance(answer, Problem) and answer.code == errors.SELF_MATCH) is refused
    assert (len(world.placed()) == 0) is refused


@pytest.mark.parametrize("quantity, refused", [("0.4999", False), ("0.5", False), ("0.5001", True)])
def test_an_order_of_all_the_money_passes_and_one_lot_more_does_not(quantity, refused):
    world = opened(free={"USDT": D(1000)})
    answer = place(world, limit(quantity=D(quantity)))
    assert (isinstance(answer, Problem) and answer.code == errors.FUNDS_INSUFFICIENT) is refused
    assert (len(world.placed()) == 0) is refused


@pytest.mark.parametrize("end", ["cancel", "fill", "restart"])
def test_what_is_being_bought_counts_towards_a_position_until_it_has_come_or_gone(end):
    world = opened(free={"USDT": D(10000), "ETH": D(0)})
    set_limit(world, "max_position", "3000.375")  # one and a half at the middle of the book, 2000.25
    first = f"{place(world, limit(quantity=D(1))).query_id}.1.1"
    if end == "restart":
        world = restarted(world)
        world.tokens = 90
        world.balances(free={"USDT": D(10000), "ETH": D(0)})
    assert place(world, limit(quantity=D("0.5001"))).code == errors.POSITION_LIMIT
    world.ack(first)
    assert place(world, limit(quantity=D("0.5001"))).code == errors.POSITION_LIMIT
    if end == "fill":
        world.now = 1
        world.ack(first, filled_quantity=D(1), ending=Ending.FILLED, fills=(filled(first, "1", when=1),))
        world.book()
        assert place(world, limit(quantity=D("0.5001"))).code == errors.POSITION_LIMIT, "now it is held"
    if end == "cancel":
        world.ack(first, filled_quantity=D(0), ending=Ending.CANCELED)
        assert isinstance(place(world, limit(quantity=D("1.5"))), Query)
    else:
        assert isinstance(place(world, limit(quantity=D("0.5"))), Query)


# --- What halts


def tripped(world):
    (key,) = [key for key in world.wakes() if key[0] == "trip"]
    world.timer(*key)
    (halt,) = world.engine.work.halts.values()
    return halt


def test_repeated_executions_halt_the_user_in_this_market():
    world = opened()
    set_limit(world, "executions_per_minute", "2")
    trade(world)
    trade(world)
    assert place(world).code == errors.EXECUTION_THROTTLE
    halt = tripped(world)
    assert (halt.user, halt.symbol, halt.exchange) == ("alice", "ETH/USDT", None)
    world.now = 120
    world.book()
    assert place(world).code == errors.EXECUTION_THROTTLE, "until it is lifted, not until a minute is over"
    assert isinstance(place(world, user="bob"), Query)
    assert [n.subject for n in world.store.notices if "halted" in n.subject]


def test_a_loss_halts_the_user():
    world = opened()
    set_limit(world, "daily_loss", "99.875")
    trade(world, limit("2000"))
    world.book(bid="1800", ask="1800.5")  # 0.5 ETH bought at 2000: 99.875 lost
    world.ack(f"{place(world).query_id}.1.1")
    world.book(bid="1799", ask="1800.5")
    refused = place(world)
    assert refused.code == errors.LOSS_LIMIT
    halt = tripped(world)
    assert (halt.user, halt.symbol) == ("alice", None)
    assert place(world).code == errors.LOSS_LIMIT


DAY_S = 86400.0
WITH_COIN = (market("ETH/USDT"), market("BNB/USDT", lot="0.001"))


def booked(world, command, price, fee="0", fee_currency="USDT"):
    """Place an order that fills at once at a price, for a fee."""
    query = place(world, command)
    assert isinstance(query, Query), query
    order = world.order(f"{query.query_id}.1.1")
    fill = filled(order.order_id, str(order.quantity), f"X-{order.order_id}", f"f-{order.order_id}", price)
    fill = replace(fill, side=order.side, at=at(world.now), fee=D(fee), fee_currency=fee_currency)
    world.ack(order.order_id, f"X-{order.order_id}", filled_quantity=order.quantity,
              ending=Ending.FILLED, fills=(fill,))  # fmt: skip
    return world.store.fills([order.order_id])[0]


def lost(world):
    rows = {row["setting"]: row for row in world.engine.risk.used("alice", at(world.now))}
    return rows["daily_loss"]["used"]


def test_the_days_loss_is_what_get_pnl_says_and_what_is_open_of_the_day():
    world = EngineWorld(markets=WITH_COIN, free={"USDT": D(10000), "ETH": D(0), "BNB": D(5)})
    world.book()
    world.book("BNB/USDT", bid="599", ask="601")
    set_limit(world, "daily_loss", "1000")
    booked(world, limit(quantity=D(1)), "3000")  # yesterday, and dear
    world.now = DAY_S + 10
    world.book(bid="1999", ask="2001")
    world.book("BNB/USDT", bid="599", ask="601")
    world.balances(free={"USDT": D(10000), "ETH": D(1), "BNB": D(5)})
    assert lost(world) == 0, "yesterday's purchase is yesterday's"
    today = [booked(world, limit(side=Side.SELL, quantity=D("0.4")), "2000", "0.002", "BNB")]
    assert lost(world) == D("401.2") == -D(result_of(today, "USDT")["pnl"]), "sold below cost, and the fee"
    today.append(booked(world, limit(quantity=D("0.2")), "2000"))
    today.append(booked(world, limit(side=Side.SELL, quantity=D("0.1")), "2000"))
    world.book(bid="1899", ask="1901")
    earned = D(result_of(today, "USDT")["pnl"])
    assert lost(world) == -earned, "what was bought today went too"
    today.append(booked(world, limit(quantity=D("0.5")), "2000"))
    world.book(bid="1899", ask="1901")
    open_of_the_day = (D("0.2") + D("0.5") - D("0.4") - D("0.1")) * (1900 - 2000)
    earned = D(result_of(today, "USDT")["pnl"])
    assert lost(world) == -(earned + open_of_the_day)
    again = restarted(world)
    again.book(bid="1899", ask="1901")
    again.book("BNB/USDT", bid="599", ask="601")
    assert lost(again) == lost(world)


def test_books_of_what_was_traded_today_are_looked_at_before_the_loss_is_unknown():
    world = EngineWorld(markets=WITH_COIN, free={"USDT": D(10000), "ETH": D(0), "BNB": D(5)})
    world.book()
    set_limit(world, "daily_loss", "1000")
    booked(world, limit(quantity=D("0.5")), "2000")
    world.now = 1000  # nobody has looked at it for long
    world.book("BNB/USDT", bid="599", ask="601")
    coin = limit(symbol="BNB/USDT", price="600", quantity=D("0.5"))
    assert place(world, coin) is None, "the book of what was bought today is wanted first"
    world.now = 1001
    world.book(bid="1999", ask="2001")
    answer = world.answer()
    assert isinstance(answer, Query), answer


@pytest.mark.parametrize(
    ("setting", "value", "scope", "field"),
    [
        ("allowed_order_types", "market,limitt", {}, "value"),
        ("allowed_exchanges", "krakn", {}, "value"),
        ("allowed_symbols", "ETH/USDT,FOO/BAR", {}, "value"),
        ("max_order_value", "100", {"symbol": "FOO/BAR"}, "symbol"),
        ("max_order_value", "100", {"exchange": "foo"}, "exchange"),
    ],
)
def test_a_limit_with_a_name_that_nobody_has_is_refused(setting, value, scope, field):
    world = opened()
    refused = set_limit(world, setting, value, **scope)
    assert isinstance(refused, Problem) and refused.code == errors.REQUEST_FIELD_INVALID, refused
    assert refused.details["field"] == field
    world.book()
    assert isinstance(place(world), Query)


def unclear(world, count):
    for _ in range(count):
        query = place(world)
        world.venue(OutcomeUnknown(order_id=f"{query.query_id}.1.1", request="create", message="timeout"))


def test_orders_without_a_clear_answer_halt_the_exchange():
    world = opened()
    set_limit(world, "unknowns_per_minute", "5")
    unclear(world, 4)
    assert not [key for key in world.wakes() if key[0] == "trip"]
    world.now = 61
    world.book()
    unclear(world, 4)
    assert not [key for key in world.wakes() if key[0] == "trip"], "the first four are a minute old"
    unclear(world, 1)
    halt = tripped(world)
    assert (halt.exchange, halt.user, halt.source) == ("binance", None, errors.VENUE_BREAKER)
    assert place(world).code == errors.VENUE_BREAKER


def no_trip(world):
    return not [key for key in world.wakes() if key[0] == "trip"]


@pytest.mark.parametrize("later, halts", [(60, True), (60.001, False)])
def test_orders_without_a_clear_answer_are_counted_on_after_a_restart(later, halts):
    world = opened()
    set_limit(world, "unknowns_per_minute", "5")
    unclear(world, 4)
    again = restarted(world)
    again.tokens, again.now = 90, later
    again.book()
    unclear(again, 1)
    assert no_trip(again) is not halts
    if halts:
        assert tripped(again).source == errors.VENUE_BREAKER


def answers(world, refused, accepted, refusal=Refusal.PERMANENT):
    for n in range(refused + accepted):
        order_id = f"{place(world).query_id}.1.1"
        if n < refused:
            world.venue(Rejected(order_id=order_id, refusal=refusal, message="no"))
        else:
            world.ack(order_id, f"X{order_id}")


@pytest.mark.parametrize("refused, halts", [(9, False), (10, False), (11, True)])
def test_refusals_halt_the_exchange(refused, halts):
    world = opened(free={"USDT": D(10**6)})
    set_limit(world, "reject_share", "50")
    answers(world, 0, 20 - refused)
    answers(world, refused, 0)
    assert bool([key for key in world.wakes() if key[0] == "trip"]) is halts


def test_refusals_are_counted_on_after_a_restart_and_not_again_after_the_halt_they_led_to():
    world = opened(free={"USDT": D(10**6)})
    set_limit(world, "reject_share", "50")
    answers(world, 0, 9)
    answers(world, 10, 0)
    again = restarted(world)
    again.tokens = 900
    again.balances(free={"USDT": D(10**6)})
    answers(again, 1, 0)
    halt = tripped(again)
    assert (halt.exchange, halt.reason.split(":")[0]) == ("binance", "reject_share")
    again.submit(ResumeTrading(halt_id=halt.halt_id), key="resume", user="adam", role="admin")
    anew = restarted(again)
    anew.tokens = 1900
    anew.now = again.now = 5
    anew.book()
    anew.balances(free={"USDT": D(10**6)})
    answers(anew, 9, 0)
    assert no_trip(anew)
    answers(anew, 0, 9)
    answers(anew, 2, 0)
    assert not no_trip(anew)


def test_cancels_are_counted_and_counted_on_after_a_restart():
    world = opened()
    for n in range(3):
        query = place(world, limit(quantity=D(n + 1) / 10))
        world.ack(f"{query.query_id}.1.1", f"X{n}")
        world.submit(CancelOrder(order_id=f"{query.query_id}.1.1"), key=f"cancel-{n}")
    row = {"scope": "user alice", "used": 3, "unit": "cancels", "seconds": 60}
    for one in (world, restarted(world)):
        assert one.engine.risk.cancels("alice", at(0)) == one.engine.risk.cancels(None, at(60)) == [row]
        assert one.engine.risk.cancels("bob", at(0)) == one.engine.risk.cancels("alice", at(61)) == []


def test_quotes_that_came_too_late_are_no_refusals():
    world = opened(free={"USDT": D(10**6)})
    set_limit(world, "reject_share", "50")
    answers(world, 25, 0, Refusal.POST_ONLY_WOULD_CROSS)
    assert no_trip(world)
    again = restarted(world)
    again.tokens = 900
    again.balances(free={"USDT": D(10**6)})
    answers(again, 0, 1)
    assert no_trip(again)


@pytest.mark.parametrize(
    "held, limit, halts", [("9", "0", True), ("11", "0", False), ("9", "1", False), ("9", "0.99", True)]
)
def test_what_is_missing_halts_the_account_and_what_is_too_much_does_not(held, limit, halts):
    world = opened()
    set_limit(world, "ledger_mismatch", limit)
    found = [Difference(currency="USDT", held=D(held), least=D(10), most=D(10))]
    world.do(
        lambda now: (
            world.engine._out.begin(now),
            world.engine.reconciliation.on_mismatch(world.account, found, now),
        )[0]
    )
    if not halts:
        assert not [key for key in world.wakes() if key[0] == "trip"]
        return
    halt = tripped(world)
    assert (halt.exchange, halt.account, halt.source) == ("binance", "default", errors.LEDGER_MISMATCH)
    assert place(world).code == errors.LEDGER_MISMATCH


# --- A warning

TWO = (market("ETH/USDT"), market("BTC/USDT"))


def warnings(world):
    return [n for n in world.turn.records if isinstance(n, Notice) and n.event == "concentration"]


def told(world, **free):
    world.balances(free={currency: D(amount) for currency, amount in free.items()})
    return [n.subject for n in warnings(world)]


def test_an_asset_that_is_most_of_the_equity_is_told_once_until_it_is_less_again():
    world = EngineWorld(markets=TWO, free={"USDT": D(2000)})
    set_limit(world, "concentration_warning", "50")
    world.book(bid="1999", ask="2001")
    world.book("BTC/USDT", bid="9999", ask="10001")
    assert told(world, USDT="2000", ETH="1") == [], "at its limit"
    assert told(world, USDT="1999.99", ETH="1") == ["ETH is 50 % of what the paper accounts hold"]
    assert told(world, USDT="1000", ETH="1") == [], "once"
    assert told(world, USDT="2000", ETH="1") == []
    assert told(world, USDT="1000", ETH="1") == ["ETH is 66.7 % of what the paper accounts hold"], "again"
    assert told(world, USDT="1000") == [] and told(world, USDT="1000", ETH="1") != [], "gone, and again"
    assert told(world, USDT="1000", ETH="1", BTC="0.3") == [], "at its limit"
    assert told(world, USDT="1000", ETH="1", BTC="0.31") == ["BTC is 50.8 % of what the paper accounts hold"]


def test_dollars_are_no_position_and_what_has_no_price_is_named():
    world = EngineWorld(free={"USDT": D(2000)})
    set_limit(world, "concentration_warning", "50")
    assert told(world, USDT="90", USDC="10", XYZ="7") == []
    world.book(bid="1999", ask="2001")
    told(world, USDT="90", ETH="1", XYZ="7")
    (notice,) = warnings(world)
    assert notice.severity == "warning" and "ETH is worth 2000 of 2090 USD; without XYZ" in notice.failed
    off = opened()
    assert told(off, USDT="1", ETH="5") == []


# --- Setting limits


def test_tightening_ones_own_is_instant_and_on_record():
    world = opened()
    command = SetLimit(setting="max_order_value", value="500", user="alice")
    answer = world.submit(command, key="t1", role="trade")
    assert isinstance(answer, Query) and answer.status is QueryStatus.DONE
    assert place(world).code == errors.NOTIONAL_EXCEEDS_MAX_PER_ORDER
    row = world.store.risk_limits[-1]
    assert (row.setting, row.old, row.new, row.set_by, row.user) == (
        "max_order_value",
        "default",
        "500",
        "alice",
        "alice",
    )


@pytest.mark.parametrize(
    "command",
    [
        SetLimit(setting="max_order_value", value="10001", user="alice"),
        SetLimit(setting="max_order_value", value="off", user="alice"),
        SetLimit(setting="max_order_value", value="1"),
        SetLimit(setting="max_order_value", value="1", user="bob"),
        SetLimit(setting="max_order_value", value="1", exchange="binance"),
    ],
)
def test_loosening_and_limits_of_others_need_an_admin(command):
    world = EngineWorld(limited=True)
    answer = world.submit(command, key="t1", role="trade")
    assert isinstance(answer, Problem) and answer.code == errors.AUTH_FORBIDDEN
    assert world.store.risk_limits == []
    assert isinstance(world.submit(command, key="t2", role="admin"), Query)


@pytest.mark.parametrize(
    "command",
    [
        SetLimit(setting="credit_limt", value="1"),
        SetLimit(setting="credit_limit", value="much"),
        SetLimit(setting="global_credit_limit", value="1", user="alice"),
        SetLimit(setting="credit_limit", value="1", account="main"),
    ],
)
def test_what_cannot_be_set_is_refused_by_field(command):
    world = opened()
    answer = world.submit(command, key="t1", role="admin")
    assert answer.code == errors.REQUEST_FIELD_INVALID and answer.details["field"]


def test_what_is_used_and_what_is_left():
    world = opened()
    set_limit(world, "credit_limit", "5000")
    place(world)
    rows = {row["setting"]: row for row in world.engine.risk.used("alice", at(0))}
    assert (rows["credit_limit"]["used"], rows["credit_limit"]["remaining"]) == (D(1000), D(4000))
    assert rows["credit_limit"]["scope"] == "user alice, exchange binance"
    assert world.engine.risk.used("bob", at(0)) == []
