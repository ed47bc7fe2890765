"""Every error code a caller can see, with what it means and what to do about it.

Codes are CATEGORY_CONDITION. The category says where the cause lies: REQUEST and IDEMPOTENCY in the caller's
words, AUTH in the signature, EXCHANGE to MARKET in what was asked of which market, TRADING and HALT in what
people have stopped, QUOTE in a plan that no longer holds, ORDER and QUERY in what is not there, VENUE in the
exchange's own answer, STORE to INTERNAL in this server. Codes of the risk controls keep the names of their
field (RELIABILITY.md E). The table feeds the HTTP mapping, OpenAPI and the manual.

`retry_safe` is about the same request sent again unchanged: true only where waiting can help, and either
nothing can have happened or the idempotency key makes a second one harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ems.core.messages import Problem, Refusal

REQUEST_MALFORMED = "REQUEST_MALFORMED"
REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
REQUEST_FIELD_UNKNOWN = "REQUEST_FIELD_UNKNOWN"
REQUEST_FIELD_MISSING = "REQUEST_FIELD_MISSING"
REQUEST_FIELD_INVALID = "REQUEST_FIELD_INVALID"
REQUEST_KEY_MISSING = "REQUEST_KEY_MISSING"
REQUEST_NOT_FOUND = "REQUEST_NOT_FOUND"
REQUEST_METHOD = "REQUEST_METHOD"
IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"

AUTH_MISSING = "AUTH_MISSING"
AUTH_MALFORMED = "AUTH_MALFORMED"
AUTH_CLOCK_AHEAD = "AUTH_CLOCK_AHEAD"
AUTH_EXPIRED = "AUTH_EXPIRED"
AUTH_RESTARTED = "AUTH_RESTARTED"
AUTH_UNKNOWN_KEY = "AUTH_UNKNOWN_KEY"
AUTH_KEY_EXPIRED = "AUTH_KEY_EXPIRED"
AUTH_BAD_SIGNATURE = "AUTH_BAD_SIGNATURE"
AUTH_BAD_DIGEST = "AUTH_BAD_DIGEST"
AUTH_REPLAYED = "AUTH_REPLAYED"
AUTH_FORBIDDEN = "AUTH_FORBIDDEN"
RATE_LIMITED = "RATE_LIMITED"

EXCHANGE_UNKNOWN = "EXCHANGE_UNKNOWN"
EXCHANGE_CLOSED = "EXCHANGE_CLOSED"
EXCHANGE_UNAVAILABLE = "EXCHANGE_UNAVAILABLE"
EXCHANGE_OFFERS_NONE = "EXCHANGE_OFFERS_NONE"
POSITION_MODE_UNSUPPORTED = "POSITION_MODE_UNSUPPORTED"
TRADING_HALTED = "TRADING_HALTED"
HALT_NOT_FOUND = "HALT_NOT_FOUND"
CURRENCY_UNKNOWN = "CURRENCY_UNKNOWN"
SYMBOL_UNKNOWN = "SYMBOL_UNKNOWN"
AMOUNT_TOO_SMALL = "AMOUNT_TOO_SMALL"
AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
FUNDS_INSUFFICIENT = "FUNDS_INSUFFICIENT"
SELF_MATCH = "SELF_MATCH"
PRICE_INVALID = "PRICE_INVALID"
MARKET_NOT_OPEN = "MARKET_NOT_OPEN"
ORDER_LIMIT_REACHED = "ORDER_LIMIT_REACHED"
AMOUNT_UNREACHABLE = "AMOUNT_UNREACHABLE"
QUOTE_UNKNOWN = "QUOTE_UNKNOWN"
QUOTE_EXPIRED = "QUOTE_EXPIRED"
QUOTE_MOVED = "QUOTE_MOVED"

PRICE_COLLAR = "PRICE_COLLAR"
SLIPPAGE_LIMIT = "SLIPPAGE_LIMIT"
NOTIONAL_EXCEEDS_MAX_PER_ORDER = "NOTIONAL_EXCEEDS_MAX_PER_ORDER"
QUANTITY_EXCEEDS_MAXIMUM = "QUANTITY_EXCEEDS_MAXIMUM"
CREDIT_LIMIT = "CREDIT_LIMIT"
QUANTITY_INVALID = "QUANTITY_INVALID"
NOTHING_TO_REDUCE = "NOTHING_TO_REDUCE"
POSITION_LIMIT = "POSITION_LIMIT"
LEVERAGE_LIMIT = "LEVERAGE_LIMIT"
MAX_OPEN_ORDERS = "MAX_OPEN_ORDERS"
RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
EXECUTION_THROTTLE = "EXECUTION_THROTTLE"
DUPLICATE_SUSPECTED = "DUPLICATE_SUSPECTED"
OVEREXECUTION_GUARD = "OVEREXECUTION_GUARD"
LOSS_LIMIT = "LOSS_LIMIT"
VENUE_BREAKER = "VENUE_BREAKER"
MARKET_DATA_STALE = "MARKET_DATA_STALE"
RESTRICTED = "RESTRICTED"
LEDGER_MISMATCH = "LEDGER_MISMATCH"

ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
ORDER_CLOSED = "ORDER_CLOSED"
ORDER_NOT_EDITABLE = "ORDER_NOT_EDITABLE"
ORDER_IN_FLIGHT = "ORDER_IN_FLIGHT"
QUERY_NOT_FOUND = "QUERY_NOT_FOUND"
QUERY_CANCELED = "QUERY_CANCELED"

NOTIFICATION_NOT_FOUND = "NOTIFICATION_NOT_FOUND"
NOTIFICATION_RULE_NOT_FOUND = "NOTIFICATION_RULE_NOT_FOUND"
NOTIFICATION_RULES_FULL = "NOTIFICATION_RULES_FULL"
NOTIFICATION_CHANNEL_OFF = "NOTIFICATION_CHANNEL_OFF"
NOTIFICATION_ADDRESS_REFUSED = "NOTIFICATION_ADDRESS_REFUSED"

VENUE_REJECTED = "VENUE_REJECTED"
VENUE_UNAVAILABLE = "VENUE_UNAVAILABLE"
VENUE_INCONSISTENT = "VENUE_INCONSISTENT"

STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
ENGINE_BUSY = "ENGINE_BUSY"
ENGINE_STOPPED = "ENGINE_STOPPED"
INTERNAL_ERROR = "INTERNAL_ERROR"


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorCode:
    """One row of the manual's table of errors."""

    code: str
    meaning: str
    hint: str  # what to do, when the place that refuses knows nothing better
    retry_safe: bool = False


GROUPS: dict[str, tuple[ErrorCode, ...]] = {  # heading -> codes, as the manual prints them
    "The request": (
        ErrorCode(
            code=REQUEST_MALFORMED,
            meaning="Not what this API speaks: broken JSON, a duplicate key, a wrong content type.",
            hint="Send one JSON object in UTF-8 with Content-Type: application/json.",
        ),
        ErrorCode(
            code=REQUEST_TOO_LARGE,
            meaning="The body is larger than 64 KiB.",
            hint="Send a smaller body; no call of this API needs more than a few hundred bytes.",
        ),
        ErrorCode(
            code=REQUEST_FIELD_UNKNOWN,
            meaning="A field is not one this call knows; nothing is ever silently ignored.",
            hint="Remove the field or correct its name; /api/docs lists the fields of every call.",
        ),
        ErrorCode(
            code=REQUEST_FIELD_MISSING,
            meaning="A required field is absent.",
            hint="Add the field; /api/docs shows an example of every call.",
        ),
        ErrorCode(
            code=REQUEST_FIELD_INVALID,
            meaning="A field has a value that cannot be meant.",
            hint="Correct the field named in the message; /api/docs shows its form.",
        ),
        ErrorCode(
            code=REQUEST_KEY_MISSING,
            meaning="A write came without a usable Idempotency-Key header.",
            hint="Send Idempotency-Key with 1 to 255 printable ASCII characters, new for every intention.",
        ),
        ErrorCode(
            code=REQUEST_NOT_FOUND,
            meaning="There is no such path.",
            hint="See /api/docs for every call.",
        ),
        ErrorCode(
            code=REQUEST_METHOD,
            meaning="The path exists, but not for this HTTP method.",
            hint="Use the method named in the Allow header.",
        ),
        ErrorCode(
            code=IDEMPOTENCY_CONFLICT,
            meaning="The idempotency key was used before for a different request.",
            hint="Use a new key for a new intention; a repeat must carry exactly the same fields.",
        ),
    ),
    "The signature": (
        ErrorCode(
            code=AUTH_MISSING,
            meaning="The request is not signed.",
            hint="Sign with OMS_KEY: use oms_client, or see the signing page of the manual.",
        ),
        ErrorCode(
            code=AUTH_MALFORMED,
            meaning="A signature header does not have the one form this server accepts.",
            hint="Compare Signature-Input, Signature and Content-Digest with the form in the manual.",
        ),
        ErrorCode(
            code=AUTH_CLOCK_AHEAD,
            meaning="The signature was made in the server's future.",
            hint="Set the clock of the client (NTP); server_time_ms is the server's time.",
        ),
        ErrorCode(
            code=AUTH_EXPIRED,
            meaning="The signature is older than it says it may be.",
            hint="Sign again; if it happens at once, set the clock of the client (NTP).",
        ),
        ErrorCode(
            code=AUTH_RESTARTED,
            meaning="The signature was made before this server started, so a replay could not be told apart.",
            hint="Sign again and send; the idempotency key stays the same.",
        ),
        ErrorCode(
            code=AUTH_UNKNOWN_KEY,
            meaning="No user of this server has the key that signed.",
            hint="Add the public key to OMS_KEYS on the server, or set the right OMS_KEY at the client.",
        ),
        ErrorCode(
            code=AUTH_KEY_EXPIRED,
            meaning="The key that signed has passed its expiry date.",
            hint="Make a new key pair and put its public key into OMS_KEYS.",
        ),
        ErrorCode(
            code=AUTH_BAD_SIGNATURE,
            meaning="The signature does not fit the request.",
            hint="Compare details.base with the base that was signed; often the host differs: see OMS_HOSTS.",
        ),
        ErrorCode(
            code=AUTH_BAD_DIGEST,
            meaning="Content-Digest is not the digest of the body that arrived.",
            hint="Compute it over the exact bytes sent, uncompressed.",
        ),
        ErrorCode(
            code=AUTH_REPLAYED,
            meaning="This signed request was received before.",
            hint="A retry must be signed again with a new nonce; keep the idempotency key.",
        ),
        ErrorCode(
            code=AUTH_FORBIDDEN,
            meaning="The key is valid, but its role does not allow this call.",
            hint="Use a key with the role the message names, or raise the role in OMS_KEYS.",
        ),
        ErrorCode(
            code=RATE_LIMITED,
            meaning="Too many requests from this key or address.",
            hint="Wait for Retry-After seconds.",
            retry_safe=True,
        ),
    ),
    "What was asked": (
        ErrorCode(
            code=EXCHANGE_UNKNOWN,
            meaning="This server has no account at an exchange of that name.",
            hint="Use one of the configured exchanges named in the message, or configure its keys.",
        ),
        ErrorCode(
            code=EXCHANGE_CLOSED,
            meaning="The exchange no longer exists.",
            hint="Use another exchange.",
        ),
        ErrorCode(
            code=EXCHANGE_UNAVAILABLE,
            meaning="The exchange is configured, but not ready: it is being reconciled, or is halted.",
            hint="Wait and send again; check_health says what is missing.",
            retry_safe=True,
        ),
        ErrorCode(
            code=EXCHANGE_OFFERS_NONE,
            meaning="The exchange offers no such list, or not in this form.",
            hint="The message says what it offers and how to ask (on the command line: --symbol BASE/QUOTE).",
        ),
        ErrorCode(
            code=POSITION_MODE_UNSUPPORTED,
            meaning="The account keeps long and short positions of a contract apart (hedge mode).",
            hint="Close its positions and set the account to net (one-way) mode at the exchange.",
        ),
        ErrorCode(
            code=TRADING_HALTED,
            meaning="A person has halted trading there; nothing is placed until a person lifts it.",
            hint="The message names the halt, who set it and how it is lifted; get_halts lists all of them.",
        ),
        ErrorCode(
            code=HALT_NOT_FOUND,
            meaning="There is no such halt in force.",
            hint="get_halts lists the halts in force, with their ids.",
        ),
        ErrorCode(
            code=CURRENCY_UNKNOWN,
            meaning="The exchange does not trade that currency.",
            hint="Check the spelling; currencies are the exchange's upper-case codes such as BTC.",
        ),
        ErrorCode(
            code=SYMBOL_UNKNOWN,
            meaning="The exchange has no such market.",
            hint="Write symbols as BASE/QUOTE, such as BTC/USDT.",
        ),
        ErrorCode(
            code=AMOUNT_TOO_SMALL,
            meaning="The amount is below the smallest order the market takes.",
            hint="Ask for at least the minimum named in the message.",
        ),
        ErrorCode(
            code=AMOUNT_TOO_LARGE,
            meaning="The amount is above the largest order the market takes.",
            hint="Split the order, or use smart_order, which splits by itself.",
        ),
        ErrorCode(
            code=QUANTITY_INVALID,
            meaning="The quantity is no whole number of the contract's lots.",
            hint="Send one of the quantities that the message names.",
        ),
        ErrorCode(
            code=NOTHING_TO_REDUCE,
            meaning="A reduce-only order for a contract of which nothing is held that it could close.",
            hint="Look with get_positions; without reduce_only it would open a position.",
        ),
        ErrorCode(
            code=FUNDS_INSUFFICIENT,
            meaning="The account does not have that much free.",
            hint="Ask for less; get_balances shows what is free.",
        ),
        ErrorCode(
            code=SELF_MATCH,
            meaning="The order would trade with one of this server's own orders on the same account.",
            hint="Use the price named in details.limit, or cancel the order that is in the way.",
        ),
        ErrorCode(
            code=PRICE_INVALID,
            meaning="The market does not take that price.",
            hint="Use a multiple of the market's price step, near the present price.",
        ),
        ErrorCode(
            code=MARKET_NOT_OPEN,
            meaning="The market exists, and takes no such order just now: halted, cancel only, post only.",
            hint="details.limit says what it takes; wait, or send an order of that kind.",
        ),
        ErrorCode(
            code=ORDER_LIMIT_REACHED,
            meaning="As many orders are open in that market as the exchange allows an account.",
            hint="Cancel one, or wait until one ends.",
        ),
        ErrorCode(
            code=AMOUNT_UNREACHABLE,
            meaning="What is to be received is more than the books or the holdings allow.",
            hint="Ask for at most details.reachable, or use start_amount.",
        ),
        ErrorCode(
            code=QUOTE_UNKNOWN,
            meaning="There is no such quote, or it is not yours, or it is of another call.",
            hint="Check the quote_id, or ask for a new quote; nothing was sent.",
        ),
        ErrorCode(
            code=QUOTE_EXPIRED,
            meaning="The quote is too old to be carried out; nothing was sent.",
            hint="Ask for a new quote.",
        ),
        ErrorCode(
            code=QUOTE_MOVED,
            meaning="The books or balances no longer allow what was quoted; nothing was sent.",
            hint="Ask for a new quote, or send the call without quote_id to take what there is now.",
        ),
        ErrorCode(
            code=ORDER_NOT_FOUND,
            meaning="There is no such order, or it is not yours.",
            hint="Check the id; get_past_orders lists your orders.",
        ),
        ErrorCode(
            code=ORDER_CLOSED,
            meaning="The order has already ended.",
            hint="Nothing is left to do; get_order shows how it ended.",
        ),
        ErrorCode(
            code=ORDER_NOT_EDITABLE,
            meaning="The order has no terms of its own that could be changed.",
            hint="Cancel what it belongs to, and ask anew.",
        ),
        ErrorCode(
            code=ORDER_IN_FLIGHT,
            meaning="Something else is under way with the order, or it is being looked up.",
            hint="Ask again when get_order shows that it stands.",
            retry_safe=True,
        ),
        ErrorCode(
            code=QUERY_NOT_FOUND,
            meaning="There is no such query, or it is not yours, or it is over and was not to be recorded.",
            hint="Check the id, or send the request again with its idempotency key.",
        ),
        ErrorCode(
            code=QUERY_CANCELED,
            meaning="A cancel came while the request was still being judged; nothing of it was sent.",
            hint="Send it again with a new idempotency key if it is still wanted.",
        ),
    ),
    "Notifications": (
        ErrorCode(
            code=NOTIFICATION_NOT_FOUND,
            meaning="There is no such message, or it is not yours.",
            hint="get_notifications lists your messages, with their ids.",
        ),
        ErrorCode(
            code=NOTIFICATION_RULE_NOT_FOUND,
            meaning="There is no rule of that name, or it is not yours.",
            hint="get_notification_rules lists your rules.",
        ),
        ErrorCode(
            code=NOTIFICATION_RULES_FULL,
            meaning="One user keeps a hundred rules and no more.",
            hint="Delete a rule, or replace one by using its name.",
        ),
        ErrorCode(
            code=NOTIFICATION_CHANNEL_OFF,
            meaning="The operator has not set this channel up.",
            hint="Use a channel that get_notification_rules lists, or ask the operator for its settings.",
        ),
        ErrorCode(
            code=NOTIFICATION_ADDRESS_REFUSED,
            meaning="The operator's settings do not allow this address.",
            hint="Use an address that is allowed, or ask the operator to allow this one.",
        ),
    ),
    "Risk controls": (
        ErrorCode(
            code=PRICE_COLLAR,
            meaning="The limit price is too far from the middle of the book.",
            hint="Use details.nearest, or have an admin widen price_collar.",
        ),
        ErrorCode(
            code=SLIPPAGE_LIMIT,
            meaning="The market order would walk the book further than is allowed.",
            hint="Ask for less, send a limit order, or use smart_order, which takes its time.",
        ),
        ErrorCode(
            code=NOTIONAL_EXCEEDS_MAX_PER_ORDER,
            meaning="The order is worth more than one order may be.",
            hint="Ask for less, or use smart_order, which splits by itself.",
        ),
        ErrorCode(
            code=QUANTITY_EXCEEDS_MAXIMUM,
            meaning="The order is larger than the market's depth or volume allows.",
            hint="Ask for at most details.most, or use smart_order, which splits by itself.",
        ),
        ErrorCode(
            code=CREDIT_LIMIT,
            meaning="Open and traded within 24 hours would together be more than is allowed.",
            hint="get_risk shows what is used and what is left.",
        ),
        ErrorCode(
            code=POSITION_LIMIT,
            meaning="The account would hold more of the currency than is allowed.",
            hint="Buy less, or sell some first; get_risk shows the limit.",
        ),
        ErrorCode(
            code=LEVERAGE_LIMIT,
            meaning="The leverage of the contract is, or would be, more than is allowed.",
            hint="Choose less with set_leverage; get_limits shows max_leverage.",
        ),
        ErrorCode(
            code=MAX_OPEN_ORDERS,
            meaning="As many orders are open as may be.",
            hint="Cancel one, or wait until one ends.",
            retry_safe=True,
        ),
        ErrorCode(
            code=RATE_LIMIT_EXCEEDED,
            meaning="New orders come faster than is allowed; cancels never do.",
            hint="Wait details.retry_after_s seconds and send again with the same idempotency key.",
            retry_safe=True,
        ),
        ErrorCode(
            code=EXECUTION_THROTTLE,
            meaning="Too many executions of one side of a market within a minute: the user is halted there.",
            hint="Look at what the bot does; an admin lifts the halt with resume.",
        ),
        ErrorCode(
            code=DUPLICATE_SUSPECTED,
            meaning="The same plain order was sent a moment ago, under another key.",
            hint="Send it again with allow_duplicate true if both are wanted.",
        ),
        ErrorCode(
            code=OVEREXECUTION_GUARD,
            meaning="An order beyond what its parent was asked for was stopped before it was sent.",
            hint="Tell the operator: it is a mistake of the server. Nothing of it was sent.",
        ),
        ErrorCode(
            code=LOSS_LIMIT,
            meaning="More was lost today than is allowed: the user is halted.",
            hint="An admin lifts the halt with resume; daily_loss is the limit.",
        ),
        ErrorCode(
            code=VENUE_BREAKER,
            meaning="The exchange answered so badly that it was halted.",
            hint="Look at the exchange; an admin lifts the halt with resume.",
        ),
        ErrorCode(
            code=MARKET_DATA_STALE,
            meaning="There is no fresh price to measure the order against.",
            hint="Wait a moment and send again; get_risk shows the limits that need a price.",
            retry_safe=True,
        ),
        ErrorCode(
            code=RESTRICTED,
            meaning="The market, exchange, order type or hour is not among the allowed ones.",
            hint="get_risk shows what is allowed; an admin allows more.",
        ),
        ErrorCode(
            code=LEDGER_MISMATCH,
            meaning="The exchange holds less than our fills say: the account is halted.",
            hint="Compare get_balances with the fills; an admin lifts the halt with resume.",
        ),
    ),
    "The exchange's answer": (
        ErrorCode(
            code=VENUE_REJECTED,
            meaning="The exchange refused; venue_code and venue_message are its own words.",
            hint="Read venue_message; nothing was traded by the refused order.",
        ),
        ErrorCode(
            code=VENUE_UNAVAILABLE,
            meaning="The exchange gave no usable answer.",
            hint="Wait and ask again; an order that was sent is looked up by the server, never sent twice.",
            retry_safe=True,
        ),
        ErrorCode(
            code=VENUE_INCONSISTENT,
            meaning="The exchange contradicted itself: an order that it had denied turned out to be alive.",
            hint="Compare the exchange with get_balances before trading on; the e-mail has the details.",
        ),
    ),
    "This server": (
        ErrorCode(
            code=STORE_UNAVAILABLE,
            meaning="The database cannot be written, so nothing new is started.",
            hint="Wait and send again with the same idempotency key; the operator sees the cause in the log.",
            retry_safe=True,
        ),
        ErrorCode(
            code=ENGINE_BUSY,
            meaning="The server did not get to the request in time; it may still be carried out.",
            hint="Send again with the same idempotency key: it is never done twice.",
            retry_safe=True,
        ),
        ErrorCode(
            code=ENGINE_STOPPED,
            meaning="The server is starting or stopping and takes no new work.",
            hint="Wait and send again with the same idempotency key.",
            retry_safe=True,
        ),
        ErrorCode(
            code=INTERNAL_ERROR,
            meaning="A mistake in this server.",
            hint="Tell the operator the request_id; send again with the same idempotency key.",
            retry_safe=True,
        ),
    ),
}

CODES: dict[str, ErrorCode] = {row.code: row for rows in GROUPS.values() for row in rows}  # code -> its row


class BadMessage(Exception):
    """What a caller sent cannot be understood; carries every problem found, the first one first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "a bad message has at least one problem"
        self.problems = tuple(problems)
        super().__init__(self.problems[0].message)


def problem(
    code: str,
    message: str,
    *,
    hint: str | None = None,
    details: dict[str, object] | None = None,
    venue_code: str | None = None,
    venue_message: str | None = None,
) -> Problem:
    """Make a Problem with the code's own hint and retry rule."""
    row = CODES[code]
    return Problem(
        code=code,
        message=message,
        hint=row.hint if hint is None else hint,
        retry_safe=row.retry_safe,
        details=details or {},
        venue_code=venue_code,
        venue_message=venue_message,
    )


def refusal_code(refusal: Refusal) -> str:
    """Return our code of an exchange's no."""
    return {
        Refusal.INSUFFICIENT_FUNDS: FUNDS_INSUFFICIENT,
        Refusal.MIN_SIZE: AMOUNT_TOO_SMALL,
        Refusal.RATE_LIMIT: VENUE_UNAVAILABLE,
    }.get(refusal, VENUE_REJECTED)


def combined(problems: Sequence[Problem]) -> Problem:
    """Fold the problems of one message into one Problem: the first speaks, all are listed in details."""
    first = problems[0]
    if len(problems) == 1:
        message = first.message
    else:
        message = f"{first.message} (and {len(problems) - 1} more: see details.problems)"
    listed = [{"code": p.code, "message": p.message, "hint": p.hint, **p.details} for p in problems]
    return Problem(
        code=first.code,
        message=message,
        hint=first.hint,
        retry_safe=first.retry_safe,
        details={**first.details, "problems": listed},
    )
