"""What can go wrong between a caller and an exchange, chosen by rules and a seeded generator.

A rule names what it strikes (`kinds`: request kinds or stream names of `simulator.dialects.dialect`, or `*`),
what happens (`action`), how likely, how often at most, after how many matches, and for how long.

    requests, when="before": the exchange has not seen the request; when="after": it has acted on it
        refuse      the connection is closed without a byte
        reset       the connection is reset (RST)
        hang        no answer, ever
        delay       everything happens, `seconds` late
        header      the connection breaks in the middle of the answer's head
        truncate    the connection breaks in the middle of the answer
        slow        the second half of the answer comes `seconds` after the first
        twice       the answer comes twice, one after the other
        other       the answer to an earlier request of the same kind (no answer where there was none)
        empty html null object garbage half    HTTP 200 with that for a body
        status      an answer with the HTTP status `status` and HTML for a body; 3xx point to /
        failure     the exchange's own answer for `status`, in its own words
        rate_limit  429 in the exchange's own words; ban: 418 likewise

    streams (after the exchange has acted; a WebSocket reply is the stream `reply`)
        lost duplicate late(`seconds`) reorder(with the next message)
        silence     nothing more on this connection for `seconds`, while it stays open
        cut         the connection is closed

    views, for requests that look
        lag_orders lag_balances    the answer is `seconds` old
        hide_closed                ended orders are not found

    clock
        skew        the exchange's wall clock is wrong by `seconds` (negative: behind)

The same generator and the same sequence of calls give the same faults; `log` keeps those that struck.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random
from typing import Any, Literal

from simulator.dialects.dialect import KINDS, STREAMS, Cut, View

REQUEST_ACTIONS = (
    "refuse",
    "reset",
    "hang",
    "delay",
    "header",
    "truncate",
    "slow",
    "twice",
    "other",
    "empty",
    "html",
    "null",
    "object",
    "garbage",
    "half",
    "status",
    "failure",
    "rate_limit",
    "ban",
)
STREAM_ACTIONS = ("lost", "duplicate", "late", "reorder", "silence", "cut")
VIEW_ACTIONS = ("lag_orders", "lag_balances", "hide_closed")
CLOCK_ACTIONS = ("skew",)
ACTIONS = REQUEST_ACTIONS + STREAM_ACTIONS + VIEW_ACTIONS + CLOCK_ACTIONS

# Bodies that a caller must not take for an answer.
BODIES = {
    "empty": "",
    "html": "<html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>",
    "null": "null",
    "object": "{}",
    "garbage": "\x1f\x8b not what you asked for",
}

# A message held back to be overtaken goes out after this long when nothing overtakes it.
OVERTAKE_WITHIN_S = 1.0


class BadRule(ValueError):
    """A fault rule says something impossible; the message names the field and the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way in which things go wrong."""

    action: str
    kinds: tuple[str, ...] = ("*",)
    when: Literal["before", "after"] = "before"
    probability: float = 1.0
    count: int | None = None  # strikes at most so often
    skip: int = 0  # lets so many matches pass first
    seconds: tuple[float, float] = (0.0, 0.0)  # drawn evenly from this range
    status: int = 500

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise BadRule(f"action: {self.action!r} is unknown; use one of {', '.join(ACTIONS)}")
        for kind in self.kinds:
            if kind not in KINDS + STREAMS + ("*",):
                raise BadRule(f"kinds: {kind!r} is unknown; use {', '.join(KINDS + STREAMS)} or *")
        if self.when not in ("before", "after"):
            raise BadRule("when: use before or after")
        if not _number(self.probability) or not 0 <= self.probability <= 1:
            raise BadRule("probability: use a number from 0 to 1")
        if self.count is not None and (not _whole(self.count) or self.count < 1):
            raise BadRule("count: use a whole number from 1, or null for no limit")
        if not _whole(self.skip) or self.skip < 0:
            raise BadRule("skip: use a whole number from 0")
        if len(self.seconds) != 2 or not all(map(_number, self.seconds)) or self.seconds[0] > self.seconds[1]:
            raise BadRule("seconds: use [shortest, longest]")
        if self.seconds[0] < 0 and self.action not in CLOCK_ACTIONS:
            raise BadRule(f"seconds: only {', '.join(CLOCK_ACTIONS)} may be negative")
        if not _whole(self.status) or not 200 <= self.status <= 599:
            raise BadRule("status: use an HTTP status from 200 to 599")

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "Rule":
        """Make a rule from JSON."""
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise BadRule(
                f"{sorted(unknown)[0]}: no such field; use {', '.join(f.name for f in fields(cls))}"
            )
        if "action" not in data:
            raise BadRule(f"action: missing; use one of {', '.join(ACTIONS)}")
        values = dict(data)
        if "kinds" in values:
            kinds = values["kinds"]
            if not isinstance(kinds, str | list | tuple):
                raise BadRule("kinds: use a word or a list of words")
            values["kinds"] = (kinds,) if isinstance(kinds, str) else tuple(str(kind) for kind in kinds)
        if "seconds" in values:
            seconds = values["seconds"]
            pair = seconds if isinstance(seconds, list | tuple) else (seconds, seconds)
            if not all(map(_number, pair)):
                raise BadRule("seconds: use a number, or [shortest, longest]")
            values["seconds"] = tuple(float(second) for second in pair)
        return cls(**values)

    def write(self) -> dict[str, Any]:
        """The rule as JSON."""
        return asdict(self) | {"kinds": list(self.kinds), "seconds": list(self.seconds)}


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A rule that struck, with what was drawn for it."""

    rule: Rule
    target: str  # the kind of request or the stream
    seconds: float
    now: float

    @property
    def action(self) -> str:
        return self.rule.action


class Faults:
    """The rules in force at one exchange, and what they have done."""

    def __init__(self, rules: Iterable[Rule] = (), rng: Random | None = None) -> None:
        self.rng = rng or Random(0)
        self.log: list[Strike] = []
        self._rules: list[Rule] = []
        self._matches: list[int] = []  # per rule: how often it matched
        self._strikes: list[int] = []  # per rule: how often it struck
        self.set(rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(self._rules)

    def set(self, rules: Iterable[Rule]) -> None:
        """Replace all rules; counts start again."""
        self._rules, self._matches, self._strikes = [], [], []
        for rule in rules:
            self.add(rule)

    def add(self, rule: Rule) -> None:
        """Add a rule."""
        self._rules.append(rule)
        self._matches.append(0)
        self._strikes.append(0)

    def clear(self) -> None:
        """Let everything work from now on."""
        self.set(())

    def before(self, kind: str, now: float) -> list[Strike]:
        """What befalls a request before the exchange sees it: delays, then at most one other fault."""
        return self._request(kind, "before", now)

    def after(self, kind: str, now: float) -> list[Strike]:
        """What befalls the answer to a request the exchange has acted on."""
        return self._request(kind, "after", now)

    def message(self, stream: str, now: float) -> Strike | None:
        """What befalls one stream message."""
        return next(iter(self._draw(stream, STREAM_ACTIONS, None, now, first_only=True)), None)

    def view(self, kind: str, now: float) -> View:
        """How old the answer to a request is."""
        orders_as_of, balances_as_of, hide_closed = None, None, False
        for strike in self._draw(kind, VIEW_ACTIONS, None, now):
            if strike.action == "lag_orders":
                orders_as_of = now - strike.seconds
            elif strike.action == "lag_balances":
                balances_as_of = now - strike.seconds
            else:
                hide_closed = True
        return View(orders_as_of=orders_as_of, balances_as_of=balances_as_of, hide_closed=hide_closed)

    def clock(self, kind: str, now: float) -> float:
        """What the exchange's wall clock shows."""
        return now + sum(strike.seconds for strike in self._draw(kind, CLOCK_ACTIONS, None, now))

    def _request(self, kind: str, when: str, now: float) -> list[Strike]:
        strikes = self._draw(kind, REQUEST_ACTIONS, when, now, first_only=True)
        return sorted(strikes, key=lambda strike: strike.action != "delay")

    def _draw(
        self, target: str, actions: tuple[str, ...], when: str | None, now: float, first_only: bool = False
    ) -> list[Strike]:
        strikes: list[Strike] = []
        settled = False
        for position, rule in enumerate(self._rules):
            if rule.action not in actions or (when is not None and rule.when != when):
                continue
            if "*" not in rule.kinds and target not in rule.kinds:
                continue
            # One fault per request is enough to learn from; delays may precede it.
            if first_only and settled and rule.action != "delay":
                continue
            self._matches[position] += 1
            if self._matches[position] <= rule.skip:
                continue
            if rule.count is not None and self._strikes[position] >= rule.count:
                continue
            if rule.probability < 1 and self.rng.random() >= rule.probability:
                continue
            self._strikes[position] += 1
            low, high = rule.seconds
            seconds = low if low == high else self.rng.uniform(low, high)
            strikes.append(Strike(rule=rule, target=target, seconds=seconds, now=now))
            settled = settled or rule.action != "delay"
        self.log.extend(strikes)
        return strikes


class Channel:
    """What one connection makes of the messages sent on it; no IO.

    `push` returns (when to deliver, message) pairs, `due` the messages that waited to be overtaken in vain.
    """

    def __init__(self, faults: Faults | None) -> None:
        self._faults = faults
        self._held: list[tuple[float, Any]] = []  # (held since, message), to be overtaken by the next one
        self._silent_until = 0.0

    def push(self, message: Any, stream: str, now: float) -> list[tuple[float, Any]]:
        """Pass a message through the faults."""
        if now < self._silent_until:
            return []
        strike = self._faults.message(stream, now) if self._faults is not None else None
        out: list[tuple[float, Any]] = [(now, message)]
        if strike is not None:
            if strike.action == "lost":
                return []
            if strike.action == "cut":
                return [(now, Cut())]
            if strike.action == "silence":
                self._silent_until = now + strike.seconds
                return []
            if strike.action == "reorder":
                self._held.append((now, message))
                return []
            if strike.action == "duplicate":
                out = out * 2
            elif strike.action == "late":
                out = [(now + strike.seconds, message)]
        overtaken, self._held = self._held, []
        return out + [(now, held) for _, held in overtaken]

    def due(self, now: float) -> list[Any]:
        """Messages held back so long that nothing will overtake them."""
        ready = [message for since, message in self._held if now - since >= OVERTAKE_WITHIN_S]
        self._held = [(since, message) for since, message in self._held if now - since < OVERTAKE_WITHIN_S]
        return ready


# profile -> rules as data. Ranges of the lags exceed the margins they are meant to test.
PROFILES: dict[str, list[dict[str, Any]]] = {
    "mild": [
        {"action": "delay", "probability": 0.2, "seconds": [0.01, 0.3]},
        {"action": "status", "probability": 0.01, "status": 503},
        {"action": "hang", "when": "after", "kinds": ["create"], "probability": 0.01},
        {"action": "rate_limit", "probability": 0.005},
        {
            "action": "late",
            "kinds": ["orders", "fills", "balances"],
            "probability": 0.05,
            "seconds": [0.1, 2.0],
        },
        {"action": "duplicate", "kinds": ["orders", "fills"], "probability": 0.02},
        {
            "action": "lag_orders",
            "kinds": ["fetch", "open_orders"],
            "probability": 0.05,
            "seconds": [0.1, 1.0],
        },
        {"action": "lag_balances", "kinds": ["balance"], "probability": 0.05, "seconds": [0.1, 2.0]},
    ],
    "rough": [
        {"action": "delay", "probability": 0.3, "seconds": [0.05, 2.0]},
        {"action": "hang", "kinds": ["create", "cancel"], "probability": 0.03},
        {"action": "reset", "probability": 0.02},
        {"action": "status", "probability": 0.03, "status": 502},
        {"action": "hang", "when": "after", "kinds": ["create", "cancel"], "probability": 0.05},
        {"action": "truncate", "when": "after", "kinds": ["create", "cancel"], "probability": 0.03},
        {"action": "html", "when": "after", "kinds": ["create", "fetch"], "probability": 0.02},
        {"action": "empty", "when": "after", "probability": 0.01},
        {"action": "rate_limit", "probability": 0.02},
        {"action": "lost", "kinds": ["orders", "fills", "balances"], "probability": 0.1},
        {
            "action": "late",
            "kinds": ["orders", "fills", "balances"],
            "probability": 0.1,
            "seconds": [0.1, 15.0],
        },
        {"action": "duplicate", "kinds": ["orders", "fills"], "probability": 0.1},
        {"action": "reorder", "kinds": ["orders", "fills"], "probability": 0.1},
        {"action": "cut", "probability": 0.002},
        {
            "action": "lag_orders",
            "kinds": ["fetch", "open_orders", "closed_orders", "my_trades"],
            "probability": 0.2,
            "seconds": [0.0, 6.0],
        },
        {"action": "lag_balances", "kinds": ["balance"], "probability": 0.3, "seconds": [0.0, 10.0]},
    ],
    "brutal": [
        {"action": "delay", "kinds": ["create", "cancel"], "probability": 0.1, "seconds": [4.0, 40.0]},
        {"action": "delay", "probability": 0.3, "seconds": [0.05, 5.0]},
        {"action": "refuse", "probability": 0.05},
        {"action": "reset", "probability": 0.05},
        {"action": "hang", "probability": 0.05},
        {"action": "status", "probability": 0.05, "status": 500},
        {"action": "hang", "when": "after", "kinds": ["create", "cancel"], "probability": 0.1},
        {"action": "reset", "when": "after", "kinds": ["create", "cancel"], "probability": 0.05},
        {"action": "truncate", "when": "after", "probability": 0.03},
        {"action": "html", "when": "after", "probability": 0.03},
        {"action": "empty", "when": "after", "probability": 0.03},
        {"action": "null", "when": "after", "probability": 0.02},
        {"action": "object", "when": "after", "probability": 0.02},
        {"action": "half", "when": "after", "probability": 0.02},
        {"action": "failure", "when": "after", "kinds": ["create"], "probability": 0.03, "status": 504},
        {"action": "rate_limit", "probability": 0.05},
        {"action": "ban", "probability": 0.005},
        {"action": "lost", "kinds": ["orders", "fills", "balances", "reply"], "probability": 0.4},
        {
            "action": "late",
            "kinds": ["orders", "fills", "balances"],
            "probability": 0.2,
            "seconds": [0.1, 60.0],
        },
        {"action": "duplicate", "kinds": ["orders", "fills"], "probability": 0.3},
        {"action": "reorder", "kinds": ["orders", "fills"], "probability": 0.3},
        {"action": "silence", "probability": 0.005, "seconds": [5.0, 60.0]},
        {"action": "cut", "probability": 0.01},
        {
            "action": "lag_orders",
            "kinds": ["fetch", "open_orders", "closed_orders", "my_trades", "cancel"],
            "probability": 0.4,
            "seconds": [0.0, 12.0],
        },
        {"action": "hide_closed", "kinds": ["fetch", "open_orders", "closed_orders"], "probability": 0.1},
        {"action": "lag_balances", "kinds": ["balance"], "probability": 0.5, "seconds": [0.0, 30.0]},
        {"action": "skew", "kinds": ["create"], "probability": 0.02, "seconds": [-120.0, 120.0]},
    ],
}


def profile(name: str, rng: Random | None = None) -> Faults:
    """The faults of a named profile."""
    if name not in PROFILES:
        raise BadRule(f"profile: {name!r} is unknown; use one of {', '.join(PROFILES)}")
    return Faults([Rule.read(rule) for rule in PROFILES[name]], rng)


def read_rules(data: object) -> list[Rule]:
    """Read a list of rules from JSON, alone or as the `rules` of an object, as the admin API takes them.

    Raises BadRule with the number of the rule, the field and what to write there.
    """
    rows = data.get("rules") if isinstance(data, Mapping) and set(data) <= {"rules"} else data
    if not isinstance(rows, list):
        raise BadRule('rules: use a list of rules, or {"rules": [...]}')
    rules = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise BadRule(f'rule {number}: use an object such as {{"action": "hang"}}')
        try:
            rules.append(Rule.read(row))
        except BadRule as error:
            raise BadRule(f"rule {number}: {error}") from error
    return rules


def weather(text: str, rng: Random | None = None) -> Faults:
    """The faults of a named profile or of a file of rules; raise BadRule in one line that says what to do."""
    if text in PROFILES:
        return profile(text, rng)
    file = Path(text)
    if not file.is_file():
        raise BadRule(f"{text}: no such file, and no profile of that name; there is {', '.join(PROFILES)}")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadRule(f"{text}: line {error.lineno}: not JSON ({error.msg})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadRule(f"{text}: cannot be read ({error})") from error
    try:
        return Faults(read_rules(data), rng)
    except BadRule as error:
        raise BadRule(f"{text}: {error}") from error
