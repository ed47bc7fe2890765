"""The body of a Cost record: facts of a finished parent in, a JSON-ready dictionary out.

Amounts and bp are decimal strings, derived ones to 1e-12, so that the parts still add up to the total as read
(EXECUTION.md 9.6 asks for 1e-9 bp). What is not known is null and never zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from ems.core.codec import plain
from ems.core.messages import Liquidity
from ems.tca import benchmarks, identity
from ems.tca.benchmarks import HORIZONS_S, MICROSECOND, Impact, Markout, MidAt, Prices
from ems.tca.identity import BP, MONEY, ZERO, LegFacts, Split
from ems.tca.result import SHOWN


@dataclass(frozen=True, kw_only=True, slots=True)
class ParentFacts:
    """A finished parent: its legs, valued with one price vector, and what only the ledger knows of it."""

    currency: str  # the numeraire of everything below
    notional: Decimal  # of what was to be done, at the decision; not zero
    legs: tuple[LegFacts, ...]
    started_at: datetime
    ended_at: datetime
    requests: int  # sent to venues for it: orders, cancels and look-ups
    dust: Mapping[str, Decimal] = field(default_factory=dict)  # currency -> left over on the way
    taking_at_once_bps: Decimal | None = None  # the sweep at arrival, fees included, in bp of the notional
    unpriced_fees: Mapping[str, Decimal] = field(default_factory=dict)  # in no cost, for want of a price


def cost_body(parent: ParentFacts) -> dict[str, object]:
    """Return the body of a parent that has just ended; `with_markouts` completes it later."""
    with localcontext(MONEY):
        splits = [identity.split(leg) for leg in parent.legs]
        cost = identity.in_bp(identity.add(splits), parent.notional)
        fills = [fill for leg in parent.legs for fill in leg.fills]
        completion = _completion(parent.legs)
        last = max((fill.at for fill in fills), default=None)
        prices = [benchmarks.benchmark_prices(leg, parent.started_at, parent.ended_at) for leg in parent.legs]
        body: dict[str, object] = {
            "notional": plain(parent.notional),
            "currency": parent.currency,
            "side_pairs": list(dict.fromkeys(f"{leg.side} {leg.symbol}" for leg in parent.legs)),
            "cost": _split_body(cost),
            "saved_bps": _shown(_saved(cost, completion, parent.taking_at_once_bps)),
            "taking_at_once_bps": _shown(parent.taking_at_once_bps),
            "maker_share": _shown(_maker_share(parent.legs)),
            "participation": _shown(benchmarks.participation(parent.legs)),
            "fill_time_s": None if last is None else plain(_seconds(last - parent.started_at)),
            "requests": parent.requests,
            "completion": _shown(completion),
            "dust": {currency: plain(amount) for currency, amount in parent.dust.items()},
            "spread_at_arrival_bps": _shown(_spread(parent)),
            **_afterwards([], None),
            "benchmarks": {
                name: {"cost_bps": _shown(worse)}
                for name, worse in benchmarks.compared(parent.legs, prices).items()
            },
            "legs": [
                _leg_body(leg, identity.in_bp(part, parent.notional), found)
                for leg, part, found in zip(parent.legs, splits, prices, strict=True)
            ],
        }
        if parent.unpriced_fees:
            body["unpriced_fees"] = {name: plain(fee) for name, fee in parent.unpriced_fees.items()}
        return body


def with_markouts(
    body: Mapping[str, object], legs: Sequence[LegFacts], mid_at: MidAt, ended_at: datetime
) -> dict[str, object]:
    """Return the body with markouts and impact: call it when `mids_known_by` has passed."""
    marks = benchmarks.markouts(legs, mid_at)
    return {**body, **_afterwards(marks, benchmarks.impact(legs, mid_at, ended_at))}


def mids_known_by(legs: Sequence[LegFacts], ended_at: datetime) -> datetime:
    """Return when the last mid that a markout or the impact asks for has been seen."""
    last = max((fill.at for leg in legs for fill in leg.fills), default=None)
    if last is None:
        return ended_at
    longest = timedelta(seconds=int(HORIZONS_S[-1]))
    return max(last + longest, ended_at + benchmarks.IMPACT_AFTER)


def _afterwards(marks: Sequence[Markout], impact: Impact | None) -> dict[str, object]:
    return {
        "markouts": [
            {
                "tau_s": plain(mark.tau_s),
                "maker_bps": _shown(mark.maker_bps),
                "taker_bps": _shown(mark.taker_bps),
            }
            for mark in marks
        ],
        "impact": {
            "temporary_bps": None if impact is None else _shown(impact.temporary_bps),
            "permanent_bps": None if impact is None else _shown(impact.permanent_bps),
        },
    }


def _split_body(cost: Split) -> dict[str, str]:
    return {
        "total_bps": _figure(cost.total),
        "delay_bps": _figure(cost.delay),
        "timing_bps": _figure(cost.timing),
        "spread_bps": _figure(cost.spread),
        "depth_bps": _figure(cost.depth),
        "fees_bps": _figure(cost.fees),
        "opportunity_bps": _figure(cost.opportunity),
    }


def _leg_body(leg: LegFacts, cost: Split, prices: Prices) -> dict[str, object]:
    """Return a leg's row: in bp of the parent's notional, so that the rows add up to the parent's cost."""
    return {
        "exchange": leg.exchange,
        "symbol": leg.symbol,
        "side": str(leg.side),
        **_split_body(cost),
        "quantity": _figure(leg.quantity),
        "filled": plain(leg.filled),
        "average_price": _figure(benchmarks.average_price(leg.fills)) if leg.fills else None,
        "decision_mid": _figure(leg.decision_mid),
        "benchmarks": {name: _shown(price) for name, price in prices.items()},
    }


def _saved(cost: Split, completion: Decimal | None, at_once: Decimal | None) -> Decimal | None:
    """Return what taking at once would have cost more, on the part that was done.

    What was never done saved nothing: it counts neither as a cost of the one nor of the other.
    """
    if at_once is None or not completion:
        return None
    return at_once * completion - (cost.total - cost.opportunity)


def _completion(legs: Sequence[LegFacts]) -> Decimal | None:
    """Return the filled share of what was to be done, by value; None where nothing was."""
    wanted = sum((leg.quantity * leg.base_value for leg in legs), ZERO)
    done = sum((leg.filled * leg.base_value for leg in legs), ZERO)
    return done / wanted if wanted else None


def _maker_share(legs: Sequence[LegFacts]) -> Decimal | None:
    maker = total = ZERO
    for leg in legs:
        for fill in leg.fills:
            value = fill.quantity * leg.base_value
            total += value
            if fill.liquidity is Liquidity.MAKER:
                maker += value
    return maker / total if total else None


def _spread(parent: ParentFacts) -> Decimal | None:
    """Return the spread at arrival: the mean over legs side by side, the sum over legs one after another."""
    total = ZERO
    for leg in parent.legs:
        bid, ask = leg.market.bid, leg.market.ask
        if bid is None or ask is None or bid <= ZERO:
            return None
        total += leg.quantity * leg.base_value * (ask - bid) * 2 / (ask + bid)
    return total / parent.notional / BP if parent.legs else None


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // MICROSECOND) / 1_000_000


def _shown(figure: Decimal | None) -> str | None:
    return None if figure is None else _figure(figure)


def _figure(figure: Decimal) -> str:
    return plain(figure.quantize(SHOWN))
