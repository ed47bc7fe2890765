"""The server as a process: killed, stopped, started twice."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from oms_client import OMSClient
from oms_client.errors import OMSError
from tests.e2e.kills import run_kills
from tests.e2e.processes import ROOT, ServerProcess, SimulatorProcess

KILLS = 4


@pytest.mark.timeout(300)
def test_killed_again_and_again_nothing_is_lost_or_doubled(any_db_url, tmp_path):
    verdict = run_kills(KILLS, any_db_url, tmp_path, report=lambda line: None)
    assert (verdict.kills, verdict.lost, verdict.duplicates) == (KILLS, [], [])
    assert verdict.orders > KILLS and verdict.fills > 0, "nothing was at stake"
    assert verdict.many_exchanges > 0 and verdict.resumed > 0, verdict.told()


@pytest.fixture
def server(tmp_path):
    simulator = SimulatorProcess("binance", tmp_path / "binance.log").start()
    process = ServerProcess([simulator], f"sqlite:///{tmp_path / 'oms.sqlite'}", tmp_path / "server.log")
    process.start()
    yield process
    process.stop()
    simulator.stop()


def test_sigterm_stops_at_once_and_the_next_start_takes_the_order_up(server):
    client = OMSClient("alice", server.url, "bot", key=server.keys.private)
    order = client.limit_order("binance", "buy", "ETH/USDT", "0.01", "2000")
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 15
    server.start()
    deadline = time.monotonic() + 20
    while client.get_order(order.order_id).status != "submitted" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert client.cancel_all_orders()["canceled"] == [order.order_id]


# --- Mistakes of our own, put into the running server (R19)

MISTAKES = """
from pathlib import Path
from ems.engine.submissions import Submissions
from ems.engine.switchboard import Engine

marker = Path({marker!r})
balances, submit = Engine._balances, Submissions.submit


def broken_balances(self, account, report, now):
    assert account.exchange != "kraken" or not marker.exists(), "a promise is broken"
    balances(self, account, report, now)


def broken_submit(self, event, now, *, patient):
    assert event.ticket.bot != "poison", "a promise is broken"
    submit(self, event, now, patient=patient)


Engine._balances, Submissions.submit = broken_balances, broken_submit
"""


@pytest.fixture
def fragile(tmp_path):
    """Give a server that breaks over Kraken's balances once the marker is there, and over a bot "poison"."""
    (tmp_path / "sitecustomize.py").write_text(MISTAKES.format(marker=str(tmp_path / "marker")))
    simulators = [SimulatorProcess(name, tmp_path / f"{name}.log").start() for name in ("binance", "kraken")]
    process = ServerProcess(simulators, f"sqlite:///{tmp_path / 'oms.sqlite'}", tmp_path / "server.log")
    process.environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    process.start()
    yield process
    process.stop()
    for simulator in simulators:
        simulator.stop()


@pytest.mark.timeout(180)
def test_an_account_that_breaks_the_engine_is_left_out_and_the_rest_goes_on_in_the_same_process(
    fragile, tmp_path: Path
):
    client = OMSClient("alice", fragile.url, "bot", key=fragile.keys.private)
    resting = client.limit_order("binance", "buy", "ETH/USDT", "0.01", "2000")
    left_alone = client.limit_order("kraken", "buy", "ETH/USDT", "0.01", "2000")
    sold = client.smart_order("binance", "ETH", "USDT", "0.5", algo="twap", time_limit=12, wait=False)
    (tmp_path / "marker").touch()
    with contextlib.suppress(OMSError):  # the engine looks at Kraken's balances, and breaks
        client.smart_order("kraken", "USDT", "ETH", "50", time_limit=2, wait=False)

    def kraken() -> dict[str, object]:
        (found,) = (a for a in client.check_health()["accounts"] if a["exchange"] == "kraken")
        return found

    deadline = time.monotonic() + 90
    while "frozen" not in str(kraken()):
        assert time.monotonic() < deadline, kraken()
        time.sleep(0.2)
    assert fragile.process.poll() is None, "the same process"
    result = client.wait(sold.query_id, 60)
    assert result.status == "done"
    assert client.get_order(resting.order_id).status == "submitted"
    with pytest.raises(OMSError) as refused:
        client.smart_order("kraken", "USDT", "ETH", "50", time_limit=2)
    assert "frozen" in str(refused.value)
    with pytest.raises(OMSError) as unread:
        client.get_balances("kraken")
    assert "frozen" in str(unread.value)
    other = OMSClient("alice", fragile.url, "other", key=fragile.keys.private)
    threading.Thread(target=other.cancel_order, args=[left_alone.order_id], daemon=True).start()
    while "POST /api/cancel_order 202" not in fragile.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert client.get_balances("binance") and fragile.process.poll() is None
    assert client.get_order(left_alone.order_id).status == "submitted", "it goes nowhere, and breaks nothing"
    assert fragile.log.read_text().count("an internal error stops the engine") == 2
    theirs = fragile.simulators[0].admin("orders?account=paper")
    names = [order["client_order_id"] for order in theirs]
    assert len(names) == len(set(names)) and sum(o["status"] == "submitted" for o in theirs) == 1
    assert fragile.stop() == 0, "told to stop, it stops"


@pytest.mark.timeout(180)
def test_a_request_that_breaks_every_fresh_engine_ends_the_process(fragile):
    poison = OMSClient("alice", fragile.url, "poison", key=fragile.keys.private)
    over = threading.Event()

    def ask() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            with contextlib.suppress(OMSError):
                poison.limit_order("binance", "buy", "ETH/USDT", "0.01", "2000", idempotency_key=f"p{turn}")
            time.sleep(0.1)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        assert fragile.process.wait(120) == 70
    finally:
        over.set()
    assert fragile.log.read_text().count("an internal error stops the engine") == 3
    assert fragile.simulators[0].admin("orders?account=paper") == [], "nothing of it was sent"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OMS_KEYS", "alice"),
        ("OMS_PORT", "99999"),
        ("DB_URL", "mysql://x"),
        ("RECEIVE_EMAILS", "me@example.com"),
        ("OMS_HOST", "0.0.0.0"),
    ],
)
def test_a_wrong_variable_stops_the_start_with_one_line_that_names_it(tmp_path, variable, value):
    process = ServerProcess([], f"sqlite:///{tmp_path / 'oms.sqlite'}", tmp_path / "server.log")
    process.environment = {variable: value}
    process.spawn()
    assert process.process.wait(30) == 2
    (line,) = (tmp_path / "server.log").read_text().strip().splitlines()[-1:]
    assert line.startswith("oms: ") and (variable in line or variable == "OMS_HOST")


def test_paper_never_runs_beside_live_keys(tmp_path):
    process = ServerProcess([], f"sqlite:///{tmp_path / 'oms.sqlite'}", tmp_path / "server.log")
    process.environment = {"KRAKEN_TRADE_KEYS": "public,cHJpdmF0ZQ==", "BINANCE_TRADE_KEYS": "public,private"}
    process.arguments = ["--paper", "binance=http://127.0.0.1:1"]
    process.spawn()
    assert process.process.wait(30) == 2
    (line,) = (tmp_path / "server.log").read_text().strip().splitlines()[-1:]
    assert line.startswith("oms: KRAKEN_TRADE_KEYS") and "live" in line
