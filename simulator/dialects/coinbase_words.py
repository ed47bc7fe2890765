"""How Coinbase Advanced Trade names things, and how it says no.

Nearly every no of an order comes with HTTP 200 and `success: false`; everything else with a status and
`{"error", "error_details", "message"}`. The older `/v2` addresses say `{"errors": [{"id", "message"}]}`.

https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/create-order lists the reasons.
"""

import hashlib
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from simulator import records
from simulator.records import Market, Reject, text

# An order's reason to fail: (error, message, preview_failure_reason), in words that clients have seen.
Failure = tuple[str, str, str]

UNSPECIFIED = "UNKNOWN_FAILURE_REASON"
NO_FUNDS: Failure = (
    "INSUFFICIENT_FUND",
    "Insufficient balance in source account",
    "PREVIEW_INSUFFICIENT_FUND",
)
BAD_PRODUCT: Failure = ("INVALID_PRODUCT_ID", "Invalid product id", "PREVIEW_INVALID_PRODUCT_ID")
BAD_SIDE: Failure = ("INVALID_SIDE", "Invalid side", "PREVIEW_INVALID_SIDE")
SIZE_DECIMALS: Failure = (
    "INVALID_SIZE_PRECISION",
    "Too many decimals in order amount",
    "PREVIEW_INVALID_SIZE_PRECISION",
)
QUOTE_DECIMALS: Failure = (UNSPECIFIED, "", "PREVIEW_INVALID_QUOTE_SIZE_PRECISION")
PRICE_DECIMALS: Failure = (
    "INVALID_PRICE_PRECISION",
    "Too many decimals in order price",
    "PREVIEW_INVALID_PRICE_PRECISION",
)
BASE_SMALL: Failure = (UNSPECIFIED, "", "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL")
BASE_LARGE: Failure = (UNSPECIFIED, "", "PREVIEW_INVALID_BASE_SIZE_TOO_LARGE")
QUOTE_SMALL: Failure = (UNSPECIFIED, "", "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL")
WOULD_TAKE: Failure = (
    "INVALID_LIMIT_PRICE_POST_ONLY",
    "Post only limit order would match existing orders",
    "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY",
)
NO_LIQUIDITY: Failure = ("INVALID_NO_LIQUIDITY", "No liquidity", "PREVIEW_INVALID_NO_LIQUIDITY")
DISABLED: Failure = ("ORDER_ENTRY_DISABLED", "Order entry is disabled", UNSPECIFIED)
STOP_ABOVE: Failure = (UNSPECIFIED, "", "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE")
STOP_BELOW: Failure = (UNSPECIFIED, "", "PREVIEW_STOP_PRICE_BELOW_LAST_TRADE_PRICE")
STOP_ABOVE_LIMIT: Failure = (UNSPECIFIED, "", "PREVIEW_STOP_PRICE_ABOVE_LIMIT_PRICE")
STOP_BELOW_LIMIT: Failure = (UNSPECIFIED, "", "PREVIEW_STOP_PRICE_BELOW_LIMIT_PRICE")
BAD_END: Failure = (UNSPECIFIED, "", "PREVIEW_INVALID_END_TIME")
TOO_MANY_OPEN: Failure = ("COMMANDER_REJECTED_NEW_ORDER", "TOO_MANY_OPEN_ORDERS", UNSPECIFIED)

# Reason of a Reject -> why an order fails. Steps and limits of the size are told apart before.
FAILURES: dict[str, Failure] = {
    records.UNKNOWN_SYMBOL: BAD_PRODUCT,
    records.LOT_SIZE: SIZE_DECIMALS,
    records.PRICE_FILTER: PRICE_DECIMALS,
    records.MIN_NOTIONAL: QUOTE_SMALL,
    records.MAX_ORDERS: TOO_MANY_OPEN,
    records.INSUFFICIENT_FUNDS: NO_FUNDS,
    records.POST_ONLY_WOULD_CROSS: WOULD_TAKE,
    records.HALTED: DISABLED,
    records.CANCEL_ONLY: DISABLED,
    records.POST_ONLY_MODE: DISABLED,
}

# Reason of a Reject -> why a change of an order fails: (edit_failure_reason, preview_failure_reason), as
# .../rest-api/orders/edit-order lists them; whatever else it is, "the commander rejected" it.
EDIT_UNSPECIFIED = "UNKNOWN_EDIT_ORDER_FAILURE_REASON"
PREVIEW_UNSPECIFIED = "UNKNOWN_PREVIEW_FAILURE_REASON"
EDIT_FAILURES = {
    records.UNKNOWN_ORDER: ("ORDER_NOT_FOUND", PREVIEW_UNSPECIFIED),
    records.ORDER_CLOSED: ("ONLY_OPEN_ORDERS_CAN_BE_EDITED", PREVIEW_UNSPECIFIED),
    records.NO_CHANGE: ("EDIT_REQUEST_EQUAL_TO_ORIGINAL_REQUEST", PREVIEW_UNSPECIFIED),
    records.BELOW_FILLED: ("CANNOT_EDIT_TO_BELOW_FILLED_SIZE", PREVIEW_UNSPECIFIED),
    records.LOT_SIZE: ("INVALID_EDITED_SIZE", PREVIEW_UNSPECIFIED),
    records.MIN_NOTIONAL: ("INVALID_EDITED_SIZE", PREVIEW_UNSPECIFIED),
    records.PRICE_FILTER: ("INVALID_EDITED_PRICE", PREVIEW_UNSPECIFIED),
    records.INSUFFICIENT_FUNDS: (EDIT_UNSPECIFIED, "PREVIEW_INSUFFICIENT_FUND"),
    records.POST_ONLY_WOULD_CROSS: (EDIT_UNSPECIFIED, "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY"),
}


class Refused(Exception):
    """Coinbase says no with a status and words."""

    def __init__(self, status: int, error: str, message: str) -> None:
        self.status = status
        self.error = error
        self.message = message
        super().__init__(f"{status} {error}: {message}")


class Failed(Exception):
    """An order that was not created, for one of the reasons above."""

    def __init__(self, failure: Failure, details: str = "") -> None:
        self.failure = failure
        self.details = details
        super().__init__(failure[0])


def invalid(message: str) -> Refused:
    """Make the refusal of a request that makes no sense."""
    return Refused(400, "INVALID_ARGUMENT", message)


def failed(reject: Reject) -> Failed | Refused:
    """Say why the exchange did not take an order, as Coinbase does."""
    if reject.reason == records.MAINTENANCE:
        return Refused(503, "UNAVAILABLE", "Service unavailable")
    failure = FAILURES.get(reject.reason)
    return invalid(reject.message) if failure is None else Failed(failure)


# --- Names and times -----------------------------------------------------------------------------

_ORDER = re.compile(r"5f0e7a2c-9b41-4d36-8c5e-([0-9a-f]{12})")


def order_name(order_id: int) -> str:
    """Coinbase's id of an order: a UUID."""
    return f"5f0e7a2c-9b41-4d36-8c5e-{order_id:012x}"


def order_number(name: object) -> int | None:
    """Our number of an order, from Coinbase's id."""
    found = _ORDER.fullmatch(str(name))
    return None if found is None else int(found[1], 16)


def fill_name(trade_id: int, order_id: int) -> str:
    """Coinbase's id of one order's part in a trade: a UUID."""
    return f"{order_id % 2**32:08x}-3d1f-4b7a-9e02-{trade_id:012x}"


def wallet_name(account: str, currency: str) -> str:
    """Coinbase's id of the wallet that holds a currency."""
    digits = hashlib.sha256(f"{account}/{currency}".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def product_name(market: Market) -> str:
    """Coinbase's name of a market."""
    return f"{market.base}-{market.quote}"


def quote_step(market: Market) -> Decimal:
    """What an amount of quote currency has to be a multiple of."""
    return market.tick


def stamp(seconds: float) -> str:
    """The time as Coinbase writes it, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def whole_stamp(seconds: float) -> str:
    """The time as the older addresses write it, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def read_stamp(written: object) -> float | None:
    """Read a time of RFC 3339; None when it is none."""
    try:
        moment = datetime.fromisoformat(str(written))
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


BOTH: tuple[records.Side, records.Side] = ("buy", "sell")


def trade_row(market: Market, trade: records.PublicTrade) -> dict[str, Any]:
    """A trade everybody sees, as REST and the stream tell it; the side is the maker's."""
    return {
        "trade_id": str(trade.trade_id),
        "product_id": product_name(market),
        "price": text(trade.price),
        "size": text(trade.quantity),
        "time": stamp(trade.now),
        "side": "SELL" if trade.taker_side == "buy" else "BUY",
    }
