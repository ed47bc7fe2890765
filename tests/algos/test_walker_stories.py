"""Whole legs played against a tiny venue: every algorithm completes, exactly, and never beyond its means."""

import math
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ems.algos.params import ALGOS, with_overrides
from ems.algos.signals import Signals
from ems.algos.view import CancelChild, Done, GiveUp
from ems.core.messages import Side
from ems.core.records import Phase
from tests.algos.play import Play
from tests.builders import at, market

D = Decimal
TIMED = ("adaptive", "classic", "market", "twap", "vwap", "is", "chase")
PATIENT = ("pov", "iceberg", "sniper", "pegged")
SMALLEST = D("5.2")  # quote: below this nothing legal can be bought


def wavy(seconds):
    """A touch that moves up and down by half a per cent."""
    bid = D(2000) + D(str(round(10 * math.sin(seconds / 7), 2)))
    return str(bid), str(bid + D("0.05"))


def sellers(seconds):
    return int(seconds) % 5 == 0  # somebody sells to the bid every few seconds


@pytest.mark.parametrize("algo", ALGOS)
@pytest.mark.parametrize("side", Side)
def test_every_algorithm_completes_by_its_time(algo, side):
    amount = "10000" if side is Side.BUY else "5"
    play = Play(algo=algo, side=side, amount=amount, quotes=wavy, touched=sellers).run()
    assert isinstance(play.end, Done)
    left = play.end.left if side is Side.BUY else play.end.left * 2000
    assert left < SMALLEST and play.clock <= 65
    assert play.end.left == play.available == play.view().available


@pytest.mark.parametrize("algo", ALGOS)
def test_every_algorithm_buys_exactly_the_quantity_asked_for(algo):
    play = Play(algo=algo, quantity="4.2", amount="20000", quotes=wavy, touched=sellers).run()
    assert isinstance(play.end, Done) and play.filled == D("4.2")


@pytest.mark.parametrize("algo", ALGOS)
def test_every_algorithm_completes_when_nobody_meets_its_orders(algo):
    view = {"signals": Signals(adverse=5.0)} if algo == "adaptive" else {}
    play = Play(algo=algo, view_fields=view).run()
    assert isinstance(play.end, Done) and play.end.left < 10 and play.clock <= 65


@pytest.mark.parametrize("algo", ALGOS)
def test_every_algorithm_stays_within_its_limit(algo):
    limit = D("2002.5")  # within reach some of the time; the loop asserts every price
    play = Play(algo=algo, quotes=wavy, touched=sellers, view_fields={"limit": limit}).run()
    bought = [order for order in play.orders if order.filled_quantity]
    assert bought and all(order.quote_filled / order.filled_quantity <= limit for order in bought)


@pytest.mark.parametrize("algo", ALGOS)
def test_every_algorithm_leaves_what_it_may_not_take(algo):
    play = Play(algo=algo, view_fields={"on_timeout": "cancel", "limit": D(1999)}, quotes=rising).run()
    assert play.end == Done(left=play.available, why="time is up")
    assert 60 <= play.clock <= 62 and not play.filled
    assert all(order.phase is Phase.SETTLED for order in play.orders)


def rising(seconds):
    bid = D("1999.5") + D(str(round(seconds / 10, 2)))
    return str(bid), str(bid + D("0.5"))


@pytest.mark.parametrize("algo", ALGOS)
def test_every_algorithm_sells_what_it_has_less_the_haircut(algo):
    fields = {"haircut": D("1e-5")}
    play = Play(algo=algo, side=Side.SELL, amount="7", quotes=wavy, view_fields=fields).run()
    assert isinstance(play.end, Done) and 0 < play.end.left < D("0.0027")


@pytest.mark.parametrize("algo", ALGOS)
def test_a_restart_in_the_middle_changes_nothing(algo):
    def play():
        return Play(algo=algo, quotes=wavy, touched=sellers, fill_makers=0.5)

    whole = play().run()
    first = play().run(until=int(whole.clock * 2) / 4)
    assert first.end is None
    second = play()
    second.orders, second.now, second.cancels = list(first.orders), first.now, dict(first.cancels)
    second.run()
    assert [*first.log, *second.log] == whole.log
    assert second.orders == whole.orders


@pytest.mark.parametrize("algo", ALGOS)
def test_quotes_that_the_venue_refuses_do_not_stop_it(algo):
    play = Play(algo=algo, quotes=wavy, refuse=lambda place, _: place.post_only).run()
    assert isinstance(play.end, Done) and play.end.left < 10


@pytest.mark.parametrize("algo", ["adaptive", "is", "twap", "vwap"])
def test_an_order_nobody_can_find_does_not_stop_the_rest(algo):
    play = Play(algo=algo, lose=lambda place, when: place.purpose == "make" and when < 2)
    play.run(until=70)
    lost = [order for order in play.orders if order.phase is Phase.UNKNOWN]
    assert len(lost) >= 1 and play.end is None  # never done while one is out
    reserved = sum(order.reserved for order in lost)
    assert 0 <= play.available - reserved < 10  # all but what the lost ones may still take


@pytest.mark.parametrize("algo", ALGOS)
def test_a_large_order_is_split_by_the_markets_maximum(algo):
    small = market(max_quantity="0.35")
    play = Play(algo=algo, market=small, quotes=wavy, touched=sellers, amount="4000").run()
    assert isinstance(play.end, Done) and play.end.left < 10
    assert max(order.quantity for order in play.orders) <= D("0.35")


@pytest.mark.parametrize("algo", ALGOS)
def test_a_book_that_stays_too_thin_is_given_up(algo):
    play = Play(algo=algo, size="0.003", amount="100000", seconds=10).run()
    assert isinstance(play.end, GiveUp) and "thin" in play.end.why


def test_funds_that_arrive_later_are_spent_too():
    play = Play(amount="4000", view_fields={"more": True}).run(until=20)
    play.amount = "6000"
    play.run(until=62)
    assert play.end is None and play.available < 10  # it would go on waiting
    play.view_fields = {"more": False}
    play.run()
    assert isinstance(play.end, Done)


def test_a_twap_trades_in_every_part_of_its_time():
    play = Play(algo="twap", seconds=600, quotes=wavy, view_fields={"signals": Signals(adverse=50.0)}).run()
    parts = {int(seconds // 50) for seconds, _ in play.takes}
    assert len(parts) >= 9 and len(play.takes) <= 16 and not play.makes
    first_half = sum(o.filled_quantity for o in play.orders if (o.created_at - at(0)).total_seconds() < 300)
    assert D("0.35") < first_half / play.filled < D("0.65")


def test_a_vwap_follows_its_curve():
    early = with_overrides("vwap", {"curve": "9,1", "jitter": "0"})
    play = Play(algo=early, seconds=600, view_fields={"signals": Signals(adverse=50.0)}).run()
    first_half = sum(o.filled_quantity for o in play.orders if (o.created_at - at(0)).total_seconds() <= 302)
    assert D("0.85") < first_half / play.filled < D("0.95")


@pytest.mark.parametrize(("volume", "more"), [(0.5, False), (2.0, True)])
def test_a_vwap_goes_with_the_volume_it_sees(volume, more):
    def bought(signals):
        flat = with_overrides("vwap", {"jitter": "0"})
        play = Play(algo=flat, seconds=600, view_fields={"signals": signals}).run(until=200)
        return play.filled

    usual = Signals(adverse=50.0, volume_rate=1.0, volume=200.0)
    assert (bought(replace(usual, volume=200.0 * volume)) > bought(usual)) is more


def test_a_participation_keeps_its_share_of_the_volume():
    tenth = with_overrides("pov", {"participation": "0.1"})
    play = Play(algo=tenth, seconds=100_000, amount="100000", touched=sellers)
    for second in range(0, 600, 2):
        play.view_fields = {"signals": Signals(volume=float(second) / 2 + float(play.filled))}
        play.run(until=second + 2)
    share = float(play.filled) / (300 + float(play.filled))
    assert 0.05 <= share <= 0.15


def test_an_iceberg_shows_a_part_and_refills():
    play = Play(algo="iceberg", touched=sellers).run()
    assert len(play.makes) >= 8
    assert all(D("0.39") <= place.quantity <= D("0.61") for _, place in play.makes[:-1])  # a tenth, +- 20 %
    assert len({place.quantity for _, place in play.makes}) > 3


def test_a_sniper_shows_nothing_and_takes_only_within_its_limit():
    play = Play(algo="sniper", quotes=wavy, view_fields={"limit": D(1995)}).run()
    assert play.takes and not play.makes
    assert all(D(wavy(seconds)[1]) <= 1995 for seconds, _ in play.takes)


def test_a_sniper_without_a_limit_waits_for_a_narrow_book():
    def quotes(seconds):
        return ("2000", "2000.1") if seconds > 30 else ("2000", "2004")

    play = Play(algo="sniper", quotes=quotes).run()
    assert 30 < play.takes[0][0] < 31.5 and isinstance(play.end, Done)


def test_a_peg_follows_the_touch_at_its_distance():
    behind = with_overrides("pegged", {"offset_ticks": "3"})
    play = Play(algo=behind, quotes=rising).run(until=40)
    assert len(play.makes) > 10 and not play.takes
    for seconds, place in play.makes:
        assert place.price == D(rising(seconds)[0]) - D("0.03")


def test_a_market_order_in_rounds_eats_its_way_through():
    play = Play(algo="market", size="1", seconds=60).run()
    assert isinstance(play.end, Done) and play.clock < 5
    assert not any(isinstance(decision, CancelChild) for _, decision in play.log)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_markets_never_make_it_spend_too_much_or_go_on_for_ever(data):
    algo = data.draw(st.sampled_from(ALGOS))
    side = data.draw(st.sampled_from(list(Side)))
    moves = data.draw(st.lists(st.integers(-40, 40), min_size=5, max_size=20))
    widths = data.draw(st.lists(st.integers(1, 300), min_size=5, max_size=10))
    fees = data.draw(st.sampled_from(["received", "quote", "base"]))
    amount = data.draw(st.integers(1, 30_000))
    rules = market(
        fee_mode=fees,
        lot=data.draw(st.sampled_from(["0.0001", "0.01", "0.1"])),
        tick=data.draw(st.sampled_from(["0.01", "0.5"])),
        max_quantity=data.draw(st.sampled_from(["9000", "1.5"])),
    )

    def quotes(seconds):
        steps = int(seconds / 3)
        bid = 200_000 + sum(moves[k % len(moves)] for k in range(steps))
        cents = widths[steps % len(widths)]
        bid = bid - bid % 50
        return str(D(bid) / 100), str(D(bid + cents + (-cents) % 50) / 100)

    fields = {}
    if data.draw(st.booleans()):
        fields["limit"] = D(data.draw(st.integers(1990, 2010)))
    if data.draw(st.booleans()):
        fields["on_timeout"] = "cancel"
    quantity = data.draw(st.one_of(st.none(), st.integers(1, 20).map(str)))
    play = Play(
        algo=algo,
        side=side,
        amount=str(amount) if side is Side.BUY else str(D(amount) / 2000),
        quantity=quantity,
        market=rules,
        quotes=quotes,
        seconds=data.draw(st.sampled_from([0, 5, 20])),
        size=data.draw(st.sampled_from(["0.2", "3"])),
        touched=lambda seconds: int(seconds * 3) % 4 == 0,
        fill_makers=data.draw(st.sampled_from([0.1, 0.6, 1.0])),
        cancel_s=data.draw(st.sampled_from([0.0, 0.3, 2.0])),
        view_fields=fields,
    ).run(step=0.5)
    assert play.available >= 0
    assert quantity is None or play.filled <= D(quantity)
