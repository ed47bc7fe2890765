"""The account's private stream and the public trades, kept coming through breaks; the books are in `books`.

Streams are hints (RELIABILITY R11): whatever they lose, a look-up finds. So this file never guesses: it says
`StreamDown` when the private stream breaks, and `StreamUp` after each new subscription.

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
from math import inf
from typing import Any
from weakref import WeakKeyDictionary

import ccxt

from ems.core.messages import StreamDown, StreamUp, VenueReport
from ems.venues.books import BACKOFF_S, Books, cancelled_by_us
from ems.venues.dialects.dialect import Dialect
from ems.venues.translation import Unreadable, checked_trade

log = logging.getLogger(__name__)

SUBSCRIBE_TIMEOUT_S = 10.0


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
        self.books = Books(ccxt_exchange, dialect, deliver=deliver, now=now, fetch_book=fetch_book)
        self._subscribed = asyncio.Event()
        self._private: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None  # of orders that wait, where they are told apart
        self._trades: dict[str, asyncio.Task[None]] = {}  # watched symbol -> what subscribes to its trades
        # ccxt's connection -> number of its last frame, where the venue numbers them
        self._numbers: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._heard_at: dict[str, float] = {}  # URL -> loop time of the last frame from there

    @property
    def up(self) -> bool:
        return self._subscribed.is_set()

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._private = loop.create_task(self._keep_private())
        triggers = self._dialect.triggers
        if triggers is not None and triggers.follow is not None:
            self._waiting = loop.create_task(self._keep_waiting(triggers.follow))

    async def close(self) -> None:
        await self.books.close()
        tasks = list(self._trades.values())
        tasks += [task for task in (self._private, self._waiting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._trades.clear()

    def on_frame(self, client: Any, frame: Any) -> bool:
        """Look at every frame before ccxt does, and keep those of the account and of public trades.

        ccxt loses rows of the former, and would collect the latter for nobody.
        """
        if self._dialect.stream.heartbeat_s is not None:
            self._heard_at[client.url] = asyncio.get_running_loop().time()
        told = self._dialect.sequence(frame)
        numbers = told if isinstance(told, tuple) else () if told is None else (told,)
        if not all(self._in_turn(client, number) for number in numbers):
            return True
        if self.books.on_frame(client, frame):
            return True
        if self._dialect.stream.over(frame):
            client.on_error(ccxt.NetworkError("the venue ended the stream"))
            return True
        if self._dialect.stream.is_private(frame):
            for report in self._dialect.stream.read(self._ccxt, frame):
                self._deliver(report)
            return True
        if self._dialect.tape.is_trades(frame):
            self._tell_trades(frame)
            return True
        if not self.up and self._dialect.stream.subscribed(frame):
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
        if last is None or number == last + 1:
            self._numbers[client] = number
            return True
        self._numbers[client] = inf  # what still comes by it belongs to what was missed
        client.on_error(ccxt.NetworkError(f"frames {last + 1:.0f} to {number - 1} are missing"))
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
        beat_s = self._dialect.stream.heartbeat_s
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.wait({following}, timeout=beat_s)
            if following.done():
                return following.result()
            assert beat_s is not None
            if loop.time() - self._heard_at.get(self._dialect.stream.url(self._ccxt), 0.0) > beat_s:
                return f"nothing was heard for {beat_s:g} s"

    async def _follow(self) -> str:
        # ccxt subscribes with this call; what arrives is read in `on_frame`, and the call carries the error.
        while True:
            try:
                if self._dialect.stream.follow is not None:
                    await self._dialect.stream.follow(self._ccxt)
                else:
                    await self._ccxt.watch_orders(**self._dialect.stream.watch_orders)
            except asyncio.CancelledError:
                if cancelled_by_us():
                    raise
                return "the connection was closed"
            except Exception as error:
                return f"{type(error).__name__}: {error}"

    async def _keep_waiting(self, follow: Callable[[Any], Awaitable[Any]]) -> None:
        """Stay subscribed to the orders that wait; a break here is told by nobody, and healed by look-ups."""
        failures = 0
        while True:
            try:
                await follow(self._ccxt)
                failures = 0
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and cancelled_by_us():
                    raise
                log.info("waiting orders %s: %r", self._dialect.exchange, error)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    def _drop_private(self) -> None:
        """Make sure that the next try opens a new connection."""
        client = (self._ccxt.clients or {}).get(self._dialect.stream.url(self._ccxt))
        if client is not None:
            client.on_error(ccxt.NetworkError("reconnecting"))
            self._ccxt.clients.pop(client.url, None)

    # --- Books and public trades ---

    def watch(self, symbol: str) -> None:
        if symbol not in self._trades:
            self.books.watch(symbol)
            self._trades[symbol] = asyncio.get_running_loop().create_task(self._stream_trades(symbol))

    async def unwatch(self, symbol: str) -> None:
        trades = self._trades.pop(symbol, None)
        if trades is None:
            return
        trades.cancel()
        await self.books.unwatch(symbol)
        if self._ccxt.has.get("unWatchTrades") and symbol not in self._trades:
            with suppress(Exception):  # at worst, frames nobody reads come until the next reconnect
                async with asyncio.timeout(5):
                    await self._ccxt.un_watch_trades(symbol)

    async def _stream_trades(self, symbol: str) -> None:
        # As with orders: the call subscribes and carries the error, `on_frame` reads what arrives.
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._ccxt.watch_trades(symbol)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and cancelled_by_us():
                    raise
                log.info("trades %s %s: %r", self._dialect.exchange, symbol, error)
            failures = 0 if loop.time() - began > BACKOFF_S[-1] else failures
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    def _tell_trades(self, frame: Any) -> None:
        """Deliver the trades of a frame as far as they can be read; a broken one breaks nothing else."""
        try:
            for trade in self._dialect.tape.read(self._ccxt, frame, self._now()):
                if trade.symbol in self._trades:
                    self._deliver(checked_trade(trade))
        except (Unreadable, ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
            log.info("trades %s: %r in %.200r", self._dialect.exchange, error, frame)
