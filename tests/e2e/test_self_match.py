"""Orders of one account that would meet each other, over HTTP to exchanges that speak the real wire."""

from __future__ import annotations

from decimal import Decimal

import pytest

from oms_client.errors import Rejected

FAR_BELOW = Decimal("0.97")  # the book is replayed: it shall not get there meanwhile


@pytest.mark.parametrize("exchange", ["binance", "kraken"])
def test_an_order_that_would_meet_another_bots_is_refused_until_that_one_is_gone(world, truth, exchange):
    price = round(truth.price(exchange, "ETH/USDT") * FAR_BELOW, 2)
    maker, taker = world.client("self-match-maker"), world.client("self-match-taker")
    rests = maker.limit_order(exchange, "buy", "ETH/USDT", "0.05", price)
    known = truth.count()
    with pytest.raises(Rejected) as refused:
        taker.limit_order(exchange, "sell", "ETH/USDT", "0.01", price, time_in_force="FOK")
    assert refused.value.code == "SELF_MATCH"
    assert refused.value.details["resting_order_id"] == rests.order_id
    assert truth.count() == known, "nothing reached the exchange"
    above = taker.limit_order(
        exchange, "sell", "ETH/USDT", "0.01", refused.value.details["limit"], dry_run=True
    )
    assert above["dry_run"]
    maker.cancel_order(rests.order_id)
    sold = taker.limit_order(exchange, "sell", "ETH/USDT", "0.01", price, time_in_force="FOK")
    assert sold.status == "filled"
