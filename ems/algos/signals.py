"""What public data says about a market: estimates, as floats in bp and seconds, never an amount of money.

A `Tape` listens to one market and keeps a bounded memory: exponentially weighted averages, a few hundred
samples of the mid, the traded volume per second and per minute, and two shadow orders. `look` makes a frozen
snapshot for one side; decisions see nothing else, so that a replay decides as the live machine does.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from ems.algos.shadow import PRIOR_FILLS, WINDOW_S, Shadow
from ems.core.messages import BookUpdate, PublicTrade, Side

Levels = tuple[tuple[Decimal, Decimal], ...]  # (price, quantity), best first

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MID_MEMORY_S = 300.0  # the longest markout horizon of EXECUTION.md 7
MID_STEP_S = 0.1  # mids are kept no closer than this
SIGMA_HALF_LIFE_S = 300.0
DEPTH_HALF_LIFE_S = 60.0
RATE_HALF_LIFE_S = 600.0
DEPTH_BP = 5.0  # depth and its cost are measured this far from the mid
DEPTH_LEVELS = 50
FINE_S = 600  # seconds of volume remembered second by second; then minute by minute
MINUTES = 2880
GAP_MAX_S = 60  # a longer silence teaches nothing about volatility

# With little data (EXECUTION.md 4.2): a resting order fills half the time, and what it loses to those who
# know more is this share of the move over five seconds, less half the spread it earns.
FILL_PROBABILITY = 0.5
LOSS_SHARE = 0.3
RESILIENCE = 0.2  # per second: tau = 5 s (EXECUTION.md 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signals:
    """A snapshot for one side of one market; the defaults are those of EXECUTION.md 4.2."""

    sigma_1s: float = 0.0  # bp: standard deviation of the mid's change over a second
    sigma_5s: float = 0.0  # bp, over five seconds
    imbalance: float = 0.0  # (B - A) / (B + A) at the touch, > 0: it leans against this side
    fill_probability: float = FILL_PROBABILITY  # of an order joining our touch, within `fill_window_s`
    fill_window_s: float = WINDOW_S
    adverse: float = 0.0  # AS, bp: mean of (price - mid afterwards), signed: what a resting fill loses
    fills_seen: float = 0.0  # how much the two estimates above rest on
    cost_slope: float = 0.0  # bp per unit of base: how the price worsens with the quantity taken
    resilience: float = RESILIENCE  # share of missing depth that comes back per second
    outflow: float = 0.0  # base per second that takers take from the side we rest on
    volume_rate: float = 0.0  # base per second traded, both sides, over some ten minutes
    volume: float | None = (
        None  # base traded publicly since the moment asked for; ours are in it where public
    )


class Tape:
    """Mutable; one per exchange, account and symbol, fed with public data in order of arrival."""

    __slots__ = (
        "_ask",
        "_bid",
        "_asked",
        "_bought",
        "_buyers",
        "_depth",
        "_depth_mean",
        "_first",
        "_fine",
        "_fine_at",
        "_mean_reversion",
        "_mids",
        "_minute",
        "_minute_at",
        "_recent",
        "_sampled",
        "_sellers",
        "_slope",
        "_sold",
        "_update",
        "_var_1s",
        "_var_5s",
        "_variance_weight",
        "_variance_weight_5s",
        "_volume",
    )

    def __init__(self) -> None:
        self._bid = Shadow(1)
        self._ask = Shadow(-1)
        self._update: BookUpdate | None = None
        self._mids: deque[tuple[float, Decimal, Decimal]] = deque()  # (time, bid, ask)
        self._sampled = 0.0  # last whole second a sample was taken in
        self._recent: deque[float] = deque(maxlen=6)  # mids of the last whole seconds
        self._var_1s = self._var_5s = 0.0
        self._variance_weight = self._variance_weight_5s = 0.0
        self._slope = [0.0, 0.0]  # of the bids, of the asks: bp per base
        self._depth = [0.0, 0.0]  # base within DEPTH_BP, last sample
        self._depth_mean = [0.0, 0.0]
        self._mean_reversion = [0.0, 0.0]  # sums of -change x gap and of gap squared
        self._first = 0.0  # time of the first event
        self._volume = self._bought = self._sold = 0.0  # base, since the first event
        self._buyers = self._sellers = 0.0  # base, fading: takers who bought, who sold
        self._asked = 0.0  # when they last faded
        self._fine: deque[float] = deque(maxlen=FINE_S)  # cumulated volume at the end of each second
        self._fine_at = 0
        self._minute: deque[float] = deque(maxlen=MINUTES)
        self._minute_at = 0

    def book(self, update: BookUpdate) -> None:
        """See the top of the book."""
        bids, asks = update.bids, update.asks
        if not bids or not asks or bids[0][0] >= asks[0][0]:
            return
        now = (update.at - EPOCH).total_seconds()
        bid, bid_size = float(bids[0][0]), float(bids[0][1])
        ask, ask_size = float(asks[0][0]), float(asks[0][1])
        mid = (bid + ask) / 2.0
        if not self._first:
            self._begin(now)
        last = self._update
        if now - self._sampled >= 1.0:
            if last is not None and self._recent:
                before = (float(last.bids[0][0]) + float(last.asks[0][0])) / 2.0
            else:
                before = mid
            self._sample(now, before, mid, update)
        self._update = update
        mids = self._mids
        if not mids or now - mids[-1][0] >= MID_STEP_S:
            mids.append((now, bids[0][0], asks[0][0]))
            while now - mids[1][0] > MID_MEMORY_S if len(mids) > 1 else False:
                mids.popleft()
        self._bid.book(bid, bid_size, ask, now)
        self._ask.book(ask, ask_size, bid, now)
        self._bid.judge(mid, now)
        self._ask.judge(mid, now)

    def trade(self, trade: PublicTrade) -> None:
        """See a public trade."""
        now = (trade.at - EPOCH).total_seconds()
        price, quantity = float(trade.price), float(trade.quantity)
        if not self._first:
            self._begin(now)
        self._roll(now)
        self._fade(now)
        self._volume += quantity
        bought = trade.side is Side.BUY
        if bought:
            self._buyers += quantity
        else:
            self._sellers += quantity
        self._bid.trade(price, quantity, not bought, now)
        self._ask.trade(price, quantity, bought, now)

    def own_fill(self, side: Side, price: float, *, maker: bool, at: datetime) -> None:
        """See one of our own fills: a resting one teaches what a fill is worth."""
        if maker:
            (self._bid if side is Side.BUY else self._ask).own_fill(price, (at - EPOCH).total_seconds())

    def look(self, side: Side, now: datetime, since: datetime | None = None) -> Signals:
        """Return what is known for one side; `since`: from when on `volume` is to count."""
        update = self._update
        if update is None:
            return Signals(volume=None if since is None else 0.0)
        buy = side is Side.BUY
        bid_size, ask_size = float(update.bids[0][1]), float(update.asks[0][1])
        leaning = (bid_size - ask_size) / (bid_size + ask_size) if bid_size + ask_size > 0.0 else 0.0
        clock = (now - EPOCH).total_seconds()
        bid, ask = float(update.bids[0][0]), float(update.asks[0][0])
        half = (ask - bid) / (ask + bid) * 1e4
        sigma_5s = self._sigma_5s()
        lost, won = self._bid, self._ask
        default = LOSS_SHARE * sigma_5s - half
        default = default if default > -half else -half
        # Both sides together: a trend that helps one hurts the other.
        adverse = (lost.loss.mean(default, PRIOR_FILLS) + won.loss.mean(default, PRIOR_FILLS)) / 2.0
        p = lost.filled.mean(FILL_PROBABILITY, PRIOR_FILLS) + won.filled.mean(FILL_PROBABILITY, PRIOR_FILLS)
        span = clock - self._first
        faded = 0.5 ** (max(clock - self._asked, 0.0) / RATE_HALF_LIFE_S)
        # The fading sums tend to rate x half-life / ln 2; before that, to what the listening time allows.
        seconds = RATE_HALF_LIFE_S / 0.6931 * (1.0 - 0.5 ** (max(span, 1.0) / RATE_HALF_LIFE_S))
        buyers, sellers = self._buyers * faded / seconds, self._sellers * faded / seconds
        return Signals(
            sigma_1s=self._sigma_1s(),
            sigma_5s=sigma_5s,
            imbalance=leaning if buy else -leaning,
            fill_probability=p / 2.0,
            fill_window_s=WINDOW_S,
            adverse=adverse,
            fills_seen=lost.loss.weight + won.loss.weight,
            cost_slope=self._slope[1 if buy else 0],
            resilience=self._resilience(),
            outflow=sellers if buy else buyers,
            volume_rate=buyers + sellers,
            volume=None if since is None else self.volume_since(since, now),
        )

    def mid_at(self, when: datetime) -> Decimal | None:
        """Return the mid as it stood at a moment of the last 300 s; None where that is not remembered."""
        mids = self._mids
        clock = (when - EPOCH).total_seconds()
        if not mids or clock < mids[0][0]:
            return None
        place = bisect_right(mids, clock, key=lambda row: row[0]) - 1
        _, bid, ask = mids[place]
        update = self._update
        if update is not None and (update.at - EPOCH).total_seconds() <= clock:
            bid, ask = update.bids[0][0], update.asks[0][0]
        return (bid + ask) / 2

    def volume_since(self, since: datetime, now: datetime) -> float:
        """Return the base traded between two moments: to the second for ten minutes, then to the minute."""
        self._roll((now - EPOCH).total_seconds())
        clock = int((since - EPOCH).total_seconds())
        back = self._fine_at - clock
        if back <= 0:
            return max(self._volume - self._fine[-1], 0.0) if self._fine else self._volume
        if back < len(self._fine):
            return self._volume - self._fine[-1 - back]
        if clock < int(self._first):
            return self._volume
        minutes = self._minute_at - clock // 60
        if minutes < len(self._minute):
            return self._volume - self._minute[-1 - minutes]
        return self._volume - (self._minute[0] if self._minute else 0.0)

    def _begin(self, now: float) -> None:
        self._first = self._asked = now
        self._sampled = now
        self._fine_at, self._minute_at = int(now), int(now // 60)
        self._fine.append(0.0)
        self._minute.append(0.0)

    def _roll(self, now: float) -> None:
        """Close the seconds and minutes that are over: each keeps the volume at its start."""
        if not self._fine:
            return
        seconds = int(now) - self._fine_at
        if seconds > 0:
            self._fine.extend([self._volume] * min(seconds, FINE_S))
            self._fine_at = int(now)
            minutes = int(now // 60) - self._minute_at
            if minutes > 0:
                self._minute.extend([self._volume] * min(minutes, MINUTES))
                self._minute_at = int(now // 60)

    def _fade(self, now: float) -> None:
        if now > self._asked:
            fade = 0.5 ** ((now - self._asked) / RATE_HALF_LIFE_S)
            self._buyers *= fade
            self._sellers *= fade
            self._asked = now

    def _sample(self, now: float, before: float, mid: float, update: BookUpdate) -> None:
        """Take the samples of the whole seconds that have passed: the old mid stood until this book."""
        seconds = int(now - self._sampled)
        self._sampled += seconds
        if seconds > GAP_MAX_S:
            self._recent.clear()
            seconds = 1
        fade = 0.5 ** (1.0 / SIGMA_HALF_LIFE_S)
        recent = self._recent
        for number in range(seconds):
            value = mid if number == seconds - 1 else before
            if recent:
                change = (value / recent[-1] - 1.0) * 1e4
                self._var_1s = self._var_1s * fade + change * change
                self._variance_weight = self._variance_weight * fade + 1.0
            recent.append(value)
            if len(recent) == 6:
                change = (value / recent[0] - 1.0) * 1e4
                self._var_5s = self._var_5s * fade + change * change
                self._variance_weight_5s = self._variance_weight_5s * fade + 1.0
        self._sample_depth(0, update.bids)
        self._sample_depth(1, update.asks)

    def _sample_depth(self, number: int, levels: Levels) -> None:
        slope, depth = _slope_and_depth(levels)
        if not depth:
            return
        fade = 0.5 ** (1.0 / DEPTH_HALF_LIFE_S)
        mean = self._depth_mean[number]
        if mean:
            gap, change = self._depth[number] - mean, depth - self._depth[number]
            sums = self._mean_reversion
            sums[0] = sums[0] * fade - change * gap / (mean * mean)
            sums[1] = sums[1] * fade + gap * gap / (mean * mean)
            self._slope[number] += (slope - self._slope[number]) * (1.0 - fade)
            self._depth_mean[number] = mean + (depth - mean) * (1.0 - fade)
        else:
            self._slope[number] = slope
            self._depth_mean[number] = depth
        self._depth[number] = depth

    def _sigma_1s(self) -> float:
        return math.sqrt(self._var_1s / self._variance_weight) if self._variance_weight else 0.0

    def _sigma_5s(self) -> float:
        return math.sqrt(self._var_5s / self._variance_weight_5s) if self._variance_weight_5s else 0.0

    def _resilience(self) -> float:
        """Return the speed at which depth returns to its mean, per second: a regression through the origin
        with one second of prior at the default."""
        against, squares = self._mean_reversion
        speed = (against + RESILIENCE) / (squares + 1.0)
        return min(max(speed, 0.02), 2.0)


def slope_of(levels: Levels) -> float:
    """Return how the price worsens with the quantity taken from one side of a book, in bp per base."""
    return _slope_and_depth(levels)[0]


def _slope_and_depth(levels: Levels) -> tuple[float, float]:
    """Return the slope, and the base shown within DEPTH_BP of the touch.

    The first level beyond says how far the price is once those before it are gone; where none is shown, the
    last one does.
    """
    depth = reached = behind = 0.0
    touch = float(levels[0][0])
    for price, size in levels[:DEPTH_LEVELS]:
        reached = abs(float(price) / touch - 1.0) * 1e4
        if depth and reached > DEPTH_BP:
            break
        behind = depth
        depth += float(size)
    else:
        depth = behind or depth
    return ((reached or DEPTH_BP) / depth if depth else 0.0), depth
