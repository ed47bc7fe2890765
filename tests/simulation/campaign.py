"""Play many seeds and print what was found: `./oms campaign --seeds 20000`, and `--seed n` to replay one.

The last line is `seeds=... crashes=... violations=...`; the exit status is 1 when there is a violation.
"""

from __future__ import annotations

import argparse
import decimal
import gc
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

from tests.simulation.invariants import check
from tests.simulation.world import Violation, World

CHUNK = 50  # seeds handed to a worker at a time


@dataclass(frozen=True)
class Outcome:
    """What one seed showed."""

    seed: int
    crashes: int
    orders: int
    fills: int
    violation: str  # empty when every invariant held


def play(seed: int) -> Outcome:
    """Play one seed and judge it."""
    decimal.getcontext().prec = 50
    world = World(seed)
    violation = ""
    try:
        world.run()
        check(world)
    except Violation as error:
        violation = str(error)
    return Outcome(
        seed=seed,
        crashes=world.crashes,
        orders=len(world.disk.orders),
        fills=len(world.disk.fill_rows),
        violation=violation,
    )


def play_all(seeds: Iterable[int]) -> list[Outcome]:
    return [play(seed) for seed in seeds]


def campaign(first: int, count: int, *, processes: int | None = None, report=print) -> list[Outcome]:
    """Play `count` seeds on all cores; `report` gets a line now and then and one for each violation."""
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    outcomes: list[Outcome] = []
    started = time.monotonic()
    with ProcessPoolExecutor(processes or os.cpu_count(), initializer=_settle) as pool:
        for number, chunk in enumerate(pool.map(play_all, chunks), start=1):
            outcomes += chunk
            for outcome in chunk:
                if outcome.violation:
                    report(f"seed {outcome.seed}: {outcome.violation}")
            if number % 20 == 0:
                report(f"{len(outcomes)} seeds in {time.monotonic() - started:.0f} s")
    return outcomes


def _settle() -> None:
    """Prepare a process that plays: others, who watch the clock, go before it."""
    os.nice(10)
    gc.freeze()  # what is loaded stays loaded: the collector need not look through it again and again


def summary(outcomes: list[Outcome]) -> str:
    crashes = sum(o.crashes for o in outcomes)
    violations = sum(1 for o in outcomes if o.violation)
    return f"seeds={len(outcomes)} crashes={crashes} violations={violations}"


def replay(seed: int) -> int:
    """Play one seed again and tell everything about it."""
    decimal.getcontext().prec = 50
    world = World(seed)
    print(f"seed {seed}")
    for name, value in asdict(world.weather).items():
        print(f"  {name} = {value}")
    failed = 0
    try:
        world.run()
        check(world)
    except Violation as error:
        failed = 1
        print(f"VIOLATION at {world.clock.seconds:.3f} s: {error}")
    for query in world.disk.queries.values():
        print(
            f"{query.query_id} {query.verb} {query.exchange} {query.status} "
            f"{query.error.message if query.error else ''}"
        )
        for order in world.disk.orders_of_query(query.query_id):
            for entry in world.disk.history(order.order_id):
                at = entry.timestamp.strftime("%M:%S.%f")[:-3]
                print(f"  {at} {order.order_id} {entry.status} {entry.report.get('kind')} {entry.message}")
    print(f"seeds=1 crashes={world.crashes} violations={failed}")
    return failed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="oms campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this one seed again and show its orders")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        return replay(chosen.seed)
    outcomes = campaign(chosen.first, chosen.seeds)
    orders, fills = sum(o.orders for o in outcomes), sum(o.fills for o in outcomes)
    print(f"{orders} orders, {fills} fills")
    print(summary(outcomes))
    return 1 if any(o.violation for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
