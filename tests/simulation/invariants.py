"""What must hold at the end of every seed: I1-I9 of RELIABILITY.md D, each judged against the venue's own
truth."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from ems.algos.ledger import received, spent
from ems.core import errors
from ems.core.messages import (
    EditOrder,
    LimitOrder,
    Liquidate,
    MarketOrder,
    PlaceOrder,
    Problem,
    SmartOrder,
)
from ems.core.order import fold
from ems.core.records import ENDED, ENDED_PARENT, Order, Phase, Query, QueryStatus, Status
from ems.core.triggers import met
from tests.simulation.clock import START
from tests.simulation.halting import broken_halts
from tests.simulation.venue import Venue
from tests.simulation.world import DEPOSITS, MARK, Violation, World

ZERO = Decimal(0)


def check(world: World) -> None:
    """Raise Violation naming the first invariant that does not hold."""
    for venue in world.venues:
        _one_order_per_intent(world, venue)
        _fills_agree(world, venue)
        _nothing_untracked(world, venue)
        _balances_agree(world, venue)
        _require(
            "I2", not venue.exchange.imbalance(), f"the simulator itself lost money: {venue.exchange.name}"
        )
    _require("I2", not world.overlooked, f"fills not noticed in time: {world.overlooked}")
    _require("G", not world.unguarded, f"not guarded: {world.unguarded}")
    _crosses_have_two_sides(world)
    _require("T", not world.waited_too_long, f"not done in time: {world.waited_too_long}")
    _lifecycles(world)
    _only_when_met(world)
    _ended_as_asked(world)
    _edits_hold(world)
    _attached_hold(world)
    _require("H", not (broken := broken_halts(world)), "; ".join(broken[:3]))
    _within_what_was_asked(world)
    _answers_repeat(world)
    _everything_ended(world)
    _memory_is_empty(world)


def _require(name: str, holds: bool, what: str) -> None:
    if not holds:
        raise Violation(f"{name}: {what}")


def _ours(world: World, venue: Venue) -> dict[str, Order]:
    return {o.client_order_id: o for o in world.disk.orders.values() if o.exchange == venue.exchange.name}


def _one_order_per_intent(world: World, venue: Venue) -> None:
    """I1: at most one venue order per intent, and none without an intent on disk."""
    for client_id, count in venue.creates.items():
        _require("I1", count == 1, f"{count} orders at {venue.exchange.name} for one intent {client_id}")
    ours = _ours(world, venue)
    for order in venue.account.orders.values():
        if order.client_order_id.replace("-", "").startswith(MARK):
            _require(
                "I1", order.client_order_id in ours, f"venue order {order.client_order_id} without intent"
            )


def _fills_agree(world: World, venue: Venue) -> None:
    """I2: our fills are the venue's, per order: ids, quantities, prices, fees, fee currencies."""
    ours = _ours(world, venue)
    for order in venue.account.orders.values():
        mine = ours[order.client_order_id]
        theirs = sorted((str(f.trade_id), f.price, f.quantity, f.fee, f.fee_currency) for f in order.fills)
        booked = sorted(
            (f.fill_id, f.price, f.quantity, f.fee, f.fee_currency) for f in world.disk.fills([mine.order_id])
        )
        _require("I2", theirs == booked, f"{mine.order_id}: venue fills {theirs}, ours {booked}")
        _require(
            "I2", mine.filled_quantity == order.filled_quantity, f"{mine.order_id}: filled quantities differ"
        )


def _nothing_untracked(world: World, venue: Venue) -> None:
    """I3: no order is open at the venue that we do not track as open."""
    ours = _ours(world, venue)
    for order in venue.exchange.open_orders(venue.account):
        mine = ours.get(order.client_order_id)
        _require(
            "I3",
            mine is not None and mine.phase is not Phase.SETTLED,
            f"{venue.exchange.name} has {order.client_order_id} open; ours: {mine and mine.status}",
        )


def _balances_agree(world: World, venue: Venue) -> None:
    """I2: start + deposits and withdrawals + our fills = the venue's balances, to the last unit."""
    name = venue.exchange.name
    expected = dict(DEPOSITS)
    for (exchange, currency), amount in world.foreign.items():
        if exchange == name:
            expected[currency] = expected.get(currency, ZERO) + amount
    for fill in world.disk.fill_rows.values():
        if fill.exchange != name:
            continue
        base, quote = fill.symbol.split("/")
        sign = 1 if fill.side == "buy" else -1
        expected[base] = expected.get(base, ZERO) + sign * fill.quantity
        expected[quote] = expected.get(quote, ZERO) - sign * fill.quantity * fill.price
        expected[fill.fee_currency] = expected.get(fill.fee_currency, ZERO) - fill.fee
    actual = {c: free + used for c, (free, used) in venue.exchange.balances(venue.account).items()}
    for currency in expected.keys() | actual.keys():
        _require(
            "I2",
            expected.get(currency, ZERO) == actual.get(currency, ZERO),
            f"{name} {currency}: ours {expected.get(currency)}, venue {actual.get(currency)}",
        )


def _crosses_have_two_sides(world: World) -> None:
    """What met inside: as much was bought as sold, at one price, by two bots, and no exchange knows of it."""
    crosses: dict[str, list[Order]] = {}
    for order in world.disk.orders.values():
        if order.cross_id is not None:
            crosses.setdefault(order.cross_id, []).append(order)
    known = {order.client_order_id for venue in world.venues for order in venue.account.orders.values()}
    for cross_id, sides in crosses.items():
        _require("X", sorted(o.side for o in sides) == ["buy", "sell"], f"{cross_id}: {len(sides)} sides")
        _require("X", sides[0].bot != sides[1].bot, f"{cross_id}: a bot met itself")
        booked = [world.disk.fills([o.order_id]) for o in sides]
        told = [[(f.fill_id, f.price, f.quantity, f.fee) for f in fills] for fills in booked]
        _require("X", len(told[0]) == 1 and told[0] == told[1], f"{cross_id}: {told}")
        for order in sides:
            _require("X", order.filled_quantity == order.quantity, f"{order.order_id} is not whole")
            _require("X", order.client_order_id not in known, f"{order.order_id} went to the exchange")


def _lifecycles(world: World) -> None:
    """I4, I6, I8: each order is the fold of a gap-free history; ended orders hold no reservation."""
    for order in world.disk.orders.values():
        history = world.disk.history(order.order_id)
        versions = [entry.version for entry in history]
        _require("I8", versions == list(range(order.version + 1)), f"{order.order_id}: versions {versions}")
        times = [entry.timestamp for entry in history]
        _require("I8", times == sorted(times), f"{order.order_id}: history out of order")
        _require("I4", fold(history) == order, f"{order.order_id} is not the fold of its history")
        if order.status in ENDED:
            _require(
                "I6", order.reserved == ZERO, f"{order.order_id}: ended and still reserves {order.reserved}"
            )
            _require("I4", order.closed_at is not None, f"{order.order_id}: ended without closed_at")


def _within_what_was_asked(world: World) -> None:
    """I5: nothing executed beyond what its query asked for; the guards were never needed."""
    commands = {}
    for ask in world.asks:
        if isinstance(ask.answer, Query):
            commands[ask.answer.query_id] = ask.command
    for query in world.disk.queries.values():
        orders = world.disk.orders_of_query(query.query_id)
        _require(
            "I5",
            query.error is None or query.error.code != errors.INTERNAL_ERROR,
            f"{query.query_id}: {query.error and query.error.message}",
        )
        command = commands.get(query.query_id)
        if isinstance(command, MarketOrder | LimitOrder | PlaceOrder):
            filled = sum((o.filled_quantity for o in orders if o.purpose == "direct"), ZERO)
            most = max([command.quantity, *_edited_to(world, query)])
            _require("I5", filled <= most, f"{query.query_id}: filled {filled} of {most}")
        elif isinstance(command, SmartOrder):
            net = _net(orders)
            gone, came = -net.get(command.start_currency, ZERO), net.get(command.end_currency, ZERO)
            if isinstance(command.start_amount, Decimal):
                _require(
                    "I5",
                    gone <= command.start_amount,
                    f"{query.query_id}: spent {gone} of {command.start_amount}",
                )
            for (exchange, currency), moved in _net_by_exchange(orders).items():
                if currency != command.start_currency:
                    what = (
                        f"{query.query_id}: took {-moved} {currency} of {exchange} that it had not brought in"
                    )
                    _require("I5", moved >= ZERO, what)
            if command.end_amount is not None:
                most = command.end_amount * Decimal("1.01") + Decimal("0.001")
                _require("I5", came <= most, f"{query.query_id}: {came} came in of {command.end_amount}")
        elif isinstance(command, Liquidate):
            for currency in command.exclude:
                out = -_net(orders).get(currency, ZERO)
                _require("I5", out <= ZERO, f"{query.query_id}: sold {out} {currency}, which was excluded")


def _edited_to(world: World, query: Query) -> list[Decimal]:
    """Return the whole quantities that a plain order was asked to have since."""
    return [
        ask.command.quantity
        for ask in world.asks
        if isinstance(ask.command, EditOrder)
        and ask.command.client_order_id == query.idempotency_key
        and ask.command.quantity is not None
    ]


SEEN_S = 8.0  # how old the book may be that an order was sent by: its age, its way to us, and a batch


def _only_when_met(world: World) -> None:
    """T1: what waits with us is sent by a price that there was, and never before."""
    for order in world.disk.orders.values():
        if not order.emulated or order.sent_at is None:
            continue
        sent_s = (order.sent_at - START).total_seconds()
        history = world.middles[order.exchange, order.symbol]
        near = [middle for at, middle in history if sent_s - SEEN_S <= at <= sent_s]
        assert order.stop_price is not None
        _require(
            "T1",
            any(met(order.order_type, order.side, order.stop_price, middle) for middle in near),
            f"{order.order_id} ({order.order_type} to {order.side} at {order.stop_price}) was sent at {near}",
        )


def _ended_as_asked(world: World) -> None:
    """T2: what we took down because its time was over is expired, not canceled."""
    for order in world.disk.orders.values():
        kinds = [entry.report["kind"] for entry in world.disk.history(order.order_id)]
        if "ask_expire" in kinds and order.status in (Status.CANCELED, Status.EXPIRED):
            _require("T2", order.status is Status.EXPIRED, f"{order.order_id} is {order.status}")


def _edits_hold(world: World) -> None:
    """E: an order has the terms the venue knows, and what follows an order never exceeds what was asked."""
    for venue in world.venues:
        ours = _ours(world, venue)
        for theirs in venue.account.orders.values():
            mine = ours[theirs.client_order_id]
            price = mine.protection_price if mine.price is None else mine.price
            same = mine.quantity == theirs.quantity and price == theirs.price
            _require("E", same or mine.edit is not None, f"{mine.order_id}: other terms than the venue's")
    for query in world.disk.queries.values():
        if query.verb != "edit_order" or query.status is not QueryStatus.DONE or query.result is None:
            continue
        wanted = query.parameters.get("quantity")
        new = world.disk.orders.get(str(query.result.get("order_id")))
        if wanted is None or new is None or new.replaces is None:
            continue
        old = world.disk.orders[new.replaces]
        total = old.filled_quantity + new.filled_quantity
        most = max(Decimal(str(wanted)), old.filled_quantity)
        _require("E", total <= most, f"{old.order_id} and what replaced it filled {total} of {most}")


def _attached_hold(world: World) -> None:
    """A: what is attached trades no more than its entry brought, and never two of it are out at once."""
    for parent in world.disk.parents.values():
        if parent.goal.get("kind") != "attached":
            continue
        orders = world.disk.orders_of_query(parent.query_id)
        base = parent.legs[0].source
        exits = [o for o in orders if o.parent_id == parent.parent_id]
        came = received([o for o in orders if o.parent_id != parent.parent_id], base)
        gone = spent(exits, base)
        _require("A", gone <= came, f"{parent.parent_id}: sold {gone} {base} of {came}")
        out = sorted((o for o in exits if o.sent_at is not None), key=lambda o: o.sent_at)
        for before, after in pairwise(out):
            what = f"{after.order_id} was sent while {before.order_id} was out"
            _require("A", before.closed_at is not None and before.closed_at <= after.sent_at, what)


def _net_by_exchange(orders: list[Order]) -> dict[tuple[str, str], Decimal]:
    """Return the same for each exchange: nothing moves between accounts."""
    return {
        (exchange, currency): moved
        for exchange in {o.exchange for o in orders}
        for currency, moved in _net([o for o in orders if o.exchange == exchange]).items()
    }


def _net(orders: list[Order]) -> dict[str, Decimal]:
    """Return what the orders moved: currency -> in (+) or out (-), fees included."""
    net: dict[str, Decimal] = {}
    for order in orders:
        base, quote = order.symbol.split("/")
        sign = 1 if order.side == "buy" else -1
        net[base] = net.get(base, ZERO) + sign * order.filled_quantity
        net[quote] = net.get(quote, ZERO) - sign * order.quote_filled
        for currency, fee in order.fees.items():
            net[currency] = net.get(currency, ZERO) - fee
    return net


def _answers_repeat(world: World) -> None:
    """I7: an accepted request, asked again with its key, is answered with the same query."""
    for ask in world.asks:
        key = ask.ticket.idempotency_key
        bound = [q for q in world.disk.queries.values() if q.idempotency_key == key]
        _require("I7", len(bound) <= 1, f"{key} started {len(bound)} queries")
        if isinstance(ask.answer, Query) and not bound:
            raise Violation(f"I7: {key} was accepted as {ask.answer.query_id} and is not on disk")
        if bound and isinstance(ask.answer, Query):
            _require("I7", bound[0].query_id == ask.answer.query_id, f"{key}: answered with another query")
            _require("I7", bound[0].body_digest == ask.ticket.body_digest, f"{key}: another body")


def _everything_ended(world: World) -> None:
    """I9: once the faults are over, everything resolves in time."""
    for ask in world.asks:
        settled = isinstance(ask.answer, Query) or (isinstance(ask.answer, Problem))
        _require("I9", settled, f"{ask.ticket.idempotency_key} was never answered")
    for query in world.working():
        _require("I9", False, f"{query.query_id} ({query.verb}) still works")
    for parent in world.disk.parents.values():
        _require("I9", parent.state in ENDED_PARENT, f"{parent.parent_id} is {parent.state}")
    for order in world.disk.orders.values():
        _require("I9", order.phase is Phase.SETTLED, f"{order.order_id} is {order.status}/{order.phase}")


def _memory_is_empty(world: World) -> None:
    """What ended long ago is in the store and nowhere else."""
    if world.ended is None or world.process is None:
        return
    work = world.process.runner.engine.work
    kept = {
        name: len(getattr(work, name))
        for name in (
            "queries",
            "parents",
            "children",
            "fills",
            "runs",
            "orders_of",
            "parents_of",
            "by_client_id",
            "by_exchange_id",
            "keys",
            "digests",
            "called_back",
        )
    }
    _require("I9", not any(kept.values()), f"still in memory long after: {kept}")
