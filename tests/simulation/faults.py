"""How badly one seed is treated. Each seed draws its own rates (swarm testing), so that rare pairings meet.

Ranges exceed the margins they guard: a visibility lag up to 12 s against a margin of 15 s, requests that
arrive up to 40 s late against a receive window of 5 s. Narrow ranges let broken rules survive
(RELIABILITY.md D).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True)
class Weather:
    """Probabilities are per request, event or boundary; times are seconds."""

    latency_s: float  # mean one way
    drop_request: float
    drop_answer: float  # carried out, the answer never comes
    garbage_answer: float  # carried out, the answer cannot be understood
    late_request: float  # arrives 5 to 40 s after it was sent
    refuse_rate: float  # 429: not carried out, and said so
    fail_lookup: float
    visibility_lag_s: float  # a new order or fill is hidden from queries for up to this long
    stale_s: float  # snapshots are up to this old
    lose_stream: float
    repeat_stream: float
    delay_stream_s: float
    cut_stream: float  # per stream event: the stream breaks, and comes back seconds later
    cancel_says_nothing: float  # a cancel is acknowledged without the final quantity
    cancel_acks_late: float  # acknowledged at once, carried out seconds later; fills go on meanwhile
    crash: float  # per boundary (before and after each commit, before and after each send)
    foreign: float  # per second: somebody else moves funds on the same account


CALM = Weather(
    latency_s=0.02,
    drop_request=0.0,
    drop_answer=0.0,
    garbage_answer=0.0,
    late_request=0.0,
    refuse_rate=0.0,
    fail_lookup=0.0,
    visibility_lag_s=0.0,
    stale_s=0.0,
    lose_stream=0.0,
    repeat_stream=0.0,
    delay_stream_s=0.05,
    cut_stream=0.0,
    cancel_says_nothing=0.0,
    cancel_acks_late=0.0,
    crash=0.0,
    foreign=0.0,
)


def draw(rng: Random) -> Weather:
    """Draw the weather of a seed: each fault is absent, mild or severe."""

    def rate(severe: float) -> float:
        return rng.choice((0.0, severe * 0.2, severe))

    return Weather(
        latency_s=rng.choice((0.01, 0.05, 0.4)),
        drop_request=rate(0.15),
        drop_answer=rate(0.2),
        garbage_answer=rate(0.1),
        late_request=rate(0.1),
        refuse_rate=rate(0.1),
        fail_lookup=rate(0.3),
        visibility_lag_s=rng.choice((0.0, 0.0, 2.0, 12.0)),
        stale_s=rng.choice((0.0, 0.0, 3.0, 8.0)),
        lose_stream=rng.choice((0.0, 0.1, 0.8, 1.0)),
        repeat_stream=rate(0.3),
        delay_stream_s=rng.choice((0.05, 0.5, 6.0)),
        cut_stream=rate(0.05),
        cancel_says_nothing=rate(0.5),
        cancel_acks_late=rate(0.3),
        crash=rng.choice((0.0, 0.005, 0.02, 0.04)),
        foreign=rate(0.05),
    )
