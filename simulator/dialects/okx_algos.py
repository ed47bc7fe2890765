"""OKX's algo orders with one trigger, and amending.

1. An algo order is not an order yet. It has an `algoId` and an `algoClOrdId`, is listed apart, told of on a
   channel of another path (`orders-algo` on `/ws/v5/business`), and holds no money.
2. When it is triggered an order with an `ordId` of its own appears, which names the algo order (`algoId`,
   `algoClOrdId`, `source`) and has no `clOrdId`; the algo order is `effective` then. Where no order can be
   placed the algo order is `order_failed`, and there is none.
3. `conditional` says whether it is a stop loss or a take profit, and is refused on the wrong side of the last
   price. `trigger` goes either way: to wherever its price is, seen from the last one.
4. There is no call that cancels everything. Orders are cancelled 20 at a time, algo orders 10.
5. An amended order keeps its numbers. A new size includes what is filled; a smaller one than that is refused
   here, where OKX would call the order filled.

#order-book-trading-algo-trading and #order-book-trading-trade-post-amend-order of
https://www.okx.com/docs-v5/en/. Not here: oco, trailing, iceberg and twap orders, triggers by index or mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from simulator import records
from simulator.dialects.dialect import Request
from simulator.dialects.okx_words import (
    CL_ORD_ID,
    FIRST_ALGO,
    Refused,
    failed,
    inst_id,
    inst_type,
    ms,
    page_of,
    positive,
    refusal,
)
from simulator.records import ZERO, Account, Market, Order, Reject, Trigger, text
from simulator.triggers import met, stop_or_profit

if TYPE_CHECKING:
    from simulator.dialects.okx import Okx

CANCEL_MAX = 10
KINDS = ("conditional", "trigger")

# (kind, side) -> what is said of a trigger that is met already: #error-code-rest-api
WRONG_SIDE = {
    ("take_profit", "buy"): "51277",
    ("stop_loss", "buy"): "51278",
    ("take_profit", "sell"): "51279",
    ("stop_loss", "sell"): "51280",
}


def algo_id(order: Order) -> str:
    """OKX's number of an algo order."""
    return str(FIRST_ALGO + order.order_id)


def state_of(order: Order) -> str:
    """Where an algo order is."""
    if failed(order):
        return "order_failed"
    if order.triggered_at is not None:
        return "effective"
    return "live" if order.open else "canceled"


class Algos:
    """The algo orders of one OKX."""

    def __init__(self, okx: Okx) -> None:
        self.okx = okx
        self.exchange = okx.exchange
        self._tags: dict[int, str] = {}  # order id -> tag
        self.answers: dict[str, Callable[[Request, dict[str, str], Account], Any]] = {
            "trade/order-algo": self._details,
            "trade/orders-algo-pending": self._pending,
            "trade/orders-algo-history": self._history,
        }
        # path -> (what does it, how many at a time; None: one, not in a list)
        self.acts: dict[
            str, tuple[Callable[[Mapping[str, Any], Account, Request], dict[str, str]], int | None]
        ] = {
            "trade/order-algo": (self.place, None),
            "trade/cancel-algos": (self.cancel, CANCEL_MAX),
            "trade/amend-algos": (self.amend_algo, None),
            "trade/amend-order": (self.amend, None),
        }

    # Placing

    def place(self, values: Mapping[str, Any], account: Account, request: Request) -> dict[str, str]:
        """Place one algo order: #order-book-trading-algo-trading-post-place-algo-order."""
        row = {
            "algoId": "",
            "clOrdId": str(values.get("clOrdId") or ""),
            "algoClOrdId": str(values.get("algoClOrdId") or ""),
            "sCode": "0",
            "sMsg": "",
            "tag": str(values.get("tag") or ""),
        }
        try:
            order = self._placed(values, account, request.now)
        except Refused as refused:
            return row | {"sCode": refused.code, "sMsg": refused.message}
        self._tags[order.order_id] = row["tag"]
        return row | {"algoId": algo_id(order)}

    def _placed(self, values: Mapping[str, Any], account: Account, now: float) -> Order:
        market = self.okx.market(values)
        for name in ("tdMode", "side", "ordType", "sz"):
            if values.get(name) in (None, ""):
                raise Refused("50014", name)
        if market.settled_in is not None:
            self.okx.swaps.check_order(values)
        elif values["tdMode"] != "cash":
            raise Refused("51000", "tdMode")
        if values["side"] not in ("buy", "sell"):
            raise Refused("51000", "side")
        if values["ordType"] not in KINDS:
            raise Refused("51000", "ordType")
        side: Literal["buy", "sell"] = values["side"]
        name = str(values.get("algoClOrdId") or "")
        if name and not CL_ORD_ID.fullmatch(name):
            raise Refused("51000", "algoClOrdId")
        if any(order.open for order in account.by_client_id.get(name, ()) if name):
            raise Refused("51065")
        trigger, price_name = self._trigger(values, market, side)
        written = values.get(price_name)
        if written in (None, ""):
            raise Refused("50014", price_name)
        price = None if str(written) == "-1" else positive(values, price_name)
        size = positive(values, "sz")
        target = str(values.get("tgtCcy") or ("quote_ccy" if side == "buy" else "base_ccy"))
        if target not in ("base_ccy", "quote_ccy"):
            raise Refused("51000", "tgtCcy")
        in_quote = price is None and side == "buy" and target == "quote_ccy" and market.settled_in is None
        if not in_quote and size < market.min_qty:
            raise Refused("51020")
        try:
            return self.exchange.create_order(
                account,
                market.symbol,
                side,
                "market" if price is None else "limit",
                None if in_quote else size,
                price,
                quote_quantity=size if in_quote else None,
                client_order_id=name,
                trigger=trigger,
                reserve_early=False,
                reduce_only=market.settled_in is not None and values.get("reduceOnly") in (True, "true"),
                now=now,
            )
        except Reject as reject:
            raise refusal(reject, market, side) from reject

    def _trigger(
        self, values: Mapping[str, Any], market: Market, side: Literal["buy", "sell"]
    ) -> tuple[Trigger, str]:
        """What it waits for, and the name of the field with its price."""
        last = self.exchange.last_price(market.symbol)
        if values["ordType"] == "trigger":
            self._check_reference(values, "triggerPxType")
            price = positive(values, "triggerPx")
            seen = last or self.exchange.displayed_middle(market.symbol) or ZERO
            return Trigger(kind="trigger", price=price, rising=price > seen), "orderPx"
        given = [prefix for prefix in ("sl", "tp") if values.get(f"{prefix}TriggerPx") not in (None, "")]
        if len(given) != 1:  # both are for an oco
            raise Refused("51000" if given else "50014", "slTriggerPx")
        self._check_reference(values, f"{given[0]}TriggerPxType")
        kind: Literal["stop_loss", "take_profit"] = "stop_loss" if given[0] == "sl" else "take_profit"
        trigger = stop_or_profit(kind, side, positive(values, f"{given[0]}TriggerPx"))
        if last is not None and met(trigger, last):
            raise Refused(WRONG_SIDE[kind, side])
        return trigger, f"{given[0]}OrdPx"

    def _check_reference(self, values: Mapping[str, Any], name: str) -> None:
        if values.get(name) not in (None, "", "last"):
            raise Refused("51000", name)

    # Cancelling, amending

    def cancel(self, values: Mapping[str, Any], account: Account, request: Request) -> dict[str, str]:
        """Cancel one algo order: #order-book-trading-algo-trading-post-cancel-algo-order."""
        row = {
            "algoId": str(values.get("algoId") or ""),
            "algoClOrdId": str(values.get("algoClOrdId") or ""),
            "clOrdId": "",
            "sCode": "0",
            "sMsg": "",
            "tag": "",
        }
        try:
            market = self.okx.market(values)
            order = self._found(values, account, market)
            if order is None or not order.waiting:
                raise Refused("51400")
            self.exchange.cancel_order(account, order.order_id, now=request.now)
        except Refused as refused:
            return row | {"sCode": refused.code, "sMsg": refused.message}
        except Reject as reject:
            raise Refused("50001") from reject
        return row | {"algoId": algo_id(order), "algoClOrdId": order.client_order_id}

    def amend_algo(self, values: Mapping[str, Any], account: Account, request: Request) -> dict[str, str]:
        """Amend one algo order: #order-book-trading-algo-trading-post-amend-algo-order."""
        row = {
            "algoId": str(values.get("algoId") or ""),
            "algoClOrdId": str(values.get("algoClOrdId") or ""),
            "reqId": str(values.get("reqId") or ""),
            "sCode": "0",
            "sMsg": "",
        }
        try:
            market = self.okx.market(values)
            order = self._found(values, account, market)
            if order is None or not order.waiting or order.trigger is None:
                raise Refused("51503")
            prefixes = {"stop_loss": "newSl", "take_profit": "newTp"}
            prefix = prefixes.get(order.trigger.kind, "new")
            self._change(order, values, account, market, request.now, f"{prefix}OrdPx", f"{prefix}TriggerPx")
        except Refused as refused:
            return row | {"sCode": refused.code, "sMsg": refused.message}
        return row | {"algoId": algo_id(order), "algoClOrdId": order.client_order_id}

    def amend(self, values: Mapping[str, Any], account: Account, request: Request) -> dict[str, str]:
        """Amend one order, from REST or a stream: #order-book-trading-trade-post-amend-order."""
        row = {
            "clOrdId": str(values.get("clOrdId") or ""),
            "ordId": str(values.get("ordId") or ""),
            "ts": ms(request.clock),
            "reqId": str(values.get("reqId") or ""),
            "sCode": "0",
            "sMsg": "",
            "subCode": "",
        }
        try:
            market = self.okx.market(values)
            if not row["ordId"] and not row["clOrdId"]:
                raise Refused("51003")
            order = self.okx.find(account, market, values)
            if order is None:
                raise Refused("51503")
            if not order.open:
                raise Refused("51510" if order.status == records.FILLED else "51509")
            self.okx.requests[order.order_id] = row["reqId"]
            self._change(order, values, account, market, request.now, "newPx", None)
        except Refused as refused:
            return row | {"sCode": refused.code, "sMsg": refused.message}
        return row | {"ordId": str(self.okx.ord_id(order.order_id)), "clOrdId": self.okx.name_of(order)}

    def _change(
        self,
        order: Order,
        values: Mapping[str, Any],
        account: Account,
        market: Market,
        now: float,
        price_name: str,
        trigger_name: str | None,
    ) -> None:
        names = {"quantity": "newSz", "price": price_name}
        if trigger_name is not None:
            names["trigger_price"] = trigger_name
        terms: dict[str, Any] = {
            ours: positive(values, theirs)
            for ours, theirs in names.items()
            if values.get(theirs) not in (None, "") and str(values[theirs]) != "-1"
        }
        if not terms:
            raise Refused("51500")
        try:
            self.exchange.amend_order(account, order.order_id, now=now, **terms)
        except Reject as reject:
            match reject.reason:
                case records.NO_CHANGE:
                    return
                case records.INSUFFICIENT_FUNDS:
                    raise Refused("51502") from reject
                case records.POST_ONLY_WOULD_CROSS:
                    raise Refused("51511") from reject
                case records.BELOW_FILLED:
                    raise Refused("51000", "newSz") from reject
                case records.PRICE_FILTER:
                    raise Refused("51000", price_name) from reject
                case _:
                    raise refusal(reject, market, order.side) from reject

    def _found(
        self, values: Mapping[str, Any], account: Account, market: Market | None, as_of: float | None = None
    ) -> Order | None:
        """Find an algo order by algoId, or else the latest of an algoClOrdId."""
        number, name = str(values.get("algoId") or ""), str(values.get("algoClOrdId") or "")
        if not number and not name:
            raise Refused("50014", "algoId")
        if number:
            order_id = int(number) - FIRST_ALGO if number.isascii() and number.isdigit() else 0
            found = [account.orders[order_id]] if order_id in account.orders else []
        else:
            found = account.by_client_id.get(name, [])
        fitting = [
            one
            for one in found
            if one.trigger is not None and (market is None or one.symbol == market.symbol)
        ]
        return fitting[-1].as_of(as_of) if fitting else None

    # Asking

    def _details(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        order = self._found(query, account, None, request.view.orders_as_of)
        if order is None or (request.view.hide_closed and not order.open):
            raise Refused("51603")
        return [self.record(order)]

    def _pending(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        orders = self.exchange.open_orders(account, as_of=request.view.orders_as_of)
        return self._listed([order for order in orders if order.waiting], query)

    def _history(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        if not query.get("state") and not query.get("algoId"):
            raise Refused("50014", "state")
        orders = self.exchange.all_orders(account, as_of=request.view.orders_as_of)
        chosen = [
            o for o in orders if o.trigger is not None and query.get("state") in (None, "", state_of(o))
        ]
        return self._listed([] if request.view.hide_closed else [o for o in chosen if not o.waiting], query)

    def _listed(self, orders: Iterable[Order], query: Mapping[str, str]) -> list[dict[str, Any]]:
        if not query.get("ordType"):
            raise Refused("50014", "ordType")
        kinds = query["ordType"].split(",")
        symbol = self.okx.market(query).symbol if query.get("instId") else None
        found = [
            (int(algo_id(order)), order)
            for order in orders
            if order_type(order) in kinds
            and symbol in (None, order.symbol)
            and query.get("instType") in (None, "", "ANY", inst_type(order.symbol))
            and query.get("algoId") in (None, "", algo_id(order))
        ]
        return [self.record(order) for order in page_of(found, query)]

    def record(self, order: Order, state: str | None = None) -> dict[str, Any]:
        """An algo order as OKX tells of it: #order-book-trading-algo-trading-get-algo-order-details."""
        assert order.trigger is not None
        nothing = (
            "activePx", "actualPx", "actualSide", "actualSz", "amendPxOnTriggerType", "callbackRatio",
            "callbackSpread", "ccy", "clOrdId", "closeFraction", "failCode", "lever", "moveTriggerPx",
            "ordPx", "pxLimit", "pxSpread", "pxVar", "quickMgnType", "slOrdPx", "slTriggerPx",
            "slTriggerPxType", "szLimit", "timeInterval", "tpOrdPx", "tpTriggerPx", "tpTriggerPxType",
            "triggerPx", "triggerPxType", "ordId", "triggerTime",
        )  # fmt: skip
        prefix = {"stop_loss": "sl", "take_profit": "tp"}.get(order.trigger.kind)
        price = "-1" if order.price is None else text(order.price)
        prices = (
            {"triggerPx": text(order.trigger.price), "triggerPxType": "last", "ordPx": price}
            if prefix is None
            else {
                f"{prefix}TriggerPx": text(order.trigger.price),
                f"{prefix}TriggerPxType": "last",
                f"{prefix}OrdPx": price,
            }
        )
        state = state_of(order) if state is None else state
        size = order.quote_quantity if order.quote_quantity is not None else order.quantity
        row: dict[str, Any] = dict.fromkeys(nothing, "") | prices
        row |= {
            "algoClOrdId": order.client_order_id,
            "algoId": algo_id(order),
            "attachAlgoOrds": [],
            "cTime": ms(order.created_at),
            "instId": inst_id(order.symbol),
            "instType": inst_type(order.symbol),
            "last": text(self.exchange.last_price(order.symbol) or ZERO),
            "linkedOrd": {"ordId": ""},
            "notionalUsd": "",
            "ordIdList": [],
            "ordType": order_type(order),
            "posSide": "net",
            "reduceOnly": "true" if order.reduce_only else "false",
            "side": order.side,
            "state": state,
            "sz": text(size),
            "tag": self._tags.get(order.order_id, ""),
            "tdMode": "cash" if inst_type(order.symbol) == "SPOT" else "cross",
            "tgtCcy": "quote_ccy" if order.quote_quantity is not None else "base_ccy",
            "uTime": ms(order.updated_at),
        }
        if state in ("effective", "order_failed") and order.triggered_at is not None:
            row["triggerTime"] = ms(order.triggered_at)
        if state == "effective":
            number = str(self.okx.ord_id(order.order_id))
            row |= {
                "ordId": number,
                "ordIdList": [number],
                "linkedOrd": {"ordId": number},
                "actualSide": "sl" if prefix == "sl" else "tp" if prefix == "tp" else "",
                "actualSz": text(size),
                "actualPx": price,
            }
        if state == "order_failed":
            codes = {records.INSUFFICIENT_FUNDS: "51008", records.REDUCE_ONLY: "51169"}
            row["failCode"] = codes.get(order.reason, "51022")
        return row


def order_type(order: Order) -> str:
    """OKX's word for the kind of an algo order."""
    return "trigger" if order.trigger is None or order.trigger.kind == "trigger" else "conditional"
