"""What somebody holds and has earned, as an answer: sums by bot, exchange, account and asset.

What has no price is named and left out of the sums; nothing is ever counted as zero in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import reduce

from ems.core.contracts import is_contract
from ems.core.records import Position
from ems.core.snapshots import Change, Snapshot, changes, worth_of
from ems.engine.portfolio import Appraisal, Contract, Holding
from ems.store import Earned

ZERO = Decimal(0)
EXACT = Context(prec=100)
SHARE = Decimal("0.000001")

# What get_pnl can be grouped by -> the group a row belongs to.
GROUPS: Mapping[str, Callable[[Earned], str]] = {
    "day": lambda e: e.day.isoformat(),
    "bot": lambda e: e.bot,
    "exchange": lambda e: e.exchange,
    "account": lambda e: f"{e.exchange}/{e.account}",
    "symbol": lambda e: e.symbol,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Marked:
    """What an account holds of a contract, at the exchange's mark."""

    exchange: str
    account: str
    symbol: str
    quantity: Decimal  # base; below zero: short
    mark: Decimal
    unrealised: Decimal
    currency: str  # of the above


@dataclass
class Sum:
    """Figures of positions added up; `unpriced` names those that lack a price."""

    cost: Decimal = ZERO
    value: Decimal = ZERO
    unrealised: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    unpriced: list[str] = field(default_factory=list)

    def add(self, position: Position, price: Decimal | None) -> None:
        self.realised = EXACT.add(self.realised, position.realised)
        self.fees = EXACT.add(self.fees, position.fees)
        if not position.quantity:
            return
        if price is None:
            self.unpriced.append(f"{position.asset} at {position.exchange}/{position.account}")
            return
        value, cost = worth_of(position.quantity, price), position.cost
        gain = EXACT.subtract(value, cost)
        if is_contract(position.asset):  # it is worth what closing it would pay
            value, cost = gain, ZERO
        self.cost = EXACT.add(self.cost, cost)
        self.value = EXACT.add(self.value, value)
        self.unrealised = EXACT.add(self.unrealised, gain)

    def add_contract(self, contract: Contract, mark: Decimal | None) -> None:
        """Add a position that is worth what closing it would pay, and costs nothing to hold."""
        position, rate = contract.position, contract.rate
        name = f"{position.asset} at {position.exchange}/{position.account}"
        if rate is None:
            self.unpriced.append(name)
            return
        self.realised = EXACT.add(self.realised, worth_of(position.realised, rate))
        self.fees = EXACT.add(self.fees, worth_of(position.fees, rate))
        if not position.quantity:
            return
        if mark is None:
            self.unpriced.append(name)
            return
        unrealised = worth_of(_unrealised(position, mark), rate)
        self.value = EXACT.add(self.value, unrealised)
        self.unrealised = EXACT.add(self.unrealised, unrealised)

    def view(self) -> dict[str, object]:
        pnl = EXACT.subtract(EXACT.add(self.realised, self.unrealised), self.fees)
        return {
            "cost": self.cost,
            "value": self.value,
            "unrealised": self.unrealised,
            "realised": self.realised,
            "fees": self.fees,
            "pnl": pnl,
            "unpriced": sorted(set(self.unpriced)),
        }


def unpriced(appraisal: Appraisal) -> tuple[tuple[str, str, str], ...]:
    """Return (exchange, account, currency) of everything that is held and has no price yet."""
    held = {
        (p.exchange, p.account, p.asset) for p, price in appraisal.positions if p.quantity and price is None
    }
    held |= {(h.exchange, h.account, h.asset) for h in appraisal.holdings if h.price is None}
    return tuple(sorted(held))


def portfolio_view(
    appraisal: Appraisal,
    modes: Mapping[tuple[str, str], str],
    marked: Sequence[Marked] = (),
    unread: Collection[tuple[str, str]] = (),
) -> dict[str, object]:
    """Show positions with their sums, and what the accounts hold in all.

    `marked`: what accounts hold in contracts; `unread`: (exchange, account) where that is not known.
    """
    marks = {(one.exchange, one.account, one.symbol): one.mark for one in marked}
    total = Sum()
    sums: dict[str, dict[str, Sum]] = {"bot": {}, "exchange": {}, "account": {}, "asset": {}}
    for position, price in appraisal.positions:
        total.add(position, price)
        for kind, name in (
            ("bot", position.bot),
            ("exchange", position.exchange),
            ("account", f"{position.exchange}/{position.account}"),
            ("asset", position.asset),
        ):
            sums[kind].setdefault(name, Sum()).add(position, price)
    contracts = []
    for contract in appraisal.contracts:
        p = contract.position
        mark = marks.get((p.exchange, p.account, p.asset), contract.mid)
        contracts.append(_contract_view(contract, mark))
        total.add_contract(contract, mark)
        for kind, name in (
            ("bot", p.bot),
            ("exchange", p.exchange),
            ("account", f"{p.exchange}/{p.account}"),
            ("asset", p.asset),
        ):
            sums[kind].setdefault(name, Sum()).add_contract(contract, mark)
    return {
        "currency": appraisal.currency,
        "at": appraisal.at,
        "total": total.view(),
        "positions": [_position_view(p, price) for p, price in appraisal.positions],
        "contracts": contracts,
        **{f"by_{kind}": {k: v.view() for k, v in sorted(named.items())} for kind, named in sums.items()},
        "accounts": _accounts_view(appraisal, modes, marked, unread),
        **_exposure_view(appraisal, modes, marked),
    }


def _position_view(position: Position, price: Decimal | None) -> dict[str, object]:
    held = position.quantity != ZERO
    value = worth_of(position.quantity, price) if held and price is not None else None if held else ZERO
    unrealised = None if value is None else EXACT.subtract(value, position.cost)
    if is_contract(position.asset):
        value = unrealised
    return {
        "bot": position.bot,
        "exchange": position.exchange,
        "account": position.account,
        "asset": position.asset,
        "quantity": position.quantity,
        "average_price": position.average_price,
        "cost": position.cost,
        "price": price,
        "value": value,
        "unrealised": unrealised,
        "realised": position.realised,
        "fees": position.fees,
        "opened": position.opened,
        "opened_value": position.opened_value,
        "unvalued": position.unvalued,
        "updated_at": position.updated_at,
    }


def _unrealised(position: Position, mark: Decimal) -> Decimal:
    return EXACT.subtract(EXACT.multiply(position.quantity, mark), position.cost)


def _contract_view(contract: Contract, mark: Decimal | None) -> dict[str, object]:
    """Show a bot's position in a contract, in the currency in which it is settled."""
    p = contract.position
    unrealised = ZERO if not p.quantity else None if mark is None else _unrealised(p, mark)
    return {
        "bot": p.bot,
        "exchange": p.exchange,
        "account": p.account,
        "symbol": p.asset,
        "quantity": p.quantity,
        "average_price": p.average_price,
        "cost": p.cost,
        "price": mark,
        "unrealised": unrealised,
        "realised": p.realised,
        "fees": p.fees,
        "currency": p.currency,
        "updated_at": p.updated_at,
    }


def _accounts_view(
    appraisal: Appraisal,
    modes: Mapping[tuple[str, str], str],
    marked: Sequence[Marked],
    unread: Collection[tuple[str, str]],
) -> list[dict[str, object]]:
    rows = []
    for (exchange, account), read_at in appraisal.read_at.items():
        held = [h for h in appraisal.holdings if (h.exchange, h.account) == (exchange, account)]
        rows.append(
            {
                "exchange": exchange,
                "account": account,
                "mode": modes[exchange, account],
                "read_at": read_at,  # null: its balances were never read
                "value": _value(held),
                "contracts_unrealised": None
                if (exchange, account) in unread
                else _sum(
                    _valued(appraisal, one, one.unrealised)
                    for one in marked
                    if (one.exchange, one.account) == (exchange, account)
                ),
                "unpriced": [h.asset for h in held if h.price is None],
            }
        )
    return rows


def _valued(appraisal: Appraisal, one: Marked, amount: Decimal) -> Decimal:
    """Return what an amount of a contract's settlement currency is worth; nothing where nobody knows."""
    rate = appraisal.rates.get((one.exchange, one.account, one.currency))
    return ZERO if rate is None else worth_of(amount, rate)


def _exposure_view(
    appraisal: Appraisal, modes: Mapping[tuple[str, str], str], marked: Sequence[Marked]
) -> dict[str, object]:
    """Add up what accounts hold of each asset: the live ones where there are any, never both kinds.

    What contracts have not realised is in no balance, so that it is added here, once.
    """
    mode = "live" if "live" in modes.values() else "paper"
    counted = [h for h in appraisal.holdings if modes[h.exchange, h.account] == mode]
    held_in_contracts = [one for one in marked if modes[one.exchange, one.account] == mode]
    total = EXACT.add(
        _value(counted), _sum(_valued(appraisal, one, one.unrealised) for one in held_in_contracts)
    )
    exposure = {}
    for asset in sorted({h.asset for h in counted}):
        held = [h for h in counted if h.asset == asset]
        value = None if any(h.price is None for h in held) else _value(held)
        share = None if value is None or not total else EXACT.divide(value, total).quantize(SHARE)
        exposure[asset] = {
            "quantity": _sum(h.quantity for h in held),
            "value": value,
            "share": share,
        }
    contracts = {
        symbol: {
            "quantity": _sum(one.quantity for one in alike),
            "value": _sum(_valued(appraisal, one, EXACT.multiply(one.quantity, one.mark)) for one in alike),
            "unrealised": _sum(_valued(appraisal, one, one.unrealised) for one in alike),
        }
        for symbol in sorted({one.symbol for one in held_in_contracts})
        if (alike := [one for one in held_in_contracts if one.symbol == symbol])
    }
    return {
        "total_value": total,
        "total_mode": mode,
        "exposure": exposure,
        "contract_exposure": contracts,
    }


def _value(held: Iterable[Holding]) -> Decimal:
    return _sum(worth_of(h.quantity, h.price) for h in held if h.price is not None)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    """Add up exactly: a thread's own context has 28 digits."""
    return reduce(EXACT.add, amounts, ZERO)


def pnl_view(rows: Sequence[Earned], by: str, currency: str) -> dict[str, object]:
    """Show what fills have earned, in groups and in all."""
    groups: dict[str, list[Earned]] = {}
    for row in rows:
        groups.setdefault(GROUPS[by](row), []).append(row)
    return {
        "currency": currency,
        "by": by,
        "total": _earned_view(rows),
        "rows": [{by: name, **_earned_view(found)} for name, found in sorted(groups.items())],
    }


def _earned_view(rows: Sequence[Earned]) -> dict[str, object]:
    realised, fees = _sum(r.realised for r in rows), _sum(r.fees for r in rows)
    return {
        "realised": realised,
        "fees": fees,
        "pnl": EXACT.subtract(realised, fees),
        "turnover": _sum(r.turnover for r in rows),
        "fills": sum(r.fills for r in rows),
        "unvalued_fills": sum(r.unvalued_fills for r in rows),
    }


def snapshots_view(
    page: Sequence[Snapshot], before: Snapshot | None, currency: str, next_cursor: str | None
) -> dict[str, object]:
    """Show snapshots, newest first, each with its sums and what came to pass since the one before it."""
    found = changes([*page, *([] if before is None else [before])])
    rows = []
    for snapshot, change in zip(page, found, strict=False):
        total = Sum()
        for row in snapshot.positions:
            total.add(row.position, row.price)
        rows.append(
            {
                "day": snapshot.day.day.isoformat(),
                "taken_at": snapshot.day.taken_at,
                "booking": snapshot.day.booking,
                "total": total.view(),
                "change": None if change is None else _change_view(change),
                "positions": [_position_view(row.position, row.price) for row in snapshot.positions],
            }
        )
    return {"currency": currency, "snapshots": rows, "next_cursor": next_cursor}


def _change_view(change: Change) -> dict[str, object]:
    return {
        "realised": change.realised,
        "fees": change.fees,
        "price_change": change.price_change,
        "pnl": change.pnl,
        "brought_in": change.brought_in,
        "unpriced": list(change.unpriced),
    }
