"""What a parent has spent and received, derived from its orders: never a second counter.

A parent's money lies in nodes: (exchange, account, currency). A node is fed by a grant and by what the legs
into it really received; the legs leaving it divide that in the proportion in which they were planned. Only
the current generation of legs counts: what older ones did went into the grants when they were made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from ems.core.child import exposure
from ems.core.instrument import Market
from ems.core.messages import Side
from ems.core.records import Grant, Leg, Order, Parent, Phase

ZERO = Decimal(0)

Node = tuple[str, str, str]  # (exchange, account, currency)


def source_of(leg: Leg) -> Node:
    return leg.exchange, leg.account, leg.source


def target_of(leg: Leg) -> Node:
    return leg.exchange, leg.account, leg.target


def spent(orders: Iterable[Order], currency: str) -> Decimal:
    """Return how much of a leg's source currency is gone, fees in that currency included."""
    total = ZERO
    for order in orders:
        total += order.quote_filled if order.side is Side.BUY else order.filled_quantity
        total += order.fees.get(currency, ZERO)
    return total


def received(orders: Iterable[Order], currency: str) -> Decimal:
    """Return how much of a leg's target currency came in, net of fees in that currency."""
    total = ZERO
    for order in orders:
        total += order.filled_quantity if order.side is Side.BUY else order.quote_filled
        total -= order.fees.get(currency, ZERO)
    return total


def by_leg(parent: Parent, orders: Iterable[Order]) -> list[list[Order]]:
    """Return the orders of each leg, oldest first."""
    own: list[list[Order]] = [[] for _ in parent.legs]
    for order in orders:
        own[order.leg].append(order)
    return own


def current(parent: Parent) -> list[int]:
    """Return the places of the legs of the current generation."""
    return [i for i, leg in enumerate(parent.legs) if leg.generation == parent.generation]


def granted(parent: Parent, node: Node) -> Decimal:
    exchange, account, currency = node
    return sum(
        (
            g.amount
            for g in parent.grants
            if (g.exchange, g.account, g.currency) == (exchange, account, currency)
        ),
        ZERO,
    )


def fees_outside(parent: Parent, own: Sequence[Sequence[Order]], node: Node) -> Decimal:
    """Return the fees that legs neither leaving a node nor leading into it have paid out of it."""
    total = ZERO
    for i in current(parent):
        leg = parent.legs[i]
        if (leg.exchange, leg.account) == node[:2] and node[2] not in (leg.source, leg.target):
            total += sum((order.fees.get(node[2], ZERO) for order in own[i]), ZERO)
    return total


def inflow(parent: Parent, own: Sequence[Sequence[Order]], node: Node) -> Decimal:
    """Return what has come into a node so far: its grant, and what legs into it really received."""
    total = granted(parent, node) - fees_outside(parent, own, node)
    for i in current(parent):
        leg = parent.legs[i]
        if target_of(leg) == node:
            total += received(own[i], leg.target)
    return total


def expected(parent: Parent, own: Sequence[Sequence[Order]], node: Node) -> Decimal:
    """Return what is to come into a node in all: legs still open are believed to bring what was planned."""
    total = granted(parent, node) - fees_outside(parent, own, node)
    for i in current(parent):
        leg = parent.legs[i]
        if target_of(leg) == node:
            got = received(own[i], leg.target)
            total += got if leg.closed_at is not None else max(got, leg.receive)
    return total


def feeds(parent: Parent, own: Sequence[Sequence[Order]], index: int) -> bool:
    """Say whether other legs may still bring money to this one."""
    node = source_of(parent.legs[index])
    return any(
        target_of(parent.legs[i]) == node
        and (parent.legs[i].closed_at is None or any(o.phase is not Phase.SETTLED for o in own[i]))
        for i in current(parent)
    )


def allotment(parent: Parent, index: int, money: Decimal) -> Decimal:
    """Return a leg's part of its node's money; the last leg has what the others leave, so nothing is lost or
    given twice."""
    leg = parent.legs[index]
    node = source_of(leg)
    siblings = [i for i in current(parent) if source_of(parent.legs[i]) == node]
    planned = sum((parent.legs[i].amount for i in siblings), ZERO)
    if len(siblings) == 1 or planned <= ZERO:
        part = money if index == siblings[-1] else ZERO
    elif index == siblings[-1]:
        part = money - sum((money * parent.legs[i].amount / planned for i in siblings[:-1]), ZERO)
    else:
        part = money * leg.amount / planned
    part = max(part, ZERO)
    return min(part, leg.amount) if leg.capped else part


def budget(parent: Parent, own: Sequence[Sequence[Order]], index: int) -> Decimal:
    """Return what a leg may still spend of its source currency, open orders not deducted."""
    leg = parent.legs[index]
    money = inflow(parent, own, source_of(leg))
    return allotment(parent, index, money) - spent(own[index], leg.source)


def whole(parent: Parent, own: Sequence[Sequence[Order]], index: int) -> Decimal:
    """Return what a leg is to spend in all, what it has spent included."""
    leg = parent.legs[index]
    return allotment(parent, index, expected(parent, own, source_of(leg)))


def committed(orders: Iterable[Order]) -> Decimal:
    """Return what unsettled orders may still take of their source currency (unknown ones count in full)."""
    total = ZERO
    for order in orders:
        if order.phase is not Phase.SETTLED:
            share = exposure(order) / order.most if order.quantity else ZERO
            total += order.reserved * share
    return total


def pools(parent: Parent, own: Sequence[Sequence[Order]]) -> dict[Node, Decimal]:
    """Return what lies in every node of the current generation: granted, come in, and not spent."""
    nodes: dict[Node, Decimal] = {}
    for grant in parent.grants:
        node = (grant.exchange, grant.account, grant.currency)
        nodes[node] = nodes.get(node, ZERO) + grant.amount
    for i in current(parent):
        leg = parent.legs[i]
        source, target = source_of(leg), target_of(leg)
        nodes[source] = nodes.get(source, ZERO) - spent(own[i], leg.source)
        nodes[target] = nodes.get(target, ZERO) + received(own[i], leg.target)
    return {node: amount - fees_outside(parent, own, node) for node, amount in nodes.items()}


def totals(parent: Parent, own: Sequence[Sequence[Order]]) -> dict[Node, Decimal]:
    """Return what the parent as a whole, all generations, has put into (+) or taken out of (-) each node."""
    nodes: dict[Node, Decimal] = {}
    for leg, orders in zip(parent.legs, own, strict=True):
        source, target = source_of(leg), target_of(leg)
        nodes[source] = nodes.get(source, ZERO) - spent(orders, leg.source)
        nodes[target] = nodes.get(target, ZERO) + received(orders, leg.target)
    return nodes


def with_late_fill(parent: Parent, before: Order, order: Order) -> Parent:
    """Return the parent with its grants moved by what an order of an older generation has still done.

    A node that gives more than it has is granted less than nothing: its legs then spend nothing more.
    """
    leg = parent.legs[order.leg]
    gone = spent([order], leg.source) - spent([before], leg.source)
    come = received([order], leg.target) - received([before], leg.target)
    grants = list(parent.grants)
    for node, amount in ((source_of(leg), -gone), (target_of(leg), come)):
        if amount == ZERO or node[2] == parent.goal.get("end"):
            continue
        for i, grant in enumerate(grants):
            if (grant.exchange, grant.account, grant.currency) == node:
                grants[i] = replace(grant, amount=grant.amount + amount)
                break
        else:
            exchange, account, currency = node
            grants.append(Grant(exchange=exchange, account=account, currency=currency, amount=amount))
    return replace(parent, grants=tuple(grants))


def wanted(leg: Leg, market: Market, own: Sequence[Order], price: Decimal | None) -> Decimal | None:
    """Return the base quantity a leg is to trade in all, when it is to end at a quantity or at proceeds."""
    if leg.goal is None or price is None:
        return leg.quantity
    got = received(own, leg.target)
    filled = sum((o.filled_quantity for o in own), ZERO)
    missing = max(leg.goal - got, ZERO)
    if leg.side is Side.BUY:
        gain = 1 - market.taker_fee if market.fee_mode in ("received", "base") else Decimal(1)
    else:
        gain = price * (1 - market.taker_fee if market.fee_mode in ("received", "quote") else 1)
    needed = missing / gain
    lots = (needed / market.lot).to_integral_value(rounding="ROUND_CEILING")
    return filled + lots * market.lot
