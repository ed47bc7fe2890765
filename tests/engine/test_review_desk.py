"""The desk and the loop with real threads: precision, waiting after a restart, a clock that steps back."""

import asyncio
import contextlib
import decimal
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import ems.loop
from ems.core.child import Patience
from ems.core.messages import (
    Acked,
    Balances,
    CancelAllOrders,
    CancelRequest,
    LimitOrder,
    MarketsLoaded,
    OpenOrders,
    Side,
    StreamUp,
)
from ems.core.records import QueryStatus
from ems.desk import Desk, DeskRefused
from ems.engine import Engine
from ems.engine.account import Account
from ems.histories import Histories
from ems.loop import AsyncScheduler, LoopThread
from ems.runner import Runner
from ems.store import MemoryStore, StoreUnavailable
from tests.builders import fill, market, ticket
from tests.limits import opened

D = Decimal


class Silent:
    """A venue that takes everything and never says anything."""

    exchange, account, mode, recv_window_s, client_id_style = "binance", "default", "paper", 5.0, "uuid"

    def __init__(self, ready=True):
        self.ready = ready
        self.sent = []

    def open(self, deliver):
        deliver(MarketsLoaded(markets=(market("ETH/USDT"),)))
        if self.ready:
            deliver(StreamUp())
            self.deliver = deliver

    def send(self, request):
        self.sent.append(request)
        now = datetime.now(UTC) + timedelta(seconds=1)
        if type(request).__name__ == "QueryOpenOrders":
            self.deliver(OpenOrders(orders=(), query_sent_at=now))
        if type(request).__name__ == "QueryBalances":
            self.deliver(Balances(free={"USDT": D(10000)}, used={}, query_sent_at=now))


class Office:
    """A real desk on a real loop."""

    def __init__(self, store, venue, first_id=1):
        self.loop = LoopThread()
        account = Account("binance", "default", mode="paper", patience=Patience(), id_style="uuid")
        gateways = {account.key: venue}
        self.runner = Runner(
            Engine([account], mark="0e5a51b2"),
            store,
            gateways,
            AsyncScheduler(self.loop.loop),
            changed=lambda state: self.desk.changed(state),
            answered=lambda token, answer: self.desk.answered(token, answer),
        )
        ids = iter(range(first_id, 10**9))
        histories = Histories(store, gateways, self.loop.wait, lambda: datetime.now(UTC))
        self.desk = Desk(self.loop, self.runner, store, gateways, lambda: f"q{next(ids)}", histories)
        self.loop.start()
        self.loop.call(self.runner.start)
        time.sleep(0.05)


def limit(quantity="1"):
    return LimitOrder(
        exchange="binance", symbol="ETH/USDT", side=Side.BUY, quantity=D(quantity), price=D(1900)
    )


def test_the_engine_computes_with_fifty_digits_whoever_asks():
    office = Office(opened(MemoryStore()), Silent())
    seen = []
    handle = office.runner.engine.handle

    def spy(event, now):
        seen.append(decimal.getcontext().prec)
        return handle(event, now)

    office.runner.engine.handle = spy
    thread = threading.Thread(target=lambda: office.desk.submit(ticket(), limit()))
    thread.start()
    thread.join()
    office.loop.stop()
    assert set(seen) == {50}


def test_a_long_poll_after_a_restart_waits():
    store = opened(MemoryStore())
    before = Office(store, Silent())
    state = before.desk.submit(ticket(), limit())
    assert state.query.status is QueryStatus.WORKING
    before.loop.stop()
    after = Office(store, Silent(ready=False), first_id=100)
    began = time.monotonic()
    again = after.desk.wait("alice", state.query.query_id, state.query.seq, 0.5)
    took = time.monotonic() - began
    after.loop.stop()
    assert again.query.status is QueryStatus.WORKING
    assert took > 0.4


def test_time_goes_on_after_the_wall_clock_stepped_back(monkeypatch):
    class Wall(datetime):
        offset = timedelta(0)

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + cls.offset

    monkeypatch.setattr(ems.loop, "datetime", Wall)
    loop = asyncio.new_event_loop()
    scheduler = AsyncScheduler(loop)
    began = scheduler.now()
    Wall.offset = timedelta(hours=-1)
    time.sleep(0.2)
    loop.close()
    assert scheduler.now() - began >= timedelta(seconds=0.15)


class Full(MemoryStore):
    """A disk that can be read and not written."""

    full = False

    def commit(self, records):
        if self.full:
            raise StoreUnavailable("disk full")
        super().commit(records)


def test_a_caller_can_cancel_while_the_store_cannot_be_written():
    store, venue = opened(Full()), Silent()
    office = Office(store, venue)
    office.desk.submit(ticket(), limit())
    office.loop.call(lambda: venue.deliver(Acked(order_id="q1.1.1", exchange_order_id="X1")))
    time.sleep(0.05)
    store.full = True
    office.loop.call(lambda: venue.deliver(fill("f1", "0.1", price="1900", order_id="q1.1.1")))
    time.sleep(0.05)
    assert office.runner.trouble
    caller = threading.Thread(target=cancel_quietly, args=(office.desk,), daemon=True)
    caller.start()
    time.sleep(0.3)
    office.loop.stop()
    assert [r.order_id for r in venue.sent if isinstance(r, CancelRequest)] == ["q1.1.1"]


def cancel_quietly(desk):
    with contextlib.suppress(DeskRefused):
        desk.submit(ticket("key-2"), CancelAllOrders(exchange="binance"))
