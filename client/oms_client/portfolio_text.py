"""What is held and was earned, for a terminal: tables, and a bar for every row of earnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

from .charts import AXIS, FULL, number, percent, stacked
from .tables import clean, short, table

NAME_WIDTH = 20


def money(value: Any) -> str:
    """Write an amount of the reporting currency for the eye: two decimals, more where that would hide it."""
    found = number(value)
    if found is None:
        return ""
    places = 2 if found == 0 or abs(found) >= Decimal("0.01") else 8
    text = f"{found:.{places}f}"
    return text.lstrip("-") if not text.strip("-0.") else text


def portfolio_text(answer: Mapping[str, Any]) -> str:
    """Show positions with their totals, what each bot earned, and what all accounts are worth."""
    currency = clean(answer.get("currency"))
    titles = ("bot", "account", "asset", "quantity", "average", "price", "value", "unrealised", "realised")
    positions = answer.get("positions") or []
    held = [
        [
            row.get("bot"),
            f"{row.get('exchange')}/{row.get('account')}",
            row.get("asset"),
            _quantity(row.get("quantity")),
            _quantity(row.get("average_price")),
            _quantity(row.get("price")) or "unknown",
            money(row.get("value")) or "unknown",
            money(row.get("unrealised")) or "unknown",
            money(row.get("realised")),
        ]
        for row in positions
        if number(row.get("quantity"))
    ]
    parts = [f"POSITIONS, in {currency}", table((*titles,), held, empty="nothing is held")]
    parts += _contract_lines(answer)
    bots = {**(answer.get("by_bot") or {}), "all": answer.get("total") or {}}
    names = ("value", "unrealised", "realised", "fees", "pnl")
    parts += [
        "",
        table(("", *names), [[bot, *(money(row.get(n)) for n in names)] for bot, row in bots.items()]),
    ]
    exposure = answer.get("exposure") or {}
    parts += [
        "",
        f"ALL ACCOUNTS ({clean(answer.get('total_mode'))}): {money(answer.get('total_value'))} {currency}",
        table(
            ("asset", "quantity", "value", "share"),
            [
                [
                    asset,
                    _quantity(row.get("quantity")),
                    money(row.get("value")) or "unknown",
                    percent(row.get("share")),
                ]
                for asset, row in sorted(
                    exposure.items(), key=lambda one: -(number(one[1].get("value")) or 0)
                )
            ],
            empty="nothing",
        ),
    ]
    parts += [f"note: {words}" for words in _notes(answer)]
    return "\n".join(parts)


def _contract_lines(answer: Mapping[str, Any]) -> list[str]:
    """Show bots' positions in contracts, where there are any."""
    titles = ("bot", "account", "contract", "quantity", "average", "price", "unrealised", "realised", "in")
    rows = [
        [
            row.get("bot"),
            f"{row.get('exchange')}/{row.get('account')}",
            row.get("symbol"),
            _quantity(row.get("quantity")),
            _quantity(row.get("average_price")),
            _quantity(row.get("price")) or "unknown",
            money(row.get("unrealised")) or "unknown",
            money(row.get("realised")),
            row.get("currency"),
        ]
        for row in answer.get("contracts") or []
        if number(row.get("quantity"))
    ]
    return ["", "CONTRACTS", table(titles, rows)] if rows else []


def _notes(answer: Mapping[str, Any]) -> list[str]:
    missing = [*((answer.get("total") or {}).get("unpriced") or [])]
    for row in answer.get("accounts") or []:
        where = f"{clean(row.get('exchange'))}/{clean(row.get('account'))}"
        if row.get("read_at") is None:
            missing.append(f"everything at {where}, which was never read")
        if "contracts_unrealised" in row and row["contracts_unrealised"] is None:
            missing.append(f"contracts at {where}, which could not be read")
        missing += [f"{clean(asset)} at {where}" for asset in row.get("unpriced") or []]
    return [f"no price, and not in the sums: {', '.join(dict.fromkeys(missing))}"] if missing else []


def pnl_text(answer: Mapping[str, Any], *, width: int = 80) -> str:
    """Show what was earned, a row and a bar each: losses to the left of the axis, gains to the right."""
    rows = answer.get("rows") or []
    if not rows:
        return "nothing was traded in that time"
    by, currency = str(answer.get("by")), clean(answer.get("currency"))
    total = answer.get("total") or {}
    titles = (by, "fills", "turnover", "realised", "fees", "pnl")
    named = [*((row.get(by), row) for row in rows), ("all", total)]
    figures = [
        [name, row.get("fills"), *(money(row.get(n)) for n in ("turnover", "realised", "fees", "pnl"))]
        for name, row in named
    ]
    parts = [f"EARNED BY {by.upper()}, in {currency}", table(titles, figures), "", drawing(rows, by, width)]
    if total.get("unvalued_fills"):
        parts.append(f"note: {total['unvalued_fills']} fills had no price for a side or their fee")
    return "\n".join(parts)


def snapshots_text(answer: Mapping[str, Any], *, width: int = 80) -> str:
    """Show what each day began with and what the day before it came to, oldest first, with a bar for each."""
    found = list(reversed(answer.get("snapshots") or []))
    if not found:
        return "no snapshot was taken in that time"
    earned = ("pnl", "realised", "fees", "price_change")
    titles = ("day", "value", *(name.replace("_", " ") for name in earned))
    figures = [
        [row.get("day"), money((row.get("total") or {}).get("value"))]
        + [money((row.get("change") or {}).get(name)) for name in earned]
        for row in found
    ]
    parts = [f"WHEN EACH DAY BEGAN, in {clean(answer.get('currency'))}", table(titles, figures)]
    changes = [{"day": row.get("day"), "pnl": row["change"].get("pnl")} for row in found if row.get("change")]
    if changes:
        parts += ["", "EARNED SINCE THE SNAPSHOT BEFORE", drawing(changes, "day", width)]
    missing = {name for row in found for name in (row.get("total") or {}).get("unpriced") or []}
    if missing:
        parts.append(f"note: no price, and not in the sums: {', '.join(map(clean, sorted(missing)))}")
    if answer.get("next_cursor"):
        parts.append(f"more: --cursor {clean(answer['next_cursor'])}")
    return "\n".join(parts)


def drawing(rows: Sequence[Mapping[str, Any]], by: str, width: int) -> str:
    """Draw a bar for each row around one axis."""
    earned = [number(row.get("pnl")) or Decimal(0) for row in rows]
    loss, gain = -min(*earned, Decimal(0)), max(*earned, Decimal(0))
    names = [clean(row.get(by))[:NAME_WIDTH] for row in rows]
    room = max(width - max(map(len, names)) - 4, 20)
    per_character = max((loss + gain) / room, Decimal("1e-18"))
    left, right = (int(size / per_character + Decimal("0.5")) for size in (loss, gain))
    lines = [
        f"{name.ljust(max(map(len, names)))} "
        + stacked([(FULL, size)], per_character=per_character, left=left, right=right)
        for name, size in zip(names, earned)
    ]
    side = f"lost {AXIS} earned" if left else f"{AXIS} earned"
    scale = Context(prec=3).create_decimal(per_character)
    return "\n".join([*lines, "", f"{side}, {short(str(scale))} a character"])


def _quantity(value: Any) -> str:
    return "" if value is None else short(str(value))
