"""What the risk controls add to a submission, measured in the engine itself.

    ./oms bench risk

An engine with one account takes limit orders, with every limit at a value that passes and with all off; then
each control is timed alone on the same question.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from decimal import Decimal

from ems.core import risk
from ems.core.messages import LimitOrder, OrderType, SetLimit, Side
from ems.core.risk import Proposal
from ems.core.risk_limits import SETTINGS, Scope
from oms_client.tables import table
from tests.builders import at
from tests.e2e.processes import ROOT
from tests.engine.world import EngineWorld

ORDERS = 2000
TARGET_US = 200.0
FAR = {"names": "ETH/USDT,binance,limit,market", "hours": "00:00-24:00"}


def percentile(sample: list[float], share: float) -> float:
    ordered = sorted(sample)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def limited() -> EngineWorld:
    """Return an engine in which every control has a limit, far away."""
    world = EngineWorld(free={"USDT": Decimal(10**12)})
    for setting in SETTINGS:
        value = FAR.get(setting.kind, "100" if setting.most is not None else "1000000000")
        value = "0" if setting.name == "duplicate_window" else value
        command = SetLimit(setting=setting.name, value=value)
        world.submit(command, key=setting.name, user="adam", role="admin")
    return world


def submissions(world: EngineWorld, count: int) -> list[float]:
    """Time submissions to the turn that records them, in microseconds."""
    times = []
    for number in range(count):
        world.now = number * 0.01
        world.book()
        order = LimitOrder(
            exchange="binance",
            symbol="ETH/USDT",
            side=Side.BUY,
            quantity=Decimal("0.5"),
            price=Decimal(1990) + Decimal(number) / 1000,
        )
        started = time.perf_counter()
        answer = world.submit(order, key=f"b-{number}")
        times.append((time.perf_counter() - started) * 1e6)
        world.ack(f"{answer.query_id}.1.1", f"X{number}")
    return times


def controls(world: EngineWorld, count: int) -> dict[str, list[float]]:
    """Time the whole judgement, and each control alone, in microseconds."""
    account = world.account
    proposal = Proposal(
        where=Scope("alice", "bot1", "binance", "default", "ETH/USDT"),
        parent_id="bench.1",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        quantity=Decimal("0.5"),
        price=Decimal(1999),
        at=at(world.now),
    )
    judge = world.engine.risk
    times: dict[str, list[float]] = {"all together": []}
    for _ in range(count):
        started = time.perf_counter()
        question = judge.question(account, proposal)
        assert risk.check(question) == []
        times["all together"].append((time.perf_counter() - started) * 1e6)
        for control in risk.CHECKS:
            started = time.perf_counter()
            assert list(control(question)) == []
            times.setdefault(control.__name__, []).append((time.perf_counter() - started) * 1e6)
    return times


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="oms bench risk", description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS)
    chosen = parser.parse_args(arguments)
    without = submissions(EngineWorld(free={"USDT": Decimal(10**12)}), chosen.orders // 10)
    world = limited()
    with_all = submissions(world, chosen.orders // 10)
    rows = []
    figures: dict[str, object] = {}
    for name, sample in controls(world, chosen.orders).items():
        p50, p99 = percentile(sample, 0.5), percentile(sample, 0.99)
        figures[name] = {"p50_us": round(p50, 1), "p99_us": round(p99, 1)}
        rows.append((name, f"{p50:.1f}", f"{p99:.1f}"))
    print(table(("control", "p50 us", "p99 us"), rows))
    ratio = statistics.median(with_all) / statistics.median(without)
    figures["submission"] = {
        "without_p50_us": round(statistics.median(without), 1),
        "with_p50_us": round(statistics.median(with_all), 1),
        "ratio": round(ratio, 3),
    }
    print(f"a submission in the engine, p50: {figures['submission']}")
    all_p99 = percentile(controls(world, chosen.orders)["all together"], 0.99)
    met = "pass" if all_p99 <= TARGET_US else "MISS"
    print(f"all together {all_p99:.0f} us (p99), target {TARGET_US:.0f}: {met}")
    target = ROOT / "var" / "bench" / "risk.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
