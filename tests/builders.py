"""Things of the house with sensible values, so that a test shows only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ems.core.child import Patience
from ems.core.instrument import Market
from ems.core.messages import (
    BookUpdate,
    FillReport,
    Liquidity,
    OrderType,
    Side,
    SmartOrder,
    Style,
    Ticket,
    TimeInForce,
)
from ems.core.records import Grant, Leg, Order, Parent, ParentState

T0 = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = Patience()


def at(seconds: float) -> datetime:
    """Return the moment this many seconds into a test."""
    return T0 + timedelta(seconds=seconds)


def market(symbol: str = "ETH/USDT", **fields: object) -> Market:
    base, quote = symbol.split("/")
    values: dict[str, object] = {
        "exchange": "binance",
        "symbol": symbol,
        "base": base,
        "quote": quote,
        "tick": Decimal("0.01"),
        "lot": Decimal("0.0001"),
        "min_quantity": Decimal("0.0001"),
        "max_quantity": Decimal(9000),
        "min_notional": Decimal(5),
        "maker_fee": Decimal("0.001"),
        "taker_fee": Decimal("0.001"),
        "fee_mode": "received",
    }
    for name, value in fields.items():
        values[name] = Decimal(value) if isinstance(value, str) and name != "fee_mode" else value
    return Market(**values)  # type: ignore[arg-type]


def book(
    bid: str = "2000", ask: str = "2000.5", *, symbol: str = "ETH/USDT", size: str = "10", when: float = 0
) -> BookUpdate:
    """Return a book of five levels a side, a tick of 0.5 apart."""
    step = Decimal("0.5")
    return BookUpdate(
        symbol=symbol,
        bids=tuple((Decimal(bid) - step * k, Decimal(size)) for k in range(5)),
        asks=tuple((Decimal(ask) + step * k, Decimal(size)) for k in range(5)),
        at=at(when),
    )


def order(**fields: object) -> Order:
    values: dict[str, object] = {
        "order_id": "q1.1.1",
        "query_id": "q1",
        "parent_id": "q1.1",
        "user": "alice",
        "bot": "bot1",
        "exchange": "binance",
        "account": "default",
        "symbol": "ETH/USDT",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "post_only": False,
        "quantity": Decimal(2),
        "price": Decimal(2000),
        "client_order_id": "0e5a51b2-0000-4000-a000-000000000001",
        "created_at": T0,
        "attempt": 1,
        "reserved": Decimal(4000),
    }
    for name, value in fields.items():
        values[name] = Decimal(str(value)) if name in ("quantity", "price") else value
    return Order(**values)  # type: ignore[arg-type]


def fill(
    fill_id: str = "f1", quantity: str = "1", *, price: str = "2000", when: float = 1, **fields: object
) -> FillReport:
    report = FillReport(
        fill_id=fill_id,
        exchange_order_id="X1",
        symbol="ETH/USDT",
        side=Side.BUY,
        price=Decimal(price),
        quantity=Decimal(quantity),
        fee=Decimal("0.001"),
        fee_currency="ETH",
        liquidity=Liquidity.MAKER,
        at=at(when),
        order_id="q1.1.1",
    )
    return replace(report, **fields)  # type: ignore[arg-type]


def leg(symbol: str = "ETH/USDT", **fields: object) -> Leg:
    """Return a leg that buys with all the money there is."""
    base, quote = symbol.split("/")
    side = fields.get("side", Side.BUY)
    values: dict[str, object] = {
        "exchange": "binance",
        "account": "default",
        "symbol": symbol,
        "side": side,
        "source": quote if side is Side.BUY else base,
        "target": base if side is Side.BUY else quote,
        "amount": Decimal(1000),
        "started_at": T0,
        "ends_at": at(60),
    }
    values.update(fields)
    return Leg(**values)  # type: ignore[arg-type]


def grant(amount: str = "1000", currency: str = "USDT", **fields: object) -> Grant:
    values: dict[str, object] = {"exchange": "binance", "account": "default", "currency": currency}
    values.update(fields)
    return Grant(amount=Decimal(amount), **values)  # type: ignore[arg-type]


def parent(**fields: object) -> Parent:
    values: dict[str, object] = {
        "parent_id": "q1.1",
        "query_id": "q1",
        "user": "alice",
        "bot": "bot1",
        "exchange": "binance",
        "account": "default",
        "algo": "classic",
        "legs": (leg(),),
        "grants": (grant(),),
        "start_amount": Decimal(1000),
        "time_limit": Decimal(60),
        "state": ParentState.WORKING,
        "created_at": T0,
        "goal": {"kind": "convert", "start": "USDT", "end": "ETH", "accounts": [["binance", "default"]]},
    }
    values.update(fields)
    return Parent(**values)  # type: ignore[arg-type]


def ticket(key: str = "key-1", **fields: object) -> Ticket:
    values: dict[str, object] = {
        "user": "alice",
        "bot": "bot1",
        "idempotency_key": key,
        "body_digest": "digest",
    }
    values.update(fields)
    return Ticket(**values)  # type: ignore[arg-type]


def smart_order(amount: str = "1000", *, time_limit: Decimal = Decimal(60), **fields: object) -> SmartOrder:
    values: dict[str, object] = {
        "exchange": "binance",
        "start_currency": "USDT",
        "end_currency": "ETH",
        "start_amount": Decimal(amount),
        "style": Style(algo="classic", time_limit=time_limit),
    }
    values.update(fields)
    return SmartOrder(**values)  # type: ignore[arg-type]
