"""What trading has cost, drawn in a terminal: a bar of its parts for every group, and the figures below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from .charts import AXIS, basis_points, number, percent, stacked
from .tables import clean, short, table

# part of the cost -> the character it is drawn with
MARKS = {
    "fees": "█",
    "spread": "▓",
    "depth": "▒",
    "timing": "░",
    "delay": "·",
    "opportunity": "o",
}
KINDS = ("algo", "exchange", "pair", "size", "spread")
NAME_WIDTH = 20

Group = Mapping[str, Any]


def cost_text(
    report: Mapping[str, Any], *, kinds: Sequence[str] = ("algo", "exchange"), width: int = 80
) -> str:
    """Show a report of costs: one drawing and one table for each kind of group."""
    summary = report.get("summary") or {}
    if not summary.get("n"):
        return "nothing has been traded in that time"
    groups = report.get("groups") or {}
    parts = [_headline(report, summary)]
    shown = {kind: list(groups[kind]) for kind in kinds if groups.get(kind)}
    everything = [row for rows in shown.values() for row in rows]
    for kind, rows in shown.items():
        picture = drawing(rows, width, together=everything)
        parts += ["", f"COST BY {kind.upper()}, basis points", "", picture, "", _figures(rows)]
    return "\n".join(parts)


def _headline(report: Mapping[str, Any], summary: Group) -> str:
    count = summary["n"]
    traded, saved = (
        ", ".join(f"{short(str(amount))} {unit}" for unit, amount in (summary.get(name) or {}).items())
        for name in ("notional", "saved")
    )
    text = f"{count} finished order{'' if count == 1 else 's'} over {traded}"
    if report.get("since"):
        text += f", {str(report['since'])[:16]} to {str(report.get('until'))[:16]}"
    text += f"\ncost {_weighted(summary, 'total_bps')} bp of that"
    if saved:
        text += f"; saved {saved} ({_weighted(summary, 'saved_bps')} bp) against taking at once"
    return "\n".join(clean(line) for line in text.split("\n"))


def drawing(groups: Sequence[Group], width: int = 80, together: Sequence[Group] = ()) -> str:
    """Draw the mean parts of each group's cost around one axis: gains to the left, costs to the right.

    `together` are the groups of all drawings on the screen: they share axis and scale.
    """
    names = [clean(group.get("name"))[:NAME_WIDTH] for group in groups]
    parts = [_parts(group) for group in groups]
    every = [_parts(group) for group in (*groups, *together)]
    gain = max(sum((-size for _, size in row if size < 0), Decimal(0)) for row in every)
    cost = max(sum((size for _, size in row if size > 0), Decimal(0)) for row in every)
    name_width = max(len(clean(group.get("name"))[:NAME_WIDTH]) for group in (*groups, *together))
    room = max(width - name_width - 12, 20)
    per_character = max((gain + cost) / (room - 1), Decimal("0.001"))
    left, right = (int(size / per_character + Decimal("0.5")) for size in (gain, cost))
    lines = [
        f"{name.ljust(name_width)} {_mean(group, 'total_bps').rjust(8)} "
        + stacked(row, per_character=per_character, left=left, right=right)
        for name, group, row in zip(names, groups, parts)
    ]
    used = {mark for row in parts for mark, size in row if size}
    key = "  ".join(f"{mark} {name}" for name, mark in MARKS.items() if mark in used)
    side = f"earned {AXIS} paid" if left else f"{AXIS} paid"
    return "\n".join([*lines, "", f"{key}   {side}, {basis_points(per_character)} bp a character"])


def _parts(group: Group) -> list[tuple[str, Decimal]]:
    return [
        (mark, number((group.get(f"{name}_bps") or {}).get("mean")) or Decimal(0))
        for name, mark in MARKS.items()
    ]


def _figures(groups: Sequence[Group]) -> str:
    titles = ("", "n", "cost", "95 % sure", "p95", *MARKS, "saved", "maker")
    return table(
        titles,
        [
            [
                group.get("name"),
                group.get("n"),
                _mean(group, "total_bps"),
                _interval(group.get("total_bps") or {}),
                basis_points((group.get("total_bps") or {}).get("p95")),
                *(_mean(group, f"{name}_bps") for name in MARKS),
                _mean(group, "saved_bps"),
                percent(group.get("maker_share")),
            ]
            for group in groups
        ],
    )


def _mean(group: Group, name: str) -> str:
    return basis_points((group.get(name) or {}).get("mean"))


def _weighted(group: Group, name: str) -> str:
    """Return the mean by money, as beside amounts of money; where currencies mix, the plain one."""
    figure = group.get(name) or {}
    return basis_points(figure.get("weighted_mean") or figure.get("mean"))


def _interval(figure: Mapping[str, Any]) -> str:
    low, high = basis_points(figure.get("ci_low")), basis_points(figure.get("ci_high"))
    return f"{low} to {high}" if low and high else ""
