"""Money of a parent, derived from its orders: nothing is lost between legs, nothing is given twice."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.algos import ledger
from ems.core.messages import Side
from ems.core.records import Phase, Status
from tests.builders import grant, leg, order, parent

D = Decimal
USDT = ("binance", "default", "USDT")
ETH = ("binance", "default", "ETH")
BTC = ("binance", "default", "BTC")


def done(quantity, quote, index=0, **fields):
    """Return a settled order that has filled so much for so much."""
    return order(
        quantity=quantity,
        filled_quantity=D(quantity),
        quote_filled=D(quote),
        phase=Phase.SETTLED,
        status=Status.FILLED,
        leg=index,
        reserved=D(0),
        **fields,
    )


def two_hops():
    return (
        leg("ETH/USDT", amount=D(1000), receive=D("0.5")),
        leg("ETH/BTC", side=Side.SELL, amount=D("0.5"), receive=D("0.02"), level=1),
    )


# --- Named cases ---------------------------------------------------------------------------------------


def test_legs_of_one_node_divide_it_in_proportion_and_the_last_takes_the_rest():
    legs = tuple(leg(amount=D(a)) for a in (1, 1, 1))
    made = parent(legs=legs, grants=(grant("100"),))
    parts = [ledger.allotment(made, i, D(100)) for i in range(3)]
    assert parts[0] == parts[1] and sum(parts) == 100


def test_a_capped_leg_takes_no_more_than_planned_whatever_comes_in():
    made = parent(legs=(leg(amount=D(100), capped=True),), grants=(grant("250"),))
    assert ledger.budget(made, [[]], 0) == 100
    assert ledger.pools(made, [[]])[USDT] == 250


def test_a_node_below_nothing_gives_nothing():
    made = parent(legs=(leg(amount=D(60)), leg(amount=D(40))), grants=(grant("-5"),))
    assert [ledger.budget(made, [[], []], i) for i in range(2)] == [0, 0]


def test_a_leg_that_has_spent_beyond_its_part_has_no_budget():
    made = parent(grants=(grant("100"),))
    own = [[done("1", "101")]]
    assert ledger.budget(made, own, 0) == -1, "what is less than nothing buys nothing"


def test_a_second_hop_may_spend_what_the_first_received_net_of_fees():
    made = parent(legs=two_hops())
    own = [[done("0.4", "800", fees={"ETH": D("0.0004")})], []]
    assert ledger.budget(made, own, 1) == D("0.3996")
    assert ledger.whole(made, own, 1) == D("0.5"), "the plan believes in the rest while the first is open"
    closed = replace(made, legs=(replace(made.legs[0], closed_at=made.created_at), made.legs[1]))
    assert ledger.whole(closed, own, 1) == D("0.3996")


def test_fees_in_the_currency_spent_count_as_spent():
    own = [[done("1", "1000", fees={"USDT": D(1)})]]
    assert ledger.spent(own[0], "USDT") == 1001 and ledger.received(own[0], "ETH") == 1


def test_a_fee_in_a_third_currency_touches_neither_end():
    own = [done("1", "1000", fees={"BNB": D("0.01")})]
    assert (ledger.spent(own, "USDT"), ledger.received(own, "ETH")) == (1000, 1)


def test_a_fee_in_a_third_currency_that_another_leg_sells_is_gone_from_there():
    sold = leg("BNB/USDT", side=Side.SELL, amount=D(1))
    made = parent(legs=(leg(), sold), grants=(grant("1000"), grant("1", "BNB")))
    own = [
        [done("0.5", "1000", fees={"BNB": D("0.01")})],
        [done("0.2", "100", 1, side=Side.SELL, fees={"BNB": D("0.001")})],
    ]
    assert ledger.budget(made, own, 1) == D("0.789") and ledger.whole(made, own, 1) == D("0.99")
    assert ledger.pools(made, own)["binance", "default", "BNB"] == D("0.789")


def test_older_generations_do_not_count_for_the_current_one_but_in_the_totals():
    old, new = leg(generation=0), leg(generation=1)
    made = parent(legs=(old, new), generation=1, grants=(grant("600"),))
    own = [[done("0.2", "400")], []]
    assert ledger.budget(made, own, 1) == 600
    assert ledger.pools(made, own) == {USDT: D(600), ETH: D(0)}
    assert ledger.totals(made, own) == {USDT: D(-400), ETH: D("0.2")}


@pytest.mark.parametrize("end", ["ETH", "BTC"])
def test_a_late_fill_of_an_older_generation_moves_the_grants(end):
    old, new = leg(generation=0), leg(generation=1)
    made = parent(
        legs=(old, new), generation=1, grants=(grant("1000"),), goal={"kind": "convert", "end": end}
    )
    after = done("0.2", "400", fees={"ETH": D("0.0002")})
    before = replace(after, filled_quantity=D(0), quote_filled=D(0), fees={})
    moved = ledger.with_late_fill(made, before, after)
    assert ledger.budget(moved, [[after], []], 1) == 600
    assert ledger.granted(moved, ETH) == (D(0) if end == "ETH" else D("0.1998"))


def test_a_late_fill_of_what_nothing_was_granted_of_gives_less_than_nothing():
    old, new = leg("BTC/USDT", generation=0), leg("ETH/BTC", generation=1)
    made = parent(legs=(old, new), generation=1, grants=(grant("0.01", "BTC"),))
    after = done("0.002", "100")
    moved = ledger.with_late_fill(made, replace(after, filled_quantity=D(0), quote_filled=D(0)), after)
    assert ledger.granted(moved, USDT) == -100 and ledger.granted(moved, BTC) == D("0.012")
    assert ledger.with_late_fill(made, after, after) == made


def test_an_unknown_order_counts_in_full():
    open_order = order(quantity="1", phase=Phase.UNKNOWN, status=Status.UNKNOWN, reserved=D(2000))
    half = replace(open_order, filled_quantity=D("0.5"), quote_filled=D(1000))
    assert (ledger.committed([open_order]), ledger.committed([half])) == (2000, 1000)
    assert ledger.committed([done("1", "2000")]) == 0


def test_a_leg_is_fed_while_one_before_it_is_open_or_has_an_order_out():
    made = parent(legs=two_hops())
    assert ledger.feeds(made, [[], []], 1) and not ledger.feeds(made, [[], []], 0)
    closed = replace(made, legs=(replace(made.legs[0], closed_at=made.created_at), made.legs[1]))
    out = order(phase=Phase.UNKNOWN)
    assert not ledger.feeds(closed, [[], []], 1) and ledger.feeds(closed, [[out], []], 1)


# --- For any plan --------------------------------------------------------------------------------------

amounts = st.decimals(min_value="0.00000001", max_value="1000000", places=8)
CURRENCIES = ("USDT", "BTC", "ETH", "BNB")


@st.composite
def plans(draw):
    """Return a parent of up to eight legs over four currencies of two accounts, with what its orders did."""
    legs, own = [], []
    for index in range(draw(st.integers(1, 8))):
        source, target = draw(st.permutations(CURRENCIES))[:2]
        exchange = draw(st.sampled_from(("alpha", "beta")))
        legs.append(
            leg(
                f"{target}/{source}",
                exchange=exchange,
                amount=draw(amounts),
                receive=draw(amounts),
                capped=draw(st.booleans()),
                generation=draw(st.integers(0, 1)),
            )
        )
        part = draw(st.decimals(min_value=0, max_value=1, places=4))
        quantity = draw(amounts)
        fees = {draw(st.sampled_from(CURRENCIES)): draw(amounts) / 1000}
        own.append([done(str(quantity), str(legs[-1].amount * part), index, fees=fees)] if part else [])
    grants = tuple(
        grant(str(draw(amounts)), c, exchange=e)
        for e in ("alpha", "beta")
        for c in CURRENCIES
        if draw(st.booleans())
    )
    return parent(legs=tuple(legs), grants=grants, generation=draw(st.integers(0, 1))), own


def by_source(made):
    nodes = {}
    for i in ledger.current(made):
        nodes.setdefault(ledger.source_of(made.legs[i]), []).append(i)
    return nodes


@settings(max_examples=300, deadline=None)
@given(plans())
def test_budgets_and_what_is_spent_are_what_came_in(plan):
    made, own = plan
    with localcontext(prec=50):
        for node, legs in by_source(made).items():
            inflow = ledger.inflow(made, own, node)
            parts = [ledger.budget(made, own, i) + ledger.spent(own[i], node[2]) for i in legs]
            if any(made.legs[i].capped for i in legs):
                assert sum(parts) <= max(inflow, D(0)) + D("1e-38")
                for i, part in zip(legs, parts, strict=True):
                    assert not made.legs[i].capped or part <= made.legs[i].amount
            else:
                assert abs(sum(parts) - max(inflow, D(0))) <= D("1e-38")
            assert all(part >= 0 for part in parts)


@settings(max_examples=300, deadline=None)
@given(plans())
def test_what_legs_may_still_spend_is_never_more_than_lies_there(plan):
    made, own = plan
    with localcontext(prec=50):
        pools = ledger.pools(made, own)
        for node, legs in by_source(made).items():
            rest = sum(ledger.budget(made, own, i) for i in legs)
            overspent = sum(min(ledger.budget(made, own, i), D(0)) for i in legs)
            lies_there = max(pools[node], -sum(ledger.spent(own[i], node[2]) for i in legs))
            assert rest <= lies_there + D("1e-38") or overspent < 0


@settings(max_examples=200, deadline=None)
@given(plans())
def test_pools_of_one_generation_are_grants_and_totals(plan):
    made, own = plan
    made = replace(made, legs=tuple(replace(x, generation=made.generation) for x in made.legs))
    with localcontext(prec=50):
        totals = ledger.totals(made, own)
        for node, amount in ledger.pools(made, own).items():
            outside = ledger.fees_outside(made, own, node)
            assert amount == ledger.granted(made, node) + totals.get(node, D(0)) - outside


@settings(max_examples=200, deadline=None)
@given(plans(), st.data())
def test_late_fills_keep_the_books_of_all_generations_together(plan, data):
    made, own = plan
    old = [i for i, x in enumerate(made.legs) if x.generation != made.generation and own[i]]
    if not old:
        return
    index = data.draw(st.sampled_from(old))
    after = own[index][0]
    before = replace(after, filled_quantity=D(0), quote_filled=D(0), fees={})
    with localcontext(prec=50):
        moved = ledger.with_late_fill(made, before, after)
        leg_ = made.legs[index]
        for node, amount in (
            (ledger.source_of(leg_), -ledger.spent([after], leg_.source)),
            (ledger.target_of(leg_), ledger.received([after], leg_.target)),
        ):
            wanted = D(0) if node[2] == made.goal["end"] else amount
            assert ledger.granted(moved, node) == ledger.granted(made, node) + wanted
