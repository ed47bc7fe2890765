"""What ccxt's unified words mean in ours, the same for every exchange; raise rather than guess.

Pure: ccxt's structures in, records of `ems.core` out. ccxt builds its numbers with Decimal (see `transport`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any

import ccxt

from ems.core.instrument import Market, MarketStatus, Rules
from ems.core.messages import (
    Acked,
    Ending,
    FillReport,
    Found,
    Liquidity,
    NewOrder,
    OrderStatus,
    PublicTrade,
    Side,
)
from ems.core.records import Status, Transfer, VenueOrder

_ENDINGS = {"canceled": Ending.CANCELED, "expired": Ending.EXPIRED, "rejected": Ending.REJECTED}


class Unreadable(Exception):
    """The venue's answer lacks something this order's truth depends on."""


def status_of(order: Any, *, order_id: str | None, query_sent_at: datetime | None) -> OrderStatus:
    """Translate ccxt's order; raise Unreadable rather than guess."""
    status, filled, amount = order.get("status"), order.get("filled"), order.get("amount")
    if not order.get("id") or filled is None:
        raise Unreadable(f"an order without id or filled quantity: {order.get('info')!r:.300}")
    ending: Ending | None
    if status == "closed":
        # Some venues say `closed` for an immediate order whose rest was dropped.
        ending = Ending.FILLED if amount is None or filled >= amount else Ending.CANCELED
    elif status in _ENDINGS:
        ending = _ENDINGS[status]
    elif status in ("open", "canceling"):
        ending = None
    else:
        raise Unreadable(f"unknown order status {status!r}")
    side = order.get("side")
    status_read = OrderStatus(
        order_id=order_id,
        found=Found.OPEN if ending is None else Found.CLOSED,
        exchange_order_id=order["id"],
        client_order_id=order.get("clientOrderId"),
        symbol=order.get("symbol"),
        filled_quantity=filled,
        ending=ending,
        side=None if side is None else Side(side),
        quantity=amount,
        query_sent_at=query_sent_at,
        price=_price(order, "price"),
        stop_price=_price(order, "triggerPrice", "stopLossPrice", "takeProfitPrice"),
    )
    return checked_status(status_read)


def _price(order: Any, *names: str) -> Decimal | None:
    """Return the first of these prices that is one; nought is how venues write that there is none."""
    for name in names:
        value = order.get(name)
        if value is not None and _decimal(value):
            return _decimal(value)
    return None


def fill_of(
    trade: Any, *, order_id: str | None, client_order_id: str | None, order: Any = None
) -> FillReport:
    """Translate ccxt's trade; what a create's own answer leaves out is taken from its `order`."""
    order = order or {}
    fee = trade.get("fee") or {}
    exchange_order_id = trade.get("order") or order.get("id")
    side = trade.get("side") or order.get("side")
    symbol = trade.get("symbol") or order.get("symbol")
    timestamp = trade.get("timestamp") or order.get("timestamp")
    needed = (
        trade.get("id"),
        exchange_order_id,
        side,
        symbol,
        timestamp,
        trade.get("price"),
        trade.get("amount"),
    )
    if any(one is None for one in needed) or fee.get("cost") is None or fee.get("currency") is None:
        raise Unreadable(f"an incomplete trade: {trade.get('info')!r:.300}")
    fill = FillReport(
        fill_id=trade["id"],
        exchange_order_id=exchange_order_id,
        symbol=symbol,
        side=Side(side),
        price=trade["price"],
        quantity=trade["amount"],
        fee=fee["cost"],
        fee_currency=fee["currency"],
        liquidity=Liquidity.MAKER if trade.get("takerOrMaker") == "maker" else Liquidity.TAKER,
        at=from_ms(timestamp),
        order_id=order_id,
        client_order_id=client_order_id,
    )
    return checked_fill(fill)


# What can be kept: one amount beyond it would stop the engine, and every account with it.
_TOO_LARGE = Decimal(10) ** 20
_DECIMALS_MAX = 18
_FEE_DECIMALS_MAX = 36  # a fee may be multiplied out of two amounts


def _is_amount(value: object, decimals: int = _DECIMALS_MAX) -> bool:
    if not isinstance(value, Decimal) or not value.is_finite() or abs(value) >= _TOO_LARGE:
        return False
    return not value or len(plain(value).partition(".")[2]) <= decimals


def checked_fill(fill: FillReport) -> FillReport:
    """Return the fill; raise Unreadable when it is none that can be booked."""
    moved = (fill.price, fill.quantity)
    if all(_is_amount(one) and one > 0 for one in moved) and _is_amount(fill.fee, _FEE_DECIMALS_MAX):
        return fill
    raise Unreadable(f"fill {fill.fill_id!r:.60} has amounts that are none: {(*moved, fill.fee)!r:.200}")


def checked_status(status: OrderStatus) -> OrderStatus:
    """Return the status; raise Unreadable when its quantities are none."""
    for amount in (status.filled_quantity, status.quantity):
        if amount is not None and (not _is_amount(amount) or amount < 0):
            raise Unreadable(f"order {status.exchange_order_id!r:.60} has a quantity of {amount!r:.60}")
    return status


def checked_trade(trade: PublicTrade) -> PublicTrade:
    """Return the public trade; raise Unreadable when it has amounts that are none."""
    if all(_is_amount(one) and one > 0 for one in (trade.price, trade.quantity)):
        return trade
    raise Unreadable(f"a trade of {trade.quantity!r:.60} at {trade.price!r:.60} in {trade.symbol}")


def checked_holding(currency: str, amounts: Any) -> tuple[str, Any]:
    """Return a holding; raise Unreadable when it is no number."""
    for part in ("free", "used"):
        amount = amounts.get(part)
        if amount is not None and not (isinstance(amount, Decimal) and amount.is_finite()):
            raise Unreadable(f"the balance of {currency!r:.20} is {amount!r:.60}")
    return currency, amounts


def order_params(order: NewOrder, client_id_parameter: str) -> dict[str, object]:
    """Return ccxt's words for how an order is to stand; nothing where the venue's default is meant."""
    params: dict[str, object] = {client_id_parameter: order.client_order_id}
    if order.post_only:
        params["postOnly"] = True
    elif order.order_type.limited and order.time_in_force != "GTC":
        params["timeInForce"] = str(order.time_in_force)
    return params


def plain(amount: Decimal) -> str:
    """Write an amount as venues want it: no exponent, no zeros that would count as precision."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_details(acked: Acked, order: NewOrder, answer: Any) -> Acked:
    """Add what a full answer tells: how much is filled, whether it is over, and the fills themselves."""
    filled, status = answer.get("filled"), answer.get("status")
    if filled is None or status is None:
        return acked
    ending = status_of(answer, order_id=None, query_sent_at=None).ending
    fills = tuple(
        fill_of(trade, order_id=order.order_id, client_order_id=order.client_order_id, order=answer)
        for trade in answer.get("trades") or ()
    )
    return replace(acked, filled_quantity=filled, ending=ending, fills=fills)


def market_of(
    exchange: str,
    raw: Any,
    *,
    fees: tuple[Decimal, Decimal] | None,
    fee_mode: str,
    tick_key: str | None,
    market_orders: bool,
    precision_mode: int,
    rules: Rules,
) -> Market | None:
    """Translate ccxt's market; one without steps cannot be traded safely and is left out."""
    tick = _step(raw["precision"]["price"], precision_mode)
    if tick_key is not None and raw["info"].get(tick_key) is not None:
        tick = _decimal(raw["info"][tick_key])
    lot = _step(raw["precision"]["amount"], precision_mode)
    if not tick or not lot:
        return None
    limits = raw["limits"]
    maker, taker = fees or (raw.get("maker"), raw.get("taker"))
    if maker is None or taker is None:
        return None
    return Market(
        exchange=exchange,
        symbol=raw["symbol"],
        base=raw["base"],
        quote=raw["quote"],
        tick=tick,
        lot=lot,
        min_quantity=_decimal(limits["amount"]["min"]) or lot,
        max_quantity=_decimal(limits["amount"]["max"]),
        min_notional=_decimal(limits["cost"]["min"]) or Decimal(0),
        maker_fee=_decimal(maker) or Decimal(0),
        taker_fee=_decimal(taker) or Decimal(0),
        fee_mode=fee_mode,
        market_orders=market_orders,
        # A halted one keeps its rules: it may be open again soon. Plans have to be able to take.
        active=raw["active"] is not False and rules.status in (MarketStatus.OPEN, MarketStatus.LIMIT_ONLY),
        rules=rules,
    )


def _step(precision: Any, precision_mode: int) -> Decimal | None:
    if precision is None:
        return None
    if precision_mode == ccxt.DECIMAL_PLACES:
        return Decimal(1).scaleb(-int(precision))
    return _decimal(precision)


def _decimal(value: Any) -> Decimal | None:
    """Return a Decimal; ccxt's listed fees are floats whose shortest text is what was meant."""
    if value is None or isinstance(value, Decimal):
        return value
    return Decimal(str(value))


def holdings_of(balance: Any) -> list[tuple[str, Any]]:
    """Return (currency, {free, used, total}) for what is not nothing."""
    return sorted(
        (currency, balance[currency])
        for currency, total in balance["total"].items()
        if total or balance[currency].get("used")
    )


_STATUS = {
    "closed": Status.FILLED,
    "canceled": Status.CANCELED,
    "expired": Status.EXPIRED,
    "rejected": Status.REJECTED,
}
_TRANSFER_ENDED = ("ok", "failed", "canceled")


def listed_order(exchange: str, account: str, mode: str, one: Any) -> VenueOrder:
    """Translate an order of an exchange's list; raise Unreadable for one that names no order."""
    timestamp, side = one.get("timestamp"), one.get("side")
    if not one.get("id") or not one.get("symbol") or timestamp is None or side not in ("buy", "sell"):
        raise Unreadable(f"a listed order without id, symbol, side or time: {one.get('info')!r:.300}")
    filled = _copied(one.get("filled")) or Decimal(0)
    price, cost, average = one.get("price"), one.get("cost"), one.get("average")
    if cost is not None and cost < 0:
        # Binance's word for "not known", of some old orders; ccxt divides by it.
        # https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints : All orders
        cost = average = None
        price = None if price is not None and price < 0 else price
    if cost is None and average is not None:
        cost = filled * average
    if one.get("status") in ("open", "canceling"):
        status = str(Status.PARTIALLY_FILLED if filled else Status.SUBMITTED)
    else:
        status = str(_STATUS.get(one.get("status") or "", "unknown"))
    quantity = _copied(one.get("amount"))
    if status == Status.FILLED and quantity is not None and filled < quantity:
        status = str(Status.CANCELED)  # an immediate order whose rest was dropped
    updated = one.get("lastUpdateTimestamp") or one.get("lastTradeTimestamp")
    fees: dict[str, Decimal] = {}
    for fee in one.get("fees") or (one.get("fee"),):
        if fee and fee.get("currency") and fee.get("cost") is not None:
            fees[fee["currency"]] = fees.get(fee["currency"], Decimal(0)) + Decimal(fee["cost"])
    order = VenueOrder(
        exchange=exchange,
        account=account,
        mode=mode,
        symbol=one["symbol"],
        exchange_order_id=one["id"],
        client_order_id=one.get("clientOrderId") or None,
        side=Side(side),
        order_type=one.get("type") or "unknown",
        status=status,
        price=_copied(price, _FEE_DECIMALS_MAX) or None,
        quantity=quantity,
        filled_quantity=filled,
        quote_filled=_copied(cost, _FEE_DECIMALS_MAX),
        fees=fees,
        created_at=from_ms(timestamp),
        updated_at=None if updated is None else from_ms(updated),
        final=status in tuple(_STATUS.values()),
    )
    amounts = (order.price, order.quantity, order.filled_quantity, order.quote_filled)
    if any(amount is not None and amount < 0 for amount in amounts):
        raise Unreadable(f"order {order.exchange_order_id!r:.60} has amounts that are none: {amounts!r:.200}")
    return order


def listed_transfer(exchange: str, account: str, mode: str, one: Any) -> Transfer:
    """Translate a deposit or withdrawal of a list; raise Unreadable for one that says too little."""
    timestamp, amount, kind = one.get("timestamp"), one.get("amount"), one.get("type")
    known = one.get("id") or one.get("txid")
    if not known or kind not in ("deposit", "withdrawal") or timestamp is None or not one.get("currency"):
        raise Unreadable(f"a transfer without id, kind, currency or time: {one.get('info')!r:.300}")
    fee = (one.get("fee") or {}).get("cost")
    if amount is None:
        raise Unreadable(f"transfer {known!r:.60} without an amount")
    status = one.get("status") or "unknown"
    return Transfer(
        exchange=exchange,
        account=account,
        mode=mode,
        kind=kind,
        transfer_id=str(known),
        currency=one["currency"],
        amount=_copied(amount, _FEE_DECIMALS_MAX),
        fee=_copied(None if fee is None else Decimal(fee), _FEE_DECIMALS_MAX),
        status=status,
        txid=one.get("txid") or None,
        at=from_ms(timestamp),
        final=status in _TRANSFER_ENDED,
    )


def _copied(value: Any, decimals: int = _DECIMALS_MAX) -> Any:
    """Return an amount of a list as a copy can be kept: what ccxt divided may have any number of digits."""
    if value is None or _is_amount(value, decimals):
        return value
    if not isinstance(value, Decimal) or not value.is_finite() or abs(value) >= _TOO_LARGE:
        raise Unreadable(f"an amount that is none: {value!r:.60}")
    return value.quantize(Decimal(1).scaleb(-decimals), context=Context(prec=60))


def from_ms(milliseconds: int | str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def to_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
