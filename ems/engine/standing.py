"""How an account stands in a contract, and what an order for it would change and need."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ems.core import errors
from ems.core.codec import plain
from ems.core.contracts import NEAR, Move, Standing, held, is_contract, margin, opened, signed
from ems.core.instrument import Market
from ems.core.messages import (
    ContractRead,
    FillReport,
    LimitOrder,
    MarketOrder,
    PlaceOrder,
    Problem,
    Side,
)
from ems.core.validation import Terms
from ems.engine.account import Account
from ems.engine.sight import Need
from ems.engine.work import Work

ZERO = Decimal(0)
KNOWN_S = 60.0  # an older reading says nothing: a leverage may be changed by hand


def booked(account: Account, report: FillReport, now: datetime, ordered_at: datetime | None) -> None:
    """Keep a fill: the last reading, or one on its way, may not contain it."""
    fills = account.contract_fills.setdefault(report.symbol, {})
    moved = signed(report.side, report.quantity)
    fills[report.fill_id, str(report.side)] = Move(
        at=report.at, moved=moved, heard_at=now, ordered_at=ordered_at
    )


def believed(account: Account, report: ContractRead, now: datetime) -> None:
    """Take a reading, and forget the fills that are surely in it."""
    assert report.query_sent_at is not None
    account.contracts[report.symbol], account.contracts_came[report.symbol] = report, now
    since, fills = report.query_sent_at - NEAR, account.contract_fills.pop(report.symbol, {})
    account.contract_fills[report.symbol] = {key: fill for key, fill in fills.items() if fill.at >= since}


def known_now(account: Account, symbol: str, now: datetime) -> Standing | None:
    """Return how a contract stands, if that was read lately."""
    known = account.contracts.get(symbol)
    if known is None or known.query_sent_at is None:
        return None
    if (now - known.query_sent_at).total_seconds() > KNOWN_S:
        return None
    fills = account.contract_fills.get(symbol, {}).values()
    least, most = held(known.quantity, known.query_sent_at, account.contracts_came[symbol], fills)
    return Standing(symbol=symbol, least=least, most=most, leverage=known.leverage)


def worst(known: Standing, side: Side) -> Decimal:
    """Return what is held if it is as bad as may be for an order of this side."""
    return known.most if side is Side.BUY else known.least


def opening(work: Work, account: Account, known: Standing, side: Side, quantity: Decimal) -> Decimal:
    """Return how much of an order would, or while that is unsure might, open or add to a position."""
    return opened(worst(known, side), side, beside(work, account, known.symbol, side), quantity)


def beside(work: Work, account: Account, symbol: str, side: Side) -> Decimal:
    """Return what of a contract our open orders of one side may still trade."""
    ids = work.out.get((*account.key, symbol, side), ())
    open_orders = (work.children[order_id].order for order_id in ids)
    return sum((max(o.quantity - o.filled_quantity, ZERO) for o in open_orders), ZERO)


def swaps_off(account: Account) -> Problem:
    """Refuse a contract on an account that does not trade them."""
    return errors.problem(
        errors.EXCHANGE_OFFERS_NONE,
        f"symbol: contracts are not traded on {account.exchange}/{account.account}",
        hint="An operator allows it: OMS_SWAPS names the accounts that trade contracts (OKX, Bybit).",
        details={"field": "symbol"},
    )


def standing(account: Account, symbol: str, now: datetime, *, patient: bool) -> Standing | Need | Problem:
    """Return how a contract stands, or what must be looked at first; a Problem where it cannot be learned."""
    known = known_now(account, symbol, now)
    if known is not None:
        return known
    if patient:
        return Need(contracts=frozenset({(*account.key, symbol)}))
    failed = account.contracts_failed.get(symbol, "no answer in time")
    return errors.problem(
        errors.VENUE_UNAVAILABLE,
        f"symbol: what {account.exchange} holds of {symbol}, and at which leverage, cannot be read: {failed}",
        details={"field": "symbol", "value": symbol},
    )


def needed(
    work: Work, account: Account, market: Market, known: Standing, terms: Terms, price: Decimal
) -> Decimal:
    """Return what an order needs of the settlement currency: margin for what it opens, and its fee.

    What only closes needs nothing: it frees more than it costs.
    """
    opens = opening(work, account, known, terms.side, terms.quantity)
    if not opens:
        return ZERO
    fee = market.maker_fee if terms.post_only else market.taker_fee
    return margin(opens, terms.quantity, price, max(known.leverage, Decimal(1)), fee)


def cut_to_position(
    work: Work, account: Account, market: Market, known: Standing, side: Side, quantity: Decimal
) -> Decimal | Problem:
    """Return how much of an order only reduces the account's position, beside the open ones of its side.

    While it is unsure what is held, the most it may be, and no refusal: the exchange lets it open nothing.
    """
    best = known.least if side is Side.BUY else known.most
    closable = max(-signed(side, best), ZERO) - beside(work, account, market.symbol, side)
    cut = min(quantity, market.floor_quantity(max(closable, ZERO)))
    if cut > ZERO:
        return cut
    if known.unsure:
        return quantity
    return errors.problem(
        errors.NOTHING_TO_REDUCE,
        f"reduce_only: to {side} would reduce nothing: {account.exchange}/{account.account} holds "
        f"{plain(best)} {market.base} of {market.symbol}, and open orders to {side} come first",
        details={"field": "reduce_only", "held": plain(best)},
    )


def contract_refused(
    account: Account, command: MarketOrder | LimitOrder | PlaceOrder, *, sliced: bool
) -> Problem | None:
    """Refuse what cannot be done with contracts; None: it can. `sliced`: the bot has a slice there."""
    if not is_contract(command.symbol):
        return None
    if not account.swaps:
        return swaps_off(account)
    if sliced and not (isinstance(command, PlaceOrder) and command.reduce_only):
        # Margin and losses are the whole account's: no slice could bound them.
        return errors.problem(
            errors.REQUEST_FIELD_INVALID,
            f"symbol: a bot with a slice of {account.exchange}/{account.account} opens no contracts there",
            hint="Trade contracts as a bot without a slice there, or have an admin end the slice (set_slice "
            "with empty amounts). An order with reduce_only closes what is held.",
            details={"field": "symbol", "value": command.symbol},
        )
    name, why = "", ""
    if isinstance(command, PlaceOrder):
        if command.order_type.waits:
            name, why = "order_type", "market and limit orders are"
        elif command.stop_loss is not None or command.take_profit is not None:
            name, why = "stop_loss" if command.stop_loss is not None else "take_profit", "plain orders are"
    elif command.style is not None:
        name, why = "algo", "plain orders are"
    if command.resubmit:
        name, why = "resubmit", "orders that are refused once are"
    if not name:
        return None
    return errors.problem(
        errors.REQUEST_FIELD_INVALID,
        f"{name}: not for contracts, of which only {why} taken",
        hint=f"Leave {name} out, or trade the spot market.",
        details={"field": name},
    )
