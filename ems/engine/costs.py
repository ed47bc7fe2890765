"""What parents cost: facts gathered while they work, written when they end (EXECUTION.md 7).

Mids and public trades of the markets a parent trades are kept from its start until its last markout is
known, five minutes after its last fill. A restart loses them: what is not known is said to be not known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos import ledger
from ems.core.messages import BookUpdate, PublicTrade, Side
from ems.core.records import Cost, Fill, Order, Parent
from ems.engine.account import Account
from ems.engine.turn import Out
from ems.engine.work import Work
from ems.tca.body import ParentFacts, cost_body, mids_known_by, with_markouts
from ems.tca.identity import LegFacts, MarketFacts, leg_facts, unpriced_fees

ZERO = Decimal(0)
BP = Decimal("0.0001")
MIDS_KEPT = 20_000  # of one market
TRADES_KEPT = 20_000
MID_GAP_S = 0.05  # mids closer together than this are one
AFTER = timedelta(seconds=2)  # the feed may be a little late
COMPARED = ("convert", "liquidate")  # what ends in one currency has a price to compare

Place = tuple[str, str, str]  # (exchange, account, symbol)


@dataclass
class Series:
    """What one market did while parents were interested in it."""

    times: deque[datetime] = field(default_factory=lambda: deque(maxlen=MIDS_KEPT))
    mids: deque[Decimal] = field(default_factory=lambda: deque(maxlen=MIDS_KEPT))
    trades: deque[PublicTrade] = field(default_factory=lambda: deque(maxlen=TRADES_KEPT))
    wanted: set[str] = field(default_factory=set)  # ids of parents

    def mid_at(self, when: datetime) -> Decimal | None:
        """Return the mid that held at a moment; None before the first and after the last that is known."""
        if not self.times or when > self.times[-1] + timedelta(seconds=5):
            return None
        index = bisect_right(self.times, when) - 1
        return self.mids[index] if index >= 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A cost that is written but whose markouts are not known yet."""

    cost: Cost
    legs: tuple[LegFacts, ...]
    places: frozenset[Place]


class Costs:
    """Writes the cost of every parent that ends, and completes it once its markouts are known."""

    def __init__(self, out: Out, work: Work):
        self._out = out
        self._work = work
        self._series: dict[Place, Series] = {}
        self._pending: dict[str, Pending] = {}  # parent id -> its cost, not complete

    # --- Gathering ---------------------------------------------------------------------------------------

    def follow(self, parent: Parent, now: datetime) -> None:
        """Start keeping what happens on a parent's markets."""
        for leg in parent.legs:
            place = (leg.exchange, leg.account, leg.symbol)
            series = self._series.setdefault(place, Series())
            series.wanted.add(parent.parent_id)
            book = self._work.accounts[leg.exchange, leg.account].books.get(leg.symbol)
            if book is not None:
                self._add_mid(series, replace(book, at=max(book.at, now)))

    def book(self, account: Account, update: BookUpdate) -> None:
        """Take the mid of a new book."""
        series = self._series.get((*account.key, update.symbol))
        if series is not None:
            self._add_mid(series, update)

    @staticmethod
    def _add_mid(series: Series, update: BookUpdate) -> None:
        if not update.bids or not update.asks:
            return
        if series.times and (update.at - series.times[-1]).total_seconds() < MID_GAP_S:
            return
        series.times.append(update.at)
        series.mids.append((update.bids[0][0] + update.asks[0][0]) / 2)

    def trade(self, account: Account, trade: PublicTrade) -> None:
        """Take a public trade."""
        series = self._series.get((*account.key, trade.symbol))
        if series is not None:
            series.trades.append(trade)

    # --- Writing -----------------------------------------------------------------------------------------

    def ended(self, parent: Parent, orders: list[Order], now: datetime) -> dict[str, object]:
        """Write what a parent cost, and return it; empty where its benchmark is not known."""
        self.follow(parent, now)
        legs = self._legs(parent, orders, now)
        notional = Decimal(str(parent.arrival.get("notional", "0")))
        if notional <= ZERO or not legs:
            self._drop(parent.parent_id, now)
            return {}
        fills = [f for o in orders for f in self._work.fills.get(o.order_id, ())]
        prices = prices_of(parent)
        body = cost_body(
            ParentFacts(
                currency=str(parent.arrival["numeraire"]),
                notional=notional,
                legs=legs,
                started_at=parent.created_at,
                ended_at=now,
                requests=sum(o.version for o in orders),
                dust=self._dust(parent, orders),
                taking_at_once_bps=taking_at_once_bps(parent),
                unpriced_fees=unpriced_fees(fills, prices),
            )
        )
        query = self._work.queries.get(parent.query_id)
        cost = Cost(
            parent_id=parent.parent_id,
            query_id=parent.query_id,
            user=parent.user,
            bot=parent.bot,
            verb="" if query is None else query.verb,
            exchange=parent.exchange,
            algo=parent.algo,
            pair=pair_of(parent),
            mode="" if query is None else query.mode,
            started_at=parent.created_at,
            ended_at=now,
            body=body,
            complete=not fills,
        )
        self._out.record(cost)
        if fills:
            places = frozenset((x.exchange, x.account, x.symbol) for x in parent.legs)
            self._pending[parent.parent_id] = Pending(cost=cost, legs=legs, places=places)
            due = mids_known_by(legs, now) + AFTER
            self._out.wake(("cost", parent.parent_id), max(due, now))
        else:
            self._drop(parent.parent_id, now)
        return body

    def complete(self, parent_id: str, now: datetime) -> None:
        """Write a cost once more, with its markouts."""
        pending = self._pending.pop(parent_id, None)
        if pending is None:
            return
        accounts = {(exchange, symbol): account for exchange, account, symbol in pending.places}

        def mid_at(exchange: str, symbol: str, when: datetime) -> Decimal | None:
            series = self._series.get((exchange, accounts.get((exchange, symbol), ""), symbol))
            return None if series is None else series.mid_at(when)

        body = with_markouts(pending.cost.body, pending.legs, mid_at, pending.cost.ended_at)
        self._out.record(replace(pending.cost, body=body, complete=True))
        self._drop(parent_id, now)

    def watched(self) -> set[Place]:
        """Return the markets whose books are still wanted."""
        return set(self._series)

    def _drop(self, parent_id: str, now: datetime) -> None:
        for place, series in list(self._series.items()):
            series.wanted.discard(parent_id)
            if not series.wanted:
                del self._series[place]

    def _legs(self, parent: Parent, orders: Sequence[Order], now: datetime) -> tuple[LegFacts, ...]:
        prices = prices_of(parent)
        own = ledger.by_leg(parent, orders)
        current = set(ledger.current(parent))
        marks = parent.arrival.get("marks")
        facts = []
        for index, leg in enumerate(parent.legs):
            buys = leg.side is Side.BUY
            base, quote = (leg.target, leg.source) if buys else (leg.source, leg.target)
            if base not in prices or quote not in prices:
                continue
            fills: list[Fill] = [f for o in own[index] for f in self._work.fills.get(o.order_id, ())]
            if not fills and index not in current:
                continue
            place = (leg.exchange, leg.account, leg.symbol)
            series = self._series.get(place, Series())
            mark = marks.get(str(index)) if isinstance(marks, dict) and leg.generation == 0 else None
            facts.append(
                leg_facts(
                    exchange=leg.exchange,
                    symbol=leg.symbol,
                    side=leg.side,
                    base=base,
                    quote=quote,
                    unspent=self._unspent(parent, own, index, prices) if index in current else ZERO,
                    prices=prices,
                    fills=fills,
                    arrival_mid=None if leg.started_at is None else series.mid_at(leg.started_at),
                    end_mid=series.mid_at(now),
                    market=MarketFacts(
                        bid=None if mark is None else Decimal(str(mark["bid"])),
                        ask=None if mark is None else Decimal(str(mark["ask"])),
                        sweep_price=_sweep_price(mark),
                        mids=tuple(zip(series.times, series.mids, strict=True)),
                        trades=tuple(t for t in series.trades if parent.created_at <= t.at <= now),
                    ),
                )
            )
        return tuple(facts)

    @staticmethod
    def _unspent(
        parent: Parent, own: Sequence[Sequence[Order]], index: int, prices: dict[str, Decimal]
    ) -> Decimal:
        leg = parent.legs[index]
        if leg.quantity is not None:
            missing = max(leg.quantity - sum((o.filled_quantity for o in own[index]), ZERO), ZERO)
            if leg.side is Side.SELL:
                return missing
            return missing * prices[leg.target] / prices[leg.source]
        if leg.goal is not None and ledger.received(own[index], leg.target) >= leg.goal:
            return ZERO
        return max(ledger.budget(parent, own, index), ZERO)

    @staticmethod
    def _dust(parent: Parent, orders: Sequence[Order]) -> dict[str, Decimal]:
        own = ledger.by_leg(parent, orders)
        dust: dict[str, Decimal] = {}
        if parent.goal.get("kind") not in COMPARED:
            return dust
        end = str(parent.goal.get("end", ""))
        for (_, _, currency), amount in ledger.pools(parent, own).items():
            if currency != end and amount > ZERO:
                dust[currency] = dust.get(currency, ZERO) + amount
        return dust


def prices_of(parent: Parent) -> dict[str, Decimal]:
    """Return the price vector of the decision: currency -> value in the numeraire."""
    prices = parent.arrival.get("prices")
    if not isinstance(prices, dict):
        return {}
    return {str(c): Decimal(str(p)) for c, p in prices.items()}


def taking_at_once_bps(parent: Parent) -> Decimal | None:
    """Return what taking the plan at once at the decision would have cost, in bp of the notional."""
    net, prices = parent.arrival.get("net"), prices_of(parent)
    notional = Decimal(str(parent.arrival.get("notional", "0")))
    if not isinstance(net, dict) or notional <= ZERO or any(c not in prices for c in net):
        return None
    lost = -sum((Decimal(str(amount)) * prices[c] for c, amount in net.items()), ZERO)
    return lost / notional / BP


def pair_of(parent: Parent) -> str:
    """Return what a parent was about, for people: "USDT>ETH", "*>USDT", "rebalance"."""
    kind = parent.goal.get("kind")
    if kind == "convert":
        return f"{parent.goal['start']}>{parent.goal['end']}"
    if kind == "liquidate":
        return f"*>{parent.goal['end']}"
    if kind == "rebalance":
        return "rebalance"
    leg = parent.legs[0]
    return f"{leg.source}>{leg.target}"


def _sweep_price(mark: object) -> Decimal | None:
    """Return the price of the sweep at arrival, taker fee included; None where it is not known."""
    if not isinstance(mark, dict) or mark.get("sweep") is None:
        return None
    return Decimal(str(mark["sweep"]))
