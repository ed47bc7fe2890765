"""The risk controls, their settings, and which of these hold for an order (RELIABILITY.md E).

Rules:
1. Where several settings fit an order all of them hold, so the strictest does. The default holds where none
   is set.
2. A setting without a scope changes the default of everybody, counted as `per` says. One with a scope counts
   what it names.
3. A name that once was a setting never comes back with another meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from ems.core import errors
from ems.core.jsontext import plain
from ems.core.messages import OrderType
from ems.core.records import RiskLimit

DIMENSIONS = ("user", "bot", "exchange", "account", "symbol")
DEFAULT = "default"  # takes a setting back
OFF = "off"  # no limit

WINDOW_MAX = Decimal(60)  # seconds: how far back repeats are looked for
REJECTS_OF = 20  # the share of refusals is taken of so many orders


class Scope(NamedTuple):
    """Whose orders, and where. None: of no one in particular."""

    user: str | None = None
    bot: str | None = None
    exchange: str | None = None
    account: str | None = None
    symbol: str | None = None

    def covers(self, other: Scope) -> bool:
        return all(mine is None or mine == its for mine, its in zip(self, other, strict=True))

    @property
    def named(self) -> frozenset[str]:
        return frozenset(name for name, value in zip(DIMENSIONS, self, strict=True) if value is not None)

    @property
    def words(self) -> str:
        said = [f"{name} {value}" for name, value in zip(DIMENSIONS, self, strict=True) if value is not None]
        return ", ".join(said) or "everybody"


EVERYWHERE = Scope()


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """One row of the manual's table."""

    number: int
    name: str
    code: str  # "": it refuses no order
    does: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One limit that can be set.

    `per`: what is counted together where no scope is named. `scopes`: what a setting of it may name.
    """

    name: str
    control: int
    default: str
    unit: str
    doc: str
    kind: str = "number"  # "number" | "whole" | "names" | "hours"
    choices: tuple[str, ...] = ()  # the only names; none: whatever is configured
    example: str = ""  # where the default is none
    counted: bool = False
    per: tuple[str, ...] = ()
    scopes: tuple[str, ...] = DIMENSIONS
    most: Decimal | None = None  # no setting goes beyond this
    more_is_tighter: bool = False


CONTROLS: tuple[Control, ...] = (
    Control(
        number=1,
        name="Kill switch",
        code=errors.TRADING_HALTED,
        does="A halt: global, exchange, account, user or symbol; lifted by an admin only",
    ),
    Control(
        number=2,
        name="Price collar",
        code=errors.PRICE_COLLAR,
        does="A limit price too far from the middle of the book",
    ),
    Control(
        number=3,
        name="Market-order protection",
        code=errors.SLIPPAGE_LIMIT,
        does="A market order that would walk the book too far; the others go as a limit at the bound",
    ),
    Control(
        number=4,
        name="Maximum order value",
        code=errors.NOTIONAL_EXCEEDS_MAX_PER_ORDER,
        does="An order worth too much; an algorithm makes its own orders smaller instead",
    ),
    Control(
        number=5,
        name="Maximum order volume",
        code=errors.QUANTITY_EXCEEDS_MAXIMUM,
        does="An order too large for what the book shows; an algorithm makes its own smaller instead",
    ),
    Control(
        number=6,
        name="Credit threshold",
        code=errors.CREDIT_LIMIT,
        does="Open and traded within 24 hours together too much",
    ),
    Control(
        number=7,
        name="Position limit",
        code=errors.POSITION_LIMIT,
        does="A purchase that would make too much of one currency on an account; in contracts a "
        "position too large either way, or at too much leverage (`LEVERAGE_LIMIT`)",
    ),
    Control(
        number=8,
        name="Maximum open orders",
        code=errors.MAX_OPEN_ORDERS,
        does="Too many orders open at once; an algorithm waits",
    ),
    Control(
        number=9,
        name="Message throttle",
        code=errors.RATE_LIMIT_EXCEEDED,
        does="New orders too fast; an algorithm waits. Cancels are never throttled",
    ),
    Control(
        number=10,
        name="Repeated automated execution throttle",
        code=errors.EXECUTION_THROTTLE,
        does="Too many executions of one side of a market in a minute: halts the user there",
    ),
    Control(
        number=11,
        name="Duplicate-order check",
        code=errors.DUPLICATE_SUSPECTED,
        does="The same plain order again at once; allow_duplicate lets it pass",
    ),
    Control(
        number=12,
        name="Parent/child cumulative check",
        code=errors.OVEREXECUTION_GUARD,
        does="Done, open, unknown and new together beyond what was asked for; always on",
    ),
    Control(
        number=13,
        name="Self-match prevention",
        code=errors.SELF_MATCH,
        does="An order that would trade with an own one that rests",
    ),
    Control(
        number=14,
        name="Available funds",
        code=errors.FUNDS_INSUFFICIENT,
        does="More than is free beside the claims of work in progress; always on. Elsewhere called "
        "INSUFFICIENT_FREE_BALANCE",
    ),
    Control(
        number=15,
        name="Daily loss limit",
        code=errors.LOSS_LIMIT,
        does="What was traded since midnight UTC has lost too much: halts the user",
    ),
    Control(
        number=16,
        name="Reject and unknown breaker",
        code=errors.VENUE_BREAKER,
        does="An exchange that answers badly: halts the exchange",
    ),
    Control(
        number=17,
        name="Stale data gate",
        code=errors.MARKET_DATA_STALE,
        does="No book, or an old one, to measure the order against; an algorithm waits",
    ),
    Control(
        number=18,
        name="Restricted list",
        code=errors.RESTRICTED,
        does="A market, exchange, order type or hour that is not allowed",
    ),
    Control(
        number=19,
        name="Dead-man's switch",
        code="",
        does="An exchange cancels everything when this server falls silent: OMS_EXCLUSIVE",
    ),
    Control(
        number=20,
        name="Drop-copy reconciliation",
        code=errors.LEDGER_MISMATCH,
        does="The exchange holds less than our fills say, twice in a row: halts the account",
    ),
    Control(
        number=21,
        name="Deployment guard",
        code="",
        does="Version and hash of the settings in every order and at `/version`; one writer per database; "
        "no name of a setting or variable comes back with another meaning, and a retired one is refused",
    ),
    Control(
        number=22,
        name="Alerts that are alerts",
        code="",
        does="Every halt of a control sends a critical letter with order and action",
    ),
)

_PER_USER = ("user",)
_COUNTABLE = {"kind": "whole", "counted": True}

SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="price_collar",
        control=2,
        default="5",
        unit="percent",
        most=Decimal(100),
        doc="How far a limit price may be from the middle of the book, either way.",
    ),
    Setting(
        name="price_collar_volatile",
        control=2,
        default="10",
        unit="percent",
        most=Decimal(100),
        doc="The same for a market whose range in 24 hours is known to be wider than 20 %.",
    ),
    Setting(
        name="slippage_limit",
        control=3,
        default="1",
        unit="percent",
        most=Decimal(100),
        doc="How far a market order may walk the book, from its best price to its last.",
    ),
    Setting(
        name="max_order_value", control=4, default="10000", unit="USD", doc="What one order may be worth."
    ),
    Setting(
        name="max_depth_share",
        control=5,
        default="25",
        unit="percent",
        doc="Of what the book shows within 2 % of its middle on the side to be met.",
    ),
    Setting(
        name="max_volume_share",
        control=5,
        default="5",
        unit="percent",
        doc="Of what was traded there in 24 hours, where the exchange tells.",
    ),
    Setting(
        name="credit_limit",
        control=6,
        default="100000",
        unit="USD",
        counted=True,
        per=("user", "exchange"),
        doc="Open and traded within 24 hours.",
    ),
    Setting(
        name="global_credit_limit",
        control=6,
        default="250000",
        unit="USD",
        counted=True,
        scopes=(),
        doc="The same, of everybody everywhere.",
    ),
    Setting(
        name="max_position",
        control=7,
        default=OFF,
        unit="USD",
        scopes=("exchange", "account", "symbol"),
        doc="Of the base currency on the account, with what is being bought; of a contract, the net position "
        "either way.",
    ),
    Setting(
        name="max_leverage",
        control=7,
        default="3",
        unit="times",
        doc="Of a contract: what may be chosen, and what may be in force when an order opens a position.",
    ),
    Setting(
        name="concentration_warning",
        control=7,
        default="50",
        unit="percent",
        scopes=(),
        most=Decimal(100),
        doc="Of what all accounts hold: one asset beyond it is told by letter; it refuses nothing.",
    ),
    Setting(
        name="max_open_orders",
        control=8,
        default="50",
        unit="orders",
        per=_PER_USER,
        doc="Open at once.",
        **_COUNTABLE,  # type: ignore[arg-type]
    ),
    Setting(
        name="max_open_orders_per_symbol",
        control=8,
        default="10",
        unit="orders",
        per=("user", "symbol"),
        doc="Open at once in one market.",
        **_COUNTABLE,  # type: ignore[arg-type]
    ),
    Setting(
        name="orders_per_second",
        control=9,
        default="5",
        unit="orders",
        per=_PER_USER,
        doc="New orders a second, after a burst.",
        counted=True,
    ),
    Setting(
        name="order_burst",
        control=9,
        default="10",
        unit="orders",
        kind="whole",
        doc="New orders at once, before orders_per_second holds.",
    ),
    Setting(
        name="orders_per_minute",
        control=9,
        default="120",
        unit="orders",
        per=_PER_USER,
        doc="New orders within 60 seconds.",
        **_COUNTABLE,  # type: ignore[arg-type]
    ),
    Setting(
        name="executions_per_minute",
        control=10,
        default="20",
        unit="executions",
        per=("user", "symbol"),
        doc="Plain orders and smart orders that traded within 60 seconds, of one side.",
        **_COUNTABLE,  # type: ignore[arg-type]
    ),
    Setting(
        name="duplicate_window",
        control=11,
        default="2",
        unit="seconds",
        most=WINDOW_MAX,
        more_is_tighter=True,
        doc="How soon the same plain order is taken for a mistake.",
    ),
    Setting(
        name="daily_loss",
        control=15,
        default=OFF,
        unit="USD",
        counted=True,
        per=_PER_USER,
        doc="Lost since midnight UTC: what get_pnl says of the day, and what was bought since and is left.",
    ),
    Setting(
        name="unknowns_per_minute",
        control=16,
        default="5",
        unit="orders",
        kind="whole",
        scopes=("exchange",),
        doc="So many orders without a clear answer within 60 seconds halt the exchange.",
    ),
    Setting(
        name="reject_share",
        control=16,
        default="50",
        unit="percent",
        scopes=("exchange",),
        doc=f"More refusals than this among the last {REJECTS_OF} orders halt the exchange.",
    ),
    Setting(
        name="max_quote_age",
        control=17,
        default="10",
        unit="seconds",
        doc="How old the book may be that an order is measured against.",
    ),
    Setting(
        name="allowed_symbols",
        control=18,
        default=OFF,
        unit="names",
        kind="names",
        example="BTC/USDT,ETH/USDT",
        doc="The only markets that may be traded.",
    ),
    Setting(
        name="allowed_exchanges",
        control=18,
        default=OFF,
        unit="names",
        kind="names",
        example="binance,kraken",
        doc="The only exchanges that may be traded at; off: all that are configured.",
    ),
    Setting(
        name="allowed_order_types",
        control=18,
        default=OFF,
        unit="names",
        kind="names",
        choices=tuple(OrderType),
        example="market,limit",
        doc="The only order types that may be sent.",
    ),
    Setting(
        name="allowed_hours",
        control=18,
        default=OFF,
        unit="UTC",
        kind="hours",
        example="08:00-18:00",
        doc='The only hours, such as "08:00-18:00"; several separated by commas.',
    ),
    Setting(
        name="ledger_mismatch",
        control=20,
        default="0",
        unit="USD",
        scopes=("exchange", "account"),
        doc="Missing worth more than this, in two readings in a row, halts the account.",
    ),
)

SETTING: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
BY_NUMBER: dict[int, Control] = {control.number: control for control in CONTROLS}

# Names that once were settings. None comes back with another meaning (Knight, 1 August 2012).
# name -> what took its place, as a sentence. A test compares them with the history of this file.
TOMBSTONES: dict[str, str] = {}

Hours = tuple[tuple[int, int], ...]  # minutes of the day, from and before
Limit = Decimal | frozenset[str] | Hours | None  # None: no limit


def read_limit(setting: Setting, text: str) -> Limit:
    """Read a limit as it is written; raises ValueError in words for people."""
    text = text.strip()
    if text.lower() == OFF:
        return None
    if setting.kind == "names":
        return frozenset(part.strip() for part in text.split(",") if part.strip())
    if setting.kind == "hours":
        return tuple(_span(part.strip()) for part in text.split(","))
    if not text.replace(".", "", 1).isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 40:
        raise ValueError(f'is not a number of {setting.unit}, nor "{OFF}"')
    number = Decimal(text)
    if setting.kind == "whole" and number != number.to_integral_value():
        raise ValueError(f"is not a whole number of {setting.unit}")
    if setting.most is not None and number > setting.most:
        raise ValueError(f"is more than {plain(setting.most)} {setting.unit}")
    return number


def _span(text: str) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    minutes = [_minutes(part) for part in (start, end)]
    if not dash or minutes[0] >= minutes[1]:
        raise ValueError('is not of the form "08:00-18:00"')
    return minutes[0], minutes[1]


def _minutes(text: str) -> int:
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdigit() and minute.isdigit() and len(hour) == len(minute) == 2):
        raise ValueError('is not of the form "08:00-18:00"')
    if int(minute) > 59 or int(hour) * 60 + int(minute) > 24 * 60:
        raise ValueError("is not a time of day")
    return int(hour) * 60 + int(minute)


def no_looser(setting: Setting, new: Limit, old: Limit) -> bool:
    """Say whether nothing passes under the new limit that would not pass under the old one."""
    if old is None or new is None:
        return old is None
    if isinstance(new, Decimal) and isinstance(old, Decimal):
        return new >= old if setting.more_is_tighter else new <= old
    if isinstance(new, frozenset) and isinstance(old, frozenset):
        return new <= old
    assert isinstance(new, tuple) and isinstance(old, tuple)
    return all(any(low <= start and end <= high for low, high in old) for start, end in new)


def write_limit(limit: Limit) -> str:
    if limit is None:
        return OFF
    if isinstance(limit, Decimal):
        return plain(limit)
    if isinstance(limit, frozenset):
        return ",".join(sorted(limit))
    return ",".join(f"{a // 60:02d}:{a % 60:02d}-{b // 60:02d}:{b % 60:02d}" for a, b in limit)


# --- Which limits hold ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A limit that holds for an order, and what is counted against it."""

    setting: Setting
    limit: Limit  # not None
    key: Scope  # what is counted together
    source: str  # "default", or the scope as it was set


class Limits:
    """Every setting in force."""

    def __init__(self, rows: Iterable[RiskLimit] = ()):
        self.rows: dict[str, dict[Scope, RiskLimit]] = {}  # setting -> scope -> the row in force
        self._limits: dict[tuple[str, Scope], Limit] = {}
        self._rules: dict[Scope, dict[str, tuple[Rule, ...]]] = {}
        self._defaults = {setting.name: read_limit(setting, setting.default) for setting in SETTINGS}
        for row in rows:
            self.put(row)

    def put(self, row: RiskLimit) -> None:
        """Let a row take the place of the one of the same scope."""
        setting = SETTING.get(row.setting)
        if setting is None:
            return  # of a later version that was taken back
        scope = scope_of(row)
        self._rules.clear()
        if row.new == DEFAULT:
            self.rows.get(row.setting, {}).pop(scope, None)
            self._limits.pop((row.setting, scope), None)
        else:
            self.rows.setdefault(row.setting, {})[scope] = row
            self._limits[row.setting, scope] = read_limit(setting, row.new)

    def before(self, setting: Setting, scope: Scope) -> str:
        """Return how this very scope is set; "default" where it is not."""
        row = self.rows.get(setting.name, {}).get(scope)
        return DEFAULT if row is None else row.new

    def loosens(self, setting: Setting, scope: Scope, new: str) -> bool:
        """Say whether something could pass after a change that cannot pass now."""
        rows = self.rows.get(setting.name, {})
        default = self._defaults[setting.name]
        # Counted by itself: it takes the place of no default.
        beside = setting.counted and scope != EVERYWHERE and scope.named != frozenset(setting.per)
        wider = [self._limits[setting.name, s] for s in rows if s != scope and s.covers(scope)]
        if new == DEFAULT:
            if scope not in rows:
                return False
            mine = self._limits[setting.name, scope]
            if beside:  # it was counted by itself, and would be no more
                return mine is not None
            left = (wider if not setting.counted else []) or [default]
            return not any(no_looser(setting, one, mine) for one in left)
        limit = read_limit(setting, new)
        if scope in rows:
            return not no_looser(setting, limit, self._limits[setting.name, scope])
        if beside or (setting.counted and EVERYWHERE in rows):
            return False  # it is counted beside what holds already, and takes nobody's place
        held = (wider if not setting.counted else []) or [default]
        return not all(no_looser(setting, limit, one) for one in held)

    def rules(self, where: Scope) -> dict[str, tuple[Rule, ...]]:
        """Return setting -> the rules that hold for orders of exactly this place."""
        known = self._rules.get(where)
        if known is None:
            known = {s.name: tuple(self._rules_of(s, where)) for s in SETTINGS}
            self._rules[where] = known
        return known

    def _rules_of(self, setting: Setting, where: Scope) -> Iterator[Rule]:
        group = Scope(**{name: getattr(where, name) for name in setting.per})
        by_default = True
        for scope in self.rows.get(setting.name, {}):
            if not scope.covers(where):
                continue
            limit = self._limits[setting.name, scope]
            replaces = not setting.counted or scope == EVERYWHERE or scope.named == frozenset(setting.per)
            by_default = by_default and not replaces
            if limit is not None:
                key = group if scope == EVERYWHERE else scope
                yield Rule(setting=setting, limit=limit, key=key, source=scope.words)
        limit = self._defaults[setting.name]
        if by_default and limit is not None:
            yield Rule(setting=setting, limit=limit, key=group, source=DEFAULT)


def scope_of(row: RiskLimit) -> Scope:
    return Scope(row.user, row.bot, row.exchange, row.account, row.symbol)
