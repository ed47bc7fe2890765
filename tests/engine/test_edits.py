"""Edits of open orders: in one step where the exchange does it, else by what is left; nothing is doubled."""

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
    Found,
    LimitOrder,
    OrderStatus,
    OutcomeUnknown,
    Problem,
    QueryOrder,
    Refusal,
    Rejected,
    Side,
    SmartOrder,
)
from ems.core.order import fold
from ems.core.records import Asked, Notice, ParentState, Phase, QueryStatus, Status
from tests.builders import at, fill, market
from tests.engine.test_order_types import STOPS, quoted, stop_sell
from tests.engine.world import EngineWorld

D = Decimal
ALL = frozenset({"quantity", "price", "stop_price"})
IN_PLACE = (market("ETH/USDT", amends=ALL),)


def resting(markets=IN_PLACE, quantity="2", filled="0", **options):
    world = EngineWorld(markets=markets, **options)
    world.submit(
        LimitOrder(exchange="binance", symbol="ETH/USDT", side=Side.BUY, quantity=D(quantity), price=D(1900))
    )
    world.ack("q1.1.1")
    if D(filled):
        fills(world, "q1.1.1", filled)
    return world


def fills(world, order_id, quantity, fill_id="f1"):
    world.venue(fill(fill_id, quantity, price="1900", when=world.now, order_id=order_id))


def edit(world, key="edit-1", order_id="q1.1.1", **terms):
    command = EditOrder(order_id=order_id, **{name: D(value) for name, value in terms.items()})
    return world.submit(command, key=key, query_id=key)


def shows(world, seconds, **fields):
    world.now = seconds
    world.venue(
        OrderStatus(
            order_id="q1.1.1", found=Found.OPEN, exchange_order_id="X1", query_sent_at=at(seconds), **fields
        )
    )


def result(world, key="edit-1"):
    query = world.query(key)
    return query.status, query.result, query.error and query.error.code


# --- In one step -------------------------------------------------------------------------------------------


def test_it_is_asked_once_and_done_when_the_exchange_says_so():
    world = resting()
    assert edit(world, price="1950", quantity="3").status is QueryStatus.WORKING
    (request,) = world.sent(AmendRequest)
    assert (request.price, request.quantity, request.stop_price, request.was_quantity) == (
        D(1950),
        D(3),
        None,
        D(2),
    )
    assert world.order("q1.1.1").asked is Asked.REPLACE
    world.venue(Amended(order_id="q1.1.1"))
    order = world.order("q1.1.1")
    assert (order.price, order.quantity, order.asked, order.edit) == (D(1950), D(3), Asked.NOTHING, None)
    assert order.reserved == D(5850) and fold(world.store.history("q1.1.1")) == order
    status, body, _ = result(world)
    assert (status, body["how"], body["order_id"], body["replaces"]) == (
        QueryStatus.DONE,
        "in_place",
        "q1.1.1",
        None,
    )
    assert world.sent(CancelRequest) == [] and world.placed() == []


def test_a_refused_amendment_leaves_the_order_and_says_so_with_the_exchanges_words():
    world = resting()
    edit(world, price="1950")
    world.venue(
        AmendRefused(order_id="q1.1.1", refusal=Refusal.LOT_TICK, message="bad price", venue_code="-1")
    )
    order = world.order("q1.1.1")
    assert (order.price, order.asked, order.status) == (D(1900), Asked.NOTHING, Status.SUBMITTED)
    assert result(world)[0] is QueryStatus.FAILED and result(world)[2] == errors.VENUE_REJECTED
    report = world.store.history("q1.1.1")[-1].report
    assert (report["venue_code"], report["venue_message"]) == ("-1", "bad price")


def in_doubt():
    world = resting()
    edit(world, price="1950")
    world.venue(OutcomeUnknown(order_id="q1.1.1", request="amend", message="timeout"))
    assert len(world.sent(QueryOrder)) == 1 and world.sent(AmendRequest) == []
    return world


def test_an_unknown_outcome_is_resolved_by_looking_new_terms_prove_it():
    world = in_doubt()
    shows(world, 1.0, price=D(1950), quantity=D(2))
    assert world.order("q1.1.1").price == D(1950) and result(world)[0] is QueryStatus.DONE


def test_old_terms_prove_nothing_while_it_may_be_on_its_way():
    world = in_doubt()
    shows(world, 1.0, price=D(1900), quantity=D(2))
    assert world.order("q1.1.1").asked is Asked.REPLACE and result(world)[0] is QueryStatus.WORKING
    assert world.wakes()[("order", "q1.1.1")] <= at(3)
    shows(world, 30.0, price=D(1900), quantity=D(2))
    assert world.order("q1.1.1").asked is Asked.NOTHING and result(world)[0] is QueryStatus.FAILED


def test_where_the_exchange_does_not_tell_the_terms_the_rest_is_placed_anew():
    world = in_doubt()
    shows(world, 30.0)
    assert len(world.sent(CancelRequest)) == 1
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    (request,) = world.placed()
    assert (request.price, request.quantity) == (D(1950), D(2))
    world.ack("q1.1.2", "X2")
    assert result(world)[0] is QueryStatus.DONE and result(world)[1]["replaces"] == "q1.1.1"


def test_a_late_answer_is_not_taken_for_that_of_the_next_edit():
    world = resting()
    edit(world, price="1950")
    shows(world, 1.0, price=D(1950), quantity=D(2))
    assert result(world)[0] is QueryStatus.DONE
    assert edit(world, "edit-2", quantity="3").code == errors.ORDER_IN_FLIGHT
    world.venue(Amended(order_id="q1.1.1"))
    assert edit(world, "edit-3", quantity="3").status is QueryStatus.WORKING


def test_a_doubt_survives_a_restart():
    world = in_doubt()
    reborn = EngineWorld(store=world.store, markets=IN_PLACE)
    assert reborn.order("q1.1.1").edit.price == D(1950)
    shows(reborn, 2.0, price=D(1950), quantity=D(2))
    assert result(reborn)[0] is QueryStatus.DONE


def test_a_fill_beyond_the_old_size_proves_a_larger_one():
    world = resting()
    edit(world, quantity="3")
    fills(world, "q1.1.1", "2")
    assert world.order("q1.1.1").status is Status.PARTIALLY_FILLED, "it may be larger by now"
    fills(world, "q1.1.1", "0.5", "f2")
    order = world.order("q1.1.1")
    assert (order.quantity, order.status) == (D(3), Status.PARTIALLY_FILLED)
    assert world.engine.orders.incidents == 0 and result(world)[0] is QueryStatus.DONE


def test_made_no_larger_than_what_is_filled_it_is_filled():
    world = resting(filled="1")
    edit(world, quantity="1.5")
    fills(world, "q1.1.1", "0.5", "f2")
    world.venue(Amended(order_id="q1.1.1"))
    assert len(world.sent(QueryOrder)) == 1
    closed = OrderStatus(
        order_id="q1.1.1",
        found=Found.CLOSED,
        ending=Ending.FILLED,
        filled_quantity=D("1.5"),
        query_sent_at=at(1),
    )
    world.venue(closed)
    order = world.order("q1.1.1")
    assert (order.status, order.quantity, order.phase) == (Status.FILLED, D("1.5"), Phase.SETTLED)


def test_a_cancel_overtakes_an_edit():
    world = resting()
    edit(world, price="1950")
    world.submit(CancelOrder(order_id="q1.1.1"), key="cancel-1")
    assert len(world.sent(CancelRequest)) == 1
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    assert world.order("q1.1.1").status is Status.CANCELED and world.placed() == []
    assert result(world)[2] == errors.ORDER_CLOSED


# --- By another order --------------------------------------------------------------------------------------

PLAIN = (market("ETH/USDT"),)
SHRINKS = (market("ETH/USDT", amends=frozenset({"quantity"}), amends_shrink_only=True),)


def test_what_is_left_is_placed_once_what_filled_is_certain():
    world = resting(PLAIN, filled="0.5")
    edit(world, price="1950", quantity="1.8")
    assert len(world.sent(CancelRequest)) == 1 and world.placed() == []
    world.venue(CancelAcked(order_id="q1.1.1"))  # nothing said about fills
    assert world.placed() == []
    closed = OrderStatus(
        order_id="q1.1.1",
        found=Found.CLOSED,
        ending=Ending.CANCELED,
        filled_quantity=D("0.7"),
        query_sent_at=at(1),
    )
    world.venue(closed)
    assert world.placed() == [], "a fill is missing"
    fills(world, "q1.1.1", "0.2", "f2")
    (request,) = world.placed()
    assert (request.order_id, request.price, request.quantity) == ("q1.1.2", D(1950), D("1.1"))
    new = world.order("q1.1.2")
    assert new.replaces == "q1.1.1" and new.reserved == D("1.1") * D(1950)
    assert result(world)[0] is QueryStatus.WORKING
    world.ack("q1.1.2", "X2")
    status, body, _ = result(world)
    assert (status, body["how"], body["order_id"]) == (QueryStatus.DONE, "replaced", "q1.1.2")


def test_the_whole_is_that_of_all_that_followed_each_other():
    world = resting(PLAIN, filled="0.5")
    edit(world, price="1950")
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D("0.5")))
    world.ack("q1.1.2", "X2")
    fills(world, "q1.1.2", "0.5", "f2")
    refused = edit(world, "edit-2", "q1.1.2", quantity="0.9")
    assert (refused.code, refused.details["limit"]) == (errors.AMOUNT_TOO_SMALL, "1")
    edit(world, "edit-3", "q1.1.2", quantity="1.2")
    world.venue(CancelAcked(order_id="q1.1.2", filled_quantity=D("0.5")))
    assert [request.quantity for request in world.placed()] == [D("0.2")]


def test_one_that_fills_meanwhile_is_not_bought_again():
    world = resting(PLAIN)
    edit(world, price="1950")
    fills(world, "q1.1.1", "2")
    assert world.placed() == [] and result(world)[2] == errors.ORDER_CLOSED


def test_a_larger_one_that_fills_meanwhile_still_lacks_the_difference():
    world = resting(PLAIN)
    edit(world, quantity="3")
    fills(world, "q1.1.1", "2")
    assert [request.quantity for request in world.placed()] == [D(1)]


def test_a_crash_between_the_end_and_the_new_one_places_it_once_when_the_account_is_ready():
    world = resting(PLAIN)
    edit(world, price="1950")
    reborn = EngineWorld(store=world.store, markets=PLAIN, ready=False)
    closed = OrderStatus(
        order_id="q1.1.1",
        found=Found.CLOSED,
        ending=Ending.CANCELED,
        filled_quantity=D(0),
        query_sent_at=at(1),
    )
    reborn.venue(closed)
    assert reborn.placed() == [] and reborn.order("q1.1.1").status is Status.CANCELED
    again = EngineWorld(store=reborn.store, markets=PLAIN)
    placed = [order for order in again.store.orders.values() if order.replaces == "q1.1.1"]
    assert [(order.status, order.price) for order in placed] == [(Status.PENDING, D(1950))]
    assert fold(again.store.history("q1.1.1")) == again.store.orders["q1.1.1"]


def test_a_new_one_that_is_refused_says_that_nothing_stands_any_more():
    world = resting(PLAIN)
    edit(world, price="1950")
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    world.venue(Rejected(order_id="q1.1.2", refusal=Refusal.INSUFFICIENT_FUNDS, message="no funds"))
    status, body, code = result(world)
    assert (status, code, body["order_id"]) == (QueryStatus.FAILED, errors.VENUE_REJECTED, "q1.1.2")


STOPS_THERE = (market("ETH/USDT", stops=STOPS),)


def moved_stop():
    """The stop of an edit has gone, and the one on other terms is out."""
    world = EngineWorld(markets=STOPS_THERE)
    quoted(world, "2000")
    world.submit(stop_sell("1900"))
    world.ack("q1.1.1")
    edit(world, stop_price="1950")
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    (request,) = world.placed()
    assert (request.order_id, request.stop_price) == ("q1.1.2", D(1950))
    return world


def no(order_id, refusal=Refusal.PERMANENT):
    return Rejected(order_id=order_id, refusal=refusal, message="would trigger at once")


def letters(world):
    return [r.done for r in world.turn.records if isinstance(r, Notice) and r.event == "edit_refused"]


def test_a_stop_whose_new_terms_are_refused_stands_again_on_the_old_ones():
    world = moved_stop()
    world.venue(no("q1.1.2"))
    (request,) = world.placed()
    assert (request.order_id, request.stop_price, request.quantity) == ("q1.1.3", D(1900), D(1))
    assert world.order("q1.1.3").replaces == "q1.1.2"
    assert letters(world) == ["The old one was placed again, as it was: it is order q1.1.3 now."]
    assert world.engine.work.claims(world.account)["ETH"] == D(1)
    assert world.query("edit-1").status is QueryStatus.WORKING, "nobody knows yet what stands"
    world.ack("q1.1.3", "X3")
    status, body, code = result(world)
    assert (status, code) == (QueryStatus.FAILED, errors.VENUE_REJECTED)
    assert (body["order_id"], body["stop_price"], body["status"]) == ("q1.1.3", "1900", "submitted")
    assert "placed again" in world.query("edit-1").error.message


def test_it_is_put_back_once_and_then_people_are_told_that_nothing_stands():
    world = moved_stop()
    world.venue(no("q1.1.2"))
    world.venue(no("q1.1.3"))
    (letter,) = letters(world)
    assert world.placed() == [] and "nothing stands any more" in letter
    status, body, code = result(world)
    assert (status, code, body["order_id"]) == (QueryStatus.FAILED, errors.VENUE_REJECTED, "q1.1.2")
    assert world.engine.work.parents["q1.1"].state is ParentState.ABORTED


def test_a_stop_at_the_exchange_is_not_let_go_for_a_price_that_is_met_already():
    world = EngineWorld(markets=STOPS_THERE)
    quoted(world, "2000")
    world.submit(stop_sell("1900"))
    world.ack("q1.1.1")
    refused = edit(world, stop_price="2100")
    assert isinstance(refused, Problem) and refused.code == errors.PRICE_INVALID
    assert world.sent(CancelRequest) == [] and world.order("q1.1.1").asked is Asked.NOTHING


def test_after_a_no_that_passes_it_is_put_back_in_a_moment():
    world = moved_stop()
    world.venue(no("q1.1.2", Refusal.RATE_LIMIT))
    assert world.placed() == []
    assert world.query("edit-1").status is QueryStatus.WORKING
    world.now = 2.5
    world.timer("parent", "q1.1")
    assert [r.stop_price for r in world.placed()] == [D(1900)]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_no_that_passes_to_the_old_one_is_waited_out(restarts):
    world = moved_stop()
    world.venue(no("q1.1.2"))
    world.venue(replace(no("q1.1.3", Refusal.RATE_LIMIT), sent=False))
    assert world.placed() == [] and letters(world) == []
    assert world.query("edit-1").status is QueryStatus.WORKING
    if restarts:
        world = EngineWorld(store=world.store, markets=STOPS_THERE)
    else:
        world.now = 1.3
        world.timer("parent", "q1.1")
    again = world.store.orders["q1.1.4"]
    assert (again.status, again.replaces, again.stop_price, again.quantity) == (
        Status.PENDING,
        "q1.1.3",
        D(1900),
        D(1),
    )
    assert world.engine.work.claims(world.account)["ETH"] == D(1)
    world.ack("q1.1.4", "X4")
    status, body, code = result(world)
    assert (status, code, body["order_id"]) == (QueryStatus.FAILED, errors.VENUE_REJECTED, "q1.1.4")


def test_it_is_put_back_so_often_and_then_people_are_told():
    world = moved_stop()
    world.venue(no("q1.1.2"))
    for attempt in range(3, 3 + retries.ORDERS.tries):
        assert world.order(f"q1.1.{attempt}").status is Status.PENDING
        world.venue(no(f"q1.1.{attempt}", Refusal.RATE_LIMIT))
        told = letters(world)
        world.now += 40
        world.timer("parent", "q1.1")
    assert len(told) == 1 and "nothing stands any more" in told[0]
    assert world.placed() == [] and world.engine.work.parents["q1.1"].state is ParentState.ABORTED
    assert result(world)[0] is QueryStatus.FAILED


def test_what_its_owner_let_go_meanwhile_is_not_put_back():
    world = moved_stop()
    world.submit(CancelOrder(order_id="q1.1.2"), key="c1")
    world.venue(no("q1.1.2"))
    assert world.placed() == [] and "q1.1.3" not in world.engine.work.children


def test_a_kill_before_the_answer_puts_it_back_after_the_restart():
    world = moved_stop()
    reborn = EngineWorld(store=world.store, markets=STOPS_THERE)
    reborn.venue(no("q1.1.2"))
    assert [(r.order_id, r.stop_price) for r in reborn.placed()] == [("q1.1.3", D(1900))]


def test_where_it_only_becomes_smaller_in_one_step_the_rest_is_by_another():
    world = resting(SHRINKS)
    edit(world, quantity="1")
    assert len(world.sent(AmendRequest)) == 1
    other = resting(SHRINKS)
    edit(other, quantity="3")
    assert other.sent(AmendRequest) == [] and len(other.sent(CancelRequest)) == 1


# --- One that waits here -----------------------------------------------------------------------------------


def test_one_that_waits_here_is_changed_at_once():
    world = EngineWorld()
    quoted(world)
    world.submit(stop_sell())
    answer = edit(world, stop_price="1950", quantity="1.5")
    assert (answer.status, answer.result["how"], answer.result["stop_price"]) == (
        QueryStatus.DONE,
        "here",
        "1950",
    )
    order = world.order("q1.1.1")
    assert (order.status, order.quantity, order.reserved) == (Status.CREATED, D("1.5"), D("1.5"))
    assert fold(world.store.history("q1.1.1")) == order
    quoted(world, "1940")
    assert [request.quantity for request in world.placed()] == [D("1.5")]


def test_a_stop_price_that_is_met_already_is_refused():
    world = EngineWorld()
    quoted(world)
    world.submit(stop_sell())
    answer = edit(world, stop_price="2100")
    assert (answer.code, world.order("q1.1.1").stop_price) == (errors.PRICE_INVALID, D(1900))


# --- Refusals ----------------------------------------------------------------------------------------------

REFUSED = {
    "less than is filled": ({"quantity": "0.3"}, errors.AMOUNT_TOO_SMALL, "quantity"),
    "nothing changes": ({"price": "1900"}, errors.REQUEST_FIELD_INVALID, "quantity"),
    "a stop price of a limit order": ({"stop_price": "1900"}, errors.REQUEST_FIELD_INVALID, "stop_price"),
    "more than is held": ({"quantity": "50"}, errors.FUNDS_INSUFFICIENT, None),
    "below the step": ({"price": "0.001"}, errors.PRICE_INVALID, "price"),
}


@pytest.mark.parametrize(("terms", "code", "field"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(terms, code, field):
    world = resting(filled="0.5")
    before = world.order("q1.1.1")
    world.balances()
    answer = edit(world, **terms)
    assert answer.code == code and answer.details.get("field") == field
    assert world.order("q1.1.1") == before and world.sent(AmendRequest) == []


def test_one_at_a_time():
    world = resting()
    edit(world, price="1950")
    assert edit(world, "edit-2", price="1960").code == errors.ORDER_IN_FLIGHT


def test_another_users_order_does_not_exist():
    world = resting()
    command = EditOrder(order_id="q1.1.1", price=D(1950))
    assert world.submit(command, key="e", user="bob").code == errors.ORDER_NOT_FOUND


def test_what_an_algorithm_works_has_no_terms_of_its_own():
    world = EngineWorld()
    quoted(world)
    world.submit(
        SmartOrder(exchange="binance", start_currency="USDT", end_currency="ETH", start_amount=D(1000))
    )
    (request,) = world.placed()
    assert edit(world, order_id=request.order_id, price="1950").code == errors.ORDER_NOT_EDITABLE


def test_an_old_picture_that_shows_the_new_price_by_chance_proves_nothing():
    world = resting(quantity="2")
    edit(world, price="1950", quantity="1")
    world.venue(Amended(order_id="q1.1.1"))
    edit(world, "edit-2", price="1900")  # back to where it was
    shows(world, 1.0, price=D(1900), quantity=D(2))  # of before the first edit
    assert world.order("q1.1.1").asked is Asked.REPLACE and world.order("q1.1.1").price == D(1950)
    shows(world, 2.0, price=D(1900), quantity=D(1))
    assert world.order("q1.1.1").price == D(1900) and result(world, "edit-2")[0] is QueryStatus.DONE
