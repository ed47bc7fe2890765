"""Bring holdings to target weights, or into one currency, at the least cost (EXECUTION.md 5).

One linear programme over all books decides what is traded where: netting over accounts, markets between two
coins and the choice of the venue fall out of its optimum. Weights have a band in which nothing trades. Money
never moves between accounts: the same currency at two accounts counts together and stays where it is.

Then trades too small to make are taken out and the rest is solved again; what remains becomes legs of whole
lots in the order in which money flows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal, localcontext
from math import log

from ems.core.instrument import NOTIONAL_MARGIN
from ems.core.messages import Side
from ems.routing.chain import HUBS
from ems.routing.plan import Listing, Node, PlannedLeg
from ems.routing.planner_legs import Wish, carry_out, round_legs
from ems.routing.planner_lp import NOISE, Edge, Flows, Programme, optimise
from ems.routing.planner_prices import choose_numeraire, dollar_value, mid_price, mid_prices

ZERO = Decimal(0)
ONE = Decimal(1)
BP = Decimal(10000)
MONEY = Context(prec=50)

TOLERANCE = Decimal("0.002")  # of the whole value: how far a weight may be off before anything trades
MIN_TRADE = Decimal(10)  # USD
PENALTY = Decimal("0.05")  # EXECUTION.md 5.1's rho: no trade costs more than twice this
REPAIRS = 5
NEARER = 0.4  # of the smallest trade: a trade this large is raised to it rather than dropped
WORTH_RAISING = 5e-6  # the share of the value that dropping small trades must lose before raising is tried
ENOUGH = 4e-6  # 0.04 bp of the value: rounding that loses less is not repaired
SHOWN = Decimal("1e-6")  # shares below 0.01 bp are not worth a line

BALANCED = "nothing to do: every weight is within its band"
EMPTY = "nothing to do: nothing of value is held"
TOO_SMALL = "nothing to do: no trade is both possible and large enough"
UNSOLVED = "the solver found no plan for these books"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dust:
    """What stays where it is although no weight wants it."""

    amount: Decimal
    value: Decimal | None  # in the numeraire; None: no book tells a price
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PortfolioPlan:
    """What to trade now, what it will cost, and what cannot be reached."""

    legs: tuple[PlannedLeg, ...]  # in the order in which money flows
    numeraire: str  # the currency of all values here
    value_before: Decimal  # of what is planned for: priced and not kept, at mid
    value_after: Decimal  # of the same once the legs are carried out on these books
    turnover: Decimal  # value that changes its currency, one way
    cost_bps: Decimal  # of the turnover: fees, half spreads and depth
    unreached: Mapping[str, Decimal]  # currency -> share of the value outside its band
    dust: Mapping[Node, Dust]
    prices: Mapping[str, Decimal]  # currency -> mid in the numeraire
    gap_bp: (
        Decimal  # certificate: a plan without lots and least sizes is at most this much of turnover better
    )
    arbitrage: bool  # the books allowed profit in a circle; it was not sought
    reason: str  # why there is no leg; empty where there is one
    # What it was made from, so that another plan can be measured with the same rule.
    holdings: Mapping[Node, Decimal] = field(default_factory=dict)
    weights: Mapping[str, Decimal] = field(default_factory=dict)
    keep: frozenset[str] = frozenset()
    tolerance: Decimal = TOLERANCE
    penalty: Decimal = PENALTY


def liquidate(
    listings: Sequence[Listing],
    holdings: Mapping[Node, Decimal],
    end_currency: str,
    *,
    currencies: Collection[str] | None = None,
    exclude: Collection[str] = (),
    reserve: Mapping[Node, Decimal] | None = None,
    min_trade: Decimal = MIN_TRADE,
    rho: Decimal = PENALTY,
    usd: Mapping[str, Decimal] | None = None,
) -> PortfolioPlan:
    """Plan to turn what is held into one currency, on each account where it is held.

    Only `currencies` are sold (None: all), `exclude` never.
    """
    held = {currency for (_, _, currency), amount in holdings.items() if amount > 0}
    keep = {c for c in held if c in exclude or (currencies is not None and c not in currencies)}
    return plan_portfolio(
        listings,
        holdings,
        {end_currency: ONE},
        keep=keep - {end_currency},
        tolerance=ZERO,
        reserve=reserve,
        min_trade=min_trade,
        rho=rho,
        usd=usd,
    )


def plan_portfolio(
    listings: Sequence[Listing],
    holdings: Mapping[Node, Decimal],
    weights: Mapping[str, Decimal],
    *,
    keep: Collection[str] = (),
    tolerance: Decimal = TOLERANCE,
    reserve: Mapping[Node, Decimal] | None = None,
    min_trade: Decimal = MIN_TRADE,
    rho: Decimal = PENALTY,
    usd: Mapping[str, Decimal] | None = None,
) -> PortfolioPlan:
    """Plan to bring free `holdings` to `weights`: currency -> share of the value planned for, else none.

    What is in `keep` neither counts nor changes (it may be passed through). At each node at least `reserve`
    stays. `min_trade` is in USD; `usd` (currency -> USD) helps where the books do not know a dollar. Raises
    ValueError for weights that are negative, above one in sum, or kept.
    """
    with localcontext(MONEY):
        _check(weights, keep, tolerance)
        question = _Planning(
            listings=listings,
            holdings=holdings,
            weights=weights,
            keep=keep,
            tolerance=tolerance,
            reserve=reserve or {},
            min_trade=min_trade,
            penalty=rho,
            usd=usd or {},
        )
        return question.plan()


def value_of(
    legs: Iterable[PlannedLeg],
    listings: Sequence[Listing],
    holdings: Mapping[Node, Decimal],
    *,
    usd: Mapping[str, Decimal] | None = None,
) -> Decimal:
    """Return what all that is held is worth, at mid in the numeraire, once the legs have swept today's books.

    `usd` as in `plan_portfolio`; what has no price counts nothing.
    """
    with localcontext(MONEY):
        prices = mid_prices(_freshest(listings), choose_numeraire(listings), usd)
        return _worth(carry_out(legs, _freshest(listings), holdings), prices)


def amount_of(
    currency: str, legs: Iterable[PlannedLeg], listings: Sequence[Listing], holdings: Mapping[Node, Decimal]
) -> Decimal:
    """Return how much of one currency is held, over all accounts, after the legs have swept today's books."""
    with localcontext(MONEY):
        held = carry_out(legs, _freshest(listings), holdings)
        return sum((amount for node, amount in held.items() if node[2] == currency), ZERO)


def better_by_bp(new: PortfolioPlan, old: Sequence[PlannedLeg], listings: Sequence[Listing]) -> Decimal:
    """Return by how much the new plan beats carrying out the old legs, in bp of what is turned over.

    Both start from the new plan's holdings and sweep today's books; a weight that stays outside its band
    costs what it costs the planner. EXECUTION.md 5.2 changes plans from 0.5 bp on.
    """
    with localcontext(MONEY):
        books = _freshest(listings)
        before = _sums(new.holdings, new.prices)
        turnover = ZERO
        scores = []
        for legs in (new.legs, old):
            after = _sums(carry_out(legs, books, new.holdings), new.prices)
            turnover = max(turnover, _turned(before, after))
            scores.append(
                _score(
                    before,
                    after,
                    weights=new.weights,
                    keep=new.keep,
                    tolerance=new.tolerance,
                    penalty=new.penalty,
                )
            )
        return (scores[0] - scores[1]) / turnover * BP if turnover > 0 else ZERO


def _check(weights: Mapping[str, Decimal], keep: Collection[str], tolerance: Decimal) -> None:
    for currency, weight in weights.items():
        if not weight.is_finite() or weight < 0:
            raise ValueError(f"weights: {currency} is {weight}; a weight is a share from 0 to 1")
        if weight > 0 and currency in keep:
            raise ValueError(
                f"weights: {currency} is in keep, too; it cannot be kept and brought to a weight"
            )
    if sum(weights.values()) > 1:
        raise ValueError(f"weights: they sum to {sum(weights.values())}, which is more than 1")
    if not tolerance.is_finite() or tolerance < 0:
        raise ValueError(f"tolerance: {tolerance} is not a share of the value")


def _freshest(listings: Iterable[Listing]) -> list[Listing]:
    """Return the listings in order of their names, all accounts of an exchange with its latest books."""
    ordered = sorted(listings, key=lambda l: (l.exchange, l.account, l.market.symbol))
    latest: dict[tuple[str, str], Listing] = {}
    for listing in ordered:
        key = (listing.exchange, listing.market.symbol)
        if key not in latest or listing.at > latest[key].at:
            latest[key] = listing
    answer = []
    for listing in ordered:
        best = latest[listing.exchange, listing.market.symbol]
        if listing is not best and (listing.bids, listing.asks) != (best.bids, best.asks):
            listing = Listing(
                exchange=listing.exchange,
                account=listing.account,
                market=listing.market,
                bids=best.bids,
                asks=best.asks,
                at=best.at,
            )
        answer.append(listing)
    return answer


def _sums(held: Mapping[Node, Decimal], prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return currency -> value over all accounts."""
    sums: dict[str, Decimal] = {}
    for (_, _, currency), amount in held.items():
        if currency in prices and amount:
            sums[currency] = sums.get(currency, ZERO) + amount * prices[currency]
    return sums


def _worth(held: Mapping[Node, Decimal], prices: Mapping[str, Decimal]) -> Decimal:
    return sum(_sums(held, prices).values(), ZERO)


def _turned(before: Mapping[str, Decimal], after: Mapping[str, Decimal]) -> Decimal:
    """Return the value that changed its currency, one way."""
    currencies = sorted(before.keys() | after.keys())
    return sum((abs(after.get(c, ZERO) - before.get(c, ZERO)) for c in currencies), ZERO) / 2


def _band(before: Decimal, weight: Decimal, tolerance: Decimal, value: Decimal) -> tuple[Decimal, Decimal]:
    """Return between which values a currency may end: in its band, and never past its weight.

    The second half is what lets no plan buy a coin nobody asked for, because its band has room.
    """
    goal, slack = weight * value, tolerance * value
    low = max(goal - slack, min(before, goal))
    if weight >= 1:
        return low, Decimal("Infinity")  # of the only currency wanted there cannot be too much
    high = min(goal + slack, max(before, goal))
    return low, high


def _score(
    before: Mapping[str, Decimal],
    after: Mapping[str, Decimal],
    *,
    weights: Mapping[str, Decimal],
    keep: Collection[str],
    tolerance: Decimal,
    penalty: Decimal,
) -> Decimal:
    """Return the programme's objective: value after, less the penalty for what is outside its band."""
    value = sum((v for c, v in sorted(before.items()) if c not in keep), ZERO)
    outside = ZERO
    for currency in sorted(before.keys() | after.keys() | weights.keys()):
        if currency not in keep:
            start, end = before.get(currency, ZERO), after.get(currency, ZERO)
            low, high = _band(start, weights.get(currency, ZERO), tolerance, value)
            outside += max(low - end, end - high, ZERO)
    return sum(after.values(), ZERO) - penalty * outside


class _Planning:
    """One planning: the question, what is worked out on the way, and the plan."""

    # Made by `_build`, once there is something to solve.
    nodes: dict[Node, int]
    currencies: dict[str, int]
    edges: list[Edge]
    programme: Programme
    arbitrage = False

    def __init__(
        self,
        *,
        listings: Sequence[Listing],
        holdings: Mapping[Node, Decimal],
        weights: Mapping[str, Decimal],
        keep: Collection[str],
        tolerance: Decimal,
        reserve: Mapping[Node, Decimal],
        min_trade: Decimal,
        penalty: Decimal,
        usd: Mapping[str, Decimal],
    ) -> None:
        self.listings = _freshest(listings)
        self.holdings = {node: holdings[node] for node in sorted(holdings) if holdings[node] > 0}
        self.weights = {currency: weights[currency] for currency in sorted(weights) if weights[currency] > 0}
        self.keep = frozenset(keep)
        self.tolerance, self.penalty = tolerance, penalty
        self.numeraire = choose_numeraire(self.listings)
        self.prices = mid_prices(self.listings, self.numeraire, usd)
        unit = dollar_value(self.numeraire, usd)
        self.min_trade = min_trade / unit if unit else ZERO
        self.counted = {
            node: amount
            for node, amount in self.holdings.items()
            if node[2] in self.prices and node[2] not in self.keep
        }
        # What legs may spend: nothing that is kept or reserved.
        self.spendable = {
            node: max(amount - max(reserve.get(node, ZERO), ZERO), ZERO)
            for node, amount in self.counted.items()
        }
        self.before = _sums(self.counted, self.prices)
        self.value = sum(self.before.values(), ZERO)
        self.some_small = False

    def plan(self) -> PortfolioPlan:
        if self.value <= 0:
            return self._finished((), EMPTY)
        slack = self.tolerance * self.value
        off = (
            abs(self.before.get(currency, ZERO) - self.weights.get(currency, ZERO) * self.value)
            for currency in self.before.keys() | self.weights.keys()
        )
        if all(distance <= slack for distance in off):
            return self._finished((), BALANCED)
        self._build()
        flows = optimise(self.programme, self.edges)
        if flows is None:
            return self._finished((), UNSOLVED)
        bound = float(self.value) * (1 - flows.bound)
        best = self._repaired(flows, bound, raising=False)
        if self.some_small and float(best[0]) < bound * (1 - WORTH_RAISING):
            best = max(best, self._repaired(flows, bound, raising=True), key=lambda found: found[0])
        return self._finished(best[1], "" if best[1] else TOO_SMALL, bound)

    def _repaired(
        self, flows: Flows, bound: float, *, raising: bool
    ) -> tuple[Decimal, tuple[PlannedLeg, ...]]:
        """Return the best legs found, and their score, when small trades are dropped, or else raised.

        Each round drops what is too small, raises it to the smallest trade where that is nearer, or aims
        inside the bands that whole lots have missed; then all is solved again.
        """
        self.programme = replace(self.programme, bands=self._bands())
        best: tuple[Decimal, tuple[PlannedLeg, ...]] = (self._objective(()), ())
        banned: set[int] = set()
        least: dict[int, float] = {}
        for repair in range(REPAIRS + 1):
            wishes, small = self._wishes(flows, least)
            legs, refused = round_legs(wishes, self.spendable, self._emptied(flows))
            score = self._objective(legs)
            if score > best[0]:
                best = (score, legs)
            if repair == REPAIRS:
                break
            if small or refused:
                self.some_small = True
                raised = self._to_raise(small, flows) if raising else {}
                least |= raised
                banned |= (self._to_drop(small) if small else set(refused)) - raised.keys()
            elif float(best[0]) >= bound * (1 - ENOUGH) or not self._narrow(legs):
                break
            again = optimise(self.programme, self.edges, banned, least)
            if again is None and least:  # they do not fit together
                banned |= least.keys()
                least = {}
                again = optimise(self.programme, self.edges, banned)
            if again is None:
                break
            flows = again
        return best

    # --- The programme ---------------------------------------------------------------------------

    def _build(self) -> None:
        """Make the nodes, the bands and the edges."""
        self.nodes = {node: number for number, node in enumerate(self.counted)}
        usable = []
        for listing in self.listings:
            market = listing.market
            if market.active and market.base in self.prices and market.quote in self.prices:
                usable.append(listing)
                for currency in (market.base, market.quote):
                    self.nodes.setdefault((listing.exchange, listing.account, currency), len(self.nodes))
        self.currencies = {}
        for node in self.nodes:
            self.currencies.setdefault(node[2], len(self.currencies))
        currencies = self.currencies
        scale, penalty = float(self.value), float(self.penalty)
        self.worth = {c: float(self.prices[c]) for c in currencies}
        spendable = [
            float(self.spendable.get(node, ZERO)) * self.worth[node[2]] / scale for node in self.nodes
        ]
        account_worth: dict[tuple[str, str], float] = {}
        for node, number in self.nodes.items():
            account_worth[node[:2]] = account_worth.get(node[:2], 0.0) + spendable[number]
        self.edges = []
        for listing in usable:
            need = account_worth[listing.exchange, listing.account] * 1.01
            if need <= NOISE:
                continue
            base = self.nodes[listing.exchange, listing.account, listing.market.base]
            quote = self.nodes[listing.exchange, listing.account, listing.market.quote]
            for side, source, target in ((Side.SELL, base, quote), (Side.BUY, quote, base)):
                sold, bought = (
                    (listing.market.base, listing.market.quote)
                    if side is Side.SELL
                    else (listing.market.quote, listing.market.base)
                )
                edge = Edge(
                    listing,
                    side,
                    source,
                    target,
                    source_price=self.worth[sold],
                    target_price=self.worth[bought],
                    scale=scale,
                    need=need,
                    floor=1 - 2.1 * penalty,
                )
                if edge.ahead is not None:
                    self.edges.append(edge)
        self.arbitrage = self._profit_in_a_circle(list(currencies))
        self.programme = Programme(
            currency_of=[currencies[node[2]] for node in self.nodes],
            spendable=spendable,
            bands=self._bands(),
            kept=[currency in self.keep for currency in currencies],
            penalty=penalty,
            arbitrage=self.arbitrage,
        )
        self._enliven(currencies)

    def _bands(self) -> list[tuple[float, float]]:
        """Return by how much each currency's share of the value is to change, from ... to."""
        bands = []
        for currency in self.currencies:
            before = self.before.get(currency, ZERO)
            low, high = _band(before, self.weights.get(currency, ZERO), self.tolerance, self.value)
            bands.append((float((low - before) / self.value), float((high - before) / self.value)))
        return bands

    def _enliven(self, currencies: Mapping[str, int]) -> None:
        """Let in the edges and levels an optimum is likely to use; the pricing finds the others."""
        over = {c: max(-self.programme.bands[n][0], 0.0) for c, n in currencies.items()}
        under = {c: max(self.programme.bands[n][1], 0.0) for c, n in currencies.items()}
        turnover = min(sum(over.values()), sum(under.values())) + NOISE
        hubs = self._hubs()
        for edge in self.edges:
            market, account = edge.listing.market, (edge.listing.exchange, edge.listing.account)
            sold, bought = (
                (market.base, market.quote) if edge.side is Side.SELL else (market.quote, market.base)
            )
            from_hub, to_hub = (account, sold) in hubs, (account, bought) in hubs
            from_surplus = self.programme.spendable[edge.source] > 0 and over[sold] > 0
            if (from_surplus or from_hub) and (under[bought] > 0 or to_hub):
                until = turnover
                if not from_hub:
                    until = min(until, over[sold])
                if not to_hub:
                    until = min(until, under[bought])
                edge.live = True
                edge.extend(until, at_least=2)

    def _narrow(self, legs: Iterable[PlannedLeg]) -> bool:
        """Aim inside each band that whole lots have missed, by as much as they did; say whether any was."""
        after = _sums(self._after(legs), self.prices)
        bands = list(self.programme.bands)
        start = self._bands()
        for currency, number in self.currencies.items():
            change = float((after.get(currency, ZERO) - self.before.get(currency, ZERO)) / self.value)
            low, high = start[number]
            aimed_low, aimed_high = bands[number]
            inside = 0.4 * (high - low)
            if 0 < low - change < inside:
                bands[number] = (min(aimed_low + 1.2 * (low - change), low + inside), aimed_high)
            elif 0 < change - high < inside:
                bands[number] = (aimed_low, max(aimed_high - 1.2 * (change - high), high - inside))
        if bands == list(self.programme.bands):
            return False
        self.programme = replace(self.programme, bands=bands)
        return True

    def _hubs(self) -> set[tuple[tuple[str, str], str]]:
        """Return the currencies other currencies trade against, account by account."""
        quoted: dict[tuple[tuple[str, str], str], int] = {}
        for listing in self.listings:
            key = ((listing.exchange, listing.account), listing.market.quote)
            quoted[key] = quoted.get(key, 0) + 1
        return {key for key, count in quoted.items() if count > 1 or key[1] in HUBS}

    def _profit_in_a_circle(self, currencies: Sequence[str]) -> bool:
        """Say whether a circle of best levels, over any accounts, returns more than is put in."""
        best: dict[tuple[str, str], float] = {}
        for edge in self.edges:
            market = edge.listing.market
            pair = (market.base, market.quote) if edge.side is Side.SELL else (market.quote, market.base)
            if edge.ahead is not None:
                best[pair] = max(best.get(pair, 0.0), edge.ahead[0])
        if all(gain <= 1 for gain in best.values()):
            return False
        label = dict.fromkeys(currencies, 0.0)
        for _ in range(len(currencies) + 1):
            settled = True
            for (source, target), gain in best.items():
                reached = label[source] + log(gain)
                if reached > label[target] + 1e-12:
                    label[target] = reached
                    settled = False
            if settled:
                return False
        return True

    # --- From flows to legs ----------------------------------------------------------------------

    def _least(self, edge: Edge) -> Decimal:
        """Return the smallest value a leg may have, in the numeraire (EXECUTION.md 5.1)."""
        market = edge.listing.market
        by_notional = Decimal("1.5") * market.min_notional * self.prices[market.quote]
        return max(by_notional, market.min_quantity * self.prices[market.base], self.min_trade)

    def _wishes(self, flows: Flows, raised: Collection[int]) -> tuple[list[Wish], list[int]]:
        """Return what is to be traded where, and the edges with too little of it, smallest first."""
        wishes, small = [], []
        for number, flow in flows.flow.items():
            edge = self.edges[number]
            if number not in raised and Decimal(flow) * self.value < self._least(edge):
                small.append(number)
                continue
            # A lot that only the solver's last digit denies is granted; what is held caps it anyway.
            quantity = Decimal(flows.base[number] * (1 + 1e-9))
            wishes.append(Wish(number=number, listing=edge.listing, side=edge.side, quantity=quantity))
        return wishes, sorted(small, key=lambda n: (flows.flow[n], n))

    def _to_drop(self, small: Sequence[int]) -> set[int]:
        """Return which small edges go now: of several between two currencies, the largest may stay."""
        largest: dict[tuple[int, int], int] = {}
        for number in small:  # smallest first
            edge = self.edges[number]
            pair = (self.programme.currency_of[edge.source], self.programme.currency_of[edge.target])
            largest[pair] = number
        dropped = set(small) - set(largest.values())
        return dropped or set(small)

    def _to_raise(self, small: Sequence[int], flows: Flows) -> dict[int, float]:
        """Return which small edges are nearer to the smallest trade than to none, and its share."""
        raised = {}
        for number in small:
            edge = self.edges[number]
            least = float(self._least(edge) / self.value) * (1 + 1e-6)
            received = sum(f for other, f in flows.flow.items() if self.edges[other].target == edge.source)
            if flows.flow[number] >= NEARER * least <= self.programme.spendable[edge.source] + received:
                edge.extend(2 * least)
                if edge.carried >= least:
                    raised[number] = least
        return raised

    def _emptied(self, flows: Flows) -> set[Node]:
        """Return the nodes of which the optimum leaves nothing."""
        return {
            node
            for node, number in self.nodes.items()
            if flows.change[number] < -NOISE
            and self.programme.spendable[number] + flows.change[number] < NOISE
            and self.weights.get(node[2], ZERO) == 0
        }

    def _after(self, legs: Iterable[PlannedLeg]) -> dict[Node, Decimal]:
        held = dict(self.counted)
        for leg in legs:
            source = (leg.exchange, leg.account, leg.source)
            target = (leg.exchange, leg.account, leg.target)
            held[source] = held.get(source, ZERO) - leg.spend
            held[target] = held.get(target, ZERO) + leg.receive
        return held

    def _objective(self, legs: Iterable[PlannedLeg]) -> Decimal:
        return _score(
            self.before,
            _sums(self._after(legs), self.prices),
            weights=self.weights,
            keep=self.keep,
            tolerance=self.tolerance,
            penalty=self.penalty,
        )

    # --- The answer ------------------------------------------------------------------------------

    def _finished(
        self, legs: tuple[PlannedLeg, ...], reason: str, bound: float | None = None
    ) -> PortfolioPlan:
        held = self._after(legs)
        after = _sums(held, self.prices)
        value_after = sum(after.values(), ZERO)
        turnover = _turned(self.before, after)
        gap = ZERO
        if bound is not None and turnover > 0:
            gap = ((Decimal(bound) - self._objective(legs)) / turnover * BP).quantize(Decimal("1e-6"))
        return PortfolioPlan(
            legs=legs,
            numeraire=self.numeraire,
            value_before=self.value,
            value_after=value_after,
            turnover=turnover,
            cost_bps=((self.value - value_after) / turnover * BP) if turnover > 0 else ZERO,
            unreached=self._unreached(after, value_after),
            dust=self._dust(held),
            prices=self.prices,
            gap_bp=max(gap, ZERO),
            arbitrage=self.arbitrage,
            reason=reason,
            holdings=self.holdings,
            weights=self.weights,
            keep=self.keep,
            tolerance=self.tolerance,
            penalty=self.penalty,
        )

    def _unreached(self, after: Mapping[str, Decimal], value_after: Decimal) -> dict[str, Decimal]:
        """Return currency -> share outside its band. What trading costs is nobody's shortfall."""
        shares = {}
        for currency in sorted(self.before.keys() | self.weights.keys()):
            if self.value <= 0 or currency in self.keep:
                continue
            value, weight = after.get(currency, ZERO), self.weights.get(currency, ZERO)
            short = (weight - self.tolerance) * value_after - value
            long = value - (weight + self.tolerance) * max(self.value, value_after)
            share = (max(short, long) / self.value).quantize(SHOWN)
            if share > 0:
                shares[currency] = share
        return shares

    def _dust(self, held: Mapping[Node, Decimal]) -> dict[Node, Dust]:
        """Return what no weight wants and no market takes."""
        dust: dict[Node, Dust] = {}
        for node, amount in self.holdings.items():
            currency = node[2]
            if currency in self.keep or currency in self.weights:
                continue
            if currency not in self.prices:
                dust[node] = Dust(amount=amount, value=None, why="no book tells its price")
                continue
            moved = amount - held.get(node, ZERO)
            rest = self.spendable[node] - moved
            if rest <= 0:
                continue
            why = self._stuck(node, rest)
            if why:
                dust[node] = Dust(amount=rest, value=rest * self.prices[currency], why=why)
        return dust

    def _stuck(self, node: Node, rest: Decimal) -> str:
        """Return why no market takes this much, or nothing where one would."""
        exchange, account, currency = node
        exits = [
            listing
            for listing in self.listings
            if (listing.exchange, listing.account) == (exchange, account)
            and currency in (listing.market.base, listing.market.quote)
        ]
        if not exits:
            return "no market at this account"
        exits = [listing for listing in exits if listing.market.active]
        if not exits:
            return "its market is halted"
        whys = []
        for listing in exits:
            market, mid = listing.market, mid_price(listing)
            side = listing.bids if market.base == currency else listing.asks
            if mid is None or not side:
                whys.append((0, "nobody bids for it" if market.base == currency else "nobody offers for it"))
                continue
            quantity = rest if market.base == currency else rest / side[0][0]
            price = min(side[0][0], mid)
            if market.floor_quantity(quantity) <= 0:
                whys.append((1, "less than one lot"))
            elif quantity < market.min_quantity or quantity * price < NOTIONAL_MARGIN * market.min_notional:
                whys.append((2, "below the smallest order"))
            elif rest * self.prices[currency] < max(
                self.min_trade, Decimal("1.5") * market.min_notional * self.prices[market.quote]
            ):
                whys.append((3, "below the smallest trade"))
            else:
                return ""
        return max(whys)[1]
