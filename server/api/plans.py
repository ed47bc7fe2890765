"""Conversions, liquidations and rebalances: what a router or planner finds the way for, and its quote."""

from __future__ import annotations

from ems.core import errors
from server.api import examples
from server.api.routes import Noun
from server.api.writes import write

plans = Noun("plans", __name__)

QUOTE_ERRORS = (errors.QUOTE_UNKNOWN, errors.QUOTE_EXPIRED, errors.QUOTE_MOVED)

write(
    plans,
    "smart_order",
    example=examples.SMART_ORDER,
    more_errors=(errors.CURRENCY_UNKNOWN, errors.AMOUNT_UNREACHABLE, *QUOTE_ERRORS),
)
write(
    plans,
    "liquidate",
    example=examples.LIQUIDATE,
    more_errors=(errors.CURRENCY_UNKNOWN, *QUOTE_ERRORS),
)
write(
    plans,
    "rebalance",
    example=examples.REBALANCE,
    more_errors=(errors.CURRENCY_UNKNOWN, *QUOTE_ERRORS),
)
write(
    plans,
    "quote",
    example=examples.QUOTE,
    answer="QuoteQuery",
    more_errors=(errors.CURRENCY_UNKNOWN, errors.AMOUNT_UNREACHABLE),
)
