"""May this command start, and as what? Checked before anything is written or sent.

`admit` answers one of three things: a `Plan` (go ahead), a `Problem` (no, with the number that would pass),
or a `Need` (look first: a refusal must never rest on an old balance, nor a size check on a missing book).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ems import tca
from ems.algos import classic
from ems.core import errors
from ems.core.codec import nearest, plain
from ems.core.instrument import Market, ceil_to
from ems.core.messages import LimitOrder, MarketOrder, OrderType, Problem, Side, SmartOrder, TimeInForce
from ems.core.records import Hop
from ems.engine.account import Account, Readiness
from ems.routing.chain import shortest_chain, sweep

ZERO = Decimal(0)
BALANCE_AGE_S = 2.0  # a balance asked for within this is fresh enough to refuse on


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What must be looked at before the command can be judged."""

    balances: bool = False
    books: frozenset[str] = frozenset()  # symbols


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A command that may start."""

    algo: str  # "classic" | "direct"
    hops: tuple[Hop, ...]  # empty: nothing to do, `reason` says why
    amount: Decimal  # of the first hop's source; for "direct" the base quantity
    time_limit: Decimal = ZERO
    arrival: dict[str, object] = field(default_factory=dict)
    order_type: OrderType = OrderType.MARKET  # the rest is for "direct"
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reserved: Decimal = ZERO  # of the source currency
    reason: str = ""


def admit(
    command: MarketOrder | LimitOrder | SmartOrder,
    account: Account,
    claims: dict[str, Decimal],
    now: datetime,
    *,
    patient: bool,
) -> Plan | Need | Problem:
    """Judge a command. `claims` is what other work of ours may still spend, by currency.

    With `patient` False nothing more can be waited for: judge on what is known.
    """
    if account.readiness is not Readiness.READY:
        why = account.trouble or account.readiness
        return errors.problem(errors.EXCHANGE_UNAVAILABLE, f"{account.exchange} is not ready to trade: {why}")
    if isinstance(command, SmartOrder):
        return _admit_smart(command, account, claims, now, patient)
    return _admit_direct(command, account, claims, now, patient)


def _admit_smart(
    command: SmartOrder, account: Account, claims: dict[str, Decimal], now: datetime, patient: bool
) -> Plan | Need | Problem:
    known = account.currencies()
    for name in ("start_currency", "end_currency"):
        currency = getattr(command, name)
        if currency not in known:
            return _currency_unknown(account, name, currency, known)
    hops = shortest_chain(account.markets.values(), command.start_currency, command.end_currency)
    if not hops:
        reason = (
            f"no chain of up to three markets of {account.exchange} leads from "
            f"{command.start_currency} to {command.end_currency}"
        )
        return Plan(algo="classic", hops=(), amount=command.start_amount, reason=reason)
    missing = frozenset(h.symbol for h in hops if not classic.usable(account.books.get(h.symbol), now))
    short = _short_of(account, claims, hops[0].source, command.start_amount)
    if patient and (missing or (short is not None and not _fresh(account, now))):
        return Need(balances=short is not None and not _fresh(account, now), books=missing)
    if short is not None:
        return short
    if missing:
        return errors.problem(
            errors.EXCHANGE_UNAVAILABLE,
            f"{account.exchange} sends no usable order book of {', '.join(sorted(missing))}",
        )
    benchmark = tca.arrival(hops, command.start_amount, account.markets, account.books)
    too_small = _chain_too_small(command, account, hops)
    if too_small is not None:
        return too_small
    return Plan(
        algo="classic",
        hops=hops,
        amount=command.start_amount,
        time_limit=command.style.time_limit,
        arrival=benchmark,
    )


def _admit_direct(
    command: MarketOrder | LimitOrder,
    account: Account,
    claims: dict[str, Decimal],
    now: datetime,
    patient: bool,
) -> Plan | Need | Problem:
    market = account.markets.get(command.symbol)
    if market is None or not market.active:
        return _symbol_unknown(account, command.symbol)
    side = command.side
    if isinstance(command, LimitOrder):
        price = market.passive_price(side, command.price)
        if price <= ZERO:
            return errors.problem(
                errors.PRICE_INVALID,
                f"price: {plain(command.price)} is below the price step of {market.symbol}",
                hint=f"The smallest price is {plain(market.tick)}.",
                details={"field": "price", "value": plain(command.price), "limit": plain(market.tick)},
            )
        worst = limit = price
    else:
        book = account.books.get(command.symbol)
        if not classic.usable(book, now):
            if patient:
                return Need(books=frozenset({command.symbol}))
            return errors.problem(
                errors.EXCHANGE_UNAVAILABLE,
                f"{account.exchange} sends no usable order book of {command.symbol}",
            )
        assert book is not None
        limit = classic.take_price(market, side, book)
        worst = min(limit, book.bids[0][0])
    quantity = market.floor_quantity(command.quantity)
    refused = _size_refused(market, command.quantity, quantity, worst)
    if refused is not None:
        return refused
    post_only = isinstance(command, LimitOrder) and command.post_only
    reserved = market.reserve(side, quantity, limit, post_only=post_only)
    source, target = (market.quote, market.base) if side is Side.BUY else (market.base, market.quote)
    short = _short_of(account, claims, source, reserved)
    if short is not None:
        if patient and not _fresh(account, now):
            return Need(balances=True)
        return short
    is_limit = isinstance(command, LimitOrder)
    return Plan(
        algo="direct",
        hops=(Hop(symbol=market.symbol, side=side, source=source, target=target),),
        amount=quantity,
        order_type=OrderType.LIMIT if is_limit else OrderType.MARKET,
        price=limit if is_limit else None,
        time_in_force=command.time_in_force if isinstance(command, LimitOrder) else TimeInForce.IOC,
        post_only=post_only,
        reserved=reserved,
    )


def _size_refused(market: Market, asked: Decimal, quantity: Decimal, price: Decimal) -> Problem | None:
    if market.max_quantity is not None and quantity > market.max_quantity:
        return errors.problem(
            errors.AMOUNT_TOO_LARGE,
            f"quantity: {plain(asked)} {market.base} is above the largest order of {market.symbol}",
            hint=f"At most {plain(market.max_quantity)} {market.base} at once; smart_order splits by itself.",
            details={"field": "quantity", "value": plain(asked), "limit": plain(market.max_quantity)},
        )
    if not market.order_ok(quantity, price):
        smallest = market.smallest_order(price)
        return errors.problem(
            errors.AMOUNT_TOO_SMALL,
            f"quantity: {plain(asked)} {market.base} is below the smallest order of {market.symbol}",
            hint=f"Ask for at least {plain(smallest)} {market.base}.",
            details={"field": "quantity", "value": plain(asked), "limit": plain(smallest)},
        )
    return None


def _chain_too_small(command: SmartOrder, account: Account, hops: tuple[Hop, ...]) -> Problem | None:
    """Refuse an amount of which some hop of the chain could not make a legal order."""
    carried = command.start_amount
    for hop in hops:
        market, book = account.markets[hop.symbol], account.books[hop.symbol]
        price = classic.take_price(market, hop.side, book)
        worst = min(price, book.bids[0][0])
        if hop.side is Side.BUY:
            quantity = market.largest_buy(carried, price, haircut=ZERO, post_only=False)
        else:
            quantity = market.largest_sell(carried, haircut=ZERO, post_only=False)
        if not market.order_ok(quantity, worst):
            smallest = market.smallest_order(worst)
            needed = market.reserve(hop.side, smallest, price, post_only=False)
            # Scale back to the start currency and add 1 %: prices move while it is worked.
            start = needed * command.start_amount / carried * Decimal("1.01") if carried > ZERO else needed
            start = ceil_to(start, Decimal(10) ** (start.adjusted() - 3))
            return errors.problem(
                errors.AMOUNT_TOO_SMALL,
                f"start_amount: {plain(command.start_amount)} {command.start_currency} is below the smallest "
                f"order of {hop.symbol}",
                hint=f"Ask for at least about {plain(start)} {command.start_currency}.",
                details={
                    "field": "start_amount",
                    "value": plain(command.start_amount),
                    "limit": plain(start),
                    "symbol": hop.symbol,
                },
            )
        out, _ = sweep(hop.side, carried, book.asks if hop.side is Side.BUY else book.bids, market)
        carried = out
    return None


def _short_of(account: Account, claims: dict[str, Decimal], currency: str, wanted: Decimal) -> Problem | None:
    usable = account.holdings.usable(currency)
    claimed = claims.get(currency, ZERO)
    available = max(usable - claimed, ZERO)
    if wanted <= available:
        return None
    message = (
        f"{plain(wanted)} {currency} is needed and {plain(available)} {currency} is available "
        f"at {account.exchange}"
    )
    if claimed > ZERO:
        message += f" ({plain(claimed)} {currency} is claimed by work in progress)"
    return errors.problem(
        errors.FUNDS_INSUFFICIENT,
        message,
        hint=f"Ask for at most {plain(available)} {currency}, deposit, or wait for work in progress to end.",
        details={
            "currency": currency,
            "needed": plain(wanted),
            "available": plain(available),
            "claimed": plain(claimed),
        },
    )


def _fresh(account: Account, now: datetime) -> bool:
    as_of = account.holdings.as_of
    return as_of is not None and (now - as_of).total_seconds() <= BALANCE_AGE_S


def _currency_unknown(account: Account, field_name: str, currency: str, known: set[str]) -> Problem:
    close = nearest(currency, sorted(known))
    hint = f"Did you mean {close}?" if close else errors.CODES[errors.CURRENCY_UNKNOWN].hint
    return errors.problem(
        errors.CURRENCY_UNKNOWN,
        f"{field_name}: {account.exchange} does not trade {currency}",
        hint=hint,
        details={"field": field_name, "value": currency},
    )


def _symbol_unknown(account: Account, symbol: str) -> Problem:
    close = nearest(symbol, sorted(s for s, m in account.markets.items() if m.active))
    hint = f"Did you mean {close}?" if close else errors.CODES[errors.SYMBOL_UNKNOWN].hint
    return errors.problem(
        errors.SYMBOL_UNKNOWN,
        f"symbol: {account.exchange} has no market {symbol} open for trading",
        hint=hint,
        details={"field": "symbol", "value": symbol},
    )
