"""Whether an order may go: every risk control says nothing, or names its breach (RELIABILITY.md E).

Rules:
1. Every order that goes to an exchange is judged, in the turn that records its intent. Cancels never are.
2. A value at its limit passes; one unit beyond it does not.
3. What is needed and not known refuses (no price to value the order by, no book to measure it against). A
   control that is off needs nothing.
4. All that is breached is said at once.

Sources: SEC 15c3-5(c)(1), RTS 6 Art. 12 and 15, FIA 2024. What is limited stands in `ems.core.risk_limits`,
what was counted so far in `ems.core.risk_ledger`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Protocol

from ems.core import errors
from ems.core.instrument import ceil_to, floor_to
from ems.core.jsontext import plain
from ems.core.messages import OrderType, Problem, Side
from ems.core.risk_limits import BY_NUMBER, DEFAULT, Rule, Scope, write_limit

ZERO = Decimal(0)
HUNDRED = Decimal(100)
SHOWN = Decimal("0.0001")
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)

VOLATILE = Decimal(20)  # percent: with a wider range in 24 hours the wider collar holds
DEPTH_AROUND = Decimal("0.02")  # of the middle: what counts as visible depth


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """An order as it would be sent."""

    where: Scope  # all five named
    parent_id: str
    side: Side
    order_type: OrderType
    quantity: Decimal  # base
    price: Decimal | None  # its limit; None: none
    stop_price: Decimal | None = None
    worked: bool = False  # an algorithm's: one of many for what was asked
    allow_duplicate: bool = False
    reduce_only: bool = False  # of a contract: the exchange sees to it
    replaced: Decimal | None = None  # USD counted of the order whose place it takes; None: it takes no place
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What is known of the market and the account; None: it is not known."""

    tick: Decimal
    lot: Decimal
    mid: Decimal | None = None
    age_s: Decimal | None = None  # of the book
    best: Decimal | None = None  # the price a taker of this side meets first
    last: Decimal | None = None  # the price it would reach with all of its quantity
    depth: Decimal | None = None  # base within 2 % of the middle on that side
    usd: Decimal | None = None  # what one of the quote currency is worth
    volume_24h: Decimal | None = None  # base
    range_24h: Decimal | None = None  # percent
    # USD: base on the account with open purchases, without this order; of a contract the net position with
    # the open orders of this side, below zero when short
    position: Decimal | None = None
    contract: bool = False
    opens: bool = False  # of a contract: it does more than reduce a position
    leverage: Decimal | None = None


class Counts(Protocol):
    """What has been counted so far: `ems.core.risk_ledger.RiskLedger`."""

    def credit(self, name: str, key: Scope) -> Decimal: ...

    def open_orders(self, name: str, key: Scope) -> int: ...

    def sent(self, name: str, key: Scope, now: datetime) -> int:
        """Return how many orders were sent within the last 60 seconds."""

    def token_at(self, key: Scope, rate: Decimal, burst: Decimal, now: datetime) -> datetime:
        """Return when one more order may be sent; `now` when it may at once."""

    def minute_over(self, name: str, key: Scope, limit: Decimal, now: datetime) -> datetime:
        """Return when one more order fits into 60 seconds."""

    def executions(self, key: Scope, side: Side, now: datetime) -> int: ...

    def has_executed(self, parent_id: str) -> bool: ...

    def twin(self, proposal: Proposal) -> tuple[str, datetime] | None:
        """Return (order id, when it was sent) of the last plain order that was the same in everything."""

    def result(self, key: Scope, now: datetime, usd: Callable[[str], Decimal | None]) -> Decimal | None:
        """Return what was won since midnight, in USD; None where a currency has no price."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """One control that says no."""

    code: str
    setting: str
    limit: str
    value: str
    scope: str
    message: str
    hint: str | None = None
    retry_at: datetime | None = None  # waiting till then may help; an algorithm waits
    more: dict[str, object] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Everything the controls may look at."""

    proposal: Proposal
    picture: Picture
    rules: dict[str, tuple[Rule, ...]]
    counts: Counts
    usd: Callable[[str], Decimal | None]  # currency -> USD

    @property
    def reference(self) -> Decimal | None:
        """Return what a limit price is compared with: the middle, or what sets a waiting order free."""
        return self.proposal.stop_price or self.picture.mid

    @property
    def reached(self) -> Decimal | None:
        """Return the price the order is counted at."""
        p = self.proposal
        return p.price or p.stop_price or self.picture.last or self.picture.mid

    @property
    def value(self) -> Decimal | None:
        """Return what the order is worth in USD."""
        if self.reached is None or self.picture.usd is None:
            return None
        return self.proposal.quantity * self.reached * self.picture.usd


Answers = Iterator[Breach]


def _breach(
    rule: Rule,
    value: str,
    message: str,
    *,
    code: str = "",
    hint: str | None = None,
    retry_at: datetime | None = None,
    more: dict[str, object] | None = None,
) -> Breach:
    return Breach(
        code=code or BY_NUMBER[rule.setting.control].code,
        setting=rule.setting.name,
        limit=write_limit(rule.limit),
        value=value,
        scope=rule.source if rule.source == DEFAULT else rule.key.words,
        message=message,
        hint=hint,
        retry_at=retry_at,
        more=more,
    )


def _number(rule: Rule) -> Decimal:
    assert isinstance(rule.limit, Decimal)
    return rule.limit


def _percent(value: Decimal) -> str:
    return plain(value.quantize(SHOWN, ROUND_CEILING))


def price_collar(q: Question) -> Answers:
    p, reference = q.proposal, q.reference
    if p.price is None or reference is None:
        return
    wide = q.picture.range_24h is not None and q.picture.range_24h > VOLATILE
    for rule in q.rules["price_collar_volatile" if wide else "price_collar"]:
        limit = _number(rule)
        if abs(p.price - reference) * HUNDRED > limit * reference:
            away = _percent(abs(p.price - reference) * HUNDRED / reference)
            above = p.price > reference
            bound = reference * (HUNDRED + (limit if above else -limit)) / HUNDRED
            nearest = floor_to(bound, q.picture.tick) if above else ceil_to(bound, q.picture.tick)
            yield _breach(
                rule,
                away,
                f"price: {plain(p.price)} is {away} % away from {plain(reference)}; "
                f"{plain(limit)} % is the most",
                hint=f"The nearest price that passes just now is {plain(nearest)}.",
                more={"field": "price", "reference": plain(reference), "nearest": plain(nearest)},
            )


def slippage_limit(q: Question) -> Answers:
    p, picture = q.proposal, q.picture
    if p.order_type is not OrderType.MARKET or picture.best is None:
        return
    for rule in q.rules["slippage_limit"]:
        limit = _number(rule)
        if picture.last is None:
            yield _breach(rule, "beyond the book", "quantity: the book shown does not hold as much")
        elif abs(picture.last - picture.best) * HUNDRED > limit * picture.best:
            walk = _percent(abs(picture.last - picture.best) * HUNDRED / picture.best)
            yield _breach(
                rule,
                walk,
                f"the order would walk the book by {walk} %; {plain(limit)} % is the most",
                hint="Ask for less, send a limit order, or use smart_order, which takes its time.",
            )


def max_order_value(q: Question) -> Answers:
    value = q.value
    for rule in q.rules["max_order_value"]:
        if value is not None and value > _number(rule):
            yield _breach(
                rule,
                plain(value),
                f"the order is worth {plain(value)} USD; {plain(_number(rule))} USD is the most",
                hint="Ask for less, or use smart_order, which splits by itself.",
            )


def max_volume(q: Question) -> Answers:
    for name, whole, words in (
        ("max_depth_share", q.picture.depth, "shown within 2 % of the middle"),
        ("max_volume_share", q.picture.volume_24h, "traded there in 24 hours"),
    ):
        if whole is None:
            continue
        for rule in q.rules[name]:
            most = floor_to(whole * _number(rule) / HUNDRED, q.picture.lot)
            if q.proposal.quantity > most:
                yield _breach(
                    rule,
                    plain(q.proposal.quantity),
                    f"quantity: {plain(q.proposal.quantity)} is more than {plain(_number(rule))} % of the "
                    f"{plain(whole)} {words}",
                    hint=f"Ask for at most {plain(most)}, or use smart_order, which splits by itself.",
                    more={"field": "quantity", "most": plain(most)},
                )


def credit_limit(q: Question) -> Answers:
    if q.value is None:
        return
    value = q.value - (q.proposal.replaced or ZERO)  # beside what is counted already
    if q.proposal.replaced is not None and value <= ZERO:
        return
    for name in ("credit_limit", "global_credit_limit"):
        for rule in q.rules[name]:
            used = q.counts.credit(name, rule.key)
            if used + value > _number(rule):
                left = plain(max(_number(rule) - used, ZERO))
                yield _breach(
                    rule,
                    plain(used + value),
                    f"open and traded in 24 hours would be {plain(used + value)} USD; "
                    f"{plain(_number(rule))} USD is the most",
                    hint=f"{left} USD are left; get_risk shows what is used.",
                    more={"used": plain(used), "remaining": left},
                )


def max_position(q: Question) -> Answers:
    picture, buys = q.picture, q.proposal.side is Side.BUY
    if not (picture.opens if picture.contract else buys) or q.value is None or picture.position is None:
        return
    after = abs(picture.position + (q.value if buys else -q.value))
    for rule in q.rules["max_position"]:
        if after > _number(rule):
            yield _breach(
                rule,
                plain(after),
                f"the account would hold {plain(after)} USD of it; {plain(_number(rule))} USD is the most",
            )


def max_leverage(q: Question) -> Answers:
    """Refuse to open a position at more leverage than is allowed, or at one that is not known."""
    if q.picture.opens:
        yield from too_much_leverage(q.rules, q.picture.leverage)


def too_much_leverage(rules: dict[str, tuple[Rule, ...]], leverage: Decimal | None) -> Answers:
    """Say what limits of leverage are exceeded."""
    for rule in rules["max_leverage"]:
        if leverage is None or leverage > _number(rule):
            told = "unknown" if leverage is None else plain(leverage)
            yield _breach(
                rule,
                told,
                f"leverage: {told} times; {plain(_number(rule))} times is the most",
                code=errors.LEVERAGE_LIMIT,
                hint=f"Choose {plain(_number(rule))} or less with set_leverage first.",
                more={"field": "leverage", "nearest": plain(_number(rule))},
            )


def max_open_orders(q: Question) -> Answers:
    if q.proposal.replaced is not None:
        return
    for name in ("max_open_orders", "max_open_orders_per_symbol"):
        for rule in q.rules[name]:
            after = q.counts.open_orders(name, rule.key) + 1
            if after > _number(rule):
                yield _breach(
                    rule,
                    str(after),
                    f"{after} orders would be open; {plain(_number(rule))} is the most",
                    hint="Cancel one, or wait until one ends.",
                    retry_at=q.proposal.at + SECOND,
                )


def message_throttle(q: Question) -> Answers:
    now = q.proposal.at
    bursts = [_number(rule) for rule in q.rules["order_burst"]]
    for rule in q.rules["orders_per_second"]:
        # Without a burst the second itself is one.
        burst = min(bursts, default=max(_number(rule), Decimal(1)))
        due = q.counts.token_at(rule.key, _number(rule), burst, now)
        if due > now:
            yield _too_fast(rule, f"more than {plain(_number(rule))} orders a second", due, now)
    for rule in q.rules["orders_per_minute"]:
        if q.counts.sent("orders_per_minute", rule.key, now) + 1 > _number(rule):
            due = q.counts.minute_over("orders_per_minute", rule.key, _number(rule), now)
            yield _too_fast(rule, f"more than {plain(_number(rule))} orders in 60 seconds", due, now)


def _too_fast(rule: Rule, what: str, due: datetime, now: datetime) -> Breach:
    wait = _percent(Decimal(str((due - now).total_seconds())))
    return _breach(
        rule,
        f"{what}",
        f"{what}: the next one passes in {wait} s",
        hint=f"Wait {wait} s and send it again. Cancels are never throttled.",
        retry_at=due,
        more={"retry_after_s": wait},
    )


def execution_throttle(q: Question) -> Answers:
    p = q.proposal
    if q.counts.has_executed(p.parent_id):
        return  # more of what was counted already
    for rule in q.rules["executions_per_minute"]:
        done = q.counts.executions(rule.key, p.side, p.at)
        if done + 1 > _number(rule):
            yield _breach(
                rule,
                str(done + 1),
                f"{done} executions of {p.side} {p.where.symbol} in 60 seconds, and one more asked for; "
                f"{plain(_number(rule))} is the most",
                hint="The user is halted in this market; an admin lifts it with resume.",
            )


def duplicate_check(q: Question) -> Answers:
    p = q.proposal
    if p.worked or p.allow_duplicate:
        return
    twin = q.counts.twin(p)
    if twin is None:
        return
    order_id, sent_at = twin
    for rule in q.rules["duplicate_window"]:
        age = p.at - sent_at
        if Decimal(age // MICROSECOND) <= _number(rule) * 1_000_000:
            yield _breach(
                rule,
                f"{age.total_seconds():.3f}",
                f"the same order was sent {age.total_seconds():.3f} s ago as {order_id}",
                hint="Send it again with allow_duplicate true if both are wanted.",
                more={"order_id": order_id},
            )


def daily_loss(q: Question) -> Answers:
    for rule in q.rules["daily_loss"]:
        won = q.counts.result(rule.key, q.proposal.at, q.usd)
        if won is None:
            yield _breach(
                rule,
                "unknown",
                "what was lost today cannot be told: a currency that was traded has no price",
                code=errors.MARKET_DATA_STALE,
                retry_at=q.proposal.at + SECOND,
            )
        elif -won > _number(rule):
            yield _breach(
                rule,
                plain(-won),
                f"{plain(-won)} USD were lost since midnight UTC; {plain(_number(rule))} USD is the most",
                hint="The user is halted; an admin lifts it with resume.",
            )


NEED_BOOK = ("price_collar", "slippage_limit", "max_depth_share", "max_quote_age")
NEED_DAY = ("price_collar_volatile", "max_volume_share")
NEED_VALUE = ("max_order_value", "credit_limit", "global_credit_limit", "max_position")


def stale_data(q: Question) -> Answers:
    """Refuse what cannot be measured: without a book, with an old one, or with no price in USD."""
    p, picture = q.proposal, q.picture
    soon = p.at + SECOND
    needs = [rule for name in NEED_BOOK for rule in q.rules[name]]
    if picture.mid is None and needs:
        yield _breach(
            needs[0],
            "none",
            f"there is no order book of {p.where.symbol} to measure the order against",
            code=errors.MARKET_DATA_STALE,
            retry_at=soon,
        )
    for rule in q.rules["max_quote_age"]:
        if picture.age_s is not None and picture.age_s > _number(rule):
            age = plain(picture.age_s.quantize(SHOWN))
            yield _breach(
                rule,
                age,
                f"the order book of {p.where.symbol} is {age} s old; {plain(_number(rule))} s is the most",
                retry_at=soon,
            )
    if picture.volume_24h is None:
        # The default holds where the exchange tells; one that somebody set is meant to hold in any case.
        for rule in q.rules["max_volume_share"]:
            if rule.source != DEFAULT:
                yield _breach(
                    rule,
                    "unknown",
                    f"what was traded in {p.where.symbol} within 24 hours is not known",
                    code=errors.MARKET_DATA_STALE,
                    hint="Wait for it, or have an admin set max_volume_share to off where the exchange does "
                    "not tell.",
                    retry_at=soon,
                )
    needs = [rule for name in NEED_VALUE for rule in q.rules[name]]
    if q.value is None and needs and (picture.mid is not None or picture.usd is None):
        yield _breach(
            needs[0],
            "unknown",
            f"the order cannot be valued: no book leads from {p.where.symbol} to a dollar",
            code=errors.MARKET_DATA_STALE,
            hint="Wait for a book, or have an admin set "
            f"{', '.join(dict.fromkeys(r.setting.name for r in needs))} to off for this market.",
            retry_at=soon,
        )


def restricted(q: Question) -> Answers:
    p = q.proposal
    asked = (
        ("allowed_symbols", p.where.symbol or ""),
        ("allowed_exchanges", p.where.exchange or ""),
        ("allowed_order_types", str(p.order_type)),
    )
    for name, value in asked:
        for rule in q.rules[name]:
            assert isinstance(rule.limit, frozenset)
            if value not in rule.limit:
                yield _breach(rule, value, f"{value} is not among {name}: {write_limit(rule.limit)}")
    minute = p.at.hour * 60 + p.at.minute
    for rule in q.rules["allowed_hours"]:
        assert isinstance(rule.limit, tuple)
        if not any(start <= minute < end for start, end in rule.limit):
            now = f"{p.at.hour:02d}:{p.at.minute:02d}"
            yield _breach(rule, now, f"{now} UTC is outside of allowed_hours: {write_limit(rule.limit)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a whole plan would add to what is counted against a limit."""

    rule: Rule
    used: Decimal
    value: Decimal

    @property
    def share(self) -> Decimal:
        """Return how much of the plan there is room for, at most all of it."""
        left = max(_number(self.rule) - self.used, ZERO)
        return Decimal(1) if self.value <= left else left / self.value


def without_room(needs: Iterable[Need]) -> list[Breach]:
    """Return the limits that a whole plan would go beyond."""
    found = []
    for need in needs:
        limit, after = _number(need.rule), need.used + need.value
        if after > limit:
            used, left = plain(need.used), plain(max(limit - need.used, ZERO))
            found.append(
                _breach(
                    need.rule,
                    plain(after),
                    f"the whole of it would trade {plain(need.value)} USD; {left} USD are left of "
                    f"{need.rule.setting.name}, {plain(limit)} USD",
                    more={"used": used, "remaining": left},
                )
            )
    return found


# In the order of the table: the first that says no gives the code.
CHECKS: tuple[Callable[[Question], Answers], ...] = (
    price_collar,
    slippage_limit,
    max_order_value,
    max_volume,
    credit_limit,
    max_position,
    max_leverage,
    max_open_orders,
    message_throttle,
    execution_throttle,
    duplicate_check,
    daily_loss,
    stale_data,
    restricted,
)


def check(question: Question) -> list[Breach]:
    """Return every control that says no to an order."""
    return [breach for control in CHECKS for breach in control(question)]


def largest(question: Question) -> Decimal | None:
    """Return the largest quantity that the limits of one order's size let pass; None: no limit holds."""
    q, found = question, []
    if q.reached is not None and q.picture.usd is not None:
        unit = q.reached * q.picture.usd
        found += [_number(rule) / unit for rule in q.rules["max_order_value"] if unit > ZERO]
    for name, whole in (("max_depth_share", q.picture.depth), ("max_volume_share", q.picture.volume_24h)):
        found += [whole * _number(rule) / HUNDRED for rule in q.rules[name] if whole is not None]
    return min(found, default=None)


def problem_of(breaches: list[Breach]) -> Problem:
    """Say no with all that is breached; the first gives the code."""
    return errors.combined(
        [
            errors.problem(
                b.code,
                b.message,
                hint=b.hint,
                details={
                    "setting": b.setting,
                    "limit": b.limit,
                    "value": b.value,
                    "scope": b.scope,
                    **(b.more or {}),
                },
            )
            for b in breaches
        ]
    )
