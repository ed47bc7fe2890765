"""What the risk controls add to a submission, measured in the engine itself.

    ./oms bench risk

An engine with one account takes limit orders, with every limit at a value that passes and with all off; then
each control is timed alone on the same question, with as many orders open as one user may have by default.
Beside wall time stands the time of the processor: where others use it too, wall time tells of them. Controls
that are no part of an order's judgement (19-22, and what answers of exchanges do) cost an order nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial

from ems.algos import ledger
from ems.core import risk
from ems.core.messages import LimitOrder, OrderType, SetLimit, Side
from ems.core.risk import Answers, Proposal, Question
from ems.core.risk_limits import SETTINGS, Scope
from ems.engine import selfmatch
from ems.engine.shortages import Shortages
from oms_client.tables import table
from tests.builders import at
from tests.e2e.processes import ROOT
from tests.engine.world import EngineWorld

ORDERS = 2000
OPEN = 50  # orders, the default of max_open_orders
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
    world.day(volume=Decimal(10**6), low=Decimal(1900), high=Decimal(2100))
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


Times = dict[str, list[tuple[float, float]]]  # control -> (wall, processor), in microseconds


def controls(world: EngineWorld, count: int) -> Times:
    """Time the whole judgement, and each control alone."""
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
    judge, work = world.engine.risk, world.engine.work
    where = (*account.key, "ETH/USDT")

    def judged() -> Question:
        question = judge.question(account, proposal)
        assert risk.check(question) == []
        return question

    def kill_switch() -> None:
        assert work.halted(*where, "alice") is None

    def self_match() -> None:
        assert selfmatch.met(work, account, "ETH/USDT", Side.BUY, Decimal(1999)) == []

    def available_funds() -> None:
        assert not Shortages(work, account, "alice").lacks("USDT", Decimal(1000))

    def parent_and_child() -> None:
        parent_id = next(iter(work.at_work[account.key]))
        ledger.committed(work.orders_of_parent(parent_id))

    def all_of_them() -> None:
        for one in (kill_switch, self_match, available_funds, parent_and_child, judged):
            one()

    times: Times = {}
    question = judged()
    alone = {check.__name__: partial(_drained, check, question) for check in risk.CHECKS}
    beside = (kill_switch, parent_and_child, self_match, available_funds)
    timed = {
        "all together": all_of_them,
        "the judgement": judged,
        **alone,
        **{f"{one.__name__} (elsewhere)": one for one in beside},
    }
    for _ in range(count):
        for name, control in timed.items():
            started, used = time.perf_counter(), time.thread_time()
            control()
            wall, used = time.perf_counter() - started, time.thread_time() - used
            times.setdefault(name, []).append((wall * 1e6, used * 1e6))
    return times


def _drained(check: Callable[[Question], Answers], question: Question) -> None:
    assert list(check(question)) == []


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="oms bench risk", description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS)
    chosen = parser.parse_args(arguments)
    without = submissions(EngineWorld(free={"USDT": Decimal(10**12)}), chosen.orders // 10)
    with_all = submissions(limited(), chosen.orders // 10)
    world = limited()
    submissions(world, OPEN)
    rows = []
    figures: dict[str, object] = {}
    for name, sample in controls(world, chosen.orders).items():
        wall, used = ([one[i] for one in sample] for i in range(2))
        shown = [percentile(wall, 0.5), percentile(wall, 0.99), percentile(used, 0.99)]
        figures[name] = dict(
            zip(("p50_us", "p99_us", "p99_processor_us"), (round(s, 1) for s in shown), strict=True)
        )
        rows.append((name, *(f"{s:.1f}" for s in shown)))
    print(table(("control", "p50 us", "p99 us", "p99 us of processor"), rows))
    ratio = statistics.median(with_all) / statistics.median(without)
    figures["submission"] = {
        "without_p50_us": round(statistics.median(without), 1),
        "with_p50_us": round(statistics.median(with_all), 1),
        "ratio": round(ratio, 3),
    }
    print(f"a submission in the engine, p50: {figures['submission']}")
    for which, i in (("wall", 0), ("processor", 1)):
        all_p99 = percentile([one[i] for one in controls(world, chosen.orders)["all together"]], 0.99)
        met = "pass" if all_p99 <= TARGET_US else "MISS"
        print(f"all together {all_p99:.0f} us of {which} time (p99), target {TARGET_US:.0f}: {met}")
    target = ROOT / "var" / "bench" / "risk.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
