"""Sending new orders, each once, and judging what came of it: yes, no, or don't know (RELIABILITY R9).

What may become a `Rejected` that was sent is decided in `_judge_create`, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import ccxt

from ems.core.messages import (
    Acked,
    NewOrder,
    OrderType,
    OutcomeUnknown,
    Refusal,
    Rejected,
    TimeInForce,
    VenueReport,
)
from ems.venues.asking import Asking, words_of
from ems.venues.clock import VenueClock
from ems.venues.departures import Departures
from ems.venues.dialects.dialect import Dialect
from ems.venues.errors import refusal_of
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.known import KnownOrders
from ems.venues.limiter import Budget, Priority, TooBusy
from ems.venues.markets import Markets
from ems.venues.supported import unsupported, wrong_side
from ems.venues.translation import Unreadable, order_params, plain, with_details
from ems.venues.transport import Attempt, Call, Withdrawn, current_call

log = logging.getLogger(__name__)

# A create older than this is refused unsent: its price is no longer the one decided on.
CREATE_PATIENCE_S = 2.0
RULES_MAY_BE_OLD = frozenset({Refusal.LOT_TICK, Refusal.MIN_SIZE, Refusal.MARKET_CLOSED})


class Creates:
    """One account's new orders."""

    def __init__(
        self,
        dialect: Dialect,
        ccxt_exchange: Any,
        asking: Asking,
        *,
        known: KnownOrders,
        departures: Departures,
        markets: Markets,
        clock: VenueClock,
        limits: Budget,
        now: Callable[[], datetime],
        timeout_s: float,
    ):
        self._dialect = dialect
        self._ccxt = ccxt_exchange
        self._asking = asking
        self._known = known
        self._departures = departures
        self._markets = markets
        self._clock = clock
        self._limits = limits
        self._now = now
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()

    def create(self, order: NewOrder, asked_at: float) -> Coroutine[None, None, VenueReport]:
        """Send an order that was asked for at this loop time, once; from now on it can be withdrawn."""
        call = Call(_priority_of(order), symbol=order.symbol)
        self._departures.begin(order.order_id, call)
        return self._create(order, asked_at, call)

    async def _create(self, order: NewOrder, asked_at: float, call: Call) -> VenueReport:
        try:
            report = await self._try_create(order, asked_at, call)
        except Exception as error:  # a fault of ours must not lose an order that may exist
            log.exception("create %s at %s", order.order_id, self._dialect.exchange)
            return OutcomeUnknown(order_id=order.order_id, request="create", message=repr(error))
        finally:
            self._departures.end(order.order_id, call)
        if isinstance(report, Rejected) and report.sent and report.refusal in RULES_MAY_BE_OLD:
            self._markets.doubt()
        return report

    async def _try_create(self, order: NewOrder, asked_at: float, call: Call) -> VenueReport:
        if self._known.was_sent_at(order.client_order_id) is not None:
            return OutcomeUnknown(
                order_id=order.order_id, request="create", message="this client order id was sent before"
            )
        skew_s = self._clock.skew_s
        if skew_s is not None and abs(skew_s) > self._dialect.skew_max_s:
            name = self._dialect.exchange
            return _not_sent(order, Refusal.CLOCK, f"our clock and {name}'s differ by {skew_s:+.1f} s")
        give_up_at = asked_at + CREATE_PATIENCE_S
        try:
            await self._markets.wait_ready(give_up_at - self._loop.time())
            why = await self._why_not(order)
            if why is not None:
                return _not_sent(order, Refusal.PERMANENT, why)
            call.costs = self._create_costs(order)
            acquire = self._limits.acquire(call.priority, call.costs, give_up_at - self._loop.time())
            turn = await self._departures.turn(order.order_id, call, acquire)
        except (VenueUnavailable, TooBusy, Withdrawn) as error:
            return _not_sent(order, Refusal.RATE_LIMIT, str(error))
        waited_s = self._loop.time() - asked_at
        call.lane_wait_s = CREATE_PATIENCE_S - waited_s
        params = self._params(order, waited_s)
        self._known.sending(order.client_order_id, order.order_type.waits, self._now())
        current_call.set(call)
        failure: BaseException | None = None
        answer: Any = None
        try:
            async with asyncio.timeout(self._timeout_s + CREATE_PATIENCE_S):
                answer = await self._ccxt.create_order(
                    order.symbol,
                    "limit" if order.order_type.limited else "market",
                    str(order.side),
                    plain(order.quantity),
                    None if order.price is None else plain(order.price),
                    params,
                )
        except Exception as error:
            failure = error
        finally:
            turn.over(sent=any(attempt.sent for attempt in call.attempts))
        self._known.answered(order.client_order_id)
        return self._judge_create(order, call.attempts, answer, failure)

    async def _why_not(self, order: NewOrder) -> str | None:
        """Say why the venue would not take this order for what it means; None: it would."""
        if order.symbol not in self._ccxt.markets:
            return None  # ccxt says so
        why = unsupported(order, self._dialect, self._ccxt)
        triggers = self._dialect.triggers
        if why is not None or not order.order_type.waits or triggers is None or triggers.last_price is None:
            return why
        read = triggers.last_price
        try:
            answer = await self._asking.ask("last", lambda: read(self._ccxt, order.symbol))
        except (VenueRefused, Unreadable) as error:
            raise VenueUnavailable(f"the last price is not known: {error}") from error
        return None if answer.value is None else wrong_side(order, answer.value)

    def _create_costs(self, order: NewOrder) -> dict[str, float]:
        what = (
            "create_waiting"
            if order.order_type.waits and "create_waiting" in self._dialect.limits.costs
            else "create"
        )
        return self._dialect.limits.costs_of(what, order.symbol)

    def _params(self, order: NewOrder, waited_s: float) -> dict[str, object]:
        """Return what ccxt is told beside type, side, quantity and price."""
        params = order_params(order, self._dialect.create_parameter)
        params.update(self._dialect.create_words(order))
        if order.reduce_only:
            params["reduceOnly"] = True
        params.update(self._clock.expiry(waited_s))
        if order.order_type.waits and self._dialect.triggers is not None:
            params.update(self._dialect.triggers.words(order))
        return {name: value for name, value in params.items() if value is not None}

    def _judge_create(
        self, order: NewOrder, attempts: list[Attempt], answer: Any, failure: BaseException | None
    ) -> VenueReport:
        """Decide what became of a create from what went over the wire."""

        def unknown(message: str) -> OutcomeUnknown:
            return OutcomeUnknown(order_id=order.order_id, request="create", message=message)

        if not any(attempt.sent for attempt in attempts):
            self._known.not_sent(order.client_order_id)
            if attempts:
                return _not_sent(order, Refusal.RATE_LIMIT, attempts[-1].error or "could not connect")
            if isinstance(failure, TooBusy | TimeoutError | Withdrawn):
                return _not_sent(order, Refusal.RATE_LIMIT, str(failure) or "no turn in time")
            refusal = Refusal.AUTH if isinstance(failure, ccxt.AuthenticationError) else Refusal.PERMANENT
            return _not_sent(order, refusal, f"{type(failure).__name__}: {failure}")
        attempt = attempts[-1]
        if attempt.status is None or not attempt.sent:
            return unknown(attempt.error or "no answer")
        body = attempt.body
        said = self._dialect.words.said(attempt.status, body)
        refusal_said = refusal_of(said, self._dialect.words.create_refusals) if said else None
        if refusal_said is not None:
            return Rejected(
                order_id=order.order_id,
                refusal=refusal_said,
                message="; ".join(one.message for one in said),
                venue_code=said[0].code,
            )
        if said or failure is not None or not 200 <= attempt.status < 300 or not isinstance(body, dict):
            return unknown(words_of(attempt, said, failure))
        exchange_order_id = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(exchange_order_id, str) or not exchange_order_id:
            return unknown(f"HTTP {attempt.status} without an order id: {attempt.text!r:.200}")
        echoed = answer.get("clientOrderId")
        if echoed is not None and echoed != order.client_order_id:
            return unknown(f"the answer is about another order, {echoed!r:.60}")
        known_as = self._known.names_of(order.symbol, exchange_order_id)[0]
        if known_as is not None and known_as != order.order_id:  # Kraken's answer echoes no client id
            return unknown(f"the answer is about another order, {known_as}")
        self._known.name(order.symbol, exchange_order_id, order.order_id, order.client_order_id)
        acked = Acked(order_id=order.order_id, exchange_order_id=exchange_order_id)
        try:
            return with_details(acked, order, answer)
        except (Unreadable, ValueError, TypeError, KeyError, ArithmeticError) as error:
            log.warning("%s: an accepted order's details are unreadable: %s", self._dialect.exchange, error)
            return acked


def _not_sent(order: NewOrder, refusal: Refusal, message: str) -> Rejected:
    return Rejected(order_id=order.order_id, refusal=refusal, message=message, sent=False)


def _priority_of(order: NewOrder) -> Priority:
    """Return whose turn it is: what does not rest goes first, for it may be somebody's way out."""
    takes = order.order_type is OrderType.MARKET or order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
    return Priority.TAKE if takes else Priority.CREATE
