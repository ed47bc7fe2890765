"""May this order of any type start, and who waits for its price: the exchange, or we?

An order that an exchange does not take is emulated: it is on record from the beginning, holds its money
against the rest of our work, and is sent when the middle of a book fit to trade on meets its stop price. The
exchange holds nothing for it until then, and may say no when its time has come.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core import errors
from ems.core.codec import plain
from ems.core.fitness import mid_of
from ems.core.instrument import Market, ceil_to, floor_to
from ems.core.messages import (
    BookUpdate,
    LimitOrder,
    MarketOrder,
    OrderType,
    PlaceOrder,
    Problem,
    Side,
    TimeInForce,
)
from ems.core.records import Leg
from ems.core.triggers import met, rising
from ems.engine.account import Account
from ems.engine.admission import Admitted, admit, afford, reaching, size_refused
from ems.engine.plans import TAKE_THROUGH
from ems.engine.refusals import no_book, short_of, symbol_unknown
from ems.engine.sight import Need, fresh, usable

ZERO = Decimal(0)
ONE_DAY = timedelta(days=1)
GTD_MAX = timedelta(days=366)


def admit_any(
    command: PlaceOrder, account: Account, claims: dict[str, Decimal], now: datetime, *, patient: bool
) -> Admitted | Need | Problem:
    """Judge an order, as `admission.admit` does its two types."""
    market = account.markets.get(command.symbol)
    if market is None or not market.active:
        return symbol_unknown(account, command.symbol)
    expires_at = _end_of(command, now)
    if isinstance(expires_at, Problem):
        return expires_at
    if command.reduce_only:
        cut = _cut_to_holding(command, account, market, claims, now, patient)
        if not isinstance(cut, Decimal):
            return cut
        command = replace(command, quantity=cut)
    if command.order_type.waits:
        judged = _admit_waiting(command, account, market, claims, now, patient)
    else:
        judged = admit(_as_plain(command), account, claims, now, patient=patient)
    if not isinstance(judged, Admitted):
        return judged
    # A market order trades at once, whatever time it was given; the exchange decides how.
    duration = judged.time_in_force if command.order_type is OrderType.MARKET else command.time_in_force
    return replace(judged, time_in_force=duration, expires_at=expires_at, reduce_only=command.reduce_only)


def _end_of(command: PlaceOrder, now: datetime) -> datetime | None | Problem:
    """Return when its time is over: midnight in UTC for DAY."""
    if command.time_in_force is TimeInForce.DAY:
        return now.replace(hour=0, minute=0, second=0, microsecond=0) + ONE_DAY
    until = command.expires_at
    if until is None or now < until <= now + GTD_MAX:
        return until
    why = "is over already" if until <= now else f"is more than {GTD_MAX.days} days ahead"
    return errors.problem(
        errors.REQUEST_FIELD_INVALID,
        f"expires_at: {until.isoformat()} {why}",
        hint="Send a later time, or use time_in_force GTC."
        if until <= now
        else "Use GTC for an order without end.",
        details={"field": "expires_at", "value": until.isoformat()},
    )


def _as_plain(command: PlaceOrder) -> MarketOrder | LimitOrder:
    if command.order_type is OrderType.MARKET:
        return MarketOrder(
            exchange=command.exchange,
            side=command.side,
            symbol=command.symbol,
            quantity=command.quantity,
            account=command.account,
        )
    assert command.price is not None
    return LimitOrder(
        exchange=command.exchange,
        side=command.side,
        symbol=command.symbol,
        quantity=command.quantity,
        price=command.price,
        time_in_force=command.time_in_force,
        post_only=command.post_only,
        account=command.account,
    )


def _cut_to_holding(
    command: PlaceOrder,
    account: Account,
    market: Market,
    claims: dict[str, Decimal],
    now: datetime,
    patient: bool,
) -> Decimal | Need | Problem:
    """Return how much of it may be sold: no more than is held and free."""
    free = account.holdings.usable(market.base) - claims.get(market.base, ZERO)
    if command.quantity > free and patient and not fresh(account, now):
        return Need(balances=frozenset({account.key}))
    cut = min(command.quantity, sellable(market, free))
    if cut <= ZERO:
        held, claimed = account.holdings.usable(market.base), claims.get(market.base, ZERO)
        return short_of([account], market.base, command.quantity, held, claimed)
    return cut


def sellable(market: Market, holding: Decimal) -> Decimal:
    """Return how much a holding can deliver, fee included where it is taken from it."""
    return market.largest_sell(max(holding, ZERO), haircut=ZERO, post_only=False)


def _admit_waiting(
    command: PlaceOrder,
    account: Account,
    market: Market,
    claims: dict[str, Decimal],
    now: datetime,
    patient: bool,
) -> Admitted | Need | Problem:
    """Judge an order that waits for its stop price."""
    side, kind = command.side, command.order_type
    assert command.stop_price is not None
    stop = stop_on_tick(market, kind, side, command.stop_price)
    price = None if command.price is None else market.passive_price(side, command.price)
    if min(stop, price or stop) <= ZERO:
        name, asked = ("stop_price", command.stop_price) if stop <= ZERO else ("price", command.price)
        return below_the_tick(market, name, asked or ZERO)
    emulated = not native(market, kind, command.time_in_force)
    if emulated:
        book = account.books.get(market.symbol)
        if not usable(book, now):
            if patient:
                return Need(books=frozenset({(*account.key, market.symbol)}))
            return no_book(account, [market.symbol], now)
        assert book is not None
        if met(kind, side, stop, mid_of(book)):
            return met_already(kind, side, stop, mid_of(book))
    quantity = market.floor_quantity(command.quantity)
    refused = size_refused(market, command.quantity, quantity, min(stop, price or stop))
    if refused is not None:
        return refused
    reserved = waiting_reserve(market, side, quantity, stop, price)
    source, target = (market.quote, market.base) if side is Side.BUY else (market.base, market.quote)
    lacking = afford(account, source, reserved, claims, now, patient=patient)
    if lacking is not None:
        return lacking
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
        order_type=kind,
        quantity=quantity,
        price=price,
        stop_price=stop,
        time_in_force=command.time_in_force,
        post_only=False,
        reserved=reserved,
        emulated=emulated,
    )


def native(market: Market, kind: OrderType, duration: TimeInForce) -> bool:
    """Say whether the exchange itself waits for the price."""
    return kind in market.stops and (not kind.limited or duration.sent in market.stop_times)


def stop_on_tick(market: Market, kind: OrderType, side: Side, stop_price: Decimal) -> Decimal:
    """Round a stop price away from the market: never met before the price that was asked for."""
    return ceil_to(stop_price, market.tick) if rising(kind, side) else floor_to(stop_price, market.tick)


def waiting_reserve(
    market: Market, side: Side, quantity: Decimal, stop: Decimal, price: Decimal | None
) -> Decimal:
    """Return what it may take of its source currency once its price has come."""
    limit = price if price is not None else stop * (1 + TAKE_THROUGH)
    return market.reserve(side, quantity, limit, post_only=False)


def limit_to_take(market: Market, side: Side, book: BookUpdate, quantity: Decimal) -> Decimal:
    """Return the limit that stands in for a market order where there are none."""
    far = reaching(book.asks if side is Side.BUY else book.bids, quantity)
    return market.taker_price(side, far * (1 + (TAKE_THROUGH if side is Side.BUY else -TAKE_THROUGH)))


def below_the_tick(market: Market, name: str, asked: Decimal) -> Problem:
    """Say that a price is smaller than the market's prices can be."""
    return errors.problem(
        errors.PRICE_INVALID,
        f"{name}: {plain(asked)} is below the price step of {market.symbol}",
        hint=f"The smallest price is {plain(market.tick)}.",
        details={"field": name, "value": plain(asked), "limit": plain(market.tick)},
    )


def met_already(kind: OrderType, side: Side, stop: Decimal, mid: Decimal) -> Problem:
    """Say that a stop price is met already, and which ones are not."""
    where = "above" if rising(kind, side) else "below"
    return errors.problem(
        errors.PRICE_INVALID,
        f"stop_price: the price is {plain(mid)}: a {kind} to {side} at {plain(stop)} would not wait",
        hint=f"Use a stop_price {where} {plain(mid)}, or an order that trades at once.",
        details={"field": "stop_price", "value": plain(stop), "limit": plain(mid)},
    )
