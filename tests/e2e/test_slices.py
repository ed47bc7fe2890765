"""Bots' slices over HTTP, on two exchanges: what each sees, spends, cancels, liquidates and has earned."""

from __future__ import annotations

from decimal import Decimal

import pytest

from oms_client import OMSClient, signing
from oms_client.errors import AuthError, OMSError
from tests.e2e.processes import ServerProcess, SimulatorProcess

D = Decimal
EXCHANGES = ("binance", "kraken")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    simulators = [SimulatorProcess(name, folder / f"{name}.log").start() for name in EXCHANGES]
    server = ServerProcess(simulators, f"sqlite:///{folder / 'oms.sqlite'}", folder / "server.log")
    admin = signing.generate_keys()
    server.environment = {
        "OMS_KEYS": f"alice,{server.keys.public};adam,{admin.public},admin",
        "OMS_HALT_FILE": str(folder / "HALT"),
    }
    server.admin = admin  # type: ignore[attr-defined]
    server.start()
    yield server
    server.stop()
    for simulator in simulators:
        simulator.stop()


def bot(house, name: str) -> OMSClient:
    return OMSClient("alice", house.url, name, key=house.keys.private)


def adam(house) -> OMSClient:
    return OMSClient("adam", house.url, "desk", key=house.admin.private)


def refused(ask) -> str:
    with pytest.raises(OMSError) as told:
        ask()
    return told.value.code


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_bot_with_a_slice_sees_and_moves_its_own_only(house, exchange: str) -> None:
    own, free = bot(house, f"own-{exchange}"), bot(house, f"free-{exchange}")
    with pytest.raises(AuthError):
        own.set_slice(own.bot_name, exchange, {"USDT": "3000"})
    told = adam(house).set_slice(own.bot_name, exchange, {"USDT": "3000", "ETH": "0.5"}, of_user="alice")
    assert told.in_force and told.amounts == {"USDT": 3000, "ETH": D("0.5")}
    seen = own.get_balances(exchange)
    assert (seen.total("USDT"), seen.total("ETH"), seen.total("BTC")) == (3000, D("0.5"), 0)
    assert free.get_balances(exchange).total("USDT") == 10000

    # Neither spends what is the other's.
    assert refused(lambda: own.limit_order(exchange, "buy", "ETH/USDT", "2", "2000")) == "FUNDS_INSUFFICIENT"
    assert refused(lambda: free.limit_order(exchange, "buy", "ETH/USDT", "4", "2000")) == "FUNDS_INSUFFICIENT"
    theirs = free.limit_order(exchange, "buy", "ETH/USDT", "0.1", "2000")
    ours = own.limit_order(exchange, "buy", "ETH/USDT", "0.1", "2000")
    assert own.get_balances(exchange).free("USDT") < 3000
    canceled = own.cancel_all_orders(exchange, scope="user")
    assert canceled.canceled == [ours.order_id]
    assert free.get_order(theirs.order_id).status == "submitted"
    free.cancel_all_orders(exchange)

    # Fills move it, fees and all; the others' trading does not.
    bought = own.market_order(exchange, "buy", "BTC/USDT", "0.01")
    free.market_order(exchange, "buy", "BTC/USDT", "0.02")
    paid = sum((f.price * f.quantity for f in bought.fills), D(0))
    fees = bought.fees
    seen = own.get_balances(exchange)
    assert seen.total("USDT") == 3000 - paid - fees.get("USDT", D(0))
    assert seen.total("BTC") == D("0.01") - fees.get("BTC", D(0))

    # P&L and portfolio are its own, unless it names another.
    mine = own.get_portfolio(exchange)
    assert set(mine.by_bot) == {own.bot_name} and set(free.get_portfolio(exchange).by_bot) == {
        own.bot_name,
        free.bot_name,
    }
    assert own.get_pnl(exchange=exchange).total.fills == len(bought.fills)

    # It turns its own into money, and leaves the rest alone.
    result = own.liquidate(exchange, "USDT", time_limit=8)
    assert result["outcome"] in ("done", "partial"), result
    left = own.get_balances(exchange)
    assert left.total("ETH") < D("0.01") and left.total("BTC") < D("0.0005")
    assert free.get_balances(exchange).total("ETH") >= D("1.49")

    listed = adam(house).get_slices()
    (row,) = [one for one in listed.slices if one.of_bot == own.bot_name]
    assert row.amounts["USDT"] == left.total("USDT")
    (account,) = [one for one in listed.accounts if one.exchange == exchange]
    assert account.missing == {} and account.sliced["USDT"] == row.amounts["USDT"]


def test_slices_are_there_after_a_kill(house) -> None:
    before = adam(house).get_slices()
    assert len(before.slices) == len(EXCHANGES)
    house.kill()
    house.start()
    after = adam(house).get_slices()
    assert [(s.of_bot, s.amounts) for s in after.slices] == [(s.of_bot, s.amounts) for s in before.slices]
    for exchange in EXCHANGES:
        assert refused(
            lambda e=exchange: bot(house, "greedy").limit_order(e, "buy", "ETH/USDT", "4.5", "2000")
        ) == ("FUNDS_INSUFFICIENT")
        told = adam(house).set_slice(f"own-{exchange}", exchange, {}, of_user="alice")
        assert not told.in_force
    assert adam(house).get_slices().slices == []
