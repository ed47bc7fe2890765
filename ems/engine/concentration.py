"""One asset that is most of what the accounts hold: people are told, once, until it is less again.

Rules:
1. Live and simulated accounts are looked at apart, all exchanges of a kind together, whenever balances come.
2. Dollars and dollar coins are money, not a position: they count in the whole, and nobody is warned of them.
3. What no book at hand can value is left out, and named. Orders bring the books of what they trade.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ems.core.jsontext import plain
from ems.core.records import Notice
from ems.core.risk_limits import Scope
from ems.engine.account import Account
from ems.engine.queries import micros
from ems.engine.risk import Risk
from ems.engine.turn import Out
from ems.engine.work import Work
from ems.routing.planner_prices import DOLLARS

ZERO = Decimal(0)
SHOWN = Decimal("0.1")


class Concentration:
    """Remembers of which assets people were told."""

    def __init__(self, out: Out, work: Work, risk: Risk):
        self._out = out
        self._work = work
        self._risk = risk
        self._told: set[tuple[str, str]] = set()  # (mode, asset)

    def judge(self, account: Account, now: datetime) -> None:
        """Look at the accounts of this one's kind; tell of what has become too much."""
        limits = [r.limit for r in self._risk.limits.rules(Scope())["concentration_warning"]]
        limit = min((one for one in limits if isinstance(one, Decimal)), default=None)
        if limit is None:
            return
        values, unpriced = self._values(account.mode, now)
        whole = sum(values.values(), ZERO)
        for asset in sorted(values.keys() - set(DOLLARS)):
            key = (account.mode, asset)
            if values[asset] * 100 <= limit * whole:
                self._told.discard(key)
            elif key not in self._told:
                self._told.add(key)
                self._tell(account.mode, asset, values[asset], whole, limit, unpriced, now)
        held = values.keys() | unpriced
        self._told = {(mode, asset) for mode, asset in self._told if mode != account.mode or asset in held}

    def _values(self, mode: str, now: datetime) -> tuple[dict[str, Decimal], set[str]]:
        """Return asset -> what is held of it in USD, and the assets that have no price."""
        values: dict[str, Decimal] = {}
        unpriced = set()
        for account in self._work.accounts.values():
            for asset, total in account.holdings.total.items() if account.mode == mode else ():
                price = self._risk.usd(asset, account, now) if total > ZERO else ZERO
                if price is None:
                    unpriced.add(asset)
                elif total > ZERO:
                    values[asset] = values.get(asset, ZERO) + total * price
        return values, unpriced

    def _tell(
        self,
        mode: str,
        asset: str,
        value: Decimal,
        whole: Decimal,
        limit: Decimal,
        unpriced: set[str],
        now: datetime,
    ) -> None:
        share = plain((value * 100 / whole).quantize(SHOWN))
        left_out = f"; without {', '.join(sorted(unpriced))}, which have no price" if unpriced else ""
        self._out.record(
            Notice(
                notice_id=f"concentration-{mode}-{asset}-{micros(now)}",
                query_id=None,
                severity="warning",
                subject=f"{asset} is {share} % of what the {mode} accounts hold",
                failed=f"{asset} is worth {plain(value.quantize(SHOWN))} of "
                f"{plain(whole.quantize(SHOWN))} USD{left_out}",
                why=f"concentration_warning: {plain(limit)} %",
                done="Nothing was stopped: this is a warning.",
                todo=f"Sell some, or set max_position for {asset} so that no more of it is bought.",
                created_at=now,
                group=f"concentration/{mode}/{asset}",
                event="concentration",
            )
        )
