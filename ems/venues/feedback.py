"""What an answer tells about the venue's limits: its own counts, what is full, when to stay away.

The counts are believed where they are worse than ours, for the bucket they are about. A refusal that a
dialect lists fills that bucket alone, so that too many orders hold no cancel back; any other 429 or 418 is
taken as a word to everybody behind our address.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from ems.venues.dialects.dialect import Dialect, Pause
from ems.venues.errors import Said
from ems.venues.limiter import Budget, Scope
from ems.venues.transport import Attempt, Call

PAUSE_MAX_S = 3 * 86400.0  # the longest ban Binance documents; "inf" would keep cancels back for ever
PAUSE_S = {429: 10.0, 418: 120.0}  # when the venue gives no Retry-After


def learn(
    attempt: Attempt, call: Call | None, dialect: Dialect, budget: Budget, venue_now_s: float
) -> tuple[Said, ...]:
    """Take what an answer tells about the limits; return the errors it carries."""
    if attempt.status is None:
        return ()
    costs: Mapping[str, float] = {} if call is None else call.costs
    for told in dialect.limits.told:
        count = _number(attempt.headers.get(told.header))
        if count is not None:
            limit = _number(attempt.headers.get(told.limit)) if told.limit else None
            for bucket in [told.bucket] if told.bucket else budget.own(costs):
                if limit is not None and limit != budget.capacity(bucket):
                    continue
                budget.believe(bucket, asked_at=attempt.began_at, **{told.counts: count})
    said = dialect.words.said(attempt.status, attempt.body)
    understood = False
    for one in said:
        word = dialect.limits.words.get(one.code)
        if word is None:
            continue
        understood = True
        if isinstance(word, Pause):
            budget.pause(word.seconds, word.scope, one.message)
        elif isinstance(word, float):
            budget.pause(word, Scope.IP, one.message)
        else:
            own = budget.own(costs) or list(costs)
            for bucket in [word.format(symbol=call.symbol if call else "")] if word else own:
                budget.full(bucket, _free_in_s(attempt, dialect, venue_now_s))
    if attempt.status in PAUSE_S and not understood:
        seconds = _retry_after_s(attempt, venue_now_s)
        words = "; ".join(one.message for one in said) or f"HTTP {attempt.status}"
        budget.pause(PAUSE_S[attempt.status] if seconds is None else seconds, Scope.IP, words)
    return said


def _free_in_s(attempt: Attempt, dialect: Dialect, venue_now_s: float) -> float | None:
    """Return when what is full is said to be free again, in seconds from now."""
    if dialect.limits.reset_header is not None:
        at_ms = _number(attempt.headers.get(dialect.limits.reset_header))
        if at_ms is not None:
            return min(max(0.0, at_ms / 1000 - venue_now_s), PAUSE_MAX_S)
    return _retry_after_s(attempt, venue_now_s)


def _retry_after_s(attempt: Attempt, venue_now_s: float) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110 10.2.3)."""
    text = attempt.headers.get("Retry-After", "")
    try:
        return min(max(0.0, float(text)), PAUSE_MAX_S)
    except ValueError:
        pass
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - venue_now_s), PAUSE_MAX_S)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = None if text is None else float(text)
    except ValueError:
        return None
    return number if number is not None and 0 <= number < 1e15 else None
