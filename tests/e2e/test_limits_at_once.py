"""Many signed clients at once: no interleaving of requests exceeds a limit, by the exchange's own ledger.

Every case has users of its own, so that one counts nothing of another's. All of its clients start at one
moment, each from a thread and a connection of its own.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from oms_client import OMSClient, signing
from oms_client.answers import Order
from oms_client.errors import OMSError
from tests.e2e.processes import ServerProcess, SimulatorProcess

THREADS = 12  # of each user
PRICE, SYMBOL = "2000", "ETH/USDT"
D = Decimal


@dataclass
class House:
    """A server over one exchange, and keys for as many users as the cases need."""

    server: ServerProcess
    keys: dict[str, signing.KeyPair]
    used: int = 0

    @property
    def exchange(self) -> str:
        return self.server.simulators[0].exchange

    @property
    def admin(self) -> OMSClient:
        return OMSClient("adam", self.server.url, "desk", key=self.server.admin.private)

    def users(self, count: int) -> list[str]:
        """Return users that have asked for nothing yet."""
        self.used += count
        return [f"user{number}" for number in range(self.used - count, self.used)]

    def client(self, user: str, bot: str) -> OMSClient:
        return OMSClient(user, self.server.url, bot, key=self.keys[user].private, max_retries=0)

    def ledger(self) -> list[dict[str, object]]:
        """Return every order that ever reached the exchange."""
        return self.server.simulators[0].admin("orders")


@pytest.fixture(
    scope="module",
    params=["binance", pytest.param("kraken", marks=pytest.mark.postgres)],
)
def house(request, tmp_path_factory):
    """Binance's over SQLite, Kraken's over PostgreSQL."""
    folder = tmp_path_factory.mktemp("at-once")
    with ExitStack() as stack:
        simulator = SimulatorProcess(request.param, folder / "exchange.log").start()
        stack.callback(simulator.stop)
        lite = request.param == "binance"
        url = f"sqlite:///{folder / 'oms.sqlite'}" if lite else request.getfixturevalue("pg_module_url")
        server = ServerProcess([simulator], url, folder / "server.log")
        keys = {f"user{number}": signing.generate_keys() for number in range(30)}
        known = [f"alice,{server.keys.public}", f"adam,{server.admin.public},admin"]
        known += [f"{user},{pair.public}" for user, pair in keys.items()]
        server.environment = {"OMS_KEYS": ";".join(known)}
        server.start()
        stack.callback(server.stop)
        yield House(server, keys)


Ask = Callable[[OMSClient, int], Order]


def rests(house: House, quantity: str = "0.01") -> Ask:
    """Return how a client asks for an order that rests, like no other."""

    def ask(client: OMSClient, number: int) -> Order:
        return client.limit_order(
            house.exchange, "buy", SYMBOL, quantity, PRICE, idempotency_key=f"one-{number}"
        )

    return ask


@dataclass
class Storm:
    """What came of clients that asked at one moment."""

    accepted: dict[str, list[str]] = field(default_factory=dict)  # user -> ids of their orders
    refused: list[OMSError] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {user: len(orders) for user, orders in self.accepted.items()}


def at_once(house: House, users: list[str], ask: Ask, threads: int = THREADS) -> Storm:
    """Let so many clients of each user ask at one moment."""
    storm = Storm(accepted={user: [] for user in users})
    together = threading.Barrier(threads * len(users))

    def one(user: str, number: int) -> None:
        client = house.client(user, f"bot{number % 3}")
        together.wait(30)
        while True:
            try:
                storm.accepted[user].append(ask(client, number).order_id)
            except OMSError as error:
                if error.code == "ENGINE_BUSY":  # too many at once: the same key is never done twice
                    continue
                storm.refused.append(error)
            return

    bots = [threading.Thread(target=one, args=(u, n)) for u in users for n in range(threads)]
    for bot in bots:
        bot.start()
    for bot in bots:
        bot.join(60)
    return storm


# --- What is set, and what fits then: each returns (user -> how many fit, how they ask, the code of the rest)

Case = tuple[dict[str, int], Ask, str]


def open_orders(house: House) -> Case:
    first, second = users = house.users(2)
    for user, most in zip(users, (5, 8), strict=True):
        house.admin.set_limit("max_open_orders", most, user=user)
    return {first: 5, second: 8}, rests(house), "MAX_OPEN_ORDERS"


def open_orders_of_a_symbol(house: House) -> Case:
    (user,) = house.users(1)
    house.admin.set_limit("max_open_orders_per_symbol", 4, user=user, symbol=SYMBOL)
    return {user: 4}, rests(house), "MAX_OPEN_ORDERS"


def credit(house: House) -> Case:
    first, second = users = house.users(2)
    for user, most in zip(users, ("100", "79.99"), strict=True):  # 20 USD each: one meets its limit
        house.admin.set_limit("credit_limit", most, user=user, exchange=house.exchange)
    return {first: 5, second: 3}, rests(house), "CREDIT_LIMIT"


def position(house: House) -> Case:
    (user,) = house.users(1)
    house.admin.set_limit("max_position", 1, exchange=house.exchange, symbol=SYMBOL)
    with pytest.raises(OMSError) as refused:
        rests(house, "0.1")(house.client(user, "bot"), 99)
    held = house.client(user, "bot").get_balances(house.exchange).total("ETH")
    middle = D(refused.value.details["value"]) / (held + D("0.1"))
    most = str(((held + D("0.65")) * middle).quantize(D(1)))
    house.admin.set_limit("max_position", most, exchange=house.exchange, symbol=SYMBOL)
    return {user: 6}, rests(house, "0.1"), "POSITION_LIMIT"


def funds(house: House) -> Case:
    first, second = house.users(2)
    free = house.client(first, "bot").get_balances(house.exchange).free("USDT")
    quantity = (free * D("0.3") / D(PRICE)).quantize(D("0.001"))
    return {first: 3, second: 0}, rests(house, str(quantity)), "FUNDS_INSUFFICIENT"  # 3 of the two together


def messages(house: House) -> Case:
    first, second = users = house.users(2)
    for user, most in zip(users, (6, 9), strict=True):
        house.admin.set_limit("orders_per_minute", most, user=user)
    return {first: 6, second: 9}, rests(house), "RATE_LIMIT_EXCEEDED"


def burst(house: House) -> Case:
    (user,) = house.users(1)
    house.admin.set_limit("orders_per_second", "0.01", user=user)
    house.admin.set_limit("order_burst", 4, user=user)
    return {user: 4}, rests(house), "RATE_LIMIT_EXCEEDED"


def duplicates(house: House) -> Case:
    first, second = users = house.users(2)
    for user in users:
        house.admin.set_limit("duplicate_window", 30, user=user)
    return {first: 1, second: 1}, rests(house), "DUPLICATE_SUSPECTED"


CASES = (open_orders, open_orders_of_a_symbol, credit, position, funds, messages, burst, duplicates)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_exactly_as_many_pass_as_fit_and_the_rest_is_refused_with_the_code(house, case):
    fits, ask, code = case(house)
    before = {order["client_order_id"] for order in house.ledger()}
    storm = at_once(house, list(fits), ask)
    house.admin.set_limit("max_position", "off", exchange=house.exchange, symbol=SYMBOL)
    if case is funds:  # whoever comes first: it is the account's money
        assert sum(storm.counts().values()) == sum(fits.values())
    else:
        assert storm.counts() == fits
    assert Counter(error.code for error in storm.refused) == {code: THREADS * len(fits) - sum(fits.values())}
    assert {error.venue_code for error in storm.refused} == {None}, "none of them was sent"
    placed = [order for order in house.ledger() if order["client_order_id"] not in before]
    assert len(placed) == sum(fits.values()), "by the exchange's own ledger"
    assert all(order["status"] == "submitted" for order in placed)
    for user, accepted in storm.accepted.items():
        client = house.client(user, "bot")
        kept = client.get_past_orders(limit=100)["orders"]
        assert {order["order_id"] for order in kept if order["status"] == "submitted"} == set(accepted)
        client.cancel_all_orders(scope="user")


def test_a_second_server_on_the_same_database_refuses_to_start(house, tmp_path):
    """Control 21. Nothing of it reaches the exchange: two writers would count each for itself."""
    before = house.ledger()
    second = ServerProcess(house.server.simulators, house.server.db_url, tmp_path / "second.log")
    second.spawn()
    assert second.process is not None and second.process.wait(30) == 2
    (line,) = (tmp_path / "second.log").read_text().strip().splitlines()[-1:]
    assert line.startswith("oms: ") and str(house.server.process.pid) in line
    assert house.ledger() == before
    order = rests(house)(house.client(*house.users(1), "bot"), 1)
    assert order.status == "submitted", "the first one goes on"


@pytest.mark.timeout(120)
def test_a_limit_of_everybody_holds_for_all_users_together(house):
    users = house.users(3)
    house.admin.set_limit("global_credit_limit", 10**9)
    (row,) = [one for one in house.admin.get_risk()["limits"] if one["setting"] == "global_credit_limit"]
    house.admin.set_limit("global_credit_limit", str(D(row["used"]) + 145))  # 20 USD each
    storm = at_once(house, users, rests(house))
    house.admin.set_limit("global_credit_limit", "off")
    assert sum(storm.counts().values()) == 7
    assert {error.code for error in storm.refused} == {"CREDIT_LIMIT"}
    for user in users:
        house.client(user, "bot").cancel_all_orders(scope="user")


@pytest.mark.timeout(120)
def test_one_key_is_one_order_however_often_and_from_wherever_it_is_asked(house):
    (user,) = house.users(1)
    before = len(house.ledger())

    def ask(client: OMSClient, number: int) -> Order:
        return client.limit_order(
            house.exchange, "buy", SYMBOL, "0.01", PRICE, idempotency_key="the one", allow_duplicate=True
        )

    storm = at_once(house, [user], lambda client, number: ask(house.client(user, "bot"), number))
    assert storm.refused == []
    assert len(storm.accepted[user]) == THREADS and len(set(storm.accepted[user])) == 1
    assert len(house.ledger()) == before + 1
    house.client(user, "bot").cancel_all_orders(scope="user")


@pytest.mark.timeout(120)
def test_executions_beyond_the_throttle_halt_once_and_nothing_passes_afterwards(house):
    """An execution counts when it has filled: what was on its way by then is not called back."""
    (user,) = house.users(1)
    house.admin.set_limit("executions_per_minute", 4, user=user)

    def take(client: OMSClient, number: int) -> Order:
        return client.market_order(house.exchange, "buy", SYMBOL, "0.01", idempotency_key=f"{number}")

    storm = at_once(house, [user], take)
    assert len(storm.accepted[user]) >= 4
    with pytest.raises(OMSError) as refused:
        take(house.client(user, "late"), THREADS)
    assert refused.value.code == "EXECUTION_THROTTLE"
    halts = [h for h in house.admin.get_halts()["halts"] if h["in_force"] and h["user"] == user]
    assert len(halts) == 1 and halts[0]["source"] == "EXECUTION_THROTTLE"
    house.admin.resume(halts[0]["halt_id"])
