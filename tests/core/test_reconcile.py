"""Balances against movements: what is told, and that late answers are never taken for a difference."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.core.reconcile import SLACK, Movement, Snapshot, advanced, compare, quiet, settled
from tests.builders import at

D = Decimal


def snapshot(asked: float, came: float | None = None, **totals: str) -> Snapshot:
    amounts = {currency: D(amount) for currency, amount in totals.items()}
    return Snapshot(totals=amounts, asked_at=at(asked), came_at=at(asked if came is None else came))


def moved(when: float, kind: str = "ours", **amounts: str) -> Movement:
    return Movement(kind=kind, at=at(when), amounts={c: D(a) for c, a in amounts.items()})


BASE = snapshot(0, USDT="1000")
CASES = [
    ("nothing moved", [], "1000", None),
    ("nothing moved, and something is missing", [], "999", "-1"),
    ("something is there that nobody sent", [], "1001", "1"),
    ("a fill long before the answer is in it", [moved(50, USDT="-100")], "900", None),
    ("a fill long before the answer must be in it", [moved(50, USDT="-100")], "1000", "100"),
    ("a fill just before the answer may be in it", [moved(110, USDT="-100")], "900", None),
    ("a fill just before the answer may be missing", [moved(110, USDT="-100")], "1000", None),
    ("a fill after the answer by a fast clock may be in it", [moved(130, USDT="-100")], "900", None),
    ("a fill long after the answer is not in it", [moved(150, USDT="-100")], "900", "-100"),
    ("a fill at the base may be in both", [moved(5, USDT="-100")], "1000", None),
    ("a rounding for each movement is none", [moved(50, USDT="-0.000000014")], "999.99999999", None),
]


def unexplained(found) -> Decimal | None:
    return found[0].unexplained if found else None


@pytest.mark.parametrize(("movements", "held", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_balance(movements, held, expected) -> None:
    found = unexplained(compare(BASE, snapshot(120, USDT=held), movements))
    if expected is None:
        assert found is None
    else:
        assert found is not None and abs(found - D(expected)) <= D("1e-7")


def test_nothing_is_said_of_a_currency_in_doubt() -> None:
    latest = snapshot(120, USDT="1", BTC="1")
    assert [d.currency for d in compare(BASE, latest, [], unsure={"USDT"})] == ["BTC"]


def test_a_transfers_fee_may_be_in_its_amount_or_beside_it() -> None:
    sent = replace(moved(60, "transfer", USDT="-100"), doubtful={"USDT": D(-2)})
    for held, expected in (("900", False), ("898", False), ("897", True), ("901", True)):
        assert bool(compare(BASE, snapshot(120, USDT=held), [sent])) is expected


# A venue answers with what it held up to `lag` seconds before; clocks are apart by up to `skew`.
FLOWS = st.lists(st.tuples(st.floats(-60, 400), st.integers(-500, 500)), max_size=25)
ASKED = st.lists(st.tuples(st.floats(30, 90), st.floats(0, 5), st.floats(0, 15)), min_size=2, max_size=6)


@given(FLOWS, ASKED, st.floats(-4, 4), st.floats(1, 60))
@settings(max_examples=300, deadline=None)
def test_balances_that_lag_behind_their_fills_are_never_a_difference(flows, asked, skew, back) -> None:
    def true_total(when: float) -> Decimal:
        return D(100_000) + sum((D(amount) for t, amount in flows if t <= when), D(0))

    answers, now = [], 0.0
    for gap, takes, lag in asked:
        now += gap
        truth = {"USDT": true_total(max(now - lag, now - 15))}
        answers.append(Snapshot(totals=truth, asked_at=at(now), came_at=at(now + takes)))
    movements = [moved(t + skew, USDT=str(amount)) for t, amount in flows]
    base = answers[0]
    for latest in answers[1:]:
        assert compare(base, latest, movements) == []
        if quiet(latest, movements):
            base = latest
            continue
        base, movements = settled(base, latest, movements)
        until = latest.asked_at - SLACK - timedelta(seconds=back)
        if until > base.came_at + SLACK:
            base, movements = advanced(base, latest, movements, until)


def test_a_base_that_is_brought_forward_hides_no_small_amounts_that_go_again_and_again() -> None:
    base, movements, gone = snapshot(0, USDT="100000"), [], 0
    for second in range(10, 6000, 10):  # a fill each ten seconds, and nobody knows where 1 USDT a minute goes
        movements.append(moved(second, USDT="-10"))
        if second % 60 == 30:
            gone += 1
            held = D(100_000) - (second - 10) - gone  # the last fill is not in it yet
            latest = snapshot(second + 1, USDT=str(held))
            if compare(base, latest, movements):
                break
            until = latest.asked_at - timedelta(seconds=60)
            if until > base.came_at + SLACK:
                base, movements = advanced(base, latest, movements, until)
    assert gone == 11  # as soon as it is more than what may not be in the answer yet


def test_a_base_that_is_brought_forward_is_no_looser_for_what_was_near_the_old_one() -> None:
    near, later = moved(10, USDT="-50"), moved(290, USDT="-7")
    base, left = advanced(BASE, snapshot(300, USDT="950"), [near, later], at(250))
    assert left == [later] and len(compare(base, snapshot(400, USDT="993"), left)) == 1
    assert not compare(base, snapshot(400, USDT="943"), left)
    of_doubt, _ = advanced(BASE, snapshot(300, USDT="950"), [near, later], at(250), unsure={"USDT"})
    assert not compare(of_doubt, snapshot(400, USDT="993"), left)


@given(FLOWS, st.integers(-500, 500).filter(bool))
@settings(max_examples=200, deadline=None)
def test_what_nobody_sent_is_found_once_it_is_quiet(flows, stolen) -> None:
    early = [(t, amount) for t, amount in flows if t < 350]
    movements = [moved(t, USDT=str(amount)) for t, amount in early if t > 25]
    held = D(1000) + sum((D(amount) for t, amount in early if t > 25), D(0)) + D(stolen)
    found = compare(BASE, snapshot(600, USDT=str(held)), movements)
    assert found and abs(found[0].unexplained - D(stolen)) <= D("1e-6")
