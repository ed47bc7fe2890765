"""Contracts on accounts: how each stands, what leverage it has, and what an order would make of it.

1. What is known of a contract is the exchange's last answer, moved by the fills since. An order is judged on
   none that is older than a minute: the leverage may be changed by hand. While a fill may or may not be in
   that answer, the exchange is asked again, and orders are judged at the worst.
2. A choice of leverage is on record before it goes out, and believed only when it was read back. Whatever
   the answer was, the exchange is asked until it says; the choice is never sent a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core import errors, risk
from ems.core.codec import encode_command, plain, verb_of
from ems.core.messages import (
    ChooseLeverage,
    ContractRead,
    FillReport,
    LeverageAnswered,
    Problem,
    QueryContract,
    SetLeverage,
    Submit,
)
from ems.core.records import Query, QueryStatus
from ems.core.risk_limits import Scope
from ems.engine.account import Account, Readiness
from ems.engine.queries import Queries
from ems.engine.refusals import not_ready, symbol_unknown
from ems.engine.risk import Risk
from ems.engine.standing import believed, booked, known_now, swaps_off
from ems.engine.turn import Out
from ems.engine.work import Work

ZERO = Decimal(0)
LOOK_AGAIN = timedelta(seconds=2)
GIVE_UP = timedelta(seconds=60)  # until then the exchange is asked what became of a choice


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A choice of leverage that went out, or may have."""

    place: tuple[str, str, str]  # (exchange, account, symbol)
    leverage: Decimal
    since: datetime  # only what is read after it counts
    until: datetime


class Contracts:
    """Chooses leverage; keeps what exchanges say of contracts."""

    def __init__(self, out: Out, work: Work, queries: Queries, risk: Risk):
        self._out = out
        self._work = work
        self._queries = queries
        self._risk = risk
        self._choices: dict[str, Choice] = {}  # query id -> choice

    # --- Choosing a leverage ------------------------------------------------------------------------------

    def submit(self, event: Submit, command: SetLeverage, now: datetime) -> Query | Problem:
        """Choose a leverage, where that is no more than is allowed."""
        account = self._work.accounts.get((command.exchange, command.account))
        if account is None:
            return self._work.no_account(command.exchange, command.account)
        refused = self._refused(account, command, event)
        if refused is not None:
            return refused
        ticket = replace(event.ticket, record_in_db=True)
        query = self._queries.make(
            event.query_id,
            ticket,
            verb_of(command),
            account.exchange,
            account.mode,
            encode_command(command),
            now,
        )
        if ticket.dry_run:
            result = {**_shown(command), "leverage": None, "dry_run": True}
            return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)
        if ticket.nonce is not None:
            self._out.record(ticket.nonce)
        self._queries.save(query)
        self._choices[query.query_id] = Choice(
            place=(*account.key, command.symbol),
            leverage=command.leverage,
            since=now + GIVE_UP,  # nothing counts before it has been answered
            until=now + GIVE_UP,
        )
        choice = ChooseLeverage(query_id=query.query_id, symbol=command.symbol, leverage=command.leverage)
        self._out.send(account, choice)
        return query

    def _refused(self, account: Account, command: SetLeverage, event: Submit) -> Problem | None:
        if not account.swaps:
            return swaps_off(account)
        if account.readiness is not Readiness.READY:
            return not_ready(account)
        market = account.markets.get(command.symbol)
        if market is None or market.contract_size is None:
            return errors.combined([symbol_unknown(account, command.symbol, self._work.accounts.values())])
        where = Scope(event.ticket.user, event.ticket.bot, *account.key, command.symbol)
        found = list(risk.too_much_leverage(self._risk.limits.rules(where), command.leverage))
        return risk.problem_of(found) if found else None

    def answered(self, account: Account, report: LeverageAnswered, now: datetime) -> None:
        """Take the answer to a choice: a no ends it, after anything else it is read back."""
        choice = self._choices.get(report.query_id)
        if choice is None:
            return
        if report.refused:
            problem = errors.problem(
                errors.VENUE_REJECTED,
                f"{account.exchange} refused: {report.refused}",
                venue_code=report.venue_code,
                venue_message=report.refused,
            )
            self._finish(report.query_id, self._leverage(choice), problem, now)
            return
        self._choices[report.query_id] = replace(choice, since=now)
        self._out.send(account, QueryContract(symbol=report.symbol))

    def take_up(self, query: Query, now: datetime) -> None:
        """Find out what became of a choice of before the restart."""
        if query.status is not QueryStatus.WORKING or query.verb != "set_leverage":
            return
        said = query.parameters
        self._choices[query.query_id] = Choice(
            place=(str(said["exchange"]), str(said["account"]), str(said["symbol"])),
            leverage=Decimal(str(said["leverage"])),
            since=now,
            until=now + GIVE_UP,
        )
        if self._choices[query.query_id].place[:2] not in self._work.accounts:  # its keys were taken away
            choice = self._choices[query.query_id]
            self._finish(query.query_id, None, _unproven(choice, None), now)
            return
        self._out.wake(("contract", *self._choices[query.query_id].place), now + LOOK_AGAIN)

    def look(self, account: Account, symbol: str, now: datetime) -> None:
        """Ask again how a contract stands, while somebody waits for it or it is unsure."""
        place = (*account.key, symbol)
        for query_id, choice in list(self._choices.items()):
            if choice.place == place and now >= choice.until:
                self._finish(query_id, None, _unproven(choice, None), now)
        if self._wanted(account, symbol, now):
            self._out.send(account, QueryContract(symbol=symbol))
            self._out.wake(("contract", *place), now + LOOK_AGAIN)

    # --- How a contract stands ----------------------------------------------------------------------------

    def read(self, account: Account, report: ContractRead, now: datetime) -> None:
        """Take what an exchange says of a contract."""
        account.contracts_asked.pop(report.symbol, None)
        place = (*account.key, report.symbol)
        if report.problem or report.query_sent_at is None:
            account.contracts_failed[report.symbol] = report.problem
            if self._wanted(account, report.symbol, now):
                self._out.wake(("contract", *place), now + LOOK_AGAIN)
            return
        known = account.contracts.get(report.symbol)
        if known is None or known.query_sent_at is None or known.query_sent_at <= report.query_sent_at:
            believed(account, report, now)
            self._settle(account, report.symbol, now)
        for query_id, choice in list(self._choices.items()):
            if choice.place == place and report.query_sent_at >= choice.since:
                proven = report.leverage == choice.leverage
                problem = None if proven else _unproven(choice, report.leverage)
                self._finish(query_id, report.leverage, problem, now)

    def filled(
        self, account: Account, report: FillReport, now: datetime, ordered_at: datetime | None = None
    ) -> None:
        """Take a fill: of our order of this moment, or another's."""
        booked(account, report, now, ordered_at)
        self._settle(account, report.symbol, now)

    def _settle(self, account: Account, symbol: str, now: datetime) -> None:
        """Have a contract read again where it is unsure what is held."""
        known = known_now(account, symbol, now)
        if known is not None and known.unsure:
            self._out.wake(("contract", *account.key, symbol), now + LOOK_AGAIN)

    def _wanted(self, account: Account, symbol: str, now: datetime) -> bool:
        place, known = (*account.key, symbol), known_now(account, symbol, now)
        waits = any(choice.place == place for choice in self._choices.values())
        return waits or (known is not None and known.unsure)

    def _leverage(self, choice: Choice) -> Decimal | None:
        exchange, account, symbol = choice.place
        known = self._work.accounts[exchange, account].contracts.get(symbol)
        return None if known is None else known.leverage

    def _finish(
        self, query_id: str, leverage: Decimal | None, problem: Problem | None, now: datetime
    ) -> None:
        choice = self._choices.pop(query_id)
        exchange, account, symbol = choice.place
        result: dict[str, object] = {
            "exchange": exchange,
            "account": account,
            "symbol": symbol,
            "asked": plain(choice.leverage),
            "leverage": None if leverage is None else plain(leverage),
        }
        status = QueryStatus.DONE if problem is None else QueryStatus.FAILED
        self._queries.finish(self._work.queries[query_id], status, result, problem, now)


def _shown(command: SetLeverage) -> dict[str, object]:
    return {
        "exchange": command.exchange,
        "account": command.account,
        "symbol": command.symbol,
        "asked": plain(command.leverage),
    }


def _unproven(choice: Choice, leverage: Decimal | None) -> Problem:
    told = "it cannot be read" if leverage is None else f"it is {plain(leverage)}"
    return errors.problem(
        errors.VENUE_UNAVAILABLE,
        f"{choice.place[0]} has not set the leverage to {plain(choice.leverage)}, or not yet: {told}",
        hint="Look with get_positions, and choose again.",
    )
