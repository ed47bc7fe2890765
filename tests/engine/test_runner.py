"""The runner: what it does when the store or the engine fails, and in which order things happen."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ems.core.child import Patience
from ems.core.messages import (
    Acked,
    Balances,
    CancelAcked,
    CancelAllOrders,
    CancelRequest,
    MarketsLoaded,
    NewOrder,
    NonceUse,
    OpenOrders,
    QueryOrder,
    StreamDown,
    StreamUp,
    Submit,
)
from ems.core.records import Query
from ems.engine import Engine
from ems.engine.account import Account
from ems.runner import Runner
from ems.store import MemoryStore, StoreUnavailable
from tests.builders import at, book, smart_order, ticket
from tests.engine.world import MARKETS
from tests.limits import opened
from tests.simulation.clock import VirtualClock
from tests.simulation.faults import CALM
from tests.simulation.world import World


class SickStore(MemoryStore):
    """A store that can be out of order."""

    def __init__(self):
        super().__init__()
        self.sick = False
        self.commits = 0

    def commit(self, records):
        if self.sick:
            raise StoreUnavailable("disk full")
        self.commits += 1
        super().commit(records)


class QuietGateway:
    """Takes requests and answers nothing."""

    def __init__(self):
        self.sent = []

    def open(self, deliver):
        self.deliver = deliver

    def send(self, request):
        self.sent.append(request)

    def orders(self):
        return [request.order_id for request in self.sent if isinstance(request, NewOrder)]


class Bench:
    """A runner on a virtual clock with one ready account."""

    def __init__(self, *, store=None, frozen=(), **options):
        self.clock = VirtualClock()
        self.store = store or opened(SickStore())
        self.gateway = QuietGateway()
        self.answers = {}
        account = Account("binance", "default", mode="paper", patience=Patience(), id_style="uuid")
        self.engine = Engine([account], mark="0e5a51b2")
        self.runner = Runner(
            self.engine,
            self.store,
            {("binance", "default"): self.gateway},
            self.clock,
            answered=lambda token, answer: self.answers.__setitem__(token, answer),
            **options,
        )
        self.runner.start(frozen)
        if frozen:
            return
        for report in (
            MarketsLoaded(markets=MARKETS),
            StreamUp(),
            OpenOrders(orders=(), query_sent_at=at(0)),
            Balances(free={"USDT": 10000}, used={}, query_sent_at=at(0)),
            book(),
        ):
            self.gateway.deliver(report)
        self.clock.run_until(0)
        self.gateway.sent.clear()

    def submit(self, token=1, time_limit=60, **fields):
        event = Submit(
            token=token,
            query_id=f"q{token}",
            ticket=ticket(f"key-{token}", **fields),
            command=smart_order(time_limit=Decimal(time_limit)),
        )
        self.runner.feed(event)
        return event


def test_nothing_is_sent_or_answered_before_it_is_on_disk():
    bench = Bench()
    bench.store.sick = True
    bench.submit()
    bench.clock.run_until(0.1)
    assert (bench.gateway.orders(), bench.answers, bench.store.orders) == ([], {}, {})
    assert bench.runner.trouble == "disk full"
    bench.store.sick = False
    bench.clock.run_until(1.0)
    assert isinstance(bench.answers[1], Query) and bench.gateway.orders() == ["q1.1.1"]
    assert len(bench.store.orders) == 1 and bench.runner.trouble == ""


def test_an_order_that_took_too_long_to_write_down_is_not_sent():
    bench = Bench()
    bench.store.sick = True
    bench.submit()
    bench.clock.run_until(3.0)
    bench.store.sick = False
    bench.clock.run_until(3.6)
    assert bench.gateway.orders() == ["q1.1.2"], "the walker goes on with a fresh price"
    order = bench.store.orders["q1.1.1"]
    assert (order.status, order.reason) == ("rejected", "not sent: writing it down took too long")


def test_what_arrives_while_the_store_is_sick_is_handled_afterwards_in_order():
    bench = Bench()
    bench.store.sick = True
    bench.submit(1)
    bench.clock.run_until(0.1)
    bench.submit(2)
    bench.clock.run_until(0.3)
    assert bench.answers == {}
    bench.store.sick = False
    bench.clock.run_until(2.0)
    assert [type(bench.answers[n]) for n in (1, 2)] == [Query, Query]


def test_events_that_arrive_together_share_a_transaction():
    bench = Bench()
    before = bench.store.commits
    for token in range(1, 6):
        bench.submit(token)
    bench.clock.run_until(0)
    assert len(bench.answers) == 5 and bench.store.commits == before + 1


def test_a_used_nonce_is_refused_and_no_other_request_with_it():
    bench = Bench()
    nonce = NonceUse(key_id="k", nonce="n", expires_at=at(60))
    bench.submit(1, nonce=nonce)
    bench.submit(2, nonce=nonce)
    bench.submit(3)
    bench.clock.run_until(0)
    assert isinstance(bench.answers[1], Query) and isinstance(bench.answers[3], Query)
    assert bench.answers[2].code == "AUTH_REPLAYED"
    assert set(bench.store.queries) == {"q1", "q3"} == set(bench.engine.work.queries)


def test_a_nonce_of_an_earlier_life_is_refused():
    store = SickStore()
    nonce = NonceUse(key_id="k", nonce="n", expires_at=at(60))
    store.commit([nonce])
    bench = Bench(store=store)
    bench.submit(1, nonce=nonce)
    bench.clock.run_until(0)
    assert bench.answers[1].code == "AUTH_REPLAYED" and store.orders == {}


def test_cancels_and_lookups_go_out_while_nothing_can_be_written():
    bench = Bench()
    bench.submit()
    bench.clock.run_until(0)
    bench.gateway.deliver(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    bench.clock.run_until(0)
    bench.gateway.sent.clear()
    bench.store.sick = True
    cancel = Submit(token=9, query_id="q9", ticket=ticket("key-9"), command=CancelAllOrders())
    bench.runner.feed(cancel)
    bench.clock.run_until(0.2)
    assert [type(r) for r in bench.gateway.sent] == [CancelRequest] and 9 not in bench.answers
    bench.gateway.deliver(CancelAcked(order_id="q1.1.1", filled_quantity=Decimal(0)))
    bench.clock.run_until(0.4)
    bench.store.sick = False
    bench.clock.run_until(2)
    assert bench.store.orders["q1.1.1"].status == "canceled" and isinstance(bench.answers[9], Query)
    assert [type(r) for r in bench.gateway.sent].count(CancelRequest) == 1, "told once"


def test_a_broken_promise_of_ours_stops_everything_before_anything_of_it_happens(monkeypatch):
    seen = []
    bench = Bench(broken=lambda error, _account: seen.append(error))
    monkeypatch.setattr(bench.engine.submissions, "_start", lambda *_: 1 / 0)
    bench.submit()
    bench.clock.run_until(0)
    assert [type(error) for error in seen] == [ZeroDivisionError]
    monkeypatch.undo()
    bench.submit(2)
    bench.clock.run_until(600)
    assert (bench.gateway.sent, bench.answers) == ([], {}), "a corrupt state does not trade"
    assert bench.runner.halted and bench.runner.trouble


def test_the_account_that_broke_it_is_named_and_can_be_left_out_of_the_next_start(monkeypatch):
    seen = []
    bench = Bench(broken=lambda error, account: seen.append(account))
    monkeypatch.setattr(bench.engine, "_from_venue", lambda *_: 1 / 0)
    bench.gateway.deliver(StreamUp())
    bench.clock.run_until(0)
    assert seen == [("binance", "default")]
    monkeypatch.undo()
    reborn = Bench(store=bench.store, frozen={("binance", "default")})
    assert not hasattr(reborn.gateway, "deliver"), "it was never opened"
    reborn.submit(2)
    reborn.clock.run_until(0)
    assert reborn.answers[2].code == "EXCHANGE_UNAVAILABLE" and "frozen" in reborn.answers[2].message


def test_without_a_stream_live_orders_are_looked_at_every_two_seconds():
    bench = Bench()
    bench.submit(time_limit=600)
    bench.clock.run_until(0)
    bench.gateway.deliver(Acked(order_id="q1.1.1", exchange_order_id="X1"))

    def looks(until):
        bench.clock.run_until(until)
        return sum(isinstance(request, QueryOrder) for request in bench.gateway.sent)

    assert (looks(8), looks(8.9)) == (0, 0), "with the stream up every ten seconds will do"
    bench.gateway.deliver(StreamDown(message="reset"))
    assert (looks(10.5), looks(12.5), looks(14.5)) == (1, 2, 3)


def test_without_a_handler_the_exception_reaches_whoever_runs_the_loop(monkeypatch):
    bench = Bench()
    monkeypatch.setattr(bench.engine.submissions, "_start", lambda *_: 1 / 0)
    bench.submit()
    with pytest.raises(ZeroDivisionError):
        bench.clock.run_until(0)


def test_the_simulation_really_is_calm_when_asked():
    assert World(1, calm=True).weather == CALM
