"""Perpetual contracts: what is held in them."""

from __future__ import annotations

from ..connection import Connection
from ..contracts import Positions


class ContractCalls(Connection):
    """Positions in contracts."""

    def get_positions(self, exchange: str | None = None, *, account: str | None = None) -> Positions:
        """Ask what accounts hold in perpetual contracts: net positions, as the exchanges tell them.

        Without `exchange` all accounts are asked; one that cannot be read has a `problem` in `accounts`.
        """
        found: Positions = self._ask(
            Positions, "get_positions", exchange=exchange, account=account, bot=self.bot_name
        )
        return found
