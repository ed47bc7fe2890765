"""Turn one currency into another at the least cost the displayed books allow (EXECUTION.md 2).

`route` is the way in: it builds the graph, solves it, proves the result, and rounds it to orders. It reads
nothing but its arguments, and the same arguments give the same proposal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext
from math import inf

from ems.core.instrument import ZERO
from ems.routing.graph import Books, Graph, Key, build
from ems.routing.linear import along_paths, optimum
from ems.routing.plan import Listing, Node, Proposal
from ems.routing.repair import Mending, Rounded, values
from ems.routing.solver import Flow, bound, solve

MAX_BOOK_AGE = timedelta(seconds=1.5)
MAX_SKEW = timedelta(seconds=1)  # of one book behind the newest
GAP_ACCEPTED_BP = 0.05  # beyond it the hubs were not enough, and all edges are tried
FINISHING = 10  # rounds that make up for rounding where an output was asked for
WHOLE = 1 - 1e-12
MONEY = Context(prec=50)  # the money context of the house, whatever the caller's is
SHOWN = Context(prec=15)  # what a float is good for


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked of the books."""

    books: Books
    supplies: Mapping[Node, Decimal]  # without the end currency, in order
    end_currency: str
    limit: Decimal | None  # of what may be spent, over all supplies; None: several currencies, all of each
    end_amount: Decimal | None
    scope: str
    max_hops: int
    now: datetime | None
    min_leg: Decimal
    usd: Mapping[str, Decimal]
    refused: Mapping[Key, str] = field(default_factory=dict)  # books not believed -> why


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """The best continuous use of the books, with its proof."""

    graph: Graph
    flow: Flow
    gap_bp: float
    scope: str
    arbitrage: bool


def route(
    listings: Sequence[Listing] | Books,
    supplies: Mapping[Node, Decimal],
    end_currency: str,
    *,
    amount: Decimal | None = None,
    end_amount: Decimal | None = None,
    scope: str = "hub",
    max_hops: int = 3,
    now: datetime | None = None,
    min_leg: Decimal = Decimal(10),
    usd: Mapping[str, Decimal] | None = None,
) -> Proposal:
    """Propose the orders that make the most of `end_currency` out of what is held.

    `supplies` is what may be spent where, of one currency or several; `amount` caps the total over all of
    them (None: everything).
    With `end_amount` the least is spent whose output reaches it; where it cannot be reached `left_out` says
    what is short. `now` lets books that are too old be refused where they promise profit in a circle.
    `usd` values currencies for `min_leg`; that rule is skipped where it knows neither side. `Books` kept
    between calls save the conversion of unchanged books. A plan without legs has a `reason`. Raises
    ValueError for amounts that are not positive or are asked for with several start currencies, an unknown
    scope or less than one hop.
    """
    if scope not in ("hub", "all"):
        raise ValueError(f"scope is 'hub' or 'all', not {scope!r}")
    if max_hops < 1:
        raise ValueError("max_hops is at least 1")
    for name, value in (("amount", amount), ("end_amount", end_amount)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive")
    with localcontext(MONEY):
        spendable = {
            node: held for node, held in sorted(supplies.items()) if held > 0 and node[2] != end_currency
        }
        several = len({node[2] for node in spendable}) > 1
        for name, value in (("amount", amount), ("end_amount", end_amount)):
            if value is not None and several:
                raise ValueError(f"{name} needs one start currency, not {_currencies(spendable)}")
        total = sum(spendable.values(), ZERO)
        question = Question(
            books=listings if isinstance(listings, Books) else Books(listings),
            supplies=spendable,
            end_currency=end_currency,
            limit=None if several else min(amount, total) if amount is not None else total,
            end_amount=end_amount,
            scope=scope,
            max_hops=max_hops,
            now=now,
            min_leg=min_leg,
            usd=usd or {},
        )
        if not spendable:
            return _nothing(question, f"nothing is held that could become {end_currency}")
        return _propose(question)


def solution(question: Question) -> tuple[Question, Solution]:
    """Solve over the scope asked for, and over all edges where the proof is not good enough.

    Where a cycle makes money, books that are too old are refused first: the question comes back with them.
    """
    graphs: dict[str, Graph] = {}

    def graph(scope: str) -> Graph:
        if scope not in graphs:
            graphs[scope] = build(
                question.books,
                question.supplies,
                question.end_currency,
                scope=scope,
                max_hops=question.max_hops,
                without=question.refused,
            )
        return graphs[scope]

    amount = inf if question.limit is None else float(question.limit)
    target = None if question.end_amount is None else float(question.end_amount)
    scope = question.scope
    while True:
        asked = graph(scope)
        flow = solve(asked, amount, target=target)
        if flow is None:
            refused = {} if question.refused else _too_old(question)
            if refused:
                return solution(replace(question, refused=refused))
            return question, _without_circles(graph("all"), amount)
        spent = amount if flow.exhausted or target is None else flow.pushed
        best = bound(graph("all"), flow, spent, solved=asked)
        gap = max(1e4 * (best / flow.received - 1), 0.0) if flow.received > 0 else inf
        if scope == "all" or gap <= GAP_ACCEPTED_BP:
            gap = gap if flow.received > 0 else 0.0
            return question, Solution(graph=asked, flow=flow, gap_bp=gap, scope=scope, arbitrage=False)
        scope = "all"


def _too_old(question: Question) -> dict[Key, str]:
    """Return the books that are older than allowed, or too far behind the newest."""
    known = question.books.newest
    newest = max(listing.at for listing in known.values())
    refused: dict[Key, str] = {}
    for key, listing in known.items():
        if question.now is not None and question.now - listing.at > MAX_BOOK_AGE:
            refused[key] = f"its book is older than {MAX_BOOK_AGE.total_seconds():g} s"
        elif newest - listing.at > MAX_SKEW:
            refused[key] = f"its book is more than {MAX_SKEW.total_seconds():g} s behind the newest"
    return refused


def _without_circles(graph: Graph, amount: float, dropped: Collection[int] = ()) -> Solution:
    """Solve books in which a cycle makes money as a linear program, and leave the circles away."""
    best = optimum(graph, amount, without=dropped)
    started: dict[int, float] = {}
    used: dict[int, float] = {}
    received = gap = 0.0
    if best is not None:
        started, used, received = along_paths(graph, best)
        gap = max(1e4 * (best.received / received - 1), 0.0) if received > 0 else 0.0
    pushed = sum(started.values())
    flow = Flow(
        pushed=pushed,
        received=received,
        exhausted=pushed < min(amount, sum(graph.starts.values())) * (1 - 1e-9),
        started=started,
        used=used,
        labels=[-inf] * (graph.source + 1),
        curve=((pushed, received),) if received > 0 else (),
    )
    return Solution(graph=graph, flow=flow, gap_bp=gap, scope="all", arbitrage=True)


def _again(
    found: Solution,
    limit: Decimal | None,
    dropped: Collection[int] = (),
    supplies: Mapping[int, float] | None = None,
) -> Flow:
    """Solve the same graph for another amount, without some edges or from other supplies."""
    amount = inf if limit is None else float(limit)
    flow = solve(found.graph, amount, without=dropped, supplies=supplies)
    return _without_circles(found.graph, amount, dropped).flow if flow is None else flow


def _propose(question: Question) -> Proposal:
    question, found = solution(question)
    flow = found.flow
    if flow.received <= 0:
        return _nothing(question, _no_way(question), found)
    left_out = {_name(*key): why for key, why in question.refused.items()}
    goal = question.end_amount
    limit = question.limit
    if goal is None or limit is None or flow.exhausted:
        plan, why = _orders(question, found, flow, limit)
    else:
        spend = min(limit, Decimal(flow.pushed))
        for turn in range(FINISHING):
            flow = _again(found, spend)
            plan, why = _orders(question, found, flow, spend)
            if plan.received >= goal or spend >= limit:
                break
            missing = goal - plan.received + (2**turn - 1) * _grain(question, plan)
            spend = min(limit, spend + missing * _last_price(flow))
    for edge, words in sorted(why.items()):
        listing = question.books.ladders[edge].listing
        left_out[_name(listing.exchange, listing.account, listing.market.symbol)] = words
    if goal is not None and plan.received < goal:
        why_short = "the displayed books end" if flow.exhausted else "the supplies end"
        left_out[question.end_currency] = f"{_plain(goal - plan.received)} short of {goal:f}: {why_short}"
    elif goal is None and flow.exhausted:
        for currency, (used, whole) in _uses(question, flow).items():
            if used < whole:
                left_out[currency] = f"the displayed books end after {_plain(used)} of {_plain(whole)}"
    if not plan.legs:
        return _nothing(question, "below the smallest order on every way", found, left_out)
    return Proposal(
        legs=plan.legs,
        spent=plan.spent,
        received=plan.received,
        continuous=_decimal(flow.received),
        gap_bp=_decimal(found.gap_bp),
        scope=found.scope,
        arbitrage=found.arbitrage,
        curve=() if limit is None else tuple((_decimal(a), _decimal(b)) for a, b in flow.curve),
        left_out=left_out,
    )


def _grain(question: Question, plan: Rounded) -> Decimal:
    """Return what the finest lot of a plan is worth in the end currency."""
    worth = values(plan.legs, question.end_currency)
    lots = [question.books.ladders[edge].listing.market.lot for edge in plan.edges]
    return min(
        (value * lot / leg.quantity for value, lot, leg in zip(worth, lots, plan.legs, strict=True)),
        default=ZERO,
    )


def _last_price(flow: Flow) -> Decimal:
    """Return what the last unit of the output cost."""
    (pushed, received), *_ = flow.curve[-1:]
    before, had = flow.curve[-2] if len(flow.curve) > 1 else (0.0, 0.0)
    if received - had > received * 1e-9:
        return Decimal((pushed - before) / (received - had))
    return Decimal(pushed / received)


def _uses(question: Question, flow: Flow) -> dict[str, tuple[Decimal, Decimal]]:
    """Return of each start currency what a flow uses, and what it could have used."""
    found: dict[str, tuple[Decimal, Decimal]] = {}
    for node, held in question.supplies.items():
        used, whole = found.get(node[2], (ZERO, ZERO))
        started = flow.started.get(question.books.ids.get(node, -1), 0.0)
        found[node[2]] = used + _decimal(started), whole + held
    if question.limit is not None:
        return {currency: (used, question.limit) for currency, (used, _) in found.items()}
    return found


def _orders(
    question: Question, found: Solution, flow: Flow, limit: Decimal | None
) -> tuple[Rounded, Mapping[int, str]]:
    """Round a flow to orders; return them and why edges were dropped on the way."""
    mending = Mending(
        question.books,
        question.supplies,
        limit,
        question.end_currency,
        question.usd,
        question.min_leg,
        found.graph.starts,
        lambda dropped, supplies: _again(found, limit, dropped, supplies),
    )
    return mending.mend(flow), mending.why


def _nothing(
    question: Question,
    reason: str,
    found: Solution | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Proposal:
    if left_out is None:
        left_out = {_name(*key): why for key, why in question.refused.items()}
    return Proposal(
        legs=(),
        spent={},
        received=ZERO,
        continuous=ZERO if found is None else _decimal(found.flow.received),
        gap_bp=ZERO,
        scope=question.scope if found is None else found.scope,
        arbitrage=found is not None and found.arbitrage,
        left_out=left_out,
        reason=reason,
    )


def _no_way(question: Question) -> str:
    """Say why not even a part of the supply reaches the end currency."""
    books, end = question.books, question.end_currency
    starts = _currencies(question.supplies)
    if not any((exchange, account, end) in books.ids for exchange, account, _ in question.supplies):
        return f"no market of these accounts trades {end}"
    if not any(node in books.ids for node in question.supplies):
        return f"no market of these accounts trades {starts}"
    hops = f"{question.max_hops} market" + ("s" if question.max_hops > 1 else "")
    return f"no way from {starts} to {end} over at most {hops} with a book"


def _currencies(supplies: Mapping[Node, Decimal]) -> str:
    return " or ".join(sorted({node[2] for node in supplies}))


def _name(exchange: str, account: str, symbol: str) -> str:
    return f"{exchange}/{account} {symbol}"


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _decimal(value: float) -> Decimal:
    """Return a float as the decimal it is good for."""
    return SHOWN.create_decimal_from_float(value)
