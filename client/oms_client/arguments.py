"""How the arguments of a call become the body of a request, as the wire carries them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .amounts import Amount, amount_text, currency_codes, exchanges, settings, weights
from .errors import ConfigError, InvalidRequest

AlgoParams = Mapping[str, "str | int | float | Decimal | bool"]
PLANNED = ("smart_order", "liquidate", "rebalance")
# The manual's name in snake_case -> the field it becomes.
MANUAL_NAMES = {"start_currency_amount": "start_amount"}
CURRENCIES = ("currencies", "exclude", "keep")
AMOUNTS = ("start_amount", "end_amount", "min_trade", "tolerance", "time_limit", "max_slippage_bps")


def style(
    algo: str | None,
    algo_params: AlgoParams | None,
    time_limit: Amount | None,
    on_timeout: str | None,
    max_slippage_bps: Amount | None,
) -> dict[str, Any]:
    """Give what was said about how to work an order; what was not said stays out of the body.

    A body equal to that of an older client keeps the key that client remembered for the same call.
    """
    said = {
        "algo": algo,
        "algo_params": algo_params,
        "time_limit": time_limit,
        "on_timeout": on_timeout,
        "max_slippage_bps": max_slippage_bps,
    }
    return written(said)


def written(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write the arguments that were given as the wire carries them."""
    body: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name == "exchange":
            value = exchanges(value)
        elif name == "targets":
            value = weights(value)
        elif name == "algo_params":
            value = settings(value)
        elif name in CURRENCIES:
            value = currency_codes(name, value)
        elif name in AMOUNTS:
            value = amount_text("startCurrencyAmount" if name == "start_amount" else name, value)
        body[name] = value
    return body


def planned(verb: str, fields: Mapping[str, Any], quote_id: str | None) -> dict[str, Any]:
    """Give the body of a planned call, or of the execution of its quote, which settles everything else."""
    said = written(fields)
    if quote_id is None:
        return said
    if said:
        raise TypeError(f"{verb}() got quote_id and {', '.join(said)}; the quote has settled everything else")
    return {"quote_id": quote_id}


def needed(verb: str, **arguments: Any) -> None:
    missing = [name for name, value in arguments.items() if value is None]
    if missing:
        raise TypeError(f"{verb}() needs {', '.join(missing)}, or quote_id alone")


def exit_prices(name: str, prices: Mapping[str, Amount] | None) -> dict[str, str] | None:
    """Write the prices of an attached order."""
    if prices is None:
        return None
    if not isinstance(prices, Mapping):
        raise InvalidRequest(f'{name}: give a mapping such as {{"stop_price": "2300"}}')
    return {key: amount_text(f"{name}.{key}", price) for key, price in prices.items() if price is not None}


def flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: {value!r} is neither True nor False")
    return value
