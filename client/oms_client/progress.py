"""Say in one line how far a query is, and print that line whenever it changes."""

from __future__ import annotations

import os
import sys
import threading
from datetime import datetime
from typing import TextIO

from .answers import Query
from .tables import short

QUERIES_REMEMBERED = 1000


def progress_line(query: Query) -> str:
    """Describe the state of a query in one readable line."""
    head = f"{query['verb']} {query.get('exchange') or ''}".strip()
    if query["status"] == "failed":
        error = query.get("error") or {}
        return f"{head}: failed: {error.get('message', 'no reason given')}"
    if query["status"] == "done":
        return f"{head}: {_done(query)}"
    progress = query.get("progress")
    if not progress:
        return f"{head}: accepted as {query['query_id']}"
    phase, note = str(progress.get("phase", "working")), str(progress.get("note") or "")
    if note.startswith(phase):  # "waiting for the cancel to settle" says it better than "waiting"
        phase, note = note, ""
    parts = [phase]
    if progress.get("tries"):
        parts.append(f"try {progress['try']}/{progress['tries']}")
    if (progress.get("hops") or 1) > 1:
        parts.append(f"market {progress['hop']}/{progress['hops']}")
    order = f"{progress.get('side') or ''} {progress.get('symbol') or ''}".strip()
    if progress.get("price"):
        order += f" at {progress['price']}"
    if order:
        parts.append(order)
    if progress.get("filled_quantity") and progress.get("quantity"):
        parts.append(f"filled {progress['filled_quantity']} of {progress['quantity']}")
    if progress.get("percent"):
        parts.append(f"{progress['percent']} %")
    if note:
        parts.append(note)
    return f"{head}: {', '.join(parts)}"


def _done(query: Query) -> str:
    result = query.get("result") or {}
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


def wanted() -> bool:
    """Say whether progress is printed by default: as OMS_PROGRESS says, otherwise if somebody watches."""
    choice = os.environ.get("OMS_PROGRESS", "")
    if choice:
        return choice != "0"
    return bool(getattr(sys.stdout, "isatty", lambda: False)())
