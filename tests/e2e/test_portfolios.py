"""Many assets on two exchanges at once, over HTTP: convert over three hops, liquidate, rebalance.

Judged by the exchanges' own ledgers, to the last unit, and by the identity of costs (EXECUTION.md 9.6).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext

import pytest

import app
import demo
from ems.core.messages import QueryMarkets
from simulator.records import HALT, TRADING
from tests.limits import without_limits

D = Decimal
DEPOSITS = {
    "binance": {
        "USDT": D(9000),
        "BTC": D("0.05"),
        "ETH": D("1.5"),
        "SOL": D(12),
        "BNB": D(2),
        "XRP": D(900),
        "DOGE": D(15000),
        "ADA": D(2500),
        "LTC": D(11),
        "LINK": D(60),
        "DOT": D(300),
        "AVAX": D(50),
        "UNI": D("0.3"),  # about 1.3 USDT: dust
        "NEAR": D(400),  # its markets are halted while it is to be liquidated
    },
    "kraken": {
        "USDT": D(5000),
        "ETH": D(1),
        "XRP": D(600),
        "DOGE": D(9000),
        "ADA": D(1500),
        "SOL": D(9),
        "LTC": D(6),
    },
}
IDENTITY_BP = D("1e-9")


class World:
    """The demo's world with many made-up markets."""

    def __init__(self, opened: demo.DemoWorld, deposits: Mapping[str, Mapping[str, Decimal]]):
        self.opened = opened
        self.deposits = deposits
        self.exchanges = {e.venue.exchange: e.server for e in opened.exchanges}

    def client(self, bot: str):
        return self.opened.client(bot)

    def halt(self, exchange: str, *symbols: str, mode: str = HALT) -> None:
        server = self.exchanges[exchange]
        for symbol in symbols:
            server.call(lambda s=symbol: server.exchange.set_mode(mode, server.now(), s))
        # The rules are read again every ten minutes; here somebody asks.
        house = self.opened.server
        account = house.runner.engine.work.accounts[exchange, "default"]
        before = account.markets
        house.loop.call(lambda: house.gateways[exchange, "default"].send(QueryMarkets()))
        while account.markets is before:
            time.sleep(0.05)

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with sqlite3.connect(f"file:{self.opened.database}?mode=ro", uri=True) as connection:
            connection.create_collation("DECIMAL", lambda a, b: (D(a) > D(b)) - (D(a) < D(b)))
            connection.row_factory = sqlite3.Row
            return list(connection.execute(sql, values))

    def balances(self, exchange: str) -> dict[str, Decimal]:
        server = self.exchanges[exchange]
        held = server.call(lambda: server.exchange.balances(server.exchange.accounts["paper"]))
        return {currency: free + locked for currency, (free, locked) in held.items()}

    def the_ledgers_agree(self) -> None:
        """Deposits and our fills make the exchanges' balances, to the last unit; nothing is left open."""
        for exchange, server in self.exchanges.items():
            expected = dict(self.deposits[exchange])
            with localcontext() as context:
                context.prec = 60
                for row in self.rows("select * from fills where exchange = ?", exchange):
                    base, quote = row["symbol"].split("/")
                    sign = 1 if row["side"] == "buy" else -1
                    price, quantity = D(row["price"]), D(row["quantity"])
                    for currency, moved in (
                        (base, sign * quantity),
                        (quote, -sign * price * quantity),
                        (row["fee_currency"], -D(row["fee"])),
                    ):
                        expected[currency] = expected.get(currency, D(0)) + moved
                actual = self.balances(exchange)
                wrong = {
                    currency: (expected.get(currency, D(0)), actual.get(currency, D(0)))
                    for currency in expected.keys() | actual.keys()
                    if expected.get(currency, D(0)) != actual.get(currency, D(0))
                }
            assert wrong == {}, f"{exchange}: (ours, theirs) differ"
            account = server.exchange.accounts["paper"]
            assert server.call(lambda a=account, s=server: s.exchange.open_orders(a)) == []

    def the_identity_holds(self, query_id: str) -> dict[str, object]:
        (row,) = self.rows("select body from costs where query_id = ?", query_id)
        body = json.loads(row["body"])
        for cost in (body["cost"], *body["legs"]):
            parts = ("delay", "timing", "spread", "depth", "fees", "opportunity")
            total = sum((D(cost[f"{part}_bps"]) for part in parts), D(0))
            assert abs(total - D(cost["total_bps"])) <= IDENTITY_BP, cost
        legs = sum((D(leg["total_bps"]) for leg in body["legs"]), D(0))
        assert abs(legs - D(body["cost"]["total_bps"])) <= IDENTITY_BP
        return body


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    opened = demo.open_world(app, tmp_path_factory.mktemp("many"), made_up=True, deposits=DEPOSITS)
    without_limits(opened)
    yield World(opened, DEPOSITS)
    opened.close()


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    names = ("binance", "bybit", "kraken", "okx")
    opened = demo.open_world(app, tmp_path_factory.mktemp("four"), names=names)
    without_limits(opened)
    yield World(opened, dict.fromkeys(names, app.PAPER_DEPOSITS))
    opened.close()


@pytest.fixture(scope="module")
def limits_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An exchange that knows no market orders at all."""
    opened = demo.open_world(app, tmp_path_factory.mktemp("limits"), names=("gemini",))
    without_limits(opened)
    yield World(opened, {"gemini": app.PAPER_DEPOSITS})
    opened.close()


def finished(world: World, bot: str, result) -> str:
    """Return the id of a bot's last query, which must have been done."""
    assert result["outcome"] == "done", result
    (row,) = world.rows("select query_id from queries where bot = ? order by accepted_at desc limit 1", bot)
    return row["query_id"]


def test_one_smart_order_goes_over_three_hops_on_two_exchanges(world: World) -> None:
    for exchange in world.exchanges:
        world.halt(exchange, "DOGE/USDT", "NEXO/BTC")
    # Neither exchange holds enough: the money of both is needed.
    result = world.client("three-hops").smart_order(
        ["binance", "kraken"], "DOGE", "NEXO", "20000", time_limit=12
    )
    query_id = finished(world, "three-hops", result)
    assert {leg["exchange"] for leg in result["legs"]} == {"binance", "kraken"}
    walked = {(leg["exchange"], leg["symbol"]) for leg in result["legs"] if D(leg["quantity"]) > 0}
    for exchange in world.exchanges:
        assert {s for e, s in walked if e == exchange} >= {"DOGE/BTC", "BTC/USDT", "NEXO/USDT"}
    assert D(result["spent"]) <= 20000 and D(result["received"]) > 0
    world.the_identity_holds(query_id)
    world.the_ledgers_agree()
    for exchange in world.exchanges:
        world.halt(exchange, "DOGE/USDT", "NEXO/BTC", mode=TRADING)


def test_rebalance_of_ten_assets_reaches_its_bands_and_asked_again_has_nothing_to_do(world: World) -> None:
    targets = {
        "USDT": "0.28",
        **dict.fromkeys(("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "LTC", "LINK", "DOT"), "0.08"),
    }
    client = world.client("weights")
    kept = ["DOGE", "AVAX", "UNI", "NEAR", "NEXO"]
    result = client.rebalance("all", targets, keep=kept, tolerance="0.01", time_limit=12)
    query_id = finished(world, "weights", result)
    for currency, weight in result["weights"].items():
        assert abs(D(weight["after"]) - D(weight["target"])) <= D("0.025"), (currency, weight)
    world.the_identity_holds(query_id)
    world.the_ledgers_agree()
    again = client.rebalance("all", targets, keep=kept, tolerance="0.04", time_limit=12)
    assert again["outcome"] == "nothing" and "nothing to do" in again["reason"]


def test_liquidate_sells_what_can_be_sold_and_names_what_cannot(world: World) -> None:
    world.halt("binance", "NEAR/USDT", "NEAR/BTC")
    held = {c for c, amount in world.balances("binance").items() if amount > 0}
    assert len(held - {"USDT"}) >= 12
    quoted = world.client("exit").quote("liquidate", exchange="binance", end_currency="USDT")
    assert D(quoted["expected"]["received"]) > 0
    told = " ".join(quoted["dust"])
    assert "UNI" in told and "NEAR" in told
    result = world.client("exit").liquidate("binance", "USDT", time_limit=12)
    query_id = finished(world, "exit", result)
    world.the_identity_holds(query_id)
    world.the_ledgers_agree()
    left = world.balances("binance")
    assert left["NEAR"] == 400 and left["UNI"] == D("0.3")
    for currency in ("ETH", "SOL", "BNB", "XRP", "DOGE", "ADA", "LTC", "LINK", "DOT", "AVAX"):
        server = world.exchanges["binance"]
        price = server.call(lambda c=currency, s=server: s.exchange.best(f"{c}/USDT", "buy", s.now())[0])
        assert left.get(currency, D(0)) * price < 6, f"{left[currency]} {currency} is left"
    world.halt("binance", "NEAR/USDT", "NEAR/BTC", mode=TRADING)
    again = world.client("exit").liquidate(
        "binance", "USDT", exclude=["NEAR"], time_limit=5
    )  # asked again: only what a new look finds worth it
    assert again["outcome"] in ("nothing", "done")


def test_one_smart_order_uses_the_money_of_four_exchanges(four: World) -> None:
    result = four.client("four").smart_order("all", "USDT", "ETH", "36000", time_limit=10)
    query_id = finished(four, "four", result)
    assert {leg["exchange"] for leg in result["legs"]} == {"binance", "bybit", "kraken", "okx"}
    assert D(result["spent"]) + D(result["unspent"]) == 36000 and D(result["unspent"]) < 30
    four.the_identity_holds(query_id)
    four.the_ledgers_agree()


def test_an_exchange_without_market_orders_is_traded_on_by_limits_alone(limits_only: World) -> None:
    client = limits_only.client("limits")
    order = client.market_order("gemini", "buy", "BTC/USDT", "0.01")
    assert order.status == "filled" and order.filled_quantity == D("0.01")
    result = client.smart_order("gemini", "ETH", "BTC", "0.5", time_limit=12)
    query_id = finished(limits_only, "limits", result)
    assert D(result["spent"]) + D(result["unspent"]) == D("0.5") and D(result["received"]) > 0
    assert order.order_type == "market" and order.price is None
    sent = limits_only.rows("select coalesce(protection_price, price) as price from orders")
    assert sent and all(row["price"] is not None for row in sent)
    limits_only.the_identity_holds(query_id)
    limits_only.the_ledgers_agree()
