"""The rules of the adaptive machine, one by one: schedule, catch-up, make or take, quotes, sizes, guards."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.algos.params import PROFILES
from ems.algos.signals import Signals
from ems.algos.view import CancelChild, Done, Place, View, Wait
from ems.algos.walker import decide, progress, slots
from ems.core.messages import BookUpdate, Side
from ems.core.records import Asked, Phase, Status
from tests.builders import at, book, market, order

D = Decimal
ADAPTIVE = PROFILES["adaptive"]
# A spread of 2.5 bp and 5 bp between the fees: resting gains 6.25 bp. Taking 10,000 at once costs 5 bp more
# than taking it slowly, so waiting pays, but not well: a fifth of full patience.
BUSY = Signals(cost_slope=2.0)
CALM = Signals(cost_slope=0.001)
TAKES = Signals(adverse=50.0)  # whoever rests loses: the rule says take


def view(*orders, **fields):
    spent = sum((o.quote_filled for o in orders), D(0))
    total = fields.pop("total", D(10000))
    values = {
        "params": ADAPTIVE,
        "side": Side.BUY,
        "orders": list(orders),
        "market": market(maker_fee="0.0005"),
        "signals": BUSY,
        "book": book(when=fields.pop("when", 0.0)),
        "total": total,
        "available": total - spent,
        "started_at": at(0),
        "ends_at": at(60),
        "seed": "q1.1",
        **fields,
    }
    return View(**values)


def top(bid="2000", bid_size="10", ask="2000.5", ask_size="10", when=0.0):
    return BookUpdate(
        symbol="ETH/USDT", bids=((D(bid), D(bid_size)),), asks=((D(ask), D(ask_size)),), at=at(when)
    )


def maker(price="2000.01", quantity="1.7", when=0.0, **fields):
    values = {
        "order_id": "q1.1.0",
        "purpose": "make",
        "post_only": True,
        "price": price,
        "quantity": quantity,
        "reserved": D(price) * D(quantity),
        "phase": Phase.LIVE,
        "status": Status.SUBMITTED,
        "created_at": at(when),
    }
    return order(**{**values, **fields})


def taken(bought, when, **fields):
    quantity = D(bought)
    return order(
        order_id=f"q1.1.{when}",
        purpose="take",
        quantity=bought,
        filled_quantity=quantity,
        quote_filled=quantity * 2000,
        phase=Phase.SETTLED,
        status=Status.FILLED,
        created_at=at(when),
        **fields,
    )


# --- Resting ------------------------------------------------------------------------------------------


def test_a_part_rests_one_tick_ahead_of_the_touch_where_the_spread_has_room():
    place = decide(view(), at(0))
    assert isinstance(place, Place) and place.purpose == "make" and place.post_only
    assert place.price == D("2000.01")
    assert place.quantity == D("2.3499")  # 0.35 + 0.6 x 0.2 of 10,000, at the take price 2001.51


def test_nearly_all_of_it_rests_where_nothing_is_lost_by_waiting():
    place = decide(view(signals=CALM), at(0))
    assert place.quantity == D("4.7452")


@pytest.mark.parametrize(
    ("side", "bid", "ask", "price"),
    [
        (Side.BUY, "2000", "2000.01", "2000"),  # one tick wide: join
        (Side.BUY, "2000", "2000.02", "2000.01"),  # two: the mid itself
        (Side.BUY, "2000", "2000.03", "2000.01"),
        (Side.SELL, "2000", "2000.01", "2000.01"),
        (Side.SELL, "2000", "2000.02", "2000.01"),
        (Side.SELL, "2000", "2000.5", "2000.49"),
    ],
)
def test_a_quote_improves_by_one_tick_but_not_beyond_the_mid(side, bid, ask, price):
    total = D(10000) if side is Side.BUY else D(5)
    place = decide(view(side=side, book=top(bid=bid, ask=ask), total=total), at(0))
    assert place.price == D(price)


@pytest.mark.parametrize(
    ("bid", "moved"),
    [
        ("2000", False),  # alone at the best: it stays
        ("2000.01", False),  # others joined it: its place in the queue is worth more
        ("1990", False),  # the market comes towards it: it stays
        ("2000.02", True),  # outbid
    ],
)
def test_an_order_moves_only_when_it_is_outbid(bid, moved):
    decision = decide(view(maker(), book=top(bid=bid, when=2)), at(2))
    assert isinstance(decision, CancelChild if moved else Wait)


def test_while_a_cancel_settles_no_second_quote_is_placed_but_takes_go_on():
    leaving = maker(asked=Asked.CANCEL, phase=Phase.PENDING_CANCEL, updated_at=at(1))
    assert isinstance(decide(view(leaving, when=3), at(3)), Wait)
    place = decide(view(leaving, when=50), at(50))  # far behind the schedule
    assert isinstance(place, Place) and place.purpose == "take"


def test_an_order_of_unknown_fate_counts_in_full_and_holds_nothing_up():
    lost = maker(quantity="4", asked=Asked.CANCEL, phase=Phase.UNKNOWN, updated_at=at(1))
    place = decide(view(lost, when=3), at(3))
    assert isinstance(place, Place) and place.purpose == "make"
    assert place.quantity * place.price + lost.reserved <= 10000
    everything = maker(quantity="4.998", asked=Asked.CANCEL, phase=Phase.UNKNOWN, updated_at=at(1))
    assert isinstance(decide(view(everything, when=50), at(50)), Wait)


def test_a_refused_quote_is_answered_one_tick_further_back():
    refused = maker(phase=Phase.SETTLED, status=Status.REJECTED, when=1, reserved=D(0))
    assert decide(view(refused, when=1.5), at(1.5)).price == D("2000.00")
    five = [replace(refused, order_id=f"q1.1.{n}") for n in range(5)]
    assert isinstance(decide(view(*five, when=3), at(3)), Wait)


def test_no_more_than_two_requests_a_second():
    asked = maker(
        asked=Asked.CANCEL, phase=Phase.SETTLED, status=Status.CANCELED, updated_at=at(1.9), when=1.5
    )
    wait = decide(view(replace(asked, reserved=D(0)), when=2), at(2))
    assert isinstance(wait, Wait) and (wait.why, wait.until) == ("between requests", at(2.5))


def test_what_can_no_longer_hope_to_fill_does_not_rest():
    quiet = replace(BUSY, outflow=0.001)  # 0.06 ETH in the time, and 10 before us
    place = decide(view(signals=quiet, book=top(ask="2000.01")), at(0))
    assert place.quantity == D("0.0026")  # the smallest legal order


# --- Taking -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "bid_size", "expected"),
    [
        (0.0, "10", None),
        (10.0, "20", None),
        (21.0, "20", "take"),  # behind by more than the band, and the book leans against us
        (21.0, "5", None),  # behind, but the book leans towards us
        (47.0, "5", "take"),  # behind by twice the band: whatever the book says
    ],
)
def test_catching_up_waits_for_the_book_to_lean_until_it_is_twice_the_band_behind(
    seconds, bid_size, expected
):
    resting = maker(when=-10)
    decision = decide(view(resting, book=top(bid="2000", bid_size=bid_size, when=seconds)), at(seconds))
    assert getattr(decision, "purpose", None) == expected


def test_catching_up_takes_no_more_than_is_shown_at_the_touch():
    place = decide(view(maker(when=-10), book=top(ask_size="0.5", when=47)), at(47))
    assert (place.purpose, place.quantity) == ("take", D("0.5"))


def test_takes_are_a_second_apart():
    late = view(maker(when=-10), taken("0.1", 47.5), when=48)
    assert isinstance(decide(late, at(48)), Wait)
    assert isinstance(decide(replace(late, book=book(when=48.5)), at(48.5)), Place)


def test_where_resting_costs_more_than_it_saves_nothing_rests():
    assert isinstance(decide(view(signals=TAKES), at(0)), Wait)
    assert isinstance(decide(view(maker(when=-10), signals=TAKES), at(0)), CancelChild)


def test_in_take_mode_a_slot_is_taken_at_its_end_or_when_the_book_leans():
    def at_slot(seconds, bid_size):
        return decide(
            view(signals=TAKES, book=top(bid_size=bid_size, ask_size="10", when=seconds)), at(seconds)
        )

    assert isinstance(at_slot(2, "10"), Wait)
    assert at_slot(2, "90").purpose == "take"  # leaning 0.8
    assert at_slot(5, "10").purpose == "take"  # the first of twelve slots is over


def thin(when):
    return BookUpdate(
        symbol="ETH/USDT",
        bids=((D(2000), D(10)),),
        asks=((D("2000.5"), D("0.1")), (D("2000.6"), D("0.05")), (D(2001), D(50))),
        at=at(when),
    )


def test_a_slot_larger_than_what_is_shown_near_the_touch_stays_at_its_price():
    place = decide(view(signals=TAKES, book=thin(1)), at(1))
    assert (place.price, place.post_only, str(place.time_in_force)) == (D("2000.5"), False, "GTC")
    assert D("0.5") < place.quantity < D("0.7")  # more than a twelfth: it begins early
    rests = maker(price="2000.5", quantity=str(place.quantity), when=1, post_only=False)
    assert isinstance(decide(view(rests, signals=TAKES, book=thin(3)), at(3)), Wait)
    assert decide(view(rests, signals=TAKES, book=thin(5)), at(5)) == CancelChild(order_id=rests.order_id)


def test_a_market_too_thin_for_the_size_is_worked_in_slots_even_where_resting_gains():
    place = decide(view(signals=Signals(cost_slope=5.0), book=thin(1)), at(1))
    assert not place.post_only and place.price == D("2000.5")


def test_a_book_whose_other_side_stands_at_our_own_order_is_read_without_it():
    rests = maker(price="2000.5", quantity="0.4", when=1, post_only=False)
    locked = BookUpdate(
        symbol="ETH/USDT",
        bids=((D("2000.5"), D("0.4")), (D(2000), D(10))),
        asks=((D("2000.5"), D("0.1")), (D(2001), D(50))),
        at=at(5),
    )
    cancel = decide(view(rests, signals=TAKES, book=locked), at(5))
    assert cancel == CancelChild(order_id=rests.order_id)
    strangers = replace(rests, phase=Phase.SETTLED, status=Status.CANCELED, reserved=D(0), updated_at=at(2))
    assert isinstance(decide(view(strangers, signals=TAKES, book=locked), at(5)), Wait)


SEEN = replace(CALM, fills_seen=50.0, fill_probability=0.8)


@pytest.mark.parametrize(
    ("seconds", "bid_size", "out", "expected"),
    [
        (5, "12", False, Place),  # it leans against us: whoever sells to us now is in the minority
        (5, "8", False, Wait),  # it leans towards us, and may come
        (5, "8", True, Wait),  # but an order that stands stays there for a little
        (5, "3", True, CancelChild),
        (45, "3", False, Place),  # time enough for no more than three shadows
    ],
)
def test_nothing_rests_where_the_touch_is_about_to_come(seconds, bid_size, out, expected):
    orders = [maker(when=-10, quantity="0.1")] if out else []
    shown = top(bid_size=bid_size, when=seconds)
    assert isinstance(decide(view(*orders, signals=SEEN, book=shown), at(seconds)), expected)


def test_a_move_that_is_about_to_happen_is_not_queued_for():
    calm, moving = (replace(BUSY, sigma_5s=s, fill_probability=0.1) for s in (0.1, 30.0))
    leaning = top(bid_size="50", ask_size="5", when=2)
    assert decide(view(signals=calm, book=leaning), at(2)).purpose == "make"
    assert decide(view(signals=moving, book=leaning), at(2)).purpose == "take"


@pytest.mark.parametrize("seconds", [54.0, 56.1])
def test_the_tail_takes_in_slices_whatever_is_ahead_of_the_schedule(seconds):
    had = taken("4.8", 20)
    place = decide(view(had, when=seconds), at(seconds))
    assert place.purpose == "take"
    third = D(400) / D("2001.51") / (3 if seconds < 56 else 2)
    assert abs(place.quantity - third) <= D("0.0001")
    again = taken("0.06", seconds)
    slice_done = decide(view(had, again, when=seconds + 1.2), at(seconds + 1.2))
    assert getattr(slice_done, "purpose", "make") == "make"


def test_the_last_slice_calls_back_what_rests_and_takes_everything():
    resting = maker(when=50)
    assert decide(view(resting, when=58.1), at(58.1)) == CancelChild(order_id=resting.order_id)
    settling = replace(resting, asked=Asked.CANCEL, phase=Phase.PENDING_CANCEL, updated_at=at(58.1))
    place = decide(view(settling, when=58.1), at(58.1))
    assert place.purpose == "take"
    left = 10000 - settling.reserved
    assert place.quantity * place.price <= left < (place.quantity + D("0.0001")) * place.price


# --- Limits, sizes, ends -----------------------------------------------------------------------------


def test_a_limit_below_the_offer_rests_and_does_not_take():
    place = decide(view(limit=D("2000.3"), when=30), at(30))
    assert (place.purpose, place.price) == ("make", D("2000.01"))
    wait = decide(view(maker(), limit=D("2000.3"), when=59), at(59))
    assert isinstance(wait, Wait)


def test_a_limit_bounds_the_price_of_a_take():
    place = decide(view(maker(), limit=D("2000.756"), when=50), at(50))
    assert (place.purpose, place.price) == ("take", D("2000.75"))


def test_a_limit_that_stays_out_of_reach_ends_a_moment_after_the_time():
    beyond = {"limit": D(1900)}
    wait = decide(view(**beyond, when=64), at(64))
    assert isinstance(wait, Wait) and wait.why.startswith("waiting for the price")
    done = decide(view(**beyond, when=66), at(66))
    assert isinstance(done, Done) and done.left == 10000 and "limit" in done.why


@pytest.mark.parametrize("side", Side)
def test_the_time_is_up_and_nothing_is_to_be_taken(side):
    resting = maker(when=50, side=side)
    late = view(resting, side=side, on_timeout="cancel", when=60)
    assert decide(late, at(60)) == CancelChild(order_id=resting.order_id)
    asked = replace(resting, asked=Asked.CANCEL, phase=Phase.PENDING_CANCEL)
    assert isinstance(decide(replace(late, orders=[asked]), at(60)), Wait)
    assert decide(replace(late, orders=[]), at(60)) == Done(left=D(10000), why="time is up")


def test_the_time_is_up_even_when_there_is_no_book():
    assert decide(view(on_timeout="cancel", book=None), at(60)) == Done(left=D(10000), why="time is up")


@pytest.mark.parametrize(
    ("left", "quantity"),
    [
        ("9.3", "0.0046"),  # less than two smallest orders (0.0026): all of it
        ("17", "0.0084"),  # so is 0.47 of it, but then the rest is too little
        ("10.3", "0.0051"),
    ],
)
def test_no_remainder_below_the_smallest_order_is_left(left, quantity):
    assert decide(view(total=D(left)), at(0)).quantity == D(quantity)


def test_a_last_take_is_cut_so_that_the_one_after_it_is_legal():
    capped = market(max_quantity="4.995")
    place = decide(view(market=capped, when=58.5, params=PROFILES["market"]), at(58.5))
    assert place.quantity == D("4.9924")  # of 4.9962: beyond the maximum of 4.995 only 0.0012 would be left


def test_an_order_larger_than_the_market_allows_is_split():
    capped = market(max_quantity="0.5")
    place = decide(view(market=capped, params=PROFILES["market"]), at(0))
    assert place.quantity == D("0.5")


def test_a_quantity_is_bought_exactly_and_no_more():
    some = view(taken("1.2", 1), quantity=D("1.5"), when=58.5)
    assert decide(some, at(58.5)).quantity == D("0.3")
    assert isinstance(decide(view(taken("1.5", 1), quantity=D("1.5"), more=True, when=3), at(3)), Done)


def test_a_quantity_beyond_the_funds_buys_what_they_buy():
    place = decide(view(quantity=D(50), params=PROFILES["market"]), at(0))
    assert place.quantity * place.price <= 10000


def test_nothing_left_but_more_to_come_is_waited_for():
    wait = decide(view(total=D(0), more=True), at(0))
    assert isinstance(wait, Wait) and wait.why == "waiting for funds"
    assert decide(view(total=D(0)), at(0)) == Done(left=D(0))


# --- Slots --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 12, 1000])
def test_shuffled_slots_end_exactly_and_in_order(count):
    ends, shares = slots("q1.1", count, 0.2, ())
    assert ends[-1] == shares[-1] == 1.0 and len(ends) == len(shares) == count
    assert list(ends) == sorted(ends) and list(shares) == sorted(shares)
    sizes = [b - a for a, b in zip((0.0, *shares), shares, strict=False)]
    assert all(0.6 / count < size < 1.5 / count for size in sizes)
    assert slots("q1.1", count, 0.2, ()) == (ends, shares) != slots("q1.2", count, 0.2, ())[:1]


def test_slots_follow_a_curve():
    _, shares = slots("q1.1", 4, 0.0, (3.0, 1.0))
    assert shares == (0.375, 0.75, 0.875, 1.0)


# --- For people ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orders", "phase"),
    [
        ((), "waiting"),
        ((maker(),), "making"),
        ((maker(asked=Asked.CANCEL),), "settling"),
        ((maker(), replace(taken("1", 5), phase=Phase.LIVE)), "taking"),
    ],
)
def test_progress_speaks_of_making_taking_waiting_and_settling(orders, phase):
    assert progress(view(*orders, when=30), at(30))["phase"] == phase


def test_progress_counts_steps_and_says_how_far_behind_it_is():
    shown = progress(view(taken("2.5", 5), when=30), at(30))
    assert (shown["step"], shown["steps"], shown["percent"], shown["time_percent"]) == (7, 12, "50.0", "50.0")
    assert float(shown["schedule"]) < 0  # an urgent plan wants more than half by half time


@pytest.mark.parametrize("algo", PROFILES)
def test_progress_is_known_for_every_algorithm_with_and_without_a_book(algo):
    for shown in (book(when=30), None):
        told = progress(view(params=PROFILES[algo], book=shown), at(30))
        assert set(told) == {"phase", "step", "steps", "percent", "time_percent", "schedule"}
