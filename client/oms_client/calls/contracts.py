"""Perpetual contracts: what is held in them, and at which leverage."""

from __future__ import annotations

from ..amounts import Amount, Time, amount_text, one_exchange, time_text
from ..answers import Query
from ..connection import Connection
from ..contracts import Funding, LeverageSet, Positions
from ..outcomes import result_of


class ContractCalls(Connection):
    """Positions in contracts, and their leverage."""

    def get_positions(self, exchange: str | None = None, *, account: str | None = None) -> Positions:
        """Ask what accounts hold in perpetual contracts: net positions, as the exchanges tell them.

        Without `exchange` all accounts are asked; one that cannot be read has a `problem` in `accounts`.
        """
        found: Positions = self._ask(
            Positions, "get_positions", exchange=exchange, account=account, bot=self.bot_name
        )
        return found

    def get_funding(
        self,
        exchange: str,
        *,
        symbol: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        account: str | None = None,
    ) -> Funding:
        """Ask what an account's positions received and paid as funding; of seven days unless `since` says."""
        return self._ask(
            Funding,
            "get_funding",
            exchange=exchange,
            symbol=symbol,
            since=time_text("since", since),
            until=time_text("until", until),
            account=account,
            bot=self.bot_name,
        )

    def set_leverage(
        self,
        exchange: str,
        symbol: str,
        leverage: Amount,
        *,
        account: str | None = None,
        idempotency_key: str | None = None,
        wait: bool = True,
        dry_run: bool = False,
    ) -> LeverageSet | Query:
        """Choose the leverage of a contract on an account; returns it as read back from the exchange.

        It holds for everybody who trades this contract on the account. More than the limit max_leverage is
        refused.
        """
        body = {
            "exchange": one_exchange(exchange),
            "symbol": symbol,
            "leverage": amount_text("leverage", leverage),
            "account": account,
            **self._options(None, None, dry_run),
        }
        return self._work("set_leverage", body, idempotency_key, result_of(LeverageSet), wait)
