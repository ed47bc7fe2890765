"""What a tape learns from public data, and the orders it only imagines."""

import random
import sys
from decimal import Decimal

import pytest

from ems.algos.shadow import AFTER_S, WINDOW_S, Shadow
from ems.algos.signals import Signals, Tape
from ems.core.messages import BookUpdate, PublicTrade, Side
from tests.builders import at

D = Decimal


def book(when, bid="2000", bid_size="10", ask="2000.5", ask_size="10", levels=1):
    step = D("0.5")
    return BookUpdate(
        symbol="ETH/USDT",
        bids=tuple((D(bid) - step * k, D(bid_size)) for k in range(levels)),
        asks=tuple((D(ask) + step * k, D(ask_size)) for k in range(levels)),
        at=at(when),
    )


def trade(when, quantity="1", side=Side.SELL, price="2000"):
    return PublicTrade(symbol="ETH/USDT", price=D(price), quantity=D(quantity), side=side, at=at(when))


def test_an_empty_tape_knows_the_defaults():
    assert Tape().look(Side.BUY, at(0)) == Signals()
    assert Tape().mid_at(at(0)) is None


def test_a_touch_leans_against_the_side_it_will_run_away_from():
    tape = Tape()
    tape.book(book(0, bid_size="30", ask_size="10"))
    assert tape.look(Side.BUY, at(0)).imbalance == 0.5
    assert tape.look(Side.SELL, at(0)).imbalance == -0.5


def test_volatility_is_the_size_of_the_moves_of_the_mid():
    tape = Tape()
    for second in range(600):  # up 1 bp, down 1 bp
        mid = D(2000) + D("0.2") * (second % 2)
        tape.book(book(second, bid=str(mid), ask=str(mid + D("0.02"))))
    seen = tape.look(Side.BUY, at(600))
    assert seen.sigma_1s == pytest.approx(1.0, rel=0.01)
    assert seen.sigma_5s == pytest.approx(1.0, rel=0.02)  # five steps end on the other side


def test_a_random_walk_moves_with_the_root_of_time():
    tape, dice, mid = Tape(), random.Random(4), 2000.0
    for second in range(4000):
        mid *= 1 + dice.gauss(0, 2e-4)
        tape.book(book(second, bid=f"{mid:.4f}", ask=f"{mid + 0.01:.4f}"))
    seen = tape.look(Side.BUY, at(4000))
    assert seen.sigma_1s == pytest.approx(2.0, rel=0.15)
    assert seen.sigma_5s == pytest.approx(2.0 * 5**0.5, rel=0.3)


def test_a_silence_is_a_mid_that_does_not_move():
    tape = Tape()
    for second in range(0, 300, 10):
        tape.book(book(second, bid=str(2000 + second % 20 // 10), ask="2002"))
    assert 0.0 < tape.look(Side.BUY, at(300)).sigma_1s < 1.0


def test_the_cost_of_depth_is_the_slope_of_the_other_side():
    tape = Tape()
    for second in range(30):
        tape.book(book(second, ask_size="5", bid_size="20", levels=20))
    buy, sell = tape.look(Side.BUY, at(30)), tape.look(Side.SELL, at(30))
    assert buy.cost_slope == pytest.approx(4 * sell.cost_slope, rel=0.05)
    assert buy.cost_slope == pytest.approx(5 / 10, rel=0.3)  # two levels of 5 within 5 bp


@pytest.mark.parametrize(("back", "quick"), [(0.9, True), (0.05, False)])
def test_depth_that_comes_back_soon_is_resilient(back, quick):
    tape, dice, size = Tape(), random.Random(1), 10.0
    for second in range(600):
        size += (10.0 - size) * back
        if dice.random() < 0.2:
            size *= 0.3
        tape.book(book(second, bid_size=f"{size:.3f}", ask_size=f"{size:.3f}"))
    assert (tape.look(Side.BUY, at(600)).resilience > 0.3) is quick


def test_volume_is_counted_from_the_moment_asked_for():
    tape = Tape()
    tape.book(book(0))
    for second in range(2000):
        tape.trade(trade(second + 0.5, "2"))
    assert tape.look(Side.BUY, at(2000), since=at(0)).volume == 4000
    assert tape.look(Side.BUY, at(2000), since=at(1990)).volume == 20
    assert tape.look(Side.BUY, at(2000), since=at(600)).volume == pytest.approx(
        2800, abs=120
    )  # to the minute
    assert tape.look(Side.BUY, at(2100), since=at(2050)).volume == 0
    assert tape.look(Side.BUY, at(2000)).volume is None


def test_the_rate_of_trading_is_known_from_the_first_minutes_on():
    tape = Tape()
    for second in range(120):
        tape.trade(trade(second, "3"))
        tape.book(book(second + 0.5))
    seen = tape.look(Side.BUY, at(120))
    assert seen.volume_rate == pytest.approx(3.0, rel=0.05)
    assert seen.outflow == pytest.approx(3.0, rel=0.05)  # sellers take from the bids, where a buy rests
    assert tape.look(Side.SELL, at(120)).outflow == 0


def test_mids_are_remembered_for_five_minutes():
    tape = Tape()
    for second in range(400):
        tape.book(book(second, bid=str(2000 + second), ask=str(2001 + second)))
    assert tape.mid_at(at(399)) == D("2399.5")
    assert tape.mid_at(at(350.7)) == D("2350.5")
    assert tape.mid_at(at(500)) == D("2399.5")
    assert tape.mid_at(at(50)) is None


def test_memory_is_bounded():
    def weight(tape):
        slots = (getattr(tape, name) for name in Tape.__slots__)
        return sum(sys.getsizeof(slot) for slot in slots)

    tape, sizes = Tape(), []
    for hour in range(3):
        for tick in range(7200):
            when = hour * 3600 + tick / 2
            tape.book(book(when, bid=str(2000 + tick % 7), ask=str(2008 + tick % 5)))
            tape.trade(trade(when))
        sizes.append(weight(tape))
    assert sizes[2] <= sizes[1] * 1.1


def test_one_sided_and_crossed_books_teach_nothing():
    tape = Tape()
    tape.book(book(0, bid="2001", ask="2000"))
    tape.book(BookUpdate(symbol="ETH/USDT", bids=(), asks=((D(1), D(1)),), at=at(1)))
    assert tape.look(Side.BUY, at(2)) == Signals()


# --- Shadows ------------------------------------------------------------------------------------------


def outcome(*steps, sign=1):
    """Play steps against a shadow at 2000 behind 10; return what was counted: None, 0.0 or 1.0."""
    shadow = Shadow(sign)
    shadow.book(2000.0, 10.0, 2000.0 + sign, 0.0)
    for step in steps:
        step(shadow)
    return shadow.filled.total if shadow.filled.weight else None


def sells(quantity, price=2000.0, when=1.0):
    return lambda shadow: shadow.trade(price, quantity, True, when)


def shows(size, touch=2000.0, opposite=2001.0, when=1.0):
    return lambda shadow: shadow.book(touch, size, opposite, when)


@pytest.mark.parametrize(
    ("steps", "counted"),
    [
        ((sells(10.0),), None),  # all that was before us, not yet us
        ((sells(10.1),), 1.0),
        ((sells(4.0), shows(6.0), sells(6.0, when=2.0)), None),  # the book confirms the trade, once
        ((sells(4.0), shows(6.0), sells(6.1, when=2.0)), 1.0),
        ((sells(0.1, price=1999.9),), 1.0),  # through our price
        ((sells(50.0, price=2000.5),), None),  # above it
        ((shows(5.0), sells(5.1, when=2.0)), 1.0),  # cancels with nobody behind us were before us
        ((shows(40.0), shows(30.0), sells(9.8, when=2.0)), None),  # many behind: most cancels were there
        ((shows(10.0, touch=1999.0), sells(0.1, when=2.0)), 1.0),  # alone at the best
        ((shows(10.0, touch=1998.0, opposite=1999.0),), 1.0),  # the other side came through
        ((shows(10.0, touch=2000.5),), None),  # outbid: says nothing
        ((shows(10.0, when=WINDOW_S),), 0.0),  # nobody came
    ],
)
def test_a_shadow_fills_as_an_order_in_its_place_would(steps, counted):
    assert outcome(*steps) == counted


def test_a_shadow_on_the_other_side_mirrors_it():
    mirrored = Shadow(-1)
    mirrored.book(2000.0, 10.0, 1999.0, 0.0)
    mirrored.trade(2000.1, 0.1, True, 1.0)
    assert mirrored.filled.total == 1.0


def test_what_a_fill_was_worth_is_seen_some_seconds_later():
    shadow = Shadow(1)
    shadow.book(2000.0, 10.0, 2001.0, 0.0)
    shadow.trade(1999.0, 1.0, True, 1.0)
    shadow.judge(1999.0, 1.0 + AFTER_S - 0.1)
    assert not shadow.loss.weight
    shadow.judge(1999.0, 1.0 + AFTER_S)
    assert shadow.loss.total == pytest.approx(1 / 1999 * 1e4)  # bought at 2000, worth 1999


def test_informed_sellers_teach_the_tape_that_resting_loses():
    def after(drift):
        tape, mid = Tape(), 2000.0
        for number in range(400):
            when = number * 10.0
            tape.book(book(when, bid=f"{mid:.2f}", ask=f"{mid + 0.02:.2f}"))
            tape.trade(trade(when + 1, "20", price=f"{mid:.2f}"))  # a seller takes the whole level
            mid -= drift
            tape.book(book(when + 2, bid=f"{mid:.2f}", ask=f"{mid + 0.02:.2f}"))
            tape.book(book(when + 8, bid=f"{mid:.2f}", ask=f"{mid + 0.02:.2f}"))
            mid += drift
        return tape.look(Side.BUY, at(4000))

    assert after(drift=2.0).adverse > after(drift=0.0).adverse + 3
    assert 0.2 < after(drift=0.0).fill_probability < 0.5  # one side fills when hit, the other never


def test_our_own_resting_fills_count_like_a_shadows():
    taught, plain = Tape(), Tape()
    for tape in (taught, plain):
        tape.book(book(0))
    for number in range(50):
        taught.own_fill(Side.BUY, 2010.0, maker=True, at=at(1 + number * 0.01))
        plain.own_fill(Side.BUY, 2010.0, maker=False, at=at(1 + number * 0.01))
    for tape in (taught, plain):
        tape.book(book(10))
    assert taught.look(Side.BUY, at(10)).adverse > 10 > 1 > plain.look(Side.BUY, at(10)).adverse
