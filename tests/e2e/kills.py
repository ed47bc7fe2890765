"""SIGKILL the real server again and again while it trades, and count what got lost or doubled.

    ./oms kills --n 50        prints `kills=50 lost=0 duplicates=0 ready_p99_s=...` last

The simulated exchanges are processes of their own and survive; bots ask again with the same idempotency
key. What they ask for is worked as many legs: smart orders over several exchanges and over two hops, a
rebalance, a liquidation. Judged at the end, against the exchanges' own ledgers: every accepted query is on
disk and has ended; one venue order for each intent at most; every fill of the venue booked once, to the last
unit; no parent spent more than it was given; deposits and our fills make the exchanges' balances; nothing
open that we do not track.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from pathlib import Path

from sqlalchemy import Row, create_engine, text

from oms_client import OMSClient
from oms_client.errors import InsufficientFunds, OMSError, OutcomeUnknown, QueryFailed, Rejected, Unavailable
from server.store.connect import database_url
from tests.e2e.processes import ServerProcess, SimulatorProcess

BOTS = 6
TIME_LIMIT_S = 3
BETWEEN_KILLS_S = (0.3, 2.5)
SEVERAL_LEGS_S = 15.0


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
    refused: int = 0  # requests for which the account did not hold enough
    many_legs: int = 0  # parents of more than one leg
    many_exchanges: int = 0  # of those, on more than one exchange
    resumed: int = 0  # parents of more than one leg that a kill found at work

    def told(self) -> str:
        return (
            f"{self.queries} queries, {self.refused} requests beyond the funds, {self.orders} orders, "
            f"{self.fills} fills; "
            f"{self.many_legs} parents of several legs, {self.many_exchanges} of them on several exchanges, "
            f"{self.resumed} of them at work when a kill came"
        )

    def line(self) -> str:
        ready = sorted(self.ready_s)
        p99 = ready[min(int(len(ready) * 0.99), len(ready) - 1)] if ready else 0.0
        counts = f"lost={len(self.lost)} duplicates={len(self.duplicates)}"
        return f"kills={self.kills} {counts} ready_p99_s={p99:.2f}"


class Bot(threading.Thread):
    """Asks for one thing after another and remembers what was accepted."""

    def __init__(self, number: int, server: ServerProcess, stop: threading.Event):
        super().__init__(daemon=True)
        self.client = OMSClient(
            "alice", server.url, f"bot{number}", key=server.keys.private, on_event=self.saw
        )
        self.accepted: set[str] = set()  # query ids we were told of
        self.refused = 0
        self.surprises: list[str] = []  # refusals that no kill and no lack of money explains
        self._over = stop
        self._rng = random.Random(number)
        self._number = number

    def saw(self, query: object) -> None:
        self.accepted.add(query["query_id"])  # type: ignore[index]

    def run(self) -> None:
        turn = 0
        while not self._over.is_set():
            turn += 1
            # Every bot begins with another kind, so that few kills meet every kind.
            kind = self._number + turn if turn <= len(KINDS) else self._rng.randrange(len(KINDS))
            ask = KINDS[kind % len(KINDS)](self.client, self._rng)
            while not self._asked(ask, f"bot{self._number}-{turn}"):
                if self._over.is_set():
                    return
                time.sleep(0.1)

    def _asked(self, ask: Callable[[str], object], key: str) -> bool:
        """Ask once; say whether that was answered for good."""
        try:
            ask(key)
        except (OutcomeUnknown, QueryFailed):
            return True
        except InsufficientFunds:
            self.refused += 1
            return True
        except Unavailable:
            return False
        except Rejected as error:
            self.surprises.append(f"{key} was refused: {error}")
            return True
        except OMSError:
            return False
        return True


def on_one(client: OMSClient, rng: random.Random) -> Callable[[str], object]:
    exchange = rng.choice(("binance", "kraken"))
    pair = rng.choice((("USDT", "ETH", "60"), ("ETH", "USDT", "0.02"), ("USDT", "BTC", "70")))
    return lambda key: client.smart_order(exchange, *pair, time_limit=TIME_LIMIT_S, idempotency_key=key)


def on_several(client: OMSClient, rng: random.Random) -> Callable[[str], object]:
    """More than one exchange holds of the start currency: the money of both is needed."""
    exchange = rng.choice(("all", ["binance", "kraken"]))
    pair = rng.choice((("ETH", "BTC", "70%"), ("USDT", "BTC", "60%"), ("USDT", "ETH", "55%")))
    algo = rng.choice(("adaptive", "classic"))
    return lambda key: client.smart_order(
        exchange, *pair, algo=algo, time_limit=TIME_LIMIT_S, idempotency_key=key
    )


def over_two_hops(client: OMSClient, rng: random.Random) -> Callable[[str], object]:
    """The simulators play no market between these two: the way leads over USDT."""
    pair = rng.choice((("ETH", "BTC", "0.05"), ("BTC", "ETH", "0.004"), ("ETH", "BTC", "0.1")))
    algo = rng.choice(("adaptive", "classic"))
    exchange = rng.choice(("binance", "kraken"))
    return lambda key: client.smart_order(
        exchange, *pair, algo=algo, time_limit=TIME_LIMIT_S, idempotency_key=key
    )


def portfolio(client: OMSClient, rng: random.Random) -> Callable[[str], object]:
    if rng.random() < 0.4:
        return lambda key: client.liquidate(
            "all", "USDT", exclude=["BTC"], time_limit=TIME_LIMIT_S, idempotency_key=key
        )
    first, second = rng.sample(("0.3", "0.35"), 2)
    targets = {"USDT": "0.35", "BTC": first, "ETH": second}
    return lambda key: client.rebalance("all", targets, time_limit=TIME_LIMIT_S, idempotency_key=key)


KINDS: tuple[Callable[[OMSClient, random.Random], Callable[[str], object]], ...] = (
    on_several,
    over_two_hops,
    portfolio,
    on_one,
)


def run_kills(n: int, db_url: str, folder: Path, *, report=print) -> Verdict:
    """Kill the server `n` times under load and judge what is left."""
    verdict = Verdict()
    rng = random.Random(n)
    simulators = [SimulatorProcess(name, folder / f"{name}.log").start() for name in ("binance", "kraken")]
    server = ServerProcess(simulators, db_url, folder / "server.log")
    stop = threading.Event()
    bots: list[Bot] = []
    killed_at: list[datetime] = []
    try:
        server.start()
        bots = [Bot(number, server, stop) for number in range(BOTS)]
        for bot in bots:
            bot.client.patience_s = 300.0
            bot.start()
        for _ in range(n):
            time.sleep(rng.uniform(*BETWEEN_KILLS_S))
            if (
                verdict.kills % 2 == 0
            ):  # every other one comes when there is something of several legs to lose
                _wait_for_several_legs(db_url)
            killed_at.append(datetime.now(UTC))
            server.kill()
            verdict.kills += 1
            verdict.ready_s.append(server.start())
            if verdict.kills % 10 == 0:
                report(f"{verdict.kills} kills, last ready after {verdict.ready_s[-1]:.2f} s")
        stop.set()
        for bot in bots:
            bot.join(120)
        _wait_until_quiet(server)
        _judge(verdict, db_url, simulators, {q for bot in bots for q in bot.accepted}, killed_at)
        verdict.refused = sum(bot.refused for bot in bots)
        verdict.lost += [surprise for bot in bots for surprise in bot.surprises]
    finally:
        stop.set()
        server.stop()
        for simulator in simulators:
            simulator.stop()
    return verdict


def _wait_for_several_legs(db_url: str) -> None:
    """Wait until a parent of several legs is at work, on a slow machine not for ever."""
    engine = create_engine(database_url(db_url))
    working = text("select legs from parents where state not in ('done', 'dust_done', 'aborted')")
    deadline = time.monotonic() + SEVERAL_LEGS_S
    try:
        while time.monotonic() < deadline:
            with engine.connect() as connection:
                found = [row.legs for row in connection.execute(working)]
            if any(len(json.loads(t) if isinstance(t, str) else t) > 1 for t in found):
                return
            time.sleep(0.1)
    finally:
        engine.dispose()


def _wait_until_quiet(server: ServerProcess) -> None:
    client = OMSClient("alice", server.url, "judge", key=server.keys.private)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        health = client.check_health()
        if health["working_queries"] == 0 and health["open_orders"] == 0:
            time.sleep(1.0)  # the last readings are recorded behind their answers
            return
        time.sleep(0.5)


def _judge(
    verdict: Verdict,
    db_url: str,
    simulators: list[SimulatorProcess],
    accepted: set[str],
    killed_at: list[datetime],
) -> None:
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
        fills = list(database.execute(text("SELECT * FROM fills")))
        parents = list(database.execute(text("SELECT * FROM parents")))
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
        truth = simulator.admin("truth")
        if truth["imbalance"]:
            verdict.lost.append(f"{simulator.exchange}: the simulator's own books do not balance")
        _compare_ledgers(verdict, simulator.exchange, truth["accounts"]["paper"], fills)
    _judge_parents(verdict, parents, fills, killed_at)


def _moved(fill: Row[tuple[object, ...]]) -> list[tuple[str, Decimal]]:
    """Return what a fill moved: (currency, amount), received counted up."""
    base, quote = fill.symbol.split("/")
    price, quantity, fee = (Decimal(str(amount)) for amount in (fill.price, fill.quantity, fill.fee))
    sign = 1 if fill.side == "buy" else -1
    return [(base, sign * quantity), (quote, -sign * price * quantity), (fill.fee_currency, -fee)]


def _compare_ledgers(
    verdict: Verdict, exchange: str, theirs: dict[str, object], fills: list[Row[tuple[object, ...]]]
) -> None:
    """Deposits and our fills make the exchange's balances, to the last unit."""
    sums: dict[str, Decimal] = {}
    with localcontext() as context:
        context.prec = 60
        for transfer in theirs["transfers"]:
            assert transfer["kind"] == "deposit", transfer
            currency, amount = transfer["currency"], Decimal(transfer["amount"])
            sums[currency] = sums.get(currency, Decimal(0)) + amount
        for fill in fills:
            if fill.exchange == exchange:
                for currency, amount in _moved(fill):
                    sums[currency] = sums.get(currency, Decimal(0)) + amount
        held = {
            currency: Decimal(balance["free"]) + Decimal(balance["locked"])
            for currency, balance in theirs["balances"].items()
        }
        for currency in sorted(sums.keys() | held.keys()):
            ours, real = sums.get(currency, Decimal(0)), held.get(currency, Decimal(0))
            if ours != real:
                words = f"{exchange}: by our fills it holds {ours} {currency}, it says {real}"
                (verdict.lost if ours > real else verdict.duplicates).append(words)


def _judge_parents(
    verdict: Verdict,
    parents: list[Row[tuple[object, ...]]],
    fills: list[Row[tuple[object, ...]]],
    killed_at: list[datetime],
) -> None:
    """No parent spent more than it was given; count those of several legs that a kill met at work."""
    for parent in parents:
        legs, goal = (json.loads(t) if isinstance(t, str) else t for t in (parent.legs, parent.goal))
        if parent.closed_at is None:
            verdict.lost.append(f"parent {parent.parent_id} never ended")
            continue
        if goal.get("kind") == "convert":
            with localcontext() as context:
                context.prec = 60
                moved = [
                    amount
                    for fill in fills
                    if fill.parent_id == parent.parent_id
                    for currency, amount in _moved(fill)
                    if currency == goal["start"]
                ]
                spent, given = -sum(moved, Decimal(0)), Decimal(str(parent.start_amount))
            if spent > given:
                words = f"parent {parent.parent_id} spent {spent} of {given} {goal['start']}"
                verdict.duplicates.append(words)
        if len(legs) < 2:
            continue
        verdict.many_legs += 1
        verdict.many_exchanges += len({leg["exchange"] for leg in legs}) > 1
        begun, over = _moment(parent.created_at), _moment(parent.closed_at)
        verdict.resumed += any(begun < kill < over for kill in killed_at)


def _moment(stored: datetime | str) -> datetime:
    return datetime.fromisoformat(stored) if isinstance(stored, str) else stored


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
    print(verdict.told())
    print(verdict.line())
    return 1 if verdict.lost or verdict.duplicates else 0


if __name__ == "__main__":
    os.environ.setdefault("OMS_PROGRESS", "0")
    sys.exit(main())
