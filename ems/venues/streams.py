"""The account's private stream, the books and the public trades, kept coming through breaks.

Streams are hints (RELIABILITY R11): whatever they lose, a look-up finds. So this file never guesses: it says
`StreamDown` when the private stream breaks, `StreamUp` after each new subscription, and polls a book by REST
when its stream is silent.

Public trades are hints of a lesser kind. They come or they do not; nothing is looked up for them, a gap is
not told, and no trouble with them reaches the books or the orders. Our own executions are among them: the
public stream does not say whose they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import ccxt

from ems.core.messages import BookUpdate, StreamDown, StreamUp, VenueReport
from ems.venues.dialects.dialect import Dialect
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.limiter import TooBusy
from ems.venues.translation import Unreadable, checked_trade

log = logging.getLogger(__name__)

SUBSCRIBE_TIMEOUT_S = 10.0
BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
BOOK_LEVELS = 50
BOOK_EVERY_S = 0.1  # at most ten books a second; between them the last one wins
BOOK_SILENCE_S = 5.0
BOOK_POLL_S = 2.0


class Streams:
    """One account's streams. All methods run on the event loop."""

    def __init__(
        self,
        ccxt_exchange: Any,
        dialect: Dialect,
        *,
        deliver: Callable[[VenueReport], None],
        now: Callable[[], datetime],
        fetch_book: Callable[[str], Awaitable[Any]],
    ):
        self._ccxt = ccxt_exchange
        self._dialect = dialect
        self._deliver = deliver
        self._now = now
        self._fetch_book = fetch_book
        self._subscribed = asyncio.Event()
        self._private: asyncio.Task[None] | None = None
        self._books: dict[str, _Book] = {}
        # ccxt's connection -> number of its last frame, where the venue numbers them
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._heard_at: dict[str, float] = {}  # URL -> loop time of the last frame from there

    @property
    def up(self) -> bool:
        return self._subscribed.is_set()

    def start(self) -> None:
        self._private = asyncio.get_running_loop().create_task(self._keep_private())

    async def close(self) -> None:
        tasks = [task for book in self._books.values() for task in book.tasks]
        if self._private is not None:
            tasks.append(self._private)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._books.clear()

    def on_frame(self, client: Any, frame: Any) -> bool:
        """Look at every frame before ccxt does, and keep those of the account and of public trades.

        ccxt loses rows of the former, and would collect the latter for nobody.
        """
        self._heard_at[client.url] = asyncio.get_running_loop().time()
        number = self._dialect.sequence(frame)
        if number is not None and not self._in_turn(client, number):
            return True
        if self._dialect.stream_over(frame):
            client.on_error(ccxt.NetworkError("the venue ended the stream"))
            return True
        if self._dialect.is_private(frame):
            for report in self._dialect.read_stream(self._ccxt, frame):
                self._deliver(report)
            return True
        if self._dialect.is_trades(frame):
            self._tell_trades(frame)
            return True
        if not self.up and self._dialect.stream_subscribed(frame):
            self._subscribed.set()
            self._deliver(StreamUp())
        return False

    def _in_turn(self, client: Any, number: int) -> bool:
        """Say whether a numbered frame is the next one; a gap ends the connection, so that all is told anew.

        A frame that was told before says nothing, and so does one that comes late: its gap was seen.
        """
        last = self._numbers.get(client)
        if last is not None and number <= last:
            return False
        self._numbers[client] = number
        if last is None or number == last + 1:
            return True
        client.on_error(ccxt.NetworkError(f"frames {last + 1} to {number - 1} are missing"))
        return False

    # --- The private stream ---

    async def _keep_private(self) -> None:
        failures = 0
        while True:
            message = await self._private_session()
            was_up = self.up
            self._subscribed.clear()
            self._drop_private()
            if was_up:
                failures = 0
            if was_up or failures == 0:
                self._deliver(StreamDown(message=message))
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    async def _private_session(self) -> str:
        """Subscribe and stay until the stream breaks; return why it did."""
        following = asyncio.ensure_future(self._follow())
        subscribed = asyncio.ensure_future(self._subscribed.wait())
        try:
            await asyncio.wait(
                {following, subscribed},
                timeout=SUBSCRIBE_TIMEOUT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not subscribed.done() and not following.done():
                return f"not subscribed within {SUBSCRIBE_TIMEOUT_S:g} s"
            return await self._heard_out(following)
        finally:
            following.cancel()
            subscribed.cancel()

    async def _heard_out(self, following: asyncio.Future[str]) -> str:
        """Wait until the stream breaks, or is silent for longer than the venue ever is."""
        beat_s = self._dialect.heartbeat_s
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.wait({following}, timeout=beat_s)
            if following.done():
                return following.result()
            assert beat_s is not None
            if loop.time() - self._heard_at.get(self._dialect.private_ws(self._ccxt), 0.0) > beat_s:
                return f"nothing was heard for {beat_s:g} s"

    async def _follow(self) -> str:
        # ccxt subscribes with this call; what arrives is read in `on_frame`, and the call carries the error.
        while True:
            try:
                await self._ccxt.watch_orders(**self._dialect.watch_orders)
            except asyncio.CancelledError:
                if _cancelled_by_us():
                    raise
                return "the connection was closed"
            except Exception as error:
                return f"{type(error).__name__}: {error}"

    def _drop_private(self) -> None:
        """Make sure that the next try opens a new connection."""
        client = (self._ccxt.clients or {}).get(self._dialect.private_ws(self._ccxt))
        if client is not None:
            client.on_error(ccxt.NetworkError("reconnecting"))
            self._ccxt.clients.pop(client.url, None)

    # --- Books ---

    def watch(self, symbol: str) -> None:
        if symbol not in self._books:
            book = _Book(symbol)
            self._books[symbol] = book
            loop = asyncio.get_running_loop()
            book.tasks = (
                loop.create_task(self._stream_book(book)),
                loop.create_task(self._poll_book(book)),
                loop.create_task(self._stream_trades(symbol)),
            )

    async def unwatch(self, symbol: str) -> None:
        book = self._books.pop(symbol, None)
        if book is None:
            return
        for task in book.tasks:
            task.cancel()
        for what, method in (
            ("unWatchOrderBook", "un_watch_order_book"),
            ("unWatchTrades", "un_watch_trades"),
        ):
            if self._ccxt.has.get(what) and symbol not in self._books:
                with suppress(Exception):  # at worst, frames nobody reads come until the next reconnect
                    async with asyncio.timeout(5):
                        await getattr(self._ccxt, method)(symbol)

    async def _stream_book(self, book: _Book) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                raw = await self._ccxt.watch_order_book(book.symbol, self._dialect.book_depth)
                failures = 0
                # ccxt keeps changing this very object, so after a pause it is the newest picture.
                while self._publish(book, raw):
                    book.streamed_at = loop.time()
                    await asyncio.sleep(BOOK_EVERY_S)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and _cancelled_by_us():
                    raise
                book.streamed_at = None
                log.info("book %s %s: %r", self._dialect.exchange, book.symbol, error)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    async def _stream_trades(self, symbol: str) -> None:
        # As with orders: the call subscribes and carries the error, `on_frame` reads what arrives.
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._ccxt.watch_trades(symbol)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and _cancelled_by_us():
                    raise
                log.info("trades %s %s: %r", self._dialect.exchange, symbol, error)
            failures = 0 if loop.time() - began > BACKOFF_S[-1] else failures
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    def _tell_trades(self, frame: Any) -> None:
        """Deliver the trades of a frame as far as they can be read; a broken one breaks nothing else."""
        try:
            for trade in self._dialect.read_trades(self._ccxt, frame, self._now()):
                if trade.symbol in self._books:
                    self._deliver(checked_trade(trade))
        except (Unreadable, ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
            log.info("trades %s: %r in %.200r", self._dialect.exchange, error, frame)

    async def _poll_book(self, book: _Book) -> None:
        """Ask by REST every two seconds for as long as the stream says nothing.

        A quiet market looks the same as a dead stream; asked about either way, the engine never acts on an
        old book.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            silent_since = book.streamed_at if book.streamed_at is not None else began
            silence = loop.time() - silent_since
            if silence < BOOK_SILENCE_S:
                await asyncio.sleep(min(BOOK_SILENCE_S - silence, BOOK_POLL_S))
                continue
            try:
                self._publish(book, await self._fetch_book(book.symbol), again=True)
            except (
                VenueRefused,
                VenueUnavailable,
                TooBusy,
                ArithmeticError,
                LookupError,
                TypeError,
            ) as error:
                log.info("book %s %s by REST: %r", self._dialect.exchange, book.symbol, error)
            await asyncio.sleep(BOOK_POLL_S)

    def _publish(self, book: _Book, raw: Any, *, again: bool = False) -> bool:
        """Deliver the top of this book unless it is the one delivered before; a crossed one is no book."""
        bids = tuple((level[0], level[1]) for level in raw["bids"][:BOOK_LEVELS])
        asks = tuple((level[0], level[1]) for level in raw["asks"][:BOOK_LEVELS])
        if bids and asks and bids[0][0] >= asks[0][0]:
            return False
        if (bids, asks) == book.last and not again:
            return False
        book.last = (bids, asks)
        self._deliver(BookUpdate(symbol=book.symbol, bids=bids, asks=asks, at=self._now()))
        return True


def _cancelled_by_us() -> bool:
    """Say whether this task is being cancelled; ccxt cancels its own futures when a connection closes."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Book:
    """What is known of one watched book."""

    def __init__(self, symbol: str):
        self.symbol = symbol
        self.tasks: tuple[asyncio.Task[None], ...] = ()
        self.last: object = None
        self.streamed_at: float | None = (
            None  # loop time of the last picture the stream brought; None: broken
        )
