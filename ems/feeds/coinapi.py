"""Books from CoinAPI over a WebSocket: a second opinion on what the exchanges send themselves.

Rules:

1. One thread, because websocket-client blocks. It alone talks; others say what to watch, and it hands books
   to `deliver`, which must be quick and must not raise.
2. Endpoints are tried in order, from the first one again after each connection that held. Between rounds the
   wait grows, with chance in it, so that many servers do not come back at once.
3. A connection that says nothing is dead: a heartbeat was asked for every second.
4. The provider's own "no" is told to people once, in its own words. The next try is ten minutes later: a key
   may be paid for again. No hammering.
5. A book is told only while it is whole (`ems.core.depth`), and taken back when it no longer is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

import websocket

from ems.core.depth import Delays, Depth
from ems.core.messages import BookUpdate
from ems.feeds.coinapi_messages import (
    BookMessage,
    Failure,
    Heartbeat,
    Reconnect,
    Unreadable,
    hello,
    read,
    symbol_id,
)

log = logging.getLogger(__name__)

PROVIDER = "coinapi"
CONNECT_TIMEOUT_S = 5.0
SILENCE_S = 5.0  # a heartbeat comes every second
HELD_S = 30.0  # a connection that lasted so long was a good one
BETWEEN_S = 0.2  # two endpoints of one round
BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
REFUSED_S = 600.0
PICTURE_S = 10.0  # a subscription without a snapshot in this time is asked for again
TOLD_EVERY_S = 0.25  # at most four books a second of each market
LEVELS = 50

Market = tuple[str, str]  # (exchange, symbol)


@dataclass
class _Book:
    """One book at the provider, and the markets of ours that it is."""

    markets: list[Market]
    depth: Depth = field(default_factory=Depth)
    asked_at: float = 0.0  # when its snapshot was asked for
    asked: int = 0  # how often in a row, in vain
    at: datetime | None = None
    told_at: float = 0.0
    untold: bool = False  # it has changed since
    standing: bool = False  # what was told of it still stands


class Refused(Exception):
    """The provider said no, for good; its words."""


class Broken(Exception):
    """The connection is of no use any more; why."""


class CoinApi:
    """The feed. `start` begins its thread, `stop` ends it; what to watch may be said from anywhere."""

    def __init__(
        self,
        key: str,
        endpoints: Sequence[str],
        *,
        deliver: Callable[[str, BookUpdate], None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        rng: Random,
        silence_s: float = SILENCE_S,
        backoff_s: Sequence[float] = BACKOFF_S,
        refused_s: float = REFUSED_S,
    ):
        """`deliver` is called on the feed's own thread with (exchange, book)."""
        assert endpoints, "an endpoint at least"
        self._key = key
        self._endpoints = tuple(endpoints)
        self._deliver = deliver
        self._now = now
        self._monotonic = monotonic
        self._rng = rng
        self._silence_s = silence_s
        self._backoff_s = tuple(backoff_s)
        self._refused_s = refused_s
        self._lock = threading.Lock()  # guards what is wanted, and the socket for `stop`
        self._wanted: dict[str, list[Market]] = {}  # symbol id -> markets of ours that it is
        self._changed = threading.Event()  # something is wanted, or no longer
        self._stopping = threading.Event()
        self._socket: websocket.WebSocket | None = None
        self._thread: threading.Thread | None = None
        # Of this connection, touched by the thread alone:
        self._books: dict[str, _Book] = {}  # symbol id -> book
        self._delays = Delays()
        # For people; single assignments, read from anywhere:
        self._connected_to = ""
        self._problem = "nothing has been asked for yet"

    # --- From any thread ---

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=PROVIDER, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = CONNECT_TIMEOUT_S + 2) -> None:
        """Close the connection and wait for the thread to end."""
        self._stopping.set()
        self._changed.set()
        with self._lock:
            if self._socket is not None:
                self._socket.abort()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def watch(self, exchange: str, symbol: str) -> None:
        """Ask for a book; one that the provider does not have is not asked for."""
        name = symbol_id(exchange, symbol)
        if name is None:
            return
        with self._lock:
            markets = self._wanted.setdefault(name, [])
            if (exchange, symbol) not in markets:
                markets.append((exchange, symbol))
        self._changed.set()

    def unwatch(self, exchange: str, symbol: str) -> None:
        name = symbol_id(exchange, symbol)
        with self._lock:
            markets = self._wanted.get(name or "", [])
            if (exchange, symbol) in markets:
                markets.remove((exchange, symbol))
            if name is not None and not markets:
                self._wanted.pop(name, None)
        self._changed.set()

    def health(self) -> dict[str, object]:
        """Say how the feed is, for people."""
        return {
            "source": PROVIDER,
            "connected": bool(self._connected_to),
            "endpoint": self._connected_to or None,
            "problem": self._problem,
        }

    # --- On the feed's own thread ---

    def _run(self) -> None:
        failures = 0  # in a row
        while not self._stopping.is_set():
            if not self._wants():
                self._changed.wait()
                self._changed.clear()
                continue
            endpoint = self._endpoints[failures % len(self._endpoints)]
            began = self._monotonic()
            wait_s = 0.0
            try:
                self._session(endpoint)
                failures = 0
            except Refused as refused:
                self._tell_refusal(endpoint, str(refused))
                wait_s, failures = self._refused_s, 0
            except (Broken, Unreadable, websocket.WebSocketException, OSError, ValueError) as error:
                why = str(error) or type(error).__name__
                held = self._monotonic() - began > HELD_S
                failures = 0 if held else failures + 1
                if not self._stopping.is_set():
                    self._problem = why
                    log.warning("%s at %s: %s", PROVIDER, endpoint, why)
                wait_s = self._pause(failures)
            finally:
                self._connected_to = ""
                self._take_back_all(self._problem or "the connection ended")
            self._stopping.wait(wait_s)

    def _pause(self, failures: int) -> float:
        """Return how long to wait before the next endpoint is tried."""
        rounds, place = divmod(failures, len(self._endpoints))
        if place:
            return BETWEEN_S
        longest = self._backoff_s[min(max(rounds, 1), len(self._backoff_s)) - 1]
        return longest * self._rng.uniform(0.5, 1.0)

    def _tell_refusal(self, endpoint: str, words: str) -> None:
        told = f"refused: {words}"
        if self._problem != told:
            self._problem = told
            log.error(
                "%s at %s says %r; see COIN_API_KEY. The exchanges' own books are used without it; "
                "it is asked again every %.0f minutes",
                PROVIDER,
                endpoint,
                words,
                self._refused_s / 60,
            )

    def _wants(self) -> dict[str, list[Market]]:
        with self._lock:
            return {name: list(markets) for name, markets in self._wanted.items()}

    def _session(self, endpoint: str) -> None:
        """Connect, and stay until asked to leave, told to stop, or nothing is wanted; else raise why."""
        try:
            connection = websocket.create_connection(
                endpoint,
                timeout=min(CONNECT_TIMEOUT_S, self._silence_s),
                header=[f"X-CoinAPI-Key: {self._key}"],
                enable_multithread=True,
            )
        except websocket.WebSocketBadStatusException as error:
            if error.status_code in (401, 403):
                raise Refused(f"HTTP {error.status_code}") from error
            raise Broken(f"HTTP {error.status_code}") from error
        with self._lock:
            self._socket = connection
        try:
            if not self._stopping.is_set():
                self._talk(connection, endpoint)
        except websocket.WebSocketTimeoutException as error:
            raise Broken(f"nothing was heard for {self._silence_s:g} s") from error
        finally:
            with self._lock:
                self._socket = None
            with suppress(websocket.WebSocketException, OSError):
                connection.close(timeout=0.2)
            connection.shutdown()

    def _talk(self, connection: websocket.WebSocket, endpoint: str) -> None:
        connection.settimeout(self._silence_s)
        self._changed.clear()
        wanted = self._wants()
        self._books = {}
        self._widen(wanted)
        connection.send(hello(self._key, wanted))
        while not self._stopping.is_set():
            message = read(connection.recv())
            if message is not None and not self._connected_to and not isinstance(message, Failure):
                self._connected_to, self._problem = endpoint, ""
                log.info("%s: connected to %s", PROVIDER, endpoint)
            match message:
                case Failure(final=True):
                    raise Refused(message.message)
                case Failure():
                    raise Broken(message.message)
                case Reconnect():
                    log.info("%s asks to be left within %g s", PROVIDER, message.within_s)
                    return
                case BookMessage():
                    self._take(connection, message)
                case Heartbeat():
                    self._tend(connection)
            if self._changed.is_set():
                self._changed.clear()
                wanted = self._wants()
                if not wanted:
                    return
                self._adjust(connection, wanted)

    def _adjust(self, connection: websocket.WebSocket, wanted: dict[str, list[Market]]) -> None:
        """Ask for what is wanted now, and no longer for the rest."""
        gone = [name for name in self._books if name not in wanted]
        new = [name for name in wanted if name not in self._books]
        for name in gone:
            self._take_back(self._books.pop(name), "it is no longer watched")
        self._widen(wanted)
        if gone:
            connection.send(hello(self._key, gone, kind="unsubscribe"))
        if new:
            connection.send(hello(self._key, new, kind="subscribe"))

    def _widen(self, wanted: dict[str, list[Market]]) -> None:
        for name, markets in wanted.items():
            book = self._books.setdefault(name, _Book(markets=markets, asked_at=self._monotonic()))
            book.markets = markets

    def _take(self, connection: websocket.WebSocket, message: BookMessage) -> None:
        book = self._books.get(message.symbol_id)
        if book is None:
            return
        wrong = book.depth.apply(message.change)
        if wrong:
            log.info("%s %s: %s", PROVIDER, message.symbol_id, wrong)
            self._take_back(book, wrong)
            self._ask_again(connection, message.symbol_id, book)
            return
        if not book.depth.whole:
            return
        book.asked = 0
        now = self._now()
        book.at = now - self._delays.late(message.change.told_at, now)
        book.untold = True
        if self._monotonic() - book.told_at >= TOLD_EVERY_S:
            self._tell(book)

    def _tend(self, connection: websocket.WebSocket) -> None:
        """Every second: tell what has waited, and ask again for snapshots that did not come."""
        for name, book in self._books.items():
            if book.untold:
                self._tell(book)
            if not book.depth.whole and self._monotonic() - book.asked_at > PICTURE_S * 2**book.asked:
                self._ask_again(connection, name, book)

    def _ask_again(self, connection: websocket.WebSocket, name: str, book: _Book) -> None:
        book.asked_at = self._monotonic()
        book.asked = min(book.asked + 1, 6)  # a market that the provider does not have never comes
        connection.send(hello(self._key, [name], kind="unsubscribe"))
        connection.send(hello(self._key, [name], kind="subscribe"))

    def _tell(self, book: _Book) -> None:
        assert book.at is not None
        book.untold = False
        if book.depth.crossed:
            self._take_back(book, "it is crossed")
            return
        book.told_at, book.standing = self._monotonic(), True
        bids, asks = book.depth.bids(LEVELS), book.depth.asks(LEVELS)
        for exchange, symbol in book.markets:
            self._deliver(exchange, BookUpdate(symbol=symbol, bids=bids, asks=asks, at=book.at))

    def _take_back(self, book: _Book, why: str) -> None:
        if book.standing:
            book.standing = False
            for exchange, symbol in book.markets:
                self._deliver(
                    exchange, BookUpdate(symbol=symbol, bids=(), asks=(), at=self._now(), unfit=why)
                )

    def _take_back_all(self, why: str) -> None:
        for book in self._books.values():
            self._take_back(book, why)
        self._books = {}
