"""The router against those who know better: HiGHS, brute force, whole lots, and real books."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from decimal import Decimal
from math import inf
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.core.instrument import Market
from ems.core.messages import Side
from ems.routing.graph import Books, Ladder, build
from ems.routing.linear import along_paths, optimum
from ems.routing.plan import Levels, Listing, Node, Proposal
from ems.routing.repair import exact_budgets, sweep, values
from ems.routing.route import route
from ems.routing.solver import bound, solve
from tests.bench._router_cases import AT, VENUES, case, resized, universe
from tests.bench._router_oracle import best_in_lots

SEED_BOOKS = (
    Path(__file__).resolve().parents[2]
    / ".."
    / "shared"
    / "data"
    / "normalized"
    / "seed_books_20260809.json.gz"
)
TEN = Decimal(10)


@pytest.mark.parametrize("seed", range(12))
def test_a_linear_program_finds_nothing_better(seed: int) -> None:
    """Sixty orders in twelve universes, hubs and all edges; within 0.01 bp (EXECUTION.md 9.1)."""
    world = universe(seed, markets=60, levels=12)
    books, random = Books(world.listings), Random(seed)
    for _ in range(5):
        asked = case(random, world)
        amount = float(asked.amount)
        for scope in ("hub", "all"):
            graph = build(books, asked.supplies, asked.end, scope=scope, max_hops=3)
            flow, other = solve(graph, amount), optimum(graph, amount)
            assert flow is not None
            if other is None:
                assert flow.received == 0
                continue
            assert abs(1e4 * (other.received / flow.received - 1)) < 0.01
            assert -1e-9 < 1e4 * (bound(graph, flow, amount) / flow.received - 1) < 1e-6
            for received, limit in zip(flow.curve[1:], flow.curve, strict=False):
                assert received[0] >= limit[0] and received[1] >= limit[1]


@pytest.mark.parametrize("seed", range(4))
def test_a_flow_without_circles_survives_the_search_for_circles(seed: int) -> None:
    world = universe(seed, markets=40, levels=8)
    books, random = Books(world.listings), Random(seed)
    asked = case(random, world)
    graph = build(books, asked.supplies, asked.end, scope="all", max_hops=3)
    best = optimum(graph, float(asked.amount))
    assert best is not None
    started, used, received = along_paths(graph, best)
    assert abs(received / best.received - 1) < 1e-6
    for edge, flow in used.items():
        assert flow <= best.used[edge] * (1 + 1e-6)
    assert all(amount <= best.started[node] * (1 + 1e-9) for node, amount in started.items())


@pytest.mark.parametrize("seed", range(8))
def test_the_proof_over_all_edges_holds_for_a_plan_over_hubs(seed: int) -> None:
    world = universe(seed, markets=120, levels=10)
    books, random = Books(world.listings), Random(seed)
    for _ in range(4):
        asked = case(random, world)
        amount = float(asked.amount)
        near = build(books, asked.supplies, asked.end, scope="hub", max_hops=3)
        wide = build(books, asked.supplies, asked.end, scope="all", max_hops=3)
        hubs, whole = solve(near, amount), solve(wide, amount)
        assert hubs is not None and whole is not None
        assert set(near.ways) <= set(wide.ways)
        assert bound(wide, hubs, amount, solved=near) >= whole.received * (1 - 1e-12)
        plan = route(books, asked.supplies, asked.end, amount=asked.amount)
        assert plan.gap_bp <= Decimal("0.05")
        assert float(plan.continuous) >= whole.received * (1 - 0.05e-4)


@pytest.mark.parametrize("seed", range(8))
def test_whole_orders_are_as_good_as_an_integer_program_makes_them(seed: int) -> None:
    """Within 0.1 bp, or one lot of each market used (EXECUTION.md 9.1)."""
    world = universe(500 + seed, venues=2, markets=14, levels=5)
    books, random = Books(world.listings), Random(seed)
    usd = {currency: Decimal(repr(worth)) for currency, worth in world.worth.items()}
    for _ in range(4):
        asked = resized(case(random, world), 10 ** random.uniform(1.8, 4.5))
        graph = build(books, asked.supplies, asked.end, scope="all", max_hops=3)
        whole = best_in_lots(graph, float(asked.amount), usd, TEN, seconds=1.0)
        plan = route(books, asked.supplies, asked.end, amount=asked.amount, usd=usd, scope="all")
        check(books, plan, asked.supplies, asked.amount, asked.end)
        if whole is None:
            continue
        lots = Decimal(0)
        for leg, value in zip(plan.legs, values(plan.legs, asked.end), strict=True):
            lots += value / leg.quantity * books.newest[leg.exchange, leg.account, leg.symbol].market.lot
        for edge in whole.lots:
            market = books.ladders[edge].listing.market
            lots += market.lot * usd[market.base] / usd[asked.end]
        assert whole.received - float(plan.received) <= max(1e-5 * whole.received, float(lots))


def check(
    books: Books, plan: Proposal, supplies: dict[Node, Decimal], amount: Decimal | None, end: str
) -> None:
    """Assert what is true of every plan: legal orders, exact money, nothing spent that is not there."""
    left = dict(supplies)
    received = Decimal(0)
    assert sorted(plan.legs, key=lambda leg: leg.level) == list(plan.legs)
    for leg in plan.legs:
        one = books.newest[leg.exchange, leg.account, leg.symbol]
        market = one.market
        levels = one.asks if leg.side is Side.BUY else one.bids
        assert leg.quantity > 0 and leg.quantity % market.lot == 0
        assert market.order_ok(min(leg.quantity, market.max_quantity or leg.quantity), leg.price)
        shown = sum(q for p, q in levels if (p <= leg.price if leg.side is Side.BUY else p >= leg.price))
        assert leg.quantity <= shown
        source, target = (leg.exchange, leg.account, leg.source), (leg.exchange, leg.account, leg.target)
        assert leg.spend <= left.get(source, Decimal(0))  # held, or delivered by legs before
        left[source] = left.get(source, Decimal(0)) - leg.spend
        if leg.target == end:
            received += leg.receive
        else:
            left[target] = left.get(target, Decimal(0)) + leg.receive
    assert plan.received == received
    # Nothing is bought that no later leg spends.
    for place, leg in enumerate(plan.legs):
        assert leg.target == end or any(
            (later.exchange, later.account, later.source) == (leg.exchange, leg.account, leg.target)
            for later in plan.legs[place + 1 :]
        )
    spent = sum(plan.spent.values(), Decimal(0))
    assert amount is None or spent <= amount
    for node, used in plan.spent.items():
        assert 0 < used <= supplies[node]
    assert bool(plan.legs) != bool(plan.reason)
    if plan.legs and not plan.arbitrage:
        assert plan.received <= plan.continuous * (1 + Decimal("1e-12"))
    rates = [
        (b[1] - a[1]) / (b[0] - a[0])
        for a, b in zip(plan.curve, plan.curve[1:], strict=False)
        if b[0] - a[0] > plan.curve[-1][0] * Decimal("1e-6")  # else fifteen digits are not enough
    ]
    assert all(later <= rate * (1 + Decimal("1e-6")) for rate, later in zip(rates, rates[1:], strict=False))


# --- one hop: the merged book --------------------------------------------------------------------------

prices = st.integers(90, 110).map(Decimal)
quantities = st.integers(1, 50).map(Decimal)
modes = st.sampled_from(["received", "quote", "base", "third"])
fees = st.sampled_from([Decimal(0), Decimal("0.001"), Decimal("0.02")])


def market(exchange: str, base: str, quote: str, fee: Decimal, mode: str, lot: str = "1e-9") -> Market:
    return Market(
        exchange=exchange,
        symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick=Decimal("1e-8"),
        lot=Decimal(lot),
        min_quantity=Decimal(lot),
        max_quantity=None,
        min_notional=Decimal(0),
        maker_fee=fee,
        taker_fee=fee,
        fee_mode=mode,
    )


@st.composite
def same_market_everywhere(draw: st.DrawFn) -> tuple[list[Listing], Side]:
    """Return one market at one to four venues, and a side to take."""
    side = draw(st.sampled_from([Side.BUY, Side.SELL]))
    found = []
    for number in range(draw(st.integers(1, 4))):
        steps = draw(st.lists(st.tuples(prices, quantities), min_size=1, max_size=6))
        levels: Levels = tuple(sorted(dict(steps).items(), reverse=side is Side.SELL))
        rules = market(f"v{number}", "X", "Y", draw(fees), draw(modes))
        found.append(
            Listing(
                exchange=rules.exchange,
                account="main",
                market=rules,
                bids=levels if side is Side.SELL else (),
                asks=levels if side is Side.BUY else (),
                at=AT,
            )
        )
    return found, side


@settings(max_examples=150, deadline=None)
@given(same_market_everywhere(), st.integers(1, 20_000))
def test_one_hop_is_the_sweep_of_all_venues_levels_by_net_gain(
    asked: tuple[list[Listing], Side], size: int
) -> None:
    """The exchange argument of EXECUTION.md 2.1, against a sort in exact decimals."""
    listings, side = asked
    start, end = ("Y", "X") if side is Side.BUY else ("X", "Y")
    merged = []
    for one in listings:
        fee, mode = one.market.taker_fee, one.market.fee_mode
        for price, quantity in one.asks if side is Side.BUY else one.bids:
            pay, get = (price * quantity, quantity) if side is Side.BUY else (quantity, price * quantity)
            if mode == ("quote" if side is Side.BUY else "base"):
                pay *= 1 + fee
            else:
                get *= 1 - fee
            merged.append((get / pay, pay))
    left, received = Decimal(size), Decimal(0)
    for gain, cap in sorted(merged, reverse=True):
        part = min(left, cap)
        received += part * gain
        left -= part
    supplies = {(one.exchange, "main", start): Decimal(size) for one in listings}
    plan = route(listings, supplies, end, amount=Decimal(size))
    assert abs(plan.continuous - received) <= received * Decimal("1e-12")
    assert plan.gap_bp < Decimal("1e-6")
    check(Books(listings), plan, supplies, Decimal(size), end)


# --- anything at all -----------------------------------------------------------------------------------


@st.composite
def small_worlds(draw: st.DrawFn) -> list[Listing]:
    """Return a few markets between five currencies at two venues, prices wild: circles may make money."""
    currencies = ["A", "B", "C", "D", "E"]
    found = []
    for exchange in ("one", "two"):
        pairs = draw(
            st.lists(
                st.tuples(st.sampled_from(currencies), st.sampled_from(currencies)).filter(
                    lambda pair: pair[0] < pair[1]
                ),
                min_size=1,
                max_size=7,
                unique=True,
            )
        )
        for base, quote in pairs:
            worth = draw(st.sampled_from([Decimal("0.5"), Decimal("0.99"), Decimal(1), Decimal(2)]))
            lot = draw(st.sampled_from(["0.001", "0.1", "1"]))
            rules = market(exchange, base, quote, draw(fees), draw(modes), lot)
            sizes = draw(st.lists(quantities, min_size=2, max_size=6))
            half = len(sizes) // 2
            bids = tuple((worth * (1 - Decimal(k + 1) / 200), q) for k, q in enumerate(sizes[:half]))
            asks = tuple((worth * (1 + Decimal(k + 1) / 200), q) for k, q in enumerate(sizes[half:]))
            found.append(
                Listing(exchange=exchange, account="main", market=rules, bids=bids, asks=asks, at=AT)
            )
    return found


@settings(max_examples=150, deadline=None)
@given(
    small_worlds(),
    st.lists(st.integers(0, 300), min_size=3, max_size=3).filter(any),
    st.none() | st.integers(1, 400),
    st.integers(1, 4),
    st.sampled_from(["hub", "all"]),
)
def test_whatever_the_books_no_plan_breaks_a_promise(
    listings: list[Listing], held: list[int], cap: int | None, hops: int, scope: str
) -> None:
    nodes = [("one", "main", "A"), ("two", "main", "A"), ("two", "main", "B")]
    supplies: dict[Node, Decimal] = dict(zip(nodes, map(Decimal, held), strict=True))
    several = held[2] and (held[0] or held[1])
    amount = None if cap is None or several else Decimal(cap)
    plan = route(listings, supplies, "E", amount=amount, max_hops=hops, scope=scope)
    check(Books(listings), plan, supplies, amount, "E")
    assert plan == route(Books(listings), supplies, "E", amount=amount, max_hops=hops, scope=scope)
    if not plan.arbitrage and plan.continuous:
        graph = build(Books(listings), supplies, "E", scope="all", max_hops=hops)
        best = optimum(graph, float(amount) if amount else inf)
        assert best is not None
        assert abs(best.received / float(plan.continuous) - 1) < 1e-6 + float(plan.gap_bp) * 1e-4


def test_a_linear_program_sees_ways_as_long_as_the_solver_does() -> None:
    """Scaling once gave up after three markets, and the way of four was gone."""
    chain = [market("v", base, quote, Decimal(0), "received") for base, quote in ("AB", "BC", "CD", "DE")]
    level: Levels = ((Decimal("0.5"), Decimal(10)),)
    listings = [Listing(exchange="v", account="main", market=m, bids=level, asks=(), at=AT) for m in chain]
    graph = build(Books(listings), {("v", "main", "A"): Decimal(8)}, "E", scope="all", max_hops=4)
    best = optimum(graph, 8.0)
    assert best is not None and abs(best.received - 0.5) < 1e-9


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(prices, quantities), min_size=1, max_size=6),
    st.sampled_from([Side.BUY, Side.SELL]),
    fees,
    modes,
    st.integers(1, 30_000),
)
def test_the_largest_order_a_budget_pays_for(
    steps: list[tuple[Decimal, Decimal]], side: Side, fee: Decimal, mode: str, budget: int
) -> None:
    levels: Levels = tuple(sorted(dict(steps).items(), reverse=side is Side.SELL))
    rules = market("v", "X", "Y", fee, mode, "0.1")
    one = Listing(exchange="v", account="main", market=rules, bids=levels, asks=levels, at=AT)
    leg = sweep(Ladder(one, side), Decimal(budget))
    depth = sum(q for _, q in levels)
    if leg is None:
        assert budget < max(levels)[0] * Decimal("0.1") * (1 + fee)
        return
    assert leg.spend <= budget and leg.quantity <= depth
    # One lot more is not shown, or costs more than there is.
    unit = max(levels)[0] if side is Side.BUY else Decimal(1)
    assert leg.quantity == depth or leg.spend + unit * Decimal("0.1") * (1 + fee) > budget


def test_budgets_use_up_supplies_and_the_limit_exactly() -> None:
    listings = [
        Listing(
            exchange=f"v{n}",
            account="main",
            market=market(f"v{n}", "X", "Y", Decimal(0), "received"),
            bids=(),
            asks=((Decimal(1 + n), Decimal(1000)),),
            at=AT,
        )
        for n in range(3)
    ]
    supplies = {(f"v{n}", "main", "Y"): Decimal("33.333333333333333333") for n in range(3)}
    books = Books(listings)
    graph = build(books, supplies, "X", scope="all", max_hops=1)
    limit = Decimal("77.777777777777777777777")
    flow = solve(graph, float(limit))
    assert flow is not None
    budgets = exact_budgets(books, flow, supplies, limit)
    assert sum(budgets.values()) == limit
    assert [budgets[node] == held for node, held in supplies.items()] == [True, True, False]


# --- real books ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not SEED_BOOKS.is_file(), reason="no shared recordings here")
@pytest.mark.parametrize(
    "start, end, amount",
    [
        ("USD", "BTC", "1000"),
        ("USD", "BTC", "2000000"),
        ("ETH", "USD", "500"),
        ("USD", "SOL", "300000"),
        ("BTC", "ETH", "20"),
        ("USDT", "ETH", "150000"),
        ("EUR", "BTC", "10000"),
        ("GBP", "ETH", "25000"),
        ("SOL", "USDT", "2000"),
    ],
)
def test_real_books_are_routed_with_proof(start: str, end: str, amount: str) -> None:
    """Coinbase, Bybit and Gemini, 2026-08-09; spot only, up to five hundred levels."""
    with gzip.open(SEED_BOOKS, "rt") as lines:
        recorded = json.load(lines)
    listings = []
    for one in recorded:
        if "linear" in one["venue"] or "PERP" in one["symbol"]:
            continue
        name = one["symbol"].replace("-", "")
        quote = next(quote for quote in ("USDT", "USD", "EUR", "GBP") if name.endswith(quote))
        mode = {"coinbase": "quote"}.get(one["venue"], "received")
        rules = market(one["venue"], name.removesuffix(quote), quote, Decimal("0.0025"), mode, "1e-8")
        bids, asks = (tuple((Decimal(p), Decimal(q)) for p, q in one[side]) for side in ("bids", "asks"))
        listings.append(
            Listing(exchange=one["venue"], account="main", market=rules, bids=bids, asks=asks, at=AT)
        )
    books = Books(listings)
    venues = sorted({one.exchange for one in listings})
    supplies = {(venue, "main", start): Decimal(amount) for venue in venues}
    plan = route(books, supplies, end, amount=Decimal(amount), scope="all")
    assert plan.legs and not plan.arbitrage
    assert plan.gap_bp < Decimal("1e-6")
    check(books, plan, supplies, Decimal(amount), end)
    for venue in venues:  # no venue alone is better than all together
        alone = route(books, {(venue, "main", start): Decimal(amount)}, end, scope="all")
        assert alone.continuous <= plan.continuous * (1 + Decimal("1e-12"))
    graph = build(books, supplies, end, scope="all", max_hops=3)
    best = optimum(graph, float(amount))
    assert best is not None and abs(1e4 * (best.received / float(plan.continuous) - 1)) < 0.01


def test_the_fees_of_the_invented_venues_leave_no_circle() -> None:
    """The bench measures the solver, not the fallback: its books hold no arbitrage."""
    assert sum(sorted(fee for fee, _ in VENUES.values())[:1]) * 3 > Decimal("0.0012")
    world = universe(7, markets=100, levels=3)
    crossed = [one for one in world.listings if one.bids[0][0] >= one.asks[0][0]]
    assert crossed == []
    assert replace(world.listings[0]) == universe(7, markets=100, levels=3).listings[0]
