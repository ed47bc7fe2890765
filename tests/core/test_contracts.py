"""Contracts: positions by net mode against exact fractions, and what an order opens and needs."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.core.contracts import STEP, margin, opened, settled_in, traded
from ems.core.messages import Side
from ems.core.positions import fold
from tests.core.test_positions import Desk

D = Decimal
BTC = "BTC/USDT:USDT"
BUY, SELL = Side.BUY, Side.SELL

TRADES = {  # (quantity, cost), side, amount, price -> (quantity, cost), realised
    "opens a long": (("0", "0"), BUY, "2", "100", ("2", "200"), "0"),
    "opens a short": (("0", "0"), SELL, "2", "100", ("-2", "-200"), "0"),
    "adds to a long": (("2", "200"), BUY, "1", "130", ("3", "330"), "0"),
    "adds to a short": (("-2", "-200"), SELL, "1", "130", ("-3", "-330"), "0"),
    "takes from a long": (("3", "330"), SELL, "1", "140", ("2", "220"), "30"),
    "takes from a short": (("-3", "-330"), BUY, "1", "100", ("-2", "-220"), "10"),
    "closes a long at a loss": (("2", "220"), SELL, "2", "100", ("0", "0"), "-20"),
    "closes a short at a loss": (("-2", "-220"), BUY, "2", "120", ("0", "0"), "-20"),
    "turns a long round": (("2", "220"), SELL, "5", "120", ("-3", "-360"), "20"),
    "turns a short round": (("-2", "-220"), BUY, "5", "100", ("3", "300"), "20"),
    "a share that does not end is rounded": (
        *(("3", "100"), SELL, "1", "50", ("2", "66.666666666666666667")),
        "16.666666666666666667",
    ),
}


@pytest.mark.parametrize("case", TRADES.values(), ids=TRADES)
def test_a_trade_moves_a_position(case) -> None:
    (quantity, cost), side, amount, price, after, realised = case
    found = traded(D(quantity), D(cost), side, D(amount), D(price))
    assert (found.quantity, found.cost, found.realised) == (D(after[0]), D(after[1]), D(realised))


SIDES = st.sampled_from([BUY, SELL])
LOTS = st.integers(1, 10**6).map(lambda n: D(n).scaleb(-4))
PRICES = st.integers(1, 10**9).map(lambda n: D(n).scaleb(-2))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(SIDES, LOTS, PRICES), max_size=40))
def test_whatever_is_traded_money_and_positions_come_out_exactly(trades) -> None:
    quantity = cost = realised = D(0)
    cash, held = Fraction(0), Fraction(0)  # as if everything had been paid for
    for side, amount, price in trades:
        found = traded(quantity, cost, side, amount, price)
        quantity, cost, realised = found.quantity, found.cost, realised + found.realised
        sign = 1 if side is BUY else -1
        held += sign * Fraction(amount)
        cash -= sign * Fraction(amount) * Fraction(price)
        assert Fraction(quantity) == held
        # What was paid and is not realised is what the position was entered for: to the last unit.
        assert Fraction(realised) - Fraction(cost) == cash
        assert (quantity > 0) == (cost > 0) and (quantity < 0) == (cost < 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(SIDES, LOTS, PRICES), min_size=1, max_size=20), LOTS)
def test_a_position_costs_the_average_of_what_opened_it(trades, rest) -> None:
    """Against an average kept as a fraction, which is never rounded."""
    quantity = cost = D(0)
    held, average = Fraction(0), Fraction(0)
    for side, amount, price in trades:
        found = traded(quantity, cost, side, amount, price)
        quantity, cost = found.quantity, found.cost
        change = Fraction(amount) * (1 if side is BUY else -1)
        if held * change >= 0:
            average = (held * average + change * Fraction(price)) / (held + change)
        elif abs(change) > abs(held):
            average = Fraction(price)
        held += change
        if held:
            assert abs(Fraction(cost) - held * average) <= len(trades) * Fraction(STEP)


OPENED = {  # held, side, open orders of that side beside it, quantity -> what of it opens
    "from nothing": ("0", BUY, "0", "2", "2"),
    "more of the same": ("1", BUY, "0", "2", "2"),
    "less": ("3", SELL, "0", "2", "0"),
    "all of it": ("2", SELL, "0", "2", "0"),
    "one lot beyond": ("2", SELL, "0", "2.1", "0.1"),
    "a short that is bought back": ("-2", BUY, "0", "3", "1"),
    "what others close already": ("2", SELL, "2", "1", "1"),
    "what others close in part": ("2", SELL, "1.5", "1", "0.5"),
    "others that open themselves": ("2", SELL, "5", "1", "1"),
}


@pytest.mark.parametrize("held, side, beside, quantity, expected", OPENED.values(), ids=OPENED)
def test_what_an_order_opens(held, side, beside, quantity, expected) -> None:
    assert opened(D(held), side, D(beside), D(quantity)) == D(expected)


def test_margin_is_for_what_opens_and_the_fee_for_all() -> None:
    assert margin(D(2), D(3), D(100), D(4), D("0.001")) == 50 + D("0.3")
    assert margin(D(0), D(3), D(100), D(4), D("-0.001")) == 0  # a rebate is not counted on
    assert margin(D(1), D(1), D(1), D(3), D(0)) == D("0.333333333333333334")  # no record holds a third


def test_books_of_bots_keep_contracts_apart_from_assets() -> None:
    desk = Desk()
    desk.trade("buy", BTC, "2", "100", fee="0.2", fee_currency="USDT")
    won = desk.trade("sell", BTC, "3", "110", fee="0.33", fee_currency="USDT")
    assert (won.realised, won.value, won.fee_cost) == (20, 330, D("0.33"))
    [position] = desk.books.positions()  # no USDT was given, and no BTC came
    assert (position.asset, position.currency) == (BTC, settled_in(BTC)) == (BTC, "USDT")
    assert (position.quantity, position.cost, position.realised) == (-1, -110, 20)
    assert (position.fees, position.average_price) == (D("0.53"), 110)
    desk.trade(
        "sell", BTC, "1", "120", bot="other", fee="0", fee_currency="USDT"
    )  # nobody takes from another
    assert [p.quantity for p in desk.books.positions()] == [-1, -1]
    assert fold(desk.booked, "USDT").positions() == desk.books.positions()


def test_what_a_contract_realises_is_told_in_the_reporting_currency() -> None:
    desk = Desk(EUR="2")  # a euro is two dollars
    desk.trade("buy", "BTC/EUR:EUR", "1", "100", fee="0", fee_currency="EUR")
    won = desk.trade("sell", "BTC/EUR:EUR", "1", "110", fee="1", fee_currency="EUR")
    assert (won.realised, won.fee_cost) == (20, 2)
    [position] = desk.books.positions()
    assert (position.currency, position.realised, position.fees) == ("EUR", 10, 1)
