"""The venue matrix: every capability at every exchange, tried through ccxt over loopback.

`python -m tests.venues.matrix` tries all of it and prints the matrix; `test_matrix.py` asserts it and
`tests.docs.generate` writes it into the manual, both from the tables below. A capability is tried through our
gateway. Everything is expected to work; what does not stands in `LACKING`, with who says so and why:

    works       tried, and the exchange's ledger agrees
    refused     the exchange or our gateway says no, in these words, and nothing changed
    absent      the exchange has no such call: there is nothing to try
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import ccxt

from ems.core.messages import (
    Acked,
    Amended,
    AmendRefused,
    AmendRequest,
    BookUpdate,
    CancelAcked,
    CancelRefused,
    CancelRequest,
    FillReport,
    Found,
    MarketsLoaded,
    NewOrder,
    OpenOrders,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    PublicTrade,
    QueryMarkets,
    QueryOpenOrders,
    QueryOrder,
    Rejected,
    Side,
    StreamUp,
    TimeInForce,
    TradesAnswer,
    WatchBook,
)
from ems.venues.ccxt_gateway import CcxtGateway
from ems.venues.gateway import VenueRefused
from tests.venues.gateways import Reports, client_id, trades_of
from tests.venues.listed import ASK, BID, EXCHANGES, ListedVenue

D = Decimal
LOT = D("0.01")
TIMEOUT_S = 15.0  # of one request: the machine may be busy
WAIT_S = 30.0
RESTING = BID + 5

State = Literal["works", "refused", "absent"]


class NotOffered(Exception):
    """Nothing can be tried: the dialect has no call for it."""


@dataclass
class Bench:
    """One exchange with everything that is tried on it."""

    venue: ListedVenue
    gateway: CcxtGateway
    reports: Reports
    started: datetime
    numbers: int = 0
    contract: str = ""

    @property
    def ccxt(self) -> Any:
        return self.gateway._ccxt

    @property
    def symbol(self) -> str:
        return self.venue.symbol

    def new(self, price: Decimal | None = RESTING, side: Side = Side.BUY, **fields: Any) -> NewOrder:
        self.numbers += 1
        cid = client_id(self.numbers)
        fields = {
            "quantity": LOT,
            "time_in_force": TimeInForce.GTC,
            "post_only": False,
            **fields,
        }
        return NewOrder(
            order_id=f"order-{self.numbers}",
            client_order_id=cid.replace("-", "") if self.gateway.client_id_style == "hex32" else cid,
            symbol=self.symbol,
            side=side,
            order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
            price=price,
            **fields,
        )

    def waiting(self, kind: OrderType) -> NewOrder:
        """An order to sell that waits for a price a thousand away, where its kind waits."""
        self.venue.exchange.public_trade(self.symbol, BID, LOT / 10, "buy", time.time())
        stop = D(19000) if kind in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT) else D(21000)
        price = stop - 100 if kind.limited else None
        return replace(self.new(side=Side.SELL), order_type=kind, stop_price=stop, price=price)

    async def sent(self, order: NewOrder) -> Any:
        """Send an order and return the exchange's own record of it; raise what it was refused with."""
        number = await self.accepted(order)
        (kept,) = self.venue.account.by_client_id[order.client_order_id]
        return kept, number

    async def accepted(self, order: NewOrder) -> str:
        self.gateway.send(order)
        report = await self.reports.next(
            object,
            lambda one: isinstance(one, Acked | Rejected | OutcomeUnknown) and one.order_id == order.order_id,
            within_s=WAIT_S,
        )
        if isinstance(report, Rejected):
            raise VenueRefused(report.message, report.venue_code)
        assert isinstance(report, Acked), report
        return report.exchange_order_id

    async def cancelled(self, order: NewOrder, exchange_order_id: str | None) -> None:
        self.gateway.send(
            CancelRequest(
                order_id=order.order_id,
                client_order_id=order.client_order_id,
                exchange_order_id=exchange_order_id,
                symbol=order.symbol,
            )
        )
        report = await self.reports.next(
            object,
            lambda one: (
                isinstance(one, CancelAcked | CancelRefused | OutcomeUnknown)
                and one.order_id == order.order_id
            ),
            within_s=WAIT_S,
        )
        if isinstance(report, CancelRefused | OutcomeUnknown):
            raise VenueRefused(report.message)


# --- What is tried ---


async def markets(bench: Bench) -> None:
    bench.gateway.send(QueryMarkets())
    loaded = await bench.reports.next(MarketsLoaded, within_s=WAIT_S)
    (ours,) = (one for one in loaded.markets if one.symbol == bench.symbol)
    rules = bench.venue.market
    assert (ours.tick, ours.lot, ours.min_quantity) == (rules.tick, rules.lot, rules.min_qty), ours


async def fees(bench: Bench) -> None:
    (row,) = await bench.gateway.fetch_fees(bench.symbol)
    rules = bench.venue.market
    assert (row["maker"], row["taker"]) == (rules.maker_fee, rules.taker_fee), row


async def clock(bench: Bench) -> None:
    health = await bench.gateway.fetch_health()
    assert health["reachable"] and abs(D(str(health["clock_skew_ms"]))) < 30_000, health


async def book_by_rest(bench: Bench) -> None:
    book = await bench.ccxt.fetch_order_book(bench.symbol, bench.gateway.dialect.book_depth)
    assert [D(str(part)) for part in book["bids"][0][:2]] == [BID, 5], book["bids"][:2]
    assert [D(str(part)) for part in book["asks"][0][:2]] == [ASK, 5], book["asks"][:2]


async def book_by_stream(bench: Bench) -> None:
    bench.gateway.send(WatchBook(symbol=bench.symbol))

    async def shows(best: Decimal) -> None:
        await bench.reports.next(BookUpdate, lambda one: one.bids[0][0] == best, within_s=WAIT_S)

    await shows(BID)
    better = BID + 3
    bench.venue.exchange.set_book(bench.symbol, [(better, D(5))], [(ASK, D(5))], time.time())
    await shows(better)
    bench.venue.show_book()
    await shows(BID)


async def public_trades(bench: Bench) -> None:
    bench.gateway.send(WatchBook(symbol=bench.symbol))
    deadline = time.monotonic() + WAIT_S
    while True:  # the subscription takes a moment, and what happens before is not told
        bench.venue.sell_into(BID, LOT)
        try:
            trade = await bench.reports.next(PublicTrade, within_s=0.5)
            break
        except TimeoutError:
            assert time.monotonic() < deadline, "no trade was told"
    assert (trade.price, trade.quantity, trade.side) == (BID, LOT, Side.SELL), trade


async def private_stream(bench: Bench) -> None:
    deadline = time.monotonic() + WAIT_S
    while not (await bench.gateway.fetch_health())["stream_up"]:
        assert time.monotonic() < deadline, "the private stream is down"
        await asyncio.sleep(0.1)
    order = bench.new()
    kept, number = await bench.sent(order)
    bench.venue.sell_into(RESTING, LOT)
    told = await bench.reports.next(
        object,
        lambda one: (
            isinstance(one, FillReport)
            and one.exchange_order_id == number
            or isinstance(one, OrderStatus)
            and one.exchange_order_id == number
            and one.query_sent_at is None
            and (one.filled_quantity or 0) == LOT
        ),
        within_s=WAIT_S,
    )
    assert told.quantity in (LOT, None) and kept.filled_quantity == LOT, told


async def balances(bench: Bench) -> None:
    told = await bench.gateway.fetch_balances()
    kept = bench.venue.exchange.balances(bench.venue.account)
    for currency in (bench.venue.market.base, bench.venue.market.quote):
        assert (told[currency]["free"], told[currency]["used"]) == kept[currency], (currency, told, kept)


async def limit_order(bench: Bench) -> None:
    order = bench.new()
    kept, number = await bench.sent(order)
    assert (kept.open, kept.price, kept.quantity) == (True, RESTING, LOT)
    await bench.cancelled(order, number)
    assert not kept.open


async def market_order(bench: Bench) -> None:
    if not bench.gateway.dialect.market_orders:
        raise NotOffered("the exchange has no market orders")
    kept, _ = await bench.sent(bench.new(None))
    assert (kept.order_type, kept.filled_quantity, kept.average_price) == ("market", LOT, ASK)


async def immediate_or_cancel(bench: Bench) -> None:
    kept, _ = await bench.sent(bench.new(ASK, quantity=D(6), time_in_force=TimeInForce.IOC))
    assert not kept.open and 0 < kept.filled_quantity < 6, "what was there, and nothing rests"
    bench.venue.show_book()


async def fill_or_kill(bench: Bench) -> None:
    before = len(bench.venue.account.fills)
    order = bench.new(ASK, quantity=D(6), time_in_force=TimeInForce.FOK)
    try:
        await bench.accepted(order)
    except VenueRefused:
        pass  # some refuse what they cannot fill whole, some accept and end it
    assert len(bench.venue.account.fills) == before and not bench.venue.account.open
    kept, _ = await bench.sent(bench.new(ASK + 4, time_in_force=TimeInForce.FOK))
    assert kept.filled_quantity == LOT
    bench.venue.show_book()


async def post_only(bench: Bench) -> None:
    before = len(bench.venue.account.fills)
    try:
        await bench.accepted(bench.new(ASK, post_only=True))
    except VenueRefused:
        pass  # some refuse what would take, some accept and cancel it
    assert len(bench.venue.account.fills) == before and not bench.venue.account.open
    order = bench.new(post_only=True)
    kept, number = await bench.sent(order)
    assert kept.open and kept.post_only
    await bench.cancelled(order, number)


async def look_up_by_client_id(bench: Bench) -> None:
    order = bench.new()
    _, number = await bench.sent(order)
    bench.gateway.send(
        QueryOrder(
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            exchange_order_id=None,
            symbol=order.symbol,
            since=bench.started,
        )
    )
    status = await bench.reports.next(
        OrderStatus,
        lambda one: one.order_id == order.order_id and one.query_sent_at is not None,
        within_s=WAIT_S,
    )
    assert (status.found, status.exchange_order_id) == (Found.OPEN, number)
    await bench.cancelled(order, number)


async def cancel_by_client_id(bench: Bench) -> None:
    order = bench.new()
    kept, number = await bench.sent(order)
    try:
        await bench.cancelled(order, None)
        assert not kept.open
    finally:
        if kept.open:
            await bench.cancelled(order, number)


async def cancel_all(bench: Bench) -> None:
    """Cancel what rests and what waits."""
    waiting = bench.waiting(OrderType.STOP_LOSS_LIMIT)
    placed = [await bench.sent(order) for order in (bench.new(), bench.new(), waiting)]
    told = await bench.gateway.cancel_all(bench.symbol)
    assert sorted(one.exchange_order_id or "" for one in told.cancelled) == sorted(one for _, one in placed)
    assert not (told.still_open or told.unproven or told.problems), told
    assert not any(one.open for one, _ in placed) and not bench.venue.account.open


async def amended(bench: Bench, **changes: Decimal) -> None:
    order = bench.new(quantity=2 * LOT)
    kept, number = await bench.sent(order)
    bench.gateway.send(
        AmendRequest(
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            exchange_order_id=number,
            symbol=order.symbol,
            side=order.side,
            order_type=order.order_type,
            was_quantity=order.quantity,
            **changes,
        )
    )
    told = await bench.reports.next(
        object,
        lambda one: (
            isinstance(one, Amended | AmendRefused | OutcomeUnknown) and one.order_id == order.order_id
        ),
        within_s=WAIT_S,
    )
    (alive,) = bench.venue.account.open.values()
    if isinstance(told, AmendRefused):
        assert (alive.price, alive.quantity) == (order.price, order.quantity)
        raise VenueRefused(told.message, told.venue_code)
    assert isinstance(told, Amended), told
    assert (alive, alive.order_id, alive.client_order_id) == (kept, kept.order_id, order.client_order_id)
    terms = {"price": order.price, "quantity": order.quantity, **changes}
    assert (alive.price, alive.quantity) == (terms["price"], terms["quantity"])


async def amend_quantity(bench: Bench) -> None:
    await amended(bench, quantity=LOT)


async def amend_price(bench: Bench) -> None:
    await amended(bench, price=RESTING - 1)


def waits(kind: OrderType) -> Callable[[Bench], Awaitable[None]]:
    """Return the trial of an order to sell that waits for a price."""

    async def tried(bench: Bench) -> None:
        order = bench.waiting(kind)
        kept, number = await bench.sent(order)
        assert kept.waiting and (kept.trigger.price, kept.price) == (order.stop_price, order.price), kept
        assert kept.trigger.rising == (kind in (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT))
        bench.gateway.send(QueryOpenOrders())
        told = await bench.reports.next(OpenOrders, within_s=WAIT_S)
        assert [(one.exchange_order_id, one.stop_price) for one in told.orders] == [
            (number, order.stop_price)
        ]
        await bench.cancelled(order, number)
        assert not kept.open and not kept.fills

    return tried


async def open_orders(bench: Bench) -> None:
    order = bench.new()
    _, number = await bench.sent(order)
    bench.gateway.send(QueryOpenOrders())
    told = await bench.reports.next(OpenOrders, within_s=WAIT_S)
    assert [one.exchange_order_id for one in told.orders] == [number]
    await bench.cancelled(order, number)


async def fills_of_an_order(bench: Bench) -> None:
    order = bench.new(ASK + 4)
    kept, number = await bench.sent(order)
    told = await bench.gateway.fetch_order_fills(bench.symbol, number)
    assert [(one.price, one.quantity, one.fee) for one in told] == [
        (one.price, one.quantity, one.fee) for one in kept.fills
    ]
    bench.venue.show_book()


async def fills_history(bench: Bench) -> None:
    since = datetime.now(UTC)
    order = bench.new(ASK + 4)
    kept, _ = await bench.sent(order)
    bench.gateway.send(trades_of(order, since))
    told = await bench.reports.next(TradesAnswer, within_s=WAIT_S)
    assert sum(one.quantity for one in told.fills) == kept.filled_quantity == LOT
    trades = await bench.ccxt.fetch_my_trades(bench.symbol)
    assert len(trades) >= len(kept.fills)
    bench.venue.show_book()


async def past_orders(bench: Bench) -> None:
    kept, number = await bench.sent(bench.new(ASK + 4))
    told = await bench.gateway.fetch_past_orders(bench.symbol, bench.started, _soon())
    (ours,) = (one for one in told if one.exchange_order_id == number)
    assert (ours.quantity, ours.filled_quantity) == (kept.quantity, kept.filled_quantity), ours
    bench.venue.show_book()


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=5)


async def dead_mans_switch(bench: Bench) -> None:
    switch = bench.gateway.dialect.dead_man
    if switch is None:
        raise NotOffered("no switch that this server can use")
    kept, _ = await bench.sent(bench.new())
    await switch.arm(bench.ccxt, switch.timeout_s)
    now = bench.venue.server.now()
    bench.venue.exchange.wake(now + switch.timeout_s / 2)
    assert kept.open
    bench.venue.exchange.wake(now + switch.timeout_s + 5)
    assert not kept.open
    await switch.arm(bench.ccxt, 0)


async def key_powers(bench: Bench) -> None:
    ask = bench.gateway.dialect.powers
    if ask is None:
        raise NotOffered("the exchange tells nobody what a key may do")
    powers = await ask(bench.ccxt)
    assert powers.trade is True and not powers.withdraw, powers


async def positions(bench: Bench) -> None:
    held = await bench.gateway.fetch_positions()
    assert held == []


async def leverage(bench: Bench) -> None:
    await bench.gateway.set_leverage("BTC/USDT:USDT", D(7))
    kept = bench.venue.positions
    assert kept is not None and kept.leverage(bench.venue.account, "BTC/USDT:USDT") == 7


async def deposits(bench: Bench) -> None:
    rows = await bench.gateway.fetch_transfers(bench.started, _soon())
    told = {(row.currency, row.amount) for row in rows if row.kind == "deposit"}
    assert {(bench.venue.market.quote, D(200_000)), (bench.venue.market.base, D(5))} <= told, rows


async def withdrawals(bench: Bench) -> None:
    bench.venue.exchange.withdraw(bench.venue.account, bench.venue.market.quote, D(250), time.time())
    rows = await bench.gateway.fetch_transfers(bench.started, _soon())
    told = [(row.currency, row.amount) for row in rows if row.kind == "withdrawal"]
    assert told == [(bench.venue.market.quote, D(250))], rows


CAPABILITIES: Mapping[str, Callable[[Bench], Awaitable[None]]] = {
    "markets and their rules": markets,
    "the account's own fees": fees,
    "the exchange's time": clock,
    "book, REST": book_by_rest,
    "book, stream": book_by_stream,
    "public trades, stream": public_trades,
    "own orders and fills, stream": private_stream,
    "balances": balances,
    "limit order": limit_order,
    "market order": market_order,
    "immediate or cancel": immediate_or_cancel,
    "fill or kill": fill_or_kill,
    "post only": post_only,
    "look up by our id": look_up_by_client_id,
    "cancel by our id": cancel_by_client_id,
    "cancel all": cancel_all,
    "change the quantity in one step": amend_quantity,
    "change the price in one step": amend_price,
    **{
        f"{kind.replace('_', '-', 1).replace('_', ' ')} order": waits(kind)
        for kind in OrderType
        if kind.waits
    },
    "open orders": open_orders,
    "fills of one order": fills_of_an_order,
    "fills since a time": fills_history,
    "past orders": past_orders,
    "deposits": deposits,
    "withdrawals": withdrawals,
    "dead-man's switch": dead_mans_switch,
    "what the key may do": key_powers,
    "positions in contracts": positions,
    "leverage of a contract": leverage,
}


@dataclass(frozen=True)
class Lack:
    """What an exchange does not do: `words` are looked for in what is said when it is tried."""

    state: State
    words: str
    why: str  # for people


def absent(words: str, why: str) -> Lack:
    return Lack("absent", words, why)


def refused(words: str, why: str) -> Lack:
    return Lack("refused", words, why)


# (exchange, capability) -> what is lacking, and why
LACKING: dict[tuple[str, str], Lack] = {
    ("gemini", "market order"): absent(
        "no market orders", "limit orders only; the server takes by a limit at the worst price allowed"
    ),
    **{
        (exchange, f"change the {term} in one step"): refused(
            "changes no order in one step",
            "it has no call for it: cancel, and place another when that is certain",
        )
        for exchange in ("bittrex", "coinbaseexchange", "gemini")
        for term in ("quantity", "price")
    },
    ("binance", "change the price in one step"): refused(
        "changes quantity in one step, not price", "it makes an order smaller, and that is all"
    ),
    **{
        (exchange, f"{kind} order"): refused(
            "has no .* orders; it takes", "behind a stop it has limit orders only"
        )
        for exchange in ("bittrex", "coinbase", "coinbaseexchange", "gemini")
        for kind in ("stop-loss", "take-profit")
    },
    **{
        (exchange, "take-profit limit order"): refused(
            "has no take_profit_limit orders",
            "its stops get worse with the market: to sell below, to buy above",
        )
        for exchange in ("bittrex", "coinbaseexchange", "gemini")
    },
    **{
        (exchange, "dead-man's switch"): absent("no switch", why)
        for exchange, why in {
            "binance": "none for spot",
            "bittrex": "none",
            "bybit": "a window after the private stream drops, which an account manager has to enable",
            "coinbase": "none",
            "coinbaseexchange": "none",
            "gemini": "a heartbeat of the session, not of the account",
        }.items()
    },
    **{
        (exchange, "what the key may do"): absent("tells nobody", "no call for it; see to the key by hand")
        for exchange in ("bittrex", "coinbaseexchange")
    },
    **{
        (exchange, capability): refused("no positions and no leverage at", "only its spot is reached")
        for exchange in ("binance", "bittrex", "coinbase", "coinbaseexchange", "gemini", "kraken")
        for capability in ("positions in contracts", "leverage of a contract")
    },
}


@dataclass(frozen=True)
class Cell:
    """What came of one trial."""

    state: State | Literal["broken"]
    words: str = ""


def expected(exchange: str, capability: str) -> State:
    lack = LACKING.get((exchange, capability))
    return "works" if lack is None else lack.state


async def tried(bench: Bench, capability: str) -> Cell:
    """Try one capability."""
    try:
        async with asyncio.timeout(90):
            await CAPABILITIES[capability](bench)
        return Cell("works")
    except NotOffered as error:
        return Cell("absent", str(error))
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        return Cell("refused" if isinstance(error, VenueRefused | ccxt.ExchangeError) else "broken", words)
    finally:
        # The next one begins with nothing open, whatever came of this one.
        for one in list(bench.venue.account.open.values()):
            bench.venue.exchange.cancel_order(bench.venue.account, one.order_id, now=time.time())


async def matrix_of(exchange: str, capabilities: Sequence[str] = tuple(CAPABILITIES)) -> dict[str, Cell]:
    """Try every capability of an exchange, one after another."""
    venue = ListedVenue(exchange, swaps=True)
    await venue.server.open()
    gateway = CcxtGateway(
        exchange,
        "default",
        venue.keys,
        mode="paper",
        base_url=venue.url,
        request_timeout_s=TIMEOUT_S,
        shapes=(),
    )
    reports = Reports()
    gateway.open(reports.deliver)
    try:
        await reports.next(MarketsLoaded, within_s=60)
        await reports.next(StreamUp, within_s=60)
        bench = Bench(venue, gateway, reports, datetime.now(UTC) - timedelta(seconds=5))
        return {capability: await tried(bench, capability) for capability in capabilities}
    finally:
        await gateway.close()
        await venue.server.close()


SHOWN = {"works": "yes", "refused": "refused", "absent": "-", "broken": "BROKEN"}


def lines(found: Mapping[str, Mapping[str, Cell]]) -> str:
    """Show the matrix."""
    names = list(found)
    width = max(map(len, CAPABILITIES))
    rows = [f"{'':<{width}}" + "".join(f"{name:>18}" for name in names)]
    for capability in CAPABILITIES:
        cells = (found[name].get(capability) for name in names)
        shown = "".join(f"{SHOWN[cell.state] if cell else '':>18}" for cell in cells)
        rows.append(f"{capability:<{width}}{shown}")
    return "\n".join(rows)


def wrong(found: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    """Return where what was found is not what the tables say."""
    differing = []
    for exchange, cells in found.items():
        for capability, cell in cells.items():
            lack = LACKING.get((exchange, capability))
            if cell.state != expected(exchange, capability):
                differing.append(f"{exchange}, {capability}: {cell.state} ({cell.words})")
            elif lack is not None and not re.search(lack.words, cell.words):
                differing.append(f"{exchange}, {capability}: said {cell.words!r}, not {lack.words!r}")
    return differing


def main() -> int:
    logging.disable(logging.CRITICAL)
    chosen = sys.argv[1:] or EXCHANGES
    found = {exchange: asyncio.run(matrix_of(exchange)) for exchange in chosen}
    print(lines(found))
    for differing in wrong(found):
        print(differing[:400])
    return 1 if wrong(found) else 0


if __name__ == "__main__":
    sys.exit(main())
