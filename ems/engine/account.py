"""One exchange account as the engine sees it: its rules, books, holdings, and whether it may trade."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from ems.algos.signals import Tape
from ems.core.child import Patience
from ems.core.contracts import Move
from ems.core.instrument import HAIRCUTS, Market
from ems.core.messages import BookUpdate, ContractRead, DayRead, PriceBounds, Side
from ems.core.portfolio import Holdings
from ems.core.records import Haircut

BLIND_POLL_S = 2.0  # RELIABILITY.md R11
DAY_KEPT = timedelta(minutes=15)  # what was traded in 24 hours is taken for known this long
CLEAN_ORDERS = 50  # this many orders without a refusal for funds take one haircut step back


class Readiness(StrEnum):
    STARTING = "starting"  # no markets or no contact yet
    RECONCILING = "reconciling"  # in contact; open orders and balances asked for
    READY = "ready"
    BARRED = "barred"  # in contact or not, nothing may be placed


class Account:
    """Mutable, owned by the engine alone."""

    def __init__(
        self,
        exchange: str,
        account: str,
        *,
        mode: str,
        patience: Patience,
        id_style: str,
        internal_matching: bool = False,
        identity: str = "",
        swaps: bool = False,
    ):
        self.exchange = exchange
        self.account = account
        self.mode = mode
        self.identity = identity  # another one: another account, whatever its name
        self.patience = patience
        self.id_style = id_style
        self.readiness = Readiness.STARTING
        self.streaming = False  # the private stream is up
        self.awaits: set[str] = set()  # what a reconciliation still lacks: "open_orders", "balances"
        self.since: datetime | None = None  # when contact was made; older answers do not count
        self.ready_at: datetime | None = None  # when it last became ready
        self.trouble = ""  # why it is not ready, for people
        self.barred = ""  # why nothing may be placed, whatever else is well
        self.markets: dict[str, Market] = {}  # symbol -> market, contracts among them
        self.spot: dict[str, Market] = {}  # the same without contracts: what plans may use
        self.books: dict[str, BookUpdate] = {}  # symbol -> latest book
        self.bounds: dict[str, PriceBounds] = {}  # symbol -> what prices it took when that was last read
        self.watched: dict[str, datetime] = {}  # symbol -> when a book was last needed
        self.dark: dict[str, datetime] = {}  # symbol -> when its book was last waited for in vain
        self.tapes: dict[str, Tape] = {}  # symbol -> what public data say of it
        self.days: dict[str, DayRead] = {}  # symbol -> what was traded there in 24 hours, as last read
        self.days_asked: dict[str, datetime] = {}  # symbol -> when that was asked for
        self.holdings = Holdings()
        self.internal_matching = internal_matching  # orders of different bots meet inside before they go out
        self.swaps = swaps  # perpetual contracts may be traded here
        self.contracts: dict[str, ContractRead] = {}  # symbol -> how the account stood when it was last read
        self.contracts_came: dict[str, datetime] = {}  # symbol -> when that reading came
        # symbol -> fill -> what it moved: those that its last reading did not surely contain
        self.contract_fills: dict[str, dict[tuple[str, str], Move]] = {}
        self.contracts_asked: dict[str, datetime] = {}  # symbol -> when, and no answer yet
        self.contracts_failed: dict[str, str] = {}  # symbol -> why its last reading brought nothing
        self.haircuts: dict[tuple[str, Side], Haircut] = {}  # (currency, side) -> what was learned

    @property
    def patience_now(self) -> Patience:
        """Return how often to look: without a stream, nobody else tells us what happens to a live order."""
        return self.patience if self.streaming else replace(self.patience, poll_s=BLIND_POLL_S)

    def list_markets(self, markets: Iterable[Market]) -> None:
        """Take over what the exchange lists."""
        self.markets = {m.symbol: m for m in markets}
        self.spot = {symbol: m for symbol, m in self.markets.items() if m.contract_size is None}

    def day(self, symbol: str, now: datetime) -> DayRead | None:
        """Return what was traded in a market in 24 hours; None: it was not read lately."""
        day = self.days.get(symbol)
        return None if day is None or now - day.at > DAY_KEPT else day

    @property
    def key(self) -> tuple[str, str]:
        return self.exchange, self.account

    def tape(self, symbol: str) -> Tape:
        """Return the estimates of a market; without data they are the defaults."""
        return self.tapes.setdefault(symbol, Tape())

    def currencies(self) -> set[str]:
        return {c for market in self.spot.values() for c in (market.base, market.quote)}

    def margin_currencies(self) -> set[str]:
        """Return the currencies in which the contracts are settled that may be traded here."""
        if not self.swaps:
            return set()
        return {market.quote for market in self.markets.values() if market.contract_size is not None}

    def haircut(self, currency: str, side: Side) -> Decimal:
        """Return the share of a currency to leave over."""
        return HAIRCUTS[min(self._learned(currency, side).step, len(HAIRCUTS) - 1)]

    def funds_refused(self, currency: str, side: Side) -> Haircut:
        """Learn that this venue wants more left over than we thought; return what to write down."""
        step = self._learned(currency, side).step
        return self._learn(currency, side, min(step + 1, len(HAIRCUTS) - 1), 0)

    def order_was_clean(self, currency: str, side: Side) -> Haircut | None:
        """Count an order that found its funds; return what to write down, if anything."""
        known = self._learned(currency, side)
        if known.step == 0:
            return None
        clean = known.clean_orders + 1
        if clean < CLEAN_ORDERS:
            return self._learn(currency, side, known.step, clean)
        return self._learn(currency, side, known.step - 1, 0)

    def _learned(self, currency: str, side: Side) -> Haircut:
        nothing = Haircut(exchange=self.exchange, account=self.account, currency=currency, side=side, step=0)
        return self.haircuts.get((currency, side), nothing)

    def _learn(self, currency: str, side: Side, step: int, clean_orders: int) -> Haircut:
        learned = replace(self._learned(currency, side), step=step, clean_orders=clean_orders)
        self.haircuts[currency, side] = learned
        return learned
