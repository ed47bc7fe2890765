"""The classic walk and the chase: what they decide at each point of their minute."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.algos.params import PROFILES, with_overrides
from ems.algos.view import CancelChild, Done, GiveUp, Place, View, Wait
from ems.algos.walker import decide, offset, try_of
from ems.core.messages import Side
from ems.core.records import Asked, Phase, Status
from tests.algos.play import Play
from tests.builders import at, book, market, order

D = Decimal


def view(*orders, **fields):
    spent = sum((o.quote_filled + o.fees.get("USDT", D(0)) for o in orders), D(0))
    total = fields.pop("total", D(1000))
    values = {
        "params": PROFILES["classic"],
        "side": Side.BUY,
        "orders": list(orders),
        "market": market(),
        "book": book(),
        "total": total,
        "available": total - spent,
        "started_at": at(0),
        "ends_at": at(60),
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
    assert [offset(view(), k) for k in range(6)] == [D(n) / 10000 for n in (5, 4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("seconds", "number"), [(0, 0), (8.999, 0), (9, 1), (27, 3), (53.9, 5), (54, 6), (500, 6)]
)
def test_six_tries_of_nine_seconds_then_taking(seconds, number):
    assert try_of(view(), at(seconds)) == number


@pytest.mark.parametrize("seconds", [54, 59.9])
def test_who_is_not_to_take_rests_in_the_last_try_until_the_end(seconds):
    resting = order(phase=Phase.LIVE, status=Status.SUBMITTED, purpose="make", created_at=at(46))
    wait = decide(view(resting, on_timeout="cancel"), at(seconds))
    assert isinstance(wait, Wait) and wait.until == at(60)
    assert decide(view(resting, on_timeout="cancel"), at(60)) == CancelChild(order_id=resting.order_id)


@pytest.mark.parametrize(
    ("seconds", "price"), [(0, "1999.00"), (9, "1999.20"), (18, "1999.40"), (45, "2000.00")]
)
def test_a_buy_rests_below_the_bid_and_comes_closer(seconds, price):
    place = decide(view(book=book(when=seconds)), at(seconds))
    assert isinstance(place, Place) and place.post_only and place.purpose == "make"
    assert place.price == D(price)
    assert place.quantity == (D(1000) / D(price)).quantize(D("0.0001"), "ROUND_FLOOR")


def test_a_chase_rests_at_the_bid_from_the_start():
    assert decide(view(params=PROFILES["chase"]), at(0)).price == D(2000)


def test_more_tries_share_the_same_time():
    many = with_overrides("classic", {"tries": "18"})
    assert [try_of(view(params=many), at(t)) for t in (0, 3, 53.9, 54)] == [0, 1, 17, 18]


def test_a_sell_rests_above_the_ask():
    place = decide(view(side=Side.SELL, total=D(1)), at(0))
    assert (place.price, place.quantity) == (D("2001.51"), D(1))  # 2000.5 x 1.0005 = 2001.50025, rounded away


def test_selling_with_the_haircut_leaves_a_hundred_thousandth():
    assert decide(view(side=Side.SELL, total=D(10), haircut=D("1e-5")), at(0)).quantity == D("9.9999")


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
    assert decide(view(nearly), at(3)) == Done(left=D(4))


def test_a_remainder_too_small_to_trade_waits_for_funds_that_are_still_to_come():
    nearly = settled(1, bought="0.4975", cost="996")
    wait = decide(view(nearly, more=True), at(3))
    assert isinstance(wait, Wait) and wait.why == "waiting for funds"


def test_fees_in_the_source_currency_are_spent_too():
    nearly = settled(1, bought="0.4975", cost="990", fees={"USDT": D("6")})
    assert decide(view(nearly), at(3)) == Done(left=D(4))


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
@pytest.mark.parametrize("algo", PROFILES)
def test_a_bad_book_is_waited_for_and_not_traded_on(algo, bad):
    assert isinstance(decide(view(params=PROFILES[algo], book=bad), at(0)), Wait)
    assert isinstance(decide(view(params=PROFILES[algo], book=bad), at(121)), GiveUp)


def test_an_exchange_that_was_away_gets_its_minute_of_patience_from_its_return():
    assert isinstance(decide(view(book=None, ready_at=at(100)), at(121)), Wait)
    assert isinstance(decide(view(book=None, ready_at=at(100)), at(161)), GiveUp)


def test_after_a_refusal_for_funds_the_same_quantity_is_never_tried_twice():
    place = decide(view(free=D(990), refused_quantity=D("0.5")), at(0))
    assert place.quantity * place.price <= 990
    place = decide(view(free=D(1000), refused_quantity=D("0.5")), at(0))
    assert place.quantity == D("0.4999")


@pytest.mark.parametrize("algo", PROFILES)
def test_a_thin_book_is_given_up_after_thirty_takes(algo):
    takes = [settled(n, purpose="take", when=59 + n, status=Status.EXPIRED) for n in range(1, 31)]
    assert isinstance(decide(view(*takes, params=PROFILES[algo], book=book(when=95)), at(95)), GiveUp)


@pytest.mark.parametrize("algo", PROFILES)
def test_a_halted_market_is_given_up(algo):
    assert isinstance(decide(view(params=PROFILES[algo], market=market(active=False)), at(0)), GiveUp)


def test_a_limit_behind_the_touch_moves_the_quote_back_and_forbids_the_take():
    assert decide(view(limit=D("1998.505")), at(0)).price == D("1998.50")
    wait = decide(view(limit=D("1998.505"), book=book(when=54)), at(54))
    assert isinstance(wait, Wait) and wait.why.startswith("waiting for the price")


def test_a_limit_far_behind_the_touch_is_waited_for():
    wait = decide(view(limit=D(1900)), at(0))
    assert isinstance(wait, Wait) and wait.why.startswith("waiting for the price")


def test_a_walk_that_nobody_meets_ends_in_one_take():
    play = Play(algo="classic").run()
    assert [round(t) for t, _ in play.makes] == [0, 9, 18, 27, 36, 45]
    assert [t for t, _ in play.takes] == [54.25]  # once the last cancel has settled
    assert isinstance(play.end, Done) and play.end.left < 8
