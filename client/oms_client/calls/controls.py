"""What keeps trading within bounds: halts, risk limits, bots' slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from ..amounts import Amount, amount_text
from ..answers import HaltReport, Halts, Limits, LimitSet, Query, Resumed, Risk, Slices, SliceSet
from ..arguments import flag
from ..connection import Connection, deadline_in
from ..outcomes import is_over, result_of


class ControlCalls(Connection):
    """Halts, limits and slices."""

    def halt(
        self,
        *,
        all: bool = False,
        exchange: str | None = None,
        account: str | None = None,
        user: str | None = None,
        symbol: str | None = None,
        reason: str | None = None,
        everything: bool = False,
        wait: bool = True,
        timeout: float | None = None,
        dry_run: bool = False,
    ) -> HaltReport | Query:
        """Stop trading where all that is named fits; returns when it is proven that nothing is open there.

        An exchange that cannot be reached is asked until it answers: after `timeout` seconds OutcomeUnknown
        is raised, whose `query` says how far it is; the halt holds all the same.
        """
        body = {
            "all": flag("all", all),
            "exchange": exchange,
            "account": account,
            "user": user,
            "symbol": symbol,
            "reason": reason,
            "everything": flag("everything", everything),
            **self._options(None, None, dry_run),
        }
        if not wait:
            return self._write("halt", body, None, lambda query: query, until=None)
        deadline = deadline_in(timeout)
        return self._write("halt", body, None, result_of(HaltReport), until=is_over, deadline=deadline)

    def resume(self, halt_id: str, *, reason: str | None = None, dry_run: bool = False) -> Resumed:
        """Lift a halt; needs the role admin. What it ended stays ended."""
        body = {"halt_id": halt_id, "reason": reason, **self._options(None, None, dry_run)}
        return self._write("resume", body, None, result_of(Resumed), until=is_over)

    def get_halts(self, *, limit: int | None = None) -> Halts:
        """List the halts in force, and after them those that were lifted."""
        return self._ask(Halts, "get_halts", limit=limit, bot=self.bot_name)

    def set_slice(
        self,
        of_bot: str,
        exchange: str,
        amounts: Mapping[str, Amount],
        *,
        account: str | None = None,
        of_user: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> SliceSet:
        """Give a bot a part of an account for its own; with no amounts it has none any more (admin)."""
        body = {
            "of_bot": of_bot,
            "exchange": exchange,
            "amounts": {currency: amount_text(currency, amount) for currency, amount in amounts.items()},
            "account": account,
            "of_user": of_user,
            "reason": reason,
            **self._options(None, None, dry_run),
        }
        return self._write("set_slice", body, None, result_of(SliceSet), until=is_over)

    def get_slices(self) -> Slices:
        """List your bots' slices (everybody's for an admin), and what is left of each account."""
        return self._ask(Slices, "get_slices", bot=self.bot_name)

    def set_limit(
        self,
        setting: str,
        value: Amount | Iterable[str],
        *,
        user: str | None = None,
        of_bot: str | None = None,
        exchange: str | None = None,
        account: str | None = None,
        symbol: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> LimitSet:
        """Set a limit of the risk controls for every order that fits all that is named.

        `value` is in the setting's unit, a list where that is of names, "off", or "default" to take the
        setting back. Anybody may tighten with himself as `user`; everything else needs the role admin.
        """
        body = {
            "setting": setting,
            "value": str(value) if isinstance(value, (str, int, float, Decimal)) else ",".join(value),
            "user": user,
            "of_bot": of_bot,
            "exchange": exchange,
            "account": account,
            "symbol": symbol,
            "reason": reason,
            **self._options(None, None, dry_run),
        }
        return self._write("set_limit", body, None, result_of(LimitSet), until=is_over)

    def get_limits(self, *, limit: int | None = None) -> Limits:
        """List the risk controls with the limits in force, and the latest changes."""
        return self._ask(Limits, "get_limits", limit=limit, bot=self.bot_name)

    def get_risk(self) -> Risk:
        """Say what of each counted limit is used, and what is left."""
        return self._ask(Risk, "get_risk", bot=self.bot_name)
