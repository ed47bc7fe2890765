"""What simulated exchanges count, and what becomes of those who go on: as each exchange's page says."""

from __future__ import annotations

import pytest

from simulator.dialects import binance
from simulator.dialects.dialect import Request, Response
from simulator.exchange import Exchange
from tests.simulator.test_okx import Desk as OkxDesk

NOON = 1_786_017_600.0  # a full minute, by any clock


def ask(venue: binance.Binance, path: str, now: float, remote: str = "10.0.0.1") -> Response:
    path, _, query = path.partition("?")
    return venue.handle(
        Request(method="GET", path=path, query=query, headers={}, remote=remote, now=now, clock=now)
    )


@pytest.mark.parametrize(
    ("path", "weight"),
    [
        ("/api/v3/time", 1),
        ("/api/v3/exchangeInfo", 20),
        ("/api/v3/depth?symbol=BTCUSDT", 5),
        ("/api/v3/depth?symbol=BTCUSDT&limit=100", 5),
        ("/api/v3/depth?symbol=BTCUSDT&limit=500", 25),
        ("/api/v3/depth?symbol=BTCUSDT&limit=1000", 50),
        ("/api/v3/depth?symbol=BTCUSDT&limit=5000", 250),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT", 2),
        ("/api/v3/ticker/24hr", 80),
        ("/api/v3/ticker/bookTicker", 4),
        ("/api/v3/openOrders?symbol=BTCUSDT", 6),  # refused unsigned, and counted all the same
        ("/api/v3/openOrders", 80),
    ],
)
def test_what_a_call_weighs_at_binance(path: str, weight: int) -> None:
    venue = binance.Binance(Exchange("binance", list(binance.MARKETS)))
    assert ask(venue, path, NOON).headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
    # Every address has its own count, and the next minute a new one.
    assert ask(venue, "/api/v3/time", NOON, remote="10.0.0.2").headers["X-MBX-USED-WEIGHT-1M"] == "1"
    assert ask(venue, "/api/v3/time", NOON + 60).headers["X-MBX-USED-WEIGHT-1M"] == "1"


def test_a_ban_ends_by_itself_and_the_next_one_is_longer() -> None:
    venue = binance.Binance(Exchange("binance", list(binance.MARKETS)), weight_per_minute=10)
    for number in range(10):
        assert ask(venue, "/api/v3/time", NOON + number).status == 200
    assert [ask(venue, "/api/v3/time", NOON + 10).status for _ in range(21)] == [429] * 20 + [418]
    banned = ask(venue, "/api/v3/time", NOON + 100)
    assert (banned.status, banned.headers["Retry-After"]) == (418, "30")  # what is left of it
    assert f"banned until {int((NOON + 130) * 1000)}" in banned.body["msg"]
    assert ask(venue, "/api/v3/time", NOON + 100, remote="10.0.0.2").status == 200
    assert ask(venue, "/api/v3/time", NOON + 131).status == 200
    statuses = [ask(venue, "/api/v3/time", NOON + 180).status for _ in range(31)]
    assert statuses == [200] * 10 + [429] * 20 + [418]
    assert ask(venue, "/api/v3/time", NOON + 181).headers["Retry-After"] == "239"


def test_the_orders_of_an_account_have_a_limit_over_all_markets_at_okx() -> None:
    desk = OkxDesk()
    markets = list(desk.okx.exchange.markets)
    for _ in range(1000):  # as many as a few dozen markets would take, at 60 each
        desk.okx._count_order(desk.account, desk.now)
    order = {"instId": markets[0].replace("/", "-"), "tdMode": "cash", "side": "buy", "ordType": "limit"}
    _, body, *_ = desk.post("trade/order", order | {"px": "1", "sz": "1"})
    assert body["data"][0]["sCode"] == "50061"
    assert not desk.account.orders
    desk.now += 2
    _, body, *_ = desk.post("trade/order", order | {"px": "1", "sz": "1"})
    assert body["data"][0]["sCode"] != "50061"
