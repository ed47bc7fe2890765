"""What parents cost, with intervals: EXECUTION.md 8, "Evaluation"."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.bench.replay.feed import SECOND
from tests.bench.replay.trader import Outcome

RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Figures:
    """One row: bp of the arrival value; `error` is a standard error."""

    pairs: int
    cost: float  # mean price shortfall against the arrival mid
    error: float
    sd: float  # of single executions
    p95: float
    maker: float  # share of the quantity
    requests: float
    took_s: float
    complete: float  # share of parents that were done, but for dust, without the bench's help
    fee: float  # mean, at the fees it was run with

    @property
    def total(self) -> float:
        return self.cost + self.fee


def shortfall(outcome: Outcome) -> float:
    """Return the price part of the implementation shortfall in bp: positive costs."""
    sign = 1 if outcome.is_buy else -1
    paid = sum(trade.quantity * trade.price * (1 + sign * trade.shift) for trade in outcome.trades)
    lots = sum(trade.quantity for trade in outcome.trades)
    return sign * (paid / lots / outcome.arrival - 1) * 1e4 if lots else 0.0


def maker_share(outcome: Outcome) -> float:
    lots = sum(trade.quantity for trade in outcome.trades)
    return sum(trade.quantity for trade in outcome.trades if trade.maker) / lots if lots else 0.0


def paired(outcomes: Sequence[Outcome]) -> list[tuple[int, float]]:
    """Return (start, mean of buy and sell): drift cancels."""
    sides: dict[int, dict[bool, float]] = {}
    for outcome in outcomes:
        sides.setdefault(outcome.starts_at, {})[outcome.is_buy] = shortfall(outcome)
    return sorted((start, (both[True] + both[False]) / 2) for start, both in sides.items() if len(both) == 2)


def summary(
    outcomes: Sequence[Outcome],
    *,
    seconds: float,
    dust: int,
    maker_bp: float,
    taker_bp: float,
    seed: int = 0,
) -> Figures:
    """Fold outcomes of one setting into a row."""
    pairs = paired(outcomes)
    costs = [shortfall(outcome) for outcome in outcomes]
    shares = [maker_share(outcome) for outcome in outcomes]
    maker = statistics.fmean(shares)
    return Figures(
        pairs=len(pairs),
        cost=statistics.fmean(cost for _, cost in pairs),
        error=standard_error(pairs, seconds, seed=seed),
        sd=statistics.pstdev(costs),
        p95=percentile(costs, 0.95),
        maker=maker,
        requests=statistics.fmean(outcome.requests for outcome in outcomes),
        took_s=statistics.fmean(outcome.took_s for outcome in outcomes),
        complete=statistics.fmean(
            outcome.forced <= dust and outcome.left == 0 and not outcome.problem for outcome in outcomes
        ),
        fee=maker * maker_bp + (1 - maker) * taker_bp,
    )


def percentile(sample: Sequence[float], share: float) -> float:
    ordered = sorted(sample)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def standard_error(series: Sequence[tuple[int, float]], seconds: float, *, seed: int = 0) -> float:
    """Return the standard error of the mean by a circular block bootstrap; blocks span at least T, because
    executions that overlap share their market."""
    means = resampled(series, seconds, seed=seed)
    return statistics.pstdev(means) if means else math.nan


def resampled(series: Sequence[tuple[int, float]], seconds: float, *, seed: int = 0) -> list[float]:
    """Return the means of the resamples."""
    n = len(series)
    if n < 2:
        return []
    block = max(longest_overlap(series, seconds), 1)
    if block >= n:
        block = max(1, n // 2)
    random = Random(seed)
    values = [value for _, value in series]
    doubled = values + values
    sums = [math.fsum(doubled[start : start + block]) for start in range(n)]
    blocks = math.ceil(n / block)
    return [
        math.fsum(sums[random.randrange(n)] for _ in range(blocks)) / (blocks * block)
        for _ in range(RESAMPLES)
    ]


def longest_overlap(series: Sequence[tuple[int, float]], seconds: float) -> int:
    """Return how many starts in a row lie within T."""
    longest = first = 0
    for index, (start, _) in enumerate(series):
        while start - series[first][0] > seconds * SECOND:
            first += 1
        longest = max(longest, index - first + 1)
    return longest


def difference(ours: Sequence[Outcome], theirs: Sequence[Outcome], seconds: float) -> tuple[float, float]:
    """Return the mean difference of two settings from the same starts, and its standard error."""
    mine, other = dict(paired(ours)), dict(paired(theirs))
    series = sorted((start, mine[start] - other[start]) for start in mine.keys() & other.keys())
    mean = statistics.fmean(value for _, value in series) if series else math.nan
    return mean, standard_error(series, seconds)


def ratio_error(ours: Sequence[Outcome], theirs: Sequence[Outcome], seconds: float) -> float:
    """Return the standard error of the ratio of two means from the same starts, resampled together."""
    mine, other = dict(paired(ours)), dict(paired(theirs))
    starts = sorted(mine.keys() & other.keys())
    above = resampled([(start, mine[start]) for start in starts], seconds)
    below = resampled([(start, other[start]) for start in starts], seconds)  # the same seed: the same blocks
    ratios = [a / b for a, b in zip(above, below, strict=True) if b > 0]
    return statistics.pstdev(ratios) if len(ratios) > 1 else math.nan
