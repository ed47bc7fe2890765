"""May this plain order start? Checked before anything is written or sent.

`admit` answers one of three things: an `Admitted` (go ahead), a `Problem` (no: every reason at once, with the
numbers that would pass), or a `Need` (look first: a refusal must never rest on an old balance, nor a size
check on a missing book).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ems.core import errors
from ems.core.contracts import Standing
from ems.core.fitness import mid_of
from ems.core.instrument import Market, MarketStatus
from ems.core.messages import (
    BookUpdate,
    LimitOrder,
    MarketOrder,
    OrderType,
    Problem,
    Side,
    TimeInForce,
)
from ems.core.records import Leg
from ems.core.validation import Judged, Picture, Terms, judge
from ems.engine.account import Account
from ems.engine.crossings import Match
from ems.engine.protection import limit_to_take, protection
from ems.engine.refusals import no_book, symbol_unknown
from ems.engine.shortages import Shortages
from ems.engine.sight import DARK_S, Need, bounds_of, fresh, usable
from ems.engine.standing import needed, standing
from ems.engine.work import Work

ZERO = Decimal(0)
AMPLE = Decimal(10) ** 18  # more money than anybody has


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """A plain order that may be sent."""

    leg: Leg
    order_type: OrderType
    quantity: Decimal  # base
    price: Decimal | None  # None: a market order
    time_in_force: TimeInForce
    post_only: bool
    reserved: Decimal  # of the source currency
    stop_price: Decimal | None = None
    protection_price: Decimal | None = None  # the limit that a market order goes out with
    expires_at: datetime | None = None
    reduce_only: bool = False
    emulated: bool = False  # this server waits for its stop price
    corrections: tuple[dict[str, object], ...] = ()  # what differs from what was asked
    crosses: tuple[Match, ...] = ()  # whom it meets inside first


def admit(
    command: MarketOrder | LimitOrder,
    account: Account,
    work: Work,
    user: str,
    now: datetime,
    *,
    patient: bool,
    guard: Decimal | None = None,
    reduces: bool = False,
) -> Admitted | Need | Problem:
    """Judge an order. With `patient` False nothing more can be waited for: judge on what is known.

    `guard`: percent beyond the best price at which a market order is to stop; None: nothing stops it.
    `reduces`: of a contract, the exchange itself sees to it that it opens nothing.
    """
    market = account.markets.get(command.symbol)
    if market is None:
        return errors.combined([symbol_unknown(account, command.symbol, work.accounts.values())])
    found = account.books.get(command.symbol)
    book = found if usable(found, now) else None
    if book is None and _wants_book(command, market, account, now):
        if patient:
            return Need(books=frozenset({(*account.key, command.symbol)}))
        account.dark[command.symbol] = now
    bound = None
    if book is not None and isinstance(command, MarketOrder):
        money = Shortages(work, account, user).available(market.quote)
        if market.contract_size is not None:
            money = AMPLE  # margin bounds it, wherever it trades
        taken = bounds_of(account, market.symbol, now)
        bound = protection(market, command.side, book, command.quantity, guard, money, taken)
    limit = bound or _limit_of(command, market, book)
    judged = judge(
        market,
        _terms(command, bound),
        picture_of(work, account, market, book, limit, now),
        raise_to_minimum=command.raise_to_minimum,
    )
    problems = judged.problems
    if book is None and isinstance(command, MarketOrder) and market.status is MarketStatus.OPEN:
        problems.append(no_book(account, [command.symbol], now))
    duration = command.time_in_force if isinstance(command, LimitOrder) else TimeInForce.IOC
    paid = judged.terms.price or limit
    answer = concluded(
        judged,
        market,
        account,
        work,
        user,
        now,
        paid=paid,
        duration=duration,
        patient=patient,
        reduces=reduces,
    )
    if isinstance(command, MarketOrder) and isinstance(answer, Admitted):
        return as_asked(answer)
    return answer


def as_asked(admitted: Admitted) -> Admitted:
    """Tell a limit that stands in for a market order as the market order that was asked for."""
    return replace(admitted, order_type=OrderType.MARKET, price=None, protection_price=admitted.price)


def concluded(
    judged: Judged,
    market: Market,
    account: Account,
    work: Work,
    user: str,
    now: datetime,
    *,
    paid: Decimal | None,
    duration: TimeInForce,
    patient: bool,
    reduces: bool = False,
) -> Admitted | Need | Problem:
    """Add the money to what the market's rules say, and answer. `paid` is the price it is reckoned at."""
    terms, problems, reserved = judged.terms, judged.problems, ZERO
    buys = terms.side is Side.BUY
    source, target = (market.quote, market.base) if buys else (market.base, market.quote)
    if paid is not None:
        wanted = ZERO if reduces else _wanted(market, account, work, terms, paid, now, patient)
        if isinstance(wanted, Need):
            return wanted
        if isinstance(wanted, Problem):
            return errors.combined([*problems, wanted])
        reserved = wanted
        paying = source if market.contract_size is None else market.quote
        shortages = Shortages(work, account, user)
        if shortages.lacks(paying, reserved):
            if patient and not fresh(account, now):
                return Need(balances=frozenset({account.key}))
            problems.append(shortages.of_order(market, terms, paid, reserved))
    if problems:
        return errors.combined(problems)
    return Admitted(
        leg=Leg(
            exchange=account.exchange,
            account=account.account,
            symbol=market.symbol,
            side=terms.side,
            source=source,
            target=target,
            amount=reserved,
            quantity=terms.quantity,
            started_at=now,
        ),
        order_type=terms.order_type,
        quantity=terms.quantity,
        price=terms.price,
        stop_price=terms.stop_price,
        time_in_force=duration,
        post_only=terms.post_only,
        reserved=reserved,
        corrections=tuple(one.body() for one in judged.corrections),
    )


def _wanted(
    market: Market,
    account: Account,
    work: Work,
    terms: Terms,
    paid: Decimal,
    now: datetime,
    patient: bool,
) -> Decimal | Need | Problem:
    """Return what an order holds while it is open: what it spends, or the margin of a contract."""
    if market.contract_size is None:
        return market.reserve(terms.side, terms.quantity, paid, post_only=terms.post_only)
    known = standing(account, market.symbol, now, patient=patient)
    return needed(work, account, market, known, terms, paid) if isinstance(known, Standing) else known


def picture_of(
    work: Work,
    account: Account,
    market: Market,
    book: BookUpdate | None,
    limit: Decimal | None,
    now: datetime,
) -> Picture:
    """Return what an order in this market is judged in; `limit` is how far it may take without a price."""
    bounds = bounds_of(account, market.symbol, now)
    open_orders, waiting_orders = work.count_open(account, market.symbol)
    sided = book if book is not None and book.bids and book.asks else None
    return Picture(
        mid=None if sided is None else mid_of(sided),
        reference=bounds.reference,
        highest_buy=bounds.highest_buy,
        lowest_sell=bounds.lowest_sell,
        taken_at=None if sided is None or limit is None else min(limit, sided.bids[0][0]),
        open_orders=open_orders,
        waiting_orders=waiting_orders,
    )


def _wants_book(command: MarketOrder | LimitOrder, market: Market, account: Account, now: datetime) -> bool:
    """Say whether a book is worth waiting for; without one the exchange judges its band of prices itself."""
    if market.status in (MarketStatus.HALTED, MarketStatus.CANCEL_ONLY):
        return False
    if isinstance(command, MarketOrder):
        return True
    dark = account.dark.get(command.symbol)
    lately = dark is not None and (now - dark).total_seconds() < DARK_S
    return market.rules.band is not None and not lately


def _limit_of(command: MarketOrder | LimitOrder, market: Market, book: BookUpdate | None) -> Decimal | None:
    """Return how far an order may take; None where that is not known."""
    if isinstance(command, LimitOrder):
        return command.price
    # Without a limit its money is counted at the touch: more depth is not asked for.
    return None if book is None else limit_to_take(market, command.side, book, ZERO)


def _terms(command: MarketOrder | LimitOrder, bound: Decimal | None) -> Terms:
    if isinstance(command, LimitOrder):
        return Terms(
            side=command.side,
            order_type=OrderType.LIMIT,
            quantity=command.quantity,
            price=command.price,
            post_only=command.post_only,
        )
    kind = OrderType.MARKET if bound is None else OrderType.LIMIT
    return Terms(side=command.side, order_type=kind, quantity=command.quantity, price=bound)
