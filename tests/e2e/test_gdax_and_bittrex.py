"""The first manual's exchanges: gdax is Coinbase Exchange, and bittrex exists on paper."""

from __future__ import annotations

from decimal import Decimal

import pytest

from oms_client import OMSClient
from oms_client.errors import Rejected
from simulator.dialects import LISTED
from tests.e2e.processes import ServerProcess, SimulatorProcess

D = Decimal


def started(tmp_path, *simulators, **environment):
    process = ServerProcess(
        list(simulators), f"sqlite:///{tmp_path / 'oms.sqlite'}", tmp_path / "server.log", unlimited=False
    )
    process.environment = environment
    process.start()
    return process


def held(client, exchange):
    balances = client.get_balances(exchange)["balances"]
    return {currency: D(parts["total"]) for currency, parts in balances.items() if D(parts["total"])}


def test_the_manuals_order_works_verbatim_where_bittrex_and_gdax_are_simulated(tmp_path):
    server = started(tmp_path, OMS_PAPER="bittrex,gdax")
    try:
        client = OMSClient("alice", server.url, "verbatim", True, False, key=server.keys.private)
        for name, soon in (("bittrex", {}), ("gdax", {"time_limit": 4})):
            assert held(client, name) == {"USDT": D(10000), "ETH": D(2), "BTC": D("0.2")}
            result = client.smart_order(name, "USDT", "ETH", 100, **soon)
            assert result.outcome == "done" and D(99) < result.spent <= 100 and result.received > 0
            assert held(client, name) == {
                "USDT": 10000 - result.spent,
                "ETH": 2 + result.received,
                "BTC": D("0.2"),
            }
            fees = client.get_fees(name, symbol="ETH/USDT")["fees"]
            assert [(fee["maker"], fee["taker"]) for fee in fees] == [("0.004", "0.006")]
        past = client.get_past_orders("gdax")["orders"]
        assert past and {order["exchange"] for order in past} == {"coinbaseexchange"}
        # Post-only orders that would have taken are refused, and none is left in doubt.
        assert {order["status"] for order in past} <= {"filled", "canceled", "rejected"}
        with pytest.raises(Rejected) as refused:
            client.smart_order("binance", "USDT", "ETH", 100)
        assert refused.value.code == "EXCHANGE_UNKNOWN"
        assert client.check_health()["ready"] is True
    finally:
        server.stop()


def test_bittrex_is_reached_where_its_simulator_is_and_the_ledgers_agree(tmp_path):
    bittrex = SimulatorProcess(
        "bittrex", tmp_path / "simulator.log", unlimited=False, passphrase="phrase"
    ).start()
    server = started(tmp_path, bittrex)
    try:
        client = OMSClient("alice", server.url, "beside", key=server.keys.private)
        result = client.smart_order("bittrex", "USDT", "ETH", 100, time_limit=4)
        assert result.outcome == "done"
        truth = bittrex.admin("truth")
        theirs = truth["accounts"]["paper"]["balances"]
        assert D(theirs["USDT"]["free"]) == 10000 - result.spent
        assert D(theirs["ETH"]["free"]) == 2 + result.received
        assert truth["imbalance"] == {}
    finally:
        server.stop()
        bittrex.stop()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"BITTREX_TRADE_KEYS": "public,cHJpdmF0ZQ==,phrase"},
            ("oms: BITTREX_TRADE_KEYS: bittrex closed in December 2023", "--paper bittrex=URL"),
        ),
        (
            {"BITTREX_TRADE_KEYS": "public,cHJpdmF0ZQ==,phrase", "OMS_PAPER": "bittrex"},
            ("oms: BITTREX_TRADE_KEYS: bittrex closed in December 2023", "unset it"),
        ),
        (
            {"OMS_PAPER": "kraken,krakn"},
            ("oms: OMS_PAPER: krakn cannot be simulated", ", ".join(sorted(LISTED))),
        ),
        (
            {
                "GDAX_TRADE_KEYS": "public,cHJpdmF0ZQ==,a",
                "COINBASEEXCHANGE_TRADE_KEYS": "public,cHJpdmF0ZQ==,b",
            },
            ("oms: GDAX_TRADE_KEYS: COINBASEEXCHANGE_TRADE_KEYS already gives other keys",),
        ),
        (
            {"GDAX_TRADE_KEYS": "public,cHJpdmF0ZQ=="},
            ("oms: GDAX_TRADE_KEYS: the keys of coinbaseexchange have a passphrase", "<PASSPHRASE>"),
        ),
    ],
    ids=[
        "keys of bittrex",
        "keys of a simulated bittrex",
        "a wrong name",
        "two names, two keys",
        "no passphrase",
    ],
)
def test_what_cannot_be_stops_the_start_with_one_line(tmp_path, environment, words):
    process = ServerProcess(
        [], f"sqlite:///{tmp_path / 'oms.sqlite'}", tmp_path / "server.log", unlimited=False
    )
    process.environment = environment
    process.spawn()
    assert process.process.wait(30) == 2
    lines = [line for line in (tmp_path / "server.log").read_text().splitlines() if line.startswith("oms: ")]
    assert len(lines) == 1
    for part in words:
        assert part in lines[0]
    assert "cHJpdmF0ZQ" not in lines[0]
