"""Cancelling one order or all, and judging what came of it: yes, no, or don't know (RELIABILITY R9)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ems.core.messages import (
    CancelAcked,
    CancelRefused,
    CancelRequest,
    Ending,
    Found,
    OrderStatus,
    OutcomeUnknown,
    Refusal,
    VenueReport,
)
from ems.venues.asking import ASK_PATIENCE_S, Asking, words_of
from ems.venues.dialects.dialect import Dialect
from ems.venues.errors import Said, refusal_of
from ems.venues.gateway import CancelledAll, VenueRefused, VenueUnavailable
from ems.venues.known import KnownOrders
from ems.venues.limiter import Budget, Priority, TooBusy
from ems.venues.lookups import Lookups
from ems.venues.markets import Markets
from ems.venues.sweep import cancel_everything
from ems.venues.translation import Unreadable
from ems.venues.transport import Call, current_call

log = logging.getLogger(__name__)


class Cancels:
    """One account's cancels."""

    def __init__(
        self,
        dialect: Dialect,
        ccxt_exchange: Any,
        asking: Asking,
        *,
        known: KnownOrders,
        markets: Markets,
        lookups: Lookups,
        limits: Budget,
        timeout_s: float,
    ):
        self._dialect = dialect
        self._ccxt = ccxt_exchange
        self._asking = asking
        self._known = known
        self._markets = markets
        self._lookups = lookups
        self._limits = limits
        self._timeout_s = timeout_s
        self._starting = asyncio.Lock()

    async def cancel(self, request: CancelRequest) -> VenueReport:
        """Ask for one cancel, once."""
        # One in each turn of the loop: the two hundred of a halt at once would keep everybody else waiting.
        async with self._starting:
            await asyncio.sleep(0)
        try:
            return await self._try_cancel(request)
        except (TooBusy, VenueUnavailable) as error:
            return _refused(request, Refusal.RATE_LIMIT, str(error))
        except VenueRefused as error:  # to tell us the order's id; no cancel went out
            said = (Said(error.code or "", str(error)),)
            why = refusal_of(said, self._dialect.words.refusals) or Refusal.RATE_LIMIT
            return _refused(request, why, str(error), error.code)
        except Exception as error:
            log.exception("cancel %s at %s", request.order_id, self._dialect.exchange)
            return OutcomeUnknown(order_id=request.order_id, request="cancel", message=repr(error))

    async def cancel_all(self, symbol: str | None) -> CancelledAll:
        """Cancel everything that is open, and prove it: see `sweep`."""
        await self._markets.wait_ready(ASK_PATIENCE_S)

        async def ask(what: str, question: Callable[[], Awaitable[Any]]) -> Any:
            return (await self._asking.ask(what, question, priority=Priority.CANCEL)).value

        async def read(symbol: str | None) -> tuple[OrderStatus, ...]:
            orders = (await self._lookups.open_orders()).orders
            return tuple(one for one in orders if symbol in (None, one.symbol))

        async def look_up(one: OrderStatus) -> OrderStatus:
            assert one.symbol is not None
            assert one.exchange_order_id is not None
            name = one.client_order_id or ""
            status = await self._lookups.look_up(
                one.order_id or "", one.symbol, one.exchange_order_id, name, None
            )
            self._known.name(one.symbol, one.exchange_order_id, one.order_id, one.client_order_id)
            if status.found is Found.NOT_FOUND and self._dialect.purges and not one.filled_quantity:
                status = replace(
                    status, found=Found.CLOSED, ending=Ending.CANCELED, filled_quantity=Decimal(0)
                )
            return replace(status, order_id=one.order_id, client_order_id=one.client_order_id)

        try:
            return await cancel_everything(
                self._dialect,
                self._ccxt,
                symbol,
                ask=ask,
                read=read,
                cancel=self._try_cancel,
                look_up=look_up,
            )
        except (VenueRefused, TooBusy, Unreadable) as error:
            raise VenueUnavailable(f"the open orders cannot be read: {error}") from error

    async def _try_cancel(self, cancel: CancelRequest) -> VenueReport:
        await self._markets.wait_ready(ASK_PATIENCE_S)
        exchange_order_id, params = cancel.exchange_order_id, {}
        if exchange_order_id is None and self._dialect.cancel_parameter is not None:
            params = {self._dialect.cancel_parameter: cancel.client_order_id}
        elif exchange_order_id is None:
            status = await self._lookups.look_up(
                cancel.order_id,
                cancel.symbol,
                None,
                cancel.client_order_id,
                self._known.was_sent_at(cancel.client_order_id),
            )
            if status.found is not Found.OPEN:
                return _refused(cancel, Refusal.UNKNOWN_ORDER, f"looked up first: {status.found}")
            exchange_order_id = status.exchange_order_id
        report: VenueReport = _refused(cancel, Refusal.UNKNOWN_ORDER, "nothing was asked")
        for waiting in self._ways_to_cancel(cancel):
            call = Call(Priority.CANCEL, symbol=cancel.symbol)
            report = await self._cancel_once(cancel, exchange_order_id, params, call, waiting)
            if not (isinstance(report, CancelRefused) and report.refusal is Refusal.UNKNOWN_ORDER):
                break
        return report

    def _ways_to_cancel(self, cancel: CancelRequest) -> tuple[bool, ...]:
        """Return whether to cancel it as an order that waits, or not, or the one after the other."""
        triggers = self._dialect.triggers
        if triggers is None or triggers.cancel_words is None:
            return (False,)
        waits = self._known.waits(cancel.client_order_id)
        if waits is None and cancel.order_type is not None:
            waits = cancel.order_type.waits
        # One that waits may have been triggered since; one that never did cannot begin to.
        return (False,) if waits is False else (True, False) if waits else (False, True)

    async def _cancel_once(
        self,
        cancel: CancelRequest,
        exchange_order_id: str | None,
        params: Mapping[str, object],
        call: Call,
        waiting: bool,
    ) -> VenueReport:
        triggers, cancelled = self._dialect.triggers, self._dialect.cancelled
        if waiting and triggers is not None:
            params = {**params, **(triggers.cancel_words or {})}
            cancelled = triggers.cancelled or cancelled
        if waiting and "cancel_waiting" in self._dialect.limits.costs:
            call.costs = self._dialect.limits.costs_of("cancel_waiting", cancel.symbol)
        else:
            call.costs = self._dialect.limits.cancel_costs_of(
                cancel.symbol, self._known.age_s(cancel.client_order_id)
            )
        turn = await self._limits.acquire(Priority.CANCEL, call.costs, ASK_PATIENCE_S)
        current_call.set(call)
        failure: BaseException | None = None
        answer: Any = None
        try:
            async with asyncio.timeout(self._timeout_s + ASK_PATIENCE_S):
                answer = await self._ccxt.cancel_order(exchange_order_id, cancel.symbol, dict(params))
        except TooBusy:
            raise
        except Exception as error:
            failure = error
        finally:
            turn.over(sent=any(attempt.sent for attempt in call.attempts))
        attempt = call.attempts[-1] if call.attempts else None
        body = attempt.body if attempt else None
        status = attempt.status if attempt else None
        said = self._dialect.words.said(status, body) if status is not None else ()
        refusal = refusal_of(said, self._dialect.words.cancel_refusals) if said else None
        if refusal is not None:
            return _refused(cancel, refusal, "; ".join(one.message for one in said), said[0].code)
        understood = status is not None and 200 <= status < 300 and not said and cancelled(body)
        if failure is not None or not understood or not isinstance(answer, dict):
            message = words_of(attempt, said, failure) if attempt else f"{type(failure).__name__}: {failure}"
            return OutcomeUnknown(order_id=cancel.order_id, request="cancel", message=message)
        told_of = body if isinstance(body, str) else answer.get("id")  # Coinbase Exchange answers an id alone
        if cancel.exchange_order_id is not None and told_of not in (None, "", cancel.exchange_order_id):
            message = f"the answer is about another order, {told_of!r:.60}"
            return OutcomeUnknown(order_id=cancel.order_id, request="cancel", message=message)
        filled = answer.get("filled") if answer.get("status") in ("canceled", "expired", "closed") else None
        return CancelAcked(order_id=cancel.order_id, filled_quantity=filled)


def _refused(cancel: CancelRequest, refusal: Refusal, message: str, code: str | None = None) -> CancelRefused:
    return CancelRefused(order_id=cancel.order_id, refusal=refusal, message=message, venue_code=code)
