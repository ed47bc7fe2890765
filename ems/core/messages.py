"""The words the rooms of the house speak to each other.

Three families, all frozen, all made once and never edited:

* commands  what a person or bot wants, already parsed strictly by `codec`;
* requests  what the engine wants a venue to do; a gateway carries them out;
* reports   what came back, or what the clock said. An order changes only by a report.

Amounts are `Decimal`, made from strings. Times are aware UTC `datetime`s. Durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order trades, and whether it waits for a price first.

    A stop loss waits for the market to get worse for it: it sells at or below its stop price and buys at or
    above it. A take profit is the reverse. Then it is a market order, or a limit order where the name says
    so.
    """

    MARKET = "market"
    LIMIT = "limit"
    STOP_LOSS = "stop_loss"
    STOP_LOSS_LIMIT = "stop_loss_limit"
    TAKE_PROFIT = "take_profit"
    TAKE_PROFIT_LIMIT = "take_profit_limit"

    @property
    def waits(self) -> bool:
        """Say whether it waits for its stop price before it trades."""
        return self not in (OrderType.MARKET, OrderType.LIMIT)

    @property
    def limited(self) -> bool:
        """Say whether it has a price it never trades beyond."""
        return self in (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT)


class TimeInForce(StrEnum):
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTD = "GTD"  # until a moment
    DAY = "DAY"  # until the end of the day, in UTC

    @property
    def rests(self) -> bool:
        """Say whether what does not trade at once stays in the book."""
        return self not in (TimeInForce.IOC, TimeInForce.FOK)

    @property
    def sent(self) -> TimeInForce:
        """Return what an exchange is told: no gateway tells a moment, the server cancels at it."""
        return TimeInForce.GTC if self.rests else self


class Liquidity(StrEnum):
    MAKER = "maker"
    TAKER = "taker"


# --- Commands: people and bots -> desk -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """Who asks, and how the asking itself is to be treated."""

    user: str
    bot: str
    idempotency_key: str
    body_digest: str  # sha-256 of the canonical command; same key with another digest is a conflict
    record_in_db: bool = True  # keep the finished query in the archive
    send_fail_email: bool = True
    dry_run: bool = False
    nonce: NonceUse | None = None  # recorded in the same transaction as the intent
    role: str = "trade"  # of the key: "trade" | "admin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Part of what is free when the work starts."""

    percent: Decimal  # 0 < percent <= 100; 100 is "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How a parent is to be worked."""

    algo: str  # a name of ems.algos.params.PROFILES
    params: dict[str, str] = field(default_factory=dict)  # overrides of its numbers, as asked
    time_limit: Decimal = Decimal(60)  # seconds for the whole of it: EXECUTION's T
    on_timeout: str = "take"  # "take" what is left | "cancel": leave it
    max_slippage_bps: Decimal | None = None  # no leg trades further than this from its mid at decision


ADAPTIVE = Style(algo="adaptive")


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketOrder:
    exchange: str
    side: Side
    symbol: str
    quantity: Decimal  # base currency
    account: str = "default"
    style: Style | None = None  # None: one plain order
    raise_to_minimum: bool = False  # a quantity below the smallest order becomes the smallest order
    resubmit: bool = False  # refused because the rules have changed, it is rounded and sent once more
    allow_duplicate: bool = False  # the same order a moment ago is no mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitOrder:
    exchange: str
    side: Side
    symbol: str
    quantity: Decimal  # base currency
    price: Decimal  # quote per base
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    account: str = "default"
    style: Style | None = None  # None: one plain order; else worked by an algorithm, never beyond `price`
    raise_to_minimum: bool = False  # as in MarketOrder
    resubmit: bool = False
    allow_duplicate: bool = False  # the same order a moment ago is no mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """What is attached to an order: where to get out of what it brings."""

    stop_price: Decimal  # quote per base
    price: Decimal | None = None  # the worst to accept then; None: whatever the market pays


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceOrder:
    """One order of any type and time in force."""

    exchange: str
    side: Side
    symbol: str
    quantity: Decimal  # base currency
    order_type: OrderType
    price: Decimal | None = None  # quote per base, of the types that are limited
    stop_price: Decimal | None = None  # quote per base, of the types that wait
    time_in_force: TimeInForce = TimeInForce.GTC
    expires_at: datetime | None = None  # with GTD
    post_only: bool = False
    reduce_only: bool = False  # sell no more than is held
    account: str = "default"
    raise_to_minimum: bool = False  # as in MarketOrder
    resubmit: bool = False
    stop_loss: Exit | None = None  # for what it fills, as it fills
    take_profit: Exit | None = None  # the same; when one of them has sold it all, the other ends
    allow_duplicate: bool = False  # the same order a moment ago is no mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class SmartOrder:
    """Convert one currency into another over any path of markets, on one exchange, several or all.

    Exactly one of `start_amount` and `end_amount` is given.
    """

    exchange: str  # a name, several separated by commas, or "all"
    start_currency: str
    end_currency: str
    start_amount: Decimal | Share | None = None  # of start_currency
    end_amount: Decimal | None = None  # of end_currency, net of fees
    style: Style = ADAPTIVE
    account: str = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Liquidate:
    """Turn what is held into one currency, on each account where it is held."""

    exchange: str  # as in SmartOrder
    end_currency: str
    currencies: tuple[str, ...] = ()  # only these; empty: everything that is held
    exclude: tuple[str, ...] = ()  # never these
    min_trade: Decimal = Decimal(10)  # USD or what is worth one; smaller trades are not made
    style: Style = ADAPTIVE
    account: str = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebalance:
    """Bring what is held to target weights. Targets are declared, so asking again is safe."""

    exchange: str  # as in SmartOrder
    targets: dict[str, Decimal]  # currency -> share of the value rebalanced; they sum to 1
    keep: tuple[str, ...] = ()  # held currencies that stay as they are and do not count
    tolerance: Decimal = Decimal("0.002")  # of the whole value: a weight this close is left alone
    min_trade: Decimal = Decimal(10)  # as in Liquidate
    style: Style = ADAPTIVE
    account: str = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """Plan without trading; the answer's quote_id binds a later execution."""

    command: SmartOrder | Liquidate | Rebalance


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecuteQuote:
    """Carry out a quote within the bounds it named, or not at all."""

    verb: str  # "smart_order" | "liquidate" | "rebalance": must be the quote's own
    quote_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EditOrder:
    """Change an open order, named as `CancelOrder` names it; what is None stays as it is."""

    order_id: str | None = None
    client_order_id: str | None = None
    quantity: Decimal | None = None  # base; the whole of it, with what it and those it replaced have filled
    price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelOrder:
    """Cancel one order, named by our order id, or by the bot's own idempotency key."""

    order_id: str | None = None
    client_order_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelAllOrders:
    exchange: str | None = None
    symbol: str | None = None
    scope: str = "bot"  # "bot": this bot's orders; "user": all orders of the user


@dataclass(frozen=True, kw_only=True, slots=True)
class HaltTrading:
    """Place nothing more, and cancel what is open, where all that is named here fits.

    `all` says that nothing is named on purpose.
    """

    all: bool = False
    exchange: str | None = None
    account: str | None = None
    user: str | None = None
    symbol: str | None = None
    reason: str | None = None
    everything: bool = False  # orders on the account that are not ours as well


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumeTrading:
    """Lift one halt. What it ended stays ended."""

    halt_id: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SetLimit:
    """Set one limit of the risk controls for all orders that fit what is named."""

    setting: str  # a name of ems.core.risk_limits.SETTINGS
    value: str  # a number, names separated by commas, hours, "off", or "default": taken back
    user: str | None = None
    of_bot: str | None = None
    exchange: str | None = None
    account: str | None = None
    symbol: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SetNotificationRule:
    """Tell somebody of events: `ems.core.notifications.NotificationRule`, as it is asked for."""

    name: str
    channel: str
    address: str | None = None
    events: tuple[str, ...] = ()
    severity: str = "info"
    exchange: str | None = None
    of_bot: str | None = None
    everyone: bool = False
    digest_minutes: int | None = None
    digest_at: str | None = None  # HH:MM, as the two below
    quiet_from: str | None = None
    quiet_until: str | None = None
    time_zone: str = "UTC"
    suppress_s: int = 60
    repeat_s: int = 900
    user: str | None = None  # whose rule; the asker's own when absent


@dataclass(frozen=True, kw_only=True, slots=True)
class DeleteNotificationRule:
    """Forget a rule, and what waits because of it."""

    name: str
    user: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AcknowledgeNotification:
    """Say that a person has seen it: it is not repeated any more."""

    message_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SendTestNotification:
    """Send a test message the way a rule says, at once."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetSlice:
    """Give a bot a part of an account for its own; with no amounts it has none any more."""

    of_bot: str
    exchange: str
    amounts: dict[str, Decimal]
    account: str = "default"
    of_user: str | None = None  # None: the one who asks
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SetLeverage:
    """Choose the leverage of a contract on one account."""

    exchange: str
    symbol: str
    leverage: Decimal
    account: str = "default"


# Carried out at the server's face; the engine never sees them.
NotificationCommand = (
    SetNotificationRule | DeleteNotificationRule | AcknowledgeNotification | SendTestNotification
)

Command = (
    MarketOrder
    | LimitOrder
    | PlaceOrder
    | SmartOrder
    | Liquidate
    | Rebalance
    | Quote
    | ExecuteQuote
    | EditOrder
    | CancelOrder
    | CancelAllOrders
    | HaltTrading
    | ResumeTrading
    | SetSlice
    | SetLeverage
    | NotificationCommand
    | SetLimit
)


# --- Requests: engine -> gateway -----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class NewOrder:
    order_id: str
    client_order_id: str  # ours, deterministic, legal at this venue, never reused
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None
    time_in_force: TimeInForce
    post_only: bool
    stop_price: Decimal | None = None  # of the types that wait
    reduce_only: bool = False  # of contracts: the exchange itself sees to it


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequest:
    order_id: str
    client_order_id: str
    exchange_order_id: str | None
    symbol: str
    order_type: OrderType | None = None  # where it is known; some venues keep waiting orders apart


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdraw:
    """Do not send this order, or its amendment, if no byte of it has left yet: it is answered as not sent.

    What has left is not touched: that is a cancel's business.
    """

    order_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AmendRequest:
    """Change an open order in one step; what is None stays as it is. `was_quantity` is what we know it to be.

    Only where the venue does it in one step: elsewhere an order is cancelled, and another placed for what is
    left when that is certain.
    """

    order_id: str
    client_order_id: str
    exchange_order_id: str | None
    symbol: str
    side: Side
    order_type: OrderType
    was_quantity: Decimal
    quantity: Decimal | None = None  # the whole of it, with what is filled already
    price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryOrder:
    """Look an order up: by exchange id if known, else by client id, open orders before closed ones.

    Where a venue cannot be asked by client id its lists are read, no further back than `since`.
    """

    order_id: str
    client_order_id: str
    exchange_order_id: str | None
    symbol: str
    since: datetime | None = None  # when it was sent


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryTrades:
    """Ask for every fill of one order since it was sent."""

    order_id: str
    client_order_id: str
    exchange_order_id: str | None
    symbol: str
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryBalances:
    """Ask for free and used amounts of every currency."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryContract:
    """Ask how the account stands in a contract."""

    symbol: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChooseLeverage:
    """Choose the leverage of a contract; harmless when repeated. What it is then is told by looking."""

    query_id: str
    symbol: str
    leverage: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryDay:
    """Ask what was traded in a market within 24 hours; `DayRead` comes in any case."""

    symbol: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryTransfers:
    """Ask for deposits and withdrawals begun since."""

    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryTradeHistory:
    """Ask for every trade of the account in these markets since, whoever's orders they were."""

    symbols: tuple[str, ...]
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryOpenOrders:
    """Ask for all open orders of the account, ours and others': the heart of a reconciliation.

    An urgent one goes as early as a cancel: a halt is proven by it.
    """

    urgent: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelEverything:
    """Empty the account of open orders, whoever placed them, in one market or in all."""

    symbol: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryMarkets:
    """Ask for the markets again, with their rules, status and the account's fees."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchBook:
    """Keep books and public trades of this symbol coming until told otherwise."""

    symbol: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UnwatchBook:
    symbol: str


Request = (
    NewOrder
    | CancelRequest
    | Withdraw
    | AmendRequest
    | QueryOrder
    | QueryTrades
    | QueryBalances
    | QueryContract
    | ChooseLeverage
    | QueryTransfers
    | QueryTradeHistory
    | QueryDay
    | QueryOpenOrders
    | CancelEverything
    | QueryMarkets
    | WatchBook
    | UnwatchBook
)


# --- Reports: gateway and clock -> engine --------------------------------------------------------


class Refusal(StrEnum):
    """Why a venue said no: EXECUTION.md 3's error classes. Only exact, recognised codes map here."""

    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    MIN_SIZE = "MIN_SIZE"
    LOT_TICK = "LOT_TICK"
    POST_ONLY_WOULD_CROSS = "POST_ONLY_WOULD_CROSS"
    RATE_LIMIT = "RATE_LIMIT"
    MARKET_CLOSED = "MARKET_CLOSED"
    AUTH = "AUTH"
    CLOCK = "CLOCK"
    PERMANENT = "PERMANENT"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"  # the answer to a cancel; proves nothing


class Found(StrEnum):
    """What a look-up showed."""

    OPEN = "open"
    CLOSED = "closed"
    NOT_FOUND = "not_found"


class Ending(StrEnum):
    """How a venue says an order ended."""

    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True, slots=True)
class FillReport:
    """One execution. `fill_id` is unique per exchange, account and symbol."""

    fill_id: str
    exchange_order_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal  # a rebate is negative
    fee_currency: str
    liquidity: Liquidity
    at: datetime
    order_id: str | None = None  # None: the stream did not say; the engine finds it by exchange id
    client_order_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Acked:
    """The venue has the order. `ending` is set when it is already over (IOC, immediate fill)."""

    order_id: str
    exchange_order_id: str
    filled_quantity: Decimal | None = None
    ending: Ending | None = None
    fills: tuple[FillReport, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """The venue said no, in words on the exact allow-list. Nothing else may become this."""

    order_id: str
    refusal: Refusal
    message: str
    venue_code: str | None = None
    sent: bool = True  # False: refused before a byte left this machine


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelAcked:
    order_id: str
    filled_quantity: Decimal | None = None  # final, when the venue's answer includes it


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRefused:
    """A failed cancel. It proves nothing: not that the order is gone, nor that it is unfilled."""

    order_id: str
    refusal: Refusal
    message: str
    venue_code: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Amended:
    """The venue took an amendment on. How the order stands now is told by its stream, or asked for."""

    order_id: str
    quantity: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AmendRefused:
    """An amendment was refused, in words on the exact allow-list: the order is as it was, or is over."""

    order_id: str
    refusal: Refusal
    message: str
    venue_code: str | None = None
    sent: bool = True  # False: refused before a byte left this machine


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeUnknown:
    """A create, cancel or amend got no usable answer: timeout, 5xx, cut connection, garbage, no id."""

    order_id: str
    request: str  # "create" | "cancel" | "amend"
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderStatus:
    """The answer of a look-up or an order event of a stream."""

    order_id: str | None
    found: Found
    exchange_order_id: str | None = None
    client_order_id: str | None = None
    symbol: str | None = None
    filled_quantity: Decimal | None = None
    ending: Ending | None = None  # with CLOSED
    side: Side | None = None
    quantity: Decimal | None = None
    query_sent_at: datetime | None = None  # None: from a stream
    reason: str | None = None
    price: Decimal | None = None  # None: it has none, or this was not told
    stop_price: Decimal | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TradesAnswer:
    order_id: str
    fills: tuple[FillReport, ...]
    query_sent_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class LookupFailed:
    """A query (order, trades, balances, open orders) failed; nothing is known, ask again."""

    request: str  # "order" | "trades" | "balances" | "open_orders" | "everything": CancelEverything
    order_id: str | None
    message: str
    refusal: Refusal | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Balances:
    free: dict[str, Decimal]  # currency -> amount
    used: dict[str, Decimal]  # currency -> amount held by open orders
    query_sent_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ContractRead:
    """How an account stands in a contract, or why that is not known."""

    symbol: str
    quantity: Decimal = Decimal(0)  # base; below zero: short
    leverage: Decimal = Decimal(0)
    query_sent_at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeverageAnswered:
    """A choice of leverage went out; `refused` is the venue's no. Nothing else is proven by it."""

    query_id: str
    symbol: str
    refused: str = ""
    venue_code: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """A deposit or a withdrawal."""

    transfer_id: str
    kind: str  # "deposit" | "withdrawal"
    currency: str
    amount: Decimal
    fee: Decimal | None  # in or beside the amount: exchanges differ
    status: str  # ccxt's word
    at: datetime | None = None  # when it began


@dataclass(frozen=True, kw_only=True, slots=True)
class TradeHistoryRead:
    """Trades as the exchange lists them; those of orders placed through us carry our client order id."""

    fills: tuple[FillReport, ...] = ()
    problem: str = ""  # why some or all could not be read


@dataclass(frozen=True, kw_only=True, slots=True)
class DayRead:
    """What was traded in a market within 24 hours; None of all three: it is not known."""

    symbol: str
    at: datetime  # when it was asked for
    volume: Decimal | None = None  # base
    low: Decimal | None = None
    high: Decimal | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TransfersRead:
    """Deposits and withdrawals begun since; or why they could not be read."""

    transfers: tuple[Moved, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenOrders:
    """Every order open on the account when asked."""

    orders: tuple[OrderStatus, ...]
    query_sent_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class EverythingCancelled:
    """The account was to be emptied. It proves nothing: what is open is read again."""

    cancelled: int  # orders looked up afterwards, and over without being filled
    problems: tuple[str, ...]  # what was refused, unanswered or not proven


@dataclass(frozen=True, kw_only=True, slots=True)
class BookUpdate:
    """The top of a book, best level first."""

    symbol: str
    bids: tuple[tuple[Decimal, Decimal], ...]  # (price, quantity)
    asks: tuple[tuple[Decimal, Decimal], ...]
    at: datetime  # when it reached us; earlier where it is known to have been under way for long
    unfit: str = ""  # why it is no book to trade on; the levels are empty, or are shown only


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicTrade:
    """Somebody traded: public, perhaps our own. Late or missing ones make estimates older, nothing else."""

    symbol: str
    price: Decimal
    quantity: Decimal  # base
    side: Side  # the taker's
    at: datetime  # when it reached us


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketsLoaded:
    """The venue's markets with the account's own fees, at start and after every refresh."""

    markets: tuple[object, ...]  # ems.core.instrument.Market


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceBounds:
    """Between which prices an exchange takes orders in a market just now; None: it does not say."""

    symbol: str
    highest_buy: Decimal | None = None
    lowest_sell: Decimal | None = None
    reference: Decimal | None = None  # what the market's band of prices is measured from
    query_sent_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamUp:
    """The private stream (re)connected: everything since the last contact must be looked up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamDown:
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Barred:
    """This account must place nothing, for this reason; an empty one lifts that. Cancels always go."""

    reason: str


VenueReport = (
    Acked
    | Rejected
    | CancelAcked
    | CancelRefused
    | Amended
    | AmendRefused
    | OutcomeUnknown
    | OrderStatus
    | FillReport
    | TradesAnswer
    | LookupFailed
    | Balances
    | ContractRead
    | LeverageAnswered
    | TransfersRead
    | TradeHistoryRead
    | DayRead
    | OpenOrders
    | EverythingCancelled
    | BookUpdate
    | PublicTrade
    | MarketsLoaded
    | PriceBounds
    | StreamUp
    | StreamDown
    | Barred
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FromVenue:
    """A report with the exchange account it came from."""

    exchange: str
    account: str
    report: VenueReport


@dataclass(frozen=True, kw_only=True, slots=True)
class FromFeed:
    """What a data provider says of an exchange's book: a second opinion, never a price to trade at."""

    provider: str
    exchange: str
    book: BookUpdate


@dataclass(frozen=True, kw_only=True, slots=True)
class Submit:
    """A command with its ticket; `token` finds the waiting caller again."""

    token: int
    query_id: str  # made by the desk; every other id is derived from it
    ticket: Ticket
    command: Command
    source: str = "api"  # "api" | "file" | a code of a risk control: how it came, where that is recorded


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """A query that is over without any trading: a reading, or a request refused before it became a
    command."""

    query_id: str
    ticket: Ticket
    verb: str
    exchange: str | None
    parameters: dict[str, object]
    result: dict[str, object] | None = None
    error: Problem | None = None
    token: int | None = None  # somebody waits until it is on disk


@dataclass(frozen=True, kw_only=True, slots=True)
class Appraise:
    """Somebody wants to know what these are worth: have the books come that say it."""

    held: tuple[tuple[str, str, str], ...]  # (exchange, account, currency)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timer:
    """The wake-up the engine asked for under this key."""

    key: tuple[str, ...]


Event = FromVenue | FromFeed | Submit | Archive | Appraise | Timer


# --- Effects: engine -> runner -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    exchange: str
    account: str
    request: Request


@dataclass(frozen=True, kw_only=True, slots=True)
class Wake:
    """Deliver `Timer(key)` at `at`. A later Wake with the same key replaces the earlier one."""

    key: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """The answer to a Submit, given only after its records are on disk."""

    token: int
    answer: object  # records.Query, or Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Publish:
    """Something readers may want to know; losing it loses nothing, they catch up from the store."""

    topic: str
    key: str
    body: dict[str, object] = field(default_factory=dict)


# --- Problems: refusals as values ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A refusal as a value, in the words of the error envelope."""

    code: str  # CATEGORY_CONDITION
    message: str
    hint: str = ""
    retry_safe: bool = False  # True: the same request may be sent again unchanged
    details: dict[str, object] = field(default_factory=dict)
    venue_code: str | None = None
    venue_message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NonceUse:
    key_id: str
    nonce: str
    expires_at: datetime
