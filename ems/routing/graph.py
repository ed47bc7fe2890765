"""Books as a graph of currencies: what one unit of this becomes there, level by level (EXECUTION.md 2.1).

A node is (exchange, account, currency). A market is two directed edges, one per side of its book. An edge
is a list of levels, best first: gain (units of the target per unit of the source, net of the taker fee) and
capacity (units of the source). Fees are linear, so gains only fall along an edge, and taking levels in
order is never wrong.

Floats live here and in the solver only. `Books` keeps them between calls: a changed book costs one new
first level a side, deeper levels are converted when a solver first reaches them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from math import inf, log

from ems.core.messages import Side
from ems.routing.plan import Levels, Listing, Node

# Intermediate currencies of scope "hub": so many of a venue's quote currencies, those of most markets first.
HUBS_PER_VENUE = 6

Venue = tuple[str, str]  # (exchange, account)
Key = tuple[str, str, str]  # (exchange, account, symbol)


class Ladder:
    """One directed edge: a side of a book in floats, converted as far as anybody has looked."""

    __slots__ = ("caps", "gains", "levels", "listing", "logs", "read", "side", "source", "target")

    def __init__(self, listing: Listing, side: Side) -> None:
        base, quote = listing.market.base, listing.market.quote
        self.side = side
        self.source, self.target = (quote, base) if side is Side.BUY else (base, quote)
        self.renew(listing)

    def renew(self, listing: Listing) -> None:
        """Take a new book and look at its first level."""
        self.listing = listing
        self.levels: Levels = listing.asks if self.side is Side.BUY else listing.bids
        self.gains: list[float] = []
        self.caps: list[float] = []
        self.logs: list[float] = []
        self.read = 0  # how many of `levels` were looked at; an empty or disorderly one makes no gain
        self.deepen(1)

    def deepen(self, count: int) -> bool:
        """Convert until `count` levels are at hand; say whether they are."""
        if len(self.gains) >= count:
            return True
        market = self.listing.market
        fee = float(market.taker_fee)
        buys, mode = self.side is Side.BUY, market.fee_mode
        while len(self.gains) < count and self.read < len(self.levels):
            p, q = self.levels[self.read]
            price, quantity = float(p), float(q)
            self.read += 1
            if not (price > 0 and quantity > 0):
                continue
            if buys:
                if mode == "quote":
                    gain, cap = 1 / (price * (1 + fee)), price * quantity * (1 + fee)
                else:  # a fee in a third currency costs the same as one in what is received
                    gain, cap = (1 - fee) / price, price * quantity
            elif mode == "base":
                gain, cap = price / (1 + fee), quantity * (1 + fee)
            else:
                gain, cap = price * (1 - fee), quantity
            if self.gains and gain > self.gains[-1]:
                self.read = len(self.levels)  # out of order: what lies deeper is not believed
                return False
            self.gains.append(gain)
            self.caps.append(cap)
            self.logs.append(log(gain))
        return len(self.gains) >= count


class Books:
    """The books of all accounts as one graph, kept current by `update`."""

    def __init__(self, listings: Iterable[Listing] = ()) -> None:
        self.nodes: list[Node] = []
        self.ids: dict[Node, int] = {}
        self.ladders: list[Ladder] = []  # edge -> its levels
        self.tails: list[int] = []  # edge -> node it leaves
        self.heads: list[int] = []
        self.first_log: list[float] = []  # edge -> log gain of its best level, -inf where there is none
        self.first_gain: list[float] = []
        self.first_cap: list[float] = []
        self.onward: list[dict[int, list[int]]] = []  # node -> node -> edges
        self.backward: list[dict[int, list[int]]] = []  # the same lists, by the node they enter
        self.newest: dict[Key, Listing] = {}
        self._edges: dict[Key, tuple[int, int]] = {}
        self._hubs: dict[Venue, frozenset[int]] = {}
        for listing in listings:
            self.update(listing)

    def update(self, listing: Listing) -> None:
        """Put a market's new book, fees or state in the place of what was known."""
        key = (listing.exchange, listing.account, listing.market.symbol)
        known = self.newest.get(key)
        if known is listing:
            return
        if not listing.market.active:
            self.remove(*key)
            return
        if known is not None and (known.market.base, known.market.quote) != (
            listing.market.base,
            listing.market.quote,
        ):
            self.remove(*key)
        self.newest[key] = listing
        edges = self._edges.get(key)
        if edges is None:
            self._edges[key] = (self._add(listing, Side.BUY), self._add(listing, Side.SELL))
            self._hubs.clear()
        else:
            for edge in edges:
                self.ladders[edge].renew(listing)
                self._look(edge)

    def remove(self, exchange: str, account: str, symbol: str) -> None:
        """Forget a market; its edges stay numbered but lead nowhere."""
        key = (exchange, account, symbol)
        self.newest.pop(key, None)
        for edge in self._edges.pop(key, ()):
            tail, head = self.tails[edge], self.heads[edge]
            between = self.onward[tail][head]
            between.remove(edge)
            if not between:
                del self.onward[tail][head], self.backward[head][tail]
        self._hubs.clear()

    def hubs(self, venue: Venue) -> frozenset[int]:
        """Return the nodes of the currencies most markets of a venue are quoted in."""
        if not self._hubs:
            markets: dict[Venue, dict[str, int]] = {}
            for exchange, account, symbol in self._edges:
                quote = self.newest[exchange, account, symbol].market.quote
                count = markets.setdefault((exchange, account), {})
                count[quote] = count.get(quote, 0) + 1
            for place, count in markets.items():
                most = sorted(count, key=lambda quote: (-count[quote], quote))[:HUBS_PER_VENUE]
                self._hubs[place] = frozenset(self.ids[(*place, quote)] for quote in most)
        return self._hubs.get(venue, frozenset())

    def _add(self, listing: Listing, side: Side) -> int:
        ladder = Ladder(listing, side)
        edge = len(self.ladders)
        tail = self._node((listing.exchange, listing.account, ladder.source))
        head = self._node((listing.exchange, listing.account, ladder.target))
        self.ladders.append(ladder)
        self.tails.append(tail)
        self.heads.append(head)
        self.first_log.append(-inf)
        self.first_gain.append(0.0)
        self.first_cap.append(0.0)
        between = self.onward[tail].setdefault(head, [])
        between.append(edge)
        self.backward[head][tail] = between
        self._look(edge)
        return edge

    def _node(self, node: Node) -> int:
        if node not in self.ids:
            self.ids[node] = len(self.nodes)
            self.nodes.append(node)
            self.onward.append({})
            self.backward.append({})
        return self.ids[node]

    def _look(self, edge: int) -> None:
        ladder = self.ladders[edge]
        there = bool(ladder.gains)
        self.first_log[edge] = ladder.logs[0] if there else -inf
        self.first_gain[edge] = ladder.gains[0] if there else 0.0
        self.first_cap[edge] = ladder.caps[0] if there else 0.0


class Graph:
    """The part of the books that lies on some way from what is held to what is wanted.

    `ways` are edges of the books. Two numbers more than the books have nodes stand for the source of all
    supplies and the sink where every account's end currency counts alike.
    """

    __slots__ = ("books", "ends", "into", "out", "sink", "source", "starts", "ways")

    def __init__(self, books: Books, starts: Mapping[int, float], ends: Collection[int]) -> None:
        self.books = books
        self.starts = dict(starts)  # node -> what may be spent there
        self.ends = sorted(ends)
        self.sink = len(books.nodes)
        self.source = self.sink + 1
        self.ways: list[int] = []
        self.out: dict[int, list[int]] = {}  # node -> ways that leave it
        self.into: dict[int, list[int]] = {}


def build(
    books: Books,
    supplies: Mapping[Node, Decimal],
    end_currency: str,
    *,
    scope: str,
    max_hops: int,
    without: Collection[Key] = frozenset(),
) -> Graph:
    """Keep the edges on a walk of at most `max_hops` markets from a supply to the end currency.

    With scope "hub" a walk passes through hubs only. A walk that comes back to its only start or goes
    through its end is no way to it. Markets in `without` are left out.
    """
    starts = {
        books.ids[node]: float(amount)
        for node, amount in supplies.items()
        if amount > 0 and node in books.ids and node[2] != end_currency
    }
    venues: dict[Venue, list[int]] = {}
    for start in starts:
        exchange, account, _ = books.nodes[start]
        venues.setdefault((exchange, account), []).append(start)
    ends = {
        venue: books.ids[(*venue, end_currency)] for venue in venues if (*venue, end_currency) in books.ids
    }
    graph = Graph(books, starts, ends.values())
    for venue, end in ends.items():
        hubs = books.hubs(venue) if scope == "hub" else None
        _keep(graph, venues[venue], end, hubs, max_hops)
    if without:
        graph.ways = [way for way in graph.ways if _key(books, way) not in without]
    for way in graph.ways:
        graph.out.setdefault(books.tails[way], []).append(way)
        graph.into.setdefault(books.heads[way], []).append(way)
    return graph


def _key(books: Books, edge: int) -> Key:
    listing = books.ladders[edge].listing
    return listing.exchange, listing.account, listing.market.symbol


def _keep(graph: Graph, starts: list[int], end: int, hubs: frozenset[int] | None, max_hops: int) -> None:
    """Append one venue's edges (a, b) with hops(start, a) + 1 + hops(b, end) <= max_hops."""
    onward, backward = graph.books.onward, graph.books.backward
    # Money that is back where it started has gone nowhere, unless another start could send it on.
    closed = {end} | (set(starts) if len(starts) == 1 else set())
    after = [set(starts)]  # after[n]: nodes first reached by n hops
    seen = set(starts) | {end}
    before = [{end}]
    seen_back = {end} | closed
    for _ in range(max_hops - 1):
        reached: set[int] = set()
        for node in after[-1]:
            reached.update(onward[node])
        reached -= seen
        if hubs is not None:
            reached &= hubs
        after.append(reached)
        seen |= reached
        reached = set()
        for node in before[-1]:
            reached.update(backward[node])
        reached -= seen_back
        if hubs is not None:
            reached &= hubs.union(starts)
        before.append(reached)
        seen_back |= reached
    for hops, tails in enumerate(after):
        near: set[int] = set().union(*before[: max_hops - hops]) - (closed - {end})
        # A tail further from the end than the hops that are left has no edge to keep.
        useful = tails & set().union(*before[: max_hops - hops + 1]) if hops else tails
        for tail in sorted(useful):
            targets = onward[tail]
            heads = [head for head in targets if head in near] if len(targets) < len(near) else near
            for head in sorted(heads):
                edges = targets.get(head)
                if edges:
                    graph.ways.extend(edges)
