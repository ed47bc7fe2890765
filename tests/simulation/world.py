"""One seed: exchanges, bots, weather and crashes around the production engine and runner.

The code under test is the product's own: Engine, Runner, MemoryStore. Crashes come at effect boundaries:
before and after each commit, before and after each send. What is on disk stays; what is in memory is gone;
requests that have left arrive at the venue all the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import partial
from random import Random

from ems.algos.ledger import received, spent
from ems.core import retries
from ems.core.child import Patience
from ems.core.messages import (
    AmendRequest,
    CancelAllOrders,
    CancelOrder,
    Command,
    EditOrder,
    Exit,
    LimitOrder,
    Liquidate,
    MarketOrder,
    NewOrder,
    OrderType,
    PlaceOrder,
    Problem,
    Rebalance,
    Request,
    Share,
    Side,
    SmartOrder,
    Style,
    Submit,
    Ticket,
    TimeInForce,
    Withdraw,
)
from ems.core.records import ENDED_PARENT, Order, Phase, Query, QueryStatus, Record, Status
from ems.core.triggers import met, rising
from ems.engine import Engine
from ems.engine.account import Account
from ems.runner import Runner
from ems.store import MemoryStore
from simulator.exchange import Exchange
from simulator.records import BookChange, Market, Reject
from tests.limits import opened
from tests.simulation.clock import VirtualClock
from tests.simulation.faults import CALM, Weather, draw
from tests.simulation.halting import Desk, Queue
from tests.simulation.venue import ACCOUNT, Venue, VenueGateway

MARK = "0e5a51b2"
ASK_UNTIL_S = 45.0  # bots start new work until then
FAULTS_UNTIL_S = 90.0  # then the weather calms down, and everything must resolve
RESOLVE_S = 60.0  # within this (I9)
LONG_AFTER_S = 800.0  # longer than anything that has ended is kept in memory
NOTICED_S = 15.0  # a fill that no stream told us of is noticed within this
ANSWER_S = 6.0  # a bot that hears nothing for this long asks again with the same key

MARKETS = (
    ("ETH/USDT", "ETH", "USDT", "0.01", "0.0001", "5", "2000"),
    ("BTC/USDT", "BTC", "USDT", "0.01", "0.00001", "5", "50000"),
    ("ETH/BTC", "ETH", "BTC", "0.00001", "0.0001", "0.0001", "0.04"),
)
DEPOSITS = {"USDT": Decimal(20000), "ETH": Decimal(8), "BTC": Decimal("0.3")}


class Crash(BaseException):
    """The process dies here."""


class Violation(AssertionError):
    """An invariant does not hold."""


class DyingStore:
    """The disk, with the moments before and after each commit at which the process may die."""

    def __init__(self, disk: MemoryStore, world: World):
        self._disk = disk
        self._world = world

    def commit(self, records: Sequence[Record]) -> None:
        self._world.may_die()
        self._disk.commit(records)
        self._world.may_die()

    def __getattr__(self, name: str) -> object:
        return getattr(self._disk, name)


class DyingGateway(VenueGateway):
    """A gateway with the moments before and after each send."""

    world: World

    queue: Queue | None = None

    def send(self, request: Request) -> None:
        self.world.may_die()
        if isinstance(request, Withdraw):
            answer = None if self.queue is None else self.queue.withdraw(request)
            if answer is not None:
                self._answer(answer)
        elif self.queue is not None and (wait_s := self.queue.wait_s(request)):
            self.world.clock.after(wait_s, partial(self._turn, request))
        else:
            self._leave(request)
        self.world.may_die()

    def _turn(self, request: Request) -> None:
        assert self.queue is not None
        if self.alive and self.queue.goes(request):
            self._leave(request)

    def _leave(self, request: Request) -> None:
        if self.world.desk is not None and isinstance(request, NewOrder | AmendRequest):
            self.world.desk.leaves(request)
        super().send(request)


@dataclass
class Ask:
    """One intention of a bot, kept through retries and crashes."""

    ticket: Ticket
    command: Command
    answer: Query | Problem | None = None
    sends: int = 0


@dataclass
class Process:
    """One life of our server."""

    runner: Runner
    gateways: list[DyingGateway]
    alive: bool = True
    tokens: dict[int, Ask] = field(default_factory=dict)


class World:
    """A seed's whole world; `run` plays it, `check` judges it."""

    def __init__(self, seed: int, *, calm: bool = False):
        self.seed = seed
        self.plain = seed % 4 == 1  # bots ask for plain orders of every type, and change them
        self.rng = Random(seed)
        self.clock = VirtualClock()
        self.weather: Weather = CALM if calm else draw(self.rng)
        # Market orders go out as limits at the bound, in every second world of each kind.
        self.disk = opened(MemoryStore(), *(["slippage_limit"] if seed // 4 % 2 else []))
        self.crashes = 0
        self.process: Process | None = None
        self.asks: list[Ask] = []
        self.problems: list[str] = []  # exceptions of our own code: each is a violation
        self.ids = itertools.count(1)
        self.matching = seed % 3 != 0  # opposite orders of the two bots meet inside
        self.desk = Desk(self) if seed % 5 == 2 else None  # somebody halts trading
        # bot -> whose it is: a halt of one user leaves the other's alone
        self.users = {"bot1": "alice", "bot2": "bob"} if self.desk is not None else {}
        self.foreign: dict[
            tuple[str, str], Decimal
        ] = {}  # (exchange, currency) -> net moved by somebody else
        self.fee_modes = {"alpha": "received", "beta": "quote"}
        # (exchange, symbol) -> (when, middle) of every book there was, oldest first
        self.middles: dict[tuple[str, str], list[tuple[float, Decimal]]] = {}
        self.venues = [self._venue(name) for name in self.fee_modes]
        self.prices: dict[tuple[str, str], Decimal] = {}
        self.ended: float | None = None  # when everything had to be over, in a seed that goes on after that
        self.waited_too_long: list[str] = []  # orders that should have been sent or ended by themselves
        self.unguarded: list[str] = []  # what an entry brought and no stop loss waited with, in calm weather
        self.overlooked: list[str] = []  # fills not booked in time, seen before anything is cancelled

    def _venue(self, name: str) -> Venue:
        fee_mode = self.fee_modes[name]
        markets = [
            Market(
                symbol=symbol,
                base=base,
                quote=quote,
                tick=Decimal(tick),
                lot=Decimal(lot),
                min_qty=Decimal(lot),
                max_qty=Decimal(9000),
                min_notional=Decimal(least),
                maker_fee=Decimal("0.0008"),
                taker_fee=Decimal("0.001"),
                fee_mode=fee_mode,  # type: ignore[arg-type]
            )
            for symbol, base, quote, tick, lot, least, _ in MARKETS
        ]
        exchange = Exchange(name, markets, rng=Random(self.rng.random()))
        exchange.subscribe(partial(self._shown, exchange))
        account = exchange.open_account("key", "secret", name=ACCOUNT)
        for currency, amount in DEPOSITS.items():
            exchange.deposit(account, currency, amount, 0.0)
        return Venue(exchange, self.clock, self.rng, self.weather, recv_window_s=5.0)

    # --- Playing ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Play the seed to its end."""
        for venue in self.venues:
            for symbol, _, _, _, _, _, price in MARKETS:
                self.prices[venue.exchange.name, symbol] = Decimal(price)
                self._flow(venue, symbol)
        self._boot()
        for _ in range(self.rng.randint(6, 14) if self.plain else self.rng.randint(2, 6)):
            self.clock.after(self.rng.uniform(1, ASK_UNTIL_S), self._new_ask)
        for _ in range(2 if self.plain else 0):
            self.clock.after(self.rng.uniform(1, ASK_UNTIL_S), self._large_entry)
        for _ in range(self.rng.randint(1, 3) if self.matching else 0):
            self.clock.after(self.rng.uniform(1, ASK_UNTIL_S), self._opposites)
        if self.weather.foreign:
            self.clock.after(1.0, self._foreign)
        if self.desk is not None:
            self.desk.begin()
        self._play_until(FAULTS_UNTIL_S)
        self._calm()
        self._play_until(FAULTS_UNTIL_S + 20)
        self.overlooked = self._overlooked()
        self.waited_too_long = self._waited_too_long()
        self.unguarded = self._unguarded()
        for bot in ("bot1", "bot2"):  # what rests is taken down, so that everything can end
            self.ask(CancelAllOrders(), bot)
        self._play_until(FAULTS_UNTIL_S + 20 + RESOLVE_S)
        if self.seed % 10 == 0:  # and now and then long after, when what is over has left the memory
            self.ended = self.clock.seconds
            self._play_until(self.ended + LONG_AFTER_S)

    def _play_until(self, seconds: float) -> None:
        while True:
            try:
                self.clock.run_until(seconds)
                return
            except Crash:
                self._die()
            except Violation:
                raise
            except Exception as error:  # our own code broke a promise: a violation, with its place
                trace = error.__traceback__
                while trace is not None and trace.tb_next is not None:
                    trace = trace.tb_next
                where = "" if trace is None else f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
                raise Violation(f"{type(error).__name__} in {where}: {error}") from error

    def may_die(self) -> None:
        if self.weather.crash and self.rng.random() < self.weather.crash:
            raise Crash

    def _die(self) -> None:
        assert self.process is not None
        self.crashes += 1
        self.process.alive = False
        for gateway in self.process.gateways:
            gateway.alive = False
            gateway.venue.gateway = None
        self.process = None
        self.clock.after(self.rng.uniform(0.2, 20.0), self._boot)

    def _boot(self) -> None:
        if self.process is not None:
            return  # one owner at a time: in production the store's lock sees to it
        accounts, gateways = [], []
        for venue in self.venues:
            name = venue.exchange.name
            able = name == "alpha"
            amends = able and self.seed % 16 != 1
            gateway = DyingGateway(venue, fee_mode=self.fee_modes[name], able=able, amends=amends)
            gateway.world = self
            gateway.queue = None if self.desk is None else Queue(self.desk.rng)
            gateways.append(gateway)
            accounts.append(
                Account(
                    venue.exchange.name,
                    "default",
                    mode="paper",
                    patience=Patience(recv_window_s=venue.recv_window_s),
                    id_style="uuid",
                    internal_matching=self.matching,
                )
            )
        engine = Engine(accounts, mark=MARK)
        scheduler = _ProcessClock(self)
        runner = Runner(
            engine,
            DyingStore(self.disk, self),  # type: ignore[arg-type]
            {(g.exchange, g.account): g for g in gateways},
            scheduler,
            answered=lambda token, answer: process.tokens.pop(token).__setattr__("answer", answer),
        )
        process = Process(runner=runner, gateways=gateways)
        scheduler.process = process
        self.process = process
        runner.start()

    def _calm(self) -> None:
        self.weather = CALM
        for venue in self.venues:
            venue.weather = CALM
        self._boot()

    # --- The outside world -------------------------------------------------------------------------------

    def _flow(self, venue: Venue, symbol: str) -> None:
        """A small random market: a book that moves, and trades that hit it."""
        if self.ended is not None:
            return
        rng, exchange = self.rng, venue.exchange
        market = exchange.markets[symbol]
        key = (exchange.name, symbol)
        step = Decimal(str(round(rng.gauss(0, 0.0004), 6)))
        mid = self.prices[key] = max(self.prices[key] * (1 + step), market.tick * 100)
        mid = (mid / market.tick).to_integral_value() * market.tick
        size = market.lot * 2000
        bids = [(mid - market.tick * k, size * rng.randint(1, 9)) for k in range(1, 6)]
        asks = [(mid + market.tick * k, size * rng.randint(1, 9)) for k in range(1, 6)]
        exchange.set_book(symbol, bids, asks, self.clock.seconds)
        if rng.random() < 0.6:
            side = rng.choice(("buy", "sell"))
            price = asks[0][0] if side == "buy" else bids[0][0]
            exchange.public_trade(symbol, price, size * rng.randint(1, 12), side, self.clock.seconds)
        self.clock.after(rng.uniform(0.5, 2.5), lambda: self._flow(venue, symbol))

    def _shown(self, exchange: Exchange, event: object) -> None:
        """Remember the middle of every book there was: what is traded out of one moves it too."""
        if not isinstance(event, BookChange):
            return
        bid, ask = (exchange.best(event.symbol, side, event.now) for side in ("buy", "sell"))
        if bid is not None and ask is not None:
            seen = self.middles.setdefault((exchange.name, event.symbol), [])
            seen.append((event.now, (bid[0] + ask[0]) / 2))

    def _foreign(self) -> None:
        """Somebody else uses the account: funds leave and come back."""
        if self.rng.random() < self.weather.foreign:
            venue = self.rng.choice(self.venues)
            currency, amount = self.rng.choice((("USDT", Decimal(500)), ("ETH", Decimal("0.5"))))
            key = (venue.exchange.name, currency)
            try:
                if self.rng.random() < 0.6:
                    venue.exchange.withdraw(venue.account, currency, amount, self.clock.seconds)
                    self.foreign[key] = self.foreign.get(key, Decimal(0)) - amount
                else:
                    venue.exchange.deposit(venue.account, currency, amount, self.clock.seconds)
                    self.foreign[key] = self.foreign.get(key, Decimal(0)) + amount
            except Reject:
                pass
        if self.weather.foreign:
            self.clock.after(1.0, self._foreign)

    # --- Bots ----------------------------------------------------------------------------------------------

    def _new_ask(self) -> None:
        command, bot = self._command(), self.rng.choice(("bot1", "bot2"))
        self.ask(command, bot)
        if isinstance(command, PlaceOrder):
            for _ in range(self.rng.randint(0, 2)):
                edit = self._edit_of(command, f"key-{len(self.asks)}")
                self.clock.after(self.rng.uniform(0.3, 15), partial(self.ask, edit, bot))

    def _large_entry(self) -> None:
        """An order that rests when it has taken what there is, guarded from afar while it goes on to fill."""
        rng = self.rng
        price = self.prices["alpha", "ETH/USDT"]
        near, far = (Decimal(rng.randint(*span)) / 10000 for span in ((2, 12), (150, 300)))
        command = PlaceOrder(
            exchange="alpha",
            side=Side.BUY,
            symbol="ETH/USDT",
            quantity=Decimal(rng.randint(800, 1500)) / 1000,
            order_type=OrderType.LIMIT,
            price=price + Decimal("0.01") * rng.randint(0, 4),
            stop_loss=Exit(stop_price=(price * (1 - far)).quantize(Decimal("0.01"))),
            take_profit=Exit(stop_price=(price * (1 + near)).quantize(Decimal("0.01")))
            if rng.random() < 0.5
            else None,
        )
        self.ask(command, "bot1")
        for _ in range(2):
            edit = self._edit_of(command, f"key-{len(self.asks)}")
            self.clock.after(rng.uniform(0.3, 15), partial(self.ask, edit, "bot1"))

    def _opposites(self) -> None:
        """Two bots want the opposite of each other: one rests or works, the other comes a moment later."""
        rng = self.rng
        exchange, side = rng.choice(list(self.fee_modes)), rng.choice(list(Side))
        other = Side.SELL if side is Side.BUY else Side.BUY
        price = self.prices[exchange, "ETH/USDT"]
        first, second = (Decimal(rng.randint(50, 2000)) / 1000 for _ in range(2))
        away = Decimal("0.01") * rng.choice((1, 2, 5, 20))
        sign = 1 if side is Side.SELL else -1
        touch, through = price + sign * away, price * (1 + sign * Decimal("0.0005"))
        common = {"exchange": exchange, "symbol": "ETH/USDT"}
        style = Style(algo=rng.choice(("adaptive", "twap", "classic")), time_limit=Decimal(20))
        rests = LimitOrder(**common, side=side, quantity=first, price=touch.quantize(Decimal("0.01")))
        meets = LimitOrder(**common, side=other, quantity=second, price=through.quantize(Decimal("0.01")))
        works = MarketOrder(**common, side=side, quantity=first, style=style)
        takes = MarketOrder(**common, side=other, quantity=second, style=rng.choice((None, style)))
        self.ask(rng.choice((rests, rests, works)), "bot1")
        comes = rng.choice((meets, meets, takes))
        self.clock.after(rng.uniform(0.1, 2.0), lambda: self.ask(comes, "bot2"))

    def ask(self, command: Command, bot: str, user: str | None = None, role: str = "trade") -> Ask:
        """Let a bot ask for something, until it is answered."""
        key = f"key-{len(self.asks) + 1}"
        ticket = Ticket(
            user=user or self.users.get(bot, "alice"),
            bot=bot,
            idempotency_key=key,
            body_digest=repr(command),
            send_fail_email=True,
            role=role,
        )
        ask = Ask(ticket=ticket, command=command)
        self.asks.append(ask)
        self._send_ask(ask)
        return ask

    def _send_ask(self, ask: Ask) -> None:
        """Ask, and ask again with the same key until there is an answer, as the client does."""
        if isinstance(ask.answer, Query) or (isinstance(ask.answer, Problem) and not ask.answer.retry_safe):
            return
        if isinstance(ask.answer, Problem) and self.clock.seconds > FAULTS_UNTIL_S + 30:
            return
        stored = self.disk.query_by_key(ask.ticket.user, ask.ticket.idempotency_key)
        if stored is not None:
            ask.answer = stored
            return
        if self.process is not None:
            for _ in range(
                1 + (self.rng.random() < 0.1)
            ):  # now and then a proxy or an impatient bot sends it twice
                ask.sends += 1
                token = next(self.ids)
                self.process.tokens[token] = ask
                event = Submit(token=token, query_id=f"q{token}", ticket=ask.ticket, command=ask.command)
                self.clock.after(
                    self.rng.choice((0.0, 1.0)) * (ask.sends > 1), self._feeder(self.process, event)
                )
        self.clock.after(ANSWER_S, lambda: self._send_ask(ask))

    @staticmethod
    def _feeder(process: Process, event: Submit):
        def feed() -> None:
            if process.alive:
                process.runner.feed(event)

        return feed

    def _command(self) -> Command:
        rng = self.rng
        exchange = rng.choice(list(self.fee_modes))
        if self.plain and rng.random() < 0.85:
            return self._any_order(exchange)
        kind = rng.random()
        style = Style(
            algo=rng.choice(("classic", "adaptive", "adaptive", "now", "twap", "chase", "pegged")),
            time_limit=Decimal(rng.choice((5, 10, 20))),
            on_timeout=rng.choice(("take", "take", "take", "cancel")),
        )
        several = rng.choice((exchange, exchange, "alpha,beta", "all"))
        if kind < 0.5:
            start, end = rng.choice(
                (("USDT", "ETH"), ("ETH", "USDT"), ("BTC", "ETH"), ("USDT", "BTC"), ("ETH", "BTC"))
            )
            share = Decimal(rng.randint(1, 100)) / 100
            amount: Decimal | Share | None = (DEPOSITS[start] / 4 * share).quantize(Decimal("0.0001"))
            end_amount = None
            dice = rng.random()
            if dice < 0.1:
                amount = DEPOSITS[start]
            elif dice < 0.2:
                amount = Share(percent=Decimal(rng.choice((5, 35, 100))))
            elif dice < 0.3:
                amount = None
                end_amount = (DEPOSITS[end] / 8 * share).quantize(Decimal("0.0001"))
            return SmartOrder(
                exchange=several,
                start_currency=start,
                end_currency=end,
                start_amount=amount,
                end_amount=end_amount,
                style=style,
            )
        if kind < 0.56:
            exclude = rng.choice(((), ("BTC",)))
            return Liquidate(
                exchange=several, end_currency=rng.choice(("USDT", "ETH")), exclude=exclude, style=style
            )
        if kind < 0.62:
            targets = rng.choice(
                (
                    {"USDT": Decimal("0.4"), "ETH": Decimal("0.35"), "BTC": Decimal("0.25")},
                    {"ETH": Decimal("0.5"), "BTC": Decimal("0.5")},
                )
            )
            return Rebalance(exchange=several, targets=targets, tolerance=Decimal("0.005"), style=style)
        symbol, price = rng.choice((("ETH/USDT", Decimal(2000)), ("BTC/USDT", Decimal(50000))))
        side = rng.choice(list(Side))
        quantity = (Decimal(rng.randint(20, 2000)) / price).quantize(Decimal("0.0001"))
        if kind < 0.68:
            return MarketOrder(exchange=exchange, side=side, symbol=symbol, quantity=quantity, style=style)
        if kind < 0.77:
            return MarketOrder(exchange=exchange, side=side, symbol=symbol, quantity=quantity)
        if kind < 0.9:
            away = Decimal(rng.randint(-20, 40)) / 10000
            at = price * (1 - away) if side is Side.BUY else price * (1 + away)
            return LimitOrder(
                exchange=exchange,
                side=side,
                symbol=symbol,
                quantity=quantity,
                price=at.quantize(Decimal("0.01")),
                post_only=rng.random() < 0.5,
            )
        if kind < 0.95:
            return CancelOrder(client_order_id=f"key-{rng.randint(1, len(self.asks) + 1)}")
        return CancelAllOrders(exchange=exchange, scope=rng.choice(("bot", "user")))

    def _any_order(self, exchange: str) -> PlaceOrder:
        """An order of the types that wait, near enough to the market for many to be met in time."""
        rng = self.rng
        symbol, side = rng.choice(("ETH/USDT", "BTC/USDT")), rng.choice(list(Side))
        price = self.prices[exchange, symbol]
        quantity = (Decimal(rng.randint(50, 2000)) / price).quantize(Decimal("0.0001"))
        kind = rng.choice([one for one in OrderType if one is not OrderType.MARKET])
        away = Decimal(rng.randint(1, 20)) / 10000
        up = rising(kind, side) if kind.waits else side is Side.SELL
        at = (price * (1 + away if up else 1 - away)).quantize(Decimal("0.01"))
        beyond = Decimal("1.001") if side is Side.BUY else Decimal("0.999")
        limit = (at * beyond if kind.waits else at).quantize(Decimal("0.01"))
        duration = rng.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.GTD, TimeInForce.DAY))
        soon = self.clock.now() + timedelta(seconds=rng.randint(5, 60))
        return PlaceOrder(
            exchange=exchange,
            side=side,
            symbol=symbol,
            quantity=quantity,
            order_type=kind,
            price=limit if kind.limited else None,
            stop_price=at if kind.waits else None,
            time_in_force=duration,
            expires_at=soon if duration is TimeInForce.GTD else None,
            reduce_only=side is Side.SELL and rng.random() < 0.3,
            **(self._exits(limit if kind.limited else at) if side is Side.BUY else {}),
        )

    def _exits(self, price: Decimal) -> dict[str, Exit]:
        """What is attached to an order that buys at this price: near, to be met in time, or far, to guard."""
        rng = self.rng
        found = {}
        for name, sign in (("stop_loss", -1), ("take_profit", 1)):
            away = rng.randint(3, 20) if rng.random() < 0.6 else rng.randint(100, 300)
            stop = (price * (1 + sign * Decimal(away) / 10000)).quantize(Decimal("0.01"))
            at = (stop * (1 + Decimal(rng.randint(-5, 5)) / 10000)).quantize(Decimal("0.01"))
            if rng.random() < 0.6:
                found[name] = Exit(stop_price=stop, price=at if rng.random() < 0.5 else None)
        return found

    def _edit_of(self, command: PlaceOrder, key: str) -> EditOrder:
        rng = self.rng
        rate = 1 + Decimal(rng.randint(-12, 12)) / 10000
        share = Decimal(rng.choice((50, 80, 120, 150))) / 100
        dice = rng.random()
        price = None if command.price is None else (command.price * rate).quantize(Decimal("0.01"))
        stop = command.stop_price
        return EditOrder(
            client_order_id=key,
            quantity=(command.quantity * share).quantize(Decimal("0.0001")) if dice < 0.6 else None,
            price=price if dice > 0.3 else None,
            stop_price=(stop * rate).quantize(Decimal("0.01")) if stop is not None and dice > 0.5 else None,
        )

    # --- For the judge
    # ---------------------------------------------------------------------------------------

    def _overlooked(self) -> list[str]:
        """Return the fills that happened in calm weather, over 15 s ago, and are still not booked (R11)."""
        before = self.clock.seconds - NOTICED_S
        booked = {(f.exchange, f.fill_id) for f in self.disk.fill_rows.values()}
        return [
            f"{venue.exchange.name} fill {fill.trade_id}"
            for venue in self.venues
            for fill in venue.account.fills
            if fill.time < before and (venue.exchange.name, str(fill.trade_id)) not in booked
        ]

    def _waited_too_long(self) -> list[str]:
        """Return orders whose price or time came in calm weather, and that nobody sent or ended (T1, T2)."""
        since = self.clock.seconds - NOTICED_S
        late = []
        for order in self.disk.orders.values():
            if order.expires_at is not None and order.phase not in (Phase.SETTLED, Phase.UNKNOWN):
                if order.expires_at < self.clock.now() - timedelta(seconds=NOTICED_S):
                    late.append(f"{order.order_id} outlived its time")
            long_there = order.created_at < self.clock.now() - timedelta(seconds=NOTICED_S)
            if order.purpose == "direct" and order.status is Status.CREATED and long_there:
                assert order.stop_price is not None
                middles = [m for at, m in self.middles[order.exchange, order.symbol] if at >= since]
                if all(met(order.order_type, order.side, order.stop_price, m) for m in middles):
                    late.append(f"{order.order_id} was not sent when its price came")
        return late

    def _unguarded(self) -> list[str]:
        """Return what is wrong with the guards of entries: one each, of the right size, where it can rest."""
        wrong = []
        for parent in self.disk.parents.values():
            if parent.goal.get("kind") != "attached" or parent.state in ENDED_PARENT:
                continue
            if "stop_loss" not in parent.goal["exits"] or "off" in parent.goal:
                continue
            orders = self.disk.orders_of_query(parent.query_id)
            exits = [o for o in orders if o.parent_id == parent.parent_id]
            base = parent.legs[0].source
            entry = [o for o in orders if o.parent_id != parent.parent_id]
            rest = received(entry, base) - spent(exits, base)
            open_exits = [o for o in exits if o.phase is not Phase.SETTLED]
            if rest * self.prices[parent.exchange, parent.legs[0].symbol] < 10 or self._moved(entry + exits):
                continue  # too little, or it moves just now
            sent = [o for o in open_exits if o.status is not Status.CREATED]
            if any(o.phase is not Phase.LIVE or o.emulated or not self._waits(o) for o in sent):
                continue  # in doubt, and there must not be another; or its price has come and it sells
            stops = [o for o in open_exits if o.purpose == "stop_loss"]
            if len(stops) != 1 or not Decimal("0.99") * rest - Decimal("0.0002") <= stops[0].quantity <= rest:
                wrong.append(f"{parent.parent_id} lacks its stop loss for {rest}: {stops}")
            elif parent.exchange == "alpha" and stops[0].emulated and "here" not in parent.goal:
                lately = self.clock.now() - timedelta(seconds=retries.ORDERS.longest_s * 2)
                refused = [o for o in exits if o.status is Status.REJECTED and o.closed_at > lately]
                if not refused and all(o.status is Status.CREATED for o in open_exits):
                    wrong.append(f"{stops[0].order_id} waits here though the exchange would wait with it")
        return wrong

    def _waits(self, order: Order) -> bool:
        """Say whether the venue has an order waiting for its price still."""
        theirs = [
            o for venue in self.venues for o in venue.account.by_client_id.get(order.client_order_id, ())
        ]
        return any(o.waiting for o in theirs)

    def _moved(self, orders: Sequence[Order]) -> bool:
        """Say whether something has happened to one of these orders a moment ago."""
        moment = self.clock.now() - timedelta(seconds=5)
        return any(o.updated_at is not None and o.updated_at > moment for o in orders)

    def working(self) -> list[Query]:
        return [q for q in self.disk.queries.values() if q.status is QueryStatus.WORKING]


class _ProcessClock:
    """A process's view of the clock: its calls die with it."""

    process: Process

    def __init__(self, world: World):
        self._world = world

    def now(self):
        return self._world.clock.now()

    def call_at(self, when, call):
        return self._world.clock.call_at(when, self._guard(call))

    def call_soon(self, call):
        self._world.clock.call_soon(self._guard(call))

    def _guard(self, call):
        def run() -> None:
            if self.process.alive:
                call()

        return run
