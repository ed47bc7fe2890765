"""Plans for a portfolio: what trades, what it costs, what stays, and in which order money flows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ems.core.messages import Side
from ems.routing.plan import Listing, Node, PlannedLeg
from ems.routing.planner import (
    BALANCED,
    EMPTY,
    TOO_SMALL,
    PortfolioPlan,
    amount_of,
    better_by_bp,
    liquidate,
    plan_portfolio,
    value_of,
)
from tests.builders import T0, at, market

D = Decimal
BOOKS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "normalized"
FEES = D("0.001")


def listing(
    symbol: str, mid: str, *, exchange: str = "binance", account: str = "default", **fields: object
) -> Listing:
    """Return a listing with `levels` levels of `size` USD-ish each, `half` bp on each side of the mid."""
    half, size = D(str(fields.pop("half", "2"))), D(str(fields.pop("size", "100000")))
    levels, when = int(str(fields.pop("levels", 4))), float(str(fields.pop("when", 0)))
    step = D(mid) * half / 10000
    rules: dict[str, object] = {"tick": "0.00000001", "max_quantity": None, **fields}
    quantity = (size / D(mid)).quantize(D("0.000001"))
    return Listing(
        exchange=exchange,
        account=account,
        market=replace(market(symbol, **rules), exchange=exchange),
        bids=tuple((D(mid) - step * (k + 1), quantity) for k in range(levels)),
        asks=tuple((D(mid) + step * (k + 1), quantity) for k in range(levels)),
        at=at(when),
    )


def venue(exchange: str = "binance", account: str = "default") -> list[Listing]:
    """Return three coins against USDT and against one another."""
    return [
        listing(
            "BTC/USDT", "60000", exchange=exchange, account=account, lot="0.00001", min_quantity="0.00001"
        ),
        listing("ETH/USDT", "2500", exchange=exchange, account=account),
        listing("ADA/USDT", "0.5", exchange=exchange, account=account, lot="0.1", min_quantity="0.1"),
    ]


CROSS = listing("ETH/BTC", "0.0416666667", size="2", min_notional="0.0001")


def held(exchange: str = "binance", account: str = "default", **amounts: str) -> dict[Node, Decimal]:
    return {(exchange, account, currency): D(amount) for currency, amount in amounts.items()}


def shares(plan: PortfolioPlan, holdings: Mapping[Node, Decimal]) -> dict[str, Decimal]:
    """Return currency -> share of the value after the legs, of what is not kept."""
    after = {
        currency: sum((a for n, a in balances(plan.legs, holdings).items() if n[2] == currency), D(0))
        * plan.prices[currency]
        for currency in {node[2] for node in balances(plan.legs, holdings)} & plan.prices.keys() - plan.keep
    }
    return {currency: value / sum(after.values()) for currency, value in after.items()}


def balances(legs: Iterable[PlannedLeg], holdings: Mapping[Node, Decimal]) -> dict[Node, Decimal]:
    after = dict(holdings)
    for leg in legs:
        for currency, change in ((leg.source, -leg.spend), (leg.target, leg.receive)):
            node = (leg.exchange, leg.account, currency)
            after[node] = after.get(node, D(0)) + change
    return after


def names(plan: PortfolioPlan) -> list[str]:
    return [f"{leg.side} {leg.symbol}@{leg.exchange}" for leg in plan.legs]


def check(
    plan: PortfolioPlan,
    listings: Iterable[Listing],
    holdings: Mapping[Node, Decimal],
    reserve: Mapping[Node, Decimal] | None = None,
) -> None:
    """Assert what holds for every plan: orders venues accept, and nothing spent that is not there yet."""
    books = {(l.exchange, l.account, l.market.symbol): l for l in listings}
    assert [leg.level for leg in plan.legs] == sorted(leg.level for leg in plan.legs)
    now = dict(holdings)
    for level in sorted({leg.level for leg in plan.legs}):
        legs = [leg for leg in plan.legs if leg.level == level]
        for leg in legs:
            node = (leg.exchange, leg.account, leg.source)
            now[node] = now.get(node, D(0)) - leg.spend
            assert now[node] >= min((reserve or {}).get(node, D(0)), holdings.get(node, D(0))), leg
        for leg in legs:
            node = (leg.exchange, leg.account, leg.target)
            now[node] = now.get(node, D(0)) + leg.receive
    sides: dict[tuple[str, str, str], set[Side]] = {}
    assert acyclic(plan.legs), "money flows in a circle"
    for leg in plan.legs:
        book = books[leg.exchange, leg.account, leg.symbol]
        rules, levels = book.market, book.bids if leg.side is Side.SELL else book.asks
        assert rules.active
        assert leg.quantity == rules.floor_quantity(leg.quantity) >= rules.min_quantity
        assert leg.quantity * leg.price >= rules.min_notional
        assert leg.price in [price for price, _ in levels]
        sides.setdefault((leg.exchange, leg.account, leg.symbol), set()).add(leg.side)
        assert all(isinstance(x, Decimal) for x in (leg.quantity, leg.price, leg.spend, leg.receive))
    assert all(len(seen) == 1 for seen in sides.values()), "both sides of one market"
    assert bool(plan.legs) != bool(plan.reason)


def acyclic(legs: Iterable[PlannedLeg]) -> bool:
    ahead: dict[Node, set[Node]] = {}
    for leg in legs:
        here, there = (leg.exchange, leg.account, leg.source), (leg.exchange, leg.account, leg.target)
        ahead.setdefault(here, set()).add(there)
    while ends := [node for node, targets in ahead.items() if not targets & ahead.keys()]:
        for node in ends:
            del ahead[node]
    return not ahead


# --- Rebalancing ---------------------------------------------------------------------------------


def test_cash_alone_is_spread_over_the_targets():
    holdings = held(USDT="100000")
    books = [*venue(), CROSS]
    plan = plan_portfolio(books, holdings, {"BTC": D("0.5"), "ETH": D("0.3"), "USDT": D("0.2")})
    check(plan, books, holdings)
    assert names(plan) == ["buy BTC/USDT@binance", "buy ETH/USDT@binance"]
    assert {leg.level for leg in plan.legs} == {0}
    after = shares(plan, holdings)
    for currency, weight in (("BTC", "0.5"), ("ETH", "0.3"), ("USDT", "0.2")):
        assert abs(after[currency] - D(weight)) <= D("0.0023"), currency
    assert plan.value_before == 100000
    assert plan.numeraire == "USDT" and plan.prices["BTC"] == 60000
    assert plan.value_after == plan.value_before - plan.cost_bps * plan.turnover / 10000
    assert 11 < plan.cost_bps < 15  # 10 of fees, 2 of half spread, a little of depth
    assert sum(plan.unreached.values()) < D("0.00001") and plan.dust == {} and plan.reason == ""
    assert plan.gap_bp <= D("0.05")


def test_a_balanced_portfolio_trades_nothing():
    holdings = held(USDT="50000", ETH="20.02")  # 50.02 %: inside 0.2 %
    plan = plan_portfolio(venue(), holdings, {"USDT": D("0.5"), "ETH": D("0.5")})
    assert (plan.legs, plan.reason, plan.turnover, plan.unreached) == ((), BALANCED, 0, {})
    assert plan.value_after == plan.value_before == D("100050")


def test_a_portfolio_outside_its_band_trades_to_the_edge_only():
    holdings = held(USDT="49000", ETH="20.4")
    plan = plan_portfolio(venue(), holdings, {"USDT": D("0.5"), "ETH": D("0.5")})
    check(plan, venue(), holdings)
    assert names(plan) == ["sell ETH/USDT@binance"]
    after = shares(plan, holdings)
    assert D("0.5018") < after["ETH"] < D("0.5021")
    assert plan.unreached == {}


def test_a_market_between_two_coins_saves_a_leg():
    holdings = held(ETH="40")
    books = [*venue(), CROSS]
    plan = plan_portfolio(books, holdings, {"BTC": D("0.5"), "ETH": D("0.5")})
    check(plan, books, holdings)
    assert names(plan) == ["sell ETH/BTC@binance"]
    around = plan_portfolio(venue(), holdings, {"BTC": D("0.5"), "ETH": D("0.5")})
    check(around, venue(), holdings)
    assert names(around) == ["sell ETH/USDT@binance", "buy BTC/USDT@binance"]
    assert [leg.level for leg in around.legs] == [0, 1]
    assert around.cost_bps - plan.cost_bps > 10


def test_what_one_account_has_too_much_of_another_need_not_buy():
    books = [*venue("binance"), *venue("kraken")]
    holdings = held("binance", BTC="1") | held("kraken", USDT="60000")
    plan = plan_portfolio(books, holdings, {"BTC": D("0.5"), "USDT": D("0.5")})
    assert (plan.legs, plan.reason) == ((), BALANCED)
    holdings = held("binance", BTC="1") | held("kraken", USDT="40000")
    plan = plan_portfolio(books, holdings, {"BTC": D("0.5"), "USDT": D("0.5")})
    check(plan, books, holdings)
    assert names(plan) == ["sell BTC/USDT@binance"]


def test_the_cheaper_venue_is_used():
    books = [
        listing("ETH/USDT", "2500", exchange="dear", taker_fee="0.002"),
        listing("ETH/USDT", "2500", exchange="fair", taker_fee="0.0005"),
    ]
    holdings = held("dear", USDT="10000") | held("fair", USDT="10000")
    plan = plan_portfolio(books, holdings, {"ETH": D("0.4"), "USDT": D("0.6")})
    check(plan, books, holdings)
    assert names(plan) == ["buy ETH/USDT@fair"]


def test_kept_currencies_neither_count_nor_change():
    holdings = held(USDT="10000", BTC="1", ETH="4")
    books = [*venue(), CROSS]
    plan = plan_portfolio(books, holdings, {"USDT": D("0.25"), "ETH": D("0.75")}, keep=["BTC"])
    check(plan, books, holdings, held(BTC="1"))
    assert plan.value_before == 20000
    assert names(plan) == ["buy ETH/USDT@binance"]
    assert balances(plan.legs, holdings)["binance", "default", "BTC"] == 1
    assert "BTC" not in plan.unreached


def test_a_kept_currency_may_be_passed_through():
    books = [listing("BTC/USDT", "60000", lot="0.00001"), CROSS]
    holdings = held(USDT="10000", BTC="1")
    plan = plan_portfolio(books, holdings, {"ETH": D(1)}, keep=["BTC"], tolerance=D(0))
    check(plan, books, holdings)
    assert names(plan) == ["buy BTC/USDT@binance", "buy ETH/BTC@binance"]
    assert [leg.level for leg in plan.legs] == [0, 1]  # not out of the BTC that is kept
    left = balances(plan.legs, holdings)["binance", "default", "BTC"] - 1
    assert 0 <= left < D("0.00001")


def test_a_reserve_stays():
    holdings = held(USDT="10000")
    reserve = held(USDT="1000")
    plan = plan_portfolio(venue(), holdings, {"ETH": D(1)}, reserve=reserve)
    check(plan, venue(), holdings, reserve)
    assert D(1000) <= balances(plan.legs, holdings)["binance", "default", "USDT"] < D("1000.5")
    assert D("0.097") < plan.unreached["ETH"] < D("0.099")


def test_a_book_too_thin_for_the_weight_is_said():
    books = [listing("ETH/USDT", "2500", size="1000", levels=3)]
    holdings = held(USDT="10000")
    plan = plan_portfolio(books, holdings, {"ETH": D("0.5"), "USDT": D("0.5")})
    check(plan, books, holdings)
    assert [leg.quantity for leg in plan.legs] == [D("1.2")]
    assert D("0.19") < plan.unreached["ETH"] < D("0.21")
    assert D("0.19") < plan.unreached["USDT"] < D("0.21")


def test_a_weight_without_a_market_is_unreached():
    plan = plan_portfolio(venue(), held(USDT="10000"), {"XMR": D("0.5"), "USDT": D("0.5")})
    assert plan.legs == () and plan.reason == TOO_SMALL
    assert plan.unreached == {"USDT": D("0.498"), "XMR": D("0.498")}


def test_levels_worse_than_the_penalty_are_left():
    """Missing a weight costs 5 % on both sides: selling 15 % under the mid is worse."""
    awful = replace(
        listing("ADA/USDT", "0.5", lot="0.1"), bids=((D("0.499"), D(1000)), (D("0.42"), D(100000)))
    )
    holdings = held(ADA="10000", USDT="1000")
    plan = plan_portfolio([awful], holdings, {"USDT": D(1)})
    assert [leg.quantity for leg in plan.legs] == [1000]
    assert plan.unreached["ADA"] > D("0.7")


def test_a_halted_market_is_not_used():
    books = [listing("ETH/USDT", "2500", active=False), listing("BTC/USDT", "60000", lot="0.00001"), CROSS]
    holdings = held(USDT="10000")
    plan = plan_portfolio(books, holdings, {"ETH": D("0.5"), "USDT": D("0.5")})
    check(plan, books, holdings)
    assert names(plan) == ["buy BTC/USDT@binance", "buy ETH/BTC@binance"]
    assert [leg.level for leg in plan.legs] == [0, 1]


def test_a_coin_no_book_prices_is_left_out_and_said():
    holdings = held(USDT="10000", LUNA="7")
    plan = plan_portfolio(venue(), holdings, {"ETH": D("0.5"), "USDT": D("0.5")})
    assert plan.value_before == 10000
    dust = plan.dust["binance", "default", "LUNA"]
    assert (dust.amount, dust.value, dust.why) == (7, None, "no book tells its price")


def test_a_dollar_price_joins_books_that_do_not_touch():
    books = [listing("ETH/USDT", "2500"), listing("XMR/EUR", "200", exchange="kraken")]
    holdings = held(USDT="2600") | held("kraken", XMR="13")
    weights = {"EUR": D("0.5"), "USDT": D("0.5")}
    assert plan_portfolio(books, holdings, weights).value_before == 2600
    plan = plan_portfolio(books, holdings, weights, usd={"EUR": D("1.1")})
    check(plan, books, holdings)
    assert plan.value_before == 2600 + 13 * 220
    assert "sell XMR/EUR@kraken" in names(plan)


def test_small_trades_are_not_made():
    holdings = held(USDT="5000", ETH="0.002", ADA="12000")
    plan = plan_portfolio(venue(), holdings, {"USDT": D("0.25"), "ADA": D("0.75")}, tolerance=D(0))
    check(plan, venue(), holdings)
    assert names(plan) == ["buy ADA/USDT@binance"]
    dust = plan.dust["binance", "default", "ETH"]
    assert (dust.amount, dust.value, dust.why) == (D("0.002"), 5, "below the smallest order")


def test_the_smallest_trade_is_counted_in_dollars():
    books = [listing("ADA/BTC", "0.00001", lot="1", size="1", min_notional="0.00001")]
    holdings = held(BTC="0.01", ADA="60")  # 60 ADA are 0.0006 BTC
    weights = {"BTC": D(1)}
    dollars = {"BTC": D(60000)}
    assert plan_portfolio(books, holdings, weights, usd=dollars, min_trade=D(40)).legs == ()
    plan = plan_portfolio(books, holdings, weights, usd=dollars, min_trade=D(20))
    assert names(plan) == ["sell ADA/BTC@binance"]


def test_two_accounts_of_one_exchange_share_its_book():
    books = []
    for account in ("a", "b"):
        books.append(listing("ADA/USDT", "0.5", account=account, size="1000", levels=3, lot="0.1"))
    holdings = held(account="a", ADA="4000") | held(account="b", ADA="4000")
    plan = liquidate(books, holdings, "USDT")
    check(plan, books, holdings)
    assert sum(leg.quantity for leg in plan.legs) == 6000  # three levels of 2000, once
    assert sum(leg.receive for leg in plan.legs) == sum(2000 * p for p, _ in books[0].bids) * (1 - FEES)


def test_the_latest_book_of_an_exchange_is_every_accounts():
    books = [
        listing("ADA/USDT", "0.5", account="a", lot="0.1", when=1),
        listing("ADA/USDT", "0.4", account="b", lot="0.1", when=0),
    ]
    plan = liquidate(books, held(account="b", ADA="1000"), "USDT")
    assert plan.prices["ADA"] == D("0.5")
    assert plan.legs[0].price == books[0].bids[0][0]


def test_profit_in_a_circle_is_not_sought():
    """One venue's ETH is 2 % dear: real or stale, that is not what was asked for."""
    books = [
        listing("ETH/USDT", "2500"),
        listing("BTC/USDT", "60000", lot="0.00001"),
        listing("ETH/BTC", "0.0425", size="2", min_notional="0.0001"),
    ]
    holdings = held(USDT="10000", ETH="2", BTC="0.1")
    plan = plan_portfolio(books, holdings, {"USDT": D("0.5"), "ETH": D("0.25"), "BTC": D("0.25")})
    check(plan, books, holdings)
    assert plan.arbitrage
    assert plan.turnover < 2000  # what the weights ask for, not all that the circle would bear


@pytest.mark.parametrize(
    "books",
    [
        [*venue(), listing("ETH/BTC", "0.0425", size="2", min_notional="0.0001")],  # a circle of three
        [*venue(), listing("ETH/BTC", "0.0410", size="2", min_notional="0.0001")],  # and the other way round
        [
            replace(
                listing("ETH/USDT", "2500"),
                bids=((D(2530), D(4)), (D(2499), D(100))),  # a crossed book
                asks=((D(2480), D(4)), (D(2501), D(100))),
            )
        ],
    ],
    ids=["dear", "cheap", "crossed"],
)
def test_liquidating_over_bad_books_goes_in_no_circle(books):
    """A coin that cannot be sold leaves the goal short, so profit is welcome; no circle is closed for it."""
    books = [*books, listing("ZEN/USDT", "10", active=False)]
    holdings = held(USDT="10000", ETH="2", BTC="0.1", ZEN="2000")
    plan = liquidate(books, holdings, "USDT")
    check(plan, books, holdings)
    assert plan.arbitrage
    assert {leg.source for leg in plan.legs if leg.level == 0} <= {"ETH", "BTC"}
    assert plan.turnover < 12000
    assert plan.dust["binance", "default", "ZEN"].why == "its market is halted"


@pytest.mark.parametrize("fee_mode", ["received", "quote", "base", "third"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_fees_are_paid_where_the_market_charges_them(fee_mode, side):
    books = [listing("ETH/USDT", "2500", fee_mode=fee_mode)]
    holdings = held(USDT="10000") if side == "buy" else held(ETH="4")
    plan = liquidate(books, holdings, "ETH" if side == "buy" else "USDT")
    check(plan, books, holdings)
    (leg,) = plan.legs
    lot = D("0.0001")
    if side == "buy":
        cost = leg.quantity * leg.price
        assert leg.spend == (cost * (1 + FEES) if fee_mode == "quote" else cost)
        assert leg.receive == (leg.quantity if fee_mode == "quote" else leg.quantity * (1 - FEES))
        assert leg.quantity + lot > D(10000) / leg.price / (1 + FEES if fee_mode == "quote" else 1)
    else:
        assert leg.spend == (leg.quantity * (1 + FEES) if fee_mode == "base" else leg.quantity)
        gross = leg.quantity * leg.price
        assert leg.receive == (gross if fee_mode == "base" else gross * (1 - FEES))
        assert leg.spend <= 4 < leg.spend + 2 * lot


@pytest.mark.parametrize(
    ("weights", "keep", "words"),
    [
        ({"BTC": D("0.7"), "ETH": D("0.4")}, (), "weights: they sum to 1.1"),
        ({"BTC": D("-0.1")}, (), "weights: BTC is -0.1"),
        ({"BTC": D("NaN")}, (), "weights: BTC is NaN"),
        ({"BTC": D("0.5")}, ("BTC",), "weights: BTC is in keep"),
    ],
)
def test_impossible_weights_are_refused(weights, keep, words):
    with pytest.raises(ValueError, match=words):
        plan_portfolio(venue(), held(USDT="1"), weights, keep=keep)


def test_an_impossible_tolerance_is_refused():
    with pytest.raises(ValueError, match="tolerance: -1"):
        plan_portfolio(venue(), held(USDT="1"), {"ETH": D(1)}, tolerance=D(-1))


@pytest.mark.parametrize("holdings", [{}, held(USDT="0"), held(LUNA="5")])
def test_nothing_held_is_nothing_to_do(holdings):
    plan = plan_portfolio(venue(), holdings, {"ETH": D(1)})
    assert (plan.legs, plan.reason, plan.value_before) == ((), EMPTY, 0)


def test_no_listings_at_all():
    plan = plan_portfolio([], held(USDT="100", ETH="1"), {"ETH": D(1)})
    assert plan.legs == () and plan.reason
    assert plan.dust["binance", "default", "USDT"].why == "no market at this account"


def test_the_same_question_has_the_same_answer_in_any_order():
    books = [*venue("binance"), *venue("kraken"), CROSS]
    holdings = held("binance", BTC="0.3", ADA="5000") | held("kraken", USDT="9000", ETH="2")
    weights = {"ETH": D("0.6"), "BTC": D("0.2"), "USDT": D("0.2")}
    plan = plan_portfolio(books, holdings, weights)
    again = plan_portfolio(books[::-1], dict(reversed(holdings.items())), dict(reversed(weights.items())))
    assert plan == again
    check(plan, books, holdings)


# --- Liquidating ---------------------------------------------------------------------------------


def test_twelve_holdings_become_one():
    coins = {f"C{n:02}": D(10) ** (n % 4 - 1) for n in range(9)}  # C00..C08
    books = [
        *venue(),
        CROSS,
        *(listing(f"{coin}/USDT", str(price), half="10", lot="0.01", min_quantity="0.01")
          for coin, price in coins.items() if coin not in ("C01", "C02")),
        listing("C01/BTC", str(coins["C01"] / 60000), lot="0.01", size="1", min_notional="0.0001"),
        listing("C02/USDT", str(coins["C02"]), active=False),
    ]  # fmt: skip
    holdings = held(
        USDT="250", BTC="0.5", ETH="3", ADA="4000.37", C00="50000", C01="700", C02="30",
        C03="0.04", C04="20000", C05="900", C06="0.001", C07="12",
    )  # fmt: skip
    plan = liquidate(books, holdings, "USDT")
    check(plan, books, holdings)
    sold = {leg.source for leg in plan.legs}
    assert sold == {"BTC", "ETH", "ADA", "C00", "C01", "C04", "C05", "C07"}
    whys = {node[2]: dust.why for node, dust in plan.dust.items()}
    assert whys == {
        "ADA": "less than one lot",
        "BTC": "below the smallest order",  # what is over of what C01 brought
        "C02": "its market is halted",
        "C03": "below the smallest order",
        "C06": "less than one lot",
    }
    assert plan.dust["binance", "default", "ADA"].amount == D("0.07")
    after = balances(plan.legs, holdings)
    assert after["binance", "default", "BTC"] < D("0.00001")  # with what C01 brought
    assert after["binance", "default", "USDT"] == plan.value_after - sum(
        amount * plan.prices[node[2]] for node, amount in after.items() if node[2] != "USDT"
    )
    assert {c for c, share in plan.unreached.items() if share > D("0.0001")} == {"C02", "USDT"}
    btc = next(leg for leg in plan.legs if leg.source == "BTC")
    assert btc.level == 1  # it also sells what C01 brings


def test_each_account_keeps_its_money():
    books = [*venue("binance"), *venue("kraken")]
    holdings = held("binance", ETH="1") | held("kraken", BTC="0.1", ADA="100")
    plan = liquidate(books, holdings, "USDT")
    check(plan, books, holdings)
    assert sorted(names(plan)) == ["sell ADA/USDT@kraken", "sell BTC/USDT@kraken", "sell ETH/USDT@binance"]


def test_only_the_named_are_sold_and_never_the_excluded():
    holdings = held(BTC="1", ETH="1", ADA="1000")
    only = liquidate(venue(), holdings, "USDT", currencies=["ETH", "ADA"])
    assert {leg.source for leg in only.legs} == {"ETH", "ADA"}
    without = liquidate(venue(), holdings, "USDT", exclude=["BTC"])
    assert without.legs == only.legs
    assert only.value_before == 3000


def test_what_is_already_there_is_nothing_to_do():
    plan = liquidate(venue(), held(USDT="1000"), "USDT")
    assert (plan.legs, plan.reason) == ((), BALANCED)


def test_only_dust():
    plan = liquidate(venue(), held(USDT="1000", ETH="0.001"), "USDT")
    assert (plan.legs, plan.reason) == ((), TOO_SMALL)
    assert plan.dust["binance", "default", "ETH"].value == D("2.5")


# --- Comparing plans -----------------------------------------------------------------------------


def test_value_and_amount_of_legs_are_the_plans_own():
    holdings = held(ETH="10", ADA="3000")
    plan = liquidate([*venue(), CROSS], holdings, "BTC")
    assert value_of(plan.legs, [*venue(), CROSS], holdings) == plan.value_after
    bought = sum(leg.receive for leg in plan.legs if leg.target == "BTC")
    spent = sum(leg.spend for leg in plan.legs if leg.source == "BTC")
    assert amount_of("BTC", plan.legs, [*venue(), CROSS], holdings) == bought - spent
    assert better_by_bp(plan, plan.legs, [*venue(), CROSS]) == 0


def test_a_cheaper_way_that_opened_is_worth_changing_to():
    holdings = held(ETH="20")
    old = liquidate(venue(), holdings, "BTC")
    new = liquidate([*venue(), CROSS], holdings, "BTC")
    assert better_by_bp(new, old.legs, [*venue(), CROSS]) > 5
    assert better_by_bp(old, new.legs, [*venue(), CROSS]) < -5


def test_a_plan_whose_market_halted_loses_to_one_that_trades():
    holdings = held(ETH="20")
    old = liquidate([*venue(), CROSS], holdings, "BTC")
    halted = [*venue(), replace(CROSS, market=replace(CROSS.market, active=False))]
    new = liquidate(halted, holdings, "BTC")
    assert better_by_bp(new, old.legs, halted) > 100


def test_a_hair_better_is_said_as_a_hair():
    holdings = held(ETH="20")
    books = [listing("ETH/USDT", "2500", half="2")]
    old = liquidate(books, holdings, "USDT")
    moved = [replace(books[0], bids=tuple((p + D("0.01"), q) for p, q in books[0].bids))]
    new = liquidate(moved, holdings, "USDT")
    assert abs(better_by_bp(new, old.legs, moved)) < D("0.5")


# --- Real books ----------------------------------------------------------------------------------


@pytest.mark.skipif(not BOOKS.is_dir(), reason="no shared recordings here")
def test_real_books_of_three_venues():
    with gzip.open(BOOKS / "seed_books_20260809.json.gz", "rt") as file:
        recorded = json.load(file)
    books = []
    for seed in recorded:
        symbol = _symbol(seed["symbol"])
        if seed["venue"] in ("coinbase", "bybit-spot", "gemini") and symbol and seed["bids"] and seed["asks"]:
            books.append(
                Listing(
                    exchange=seed["venue"],
                    account="default",
                    market=market(symbol, lot="0.000001", min_quantity="0.000001"),
                    bids=tuple((D(p), D(q)) for p, q in seed["bids"]),
                    asks=tuple((D(p), D(q)) for p, q in seed["asks"]),
                    at=T0,
                )
            )
    assert len({book.exchange for book in books}) == 3
    holdings = (
        held("coinbase", USD="100000") | held("gemini", BTC="1", USD="5") | held("bybit-spot", ETH="30")
    )
    weights = {"BTC": D("0.4"), "ETH": D("0.4"), "USD": D("0.1"), "USDT": D("0.1")}
    plan = plan_portfolio(books, holdings, weights)
    check(plan, books, holdings)
    assert plan.legs and plan.gap_bp < D("0.1")
    assert plan.cost_bps < 20
    for currency, weight in weights.items():
        assert abs(shares(plan, holdings).get(currency, D(0)) - weight) < D("0.003")


def _symbol(name: str) -> str:
    for quote in ("USDT", "USD"):
        for join in ("-", "/", ""):
            if name.endswith(join + quote):
                return f"{name.removesuffix(join + quote)}/{quote}"
    return ""
