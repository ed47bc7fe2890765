"""One exchange account as the engine sees it: its rules, books, holdings, and whether it may trade."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ems.algos.signals import Tape
from ems.core.child import Patience
from ems.core.instrument import HAIRCUTS, Market
from ems.core.messages import BookUpdate, Side
from ems.core.portfolio import Holdings

BLIND_POLL_S = 2.0  # RELIABILITY.md R11
CLEAN_ORDERS = 50  # this many orders without a refusal for funds take one haircut step back


class Readiness(StrEnum):
    STARTING = "starting"  # no markets or no contact yet
    RECONCILING = "reconciling"  # in contact; open orders and balances asked for
    READY = "ready"


class Account:
    """Mutable, owned by the engine alone."""

    def __init__(self, exchange: str, account: str, *, mode: str, patience: Patience, id_style: str):
        self.exchange = exchange
        self.account = account
        self.mode = mode
        self.patience = patience
        self.id_style = id_style
        self.readiness = Readiness.STARTING
        self.streaming = False  # the private stream is up
        self.awaits: set[str] = set()  # what a reconciliation still lacks: "open_orders", "balances"
        self.since: datetime | None = None  # when contact was made; older answers do not count
        self.ready_at: datetime | None = None  # when it last became ready
        self.trouble = ""  # why it is not ready, for people
        self.markets: dict[str, Market] = {}  # symbol -> market
        self.books: dict[str, BookUpdate] = {}  # symbol -> latest book
        self.watched: dict[str, datetime] = {}  # symbol -> when a book was last needed
        self.dark: dict[str, datetime] = {}  # symbol -> when its book was last waited for in vain
        self.tapes: dict[str, Tape] = {}  # symbol -> what public data say of it
        self.holdings = Holdings()
        self.haircut_step: dict[tuple[str, Side], int] = {}  # (currency, side) -> index into HAIRCUTS
        self.clean_orders: dict[tuple[str, Side], int] = {}  # (currency, side) -> orders since the last step

    @property
    def patience_now(self) -> Patience:
        """Return how often to look: without a stream, nobody else tells us what happens to a live order."""
        return self.patience if self.streaming else replace(self.patience, poll_s=BLIND_POLL_S)

    @property
    def key(self) -> tuple[str, str]:
        return self.exchange, self.account

    def tape(self, symbol: str) -> Tape:
        """Return the estimates of a market; without data they are the defaults."""
        return self.tapes.setdefault(symbol, Tape())

    def currencies(self) -> set[str]:
        return {c for market in self.markets.values() for c in (market.base, market.quote)}

    def haircut(self, currency: str, side: Side) -> Decimal:
        return HAIRCUTS[self.haircut_step.get((currency, side), 0)]

    def funds_refused(self, currency: str, side: Side) -> None:
        """Learn that this venue wants more left over than we thought."""
        step = self.haircut_step.get((currency, side), 0)
        self.haircut_step[currency, side] = min(step + 1, len(HAIRCUTS) - 1)
        self.clean_orders[currency, side] = 0

    def order_was_clean(self, currency: str, side: Side) -> None:
        clean = self.clean_orders.get((currency, side), 0) + 1
        if clean >= CLEAN_ORDERS:
            step = self.haircut_step.get((currency, side), 0)
            self.haircut_step[currency, side] = max(step - 1, 0)
            clean = 0
        self.clean_orders[currency, side] = clean
