"""Plans: what a command would trade, on which books, with whose money; and new plans for parents at work.

Planning looks and computes; it writes nothing and sends nothing but requests to look. Each entry answers one
of three things: a `Draft` (go ahead), a `Problem` (no, with the number that would pass), or a `Need` (look
first: a refusal must never rest on an old balance, nor a route on a missing book).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Context, Decimal

from ems.algos import ledger
from ems.algos.ledger import Node
from ems.core import errors
from ems.core.codec import nearest, plain
from ems.core.instrument import Market, ceil_to
from ems.core.messages import (
    BookUpdate,
    LimitOrder,
    Liquidate,
    MarketOrder,
    Problem,
    QueryBalances,
    Rebalance,
    Share,
    Side,
    SmartOrder,
    Style,
)
from ems.core.records import Grant, Leg, Order, Parent, ParentState
from ems.engine.account import Account, Readiness
from ems.engine.turn import Out
from ems.engine.work import Work
from ems.routing.chain import HUBS, shortest_chain, sweep
from ems.routing.plan import Listing, PlannedLeg, Proposal
from ems.routing.planner import PortfolioPlan, plan_portfolio
from ems.routing.planner_prices import choose_numeraire, mid_prices
from ems.routing.route import route

ZERO = Decimal(0)
ONE = Decimal(1)
BP = Decimal("0.0001")

BALANCE_AGE_S = 2.0  # a balance asked for within this is fresh enough to refuse on
BOOK_AGE_S = 5.0  # RELIABILITY.md C.3 #56: an older book is not traded on
DARK_S = 60.0  # a book that did not come when it was waited for is not waited for again this long
HYSTERESIS = Decimal("0.5") * BP  # EXECUTION.md 5.2: a new plan must be this much better
LAST_SPAN_S = 5.0  # a plan made at the end of the time gets this long all the same
ROUTED_NOTIONAL = Decimal("1.5")  # the smallest leg, in smallest notionals (EXECUTION.md 2.5)
TAKE_THROUGH = 5 * BP  # a market order's money is counted this far beyond the touch

# EXECUTION.md 4.2: how far from its mid at decision a leg may trade when the caller does not say.
MAJORS = frozenset({"BTC", "ETH"})
SLIPPAGE_MAJOR_BPS = Decimal(50)
SLIPPAGE_BPS = Decimal(150)

SHOWN = Context(prec=18)
LESS = Decimal("0.999")  # of what can be reached just now, prices move

Key = tuple[str, str]  # (exchange, account)


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What must be looked at before the command can be judged."""

    balances: frozenset[Key] = frozenset()
    books: frozenset[tuple[str, str, str]] = frozenset()  # (exchange, account, symbol)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A plan that may start: everything a parent needs, and what people want to know of it."""

    exchange: str
    account: str
    legs: tuple[Leg, ...]  # empty: nothing to do, `reason` says why
    grants: tuple[Grant, ...]
    start_amount: Decimal
    goal: dict[str, object]
    arrival: dict[str, object]
    planned: tuple[PlannedLeg, ...] = ()
    style: Style
    proposal: Proposal | None = None
    portfolio: PortfolioPlan | None = None
    prices: Mapping[str, Decimal] = field(default_factory=dict)  # currency -> mid in `numeraire` at decision
    numeraire: str = ""
    ages_s: Mapping[str, str] = field(default_factory=dict)  # "binance BTC/USDT" -> seconds
    left_out: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


class Plans:
    """Makes plans from what is known of the accounts."""

    def __init__(self, out: Out, work: Work):
        self._out = out
        self._work = work

    # --- Entries -----------------------------------------------------------------------------------------

    def draft(
        self, command: SmartOrder | Liquidate | Rebalance, now: datetime, *, patient: bool
    ) -> Draft | Need | Problem:
        """Plan a command. With `patient` False nothing more can be waited for: judge on what is known."""
        found = self._scope(command.exchange, command.account)
        if isinstance(found, Problem):
            return found
        accounts, left_out = found
        if isinstance(command, SmartOrder):
            return self._convert(command, accounts, left_out, now, patient)
        return self._portfolio(command, accounts, left_out, now, patient)

    def order(
        self, command: MarketOrder | LimitOrder, account: Account, now: datetime, *, patient: bool
    ) -> Draft | Need | Problem:
        """Plan one market's order that an algorithm is to work: so much base, never beyond its price."""
        assert command.style is not None
        market = account.markets.get(command.symbol)
        if market is None or not market.active:
            return symbol_unknown(account, command.symbol)
        book = account.books.get(command.symbol)
        if not usable(book, now):
            if patient:
                return Need(books=frozenset({(*account.key, command.symbol)}))
            return no_book(account, [command.symbol])
        assert book is not None
        mid = (book.bids[0][0] + book.asks[0][0]) / 2
        limit = _limit(market, command.side, mid, command.style)
        if isinstance(command, LimitOrder):
            price = market.passive_price(command.side, command.price)
            limit = min(limit, price) if command.side is Side.BUY else max(limit, price)
            if command.style.max_slippage_bps is None:
                limit = price
        quantity = market.floor_quantity(command.quantity)
        worst = min(limit, book.bids[0][0])
        if not market.order_ok(min(quantity, market.max_quantity or quantity), worst):
            return too_small(market, "quantity", command.quantity, worst)
        source = market.quote if command.side is Side.BUY else market.base
        target = market.base if command.side is Side.BUY else market.quote
        amount = market.reserve(command.side, quantity, limit, post_only=False)
        short = self._short_of(account, source, amount)
        if short is not None:
            if patient and not fresh(account, now):
                return Need(balances=frozenset({account.key}))
            return short
        leg = Leg(
            exchange=account.exchange,
            account=account.account,
            symbol=market.symbol,
            side=command.side,
            source=source,
            target=target,
            amount=amount,
            limit=limit,
            quantity=quantity,
            started_at=now,
            ends_at=now + timedelta(seconds=float(command.style.time_limit)),
        )
        listings = [_listing(account, market, book)]
        prices = mid_prices(listings, market.quote)
        arrival = self._arrival(
            [leg], {(*account.key, source): amount}, listings, prices, market.quote, quantity=quantity
        )
        return Draft(
            exchange=account.exchange,
            account=account.account,
            legs=(leg,),
            grants=(Grant(exchange=leg.exchange, account=leg.account, currency=source, amount=amount),),
            start_amount=quantity,
            goal={"kind": "order"},
            arrival=arrival,
            style=command.style,
            prices=prices,
            numeraire=market.quote,
            ages_s=_ages(listings, now),
        )

    def look(self, need: Need, now: datetime) -> None:
        """Ask for what a plan needs."""
        for key in sorted(need.balances):
            self._out.send(self._work.accounts[key], QueryBalances())
        for exchange, account, symbol in sorted(need.books):
            self._out.watch(self._work.accounts[exchange, account], symbol, now)

    def ready_since(self, parent: Parent) -> datetime:
        """Return since when every account of a parent may be traded on."""
        since = [
            self._work.accounts[leg.exchange, leg.account].ready_at or parent.created_at
            for leg in parent.legs
        ]
        return max(since, default=parent.created_at)

    # --- Convert one currency into another -----------------------------------------------------------------

    def _convert(
        self,
        command: SmartOrder,
        accounts: list[Account],
        left_out: dict[str, str],
        now: datetime,
        patient: bool,
    ) -> Draft | Need | Problem:
        start, end = command.start_currency, command.end_currency
        for name in ("start_currency", "end_currency"):
            currency = getattr(command, name)
            known = {c for a in accounts for c in a.currencies()}
            if currency not in known:
                return currency_unknown(accounts, name, currency, known)
        routed = [a for a in accounts if shortest_chain(a.markets.values(), start, end)]
        for account in accounts:
            if account not in routed:
                left_out[account.exchange] = f"no chain of up to three markets from {start} to {end}"
        if not routed:
            names = ", ".join(a.exchange for a in accounts)
            reason = f"no chain of up to three markets of {names} leads from {start} to {end}"
            return self._nothing(command, accounts, command.style, left_out, reason)
        supplies = {(*a.key, start): self._available(a, start) for a in routed}
        amount: Decimal | None = None
        if isinstance(command.start_amount, Share):
            part = command.start_amount.percent / 100
            supplies = {node: available * part for node, available in supplies.items()}
            amount = sum(supplies.values(), ZERO)
        elif command.start_amount is not None:
            amount = command.start_amount
        stale = frozenset(a.key for a in routed if not fresh(a, now))
        asks_all = command.start_amount is None or isinstance(command.start_amount, Share)
        short = amount is not None and amount > sum(supplies.values(), ZERO)
        nothing = not any(supplies.values())
        symbols = {a.key: candidates(a, {start, end}, start, end) for a in routed}
        missing = self._missing(routed, symbols, now)
        needs_balance = stale if asks_all or short or nothing else frozenset()
        if patient and (missing or needs_balance):
            return Need(balances=needs_balance, books=missing)
        if short or nothing:
            wanted = amount if amount is not None else ZERO
            return self._short(routed, start, wanted)
        listings = self._listings(routed, symbols, now)
        seen = {a.key for a in routed if shortest_chain(_seen(listings, a), start, end)}
        if not seen:
            self._mark_dark(missing, now)
            return no_book(routed[0], sorted({symbol for _, _, symbol in missing}))
        self._mark_dark(missing, now)
        numeraire = choose_numeraire(listings)
        prices = mid_prices(listings, numeraire)
        proposal = route(
            listings,
            {node: held for node, held in supplies.items() if held > ZERO and node[:2] in seen},
            end,
            amount=amount,
            now=now,
            usd=prices,
            end_amount=command.end_amount,
        )
        if command.end_amount is not None and proposal.received < command.end_amount:
            return unreachable(command.end_amount, end, proposal.received)
        if not proposal.legs:
            single = next((a for a in routed if a.key in seen), None)
            if single is not None and amount is not None:
                problem = self._chain_too_small(single, start, end, amount)
                if problem is not None:
                    return problem
            return self._nothing(command, accounts, command.style, left_out, proposal.reason)
        goal: dict[str, object] = {"kind": "convert", "start": start, "end": end}
        if command.end_amount is not None:
            goal["end_amount"] = plain(command.end_amount)
        goal["accounts"] = [list(a.key) for a in routed]
        grants = _grants_of(proposal, amount, supplies)
        legs = self._legs_of(proposal.legs, command.style, 0, now, goal)
        total = sum((g.amount for g in grants), ZERO)
        arrival = self._arrival(
            legs, {(g.exchange, g.account, g.currency): g.amount for g in grants}, listings, prices, numeraire
        )
        return Draft(
            exchange=_names(legs),
            account=command.account,
            legs=legs,
            grants=grants,
            start_amount=total,
            goal=goal,
            arrival=arrival,
            planned=proposal.legs,
            style=command.style,
            proposal=proposal,
            prices=prices,
            numeraire=numeraire,
            ages_s=_ages(listings, now, {(leg.exchange, leg.symbol) for leg in legs}),
            left_out={**left_out, **proposal.left_out},
        )

    # --- A portfolio ---------------------------------------------------------------------------------------

    def _portfolio(
        self,
        command: Liquidate | Rebalance,
        accounts: list[Account],
        left_out: dict[str, str],
        now: datetime,
        patient: bool,
    ) -> Draft | Need | Problem:
        known = {c for a in accounts for c in a.currencies()}
        wanted = {command.end_currency} if isinstance(command, Liquidate) else set(command.targets)
        for currency in sorted(wanted):
            if currency not in known:
                name = "end_currency" if isinstance(command, Liquidate) else "targets"
                return currency_unknown(accounts, name, currency, known)
        stale = frozenset(a.key for a in accounts if not fresh(a, now))
        if patient and stale:
            return Need(balances=stale)
        holdings = self._holdings(command, accounts)
        symbols = {
            a.key: candidates(a, wanted | {c for (e, n, c) in holdings if (e, n) == a.key}) for a in accounts
        }
        missing = self._missing(accounts, symbols, now)
        if patient and missing:
            return Need(books=missing)
        self._mark_dark(missing, now)
        listings = self._listings(accounts, symbols, now, halted=True)
        if isinstance(command, Liquidate):
            weights = {command.end_currency: ONE}
            keep: tuple[str, ...] = ()
            tolerance, capped = ZERO, False
        else:
            weights, keep = command.targets, command.keep
            tolerance, capped = command.tolerance, True
        plan = plan_portfolio(
            listings, holdings, weights, keep=keep, tolerance=tolerance, min_trade=command.min_trade
        )
        goal: dict[str, object] = {
            "kind": "rebalance" if capped else "liquidate",
            "weights": {c: plain(w) for c, w in weights.items()},
            "keep": list(keep),
            "tolerance": plain(tolerance),
            "min_trade": plain(command.min_trade),
            "accounts": [list(a.key) for a in accounts],
        }
        if isinstance(command, Liquidate):
            goal["end"] = command.end_currency
        dust = {f"{e} {c}": dust.why for (e, n, c), dust in plan.dust.items()}
        if not plan.legs:
            return replace(
                self._nothing(command, accounts, command.style, {**left_out, **dust}, plan.reason),
                portfolio=plan,
                prices=plan.prices,
                numeraire=plan.numeraire,
            )
        legs = tuple(
            replace(leg, capped=capped) for leg in self._legs_of(plan.legs, command.style, 0, now, goal)
        )
        grants = _grants_for(plan.legs, holdings, capped=capped)
        arrival = self._arrival(
            legs,
            {(g.exchange, g.account, g.currency): g.amount for g in grants},
            listings,
            plan.prices,
            plan.numeraire,
        )
        arrival["holdings"] = {"/".join(node): plain(amount) for node, amount in holdings.items()}
        arrival["value_before"] = plain(short_number(plan.value_before))
        return Draft(
            exchange=_names(legs),
            account=command.account,
            legs=legs,
            grants=grants,
            start_amount=ZERO,
            goal=goal,
            arrival=arrival,
            planned=plan.legs,
            style=command.style,
            portfolio=plan,
            prices=plan.prices,
            numeraire=plan.numeraire,
            ages_s=_ages(listings, now, {(leg.exchange, leg.symbol) for leg in legs}),
            left_out={**left_out, **dust},
            reason=plan.reason,
        )

    def _holdings(self, command: Liquidate | Rebalance, accounts: list[Account]) -> dict[Node, Decimal]:
        """Return what the command is about: held, free of other claims, and not excluded."""
        holdings: dict[Node, Decimal] = {}
        for account in accounts:
            claims = self._work.claims(account)
            for currency in sorted(account.holdings.total):
                if isinstance(command, Liquidate):
                    out = currency in command.exclude or (
                        command.currencies and currency not in (*command.currencies, command.end_currency)
                    )
                else:
                    out = False
                free = max(account.holdings.usable(currency) - claims.get(currency, ZERO), ZERO)
                if free > ZERO and not out:
                    holdings[(*account.key, currency)] = free
        return holdings

    # --- New plans for a parent at work --------------------------------------------------------------

    def again(self, parent: Parent, orders: list[Order], now: datetime) -> Draft | Need | None:
        """Plan what is left of a parent; None: there is nothing more that could be traded."""
        kind = parent.goal.get("kind")
        if kind not in ("convert", "liquidate", "rebalance"):
            return None
        own = ledger.by_leg(parent, orders)
        accounts = self._accounts_of(parent)
        waiting = [a for a in accounts if a.readiness is not Readiness.READY]
        used = {(leg.exchange, leg.account) for leg in parent.legs}
        if any(a.key in used for a in waiting):
            return Need()
        accounts = [a for a in accounts if a not in waiting]
        style = _style_of(parent)
        blocked = {(leg.exchange, leg.account, leg.symbol) for leg in parent.legs if leg.blocked}
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
        end_amount = self._still_wanted(parent, own)
        if end_amount is not None and end_amount <= ZERO:
            return None
        currencies = {node[2] for node in supplies} | {end}
        symbols = {
            a.key: candidates(a, currencies) - {s for e, n, s in blocked if (e, n) == a.key}
            for a in accounts
            if any(node[:2] == a.key for node in supplies)
        }
        here = [a for a in accounts if a.key in symbols]
        missing = self._missing(here, symbols, now)
        if missing:
            return Need(books=missing)
        listings = self._listings(here, symbols, now)
        numeraire = choose_numeraire(listings)
        prices = mid_prices(listings, numeraire)
        proposal = route(listings, supplies, end, now=now, usd=prices, end_amount=end_amount)
        if not proposal.legs:
            return None
        goal = dict(parent.goal)
        return Draft(
            exchange=parent.exchange,
            account=parent.account,
            legs=self._legs_of(proposal.legs, style, parent.generation + 1, now, goal, parent, end_amount),
            grants=tuple(
                Grant(exchange=e, account=a, currency=c, amount=amount)
                for (e, a, c), amount in sorted(supplies.items())
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
        weights = {str(c): Decimal(str(w)) for c, w in _mapping(parent.goal["weights"]).items()}
        keep = tuple(str(c) for c in _sequence(parent.goal["keep"]))
        symbols = {
            a.key: candidates(a, set(weights) | {c for (e, n, c) in holdings if (e, n) == a.key})
            - {s for e, n, s in blocked if (e, n) == a.key}
            for a in accounts
        }
        missing = self._missing(accounts, symbols, now)
        if missing:
            return Need(books=missing)
        capped = parent.goal["kind"] == "rebalance"
        listings = self._listings(accounts, symbols, now, halted=True)
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
            for leg in self._legs_of(plan.legs, style, parent.generation + 1, now, parent.goal, parent)
        )
        return Draft(
            exchange=parent.exchange,
            account=parent.account,
            legs=legs,
            grants=_grants_for(plan.legs, holdings, capped=capped),
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
        if {(x.exchange, x.symbol, x.side) for x in open_legs} == {
            (x.exchange, x.symbol, x.side) for x in draft.legs
        }:
            return False
        carried = self._carry_on(parent, own, str(parent.goal["end"]))
        return draft.proposal.received > carried * (ONE + HYSTERESIS)

    def _carry_on(self, parent: Parent, own: Sequence[Sequence[Order]], end: str) -> Decimal:
        """Return what the legs as they are would still bring in, taken at once from the books as they are."""
        there = ledger.pools(parent, own)
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
            money = max(there.get(node, ZERO), ZERO) + come.get(node, ZERO)
            account = self._work.accounts[leg.exchange, leg.account]
            book, market = account.books.get(leg.symbol), account.markets.get(leg.symbol)
            if book is None or market is None:
                continue
            levels = book.asks if leg.side is Side.BUY else book.bids
            out, _ = sweep(leg.side, money * share, levels, market)
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
            exchange=_names((*parent.legs, *draft.legs)),
        )

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

    # --- Inside ------------------------------------------------------------------------------------------

    def _scope(self, exchange: str, account: str) -> tuple[list[Account], dict[str, str]] | Problem:
        """Return the accounts a command is about and why others are left out."""
        left_out: dict[str, str] = {}
        if exchange == "all":
            accounts = [a for (_, name), a in sorted(self._work.accounts.items()) if name == account]
            for a in accounts:
                if a.readiness is not Readiness.READY:
                    left_out[a.exchange] = f"not ready to trade: {a.trouble or a.readiness}"
            ready = [a for a in accounts if a.readiness is Readiness.READY]
            if not accounts:
                return self._work.no_account("all", account)
            if not ready:
                whys = "; ".join(f"{name}: {why}" for name, why in left_out.items())
                return errors.problem(errors.EXCHANGE_UNAVAILABLE, f"no exchange is ready to trade: {whys}")
            accounts = ready
        else:
            accounts = []
            for name in exchange.split(","):
                one = self._work.accounts.get((name, account))
                if one is None:
                    return self._work.no_account(name, account)
                if one.readiness is not Readiness.READY:
                    return not_ready(one)
                accounts.append(one)
        if len({a.mode for a in accounts}) > 1:
            modes = ", ".join(f"{a.exchange} ({a.mode})" for a in accounts)
            return errors.problem(
                errors.REQUEST_FIELD_INVALID,
                f"exchange: live and paper accounts cannot be planned together: {modes}",
                hint="Name the exchanges of one mode.",
                details={"field": "exchange", "value": exchange},
            )
        return accounts, left_out

    def _accounts_of(self, parent: Parent) -> list[Account]:
        keys = [tuple(str(part) for part in _sequence(key)) for key in _sequence(parent.goal["accounts"])]
        return [a for key in keys if (a := self._work.accounts.get((key[0], key[1]))) is not None]

    def _available(self, account: Account, currency: str) -> Decimal:
        claimed = self._work.claims(account).get(currency, ZERO)
        return max(account.holdings.usable(currency) - claimed, ZERO)

    def _missing(
        self, accounts: Iterable[Account], symbols: Mapping[Key, Collection[str]], now: datetime
    ) -> frozenset[tuple[str, str, str]]:
        """Return the books that are needed, not at hand, and worth waiting for."""
        missing = set()
        for account in accounts:
            for symbol in symbols.get(account.key, ()):
                market = account.markets[symbol]
                dark = account.dark.get(symbol)
                if dark is not None and (now - dark).total_seconds() < DARK_S:
                    self._out.watch(account, symbol, now)
                    continue
                if market.active and not usable(account.books.get(symbol), now):
                    missing.add((*account.key, symbol))
        return frozenset(missing)

    def _mark_dark(self, missing: Iterable[tuple[str, str, str]], now: datetime) -> None:
        for exchange, account, symbol in missing:
            self._work.accounts[exchange, account].dark[symbol] = now

    def _listings(
        self,
        accounts: Iterable[Account],
        symbols: Mapping[Key, Collection[str]],
        now: datetime,
        *,
        halted: bool = False,
    ) -> list[Listing]:
        """Return the markets with usable books; with `halted` also those that are not trading, for their
        prices."""
        found = []
        for account in accounts:
            for symbol in sorted(symbols.get(account.key, ())):
                market, book = account.markets[symbol], account.books.get(symbol)
                if book is None:
                    continue
                if usable(book, now) if market.active else halted:
                    found.append(_listing(account, market, book))
                    self._out.watch(account, symbol, now)
        return found

    def _legs_of(
        self,
        planned: Sequence[PlannedLeg],
        style: Style,
        generation: int,
        now: datetime,
        goal: Mapping[str, object],
        parent: Parent | None = None,
        end_amount: Decimal | None = None,
    ) -> tuple[Leg, ...]:
        """Turn what router or planner propose into legs, with their part of the time and their limits."""
        begun = now if parent is None else parent.created_at
        ends = max(
            begun + timedelta(seconds=float(style.time_limit)),
            now + timedelta(seconds=LAST_SPAN_S if parent is not None else 0),
        )
        levels = max((leg.level for leg in planned), default=0) + 1
        span = (ends - now) / levels
        if end_amount is None and "end_amount" in goal:
            end_amount = Decimal(str(goal["end_amount"]))
        end = str(goal.get("end", ""))
        finals = sum((leg.receive for leg in planned if leg.target == end), ZERO)
        legs = []
        for leg in planned:
            account = self._work.accounts[leg.exchange, leg.account]
            market, book = account.markets[leg.symbol], account.books[leg.symbol]
            mid = (book.bids[0][0] + book.asks[0][0]) / 2
            share = leg.receive / finals if finals > ZERO else ONE
            aims = end_amount is not None and leg.target == end
            legs.append(
                Leg(
                    exchange=leg.exchange,
                    account=leg.account,
                    symbol=leg.symbol,
                    side=leg.side,
                    source=leg.source,
                    target=leg.target,
                    amount=leg.spend,
                    receive=leg.receive,
                    level=leg.level,
                    generation=generation,
                    limit=_limit(market, leg.side, mid, style),
                    goal=end_amount * share if aims and end_amount is not None else None,
                    started_at=now if leg.level == 0 else None,
                    ends_at=now + span * (leg.level + 1),
                )
            )
        return tuple(legs)

    def _arrival(
        self,
        legs: Sequence[Leg],
        grants: Mapping[Node, Decimal],
        listings: Sequence[Listing],
        prices: Mapping[str, Decimal],
        numeraire: str,
        quantity: Decimal | None = None,
    ) -> dict[str, object]:
        """Return the benchmark of a parent at the moment it is accepted, so that it cannot be chosen later.

        "spent" and "received" are what taking the plan at once from the displayed books would have given.
        """
        books = {(x.exchange, x.account, x.market.symbol): x for x in listings}
        money = dict(grants)
        used: dict[str, Decimal] = {}
        got: dict[str, Decimal] = {}
        marks: dict[str, object] = {}
        for index, leg in sorted(enumerate(legs), key=lambda pair: (pair[1].level, pair[0])):
            listing = books[leg.exchange, leg.account, leg.symbol]
            bid, ask = listing.bids[0][0], listing.asks[0][0]
            node = ledger.source_of(leg)
            rivals = sum((x.amount for x in legs if ledger.source_of(x) == node), ZERO)
            fed = money.get(node, ZERO)
            amount = fed * leg.amount / rivals if rivals > ZERO else fed
            if leg.capped:
                amount = min(amount, leg.amount)
            levels = listing.asks if leg.side is Side.BUY else listing.bids
            if quantity is not None:
                levels = _first(levels, quantity)
            out, taken = sweep(leg.side, amount, levels, listing.market)
            price = None
            if out > ZERO and taken > ZERO:
                price = plain(short_number(taken / out if leg.side is Side.BUY else out / taken))
            marks[str(index)] = {"bid": plain(bid), "ask": plain(ask), "sweep": price}
            target = ledger.target_of(leg)
            money[target] = money.get(target, ZERO) + out
            used[leg.source] = used.get(leg.source, ZERO) + taken
            got[leg.target] = got.get(leg.target, ZERO) + out
        worth = sum((amount * prices.get(node[2], ZERO) for node, amount in grants.items()), ZERO)
        if quantity is not None:
            worth = quantity * prices[legs[0].target if legs[0].side is Side.BUY else legs[0].source]
        net = {c: got.get(c, ZERO) - used.get(c, ZERO) for c in used.keys() | got.keys()}
        return {
            "net": {c: plain(short_number(amount)) for c, amount in sorted(net.items())},
            "prices": {c: plain(short_number(p)) for c, p in sorted(prices.items())},
            "numeraire": numeraire,
            "notional": plain(short_number(worth)),
            "marks": marks,
        }

    def _still_wanted(self, parent: Parent, own: Sequence[Sequence[Order]]) -> Decimal | None:
        """Return how much of an end amount is missing; None: no end amount was asked for."""
        if "end_amount" not in parent.goal:
            return None
        end = str(parent.goal["end"])
        got = sum((amount for node, amount in ledger.totals(parent, own).items() if node[2] == end), ZERO)
        return Decimal(str(parent.goal["end_amount"])) - got

    def _nothing(
        self,
        command: SmartOrder | Liquidate | Rebalance,
        accounts: list[Account],
        style: Style,
        left_out: Mapping[str, str],
        reason: str,
    ) -> Draft:
        return Draft(
            exchange=",".join(a.exchange for a in accounts),
            account=command.account,
            legs=(),
            grants=(),
            start_amount=ZERO,
            goal={},
            arrival={},
            style=style,
            left_out=left_out,
            reason=reason,
        )

    def _short_of(self, account: Account, currency: str, wanted: Decimal) -> Problem | None:
        if wanted <= self._available(account, currency):
            return None
        return self._short([account], currency, wanted)

    def _short(self, accounts: Sequence[Account], currency: str, wanted: Decimal) -> Problem:
        usable_here = sum((a.holdings.usable(currency) for a in accounts), ZERO)
        claimed = sum((self._work.claims(a).get(currency, ZERO) for a in accounts), ZERO)
        return short_of(accounts, currency, wanted, usable_here, claimed)

    def _chain_too_small(self, account: Account, start: str, end: str, amount: Decimal) -> Problem | None:
        """Refuse an amount of which some market of the shortest chain could not make a legal order."""
        carried = amount
        for hop in shortest_chain(account.markets.values(), start, end):
            market, book = account.markets[hop.symbol], account.books.get(hop.symbol)
            if book is None or not book.bids or not book.asks:
                return None
            far = book.asks[0][0] if hop.side is Side.BUY else book.bids[0][0]
            price = market.taker_price(
                hop.side, far * (1 + (TAKE_THROUGH if hop.side is Side.BUY else -TAKE_THROUGH))
            )
            worst = min(price, book.bids[0][0])
            if hop.side is Side.BUY:
                quantity = market.largest_buy(carried, price, haircut=ZERO, post_only=False)
            else:
                quantity = market.largest_sell(carried, haircut=ZERO, post_only=False)
            # The router wants 1.5 times the smallest notional of a leg (EXECUTION.md 2.5).
            if (
                not market.order_ok(quantity, worst)
                or quantity * worst < ROUTED_NOTIONAL * market.min_notional
            ):
                smallest = market.smallest_order(worst) * ROUTED_NOTIONAL
                needed = market.reserve(hop.side, smallest, price, post_only=False)
                # Scale back to the start currency and add 1 %: prices move while it is worked.
                least = needed * amount / carried * Decimal("1.01") if carried > ZERO else needed
                least = ceil_to(least, Decimal(10) ** (least.adjusted() - 3))
                return errors.problem(
                    errors.AMOUNT_TOO_SMALL,
                    f"start_amount: {plain(amount)} {start} is below the smallest order of {hop.symbol}",
                    hint=f"Ask for at least about {plain(least)} {start}.",
                    details={
                        "field": "start_amount",
                        "value": plain(amount),
                        "limit": plain(least),
                        "symbol": hop.symbol,
                    },
                )
            levels = book.asks if hop.side is Side.BUY else book.bids
            carried, _ = sweep(hop.side, carried, levels, market)
        return None


# --- Plain functions ----------------------------------------------------------------------------------------


def usable(book: BookUpdate | None, now: datetime) -> bool:
    """Say whether a book may be traded on: both sides, not crossed, fresh."""
    if book is None or not book.bids or not book.asks or book.bids[0][0] >= book.asks[0][0]:
        return False
    return (now - book.at).total_seconds() <= BOOK_AGE_S


def fresh(account: Account, now: datetime) -> bool:
    """Say whether the balances are fresh enough to refuse on."""
    as_of = account.holdings.as_of
    return as_of is not None and (now - as_of).total_seconds() <= BALANCE_AGE_S


def candidates(
    account: Account, currencies: Collection[str], start: str | None = None, end: str | None = None
) -> set[str]:
    """Return the markets worth a book: between the currencies and the hubs of the venue.

    With `start` and `end` only those on some walk of up to three markets from the one to the other.
    """
    inside = set(currencies) | set(HUBS)
    found = {
        m.symbol: (m.base, m.quote)
        for m in account.markets.values()
        if m.base in inside
        and m.quote in inside
        and (m.base in currencies or m.quote in currencies or m.active)
    }
    if start is None or end is None:
        return set(found)
    near: dict[str, set[str]] = {}
    for base, quote in found.values():
        near.setdefault(base, set()).add(quote)
        near.setdefault(quote, set()).add(base)
    first, last = near.get(start, set()) | {start}, near.get(end, set()) | {end}
    return {
        symbol
        for symbol, (base, quote) in found.items()
        if (base in first and quote in last and end != base and start != quote)
        or (quote in first and base in last and end != quote and start != base)
    }


def holdings_now(parent: Parent, own: Sequence[Sequence[Order]]) -> dict[Node, Decimal]:
    """Return the holdings a portfolio parent was planned on, moved by all it has traded since."""
    holdings: dict[Node, Decimal] = {}
    for text, amount in _mapping(parent.arrival["holdings"]).items():
        exchange, account, currency = str(text).split("/", 2)
        holdings[exchange, account, currency] = Decimal(str(amount))
    for node, amount in ledger.totals(parent, own).items():
        holdings[node] = holdings.get(node, ZERO) + amount
    return {node: amount for node, amount in holdings.items() if amount > ZERO}


def not_ready(account: Account) -> Problem:
    why = account.trouble or account.readiness
    return errors.problem(errors.EXCHANGE_UNAVAILABLE, f"{account.exchange} is not ready to trade: {why}")


def no_book(account: Account, symbols: Sequence[str]) -> Problem:
    return errors.problem(
        errors.EXCHANGE_UNAVAILABLE,
        f"{account.exchange} sends no usable order book of {', '.join(symbols)}",
    )


def too_small(market: Market, name: str, asked: Decimal, price: Decimal) -> Problem:
    smallest = market.smallest_order(price)
    return errors.problem(
        errors.AMOUNT_TOO_SMALL,
        f"{name}: {plain(asked)} {market.base} is below the smallest order of {market.symbol}",
        hint=f"Ask for at least {plain(smallest)} {market.base}.",
        details={"field": name, "value": plain(asked), "limit": plain(smallest)},
    )


def unreachable(wanted: Decimal, currency: str, most: Decimal) -> Problem:
    return errors.problem(
        errors.AMOUNT_UNREACHABLE,
        f"end_amount: {plain(wanted)} {currency} is more than what is held can buy: about "
        f"{plain(short_number(most))} {currency}",
        hint=f"Ask for at most about {plain(short_number(most * LESS))} {currency}, or deposit more.",
        details={"field": "end_amount", "value": plain(wanted), "reachable": plain(short_number(most))},
    )


def short_of(
    accounts: Sequence[Account], currency: str, wanted: Decimal, held: Decimal, claimed: Decimal
) -> Problem:
    """Return the refusal for lack of funds, with what is there and what holds the rest."""
    available = max(held - claimed, ZERO)
    where = ", ".join(a.exchange for a in accounts)
    message = (
        f"{plain(wanted)} {currency} is needed and {plain(available)} {currency} is available at {where}"
    )
    if wanted <= ZERO:
        message = f"no {currency} is available at {where}"
    if claimed > ZERO:
        message += f" ({plain(claimed)} {currency} is claimed by work in progress)"
    return errors.problem(
        errors.FUNDS_INSUFFICIENT,
        message,
        hint=f"Ask for at most {plain(available)} {currency}, deposit, or wait for work in progress to end.",
        details={
            "currency": currency,
            "needed": plain(wanted),
            "available": plain(available),
            "claimed": plain(claimed),
        },
    )


def currency_unknown(accounts: Sequence[Account], field_name: str, currency: str, known: set[str]) -> Problem:
    close = nearest(currency, sorted(known))
    hint = f"Did you mean {close}?" if close else errors.CODES[errors.CURRENCY_UNKNOWN].hint
    names = ", ".join(a.exchange for a in accounts)
    verb = "does" if len(accounts) == 1 else "do"
    return errors.problem(
        errors.CURRENCY_UNKNOWN,
        f"{field_name}: {names} {verb} not trade {currency}",
        hint=hint,
        details={"field": field_name, "value": currency},
    )


def symbol_unknown(account: Account, symbol: str) -> Problem:
    close = nearest(symbol, sorted(s for s, m in account.markets.items() if m.active))
    hint = f"Did you mean {close}?" if close else errors.CODES[errors.SYMBOL_UNKNOWN].hint
    return errors.problem(
        errors.SYMBOL_UNKNOWN,
        f"symbol: {account.exchange} has no market {symbol} open for trading",
        hint=hint,
        details={"field": "symbol", "value": symbol},
    )


def _limit(market: Market, side: Side, mid: Decimal, style: Style) -> Decimal:
    """Return the worst price a leg may trade at."""
    bps = style.max_slippage_bps
    if bps is None:
        bps = SLIPPAGE_MAJOR_BPS if market.base in MAJORS else SLIPPAGE_BPS
    worst = mid * (ONE + bps * BP) if side is Side.BUY else mid * (ONE - bps * BP)
    return market.passive_price(side, worst)


def _style_of(parent: Parent) -> Style:
    return Style(
        algo=parent.algo,
        params=parent.params,
        time_limit=parent.time_limit,
        on_timeout=parent.on_timeout,
        max_slippage_bps=parent.max_slippage_bps,
    )


def _listing(account: Account, market: Market, book: BookUpdate) -> Listing:
    return Listing(
        exchange=account.exchange,
        account=account.account,
        market=market,
        bids=book.bids,
        asks=book.asks,
        at=book.at,
    )


def _seen(listings: Iterable[Listing], account: Account) -> list[Market]:
    return [x.market for x in listings if (x.exchange, x.account) == account.key]


def _grants_of(
    proposal: Proposal, amount: Decimal | None, supplies: Mapping[Node, Decimal]
) -> tuple[Grant, ...]:
    """Divide the start amount over the accounts as the plan spends it; what rounding left goes to the
    account that can still give it and spends most."""
    used = {node: spent for node, spent in proposal.spent.items() if spent > ZERO}
    rest = ZERO if amount is None else max(amount - sum(used.values(), ZERO), ZERO)
    grants = []
    for node, spent in sorted(used.items(), key=lambda pair: (-pair[1], pair[0])):
        extra = min(rest, max(supplies[node] - spent, ZERO))
        rest -= extra
        exchange, account, currency = node
        grants.append(Grant(exchange=exchange, account=account, currency=currency, amount=spent + extra))
    return tuple(grants)


def _grants_for(
    planned: Sequence[PlannedLeg], holdings: Mapping[Node, Decimal], *, capped: bool
) -> tuple[Grant, ...]:
    """Return what a portfolio's legs may take of what is held: all of it when it is to go, else what the plan
    needs beyond what its own legs bring in."""
    out: dict[Node, Decimal] = {}
    back: dict[Node, Decimal] = {}
    for leg in planned:
        source = (leg.exchange, leg.account, leg.source)
        target = (leg.exchange, leg.account, leg.target)
        out[source] = out.get(source, ZERO) + leg.spend
        back[target] = back.get(target, ZERO) + leg.receive
    grants = []
    for node, spend in sorted(out.items()):
        held = holdings.get(node, ZERO)
        amount = min(max(spend - back.get(node, ZERO), ZERO), held) if capped else held
        if amount > ZERO:
            exchange, account, currency = node
            grants.append(Grant(exchange=exchange, account=account, currency=currency, amount=amount))
    return tuple(grants)


def _ages(
    listings: Iterable[Listing], now: datetime, wanted: Collection[tuple[str, str]] | None = None
) -> dict[str, str]:
    return {
        f"{x.exchange} {x.market.symbol}": f"{max((now - x.at).total_seconds(), 0):.2f}"
        for x in listings
        if wanted is None or (x.exchange, x.market.symbol) in wanted
    }


def _first(
    levels: Sequence[tuple[Decimal, Decimal]], quantity: Decimal
) -> tuple[tuple[Decimal, Decimal], ...]:
    """Return the levels down to where this much base is there."""
    found = []
    for price, size in levels:
        found.append((price, min(size, quantity)))
        quantity -= size
        if quantity <= ZERO:
            break
    return tuple(found)


def _names(legs: Iterable[Leg]) -> str:
    return ",".join(sorted({leg.exchange for leg in legs}))


def short_number(number: Decimal) -> Decimal:
    """Return a derived figure to 18 digits; amounts of money are never rounded."""
    return SHOWN.plus(number)


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _sequence(value: object) -> Sequence[object]:
    assert isinstance(value, Sequence)
    return value
