"""What bots hold and have earned, kept while it happens: every fill is valued and booked in its own turn.

The rules of the books are `ems.core.positions`. Here are the prices of the moment: middle prices of books no
older than `BOOK_AGE_S`, of the account itself first, then of any other: money is worth the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial

from ems.core import valuation
from ems.core.contracts import is_contract
from ems.core.positions import Books, traded, worth_of
from ems.core.records import Fill, Position, SliceChange
from ems.engine.account import Account
from ems.engine.turn import Out
from ems.engine.work import Work
from ems.store import Unfinished

ZERO = Decimal(0)
BOOK_AGE_S = 60.0  # an older book says nothing of the moment


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What an account holds of an asset in all, ours or not, and its price in the reporting currency."""

    exchange: str
    account: str
    asset: str
    quantity: Decimal
    price: Decimal | None  # None: no book leads there


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """A bot's position in a contract, in the currency in which it is settled."""

    position: Position
    mid: Decimal | None  # None: no book is at hand
    rate: Decimal | None  # what one of that currency is worth


@dataclass(frozen=True, kw_only=True, slots=True)
class Appraisal:
    """Positions of a user and holdings of accounts, at the prices of one moment."""

    currency: str
    at: datetime
    positions: tuple[tuple[Position, Decimal | None], ...]  # with the asset's price
    contracts: tuple[Contract, ...]
    holdings: tuple[Holding, ...]
    rates: dict[tuple[str, str, str], Decimal | None]  # (exchange, account, settlement currency) -> price
    read_at: dict[tuple[str, str], datetime | None]  # (exchange, account) -> when its balances were asked for


class Portfolio:
    """Values and books fills; appraises what is held."""

    def __init__(self, out: Out, work: Work, currency: str):
        self._out = out
        self._work = work
        self.currency = currency
        self._books = Books(currency)
        self._booking = 0
        self._fee_coins: dict[tuple[str, str], set[str]] = {}  # (exchange, account) -> third coins

    def restore(self, unfinished: Unfinished) -> None:
        """Take the books up where the store left them."""
        ours = [p for p in unfinished.positions if p.currency == self.currency or is_contract(p.asset)]
        self._books = Books(self.currency, ours)
        self._books.sliced = {one.key for one in unfinished.slices}
        self._booking = unfinished.booking
        for position in ours:
            if position.fees and position.opened:  # most likely a coin that is held to pay fees
                self._fee_coins.setdefault((position.exchange, position.account), set()).add(position.asset)

    @property
    def booking(self) -> int:
        """Return the number of the last fill that was booked."""
        return self._booking

    def slice(self, change: SliceChange) -> None:
        """Keep the books of a bot apart from the others', or no more."""
        self._books.slice(change)

    def book(self, account: Account, fill: Fill, now: datetime) -> Fill:
        """Value a fill and move the books; return it with its figures. The positions are recorded."""
        base, quote = traded(fill.symbol)
        if fill.fee_currency not in (base, quote):
            self._fee_coins.setdefault(account.key, set()).add(fill.fee_currency)
            self.expect(account, fill.symbol, now)
        worth = worth_of(
            fill,
            self.currency,
            self.price(quote, account, now),
            self.price(fill.fee_currency, account, now),
        )
        self._booking += 1
        booked, changed = self._books.book(fill, worth, self._booking)
        for position in changed:
            self._out.record(position)
        return booked

    def held(self, fill: Fill) -> Decimal:
        """Return what the bot of a fill holds in its contract; zero of a spot market."""
        return self._books.held(fill)

    def expect(self, account: Account, symbol: str, now: datetime) -> None:
        """Have the books at hand by which fills in this market will be valued."""
        sides = set(traded(symbol))
        wanted = self._fee_coins.get(account.key, set()) - sides
        if self.currency not in sides:
            wanted.add(traded(symbol)[1])
        self.follow(((account.exchange, account.account, currency) for currency in sorted(wanted)), now)

    def follow(self, held: Iterable[tuple[str, str, str]], now: datetime) -> None:
        """Have the books come by which these are valued: (exchange, account, currency) each."""
        for one in held:
            found = self.path(*one)
            if found is not None:
                for symbol in found[1]:
                    self._out.watch(found[0], symbol, now)

    def path(self, exchange: str, name: str, currency: str) -> tuple[Account, list[str]] | None:
        """Return the nearest account whose markets lead to the reporting currency, and which they are."""
        own = self._work.accounts.get((exchange, name))
        if is_contract(currency):
            return None if own is None or not _listed(own, currency) else (own, [currency])
        for account in () if own is None else self._nearest(own):
            symbols = valuation.path(currency, self.currency, partial(_listed, account))
            if symbols:
                return account, symbols
        return None

    def price(self, currency: str, account: Account, now: datetime) -> Decimal | None:
        """Return what one unit is worth now; None where no book at hand leads to the reporting currency."""
        if currency == self.currency:
            return valuation.ONE
        nearest = self._nearest(account)

        def mid(symbol: str) -> Decimal | None:
            return next((m for a in nearest if (m := _mid(a, symbol, now)) is not None), None)

        return valuation.worth(currency, self.currency, mid)

    def positions(self) -> list[Position]:
        """Return every position that ever was, whoever's, in the reporting currency."""
        return [p for p in self._books.positions() if p.currency == self.currency]

    def contracts_held(self, account: Account) -> list[str]:
        """Return the contracts in which bots hold positions on an account."""
        return sorted(
            {
                p.asset
                for p in self._books.positions()
                if (p.exchange, p.account) == account.key and p.quantity and is_contract(p.asset)
            }
        )

    def prices(self, positions: Iterable[Position], now: datetime) -> dict[tuple[str, ...], Decimal | None]:
        """Return key -> price now of each; None where nothing is held or no book at hand leads there."""
        known: dict[tuple[str, str, str], Decimal | None] = {}
        found: dict[tuple[str, ...], Decimal | None] = {}
        for p in positions:
            place = (p.exchange, p.account, p.asset)
            # An account may be gone from the settings, and its positions stay.
            at = self._work.accounts.get(place[:2])
            if p.quantity and at is not None and place not in known:
                known[place] = self._worth(p, at, now)
            found[p.key] = known.get(place) if p.quantity else None
        return found

    def _worth(self, position: Position, account: Account, now: datetime) -> Decimal | None:
        """Return the price of a position, in its currency: of a contract the middle of its own book."""
        if is_contract(position.asset):
            return _mid(account, position.asset, now)
        return self.price(position.asset, account, now)

    def _contract(self, position: Position, now: datetime) -> Contract:
        at = self._work.accounts.get((position.exchange, position.account))
        return Contract(
            position=position,
            mid=None if at is None else _mid(at, position.asset, now),
            rate=None if at is None else self.price(position.currency, at, now),
        )

    def may_be_priced(self, exchange: str, name: str, currency: str) -> bool:
        """Say whether a price may come: a market leads there, or the markets are not known yet."""
        account = self._work.accounts.get((exchange, name))
        if account is None:
            return False
        return not account.markets or self.path(exchange, name, currency) is not None

    def appraise(
        self, user: str, exchange: str | None, account: str | None, bot: str | None, now: datetime
    ) -> Appraisal:
        """Price a user's positions and everything the accounts hold."""
        places = [
            a
            for key, a in sorted(self._work.accounts.items())
            if exchange in (None, key[0]) and account in (None, key[1])
        ]
        prices: dict[tuple[str, str, str], Decimal | None] = {}

        def price(at: Account, asset: str) -> Decimal | None:
            place = (*at.key, asset)
            if place not in prices:
                prices[place] = self.price(asset, at, now)
            return prices[place]

        wanted = [
            p
            for p in self._books.positions()
            if p.user == user
            and bot in (None, p.bot)
            and exchange in (None, p.exchange)
            and account in (None, p.account)
        ]
        found = self.prices(wanted, now)
        return Appraisal(
            currency=self.currency,
            at=now,
            positions=tuple((p, found[p.key]) for p in wanted if not is_contract(p.asset)),
            contracts=tuple(self._contract(p, now) for p in wanted if is_contract(p.asset)),
            rates={
                (*a.key, currency): price(a, currency) for a in places for currency in a.margin_currencies()
            },
            holdings=tuple(
                Holding(exchange=a.exchange, account=a.account, asset=c, quantity=total, price=price(a, c))
                for a in places
                for c, total in sorted(a.holdings.total.items())
                if total
            ),
            read_at={a.key: a.holdings.as_of for a in places},
        )

    def _nearest(self, account: Account) -> list[Account]:
        """Return this account, the others of its exchange, and then all others."""
        return sorted(
            self._work.accounts.values(),
            key=lambda a: (a is not account, a.exchange != account.exchange, a.key),
        )


def _mid(account: Account, symbol: str, now: datetime) -> Decimal | None:
    book = account.books.get(symbol)
    if book is None or book.unfit or not book.bids or not book.asks:
        return None
    if (now - book.at).total_seconds() > BOOK_AGE_S:
        return None
    return (book.bids[0][0] + book.asks[0][0]) / 2


def _listed(account: Account, symbol: str) -> bool:
    market = account.markets.get(symbol)
    return market is not None and market.active
