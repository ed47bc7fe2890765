"""New plans for parents at work: what is left, whether another way is better, and how it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ems.algos import ledger
from ems.algos.ledger import Node
from ems.core.messages import Side, Style
from ems.core.records import Grant, Order, Parent, ParentState
from ems.engine.account import Account, Readiness
from ems.engine.costs import prices_of
from ems.engine.drafts import BP, Draft, grants_for, legs_of, names, style_of
from ems.engine.figures import mapping, sequence
from ems.engine.sight import Need, Sight, candidates
from ems.engine.turn import Out
from ems.engine.work import Work
from ems.routing.chain import sweep
from ems.routing.planner import plan_portfolio
from ems.routing.planner_prices import DOLLARS, choose_numeraire, mid_prices
from ems.routing.route import route

ZERO = Decimal(0)
ONE = Decimal(1)

MIN_LEG = Decimal(10)  # dollars: EXECUTION.md 2.5
MUCH = Decimal("0.02")  # of the whole
HYSTERESIS = Decimal("0.5") * BP  # EXECUTION.md 5.2: a new plan must be this much better


class Replans:
    """Plans what is left of a parent."""

    def __init__(self, out: Out, work: Work, sight: Sight):
        self._out = out
        self._work = work
        self._sight = sight

    def again(
        self,
        parent: Parent,
        orders: list[Order],
        now: datetime,
        *,
        without: frozenset[tuple[str, str, str]] = frozenset(),
    ) -> Draft | Need | None:
        """Plan what is left of a parent; None: there is nothing more that could be traded.

        `without`: (exchange, account, symbol) of markets whose books have not come.
        """
        kind = parent.goal.get("kind")
        if kind not in ("convert", "liquidate", "rebalance"):
            return None
        own = ledger.by_leg(parent, orders)
        accounts = self._sight.accounts_of(parent)
        waiting = [a for a in accounts if a.readiness is not Readiness.READY]
        used = {(leg.exchange, leg.account) for leg in parent.legs}
        if any(a.key in used for a in waiting):
            return Need()
        accounts = [a for a in accounts if a not in waiting and self._work.halted(*a.key) is None]
        style = style_of(parent)
        blocked = {(leg.exchange, leg.account, leg.symbol) for leg in parent.legs if leg.blocked}
        blocked |= without
        if kind == "convert":
            return self._convert_again(parent, own, accounts, blocked, style, now)
        return self._portfolio_again(parent, own, accounts, blocked, style, now)

    def _convert_again(
        self,
        parent: Parent,
        own: Sequence[Sequence[Order]],
        accounts: list[Account],
        blocked: set[tuple[str, str, str]],
        style: Style,
        now: datetime,
    ) -> Draft | Need | None:
        end = str(parent.goal["end"])
        supplies = {
            node: amount
            for node, amount in ledger.pools(parent, own).items()
            if amount > ZERO and node[2] != end
        }
        if not supplies:
            return None
        if not self._worth_routing(parent, supplies):
            return None
        there = dict(supplies)  # stays granted, also what this plan does not touch
        end_amount = self._still_wanted(parent, own)
        if end_amount is not None and end_amount <= ZERO:
            return None
        turns = [supplies]
        if end_amount is not None and len({node[2] for node in supplies}) > 1:
            # What is on its way goes first; whether more of the start currency is needed shows afterwards.
            start = str(parent.goal["start"])
            turns = [
                {node: amount for node, amount in supplies.items() if (node[2] == start) is first}
                for first in (False, True)
            ]
        currencies = {node[2] for node in supplies} | {end} | {leg.target for leg in parent.legs}
        symbols = {
            a.key: candidates(a, currencies) - {s for e, n, s in blocked if (e, n) == a.key}
            for a in accounts
            if any(node[:2] == a.key for node in supplies)
        }
        here = [a for a in accounts if a.key in symbols]
        missing = self._sight.missing(here, symbols, now)
        if missing:
            return Need(books=missing)
        listings = self._sight.listings(here, symbols, now)
        numeraire = choose_numeraire(listings)
        prices = mid_prices(listings, numeraire)
        for given in turns:
            if not given:
                continue
            single = len({node[2] for node in given}) == 1  # else the goals of the last legs keep the bound
            proposal = route(
                listings, given, end, now=now, usd=prices, end_amount=end_amount if single else None
            )
            if proposal.legs:
                break
        else:
            return None
        goal = dict(parent.goal)
        return Draft(
            exchange=parent.exchange,
            account=parent.account,
            legs=legs_of(
                self._work, proposal.legs, style, parent.generation + 1, now, goal, parent, end_amount
            ),
            grants=tuple(
                Grant(exchange=e, account=a, currency=c, amount=amount)
                for (e, a, c), amount in sorted(there.items())
            ),
            start_amount=parent.start_amount,
            goal=goal,
            arrival=parent.arrival,
            planned=proposal.legs,
            style=style,
            proposal=proposal,
            prices=prices,
            numeraire=numeraire,
        )

    @staticmethod
    def _worth_routing(parent: Parent, supplies: Mapping[Node, Decimal]) -> bool:
        """Say whether some amount is above the smallest leg, at the decision's mids: dust needs no books."""
        prices, numeraire = prices_of(parent), str(parent.arrival.get("numeraire", ""))
        if numeraire not in DOLLARS:
            return True
        return any(
            node[2] not in prices or amount * prices[node[2]] >= MIN_LEG for node, amount in supplies.items()
        )

    def _portfolio_again(
        self,
        parent: Parent,
        own: Sequence[Sequence[Order]],
        accounts: list[Account],
        blocked: set[tuple[str, str, str]],
        style: Style,
        now: datetime,
    ) -> Draft | Need | None:
        holdings = holdings_now(parent, own)
        weights = {str(c): Decimal(str(w)) for c, w in mapping(parent.goal["weights"]).items()}
        keep = tuple(str(c) for c in sequence(parent.goal["keep"]))
        symbols = {
            a.key: candidates(a, set(weights) | {c for (e, n, c) in holdings if (e, n) == a.key})
            - {s for e, n, s in blocked if (e, n) == a.key}
            for a in accounts
        }
        missing = self._sight.missing(accounts, symbols, now)
        if missing:
            return Need(books=missing)
        capped = parent.goal["kind"] == "rebalance"
        listings = self._sight.listings(accounts, symbols, now, halted=True)
        plan = plan_portfolio(
            listings,
            holdings,
            weights,
            keep=keep,
            tolerance=Decimal(str(parent.goal["tolerance"])),
            min_trade=Decimal(str(parent.goal["min_trade"])),
        )
        if not plan.legs:
            return None
        legs = tuple(
            replace(leg, capped=capped)
            for leg in legs_of(self._work, plan.legs, style, parent.generation + 1, now, parent.goal, parent)
        )
        return Draft(
            exchange=parent.exchange,
            account=parent.account,
            legs=legs,
            grants=grants_for(plan.legs, holdings, capped=capped),
            start_amount=ZERO,
            goal=dict(parent.goal),
            arrival=parent.arrival,
            planned=plan.legs,
            style=style,
            portfolio=plan,
            prices=plan.prices,
            numeraire=plan.numeraire,
        )

    def better(self, parent: Parent, orders: list[Order], now: datetime) -> bool:
        """Say whether a new plan for what is left beats carrying on by more than the hysteresis."""
        if parent.goal.get("kind") != "convert":
            return False
        draft = self.again(parent, orders, now)
        if not isinstance(draft, Draft) or draft.proposal is None:
            return False
        own = ledger.by_leg(parent, orders)
        open_legs = [parent.legs[i] for i in ledger.current(parent) if parent.legs[i].closed_at is None]
        stuck = any(
            parent.legs[i].blocked and ledger.budget(parent, own, i) > ZERO for i in ledger.current(parent)
        )
        if not stuck and {(x.exchange, x.symbol, x.side) for x in open_legs} == {
            (x.exchange, x.symbol, x.side) for x in draft.legs
        }:
            return False
        carried = self._carry_on(parent, own, str(parent.goal["end"]))
        return draft.proposal.received > carried * (ONE + HYSTERESIS)

    def _carry_on(self, parent: Parent, own: Sequence[Sequence[Order]], end: str) -> Decimal:
        """Return what the legs as they are would still bring in, taken at once from the books as they are."""
        come: dict[Node, Decimal] = {}
        gained = ZERO
        for index in sorted(ledger.current(parent), key=lambda i: (parent.legs[i].level, i)):
            leg = parent.legs[index]
            if leg.closed_at is not None:
                continue
            node = ledger.source_of(leg)
            rivals = [
                parent.legs[i].amount
                for i in ledger.current(parent)
                if ledger.source_of(parent.legs[i]) == node and parent.legs[i].closed_at is None
            ]
            planned = sum(rivals, ZERO)
            share = leg.amount / planned if planned > ZERO else ONE
            money = max(ledger.budget(parent, own, index), ZERO) + come.get(node, ZERO) * share
            account = self._work.accounts[leg.exchange, leg.account]
            book, market = account.books.get(leg.symbol), account.markets.get(leg.symbol)
            if book is None or market is None:
                continue
            levels = book.asks if leg.side is Side.BUY else book.bids
            out, _ = sweep(leg.side, money, levels, market)
            if leg.target == end:
                gained += out
            else:
                target = ledger.target_of(leg)
                come[target] = come.get(target, ZERO) + out
        return gained

    def begin_generation(self, parent: Parent, orders: list[Order], draft: Draft, now: datetime) -> Parent:
        """Return the parent with its next plan: old legs closed, new ones appended, the money as it lies."""
        generation = parent.generation + 1
        legs = tuple(leg if leg.closed_at is not None else replace(leg, closed_at=now) for leg in parent.legs)
        for leg in draft.legs:
            self._out.watch(self._work.accounts[leg.exchange, leg.account], leg.symbol, now)
        return replace(
            parent,
            legs=(*legs, *(replace(leg, generation=generation) for leg in draft.legs)),
            grants=draft.grants,
            generation=generation,
            planned_at=now,
            state=ParentState.WORKING,
            exchange=names((*parent.legs, *draft.legs)),
        )

    def worth_telling(self, parent: Parent, left: Mapping[str, Decimal]) -> bool:
        """Say whether what is left over is more than dust: ten dollars, or a fiftieth of the whole."""
        prices, numeraire = prices_of(parent), str(parent.arrival.get("numeraire", ""))
        notional = Decimal(str(parent.arrival.get("notional", "0")))
        for currency, amount in left.items():
            if currency not in prices:
                return True
            value = amount * prices[currency]
            if (numeraire in DOLLARS and value >= MIN_LEG) or value > notional * MUCH:
                return True
        return False

    def left_over(self, parent: Parent, own: Sequence[Sequence[Order]]) -> dict[str, Decimal]:
        """Return what a parent was to trade and has not: currency -> amount."""
        kind = parent.goal.get("kind")
        left: dict[str, Decimal] = {}
        if kind == "rebalance":
            for index in ledger.current(parent):
                leg = parent.legs[index]
                if leg.code:
                    rest = ledger.budget(parent, own, index)
                    if rest > ZERO:
                        left[leg.source] = left.get(leg.source, ZERO) + rest
            return left
        if kind == "order":
            leg = parent.legs[0]
            missing = (leg.quantity or ZERO) - sum((o.filled_quantity for o in own[0]), ZERO)
            base = leg.source if leg.side is Side.SELL else leg.target
            return {base: missing} if missing > ZERO else {}
        end = str(parent.goal.get("end", parent.legs[-1].target))
        wanted = self._still_wanted(parent, own)
        if wanted is not None and wanted <= ZERO:
            return {}
        for node, amount in ledger.pools(parent, own).items():
            if node[2] != end and amount > ZERO:
                left[node[2]] = left.get(node[2], ZERO) + amount
        return left

    def _still_wanted(self, parent: Parent, own: Sequence[Sequence[Order]]) -> Decimal | None:
        """Return how much of an end amount is missing; None: no end amount was asked for."""
        if "end_amount" not in parent.goal:
            return None
        end = str(parent.goal["end"])
        got = sum((amount for node, amount in ledger.totals(parent, own).items() if node[2] == end), ZERO)
        return Decimal(str(parent.goal["end_amount"])) - got

    @staticmethod
    def handed_back(parent: Parent, own: Sequence[Sequence[Order]]) -> Parent:
        """Return an ended parent without the start currency that its end amount did not need: no dust."""
        if "end_amount" not in parent.goal:
            return parent
        rest = {n: max(a, ZERO) for n, a in ledger.pools(parent, own).items() if n[2] == parent.goal["start"]}
        grants = tuple(
            replace(g, amount=g.amount - rest.pop((g.exchange, g.account, g.currency), ZERO))
            for g in parent.grants
        )
        return replace(parent, grants=grants)

    def done_before(self, parent: Parent) -> Decimal:
        """Return the share of a parent, at the decision's mids, that earlier plans have done."""
        prices, notional = prices_of(parent), Decimal(str(parent.arrival.get("notional", "0")))
        if parent.generation == 0 or notional <= ZERO:
            return ZERO
        left = sum((g.amount * prices.get(g.currency, ZERO) for g in parent.grants), ZERO)
        return min(max(ONE - left / notional, ZERO), ONE)

    def ready_since(self, parent: Parent) -> datetime:
        """Return since when every account of a parent may be traded on."""
        since = [
            self._work.accounts[leg.exchange, leg.account].ready_at or parent.created_at
            for leg in parent.legs
        ]
        return max(since, default=parent.created_at)


def holdings_now(parent: Parent, own: Sequence[Sequence[Order]]) -> dict[Node, Decimal]:
    """Return the holdings a portfolio parent was planned on, moved by all it has traded since."""
    holdings: dict[Node, Decimal] = {}
    for text, amount in mapping(parent.arrival["holdings"]).items():
        exchange, account, currency = str(text).split("/", 2)
        holdings[exchange, account, currency] = Decimal(str(amount))
    for node, amount in ledger.totals(parent, own).items():
        holdings[node] = holdings.get(node, ZERO) + amount
    for leg, orders in zip(parent.legs, own, strict=True):
        for currency in {c for order in orders for c in order.fees} - {leg.source, leg.target}:
            node = (leg.exchange, leg.account, currency)  # a fee in a third currency
            paid = sum((order.fees.get(currency, ZERO) for order in orders), ZERO)
            holdings[node] = holdings.get(node, ZERO) - paid
    return {node: amount for node, amount in holdings.items() if amount > ZERO}
