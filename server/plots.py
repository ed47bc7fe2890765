"""The report of costs as one picture: what the parts were, how they were spread, what was saved, markouts.

A picture may round: here, and nowhere else in the server, decimals become floats. Matplotlib is loaded when
the first picture is asked for, and used without pyplot, whose figures are shared by all threads.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]  # as ems.tca.report.report returns it

# Okabe and Ito's colours, which most colour-blind people tell apart.
PARTS = {
    "delay": "#999999",
    "timing": "#56B4E9",
    "spread": "#E69F00",
    "depth": "#D55E00",
    "fees": "#0072B2",
    "opportunity": "#CC79A7",
}
INK = "#222222"
GOOD, BAD = "#009E73", "#D55E00"
GROUPS_MAX = 6  # of one kind
GAP = 0.5  # between kinds of groups, in bars
BINS_MAX = 40
SIZE_INCHES = (13, 9)
DOTS_PER_INCH = 110


def cost_plot(report: Report) -> bytes:
    """Return the picture of a report as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(_headline(report), fontsize=13, color=INK, parse_math=False)
    if report["rows"]:
        axes = figure.subplots(2, 2)
        _parts(axes[0][0], report)
        _totals(axes[0][1], report)
        _saved(axes[1][0], report)
        _markouts(axes[1][1], report)
    else:
        _nothing(figure.subplots(1, 1), "no order ended in this period")
    return _png(figure)


def _headline(report: Report) -> str:
    summary = report["summary"]
    if not report["rows"]:
        return "What trading cost"
    count = summary["n"]
    since, until = (f"{_time(report[name]):%Y-%m-%d %H:%M}" for name in ("since", "until"))
    total, saved = summary["total_bps"], summary["saved_bps"]
    notional = ", ".join(f"{_short(float(amount))} {unit}" for unit, amount in summary["notional"].items())
    figures = f"mean cost {_bp(total['mean'])}"
    if total["ci_low"] is not None:
        figures += f" (95 %: {float(total['ci_low']):.1f} to {float(total['ci_high']):.1f})"
    if saved["mean"] is not None:
        figures += f", {_bp(saved['mean'])} saved against taking at once"
    orders = "1 order" if count == 1 else f"{count} orders"
    return f"What trading cost: {orders} for {notional[:80]}, {since} to {until} UTC\n{figures}"


def _parts(axes: Axes, report: Report) -> None:
    """Draw the mean parts of the cost by group: what was paid to the right of zero, what was earned left."""
    groups, places = [("all", report["summary"])], [0.0]
    left_out = 0
    for kind in ("exchange", "algo", "size"):
        found = report["groups"][kind]
        if len(found) > 1:  # a single group is "all" again
            largest = sorted(found, key=lambda group: -group["n"])[:GROUPS_MAX]
            shown = [group for group in found if group in largest]
            left_out += len(found) - len(shown)
            places += [places[-1] + GAP + k for k in range(1, len(shown) + 1)]
            groups += [(group["name"], group) for group in shown]
    paid, earned = [0.0] * len(groups), [0.0] * len(groups)
    for part, colour in PARTS.items():
        widths = [_mean(group, f"{part}_bps") for _, group in groups]
        starts = [paid[k] if width >= 0 else earned[k] for k, width in enumerate(widths)]
        axes.barh(places, widths, left=starts, color=colour, label=part, height=0.75)
        for k, width in enumerate(widths):
            paid[k] += max(width, 0.0)
            earned[k] += min(width, 0.0)
    totals = [_mean(group, "total_bps") for _, group in groups]
    axes.scatter(
        totals, places, marker="D", s=28, color="white", edgecolors=INK, zorder=4, label="total, 95 %"
    )
    for place, (_, group) in zip(places, groups, strict=True):
        total = group["total_bps"]
        if total["ci_low"] is not None:
            low, high = float(total["ci_low"]), float(total["ci_high"])
            axes.hlines(place, low, high, color=INK, linewidth=1.5, zorder=3)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [f"{name}  ({group['n']})" for name, group in groups], parse_math=False)
    axes.set_ylim(max(places[-1], 4.0) + 0.6, -0.6)  # the first on top, and a lone bar no wall
    more = f"; {left_out} small groups not shown" if left_out else ""
    _label(axes, f"Mean cost by part (number of orders{more})", "bp of notional, below zero: earned", "")
    axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False)


def _totals(axes: Axes, report: Report) -> None:
    """Draw how the total cost is spread."""
    from matplotlib.ticker import MaxNLocator

    totals = sorted(float(row["total_bps"]) for row in report["rows"])
    # One order in two hundred on each side would otherwise squeeze all others into one bar.
    cut = len(totals) // 200
    shown = totals[cut : len(totals) - cut]
    outside = len(totals) - len(shown)
    bins = min(BINS_MAX, max(5, round(len(shown) ** 0.5) * 2))
    axes.hist(shown, bins=bins, color="#56B4E9", edgecolor="white", linewidth=0.5)
    spread = report["summary"]["total_bps"]
    for name, colour, style in (
        ("mean", BAD, "-"),
        ("median", INK, "-"),
        ("p5", INK, ":"),
        ("p95", INK, "--"),
    ):
        where = float(spread[name])
        axes.axvline(where, color=colour, linestyle=style, linewidth=1.4, label=f"{name} {where:.1f}")
    more = f" ({outside} outermost not shown)" if outside else ""
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, f"Distribution of the total cost{more}", "bp of notional", "orders")
    axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False)


def _saved(axes: Axes, report: Report) -> None:
    """Draw what was saved against taking at once, added up over time."""
    rows = [row for row in report["rows"] if row["saved_bps"] is not None]
    if not rows:
        _nothing(axes, "nothing to compare with: no sweep at arrival was known")
        axes.set_title("Saved against taking at once", fontsize=11, loc="left", color=INK)
        return
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    # Zero when the first of them began.
    moments = [min(_time(row["started_at"]) for row in rows), *(_time(row["ended_at"]) for row in rows)]
    times = [float(each) for each in date2num(moments)]  # type: ignore[no-untyped-call]
    sums = _added_up([float(row["saved_bps"]) for row in rows])
    colour = GOOD if sums[-1] >= 0 else BAD
    axes.step(times, sums, where="post", color=colour, linewidth=1.8)
    axes.fill_between(times, sums, step="post", color=colour, alpha=0.15)
    axes.axhline(0, color=INK, linewidth=0.8)
    locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    currencies = {row["currency"] for row in rows}
    worth = ""
    if len(currencies) == 1:
        money = sum(float(row["saved_bps"]) * 1e-4 * float(row["notional"]) for row in rows)
        worth = f": {_short(money)} {currencies.pop()}"
    title = f"Saved against taking at once{worth}"
    _label(axes, title, "time the order ended (UTC)", "bp, added up over the orders")


def _markouts(axes: Axes, report: Report) -> None:
    """Draw where the mid went after our fills."""
    curve = report["summary"]["markouts"]
    drawn = False
    for name, colour, marker in (("maker", "#0072B2", "o"), ("taker", "#E69F00", "s")):
        points = [
            (float(mark["tau_s"]), float(mark[f"{name}_bps"]))
            for mark in curve
            if mark[f"{name}_bps"] is not None
        ]
        if points:
            drawn = True
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, linewidth=1.8, label=name)
    title = "Markouts: the mid after our fills"
    if not drawn:
        _nothing(axes, "no markout is known yet")
        axes.set_title(title, fontsize=11, loc="left", color=INK)
        return
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xscale("log")
    horizons = [float(mark["tau_s"]) for mark in curve]
    axes.set_xticks(horizons, [f"{tau:g}" for tau in horizons])
    axes.minorticks_off()
    _label(axes, title, "seconds after the fill", "bp of the price, above zero: in our favour")
    axes.legend(fontsize=8, frameon=False)


# --- Small things of a picture -------------------------------------------------------------------


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=11, loc="left", color=INK, parse_math=False)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x" if not y else "y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _nothing(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, ha="center", va="center", color="#777777", transform=axes.transAxes)
    axes.set_axis_off()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _mean(group: Mapping[str, Any], name: str) -> float:
    mean = group[name]["mean"]
    return 0.0 if mean is None else float(mean)


def _added_up(figures: Sequence[float]) -> list[float]:
    sums = [0.0]
    for figure in figures:
        sums.append(sums[-1] + figure)
    return sums


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _bp(figure: str) -> str:
    return f"{float(figure):.1f} bp"


def _short(amount: float) -> str:
    """Write an amount as people say it: 1.2k, 3.4M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(amount) >= size:
            return f"{amount / size:.3g}{letter}"
    return f"{amount:.3g}"
