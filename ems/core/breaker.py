"""How exchanges answered to new orders lately: too many bad answers halt an exchange (RELIABILITY.md E, 16).

Rules:
1. An answer counts once, when it came. What was not sent, and the market's ordinary no, say nothing.
2. A halt starts its window anew: what led to it is not held against the exchange again.
3. The windows can be filled again from the histories of orders and from the halts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ems.core.messages import Refusal
from ems.core.order import Kind
from ems.core.records import HistoryEntry
from ems.core.risk_limits import REJECTS_OF, Scope

MINUTE = timedelta(seconds=60)
UNKNOWNS = "unknowns_per_minute"  # these two start the reason of a halt, too
REFUSALS = "reject_share"
# A quote that came too late: it says nothing about the exchange.
ORDINARY = frozenset({Refusal.POST_ONLY_WOULD_CROSS})
# Kinds of changes that only an exchange which took the order can bring.
TAKEN = frozenset({Kind.ACK, Kind.FILL, Kind.LAST_FILL})
RECENT = (
    1000  # changes of orders, the newest of all exchanges, in which answers are looked for after a restart
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What became of sending one order."""

    exchange: str
    at: datetime
    refused: bool | None  # None: there was no clear answer


class Breaker:
    """Mutable, owned by the engine alone."""

    def __init__(self) -> None:
        self._unknown: dict[str, deque[datetime]] = {}  # exchange -> when, within the last minute
        self._refused: dict[str, deque[bool]] = {}  # exchange -> of its last orders, oldest first

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        if answer.refused is None:
            times = self._unknown.setdefault(answer.exchange, deque())
            times.append(answer.at)
            while times[0] < answer.at - MINUTE:
                times.popleft()
        else:
            last = self._refused.setdefault(answer.exchange, deque(maxlen=REJECTS_OF))
            last.append(answer.refused)

    def unknowns(self, exchange: str) -> int:
        """Return how many orders got no clear answer within 60 s, at the last of them."""
        return len(self._unknown.get(exchange, ()))

    def refusals(self, exchange: str) -> tuple[int, int]:
        """Return how many of so many last orders were refused."""
        last = self._refused.get(exchange, ())
        return sum(last), len(last)

    def start_anew(self, exchange: str, window: str) -> None:
        """Forget what led to a halt."""
        (self._unknown if window == UNKNOWNS else self._refused).pop(exchange, None)


def answers_of(
    changes: Iterable[tuple[Scope, HistoryEntry]], halted_at: Mapping[tuple[str, str], datetime]
) -> list[Answer]:
    """Return what exchanges answered since they were last halted for it.

    `changes`: (whose order and where, a change of it), oldest first; `halted_at`: (exchange, window) -> when.
    """
    found = []
    taken: set[str] = set()
    for where, entry in changes:
        exchange = where.exchange or ""
        kind = entry.report.get("kind")
        refusal = entry.report.get("refusal")
        if kind in TAKEN and entry.order_id not in taken:
            taken.add(entry.order_id)
            refused: bool | None = False
        elif kind == Kind.REJECT and refusal is not None and refusal not in ORDINARY:
            refused = True
        elif kind == Kind.DOUBT:
            refused = None
        else:
            continue
        halted = halted_at.get((exchange, UNKNOWNS if refused is None else REFUSALS))
        if halted is None or entry.timestamp > halted:
            found.append(Answer(exchange=exchange, at=entry.timestamp, refused=refused))
    return found


def window_of(reason: str) -> str:
    """Return which window a halt of the breaker was set for."""
    return reason.partition(":")[0]
