"""Many costs, looked at together: what trading cost by venue, algorithm, pair, size and spread.

Plain means count every parent once, weighted ones by notional. Notionals in different currencies cannot be
weighed against each other: without `values`, a group that mixes them has no weighted mean. JSON-ready;
figures in bp are rounded to 0.0001 here and nowhere before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from ems.core.codec import plain, time_text
from ems.core.records import Cost
from ems.tca.identity import BP, MONEY, PARTS, ZERO
from ems.tca.resample import mean_interval, quantile
from ems.tca.result import SHOWN

FIGURE = Decimal("0.0001")
UNKNOWN = "unknown"

# Upper edge, excluded -> name. The last has no edge.
SIZES = (
    (Decimal(100), "< 100"),
    (Decimal(1_000), "100 - 1k"),
    (Decimal(10_000), "1k - 10k"),
    (Decimal(100_000), "10k - 100k"),
    (Decimal(1_000_000), "100k - 1M"),
    (None, ">= 1M"),
)
SPREADS = (
    (Decimal(1), "< 1 bp"),
    (Decimal(2), "1 - 2 bp"),
    (Decimal(5), "2 - 5 bp"),
    (Decimal(10), "5 - 10 bp"),
    (Decimal(20), "10 - 20 bp"),
    (Decimal(50), "20 - 50 bp"),
    (None, ">= 50 bp"),
)
Buckets = Sequence[tuple[Decimal | None, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One cost, read back from its record."""

    cost: Cost
    notional: Decimal
    currency: str
    value: Decimal | None  # of the notional in the currency all are compared in; None: not comparable
    figures: Mapping[str, Decimal | None]  # name -> figure, in the unit the name ends in
    markouts: Mapping[str, tuple[Decimal | None, Decimal | None]]  # tau_s -> maker, taker bps
    size: str
    spread: str


# What a row shows beside the parts of the cost: name in the body -> as it is called here.
MORE = (
    "saved_bps",
    "taking_at_once_bps",
    "maker_share",
    "participation",
    "fill_time_s",
    "completion",
    "spread_at_arrival_bps",
)


def report(
    costs: Sequence[Cost],
    *,
    values: Mapping[str, Decimal] | None = None,
    currency: str | None = None,
    seed: str = "costs",
) -> dict[str, object]:
    """Return the report of costs in any order.

    `values` gives the worth of one unit of each notional currency in `currency`; without them notionals are
    compared only where all costs share one currency. `seed` is that of the intervals of confidence.
    """
    with localcontext(MONEY):
        ordered = sorted(costs, key=lambda cost: (cost.ended_at, cost.parent_id))
        if values is None:
            named = {str(cost.body["currency"]) for cost in ordered}
            currency = named.pop() if len(named) == 1 else None
            values = {} if currency is None else {currency: Decimal(1)}
        rows = [_row(cost, values, currency) for cost in ordered]
        groupings: dict[str, Callable[[Row], str]] = {
            "exchange": lambda row: row.cost.exchange,
            "algo": lambda row: row.cost.algo,
            "pair": lambda row: row.cost.pair,
            "size": lambda row: row.size,
            "spread": lambda row: row.spread,
        }
        return {
            "since": time_text(rows[0].cost.ended_at) if rows else None,
            "until": time_text(rows[-1].cost.ended_at) if rows else None,
            "currency": currency,
            "summary": _group("all", rows, seed),
            "groups": {name: _groups(name, rows, key, seed) for name, key in groupings.items()},
            "rows": [_row_body(row) for row in rows],
        }


# --- Rows ----------------------------------------------------------------------------------------


def _row(cost: Cost, values: Mapping[str, Decimal], currency: str | None) -> Row:
    body = cost.body
    notional = Decimal(str(body["notional"]))
    unit = str(body["currency"])
    value = notional * values[unit] if unit in values else None
    split = body["cost"]
    assert isinstance(split, dict), "a cost has its split"
    figures = {f"{part}_bps": _number(split.get(f"{part}_bps")) for part in ("total", *PARTS)}
    figures |= {name: _number(body.get(name)) for name in MORE}
    figures["requests"] = _number(body.get("requests"))
    spread = figures["spread_at_arrival_bps"]
    size = _bucket(notional if value is None else value, SIZES)
    return Row(
        cost=cost,
        notional=notional,
        currency=unit,
        value=value,
        figures=figures,
        markouts=_markouts(body.get("markouts")),
        size=f"{size} {unit if value is None else currency or unit}",
        spread=UNKNOWN if spread is None else _bucket(spread, SPREADS),
    )


def _markouts(found: object) -> dict[str, tuple[Decimal | None, Decimal | None]]:
    marks: dict[str, tuple[Decimal | None, Decimal | None]] = {}
    for mark in found if isinstance(found, list) else ():
        marks[str(mark["tau_s"])] = (_number(mark["maker_bps"]), _number(mark["taker_bps"]))
    return marks


def _row_body(row: Row) -> dict[str, object]:
    cost = row.cost
    return {
        "parent_id": cost.parent_id,
        "query_id": cost.query_id,
        "bot": cost.bot,
        "verb": cost.verb,
        "exchange": cost.exchange,
        "algo": cost.algo,
        "pair": cost.pair,
        "mode": cost.mode,
        "started_at": time_text(cost.started_at),
        "ended_at": time_text(cost.ended_at),
        "complete": cost.complete,
        "notional": plain(row.notional),
        "currency": row.currency,
        "size": row.size,
        "spread": row.spread,
        **{name: _shown(figure) for name, figure in row.figures.items()},
    }


def _bucket(figure: Decimal, buckets: Buckets) -> str:
    return next(name for edge, name in buckets if edge is None or figure < edge)


# --- Groups --------------------------------------------------------------------------------------


def _groups(name: str, rows: Sequence[Row], key: Callable[[Row], str], seed: str) -> list[dict[str, object]]:
    """Return the groups of one kind: buckets in their order, the others by name."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(key(row), []).append(row)
    order = {"size": SIZES, "spread": SPREADS}.get(name, ())
    ranks = {bucket: rank for rank, (_, bucket) in enumerate(order)}

    def rank(group: str) -> tuple[str, int, str]:
        if name == "size":  # "1k - 10k USDT": currency by currency
            bucket, _, unit = group.rpartition(" ")
            return unit, ranks[bucket], group
        return "", ranks.get(group, len(ranks)), group

    return [_group(group, members[group], f"{seed}|{name}|{group}") for group in sorted(members, key=rank)]


def _group(name: str, rows: Sequence[Row], seed: str) -> dict[str, object]:
    notionals: dict[str, Decimal] = {}
    for row in rows:
        notionals[row.currency] = notionals.get(row.currency, ZERO) + row.notional
    return {
        "name": name,
        "n": len(rows),
        "notional": {unit: plain(amount) for unit, amount in sorted(notionals.items())},
        "total_bps": _with_interval(rows, "total_bps", seed),
        **{f"{part}_bps": _spread_of(rows, f"{part}_bps") for part in PARTS},
        "saved_bps": _with_interval(rows, "saved_bps", seed),
        "saved": _saved(rows),
        "maker_share": _mean(rows, "maker_share"),
        "participation": _mean(rows, "participation"),
        "fill_time_s": _mean(rows, "fill_time_s"),
        "requests": _mean(rows, "requests"),
        "completion": _mean(rows, "completion"),
        "markouts": _mean_markouts(rows),
    }


def _spread_of(rows: Sequence[Row], name: str) -> dict[str, object]:
    """Return how a figure is spread over the rows that know it."""
    known = [(row, figure) for row in rows if (figure := row.figures[name]) is not None]
    if not known:
        return {"n": 0, **dict.fromkeys(("mean", "weighted_mean", "median", "sd", "p5", "p95"))}
    figures = [figure for _, figure in known]
    ordered = sorted(figures)
    mean = sum(figures, ZERO) / len(figures)
    return {
        "n": len(figures),
        "mean": _shown(mean),
        "weighted_mean": _shown(_weighted([(row.value, figure) for row, figure in known])),
        "median": _shown(quantile(ordered, Decimal("0.5"))),
        "sd": _shown(_deviation(figures, mean)),
        "p5": _shown(quantile(ordered, Decimal("0.05"))),
        "p95": _shown(quantile(ordered, Decimal("0.95"))),
    }


def _with_interval(rows: Sequence[Row], name: str, seed: str) -> dict[str, object]:
    """Return the same with the interval of the mean, for the figures people decide by."""
    figures = [figure for row in rows if (figure := row.figures[name]) is not None]
    low, high = mean_interval(figures, seed=f"{seed}|{name}") or (None, None)
    return {**_spread_of(rows, name), "ci_low": _shown(low), "ci_high": _shown(high)}


def _mean(rows: Sequence[Row], name: str) -> str | None:
    figures = [figure for row in rows if (figure := row.figures[name]) is not None]
    return _shown(sum(figures, ZERO) / len(figures)) if figures else None


def _saved(rows: Sequence[Row]) -> dict[str, str]:
    """Return the money saved against taking at once, by the currency it is in; negative: lost."""
    saved: dict[str, Decimal] = {}
    for row in rows:
        figure = row.figures["saved_bps"]
        if figure is not None:
            saved[row.currency] = saved.get(row.currency, ZERO) + figure * BP * row.notional
    return {unit: plain(amount.quantize(SHOWN)) for unit, amount in sorted(saved.items())}


def _mean_markouts(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return the curve of all fills: each parent counts with its value times its share of such fills."""
    horizons = sorted({tau_s for row in rows for tau_s in row.markouts}, key=Decimal)
    comparable = all(row.value is not None for row in rows)
    curve: list[dict[str, object]] = []
    for tau_s in horizons:
        maker: list[tuple[Decimal | None, Decimal]] = []
        taker: list[tuple[Decimal | None, Decimal]] = []
        for row in rows:
            maker_bps, taker_bps = row.markouts.get(tau_s, (None, None))
            value = row.value if comparable and row.value is not None else Decimal(1)
            share = row.figures["maker_share"] or ZERO
            if maker_bps is not None:
                maker.append((value * share, maker_bps))
            if taker_bps is not None:
                taker.append((value * (1 - share), taker_bps))
        curve.append(
            {"tau_s": tau_s, "maker_bps": _shown(_weighted(maker)), "taker_bps": _shown(_weighted(taker))}
        )
    return curve


# --- Figures -------------------------------------------------------------------------------------


def _weighted(pairs: Sequence[tuple[Decimal | None, Decimal]]) -> Decimal | None:
    """Return the weighted mean of (weight, figure); None without weights."""
    total = weight = ZERO
    for each, figure in pairs:
        if each is None:
            return None
        total += each * figure
        weight += each
    return total / weight if weight else None


def _deviation(figures: Sequence[Decimal], mean: Decimal) -> Decimal | None:
    """Return the sample standard deviation; None for a single figure."""
    if len(figures) < 2:
        return None
    return (sum(((each - mean) ** 2 for each in figures), ZERO) / (len(figures) - 1)).sqrt()


def _number(found: object) -> Decimal | None:
    return None if found is None else Decimal(str(found))


def _shown(figure: Decimal | None) -> str | None:
    return None if figure is None else plain(figure.quantize(FIGURE, rounding=ROUND_HALF_EVEN))
