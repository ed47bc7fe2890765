"""Refusals of plans and orders, with the number that would pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches

from ems.core import errors
from ems.core.codec import nearest, plain, time_text
from ems.core.fitness import unfit
from ems.core.instrument import Market
from ems.core.messages import Problem, Refusal
from ems.core.records import Halt
from ems.engine.account import Account
from ems.engine.figures import short_number

ZERO = Decimal(0)
LESS = Decimal("0.999")  # of what can be reached just now, prices move


def not_ready(account: Account) -> Problem:
    why = account.trouble or account.readiness
    return errors.problem(errors.EXCHANGE_UNAVAILABLE, f"{account.exchange} is not ready to trade: {why}")


AGAIN_S = 2.0  # after a refusal that says nothing about an order it is not sent again sooner
PASSING = frozenset({Refusal.RATE_LIMIT, Refusal.CLOCK, Refusal.MARKET_CLOSED})

HALTED = "trading is halted"  # starts the reason of everything that a halt has ended
# What a halt is refused with: a person's, or that of the risk control that set it.
HALT_CODES = frozenset(
    {
        errors.TRADING_HALTED,
        errors.EXECUTION_THROTTLE,
        errors.LOSS_LIMIT,
        errors.VENUE_BREAKER,
        errors.LEDGER_MISMATCH,
    }
)


def halted(halt: Halt) -> Problem:
    """Say that nothing is placed there, by whose word, and how that is lifted."""
    why = f": {halt.reason}" if halt.reason else ""
    return errors.problem(
        halt.source if halt.source in HALT_CODES else errors.TRADING_HALTED,
        f"{HALTED} ({halt.where}) by {halt.set_by}{why} [halt {halt.halt_id}]",
        hint=f"It stands until an admin lifts it: resume, halt_id {halt.halt_id}. get_halts lists all.",
        details={
            "halt_id": halt.halt_id,
            "where": halt.where,
            "set_by": halt.set_by,
            "set_at": time_text(halt.set_at),
        },
    )


def no_book(account: Account, symbols: Sequence[str], now: datetime) -> Problem:
    """Say why nothing can be traded where no book is fit for it."""
    whys = {s: unfit(account.books[s], now) for s in symbols if s in account.books}
    told = "; ".join(f"{symbol}: {why}" for symbol, why in whys.items() if why)
    told = f" ({told})" if told else ""
    return errors.problem(
        errors.EXCHANGE_UNAVAILABLE,
        f"{account.exchange} sends no usable order book of {', '.join(symbols)}"
        + (f" ({told})" if told else ""),
    )


def too_small(market: Market, name: str, asked: Decimal, price: Decimal) -> Problem:
    smallest = market.smallest_order(price)
    return errors.problem(
        errors.AMOUNT_TOO_SMALL,
        f"{name}: {plain(asked)} {market.base} is below the smallest order of {market.symbol}",
        hint=f"Ask for at least {plain(smallest)} {market.base}.",
        details={"field": name, "value": plain(asked), "limit": plain(smallest)},
    )


def unreachable(wanted: Decimal, currency: str, most: Decimal) -> Problem:
    return errors.problem(
        errors.AMOUNT_UNREACHABLE,
        f"end_amount: {plain(wanted)} {currency} is more than what is held can buy: about "
        f"{plain(short_number(most))} {currency}",
        hint=f"Ask for at most about {plain(short_number(most * LESS))} {currency}, or deposit more.",
        details={"field": "end_amount", "value": plain(wanted), "reachable": plain(short_number(most))},
    )


def end_too_small(wanted: Decimal, currency: str, why: str) -> Problem:
    return errors.problem(
        errors.AMOUNT_TOO_SMALL,
        f"end_amount: {plain(wanted)} {currency} is too small to trade on any way: {why}",
        hint="Ask for more: a leg must be worth 10 USD and 1.5 times the smallest order of its market.",
        details={"field": "end_amount", "value": plain(wanted)},
    )


def short_of(
    accounts: Sequence[Account], currency: str, wanted: Decimal, held: Decimal, claimed: Decimal
) -> Problem:
    """Return the refusal for lack of funds, with what is there and what holds the rest."""
    available = max(held - claimed, ZERO)
    where = ", ".join(a.exchange for a in accounts)
    message = (
        f"{plain(wanted)} {currency} is needed and {plain(available)} {currency} is available at {where}"
    )
    if wanted <= ZERO:
        message = f"no {currency} is available at {where}"
    if claimed > ZERO:
        message += f" ({plain(claimed)} {currency} is claimed by work in progress)"
    return errors.problem(
        errors.FUNDS_INSUFFICIENT,
        message,
        hint=f"Ask for at most {plain(available)} {currency}, deposit, or wait for work in progress to end.",
        details={
            "exchanges": [a.exchange for a in accounts],
            "currency": currency,
            "needed": plain(wanted),
            "available": plain(available),
            "claimed": plain(claimed),
        },
    )


def currency_unknown(accounts: Sequence[Account], field_name: str, currency: str, known: set[str]) -> Problem:
    close = nearest(currency, sorted(known))
    hint = f"Did you mean {close}?" if close else errors.CODES[errors.CURRENCY_UNKNOWN].hint
    names = ", ".join(a.exchange for a in accounts)
    verb = "does" if len(accounts) == 1 else "do"
    return errors.problem(
        errors.CURRENCY_UNKNOWN,
        f"{field_name}: {names} {verb} not trade {currency}",
        hint=hint,
        details={"field": field_name, "value": currency},
    )


def symbol_unknown(account: Account, symbol: str, everywhere: Iterable[Account] = ()) -> Problem:
    """Refuse a market that an exchange does not have, with those that may have been meant."""
    near = near_symbols(symbol, (s for s, m in account.markets.items() if m.active))
    listed = {a.exchange for a in everywhere if a.key != account.key and symbol in a.markets}
    hint = f"Did you mean {' or '.join(near)}?" if near else errors.CODES[errors.SYMBOL_UNKNOWN].hint
    if listed:
        hint += f" {symbol} is traded at {', '.join(sorted(listed))}."
    return errors.problem(
        errors.SYMBOL_UNKNOWN,
        f"symbol: {account.exchange} has no market {symbol} open for trading",
        hint=hint,
        details={
            "field": "symbol",
            "rule": "listed",
            "value": symbol,
            "nearest": near[0] if near else None,
            "near": near,
            "elsewhere": sorted(listed),
        },
    )


NEAR_MAX = 3
NEAR = 0.8  # two symbols of one quote currency look alike; this near only a slip of the keys is


def near_symbols(symbol: str, known: Iterable[str]) -> list[str]:
    """Return the markets that may have been meant: the pair turned around, a slip of the keys."""
    symbols = sorted(known)
    turned = "/".join(reversed(symbol.split("/")))
    near = get_close_matches(symbol, symbols, n=NEAR_MAX, cutoff=NEAR)
    first = [turned] if turned in symbols else []
    return [*first, *(s for s in near if s != turned)][:NEAR_MAX]
