"""Balances compared with the exchange's over HTTP, on two exchanges: agreed, explained by a deposit, told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

import app
import demo
from ems.core import reconcile
from ems.core.messages import QueryBalances
from ems.engine import reconciliation
from tests.limits import without_limits

D = Decimal
EXCHANGES = ("binance", "kraken")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.DemoWorld]:
    opened = demo.open_world(app, tmp_path_factory.mktemp("compared"), names=(*EXCHANGES, "okx"))
    without_limits(opened)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge within seconds what is otherwise judged with a minute's hindsight."""
    monkeypatch.setattr(reconciliation, "HINDSIGHT", timedelta(0))
    for module in (reconciliation, reconcile):
        monkeypatch.setattr(module, "SLACK", timedelta(seconds=1))


def ledger(world: demo.DemoWorld, exchange: str) -> dict:
    health = world.client("health").check_health()
    return next(row["ledger"] for row in health["accounts"] if row["exchange"] == exchange)


def until(world: demo.DemoWorld, exchange: str, holds: Callable[[dict], object]) -> dict:
    """Have the balances read again and again, until the comparison is as wanted."""
    server = world.server
    gateway = server.gateways[exchange, "default"]
    deadline = time.monotonic() + 30
    while not holds(found := ledger(world, exchange)):
        assert time.monotonic() < deadline, found
        server.loop.call(lambda: gateway.send(QueryBalances()))
        time.sleep(0.2)
    return found


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_account_is_compared_and_what_nothing_explains_is_told(
    world: demo.DemoWorld, exchange: str
) -> None:
    client = world.client("bot")
    client.market_order(exchange, "buy", "ETH/USDT", "0.1")
    until(world, exchange, lambda found: found["state"] == "agrees")
    server = next(e.server for e in world.exchanges if e.venue.exchange == exchange)
    account = server.exchange.accounts["paper"]

    server.call(lambda: server.exchange.deposit(account, "USDT", D(750), server.now()))
    until(world, exchange, lambda found: found["state"] == "differs" or world_holds(world, exchange) > 10000)
    explained = until(world, exchange, lambda found: found["state"] == "agrees")
    assert explained["mismatches"] == []
    # Once it has been quiet for a while the deposit is part of what was compared, and explains nothing more.
    settled_at = (moment(explained["compared_at"]) + timedelta(seconds=3)).isoformat()
    until(world, exchange, lambda found: found["compared_at"] > settled_at)

    # Something that no list of the exchange shows.
    server.call(lambda: server.exchange.pay(account, "USDT", D(-123), server.exchange.outside, server.now()))
    found = until(world, exchange, lambda found: found["mismatches"])
    (mismatch,) = found["mismatches"]
    (difference,) = mismatch["differences"]
    assert difference["currency"] == "USDT" and abs(D(difference["unexplained"]) + 123) < D("0.001")


def restarted(world: demo.DemoWorld, meanwhile: Callable[[], None]) -> None:
    """Take the server down, let something happen at the exchanges, and start another on the same database."""
    world.server.port.stop()
    world.thread.join(20)
    meanwhile()
    server = app.Server(world.server.settings, [e.venue for e in world.exchanges])
    server.start()
    world.server, world.thread = server, threading.Thread(target=server.run, daemon=True)
    world.thread.start()


def test_what_moved_while_the_server_was_down_is_named_or_told(world: demo.DemoWorld) -> None:
    """By hand at one exchange, paid in at the other; and what no list of the exchange shows."""
    servers = {e.venue.exchange: e.server for e in world.exchanges}
    accounts = {name: server.exchange.accounts["paper"] for name, server in servers.items()}
    for exchange in ("binance", "okx"):
        world.client("bot").market_order(exchange, "buy", "ETH/USDT", "0.1")
        until(world, exchange, lambda found: found["state"] == "agrees" and not found["unsure"])
    trades = [row.fill_id for row in world.client("bot").get_past_orders().orders[0].fills]

    def by_hand() -> None:
        for name in ("binance", "okx"):
            server = servers[name]
            server.call(
                lambda s=server, a=accounts[name]: s.exchange.create_order(
                    a, "ETH/USDT", "buy", "market", D("0.05"), now=s.now()
                )
            )
        binance, okx = servers["binance"], servers["okx"]
        binance.call(lambda: binance.exchange.deposit(accounts["binance"], "USDT", D(333), binance.now()))
        outside = okx.exchange.outside
        okx.call(lambda: okx.exchange.pay(accounts["okx"], "BTC", D("-0.01"), outside, okx.now()))

    restarted(world, by_hand)
    for exchange in ("binance", "okx"):
        found = until(world, exchange, lambda found: found["explained"] and found["state"] == "agrees")
        (foreign,) = found["foreign"]
        assert (foreign["symbol"], foreign["side"], foreign["quantity"]) == ("ETH/USDT", "buy", "0.05")
        assert foreign["fill_id"] not in trades
        by = [words for row in found["explained"] for words in row["by"]]
        assert f"others' trade {foreign['fill_id']} in ETH/USDT" in by
        assert any("deposit" in words for words in by) == (exchange == "binance")
    assert ledger(world, "binance")["mismatches"] == []
    (mismatch,) = until(world, "okx", lambda found: found["mismatches"])["mismatches"]
    (difference,) = mismatch["differences"]
    assert difference["currency"] == "BTC" and abs(D(difference["unexplained"]) + D("0.01")) < D("0.0001")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def world_holds(world: demo.DemoWorld, exchange: str) -> Decimal:
    return world.server.runner.engine.work.accounts[exchange, "default"].holdings.total.get("USDT", D(0))
