"""From facts to the body of a Cost, and from many Costs to a report."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from ems.core.messages import Liquidity, PublicTrade, Side
from ems.core.records import Cost
from ems.tca.body import ParentFacts, cost_body, mids_known_by, with_markouts
from ems.tca.identity import PARTS, FillFacts, LegFacts, MarketFacts
from ems.tca.report import report
from ems.tca.resample import block_length, draws, mean_interval, quantile
from tests.builders import at

D = Decimal


def done(price: str, quantity: str, fee: str, when: float, by: str = "taker", **seen: str) -> FillFacts:
    return FillFacts(
        price=D(price),
        quantity=D(quantity),
        fee=D(fee),
        liquidity=Liquidity(by),
        at=at(when),
        **{name: D(text) for name, text in seen.items()},
    )


# 10 ETH for about 20,000 USDT: 6 rest at kraken, 3 of 4 are taken at binance.
KRAKEN = LegFacts(
    exchange="kraken",
    symbol="ETH/USDT",
    side=Side.BUY,
    quantity=D(6),
    decision_mid=D(2000),
    arrival_mid=D(2001),
    end_mid=D(2003),
    fills=(done("2000", "6", "12", 10, "maker", mid="2001", touch="2000"),),
    market=MarketFacts(bid=D("1999"), ask=D("2001"), sweep_price=D(2004)),
)
BINANCE = replace(
    KRAKEN,
    exchange="binance",
    quantity=D(4),
    arrival_mid=D(2000),
    fills=(done("2002", "3", "6", 20.5, mid="2000.5", touch="2001"),),
    market=MarketFacts(
        bid=D("1998"),
        ask=D("2002"),
        sweep_price=D(2005),
        mids=((at(0), D(2000)),),
        trades=(PublicTrade(symbol="ETH/USDT", price=D(2002), quantity=D(30), side=Side.BUY, at=at(20)),),
    ),
)
PARENT = ParentFacts(
    currency="USDT",
    notional=D(20000),
    legs=(KRAKEN, BINANCE),
    started_at=at(0),
    ended_at=at(60),
    requests=7,
    dust={"BTC": D("0.00001")},
    taking_at_once_bps=D(30),
)


def test_the_body_of_a_parent_on_two_venues() -> None:
    body = cost_body(PARENT)
    legs = body.pop("legs")
    assert body == {
        "notional": "20000",
        "currency": "USDT",
        "side_pairs": ["buy ETH/USDT"],
        # In USDT: delay 6; timing 1.5; spread -6 + 1.5; depth 3; fees 18; 1 ETH left, 3 dearer.
        "cost": {
            "total_bps": "13.5",
            "delay_bps": "3",
            "timing_bps": "0.75",
            "spread_bps": "-2.25",
            "depth_bps": "1.5",
            "fees_bps": "9",
            "opportunity_bps": "1.5",
        },
        "saved_bps": "15",  # 30 on nine tenths, less 12 paid for them
        "taking_at_once_bps": "30",
        "maker_share": "0.666666666667",
        "participation": None,  # nobody saw kraken's trades
        "fill_time_s": "20.5",
        "requests": 7,
        "completion": "0.9",
        "dust": {"BTC": "0.00001"},
        "spread_at_arrival_bps": "14",  # 10 on six tenths, 20 on four
        "markouts": [],
        "impact": {"temporary_bps": None, "permanent_bps": None},
        "benchmarks": {
            "arrival_mid": {"cost_bps": "0"},  # 6 x -1 + 3 x 2
            "near_touch": {"cost_bps": "10.006671114076"},  # 6 x 1 + 3 x 4 of 17,988
            "far_touch": {"cost_bps": "-3.331112591606"},  # 6 x -1 + 3 x 0 of 18,012
            "sweep": {"cost_bps": "-8.315316813571"},  # after fees: 6 x -2 + 3 x -1 of 18,039
            "vwap": {"cost_bps": None},
            "twap_mid": {"cost_bps": None},
            "participation": {"cost_bps": None},
        },
    }
    assert isinstance(legs, list)
    assert legs[1] == {
        "exchange": "binance",
        "symbol": "ETH/USDT",
        "side": "buy",
        "total_bps": "7.5",
        "delay_bps": "0",
        "timing_bps": "0.75",
        "spread_bps": "0.75",
        "depth_bps": "1.5",
        "fees_bps": "3",
        "opportunity_bps": "1.5",
        "quantity": "4",
        "filled": "3",
        "average_price": "2002",
        "decision_mid": "2000",
        "benchmarks": {
            "arrival_mid": "2000",
            "near_touch": "1998",
            "far_touch": "2002",
            "sweep": "2005",
            "vwap": "2002",
            "twap_mid": "2000",
            "participation": "2002",
        },
    }


def parts_of(split: dict[str, str]) -> Decimal:
    return sum((D(split[f"{part}_bps"]) for part in PARTS), D(0))


def test_as_read_the_parts_add_up_and_the_legs_too() -> None:
    """Figures that do not end are rounded late enough for EXECUTION.md 9.6."""
    odd = replace(PARENT, notional=D("19999.7"), legs=(replace(KRAKEN, quote_value=D(1) / 3), BINANCE))
    body = json.loads(json.dumps(cost_body(odd)))
    assert abs(parts_of(body["cost"]) - D(body["cost"]["total_bps"])) < D("1e-9")
    for name, figure in body["cost"].items():
        assert abs(sum(D(leg[name]) for leg in body["legs"]) - D(figure)) < D("1e-9")


def test_a_parent_that_never_traded_has_a_body() -> None:
    body = cost_body(replace(PARENT, legs=(replace(KRAKEN, fills=()),), notional=D(12000)))
    assert body["cost"] == {
        "total_bps": "15",
        **dict.fromkeys(("delay_bps", "timing_bps", "spread_bps", "depth_bps", "fees_bps"), "0"),
        "opportunity_bps": "15",
    }
    unknown = ("saved_bps", "maker_share", "participation", "fill_time_s")
    assert {name: body[name] for name in unknown} == dict.fromkeys(unknown)
    assert body["completion"] == "0"
    assert mids_known_by((), at(60)) == at(60)


def test_fees_without_a_price_stand_in_the_body() -> None:
    assert "unpriced_fees" not in cost_body(PARENT)
    assert cost_body(replace(PARENT, unpriced_fees={"BNB": D("0.1")}))["unpriced_fees"] == {"BNB": "0.1"}


def test_markouts_complete_the_body_and_change_nothing_else() -> None:
    before = cost_body(PARENT)
    after = with_markouts(before, PARENT.legs, lambda exchange, symbol, when: D(2004), PARENT.ended_at)
    assert {name for name in after if after[name] != before[name]} == {"markouts", "impact"}
    [first, *rest] = after["markouts"]  # type: ignore[misc]
    assert first == {"tau_s": "0.1", "maker_bps": "20", "taker_bps": "9.99000999001"}
    assert [mark["tau_s"] for mark in rest] == ["1", "5", "30", "60", "300"]
    # 6 x (2000 - 2004) + 3 x (2002 - 2004), then 6 x 3 + 3 x 4, of 18,000.
    assert after["impact"] == {"temporary_bps": "-16.666666666667", "permanent_bps": "16.666666666667"}
    assert before["markouts"] == []
    assert mids_known_by(PARENT.legs, PARENT.ended_at) == at(320.5)


# --- The report ----------------------------------------------------------------------------------


def cost(
    number: int,
    total: str,
    *,
    notional: str = "1000",
    currency: str = "USDT",
    saved: str | None = "5",
    spread: str | None = "3",
    maker: str | None = "0.5",
    marks: tuple[str | None, str | None] = ("1", "-1"),
    **fields: str,
) -> Cost:
    """Return a cost of fees and depth only, `number` minutes into the day."""
    named = {"exchange": "kraken", "algo": "adaptive", "pair": "USDT>ETH", **fields}
    split = dict.fromkeys((f"{part}_bps" for part in PARTS), "0")
    return Cost(
        parent_id=f"p{number}",
        query_id=f"q{number}",
        user="u",
        bot="b",
        verb="smart_order",
        mode="paper",
        started_at=at(60 * number - 30),
        ended_at=at(60 * number),
        body={
            "notional": notional,
            "currency": currency,
            "cost": {**split, "total_bps": total, "fees_bps": "10", "depth_bps": str(D(total) - 10)},
            "saved_bps": saved,
            "taking_at_once_bps": "20",
            "maker_share": maker,
            "participation": None,
            "fill_time_s": "30",
            "requests": number,
            "completion": "1",
            "spread_at_arrival_bps": spread,
            "markouts": [{"tau_s": "1", "maker_bps": marks[0], "taker_bps": marks[1]}],
        },
        **named,
    )


TABLE = [
    cost(1, "10"),
    cost(2, "20", exchange="binance", notional="3000", spread="70", saved=None),
    cost(3, "60", algo="classic", notional="100", spread=None, saved="-10", maker="1", marks=("4", None)),
]


def test_a_report_on_a_table() -> None:
    found = report(list(reversed(TABLE)))
    assert json.loads(json.dumps(found)) == found
    assert (found["since"], found["until"]) == ("2026-01-01T00:01:00.000000Z", "2026-01-01T00:03:00.000000Z")
    assert found["currency"] == "USDT"
    summary = found["summary"]
    assert summary["n"] == 3 and summary["notional"] == {"USDT": "4100"}
    total = summary["total_bps"]
    assert total == {
        "n": 3,
        "mean": "30",
        "weighted_mean": "18.5366",  # (10 x 1000 + 20 x 3000 + 60 x 100) / 4100
        "median": "20",
        "sd": "26.4575",
        "p5": "11",
        "p95": "56",
        "ci_low": None,  # three figures say nothing of how sure their mean is
        "ci_high": None,
    }
    assert summary["fees_bps"]["mean"] == "10" and summary["depth_bps"]["mean"] == "20"
    assert summary["saved_bps"]["n"] == 2 and summary["saved_bps"]["mean"] == "-2.5"
    assert summary["saved"] == {"USDT": "0.4"}  # 5 bp of 1000, less 10 bp of 100
    assert summary["maker_share"] == "0.6667" and summary["requests"] == "2"
    assert summary["participation"] is None and summary["completion"] == "1"
    assert summary["markouts"] == [{"tau_s": "1", "maker_bps": "1.1429", "taker_bps": "-1"}]
    assert [row["parent_id"] for row in found["rows"]] == ["p1", "p2", "p3"]
    assert found["rows"][1]["saved_bps"] is None and found["rows"][1]["total_bps"] == "20"


def test_parts_are_averaged_without_intervals() -> None:
    """An interval costs a thousand rounds; only the figures people decide by have one."""
    summary = report(TABLE)["summary"]
    assert {name for name, figure in summary.items() if isinstance(figure, dict) and "ci_low" in figure} == {
        "total_bps",
        "saved_bps",
    }


def test_groups_are_in_their_order() -> None:
    groups = report(TABLE)["groups"]
    names = {kind: [(group["name"], group["n"]) for group in groups[kind]] for kind in groups}
    assert names == {
        "exchange": [("binance", 1), ("kraken", 2)],
        "algo": [("adaptive", 2), ("classic", 1)],
        "pair": [("USDT>ETH", 3)],
        "size": [("100 - 1k USDT", 1), ("1k - 10k USDT", 2)],
        "spread": [("2 - 5 bp", 1), (">= 50 bp", 1), ("unknown", 1)],
    }
    assert groups["exchange"][0]["total_bps"]["sd"] is None


def test_a_mean_of_enough_costs_has_its_interval() -> None:
    total = report([cost(n, str(n)) for n in range(1, 21)])["summary"]["total_bps"]
    assert D(5) < D(total["ci_low"]) < D(total["mean"]) == D("10.5") < D(total["ci_high"]) < D(16)


def test_currencies_are_weighed_only_when_their_values_are_given() -> None:
    mixed = [*TABLE[:2], cost(4, "40", currency="BTC", notional="0.1", marks=("7", "7"))]
    apart = report(mixed)
    assert apart["currency"] is None
    assert apart["summary"]["total_bps"]["weighted_mean"] is None
    assert apart["summary"]["notional"] == {"BTC": "0.1", "USDT": "4000"}
    assert [group["name"] for group in apart["groups"]["size"]] == ["< 100 BTC", "1k - 10k USDT"]
    assert apart["summary"]["markouts"][0]["maker_bps"] == "3"  # each parent alike
    together = report(mixed, values={"USDT": D(1), "BTC": D(50000)}, currency="USDT")
    assert together["summary"]["total_bps"]["weighted_mean"] == "30"  # (10 + 60 + 200) / 9
    assert [group["name"] for group in together["groups"]["size"]] == ["1k - 10k USDT"]


def test_a_report_on_nothing() -> None:
    found = report([])
    assert (found["since"], found["rows"], found["summary"]["n"]) == (None, [], 0)
    assert found["summary"]["total_bps"]["mean"] is None


def test_a_report_reads_what_cost_body_wrote() -> None:
    body = with_markouts(cost_body(PARENT), PARENT.legs, lambda *_: D(2004), PARENT.ended_at)
    found = report([replace(TABLE[0], body=body)])
    [row] = found["rows"]
    assert (row["total_bps"], row["saved_bps"], row["size"]) == ("13.5", "15", "10k - 100k USDT")
    assert len(found["summary"]["markouts"]) == 6


# --- The bootstrap -------------------------------------------------------------------------------


def test_the_same_figures_have_the_same_interval() -> None:
    figures = [D(n % 7) for n in range(40)]
    assert mean_interval(figures, seed="a") == mean_interval(figures, seed="a")
    assert mean_interval(figures, seed="a") != mean_interval(figures, seed="b")


def test_the_interval_of_equal_figures_is_that_figure() -> None:
    assert mean_interval([D("1.5")] * 9, seed="a", rounds=50) == (D("1.5"), D("1.5"))
    assert mean_interval([D(n) for n in range(7)], seed="a") is None
    assert mean_interval([D(n) for n in range(8)], seed="a") is not None


def test_draws_are_even() -> None:
    dice = draws("fair", 6)
    thrown = [next(dice) for _ in range(6000)]
    assert all(880 < thrown.count(face) < 1120 for face in range(6))  # 4 standard deviations of 29


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    dice = draws("coverage", 1000)
    covered = 0
    for trial in range(120):
        interval = mean_interval([D(next(dice)) for _ in range(60)], seed=str(trial), rounds=200)
        assert interval is not None
        covered += interval[0] <= D("499.5") <= interval[1]
    assert 102 <= covered <= 119  # 95 % of 120 is 114; short blocks of sixty figures cover a little less


def test_neighbours_that_agree_make_the_mean_less_sure() -> None:
    dice = draws("clusters", 1000)
    once = [D(next(dice)) for _ in range(50)]
    clustered = [figure for figure in once for _ in range(4)]
    mixed = [*once, *once, *once, *once]
    wide, narrow = (mean_interval(each, seed="w", rounds=300) for each in (clustered, mixed))
    assert wide is not None and narrow is not None
    assert wide[1] - wide[0] > (narrow[1] - narrow[0]) * D("1.4")  # a bootstrap of single figures: 1


@pytest.mark.parametrize(("count", "length"), [(1, 1), (2, 2), (8, 2), (9, 3), (1000, 10)])
def test_blocks_are_as_long_as_the_cube_root(count: int, length: int) -> None:
    assert block_length(count) == length


def test_quantiles_lie_between_neighbours() -> None:
    assert [quantile([D(1), D(2), D(4)], D(share)) for share in ("0", "0.25", "0.5", "0.75", "1")] == [
        D(1),
        D("1.5"),
        D(2),
        D(3),
        D(4),
    ]
    assert quantile([D(7)], D("0.95")) == D(7)


def test_costs_close_in_time_are_neighbours_whatever_order_they_come_in() -> None:
    costs = [cost(n, str(n * n % 50 + 10)) for n in range(1, 20)]
    assert report(costs) == report(sorted(costs, key=lambda each: each.parent_id))
    late = replace(costs[0], ended_at=costs[-1].ended_at + timedelta(seconds=1))
    assert report([late, *costs[1:]])["rows"][-1]["parent_id"] == "p1"  # type: ignore[index]
