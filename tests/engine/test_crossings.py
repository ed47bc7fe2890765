"""Opposite orders of different bots on one account meet inside before they go out."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.messages import (
    CancelAcked,
    CancelAllOrders,
    CancelOrder,
    CancelRequest,
    Found,
    LimitOrder,
    MarketOrder,
    OrderStatus,
    OutcomeUnknown,
    Side,
    Style,
    TimeInForce,
)
from ems.core.order import fold
from ems.core.records import Fill, Order, ParentState, Phase, Query, QueryStatus, Status
from tests.builders import at, fill, market
from tests.engine.world import EngineWorld

D = Decimal
MONEY = {"USDT": D(100_000), "ETH": D(50)}
FEE = D("0.001")


def limit(side, price, quantity="2", **fields):
    return LimitOrder(
        exchange="binance", symbol="ETH/USDT", side=side, quantity=D(quantity), price=D(price), **fields
    )


def take(side, quantity="2", **fields):
    return MarketOrder(exchange="binance", symbol="ETH/USDT", side=side, quantity=D(quantity), **fields)


def matching(free=MONEY):
    world = EngineWorld(free=dict(free))
    world.account.internal_matching = True
    world.book()  # 2000 / 2000.5
    return world


def resting(side=Side.SELL, price="2000.5", quantity="2", **ticket):
    """Return a world in which bot "maker" has this order at the exchange."""
    world = matching()
    world.submit(limit(side, price, quantity), key="rests", query_id="r", bot="maker", **ticket)
    world.ack("r.1.1", exchange_id="R1")
    return world


def crossed(world, bot=None):
    """Return the internal orders the store has, by bot."""
    orders = [o for o in world.store.orders.values() if o.cross_id is not None]
    return [o for o in orders if bot in (None, o.bot)]


def sides_agree(world):
    """Every cross has two sides, in the store and to the last digit."""
    by_cross = {}
    for record in world.store.fill_rows.values():
        if record.cross_id is not None:
            by_cross.setdefault(record.cross_id, []).append(record)
    for pair in by_cross.values():
        assert sorted(f.side for f in pair) == ["buy", "sell"]
        assert pair[0].quantity == pair[1].quantity and pair[0].price == pair[1].price
        assert all(f.fee == 0 for f in pair)
        assert (pair[0].user, pair[0].bot) != (pair[1].user, pair[1].bot)
    return len(by_cross)


def test_a_market_order_meets_what_another_bot_rests_and_nothing_goes_out():
    world = resting()
    before = dict(world.account.holdings.total)
    held = world.submit(take(Side.BUY), key="comes", query_id="c", bot="taker")
    assert held is None and world.placed() == [], "it waits until the other has come back for certain"
    assert [r.order_id for r in world.sent(CancelRequest)] == ["r.1.1"]
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert world.placed() == []
    buy, sell = crossed(world, "taker")[0], crossed(world, "maker")[0]
    assert buy.status is sell.status is Status.FILLED
    assert buy.cross_id == sell.cross_id and buy.price == D("2000.5"), "the seller's limit is the touch"
    assert buy.filled_quantity == sell.filled_quantity == 2
    assert buy.fee_saved == FEE * 2 * D("2000.5") and set(buy.fees.values()) == {D(0)}
    assert buy.exchange_order_id is None
    assert sides_agree(world) == 1
    assert world.account.holdings.total == before, "the account holds what it held"
    query = world.answer()
    assert isinstance(query, Query) and query.status is QueryStatus.DONE
    assert world.query("c").result["crossed"][0]["quantity"] == "2"
    assert all(world.engine.work.parents[p].state is ParentState.DONE for p in ("c.1", "r.1"))


def test_the_lifecycle_of_a_side_is_an_ordinary_one_and_folds():
    world = resting()
    world.submit(take(Side.BUY), key="comes", query_id="c", bot="taker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    (order,) = crossed(world, "taker")
    history = world.store.history(order.order_id)
    assert [entry.status for entry in history] == ["created", "pending", "submitted", "filled"]
    assert fold(history) == replace(order, fill_ids=frozenset({order.cross_id}))


def test_what_filled_while_it_was_called_back_does_not_meet_twice_and_the_rest_goes_out():
    world = resting()
    world.submit(take(Side.BUY, "3"), key="comes", query_id="c", bot="taker")
    late = fill("f1", "0.5", price="2000.5", side=Side.SELL, order_id="r.1.1", exchange_order_id="R1")
    world.venue(late)
    assert crossed(world) == []
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D("0.5")))
    assert crossed(world, "maker")[0].filled_quantity == D("1.5")
    (out,) = world.placed()
    assert out.side is Side.BUY and out.quantity == D("1.5"), "what nobody inside had"
    assert sides_agree(world) == 1
    sold = sum(o.filled_quantity for o in world.store.orders.values() if o.bot == "maker")
    assert sold == 2
    assert world.order(out.order_id).replaces == crossed(world, "taker")[0].order_id


def test_the_rest_of_what_was_called_back_goes_out_again_at_its_price():
    world = resting(quantity="5")
    world.submit(take(Side.BUY, "2"), key="comes", query_id="c", bot="taker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    (out,) = world.placed()
    assert (out.side, out.quantity, out.price) == (Side.SELL, D(3), D("2000.5"))
    assert world.order(out.order_id).bot == "maker"
    world.ack(out.order_id, exchange_id="R2")
    world.submit(CancelOrder(order_id="r.1.1"), key="cancel", query_id="k", bot="maker")
    assert [r.order_id for r in world.sent(CancelRequest)] == [out.order_id], "its old name still serves"


def test_all_that_was_called_back_was_filled_outside_meanwhile():
    world = resting()
    world.submit(take(Side.BUY), key="comes", query_id="c", bot="taker")
    world.venue(fill("f1", "2", price="2000.5", side=Side.SELL, order_id="r.1.1", exchange_order_id="R1"))
    assert crossed(world) == []
    (out,) = world.placed()
    assert (out.side, out.quantity) == (Side.BUY, D(2)), "nobody is in the way: it goes out"


def test_in_doubt_nothing_meets_and_the_order_is_refused_and_the_other_goes_out_when_it_is_certain():
    world = resting()
    world.submit(take(Side.BUY), key="comes", query_id="c", bot="taker")
    world.venue(OutcomeUnknown(order_id="r.1.1", request="cancel", message="timeout"))
    world.now = 5.1
    world.book()
    world.timer("held", "2")
    assert world.problem().code == errors.SELF_MATCH
    assert crossed(world) == [] and world.placed() == []
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D("0.5")))
    assert world.placed() == [], "a fill of it is still to come"
    world.venue(fill("f1", "0.5", price="2000.5", side=Side.SELL, order_id="r.1.1", exchange_order_id="R1"))
    (out,) = world.placed()
    assert (out.side, out.quantity, out.price) == (Side.SELL, D("1.5"), D("2000.5"))
    assert crossed(world) == []


def test_a_stale_book_lets_nothing_meet():
    world = resting()
    world.submit(limit(Side.BUY, "2000.5"), key="comes", query_id="c", bot="taker")
    world.now = 5.0
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert crossed(world), "five seconds old may still be traded on"
    world = resting()
    world.submit(limit(Side.BUY, "2000.5"), key="comes", query_id="c", bot="taker")
    world.now = 5.1
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert crossed(world) == []
    assert world.problem().code == errors.SELF_MATCH
    assert [(o.side, o.quantity) for o in world.placed()] == [(Side.SELL, D(2))]


@pytest.mark.parametrize(("taker", "price"), [("2000.5", "2000.5"), ("2003", "2000.5")])
def test_limits_of_both_are_kept_and_better_is_given_where_the_book_has_it(taker, price):
    world = resting()
    world.submit(limit(Side.BUY, taker), key="comes", query_id="c", bot="taker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert {o.price for o in crossed(world)} == {D(price)}


def test_the_book_without_what_came_back_gives_the_middle():
    """Nobody else offers below 2004: both get the middle of what is left, which is better for the seller."""
    world = resting()
    world.submit(limit(Side.BUY, "2005"), key="comes", query_id="c", bot="taker")
    world.book(ask="2004")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert {o.price for o in crossed(world)} == {D("2002")}


def test_a_bot_never_meets_itself():
    world = resting()
    refused = world.submit(take(Side.BUY), key="comes", query_id="c", bot="maker")
    assert refused.code == errors.SELF_MATCH and world.sent(CancelRequest) == []


def test_another_users_order_of_the_same_bot_name_may_be_met():
    world = resting(user="bob")
    world.submit(take(Side.BUY), key="comes", query_id="c", bot="maker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert {o.user for o in crossed(world)} == {"alice", "bob"}


def test_where_it_is_not_asked_for_nothing_meets():
    world = resting()
    world.account.internal_matching = False
    assert world.submit(take(Side.BUY), key="comes", bot="taker").code == errors.SELF_MATCH
    assert world.sent(CancelRequest) == []


def test_all_or_nothing_meets_all_or_nothing():
    world = resting(quantity="1")
    fok = limit(Side.BUY, "2000.5", "2", time_in_force=TimeInForce.FOK)
    world.submit(fok, key="comes", query_id="c", bot="taker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert crossed(world) == []
    assert world.answer().code == errors.SELF_MATCH
    assert [(o.side, o.quantity) for o in world.placed()] == [(Side.SELL, D(1))]


def test_a_cancel_overtakes_what_was_called_back():
    world = resting()
    world.submit(take(Side.BUY), key="comes", query_id="c", bot="taker")
    world.submit(CancelOrder(order_id="r.1.1"), key="cancel", query_id="k", bot="maker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert crossed(world) == []
    assert [(o.side, o.quantity) for o in world.placed()] == [(Side.BUY, D(2))], "and the other goes out"
    assert world.engine.work.parents["r.1"].state is ParentState.DONE


def test_a_cancel_reaches_a_rest_that_waits_here():
    world = resting()
    world.submit(limit(Side.BUY, "2000.5"), key="comes", query_id="c", bot="taker")
    world.submit(CancelOrder(client_order_id="comes"), key="no", query_id="n", bot="taker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert world.placed() == [], "it waits a moment for another"
    answer = world.submit(CancelOrder(order_id="r.1.1"), key="cancel", query_id="k", bot="maker")
    assert isinstance(answer, Query)
    world.now = 7.0
    world.timer("parent", "r.1")
    assert world.placed() == [] and world.engine.work.parents["r.1"].state is ParentState.DONE


def test_the_money_of_what_was_called_back_is_nobody_elses():
    world = matching(free={"USDT": D(10_000), "ETH": D(2)})
    world.submit(limit(Side.SELL, "2000.5"), key="rests", query_id="r", bot="maker")
    world.ack("r.1.1", exchange_id="R1")
    world.submit(limit(Side.BUY, "2000.5"), key="comes", query_id="c", bot="taker")
    world.submit(CancelOrder(client_order_id="comes"), key="no", query_id="n", bot="taker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    refused = world.submit(limit(Side.SELL, "2100", "1"), key="third", query_id="t", bot="third")
    assert refused.code == errors.FUNDS_INSUFFICIENT


def test_called_back_for_somebody_who_went_away_it_goes_out_again():
    world = resting()
    world.submit(limit(Side.BUY, "2000.5"), key="comes", query_id="c", bot="taker")
    world.submit(CancelAllOrders(), key="no", query_id="n", bot="taker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    world.now = 6.0
    world.timer("parent", "r.1")
    assert [(o.side, o.quantity, o.price) for o in world.placed()] == [(Side.SELL, D(2), D("2000.5"))]


@pytest.mark.parametrize("settled", [False, True])
def test_a_restart_while_it_is_called_back_sends_the_rest_out_again(settled):
    late = fill("f1", "0.5", price="2000.5", side=Side.SELL, order_id="r.1.1", exchange_order_id="R1")
    first = resting()
    first.submit(take(Side.BUY), key="comes", query_id="c", bot="taker")
    if settled:
        first.submit(CancelOrder(client_order_id="comes"), key="no", query_id="n", bot="taker")
        first.venue(late)
        first.venue(CancelAcked(order_id="r.1.1", filled_quantity=D("0.5")))
    world = EngineWorld(free=dict(MONEY), store=first.store)
    if not settled:
        gone = OrderStatus(
            order_id="r.1.1", found=Found.CLOSED, filled_quantity=D("0.5"), ending="canceled",
            query_sent_at=at(1),
        )  # fmt: skip
        world.venue(gone)
        world.venue(late)
    out = [o for o in world.engine.work.orders_of_parent("r.1") if o.phase is not Phase.SETTLED]
    assert [(o.side, o.quantity, o.price) for o in out] == [(Side.SELL, D("1.5"), D("2000.5"))]
    assert crossed(world) == []


def test_a_restart_after_a_cross_knows_both_sides():
    first = resting(quantity="5")
    first.submit(take(Side.BUY, "2"), key="comes", query_id="c", bot="taker")
    first.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    world = EngineWorld(free=dict(MONEY), store=first.store)
    orders = world.engine.work.orders_of_parent("r.1")
    assert [(o.quantity, o.filled_quantity, o.cross_id is not None) for o in orders] == [
        (D(5), D(0), False),
        (D(2), D(2), True),
        (D(3), D(0), False),
    ]


def test_both_sides_are_recorded_in_one_turn():
    world = resting()
    world.submit(take(Side.BUY), key="comes", query_id="c", bot="taker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    fills = [r for r in world.turn.records if isinstance(r, Fill)]
    orders = {r.order_id for r in world.turn.records if isinstance(r, Order) and r.cross_id}
    assert len(fills) == 2 and {f.order_id for f in fills} == orders
    assert {f.fill_id for f in fills} == {"cross-c.1.1"}


# --- Legs ---------------------------------------------------------------------------------------------


def working(side=Side.SELL, quantity="3", **style):
    """Return a world in which bot "slow" works this over a minute; nothing of it trades at once."""
    world = matching()
    command = replace(
        take(side, quantity), style=Style(algo="twap", time_limit=D(60), params={"slots": "2"}, **style)
    )
    world.submit(command, key="works", query_id="w", bot="slow")
    return world


def rest_of_leg(world):
    orders = world.engine.work.orders_of_parent("w.1")
    return 3 - sum(o.filled_quantity + (0 if o.phase is Phase.SETTLED else o.quantity) for o in orders)


def test_an_order_meets_what_a_leg_has_not_placed_at_the_middle():
    world = working()
    there = rest_of_leg(world)
    assert there > 1
    world.submit(take(Side.BUY, "1"), key="comes", query_id="c", bot="taker")
    assert {o.price for o in crossed(world)} == {D("2000.25")}
    assert {o.bot: o.filled_quantity for o in crossed(world)} == {"taker": D(1), "slow": D(1)}
    assert [o.side for o in world.placed()] == [] and sides_agree(world) == 1
    assert rest_of_leg(world) == there - 1


def test_what_a_leg_rests_is_called_back_too_and_no_more_meets_than_it_has_left():
    world = working()
    (child,) = [o for o in world.engine.work.orders_of_parent("w.1") if o.phase is not Phase.SETTLED]
    world.ack(child.order_id, exchange_id="W1")
    world.submit(take(Side.BUY, "10"), key="comes", query_id="c", bot="taker")
    assert [r.order_id for r in world.sent(CancelRequest)] == [child.order_id] and crossed(world) == []
    part = fill("f1", "0.5", price="2000.5", side=Side.SELL, exchange_order_id="W1", fee_currency="USDT")
    world.venue(replace(part, order_id=child.order_id))
    world.venue(CancelAcked(order_id=child.order_id, filled_quantity=D("0.5")))
    assert sum(o.filled_quantity for o in crossed(world, "slow")) == D("2.5")
    assert [(o.side, o.quantity) for o in world.placed()] == [(Side.BUY, D("7.5"))]
    assert world.query("w").status is QueryStatus.DONE, "it has sold everything"
    assert sides_agree(world) == 1


def test_a_leg_that_would_never_take_meets_nobody_and_keeps_its_place():
    world = working(on_timeout="cancel")
    (child,) = [o for o in world.engine.work.orders_of_parent("w.1") if o.phase is not Phase.SETTLED]
    world.ack(child.order_id, exchange_id="W1")
    answer = world.submit(take(Side.BUY, "1"), key="comes", query_id="c", bot="taker")
    assert crossed(world) == [] and world.sent(CancelRequest) == []
    assert answer.code == errors.SELF_MATCH


def test_a_passive_order_does_not_get_a_leg_for_less_than_the_middle():
    world = working()
    world.submit(limit(Side.BUY, "2000.1", "1"), key="comes", query_id="c", bot="taker")
    assert crossed(world) == []


def test_a_take_of_a_leg_meets_the_leg_of_another():
    world = working()
    command = replace(take(Side.BUY, "1"), style=Style(algo="market"))
    world.submit(command, key="buys", query_id="b", bot="fast")
    assert {o.bot: o.filled_quantity for o in crossed(world)} == {"fast": D(1), "slow": D(1)}
    assert world.engine.work.parents["b.1"].state is ParentState.DONE
    assert world.query("b").result["crossed"][0]["quantity"] == "1"
    assert sides_agree(world) == 1


def test_where_resting_is_paid_for_the_seller_gets_it_inside_too():
    world = EngineWorld(free=dict(MONEY), markets=(market("ETH/USDT", maker_fee="-0.0001"),))
    world.account.internal_matching = True
    world.book(bid="2000", ask="2001")
    world.submit(limit(Side.SELL, "2000.6"), key="rests", query_id="r", bot="maker")
    world.ack("r.1.1", exchange_id="R1")
    world.submit(limit(Side.BUY, "2001"), key="comes", query_id="c", bot="taker")
    world.venue(CancelAcked(order_id="r.1.1", filled_quantity=D(0)))
    assert {o.price for o in crossed(world)} == {D("2000.81")}
    assert crossed(world, "maker")[0].fee_saved < 0, "said as it is"
