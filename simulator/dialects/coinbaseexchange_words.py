"""Coinbase Exchange's words and names, its signature and its buckets: what REST and the WebSocket share.

Error words that no page lists are as reported by users of the API and as ccxt 4.5.90 knows them; a comment
says which are neither.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from simulator import records
from simulator.exchange import Exchange
from simulator.records import Key, Market, Reject

TIME_WINDOW_S = 30.0  # https://docs.cdp.coinbase.com/exchange/rest-api/authentication
ORDER_PREFIX = "0c5e1a7e-5eed-4000-8000-"

# Reason of a Reject -> (status, words). The size that is too small is told by `_too_small`.
WORDS = {
    records.INVALID_KEY: (401, "Invalid API Key"),
    records.PERMISSION_DENIED: (403, "Forbidden"),
    records.UNKNOWN_SYMBOL: (404, "Product not found"),
    records.UNKNOWN_ORDER: (404, "order not found"),
    records.ORDER_CLOSED: (400, "Order already done"),
    records.BAD_PARAMETER: (400, "Invalid request"),  # neither
    records.INSUFFICIENT_FUNDS: (400, "Insufficient funds"),
    records.MAX_ORDERS: (400, "Maximum open orders exceeded"),  # neither
    records.HALTED: (400, "Trading pair not available"),
    records.CANCEL_ONLY: (400, "Cancel only mode"),
    records.POST_ONLY_MODE: (400, "Post only mode"),
    records.MAINTENANCE: (503, "Exchange is under maintenance"),
}


class Refused(Exception):
    """The exchange says no: a status and words."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(f"{status} {message}")


def refusal_of(reject: Reject) -> Refused:
    """Say why the exchange refused, as Coinbase does."""
    return Refused(*WORDS.get(reject.reason, (500, "Internal server error")))


# --- Names, numbers, times -----------------------------------------------------------------------


def order_name(order_id: int) -> str:
    """Coinbase's id of an order, a UUID."""
    return f"{ORDER_PREFIX}{order_id:012x}"


def order_number(name: str) -> int:
    """Our number of an order, from Coinbase's id; 0 for an id it never gave out."""
    if not is_uuid(name):
        raise Refused(400, "Invalid order id")
    return int(name[-12:], 16) if name.lower().startswith(ORDER_PREFIX) else 0


def named(what: str) -> str:
    """A UUID for something, always the same."""
    digest = hashlib.sha256(what.encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def is_uuid(given: object) -> bool:
    """Say whether this is a UUID, with its dashes."""
    pattern = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    return isinstance(given, str) and re.fullmatch(pattern, given, re.ASCII) is not None


def product_name(market: Market) -> str:
    """Coinbase's name of a market."""
    return f"{market.base}-{market.quote}"


def profile_of(account: str) -> str:
    """The id of a profile, which is what an account is called."""
    return named(f"profile {account}")


def user_of(account: str) -> str:
    """The id of the user behind a profile."""
    return hashlib.sha256(account.encode()).hexdigest()[:24]


def wallet_of(account: str, currency: str) -> str:
    """The id of what a profile holds of one currency; Coinbase calls that an account."""
    return named(f"{account}/{currency}")


def iso(seconds: float) -> str:
    """A time as nearly everything tells it."""
    return f"{utc(seconds):%Y-%m-%dT%H:%M:%S.%f}Z"


def digits(value: Decimal, places: int) -> str:
    """An amount with all of its places, as the ledger's columns have them."""
    return f"{value:.{places}f}"


def utc(seconds: float) -> datetime:
    """A time of the exchange's as a moment."""
    return datetime.fromtimestamp(seconds, UTC)


def maker_side(taker_side: str) -> str:
    """The side a trade is told with."""
    return "buy" if taker_side == "sell" else "sell"


# --- Signature and limits ------------------------------------------------------------------------


def signature(secret: str, payload: str) -> str:
    """HMAC-SHA256 with the decoded secret, in base64.

    https://docs.cdp.coinbase.com/exchange/rest-api/authentication
    """
    key = base64.b64decode(secret)
    return base64.b64encode(hmac.new(key, payload.encode(), hashlib.sha256).digest()).decode()


def verify(exchange: Exchange, given: Sequence[str], payload: str, clock: float) -> Key:
    """Find the key of a signed request, or refuse it; the payload is what follows the timestamp.

    `given` is what the four headers hold: key, signature, timestamp, passphrase.
    """
    for name, value in zip(("KEY", "SIGN", "TIMESTAMP", "PASSPHRASE"), given, strict=True):
        if not value:
            raise Refused(401, f"CB-ACCESS-{name} header is required")
    key, sign, timestamp, passphrase = given
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", timestamp, re.ASCII):
        raise Refused(401, "invalid timestamp")  # neither
    if abs(float(timestamp) - clock) > TIME_WINDOW_S:
        raise Refused(401, "request timestamp expired")
    found = exchange.keys.get(key)
    if found is None or found.revoked:
        raise Refused(401, "Invalid API Key")
    try:
        expected = signature(found.secret, timestamp + payload)
    except binascii.Error:  # a key made with a secret that is no base64 signs nothing
        raise Refused(401, "invalid signature") from None
    if not hmac.compare_digest(expected.encode(), sign.encode()):
        raise Refused(401, "invalid signature")
    if not hmac.compare_digest((found.passphrase or "").encode(), passphrase.encode()):
        raise Refused(401, "Invalid Passphrase")
    return found


class Bucket:
    """So many tokens at most, refilled at a rate; it starts full, and what is refused costs nothing.

    https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self.per_s = per_s
        self.burst = burst
        self._tokens = float(burst)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take a token and say whether there was one."""
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._at) * self.per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
