"""Drafts: plans as legs with limits, time and money, and the benchmark written down with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos import ledger
from ems.algos.ledger import Node
from ems.core.codec import plain
from ems.core.instrument import Market
from ems.core.messages import Side, Style
from ems.core.records import Grant, Leg, Parent
from ems.engine.figures import short_number
from ems.engine.work import Work
from ems.routing.chain import sweep
from ems.routing.plan import Listing, PlannedLeg, Proposal
from ems.routing.planner import PortfolioPlan

ZERO = Decimal(0)
ONE = Decimal(1)
BP = Decimal("0.0001")

# What feeds a leg with an end amount brings in so much of what the plan needs: takes are reserved through
# the touch, and a leg that is short by less than an order never gets there.
FED = ONE + 10 * BP
LAST_SPAN_S = 5.0  # a plan made at the end of the time gets this long all the same

# EXECUTION.md 4.2: how far from its mid at decision a leg may trade when the caller does not say.
MAJORS = frozenset({"BTC", "ETH"})
SLIPPAGE_MAJOR_BPS = Decimal(50)
SLIPPAGE_BPS = Decimal(150)
TRIGGERED = frozenset({"sniper"})  # a price within its limit is what it waits for


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A plan that may start: everything a parent needs, and what people want to know of it."""

    exchange: str
    account: str
    legs: tuple[Leg, ...]  # empty: nothing to do, `reason` says why
    grants: tuple[Grant, ...]
    start_amount: Decimal
    goal: dict[str, object]
    arrival: dict[str, object]
    planned: tuple[PlannedLeg, ...] = ()
    style: Style
    proposal: Proposal | None = None
    portfolio: PortfolioPlan | None = None
    prices: Mapping[str, Decimal] = field(default_factory=dict)  # currency -> mid in `numeraire` at decision
    numeraire: str = ""
    ages_s: Mapping[str, str] = field(default_factory=dict)  # "binance BTC/USDT" -> seconds
    left_out: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def legs_of(
    work: Work,
    planned: Sequence[PlannedLeg],
    style: Style,
    generation: int,
    now: datetime,
    goal: Mapping[str, object],
    parent: Parent | None = None,
    end_amount: Decimal | None = None,
) -> tuple[Leg, ...]:
    """Turn what router or planner propose into legs, with their part of the time and their limits."""
    begun = now if parent is None else parent.created_at
    ends = max(
        begun + timedelta(seconds=float(style.time_limit)),
        now + timedelta(seconds=LAST_SPAN_S if parent is not None else 0),
    )
    levels = max((leg.level for leg in planned), default=0) + 1
    span = (ends - now) / levels
    if end_amount is None and "end_amount" in goal:
        end_amount = Decimal(str(goal["end_amount"]))
    end = str(goal.get("end", ""))
    finals = sum((leg.receive for leg in planned if leg.target == end), ZERO)
    legs = []
    for leg in planned:
        account = work.accounts[leg.exchange, leg.account]
        market, book = account.markets[leg.symbol], account.books[leg.symbol]
        mid = (book.bids[0][0] + book.asks[0][0]) / 2
        limit = limit_of(market, leg.side, mid, style)
        if parent is not None:
            limit = _limit_before(parent, market, leg, style) or limit
        share = leg.receive / finals if finals > ZERO else ONE
        aims = end_amount is not None and leg.target == end
        feeds = end_amount is not None and leg.target != end
        legs.append(
            Leg(
                exchange=leg.exchange,
                account=leg.account,
                symbol=leg.symbol,
                side=leg.side,
                source=leg.source,
                target=leg.target,
                amount=leg.spend * FED if feeds else leg.spend,
                receive=leg.receive,
                level=leg.level,
                generation=generation,
                capped=feeds,
                limit=limit,
                goal=end_amount * share if aims and end_amount is not None else None,
                started_at=now if leg.level == 0 else None,
                ends_at=now + span * (leg.level + 1),
            )
        )
    return tuple(legs)


def arrival_of(
    legs: Sequence[Leg],
    grants: Mapping[Node, Decimal],
    listings: Sequence[Listing],
    prices: Mapping[str, Decimal],
    numeraire: str,
    quantity: Decimal | None = None,
) -> dict[str, object]:
    """Return the benchmark of a parent at the moment it is accepted, so that it cannot be chosen later.

    "net" is what taking the plan at once from the displayed books would have moved, by currency; "prices" the
    mids then, in the numeraire; "marks" the touch of each leg's market and the price of the sweep.
    """
    books = {(x.exchange, x.account, x.market.symbol): x for x in listings}
    money = dict(grants)
    used: dict[str, Decimal] = {}
    got: dict[str, Decimal] = {}
    marks: dict[str, object] = {}
    for index, leg in sorted(enumerate(legs), key=lambda pair: (pair[1].level, pair[0])):
        listing = books[leg.exchange, leg.account, leg.symbol]
        bid, ask = listing.bids[0][0], listing.asks[0][0]
        node = ledger.source_of(leg)
        rivals = sum((x.amount for x in legs if ledger.source_of(x) == node), ZERO)
        fed = money.get(node, ZERO)
        amount = fed * leg.amount / rivals if rivals > ZERO else fed
        if leg.capped:
            amount = min(amount, leg.amount)
        levels = listing.asks if leg.side is Side.BUY else listing.bids
        if quantity is not None:
            levels = _first(levels, quantity)
        out, taken = sweep(leg.side, amount, levels, listing.market)
        price = None
        if out > ZERO and taken > ZERO:
            price = plain(short_number(taken / out if leg.side is Side.BUY else out / taken))
        marks[str(index)] = {"bid": plain(bid), "ask": plain(ask), "sweep": price}
        target = ledger.target_of(leg)
        money[target] = money.get(target, ZERO) + out
        used[leg.source] = used.get(leg.source, ZERO) + taken
        got[leg.target] = got.get(leg.target, ZERO) + out
    worth = sum((amount * prices.get(node[2], ZERO) for node, amount in grants.items()), ZERO)
    if quantity is not None:
        worth = quantity * prices[legs[0].target if legs[0].side is Side.BUY else legs[0].source]
    net = {c: got.get(c, ZERO) - used.get(c, ZERO) for c in used.keys() | got.keys()}
    return {
        "net": {c: plain(short_number(amount)) for c, amount in sorted(net.items())},
        "prices": {c: plain(short_number(p)) for c, p in sorted(prices.items())},
        "numeraire": numeraire,
        "notional": plain(short_number(worth)),
        "marks": marks,
    }


def limit_of(market: Market, side: Side, mid: Decimal, style: Style) -> Decimal | None:
    """Return the worst price a leg may trade at; None for an algorithm that takes its limit for a signal,
    when the caller has given none."""
    if style.algo in TRIGGERED and style.max_slippage_bps is None:
        return None
    return default_limit(market, side, mid, style)


def default_limit(market: Market, side: Side, mid: Decimal, style: Style) -> Decimal:
    """Return the price this far from the mid, as asked or by default."""
    bps = style.max_slippage_bps
    if bps is None:
        bps = SLIPPAGE_MAJOR_BPS if market.base in MAJORS else SLIPPAGE_BPS
    worst = mid * (ONE + bps * BP) if side is Side.BUY else mid * (ONE - bps * BP)
    return market.passive_price(side, worst)


def _limit_before(parent: Parent, market: Market, leg: PlannedLeg, style: Style) -> Decimal | None:
    """Return the limit a market had when the parent was decided on: a new plan does not move it."""
    for old in parent.legs:
        if (old.exchange, old.account, old.symbol, old.side) == (
            leg.exchange,
            leg.account,
            leg.symbol,
            leg.side,
        ):
            return old.limit
    prices = parent.arrival.get("prices")
    if not isinstance(prices, dict) or market.base not in prices or market.quote not in prices:
        return None
    mid = Decimal(str(prices[market.base])) / Decimal(str(prices[market.quote]))
    return limit_of(market, leg.side, mid, style)


def style_of(parent: Parent) -> Style:
    return Style(
        algo=parent.algo,
        params=parent.params,
        time_limit=parent.time_limit,
        on_timeout=parent.on_timeout,
        max_slippage_bps=parent.max_slippage_bps,
    )


def grants_of(
    proposal: Proposal, amount: Decimal | None, supplies: Mapping[Node, Decimal]
) -> tuple[Grant, ...]:
    """Divide the start amount over the accounts as the plan spends it; what rounding left goes to the
    account that can still give it and spends most."""
    used = {node: spent for node, spent in proposal.spent.items() if spent > ZERO}
    rest = ZERO if amount is None else max(amount - sum(used.values(), ZERO), ZERO)
    grants = []
    for node, spent in sorted(used.items(), key=lambda pair: (-pair[1], pair[0])):
        extra = min(rest, max(supplies[node] - spent, ZERO))
        rest -= extra
        exchange, account, currency = node
        grants.append(Grant(exchange=exchange, account=account, currency=currency, amount=spent + extra))
    return tuple(grants)


def with_room(
    grants: Sequence[Grant], supplies: Mapping[Node, Decimal], legs: Sequence[Leg], style: Style
) -> tuple[Grant, ...]:
    """Grant what reaching an end amount may cost within the slippage allowed, as far as it is held."""
    bps = SLIPPAGE_BPS if style.max_slippage_bps is None else style.max_slippage_bps
    hops = max(leg.level for leg in legs) + 1
    worse = max(ONE - bps * BP, Decimal("0.5")) ** hops
    return tuple(
        replace(g, amount=min(short_number(g.amount / worse), supplies[g.exchange, g.account, g.currency]))
        for g in grants
    )


def grants_for(
    planned: Sequence[PlannedLeg], holdings: Mapping[Node, Decimal], *, capped: bool
) -> tuple[Grant, ...]:
    """Return what a portfolio's legs may take of what is held: all of it when it is to go, else what the plan
    needs beyond what its own legs bring in."""
    out: dict[Node, Decimal] = {}
    back: dict[Node, Decimal] = {}
    for leg in planned:
        source = (leg.exchange, leg.account, leg.source)
        target = (leg.exchange, leg.account, leg.target)
        out[source] = out.get(source, ZERO) + leg.spend
        back[target] = back.get(target, ZERO) + leg.receive
    grants = []
    for node, spend in sorted(out.items()):
        held = holdings.get(node, ZERO)
        amount = min(max(spend - back.get(node, ZERO), ZERO), held) if capped else held
        if amount > ZERO:
            exchange, account, currency = node
            grants.append(Grant(exchange=exchange, account=account, currency=currency, amount=amount))
    return tuple(grants)


def _first(
    levels: Sequence[tuple[Decimal, Decimal]], quantity: Decimal
) -> tuple[tuple[Decimal, Decimal], ...]:
    """Return the levels down to where this much base is there."""
    found = []
    for price, size in levels:
        found.append((price, min(size, quantity)))
        quantity -= size
        if quantity <= ZERO:
            break
    return tuple(found)


def names(legs: Iterable[Leg]) -> str:
    return ",".join(sorted({leg.exchange for leg in legs}))
