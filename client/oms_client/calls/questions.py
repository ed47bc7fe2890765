"""What can be asked: balances, orders, transfers, fees, portfolio, P&L, costs, health."""

from __future__ import annotations

from typing import Any

from ..amounts import Time, time_text
from ..answers import (
    Balances,
    Costs,
    ExchangeOrders,
    Fees,
    Health,
    Order,
    OrderPage,
    Stats,
    Transfers,
)
from ..connection import Connection
from ..errors import OMSError
from ..portfolio import Pnl, Portfolio, SnapshotPage


class QuestionCalls(Connection):
    """Questions, which change nothing."""

    def get_balances(self, exchange: str, *, account: str | None = None) -> Balances:
        """Ask what an account holds: free, used and total of every currency."""
        return self._ask(Balances, "get_balances", exchange=exchange, account=account, bot=self.bot_name)

    def get_past_orders(
        self,
        exchange: str | None = None,
        *,
        symbol: str | None = None,
        bot: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> OrderPage:
        """List the user's orders, newest first; `bot` keeps only those one bot asked for."""
        return self._ask(
            OrderPage,
            "get_past_orders",
            exchange=exchange,
            symbol=symbol,
            of_bot=bot,
            since=time_text("since", since),
            until=time_text("until", until),
            limit=limit,
            cursor=cursor,
            bot=self.bot_name,
        )

    def get_exchange_orders(
        self,
        exchange: str,
        *,
        symbol: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        account: str | None = None,
    ) -> ExchangeOrders:
        """List an account's orders as the exchange itself does, also those placed by hand; a week unless
        `since` says otherwise."""
        return self._ask(
            ExchangeOrders,
            "get_exchange_orders",
            exchange=exchange,
            symbol=symbol,
            since=time_text("since", since),
            until=time_text("until", until),
            limit=limit,
            cursor=cursor,
            account=account,
            bot=self.bot_name,
        )

    def get_withdrawal_deposit_history(
        self,
        exchange: str,
        *,
        currency: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        account: str | None = None,
    ) -> Transfers:
        """List what moved in and out of an account, of four weeks unless `since` says otherwise; nothing in
        this API can move anything out."""
        return self._ask(
            Transfers,
            "get_withdrawal_deposit_history",
            exchange=exchange,
            currency=currency,
            since=time_text("since", since),
            until=time_text("until", until),
            limit=limit,
            cursor=cursor,
            account=account,
            bot=self.bot_name,
        )

    def get_order_stats(
        self,
        exchange: str | None = None,
        *,
        symbol: str | None = None,
        bot: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        source: str | None = None,
        account: str | None = None,
    ) -> Stats:
        """Count the user's orders and add up what they traded; with source="exchange" all that the exchange
        lists."""
        return self._ask(
            Stats,
            "get_order_stats",
            exchange=exchange,
            symbol=symbol,
            of_bot=bot,
            since=time_text("since", since),
            until=time_text("until", until),
            source=source,
            account=account,
            bot=self.bot_name,
        )

    def get_fees(self, exchange: str, *, symbol: str | None = None, account: str | None = None) -> Fees:
        """Ask what trading costs this account, as fractions."""
        return self._ask(
            Fees, "get_fees", exchange=exchange, symbol=symbol, account=account, bot=self.bot_name
        )

    def get_portfolio(
        self, exchange: str | None = None, *, account: str | None = None, bot: str | None = None
    ) -> Portfolio:
        """Ask what your bots hold and earned, and what the accounts are worth; `bot` keeps only one's."""
        return self._ask(
            Portfolio,
            "get_portfolio",
            exchange=exchange,
            account=account,
            of_bot=bot,
            bot=self.bot_name,
        )

    def get_pnl(
        self,
        *,
        by: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        bot: str | None = None,
        exchange: str | None = None,
        account: str | None = None,
    ) -> Pnl:
        """Ask what your fills earned, by "day" (unless said), "bot", "exchange", "account" or "symbol"."""
        return self._ask(
            Pnl,
            "get_pnl",
            by=by,
            since=time_text("since", since),
            until=time_text("until", until),
            of_bot=bot,
            exchange=exchange,
            account=account,
            bot=self.bot_name,
        )

    def get_snapshots(
        self,
        *,
        since: Time | None = None,
        until: Time | None = None,
        bot: str | None = None,
        exchange: str | None = None,
        account: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SnapshotPage:
        """Ask how your positions stood when each day began, and what each day came to, newest first."""
        return self._ask(
            SnapshotPage,
            "get_snapshots",
            since=time_text("since", since),
            until=time_text("until", until),
            of_bot=bot,
            exchange=exchange,
            account=account,
            limit=limit,
            cursor=cursor,
            bot=self.bot_name,
        )

    def tca(
        self,
        *,
        since: Time | None = None,
        until: Time | None = None,
        exchange: str | None = None,
        algo: str | None = None,
        limit: int | None = None,
    ) -> Costs:
        """Ask what trading has cost: by order, exchange, algorithm, pair, size and spread."""
        return self._ask(Costs, "tca", **self._costs(since, until, exchange, algo, limit))

    def tca_plot(
        self,
        *,
        since: Time | None = None,
        until: Time | None = None,
        exchange: str | None = None,
        algo: str | None = None,
        limit: int | None = None,
    ) -> bytes:
        """Ask for the same report as a picture (PNG)."""
        reply = self._transport.get("/api/tca.png", self._costs(since, until, exchange, algo, limit))
        if not isinstance(reply.data, bytes):
            raise OMSError("the server sent no picture", request_id=reply.request_id)
        return reply.data

    def _costs(
        self,
        since: Time | None,
        until: Time | None,
        exchange: str | None,
        algo: str | None,
        limit: int | None,
    ) -> dict[str, Any]:
        return {
            "since": time_text("since", since),
            "until": time_text("until", until),
            "exchange": exchange,
            "algo": algo,
            "limit": limit,
            "bot": self.bot_name,
        }

    def check_health(self) -> Health:
        """Ask how the server and every exchange account are."""
        return self._ask(Health, "check_health")

    def get_order(self, order_id: str) -> Order:
        """Look at one order with its fills."""
        return self._ask(Order, "get_order", order_id=order_id)
