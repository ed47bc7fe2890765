"""ccxt's wire, made exact: what went out and came back is on record, numbers stay decimal, no retries.

ccxt signs and parses; this class replaces its `fetch` and the reading of its WebSocket frames. Per HTTP
exchange one `Attempt` says whether bytes may have left, the status and the body, so that an outcome is judged
on facts and not on the class of an exception (the same fault has different classes in ccxt's sync and async
halves).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import ccxt
import ccxt.pro
import yarl

from ems.venues.limiter import Lane, Priority

# Exchanges are treated as hostile: an answer has a size. Binance's full list of markets is the largest known,
# ~15 MB.
MAX_BODY_BYTES = 32 * 1024 * 1024

CONNECT_TIMEOUT_S = 3.0


@dataclass(slots=True)
class Attempt:
    """One HTTP request as it went over the wire."""

    method: str
    url: str
    sent: bool = True  # False only when it is certain that no byte of it left
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    body: Any = None  # the answer as JSON; None when it is not whole JSON
    error: str | None = None
    began_at: float = 0.0  # by the limiter's clock


@dataclass(slots=True)
class Call:
    """What one call into ccxt may cost in patience, and what it did on the wire."""

    priority: Priority = Priority.QUERY
    lane_wait_s: float = 10.0
    symbol: str = ""
    costs: Mapping[str, float] = field(default_factory=dict)  # bucket -> what was paid
    attempts: list[Attempt] = field(default_factory=list)
    sent_at: datetime | None = None  # set by whoever asks
    began_at: float = 0.0  # the same moment by the limiter's clock
    withdrawn: bool = False  # it is not to leave any more


class Withdrawn(Exception):
    """It was called back before a byte of it had left."""

    def __init__(self) -> None:
        super().__init__("withdrawn before it was sent")


current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)


def exact_json(text: str | bytes) -> Any:
    """Parse JSON and keep numbers with a point as the venue's own characters."""
    return json.loads(text, parse_float=str, parse_constant=_refuse_constant)


def _json_or_none(text: str) -> Any:
    try:
        return exact_json(text)
    except ValueError:
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


@asynccontextmanager
async def _session(ccxt_exchange: Any, method: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Return ccxt's session; for a PUT one that sends it once, where aiohttp's own would do it again."""
    if method != "PUT":
        yield ccxt_exchange.session
        return
    async with aiohttp.ClientSession(
        connector=ccxt_exchange.session.connector,
        connector_owner=False,
        trust_env=ccxt_exchange.aiohttp_trust_env,
    ) as session:
        session._retry_connection = False
        yield session


class Wire:
    """Goes in front of a ccxt.pro exchange class."""

    number = Decimal  # ccxt builds its numbers with this, from strings

    request_timeout_s: float = 10.0
    lane: Lane | None = None  # for exchanges whose nonces must arrive in order
    steady: Callable[[], float] = staticmethod(lambda: 0.0)  # the limiter's clock
    on_attempt: Callable[[Attempt], None] | None = None
    on_frame: Callable[[Any, Any], bool] | None = None  # True: dealt with, ccxt need not see it
    trades_apart: bool = False  # where ccxt would mix public trades with the books on one connection

    async def read_markets(self) -> None:
        """Read the markets, and put them in place of those there are when all of it could be read.

        ccxt's own `load_markets(True)` keeps every other call waiting, fails them all when it fails, and
        takes an answer that is no list for an empty one: nothing could be traded until the next good one.
        """
        ex: Any = self
        currencies = None
        if ex.has["fetchCurrencies"] is True:
            currencies = ex.options["cachedCurrencies"] = await ex.fetch_currencies()
        try:
            markets = await ex.fetch_markets()
        finally:
            ex.options.pop("cachedCurrencies", None)
        call = current_call.get()
        unread = call is not None and any(one.body is None for one in call.attempts)
        if unread or not markets or (currencies is not None and not currencies):
            raise ccxt.BadResponse("the list of markets cannot be read")
        ex.set_markets(markets, currencies)

    async def fetch2(self, path: str, api: Any = "public", *args: Any) -> Any:
        """Sign and send inside the lane, because the nonce is drawn while signing."""
        if self.lane is None or "private" not in api:
            return await super().fetch2(path, api, *args)  # type: ignore[misc]
        call = current_call.get() or Call()
        leave = await self.lane.enter(call.priority, call.lane_wait_s)
        try:
            return await super().fetch2(path, api, *args)  # type: ignore[misc]
        finally:
            leave()

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: str | None = None) -> Any:
        """Send one request, once, and return its parsed answer; raise ccxt's errors for ccxt's own logic."""
        ex: Any = self
        ex.open(True)
        call = current_call.get()
        if call is not None and call.withdrawn:
            raise Withdrawn
        attempt = Attempt(method, url, began_at=self.steady())
        if call is not None:
            call.attempts.append(attempt)
        request_headers = ex.prepare_request_headers(headers)
        try:
            async with (
                _session(ex, method) as session,
                session.request(
                    method,
                    yarl.URL(url, encoded=True),
                    data=body.encode() if body else None,
                    headers=request_headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        total=self.request_timeout_s,
                        sock_connect=min(CONNECT_TIMEOUT_S, self.request_timeout_s),
                    ),
                ) as response,
            ):
                attempt.headers = response.headers
                attempt.status = response.status
                attempt.text = (await _read_text(response)).strip()
                attempt.body = self.read_body(attempt.text)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # aiohttp raises these from its connector alone, before a byte of a request is written. Only a
            # POST or PUT can be sure of it: a GET or DELETE may have gone out before on a connection that
            # turned out closed.
            attempt.sent = method not in ("POST", "PUT")
            attempt.error = f"could not connect: {error}"
            raise ccxt.ExchangeNotAvailable(attempt.error) from error
        except TimeoutError as error:
            attempt.error = f"no answer within {self.request_timeout_s:g} s"
            raise ccxt.RequestTimeout(attempt.error) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            attempt.error = f"{type(error).__name__}: {error}"
            raise ccxt.NetworkError(attempt.error) from error
        finally:
            if self.on_attempt is not None:
                self.on_attempt(attempt)
        text, parsed = attempt.text, attempt.body
        ex.last_http_response = text
        reason = response.reason or ""
        plain_headers = dict(attempt.headers)
        ex.handle_errors(
            attempt.status, reason, url, method, plain_headers, text or " ", parsed, request_headers, body
        )
        ex.handle_http_status_code(attempt.status, reason, url, method, text)
        return parsed if parsed is not None else text

    def read_body(self, text: str) -> Any:
        """Return an answer as JSON, or None when it is not whole JSON."""
        return _json_or_none(text)

    def watch_multiple(self, url: str, message_hashes: Any, *args: Any) -> Any:
        """Give public trades a connection of their own, so that their troubles are not those of the books."""
        if self.trades_apart and all(name.startswith("trade@") for name in message_hashes):
            url += "#trades"  # ccxt keeps one connection for each text; a fragment does not go over the wire
        return super().watch_multiple(url, message_hashes, *args)  # type: ignore[misc]

    def client(self, url: str) -> Any:
        """Return ccxt's WebSocket client for this URL, reading frames exactly and never dying on one."""
        client = super().client(url)  # type: ignore[misc]
        if "handle_text_or_binary_message" not in vars(client):
            client.handle_text_or_binary_message = lambda data: self._read_frame(client, data)
            # ccxt rejects futures nobody awaits; their errors reach us by the one that is awaited.
            make_future = client.future
            client.future = lambda name: _quiet(make_future(name))
        return client

    def _read_frame(self, client: Any, data: str | bytes) -> None:
        # An exception here would end ccxt's receive loop and leave a stream that looks alive and says
        # nothing.
        try:
            text = data.decode() if isinstance(data, bytes) else data
            message = exact_json(text) if text[:1] in "{[" else text
            if self.on_frame is None or not self.on_frame(client, message):
                client.on_message_callback(client, message)
        except Exception as error:
            client.on_error(ccxt.NetworkError(f"unreadable frame: {type(error).__name__}: {error}"))

    def amount_to_precision(self, symbol: str, amount: str) -> str:
        """Return the amount as given: the engine has rounded it, and rounding twice would hide a mistake."""
        return amount

    def price_to_precision(self, symbol: str, price: str | Decimal) -> str:
        """Return the price as given; a stop price has been made a number on the way."""
        return price if isinstance(price, str) else format(price, "f")

    def cost_to_precision(self, symbol: str, cost: str) -> str:
        return cost

    @staticmethod
    def safe_string(dictionary: Any, key: Any, default_value: Any = None) -> Any:
        """As ccxt's, and a Decimal counts as a number too."""
        try:
            value = dictionary[key]
        except (KeyError, IndexError, TypeError):
            return default_value
        kind = type(value)
        if kind is str:
            return value if value != "" else default_value
        if kind is Decimal:
            return format(value, "f")
        if kind is int or kind is float:
            return str(value)
        return default_value

    @staticmethod
    def safe_string_2(dictionary: Any, key1: Any, key2: Any, default_value: Any = None) -> Any:
        """As ccxt's, with `safe_string` above: ccxt's own would lose a stop price."""
        return Wire.safe_string(dictionary, key1, Wire.safe_string(dictionary, key2, default_value))

    @staticmethod
    def safe_float(dictionary: Any, key: Any, default_value: Any = None) -> Any:
        """Return a Decimal: ccxt keeps book levels by this, and they must equal those of the REST picture."""
        try:
            return Decimal(str(dictionary[key]))
        except (KeyError, IndexError, TypeError, ArithmeticError):
            return default_value


def _quiet(future: Any) -> Any:
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


async def _read_text(response: aiohttp.ClientResponse) -> str:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_BODY_BYTES:
            response.close()
            raise ValueError(f"answer larger than {MAX_BODY_BYTES} bytes")
        parts.append(part)
    return b"".join(parts).decode("utf-8", errors="replace")


def exchange_class(ccxt_id: str, wire: type[Wire] = Wire) -> Any:
    """Return ccxt.pro's class for this exchange with our wire in front of it."""
    return type(f"Exact{ccxt_id}", (wire, getattr(ccxt.pro, ccxt_id)), {})


def repoint(
    exchange: Any, base_url: str, ws_url: str | None = None, ws_paths: Mapping[str, str] | None = None
) -> None:
    """Send everything this ccxt instance says to another host, path for path.

    `ws_paths`: where a WebSocket URL, by ccxt's name for it, is to have another path than its own.
    """
    ws_base = (ws_url or base_url.replace("http", "ws", 1)).rstrip("/")
    base = base_url.rstrip("/")

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: walk(inner) for name, inner in value.items()}
        if not isinstance(value, str) or "://" not in value:
            return value
        parts = urlsplit(value.replace("{hostname}", "hostname"))
        query = f"?{parts.query}" if parts.query else ""
        return (ws_base if parts.scheme in ("ws", "wss") else base) + parts.path + query

    exchange.urls["api"] = walk(exchange.urls["api"])
    for name, path in (ws_paths or {}).items():
        exchange.urls["api"]["ws"][name] = ws_base + path
