"""How much our order path adds to a bare ccxt create, measured in one run on one simulated exchange.

    ./oms bench order-path

Bare ccxt (sync) creates an order on the simulator; our signed client asks the server, which answers once
the intent is durable; then 1, 8 and 32 clients do so at once. Orders are IOC far below the market:
accepted, and over at once.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ccxt

from ems.venues.transport import repoint
from oms_client import OMSClient
from oms_client.tables import table
from tests.e2e.processes import ROOT, ServerProcess, SimulatorProcess

ORDERS = 300
WARM_UP = 30
SETTLE_S = 2.0  # a server that has just started still loads its markets
SECONDS = 6.0
PRICE = "1000"
QUANTITY = "0.01"


def percentile(sample: list[float], share: float) -> float:
    ordered = sorted(sample)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def bare_ccxt(simulator: SimulatorProcess, n: int) -> list[float]:
    """Time `n` creates of ccxt's own synchronous client, in seconds."""
    exchange = ccxt.binance(
        {
            "apiKey": simulator.public,
            "secret": simulator.private,
            "enableRateLimit": False,
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False},
        }
    )
    exchange.has["fetchCurrencies"] = False
    repoint(exchange, simulator.url)
    exchange.load_markets()
    times = []
    for number in range(n):
        started = time.perf_counter()
        order = exchange.create_order(
            "ETH/USDT",
            "limit",
            "buy",
            QUANTITY,
            PRICE,
            {"timeInForce": "IOC", "clientOrderId": f"bare-{time.time_ns()}"},
        )
        times.append(time.perf_counter() - started)
        assert order["id"], f"order {number} has no id"
    return times


def ask(client: OMSClient) -> None:
    """Ask for one order; returns when its intent is durable."""
    client.limit_order("binance", "buy", "ETH/USDT", QUANTITY, PRICE, time_in_force="IOC", wait=False)


def ours(server: ServerProcess, n: int) -> list[float]:
    """Time `n` signed requests to the answer that the intent is durable, in seconds."""
    client = OMSClient("alice", server.url, "bench", key=server.keys.private)
    times = []
    for _ in range(n):
        started = time.perf_counter()
        ask(client)
        times.append(time.perf_counter() - started)
    return times


def _hammer(url: str, key: str, threads: int, seconds: float, answers: Any) -> None:
    done = [0] * threads
    until = time.monotonic() + seconds

    def work(number: int) -> None:
        client = OMSClient("alice", url, f"bench{number}", key=key)
        while time.monotonic() < until:
            ask(client)
            done[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    answers.put(sum(done))


def throughput(server: ServerProcess, clients: int) -> float:
    """Return accepted orders per second with this many clients at once, in two processes where there are
    several."""
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    shares = [clients] if clients == 1 else [clients // 2, clients - clients // 2]
    processes = [
        spawn.Process(target=_hammer, args=(server.url, server.keys.private, share, SECONDS, answers))
        for share in shares
    ]
    for process in processes:
        process.start()
    total = sum(answers.get(timeout=SECONDS * 10) for _ in processes)
    for process in processes:
        process.join()
    return total / SECONDS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="oms bench order-path", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=ORDERS)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="oms-bench-") as name:
        folder = Path(name)
        simulator = SimulatorProcess("binance", folder / "binance.log").start()
        server = ServerProcess([simulator], f"sqlite:///{folder / 'oms.sqlite'}", folder / "server.log")
        try:
            server.start()
            time.sleep(SETTLE_S)
            bare_ccxt(simulator, WARM_UP)
            ours(server, WARM_UP)
            bare, mine = [], []
            for _ in range(3):  # in turns, so that a slow spell of the machine meets both
                bare += bare_ccxt(simulator, chosen.orders // 3)
                mine += ours(server, chosen.orders // 3)
            rates = {clients: throughput(server, clients) for clients in (1, 8, 32)}
        finally:
            server.stop()
            simulator.stop()
    figures: dict[str, Any] = {
        "orders": len(mine),
        "python": platform.python_version(),
        "bare_ccxt_create_ms": _summary(bare),
        "signed_client_to_durable_ms": _summary(mine),
        "ratio_p50": round(statistics.median(mine) / statistics.median(bare), 3),
        "ratio_p99": round(percentile(mine, 0.99) / percentile(bare, 0.99), 3),
        "orders_per_second": {str(clients): round(rate, 1) for clients, rate in rates.items()},
    }
    rows = [
        ("bare ccxt create (sync)", *_summary(bare).values(), "1.00"),
        ("our client to durable intent", *_summary(mine).values(), f"{figures['ratio_p50']:.2f}"),
    ]
    print(table(("order path", "p50 ms", "p99 ms", "ratio p50"), rows))
    print(table(("clients", "orders/s"), [(clients, f"{rate:.0f}") for clients, rate in rates.items()]))
    target = ROOT / "var" / "bench" / "order-path.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {target.relative_to(ROOT)}")
    return 0


def _summary(sample: list[float]) -> dict[str, float]:
    return {"p50": round(percentile(sample, 0.5) * 1000, 3), "p99": round(percentile(sample, 0.99) * 1000, 3)}


if __name__ == "__main__":
    sys.exit(main())
