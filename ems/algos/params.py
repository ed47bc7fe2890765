"""The numbers that make one machine into many algorithms (EXECUTION.md 4 and 6)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """One algorithm."""

    name: str
