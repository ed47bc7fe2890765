"""Accept both spellings of the manual's names: its own startCurrency, and start_currency as Python has it.

The manual's names stay in the signatures, so help() and editors show what the manual shows.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, Callable, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def snake_case(name: str) -> str:
    """Spell a camelCase name in snake_case."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)


def both_spellings(function: F) -> F:
    """Let every camelCase parameter of a function be given in snake_case too; both at once is a TypeError."""
    names = inspect.signature(function).parameters
    manual = {
        snake_case(name): name for name in names if snake_case(name) != name
    }  # snake_case -> the manual's

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for snake, camel in manual.items():
            if snake in kwargs:
                if camel in kwargs:
                    raise TypeError(
                        f"{function.__name__}() got both {camel} and {snake}; give one of the two"
                    )
                kwargs[camel] = kwargs.pop(snake)
        return function(*args, **kwargs)

    return cast(F, call)
