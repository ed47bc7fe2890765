"""Bybit's perpetual contracts in USDT: an account's positions, and the leverage it chose."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any

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
    limit_in,
)
from ems.venues.gateway import FundingPayment, HedgeMode, Position
from ems.venues.translation import from_ms

LINEAR = "linear"  # the category
LINEAR_SETTLED = {"category": LINEAR, "settleCoin": "USDT"}

_PAGE = 200  # https://bybit-exchange.github.io/docs/v5/position, limit

# https://bybit-exchange.github.io/docs/v5/enum#marginmode
_MARGIN_MODES = {"REGULAR_MARGIN": "cross", "ISOLATED_MARGIN": "isolated", "PORTFOLIO_MARGIN": "portfolio"}


async def _positions(ask: Ask, ccxt_exchange: Any) -> list[Position]:
    """Read what is held, to the last page. The margin mode is the account's; `tradeMode` of a row is not.

    https://bybit-exchange.github.io/docs/v5/position
    """
    asked = {"category": "linear", "settleCoin": "USDT", "limit": _PAGE}
    rows: list[Any] = []
    for _ in range(PAGES_MAX):
        held = await ask("positions", partial(ccxt_exchange.privateGetV5PositionList, dict(asked)))
        found, after = held["result"]["list"], held["result"].get("nextPageCursor")
        rows += [row for row in found if amount_in(row, "size")]
        if not after or not found:
            break
        asked["cursor"] = after
    else:
        raise CannotSay(f"more than {len(rows)} positions")
    if not rows:
        return []
    account = await ask("account", ccxt_exchange.privateGetV5AccountInfo)
    mode = account["result"]["marginMode"]
    positions = []
    for row in rows:
        query = {"category": "linear", "symbol": row["symbol"]}
        listed = await ask("contracts", partial(ccxt_exchange.publicGetV5MarketInstrumentsInfo, query))
        positions.append(_position(row, listed["result"]["list"], _MARGIN_MODES.get(mode, mode.lower())))
    return positions


def _position(row: Any, listed: list[Any], margin_mode: str) -> Position:
    contract = next((one for one in listed if one["symbol"] == row["symbol"]), None)
    if contract is None or contract["contractType"] != "LinearPerpetual":
        raise CannotSay(f"{row['symbol']} is no linear perpetual contract: it is not read here")
    if row["positionIdx"] != 0:  # https://bybit-exchange.github.io/docs/v5/enum#positionidx
        raise HedgeMode(f"{row['symbol']} is in hedge mode: its positions are not netted")
    size = amount_in(row, "size")
    return Position(
        symbol=f"{contract['baseCoin']}/{contract['quoteCoin']}:{contract['settleCoin']}",
        quantity=size if row["side"] == "Buy" else -size,
        average_entry_price=amount_in(row, "avgPrice"),
        mark_price=amount_in(row, "markPrice"),
        unrealised_pnl=amount_in(row, "unrealisedPnl"),
        currency=contract["settleCoin"],
        leverage=amount_in(row, "leverage"),
        margin_mode=margin_mode,
        margin=amount_in(row, "positionIM") if row.get("positionIM") else None,  # empty: portfolio margin
        liquidation_price=amount_in(row, "liqPrice") if row.get("liqPrice") else None,
    )


async def _set_leverage(ask: Ask, ccxt_exchange: Any, pair: Pair, leverage: Decimal) -> None:
    """https://bybit-exchange.github.io/docs/v5/position/leverage"""
    written = f"{leverage:f}"
    request = {
        "category": "linear",
        "symbol": f"{pair.base}{pair.quote}",
        "buyLeverage": written,
        "sellLeverage": written,
    }
    await ask("leverage", partial(ccxt_exchange.privatePostV5PositionSetLeverage, request))


async def _stand(ask: Ask, ccxt_exchange: Any, symbol: str) -> Standing:
    """Read one contract, which is told also where nothing is held.

    https://bybit-exchange.github.io/docs/v5/position
    """
    asked = {"category": LINEAR, "symbol": ccxt_exchange.market(symbol)["id"]}
    answer = await ask("positions", partial(ccxt_exchange.privateGetV5PositionList, asked))
    rows = answer["result"]["list"]
    if not rows:
        raise CannotSay(f"nothing is told of {symbol}")
    if any(row["positionIdx"] != 0 for row in rows):
        raise HedgeMode(f"{symbol} is in hedge mode: its positions are not netted")
    size = amount_in(rows[0], "size")
    return Standing(
        quantity=-size if rows[0]["side"] == "Sell" else size, leverage=amount_in(rows[0], "leverage")
    )


async def _fees(ccxt_exchange: Any) -> Fees:
    """https://bybit-exchange.github.io/docs/v5/account/fee-rate"""
    answer = await ccxt_exchange.privateGetV5AccountFeeRate({"category": LINEAR})
    return {
        ccxt_exchange.safe_symbol(row["symbol"], None, None, "swap"): (
            Decimal(row["makerFeeRate"]),
            Decimal(row["takerFeeRate"]),
        )
        for row in answer["result"]["list"]
    }


_EXECUTIONS = 100  # https://bybit-exchange.github.io/docs/v5/order/execution
_SPAN_MS = 7 * DAY_MS


async def _funding(ask: Ask, ccxt_exchange: Any, since: int, until: int) -> list[FundingPayment]:
    """Read executions of the type Funding, seven days at a time; their fee is what was paid.

    https://bybit-exchange.github.io/docs/v5/order/execution
    """
    found: dict[str, FundingPayment] = {}
    start, pages = since, PAGES_MAX
    while start < until:
        asked = {"category": LINEAR, "execType": "Funding", "limit": _EXECUTIONS}
        asked |= {"startTime": start, "endTime": min(start + _SPAN_MS, until)}
        while True:
            if not pages:
                raise CannotSay(f"there is more than the {len(found)} payments that were read")
            pages -= 1
            answer = await ask("funding", partial(ccxt_exchange.privateGetV5ExecutionList, dict(asked)))
            rows, after = answer["result"]["list"], answer["result"].get("nextPageCursor")
            for row in rows:
                if since <= int(row["execTime"]) < until:
                    found[row["execId"]] = _payment(ccxt_exchange, row)
            if not after or len(rows) < _EXECUTIONS:
                break
            asked["cursor"] = after
        start += _SPAN_MS
    return list(found.values())


def _payment(ccxt_exchange: Any, row: Any) -> FundingPayment:
    symbol = ccxt_exchange.safe_symbol(row["symbol"], None, None, "swap")
    return FundingPayment(
        payment_id=row["execId"],
        symbol=symbol,
        at=from_ms(row["execTime"]),
        amount=-amount_in(row, "execFee"),
        currency=symbol.partition(":")[2],
    )


def _rules(info: Mapping[str, Any]) -> Rules:
    """https://bybit-exchange.github.io/docs/v5/market/instrument"""
    sizes = info["lotSizeFilter"]
    return Rules(
        status=MarketStatus.OPEN if info["status"] == "Trading" else MarketStatus.HALTED,
        max_market_quantity=limit_in(sizes, "maxMktOrderQty"),
        max_post_only_quantity=limit_in(sizes, "postOnlyMaxOrderQty"),
        max_open_orders=500,
    )


BYBIT_LINEAR = Derivatives(
    positions=_positions,
    set_leverage=_set_leverage,
    stand=_stand,
    fees=_fees,
    rules=_rules,
    funding=_funding,
    options={"fetchMarkets": {"types": ["spot", LINEAR]}},
    settled_in=frozenset({"USDT"}),
    # https://bybit-exchange.github.io/docs/v5/error
    unchanged=frozenset({"110043"}),
)
