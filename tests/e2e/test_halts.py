"""The kill switch over every border: a storm, an exchange that cannot be reached, a file, a dead server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

import app
from oms_client import OMSClient
from oms_client.errors import AuthError, OMSError, OutcomeUnknown
from server.store.sql import SqlStore
from tests.e2e.processes import ROOT, ServerProcess, SimulatorProcess

EXCHANGES = ("binance", "bybit", "kraken")
STORM = 200
PROVEN_S = 60.0


@pytest.fixture
def house(tmp_path):
    simulators = [SimulatorProcess(name, tmp_path / f"{name}.log").start() for name in EXCHANGES]
    server = ServerProcess(simulators, f"sqlite:///{tmp_path / 'oms.sqlite'}", tmp_path / "server.log")
    server.environment = {"OMS_HALT_FILE": str(tmp_path / "HALT")}
    server.start()
    yield server
    server.stop()
    for simulator in simulators:
        simulator.process.send_signal(signal.SIGCONT)
        simulator.stop()


def alice(house):
    return OMSClient("alice", house.url, "bot", key=house.keys.private)


def adam(house):
    return OMSClient("adam", house.url, "desk", key=house.admin.private)


def cli(house, *words, key=None):
    environment = {**os.environ, "OMS_URL": house.url, "OMS_KEY": (key or house.keys).private}
    environment["PYTHONPATH"] = str(ROOT / "client")
    command = [sys.executable, "-m", "oms_client", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def ledger(house):
    """Return what each exchange itself has open."""
    return {simulator.exchange: simulator.admin("orders?open=true") for simulator in house.simulators}


def wait_all_ready(house):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if all(a["readiness"] == "ready" for a in alice(house).check_health()["accounts"]):
            return
        time.sleep(0.2)
    raise AssertionError("not every exchange became ready")


def storm(house, stop, answers):
    """Bots that go on placing resting orders until they are refused for good."""

    def bot(number):
        client = alice(house)
        exchange = EXCHANGES[number % len(EXCHANGES)]
        while not stop.is_set():
            try:
                answers.append(client.limit_order(exchange, "buy", "ETH/USDT", "0.01", "2000"))
            except OMSError as error:
                if "limit exceeded" in (error.venue_message or ""):
                    time.sleep(0.05)  # Kraken keeps so many open orders of a market and no more
                    continue
                answers.append(error)
                if error.code == "TRADING_HALTED":
                    return

    bots = [threading.Thread(target=bot, args=(number,)) for number in range(6)]
    for one in bots:
        one.start()
    return bots


def brew(house):
    """Return once as many orders as the story needs rest at the exchanges, with the bots still placing."""
    wait_all_ready(house)
    stop, answers = threading.Event(), []
    bots = storm(house, stop, answers)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and sum(map(len, ledger(house).values())) < STORM:
        time.sleep(0.2)
    placed = sum(map(len, ledger(house).values()))
    if placed < STORM:
        stop.set()
    assert placed >= STORM, [str(a) for a in answers if isinstance(a, OMSError)][:3]
    return bots, stop, answers


@pytest.mark.timeout(300)
def test_halt_all_in_a_storm_leaves_nothing_open_by_the_exchanges_own_ledgers_and_says_so(house):
    bots, stop, answers = brew(house)
    assert all(ledger(house).values()), "every exchange has a part in it"
    done = cli(house, "halt", "--all", "--reason", "prices look wrong", "--json", "--timeout", str(PROVEN_S))
    stop.set()
    for bot in bots:
        bot.join(60)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["flat"] is True
    assert {row["exchange"]: row["state"] for row in report["accounts"]} == dict.fromkeys(EXCHANGES, "flat")
    assert sum(len(row["canceled"]) for row in report["accounts"]) >= STORM
    assert ledger(house) == {name: [] for name in EXCHANGES}
    halted = [a for a in answers if isinstance(a, OMSError)]
    assert halted and {a.code for a in halted} == {"TRADING_HALTED"}
    time.sleep(3)  # and it stays so
    assert ledger(house) == {name: [] for name in EXCHANGES}
    shown = cli(house, "halt", "--status")
    assert "HALTED everything, flat, by alice" in shown.stdout and "prices look wrong" in shown.stdout
    # A kill and a start later it still stands; only an admin lifts it.
    house.kill()
    house.start()
    wait_all_ready(house)
    with pytest.raises(OMSError) as refused:
        alice(house).limit_order("binance", "buy", "ETH/USDT", "0.01", "2000")
    assert refused.value.code == "TRADING_HALTED" and refused.value.http_status == 423
    with pytest.raises(AuthError):
        alice(house).resume(report["halt_id"])
    # What reduces and does not rest passes for an admin, and for nobody else.
    way_out = {"order_type": "market", "quantity": "0.05", "reduce_only": True}
    for exchange in EXCHANGES:
        with pytest.raises(OMSError, match="TRADING_HALTED"):
            alice(house).order(exchange, "sell", "ETH/USDT", **way_out)
        assert adam(house).order(exchange, "sell", "ETH/USDT", **way_out).status == "filled"
    assert ledger(house) == {name: [] for name in EXCHANGES}
    lifted = cli(house, "resume", report["halt_id"], key=house.admin)
    assert lifted.returncode == 0 and "resumed: everything" in lifted.stdout
    order = alice(house).limit_order("binance", "buy", "ETH/USDT", "0.01", "2000")
    assert order.status == "submitted"


@pytest.mark.timeout(300)
def test_an_exchange_that_cannot_be_reached_is_reported_and_retried_until_it_is_proven_flat(house):
    bots, stop, _ = brew(house)
    desk = adam(house)
    desk.set_notification_rule("halts", "in_app", events=["halt"], suppress_s=0)
    mute = next(s for s in house.simulators if s.exchange == "kraken")
    mute.process.send_signal(signal.SIGSTOP)
    with pytest.raises(OutcomeUnknown) as unproven:
        alice(house).halt(all=True, timeout=25)
    stop.set()
    report = unproven.value.query.result
    states = {row["exchange"]: row["state"] for row in report["accounts"]}
    assert states == {"binance": "flat", "bybit": "flat", "kraken": "unreachable"}
    assert report["flat"] is False
    shown = cli(house, "halt", "--status")
    assert "NOT PROVEN FLAT" in shown.stdout and "unreachable" in shown.stdout
    mute.process.send_signal(signal.SIGCONT)
    finished = alice(house).wait(unproven.value.query_id, timeout=120)
    for bot in bots:
        bot.join(60)
    assert finished.result["flat"] is True
    assert ledger(house) == {name: [] for name in EXCHANGES}
    (halt,) = desk.get_halts()["halts"]
    assert halt["in_force"] and halt["report"]["flat"]
    assert {row["exchange"]: row["state"] for row in halt["report"]["accounts"]} == dict.fromkeys(
        EXCHANGES, "flat"
    )
    deadline, told = time.monotonic() + 20, []
    while not any(subject.startswith("flat") for subject in told) and time.monotonic() < deadline:
        told = [one.subject for one in desk.get_notifications(wait_s=1).notifications][::-1]
    assert [subject.partition(":")[0] for subject in told] == [
        "trading is halted",
        "kraken/default cannot be reached and is not proven flat",
        "flat",
    ]


SCOPES = {
    "--all": "everything",
    "--exchange kraken": "exchange kraken",
    "--exchange bybit --account default": "exchange bybit, account default",
    "--user mallory": "user mallory",
    "--symbol ETH/USDT": "symbol ETH/USDT",
    "--user mallory --symbol ETH/USDT --exchange kraken": "exchange kraken, user mallory, symbol ETH/USDT",
}


def test_the_command_halts_everything_an_exchange_an_account_a_user_or_a_symbol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def halt(words):
        monkeypatch.setenv(
            "DB_URL", f"sqlite:///{tmp_path / 'oms.sqlite'}"
        )  # it is taken out of it when read
        monkeypatch.setenv("OMS_PAPER", ",".join(EXCHANGES))
        return app.main(["halt", *words.split()])

    assert [halt(words) for words in SCOPES] == [0] * len(SCOPES)
    assert halt("--exchange okx") == 2, "it would halt nothing"
    assert halt("") == 2
    store = SqlStore(f"sqlite:///{tmp_path / 'oms.sqlite'}")
    begun = store.load(ended_since=datetime.now(UTC), now=datetime.now(UTC)).halts
    assert sorted(halt.where for halt in begun) == sorted(SCOPES.values())
    store.close()


@pytest.mark.timeout(300)
def test_halted_by_file_and_by_command_while_the_server_is_dead(house, tmp_path):
    wait_all_ready(house)
    client = alice(house)
    client.limit_order("binance", "buy", "ETH/USDT", "0.01", "2000")
    (tmp_path / "HALT").write_text("the desk is on fire\n")
    began = time.monotonic()
    while not client.get_halts()["halts"]:
        assert time.monotonic() - began < 5
        time.sleep(0.05)
    (halt,) = client.get_halts()["halts"]
    assert (halt["source"], halt["reason"], halt["where"]) == ("file", "the desk is on fire", "everything")
    deadline = time.monotonic() + PROVEN_S
    while not client.get_halts()["halts"][0]["report"]["flat"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ledger(house)["binance"] == []
    with pytest.raises(OMSError, match="the file"):
        adam(house).resume(halt["halt_id"])
    (tmp_path / "HALT").unlink()
    time.sleep(1.5)
    assert client.get_halts()["halts"][0]["in_force"], "its absence lifts nothing"
    adam(house).resume(halt["halt_id"])
    client.limit_order("bybit", "buy", "ETH/USDT", "0.01", "2000")

    command = [sys.executable, "app.py", "halt", "--exchange", "bybit", "--reason", "server down"]
    environment = {**os.environ, "DB_URL": house.db_url, "OMS_PAPER": ",".join(EXCHANGES)}
    running = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert running.returncode == 2 and "oms halt" in running.stderr
    house.kill()
    assert len(ledger(house)["bybit"]) == 1
    dead = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert dead.returncode == 0, dead.stderr
    house.start()
    deadline = time.monotonic() + PROVEN_S
    while not (client.get_halts()["halts"][0]["report"] or {}).get("flat"):
        assert time.monotonic() < deadline, client.get_halts()
        time.sleep(0.2)
    assert ledger(house)["bybit"] == []
    wait_all_ready(house)
    with pytest.raises(OMSError) as refused:
        client.limit_order("bybit", "buy", "ETH/USDT", "0.01", "2000")
    assert refused.value.code == "TRADING_HALTED" and "server down" in refused.value.message
    assert client.limit_order("binance", "buy", "ETH/USDT", "0.01", "2000").status == "submitted"
