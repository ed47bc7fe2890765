"""The exchange's own rules, told before an order is sent, over every border there is."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from oms_client.errors import NotFound, Rejected

D = Decimal
EXCHANGES = ("binance", "kraken")


def rows(refused) -> dict[str, dict[str, object]]:
    return {row["rule"]: row for row in refused.value.details["problems"]}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_problem_at_once_and_what_would_pass_does(world, truth, exchange):
    client = world.client(f"checks-{exchange}")
    before = len(truth.orders(exchange))
    price = (truth.price(exchange, "ETH/USDT") * D("0.9")).quantize(D("0.01"))
    with pytest.raises(Rejected) as refused:
        client.limit_order(exchange, "buy", "ETH/USDT", "0.0001", price)
    (row,) = rows(refused).values()
    assert (refused.value.code, row["field"], row["value"]) == ("AMOUNT_TOO_SMALL", "quantity", "0.0001")
    with pytest.raises(Rejected) as poor:
        client.limit_order(exchange, "buy", "ETH/USDT", "8000", price)
    assert rows(poor)["funds"]["choices"][0]["action"] == "reduce"
    assert len(truth.orders(exchange)) == before, "nothing was sent"
    order = client.limit_order(exchange, "buy", "ETH/USDT", row["nearest"], price)
    assert order.status == "submitted" and order["corrections"] == []
    client.cancel_order(order.order_id)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_what_may_be_raised_and_rounded_is_and_says_so(world, truth, exchange):
    client = world.client(f"raise-{exchange}")
    price = (truth.price(exchange, "ETH/USDT") * D("0.9")).quantize(D("0.01")) + D("0.001")
    asked = (exchange, "buy", "ETH/USDT", "0.0001", price)
    dry = client.limit_order(*asked, raise_to_minimum=True, dry_run=True)
    order = client.limit_order(*asked, raise_to_minimum=True)
    assert dry["corrections"] == order["corrections"]
    assert [change["field"] for change in order["corrections"]] == ["price", "quantity"]
    (theirs,) = [o for o in truth.open(exchange) if o.client_order_id == order["client_order_id"]]
    assert [str(theirs.price), str(theirs.quantity.normalize())] == [
        change["used"] for change in order["corrections"]
    ]
    query = client.get_query(order.query["query_id"])
    assert (
        query["result"]["corrections"] == order["corrections"] and query["parameters"]["quantity"] == "0.0001"
    )
    client.cancel_order(order.order_id)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_symbol_that_is_not_there_is_answered_with_the_one_that_is(world, exchange):
    client = world.client("names")
    with pytest.raises((Rejected, NotFound)) as unknown:
        client.limit_order(exchange, "buy", "EHT/USDT", "1", "2000")
    assert unknown.value.code == "SYMBOL_UNKNOWN" and unknown.value.details["nearest"] == "ETH/USDT"


def test_a_price_outside_of_the_band_is_refused_before_it_is_sent(world, truth):
    client = world.client("bands")
    before = len(truth.orders("binance"))
    price = (truth.price("binance", "ETH/USDT") / 6).quantize(D("0.01"))
    with pytest.raises(Rejected) as refused:
        client.limit_order("binance", "buy", "ETH/USDT", "0.1", price)
    assert refused.value.code == "PRICE_INVALID" and rows(refused)["price_band"]["nearest"] is not None
    assert len(truth.orders("binance")) == before


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_order_refused_by_new_rules_is_rounded_and_sent_once_more(world, truth, exchange):
    (server,) = (e.server for e in world.exchanges if e.venue.exchange == exchange)
    before = server.call(lambda: server.exchange.markets["BTC/USDT"])
    server.call(lambda: server.exchange.add_market(replace(before, lot=D("0.0001"))))
    try:
        client = world.client(f"rules-{exchange}")
        price = truth.price(exchange, "BTC/USDT") * D("0.9")
        order = client.limit_order(exchange, "buy", "BTC/USDT", "0.00123", price, resubmit=True)
        assert order.status == "submitted" and order["quantity"] == "0.0012"
        first, second = client.get_query(order.query["query_id"])["orders"]
        assert (first["status"], second["replaces"]) == ("rejected", first["order_id"])
        told = [change for change in order["corrections"] if change["field"] == "order_id"]
        assert [(c["asked"], c["used"]) for c in told] == [(first["order_id"], order.order_id)]
        placed = [o.client_order_id for o in truth.open(exchange) if o.symbol == "BTC/USDT"]
        assert placed == [order["client_order_id"]], "only the second one stands"
        client.cancel_order(order.order_id)
    finally:
        server.call(lambda: server.exchange.add_market(before))
