"""OKX's perpetual contracts (instType SWAP): their markets, positions and leverage, and what orders say more.

What is true here and elsewhere surprises:

1. Sizes are contracts of `ctVal` of the base currency, on every path and in every book and trade.
2. Orders name `tdMode` cross; `posSide` is net, or left out. Below zero `pos` is short.
3. Fees, profits and margin are in the settlement currency; a fee is a negative number here too.
4. A reduce-only order with nothing to reduce is refused (51169); one for more than there is becomes smaller.
5. The account is in futures mode (`acctLv` 2): each currency stands for itself.

Positions, margin and liquidation are those of `simulator.positions`, with its simplifications. Not here:
isolated margin, long/short mode, closing by a call of its own, tiers, bills other than funding.

Pages: https://www.okx.com/docs-v5/en/ ; the sections are named where a rule comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from simulator.dialects.dialect import Request
from simulator.dialects.okx_words import Refused, inst_id, ms, positive, signed
from simulator.dialects.okx_words import page_of as page
from simulator.positions import Position, Positions, SwapMarket
from simulator.records import LEVERAGE, ZERO, Account, Fill, Market, Order, Reject, text

if TYPE_CHECKING:
    from simulator.dialects.okx import Okx

SIZE_QUANTUM = Decimal("0.000000000001")  # of figures that come from a division
FIRST_POSITION = 600_000_000_000_000_000
FIRST_FUNDING_BILL = 1_600_000_000_000_000_000
FUNDING_BILLS = "8"  # #trading-account-rest-api-get-bills-details-last-7-days, type

# Rules as the instruments endpoint gave them in 2025, margin of the first tier, fees of the lowest:
# https://www.okx.com/trade-market/position/swap and https://www.okx.com/fees
SWAPS = [
    SwapMarket(
        symbol=f"{base}/USDT:USDT",
        base=base,
        quote="USDT",
        settled_in="USDT",
        fee_mode="quote",
        tick=Decimal(tick),
        lot=Decimal("0.01"),
        min_qty=Decimal("0.01"),
        max_qty=Decimal(100_000_000),
        maker_fee=Decimal("0.0002"),
        taker_fee=Decimal("0.0005"),
        max_orders=500,
        contract_size=Decimal(size),
        max_leverage=Decimal(100),
        maintenance_rate=Decimal("0.004"),
    )
    for base, tick, size in (("BTC", "0.1", "0.01"), ("ETH", "0.01", "0.1"))
]
# instId -> largest market order, from the same answer
MAX_MARKET = {"BTC-USDT-SWAP": Decimal(12_000), "ETH-USDT-SWAP": Decimal(20_000)}


def figure(value: Decimal) -> str:
    """Write what comes from a division, with as many decimals as anybody reads."""
    return text(value.quantize(SIZE_QUANTUM))


def family(market: Market) -> str:
    """The name of what a contract is about: BTC-USDT."""
    return f"{market.base}-{market.quote}"


class Swaps:
    """What an OKX knows of contracts; nothing where none are listed."""

    def __init__(self, okx: Okx) -> None:
        self.okx = okx
        self.exchange = okx.exchange
        self.answers: dict[str, Callable[[Request, dict[str, str], Account], Any]] = {
            "public/mark-price": self._mark_prices,
            "public/funding-rate": self._funding_rates,
            "public/funding-rate-history": self._funding_history,
            "account/positions": self._positions,
            "account/leverage-info": self._leverage,
            "account/max-size": self._max_size,
            "account/bills": self._bills,
            "account/bills-archive": self._bills,
        }
        self.acts: dict[str, Callable[[Any, Account, Request], Any]] = {
            "account/set-leverage": self._set_leverage,
            "account/set-position-mode": self._set_position_mode,
        }

    @property
    def positions(self) -> Positions | None:
        contracts = self.exchange.contracts
        return contracts if isinstance(contracts, Positions) else None

    @property
    def kept(self) -> Positions:
        """The positions of an OKX that is known to have contracts."""
        positions = self.positions
        if positions is None:
            raise Refused("51010")
        return positions

    def _named(self, query: Mapping[str, Any]) -> list[SwapMarket]:
        """The contracts a request is about: one, or all."""
        positions = self.positions
        if query.get("instId") not in (None, "", "ANY"):
            market = self.okx.market(query)
            if positions is None or market.symbol not in positions.markets:
                raise Refused("51001")
            return [positions.markets[market.symbol]]
        wanted = query.get("instFamily") or query.get("uly")
        listed = [] if positions is None else list(positions.markets.values())
        return [market for market in listed if wanted in (None, "", family(market))]

    # Public answers

    def instrument(self, market: Market) -> dict[str, Any]:
        """What an instrument says more: #public-data-rest-api-get-instruments."""
        contract = self.kept.markets[market.symbol]
        name = inst_id(market.symbol)
        return {
            "baseCcy": "",
            "quoteCcy": "",
            "ctMult": "1",
            "ctType": "linear",
            "ctVal": text(contract.contract_size),
            "ctValCcy": market.base,
            "instFamily": family(market),
            "instType": "SWAP",
            "lever": text(contract.max_leverage),
            "maxMktAmt": "",
            "maxMktSz": text(MAX_MARKET.get(name, market.max_qty)),
            "maxStopSz": text(MAX_MARKET.get(name, market.max_qty)),
            "settleCcy": contract.quote,
            "tradeQuoteCcyList": [],
            "uly": family(market),
        }

    def mark_row(self, market: Market, now: float) -> dict[str, str]:
        """A mark price: #public-data-rest-api-get-mark-price."""
        mark = self.kept.mark(market.symbol)
        return {
            "instType": "SWAP",
            "instId": inst_id(market.symbol),
            "markPx": "" if mark is None else text(mark),
            "ts": ms(now),
        }

    def _mark_prices(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        # The page calls instType required, but one instrument is found without (seen with ccxt).
        if not query.get("instType") and not query.get("instId"):
            raise Refused("50014", "instType")
        if query.get("instType") not in (None, "", "SWAP"):
            return []
        return [self.mark_row(market, request.now) for market in self._named(query)]

    def funding_row(self, market: Market, now: float) -> dict[str, str]:
        """The rate of the next payment: #public-data-rest-api-get-funding-rate."""
        contract = self.kept.markets[market.symbol]
        due = self.kept.next_funding(market.symbol, now)
        paid = [one for one in self.kept.funded if one.symbol == market.symbol]
        return {
            "formulaType": "noRate",
            "fundingRate": text(self.kept.funding_rate(market.symbol)),
            "fundingTime": ms(due),
            "impactValue": "",
            "instId": inst_id(market.symbol),
            "instType": "SWAP",
            "interestRate": "0",
            "maxFundingRate": "0.00375",
            "method": "current_period",
            "minFundingRate": "-0.00375",
            "nextFundingRate": "",
            "nextFundingTime": ms(due + contract.funding_interval_s),
            "premium": "",
            "prevFundingTime": ms(paid[-1].time) if paid else "",
            "settFundingRate": text(paid[-1].rate) if paid else "",
            "settState": "settled",
            "ts": ms(now),
        }

    def _funding_rates(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        if not query.get("instId"):
            raise Refused("50014", "instId")
        return [self.funding_row(market, request.now) for market in self._named(query)]

    def _funding_history(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        """Rates that were paid: #public-data-rest-api-get-funding-rate-history."""
        if not query.get("instId"):
            raise Refused("50014", "instId")
        [market] = self._named(query)
        found = [(round(one.time * 1000), one) for one in self.kept.funded if one.symbol == market.symbol]
        return [
            {
                "formulaType": "noRate",
                "fundingRate": text(one.rate),
                "fundingTime": ms(one.time),
                "instId": inst_id(market.symbol),
                "instType": "SWAP",
                "method": "current_period",
                "realizedRate": text(one.rate),
            }
            for one in page(found, query)
        ]

    # An account's own

    def position_row(self, account: Account, position: Position, now: float) -> dict[str, Any]:
        """One position: #trading-account-rest-api-get-positions."""
        kept, symbol = self.kept, position.symbol
        market = kept.markets[symbol]
        currency = market.quote
        open_now = bool(position.quantity)
        initial, _ = kept.initial_margin(account, symbol)
        upl, value = kept.unrealised(position), abs(kept.value(position))
        maintenance = kept.maintenance_margin(position)
        margin = kept.margin(account, currency)
        mark, last = kept.mark(symbol), self.exchange.last_price(symbol)
        leverage = kept.leverage(account, symbol)
        liquidation = kept.liquidation_price(account, symbol)
        entered = abs(position.cost) / leverage
        last_fill = next((fill for fill in reversed(account.fills) if fill.symbol == symbol), None)
        earned = position.realised - position.fees + position.funding
        nothing = (
            "availPos", "baseBal", "baseBorrowed", "baseInterest", "bePx", "bizRefId", "bizRefType",
            "clSpotInUseAmt", "deltaBS", "deltaPA", "gammaBS", "gammaPA", "hedgedPos", "idxPx",
            "interest", "liab", "liabCcy", "margin", "maxSpotInUseAmt", "nonSettleAvgPx", "optVal",
            "pendingCloseOrdLiabVal", "posCcy", "quoteBal", "quoteBorrowed", "quoteInterest",
            "settledPnl", "spotInUseAmt", "spotInUseCcy", "thetaBS", "thetaPA", "vegaBS", "vegaPA",
        )  # fmt: skip
        return dict.fromkeys(nothing, "") | {
            "adl": "1",
            "avgPx": figure(kept.entry_price(position)) if open_now else "",
            "cTime": ms(position.opened_at),
            "ccy": currency,
            "closeOrderAlgo": [],
            "fee": text(-position.fees),
            "fundingFee": text(position.funding),
            "imr": figure(initial),
            "instId": inst_id(market.symbol),
            "instType": "SWAP",
            "last": text(last) if last is not None else "",
            "lever": text(leverage),
            "liqPenalty": "0",
            "liqPx": figure(liquidation) if liquidation is not None else "",
            "markPx": text(mark) if mark is not None else "",
            "mgnMode": "cross",
            "mgnRatio": figure(margin.equity / margin.maintenance) if margin.maintenance else "",
            "mmr": figure(maintenance),
            "notionalUsd": text(value),
            "pnl": text(position.realised),
            "pos": text(position.quantity),
            "posId": str(FIRST_POSITION + position.number),
            "posSide": "net",
            "realizedPnl": text(earned),
            "tradeId": str(last_fill.trade_id) if last_fill is not None else "",
            "uTime": ms(position.updated_at),
            "upl": text(upl),
            "uplLastPx": text(upl),
            "uplRatio": figure(upl / entered) if entered else "",
            "uplRatioLastPx": figure(upl / entered) if entered else "",
            "usdPx": "1",
        }

    def _positions(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        if query.get("instType") not in (None, "", "SWAP", "ANY") or self.positions is None:
            return []
        named = [one for one in query.get("instId", "").split(",") if one]
        symbols = [self.okx.market({"instId": one}).symbol for one in named]
        return [
            self.position_row(account, position, request.now)
            for position in self.kept.held(account)
            if not symbols or position.symbol in symbols
        ]

    def _leverage_row(self, account: Account, market: SwapMarket) -> dict[str, str]:
        return {
            "ccy": "",
            "instId": inst_id(market.symbol),
            "lever": text(self.kept.leverage(account, market.symbol)),
            "mgnMode": "cross",
            "posSide": "net",
        }

    def _cross(self, values: Mapping[str, Any]) -> None:
        if not values.get("mgnMode"):
            raise Refused("50014", "mgnMode")
        if values["mgnMode"] != "cross":
            raise Refused("51000", "mgnMode")  # isolated margin is not simulated

    def _leverage(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        """#trading-account-rest-api-get-leverage"""
        self._cross(query)
        if not query.get("instId"):
            raise Refused("50014", "instId")
        rows = []
        for name in query["instId"].split(","):
            rows += [self._leverage_row(account, market) for market in self._named({"instId": name})]
        return rows

    def _set_leverage(self, values: Any, account: Account, request: Request) -> Any:
        """#trading-account-rest-api-set-leverage"""
        if not isinstance(values, dict):
            raise Refused("50002")
        self._cross(values)
        leverage = positive(values, "lever")
        if not values.get("instId"):
            raise Refused("50014", "instId")
        if values.get("posSide") not in (None, "", "net"):
            raise Refused("51000", "posSide")
        kept = self.kept
        [market] = self._named(values)
        if leverage > market.max_leverage:
            raise Refused("59102")
        try:
            kept.set_leverage(account, market.symbol, leverage, request.now)
        except Reject as reject:
            if reject.reason == LEVERAGE:
                raise Refused("59105", 1) from reject
            raise Refused("59103") from reject
        row = self._leverage_row(account, market)
        del row["ccy"]
        return [row]

    def _set_position_mode(self, values: Any, account: Account, request: Request) -> Any:
        """#trading-account-rest-api-set-position-mode"""
        if not isinstance(values, dict):
            raise Refused("50002")
        if values.get("posMode") != "net_mode":
            raise Refused("51000", "posMode")  # the other one is not simulated
        return [{"posMode": "net_mode"}]

    def _max_size(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        """#trading-account-rest-api-get-maximum-order-quantity"""
        if not query.get("instId"):
            raise Refused("50014", "instId")
        if query.get("tdMode") != "cross":
            raise Refused("51000", "tdMode")
        price = positive(query, "px") if query.get("px") else None
        kept = self.kept
        return [
            {
                "ccy": market.quote,
                "instId": inst_id(market.symbol),
                "maxBuy": text(kept.largest(account, market.symbol, "buy", price)),
                "maxSell": text(kept.largest(account, market.symbol, "sell", price)),
            }
            for market in self._named(query)
        ]

    def _bills(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        """Funding paid and received: #trading-account-rest-api-get-bills-details-last-3-months."""
        if query.get("type") != FUNDING_BILLS:
            raise Refused("51000", "type")  # no other bills are kept
        if query.get("instType") not in (None, "", "SWAP") or self.positions is None:
            return []
        symbols = {market.symbol for market in self._named(query)}
        found = [
            (FIRST_FUNDING_BILL + one.payment_id, one)
            for one in self.kept.payments
            if one.account == account.name
            and one.symbol in symbols
            and query.get("ccy") in (None, "", self.kept.markets[one.symbol].quote)
        ]
        return [
            {
                "bal": text(one.balance),
                "balChg": text(one.amount),
                "billId": str(FIRST_FUNDING_BILL + one.payment_id),
                "ccy": self.kept.markets[one.symbol].quote,
                "clOrdId": "",
                "execType": "",
                "fee": "0",
                "fillTime": ms(one.time),
                "from": "",
                "instId": inst_id(one.symbol),
                "instType": "SWAP",
                "interest": "0",
                "mgnMode": "cross",
                "notes": "",
                "ordId": "",
                "pnl": text(one.amount),
                "posBal": "0",
                "posBalChg": "0",
                "px": text(one.mark),
                "subType": "174" if one.amount > 0 else "173",
                "sz": text(abs(one.quantity)),
                "tag": "",
                "to": "",
                "tradeId": "",
                "ts": ms(one.time),
                "type": FUNDING_BILLS,
            }
            for one in page(found, query)
        ]

    # What other answers say more

    def holding(self, account: Account, currency: str, total: Decimal, locked: Decimal) -> dict[str, str]:
        """A currency that is margin: #trading-account-rest-api-get-balance, of an account in futures mode."""
        positions = self.positions
        if positions is None or currency not in {one.settled_in for one in positions.markets.values()}:
            return {}
        margin = positions.margin(account, currency)
        equity = total + margin.unrealised
        free = min(account.free.get(currency, ZERO), margin.available)
        return {
            "availBal": text(max(ZERO, free)),
            "availEq": text(max(ZERO, margin.available)),
            "cashBal": text(total),
            "eq": text(equity),
            "eqUsd": text(equity),
            "frozenBal": figure(locked + margin.initial),
            "imr": figure(margin.initial),
            "mgnRatio": figure(equity / margin.maintenance) if margin.maintenance else "",
            "mmr": figure(margin.maintenance),
            "notionalLever": figure(self._exposure(account, currency) / equity) if equity > 0 else "0",
            "ordFrozen": figure(locked + margin.order_initial),
            "upl": text(margin.unrealised),
        }

    def fees(self, market: Market) -> dict[str, str]:
        """The fees of contracts settled in dollars, which have fields of their own."""
        if market.settled_in is None:
            return {}
        return {"makerU": signed(market.maker_fee), "takerU": signed(market.taker_fee)}

    def _exposure(self, account: Account, currency: str) -> Decimal:
        held = [one for one in self.kept.held(account) if self.kept.markets[one.symbol].quote == currency]
        return sum((abs(self.kept.value(one)) for one in held), ZERO)

    def check_order(self, values: Mapping[str, Any]) -> None:
        """Refuse what an order in contracts may not ask for: #order-book-trading-trade-post-place-order."""
        if values["tdMode"] != "cross":
            raise Refused("51000", "tdMode")
        if values.get("posSide") not in (None, "", "net"):
            raise Refused("51000", "posSide")
        if values.get("tgtCcy"):
            raise Refused("51000", "tgtCcy")

    def order(self, order: Order, fills: list[Fill]) -> dict[str, Any]:
        """What the record of an order in contracts has otherwise than one of spot."""
        kept = self.kept
        market = kept.markets[order.symbol]
        account = self.exchange.accounts[order.account]
        return {
            "category": "full_liquidation" if order.order_id in kept.liquidations else "normal",
            "feeCcy": market.quote,
            "instType": "SWAP",
            "lever": text(kept.leverage(account, order.symbol)),
            "pnl": text(sum((fill.realised for fill in fills), ZERO)),
            "rebateCcy": market.quote,
            "reduceOnly": "true" if order.reduce_only else "false",
            "tdMode": "cross",
            "tgtCcy": "",
            "tradeQuoteCcy": "",
        }

    def fill(self, fill: Fill) -> dict[str, Any]:
        """What a fill in contracts has otherwise than one of spot."""
        market = self.kept.markets[fill.symbol]
        worth = fill.quote_quantity * market.contract_size
        return {
            "feeRate": text(-(fill.fee / worth).quantize(Decimal("0.00000001"))),
            "fillPnl": text(fill.realised),
            "instType": "SWAP",
            "tradeQuoteCcy": "",
        }

    def ticker(self, market: Market) -> dict[str, str]:
        """What a ticker has otherwise: volumes in contracts and in base currency."""
        trades = self.exchange.recent_trades(market.symbol, 1000)
        volume = sum((trade.quantity for trade in trades), ZERO)
        return {"instType": "SWAP", "volCcy24h": text(volume * market.contract_size)}
