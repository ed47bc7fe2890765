"""Finding orders and their trades: one by one, in the open orders, in the account's history.

"There is no such order" is said only by the venue's own words or by lists that were really read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from ems.core.messages import (
    FillReport,
    Found,
    OpenOrders,
    OrderStatus,
    QueryTradeHistory,
    QueryTrades,
    TradeHistoryRead,
    TradesAnswer,
)
from ems.venues.asking import ASK_PATIENCE_S, Asking, Reading
from ems.venues.dialects.dialect import Dialect
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.known import KnownOrders
from ems.venues.limiter import Priority, TooBusy
from ems.venues.markets import Markets
from ems.venues.translation import Unreadable, fill_of, status_of, to_ms

HISTORY_OVERLAP = timedelta(seconds=5)
CLOCK_DOUBT_S = 2.0  # how much more our clock may be wrong than was measured
STRANGERS_ASKED = 5  # orders of others looked up one by one to prove that a trade is not ours; more, in bulk


class OrderForgotten(VenueUnavailable):
    """The venue says that it has no such order: not yet, or no longer."""


class Lookups:
    """One account's look-ups."""

    def __init__(
        self,
        dialect: Dialect,
        ccxt_exchange: Any,
        asking: Asking,
        *,
        known: KnownOrders,
        markets: Markets,
        now: Callable[[], datetime],
    ):
        self._dialect = dialect
        self._ccxt = ccxt_exchange
        self._asking = asking
        self._known = known
        self._markets = markets
        self._now = now
        # The venue's lists go by its clock, and we trade while ours is wrong by no more than this.
        self._overlap = max(HISTORY_OVERLAP, timedelta(seconds=dialect.skew_max_s + CLOCK_DOUBT_S))

    async def look_up(
        self,
        order_id: str,
        symbol: str,
        exchange_order_id: str | None,
        client_order_id: str,
        since: datetime | None,
    ) -> OrderStatus:
        """Find one order; NOT_FOUND only from the venue's own words or from lists that were really read."""
        await self._markets.wait_ready(ASK_PATIENCE_S)
        first_sent_at: datetime | None = None
        orders: list[Any] = []
        if exchange_order_id is not None:
            for lookup in self._dialect.by_exchange_id:
                method = getattr(self._ccxt, lookup.method)
                if lookup.gives_list:
                    params = {lookup.parameter: exchange_order_id}
                    answer = await self._asking.ask(lookup.cost, partial(method, symbol, None, None, params))
                    orders = [one for one in answer.value if one.get("id") == exchange_order_id]
                    if answer.value and not orders:
                        raise Unreadable(
                            f"asked for order {exchange_order_id}, told of {answer.value[0].get('id')!r:.60}"
                        )
                else:
                    answer = await self._asking.ask_or_absent(
                        lookup.cost, partial(method, exchange_order_id, symbol)
                    )
                    orders = [] if answer.value is None else [answer.value]
                first_sent_at = first_sent_at or answer.sent_at
                if orders:
                    break
        elif self._dialect.find is not None:
            reading = Reading(self._asking.ask)
            since_ms = None if since is None else to_ms(since - self._overlap)
            found = await self._dialect.find(reading, self._ccxt, symbol, client_order_id, since_ms)
            first_sent_at = reading.began_at()
            orders = [one for one in found if one.get("clientOrderId") == client_order_id]
        else:
            for lookup in self._dialect.by_client_id:
                method = getattr(self._ccxt, lookup.method)
                params = {lookup.parameter: client_order_id}
                if lookup.gives_list:
                    answer = await self._asking.ask(lookup.cost, partial(method, symbol, None, None, params))
                    found = answer.value
                else:
                    answer = await self._asking.ask_or_absent(
                        lookup.cost, partial(method, None, symbol, params)
                    )
                    found = [] if answer.value is None else [answer.value]
                # The earliest question counts: what arrived after it was sent may have been missed by it.
                first_sent_at = first_sent_at or answer.sent_at
                # A filter the venue ignored must not hand us somebody else's order; and it proves nothing.
                orders = [one for one in found if one.get("clientOrderId") == client_order_id]
                if found and not orders:
                    raise Unreadable(
                        f"asked for {client_order_id}, told of {found[0].get('clientOrderId')!r:.60}"
                    )
                if orders:
                    break
        if not orders:
            return OrderStatus(
                order_id=order_id,
                found=Found.NOT_FOUND,
                exchange_order_id=exchange_order_id,
                client_order_id=client_order_id,
                symbol=symbol,
                query_sent_at=first_sent_at,
            )
        status = status_of(orders[0], order_id=order_id, query_sent_at=first_sent_at)
        assert status.exchange_order_id is not None
        if exchange_order_id is not None and status.exchange_order_id != exchange_order_id:
            raise Unreadable(f"asked for order {exchange_order_id}, told of {status.exchange_order_id}")
        self._known.name(symbol, status.exchange_order_id, order_id, client_order_id)
        return replace(status, client_order_id=client_order_id, symbol=symbol)

    async def trades_of(self, query: QueryTrades) -> TradesAnswer:
        """Read the trades of one order, from the account\'s history where it has no number yet."""
        await self._markets.wait_ready(ASK_PATIENCE_S)
        exchange_order_id = query.exchange_order_id
        if exchange_order_id is None:
            status = await self.look_up(
                query.order_id, query.symbol, None, query.client_order_id, query.since
            )
            exchange_order_id = status.exchange_order_id
        if exchange_order_id is None:
            assert status.query_sent_at is not None
            fills, sent_at = await self._fills_in_history(query)
            return TradesAnswer(
                order_id=query.order_id, fills=fills, query_sent_at=min(sent_at, status.query_sent_at)
            )
        try:
            fills, sent_at = await self.read_fills(query.symbol, exchange_order_id)
        except OrderForgotten:
            # It was acknowledged once; what it did before it was forgotten is in the account's history.
            fills, sent_at = await self._fills_in_history(query)
        fills = tuple(
            replace(fill, order_id=query.order_id, client_order_id=query.client_order_id) for fill in fills
        )
        return TradesAnswer(order_id=query.order_id, fills=fills, query_sent_at=sent_at)

    async def read_fills(
        self, symbol: str, exchange_order_id: str
    ) -> tuple[tuple[FillReport, ...], datetime]:
        """Read the fills of one order, all of them, and when that was asked; raise OrderForgotten."""
        reading = Reading(self._asking.ask_or_absent)
        read = await self._dialect.fills_of(reading, self._ccxt, symbol, exchange_order_id)
        if read is None:
            raise OrderForgotten(f"order {exchange_order_id} is not known (yet)")
        order_id, client_order_id = self._known.names_of(symbol, exchange_order_id)
        fills = tuple(
            fill_of(trade, order_id=order_id, client_order_id=client_order_id)
            for trade in read.trades
            if trade["order"] == exchange_order_id
        )
        if read.expected is not None and sum((fill.quantity for fill in fills), Decimal(0)) != read.expected:
            raise VenueUnavailable(f"{read.expected} filled, but not all of its trades are listed yet")
        return fills, reading.began_at()

    async def _fills_in_history(self, query: QueryTrades) -> tuple[tuple[FillReport, ...], datetime]:
        """Read the account's trades since the order was sent and find those of its client id."""
        reading = Reading(self._asking.ask)
        trades = await self._named_history(reading, query.symbol, query.since, query.exchange_order_id)
        fills = tuple(
            fill_of(trade, order_id=query.order_id, client_order_id=query.client_order_id)
            for trade in trades
            if trade["order"] == query.exchange_order_id
            or self._known.names_of(query.symbol, trade["order"])[1] == query.client_order_id
        )
        return fills, reading.began_at()

    async def _named_history(
        self, reading: Reading, symbol: str, since: datetime, known_id: str | None = None
    ) -> list[Any]:
        """Read the account's trades in a market and learn whose orders they were."""
        since_ms, now_ms = to_ms(since - self._overlap), to_ms(self._now() + self._overlap)
        trades = await self._dialect.history_of(reading, self._ccxt, symbol, since_ms, now_ms)
        known_or_not = {trade["order"] for trade in trades} - {known_id}
        strangers = {order for order in known_or_not if not self._known.has(symbol, order)}
        # Some venues tell the client id with each trade.
        names: dict[str, str | None] = {
            trade["order"]: trade["clientOrderId"] for trade in trades if "clientOrderId" in trade
        }
        unnamed = strangers - names.keys()
        if len(unnamed) > STRANGERS_ASKED:
            names |= await self._dialect.names_of(reading, self._ccxt, symbol, unnamed)
        else:
            for order in unnamed:
                one = await self._asking.ask("order", partial(self._ccxt.fetch_order, order, symbol))
                names[order] = one.value.get("clientOrderId")
        for exchange_order_id in strangers & names.keys():
            self._known.name(symbol, exchange_order_id, None, names[exchange_order_id])
        if strangers - names.keys():
            # What was learned is kept: the next time there is less to ask.
            raise VenueUnavailable(f"{len(strangers)} unknown orders traded since {since}")
        return trades

    async def trade_history(self, query: QueryTradeHistory) -> TradeHistoryRead:
        """Read the account's trades in some markets, each with our client order id where it is of ours."""
        fills: list[FillReport] = []
        problems = []
        reading = Reading(partial(self._asking.ask, priority=Priority.HISTORY))
        for symbol in query.symbols:
            try:
                await self._markets.wait_ready(ASK_PATIENCE_S)
                for trade in await self._named_history(reading, symbol, query.since):
                    order_id, client_order_id = self._known.names_of(symbol, trade["order"])
                    fills.append(fill_of(trade, order_id=order_id, client_order_id=client_order_id))
            except (VenueRefused, VenueUnavailable, TooBusy, Unreadable) as error:
                problems.append(f"{symbol}: {error}")
        return TradeHistoryRead(fills=tuple(fills), problem="; ".join(problems))

    async def open_orders(self, priority: Priority = Priority.QUERY) -> OpenOrders:
        """Read all open orders of the account."""
        await self._markets.wait_ready(ASK_PATIENCE_S)
        answer = await self._asking.ask(
            "open_orders", lambda: self._dialect.open_orders(self._ccxt), priority=priority
        )
        orders = tuple(
            self._known.named(status_of(one, order_id=None, query_sent_at=answer.sent_at))
            for one in answer.value
        )
        return OpenOrders(orders=orders, query_sent_at=answer.sent_at)
