"""How fast the router is, how good its plans are, and who says so.

    python -m tests.bench.router [--instances 10000] [--seed 1] [--highs 150] [--milp 1000]

Invented books (tests/bench/_router_cases.py): three venues, five hundred markets each, fifty levels a side;
orders of 300 to 1,000,000 USD between any two currencies. Timed is what production does for one order:
pick the edges from books already kept as floats, solve, prove. What keeping them costs is timed apart, per
book. Times are CPU time of this process, so that neighbours on the machine count little. Solved again for
comparison, on samples: HiGHS on the same edges as a linear program, HiGHS on small cases in whole lots, and
simpler ways to trade the same order.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from ems.routing.graph import Books, Graph, build
from ems.routing.linear import optimum
from ems.routing.plan import Node
from ems.routing.repair import values
from ems.routing.route import GAP_ACCEPTED_BP, route
from ems.routing.solver import Flow, bound, solve
from oms_client.tables import table
from tests.bench._router_cases import Case, Universe, case, resized, universe
from tests.bench._router_oracle import best_in_lots

ROOT = Path(__file__).resolve().parents[2]
PER_UNIVERSE = 50
COMPARED = 5  # of them against simpler ways
MIN_LEG = Decimal(10)
BUCKETS = ((300, 10_000), (10_000, 100_000), (100_000, 1_000_000))


def percentile(sample: list[float], share: float) -> float:
    ordered = sorted(sample)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


def mean(sample: list[float]) -> float:
    return sum(sample) / len(sample) if sample else float("nan")


class Tally:
    """What was measured, by name."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[float]:
        return self.values.get(name, [])

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.add(name, 1000 * (time.process_time() - started))


def usd_of(world: Universe) -> dict[str, Decimal]:
    return {currency: Decimal(repr(worth)) for currency, worth in world.worth.items()}


def one(books: Books, asked: Case, tally: Tally) -> tuple[Graph, Flow] | None:
    """Solve one order over hubs and over all edges; return the latter."""
    amount = float(asked.amount)
    started = time.process_time()
    near = build(books, asked.supplies, asked.end, scope="hub", max_hops=3)
    hub = solve(near, amount)
    solved = time.process_time()
    wide = build(books, asked.supplies, asked.end, scope="all", max_hops=3)
    over_all = bound(wide, hub, amount, solved=near) if hub is not None else 0.0
    proved = time.process_time()
    if hub is not None:
        tally.add("hub_ms", 1000 * (solved - started))
        tally.add("hub_proved_ms", 1000 * (proved - started))
    started = time.process_time()
    wide = build(books, asked.supplies, asked.end, scope="all", max_hops=3)
    whole = solve(wide, amount)
    best = bound(wide, whole, amount) if whole is not None else 0.0
    tally.add("all_ms", 1000 * (time.process_time() - started))
    if hub is None or whole is None:
        tally.add("circles", 1)
        return None
    if whole.received <= 0:
        tally.add("no_way", 1)
        return None
    tally.add("augmentations", len(whole.curve))
    tally.add("gap_all_bp", 1e4 * (best / whole.received - 1))
    if hub.received > 0:
        tally.add("gap_hub_bp", 1e4 * (bound(near, hub, amount) / hub.received - 1))
        tally.add("loss_hub_bp", 1e4 * (whole.received / hub.received - 1))
        tally.add("widened", float(1e4 * (over_all / hub.received - 1) > GAP_ACCEPTED_BP))
    else:
        tally.add("widened", 1.0)
    return wide, whole


def compare(books: Books, asked: Case, whole: Flow, tally: Tally) -> None:
    """Trade the same order in simpler ways; add what each loses, in bp, where it can trade all of it."""
    amount = float(asked.amount)
    if whole.exhausted:
        return

    def lost(name: str, flow: Flow | None) -> None:
        if flow is not None and flow.received > 0 and not flow.exhausted:
            loss = 1e4 * (whole.received / flow.received - 1)
            tally.add(name, loss)
            for low, high in BUCKETS:
                if low <= asked.size_usd < high:
                    tally.add(f"{name} {low}-{high}", loss)

    def limited(scope: str, hops: int, supplies: dict[Node, Decimal]) -> Graph:
        return build(books, supplies, asked.end, scope=scope, max_hops=hops)

    lost("direct markets only", solve(limited("all", 1, asked.supplies), amount))
    lost("at most two markets", solve(limited("all", 2, asked.supplies), amount))
    able = {node: held for node, held in asked.supplies.items() if held >= asked.amount}
    flows = [solve(limited("hub", 3, {node: held}), amount) for node, held in able.items()]
    full = [flow for flow in flows if flow is not None and not flow.exhausted]
    if len(asked.supplies) > 1:
        lost("best single venue", max(full, key=lambda flow: flow.received, default=None))
    singles = [single_path(limited("hub", 3, {node: held}), amount) for node, held in able.items()]
    best = max(singles, default=0.0)
    if best > 0:
        loss = 1e4 * (whole.received / best - 1)
        tally.add("best single path", loss)
        for low, high in BUCKETS:
            if low <= asked.size_usd < high:
                tally.add(f"best single path {low}-{high}", loss)


def single_path(graph: Graph, amount: float) -> float:
    """Return what the best path brings if all of the amount goes along it; zero where none takes it."""
    ends = set(graph.ends)

    def onward(node: int, have: float, seen: frozenset[int]) -> float:
        if node in ends:
            return have
        return max(
            (
                onward(head, got, seen | {head})
                for way in graph.out.get(node, ())
                if (head := graph.books.heads[way]) not in seen
                and len(seen) <= 3
                and (got := swept(graph, way, have)) > 0
            ),
            default=0.0,
        )

    return max((onward(node, amount, frozenset({node})) for node in graph.starts), default=0.0)


def swept(graph: Graph, way: int, have: float) -> float:
    """Return what an edge makes of an amount, zero where its levels do not take it."""
    ladder, k, got = graph.books.ladders[way], 0, 0.0
    while ladder.deepen(k + 1):
        part = min(have, ladder.caps[k])
        got += part * ladder.gains[k]
        have -= part
        if have <= 0:
            return got
        k += 1
    return 0.0


def large(instances: int, highs: int, seed: int, tally: Tally) -> None:
    """Run the large instances, and samples of them against HiGHS and simpler ways."""
    worlds = max(1, -(-instances // PER_UNIVERSE))
    checked_every = max(1, instances // highs) if highs else 0
    done = 0
    began = time.monotonic()
    for number in range(worlds):
        world = universe(seed * 100_000 + number)
        books = Books()
        with tally.time("load_ms"):
            for listing in world.listings:
                books.update(listing)
        gc.collect()
        gc.freeze()  # the books of the bench are no garbage: do not look through them while timing
        random = Random(seed * 100_000 + number)
        usd = usd_of(world)
        for turn in range(min(PER_UNIVERSE, instances - done)):
            asked = case(random, world)
            found = one(books, asked, tally)
            with tally.time("route_ms"):
                plan = route(books, asked.supplies, asked.end, amount=asked.amount, usd=usd, min_leg=MIN_LEG)
            if plan.legs:
                tally.add("rounding_bp", float(1 - plan.received / plan.continuous) * 1e4)
            if found is not None and turn < COMPARED:
                compare(books, asked, found[1], tally)
            if found is not None and checked_every and (done + turn) % checked_every == 0:
                wide, whole = found
                with tally.time("highs_ms"):
                    other = optimum(wide, float(asked.amount))
                if other is not None:
                    tally.add("highs_bp", 1e4 * (other.received / whole.received - 1))
                with tally.time("ours_where_highs_ms"):
                    solve(
                        build(books, asked.supplies, asked.end, scope="all", max_hops=3), float(asked.amount)
                    )
        done += min(PER_UNIVERSE, instances - done)
        gc.unfreeze()
        progress(f"{done:,} of {instances:,} orders", began, done / instances)
    print(file=sys.stderr)


def small(cases: int, seed: int, tally: Tally) -> None:
    """Compare whole plans with the optimum in whole lots, until so many small cases had one to compare."""
    began = time.monotonic()
    number = 0
    while (compared := len(tally["milp_bp"])) < cases:
        if number % 4 == 0:
            world = universe(seed * 100_000 + 50_000 + number, venues=2, markets=14, levels=5)
            books = Books(world.listings)
            random = Random(seed * 100_000 + 50_000 + number)
            usd = usd_of(world)
        asked = resized(case(random, world), 10 ** random.uniform(1.8, 4.5))
        judge(books, asked, usd, tally)
        number += 1
        if number % 20 == 0 and compared:
            progress(f"{compared:,} of {cases:,} small cases", began, compared / cases)
    print(file=sys.stderr)


def judge(books: Books, asked: Case, usd: dict[str, Decimal], tally: Tally) -> None:
    """Compare one plan with the optimum in whole lots over the same edges."""
    graph = build(books, asked.supplies, asked.end, scope="all", max_hops=3)
    with quiet():
        whole = best_in_lots(graph, float(asked.amount), usd, MIN_LEG)
    plan = route(books, asked.supplies, asked.end, amount=asked.amount, usd=usd, min_leg=MIN_LEG, scope="all")
    if whole is None:
        tally.add("milp_empty", 1)
        return
    if not whole.proven:
        tally.add("milp_unproven", 1)
        return
    short = whole.received - float(plan.received)
    lots = {
        (leg.exchange, leg.symbol, leg.side): float(
            value / leg.quantity * books.newest[leg.exchange, leg.account, leg.symbol].market.lot
        )
        for leg, value in zip(plan.legs, values(plan.legs, asked.end), strict=True)
    }
    for edge in whole.lots:
        ladder = books.ladders[edge]
        market = ladder.listing.market
        lots.setdefault(
            (market.exchange, market.symbol, ladder.side),
            float(market.lot * usd[market.base] / usd[asked.end]),
        )
    tally.add("milp_bp", 1e4 * short / whole.received)
    tally.add("milp_missed", float(short > max(1e-5 * whole.received, sum(lots.values()))))
    tally.add("milp_beyond_0.1bp", float(short > 1e-5 * whole.received))


@contextmanager
def quiet() -> Iterator[None]:
    """Send what HiGHS prints past Python to nowhere."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def progress(words: str, began: float, share: float) -> None:
    gone = time.monotonic() - began
    print(
        f"\r{words}, {gone:.0f} s, {gone / share - gone:.0f} s to go  ", end="", file=sys.stderr, flush=True
    )


def spread(tally: Tally, name: str) -> list[str]:
    sample = tally[name]
    return [
        f"{value:.3f}" for value in (*(percentile(sample, p) for p in (0.5, 0.99)), max(sample, default=0))
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.router",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--highs", type=int, default=150, help="orders also solved by HiGHS")
    parser.add_argument("--milp", type=int, default=1000, help="small cases compared with whole lots")
    chosen = parser.parse_args(arguments)
    tally = Tally()
    large(chosen.instances, chosen.highs, chosen.seed, tally)
    if chosen.milp:
        small(chosen.milp, chosen.seed, tally)
    report(chosen, tally)
    return 0


def report(chosen: argparse.Namespace, tally: Tally) -> None:
    per_book = [1000 * ms / 1500 for ms in tally["load_ms"]]
    print(
        f"{len(tally['all_ms']):,} orders, seed {chosen.seed}; {len(tally['no_way'])} without any way, "
        f"{len(tally['circles'])} with a circle that makes money; augmentations p50 "
        f"{percentile(tally['augmentations'], 0.5):.0f}, p99 {percentile(tally['augmentations'], 0.99):.0f}; "
        f"a new book costs {percentile(per_book, 0.5):.1f} us"
    )
    rows = [
        ("build + solve, hubs", *spread(tally, "hub_ms")),
        ("the same + proof over all edges", *spread(tally, "hub_proved_ms")),
        ("build + solve + proof, all edges", *spread(tally, "all_ms")),
        ("route(): widened where needed, whole lots", *spread(tally, "route_ms")),
        ("HiGHS LP, all edges (sample)", *spread(tally, "highs_ms")),
    ]
    print(table(("CPU time, ms", "p50", "p99", "max"), rows))
    highs, ours = percentile(tally["highs_ms"], 0.5), percentile(tally["ours_where_highs_ms"], 0.5)
    if tally["highs_ms"]:
        print(f"HiGHS takes {highs / ours:.0f} times as long as build + solve on the same orders (medians)")
    rows = [
        (f"hubs ({100 * mean(tally['widened']):.1f} % widened)", tally["loss_hub_bp"]),
        ("at most two markets", tally["at most two markets"]),
        ("direct markets only", tally["direct markets only"]),
        ("best single venue", tally["best single venue"]),
        ("best single path", tally["best single path"]),
    ]
    for name in ("best single venue", "best single path"):
        rows += [(f"{name}, {low:,}-{high:,} USD", tally[f"{name} {low}-{high}"]) for low, high in BUCKETS]
    rows.append(("whole lots instead of any amount", tally["rounding_bp"]))
    print(
        table(
            ("loss against all edges, bp", "mean", "p50", "p99", "orders"),
            [
                (
                    name,
                    f"{mean(sample):.3f}",
                    f"{percentile(sample, 0.5):.3f}",
                    f"{percentile(sample, 0.99):.3f}",
                    len(sample),
                )
                for name, sample in rows
                if sample
            ],
        )
    )
    goals: list[tuple[str, float, float]] = [
        ("proof, hubs: max gap, bp", max(tally["gap_hub_bp"], default=0.0), 1e-6),
        ("proof, all: max gap, bp", max(tally["gap_all_bp"], default=0.0), 1e-6),
        ("hubs p50, ms", percentile(tally["hub_ms"], 0.5), 1.0),
        ("hubs p99, ms", percentile(tally["hub_ms"], 0.99), 10.0),
        ("all p99, ms", percentile(tally["all_ms"], 0.99), 40.0),
    ]
    if tally["highs_bp"]:
        worst = max(abs(value) for value in tally["highs_bp"])
        goals.append((f"HiGHS against ours, {len(tally['highs_bp'])} orders: max, bp", worst, 0.01))
    if tally["milp_bp"]:
        goals.append(
            (
                f"plans beyond max(0.1 bp, a lot a market) of whole-lot optimum, of {len(tally['milp_bp'])}",
                sum(tally["milp_missed"]),
                0.0,
            )
        )
    print(
        table(
            ("target (EXECUTION.md 9.1)", "measured", "limit", ""),
            [
                (name, f"{got:.3g}", f"{limit:g}", "pass" if got <= limit else "MISS")
                for name, got, limit in goals
            ],
        )
    )
    if tally["milp_bp"]:
        beyond = sum(tally["milp_beyond_0.1bp"])
        print(
            f"whole-lot optimum: {beyond:.0f} of {len(tally['milp_bp'])} beyond 0.1 bp, p99 "
            f"{percentile(tally['milp_bp'], 0.99):.2f} bp; {len(tally['milp_unproven'])} not proven in time,"
            f" {len(tally['milp_empty'])} without a legal plan"
        )
    figures: dict[str, Any] = {
        "instances": len(tally["all_ms"]),
        "seed": chosen.seed,
        "python": platform.python_version(),
        "targets": [
            {"name": name, "measured": got, "limit": limit, "pass": got <= limit}
            for name, got, limit in goals
        ],
        "measured": {
            name: {
                "n": len(sample),
                "mean": mean(sample),
                **{f"p{100 * p:g}": percentile(sample, p) for p in (0.5, 0.9, 0.99)},
                "max": max(sample),
            }
            for name, sample in sorted(tally.values.items())
        },
    }
    target = ROOT / "var" / "bench" / "router.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {target.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
