"""What the calls return: real dictionaries, exactly as the server sent them, with typed attributes beside.

`order["filled_quantity"]` is the text "0.25" (so json.dumps works), `order.filled_quantity` the Decimal.
A field the server leaves out reads as an AttributeError, a null as None.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Callable, ClassVar

OVER = ("done", "failed")
CLOSED = ("filled", "canceled", "expired", "rejected", "invalidated")


def _amounts(value: Any) -> dict[str, Decimal]:
    return {currency: Decimal(str(amount)) for currency, amount in value.items()}


def _time(value: str) -> datetime:
    # Python 3.9 and 3.10 do not read the Z.
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


# a field's annotation -> how its attribute is made; nested answers add themselves
_READERS: dict[str, Callable[[Any], Any]] = {
    "Decimal": lambda value: Decimal(str(value)),
    "datetime": _time,
    "dict[str, Decimal]": _amounts,
}


class Answer(dict):  # type: ignore[type-arg]  # keys are field names, values JSON
    """A dictionary from the server; a subclass annotates which fields it has, and their types."""

    _types: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._types = {**cls._types, **getattr(cls, "__annotations__", {})}
        _READERS[cls.__name__] = cls
        _READERS[f"list[{cls.__name__}]"] = lambda rows: [cls(row) for row in rows]
        _READERS[f"dict[str, {cls.__name__}]"] = lambda named: {key: cls(row) for key, row in named.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__} has no field {name!r}; it has {', '.join(self)}"
            ) from None
        annotated = self._types.get(name, "")
        reader = _READERS.get(annotated.replace(" | None", ""))
        return value if value is None or reader is None else reader(value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({super().__repr__()})"

    @property
    def raw(self) -> dict[str, Any]:
        """Give a plain dictionary as the server sent it."""
        return dict(self)

    @property
    def mode(self) -> str | None:
        """Say "live" or "paper"; None inside another answer."""
        return self.__dict__.get("_mode")

    @property
    def request_id(self) -> str | None:
        """Name the request this answered, for the operator's log."""
        return self.__dict__.get("_request_id")

    def _from(self, mode: str | None, request_id: str | None) -> None:
        self.__dict__.update(_mode=mode, _request_id=request_id)


class Fill(Answer):
    """One execution."""

    fill_id: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: str  # "maker" | "taker"
    timestamp: datetime


class Order(Answer):
    """One order at one exchange."""

    order_id: str
    client_order_id: str
    exchange_order_id: str | None
    query_id: str
    parent_id: str
    exchange: str
    account: str
    symbol: str
    side: str
    order_type: str
    time_in_force: str
    post_only: bool
    price: Decimal | None
    quantity: Decimal
    filled_quantity: Decimal
    remaining_quantity: Decimal
    average_price: Decimal | None
    status: str
    reason: str
    fees: dict[str, Decimal]
    created_at: datetime
    updated_at: datetime | None
    closed_at: datetime | None
    fills: list[Fill]

    @property
    def is_closed(self) -> bool:
        """Say whether the order has ended."""
        return self.get("status") in CLOSED

    @property
    def query(self) -> Query | None:
        """Give the query that asked for the order, where this came from placing it."""
        return self.__dict__.get("_query")


class Progress(Answer):
    """How far a working query is."""

    phase: str  # "making" | "taking" | "settling" | "waiting"
    hop: int
    hops: int
    tries: int
    symbol: str
    side: str
    price: Decimal | None
    filled_quantity: Decimal | None
    quantity: Decimal | None
    percent: Decimal | None


class Query(Answer):
    """What was asked, and what became of it."""

    query_id: str
    user: str
    bot: str
    verb: str
    exchange: str | None
    status: str  # "working" | "done" | "failed"
    seq: int
    accepted_at: datetime
    finished_at: datetime | None
    duplicate: bool
    parameters: dict[str, Any]
    progress: Progress | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    orders: list[Order]

    @property
    def is_over(self) -> bool:
        """Say whether nothing more will happen."""
        return self.get("status") in OVER


class Step(Answer):
    """One market of a path."""

    symbol: str
    side: str


class TakingAtOnce(Answer):
    """What the books at the start would have given for everything at once."""

    spent: Decimal
    received: Decimal
    average_price: Decimal | None
    cost_bps: Decimal | None


class _Outcome(Answer):
    @property
    def query(self) -> Query | None:
        """Give the query this is the result of."""
        return self.__dict__.get("_query")


class SmartOrderResult(_Outcome):
    """What a conversion achieved and what it cost."""

    exchange: str
    start_currency: str
    end_currency: str
    path: list[Step]
    spent: Decimal
    received: Decimal
    average_price: Decimal | None
    fees: dict[str, Decimal]
    unspent: Decimal
    dust: dict[str, Decimal]
    taking_at_once: TakingAtOnce | None
    cost_bps: Decimal | None
    saved_bps: Decimal | None
    tries: int
    duration_s: Decimal
    outcome: str  # "done" | "partial" | "nothing"
    reason: str


class CancelResult(_Outcome):
    """What became of the orders that were to be canceled; ids of orders in every list."""

    canceled: list[str]
    filled: list[str]  # the cancel came too late
    other: list[str]
    left: list[str]  # other orders, not touched


class Balance(Answer):
    """What an account holds of one currency."""

    free: Decimal
    used: Decimal
    total: Decimal


class Balances(Answer):
    """What an account holds; currencies it has nothing of are left out."""

    exchange: str
    account: str
    balances: dict[str, Balance]

    def free(self, currency: str) -> Decimal:
        """Give what can be traded of a currency; zero where the account has none."""
        return Decimal(str(self["balances"].get(currency.upper(), {}).get("free", "0")))

    def total(self, currency: str) -> Decimal:
        """Give all there is of a currency, also what open orders hold."""
        return Decimal(str(self["balances"].get(currency.upper(), {}).get("total", "0")))


class OrderPage(Answer):
    """One page of orders, newest first; give `next_cursor` back as `cursor` for the next."""

    orders: list[Order]
    next_cursor: str | None


class Transfer(Answer):
    """One deposit or withdrawal."""

    id: str
    kind: str
    currency: str
    amount: Decimal
    fee: Decimal | None
    status: str
    txid: str | None
    at: datetime


class Transfers(Answer):
    """What moved in and out of an account, newest first."""

    exchange: str
    account: str
    transfers: list[Transfer]


class Fee(Answer):
    """What trading in one market costs, as fractions: 0.001 is 10 basis points."""

    symbol: str
    maker: Decimal
    taker: Decimal


class Fees(Answer):
    """What trading costs this account."""

    exchange: str
    account: str
    fees: list[Fee]


class Stats(Answer):
    """Counts and volumes of orders."""


class Health(Answer):
    """The state of the server and of every exchange account."""

    ready: bool
    missing: list[str]
    server_time: datetime
