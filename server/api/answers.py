"""The one envelope, and which HTTP status says what."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from math import ceil

from flask import Response, g

from ems.core import errors
from ems.core.codec import jsonable
from ems.core.messages import Problem
from server.api.routes import house
from server.api.views import problem_view

HTTP_STATUS = {  # code -> HTTP status
    errors.REQUEST_MALFORMED: 400,
    errors.REQUEST_TOO_LARGE: 413,
    errors.REQUEST_FIELD_UNKNOWN: 400,
    errors.REQUEST_FIELD_MISSING: 400,
    errors.REQUEST_FIELD_INVALID: 400,
    errors.REQUEST_KEY_MISSING: 400,
    errors.REQUEST_NOT_FOUND: 404,
    errors.REQUEST_METHOD: 405,
    errors.IDEMPOTENCY_CONFLICT: 409,
    errors.AUTH_MISSING: 401,
    errors.AUTH_MALFORMED: 401,
    errors.AUTH_CLOCK_AHEAD: 401,
    errors.AUTH_EXPIRED: 401,
    errors.AUTH_RESTARTED: 401,
    errors.AUTH_UNKNOWN_KEY: 401,
    errors.AUTH_KEY_EXPIRED: 401,
    errors.AUTH_BAD_SIGNATURE: 401,
    errors.AUTH_BAD_DIGEST: 401,
    errors.AUTH_REPLAYED: 401,
    errors.AUTH_FORBIDDEN: 403,
    errors.RATE_LIMITED: 429,
    # Understood, and impossible here: 422 keeps these apart from a path that does not exist.
    errors.EXCHANGE_UNKNOWN: 422,
    errors.EXCHANGE_CLOSED: 410,
    errors.EXCHANGE_UNAVAILABLE: 503,
    errors.EXCHANGE_OFFERS_NONE: 422,
    errors.POSITION_MODE_UNSUPPORTED: 422,
    # Not 503: that invites to try again, and this stands until a person lifts it.
    errors.TRADING_HALTED: 423,
    errors.HALT_NOT_FOUND: 404,
    errors.CURRENCY_UNKNOWN: 422,
    errors.SYMBOL_UNKNOWN: 422,
    errors.AMOUNT_TOO_SMALL: 422,
    errors.AMOUNT_TOO_LARGE: 422,
    errors.FUNDS_INSUFFICIENT: 422,
    errors.SELF_MATCH: 409,  # it stands against what rests now
    errors.PRICE_INVALID: 422,
    errors.MARKET_NOT_OPEN: 422,
    errors.ORDER_LIMIT_REACHED: 422,
    errors.AMOUNT_UNREACHABLE: 422,
    errors.QUOTE_UNKNOWN: 404,
    errors.QUOTE_EXPIRED: 410,
    errors.QUOTE_MOVED: 409,
    errors.PRICE_COLLAR: 422,
    errors.SLIPPAGE_LIMIT: 422,
    errors.NOTIONAL_EXCEEDS_MAX_PER_ORDER: 422,
    errors.QUANTITY_EXCEEDS_MAXIMUM: 422,
    errors.CREDIT_LIMIT: 422,
    errors.QUANTITY_INVALID: 422,
    errors.NOTHING_TO_REDUCE: 422,
    errors.POSITION_LIMIT: 422,
    errors.LEVERAGE_LIMIT: 422,
    # Not 429, to which a client waits and sends again: nobody knows when an order ends.
    errors.MAX_OPEN_ORDERS: 422,
    errors.RATE_LIMIT_EXCEEDED: 429,
    errors.EXECUTION_THROTTLE: 423,
    errors.DUPLICATE_SUSPECTED: 409,
    errors.OVEREXECUTION_GUARD: 500,
    errors.LOSS_LIMIT: 423,
    errors.VENUE_BREAKER: 423,
    errors.MARKET_DATA_STALE: 422,
    errors.RESTRICTED: 422,
    errors.LEDGER_MISMATCH: 423,
    errors.ORDER_NOT_FOUND: 404,
    errors.ORDER_CLOSED: 409,
    errors.ORDER_NOT_EDITABLE: 409,
    errors.ORDER_IN_FLIGHT: 409,
    errors.QUERY_NOT_FOUND: 404,
    errors.NOTIFICATION_NOT_FOUND: 404,
    errors.NOTIFICATION_RULE_NOT_FOUND: 404,
    errors.NOTIFICATION_RULES_FULL: 422,
    errors.NOTIFICATION_CHANNEL_OFF: 422,
    errors.NOTIFICATION_ADDRESS_REFUSED: 422,
    # Not 502: a proxy in between may answer 502 by itself, and this is a definite no.
    errors.VENUE_REJECTED: 422,
    errors.VENUE_UNAVAILABLE: 502,
    errors.VENUE_INCONSISTENT: 502,
    errors.QUERY_CANCELED: 409,
    errors.STORE_UNAVAILABLE: 503,
    errors.ENGINE_BUSY: 503,
    errors.ENGINE_STOPPED: 503,
    errors.INTERNAL_ERROR: 500,
}

RETRY_AFTER_S = 1


class Refused(Exception):
    """A view refuses the request; `status` overrides the one of the code, `exchange` tells the mode."""

    def __init__(self, problem: Problem, *, status: int | None = None, exchange: str | None = None) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.status = status
        self.exchange = exchange


def ok(data: object, *, status: int = 200, mode: str | None = None) -> Response:
    """Answer with data."""
    return _envelope("ok", "data", data, status, mode)


def refused(problem: Problem, *, status: int | None = None, mode: str | None = None) -> Response:
    """Answer with an error."""
    response = _envelope(
        "error", "error", problem_view(problem), status or HTTP_STATUS.get(problem.code, 500), mode
    )
    if response.status_code in (429, 503):
        wait_s = Decimal(str(problem.details.get("retry_after_s", RETRY_AFTER_S)))
        response.headers["Retry-After"] = str(ceil(wait_s))  # HTTP knows whole seconds
    return response


def mode_of(exchange: str) -> str:
    """Say "live" or "paper" of one exchange, of several separated by commas, or of all."""
    desk = house().desk
    if exchange == "all":
        return desk.mode()
    modes = {desk.mode(name) for name in exchange.split(",")}
    return "live" if "live" in modes else "paper"


def with_details(problem: Problem, **details: object) -> Problem:
    """Return the problem with more details."""
    return replace(problem, details={**problem.details, **details})


def _envelope(status_word: str, name: str, content: object, status: int, mode: str | None) -> Response:
    body = {
        "status": status_word,
        "mode": mode if mode is not None else house().desk.mode(),
        "request_id": g.request_id,
        name: jsonable(content),
    }
    return Response(json.dumps(body), status=status, mimetype="application/json")
