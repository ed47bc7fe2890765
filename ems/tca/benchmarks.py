"""What the market did around and after an execution: markouts, impact, and prices to compare with.

All of EXECUTION.md 7 that is not the identity. Comparisons are in bp of the price compared with; positive is
worse than the benchmark, but a markout is positive when the market moved our way after the fill.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from ems.core.messages import Liquidity, PublicTrade, Side
from ems.tca.identity import BP, MONEY, ONE, ZERO, FillFacts, LegFacts

HORIZONS_S = tuple(Decimal(text) for text in ("0.1", "1", "5", "30", "60", "300"))
MICROSECOND = timedelta(microseconds=1)
IMPACT_AFTER = timedelta(seconds=60)  # the mid by which what was only temporary is gone

# (exchange, symbol, when) -> mid then, or None where it is not (yet) known.
MidAt = Callable[[str, str, datetime], Decimal | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Markout:
    """The mean move of the mid in our favour this long after the fills, in bp of their prices."""

    tau_s: Decimal
    maker_bps: Decimal | None  # None: no such fill, or no mid for any of them
    taker_bps: Decimal | None


def markouts(legs: Sequence[LegFacts], mid_at: MidAt) -> list[Markout]:
    """Return the markouts of all fills, weighted by quantity (over several markets: by value)."""
    with localcontext(MONEY):
        return [
            Markout(
                tau_s=tau_s,
                maker_bps=_markout(legs, mid_at, tau_s, Liquidity.MAKER),
                taker_bps=_markout(legs, mid_at, tau_s, Liquidity.TAKER),
            )
            for tau_s in HORIZONS_S
        ]


def _markout(legs: Sequence[LegFacts], mid_at: MidAt, tau_s: Decimal, liquidity: Liquidity) -> Decimal | None:
    later = timedelta(microseconds=int(tau_s * 1_000_000))
    moved = weight = ZERO
    for leg in legs:
        for fill in leg.fills:
            if fill.liquidity is not liquidity:
                continue
            mid = mid_at(leg.exchange, leg.symbol, fill.at + later)
            if mid is not None:
                value = fill.quantity * leg.base_value
                moved += value * leg.sign * (mid - fill.price) / fill.price
                weight += value
    return moved / weight / BP if weight else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Impact:
    """What the prices paid above the arrival mid were: gone again a minute later, or there to stay.

    Drift is in it, so that a single one says little: average over many, on both sides.
    """

    temporary_bps: Decimal
    permanent_bps: Decimal


def impact(legs: Sequence[LegFacts], mid_at: MidAt, ended_at: datetime) -> Impact | None:
    """Return the impact in bp of the value filled; None without fills or without a mid afterwards."""
    with localcontext(MONEY):
        temporary = permanent = value = ZERO
        for leg in legs:
            if not leg.fills:
                continue
            after = mid_at(leg.exchange, leg.symbol, ended_at + IMPACT_AFTER)
            if after is None:
                return None
            filled = leg.filled
            signed = leg.sign * filled * leg.quote_value
            temporary += signed * (average_price(leg.fills) - after)
            permanent += signed * (after - leg.started_at_mid)
            value += filled * leg.base_value
        if not value:
            return None
        return Impact(temporary_bps=temporary / value / BP, permanent_bps=permanent / value / BP)


def mid_from(
    mids: Mapping[tuple[str, str], Sequence[tuple[datetime, Decimal]]], *, valid_for: timedelta
) -> MidAt:
    """Return a `MidAt` that reads mids kept per (exchange, symbol), oldest first, each valid for so long.

    Beyond that the market may have moved unseen: a gap in the feed is no mid, not an old one.
    """

    def mid_at(exchange: str, symbol: str, when: datetime) -> Decimal | None:
        kept = mids.get((exchange, symbol), ())
        place = bisect_right(kept, when, key=lambda each: each[0])
        if place == 0:
            return None
        since, mid = kept[place - 1]
        return mid if when - since <= valid_for else None

    return mid_at


# --- Prices to compare with ----------------------------------------------------------------------


def average_price(fills: Sequence[FillFacts]) -> Decimal:
    """Return the average price before fees of at least one fill."""
    with localcontext(MONEY):
        quantity = sum((fill.quantity for fill in fills), ZERO)
        return sum((fill.price * fill.quantity for fill in fills), ZERO) / quantity


def average_price_net(side: Side, fills: Sequence[FillFacts]) -> Decimal:
    """Return the average price with fees: what a unit cost a buyer, or brought a seller."""
    with localcontext(MONEY):
        quantity = sum((fill.quantity for fill in fills), ZERO)
        fees = sum((fill.fee for fill in fills), ZERO)
        return average_price(fills) + (fees if side is Side.BUY else -fees) / quantity


def sweep_price(
    side: Side, quantity: Decimal, levels: Sequence[tuple[Decimal, Decimal]], taker_fee: Decimal
) -> Decimal | None:
    """Return the average price, fee included, of taking `quantity` at once from (price, quantity) levels.

    `levels` are of the other side, best first. None where they do not hold so much: what is beyond the
    displayed book would be a guess, and one in our favour.
    """
    with localcontext(MONEY):
        left, value = quantity, ZERO
        for price, displayed in levels:
            taken = min(left, displayed)
            value += taken * price
            left -= taken
            if left <= ZERO:
                break
        if left > ZERO or quantity <= ZERO:
            return None
        return value / quantity * (ONE + taker_fee if side is Side.BUY else ONE - taker_fee)


def interval_vwap(trades: Sequence[PublicTrade], own: Sequence[FillFacts]) -> Decimal | None:
    """Return the average price of the others' trades; None where they made none.

    Our executions are among the public trades and are taken out by their sums, so that it does not matter how
    the venue cut them into prints. A recording that missed some of them gives None, never a negative volume.
    """
    with localcontext(MONEY):
        volume = sum((t.quantity for t in trades), ZERO) - sum((f.quantity for f in own), ZERO)
        value = sum((t.price * t.quantity for t in trades), ZERO)
        value -= sum((f.price * f.quantity for f in own), ZERO)
        return value / volume if volume > ZERO and value > ZERO else None


def time_weighted(mids: Sequence[tuple[datetime, Decimal]], start: datetime, end: datetime) -> Decimal | None:
    """Return the mean mid over time from `start` to `end`; each holds until the next, oldest first.

    None where nothing is known by `start`: a mean over a part would be another benchmark.
    """
    if not mids or mids[0][0] > start or end <= start:
        return None
    first = bisect_right(mids, start, key=lambda each: each[0]) - 1
    total, since = ZERO, start
    with localcontext(MONEY):
        # A market gives thousands of mids a minute, and the engine waits: whole microseconds, no divisions.
        for index in range(first, len(mids)):
            until = min(mids[index + 1][0], end) if index + 1 < len(mids) else end
            total += mids[index][1] * ((until - since) // MICROSECOND)
            since = until
            if until >= end:
                break
        return total / ((end - start) // MICROSECOND)


def participation_price(
    trades: Sequence[PublicTrade], quantity: Decimal, *, rate: Decimal = Decimal("0.1")
) -> Decimal | None:
    """Return the price of having taken `rate` of every trade from the start until `quantity` was done.

    The participation-weighted price: the market's average over its first quantity / rate of volume. None
    where that much was not traded.
    """
    with localcontext(MONEY):
        wanted = quantity / rate
        left, value = wanted, ZERO
        for trade in trades:
            taken = min(left, trade.quantity)
            value += taken * trade.price
            left -= taken
            if left <= ZERO:
                return value / wanted if wanted else None
        return None


def chain_cost(spent: Decimal, received: Decimal, mid_rate: Decimal) -> Decimal | None:
    """Return 1 - out / (in x product of mids) in bp: what a conversion cost, or would have; None for nothing.

    `mid_rate` is end currency per start currency at the mids of the decision.
    """
    if spent <= ZERO or mid_rate <= ZERO:
        return None
    with localcontext(MONEY):
        return (ONE - received / (spent * mid_rate)) / BP


NAMES = ("arrival_mid", "near_touch", "far_touch", "sweep", "vwap", "twap_mid", "participation")
Prices = Mapping[str, Decimal | None]  # name of a benchmark -> its price


def benchmark_prices(leg: LegFacts, start: datetime, end: datetime) -> dict[str, Decimal | None]:
    """Return the prices a leg is compared with, by name; None where the market's facts are missing."""
    market = leg.market
    near, far = (market.bid, market.ask) if leg.side is Side.BUY else (market.ask, market.bid)
    return {
        "arrival_mid": leg.started_at_mid,
        "near_touch": near,
        "far_touch": far,
        "sweep": market.sweep_price,
        "vwap": interval_vwap(market.trades, leg.fills),
        "twap_mid": time_weighted(market.mids, start, end),
        "participation": participation_price(market.trades, leg.filled) if leg.fills else None,
    }


# The sweep is a price with its taker fee, so it is compared with ours after fees; the others before.
NET = frozenset({"sweep"})


def compared(legs: Sequence[LegFacts], prices: Sequence[Prices]) -> dict[str, Decimal | None]:
    """Return how much worse than each benchmark the fills were, in bp of its value over all legs with fills.

    `prices` are those of each leg. None for a benchmark that a leg with fills does not have: the rest would
    be compared with less.
    """
    filled = [(leg, found) for leg, found in zip(legs, prices, strict=True) if leg.fills]
    return {
        name: _worse([leg for leg, _ in filled], [found[name] for _, found in filled], net=name in NET)
        for name in NAMES
    }


def _worse(legs: Sequence[LegFacts], prices: Sequence[Decimal | None], *, net: bool) -> Decimal | None:
    with localcontext(MONEY):
        paid = value = ZERO
        for leg, price in zip(legs, prices, strict=True):
            if price is None:
                return None
            ours = average_price_net(leg.side, leg.fills) if net else average_price(leg.fills)
            quantity = leg.filled * leg.quote_value
            paid += leg.sign * quantity * (ours - price)
            value += quantity * price
        return paid / value / BP if value else None


def participation(legs: Sequence[LegFacts]) -> Decimal | None:
    """Return our share of what was traded on the legs' markets meanwhile; None where that is not known."""
    with localcontext(MONEY):
        own = volume = ZERO
        counted: set[tuple[str, str]] = set()
        for leg in legs:
            if not leg.fills:
                continue
            own += leg.filled * leg.base_value
            if (leg.exchange, leg.symbol) in counted:
                continue  # two legs at one market share its trades
            counted.add((leg.exchange, leg.symbol))
            traded = sum((trade.quantity for trade in leg.market.trades), ZERO)
            if traded <= ZERO:
                return None
            volume += traded * leg.base_value
        return min(own / volume, ONE) if volume else None
