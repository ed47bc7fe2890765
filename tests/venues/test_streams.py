"""What an event of a private stream says, in each exchange's own shape."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import Ending, FillReport, Found, Liquidity, OrderStatus, Side
from ems.venues.dialects.binance import BINANCE
from ems.venues.dialects.dialect import Dialect
from ems.venues.dialects.kraken import KRAKEN
from ems.venues.transport import exact_json, exchange_class


def read(dialect: Dialect, frame: str) -> list[FillReport | OrderStatus]:
    parsed = exact_json(frame)
    assert dialect.stream.is_private(parsed)
    return list(dialect.stream.read(exchange_class(dialect.ccxt_id)(), parsed))


def binance_event(**change: Any) -> str:
    event = {
        "e": "executionReport",
        "E": 1499405658658,
        "s": "ETHBTC",
        "c": "ours",
        "S": "BUY",
        "o": "LIMIT",
        "f": "GTC",
        "q": "1.00000000",
        "p": "0.10264410",
        "C": "",
        "x": "NEW",
        "X": "NEW",
        "r": "NONE",
        "i": 4293153,
        "l": "0.00000000",
        "z": "0.00000000",
        "L": "0.00000000",
        "n": "0",
        "N": None,
        "T": 1499405658657,
        "t": -1,
        "m": False,
        **change,
    }
    return json.dumps({"subscriptionId": 0, "event": event})


def status(**change: Any) -> OrderStatus:
    return OrderStatus(
        **{
            "order_id": None,
            "found": Found.OPEN,
            "exchange_order_id": "4293153",
            "client_order_id": "ours",
            "symbol": "ETHBTC",  # no markets are loaded here
            "filled_quantity": Decimal(0),
            "side": Side.BUY,
            "quantity": Decimal(1),
            **change,
        }
    )


@pytest.mark.parametrize(
    ("case", "change", "expected"),
    [
        ("new", {}, status()),
        (
            "cancelled: the cancel has an id of its own",
            {"c": "the cancel's", "C": "ours", "x": "CANCELED", "X": "CANCELED", "z": "0.40000000"},
            status(found=Found.CLOSED, ending=Ending.CANCELED, filled_quantity=Decimal("0.4")),
        ),
        ("expired", {"x": "EXPIRED", "X": "EXPIRED"}, status(found=Found.CLOSED, ending=Ending.EXPIRED)),
        (
            "self-trade prevented",
            {"x": "TRADE_PREVENTION", "X": "EXPIRED_IN_MATCH"},
            status(found=Found.CLOSED, ending=Ending.EXPIRED),
        ),
        (
            "rejected later",
            {"x": "REJECTED", "X": "REJECTED", "r": "INSUFFICIENT_BALANCES"},
            status(found=Found.CLOSED, ending=Ending.REJECTED, reason="INSUFFICIENT_BALANCES"),
        ),
        ("a state of next year", {"x": "NEW", "X": "FROZEN"}, None),
    ],
)
def test_binance_order_events(case: str, change: dict[str, Any], expected: OrderStatus | None) -> None:
    assert read(BINANCE, binance_event(**change)) == ([] if expected is None else [expected])


def test_a_binance_trade_is_a_fill_and_a_status() -> None:
    frame = binance_event(
        x="TRADE",
        X="PARTIALLY_FILLED",
        t=77,
        l="0.30000000",
        z="0.30000000",
        L="0.10264410",
        n="0.0003",
        N="BNB",
        m=True,
    )
    assert read(BINANCE, frame) == [
        FillReport(
            fill_id="77",
            exchange_order_id="4293153",
            client_order_id="ours",
            symbol="ETHBTC",
            side=Side.BUY,
            price=Decimal("0.10264410"),
            quantity=Decimal("0.3"),
            fee=Decimal("0.0003"),
            fee_currency="BNB",
            liquidity=Liquidity.MAKER,
            at=datetime(2017, 7, 7, 5, 34, 18, 657000, tzinfo=UTC),
        ),
        status(filled_quantity=Decimal("0.3")),
    ]


def test_other_private_events_of_binance_are_kept_from_ccxt_and_say_nothing() -> None:
    assert read(BINANCE, '{"subscriptionId": 0, "event": {"e": "outboundAccountPosition", "B": []}}') == []
    assert not BINANCE.stream.is_private({"id": "1", "status": 200, "result": {"subscriptionId": 0}})
    assert BINANCE.stream.subscribed({"id": "1", "status": 200, "result": {"subscriptionId": 0}})
    assert not BINANCE.stream.subscribed({"id": "1", "status": 400, "error": {"code": -2015}})
    assert BINANCE.stream.over({"subscriptionId": 0, "event": {"e": "eventStreamTerminated"}})


def test_every_row_of_a_kraken_frame_is_read_whatever_comes_first() -> None:
    frame = """{"channel": "executions", "type": "update", "sequence": 9, "data": [
        {"order_id": "O-1", "cl_ord_id": "ours", "exec_id": "T-1", "exec_type": "trade", "symbol": "BTC/USD",
         "side": "sell", "last_qty": 0.10000000000000003, "last_price": 26500.10, "liquidity_ind": "m",
         "cost": 2650.01, "order_status": "partially_filled", "cum_qty": 0.1, "order_qty": 0.2,
         "fees": [{"asset": "USD", "qty": 4.24}], "timestamp": "2023-09-22T10:33:05.709950Z"},
        {"order_id": "O-2", "exec_type": "canceled", "order_status": "canceled", "cum_qty": 0, "cum_cost": 0,
         "reason": "User requested", "timestamp": "2023-09-22T10:33:05.709950Z"},
        {"order_id": "O-3", "cl_ord_id": "other", "exec_type": "expired", "order_status": "expired",
         "cum_qty": 0.05, "timestamp": "2023-09-22T10:33:05.709950Z"}]}"""
    assert read(KRAKEN, frame) == [
        FillReport(
            fill_id="T-1",
            exchange_order_id="O-1",
            client_order_id="ours",
            symbol="BTC/USD",
            side=Side.SELL,
            price=Decimal("26500.10"),
            quantity=Decimal("0.10000000000000003"),
            fee=Decimal("4.24"),
            fee_currency="USD",
            liquidity=Liquidity.MAKER,
            at=datetime(2023, 9, 22, 10, 33, 5, 709950, tzinfo=UTC),
        ),
        OrderStatus(
            order_id=None,
            found=Found.OPEN,
            exchange_order_id="O-1",
            client_order_id="ours",
            symbol="BTC/USD",
            filled_quantity=Decimal("0.1"),
            side=Side.SELL,
            quantity=Decimal("0.2"),
        ),
        OrderStatus(
            order_id=None,
            found=Found.CLOSED,
            exchange_order_id="O-2",
            filled_quantity=Decimal(0),
            ending=Ending.CANCELED,
            reason="User requested",
        ),
        OrderStatus(
            order_id=None,
            found=Found.CLOSED,
            exchange_order_id="O-3",
            client_order_id="other",
            filled_quantity=Decimal("0.05"),
            ending=Ending.EXPIRED,
        ),
    ]


def test_kraken_says_when_the_stream_is_on() -> None:
    ack = {"method": "subscribe", "success": True, "result": {"channel": "executions"}}
    assert KRAKEN.stream.subscribed(ack)
    assert not KRAKEN.stream.subscribed({**ack, "success": False})
    assert not KRAKEN.stream.subscribed({**ack, "result": {"channel": "book"}})


@pytest.mark.parametrize("text", ['{"p": NaN}', '{"p": Infinity}', '{"p": -Infinity}'])
def test_no_number_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        exact_json(text)
