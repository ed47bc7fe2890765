"""Lay answers out for people: columns that line up, numbers to the right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

_NUMBER = re.compile(r"[+-]?[0-9][0-9.]*( %| s)?")


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "nothing") -> str:
    """Lay out rows under titles; a column of numbers is aligned to the right."""
    texts = [[_cell(value) for value in row] for row in rows]
    if not texts:
        return empty
    columns = list(zip(*texts))
    right = [all(_NUMBER.fullmatch(cell) or not cell for cell in column) for column in columns]
    widths = [max(len(title), *map(len, column)) for title, column in zip(titles, columns)]
    lines = [list(titles), *texts]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right)
        ).rstrip()
        for line in lines
    )


def facts(named: Mapping[str, Any]) -> str:
    """Lay out names and values, one to a line; what is empty is left out."""
    shown = {
        name.replace("_", " "): _cell(value)
        for name, value in named.items()
        if value not in (None, "", {}, [])
    }
    width = max(map(len, shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in shown.items())


def short(number: str) -> str:
    """Round a quotient for the eye, to ten digits; an amount of money is shown as it is."""
    rounded = Context(prec=10).create_decimal(Decimal(number))
    text = f"{rounded:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{_cell(amount)} {name}" for name, amount in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_cell, value))
    return clean(value)


def clean(value: Any) -> str:
    """Make a text safe to print: a terminal would obey control characters, whoever put them there."""
    return "".join(c if c.isprintable() else "?" for c in str(value))
