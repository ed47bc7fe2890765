"""What a parent achieved: the body of a smart order's answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from ems.algos import ledger
from ems.core.codec import plain
from ems.core.messages import Side
from ems.core.records import Order, Parent, Status

ZERO = Decimal(0)
BP = Decimal("0.0001")
SHOWN = Decimal("0.000000000001")  # derived figures are shown to 1e-12; amounts of money are never rounded


def result(
    parent: Parent,
    orders: Sequence[Order],
    cost: Mapping[str, object],
    *,
    outcome: str,
    reason: str,
    now: datetime,
) -> dict[str, object]:
    """Return what a parent achieved and cost. `cost` is the body of its Cost; empty when it is not known."""
    own = ledger.by_leg(parent, orders)
    net = _by_currency(ledger.totals(parent, own))
    kind = parent.goal.get("kind")
    start, end = _ends(parent)
    gone = max(-net.get(start, ZERO), ZERO)
    came = max(net.get(end, ZERO), ZERO)
    unspent = max(parent.start_amount - gone, ZERO) if kind in ("convert", None) else ZERO
    body: dict[str, object] = {
        "exchange": parent.exchange,
        "algo": parent.algo,
        "start_currency": None if kind in ("liquidate", "rebalance") else start,
        "end_currency": None if kind == "rebalance" else end,
        "path": _path(parent),
        "spent": plain(gone),
        "received": plain(came),
        "average_price": _price(parent, gone, came),
        "fees": {currency: plain(fee) for currency, fee in _fees(orders).items()},
        "unspent": plain(unspent),
        "dust": _dust(parent, own, start, end, unspent),
        "taking_at_once": _taking_at_once(parent),
        "cost_bps": _money_cost_bps(parent, net),
        "saved_bps": _rounded(cost.get("saved_bps")),
        "cost": cost_of(cost),
        "maker_share": cost.get("maker_share"),
        "participation": cost.get("participation"),
        "completion": cost.get("completion"),
        "spread_at_arrival_bps": cost.get("spread_at_arrival_bps"),
        "benchmarks": cost.get("benchmarks"),
        "legs": _legs(parent, own, cost),
        "plans": parent.generation + 1,
        "tries": sum(1 for o in orders if o.status is not Status.REJECTED),
        "duration_s": plain(Decimal(str(round((now - parent.created_at).total_seconds(), 3)))),
        "outcome": outcome,
        "reason": reason,
    }
    if kind in ("liquidate", "rebalance"):
        split = cost.get("cost")
        own_bps = None if not isinstance(split, dict) else _rounded(split["total_bps"])
        at_once = {"spent": None, "received": None, "average_price": None}
        body.update(
            # Many currencies for many: there is one cost, in bp of what was to be traded.
            cost_bps=own_bps,
            taking_at_once={**at_once, "cost_bps": _rounded(cost.get("taking_at_once_bps"))},
        )
        body.update(spent=None, average_price=None, received=plain(came) if kind == "liquidate" else None)
        body.update(_portfolio(parent, own))
        body["net"] = {currency: plain(amount) for currency, amount in sorted(net.items()) if amount}
    return body


def _ends(parent: Parent) -> tuple[str, str]:
    """Return the currencies a parent starts from and ends in, as far as there are such."""
    first, last = parent.legs[0], parent.legs[-1]
    return str(parent.goal.get("start", first.source)), str(parent.goal.get("end", last.target))


def _path(parent: Parent) -> list[dict[str, str]]:
    seen = dict.fromkeys((leg.exchange, leg.symbol, str(leg.side)) for leg in parent.legs)
    return [{"exchange": exchange, "symbol": symbol, "side": side} for exchange, symbol, side in seen]


def _by_currency(nodes: Mapping[ledger.Node, Decimal]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for (_, _, currency), amount in nodes.items():
        found[currency] = found.get(currency, ZERO) + amount
    return found


def _fees(orders: Iterable[Order]) -> dict[str, Decimal]:
    fees: dict[str, Decimal] = {}
    for order in orders:
        for currency, fee in order.fees.items():
            fees[currency] = fees.get(currency, ZERO) + fee
    return fees


def _dust(
    parent: Parent, own: Sequence[Sequence[Order]], start: str, end: str, unspent: Decimal
) -> dict[str, str]:
    """Return what was left on the way: too small to trade, or not traded in time."""
    if parent.goal.get("kind") in ("rebalance", "order"):
        return {}  # what is left there is the caller's own, or was never asked to go
    dust = _by_currency({n: a for n, a in ledger.pools(parent, own).items() if n[2] != end and a > ZERO})
    if unspent > ZERO and parent.goal.get("kind") == "convert":
        dust[start] = unspent
    return {currency: plain(amount) for currency, amount in sorted(dust.items())}


def _price(parent: Parent, gone: Decimal, came: Decimal) -> str | None:
    """Return the average price net of fees: quote per base on one market, start per end over several."""
    if gone <= ZERO or came <= ZERO:
        return None
    if len({leg.symbol for leg in parent.legs}) == 1 and parent.legs[0].side is Side.SELL:
        return plain((came / gone).quantize(SHOWN))
    return plain((gone / came).quantize(SHOWN))


def _numbers(found: object) -> dict[str, Decimal]:
    return {str(k): Decimal(str(v)) for k, v in found.items()} if isinstance(found, dict) else {}


def _taking_at_once(parent: Parent) -> dict[str, object] | None:
    """Return what the books at the decision would have given at once, as written down then."""
    net = _numbers(parent.arrival.get("net"))
    if not net:
        return None
    start, end = _ends(parent)
    gone, came = max(-net.get(start, ZERO), ZERO), max(net.get(end, ZERO), ZERO)
    return {
        "spent": plain(gone),
        "received": plain(came),
        "average_price": _price(parent, gone, came),
        "cost_bps": _money_cost_bps(parent, net),
    }


def _money_cost_bps(parent: Parent, net: Mapping[str, Decimal]) -> str | None:
    """Return what was lost against the mids at the decision, fees included, in bp of what was traded."""
    prices = _numbers(parent.arrival.get("prices"))
    if any(currency not in prices for currency, amount in net.items() if amount):
        return None
    given = sum((-a * prices[c] for c, a in net.items() if a < ZERO), ZERO)
    taken = sum((a * prices[c] for c, a in net.items() if a > ZERO), ZERO)
    return plain(((given - taken) / given / BP).quantize(Decimal("0.001"))) if given > ZERO else None


def _rounded(figure: object) -> str | None:
    return None if figure is None else plain(Decimal(str(figure)).quantize(Decimal("0.001")))


def cost_of(cost: Mapping[str, object]) -> dict[str, object] | None:
    """Return the split of a cost with what it is a share of; None when it is not known."""
    parts = cost.get("cost")
    if not isinstance(parts, dict):
        return None
    return {**parts, "notional": cost["notional"], "currency": cost["currency"]}


def _legs(
    parent: Parent, own: Sequence[Sequence[Order]], cost: Mapping[str, object]
) -> list[dict[str, object]]:
    """Return one row for each leg that traded or was to trade."""
    found = cost.get("legs")
    costs = list(found) if isinstance(found, list) else []
    rows = []
    for index, (leg, orders) in enumerate(zip(parent.legs, own, strict=True)):
        filled = sum((o.filled_quantity for o in orders), ZERO)
        quote = sum((o.quote_filled for o in orders), ZERO)
        split = next(
            (
                costs.pop(i)
                for i, c in enumerate(costs)
                if (c["exchange"], c["symbol"], c["side"]) == (leg.exchange, leg.symbol, str(leg.side))
                and Decimal(str(c["filled"])) == filled
            ),
            None,
        )
        rows.append(
            {
                "leg": index + 1,
                "plan": leg.generation + 1,
                "exchange": leg.exchange,
                "account": leg.account,
                "symbol": leg.symbol,
                "side": str(leg.side),
                "quantity": plain(filled),
                "average_price": None if filled <= ZERO else plain((quote / filled).quantize(SHOWN)),
                "spent": plain(ledger.spent(orders, leg.source)),
                "received": plain(ledger.received(orders, leg.target)),
                "fees": {currency: plain(fee) for currency, fee in _fees(orders).items()},
                "orders": len(orders),
                "cost": None if split is None else {k: v for k, v in split.items() if k.endswith("_bps")},
                "why": leg.why,
            }
        )
    return rows


def _portfolio(parent: Parent, own: Sequence[Sequence[Order]]) -> dict[str, object]:
    """Return value and weights before and after, at the mids of the decision."""
    prices = _numbers(parent.arrival.get("prices"))
    before: dict[str, Decimal] = {}
    for node, amount in _numbers(parent.arrival.get("holdings")).items():
        currency = node.rsplit("/", 1)[1]
        before[currency] = before.get(currency, ZERO) + amount
    after = dict(before)
    for currency, amount in _by_currency(ledger.totals(parent, own)).items():
        after[currency] = after.get(currency, ZERO) + amount
    targets = _numbers(parent.goal.get("weights"))
    keep = parent.goal.get("keep")
    left = set(keep) if isinstance(keep, list) else set()

    def values(held: Mapping[str, Decimal]) -> dict[str, Decimal]:
        return {c: a * prices[c] for c, a in held.items() if c in prices and c not in left}

    old, new = values(before), values(after)
    total_old, total_new = sum(old.values(), ZERO), sum(new.values(), ZERO)

    def share(found: Mapping[str, Decimal], currency: str, total: Decimal) -> str:
        part = found.get(currency, ZERO) / total if total > ZERO else ZERO
        return plain(part.quantize(Decimal("0.000001")))

    return {
        "numeraire": parent.arrival.get("numeraire"),
        "value_before": plain(total_old.quantize(SHOWN)),
        "value_after": plain(total_new.quantize(SHOWN)),
        "weights": {
            currency: {
                "target": plain(targets.get(currency, ZERO)),
                "before": share(old, currency, total_old),
                "after": share(new, currency, total_new),
            }
            for currency in sorted(set(targets) | set(old) | set(new))
        },
        "unreached": parent.arrival.get("unreached", {}),
    }
