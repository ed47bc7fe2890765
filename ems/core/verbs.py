"""What each call takes: one table of fields per verb reads the body and describes it in the documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from ems.core import errors
from ems.core.contracts import is_contract
from ems.core.fields import (
    ACCOUNT,
    ALGO,
    AMOUNT,
    BPS,
    CURRENCIES,
    CURRENCY,
    EXCHANGE,
    EXCHANGES,
    EXIT,
    FLAG,
    FRACTION,
    KEY,
    NAME,
    ON_TIMEOUT,
    ORDER_TIME_IN_FORCE,
    ORDER_TYPE,
    PARAMS,
    PLANNED,
    POSITIVE,
    PRICE,
    SCOPE,
    SECONDS,
    SIDE,
    SPENDING,
    SYMBOL,
    TARGETS,
    TIME,
    TIME_IN_FORCE,
    Field,
)
from ems.core.jsontext import plain, shown
from ems.core.messages import (
    ADAPTIVE,
    AcknowledgeNotification,
    CancelAllOrders,
    CancelOrder,
    Command,
    DeleteNotificationRule,
    EditOrder,
    HaltTrading,
    LimitOrder,
    Liquidate,
    MarketOrder,
    OrderType,
    PlaceOrder,
    Problem,
    Quote,
    Rebalance,
    ResumeTrading,
    SendTestNotification,
    SetLeverage,
    SetLimit,
    SetNotificationRule,
    SetSlice,
    Side,
    SmartOrder,
    TimeInForce,
)
from ems.core.notification_fields import (
    MESSAGE_ID_FIELD,
    OF_USER_FIELD,
    RULE_FIELDS,
    RULE_NAME_FIELD,
    check_rule,
)
from ems.core.slices import AMOUNTS

EXCHANGE_FIELD = Field(
    name="exchange", kind=EXCHANGE, doc="The exchange to trade at; upper or lower case.", example="kraken"
)
ACCOUNT_FIELD = Field(
    name="account",
    kind=ACCOUNT,
    doc="Which of the server's accounts at the exchange.",
    required=False,
    default="default",
    example="default",
)
BOT_FIELD = Field(
    name="bot",
    kind=NAME,
    doc="The name of the bot that asks; it is recorded with the query.",
    required=False,
    default="default",
    example="bot-1",
)
SIDE_FIELD = Field(name="side", kind=SIDE, doc="Whether to buy or to sell the base currency.", example="buy")
SYMBOL_FIELD = Field(name="symbol", kind=SYMBOL, doc="The market.", example="ETH/USDT")
QUANTITY_FIELD = Field(
    name="quantity", kind=POSITIVE, doc="How much to buy or sell.", example="0.25", unit="base currency"
)

ORDER_NAME_FIELDS = (
    Field(
        name="order_id",
        kind=KEY,
        doc="Our id of the order.",
        required=False,
        example="ord-00000001",
    ),
    Field(
        name="client_order_id",
        kind=KEY,
        doc="Instead of order_id: the idempotency key the order was asked with.",
        required=False,
    ),
)

EXCHANGES_FIELD = Field(
    name="exchange",
    kind=EXCHANGES,
    doc="Where to trade: one exchange, several, or all that this server has keys for.",
    example="kraken",
)
START_CURRENCY_FIELD = Field(
    name="start_currency", kind=CURRENCY, doc="The currency to spend.", example="USDT"
)
END_CURRENCY_FIELD = Field(name="end_currency", kind=CURRENCY, doc="The currency to receive.", example="ETH")
MIN_TRADE_FIELD = Field(
    name="min_trade",
    kind=AMOUNT,
    doc="Smaller trades are not made.",
    required=False,
    default=Liquidate(exchange="", end_currency="").min_trade,
    example="10",
    unit="US dollars, or what is worth one",
)
QUOTE_ID_FIELD = Field(
    name="quote_id",
    kind=KEY,
    doc="Instead of everything else: carry out this quote within the bounds it named, or not at all.",
    required=False,
)

REASON_FIELD = Field(
    name="reason",
    kind=NAME,
    doc="Why, for the others; it is recorded.",
    required=False,
    example="prices look wrong",
)

DUPLICATE_FIELD = Field(
    name="allow_duplicate",
    kind=FLAG,
    doc="Let the same order pass once more, though it was sent a moment ago under another key.",
    required=False,
    default=False,
    example=False,
)

RAISE_FIELD = Field(
    name="raise_to_minimum",
    kind=FLAG,
    doc="Make a quantity below the smallest order of the market that smallest order, instead of refusing it.",
    required=False,
    default=False,
    example=False,
)
RESUBMIT_FIELD = Field(
    name="resubmit",
    kind=FLAG,
    doc="If the exchange refuses the order because its rules have changed: read them, round the order to "
    "them and send it once more, as a new order.",
    required=False,
    default=False,
    example=False,
)

ALGO_FIELD = Field(
    name="algo",
    kind=ALGO,
    doc="How the order is worked over time.",
    required=False,
    default=ADAPTIVE.algo,
    example=ADAPTIVE.algo,
)
STYLE_FIELDS = (
    ALGO_FIELD,
    Field(
        name="algo_params",
        kind=PARAMS,
        doc="Numbers of the algorithm that shall differ from its own; an unknown one is refused.",
        required=False,
    ),
    Field(
        name="time_limit",
        kind=SECONDS,
        doc="How long the whole of it may take; what then is left is treated as on_timeout says.",
        required=False,
        default=ADAPTIVE.time_limit,
        example="60",
        unit="seconds",
    ),
    Field(
        name="on_timeout",
        kind=ON_TIMEOUT,
        doc='"take": buy or sell the rest at the market\'s price; "cancel": leave the rest undone.',
        required=False,
        default=ADAPTIVE.on_timeout,
        example=ADAPTIVE.on_timeout,
    ),
    Field(
        name="max_slippage_bps",
        kind=BPS,
        doc="No market is traded further than this from its middle price at the decision.",
        required=False,
        example="50",
        unit="basis points",
    ),
)
STYLE_NAMES = tuple(wanted.name for wanted in STYLE_FIELDS)


def _only_with_algo(wanted: Field) -> Field:
    """Return a style field of a plain order: without algo it has no meaning, so it has no default."""
    if wanted is ALGO_FIELD:
        return replace(
            wanted, doc="Work the order with this; without it one plain order.", default=None, example=None
        )
    said = f"; {plain(wanted.default)} unless said" if isinstance(wanted.default, Decimal) else ""
    said = f'; "{wanted.default}" unless said' if isinstance(wanted.default, str) else said
    return replace(
        wanted,
        doc=f"Only with algo: {wanted.doc[0].lower()}{wanted.doc[1:-1]}{said}.",
        default=None,
        example=None,
    )


PLAIN_STYLE_FIELDS = tuple(map(_only_with_algo, STYLE_FIELDS))

COMMON = (
    BOT_FIELD,
    Field(
        name="record_in_db",
        kind=FLAG,
        doc="Keep the finished query in the archive. Orders and fills are always kept.",
        required=False,
        default=True,
        example=True,
    ),
    Field(
        name="send_fail_email",
        kind=FLAG,
        doc="Send an e-mail when the query fails.",
        required=False,
        default=True,
        example=True,
    ),
    Field(
        name="dry_run",
        kind=FLAG,
        doc="Check and answer in the same shape, and change nothing.",
        required=False,
        default=False,
        example=False,
    ),
    Field(
        name="idempotency_key",
        kind=KEY,
        doc="The Idempotency-Key header once more, where the signature covers it; they must be equal.",
        required=False,
        default=None,
        example="01a1fd0e-4fa6-7205-89fa-b5e33071cd17",
    ),
)


def _no_check(values: Mapping[str, object]) -> list[Problem]:
    return []


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One command: what it takes and what it becomes."""

    name: str
    summary: str
    doc: str
    command: type[Command]
    fields: tuple[Field, ...]
    # Rules between fields. A field that could not be read is absent from the values.
    check: Callable[[Mapping[str, object]], list[Problem]] = _no_check
    by_quote: bool = False  # may be asked with quote_id alone


def _one_name(values: Mapping[str, object]) -> list[Problem]:
    given = [name for name in ("order_id", "client_order_id") if values.get(name) is not None]
    if len(given) == 1:
        return []
    said = "both order_id and client_order_id are given" if given else "order_id is missing"
    return [
        errors.problem(
            errors.REQUEST_FIELD_INVALID if given else errors.REQUEST_FIELD_MISSING,
            f"{said}: name the order by exactly one of the two",
            hint="Send order_id (ours), or client_order_id (the idempotency key the order was asked with).",
            details={"field": "order_id"},
        )
    ]


SCOPE_NAMES = ("exchange", "account", "user", "symbol")


def _halt_scope(values: Mapping[str, object]) -> list[Problem]:
    """A halt of everything is said in so many words: a scope that got lost on the way must not become it."""
    if not {"all", *SCOPE_NAMES} <= values.keys():
        return []
    named = [name for name in SCOPE_NAMES if values[name] is not None]
    if values["all"] and named:
        message = f"all: given beside {named[0]}; a halt is of everything, or of what is named"
        return [_wrong("all", message, f"Remove all, or {' and '.join(named)}.")]
    if not values["all"] and not named:
        fix = "Send all as true, or name an exchange, account, user or symbol."
        return [_wrong("all", "nothing says what is to be halted", fix, code=errors.REQUEST_FIELD_MISSING)]
    if values["account"] is not None and values["exchange"] is None:
        fix = "Add the exchange whose account it is."
        message = "account: names an account of no exchange"
        return [_wrong("exchange", message, fix, code=errors.REQUEST_FIELD_MISSING)]
    if values.get("everything") and values["user"] is not None:
        message = "everything: orders that are not ours belong to no user"
        return [_wrong("everything", message, "Remove everything, or user.")]
    return []


def _edit(values: Mapping[str, object]) -> list[Problem]:
    problems = _one_name(values)
    terms = ("quantity", "price", "stop_price")
    if all(name in values and values[name] is None for name in terms):
        fix = "Add quantity, price or stop_price."
        message = "nothing says what is to change"
        problems.append(_wrong("quantity", message, fix, code=errors.REQUEST_FIELD_MISSING))
    return problems


def _two_currencies(values: Mapping[str, object]) -> list[Problem]:
    start, end = values.get("start_currency"), values.get("end_currency")
    if start is None or start != end:
        return []
    return [
        errors.problem(
            errors.REQUEST_FIELD_INVALID,
            f"end_currency: {shown(end)} is also the start_currency",
            hint="Name two different currencies.",
            details={"field": "end_currency", "value": shown(end)},
        )
    ]


def _wrong(name: str, message: str, fix: str, *, code: str = errors.REQUEST_FIELD_INVALID) -> Problem:
    return errors.problem(code, message, hint=fix, details={"field": name})


def _one_amount(values: Mapping[str, object]) -> list[Problem]:
    if not {"start_amount", "end_amount"} <= values.keys():
        return []
    start, end = values["start_amount"], values["end_amount"]
    if (start is None) != (end is None):
        return []
    if start is None:
        fix = (
            'Add start_amount, how much to spend ("1000", "35%" or "all"), '
            "or end_amount, how much to receive."
        )
        message = "start_amount is missing, and so is end_amount"
        return [_wrong("start_amount", message, fix, code=errors.REQUEST_FIELD_MISSING)]
    message = "end_amount: given beside start_amount; only one of the two can hold"
    return [_wrong("end_amount", message, "Remove start_amount or end_amount.")]


def _conversion(values: Mapping[str, object]) -> list[Problem]:
    return _two_currencies(values) + _one_amount(values)


def _names(values: Mapping[str, object], name: str) -> tuple[str, ...]:
    found = values.get(name)
    return tuple(found) if isinstance(found, tuple | dict) else ()


def _liquidation(values: Mapping[str, object]) -> list[Problem]:
    problems = []
    only, never = _names(values, "currencies"), _names(values, "exclude")
    if values.get("currencies") == ():  # absent means all that is held; a list that came out empty does not
        fix = "Name the currencies to be sold, or leave currencies out to sell everything."
        problems.append(_wrong("currencies", "currencies: the list is empty", fix))
    if both := sorted(set(only) & set(never)):
        listed = ", ".join(both)
        fix = f"Name {listed} under currencies or under exclude, not under both."
        problems.append(_wrong("exclude", f"exclude: {listed} also stands under currencies", fix))
    end = values.get("end_currency")
    if end in never:
        fix = f"Remove {end} from exclude: what is held of it stays as it is anyway."
        problems.append(_wrong("exclude", f"exclude: {end} is the end_currency", fix))
    if only and set(only) == {end}:
        fix = "Name the currencies to be sold, or leave currencies out to sell everything else."
        problems.append(_wrong("currencies", f"currencies: only {end}, which is the end_currency", fix))
    return problems


def _rebalancing(values: Mapping[str, object]) -> list[Problem]:
    problems = []
    if both := sorted(set(_names(values, "keep")) & set(_names(values, "targets"))):
        listed = ", ".join(both)
        fix = f"Give {listed} a target, or keep it; a kept currency is outside of what the targets divide."
        problems.append(_wrong("keep", f"keep: {listed} also has a target", fix))
    if values.get("tolerance") == 1:
        fix = 'Use a small part of the whole, such as "0.002".'
        problems.append(_wrong("tolerance", "tolerance: with 1 no weight would ever be changed", fix))
    return problems


def _style_has_algo(values: Mapping[str, object]) -> list[Problem]:
    if "algo" not in values:
        return []
    if values["algo"] is not None:
        return _corrected_by_algo(values)
    return [
        _wrong(
            wanted.name,
            f"{wanted.name}: only an order worked by an algorithm has one, and algo is missing",
            f'Add algo, such as "{ADAPTIVE.algo}", or remove {wanted.name}.',
        )
        for wanted in PLAIN_STYLE_FIELDS
        if values.get(wanted.name) is not None
    ]


def _corrected_by_algo(values: Mapping[str, object]) -> list[Problem]:
    why = "an algorithm decides itself how large its orders are, and reads the rules again by itself"
    return [
        _wrong(name, f"{name}: {why}", "Remove it, or remove algo.")
        for name in ("raise_to_minimum", "resubmit")
        if values.get(name)
    ]


def _waits_or_takes(values: Mapping[str, object]) -> list[Problem]:
    duration = values.get("time_in_force")
    if not values.get("post_only") or not isinstance(duration, TimeInForce) or duration is TimeInForce.GTC:
        return []
    message = f"post_only: only waits in the book, and time_in_force {duration.value} only trades at once"
    return [_wrong("post_only", message, "Remove post_only, or set time_in_force to GTC.")]


def _limit_style(values: Mapping[str, object]) -> list[Problem]:
    problems = _style_has_algo(values)
    if values.get("algo") is None:
        return problems + _waits_or_takes(values)
    fix = "Remove it, or remove algo."
    if values.get("time_in_force", TimeInForce.GTC) is not TimeInForce.GTC:
        message = "time_in_force: an algorithm works for as long as time_limit says"
        problems.append(_wrong("time_in_force", message, fix))
    if values.get("post_only"):
        message = "post_only: an algorithm decides itself when to wait and when to take"
        problems.append(_wrong("post_only", message, fix))
    return problems


def _order_terms(values: Mapping[str, object]) -> list[Problem]:
    """What belongs to which type of order, and to which time in force."""
    kind, duration = values.get("order_type"), values.get("time_in_force")
    if not isinstance(kind, OrderType):
        return []
    problems = [
        *_wanted_or_not(values, "price", kind.limited, f"a {kind} order"),
        *_wanted_or_not(values, "stop_price", kind.waits, f"a {kind} order"),
    ]
    if values.get("post_only"):
        if kind is not OrderType.LIMIT:
            message = f"post_only: a {kind} order trades when its moment has come; only limit orders wait"
            problems.append(_wrong("post_only", message, "Remove post_only, or use order_type limit."))
        elif isinstance(duration, TimeInForce) and not duration.rests:
            problems += _waits_or_takes(values)
    spot = not is_contract(str(values.get("symbol", "")))
    if values.get("reduce_only") and values.get("side") is Side.BUY and spot:
        message = "reduce_only: buying on a spot market reduces nothing that is held"
        problems.append(_wrong("reduce_only", message, "Remove reduce_only, or sell."))
    if isinstance(duration, TimeInForce):
        until = duration is TimeInForce.GTD
        problems += _wanted_or_not(values, "expires_at", until, f"time_in_force {duration}")
        problems += _duration_fits(kind, duration)
    return problems


def _wanted_or_not(values: Mapping[str, object], name: str, wanted: bool, what: str) -> list[Problem]:
    if name not in values or (values[name] is not None) == wanted:
        return []
    if wanted:
        fix, code = f"Add {name}.", errors.REQUEST_FIELD_MISSING
        return [_wrong(name, f"{name} is missing: {what} needs one", fix, code=code)]
    return [_wrong(name, f"{name}: {what} has none", f"Remove {name}.")]


def _duration_fits(kind: OrderType, duration: TimeInForce) -> list[Problem]:
    if kind is OrderType.MARKET and duration in (TimeInForce.FOK, TimeInForce.GTD, TimeInForce.DAY):
        fix = "Leave time_in_force out, or use order_type limit."
        return [_wrong("time_in_force", f"time_in_force: a market order is never {duration}", fix)]
    if kind in (OrderType.STOP_LOSS, OrderType.TAKE_PROFIT) and not duration.rests:
        message = f"time_in_force: a {kind} order waits, and {duration} only trades at once"
        return [_wrong("time_in_force", message, "Use GTC, GTD or DAY.")]
    return []


SMART_ORDER = Verb(
    name="smart_order",
    summary="Convert one currency into another",
    doc="Convert over the best paths of markets, on one exchange, several or all, worked over time to keep "
    "the cost low. Exactly one of start_amount and end_amount is given.",
    command=SmartOrder,
    fields=(
        EXCHANGES_FIELD,
        START_CURRENCY_FIELD,
        END_CURRENCY_FIELD,
        Field(
            name="start_amount",
            kind=SPENDING,
            doc="How much to spend; a percentage is of what is free when the work starts.",
            required=False,
            example="1000",
            unit="start_currency",
        ),
        Field(
            name="end_amount",
            kind=POSITIVE,
            doc="Instead of start_amount: how much to receive, fees paid.",
            required=False,
            unit="end_currency",
        ),
        *STYLE_FIELDS,
        ACCOUNT_FIELD,
        QUOTE_ID_FIELD,
    ),
    check=_conversion,
    by_quote=True,
)
LIQUIDATE = Verb(
    name="liquidate",
    summary="Turn what is held into one currency",
    doc="Sell everything held on each account, or the currencies named, into end_currency.",
    command=Liquidate,
    fields=(
        EXCHANGES_FIELD,
        replace(END_CURRENCY_FIELD, doc="The currency to hold in the end.", example="USDT"),
        Field(
            name="currencies",
            kind=CURRENCIES,
            doc="Only these; without it everything that is held.",
            required=False,
            example=["BTC", "ETH"],
        ),
        Field(name="exclude", kind=CURRENCIES, doc="Never these.", required=False, example=["ZEN"]),
        MIN_TRADE_FIELD,
        *STYLE_FIELDS,
        ACCOUNT_FIELD,
        QUOTE_ID_FIELD,
    ),
    check=_liquidation,
    by_quote=True,
)
REBALANCE = Verb(
    name="rebalance",
    summary="Bring what is held to target weights",
    doc="Trade as little as brings every weight within the tolerance of its target. Held currencies without "
    "a target are sold, unless they are kept. Targets are declared, so asking again is safe.",
    command=Rebalance,
    fields=(
        EXCHANGES_FIELD,
        Field(
            name="targets",
            kind=TARGETS,
            doc="The part of the value that each currency is to have.",
            example={"BTC": "60%", "USDT": "0.4"},
        ),
        Field(
            name="keep",
            kind=CURRENCIES,
            doc="Held currencies that stay as they are and do not count.",
            required=False,
            example=["ZEN"],
        ),
        Field(
            name="tolerance",
            kind=FRACTION,
            doc="A weight this close to its target is left alone.",
            required=False,
            default=Rebalance(exchange="", targets={}).tolerance,
            example="0.002",
            unit="parts of the whole value",
        ),
        MIN_TRADE_FIELD,
        *STYLE_FIELDS,
        ACCOUNT_FIELD,
        QUOTE_ID_FIELD,
    ),
    check=_rebalancing,
    by_quote=True,
)
PLANNED_VERBS = (SMART_ORDER, LIQUIDATE, REBALANCE)

ORDER = Verb(
    name="order",
    summary="One order of any type and time in force",
    doc="Send one order. A type that the exchange does not have is watched for by this server: such an order "
    "says emulated, exists from the beginning as created, survives a restart, and is sent when its stop "
    "price is met by the middle of best bid and ask.",
    command=PlaceOrder,
    fields=(
        EXCHANGE_FIELD,
        SIDE_FIELD,
        SYMBOL_FIELD,
        QUANTITY_FIELD,
        Field(
            name="order_type",
            kind=ORDER_TYPE,
            doc="A stop loss waits until the market is worse than stop_price (sells at or below it, buys at "
            "or above it), a take profit until it is better; then it is a market order, or a limit order.",
            example="stop_loss",
        ),
        Field(
            name="price",
            kind=PRICE,
            doc="The worst price to accept, of the types with limit in their name.",
            required=False,
            unit="quote currency per base currency",
        ),
        Field(
            name="stop_price",
            kind=PRICE,
            doc="What the types that wait are waiting for.",
            required=False,
            example="2300",
            unit="quote currency per base currency",
        ),
        Field(
            name="time_in_force",
            kind=ORDER_TIME_IN_FORCE,
            doc="GTC lives until canceled; IOC fills what it can now; FOK fills all now or nothing; GTD "
            "lives until expires_at, DAY until the end of the day in UTC: then this server cancels it.",
            required=False,
            default=TimeInForce.GTC,
            example="GTC",
        ),
        Field(name="expires_at", kind=TIME, doc="With GTD: when it ends.", required=False),
        Field(
            name="post_only",
            kind=FLAG,
            doc="Of limit orders: refuse to trade at once; only wait in the book.",
            required=False,
            default=False,
            example=False,
        ),
        Field(
            name="reduce_only",
            kind=FLAG,
            doc="Sell no more than is held: what goes beyond is cut off. Of a contract: only reduce its "
            "position, bought or sold; the exchange sees to it, too.",
            required=False,
            default=False,
            example=False,
        ),
        Field(
            name="stop_loss",
            kind=EXIT,
            doc="Attach a stop loss for what the order fills, as it fills.",
            required=False,
        ),
        Field(
            name="take_profit",
            kind=EXIT,
            doc="Attach a take profit likewise; what one of the two has traded is not left for the other.",
            required=False,
        ),
        ACCOUNT_FIELD,
        RAISE_FIELD,
        RESUBMIT_FIELD,
        DUPLICATE_FIELD,
    ),
    check=_order_terms,
)


def _quote_fields() -> tuple[Field, ...]:
    """Return the fields of every call that can be quoted; its own verb says which of them are required."""
    found = {
        "verb": Field(
            name="verb",
            kind=PLANNED,
            doc="The call to plan; its fields follow, with their own rules.",
            required=False,
            default="smart_order",
            example="smart_order",
        )
    }
    for verb in PLANNED_VERBS:
        for wanted in verb.fields:
            if wanted is not QUOTE_ID_FIELD and wanted.name not in found:
                example = wanted.example if verb is SMART_ORDER else None
                required = wanted is EXCHANGES_FIELD
                said = (
                    wanted.doc if wanted in SMART_ORDER.fields else f"Of {_takers(wanted.name)}. {wanted.doc}"
                )
                found[wanted.name] = replace(wanted, doc=said, example=example, required=required)
    return tuple(found.values())


def _takers(name: str) -> str:
    return " and ".join(verb.name for verb in PLANNED_VERBS if name in [f.name for f in verb.fields])


VERBS: dict[str, Verb] = {  # name -> verb
    verb.name: verb
    for verb in (
        Verb(
            name="market_order",
            summary="Buy or sell at once, at the market's price",
            doc="Send one market order. Accepted is not executed: follow the query with get_query.",
            command=MarketOrder,
            fields=(
                EXCHANGE_FIELD,
                SIDE_FIELD,
                SYMBOL_FIELD,
                QUANTITY_FIELD,
                *PLAIN_STYLE_FIELDS,
                ACCOUNT_FIELD,
                RAISE_FIELD,
                RESUBMIT_FIELD,
                DUPLICATE_FIELD,
            ),
            check=_style_has_algo,
        ),
        Verb(
            name="limit_order",
            summary="Buy or sell at a price or better",
            doc="Send one limit order. Its query is done once the exchange has it; get_order goes on.",
            command=LimitOrder,
            fields=(
                EXCHANGE_FIELD,
                SIDE_FIELD,
                SYMBOL_FIELD,
                QUANTITY_FIELD,
                Field(
                    name="price",
                    kind=PRICE,
                    doc="The worst price to accept.",
                    example="2450.10",
                    unit="quote currency per base currency",
                ),
                Field(
                    name="time_in_force",
                    kind=TIME_IN_FORCE,
                    doc="GTC lives until canceled; IOC fills what it can now; FOK fills all now or nothing.",
                    required=False,
                    default=TimeInForce.GTC,
                    example="GTC",
                ),
                Field(
                    name="post_only",
                    kind=FLAG,
                    doc="Refuse to trade at once; only wait in the book.",
                    required=False,
                    default=False,
                    example=False,
                ),
                *PLAIN_STYLE_FIELDS,
                ACCOUNT_FIELD,
                RAISE_FIELD,
                RESUBMIT_FIELD,
                DUPLICATE_FIELD,
            ),
            check=_limit_style,
        ),
        ORDER,
        *PLANNED_VERBS,
        Verb(
            name="quote",
            summary="Plan without trading",
            doc="Show the route, what it would bring, at worst and as expected, and what it would cost. "
            "Its quote_id, given to the call it is of, carries it out within these bounds, or not at all.",
            command=Quote,
            fields=_quote_fields(),
        ),
        Verb(
            name="edit_order",
            summary="Change an open order",
            doc="Change its quantity, price or stop price: in one step where the exchange does that, else "
            "what is left of it is placed anew once it is certain what it filled.",
            command=EditOrder,
            fields=(
                *ORDER_NAME_FIELDS,
                replace(
                    QUANTITY_FIELD,
                    doc="The whole of the order, with what it and those it replaced have filled.",
                    required=False,
                    example=None,
                ),
                Field(
                    name="price",
                    kind=PRICE,
                    doc="The worst price to accept.",
                    required=False,
                    example="2440",
                    unit="quote currency per base currency",
                ),
                Field(
                    name="stop_price",
                    kind=PRICE,
                    doc="What the types that wait are waiting for.",
                    required=False,
                    unit="quote currency per base currency",
                ),
            ),
            check=_edit,
        ),
        Verb(
            name="cancel_order",
            summary="Cancel one order",
            doc="Ask the exchange to cancel one open order. What filled before stays filled.",
            command=CancelOrder,
            fields=ORDER_NAME_FIELDS,
            check=_one_name,
        ),
        Verb(
            name="cancel_all_orders",
            summary="Cancel every open order of this bot",
            doc="Cancel the open orders of the asking bot, or of the whole user, and name what was left.",
            command=CancelAllOrders,
            fields=(
                Field(
                    name="exchange",
                    kind=EXCHANGE,
                    doc="Only orders at this exchange.",
                    required=False,
                    example="kraken",
                ),
                Field(
                    name="symbol",
                    kind=SYMBOL,
                    doc="Only orders in this market.",
                    required=False,
                    example="ETH/USDT",
                ),
                Field(
                    name="scope",
                    kind=SCOPE,
                    doc='"bot": orders of the asking bot; "user": all orders of the user who signed.',
                    required=False,
                    default="bot",
                    example="bot",
                ),
            ),
        ),
        Verb(
            name="halt",
            summary="The kill switch: stop trading, and prove it",
            doc="Where all that is named fits, nothing new is placed, work in progress ends, open orders are "
            "canceled, and what is open is read again until nothing is: then the query is done.",
            command=HaltTrading,
            fields=(
                Field(
                    name="all",
                    kind=FLAG,
                    doc="Halt everything; instead of naming something.",
                    required=False,
                    default=False,
                    example=True,
                ),
                Field(
                    name="exchange",
                    kind=EXCHANGE,
                    doc="Halt this exchange.",
                    required=False,
                ),
                Field(
                    name="account",
                    kind=ACCOUNT,
                    doc="Halt this account of the exchange only.",
                    required=False,
                ),
                Field(name="user", kind=NAME, doc="Halt this user's work.", required=False),
                Field(name="symbol", kind=SYMBOL, doc="Halt this market.", required=False),
                REASON_FIELD,
                Field(
                    name="everything",
                    kind=FLAG,
                    doc="Cancel orders on the accounts that are not ours as well; needs the role admin.",
                    required=False,
                    default=False,
                    example=False,
                ),
            ),
            check=_halt_scope,
        ),
        Verb(
            name="resume",
            summary="Lift a halt",
            doc="New work is taken again, unless another halt covers it. What the halt ended stays ended.",
            command=ResumeTrading,
            fields=(
                Field(
                    name="halt_id", kind=KEY, doc="Which halt; get_halts lists them.", example="q-5f0c2a71"
                ),
                REASON_FIELD,
            ),
        ),
        Verb(
            name="set_limit",
            summary="Set a limit of the risk controls",
            doc="It holds at once for every order that fits all that is named; with nothing named: for all. "
            "Anybody may tighten what names himself as user; everything else needs the role admin. Where "
            "several settings fit an order all of them hold.",
            command=SetLimit,
            fields=(
                Field(
                    name="setting",
                    kind=KEY,
                    doc="Which; get_limits lists all.",
                    example="credit_limit",
                ),
                Field(
                    name="value",
                    kind=KEY,
                    doc='The limit in the setting\'s unit, "off", or "default" to take the setting back.',
                    example="50000",
                ),
                Field(name="user", kind=NAME, doc="Only orders of this user.", required=False),
                Field(name="of_bot", kind=NAME, doc="Only orders of this bot.", required=False),
                Field(name="exchange", kind=EXCHANGE, doc="Only orders at this exchange.", required=False),
                Field(
                    name="account", kind=ACCOUNT, doc="Only on this account of the exchange.", required=False
                ),
                Field(name="symbol", kind=SYMBOL, doc="Only orders in this market.", required=False),
                REASON_FIELD,
            ),
        ),
        Verb(
            name="set_slice",
            summary="Give a bot a part of an account for its own",
            doc="The bot then sees and spends only that, and the others only what is in no slice. Its fills "
            "move it. The amounts are all it has from now on; with none it has no slice any more.",
            command=SetSlice,
            fields=(
                Field(name="of_bot", kind=NAME, doc="Whose slice it is.", example="bot-1"),
                EXCHANGE_FIELD,
                ACCOUNT_FIELD,
                Field(
                    name="amounts",
                    kind=AMOUNTS,
                    doc="What it has, by currency; an empty object ends the slice.",
                    example={"USDT": "1000"},
                ),
                Field(
                    name="of_user", kind=NAME, doc="Whose bot; the asking user's otherwise.", required=False
                ),
                REASON_FIELD,
            ),
        ),
        Verb(
            name="set_leverage",
            summary="Choose the leverage of a contract",
            doc="For one contract on one account, with cross margin: it holds for everybody who trades "
            "there. The answer is the leverage as it was read back from the exchange afterwards.",
            command=SetLeverage,
            fields=(
                EXCHANGE_FIELD,
                Field(name="symbol", kind=SYMBOL, doc="The contract.", example="BTC/USDT:USDT"),
                Field(
                    name="leverage",
                    kind=POSITIVE,
                    doc="How many times its margin a position may be worth; max_leverage is the most.",
                    example="2",
                    unit="times",
                ),
                ACCOUNT_FIELD,
            ),
        ),
        Verb(
            name="set_notification_rule",
            summary="Have yourself told of events",
            doc="Make a rule, or replace the one of this name: which events reach whom, where and when.",
            command=SetNotificationRule,
            fields=RULE_FIELDS,
            check=check_rule,
        ),
        Verb(
            name="delete_notification_rule",
            summary="Forget a notification rule",
            doc="Forget a rule; what waits because of it is not sent any more.",
            command=DeleteNotificationRule,
            fields=(RULE_NAME_FIELD, OF_USER_FIELD),
        ),
        Verb(
            name="acknowledge_notification",
            summary="Say that you have seen a message",
            doc="Acknowledge a message, and every other that told you of the same: none is repeated then.",
            command=AcknowledgeNotification,
            fields=(MESSAGE_ID_FIELD,),
        ),
        Verb(
            name="test_notification",
            summary="Send a test message as a rule says, at once",
            doc="Send one test message over the channel of a rule, and answer with the channel's own words.",
            command=SendTestNotification,
            fields=(RULE_NAME_FIELD,),
        ),
    )
}
