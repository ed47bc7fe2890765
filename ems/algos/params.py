"""The numbers that make one machine into many algorithms (EXECUTION.md 4 and 6).

Rules:
1. An algorithm is a row of `PROFILES`, nothing else: `walker.decide` never asks for a name.
2. What a caller may change of it is listed in `USER_PARAMETERS`; `with_overrides` refuses everything else and
   says what would have been understood. The manual and the API description are made from the same table.
3. Numbers that end up in a price or a quantity are Decimal; the rest are floats for estimates and times.

Where the numbers of `adaptive` come from: those of EXECUTION.md 4.2 stand, but for what the replay benchmark
(`./oms bench walker`) showed on recorded BTC, ETH, Bitstamp and Gemini markets; NEXO was kept apart.
- `urgency` 1.5 for 2, `deep`, `band` 0.15 for 0.2: means level out, and a deep market rewards waiting for the
  touch to lean (0.2 to 0.4 bp a take) more than being early.
- `calm`, `child_calm`: where taking all at once costs less than resting gains, the schedule gives way and
  nearly all of it rests; where it costs more, nothing rests and slots are worked instead.
- `shy`: fills while the touch leans towards us lose some 0.3 bp more, at 100 and at 300 ms of latency.
- `costly`, `worth`, `gate`: a slot larger than what is shown within `gate` waits at the price of the other
  side instead of going deeper; where depth is dear, twice as many slots cost 0.2 to 0.3 bp less.
- `widening`: what is left at the end is not nibbled at 5 bp deep while crumbs refill in front of real depth.
- `book_age_s` 5 for 2: a quiet market's stream says nothing for seconds, and 5 is where the feed asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple

from ems.core.fitness import BOOK_AGE_S

BP = Decimal("0.0001")

# What the time of a leg is for.
Plan = Literal[
    "tries",  # rest ever closer to the touch, then take (4.1)
    "curve",  # follow a remaining quantity planned for every moment (4.2)
    "slots",  # so much in each of several slots of time
    "share",  # so much of what the market trades
    "open",  # no schedule
    "now",  # all of it at once
]

# How resting orders are used.
Rest = Literal[
    "rule",  # where the make or take rule says that resting pays (4.2, 3)
    "always",
    "never",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """One algorithm. Shares are of 1, times in seconds, bps in 1e-4 of the price unless a name says share."""

    name: str
    meaning: str = ""  # one line for people
    plan: Plan = "curve"
    rest: Rest = "rule"

    # The clock.
    step_s: float = 0.25  # dt: decide at least this often
    take_gap_s: float = 1.0  # between two takes
    max_requests_per_s: int = 2  # places and cancels of one parent
    book_age_s: float = BOOK_AGE_S  # a quiet market's book is asked for again every 2 s
    patience_s: float = 60.0  # beyond the end without a usable book
    limit_patience_s: float = 5.0  # beyond the end without a price within the limit
    max_takes: int = 30  # that must fill at the end, then the book is called too thin

    # Takes.
    take_through: Decimal = 5 * BP  # a take's limit lies this far beyond the touch
    widening: Decimal = Decimal(2)  # at the end, each take in vain makes the next go so much further ...
    widest: Decimal = 150 * BP  # ... up to here, and never beyond the limit
    urgency: float = 1.5  # kappa: how much earlier than evenly the quantity is planned; 0 evenly
    deep: float = 0.7  # share of the urgency where the market is deep: time to wait for the book to lean
    band: float = 0.15  # of the whole: twice this far behind, the lag is taken whatever the book says
    tail: float = 0.1  # share of the time at the end in which what is left is taken
    tail_slices: int = 3
    slots: int = 12  # of time, in take mode and for plans in slots
    costly: float = 2.0  # bp that the whole would cost at once: above, slots are half as long ...
    worth: float = 1.0  # ... unless resting saves so many bp of fees
    jitter: float = 0.0  # share by which size and time of a slot vary
    early_imbalance: float = 0.7  # theta: in take mode a slot is taken early when the touch leans this much
    gate: Decimal = 1 * BP  # in take mode no deeper into the book than this; what is left is carried over
    risk: float | None = None  # lambda, per bp: set, `urgency` follows from it and the market (6: IS)
    urgency_min: float = 0.5
    urgency_max: float = 6.0

    # Resting orders.
    post_only: bool = True
    child: float = 0.35  # share of what is left that one resting order may be
    improve: bool = True  # one tick ahead of the touch where the spread has room
    offset_ticks: int = 0  # behind the touch
    display: Decimal | None = None  # shown at a time, as a share of the whole: an iceberg
    display_jitter: float = 0.2
    requotes: int = 3  # post-only refusals answered one tick further back each
    calm: float = 1.0  # rests only while taking the whole at once costs less than this share of the gain
    child_calm: float = 0.95  # `child` where nothing would be lost by waiting
    tolerance: float = 0.25  # sigmas of a second by which it may be outbid before it moves
    shy: float = 0.0  # rests while the touch leans at least so far against us (4.2, 5) ...
    shy_slack: float = 0.3  # ... or so much less, once it stands there ...
    shy_fills: float = 3.0  # ... until the time left is that of so many shadows to fill
    reach: Decimal = 50 * BP  # a limit further than this behind our touch is waited for, not rested at
    hysteresis: float = 0.3  # bp by which taking must beat a resting order that is already out
    alpha: float = 0.3  # predicted move over 5 s as a share of sigma_5s at a touch leaning wholly one way

    # Tries.
    tries: int = 6  # K
    resting: float = 0.9  # share of the time for all tries together: 0.15 each of six
    first_offset: Decimal = 5 * BP  # delta_0; the last try rests at the touch

    # Shares of the market.
    participation: Decimal = Decimal("0.1")  # rho
    participation_low: float = 0.5  # of rho: below, what is missing is taken at once
    participation_high: float = 1.5  # of rho: above, nothing rests
    curve: tuple[float, ...] = ()  # volume expected in equal parts of the time; empty: flat
    volume_weight: float = 0.25  # how much of the whole volume the expectation is worth against what is seen

    # Opportunities.
    cost_bps: Decimal | None = None  # take what costs no more than this against the mid


class Parameter(NamedTuple):
    """One number that a caller may set."""

    type: str  # "number" | "integer" | "numbers" (separated by commas)
    default: str
    range: tuple[Decimal, Decimal]
    meaning: str


class _Field(NamedTuple):
    """Where a caller's parameter goes."""

    field: str
    type: str
    low: str
    high: str
    meaning: str


# What callers may set -> the field of Params, its type and range, and one line for people. A caller speaks of
# bps; what is a share inside is converted by `_stored`.
_FIELDS: Mapping[str, _Field] = {
    "urgency": _Field(
        "urgency",
        "number",
        "0",
        "10",
        "how early the work is done: 0 evenly, 0.5 passive, 1.5 normal, 5 urgent",
    ),
    "child_share": _Field(
        "child", "number", "0.01", "1", "share of what is left that one resting order may be"
    ),
    "take_through_bps": _Field(
        "take_through", "number", "0", "100", "how far through the touch the limit of a take lies"
    ),
    "slots": _Field("slots", "integer", "1", "1000", "number of parts the time is cut into"),
    "jitter": _Field("jitter", "number", "0", "0.5", "share by which size and time of a part vary"),
    "tries": _Field("tries", "integer", "1", "50", "resting orders, one after another, before it takes"),
    "first_offset_bps": _Field(
        "first_offset", "number", "0", "200", "how far behind the touch the first try rests"
    ),
    "participation": _Field(
        "participation", "number", "0.001", "0.5", "share of what the market trades that is ours"
    ),
    "curve": _Field("curve", "numbers", "0", "1e12", "volume expected in equal parts of the time"),
    "display": _Field("display", "number", "0.005", "1", "share of the whole that is shown at a time"),
    "offset_ticks": _Field("offset_ticks", "integer", "0", "1000", "price steps behind the touch"),
    "cost_bps": _Field(
        "cost_bps", "number", "0", "500", "takes whatever costs no more than this against the mid price"
    ),
    "risk": _Field("risk", "number", "0.0001", "10", "aversion to waiting, per bp of variance"),
    "take_gap_s": _Field("take_gap_s", "number", "0.2", "3600", "seconds between two takes"),
}

_BPS = frozenset({"take_through", "first_offset"})  # fields that hold a share and are asked for in bp

PROFILES: Mapping[str, Params] = {
    row.name: row
    for row in (
        Params(
            name="adaptive",
            meaning="follows a schedule, rests where the fees and the book make resting pay, takes otherwise",
        ),
        Params(
            name="classic",
            meaning="six tries ever closer to the touch, then takes what is left",
            plan="tries",
            rest="always",
            improve=False,
            max_requests_per_s=10,
            widening=Decimal(1),
        ),
        Params(
            name="market",
            meaning="takes all of it at once, in rounds 5 bp deep",
            plan="now",
            rest="never",
            take_gap_s=0.5,
            widening=Decimal(1),
        ),
        Params(
            name="twap",
            meaning="equal parts over the time, a little shuffled; each rests for its part if that pays",
            plan="slots",
            step_s=1.0,
            jitter=0.2,
            tail=0.03,
            tail_slices=1,
        ),
        Params(
            name="vwap",
            meaning="follows the volume expected over the time, corrected by the volume seen",
            plan="slots",
            step_s=1.0,
            jitter=0.2,
            tail=0.03,
            tail_slices=1,
            curve=(1.0,),
        ),
        Params(
            name="pov",
            meaning="a fixed share of what the market trades, for as long as it takes",
            plan="share",
            step_s=1.0,
            tail=0.0,
            tail_slices=1,
        ),
        Params(
            name="is",
            meaning="as adaptive, as early as the risk of waiting and the cost of depth say",
            risk=0.02,
        ),
        Params(
            name="iceberg",
            meaning="rests at the touch and shows only a part at a time",
            plan="open",
            step_s=1.0,
            rest="always",
            tail=0.0,
            tail_slices=1,
            display=Decimal("0.1"),
            improve=False,
        ),
        Params(
            name="sniper",
            meaning="shows nothing, and takes what is offered within the limit or cheap enough",
            plan="open",
            step_s=1.0,
            rest="never",
            tail=0.0,
            tail_slices=1,
        ),
        Params(
            name="pegged",
            meaning="rests at the touch, or some steps behind it, and follows it",
            plan="open",
            step_s=1.0,
            rest="always",
            tail=0.0,
            tail_slices=1,
            child=1.0,
            improve=False,
        ),
        Params(
            name="chase",
            meaning="six tries at the touch, then takes what is left",
            plan="tries",
            rest="always",
            first_offset=Decimal(0),
            max_requests_per_s=10,
            improve=False,
            widening=Decimal(1),
        ),
    )
}

ALGOS: tuple[str, ...] = tuple(PROFILES)
ALIASES: Mapping[str, str] = {"now": "market", "walker": "adaptive"}  # other words for the same

_MAY_SET: Mapping[str, tuple[str, ...]] = {  # algorithm -> what its callers may set
    "adaptive": ("urgency", "child_share", "take_through_bps", "take_gap_s"),
    "classic": ("tries", "first_offset_bps", "take_through_bps", "take_gap_s"),
    "market": ("take_through_bps", "take_gap_s"),
    "twap": ("slots", "jitter", "take_through_bps", "take_gap_s"),
    "vwap": ("slots", "jitter", "curve", "take_through_bps", "take_gap_s"),
    "pov": ("participation", "take_through_bps", "take_gap_s"),
    "is": ("risk", "child_share", "take_through_bps", "take_gap_s"),
    "iceberg": ("display", "offset_ticks", "take_through_bps", "take_gap_s"),
    "sniper": ("cost_bps", "take_through_bps", "take_gap_s"),
    "pegged": ("offset_ticks", "child_share", "take_through_bps", "take_gap_s"),
    "chase": ("tries", "take_through_bps", "take_gap_s"),
}


def _shown(params: Params, asked: str) -> str:
    """Return a profile's own value as a caller would write it."""
    where = _FIELDS[asked].field
    value = getattr(params, where)
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" for part in value)
    return f"{(value / BP if where in _BPS else value):f}" if isinstance(value, Decimal) else f"{value:g}"


USER_PARAMETERS: Mapping[str, Mapping[str, Parameter]] = {  # algorithm -> parameter -> what it is
    algo: {
        asked: Parameter(
            type=_FIELDS[asked].type,
            default=_shown(PROFILES[algo], asked),
            range=(Decimal(_FIELDS[asked].low), Decimal(_FIELDS[asked].high)),
            meaning=_FIELDS[asked].meaning,
        )
        for asked in allowed
    }
    for algo, allowed in _MAY_SET.items()
}

MAX_CURVE = 2016  # a week of five minutes


def with_overrides(name: str, given: Mapping[str, object]) -> Params:
    """Return an algorithm with the numbers a caller gave; raise ValueError saying which is wrong and why.

    Values may be text, int or Decimal; a float is refused, as everywhere in this house.
    """
    algo = ALIASES.get(name, name)
    if algo not in PROFILES:
        raise ValueError(f"there is no algorithm {name!r}; give one of {', '.join(ALGOS)}")
    allowed = USER_PARAMETERS[algo]
    changed: dict[str, object] = {}
    for asked, value in given.items():
        if asked not in allowed:
            raise ValueError(f"{algo} has no parameter {asked!r}; it takes {', '.join(allowed)}")
        changed[_FIELDS[asked].field] = _stored(asked, value)
    return replace(PROFILES[algo], **changed)  # type: ignore[arg-type]


def _stored(asked: str, value: object) -> object:
    row = _FIELDS[asked]
    if row.type == "numbers":
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)) or not 0 < len(parts) <= MAX_CURVE:
            raise ValueError(f"{asked} must be 1 to {MAX_CURVE} numbers separated by commas, such as 3,1,2")
        bins = tuple(float(_number(asked, part)) for part in parts)
        if not any(bins):
            raise ValueError(f"{asked} must have at least one number above 0, such as 3,1,2")
        return bins
    number = _number(asked, value)
    if row.type == "integer":
        if number != number.to_integral_value():
            raise ValueError(f"{asked} must be a whole number from {row.low} to {row.high}; give no fraction")
        return int(number)
    if row.field in _BPS:
        return number * BP
    return number if row.field in ("participation", "display", "cost_bps") else float(number)


def _number(asked: str, value: object) -> Decimal:
    row = _FIELDS[asked]
    try:
        if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
            raise InvalidOperation
        number = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        raise ValueError(
            f"{asked} must be a number from {row.low} to {row.high}, written as text such as {row.high!r}"
        ) from None
    if not (number.is_finite() and Decimal(row.low) <= number <= Decimal(row.high)):
        raise ValueError(f"{asked} must lie between {row.low} and {row.high}; {number} does not")
    return number


def describe() -> str:
    """Return one line for each algorithm and each number its callers may set, for the manual."""
    lines = []
    for algo, params in PROFILES.items():
        lines.append(f"{algo}: {params.meaning}.")
        for asked, row in USER_PARAMETERS[algo].items():
            low, high = row.range
            shown = row.default or "none"
            lines.append(f"  {asked} ({row.type}, {low:f} to {high:f}, {shown}): {row.meaning}.")
    return "\n".join(lines)
