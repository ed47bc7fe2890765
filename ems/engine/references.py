"""Second opinions: a book that the others contradict is not traded on (RELIABILITY.md C.3 #57).

What is compared: the book an exchange sends itself with the same book as a data provider shows it, and with
the books of the same market elsewhere. Opinions are no books: no plan and no order sees their prices.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core.consolidated import FAR, MOMENT_S, OPINION_AGE_S, WILD, consolidate, distance, reference
from ems.core.fitness import BOOK_AGE_S, mid_of, unfit
from ems.core.messages import BookUpdate
from ems.engine.account import Account
from ems.engine.turn import Out
from ems.engine.work import Work

Source = tuple[str, str]  # (exchange, "/account" of ours or the provider that shows its book)

FORGET_S = 600.0  # an opinion nobody has renewed for so long


class References:
    """Keeps what each source says, and judges each book by the others."""

    def __init__(self, out: Out, work: Work):
        self._out = out
        self._work = work
        self._books: dict[
            str, dict[Source, BookUpdate]
        ] = {}  # symbol -> source -> its newest book, as it came
        self._far_since: dict[tuple[Source, str], datetime] = {}  # (source, symbol) -> when it went far

    def opinion(self, provider: str, exchange: str, book: BookUpdate) -> list[Account]:
        """Take in what a provider says of an exchange's book; return the accounts that trade on that book."""
        self._books.setdefault(book.symbol, {})[exchange, provider] = book
        return [a for a in self._work.accounts.values() if a.exchange == exchange and book.symbol in a.books]

    def own(self, account: Account, book: BookUpdate, now: datetime) -> BookUpdate:
        """Take in an exchange's own book; return it as it may be used."""
        self._books.setdefault(book.symbol, {})[_own(account)] = book
        return self.judged(account, book.symbol, now)

    def judged(self, account: Account, symbol: str, now: datetime) -> BookUpdate:
        """Return the account's book, unfit where the others speak against it."""
        book = self._books[symbol][_own(account)]
        key = (_own(account), symbol)
        mid = None if unfit(book, now) else self._mid_of_others(account, symbol, now)
        off = None if mid is None else distance(book, mid)
        if off is None or off <= FAR:
            self._far_since.pop(key, None)
            return book
        due = self._far_since.setdefault(key, now) + timedelta(seconds=MOMENT_S)
        if off <= WILD and now < due:
            self._out.wake(("opinion", *account.key, symbol), due)
            return book
        return replace(book, unfit=f"its prices are {off * 100:.1f} % off what others show")

    def _mid_of_others(self, account: Account, symbol: str, now: datetime) -> Decimal | None:
        """Return what others say of this market: each other exchange once, and who shows this very book."""
        mids: dict[str, Decimal] = {}
        same = None
        # An exchange's own word comes before what a provider says of it.
        for (exchange, teller), book in sorted(self._books[symbol].items(), key=lambda item: item[0]):
            if exchange == account.exchange:
                if teller.startswith("/"):
                    continue
                same = name = f"{exchange} by {teller}"
            else:
                name = exchange
            if name not in mids and not unfit(book, now, OPINION_AGE_S):
                mids[name] = mid_of(book)
        return reference(mids, same)

    def forget(self, account: Account, symbol: str) -> None:
        """Drop a book that is no longer watched."""
        self._books.get(symbol, {}).pop(_own(account), None)
        self._far_since.pop((_own(account), symbol), None)

    def prune(self, now: datetime) -> None:
        """Forget opinions that nobody renews."""
        for symbol, sources in list(self._books.items()):
            for source, book in list(sources.items()):
                if not source[1].startswith("/") and (now - book.at).total_seconds() > FORGET_S:
                    del sources[source]
            if not sources:
                del self._books[symbol]

    def markets(self, now: datetime) -> list[dict[str, object]]:
        """Return each watched market: what its sources show together, and how each of them is."""
        told: list[dict[str, object]] = []
        for symbol, books in sorted(self._books.items()):
            sources, used = [], {}
            for (exchange, teller), book in sorted(books.items()):
                account = self._work.accounts.get((exchange, teller[1:])) if teller[0] == "/" else None
                as_judged = book if account is None else account.books.get(symbol, book)
                used[exchange + (teller if account else f" by {teller}")] = as_judged
                sources.append(
                    {
                        "exchange": exchange,
                        "source": teller if account is None else f"account {teller[1:]}",
                        "age_s": f"{max((now - book.at).total_seconds(), 0):.2f}",
                        "problem": unfit(as_judged, now, BOOK_AGE_S if account else OPINION_AGE_S),
                    }
                )
            together = consolidate(used, now, levels=1)
            mid = together.mid
            told.append(
                {
                    "symbol": symbol,
                    "mid": None if mid is None else format(mid, "f"),
                    "crossed": together.crossed,  # one exchange bids at least what another asks
                    "sources": sources,
                }
            )
        return told


def _own(account: Account) -> Source:
    return account.exchange, f"/{account.account}"
