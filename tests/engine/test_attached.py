"""Orders attached to an entry: they follow its fills exactly, and never sell more than it brought."""

from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.messages import (
    CancelAcked,
    CancelOrder,
    CancelRequest,
    EditOrder,
    Exit,
    OrderType,
    PlaceOrder,
    Refusal,
    Rejected,
    Side,
)
from ems.core.order import fold
from ems.core.records import ParentState, Status
from tests.builders import fill, market
from tests.engine.test_order_types import quoted
from tests.engine.world import EngineWorld

D = Decimal
STOP, PROFIT = "q1.2.1", "q1.2.2"


def entry(stop_loss="1900", take_profit="2200", quantity="2", limit=None, **fields):
    return PlaceOrder(
        exchange="binance",
        symbol="ETH/USDT",
        side=Side.BUY,
        quantity=D(quantity),
        order_type=OrderType.LIMIT,
        price=D(2000),
        stop_loss=None if stop_loss is None else Exit(stop_price=D(stop_loss)),
        take_profit=None
        if take_profit is None
        else Exit(stop_price=D(take_profit), price=None if limit is None else D(limit)),
        **fields,
    )


def bought(world, quantity, fill_id="f1", order_id="q1.1.1"):
    filled(world, order_id, quantity, fill_id, "2000")


def filled(world, order_id, quantity, fill_id, price):
    side = world.order(order_id).side
    world.venue(
        fill(
            fill_id,
            quantity,
            price=price,
            when=world.now,
            order_id=order_id,
            side=side,
            fee=D(0),
            fee_currency="USDT",
        )
    )


def entered(command=None, quantity="2", **options):
    world = EngineWorld(**options)
    quoted(world, "2010")
    world.submit(command or entry())
    world.ack("q1.1.1")
    if D(quantity):
        bought(world, quantity)
    return world


def waiting(world):
    return {
        o.purpose: o.quantity
        for o in world.store.orders.values()
        if o.status is Status.CREATED and o.parent_id == "q1.2"
    }


def state(world):
    return world.engine.work.parents["q1.2"].state


def test_nothing_waits_before_there_is_a_fill():
    world = entered(quantity="0")
    assert waiting(world) == {} and state(world) is ParentState.WORKING


def test_they_grow_with_every_fill_in_its_own_transaction():
    world = entered(quantity="0.5")
    assert waiting(world) == {"stop_loss": D("0.5"), "take_profit": D("0.5")}
    kinds = {type(record).__name__ for record in world.turn.records}
    assert {"Fill", "Order", "HistoryEntry"} <= kinds
    bought(world, "0.7", "f2")
    assert waiting(world) == {"stop_loss": D("1.2"), "take_profit": D("1.2")}
    for order_id in (STOP, PROFIT):
        assert fold(world.store.history(order_id)) == world.store.orders[order_id]
    assert world.placed() == []


def test_a_fee_in_what_was_bought_is_not_there_to_be_sold():
    world = entered(quantity="0")
    report = fill("f1", "1", price="2000", when=0, order_id="q1.1.1", fee=D("0.001"), fee_currency="ETH")
    world.venue(report)
    assert waiting(world)["stop_loss"] == D("0.999")


def test_their_money_is_held_once():
    world = entered()
    claims = world.engine.work.claims(world.account)
    assert claims["ETH"] == D(2)


def test_the_stop_sells_all_of_it_and_the_other_ends():
    world = entered()
    quoted(world, "1890")
    (request,) = world.placed()
    assert (request.order_id, request.quantity, request.order_type) == (STOP, D(2), OrderType.MARKET)
    world.ack(STOP, "X2")
    filled(world, STOP, "2", "g1", "1890")
    assert world.order(PROFIT).status is Status.CANCELED
    assert state(world) is ParentState.DONE
    quoted(world, "2300")
    assert world.placed() == []


def test_the_profit_sells_all_of_it_and_the_stop_ends():
    world = entered()
    quoted(world, "2210")
    assert [request.order_id for request in world.placed()] == [PROFIT]
    filled(world, PROFIT, "2", "g1", "2210")
    assert world.order(STOP).status is Status.CANCELED and state(world) is ParentState.DONE


def profit_out(sold="0.5"):
    """A limited take profit is out, has sold a part, and the price falls to the stop."""
    world = entered(entry(limit="2190"))
    quoted(world, "2210")
    world.ack(PROFIT, "X2")
    filled(world, PROFIT, sold, "g1", "2190")
    quoted(world, "1890")
    return world


def test_the_stop_takes_over_only_when_it_is_proven_what_the_other_sold():
    world = profit_out()
    assert len(world.sent(CancelRequest)) == 1 and world.placed() == []
    quoted(world, "1880")
    assert world.placed() == []
    world.venue(CancelAcked(order_id=PROFIT))  # nothing said about fills
    quoted(world, "1880")
    assert world.placed() == [], "in doubt"
    filled(world, PROFIT, "0.3", "g2", "2190")
    world.venue(CancelAcked(order_id=PROFIT, filled_quantity=D("0.8")))
    quoted(world, "1880")
    sent = [o for o in world.store.orders.values() if o.purpose == "stop_loss" and o.sent_at]
    assert [o.quantity for o in sent] == [D("1.2")]
    filled(world, STOP, "1.2", "g3", "1880")
    assert state(world) is ParentState.DONE


def test_a_restart_in_between_sells_no_more_and_no_less():
    world = profit_out()
    reborn = EngineWorld(store=world.store)
    quoted(reborn, "1880")
    assert reborn.placed() == []
    reborn.venue(CancelAcked(order_id=PROFIT, filled_quantity=D("0.5")))
    quoted(reborn, "1880")
    sent = [o for o in reborn.store.orders.values() if o.purpose == "stop_loss" and o.sent_at]
    assert [o.quantity for o in sent] == [D("1.5")]


def test_what_is_known_of_the_entry_outlives_its_memory():
    world = entered()
    del world.store.parents["q1.1"]  # over so long that a restart does not load it
    world.store.orders = {k: o for k, o in world.store.orders.items() if o.parent_id != "q1.1"}
    reborn = EngineWorld(store=world.store)
    assert waiting(reborn) == {"stop_loss": D(2), "take_profit": D(2)}
    quoted(reborn, "1890")
    assert [request.quantity for request in reborn.placed()] == [D(2)]


def test_a_later_fill_waits_beside_what_is_out():
    world = entered(quantity="1")
    quoted(world, "1890")
    world.ack(STOP, "X2")
    filled(world, STOP, "1", "g1", "1890")
    bought(world, "0.5", "f2")
    again = [o for o in world.store.orders.values() if o.purpose == "stop_loss" and not o.closed_at]
    assert [o.quantity for o in again] == [D("0.5")]


def test_what_the_market_could_not_take_waits_again():
    world = entered(entry(take_profit=None))
    quoted(world, "1890")
    world.ack(STOP, "X2")
    filled(world, STOP, "0.5", "g1", "1890")
    world.venue(CancelAcked(order_id=STOP, filled_quantity=D("0.5")))
    assert waiting(world) == {"stop_loss": D("1.5")}


def test_a_cancelled_entry_leaves_what_it_filled_guarded():
    world = entered(quantity="0.5")
    world.submit(CancelOrder(order_id="q1.1.1"), key="key-2")
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D("0.5")))
    assert waiting(world) == {"stop_loss": D("0.5"), "take_profit": D("0.5")}


def test_an_entry_that_fills_nothing_ends_them():
    world = entered(quantity="0")
    world.submit(CancelOrder(order_id="q1.1.1"), key="key-2")
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    assert state(world) is ParentState.DONE


def test_one_that_its_owner_cancels_does_not_come_back_and_the_other_stays():
    world = entered(quantity="0.5")
    world.submit(CancelOrder(order_id=STOP), key="key-2")
    bought(world, "0.5", "f2")
    assert waiting(world) == {"take_profit": D(1)}


def test_prices_can_be_changed_and_quantities_cannot():
    world = entered()
    changed = world.submit(EditOrder(order_id=STOP, stop_price=D(1950)), key="e1")
    assert changed.result["stop_price"] == "1950" and world.order(STOP).quantity == D(2)
    refused = world.submit(EditOrder(order_id=STOP, quantity=D(1)), key="e2")
    assert refused.details["field"] == "quantity"


def test_no_turn_at_the_exchange_lets_it_wait_again():
    world = entered(entry(take_profit=None))
    quoted(world, "1890")
    world.venue(Rejected(order_id=STOP, refusal=Refusal.RATE_LIMIT, message="no turn", sent=False))
    world.now = 3.0
    quoted(world, "1890")
    assert [(r.order_id, r.quantity) for r in world.placed()] == [("q1.2.2", D(2))]


REFUSED = {
    "a stop above the price": ({"stop_loss": "2001"}, "stop_loss"),
    "a profit below the price": ({"take_profit": "1999"}, "take_profit"),
}


@pytest.mark.parametrize(("terms", "field"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_met_at_once_is_refused(terms, field):
    world = EngineWorld(markets=(market("ETH/USDT"),))
    quoted(world, "2010")
    answer = world.submit(entry(**terms))
    assert (answer.code, answer.details["field"]) == (errors.PRICE_INVALID, field)
