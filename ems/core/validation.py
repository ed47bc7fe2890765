"""Whether an exchange takes an order by its own rules, and which order it would take instead.

`judge` is pure: a market, the terms of one order and a picture of its surroundings in; what would be sent,
every problem at once, and every change out. Terms are first rounded to the market's steps, which never costs
the caller anything: prices away from the other side of the book, quantities down. A problem is a rule that
they break even so; its `details` hold the rule, the field, its value, the limit and the nearest value that
passes, and `Judged.terms` has all of these nearest values put in. Money is no rule of a market: what an
account can pay is judged by the engine, which knows who holds what of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from ems.core import errors
from ems.core.instrument import NOTIONAL_MARGIN, Market, MarketStatus, ceil_to, floor_to
from ems.core.jsontext import plain
from ems.core.messages import OrderType, Problem, Side
from ems.core.triggers import rising

ZERO = Decimal(0)
ONE = Decimal(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """One order as an exchange is asked for it."""

    side: Side
    order_type: OrderType
    quantity: Decimal  # base
    price: Decimal | None = None  # of the types that are limited
    stop_price: Decimal | None = None  # of the types that wait
    post_only: bool = False
    emulated: bool = False  # we wait for its stop price, and the exchange is asked for it then


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What an order is judged in. What is not known is left to the exchange to judge."""

    mid: Decimal | None = None
    reference: Decimal | None = None  # what bands of prices are measured from; None: from the mid
    highest_buy: Decimal | None = None  # between these the exchange takes orders just now
    lowest_sell: Decimal | None = None
    taken_at: Decimal | None = None  # what an order without a price is worth, at the worst
    open_orders: int = 0  # of the account at the exchange in this market, waiting ones among them
    waiting_orders: int = 0  # those that wait for a price


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """One value that was changed before the order was sent."""

    field: str
    asked: Decimal
    used: Decimal
    limit: Decimal  # the step or the minimum that asks for it
    why: str

    def body(self) -> dict[str, object]:
        """Return it for records and answers; decimals as strings."""
        return {
            "field": self.field,
            "asked": plain(self.asked),
            "used": plain(self.used),
            "limit": plain(self.limit),
            "why": self.why,
        }


@dataclass(kw_only=True, slots=True)
class Judged:
    """What came of it. With `problems` nothing may be sent; `terms` then are the nearest that may."""

    terms: Terms
    problems: list[Problem] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Limit:
    """A rule that bounds a value, and its bound."""

    value: Decimal
    rule: str
    told: Decimal | None = None  # what the exchange says, where the bound is reckoned from it

    @property
    def shown(self) -> Decimal:
        return self.value if self.told is None else self.told


def judge(market: Market, asked: Terms, picture: Picture, *, raise_to_minimum: bool = False) -> Judged:
    """Judge an order by every rule of its market. Only with `raise_to_minimum` is more done than asked."""
    closed = status_problem(market, asked.order_type, post_only=asked.post_only)
    judged = Judged(terms=asked, problems=[] if closed is None else [closed])
    for name in ("price", "stop_price"):
        _judge_price(market, name, picture, judged)
    _judge_quantity(market, picture, judged, raise_to_minimum)
    _judge_counts(market, picture, judged)
    return judged


def _problem(
    code: str,
    message: str,
    hint: str,
    *,
    rule: str,
    name: str,
    value: Decimal | int | str,
    limit: Decimal | int | str,
    nearest: Decimal | None,
) -> Problem:
    details: dict[str, object] = {
        "field": name,
        "rule": rule,
        "value": _text(value),
        "limit": _text(limit),
        "nearest": None if nearest is None else plain(nearest),
    }
    return errors.problem(code, message, hint=hint, details=details)


def _text(value: Decimal | int | str) -> object:
    return plain(value) if isinstance(value, Decimal) else value


# --- Status ------------------------------------------------------------------------------------------

_TAKES: Mapping[MarketStatus, str] = {  # status -> what is to be done
    MarketStatus.LIMIT_ONLY: "It takes orders with a price now: use limit_order.",
    MarketStatus.POST_ONLY: "It takes orders that wait in the book only: use limit_order with post_only.",
    MarketStatus.CANCEL_ONLY: "Only cancels are taken until the exchange opens it again; try later.",
    MarketStatus.HALTED: "Nothing is taken until the exchange opens it again; try later.",
}


def status_problem(market: Market, order_type: OrderType, *, post_only: bool = False) -> Problem | None:
    """Refuse an order of a kind that a market does not take just now."""
    status = market.status
    takes = {
        MarketStatus.OPEN: True,
        MarketStatus.LIMIT_ONLY: order_type.limited,
        MarketStatus.POST_ONLY: post_only,
    }
    if takes.get(status, False):
        return None
    return _problem(
        errors.MARKET_NOT_OPEN,
        f"symbol: {market.symbol} is {status.replace('_', ' ')} at {market.exchange}",
        _TAKES[status],
        rule="status",
        name="symbol",
        value=market.symbol,
        limit=str(status),
        nearest=None,
    )


# --- Prices ------------------------------------------------------------------------------------------


def _judge_price(market: Market, name: str, picture: Picture, judged: Judged) -> None:
    """Round a price, and bring it between what the market's limits leave."""
    asked: Decimal | None = getattr(judged.terms, name)
    if asked is None:
        return
    side = judged.terms.side
    # Bands are for the price of an order, not for its stop; one that is sent later is judged by them then.
    moving = picture if name == "price" and not judged.terms.emulated else Picture()
    lowest, highest = _lowest_price(market, side, moving), _highest_price(market, side, moving)
    used = _on_tick(market, name, judged.terms, asked)
    if used < lowest.value:
        nearest = ceil_to(lowest.value, market.tick)
        judged.problems.append(_price_problem(market, side, name, asked, lowest, nearest))
    elif highest is not None and used > highest.value:
        nearest = floor_to(highest.value, market.tick)
        judged.problems.append(_price_problem(market, side, name, asked, highest, nearest))
    else:
        nearest = used
        if used != asked:
            why = f"{market.symbol} has prices in steps of {plain(market.tick)}"
            judged.corrections.append(
                Correction(field=name, asked=asked, used=used, limit=market.tick, why=why)
            )
    if name == "price":
        judged.terms = replace(judged.terms, price=nearest)
    else:
        judged.terms = replace(judged.terms, stop_price=nearest)


def _on_tick(market: Market, name: str, terms: Terms, price: Decimal) -> Decimal:
    """Round a price to the caller's side: a stop price is never met before the one that was asked for."""
    if name == "price":
        return market.passive_price(terms.side, price)
    return stop_on_tick(market, terms.order_type, terms.side, price)


def stop_on_tick(market: Market, order_type: OrderType, side: Side, stop_price: Decimal) -> Decimal:
    """Round a stop price away from the market: it is never met before the one that was asked for."""
    return ceil_to(stop_price, market.tick) if rising(order_type, side) else floor_to(stop_price, market.tick)


def _lowest_price(market: Market, side: Side, moving: Picture) -> _Limit:
    limits = [_Limit(market.tick, "price_step")]
    if market.rules.min_price is not None:
        limits.append(_Limit(market.rules.min_price, "min_price"))
    reference = moving.reference or moving.mid
    if market.rules.band is not None and reference is not None:
        limits.append(_Limit(reference * market.rules.band.of(side)[0], "price_band"))
    if side is Side.SELL and moving.lowest_sell is not None:
        limits.append(_Limit(moving.lowest_sell, "price_limit"))
    return max(limits, key=lambda limit: limit.value)


def _highest_price(market: Market, side: Side, moving: Picture) -> _Limit | None:
    limits = []
    if market.rules.max_price is not None:
        limits.append(_Limit(market.rules.max_price, "max_price"))
    reference = moving.reference or moving.mid
    if market.rules.band is not None and reference is not None:
        limits.append(_Limit(reference * market.rules.band.of(side)[1], "price_band"))
    if side is Side.BUY and moving.highest_buy is not None:
        limits.append(_Limit(moving.highest_buy, "price_limit"))
    return min(limits, key=lambda limit: limit.value, default=None)


def within_limits(market: Market, side: Side, price: Decimal, seen: Picture) -> Decimal:
    """Return a price, or the nearest that the market takes where that is beyond its limits."""
    lowest, highest = _lowest_price(market, side, seen), _highest_price(market, side, seen)
    if price < lowest.value:
        return ceil_to(lowest.value, market.tick)
    if highest is not None and price > highest.value:
        return floor_to(highest.value, market.tick)
    return price


def _price_problem(
    market: Market, side: Side, name: str, asked: Decimal, limit: _Limit, nearest: Decimal
) -> Problem:
    below = asked < nearest
    what = {
        "price_step": f"the price step of {market.symbol}",
        "price_band": f"what {market.exchange} takes for a {side} just now",
        "price_limit": f"what {market.exchange} takes for a {side} just now",
    }.get(limit.rule, f"the {'smallest' if below else 'largest'} price of {market.symbol}")
    if limit.rule == "price_band" and market.rules.band is not None:
        low, high = market.rules.band.of(side)
        what += f", {plain(low)} to {plain(high)} times the market"
    return _problem(
        errors.PRICE_INVALID,
        f"{name}: {plain(asked)} is {'below' if below else 'above'} {what}",
        f"The {'smallest' if below else 'largest'} price is {plain(nearest)}.",
        rule=limit.rule,
        name=name,
        value=asked,
        limit=limit.shown,
        nearest=nearest,
    )


# --- Quantity ----------------------------------------------------------------------------------------


def _judge_quantity(market: Market, picture: Picture, judged: Judged, raise_to_minimum: bool) -> None:
    """Round a quantity, and bring it between the smallest and the largest order at this price."""
    terms, asked = judged.terms, judged.terms.quantity
    smallest, largest = _smallest(market, terms, picture), _largest(market, terms, picture)
    used = market.floor_quantity(asked)
    least = ceil_to(smallest.value, market.lot)
    most = None if largest is None else floor_to(largest.value, market.lot)
    possible = most is None or least <= most
    why = ""
    if used < least:
        used, why = least, _size_words(market, smallest)
        if not (raise_to_minimum and possible):
            nearest = least if possible else None
            judged.problems.append(_size_problem(errors.AMOUNT_TOO_SMALL, market, asked, smallest, nearest))
            why = ""
    elif largest is not None and most is not None and used > most:
        used = most
        nearest = most if possible else None
        judged.problems.append(_size_problem(errors.AMOUNT_TOO_LARGE, market, asked, largest, nearest))
    elif used != asked and market.contract_size is not None:
        judged.problems.append(_no_whole_lots(market, asked, used, most))
    elif used != asked:
        why = f"{market.symbol} has quantities in steps of {plain(market.lot)}"
    if why:
        limit = smallest.shown if used > asked else market.lot
        judged.corrections.append(Correction(field="quantity", asked=asked, used=used, limit=limit, why=why))
    judged.terms = replace(terms, quantity=used)


def _no_whole_lots(market: Market, asked: Decimal, below: Decimal, most: Decimal | None) -> Problem:
    """Refuse a part of a contract's lot: rounding would leave a part of a position open."""
    above = below + market.lot
    possible = [one for one in (below, above) if most is None or one <= most]
    nearest = min(possible, key=lambda one: abs(one - asked))
    return _problem(
        errors.QUANTITY_INVALID,
        f"quantity: {plain(asked)} {market.base} is no whole number of lots of {market.symbol}, which are "
        f"{plain(market.lot)} {market.base} each",
        f"Ask for {' or '.join(map(plain, possible))}.",
        rule="lot",
        name="quantity",
        value=asked,
        limit=market.lot,
        nearest=nearest,
    )


def _size_words(market: Market, limit: _Limit) -> str:
    """Say what a limit of sizes is, in base currency or in worth."""
    least = "at least" if limit.rule.startswith("min") else "at most"
    if limit.rule.endswith("notional"):
        return f"worth {least} {plain(limit.shown)} {market.quote}"
    return f"{least} {plain(limit.shown)} {market.base}"


_NONE_PASSES = "No quantity passes at this price: the largest order is smaller than the smallest."


def _size_problem(
    code: str, market: Market, asked: Decimal, limit: _Limit, nearest: Decimal | None
) -> Problem:
    small = code == errors.AMOUNT_TOO_SMALL
    where = "below the smallest" if small else "above the largest"
    fix = f"Ask for at least {{}} {market.base}, or allow raise_to_minimum."
    if not small:
        fix = f"At most {{}} {market.base} at once; smart_order splits by itself."
    return _problem(
        code,
        f"quantity: {plain(asked)} {market.base} is {where} order of {market.symbol}, "
        f"{_size_words(market, limit)}",
        _NONE_PASSES if nearest is None else fix.format(plain(nearest)),
        rule=limit.rule,
        name="quantity",
        value=asked,
        limit=limit.shown,
        nearest=nearest,
    )


def _worth_at(terms: Terms, picture: Picture) -> tuple[Decimal | None, Decimal]:
    """Return the price an exchange values an order at, and the margin for not knowing it exactly."""
    named = terms.price or terms.stop_price
    return (named, ONE) if named is not None else (picture.taken_at, NOTIONAL_MARGIN)


def _smallest(market: Market, terms: Terms, picture: Picture) -> _Limit:
    size = max(market.min_quantity, market.lot)
    limits = [_Limit(size, "min_quantity")]
    price, margin = _worth_at(terms, picture)
    bound = terms.order_type.limited or market.rules.market_min_notional
    if bound and price is not None and price > ZERO and market.min_notional > ZERO:
        least = market.min_notional * margin / price
        limits.append(_Limit(least, "min_notional", told=market.min_notional))
    return max(limits, key=lambda limit: limit.value)


def _largest(market: Market, terms: Terms, picture: Picture) -> _Limit | None:
    rules = market.rules
    limits = []
    size, rule = market.max_quantity, "max_quantity"
    if not terms.order_type.limited and rules.max_market_quantity is not None:
        size, rule = rules.max_market_quantity, "max_market_quantity"
    elif terms.post_only and rules.max_post_only_quantity is not None:
        size, rule = rules.max_post_only_quantity, "max_post_only_quantity"
    if size is not None:
        limits.append(_Limit(size, rule))
    price, margin = _worth_at(terms, picture)
    worth = rules.max_notional if terms.order_type.limited or rules.market_max_notional else None
    if not terms.order_type.limited and rules.max_market_notional is not None:
        worth = rules.max_market_notional
    if price is not None and price > ZERO and worth is not None:
        limits.append(_Limit(worth / margin / price, "max_notional", told=worth))
    return min(limits, key=lambda limit: limit.value, default=None)


# --- How many ----------------------------------------------------------------------------------------


def _judge_counts(market: Market, picture: Picture, judged: Judged) -> None:
    rules = market.rules
    if judged.terms.emulated:
        return
    counted = [("open_orders", "open", picture.open_orders, rules.max_open_orders)]
    if judged.terms.order_type.waits:
        counted.append(("waiting_orders", "waiting", picture.waiting_orders, rules.max_waiting_orders))
    for rule, word, count, most in counted:
        if most is not None and count >= most:
            reached = _problem(
                errors.ORDER_LIMIT_REACHED,
                f"symbol: {count} orders are {word} in {market.symbol}; {market.exchange} takes {most}",
                f"Cancel one of the orders {word} in {market.symbol}, or wait until one ends.",
                rule=f"max_{rule}",
                name="symbol",
                value=count,
                limit=most,
                nearest=None,
            )
            judged.problems.append(reached)
