"""The price and quantity at which two orders of one account meet: fair to both, over any book."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.core.crossing import cross_price, cross_quantity

D = Decimal


@pytest.mark.parametrize(
    ("bid", "ask", "fee", "buy", "sell", "price"),
    [
        ("100", "101", "0.001", None, None, "100.5"),  # nobody minds: the middle
        ("100", "101", "0.001", "100.3", None, "100.3"),  # as near to it as the buyer goes
        ("100", "101", "0.001", None, "100.8", "100.8"),  # and the seller
        ("100", "101", "0.001", "105", "95", "100.5"),  # limits beyond the touch change nothing
        ("100", "101", "0.001", None, "101", "101"),  # the seller is the touch: the buyer saves the fee
        ("100", "101", "0", None, "101", None),  # without a fee there is nothing in it for the buyer
        ("100", "101", "0.001", "100.2", "100.3", None),  # they do not meet
        ("100", "101", "0.001", "99", None, None),  # the buyer wants it below the bid
        ("100", "100", "0.001", None, None, None),  # locked
        ("101", "100", "0.001", None, None, None),  # crossed
        ("0", "100", "0.001", None, None, None),
        ("100", "101", "-0.001", None, "101", None),  # who is paid for taking takes outside
    ],
)
def test_prices(bid, ask, fee, buy, sell, price):
    found = cross_price(
        D(bid),
        D(ask),
        D(fee),
        buy_limit=None if buy is None else D(buy),
        sell_limit=None if sell is None else D(sell),
    )
    assert found == (None if price is None else D(price))


prices = st.decimals(min_value="0.00000001", max_value="100000", places=8)
fees = st.decimals(min_value="-0.0005", max_value="0.006", places=6)


@given(bid=prices, spread=prices, fee=fees, buy=st.none() | prices, sell=st.none() | prices)
def test_a_price_is_fair_to_both_or_there_is_none(bid, spread, fee, buy, sell):
    ask = bid + spread
    price = cross_price(bid, ask, fee, buy_limit=buy, sell_limit=sell)
    if price is None:
        # Only where the limits, or fees below nothing, leave no room: without them the middle is fair.
        assert buy is not None or sell is not None or fee < 0
        return
    assert bid <= price <= ask
    assert price < ask * (1 + fee), "the buyer does better than by taking"
    assert price > bid * (1 - fee), "and so does the seller"
    assert buy is None or price <= buy
    assert sell is None or price >= sell
    middle = (bid + ask) / 2
    nearer = [p for p in (middle, buy, sell) if p is not None and abs(p - middle) < abs(price - middle)]
    assert all((buy is not None and p > buy) or (sell is not None and p < sell) for p in nearer)


@given(bid=prices, spread=prices, fee=fees, buy=st.none() | prices, sell=st.none() | prices)
def test_neither_side_is_favoured(bid, spread, fee, buy, sell):
    """The book and both limits mirrored around the middle: the price is mirrored too."""
    ask = bid + spread

    def mirror(price):
        return None if price is None else bid + ask - price

    there = cross_price(bid, ask, D(0), buy_limit=buy, sell_limit=sell)
    back = cross_price(bid, ask, D(0), buy_limit=mirror(sell), sell_limit=mirror(buy))
    assert back == mirror(there)


@pytest.mark.parametrize(
    ("buy", "sell", "crossed"),
    [
        ("2", "2", "2"),
        ("2", "3", "2"),  # 1 is left, which is enough
        ("2", "2.05", "1.9"),  # 0.05 would be left of the seller, then of the buyer: both keep 0.1
        ("0.1", "0.15", "0"),  # whatever is done, somebody is left with too little
        ("2", "2.0004", "2"),  # below a lot: never an order anyway
    ],
)
def test_quantities(buy, sell, crossed):
    assert cross_quantity(D(buy), D(sell), D("0.001"), D("0.1")) == D(crossed)


quantities = st.decimals(min_value="0", max_value="1000", places=5)


@given(buy=quantities, sell=quantities, smallest=st.decimals(min_value="0.001", max_value="5", places=3))
def test_what_is_left_is_nothing_or_an_order(buy, sell, smallest):
    lot = D("0.001")
    crossed = cross_quantity(buy, sell, lot, smallest)
    assert 0 <= crossed <= min(buy, sell)
    assert crossed % lot == 0
    assert crossed == cross_quantity(sell, buy, lot, smallest)
    if crossed:
        for whole in (buy, sell):
            rest = whole - crossed
            assert rest < lot or rest >= smallest
