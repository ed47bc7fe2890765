"""Orders attached to an entry: they follow its fills exactly, and never sell more than it brought."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core import errors, retries
from ems.core.messages import (
    Amended,
    AmendRefused,
    AmendRequest,
    CancelAcked,
    CancelOrder,
    CancelRequest,
    EditOrder,
    Ending,
    Exit,
    Found,
    LimitOrder,
    NewOrder,
    OrderStatus,
    OrderType,
    PlaceOrder,
    Problem,
    Refusal,
    Rejected,
    SetSlice,
    Side,
    TimeInForce,
)
from ems.core.order import fold
from ems.core.records import Notice, ParentState, Query, Status
from tests.builders import at, fill, market
from tests.engine.test_order_types import STOPS, quoted
from tests.engine.world import EngineWorld
from tests.simulation.invariants import check
from tests.simulation.world import Crash, World

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
    assert world.engine.work.claims(world.account)["ETH"] == D(2)
    quoted(world, "2210")
    assert [r.order_id for r in world.placed()] == [PROFIT]
    assert world.engine.work.claims(world.account)["ETH"] == D(2), "the stop holds it for both"


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


def no_turn(world, times):
    """Let the exchange have no turn so often for what is sent, tried again when its wait is over."""
    for _ in range(times):
        while not (placed := world.placed()):
            world.now += 0.25
            quoted(world, "2210")
        (request,) = placed
        busy = Rejected(order_id=request.order_id, refusal=Refusal.RATE_LIMIT, message="busy", sent=False)
        world.venue(busy)


def test_a_take_profit_that_waits_for_a_turn_does_not_hold_up_the_stop():
    world = entered()
    quoted(world, "2210")
    no_turn(world, 5)
    world.now += 0.1
    quoted(world, "1890")
    assert [(r.order_id, r.quantity) for r in world.placed()] == [(STOP, D(2))]


def test_refusals_before_one_was_taken_count_no_more():
    world = entered(entry(stop_loss=None))
    quoted(world, "2210")
    no_turn(world, 4)
    while not (placed := world.placed()):
        world.now += 0.25
        quoted(world, "2210")
    world.ack(placed[0].order_id, "X2", filled_quantity=D(0), ending=Ending.EXPIRED)
    no_turn(world, 1)
    world.now += 1.3
    quoted(world, "2210")
    assert len(world.placed()) == 1, "the first wait again, not the fifth"


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


# --- A guard that rests at the exchange ---------------------------------------------------------------------

RESTING = (market("ETH/USDT", stops=STOPS, stop_times=frozenset({TimeInForce.GTC})),)
AMENDING = (replace(RESTING[0], amends=frozenset({"quantity", "stop_price"})),)


def guarded(command=None, quantity="2", markets=RESTING):
    """An entry has filled, and its guard stands at the exchange."""
    world = entered(command, quantity, markets=markets)
    world.ack(STOP, "X2")
    return world


def asked(world):
    return [
        (type(r).__name__, r.order_id, getattr(r, "quantity", None))
        for r in world.sent()
        if isinstance(r, NewOrder | CancelRequest | AmendRequest)
    ]


def ended(world, order_id, filled_quantity="0"):
    world.venue(CancelAcked(order_id=order_id, filled_quantity=D(filled_quantity)))


def test_the_stop_rests_at_the_exchange_and_the_profit_waits_here():
    world = entered(markets=RESTING)
    (request,) = world.placed()
    assert (request.order_id, request.order_type, request.stop_price, request.quantity) == (
        STOP,
        OrderType.STOP_LOSS,
        D(1900),
        D(2),
    )
    assert (world.order(STOP).emulated, world.order(PROFIT).emulated) == (False, True)
    assert waiting(world) == {"take_profit": D(2)}
    assert world.engine.work.claims(world.account)["ETH"] == D(2), "held once"
    kinds = {type(record).__name__ for record in world.turn.records}
    assert {"Fill", "Order", "HistoryEntry"} <= kinds, "in the transaction of the fill"


def test_a_profit_alone_rests_there_too():
    world = entered(entry(stop_loss=None), markets=RESTING)
    (request,) = world.placed()
    assert (request.order_type, request.quantity) == (OrderType.TAKE_PROFIT, D(2))


def test_a_type_the_exchange_has_not_waits_here_and_says_so():
    limits_only = (replace(RESTING[0], stops=frozenset({OrderType.STOP_LOSS_LIMIT})),)
    world = entered(markets=limits_only)
    assert world.placed() == [] and world.order(STOP).emulated


def test_it_grows_in_one_step_where_the_exchange_does_that():
    world = guarded(quantity="0.5", markets=AMENDING)
    world.now = 3.0
    bought(world, "0.7", "f2")
    assert asked(world) == [("AmendRequest", STOP, D("1.2"))]
    world.venue(Amended(order_id=STOP))
    assert world.order(STOP).quantity == D("1.2") and waiting(world) == {"take_profit": D("1.2")}
    assert fold(world.store.history(STOP)) == world.store.orders[STOP]


def test_it_grows_by_another_order_elsewhere_once_the_end_of_the_old_one_is_proven():
    world = guarded(quantity="0.5")
    bought(world, "0.1", "f2")
    assert asked(world) == [], "not with every crumb at once"
    world.now = 11.0
    bought(world, "0.6", "f3")
    assert asked(world) == [("CancelRequest", STOP, None)]
    world.venue(CancelAcked(order_id=STOP))
    assert asked(world) == [], "in doubt"
    ended(world, STOP)
    assert asked(world) == [("NewOrder", "q1.2.3", D("1.2"))]
    assert world.order("q1.2.3").replaces == STOP


def test_what_would_not_be_made_larger_is_let_go_instead():
    world = guarded(quantity="0.5", markets=AMENDING)
    world.now = 3.0
    bought(world, "0.7", "f2")
    world.venue(AmendRefused(order_id=STOP, refusal=Refusal.PERMANENT, message="no"))
    world.now = 14.0
    bought(world, "0.1", "f3")
    assert asked(world) == [("CancelRequest", STOP, None)]


def test_the_stop_fills_there_and_the_profit_ends():
    world = guarded()
    ended(world, "q1.1.1", "2")
    filled(world, STOP, "2", "g1", "1890")
    assert world.order(PROFIT).status is Status.CANCELED and state(world) is ParentState.DONE


def profit_met(sold="0"):
    """The price of the profit comes while the stop rests at the exchange."""
    world = guarded()
    quoted(world, "2210")
    assert asked(world) == [("CancelRequest", STOP, None)]
    world.venue(CancelAcked(order_id=STOP))
    quoted(world, "2211")
    assert asked(world) == [], "in doubt"
    if D(sold):
        filled(world, STOP, sold, "g1", "1900")
    ended(world, STOP, sold)
    return world


@pytest.mark.parametrize("sold", ["0", "0.5"])
def test_the_profit_goes_when_it_is_proven_what_the_stop_sold(sold):
    world = profit_met(sold)
    assert asked(world) == [("NewOrder", PROFIT, D(2) - D(sold))]
    world.ack(PROFIT, "X3")
    filled(world, PROFIT, str(D(2) - D(sold)), "g2", "2210")
    open_orders = [o for o in world.store.orders.values() if o.parent_id == "q1.2" and not o.closed_at]
    assert open_orders == [] and state(world) is ParentState.DONE


def test_a_stop_that_sold_it_all_while_it_was_to_go_leaves_nothing_to_the_profit():
    world = guarded()
    quoted(world, "2210")
    filled(world, STOP, "2", "g1", "1900")
    assert world.order(STOP).status is Status.FILLED
    assert world.order(PROFIT).status is Status.CANCELED and state(world) is ParentState.DONE


def test_a_price_that_has_gone_again_puts_the_stop_back():
    world = guarded()
    quoted(world, "2210")
    quoted(world, "2100")
    ended(world, STOP)
    assert asked(world) == [("NewOrder", "q1.2.3", D(2))]
    assert world.order("q1.2.3").order_type is OrderType.STOP_LOSS and waiting(world) == {"take_profit": D(2)}


def test_a_profit_that_rests_has_the_stop_waiting_here_and_it_goes_back_when_the_profit_ends():
    world = guarded(entry(limit="2190"))
    quoted(world, "2210")
    ended(world, STOP)
    assert asked(world) == [("NewOrder", PROFIT, D(2))] and waiting(world) == {"stop_loss": D(2)}
    world.ack(PROFIT, "X3")
    world.submit(CancelOrder(order_id=PROFIT), key="key-2")
    ended(world, PROFIT)
    assert asked(world) == [("NewOrder", "q1.2.4", D(2))]


def refused(refusal, message="no"):
    world = entered(markets=RESTING)
    world.venue(Rejected(order_id=STOP, refusal=refusal, message=message))
    return world


def test_a_guard_the_exchange_refuses_waits_here_and_people_are_told():
    world = refused(Refusal.PERMANENT, "too many stop orders")
    assert waiting(world) == {"stop_loss": D(2), "take_profit": D(2)}
    (notice,) = [r for r in world.turn.records if isinstance(r, Notice)]
    assert (notice.event, notice.severity) == ("guard_not_resting", "error") and "too many" in notice.why
    reborn = EngineWorld(store=world.store, markets=RESTING)
    quoted(reborn, "2010")
    assert reborn.placed() == [], "it is not asked again and again"
    quoted(reborn, "1890")
    assert [(r.order_type, r.quantity) for r in reborn.placed()] == [(OrderType.MARKET, D(2))]


@pytest.mark.parametrize("refusal", [Refusal.RATE_LIMIT, Refusal.INSUFFICIENT_FUNDS])
def test_a_no_that_passes_lets_it_wait_here_for_a_moment_only(refusal):
    world = refused(refusal)
    assert waiting(world) == {"stop_loss": D(2), "take_profit": D(2)}
    assert not [r for r in world.turn.records if isinstance(r, Notice)]
    world.now = 2.5
    quoted(world, "2010")
    (request,) = world.placed()
    assert (request.order_type, request.quantity) == (OrderType.STOP_LOSS, D(2))
    assert waiting(world) == {"take_profit": D(2)}


def test_a_guard_that_waits_to_rest_there_is_sent_from_here_when_its_price_comes():
    world = refused(Refusal.RATE_LIMIT)
    for _ in range(3):
        while not (placed := world.placed()):
            world.now += 0.25
            quoted(world, "2010")
        world.venue(Rejected(order_id=placed[0].order_id, refusal=Refusal.RATE_LIMIT, message="no"))
    quoted(world, "1890")
    assert world.placed() == [], "not in the moment of the no"
    world.now += 2.6  # it would be asked to rest after 6 to 10
    quoted(world, "1890")
    assert [(r.order_type, r.quantity) for r in world.placed()] == [(OrderType.MARKET, D(2))]


def test_a_guard_does_not_go_back_while_the_profit_waits_for_a_turn():
    world = guarded()
    quoted(world, "2210")
    ended(world, STOP)
    no_turn(world, 1)
    world.now += 0.1
    quoted(world, "2210")
    assert world.placed() == [] and waiting(world) == {"stop_loss": D(2), "take_profit": D(2)}


def test_funds_that_never_come_are_not_asked_for_for_ever():
    world = refused(Refusal.INSUFFICIENT_FUNDS)
    tries = 1
    for second in range(3, 200, 3):
        world.now = float(second)
        quoted(world, "2010")
        for request in world.placed():
            tries += 1
            report = Rejected(order_id=request.order_id, refusal=Refusal.INSUFFICIENT_FUNDS, message="no")
            world.venue(report)
    assert tries == retries.ORDERS.tries and waiting(world) == {"stop_loss": D(2), "take_profit": D(2)}


def test_a_guard_the_exchange_ends_by_itself_waits_here_and_people_are_told():
    world = guarded()
    world.venue(
        OrderStatus(
            order_id=STOP,
            found=Found.CLOSED,
            exchange_order_id="X2",
            filled_quantity=D(0),
            ending=Ending.CANCELED,
            query_sent_at=at(0),
        )
    )
    assert waiting(world) == {"stop_loss": D(2), "take_profit": D(2)}
    assert [r.event for r in world.turn.records if isinstance(r, Notice)] == ["guard_not_resting"]


def test_one_that_its_owner_cancels_there_does_not_come_back_over_a_restart_either():
    world = guarded(quantity="1")
    world.submit(CancelOrder(order_id=STOP), key="key-2")
    ended(world, STOP)
    assert asked(world) == []
    bought(world, "0.5", "f2")
    assert asked(world) == []
    assert waiting(world) == {"take_profit": D("1.5")}
    reborn = EngineWorld(store=world.store, markets=RESTING)
    quoted(reborn, "2010")
    assert reborn.placed() == [] and waiting(reborn) == {"take_profit": D("1.5")}


def test_its_owner_may_move_it_and_the_one_in_its_place_is_named():
    world = guarded()
    world.submit(EditOrder(order_id=STOP, stop_price=D(1950)), key="e1")
    assert asked(world) == [("CancelRequest", STOP, None)]
    ended(world, STOP)
    (request,) = world.placed()
    assert (request.stop_price, request.quantity) == (D(1950), D(2))
    world.ack(request.order_id, "X3")
    result = world.engine.work.queries["q2"].result
    assert (result["order_id"], result["replaces"], result["stop_price"]) == (request.order_id, STOP, "1950")


def test_it_is_not_moved_to_where_the_price_is_already():
    world = guarded()
    answer = world.submit(EditOrder(order_id=STOP, stop_price=D(2050)), key="e1")
    assert (answer.code, answer.details["nearest"]) == (errors.PRICE_INVALID, "2010.24")


# --- Crossing inside, and slices ----------------------------------------------------------------------------


@pytest.mark.parametrize(("sold", "outside"), [("2", "0"), ("1.2", "0.8")])
def test_what_crosses_inside_is_guarded_as_soon_and_as_exactly_as_what_fills_outside(sold, outside):
    world = EngineWorld(markets=RESTING, free={"USDT": D(100_000), "ETH": D(50)})
    world.account.internal_matching = True
    quoted(world, "2000")
    resting = LimitOrder(
        exchange="binance", symbol="ETH/USDT", side=Side.SELL, quantity=D(sold), price=D("2000.5")
    )
    world.submit(resting, key="rests", query_id="r", bot="maker")
    world.ack("r.1.1", exchange_id="R1")
    world.submit(replace(entry(), price=D("2000.5")), query_id="q1", bot="buyer")
    ended(world, "r.1.1")
    crossed = [o for o in world.store.orders.values() if o.cross_id and o.bot == "buyer"]
    assert [o.filled_quantity for o in crossed] == [D(sold)]
    stop, *further = [r for r in world.placed() if r.order_type is OrderType.STOP_LOSS]
    assert (stop.quantity, stop.side, further) == (D(sold), Side.SELL, [])
    assert waiting(world) == {"take_profit": D(sold)}
    if D(outside):
        world.ack(stop.order_id, "X2")
        (rest,) = [r for r in world.store.orders.values() if r.parent_id == "q1.1" and not r.closed_at]
        world.now = 11.0
        bought(world, outside, "f1", rest.order_id)
        assert waiting(world) == {"take_profit": D(2)}
        assert asked(world) == [("CancelRequest", stop.order_id, None)]


def test_a_guard_sells_out_of_the_slice_of_its_bot_and_of_no_other():
    world = EngineWorld(markets=RESTING, free={"USDT": D(10_000), "ETH": D(2)})
    quoted(world, "2010")
    for bot, amounts in (("buyer", {"USDT": D(5000)}), ("other", {"ETH": D(1)})):
        command = SetSlice(of_bot=bot, exchange="binance", amounts=amounts)
        assert isinstance(world.submit(command, key=f"slice-{bot}", query_id=f"s-{bot}"), Query)
    world.submit(entry(), key="key-b", query_id="q1", bot="buyer")
    world.ack("q1.1.1")
    bought(world, "2")
    world.balances({"USDT": D(6000), "ETH": D(2)}, {"ETH": D(2)})
    sells = LimitOrder(exchange="binance", symbol="ETH/USDT", side=Side.SELL, quantity=D(1), price=D(2500))
    guarded_twice = world.submit(sells, key="k1", bot="buyer")
    assert isinstance(guarded_twice, Problem), "the guard holds what the bot has bought"
    assert isinstance(world.submit(sells, key="k2", bot="other"), Query), "its own coins are free"
    world.ack(STOP, "X2")
    filled(world, STOP, "2", "g1", "1900")
    mine = world.engine.work.slices["alice", "buyer", "binance", "default"].amounts
    assert mine == {"USDT": D(5000) - 4000 + 3800}


# --- A kill at every step -----------------------------------------------------------------------------------


class Killed(World):
    """One guarded entry in calm weather, and a process that dies at its n-th chance to."""

    def __init__(self, die_at, path, *, amends):
        super().__init__(seed=5 if amends else 1, calm=True)
        self.die_at, self.path, self.chances = die_at, path, 0
        self.matching = False

    def may_die(self):
        self.chances += 1
        if self.chances == self.die_at:
            raise Crash

    def _flow(self, venue, symbol):
        if symbol != "ETH/USDT":
            return
        now = self.clock.seconds
        mid = next(price for until, price in self.path if now < until)
        self.prices[venue.exchange.name, symbol] = mid
        exchange, tick = venue.exchange, D("0.5")
        bids = [(mid - tick, D(50) + int(now) % 2)]  # a book that never changes is not sent, and grows old
        exchange.set_book(symbol, bids, [(mid + tick, D("0.2"))], now)
        exchange.public_trade(symbol, mid - tick, D("0.05"), "sell", now)
        self.clock.after(1.0, lambda: self._flow(venue, symbol))

    def run(self):
        self._flow(self.venues[0], "ETH/USDT")
        self._boot()
        self.clock.after(
            1.0, lambda: self.ask(replace(entry(quantity="0.5"), exchange="alpha", price=D(2001)), "bot1")
        )
        self._play_until(60)
        self.ask(CancelOrder(client_order_id="key-1"), "bot1")  # what came too late to fill
        self._play_until(100)
        self.unguarded = self._unguarded()


FALLS = [(14, D(2000)), (999, D(1890))]
RISES = [(14, D(2000)), (999, D(2210))]
TOUCHES = [(14, D(2000)), (15, D(2210)), (20, D(2100)), (999, D(1890))]
STORIES = {  # the middle until then, and whether the exchange makes an order larger in one step
    "it falls": (FALLS, True),
    "it falls, and the guard grows by another order": (FALLS, False),
    "it rises": (RISES, True),
    "it touches the profit, and falls": (TOUCHES, False),
}


@pytest.mark.parametrize(("path", "amends"), STORIES.values(), ids=STORIES)
def test_a_kill_at_any_step_sells_once_and_all_of_it(path, amends):
    die_at = 0
    while True:
        world = Killed(die_at, path, amends=amends)
        world.run()
        check(world)
        exits = [o for o in world.disk.orders.values() if o.purpose in ("stop_loss", "take_profit")]
        came = sum(
            o.filled_quantity - o.fees.get("ETH", D(0)) for o in world.disk.orders.values() if o not in exits
        )
        sold = sum(o.filled_quantity for o in exits)
        assert came - D("0.0002") <= sold <= came, (die_at, came, sold)
        theirs = [o for o in world.venues[0].account.orders.values() if o.trigger is not None]
        stood = [o for o in theirs if o.created_at < 13 and o.status != "canceled"]
        if path is FALLS and stood:
            assert stood[0].fills[0].time <= 15, f"killed at {die_at}: it waited for the server"
        if world.chances < die_at:
            return
        die_at += 1
