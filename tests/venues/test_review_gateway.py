"""What a review of the way to the venues has shown, against venues on loopback."""

from __future__ import annotations

import asyncio
import functools
import json
from datetime import UTC, datetime

import pytest

from ems.core.messages import FillReport, LookupFailed, OrderStatus
from tests.venues.gateways import new_order, opened, trades_of
from tests.venues.scripted import Reply, ScriptedVenue


def run(story):
    """Run a story on a loop of its own."""

    @functools.wraps(story)
    def test(*args, **named):
        asyncio.run(story(*args, **named))

    return test


SINCE = datetime(2026, 3, 1, tzinfo=UTC)


def binance_execution(symbol: str, order_id: int, client_order_id: str) -> dict[str, object]:
    return {
        "subscriptionId": 0,
        "event": {
            "e": "executionReport",
            "s": symbol,
            "c": client_order_id,
            "C": "",
            "S": "BUY",
            "q": "1",
            "x": "TRADE",
            "X": "FILLED",
            "r": "NONE",
            "i": order_id,
            "l": "1",
            "z": "1",
            "L": "3000",
            "n": "0.001",
            "N": "ETH",
            "T": 1499405658657,
            "t": 9,
            "m": False,
        },
    }


@run
async def test_an_order_number_of_another_market_does_not_name_our_order() -> None:
    """Binance numbers orders for each symbol apart: 77 in ETHUSDT is not 77 in BTCUSDT."""
    async with ScriptedVenue("binance") as venue:
        answer = {"symbol": "BTCUSDT", "orderId": 77, "status": "NEW", "executedQty": "0", "origQty": "0.001"}
        venue.replies["POST", "/api/v3/order"] = Reply(body=answer)
        async with opened("binance", venue.base_url) as (gateway, reports):
            order = new_order("binance")
            gateway.send(order)
            await reports.answer_to(order.order_id)
            frame = binance_execution("ETHUSDT", 77, "by-hand")
            gateway._streams.on_frame(None, frame)
            fill = await reports.next(FillReport)
            status = await reports.next(OrderStatus)
            assert (fill.order_id, fill.client_order_id) == (None, "by-hand")
            assert (status.order_id, status.client_order_id) == (None, "by-hand")


@run
async def test_a_page_of_a_longer_history_is_not_taken_for_all_of_it() -> None:
    """Kraken gives 50 trades at a time and says in `count` how many there are."""
    trade = {
        "ordertxid": "OTHER",
        "pair": "XXBTZUSD",
        "time": 1772400000.1,
        "type": "buy",
        "ordertype": "limit",
        "price": "20000",
        "cost": "20",
        "fee": "0.05",
        "vol": "0.001",
    }
    none = Reply(body={"error": [], "result": {"open": {}}})
    async with ScriptedVenue("kraken") as venue:
        venue.replies["POST", "/0/private/OpenOrders"] = none
        venue.replies["POST", "/0/private/ClosedOrders"] = Reply(
            body={"error": [], "result": {"closed": {}, "count": 0}}
        )
        page = {f"T{number}": trade for number in range(50)}
        venue.replies["POST", "/0/private/TradesHistory"] = Reply(
            body={"error": [], "result": {"trades": page, "count": 51}}
        )
        async with opened("kraken", venue.base_url) as (gateway, reports):
            gateway._known.name("BTC/USD", "OTHER", "order-9", "another of ours")
            order = new_order("kraken")
            gateway.send(trades_of(order, SINCE))
            assert isinstance(await reports.answer_to(order.order_id), LookupFailed)


@run
async def test_a_pause_without_end_does_not_keep_cancels_back_for_ever() -> None:
    async with ScriptedVenue("binance") as venue:
        venue.replies["GET", "/api/v3/account"] = Reply(429, {}, headers={"Retry-After": "inf"})
        async with opened("binance", venue.base_url) as (gateway, reports):
            from ems.core.messages import QueryBalances

            gateway.send(QueryBalances())
            await reports.next(LookupFailed)
            assert gateway._limits.paused_s() < 4 * 86400


@run
async def test_a_clock_beyond_reason_does_not_end_the_watch_over_clocks(monkeypatch) -> None:
    async with ScriptedVenue("binance") as venue:
        venue.clock_skew_s = 0
        real = venue._reply

        def reply(asked):
            if asked.path == "/api/v3/time":
                return Reply(body='{"serverTime": 1' + "0" * 400 + "}")
            return real(asked)

        monkeypatch.setattr(venue, "_reply", reply)
        async with opened("binance", venue.base_url) as (gateway, reports):
            await asyncio.sleep(0.2)
            names = {task.get_coro().__name__ for task in gateway._tasks}
            assert "keep_clock" in names


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-1", "0.1234567890123456789", "1e30"])
@run
async def test_an_amount_that_is_none_does_not_reach_the_engine(bad: str) -> None:
    async with ScriptedVenue("binance") as venue:
        async with opened("binance", venue.base_url) as (gateway, reports):
            frame = binance_execution("BTCUSDT", 77, "ours")
            frame["event"]["l"] = frame["event"]["z"] = bad

            class Client:
                errors: list = []

                def on_error(self, error):
                    self.errors.append(error)

            gateway._ccxt._read_frame(Client(), json.dumps(frame))
            await asyncio.sleep(0.01)
            assert reports.of(FillReport) == [] and reports.of(OrderStatus) == []
            assert Client.errors
