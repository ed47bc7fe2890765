"""What an exchange that lists contracts asks of who keeps the positions."""

from decimal import Decimal
from typing import Any, Protocol

from ems.core.book import Side
from simulator.records import Account, Market, Order, Step


class Contracts(Protocol):
    """Who keeps the positions in contracts, and the margin behind them: `simulator.positions`."""

    def free(self, account: Account, currency: str) -> Decimal:
        """What an account may spend or withdraw of a currency."""
        ...

    def allowed(
        self,
        account: Account,
        market: Market,
        side: Side,
        quantity: Decimal,
        but: Order | None,
    ) -> Decimal:
        """How much of a reduce-only order there is to reduce, beside the other orders than `but`."""
        ...

    def check_margin(
        self,
        account: Account,
        market: Market,
        side: Side,
        quantity: Decimal,
        price: Decimal | None,
        plan: list[Step],
        but: Order | None,
    ) -> None:
        """Refuse an order for which the margin is missing; `but` is what it was before."""
        ...

    def settle(
        self,
        account: Account | None,
        market: Market,
        side: Side,
        price: Decimal,
        quantity: Decimal,
        fee: Decimal,
        now: float,
    ) -> tuple[Decimal, Decimal]:
        """Book one side of a trade (None: outside) and return what of it closed, and what that earned."""
        ...

    def records(self, account: Account) -> list[dict[str, Any]]:
        """The account's positions as JSON, amounts as decimal strings."""
        ...

    def wake(self, now: float) -> None:
        """Pay the funding that is due."""
        ...

    def tidy(self, now: float) -> bool:
        """Do what follows from all that happened in a call; False: that is being done, tell nobody yet."""
        ...
