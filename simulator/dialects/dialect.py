"""What a dialect is: an exchange's words on top of `simulator.exchange`, without any IO.

`simulator.wire` owns the sockets and applies the faults; a dialect only turns requests into answers and
events into stream messages. Everything is synchronous, gets its time in `Request.now`, and never raises for
bad input: an exchange answers nonsense with an error of its own.

    REST       wire reads a request -> `dialect.kind(request)` names it for the fault rules -> fault before?
               -> `dialect.handle(request)` -> fault after? -> the response goes out
    WebSocket  wire accepts -> `dialect.open_session(request, send)`; each text frame ->
               `session.kind(text)` -> fault before? -> `session.receive(text, request)`, which answers with
               `send(message, REPLY)` -> fault after? (the reply is lost, late, ...)
    events     every event of the exchange -> `session.on_event(event)` of every open session, which sends
               what was subscribed with `send(message, ORDERS | FILLS | BALANCES | BOOK | TRADES | TICKER)`:
               stream faults can be chosen per stream
    time       `session.tick(now)` about every 100 ms: batched book changes, heartbeats

Requests that only look (fetch, open_orders, balance, ...) pass `request.view.orders_as_of` or
`request.view.balances_as_of` as `as_of` to the exchange, and honour `request.view.hide_closed`; so a fault
can show the past. `request.clock` is the exchange's wall clock, which a fault may set wrong: use it for
server time and for checks of timestamps, and `request.now` for everything that reaches the exchange.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl

from simulator.exchange import Exchange
from simulator.records import Event

# Kinds of requests, the words fault rules select by.
CREATE = "create"
AMEND = "amend"
CANCEL = "cancel"
CANCEL_ALL = "cancel_all"
FETCH = "fetch"
OPEN_ORDERS = "open_orders"
CLOSED_ORDERS = "closed_orders"
MY_TRADES = "my_trades"
BALANCE = "balance"
FEES = "fees"
TRANSFERS = "transfers"
MARKETS = "markets"
MARKET_DATA = "market_data"
TIME = "time"
STREAM = "stream"  # subscriptions, logins, tokens
OTHER = "other"
KINDS = (
    CREATE,
    AMEND,
    CANCEL,
    CANCEL_ALL,
    FETCH,
    OPEN_ORDERS,
    CLOSED_ORDERS,
    MY_TRADES,
    BALANCE,
    FEES,
    TRANSFERS,
    MARKETS,
    MARKET_DATA,
    TIME,
    STREAM,
    OTHER,
)

# Streams of messages, likewise.
REPLY = "reply"
ORDERS = "orders"
FILLS = "fills"
BALANCES = "balances"
BOOK = "book"
TRADES = "trades"
TICKER = "ticker"
STREAMS = (REPLY, ORDERS, FILLS, BALANCES, BOOK, TRADES, TICKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How far behind the truth an answer may be; None is the present."""

    orders_as_of: float | None = None
    balances_as_of: float | None = None
    hide_closed: bool = False  # a closed order is found by no query of orders, only by its trades


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, or the upgrade of a WebSocket, or (path and query of the upgrade) a frame on it."""

    method: str
    path: str
    query: str  # raw, as signed; without the question mark
    headers: Mapping[str, str]  # names in lower case
    body: bytes = b""
    remote: str = "127.0.0.1"
    now: float  # what the exchange is told
    clock: float  # the exchange's wall clock, which may be wrong
    view: View = View()

    @property
    def form(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def parameters(self) -> dict[str, str]:
        """Query and form parameters together, decoded; a later one wins."""
        return dict(
            parse_qsl(self.query, keep_blank_values=True) + parse_qsl(self.form, keep_blank_values=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer. `body` is sent as it is when it is bytes or text, and as JSON otherwise."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """Sent instead of a message: close the connection now."""


class Send(Protocol):
    """Queue one message on a WebSocket: JSON values or text, and the stream it belongs to."""

    def __call__(self, message: Any, stream: str) -> None: ...


class Session(Protocol):
    """One open WebSocket."""

    def kind(self, text: str) -> str:
        """Name an incoming frame for the fault rules, one of KINDS."""
        ...

    def receive(self, text: str, request: Request) -> None:
        """Act on an incoming frame; answer with send(message, REPLY)."""
        ...

    def on_event(self, event: Event) -> None:
        """Tell subscribers of this socket what happened on the exchange."""
        ...

    def tick(self, now: float) -> None:
        """Send what is due by time."""
        ...


class Dialect(Protocol):
    """One exchange's wire format, made with its exchange; it keeps nonces and rate limits itself."""

    exchange: Exchange

    def kind(self, request: Request) -> str:
        """Name a request for the fault rules, one of KINDS."""
        ...

    def handle(self, request: Request) -> Response:
        """Answer a REST request."""
        ...

    def open_session(self, request: Request, send: Send) -> Session | Response | None:
        """Accept a WebSocket at `request.path`, refuse the upgrade, or None where there is none (404)."""
        ...

    def rate_limited(self, request: Request, banned: bool) -> Response:
        """The exchange's answer to too many requests, for the fault of that name."""
        ...

    def failure(self, status: int) -> Response:
        """The exchange's own answer with a 5xx or 4xx status, for the fault of that name."""
        ...
