"""Cancelling every open order of an account, and proving it (RELIABILITY R8).

    read what is open -> the venue's own call, where there is one -> read again
    -> one by one what is left -> read again -> look up what is no longer listed

A cancel-all that was answered is not believed, one that was not answered is not repeated, and an order that
is no longer listed may have been filled: only the venue's word on each says how it ended. What was placed
meanwhile is listed as open, not chased.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ems.core.messages import CancelRefused, CancelRequest, Ending, Found, OrderStatus, OutcomeUnknown
from ems.venues.dialects.dialect import Ask, Dialect
from ems.venues.gateway import CancelledAll, VenueRefused, VenueUnavailable
from ems.venues.limiter import TooBusy
from ems.venues.translation import Unreadable

_FAILURES = (VenueRefused, VenueUnavailable, TooBusy, Unreadable)


async def cancel_everything(
    dialect: Dialect,
    ccxt_exchange: Any,
    symbol: str | None,
    *,
    ask: Ask,
    read: Callable[[str | None], Awaitable[tuple[OrderStatus, ...]]],
    cancel: Callable[[CancelRequest], Awaitable[object]],
    look_up: Callable[[OrderStatus], Awaitable[OrderStatus]],
) -> CancelledAll:
    """Cancel all that is open; raise VenueUnavailable when the lists cannot be read."""
    before = await read(symbol)
    problems: list[str] = []
    left = before
    if before and dialect.cancel_all is not None:
        try:
            await dialect.cancel_all(ask, ccxt_exchange, before, symbol)
        except _FAILURES as error:
            problems.append(f"cancel all: {error}")
        left = await read(symbol)
    meant = {_key(one) for one in before}
    stubborn = [one for one in left if _key(one) in meant]
    for one in stubborn:
        problem = await _cancel(one, cancel)
        if problem is not None:
            problems.append(problem)
    after = await read(symbol) if stubborn else left
    listed = {_key(one) for one in after}
    cancelled, filled, unproven = [], [], []
    for one in before:
        if _key(one) in listed:
            continue
        try:
            status = await look_up(one)
        except _FAILURES as error:
            problems.append(f"{one.symbol} {one.exchange_order_id}: {error}")
            unproven.append(one)
            continue
        if status.found is not Found.CLOSED:
            unproven.append(status)  # open although not listed, or forgotten without a word
        elif status.ending is Ending.FILLED:
            filled.append(status)
        else:
            cancelled.append(status)
    return CancelledAll(
        cancelled=tuple(cancelled),
        filled=tuple(filled),
        still_open=after,
        unproven=tuple(unproven),
        problems=tuple(problems),
    )


def _key(status: OrderStatus) -> tuple[str | None, str | None]:
    return status.symbol, status.exchange_order_id


async def _cancel(one: OrderStatus, cancel: Callable[[CancelRequest], Awaitable[object]]) -> str | None:
    """Cancel one order; return what went wrong."""
    assert one.symbol is not None and one.exchange_order_id is not None
    name = f"{one.symbol} {one.exchange_order_id}"
    request = CancelRequest(
        order_id=one.order_id or one.exchange_order_id,
        client_order_id=one.client_order_id or "",
        exchange_order_id=one.exchange_order_id,
        symbol=one.symbol,
    )
    try:
        report = await cancel(request)
    except _FAILURES as error:
        return f"{name}: {error}"
    if isinstance(report, CancelRefused | OutcomeUnknown):
        return f"{name}: {report.message}"
    return None
