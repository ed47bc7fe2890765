"""Orders of every type over HTTP, where the exchange has them and where the server waits in its place."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest

from oms_client import OMSClient
from oms_client.errors import QueryFailed, Rejected
from tests.e2e.processes import ServerProcess, SimulatorProcess

D = Decimal
PASSPHRASES = {"coinbaseexchange": "phrase"}
WAIT_S = 30.0


@pytest.fixture(scope="module")
def house(tmp_path_factory, request):
    name, tmp_path = request.param, tmp_path_factory.mktemp(request.param)
    exchange = SimulatorProcess(
        name, tmp_path / "simulator.log", passphrase=PASSPHRASES.get(name, "")
    ).start()
    server = ServerProcess([exchange], f"sqlite:///{tmp_path / 'oms.sqlite'}", tmp_path / "server.log")
    server.start()
    yield House(server, exchange)
    server.stop()
    exchange.stop()


class House:
    """A server, its one exchange, and a bot."""

    def __init__(self, server: ServerProcess, exchange: SimulatorProcess):
        self.server, self.exchange = server, exchange
        self.name = exchange.exchange
        self.client = OMSClient("alice", server.url, "bot", key=server.keys.private)

    def restart(self) -> None:
        self.server.kill()
        self.server.start()

    def price(self) -> Decimal:
        plan = self.client.quote(
            exchange=self.name, start_currency="ETH", end_currency="USDT", start_amount="0.1"
        )
        return D(plan["legs"][0]["price"])

    def theirs(self) -> list[dict]:
        return self.exchange.admin("orders?open=true")

    def move_to(self, price: Decimal, order_id: str) -> None:
        """Let the market go there until something happens to the order: recorded books go on beside it."""
        deadline = time.monotonic() + WAIT_S
        before = self.client.get_order(order_id).status
        while self.client.get_order(order_id).status == before:
            assert time.monotonic() < deadline, f"still {before}"
            self.move(price)

    def move(self, price: Decimal) -> None:
        """Let the market be at a price, and trade there."""
        text = [[str((price * rate).quantize(D("0.01"))), "50"] for rate in (D(1), D("0.999"), D("1.0005"))]
        self.exchange.admin("book", {"symbol": "ETH/USDT", "bids": text[:2], "asks": text[2:]})
        trade = {"symbol": "ETH/USDT", "price": text[0][0], "quantity": "1", "taker_side": "sell"}
        self.exchange.admin("trade", trade)

    def stands(self, order_id: str):
        """Wait until the exchange has confirmed an order that follows from another."""
        deadline = time.monotonic() + WAIT_S
        while (order := self.client.get_order(order_id)).status == "pending":
            assert time.monotonic() < deadline, order
            time.sleep(0.05)
        return order

    def ended(self, order_id: str):
        deadline = time.monotonic() + WAIT_S
        while not (order := self.client.get_order(order_id)).is_closed:
            assert time.monotonic() < deadline, order
            time.sleep(0.05)
        return order


@pytest.mark.parametrize("house", ["coinbaseexchange"], indirect=True)
def test_where_the_exchange_has_no_such_stop_the_server_waits_over_a_kill_and_sells_once(house):
    stop = (house.price() * D("0.97")).quantize(D("0.01"))
    order = house.client.order(house.name, "sell", "ETH/USDT", "0.05", "stop_loss", stop_price=stop)
    assert (order.status, order.emulated, order.stop_price) == ("created", True, stop)
    assert house.theirs() == [], "the exchange has not heard of it"
    assert order.order_id in [o["order_id"] for o in house.client.get_past_orders(house.name)["orders"]]
    lower = (stop * D("0.995")).quantize(D("0.01"))
    edited = house.client.edit_order(order.order_id, stop_price=lower)
    assert (edited.how, edited.order_id, edited.stop_price) == ("here", order.order_id, lower)
    house.restart()
    house.move_to(stop * D("0.99"), order.order_id)
    done = house.ended(order.order_id)
    assert (done.status, done.filled_quantity) == ("filled", D("0.05"))
    sold = [o for o in house.exchange.admin("orders") if D(o["filled_quantity"]) > 0]
    assert [D(o["filled_quantity"]) for o in sold] == [D("0.05")]

    # What waits here can be cancelled, and ends at its time; nobody else is asked.
    waiting = house.client.order(house.name, "sell", "ETH/USDT", "0.05", "stop_loss", stop_price="100")
    assert house.client.cancel_order(waiting.order_id)["canceled"] == [waiting.order_id]
    with pytest.raises(Rejected) as met:
        house.client.order(house.name, "sell", "ETH/USDT", "0.05", "stop_loss", stop_price="99999")
    assert met.value.code == "PRICE_INVALID"


@pytest.mark.parametrize("house", ["binance", "kraken"], indirect=True)
def test_where_the_exchange_has_it_the_stop_waits_there(house):
    stop = (house.price() * D("0.97")).quantize(D("0.01"))
    order = house.client.order(house.name, "sell", "ETH/USDT", "0.05", "stop_loss", stop_price=stop)
    assert (order.status, order.emulated) == ("submitted", False)
    (theirs,) = house.theirs()
    assert D(theirs["quantity"]) == D("0.05")
    house.move_to(stop * D("0.99"), order.order_id)
    assert house.ended(order.order_id).filled_quantity == D("0.05")

    # Its time is over: the server takes it down, and says so beforehand.
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    price = (house.price() * D("0.9")).quantize(D("0.01"))
    brief = house.client.order(
        house.name, "buy", "ETH/USDT", "0.05", "limit", price=price, time_in_force="GTD", expires_at=soon
    )
    assert (brief.status, brief.expires_by) == ("submitted", "server")
    assert house.ended(brief.order_id).status == "expired"
    assert house.theirs() == []

    # Another price: in one step at Kraken, at Binance by another order, and one of them in either case.
    first = house.client.limit_order(house.name, "buy", "ETH/USDT", "0.05", price)
    better = (price * D("1.01")).quantize(D("0.01"))
    edited = house.client.edit_order(first.order_id, price=better, quantity="0.06")
    assert edited.how == {"kraken": "in_place", "binance": "replaced"}[house.name]
    assert edited.replaces == (first.order_id if edited.how == "replaced" else None)
    (theirs,) = house.theirs()
    assert (D(theirs["price"]), D(theirs["quantity"])) == (better, D("0.06"))
    stands = house.client.get_order(edited.order_id)
    assert (stands.status, stands.price, stands.quantity) == ("submitted", better, D("0.06"))


@pytest.mark.parametrize("house", ["binance", "kraken"], indirect=True)
def test_a_stop_is_neither_taken_nor_let_go_for_a_price_that_is_met_already(house):
    price = house.price()
    stop, met = ((price * rate).quantize(D("0.01")) for rate in (D("0.5"), D("1.2")))
    before = {order["client_order_id"] for order in house.theirs()}
    with pytest.raises(Rejected) as refused:
        house.client.order(house.name, "sell", "ETH/USDT", "0.05", "stop_loss", stop_price=met)
    assert refused.value.code == "PRICE_INVALID"
    order = house.client.order(house.name, "sell", "ETH/USDT", "0.05", "stop_loss", stop_price=stop)
    with pytest.raises(Rejected) as kept:
        house.client.edit_order(order.order_id, stop_price=met)
    assert kept.value.code == "PRICE_INVALID"
    after = {order["client_order_id"] for order in house.theirs()}
    assert after - before == {order.client_order_id}, "the one that was asked for, and still it"
    assert house.client.cancel_order(order.order_id)["canceled"] == [order.order_id]


@pytest.mark.parametrize("house", ["binance", "kraken"], indirect=True)
def test_what_is_attached_sells_what_came_in_after_a_kill_and_nothing_twice(house):
    price = house.price()
    stop = (price * D("0.96")).quantize(D("0.01"))
    entry = house.client.order(
        house.name,
        "buy",
        "ETH/USDT",
        "0.05",
        "market",
        stop_loss={"stop_price": stop},
        take_profit={"stop_price": price * 2, "price": price * 2},
    )
    assert (entry.status, entry.filled_quantity, entry["purpose"]) == ("filled", D("0.05"), "direct")
    came = entry.filled_quantity - sum(f.fee for f in entry.fills if f.fee_currency == "ETH")
    page = house.client.get_past_orders(house.name)["orders"]
    guards = {o["purpose"]: o["order_id"] for o in page if o["query_id"] == entry["query_id"]}
    assert guards.keys() == {"direct", "stop_loss", "take_profit"}
    guard = house.stands(guards["stop_loss"])
    assert (guard.status, guard.side, guard.emulated) == ("submitted", "sell", False)
    assert came - D("0.0002") <= guard.quantity <= came
    profit = house.client.get_order(guards["take_profit"])
    assert (profit.status, profit.emulated, profit.quantity) == ("created", True, guard.quantity)
    (theirs,) = [o for o in house.theirs() if o["client_order_id"] == guard.client_order_id]
    assert D(theirs["quantity"]) == guard.quantity
    before = len(house.exchange.admin("orders"))
    house.server.kill()
    house.move(stop * D("0.98"))
    (theirs,) = [o for o in house.exchange.admin("orders") if o["order_id"] == theirs["order_id"]]
    assert D(theirs["filled_quantity"]) == guard.quantity, "sold while the server was down"
    house.server.start()
    assert house.ended(guard.order_id).filled_quantity == guard.quantity
    assert house.ended(guards["take_profit"]).status == "canceled"
    assert len(house.exchange.admin("orders")) == before


@pytest.mark.parametrize("house", ["binance", "kraken"], indirect=True)
def test_the_profit_takes_the_place_of_the_guard_when_its_price_comes(house):
    price = house.price()
    entry = house.client.order(
        house.name,
        "buy",
        "ETH/USDT",
        "0.05",
        "market",
        stop_loss={"stop_price": (price * D("0.5")).quantize(D("0.01"))},
        take_profit={"stop_price": (price * D("1.02")).quantize(D("0.01"))},
    )
    page = house.client.get_past_orders(house.name)["orders"]
    guards = {o["purpose"]: o["order_id"] for o in page if o["query_id"] == entry["query_id"]}
    assert house.stands(guards["stop_loss"]).status == "submitted"
    house.move_to(price * D("1.03"), guards["take_profit"])
    sold = house.ended(guards["take_profit"])
    assert (sold.status, sold.filled_quantity) == ("filled", sold.quantity)
    stop = house.ended(guards["stop_loss"])
    assert (stop.status, stop.filled_quantity) == ("canceled", D(0))
    assert stop.client_order_id not in [o["client_order_id"] for o in house.theirs()]


@pytest.mark.parametrize(
    ("exchange", "venue_code", "words"),
    [("binance", "-2010", "immediately match"), ("kraken", "EOrder:Post only order", "Post only")],
)
def test_every_change_of_an_order_is_told_with_whose_no_it_was(world, truth, exchange, venue_code, words):
    client = world.client(f"history-{exchange}")
    price = (truth.price(exchange, "ETH/USDT") * D("1.02")).quantize(D("0.01"))
    with pytest.raises(QueryFailed) as refused:
        client.limit_order(exchange, "buy", "ETH/USDT", "0.05", price, post_only=True)
    history = client.get_order(refused.value.details["order_id"])["history"]
    assert [change["status"] for change in history] == ["created", "pending", "rejected"]
    assert [change["what"] for change in history] == ["created", "intend", "reject"]
    no = history[-1]
    assert (no["code"], no["venue_code"]) == ("VENUE_REJECTED", venue_code)
    assert words in no["venue_message"] and words in no["message"]
    assert all(change["venue_message"] is None for change in history[:-1])
