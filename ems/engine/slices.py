"""Bots' slices: set, moved by fills, kept apart. The rule is `ems.core.slices`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ems.core import errors
from ems.core.codec import encode_command, plain, verb_of
from ems.core.messages import Problem, SetSlice, Submit
from ems.core.records import Fill, Query, QueryStatus, Slice, SliceChange
from ems.core.slices import moved, sums
from ems.engine.account import Account
from ems.engine.portfolio import Portfolio
from ems.engine.queries import Queries
from ems.engine.turn import Out
from ems.engine.work import Work

ZERO = Decimal(0)


class Slices:
    """Sets slices, and moves them by what their bots trade."""

    def __init__(self, out: Out, work: Work, queries: Queries, portfolio: Portfolio):
        self._portfolio = portfolio
        self._out = out
        self._work = work
        self._queries = queries

    def restore(self, slices: Iterable[Slice]) -> None:
        """Take the slices up where the store left them."""
        self._work.slices = {one.key: one for one in slices if one.ended_at is None}

    def booked(self, fill: Fill, now: datetime) -> None:
        """Move the slice of the bot that traded, if it has one there."""
        one = self._work.slices.get((fill.user, fill.bot, fill.exchange, fill.account))
        if one is not None:
            self._keep(moved(one, fill, now))

    def submit(self, event: Submit, command: SetSlice, now: datetime) -> Query | Problem:
        """Set, change or end a slice. What the others' slices and work need stays theirs."""
        account = self._work.accounts.get((command.exchange, command.account))
        if account is None:
            return self._work.no_account(command.exchange, command.account)
        if account.holdings.as_of is None:
            return errors.problem(
                errors.EXCHANGE_UNAVAILABLE, f"the balances of {command.exchange} were never read yet"
            )
        ticket = replace(event.ticket, record_in_db=True)
        user = command.of_user or ticket.user
        refused = self._refused(account, user, command)
        if refused is not None:
            return refused
        query = self._queries.make(
            event.query_id,
            ticket,
            verb_of(command),
            account.exchange,
            account.mode,
            encode_command(command),
            now,
        )
        one = Slice(
            user=user,
            bot=command.of_bot,
            exchange=account.exchange,
            account=account.account,
            amounts={c: a for c, a in command.amounts.items() if a},
            set_by=ticket.user,
            set_at=now,
            updated_at=now,
            ended_at=None if command.amounts else now,
        )
        result: dict[str, object] = {
            "user": user,
            "of_bot": one.bot,
            "exchange": one.exchange,
            "account": one.account,
            "amounts": {c: plain(a) for c, a in one.amounts.items()},
            "in_force": one.ended_at is None,
        }
        if ticket.dry_run:
            result["dry_run"] = True
            return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)
        if ticket.nonce is not None:
            self._out.record(ticket.nonce)
        self._queries.save(query)
        change = SliceChange(
            change_id=event.query_id,
            user=user,
            bot=one.bot,
            exchange=one.exchange,
            account=one.account,
            amounts=one.amounts,
            in_force=one.ended_at is None,
            reason=command.reason or "",
            set_by=ticket.user,
            set_at=now,
            booking=self._portfolio.booking,
        )
        self._out.record(change)
        self._portfolio.slice(change)
        self._keep(one)
        self._queries.finish(query, QueryStatus.DONE, result, None, now)
        return self._work.queries[event.query_id]

    def balances(
        self, user: str, bot: str, exchange: str, account: str
    ) -> dict[str, dict[str, Decimal]] | None:
        """Return currency -> {"free", "used", "total"} of a bot's slice; None where it has none."""
        one = self._work.slices.get((user, bot, exchange, account))
        if one is None:
            return None
        claimed = self._work.claims_of(self._work.accounts[exchange, account], user, bot)
        return {
            currency: {
                "free": max(total - claimed.get(currency, ZERO), ZERO),
                "used": claimed.get(currency, ZERO),
                "total": total,
            }
            for currency, total in one.amounts.items()
        }

    def view(self, account: Account) -> dict[str, object]:
        """Show what an account's slices come to, for health."""
        slices = self._work.slices_at(account)
        found = sums(slices, account.holdings.total)
        return {
            "bots": len(slices),
            "missing": {c: plain(a) for c, a in found.missing.items()} if account.holdings.as_of else {},
        }

    def listed(self, user: str | None) -> dict[str, object]:
        """Show slices, of one user or of all, and how each account's come out with what it holds."""
        rows: list[dict[str, object]] = []
        accounts: list[dict[str, object]] = []
        for _, account in sorted(self._work.accounts.items()):
            slices = self._work.slices_at(account)
            for one in slices:
                if user not in (None, one.user):
                    continue
                claimed = self._work.claims_of(account, one.user, one.bot)
                rows.append(
                    {
                        "user": one.user,
                        "of_bot": one.bot,
                        "exchange": one.exchange,
                        "account": one.account,
                        "amounts": dict(one.amounts),
                        "claimed": {c: a for c, a in sorted(claimed.items()) if a},
                        "set_by": one.set_by,
                        "set_at": one.set_at,
                        "updated_at": one.updated_at,
                    }
                )
            if slices:
                found = sums(slices, account.holdings.total)
                accounts.append(
                    {
                        "exchange": account.exchange,
                        "account": account.account,
                        "read_at": account.holdings.as_of,
                        "sliced": dict(found.sliced),
                        "rest": dict(found.rest),
                        "missing": dict(found.missing),
                    }
                )
        return {"slices": rows, "accounts": accounts}

    def _keep(self, one: Slice) -> None:
        if one.ended_at is None:
            self._work.slices[one.key] = one
        else:
            self._work.slices.pop(one.key, None)
        self._out.record(one)

    def _refused(self, account: Account, user: str, command: SetSlice) -> Problem | None:
        own = self._work.claims_of(account, user, command.of_bot)
        for currency, claimed in sorted(own.items()):
            if command.amounts and claimed > command.amounts.get(currency, ZERO):
                return errors.problem(
                    errors.REQUEST_FIELD_INVALID,
                    f"amounts: work of {command.of_bot} may still spend {plain(claimed)} {currency}",
                    hint="Give it at least that, or cancel the work first.",
                    details={"field": "amounts", "currency": currency, "limit": plain(claimed)},
                )
        # As somebody without a slice would see it, were this one not there.
        before = self._work.slices.pop((user, command.of_bot, *account.key), None)
        try:
            others = self._work.claims(account, (user, command.of_bot))
        finally:
            if before is not None:
                self._work.slices[before.key] = before
        for currency, amount in command.amounts.items():
            free = account.holdings.usable(currency) - others.get(currency, ZERO) + own.get(currency, ZERO)
            if amount > free:
                return errors.problem(
                    errors.FUNDS_INSUFFICIENT,
                    f"amounts: {plain(amount)} {currency} is more than is free and in no other slice: "
                    f"{plain(max(free, ZERO))}",
                    hint="Give less, make another slice smaller, or cancel what holds the rest.",
                    details={
                        "field": "amounts",
                        "currency": currency,
                        "value": plain(amount),
                        "limit": plain(max(free, ZERO)),
                    },
                )
        return None
