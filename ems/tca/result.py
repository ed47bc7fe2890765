"""What an execution cost, and what taking at once would have cost.

The benchmark is written down at arrival, from the books on which the parent was accepted, so that it can
never be chosen afterwards. All figures are Decimal; bp is 1e-4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from ems.algos.ledger import received, spent
from ems.core.codec import plain
from ems.core.instrument import Market
from ems.core.messages import BookUpdate, Side
from ems.core.records import Hop, Order, Parent, Status
from ems.routing.chain import sweep

ZERO = Decimal(0)
BP = Decimal("0.0001")
SHOWN = Decimal("0.000000000001")  # derived figures are shown to 1e-12; amounts of money are never rounded


def arrival(
    hops: Sequence[Hop], amount: Decimal, markets: Mapping[str, Market], books: Mapping[str, BookUpdate]
) -> dict[str, object]:
    """Return the benchmark of a parent at the moment it is accepted."""
    mid_chain = Decimal(1)
    carried = amount
    taken: Decimal | None = None  # of the start amount, what the displayed books could take
    for hop in hops:
        book, market = books[hop.symbol], markets[hop.symbol]
        mid = (book.bids[0][0] + book.asks[0][0]) / 2
        mid_chain = mid_chain / mid if hop.side is Side.BUY else mid_chain * mid
        levels = book.asks if hop.side is Side.BUY else book.bids
        out, used = sweep(hop.side, carried, levels, market)
        if taken is None:
            taken = used
        carried = out
    return {
        "spent": plain(_shown(taken or ZERO)),
        "received": plain(_shown(carried)),
        "mid_rate": plain(_shown(mid_chain)),  # end currency per start currency at the mids
    }


def result(
    parent: Parent, orders: Sequence[Order], *, outcome: str, reason: str, now: datetime
) -> dict[str, object]:
    """Return what a parent achieved and cost: the body of a smart order's answer."""
    first, last = parent.hops[0], parent.hops[-1]
    spent_total = spent((o for o in orders if o.hop == 0), first.source)
    received_total = received((o for o in orders if o.hop == len(parent.hops) - 1), last.target)
    fees: dict[str, Decimal] = {}
    for order in orders:
        for currency, fee in order.fees.items():
            fees[currency] = fees.get(currency, ZERO) + fee
    dust: dict[str, str] = {}
    unspent = parent.start_amount - spent_total
    if unspent > ZERO:
        dust[first.source] = plain(unspent)
    for index, hop in enumerate(parent.hops[1:], start=1):
        left = received((o for o in orders if o.hop == index - 1), hop.source) - spent(
            (o for o in orders if o.hop == index), hop.source
        )
        if left > ZERO:
            dust[hop.source] = plain(left)
    body: dict[str, object] = {
        "exchange": parent.exchange,
        "start_currency": first.source,
        "end_currency": last.target,
        "path": [{"symbol": hop.symbol, "side": str(hop.side)} for hop in parent.hops],
        "spent": plain(spent_total),
        "received": plain(received_total),
        "average_price": _price(parent, spent_total, received_total),
        "fees": {currency: plain(fee) for currency, fee in fees.items()},
        "unspent": plain(max(unspent, ZERO)),
        "dust": dust,
        "taking_at_once": _taking_at_once(parent),
        "cost_bps": _cost_bps(parent, spent_total, received_total),
        "saved_bps": _saved_bps(parent, spent_total, received_total),
        "tries": sum(1 for o in orders if o.status is not Status.REJECTED),
        "duration_s": plain(Decimal(str(round((now - parent.created_at).total_seconds(), 3)))),
        "outcome": outcome,
        "reason": reason,
    }
    return body


def _price(parent: Parent, spent_total: Decimal, received_total: Decimal) -> str | None:
    """Return the average price net of fees: quote per base on one market, start per end over several."""
    if spent_total <= ZERO or received_total <= ZERO:
        return None
    if len(parent.hops) == 1 and parent.hops[0].side is Side.SELL:
        return plain(_shown(received_total / spent_total))
    return plain(_shown(spent_total / received_total))


def _taking_at_once(parent: Parent) -> dict[str, object] | None:
    if not parent.arrival:
        return None
    spent_total = Decimal(str(parent.arrival["spent"]))
    received_total = Decimal(str(parent.arrival["received"]))
    return {
        "spent": plain(spent_total),
        "received": plain(received_total),
        "average_price": _price(parent, spent_total, received_total),
        "cost_bps": _cost_bps(parent, spent_total, received_total),
    }


def _cost_bps(parent: Parent, spent_total: Decimal, received_total: Decimal) -> str | None:
    """Return the cost in bp against the mids at arrival, fees included: positive is paid."""
    if not parent.arrival or spent_total <= ZERO:
        return None
    fair = spent_total * Decimal(str(parent.arrival["mid_rate"]))
    return plain(((1 - received_total / fair) / BP).quantize(Decimal("0.001"))) if fair > ZERO else None


def _saved_bps(parent: Parent, spent_total: Decimal, received_total: Decimal) -> str | None:
    """Return how much more came in per unit spent than taking at once would have given, in bp."""
    if not parent.arrival or spent_total <= ZERO:
        return None
    at_once_spent = Decimal(str(parent.arrival["spent"]))
    at_once_received = Decimal(str(parent.arrival["received"]))
    if at_once_spent <= ZERO or at_once_received <= ZERO:
        return None
    rate = at_once_received / at_once_spent
    return plain(((received_total / spent_total / rate - 1) / BP).quantize(Decimal("0.001")))


def _shown(number: Decimal) -> Decimal:
    return number.quantize(SHOWN)
