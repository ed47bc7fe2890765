"""What an exchange itself lists of an account: past orders, deposits and withdrawals, ours or not.

A list is read stretch by stretch, the newest first, and kept with the records: what was read whole and can
no longer change is never read again. What an exchange does not list, or what could not be read in time, is
said beside the rows; a page is never passed off as the whole.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from ems.core.records import Transfer, VenueOrder
from ems.core.spans import Span, merged, missing, pieces, without
from ems.store import HistoryStore, ListedOrder, Subject, VenueFilter
from ems.venues.gateway import Gateway, Offer, TooMuch, VenueRefused, VenueUnavailable

# Younger rows are read again: lists lag behind, and an order of the last minutes may not be listed yet.
UNSETTLED = timedelta(minutes=10)
USUAL = timedelta(days=7)  # how far back is looked when nobody says
SHORTEST = timedelta(seconds=2)  # a stretch is not halved below this
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

        return self._answer(subject, offer, read, wanted, self._store.listed_orders)

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
        cursor: str | None = None
        until = self._now() if until is None else until
        while True:
            page = self.orders(
                exchange,
                account,
                user=user,
                symbol=symbol,
                since=since,
                until=until,
                limit=STATS_PAGE,
                cursor=cursor,
            )
            for listed in page.rows:
                order: VenueOrder = listed.order
                by_status[order.status] = by_status.get(order.status, 0) + 1
                quote = order.symbol.partition("/")[2]
                _add(notional, quote, order.quote_filled or ZERO)
                for currency, fee in order.fees.items():
                    _add(fees, currency, fee)
                if order.quantity is not None:
                    _add(asked, order.symbol, order.quantity)
                    _add(filled, order.symbol, order.filled_quantity)
            cursor = page.next_cursor
            if cursor is None:
                break
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
        until = now if until is None else min(until, now)
        usual = 4 * USUAL if subject.what == "transfers" else USUAL
        return VenueFilter(
            exchange=subject.exchange,
            account=subject.account,
            mode=subject.mode,
            user=user,
            since=until - usual if since is None else since,
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
        unread = (
            self._read_missing(subject, offer, read, (since, wanted.until)) if since < wanted.until else ""
        )
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
            todo = [
                piece
                for gap in missing(wanted, self._store.covered(subject))
                for piece in pieces(gap, offer.at_once)
            ][::-1]
            while todo:
                piece = todo.pop()
                left_s = (end - self._now()).total_seconds()
                if left_s <= 0:
                    return f"read back to {piece[1]:%Y-%m-%d %H:%M:%S} UTC so far; ask again for the rest"
                try:
                    rows = self._wait(read(*piece), left_s)
                except TooMuch as full:
                    half = (piece[1] - piece[0]) / 2
                    if half < SHORTEST:
                        return f"{full}, in {piece[1] - piece[0]} before {piece[1]:%Y-%m-%d %H:%M:%S} UTC"
                    todo += [(piece[0], piece[0] + half), (piece[0] + half, piece[1])]
                    continue
                except (VenueRefused, VenueUnavailable, TimeoutError) as error:
                    why = str(error) or "no answer in time"
                    return f"not read before {piece[1]:%Y-%m-%d %H:%M:%S} UTC: {why}"
                self._keep(subject, rows, piece)
        return ""

    def _keep(self, subject: Subject, rows: Sequence[VenueOrder | Transfer], piece: Span) -> None:
        """Keep what was read, and as covered what of it cannot change any more."""
        began = [row.created_at if isinstance(row, VenueOrder) else row.at for row in rows if not row.final]
        covered = merged([*self._store.covered(subject), piece])
        settled = min([self._now() - UNSETTLED, *began])
        covered = without(covered, (settled, max(piece[1], settled)))
        self._store.keep(subject, rows, covered)


def _add(sums: dict[str, Decimal], name: str, amount: Decimal) -> None:
    sums[name] = sums.get(name, ZERO) + amount
