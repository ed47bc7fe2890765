"""From flows to orders: legs of whole lots in the order in which money flows (EXECUTION.md 5.2).

Amounts are exact. A leg takes the displayed levels from the best on, pays its fee as the market charges it,
and never spends more than is held and has come in. Accounts of one exchange share its displayed depth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from ems.core.messages import Side
from ems.routing.plan import Levels, Listing, Node, PlannedLeg

ZERO = Decimal(0)
Depth = dict[tuple[str, str, Side], Decimal]  # (exchange, symbol, side) -> base already spoken for


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What one market should do before rounding."""

    number: int  # of the edge it comes from
    listing: Listing
    side: Side
    quantity: Decimal  # base

    @property
    def source(self) -> Node:
        market = self.listing.market
        currency = market.base if self.side is Side.SELL else market.quote
        return (self.listing.exchange, self.listing.account, currency)

    @property
    def target(self) -> Node:
        market = self.listing.market
        currency = market.quote if self.side is Side.SELL else market.base
        return (self.listing.exchange, self.listing.account, currency)


def round_legs(
    wishes: Sequence[Wish], spendable: Mapping[Node, Decimal], emptied: Collection[Node]
) -> tuple[tuple[PlannedLeg, ...], list[int]]:
    """Return the legs by level, and the numbers of the wishes no venue would accept as an order.

    `emptied` are nodes of which nothing is to stay: their last leg takes what the others' rounding left.
    """
    legs: list[PlannedLeg] = []
    refused: list[int] = []
    left = dict(spendable)
    depth: Depth = {}
    leaving: dict[Node, list[Wish]] = {}
    for wish in wishes:
        leaving.setdefault(wish.source, []).append(wish)
    for node in _downstream(wishes):
        # The largest last: it feels least what the rounding of the legs before it took away.
        here = sorted(leaving.get(node, ()), key=lambda w: (_size(w), w.listing.market.symbol, w.side))
        for wish in here:
            last = wish is here[-1] and node in emptied
            leg = sweep_leg(
                wish.listing, wish.side, None if last else wish.quantity, left.get(node, ZERO), depth
            )
            if leg is None:
                refused.append(wish.number)
                continue
            left[node] = left.get(node, ZERO) - leg.spend
            left[wish.target] = left.get(wish.target, ZERO) + leg.receive
            legs.append(leg)
    return in_funding_order(legs, spendable), refused


def _size(wish: Wish) -> Decimal:
    """Return what the wish spends, near enough to tell large from small."""
    if wish.side is Side.SELL or not wish.listing.asks:
        return wish.quantity
    return wish.quantity * wish.listing.asks[0][0]


def _downstream(wishes: Sequence[Wish]) -> list[Node]:
    """Return the nodes so that money flows from earlier to later ones."""
    targets: dict[Node, set[Node]] = {}
    waiting: dict[Node, int] = {}
    for wish in wishes:
        waiting.setdefault(wish.source, 0)
        waiting.setdefault(wish.target, 0)
        if wish.target not in targets.setdefault(wish.source, set()):
            targets[wish.source].add(wish.target)
            waiting[wish.target] += 1
    order: list[Node] = []
    while waiting:
        # Flow in circles is cancelled before; were there any, the first node in name would open it.
        ready = sorted(node for node, count in waiting.items() if count == 0) or sorted(waiting)[:1]
        for node in ready:
            del waiting[node]
            order.append(node)
            for target in targets.get(node, ()):
                if target in waiting:
                    waiting[target] -= 1
    return order


def sweep_leg(
    listing: Listing, side: Side, quantity: Decimal | None, budget: Decimal, depth: Depth
) -> PlannedLeg | None:
    """Return the leg that takes `quantity` at once, or all that `budget` of the source allows where None.

    What other legs have taken of the book is passed over, and what this one takes is noted in `depth`. None
    where the venue would not accept the order.
    """
    market = listing.market
    fee = market.taker_fee
    levels = _beyond(
        listing.bids if side is Side.SELL else listing.asks, depth.get(_key(listing, side), ZERO)
    )
    if side is Side.SELL:
        on_top = 1 + fee if market.fee_mode == "base" else Decimal(1)
        possible = budget / on_top
    else:
        on_top = 1 + fee if market.fee_mode == "quote" else Decimal(1)
        possible = affordable(levels, budget / on_top)
    lots = market.floor_quantity(possible if quantity is None else min(possible, quantity))
    if lots <= 0:
        return None
    taken, notional, worst = take(levels, lots)
    if taken < lots:
        lots = market.floor_quantity(taken)
        taken, notional, worst = take(levels, lots)
    mid = (listing.bids[0][0] + listing.asks[0][0]) / 2 if listing.bids and listing.asks else worst
    if not market.order_ok(lots, min(worst, mid)) and not _split_ok(listing, lots, min(worst, mid)):
        return None
    depth[_key(listing, side)] = depth.get(_key(listing, side), ZERO) + lots
    if side is Side.SELL:
        source, target = market.base, market.quote
        spend = lots * on_top
        receive = notional if market.fee_mode == "base" else notional * (1 - fee)
    else:
        source, target = market.quote, market.base
        spend = notional * on_top
        receive = lots if market.fee_mode == "quote" else lots * (1 - fee)
    return PlannedLeg(
        exchange=listing.exchange,
        account=listing.account,
        symbol=market.symbol,
        side=side,
        source=source,
        target=target,
        quantity=lots,
        price=worst,
        spend=spend,
        receive=receive,
    )


def _key(listing: Listing, side: Side) -> tuple[str, str, Side]:
    return (listing.exchange, listing.market.symbol, side)


def _split_ok(listing: Listing, quantity: Decimal, price: Decimal) -> bool:
    """Say whether a quantity above the venue's largest order could be sent as several."""
    largest = listing.market.max_quantity
    return largest is not None and quantity > largest and listing.market.order_ok(largest, price)


def _beyond(levels: Levels, skip: Decimal) -> Levels:
    """Return the levels without the first `skip` base units."""
    if skip <= 0:
        return levels
    for number, (price, quantity) in enumerate(levels):
        if quantity > skip:
            return ((price, quantity - skip), *levels[number + 1 :])
        skip -= quantity
    return ()


def take(levels: Levels, quantity: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """Return (taken, notional, worst price) of taking `quantity` base units at once."""
    left = quantity
    notional = worst = ZERO
    for price, shown in levels:
        if left <= 0:
            break
        part = min(left, shown)
        notional += part * price
        worst = price
        left -= part
    return quantity - left, notional, worst


def affordable(levels: Levels, budget: Decimal) -> Decimal:
    """Return how many base units `budget` quote pays for, fees aside."""
    quantity = ZERO
    for price, shown in levels:
        if budget <= price * shown:
            return quantity + max(budget, ZERO) / price
        budget -= price * shown
        quantity += shown
    return quantity


def in_funding_order(legs: Iterable[PlannedLeg], spendable: Mapping[Node, Decimal]) -> tuple[PlannedLeg, ...]:
    """Return the legs with their levels, sorted by them: 0 is paid from what is held, n from lower ones.

    `legs` come with the legs that fund a leg before it. At each node what is held pays for the largest
    legs first, so that as much as possible starts at once.
    """
    legs = list(legs)
    leaving: dict[Node, list[int]] = {}
    entering: dict[Node, list[int]] = {}
    for number, leg in enumerate(legs):
        leaving.setdefault((leg.exchange, leg.account, leg.source), []).append(number)
        entering.setdefault((leg.exchange, leg.account, leg.target), []).append(number)
    levels: dict[int, int] = {}
    for number, leg in enumerate(legs):
        if number in levels:
            continue
        node = (leg.exchange, leg.account, leg.source)
        held = spendable.get(node, ZERO)
        later = 1 + max((levels[other] for other in entering.get(node, ()) if other in levels), default=-1)
        for other in sorted(leaving[node], key=lambda n: (-legs[n].spend, legs[n].symbol, legs[n].side)):
            if legs[other].spend <= held:
                held -= legs[other].spend
                levels[other] = 0
            else:
                levels[other] = later
    placed = [replace(leg, level=levels[number]) for number, leg in enumerate(legs)]
    return tuple(sorted(placed, key=lambda leg: (leg.level, leg.exchange, leg.account, leg.symbol, leg.side)))


def carry_out(
    legs: Iterable[PlannedLeg], listings: Iterable[Listing], holdings: Mapping[Node, Decimal]
) -> dict[Node, Decimal]:
    """Return what would be held after the legs, in their order, had swept today's books.

    A leg buys or sells its quantity as far as money and books reach; one that its venue would refuse, or
    whose market is gone or halted, does nothing.
    """
    found = {
        (listing.exchange, listing.account, listing.market.symbol): listing
        for listing in listings
        if listing.market.active
    }
    held = dict(holdings)
    depth: Depth = {}
    for planned in legs:
        listing = found.get((planned.exchange, planned.account, planned.symbol))
        if listing is None:
            continue
        source = (planned.exchange, planned.account, planned.source)
        target = (planned.exchange, planned.account, planned.target)
        leg = sweep_leg(listing, planned.side, planned.quantity, held.get(source, ZERO), depth)
        if leg is not None:
            held[source] = held.get(source, ZERO) - leg.spend
            held[target] = held.get(target, ZERO) + leg.receive
    return held
