"""The same problem as a linear program, for books in which a cycle makes money (EXECUTION.md 2.1, 2.4).

Slower than the solver by two orders of magnitude; it also serves the tests as an opinion of its own. Rows
and columns are scaled by what a unit of each currency is worth, or the tolerances of a general solver would
mean millions in one currency and nothing in another.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf
from typing import Any

from ems.routing.graph import Graph

TOLERANCE = 1e-10  # the tightest HiGHS accepts


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimum:
    """What the linear program found, in the solver's words."""

    received: float
    started: dict[int, float]  # node -> what leaves the supply there
    used: dict[int, float]  # edge -> units of its source currency


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """`minimise cost @ x, matrix @ x <= limits, 0 <= x <= 1`: x is the share of a column's capacity."""

    cost: list[float]
    rows: list[int]
    columns: list[int]
    values: list[float]
    limits: list[float]
    edges: list[int]  # column -> edge, or ~node for what leaves a supply
    caps: list[float]  # column -> capacity in units of the source currency
    unit: float  # what the objective is a multiple of, in the end currency


def program(graph: Graph, amount: float, *, without: Collection[int] = ()) -> Program | None:
    """Write the flow problem as a linear program; None where nothing leads to the end."""
    books = graph.books
    worth = _worth(graph)
    unit = sum(worth[node] * min(supply, amount) for node, supply in graph.starts.items())
    if unit <= 0:
        return None
    made = Program(cost=[], rows=[], columns=[], values=[], limits=[], edges=[], caps=[], unit=unit)
    row: dict[int, int] = {graph.source: 0}
    made.limits.append(1.0)

    def at(node: int) -> int:
        if node not in row:
            row[node] = len(row)
            made.limits.append(0.0)
        return row[node]

    def put(where: int, value: float) -> None:
        made.rows.append(where)
        made.columns.append(len(made.caps))
        made.values.append(value)

    ends = set(graph.ends)
    for node, supply in sorted(graph.starts.items()):
        if worth[node] > 0:
            if amount < inf:
                put(0, supply / amount)
            put(at(node), -supply * worth[node] / unit)
            made.cost.append(0.0)
            made.edges.append(~node)
            made.caps.append(supply)
    barred = set(without)
    for way in graph.ways:
        tail, head = books.tails[way], books.heads[way]
        if way in barred or worth[tail] <= 0 or worth[head] <= 0:
            continue
        ladder = books.ladders[way]
        ladder.deepen(len(ladder.levels))
        for gain, cap in zip(ladder.gains, ladder.caps, strict=True):
            put(at(tail), cap * worth[tail] / unit)
            arrives = cap * gain * worth[head] / unit
            if head in ends:
                made.cost.append(-arrives)
            else:
                put(at(head), -arrives)
                made.cost.append(0.0)
            made.edges.append(way)
            made.caps.append(cap)
    return made


def optimum(graph: Graph, amount: float, *, without: Collection[int] = ()) -> Optimum | None:
    """Solve the linear program with HiGHS; None where nothing leads to the end."""
    # Loaded here: most routes never need it, and it takes longer to load than a thousand of them to solve.
    from scipy.optimize import linprog  # type: ignore[import-untyped]
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    made = program(graph, amount, without=without)
    if made is None:
        return None
    shape = (len(made.limits), len(made.caps))
    # Shares of huge levels would hide small flows: a column is in units of the whole amount instead.
    scale = _scale(made)
    matrix = csr_matrix(
        ([v / scale[c] for v, c in zip(made.values, made.columns, strict=True)], (made.rows, made.columns)),
        shape=shape,
    )
    result: Any = linprog(
        [c / s for c, s in zip(made.cost, scale, strict=True)],
        A_ub=matrix,
        b_ub=made.limits,
        bounds=[(0.0, s) for s in scale],
        method="highs",
        options={"primal_feasibility_tolerance": TOLERANCE, "dual_feasibility_tolerance": TOLERANCE},
    )
    if result.x is None:
        return None
    started: dict[int, float] = {}
    used: dict[int, float] = {}
    for edge, cap, share, size in zip(made.edges, made.caps, result.x, scale, strict=True):
        flow = float(share) / size * cap
        if flow > 0:
            where, key = (used, edge) if edge >= 0 else (started, ~edge)
            where[key] = where.get(key, 0.0) + flow
    return Optimum(received=-float(result.fun) * made.unit, started=started, used=used)


def _scale(made: Program) -> list[float]:
    """Return each column's capacity as a multiple of the whole amount: its entry where it leaves."""
    scale = [1.0] * len(made.caps)
    for column, value in zip(made.columns, made.values, strict=True):
        if value > 0:
            scale[column] = value
    return scale


def _worth(graph: Graph) -> list[float]:
    """Return about what a unit of each currency brings: enough to scale by.

    Unlike the solver's labels these end where a cycle makes money: after three rounds only currencies that
    had no price yet are given one.
    """
    books = graph.books
    worth = [0.0] * (graph.source + 1)
    for end in graph.ends:
        worth[end] = 1.0
    done = 0
    changed = True
    while changed:
        before = worth.copy()
        changed = False
        for way in graph.ways:
            value, tail = books.first_gain[way] * before[books.heads[way]], books.tails[way]
            if value > worth[tail] and (done < 3 or before[tail] == 0.0):
                worth[tail] = value
                changed = True
        done += 1
    return worth


def along_paths(graph: Graph, optimum: Optimum) -> tuple[dict[int, float], dict[int, float], float]:
    """Keep of a flow what goes from the supplies to the end without passing a currency twice.

    Returns (started, used, received). What is left behind goes round in circles or lives on what a circle
    made: nobody can pay for it before it has happened.
    """
    books = graph.books
    tails, heads = books.tails, books.heads
    ends = set(graph.ends)
    left = dict(optimum.used)
    rate = _average_gains(graph, optimum.used)
    outgoing: dict[int, list[int]] = {}
    for edge in sorted(left):
        outgoing.setdefault(tails[edge], []).append(edge)
    started: dict[int, float] = {}
    used: dict[int, float] = {}
    received = 0.0
    for start, whole in sorted(optimum.started.items()):
        supply = whole
        tiny = whole * 1e-12
        while supply > tiny:
            path: list[int] = []
            place = {start: 0}
            node = start
            while node not in ends:
                onward = next((edge for edge in outgoing.get(node, ()) if left[edge] > 0), None)
                if onward is None:
                    break
                path.append(onward)
                node = heads[onward]
                if node in place:  # a circle: take its flow away, then look again from the start
                    circle = path[place[node] :]
                    _take(left, circle, rate, inf)
                    path = []
                    break
                place[node] = len(path)
            if node in ends and path:
                push = _take(left, path, rate, supply)
                supply -= push
                started[start] = started.get(start, 0.0) + push
                for edge in path:
                    used[edge] = used.get(edge, 0.0) + push
                    push *= rate[edge]
                received += push
            elif path:
                left[path[-1]] = 0.0  # a trickle within the tolerance that goes nowhere
            elif node == start and not any(left[e] > 0 for e in outgoing.get(start, ())):
                break
    return started, used, received


def _take(left: dict[int, float], path: list[int], rate: dict[int, float], most: float) -> float:
    """Take as much as flows along all of a path away from `left`; return how much that is at its start."""
    push, factor = most, 1.0
    narrow = path[0]
    for edge in path:
        if left[edge] / factor < push:
            push, narrow = left[edge] / factor, edge
        factor *= rate[edge]
    flow = push
    for edge in path:
        left[edge] = max(left[edge] - flow, 0.0)
        flow *= rate[edge]
    if push < most:
        left[narrow] = 0.0
    return push


def _average_gains(graph: Graph, used: dict[int, float]) -> dict[int, float]:
    """Return the gain of each edge's flow over the levels it fills."""
    rates = {}
    for edge, flow in used.items():
        ladder = graph.books.ladders[edge]
        rest, arrives, k = flow, 0.0, 0
        while rest > 0 and ladder.deepen(k + 1):
            part = min(rest, ladder.caps[k])
            arrives += part * ladder.gains[k]
            rest -= part
            k += 1
        rates[edge] = arrives / flow
    return rates
