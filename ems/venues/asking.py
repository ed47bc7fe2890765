"""One paid question to an exchange, and what its answer is worth: a reading, a no, or nothing.

A question is paid from the venue's limits in its turn, and its answer is believed only when its body is an
answer to it (`Dialect.whole`): an error page is not an empty list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ccxt

from ems.venues.dialects.dialect import Dialect
from ems.venues.errors import Said
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.limiter import Budget, Priority, TooBusy
from ems.venues.transport import Attempt, Call, current_call

ASK_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A reading that succeeded."""

    value: Any
    sent_at: datetime


class Asking:
    """One account's questions."""

    def __init__(self, dialect: Dialect, *, limits: Budget, now: Callable[[], datetime], timeout_s: float):
        self._dialect = dialect
        self._limits = limits
        self._now = now
        self._timeout_s = timeout_s

    async def ask(
        self,
        what: str,
        question: Callable[[], Awaitable[Any]],
        *,
        priority: Priority = Priority.QUERY,
        call: Call | None = None,
    ) -> Answer:
        """Ask something; raise VenueRefused for a coded no, VenueUnavailable for anything unclear."""
        call = call or Call(priority)
        call.costs = self._dialect.limits.costs_of(what)
        turn = await self._limits.acquire(priority, call.costs, ASK_PATIENCE_S)
        call.sent_at = sent_at = self._now()
        call.began_at = self._limits.limiter.clock()
        token = current_call.set(call)
        failure: Exception | None = None
        value: Any = None
        try:
            async with asyncio.timeout(self._timeout_s + ASK_PATIENCE_S):
                value = await question()
        except TooBusy:
            raise
        except Exception as error:
            failure = error
        finally:
            current_call.reset(token)
            turn.over(sent=any(attempt.sent for attempt in call.attempts))
        attempt = call.attempts[-1] if call.attempts else None
        if attempt is None:
            if failure is None:
                return Answer(value, sent_at)
            raise VenueUnavailable(f"{type(failure).__name__}: {failure}") from failure
        body = attempt.body
        said = self._dialect.words.said(attempt.status, body) if attempt.status is not None else ()
        if said:
            raise VenueRefused("; ".join(one.message for one in said), said[0].code) from failure
        empty = isinstance(failure, ccxt.OrderNotFound) and attempt.status == 200
        if empty and self._dialect.whole[what](body):
            return Answer(None, sent_at)
        if failure is not None or attempt.status is None or not 200 <= attempt.status < 300 or body is None:
            raise VenueUnavailable(words_of(attempt, said, failure)) from failure
        if not self._dialect.whole[what](body):
            raise VenueUnavailable(f"no answer to this question: {words_of(attempt, said, failure)}")
        return Answer(value, sent_at)

    async def ask_or_absent(self, what: str, question: Callable[[], Awaitable[Any]]) -> Answer:
        """Ask for one order; the value is None when the venue says in its own words that there is none."""
        call = Call(Priority.QUERY)
        try:
            return await self.ask(what, question, call=call)
        except VenueRefused as error:
            if {(error.code, str(error)), (error.code, None)} & self._dialect.words.absent:
                return Answer(None, call_sent_at(call))
            raise


class Reading:
    """The `Ask` of a reading that may take several questions, and when the first of them was sent."""

    def __init__(self, ask: Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Answer]]):
        self._ask = ask
        self._began_at: datetime | None = None

    async def __call__(self, what: str, question: Callable[[], Awaitable[Any]]) -> Any:
        answer = await self._ask(what, question)
        self._began_at = self._began_at or answer.sent_at
        return answer.value

    def began_at(self) -> datetime:
        assert self._began_at is not None, "nothing was asked"
        return self._began_at


def call_sent_at(call: Call) -> datetime:
    assert call.sent_at is not None
    return call.sent_at


def words_of(attempt: Attempt, said: tuple[Said, ...], failure: BaseException | None) -> str:
    """Say what came back, in the venue's words where there are any."""
    if attempt.status is None:
        return attempt.error or "no answer"
    if said:
        return f"HTTP {attempt.status}: " + "; ".join(f"{one.code} {one.message}" for one in said)
    failed = f" ({type(failure).__name__})" if failure is not None else ""
    return f"HTTP {attempt.status}{failed}: {(attempt.text or '')!r:.200}"
