"""What the calls return: real dictionaries, exactly as the server sent them, with typed attributes beside.

`order["filled_quantity"]` is the text "0.25" (so json.dumps works), `order.filled_quantity` the Decimal.
A field the server leaves out reads as an AttributeError, a null as None.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Callable, ClassVar

from .cost_text import cost_text
from .plan_text import plan_text
from .result_text import result_text

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
    reduce_only: bool
    price: Decimal | None
    stop_price: Decimal | None
    protection_price: Decimal | None  # the limit a market order went out with
    emulated: bool  # the server waits for its stop price, not the exchange
    expires_at: datetime | None
    expires_by: str | None  # "server"
    replaces: str | None  # id of the order whose rest it is
    cross_id: str | None  # it met another order of this server inside; None: it is one at an exchange
    fee_saved: Decimal | None  # quote: what the exchange would have charged for that
    corrections: list[dict[str, Any]]  # what was changed before it was sent; with the calls that place it
    crossed: list[dict[str, Any]]  # what of it met others inside; with the calls that place it
    # "direct" | "reduce" (direct, and let pass under a halt) | "make" | "take" | "cross" | "stop_loss" |
    # "take_profit": the last two are attached
    purpose: str
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
    pnl: dict[str, Any] | None
    fills: list[Fill]
    history: list[dict[str, Any]]  # every change, oldest first; with `get_order` alone

    @property
    def is_closed(self) -> bool:
        """Say whether the order has ended."""
        return self.get("status") in CLOSED

    @property
    def query(self) -> Query | None:
        """Give the query that asked for the order, where this came from placing it."""
        return self.__dict__.get("_query")


class LegProgress(Answer):
    """How far one order of a working query is."""

    leg: int
    exchange: str
    symbol: str
    side: str
    phase: str
    percent: Decimal | None
    filled_quantity: Decimal | None
    quantity: Decimal | None
    price: Decimal | None
    step: int | None
    steps: int | None
    note: str | None


class Progress(Answer):
    """How far a working query is."""

    phase: str  # "making" | "taking" | "settling" | "waiting"
    note: str | None
    eta_s: Decimal | None
    legs: list[LegProgress]
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

    @property
    def unreachable(self) -> str | None:
        """Say why the server does not answer while it is waited for; the rest is the last that was known."""
        return self.__dict__.get("_unreachable")

    @property
    def silent_s(self) -> float | None:
        """Say how long the server was silent, where this is its first answer afterwards."""
        return self.__dict__.get("_silent_s")


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


class Cost(Answer):
    """What something cost against the middle price at the decision; the parts add up to the total."""

    total_bps: Decimal | None
    delay_bps: Decimal | None
    timing_bps: Decimal | None
    spread_bps: Decimal | None
    depth_bps: Decimal | None
    fees_bps: Decimal | None
    opportunity_bps: Decimal | None
    notional: Decimal | None
    currency: str | None


class Leg(Answer):
    """What one order of a finished query did, at one market of one exchange."""

    exchange: str
    account: str
    symbol: str
    side: str
    quantity: Decimal
    average_price: Decimal | None
    spent: Decimal | None
    received: Decimal | None
    fees: dict[str, Decimal]
    cost: Cost | None
    orders: int
    why: str  # it is not filled


class PlannedLeg(Answer):
    """One order of a plan."""

    leg: int
    exchange: str
    account: str
    symbol: str
    side: str
    source: str  # the currency it spends
    target: str  # the currency it receives
    quantity: Decimal
    price: Decimal | None  # of the worst level it needs
    limit: Decimal | None  # the worst price allowed
    spend: Decimal | None
    receive: Decimal | None
    level: int | None
    share: Decimal | None  # of what is spent of its source, 0 to 1


class Expected(Answer):
    """What a plan brings."""

    received: Decimal | None
    currency: str | None
    average_price: Decimal | None


class Certificate(Answer):
    """How good a plan provably is: no other on the same books is better by more than the gap."""

    gap_bp: Decimal | None
    scope: str | None
    arbitrage: bool | None


class PlannedCost(Answer):
    """What a plan costs against the middle prices."""

    total_bps: Decimal | None
    fees_bps: Decimal | None
    spread_bps: Decimal | None
    impact_bps: Decimal | None


class _Outcome(Answer):
    @property
    def query(self) -> Query | None:
        """Give the query this is the result of."""
        return self.__dict__.get("_query")


class Quote(_Outcome):
    """A plan that can be carried out within the bounds it names; printed, it is a table to read."""

    quote_id: str | None
    expires_at: datetime | None
    verb: str  # "smart_order" | "liquidate" | "rebalance"
    exchange: str
    algo: str
    time_limit: Decimal
    start_currency: str | None
    end_currency: str | None
    legs: list[PlannedLeg]
    spent: dict[str, Decimal]
    expected: Expected | None
    worst_case: Expected | None
    cost: PlannedCost | None
    certificate: Certificate | None
    book_ages_s: dict[str, Decimal]
    left_out: dict[str, str]
    dust: dict[str, Decimal]
    reason: str
    value_before: Decimal | None
    value_after: Decimal | None
    numeraire: str | None
    turnover: Decimal | None
    unreached: dict[str, Any] | None

    def __repr__(self) -> str:
        return plan_text(self)

    __str__ = __repr__


def _is_plan(answer: _Outcome) -> bool:
    """Say whether an answer is that of a dry run, which holds the plan in place of a result."""
    return bool(answer.get("dry_run")) and answer.get("legs") is not None


class SmartOrderResult(_Outcome):
    """What a conversion achieved and what it cost; printed, it is a summary to read."""

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
    algo: str
    legs: list[Leg]
    cost: Cost | None
    maker_share: Decimal | None
    participation: Decimal | None
    completion: Decimal | None
    benchmarks: dict[str, Any]
    plans: int

    def __str__(self) -> str:
        return plan_text(self) if _is_plan(self) else result_text(self)


class Weight(Answer):
    """The part of the value one currency has."""

    target: Decimal | None
    before: Decimal | None
    after: Decimal | None


class PortfolioResult(_Outcome):
    """What a liquidation or a rebalance achieved and what it cost; printed, it is a summary to read."""

    exchange: str
    value_before: Decimal | None
    value_after: Decimal | None
    numeraire: str | None
    weights: dict[str, Weight]
    unreached: dict[str, Any] | None
    fees: dict[str, Decimal]
    dust: dict[str, Decimal]
    legs: list[Leg]
    algo: str
    cost: Cost | None
    taking_at_once: TakingAtOnce | None
    cost_bps: Decimal | None
    saved_bps: Decimal | None
    tries: int
    maker_share: Decimal | None
    participation: Decimal | None
    completion: Decimal | None
    benchmarks: dict[str, Any]
    plans: int
    duration_s: Decimal
    outcome: str  # "done" | "partial" | "nothing"
    reason: str

    def __str__(self) -> str:
        return plan_text(self) if _is_plan(self) else result_text(self)


class EditResult(_Outcome):
    """What an order is after an edit; a new one where it was replaced."""

    order_id: str
    replaces: str | None
    how: str  # "in_place" | "replaced" | "here": at the server, where the order still waits
    status: str
    quantity: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    filled_quantity: Decimal


class CancelResult(_Outcome):
    """What became of the orders that were to be canceled; ids of orders in every list."""

    canceled: list[str]
    filled: list[str]  # the cancel came too late
    other: list[str]
    left: list[str]  # other orders, not touched


class HaltedAccount(Answer):
    """What is known of one exchange account since a halt; ids of orders in every list."""

    exchange: str
    account: str
    state: str  # "flat" | "open" | "reading" | "unreachable"
    why: str
    read_at: datetime | None  # when the last list of open orders was asked for
    canceled: list[str]
    filled: list[str]  # the cancel came too late
    other: list[str]
    still_open: list[str]
    filled_meanwhile: dict[str, Decimal]  # order id -> quantity
    not_ours: list[dict[str, Any]]
    not_ours_count: int
    problems: list[str]


class HaltReport(_Outcome):
    """What came of a halt; flat when lists read afterwards show nothing of ours, everywhere."""

    halt_id: str
    where: str
    flat: bool
    accounts: list[HaltedAccount]
    stopped: list[str]  # ids of what was being worked


class Halt(Answer):
    """Where trading stands still, or stood, and by whose word."""

    halt_id: str
    in_force: bool
    where: str
    reason: str
    set_by: str
    set_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None
    recorded: bool
    proof: str  # "working" | "done"
    report: HaltReport | None


class Halts(Answer):
    """The halts in force, and after them those that were lifted; not complete without the database."""

    halts: list[Halt]
    complete: bool


class LimitSet(_Outcome):
    """A limit that was set; old and new as they were written."""

    setting: str
    scope: str  # "everybody", or what was named
    old: str
    new: str
    default: str
    unit: str
    loosened: bool


class Limits(Answer):
    """The risk controls, each with its settings and what is set, and the latest changes."""

    controls: list[dict[str, Any]]
    changes: list[dict[str, Any]]


class Risk(Answer):
    """What is counted: of each limit its scope, what is used and what is left."""

    limits: list[dict[str, Any]]
    cancels: list[dict[str, Any]]  # asked for within 60 seconds; never throttled


class Resumed(_Outcome):
    """What was lifted, and what still stands."""

    halt_id: str
    lifted: str
    still_halted: list[dict[str, Any]]


class SliceSet(_Outcome):
    """A slice as it was set."""

    user: str
    of_bot: str
    exchange: str
    account: str
    amounts: dict[str, Decimal]
    in_force: bool


class Slice(Answer):
    """The part of an account that is one bot's own; `claimed` is what its work may still spend of it."""

    user: str
    of_bot: str
    exchange: str
    account: str
    amounts: dict[str, Decimal]
    claimed: dict[str, Decimal]
    set_by: str
    set_at: datetime
    updated_at: datetime


class SlicedAccount(Answer):
    """What an account's slices come to, what is left, and what they are short of at the exchange."""

    exchange: str
    account: str
    read_at: datetime | None
    sliced: dict[str, Decimal]
    rest: dict[str, Decimal]
    missing: dict[str, Decimal]


class Slices(Answer):
    """Slices, and the accounts they are cut from."""

    slices: list[Slice]
    accounts: list[SlicedAccount]


class Balance(Answer):
    """What an account holds of one currency."""

    free: Decimal
    used: Decimal
    total: Decimal


class Balances(Answer):
    """What an account holds; currencies it has nothing of are left out."""

    exchange: str
    account: str
    slice: bool  # only of the asking bot's slice
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


class NotificationRule(_Outcome):
    """Which events reach whom, where and when."""

    user: str
    name: str
    channel: str
    address: str
    events: list[str]  # empty: all
    severity: str
    exchange: str | None
    of_bot: str | None
    everyone: bool
    digest_minutes: int | None
    digest_at: str | None
    quiet_from: str | None
    quiet_until: str | None
    time_zone: str
    suppress_s: int
    repeat_s: int
    updated_at: datetime


class NotificationRules(Answer):
    """Notification rules, and the channels that the server has."""

    rules: list[NotificationRule]
    channels: list[str]


class Notification(Answer):
    """A message as it was sent to you, or as it waits."""

    message_id: str
    user: str
    rule: str
    channel: str
    address: str
    severity: str
    event: str
    subject: str
    text: str
    count: int
    order_id: str | None
    query_id: str | None
    created_at: datetime
    state: str  # "waiting" | "sent" | "dropped"
    attempts: int
    sent_at: datetime | None
    answer: str  # the channel's last words
    repeats: int
    repeat_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None


class Notifications(Answer):
    """What you were told, newest first; `next_cursor` leads to what is older, `latest` to what comes."""

    notifications: list[Notification]
    next_cursor: str | None
    latest: str | None


class NotificationDone(_Outcome):
    """What a write about notifications did; of a test, the channel's own answer."""

    message_id: str
    deleted: str
    user: str
    acknowledged_at: datetime
    channel: str
    address: str
    state: str
    answer: str


class Transfers(Answer):
    """What moved in and out of an account, newest first; give `next_cursor` back as `cursor` for the next."""

    exchange: str
    account: str
    transfers: list[Transfer]
    next_cursor: str | None
    since: datetime
    until: datetime
    complete: bool  # all of this time was read at the exchange
    notes: list[str]  # what is missing, and why


class ExchangeOrder(Answer):
    """One order as its exchange lists it; `order_id` and `bot` where it was placed through this server."""

    exchange_order_id: str
    client_order_id: str | None
    order_id: str | None
    bot: str | None
    exchange: str
    account: str
    symbol: str
    side: str
    order_type: str
    status: str
    price: Decimal | None
    quantity: Decimal | None
    filled_quantity: Decimal
    average_price: Decimal | None
    fees: dict[str, Decimal]
    created_at: datetime
    updated_at: datetime | None


class ExchangeOrders(Answer):
    """One page of an exchange's own list, newest first; give `next_cursor` back as `cursor` for the next."""

    orders: list[ExchangeOrder]
    next_cursor: str | None
    since: datetime
    until: datetime
    complete: bool  # all of this time was read at the exchange
    notes: list[str]  # what is missing, and why


class Fee(Answer):
    """What trading in one market costs, as fractions: 0.001 is 10 basis points."""

    symbol: str
    maker: Decimal
    taker: Decimal


class Tier(Answer):
    """Where an account stands in the fee schedule, as far as the exchange tells."""

    name: str | None
    volume_30d: Decimal | None
    currency: str | None


class Fees(Answer):
    """What trading costs this account."""

    exchange: str
    account: str
    fees: list[Fee]
    tier: Tier | None


class Stats(Answer):
    """Counts and volumes of orders."""


class Costs(Answer):
    """What trading has cost: summary, groups, a row for every order; printed, it is a drawing to read."""

    since: datetime | None
    until: datetime | None
    currency: str | None
    summary: dict[str, Any]
    groups: dict[str, Any]  # kind of group -> groups, each like the summary
    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        return cost_text(self)


class Health(Answer):
    """The state of the server and of every exchange account."""

    ready: bool
    missing: list[str]
    server_time: datetime
