"""A plan as a trader wants to read it: the route, the result, the cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from .charts import basis_points, number, percent
from .tables import clean, facts, short, table

PATHS_SHOWN = 20
SEEN_BPS = Decimal("0.005")
ARROW = " -> "

Leg = Mapping[str, Any]


def plan_text(plan: Mapping[str, Any]) -> str:
    """Show a quote, or the plan of a dry run."""
    legs = list(plan.get("legs") or [])
    parts = [_heading(plan)]
    if legs:
        parts += ["", *route_lines(legs, plan.get("start_currency")), "", _leg_table(plan, legs)]
    parts += ["", facts(_facts(plan))]
    return "\n".join(parts).rstrip()


def _heading(plan: Mapping[str, Any]) -> str:
    start, end = plan.get("start_currency"), plan.get("end_currency")
    what = str(plan.get("verb") or "plan").replace("_", " ")
    if start and end:
        what += f" {start}{ARROW}{end}"
    elif end:
        what += f" into {end}"
    text = f"{what} on {plan.get('exchange') or '?'}"
    if plan.get("quote_id"):
        text += f": quote {plan['quote_id']}"
        if plan.get("expires_at"):
            text += f", good until {str(plan['expires_at'])[11:19]} UTC"
    return clean(text)


# --- the route ---


def route_lines(legs: Sequence[Leg], start: str | None = None) -> list[str]:
    """Draw every path of the plan as a line of arrows, with its share of what its first currency spends."""
    rows = []
    for share, path in _paths(legs, start):
        currencies = [path[0].get("source"), *(leg.get("target") for leg in path)]
        markets = ARROW.join(str(leg.get("symbol")) for leg in path)
        venues = list(dict.fromkeys(str(leg.get("exchange")) for leg in path))
        line = (percent(share), ARROW.join(map(str, currencies)), ", ".join(venues), markets)
        rows.append(tuple(clean(cell) for cell in line))
    widths = [max(map(len, column)) for column in zip(*rows[:PATHS_SHOWN])]
    lines = [
        "  "
        + "  ".join(
            [share.rjust(widths[0]), *(cell.ljust(width) for cell, width in zip(rest, widths[1:]))]
        ).rstrip()
        for share, *rest in rows[:PATHS_SHOWN]
    ]
    if len(rows) > PATHS_SHOWN:
        lines.append(f"  and {len(rows) - PATHS_SHOWN} more paths")
    return lines


def _paths(legs: Sequence[Leg], start: str | None) -> list[tuple[Decimal | None, list[Leg]]]:
    """Follow each leg that nothing feeds to the end; the share of a path is the product of its legs'."""
    fed = {(leg.get("exchange"), leg.get("account"), leg.get("target")) for leg in legs}

    def is_first(leg: Leg) -> bool:
        if start is not None:
            return leg.get("source") == start
        return (leg.get("exchange"), leg.get("account"), leg.get("source")) not in fed

    # A plan that only turns in a circle has no first leg; its legs stand alone.
    first = [leg for leg in legs if is_first(leg)] or list(legs)
    found = [path for leg in first for path in _onwards(legs, [leg])]
    followed = {id(leg) for path in found for leg in path}
    found += [[leg] for leg in legs if id(leg) not in followed]
    shared = [(_share(path), path) for path in found]
    return sorted(shared, key=lambda each: -(each[0] if each[0] is not None else Decimal(0)))


def _onwards(legs: Sequence[Leg], path: list[Leg]) -> Iterator[list[Leg]]:
    last = path[-1]
    here = (last.get("exchange"), last.get("account"))
    following = [
        leg
        for leg in legs
        if (leg.get("exchange"), leg.get("account")) == here
        and leg.get("source") == last.get("target")
        and all(leg is not passed for passed in path)
    ]
    if not following:
        yield path
    for leg in following:
        yield from _onwards(legs, [*path, leg])


def _share(path: Sequence[Leg]) -> Decimal | None:
    share = Decimal(1)
    for leg in path:
        part = number(leg.get("share"))
        if part is None:
            return None
        share *= part
    return share


# --- the legs and the figures ---


def _leg_table(plan: Mapping[str, Any], legs: Sequence[Leg]) -> str:
    ages = plan.get("book_ages_s") or {}
    titles = ("leg", "exchange", "side", "market", "quantity", "at", "limit", "share", "spends", "receives")
    rows = []
    for leg in legs:
        age = ages.get(f"{leg.get('exchange')} {leg.get('symbol')}")
        rows.append(
            [
                leg.get("leg"),
                leg.get("exchange"),
                leg.get("side"),
                leg.get("symbol"),
                _short(leg.get("quantity")),
                _short(leg.get("price")),
                _short(leg.get("limit")),
                percent(leg.get("share")),
                _amount(leg.get("spend"), leg.get("source")),
                _amount(leg.get("receive"), leg.get("target")),
                f"{basis_points(age)} s" if age is not None else "",
            ]
        )
    return table((*titles, "book age"), rows)


def _facts(plan: Mapping[str, Any]) -> dict[str, Any]:
    expected, worst = plan.get("expected") or {}, plan.get("worst_case") or {}
    currency = expected.get("currency") or plan.get("end_currency") or plan.get("numeraire")
    shown: dict[str, Any] = {"spends": _amounts(plan.get("spent"))}
    if expected.get("received") is not None:
        text = _amount(expected["received"], currency)
        if expected.get("average_price") is not None:
            text += f" at {_short(expected['average_price'])}"
        shown["expected"] = text
    if worst.get("received") is not None:
        shown["at worst"] = _amount(worst["received"], currency) + _below(worst["received"], expected)
    if plan.get("value_before") is not None:
        shown["value"] = _value(plan)
    if plan.get("turnover") is not None:
        shown["turnover"] = _amount(plan["turnover"], plan.get("numeraire"))
    shown["cost"] = cost_sum(plan.get("cost") or {}, ("fees_bps", "spread_bps", "impact_bps"))
    shown["certificate"] = _certificate(plan.get("certificate") or {})
    shown["left out"] = [f"{name}: {why}" for name, why in (plan.get("left_out") or {}).items()]
    shown["unreached"] = shares(plan.get("unreached"))
    shown["dust"] = _amounts(plan.get("dust"))
    shown["reason"] = plan.get("reason")
    return shown


def cost_sum(cost: Mapping[str, Any], parts: Sequence[str]) -> str:
    """Write a cost as the sum it is, in basis points; a part too small to be seen is left out."""
    if number(cost.get("total_bps")) is None:
        return ""
    terms: list[str] = []
    for name in parts:
        part = number(cost.get(name))
        if part is not None and abs(part) >= SEEN_BPS:
            sign = ("-" if part < 0 else "") if not terms else ("- " if part < 0 else "+ ")
            terms.append(f"{sign}{name[: -len('_bps')]} {basis_points(abs(part))}")
    text = f"{basis_points(cost['total_bps'])} bp"
    return f"{text} = {' '.join(terms)}" if terms else text


def shares(parts: Any) -> list[str]:
    """Write parts of a whole by currency, as percentages."""
    return [f"{percent(part)} {name}".strip() for name, part in (parts or {}).items()]


def _below(received: Any, expected: Mapping[str, Any]) -> str:
    worst, usual = number(received), number(expected.get("received"))
    if worst is None or not usual:
        return ""
    return f" ({basis_points((usual - worst) / usual * 10_000)} bp less)"


def _value(plan: Mapping[str, Any]) -> str:
    text = _amount(plan["value_before"], plan.get("numeraire"))
    if plan.get("value_after") is not None:
        text += f"{ARROW}{_amount(plan['value_after'], plan.get('numeraire'))}"
    return text


def _certificate(certificate: Mapping[str, Any]) -> str:
    gap = number(certificate.get("gap_bp"))
    if gap is None:
        return ""
    if abs(gap) < Decimal("0.0001"):
        text = "no plan on these books is better by even 0.0001 bp"
    else:
        text = f"no plan on these books is better by more than {gap:.4f}".rstrip("0").rstrip(".") + " bp"
    if certificate.get("scope"):
        text += f" (searched: {certificate['scope']})"
    if certificate.get("arbitrage"):
        text += "; the books contradict one another (arbitrage)"
    return text


def _amount(value: Any, currency: Any) -> str:
    return "" if value is None else f"{_short(value)} {currency or ''}".rstrip()


def _amounts(amounts: Any) -> list[str]:
    return [_amount(amount, name) for name, amount in (amounts or {}).items()]


def _short(value: Any) -> str:
    return "" if number(value) is None else short(str(value))
