"""OKX's perpetual contracts: an account's positions, the leverage it chose, and contracts as base currency.

OKX counts in contracts of `ctVal` base currency. Everything that comes in is multiplied here, and what goes
out is divided, so that nobody else has to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from ems.core.depth import Row
from ems.core.instrument import MarketStatus, Rules
from ems.venues.dialects.dialect import (
    DAY_MS,
    PAGES_MAX,
    Ask,
    CannotSay,
    Derivatives,
    Fees,
    Pair,
    Standing,
    amount_in,
    contract_size,
    limit_in,
)
from ems.venues.gateway import FundingPayment, HedgeMode, Position
from ems.venues.translation import from_ms, plain
from ems.venues.transport import Wire

ONE = Decimal(1)
NETTED = "the account is in long_short_mode: its positions are not netted"


async def _positions(ask: Ask, ccxt_exchange: Any) -> list[Position]:
    """Read what is held, and of what size the contracts are.

    https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-positions ; all of them are in one answer.
    """
    swaps = {"instType": "SWAP"}
    held = await ask("positions", partial(ccxt_exchange.privateGetAccountPositions, swaps))
    rows = [row for row in held["data"] if amount_in(row, "pos")]
    if not rows:
        return []
    listed = await ask("contracts", partial(ccxt_exchange.publicGetPublicInstruments, swaps))
    contracts = {row["instId"]: row for row in listed["data"]}
    return [_position(row, contracts.get(row["instId"])) for row in rows]


def _position(row: Any, contract: Any) -> Position:
    if row["posSide"] != "net":  # https://www.okx.com/docs-v5/en/#trading-account-rest-api-set-position-mode
        raise HedgeMode(NETTED)
    if contract is None or contract["ctType"] != "linear":
        raise CannotSay(f"{row['instId']} is no linear contract: what it is worth is not read here")
    base, _, quote = contract["instFamily"].partition("-")
    quantity = amount_in(row, "pos") * amount_in(contract, "ctVal") * (amount_in(contract, "ctMult") or 1)
    return Position(
        symbol=f"{base}/{quote}:{contract['settleCcy']}",
        quantity=quantity,  # the sign says which way
        average_entry_price=amount_in(row, "avgPx"),
        mark_price=amount_in(row, "markPx"),
        unrealised_pnl=amount_in(row, "upl"),
        currency=contract["settleCcy"],
        leverage=amount_in(row, "lever"),
        margin_mode=row["mgnMode"],
        # `imr` is told of cross margin alone, `margin` of what was set aside for one position.
        margin=amount_in(row, "imr" if row["mgnMode"] == "cross" else "margin"),
        liquidation_price=amount_in(row, "liqPx") if row.get("liqPx") else None,
    )


async def _set_leverage(ask: Ask, ccxt_exchange: Any, pair: Pair, leverage: Decimal) -> None:
    """https://www.okx.com/docs-v5/en/#trading-account-rest-api-set-leverage"""
    request = {"instId": f"{pair.base}-{pair.quote}-SWAP", "lever": f"{leverage:f}", "mgnMode": "cross"}
    await ask("leverage", partial(ccxt_exchange.privatePostAccountSetLeverage, request))


async def _stand(ask: Ask, ccxt_exchange: Any, symbol: str) -> Standing:
    """https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-leverage"""
    asked = {"instId": ccxt_exchange.market(symbol)["id"]}
    held = await ask(
        "positions", partial(ccxt_exchange.privateGetAccountPositions, {"instType": "SWAP", **asked})
    )
    quantity = Decimal(0)
    for row in held["data"]:
        if not row["pos"] or not amount_in(row, "pos"):
            continue
        if row["posSide"] != "net":
            raise HedgeMode(NETTED)
        if row["mgnMode"] != "cross":
            raise CannotSay(f"{row['instId']} is held with {row['mgnMode']} margin, orders are cross")
        quantity += amount_in(row, "pos")
    chosen = await ask(
        "leverage", partial(ccxt_exchange.privateGetAccountLeverageInfo, {**asked, "mgnMode": "cross"})
    )
    size = contract_size(ccxt_exchange, symbol)
    return Standing(quantity=quantity * size, leverage=amount_in(chosen["data"][0], "lever"))


async def _fees(ccxt_exchange: Any) -> Fees:
    """What is charged is below zero; contracts settled in dollars have fields of their own.

    https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-fee-rates
    """
    listed = (await ccxt_exchange.privateGetAccountTradeFee({"instType": "SWAP"}))["data"][0]
    groups = {group["groupId"]: group for group in listed.get("feeGroup") or ()}
    fees: Fees = {}
    for market in ccxt_exchange.markets.values():
        if market["swap"]:
            group = groups.get(market["info"].get("groupId"))
            maker, taker = (group["maker"], group["taker"]) if group else (listed["makerU"], listed["takerU"])
            if maker and taker:
                fees[market["symbol"]] = (-Decimal(maker), -Decimal(taker))
    return fees


_PAGE = 100
_FUNDING = "8"  # a bill's type: https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-bills-type
_RECENT_MS = 6 * DAY_MS  # what is older is no longer in the list of seven days


async def _funding(ask: Ask, ccxt_exchange: Any, since: int, until: int) -> list[FundingPayment]:
    """Read the bills of funding, 100 at a time: of a week, or of three months.

    https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-bills-details-last-7-days and
    .../#trading-account-rest-api-get-bills-details-last-3-months
    """
    recent = ccxt_exchange.milliseconds() - since < _RECENT_MS
    bills = ccxt_exchange.privateGetAccountBills if recent else ccxt_exchange.privateGetAccountBillsArchive
    asked = {"instType": "SWAP", "type": _FUNDING, "begin": since, "end": until, "limit": _PAGE}
    found: dict[str, FundingPayment] = {}
    for _ in range(PAGES_MAX):
        rows = (await ask("funding", partial(bills, dict(asked))))["data"]
        for row in rows:
            at = int(row["ts"])
            if since <= at < until:
                found[row["billId"]] = FundingPayment(
                    payment_id=row["billId"],
                    symbol=symbol_of(ccxt_exchange, row["instId"]),
                    at=from_ms(at),
                    amount=amount_in(row, "balChg"),
                    currency=row["ccy"],
                )
        if len(rows) < _PAGE:
            return list(found.values())
        asked["after"] = rows[-1]["billId"]
    raise CannotSay(f"there is more than the {len(found)} payments that were read")


def _rules(info: Mapping[str, Any]) -> Rules:
    """https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments"""
    states = {"live": MarketStatus.OPEN, "post_only": MarketStatus.POST_ONLY}
    return Rules(
        status=states.get(info["state"], MarketStatus.HALTED),
        max_market_quantity=limit_in(info, "maxMktSz"),
        max_open_orders=500,
    )


OKX_SWAPS = Derivatives(
    positions=_positions,
    set_leverage=_set_leverage,
    stand=_stand,
    fees=_fees,
    rules=_rules,
    funding=_funding,
    options={"fetchMarkets": {"types": ["spot", "swap"]}, "defaultMarginMode": "cross"},
)


def kind_of(inst_id: str) -> str:
    """Return ccxt's word for what an instrument is."""
    return "swap" if inst_id.endswith("-SWAP") else "spot"


def symbol_of(ccxt_exchange: Any, inst_id: str) -> str:
    symbol: str = ccxt_exchange.safe_symbol(inst_id, None, "-", kind_of(inst_id))
    return symbol


def in_base(levels: Iterable[Row], size: Decimal) -> tuple[Row, ...]:
    """Return levels of a book with quantities in base currency."""
    if size == ONE:
        return tuple(levels)
    return tuple((price, plain(Decimal(quantity) * size)) for price, quantity in levels)


class ContractWire(Wire):
    """Orders, trades and books of contracts in base currency."""

    def parse_order(self, order: Any, market: Any = None) -> Any:
        known: Any = super()
        return self._counted(known.parse_order(order, market), "amount", "filled", "remaining")

    def parse_trade(self, trade: Any, market: Any = None) -> Any:
        known: Any = super()
        return self._counted(known.parse_trade(trade, market), "amount")

    async def create_order(
        self,
        symbol: str,
        type: str,
        side: str,
        amount: str,
        price: str | None = None,
        params: Mapping[str, object] | None = None,
    ) -> Any:
        known: Any = super()
        contracts = plain(Decimal(amount) / contract_size(self, symbol))
        return await known.create_order(symbol, type, side, contracts, price, dict(params or {}))

    async def fetch_order_book(self, symbol: str, limit: int | None = None, params: Any = None) -> Any:
        known: Any = super()
        book = await known.fetch_order_book(symbol, limit, dict(params or {}))
        size = contract_size(self, symbol)
        for side in ("bids", "asks"):
            book[side] = [[level[0], level[1] * size, *level[2:]] for level in book[side]]
        return book

    def _counted(self, parsed: Any, *names: str) -> Any:
        ex: Any = self
        if parsed.get("symbol") in ex.markets and ex.markets[parsed["symbol"]]["swap"]:
            size = contract_size(self, parsed["symbol"])
            parsed.update({name: parsed[name] * size for name in names if parsed.get(name) is not None})
        return parsed
