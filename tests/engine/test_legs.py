"""Parents of several legs over two exchange accounts, played against venues that keep books of their own."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest

from ems.algos import ledger, walker
from ems.core import errors, retries
from ems.core.child import Patience
from ems.core.codec import jsonable
from ems.core.messages import (
    Acked,
    Balances,
    BookUpdate,
    CancelAcked,
    CancelAllOrders,
    CancelOrder,
    CancelRequest,
    Ending,
    FillReport,
    Found,
    FromVenue,
    LimitOrder,
    Liquidate,
    Liquidity,
    LookupFailed,
    MarketOrder,
    MarketsLoaded,
    NewOrder,
    OpenOrders,
    OrderStatus,
    Problem,
    QueryBalances,
    QueryMarkets,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    Rebalance,
    Refusal,
    Rejected,
    Reply,
    Send,
    Share,
    Side,
    SmartOrder,
    StreamUp,
    Style,
    Submit,
    TimeInForce,
    Timer,
    TradesAnswer,
    Wake,
    WatchBook,
)
from ems.core.records import ENDED_PARENT, ParentState, Phase, Query, QueryStatus
from ems.engine import Engine
from ems.engine.account import Account
from ems.store import MemoryStore
from tests.builders import at, market, ticket
from tests.limits import opened

D = Decimal
ZERO = D(0)

TWO = ("alpha", "beta")
PRICES = {"ETH/USDT": "2000", "BTC/USDT": "50000", "ETH/BTC": "0.04"}


def rules(symbol, name, **fields):
    if symbol == "ETH/BTC":
        fields = {"min_notional": "0.0001", "tick": "0.00001", **fields}
    if symbol == "BTC/USDT":
        fields = {"lot": "0.000001", "min_quantity": "0.000001", **fields}
    return replace(market(symbol, **fields), exchange=name)


class Venue:
    """An exchange account that answers at once: takes fill from the book, the rest of an order rests."""

    def __init__(self, name, symbols, free, **fields):
        self.name = name
        self.markets = {s: rules(s, name, **fields) for s in symbols}
        self.money = {c: D(a) for c, a in free.items()}
        self.mids = {s: D(PRICES[s]) for s in symbols}
        self.spread = {s: m.tick * (2 if s == "ETH/BTC" else 10) for s, m in self.markets.items()}
        self.size = {s: D(100) for s in symbols}  # at each of three levels
        self.dark = set()  # symbols without a book
        self.orders = {}  # order id -> {"request", "left", "ending", "fills"}
        self.refuse = None  # request -> Rejected, or None
        self.mute = False  # requests get no answer, but what they ask for happens
        self.trades = 0
        self.low = {}  # currency -> the least there ever was

    def book(self, symbol, now):
        mid, half, tick = self.mids[symbol], self.spread[symbol] / 2, self.markets[symbol].tick
        ask = self.markets[symbol].passive_price(Side.SELL, mid + half)
        bid = self.markets[symbol].passive_price(Side.BUY, mid - half)
        size = self.size[symbol]
        return BookUpdate(
            symbol=symbol,
            bids=tuple((bid - tick * k, size) for k in range(3)),
            asks=tuple((ask + tick * k, size) for k in range(3)),
            at=at(now),
        )

    def move(self, currency, amount):
        self.money[currency] = self.money.get(currency, ZERO) + amount
        self.low[currency] = min(self.low.get(currency, ZERO), self.money[currency])

    def fill(self, order_id, quantity, price, now, liquidity):
        order = self.orders[order_id]
        request, rule = order["request"], self.markets[order["request"].symbol]
        self.trades += 1
        order["left"] -= quantity
        buys = request.side is Side.BUY
        notional = quantity * price
        self.move(rule.base, quantity if buys else -quantity)
        self.move(rule.quote, -notional if buys else notional)
        rate = rule.maker_fee if liquidity is Liquidity.MAKER else rule.taker_fee
        if rule.fee_mode == "quote":
            fee, coin = notional * rate, rule.quote
        elif rule.fee_mode == "base":
            fee, coin = quantity * rate, rule.base
        elif rule.fee_mode == "third" and self.money.get("BNB", ZERO) >= D("0.001"):
            fee, coin = D("0.001"), "BNB"
        else:
            fee, coin = (quantity * rate, rule.base) if buys else (notional * rate, rule.quote)
        self.move(coin, -fee)
        report = FillReport(
            fill_id=f"{self.name}-{self.trades}",
            exchange_order_id=f"X-{order_id}",
            symbol=request.symbol,
            side=request.side,
            price=price,
            quantity=quantity,
            fee=fee,
            fee_currency=coin,
            liquidity=liquidity,
            at=at(now),
            order_id=order_id,
        )
        order["fills"].append(report)
        if order["left"] <= ZERO:
            order["ending"] = Ending.FILLED
        return report

    def take(self, order_id, now):
        """Fill what crosses the book as it is."""
        order = self.orders[order_id]
        request = order["request"]
        book = self.book(request.symbol, now)
        reports = []
        for price, size in book.asks if request.side is Side.BUY else book.bids:
            beyond = request.price is not None and (
                price > request.price if request.side is Side.BUY else price < request.price
            )
            if beyond or order["left"] <= ZERO:
                break
            reports.append(self.fill(order_id, min(size, order["left"]), price, now, Liquidity.TAKER))
        return reports

    def answer(self, request, now):
        """Carry a request out; return the reports."""
        match request:
            case NewOrder():
                no = self.refuse(request) if self.refuse is not None else None
                if no is not None:
                    return [no]
                assert request.order_id not in self.orders, "sent twice"
                self.orders[request.order_id] = {
                    "request": request,
                    "left": request.quantity,
                    "ending": None,
                    "fills": [],
                }
                book = self.book(request.symbol, now)
                if request.post_only:
                    far = book.asks[0][0] if request.side is Side.BUY else book.bids[0][0]
                    if request.price >= far if request.side is Side.BUY else request.price <= far:
                        del self.orders[request.order_id]
                        return [
                            Rejected(
                                order_id=request.order_id,
                                refusal=Refusal.POST_ONLY_WOULD_CROSS,
                                message="would cross",
                            )
                        ]
                fills = self.take(request.order_id, now)
                order = self.orders[request.order_id]
                if order["ending"] is None and request.time_in_force is TimeInForce.IOC:
                    order["ending"] = Ending.CANCELED
                filled = request.quantity - order["left"]
                return [
                    Acked(
                        order_id=request.order_id,
                        exchange_order_id=f"X-{request.order_id}",
                        filled_quantity=filled,
                        ending=order["ending"],
                        fills=tuple(fills),
                    )
                ]
            case CancelRequest():
                order = self.orders.get(request.order_id)
                if order is None or order["ending"] is not None:
                    return [self.status(request.order_id, now)]
                order["ending"] = Ending.CANCELED
                filled = order["request"].quantity - order["left"]
                return [CancelAcked(order_id=request.order_id, filled_quantity=filled)]
            case QueryOrder():
                return [self.status(request.order_id, now)]
            case QueryTrades():
                fills = self.orders[request.order_id]["fills"] if request.order_id in self.orders else []
                return [TradesAnswer(order_id=request.order_id, fills=tuple(fills), query_sent_at=at(now))]
            case QueryBalances():
                return [Balances(free=self.unheld(), used=self.held(), query_sent_at=at(now))]
            case QueryOpenOrders():
                found = [self.status(i, now) for i, o in self.orders.items() if o["ending"] is None]
                return [OpenOrders(orders=tuple(found), query_sent_at=at(now))]
            case QueryMarkets():
                return [MarketsLoaded(markets=tuple(self.markets.values()))]
            case WatchBook() if request.symbol not in self.dark and request.symbol in self.markets:
                return [self.book(request.symbol, now)]
        return []

    def status(self, order_id, now):
        order = self.orders.get(order_id)
        if order is None:
            return OrderStatus(order_id=order_id, found=Found.NOT_FOUND, query_sent_at=at(now))
        return OrderStatus(
            order_id=order_id,
            found=Found.OPEN if order["ending"] is None else Found.CLOSED,
            ending=order["ending"],
            exchange_order_id=f"X-{order_id}",
            symbol=order["request"].symbol,
            filled_quantity=order["request"].quantity - order["left"],
            query_sent_at=at(now),
        )

    def held(self):
        used = {}
        for order in self.orders.values():
            request, rule = order["request"], self.markets[order["request"].symbol]
            if order["ending"] is not None or request.price is None:
                continue
            buys = request.side is Side.BUY
            coin = rule.quote if buys else rule.base
            used[coin] = used.get(coin, ZERO) + (order["left"] * request.price if buys else order["left"])
        return used

    def unheld(self):
        used = self.held()
        return {c: a - used.get(c, ZERO) for c, a in self.money.items()}


class Floor:
    """An engine over several venues; time goes from wake to wake, books come every second."""

    def __init__(self, *venues, store=None, modes=None, ready=True):
        self.venues = {v.name: v for v in venues}
        self.accounts = {
            v.name: Account(
                v.name,
                "default",
                mode=(modes or {}).get(v.name, "paper"),
                patience=Patience(),
                id_style="uuid",
            )
            for v in venues
        }
        self.engine = Engine(self.accounts.values(), mark="0e5a51b2")
        self.store = store or opened(MemoryStore())
        self.now = max((q.accepted_at for q in self.store.queries.values()), default=at(0))
        self.now = (self.now - at(0)).total_seconds()
        self.timers = {}
        self.answers = {}
        self.sent = []  # (seconds, exchange, request)
        self.down = set()  # exchanges that neither hear nor say anything
        self.percent = {}  # query id -> what was shown
        self.tokens = 0
        self._do(lambda now: self.engine.restore(self.store.load(at(self.now - 600)), now))
        if ready:
            for name in self.venues:
                self.connect(name)

    def connect(self, name):
        self.down.discard(name)
        self.report(name, MarketsLoaded(markets=tuple(self.venues[name].markets.values())))
        self.report(name, StreamUp())

    def _do(self, what):
        turn = what(at(self.now))
        self.store.commit(turn.records)
        queue = []
        for effect in turn.effects:
            if isinstance(effect, Wake):
                self.timers[effect.key] = (effect.at - at(0)).total_seconds()
            elif isinstance(effect, Reply):
                self.answers[effect.token] = effect.answer
            elif isinstance(effect, Send):
                self.sent.append((self.now, effect.exchange, effect.request))
                queue.append(effect)
        for effect in queue:
            venue = self.venues[effect.exchange]
            if effect.exchange in self.down:
                continue
            for report in venue.answer(effect.request, self.now):
                if not venue.mute:
                    self.report(effect.exchange, report)
                elif isinstance(report, Balances | OpenOrders):
                    what = "balances" if isinstance(report, Balances) else "open_orders"
                    lost = LookupFailed(request=what, order_id=None, message="timeout")
                    self.report(effect.exchange, lost)
        return turn

    def report(self, name, report):
        event = FromVenue(exchange=name, account="default", report=report)
        return self._do(lambda now: self.engine.handle(event, now))

    def books(self):
        for name, venue in self.venues.items():
            if name in self.down:
                continue
            for symbol in list(self.accounts[name].watched):
                if symbol not in venue.dark and symbol in venue.markets:
                    self.report(name, venue.book(symbol, self.now))

    def run(self, until, each=None):
        """Let time pass: timers fire when they are due, books come every second."""
        beat = int(self.now) + 1
        while True:
            due = min((w for w in self.timers.values()), default=until + 1)
            step = max(min(due, beat, until), self.now)
            self.now = step
            for key in [k for k, w in self.timers.items() if w <= self.now]:
                if self.timers.get(key, until + 1) <= self.now:
                    del self.timers[key]
                    self._do(lambda now, key=key: self.engine.handle(Timer(key=key), now))
            if self.now >= beat:
                beat += 1
                self.books()
                if each is not None:
                    each()
                self.note()
            if self.now >= until:
                return

    def note(self):
        for query in self.engine.work.queries.values():
            if query.status is QueryStatus.WORKING and query.verb not in ("cancel_order",):
                seen = self.engine.parents.progress(query.query_id, at(self.now))
                if seen is not None:
                    jsonable(seen)
                    assert plain_json(seen), seen
                    self.percent.setdefault(query.query_id, []).append(D(seen["percent"]))

    def submit(self, command, key=None, patience=12.0, **fields):
        self.tokens += 1
        token, key = self.tokens, key or f"key-{self.tokens}"
        event = Submit(
            token=token,
            query_id=f"q{token}",
            ticket=ticket(key, body_digest=repr(command), **fields),
            command=command,
        )
        self._do(lambda now: self.engine.handle(event, now))
        end = self.now + patience
        while token not in self.answers and self.now < end:
            self.run(self.now + 1)
        return self.answers.get(token)

    def placed(self, name=None):
        return [r for _, e, r in self.sent if isinstance(r, NewOrder) and name in (None, e)]

    def query(self, query_id="q1"):
        return self.engine.work.queries[query_id]

    def parent(self, query_id="q1"):
        return self.engine.work.parents[f"{query_id}.1"]

    def reborn(self, ready=True):
        """Return the same venues under a new process that knows only what is on disk."""
        other = Floor(*self.venues.values(), store=self.store, ready=False)
        other.now, other.tokens = self.now, self.tokens + 100
        if ready:
            for name in other.venues:
                other.connect(name)
        return other

    def total(self, currency):
        return sum((v.money.get(currency, ZERO) for v in self.venues.values()), ZERO)


def plain_json(value):
    """Say whether a body is made of what JSON has, without floats."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and plain_json(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(plain_json(v) for v in value)
    return value is None or isinstance(value, str | bool | int)


def floor(usdt=("1000", "1000"), symbols=("ETH/USDT",), **fields):
    return Floor(
        *(
            Venue(name, symbols, {"USDT": amount, "BNB": "10"}, **fields)
            for name, amount in zip(TWO, usdt, strict=True)
        )
    )


def convert(amount="1500", *, exchange="alpha,beta", start="USDT", end="ETH", algo="market", **fields):
    style = {
        k: fields.pop(k) for k in ("time_limit", "on_timeout", "max_slippage_bps", "params") if k in fields
    }
    start_amount = D(amount) if isinstance(amount, str) else amount
    return SmartOrder(
        exchange=exchange,
        start_currency=start,
        end_currency=end,
        start_amount=start_amount,
        style=Style(algo=algo, **style),
        **fields,
    )


def adds_up(world, query_id="q1"):
    """Check the result of a conversion against the venues' own fills."""
    result = world.query(query_id).result
    assert plain_json(result), result
    start = result["start_currency"]
    if "end_amount" not in world.parent(query_id).goal:
        assert D(result["spent"]) + D(result["unspent"]) == world.parent(query_id).start_amount
    cost = result["cost"]
    if cost is not None:
        parts = sum(D(v) for k, v in cost.items() if k.endswith("_bps") and k != "total_bps")
        assert abs(parts - D(cost["total_bps"])) < D("1e-9"), cost
    for venue in world.venues.values():
        assert all(low >= ZERO for low in venue.low.values()), (venue.name, venue.low, start)
    return result


# --- Dividing money over accounts -----------------------------------------------------------------------


def test_a_start_amount_is_divided_over_accounts_to_the_last_unit():
    world = floor()
    answer = world.submit(convert("1500.12345678"))
    assert isinstance(answer, Query), answer
    grants = {g.exchange: g.amount for g in world.parent().grants}
    assert set(grants) == set(TWO) and sum(grants.values()) == D("1500.12345678")
    assert all(amount <= D(1000) for amount in grants.values())
    world.run(70)
    result = adds_up(world)
    assert (world.query().status, result["outcome"]) == (QueryStatus.DONE, "done")
    assert D(result["unspent"]) < D(5)


def test_a_start_amount_stays_whole_where_one_account_holds_too_little_to_trade():
    world = floor(usdt=("995", "5"))
    world.submit(convert("1000"))
    assert world.parent().start_amount == D(1000)


@pytest.mark.parametrize("percent", ["35", "100"])
def test_a_share_is_a_share_of_each_account(percent):
    world = floor(usdt=("1000", "400"))
    world.submit(convert(Share(percent=D(percent)), exchange="all"))
    part = D(percent) / 100
    assert {g.exchange: g.amount for g in world.parent().grants} == {"alpha": 1000 * part, "beta": 400 * part}
    world.run(70)
    assert D(adds_up(world)["unspent"]) < D(10)


def test_an_account_that_is_not_ready_is_an_error_by_name_and_left_out_of_all():
    world = Floor(
        Venue("alpha", ["ETH/USDT"], {"USDT": "1000"}),
        Venue("beta", ["ETH/USDT"], {"USDT": "1000"}),
        ready=False,
    )
    world.connect("alpha")
    assert world.submit(convert("500")).code == errors.EXCHANGE_UNAVAILABLE
    answer = world.submit(convert("500", exchange="all"))
    assert isinstance(answer, Query)
    world.run(70)
    assert {e for _, e, r in world.sent if isinstance(r, NewOrder)} == {"alpha"}


def test_live_and_paper_are_not_planned_together():
    world = Floor(
        Venue("alpha", ["ETH/USDT"], {"USDT": "1000"}),
        Venue("beta", ["ETH/USDT"], {"USDT": "1000"}),
        modes={"alpha": "live"},
    )
    for exchange in ("all", "alpha,beta"):
        answer = world.submit(convert("500", exchange=exchange))
        assert answer.code == errors.REQUEST_FIELD_INVALID and "alpha (live)" in answer.message
    assert world.placed() == []


@pytest.mark.parametrize("fee_mode", ["received", "quote", "base", "third"])
@pytest.mark.parametrize("chain", [("ETH/USDT",), ("BTC/USDT", "ETH/BTC")], ids=["one hop", "two hops"])
@pytest.mark.parametrize("amount", ["0.5", "4", "7"])
def test_the_smallest_amount_that_is_named_passes(fee_mode, chain, amount):
    world = Floor(Venue("alpha", chain, {"USDT": "1000", "BNB": "1"}, fee_mode=fee_mode))
    answer = world.submit(convert(amount, exchange="alpha"))
    if isinstance(answer, Query):
        world.run(200)
        assert answer.result is None or answer.result["reason"]
        return
    assert answer.code == errors.AMOUNT_TOO_SMALL
    again = world.submit(convert(answer.details["limit"], exchange="alpha"))
    assert isinstance(again, Query) and (again.result or {}).get("outcome") != "nothing", again
    world.run(200)
    assert adds_up(world, again.query_id)["outcome"] != "nothing"


def test_two_smart_orders_never_claim_the_same_money():
    world = floor()
    first = world.submit(convert("1500", algo="twap"))
    second = world.submit(convert("600", algo="twap"))
    assert isinstance(first, Query) and second.code == errors.FUNDS_INSUFFICIENT
    assert D(second.details["available"]) == D(500)
    third = world.submit(convert(second.details["available"], algo="twap"))
    assert isinstance(third, Query)
    world.run(90)
    for query_id in (first.query_id, third.query_id):
        adds_up(world, query_id)


# --- An amount to receive -------------------------------------------------------------------------------

ENDS = [
    ("buy", "USDT", "ETH", "0.5", ("ETH/USDT",)),
    ("sell", "ETH", "USDT", "900", ("ETH/USDT",)),
    ("two hops", "ETH", "BTC", "0.02", ("ETH/USDT", "BTC/USDT")),
]


@pytest.mark.parametrize("algo", ["market", "classic", "adaptive", "twap"])
@pytest.mark.parametrize(("name", "start", "end", "wanted", "symbols"), ENDS, ids=[e[0] for e in ENDS])
def test_an_end_amount_is_reached_and_hardly_exceeded(name, start, end, wanted, symbols, algo):
    world = Floor(*(Venue(n, symbols, {"USDT": "3000", "ETH": "2"}) for n in TWO))
    before = world.total(end)
    answer = world.submit(convert(None, start=start, end=end, end_amount=D(wanted), algo=algo))
    assert isinstance(answer, Query), answer
    world.run(120)
    got = world.total(end) - before
    worth = {"USDT": 1, "ETH": 2000, "BTC": 50000}
    lot = D("0.0001") * (2000 if end == "USDT" else worth[end]) / worth[end]
    assert got >= D(wanted), (got, world.query().result["outcome"], world.query().result["reason"])
    assert got <= D(wanted) * D("1.001") + lot * 2
    adds_up(world)


def test_an_end_amount_is_reached_though_the_price_goes_up_a_little():
    world = floor(usdt=("3000", "3000"))
    world.submit(convert(None, end_amount=D("0.5"), algo="twap", time_limit=D(30)))

    def up():
        for venue in world.venues.values():
            venue.mids["ETH/USDT"] += D("0.05")

    world.run(90, up)
    got = world.total("ETH")
    assert got >= D("0.5"), (got, world.query().result["outcome"], world.query().result["reason"])


def test_what_an_end_amount_did_not_need_is_not_called_dust():
    world = floor(usdt=("3000", "3000"))
    world.submit(convert(None, end_amount=D("0.5")))
    world.run(70)
    result = adds_up(world)
    assert (result["outcome"], result["dust"], result["unspent"]) == ("done", {}, "0")
    (cost,) = world.store.cost_rows.values()
    assert (cost.body["dust"], cost.body["completion"]) == ({}, "1")


def test_an_end_amount_beyond_what_is_held_names_what_can_be_had():
    world = floor()
    answer = world.submit(convert(None, end_amount=D(2)))
    assert answer.code == errors.AMOUNT_UNREACHABLE
    reachable = D(answer.details["reachable"])
    again = world.submit(convert(None, end_amount=(reachable * D("0.999")).quantize(D("0.0001"))))
    assert isinstance(again, Query)


# --- Time, limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["adaptive", "classic", "twap", "iceberg", "pegged"])
def test_on_timeout_cancel_leaves_the_rest_and_says_so(algo):
    world = floor()
    world.submit(convert("1500", algo=algo, time_limit=D(20), on_timeout="cancel"))
    for venue in world.venues.values():
        venue.size["ETH/USDT"] = D("0.0002")
    world.run(40)
    result = adds_up(world)
    assert world.query().status is QueryStatus.DONE and D(result["unspent"]) > 0
    assert "time" in result["reason"], result["reason"]
    last = max(t for t, _, r in world.sent if isinstance(r, NewOrder))
    assert last <= 20


@pytest.mark.parametrize("drift", ["0.5", "-0.5", "3"])
@pytest.mark.parametrize("algo", ["adaptive", "market", "classic"])
def test_no_order_goes_beyond_the_slippage_allowed_at_the_decision(algo, drift):
    world = floor(symbols=("ETH/USDT", "BTC/USDT", "ETH/BTC"))
    world.submit(convert("1900", algo=algo, time_limit=D(40), max_slippage_bps=D(20)))
    decided = {("alpha", s): D(PRICES[s]) for s in PRICES} | {("beta", s): D(PRICES[s]) for s in PRICES}

    def on():
        for venue in world.venues.values():
            venue.mids["ETH/USDT"] += D(drift)
            venue.size["ETH/USDT"] = D("0.001")

    world.run(150, on)
    assert world.query().status is not QueryStatus.WORKING
    for _, exchange, request in world.sent:
        if isinstance(request, NewOrder):
            mid = decided[exchange, request.symbol]
            if request.side is Side.BUY:
                assert request.price <= mid * D("1.002"), request
            else:
                assert request.price >= mid * D("0.998"), request
    adds_up(world)


@pytest.mark.parametrize(
    ("symbols", "start", "end", "levels"),
    [
        (("ETH/USDT",), "USDT", "ETH", 1),
        (("BTC/USDT", "ETH/BTC"), "USDT", "ETH", 2),
        (("ADA/BTC", "BTC/USDT", "ETH/USDT"), "ADA", "ETH", 3),
    ],
)
def test_each_level_has_its_part_of_the_time(symbols, start, end, levels, monkeypatch):
    monkeypatch.setitem(PRICES, "ADA/BTC", "0.00002")
    venue = Venue("alpha", symbols, {"USDT": "1000", "ADA": "5000"}, min_notional="0.0001", tick="0.00000001")
    venue.size = dict.fromkeys(venue.size, D(100000))
    venue.spread = {symbol: mid / 10000 for symbol, mid in venue.mids.items()}
    world = Floor(venue)
    world.submit(convert("900", exchange="alpha", start=start, end=end, algo="twap", time_limit=D(60)))
    legs = world.parent().legs
    assert [leg.level for leg in legs] == list(range(levels))
    assert [leg.ends_at for leg in legs] == [at(60 * (k + 1) / levels) for k in range(levels)]
    world.run(90)
    assert world.parent().state in ENDED_PARENT
    assert adds_up(world)["outcome"] == "done"


# --- Refusals and halts ---------------------------------------------------------------------------------


def refusing(refusal, symbol=None, times=10**6):
    left = [times]

    def no(request):
        if symbol in (None, request.symbol) and left[0] > 0:
            left[0] -= 1
            return Rejected(order_id=request.order_id, refusal=refusal, message=f"no: {refusal}")
        return None

    return no


@pytest.mark.parametrize("refusal", [Refusal.MARKET_CLOSED, Refusal.PERMANENT, Refusal.RATE_LIMIT])
def test_a_market_that_refuses_is_gone_around_and_the_others_go_on(refusal):
    world = floor(symbols=("ETH/USDT", "BTC/USDT", "ETH/BTC"))
    world.venues["alpha"].refuse = refusing(refusal, "ETH/USDT")
    world.submit(convert("1500", algo="adaptive"))
    world.run(200)
    result = adds_up(world)
    assert world.query().status is QueryStatus.DONE, world.query().error
    assert D(result["unspent"]) < 10
    assert {leg["exchange"] for leg in result["legs"] if D(leg["quantity"])} == set(TWO)


def test_rules_that_have_changed_are_read_again():
    world = floor()
    venue = world.venues["alpha"]

    def picky(request):
        if request.quantity % D("0.01"):
            return Rejected(order_id=request.order_id, refusal=Refusal.LOT_TICK, message="step is 0.01")
        return None

    venue.refuse = picky
    venue.markets["ETH/USDT"] = replace(venue.markets["ETH/USDT"], lot=D("0.01"))
    world.submit(convert("1500"))
    world.run(90)
    result = adds_up(world)
    assert world.query().status is QueryStatus.DONE and D(result["unspent"]) < 45
    refused = [o for o in world.store.orders.values() if o.status == "rejected"]
    assert len(refused) == 1


def test_funds_missing_at_one_account_do_not_stop_the_other():
    world = floor()
    world.venues["alpha"].refuse = refusing(Refusal.INSUFFICIENT_FUNDS)
    world.submit(convert("1500", algo="adaptive"))
    world.run(120)
    result = adds_up(world)
    assert (world.query().status, world.query().error.code) == (QueryStatus.FAILED, errors.FUNDS_INSUFFICIENT)
    assert result["outcome"] == "partial"
    spent = sum(D(leg["spent"]) for leg in result["legs"] if leg["exchange"] == "beta")
    assert spent > 490
    assert len(world.placed("alpha")) == 3


def test_an_account_that_loses_contact_waits_while_the_other_goes_on():
    world = floor()
    world.submit(convert("1800", algo="twap", time_limit=D(60)))
    world.run(20)
    world.down.add("alpha")
    world.run(60)
    beta = sum(o.quote_filled for o in world.store.orders.values() if o.exchange == "beta")
    assert beta > 500 and world.query().status is QueryStatus.WORKING
    world.connect("alpha")
    world.run(130)
    result = adds_up(world)
    assert world.query().status is QueryStatus.DONE and D(result["unspent"]) < 10


# --- Cancels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        CancelOrder(client_order_id="mine"),
        CancelOrder(order_id="q1.1.1"),
        CancelAllOrders(),
        CancelAllOrders(exchange="beta"),
        CancelAllOrders(symbol="ETH/USDT"),
    ],
    ids=["by key", "by order id", "all", "by exchange", "by symbol"],
)
def test_a_cancel_ends_a_parent_on_both_exchanges(command):
    world = floor()
    world.submit(convert("1500", algo="classic"), "mine")
    assert len(world.placed()) == 2
    world.run(5)
    world.submit(command, "stop")
    world.run(20)
    assert world.parent().state is ParentState.ABORTED
    assert all(o.phase is Phase.SETTLED for o in world.store.orders.values())
    assert world.query("q2").status is QueryStatus.DONE
    assert world.query("q2").result["left"] == []
    adds_up(world)


def test_a_smart_order_that_waits_for_its_price_can_be_cancelled_by_its_key():
    world = floor()
    world.submit(convert("1500", algo="sniper", params={"cost_bps": "0.01"}), "mine")
    world.run(5)
    assert world.placed() == []
    answer = world.submit(CancelOrder(client_order_id="mine"), "stop")
    assert isinstance(answer, Query), answer
    world.run(10)
    assert world.parent().state is ParentState.ABORTED


def test_another_user_cannot_cancel_by_key():
    world = floor()
    world.submit(convert("1500", algo="sniper", params={"cost_bps": "0.01"}), "mine")
    answer = world.submit(CancelOrder(client_order_id="mine"), "stop", user="bob")
    assert isinstance(answer, Problem) and answer.code == errors.ORDER_NOT_FOUND


def test_what_a_cancel_by_symbol_stops_is_not_said_to_be_left():
    world = Floor(Venue("alpha", ("ETH/USDT", "BTC/USDT"), {"ETH": "2", "BTC": "0.05", "USDT": "10"}))
    world.submit(Liquidate(exchange="alpha", end_currency="USDT", style=Style(algo="classic")))
    assert len(world.placed()) == 2
    world.submit(CancelAllOrders(symbol="ETH/USDT"), "stop")
    world.run(10)
    assert all(o.phase is Phase.SETTLED for o in world.store.orders.values())
    assert world.query("q2").result["left"] == []


# --- One market, by quantity ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "algo", ["market", "classic", "adaptive", "twap", "iceberg", "pegged", "vwap", "pov", "is"]
)
@pytest.mark.parametrize("side", list(Side))
def test_an_order_by_quantity_trades_exactly_that(algo, side):
    world = Floor(Venue("alpha", ("ETH/USDT",), {"USDT": "5000", "ETH": "3"}))
    world.submit(
        MarketOrder(
            exchange="alpha", side=side, symbol="ETH/USDT", quantity=D("1.23456"), style=Style(algo=algo)
        )
    )
    world.run(130)
    filled = sum(o.filled_quantity for o in world.store.orders.values())
    assert filled <= D("1.2345")
    if algo not in ("iceberg", "pegged", "pov"):
        assert filled == D("1.2345"), world.query().result
    adds_up_plain(world)


@pytest.mark.parametrize("algo", ["market", "classic", "adaptive", "twap", "sniper"])
@pytest.mark.parametrize("side", list(Side))
def test_a_limit_is_never_crossed(algo, side):
    world = Floor(Venue("alpha", ("ETH/USDT",), {"USDT": "5000", "ETH": "3"}))
    price = D("2000.4") if side is Side.BUY else D("1999.6")
    world.submit(
        LimitOrder(
            exchange="alpha", side=side, symbol="ETH/USDT", quantity=D(1), price=price, style=Style(algo=algo)
        )
    )
    swing = iter([D("0.7"), D("-0.9")] * 200)

    def on():
        world.venues["alpha"].mids["ETH/USDT"] += next(swing)

    world.run(150, on)
    assert world.query().status is not QueryStatus.WORKING
    for request in world.placed():
        assert request.price <= price if side is Side.BUY else request.price >= price
    assert sum(o.filled_quantity for o in world.store.orders.values()) <= 1
    adds_up_plain(world)


def adds_up_plain(world, query_id="q1"):
    result = world.query(query_id).result
    assert plain_json(result)
    cost = result["cost"]
    if cost is not None:
        parts = sum(D(v) for k, v in cost.items() if k.endswith("_bps") and k != "total_bps")
        assert abs(parts - D(cost["total_bps"])) < D("1e-9"), cost
    return result


# --- Portfolios -----------------------------------------------------------------------------------------


def test_liquidate_leaves_alone_what_is_excluded():
    world = Floor(*(Venue(n, ("ETH/USDT", "BTC/USDT"), {"ETH": "1", "BTC": "0.02"}) for n in TWO))
    world.submit(Liquidate(exchange="all", end_currency="USDT", exclude=("BTC",), style=Style(algo="market")))
    world.run(70)
    result = world.query().result
    assert plain_json(result) and world.query().status is QueryStatus.DONE, world.query()
    assert world.total("BTC") == D("0.04") and world.total("ETH") < D("0.01")


def test_liquidate_sells_only_the_currencies_named():
    world = Floor(*(Venue(n, ("ETH/USDT", "BTC/USDT"), {"ETH": "1", "BTC": "0.02"}) for n in TWO))
    world.submit(
        Liquidate(exchange="all", end_currency="USDT", currencies=("BTC",), style=Style(algo="market"))
    )
    world.run(70)
    assert world.total("ETH") == D(2) and world.total("BTC") < D("0.001")


@pytest.mark.parametrize(
    "command",
    [
        Liquidate(exchange="all", end_currency="USDT"),
        Rebalance(exchange="all", targets={"USDT": D(1)}),
        Rebalance(exchange="all", targets={"ETH": D(1)}, keep=("USDT",)),
    ],
    ids=["liquidate", "rebalance", "rebalance what is kept"],
)
def test_nothing_to_do_is_a_result(command):
    answer = floor().submit(command)
    assert isinstance(answer, Query), answer
    assert (answer.status, answer.result["outcome"]) == (QueryStatus.DONE, "nothing")
    assert answer.result["reason"] and plain_json(answer.result)


def test_a_target_that_nobody_trades_is_refused():
    answer = floor().submit(Rebalance(exchange="all", targets={"USDT": D("0.5"), "XYZ": D("0.5")}))
    assert answer.code == errors.CURRENCY_UNKNOWN and "XYZ" in answer.message


def test_rebalance_comes_close_to_its_targets_and_keeps_what_is_kept():
    world = Floor(
        Venue("alpha", ("ETH/USDT", "BTC/USDT", "ETH/BTC"), {"USDT": "4000", "BTC": "0.01"}),
        Venue("beta", ("ETH/USDT", "BTC/USDT", "ETH/BTC"), {"ETH": "2", "BNB": "3"}),
    )
    targets = {"USDT": D("0.4"), "ETH": D("0.4"), "BTC": D("0.2")}
    world.submit(Rebalance(exchange="all", targets=targets, keep=("BNB",), style=Style(algo="adaptive")))
    world.run(120)
    result = world.query().result
    assert world.query().status is QueryStatus.DONE and plain_json(result)
    for currency, target in targets.items():
        assert abs(D(result["weights"][currency]["after"]) - target) < D("0.006"), result["weights"]
    assert world.total("BNB") == 3
    assert all(low >= 0 for v in world.venues.values() for low in v.low.values())


def test_dust_is_reported_where_it_stays():
    world = Floor(Venue("alpha", ("ETH/USDT", "BTC/USDT"), {"ETH": "1", "BTC": "0.00005"}))
    answer = world.submit(Liquidate(exchange="alpha", end_currency="USDT", style=Style(algo="market")))
    world.run(70)
    assert isinstance(answer, Query)
    result = world.query().result
    assert "alpha BTC" in result["left_out"], result


def test_books_that_do_not_come_hold_a_submission_for_a_few_seconds_only():
    venue = Venue("alpha", ("ETH/USDT", "BTC/USDT"), {"ETH": "1", "BTC": "0.02"})
    venue.dark.add("BTC/USDT")
    world = Floor(venue)
    world.run(30)
    answer = world.submit(
        Liquidate(exchange="alpha", end_currency="USDT", style=Style(algo="market")), patience=20
    )
    assert isinstance(answer, Query) and world.now <= 42
    world.run(110)
    assert world.total("ETH") < D("0.01") and world.total("BTC") == D("0.02")
    assert world.query().status is not QueryStatus.WORKING


def test_books_that_do_not_come_are_named_each_time():
    venue = Venue("alpha", ("ETH/USDT",), {"USDT": "1000"})
    venue.dark.add("ETH/USDT")
    world = Floor(venue)
    for _ in range(2):
        answer = world.submit(convert("500", exchange="alpha"), patience=20)
        assert answer.code == errors.EXCHANGE_UNAVAILABLE and "ETH/USDT" in answer.message


def test_stale_balances_are_looked_at_once_and_then_judged_on():
    world = floor()
    world.run(10)
    for venue in world.venues.values():
        venue.mute = True
    answer = world.submit(Liquidate(exchange="all", end_currency="USDT"), patience=20)
    assert answer is not None and world.now <= 22


# --- A dry run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        convert("1500"),
        convert(None, end_amount=D("0.5")),
        Liquidate(exchange="all", end_currency="ETH"),
        Rebalance(exchange="all", targets={"ETH": D("0.5"), "USDT": D("0.5")}),
        MarketOrder(
            exchange="alpha", side=Side.BUY, symbol="ETH/USDT", quantity=D("0.1"), style=Style(algo="twap")
        ),
        LimitOrder(exchange="alpha", side=Side.BUY, symbol="ETH/USDT", quantity=D("0.1"), price=D(1990)),
        CancelAllOrders(),
    ],
    ids=lambda c: type(c).__name__,
)
def test_a_dry_run_writes_nothing_and_trades_nothing(command):
    world = floor()
    answer = world.submit(command, dry_run=True)
    assert isinstance(answer, Query) and answer.result["dry_run"] is True and plain_json(answer.result)
    world.run(30)
    assert world.placed() == [] and world.engine.work.parents == {}
    assert (world.store.queries, world.store.parents, world.store.notices) == ({}, {}, [])


# --- Progress, cost, work -------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["adaptive", "classic", "twap"])
def test_percent_goes_up_from_nothing_to_all(algo):
    world = floor(symbols=("ETH/USDT", "BTC/USDT", "ETH/BTC"))
    world.submit(convert("1500", algo=algo))
    world.run(100)
    seen = world.percent["q1"]
    assert all(0 <= p <= 100 for p in seen)
    assert all(b >= a - 1 for a, b in zip(seen, seen[1:], strict=False)), seen


def test_costs_are_completed_by_their_timer_and_forgotten():
    world = floor()
    world.submit(convert("1500", algo="adaptive"))
    world.run(500)
    (cost,) = world.store.cost_rows.values()
    assert cost.complete and plain_json(cost.body)
    assert [m["tau_s"] for m in cost.body["markouts"]][-1] == "300"
    assert any(m["taker_bps"] or m["maker_bps"] for m in cost.body["markouts"])
    assert world.engine.costs._series == {} and world.engine.costs._pending == {}


def test_a_restart_between_the_end_and_the_markouts_harms_nothing():
    world = floor()
    world.submit(convert("1500", algo="market"))
    world.run(70)
    other = world.reborn()
    other.run(other.now + 500)
    assert other.engine.costs._series == {}


def test_each_new_book_is_worth_a_bounded_number_of_decisions(monkeypatch):
    decisions = [0]
    decide = walker.decide

    def counted(seen, now):
        decisions[0] += 1
        return decide(seen, now)

    monkeypatch.setattr(walker, "decide", counted)
    counts = []
    for parents in (10, 40):
        world = floor(usdt=("100000", "100000"))
        for _ in range(parents):
            assert isinstance(world.submit(convert("200", algo="twap"), patience=0.5), Query)
        decisions[0] = 0
        world.run(world.now + 10)
        counts.append(decisions[0])
    assert counts[1] <= counts[0] * 5, counts


# --- What a leg may do ----------------------------------------------------------------------------------


def test_a_fee_in_a_third_currency_that_is_itself_sold_ends_well():
    venue = Venue("alpha", ("ETH/USDT",), {"ETH": "1", "BNB": "1"}, fee_mode="third")
    venue.markets["BNB/USDT"] = rules("BNB/USDT", "alpha", fee_mode="third")
    venue.mids["BNB/USDT"], venue.spread["BNB/USDT"], venue.size["BNB/USDT"] = D(500), D("0.1"), D(100)
    world = Floor(venue)

    def short(request):
        base = request.symbol.split("/")[0]
        if request.side is Side.SELL and request.quantity > venue.unheld()[base]:
            return Rejected(order_id=request.order_id, refusal=Refusal.INSUFFICIENT_FUNDS, message="short")
        return None

    venue.refuse = short
    world.submit(Liquidate(exchange="alpha", end_currency="USDT", style=Style(algo="twap")))
    world.run(120)
    assert world.query().status is QueryStatus.DONE, world.query().error
    assert venue.money["BNB"] < D("0.03") and venue.low["BNB"] >= 0


def test_every_node_gives_out_what_it_has_at_every_moment():
    world = floor(symbols=("ETH/USDT", "BTC/USDT", "ETH/BTC"))
    world.submit(convert("1900", algo="adaptive"))

    def checked():
        parent = world.parent()
        if parent.state in ENDED_PARENT:
            return
        own = ledger.by_leg(parent, world.engine.work.orders_of_parent(parent.parent_id))
        nodes = {}
        for i in ledger.current(parent):
            node = ledger.source_of(parent.legs[i])
            nodes.setdefault(node, []).append(i)
        for node, indexes in nodes.items():
            allotted = sum(ledger.budget(parent, own, i) + ledger.spent(own[i], node[2]) for i in indexes)
            assert abs(allotted - ledger.inflow(parent, own, node)) < D("1e-40")

    world.run(90, checked)
    adds_up(world)


def test_a_failed_look_at_balances_does_not_hold_a_parent_for_ever():
    world = floor()
    venue = world.venues["alpha"]
    venue.refuse = refusing(Refusal.INSUFFICIENT_FUNDS, times=1)
    answer = venue.answer

    def failing(request, now):
        if isinstance(request, QueryBalances) and venue.orders == {} and now < 30:
            return [LookupFailed(request="balances", order_id=None, message="timeout")]
        return answer(request, now)

    world.submit(convert("1500", algo="market"), patience=0)
    venue.answer = failing
    world.run(120)
    assert world.query().status is not QueryStatus.WORKING
    adds_up(world)


# --- Orders that lie -----------------------------------------------------------------------------------


def test_an_order_that_lives_after_all_freezes_its_own_parent_only():
    world = floor(usdt=("3000", "3000"))
    alpha, answer = world.venues["alpha"], world.venues["alpha"].answer
    lost = []

    def swallowing(request, now):
        if isinstance(request, NewOrder) and not lost:
            lost.append(request)
            return []
        return answer(request, now)

    alpha.answer = swallowing
    world.submit(convert("1500", algo="twap", time_limit=D(300)))
    world.submit(convert("1000", algo="twap", time_limit=D(300)))
    world.run(100)
    (ghost,) = lost
    assert world.store.orders[ghost.order_id].status == "rejected", "it never arrived, as far as one can see"
    victim, other = ghost.order_id.split(".")[0], "q2" if ghost.order_id.startswith("q1") else "q1"
    assert world.query(victim).status is QueryStatus.WORKING
    world.report("alpha", answer(ghost, world.now)[0])
    alpha.answer = answer
    world.run(110)
    assert world.parent(victim).state is ParentState.ABORTED
    assert world.query(victim).error.code == errors.VENUE_INCONSISTENT
    placed = [r for r in world.placed() if r.order_id.startswith(f"{victim}.")]
    assert world.query(other).status is QueryStatus.WORKING
    world.run(420)
    assert world.query(other).status is QueryStatus.DONE
    assert [r for r in world.placed() if r.order_id.startswith(f"{victim}.")] == placed


@pytest.mark.parametrize("seconds", [0, 1, 7, 33, 59])
def test_a_crash_of_a_parent_on_two_accounts_repeats_nothing(seconds):
    world = floor()
    world.submit(convert("1900", algo="adaptive"))
    world.run(world.now + seconds)
    other = world.reborn()
    other.run(200)
    result = adds_up(other)
    assert D(result["spent"]) <= 1900 and D(result["unspent"]) < 10
    (cost,) = other.store.cost_rows.values()
    assert plain_json(cost.body)


def test_a_crash_forgets_no_key():
    world = floor()
    first = world.submit(convert("1500", algo="twap"), "mine")
    other = world.reborn()
    again = other.submit(convert("1500", algo="twap"), "mine")
    assert again.query_id == first.query_id and len(other.store.parents) == 1
    other.submit(CancelOrder(client_order_id="mine"), "stop")
    other.run(other.now + 20)
    assert other.parent().state is ParentState.ABORTED


def test_a_crash_on_one_account_only_waits_for_that_account():
    world = floor()
    world.submit(convert("1900", algo="twap"))
    world.run(10)
    other = world.reborn(ready=False)
    other.connect("beta")
    other.run(50)
    late = {e for t, e, r in other.sent if isinstance(r, NewOrder)}
    assert late == {"beta"}
    other.connect("alpha")
    other.run(200)
    assert D(adds_up(other)["unspent"]) < 10


def test_a_rate_limit_is_met_by_growing_waits_and_in_the_end_by_a_letter():
    world = floor(symbols=("ETH/USDT",))
    for venue in world.venues.values():
        venue.refuse = refusing(Refusal.RATE_LIMIT)
    world.submit(convert("900", algo="market", exchange="alpha"))
    world.run(120)
    sent = [t for t, e, r in world.sent if isinstance(r, NewOrder)]
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert len(sent) == retries.ORDERS.tries
    for gap, wait in zip(gaps, (1, 2, 4, 8, 16), strict=True):
        assert 0.75 * wait <= gap <= 1.25 * wait + 1, gaps
    query = world.query()
    assert (query.status, query.error.code) == (QueryStatus.FAILED, errors.VENUE_UNAVAILABLE)
    assert [n.event for n in world.store.notices] == ["query_failed"]


def test_a_rate_limit_on_one_account_slows_only_that_one():
    world = floor()
    world.venues["alpha"].refuse = refusing(Refusal.RATE_LIMIT, times=5)
    world.submit(convert("1900", algo="market"))
    world.run(100)
    assert world.query().status is QueryStatus.DONE
    assert D(adds_up(world)["unspent"]) < 10
