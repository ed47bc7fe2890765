"""Binance spot: changing an order. Cancel-replace is two steps that may part; amending is one that shrinks.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/trading-endpoints (cancel an existing order
and send a new order, order amend keep priority) and .../faqs/order_amend_keep_priority. What cancel-replace
answers:

    both done                            200
    the cancel done, the order refused   409, -2021, with both results in `data`
    the cancel refused, the order placed 409, -2021; only when the mode is ALLOW_FAILURE
    the cancel refused                   400, -2022; STOP_ON_FAILURE does not attempt the order
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from simulator import records
from simulator.dialects.binance_words import (
    CLIENT_ID,
    CLIENT_ID_RANGE,
    SELF_TRADE_MODES,
    BinanceError,
    Call,
    fixed,
    illegal,
    mandatory,
    ms,
    said,
    status_of,
    type_of,
)
from simulator.records import PARTIALLY_FILLED, SUBMITTED, Order, Reject

if TYPE_CHECKING:
    from simulator.dialects.binance import Binance

ZERO = Decimal(0)

AMENDS_MAX = 10  # the filter MAX_NUM_ORDER_AMENDS
RESTRICTIONS = {"ONLY_NEW": SUBMITTED, "ONLY_PARTIALLY_FILLED": PARTIALLY_FILLED}


def cancel_replace(binance: Binance, call: Call) -> Any:
    """POST /api/v3/order/cancelReplace."""
    mode = call.text("cancelReplaceMode")
    if mode not in ("STOP_ON_FAILURE", "ALLOW_FAILURE"):
        raise illegal("cancelReplaceMode", "STOP_ON_FAILURE, ALLOW_FAILURE")
    restriction = call.parameters.get("cancelRestrictions")
    if restriction is not None and restriction not in RESTRICTIONS:
        raise illegal("cancelRestrictions", "ONLY_NEW, ONLY_PARTIALLY_FILLED")
    order_id = call.whole("cancelOrderId")
    client_id = call.parameters.get("cancelOrigClientOrderId") or None
    if order_id is None and client_id is None:
        raise mandatory("cancelOrigClientOrderId")
    market = binance.market(call)
    canceled, refused_cancel = None, None
    try:
        # What is wrong with the new order as such is said before anything is cancelled.
        binance.wanted(call)
        order = binance.exchange.find_order(call.owner, order_id, client_id, symbol=market.symbol)
        if restriction and order is not None and order.open and order.status != RESTRICTIONS[restriction]:
            raise BinanceError(400, -2011, "Order was not canceled due to cancel restrictions.")
        new_id = call.parameters.get("cancelNewClientOrderId", "")
        canceled = binance.cancel_one(call, market, order_id, client_id, new_id)
    except (BinanceError, Reject) as error:
        status, code, message = said(error)
        if code not in (-2011, -2013):
            raise
        refused_cancel = {"code": code, "msg": message}
    placed, refused_order = None, None
    if refused_cancel is None or mode == "ALLOW_FAILURE":
        try:
            placed = binance.create(call)
        except (BinanceError, Reject) as error:
            _, code, message = said(error)
            refused_order = {"code": code, "msg": message}
    results = {
        "cancelResult": "SUCCESS" if canceled is not None else "FAILURE",
        "newOrderResult": "SUCCESS"
        if placed is not None
        else "FAILURE"
        if refused_order
        else "NOT_ATTEMPTED",
        "cancelResponse": canceled if canceled is not None else refused_cancel,
        "newOrderResponse": placed if placed is not None else refused_order,
    }
    if canceled is not None and placed is not None:
        return results
    if canceled is None and placed is None:
        raise BinanceError(400, -2022, "Order cancel-replace failed.", results)
    raise BinanceError(409, -2021, "Order cancel-replace partially failed.", results)


def amend(binance: Binance, call: Call) -> Any:
    """PUT /api/v3/order/amend/keepPriority: make an order smaller; it keeps its place and its number.

    Without a `newClientOrderId` the order gets a name nobody knows.
    """
    market = binance.market(call)
    order_id, client_id = binance.sought(call)
    quantity = call.number("newQty")
    if quantity is None:
        raise mandatory("newQty")
    name = call.parameters.get("newClientOrderId", "") or binance.new_client_id()
    if not CLIENT_ID.fullmatch(name):
        raise illegal("newClientOrderId", CLIENT_ID_RANGE)
    order = binance.exchange.find_order(call.owner, order_id, client_id, symbol=market.symbol)
    if order is None or not order.open:
        raise BinanceError(400, -2038, "Unknown order sent.")
    if quantity == order.quantity:
        raise BinanceError(400, -2038, "The requested action would change no state; rejecting.")
    if quantity > order.quantity:
        raise BinanceError(400, -2038, "Order amend (quantity increase) is not supported.")
    history = binance.amendments.setdefault(order.order_id, [])
    if len(history) >= AMENDS_MAX:
        raise BinanceError(400, -2038, "Filter failure: MAX_NUM_ORDER_AMENDS")
    row = {
        "symbol": binance.name(order.symbol),
        "orderId": order.order_id,
        "executionId": 1_000 * order.order_id + len(history),
        "origClientOrderId": order.client_order_id,
        "newClientOrderId": name,
        "origQty": fixed(order.quantity),
        "newQty": fixed(quantity),
        "time": ms(call.now),
    }
    history.append(row)  # before the change: the stream tells of the old name too
    try:
        binance.exchange.amend_order(
            call.owner,
            order.order_id,
            quantity=quantity,
            new_client_order_id=name,
            now=call.now,
        )
    except Reject as reject:
        history.pop()
        if reject.reason == records.BELOW_FILLED:
            raise BinanceError(400, -2038, "Filter failure: LOT_SIZE") from reject
        raise
    return {
        "transactTime": ms(call.now),
        "executionId": row["executionId"],
        "amendedOrder": _amended(binance, order, str(row["origClientOrderId"])),
    }


def amendments(binance: Binance, call: Call) -> Any:
    """GET /api/v3/order/amendments."""
    market, order_id = binance.market(call), call.whole("orderId")
    if order_id is None:
        raise mandatory("orderId")
    order = binance.exchange.find_order(call.owner, order_id, symbol=market.symbol)
    if order is None:
        raise BinanceError(400, -2013, "Order does not exist.")
    first, limit = call.whole("fromExecutionId") or 0, call.limit(500, 1000)
    rows = binance.amendments.get(order_id, [])
    return [row for row in rows if row["executionId"] >= first][:limit]


def _amended(binance: Binance, order: Order, old_name: str) -> dict[str, Any]:
    return {
        "symbol": binance.name(order.symbol),
        "orderId": order.order_id,
        "orderListId": -1,
        "origClientOrderId": old_name,
        "clientOrderId": order.client_order_id,
        "price": fixed(order.price or ZERO),
        "qty": fixed(order.quantity),
        "executedQty": fixed(order.filled_quantity),
        "preventedQty": fixed(ZERO),
        "quoteOrderQty": fixed(ZERO),
        "cumulativeQuoteQty": fixed(order.filled_quote),
        "status": status_of(order),
        "timeInForce": order.time_in_force,
        "type": type_of(order),
        "side": order.side.upper(),
        "workingTime": ms(order.created_at) if not order.waiting else -1,
        "selfTradePreventionMode": SELF_TRADE_MODES[order.self_trade],
    }
