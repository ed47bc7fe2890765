"""OKX's perpetual contracts: an account's positions, and the leverage it chose."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

from ems.venues.dialects.dialect import Ask, CannotSay, Derivatives, Pair, amount_in
from ems.venues.gateway import HedgeMode, Position


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
        raise HedgeMode("the account is in long_short_mode: its positions are not netted")
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


OKX_SWAPS = Derivatives(positions=_positions, set_leverage=_set_leverage)
