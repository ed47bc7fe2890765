"""Portfolio and P&L over HTTP, on two exchanges with fees in base, quote and a third coin, judged by the
exchanges' own ledgers: to the last unit."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

import pytest

import app
import demo
from oms_client import OMSClient
from oms_client.cli import main
from tests.limits import without_limits
from tests.recomputed import Ledger, decimal

D = Decimal
DEPOSITS = {
    "binance": {"USDT": D(40000), "BNB": D(3), "ETH": D(1)},
    "kraken": {"USDT": D(40000), "BTC": D("0.5")},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.DemoWorld]:
    opened = demo.open_world(app, tmp_path_factory.mktemp("pnl"), made_up=True, deposits=DEPOSITS)
    without_limits(opened)
    binance = next(e.server for e in opened.exchanges if e.venue.exchange == "binance")
    binance.call(lambda: setattr(binance.exchange.accounts["paper"], "fee_coin", "BNB"))
    yield opened
    opened.close()


def traded(client: OMSClient) -> None:
    """Buy, swap and sell a little at both exchanges, the coin's book being watched before it is paid."""
    client.market_order("binance", "buy", "BNB/USDT", "0.1")
    client.get_portfolio()
    for exchange in ("binance", "kraken"):
        client.market_order(exchange, "buy", "ETH/USDT", "0.4")
        client.market_order(exchange, "buy", "BTC/USDT", "0.02")
        client.market_order(exchange, "sell", "ETH/BTC", "0.1")
        client.market_order(exchange, "sell", "ETH/USDT", "0.25")


def rows(world: demo.DemoWorld, sql: str) -> list[sqlite3.Row]:
    with sqlite3.connect(f"file:{world.database}?mode=ro", uri=True) as connection:
        connection.create_collation("DECIMAL", lambda a, b: (D(a) > D(b)) - (D(a) < D(b)))
        connection.row_factory = sqlite3.Row
        return list(connection.execute(sql))


def test_pnl_over_http_is_that_of_the_exchanges_ledgers(world: demo.DemoWorld, capsys) -> None:
    traded(world.client("first"))
    traded(world.client("second"))
    booked = rows(world, "select * from fills order by booking")
    assert [row["booking"] for row in booked] == list(range(1, len(booked) + 1))
    assert all(row["value"] is not None and row["fee_value"] is not None for row in booked)

    # What was worth what at the moment is the only thing taken from the record.
    ledger, paid_in = Ledger("USDT"), Counter()
    theirs: dict[tuple[str, str, Decimal, Decimal], list[dict[str, str]]] = {}
    for opened in world.exchanges:
        account = opened.server.exchange.accounts["paper"]
        truth = opened.server.call(lambda o=opened, a=account: o.server.exchange.ledger(a))
        for fill in truth["fills"]:
            same = (opened.venue.exchange, fill["symbol"], D(fill["price"]), D(fill["quantity"]))
            theirs.setdefault(same, []).append(fill)
    assert sum(map(len, theirs.values())) == len(booked)
    for row in booked:
        fill = theirs[row["exchange"], row["symbol"], D(row["price"]), D(row["quantity"])].pop(0)
        base, quote = fill["symbol"].split("/")
        coin = fill["fee_currency"]
        paid_in["base" if coin == base else "quote" if coin == quote else "third"] += 1
        notional = Fraction(fill["quantity"]) * Fraction(fill["price"])

        def rate(currency: str, row=row, fill=fill, quote=quote, notional=notional) -> Fraction:
            if currency == quote:
                return Fraction(row["value"]) / notional
            return Fraction(row["fee_value"]) / Fraction(fill["fee"])

        ledger.add(fill, user="alice", bot=row["bot"], exchange=row["exchange"], rate=rate)
    assert {"base", "quote", "third"} <= paid_in.keys(), paid_in

    mine = world.client("first").get_portfolio()
    ours = {("alice", p.bot, p.exchange, p.asset): p for p in mine.positions}
    for key, purse in ledger.rows():
        held = ours[key]
        assert (held.quantity, held.cost, held.realised, held.fees) == (
            decimal(purse.amount),
            decimal(purse.cost),
            decimal(purse.earned),
            decimal(purse.paid),
        ), key
    assert mine.total.pnl == mine.total.realised + mine.total.unrealised - mine.total.fees
    assert mine.total.unpriced == [] and {"first", "second"} == set(mine.by_bot)
    assert sum(row.pnl for row in mine.by_exchange.values()) == mine.total.pnl

    by_bot = world.client("first").get_pnl(by="bot")
    assert [row["bot"] for row in by_bot.rows] == ["first", "second"]
    assert by_bot.total.pnl == mine.total.realised - mine.total.fees and by_bot.total.fills == len(booked)
    today = datetime.fromisoformat(booked[0]["timestamp"]).date().isoformat()
    assert today in [row["day"] for row in world.client("first").get_pnl().rows]
    order = world.client("first").get_past_orders(bot="second").orders[0]
    earned = [row for row in booked if row["order_id"] == order.order_id]
    assert D(order.pnl["realised"]) == sum(D(row["realised"]) for row in earned)
    for exchange in ("binance", "kraken"):
        order = world.client("first").get_past_orders(exchange=exchange, bot="second").orders[0]
        *before, end = world.client("first").get_order(order.order_id).history
        assert [entry["pnl"] for entry in before] == [None] * len(before) and order.is_closed
        mine = [row for row in booked if row["order_id"] == order.order_id]
        assert (D(end["pnl"]["realised"]), D(end["pnl"]["fees"]), end["pnl"]["fills"]) == (
            sum(D(row["realised"]) for row in mine),
            sum(D(row["fee_cost"]) for row in mine),
            len(mine),
        )

    told = ["--url", world.url, "--bot", "first"]
    for words in (["portfolio"], ["pnl", "--by", "bot"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMS_KEY", world.private_key)
            assert main([*words, *told]) == 0
        assert "unknown" not in (shown := capsys.readouterr().out) and "second" in shown


def test_the_value_of_all_accounts_is_that_of_their_balances(world: demo.DemoWorld) -> None:
    deadline = time.monotonic() + 10
    while True:
        answer = world.client("value").get_portfolio()
        held: dict[str, Decimal] = {}
        for opened in world.exchanges:
            account = opened.server.exchange.accounts["paper"]
            found = opened.server.call(lambda o=opened, a=account: o.server.exchange.balances(a))
            for currency, (free, locked) in found.items():
                held[currency] = held.get(currency, D(0)) + free + locked
        ours = {asset: row.quantity for asset, row in answer.exposure.items()}
        if ours == {c: amount for c, amount in held.items() if amount}:
            break
        assert time.monotonic() < deadline, (ours, held)
        time.sleep(0.2)
    assert answer.total_mode == "paper" and answer.total_value == sum(a.value for a in answer.accounts)
    assert abs(sum(row.share for row in answer.exposure.values()) - 1) < D("0.0001")


def test_others_see_nothing_of_it(world: demo.DemoWorld) -> None:
    from ems.engine.portfolio import Appraisal

    seen: Appraisal = world.server.runner.engine.portfolio.appraise(
        "bob", None, None, None, world.server.runner.scheduler.now()
    )
    assert seen.positions == () and seen.holdings != ()
    assert world.server.store.earned("bob", "USDT") == []
