"""How fast the kill switch is in a storm of live orders, beside bare ccxt cancelling the same orders.

    ./oms bench halt [--orders 200] [--runs 3]

Orders rest at three simulated exchanges, each with its real rate limits, and bots go on placing more. Then
everything is halted by one signed call. Times are from the moment before that call:

    in force     from when nothing new is taken, by the record of the halt
    blocked      the last order that still arrived at an exchange, by the exchanges' own ledgers
    refused      the first new order that is answered TRADING_HALTED
    canceled     the last cancel carried out, by the exchanges' own ledgers: later than its dispatch
    flat         the call returns: no exchange lists an order of ours, in a list asked for afterwards

The baseline is bare ccxt (synchronous, its own rate limiter, one client per exchange), which reads the open
orders, cancels them one after another, and reads again until there are none: over all exchanges in turn, and
with a thread for each. It has nothing that refuses new orders, so the bots rest meanwhile; and the server is
stopped, for the script has its key.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import ccxt

from ems.venues.transport import repoint
from oms_client import OMSClient
from oms_client.errors import OMSError
from oms_client.tables import table
from tests.e2e.processes import ROOT, ServerProcess, SimulatorProcess

EXCHANGES = ("binance", "bybit", "kraken")
SYMBOLS = (("ETH/USDT", "2000"), ("BTC/USDT", "50000"))  # Kraken lets 80 orders of a market rest
QUANTITIES = {"ETH/USDT": "0.01", "BTC/USDT": "0.0005"}
BREW_S = 180.0
GOALS = {"blocked_s": 0.1, "refused_s": 0.1, "canceled_s": 2.0}
OURS = "oms halt --all, with bots placing"
BARE = {"bare ccxt, one after another": False, "bare ccxt, a thread for each exchange": True}
SETTLE_S = 2.0  # a server that has just started still loads its markets


class Storm:
    """Bots that place resting orders at every exchange until they are told to rest."""

    def __init__(self, server: ServerProcess):
        self._server = server
        self._over = threading.Event()
        self._bots: list[threading.Thread] = []
        self.refused_at: list[float] = []  # when an order was answered TRADING_HALTED

    def start(self, most: int | None) -> None:
        """Place until `most` rest at each exchange, or without end."""
        self._over.clear()
        self.refused_at.clear()
        self._bots = [
            threading.Thread(target=self._bot, args=(simulator, most), daemon=True)
            for simulator in self._server.simulators
        ]
        for bot in self._bots:
            bot.start()

    def stop(self) -> None:
        self._over.set()
        self.wait()

    def wait(self) -> None:
        for bot in self._bots:
            bot.join(BREW_S)

    def _bot(self, simulator: SimulatorProcess, most: int | None) -> None:
        client = OMSClient("alice", self._server.url, simulator.exchange, key=self._server.keys.private)
        for turn in itertools.count():
            if self._over.is_set() or (most is not None and turn % 5 == 0 and len(live(simulator)) >= most):
                return
            symbol, price = SYMBOLS[turn % len(SYMBOLS)]
            try:
                client.limit_order(
                    simulator.exchange, "buy", symbol, QUANTITIES[symbol], price, wait=most is not None
                )
            except OMSError as error:
                if error.code == "TRADING_HALTED":
                    self.refused_at.append(time.time())
                    return
                time.sleep(0.05)  # the exchange's own limits: too fast, or too many of a market


def live(simulator: SimulatorProcess) -> list[dict[str, Any]]:
    """Return what an exchange itself has open."""
    return simulator.admin("orders?open=true")


def brew(storm: Storm, server: ServerProcess, orders: int) -> None:
    """Let so many orders rest, as many at each exchange."""
    storm.start(-(-orders // len(EXCHANGES)))
    storm.wait()
    placed = {simulator.exchange: len(live(simulator)) for simulator in server.simulators}
    if sum(placed.values()) < orders:
        raise RuntimeError(f"only {placed} orders rest")


def halted(server: ServerProcess, storm: Storm) -> dict[str, float]:
    """Halt everything while the bots go on; return the times in seconds."""
    person = OMSClient("alice", server.url, "desk", key=server.keys.private)
    person.check_health()  # connected, as a desk's screen is
    storm.start(None)
    time.sleep(0.3)
    began = time.time()
    report = person.halt(all=True, reason="bench")
    flat_s = time.time() - began
    storm.wait()
    assert report["flat"] and not any(live(simulator) for simulator in server.simulators)
    (halt,) = [one for one in person.get_halts()["halts"] if one["halt_id"] == report["halt_id"]]
    return {
        "in_force_s": _seconds(halt["set_at"]) - began,
        "blocked_s": max(0.0, _last(server, "created_at") - began),
        "refused_s": min(storm.refused_at) - began,
        **_canceled(server, began),
        "flat_s": flat_s,
        "orders": float(len(report["orders"])),
    }


def bare_ccxt(server: ServerProcess, at_once: bool) -> dict[str, float]:
    """Let scripts cancel what rests; return the times in seconds."""
    clients = [_ccxt_of(simulator) for simulator in server.simulators]
    orders = sum(len(live(simulator)) for simulator in server.simulators)
    began = time.time()
    if at_once:
        threads = [threading.Thread(target=_cancel_all, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        for client in clients:
            _cancel_all(client)
    flat_s = time.time() - began
    assert not any(live(simulator) for simulator in server.simulators)
    return {**_canceled(server, began), "flat_s": flat_s, "orders": float(orders)}


def _ccxt_of(simulator: SimulatorProcess) -> Any:
    exchange = getattr(ccxt, simulator.exchange)(
        {
            "apiKey": simulator.public,
            "secret": simulator.private,
            "options": {
                "defaultType": "spot",
                "fetchMarkets": {"types": ["spot"]},
                "fetchMargins": False,
                "warnOnFetchOpenOrdersWithoutSymbol": False,
            },
        }
    )
    exchange.has["fetchCurrencies"] = False
    repoint(exchange, simulator.url)
    exchange.load_markets()
    return exchange


def _cancel_all(client: Any) -> None:
    """Cancel what is listed until nothing is, as a careful script does."""
    while rests := _patiently(client.fetch_open_orders):
        for order in rests:
            with suppress(ccxt.OrderNotFound):
                _patiently(partial(client.cancel_order, order["id"], order["symbol"]))


def _patiently(ask: Callable[[], Any]) -> Any:
    while True:
        try:
            return ask()
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection):
            time.sleep(1)


def _canceled(server: ServerProcess, began: float) -> dict[str, float]:
    """Return when the last order was canceled, by the ledger of each exchange, and over all."""
    each = {
        f"{one.exchange}_canceled_s": max(float(order["updated_at"]) for order in one.admin("orders")) - began
        for one in server.simulators
    }
    return {**each, "canceled_s": max(each.values())}


def _last(server: ServerProcess, name: str) -> float:
    """Return the latest of one time of all orders there ever were."""
    return max(float(order[name]) for one in server.simulators for order in one.admin("orders"))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@contextmanager
def house(orders: int) -> Iterator[tuple[ServerProcess, Storm]]:
    """Let so many orders rest at new exchanges: Kraken counts cancels against a market for minutes."""
    with tempfile.TemporaryDirectory(prefix="oms-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        simulators = []
        for exchange in EXCHANGES:
            simulator = SimulatorProcess(exchange, folder / f"{exchange}.log", unlimited=False).start()
            stack.callback(simulator.stop)
            simulators.append(simulator)
        database = f"sqlite:///{folder / 'oms.sqlite'}"
        server = ServerProcess(simulators, database, folder / "server.log", unlimited=False)
        stack.callback(server.stop)
        server.start()
        time.sleep(SETTLE_S)
        storm = Storm(server)
        brew(storm, server, orders)
        yield server, storm


def measure(orders: int, runs: int, bare: dict[str, bool]) -> dict[str, list[dict[str, float]]]:
    """Return the times of each run of each way, the ways in turns."""
    found: dict[str, list[dict[str, float]]] = {OURS: [], **{way: [] for way in bare}}
    for _ in range(runs):
        with house(orders) as (server, storm):
            found[OURS].append(halted(server, storm))
        for way, at_once in bare.items():
            with house(orders) as (server, _):
                server.stop()  # Kraken would refuse the one's nonces for the other's
                found[way].append(bare_ccxt(server, at_once))
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="oms bench halt", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=200, help="that rest, over all exchanges")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without the baseline")
    chosen = parser.parse_args(arguments)
    found = measure(chosen.orders, chosen.runs, {} if chosen.alone else BARE)
    figures: dict[str, Any] = {"python": platform.python_version(), "runs": found}
    names = (
        "orders",
        "in_force_s",
        "blocked_s",
        "refused_s",
        *(f"{x}_canceled_s" for x in EXCHANGES),
        "flat_s",
    )
    rows = []
    for way, runs in found.items():
        middle = [_middle(runs, name) for name in names]
        rows.append((way, f"{middle[0]:.0f}", *("-" if x is None else f"{x:.3f}" for x in middle[1:])))
    titles = [
        name.replace("_canceled_s", " canceled s").replace("_s", " s").replace("_", " ") for name in names
    ]
    print(table(("median of the runs", *titles), rows))
    for name, goal in GOALS.items():
        worst = max(run[name] for run in found[OURS])
        print(f"{name} {worst:.3f} (worst), target {goal}: {'pass' if worst <= goal else 'MISS'}")
    target = ROOT / "var" / "bench" / "halt.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {target.relative_to(ROOT)}")
    return 0


def _middle(runs: list[dict[str, float]], name: str) -> float | None:
    return statistics.median(run[name] for run in runs) if name in runs[0] else None


if __name__ == "__main__":
    sys.exit(main())
