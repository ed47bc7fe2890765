"""The best use of displayed books: successive highest-gain augmenting paths (EXECUTION.md 2.2, 2.3).

Onaga (1966/67) and Truemper (1977): as long as no cycle of the residual graph makes money, pushing along
the path of highest gain keeps the flow the best there is for the amount pushed so far. So one solve gives
the whole curve from size to output, and its last labels prove the result.

- A label is the log of what one unit at a node brings at the sink. The first labels are exact (queue-based
  label correcting, backwards from the sink) and they tell whether a cycle makes money.
- Levels only get worse as they are used, so old labels stay upper bounds that no arc contradicts: they guide
  a best-first search forwards from the source, which touches little more than the path itself (adaptive A*).
  Each search lowers the labels of what it touched to what it has learned.
- An edge's used levels are also an arc backwards, at one over the gain of the worst of them: un-routing.
  Without it about every third plan is not the best one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from math import exp, inf

from ems.routing.graph import Graph

FULL = 1 - 1e-12  # a level is used up at this share of its capacity
SAME = 1e-13  # labels closer than this are one label: a cycle of gain one must not spin
AUGMENTATIONS_MAX = 100_000  # far beyond the levels any order touches; what was pushed stays valid


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """What the solver found. Floats; amounts in units of the source side of whatever they measure."""

    pushed: float  # what left the supplies
    received: float  # what arrived, over all accounts
    exhausted: bool  # more could not be placed at any price
    started: dict[int, float]  # node -> what left the supply there
    used: dict[int, float]  # edge -> units of its source currency
    labels: list[float]  # node -> log of what one more unit there brings; -inf: nothing
    curve: tuple[tuple[float, float], ...]  # (pushed, received) after each augmentation


def solve(
    graph: Graph,
    amount: float,
    *,
    target: float | None = None,
    without: Collection[int] = (),
    supplies: Mapping[int, float] | None = None,
) -> Flow | None:
    """Push `amount` (inf: everything) from the supplies to the sink, or until `target` has arrived there.

    Edges in `without` are not used; `supplies` replaces those of the graph. Returns None where a cycle
    makes money: the books are wrong or an arbitrage, and the first labels have no end.
    """
    books = graph.books
    ladders = books.ladders
    # The state of every edge of the books by number, then the arcs from the source and to the sink.
    tail, head = books.tails.copy(), books.heads.copy()
    lead, gain, room = books.first_log.copy(), books.first_gain.copy(), books.first_cap.copy()
    for edge in without:
        lead[edge] = -inf
    markets = len(tail)
    out = graph.out
    source, sink = graph.source, graph.sink
    ends = set(graph.ends)
    leaving: list[int] = []
    starts = graph.starts if supplies is None else supplies
    for node, supply in starts.items():
        leaving.append(len(tail))
        tail.append(source)
        head.append(node)
        lead.append(0.0)
        gain.append(1.0)
        room.append(supply)
    label = _first_labels(graph, tail, lead)
    if label is None:
        return None
    label[source] = max((label[head[edge]] for edge in leaving), default=-inf)
    if label[source] == -inf:
        amount = 0.0  # no way at all
    level = [0] * len(tail)  # the level being used
    taken = [0.0] * len(tail)  # how much of it
    undo = [-inf] * len(tail)  # minus log gain of the worst used level, -inf where none is
    arriving: dict[int, list[int]] = {}  # node -> edges with flow that enter it: arcs backwards

    def use(edge: int) -> None:
        """Go on to the next level of an edge."""
        undo[edge] = -lead[edge]
        taken[edge] = 0.0
        level[edge] = k = level[edge] + 1
        if edge < markets and ladders[edge].deepen(k + 1):
            ladder = ladders[edge]
            lead[edge], gain[edge], room[edge] = ladder.logs[k], ladder.gains[k], ladder.caps[k]
        else:
            lead[edge], gain[edge], room[edge] = -inf, 0.0, 0.0

    def back(edge: int) -> None:
        """Return to the level before, which is full."""
        level[edge] = k = level[edge] - 1
        ladder = ladders[edge]
        lead[edge], gain[edge], room[edge] = ladder.logs[k], ladder.gains[k], ladder.caps[k]
        taken[edge] = room[edge]

    left = amount
    pushed = received = 0.0
    exhausted = label[source] == -inf
    curve: list[tuple[float, float]] = []
    nothing = amount * 1e-13 if amount < inf else 0.0
    nodes = source + 1
    best = [inf] * nodes
    came = [0] * nodes  # edge the search came by; ~edge where it came backwards
    for _ in range(AUGMENTATIONS_MAX):
        if left <= nothing:
            break
        # Search forwards. Distances are how much of the label is lost, so zero along an unchanged best path.
        heap = [(0.0, source)]
        best[source] = 0.0
        reached = [source]
        closed: list[tuple[int, float]] = []
        bound = inf
        while heap:
            far, node = heappop(heap)
            if node < 0:
                break
            if far > best[node]:
                continue
            closed.append((node, far))
            here = far + label[node]
            if node in ends:
                # What arrived counts at once, and going back from the sink never helps.
                if here < bound:
                    bound = max(here, far)
                    if best[sink] == inf:
                        reached.append(sink)
                    best[sink] = bound
                    came[sink] = node
                    heappush(heap, (bound, -1))  # among equals the sink comes first
                continue
            for edge in leaving if node == source else out.get(node, ()):
                other = head[edge]
                near = here - label[other] - lead[edge]
                if near < bound and near < best[other]:
                    if near < far:  # rounding: a distance never falls along a path
                        near = far
                        if near >= best[other]:
                            continue
                    if best[other] == inf:
                        reached.append(other)
                    best[other] = near
                    came[other] = edge
                    heappush(heap, (near, other))
            for edge in arriving.get(node, ()):
                other = tail[edge]
                near = here - label[other] - undo[edge]
                if near < bound and near < best[other]:
                    if near < far:
                        near = far
                        if near >= best[other]:
                            continue
                    if best[other] == inf:
                        reached.append(other)
                    best[other] = near
                    came[other] = ~edge
                    heappush(heap, (near, other))
        found = best[sink]
        for node in reached:
            best[node] = inf
        if found == inf:
            exhausted = any(lead[edge] > -inf for edge in leaving)
            for node, _ in closed:  # nothing more gets from here to the sink
                label[node] = -inf
            break
        for node, far in closed:
            label[node] -= found - far
        # Walk the path back from the sink, then forwards to see how much fits.
        path: list[int] = []
        node = came[sink]
        while node != source:
            edge = came[node]
            path.append(edge)
            node = tail[edge] if edge >= 0 else head[~edge]
        path.reverse()
        push, rate = left, 1.0
        for edge in path:
            if edge >= 0:
                fits = room[edge] - taken[edge]
                if fits < push * rate:
                    push = fits / rate
                rate *= gain[edge]
            else:
                edge = ~edge
                k = level[edge] if taken[edge] > 0 else level[edge] - 1
                worst = ladders[edge].gains[k]
                fits = (taken[edge] if taken[edge] > 0 else ladders[edge].caps[k]) * worst
                if fits < push * rate:
                    push = fits / rate
                rate /= worst
        if target is not None and push * rate >= target - received:
            push = max((target - received) / rate, 0.0)
            left = push
        flow = push
        for edge in path:
            if edge >= 0:
                if taken[edge] == 0.0 and level[edge] == 0 and edge < markets:
                    arriving.setdefault(head[edge], []).append(edge)
                forward = gain[edge]
                taken[edge] += flow
                if taken[edge] >= room[edge] * FULL:
                    use(edge)
                else:
                    undo[edge] = -lead[edge]
                flow *= forward
            else:
                edge = ~edge
                if taken[edge] == 0.0:
                    back(edge)
                flow /= gain[edge]
                taken[edge] -= flow
                if taken[edge] <= room[edge] * (1 - FULL):
                    taken[edge] = 0.0
                    k = level[edge]
                    if k:
                        undo[edge] = -ladders[edge].logs[k - 1]
                    else:
                        undo[edge] = -inf
                        arriving[head[edge]].remove(edge)
                else:
                    undo[edge] = -lead[edge]
        left -= push
        pushed += push
        received += flow
        curve.append((pushed, received))
    used = {
        edge: sum(ladders[edge].caps[: level[edge]]) + taken[edge]
        for edges in arriving.values()
        for edge in edges
    }
    started = {
        head[edge]: starts[head[edge]] if level[edge] else taken[edge]
        for edge in leaving
        if level[edge] or taken[edge] > 0
    }
    return Flow(
        pushed=pushed,
        received=received,
        exhausted=exhausted,
        started=started,
        used=dict(sorted(used.items())),
        labels=label,
        curve=tuple(curve),
    )


def _first_labels(graph: Graph, tail: list[int], lead: list[float]) -> list[float] | None:
    """Label every node with the log gain of its best way to the sink over untouched books.

    Returns None when some walk improves a label after as many arcs as there are nodes: it went round a
    cycle that makes money.
    """
    label = [-inf] * (graph.source + 1)
    arcs = [0] * len(label)
    limit = len({tail[way] for way in graph.ways}) + len(graph.ends)
    label[graph.sink] = 0.0
    queue: deque[int] = deque()
    for end in graph.ends:
        label[end] = 0.0
        queue.append(end)
    waiting = set(queue)
    into = graph.into
    while queue:
        node = queue.popleft()
        waiting.discard(node)
        here = label[node]
        for edge in into.get(node, ()):
            better = here + lead[edge]
            other = tail[edge]
            if better > label[other] + SAME:
                label[other] = better
                arcs[other] = arcs[node] + 1
                if arcs[other] >= limit:
                    return None
                if other not in waiting:
                    waiting.add(other)
                    queue.append(other)
    return label


def bound(graph: Graph, flow: Flow, amount: float, *, solved: Graph | None = None) -> float:
    """Return the dual bound on what `amount` can become over `graph` (EXECUTION.md 2.3).

    The bound holds for any labels. Those of `flow` may come from a smaller graph of the same books
    (`solved`); a node that one does not know is priced by its best way on, two arcs deep.
    """
    books = graph.books
    tails, heads, first = books.tails, books.heads, books.first_gain
    price = [exp(label) for label in flow.labels]
    ways = graph.ways
    if solved is not None:
        known = {tails[way] for way in solved.ways} | set(graph.ends)
        beyond = [way for way in ways if tails[way] not in known]
        for _ in range(2):
            for way in beyond:
                worth = first[way] * price[heads[way]]
                if worth > price[tails[way]]:
                    price[tails[way]] = worth
    unit = price[graph.source] if amount < inf else 0.0
    total = unit * amount if unit else 0.0
    for node, supply in graph.starts.items():
        total += supply * max(0.0, price[node] - unit)
    for way in ways:
        worth, there = price[tails[way]], price[heads[way]]
        if first[way] * there > worth:
            ladder = books.ladders[way]
            k = 0
            while ladder.deepen(k + 1) and ladder.gains[k] * there > worth:
                total += ladder.caps[k] * (ladder.gains[k] * there - worth)
                k += 1
    return total
