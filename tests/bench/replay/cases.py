"""Which recordings, sizes and settings are measured, and one case measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from ems.algos.params import PROFILES, Params
from ems.algos.walker import decide
from ems.core.instrument import Market
from tests.bench.replay.baselines import BASELINES
from tests.bench.replay.feed import SECOND, TRADE, Recording
from tests.bench.replay.play import Play
from tests.bench.replay.trader import GRACE, Machine, Outcome, Task, Trader

SPACING_S = 5.0  # starts lie no closer
WARM_UP_S = 300.0
WARM_UP_SHARE = 0.2  # of a short recording, at most
OTHER_MODELS_EVERY = 3  # conclusions hold under the first model; the others need no such precision
TAKERS = frozenset({"market", "twap"})  # never rest: the queue model does not matter to them

Fees = tuple[float, float]  # maker, taker; bp


@dataclass(frozen=True, slots=True)
class Case:
    """So much of one market in so much time."""

    name: str
    prefix: str  # of the recording's name
    value: int  # in the quote currency
    seconds: float
    large: bool = False  # only measured when asked for by name or in full
    thin: bool = False


CASES = (
    Case("btc 100k", "binance-spot_BTCUSDT", 100_000, 60),
    Case("eth 100k", "binance-spot_ETHUSDT", 100_000, 60),
    Case("btc-perp 100k", "binance-usdm_BTCUSDT", 100_000, 60),
    Case("bitstamp-btc 100k", "bitstamp_BTCUSD", 100_000, 60),
    Case("gemini-eth 20k", "gemini_ETHUSD", 20_000, 60),
    Case("nexo 1k", "binance-spot_NEXOUSDT", 1_000, 60, thin=True),
    Case("nexo 5k", "binance-spot_NEXOUSDT", 5_000, 600, thin=True),
    Case("btc 1m", "binance-spot_BTCUSDT", 1_000_000, 60, large=True),
    Case("eth 1m", "binance-spot_ETHUSDT", 1_000_000, 60, large=True),
    Case("btc-perp 1m", "binance-usdm_BTCUSDT", 1_000_000, 60, large=True),
)
LIQUID = 50_000  # traded in a minute, in the quote currency: a market without a case of its own gets 100k
THIN = (
    (1.4, 60),
    (0.7, 600),
)  # a thinner one: so much of a minute's volume for each minute of so many seconds
MAJORS = ("btc 100k", "eth 100k", "btc-perp 100k")  # EXECUTION.md 9.4 speaks of their mean


@dataclass(frozen=True, slots=True)
class Settings:
    """How a case is measured."""

    algos: tuple[str, ...]
    models: tuple[str, ...]
    latencies: tuple[int, ...]
    fees: tuple[Fees, ...]
    starts: int
    refill_s: float = 5.0
    seed: int = 1
    overrides: dict[str, Params] = field(default_factory=dict)  # name -> a profile to try


@dataclass(frozen=True, slots=True)
class Key:
    """One setting of one algorithm."""

    algo: str
    fees: Fees
    model: str
    latency: int


def cases_of(recording: Recording) -> list[Case]:
    """Return what is measured on a recording; a market that is not in `CASES` gets sizes by its volume, thin
    ones as much of it as NEXO does."""
    own = [case for case in CASES if recording.name.startswith(case.prefix)]
    if own:
        return own
    worth = first_price(recording) * float(recording.tick * recording.lot)
    per_minute = recording.lots_per_minute * worth
    market = "-".join(recording.name.split("_")[:2]).lower()
    if per_minute >= LIQUID:
        return [Case(f"{market} 100k", recording.name, 100_000, 60)]
    return [
        Case(
            f"{market} {share:.0%} of volume", recording.name, int(share * per_minute * s / 60), s, thin=True
        )
        for share, s in THIN
    ]


def market_of(recording: Recording, fees: Fees) -> Market:
    base, quote = recording.symbol.split("/")
    return Market(
        exchange=recording.venue.split("-")[0],
        symbol=recording.symbol,
        base=base,
        quote=quote,
        tick=recording.tick,
        lot=recording.lot,
        min_quantity=recording.min_quantity,
        max_quantity=None,
        min_notional=recording.min_notional,
        maker_fee=Decimal(str(fees[0])) / 10_000,
        taker_fee=Decimal(str(fees[1])) / 10_000,
        fee_mode="quote" if recording.venue.endswith("usdm") else "received",
    )


def first_price(recording: Recording) -> int:
    return next(int(event[2]) for event in recording.events if event[1] == TRADE)


def lots_of(case: Case, recording: Recording) -> int:
    return int(Decimal(case.value) / (first_price(recording) * recording.tick * recording.lot))


def dust_lots(recording: Recording) -> int:
    """Return what is too little to trade at this venue, in lots."""
    price = first_price(recording) * recording.tick
    by_notional = Decimal("1.05") * recording.min_notional / price
    return int(max(by_notional, recording.min_quantity) / recording.lot) + 1


def warm_up_s(recording: Recording) -> float:
    return min(WARM_UP_S, WARM_UP_SHARE * (recording.ends - recording.begins) / SECOND)


def starts_of(case: Case, recording: Recording, count: int) -> list[int]:
    """Spread the starts evenly over what is recorded, after the warm-up and with room for T and the grace."""
    first = recording.begins + int(warm_up_s(recording) * SECOND)
    last = recording.ends - int(case.seconds * SECOND) - GRACE - SECOND
    if last <= first:
        return []
    count = max(1, min(count, int((last - first) / (SPACING_S * SECOND)) + 1))
    step = (last - first) / max(count - 1, 1)
    return [first + int(number * step) for number in range(count)]


def run(
    case: Case, recording: Recording, settings: Settings, tell: Callable[[float], None] | None = None
) -> dict[Key, list[Outcome]]:
    """Measure one case: every setting from every start, in one pass over the recording.

    A setting that cannot matter to an algorithm is not run again: its outcomes appear under each key.
    """
    play = Play(recording, warm_up_s=warm_up_s(recording), seed=settings.seed)
    lots = lots_of(case, recording)
    starts = starts_of(case, recording, settings.starts)
    exact = recording.detail == "orders"
    traders: dict[Key, list[Trader]] = {}
    for latency in settings.latencies:
        play.feed(latency)
    for key in keys(settings):
        same = _same(key, settings, exact)
        if same in traders:
            traders[key] = traders[same]
            continue
        traders[key] = []
        every = 1 if key.model == settings.models[0] else OTHER_MODELS_EVERY
        for number, starts_at in list(enumerate(starts))[::every]:
            for is_buy in (True, False):
                task = Task(
                    starts_at=starts_at,
                    seconds=case.seconds,
                    is_buy=is_buy,
                    lots=lots,
                    market=market_of(recording, key.fees),
                    model=key.model,
                    latency_ms=key.latency,
                    refill_s=settings.refill_s,
                    seed=settings.seed * 1_000_003 + 2 * number + is_buy,
                )
                trader = _trader(play, task, key.algo, settings)
                play.add(trader)
                traders[key].append(trader)
    play.run(tell)
    return {
        key: [trader.outcome for trader in group if trader.outcome is not None]
        for key, group in traders.items()
    }


def keys(settings: Settings) -> Iterable[Key]:
    for algo in settings.algos:
        for latency in settings.latencies:
            for model in settings.models:
                for fees in settings.fees:
                    yield Key(algo, fees, model, latency)


def _same(key: Key, settings: Settings, exact: bool) -> Key:
    """Return the setting with the same outcomes that is run for this one."""
    fees, model = key.fees, key.model
    if key.algo in BASELINES or key.algo == "classic":
        fees = settings.fees[0]
    if key.algo in TAKERS or exact:
        model = settings.models[0]
    return Key(key.algo, fees, model, key.latency)


def _trader(play: Play, task: Task, algo: str, settings: Settings) -> Trader:
    if algo in BASELINES:
        return BASELINES[algo](play, task)
    params = settings.overrides.get(algo) or PROFILES[profile_of(algo)]
    return Machine(play, task, decide=decide, params=params)


def profile_of(algo: str) -> str:
    """Return whose profile an algorithm of the command is: `twap` is the baseline, `twap-profile` ours."""
    return algo.removesuffix("-profile")
