"""Positions and what trading earned, by average cost: each fill moves the books of the bot that asked for it.

Method: average cost (IAS 2.25-27, "weighted average cost"), in one reporting currency. A position carries its
whole cost, not a price; what leaves takes its share of it along.

Rules:
1. A trade gives one asset and brings another, both at one value: the amount of the reporting currency that
   changed hands where it is one of the two, else the amount of the quote currency at the middle price of the
   moment. Both amounts and the value are recorded with the fill, so that the books can be folded again.
2. What is given leaves at its share of the cost, `cost x given / held`; the value less that is realised. The
   last of it takes all the cost that is left. So a gain in reporting currency itself is never made.
3. A fee is given away like anything else: at its price of the moment it may realise a gain, and then all its
   value is a cost of trading. In base or quote its price is the fill's own. A rebate is a negative fee.
4. Values and shares are rounded half-even to `STEP`; nothing else is rounded.
5. Bots without a slice share an account: what a bot gives without holding it is taken from the user's other
   bots there, in the order of their names and at their average cost. What they do not hold either is an
   opening balance: brought in now at its value of the moment. It realises nothing, and is counted.
6. Where nobody knows the value, what comes takes over the cost of what is given: nothing is realised, and the
   quantity is counted as unvalued.

7. A contract is no asset: nothing is given for it. Its position is kept in the currency in which it is
   settled (`ems.core.contracts`), long or short; what it realises is valued as its fill is. Profits and fees
   are paid from and to the account, like a deposit: they move nobody's position in that currency.

Hence, for every bot and for all, contracts apart: sum of costs = capital brought in + realised - fees.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal

from ems.core import contracts
from ems.core.contracts import is_contract
from ems.core.jsontext import plain
from ems.core.messages import Side
from ems.core.records import Fill, Position, SliceChange

ZERO = Decimal(0)
STEP = Decimal(1).scaleb(-18)  # of the reporting currency
EXACT = Context(prec=150, rounding=ROUND_HALF_EVEN)

Shelf = tuple[str, str, str, str]  # (user, exchange, account, asset)


@dataclass(frozen=True, kw_only=True, slots=True)
class Worth:
    """What a fill's two sides and its fee are worth in the reporting currency; None: nobody knows."""

    value: Decimal | None
    fee_value: Decimal | None


def traded(symbol: str) -> tuple[str, str]:
    """Return the base and quote currency of a symbol."""
    base, _, quote = symbol.partition(":")[0].partition("/")
    return base, quote


def worth_of(fill: Fill, currency: str, quote_rate: Decimal | None, fee_rate: Decimal | None) -> Worth:
    """Value a fill in the reporting currency: rules 1 and 3.

    `quote_rate` and `fee_rate` are middle prices of the moment, asked for only where the fill's own price
    does not say it.
    """
    base, quote = traded(fill.symbol)
    notional = EXACT.multiply(fill.price, fill.quantity)
    if quote == currency:
        value: Decimal | None = notional
    elif base == currency:
        value = fill.quantity
    else:
        value = None if quote_rate is None else EXACT.multiply(notional, quote_rate)
    if fill.fee_currency == currency:
        fee_value: Decimal | None = fill.fee
    elif fill.fee_currency not in (base, quote):
        fee_value = None if fee_rate is None else EXACT.multiply(fill.fee, fee_rate)
    elif value is None:
        fee_value = None
    else:
        of_all = fill.quantity if fill.fee_currency == base else notional
        fee_value = EXACT.divide(EXACT.multiply(value, fill.fee), of_all)
    return Worth(value=_rounded(value), fee_value=_rounded(fee_value))


class Books:
    """Every position in one reporting currency. Changed by fills alone."""

    def __init__(self, currency: str, positions: Iterable[Position] = ()):
        self.currency = currency
        self.sliced: set[tuple[str, str, str, str]] = set()  # (user, bot, exchange, account) with a slice
        self._shelves: dict[Shelf, dict[str, Position]] = {}  # shelf -> bot -> position
        self._changed: dict[tuple[Shelf, str], Position] = {}
        for position in positions:
            self._put(position)
        self._changed.clear()

    def positions(self) -> list[Position]:
        """Return every position that ever was, in order of user, exchange, account, asset and bot."""
        return [shelf[bot] for _, shelf in sorted(self._shelves.items()) for bot in sorted(shelf)]

    def book(self, fill: Fill, worth: Worth, booking: int) -> tuple[Fill, list[Position]]:
        """Move the books by a fill; return it with its figures, and the positions that changed."""
        self._changed.clear()
        if is_contract(fill.symbol):
            return self._book_contract(fill, worth, booking), list(self._changed.values())
        base, quote = traded(fill.symbol)
        notional = EXACT.multiply(fill.price, fill.quantity)
        given, come = (quote, notional), (base, fill.quantity)
        if fill.side is Side.SELL:
            given, come = come, given
        realised, value = self._give(fill, *given, worth.value)
        self._receive(fill, *come, value, known=worth.value is not None)
        if fill.fee >= ZERO:
            gain, fee_cost = self._give(fill, fill.fee_currency, fill.fee, worth.fee_value)
            realised = EXACT.add(realised, gain)
        else:
            fee_cost = worth.fee_value or ZERO
            self._receive(fill, fill.fee_currency, -fill.fee, -fee_cost, known=worth.fee_value is not None)
        paid = self._of(fill, fill.fee_currency)
        if fill.fee:
            self._put(replace(paid, fees=EXACT.add(paid.fees, fee_cost)))
        booked = replace(
            fill,
            booking=booking,
            value_currency=self.currency,
            value=worth.value,
            fee_value=worth.fee_value,
            fee_cost=fee_cost,
            realised=realised,
        )
        return booked, list(self._changed.values())

    def _book_contract(self, fill: Fill, worth: Worth, booking: int) -> Fill:
        """Move the position of a contract, in the currency in which it is settled: rule 7."""
        held = self._of(fill, fill.symbol)
        notional = EXACT.multiply(fill.price, fill.quantity)
        after = contracts.traded(held.quantity, held.cost, fill.side, fill.quantity, fill.price)
        known = worth.value is not None and worth.fee_value is not None
        value, fee_value = worth.value or ZERO, worth.fee_value or ZERO
        fee = fill.fee
        if fill.fee_currency != held.currency:
            fee = _share(fee_value, notional, value) if value else ZERO
        self._put(
            replace(
                held,
                quantity=after.quantity,
                cost=after.cost,
                realised=EXACT.add(held.realised, after.realised),
                fees=EXACT.add(held.fees, fee),
                unvalued=held.unvalued if known else EXACT.add(held.unvalued, fill.quantity),
                updated_at=fill.timestamp,
            )
        )
        return replace(
            fill,
            booking=booking,
            value_currency=self.currency,
            value=worth.value,
            fee_value=worth.fee_value,
            fee_cost=fee_value,
            realised=_share(value, after.realised, notional),
        )

    def held(self, fill: Fill) -> Decimal:
        """Return what the bot of a fill holds in its contract; zero of a spot market."""
        shelf = self._shelves.get((fill.user, fill.exchange, fill.account, fill.symbol), {})
        known = shelf.get(fill.bot)
        return known.quantity if known is not None else ZERO

    def slice(self, change: SliceChange) -> None:
        """Take note that a bot has a slice from now on, or has none any more."""
        if change.in_force:
            self.sliced.add(change.key)
        else:
            self.sliced.discard(change.key)

    def _give(
        self, fill: Fill, asset: str, amount: Decimal, value: Decimal | None
    ) -> tuple[Decimal, Decimal]:
        """Let an amount go; return what that realised, and its value: the cost where none is known."""
        if not amount:
            return ZERO, ZERO
        cost, missing = self._take(fill.user, fill.bot, fill, asset, amount)
        for bot in self._sharing(fill, asset):
            if not missing:
                break
            more, missing = self._take(fill.user, bot, fill, asset, missing)
            cost = EXACT.add(cost, more)
        own = self._of(fill, asset)
        if missing:
            brought = ZERO if value is None else _share(value, missing, amount)
            own = replace(
                own,
                opened=EXACT.add(own.opened, missing),
                opened_value=EXACT.add(own.opened_value, brought),
                updated_at=fill.timestamp,
            )
            cost = EXACT.add(cost, brought)
        if value is None:
            self._put(replace(own, unvalued=EXACT.add(own.unvalued, amount)))
            return ZERO, cost
        gain = EXACT.subtract(value, cost)
        self._put(replace(own, realised=EXACT.add(own.realised, gain)))
        return gain, value

    def _sharing(self, fill: Fill, asset: str) -> list[str]:
        """Return the other bots whose holdings this one may sell: none where it has a slice, or they have."""
        place = (fill.exchange, fill.account)
        if (fill.user, fill.bot, *place) in self.sliced:
            return []
        others = self._shelf(fill, asset).keys() - {fill.bot}
        return sorted(bot for bot in others if (fill.user, bot, *place) not in self.sliced)

    def _take(self, user: str, bot: str, fill: Fill, asset: str, wanted: Decimal) -> tuple[Decimal, Decimal]:
        """Take up to an amount out of one bot's position; return its cost, and how much is still missing."""
        held = self._shelf(fill, asset).get(bot)
        if held is None or not held.quantity:
            return ZERO, wanted
        taken = min(held.quantity, wanted)
        cost = held.cost
        if taken != held.quantity:
            cost = _share(held.cost, taken, held.quantity)
        self._put(
            replace(
                held,
                quantity=EXACT.subtract(held.quantity, taken),
                cost=EXACT.subtract(held.cost, cost),
                updated_at=fill.timestamp,
            )
        )
        return cost, EXACT.subtract(wanted, taken)

    def _receive(self, fill: Fill, asset: str, amount: Decimal, cost: Decimal, *, known: bool) -> None:
        held = self._of(fill, asset)
        self._put(
            replace(
                held,
                quantity=EXACT.add(held.quantity, amount),
                cost=EXACT.add(held.cost, cost),
                unvalued=held.unvalued if known else EXACT.add(held.unvalued, amount),
                updated_at=fill.timestamp,
            )
        )

    def _shelf(self, fill: Fill, asset: str) -> dict[str, Position]:
        return self._shelves.setdefault((fill.user, fill.exchange, fill.account, asset), {})

    def _of(self, fill: Fill, asset: str) -> Position:
        known = self._shelf(fill, asset).get(fill.bot)
        return known or Position(
            user=fill.user,
            bot=fill.bot,
            exchange=fill.exchange,
            account=fill.account,
            asset=asset,
            currency=contracts.settled_in(asset) or self.currency,
            updated_at=fill.timestamp,
        )

    def _put(self, position: Position) -> None:
        shelf = (position.user, position.exchange, position.account, position.asset)
        self._shelves.setdefault(shelf, {})[position.bot] = position
        self._changed[shelf, position.bot] = position


def result_of(fills: Iterable[Fill], currency: str) -> dict[str, object]:
    """Add up what fills earned, JSON-ready; `unvalued_fills` are those whose worth nobody knew then."""
    realised = fees = ZERO
    count = unvalued = 0
    for fill in fills:
        count += 1
        if fill.value_currency != currency or fill.value is None or fill.fee_value is None:
            unvalued += 1
        if fill.value_currency == currency:
            realised, fees = EXACT.add(realised, fill.realised), EXACT.add(fees, fill.fee_cost)
    return {
        "currency": currency,
        "realised": plain(realised),
        "fees": plain(fees),
        "pnl": plain(EXACT.subtract(realised, fees)),
        "fills": count,
        "unvalued_fills": unvalued,
    }


def fold(fills: Iterable[Fill], currency: str, changes: Iterable[SliceChange] = ()) -> Books:
    """Build the books again from the fills and the slices there were, in the order of their bookings."""
    books = Books(currency)
    waiting = sorted(changes, key=lambda c: (c.booking, c.set_at), reverse=True)
    for fill in sorted((f for f in fills if f.value_currency == currency), key=lambda f: f.booking):
        while waiting and waiting[-1].booking < fill.booking:
            books.slice(waiting.pop())
        again, _ = books.book(fill, Worth(value=fill.value, fee_value=fill.fee_value), fill.booking)
        assert again == fill, f"fill {fill.fill_id} was booked as {fill}, and comes out as {again}"
    return books


def _share(whole: Decimal, part: Decimal, of: Decimal) -> Decimal:
    return EXACT.quantize(EXACT.divide(EXACT.multiply(whole, part), of), STEP)


def _rounded(value: Decimal | None) -> Decimal | None:
    return None if value is None else EXACT.quantize(value, STEP)
