"""P&L against the simulator's ledger, to the last unit: ten thousand fills, fees in base, quote and third
coins, four bots of two users on two exchanges; through the real engine and the real store."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random

from ems.core.child import Patience
from ems.core.instrument import Market
from ems.core.messages import (
    Acked,
    Balances,
    BookUpdate,
    Ending,
    FillReport,
    FromVenue,
    Liquidity,
    MarketOrder,
    MarketsLoaded,
    NewOrder,
    OpenOrders,
    Problem,
    Reply,
    Send,
    Side,
    StreamUp,
    Submit,
    Timer,
)
from ems.core.positions import fold
from ems.engine import Engine
from ems.engine.account import Account
from ems.engine.turn import Turn
from ems.runner import latest
from server.store import migrate
from server.store.sql import SqlStore
from simulator.exchange import Exchange
from simulator.records import Market as SimulatedMarket
from tests.builders import ticket
from tests.limits import opened
from tests.recomputed import Ledger, decimal

D = Decimal
START = 1_790_000_000.0
FILLS = 10_000
TURNS_PER_COMMIT = 40
LEVELS = 15
# symbol -> (price, tick, lot, fee mode)
MARKETS = {
    "BTC/USDT": ("60000", "0.01", "0.00001", "received"),
    "ETH/USDT": ("3000", "0.01", "0.0001", "quote"),
    "ETH/BTC": ("0.05", "0.000001", "0.0001", "base"),
    "XRP/USDT": ("0.5237", "0.0001", "0.1", "received"),
    "XRP/BTC": ("0.0000087", "0.00000001", "0.1", "received"),
    "USDT/EUR": ("0.92", "0.0001", "0.1", "received"),
    "BNB/USDT": ("600", "0.01", "0.001", "received"),
    "BNB/BTC": ("0.01", "0.000001", "0.001", "quote"),
    "BNB/EUR": ("552", "0.01", "0.001", "received"),
}
BOTS = (("alice", "maker"), ("alice", "taker"), ("alice", "arb"), ("bob", "maker"))


class Place:
    """One simulated exchange and the engine's account at it."""

    def __init__(self, name: str, rng: Random, fee_coin: str):
        self.name, self.rng = name, rng
        self.prices = {symbol: D(price) for symbol, (price, *_) in MARKETS.items()}
        listed = [
            SimulatedMarket(
                symbol=symbol,
                base=symbol.split("/")[0],
                quote=symbol.split("/")[1],
                tick=D(tick),
                lot=D(lot),
                taker_fee=D("0.00075"),
                fee_mode=mode,
            )
            for symbol, (_, tick, lot, mode) in MARKETS.items()
        ]
        self.exchange = Exchange(name, listed)
        self.owner = self.exchange.open_account(f"key-{name}", "secret", name="desk")
        self.owner.fee_coin = fee_coin
        for currency, amount in (("USDT", "900000"), ("BTC", "3"), ("EUR", "500000"), ("BNB", "40")):
            self.exchange.deposit(self.owner, currency, D(amount), START)
        self.account = Account(name, "default", mode="paper", patience=Patience(), id_style="uuid")
        self.mids: dict[int, dict[str, Decimal]] = {}  # trade id -> symbol -> mid just before

    def markets(self) -> tuple[Market, ...]:
        return tuple(
            Market(
                exchange=self.name,
                symbol=m.symbol,
                base=m.base,
                quote=m.quote,
                tick=m.tick,
                lot=m.lot,
                min_quantity=m.lot,
                max_quantity=None,
                min_notional=D(0),
                maker_fee=m.maker_fee,
                taker_fee=m.taker_fee,
                fee_mode=m.fee_mode,
            )
            for m in self.exchange.markets.values()
        )

    def move(self, symbol: str, now: float) -> BookUpdate:
        """Let a price wander; show a book of thin levels, so that one order makes several fills."""
        _, tick, lot, _ = MARKETS[symbol]
        price = self.prices[symbol] * (1 + D(self.rng.randint(-30, 30)) / 10_000)
        self.prices[symbol] = price = max(price.quantize(D(tick)), D(tick) * 20)
        size = [D(lot) * self.rng.randint(1, 120) for _ in range(2 * LEVELS)]
        bids = tuple((price - D(tick) * (k + 1), size[k]) for k in range(LEVELS))
        asks = tuple((price + D(tick) * (k + 1), size[LEVELS + k]) for k in range(LEVELS))
        self.exchange.set_book(symbol, bids, asks, now)
        return BookUpdate(symbol=symbol, bids=bids, asks=asks, at=moment(now))

    def middles(self) -> dict[str, Decimal]:
        return {s: m for s in MARKETS if (m := self.exchange.displayed_middle(s)) is not None}

    def balances(self, now: float) -> Balances:
        held = self.exchange.balances(self.owner)
        return Balances(
            free={c: free for c, (free, _) in held.items()},
            used={c: locked for c, (_, locked) in held.items()},
            query_sent_at=moment(now),
        )

    def carry_out(self, request: NewOrder, now: float) -> Acked:
        middles = self.middles()
        order = self.exchange.create_order(
            self.owner,
            request.symbol,
            str(request.side),
            str(request.order_type),
            request.quantity,
            request.price,
            time_in_force=str(request.time_in_force),
            client_order_id=request.client_order_id,
            now=now,
        )
        for fill in order.fills:
            self.mids[fill.trade_id] = middles
        return Acked(
            order_id=request.order_id,
            exchange_order_id=str(order.order_id),
            filled_quantity=order.filled_quantity,
            ending=Ending.FILLED if order.status == "filled" else Ending.CANCELED,
            fills=tuple(
                FillReport(
                    fill_id=str(f.trade_id),
                    exchange_order_id=str(f.order_id),
                    symbol=f.symbol,
                    side=Side(f.side),
                    price=f.price,
                    quantity=f.quantity,
                    fee=f.fee,
                    fee_currency=f.fee_currency,
                    liquidity=Liquidity(f.liquidity),
                    at=moment(f.time),
                )
                for f in order.fills
            ),
        )


def moment(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)


class House:
    """The engine on a store, driven event by event."""

    def __init__(self, url: str, places: list[Place]):
        migrate.upgrade(url)
        self.store = opened(SqlStore(url))
        self.places = {place.name: place for place in places}
        self.engine = Engine([place.account for place in places], mark="0e5a51b2")
        self.turns: list[Turn] = []
        self.now = START
        self.keep(self.engine.restore(self.store.load(moment(START)), moment(START)))
        for place in places:
            self.venue(place, MarketsLoaded(markets=place.markets()))
            self.venue(place, StreamUp())
            self.venue(place, OpenOrders(orders=(), query_sent_at=moment(self.now)))

    def venue(self, place: Place, report: object) -> Turn:
        event = FromVenue(exchange=place.name, account="default", report=report)
        return self.keep(self.engine.handle(event, moment(self.now)))

    def keep(self, turn: Turn) -> Turn:
        self.turns.append(turn)
        if len(self.turns) >= TURNS_PER_COMMIT:
            self.write()
        return turn

    def write(self) -> None:
        self.store.commit(latest([record for turn in self.turns for record in turn.records]))
        self.turns = []

    def trade(self, place: Place, user: str, bot: str, number: int) -> str:
        """Ask for one market order and have it carried out; return what it is known by at the exchange."""
        symbol = place.rng.choice(sorted(MARKETS))
        lot = D(MARKETS[symbol][2])
        command = MarketOrder(
            exchange=place.name,
            side=place.rng.choice(list(Side)),
            symbol=symbol,
            quantity=lot * place.rng.randint(1, 900),
        )
        self.venue(place, place.move(symbol, self.now))
        self.venue(place, place.balances(self.now))
        asked = Submit(
            token=number,
            query_id=f"q{number}",
            ticket=ticket(f"k{number}", user=user, bot=bot),
            command=command,
        )
        turn = self.keep(self.engine.handle(asked, moment(self.now)))
        if any(isinstance(e, Reply) and isinstance(e.answer, Problem) for e in turn.effects):
            return ""  # out of funds, for now
        (sent,) = [e.request for e in turn.effects if isinstance(e, Send) and isinstance(e.request, NewOrder)]
        self.venue(place, place.carry_out(sent, self.now))
        return sent.client_order_id

    def housekeep(self) -> None:
        for place in self.places.values():
            self.keep(self.engine.handle(Timer(key=("account", place.name, "default")), moment(self.now)))
            for symbol in MARKETS:  # it let go of books that nobody had asked for lately
                self.venue(place, place.move(symbol, self.now))


def test_pnl_of_ten_thousand_fills_is_that_of_the_exchanges_ledger_to_the_last_unit(tmp_path: Path) -> None:
    rng = Random(20_261_201)
    places = [Place("binance", rng, "BNB"), Place("kraken", rng, "")]
    house = House(f"sqlite:///{tmp_path / 'oms.sqlite'}", places)
    whose: dict[str, tuple[str, str]] = {}
    number = 0
    while sum(len(p.owner.fills) for p in places) < FILLS:
        number += 1
        house.now += 5.0
        place = places[number % 2]
        for symbol in [s for k, s in enumerate(MARKETS) if number <= 2 or (k + number // 2) % 4 == 0]:
            house.venue(place, place.move(symbol, house.now))
        user, bot = rng.choice(BOTS)
        whose[house.trade(place, user, bot, number)] = user, bot
        if number % 60 == 0:
            house.housekeep()
    house.write()

    again = Ledger("USDT")
    paid_in: Counter[str] = Counter()
    rows = [(p, row) for p in places for row in p.exchange.ledger(p.owner)["fills"]]
    for place, row in sorted(rows, key=lambda pair: (pair[1]["time"], pair[1]["trade_id"])):
        base, quote = row["symbol"].split("/")
        paid_in[
            "base" if row["fee_currency"] == base else "quote" if row["fee_currency"] == quote else "third"
        ] += 1
        user, bot = whose[row["client_order_id"]]
        mids = place.mids[row["trade_id"]]
        again.add(row, user=user, bot=bot, exchange=place.name, rate=lambda c, m=mids: rate(c, m))
    assert len(rows) >= FILLS and min(paid_in[kind] for kind in ("base", "quote", "third")) > 1000, paid_in

    kept = house.store.load(moment(START)).positions
    ours = {(p.user, p.bot, p.exchange, p.asset): p for p in kept}
    theirs = dict(again.rows())
    wrong = [
        (key, name, ours_, theirs_)
        for key in ours.keys() | theirs.keys()
        for name, ours_, theirs_ in (
            ("quantity", ours[key].quantity, decimal(theirs[key].amount)),
            ("cost", ours[key].cost, decimal(theirs[key].cost)),
            ("realised", ours[key].realised, decimal(theirs[key].earned)),
            ("fees", ours[key].fees, decimal(theirs[key].paid)),
        )
        if ours_ != theirs_
    ]
    assert wrong == [], wrong[:5]
    # The same from the fills' own rows, by day and bot, and from the fills folded once more.
    for user in ("alice", "bob"):
        earned = house.store.earned(user, "USDT")
        assert sum(e.realised for e in earned) == sum(p.realised for p in kept if p.user == user)
        assert sum(e.fees for e in earned) == sum(p.fees for p in kept if p.user == user)
        assert not any(e.unvalued_fills for e in earned)
    order_ids = {f"q{n}.1.1" for n in range(number + 1)}
    folded = fold(house.store.fills(order_ids), "USDT").positions()
    assert sorted(folded, key=lambda p: p.key) == sorted(kept, key=lambda p: p.key)


def rate(currency: str, mids: dict[str, Decimal]) -> Fraction:
    """The middle price in USDT: direct, either way round."""
    if f"{currency}/USDT" in mids:
        return Fraction(mids[f"{currency}/USDT"])
    return 1 / Fraction(mids[f"USDT/{currency}"])
