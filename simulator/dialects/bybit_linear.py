"""Bybit's perpetual contracts in USDT (category linear): what is listed, held and told, beside spot's.

What is true here and elsewhere surprises:

1. A market has the name of its spot market; only `category` tells them apart. Sizes are in base currency.
2. Ids of orders and executions are UUIDs, not numbers, and refusals have codes of their own: 110xxx.
3. A post-only order that would take is accepted, and cancelled at once: `EC_PostOnlyWillTakeLiquidity`. The
   exchange underneath refuses such an order; what became of it is kept here.
4. A cancelled order is `Cancelled`, however much of it was filled. One with a trigger says which way the
   price has to go, and is cancelled like any other.
5. Setting the leverage that is set already is an error (110043).
6. Funding is an execution, of `execType` Funding, whose fee is what was paid; below zero: received.
7. Asked by symbol, `position/list` tells of a position of nothing too; asked by coin, only of real ones.

Positions, margin and liquidation are those of `simulator.positions`, with its simplifications: a unified
account counts every coin as collateral, here only the currency of the contract. Not here: isolated margin,
hedge mode, stops of a position, risk limits, inverse contracts and those in USDC.

Pages: https://bybit-exchange.github.io/docs/v5/position and those beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ems.core.book import Side
from simulator import records
from simulator.dialects.bybit_linear_words import (
    FUNDING_SPACE,
    NO_MARGIN,
    NOT_FALLING,
    NOT_RISING,
    RISK_LIMIT,
    SAME_LEVERAGE,
    SAME_MODE,
    TRADE_SPACE,
    WORDS,
    uuid_of,
)
from simulator.dialects.bybit_words import (
    BAD_REQUEST,
    HISTORY_S,
    Refused,
    market_name,
    ms,
)
from simulator.dialects.bybit_words import count_of as count
from simulator.dialects.bybit_words import page_of as page
from simulator.dialects.bybit_words import span_of as span
from simulator.dialects.dialect import Request
from simulator.positions import LIQUIDATION, POSITION_GONE, FundingPayment, Position, Positions, SwapMarket
from simulator.records import LEVERAGE, ZERO, Account, Fill, Key, Market, Order, OrderUpdate, Reject, text

if TYPE_CHECKING:
    from simulator.dialects.bybit import Bybit

FIGURE = Decimal("0.00000001")

# Rules as instruments-info gave them on 2026-08-09, margin of the first tier, fees of the lowest:
# https://www.bybit.com/en/help-center/article/Trading-Fee-Structure
SWAPS = [
    SwapMarket(
        symbol=f"{base}/USDT:USDT",
        base=base,
        quote="USDT",
        settled_in="USDT",
        fee_mode="quote",
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_qty=Decimal(lot),
        max_qty=Decimal(largest),
        min_notional=Decimal(5),
        maker_fee=Decimal("0.0002"),
        taker_fee=Decimal("0.00055"),
        max_orders=500,
        max_leverage=Decimal(100),
        maintenance_rate=Decimal("0.005"),
    )
    for base, tick, lot, largest in (
        ("BTC", "0.1", "0.001", "1500"),
        ("ETH", "0.01", "0.01", "10000"),
    )
]
# symbol -> (largest market order, lowest and highest price, risk parameters), from the same answer
LIMITS = {
    "BTCUSDT": ("150", "0.1", "1999999.8", ("0.01", "0.02")),
    "ETHUSDT": ("2000", "0.01", "199999.98", ("0.02", "0.04")),
}


def figure(value: Decimal) -> str:
    """Write what comes from a division as Bybit does."""
    return text(value.quantize(FIGURE))


class Linear:
    """What a Bybit knows of contracts; nothing where none are listed."""

    def __init__(self, bybit: Bybit) -> None:
        self.bybit = bybit
        self.exchange = bybit.exchange
        self.public: dict[str, Callable[[Request, dict[str, str]], Any]] = {
            "/v5/market/funding/history": self._funding_history,
        }
        self.private: dict[tuple[str, str], tuple[str, Callable[[Request, dict[str, Any], Key], Any]]] = {
            ("GET", "/v5/position/list"): ("read", self._positions),
            ("POST", "/v5/position/set-leverage"): ("trade", self._set_leverage),
            ("POST", "/v5/position/switch-mode"): ("trade", self._switch_mode),
        }
        self._turned_away: dict[str, list[Order]] = {}  # account -> post-only orders that would have taken

    @property
    def positions(self) -> Positions | None:
        contracts = self.exchange.contracts
        return contracts if isinstance(contracts, Positions) else None

    @property
    def kept(self) -> Positions:
        """The positions of a Bybit that is known to have contracts."""
        positions = self.positions
        assert positions is not None, "asked about contracts where there are none"
        return positions

    def _contract(self, fields: Mapping[str, Any]) -> SwapMarket:
        return self.kept.markets[self.bybit.market(fields).symbol]

    # Public answers

    def instrument(self, number: int, market: Market) -> dict[str, Any]:
        """https://bybit-exchange.github.io/docs/v5/market/instrument"""
        contract = self.kept.markets[market.symbol]
        name = market_name(market)
        largest = text(market.max_qty)
        usual = (largest, text(market.tick), "1999999.8", ("0", "0"))
        at_market, lowest, highest, risk = LIMITS.get(name, usual)
        mode = self.exchange.mode_of(market.symbol)
        return {
            "symbolId": number,
            "symbol": name,
            "contractType": "LinearPerpetual",
            "status": "Trading" if mode in (records.TRADING, records.POST_ONLY_ONLY_MODE) else "Closed",
            "baseCoin": market.base,
            "quoteCoin": market.quote,
            "symbolType": "",
            "launchTime": "1584230400000",
            "deliveryTime": "0",
            "deliveryFeeRate": "",
            "priceScale": "2",
            "leverageFilter": {
                "minLeverage": "1",
                "maxLeverage": f"{contract.max_leverage:.2f}",
                "leverageStep": "0.01",
            },
            "priceFilter": {"minPrice": lowest, "maxPrice": highest, "tickSize": text(market.tick)},
            "lotSizeFilter": {
                "maxOrderQty": largest,
                "minOrderQty": text(market.min_qty),
                "qtyStep": text(market.lot),
                "postOnlyMaxOrderQty": largest,
                "maxMktOrderQty": at_market,
                "minNotionalValue": text(market.min_notional),
            },
            "unifiedMarginTrade": True,
            "fundingInterval": contract.funding_interval_s // 60,
            "settleCoin": market.settled_in,
            "copyTrading": "none",
            "upperFundingRate": "0.005",
            "lowerFundingRate": "-0.005",
            "isPreListing": False,
            "preListingInfo": None,
            "riskParameters": {"priceLimitRatioX": risk[0], "priceLimitRatioY": risk[1]},
            "displayName": "",
            "forbidUplWithdrawal": False,
        }

    def ticker(self, market: Market, now: float) -> dict[str, str]:
        """What a ticker of a contract has more: https://bybit-exchange.github.io/docs/v5/market/tickers."""
        kept = self.kept
        mark = kept.mark(market.symbol) or ZERO
        interest = kept.open_interest(market.symbol)
        bid = self.exchange.best(market.symbol, "buy", now) or (ZERO, ZERO)
        ask = self.exchange.best(market.symbol, "sell", now) or (ZERO, ZERO)
        trades = self.exchange.recent_trades(market.symbol, 1)
        return {
            "ask1Price": text(ask[0]),
            "ask1Size": text(ask[1]),
            "bid1Price": text(bid[0]),
            "bid1Size": text(bid[1]),
            "fundingCap": "0.005",
            "fundingIntervalHour": str(kept.markets[market.symbol].funding_interval_s // 3600),
            "fundingRate": text(kept.funding_rate(market.symbol)),
            "indexPrice": text(mark),
            "markPrice": text(mark),
            "nextFundingTime": str(ms(kept.next_funding(market.symbol, now))),
            # Seen on the wire: twice what is held long, and once.
            "openInterest": text(2 * interest),
            "openInterestValue": figure(2 * interest * mark),
            "singleOpenInterest": text(interest),
            "singleOpenInterestValue": figure(interest * mark),
            "curPreListingPhase": "",
            "preOpenPrice": "",
            "preQty": "",
            "prevPrice1h": text(trades[-1].price) if trades else "",
            "tickDirection": "ZeroPlusTick",
        }

    def _funding_history(self, request: Request, fields: Mapping[str, str]) -> Any:
        """https://bybit-exchange.github.io/docs/v5/market/history-fund-rate"""
        if self.bybit.category(fields) != "linear":
            raise Refused(BAD_REQUEST, "params error: Category is invalid")
        market = self._contract(fields)
        limit = count(fields, "limit", 200, 200)
        start, end = int(fields.get("startTime") or 0), int(fields.get("endTime") or 2**63)
        found = [
            one
            for one in reversed(self.kept.funded)
            if one.symbol == market.symbol and start <= ms(one.time) <= end
        ]
        return {
            "category": "linear",
            "list": [
                {
                    "symbol": market_name(market),
                    "fundingRate": text(one.rate),
                    "fundingRateTimestamp": str(ms(one.time)),
                }
                for one in found[:limit]
            ],
        }

    # Positions

    def position(self, account: Account, position: Position) -> dict[str, Any]:
        """One position: https://bybit-exchange.github.io/docs/v5/position."""
        kept, symbol = self.kept, position.symbol
        market = kept.markets[symbol]
        initial, _ = kept.initial_margin(account, symbol)
        maintenance = figure(kept.maintenance_margin(position))
        mark = kept.mark(symbol) or ZERO
        there = bool(position.quantity)
        price = kept.entry_price(position).quantize(Decimal("0.0000000001")) if there else ZERO
        liquidation = kept.liquidation_price(account, symbol)
        side = "" if not there else "Buy" if position.quantity > 0 else "Sell"
        earned = position.realised - position.fees + position.funding if there else ZERO
        ever = sum((fill.realised - fill.fee for fill in account.fills if fill.symbol == symbol), ZERO)
        ever += sum((one.amount for one in self._payments(account) if one.symbol == symbol), ZERO)
        return {
            "positionIdx": 0,
            "riskId": 1,
            "riskLimitValue": "2000000",
            "symbol": market_name(market),
            "side": side,
            "size": text(abs(position.quantity)),
            "avgPrice": text(price),
            "positionValue": text(abs(position.cost)),
            "tradeMode": 0,
            "positionStatus": "Normal",
            "autoAddMargin": 0,
            "adlRankIndicator": 2 if there else 0,
            "leverage": text(kept.leverage(account, symbol)),
            "positionBalance": "0",
            "markPrice": text(mark),
            "liqPrice": "" if liquidation is None else figure(liquidation),
            "bustPrice": "",
            "positionMM": maintenance,
            "positionMMByMp": maintenance,
            "positionIM": figure(initial),
            "positionIMByMp": figure(initial),
            "tpslMode": "Full",
            "takeProfit": "",
            "stopLoss": "",
            "trailingStop": "0",
            "sessionAvgPrice": "",
            "unrealisedPnl": text(kept.unrealised(position)),
            "curRealisedPnl": text(earned),
            "cumRealisedPnl": text(ever),
            "seq": position.number,
            "isReduceOnly": False,
            "mmrSysUpdatedTime": "",
            "leverageSysUpdatedTime": "",
            "createdTime": str(ms(position.opened_at)),
            "updatedTime": str(ms(position.updated_at)),
            "openTime": ms(position.opened_at),
        }

    def stream_position(self, account: Account, symbol: str) -> dict[str, Any]:
        """One position on the stream: https://bybit-exchange.github.io/docs/v5/websocket/private/position."""
        row = self.position(account, self.kept.position(account, symbol))
        row["entryPrice"] = row.pop("avgPrice")
        return {"category": "linear", **row}

    def _positions(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        account = self.bybit.account(key)
        nothing: dict[str, Any] = {"category": fields.get("category"), "nextPageCursor": "", "list": []}
        # A unified account may ask for inverse contracts too, of which there are none here.
        if self.positions is not None and fields.get("category") == "inverse":
            return nothing
        if self.bybit.category(fields) != "linear":
            raise Refused(BAD_REQUEST, "params error: Category is invalid")
        if fields.get("symbol"):
            chosen = [self.kept.position(account, self._contract(fields).symbol)]
        elif fields.get("settleCoin") or fields.get("baseCoin"):
            chosen = [
                one
                for one in self.kept.held(account)
                if fields.get("settleCoin") in (None, "", self.kept.markets[one.symbol].quote)
                and fields.get("baseCoin") in (None, "", self.kept.markets[one.symbol].base)
            ]
        else:
            raise Refused(BAD_REQUEST, "Missing some parameters that must be filled in, symbol or settleCoin")
        rows, cursor = page(chosen, lambda one: (ms(one.opened_at), one.number), fields, 20, 200)
        return nothing | {
            "list": [self.position(account, one) for one in rows],
            "nextPageCursor": cursor if len(rows) < len(chosen) else "",
        }

    def _set_leverage(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        """https://bybit-exchange.github.io/docs/v5/position/leverage"""
        if self.bybit.category(fields) != "linear":
            raise Refused(BAD_REQUEST, "params error: Category is invalid")
        account, market = self.bybit.account(key), self._contract(fields)
        if str(fields.get("buyLeverage")) != str(fields.get("sellLeverage")):
            raise Refused(BAD_REQUEST, "buy leverage must equal sell leverage")  # one-way, cross margin
        leverage = self.bybit.amount(fields, "buyLeverage")
        if leverage % Decimal("0.01"):
            raise Refused(BAD_REQUEST, "buy leverage invalid")
        if leverage == self.kept.leverage(account, market.symbol):
            raise Refused(SAME_LEVERAGE, WORDS[SAME_LEVERAGE])
        if leverage > market.max_leverage:
            raise Refused(RISK_LIMIT, WORDS[RISK_LIMIT])
        try:
            self.kept.set_leverage(account, market.symbol, leverage, request.now)
        except Reject as reject:
            if reject.reason == LEVERAGE:
                raise Refused(BAD_REQUEST, "buy leverage invalid") from reject
            raise Refused(NO_MARGIN, WORDS[NO_MARGIN]) from reject
        return {}

    def _switch_mode(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        """https://bybit-exchange.github.io/docs/v5/position/position-mode"""
        if self.bybit.category(fields) != "linear":
            raise Refused(BAD_REQUEST, "params error: Category is invalid")
        if str(fields.get("mode")) == "0":
            raise Refused(SAME_MODE, WORDS[SAME_MODE])
        raise Refused(BAD_REQUEST, "params error: mode invalid")  # hedge mode is not simulated

    # Orders

    def check_order(
        self, market: Market, order_type: str, quantity: Decimal, fields: Mapping[str, Any]
    ) -> None:
        """Refuse what an order in contracts may not ask for."""
        if str(fields.get("positionIdx", "0") or "0") != "0":
            raise Refused(BAD_REQUEST, "position idx not match position mode")
        self.check_quantity(market, order_type, quantity)

    def check_quantity(self, market: Market, order_type: str, quantity: Decimal) -> None:
        """Refuse a quantity that no order may have."""
        if quantity % market.lot or quantity < market.min_qty:
            raise Refused(BAD_REQUEST, "Qty invalid")
        most = market.max_qty
        if order_type == "market":
            most = Decimal(LIMITS.get(market_name(market), (text(most),))[0])
        if quantity > most:
            raise Refused(BAD_REQUEST, "The number of contracts exceeds maximum limit allowed: too large")

    def rising(self, fields: Mapping[str, Any], price: Decimal, last: Decimal) -> bool:
        """Which way the price has to go, which of contracts is said: 1 up, 2 down.

        https://bybit-exchange.github.io/docs/v5/order/create-order
        """
        direction = str(fields.get("triggerDirection", ""))
        if direction not in ("1", "2"):
            raise Refused(BAD_REQUEST, "TriggerDirection invalid")
        if direction == "1" and price <= last:
            raise Refused(NOT_RISING, f"expect Rising, but trigger_price[{price}] <= current[{last}]")
        if direction == "2" and price >= last > 0:
            raise Refused(NOT_FALLING, f"expect Falling, but trigger_price[{price}] >= current[{last}]")
        return direction == "1"

    def turn_away(
        self,
        account: Account,
        market: Market,
        side: Side,
        quantity: Decimal,
        price: Decimal,
        link_id: str,
        now: float,
    ) -> Order:
        """Keep and tell of a post-only order that is accepted and cancelled in one breath."""
        kept = self._turned_away.setdefault(account.name, [])
        order = Order(
            order_id=-1 - sum(map(len, self._turned_away.values())),
            client_order_id=link_id,
            account=account.name,
            symbol=market.symbol,
            side=side,
            order_type="limit",
            time_in_force="GTC",
            post_only=True,
            quantity=quantity,
            quote_quantity=None,
            price=price,
            created_at=now,
            updated_at=now,
            status=records.CANCELED,
            reason="POST_ONLY",
            history=[(now, records.CANCELED, ZERO, ZERO)],
        )
        kept.append(order)
        self.exchange.announce(
            OrderUpdate(
                order=order,
                kind="canceled",
                status=records.CANCELED,
                filled_quantity=ZERO,
                filled_quote=ZERO,
                fill=None,
                now=now,
            )
        )
        self.exchange.settled(now)
        return order

    def turned_away(self, account: Account, as_of: float | None) -> list[Order]:
        """Those orders of an account."""
        return [one for one in self._turned_away.get(account.name, ()) if one.as_of(as_of) is not None]

    def order(self, order: Order) -> dict[str, Any]:
        """What the record of an order in contracts has otherwise than one of spot."""
        ended = {LIQUIDATION: "CancelByPrepareLiq", POSITION_GONE: "CancelByReduceOnly"}
        more: dict[str, Any] = {
            "createType": "CreateByLiq" if self.forced(order.order_id) else "CreateByUser",
            "isLeverage": "",
            "marketUnit": "",
            "reduceOnly": order.reduce_only,
        }
        if order.reason in ended and not order.open:
            more["cancelType"] = ended[order.reason]
        if order.reason == "POST_ONLY":
            more["rejectReason"] = "EC_PostOnlyWillTakeLiquidity"
        return more

    def execution(self, fill: Fill) -> dict[str, Any]:
        """What an execution in contracts has otherwise than one of spot."""
        return {
            "closedSize": text(fill.closed),
            "createType": "CreateByLiq" if self.forced(fill.order_id) else "CreateByUser",
            "execId": uuid_of(TRADE_SPACE, fill.trade_id * 2 + (fill.liquidity == "maker")),
            "execType": self.bybit.exec_type(fill),
            "markPrice": text(self.kept.mark(fill.symbol) or ZERO),
        }

    def forced(self, order_id: int) -> bool:
        """Whether an order was one of the liquidation's."""
        return order_id in self.kept.liquidations

    def _payments(self, account: Account) -> list[FundingPayment]:
        return [one for one in self.kept.payments if one.account == account.name]

    def funding(self, fields: Mapping[str, Any], account: Account, clock: float) -> tuple[list[Any], str]:
        """Funding as executions, and where the next page begins."""
        symbol = self._contract(fields).symbol if fields.get("symbol") else None
        start, end = span(fields, clock, HISTORY_S)
        paid = [
            one
            for one in self._payments(account)
            if symbol in (None, one.symbol) and start <= ms(one.time) <= end
        ]
        rows, cursor = page(paid, lambda one: (ms(one.time), one.payment_id), fields, 50, 100)
        return [self._funding(one) for one in rows], cursor

    def _funding(self, payment: FundingPayment) -> dict[str, Any]:
        market = self.kept.markets[payment.symbol]
        quantity = abs(payment.quantity)
        number = uuid_of(FUNDING_SPACE, payment.payment_id)
        empty = ("blockTradeId", "createType", "extraFees", "feeCurrency", "indexPrice", "markIv",
                 "marketUnit", "orderLinkId", "tradeIv", "underlyingPrice")  # fmt: skip
        return dict.fromkeys(empty, "") | {
            "closedSize": "0",
            "execFee": text(-payment.amount),
            "execId": number,
            "execPrice": text(payment.mark),
            "execQty": text(quantity),
            "execTime": str(ms(payment.time)),
            "execType": "Funding",
            "execValue": text(quantity * payment.mark),
            "feeRate": text(payment.rate if payment.quantity > 0 else -payment.rate),
            "isMaker": False,
            "leavesQty": "0",
            "markPrice": text(payment.mark),
            "orderId": number,
            "orderPrice": "0",
            "orderQty": "0",
            "orderType": "UNKNOWN",
            "seq": payment.payment_id,
            "side": "Buy" if payment.quantity > 0 else "Sell",
            "stopOrderType": "UNKNOWN",
            "symbol": market_name(market),
        }

    # Money

    def wallet(self, account: Account, wallet: dict[str, Any]) -> dict[str, Any]:
        """A unified account with what its contracts earn and require."""
        positions = self.positions
        if positions is None:
            return wallet
        settled = {market.settled_in for market in positions.markets.values()}
        margins = {
            row["coin"]: positions.margin(account, row["coin"])
            for row in wallet["coin"]
            if row["coin"] in settled
        }
        coins = []
        for row in wallet["coin"]:
            margin = margins.get(row["coin"])
            if margin is None:
                coins.append(row)
                continue
            realised = sum((fill.realised - fill.fee for fill in account.fills if ":" in fill.symbol), ZERO)
            paid = sum((one.amount for one in self._payments(account)), ZERO)
            equity = Decimal(row["walletBalance"]) + margin.unrealised
            coins.append(
                row
                | {
                    "cumRealisedPnl": text(realised + paid),
                    "equity": text(equity),
                    "totalOrderIM": figure(margin.order_initial),
                    "totalPositionIM": figure(margin.position_initial),
                    "totalPositionMM": figure(margin.maintenance),
                    "unrealisedPnl": text(margin.unrealised),
                    "usdValue": figure(equity),
                }
            )
        unrealised = sum((one.unrealised for one in margins.values()), ZERO)
        initial = sum((one.initial for one in margins.values()), ZERO)
        maintenance = sum((one.maintenance for one in margins.values()), ZERO)
        behind = sum((one.equity for one in margins.values()), ZERO)
        available = sum((max(ZERO, one.available) for one in margins.values()), ZERO)
        return wallet | {
            "accountIMRate": figure(initial / behind) if behind > 0 else "0",
            "accountMMRate": figure(maintenance / behind) if behind > 0 else "0",
            "coin": coins,
            "totalAvailableBalance": figure(available),
            "totalEquity": figure(Decimal(wallet["totalEquity"]) + unrealised),
            "totalInitialMargin": figure(initial),
            "totalMaintenanceMargin": figure(maintenance),
            "totalMarginBalance": figure(behind),
            "totalPerpUPL": figure(unrealised),
        }
