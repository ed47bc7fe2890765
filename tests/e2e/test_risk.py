"""The risk controls over every border: refused with code, limit and value; set by those who may; kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from decimal import Decimal

import pytest

from oms_client import OMSClient
from oms_client.errors import AuthError, OMSError, RateLimited
from tests.e2e.processes import ROOT, ServerProcess, SimulatorProcess

EXCHANGES = ("binance", "kraken")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("risk")
    simulators = [SimulatorProcess(name, folder / f"{name}.log").start() for name in EXCHANGES]
    server = ServerProcess(
        simulators, f"sqlite:///{folder / 'oms.sqlite'}", folder / "server.log", limited=True
    )
    server.start()
    yield server
    server.stop()
    for simulator in simulators:
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


def wait_all_ready(house):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if all(a["readiness"] == "ready" for a in alice(house).check_health()["accounts"]):
            return
        time.sleep(0.2)
    raise AssertionError("not every exchange became ready")


def mid(house, exchange):
    """Return about what ETH costs: what a collar that lets nothing pass says."""
    with pytest.raises(OMSError) as refused:
        alice(house).limit_order(exchange, "buy", "ETH/USDT", "1", "1000")
    assert refused.value.code == "PRICE_COLLAR", refused.value
    return Decimal(refused.value.details["reference"])


def near(price, share):
    return str((price * Decimal(share)).quantize(Decimal("0.1")))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_order_is_refused_by_name_limit_and_value_and_nothing_reaches_the_exchange(house, exchange):
    wait_all_ready(house)
    client, price = alice(house), mid(house, exchange)
    simulator = next(s for s in house.simulators if s.exchange == exchange)
    before = len(simulator.admin("orders"))
    client.set_limit("max_order_value", 5000, user="alice", exchange=exchange)
    with pytest.raises(OMSError) as refused:
        client.limit_order(exchange, "buy", "ETH/USDT", "3", near(price, "1.1"))
    adam(house).set_limit("max_order_value", "default", user="alice", exchange=exchange)
    error = refused.value
    assert (error.code, error.http_status) == ("PRICE_COLLAR", 422)
    assert error.details["setting"] == "price_collar" and error.details["limit"] == "5"
    assert Decimal(error.details["value"]) > 5
    codes = [p["code"] for p in error.details["problems"]]
    assert codes[:2] == ["PRICE_COLLAR", "NOTIONAL_EXCEEDS_MAX_PER_ORDER"]
    assert len(simulator.admin("orders")) == before
    order = client.limit_order(exchange, "buy", "ETH/USDT", "0.02", near(price, "0.97"))
    assert order.status == "submitted"
    with pytest.raises(OMSError) as again:
        client.limit_order(exchange, "buy", "ETH/USDT", "0.02", near(price, "0.97"))
    assert (again.value.code, again.value.http_status) == ("DUPLICATE_SUSPECTED", 409)
    twin = client.limit_order(exchange, "buy", "ETH/USDT", "0.02", near(price, "0.97"), allow_duplicate=True)
    assert twin.status == "submitted"
    rows = {(r["setting"], r["scope"]): r for r in client.get_risk()["limits"]}
    used = rows["credit_limit", f"user alice, exchange {exchange}"]
    assert Decimal(used["used"]) == 2 * Decimal("0.02") * Decimal(near(price, "0.97"))
    assert client.cancel_all_orders(exchange)["canceled"]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_market_order_reaches_the_exchange_as_a_limit_at_the_bound(house, exchange):
    wait_all_ready(house)
    client, price = alice(house), mid(house, exchange)
    order = client.market_order(exchange, "buy", "ETH/USDT", "0.021")
    assert (order.status, order.order_type, order.price) == ("filled", "market", None)
    assert price < order.protection_price <= price * Decimal("1.015")
    assert order.average_price <= order.protection_price
    simulator = next(s for s in house.simulators if s.exchange == exchange)
    (there,) = [o for o in simulator.admin("orders") if o["client_order_id"] == order.client_order_id]
    assert Decimal(there["price"]) == order.protection_price
    with pytest.raises(OMSError) as refused:
        client.market_order(exchange, "buy", "ETH/USDT", "2000")
    codes = [p["code"] for p in refused.value.details.get("problems", [])] or [refused.value.code]
    assert "FUNDS_INSUFFICIENT" in codes


@pytest.mark.timeout(180)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_loss_that_is_limited_is_the_one_that_get_pnl_tells(house, exchange):
    wait_all_ready(house)
    client = adam(house)
    client.set_limit("daily_loss", 100000, user="adam", exchange=exchange)
    client.market_order(exchange, "buy", "ETH/USDT", "0.021")
    client.market_order(exchange, "sell", "ETH/USDT", "0.033")  # more than was bought: none of it is left
    earned = client.get_pnl(exchange=exchange)["total"]
    rows = {(r["setting"], r["scope"]): r for r in client.get_risk()["limits"]}
    used = Decimal(rows["daily_loss", f"user adam, exchange {exchange}"]["used"])
    assert used > 0 and abs(used + Decimal(earned["pnl"])) <= Decimal("1e-8")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_order_is_measured_against_what_the_exchange_says_was_traded(house, exchange):
    wait_all_ready(house)
    simulator = next(s for s in house.simulators if s.exchange == exchange)
    simulator.admin("day", {"symbol": "BTC/USDT", "volume": "0.1", "low": "10000", "high": "90000"})
    alice(house).set_limit("max_volume_share", "0.0001", user="alice", symbol="BTC/USDT")
    with pytest.raises(OMSError) as refused:
        alice(house).limit_order(exchange, "buy", "BTC/USDT", "0.5", "15000")
    adam(house).set_limit("max_volume_share", "default", user="alice", symbol="BTC/USDT")
    found = {problem["setting"]: problem for problem in refused.value.details["problems"]}
    assert found["price_collar_volatile"]["limit"] == "10", "the day ranged by 800 %"
    assert found["max_volume_share"]["code"] == "QUANTITY_EXCEEDS_MAXIMUM"
    assert Decimal(found["max_volume_share"]["most"]) < Decimal("0.5")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_smart_order_without_room_is_refused_whole_and_the_amount_it_names_is_done(house, exchange):
    wait_all_ready(house)
    client = alice(house)
    rows = {(r["setting"], r["scope"]): r for r in client.get_risk()["limits"]}
    used = Decimal(rows.get(("credit_limit", f"user alice, exchange {exchange}"), {"used": 0})["used"])
    client.set_limit("credit_limit", str(used + 400), user="alice", exchange=exchange)
    simulator = next(s for s in house.simulators if s.exchange == exchange)
    before = len(simulator.admin("orders"))
    with pytest.raises(OMSError) as refused:
        client.smart_order(exchange, "USDT", "ETH", 1000, algo="market", time_limit=20)
    error = refused.value
    assert (error.code, error.details["field"]) == ("CREDIT_LIMIT", "start_amount")
    assert len(simulator.admin("orders")) == before, "not a part of it was sent"
    most = error.details["most"]
    assert 390 < Decimal(most) <= 400
    assert client.smart_order(exchange, "USDT", "ETH", most, algo="market", time_limit=20).outcome == "done"
    adam(house).set_limit("credit_limit", "default", user="alice", exchange=exchange)


@pytest.mark.timeout(180)
def test_who_may_set_what_and_that_a_restart_keeps_it(house):
    wait_all_ready(house)
    client, price = alice(house), mid(house, "binance")
    with pytest.raises(AuthError):
        client.set_limit("credit_limit", 200000, user="alice", exchange="binance")
    with pytest.raises(AuthError):
        client.set_limit("max_order_value", 1)
    done = client.set_limit(
        "max_open_orders_per_symbol", 1, user="alice", symbol="ETH/USDT", reason="a drill"
    )
    assert (done.old, done.new, done.loosened) == ("default", "1", False)
    first = client.limit_order("binance", "buy", "ETH/USDT", "0.02", near(price, "0.98"))

    def refused():
        with pytest.raises(OMSError) as error:
            alice(house).limit_order("binance", "buy", "ETH/USDT", "0.03", near(price, "0.98"))
        return error.value

    assert refused().code == "MAX_OPEN_ORDERS"
    house.kill()
    house.start()
    wait_all_ready(house)
    error = refused()
    assert error.code == "MAX_OPEN_ORDERS" and error.details["scope"] == "user alice, symbol ETH/USDT"
    told = cli(house, "limits")
    assert told.returncode == 0 and "a drill" in told.stdout and "MAX_OPEN_ORDERS" in told.stdout
    assert "max_open_orders_per_symbol" in cli(house, "risk").stdout
    lifted = cli(
        house,
        *("set-limit", "max_open_orders_per_symbol", "default", "--user", "alice", "--symbol", "ETH/USDT"),
        key=house.admin,
    )
    assert lifted.returncode == 0 and "1 -> default" in lifted.stdout, lifted.stderr
    client = alice(house)
    second = client.limit_order("binance", "buy", "ETH/USDT", "0.03", near(price, "0.98"))
    for order in (first, second):
        client.cancel_order(order.order_id)
    changes = client.get_limits()["changes"]
    changes = [c for c in changes if c["setting"] == "max_open_orders_per_symbol"]
    assert [(c["old"], c["new"], c["set_by"]) for c in changes] == [
        ("1", "default", "adam"),
        ("default", "1", "alice"),
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_smart_order_keeps_within_the_size_of_one_order(house, exchange):
    wait_all_ready(house)
    client = alice(house)
    client.set_limit("max_order_value", 400, user="alice", exchange=exchange)
    result = client.smart_order(exchange, "USDT", "ETH", 1000, algo="market", time_limit=20)
    assert result.outcome == "done"
    simulator = next(s for s in house.simulators if s.exchange == exchange)
    big = [o for o in simulator.admin("orders") if Decimal(o["quantity"]) * Decimal(o["price"] or 0) > 401]
    assert big == []
    adam(house).set_limit("max_order_value", "default", user="alice", exchange=exchange)


@pytest.mark.timeout(180)
def test_new_orders_are_throttled_and_the_client_waits_by_itself(house):
    wait_all_ready(house)
    client, price = alice(house), mid(house, "kraken")
    started = time.monotonic()
    for number in range(14):
        client.limit_order(
            "kraken", "buy", "ETH/USDT", f"0.02{number:02d}", near(price, "0.98"), time_in_force="IOC"
        )
    assert time.monotonic() - started < 60
    client.set_limit("orders_per_minute", 1, user="alice")
    patient = OMSClient("alice", house.url, "bot", key=house.keys.private, max_retries=0)
    with pytest.raises(RateLimited) as refused:
        patient.limit_order("kraken", "buy", "ETH/USDT", "0.05", near(price, "0.98"))
    assert refused.value.code == "RATE_LIMIT_EXCEEDED"
    adam(house).set_limit("orders_per_minute", "default", user="alice")
