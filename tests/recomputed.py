"""What trading earned, computed again from an exchange's own ledger: fractions, no code of the product.

Written after the manual's rules alone (MANUAL.md, "Portfolio and P&L"), so that a mistake in the product is
not repeated here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

UNIT = 10**18


def to_unit(exact: Fraction) -> Fraction:
    """Round to 18 decimals, half to even; `round` of a Fraction does."""
    return Fraction(round(exact * UNIT), UNIT)


def decimal(exact: Fraction) -> Decimal:
    """Write a fraction that has a finite decimal form as one."""
    scaled = exact * 10**40
    assert scaled.denominator == 1, exact
    return Decimal(scaled.numerator).scaleb(-40, None)


class Purse:
    """One asset in the hands of one bot."""

    def __init__(self) -> None:
        self.amount = Fraction(0)
        self.cost = Fraction(0)
        self.earned = Fraction(0)
        self.paid = Fraction(0)  # fees


class Ledger:
    """Replays fills of one exchange account, oldest first."""

    def __init__(self, reporting: str) -> None:
        self.reporting = reporting
        # (user, exchange) -> asset -> bot -> purse
        self.purses: dict[Any, dict[str, dict[str, Purse]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(Purse))
        )

    def add(
        self,
        fill: Mapping[str, Any],
        *,
        user: str,
        bot: str,
        exchange: str,
        rate: Callable[[str], Fraction],
    ) -> None:
        """Replay one row of a ledger; `rate` gives middle prices of the moment."""
        purses = self.purses[user, exchange]
        base, quote = fill["symbol"].split("/")
        quantity, price = Fraction(fill["quantity"]), Fraction(fill["price"])
        fee, coin = Fraction(fill["fee"]), fill["fee_currency"]
        if quote == self.reporting:
            in_quote = Fraction(1)
        elif base == self.reporting:
            in_quote = 1 / price
        else:
            in_quote = rate(quote)
        value = to_unit(quantity * price * in_quote)
        if coin == self.reporting:
            fee_value = fee
        elif coin == base:
            fee_value = value * fee / quantity
        elif coin == quote:
            fee_value = value * fee / (quantity * price)
        else:
            fee_value = fee * rate(coin)
        fee_value = to_unit(fee_value)
        out, out_amount, into, in_amount = (
            (quote, quantity * price, base, quantity)
            if fill["side"] == "buy"
            else (base, quantity, quote, quantity * price)
        )
        self._spend(purses, bot, out, out_amount, value)
        purses[into][bot].amount += in_amount
        purses[into][bot].cost += value
        if fee > 0:
            self._spend(purses, bot, coin, fee, fee_value)
        else:
            purses[coin][bot].amount -= fee
            purses[coin][bot].cost -= fee_value
        purses[coin][bot].paid += fee_value

    @staticmethod
    def _spend(
        purses: dict[str, dict[str, Purse]], bot: str, asset: str, amount: Fraction, value: Fraction
    ) -> None:
        mine = purses[asset][bot]
        still, cost = amount, Fraction(0)
        for owner in [bot, *sorted(name for name in purses[asset] if name != bot)]:
            purse = purses[asset][owner]
            part = min(still, purse.amount)
            if part == 0:
                continue
            share = purse.cost if part == purse.amount else to_unit(purse.cost * part / purse.amount)
            purse.amount -= part
            purse.cost -= share
            cost += share
            still -= part
        if still:
            cost += to_unit(value * still / amount)
        mine.earned += value - cost

    def rows(self) -> Iterable[tuple[tuple[str, str, str, str], Purse]]:
        """Give ((user, bot, exchange, asset), purse) of every purse."""
        for (user, exchange), assets in self.purses.items():
            for asset, bots in assets.items():
                for bot, purse in bots.items():
                    yield (user, bot, exchange, asset), purse
