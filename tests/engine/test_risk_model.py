"""No interleaving of submissions, answers, restarts and time exceeds a limit: against a model that recounts.

The model keeps a list of everything that was placed and counts it anew at each step; it shares no code with
the ledger of the controls.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ems.core import errors
from ems.core.messages import Ending, Problem
from ems.core.records import Query
from tests.engine.test_risk import D, filled, limit, opened, restarted, set_limit

CREDIT, EVERYBODY = D(3000), D(5000)
OPEN, OF_BOT = 4, 3
MINUTE, BURST, RATE = 7, 4, D("0.5")
TRADES = 4
USERS = ("alice", "bob")


@dataclass
class Placed:
    user: str
    bot: str
    at: Decimal
    usd: Decimal
    order_id: str
    quantity: Decimal
    open: bool = True
    traded: Decimal = D(0)
    ended: Decimal | None = None
    executed: Decimal | None = None


class Controls(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = opened(free={"USDT": D(10**9)})
        for name, value in (
            ("credit_limit", CREDIT),
            ("global_credit_limit", EVERYBODY),
            ("max_open_orders", OPEN),
            ("orders_per_minute", MINUTE),
            ("orders_per_second", RATE),
            ("order_burst", BURST),
            ("executions_per_minute", TRADES),
        ):
            assert isinstance(set_limit(self.world, name, str(value)), Query)
        set_limit(self.world, "max_open_orders", str(OF_BOT), of_bot="b1")
        self.placed: list[Placed] = []
        self.halted: set[str] = set()

    @property
    def now(self) -> Decimal:
        return D(str(self.world.now))

    # --- What happens

    @rule(user=st.sampled_from(USERS), bot=st.sampled_from(("b1", "b2")), lots=st.integers(1, 10))
    def submit(self, user: str, bot: str, lots: int) -> None:
        quantity = D(lots) / 10
        self.world.book()
        answer = self.world.submit(
            limit(quantity=quantity), key=f"key-{self.world.tokens}", user=user, bot=bot
        )
        expected = self.refusals(user, bot, quantity * 2000)
        if user in self.halted:
            assert isinstance(answer, Problem) and answer.code == errors.EXECUTION_THROTTLE
        elif expected:
            assert isinstance(answer, Problem), (expected, self.placed)
            told = {problem["setting"] for problem in answer.details["problems"]}
            assert told == expected
            assert self.world.placed() == []
            if "executions_per_minute" in expected:
                for key in [k for k in self.world.wakes() if k[0] == "trip"]:
                    self.world.timer(*key)
                self.halted.add(user)
        else:
            assert isinstance(answer, Query), answer
            order_id = f"{answer.query_id}.1.1"
            self.world.ack(order_id, f"X-{order_id}")
            self.placed.append(Placed(user, bot, self.now, quantity * 2000, order_id, quantity))

    def refusals(self, user: str, bot: str, usd: Decimal) -> set[str]:
        """Recount what an order would exceed."""
        mine = [p for p in self.placed if p.user == user]
        found = set()
        if sum((self.counts(p) for p in mine), D(0)) + usd > CREDIT:
            found.add("credit_limit")
        if sum((self.counts(p) for p in self.placed), D(0)) + usd > EVERYBODY:
            found.add("global_credit_limit")
        of_bot = sum(p.open for p in self.placed if p.bot == "b1")
        if sum(p.open for p in mine) + 1 > OPEN or (bot == "b1" and of_bot + 1 > OF_BOT):
            found.add("max_open_orders")
        if sum(p.at >= self.now - 60 for p in mine) + 1 > MINUTE:
            found.add("orders_per_minute")
        if self.saved(mine) < 1:
            found.add("orders_per_second")
        executed = [p for p in mine if p.executed is not None and p.executed >= self.now - 60]
        if len(executed) + 1 > TRADES:
            found.add("executions_per_minute")
        return found

    def counts(self, one: Placed) -> Decimal:
        if one.open:
            return one.usd
        assert one.ended is not None
        minute = one.ended // 60 * 60
        return one.traded if minute + 60 + 24 * 3600 > self.now else D(0)

    def saved(self, mine: list[Placed]) -> Decimal:
        """Return how many orders the bucket holds, from all that was ever sent."""
        saved, since = D(BURST), D(0)
        for one in mine:
            saved, since = min(saved + RATE * (one.at - since), D(BURST)) - 1, one.at
        return min(saved + RATE * (self.now - since), D(BURST))

    def some_open(self) -> bool:
        return any(p.open for p in self.placed)

    @precondition(some_open)
    @rule(which=st.integers(0, 99), tenths=st.sampled_from((0, 5, 10)))
    def end(self, which: int, tenths: int) -> None:
        """Let the exchange say that an order is over, filled in part or whole or not at all."""
        waiting = [p for p in self.placed if p.open]
        one = waiting[which % len(waiting)]
        quantity = one.quantity * tenths / 10
        fill = filled(
            one.order_id, str(quantity), f"X-{one.order_id}", f"f-{one.order_id}", when=self.world.now
        )
        ending = Ending.FILLED if tenths == 10 else Ending.CANCELED
        self.world.ack(
            one.order_id,
            f"X-{one.order_id}",
            filled_quantity=quantity,
            ending=ending,
            fills=(fill,) if tenths else (),
        )
        one.open, one.ended, one.traded = False, self.now, one.usd * tenths / 10
        if tenths:
            one.executed = self.now

    @rule(seconds=st.sampled_from(("0.000001", "0.5", "2", "19.999999", "60", "61", "3600", "86400")))
    def wait(self, seconds: str) -> None:
        self.world.now = float(self.now + D(seconds))

    @rule()
    def restart(self) -> None:
        tokens = self.world.tokens
        self.world = restarted(self.world)
        self.world.tokens = tokens

    # --- What must never be

    @invariant()
    def nothing_is_exceeded(self) -> None:
        for user in USERS:
            mine = [p for p in self.placed if p.user == user]
            assert sum((self.counts(p) for p in mine), D(0)) <= CREDIT
            assert sum(p.open for p in mine) <= OPEN
            for one in mine:
                assert sum(one.at - 60 <= p.at <= one.at for p in mine) <= MINUTE
        assert sum((self.counts(p) for p in self.placed), D(0)) <= EVERYBODY
        assert sum(p.open for p in self.placed if p.bot == "b1") <= OF_BOT


TestControls = Controls.TestCase
TestControls.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
