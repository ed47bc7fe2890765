"""The walker: one machine that turns a leg into orders over time; which algorithm it is, `view.params` says.

Rules:
1. `decide` keeps nothing. Which try, slot or slice it is follows from the clock; what was done, from the
   orders. A restart in the middle goes on where the old process stopped.
2. What is out counts with all it may still take, orders of unknown fate included; everything new comes out of
   the rest. So a take never waits for a cancel to settle, and nothing is bought twice.
3. Resting orders use a part; the rest stays unplaced, so that a take never needs a cancel first.
4. No remainder that could not be traded is left behind on purpose: it joins this order, or this order
   shrinks.

The sequence of a decision: what forbids trading, what is due to be taken, what rests, waiting.
Quantities are worked out as shares of the whole in floats and become Decimal, rounded to the safe side, only
where an order is made. Formulas and numbers: EXECUTION.md 1, 4 and 6.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from ems.algos.leg import SECOND, ZERO, Leg, usable
from ems.algos.params import BP
from ems.algos.view import Decision, Done, GiveUp, View, Wait
from ems.core.instrument import ceil_to, floor_to
from ems.core.records import Asked, Order, Phase, Status

SNIPER_BPS = Decimal(5)  # a sniper with neither limit nor cost takes what costs no more than this


def decide(view: View, now: datetime) -> Decision:
    """Say what the leg should do now. Called on every event and at least at each `Wait.until`."""
    leg = Leg(view, now)
    if not view.market.active:
        return GiveUp(code="VENUE_UNAVAILABLE", why=f"{view.market.symbol} is not trading")
    if now >= view.ends_at and view.on_timeout == "cancel":
        return _leave(leg)
    if leg.params.plan == "tries" and leg.out:
        return _mind_try(leg)
    book = leg.book()
    if book is None or not usable(book, now, leg.params.book_age_s):
        return _blind(leg)
    leg.read(book)
    if not leg.out and not leg.tradable:
        return _nothing_left(leg)
    plan = leg.params.plan
    if plan == "tries":
        return _try(leg)
    if leg.final or plan == "now":
        return _finish(leg)
    return _due(leg) or _rest(leg)


# --- What forbids trading, and the end ----------------------------------------------------------------


def _blind(leg: Leg) -> Decision:
    """There is no book to trade on: what rests may rest until the time is up."""
    view, now = leg.view, leg.now
    due = view.ends_at if view.ready_at is None else max(view.ends_at, view.ready_at)
    if (now - due).total_seconds() > leg.params.patience_s:
        return GiveUp(code="VENUE_UNAVAILABLE", why=f"no usable book of {leg.market.symbol}")
    if leg.final:
        for order in leg.makers:
            if order.asked is Asked.NOTHING:
                return leg.cancel(order)
    return Wait(until=now + SECOND, why="waiting for a fresh book")


def _leave(leg: Leg) -> Decision:
    """The time is up and what is left is not to be taken."""
    if not leg.out:
        return Done(left=leg.view.available, why="time is up")
    for order in leg.makers:
        if order.asked is Asked.NOTHING:
            return leg.cancel(order)
    return Wait(until=leg.now + SECOND, why="its last orders are settling")


def _nothing_left(leg: Leg) -> Decision:
    """Nothing is out and nothing legal can be placed: the end, unless more is on its way."""
    view = leg.view
    if view.more and not _has_it_all(leg):
        return Wait(until=leg.now + SECOND, why="waiting for funds")
    return Done(left=view.available)


def _has_it_all(leg: Leg) -> bool:
    """Say whether the quantity asked for is there but for what cannot be traded."""
    quantity = leg.view.quantity
    if quantity is None:
        return False
    missing = quantity - sum((order.filled_quantity for order in leg.view.orders), ZERO)
    return missing < leg.smallest()


def _finish(leg: Leg) -> Decision:
    """Take all that is left, second after second (4.2, 1), once nothing rests any more."""
    view, now = leg.view, leg.now
    if not leg.reachable:
        return _rest(leg) if leg.params.plan != "now" and now < view.ends_at else _beyond_limit(leg)
    for order in leg.makers:
        if order.asked is Asked.NOTHING:
            return leg.cancel(order)
    if leg.tradable:
        thin = _too_thin(leg, view.started_at + timedelta(seconds=leg.final_s()))
        if thin is not None:
            return thin
        due = leg.may_take_at()
        if due is not None:
            return Wait(until=due, why="between takes")
        take = leg.take()
        if take is not None:
            return take
    return Wait(until=now + SECOND, why="taking")


def _too_thin(leg: Leg, since: datetime) -> GiveUp | None:
    """Give up where many takes have been in vain; one that filled wholly had only been cut to a maximum."""
    vain, most = 0, leg.params.max_takes
    for order in leg.view.orders:
        if order.purpose == "take" and order.created_at >= since and order.status is not Status.FILLED:
            vain += 1
    if vain < most:
        return None
    return GiveUp(code="VENUE_UNAVAILABLE", why=f"{most} takes did not fill it: the book is too thin")


def _beyond_limit(leg: Leg) -> Decision:
    """The market asks more than the limit allows: wait for it, for a moment even after the time."""
    view = leg.view
    if (leg.now - view.ends_at).total_seconds() > leg.params.limit_patience_s:
        if not leg.out:
            return Done(left=view.available, why="time is up, and the price is beyond the limit")
        for order in leg.makers:
            if order.asked is Asked.NOTHING:
                return leg.cancel(order)
    return Wait(until=leg.now + SECOND, why=f"waiting for the price: {leg.far} is beyond {view.limit}")


# --- Tries: the classic walk (4.1) --------------------------------------------------------------------


def try_of(view: View, when: datetime) -> int:
    """Return which try the clock is in: 0 to K - 1 rest, K takes."""
    params = view.params
    dwell = params.resting / params.tries * (view.ends_at - view.started_at).total_seconds()
    if dwell <= 0.0:
        return params.tries
    elapsed = max((when - view.started_at) / SECOND, 0.0)
    number = min(int(elapsed / dwell + 1e-9), params.tries)
    if view.on_timeout == "cancel":  # it never takes: the last try rests until the time is up
        number = min(number, params.tries - 1)
    return number


def offset(view: View, number: int) -> Decimal:
    """Return how far behind the touch a try rests, as a share of the price: d_0 (1 - k / (K - 1))."""
    last = view.params.tries - 1
    return view.params.first_offset * (1 - Decimal(number) / last) if last else ZERO


def _try_ends(view: View, number: int) -> datetime:
    time = (view.ends_at - view.started_at).total_seconds()
    if view.on_timeout == "cancel" and number >= view.params.tries - 1:
        return view.ends_at
    seconds = view.params.resting / view.params.tries * time * (number + 1)
    return view.started_at + timedelta(seconds=seconds, microseconds=1)


def _mind_try(leg: Leg) -> Decision:
    """An order is out: leave it until its try is over."""
    view, now = leg.view, leg.now
    current = try_of(view, now)
    over = [order for order in leg.makers if try_of(view, order.created_at) < current]
    for order in over:
        if order.asked is Asked.NOTHING:
            return leg.cancel(order)
    if over:
        return Wait(until=now + SECOND, why="its cancel is settling")
    if leg.makers:
        return Wait(until=_try_ends(view, current), why="resting")
    return Wait(until=now + SECOND, why="taking")


def _try(leg: Leg) -> Decision:
    """Nothing is out: rest where this try wants it, or take after the last one."""
    view, params = leg.view, leg.params
    current = try_of(view, leg.now)
    if current >= params.tries:
        return _take_tries(leg)
    tried = [o for o in view.orders if o.purpose == "make" and try_of(view, o.created_at) == current]
    refused = sum(1 for order in tried if order.status is Status.REJECTED)
    next_try = Wait(until=_try_ends(view, current), why="next try")
    if len(tried) > refused or refused > params.requotes:
        # It rested and ended early (filled in part and cancelled by the venue), or will not rest: next try.
        return next_try
    away = offset(view, current)
    price = leg.market.passive_price(view.side, leg.near * (1 - away if leg.buy else 1 + away))
    placed = _limited(leg, _back(leg, price, refused))
    if placed is None:
        return Wait(until=min(leg.now + SECOND, _try_ends(view, current)), why=_no_price(leg))
    quantity = leg.room_at(placed, post_only=params.post_only)
    if not leg.market.order_ok(quantity, placed):
        return _nothing_left(leg)
    return leg.make(quantity, placed) or next_try


def _take_tries(leg: Leg) -> Decision:
    if not leg.reachable:
        return _beyond_limit(leg)
    thin = _too_thin(leg, leg.view.started_at)
    if thin is not None:
        return thin
    due = leg.may_take_at()
    if due is not None:
        return Wait(until=due, why="between takes")
    return leg.take() or _nothing_left(leg)


# --- What is due to be taken --------------------------------------------------------------------------


def _due(leg: Leg) -> Decision | None:
    """Return the take that the plan wants now, if any."""
    plan = leg.params.plan
    in_slots = plan == "slots" or (plan == "curve" and not leg.rests())
    if in_slots:
        late = _left_of_a_slot(leg)
        if late is not None:
            return leg.cancel(late)
    if not leg.tradable:
        return None
    if plan == "open":
        wanted = _bargain(leg) if leg.params.rest == "never" else None
    elif not leg.reachable:
        return None
    elif plan == "share":
        wanted = _share_due(leg)
    elif in_slots:
        wanted = _slot_due(leg)
    else:
        wanted = _curve_due(leg)
    if wanted is None or wanted <= ZERO:
        return None
    if leg.may_take_at() is not None:
        return None
    if wanted < leg.smallest() and leg.room > leg.smallest():
        return None  # too little to be an order: it waits for company
    if in_slots and wanted > leg.offered(leg.params.gate) and not leg.in_tail() and not _far_behind(leg):
        return leg.stay(wanted)
    return leg.take(wanted)


def _curve_due(leg: Leg) -> Decimal | None:
    """Return what the schedule is behind by, where that is worth paying the spread for (4.2, 1 and 2)."""
    params = leg.params
    if leg.time <= 0.0:
        return leg.room
    tail = _tail_due(leg)
    if tail is not None:
        return tail
    behind = leg.left - leg.planned((leg.elapsed + 1.0) / leg.time)
    if behind <= 0.0:
        return None
    leaning = leg.leaning()
    band = params.band + leg.patience()
    if behind > band and (leaning > 0.0 or behind > 2.0 * band):
        return max(min(leg.base(behind), leg.offered()), leg.smallest())
    child = min(params.child * leg.left, behind)
    expected = params.alpha * leg.view.signals.sigma_5s * leaning
    if expected > leg.view.signals.fill_probability * leg.gain(child * leg.size):
        return min(leg.base(child), leg.offered())  # it is about to move away: do not queue for it
    return None


def _tail_due(leg: Leg) -> Decimal | None:
    """Return this slice of the tail, unless it has been taken; the last slice is `_finish`'s."""
    params, view = leg.params, leg.view
    start = leg.time * (1.0 - params.tail)
    if params.tail_slices < 2 or view.on_timeout != "take" or leg.elapsed < start:
        return None
    width = leg.time * params.tail / params.tail_slices
    number = int((leg.elapsed - start) / width) if width > 0.0 else params.tail_slices - 1
    begun = view.started_at + timedelta(seconds=start + number * width)
    last = leg.last_take()
    if last is not None and last.created_at >= begun:
        return ZERO
    return leg.base(leg.left / max(params.tail_slices - number, 1))


def _slot_due(leg: Leg) -> Decimal | None:
    """Return what earlier slots have left, and this one's share where the touch leans against us (4.2, 3).

    A share that is more than what is shown near the touch is offered there from the start of its slot.
    """
    params = leg.params
    tail = _tail_due(leg)
    if tail is not None:
        return tail
    if not leg.rests() and any(order.phase is not Phase.UNKNOWN for order in leg.makers):
        return None  # this slot's share is out
    before, after, _ = _slot(leg)
    share = leg.base(leg.left - after)
    if not leg.rests() and (leg.leaning() > params.early_imbalance or share > leg.offered(params.gate)):
        return share
    return leg.base(leg.left - before) if leg.left > before else None


def _far_behind(leg: Leg) -> bool:
    """Say whether a slot begins so late that no more may be carried over."""
    return leg.left - _slot(leg)[0] > 2.0 * leg.params.band


def _left_of_a_slot(leg: Leg) -> Order | None:
    """Return an order that should have traded in a slot that is over, or has no place in the tail."""
    for order in leg.makers:
        if order.asked is Asked.NOTHING and (not order.post_only or not leg.rests()):
            _, _, begun = _slot(leg)
            if leg.in_tail() or (order.created_at - leg.view.started_at).total_seconds() < begun:
                return order
    return None


def _share_due(leg: Leg) -> Decimal | None:
    """Return what is missing to our share of the market's volume (6: POV)."""
    params = leg.params
    if leg.filled() < _share_of(leg, params.participation_low):
        return Decimal(f"{_share_of(leg, 1.0) - leg.filled():.12g}")
    if leg.leaning() > params.early_imbalance:
        return Decimal(f"{max(_share_of(leg, 1.0) - leg.filled(), 0.0):.12g}")
    return None


def _share_of(leg: Leg, factor: float) -> float:
    """Return what a multiple of our share of the volume of others comes to, in base."""
    signals = leg.view.signals
    volume = signals.volume
    if volume is None:
        volume = signals.volume_rate * leg.elapsed
    share = min(float(leg.params.participation) * factor, 0.9)
    return share / (1.0 - share) * max(volume - leg.filled(), 0.0)


def _bargain(leg: Leg) -> Decimal | None:
    """Return what is offered within the limit, or cheaply enough against the mid (6: sniper)."""
    view, book, market = leg.view, leg.shown, leg.market
    cost = leg.params.cost_bps
    if cost is None and view.limit is None:
        cost = SNIPER_BPS
    if cost is not None:
        mid = (leg.near + leg.far) / 2
        if leg.buy:
            leg.take_price = min(leg.take_price, floor_to(mid * (1 + cost * BP), market.tick))
        else:
            leg.take_price = max(leg.take_price, ceil_to(mid * (1 - cost * BP), market.tick))
    shown = ZERO
    for price, size in book.asks if leg.buy else book.bids:
        if price > leg.take_price if leg.buy else price < leg.take_price:
            break
        shown += size
    return max(min(shown, leg.room), leg.smallest()) if shown > ZERO else None


# --- Slots --------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def slots(
    seed: str, count: int, jitter: float, curve: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return when each slot ends, as shares of the time, and the share of the whole done by then.

    Sizes and times vary by up to `jitter` of a slot, derived from the seed alone; the last ends at 1, 1.
    """
    ends, weights = [], []
    for number in range(count):
        digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
        size, time = (int.from_bytes(digest[k : k + 4], "big") / 2**31 - 1.0 for k in (0, 4))
        ends.append((number + 1 + jitter * time) / count)
        weights.append((1.0 + jitter * size) * _weight(curve, number / count, (number + 1) / count))
    ends[-1] = 1.0
    total, done, shares = sum(weights), 0.0, []
    for weight in weights:
        done += weight
        shares.append(done / total)
    shares[-1] = 1.0
    return tuple(ends), tuple(shares)


def _weight(curve: tuple[float, ...], start: float, end: float) -> float:
    """Return how much of a curve of equal bins lies between two shares of the time."""
    if not curve:
        return end - start
    bins = len(curve)
    total = 0.0
    for number in range(int(start * bins), min(math.ceil(end * bins), bins)):
        overlap = min(end, (number + 1) / bins) - max(start, number / bins)
        total += curve[number] * max(overlap, 0.0)
    return total


def _slot(leg: Leg) -> tuple[float, float, float]:
    """Return the share that should be left before and after the present slot, and when it began (seconds)."""
    params = leg.params
    # With a tail to come, slots share the time before it.
    time = leg.time * (1.0 - params.tail) if leg.view.on_timeout == "take" else leg.time
    at = leg.elapsed / time if time > 0.0 else 1.0
    if params.plan == "curve":
        count = leg.slots()
        number = min(int(at * count), count)
        scale = time / leg.time if leg.time > 0.0 else 1.0
        before, after = (leg.planned((number + k) / count * scale) for k in (0, 1))
        return before, after, number / count * time
    ends, shares = slots(leg.view.seed, params.slots, params.jitter, params.curve)
    number = 0
    while number < len(ends) and ends[number] <= at:
        number += 1
    factor = _volume_factor(leg, at) if params.curve else 1.0
    before = 1.0 - min((shares[number - 1] if number else 0.0) * factor, 1.0)
    after = 1.0 - min((shares[number] if number < len(shares) else 1.0) * factor, 1.0)
    return before, after, (ends[number - 1] if number else 0.0) * time


def _volume_factor(leg: Leg, at: float) -> float:
    """Return how much more of the whole should be done than the curve says, from the volume seen (6: VWAP).

    Expected: E = the usual rate over the whole time, c of it by now; seen: a E. What is still to come is
    expected to be r = (a + w) / (c + w) times the curve's; so a / (a + r (1 - c)) should be done.
    """
    signals = leg.view.signals
    expected = signals.volume_rate * leg.time
    if signals.volume is None or expected <= 0.0 or not 0.0 < at < 1.0:
        return 1.0
    curve, weight = leg.params.curve, leg.params.volume_weight
    share = _weight(curve, 0.0, at) / _weight(curve, 0.0, 1.0)
    if share <= 0.0:
        return 1.0
    seen = signals.volume / expected
    ratio = (seen + weight) / (share + weight)
    done = seen / (seen + ratio * (1.0 - share)) if seen > 0.0 else 0.0
    return min(max(done / share, 0.5), 2.0)


# --- What rests ---------------------------------------------------------------------------------------


def _rest(leg: Leg) -> Decision:
    """See to the resting order: keep it, move it, place it; then wait."""
    resting = leg.rests()
    blocked = False
    price = _quote(leg) if resting else None
    for order in leg.makers:
        if order.asked is not Asked.NOTHING:
            # One whose cancel nobody has confirmed counts in full, but does not hold up the others.
            blocked = blocked or order.phase is not Phase.UNKNOWN
            continue
        if resting and (_outbid(leg, order, price) or _shy(leg, standing=True)):
            return leg.cancel(order)
        if not resting and order.post_only:
            return leg.cancel(order)
        blocked = True
    if resting and not blocked:
        if price is None:
            return _wait(leg, _no_price(leg))
        if leg.refusals() > leg.params.requotes:
            return _wait(leg, "its quotes were refused")
        if _shy(leg, standing=False):
            return _wait(leg, "the touch leans towards us")
        wanted = _child(leg)
        if wanted > ZERO:
            make = leg.make(wanted, price)
            if make is not None:
                return make
    if leg.makers:
        return _wait(leg, "resting")
    if not leg.reachable:
        return _wait(leg, f"waiting for the price: {leg.far} is beyond {leg.view.limit}")
    if leg.params.rest == "never" and leg.params.plan == "open":
        return _wait(leg, "waiting for the price")
    return _wait(leg, "between takes")


def _shy(leg: Leg, *, standing: bool) -> bool:
    """Say whether a quote should stay out of the market for now.

    A touch that leans towards us is about to come: who fills us then knows more than we do. So rest while it
    leans the other way, for as long as there is time enough to fill in that part of it.
    """
    params, signals = leg.params, leg.view.signals
    if params.plan != "curve" or signals.fills_seen <= 0.0:
        return False
    needed = params.shy_fills * signals.fill_window_s / max(signals.fill_probability, 0.01)
    if leg.time - leg.elapsed < needed:
        return False
    return leg.leaning() < params.shy - (params.shy_slack if standing else 0.0)


def _child(leg: Leg) -> Decimal:
    """Return how much should rest now."""
    params, view = leg.params, leg.view
    if params.display is not None:
        draw = hashlib.sha256(f"{view.seed}:{len(view.orders)}".encode()).digest()
        vary = 1.0 + params.display_jitter * (int.from_bytes(draw[:4], "big") / 2**31 - 1.0)
        return leg.base(float(params.display) * vary)
    if params.plan == "slots":
        _, after, _ = _slot(leg)
        quantity = leg.base(leg.left - after)
        return quantity if quantity >= leg.smallest() else ZERO
    if params.plan == "share":
        ahead = _share_of(leg, params.participation_high) - leg.filled()
        quantity = min(Decimal(f"{max(ahead, 0.0):.12g}"), leg.base(params.child * leg.left))
        return quantity if quantity >= leg.smallest() else ZERO
    child = params.child + (params.child_calm - params.child) * leg.patience()
    quantity = leg.base(child * leg.left)
    if params.plan == "curve":
        most = _queue_limit(leg)
        if most is not None:
            quantity = min(quantity, Decimal(f"{most:.12g}"))
    return max(quantity, leg.smallest())


def _queue_limit(leg: Leg) -> float | None:
    """Return Cont and Kukanov's L*: what can hope to fill in the time, in base (4.2, 6).

    F is the cdf of what leaves our side of the touch until the end: an exponential law whose mean is what
    takers took so far, or, where that is more, what lets a queue as long as today's pass with the shadows'
    probability (prices that move through us fill us too). The penalty for not filling is the cost of taking
    the rest. None: nothing is known.
    """
    signals, market, book = leg.view.signals, leg.market, leg.shown
    ahead = float((book.bids if leg.buy else book.asks)[0][1])
    rate = signals.outflow
    if signals.fills_seen > 0.0 and 0.0 < signals.fill_probability < 1.0:
        passing = ahead / -math.log(signals.fill_probability)
        rate = max(rate, passing / signals.fill_window_s)
    if rate <= 0.0:
        return None
    half = (leg.ask - leg.bid) / (leg.ask + leg.bid) * 1e4
    maker, taker = float(market.maker_fee) * 1e4, float(market.taker_fee) * 1e4
    penalty = half + taker + leg.slope() * leg.left * leg.size
    gain, cost = 2.0 * half + taker - maker, penalty + half - maker
    if cost <= 0.0 or gain >= cost:
        return None
    if gain <= 0.0:
        return 0.0
    mean = rate * max(leg.time - leg.elapsed, 1.0)
    return max(-mean * math.log(1.0 - gain / cost) - ahead, 0.0)


def _quote(leg: Leg) -> Decimal | None:
    """Return where an order should rest; None where the limit does not let it near the market."""
    params, market = leg.params, leg.market
    price, tick = leg.near, market.tick
    if params.offset_ticks:
        price = price - tick * params.offset_ticks if leg.buy else price + tick * params.offset_ticks
    elif params.improve and abs(leg.far - leg.near) >= 2 * tick:
        better = price + tick if leg.buy else price - tick
        mid = (leg.near + leg.far) / 2
        if better <= mid if leg.buy else better >= mid:
            price = better
    return _limited(leg, _back(leg, price, leg.refusals()))


def _back(leg: Leg, price: Decimal, refused: int) -> Decimal:
    """Move a quote one tick back for each time the venue has refused it as crossing."""
    if not refused:
        return price
    return price - leg.market.tick * refused if leg.buy else price + leg.market.tick * refused


def _limited(leg: Leg, price: Decimal) -> Decimal | None:
    """Keep a quote within the limit; None where that is too far from the market to rest at."""
    view, market = leg.view, leg.market
    if view.limit is not None:
        if leg.buy:
            price = min(price, floor_to(view.limit, market.tick))
        else:
            price = max(price, ceil_to(view.limit, market.tick))
        behind = leg.near - price if leg.buy else price - leg.near
        if behind > leg.near * leg.params.reach:
            return None
    return price if price > ZERO else None


def _no_price(leg: Leg) -> str:
    return f"waiting for the price: {leg.near} is beyond {leg.view.limit}"


def _outbid(leg: Leg, order: Order, price: Decimal | None) -> bool:
    """Say whether an order should be moved: others stand before it by more than half a tick.

    It stays when the market comes towards it: it is then the best of all, with its place in the queue.
    """
    if price is None or order.price is None:
        return False
    tick = leg.market.tick
    ahead = (leg.near - order.price) if leg.buy else (order.price - leg.near)
    if leg.params.offset_ticks:  # keeps its distance, unless it has become the touch itself
        away = abs(price - order.price)
        return ahead > ZERO and 2 * away > tick
    better = price - order.price if leg.buy else order.price - price
    if leg.params.tolerance and 2 * ahead > tick:
        # Where ticks are finer than the market's own noise, its place in the queue is worth more.
        noise = leg.params.tolerance * leg.view.signals.sigma_1s * 1e-4
        if ahead <= leg.near * Decimal(f"{noise:.12g}"):
            return False
    return 2 * ahead > tick and 2 * better > tick


def _wait(leg: Leg, why: str) -> Wait:
    """Wait for the next step of the clock, or for what the market does."""
    return Wait(until=leg.now + timedelta(seconds=leg.params.step_s), why=why)


# --- For people ---------------------------------------------------------------------------------------


def progress(view: View, now: datetime) -> Mapping[str, object]:
    """Return how far a leg is, for people; `schedule` is in percent of the whole, > 0 ahead of the plan."""
    leg = Leg(view, now)
    book = leg.book()
    known = book is not None and usable(book, now, math.inf)
    if known:
        assert book is not None
        leg.read(book)
    params = view.params
    if any(order.purpose == "take" for order in leg.out):
        phase = "taking"
    elif any(order.asked is not Asked.NOTHING or order.phase is Phase.UNKNOWN for order in leg.out):
        phase = "settling"
    elif leg.makers:
        phase = "making"
    else:
        phase = "waiting"
    filled = sum((order.filled_quantity for order in view.orders), ZERO)
    if view.quantity is not None:
        done = float(filled / view.quantity) if view.quantity > ZERO else 1.0
    else:
        done = 1.0 - float(view.available / view.total) if view.total > ZERO else 1.0
    done = min(max(done, 0.0), 1.0)
    at = min(max(leg.elapsed / leg.time, 0.0), 1.0) if leg.time > 0.0 else 1.0
    planned: float | None = None
    if params.plan == "tries":
        step, steps = try_of(view, now) + 1, params.tries + 1
    elif params.plan in ("curve", "slots"):
        step, steps = min(int(at * params.slots) + 1, params.slots), params.slots
        if params.plan == "curve":
            planned = 1.0 - leg.planned(at) if known else None
        else:
            planned = 1.0 - _slot(leg)[0]
    else:
        step, steps = len(view.orders), 0
    return {
        "phase": phase,
        "step": step,
        "steps": steps,  # 0: nobody knows
        "percent": f"{100 * done:.1f}",
        "time_percent": f"{100 * at:.1f}",
        "schedule": None if planned is None else f"{100 * (done - planned):+.1f}",
    }
