"""Rounding to the safe side, and the figures of EXECUTION.md 1."""

from decimal import Decimal

import pytest

from ems.core.instrument import ceil_to, floor_to
from ems.core.messages import Side
from tests.builders import market

D = Decimal


@pytest.mark.parametrize(
    ("value", "step", "down", "up"),
    [
        ("1.2345", "0.01", "1.23", "1.24"),
        ("1.23", "0.01", "1.23", "1.23"),
        ("0.009", "0.01", "0", "0.01"),
        ("157", "25", "150", "175"),
        ("99999999999999999999.999", "0.01", "99999999999999999999.99", "100000000000000000000.00"),
    ],
)
def test_steps(value, step, down, up):
    assert (floor_to(D(value), D(step)), ceil_to(D(value), D(step))) == (D(down), D(up))


@pytest.mark.parametrize(
    ("side", "passive", "taker"), [(Side.BUY, "100.12", "100.13"), (Side.SELL, "100.13", "100.12")]
)
def test_passive_prices_step_away_from_the_touch_and_taker_prices_through_it(side, passive, taker):
    rules = market()
    assert rules.passive_price(side, D("100.125")) == D(passive)
    assert rules.taker_price(side, D("100.125")) == D(taker)


ADA = {"symbol": "ADA/USDT", "lot": "1", "tick": "0.00000001", "min_quantity": "1", "max_quantity": None}


@pytest.mark.parametrize(
    ("fee_mode", "price", "bought"),
    [
        # The example of EXECUTION.md 1: 100,000 USDT at 0.22563316, lot 1 ADA, 10 bp.
        ("received", D("0.22563316"), 443197),
        ("quote", D("0.22563316"), 442754),
        (
            "received",
            D("0.22563316") * D("1.0005"),
            442975,
        ),  # reserved 5 bp through: topped up with the refund
    ],
)
def test_buying_as_much_as_possible(fee_mode, price, bought):
    rules = market(**ADA, fee_mode=fee_mode)
    assert rules.largest_buy(D(100_000), price, haircut=D(0), post_only=False) == bought


@pytest.mark.parametrize("fee_mode", ["received", "quote", "base"])
@pytest.mark.parametrize("side", list(Side))
def test_the_largest_order_never_reserves_more_than_there_is(fee_mode, side):
    rules = market(fee_mode=fee_mode)
    for cents in range(100_000, 100_400, 7):
        amount = D(cents) / 100
        if side is Side.BUY:
            quantity = rules.largest_buy(amount, D("1999.37"), haircut=D(0), post_only=False)
        else:
            quantity = rules.largest_sell(amount, haircut=D(0), post_only=False)
        held = rules.reserve(side, quantity, D("1999.37"), post_only=False)
        assert held <= amount
        if (side, fee_mode) != (Side.SELL, "base"):  # there the rule leaves a fee on the fee as well
            assert amount < rules.reserve(side, quantity + rules.lot, D("1999.37"), post_only=False)


@pytest.mark.parametrize(
    ("quantity", "price", "ok"),
    [
        ("0.0026", "2000", True),  # 5.2 >= 1.02 x 5
        ("0.0025", "2000", False),  # 5.0 < 5.1: a small move would make it illegal
        ("0.00009", "2000000", False),  # below the smallest quantity
        ("9000", "2000", True),
        ("9000.0001", "2000", False),
        ("0", "2000", False),
    ],
)
def test_order_ok(quantity, price, ok):
    assert market().order_ok(D(quantity), D(price)) is ok


def test_the_smallest_order_passes_and_one_lot_less_does_not():
    rules = market()
    for price in ("1999.99", "2000", "3.17", "61234.5"):
        smallest = rules.smallest_order(D(price))
        assert rules.order_ok(smallest, D(price))
        assert not rules.order_ok(smallest - rules.lot, D(price))


def test_quantities_above_the_maximum_are_capped():
    assert market().largest_buy(D(10) ** 9, D(1), haircut=D(0), post_only=True) == 9000
