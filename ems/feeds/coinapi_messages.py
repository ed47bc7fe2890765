"""CoinAPI's Market Data WebSocket V1 without a wire: names, what is said, what is heard.

What a reader has to know:

1. One `hello` begins: key, heartbeat, data types, filters. Without a filter it means every market there is,
   so nothing is asked for before something is watched. `subscribe` and `unsubscribe` change it later.
2. `book` sends changes at once, and a snapshot "as soon as possible": what comes before it is nothing to add
   to. `sequence` counts the messages of one type and symbol on one connection.
3. A level of size zero is gone. The page does not say so; the exchanges' own streams do.
4. An `error` is final: the connection is closed after it. Only the one about a full buffer may be mended by
   connecting again.
5. The page spells the heartbeat `hearbeat`, and the wire both ways. It comes every second.

https://docs.coinapi.io/market-data/websocket/general and .../messages
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ems.core.depth import Change, Row

HEARTBEATS = ("heartbeat", "hearbeat")
BUFFER_FULL = "buffered messages"  # words of the one error that is no refusal

# Our exchange -> how CoinAPI calls its spot markets. Coinbase has one book behind two APIs.
# https://docs.coinapi.io/market-data/rest-api/metadata
EXCHANGES = {
    "binance": "BINANCE",
    "kraken": "KRAKEN",
    "okx": "OKEX",
    "bybit": "BYBITSPOT",
    "coinbase": "COINBASE",
    "coinbaseexchange": "COINBASE",
    "gemini": "GEMINI",
}


def symbol_id(exchange: str, symbol: str) -> str | None:
    """Return CoinAPI's name of a spot market, such as BINANCE_SPOT_BTC_USDT; None where it has none."""
    theirs = EXCHANGES.get(exchange)
    base, slash, quote = symbol.partition("/")
    if theirs is None or not slash or ":" in quote:
        return None
    return f"{theirs}_SPOT_{base}_{quote}"


def hello(key: str, symbol_ids: Iterable[str], *, kind: str = "hello") -> str:
    """Write the message that begins, widens (`subscribe`) or narrows (`unsubscribe`) what is sent.

    A `$` behind a name means exactly this market, and not all that begin so.
    """
    return json.dumps(
        {
            "type": kind,
            "apikey": key,
            "heartbeat": True,
            "subscribe_data_type": ["book"],
            "subscribe_filter_symbol_id": [f"{one}$" for one in sorted(symbol_ids)],
        }
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """The connection is alive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BookMessage:
    """A snapshot of a book, or what changed in it."""

    symbol_id: str
    change: Change


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconnect:
    """The server will close this connection within so many seconds."""

    within_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The provider's own words; `final` when connecting again would not help."""

    message: str
    final: bool


Message = Heartbeat | BookMessage | Reconnect | Failure


class Unreadable(Exception):
    """A message is not what the page says."""


def read(text: str | bytes) -> Message | None:
    """Read one message; None for a kind that was not asked for. Numbers keep their characters."""
    try:
        body = json.loads(text, parse_float=str, parse_int=str)
        kind = body["type"]
        if kind == "book":
            return BookMessage(symbol_id=body["symbol_id"], change=_change(body))
        if kind in HEARTBEATS:
            return Heartbeat()
        if kind == "reconnect":
            return Reconnect(within_s=float(body.get("within_seconds") or 0))
        if kind == "error":
            message = str(body.get("message") or "no reason given")
            return Failure(message=message, final=BUFFER_FULL not in message)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unreadable(f"{error!r} in {text[:200]!r}") from error
    return None


def _change(body: dict[str, object]) -> Change:
    number = int(str(body["sequence"]))
    return Change(
        bids=_rows(body["bids"]),
        asks=_rows(body["asks"]),
        snapshot=body["is_snapshot"] is True,
        first=number,
        last=number,
        told_at=datetime.fromisoformat(str(body["time_coinapi"])),
    )


def _rows(levels: object) -> tuple[Row, ...]:
    if not isinstance(levels, list):
        raise TypeError(f"levels {levels!r}")
    return tuple((str(level["price"]), str(level["size"])) for level in levels)
