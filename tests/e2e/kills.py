"""SIGKILL the real server again and again while smart orders run, and count what got lost or doubled.

    ./oms kills --n 50        prints `kills=50 lost=0 duplicates=0 ready_p99_s=...` last

The simulated exchanges are processes of their own and survive; bots ask again with the same idempotency
key. Judged at the end, against the exchanges' own ledgers: every accepted query is on disk and has ended;
one venue order for each intent at most; every fill of the venue booked once, to the last unit; nothing open
that we do not track.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from sqlalchemy import create_engine, text

from oms_client import OMSClient
from oms_client.errors import OMSError, OutcomeUnknown, QueryFailed
from server.store.connect import database_url
from tests.e2e.processes import ServerProcess, SimulatorProcess

BOTS = 4
TIME_LIMIT_S = 3
BETWEEN_KILLS_S = (0.3, 2.5)


@dataclass
class Verdict:
    """What the kills did."""

    kills: int = 0
    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)
    queries: int = 0
    orders: int = 0
    fills: int = 0

    def line(self) -> str:
        ready = sorted(self.ready_s)
        p99 = ready[min(int(len(ready) * 0.99), len(ready) - 1)] if ready else 0.0
        counts = f"lost={len(self.lost)} duplicates={len(self.duplicates)}"
        return f"kills={self.kills} {counts} ready_p99_s={p99:.2f}"


class Bot(threading.Thread):
    """Asks for one smart order after another and remembers what was accepted."""

    def __init__(self, number: int, server: ServerProcess, stop: threading.Event):
        super().__init__(daemon=True)
        self.client = OMSClient(
            "alice", server.url, f"bot{number}", key=server.keys.private, on_event=self.saw
        )
        self.accepted: set[str] = set()  # query ids we were told of
        self._over = stop
        self._rng = random.Random(number)
        self._number = number

    def saw(self, query: object) -> None:
        self.accepted.add(query["query_id"])  # type: ignore[index]

    def run(self) -> None:
        turn = 0
        while not self._over.is_set():
            turn += 1
            exchange = self._rng.choice(("binance", "kraken"))
            start, end, amount = self._rng.choice(
                (("USDT", "ETH", "60"), ("ETH", "USDT", "0.02"), ("USDT", "BTC", "70"))
            )
            key = f"bot{self._number}-{turn}"
            while True:
                try:
                    self.client.smart_order(
                        exchange, start, end, amount, time_limit=TIME_LIMIT_S, idempotency_key=key
                    )
                    break
                except (OutcomeUnknown, QueryFailed):
                    break
                except OMSError:
                    if self._over.is_set():
                        return
                    time.sleep(0.1)


def run_kills(n: int, db_url: str, folder: Path, *, report=print) -> Verdict:
    """Kill the server `n` times under load and judge what is left."""
    verdict = Verdict()
    rng = random.Random(n)
    simulators = [SimulatorProcess(name, folder / f"{name}.log").start() for name in ("binance", "kraken")]
    server = ServerProcess(simulators, db_url, folder / "server.log")
    stop = threading.Event()
    bots: list[Bot] = []
    try:
        server.start()
        bots = [Bot(number, server, stop) for number in range(BOTS)]
        for bot in bots:
            bot.client.patience_s = 300.0
            bot.start()
        for _ in range(n):
            time.sleep(rng.uniform(*BETWEEN_KILLS_S))
            server.kill()
            verdict.kills += 1
            verdict.ready_s.append(server.start())
            if verdict.kills % 10 == 0:
                report(f"{verdict.kills} kills, last ready after {verdict.ready_s[-1]:.2f} s")
        stop.set()
        for bot in bots:
            bot.join(120)
        _wait_until_quiet(server)
        _judge(verdict, db_url, simulators, {q for bot in bots for q in bot.accepted})
    finally:
        stop.set()
        server.stop()
        for simulator in simulators:
            simulator.stop()
    return verdict


def _wait_until_quiet(server: ServerProcess) -> None:
    client = OMSClient("alice", server.url, "judge", key=server.keys.private)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        health = client.check_health()
        if health["working_queries"] == 0 and health["open_orders"] == 0:
            time.sleep(1.0)  # the last readings are recorded behind their answers
            return
        time.sleep(0.5)


def _judge(verdict: Verdict, db_url: str, simulators: list[SimulatorProcess], accepted: set[str]) -> None:
    engine = create_engine(database_url(db_url))
    with engine.connect() as database:
        queries = {
            row.query_id: row for row in database.execute(text("SELECT query_id, status, verb FROM queries"))
        }
        orders = list(
            database.execute(
                text("SELECT order_id, exchange, client_order_id, status, filled_quantity FROM orders")
            )
        )
        fills = list(database.execute(text("SELECT fill_id, order_id, exchange, quantity, fee FROM fills")))
    engine.dispose()
    verdict.queries, verdict.orders, verdict.fills = len(queries), len(orders), len(fills)
    for query_id in accepted:
        if query_id not in queries:
            verdict.lost.append(f"query {query_id} was accepted and is not on disk")
        elif queries[query_id].status == "working":
            verdict.lost.append(f"query {query_id} never ended")
    for order in orders:
        if order.status in ("pending", "submitted", "unknown", "partially_filled"):
            verdict.lost.append(f"order {order.order_id} is still {order.status}")
    for simulator in simulators:
        ours = {o.client_order_id: o for o in orders if o.exchange == simulator.exchange}
        booked: dict[str, list[tuple[str, Decimal]]] = {}
        for fill in fills:
            if fill.exchange == simulator.exchange:
                booked.setdefault(fill.order_id, []).append((fill.fill_id, Decimal(str(fill.quantity))))
        seen: set[str] = set()
        for theirs in simulator.admin("orders?account=paper"):
            client_id = theirs["client_order_id"]
            if client_id in seen:
                verdict.duplicates.append(f"{simulator.exchange}: two orders for {client_id}")
            seen.add(client_id)
            mine = ours.get(client_id)
            if mine is None:
                verdict.lost.append(f"{simulator.exchange}: {client_id} is not in our ledger")
                continue
            if theirs["status"] in ("submitted", "partially_filled"):
                verdict.lost.append(
                    f"{simulator.exchange}: {mine.order_id} is open and we call it {mine.status}"
                )
            total = sum((quantity for _, quantity in booked.get(mine.order_id, [])), Decimal(0))
            if total != Decimal(theirs["filled_quantity"]):
                verdict.lost.append(f"{mine.order_id}: booked {total} of {theirs['filled_quantity']}")
        if simulator.admin("truth")["imbalance"]:
            verdict.lost.append(f"{simulator.exchange}: the simulator's own books do not balance")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="oms kills", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=50, help="how many kills")
    parser.add_argument("--db-url", help="a database of its own; SQLite in a temporary folder when absent")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="oms-kills-") as name:
        folder = Path(name)
        verdict = run_kills(chosen.n, chosen.db_url or f"sqlite:///{folder / 'oms.sqlite'}", folder)
        for words in verdict.lost + verdict.duplicates:
            print(words)
        if verdict.lost or verdict.duplicates:
            print((folder / "server.log").read_text()[-4000:])
    print(f"{verdict.queries} queries, {verdict.orders} orders, {verdict.fills} fills")
    print(verdict.line())
    return 1 if verdict.lost or verdict.duplicates else 0


if __name__ == "__main__":
    os.environ.setdefault("OMS_PROGRESS", "0")
    sys.exit(main())
