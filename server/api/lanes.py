"""Shares of the server's threads: who waits for an exchange or for news holds one, and cancels must find one.

Of the port's 96 threads the lanes below may hold 81; the rest is for what is never slow: cancels and reading
orders. A caller who finds its lane full is told so at once; the idempotency key makes its repeat harmless.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ems.core import errors
from ems.core.errors import problem
from ems.desk import DeskRefused

LONG_POLLS_MAX = 16
VENUE_READS_MAX = 8
LIST_READS_MAX = 4  # of an exchange's past: each may take a quarter of a minute
PICTURES_MAX = 2  # drawing takes a second of processor time
CHANNEL_TESTS_MAX = 3  # of notifications: each may take twenty seconds
NEW_ORDERS_MAX = 48  # an order waits for a book or a balance when there is no fresh one

Lane = threading.BoundedSemaphore


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """How many may wait at the same time, for what."""

    long_polls: Lane = field(default_factory=lambda: Lane(LONG_POLLS_MAX))
    venue_reads: Lane = field(default_factory=lambda: Lane(VENUE_READS_MAX))
    list_reads: Lane = field(default_factory=lambda: Lane(LIST_READS_MAX))
    pictures: Lane = field(default_factory=lambda: Lane(PICTURES_MAX))
    channel_tests: Lane = field(default_factory=lambda: Lane(CHANNEL_TESTS_MAX))
    new_orders: Lane = field(default_factory=lambda: Lane(NEW_ORDERS_MAX))


@contextmanager
def place_in(lane: Lane) -> Iterator[None]:
    """Take a place for the time of the block. Raises DeskRefused when there is none."""
    with place_if_free(lane) as free:
        if not free:
            raise DeskRefused(problem(errors.ENGINE_BUSY, "too many callers are waiting for the same thing"))
        yield


@contextmanager
def place_if_free(lane: Lane) -> Iterator[bool]:
    """Take a place when there is one, and say whether."""
    free = lane.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            lane.release()
