"""Markouts, impact and the prices an execution is compared with."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from ems.core.messages import Liquidity, PublicTrade, Side
from ems.tca.benchmarks import (
    Impact,
    average_price_net,
    benchmark_prices,
    chain_cost,
    compared,
    impact,
    interval_vwap,
    markouts,
    mid_from,
    participation,
    participation_price,
    sweep_price,
    time_weighted,
)
from ems.tca.identity import FillFacts, LegFacts, MarketFacts
from tests.builders import at

D = Decimal


def done(price: str, quantity: str, *, by: str = "taker", when: float = 0, fee: str = "0") -> FillFacts:
    return FillFacts(price=D(price), quantity=D(quantity), fee=D(fee), liquidity=Liquidity(by), at=at(when))


def leg(
    *fills: FillFacts, side: str = "buy", symbol: str = "ETH/USDT", mid: str = "100", **more: object
) -> LegFacts:
    return LegFacts(
        exchange="binance",
        symbol=symbol,
        side=Side(side),
        quantity=D(10),
        decision_mid=D(mid),
        fills=fills,
        **more,  # type: ignore[arg-type]
    )


def against(legs: list[LegFacts]) -> dict[str, Decimal | None]:
    return compared(legs, [benchmark_prices(each, at(0), at(10)) for each in legs])


def trade(price: str, quantity: str, when: float = 0) -> PublicTrade:
    return PublicTrade(symbol="ETH/USDT", price=D(price), quantity=D(quantity), side=Side.BUY, at=at(when))


def rising(exchange: str, symbol: str, when: datetime) -> Decimal | None:
    """Return a mid of 100 that rises by 0.01 a second and is not known beyond 100 s."""
    seconds = D(str((when - at(0)).total_seconds()))
    return D(100) + seconds / 100 if seconds <= 100 else None


def test_markouts_by_hand() -> None:
    made, took = done("100", "3", by="maker"), done("100", "1", by="taker", when=10)
    found = {
        str(mark.tau_s): (mark.maker_bps, mark.taker_bps) for mark in markouts([leg(made, took)], rising)
    }
    assert found == {
        "0.1": (D("0.1"), D("10.1")),
        "1": (D("1"), D("11")),
        "5": (D("5"), D("15")),
        "30": (D("30"), D("40")),
        "60": (D("60"), D("70")),
        "300": (None, None),
    }


def test_markouts_are_weighted_by_quantity_and_turn_with_the_side() -> None:
    sold = leg(done("100", "3"), done("200", "1"), side="sell")
    [first, *_] = markouts([sold], lambda *_: D(100))
    assert (first.maker_bps, first.taker_bps) == (None, D(1250))  # (3 x 0 + 1 x half) / 4


def test_markouts_of_several_markets_are_weighted_by_value() -> None:
    legs = [leg(done("100", "1")), leg(done("300", "1"), symbol="BTC/USDT", mid="300")]
    [first, *_] = markouts(legs, lambda exchange, symbol, when: D(101) if symbol == "ETH/USDT" else D(300))
    assert first.taker_bps == D(25)  # 100 bp on a quarter of the value


def test_impact_by_hand() -> None:
    bought = leg(done("100.3", "1"), done("100.5", "1"), arrival_mid=D("100.1"))
    found = impact([bought], lambda *_: D("100.2"), at(5))
    assert found == Impact(temporary_bps=D(20), permanent_bps=D(10))
    assert impact([replace(bought, side=Side.SELL)], lambda *_: D("100.2"), at(5)) == Impact(
        temporary_bps=D(-20), permanent_bps=D(-10)
    )
    assert impact([bought], lambda *_: None, at(5)) is None
    assert impact([leg()], lambda *_: D(1), at(5)) is None


def test_a_mid_is_the_last_one_seen_unless_that_is_long_ago() -> None:
    kept = {("binance", "ETH/USDT"): [(at(1), D(10)), (at(2), D(20)), (at(30), D(30))]}
    mid_at = mid_from(kept, valid_for=timedelta(seconds=5))
    asked = {0.5: None, 1: D(10), 1.9: D(10), 2: D(20), 7: D(20), 8: None, 31: D(30)}
    assert {when: mid_at("binance", "ETH/USDT", at(when)) for when in asked} == asked
    assert mid_at("kraken", "ETH/USDT", at(2)) is None


LEVELS = [(D(100), D(1)), (D(101), D(2)), (D(105), D(1))]


@pytest.mark.parametrize(
    ("side", "quantity", "expected"),
    [
        ("buy", "1", "100.1"),
        ("buy", "4", "101.85175"),  # 407 / 4, and 10 bp
        ("sell", "2", "100.3995"),
        ("buy", "4.1", None),
        ("buy", "0", None),
    ],
)
def test_the_price_of_taking_at_once(side: str, quantity: str, expected: str | None) -> None:
    found = sweep_price(Side(side), D(quantity), LEVELS, D("0.001"))
    assert found == (None if expected is None else D(expected))


def test_our_own_trades_are_not_in_the_interval_vwap() -> None:
    trades = [trade("100", "2"), trade("101", "1"), trade("103", "1")]
    assert interval_vwap(trades, []) == D(101)
    # Ours are the one at 103 and half of the two at 100.
    assert interval_vwap(trades, [done("103", "1"), done("100", "1")]) == D("100.5")
    assert interval_vwap(trades, [done("100", "5")]) is None
    assert interval_vwap([], []) is None


MIDS = ((at(-1), D(100)), (at(2), D(102)), (at(6), D(110)), (at(20), D(1)))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 8, "103.5"),  # (2 x 100 + 4 x 102 + 2 x 110) / 8
        (3, 5, "102"),
        (7, 30, "62.60869565217391304347826087"),  # the last one holds: (13 x 110 + 10 x 1) / 23
        (-2, 5, None),  # nothing known yet
        (5, 5, None),
    ],
)
def test_the_mid_over_time(start: float, end: float, expected: str | None) -> None:
    found = time_weighted(MIDS, at(start), at(end))
    assert (found if found is None else round(found, 20)) == (
        None if expected is None else round(D(expected), 20)
    )


def test_the_participation_price_stops_when_enough_was_traded() -> None:
    trades = [trade("100", "10"), trade("110", "30"), trade("500", "100")]
    assert participation_price(trades, D(2)) == D(105)  # 10 at 100, 10 at 110
    assert participation_price(trades, D(100)) is None
    assert participation_price(trades, D(2), rate=D("0.5")) == D(100)


def test_the_chain_of_mids() -> None:
    assert chain_cost(D(1000), D("0.396"), D("0.0004")) == D(100)
    assert chain_cost(D(0), D(0), D("0.0004")) is None


def test_a_fee_makes_a_purchase_dearer_and_a_sale_poorer() -> None:
    fills = [done("100", "2", fee="1")]
    assert average_price_net(Side.BUY, fills) == D("100.5")
    assert average_price_net(Side.SELL, fills) == D("99.5")


FULL = MarketFacts(
    bid=D("99"),
    ask=D("101"),
    sweep_price=D("102"),
    mids=((at(0), D(100)),),
    trades=(trade("100", "8"), trade("104", "12"), trade("103", "2")),
)


def test_a_purchase_is_compared_with_every_benchmark() -> None:
    bought = leg(done("104", "2", fee="2"), market=FULL)
    found = against([bought])
    assert {name: figure and figure.quantize(D("0.01")) for name, figure in found.items()} == {
        "arrival_mid": D("400"),
        "near_touch": D("505.05"),  # 5 / 99
        "far_touch": D("297.03"),  # 3 / 101
        "sweep": D("294.12"),  # after fees: 3 / 102
        "vwap": D("166.18"),  # the others' 20 at 102.3: 1.7 / 102.3
        "twap_mid": D("400"),
        "participation": D("156.25"),  # 20 at 102.4
    }


def test_a_sale_has_its_touches_the_other_way_round() -> None:
    found = against([leg(done("100", "2"), side="sell", market=FULL)])
    assert [found[name] and found[name].quantize(D("0.01")) for name in ("near_touch", "far_touch")] == [
        D("99.01"),  # 1 / 101
        D("-101.01"),  # -1 / 99
    ]


def test_a_benchmark_one_leg_lacks_is_not_made_up_of_the_others() -> None:
    legs = [leg(done("104", "2"), market=FULL), leg(done("104", "2"), market=replace(FULL, sweep_price=None))]
    found = against(legs)
    assert found["sweep"] is None and found["near_touch"] is not None
    unfilled = leg(market=MarketFacts())
    assert against([legs[0], unfilled])["sweep"] is not None
    assert set(against([unfilled]).values()) == {None}


def test_participation_counts_a_market_once() -> None:
    assert participation([leg(done("104", "5.5"), market=FULL)]) == D("0.25")
    assert participation([leg(done("104", "2"), market=FULL), leg(done("104", "9"), market=FULL)]) == D("0.5")
    assert participation([leg(done("104", "2"))]) is None
    assert participation([leg()]) is None
