"""A finished work as a trader wants to read it: what came, what it cost, what patience saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .charts import basis_points, number, percent
from .plan_text import ARROW, cost_sum, shares
from .tables import clean, facts, short, table

COST_PARTS = ("delay_bps", "timing_bps", "spread_bps", "depth_bps", "fees_bps", "opportunity_bps")


def result_text(result: Mapping[str, Any], query_id: str | None = None) -> str:
    """Show the result of a smart order, liquidation or rebalance."""
    shown = _traded(result)
    if result.get("value_before") is not None:
        shown.update(_portfolio(result))
    cost = result.get("cost") or {}
    if number(cost.get("total_bps")) is not None:
        shown["cost"] = cost_sum(cost, COST_PARTS)
    elif number(result.get("cost_bps")) is not None:
        shown["cost"] = f"{basis_points(result['cost_bps'])} bp"
    shown["taking at once"] = taking_at_once(result)
    shown["fees"] = result.get("fees")
    if result.get("start_currency"):
        shown["unspent"] = _amount(result.get("unspent"), result["start_currency"])
    shown["unreached"] = shares(result.get("unreached"))
    shown["dust"] = result.get("dust")
    shown["how"] = _how(result)
    outcome, reason = result.get("outcome"), result.get("reason")
    shown["outcome"] = ": ".join(str(part) for part in (outcome, reason) if part)
    shown["query_id"] = query_id
    parts = [facts(shown)]
    legs = [leg for leg in result.get("legs") or [] if isinstance(leg, Mapping)]
    if len(legs) > 1:
        parts += ["", _leg_table(legs)]
    if result.get("weights"):
        parts += ["", _weight_table(result["weights"])]
    return "\n".join(parts)


def _traded(result: Mapping[str, Any]) -> dict[str, Any]:
    start, end = result.get("start_currency"), result.get("end_currency")
    shown: dict[str, Any] = {"exchange": result.get("exchange")}
    if result.get("value_before") is not None:
        return shown  # many currencies for many: their values and weights say more
    path = [step for step in result.get("path") or [] if isinstance(step, Mapping)]
    several = len({step.get("exchange") for step in path}) > 1  # then the legs do not follow one another
    shown["path"] = (", " if several else ARROW).join(
        " ".join(
            filter(None, (step.get("exchange") if several else "", step.get("side"), step.get("symbol")))
        )
        for step in path
    )
    shown["spent"] = _amount(result.get("spent"), start)
    shown["received"] = _amount(result.get("received"), end)
    if result.get("average_price") is not None:
        shown["average price"] = short(str(result["average_price"]))
    return shown


def _portfolio(result: Mapping[str, Any]) -> dict[str, Any]:
    unit = result.get("numeraire")
    before, after = _amount(result["value_before"], unit), _amount(result.get("value_after"), unit)
    return {"value": f"{before}{ARROW}{after}" if after else before}


def taking_at_once(result: Mapping[str, Any]) -> str:
    """Say what taking everything at once would have cost, and what was saved against it."""
    at_once = result.get("taking_at_once") or {}
    cost, saved = number(at_once.get("cost_bps")), number(result.get("saved_bps"))
    if saved is None:
        return ""
    less = f"{basis_points(-saved)} bp less than this did"
    ours = f"you saved {basis_points(saved)} bp" if saved >= 0 else f"it would have cost {less}"
    if cost is not None:
        said = f"would have cost {basis_points(cost)} bp"
        return f"{said}; {ours}" if saved >= 0 else f"{said}, {less}"
    if at_once.get("received") is not None:
        return f"would have brought {_amount(at_once['received'], result.get('end_currency'))}; {ours}"
    return ours


def _how(result: Mapping[str, Any]) -> str:
    said = [str(result["algo"])] if result.get("algo") else []
    if result.get("duration_s") is not None:
        said.append(f"{short(str(result['duration_s']))} s")
    if result.get("tries"):
        said.append(f"{result['tries']} orders" if result["tries"] != 1 else "1 order")
    if result.get("maker_share") is not None:
        said.append(f"{percent(result['maker_share'])} as maker")
    if result.get("participation") is not None:
        said.append(f"{percent(result['participation'])} of the market's volume")
    return ", ".join(said)


def _leg_table(legs: list[Mapping[str, Any]]) -> str:
    titles = ("exchange", "side", "market", "quantity", "average price", "adds bp", "fees")
    return table(
        titles,
        [
            [
                leg.get("exchange"),
                leg.get("side"),
                leg.get("symbol"),
                leg.get("quantity"),
                short(str(leg["average_price"])) if leg.get("average_price") is not None else "",
                basis_points((leg.get("cost") or {}).get("total_bps")),
                leg.get("fees"),
            ]
            for leg in legs
        ],
    )


def _weight_table(weights: Mapping[str, Mapping[str, Any]]) -> str:
    titles = ("currency", "before", "after", "target")
    return table(
        titles,
        [
            [clean(name), *(percent(row.get(each)) for each in titles[1:])]
            for name, row in sorted(weights.items())
        ],
    )


def _amount(value: Any, currency: Any) -> str:
    return "" if value is None else f"{value} {currency or ''}".rstrip()
