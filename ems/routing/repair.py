"""From flows to orders a venue accepts (EXECUTION.md 2.5).

Per market one order that sweeps to the worst level used, its base floored to the lot, priced exactly from
the book's own decimals. Legs are taken in the order in which money flows, and each spends what those before
it really delivered. Where money divides, the leg of the finest lot comes last and takes what flooring left
over; so a node leaves less than one such lot behind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from ems.core.instrument import ONE, ZERO, Market
from ems.core.messages import Side
from ems.routing.graph import Books, Ladder
from ems.routing.plan import Levels, Node, PlannedLeg
from ems.routing.solver import Flow

LOTS_MIN = 20  # a leg of fewer lots is mostly rounding
NOTIONAL_MIN = Decimal("1.5")  # times the venue's minimum: room for the price to move
DROPS = 10  # edges a plan may lose
CHOICES = 5  # edges tried for one of them
WORK = 400  # augmentations of all solves together: small orders get every try, huge ones a few
ENOUGH = 1.03  # what a leg is raised to, over the smallest order: the next solve splits a little differently
MATTERS = Decimal("1e-3")  # of the output: an impossible leg of less just goes
WORTH_KEEPING = Decimal("0.01")  # a small leg stays where more than this share of it would be lost without
DUST_ACCEPTED = Decimal("5e-6")  # of the output: less is not worth another solve

# The best flow without these edges and from these supplies (by node).
Again = Callable[[frozenset[int], Mapping[int, float]], Flow]
Change = tuple[int | None, Mapping[int, float] | None]  # an edge that goes, or other supplies


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounded:
    """The orders of one set of flows."""

    legs: tuple[PlannedLeg, ...]  # by level
    edges: tuple[int, ...]  # the edge of each leg
    spent: Mapping[Node, Decimal]
    received: Decimal
    illegal: tuple[int, ...]  # places in `legs` of orders no venue would accept, or that lead nowhere


class Mending:
    """Drops legs from a plan while that makes it legal, simpler or better (EXECUTION.md 2.5).

    1. While a leg is one no venue would accept, one leg goes: it, or one beside it whose money makes it
       large enough; or an account that may spend more gives way to the leg's own.
    2. A leg too small to be worth an order goes, unless its money has nowhere else to go.
    3. One of the smallest legs goes while the rounded output rises.

    After each the rest is solved again; where there is a choice, each is tried and the best result stays.
    """

    def __init__(
        self,
        books: Books,
        supplies: Mapping[Node, Decimal],
        limit: Decimal | None,
        end_currency: str,
        usd: Mapping[str, Decimal],
        min_leg: Decimal,
        starts: Mapping[int, float],
        again: Again,
    ) -> None:
        self.books = books
        self.supplies = supplies
        self.limit = limit
        self.end_currency = end_currency
        self.usd = usd
        self.min_leg = min_leg
        self.starts = starts  # what each supply may give
        self.again = again
        self.work = 0
        self.dropped: frozenset[int] = frozenset()
        self.why: dict[int, str] = {}  # dropped edge -> why

    def mend(self, flow: Flow) -> Rounded:
        """Return the orders of a flow, or of the better one without its small branches."""
        plan = self._round(flow)
        kept: set[int] = set()  # small legs that nothing can replace
        for _ in range(DROPS):
            if not plan.legs or self.work >= WORK:
                break
            worth = values(plan.legs, self.end_currency)
            by_size = sorted(range(len(plan.legs)), key=lambda place: (worth[place], plan.edges[place]))
            edges = [plan.edges[place] for place in by_size]
            if plan.illegal:
                place = next(place for place in by_size if place in plan.illegal)
                edge, why = plan.edges[place], "below the smallest order"
                choice: list[Change] = [(edge, None)]
                if worth[place] > plan.received * MATTERS:
                    choice += [(other, None) for other in edges if other != edge][: CHOICES - 1]
                    more = self._give_way(flow, plan, place)
                    choice += [(None, more)] if more else []
                found = self._best(choice, self._round(flow, strict=True).received)
            elif len(edges) < 2:
                break
            elif small := self._smallest(plan, by_size, kept):
                place, why = small
                edge = plan.edges[place]
                floor = plan.received - worth[place] * WORTH_KEEPING
                found = self._best([(edge, None)], floor, least=True)
                if found is None:
                    kept.add(edge)
                    continue
            elif Decimal(flow.received) - plan.received > plan.received * DUST_ACCEPTED:
                why = "rounding would cost more than it brings"
                found = self._best([(edge, None) for edge in edges[:CHOICES]], plan.received)
            else:
                break
            if found is None:
                break
            (gone, starts), flow, plan = found
            if gone is not None:
                self.dropped |= {gone}
                self.why[gone] = why
            self.starts = starts or self.starts
        return self._round(flow, strict=True) if plan.illegal else plan

    def _best(
        self, choice: Collection[Change], floor: Decimal, *, least: bool = False
    ) -> tuple[Change, Flow, Rounded] | None:
        """Solve with each change; return the one whose legal orders bring the most and more than `floor`.

        With `least` as much as `floor` is enough.
        """
        best: tuple[Change, Flow, Rounded] | None = None
        most = floor
        for edge, starts in choice:
            if self.work >= WORK:
                break
            dropped = self.dropped if edge is None else self.dropped | {edge}
            flow = self.again(dropped, starts or self.starts)
            self.work += len(flow.curve) + 1
            enough = least and best is None
            if flow.received < float(most) or (flow.received <= float(most) and not enough):
                continue
            plan = self._round(flow)
            brought = (self._round(flow, strict=True) if plan.illegal else plan).received
            if brought > most or (enough and brought == most):
                best, most = ((edge, starts), flow, plan), brought
        return best

    def _smallest(self, plan: Rounded, by_size: list[int], kept: set[int]) -> tuple[int, str] | None:
        """Return the smallest leg not worth an order, and why."""
        for place in by_size:
            if plan.edges[place] not in kept:
                ladder = self.books.ladders[plan.edges[place]]
                why = too_small(ladder, plan.legs[place], self.usd, self.min_leg)
                if why:
                    return place, why
        return None

    def _give_way(self, flow: Flow, plan: Rounded, place: int) -> dict[int, float] | None:
        """Return supplies that leave so much to a leg's own account that its order becomes legal.

        Only where several accounts hold the one currency and what may be spent is less than they hold.
        """
        leg, ladder = plan.legs[place], self.books.ladders[plan.edges[place]]
        at = {node: self.books.nodes[node][:2] for node in self.starts}
        mine = [node for node in self.starts if at[node] == (leg.exchange, leg.account)]
        others = {node: flow.started.get(node, 0.0) for node in self.starts if node not in mine}
        if len(mine) != 1 or not any(others.values()) or not flow.started.get(mine[0]):
            return None
        price = min([leg.price, *(level[0] for level in (ladder.listing.bids + ladder.listing.asks)[:1])])
        needed = ladder.listing.market.smallest_order(price) / leg.quantity
        spends = flow.started[mine[0]]
        wanted = spends * float(needed) * ENOUGH
        if wanted > self.starts[mine[0]]:
            return None
        giver = max(others, key=lambda node: (others[node], -node))
        left = others[giver] - (wanted - spends)
        return {**self.starts, giver: left} if left > 0 else None

    def _round(self, flow: Flow, *, strict: bool = False) -> Rounded:
        budgets = exact_budgets(self.books, flow, self.supplies, self.limit)
        used = flow.used
        while True:
            plan = carry_out(
                self.books, used, budgets, self.end_currency, supplies=self.supplies, strict=strict
            )
            if not strict or not plan.illegal:
                return plan
            lost = {plan.edges[place] for place in plan.illegal}
            used = {edge: amount for edge, amount in used.items() if edge not in lost}


def exact_budgets(
    books: Books, flow: Flow, supplies: Mapping[Node, Decimal], limit: Decimal | None
) -> dict[Node, Decimal]:
    """Return what a flow takes from each supply as decimals: never more than is held, or than the limit.

    A supply that is used up is used up exactly, and so is the limit (None: only the supplies limit).
    """
    near = Decimal("1e-9")
    budgets: dict[Node, Decimal] = {}
    parts: list[Node] = []
    for number, amount in sorted(flow.started.items()):
        node = books.nodes[number]
        held = supplies[node]
        if Decimal(amount) >= held * (1 - near):
            budgets[node] = held
        else:
            budgets[node] = Decimal(amount)
            parts.append(node)
    if limit is None:
        return budgets
    over = sum(budgets.values(), ZERO) - limit
    if budgets and (over > 0 or (parts and -over <= limit * near)):
        node = max(parts or budgets, key=lambda node: (budgets[node], node))
        budgets[node] = min(max(budgets[node] - over, ZERO), supplies[node])
    return budgets


def values(legs: Collection[PlannedLeg], end_currency: str) -> list[Decimal]:
    """Return what each leg contributes in the end currency, at the rates of the plan itself."""
    made: dict[Node, Decimal] = {}  # node -> what its legs bring in the end currency
    sent: dict[Node, Decimal] = {}
    found: list[Decimal] = []
    for leg in reversed(list(legs)):
        target = (leg.exchange, leg.account, leg.target)
        if leg.target == end_currency:
            value = leg.receive
        elif sent.get(target):
            value = leg.receive * made[target] / sent[target]
        else:
            value = ZERO
        source = (leg.exchange, leg.account, leg.source)
        made[source] = made.get(source, ZERO) + value
        sent[source] = sent.get(source, ZERO) + leg.spend
        found.append(value)
    return found[::-1]


def carry_out(
    books: Books,
    flows: Mapping[int, float],
    budgets: Mapping[Node, Decimal],
    end_currency: str,
    *,
    supplies: Mapping[Node, Decimal] | None = None,
    strict: bool = False,
) -> Rounded:
    """Turn each edge's flow into one order, in the order in which money flows.

    `budgets` is what is to be spent where, exactly; what rounding leaves of one is added to the next of the
    same currency as far as `supplies` allow, the account of the coarsest lots first. With `strict` an order
    no venue would accept is left away and its money goes on to the next leg of the same node; otherwise it
    is kept and reported. A leg whose proceeds nobody can spend is reported either way.
    """
    branches: dict[int, list[int]] = {}
    for edge in flows:
        branches.setdefault(books.tails[edge], []).append(edge)
    have: dict[int, Decimal] = {books.ids[node]: amount for node, amount in budgets.items() if amount > 0}
    given = dict(have)
    spent: dict[Node, Decimal] = {}
    depth = dict.fromkeys(have, 0)
    held = {books.ids[node]: amount for node, amount in (supplies or budgets).items() if node in books.ids}
    over: dict[str, Decimal] = {}  # currency -> what accounts before could not spend
    received = ZERO
    found: list[tuple[int, int, PlannedLeg]] = []  # (level, edge, leg)
    illegal: set[int] = set()
    for node in _order_of_money(books, branches):
        budget = have.get(node, ZERO)
        if budget <= ZERO:
            continue
        currency = books.nodes[node][2]
        if node in given:
            more = min(over.get(currency, ZERO), held[node] - given[node])
            if more > ZERO:
                over[currency] -= more
                given[node] += more
                budget += more
        left, paid = budget, ZERO
        level = depth[node]
        whole = sum(flows[edge] for edge in branches[node])
        edges = sorted(branches[node], key=lambda edge: (-_lot_value(books.ladders[edge]), edge))
        for edge in edges:
            ladder = books.ladders[edge]
            last = edge == edges[-1]
            share = left if last else min(left, budget * Decimal(flows[edge] / whole))
            leg = sweep(ladder, share, level)
            if leg is None:
                continue
            if not acceptable(ladder, leg):
                if strict:
                    continue
                illegal.add(edge)
            left -= leg.spend
            paid += leg.spend
            found.append((level, edge, leg))
            head = books.heads[edge]
            if ladder.target == end_currency:
                received += leg.receive
            else:
                have[head] = have.get(head, ZERO) + leg.receive
                depth[head] = max(depth.get(head, 0), level + 1)
        if node in given:
            # What arrived on top of the supply is spent first.
            arrived = budget - given[node]
            spent[books.nodes[node]] = max(paid - arrived, ZERO) if arrived else paid
            over[currency] = over.get(currency, ZERO) + left
    found.sort(key=lambda item: (item[0], item[1]))
    legs = tuple(leg for _, _, leg in found)
    worth = values(legs, end_currency)
    illegal.update(edge for (_, edge, _), value in zip(found, worth, strict=True) if not value)
    return Rounded(
        legs=legs,
        edges=tuple(edge for _, edge, _ in found),
        spent={node: amount for node, amount in spent.items() if amount > 0},
        received=received,
        illegal=tuple(place for place, (_, edge, _) in enumerate(found) if edge in illegal),
    )


def _order_of_money(books: Books, branches: Mapping[int, list[int]]) -> list[int]:
    """Return the nodes money leaves, each after all that send to it, those of coarser lots first.

    A circle is entered at its first node.
    """
    senders: dict[int, int] = dict.fromkeys(branches, 0)
    for edges in branches.values():
        for edge in edges:
            if books.heads[edge] in senders:
                senders[books.heads[edge]] += 1
    order: list[int] = []
    waiting = set(senders)
    while waiting:
        free = [node for node in waiting if not senders[node]]
        finest = {node: min(_lot_value(books.ladders[edge]) for edge in branches[node]) for node in free}
        for node in sorted(free, key=lambda node: (-finest[node], node)) or [min(waiting)]:
            waiting.discard(node)
            order.append(node)
            for edge in branches[node]:
                if books.heads[edge] in waiting:
                    senders[books.heads[edge]] -= 1
    return order


def _lot_value(ladder: Ladder) -> Decimal:
    """Return about what one lot is worth in the source currency."""
    lot = ladder.listing.market.lot
    return lot * ladder.levels[0][0] if ladder.side is Side.BUY else lot


def sweep(ladder: Ladder, budget: Decimal, level: int = 0) -> PlannedLeg | None:
    """Return the largest order `budget` pays for at once, or None where it is not one lot.

    Exact: fees and prices are the decimals of the market and its book.
    """
    market, side = ladder.listing.market, ladder.side
    quantity = market.floor_quantity(_affordable(market, side, ladder.levels, budget))
    if quantity <= ZERO:
        return None
    spend, receive, worst = _cost(market, side, ladder.levels, quantity)
    return PlannedLeg(
        exchange=ladder.listing.exchange,
        account=ladder.listing.account,
        symbol=market.symbol,
        side=side,
        source=ladder.source,
        target=ladder.target,
        quantity=quantity,
        price=worst,
        spend=spend,
        receive=receive,
        level=level,
    )


def _affordable(market: Market, side: Side, levels: Levels, budget: Decimal) -> Decimal:
    """Return how much base `budget` of the source currency sweeps, before rounding."""
    fee = market.taker_fee
    if side is Side.SELL:
        wanted = budget / (ONE + fee) if market.fee_mode == "base" else budget
        shown = ZERO
        for _, quantity in levels:
            shown += quantity
            if shown >= wanted:
                return wanted
        return shown
    factor = ONE + fee if market.fee_mode == "quote" else ONE
    total, left = ZERO, budget
    for price, quantity in levels:
        unit = price * factor
        if unit * quantity >= left:
            return total + left / unit
        total += quantity
        left -= unit * quantity
    return total


def _cost(market: Market, side: Side, levels: Levels, quantity: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """Return (spend, receive, worst price) of sweeping `quantity` base, fee included."""
    quote, left, worst = ZERO, quantity, ZERO
    for price, shown in levels:
        taken = min(shown, left)
        if taken <= ZERO:
            continue
        quote += price * taken
        worst = price
        left -= taken
        if left <= ZERO:
            break
    fee, mode = market.taker_fee, market.fee_mode
    if side is Side.BUY:
        if mode == "quote":
            return quote * (ONE + fee), quantity, worst
        return quote, quantity * (ONE - fee), worst
    if mode == "base":
        return quantity * (ONE + fee), quote, worst
    return quantity, quote * (ONE - fee), worst


def acceptable(ladder: Ladder, leg: PlannedLeg) -> bool:
    """Say whether the venue takes this order, at the worse of its limit and the mid.

    More than the venue's largest order is no fault: whoever works the leg splits it.
    """
    listing, market = ladder.listing, ladder.listing.market
    price = leg.price
    if listing.bids and listing.asks:
        price = min(price, (listing.bids[0][0] + listing.asks[0][0]) / 2)
    quantity = leg.quantity
    if market.max_quantity is not None:
        quantity = min(quantity, market.max_quantity)
    return market.order_ok(quantity, price)


def too_small(ladder: Ladder, leg: PlannedLeg, usd: Mapping[str, Decimal], min_leg: Decimal) -> str:
    """Say why a leg is not worth an order of its own, or nothing."""
    market = ladder.listing.market
    if leg.quantity < LOTS_MIN * market.lot:
        return f"fewer than {LOTS_MIN} lots"
    if leg.quantity * leg.price < NOTIONAL_MIN * market.min_notional:
        return f"below {NOTIONAL_MIN} times the smallest order"
    if leg.source in usd:
        value = leg.spend * usd[leg.source]
    elif leg.target in usd:
        value = leg.receive * usd[leg.target]
    else:
        return ""
    return f"worth less than {min_leg} USD" if value < min_leg else ""
