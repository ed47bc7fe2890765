"""A bot's slice: the part of an exchange account that is its own to spend, and nobody else's.

A slice is set by hand, moved by the bot's own fills, and by nothing else. What is in no slice is the rest,
which all bots without one share. `claims_seen_by` is the whole rule; that every order asks it first is the
engine's promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from ems.core.contracts import is_contract
from ems.core.errors import BadMessage
from ems.core.fields import CURRENCIES_MAX, Kind, invalid, read_amount, read_currency
from ems.core.messages import Side
from ems.core.positions import EXACT, traded
from ems.core.records import Fill, Slice

ZERO = Decimal(0)

_FIX = 'Send an object of currency and amount, such as {"USDT": "1000", "BTC": "0.1"}.'


def read_amounts(value: object, name: str) -> dict[str, Decimal]:
    """Read amounts by currency, sorted; an empty object is none."""
    if not isinstance(value, dict):
        raise invalid(name, value, "is not an object", _FIX)
    if len(value) > CURRENCIES_MAX:
        raise invalid(name, value, f"has more than {CURRENCIES_MAX} currencies", _FIX)
    amounts: dict[str, Decimal] = {}
    for sent, amount in value.items():
        currency = read_currency(sent, name)
        if currency in amounts:
            raise invalid(name, sent, "appears twice", f"Send {currency} once.")
        try:
            amounts[currency] = read_amount(amount, f"{name}: {currency}")
        except BadMessage as bad:
            # The field is the whole object; which of its entries is wrong stands in the message.
            raise BadMessage(
                [replace(p, details={**p.details, "field": name}) for p in bad.problems]
            ) from bad
    return dict(sorted(amounts.items()))


AMOUNTS = Kind(
    name="amounts",
    read=read_amounts,
    schema={"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": CURRENCIES_MAX},
    form="object of currency and decimal string",
)


def moved(one: Slice, fill: Fill, now: datetime) -> Slice:
    """Move a slice by a fill of its bot; a fee it cannot pay leaves it below zero."""
    if is_contract(fill.symbol):  # margin is the account's; a slice pays the fee
        return _charged(one, fill, now)
    base, quote = traded(fill.symbol)
    sign = 1 if fill.side is Side.BUY else -1
    amounts = dict(one.amounts)
    for currency, amount in (
        (base, sign * fill.quantity),
        (quote, -sign * EXACT.multiply(fill.price, fill.quantity)),
        (fill.fee_currency, -fill.fee),
    ):
        if amount:
            amounts[currency] = EXACT.add(amounts.get(currency, ZERO), amount)
    return replace(one, amounts={c: a for c, a in sorted(amounts.items()) if a}, updated_at=now)


def _charged(one: Slice, fill: Fill, now: datetime) -> Slice:
    amounts = dict(one.amounts)
    amounts[fill.fee_currency] = EXACT.subtract(amounts.get(fill.fee_currency, ZERO), fill.fee)
    return replace(one, amounts={c: a for c, a in sorted(amounts.items()) if a}, updated_at=now)


def claims_seen_by(
    own: Slice | None,
    others: Iterable[tuple[Slice, Mapping[str, Decimal]]],
    usable: Mapping[str, Decimal],
    all_claims: Mapping[str, Decimal],
    own_claims: Mapping[str, Decimal],
) -> dict[str, Decimal]:
    """Return what of `usable` is not this bot's to spend: so `usable - claims` is what is.

    With a slice that is what of it no work of the bot claims, and never more than is there at all. Without
    one it is what no work claims and no slice keeps back. `others` are slices with the claims of their bots.
    """
    claims = dict(all_claims)
    if own is not None:
        for currency, amount in usable.items():
            free = max(own.amounts.get(currency, ZERO) - own_claims.get(currency, ZERO), ZERO)
            claims[currency] = max(all_claims.get(currency, ZERO), amount - free)
        return claims
    for one, claimed in others:
        for currency, amount in one.amounts.items():
            kept = max(amount - claimed.get(currency, ZERO), ZERO)
            claims[currency] = claims.get(currency, ZERO) + kept
    return claims


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """What an account's slices come to beside what it holds; `missing` where they come to more."""

    sliced: Mapping[str, Decimal] = field(default_factory=dict)
    rest: Mapping[str, Decimal] = field(default_factory=dict)
    missing: Mapping[str, Decimal] = field(default_factory=dict)


def sums(slices: Iterable[Slice], held: Mapping[str, Decimal]) -> Sums:
    """Add an account's slices up, and compare them with what it holds."""
    sliced: dict[str, Decimal] = {}
    for one in slices:
        for currency, amount in one.amounts.items():
            sliced[currency] = EXACT.add(sliced.get(currency, ZERO), amount)
    rest = {c: EXACT.subtract(held.get(c, ZERO), sliced.get(c, ZERO)) for c in sorted({*sliced, *held})}
    return Sums(
        sliced=dict(sorted(sliced.items())),
        rest={c: a for c, a in rest.items() if a > ZERO},
        missing={c: -a for c, a in rest.items() if a < ZERO and c in sliced},
    )
