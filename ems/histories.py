"""What an exchange itself lists of an account: past orders, deposits and withdrawals, ours or not.

A list is read stretch by stretch, the newest first, and kept with the records: what was read whole and can
no longer change is never read again. What an exchange does not list, or what could not be read in time, is
said beside the rows; a page is never passed off as the whole.

An order may end at any age, and just after that be in no list, where open and ended ones are listed apart.
There a stretch counts as read only when it has been read twice, with the time between that a list may lag.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from ems.core.records import Status, Transfer, VenueOrder
from ems.core.spans import Span, common, merged, missing, without
from ems.store import HistoryStore, ListedOrder, Subject, VenueFilter, read_list_key
from ems.venues.gateway import Gateway, Offer, TooMuch, VenueRefused, VenueUnavailable

# Younger rows are read again: lists lag behind, and an order of the last minutes may not be listed yet.
UNSETTLED = timedelta(minutes=10)
USUAL = timedelta(days=7)  # how far back is looked when nobody says
SHORTEST = timedelta(seconds=2)  # a stretch is not halved below this
FEW = 100  # after so few rows a longer stretch is tried
FIRST = datetime(2009, 1, 3, tzinfo=UTC)  # there was nothing to trade before
STATS_PAGE = 1000
RATIO = Decimal("0.000001")
ZERO = Decimal(0)

Row = TypeVar("Row", ListedOrder, Transfer)


class Wait(Protocol):
    """Run a coroutine on the loop from another thread and return its result."""

    def __call__(self, work: Coroutine[Any, Any, Any], timeout_s: float) -> Any: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Rows of an exchange's list, newest first, and what must be known about them."""

    rows: Sequence[Any]  # ListedOrder | Transfer
    next_cursor: str | None
    since: datetime
    until: datetime
    complete: bool  # every row of this time that the exchange lists has been read
    notes: tuple[str, ...]  # what is missing, and why


class NotListed(Exception):
    """The exchange has no such list, or must be asked differently; the message says how."""


class Histories:
    """Answers from what was kept, after reading what is missing. Called from many threads."""

    def __init__(
        self,
        store: HistoryStore,
        gateways: Mapping[tuple[str, str], Gateway],
        wait: Wait,
        now: Callable[[], datetime],
        *,
        patience_s: float = 15.0,
    ):
        self._store = store
        self._gateways = gateways
        self._wait = wait
        self._now = now
        self._patience_s = patience_s
        # One reader of a list at a time: a second one finds what the first has read.
        self._locks: defaultdict[Subject, threading.Lock] = defaultdict(threading.Lock)
        self._once: dict[Subject, list[tuple[Span, datetime]]] = {}  # what was read once, and when
        self._longest: dict[Subject, timedelta] = {}  # the longest stretch that could be read in one go

    def orders(
        self,
        exchange: str,
        account: str,
        *,
        user: str | None,
        symbol: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """List an account's orders; those that other users placed through us are left out unless `user` is
        None."""
        return self._orders(exchange, account, user, symbol, since, until, limit, cursor)[0]

    def _orders(
        self,
        exchange: str,
        account: str,
        user: str | None,
        symbol: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> tuple[Page, VenueFilter]:
        gateway = self._gateways[exchange, account]
        offer = gateway.past_orders_offer
        if offer is None:
            raise NotListed(f"{exchange} lists no past orders")
        if offer.per_market and symbol is None:
            raise NotListed(f"{exchange} lists past orders of one market at a time: say symbol")
        market = (symbol or "") if offer.per_market else ""
        subject = Subject(exchange=exchange, account=account, mode=gateway.mode, what="orders", symbol=market)
        wanted = self._wanted(subject, user, since, until, limit, symbol=symbol, cursor=cursor)

        def read(start: datetime, end: datetime) -> Coroutine[Any, Any, list[VenueOrder]]:
            return gateway.fetch_past_orders(market or None, start, end)

        return self._answer(subject, offer, read, wanted, self._store.listed_orders), wanted

    def stats(
        self,
        exchange: str,
        account: str,
        *,
        user: str | None,
        symbol: str | None,
        since: datetime | None,
        until: datetime | None,
    ) -> dict[str, object]:
        """Count the same orders and add up what they traded, by quote currency where it is money."""
        by_status: dict[str, int] = {}
        notional: dict[str, Decimal] = {}
        fees: dict[str, Decimal] = {}
        asked: dict[str, Decimal] = {}
        filled: dict[str, Decimal] = {}
        page, wanted = self._orders(exchange, account, user, symbol, since, until, STATS_PAGE, None)
        rows, cursor = page.rows, page.next_cursor
        while True:
            for listed in rows:
                order: VenueOrder = listed.order
                by_status[order.status] = by_status.get(order.status, 0) + 1
                quote = order.symbol.partition(":")[0].partition("/")[2]
                _add(notional, quote, order.quote_filled or ZERO)
                for currency, fee in order.fees.items():
                    _add(fees, currency, fee)
                if order.quantity is not None:
                    _add(asked, order.symbol, order.quantity)
                    _add(filled, order.symbol, order.filled_quantity)
            if cursor is None:
                break
            rows, cursor = self._store.listed_orders(replace(wanted, cursor=cursor))
        return {
            "orders": sum(by_status.values()),
            "by_status": dict(sorted(by_status.items())),
            "notional": dict(sorted(notional.items())),
            "fees": dict(sorted(fees.items())),
            "fill_ratio": {
                name: (filled[name] / total).quantize(RATIO) for name, total in sorted(asked.items()) if total
            },
            "since": page.since,
            "until": page.until,
            "complete": page.complete,
            "notes": list(page.notes),
        }

    def transfers(
        self,
        exchange: str,
        account: str,
        *,
        currency: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """List what moved in and out of an account."""
        gateway = self._gateways[exchange, account]
        offer = gateway.transfers_offer
        if offer is None:
            raise NotListed(f"{exchange} lists no deposits and withdrawals")
        subject = Subject(exchange=exchange, account=account, mode=gateway.mode, what="transfers")
        wanted = self._wanted(subject, None, since, until, limit, currency=currency, cursor=cursor)
        return self._answer(subject, offer, gateway.fetch_transfers, wanted, self._store.listed_transfers)

    # --- Inside ---

    def _wanted(
        self,
        subject: Subject,
        user: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        **more: str | None,
    ) -> VenueFilter:
        now = self._now()
        until = now if until is None else max(FIRST, min(until, now))
        usual = 4 * USUAL if subject.what == "transfers" else USUAL
        return VenueFilter(
            exchange=subject.exchange,
            account=subject.account,
            mode=subject.mode,
            user=user,
            since=max(FIRST, until - usual if since is None else since),
            until=until,
            limit=limit,
            **more,
        )

    def _answer(
        self,
        subject: Subject,
        offer: Offer,
        read: Callable[[datetime, datetime], Coroutine[Any, Any, Sequence[VenueOrder | Transfer]]],
        wanted: VenueFilter,
        listed: Callable[[VenueFilter], tuple[list[Row], str | None]],
    ) -> Page:
        notes = [offer.misses] if offer.misses else []
        since = wanted.since
        if offer.reach is not None and since < self._now() - offer.reach:
            since = self._now() - offer.reach
            notes.append(f"{subject.exchange} lists {offer.reach.days} days: nothing before {since:%Y-%m-%d}")
        listed(wanted)  # a cursor that is none of ours is refused before the exchange is asked
        until = wanted.until
        if wanted.cursor is not None:  # what is newer was read for the pages before
            until = min(until, read_list_key(wanted.cursor)[0] + timedelta(milliseconds=1))
        unread = self._read_missing(subject, offer, read, (since, until)) if since < until else ""
        rows, cursor = listed(wanted)
        if unread and not rows:
            raise VenueUnavailable(unread)
        if unread:
            notes.append(unread)
        return Page(
            rows=rows,
            next_cursor=cursor,
            since=since,
            until=wanted.until,
            complete=not unread,
            notes=tuple(notes),
        )

    def _read_missing(
        self,
        subject: Subject,
        offer: Offer,
        read: Callable[[datetime, datetime], Coroutine[Any, Any, Sequence[VenueOrder | Transfer]]],
        wanted: Span,
    ) -> str:
        """Read what is not covered yet; return what stopped that, if anything did."""
        end = self._now() + timedelta(seconds=self._patience_s)
        with self._locks[subject]:
            lately = [span for span, at in self._once.get(subject, ()) if at > self._now() - UNSETTLED]
            todo = missing(wanted, [*self._store.covered(subject), *lately])[::-1]
            while todo:
                piece = todo.pop()
                longest = min(self._longest.get(subject, offer.at_once), offer.at_once)
                if piece[1] - piece[0] > longest:
                    todo.append((piece[0], piece[1] - longest))
                    piece = (piece[1] - longest, piece[1])
                began = self._now()
                left_s = (end - began).total_seconds()
                if left_s <= 0:
                    return f"read back to {piece[1]:%Y-%m-%d %H:%M:%S} UTC so far; ask again for the rest"
                half = (piece[1] - piece[0]) / 2
                try:
                    rows = self._wait(read(*piece), left_s)
                except TooMuch as full:
                    if half < SHORTEST:
                        return f"{full}, in {piece[1] - piece[0]} before {piece[1]:%Y-%m-%d %H:%M:%S} UTC"
                    self._longest[subject] = half
                    todo.append(piece)
                    continue
                except (VenueRefused, VenueUnavailable, TimeoutError) as error:
                    if isinstance(error, TimeoutError) and left_s > self._patience_s / 2:
                        self._longest[subject] = max(half, SHORTEST)  # or the next one fares no better
                    why = str(error) or "no answer in time"
                    return f"not read before {piece[1]:%Y-%m-%d %H:%M:%S} UTC: {why}"
                if len(rows) < FEW and subject in self._longest:
                    self._longest[subject] = min(2 * longest, offer.at_once)
                self._keep(subject, offer, rows, piece, began)
        return ""

    def _keep(
        self,
        subject: Subject,
        offer: Offer,
        rows: Sequence[VenueOrder | Transfer],
        piece: Span,
        began: datetime,
    ) -> None:
        """Keep what was read, and as covered what of it cannot change any more."""
        alive = [row.created_at if isinstance(row, VenueOrder) else row.at for row in rows if not row.final]
        settled = min([began - UNSETTLED, *alive])
        sure = [(piece[0], min(piece[1], settled))]
        if offer.ended_apart:
            before = self._once.get(subject, [])
            twice = [span for span, at in before if at <= began - UNSETTLED]
            once = [(part, began) for span in sure for part in missing(span, twice)]
            # What is neither covered now nor read lately has to be read once more.
            kept = [(left, at) for span, at in before for left in without([span], piece)]
            self._once[subject] = [*kept, *once]
            sure = [part for span in sure for part in common(span, twice)]
        covered = merged([*self._store.covered(subject), *sure])
        self._store.keep(subject, [*rows, *self._gone(subject, rows, sure)], covered)

    def _gone(
        self, subject: Subject, rows: Sequence[VenueOrder | Transfer], sure: Sequence[Span]
    ) -> list[VenueOrder]:
        """Return the orders that were open once and are listed no more, as what nobody knows any more."""
        if subject.what != "orders":
            return []
        listed = {(row.symbol, row.exchange_order_id) for row in rows if isinstance(row, VenueOrder)}
        return [
            replace(row, status=str(Status.UNKNOWN), final=True)
            for span in sure
            for row in self._store.unended_orders(subject, span)
            if (row.symbol, row.exchange_order_id) not in listed
        ]


def _add(sums: dict[str, Decimal], name: str, amount: Decimal) -> None:
    sums[name] = sums.get(name, ZERO) + amount
