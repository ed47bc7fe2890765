"""What a finished query means to the caller: its order, its result."""

from __future__ import annotations

from typing import Callable, TypeVar

from .answers import Answer, Order, Query, SmartOrderResult

NOT_AT_THE_VENUE_YET = ("created", "pending", "unknown")

A = TypeVar("A", bound=Answer)


def is_over(query: Query) -> bool:
    return query.is_over


def is_placed(query: Query) -> bool:
    """Say whether the query's order stands at the exchange, or the query has ended."""
    orders = query.get("orders") or []
    # A refused order of a query that goes on may be sent once more.
    return query.is_over or (bool(orders) and orders[-1]["status"] not in (*NOT_AT_THE_VENUE_YET, "rejected"))


def placed_order(query: Query) -> Order:
    """Give the order a query placed; a dry run has none, and gives its plan."""
    orders, result = query.get("orders") or [], query.get("result") or {}
    # Beside the order there may be what is attached to it.
    orders = [one for one in orders if one.get("purpose") not in ("stop_loss", "take_profit")]
    more = {name: result.get(name, []) for name in ("corrections", "crossed")}
    order = Order({**orders[-1], **more} if orders else result)
    return with_query(order, query)


def worked(query: Query) -> SmartOrderResult:
    """Give the result of an order that an algorithm worked."""
    return with_query(SmartOrderResult(query.get("result") or {}), query)


def result_of(kind: type[A]) -> Callable[[Query], A]:
    return lambda query: with_query(kind(query.get("result") or {}), query)


def with_query(answer: A, query: Query) -> A:
    answer._from(query.mode, query.request_id)
    answer.__dict__["_query"] = query
    return answer
