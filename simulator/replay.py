"""Recorded markets, played again: books and trades into an exchange, in real time or step by step.

Three subjects in the order in which they happen:

* a **recording** is files on disk, read as timed events: `BookState` (all that was visible) and `TradePrint`;
* a **track** says which recording an exchange's market replays. An exchange of which no recording exists
  replays another venue's, and says so: `Track.describe`;
* a **replay** plays tracks into an exchange. Time is given (`advance(now)`), so a run is repeatable; `run` is
  the same with a real clock. At the end it starts again; times and trade ids keep growing.

Tables of the columns described in `recordings/README.md` are read, and, with `raw=True`, verbatim Binance
captures (`*_raw.jsonl.gz`), whose book is rebuilt from every depth message. Of two events of one time the
book comes first: a book row is the state just before its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import gzip
import heapq
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Literal

from simulator.exchange import Exchange
from simulator.records import TRADING, Market

Side = Literal["buy", "sell"]
Levels = tuple[tuple[Decimal, Decimal], ...]  # (price, quantity), best first

SHIPPED = Path(__file__).parent / "recordings"

# Finest first: when a recording was tabulated in several ways, the first kind present is replayed.
BOOK_KINDS = ("book20_250ms", "book200_1s", "book10_10s")
RAW_DEPTH = 20  # levels a side kept from a raw capture
LATE_MAX_S = 5.0
EVENTS_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class BookState:
    """The visible book at one moment."""

    at_us: int  # microseconds since the epoch, or since the start of the replay
    bids: Levels
    asks: Levels


@dataclass(frozen=True, kw_only=True, slots=True)
class TradePrint:
    """One public trade."""

    at_us: int
    trade_id: int
    price: Decimal
    quantity: Decimal
    taker_side: Side


Event = BookState | TradePrint


class BadRecording(Exception):
    """There is no such recording, or its file does not say what it should."""


# --- Recordings ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """The files of one market's capture."""

    venue: str  # "binance-spot"
    symbol: str  # the venue's own: "BTCUSDT"
    began: datetime
    book: Path
    trades: Path | None
    raw: bool = False

    def events(self) -> Iterator[Event]:
        """Read it from the start, in order of time."""
        if self.raw:
            return _raw_binance(self.book)
        trades = iter(()) if self.trades is None else _trade_rows(self.trades)
        return heapq.merge(_book_rows(self.book), trades, key=lambda event: event.at_us)


def find(symbol: str, *, folder: Path = SHIPPED, venue: str | None = None, raw: bool = False) -> Recording:
    """Find a recording of `symbol`, written `BTCUSDT` or `BTC/USDT`, in a folder. Raises BadRecording."""
    wanted = symbol.replace("/", "").upper()
    known: dict[tuple[str, str, str], dict[str, Path]] = {}  # (venue, symbol, stamp) -> kind -> file
    for path in sorted(folder.glob("*.gz")):
        parts = path.name.removesuffix(".gz").rsplit(".", 1)[0].split("_", 3)
        if len(parts) == 4:
            known.setdefault((parts[0], parts[1], parts[2]), {})[parts[3]] = path
    kinds = ("raw",) if raw else BOOK_KINDS
    for (held_venue, held_symbol, stamp), files in known.items():
        book = next((files[kind] for kind in kinds if kind in files), None)
        if book is not None and held_symbol.upper() == wanted and venue in (None, held_venue):
            return Recording(
                venue=held_venue,
                symbol=held_symbol,
                began=_stamp(stamp, book),
                book=book,
                trades=None if raw else files.get("trades"),
                raw=raw,
            )
    there = ", ".join(sorted({f"{v} {s}" for v, s, _ in known})) or "nothing"
    of_venue = f" of {venue}" if venue else ""
    raise BadRecording(
        f"no {'raw ' if raw else ''}recording{of_venue} of {symbol} in {folder}: there is {there}"
    )


def _stamp(text: str, path: Path) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise BadRecording(f"{path.name}: {text!r} is not a time such as 20240808T2354Z") from error


def _rows(path: Path) -> Iterator[tuple[dict[str, int], list[str]]]:
    with gzip.open(path, "rt", newline="") as lines:
        table = csv.reader(lines)
        try:
            columns = {name: index for index, name in enumerate(next(table))}
            for row in table:
                yield columns, row
        except (OSError, EOFError, StopIteration, csv.Error) as error:
            raise BadRecording(f"{path.name}: {error}") from error


def _book_rows(path: Path) -> Iterator[Event]:
    for columns, row in _rows(path):
        yield BookState(
            at_us=int(row[columns["ts_us"]]),
            bids=_levels("bid", columns, row),
            asks=_levels("ask", columns, row),
        )


def _levels(side: str, columns: dict[str, int], row: list[str]) -> Levels:
    levels = []
    depth = 1
    # A thin book leaves its deeper columns empty.
    while (at := columns.get(f"{side}_px_{depth}")) is not None and at < len(row) and row[at]:
        levels.append((Decimal(row[at]), Decimal(row[columns[f"{side}_qty_{depth}"]])))
        depth += 1
    return tuple(levels)


def _trade_rows(path: Path) -> Iterator[Event]:
    for columns, row in _rows(path):
        side = row[columns["taker_side"]]
        if side not in ("buy", "sell"):
            raise BadRecording(f"{path.name}: taker_side is {side!r}, not buy or sell")
        yield TradePrint(
            at_us=int(row[columns["exch_us"]]),
            trade_id=int(row[columns["trade_id"]]),
            price=Decimal(row[columns["price"]]),
            quantity=Decimal(row[columns["qty"]]),
            taker_side="buy" if side == "buy" else "sell",
        )


def _raw_binance(path: Path) -> Iterator[Event]:
    """Rebuild the book from a capture: snapshot first, then every difference after it.

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams, "How to manage a local order
    book correctly". Times are the exchange's own (E and T); they do not step back, arrival order is kept.
    """
    halves: dict[str, dict[Decimal, Decimal]] = {"b": {}, "a": {}}  # side -> price -> quantity
    early: list[dict[str, object]] = []  # differences that came before the snapshot
    last_id: int | None = None
    clock_us = 0

    def apply(update: dict[str, object]) -> None:
        nonlocal last_id
        for side, half in halves.items():
            for price, quantity in update[side]:  # type: ignore[attr-defined]
                if Decimal(quantity):
                    half[Decimal(price)] = Decimal(quantity)
                else:
                    half.pop(Decimal(price), None)
        last_id = int(update["u"])  # type: ignore[call-overload]

    with gzip.open(path, "rt") as lines:
        for line in lines:
            message = json.loads(line)["raw"]
            if "lastUpdateId" in message:
                halves = {
                    side: {Decimal(price): Decimal(quantity) for price, quantity in message[name]}
                    for side, name in (("b", "bids"), ("a", "asks"))
                }
                last_id = int(message["lastUpdateId"])
                for update in early:
                    if int(update["u"]) > last_id:  # type: ignore[call-overload]
                        apply(update)
                early.clear()
                continue
            data = message["data"]
            kind = data.get("e")
            if kind == "depthUpdate":
                clock_us = max(clock_us, int(data["E"]) * 1000)
                if last_id is None:
                    early.append(data)
                elif int(data["u"]) > last_id:
                    apply(data)
                    bids = heapq.nlargest(RAW_DEPTH, halves["b"].items())
                    asks = heapq.nsmallest(RAW_DEPTH, halves["a"].items())
                    yield BookState(at_us=clock_us, bids=tuple(bids), asks=tuple(asks))
            elif kind == "trade" and last_id is not None:
                clock_us = max(clock_us, int(data["T"]) * 1000)
                yield TradePrint(
                    at_us=clock_us,
                    trade_id=int(data["t"]),
                    price=Decimal(data["p"]),
                    quantity=Decimal(data["q"]),
                    taker_side="sell" if data["m"] else "buy",  # m: the buyer was the maker
                )


# --- Tracks --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """One market of an exchange and the recording it replays."""

    exchange: str  # "kraken"
    symbol: str  # as the exchange's matching knows it: "ETH/USDT"
    recording: Recording
    tick: Decimal | None = None  # of the exchange, when it is coarser than the recording's
    contract: Market | None = None  # where the market is one: it follows a spot market's recording

    @property
    def borrowed(self) -> bool:
        """Whether the recording is of another venue."""
        return self.recording.venue.split("-")[0] != self.exchange.split("-")[0]

    def describe(self) -> str:
        """Say in words what a person is looking at."""
        of = self.recording
        words = f"{self.exchange} {self.symbol}: replaying {of.venue} {of.symbol} {of.began:%Y-%m-%d}"
        if self.contract is not None:
            size = f"{self.contract.contract_size:f} {self.contract.base}"
            words += f" in contracts of {size} (no recording of swaps ships: this is spot's)"
        elif self.borrowed:
            words += f" (no recording of {self.exchange.split('-')[0]} ships)"
        return words

    def events(self) -> Iterator[Event]:
        """The recording's events with prices this exchange could show."""
        events = self.recording.events()
        if self.tick is not None:
            events = (on_tick(event, self.tick) for event in events)
        return events if self.contract is None else in_contracts(events, self.contract)


def track(
    exchange: str, symbol: str, *, folder: Path = SHIPPED, tick: Decimal | None = None, raw: bool = False
) -> Track:
    """Find what `exchange` replays for `symbol`: its own recording if there is one, else any venue's."""
    try:
        own = find(symbol, folder=folder, venue=f"{exchange}-spot", raw=raw)
    except BadRecording:
        own = find(symbol, folder=folder, raw=raw)
    return Track(exchange=exchange, symbol=symbol, recording=own, tick=tick)


def tracks(exchange: Exchange, *, folder: Path = SHIPPED, raw: bool = False) -> list[Track]:
    """One track for each of an exchange's markets that has a recording; the others stay empty."""
    found = []
    for market in exchange.markets.values():
        with contextlib.suppress(BadRecording):
            pair = f"{market.base}/{market.quote}"
            followed = track(exchange.name, pair, folder=folder, tick=market.tick, raw=raw)
            contract = None if market.settled_in is None else market
            found.append(replace(followed, symbol=market.symbol, contract=contract))
    return found


def in_contracts(events: Iterator[Event], market: Market) -> Iterator[Event]:
    """Count in whole lots of a contract what was recorded in base currency; what is less than one is gone."""

    def lots(quantity: Decimal) -> Decimal:
        return quantity / market.contract_size // market.lot * market.lot

    for event in events:
        if isinstance(event, TradePrint):
            if quantity := lots(event.quantity):
                yield replace(event, quantity=quantity)
            continue
        sides = [
            tuple((price, size) for price, quantity in side if (size := lots(quantity)))
            for side in (event.bids, event.asks)
        ]
        yield replace(event, bids=sides[0], asks=sides[1])


def on_tick(event: Event, tick: Decimal) -> Event:
    """Move prices to multiples of `tick`, away from the other side: no book becomes crossed or locked."""
    if isinstance(event, TradePrint):
        # The taker met the touch: a buyer's price is an ask, a seller's a bid.
        return replace(event, price=_to_tick(event.price, tick, up=event.taker_side == "buy"))
    return replace(event, bids=_merged(event.bids, tick, up=False), asks=_merged(event.asks, tick, up=True))


def _to_tick(price: Decimal, tick: Decimal, *, up: bool) -> Decimal:
    return (price / tick).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR) * tick


def _merged(levels: Levels, tick: Decimal, *, up: bool) -> Levels:
    together: dict[Decimal, Decimal] = {}
    for price, quantity in levels:
        at = _to_tick(price, tick, up=up)
        together[at] = together.get(at, Decimal(0)) + quantity
    return tuple(together.items())  # best first still: rounding keeps the order


# --- Playing -------------------------------------------------------------------------------------


class Replay:
    """Play tracks into an exchange. The first books stand at `start`; nothing happens until time is given.

    Times are seconds since 1970. In `advance` every event reaches the exchange with its own time, so the same
    start and the same calls give the same run. Trades before a track's first book are left out: there is
    nothing they could have met. While a market is halted its recording runs on unseen.
    """

    def __init__(
        self,
        exchange: Exchange,
        tracks: Sequence[Track],
        *,
        start: float,
        speed: float = 1.0,
        loop: bool = True,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed: {speed} is not greater than 0")
        self.tracks = tuple(tracks)
        self.speed = speed
        self.played = 0  # events so far
        self._exchange = exchange
        self._start = start
        self._streams = [_from_zero(each, loop) for each in self.tracks]
        # What comes next of each track: (microseconds since the start, track number, event).
        self._next: list[tuple[int, int, Event]] = []
        for number in range(len(self._streams)):
            self._pull(number)

    def describe(self) -> str:
        """Say what is replayed, one market to a line."""
        lines = [each.describe() for each in self.tracks]
        if self.speed != 1:
            lines.append(f"at {self.speed:g} times the recorded speed")
        return "\n".join(lines)

    @property
    def next_at(self) -> float | None:
        """When the next event is due; None when everything was played."""
        return self._when(self._next[0][0]) if self._next else None

    def advance(self, now: float) -> int:
        """Play everything due at `now` and return how many events that were."""
        before = self.played
        while (at := self.next_at) is not None and at <= now:
            self._play(at)
        return self.played - before

    async def run(
        self,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Play in real time until cancelled, or until the end when the replay does not loop.

        After a pause of the whole process the replay goes on where it was, rather than playing the pause in
        one burst. Events bear the time at which they are played: orders come in between, and time must not
        step back.
        """
        while (due := self.next_at) is not None:
            await sleep(max(0.0, due - clock()))
            late_s = clock() - due
            if late_s > LATE_MAX_S:
                self._start += late_s
            # A bounded number at a time: the event loop has orders to serve as well.
            for _ in range(EVENTS_AT_ONCE):
                now, due = clock(), self.next_at
                if due is None or due > now:
                    break
                self._play(now)

    def _when(self, at_us: int) -> float:
        return self._start + at_us / self.speed / 1_000_000

    def _pull(self, number: int) -> None:
        event = next(self._streams[number], None)
        if event is not None:
            heapq.heappush(self._next, (event.at_us, number, event))

    def _play(self, now: float) -> None:
        _, number, event = heapq.heappop(self._next)
        self._pull(number)
        symbol = self.tracks[number].symbol
        self.played += 1
        if self._exchange.mode_of(symbol) != TRADING:
            return  # nothing moves in a halted market; the next book is whole, so nothing is missed
        if isinstance(event, BookState):
            self._exchange.set_book(symbol, list(event.bids), list(event.asks), now)
        else:
            self._exchange.public_trade(symbol, event.price, event.quantity, event.taker_side, now)


def _from_zero(track: Track, loop: bool) -> Iterator[Event]:
    """A track's events with times from zero, again and again; times and trade ids keep growing."""
    base_us, base_id = 0, 0
    while True:
        origin_us: int | None = None
        book_us = step_us = end_us = 0
        ids: list[int] = []  # lowest and highest trade id
        for event in track.events():
            if origin_us is None:
                if not isinstance(event, BookState):
                    continue
                origin_us = book_us = event.at_us
            if isinstance(event, BookState):
                step_us, book_us = event.at_us - book_us, event.at_us
                end_us = max(end_us, book_us + step_us)
                yield replace(event, at_us=base_us + event.at_us - origin_us)
            else:
                ids = [min([event.trade_id, *ids[:1]]), max([event.trade_id, *ids[1:]])]
                end_us = max(end_us, event.at_us + 1)
                yield replace(
                    event, at_us=base_us + event.at_us - origin_us, trade_id=base_id + event.trade_id
                )
        if origin_us is None:
            raise BadRecording(f"{track.recording.book.name}: there is no book in it")
        if not loop:
            return
        base_us += max(end_us - origin_us, 1)
        base_id += ids[1] - ids[0] + 1 if ids else 0
