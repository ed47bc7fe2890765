"""Plans: what a command would trade, on which books, with whose money.

Planning looks and computes; it writes nothing and sends nothing but requests to look. Each entry answers one
of three things: a `Draft` (go ahead), a `Problem` (no, with the number that would pass), or a `Need` (look
first: a refusal must never rest on an old balance, nor a route on a missing book). New plans for parents at
work are made in `replans`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos.ledger import Node
from ems.core import errors
from ems.core.codec import plain
from ems.core.instrument import ceil_to
from ems.core.messages import (
    LimitOrder,
    Liquidate,
    MarketOrder,
    OrderType,
    Problem,
    Rebalance,
    Share,
    Side,
    SmartOrder,
    Style,
)
from ems.core.records import Grant, Leg
from ems.core.validation import status_problem
from ems.engine.account import Account
from ems.engine.drafts import (
    BP,
    Draft,
    arrival_of,
    default_limit,
    grants_for,
    grants_of,
    legs_of,
    limit_of,
    names,
    with_room,
)
from ems.engine.figures import short_number
from ems.engine.refusals import (
    currency_unknown,
    end_too_small,
    no_book,
    symbol_unknown,
    too_small,
    unreachable,
)
from ems.engine.sight import Need, Sight, ages, candidates, fresh, listing, seen, usable
from ems.engine.work import Work
from ems.routing.chain import shortest_chain, sweep
from ems.routing.planner import plan_portfolio
from ems.routing.planner_prices import choose_numeraire, mid_prices
from ems.routing.route import route

ZERO = Decimal(0)
ONE = Decimal(1)

ROUTED_NOTIONAL = Decimal("1.5")  # the smallest leg, in smallest notionals (EXECUTION.md 2.5)
AMPLE = Decimal("1.1")
TAKE_THROUGH = 5 * BP  # a market order's money is counted this far beyond the touch


class Plans:
    """Makes plans from what is known of the accounts."""

    def __init__(self, work: Work, sight: Sight):
        self._work = work
        self._sight = sight

    def draft(
        self, command: SmartOrder | Liquidate | Rebalance, now: datetime, *, patient: bool
    ) -> Draft | Need | Problem:
        """Plan a command. With `patient` False nothing more can be waited for: judge on what is known."""
        found = self._sight.scope(command.exchange, command.account)
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
        if market is None:
            return symbol_unknown(account, command.symbol, self._work.accounts.values())
        closed = status_problem(market, OrderType.LIMIT)
        if closed is not None:
            return closed
        book = account.books.get(command.symbol)
        if not usable(book, now):
            if patient:
                return Need(books=frozenset({(*account.key, command.symbol)}))
            return no_book(account, [command.symbol], now)
        assert book is not None
        mid = (book.bids[0][0] + book.asks[0][0]) / 2
        limit = limit_of(market, command.side, mid, command.style)
        paid = default_limit(market, command.side, mid, command.style)  # what money is counted at
        if isinstance(command, LimitOrder):
            price = market.passive_price(command.side, command.price)
            if limit is not None and command.style.max_slippage_bps is not None:
                price = min(limit, price) if command.side is Side.BUY else max(limit, price)
            limit = paid = price
        quantity = market.floor_quantity(command.quantity)
        worst = min(paid, book.bids[0][0])
        if not market.order_ok(min(quantity, market.max_quantity or quantity), worst):
            return too_small(market, "quantity", command.quantity, worst)
        source = market.quote if command.side is Side.BUY else market.base
        target = market.base if command.side is Side.BUY else market.quote
        amount = market.reserve(command.side, quantity, paid, post_only=False)
        short = self._sight.short_of(account, source, amount)
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
        listings = [listing(account, market, book)]
        prices = mid_prices(listings, market.quote)
        arrival = arrival_of(
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
            ages_s=ages(listings, now),
        )

    def benchmark(self, leg: Leg, account: Account, now: datetime) -> dict[str, object]:
        """Return what a plain order is measured against; nothing where no book is at hand."""
        book, market = account.books.get(leg.symbol), account.markets[leg.symbol]
        if not usable(book, now) or leg.quantity is None:
            return {}
        assert book is not None
        listings = [listing(account, market, book)]
        prices = mid_prices(listings, market.quote)
        # Enough to sweep the whole quantity, whatever the order itself may pay.
        enough = leg.quantity * AMPLE * (book.asks[-1][0] if leg.side is Side.BUY else ONE)
        grants = {(leg.exchange, leg.account, leg.source): enough}
        return arrival_of([leg], grants, listings, prices, market.quote, quantity=leg.quantity)

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
        routed = [a for a in accounts if shortest_chain(a.spot.values(), start, end)]
        for account in accounts:
            if account not in routed:
                left_out[account.exchange] = f"no chain of up to three markets from {start} to {end}"
        if not routed:
            where = ", ".join(a.exchange for a in accounts)
            reason = f"no chain of up to three markets of {where} leads from {start} to {end}"
            return self._nothing(command, accounts, command.style, left_out, reason)
        supplies = {(*a.key, start): self._sight.available(a, start) for a in routed}
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
        symbols = {}
        for a in routed:
            between = {hop.target for hop in shortest_chain(a.spot.values(), start, end)}  # perhaps no hub
            symbols[a.key] = candidates(a, {start, end} | between, start, end)
        missing = self._sight.missing(routed, symbols, now)
        needs_balance = stale if asks_all or short or nothing else frozenset()
        if patient and (missing or needs_balance):
            return Need(balances=needs_balance, books=missing)
        if short or nothing:
            wanted = amount if amount is not None else ZERO
            return self._sight.short(routed, start, wanted)
        listings = self._sight.listings(routed, symbols, now)
        left_out = {**left_out, **self._sight.unfit(routed, symbols, now)}
        lit = {a.key for a in routed if shortest_chain(seen(listings, a), start, end)}
        if not lit:
            self._sight.mark_dark(missing, now)
            return no_book(routed[0], sorted(symbols[routed[0].key]), now)
        self._sight.mark_dark(missing, now)
        numeraire = choose_numeraire(listings)
        prices = mid_prices(listings, numeraire)
        proposal = route(
            listings,
            {node: held for node, held in supplies.items() if held > ZERO and node[:2] in lit},
            end,
            amount=amount,
            now=now,
            usd=prices,
            end_amount=command.end_amount,
        )
        if command.end_amount is not None and proposal.received < command.end_amount:
            free = {node: held for node, held in supplies.items() if held > ZERO and node[:2] in lit}
            most = proposal if proposal.legs else route(listings, free, end, now=now, usd=prices)
            if most.received >= command.end_amount:
                return end_too_small(command.end_amount, end, proposal.reason)
            return unreachable(command.end_amount, end, most.received)
        if not proposal.legs:
            single = next((a for a in routed if a.key in lit), None)
            if single is not None and amount is not None:
                problem = self._chain_too_small(single, start, end, amount)
                if problem is not None:
                    return problem
            return self._nothing(command, accounts, command.style, left_out, proposal.reason)
        goal: dict[str, object] = {"kind": "convert", "start": start, "end": end}
        if command.end_amount is not None:
            goal["end_amount"] = plain(command.end_amount)
        goal["accounts"] = [list(a.key) for a in routed]
        grants = grants_of(proposal, amount, supplies)
        legs = legs_of(self._work, proposal.legs, command.style, 0, now, goal)
        total = sum((g.amount for g in grants), ZERO)
        arrival = arrival_of(
            legs, {(g.exchange, g.account, g.currency): g.amount for g in grants}, listings, prices, numeraire
        )
        arrival["left_out"] = {**left_out, **proposal.left_out}
        if command.end_amount is not None:
            grants = with_room(grants, supplies, legs, command.style)
        return Draft(
            exchange=names(legs),
            account=command.account,
            legs=legs,
            grants=grants,
            start_amount=total if amount is None else amount,
            goal=goal,
            arrival=arrival,
            planned=proposal.legs,
            style=command.style,
            proposal=proposal,
            prices=prices,
            numeraire=numeraire,
            ages_s=ages(listings, now, {(leg.exchange, leg.symbol) for leg in legs}),
            left_out={**left_out, **proposal.left_out},
        )

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
        held = {c for a in accounts for c in a.holdings.total}
        named = (
            {"keep": command.keep}
            if isinstance(command, Rebalance)
            else {
                "currencies": command.currencies,
                "exclude": command.exclude,
            }
        )
        for name, currencies in named.items():
            for currency in currencies:
                if currency not in known | held:
                    return currency_unknown(accounts, name, currency, known | held)
        stale = frozenset(a.key for a in accounts if not fresh(a, now))
        if patient and stale:
            return Need(balances=stale)
        holdings = self._holdings(command, accounts)
        symbols = {
            a.key: candidates(a, wanted | {c for (e, n, c) in holdings if (e, n) == a.key}) for a in accounts
        }
        missing = self._sight.missing(accounts, symbols, now)
        if patient and missing:
            return Need(books=missing)
        self._sight.mark_dark(missing, now)
        listings = self._sight.listings(accounts, symbols, now, halted=True)
        left_out = {**left_out, **self._sight.unfit(accounts, symbols, now)}
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
            replace(leg, capped=capped) for leg in legs_of(self._work, plan.legs, command.style, 0, now, goal)
        )
        grants = grants_for(plan.legs, holdings, capped=capped)
        arrival = arrival_of(
            legs,
            {(g.exchange, g.account, g.currency): g.amount for g in grants},
            listings,
            plan.prices,
            plan.numeraire,
        )
        arrival["holdings"] = {"/".join(node): plain(amount) for node, amount in holdings.items()}
        arrival["value_before"] = plain(short_number(plan.value_before))
        arrival["unreached"] = {c: plain(short_number(z)) for c, z in plan.unreached.items()}
        arrival["left_out"] = {**left_out, **dust}
        return Draft(
            exchange=names(legs),
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
            ages_s=ages(listings, now, {(leg.exchange, leg.symbol) for leg in legs}),
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

    def _chain_too_small(self, account: Account, start: str, end: str, amount: Decimal) -> Problem | None:
        """Refuse an amount of which some market of the shortest chain could not make a legal order."""
        carried = amount
        for hop in shortest_chain(account.spot.values(), start, end):
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
