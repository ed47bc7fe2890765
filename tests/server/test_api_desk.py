"""The API over the real desk, engine and runner, with a venue that fills at once: the halves fit together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ems.core import messages as m
from ems.core.child import Patience
from ems.core.instrument import Market
from ems.core.records import Transfer, VenueOrder
from ems.desk import Desk
from ems.engine import Engine
from ems.engine.account import Account
from ems.histories import Histories
from ems.loop import AsyncScheduler, LoopThread
from ems.runner import Runner
from ems.store import MemoryStore, OrderFilter
from ems.venues.gateway import Offer
from server.api.app import create_app
from server.settings import Settings
from tests.limits import opened
from tests.server.api_world import (
    LIMIT_ORDER,
    MARKET_ORDER,
    NOW,
    SMART_ORDER,
    Caller,
    StubDesk,
    StubNotifications,
    authenticator,
)

MARKET = Market(
    exchange="kraken",
    symbol="ETH/USDT",
    base="ETH",
    quote="USDT",
    tick=Decimal("0.01"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.001"),
    max_quantity=Decimal(100),
    min_notional=Decimal(5),
    maker_fee=Decimal("0.001"),
    taker_fee=Decimal("0.002"),
    fee_mode="quote",
)
PRICE = Decimal(2000)
OFFER = Offer(at_once=timedelta(days=30), reach=None, per_market=False, misses="")


class CountingStore(MemoryStore):
    """The store in memory, with the statistics the database has."""

    def order_stats(self, user: str, wanted: OrderFilter) -> dict[str, object]:
        return {"orders": len(self.past_orders(wanted)[0])}


@dataclass
class FillsAtOnce:
    """An exchange account where market orders fill whole at one price, and limit orders rest."""

    exchange: str = "kraken"
    account: str = "default"
    mode: str = "paper"
    recv_window_s: float = 5.0
    client_id_style: str = "hex32"
    past_orders_offer: Offer | None = None
    transfers_offer: Offer | None = OFFER
    sent: list[m.Request] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    deliver: Callable[[m.VenueReport], None] = lambda report: None

    def open(self, deliver: Callable[[m.VenueReport], None]) -> None:
        self.deliver = deliver
        deliver(m.MarketsLoaded(markets=(MARKET,)))
        deliver(m.StreamUp())

    def send(self, request: m.Request) -> None:
        now = datetime.now(UTC)
        match request:
            case m.QueryBalances():
                free = {"USDT": Decimal(10_000), "ETH": Decimal(2)}
                self.deliver(m.Balances(free=free, used={}, query_sent_at=now))
            case m.QueryOpenOrders():
                self.deliver(m.OpenOrders(orders=(), query_sent_at=now))
            case m.WatchBook():
                self.deliver(
                    m.BookUpdate(
                        symbol=request.symbol,
                        bids=((PRICE - 1, Decimal(50)),),
                        asks=((PRICE, Decimal(50)),),
                        at=now,
                    )
                )
            case m.NewOrder():
                self.sent.append(request)
                self._accept(request, f"x{next(self.numbers)}", now)
            case m.CancelRequest():
                self.sent.append(request)
                self.deliver(m.CancelAcked(order_id=request.order_id, filled_quantity=Decimal(0)))

    def _accept(self, request: m.NewOrder, exchange_order_id: str, now: datetime) -> None:
        if request.order_type is m.OrderType.LIMIT and request.time_in_force is m.TimeInForce.GTC:
            self.deliver(m.Acked(order_id=request.order_id, exchange_order_id=exchange_order_id))
            return
        fill = m.FillReport(
            fill_id=f"f{exchange_order_id}",
            exchange_order_id=exchange_order_id,
            symbol=request.symbol,
            side=request.side,
            price=PRICE,
            quantity=request.quantity,
            fee=Decimal("0.5"),
            fee_currency="USDT",
            liquidity=m.Liquidity.TAKER,
            at=now,
            order_id=request.order_id,
        )
        self.deliver(
            m.Acked(
                order_id=request.order_id,
                exchange_order_id=exchange_order_id,
                filled_quantity=request.quantity,
                ending=m.Ending.FILLED,
                fills=(fill,),
            )
        )

    async def close(self) -> None: ...

    async def fetch_balances(self) -> dict[str, dict[str, Decimal]]:
        return {"USDT": {"free": Decimal("10000.50"), "used": Decimal(0), "total": Decimal("10000.50")}}

    async def fetch_fees(self, symbol: str | None) -> list[dict[str, object]]:
        return [{"symbol": "ETH/USDT", "maker": Decimal("0.001"), "taker": Decimal("0.002")}]

    async def fetch_tier(self) -> dict[str, object] | None:
        return {"name": "VIP 1", "volume_30d": None, "currency": None}

    async def fetch_past_orders(
        self, symbol: str | None, since: datetime, until: datetime
    ) -> list[VenueOrder]:
        return []

    async def fetch_transfers(self, since: datetime, until: datetime) -> list[Transfer]:
        when = NOW - timedelta(days=1)
        row = Transfer(
            exchange=self.exchange,
            account=self.account,
            mode=self.mode,
            kind="deposit",
            transfer_id="1",
            currency="USDT",
            amount=Decimal(5),
            fee=None,
            status="ok",
            txid=None,
            at=when,
            final=True,
        )
        return [row] if since <= when < until else []

    async def fetch_health(self) -> dict[str, object]:
        return {"reachable": True, "stream_up": True}

    async def fetch_order_fills(self, symbol: str, exchange_order_id: str) -> list[m.FillReport]:
        return []


@dataclass
class Whole:
    """Everything behind the port, and alice and bob in front of it."""

    store: CountingStore
    venue: FillsAtOnce
    loop: LoopThread
    desk: Desk
    alice: Caller
    bob: Caller

    def finished(self, query_id: str) -> dict[str, Any]:
        answer = self.alice.get(f"/api/get_query?query_id={query_id}&wait_s=5&after_seq={2**62}").get_json()
        return dict(answer["data"])


def build(store: CountingStore, number: int = 1) -> Whole:
    venue = FillsAtOnce()
    gateways = {("kraken", "default"): venue}
    account = Account(
        "kraken", "default", mode="paper", patience=Patience(recv_window_s=5.0), id_style="hex32"
    )
    loop = LoopThread()
    desk: Desk
    runner = Runner(
        Engine([account], mark="00000001"),
        store,
        gateways,
        AsyncScheduler(loop.loop),
        changed=lambda state: desk.changed(state),
        answered=lambda token, answer: desk.answered(token, answer),
    )
    numbers = itertools.count(1)
    histories = Histories(store, gateways, loop.wait, lambda: NOW)
    desk = Desk(loop, runner, store, gateways, lambda: f"q{number}n{next(numbers)}", histories)
    stub = StubNotifications(StubDesk())
    app = create_app(
        desk, authenticator(), Settings(), clock=lambda: NOW, ids=lambda: "r", notifications=stub
    )
    loop.start()
    loop.call(runner.start)
    return Whole(store, venue, loop, desk, Caller(app.test_client()), Caller(app.test_client(), "bob"))


@pytest.fixture
def whole() -> Iterator[Whole]:
    built = build(opened(CountingStore()))
    yield built
    built.desk.stop()
    built.loop.stop()


def test_a_market_order_is_accepted_filled_and_found_again(whole: Whole) -> None:
    response = whole.alice.post("market_order", MARKET_ORDER, idempotency_key="key-1")
    assert response.status_code in (200, 202)
    done = whole.finished(response.get_json()["data"]["query_id"])
    assert (done["status"], done["error"], done["verb"]) == ("done", None, "market_order")
    (order,) = done["orders"]
    assert (order["status"], order["filled_quantity"], order["remaining_quantity"]) == ("filled", "0.25", "0")
    assert (order["average_price"], order["fees"]) == ("2000", {"USDT": "0.5"})
    assert [fill["quantity"] for fill in order["fills"]] == ["0.25"]
    assert len(whole.venue.sent) == 1
    past = whole.alice.get("/api/get_past_orders").get_json()["data"]
    assert past == {"orders": [order], "next_cursor": None}
    found = whole.alice.get(f"/api/get_order?order_id={order['order_id']}").get_json()["data"]
    assert [change["status"] for change in found.pop("history")][-1] == "filled"
    assert found == order
    assert whole.alice.get("/api/get_order_stats").get_json()["data"] == {"orders": 1}
    assert whole.bob.get(f"/api/get_order?order_id={order['order_id']}").status_code == 404
    assert whole.bob.get(f"/api/get_query?query_id={done['query_id']}").status_code == 404
    assert whole.bob.get("/api/get_past_orders").get_json()["data"]["orders"] == []


def test_the_same_key_is_the_same_query_also_after_a_restart(whole: Whole) -> None:
    first = whole.alice.post("market_order", MARKET_ORDER, idempotency_key="key-1").get_json()["data"]
    whole.finished(first["query_id"])
    again = whole.alice.post("market_order", MARKET_ORDER, idempotency_key="key-1")
    assert (again.status_code, again.get_json()["data"]["query_id"]) == (200, first["query_id"])
    assert again.get_json()["data"]["duplicate"] is True
    other = whole.alice.post("market_order", {**MARKET_ORDER, "quantity": "9"}, idempotency_key="key-1")
    assert (other.status_code, other.get_json()["error"]["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert len(whole.venue.sent) == 1
    restarted = build(whole.store, number=2)
    try:
        after = restarted.alice.post("market_order", MARKET_ORDER, idempotency_key="key-1")
        assert (after.status_code, after.get_json()["data"]["query_id"]) == (200, first["query_id"])
        assert after.get_json()["data"]["status"] == "done"
        assert restarted.venue.sent == []
        # The key is the user's own: bob's is another query.
        assert restarted.bob.post("market_order", MARKET_ORDER, idempotency_key="key-1").status_code in (
            200,
            202,
        )
    finally:
        restarted.desk.stop()
        restarted.loop.stop()


def test_a_limit_order_rests_until_it_is_canceled(whole: Whole) -> None:
    body = {**LIMIT_ORDER, "price": "1900"}
    accepted = whole.alice.post("limit_order", body, idempotency_key="key-7")
    placed = whole.finished(accepted.get_json()["data"]["query_id"])
    (order,) = placed["orders"]
    assert (placed["status"], order["status"], order["closed_at"]) == ("done", "submitted", None)
    foreign = whole.bob.post("cancel_order", {"client_order_id": "key-7"})
    assert (foreign.status_code, foreign.get_json()["error"]["code"]) == (404, "ORDER_NOT_FOUND")
    cancel = whole.alice.post("cancel_order", {"client_order_id": "key-7"})
    assert cancel.status_code in (200, 202)
    assert whole.finished(cancel.get_json()["data"]["query_id"])["status"] == "done"
    ended = whole.alice.get(f"/api/get_order?order_id={order['order_id']}").get_json()["data"]
    assert (ended["status"], ended["remaining_quantity"], ended["fills"]) == ("canceled", "0", [])
    again = whole.alice.post("cancel_order", {"order_id": order["order_id"]})
    assert (again.status_code, again.get_json()["error"]["code"]) == (409, "ORDER_CLOSED")
    assert [type(request).__name__ for request in whole.venue.sent] == ["NewOrder", "CancelRequest"]


def test_a_dry_run_changes_nothing(whole: Whole) -> None:
    response = whole.alice.post("market_order", {**MARKET_ORDER, "dry_run": True})
    assert response.status_code == 200
    assert response.get_json()["data"]["result"]["dry_run"] is True
    assert (whole.venue.sent, whole.store.orders, whole.store.queries) == ([], {}, {})


REFUSED = {  # name -> (verb, body, HTTP status, code)
    "unknown exchange": ("market_order", {**MARKET_ORDER, "exchange": "krakn"}, 422, "EXCHANGE_UNKNOWN"),
    "bittrex": ("smart_order", {**SMART_ORDER, "exchange": "bittrex"}, 410, "EXCHANGE_CLOSED"),
    "unknown currency": ("smart_order", {**SMART_ORDER, "end_currency": "NOPE"}, 422, "CURRENCY_UNKNOWN"),
    "unknown symbol": ("market_order", {**MARKET_ORDER, "symbol": "ETH/EUR"}, 422, "SYMBOL_UNKNOWN"),
    "too small": ("market_order", {**MARKET_ORDER, "quantity": "0.0005"}, 422, "AMOUNT_TOO_SMALL"),
    "too small to convert": ("smart_order", {**SMART_ORDER, "start_amount": "1"}, 422, "AMOUNT_TOO_SMALL"),
    "too large": ("market_order", {**MARKET_ORDER, "quantity": "101"}, 422, "AMOUNT_TOO_LARGE"),
    "insufficient funds": ("market_order", {**MARKET_ORDER, "quantity": "90"}, 422, "FUNDS_INSUFFICIENT"),
    "insufficient to convert": (
        "smart_order",
        {**SMART_ORDER, "start_amount": "10001"},
        422,
        "FUNDS_INSUFFICIENT",
    ),
    "price below the step": ("limit_order", {**LIMIT_ORDER, "price": "0.001"}, 422, "PRICE_INVALID"),
    "negative": ("smart_order", {**SMART_ORDER, "start_amount": "-1"}, 400, "REQUEST_FIELD_INVALID"),
    "1e400": ("smart_order", {**SMART_ORDER, "start_amount": "1e400"}, 400, "REQUEST_FIELD_INVALID"),
    "absent": ("smart_order", {**SMART_ORDER, "start_amount": None}, 400, "REQUEST_FIELD_MISSING"),
    "no JSON": ("smart_order", b"{", 400, "REQUEST_MALFORMED"),
    "order of nobody": ("cancel_order", {"order_id": "nope"}, 404, "ORDER_NOT_FOUND"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_has_its_code_is_recorded_is_mailed_and_trades_nothing(whole: Whole, name: str) -> None:
    verb, body, status, code = REFUSED[name]
    response = whole.alice.post(verb, body)
    error = response.get_json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert error["hint"] and error["retry_safe"] is False
    assert (whole.venue.sent, whole.store.orders, whole.store.parents) == ([], {}, {})
    (query,) = whole.store.queries.values()
    assert (query.user, query.verb, str(query.status)) == ("alice", verb, "failed")
    assert query.error is not None and query.error.code == code
    (notice,) = whole.store.notices
    assert notice.query_id == query.query_id


def test_a_failure_is_not_mailed_when_nobody_wants_it(whole: Whole) -> None:
    body = {**MARKET_ORDER, "quantity": "-1", "send_fail_email": False, "record_in_db": False}
    assert whole.alice.post("market_order", body).status_code == 400
    assert (list(whole.store.queries), whole.store.notices) == ([], [])


def test_questions_reach_the_exchange_and_are_recorded(whole: Whole) -> None:
    balances = whole.alice.get("/api/get_balances?exchange=kraken&bot=bot-2").get_json()["data"]
    assert balances["balances"]["USDT"]["free"] == "10000.5"
    fees = whole.alice.get("/api/get_fees?exchange=kraken").get_json()["data"]
    assert fees["fees"] == [{"symbol": "ETH/USDT", "maker": "0.001", "taker": "0.002"}]
    transfers = whole.alice.get("/api/get_withdrawal_deposit_history?exchange=kraken").get_json()["data"]
    assert transfers["transfers"][0]["at"] == "2026-11-20T06:30:00.000000Z"
    closed = whole.alice.get("/api/get_balances?exchange=bittrex")
    assert (closed.status_code, closed.get_json()["error"]["code"]) == (410, "EXCHANGE_CLOSED")
    for _ in range(3):  # readings are written down after they are answered, some turns of the loop later
        whole.loop.call(lambda: None)
    recorded = [(q.verb, q.bot, str(q.status)) for q in whole.store.queries.values()]
    assert recorded == [
        ("get_balances", "bot-2", "done"),
        ("get_fees", "default", "done"),
        ("get_withdrawal_deposit_history", "default", "done"),
        ("get_balances", "default", "failed"),
    ]


def test_health_says_what_is_well(whole: Whole) -> None:
    data = whole.alice.get("/api/check_health").get_json()["data"]
    assert (data["ready"], data["missing"], data["accounts"][0]["readiness"]) == (True, [], "ready")
    assert data["market_data"]["feeds"] == []  # no provider is asked
    assert whole.alice.client.get("/readyz").get_json() == {"ready": True, "missing": []}
    whole.desk.stop()
    assert whole.alice.client.get("/readyz").get_json() == {
        "ready": False,
        "missing": ["the server is stopping"],
    }
    stopped = whole.alice.post("market_order", MARKET_ORDER)
    assert (stopped.status_code, stopped.get_json()["error"]["code"]) == (503, "ENGINE_STOPPED")
    assert stopped.headers["Retry-After"]


@pytest.mark.parametrize("target", ["get_exchange_orders?", "get_order_stats?source=exchange&", "get_fees?"])
def test_a_market_that_is_not_there_is_named(whole: Whole, target: str) -> None:
    placed = whole.alice.post("market_order", MARKET_ORDER, idempotency_key="k").get_json()["data"]
    whole.finished(placed["query_id"])  # so the markets are known by now
    answer = whole.alice.get(f"/api/{target}exchange=kraken&symbol=ETJ/USDT")
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (422, "SYMBOL_UNKNOWN")
    assert "ETJ/USDT" in error["message"]
