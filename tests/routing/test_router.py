"""Stories of the router: what it proposes, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from ems.core.messages import Side
from ems.routing.graph import Books, build
from ems.routing.plan import Listing, Node, Proposal
from ems.routing.route import route
from ems.routing.solver import bound, solve
from tests.builders import T0, market

HOME: Node = ("binance", "main", "USDT")


def levels(*pairs: str) -> tuple[tuple[Decimal, Decimal], ...]:
    """Read levels from "price x quantity"."""
    return tuple((Decimal(p), Decimal(q)) for p, q in (pair.split("x") for pair in pairs))


def listing(
    symbol: str,
    bids: tuple[str, ...] = (),
    asks: tuple[str, ...] = (),
    *,
    exchange: str = "binance",
    account: str = "main",
    when: float = 0,
    **rules: object,
) -> Listing:
    """Return a market whose rules get in nobody's way unless a test says so."""
    rules = {"lot": "1e-12", "min_quantity": "0", "min_notional": "0", "max_quantity": None} | rules
    return Listing(
        exchange=exchange,
        account=account,
        market=replace(market(symbol, **rules), exchange=exchange),
        bids=levels(*bids),
        asks=levels(*asks),
        at=T0 + timedelta(seconds=when),
    )


GOLDEN = [
    listing("ZEN/USDT", asks=("10.0x20", "10.2x50", "10.6x500")),
    listing("BTC/USDT", asks=("50000x.008", "50010x1")),
    listing("ZEN/BTC", asks=(".0002x30", ".000203x100", ".00022x1000")),
]


def direct(proposal: Proposal, symbol: str = "ZEN/USDT") -> Decimal:
    return sum((leg.spend for leg in proposal.legs if leg.symbol == symbol), Decimal(0))


@pytest.mark.parametrize(
    "amount, received, over_the_direct_market",
    [
        ("100", "9.99", "100"),
        ("500", "49.92003", "200"),
        ("1000", "99.075219", "200"),
        ("2000", "197.204600", "683.50042"),
    ],
)
def test_the_golden_example_of_the_design(amount: str, received: str, over_the_direct_market: str) -> None:
    """EXECUTION.md 2.2."""
    found = route(GOLDEN, {HOME: Decimal(amount)}, "ZEN")
    assert abs(found.continuous - Decimal(received)) < Decimal("1e-6")
    assert abs(found.received - Decimal(received)) < Decimal("1e-6")
    assert abs(direct(found) - Decimal(over_the_direct_market)) < Decimal("1e-5")
    assert found.gap_bp < Decimal("1e-6")
