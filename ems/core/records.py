"""What is written down. A restart is a replay of these.

`Query`, `Parent`, `Order`, `Position`, `Cost` and `Haircut` are the latest state of a thing and are saved
whole by id; `HistoryEntry`, `Fill`, `NonceUse`, `Notice`, `Halt`, `HaltLift` and `RiskLimit` are facts and
are only ever added. `Order` is the fold of its `HistoryEntry`s (`ems.core.order.fold`), and `Position` that
of `Fill`s (`ems.core.positions.fold`): kept as rows for people and queries.

`VenueOrder` and `Transfer` are none of these: copies of an exchange's own lists, which can be read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, localcontext
from enum import StrEnum

from ems.core.messages import Liquidity, NonceUse, OrderType, Problem, Side, TimeInForce


class QueryStatus(StrEnum):
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What was asked, by whom, and what came of it."""

    query_id: str
    user: str
    bot: str
    verb: str
    exchange: str | None
    parameters: dict[str, object]  # as asked; decimals as strings
    idempotency_key: str
    body_digest: str
    record_in_db: bool
    send_fail_email: bool
    mode: str  # "live" | "paper"
    status: QueryStatus
    accepted_at: datetime
    finished_at: datetime | None = None
    result: dict[str, object] | None = None  # JSON-ready; decimals as strings
    error: Problem | None = None
    seq: int = 0  # microseconds of the last change; grows with every change a waiting client may want to see


class ParentState(StrEnum):
    INIT = "init"
    WORKING = "working"
    WAITING = "waiting"
    REPLANNING = "replanning"  # everything out is being cancelled, then a new plan is made
    FINISHING = "finishing"
    CANCELLING = "cancelling"
    DONE = "done"
    DUST_DONE = "dust_done"
    ABORTED = "aborted"


ENDED_PARENT = frozenset({ParentState.DONE, ParentState.DUST_DONE, ParentState.ABORTED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """Money a parent may spend besides what its own legs bring in."""

    exchange: str
    account: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """A router's share of a parent: spend `source`, receive `target`, on one market of one account.

    Orders name their leg by its place in the parent, so legs are never reordered or removed: a new plan
    closes the old ones and appends its own, as the next generation.
    """

    exchange: str
    account: str
    symbol: str
    side: Side
    source: str
    target: str
    amount: Decimal  # of source, as planned; legs leaving one node divide its money in this proportion
    receive: Decimal = Decimal(0)  # of target, as planned
    level: int = 0  # 0: funded by the grants; n: by legs of lower levels
    generation: int = 0
    capped: bool = False  # never spend more than `amount`, whatever comes in
    limit: Decimal | None = None  # never buy above, never sell below
    quantity: Decimal | None = None  # base to trade in all; None: what the money makes
    goal: Decimal | None = None  # of target, net of fees, to receive in all; None: what the money makes
    ends_at: datetime | None = None  # its share of the time limit is over here
    started_at: datetime | None = None  # when it first had money
    closed_at: datetime | None = None  # nothing more is placed for it
    blocked: bool = False  # its market refused or halted: a new plan goes around it
    code: str = ""  # a constant of ems.core.errors: what stopped it
    why: str = ""  # the same in words, or why it ended early

    @property
    def paid_in(self) -> str:
        """Return the currency that its orders hold: of a contract the one in which it is settled."""
        return self.symbol.partition(":")[2] or self.source


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """What is to be achieved. Progress is never counted here: it is derived from orders and fills."""

    parent_id: str
    query_id: str
    user: str
    bot: str
    exchange: str  # a name, or several separated by commas
    account: str
    algo: str  # a name of ems.algos.params.PROFILES, or "direct": one plain order
    params: dict[str, str] = field(default_factory=dict)  # overrides of the algo's numbers
    legs: tuple[Leg, ...]
    grants: tuple[Grant, ...] = ()  # of the current generation
    generation: int = 0
    start_amount: Decimal  # of the start currency; "direct" and orders by quantity: base; a portfolio: 0
    time_limit: Decimal  # seconds for the whole of it
    on_timeout: str = "take"  # "take" what is left then | "cancel": leave it
    max_slippage_bps: Decimal | None = None
    goal: dict[str, object] = field(default_factory=dict)  # what a new plan aims at; decimals as strings
    state: ParentState
    created_at: datetime
    planned_at: datetime | None = None  # when the current generation was planned
    reason: str = ""
    arrival: dict[str, object] = field(default_factory=dict)  # benchmark at the start; decimals as strings
    closed_at: datetime | None = None


class Status(StrEnum):
    """Where an order is: DESIGN.md 3."""

    CREATED = "created"
    INVALIDATED = "invalidated"
    PENDING = "pending"
    SUBMITTED = "submitted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"


REDUCE = "reduce"  # the purpose of an order as it was asked for that was let pass under a halt
AS_ASKED = frozenset({"direct", REDUCE})  # the purposes of orders that are themselves what was asked for
ENDED = frozenset({Status.INVALIDATED, Status.REJECTED, Status.FILLED, Status.CANCELED, Status.EXPIRED})


class Asked(StrEnum):
    """What we have asked the venue to do with an order, beside where it is."""

    NOTHING = "nothing"
    CANCEL = "cancel"
    EXPIRE = "expire"  # a cancel because its time is over
    REPLACE = "replace"  # other terms, as its `edit` says


class Phase(StrEnum):
    """How well we know an order: the states of EXECUTION.md 3."""

    PENDING_NEW = "pending_new"
    LIVE = "live"
    PENDING_CANCEL = "pending_cancel"
    UNKNOWN = "unknown"
    SETTLED = "settled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """Other terms that somebody wants an order to have; None: as it is."""

    query_id: str
    asked_at: datetime
    in_place: bool  # the venue changes it in one step; else it is cancelled, and its rest placed anew
    quantity: Decimal | None = None  # base; the whole of it, with what is filled
    price: Decimal | None = None
    stop_price: Decimal | None = None
    reserved: Decimal = Decimal(0)  # of the source currency, with these terms
    sent: bool = False  # the venue was asked to change it, and may have


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One order at one venue."""

    order_id: str
    query_id: str
    parent_id: str
    user: str
    bot: str
    exchange: str
    account: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    quantity: Decimal  # base
    price: Decimal | None  # quote per base; None for a market order
    client_order_id: str
    created_at: datetime
    stop_price: Decimal | None = None  # quote per base, of the types that wait
    protection_price: Decimal | None = None  # a market order goes out as a limit here, or cancel at once
    expires_at: datetime | None = None  # when the server cancels it
    reduce_only: bool = False  # sells no more than is held
    emulated: bool = False  # the server waits for its stop price; the exchange hears of it then
    replaces: str | None = None  # id of the order of this parent whose rest it is
    # Joins the two sides of an internal cross: no exchange knows of such an order, or of its fill.
    cross_id: str | None = None
    fee_saved: Decimal | None = None  # quote: what the exchange would have charged; a rebate is negative
    purpose: str = "direct"  # "direct" | "reduce" | "make" | "take" | "stop_loss" | "take_profit" | "cross"
    leg: int = 0  # place in the parent's legs
    attempt: int = 0  # counts the parent's orders; part of the client order id
    exchange_order_id: str | None = None
    status: Status = Status.CREATED
    asked: Asked = Asked.NOTHING
    phase: Phase = Phase.PENDING_NEW
    filled_quantity: Decimal = Decimal(0)
    quote_filled: Decimal = Decimal(0)  # sum of price x quantity over the fills
    fees: dict[str, Decimal] = field(default_factory=dict)  # currency -> amount
    fill_ids: frozenset[str] = frozenset()
    final_quantity: Decimal | None = None  # the venue's last word on what filled; settled when we have it all
    ending: Status | None = None  # how the venue said it ended, until every fill is in
    reserved: Decimal = Decimal(0)  # of the source currency, held while unsettled
    reason: str = ""
    sent_at: datetime | None = None
    updated_at: datetime | None = None
    closed_at: datetime | None = None
    version: int = 0  # number of history entries folded in
    usd_value: Decimal = Decimal(0)  # what it was worth when it was sent, for the risk controls
    release: str = ""  # version and hash of the settings that sent it
    edit: Edit | None = None  # asked for, and not known to be done; of an ended order: what its rest is to be

    @property
    def leaving(self) -> bool:
        """Say whether it is to go, for good or to be placed anew."""
        if self.asked is Asked.REPLACE:
            return self.edit is not None and not self.edit.in_place
        return self.asked in (Asked.CANCEL, Asked.EXPIRE)

    @property
    def most(self) -> Decimal:
        """Return the quantity it may have by now: an amendment on its way may have arrived."""
        if self.edit is None or not self.edit.sent or self.edit.quantity is None:
            return self.quantity
        return max(self.quantity, self.edit.quantity)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill:
    """Money that moved. Unique per exchange, account, symbol and fill id; booked once, never taken back."""

    fill_id: str
    order_id: str
    query_id: str
    parent_id: str
    user: str
    bot: str
    exchange: str
    account: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Liquidity
    timestamp: datetime
    mid: Decimal | None = None  # of the book just before it, as we saw it; None: no book was at hand
    touch: Decimal | None = None  # our side's best price for a maker, the other side's for a taker
    cross_id: str | None = None  # set: between two orders of ours, and in no list of the exchange
    # In `value_currency`, by ems.core.positions, when it was booked:
    booking: int = (
        0  # counts the bookings of this installation, in their order; 0: from before there were any
    )
    value_currency: str = ""
    value: Decimal | None = None  # of what changed hands; None: nobody knew
    fee_value: Decimal | None = None  # of the fee; None: nobody knew
    fee_cost: Decimal = Decimal(0)  # what the fee took away: its value, or what its coins had cost
    realised: Decimal = Decimal(0)  # gain of what was given, fee coins included; the fee itself not deducted


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """What a bot holds of an asset at an exchange account, and what it earned with it: the fold of its fills.

    All amounts but quantities are in `currency`. An asset is never below zero. A contract's position has its
    symbol as asset and its settlement currency as currency; when short it is below zero, as is its cost.
    """

    user: str
    bot: str
    exchange: str
    account: str
    asset: str
    currency: str
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)  # of the quantity, all of it
    realised: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)  # paid in this asset
    opened: Decimal = Decimal(0)  # quantity, ever, that was given without having been bought here
    opened_value: Decimal = Decimal(0)  # its worth when it was given: capital brought in
    unvalued: Decimal = Decimal(0)  # quantity, ever, that moved when nobody knew its worth
    updated_at: datetime

    @property
    def key(self) -> tuple[str, ...]:
        return self.user, self.bot, self.exchange, self.account, self.asset, self.currency

    @property
    def average_price(self) -> Decimal | None:
        """Return cost per unit, to 18 decimals; None where nothing is held."""
        if not self.quantity:
            return None
        with localcontext(prec=100):
            return (self.cost / self.quantity).quantize(Decimal(1).scaleb(-18))


@dataclass(frozen=True, kw_only=True, slots=True)
class BalanceBase:
    """The last balances of an account that agreed with all we knew: what later ones are compared with."""

    exchange: str
    account: str
    identity: str  # of the account at the exchange: with other keys or at another address it is another
    totals: dict[str, Decimal]  # currency -> amount, free and held by orders
    asked_at: datetime
    came_at: datetime
    transfers: tuple[str, ...] = ()  # ids of deposits and withdrawals that are in them


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotDay:
    """All positions were taken down for a day (UTC): once for each day and reporting currency."""

    day: date
    currency: str
    taken_at: datetime  # the positions are those of this moment: midnight, or the first start after it
    booking: int  # of the last fill in them
    positions: int  # how many there were


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionSnapshot:
    """A position as it stood in a day's snapshot."""

    day: date
    position: Position
    price: Decimal | None  # of one unit; None: no book led there, or nothing is held


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """The part of an account that is one bot's own: the latest state, as its fills have moved it."""

    user: str
    bot: str
    exchange: str
    account: str
    amounts: dict[str, Decimal]  # currency -> free and held by its orders; below zero: fees it could not pay
    set_by: str
    set_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None  # it is one no more

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.user, self.bot, self.exchange, self.account


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceChange:
    """Somebody set a slice, or ended it: only added."""

    change_id: str  # of the query
    user: str
    bot: str
    exchange: str
    account: str
    amounts: dict[str, Decimal]
    in_force: bool  # False: ended
    reason: str
    set_by: str
    set_at: datetime
    booking: int  # of the last fill before

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.user, self.bot, self.exchange, self.account


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """One change of an order, in the order it happened: (order_id, version) is unique."""

    order_id: str
    version: int
    status: Status  # after the change
    timestamp: datetime
    message: str
    report: dict[str, object]  # the report that caused it; JSON-ready, decimals as strings
    code: str | None = None  # a constant of ems.core.errors, where somebody said no
    venue_code: str | None = None  # the exchange's own words for it
    venue_message: str | None = None
    # What the order earned in all, as `ems.core.positions.result_of` says: with the entry that ends it, and
    # with each later one that brings a fill.
    pnl: dict[str, object] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A letter to people, written in the transaction of what it tells: the mail outbox."""

    notice_id: str
    query_id: str | None
    severity: str  # "info" | "warning" | "error" | "critical"
    subject: str
    failed: str  # what failed
    why: str
    done: str  # what was done about it
    todo: str  # what the reader can do
    created_at: datetime
    group: str = ""  # equal groups waiting together are sent as one letter
    event: str = "alert"  # a name of ems.core.notifications.EVENTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a parent cost: written when it ends, and once more when its markouts are known."""

    parent_id: str
    query_id: str
    user: str
    bot: str
    verb: str
    exchange: str
    algo: str
    pair: str  # "USDT>ETH"; a portfolio: "*>USDT", "rebalance"
    mode: str  # "live" | "paper"
    started_at: datetime
    ended_at: datetime
    body: dict[str, object]  # ems.tca; JSON-ready, decimals as strings
    complete: bool = False  # every markout that can be known is in


@dataclass(frozen=True, kw_only=True, slots=True)
class Haircut:
    """What an account has taught us to leave over when a currency is spent (EXECUTION.md 1).

    The latest state, by everything but the last two.
    """

    exchange: str
    account: str
    currency: str  # the one spent
    side: Side  # of the orders that spend it
    step: int  # index into ems.core.instrument.HAIRCUTS
    clean_orders: int = 0  # without a refusal for funds since the last step; counted while step > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Halt:
    """Trading is to stand still where everything that is named here fits, until somebody lifts it.

    Its id is that of the query that reports what came of it.
    """

    halt_id: str
    exchange: str | None = None  # None of the four: everywhere
    account: str | None = None
    user: str | None = None  # whose work
    symbol: str | None = None
    reason: str
    everything: bool = False  # orders on the account that are not ours were to be cancelled as well
    source: str = "api"  # "api" | "file" | "command": with the server down | the code of a risk control
    set_by: str
    set_at: datetime

    def covers(self, exchange: str, account: str, symbol: str | None, user: str | None) -> bool:
        """Say whether it holds here. None: of no symbol, or no user, in particular."""
        return (
            self.exchange in (None, exchange)
            and self.account in (None, account)
            and self.symbol in (None, symbol)
            and self.user in (None, user)
        )

    @property
    def where(self) -> str:
        """Say what it holds for, in words."""
        named = [
            f"{name} {value}"
            for name, value in (
                ("exchange", self.exchange),
                ("account", self.account),
                ("user", self.user),
                ("symbol", self.symbol),
            )
            if value is not None
        ]
        return ", ".join(named) or "everything"


@dataclass(frozen=True, kw_only=True, slots=True)
class HaltLift:
    """Somebody lifted a halt: once, for good."""

    halt_id: str
    lifted_by: str
    lifted_at: datetime
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskLimit:
    """Somebody set a limit of the risk controls: once, for good. The last of a setting and scope holds."""

    change_id: str  # the query that asked for it
    setting: str  # a name of ems.core.risk.SETTINGS
    user: str | None = None  # None of the five: everywhere
    bot: str | None = None
    exchange: str | None = None
    account: str | None = None
    symbol: str | None = None
    old: str  # as `new`: what this scope had before
    new: str  # a number, names, hours, "off", or "default": taken back
    set_by: str
    set_at: datetime
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class VenueOrder:
    """An order as its exchange lists it, ours or not: a copy of what was read."""

    exchange: str
    account: str
    mode: str  # "live" | "paper": two exchanges of one name
    symbol: str
    exchange_order_id: str
    client_order_id: str | None
    side: Side
    order_type: str  # the exchange's word where it is none of ours
    status: str  # a `Status`, or "unknown"
    price: Decimal | None
    quantity: Decimal | None  # None: ordered by an amount of money
    filled_quantity: Decimal
    quote_filled: Decimal | None  # None: not listed
    fees: dict[str, Decimal] = field(default_factory=dict)  # currency -> amount, where they are listed
    created_at: datetime
    updated_at: datetime | None = None
    final: bool  # it will not change any more


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """A deposit or a withdrawal as its exchange lists it: a copy of what was read."""

    exchange: str
    account: str
    mode: str  # "live" | "paper": two exchanges of one name
    kind: str  # "deposit" | "withdrawal"
    transfer_id: str
    currency: str
    amount: Decimal
    fee: Decimal | None
    status: str  # ccxt's word: "ok", "pending", "canceled", "failed", "unknown"
    txid: str | None
    at: datetime
    final: bool  # it will not change any more


Record = (
    Query
    | Parent
    | Order
    | Fill
    | Position
    | BalanceBase
    | SnapshotDay
    | PositionSnapshot
    | Slice
    | SliceChange
    | HistoryEntry
    | NonceUse
    | Notice
    | Cost
    | Haircut
    | Halt
    | HaltLift
    | RiskLimit
)
