"""The picture of the report of costs: drawn for whatever there is, and for nothing."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest

from ems.core.records import Cost
from ems.tca.identity import PARTS
from ems.tca.report import report
from server.plots import cost_plot
from tests.builders import at


def cost(
    number: int, *, saved: bool = True, marks: bool = True, exchange: str = "kraken", **fields: str
) -> Cost:
    """Return a cost that earned the spread and paid the rest, `number` minutes into the day."""
    parts = {f"{part}_bps": str(place - 1) for place, part in enumerate(PARTS)}
    parts |= {"spread_bps": "-4", "fees_bps": str(number % 7)}
    horizons = ("0.1", "1", "5", "30", "60", "300")
    return Cost(
        parent_id=f"p{number}",
        query_id=f"q{number}",
        user="u",
        bot="b",
        verb="smart_order",
        exchange=exchange,
        algo=fields.pop("algo", "adaptive"),
        pair="USDT>ETH",
        mode="paper",
        started_at=at(60 * number - 30),
        ended_at=at(60 * number),
        body={
            "notional": "1000",
            "currency": fields.pop("currency", "USDT"),
            "cost": {**parts, "total_bps": str(sum(map(Decimal, parts.values())))},
            "saved_bps": str(number % 5 - 1) if saved else None,
            "maker_share": "0.5",
            "markouts": [{"tau_s": t, "maker_bps": "-0.5", "taker_bps": None} for t in horizons]
            if marks
            else [],
        },
    )


CASES = {
    "many": [
        cost(n, exchange=("kraken", "okx")[n % 2], algo=("adaptive", "twap")[n % 3 % 2])
        for n in range(1, 300)
    ],
    "one": [cost(1)],
    "nothing to compare with, no markouts yet": [cost(n, saved=False, marks=False) for n in (1, 2)],
    "more groups than fit": [cost(n, exchange=f"venue{n}") for n in range(1, 40)],
    "names that a picture might take for formulas": [cost(1, algo="$x_{$"), cost(2, algo="\\frac")],
    "two currencies": [cost(1), cost(2, currency="BTC")],
    "none at all": [],
}


def pixels(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and png[12:16] == b"IHDR"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_drawn(name: str) -> None:
    png = cost_plot(report(CASES[name]))
    assert pixels(png) == (1430, 990)
    assert len(png) > (40_000 if CASES[name] else 5_000)  # four pictures weigh more than a sentence


def test_the_same_report_is_the_same_picture_and_another_is_not() -> None:
    one, other = report(CASES["one"]), report([cost(2)])
    assert cost_plot(one) == cost_plot(one)
    assert cost_plot(one) != cost_plot(other)
