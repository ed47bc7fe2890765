"""Limits through the gateway: what answers tell is believed, a ban stops everybody and loses nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core.messages import (
    Acked,
    AmendRefused,
    Balances,
    CancelAcked,
    CancelRefused,
    Found,
    LookupFailed,
    NewOrder,
    OpenOrders,
    OrderStatus,
    OutcomeUnknown,
    QueryBalances,
    QueryOpenOrders,
    Refusal,
    Rejected,
    StreamUp,
    TimeInForce,
    Withdraw,
)
from ems.venues.ccxt_gateway import CcxtGateway, VenueKeys
from ems.venues.creates import CREATE_PATIENCE_S
from ems.venues.departures import Departures
from ems.venues.dialects import DIALECTS
from ems.venues.feedback import learn
from ems.venues.limiter import Budget, Limiter, Priority
from ems.venues.transport import Attempt, Call, exact_json
from simulator.faults import Rule
from tests.venues.gateways import Reports, cancel_of, look_up, new_order, opened
from tests.venues.scripted import Reply, ScriptedVenue
from tests.venues.simulated import Simulated, keys_of, simulated
from tests.venues.test_amends import amend_of
from tests.venues.test_create_outcomes import ACCEPTED, CREATE

NOW = 1_786_017_600.0  # of the venue


# --- What answers tell ---------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def told(
    exchange: str, what: str, *, status: int = 200, body: str = "{}", headers: dict[str, str] | None = None
) -> tuple[Budget, Budget, Clock]:
    """Return the budgets of two accounts after the first had this answer to a call that cost this."""
    clock = Clock()
    limiter = Limiter(DIALECTS[exchange].limits.shapes, clock)
    mine, other = limiter.of("mine"), limiter.of("other")
    call = Call(symbol="BTC/USDT", costs=DIALECTS[exchange].limits.costs_of(what, "BTC/USDT"))
    read = exact_json(body) if body[0] == "{" else None
    attempt = Attempt("POST", "", status=status, headers=headers or {}, text=body, body=read)
    learn(attempt, call, DIALECTS[exchange], mine, NOW)
    return mine, other, clock


ORDER_10S = {"X-MBX-ORDER-COUNT-10S": "100"}
BYBIT_FULL = {
    "X-Bapi-Limit": "20",
    "X-Bapi-Limit-Status": "0",
    "X-Bapi-Limit-Reset-Timestamp": str(int((NOW + 0.4) * 1000)),
}
TOO_MANY = '{"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "time": 1}'
KRAKEN_COUNTER = '{"error": ["EAPI:Rate limit exceeded"]}'
KRAKEN_ENGINE = '{"error": ["EOrder:Rate limit exceeded"]}'
KRAKEN_LOCKED = '{"error": ["EGeneral:Temporary lockout"]}'
OKX_BUSY = '{"code": "50011", "msg": "Too Many Requests", "data": []}'
OKX_ORDERS = '{"code": "1", "msg": "", "data": [{"sCode": "50061", "sMsg": "You have reached the maximum"}]}'
WEIGHT = '{"code": -1003, "msg": "Too much request weight used"}'
COUNT = '{"code": -1015, "msg": "Too many new orders; current limit is 100 orders per 10 SECOND."}'


@pytest.mark.parametrize(
    ("name", "exchange", "what", "answer", "costs", "mine_waits", "other_waits"),
    [
        (
            "Binance has counted more weight at our address",
            "binance",
            "order",
            {"headers": {"X-MBX-USED-WEIGHT-1M": "6000"}},
            {"weight": 1},
            60,
            60,
        ),
        ("and less than ours is nothing", "binance", "order", {"headers": {"X-MBX-USED-WEIGHT-1M": "9"}},
         {"weight": 1}, 0, 0),
        ("more orders of this account", "binance", "create", {"headers": ORDER_10S}, {"orders": 1}, 10, 0),
        ("which hold no cancel", "binance", "create", {"headers": ORDER_10S}, {"weight": 1}, 0, 0),
        ("the orders of the day", "binance", "create", {"headers": {"X-MBX-ORDER-COUNT-1D": "200000"}},
         {"orders_day": 1}, 86400, 0),
        ("a count that is none", "binance", "create", {"headers": {"X-MBX-ORDER-COUNT-10S": "nan"}},
         {"orders": 1}, 0, 0),
        ("an order too many", "binance", "create", {"status": 429, "body": COUNT}, {"orders": 1}, 10, 0),
        ("holds no cancel", "binance", "create", {"status": 429, "body": COUNT}, {"weight": 1}, 0, 0),
        ("too much weight, and when to come back", "binance", "order",
         {"status": 429, "body": WEIGHT, "headers": {"Retry-After": "7"}}, {}, 7, 7),
        ("a ban", "binance", "order", {"status": 418, "body": WEIGHT, "headers": {"Retry-After": "300"}},
         {}, 300, 300),
        ("a ban without its length", "binance", "order", {"status": 418, "body": WEIGHT}, {}, 120, 120),
        ("a time to come back as a date", "binance", "order",
         {"status": 429, "headers": {"Retry-After": "Thu, 06 Aug 2026 12:00:30 GMT"}}, {}, 30, 30),
        ("a 429 of somebody in between", "okx", "create", {"status": 429, "body": "<html>"}, {}, 10, 10),
        ("Bybit has nothing left for this call", "bybit", "create", {"headers": {"X-Bapi-Limit-Status": "0"}},
         {"create": 1}, 1, 0),
        ("which is no matter to another call", "bybit", "create", {"headers": {"X-Bapi-Limit-Status": "0"}},
         {"cancel": 1, "address": 1}, 0, 0),
        ("Bybit says when it is free again", "bybit", "create", {"body": TOO_MANY, "headers": BYBIT_FULL},
         {"create": 1}, 1, 0),
        ("a refusal without a head", "bybit", "cancel", {"body": TOO_MANY}, {"cancel": 1}, 1, 0),
        ("the address is banned", "bybit", "create", {"status": 403, "body": "403, access too frequent"},
         {}, 600, 600),
        ("Coinbase has little left", "coinbase", "create",
         {"headers": {"x-ratelimit-limit": "30", "x-ratelimit-remaining": "0"}}, {"private": 1}, 1, 0),
        ("and its public limit is another", "coinbase", "markets",
         {"headers": {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0"}}, {"private": 1}, 0, 0),
        ("Kraken's counter is full", "kraken", "balances", {"body": KRAKEN_COUNTER}, {"counter": 1}, 2, 0),
        ("which orders are not counted by", "kraken", "balances", {"body": KRAKEN_COUNTER},
         {"engine:BTC/USDT": 1}, 0, 0),
        ("Kraken's engine is", "kraken", "create", {"body": KRAKEN_ENGINE}, {"engine:BTC/USDT": 1}, 0.43, 0),
        ("for that pair only", "kraken", "create", {"body": KRAKEN_ENGINE}, {"engine:ETH/USDT": 1}, 0, 0),
        ("a key is locked out", "kraken", "create", {"body": KRAKEN_LOCKED}, {}, 900, 0),
        ("a call of OKX's", "okx", "create", {"status": 429, "body": OKX_BUSY}, {"place:BTC/USDT": 1}, 2, 0),
        ("not its cancels", "okx", "create", {"status": 429, "body": OKX_BUSY}, {"cancel:BTC/USDT": 1}, 0, 0),
        ("all orders of an account", "okx", "create", {"body": OKX_ORDERS},
         {"place:ETH/USDT": 1, "orders": 1}, 2, 0),
    ],
)  # fmt: skip
def test_what_an_answer_tells_of_the_limits(
    name: str,
    exchange: str,
    what: str,
    answer: dict[str, object],
    costs: dict[str, float],
    mine_waits: float,
    other_waits: float,
) -> None:
    body = str(answer.get("body", "{}"))
    mine, other, _ = told(exchange, what, **{**answer, "body": body})  # type: ignore[arg-type]
    assert mine.wait_s(costs, Priority.CANCEL if not costs else Priority.CREATE) == pytest.approx(
        mine_waits, rel=0.01
    )
    assert other.wait_s(costs, Priority.CREATE) == pytest.approx(other_waits, rel=0.01)


def test_a_reset_that_is_told_is_when_it_ends() -> None:
    mine, _, clock = told(
        "bybit", "create", body=TOO_MANY, headers={**BYBIT_FULL, "X-Bapi-Limit-Status": "20"}
    )
    assert mine.wait_s({"create": 1}, Priority.CREATE) == pytest.approx(0.4)
    clock.now += 0.41
    assert mine.wait_s({"create": 20}, Priority.CREATE) == 0


@pytest.mark.parametrize("text", ["inf", "1e999", "-5", "soon", ""])
def test_a_time_to_come_back_that_is_none_keeps_nobody_for_ever(text: str) -> None:
    mine, _, _ = told("binance", "order", status=429, headers={"Retry-After": text})
    assert 0 <= mine.paused_s() <= 3 * 86400


# --- Two accounts behind one address -------------------------------------------------------------------


def order_of(name: str, number: int) -> NewOrder:
    order = new_order(name, number, price="19000")
    client_order_id = f"{number:032x}" if DIALECTS[name].client_id_style == "hex32" else order.client_order_id
    return replace(order, client_order_id=client_order_id)


@asynccontextmanager
async def two_accounts(name: str) -> AsyncIterator[tuple[Simulated, list[tuple[CcxtGateway, Reports]]]]:
    """Open two accounts of one simulated exchange, as the server does: with one limiter."""
    async with simulated(name) as venue, AsyncExitStack() as stack:
        second = keys_of(name)
        second = VenueKeys(public=second.public + "-2", private=second.private, passphrase=second.passphrase)
        account = venue.exchange.open_account(
            second.public, second.private, name="second", passphrase=second.passphrase
        )
        for currency in venue.symbol.split("/"):
            venue.exchange.deposit(account, currency, Decimal(10_000), time.time())
        limiter = Limiter(DIALECTS[name].limits.shapes)
        gateways = [
            await stack.enter_async_context(
                opened(name, venue.url, keys, limiter=limiter, request_timeout_s=5)
            )
            for keys in (keys_of(name), second)
        ]
        yield venue, gateways


def test_a_ban_of_the_address_stops_both_accounts_and_ends_by_itself() -> None:
    async def story() -> None:
        async with two_accounts("binance") as (venue, [(first, heard), (second, heard_too)]):
            venue.dialect.ban_s = 4
            venue.strike(Rule(action="ban", kinds=("balance",), count=1))
            first.send(QueryBalances())
            await heard.next(LookupFailed)
            second.send(order_of("binance", 1))
            refused = await heard_too.answer_to("order-1")
            assert isinstance(refused, Rejected), refused
            assert (refused.refusal, refused.sent) == (Refusal.RATE_LIMIT, False)
            assert "IP banned until" in refused.message
            for gateway in (first, second):
                health = await gateway.fetch_health()
                (told,) = [one for one in health["problems"] if one.startswith("rate limit")]
                assert "IP banned until" in told
            assert venue.orders() == []
            await asyncio.sleep(4)
            second.send(order_of("binance", 2))
            assert isinstance(await heard_too.answer_to("order-2"), Acked)
            assert len(venue.orders()) == 1
            health = await second.fetch_health()
            assert not [one for one in health["problems"] if one.startswith("rate limit")]

    asyncio.run(story())


def test_two_accounts_behind_one_address_never_use_more_than_it_has() -> None:
    """Half a minute's weight each is all there is for both; the rest waits and nobody is warned."""

    async def story() -> None:
        async with two_accounts("binance") as (venue, [(first, heard), (second, heard_too)]):
            weighed = venue.dialect._weights
            for gateway in (first, second):
                for _ in range(300):  # 20 each: 12,000 together
                    gateway.send(QueryBalances())
            first.send(order_of("binance", 1))
            assert isinstance(await heard.answer_to("order-1", within_s=20), Acked)
            second.send(cancel_of(order_of("binance", 2)))
            answer = await heard_too.answer_to("order-2", within_s=20)
            assert isinstance(answer, CancelRefused) and answer.refusal is Refusal.UNKNOWN_ORDER
            await heard.next(Balances)
            await heard.next(LookupFailed, within_s=30)
            assert venue.dialect._warned == {}
            assert all(used <= 6000 for _, used in weighed.values())

    asyncio.run(story())


# --- No order is lost ----------------------------------------------------------------------------------


def test_a_429_after_the_order_was_taken_is_looked_up() -> None:
    """A front that counts again what it repeats: too little to call an order refused."""

    async def story() -> None:
        async with ScriptedVenue("binance") as venue, opened("binance", venue.base_url) as (gateway, reports):
            order = new_order("binance")
            venue.replies[CREATE["binance"]] = Reply(429, WEIGHT, headers={"Retry-After": "1"})
            venue.replies["GET", "/api/v3/order"] = Reply(
                body=ACCEPTED["binance"] | {"time": 1, "updateTime": 1}
            )
            gateway.send(order)
            assert isinstance(await reports.answer_to("order-1"), OutcomeUnknown)
            asked_at = time.monotonic()
            gateway.send(look_up(order))
            found = await reports.answer_to("order-1")
            assert isinstance(found, OrderStatus) and found.found is Found.OPEN, found
            assert time.monotonic() - asked_at > 0.7  # not before it was allowed
            assert len(venue.requests(*CREATE["binance"])) == 1

    asyncio.run(story())


# --- Cancels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_s", "cost"),
    [(0, 8), (4.9, 8), (5, 6), (10, 5), (15, 4), (44, 4), (45, 2), (90, 1), (299, 1), (300, 0)],
)
def test_a_cancel_at_kraken_costs_by_the_age_of_its_order(age_s: float, cost: float) -> None:
    # https://docs.kraken.com/exchange/guides/general/ratelimits
    assert DIALECTS["kraken"].limits.cancel_costs_of("BTC/USD", age_s) == {
        "engine:BTC/USD": cost,
        "trading": 1,
    }
    assert DIALECTS["binance"].limits.cancel_costs_of("BTC/USDT", age_s) == {"weight": 1}


@pytest.mark.parametrize("name", ["binance", "bybit", "coinbaseexchange", "gemini", "kraken", "okx"])
def test_cancels_do_not_wait_behind_a_flood_of_orders(name: str) -> None:
    """RELIABILITY F 28, through the gateway: many times what the exchange takes in the time."""

    async def story() -> tuple[list[float], int]:
        async with simulated(name) as venue:
            async with opened(name, venue.url, keys_of(name), request_timeout_s=5) as (gateway, reports):
                resting = [order_of(name, number) for number in range(5)]
                for order in resting:
                    gateway.send(order)
                ids = {}
                for order in resting:
                    ids[order.order_id] = (await reports.answer_to(order.order_id)).exchange_order_id
                for number in range(100, 500):
                    gateway.send(replace(order_of(name, number), time_in_force=TimeInForce.IOC))
                times = []
                for order in resting:
                    began = time.monotonic()
                    gateway.send(cancel_of(order, ids[order.order_id]))
                    answer = await reports.next(
                        CancelAcked, lambda one, order=order: one.order_id == order.order_id
                    )
                    assert isinstance(answer, CancelAcked)
                    times.append(time.monotonic() - began)
                    await asyncio.sleep(0.1)
                refused = [one for one in reports.of(Rejected) if one.sent]
                return times, len(refused)

    times, refused = asyncio.run(story())
    assert max(times) < 1.0, times
    assert refused == 0


def test_the_list_that_proves_a_halt_does_not_wait_behind_look_ups() -> None:
    """At Kraken, whose answer to a cancel leaves the quantity open, as many look-ups follow as cancels."""

    async def story() -> None:
        async with (
            simulated("kraken") as venue,
            opened("kraken", venue.url, keys_of("kraken"), request_timeout_s=5) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            for number in range(60):
                gateway.send(look_up(order_of("kraken", number)))
            await asyncio.sleep(0.1)
            began = time.monotonic()
            gateway.send(QueryOpenOrders(urgent=True))
            await reports.next(OpenOrders)
            assert time.monotonic() - began < 3, "a question at Kraken costs two seconds; there were sixty"

    asyncio.run(story())


# --- Withdrawals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bybit", "kraken"])
def test_what_waits_for_its_turn_is_called_back_and_what_has_left_is_not(name: str) -> None:
    async def story() -> None:
        async with simulated(name) as venue, opened(name, venue.url, keys_of(name)) as (gateway, reports):
            gateway.send(order_of(name, 0))
            [answer] = [await reports.answer_to("order-0")]
            assert isinstance(answer, Acked)
            flood = [order_of(name, number) for number in range(1, 120)]
            for order in flood:
                gateway.send(order)
            await asyncio.sleep(0.01)  # some wait by now, some have just begun, and some may have left
            began = time.monotonic()
            for order in [order_of(name, 0), *flood]:
                gateway.send(Withdraw(order_id=order.order_id))
            answers = [await reports.answer_to(order.order_id) for order in flood]
            back = [a for a in answers if isinstance(a, Rejected)]
            told = {(a.sent, a.refusal, a.message) for a in back}
            assert told == {(False, Refusal.RATE_LIMIT, "withdrawn before it was sent")}
            assert len(venue.orders()) == 1 + len(answers) - len(back)
            assert time.monotonic() - began < CREATE_PATIENCE_S / 2, "nothing waits to be told"
            again = replace(order_of(name, 119), client_order_id=order_of(name, 200).client_order_id)
            gateway.send(again)  # what was withdrawn once says nothing of what comes later
            assert isinstance(await reports.answer_to("order-119"), Acked)

    asyncio.run(story())


def test_an_amendment_that_waits_for_its_turn_is_called_back() -> None:
    async def story() -> None:
        async with (
            simulated("kraken") as venue,
            opened("kraken", venue.url, keys_of("kraken")) as (
                gateway,
                reports,
            ),
        ):
            order = order_of("kraken", 0)
            gateway.send(order)
            number = (await reports.next(Acked)).exchange_order_id
            gateway.send(amend_of(order, number, quantity=order.quantity / 2))
            gateway.send(Withdraw(order_id=order.order_id))
            refused = await reports.next(AmendRefused)
            assert refused.refusal is Refusal.RATE_LIMIT and "withdrawn" in refused.message
            [resting] = venue.orders()
            assert resting.quantity == order.quantity

    asyncio.run(story())


def test_the_late_answer_to_a_new_order_leaves_its_amendment_to_be_called_back() -> None:
    departures = Departures()
    create, amendment = Call(Priority.CREATE), Call(Priority.CREATE)
    departures.begin("order-0", create)
    departures.begin("order-0", amendment)  # the stream told of the order before its request was answered
    departures.end("order-0", create)
    departures.withdraw("order-0")
    assert amendment.withdrawn and not create.withdrawn
    departures.begin("order-0", sent := Call(Priority.CREATE))
    departures.end("order-0", sent)
    departures.withdraw("order-0")
    assert not sent.withdrawn, "what has its answer has left"
