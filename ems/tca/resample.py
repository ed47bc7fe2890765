"""How sure a mean is: the circular block bootstrap, the same answer for the same figures.

Executions close in time share a market, so whole blocks of neighbours are drawn, not single figures (Politis
& Romano 1992; a block of n^(1/3) as Hall, Horowitz & Jing 1995 advise). Pure code has no dice: the draws are
SHA-256 of a seed and a counter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from decimal import Decimal, localcontext
from itertools import accumulate, islice

from ems.tca.identity import MONEY, ZERO

ROUNDS = 1000
CONFIDENCE = Decimal("0.95")
FEWEST = 8  # with fewer, a block is so much of the whole that all resamples are alike
BYTES_OF_A_DRAW = 8  # 2^64 / n leaves a bias of n / 2^64: none that a percentile shows


def mean_interval(
    figures: Sequence[Decimal], *, seed: str, rounds: int = ROUNDS, confidence: Decimal = CONFIDENCE
) -> tuple[Decimal, Decimal] | None:
    """Return the interval of the mean of figures in order of time; None for too few.

    Below some twenty figures a bootstrap is too sure of itself: show n beside it.
    """
    count = len(figures)
    if count < FEWEST:
        return None
    with localcontext(MONEY):
        length = block_length(count)
        # sums[k]: of the first k figures, going round once more, so that a block may start anywhere.
        sums = [ZERO, *accumulate([*figures, *figures])]
        whole, rest = divmod(count, length)
        blocks = [sums[start + length] - sums[start] for start in range(count)]
        starts = draws(seed, count)
        means = []
        for _ in range(rounds):
            total = sum(map(blocks.__getitem__, islice(starts, whole)), ZERO)
            if rest:
                start = next(starts)
                total += sums[start + rest] - sums[start]
            means.append(total / count)
        means.sort()
        tail = (1 - confidence) / 2
        return quantile(means, tail), quantile(means, 1 - tail)


def block_length(count: int) -> int:
    """Return the cube root of the number of figures, rounded up."""
    length = 1
    while length**3 < count:
        length += 1
    return length


def draws(seed: str, below: int) -> Iterator[int]:
    """Yield numbers from 0 to `below` - 1 for ever, the same for the same seed."""
    counter = 0
    while True:
        digest = hashlib.sha256(f"{seed}|{counter}".encode()).digest()
        for start in range(0, len(digest), BYTES_OF_A_DRAW):
            yield int.from_bytes(digest[start : start + BYTES_OF_A_DRAW], "big") % below
        counter += 1


def quantile(ordered: Sequence[Decimal], share: Decimal) -> Decimal:
    """Return the quantile of figures in ascending order, linear between neighbours."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
