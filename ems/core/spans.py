"""Stretches of time, and which parts of one are not covered by others yet. The end is not part of one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

Span = tuple[datetime, datetime]


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return the same stretches, oldest first, with those that touch or overlap put together."""
    out: list[Span] = []
    for since, until in sorted(span for span in spans if span[0] < span[1]):
        if out and since <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], until))
        else:
            out.append((since, until))
    return out


def missing(wanted: Span, covered: Iterable[Span]) -> list[Span]:
    """Return the parts of `wanted` that are not covered, newest first."""
    gaps: list[Span] = []
    start, end = wanted
    for since, until in merged(covered):
        if until <= start or since >= end:
            continue
        if since > start:
            gaps.append((start, since))
        start = max(start, until)
    if start < end:
        gaps.append((start, end))
    return gaps[::-1]


def without(spans: Iterable[Span], taken: Span) -> list[Span]:
    """Return the stretches less one, oldest first."""
    left: list[Span] = []
    for since, until in merged(spans):
        left += [(since, min(until, taken[0])), (max(since, taken[1]), until)]
    return merged(left)


def common(span: Span, spans: Iterable[Span]) -> list[Span]:
    """Return the parts of a stretch that are in others too, oldest first."""
    return merged((max(span[0], since), min(span[1], until)) for since, until in spans)
