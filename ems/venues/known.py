"""What we know of orders: which went out and when, whose an exchange's number is, which of them wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from ems.core.messages import OrderStatus
from ems.venues.dialects.dialect import Dialect

REMEMBERED_ORDERS = 20_000


class KnownOrders:
    """One account's orders; `clock` is steady, the limiter's."""

    def __init__(self, dialect: Dialect, clock: Callable[[], float]):
        self._dialect = dialect
        self._clock = clock
        self._since = clock()
        self._sent: OrderedDict[str, datetime] = OrderedDict()  # client order id -> when it went out
        # client order id -> when the venue's answer to the create was there, by `clock`
        self._answered_at: OrderedDict[str, float] = OrderedDict()
        # (symbol or "", exchange order id) -> (our order id or None, client order id)
        self._names: OrderedDict[tuple[str, str], tuple[str | None, str | None]] = OrderedDict()
        self._waiting: OrderedDict[str, bool] = OrderedDict()  # client order id -> it waits, or did

    def sending(self, client_order_id: str, waits: bool, now: datetime) -> None:
        """Remember an order before it goes out; it is never sent again under this id."""
        _remember(self._waiting, client_order_id, waits)
        _remember(self._sent, client_order_id, now)

    def was_sent_at(self, client_order_id: str) -> datetime | None:
        return self._sent.get(client_order_id)

    def answered(self, client_order_id: str) -> None:
        _remember(self._answered_at, client_order_id, self._clock())

    def not_sent(self, client_order_id: str) -> None:
        """Hear that no byte of it left after all."""
        self._sent.pop(client_order_id, None)

    def waits(self, client_order_id: str) -> bool | None:
        """Say whether it waits for a price, or did; None: we did not send it."""
        return self._waiting.get(client_order_id)

    def age_s(self, client_order_id: str) -> float:
        """Return how old an order is at least, by the answer that it was placed."""
        not_before = self._answered_at.get(client_order_id)
        if not_before is None and client_order_id in self._sent:
            return 0.0
        return self._clock() - (self._since if not_before is None else not_before)

    def name(
        self, symbol: str, exchange_order_id: str, order_id: str | None, client_order_id: str | None
    ) -> None:
        """Learn what an exchange's number stands for; no order id: somebody else's."""
        _remember(self._names, self._place(symbol, exchange_order_id), (order_id, client_order_id))

    def has(self, symbol: str, exchange_order_id: str) -> bool:
        return self._place(symbol, exchange_order_id) in self._names

    def names_of(self, symbol: str | None, exchange_order_id: str) -> tuple[str | None, str | None]:
        """Return (our order id, client order id) of an exchange's number."""
        return self._names.get(self._place(symbol, exchange_order_id), (None, None))

    def named(self, status: OrderStatus) -> OrderStatus:
        order_id, client_order_id = self.names_of(status.symbol, status.exchange_order_id or "")
        return replace(status, order_id=order_id, client_order_id=status.client_order_id or client_order_id)

    def _place(self, symbol: str | None, exchange_order_id: str) -> tuple[str, str]:
        """Return what an exchange's number is unique in; Kraken's rows may lack the symbol."""
        return (symbol or "") if self._dialect.numbers_per_symbol else "", exchange_order_id


def _remember(known: OrderedDict[Any, Any], key: object, value: object) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > REMEMBERED_ORDERS:
        known.popitem(last=False)
