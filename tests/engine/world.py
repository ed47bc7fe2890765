"""An engine with one ready account, spoken to event by event; requests and records are kept for the test to
see."""

from __future__ import annotations

from decimal import Decimal

from ems.core.child import Patience
from ems.core.messages import (
    Acked,
    Balances,
    DayRead,
    FromVenue,
    MarketsLoaded,
    NewOrder,
    OpenOrders,
    Problem,
    Reply,
    Send,
    StreamUp,
    Submit,
    Timer,
    Wake,
)
from ems.engine import Engine
from ems.engine.account import Account
from ems.engine.turn import Turn
from ems.store import MemoryStore
from tests.builders import at, book, market, ticket
from tests.limits import opened

MARKETS = (market("ETH/USDT"),)
TRIANGLE = (market("ETH/USDT"), market("BTC/USDT"), market("ETH/BTC", min_notional="0.0001", tick="0.00001"))


class EngineWorld:
    """Feed events, see what the engine asks for. Records go to a MemoryStore as the runner would put them."""

    def __init__(
        self, *, free=None, ready=True, store=None, markets=MARKETS, limited=False, start=0.0, identity=""
    ):
        """`limited`: with the limits of the risk controls as they are by default; `start`: when, in s."""
        account = Account(
            "binance", "default", mode="paper", patience=Patience(), id_style="uuid", identity=identity
        )
        self.engine = Engine([account], mark="0e5a51b2")
        self.account = account
        self.store = store or (MemoryStore() if limited else opened(MemoryStore()))
        self.now = start
        self.turn = Turn(at=at(start))
        self.limited = limited
        self.free = {"USDT": Decimal(10000), "ETH": Decimal(2)} if free is None else free
        self.tokens = 0
        self.do(lambda now: self.engine.restore(self.store.load(at(start - 600), at(start)), now))
        if ready:
            self.venue(MarketsLoaded(markets=markets))
            self.connect()

    def connect(self):
        self.venue(StreamUp())
        self.venue(OpenOrders(orders=(), query_sent_at=at(self.now)))
        self.balances()

    def balances(self, free=None, used=None):
        self.free = self.free if free is None else free
        self.venue(Balances(free=self.free, used=used or {}, query_sent_at=at(self.now)))

    def do(self, what):
        self.turn = what(at(self.now))
        self.store.commit(self.turn.records)
        return self.turn

    def venue(self, report):
        event = FromVenue(exchange="binance", account="default", report=report)
        return self.do(lambda now: self.engine.handle(event, now))

    def day(self, symbol="ETH/USDT", **fields):
        """Tell what was traded within 24 hours: nothing that is known, unless said."""
        return self.venue(DayRead(symbol=symbol, at=at(self.now), **fields))

    def book(self, symbol="ETH/USDT", **fields):
        if self.limited and symbol not in self.account.days:
            self.day(symbol)
        return self.venue(book(symbol=symbol, when=self.now, **fields))

    def timer(self, *key):
        return self.do(lambda now: self.engine.handle(Timer(key=key), now))

    def submit(self, command, key="key-1", query_id=None, **fields):
        self.tokens += 1
        event = Submit(
            token=self.tokens,
            query_id=query_id or f"q{self.tokens}",
            ticket=ticket(key, **fields),
            command=command,
        )
        self.do(lambda now: self.engine.handle(event, now))
        return self.answer()

    def answer(self):
        answers = [e.answer for e in self.turn.effects if isinstance(e, Reply)]
        return answers[-1] if answers else None

    def problem(self):
        answer = self.answer()
        assert isinstance(answer, Problem), answer
        return answer

    def sent(self, kind=None):
        return [
            e.request
            for e in self.turn.effects
            if isinstance(e, Send) and (kind is None or isinstance(e.request, kind))
        ]

    def placed(self):
        return self.sent(NewOrder)

    def wakes(self):
        return {e.key: e.at for e in self.turn.effects if isinstance(e, Wake)}

    def ack(self, order_id, exchange_id="X1", **fields):
        return self.venue(Acked(order_id=order_id, exchange_order_id=exchange_id, **fields))

    def order(self, order_id):
        return self.engine.work.children[order_id].order

    def query(self, query_id="q1"):
        return self.engine.work.queries[query_id]
