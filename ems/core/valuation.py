"""What a currency is worth in another, over the books at hand: directly, or through one hub.

Middle prices only: a valuation is no offer to trade. Nothing is assumed to be worth one of another, not even
dollars and their stablecoins; what no book leads to has no worth, and whoever asks has to say so.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal

HUBS = ("USDT", "USD", "USDC", "BTC", "EUR", "ETH")
EXACT = Context(prec=50)
ONE = Decimal(1)

Mid = Callable[[str], Decimal | None]  # symbol -> middle price, where a book is at hand
Listed = Callable[[str], bool]  # symbol -> whether there is such a market


def worth(currency: str, reporting: str, mid: Mid) -> Decimal | None:
    """Return what one unit is worth; None where no book and no hub leads there."""
    direct = _direct(currency, reporting, mid)
    if direct is not None:
        return direct
    for hub in HUBS:
        if hub not in (currency, reporting):
            first, second = _direct(currency, hub, mid), _direct(hub, reporting, mid)
            if first is not None and second is not None:
                return EXACT.multiply(first, second)
    return None


def path(currency: str, reporting: str, listed: Listed) -> list[str]:
    """Return the symbols whose books would say it; none where no market leads there."""
    if currency == reporting:
        return []
    for steps in ([(currency, reporting)], *([(currency, hub), (hub, reporting)] for hub in HUBS)):
        found = [_symbol(one, other, listed) for one, other in steps if one != other]
        if all(found):
            return [symbol for symbol in found if symbol]
    return []


def _symbol(one: str, other: str, listed: Listed) -> str | None:
    return next((s for s in (f"{one}/{other}", f"{other}/{one}") if listed(s)), None)


def _direct(currency: str, other: str, mid: Mid) -> Decimal | None:
    if currency == other:
        return ONE
    price = mid(f"{currency}/{other}")
    if price is not None:
        return price
    price = mid(f"{other}/{currency}")
    return None if not price else EXACT.divide(ONE, price)
