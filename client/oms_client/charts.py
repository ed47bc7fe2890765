"""Bars and figures made of characters."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

_EIGHTHS = " ▏▎▍▌▋▊▉"
FULL, EMPTY, AXIS = "█", "░", "│"


def number(value: Any) -> Decimal | None:
    """Read a figure of an answer; what is none is None."""
    if value is None or isinstance(value, bool):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def basis_points(value: Any) -> str:
    """Write basis points for the eye: one decimal, two where that would hide them; nothing where unknown."""
    found = number(value)
    if found is None:
        return ""
    places = 1 if found == 0 or abs(found) >= Decimal("0.05") else 2
    text = f"{found:.{places}f}"
    return text.lstrip("-") if not text.strip("-0.") else text


def percent(share: Any) -> str:
    """Write a share of one as a percentage."""
    found = number(share)
    if found is None:
        return ""
    text = f"{found * 100:.1f}"
    return f"{text[:-2] if text.endswith('.0') else text} %"


def bar(done: Any, width: int) -> str:
    """Draw how much of a hundred is done; an eighth of a character is the smallest step."""
    found = number(done)
    steps = 0 if found is None else int(min(max(found, Decimal(0)), Decimal(100)) * width * 8 / 100)
    whole, part = divmod(steps, 8)
    text = FULL * whole + (_EIGHTHS[part] if part else "")
    return text + EMPTY * (width - len(text))


def stacked(parts: Sequence[tuple[str, Decimal]], *, per_character: Decimal, left: int, right: int) -> str:
    """Draw parts one after another, gains to the left of the axis and costs to the right of it.

    Each part is (its character, its size). What does not fit into `left` or `right` characters is cut off.
    """
    gains = _run([(mark, -size) for mark, size in parts if size < 0], per_character)[:left]
    costs = _run([(mark, size) for mark, size in parts if size > 0], per_character)[:right]
    return f"{gains[::-1].rjust(left)}{AXIS}{costs}".rstrip()


def _run(parts: Sequence[tuple[str, Decimal]], per_character: Decimal) -> str:
    """Draw parts in a row; the row as a whole is rounded, so that many small parts do not vanish."""
    text, total = "", Decimal(0)
    for mark, size in parts:
        total += size
        text += mark * (int(total / per_character + Decimal("0.5")) - len(text))
    return text
