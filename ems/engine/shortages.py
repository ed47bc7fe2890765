"""Too little money: what is there, what holds the rest, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from ems.core import errors
from ems.core.codec import plain
from ems.core.instrument import Market
from ems.core.messages import Problem, Side
from ems.core.records import Parent, Phase
from ems.core.validation import Terms
from ems.engine.account import Account
from ems.engine.refusals import short_of
from ems.engine.work import Work

ZERO = Decimal(0)

NAMED_MAX = 10  # of what holds the money, the largest first; the others are one sum


class Shortages:
    """Explains a shortage on one account to one user. Others' work is told as a sum, never by its ids."""

    def __init__(self, work: Work, account: Account, user: str):
        self._work = work
        self._account = account
        self._user = user

    def lacks(self, currency: str, wanted: Decimal) -> bool:
        """Say whether this is more than is available."""
        return wanted > self.available(currency)

    def of_money(self, currency: str, wanted: Decimal) -> Problem:
        """Return the refusal of something that takes so much of a currency."""
        claimed = self._work.claims(self._account).get(currency, ZERO)
        held = self._account.holdings.usable(currency)
        refusal = short_of([self._account], currency, wanted, held, claimed)
        return explained(refusal, self._work, [self._account], self._user)

    def of_order(self, market: Market, terms: Terms, price: Decimal, reserved: Decimal) -> Problem:
        """Return the refusal of an order, with the largest quantity that could be paid."""
        if market.contract_size is not None:
            return self.of_money(
                market.quote, reserved
            )  # which quantity could be paid hangs on what it opens
        buys = terms.side is Side.BUY
        source = market.quote if buys else market.base
        available = self.available(source)
        if buys:
            most = market.largest_buy(available, price, haircut=ZERO, post_only=terms.post_only)
        else:
            most = market.largest_sell(available, haircut=ZERO, post_only=terms.post_only)
        nearest = most if market.order_ok(most, price) else None
        problem = self.of_money(source, reserved)
        choices = problem.details["choices"]
        assert isinstance(choices, list)
        if nearest is not None:
            choices.insert(0, {"action": "reduce", "field": "quantity", "to": plain(nearest)})
        about = {
            "field": "quantity",
            "rule": "funds",
            "value": plain(terms.quantity),
            "limit": plain(available),
            "nearest": None if nearest is None else plain(nearest),
        }
        return replace(problem, details={**about, **problem.details})

    def available(self, currency: str) -> Decimal:
        """Return what is held and free beside the claims of work in progress."""
        claimed = self._work.claims(self._account).get(currency, ZERO)
        return max(self._account.holdings.usable(currency) - claimed, ZERO)


def explained(problem: Problem, work: Work, accounts: Sequence[Account], user: str) -> Problem:
    """Add to a refusal for lack of funds who holds how much, and the choices there are."""
    if problem.code != errors.FUNDS_INSUFFICIENT or "reserved_by" in problem.details:
        return problem
    currency = str(problem.details["currency"])
    mine, others = _holders(work, accounts, currency, user)
    elsewhere = sum((a.holdings.foreign.get(currency, ZERO) for a in accounts), ZERO)
    missing = Decimal(str(problem.details["needed"])) - Decimal(str(problem.details["available"]))
    choices: list[dict[str, object]] = [
        {"action": "cancel", "query_id": row["query_id"], "frees": row["amount"]} for row in mine[:NAMED_MAX]
    ]
    if missing > ZERO:
        choices.append({"action": "deposit", "currency": currency, "amount": plain(missing)})
    held: dict[str, object] = {
        "reserved_by": mine[:NAMED_MAX],
        "reserved_by_others": plain(others + _sum(mine[NAMED_MAX:])),
        "held_elsewhere": plain(elsewhere),  # by orders at the exchange that are not this server's
        "choices": choices,
    }
    return replace(problem, details={**problem.details, **held})


def _holders(
    work: Work, accounts: Iterable[Account], currency: str, user: str
) -> tuple[list[dict[str, object]], Decimal]:
    """Return the user's own work that holds this currency, the largest first, and the sum of all others'."""
    mine: list[dict[str, object]] = []
    others = ZERO
    for account in accounts:
        for parent, held, amount in work.claimed(account):
            if held != currency or amount <= ZERO:
                continue
            if parent.user == user:
                mine.append(_row(work, account, parent, amount))
            else:
                others += amount
    mine.sort(key=lambda row: Decimal(str(row["amount"])), reverse=True)
    return mine, others


def _row(work: Work, account: Account, parent: Parent, amount: Decimal) -> dict[str, object]:
    out = [o for o in work.orders_of_parent(parent.parent_id) if o.phase is not Phase.SETTLED]
    return {
        "query_id": parent.query_id,
        "bot": parent.bot,
        "exchange": account.exchange,
        "amount": plain(amount),
        "order_ids": [o.order_id for o in out if (o.exchange, o.account) == account.key],
    }


def _sum(rows: Iterable[dict[str, object]]) -> Decimal:
    return sum((Decimal(str(row["amount"])) for row in rows), ZERO)
