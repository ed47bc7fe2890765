"""The books: named cases of average cost, and what holds whatever is traded."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.core.messages import Liquidity, Side
from ems.core.positions import Books, fold, traded, worth_of
from ems.core.records import Fill, PositionSnapshot, SliceChange, SnapshotDay
from ems.core.snapshots import Snapshot, change
from ems.core.valuation import path, worth
from tests.builders import at

D = Decimal


def fill(side: str, symbol: str, quantity: str, price: str, **fields: object) -> Fill:
    made = Fill(
        fill_id="f",
        order_id="o",
        query_id="q",
        parent_id="p",
        user="alice",
        bot="bot1",
        exchange="binance",
        account="default",
        symbol=symbol,
        side=Side(side),
        price=D(price),
        quantity=D(quantity),
        fee=D(0),
        fee_currency=symbol.split("/")[1],
        liquidity=Liquidity.TAKER,
        timestamp=at(0),
    )
    changes = {k: D(v) if k == "fee" else v for k, v in fields.items()}
    return replace(made, **changes)  # type: ignore[arg-type]


class Desk:
    """Books that are told prices."""

    def __init__(self, **rates: str) -> None:
        self.books = Books("USDT")
        self.rates = {"USDT": D(1), **{c: D(r) for c, r in rates.items()}}
        self.booked: list[Fill] = []

    def trade(self, *words: str, **fields: object) -> Fill:
        made = fill(*words, **fields)
        quote_rate = self.rates.get(traded(made.symbol)[1])
        worth = worth_of(made, "USDT", quote_rate, self.rates.get(made.fee_currency))
        booked, _ = self.books.book(made, worth, len(self.booked) + 1)
        self.booked.append(booked)
        return booked

    def of(self, asset: str, bot: str = "bot1") -> tuple[Decimal, ...]:
        """Return (quantity, cost, realised, fees) of a position."""
        (p,) = [p for p in self.books.positions() if (p.asset, p.bot) == (asset, bot)]
        return p.quantity, p.cost, p.realised, p.fees

    def position(self, asset: str, bot: str = "bot1"):
        return next(p for p in self.books.positions() if (p.asset, p.bot) == (asset, bot))


def test_a_sale_takes_its_share_of_the_average_cost() -> None:
    desk = Desk()
    desk.trade("buy", "ETH/USDT", "1", "1000")
    desk.trade("buy", "ETH/USDT", "3", "2000")
    assert desk.position("ETH").average_price == 1750
    assert desk.trade("sell", "ETH/USDT", "1", "2500").realised == 750
    assert desk.of("ETH") == (3, 5250, 750, 0)


def test_the_last_sale_takes_all_the_cost_that_is_left() -> None:
    desk = Desk()
    desk.trade("buy", "ETH/USDT", "3", "1")
    desk.trade("buy", "ETH/USDT", "4", "2")  # 11 for 7: no finite decimal
    first = desk.trade("sell", "ETH/USDT", "1", "2")
    assert first.realised == D("2") - D("1.571428571428571429")
    desk.trade("sell", "ETH/USDT", "6", "2")
    assert desk.of("ETH") == (0, 0, 3, 0)


def test_fees_in_base_quote_and_a_third_coin_cost_what_they_are_worth() -> None:
    desk = Desk(BNB="500")
    desk.trade("buy", "BNB/USDT", "1", "400")
    desk.trade("buy", "ETH/USDT", "1", "1000", fee="0.001", fee_currency="ETH")
    assert desk.of("ETH") == (D("0.999"), 999, 0, 1)
    desk.trade("sell", "ETH/USDT", "0.999", "1000", fee="2", fee_currency="USDT")
    assert desk.of("ETH") == (0, 0, 0, 1) and desk.of("USDT")[3] == 2
    third = desk.trade("buy", "ETH/USDT", "1", "1000", fee="0.01", fee_currency="BNB")
    # 0.01 BNB cost 4 and is worth 5: a gain of 1, and a fee of 5.
    assert (third.realised, third.fee_cost) == (1, 5)
    assert desk.of("BNB") == (D("0.99"), 396, 1, 5)


def test_a_rebate_is_a_negative_fee() -> None:
    desk = Desk()
    desk.trade("buy", "ETH/USDT", "1", "1000", fee="-0.5", fee_currency="USDT")
    assert desk.of("USDT")[3] == D("-0.5")


def test_a_coin_bought_with_a_coin_is_worth_what_was_given_at_that_moment() -> None:
    desk = Desk(BTC="50000")
    desk.trade("buy", "BTC/USDT", "1", "40000")
    desk.trade("buy", "ETH/BTC", "10", "0.05")
    assert desk.of("BTC") == (D("0.5"), 20000, 5000, 0)
    assert desk.of("ETH") == (10, 25000, 0, 0)


def test_the_reporting_currency_as_base_says_the_value_itself() -> None:
    desk = Desk()
    desk.trade("sell", "USDT/EUR", "100", "0.9")
    assert desk.of("EUR") == (90, 100, 0, 0)


def test_more_than_was_ever_bought_is_an_opening_balance_and_earns_nothing() -> None:
    desk = Desk()
    desk.trade("buy", "ETH/USDT", "1", "1000")
    sold = desk.trade("sell", "ETH/USDT", "4", "1500")
    assert sold.realised == 500
    held = desk.position("ETH")
    assert (held.quantity, held.cost, held.opened, held.opened_value) == (0, 0, 3, 4500)


def test_what_another_bot_of_the_user_bought_is_sold_at_its_cost() -> None:
    desk = Desk()
    desk.trade("buy", "ETH/USDT", "1", "1000", bot="zoe")
    desk.trade("buy", "ETH/USDT", "1", "1200", bot="amy")
    desk.trade("buy", "ETH/USDT", "5", "900", bot="amy", user="bob")
    sold = desk.trade("sell", "ETH/USDT", "1.5", "2000", bot="mia")
    assert sold.realised == 3000 - 1200 - 500
    assert desk.of("ETH", "zoe") == (D("0.5"), 500, 0, 0)
    assert desk.of("ETH", "mia") == (0, 0, 1300, 0)


def test_what_a_bot_with_a_slice_holds_is_not_sold_by_others_nor_the_reverse() -> None:
    desk = Desk()
    desk.trade("buy", "ETH/USDT", "1", "1000", bot="amy")
    change = SliceChange(
        change_id="q1",
        user="alice",
        bot="amy",
        exchange="binance",
        account="default",
        amounts={"ETH": D(1)},
        in_force=True,
        reason="",
        set_by="adam",
        set_at=at(0),
        booking=1,
    )
    desk.books.slice(change)
    assert desk.trade("sell", "ETH/USDT", "1", "2000", bot="mia").realised == 0
    desk.trade("buy", "ETH/USDT", "1", "1500", bot="zoe")
    assert desk.trade("sell", "ETH/USDT", "2", "2000", bot="amy").realised == 1000
    assert desk.of("ETH", "zoe")[0] == 1
    assert fold(desk.booked, "USDT", [change]).positions() == desk.books.positions()


def test_where_nobody_knows_a_price_the_cost_goes_on_and_it_is_counted() -> None:
    desk = Desk()
    desk.trade("buy", "BTC/USDT", "1", "40000")
    swapped = desk.trade("buy", "ZEN/BTC", "100", "0.005")
    assert swapped.value is None and swapped.realised == 0
    held = desk.position("ZEN")
    assert (held.quantity, held.cost, held.unvalued) == (100, 20000, 100)
    assert desk.position("BTC").unvalued == D("0.5")
    paid = desk.trade("buy", "ETH/USDT", "1", "1000", fee="1", fee_currency="ZEN")
    assert paid.fee_value is None and paid.fee_cost == 200 and paid.realised == 0


@pytest.mark.parametrize(
    ("mids", "currency", "expected"),
    [
        ({"ETH/USDT": "2000"}, "ETH", "2000"),
        ({"USDT/EUR": "0.8"}, "EUR", "1.25"),
        ({"ZEN/BTC": "0.001", "BTC/USDT": "50000"}, "ZEN", "50"),
        ({"ZEN/BTC": "0.001"}, "ZEN", None),
        ({}, "USD", None),  # a dollar is not taken for a stablecoin
    ],
)
def test_worth_is_read_directly_or_over_one_hub(mids, currency, expected) -> None:
    known = {symbol: D(price) for symbol, price in mids.items()}
    found = worth(currency, "USDT", known.get)
    assert found == (None if expected is None else D(expected))
    assert (path(currency, "USDT", known.__contains__) == []) == (expected is None)


ASSETS = ("ETH", "BTC", "USDT", "ZEN", "EUR")
AMOUNT = st.decimals("0.00000001", "10000", places=8)
TRADES = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]),
        st.sampled_from(["ETH/USDT", "BTC/USDT", "ETH/BTC", "ZEN/BTC", "USDT/EUR", "ETH/ZEN"]),
        AMOUNT,
        AMOUNT,
        st.sampled_from(["amy", "bob", "zoe"]),
        st.decimals("-0.01", "0.01", places=6),
        st.sampled_from(ASSETS),
    ),
    max_size=40,
)


@given(TRADES)
@settings(max_examples=60, deadline=None)
def test_costs_are_capital_and_gains_less_fees_whatever_is_traded(trades) -> None:
    desk = Desk(BTC="50000", EUR="1.1", ETH="2000.123456")  # nobody knows ZEN
    for side, symbol, quantity, price, bot, fee, coin in trades:
        desk.trade(side, symbol, str(quantity), str(price), bot=bot, fee=str(fee), fee_currency=coin)
    held = desk.books.positions()
    assert all(p.quantity >= 0 and p.cost >= 0 for p in held)
    assert all(p.cost == 0 for p in held if p.quantity == 0)
    with localcontext(prec=60):
        costs = sum((p.cost for p in held), D(0))
        brought = sum((p.opened_value for p in held), D(0))
        assert costs == brought + sum((p.realised - p.fees for p in held), D(0))
    assert fold(reversed(desk.booked), "USDT").positions() == held


def taken(desk: Desk, day: int, prices: dict[str, Decimal]) -> Snapshot:
    """A snapshot of the desk's books as they stand, at these prices."""
    held = desk.books.positions()
    mark = SnapshotDay(
        day=date(2026, 11, day),
        currency="USDT",
        taken_at=at(0),
        booking=len(desk.booked),
        positions=len(held),
    )
    rows = [PositionSnapshot(day=mark.day, position=p, price=prices.get(p.asset)) for p in held]
    return Snapshot(day=mark, positions=tuple(rows))


PRICES = st.fixed_dictionaries(dict.fromkeys(ASSETS[:-1], AMOUNT) | {"EUR": AMOUNT})


@given(TRADES, TRADES, PRICES, PRICES)
@settings(max_examples=40, deadline=None)
def test_a_day_earned_what_its_fills_did_and_prices_changed_to_the_last_digit(
    earlier, later, opening, closing
) -> None:
    desk = Desk(BTC="50000", EUR="1.1", ETH="2000.123456")
    for number, (trades, prices) in enumerate(((earlier, opening), (later, closing)), start=21):
        for side, symbol, quantity, price, bot, fee, coin in trades:
            desk.trade(side, symbol, str(quantity), str(price), bot=bot, fee=str(fee), fee_currency=coin)
        if number == 21:
            before = taken(desk, number, prices)
    after = taken(desk, 22, closing)
    found = change(before, after)
    fills = desk.booked[before.day.booking : after.day.booking]
    with localcontext(prec=80):
        results = sum((f.realised - f.fee_cost for f in fills), D(0))

        def worth_above_cost(snapshot: Snapshot) -> Decimal:
            rows = [(r.position, r.price) for r in snapshot.positions if r.position.quantity]
            return sum((round(p.quantity * price, 18) - p.cost for p, price in rows), D(0))

        assert found.pnl == results + worth_above_cost(after) - worth_above_cost(before)
        # The other way round: what all is worth more, less what came in from outside.
        value = [
            sum((round(r.position.quantity * r.price, 18) for r in s.positions if r.position.quantity), D(0))
            for s in (before, after)
        ]
        assert found.pnl == value[1] - value[0] - found.brought_in
        # And bot by bot it comes to the same.
        whose = {r.position.bot for r in after.positions}
        parts = [change(only(before, bot), only(after, bot)) for bot in whose]
        assert sum((part.pnl for part in parts), D(0)) == found.pnl and found.unpriced == ()


def only(snapshot: Snapshot, bot: str) -> Snapshot:
    return replace(snapshot, positions=tuple(r for r in snapshot.positions if r.position.bot == bot))


def test_what_has_no_price_is_left_out_of_the_price_change_and_named() -> None:
    desk = Desk()
    desk.trade("buy", "ETH/USDT", "2", "1000")
    desk.trade("buy", "ZEN/USDT", "1", "10")
    before = taken(desk, 21, {"USDT": D(1), "ETH": D(1100)})
    desk.trade("sell", "ZEN/USDT", "0.5", "30")
    found = change(before, taken(desk, 22, {"USDT": D(1), "ETH": D(900), "ZEN": D(30)}))
    assert (found.realised, found.price_change, found.pnl) == (10, -400, -390)
    assert found.unpriced == ("ZEN at binance/default",)
