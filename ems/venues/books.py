"""The books of an account's exchange, each followed through breaks and believed only while it adds up.

Rules:

1. What the engine was told stands only as long as the book behind it. A gap, a wrong checksum, a crossed
   book, a cut connection: it is withdrawn at once (`BookUpdate.unfit`), and the book is begun anew.
2. ccxt subscribes and carries the errors of the connection; what arrives is read here, and never there. It
   would check less (VENUES.md), and what it finds wrong it finds after it has shown it.
3. A book whose stream is silent is asked for by REST. A quiet market looks the same as a dead stream; asked
   about either way, nobody acts on an old book.
4. Where nothing in a stream shows that a message is missing, the best levels are compared with REST every
   15 s: no picture of the last seconds that agrees, three times in a row, and the book is begun anew.
5. A message that was under way for long says what was. The delay is told by the exchange's own clock, against
   the shortest delay seen of late: nobody's clock need be right.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import ccxt

from ems.core.depth import Change, Delays, Depth, Row
from ems.core.messages import BookUpdate, VenueReport
from ems.venues.dialects.dialect import BookFeed, Dialect
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.limiter import TooBusy

log = logging.getLogger(__name__)

BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SETTLED_S = 10.0  # a book that held this long begins its next one without a wait
BOOK_LEVELS = 50
BOOK_EVERY_S = 0.1  # at most ten books a second; between them the last one wins
BOOK_SILENCE_S = 5.0
BOOK_POLL_S = 2.0
PICTURE_S = 10.0  # a subscription that brings no book in this time has failed
CROSSED_S = 2.0  # a book crossed for so long is not between two messages: it is wrong
LATE_S = 2.0  # a message this late is no news
UNSUBSCRIBE_S = 5.0
WAITING_MAX = 2000  # changes kept while their snapshot is under way
DEAD_AFTER = 2  # subscriptions in a row that brought nothing: the connection is at fault

AUDIT_EVERY_S = 15.0
AUDIT_AGAIN_S = 2.0
AUDITS_FAILED = 3  # in a row: one may have fallen between two messages
AUDIT_LEVELS = 3  # of each side
REMEMBERED_S = 5.0  # REST may show what was a moment ago

CROSSED = "it is crossed"
DISAGREES = "it is not what the exchange shows by REST"
UNREAD = (VenueRefused, VenueUnavailable, TooBusy, ArithmeticError, LookupError, TypeError)


class Books:
    """The books of one account. All methods run on the event loop."""

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
        self._feed = dialect.book
        self._deliver = deliver
        self._now = now
        self._fetch_book = fetch_book
        self._books: dict[str, _Book] = {}
        self._delays = Delays()

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._books

    def watch(self, symbol: str) -> None:
        if symbol in self._books:
            return
        feed = self._feed
        depth = (
            Depth()
            if feed is None
            else Depth(levels_max=feed.levels_max, checksum=feed.checksum, levels_summed=feed.levels_summed)
        )
        book = self._books[symbol] = _Book(symbol, depth)
        loop = asyncio.get_running_loop()
        keep = self._keep_ccxts(book) if feed is None else self._keep(book, feed)
        book.tasks = (loop.create_task(keep), loop.create_task(self._poll(book)))

    async def unwatch(self, symbol: str) -> None:
        book = self._books.pop(symbol, None)
        if book is None:
            return
        book.stop()
        with suppress(Exception):  # at worst, frames nobody reads come until the next reconnect
            await self._unsubscribe(symbol)

    async def close(self) -> None:
        tasks = [task for book in self._books.values() for task in book.tasks]
        for book in self._books.values():
            book.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._books.clear()

    # --- What arrives ---

    def on_frame(self, client: Any, frame: Any) -> bool:
        """Look at a frame; say whether it was about a book and is dealt with."""
        feed = self._feed
        if feed is None:
            return False
        if not feed.is_book(frame):
            return False
        for symbol, change in feed.read(self._ccxt, frame, client.url):
            book = self._books.get(symbol)
            if book is not None:
                book.client = client
                self._take(book, feed, change)
        return True

    def _take(self, book: _Book, feed: BookFeed, change: Change) -> None:
        if feed.snapshot_by_rest and not book.depth.whole:
            book.waiting.append(change)
            del book.waiting[:-WAITING_MAX]
            return
        wrong = book.depth.apply(change)
        if wrong:
            book.waiting = [change]
            self._break(book, wrong)
        elif book.depth.whole:
            now = self._now()
            late = self._delays.late(change.told_at, now)
            if feed.audited:
                book.remember(asyncio.get_running_loop().time())
            if late.total_seconds() <= LATE_S:
                book.at = now - late
                self._changed(book)

    def _begin_by_rest(self, book: _Book, raw: Any) -> None:
        """Begin a book with the picture that REST gave, and bring it up to what the stream has told."""
        snapshot = Change(
            bids=_rows(raw["bids"]), asks=_rows(raw["asks"]), snapshot=True, last=int(raw["nonce"])
        )
        book.depth.apply(snapshot)
        waiting, book.waiting = book.waiting, []
        for place, change in enumerate(waiting):
            wrong = book.depth.apply(change)
            if wrong:
                book.waiting = waiting[place:]
                self._break(book, wrong)
                return
        book.at = self._now()
        self._changed(book)

    # --- What the engine is told ---

    def _changed(self, book: _Book) -> None:
        """Tell the book now, or as soon as it may be told again."""
        if book.timer is None:
            loop = asyncio.get_running_loop()
            wait_s = book.told_at + BOOK_EVERY_S - loop.time()
            if wait_s <= 0:
                self._tell(book)
            else:
                book.timer = loop.call_later(wait_s, self._tell, book)

    def _tell(self, book: _Book) -> None:
        book.timer = None
        loop = asyncio.get_running_loop()
        if not book.depth.whole:
            return
        if book.depth.crossed:
            if book.crossed is None:
                book.crossed = loop.call_later(CROSSED_S, self._still_crossed, book)
            self._withdraw(book, CROSSED)
            return
        book.uncross()
        book.told_at = book.streamed_at = loop.time()
        self._publish(book, book.depth.bids(BOOK_LEVELS), book.depth.asks(BOOK_LEVELS), book.at)
        book.by_stream = True

    def _still_crossed(self, book: _Book) -> None:
        book.crossed = None
        if book.depth.whole and book.depth.crossed:
            self._break(book, CROSSED)

    def _break(self, book: _Book, why: str) -> None:
        """This book is none any more."""
        book.depth.drop()
        book.why = why
        self._withdraw(book, why)
        book.broken.set()

    def _withdraw(self, book: _Book, why: str) -> None:
        """Take back what was told of it, unless it came from elsewhere."""
        book.streamed_at = None
        if book.told is not None and book.by_stream:
            book.told = None
            self._deliver(BookUpdate(symbol=book.symbol, bids=(), asks=(), at=self._now(), unfit=why))

    def _publish(self, book: _Book, bids: Any, asks: Any, at: datetime, *, again: bool = False) -> bool:
        """Deliver the top of this book unless it is the one delivered before."""
        if (bids, asks) == book.told and not again:
            return False
        book.told = (bids, asks)
        self._deliver(BookUpdate(symbol=book.symbol, bids=bids, asks=asks, at=at))
        return True

    # --- Following a book ---

    async def _keep(self, book: _Book, feed: BookFeed) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        resync = False  # the subscription stands; only the book is to be begun anew
        while True:
            began = loop.time()
            why, alive = await self._session(book, resync=resync)
            failures = 0 if book.came and loop.time() - began > SETTLED_S else failures + 1
            self._withdraw(book, why)
            log.info("book %s %s: %s", self._dialect.exchange, book.symbol, why)
            resync = alive and feed.snapshot_by_rest and failures <= DEAD_AFTER
            if alive and not resync:
                await self._end_subscription(book, dead=not book.came and failures > DEAD_AFTER)
            await asyncio.sleep(BACKOFF_S[min(max(failures - 1, 0), len(BACKOFF_S) - 1)])

    async def _session(self, book: _Book, *, resync: bool) -> tuple[str, bool]:
        """Follow one book until it breaks; return why it did, and whether its connection is alive."""
        loop = asyncio.get_running_loop()
        book.begin(keep_waiting=resync)
        deadline = loop.time() + PICTURE_S
        watching = asyncio.ensure_future(self._subscribe(book))
        broken = asyncio.ensure_future(book.broken.wait())
        asked = asyncio.ensure_future(self._fetch_book(book.symbol)) if resync else None
        try:
            while True:
                wait_s = None if book.depth.whole else max(deadline - loop.time(), 0)
                hoped = {one for one in (watching, broken, asked) if one is not None}
                done, _ = await asyncio.wait(hoped, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                if broken in done:
                    return book.why, True
                if asked is not None and asked in done:
                    if asked.exception() is not None:
                        return f"its picture could not be read: {asked.exception()}", True
                    self._begin_by_rest(book, asked.result())
                    asked = None
                elif watching in done:
                    if watching.cancelled():
                        return "the connection was closed", False
                    error = watching.exception()
                    if error is not None:
                        return f"{type(error).__name__}: {error}", False
                    if not book.depth.whole and self._feed is not None and self._feed.snapshot_by_rest:
                        self._begin_by_rest(book, watching.result())
                    watching = asyncio.ensure_future(self._subscribe(book))
                elif not book.depth.whole:
                    return f"no picture of it came within {PICTURE_S:g} s", True
                book.came = book.came or book.depth.whole
        finally:
            book.came = book.came or book.depth.whole
            for one in (watching, broken, asked):
                if one is not None:
                    one.cancel()

    async def _subscribe(self, book: _Book) -> Any:
        return await self._ccxt.watch_order_book(book.symbol, self._dialect.book_depth)

    async def _end_subscription(self, book: _Book, *, dead: bool) -> None:
        """Make sure that the next subscription is a new one; a connection that brings nothing is given up."""
        try:
            if (not dead or book.client is None) and await self._unsubscribe(book.symbol):
                return
        except asyncio.CancelledError:
            if cancelled_by_us():
                raise
        except Exception as error:
            log.info("book %s %s: %r", self._dialect.exchange, book.symbol, error)
        if book.client is not None:
            book.client.on_error(ccxt.NetworkError("reconnecting"))
            self._ccxt.clients.pop(book.client.url, None)

    async def _unsubscribe(self, symbol: str) -> bool:
        """End the subscription of a book; False when there is no way to."""
        async with asyncio.timeout(UNSUBSCRIBE_S):
            if self._feed is not None and self._feed.unsubscribe is not None:
                await self._feed.unsubscribe(self._ccxt, symbol)
            elif self._ccxt.has.get("unWatchOrderBook"):
                await self._ccxt.un_watch_order_book(symbol)
            else:
                return False
        return True

    async def _keep_ccxts(self, book: _Book) -> None:
        """Follow a book that ccxt keeps."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                raw = await self._ccxt.watch_order_book(book.symbol, self._dialect.book_depth)
                failures = 0
                # ccxt keeps changing this very object, so after a pause it is the newest picture.
                while self._show(book, raw):
                    book.streamed_at, book.by_stream = loop.time(), True
                    await asyncio.sleep(BOOK_EVERY_S)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and cancelled_by_us():
                    raise
                self._withdraw(book, f"{type(error).__name__}: {error}")
                log.info("book %s %s: %r", self._dialect.exchange, book.symbol, error)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    async def _poll(self, book: _Book) -> None:
        """Ask by REST every two seconds for as long as the stream says nothing."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            silent_since = book.streamed_at if book.streamed_at is not None else began
            silence = loop.time() - silent_since
            if silence < BOOK_SILENCE_S:
                if self._feed is not None and self._feed.audited and loop.time() >= book.audit_at:
                    await self._audit(book)
                await asyncio.sleep(min(BOOK_SILENCE_S - silence, BOOK_POLL_S))
                continue
            try:
                raw = await self._fetch_book(book.symbol)
                if book.streamed_at in (None, silent_since):  # else the stream has told something newer
                    self._show(book, raw, again=True)
                    book.by_stream = book.streamed_at is not None
            except UNREAD as error:
                log.info("book %s %s by REST: %r", self._dialect.exchange, book.symbol, error)
            await asyncio.sleep(BOOK_POLL_S)

    async def _audit(self, book: _Book) -> None:
        """Compare the best levels with those that REST shows, now or a moment ago."""
        loop = asyncio.get_running_loop()
        book.audit_at = loop.time() + AUDIT_AGAIN_S
        try:
            raw = await self._fetch_book(book.symbol)
            shown = tuple(
                tuple((level[0], level[1]) for level in raw[side][:AUDIT_LEVELS]) for side in ("bids", "asks")
            )
        except UNREAD as error:
            log.info("book %s %s by REST: %r", self._dialect.exchange, book.symbol, error)
            return
        if not book.depth.whole:
            return
        book.remember(loop.time())
        if all(any(picture[side] == shown[side] for _, picture in book.pictures) for side in (0, 1)):
            book.audits_failed = 0
            book.audit_at = loop.time() + AUDIT_EVERY_S
            return
        book.audits_failed += 1
        if book.audits_failed >= AUDITS_FAILED:
            self._break(book, DISAGREES)

    def _show(self, book: _Book, raw: Any, *, again: bool = False) -> bool:
        """Deliver a whole picture of ccxt's; a crossed one is no book, and neither is the one before it."""
        bids = tuple((level[0], level[1]) for level in raw["bids"][:BOOK_LEVELS])
        asks = tuple((level[0], level[1]) for level in raw["asks"][:BOOK_LEVELS])
        if bids and asks and bids[0][0] >= asks[0][0]:
            book.by_stream = True
            self._withdraw(book, CROSSED)
            return False
        return self._publish(book, bids, asks, self._now(), again=again)


class _Book:
    """What is known of one watched book."""

    def __init__(self, symbol: str, depth: Depth):
        self.symbol = symbol
        self.depth = depth
        self.tasks: tuple[asyncio.Task[None], ...] = ()
        self.client: Any = None  # the connection it comes by
        self.waiting: list[Change] = []  # what came before the snapshot they belong to
        self.broken = asyncio.Event()
        self.why = ""
        self.came = False  # this subscription has brought a book
        self.at: datetime  # when what it shows left the exchange, as far as that can be told
        self.told: object = None  # what the engine was told last, if that still stands
        self.by_stream = False  # and whether the stream stands behind it
        self.told_at = 0.0  # loop time
        self.streamed_at: float | None = None  # loop time of the last book the stream brought; None: broken
        self.pictures: deque[tuple[float, tuple[Any, Any]]] = deque()  # (loop time, best levels) of late
        self.audit_at = 0.0  # loop time
        self.audits_failed = 0  # in a row
        self.timer: asyncio.TimerHandle | None = None  # it is to be told then
        self.crossed: asyncio.TimerHandle | None = None  # it is given up then

    def begin(self, *, keep_waiting: bool) -> None:
        self.depth.drop()
        self.broken.clear()
        self.came = False
        self.pictures.clear()
        self.audits_failed = 0
        if not keep_waiting:
            self.waiting.clear()

    def remember(self, at: float) -> None:
        """Keep the best levels as they are now, and forget those of long ago."""
        self.pictures.append((at, (self.depth.bids(AUDIT_LEVELS), self.depth.asks(AUDIT_LEVELS))))
        # What stood until a moment ago counts, however long it had stood.
        while len(self.pictures) > 1 and at - self.pictures[1][0] > REMEMBERED_S:
            self.pictures.popleft()

    def uncross(self) -> None:
        if self.crossed is not None:
            self.crossed.cancel()
            self.crossed = None

    def stop(self) -> None:
        self.uncross()
        if self.timer is not None:
            self.timer.cancel()
        for task in self.tasks:
            task.cancel()


def _rows(levels: Any) -> tuple[Row, ...]:
    return tuple((format(level[0], "f"), format(level[1], "f")) for level in levels)


def cancelled_by_us() -> bool:
    """Say whether this task is being cancelled; ccxt cancels its own futures when a connection closes."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
