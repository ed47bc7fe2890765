"""What an execution cost, split exactly: delay, timing, spread, depth, fees, opportunity (EXECUTION.md 7).

1. Cost is positive when it was paid. Figures are in the parent's numeraire until `in_bp` divides them.
2. All legs of a parent are valued with one price vector P: currency -> value in the numeraire when decided.
   A leg BASE/QUOTE has the decision mid P[BASE] / P[QUOTE], and one unit of QUOTE is worth P[QUOTE]. Then the
   legs' costs add up to (value given - value received) of the whole parent, over hops, venues and remainders
   on the way, because what one leg receives and the next one gives is valued alike. A venue whose own mid
   differs from the common one shows the difference as delay.
3. `total` is reckoned from the money that moved, not from the parts: `Split.error` is a check, not a habit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, localcontext

from ems.core.messages import Liquidity, PublicTrade, Side
from ems.core.records import Fill

ZERO = Decimal(0)
ONE = Decimal(1)
BP = Decimal("0.0001")

# These functions are also called outside the engine's turn: 28 digits, the default, would round money.
MONEY = Context(prec=50)

PARTS = ("delay", "timing", "spread", "depth", "fees", "opportunity")


@dataclass(frozen=True, kw_only=True, slots=True)
class FillFacts:
    """One execution, its fee already in the quote currency."""

    price: Decimal  # quote per base
    quantity: Decimal  # base, before fees
    fee: Decimal  # quote, valued with the parent's price vector; a rebate is negative
    liquidity: Liquidity
    at: datetime
    mid: Decimal | None = None  # just before it; None: the arrival mid, so that the fill has no timing
    touch: Decimal | None = None  # near for a maker, far for a taker; None: the price, so no depth


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketFacts:
    """What a leg's market did meanwhile. Everything may be missing; a benchmark then is, too."""

    bid: Decimal | None = None  # best of the book at arrival
    ask: Decimal | None = None
    sweep_price: Decimal | None = None  # of taking the whole quantity at arrival, taker fee included
    mids: tuple[tuple[datetime, Decimal], ...] = ()  # each holds until the next; oldest first
    trades: tuple[PublicTrade, ...] = ()  # from start to end, our own executions among them; oldest first


@dataclass(frozen=True, kw_only=True, slots=True)
class LegFacts:
    """A parent's share at one market: what it should do, what it did, and the mids around it."""

    exchange: str
    symbol: str
    side: Side
    quantity: Decimal  # base to be traded, see `intended`
    decision_mid: Decimal  # quote per base: P[base] / P[quote]
    arrival_mid: Decimal | None = None  # at the leg's first action; None: the decision mid, so no delay
    end_mid: Decimal | None = None  # when the parent ended; None: the decision mid, so no opportunity cost
    quote_value: Decimal = ONE  # of one quote unit, in the numeraire at the decision: P[quote]
    fills: tuple[FillFacts, ...] = ()
    market: MarketFacts = MarketFacts()

    @property
    def sign(self) -> int:
        return 1 if self.side is Side.BUY else -1

    @property
    def started_at_mid(self) -> Decimal:
        return self.decision_mid if self.arrival_mid is None else self.arrival_mid

    @property
    def filled(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def base_value(self) -> Decimal:
        """Return the value of one base unit at the decision, in the numeraire."""
        return self.decision_mid * self.quote_value


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """A cost and its parts, all in one unit: the numeraire, or bp."""

    delay: Decimal  # the market moved between the decision and our first action
    timing: Decimal  # the market moved, by itself or because of us, until each fill
    spread: Decimal  # from mid to touch; negative: earned by resting
    depth: Decimal  # beyond the touch
    fees: Decimal  # rebates are negative
    opportunity: Decimal  # the market moved away from what was never filled
    total: Decimal  # from the money that moved

    @property
    def error(self) -> Decimal:
        """Return total minus parts: nothing but the rounding of the last of fifty digits."""
        with localcontext(MONEY):
            parts = self.delay + self.timing + self.spread + self.depth + self.fees + self.opportunity
            return self.total - parts


NOTHING = Split(delay=ZERO, timing=ZERO, spread=ZERO, depth=ZERO, fees=ZERO, opportunity=ZERO, total=ZERO)


def split(leg: LegFacts) -> Split:
    """Return what a leg cost, in the numeraire, with its parts."""
    with localcontext(MONEY):
        sign, value, start = leg.sign, leg.quote_value, leg.started_at_mid
        decided, end = leg.decision_mid, leg.decision_mid if leg.end_mid is None else leg.end_mid
        timing = spread = depth = fees = filled = paid = ZERO
        for fill in leg.fills:
            mid = start if fill.mid is None else fill.mid
            touch = fill.price if fill.touch is None else fill.touch
            timing += fill.quantity * (mid - start)
            spread += fill.quantity * (touch - mid)
            depth += fill.quantity * (fill.price - touch)
            fees += fill.fee
            filled += fill.quantity
            paid += fill.quantity * fill.price
        opportunity = sign * (leg.quantity - filled) * (end - decided) * value
        # A buyer gives quote and receives base, a seller the other way round; fees are given by both.
        given, received = (paid, filled * decided) if sign > 0 else (filled * decided, paid)
        return Split(
            delay=sign * filled * (start - decided) * value,
            timing=sign * timing * value,
            spread=sign * spread * value,
            depth=sign * depth * value,
            fees=fees * value,
            opportunity=opportunity,
            total=(given - received + fees) * value + opportunity,
        )


def add(splits: Iterable[Split]) -> Split:
    """Return the sum of splits in one unit: a parent's is the sum of its legs'."""
    with localcontext(MONEY):
        total = NOTHING
        for each in splits:
            total = Split(
                delay=total.delay + each.delay,
                timing=total.timing + each.timing,
                spread=total.spread + each.spread,
                depth=total.depth + each.depth,
                fees=total.fees + each.fees,
                opportunity=total.opportunity + each.opportunity,
                total=total.total + each.total,
            )
        return total


def in_bp(split: Split, notional: Decimal) -> Split:
    """Return a split in bp of what was to be traded; `notional` is in the numeraire and not zero."""
    with localcontext(MONEY):
        unit = notional * BP
        return Split(
            delay=split.delay / unit,
            timing=split.timing / unit,
            spread=split.spread / unit,
            depth=split.depth / unit,
            fees=split.fees / unit,
            opportunity=split.opportunity / unit,
            total=split.total / unit,
        )


# --- From the ledger to facts --------------------------------------------------------------------


def price_vector(numeraire: str, mids: Sequence[tuple[str, str, Decimal]]) -> dict[str, Decimal]:
    """Return the value of one unit of each currency that `mids` (base, quote, mid) connect to the numeraire.

    Breadth first, earlier mids first: a currency reached twice keeps the shorter and then the earlier way, so
    the caller decides by order which venue's mid is the common one.
    """
    with localcontext(MONEY):
        values = {numeraire: ONE}
        reached = [numeraire]
        for currency in reached:  # grows while it is read: that is the search
            for base, quote, mid in mids:
                if mid <= ZERO:
                    continue
                if quote == currency and base not in values:
                    values[base] = values[quote] * mid
                    reached.append(base)
                elif base == currency and quote not in values:
                    values[quote] = values[base] / mid
                    reached.append(quote)
        return values


def intended(side: Side, filled: Decimal, unspent: Decimal, decision_mid: Decimal) -> Decimal:
    """Return the base quantity a leg should have traded, from what it left of its source currency.

    A leg is given an amount to spend: a buyer's quantity follows from it only once the prices are known, and
    an amount spent in full must not look unfilled because the price rose. `unspent` is quote for a buy, base
    for a sell; count in what an earlier hop failed to hand on, valued at the decision.
    """
    with localcontext(MONEY):
        return filled + (unspent / decision_mid if side is Side.BUY else unspent)


def fill_facts(fill: Fill, *, quote: str, prices: Mapping[str, Decimal]) -> FillFacts:
    """Return a fill with its fee in quote at the price vector; see `unpriced_fees` for one without price."""
    fee = ZERO
    if fill.fee and fill.fee_currency in prices:
        with localcontext(MONEY):
            fee = fill.fee * prices[fill.fee_currency] / prices[quote]
    return FillFacts(
        price=fill.price,
        quantity=fill.quantity,
        fee=fee,
        liquidity=fill.liquidity,
        at=fill.timestamp,
        mid=fill.mid,
        touch=fill.touch,
    )


def unpriced_fees(fills: Iterable[Fill], prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return the fees that no cost contains for want of a price, by currency: they are told, not hidden."""
    found: dict[str, Decimal] = {}
    with localcontext(MONEY):
        for fill in fills:
            if fill.fee and fill.fee_currency not in prices:
                found[fill.fee_currency] = found.get(fill.fee_currency, ZERO) + fill.fee
    return found


def leg_facts(
    *,
    exchange: str,
    symbol: str,
    side: Side,
    base: str,
    quote: str,
    unspent: Decimal,
    prices: Mapping[str, Decimal],
    fills: Sequence[Fill] = (),
    arrival_mid: Decimal | None = None,
    end_mid: Decimal | None = None,
    market: MarketFacts = MarketFacts(),
) -> LegFacts:
    """Return the facts of a leg from its fills and the price vector; KeyError without its two prices."""
    with localcontext(MONEY):
        decision_mid = prices[base] / prices[quote]
        filled = sum((fill.quantity for fill in fills), ZERO)
    return LegFacts(
        exchange=exchange,
        symbol=symbol,
        side=side,
        quantity=intended(side, filled, unspent, decision_mid),
        decision_mid=decision_mid,
        arrival_mid=arrival_mid,
        end_mid=end_mid,
        quote_value=prices[quote],
        fills=tuple(fill_facts(fill, quote=quote, prices=prices) for fill in fills),
        market=market,
    )
