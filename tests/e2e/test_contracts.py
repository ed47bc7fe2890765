"""Perpetual contracts over HTTP, on two exchanges, judged by what these say themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TypeVar

import pytest

from oms_client import OMSClient, Order
from oms_client.cli import main
from oms_client.errors import OMSError
from simulator.faults import Rule
from tests.e2e.contracts import BTC, ETH, ContractVenue
from tests.e2e.processes import ServerProcess

T = TypeVar("T")
D = Decimal
EXCHANGES = ("bybit", "okx")


class House:
    """A server, its exchanges, and its callers."""

    def __init__(self, server: ServerProcess, venues: dict[str, ContractVenue]) -> None:
        self.server = server
        self.venues = venues
        self.alice = OMSClient("alice", server.url, "bot-1", key=server.keys.private)
        self.adam = OMSClient("adam", server.url, "desk", key=server.admin.private)

    def bot(self, name: str) -> OMSClient:
        return OMSClient("alice", self.server.url, name, key=self.server.keys.private)

    @staticmethod
    def until(ask: Callable[[], T], right: Callable[[T], bool], within_s: float = 10) -> T:
        """Ask until the answer is the right one; the last one when the time is over."""
        deadline = time.monotonic() + within_s
        while not right(found := ask()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("contracts")
    venues = {name: ContractVenue(name) for name in EXCHANGES}
    server = ServerProcess(list(venues.values()), f"sqlite:///{folder / 'oms.sqlite'}", folder / "server.log")
    server.environment = {"OMS_HALT_FILE": str(folder / "HALT"), "OMS_SWAPS": ",".join(EXCHANGES)}
    server.start()
    yield House(server, venues)
    server.stop()
    for venue in venues.values():
        venue.stop()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_positions_are_those_of_the_exchange(house: House, exchange: str) -> None:
    venue = house.venues[exchange]
    assert house.alice.get_positions(exchange)["positions"] == []
    venue.trade(BTC, "buy", "0.5")
    venue.trade(ETH, "sell", "2")
    venue.show(BTC, "60499", "60501")
    answer = house.alice.get_positions()
    told = {one.symbol: one for one in answer.positions if one.exchange == exchange}
    long, short = told[BTC], told[ETH]
    assert (long.side, long.quantity, long.entry_price, long.mark_price) == ("long", D("0.5"), 60001, 60500)
    assert (long.value, long.unrealised, long.currency) == (30250, D("249.5"), "USDT")
    assert (long.leverage, long.margin_mode, long.margin) == (10, "cross", 3025)
    assert (short.side, short.quantity, short.entry_price) == ("short", -2, 2999)
    assert (short.value, short.unrealised, short.margin) == (-6000, -2, 600)
    assert [(one.exchange, one.read) for one in answer.accounts] == [(name, True) for name in EXCHANGES]
    venue.trade(BTC, "sell", "0.5")
    venue.trade(ETH, "buy", "2")
    assert house.alice.get_positions(exchange)["positions"] == []


def refused(ask: Callable[[], object]) -> OMSError:
    with pytest.raises(OMSError) as told:
        ask()
    return told.value


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_leverage_is_set_up_to_the_limit_and_read_back(house: House, exchange: str) -> None:
    venue = house.venues[exchange]
    house.adam.set_limit("max_leverage", "3", exchange=exchange)
    for leverage in ("2.99", "3", "3", "1.5"):
        told = house.alice.set_leverage(exchange, BTC, leverage)
        assert (told.leverage, told.asked, told.symbol) == (D(leverage), D(leverage), BTC)
        assert venue.leverage(BTC) == D(leverage)
    assert house.alice.set_leverage(exchange, BTC, "3", dry_run=True).leverage is None
    for leverage in ("3.01", "4", "100"):
        no = refused(lambda leverage=leverage: house.alice.set_leverage(exchange, BTC, leverage))
        assert (no.code, no.details["limit"], no.details["nearest"]) == ("LEVERAGE_LIMIT", "3", "3")
    assert (venue.leverage(BTC), venue.leverage(ETH)) == (D("1.5"), 10)
    house.adam.set_limit("max_leverage", "off", exchange=exchange)

    # What the exchange says no to is told in its own words, and nothing has changed.
    no = refused(lambda: house.alice.set_leverage(exchange, BTC, "101"))
    assert (no.code, no.venue_code) == ("VENUE_REJECTED", {"okx": "59102", "bybit": "110013"}[exchange])
    assert refused(lambda: house.alice.set_leverage(exchange, "ETH/USDT", "2")).code == "SYMBOL_UNKNOWN"
    assert refused(lambda: house.alice.set_leverage(exchange, "NO/USDT:USDT", "2")).code == "SYMBOL_UNKNOWN"
    assert venue.leverage(BTC) == D("1.5")


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_choice_of_leverage_whose_answer_is_lost_is_proven_by_reading(house: House, exchange: str) -> None:
    venue = house.venues[exchange]
    venue.server.faults.set([Rule(action="status", when="after", kinds=("other",), count=1)])
    assert house.alice.set_leverage(exchange, ETH, "2").leverage == venue.leverage(ETH) == 2
    # It never arrived: it is not sent again, and what is in force is told.
    venue.server.faults.set([Rule(action="status", when="before", kinds=("other",), count=1)])
    no = refused(lambda: house.alice.set_leverage(exchange, ETH, "2.5"))
    assert (no.code, "it is 2" in str(no)) == ("VENUE_UNAVAILABLE", True)
    assert venue.leverage(ETH) == 2


def test_positions_in_a_terminal(house: House, capsys, monkeypatch) -> None:
    house.venues["okx"].trade(ETH, "sell", "2")
    monkeypatch.setenv("OMS_KEY", house.server.keys.private)
    try:
        assert main(["positions", "--user", "alice", "--url", house.server.url]) == 0
    finally:
        house.venues["okx"].trade(ETH, "buy", "2")
    shown = capsys.readouterr().out
    assert "okx/default" in shown and "short" in shown and "-2" in shown and "bybit" not in shown


def test_an_exchange_without_an_account_here_is_named(house: House) -> None:
    for asked, code in ((("kraken",), "EXCHANGE_UNKNOWN"), (("bittrex",), "EXCHANGE_CLOSED")):
        with pytest.raises(OMSError) as refused:
            house.alice.get_positions(*asked)
        assert refused.value.code == code
    with pytest.raises(OMSError) as refused:
        house.alice.get_positions("okx", account="second")
    assert (refused.value.code, "second" in str(refused.value)) == ("EXCHANGE_UNKNOWN", True)


def is_filled(order: Order) -> bool:
    return order.status == "filled"


def all_filled(orders: list[Order]) -> bool:
    return all(order.status == "filled" for order in orders)


# --- Trading ---------------------------------------------------------------------------------------------


@pytest.fixture
def flat(house: House) -> Iterator[House]:
    """The exchanges with nothing open, at leverage 2 and prices of 60,000 and 3,000."""
    for exchange, venue in house.venues.items():
        for setting in ("max_leverage", "max_position"):
            house.adam.set_limit(setting, "off", exchange=exchange)
        venue.show(BTC, "59999", "60001")
        venue.show(ETH, "2999", "3001")
        for symbol in (BTC, ETH):
            house.alice.set_leverage(exchange, symbol, "2")
    yield house
    for exchange in house.venues:
        house.alice.cancel_all_orders(exchange, scope="user")
        for position in house.alice.get_positions(exchange).positions:
            side = "sell" if position.quantity > 0 else "buy"
            house.alice.market_order(exchange, side, position.symbol, abs(position.quantity))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_positions_open_grow_shrink_and_turn_round(flat: House, exchange: str) -> None:
    venue, bot = flat.venues[exchange], flat.bot(f"round-{exchange}")
    before = venue.balance()
    order = bot.market_order(exchange, "buy", BTC, "0.05")
    assert (order.status, order.filled_quantity, order.average_price) == ("filled", D("0.05"), 60001)
    assert list(order.fees) == ["USDT"]
    assert venue.base(BTC) == D("0.05")
    venue.show(BTC, "60999", "61001")
    bot.limit_order(exchange, "buy", BTC, "0.01", "61001", time_in_force="IOC")  # 61,001: 60,167.66...
    venue.show(BTC, "61999", "62001")
    reduced = bot.market_order(exchange, "sell", BTC, "0.03")
    turned = bot.order(exchange, "sell", BTC, "0.07", "limit", price="61999", time_in_force="IOC")
    assert venue.base(BTC) == D("-0.04")
    assert D(reduced.pnl["realised"]) == D("54.94") and turned.filled_quantity == D("0.07")

    [mine] = [one for one in bot.get_portfolio(exchange).contracts if one.bot == bot.bot_name]
    kept = venue.held(BTC)
    assert (mine.symbol, mine.quantity, mine.average_price) == (BTC, D("-0.04"), 61999)
    assert (mine.cost, mine.price, mine.currency) == (D("-2479.96"), 62000, "USDT")
    assert mine.cost == kept.cost and mine.unrealised == D("-0.04")
    # What was earned is what the exchange has paid, to the last unit, but for a share that did not end.
    paid = venue.balance() - before
    assert abs(mine.realised - mine.fees - paid) <= D("1e-17")
    assert bot.get_pnl(by="symbol", bot=bot.bot_name).total.pnl == mine.realised - mine.fees

    bot.market_order(exchange, "buy", BTC, "0.04")
    assert venue.base(BTC) == 0
    [mine] = [one for one in bot.get_portfolio(exchange).contracts if one.bot == bot.bot_name]
    assert (mine.quantity, mine.cost) == (0, 0)
    assert abs(mine.realised - mine.fees - (venue.balance() - before)) <= D("1e-17")


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_portfolio_counts_a_position_once(flat: House, exchange: str) -> None:
    venue, bot = flat.venues[exchange], flat.bot(f"once-{exchange}")
    bot.market_order(exchange, "sell", BTC, "0.05")
    venue.show(BTC, "58999", "59001")
    answer = flat.until(
        lambda: bot.get_portfolio(exchange), lambda told: told.accounts[0].value == venue.balance()
    )
    [account] = answer.accounts
    worth = venue.balance() + D("49.95")  # sold at 59,999, and the mark is 59,000
    assert account.contracts_unrealised == D("49.95")
    assert (account.value, answer.total_value) == (venue.balance(), worth)
    exposed = answer.contract_exposure[BTC]
    assert (exposed.quantity, exposed.value, exposed.unrealised) == (D("-0.05"), -2950, D("49.95"))
    mine = answer.by_bot[bot.bot_name]
    assert (mine.value, mine.unrealised, mine.cost) == (D("49.95"), D("49.95"), 0)
    assert "BTC/USDT:USDT" in str(answer)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_reduce_only_closes_and_never_opens(flat: House, exchange: str) -> None:
    venue, bot = flat.venues[exchange], flat.alice
    no = refused(lambda: bot.order(exchange, "sell", BTC, "0.01", "market", reduce_only=True))
    assert (no.code, no.details["held"]) == ("NOTHING_TO_REDUCE", "0")
    bot.market_order(exchange, "buy", BTC, "0.05")
    no = refused(lambda: bot.order(exchange, "buy", BTC, "0.01", "market", reduce_only=True))
    assert no.code == "NOTHING_TO_REDUCE"
    resting = bot.order(exchange, "sell", BTC, "0.02", "limit", price="61000", reduce_only=True)
    assert (resting.status, resting.reduce_only) == ("submitted", True)
    assert venue.open_orders()[0].reduce_only  # the exchange itself keeps it from opening
    order = bot.order(exchange, "sell", BTC, "1", "market", reduce_only=True)  # what rests comes first
    assert (order.status, order.filled_quantity) == ("filled", D("0.03"))
    assert venue.base(BTC) == D("0.02")
    bot.cancel_order(resting.order_id)
    bot.market_order(exchange, "sell", BTC, "0.05")
    order = bot.order(exchange, "buy", BTC, "1", "market", reduce_only=True)  # a short one, bought back
    assert (order.filled_quantity, venue.base(BTC)) == (D("0.03"), 0)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_leverage_is_looked_at_again_by_every_order_that_opens(flat: House, exchange: str) -> None:
    venue, bot = flat.venues[exchange], flat.alice
    bot.market_order(exchange, "buy", ETH, "0.2")
    for chosen, passes in (("2.99", True), ("3", True), ("3.01", False)):
        flat.adam.set_limit("max_leverage", "off", exchange=exchange)
        bot.set_leverage(exchange, ETH, chosen)
        flat.adam.set_limit("max_leverage", "3", exchange=exchange)
        if passes:
            bot.market_order(exchange, "buy", ETH, "0.01")
            continue
        no = refused(lambda: bot.market_order(exchange, "buy", ETH, "0.01"))
        assert (no.code, no.details["value"], no.details["limit"]) == ("LEVERAGE_LIMIT", chosen, "3")
        assert refused(lambda: bot.market_order(exchange, "sell", ETH, "1")).code == "LEVERAGE_LIMIT"
        bot.market_order(exchange, "sell", ETH, "0.02")  # what only reduces passes
        flat.adam.set_limit("max_leverage", "off", exchange=exchange)
    assert venue.base(ETH) == D("0.2")
    flat.adam.set_limit("max_leverage", "off", exchange=exchange)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_position_limit_is_of_the_net_position_either_way(flat: House, exchange: str) -> None:
    venue, bot = flat.venues[exchange], flat.alice
    bot.limit_order(exchange, "buy", ETH, "0.19", "2999")  # it rests, and is worth 570 at the middle of 3,000
    for limit, passes in (("599.98", False), ("599.99", True), ("600", False)):
        flat.adam.set_limit("max_position", limit, exchange=exchange)
        if passes:
            bot.limit_order(exchange, "buy", ETH, "0.01", "2999")  # 29.99 more
            continue
        no = refused(lambda: bot.limit_order(exchange, "buy", ETH, "0.01", "2999"))
        after = "599.99" if limit == "599.98" else "629.99"
        assert (no.code, no.details["limit"], no.details["value"]) == ("POSITION_LIMIT", limit, after)
    assert refused(lambda: bot.limit_order(exchange, "sell", ETH, "0.21", "3001")).code == "POSITION_LIMIT"
    venue.show(ETH, "2997", "2998")
    flat.until(lambda: bot.get_past_orders(exchange, limit=2).orders, all_filled)  # both were met
    assert venue.base(ETH) == D("0.2")
    venue.show(ETH, "2999", "3001")
    assert refused(lambda: bot.limit_order(exchange, "buy", ETH, "0.01", "2990")).code == "POSITION_LIMIT"
    no = refused(lambda: bot.limit_order(exchange, "sell", ETH, "0.41", "3000"))  # 0.21 the other way
    assert (no.code, 629 < D(no.details["value"]) < 632) == ("POSITION_LIMIT", True)
    flat.adam.set_limit("max_position", "1", exchange=exchange)
    bot.market_order(exchange, "sell", ETH, "0.15")  # reducing passes, whatever the limit
    assert venue.base(ETH) == D("0.05")
    flat.adam.set_limit("max_position", "off", exchange=exchange)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_what_contracts_do_not_take_is_refused_by_name(flat: House, exchange: str) -> None:
    bot = flat.alice
    lot = {"okx": D("0.0001"), "bybit": D("0.001")}[exchange]
    no = refused(lambda: bot.market_order(exchange, "buy", BTC, D("0.01") + lot / 4))
    assert (no.code, no.details["rule"], D(no.details["limit"])) == ("QUANTITY_INVALID", "lot", lot)
    assert D(no.details["nearest"]) == D("0.01") and str(D("0.01") + lot) in str(no)
    bot.limit_order(exchange, "buy", BTC, D("0.01") + lot, "59000")
    no = refused(lambda: bot.limit_order(exchange, "buy", BTC, "0.4", "60000"))  # 12,000 of margin
    assert no.code == "FUNDS_INSUFFICIENT" and no.details["currency"] == "USDT"
    wrong = {
        "algo": lambda: bot.limit_order(exchange, "buy", BTC, "0.01", "60000", algo="twap"),
        "order_type": lambda: bot.order(exchange, "sell", BTC, "0.01", "stop_loss", stop_price="50000"),
        "stop_loss": lambda: bot.order(
            exchange, "buy", BTC, "0.01", "market", stop_loss={"stop_price": "50000"}
        ),
    }
    for name, ask in wrong.items():
        no = refused(ask)
        assert (no.code, no.details["field"]) == ("REQUEST_FIELD_INVALID", name)
    for ask in (
        lambda: bot.smart_order(exchange, "USDT", BTC, "100"),
        lambda: bot.liquidate(exchange, BTC),
        lambda: bot.rebalance(exchange, {BTC: "1"}),
    ):
        no = refused(ask)
        assert no.code == "REQUEST_FIELD_INVALID" and "Contracts are traded by" in str(no)
    resting = bot.limit_order(exchange, "buy", BTC, "0.02", "59000")
    assert refused(lambda: bot.edit_order(resting.order_id, price="58000")).code == "ORDER_NOT_EDITABLE"
    assert bot.cancel_order(resting.order_id)["canceled"] == [resting.order_id]
    no = refused(lambda: bot.limit_order(exchange, "sell", BTC, "0.01", "59000"))  # it would meet our own
    assert no.code == "SELF_MATCH"


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_halt_reaches_contracts_and_leaves_nothing_open(flat: House, exchange: str) -> None:
    venue, bot = flat.venues[exchange], flat.alice
    resting = bot.limit_order(exchange, "buy", BTC, "0.01", "59000")
    spot = bot.limit_order(exchange, "buy", "BTC/USDT", "0.01", "59000")
    assert len(venue.open_orders()) == 2
    report = flat.adam.halt(exchange=exchange, symbol=BTC)
    assert bot.get_order(resting.order_id).status == "canceled"
    assert [one.symbol for one in venue.open_orders()] == ["BTC/USDT"]
    assert refused(lambda: bot.market_order(exchange, "buy", BTC, "0.01")).code == "TRADING_HALTED"
    bot.market_order(exchange, "buy", ETH, "0.01")  # another contract goes on
    flat.adam.resume(report.halt_id)
    bot.limit_order(exchange, "buy", BTC, "0.01", "59000")
    venue.trade(BTC, "buy", "0.01", price="58000")  # by hand
    report = flat.adam.halt(exchange=exchange, everything=True)
    assert venue.open_orders() == [] and bot.get_order(spot.order_id).status == "canceled"
    way_out = flat.adam.order(exchange, "sell", ETH, "1", "market", reduce_only=True)  # an admin's way out
    assert (way_out.filled_quantity, venue.base(ETH)) == (D("0.01"), 0)
    flat.adam.resume(report.halt_id)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_funding_is_told_payment_by_payment_and_in_all(flat: House, exchange: str) -> None:
    venue, bot = flat.venues[exchange], flat.bot(f"funding-{exchange}")
    assert bot.get_funding(exchange).payments == []
    bot.market_order(exchange, "buy", BTC, "0.05")
    bot.market_order(exchange, "sell", ETH, "0.2")
    before = venue.balance()
    paid = venue.fund(times=2)
    later = datetime.now(UTC) + timedelta(hours=17)
    answer = bot.get_funding(exchange, until=later)
    told = sorted((one.symbol, one.amount) for one in answer.payments)
    assert told == sorted((one.symbol, one.amount) for one in paid)
    assert len(told) == 4 and {one.symbol for one in answer.payments if one.amount > 0} == {ETH}
    assert answer.totals == {"USDT": venue.balance() - before}
    assert [one.at for one in answer.payments] == sorted((one.at for one in answer.payments), reverse=True)
    only = bot.get_funding(exchange, symbol=ETH, until=later)
    assert {one.symbol for one in only.payments} == {ETH}
    no = refused(
        lambda: bot.get_funding(exchange, since="2026-01-01T00:00:00Z", until="2026-05-01T00:00:00Z")
    )
    assert (no.code, no.details["field"]) == ("REQUEST_FIELD_INVALID", "since")


def test_a_restart_goes_on_with_positions_orders_and_limits(flat: House) -> None:
    bots = {exchange: flat.bot(f"again-{exchange}") for exchange in EXCHANGES}
    resting = {}
    for exchange, bot in bots.items():
        bot.market_order(exchange, "sell", ETH, "0.3")
        resting[exchange] = bot.limit_order(exchange, "buy", ETH, "0.1", "2900").order_id
    before = {exchange: bot.get_portfolio(exchange)["contracts"] for exchange, bot in bots.items()}
    flat.server.kill()
    for venue in flat.venues.values():
        venue.show(ETH, "2898", "2899")  # filled while nobody looked
        venue.show(ETH, "2999", "3001")
    flat.server.start()
    for exchange, bot in bots.items():
        assert bot.wait(bot.get_order(resting[exchange]).query_id).status == "done"
        order = flat.until(partial(bot.get_order, resting[exchange]), is_filled)
        assert order.filled_quantity == D("0.1")
        assert flat.venues[exchange].base(ETH) == D("-0.2")
        [was] = [one for one in before[exchange] if one["bot"] == bot.bot_name]
        [mine] = [one for one in bot.get_portfolio(exchange).contracts if one.bot == bot.bot_name]
        assert (D(was["quantity"]), mine.quantity) == (D("-0.3"), D("-0.2"))
        assert (mine.average_price, mine.realised) == (2999, D("9.9"))
        assert bot.order(exchange, "buy", ETH, "9", "market", reduce_only=True).filled_quantity == D("0.2")
