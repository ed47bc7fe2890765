"""Every rule of a market at its border, a step below and above; all problems at once; what would pass."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from ems.core import errors
from ems.core.instrument import MarketStatus, PriceBand, Rules
from ems.core.messages import OrderType, Side
from ems.core.validation import Picture, Terms, judge
from tests.builders import market

D = Decimal
LIMIT, MARKET, STOP, STOP_LIMIT = (
    OrderType.LIMIT,
    OrderType.MARKET,
    OrderType.STOP_LOSS,
    OrderType.STOP_LOSS_LIMIT,
)
BAND = PriceBand(buy_low=D("0.2"), buy_high=D("1.2"), sell_low=D("0.8"), sell_high=D(5))
# Steps of 0.01 and 0.0001, from 0.01 to 9000, worth at least 5.
PLAIN = market(min_quantity="0.01")
RULED = replace(
    PLAIN,
    rules=Rules(
        min_price=D("0.5"),
        max_price=D(100_000),
        band=BAND,
        max_market_quantity=D(50),
        max_post_only_quantity=D(9500),
        max_notional=D(1_000_000),
        market_max_notional=False,
        max_open_orders=10,
        max_waiting_orders=2,
    ),
)
SEEN = Picture(mid=D(2000), taken_at=D(1999))


def terms(quantity="1", price: str | None = "2000", *, side=Side.BUY, kind=LIMIT, **fields):
    stop = fields.pop("stop", None)
    return Terms(
        side=side,
        order_type=kind,
        quantity=D(quantity),
        price=None if price is None else D(price),
        stop_price=None if stop is None else D(stop),
        **fields,
    )


def found(judged):
    return [(p.details["rule"], p.details["nearest"]) for p in judged.problems]


SELL = {"side": Side.SELL}
BORDERS = {
    "least quantity": (PLAIN, terms("0.01"), []),
    "one lot less": (PLAIN, terms("0.0099"), [("min_quantity", "0.01")]),
    "less than a lot": (PLAIN, terms("0.00009"), [("min_quantity", "0.01")]),
    "one lot more": (PLAIN, terms("0.0101"), []),
    "most quantity": (PLAIN, terms("9000"), []),
    "one lot above the most": (PLAIN, terms("9000.0001"), [("max_quantity", "9000")]),
    "less than a lot above the most": (PLAIN, terms("9000.00009"), []),
    "worth the least": (PLAIN, terms("0.05", "100"), []),
    "a lot short of the least worth": (PLAIN, terms("0.0499", "100"), [("min_notional", "0.05")]),
    "worth less by a tick": (PLAIN, terms("0.05", "99.99"), [("min_notional", "0.0501")]),
    "no worth is known of a market order": (PLAIN, terms("0.01", None, kind=MARKET), []),
    "worth the most": (RULED, terms("500", "2000"), []),
    "a lot above the most worth": (RULED, terms("500.0001", "2000"), [("max_notional", "500")]),
    "most of a post-only": (
        replace(PLAIN, rules=Rules(max_post_only_quantity=D(9500))),
        terms("9500.0001", post_only=True),
        [("max_post_only_quantity", "9500")],
    ),
    "the most of a post-only is not for others": (
        replace(PLAIN, rules=Rules(max_post_only_quantity=D(9500))),
        terms("9500"),
        [("max_quantity", "9000")],
    ),
    "too far away and worth too much": (
        RULED,
        terms("9500", "100", post_only=True),
        [("price_band", "400"), ("max_notional", "2500")],
    ),
    "least price": (replace(RULED, rules=Rules(min_price=D("0.5"))), terms("10", "0.5"), []),
    "a tick below the least price": (
        replace(RULED, rules=Rules(min_price=D("0.5"))),
        terms("10", "0.49"),
        [("min_price", "0.5")],
    ),
    "most price": (replace(RULED, rules=Rules(max_price=D(3000))), terms("1", "3000"), []),
    "a tick above the most price": (
        replace(RULED, rules=Rules(max_price=D(3000))),
        terms("1", "3000.01"),
        [("max_price", "3000")],
    ),
    "a buy below one tick": (PLAIN, terms("5000", "0.009"), [("price_step", "0.01")]),
    "a sale below one tick": (PLAIN, terms("5000", "0.009", **SELL), []),
    "highest buy of the band": (RULED, terms("1", "2400"), []),
    "a tick above the band": (RULED, terms("1", "2400.01"), [("price_band", "2400")]),
    "lowest buy of the band": (RULED, terms("1", "400"), []),
    "a tick below the band": (RULED, terms("1", "399.99"), [("price_band", "400")]),
    "lowest sale of the band": (RULED, terms("1", "1600", **SELL), []),
    "a tick below the band of sales": (RULED, terms("1", "1599.99", **SELL), [("price_band", "1600")]),
    "highest sale of the band": (RULED, terms("1", "10000", **SELL), []),
    "a tick above the band of sales": (RULED, terms("1", "10000.01", **SELL), [("price_band", "10000")]),
    "a stop is outside of bands": (RULED, terms("1", None, kind=STOP, stop="5000"), []),
    "a stop's own limit is not": (
        RULED,
        terms("1", "5000", kind=STOP_LIMIT, stop="5000"),
        [("price_band", "2400")],
    ),
    "a stop price above the most": (
        replace(PLAIN, rules=Rules(max_price=D(3000))),
        terms("1", None, kind=STOP, stop="3000.01"),
        [("max_price", "3000")],
    ),
    "most of a market order": (RULED, terms("50", None, kind=MARKET), []),
    "a lot above the most of a market order": (
        RULED,
        terms("50.0001", None, kind=MARKET),
        [("max_market_quantity", "50")],
    ),
    "a market order of the least worth, with 2 % to spare": (
        replace(PLAIN, min_quantity=D("0.0001")),
        terms("0.0026", None, kind=MARKET),
        [],
    ),
    "a market order that a small move makes too small": (
        replace(PLAIN, min_quantity=D("0.0001")),
        terms("0.0025", None, kind=MARKET),
        [("min_notional", "0.0026")],
    ),
    "the least worth is not for market orders": (
        replace(PLAIN, min_quantity=D("0.0001"), rules=Rules(market_min_notional=False)),
        terms("0.0001", None, kind=MARKET),
        [],
    ),
    "a waiting order is worth its stop price": (
        PLAIN,
        terms("0.01", None, kind=STOP, stop="499.99"),
        [("min_notional", "0.0101")],
    ),
}


@pytest.mark.parametrize("case", BORDERS)
def test_a_rule_holds_exactly_at_its_border(case):
    its_market, asked, expected = BORDERS[case]
    picture = Picture() if case.startswith("no worth") else SEEN
    assert found(judge(its_market, asked, picture)) == expected


@pytest.mark.parametrize(
    ("status", "asked", "taken"),
    [
        (MarketStatus.OPEN, terms(price=None, kind=MARKET), True),
        (MarketStatus.LIMIT_ONLY, terms(), True),
        (MarketStatus.LIMIT_ONLY, terms(price=None, kind=MARKET), False),
        (MarketStatus.POST_ONLY, terms(post_only=True), True),
        (MarketStatus.POST_ONLY, terms(), False),
        (MarketStatus.CANCEL_ONLY, terms(post_only=True), False),
        (MarketStatus.HALTED, terms(), False),
    ],
)
def test_the_status_of_a_market(status, asked, taken):
    judged = judge(replace(PLAIN, rules=Rules(status=status)), asked, SEEN)
    assert [p.code for p in judged.problems] == ([] if taken else [errors.MARKET_NOT_OPEN])
    if not taken:
        assert judged.problems[0].details["limit"] == status


def test_a_market_no_plan_may_use_and_nobody_says_why_is_halted():
    assert replace(PLAIN, active=False).status is MarketStatus.HALTED
    kept = replace(PLAIN, active=False, rules=Rules(status=MarketStatus.POST_ONLY))
    assert kept.status is MarketStatus.POST_ONLY


@pytest.mark.parametrize(
    ("kind", "counts", "rules"),
    [
        (LIMIT, (9, 0), []),
        (LIMIT, (10, 0), ["max_open_orders"]),
        (LIMIT, (11, 0), ["max_open_orders"]),
        (LIMIT, (2, 2), []),
        (STOP_LIMIT, (1, 1), []),
        (STOP_LIMIT, (2, 2), ["max_waiting_orders"]),
        (STOP_LIMIT, (10, 2), ["max_open_orders", "max_waiting_orders"]),
    ],
)
def test_how_many_orders_may_be_open(kind, counts, rules):
    asked = terms(kind=kind, stop=None if kind is LIMIT else "2000")
    judged = judge(RULED, asked, replace(SEEN, open_orders=counts[0], waiting_orders=counts[1]))
    assert [p.details["rule"] for p in judged.problems] == rules
    assert all(p.code == errors.ORDER_LIMIT_REACHED for p in judged.problems)


def test_every_problem_is_told_at_once_each_with_its_numbers():
    shut = replace(RULED, rules=replace(RULED.rules, status=MarketStatus.HALTED))
    judged = judge(shut, terms("0.0001", "9999.999"), replace(SEEN, open_orders=10))
    assert [p.details for p in judged.problems] == [
        {"field": "symbol", "rule": "status", "value": "ETH/USDT", "limit": "halted", "nearest": None},
        {
            "field": "price",
            "rule": "price_band",
            "value": "9999.999",
            "limit": "2400",
            "nearest": "2400",
        },
        {"field": "quantity", "rule": "min_quantity", "value": "0.0001", "limit": "0.01", "nearest": "0.01"},
        {"field": "symbol", "rule": "max_open_orders", "value": 10, "limit": 10, "nearest": None},
    ]
    listed = errors.combined(judged.problems).details["problems"]
    assert [row["code"] for row in listed] == [
        "MARKET_NOT_OPEN",
        "PRICE_INVALID",
        "AMOUNT_TOO_SMALL",
        "ORDER_LIMIT_REACHED",
    ]


def test_rounding_never_costs_the_caller_and_is_told():
    bought = judge(PLAIN, terms("1.00019", "2000.019"), SEEN)
    sold = judge(PLAIN, terms("1.00019", "2000.011", **SELL), SEEN)
    assert (bought.terms.quantity, bought.terms.price) == (D("1.0001"), D("2000.01"))
    assert (sold.terms.quantity, sold.terms.price) == (D("1.0001"), D("2000.02"))
    assert bought.problems == sold.problems == []
    assert [c.body() for c in bought.corrections] == [
        {
            "field": "price",
            "asked": "2000.019",
            "used": "2000.01",
            "limit": "0.01",
            "why": "ETH/USDT has prices in steps of 0.01",
        },
        {
            "field": "quantity",
            "asked": "1.00019",
            "used": "1.0001",
            "limit": "0.0001",
            "why": "ETH/USDT has quantities in steps of 0.0001",
        },
    ]


def test_a_quantity_is_raised_only_where_that_is_allowed():
    asked = terms("0.00001", "100")
    assert found(judge(PLAIN, asked, SEEN)) == [("min_notional", "0.05")]
    raised = judge(PLAIN, asked, SEEN, raise_to_minimum=True)
    assert (raised.problems, raised.terms.quantity) == ([], D("0.05"))
    (correction,) = raised.corrections
    assert (correction.field, correction.asked, correction.used) == ("quantity", D("0.00001"), D("0.05"))
    too_much = judge(PLAIN, terms("9000.0001"), SEEN, raise_to_minimum=True)
    assert found(too_much) == [("max_quantity", "9000")]


def test_a_price_at_which_no_quantity_passes_says_so():
    narrow = replace(PLAIN, max_quantity=D("0.04"))
    judged = judge(narrow, terms("0.01", "100"), SEEN, raise_to_minimum=True)
    assert found(judged) == [("min_notional", None)]
    assert "No quantity passes" in judged.problems[0].hint


def test_the_nearest_values_pass_whatever_was_asked():
    """Two thousand orders, most of them wrong somewhere: with every nearest value put in, nothing is left."""
    dice = Random(20261201)
    wrong = 0
    for _ in range(2000):
        kind = dice.choice((LIMIT, MARKET, STOP, STOP_LIMIT))
        asked = Terms(
            side=dice.choice(tuple(Side)),
            order_type=kind,
            quantity=D(dice.choice(("0.00001", "0.0099", "0.0123456", "1", "77.00005", "12345.6"))),
            price=D(f"{dice.uniform(0.001, 20000):.4f}") if kind.limited else None,
            stop_price=D(f"{dice.uniform(0.001, 200000):.4f}") if kind.waits else None,
            post_only=kind is LIMIT and dice.random() < 0.5,
        )
        first = judge(RULED, asked, SEEN)
        wrong += bool(first.problems)
        assert all(p.details["nearest"] is not None for p in first.problems), asked
        again = judge(RULED, first.terms, SEEN)
        assert (again.problems, again.corrections, again.terms) == ([], [], first.terms), asked
    assert 500 < wrong < 2000
