"""Queries: made, saved, finished, and the letter when one fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ems.core.messages import (
    Problem,
    Ticket,
)
from ems.core.records import (
    Notice,
    Query,
    QueryStatus,
)
from ems.engine.turn import Out
from ems.engine.work import Work

ZERO = Decimal(0)


class Queries:
    """Writes down what was asked and what came of it."""

    def __init__(self, out: Out, work: Work):
        self._out = out
        self._work = work

    def tell_failure(self, query: Query, problem: Problem, done: str, now: datetime) -> None:
        if not query.send_fail_email:
            return
        why = f"{problem.code}: {problem.message}"
        if problem.venue_message:
            why += f" (the exchange said: {problem.venue_code or ''} {problem.venue_message})"
        where = f" on {query.exchange}" if query.exchange else ""
        self._out.record(
            Notice(
                notice_id=f"{query.query_id}-failed",
                query_id=query.query_id if query.record_in_db else None,
                severity="error",
                subject=f"{query.verb}{where} failed: {problem.code}",
                failed=f"{query.verb}{where} of bot {query.bot} (user {query.user}), query {query.query_id}",
                why=why,
                done=done,
                todo=problem.hint,
                created_at=now,
                group=f"{query.user}/{query.bot}/{query.verb}/{problem.code}",
                event="query_failed",
            )
        )

    def make(
        self,
        query_id: str,
        ticket: Ticket,
        verb: str,
        exchange: str | None,
        mode: str,
        parameters: dict[str, object],
        now: datetime,
    ) -> Query:
        return Query(
            query_id=query_id,
            user=ticket.user,
            bot=ticket.bot,
            verb=verb,
            exchange=exchange,
            parameters=parameters,
            idempotency_key=ticket.idempotency_key,
            body_digest=ticket.body_digest,
            record_in_db=ticket.record_in_db,
            send_fail_email=ticket.send_fail_email,
            mode=mode,
            status=QueryStatus.WORKING,
            accepted_at=now,
            seq=micros(now),
        )

    def new(
        self,
        query_id: str,
        ticket: Ticket,
        verb: str,
        exchange: str | None,
        mode: str,
        parameters: dict[str, object],
        now: datetime,
    ) -> Query:
        query = self.make(query_id, ticket, verb, exchange, mode, parameters, now)
        self._work.remember(query)
        return query

    def save(self, query: Query) -> None:
        self._work.remember(query)
        self._out.record(query)
        self._out.turn.touched.add(query.query_id)

    def finish(
        self,
        query: Query,
        status: QueryStatus,
        result: dict[str, object],
        problem: Problem | None,
        now: datetime,
    ) -> Query:
        if problem is not None:
            # Its key is bound and some of it may have been traded: sending it again is never the answer.
            problem = replace(problem, retry_safe=False)
        query = replace(query, status=status, result=result, error=problem, finished_at=now, seq=micros(now))
        self.save(query)
        if problem is not None:
            spent_text = f"Done until then: {result.get('outcome', result.get('status', 'nothing'))}."
            self.tell_failure(query, problem, spent_text + " Open orders of it were cancelled.", now)
        self._out.publish("query", query.query_id, {"status": str(status)})
        return query


def micros(now: datetime) -> int:
    """Return a moment as a number that grows: the seq of a picture."""
    return int(now.timestamp() * 1_000_000)
