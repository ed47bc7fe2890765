"""Quotes: plans told without trading, kept for a minute, and carried out within the bounds they named."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core import errors
from ems.core.codec import plain, time_text, verb_of
from ems.core.messages import ExecuteQuote, Liquidate, Problem, Rebalance, Share, Side, SmartOrder
from ems.core.records import Leg
from ems.engine.drafts import BP, Draft
from ems.engine.figures import short_number
from ems.engine.plans import Plans
from ems.engine.sight import Need
from ems.engine.work import Work
from ems.routing.plan import PlannedLeg

ZERO = Decimal(0)
ONE = Decimal(1)

PRICED = Decimal("1.02")  # what a rebalance sells moves with the prices, as far as this is still the quote
USED_KEPT = 1000
VALID_S = 60.0  # a quote may be carried out this long


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A quote that may still be carried out."""

    user: str
    command: SmartOrder | Liquidate | Rebalance
    draft: Draft
    worst: Decimal | None  # of the end currency; None: no single one
    expires_at: datetime


class Quotes:
    """Remembers quotes; a restart forgets them, and says so."""

    def __init__(self, work: Work, plans: Plans):
        self._work = work
        self._plans = plans
        self._kept: dict[str, Kept] = {}  # quote id -> quote
        self._used: OrderedDict[str, str] = OrderedDict()  # quote id -> query that carried it out

    def keep(
        self,
        quote_id: str,
        user: str,
        command: SmartOrder | Liquidate | Rebalance,
        draft: Draft,
        now: datetime,
    ) -> dict[str, object]:
        """Remember a plan under an id and return what is told of it."""
        for old in [i for i, kept in self._kept.items() if kept.expires_at < now]:
            del self._kept[old]
        body = self.body(command, draft)
        if isinstance(command, SmartOrder) and isinstance(command.start_amount, Share) and draft.legs:
            command = replace(command, start_amount=draft.start_amount)  # what comes later was not quoted
        if draft.legs:
            expires = now + timedelta(seconds=VALID_S)
            self._kept[quote_id] = Kept(
                user=user, command=command, draft=draft, worst=self._worst(draft), expires_at=expires
            )
            body = {"quote_id": quote_id, "expires_at": time_text(expires), **body}
        else:
            body = {"quote_id": None, "expires_at": None, **body}
        return body

    def take(
        self, user: str, command: ExecuteQuote, now: datetime, *, patient: bool
    ) -> tuple[SmartOrder | Liquidate | Rebalance, Draft] | Need | Problem:
        """Return the command of a quote and a plan within its bounds, on the books as they are now."""
        done_by = self._used.get(command.quote_id)
        if done_by is not None:
            return errors.problem(
                errors.QUOTE_EXPIRED,
                f"quote_id: the quote was carried out already, by query {done_by}",
                details={"field": "quote_id", "value": command.quote_id, "carried_out_by": done_by},
            )
        kept = self._kept.get(command.quote_id)
        if kept is None or kept.user != user:
            return errors.problem(
                errors.QUOTE_UNKNOWN,
                f"quote_id: there is no quote {command.quote_id!r} of yours",
                details={"field": "quote_id", "value": command.quote_id},
            )
        if verb_of(kept.command) != command.verb:
            return errors.problem(
                errors.REQUEST_FIELD_INVALID,
                f"quote_id: {command.quote_id} quotes a {verb_of(kept.command)}, not a {command.verb}",
                hint=f"Call {verb_of(kept.command)} with it.",
                details={"field": "quote_id", "value": command.quote_id},
            )
        if now > kept.expires_at:
            return errors.problem(
                errors.QUOTE_EXPIRED,
                f"quote_id: the quote ended at {time_text(kept.expires_at)}",
                details={"field": "quote_id", "value": command.quote_id},
            )
        found = self._plans.draft(kept.command, now, patient=patient)
        if isinstance(found, Need | Problem):
            return found
        moved = self._moved(kept, found)
        if moved:
            return errors.problem(
                errors.QUOTE_MOVED,
                f"quote_id: {moved}; nothing was sent",
                details={"field": "quote_id", "value": command.quote_id},
            )
        limits = {(x.exchange, x.account, x.symbol, x.side): x.limit for x in kept.draft.legs}
        legs = tuple(
            replace(leg, limit=limits.get((leg.exchange, leg.account, leg.symbol, leg.side), leg.limit))
            for leg in found.legs
        )
        return kept.command, replace(found, legs=legs)

    def used(self, quote_id: str, query_id: str) -> None:
        """A quote is carried out once: a second time would be another order, not the same one again."""
        self._kept.pop(quote_id, None)
        self._used[quote_id] = query_id
        if len(self._used) > USED_KEPT:
            self._used.popitem(last=False)

    def _moved(self, kept: Kept, found: Draft) -> str:
        """Say how today's plan lies outside the quote's bounds; empty when it is within."""
        if not found.legs:
            return f"there is nothing left to trade: {found.reason}"
        known = {(x.exchange, x.account, x.symbol, x.side): x for x in kept.draft.legs}
        for leg in found.legs:
            old = known.get((leg.exchange, leg.account, leg.symbol, leg.side))
            if old is None or old.limit is None:
                continue
            book = self._work.accounts[leg.exchange, leg.account].books[leg.symbol]
            touch = book.asks[0][0] if leg.side is Side.BUY else book.bids[0][0]
            if touch > old.limit if leg.side is Side.BUY else touch < old.limit:
                return f"{leg.symbol} on {leg.exchange} trades at {plain(touch)}, beyond {plain(old.limit)}"
        now, then = _planned(found), _granted(kept.draft)
        for currency, amount in sorted(now.items()):
            quoted = then.get(currency, ZERO)
            if amount > (quoted * PRICED if found.goal["kind"] == "rebalance" else quoted):
                return f"it would spend {plain(amount)} {currency} now, more than the {plain(quoted)} quoted"
        if kept.worst is None or found.proposal is None:
            return ""
        if found.proposal.received < kept.worst:
            end = str(found.goal["end"])
            return (
                f"the books give {plain(short_number(found.proposal.received))} {end} now, "
                f"less than the worst case of {plain(short_number(kept.worst))} {end}"
            )
        return ""

    # --- Telling -----------------------------------------------------------------------------------------

    def body(self, command: SmartOrder | Liquidate | Rebalance, draft: Draft) -> dict[str, object]:
        """Return what is told of a plan: route, expected and worst case, cost split, certificate, ages."""
        flows: dict[tuple[str, str, str], Decimal] = {}
        for planned in draft.planned:
            node = (planned.exchange, planned.account, planned.source)
            flows[node] = flows.get(node, ZERO) + planned.spend
        rows = []
        for number, (planned, leg) in enumerate(zip(draft.planned, draft.legs, strict=True), start=1):
            flow = flows[planned.exchange, planned.account, planned.source]
            rows.append(
                {
                    "leg": number,
                    "exchange": planned.exchange,
                    "account": planned.account,
                    "symbol": planned.symbol,
                    "side": str(planned.side),
                    "source": planned.source,
                    "target": planned.target,
                    "quantity": plain(planned.quantity),
                    "price": plain(planned.price),
                    "limit": None if leg.limit is None else plain(leg.limit),
                    "spend": plain(planned.spend),
                    "receive": plain(planned.receive),
                    "level": planned.level,
                    "share": plain((planned.spend / flow).quantize(Decimal("0.0001"))) if flow else "0",
                }
            )
        end = str(draft.goal["end"]) if "end" in draft.goal else None
        body: dict[str, object] = {
            "verb": verb_of(command),
            "exchange": draft.exchange,
            "start_currency": getattr(command, "start_currency", None),
            "end_currency": getattr(command, "end_currency", None),
            "algo": draft.style.algo,
            "time_limit": plain(draft.style.time_limit),
            "legs": rows,
            "spent": self._spent(draft),
            "expected": self._expected(draft, end),
            "worst_case": {"received": _text(self._worst(draft))},
            "cost": self._cost(draft),
            "certificate": self._certificate(draft),
            "book_ages_s": dict(draft.ages_s),
            "left_out": dict(draft.left_out),
            "reason": draft.reason,
        }
        portfolio = draft.portfolio
        if portfolio is not None:
            body.update(
                value_before=plain(short_number(portfolio.value_before)),
                value_after=plain(short_number(portfolio.value_after)),
                numeraire=portfolio.numeraire,
                turnover=plain(short_number(portfolio.turnover)),
                unreached={c: plain(short_number(z)) for c, z in portfolio.unreached.items()},
                dust={
                    f"{exchange} {currency}": {
                        "amount": plain(dust.amount),
                        "value": None if dust.value is None else plain(short_number(dust.value)),
                        "why": dust.why,
                    }
                    for (exchange, _, currency), dust in portfolio.dust.items()
                },
            )
        return body

    @staticmethod
    def _spent(draft: Draft) -> dict[str, str]:
        return {currency: plain(amount) for currency, amount in _planned(draft).items()}

    def _expected(self, draft: Draft, end: str | None) -> dict[str, object]:
        if end is None:
            return {"received": None, "currency": None, "average_price": None}
        received = sum((p.receive for p in draft.planned if p.target == end), ZERO)
        if draft.proposal is not None:
            received = draft.proposal.received
        price = None
        starts = {p.source for p in draft.planned if p.level == 0}
        if received > ZERO and len(starts) == 1:
            gone = sum((p.spend for p in draft.planned if p.level == 0), ZERO)
            sells = len(draft.planned) == 1 and draft.planned[0].side is Side.SELL
            price = plain(short_number(received / gone if sells else gone / received))
        return {"received": plain(short_number(received)), "currency": end, "average_price": price}

    def _worst(self, draft: Draft) -> Decimal | None:
        """Return what the plan brings in when every leg trades at its limit; None without one end."""
        if "end" not in draft.goal or any(leg.limit is None for leg in draft.legs) or not draft.legs:
            return None
        end = str(draft.goal["end"])
        money = {(g.exchange, g.account, g.currency): g.amount for g in draft.grants}
        worst = ZERO
        pairs = sorted(zip(draft.legs, draft.planned, strict=True), key=lambda pair: pair[0].level)
        for leg, planned in pairs:
            node = (leg.exchange, leg.account, leg.source)
            flow = sum((p.spend for p in draft.planned if (p.exchange, p.account, p.source) == node), ZERO)
            share = planned.spend / flow if flow > ZERO else ONE
            out = self._at_limit(leg, money.get(node, ZERO) * share)
            if leg.target == end:
                worst += out
            else:
                target = (leg.exchange, leg.account, leg.target)
                money[target] = money.get(target, ZERO) + out
        return min(worst, Decimal(str(draft.goal["end_amount"]))) if "end_amount" in draft.goal else worst

    def _at_limit(self, leg: Leg, amount: Decimal) -> Decimal:
        """Return what an amount brings in at the limit, in whole lots and after the taker fee."""
        market = self._work.accounts[leg.exchange, leg.account].markets[leg.symbol]
        assert leg.limit is not None
        keeps = ONE - market.taker_fee
        if leg.side is Side.BUY:
            quantity = market.floor_quantity(
                market.largest_buy(amount, leg.limit, haircut=ZERO, post_only=False)
            )
            return quantity if market.fee_mode == "quote" else quantity * keeps
        quantity = market.largest_sell(amount, haircut=ZERO, post_only=False)
        return quantity * leg.limit * (ONE if market.fee_mode == "base" else keeps)

    def _cost(self, draft: Draft) -> dict[str, object]:
        """Return what the plan costs against the mids, taken at once, and what of it is what."""
        prices = draft.prices
        fees = spread = total = ZERO
        for planned in draft.planned:
            if planned.source not in prices or planned.target not in prices:
                return {"total_bps": None, "fees_bps": None, "spread_bps": None, "impact_bps": None}
            fees += self._fee(planned, prices)
            spread += self._spread(planned, prices)
            total += planned.spend * prices[planned.source] - planned.receive * prices[planned.target]
        worth = sum((amount * prices.get(c, ZERO) for c, amount in _planned(draft).items()), ZERO)
        if worth <= ZERO:
            return {"total_bps": None, "fees_bps": None, "spread_bps": None, "impact_bps": None}

        def bps(amount: Decimal) -> str:
            return plain((amount / worth / BP).quantize(Decimal("0.001")))

        return {
            "total_bps": bps(total),
            "fees_bps": bps(fees),
            "spread_bps": bps(spread),
            "impact_bps": bps(total - fees - spread),
        }

    def _fee(self, planned: PlannedLeg, prices: Mapping[str, Decimal]) -> Decimal:
        """Return the taker fee of a leg, in the numeraire."""
        market = self._work.accounts[planned.exchange, planned.account].markets[planned.symbol]
        fee = market.taker_fee
        on_top = (market.fee_mode == "quote" and planned.side is Side.BUY) or (
            market.fee_mode == "base" and planned.side is Side.SELL
        )
        if on_top:
            return planned.spend * fee / (ONE + fee) * prices[planned.source]
        return planned.receive * fee / (ONE - fee) * prices[planned.target]

    def _spread(self, planned: PlannedLeg, prices: Mapping[str, Decimal]) -> Decimal:
        """Return what lies between the mid of the decision and the touch, in the numeraire."""
        account = self._work.accounts[planned.exchange, planned.account]
        book, market = account.books[planned.symbol], account.markets[planned.symbol]
        mid = prices[market.base] / prices[market.quote]
        away = book.asks[0][0] - mid if planned.side is Side.BUY else mid - book.bids[0][0]
        return planned.quantity * away * prices[market.quote]

    @staticmethod
    def _certificate(draft: Draft) -> dict[str, object] | None:
        if draft.proposal is None:
            return None
        gap = draft.proposal.gap_bp
        return {
            "gap_bp": plain(gap.quantize(Decimal("0.00000001"))),
            "scope": draft.proposal.scope,
            "arbitrage": draft.proposal.arbitrage,
        }


def _planned(draft: Draft) -> dict[str, Decimal]:
    """Return what a plan is to spend: currency -> amount."""
    if "end_amount" in draft.goal:
        return {str(draft.goal["start"]): draft.start_amount}  # more is granted, for prices that get worse
    return _granted(draft)


def _granted(draft: Draft) -> dict[str, Decimal]:
    granted: dict[str, Decimal] = {}
    for grant in draft.grants:
        granted[grant.currency] = granted.get(grant.currency, ZERO) + grant.amount
    return granted


def _text(number: Decimal | None) -> str | None:
    return None if number is None else plain(short_number(number))
