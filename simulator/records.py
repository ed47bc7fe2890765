"""The words of a simulated exchange: what is traded, owned, ordered and told, and why it says no.

Records are read by everybody and changed by `simulator.exchange` alone. At the end of the file, the same as
JSON for the admin API and for tests.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from ems.core.book import Side, TimeInForce

OrderType = Literal["market", "limit"]
FeeMode = Literal["received", "quote", "base"]
QueueModel = Literal["probable", "risk_averse", "optimistic"]
UpdateKind = Literal["new", "trade", "canceled", "expired", "triggered", "amended"]
ClientIdRule = Literal["open", "forever", "none"]
Levels = list[tuple[Decimal, Decimal]]
# One piece of liquidity a taker would meet: price, quantity, and whose order it is (None: displayed).
Step = tuple[Decimal, Decimal, int | None]

ZERO = Decimal(0)
FEE_QUANTUM = Decimal("0.00000001")

# Status words are those of the order everywhere in this project.
SUBMITTED = "submitted"
PARTIALLY_FILLED = "partially_filled"
FILLED = "filled"
CANCELED = "canceled"
EXPIRED = "expired"

# Reasons of a Reject.
INVALID_KEY = "INVALID_KEY"
UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
UNKNOWN_ORDER = "UNKNOWN_ORDER"
ORDER_CLOSED = "ORDER_CLOSED"
BAD_PARAMETER = "BAD_PARAMETER"
LOT_SIZE = "LOT_SIZE"
PRICE_FILTER = "PRICE_FILTER"
MIN_NOTIONAL = "MIN_NOTIONAL"
MAX_NOTIONAL = "MAX_NOTIONAL"
PRICE_BAND = "PRICE_BAND"
MAX_ORDERS = "MAX_ORDERS"
INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
POST_ONLY_WOULD_CROSS = "POST_ONLY_WOULD_CROSS"
DUPLICATE_CLIENT_ID = "DUPLICATE_CLIENT_ID"
HALTED = "HALTED"
CANCEL_ONLY = "CANCEL_ONLY"
POST_ONLY_MODE = "POST_ONLY_MODE"
MAINTENANCE = "MAINTENANCE"
PERMISSION_DENIED = "PERMISSION_DENIED"
REDUCE_ONLY = "REDUCE_ONLY"  # nothing to reduce
LEVERAGE = "LEVERAGE"
BELOW_FILLED = "BELOW_FILLED"  # an order cannot become smaller than what it has traded
NO_CHANGE = "NO_CHANGE"  # an amendment that asks for what is

# Why an order expired, besides the reasons above and those of the book.
TIME_OVER = "TIME_OVER"  # it was good till a date

# Why the exchange itself ended an order.
CANCEL_ALL_AFTER = "CANCEL_ALL_AFTER"  # its owner fell silent

# What a market or the whole exchange allows. Reading is always allowed, except in maintenance.
TRADING = "trading"
HALT = "halted"
CANCEL_ONLY_MODE = "cancel_only"
POST_ONLY_ONLY_MODE = "post_only"
MAINTENANCE_MODE = "maintenance"
MODES = (TRADING, HALT, CANCEL_ONLY_MODE, POST_ONLY_ONLY_MODE, MAINTENANCE_MODE)


class Reject(Exception):
    """The exchange says no; nothing has changed."""

    def __init__(self, reason: str, message: str, **details: Any) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """How far from the average price of `minutes` a limit may be, as multiples of it."""

    buy: tuple[Decimal, Decimal]  # lowest, highest
    sell: tuple[Decimal, Decimal]
    minutes: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What is traded, and in which steps. Fees are fractions: 0.001 is 10 basis points."""

    symbol: str  # as everywhere in this project: BTC/USDT
    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    min_qty: Decimal = ZERO
    max_qty: Decimal = Decimal("9000000000")
    min_notional: Decimal = ZERO
    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    fee_mode: FeeMode = "received"  # in what the order receives; quote, base: always in that currency
    max_orders: int = 200
    max_notional: Decimal | None = None  # of an order with a price
    max_market_notional: Decimal | None = None  # of one without
    max_waiting: int | None = None  # orders of an account that wait for a price here
    max_price: Decimal | None = None
    band: Band | None = None
    settled_in: str | None = None  # of a contract, the currency of its profits; None: both sides are paid
    contract_size: Decimal = Decimal(1)  # base currency in one of `quantity`

    def __post_init__(self) -> None:
        for name in ("tick", "lot", "max_qty"):
            if getattr(self, name) <= 0:
                raise ValueError(f"market {self.symbol}: {name} must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution of one order."""

    trade_id: int
    order_id: int
    client_order_id: str
    account: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Literal["maker", "taker"]
    time: float
    closed: Decimal = ZERO  # of a contract: what of the quantity made the position smaller,
    realised: Decimal = ZERO  # and what that earned, before fees


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The price of a trade that has to be seen before an order reaches the book."""

    kind: Literal[
        "stop_loss", "take_profit", "trigger"
    ]  # what the exchange calls it; nothing follows from it
    price: Decimal
    rising: bool  # fires at or above the price, otherwise at or below


# When an order would trade with one of its own account: the one that waited ends, or the new one, or both; or
# the smaller one ends and the larger becomes smaller by as much.
SelfTradeRule = Literal["allow", "expire_maker", "expire_taker", "expire_both", "decrement"]


@dataclass(slots=True, kw_only=True)
class Order:
    """One order at this exchange. Callers read it; only the exchange changes it."""

    order_id: int
    client_order_id: str
    account: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    quantity: Decimal  # for an order by quote amount: what it executed
    quote_quantity: Decimal | None
    price: Decimal | None
    created_at: float
    updated_at: float
    status: str = SUBMITTED
    filled_quantity: Decimal = ZERO
    filled_quote: Decimal = ZERO
    reason: str = ""
    reserved: Decimal = ZERO
    reduce_only: bool = False  # of a contract
    fills: list[Fill] = field(default_factory=list)
    history: list[tuple[float, str, Decimal, Decimal]] = field(default_factory=list)
    # (time, status, filled quantity, filled quote), oldest first
    trigger: Trigger | None = None
    triggered_at: float | None = None
    reserve_early: bool = True  # holds money while it waits; otherwise from when it is triggered
    expires_at: float | None = None
    self_trade: SelfTradeRule = "allow"  # what happens where it would meet an order of its own account
    amendments: list[tuple[float, Decimal, Decimal | None, Trigger | None]] = field(default_factory=list)
    # (time, quantity, price, trigger) before each change, oldest first

    @property
    def open(self) -> bool:
        return self.status in (SUBMITTED, PARTIALLY_FILLED)

    @property
    def waiting(self) -> bool:
        """Open, and not triggered yet."""
        return self.trigger is not None and self.triggered_at is None and self.open

    @property
    def remaining_quantity(self) -> Decimal:
        return self.quantity - self.filled_quantity if self.open else ZERO

    @property
    def average_price(self) -> Decimal | None:
        return self.filled_quote / self.filled_quantity if self.filled_quantity else None

    def as_of(self, time: float | None) -> "Order | None":
        """Show the order as it stood at `time`; None when it did not exist yet."""
        if time is None or self.updated_at <= time:
            return self
        if self.created_at > time:
            return None
        at, status, filled, quote = [entry for entry in self.history if entry[0] <= time][-1]
        # What was replaced after that time is what it asked for then.
        asked = next((entry[1:] for entry in self.amendments if entry[0] > time), None)
        quantity, price, trigger = asked or (self.quantity, self.price, self.trigger)
        return replace(
            self,
            quantity=quantity,
            price=price,
            trigger=trigger,
            triggered_at=None if self.triggered_at is None or self.triggered_at > time else self.triggered_at,
            updated_at=at,
            status=status,
            filled_quantity=filled,
            filled_quote=quote,
            reason="",
            reserved=ZERO,
            fills=[fill for fill in self.fills if fill.time <= time],
            history=[],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """An order changed. `fill` is set when a trade is the reason; the figures are those after this change."""

    order: Order
    kind: UpdateKind
    status: str
    filled_quantity: Decimal
    filled_quote: Decimal
    fill: Fill | None
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceChange:
    """What an account owns changed. `delta` is set for deposits and withdrawals."""

    account: str
    balances: dict[str, tuple[Decimal, Decimal]]  # currency -> (free, locked)
    delta: tuple[str, Decimal] | None
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BookChange:
    """Levels that changed, with their new total size (0: the level is gone)."""

    symbol: str
    sequence: int  # increases by one for each change of this market
    bids: Levels
    asks: Levels
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicTrade:
    """A trade everybody sees."""

    symbol: str
    trade_id: int
    price: Decimal
    quantity: Decimal
    taker_side: Side
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What was traded in a market within 24 hours before the simulator began."""

    volume: Decimal  # base
    low: Decimal | None = None  # None of both: at the middle of the book
    high: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeChange:
    """A market (or, without symbol, the exchange) was halted or resumed."""

    symbol: str | None
    mode: str
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionChange:
    """An account holds more or less of a contract, or at other terms; `quantity` is below zero when short."""

    account: str
    symbol: str
    quantity: Decimal
    now: float


Event = OrderUpdate | BalanceChange | BookChange | PublicTrade | ModeChange | PositionChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A deposit or a withdrawal."""

    transfer_id: int
    kind: Literal["deposit", "withdrawal"]
    currency: str
    amount: Decimal
    fee: Decimal
    time: float
    status: str = "ok"
    address: str = ""
    txid: str = ""


@dataclass(slots=True, kw_only=True)
class Key:
    """An API key. `permissions` are words: read, trade, withdraw."""

    api_key: str
    secret: str
    account: str
    passphrase: str | None = None
    permissions: frozenset[str] = frozenset(("read", "trade"))
    ips: tuple[str, ...] = ()  # it is good from these addresses alone; none: from everywhere
    revoked: bool = False


@dataclass(slots=True)
class Account:
    """Who owns what here."""

    name: str
    free: dict[str, Decimal] = field(default_factory=dict)  # currency -> amount
    locked: dict[str, Decimal] = field(default_factory=dict)  # currency -> reserved by open orders
    orders: dict[int, Order] = field(default_factory=dict)  # order id -> order, oldest first
    open: dict[int, Order] = field(default_factory=dict)  # order id -> open order
    by_client_id: dict[str, list[Order]] = field(default_factory=dict)  # client id -> orders, oldest first
    fills: list[Fill] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    journal: dict[str, list[tuple[float, Decimal, Decimal]]] = field(default_factory=dict)
    # currency -> (time, free, locked) after each change
    fee_coin: str = ""  # fees of spot trades are taken in this third coin while there is enough of it


@dataclass(frozen=True, slots=True)
class Depth:
    """A snapshot of a book, best price first."""

    symbol: str
    sequence: int
    bids: Levels
    asks: Levels


def text(value: Decimal) -> str:
    """Write an amount plainly: no exponent, no needless zeros."""
    return format(value.normalize(), "f") if value else "0"


def order_record(order: Order) -> dict[str, Any]:
    """The order as JSON, amounts as decimal strings."""
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "account": order.account,
        "symbol": order.symbol,
        "side": order.side,
        "order_type": order.order_type,
        "time_in_force": order.time_in_force,
        "post_only": order.post_only,
        "quantity": text(order.quantity),
        "quote_quantity": None if order.quote_quantity is None else text(order.quote_quantity),
        "price": None if order.price is None else text(order.price),
        "stop_price": None if order.trigger is None else text(order.trigger.price),
        "triggered_at": order.triggered_at,
        "expires_at": order.expires_at,
        "status": order.status,
        "reason": order.reason,
        "filled_quantity": text(order.filled_quantity),
        "filled_quote": text(order.filled_quote),
        "created_at": order.created_at,
        "updated_at": order.updated_at,
        "trade_ids": [fill.trade_id for fill in order.fills],
    }


def fill_record(fill: Fill) -> dict[str, Any]:
    """The fill as JSON, amounts as decimal strings."""
    return {
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "client_order_id": fill.client_order_id,
        "symbol": fill.symbol,
        "side": fill.side,
        "price": text(fill.price),
        "quantity": text(fill.quantity),
        "quote_quantity": text(fill.quote_quantity),
        "fee": text(fill.fee),
        "fee_currency": fill.fee_currency,
        "liquidity": fill.liquidity,
        "time": fill.time,
    }


def transfer_record(transfer: Transfer) -> dict[str, Any]:
    """The transfer as JSON, amounts as decimal strings."""
    return {
        "transfer_id": transfer.transfer_id,
        "kind": transfer.kind,
        "currency": transfer.currency,
        "amount": text(transfer.amount),
        "fee": text(transfer.fee),
        "time": transfer.time,
        "status": transfer.status,
        "address": transfer.address,
        "txid": transfer.txid,
    }
