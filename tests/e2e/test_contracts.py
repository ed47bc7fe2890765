"""Perpetual contracts over HTTP, on two exchanges, judged by what these say themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from oms_client import OMSClient
from oms_client.cli import main
from oms_client.errors import OMSError
from simulator.faults import Rule
from tests.e2e.contracts import BTC, ETH, ContractVenue
from tests.e2e.processes import ServerProcess

D = Decimal
EXCHANGES = ("bybit", "okx")


class House:
    """A server, its exchanges, and its callers."""

    def __init__(self, server: ServerProcess, venues: dict[str, ContractVenue]) -> None:
        self.server = server
        self.venues = venues
        self.alice = OMSClient("alice", server.url, "bot-1", key=server.keys.private)
        self.adam = OMSClient("adam", server.url, "desk", key=server.admin.private)


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
