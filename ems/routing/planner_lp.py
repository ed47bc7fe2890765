"""The planner's linear programme (EXECUTION.md 5.1), solved over the few levels that can matter.

Everything here is a float and a share of the value planned for; `planner_legs` makes orders of it.
Variables are what flows through each level of each book, in source value at mid. Rows: no node may spend
more than it holds and receives; each currency ends in its band, or pays a penalty for what is outside.

Levels and edges enter lazily. The duals price what was left out: an arc outside that no price makes
attractive cannot improve the optimum (column generation), so the answer is the optimum over all books.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ems.core.messages import Side
from ems.routing.plan import Listing

# A reduced cost below this (0.0001 bp of the flow) is noise of the solver.
ATTRACTIVE = 1e-8
ROUNDS = 12  # of pricing; the certificate covers what is left when they are over
NOISE = 1e-9  # a flow below this share of the value planned for is none


class Edge:
    """One side of one listing: levels of falling gain from node `source` to node `target`."""

    __slots__ = (
        "listing", "side", "source", "target", "key", "need", "gains", "capacities", "bases",
        "ahead", "carried", "live", "_levels", "_gain", "_capacity",
    )  # fmt: skip

    def __init__(
        self,
        listing: Listing,
        side: Side,
        source: int,
        target: int,
        *,
        source_price: float,  # numeraire per unit
        target_price: float,
        scale: float,  # the value planned for, in the numeraire
        need: float,  # no more than this can flow, as a share of the scale
        floor: float,  # a level of lower gain is never worth taking
    ) -> None:
        market = listing.market
        fee = float(market.taker_fee)
        mode = market.fee_mode
        self.listing, self.side, self.source, self.target = listing, side, source, target
        self.key = (listing.exchange, market.symbol, side)  # accounts of one exchange share its book
        self.need = need
        self.gains: list[float] = []  # value received per value spent, falling
        self.capacities: list[float] = []  # value spent, as a share of the scale
        self.bases: list[float] = []  # base units traded per unit of flow
        self.carried = 0.0
        self.live = False
        ratio = target_price / source_price
        if side is Side.SELL:
            on_top = 1 + fee if mode == "base" else 1.0
            self._gain = ratio / (1 + fee) if mode == "base" else ratio * (1 - fee)
        else:
            on_top = 1 + fee if mode == "quote" else 1.0
            self._gain = ratio / (1 + fee) if mode == "quote" else ratio * (1 - fee)
        self._capacity = on_top * source_price / scale
        self._levels = self._read(floor)
        self.ahead: tuple[float, float, float] | None = next(self._levels, None)  # not yet in the programme

    def _read(self, floor: float) -> Iterator[tuple[float, float, float]]:
        """Yield (gain, capacity, base per flow) level by level (EXECUTION.md 2.1)."""
        selling = self.side is Side.SELL
        left = self.need
        for price, quantity in self.listing.bids if selling else self.listing.asks:
            rate, size = float(price), float(quantity)
            if size <= 0:
                continue
            gain = self._gain * rate if selling else self._gain / rate
            capacity = size * self._capacity if selling else size * self._capacity * rate
            if gain < floor or left <= 0:
                return
            yield gain, capacity, size / capacity
            left -= capacity

    def extend(self, until: float, at_least: int = 1) -> None:
        """Take levels into the programme until `until` may flow."""
        taken = 0
        while self.ahead is not None and (taken < at_least or self.carried < until):
            gain, capacity, base = self.ahead
            self.gains.append(gain)
            self.capacities.append(capacity)
            self.bases.append(base)
            self.carried += capacity
            taken += 1
            self.ahead = next(self._levels, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Programme:
    """What is to be solved, in shares of the value planned for."""

    currency_of: Sequence[int]  # node -> currency
    spendable: Sequence[float]  # node -> what it holds above its reserve
    bands: Sequence[tuple[float, float]]  # currency -> by how much its sum may change, from ... to
    kept: Sequence[bool]  # currency -> whether it may not change at all
    penalty: float  # per value outside a band
    arbitrage: bool  # the books allow profit in a circle: gains are not rewarded


@dataclass(frozen=True, kw_only=True, slots=True)
class Flows:
    """The optimum: what flows through each edge, and what it loses."""

    flow: Mapping[int, float]  # edge -> value spent
    base: Mapping[int, float]  # edge -> base units traded
    change: Sequence[float]  # node -> net change
    loss: float  # cost plus penalties, the programme's optimum
    bound: float  # no plan over these edges loses less


# The least a flow costs where gains are not rewarded: enough that nothing flows without a purpose.
IDLE = 1e-6


def optimise(
    programme: Programme,
    edges: Sequence[Edge],
    banned: Collection[int] = (),
    least: Mapping[int, float] | None = None,
) -> Flows | None:
    """Solve over all edges but the banned ones; None where there is no solution.

    Through an edge in `least` flows at least so much.
    """
    least = least or {}
    import numpy as np

    priced = [number for number in range(len(edges)) if number not in banned]
    for _ in range(ROUNDS):
        used = [number for number in priced if edges[number].live and edges[number].gains]
        answer = _solve(programme, [edges[number] for number in used], [least.get(n, 0.0) for n in used])
        if answer is None:
            return None
        flow, loss, worth, scarcity = answer
        missed = _missed(programme, edges, priced, worth, scarcity)
        for number, _ in missed:
            edge = edges[number]
            edge.live = True
            edge.extend(2 * edge.carried)
        if not missed:
            break
    bound = loss - sum(gain * edges[number].need for number, gain in missed)
    flows: dict[int, float] = {}
    received: dict[int, float] = {}
    bases: dict[int, float] = {}
    start = 0
    for number in used:
        edge = edges[number]
        x = flow[start : start + len(edge.gains)]
        start += len(edge.gains)
        if (total := float(x.sum())) > NOISE:
            flows[number] = total
            received[number] = float(x @ np.array(edge.gains))
            bases[number] = float(x @ np.array(edge.bases))
    open_circles(edges, flows, received, bases)
    change = [0.0] * len(programme.currency_of)
    for number, total in flows.items():
        change[edges[number].source] -= total
        change[edges[number].target] += received[number]
    return Flows(flow=flows, base=bases, change=change, loss=loss, bound=bound)


def open_circles(
    edges: Sequence[Edge], flows: dict[int, float], received: dict[int, float], bases: dict[int, float]
) -> None:
    """Take out what flows in circles, both sides of one market among them, in place.

    An optimum has none unless the books allow profit in a circle; each circle is cut at its smallest flow.
    """
    while circle := _circle(edges, flows):
        # What one unit into the first edge becomes at each edge, and how much the smallest one bears.
        scale, share = [], 1.0
        for number in circle:
            scale.append(share)
            share *= received[number] / flows[number]
        amount, cut = min((flows[number] / part, number) for number, part in zip(circle, scale, strict=True))
        for number, part in zip(circle, scale, strict=True):
            left = 1 - amount * part / flows[number]
            if number == cut or flows[number] * left <= NOISE:
                del flows[number], received[number], bases[number]
            else:
                flows[number] *= left
                received[number] *= left
                bases[number] *= left


def _circle(edges: Sequence[Edge], flows: Mapping[int, float]) -> list[int]:
    """Return the edges of one circle of flow, in its direction, or nothing."""
    leaving: dict[int, list[int]] = {}
    for number in flows:
        leaving.setdefault(edges[number].source, []).append(number)
    done: set[int] = set()
    for root in leaving:
        path: list[int] = []
        on_path = {root: 0}  # node -> how many edges lead to it
        waiting = [list(leaving[root])]
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                done.add(edges[path[-1]].target if path else root)
                if path:
                    del on_path[edges[path.pop()].target]
                continue
            number = waiting[-1].pop()
            node = edges[number].target
            if node in on_path:
                return [*path[on_path[node] :], number]
            if node not in done:
                path.append(number)
                on_path[node] = len(path)
                waiting.append(list(leaving.get(node, ())))
    return []


def _solve(
    programme: Programme, edges: Sequence[Edge], least: Sequence[float]
) -> tuple[Any, float, Any, Any] | None:
    """Return (flows, loss, worth of a currency's band, scarcity at a node), duals as rewards."""
    import numpy as np
    from scipy.optimize import linprog  # type: ignore[import-untyped]
    from scipy.sparse import csc_array  # type: ignore[import-untyped]

    counts = np.array([len(edge.gains) for edge in edges], dtype=int)
    gain = np.array([g for edge in edges for g in edge.gains])
    upper = np.array([c for edge in edges for c in edge.capacities])
    source = np.repeat(np.array([edge.source for edge in edges], dtype=int), counts)
    target = np.repeat(np.array([edge.target for edge in edges], dtype=int), counts)
    currency_of = np.array(programme.currency_of, dtype=int)
    arcs, nodes, currencies = len(gain), len(programme.currency_of), len(programme.bands)
    cost = 1 - gain
    if programme.arbitrage:
        cost = np.maximum(cost, IDLE)
    number = np.arange(arcs)
    rows, columns = [source, target], [number, number]
    values = [np.ones(arcs), -gain]
    limits = list(programme.spendable)
    for parts in _shared(edges, counts):
        rows.append(np.full(len(parts), len(limits)))
        columns.append(np.array(parts))
        values.append(1 / upper[parts])
        limits.append(1.0)
    starts = np.cumsum(counts) - counts
    for position, flow in enumerate(least):
        if flow > 0:
            rows.append(np.full(counts[position], len(limits)))
            columns.append(np.arange(starts[position], starts[position] + counts[position]))
            values.append(-np.ones(counts[position]))
            limits.append(-flow)
    width = arcs + 3 * currencies
    a_ub = csc_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(len(limits), width)
    )
    each = np.arange(currencies)
    one = np.ones(currencies)
    a_eq = csc_array(
        (
            np.concatenate([-np.ones(arcs), gain, -one, -one, one]),
            (
                np.concatenate([currency_of[source], currency_of[target], each, each, each]),
                np.concatenate(
                    [number, number, arcs + each, arcs + currencies + each, arcs + 2 * currencies + each]
                ),
            ),
        ),
        shape=(currencies, width),
    )
    bounds = np.zeros((width, 2))
    bounds[:arcs, 1] = upper
    bounds[arcs : arcs + currencies] = [
        (0.0, 0.0) if kept else band for band, kept in zip(programme.bands, programme.kept, strict=True)
    ]
    free = np.where(np.array(programme.kept, dtype=bool), 0.0, np.inf)
    bounds[arcs + currencies : arcs + 2 * currencies, 1] = free
    bounds[arcs + 2 * currencies :, 1] = free
    objective = np.concatenate([cost, np.zeros(currencies), np.full(2 * currencies, programme.penalty)])
    solved = linprog(
        objective,
        A_ub=a_ub,
        b_ub=np.array(limits),
        A_eq=a_eq,
        b_eq=np.zeros(currencies),
        bounds=bounds,
        method="highs-ds",
        # Presolve costs more than it saves on programmes this small.
        options={
            "presolve": False,
            "primal_feasibility_tolerance": 1e-10,
            "dual_feasibility_tolerance": 1e-10,
        },
    )
    if solved.x is None or solved.status != 0:
        return None
    return (
        solved.x[:arcs],
        float(solved.fun),
        solved.eqlin.marginals,
        -solved.ineqlin.marginals[:nodes],
    )


def _shared(edges: Sequence[Edge], counts: Any) -> Iterator[list[int]]:
    """Yield the arcs that are one and the same level, seen from several accounts of its exchange."""
    import numpy as np

    groups: dict[tuple[str, str, Side], list[int]] = {}
    for position, edge in enumerate(edges):
        groups.setdefault(edge.key, []).append(position)
    if len(groups) == len(edges):
        return
    starts = np.cumsum(counts) - counts
    for members in groups.values():
        for level in range(max(int(counts[position]) for position in members)):
            parts = [int(starts[position]) + level for position in members if counts[position] > level]
            if len(parts) > 1:
                yield parts


def _missed(
    programme: Programme, edges: Sequence[Edge], priced: Sequence[int], worth: Any, scarcity: Any
) -> list[tuple[int, float]]:
    """Return the edges whose next level would improve the optimum, with its reduced gain."""
    value = [float(worth[c]) + float(s) for c, s in zip(programme.currency_of, scarcity, strict=True)]
    fed = {edges[number].target for number in priced if edges[number].live and edges[number].gains}
    # A node that holds and gets nothing has no price of its own: it is worth what can be made of it.
    empty = {node for node, held in enumerate(programme.spendable) if held <= 0 and node not in fed}
    ahead = [
        (number, edges[number], best) for number in priced if (best := _next_gain(edges[number])) is not None
    ]
    if empty:
        onward = [(edge, gain) for _, edge, gain in ahead if edge.source in empty]
        onward += [
            (edges[number], edges[number].gains[0])
            for number in priced
            if edges[number].live and edges[number].gains and edges[number].source in empty
        ]
        for _ in range(3):
            for edge, gain in onward:
                made = gain * value[edge.target] - _cost(programme, gain)
                if made > value[edge.source]:
                    value[edge.source] = made
    return [
        (number, reduced)
        for number, edge, gain in ahead
        if (reduced := gain * value[edge.target] - value[edge.source] - _cost(programme, gain)) > ATTRACTIVE
    ]


def _next_gain(edge: Edge) -> float | None:
    if not edge.live and edge.gains:
        return edge.gains[0]
    return edge.ahead[0] if edge.ahead is not None else None


def _cost(programme: Programme, gain: float) -> float:
    return max(1 - gain, IDLE) if programme.arbitrage else 1 - gain
