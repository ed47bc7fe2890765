"""What plans may look at: accounts in scope, their free money, their usable books."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ems.core import errors
from ems.core.fitness import unfit
from ems.core.instrument import Market
from ems.core.messages import BookUpdate, PriceBounds, Problem, QueryBalances, QueryContract
from ems.core.records import Parent
from ems.engine import refusals
from ems.engine.account import Account, Readiness
from ems.engine.figures import sequence
from ems.engine.turn import Out
from ems.engine.work import Work
from ems.routing.chain import HUBS
from ems.routing.plan import Listing

ZERO = Decimal(0)

BOUNDS_AGE_S = 20.0  # prices an exchange took longer ago than this say nothing of those it takes now
BALANCE_AGE_S = 2.0  # a balance asked for within this is fresh enough to refuse on
ASKED_S = 2.0  # a question of this age may have been lost; a younger one is not asked again
DARK_S = 60.0  # a book that did not come when it was waited for is not waited for again this long

Key = tuple[str, str]  # (exchange, account)


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What must be looked at before the command can be judged."""

    balances: frozenset[Key] = frozenset()
    books: frozenset[tuple[str, str, str]] = frozenset()  # (exchange, account, symbol)
    contracts: frozenset[tuple[str, str, str]] = frozenset()  # (exchange, account, symbol)
    days: frozenset[tuple[str, str, str]] = frozenset()  # markets whose 24 hours are being read: the same
    settled: frozenset[str] = frozenset()  # ids of orders whose end must be proven


class Sight:
    """Looks at accounts; asks for what is missing."""

    def __init__(self, out: Out, work: Work):
        self._out = out
        self._work = work

    def scope(self, exchange: str, account: str) -> tuple[list[Account], dict[str, str]] | Problem:
        """Return the accounts a command is about and why others are left out."""
        left_out: dict[str, str] = {}
        if exchange == "all":
            accounts = [a for (_, name), a in sorted(self._work.accounts.items()) if name == account]
            for a in accounts:
                halt = self._work.halted(*a.key)
                if halt is not None:
                    left_out[a.exchange] = refusals.halted(halt).message
                elif a.readiness is not Readiness.READY:
                    left_out[a.exchange] = f"not ready to trade: {a.trouble or a.readiness}"
            ready = [a for a in accounts if a.exchange not in left_out]
            if not accounts:
                return self._work.no_account("all", account)
            if not ready:
                whys = "; ".join(f"{name}: {why}" for name, why in left_out.items())
                return errors.problem(errors.EXCHANGE_UNAVAILABLE, f"no exchange is ready to trade: {whys}")
            accounts = ready
        else:
            accounts = []
            for name in exchange.split(","):
                one = self._work.accounts.get((name, account))
                if one is None:
                    return self._work.no_account(name, account)
                if one.readiness is not Readiness.READY:
                    return refusals.not_ready(one)
                accounts.append(one)
        if len({a.mode for a in accounts}) > 1:
            modes = ", ".join(f"{a.exchange} ({a.mode})" for a in accounts)
            return errors.problem(
                errors.REQUEST_FIELD_INVALID,
                f"exchange: live and paper accounts cannot be planned together: {modes}",
                hint="Name the exchanges of one mode.",
                details={"field": "exchange", "value": exchange},
            )
        return accounts, left_out

    def accounts_of(self, parent: Parent) -> list[Account]:
        keys = [tuple(str(part) for part in sequence(key)) for key in sequence(parent.goal["accounts"])]
        return [a for key in keys if (a := self._work.accounts.get((key[0], key[1]))) is not None]

    def available(self, account: Account, currency: str) -> Decimal:
        claimed = self._work.claims(account).get(currency, ZERO)
        return max(account.holdings.usable(currency) - claimed, ZERO)

    def missing(
        self, accounts: Iterable[Account], symbols: Mapping[Key, Collection[str]], now: datetime
    ) -> frozenset[tuple[str, str, str]]:
        """Return the books that are needed, not at hand, and worth waiting for."""
        missing = set()
        for account in accounts:
            for symbol in symbols.get(account.key, ()):
                market = account.markets[symbol]
                dark = account.dark.get(symbol)
                if dark is not None and (now - dark).total_seconds() < DARK_S:
                    self._out.watch(account, symbol, now)
                    continue
                if not market.active or self._work.halted(*account.key, symbol):
                    continue
                if not usable(account.books.get(symbol), now):
                    missing.add((*account.key, symbol))
        return frozenset(missing)

    def mark_dark(self, missing: Iterable[tuple[str, str, str]], now: datetime) -> None:
        for exchange, account, symbol in missing:
            self._work.accounts[exchange, account].dark[symbol] = now

    def listings(
        self,
        accounts: Iterable[Account],
        symbols: Mapping[Key, Collection[str]],
        now: datetime,
        *,
        halted: bool = False,
    ) -> list[Listing]:
        """Return the markets with usable books; with `halted` also those that are not trading, for their
        prices."""
        found = []
        for account in accounts:
            for symbol in sorted(symbols.get(account.key, ())):
                market, book = account.markets[symbol], account.books.get(symbol)
                if book is None:
                    continue
                if self._work.halted(*account.key, symbol):
                    market = replace(market, active=False)
                if usable(book, now) if market.active else halted and not book.unfit:
                    found.append(listing(account, market, book))
                    self._out.watch(account, symbol, now)
        return found

    def unfit(
        self, accounts: Iterable[Account], symbols: Mapping[Key, Collection[str]], now: datetime
    ) -> dict[str, str]:
        """Return the markets whose books have come and may not be traded on, with the reason."""
        return {
            f"{account.exchange}/{account.account} {symbol}": why
            for account in accounts
            for symbol in sorted(symbols.get(account.key, ()))
            if account.markets[symbol].active
            and (book := account.books.get(symbol)) is not None
            and (why := unfit(book, now))
        }

    def look(self, need: Need, now: datetime) -> None:
        """Ask for what a plan needs."""
        for key in sorted(need.balances):
            self._out.send(self._work.accounts[key], QueryBalances())
        for exchange, account, symbol in sorted(need.contracts):
            self._ask_contract(self._work.accounts[exchange, account], symbol, now)
        for exchange, account, symbol in sorted(need.books):
            self._out.watch(self._work.accounts[exchange, account], symbol, now)

    def _ask_contract(self, account: Account, symbol: str, now: datetime) -> None:
        """Ask how a contract stands, once for all who want to know just now."""
        asked = account.contracts_asked.get(symbol)
        if asked is None or (now - asked).total_seconds() >= ASKED_S:
            account.contracts_asked[symbol] = now
            self._out.send(account, QueryContract(symbol=symbol))

    def short_of(self, account: Account, currency: str, wanted: Decimal) -> Problem | None:
        if wanted <= self.available(account, currency):
            return None
        return self.short([account], currency, wanted)

    def short(self, accounts: Sequence[Account], currency: str, wanted: Decimal) -> Problem:
        usable_here = sum((a.holdings.usable(currency) for a in accounts), ZERO)
        claimed = sum((self._work.claims(a).get(currency, ZERO) for a in accounts), ZERO)
        return refusals.short_of(accounts, currency, wanted, usable_here, claimed)


def bounds_of(account: Account, symbol: str, now: datetime) -> PriceBounds:
    """Return the prices an exchange takes in a market, as far as that was read a moment ago."""
    known = account.bounds.get(symbol)
    if known is None or known.query_sent_at is None:
        return PriceBounds(symbol=symbol)
    old = (now - known.query_sent_at).total_seconds() > BOUNDS_AGE_S
    return PriceBounds(symbol=symbol) if old else known


def usable(book: BookUpdate | None, now: datetime) -> bool:
    """Say whether a book may be traded on: both sides, not crossed, fresh, nothing against it."""
    return not unfit(book, now)


def fresh(account: Account, now: datetime) -> bool:
    """Say whether the balances are fresh enough to refuse on."""
    as_of = account.holdings.as_of
    return as_of is not None and (now - as_of).total_seconds() <= BALANCE_AGE_S


def candidates(
    account: Account, currencies: Collection[str], start: str | None = None, end: str | None = None
) -> set[str]:
    """Return the markets worth a book: between the currencies and the hubs of the venue.

    With `start` and `end` only those on some walk of up to three markets from the one to the other.
    """
    inside = set(currencies) | set(HUBS)
    found = {
        m.symbol: (m.base, m.quote)
        for m in account.spot.values()
        if m.base in inside
        and m.quote in inside
        and (m.base in currencies or m.quote in currencies or m.active)
    }
    if start is None or end is None:
        return set(found)
    near = _near(found.values())
    first, last = near.get(start, set()) | {start}, near.get(end, set()) | {end}
    if not first & last:  # three markets apart: each walk is a first one, one between these sides, a last one
        ends = {start: first, end: last}
        return {
            symbol
            for symbol, (base, quote) in found.items()
            if any(here in ends and there in ends[here] for here, there in ((base, quote), (quote, base)))
            or (base in first and quote in last)
            or (quote in first and base in last)
        }
    return {
        symbol
        for symbol, (base, quote) in found.items()
        if (base in first and quote in last and end != base and start != quote)
        or (quote in first and base in last and end != quote and start != base)
    }


def _near(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Return of each currency those it is traded against."""
    near: dict[str, set[str]] = {}
    for base, quote in pairs:
        near.setdefault(base, set()).add(quote)
        near.setdefault(quote, set()).add(base)
    return near


def listing(account: Account, market: Market, book: BookUpdate) -> Listing:
    return Listing(
        exchange=account.exchange,
        account=account.account,
        market=market,
        bids=book.bids,
        asks=book.asks,
        at=book.at,
    )


def seen(listings: Iterable[Listing], account: Account) -> list[Market]:
    return [x.market for x in listings if (x.exchange, x.account) == account.key]


def ages(
    listings: Iterable[Listing], now: datetime, wanted: Collection[tuple[str, str]] | None = None
) -> dict[str, str]:
    return {
        f"{x.exchange} {x.market.symbol}": f"{max((now - x.at).total_seconds(), 0):.2f}"
        for x in listings
        if wanted is None or (x.exchange, x.market.symbol) in wanted
    }
