"""Whether the credit and positions that are left have room for the whole of a plan, before any of it starts.

Every order is judged when its turn comes. But a plan that can only end half-way is better refused at once,
with the number that would pass. What cannot be valued now is left to that later judgement.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_FLOOR, Context, Decimal

from ems.core import risk
from ems.core.fitness import mid_of
from ems.core.jsontext import plain
from ems.core.messages import Command, LimitOrder, MarketOrder, Problem, Side, SmartOrder
from ems.core.records import Leg
from ems.core.risk import Need
from ems.core.risk_ledger import CREDITS
from ems.core.risk_limits import Scope
from ems.engine.drafts import Draft
from ems.engine.risk import Risk
from ems.engine.work import Work

ZERO = Decimal(0)
# Of what is left: orders are counted at their limits, a little beyond the prices of the plan.
SURELY = Decimal("0.998")
FIGURES = Context(prec=6, rounding=ROUND_FLOOR)  # of an amount that passes


def without_room(
    work: Work, judge: Risk, draft: Draft, command: Command, user: str, bot: str, now: datetime
) -> Problem | None:
    """Refuse a plan that goes beyond what is left of a limit that its orders are counted against."""
    needs: dict[Hashable, Need] = {}
    for leg in draft.legs:
        for group, need in _needs_of(work, judge, leg, user, bot, now):
            known = needs.get(group)
            needs[group] = need if known is None else replace(known, value=known.value + need.value)
    breaches = risk.without_room(needs.values())
    if not breaches:
        return None
    most = _most(command, draft, min(need.share for need in needs.values()) * SURELY)
    if most is not None:
        name, amount = most
        hint = f"A {name} of {plain(amount)} has room now." if amount else "Nothing of it has room now."
        more = {"field": name, "most": plain(amount)}
        breaches = [replace(b, hint=hint, more={**(b.more or {}), **more}) for b in breaches]
    return risk.problem_of(breaches)


def _needs_of(
    work: Work, judge: Risk, leg: Leg, user: str, bot: str, now: datetime
) -> Iterator[tuple[Hashable, Need]]:
    """Return what a leg needs of each limit, and what it shares that limit with."""
    account = work.accounts[leg.exchange, leg.account]
    market, book = account.markets[leg.symbol], account.books.get(leg.symbol)
    usd = judge.usd(market.quote, account, now)
    if usd is None or book is None or not book.bids or not book.asks:
        return
    mid = mid_of(book)
    if leg.side is Side.BUY and leg.quantity is None:
        value = leg.amount * usd
    else:
        value = (leg.amount if leg.quantity is None else leg.quantity) * mid * usd
    rules = judge.limits.rules(Scope(user, bot, leg.exchange, leg.account, leg.symbol))
    for name in CREDITS:
        for rule in rules[name]:
            yield (name, rule.key), Need(rule=rule, used=judge.ledger.credit(name, rule.key), value=value)
    if leg.side is Side.BUY and rules["max_position"]:
        held = judge.position(account, leg.symbol, mid, usd)
        for rule in rules["max_position"]:
            yield (rule.key, account.key, market.base), Need(rule=rule, used=held or ZERO, value=value)


def _most(command: Command, draft: Draft, share: Decimal) -> tuple[str, Decimal] | None:
    """Return the field that says how much, and how much of it there is room for; None: there is none."""
    match command:
        case SmartOrder(end_amount=Decimal() as wanted):
            return "end_amount", FIGURES.multiply(wanted, share)
        case SmartOrder():
            return "start_amount", FIGURES.multiply(draft.start_amount, share)
        case MarketOrder() | LimitOrder():
            return "quantity", FIGURES.multiply(command.quantity, share)
    return None
