"""May this order of any type start, and who waits for its price: the exchange, or we?

An order that an exchange does not take is emulated: it is on record from the beginning, holds its money
against the rest of our work, and is sent when the middle of a book fit to trade on meets its stop price. The
exchange holds nothing for it until then, and may say no when its time has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core import errors
from ems.core.codec import plain
from ems.core.fitness import mid_of
from ems.core.instrument import Market, ceil_to, floor_to
from ems.core.messages import (
    LimitOrder,
    MarketOrder,
    OrderType,
    PlaceOrder,
    Problem,
    Side,
    TimeInForce,
)
from ems.core.records import Order
from ems.core.triggers import met, rising
from ems.core.validation import Terms, judge, stop_on_tick
from ems.engine.account import Account
from ems.engine.admission import Admitted, admit, concluded, picture_of
from ems.engine.plans import TAKE_THROUGH
from ems.engine.refusals import no_book, short_of, symbol_unknown
from ems.engine.shortages import explained
from ems.engine.sight import Need, fresh, usable
from ems.engine.standing import cut_to_position, standing
from ems.engine.work import Work

ZERO = Decimal(0)
ONE_DAY = timedelta(days=1)
GTD_MAX = timedelta(days=366)


def admit_any(
    command: PlaceOrder,
    account: Account,
    work: Work,
    user: str,
    now: datetime,
    *,
    patient: bool,
    guard: Decimal | None = None,
) -> Admitted | Need | Problem:
    """Judge an order, as `admission.admit` does its two types."""
    market = account.markets.get(command.symbol)
    if market is None:
        return errors.combined([symbol_unknown(account, command.symbol, work.accounts.values())])
    expires_at = _end_of(command, now)
    if isinstance(expires_at, Problem):
        return expires_at
    if command.reduce_only:
        cut = _cut(command, account, market, work, now, patient)
        if isinstance(cut, Problem):
            return explained(cut, work, [account], user)
        if isinstance(cut, Need):
            return cut
        command = replace(command, quantity=cut)
    if command.order_type.waits:
        judged = _admit_waiting(command, account, market, work, user, now, patient)
    else:
        reduces = command.reduce_only and market.contract_size is not None
        judged = admit(
            _as_plain(command),
            account,
            work,
            user,
            now,
            patient=patient,
            guard=guard,
            reduces=reduces,
        )
    if not isinstance(judged, Admitted):
        return judged
    wrong = exits_refused(command, judged, market, account, now)
    if wrong is not None:
        return wrong
    # A market order trades at once, whatever time it was given; the exchange decides how.
    duration = judged.time_in_force if command.order_type is OrderType.MARKET else command.time_in_force
    return replace(judged, time_in_force=duration, expires_at=expires_at, reduce_only=command.reduce_only)


def exits_refused(
    command: PlaceOrder, admitted: Admitted, market: Market, account: Account, now: datetime
) -> Problem | None:
    """Refuse a stop loss or take profit that would be met where the order itself trades."""
    book = account.books.get(market.symbol)
    seen = mid_of(book) if book is not None and usable(book, now) else None
    at = admitted.price or admitted.stop_price or seen
    side = Side.SELL if command.side is Side.BUY else Side.BUY
    for name in ("stop_loss", "take_profit"):
        wanted = getattr(command, name)
        if wanted is None or at is None:
            continue
        kind = OrderType(name)
        if met(kind, side, stop_on_tick(market, kind, side, wanted.stop_price), at):
            where = "above" if rising(kind, side) else "below"
            return errors.problem(
                errors.PRICE_INVALID,
                f"{name}: {plain(wanted.stop_price)} is met already where the order trades, at {plain(at)}",
                hint=f"Use a stop_price {where} {plain(at)}.",
                details={"field": name, "value": plain(wanted.stop_price), "limit": plain(at)},
            )
    return None


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
            raise_to_minimum=command.raise_to_minimum,
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
        raise_to_minimum=command.raise_to_minimum,
    )


def _cut(
    command: PlaceOrder, account: Account, market: Market, work: Work, now: datetime, patient: bool
) -> Decimal | Need | Problem:
    """Return how much of a reduce-only order only reduces what is held."""
    if market.contract_size is None:
        return _cut_to_holding(command, account, market, work.claims(account), now, patient)
    known = standing(account, market.symbol, now, patient=patient)
    if isinstance(known, Need):
        return known
    if isinstance(known, Problem):
        return command.quantity  # the way out is never barred: the exchange itself lets it open nothing
    return cut_to_position(work, account, market, known, command.side, command.quantity)


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
    work: Work,
    user: str,
    now: datetime,
    patient: bool,
) -> Admitted | Need | Problem:
    """Judge an order that waits for its stop price."""
    side, kind = command.side, command.order_type
    assert command.stop_price is not None
    emulated = not native(market, kind, command.time_in_force)
    found = account.books.get(market.symbol)
    book = found if usable(found, now) else None
    if book is None and patient:
        return Need(books=frozenset({(*account.key, market.symbol)}))
    asked = Terms(
        side=side,
        order_type=kind,
        quantity=command.quantity,
        price=command.price,
        stop_price=command.stop_price,
        emulated=emulated,
    )
    picture = picture_of(work, account, market, book, command.price or command.stop_price, now)
    judged = judge(market, asked, picture, raise_to_minimum=command.raise_to_minimum)
    stop = judged.terms.stop_price
    assert stop is not None
    if emulated and book is None:
        judged.problems.append(no_book(account, [market.symbol], now))
    elif book is not None and met(kind, side, stop, mid_of(book)):
        judged.problems.append(met_already(market, kind, side, stop, mid_of(book)))
    paid = judged.terms.price or taken_at(stop)
    answer = concluded(
        judged,
        market,
        account,
        work,
        user,
        now,
        paid=paid,
        duration=command.time_in_force,
        patient=patient,
    )
    return replace(answer, emulated=emulated) if isinstance(answer, Admitted) else answer


def native(market: Market, kind: OrderType, duration: TimeInForce) -> bool:
    """Say whether the exchange itself waits for the price."""
    return kind in market.stops and (not kind.limited or duration.sent in market.stop_times)


def in_one_step(market: Market, order: Order, terms: Mapping[str, Decimal]) -> bool:
    """Say whether the exchange gives an order these terms without letting it go."""
    if not terms.keys() <= market.amends:
        return False
    return not market.amends_shrink_only or terms["quantity"] < order.quantity


def taken_at(stop: Decimal) -> Decimal:
    """Return the price at which an order without a limit is paid, at the worst, once its price has come."""
    return stop * (1 + TAKE_THROUGH)


def met_already(market: Market, kind: OrderType, side: Side, stop: Decimal, mid: Decimal) -> Problem:
    """Say that a stop price is met already, and which ones are not."""
    rises = rising(kind, side)
    nearest = floor_to(mid, market.tick) + market.tick if rises else ceil_to(mid, market.tick) - market.tick
    return errors.problem(
        errors.PRICE_INVALID,
        f"stop_price: the price is {plain(mid)}: a {kind} to {side} at {plain(stop)} would not wait",
        hint=f"Use a stop_price {'above' if rises else 'below'} {plain(mid)}, or one that does not wait.",
        details={
            "field": "stop_price",
            "rule": "not_met_yet",
            "value": plain(stop),
            "limit": plain(mid),
            "nearest": plain(nearest),
        },
    )
