"""Days over HTTP, on two exchanges: a server is down over midnight, and tells afterwards what was earned."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from oms_client import OMSClient, signing
from oms_client.cli import main
from oms_client.errors import OMSError
from tests.e2e.processes import ServerProcess, SimulatorProcess

D = Decimal
EXCHANGES = ("binance", "kraken")
BOB = signing.generate_keys()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("days")
    simulators = [SimulatorProcess(name, folder / f"{name}.log").start() for name in EXCHANGES]
    server = ServerProcess(simulators, f"sqlite:///{folder / 'oms.sqlite'}", folder / "server.log")
    keys = f"alice,{server.keys.public};bob,{BOB.public};adam,{server.admin.public},admin"
    server.environment = {"OMS_KEYS": keys}
    server.start()
    yield server
    server.stop()
    for simulator in simulators:
        simulator.stop()


def client(house: ServerProcess, bot: str = "maker") -> OMSClient:
    return OMSClient("alice", house.url, bot, key=house.keys.private)


def taken(house: ServerProcess, count: int, **asked: str) -> list:
    deadline = time.monotonic() + 20
    while len(found := client(house).get_snapshots(**asked).snapshots) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def a_day_passes(house: ServerProcess) -> None:
    """Move what the ledger says of today's snapshot to yesterday: the next start is on the day after."""
    with sqlite3.connect(house.db_url.removeprefix("sqlite:///")) as connection:
        day, at = connection.execute("select max(day), max(taken_at) from snapshot_days").fetchone()
        before = date.fromisoformat(day) - timedelta(days=1)
        earlier = (datetime.fromisoformat(at) - timedelta(days=1)).isoformat(timespec="microseconds")
        for table in ("snapshot_days", "snapshots"):
            connection.execute(f"update {table} set day = ? where day = ?", (before.isoformat(), day))
        connection.execute("update snapshot_days set taken_at = ? where taken_at = ?", (earlier, at))


def fills(house: ServerProcess) -> list[tuple[Decimal, Decimal]]:
    with sqlite3.connect(house.db_url.removeprefix("sqlite:///")) as connection:
        rows = connection.execute("select realised, fee_cost from fills").fetchall()
    return [(D(realised), D(fee)) for realised, fee in rows]


def test_a_midnight_that_the_server_slept_through_is_made_up_for(house: ServerProcess, capsys) -> None:
    (first,) = taken(house, 1)
    assert first.positions == [] and first.change is None and first.total.pnl == 0
    for exchange in EXCHANGES:
        client(house).market_order(exchange, "buy", "ETH/USDT", "0.3")
        client(house, "taker").market_order(exchange, "sell", "ETH/USDT", "0.1")
    house.kill()
    a_day_passes(house)
    house.start()

    now, then = taken(house, 2)
    traded = fills(house)
    assert now.day > then.day and now.booking == len(traded) and then.positions == []
    assert (now.change.realised, now.change.fees) == (
        sum(realised for realised, _ in traded),
        sum(fee for _, fee in traded),
    )
    assert now.change.pnl == now.change.realised - now.change.fees + now.change.price_change
    assert now.change.pnl == now.total.value - now.change.brought_in and now.change.unpriced == []
    assert {(p.exchange, p.asset) for p in now.positions if p.quantity} == {
        (exchange, asset) for exchange in EXCHANGES for asset in ("ETH", "USDT")
    }
    (kraken, _) = taken(house, 2, exchange="kraken", bot="maker")
    assert {(p.exchange, p.bot) for p in kraken.positions} == {("kraken", "maker")}

    client(house).market_order("kraken", "sell", "ETH/USDT", "0.05")  # changes nothing of what was taken
    page = client(house).get_snapshots(limit=1)
    assert [one.day for one in page.snapshots] == [now.day] and page.snapshots[0] == now
    older = client(house).get_snapshots(limit=1, cursor=page.next_cursor)
    assert [one.day for one in older.snapshots] == [then.day] and older.next_cursor is None

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMS_KEY", house.keys.private)
        assert main(["snapshots", "--url", house.url]) == 0
    assert now.day in (shown := capsys.readouterr().out) and "EARNED SINCE" in shown


def test_nobody_sees_the_days_and_books_of_another(house: ServerProcess) -> None:
    """Not even an admin: positions and what they earned are their owner's alone. Slices an admin sees, who
    sets them."""
    bob = OMSClient("bob", house.url, "maker", key=BOB.private)
    adam = OMSClient("adam", house.url, "maker", key=house.admin.private)
    adam.set_slice("saver", "kraken", {"USDT": "10"}, of_user="alice")
    theirs = client(house).get_past_orders().orders[0].order_id
    for other in (bob, adam):
        days = other.get_snapshots(bot="maker").snapshots
        assert days and all(one.positions == [] and one.total.value == 0 for one in days)
        assert other.get_portfolio().positions == [] and other.get_pnl().total.fills == 0
        assert other.get_past_orders().orders == [] and other.get_notifications().notifications == []
        with pytest.raises(OMSError) as no:
            other.get_order(theirs)
        assert no.value.code == "ORDER_NOT_FOUND"
    assert [one.of_bot for one in client(house).get_slices().slices] == ["saver"]
    assert bob.get_slices().slices == []
    assert [(one.user, one.of_bot) for one in adam.get_slices().slices] == [("alice", "saver")]
