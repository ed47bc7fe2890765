"""Changing an order in one step, and judging what came of it: yes, no, or don't know (RELIABILITY R9).

The answer to an amendment is as doubtful as that to a new order. It is judged by the same rules (see
`errors`), sent once and never again; whoever does not know looks the order up.

Where a venue wants to be told all terms anew, those that stay are what it says itself just before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from ems.core.messages import Amended, AmendRefused, AmendRequest, Found, OutcomeUnknown, Refusal
from ems.venues.asking import words_of
from ems.venues.departures import Departures
from ems.venues.dialects.dialect import Dialect
from ems.venues.errors import refusal_of
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.known import KnownOrders
from ems.venues.limiter import Budget, Priority, TooBusy
from ems.venues.lookups import Lookups
from ems.venues.supported import unamendable
from ems.venues.translation import Unreadable
from ems.venues.transport import Attempt, Call, Withdrawn, current_call

log = logging.getLogger(__name__)

PATIENCE_S = 2.0  # an amendment older than this is refused unsent, as a new order is
Answer = Amended | AmendRefused | OutcomeUnknown


class Amends:
    """One account's amendments."""

    def __init__(
        self,
        dialect: Dialect,
        ccxt_exchange: Any,
        *,
        known: KnownOrders,
        departures: Departures,
        lookups: Lookups,
        limits: Budget,
        wait_ready: Callable[[float], Awaitable[None]],
        timeout_s: float,
    ):
        self._dialect = dialect
        self._ccxt = ccxt_exchange
        self._known = known
        self._departures = departures
        self._lookups = lookups
        self._limits = limits
        self._wait_ready = wait_ready
        self._timeout_s = timeout_s

    def amend(self, request: AmendRequest) -> Coroutine[None, None, Answer]:
        """Ask for one amendment, once; from now on it can be withdrawn."""
        call = Call(Priority.CREATE, symbol=request.symbol, lane_wait_s=PATIENCE_S)
        self._departures.begin(request.order_id, call)
        return self._amend(request, call)

    async def _amend(self, request: AmendRequest, call: Call) -> Answer:
        try:
            return await self._try_amend(request, call)
        except Exception as error:  # a fault of ours must not pass for an answer
            log.exception("amend %s at %s", request.order_id, self._dialect.exchange)
            return _unknown(request, repr(error))
        finally:
            self._departures.end(request.order_id, call)

    async def _try_amend(self, request: AmendRequest, call: Call) -> Answer:
        why = unamendable(request, self._dialect)
        if why is not None:
            return _unsent(request, Refusal.PERMANENT, why)
        amending = self._dialect.amending
        assert amending is not None
        asked = await self._whole(request) if amending.whole else request
        if isinstance(asked, AmendRefused):
            return asked
        try:
            await self._wait_ready(PATIENCE_S)
            call.costs = self._dialect.limits.costs_of("amend", request.symbol)
            acquire = self._limits.acquire(call.priority, call.costs, PATIENCE_S)
            turn = await self._departures.turn(request.order_id, call, acquire)
        except (VenueUnavailable, TooBusy, Withdrawn) as error:
            return _unsent(request, Refusal.RATE_LIMIT, str(error))
        token = current_call.set(call)
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self._timeout_s + PATIENCE_S):
                await amending.send(self._ccxt, asked)
        except Exception as error:
            failure = error
        finally:
            current_call.reset(token)
            turn.over(sent=any(attempt.sent for attempt in call.attempts))
        return self._judge(request, asked, call.attempts, failure)

    async def _whole(self, request: AmendRequest) -> AmendRequest | AmendRefused:
        """Add the terms that are to stay, and the venue's id."""
        try:
            status = await self._lookups.look_up(
                request.order_id,
                request.symbol,
                request.exchange_order_id,
                request.client_order_id,
                self._known.was_sent_at(request.client_order_id),
            )
        except (VenueRefused, VenueUnavailable, TooBusy, Unreadable) as error:
            return _unsent(request, Refusal.RATE_LIMIT, f"looked up first: {error}")
        if status.found is not Found.OPEN:
            return _unsent(request, Refusal.UNKNOWN_ORDER, f"looked up first: {status.found}")
        quantity = status.quantity if request.quantity is None else request.quantity
        price = status.price if request.price is None else request.price
        if quantity is None or price is None:
            return _unsent(request, Refusal.PERMANENT, "looked up first: it has no size or no price")
        return replace(request, exchange_order_id=status.exchange_order_id, quantity=quantity, price=price)

    def _judge(
        self,
        request: AmendRequest,
        asked: AmendRequest,
        attempts: list[Attempt],
        failure: Exception | None,
    ) -> Answer:
        amending = self._dialect.amending
        assert amending is not None
        if not any(attempt.sent for attempt in attempts):
            busy = attempts or isinstance(failure, TooBusy | TimeoutError | Withdrawn)
            words = attempts[-1].error if attempts else None
            why = Refusal.RATE_LIMIT if busy else Refusal.PERMANENT
            return _unsent(request, why, words or f"{type(failure).__name__}: {failure}")
        attempt = attempts[-1]
        if attempt.status is None or not attempt.sent:
            return _unknown(request, attempt.error or "no answer")
        said = self._dialect.words.said(attempt.status, attempt.body)
        refusal = refusal_of(said, amending.refusals) if said else None
        if refusal is not None:
            return AmendRefused(
                order_id=request.order_id,
                refusal=refusal,
                message="; ".join(one.message for one in said),
                venue_code=said[0].code,
            )
        # ccxt may stumble over an answer that is whole: only what the body says counts.
        if said or not 200 <= attempt.status < 300 or not amending.done(attempt.body, asked):
            return _unknown(request, words_of(attempt, said, None))
        return Amended(
            order_id=request.order_id,
            quantity=request.quantity,
            price=request.price,
            stop_price=request.stop_price,
        )


def _unsent(request: AmendRequest, refusal: Refusal, message: str) -> AmendRefused:
    return AmendRefused(order_id=request.order_id, refusal=refusal, message=message, sent=False)


def _unknown(request: AmendRequest, message: str) -> OutcomeUnknown:
    return OutcomeUnknown(order_id=request.order_id, request="amend", message=message)
