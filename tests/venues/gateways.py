"""A gateway opened against something on loopback, and what it delivers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, TypeVar

from ems.core.messages import (
    CancelRequest,
    MarketsLoaded,
    NewOrder,
    OrderType,
    QueryOrder,
    QueryTrades,
    Side,
    TimeInForce,
    VenueReport,
)
from ems.venues.ccxt_gateway import CcxtGateway, VenueKeys
from ems.venues.dialects import DIALECTS

SYMBOLS = {**dict.fromkeys(DIALECTS, "BTC/USDT"), "kraken": "BTC/USD"}
KEYS = VenueKeys(public="key", private=base64.b64encode(b"secret").decode())
R = TypeVar("R")


class Reports:
    """Everything a gateway delivered, in order."""

    def __init__(self) -> None:
        self.all: list[VenueReport] = []
        self._new = asyncio.Event()

    def deliver(self, report: VenueReport) -> None:
        self.all.append(report)
        self._new.set()

    def of(self, kind: type[R]) -> list[R]:
        return [report for report in self.all if isinstance(report, kind)]

    async def next(
        self, kind: type[R], where: Callable[[R], bool] = lambda report: True, *, within_s: float = 5
    ) -> R:
        """Wait for the first report of this kind that is not yet taken, and take it."""
        async with asyncio.timeout(within_s):
            while True:
                for index, report in enumerate(self.all):
                    if isinstance(report, kind) and where(report):
                        del self.all[index]
                        return report
                self._new.clear()
                await self._new.wait()

    async def answer_to(self, order_id: str, *, within_s: float = 5) -> Any:
        """Wait for the one report about this order that answers a request, and take it."""
        return await self.next(
            object, lambda report: getattr(report, "order_id", None) == order_id, within_s=within_s
        )


@asynccontextmanager
async def opened(
    exchange: str, base_url: str, keys: VenueKeys = KEYS, *, wait: bool = True, **options: Any
) -> AsyncIterator[tuple[CcxtGateway, Reports]]:
    options.setdefault("request_timeout_s", 0.5)
    gateway = CcxtGateway(exchange, "default", keys, mode="paper", base_url=base_url, **options)
    reports = Reports()
    gateway.open(reports.deliver)
    try:
        if wait:
            await reports.next(MarketsLoaded)
        yield gateway, reports
    finally:
        await gateway.close()


def new_order(
    exchange: str,
    number: int = 1,
    *,
    side: Side = Side.BUY,
    quantity: str = "0.001",
    price: str | None = "20000",
    time_in_force: TimeInForce = TimeInForce.GTC,
    post_only: bool = False,
    symbol: str | None = None,
) -> NewOrder:
    return NewOrder(
        order_id=f"order-{number}",
        client_order_id=client_id(number, DIALECTS[exchange].client_id_style),
        symbol=symbol or SYMBOLS[exchange],
        side=side,
        order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
        quantity=Decimal(quantity),
        price=None if price is None else Decimal(price),
        time_in_force=time_in_force,
        post_only=post_only,
    )


def client_id(number: int, style: str = "uuid") -> str:
    dashed = f"00000000-0000-4000-8000-{number:012d}"
    return dashed.replace("-", "") if style == "hex32" else dashed


def look_up(order: NewOrder, exchange_order_id: str | None = None) -> QueryOrder:
    return QueryOrder(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        exchange_order_id=exchange_order_id,
        symbol=order.symbol,
    )


def trades_of(order: NewOrder, since: Any, exchange_order_id: str | None = None) -> QueryTrades:
    return QueryTrades(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        exchange_order_id=exchange_order_id,
        symbol=order.symbol,
        since=since,
    )


def cancel_of(order: NewOrder, exchange_order_id: str | None = None) -> CancelRequest:
    return CancelRequest(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        exchange_order_id=exchange_order_id,
        symbol=order.symbol,
    )
