"""Kraken: changing orders, in place or by another one.

1. AmendOrder changes an order where it is, under its own ids. A quantity that is filled already cancels the
   rest. https://docs.kraken.com/api-reference/trading/amend-order and .../exchange/guides/general/amends
2. EditOrder cancels the order and places another one, with a new txid and without its cl_ord_id; it cannot be
   asked of an order that was triggered. https://docs.kraken.com/api-reference/trading/edit-order
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ems.core.book import crosses
from simulator.dialects.dialect import Request
from simulator.dialects.kraken_words import (
    INVALID_ORDER,
    ORDER_MINIMUM,
    Pair,
    Refused,
    Wanted,
    code,
    fixed,
    invalid,
    number,
    words,
)
from simulator.records import Key, Order, Reject

if TYPE_CHECKING:
    from simulator.dialects.kraken import Kraken

# Age of a changed order in seconds -> what the change adds to the account's counter, besides one.
# https://docs.kraken.com/exchange/guides/general/ratelimits
AMEND_COSTS = ((5.0, 3.0), (10.0, 2.0), (15.0, 1.0))
EDIT_COSTS = ((5.0, 6.0), (10.0, 5.0), (15.0, 4.0), (45.0, 2.0), (90.0, 1.0))


def amend_order(kraken: Kraken, request: Request, form: Mapping[str, Any], key: Key) -> Any:
    """POST /0/private/AmendOrder."""
    return {"amend_id": amend(kraken, request, form, key, txid_name="txid")[0]}


def amend(
    kraken: Kraken, request: Request, fields: Mapping[str, Any], key: Key, *, txid_name: str
) -> tuple[str, Order]:
    """Amend one order, from REST or a stream; return Kraken's id of the amendment."""
    if bool(fields.get(txid_name)) == bool(fields.get("cl_ord_id")):
        raise invalid(txid_name)
    order = kraken.find(
        key, txid=str(fields.get(txid_name) or ""), cl_ord_id=str(fields.get("cl_ord_id") or "")
    )
    if not order.open:
        raise Refused(INVALID_ORDER)
    names = ("order_qty", "limit_price", "trigger_price")
    terms = {name: number(fields, name) for name in names if fields.get(name) not in (None, "")}
    if not terms:
        raise invalid("order_qty")
    kraken.check_deadline(fields.get("deadline"), request.clock)
    _count(kraken, order, AMEND_COSTS, request.now)
    market = kraken.exchange.markets[order.symbol]
    if str(fields.get("post_only", "false")).lower() == "true" and not order.post_only:
        best = kraken.exchange.best(order.symbol, "sell" if order.side == "buy" else "buy", request.now)
        price = terms.get("limit_price", order.price)
        if best is not None and price is not None and crosses(order.side, price, best[0]):
            raise Refused("EOrder:Post only order")
    quantity = terms.get("order_qty")
    amend_id = code("T", f"{kraken.exchange.name}:amend:{order.order_id}:{len(order.amendments)}")
    if quantity is not None and quantity <= order.filled_quantity:
        kraken.cancel(order, request.now)
        return amend_id, order
    if quantity is not None and quantity < market.min_qty:
        raise Refused(ORDER_MINIMUM)
    try:
        kraken.exchange.amend_order(
            kraken.exchange.accounts[key.account],
            order.order_id,
            quantity=quantity,
            price=terms.get("limit_price"),
            trigger_price=terms.get("trigger_price"),
            now=request.now,
        )
    except Reject as reject:
        raise Refused(words(reject, market)) from reject
    return amend_id, order


def edit_order(kraken: Kraken, request: Request, form: Mapping[str, Any], key: Key) -> Any:
    """POST /0/private/EditOrder."""
    if not form.get("txid") or not form.get("pair"):
        raise invalid("txid" if form.get("pair") else "pair")
    order = kraken.find(key, txid=str(form["txid"]))
    if not order.open or order.triggered_at is not None:
        raise Refused(INVALID_ORDER)
    if kraken.market(str(form["pair"])).symbol != order.symbol:
        raise invalid("pair")
    _count(kraken, order, EDIT_COSTS, request.now)
    wanted = _edited(kraken, order, form)
    kraken.cancel(order, request.now)
    placed = kraken.place(wanted, key, request)
    assert placed is not None
    pair = Pair(kraken.exchange.markets[order.symbol])
    first = placed.price if placed.trigger is None else placed.trigger.price
    return {
        "status": "ok",
        "txid": kraken.txid(placed.order_id),
        "originaltxid": kraken.txid(order.order_id),
        "volume": fixed(wanted.volume, 8),
        "price": "0" if first is None else pair.price(first),
        "price2": "0" if placed.trigger is None or placed.price is None else pair.price(placed.price),
        "orders_cancelled": 1,
        "descr": {"order": kraken.sentence(placed)},
    }


def _edited(kraken: Kraken, order: Order, form: Mapping[str, Any]) -> Wanted:
    price, trigger = order.price, order.trigger
    if form.get("price"):
        if trigger is None:
            price = number(form, "price")
        else:
            trigger = replace(trigger, price=number(form, "price"))
    if form.get("price2"):
        if trigger is None or price is None:
            raise invalid("price2")
        price = number(form, "price2")
    flags = str(form.get("oflags", ""))
    return Wanted(
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        volume=number(form, "volume") if form.get("volume") else order.remaining_quantity,
        in_quote=False,
        price=price,
        time_in_force=order.time_in_force,
        post_only="post" in flags.split(",") if flags else order.post_only,
        cl_ord_id="",
        userref=kraken.refs.get(order.order_id, 0),
        deadline=form.get("deadline"),
        validate=False,
        trigger=trigger,
        expires_at=order.expires_at,
    )


def _count(kraken: Kraken, order: Order, costs: tuple[tuple[float, float], ...], now: float) -> None:
    """Count a change, which is refused beyond the limit, as a new order is."""
    age = now - order.created_at
    cost = 1.0 + next((cost for limit, cost in costs if age < limit), 0.0)
    if not kraken.order_counter(order.account, order.symbol).add(cost, now):
        raise Refused("EOrder:Rate limit exceeded")
