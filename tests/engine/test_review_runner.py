"""The runner under a poisoned event and a store that stops: nothing may be lost, doubled or sent too late."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from ems.core import errors
from ems.core.child import Patience
from ems.core.messages import (
    Acked,
    Balances,
    CancelAcked,
    CancelAllOrders,
    CancelRequest,
    Found,
    LimitOrder,
    MarketsLoaded,
    NonceUse,
    OpenOrders,
    OrderStatus,
    OutcomeUnknown,
    Problem,
    QueryOrder,
    Side,
    StreamUp,
    Submit,
    TradesAnswer,
)
from ems.core.records import Status
from ems.engine import Engine
from ems.engine.account import Account
from ems.runner import Runner
from ems.store import MemoryStore, StoreUnavailable
from tests.builders import book, market, ticket
from tests.limits import opened
from tests.simulation.clock import VirtualClock

D = Decimal


class Disk(MemoryStore):
    down = False

    def commit(self, records):
        if self.down:
            raise StoreUnavailable("disk full")
        super().commit(records)


class Venue:
    """A gateway that keeps what it was sent."""

    exchange, account, mode, recv_window_s, client_id_style = "binance", "default", "paper", 5.0, "uuid"

    def __init__(self, clock):
        self.clock = clock
        self.sent = []  # (seconds, request)
        self.deliver = None

    def open(self, deliver):
        self.deliver = deliver

    def send(self, request):
        self.sent.append((self.clock.seconds, request))

    def of(self, kind):
        return [(at, request) for at, request in self.sent if isinstance(request, kind)]


class House:
    """Engine, runner, disk and one venue on a virtual clock."""

    def __init__(self, disk=None):
        self.clock = VirtualClock()
        self.disk = disk or opened(Disk())
        self.venue = Venue(self.clock)
        self.answers = {}  # token -> answer
        self.tokens = 0
        account = Account("binance", "default", mode="paper", patience=Patience(), id_style="uuid")
        self.engine = Engine([account], mark="0e5a51b2")
        self.runner = Runner(
            self.engine,
            self.disk,
            {account.key: self.venue},
            self.clock,
            answered=lambda token, answer: self.answers.__setitem__(token, answer),
            broken=lambda error, _account: setattr(self, "broken", error),
        )
        self.broken = None  # the exception that halted the runner
        self.runner.start()
        self.report(MarketsLoaded(markets=(market("ETH/USDT"), market("BTC/USDT"))))
        self.report(StreamUp())
        self.run(0)
        self.report(OpenOrders(orders=(), query_sent_at=self.clock.now()))
        self.report(Balances(free={"USDT": D(10000), "ETH": D(2)}, used={}, query_sent_at=self.clock.now()))
        self.report(replace(book(), at=self.clock.now()))
        self.run(0)

    def report(self, report):
        self.venue.deliver(report)

    def run(self, seconds):
        self.clock.run_until(self.clock.seconds + seconds)

    def submit(self, command, key="key-1", **fields):
        self.tokens += 1
        self.runner.feed(
            Submit(
                token=self.tokens,
                query_id=f"q{self.tokens}",
                ticket=ticket(key, **fields),
                command=command,
            )
        )
        return self.tokens


def limit(quantity="1", price="1900"):
    return LimitOrder(
        exchange="binance", symbol="ETH/USDT", side=Side.BUY, quantity=D(quantity), price=D(price)
    )


# --- A store that stops -----------------------------------------------------------------------


def test_a_cancel_goes_out_while_the_store_cannot_be_written():
    house = House()
    house.submit(limit(), "key-1")
    house.run(0)
    house.report(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    house.run(1)
    house.disk.down = True
    house.submit(CancelAllOrders(exchange="binance"), "key-2")
    house.run(30)
    assert len(house.venue.of(CancelRequest)) >= 1


def test_books_that_arrive_during_an_outage_do_not_pile_up():
    house = House()
    house.disk.down = True
    house.submit(limit(), "key-1")
    house.run(1)
    for n in range(5000):
        house.report(replace(book(bid=str(1900 + n % 7)), at=house.clock.now()))
    house.run(10)
    assert len(house.runner._inbox) < 1000


# --- A replayed nonce -------------------------------------------------------------------------


def test_a_replayed_cancel_leaves_nothing_behind():
    house = House()
    house.submit(limit(), "key-1")
    house.run(0)
    house.report(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    house.run(1)
    nonce = NonceUse(key_id="k", nonce="n" * 22, expires_at=house.clock.now() + timedelta(seconds=30))
    house.engine.submissions.nonces[nonce.key_id, nonce.nonce] = nonce.expires_at  # seen before
    token = house.submit(CancelAllOrders(exchange="binance"), "key-2", nonce=nonce)
    house.run(0)
    assert house.answers[token].code == errors.AUTH_REPLAYED
    # the order ends by itself; that is booked and its history has no gap
    house.report(
        OrderStatus(
            order_id="q1.1.1",
            found=Found.CLOSED,
            exchange_order_id="X1",
            symbol="ETH/USDT",
            filled_quantity=D(0),
            ending=None,
            query_sent_at=house.clock.now(),
        )
    )
    house.run(1)
    assert house.broken is None
    assert house.disk.orders["q1.1.1"].status is Status.CANCELED
    versions = [entry.version for entry in house.disk.history("q1.1.1")]
    assert versions == list(range(len(versions)))


def test_a_repeat_beside_a_retracted_submission_is_not_told_that_it_was_accepted():
    house = House()
    nonce = NonceUse(key_id="k", nonce="n" * 22, expires_at=house.clock.now() + timedelta(seconds=30))
    house.engine.submissions.nonces[nonce.key_id, nonce.nonce] = nonce.expires_at  # seen before
    house.submit(limit(), "key-1", nonce=nonce)
    other = house.submit(limit(), "key-1")
    house.run(1)
    answer = house.answers[other]
    assert isinstance(answer, Problem) or answer.query_id in house.disk.queries


def test_an_outage_is_not_made_worse_by_trying_at_every_event():
    house = House()
    house.submit(limit(), "key-1")
    house.run(0)
    tried = []
    commit = house.disk.commit
    house.disk.commit = lambda records: (tried.append(len(records)), commit(records))
    house.disk.down = True
    house.report(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    for _ in range(500):  # fifty books a second for ten seconds
        house.run(0.02)
        house.report(replace(book(), at=house.clock.now()))
    # With SQLite each attempt may wait for a lock, with PostgreSQL for a connection: on the engine's thread.
    assert len(tried) <= 25


def test_an_order_that_haunted_us_is_let_go_once_its_cancel_is_acknowledged_and_it_is_gone():
    house = House()
    house.submit(limit(), "key-1")
    house.run(0)
    house.report(OutcomeUnknown(order_id="q1.1.1", request="create", message="timeout"))
    for _ in range(4):
        house.run(21)
        house.report(
            OrderStatus(
                order_id="q1.1.1",
                found=Found.NOT_FOUND,
                symbol="ETH/USDT",
                query_sent_at=house.clock.now(),
            )
        )
        house.report(TradesAnswer(order_id="q1.1.1", fills=(), query_sent_at=house.clock.now()))
        house.run(0)
    assert house.disk.orders["q1.1.1"].status is Status.REJECTED
    house.report(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    house.run(0)
    house.report(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    house.run(0)
    asked = len(house.venue.of(QueryOrder))
    for _ in range(60):  # a venue that forgets its closed orders (C.3 row 21)
        house.run(1)
        house.report(
            OrderStatus(
                order_id="q1.1.1",
                found=Found.NOT_FOUND,
                symbol="ETH/USDT",
                query_sent_at=house.clock.now(),
            )
        )
    assert len(house.venue.of(QueryOrder)) - asked < 20
