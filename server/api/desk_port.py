"""What the API needs of the desk, and nothing more.

All calls block, may come from any thread, and raise `DeskRefused` for a refusal. Whose orders and queries are
seen is decided by `user`, which the API takes from the signature and never from the request's words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from ems.core.messages import Command, NotificationCommand, Problem, Ticket
from ems.core.records import Fill, HistoryEntry, Order, Query
from ems.store import OrderFilter


class QueryState(Protocol):
    """A query with everything that came of it."""

    @property
    def query(self) -> Query: ...

    @property
    def orders(self) -> Sequence[Order]: ...

    @property
    def fills(self) -> Mapping[str, Sequence[Fill]]: ...  # order id -> fills

    @property
    def progress(self) -> Mapping[str, object] | None: ...

    @property
    def duplicate(self) -> bool: ...


class ListPage(Protocol):
    """Rows of an exchange's own list, newest first, and what must be known about them."""

    @property
    def rows(self) -> Sequence[Any]: ...

    @property
    def next_cursor(self) -> str | None: ...

    @property
    def since(self) -> datetime: ...

    @property
    def until(self) -> datetime: ...

    @property
    def complete(self) -> bool: ...

    @property
    def notes(self) -> Sequence[str]: ...


class Desk(Protocol):
    """The one door for callers."""

    def submit(self, ticket: Ticket, command: Command) -> QueryState: ...

    def refuse(
        self, ticket: Ticket, verb: str, exchange: str | None, parameters: dict[str, object], problem: Problem
    ) -> QueryState | None:
        """Record a request that could not be read, and send its e-mail. Never raises; None: not recorded."""

    def wait(self, user: str, query_id: str, after_seq: int, timeout_s: float) -> QueryState | None:
        """Return the query as soon as its seq exceeds `after_seq`, or as it is after `timeout_s`."""

    def order(
        self, user: str, order_id: str
    ) -> tuple[Order, Sequence[Fill], Sequence[HistoryEntry]] | None: ...

    def past_orders(
        self, *, user: str, bot: str, wanted: OrderFilter
    ) -> tuple[Sequence[Order], Mapping[str, Sequence[Fill]], str | None]: ...

    def order_stats(self, *, user: str, bot: str, wanted: OrderFilter) -> Mapping[str, object]: ...

    def exchange_stats(
        self, *, user: str, bot: str, everyone: bool, account: str, wanted: OrderFilter
    ) -> Mapping[str, object]:
        """Count an account's orders as the exchange lists them."""

    def balances(self, *, user: str, bot: str, exchange: str, account: str) -> Mapping[str, object]: ...

    def positions(
        self, *, user: str, bot: str, exchange: str | None, account: str | None
    ) -> Mapping[str, object]:
        """Return what accounts hold in contracts, as their exchanges tell it."""

    def funding(
        self,
        *,
        user: str,
        bot: str,
        exchange: str,
        account: str,
        symbol: str | None,
        since: datetime | None,
        until: datetime | None,
    ) -> Mapping[str, object]:
        """Return what an account's positions in contracts received and paid."""

    def exchange_orders(
        self,
        *,
        user: str,
        bot: str,
        everyone: bool,
        exchange: str,
        account: str,
        symbol: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> ListPage:
        """List an account's orders as the exchange has them: rows of `ems.store.ListedOrder`."""

    def transfers(
        self,
        *,
        user: str,
        bot: str,
        exchange: str,
        account: str,
        currency: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> ListPage:
        """List what moved in and out of an account: rows of `ems.core.records.Transfer`."""

    def fees(
        self, *, user: str, bot: str, exchange: str, account: str, symbol: str | None
    ) -> Mapping[str, object]: ...

    def costs(
        self,
        *,
        user: str,
        bot: str,
        since: datetime | None,
        until: datetime | None,
        exchange: str | None,
        algo: str | None,
        limit: int,
    ) -> Mapping[str, object]:
        """Report what the user's finished orders have cost; only decimal strings and plain JSON inside."""

    def cost_plot(
        self,
        *,
        user: str,
        bot: str,
        since: datetime | None,
        until: datetime | None,
        exchange: str | None,
        algo: str | None,
        limit: int,
    ) -> bytes:
        """Draw the same report as a PNG."""

    def portfolio(
        self, *, user: str, bot: str, exchange: str | None, account: str | None, of_bot: str | None
    ) -> Mapping[str, object]:
        """Return the user's positions and what the accounts hold, at middle prices of now."""

    def pnl(
        self,
        *,
        user: str,
        bot: str,
        since: datetime | None,
        until: datetime | None,
        by: str,
        of_bot: str | None,
        exchange: str | None,
        account: str | None,
    ) -> Mapping[str, object]:
        """Return what the user's fills of this time have earned."""

    def snapshots(self, *, user: str, bot: str, of_bot: str | None, **asked: Any) -> Mapping[str, object]:
        """Return a page of daily snapshots; `asked` as `ems.store.SnapshotFilter` names it."""

    def slices(self, *, user: str, bot: str, everyone: bool) -> Mapping[str, object]:
        """Return bots' slices, and how each account's come out with what it holds."""

    def limits(self, *, user: str, bot: str, everybody: bool, limit: int) -> Mapping[str, object]:
        """Return the risk controls, their settings in force, and the latest changes."""

    def risk(self, *, user: str, bot: str, everybody: bool) -> Mapping[str, object]:
        """Return what of each counted limit is used and what is left."""

    def halts(self, *, user: str, bot: str, limit: int) -> Mapping[str, object]:
        """Return every halt with its report, those in force first."""

    def health(self) -> Mapping[str, object]: ...

    def not_ready(self) -> Sequence[str]:
        """Say what is missing before the server takes orders, as `what: why`; nothing when it is ready."""

    def mode(self, exchange: str | None = None) -> str:
        """Say "live" or "paper"; without an exchange "live" as soon as any account is live."""


class Notifications(Protocol):
    """Who is told of what; `server.notify.desk` says more. Raises StoreUnavailable."""

    def submit(self, ticket: Ticket, command: NotificationCommand) -> QueryState | Problem: ...

    def rules(self, user: str | None) -> Sequence[Mapping[str, object]]:
        """Return a user's rules; everybody's for None."""

    def messages(self, user: str, *, wait_s: float, **wanted: Any) -> Mapping[str, object]:
        """Return a page of a user's messages; wait for one where there is none. Raises ValueError for a
        cursor that is none of ours."""

    def health(self) -> Mapping[str, object]: ...
