"""Yes, no, or don't know: what becomes of a create, by what went over the wire."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ems.core.messages import (
    Acked,
    Ending,
    FillReport,
    Liquidity,
    OutcomeUnknown,
    Refusal,
    Rejected,
    Side,
    TimeInForce,
)
from ems.venues.ccxt_gateway import CcxtGateway, VenueKeys
from ems.venues.limiter import Priority, Shape
from tests.venues.gateways import KEYS, client_id, new_order, opened
from tests.venues.scripted import BINANCE_MARKET, Reply, ScriptedVenue

CREATE = {"binance": ("POST", "/api/v3/order"), "kraken": ("POST", "/0/private/AddOrder")}
ACCEPTED = {
    "binance": {
        "symbol": "BTCUSDT",
        "orderId": 28,
        "orderListId": -1,
        "clientOrderId": client_id(1),
        "transactTime": 1507725176595,
        "price": "20000.00000000",
        "origQty": "0.00100000",
        "executedQty": "0.00000000",
        "cummulativeQuoteQty": "0.00000000",
        "status": "NEW",
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": "BUY",
        "fills": [],
    },
    "kraken": {
        "error": [],
        "result": {
            "descr": {"order": "buy 0.00100000 XBTUSD @ limit 20000.0"},
            "txid": ["OUF4EM-FRGI2-MQMWZD"],
        },
    },
}
HTML = "<html><head><title>502 Bad Gateway</title></head></html>"


async def outcome(exchange: str, reply: Reply, **options: object) -> tuple[object, int]:
    """Return what was delivered for one create, and how often the venue was asked to create."""
    async with (
        ScriptedVenue(exchange) as venue,
        opened(exchange, venue.base_url, **options) as (gateway, reports),
    ):
        venue.replies[CREATE[exchange]] = reply
        order = new_order(exchange)
        gateway.send(order)
        report = await reports.answer_to(order.order_id)
        await asyncio.sleep(0.05)
        assert not [one for one in reports.all if getattr(one, "order_id", None) == order.order_id]
        return report, len(venue.requests(*CREATE[exchange]))


UNKNOWN = {
    "closed without a byte": Reply(how="close"),
    "reset": Reply(how="reset"),
    "no answer": Reply(how="hang"),
    "an empty 200": Reply(body=""),
    "a 200 of HTML": Reply(body=HTML),
    "a 200 of null": Reply(body=None),
    "a 200 of {}": Reply(body={}),
    "a 200 of a list": Reply(body=[]),
    "half the JSON": Reply(body='{"symbol": "BTCUSDT", "orderId": 2'),
    "a 500 of HTML": Reply(status=500, body=HTML),
    "a 502 of HTML": Reply(status=502, body=HTML),
    "a 503 of nothing": Reply(status=503, body=""),
    "a 504 of HTML": Reply(status=504, body=HTML),
    "a 520 of HTML": Reply(status=520, body=HTML),
    "a 524 of HTML": Reply(status=524, body=HTML),
    "a 400 of HTML": Reply(status=400, body=HTML),
    "a 401 of HTML": Reply(status=401, body=HTML),
    "a 403 of HTML": Reply(status=403, body=HTML),
    "a 404 of HTML": Reply(status=404, body=HTML),
    "a 429 of HTML": Reply(status=429, body=HTML),
    "a redirect": Reply(status=302, body="", headers={"Location": "http://127.0.0.1:1/"}),
}


@pytest.mark.parametrize("exchange", ["binance", "kraken"])
@pytest.mark.parametrize("case", UNKNOWN)
def test_what_proves_nothing_is_unknown_and_is_never_repeated(exchange: str, case: str) -> None:
    report, asked = asyncio.run(outcome(exchange, UNKNOWN[case]))
    assert isinstance(report, OutcomeUnknown), report
    assert (report.order_id, report.request) == ("order-1", "create")
    assert report.message
    assert asked == 1


@pytest.mark.parametrize("exchange", ["binance", "kraken"])
def test_a_good_answer_cut_in_the_middle_is_unknown(exchange: str) -> None:
    report, asked = asyncio.run(outcome(exchange, Reply(body=ACCEPTED[exchange], how="truncate")))
    assert isinstance(report, OutcomeUnknown), report
    assert asked == 1


@pytest.mark.parametrize("status", [302, 404, 500, 502])
def test_a_good_body_under_a_bad_status_is_unknown(status: int) -> None:
    report, asked = asyncio.run(outcome("binance", Reply(status=status, body=ACCEPTED["binance"])))
    assert isinstance(report, OutcomeUnknown), report
    assert asked == 1


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("without an id", {"orderId": None}),
        ("with another order's client id", {"clientOrderId": "somebody-else"}),
    ],
)
def test_an_acceptance_that_is_not_ours_is_unknown(case: str, change: dict[str, object]) -> None:
    report, _ = asyncio.run(outcome("binance", Reply(body={**ACCEPTED["binance"], **change})))
    assert isinstance(report, OutcomeUnknown), (case, report)


@pytest.mark.parametrize(
    ("exchange", "exchange_order_id"), [("binance", "28"), ("kraken", "OUF4EM-FRGI2-MQMWZD")]
)
def test_an_accepted_order_is_acked(exchange: str, exchange_order_id: str) -> None:
    report, asked = asyncio.run(outcome(exchange, Reply(body=ACCEPTED[exchange])))
    told = Decimal(0) if exchange == "binance" else None  # Kraken says nothing but the id
    assert report == Acked(order_id="order-1", exchange_order_id=exchange_order_id, filled_quantity=told)
    assert asked == 1


def test_fills_in_the_answer_come_with_the_ack() -> None:
    fills = [
        {
            "price": "19999.99",
            "qty": "0.00040000",
            "commission": "0.00000040",
            "commissionAsset": "BTC",
            "tradeId": 56,
        },
        {
            "price": "20000.00",
            "qty": "0.00050000",
            "commission": "0.00003",
            "commissionAsset": "BNB",
            "tradeId": 57,
        },
    ]
    body = {**ACCEPTED["binance"], "status": "EXPIRED", "executedQty": "0.00090000", "fills": fills}
    report, _ = asyncio.run(outcome("binance", Reply(body=body)))
    at = datetime(2017, 10, 11, 12, 32, 56, 595000, tzinfo=UTC)

    def fill(fill_id: str, price: str, quantity: str, fee: str, currency: str) -> FillReport:
        return FillReport(
            fill_id=fill_id,
            exchange_order_id="28",
            symbol="BTC/USDT",
            side=Side.BUY,
            price=Decimal(price),
            quantity=Decimal(quantity),
            fee=Decimal(fee),
            fee_currency=currency,
            liquidity=Liquidity.TAKER,
            at=at,
            order_id="order-1",
            client_order_id=client_id(1),
        )

    assert report == Acked(
        order_id="order-1",
        exchange_order_id="28",
        filled_quantity=Decimal("0.00090000"),
        ending=Ending.EXPIRED,
        fills=(
            fill("56", "19999.99", "0.00040000", "0.00000040", "BTC"),
            fill("57", "20000.00", "0.00050000", "0.00003", "BNB"),
        ),
    )


@pytest.mark.parametrize(
    ("exchange", "reply", "refusal", "code", "words"),
    [
        (
            "binance",
            Reply(
                status=400,
                body={"code": -2010, "msg": "Account has insufficient balance for requested action."},
            ),
            Refusal.INSUFFICIENT_FUNDS,
            "-2010",
            "Account has insufficient balance for requested action.",
        ),
        (
            "binance",
            Reply(status=401, body={"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}),
            Refusal.AUTH,
            "-2015",
            "Invalid API-key, IP, or permissions for action.",
        ),
        (
            "kraken",
            Reply(body={"error": ["EOrder:Order minimum not met"]}),
            Refusal.MIN_SIZE,
            "EOrder:Order minimum not met",
            "EOrder:Order minimum not met",
        ),
    ],
)
def test_a_recognised_no_is_a_rejection(
    exchange: str, reply: Reply, refusal: Refusal, code: str, words: str
) -> None:
    report, asked = asyncio.run(outcome(exchange, reply))
    assert report == Rejected(order_id="order-1", refusal=refusal, message=words, venue_code=code, sent=True)
    assert asked == 1


@pytest.mark.parametrize(
    ("exchange", "reply"),
    [
        ("binance", Reply(status=429, body={"code": -1003, "msg": "Too many requests queued."})),
        ("binance", Reply(status=418, body={"code": -1003, "msg": "Way too much request weight used"})),
        ("kraken", Reply(status=429, body={"error": ["EGeneral:Too many requests"]})),
    ],
)
def test_a_limit_of_the_front_door_leaves_an_order_unknown_and_pauses_the_account(
    exchange: str, reply: Reply
) -> None:
    async def story() -> None:
        async with ScriptedVenue(exchange) as venue, opened(exchange, venue.base_url) as (gateway, reports):
            venue.replies[CREATE[exchange]] = Reply(
                status=reply.status, body=reply.body, headers={"Retry-After": "30"}
            )
            gateway.send(new_order(exchange, 1))
            assert isinstance(await reports.answer_to("order-1"), OutcomeUnknown)
            gateway.send(new_order(exchange, 2))
            second = await reports.answer_to("order-2")
            assert isinstance(second, Rejected)
            assert (second.refusal, second.sent) == (Refusal.RATE_LIMIT, False)
            assert len(venue.requests(*CREATE[exchange])) == 1
            health = await gateway.fetch_health()
            assert any("paused" in problem for problem in health["problems"])  # type: ignore[attr-defined]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("exchange", "reply", "what_is_held"),
    [
        (
            "binance",
            Reply(
                status=429,
                body={
                    "code": -1015,
                    "msg": "Too many new orders; current limit is 100 orders per 10 SECOND.",
                },
            ),
            "orders",
        ),
        ("kraken", Reply(body={"error": ["EOrder:Rate limit exceeded"]}), "engine:BTC/USD"),
    ],
)
def test_an_order_too_many_is_a_no_and_holds_only_orders(
    exchange: str, reply: Reply, what_is_held: str
) -> None:
    async def story() -> None:
        async with ScriptedVenue(exchange) as venue, opened(exchange, venue.base_url) as (gateway, reports):
            venue.replies[CREATE[exchange]] = reply
            gateway.send(new_order(exchange))
            report = await reports.answer_to("order-1")
            assert isinstance(report, Rejected)
            assert (report.refusal, report.sent) == (Refusal.RATE_LIMIT, True)
            assert gateway._limits.wait_s({what_is_held: 1}, Priority.CREATE) > 0
            assert gateway._limits.wait_s({"weight": 1, "counter": 1}, Priority.QUERY) == 0

    asyncio.run(story())


def test_a_connection_that_never_came_about_is_a_proof() -> None:
    async def story() -> None:
        async with ScriptedVenue("binance") as venue:
            async with opened("binance", venue.base_url) as (gateway, reports):
                await venue.__aexit__(None, None, None)  # the venue falls over
                await asyncio.sleep(0.05)
                with socket.socket() as taken:  # nobody answers at a port that is bound and does not listen
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    taken.bind(("127.0.0.1", venue.port))
                    gateway.send(new_order("binance"))
                    report = await reports.answer_to("order-1")
                assert isinstance(report, Rejected), report
                assert (report.refusal, report.sent, report.venue_code) == (Refusal.RATE_LIMIT, False, None)
                assert report.message.startswith("could not connect")

    asyncio.run(story())


def test_the_same_client_order_id_never_goes_out_twice() -> None:
    async def story() -> None:
        async with ScriptedVenue("binance") as venue, opened("binance", venue.base_url) as (gateway, reports):
            venue.replies[CREATE["binance"]] = Reply(how="close")
            for _ in range(2):
                gateway.send(new_order("binance"))
                assert isinstance(await reports.answer_to("order-1"), OutcomeUnknown)
            assert len(venue.requests(*CREATE["binance"])) == 1

    asyncio.run(story())


def test_a_create_that_would_wait_too_long_is_refused_unsent() -> None:
    async def story() -> None:
        shapes = (Shape(name="orders", capacity=1, per_s=0.01),)
        async with ScriptedVenue("binance") as venue:
            async with opened("binance", venue.base_url, shapes=shapes) as (gateway, reports):
                venue.replies[CREATE["binance"]] = Reply(body=ACCEPTED["binance"])
                gateway.send(new_order("binance", 1))
                assert isinstance(await reports.answer_to("order-1"), Acked)
                gateway.send(new_order("binance", 2))
                report = await reports.answer_to("order-2")
                assert isinstance(report, Rejected)
                assert (report.refusal, report.sent) == (Refusal.RATE_LIMIT, False)
                assert len(venue.requests(*CREATE["binance"])) == 1

    asyncio.run(story())


@pytest.mark.parametrize("exchange", ["binance", "kraken"])
@pytest.mark.parametrize("skew_s", [-4.5, 4.5])
def test_no_order_leaves_with_a_clock_that_is_wrong(exchange: str, skew_s: float) -> None:
    async def story() -> None:
        async with ScriptedVenue(exchange) as venue:
            venue.clock_skew_s = skew_s
            async with opened(exchange, venue.base_url) as (gateway, reports):
                health = await gateway.fetch_health()
                assert any("clock" in problem for problem in health["problems"])  # type: ignore[attr-defined]
                gateway.send(new_order(exchange))
                report = await reports.answer_to("order-1")
                assert isinstance(report, Rejected)
                assert (report.refusal, report.sent) == (Refusal.CLOCK, False)
                assert not venue.requests(*CREATE[exchange])

    asyncio.run(story())


def test_what_ccxt_refuses_itself_was_not_sent() -> None:
    async def story() -> None:
        async with ScriptedVenue("binance") as venue, opened("binance", venue.base_url) as (gateway, reports):
            gateway.send(new_order("binance", symbol="NO/SUCH"))
            report = await reports.answer_to("order-1")
            assert isinstance(report, Rejected)
            assert (report.refusal, report.sent) == (Refusal.PERMANENT, False)
            assert "NO/SUCH" in report.message
            assert not venue.requests(*CREATE["binance"])

    asyncio.run(story())


# --- What is on the wire ---


def test_amounts_reach_the_wire_as_they_were_decided() -> None:
    async def story() -> None:
        async with ScriptedVenue("binance") as venue, opened("binance", venue.base_url) as (gateway, reports):
            venue.replies[CREATE["binance"]] = Reply(status=503, body="")
            wanted = [
                # quantity, price, tif, post only -> the fields that matter
                ("0.00123000", "50000.10", TimeInForce.GTC, False, "0.00123", "50000.1", "LIMIT", "GTC"),
                ("1E-5", "1E+5", TimeInForce.IOC, False, "0.00001", "100000", "LIMIT", "IOC"),
                (
                    "100",
                    "0.30000000000000004",
                    TimeInForce.FOK,
                    False,
                    "100",
                    "0.30000000000000004",
                    "LIMIT",
                    "FOK",
                ),
                (
                    "12345678.12345678",
                    "7",
                    TimeInForce.GTC,
                    True,
                    "12345678.12345678",
                    "7",
                    "LIMIT_MAKER",
                    None,
                ),
                ("0.5", None, TimeInForce.IOC, False, "0.5", None, "MARKET", None),
            ]
            for number, (quantity, price, tif, post_only, *_) in enumerate(wanted):
                gateway.send(
                    new_order(
                        "binance",
                        number,
                        quantity=quantity,
                        price=price,
                        time_in_force=tif,
                        post_only=post_only,
                    )
                )
                await reports.answer_to(f"order-{number}")
            for number, (asked, row) in enumerate(
                zip(venue.requests(*CREATE["binance"]), wanted, strict=True)
            ):
                fields = asked.fields
                assert fields["newClientOrderId"] == client_id(number)
                got = tuple(fields.get(name) for name in ("quantity", "price", "type", "timeInForce"))
                assert got == row[4:], row
                assert 0 < int(fields["recvWindow"]) <= 5000
                assert "quoteOrderQty" not in fields
                assert set(fields) <= {
                    *("symbol", "side", "type", "newClientOrderId", "newOrderRespType", "quantity", "price"),
                    *("timeInForce", "timestamp", "recvWindow", "signature", "selfTradePreventionMode"),
                }

    asyncio.run(story())


def test_krakens_fields_and_deadline() -> None:
    async def story() -> None:
        async with ScriptedVenue("kraken") as venue, opened("kraken", venue.base_url) as (gateway, reports):
            venue.replies[CREATE["kraken"]] = Reply(body={"error": ["EService:Busy"]})
            before = datetime.now(UTC)
            rows = [
                ("20000.10", TimeInForce.IOC, False),
                ("20000", TimeInForce.GTC, True),
                (None, TimeInForce.GTC, False),
            ]
            for number, (price, tif, post_only) in enumerate(rows):
                gateway.send(new_order("kraken", number, price=price, time_in_force=tif, post_only=post_only))
                assert isinstance(await reports.answer_to(f"order-{number}"), OutcomeUnknown)
            limit, maker, market = (asked.fields for asked in venue.requests(*CREATE["kraken"]))
            assert {
                name: limit.get(name)
                for name in ("pair", "type", "ordertype", "volume", "price", "timeinforce", "oflags")
            } == {
                "pair": "XXBTZUSD",
                "type": "buy",
                "ordertype": "limit",
                "volume": "0.001",
                "price": "20000.1",
                "timeinforce": "IOC",
                "oflags": None,
            }
            assert (maker["oflags"], maker.get("timeinforce")) == ("post", None)
            assert (market["ordertype"], market.get("price"), market["volume"]) == ("market", None, "0.001")
            assert [fields["cl_ord_id"] for fields in (limit, maker, market)] == [
                client_id(n) for n in range(3)
            ]
            nonces = [int(fields["nonce"]) for fields in (limit, maker, market)]
            assert nonces == sorted(set(nonces))
            deadline = datetime.fromisoformat(limit["deadline"])
            assert timedelta(seconds=3.5) < deadline - before < timedelta(seconds=6)

    asyncio.run(story())


def test_the_expiry_counts_from_the_moment_of_asking() -> None:
    """Waiting for our own limits must not make an order live longer than the engine believes."""

    async def story() -> None:
        shapes = (Shape(name="orders", capacity=1, per_s=1),)
        async with ScriptedVenue("binance") as venue:
            async with opened("binance", venue.base_url, shapes=shapes) as (gateway, reports):
                venue.replies[CREATE["binance"]] = Reply(status=503, body="")
                gateway.send(new_order("binance", 1))
                gateway.send(new_order("binance", 2))
                await reports.answer_to("order-1")
                await reports.answer_to("order-2")
                first, second = (int(one.fields["recvWindow"]) for one in venue.requests(*CREATE["binance"]))
                assert 4900 <= first <= 5000
                assert 3800 <= second <= 4200

    asyncio.run(story())


def test_kraken_signs_and_sends_in_one_order_however_many_at_once() -> None:
    async def story() -> None:
        async with ScriptedVenue("kraken") as venue, opened("kraken", venue.base_url) as (gateway, reports):
            venue.replies[CREATE["kraken"]] = deque(
                Reply(body={"error": [], "result": {"txid": [f"OUF4EM-FRGI2-{number:06d}"]}})
                for number in range(12)
            )
            for number in range(12):
                gateway.send(new_order("kraken", number))
            for number in range(12):
                assert isinstance(await reports.answer_to(f"order-{number}"), Acked)
            nonces = [int(one.fields["nonce"]) for one in venue.requests(*CREATE["kraken"])]
            assert nonces == sorted(set(nonces))

    asyncio.run(story())


# --- Making one ---


def test_a_paper_account_never_reaches_the_live_exchange() -> None:
    with pytest.raises(ValueError, match="base_url"):
        CcxtGateway("binance", "default", KEYS, mode="paper")
    gateway = CcxtGateway("kraken", "default", KEYS, mode="paper", base_url="http://127.0.0.1:1")

    def urls(value: object) -> list[str]:
        if isinstance(value, dict):
            return [url for inner in value.values() for url in urls(inner)]
        return [value] if isinstance(value, str) else []

    assert urls(gateway._ccxt.urls["api"])
    assert all("://127.0.0.1:1" in url for url in urls(gateway._ccxt.urls["api"]))


@pytest.mark.parametrize(
    ("exchange", "mode", "field"),
    [("nowhere", "paper", "nowhere"), ("binance", "test", "mode"), ("bittrex", "live", "on paper only")],
)
def test_nonsense_is_named(exchange: str, mode: str, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        CcxtGateway(exchange, "default", KEYS, mode=mode, base_url="http://127.0.0.1:1")


def test_keys_do_not_show_themselves() -> None:
    assert "hush" not in repr(VenueKeys(public="hush", private="hush", passphrase="hush"))


def test_markets_that_load_late_are_loaded_all_the_same() -> None:
    async def story() -> None:
        async with ScriptedVenue("binance") as venue:
            good = venue.replies[("GET", "/api/v3/exchangeInfo")]
            assert isinstance(good, Reply)
            venue.replies[("GET", "/api/v3/exchangeInfo")] = deque([Reply(status=503, body=""), good])
            async with opened("binance", venue.base_url, wait=False) as (gateway, reports):
                started = time.monotonic()
                gateway.send(new_order("binance"))  # comes before the markets, and waits for them
                venue.replies[CREATE["binance"]] = Reply(body=ACCEPTED["binance"])
                report = await reports.answer_to("order-1")
                assert isinstance(report, Acked), report
                assert time.monotonic() - started < 2

    asyncio.run(story())


def test_a_price_step_coarser_than_its_decimals_is_the_one_that_counts() -> None:
    async def story() -> None:
        async with ScriptedVenue("kraken") as venue, opened("kraken", venue.base_url) as (gateway, _):
            (market,) = gateway._markets.listed
            assert (market.tick, market.lot, market.min_quantity) == (
                Decimal("0.1"),
                Decimal("1E-8"),
                Decimal("0.0001"),
            )
            assert (market.maker_fee, market.taker_fee) == (
                Decimal("0.0020"),
                Decimal("0.0035"),
            )  # the account's tier

    asyncio.run(story())


def test_a_halted_market_is_told_of_as_one_that_is_not_active() -> None:
    async def story() -> None:
        async with ScriptedVenue("binance") as venue:
            halted = {**BINANCE_MARKET, "symbol": "ETHUSDT", "baseAsset": "ETH", "status": "BREAK"}
            venue.replies[("GET", "/api/v3/exchangeInfo")] = Reply(body={"symbols": [BINANCE_MARKET, halted]})
            async with opened("binance", venue.base_url) as (gateway, _):
                told = [(market.symbol, market.active) for market in gateway._markets.listed]
                assert told == [("BTC/USDT", True), ("ETH/USDT", False)]
                health = await gateway.fetch_health()
                assert (health["reachable"], health["markets"]) == (True, 1)
                assert abs(health["clock_skew_ms"]) < 50  # type: ignore[arg-type]

    asyncio.run(story())
