"""May this plain order start? Checked before anything is written or sent.

`admit` answers one of three things: an `Admitted` (go ahead), a `Problem` (no, with the number that would
pass), or a `Need` (look first: a refusal must never rest on an old balance, nor a size check on a missing
book).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ems.core import errors
from ems.core.codec import plain
from ems.core.instrument import Market
from ems.core.messages import LimitOrder, MarketOrder, OrderType, Problem, Side, TimeInForce
from ems.core.records import Leg
from ems.engine.account import Account
from ems.engine.plans import TAKE_THROUGH
from ems.engine.refusals import no_book, short_of, symbol_unknown, too_small
from ems.engine.sight import Need, fresh, usable

ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """A plain order that may be sent."""

    leg: Leg
    order_type: OrderType
    quantity: Decimal  # base
    price: Decimal | None
    time_in_force: TimeInForce
    post_only: bool
    reserved: Decimal  # of the source currency
    stop_price: Decimal | None = None
    expires_at: datetime | None = None
    reduce_only: bool = False
    emulated: bool = False  # this server waits for its stop price


def admit(
    command: MarketOrder | LimitOrder,
    account: Account,
    claims: dict[str, Decimal],
    now: datetime,
    *,
    patient: bool,
) -> Admitted | Need | Problem:
    """Judge an order. `claims` is what other work of ours may still spend, by currency.

    With `patient` False nothing more can be waited for: judge on what is known.
    """
    market = account.markets.get(command.symbol)
    if market is None or not market.active:
        return symbol_unknown(account, command.symbol)
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
        if not usable(book, now):
            if patient:
                return Need(books=frozenset({(*account.key, command.symbol)}))
            return no_book(account, [command.symbol], now)
        assert book is not None
        levels = book.asks if side is Side.BUY else book.bids
        # A limit stands in for a market order where there are none: it has to reach all that is wanted.
        far = levels[0][0] if market.market_orders else reaching(levels, command.quantity)
        limit = market.taker_price(side, far * (1 + (TAKE_THROUGH if side is Side.BUY else -TAKE_THROUGH)))
        worst = min(limit, book.bids[0][0])
    quantity = market.floor_quantity(command.quantity)
    refused = size_refused(market, command.quantity, quantity, worst)
    if refused is not None:
        return refused
    post_only = isinstance(command, LimitOrder) and command.post_only
    reserved = market.reserve(side, quantity, limit, post_only=post_only)
    source, target = (market.quote, market.base) if side is Side.BUY else (market.base, market.quote)
    lacking = afford(account, source, reserved, claims, now, patient=patient)
    if lacking is not None:
        return lacking
    is_limit = isinstance(command, LimitOrder) or not market.market_orders
    return Admitted(
        leg=Leg(
            exchange=account.exchange,
            account=account.account,
            symbol=market.symbol,
            side=side,
            source=source,
            target=target,
            amount=reserved,
            quantity=quantity,
            started_at=now,
        ),
        order_type=OrderType.LIMIT if is_limit else OrderType.MARKET,
        quantity=quantity,
        price=limit if is_limit else None,
        time_in_force=command.time_in_force if isinstance(command, LimitOrder) else TimeInForce.IOC,
        post_only=post_only,
        reserved=reserved,
    )


def afford(
    account: Account,
    source: str,
    wanted: Decimal,
    claims: dict[str, Decimal],
    now: datetime,
    *,
    patient: bool,
) -> Need | Problem | None:
    """Refuse what is more than is held and not claimed; a refusal never rests on an old balance."""
    held, claimed = account.holdings.usable(source), claims.get(source, ZERO)
    if wanted <= max(held - claimed, ZERO):
        return None
    if patient and not fresh(account, now):
        return Need(balances=frozenset({account.key}))
    return short_of([account], source, wanted, held, claimed)


def reaching(levels: Sequence[tuple[Decimal, Decimal]], quantity: Decimal) -> Decimal:
    """Return the price of the level with which this much is reached; the last one where there is less."""
    reached = ZERO
    for price, size in levels:
        reached += size
        if reached >= quantity:
            return price
    return levels[-1][0]


def size_refused(market: Market, asked: Decimal, quantity: Decimal, price: Decimal) -> Problem | None:
    """Refuse a quantity that the market does not take at this price."""
    if market.max_quantity is not None and quantity > market.max_quantity:
        return errors.problem(
            errors.AMOUNT_TOO_LARGE,
            f"quantity: {plain(asked)} {market.base} is above the largest order of {market.symbol}",
            hint=f"At most {plain(market.max_quantity)} {market.base} at once; smart_order splits by itself.",
            details={"field": "quantity", "value": plain(asked), "limit": plain(market.max_quantity)},
        )
    if not market.order_ok(quantity, price):
        return too_small(market, "quantity", asked, price)
    return None
