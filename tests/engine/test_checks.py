"""Plain orders judged by an exchange's rules: all problems at once, what was changed, who holds the money."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.child import Patience
from ems.core.instrument import PriceBand, Rules
from ems.core.messages import (
    EditOrder,
    Ending,
    LimitOrder,
    MarketOrder,
    OrderType,
    PlaceOrder,
    PriceBounds,
    QueryBalances,
    Side,
    Style,
    WatchBook,
)
from ems.core.records import Query, QueryStatus
from ems.engine.account import Account
from ems.engine.submissions import LOOK_FIRST_S
from tests.builders import at, market, smart_order
from tests.engine.world import EngineWorld

D = Decimal
FIVEFOLD = PriceBand(buy_low=D("0.2"), buy_high=D(5), sell_low=D("0.2"), sell_high=D(5))


def limit(quantity="1", price="1900", side=Side.BUY, **fields):
    values = {"exchange": "binance", "symbol": "ETH/USDT", "side": side, **fields}
    return LimitOrder(quantity=D(quantity), price=D(price), **values)


def ruled(**rules):
    return (market("ETH/USDT", rules=Rules(**rules)),)


def problems(answer):
    return [(row["code"], row["rule"], row["nearest"]) for row in answer.details["problems"]]


def test_all_problems_come_at_once_and_nothing_is_sent():
    world = EngineWorld(markets=ruled(max_price=D(3000), max_open_orders=0))
    answer = world.submit(limit("9000.5", "3000.01"))
    assert problems(answer) == [
        ("PRICE_INVALID", "max_price", "3000"),
        ("AMOUNT_TOO_LARGE", "max_quantity", "9000"),
        ("ORDER_LIMIT_REACHED", "max_open_orders", None),
        ("FUNDS_INSUFFICIENT", "funds", "3.3333"),
    ]
    assert answer.code == errors.PRICE_INVALID and "(and 3 more" in answer.message
    assert (world.placed(), world.store.load_orders() if hasattr(world.store, "load_orders") else []) == (
        [],
        [],
    )
    assert world.engine.work.parents == {}


def test_what_was_rounded_is_told_at_once_in_the_record_and_at_the_end():
    world = EngineWorld()
    query = world.submit(limit("1.00009", "1900.005"))
    (request,) = world.placed()
    assert (request.quantity, request.price) == (D(1), D("1900"))
    changed = [(c["field"], c["asked"], c["used"]) for c in query.result["corrections"]]
    assert changed == [("price", "1900.005", "1900"), ("quantity", "1.00009", "1")]
    assert query.parameters["quantity"] == "1.00009", "what was asked stays as it was asked"
    recorded = [r for r in world.turn.records if isinstance(r, Query)]
    assert recorded[-1].result == query.result, "in the transaction of the intent"
    world.ack("q1.1.1")
    assert world.query().status is QueryStatus.DONE
    assert world.query().result["corrections"] == query.result["corrections"]


def test_an_order_that_needs_no_change_has_none():
    world = EngineWorld()
    assert world.submit(limit()).result is None
    world.ack("q1.1.1")
    assert world.query().result["corrections"] == []


def test_too_small_is_refused_with_what_would_pass_or_raised_where_allowed():
    world = EngineWorld()
    refused = world.submit(limit("0.001"))
    assert problems(refused) == [("AMOUNT_TOO_SMALL", "min_notional", "0.0027")]
    assert "at least 0.0027 ETH" in refused.hint
    query = world.submit(limit("0.001", raise_to_minimum=True), key="key-2")
    (request,) = world.placed()
    assert request.quantity == D("0.0027")
    (change,) = query.result["corrections"]
    assert (change["field"], change["asked"], change["used"]) == ("quantity", "0.001", "0.0027")


def test_what_would_pass_does_pass():
    world = EngineWorld()
    (row,) = world.submit(limit("0.001")).details["problems"]
    world.submit(limit(row["nearest"]), key="key-2")
    assert len(world.placed()) == 1


def test_a_raise_the_money_does_not_reach_sends_nothing():
    world = EngineWorld(free={"USDT": D(4)})
    answer = world.submit(limit("0.001", raise_to_minimum=True))
    assert problems(answer) == [("FUNDS_INSUFFICIENT", "funds", None)]
    assert world.placed() == []


def test_a_dry_run_shows_the_same():
    world = EngineWorld()
    query = world.submit(limit("0.001", "1900.005", raise_to_minimum=True), dry_run=True)
    assert (query.result["amount"], query.result["price"]) == ("0.0027", "1900")
    assert [c["field"] for c in query.result["corrections"]] == ["price", "quantity"]
    assert world.placed() == [] and world.turn.records == []


# --- Bands of prices ---------------------------------------------------------------------------------


def test_a_band_of_prices_is_measured_from_a_book_that_is_fetched_first():
    world = EngineWorld(markets=ruled(band=FIVEFOLD))
    assert world.submit(limit("1", "399")) is None
    assert world.sent(WatchBook) and world.placed() == []
    world.book()
    (row,) = world.problem().details["problems"]
    # The middle is 2000.25.
    assert (row["code"], row["limit"], row["nearest"]) == ("PRICE_INVALID", "400.05", "400.05")


def test_without_a_book_the_exchange_judges_its_band_itself():
    world = EngineWorld(markets=ruled(band=FIVEFOLD))
    world.submit(limit("1", "399"))
    world.now += LOOK_FIRST_S
    world.timer("held", str(world.tokens))
    assert [r.price for r in world.placed()] == [D(399)]
    world.submit(limit("1", "398"), key="key-2")
    assert [r.price for r in world.placed()] == [D(398)], "one that did not come is not waited for again"


def test_a_market_without_a_band_waits_for_no_book():
    world = EngineWorld()
    world.submit(limit("1", "1"))
    assert len(world.placed()) == 0 and world.problem().code == errors.AMOUNT_TOO_SMALL


# --- How many ----------------------------------------------------------------------------------------


def test_orders_that_are_open_are_counted_until_they_have_ended():
    world = EngineWorld(markets=ruled(max_open_orders=2))
    for number in (1, 2):
        world.submit(limit("0.01"), key=f"key-{number}")
        world.ack(f"q{number}.1.1", f"X{number}")
    third = world.submit(limit("0.01"), key="key-3")
    (row,) = third.details["problems"]
    assert (row["code"], row["value"], row["limit"]) == ("ORDER_LIMIT_REACHED", 2, 2)
    world.ack("q2.1.1", "X2", ending=Ending.CANCELED, filled_quantity=D(0))
    world.submit(limit("0.01"), key="key-4")
    assert len(world.placed()) == 1


def test_an_order_that_waits_with_us_is_none_at_the_exchange():
    world = EngineWorld(markets=ruled(max_open_orders=1, max_waiting_orders=0))
    world.book()
    stop = PlaceOrder(
        exchange="binance",
        symbol="ETH/USDT",
        side=Side.SELL,
        quantity=D("0.01"),
        order_type=OrderType.STOP_LOSS,
        stop_price=D(1500),
    )
    assert world.submit(stop).status is QueryStatus.DONE and world.order("q1.1.1").emulated
    world.submit(limit("0.01"), key="key-2")
    assert len(world.placed()) == 1


# --- Money -------------------------------------------------------------------------------------------


def test_a_shortage_says_who_holds_the_money_and_what_can_be_done():
    world = EngineWorld(free={"USDT": D(10_000), "ETH": D(2)})
    world.submit(limit("2", "1900"), key="key-1")
    world.ack("q1.1.1")
    world.submit(limit("1", "1900"), key="key-2", user="bob")
    world.ack("q2.1.1", "X2")
    # 1,000 are held by orders that are not ours.
    world.balances(free={"USDT": D(3300), "ETH": D(2)}, used={"USDT": D(6700)})
    answer = world.submit(limit("2", "1900"), key="key-3")
    (row,) = answer.details["problems"]
    assert row["needed"] == "3800" and row["available"] == "3300" and row["claimed"] == "5700"
    assert row["reserved_by"] == [
        {
            "query_id": "q1",
            "bot": "bot1",
            "exchange": "binance",
            "amount": "3800",
            "order_ids": ["q1.1.1"],
        }
    ]
    assert (row["reserved_by_others"], row["held_elsewhere"]) == ("1900", "1000")
    assert "q2" not in str(answer), "the work of others has no names"
    assert row["choices"] == [
        {"action": "reduce", "field": "quantity", "to": "1.7368"},
        {"action": "cancel", "query_id": "q1", "frees": "3800"},
        {"action": "deposit", "currency": "USDT", "amount": "500"},
    ]
    world.submit(limit("1.7368", "1900"), key="key-4")
    assert len(world.placed()) == 1, "the reduced one passes"


def test_a_smart_order_that_is_short_says_the_same():
    world = EngineWorld(free={"USDT": D(1000), "ETH": D(0)})
    world.submit(limit("0.5", "1900"), key="key-1")
    world.ack("q1.1.1")
    world.book()
    details = world.submit(smart_order("900"), key="key-2").details
    assert [row["query_id"] for row in details["reserved_by"]] == ["q1"]
    assert {"action": "cancel", "query_id": "q1", "frees": "950"} in details["choices"]


def test_no_old_balance_refuses():
    world = EngineWorld()
    world.now += 60
    assert world.submit(limit("100")) is None
    assert world.sent(QueryBalances)
    world.balances()
    assert problems(world.problem()) == [("FUNDS_INSUFFICIENT", "funds", "5.2631")]


# --- Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "near"),
    [("EHT/USDT", "ETH/USDT"), ("USDT/ETH", "ETH/USDT"), ("ETH/USD", "ETH/USDT"), ("XYZ/ABC", None)],
)
def test_an_unknown_symbol_is_answered_with_the_one_that_was_meant(asked, near):
    world = EngineWorld()
    (row,) = world.submit(limit(symbol=asked)).details["problems"]
    assert (row["code"], row["nearest"]) == ("SYMBOL_UNKNOWN", near)


def test_a_pair_that_another_exchange_has_is_said_to_be_there():
    world = EngineWorld()
    other = Account("kraken", "default", mode="paper", patience=Patience(), id_style="uuid")
    other.markets["ZEN/USDT"] = replace(market("ZEN/USDT"), exchange="kraken")
    world.engine.work.accounts[other.key] = other
    answer = world.submit(limit(symbol="ZEN/USDT"))
    assert answer.details["elsewhere"] == ["kraken"] and "traded at kraken" in answer.hint


def test_a_halted_market_is_not_called_unknown():
    halted = (replace(market("ETH/USDT"), active=False),)
    world = EngineWorld(markets=halted)
    for command in (
        limit(),
        MarketOrder(exchange="binance", symbol="ETH/USDT", side=Side.BUY, quantity=D(1)),
        limit(style=Style(algo="classic")),
    ):
        answer = world.submit(command, key=f"key-{world.tokens}")
        assert answer.code == errors.MARKET_NOT_OPEN and answer.details["limit"] == "halted"


# --- Legs of a plan ----------------------------------------------------------------------------------


def started(**rules):
    """Return a world with a smart order of 1000 USDT at work in a market of these rules."""
    world = EngineWorld(markets=ruled(**rules))
    world.book()
    world.submit(smart_order("1000"))
    return world


def test_a_legs_order_is_cut_to_what_may_be_worth_at_most():
    (whole,) = started().placed()
    (cut,) = started(max_notional=D(100)).placed()
    assert whole.quantity * whole.price > 300
    assert D(99) < cut.quantity * cut.price <= 100


def test_a_leg_places_nothing_where_no_more_orders_may_be_open():
    world = EngineWorld(markets=ruled(max_open_orders=1))
    world.submit(limit("0.01"))
    world.ack("q1.1.1")
    world.book()
    world.submit(smart_order("1000"), key="key-2")
    assert world.placed() == []
    leg = world.engine.work.parents["q2.1"].legs[0]
    assert (leg.blocked, leg.code) == (True, errors.ORDER_LIMIT_REACHED)


# --- Between which prices an exchange takes orders just now ------------------------------------------------


def bounded(read_at=0.0, **bounds):
    world = EngineWorld(markets=ruled(band=FIVEFOLD))
    world.book(bid="2000", ask="2000.5")
    bounds = {name: D(value) for name, value in bounds.items()}
    world.venue(PriceBounds(symbol="ETH/USDT", query_sent_at=at(read_at), **bounds))
    return world


@pytest.mark.parametrize(
    ("side", "price", "nearest"),
    [
        (Side.BUY, "2100", None),
        (Side.BUY, "2100.01", "2100"),
        (Side.SELL, "1900", None),
        (Side.SELL, "1899.99", "1900"),
    ],
)
def test_a_price_beyond_what_the_exchange_takes_just_now_is_refused_with_the_nearest(side, price, nearest):
    world = bounded(highest_buy="2100", lowest_sell="1900")
    answer = world.submit(limit(price=price, side=side))
    if nearest is None:
        assert isinstance(answer, Query), answer
        return
    assert problems(answer) == [("PRICE_INVALID", "price_limit", nearest)]
    assert world.placed() == []


def test_what_was_read_too_long_ago_refuses_nothing():
    world = bounded(highest_buy="2100")
    world.now = 20.5
    world.book(bid="2000", ask="2000.5")
    assert isinstance(world.submit(limit(price="2101")), Query)


def test_a_band_is_measured_from_what_the_exchange_measures_it_from():
    world = bounded(reference="3000")
    answer = world.submit(limit(price="599"))
    assert problems(answer) == [("PRICE_INVALID", "price_band", "600")]
    assert isinstance(world.submit(limit(price="600"), key="key-2"), Query)


def test_an_edit_is_judged_by_them_too():
    world = bounded(highest_buy="2100")
    world.submit(limit())
    world.ack("q1.1.1")
    answer = world.submit(EditOrder(order_id="q1.1.1", price=D("2100.01")), key="key-2")
    assert (answer.code, answer.details["rule"]) == (errors.PRICE_INVALID, "price_limit")
