"""The server as a process: killed, stopped, started twice."""

from __future__ import annotations

import time

import pytest

from oms_client import OMSClient
from tests.e2e.kills import run_kills
from tests.e2e.processes import ServerProcess, SimulatorProcess

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


def test_a_second_server_on_the_same_database_refuses_to_start(server, tmp_path):
    second = ServerProcess(server.simulators, server.db_url, tmp_path / "second.log")
    second.spawn()
    assert second.process.wait(30) == 2
    (line,) = (tmp_path / "second.log").read_text().strip().splitlines()[-1:]
    assert line.startswith("oms: ") and str(server.process.pid) in line


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
