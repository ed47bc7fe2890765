"""What an integer program makes of the same books: whole lots, smallest orders, nothing in between.

Levels of a market fill a whole number of lots or none; a market that is used carries at least the smallest
order the router would send there (EXECUTION.md 2.5). HiGHS proves the optimum; small cases only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from ems.core.instrument import NOTIONAL_MARGIN
from ems.core.messages import Side
from ems.routing.graph import Graph, Ladder
from ems.routing.linear import program
from ems.routing.repair import LOTS_MIN, NOTIONAL_MIN


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """The best plan in whole lots."""

    received: float
    lots: dict[int, int]  # edge -> how many
    proven: bool


def best_in_lots(
    graph: Graph, amount: float, usd: Mapping[str, Decimal], min_leg: Decimal, *, seconds: float = 3.0
) -> Whole | None:
    """Return the optimum over whole lots, None where nothing can be sent."""
    made = program(graph, amount)
    if made is None:
        return None
    columns = len(made.caps)
    edges = sorted({edge for edge in made.edges if edge >= 0})
    place = {edge: columns + number for number, edge in enumerate(edges)}  # lots, in whole numbers
    used = {edge: columns + len(edges) + number for number, edge in enumerate(edges)}  # 0 or 1
    width = columns + 2 * len(edges)
    rows, cols, values = list(made.rows), list(made.columns), list(made.values)
    low = [-np.inf] * len(made.limits)
    high = list(made.limits)
    for edge in edges:
        ladder = graph.books.ladders[edge]
        lot = float(ladder.listing.market.lot)
        row = len(high)
        for column, owner in enumerate(made.edges):
            if owner == edge:
                gain = ladder.gains[sum(1 for e in made.edges[:column] if e == edge)]
                rows.append(row)
                cols.append(column)
                values.append(made.caps[column] * base_per_unit(ladder, gain) / lot)
        rows.append(row)
        cols.append(place[edge])
        values.append(-1.0)
        low.append(0.0)
        high.append(0.0)
        shown = sum(quantity for _, quantity in ladder.levels)
        most = float(shown / ladder.listing.market.lot)
        for factor, least, largest in (
            (-smallest(ladder, usd, min_leg), 0.0, np.inf),
            (-most, -np.inf, 0.0),
        ):
            rows += [len(high)] * 2
            cols += [place[edge], used[edge]]
            values += [1.0, factor]
            low.append(least)
            high.append(largest)
    result: Any = milp(
        np.array(made.cost + [0.0] * (2 * len(edges))),
        integrality=np.array([0] * columns + [1] * (2 * len(edges))),
        bounds=Bounds(
            np.zeros(width), np.array([1.0] * columns + [np.inf] * len(edges) + [1.0] * len(edges))
        ),
        constraints=LinearConstraint(
            csr_matrix((values, (rows, cols)), shape=(len(high), width)), np.array(low), np.array(high)
        ),
        options={"mip_rel_gap": 1e-8, "time_limit": seconds},
    )
    if result.x is None or -result.fun <= 0:
        return None
    return Whole(
        received=-float(result.fun) * made.unit,
        lots={edge: round(result.x[place[edge]]) for edge in edges if round(result.x[place[edge]])},
        proven=result.status == 0,
    )


def base_per_unit(ladder: Ladder, gain: float) -> float:
    """Return how much base a unit of an edge's source currency trades."""
    market = ladder.listing.market
    fee = float(market.taker_fee)
    if ladder.side is Side.SELL:
        return 1 / (1 + fee) if market.fee_mode == "base" else 1.0
    return gain if market.fee_mode == "quote" else gain / (1 - fee)


def smallest(ladder: Ladder, usd: Mapping[str, Decimal], min_leg: Decimal) -> float:
    """Return the fewest lots the router would send, at the touch."""
    listing, market = ladder.listing, ladder.listing.market
    price = ladder.levels[0][0]
    if listing.bids and listing.asks:
        price = min(price, (listing.bids[0][0] + listing.asks[0][0]) / 2)
    quantity = max(
        market.min_quantity,
        LOTS_MIN * market.lot,
        max(NOTIONAL_MARGIN, NOTIONAL_MIN) * market.min_notional / price,
    )
    if market.base in usd:
        quantity = max(quantity, min_leg / usd[market.base])
    return float(quantity / market.lot)
