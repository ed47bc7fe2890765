"""Bots of one account meet inside: over HTTP, with exchanges that speak the real wire as witnesses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from decimal import Decimal

import pytest

import app
import demo
from oms_client.errors import Rejected
from tests.e2e.conftest import Truth
from tests.limits import without_limits

D = Decimal
EXCHANGES = ("binance", "kraken")


@pytest.fixture(scope="module")
def matching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.DemoWorld]:
    folder = tmp_path_factory.mktemp("matching")
    opened = demo.open_world(app, folder, more={"OMS_INTERNAL_MATCHING": ",".join(EXCHANGES)})
    without_limits(opened)
    yield opened
    opened.close()


def rows_of(world: demo.DemoWorld, cross_id: str) -> list[sqlite3.Row]:
    with sqlite3.connect(f"file:{world.database}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        return database.execute("SELECT * FROM fills WHERE cross_id = ?", (cross_id,)).fetchall()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_market_order_meets_what_another_bot_is_still_to_sell(matching, exchange):
    truth = Truth(matching)
    seller, buyer = matching.client(f"slow-{exchange}"), matching.client(f"fast-{exchange}")
    selling = seller.market_order(
        exchange, "sell", "ETH/USDT", "0.6", algo="twap", algo_params={"slots": 2}, time_limit=60, wait=False
    )
    bought_outside = sum(o.filled_quantity for o in truth.orders(exchange) if o.side == "buy")
    bought = buyer.market_order(exchange, "buy", "ETH/USDT", "0.05")
    seller.cancel_all_orders(exchange)
    assert bought.status == "filled" and bought.cross_id is not None and bought.exchange_order_id is None
    assert bought.filled_quantity == D("0.05") and set(bought.fees.values()) == {D(0)}
    assert bought.fee_saved > 0 and D(bought.crossed[0]["fee_saved"]) == bought.fee_saved
    assert bought_outside == sum(o.filled_quantity for o in truth.orders(exchange) if o.side == "buy")
    buy, sell = sorted(rows_of(matching, bought.cross_id), key=lambda row: row["side"])
    assert (buy["side"], sell["side"]) == ("buy", "sell")
    assert (buy["quantity"], buy["price"]) == (sell["quantity"], sell["price"])
    assert (buy["bot"], sell["bot"]) == (f"fast-{exchange}", f"slow-{exchange}")
    assert matching.client("reader").get_order(bought.order_id).cross_id == bought.cross_id
    sold = seller.get_query(selling.query_id)
    assert [D(row["quantity"]) for row in sold["result"]["crossed"]] == [D("0.05")]
    stats = buyer.get_order_stats(exchange, bot=f"fast-{exchange}")
    assert stats["crossed"]["orders"] == 1 and D(stats["crossed"]["fees_saved"]["USDT"]) == bought.fee_saved
    assert truth.open(exchange) == []


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_market_order_meets_what_another_bot_rests_at_the_exchange(matching, exchange):
    """The book is replayed and moves: a try in which somebody else was quicker is made again."""
    truth = Truth(matching)
    maker, taker = matching.client(f"maker-{exchange}"), matching.client(f"taker-{exchange}")
    simulated = next(e.server for e in matching.exchanges if e.venue.exchange == exchange)
    for _ in range(10):
        ask = simulated.call(lambda: simulated.exchange.best("ETH/USDT", "sell", simulated.now())[0])
        rests = maker.limit_order(exchange, "sell", "ETH/USDT", "0.05", ask)
        if rests.is_closed:
            continue
        try:
            bought = taker.market_order(exchange, "buy", "ETH/USDT", "0.02")
        except Rejected as refused:
            assert refused.code == "SELF_MATCH"
            bought = None
        maker.cancel_all_orders(exchange)
        if bought is not None and bought.cross_id is not None:
            break
    else:
        pytest.fail("they never met")
    assert bought.filled_quantity == D("0.02") and bought.average_price >= ask
    query = maker.get_query(rests.query_id)
    whole, inside = query.orders[0], next(o for o in query.orders if o.cross_id is not None)
    assert inside.replaces == whole.order_id and inside.cross_id == bought.cross_id
    assert sum(o.filled_quantity for o in query.orders) <= D("0.05")
    outside = {o.client_order_id: o for o in truth.orders(exchange)}
    for order in query.orders:
        if order.cross_id is None:
            assert outside[order.client_order_id].filled_quantity == order.filled_quantity
        else:
            assert order.client_order_id not in outside
    assert truth.open(exchange) == []


def test_health_says_where_orders_meet(matching):
    accounts = matching.client("reader").check_health()["accounts"]
    assert all(account["internal_matching"] for account in accounts)
