"""The classic walker: what it decides at each point of its minute."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.algos.classic import CancelChild, GiveUp, HopDone, Place, View, Wait, decide, offset, try_of
from ems.core.messages import Side
from ems.core.records import Asked, Hop, Phase, Status
from tests.builders import at, book, market, order, parent

D = Decimal
SELL = (Hop(symbol="ETH/USDT", side=Side.SELL, source="ETH", target="USDT"),)


def view(*orders, **fields):
    values = {
        "parent": parent(),
        "orders": list(orders),
        "market": market(),
        "book": book(),
        "haircut": D(0),
        "free": None,
        "refused_quantity": None,
        **fields,
    }
    return View(**values)


def settled(number, *, bought="0", cost="0", status=Status.CANCELED, purpose="make", when=0.0, **fields):
    return order(
        order_id=f"q1.1.{number}",
        attempt=number,
        phase=Phase.SETTLED,
        status=status,
        purpose=purpose,
        filled_quantity=D(bought),
        quote_filled=D(cost),
        created_at=at(when),
        **fields,
    )


def test_offsets_walk_from_five_basis_points_to_the_touch():
    assert [offset(k) for k in range(6)] == [D(n) / 10000 for n in (5, 4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("seconds", "number"), [(0, 0), (8.999, 0), (9, 1), (27, 3), (53.9, 5), (54, 6), (500, 6)]
)
def test_six_tries_of_nine_seconds_then_taking(seconds, number):
    assert try_of(parent(), at(seconds)) == number


@pytest.mark.parametrize(
    ("seconds", "price"), [(0, "1999.00"), (9, "1999.20"), (18, "1999.40"), (45, "2000.00")]
)
def test_a_buy_rests_below_the_bid_and_comes_closer(seconds, price):
    place = decide(view(book=book(when=seconds)), at(seconds))
    assert isinstance(place, Place) and place.post_only and place.purpose == "make"
    assert place.price == D(price)
    assert place.quantity == (D(1000) / D(price)).quantize(D("0.0001"), "ROUND_FLOOR")


def test_a_sell_rests_above_the_ask():
    selling = view(parent=parent(hops=SELL, start_amount=D(1)))
    place = decide(selling, at(0))
    assert (place.price, place.quantity) == (D("2001.51"), D(1))  # 2000.5 x 1.0005 = 2001.50025, rounded away


def test_selling_with_the_haircut_leaves_a_hundred_thousandth():
    selling = view(parent=parent(hops=SELL, start_amount=D(10)), haircut=D("1e-5"))
    assert decide(selling, at(0)).quantity == D("9.9999")


def test_while_an_order_rests_nothing_is_done_before_its_time():
    resting = order(phase=Phase.LIVE, status=Status.SUBMITTED, purpose="make", created_at=at(0.1))
    wait = decide(view(resting), at(3))
    assert isinstance(wait, Wait) and wait.until > at(9)
    assert decide(view(resting), at(9.1)) == CancelChild(order_id=resting.order_id)


def test_nothing_is_placed_before_a_cancel_has_settled():
    for phase in (Phase.PENDING_CANCEL, Phase.UNKNOWN):
        out = order(phase=phase, status=Status.SUBMITTED, purpose="make", asked=Asked.CANCEL)
        assert isinstance(decide(view(out), at(10)), Wait), phase


def test_what_was_bought_is_not_bought_again():
    part = settled(1, bought="0.2", cost="399.8")
    place = decide(view(part, book=book(when=10)), at(10))
    assert place.quantity * place.price <= D("600.2") < (place.quantity + D("0.0001")) * place.price


def test_a_post_only_refusal_moves_one_tick_back_and_stops_trying_after_three():
    refusals = [settled(n, status=Status.REJECTED, when=0.1 * n) for n in (1, 2)]
    assert decide(view(*refusals), at(1)).price == D("1998.98")
    refusals += [settled(n, status=Status.REJECTED, when=0.1 * n) for n in (3, 4)]
    assert isinstance(decide(view(*refusals), at(1)), Wait)


def test_after_the_tries_it_takes_five_basis_points_through():
    place = decide(view(book=book(when=54)), at(54))
    assert (str(place.time_in_force), place.post_only, place.purpose) == ("IOC", False, "take")
    assert place.price == D("2001.51")
    assert place.quantity * place.price <= 1000


def test_takes_are_a_second_apart():
    took = settled(1, bought="0.1", cost="200", purpose="take", when=54, status=Status.EXPIRED)
    wait = decide(view(took, book=book(when=54.5)), at(54.5))
    assert isinstance(wait, Wait) and wait.until == at(55)
    assert isinstance(decide(view(took, book=book(when=55)), at(55)), Place)


def test_a_remainder_too_small_to_trade_is_the_end():
    nearly = settled(1, bought="0.4975", cost="996")
    assert decide(view(nearly), at(3)) == HopDone(left=D(4))


def test_fees_in_the_source_currency_are_spent_too():
    nearly = settled(1, bought="0.4975", cost="990", fees={"USDT": D("6")})
    assert decide(view(nearly), at(3)) == HopDone(left=D(4))


@pytest.mark.parametrize(
    "bad",
    [
        None,
        book(when=-6),  # older than five seconds
        replace(book(), asks=()),
        book(bid="2001", ask="2000.5"),  # crossed
    ],
    ids=["none", "stale", "one-sided", "crossed"],
)
def test_a_bad_book_is_waited_for_and_not_traded_on(bad):
    assert isinstance(decide(view(book=bad), at(0)), Wait)
    assert isinstance(decide(view(book=bad), at(121)), GiveUp)


def test_after_a_refusal_for_funds_the_same_quantity_is_never_tried_twice():
    place = decide(view(free=D(990), refused_quantity=D("0.5")), at(0))
    assert place.quantity * place.price <= 990
    place = decide(view(free=D(1000), refused_quantity=D("0.5")), at(0))
    assert place.quantity == D("0.4999")


def test_a_thin_book_is_given_up_after_thirty_takes():
    takes = [settled(n, purpose="take", when=53 + n, status=Status.EXPIRED) for n in range(1, 31)]
    assert isinstance(decide(view(*takes, book=book(when=90)), at(90)), GiveUp)


def test_a_halted_market_is_given_up():
    assert isinstance(decide(view(market=market(active=False)), at(0)), GiveUp)
