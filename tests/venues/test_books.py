"""Books through broken streams: what the engine is told was true, and what no longer is, is taken back.

The exchange is the judge: every book that was ever displayed there is known, and no other may be told.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from ems.core.depth import CHECKSUM, GAP, ORDER
from ems.core.messages import BookUpdate, UnwatchBook, WatchBook
from ems.venues import books
from ems.venues.books import CROSSED, DISAGREES, Books
from ems.venues.ccxt_gateway import VenueKeys
from ems.venues.dialects import DIALECTS
from simulator.dialects import LISTED
from simulator.exchange import Exchange
from simulator.faults import Faults, Rule
from simulator.records import Market
from simulator.wire import SimulatorServer
from tests.venues.gateways import Reports, opened

D = Decimal
NOW = datetime(2026, 1, 2, tzinfo=UTC)
# What is called bittrex here speaks as Coinbase Exchange does.
CHECKED = sorted(name for name in LISTED if DIALECTS[name].book is not None and name != "bittrex")
# What is noticed when a message is missing: an exchange that numbers its messages says so, Kraken sums.
NOTICED = {GAP, ORDER, CHECKSUM}
# Neither numbers nor sums: what is missing is found by REST, or where it leaves a crossed book.
TELLS_NOTHING = {name for name in CHECKED if (feed := DIALECTS[name].book) is not None and feed.audited}
TELLS_NO_TIME = {"gemini"}

each_exchange = pytest.mark.parametrize("exchange", CHECKED)


@dataclass
class Venue:
    """A simulated exchange that shows one book after the other, and remembers them."""

    name: str
    symbol: str
    exchange: Exchange
    server: SimulatorServer
    keys: VenueKeys
    shown: dict[Any, float] = field(default_factory=dict)  # (bids, asks) -> when it was shown last
    rng: Random = field(default_factory=lambda: Random(3))

    def show(self) -> tuple[Any, Any]:
        """Show another book: some levels stay, some change, some come and go."""
        middle = 20_000 + self.rng.randrange(4)
        bids, asks = (
            tuple(
                (D(middle + sign * (1 + step)), D(self.rng.randrange(1, 4)))
                for step in range(8)
                if self.rng.random() < 0.8 or step == 0
            )
            for sign in (-1, 1)
        )
        self.exchange.set_book(self.symbol, bids, asks, self.server.now())
        self.shown[bids, asks] = time.monotonic()
        return bids, asks

    def strike(self, *rules: Rule) -> None:
        self.server.faults.set(rules)


@asynccontextmanager
async def watched(name: str) -> AsyncIterator[tuple[Venue, Reports, Any]]:
    """Watch the one book of an exchange; it has come once."""
    listed = LISTED[name]
    symbol = "BTC/USDT" if any(m.symbol == "BTC/USDT" for m in listed.markets) else "BTC/USD"
    base, quote = symbol.split("/")
    market = Market(
        symbol=symbol,
        base=base,
        quote=quote,
        tick=D("0.1"),
        lot=D("0.0001"),
        min_qty=D("0.0001"),
        min_notional=D(5),
        maker_fee=D("0.001"),
        taker_fee=D("0.002"),
        fee_mode="received",
    )
    exchange = Exchange(name, [market])
    public, private, passphrase = listed.keys(secrets.token_bytes)
    keys = VenueKeys(public=public, private=private, passphrase=passphrase)
    exchange.open_account(public, private, name="trader", passphrase=passphrase)
    server = SimulatorServer(exchange, listed.dialect(exchange, **listed.unlimited), faults=Faults())
    venue = Venue(name, symbol, exchange, server, keys)
    venue.show()
    await server.open()
    try:
        async with opened(name, server.url, keys, shapes=(), request_timeout_s=2) as (gateway, reports):
            gateway.send(WatchBook(symbol=symbol))
            await reports.next(BookUpdate, lambda book: not book.unfit)
            yield venue, reports, gateway
    finally:
        await server.close()


def told_by(reports: Reports) -> list[BookUpdate]:
    return reports.of(BookUpdate)


def check_truth(venue: Venue, told: list[BookUpdate]) -> None:
    """Every book that was told was shown by the exchange; what was taken back shows nothing."""
    for book in told:
        if book.unfit:
            assert (book.bids, book.asks) == ((), ())
        else:
            assert (book.bids, book.asks) in venue.shown
            assert book.bids[0][0] < book.asks[0][0]


async def until_shown(reports: Reports, wanted: tuple[Any, Any], *, within_s: float = 15) -> BookUpdate:
    return await reports.next(BookUpdate, lambda book: (book.bids, book.asks) == wanted, within_s=within_s)


# Case -> (the fault, must a break be noticed? None: it may)
FAULTS: dict[str, tuple[Rule, bool | None]] = {
    "one lost": (Rule(action="lost", kinds=("book",), skip=2, count=1), True),
    "a third lost": (Rule(action="lost", kinds=("book",), probability=0.3), True),
    "each one twice": (Rule(action="duplicate", kinds=("book",)), False),
    "one overtaken": (Rule(action="reorder", kinds=("book",), skip=2, count=1), True),
    "one late": (Rule(action="late", kinds=("book",), skip=2, count=1, seconds=(0.5, 0.5)), True),
    "cut": (Rule(action="cut", kinds=("book",), skip=2, count=1), True),
}


NOT_NOTICED_BY_ALL = {"one lost", "a third lost", "one overtaken", "one late"}


@pytest.mark.parametrize(
    ("exchange", "rule", "noticed"),
    [
        pytest.param(exchange, *case, id=f"{name}-{exchange}")
        for name, case in FAULTS.items()
        for exchange in CHECKED
        if name not in NOT_NOTICED_BY_ALL or exchange not in TELLS_NOTHING
    ],
)
def test_only_true_books_are_told(exchange: str, rule: Rule, noticed: bool | None) -> None:
    async def story() -> None:
        async with watched(exchange) as (venue, reports, _):
            venue.strike(rule)
            for _ in range(14):
                venue.show()
                await asyncio.sleep(0.12)  # two exchanges tell the changes of 100 ms at once
            venue.strike()
            told = told_by(reports)
            check_truth(venue, told)
            struck = venue.server.faults.log
            assert struck, "nothing went wrong"
            taken_back = [book.unfit for book in told if book.unfit]
            if noticed is False:
                assert not taken_back and len(told) > 7
            elif rule.action != "cut":
                assert taken_back and all(why in NOTICED or "are missing" in why for why in taken_back)
            else:
                assert taken_back
            # It comes back by itself, and follows again.
            for _ in range(3):
                last = venue.show()
                await until_shown(reports, last)
            check_truth(venue, told_by(reports))

    asyncio.run(story())


@pytest.mark.parametrize(
    ("action", "exchange"),
    [
        (action, exchange)
        for action in ("silence", "late")
        for exchange in CHECKED
        if action == "silence" or exchange not in TELLS_NO_TIME
    ],
)
def test_a_stream_that_says_nothing_or_only_what_was(
    action: str, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The book is asked for by REST; what the stream told three seconds ago is not told as new."""
    monkeypatch.setattr(books, "BOOK_SILENCE_S", 0.4)
    monkeypatch.setattr(books, "BOOK_POLL_S", 0.2)

    async def story() -> None:
        async with watched(exchange) as (venue, reports, _):
            for _ in range(3):
                await until_shown(reports, venue.show())
            venue.strike(Rule(action=action, kinds=("book",), seconds=(3.0, 3.0)))
            came: list[tuple[float, BookUpdate]] = []
            for _ in range(40):
                venue.show()
                await asyncio.sleep(0.1)
                came += [(time.monotonic(), book) for book in told_by(reports)]
                reports.all.clear()
            check_truth(venue, [book for _, book in came])
            usable = [(at, book) for at, book in came if not book.unfit]
            ages = [at - venue.shown[book.bids, book.asks] for at, book in usable]
            assert len(ages) > 5 and max(ages) < 2.0

    asyncio.run(story())


@each_exchange
def test_a_crossed_book_is_taken_back_and_begun_anew(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that says what is not: here a level that nobody at the exchange has."""
    monkeypatch.setattr(books, "CROSSED_S", 0.3)

    async def story() -> None:
        async with watched(exchange) as (venue, reports, gateway):
            book = gateway._streams.books._books[venue.symbol]
            book.depth._bids.put(("20100", "1"))
            gateway._streams.books._changed(book)
            taken_back = await reports.next(BookUpdate, lambda book: bool(book.unfit))
            assert (taken_back.unfit, taken_back.bids) == (CROSSED, ())
            await until_shown(reports, venue.show())
            check_truth(venue, told_by(reports))

    asyncio.run(story())


@pytest.mark.parametrize("exchange", sorted(TELLS_NOTHING))
def test_a_loss_that_the_stream_does_not_show_is_found_by_rest(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "AUDIT_EVERY_S", 0.3)
    monkeypatch.setattr(books, "AUDIT_AGAIN_S", 0.1)
    monkeypatch.setattr(books, "BOOK_POLL_S", 0.1)

    async def story() -> None:
        async with watched(exchange) as (venue, reports, _):
            for _ in range(15):  # what is right is not doubted
                venue.show()
                await asyncio.sleep(0.1)
            check_truth(venue, told_by(reports))
            assert not [book.unfit for book in told_by(reports) if book.unfit]
            last = venue.show()
            await until_shown(reports, last)
            venue.strike(Rule(action="lost", kinds=("book",), count=1))
            last = venue.show()
            taken_back = await reports.next(BookUpdate, lambda book: bool(book.unfit), within_s=10)
            assert taken_back.unfit in (DISAGREES, CROSSED)
            await until_shown(reports, last)
            await until_shown(reports, venue.show())

    asyncio.run(story())


@each_exchange
@pytest.mark.parametrize("lost", [1, 4])
def test_a_subscription_that_brings_nothing_is_made_anew(
    exchange: str, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first picture is lost, and the next ones too."""
    monkeypatch.setattr(books, "PICTURE_S", 0.4)

    async def story() -> None:
        async with watched(exchange) as (venue, reports, gateway):
            gateway.send(UnwatchBook(symbol=venue.symbol))
            await asyncio.sleep(0.3)
            reports.all.clear()
            venue.strike(Rule(action="lost", kinds=("book",), count=lost))
            gateway.send(WatchBook(symbol=venue.symbol))
            await reports.next(BookUpdate, lambda book: not book.unfit, within_s=20)
            for _ in range(4):
                last = venue.show()
                await asyncio.sleep(0.15)
            await until_shown(reports, last)
            check_truth(venue, told_by(reports))

    asyncio.run(story())


@each_exchange
def test_nothing_is_told_of_a_book_nobody_watches(exchange: str) -> None:
    async def story() -> None:
        async with watched(exchange) as (venue, reports, gateway):
            gateway.send(UnwatchBook(symbol=venue.symbol))
            await asyncio.sleep(0.3)
            reports.all.clear()
            venue.show()
            await asyncio.sleep(0.3)
            assert not told_by(reports)
            gateway.send(WatchBook(symbol=venue.symbol))
            await until_shown(reports, venue.show())

    asyncio.run(story())


# --- Without a wire ---


def test_ccxts_own_book_is_told_once_and_taken_back_when_it_crosses() -> None:
    """Of an exchange whose stream nobody here reads; `_show` is also what a picture by REST goes through."""
    told: list[Any] = []

    async def no_book(symbol: str) -> Any:
        raise AssertionError(symbol)

    kept = Books(None, DIALECTS["kraken"], deliver=told.append, now=lambda: NOW, fetch_book=no_book)
    book = books._Book("BTC/USD", books.Depth())
    one, two = D(1), D(2)
    crossed, good = (
        {"bids": [[two, one]], "asks": [[two, one]]},
        {"bids": [[one, two]] * 60, "asks": [[two, one]]},
    )
    for raw in (crossed, good, good, crossed, crossed, {"bids": [], "asks": []}):
        kept._show(book, raw)
    assert told == [
        BookUpdate(symbol="BTC/USD", bids=((one, two),) * 50, asks=((two, one),), at=NOW),
        BookUpdate(symbol="BTC/USD", bids=(), asks=(), at=NOW, unfit=CROSSED),
        BookUpdate(symbol="BTC/USD", bids=(), asks=(), at=NOW),
    ]
