"""How exchanges differ, as data: what ccxt is told, what an answer means, how an order is found again.

A new exchange reached through ccxt is one file beside this one and its line in `dialects.DIALECTS`. What each
says was measured against ccxt 4.5.90 or is taken from the exchange's documentation, cited beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Literal, Protocol

from ems.core.depth import Change, Checksum
from ems.core.instrument import NO_RULES, MarketStatus, Rules
from ems.core.messages import (
    AmendRequest,
    FillReport,
    NewOrder,
    OrderStatus,
    OrderType,
    PriceBounds,
    PublicTrade,
    TimeInForce,
)
from ems.venues.errors import Refusals, Said
from ems.venues.gateway import FundingPayment, Position, TooMuch, VenueRefused, VenueUnavailable
from ems.venues.limiter import Limit, Scope, TooBusy
from ems.venues.translation import plain
from ems.venues.transport import Wire

DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """One way to ask for an order by our id; a list must be a list that was really read."""

    method: str  # of ccxt
    parameter: str = "clientOrderId"  # as ccxt wants it here
    gives_list: bool = False
    cost: str = "order"


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A header in which the venue tells how far a limit is used."""

    header: str
    bucket: str = ""  # "": those that the call was paid from and that are the account's own
    counts: Literal["used", "left"] = "used"
    limit: str = ""  # the header that tells which limit it is about, where one call may meet several


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """Words after which nothing is sent for a while."""

    seconds: float
    scope: Scope


async def _open_orders_at_once(ccxt_exchange: Any) -> list[Any]:
    """Read all open orders where one answer holds them."""
    orders: list[Any] = await ccxt_exchange.fetch_open_orders()
    return orders


@dataclass(frozen=True, kw_only=True, slots=True)
class BookFeed:
    """How an exchange's stream of books is read, and what in it is checked: see `ems.core.depth`."""

    is_book: Callable[[Any], bool]  # this frame is about a book; ccxt need not see it
    # (ccxt, frame, URL of the connection) -> (symbol, change)
    read: Callable[[Any, Any, str], Iterator[tuple[str, Change]]]
    levels_max: int | None = None  # what falls out of this depth is not mentioned by the exchange
    checksum: Checksum | None = None
    levels_summed: int = 0  # levels a side that the checksum is made of
    snapshot_by_rest: bool = False  # the stream brings changes only
    audited: bool = False  # nothing in it shows that a message is missing: it is compared with REST at times
    # (ccxt, symbol): end a subscription that ccxt cannot end itself
    unsubscribe: Callable[[Any, str], Awaitable[None]] | None = None


# Fraction of every trade: symbol -> (maker, taker).
Fees = dict[str, tuple[Decimal, Decimal]]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPowers:
    """What an API key may do, as far as the exchange tells; None: it does not."""

    trade: bool | None = None
    withdraw: bool | None = None  # or move money to another account
    ip_restricted: bool | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadMan:
    """An exchange's switch that cancels everything when its owner falls silent."""

    arm: Callable[[Any, int], Awaitable[Any]]  # (ccxt, seconds from now; 0 takes it back)
    timeout_s: int
    every_s: float  # how often to say that we are here


@dataclass(frozen=True, kw_only=True, slots=True)
class Triggers:
    """How an exchange takes orders that wait for a price.

    ccxt's words for them are checked against its `features` too; neither is believed alone (VENUES.md 0.7).
    """

    types: frozenset[OrderType]
    words: Callable[[NewOrder], Mapping[str, object]]  # what ccxt is told; None takes a word back
    features: Callable[[NewOrder], str]  # what ccxt's `features` call it
    # ccxt drops the others of these on the way.
    times_in_force: frozenset[TimeInForce] = frozenset({TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK})
    # What ccxt is told when one is cancelled that waits; None: the same as for any order. Where it is not
    # known whether an order waits both ways are tried, and "no such order" ends the first.
    cancel_words: Mapping[str, object] | None = None
    cancelled: Callable[[object], bool] | None = None  # as `Dialect.cancelled`, of such a cancel
    # Where a stop on the wrong side of the market is not refused, but waits for the way back: (ccxt, symbol)
    # -> the last price, which is looked at before.
    last_price: Callable[[Any, str], Awaitable[Decimal | None]] | None = None
    follow: Callable[[Any], Awaitable[Any]] | None = None  # subscribes where the stream has them apart


@dataclass(frozen=True, kw_only=True, slots=True)
class Amending:
    """What an exchange changes of an order in one step, and how it is asked and answers."""

    terms: frozenset[str]  # of "quantity", "price", "stop_price"
    send: Callable[[Any, AmendRequest], Awaitable[Any]]  # (ccxt, request)
    done: Callable[[object, AmendRequest], bool]  # does this body say that this one was taken on?
    refusals: Refusals
    shrinks_only: bool = False
    # All terms are told anew, of an order named by the venue's id: what we were not asked for is looked up
    # first.
    whole: bool = False


class Ask(Protocol):
    """One paid question, `what` naming its cost and check; None when the venue says: no such order."""

    async def __call__(self, what: str, question: Callable[[], Awaitable[Any]]) -> Any: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """What a linear contract is named after: settled in its quote currency."""

    base: str
    quote: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How an account stands in one contract."""

    quantity: Decimal  # base; below zero: short
    leverage: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Derivatives:
    """What is asked about contracts where an exchange has them, and how they are traded.

    Quantities are in base currency everywhere: where an exchange counts in contracts, its dialect multiplies.
    """

    # (ask, ccxt), all of them, or raise CannotSay or HedgeMode
    positions: Callable[[Ask, Any], Awaitable[list[Position]]]
    set_leverage: Callable[[Ask, Any, Pair, Decimal], Awaitable[None]]
    stand: Callable[[Ask, Any, str], Awaitable[Standing]]  # (ask, ccxt, symbol), or raise as `positions`
    fees: Callable[[Any], Awaitable[Fees]]
    rules: Callable[[Mapping[str, Any]], Rules]  # of ccxt's `info`; quantities as the exchange counts them
    options: Mapping[str, object]  # ccxt's, where contracts are traded
    # (ask, ccxt, from ms, to ms), all of it, or raise CannotSay
    funding: Callable[[Ask, Any, int, int], Awaitable[list[FundingPayment]]]
    settled_in: frozenset[str] = frozenset()  # the only currencies; empty: any
    unchanged: frozenset[str] = frozenset()  # codes for "so it is already"


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """How an exchange lists what was: past orders, or deposits and withdrawals."""

    # (ask, ccxt, symbol or None, from ms, to ms) -> ccxt's rows of what began in this time, all of them; or
    # raise CannotSay, and a shorter time is asked for
    read: Callable[[Ask, Any, str | None, int, int], Awaitable[list[Any]]]
    at_once: timedelta  # the longest time that is asked for in one go
    reach: timedelta | None = None  # how far back the list goes; None: to the beginning
    per_market: bool = False  # one market at a time
    misses: str = ""  # what it leaves out, for people
    # What ended is another list than what is open, and may lag behind it: then an order is in neither.
    ended_apart: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """Where an account stands in the fee schedule, as far as the exchange tells."""

    name: str | None = None
    volume_30d: Decimal | None = None
    currency: str | None = None  # of the volume


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What an exchange says when it does not do what is asked."""

    said: Callable[[int, object], tuple[Said, ...]]
    refusals: Refusals  # of anything asked
    create_refusals: Refusals
    cancel_refusals: Refusals
    absent: frozenset[tuple[str, str | None]]  # the words for "no such order"; None: whatever the words


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimits:
    """What may be asked how often, what each question costs, and what the exchange tells of it."""

    shapes: tuple[Limit, ...]
    costs: Mapping[str, Mapping[str, float]]  # what is asked -> {bucket: cost}; `{symbol}` is filled in
    told: tuple[Told, ...] = ()  # what answers tell of the limits
    reset_header: str | None = None  # when what is full will be free, in ms of the venue's time
    # code -> bucket that is full ("": the call's own), or a pause; seconds alone are a pause of the address
    words: Mapping[str, str | float | Pause] = field(default_factory=dict)
    # Where a cancel costs by the age of its order: bucket -> (younger than so many s, cost); older: nothing
    cancel_ages: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    def costs_of(self, what: str, symbol: str = "") -> dict[str, float]:
        return {name.format(symbol=symbol): cost for name, cost in self.costs[what].items()}

    def cancel_costs_of(self, symbol: str, age_s: float) -> dict[str, float]:
        """Return what it costs to cancel an order of at least this age."""
        costs = self.costs_of("cancel", symbol)
        for name in costs:
            ages = self.cancel_ages.get(name.partition(":")[0])
            if ages is not None:
                costs[name] = next((cost for younger_than, cost in ages if age_s < younger_than), 0.0)
        return costs


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateStream:
    """The account's own stream: orders and fills."""

    read: Callable[[Any, Any], Iterator[FillReport | OrderStatus]]  # (ccxt, frame)
    is_private: Callable[[Any], bool]  # this frame tells of the account; ccxt need not see it
    subscribed: Callable[[Any], bool]  # this frame says: the private stream is on
    over: Callable[[Any], bool]  # this frame says: the venue ends the private stream
    url: Callable[[Any], str]  # where ccxt keeps it
    heartbeat_s: float | None = None  # the private stream is never silent for so long
    watch_orders: Mapping[str, object] = field(default_factory=dict)  # what ccxt's method is called with
    # (ccxt) -> subscribes to the account's stream, where it takes more than `watch_orders`
    follow: Callable[[Any], Awaitable[Any]] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tape:
    """Public trades."""

    is_trades: Callable[[Any], bool]  # this frame tells public trades; ccxt need not see it
    read: Callable[[Any, Any, datetime], Iterator[PublicTrade]]  # (ccxt, frame, now)
    apart: bool  # books and public trades have one URL: see `Wire`


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """One exchange."""

    exchange: str
    ccxt_id: str
    options: Mapping[str, object]
    fee_mode: str  # which currency a fee is taken from: see `Market`
    client_id_style: str
    recv_window_s: float
    words: Words
    limits: RateLimits
    stream: PrivateStream
    tape: Tape
    expiry: Callable[
        [datetime, float], Mapping[str, object]
    ]  # (now by the venue's clock, seconds left) -> params
    by_client_id: tuple[Lookup, ...]
    # What is asked -> is this body an answer to it? A list that was not really read must not pass for an
    # empty one.
    whole: Mapping[str, Callable[[object], bool]]
    cancelled: Callable[[object], bool]  # does this body say that a cancel was done?
    # (ask, ccxt, symbol, exchange order id); None: no such order
    fills_of: Callable[[Ask, Any, str, str], Awaitable[FillsRead | None]]
    # (ask, ccxt, symbol, since ms, now ms) -> ccxt's trades of this symbol, all of them; or raise CannotSay
    history_of: Callable[[Ask, Any, str, int, int], Awaitable[list[Any]]]
    # (ask, ccxt, symbol, exchange order ids) -> {id: client order id}, perhaps not of all
    names_of: Callable[[Ask, Any, str, Collection[str]], Awaitable[dict[str, str | None]]]
    fees: Callable[[Any], Awaitable[Fees]]
    book_depth: int  # levels to ask for; some venues know only a few depths
    book: BookFeed | None = None  # None: ccxt keeps the book, and only a crossed one is noticed
    fetches_currencies: bool = True
    numbers_per_symbol: bool = False  # an order's number is unique in its market only
    nonce_lane: bool = False
    ws_paths: Mapping[str, str] = field(default_factory=dict)  # ccxt's name of a URL -> path when repointed
    tick_key: str | None = None  # where the venue tells a price step coarser than its decimals
    time_resolution_s: float = 0.001  # how coarse the venue tells its time
    by_exchange_id: tuple[Lookup, ...] = (Lookup(method="fetch_order"),)  # a list takes its id as `parameter`
    create_parameter: str = "clientOrderId"  # what ccxt calls our id when it creates
    create_words: Callable[[NewOrder], Mapping[str, object]] = (
        lambda order: {}
    )  # what else ccxt is to be told
    # What ccxt calls our id when it cancels by it; None: the venue cancels by its own id alone, which is
    # looked up first.
    cancel_parameter: str | None = "clientOrderId"
    # Where the venue cannot be asked by our id: ccxt's orders among which ours is, if it is anywhere; read to
    # the last page or raise. (ask, ccxt, symbol, client order id, since ms)
    find: Callable[[Ask, Any, str, str, int | None], Awaitable[list[Any]]] | None = None
    wire: type[Wire] = Wire  # goes in front of ccxt's class
    # A frame's number on its connection; several of them where a frame holds several messages
    sequence: Callable[[Any], int | tuple[int, ...] | None] = lambda frame: None
    clock_every_s: float = 300.0  # how often the venue's time is asked for
    market_orders: bool = True
    # ccxt's open orders in all markets, to the last page; one that may be incomplete raises
    open_orders: Callable[[Any], Awaitable[list[Any]]] = _open_orders_at_once
    paper_only: bool = False  # there is no live one any more
    has_passphrase: bool = False  # the keys' third part
    past_orders: Listing | None = None  # None: the exchange offers no list of them
    transfers: Listing | None = None
    tier: Callable[[Any], Awaitable[Tier]] | None = None  # None: the exchange does not tell
    powers: Callable[[Any], Awaitable[KeyPowers]] | None = None  # None: the exchange does not tell
    # (ccxt, symbol) -> (volume in base, lowest, highest price) of the last 24 hours, spot; None: not told
    day: Callable[[Any, str], Awaitable[tuple[Any, Any, Any]]] | None = None
    triggers: Triggers | None = None  # None: no orders that wait
    amending: Amending | None = None  # None: an order is changed by another one
    # (ask, ccxt, orders, symbol or None) -> cancels these, which are all that are open there, and perhaps
    # more that are placed meanwhile. None: there is no such call, and they are cancelled one by one.
    cancel_all: Callable[[Ask, Any, tuple[OrderStatus, ...], str | None], Awaitable[None]] | None = None
    purges: bool = False  # an order that ended without a fill is not found any more
    dead_man: DeadMan | None = None  # None: there is none, or none that works over REST alone

    # (ccxt, symbol) -> between which prices orders are taken now; None: the exchange does not tell
    bounds: Callable[[Any, str], Awaitable[PriceBounds]] | None = None
    derivatives: Derivatives | None = None  # None: nothing is asked about contracts here
    rules: Callable[[Mapping[str, Any]], Rules] = lambda info: (
        NO_RULES
    )  # (the venue's own words of a market) -> what it says beside steps, sizes and the least notional

    @property
    def skew_max_s(self) -> float:
        """How far our clock may be from the venue's while we place orders there."""
        return self.recv_window_s / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class FillsRead:
    """ccxt's trades of one order; `expected` is the filled quantity where the same reading told it."""

    trades: list[Any]
    expected: Decimal | None = None


STOPS = frozenset(kind for kind in OrderType if kind.waits)


def stop_word(order: NewOrder) -> str:
    """Return ccxt's name for what this order waits for, which is also what its `features` call it."""
    loss = order.order_type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
    return "stopLossPrice" if loss else "takeProfitPrice"


def stop_words(order: NewOrder) -> dict[str, object]:
    """Tell ccxt what this order waits for, where it has a word for each kind."""
    assert order.stop_price is not None
    return {stop_word(order): plain(order.stop_price)}


def named(request: AmendRequest, ours: str, theirs: str) -> dict[str, object]:
    """Name the order of an amendment: by the venue's id where we know it, else by ours."""
    if request.exchange_order_id is not None:
        return {theirs: request.exchange_order_id}
    return {ours: request.client_order_id}


def about(row: object, request: AmendRequest, ours: str, theirs: str) -> bool:
    """Say whether this is told of the order of an amendment, as `named` names it."""
    return isinstance(row, dict) and all(
        str(row.get(name)) == value for name, value in named(request, ours, theirs).items()
    )


def terms(request: AmendRequest, **names: str) -> dict[str, object]:
    """Return what is to change, under the venue's names of it."""
    asked = {name: getattr(request, ours) for ours, name in names.items()}
    return {name: plain(value) for name, value in asked.items() if value is not None}


async def each(questions: Iterable[Awaitable[Any]]) -> None:
    """Ask everything, also after a question has failed; then raise what was refused or unanswered first."""
    failures: list[Exception] = []
    for question in questions:
        try:
            await question
        except (VenueRefused, VenueUnavailable, TooBusy) as error:
            failures.append(error)
    if failures:
        raise failures[0]


class CannotSay(TooMuch):
    """There is more to read than we read in one go, or what was read does not add up."""


SWAPS = "oms_swaps"  # our mark among ccxt's options: contracts are traded on this connection


def with_swaps(ccxt_exchange: Any) -> bool:
    """Say whether contracts are traded on this connection."""
    return bool(ccxt_exchange.options.get(SWAPS))


def contract_size(ccxt_exchange: Any, symbol: str) -> Decimal:
    """Return how much of the base currency one contract stands for; 1 of a spot market."""
    size = ccxt_exchange.market(symbol).get("contractSize")
    return Decimal(1) if size is None else Decimal(str(size))


# What one question may read: beyond it the answer is that we cannot say, never the part that was read.
PAGES_MAX = 20


def amount_in(row: Any, name: str) -> Decimal:
    """Read a number that a venue writes as text; raise CannotSay for anything else."""
    try:
        value = Decimal(row[name])
    except (KeyError, TypeError, ArithmeticError) as error:
        raise CannotSay(f"no number in {name!r} of {row!r:.200}") from error
    if not value.is_finite():
        raise CannotSay(f"{name!r} is {row[name]!r:.60}")
    return value


def limit_in(row: Mapping[str, Any], name: str) -> Decimal | None:
    """Read a limit of a market; nothing, and nought, are how venues write that there is none."""
    told = row.get(name)
    value = None if told in (None, "") else Decimal(str(told))
    return value if value is not None and value.is_finite() and value > 0 else None


def coinbase_status(product: Mapping[str, Any]) -> MarketStatus:
    """Read the flags that both of Coinbase's exchanges put on a product."""
    flags = (  # the strictest first
        ("cancel_only", MarketStatus.CANCEL_ONLY),
        ("trading_disabled", MarketStatus.HALTED),
        ("post_only", MarketStatus.POST_ONLY),
        ("limit_only", MarketStatus.LIMIT_ONLY),
    )
    return next((status for flag, status in flags if product.get(flag) is True), MarketStatus.OPEN)


def has(body: object, **parts: type) -> bool:
    """Say whether a body is an object with these parts, of these kinds."""
    return isinstance(body, dict) and all(isinstance(body.get(name), kind) for name, kind in parts.items())


async def unified_fees(ccxt_exchange: Any) -> Fees:
    fees = await ccxt_exchange.fetch_trading_fees()
    return {
        symbol: (Decimal(fee["maker"]), Decimal(fee["taker"]))
        for symbol, fee in fees.items()
        if isinstance(fee, dict) and fee.get("maker") is not None and fee.get("taker") is not None
    }


Reading = Callable[[Ask, Any, str | None, int, int], Awaitable[list[Any]]]


def transfers_by_page(limit: int, until_key: str = "until") -> Reading:
    """Return how to read deposits and withdrawals with ccxt's two calls; a full page means: too much."""

    async def read(ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int) -> list[Any]:
        rows: list[Any] = []
        for method in (ccxt_exchange.fetch_deposits, ccxt_exchange.fetch_withdrawals):
            page = await ask("transfers", partial(method, None, since, limit, {until_key: until}))
            if len(page) >= limit:
                raise CannotSay(f"{limit} deposits or withdrawals and perhaps more")
            rows.extend(page)
        return rows

    return read
