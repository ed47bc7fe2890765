"""A desk written by hand, keys, and a client that signs: what the tests of the API share."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ems.core.codec import encode_command, verb_of
from ems.core.messages import Command, Liquidity, OrderType, Problem, Side, Ticket, TimeInForce
from ems.core.records import Fill, HistoryEntry, Order, Query, QueryStatus, Status
from ems.desk import DeskRefused
from ems.histories import Page
from ems.runner import QueryState
from ems.store import OrderFilter
from oms_client import signing
from server.api import examples
from server.api.app import create_app
from server.api.routes import Api
from server.auth import ApiKey, Authenticator
from server.settings import Settings

NOW = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)
HOST = "oms.test:8888"


def make_order(**changes: object) -> Order:
    """Return a filled order of alice, with whatever a test wants different."""
    given: dict[str, object] = {
        "order_id": "o-1",
        "query_id": "q-1",
        "parent_id": "p-1",
        "user": "alice",
        "bot": "bot-1",
        "exchange": "kraken",
        "account": "default",
        "symbol": "ETH/USDT",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "post_only": False,
        "quantity": Decimal("0.30"),
        "price": Decimal("2450.10"),
        "client_order_id": "oms1",
        "created_at": NOW,
        "exchange_order_id": "991827",
        "status": Status.PARTIALLY_FILLED,
        "filled_quantity": Decimal("0.1"),
        "quote_filled": Decimal("245.01"),
        "fees": {"ETH": Decimal("0.0001")},
        **changes,
    }
    return Order(**given)  # type: ignore[arg-type]


CHANGE = HistoryEntry(
    order_id="o-1",
    version=3,
    status=Status.REJECTED,
    timestamp=datetime(2026, 11, 21, 6, 30, 1, 250000, tzinfo=UTC),
    message="no",
    report={"kind": "reject"},
    code="VENUE_REJECTED",
    venue_code="-2010",
    venue_message="No.",
    pnl={"currency": "USDT", "realised": "0", "fees": "0", "pnl": "0", "fills": 0, "unvalued_fills": 0},
)
FILL = Fill(
    fill_id="81236",
    order_id="o-1",
    query_id="q-1",
    parent_id="p-1",
    user="alice",
    bot="bot-1",
    exchange="kraken",
    account="default",
    symbol="ETH/USDT",
    side=Side.BUY,
    price=Decimal("2450.10"),
    quantity=Decimal("0.1"),
    fee=Decimal("0.0001"),
    fee_currency="ETH",
    liquidity=Liquidity.MAKER,
    timestamp=NOW,
)


@dataclass
class StubDesk:
    """Remembers what it was asked, and answers what the test laid out."""

    calls: list[tuple[object, ...]] = field(default_factory=list)
    problem: Problem | None = None  # refuse everything with it
    failure: Exception | None = None  # break with it
    query_error: Problem | None = None  # queries fail with it
    status: QueryStatus = QueryStatus.WORKING
    missing: list[str] = field(default_factory=list)
    states: dict[str, QueryState] = field(default_factory=dict)  # query id -> state
    keys: dict[tuple[str, str], str] = field(default_factory=dict)  # (user, idempotency key) -> query id
    orders: dict[str, Order] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)  # lets long-polls go
    stats: Mapping[str, object] = field(
        default_factory=lambda: {"orders": 1, "volume": {"USDT": Decimal("2.50")}}
    )
    live: set[str] = field(default_factory=set)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def _may(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.problem is not None:
            raise DeskRefused(self.problem)

    def _open(
        self,
        ticket: Ticket,
        verb: str,
        exchange: str | None,
        parameters: dict[str, object],
        error: Problem | None,
    ) -> QueryState:
        query = Query(
            query_id=f"q-{next(self._numbers)}",
            user=ticket.user,
            bot=ticket.bot,
            verb=verb,
            exchange=exchange,
            parameters=parameters,
            idempotency_key=ticket.idempotency_key,
            body_digest=ticket.body_digest,
            record_in_db=ticket.record_in_db,
            send_fail_email=ticket.send_fail_email,
            mode=self.mode(exchange),
            status=QueryStatus.FAILED if error is not None else self.status,
            accepted_at=NOW,
            error=error,
            seq=1,
        )
        state = QueryState(query=query, orders=[], fills={}, progress=None)
        self.states[query.query_id] = state
        return state

    def submit(self, ticket: Ticket, command: Command) -> QueryState:
        self.calls.append(("submit", ticket, command))
        self._may()
        known = self.keys.get((ticket.user, ticket.idempotency_key))
        if known is not None:
            return replace(self.states[known], duplicate=True)
        exchange = getattr(command, "exchange", None)
        state = self._open(ticket, verb_of(command), exchange, encode_command(command), self.query_error)
        self.keys[ticket.user, ticket.idempotency_key] = state.query.query_id
        return state

    def refuse(
        self, ticket: Ticket, verb: str, exchange: str | None, parameters: dict[str, object], problem: Problem
    ) -> QueryState | None:
        self.calls.append(("refuse", ticket, verb, exchange, parameters, problem))
        if self.problem is not None:
            return None
        return self._open(ticket, verb, exchange, parameters, problem)

    def wait(self, user: str, query_id: str, after_seq: int, timeout_s: float) -> QueryState | None:
        self.calls.append(("wait", user, query_id, after_seq, timeout_s))
        self._may()
        if timeout_s > 0:
            self.release.wait(timeout_s)
        state = self.states.get(query_id)
        return state if state is not None and state.query.user == user else None

    def order(self, user: str, order_id: str) -> tuple[Order, Sequence[Fill], Sequence[HistoryEntry]] | None:
        self._may()
        found = self.orders.get(order_id)
        return (found, [FILL], [CHANGE]) if found is not None and found.user == user else None

    def past_orders(
        self, *, user: str, bot: str, wanted: OrderFilter
    ) -> tuple[Sequence[Order], Mapping[str, Sequence[Fill]], str | None]:
        self.calls.append(("past_orders", user, bot, wanted))
        self._may()
        return [o for o in self.orders.values() if o.user == wanted.user], {"o-1": [FILL]}, "next|1"

    def order_stats(self, *, user: str, bot: str, wanted: OrderFilter) -> Mapping[str, object]:
        self.calls.append(("order_stats", user, bot, wanted))
        self._may()
        return self.stats

    def limits(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("limits", asked))
        self._may()
        return {"controls": [], "changes": []}

    def risk(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("risk", asked))
        self._may()
        return {"limits": []}

    def halts(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("halts", asked))
        self._may()
        return {"halts": [], "complete": True}

    def balances(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("balances", asked))
        self._may()
        return {"exchange": asked["exchange"], "balances": {"USDT": {"free": Decimal("1000.50")}}}

    def positions(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("positions", asked))
        self._may()
        return examples.POSITIONS

    def funding(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("funding", asked))
        self._may()
        return examples.FUNDING

    def exchange_stats(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("exchange_stats", asked))
        self._may()
        return self.stats

    def exchange_orders(self, **asked: object) -> Page:
        return self._page("exchange_orders", asked)

    def transfers(self, **asked: object) -> Page:
        return self._page("transfers", asked)

    def _page(self, what: str, asked: dict[str, object]) -> Page:
        self.calls.append((what, asked))
        self._may()
        return Page(rows=(), next_cursor=None, since=NOW, until=NOW, complete=True, notes=())

    def fees(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("fees", asked))
        self._may()
        return {"fees": [{"symbol": "ETH/USDT", "maker": Decimal("0.0016")}]}

    def portfolio(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("portfolio", asked))
        self._may()
        return examples.PORTFOLIO

    def slices(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("slices", asked))
        self._may()
        return examples.SLICES

    def snapshots(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("snapshots", asked))
        self._may()
        return examples.SNAPSHOTS

    def pnl(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("pnl", asked))
        self._may()
        return examples.PNL

    def costs(self, **asked: object) -> Mapping[str, object]:
        self.calls.append(("costs", asked))
        self._may()
        return {"summary": {"n": 0}, "groups": {"algo": []}, "rows": []}

    def cost_plot(self, **asked: object) -> bytes:
        self.calls.append(("cost_plot", asked))
        self._may()
        return b"\x89PNG\r\n\x1a\n..."

    def health(self) -> Mapping[str, object]:
        self._may()
        return {"ready": not self.missing, "missing": self.missing, "accounts": []}

    def not_ready(self) -> list[str]:
        return self.missing

    def mode(self, exchange: str | None = None) -> str:
        return "live" if (self.live if exchange is None else exchange in self.live) else "paper"


@dataclass
class StubNotifications:
    """Takes whatever is asked, in a desk's hands so that its calls are seen there."""

    desk: StubDesk

    def submit(self, ticket: Ticket, command: Command) -> QueryState:
        self.desk.status = QueryStatus.DONE
        return self.desk.submit(ticket, command)

    def rules(self, user: str | None) -> list[dict[str, object]]:
        self.desk.calls.append(("rules", user))
        return []

    def messages(self, user: str, *, wait_s: float, **wanted: object) -> Mapping[str, object]:
        self.desk.calls.append(("messages", user, wait_s, wanted))
        return {"notifications": [], "next_cursor": None, "latest": None}

    def health(self) -> Mapping[str, object]:
        return {"channels": ["in_app"], "waiting": {}, "trouble": {"desk@example.org": "away"}}


def key(name: str) -> signing.PrivateKey:
    """Return the private key of a name, the same every time."""
    return signing.PrivateKey((name.encode() * 32)[:32])


USERS = {"alice": "trade", "bob": "trade", "rita": "read", "adam": "admin"}  # user -> role


def authenticator(
    hosts: tuple[str, ...] = (HOST,), clock: Callable[[], float] = NOW.timestamp
) -> Authenticator:
    keys = [ApiKey(user=user, public=key(user).public, role=role) for user, role in USERS.items()]
    return Authenticator({k.public.keyid: k for k in keys}, hosts, clock, NOW.timestamp() - 3600)


_nonces = itertools.count(1)


def signed(
    user: str, method: str, target: str, body: bytes = b"", *, host: str = HOST, now: float = NOW.timestamp()
) -> dict[str, str]:
    """Return the headers of a request signed by a user, with a nonce never used before."""
    nonce = signing.make_nonce(next(_nonces).to_bytes(16, "big"))
    return signing.sign(key(user), method, host, target, body, now=int(now), nonce=nonce)


def make_app(desk: StubDesk, **changes: object) -> Api:
    numbers = itertools.count(1)
    given: dict[str, object] = {
        "clock": lambda: NOW,
        "ids": lambda: f"r-{next(numbers)}",
        "notifications": StubNotifications(desk),
        **changes,
    }
    return create_app(desk, authenticator(), Settings(), **given)  # type: ignore[arg-type]


@dataclass
class Caller:
    """A user with a signing client in front of the application."""

    client: FlaskClient
    user: str = "alice"
    keys: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def get(self, target: str, **headers: str) -> TestResponse:
        return self.client.get(target, headers={"Host": HOST, **signed(self.user, "GET", target), **headers})

    def post(
        self, verb: str, body: object, *, idempotency_key: str | None = "", **headers: str
    ) -> TestResponse:
        """Send a write; an empty key stands for a new one, None for none."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        target = verb if verb.startswith("/") else f"/api/{verb}"
        sent = {"Host": HOST, "Content-Type": "application/json", **signed(self.user, "POST", target, raw)}
        if idempotency_key is not None:
            sent["Idempotency-Key"] = idempotency_key or f"key-{next(self.keys)}"
        return self.client.post(target, data=raw, headers={**sent, **headers})


MARKET_ORDER = {"exchange": "kraken", "side": "buy", "symbol": "ETH/USDT", "quantity": "0.25", "bot": "bot-1"}
LIMIT_ORDER = {**MARKET_ORDER, "price": "2450.10"}
SMART_ORDER = {
    "exchange": "kraken",
    "start_currency": "USDT",
    "end_currency": "ETH",
    "start_amount": "1000",
    "bot": "bot-1",
}
BODIES: dict[str, dict[str, object]] = {  # verb -> a body it accepts
    "market_order": dict(MARKET_ORDER),
    "limit_order": dict(LIMIT_ORDER),
    "edit_order": {"order_id": "o-1", "price": "2440"},
    "order": {**LIMIT_ORDER, "order_type": "limit"},
    "smart_order": dict(SMART_ORDER),
    "liquidate": {"exchange": ["kraken", "binance"], "end_currency": "USDT"},
    "rebalance": {"exchange": "all", "targets": {"BTC": "60%", "USDT": "40%"}},
    "quote": dict(SMART_ORDER),
    "cancel_order": {"order_id": "o-1"},
    "cancel_all_orders": {},
    "halt": {"all": True},
    "resume": {"halt_id": "q-1"},
    "set_slice": {"of_bot": "bot-1", "exchange": "kraken", "amounts": {"USDT": "1000"}},
    "set_notification_rule": {"name": "fills", "channel": "in_app"},
    "delete_notification_rule": {"name": "fills"},
    "acknowledge_notification": {"message_id": "m-1"},
    "test_notification": {"name": "fills"},
    "set_leverage": {"exchange": "okx", "symbol": "BTC/USDT:USDT", "leverage": "2"},
    "set_limit": {"setting": "credit_limit", "value": "50000", "user": "alice"},
}
