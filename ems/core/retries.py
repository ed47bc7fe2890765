"""How long to wait before something is tried again, and when people are told instead.

Each wait is about twice the one before, up to a longest; by chance it is a little shorter or longer, so that
what was refused together does not come back together. The chance is drawn from a seed: after a restart, and
in a test, the waits are the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

SPREAD = 1 / 4  # a wait differs by up to this share of itself
DOUBLINGS_MAX = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """The waits between the tries of one thing. Seconds."""

    first_s: float
    longest_s: float
    tries: int  # failures in a row, then a person is told

    def wait(self, failures: int, seed: str) -> timedelta:
        """Return how long to wait after this many failures in a row, one at least."""
        steady = min(self.first_s * 2 ** min(failures - 1, DOUBLINGS_MAX), self.longest_s)
        draw = int.from_bytes(hashlib.sha256(f"{seed} {failures}".encode()).digest()[:8], "big") / 2**64
        return timedelta(seconds=steady * (1 + SPREAD * (2 * draw - 1)))


# Orders that an exchange, or our queue in front of it, had no turn for: an exact no, so safe to send anew.
ORDERS = Retries(first_s=1.0, longest_s=30.0, tries=6)
# A stop whose price has come: every second that it waits may cost what it was to save.
PROTECTIVE = Retries(first_s=1.0, longest_s=2.0, tries=6)
