"""Risk: every order is cleared here in the turn that records its intent, and counted from then on.

    what is asked -> what must be looked at first -> the controls -> a Clearance: nothing is placed without

How a no acts on work in progress (an algorithm's own order):
1. A limit of one order's size makes the order smaller; the rest follows in further orders.
2. What passes with time (too fast, too many open, no fresh price) lets the leg wait, with the reason as its
   note, until its time is over; then the leg ends with the code.
3. Every other limit ends the leg with the code, as the exchange's own no would.
4. What halts (a loss, repeated executions, an exchange that answers badly, a ledger that does not fit) is a
   halt like any other: on record, told by letter, lifted by an admin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core import breaker, errors, risk, risk_limits
from ems.core.breaker import Breaker
from ems.core.codec import encode_command, nearest, verb_of
from ems.core.contracts import is_contract, settled_in, signed
from ems.core.fitness import mid_of
from ems.core.jsontext import plain
from ems.core.messages import (
    BookUpdate,
    DayRead,
    OrderType,
    Problem,
    Rejected,
    SetLimit,
    Side,
    Submit,
)
from ems.core.order import Kind
from ems.core.reconcile import Difference
from ems.core.records import AS_ASKED, Fill, Leg, Order, Parent, Query, QueryStatus, RiskLimit
from ems.core.risk import Breach, Picture, Proposal, Question
from ems.core.risk_ledger import CREDITS, MESSAGES, OPENS, RiskLedger, outstanding, place_of
from ems.core.risk_limits import DEFAULT, Limits, Scope
from ems.engine.account import Account
from ems.engine.queries import Queries
from ems.engine.sight import Need
from ems.engine.standing import beside, known_now, opening, worst
from ems.engine.turn import Out
from ems.engine.work import Work
from ems.routing.planner_prices import DOLLARS
from ems.store import Unfinished

ZERO = Decimal(0)
ONE = Decimal(1)
MINUTE = timedelta(seconds=60)

DAY_WAIT = timedelta(seconds=5)  # an answer to what was traded in 24 hours is waited for this long
VALUED_S = 60.0  # a price this old still tells what an order is worth
LATE = timedelta(seconds=60)  # past its time a leg waits no longer for a limit to let it go on
EXITS = ("stop_loss", "take_profit")  # purposes of orders that sell what another has bought
# What an order that waits with us was counted against when it was created.
COUNTED_BEFORE = frozenset({*CREDITS, *OPENS, *MESSAGES, "max_position"})
HALTS_USER = {errors.EXECUTION_THROTTLE: True, errors.LOSS_LIMIT: False}  # code -> only in this market


@dataclass(frozen=True, kw_only=True, slots=True)
class Clearance:
    """The controls let this very order go."""

    quantity: Decimal
    usd_value: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Delay:
    """Not now: an algorithm waits."""

    why: str
    until: datetime


class Risk:
    """Every limit, every count, and the judgement."""

    def __init__(self, out: Out, work: Work, queries: Queries):
        self._out = out
        self._work = work
        self._queries = queries
        self.limits = Limits()
        self.ledger = RiskLedger(self.limits)
        self._breaker = Breaker()

    def restore(self, unfinished: Unfinished, now: datetime) -> None:
        """Count again what was counted before a restart, from records alone."""
        for row in unfinished.risk_limits:
            self.limits.put(row)
        self.ledger.restored(
            [child.order for child in self._work.children.values()],
            unfinished.traded,
            [(fill, *_currencies(fill.symbol)) for fill in unfinished.day_fills],
            [ids for parents in self._work.at_work.values() for ids in parents],
            now,
            {
                Scope(p.user, p.bot, p.exchange, p.account, p.asset): p.quantity
                for p in unfinished.positions
                if is_contract(p.asset)
            },
        )
        for where, entry in unfinished.changes:
            if entry.report.get("kind") == Kind.ASK_CANCEL:
                self.ledger.canceling(where, entry.timestamp)
        halted_at: dict[tuple[str, str], datetime] = {}
        for halt in sorted(unfinished.breaker_halts, key=lambda h: h.set_at):
            halted_at[halt.exchange or "", breaker.window_of(halt.reason)] = halt.set_at
        for answer in breaker.answers_of(unfinished.changes, halted_at):
            if answer.refused is not None or answer.at >= now - MINUTE:
                self._breaker.add(answer)

    # --- Before an order ----------------------------------------------------------------------------------

    def missing(self, account: Account, symbol: str, where: Scope, now: datetime) -> Need | None:
        """Return the books without which an order cannot be judged."""
        rules = self.limits.rules(where)
        books = set()
        if any(rules[name] for name in risk.NEED_BOOK):
            age = min((r.limit for r in rules["max_quote_age"] if isinstance(r.limit, Decimal)), default=None)
            book = account.books.get(symbol)
            if not _fit(book) or (age is not None and _age(book, now) > age):
                books.add((*account.key, symbol))
        if any(rules[name] for name in risk.NEED_VALUE):
            quote = _currencies(symbol)[1]
            if self.usd(quote, account, now) is None:
                dollar = self._dollar_market(quote, account)
                if dollar is not None:
                    books.add((*account.key, dollar))
        for rule in rules["daily_loss"]:
            books |= self._unvalued(rule.key, now) | self._books_of_day(rule.key, account, now)
        days = set()
        if any(rules[name] for name in risk.NEED_DAY):
            self._out.follow_day(account, symbol, now)
            answered_by = account.days_asked[symbol] + DAY_WAIT
            if account.day(symbol, now) is None and now < answered_by:
                days.add((*account.key, symbol))
        return Need(books=frozenset(books), days=frozenset(days)) if books or days else None

    def _unvalued(self, key: Scope, now: datetime) -> set[tuple[str, str, str]]:
        """Return the contracts opened today of which no book says what they are worth."""
        found = set()
        for where in self.ledger.contracts_of_today(key):
            account = self._work.accounts.get((where.exchange or "", where.account or ""))
            symbol = where.symbol or ""
            market = None if account is None else account.markets.get(symbol)
            if account is not None and market is not None and market.active:
                if self.usd(symbol, account, now) is None:
                    found.add((*account.key, symbol))
        return found

    def _books_of_day(self, key: Scope, account: Account, now: datetime) -> set[tuple[str, str, str]]:
        """Return the books without which it is not known what was won or lost today."""
        books = set()

        def worth_of(currency: str) -> Decimal:
            price = self.usd(currency, account, now)
            if price is None:
                for one in (account, *self._work.accounts.values()):
                    dollar = self._dollar_market(currency, one)
                    if dollar is not None:
                        books.add((*one.key, dollar))
                        break
            return price or ZERO

        self.ledger.result(key, now, worth_of)
        return books

    def question(self, account: Account, proposal: Proposal) -> Question:
        """Put together everything the controls look at."""
        self.ledger.expire(proposal.at)
        rules = self.limits.rules(proposal.where)
        now = proposal.at
        symbol = proposal.where.symbol or ""
        book, market = account.books.get(symbol), account.markets[symbol]
        usd = self.usd(_currencies(symbol)[1], account, now)
        mid = age_s = best = last = depth = None
        if book is not None and _fit(book):
            levels = book.asks if proposal.side is Side.BUY else book.bids
            mid, age_s, best = mid_of(book), _age(book, now), levels[0][0]
            if proposal.order_type is OrderType.MARKET:
                last = _reached(levels, proposal.quantity)
            if rules["max_depth_share"]:
                depth = _depth(levels, mid)
        day = account.day(symbol, now)
        position = None
        if rules["max_position"] and market.contract_size is None:
            position = self.position(account, symbol, mid or proposal.price, usd)
        picture = Picture(
            tick=market.tick,
            lot=market.lot,
            mid=mid,
            age_s=age_s,
            best=best,
            last=last,
            depth=depth,
            usd=usd,
            volume_24h=None if day is None else day.volume,
            range_24h=None if day is None else _range(day),
            position=position,
        )
        if market.contract_size is not None:
            picture = self._contract(account, proposal, picture)
        return Question(
            proposal=proposal,
            picture=picture,
            rules=rules,
            counts=self.ledger,
            usd=lambda currency: self.usd(currency, account, now),
        )

    def guard(self, where: Scope) -> Decimal | None:
        """Return how far from the best price a market order may trade, in percent; None: any distance."""
        limits = (r.limit for r in self.limits.rules(where)["slippage_limit"])
        return min((one for one in limits if isinstance(one, Decimal)), default=None)

    def judge(self, account: Account, proposal: Proposal, *, dry_run: bool = False) -> Clearance | Problem:
        """Judge a plain order as it is."""
        question = self.question(account, proposal)
        breaches = risk.check(question)
        if not breaches:
            return _cleared(question)
        if not dry_run:
            self._trip_for(proposal, breaches)
        return risk.problem_of(breaches)

    def fit(
        self, account: Account, leg: Leg, proposal: Proposal, ends_at: datetime
    ) -> Clearance | Delay | Problem:
        """Judge an algorithm's order: as large as one may be, later, or not at all."""
        now = proposal.at
        need = self.missing(account, leg.symbol, proposal.where, now)
        for exchange, name, symbol in sorted(need.books) if need is not None else ():
            self._out.watch(self._work.accounts[exchange, name], symbol, now)
        question = self.question(account, proposal)
        market = account.markets[leg.symbol]
        most = risk.largest(question)
        if most is not None and most < proposal.quantity and question.reached is not None:
            quantity = market.floor_quantity(most)
            if not market.order_ok(proposal.quantity - quantity, question.reached):
                # What is left would be too small for the exchange.
                quantity = min(quantity, market.floor_quantity(proposal.quantity / 2))
            if market.order_ok(quantity, question.reached):
                question = self.question(account, replace(proposal, quantity=quantity))
        breaches = risk.check(question)
        if not breaches:
            return _cleared(question)
        if now <= ends_at + LATE and all(b.retry_at is not None for b in breaches):
            until = max(b.retry_at for b in breaches if b.retry_at is not None)
            until = min(until, now + timedelta(seconds=1)) if until > now else now + timedelta(seconds=1)
            return Delay(why=f"waiting for {breaches[0].code}: {breaches[0].message}", until=until)
        self._trip_for(proposal, breaches)
        return risk.problem_of(breaches)

    def again(
        self,
        account: Account,
        order: Order,
        quantity: Decimal,
        price: Decimal | None,
        stop_price: Decimal | None,
        now: datetime,
    ) -> Clearance | Problem:
        """Judge an order that follows one the exchange refused."""
        proposal = Proposal(
            where=place_of(order),
            parent_id=order.parent_id,
            side=order.side,
            order_type=order.order_type,
            quantity=quantity,
            price=price if order.order_type.limited else None,
            stop_price=stop_price if order.order_type.waits else None,
            worked=True,
            at=now,
        )
        return self.judge(account, proposal)

    def edited(
        self,
        account: Account,
        order: Order,
        quantity: Decimal,
        price: Decimal | None,
        stop_price: Decimal | None,
        now: datetime,
        *,
        patient: bool,
        dry_run: bool,
    ) -> Problem | Need | None:
        """Judge other terms for an open order; None: it may have them. `quantity`: the whole of it."""
        proposal = Proposal(
            where=place_of(order),
            parent_id=order.parent_id,
            side=order.side,
            order_type=order.order_type,
            quantity=quantity - order.filled_quantity,
            price=price if order.order_type.limited else None,
            stop_price=stop_price if order.order_type.waits else None,
            worked=True,
            replaced=outstanding(order) * (order.quantity - order.filled_quantity) / order.quantity,
            at=now,
        )
        need = self.missing(account, order.symbol, proposal.where, now) if patient else None
        if need is not None:
            return need
        judged = self.judge(account, proposal, dry_run=dry_run)
        return judged if isinstance(judged, Problem) else None

    def triggered(
        self, account: Account, order: Order, quantity: Decimal, now: datetime
    ) -> Delay | Problem | None:
        """Judge an order that waited with us, when its price has come; None: it may go.

        It was judged and counted when it was created; now it is what the market and the limits say now. What
        only reduces is never held up.
        """
        if reduces(order):
            return None
        proposal = Proposal(
            where=place_of(order),
            parent_id=order.parent_id,
            side=order.side,
            order_type=OrderType.LIMIT if order.order_type.limited else OrderType.MARKET,
            quantity=quantity,
            price=order.price if order.order_type.limited else None,
            worked=True,
            at=now,
        )
        found = [b for b in risk.check(self.question(account, proposal)) if b.setting not in COUNTED_BEFORE]
        if not found:
            return None
        if all(b.retry_at is not None for b in found):
            return Delay(why=found[0].message, until=now + timedelta(seconds=1))
        self._trip_for(proposal, found)
        return risk.problem_of(found)

    def _trip_for(self, proposal: Proposal, breaches: Iterable[Breach]) -> None:
        for breach in breaches:
            if breach.code in HALTS_USER:
                where = proposal.where
                symbol = where.symbol if HALTS_USER[breach.code] else ""
                self._trip(breach.code, breach.message, user=where.user or "", symbol=symbol or "")

    def _trip(
        self, code: str, why: str, *, exchange: str = "", account: str = "", user: str = "", symbol: str = ""
    ) -> None:
        """Have a halt set in a turn of its own: this one is in the midst of an order."""
        self._out.wake(("trip", code, exchange, account, user, symbol, why), self._out.turn.at)

    def usd(self, currency: str, account: Account, now: datetime) -> Decimal | None:
        """Return what one of a currency, or of a contract's base, is worth, from the books at hand.

        This account's own come first.
        """
        if currency in DOLLARS:
            return ONE
        others = [a for a in self._work.accounts.values() if a is not account]
        for one in (account, *others):
            if is_contract(currency):
                mid, rate = _valued(one, currency, now), self.usd(settled_in(currency), account, now)
                if mid is not None and rate is not None:
                    return mid * rate
                continue
            for dollar in DOLLARS:
                for symbol, direct in ((f"{currency}/{dollar}", True), (f"{dollar}/{currency}", False)):
                    mid = _valued(one, symbol, now)
                    if mid is not None:
                        return mid if direct else ONE / mid
        return None

    @staticmethod
    def _dollar_market(currency: str, account: Account) -> str | None:
        """Return the market of the account that would tell what a currency is worth."""
        for dollar in DOLLARS:
            for symbol in (f"{currency}/{dollar}", f"{dollar}/{currency}"):
                market = account.markets.get(symbol)
                if market is not None and market.active:
                    return symbol
        return None

    def _contract(self, account: Account, proposal: Proposal, picture: Picture) -> Picture:
        """Add what an order would make of a contract's position, and at which leverage."""
        symbol, side = proposal.where.symbol or "", proposal.side
        known = known_now(account, symbol, proposal.at)
        if known is None:  # an order was judged on it a moment ago; a dry run may come without
            return replace(picture, contract=True, opens=not proposal.reduce_only)
        opens = opening(self._work, account, known, side, proposal.quantity) > ZERO
        price, position = picture.mid or proposal.price, None
        if price is not None and picture.usd is not None:
            held = worst(known, side) + signed(side, beside(self._work, account, symbol, side))
            position = held * price * picture.usd
        return replace(
            picture,
            contract=True,
            opens=opens and not proposal.reduce_only,
            leverage=known.leverage,
            position=position,
        )

    def position(
        self, account: Account, symbol: str, price: Decimal | None, usd: Decimal | None
    ) -> Decimal | None:
        """Return what the account holds and buys of a market's base currency, in USD.

        `price`: of the base in the quote currency; `usd`: of one of the quote currency.
        """
        if price is None or usd is None:
            return None
        base = _currencies(symbol)[0]
        held = account.holdings.total.get(base, ZERO) + self.ledger.buying(*account.key, base)
        return held * price * usd

    # --- After it -----------------------------------------------------------------------------------------

    def placed(self, order: Order) -> None:
        """Count an order; what meets inside goes to no exchange, and counts as what it trades alone."""
        if order.cross_id is not None:
            return
        self.ledger.placed(order, order.usd_value, worked=order.purpose not in AS_ASKED)

    def repriced(self, order: Order) -> None:
        self.ledger.repriced(order)

    def ended(self, order: Order) -> None:
        self.ledger.ended(order, order.usd_value)

    def filled(self, fill: Fill, now: datetime, held: Decimal) -> None:
        """Count a fill. `held`: of a contract, what the bot holds with it."""
        self.ledger.filled(fill, *_currencies(fill.symbol), now, held)

    def parent_ended(self, parent: Parent) -> None:
        self.ledger.forget(parent.parent_id)

    def mismatch(self, account: Account, found: list[Difference], now: datetime) -> None:
        """Halt an account that holds less than it should; more than that is only told."""
        missing = {d.currency: -d.unexplained for d in found if d.unexplained < ZERO}
        prices = {currency: self.usd(currency, account, now) for currency in missing}
        known = all(price is not None for price in prices.values())
        worth = sum((amount * (prices[currency] or ZERO) for currency, amount in missing.items()), ZERO)
        for rule in self.limits.rules(Scope(exchange=account.exchange, account=account.account))[
            "ledger_mismatch"
        ]:
            assert isinstance(rule.limit, Decimal)
            if missing and (not known or worth > rule.limit):
                words = ", ".join(f"{plain(amount)} {currency}" for currency, amount in missing.items())
                why = f"missing, and nothing explains it: {words}"
                self._trip(errors.LEDGER_MISMATCH, why, exchange=account.exchange, account=account.account)
                return

    def position_mismatch(self, account: Account, symbol: str, differs: Decimal, now: datetime) -> None:
        """Halt an account that holds another position than our fills come to."""
        book = account.books.get(symbol)
        rate = self.usd(_currencies(symbol)[1], account, now)
        worth = None if rate is None or not _fit(book) or book is None else abs(differs) * mid_of(book) * rate
        for rule in self.limits.rules(Scope(exchange=account.exchange, account=account.account))[
            "ledger_mismatch"
        ]:
            if isinstance(rule.limit, Decimal) and (worth is None or worth > rule.limit):
                why = f"{plain(differs)} of {symbol} that nothing explains"
                self._trip(errors.LEDGER_MISMATCH, why, exchange=account.exchange, account=account.account)
                return

    def unclear(self, exchange: str, now: datetime) -> None:
        """Count an order that got no clear answer; too many halt the exchange."""
        self._breaker.add(breaker.Answer(exchange=exchange, at=now, refused=None))
        count = self._breaker.unknowns(exchange)
        for rule in self.limits.rules(Scope(exchange=exchange))["unknowns_per_minute"]:
            if isinstance(rule.limit, Decimal) and count >= rule.limit:
                why = f"{count} orders got no clear answer within 60 s; {rule.limit} are the most"
                self._break(exchange, breaker.UNKNOWNS, why)
                return

    def answered(self, exchange: str, report: Rejected | None, now: datetime) -> None:
        """Count an answer to a new order; too many refusals among the last ones halt the exchange."""
        if report is not None and (not report.sent or report.refusal in breaker.ORDINARY):
            return
        self._breaker.add(breaker.Answer(exchange=exchange, at=now, refused=report is not None))
        refused, last = self._breaker.refusals(exchange)
        if last < risk_limits.REJECTS_OF:
            return
        share = Decimal(100 * refused) / last
        for rule in self.limits.rules(Scope(exchange=exchange))["reject_share"]:
            if isinstance(rule.limit, Decimal) and share > rule.limit:
                why = f"{refused} of the last {last} orders were refused; {rule.limit} % is the most"
                self._break(exchange, breaker.REFUSALS, why)
                return

    def _break(self, exchange: str, window: str, why: str) -> None:
        self._breaker.start_anew(exchange, window)
        self._trip(errors.VENUE_BREAKER, f"{window}: {why}", exchange=exchange)

    # --- Setting limits -----------------------------------------------------------------------------------

    def submit(self, event: Submit, command: SetLimit, now: datetime) -> Query | Problem:
        """Set a limit: tightening holds from this event on, loosening needs the role admin."""
        ticket = event.ticket
        scope = Scope(command.user, command.of_bot, command.exchange, command.account, command.symbol)
        refused = self._refused(command, scope, ticket.user, ticket.role)
        if refused is not None:
            return refused
        setting = risk_limits.SETTING[command.setting]
        new = command.value
        if new.lower() == DEFAULT:
            new = DEFAULT
        else:
            new = risk_limits.write_limit(risk_limits.read_limit(setting, new))
        row = RiskLimit(
            change_id=event.query_id,
            setting=setting.name,
            user=scope.user,
            bot=scope.bot,
            exchange=scope.exchange,
            account=scope.account,
            symbol=scope.symbol,
            old=self.limits.before(setting, scope),
            new=new,
            set_by=ticket.user,
            set_at=now,
            reason=command.reason or "",
        )
        mode = self._work.mode_of(command.exchange)
        query = self._queries.make(
            event.query_id, ticket, verb_of(command), command.exchange, mode, encode_command(command), now
        )
        result: dict[str, object] = {
            "setting": row.setting,
            "scope": scope.words,
            "old": row.old,
            "new": row.new,
            "default": setting.default,
            "unit": setting.unit,
            "loosened": self.limits.loosens(setting, scope, new),
        }
        if ticket.dry_run:
            result["dry_run"] = True
            return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)
        if ticket.nonce is not None:
            self._out.record(ticket.nonce)
        self.limits.put(row)
        self.ledger.recount(now)
        self._out.publish("limit", row.setting, {"scope": scope.words, "old": row.old, "new": row.new})
        finished = self._queries.finish(
            replace(query, record_in_db=True), QueryStatus.DONE, result, None, now
        )
        self._out.record(row)
        return finished

    def _strange(self, setting: risk_limits.Setting, value: str, scope: Scope) -> Problem | None:
        """Find a name that nobody here has: with it a limit would hold for nothing, or for everything."""
        accounts = self._work.accounts.values()
        exchanges = {account.exchange for account in accounts}
        symbols = {symbol for account in accounts for symbol in account.markets}
        if not all(account.markets for account in accounts):
            symbols = set()  # not all are known yet
        names = risk_limits.read_limit(setting, value) if value.lower() != DEFAULT else None
        listed = sorted(names) if isinstance(names, frozenset) else []
        asked = [("exchange", scope.exchange, exchanges), ("symbol", scope.symbol, symbols)]
        asked += [("value", name, set(setting.choices)) for name in listed]
        asked += [("value", name, exchanges) for name in listed if setting.name == "allowed_exchanges"]
        asked += [("value", name, symbols) for name in listed if setting.name == "allowed_symbols"]
        for field, name, known in asked:
            if name is not None and known and name not in known:
                near = nearest(name, sorted(known))
                hint = f"Did you mean {near}?" if near else f"There are {', '.join(sorted(known)[:8])}."
                return _invalid(field, name, "is not known here", hint)
        return None

    def _refused(self, command: SetLimit, scope: Scope, user: str, role: str) -> Problem | None:
        setting = risk_limits.SETTING.get(command.setting)
        if setting is None:
            close = nearest(command.setting, sorted(risk_limits.SETTING))
            hint = f"Did you mean {close}?" if close else "get_limits lists every setting."
            hint = risk_limits.TOMBSTONES.get(command.setting, hint)
            return _invalid("setting", command.setting, "is not a limit that can be set", hint)
        try:
            if command.value.lower() != DEFAULT:
                risk_limits.read_limit(setting, command.value)
        except ValueError as wrong:
            example = setting.example or setting.default
            hint = f'Send a value in {setting.unit} such as "{example}", "off" or "default".'
            return _invalid("value", command.value, str(wrong), hint)
        beyond = sorted(scope.named - set(setting.scopes))
        if beyond:
            hint = f"{setting.name} may name: {', '.join(setting.scopes) or 'nothing'}."
            return _invalid(beyond[0], getattr(scope, beyond[0]), f"cannot be named for {setting.name}", hint)
        if scope.account is not None and scope.exchange is None:
            return _invalid("account", scope.account, "names an account of no exchange", "Add the exchange.")
        strange = self._strange(setting, command.value, scope)
        if strange is not None:
            return strange
        if role == "admin":
            return None
        if scope.user != user:
            return errors.problem(
                errors.AUTH_FORBIDDEN,
                "user: only an admin sets limits of others, or of everybody",
                hint=f"Name yourself: user {user}. Or have an admin set it.",
                details={"field": "user", "value": scope.user},
            )
        if self.limits.loosens(setting, scope, command.value):
            known = {"limit": self.limits.before(setting, scope), "default": setting.default}
            return errors.problem(
                errors.AUTH_FORBIDDEN,
                f"value: {command.value} would loosen {setting.name}; only an admin does that",
                hint="Anybody may tighten his own limits at once; ask an admin to loosen them.",
                details={"field": "value", "value": command.value, **known},
            )
        return None

    # --- For people ---------------------------------------------------------------------------------------

    def settings(self, user: str | None) -> list[dict[str, object]]:
        """Return the controls with their settings and what is set; of one user, or of all."""
        return [
            {
                "number": control.number,
                "name": control.name,
                "code": control.code,
                "does": control.does,
                "settings": [
                    self._setting(s, user) for s in risk_limits.SETTINGS if s.control == control.number
                ],
            }
            for control in risk_limits.CONTROLS
        ]

    def _setting(self, setting: risk_limits.Setting, user: str | None) -> dict[str, object]:
        rows = self.limits.rows.get(setting.name, {})
        return {
            "setting": setting.name,
            "default": setting.default,
            "unit": setting.unit,
            "per": list(setting.per),
            "doc": setting.doc,
            "set": [
                {"scope": scope.words, "value": row.new, "set_by": row.set_by, "set_at": row.set_at}
                for scope, row in rows.items()
                if user is None or scope.user in (None, user)
            ],
        }

    def used(self, user: str | None, now: datetime) -> list[dict[str, object]]:
        """Return what is counted against each limit, what is used and what is left."""
        self.ledger.expire(now)
        found: dict[tuple[str, Scope], dict[str, object]] = {}
        for where in self.ledger.places():
            if user is not None and where.user != user:
                continue
            for rules in self.limits.rules(where).values():
                for rule in rules:
                    counted = self._counted(rule, now)
                    if counted is not None and isinstance(rule.limit, Decimal):
                        found[rule.setting.name, rule.key] = {
                            "setting": rule.setting.name,
                            "control": risk_limits.BY_NUMBER[rule.setting.control].name,
                            "scope": rule.key.words,
                            "limit": rule.limit,
                            "used": counted,
                            "remaining": max(rule.limit - counted, ZERO),
                            "unit": rule.setting.unit,
                        }
        return [found[key] for key in sorted(found, key=lambda key: (key[0], found[key]["scope"]))]

    def cancels(self, user: str | None, now: datetime) -> list[dict[str, object]]:
        """Return who asked for how many cancels within 60 seconds; of one user, or of all."""
        counts = self.ledger.cancels(now)
        return [
            {"scope": Scope(user=who).words, "used": count, "unit": "cancels", "seconds": 60}
            for who, count in sorted(counts.items())
            if user in (None, who)
        ]

    def _counted(self, rule: risk_limits.Rule, now: datetime) -> Decimal | None:
        """Return what is used of a limit; None where it is of each order by itself."""
        name, key = rule.setting.name, rule.key
        if name in CREDITS:
            return self.ledger.credit(name, key)
        if name in OPENS:
            return Decimal(self.ledger.open_orders(name, key))
        if name == "orders_per_minute":
            return Decimal(self.ledger.sent(name, key, now))
        if name == "executions_per_minute":
            return Decimal(max(self.ledger.executions(key, side, now) for side in Side))
        if name == "daily_loss":
            account = next(iter(self._work.accounts.values()))
            won = self.ledger.result(key, now, lambda currency: self.usd(currency, account, now))
            return None if won is None else max(-won, ZERO)
        return None


def reduces(order: Order) -> bool:
    """Say whether an order only sells what another has bought."""
    return order.reduce_only or order.purpose in EXITS


def _invalid(name: str, value: object, why: str, hint: str) -> Problem:
    return errors.problem(
        errors.REQUEST_FIELD_INVALID,
        f"{name}: {value} {why}",
        hint=hint,
        details={"field": name, "value": value},
    )


def _cleared(question: Question) -> Clearance:
    value = question.value
    return Clearance(quantity=question.proposal.quantity, usd_value=ZERO if value is None else value)


def _currencies(symbol: str) -> tuple[str, str]:
    base, _, quote = symbol.partition(":")[0].partition("/")
    return base, quote


def _valued(account: Account, symbol: str, now: datetime) -> Decimal | None:
    """Return the middle of a book that is young enough to value by."""
    book = account.books.get(symbol)
    if book is None or not _fit(book) or _age(book, now) > Decimal(str(VALUED_S)):
        return None
    return mid_of(book)


def _fit(book: BookUpdate | None) -> bool:
    """Say whether a book has a middle that may be believed; its age is judged apart."""
    if book is None or book.unfit or not book.bids or not book.asks:
        return False
    return book.bids[0][0] < book.asks[0][0]


def _range(day: DayRead) -> Decimal | None:
    """Return how far the price ranged, in percent of the lowest; None: not known."""
    return None if day.low is None or day.high is None else (day.high - day.low) * 100 / day.low


def _age(book: BookUpdate | None, now: datetime) -> Decimal:
    assert book is not None
    return Decimal(max((now - book.at) // timedelta(microseconds=1), 0)).scaleb(-6)


def _reached(levels: tuple[tuple[Decimal, Decimal], ...], quantity: Decimal) -> Decimal | None:
    """Return the price of the level with which this much is reached; None where the book has less."""
    reached = ZERO
    for price, size in levels:
        reached += size
        if reached >= quantity:
            return price
    return None


def _depth(levels: tuple[tuple[Decimal, Decimal], ...], mid: Decimal) -> Decimal:
    """Return what a side of a book shows within 2 % of its middle."""
    around = mid * risk.DEPTH_AROUND
    return sum((size for price, size in levels if abs(price - mid) <= around), ZERO)


def change_view(row: RiskLimit) -> dict[str, object]:
    """Return a change of a limit for people."""
    return {
        "change_id": row.change_id,
        "setting": row.setting,
        "scope": risk_limits.scope_of(row).words,
        "old": row.old,
        "new": row.new,
        "set_by": row.set_by,
        "set_at": row.set_at,
        "reason": row.reason,
    }
