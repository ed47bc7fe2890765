"""The column types: exact money, aware time, plain JSON and text that every database takes.

Both databases give back what was put in, to the last digit and microsecond:

| type    | PostgreSQL        | SQLite                                                     |
|---------|-------------------|------------------------------------------------------------|
| Money   | NUMERIC(38,18)    | TEXT COLLATE "DECIMAL", so that order and `<` are numeric  |
| UtcTime | TIMESTAMPTZ       | TEXT, ISO 8601 in UTC with microseconds, so that it sorts  |
| JsonDoc | JSONB             | TEXT                                                       |
| Words   | TEXT              | TEXT                                                       |
| Key     | TEXT COLLATE "C"  | TEXT                                                       |

SQLAlchemy's own Numeric turns amounts into doubles on SQLite and says nothing about it.
SQLite's functions `dec_sum(x)` and `dec_sum_product(x, y)` are ours; `connect` registers them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TIMESTAMP, Numeric, Text, TypeDecorator, TypeEngine

# A context of its own, so that no thread's default of 28 digits rounds a sum.
EXACT = Context(prec=200, Emax=MAX_EMAX, Emin=MIN_EMIN)

WHOLE_DIGITS_MAX = 20  # digits before the point, for every amount


class Money(TypeDecorator[Decimal]):
    """Keep a Decimal exactly; refuse floats, NaN, Infinity and what does not fit the column.

    `decimals` is 18 for what a venue quotes (the smallest unit of a token) and 36 for what is multiplied out
    of two such numbers: money that moved must never be refused for having too many digits.
    """

    impl = Text
    cache_ok = True

    def __init__(self, decimals: int = 18) -> None:
        super().__init__()
        self.decimals = decimals

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric(WHOLE_DIGITS_MAX + self.decimals, self.decimals))
        return dialect.type_descriptor(Text(collation="DECIMAL"))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        text = self.checked(value)
        return Decimal(text) if dialect.name == "postgresql" else text

    def checked(self, value: Decimal) -> str:
        """Return the value as plain digits; raise TypeError or ValueError for what is no amount."""
        if not isinstance(value, Decimal):
            kind = type(value).__name__
            raise TypeError(f"an amount must be a Decimal made from a string, not {kind} {value!r}")
        if not value.is_finite():
            raise ValueError(f"an amount must be a number, not {value}")
        if value.adjusted() >= WHOLE_DIGITS_MAX and value:
            raise ValueError(f"{value} has more than {WHOLE_DIGITS_MAX} digits before the point")
        text = plain(value)
        if len(text.partition(".")[2]) > self.decimals:
            raise ValueError(f"{value} has more than {self.decimals} decimals")
        return text

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        if value is None:
            return None
        # NUMERIC(38,18) gives eighteen decimals back; people and JSON want the number as short as it was.
        return Decimal(plain(Decimal(value)))


def plain(value: Decimal) -> str:
    """Write a finite Decimal without exponent, trailing zeros or minus zero."""
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class UtcTime(TypeDecorator[datetime]):
    """Keep an aware datetime as UTC; refuse naive ones."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time must be aware, not {value.isoformat()}; use datetime.now(UTC)")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)


class JsonDoc(TypeDecorator[Any]):
    """Keep a JSON document; amounts in it are strings already."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        # On PostgreSQL the driver writes the text, with `to_json` given to the engine by `connect`.
        return value if value is None or dialect.name == "postgresql" else to_json(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return json.loads(value) if isinstance(value, str) and dialect.name != "postgresql" else value


def to_json(document: Any) -> str:
    """Write a document as JSON that PostgreSQL takes too; raise TypeError or ValueError if it is none."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return json.dumps(_storable(document), ensure_ascii=False, separators=(",", ":")) if _odd(text) else text


class Words(TypeDecorator[str]):
    """Keep text from people and venues; NUL and lone surrogates, which PostgreSQL refuses, become U+FFFD.

    A bot's strange name must not stop the order path.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None or not _odd(value) else storable(value)


class Key(Words):
    """Words that sort by code point whatever the server's locale: cursors are compared in Python too."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text(collation="C") if dialect.name == "postgresql" else Text())


def _odd(text: str) -> bool:
    if "\x00" in text or "\\u0000" in text:
        return True
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def storable(text: str) -> str:
    """Replace the characters that PostgreSQL refuses."""
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _storable(document: Any) -> Any:
    if isinstance(document, str):
        return storable(document)
    if isinstance(document, dict):
        return {_storable(key): _storable(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [_storable(value) for value in document]
    return document


# --- Sums, exact on both databases, and days ---------------------------------------------------------------


class money_sum(FunctionElement[Decimal]):
    """Sum one Money column: `money_sum(fills.c.fee)`; NULL when there are no rows."""

    type = Money(36)
    inherit_cache = True


class money_sum_product(FunctionElement[Decimal]):
    """Sum the product of two Money columns: `money_sum_product(fills.c.price, fills.c.quantity)`."""

    type = Money(36)
    inherit_cache = True


class utc_day(FunctionElement[str]):
    """Return the day of a UtcTime column, as ISO 8601: `utc_day(fills.c.timestamp)`."""

    type = Text()
    inherit_cache = True


@compiles(utc_day)
def _day(element: utc_day, compiler: SQLCompiler, **options: Any) -> str:
    return f"to_char({compiler.process(element.clauses, **options)} at time zone 'UTC', 'YYYY-MM-DD')"


@compiles(utc_day, "sqlite")
def _day_sqlite(element: utc_day, compiler: SQLCompiler, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 10)"


@compiles(money_sum)
def _sum(element: money_sum, compiler: SQLCompiler, **options: Any) -> str:
    return f"sum({compiler.process(element.clauses, **options)})"


@compiles(money_sum, "sqlite")
def _sum_sqlite(element: money_sum, compiler: SQLCompiler, **options: Any) -> str:
    return f"dec_sum({compiler.process(element.clauses, **options)})"


@compiles(money_sum_product)
def _sum_product(element: money_sum_product, compiler: SQLCompiler, **options: Any) -> str:
    first, second = (compiler.process(each, **options) for each in element.clauses)
    return f"sum({first} * {second})"


@compiles(money_sum_product, "sqlite")
def _sum_product_sqlite(element: money_sum_product, compiler: SQLCompiler, **options: Any) -> str:
    return f"dec_sum_product({compiler.process(element.clauses, **options)})"


class DecimalSum:
    """SQLite's aggregate `dec_sum`: the exact sum of text amounts, as text."""

    def __init__(self) -> None:
        self.total: Decimal | None = None

    def step(self, amount: str | None) -> None:
        if amount is not None:
            self.total = EXACT.add(self.total or Decimal(0), Decimal(amount))

    def finalize(self) -> str | None:
        return None if self.total is None else plain(self.total)


class DecimalSumProduct(DecimalSum):
    """SQLite's aggregate `dec_sum_product`: the exact sum of products of text amounts, as text."""

    def step(self, amount: str | None, factor: str | None = None) -> None:
        if amount is not None and factor is not None:
            super().step(plain(EXACT.multiply(Decimal(amount), Decimal(factor))))


def compare_amounts(left: str, right: str) -> int:
    """SQLite's collation "DECIMAL": compare two amounts as numbers."""
    first, second = Decimal(left), Decimal(right)
    return (first > second) - (first < second)
