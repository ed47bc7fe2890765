"""The counting of rate limits, without any waiting: shaped as exchanges shape them, with `now` given.

    Shape    a counter that falls steadily: token buckets with a burst, counters that decay
    Window   so many in any stretch of time, or in each minute or second of the venue's clock
    Places   so many under way at once; a limit of our own, where what arrives must arrive in order

One rule keeps every limit at every phase and every delay: what is drawn is *in flight* until its answer is
here, and only then begins to fade. A venue counts a request before it answers it, so what we hold against us
is never less than what the venue does, however long a request was under way.

A bucket belongs to an account, or to the address that all accounts of this process share. A bucket named
`engine:BTC/USD` takes the shape named `engine`. Times are seconds of one steady clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Priority(IntEnum):
    """Whoever shares a bucket with others is let through in this order."""

    CANCEL = 0
    TAKE = 1  # an order that does not rest: its price is old soonest, and it may be somebody's way out
    CREATE = 2
    QUERY = 3
    BOOK = 4
    HISTORY = 5  # what was, for people: half of what questions may use is left to them


class Scope(StrEnum):
    """Who is counted together."""

    IP = "ip"  # every account of this exchange in this process
    ACCOUNT = "account"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A counter with room for `capacity` at once, of which `per_s` comes back each second."""

    name: str
    capacity: float
    per_s: float
    reserve: float = 0.0  # only cancels may draw below this
    reserve_orders: float = 0.0  # so much above it is for orders; questions wait
    cancels_wait: bool = True  # False: the venue counts cancels but never refuses one
    scope: Scope = Scope.ACCOUNT


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A limit for stretches of `window_s`.

    `aligned`: the venue says that its windows begin at whole multiples of their length by its own clock, so
    a new one is empty; else they may begin at any moment, and every stretch must do. `spread`: what went at
    once comes back over so much of a window, so that it does not go at once again and again, each time with a
    whole window to wait for a cancel behind it.
    """

    name: str
    capacity: float
    window_s: float
    aligned: bool = False
    spread: float = 0.0
    reserve: float = 0.0
    reserve_orders: float = 0.0
    cancels_wait: bool = True
    scope: Scope = Scope.ACCOUNT


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """So many under way at once. One without an answer gives its place back after `hold_s`."""

    name: str
    capacity: float
    hold_s: float
    reserve: float = 0.0
    reserve_orders: float = 0.0
    cancels_wait: bool = True
    scope: Scope = Scope.ACCOUNT


Limit = Shape | Window | Places
Key = tuple[str, str]  # (account, or "" for the address; name of the bucket)

# Clocks that are said to be steady differ by a little; a counter in use for hours must not drift past.
FADES = 0.999
# How far the clocks of one exchange's machines may lie apart, beyond what we could measure.
CLOCKS_APART_S = 0.25
# No answer comes later than this after its question.
LATEST_ANSWER_S = 30.0


@dataclass(slots=True)
class VenueClock:
    """The venue's wall clock minus our steady one, and how far that may be wrong; None: not known yet."""

    ahead_s: float | None = None
    doubt_s: float = 0.0


class _Counter:
    """How full a `Shape` is."""

    __slots__ = ("_at", "_in_flight", "_shape", "_value")

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._value = 0.0
        self._at = -math.inf
        self._in_flight = 0.0

    def free(self, now: float) -> float:
        return self._shape.capacity - self._in_flight - self._faded(now)

    def free_since(self, since: float, now: float) -> float:
        return self.free(now) - max(0.0, now - since) * self._shape.per_s

    def kept(self, reserve: float) -> float:
        return reserve

    def wait_s(self, needed: float, now: float) -> float:
        missing = needed - self.free(now)
        return missing / (self._shape.per_s * FADES) if missing > 0 else 0.0

    def take(self, cost: float, now: float, cancels: bool) -> None:
        self._in_flight += cost

    def land(self, cost: float, now: float, cancels: bool) -> None:
        self._in_flight -= cost
        self.count(cost, now)

    def give_back(self, cost: float, now: float, cancels: bool) -> None:
        self._in_flight -= cost

    def count(self, cost: float, now: float) -> None:
        self._value = self._faded(now) + cost
        self._at = max(now, self._at)

    def fill(self, now: float, for_s: float | None) -> None:
        self.count(max(0.0, self.free(now)), now)

    def _faded(self, now: float) -> float:
        if self._value <= 0:
            return 0.0
        return max(0.0, self._value - max(0.0, now - self._at) * self._shape.per_s * FADES)


class _Log:
    """What a `Window` still holds: when each part of it is free again."""

    __slots__ = ("_by_cancels", "_clock", "_gone", "_held", "_in_flight", "_parts", "_window")

    def __init__(self, window: Window, clock: VenueClock) -> None:
        self._window = window
        self._clock = clock
        # (free again at, cost, of it by cancels), in order of time
        self._parts: deque[tuple[float, float, float]] = deque()
        self._gone: deque[tuple[float, float, float]] = deque()  # the same, of those that were free of late
        self._held = 0.0
        self._in_flight = 0.0
        self._by_cancels = 0.0  # of both

    def free(self, now: float) -> float:
        while self._parts and self._parts[0][0] <= now:
            self._gone.append(self._parts.popleft())
            self._held -= self._gone[-1][1]
            self._by_cancels -= self._gone[-1][2]
        while self._gone and self._gone[0][0] <= now - LATEST_ANSWER_S:
            self._gone.popleft()
        if not self._parts:
            self._held = 0.0
        return self._window.capacity - self._in_flight - self._held

    def free_since(self, since: float, now: float) -> float:
        return self.free(now) - sum(cost for at, cost, _ in self._gone if at > since)

    def wait_s(self, needed: float, now: float) -> float:
        missing = needed - self.free(now)
        if missing <= 0:
            return 0.0
        for free_at, cost, _ in self._parts:
            missing -= cost
            if missing <= 0:
                return free_at - now
        return self._over(now) - now  # what is in flight is not even answered

    def kept(self, reserve: float) -> float:
        """Return what is still to be kept for cancels: what they have used is theirs already."""
        return max(0.0, reserve - self._by_cancels)

    def take(self, cost: float, now: float, cancels: bool) -> None:
        self._in_flight += cost
        self._by_cancels += cost if cancels else 0.0

    def land(self, cost: float, now: float, cancels: bool) -> None:
        self._in_flight -= cost
        self._hold(cost, self._spread(cost, self._over(now)), cost if cancels else 0.0)

    def give_back(self, cost: float, now: float, cancels: bool) -> None:
        self._in_flight -= cost
        self._by_cancels -= cost if cancels else 0.0

    def count(self, cost: float, now: float) -> None:
        self._hold(cost, self._over(now), 0.0)

    def fill(self, now: float, for_s: float | None) -> None:
        self._hold(max(0.0, self.free(now)), self._over(now) if for_s is None else now + for_s, 0.0)

    def _spread(self, cost: float, until: float) -> float:
        if not self._window.spread or not self._parts:
            return until
        gap = self._window.spread * self._window.window_s * cost / self._window.capacity
        return max(until, self._parts[-1][0] + gap)

    def _hold(self, cost: float, until: float, by_cancels: float) -> None:
        if cost <= 0:
            return
        self._held += cost
        if self._parts and self._parts[-1][0] >= until:
            until, before, theirs = self._parts.pop()
            cost, by_cancels = cost + before, by_cancels + theirs
        self._parts.append((until, cost, by_cancels))

    def _over(self, now: float) -> float:
        """Return from when on a request cannot share a window with what was counted by now."""
        length = self._window.window_s
        ahead = self._clock.ahead_s
        rolled = now + length / FADES
        if not self._window.aligned or ahead is None:
            return rolled
        doubt = self._clock.doubt_s + CLOCKS_APART_S
        latest = now + ahead + doubt  # by the venue's clock
        next_one = (math.floor(latest / length) + 1) * length
        return min(rolled, next_one - ahead + doubt)


class _Held:
    """Who holds the places of `Places`."""

    __slots__ = ("_hung", "_places", "_until")

    def __init__(self, places: Places) -> None:
        self._places = places
        self._until: deque[float] = deque()
        self._hung = 0  # gave their places back before they were answered

    def free(self, now: float) -> float:
        while self._until and self._until[0] <= now:
            self._until.popleft()
            self._hung += 1
        return self._places.capacity - len(self._until)

    def free_since(self, since: float, now: float) -> float:
        return self.free(now)

    def kept(self, reserve: float) -> float:
        return reserve

    def wait_s(self, needed: float, now: float) -> float:
        return 0.0 if needed <= self.free(now) else self._until[0] - now

    def take(self, cost: float, now: float, cancels: bool) -> None:
        self._until.append(now + self._places.hold_s)

    def land(self, cost: float, now: float, cancels: bool) -> None:
        self.free(now)
        if self._hung:  # whose answer it is nobody knows; the other place is free soon anyway
            self._hung -= 1
        elif self._until:
            self._until.popleft()

    def give_back(self, cost: float, now: float, cancels: bool) -> None:
        self.land(cost, now, cancels)

    def count(self, cost: float, now: float) -> None:
        """Nothing: what was not asked for holds no place."""

    def fill(self, now: float, for_s: float | None) -> None:
        """Nothing: no venue speaks of these places."""


_State = _Counter | _Log | _Held


class Buckets:
    """All buckets of one exchange, of every account this process has there."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        self._limits = {limit.name: limit for limit in limits}
        self._states: dict[Key, _State] = {}
        self._paused: dict[str, tuple[float, str]] = {}  # account, or "" for all -> (until, why)
        self.clock = VenueClock()

    def keys(self, account: str, costs: Mapping[str, float]) -> dict[Key, float]:
        """Say which buckets these costs are drawn from; a venue without such a limit has none."""
        found: dict[Key, float] = {}
        for name, cost in costs.items():
            limit = self._limit(name)
            if limit is not None and cost > 0:
                found["" if limit.scope is Scope.IP else account, name] = cost
        return found

    def wait_s(
        self,
        account: str,
        costs: Mapping[Key, float],
        priority: Priority,
        now: float,
        spoken_for: Mapping[Key, float] | None = None,
    ) -> float:
        """Return how long these costs would have to wait if nobody else drew; 0 means now.

        `spoken_for` is what others, who wait for something else, will need of a bucket.
        """
        wait = self.paused_s(account, now)
        for key in costs:
            wait = max(wait, self.wait_at(key, costs[key], priority, now, spoken_for))
        return wait

    def wait_at(
        self,
        key: Key,
        cost: float,
        priority: Priority,
        now: float,
        spoken_for: Mapping[Key, float] | None = None,
    ) -> float:
        """Return how long one bucket keeps this cost waiting."""
        limit = self._limits[key[1].partition(":")[0]]
        state = self._state(key)
        state.free(now)  # so that what is over is over
        if priority is Priority.CANCEL:
            if not limit.cancels_wait:
                return 0.0
            floor = 0.0
        else:
            floor = state.kept(limit.reserve)
            if priority not in (Priority.TAKE, Priority.CREATE):
                floor += limit.reserve_orders
            if priority is Priority.HISTORY:
                floor = (floor + limit.capacity) / 2
        needed = cost + floor + (spoken_for or {}).get(key, 0.0)
        # A cost larger than the bucket could never be paid; let it go when the bucket is full.
        return state.wait_s(min(needed, limit.capacity), now)

    def take(self, costs: Mapping[Key, float], now: float, priority: Priority = Priority.CREATE) -> None:
        """Draw; the answer is to be told to `landed`, or that nothing was sent to `give_back`."""
        for key, cost in costs.items():
            self._state(key).take(cost, now, priority is Priority.CANCEL)

    def landed(self, costs: Mapping[Key, float], now: float, priority: Priority = Priority.CREATE) -> None:
        """Say that the answer is here, or will not come: from now on these costs fade."""
        for key, cost in costs.items():
            self._state(key).land(cost, now, priority is Priority.CANCEL)

    def give_back(self, costs: Mapping[Key, float], now: float, priority: Priority = Priority.CREATE) -> None:
        """Take back what was drawn for something that certainly was not sent."""
        for key, cost in costs.items():
            self._state(key).give_back(cost, now, priority is Priority.CANCEL)

    def count(self, costs: Mapping[Key, float], now: float) -> None:
        """Count what went out without asking for its turn."""
        for key, cost in costs.items():
            self._state(key).count(cost, now)

    def left(self, key: Key, left: float, now: float, asked_at: float) -> None:
        """Believe the venue's own count where less is left than we think.

        It was made between asking and now; what we held at any time since then is no news.
        """
        state = self._state(key)
        state.count(max(0.0, state.free_since(asked_at, now) - max(0.0, left)), now)

    def used(self, key: Key, used: float, now: float, asked_at: float) -> None:
        """Believe the venue's own count where it is higher than ours: see `left`."""
        self.left(key, self._limits[key[1].partition(":")[0]].capacity - used, now, asked_at)

    def fill(self, key: Key, now: float, for_s: float | None = None) -> None:
        """Take nothing more from a bucket, for so long where that is known: the venue says it is full."""
        self._state(key).fill(now, for_s)

    def pause(self, account: str, seconds: float, why: str, now: float) -> None:
        """Send nothing at all for so long; the venue asked for it, and asking on makes it longer.

        `account` "" is every account behind this address.
        """
        until = now + seconds
        if until > self._paused.get(account, (0.0, ""))[0]:
            self._paused[account] = (until, why)

    def paused_s(self, account: str, now: float) -> float:
        return max(0.0, max(self._paused.get(who, (0.0, ""))[0] for who in ("", account)) - now)

    def why_paused(self, account: str, now: float) -> str:
        """Return what the venue said when it asked for the pause that lasts longest."""
        until, why = max(self._paused.get(who, (0.0, "")) for who in ("", account))
        return why if until > now else ""

    def capacity(self, name: str) -> float | None:
        limit = self._limit(name)
        return None if limit is None else limit.capacity

    def is_of(self, key: Key, scope: Scope) -> bool:
        return self._limits[key[1].partition(":")[0]].scope is scope

    def _limit(self, name: str) -> Limit | None:
        return self._limits.get(name.partition(":")[0])

    def _state(self, key: Key) -> _State:
        state = self._states.get(key)
        if state is None:
            limit = self._limit(key[1])
            assert limit is not None
            match limit:
                case Shape():
                    state = _Counter(limit)
                case Window():
                    state = _Log(limit, self.clock)
                case Places():
                    state = _Held(limit)
            self._states[key] = state
        return state
