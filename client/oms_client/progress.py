"""Say how far a query is: in one line for a log, as a block of bars that a terminal redraws."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, TextIO

from .answers import Query
from .charts import bar, basis_points, number, percent
from .tables import clean, short

QUERIES_REMEMBERED = 1000


def progress_line(query: Query) -> str:
    """Describe the state of a query in one readable line."""
    head = f"{query['verb']} {query.get('exchange') or ''}".strip()
    if query.unreachable is not None:
        return clean(f"{head}: {away_text(query)}")
    if query.silent_s is not None:
        head += f": the server answers again after {duration(query.silent_s)}"
    return clean(_state(query, head))


def _state(query: Query, head: str) -> str:
    if query["status"] == "failed":
        error = query.get("error") or {}
        return f"{head}: failed: {error.get('message', 'no reason given')}"
    if query["status"] == "done":
        return f"{head}: {_done(query)}"
    progress = query.get("progress")
    if not progress:
        return f"{head}: accepted as {query['query_id']}"
    return f"{head}: {', '.join(_doing(progress))}"


def away_text(query: Query) -> str:
    """Say that the server is away or too busy to answer, and that nothing is lost by it."""
    return f"no news from the server ({query.unreachable}); {query['query_id']} goes on there, asking again"


def _doing(progress: Mapping[str, Any]) -> list[str]:
    """Say what a query does in words: as a whole, then each leg.

    The time left is not among them: it changes without anything happening, and every change is a line.
    """
    legs = progress.get("legs") or []
    if len(legs) < 2:
        return _one_market(legs[0] if legs else {}, progress)
    parts = _phase(progress)
    if progress.get("percent"):
        parts.append(_percent(progress["percent"]))
    for leg in legs:
        said = [f"{leg.get('exchange') or ''} {leg.get('side') or ''} {leg.get('symbol') or ''}".strip()]
        said += [_percent(leg["percent"])] if leg.get("percent") is not None else []
        said += [str(leg["phase"])] if leg.get("phase") else []
        parts.append(" ".join(said))
    return parts


def _one_market(leg: Mapping[str, Any], progress: Mapping[str, Any]) -> list[str]:
    """Say what a query does in its one market; the words of a whole and of its only leg are one."""
    now = {**leg, **{name: value for name, value in progress.items() if value is not None}}
    parts = _phase(now)
    step, steps = now.get("try") or now.get("step"), now.get("tries") or now.get("steps")
    if steps:
        parts.append(f"try {step}/{steps}")
    if (now.get("hops") or 1) > 1:
        parts.append(f"market {now['hop']}/{now['hops']}")
    order = f"{now.get('side') or ''} {now.get('symbol') or ''}".strip()
    if now.get("price"):
        order += f" at {now['price']}"
    if order:
        parts.append(order)
    if now.get("filled_quantity") and now.get("quantity"):
        parts.append(f"filled {now['filled_quantity']} of {now['quantity']}")
    if now.get("percent"):
        parts.append(_percent(now["percent"]))
    note = str(now.get("note") or "")
    if note and note != parts[0]:
        parts.append(note)
    return parts


def _phase(now: Mapping[str, Any]) -> list[str]:
    phase, note = str(now.get("phase") or "working"), str(now.get("note") or "")
    # "waiting for the cancel to settle" says it better than "waiting".
    return [note if note.startswith(phase) else phase]


def _percent(value: Any) -> str:
    found = number(value)
    return "" if found is None else percent(found / 100)


def duration(seconds: Any) -> str:
    """Write how long something takes: 45 s, 2 min 5 s, 1 h 10 min."""
    found = number(seconds)
    if found is None:
        return ""
    whole = max(int(found), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 // 60 else f"{whole // 3600} h"


# --- the block that is redrawn ---

BAR_WIDTH = 20
LEGS_SHOWN = 12


def progress_block(query: Query, width: int = 100) -> list[str]:
    """Draw a working query as lines no wider than `width`: one for the whole, one for each leg."""
    progress = query.get("progress") or {}
    legs = [leg for leg in progress.get("legs") or [] if isinstance(leg, Mapping)]
    head = f"{query['verb']} {query.get('exchange') or ''}".strip()
    if not progress:
        return [_fitted(f"{head}: accepted as {query['query_id']}", width)]
    if not legs:
        legs = [progress] if progress.get("symbol") else []
    parts = _phase(progress)
    if progress.get("eta_s") is not None:
        parts.append(f"{duration(progress['eta_s'])} left")
    note = progress.get("note")
    if note and str(note) != parts[0]:
        parts.append(str(note))
    lines = [f"{head}  {_bar(progress.get('percent'))}  {', '.join(parts)}"]
    names = [
        " ".join(str(leg.get(name) or "") for name in ("exchange", "side", "symbol"))
        for leg in legs[:LEGS_SHOWN]
    ]
    name_width = max(map(len, names), default=0)
    lines += [f"  {name.strip().ljust(name_width)}  {_leg(leg, note)}" for name, leg in zip(names, legs)]
    if len(legs) > LEGS_SHOWN:
        lines.append(f"  and {len(legs) - LEGS_SHOWN} more legs")
    return [_fitted(line, width) for line in lines]


def _leg(leg: Mapping[str, Any], whole: Any) -> str:
    """Draw one leg; what the note of the `whole` says already is not said twice."""
    parts = []
    if leg.get("quantity") is not None:
        text = f"{leg.get('filled_quantity') or '0'} of {leg['quantity']}"
        parts.append(f"{text} at {leg['price']}" if leg.get("price") else text)
    step, steps = leg.get("try") or leg.get("step"), leg.get("tries") or leg.get("steps")
    phase = str(leg.get("phase") or "")
    parts.append(f"{phase} {step}/{steps}" if steps else phase)
    if leg.get("note") and leg["note"] != whole:
        parts.append(str(leg["note"]))
    return f"{_bar(leg.get('percent'))}  {', '.join(part for part in parts if part)}"


def _bar(done: Any) -> str:
    found = number(done)
    # Rounded by name: ccxt, where a bot uses it too, changes how its thread rounds.
    text = "" if found is None else f"{found.quantize(Decimal(1), ROUND_HALF_EVEN)} %"
    return f"{bar(found, BAR_WIDTH)} {text.rjust(5)}"


def _fitted(line: str, width: int) -> str:
    """Cut a line that the terminal would break in two: the cursor could not find back over it."""
    safe = clean(line)
    return safe if len(safe) <= width else safe[: max(width - 1, 1)] + "…"


def _done(query: Query) -> str:
    result = query.get("result") or {}
    if query["verb"] == "quote":
        expected = result.get("expected") or {}
        text = f"quote {result.get('quote_id') or ''}".strip()
        if expected.get("received") is not None:
            text += f", expected {expected['received']} {expected.get('currency') or ''}".rstrip()
        return text + _cost_said(result)
    if result.get("value_before") is not None:
        unit = result.get("numeraire") or ""
        value = f"{result['value_before']} -> {result.get('value_after')} {unit}".strip()
        return f"{result.get('outcome', 'done')}: value {value}{_cost_said(result)}"
    if result.get("spent") is not None and result.get("start_currency"):
        text = (
            f"{result.get('outcome', 'done')}: spent {result['spent']} {result['start_currency']}, "
            f"received {result.get('received')} {result.get('end_currency')}"
        )
        if result.get("average_price"):
            text += f" at {short(result['average_price'])}"
        fees = ", ".join(f"{amount} {currency}" for currency, amount in (result.get("fees") or {}).items())
        if fees:
            text += f", fees {fees}"
        if result.get("saved_bps") is not None:
            text += f", {_saved(result['saved_bps'])}"
        if result.get("duration_s") is not None:
            text += f", {result['duration_s']} s"
        return text
    if result.get("order_id"):
        filled = result.get("filled_quantity", "0")
        return f"order {result['order_id']} {result.get('status', '')}, filled {filled}"
    return f"done{': ' + result['reason'] if result.get('reason') else ''}"


def _cost_said(result: Mapping[str, Any]) -> str:
    cost = (result.get("cost") or {}).get("total_bps")
    return f", cost {basis_points(cost)} bp" if number(cost) is not None else ""


def _saved(basis_points: str) -> str:
    if basis_points.startswith("-"):
        return f"{basis_points[1:]} bp worse than taking at once"
    return f"{basis_points} bp better than taking at once"


class ProgressPrinter:
    """Print a line for every change of every query it is told about."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream  # None: whatever sys.stdout is at that moment
        self._last: dict[str, str] = {}  # query id -> last line printed
        self._lock = threading.Lock()

    def __call__(self, query: Query) -> None:
        """Print the query's line, unless it is the one printed last."""
        line = progress_line(query)
        with self._lock:
            if self._last.pop(query["query_id"], None) != line:
                now = datetime.now().astimezone()
                print(f"{now:%H:%M:%S} {line}", file=self._stream or sys.stdout, flush=True)
            self._last[query["query_id"]] = line
            while len(self._last) > QUERIES_REMEMBERED:
                del self._last[next(iter(self._last))]


class LiveProgress:
    """Redraw one query's block in place; made for a terminal nobody else writes to meanwhile."""

    def __init__(self, stream: TextIO, *, width: int | None = None) -> None:
        self._stream = stream
        self._width = width  # None: that of the terminal at each moment
        self._drawn = 0  # lines of the block on the screen

    def __call__(self, query: Query) -> None:
        """Draw the query's block over the one drawn last; erase it when the query is over."""
        width = self._width or shutil.get_terminal_size((100, 24)).columns
        lines = [] if query.is_over else progress_block(query, width)
        if query.unreachable is not None:
            lines.append(_fitted(f"  {away_text(query)}", width))
        # Up over the old block, and erase from there to the end of the screen.
        up = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        self._stream.write(up + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)


def wanted(unset: bool | None = None) -> bool:
    """Say whether progress is printed: as OMS_PROGRESS says, otherwise `unset`, or if somebody watches."""
    choice = os.environ.get("OMS_PROGRESS", "")
    if choice:
        return choice != "0"
    if unset is not None:
        return unset
    return bool(getattr(sys.stdout, "isatty", lambda: False)())
