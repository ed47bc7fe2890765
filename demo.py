"""The demo: a whole small world in one process, on paper.

Two simulated exchanges replay recorded books; a server works orders on them; a bot that holds no exchange
keys asks for two smart orders at once; a third request fails on purpose and causes an e-mail; the history is
read from the database. `play` leaves the same world up. `app` builds it all and is handed in as `house`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

from oms_client import OMSClient, signing
from oms_client.errors import OMSError
from oms_client.progress import progress_line
from oms_client.tables import table
from server.keystore import Redactor
from server.settings import read_settings
from simulator.mail import MailSink

DEMO_SECONDS = 30  # each smart order rests for 0.9 of this and takes what is left in the last tenth
START_AMOUNT = "1000"
QUOTED = "2000"
QUOTED_SECONDS = 12
LINES_GAP_S = 2.0  # between two lines of one smart order
READY_S = 60.0
MAIL_S = 20.0


@dataclass
class DemoWorld:
    """Everything that is up, and how to take it down."""

    server: Any  # of app.py, like the exchanges
    exchanges: list[Any]
    sink: MailSink
    thread: threading.Thread
    url: str
    private_key: str
    admin_key: str  # of adam, who may loosen limits and lift halts
    database: Path

    def client(self, bot: str, on_event: Callable[[Any], None] | None = None) -> OMSClient:
        return OMSClient("alice", self.url, bot, True, True, key=self.private_key, on_event=on_event)

    def close(self) -> None:
        self.server.port.stop()
        self.thread.join(20)
        for exchange in self.exchanges:
            exchange.stop()
        self.sink.stop()


def open_world(
    house: ModuleType,
    folder: Path,
    port: int = 0,
    *,
    made_up: bool = False,
    deposits: Mapping[str, Mapping[str, Decimal]] | None = None,
    names: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> DemoWorld:
    """Build exchanges, mail server, keys and server, and wait until it is ready.

    `made_up` adds invented markets of many assets; `deposits` is exchange -> currency -> amount; `names` are
    the exchanges, when others are wanted than those of the paper world; `more` are further settings.
    """
    pair, admin = signing.generate_keys(), signing.generate_keys()
    exchanges = [
        house.start_simulator(name, made_up=made_up, deposits=(deposits or {}).get(name))
        for name in names or read_settings({}).paper
    ]
    sink = MailSink(user="oms@example.com", password="demo-password")
    sink.start()
    database = folder / "oms.sqlite"
    settings = read_settings(
        {
            "OMS_KEYS": f"alice,{pair.public};adam,{admin.public},admin",
            "OMS_PORT": str(port or _free_port()),
            "DB_URL": f"sqlite:///{database}",
            "SENDER_EMAIL": "oms@example.com,demo-password",
            "RECEIVE_EMAILS": "alice@example.com",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(sink.port),
            "SMTP_CA_FILE": sink.ca_file,
            **(more or {}),
        }
    )
    house.set_up_logging(Redactor(settings.secrets()), "WARNING")
    server = house.Server(settings, [exchange.venue for exchange in exchanges])
    server.start()
    thread = threading.Thread(target=server.run, name="server", daemon=True)
    thread.start()
    deadline = time.monotonic() + READY_S
    while any(a.readiness != "ready" for a in server.runner.engine.work.accounts.values()):
        if time.monotonic() > deadline:
            raise SystemExit(f"oms: the demo's exchanges did not get ready: {server.desk.not_ready()}")
        time.sleep(0.1)
    host, port = server.port.address
    return DemoWorld(
        server=server,
        exchanges=exchanges,
        sink=sink,
        thread=thread,
        url=f"http://{host}:{port}",
        private_key=pair.private,
        admin_key=admin.private,
        database=database,
    )


def show(house: ModuleType) -> int:
    """Show the main job, then take everything down. Exit status 0 when all of it happened."""
    with tempfile.TemporaryDirectory(prefix="oms-demo-") as folder:
        _say("Starting two simulated exchanges, a mail server and the order server")
        world = open_world(house, Path(folder))
        try:
            _introduce(world)
            _smart_orders(world)
            _quote(world)
            _costs(world)
            _failure(world)
            _history(world)
        finally:
            world.close()
    print("\nEverything is down again. `./oms run` leaves the same world up to play with.")
    return 0


def play(house: ModuleType, arguments: argparse.Namespace) -> int:
    """Leave the demo's world up until Ctrl-C."""
    folder = Path("var") / "run"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        world = open_world(house, folder, arguments.port)
    except OSError as error:
        return house.refuse(f"port {arguments.port}: {error.strerror}; choose another with --port")
    try:
        _introduce(world)
        print("\nTry, in another terminal:")
        print(f"  export OMS_URL={world.url} OMS_KEY={world.private_key}")
        print("  ./oms balances binance")
        print(f"  ./oms smart-order kraken USDT ETH {START_AMOUNT}")
        print("  ./oms orders")
        print("  .venv/bin/python examples/hello_order.py")
        print(f"\nDocs: {world.url}/api/docs   Records: {world.database}   Stop with Ctrl-C.", flush=True)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        stop.wait()
    finally:
        world.close()
    return 0


def _introduce(world: DemoWorld) -> None:
    for exchange in world.exchanges:
        for line in exchange.replay.splitlines():
            print(f"  {line}")
    print(f"  server: {world.url}, mode paper, SQLite in {world.database}")
    print("  keys: made for alice; the bot holds a signing key only, the exchange keys stay with the server")


def _smart_orders(world: DemoWorld) -> None:
    _say(f"A bot asks both exchanges at once: {START_AMOUNT} USDT into ETH, within {DEMO_SECONDS} s")
    lock, last = threading.Lock(), dict[str, tuple[str, float]]()
    started = time.monotonic()

    def progress(query: Any) -> None:
        line = progress_line(query)
        now = time.monotonic() - started
        with lock:
            line_before, told_at = last.get(query["query_id"], ("", -LINES_GAP_S))
            if line != line_before and (query["status"] != "working" or now - told_at >= LINES_GAP_S):
                last[query["query_id"]] = (line, now)
                print(f"  {now:5.1f} s  {line}", flush=True)

    def convert(exchange: str) -> Any:
        client = world.client(f"bot-{exchange}", progress)
        return client.smart_order(exchange, "USDT", "ETH", START_AMOUNT, time_limit=DEMO_SECONDS)

    names = [exchange.venue.exchange for exchange in world.exchanges]
    with ThreadPoolExecutor(len(names)) as pool:
        results = dict(zip(names, pool.map(convert, names), strict=True))
    rows = []
    for name, result in results.items():
        at_once = result.taking_at_once
        rows.append(
            (
                name,
                result["spent"],
                result["received"],
                f"{result.average_price:.2f}",
                f"{at_once.average_price:.2f}",
                result["saved_bps"],
                ", ".join(f"{amount} {currency}" for currency, amount in result["fees"].items()),
            )
        )
    titles = ("exchange", "spent USDT", "received ETH", "price net", "at once", "saved bp", "fees")
    print("\n" + _indent(table(titles, rows)))
    print("  price net: USDT per ETH, fees included; at once: the same, had all of it been taken at arrival")


def _quote(world: DemoWorld) -> None:
    _say(f"A quote over both exchanges together, then carried out by its id: {QUOTED} USDT into BTC")
    client = world.client("bot-quoting")
    quoted = client.quote(
        exchange="all",
        start_currency="USDT",
        end_currency="BTC",
        start_amount=QUOTED,
        time_limit=QUOTED_SECONDS,
    )
    print(_indent(str(quoted)))
    result = client.smart_order(quote_id=quoted["quote_id"])
    print("\n" + _indent(str(result)))


def _costs(world: DemoWorld) -> None:
    _say("What the trading has cost, as `oms tca` shows it")
    print(_indent(str(world.client("bot-reading").tca())))


def _failure(world: DemoWorld) -> None:
    _say("A request that must fail: ten million USDT on kraken")
    try:
        world.client("bot-greedy").smart_order("kraken", "USDT", "ETH", "10000000")
        raise SystemExit("oms: the request should have been refused")
    except OMSError as error:
        print(f"  refused: {error}")
    print("\n  The e-mail it caused, as it reached the mail server:")
    (letter,) = world.sink.wait_for(1, MAIL_S)
    print(
        _indent(f"Subject: {letter['Subject']}\nTo: {letter['To']}\n\n{letter.get_content().strip()}", "  | ")
    )


def _history(world: DemoWorld) -> None:
    _say("The history, read from the database with plain SQL")
    with sqlite3.connect(f"file:{world.database}?mode=ro", uri=True) as database:
        queries = database.execute(
            "SELECT query_id, bot, verb, exchange, status, accepted_at FROM queries ORDER BY accepted_at"
        ).fetchall()
        rows = [(*row[:-1], row[-1][:19].replace("T", " ")) for row in queries]
        print(_indent(table(("query", "bot", "verb", "exchange", "status", "accepted at"), rows)))
        orders = database.execute(
            "SELECT exchange, purpose, side, quantity, price, filled_quantity, status FROM orders"
            " ORDER BY timestamp, order_id"
        ).fetchall()
        print(
            "\n"
            + _indent(table(("exchange", "purpose", "side", "quantity", "price", "filled", "status"), orders))
        )


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _indent(text: str, by: str = "  ") -> str:
    return "\n".join(by + line for line in text.splitlines())


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


logging.captureWarnings(True)
os.environ.setdefault("PYTHONUNBUFFERED", "1")
