"""The shortest chain of markets, and what taking at once would bring."""

from decimal import Decimal

import pytest

from ems.core.messages import Side
from ems.routing.chain import shortest_chain, sweep
from tests.builders import market

D = Decimal
MARKETS = [
    market(symbol)
    for symbol in ("ETH/USDT", "BTC/USDT", "ETH/BTC", "ADA/BTC", "ZEN/ETH", "XMR/EUR", "EUR/USDT", "ADA/EUR")
]


@pytest.mark.parametrize(
    ("start", "end", "path"),
    [
        ("USDT", "ETH", ["buy ETH/USDT"]),
        ("ETH", "USDT", ["sell ETH/USDT"]),
        ("USDT", "ADA", ["buy BTC/USDT", "buy ADA/BTC"]),  # over BTC rather than EUR: the deeper hub
        ("ADA", "ETH", ["sell ADA/BTC", "buy ETH/BTC"]),
        ("ZEN", "BTC", ["sell ZEN/ETH", "sell ETH/BTC"]),
        ("ZEN", "EUR", ["sell ZEN/ETH", "sell ETH/USDT", "buy EUR/USDT"]),
        ("ZEN", "XMR", []),  # four hops
        ("USDT", "DOGE", []),
    ],
)
def test_paths(start, end, path):
    assert [f"{hop.side} {hop.symbol}" for hop in shortest_chain(MARKETS, start, end)] == path


def test_a_halted_market_is_no_way():
    markets = [market("ETH/USDT", active=False), market("ETH/BTC"), market("BTC/USDT")]
    assert [h.symbol for h in shortest_chain(markets, "USDT", "ETH")] == ["BTC/USDT", "ETH/BTC"]


# EXECUTION.md 2.2's golden books, direct path only: 500 USDT buys 49.92003 - the router will split it later.
ZEN = ((D("10.0"), D(20)), (D("10.2"), D(50)), (D("10.6"), D(500)))


@pytest.mark.parametrize(("amount", "received", "spent"), [("100", "9.99", "100"), ("200", "19.98", "200")])
def test_sweeping_the_first_level(amount, received, spent):
    assert sweep(Side.BUY, D(amount), ZEN, market("ZEN/USDT")) == (D(received), D(spent))


@pytest.mark.parametrize("fee_mode", ["received", "quote", "base"])
def test_what_the_levels_cannot_take_stays_unspent(fee_mode):
    received, spent = sweep(
        Side.SELL, D(1000), ((D(10), D(3)), (D(9), D(2))), market("ZEN/USDT", fee_mode=fee_mode)
    )
    fee = D("0.001")
    assert spent == (5 * (1 + fee) if fee_mode == "base" else 5)
    assert received == (48 if fee_mode == "base" else 48 * (1 - fee))
