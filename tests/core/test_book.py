"""The contract of the order book: which events follow each outcome, and that nothing else happens."""

from decimal import Decimal

import pytest

from ems.core.book import (
    BAD_PRICE,
    BAD_QUANTITY,
    CANCELED,
    DUPLICATE_ORDER,
    FILLED,
    NO_LIQUIDITY,
    POST_ONLY_WOULD_CROSS,
    SELF_TRADE,
    UNFILLABLE,
    UNKNOWN_ORDER,
    Accepted,
    Book,
    Closed,
    Reduced,
    Rejected,
    Rested,
    Traded,
)

D = Decimal


def book_with(*orders, self_trade="allow"):
    """A book in which `(id, side, quantity, price[, owner])` wait."""
    book = Book(self_trade)
    for order_id, side, quantity, price, *owner in orders:
        added = book.add(order_id, side, D(quantity), D(price), owner=owner[0] if owner else "")
        assert isinstance(added[-1], Rested)
    return book


def short(event):
    """An event as a tuple that reads well in a table."""
    match event:
        case Accepted():
            return ("accepted", event.order_id)
        case Rejected():
            return ("rejected", event.order_id, event.reason)
        case Traded():
            return ("traded", event.maker_id, event.taker_id, str(event.price), str(event.quantity))
        case Rested():
            return ("rested", event.order_id, str(event.price), str(event.remaining))
        case Reduced():
            return ("reduced", event.order_id, str(event.remaining))
        case Closed():
            return ("closed", event.order_id, event.reason, str(event.remaining))


def state(book):
    return {
        side: [(order.order_id, str(order.price), str(order.remaining)) for order in book.orders(side)]
        for side in ("buy", "sell")
    }


ASKS = ((1, "sell", "1", "101"), (2, "sell", "2", "102"), (3, "sell", "4", "101"))

ADDS = [
    # name, options, events, what is left of the asks
    (
        "rests untouched below the ask",
        {"quantity": "1", "price": "100"},
        [("accepted", 9), ("rested", 9, "100", "1")],
        [(1, "101", "1"), (3, "101", "4"), (2, "102", "2")],
    ),
    (
        "takes the older order at the same price first",
        {"quantity": "2", "price": "101"},
        [
            ("accepted", 9),
            ("traded", 1, 9, "101", "1"),
            ("closed", 1, FILLED, "0"),
            ("traded", 3, 9, "101", "1"),
            ("closed", 9, FILLED, "0"),
        ],
        [(3, "101", "3"), (2, "102", "2")],
    ),
    (
        "trades at the maker's price and rests with the remainder",
        {"quantity": "6", "price": "101.5"},
        [
            ("accepted", 9),
            ("traded", 1, 9, "101", "1"),
            ("closed", 1, FILLED, "0"),
            ("traded", 3, 9, "101", "4"),
            ("closed", 3, FILLED, "0"),
            ("rested", 9, "101.5", "1"),
        ],
        [(2, "102", "2")],
    ),
    (
        "market order walks through prices and does not rest",
        {"quantity": "8", "price": None},
        [
            ("accepted", 9),
            ("traded", 1, 9, "101", "1"),
            ("closed", 1, FILLED, "0"),
            ("traded", 3, 9, "101", "4"),
            ("closed", 3, FILLED, "0"),
            ("traded", 2, 9, "102", "2"),
            ("closed", 2, FILLED, "0"),
            ("closed", 9, NO_LIQUIDITY, "1"),
        ],
        [],
    ),
    (
        "immediate-or-cancel gives back the remainder",
        {"quantity": "6", "price": "101", "time_in_force": "IOC"},
        [
            ("accepted", 9),
            ("traded", 1, 9, "101", "1"),
            ("closed", 1, FILLED, "0"),
            ("traded", 3, 9, "101", "4"),
            ("closed", 3, FILLED, "0"),
            ("closed", 9, NO_LIQUIDITY, "1"),
        ],
        [(2, "102", "2")],
    ),
    (
        "fill-or-kill that cannot be filled trades nothing",
        {"quantity": "6", "price": "101", "time_in_force": "FOK"},
        [("accepted", 9), ("closed", 9, UNFILLABLE, "6")],
        [(1, "101", "1"), (3, "101", "4"), (2, "102", "2")],
    ),
    (
        "fill-or-kill that can be filled is filled",
        {"quantity": "5", "price": "101", "time_in_force": "FOK"},
        [
            ("accepted", 9),
            ("traded", 1, 9, "101", "1"),
            ("closed", 1, FILLED, "0"),
            ("traded", 3, 9, "101", "4"),
            ("closed", 3, FILLED, "0"),
            ("closed", 9, FILLED, "0"),
        ],
        [(2, "102", "2")],
    ),
    (
        "post-only that would trade is refused",
        {"quantity": "1", "price": "101", "post_only": True},
        [("rejected", 9, POST_ONLY_WOULD_CROSS)],
        [(1, "101", "1"), (3, "101", "4"), (2, "102", "2")],
    ),
    (
        "post-only one tick below rests",
        {"quantity": "1", "price": "100.99", "post_only": True},
        [("accepted", 9), ("rested", 9, "100.99", "1")],
        [(1, "101", "1"), (3, "101", "4"), (2, "102", "2")],
    ),
    (
        "nothing is not a quantity",
        {"quantity": "0", "price": "100"},
        [("rejected", 9, BAD_QUANTITY)],
        [(1, "101", "1"), (3, "101", "4"), (2, "102", "2")],
    ),
    (
        "infinity is not a quantity",
        {"quantity": "Infinity", "price": "100"},
        [("rejected", 9, BAD_QUANTITY)],
        [(1, "101", "1"), (3, "101", "4"), (2, "102", "2")],
    ),
    (
        "a negative price is refused",
        {"quantity": "1", "price": "-1"},
        [("rejected", 9, BAD_PRICE)],
        [(1, "101", "1"), (3, "101", "4"), (2, "102", "2")],
    ),
]


@pytest.mark.parametrize(("options", "events", "asks"), [case[1:] for case in ADDS], ids=[c[0] for c in ADDS])
def test_add(options, events, asks):
    book = book_with(*ASKS)
    options = dict(options)
    price = options.pop("price")
    quantity = D(options.pop("quantity"))
    happened = book.add(9, "buy", quantity, None if price is None else D(price), **options)
    assert [short(event) for event in happened] == events
    rests = [(e[1], e[2], e[3]) for e in events if e[0] == "rested"]
    assert state(book) == {"buy": rests, "sell": asks}
    assert len(book) == len(rests) + len(asks)


def test_a_sell_meets_the_highest_bid_first():
    book = book_with((1, "buy", "1", "99"), (2, "buy", "1", "100"))
    happened = book.add(9, "sell", D("1.5"), D("99"))
    assert [short(event) for event in happened][1:] == [
        ("traded", 2, 9, "100", "1"),
        ("closed", 2, FILLED, "0"),
        ("traded", 1, 9, "99", "0.5"),
        ("closed", 9, FILLED, "0"),
    ]
    assert state(book) == {"buy": [(1, "99", "0.5")], "sell": []}


def test_the_same_id_twice_is_refused_and_changes_nothing():
    book = book_with(*ASKS)
    before = state(book)
    assert [short(e) for e in book.add(1, "buy", D(1), D(101))] == [("rejected", 1, DUPLICATE_ORDER)]
    assert state(book) == before


def test_cancel_takes_out_exactly_one_order():
    book = book_with(*ASKS)
    assert [short(e) for e in book.cancel(3)] == [("closed", 3, CANCELED, "4")]
    assert state(book)["sell"] == [(1, "101", "1"), (2, "102", "2")]
    assert [short(e) for e in book.cancel(3)] == [("rejected", 3, UNKNOWN_ORDER)]


def test_reduce_keeps_priority_and_using_up_means_filled():
    book = book_with(*ASKS)
    assert [short(e) for e in book.reduce(1, D("0.4"))] == [("reduced", 1, "0.6")]
    assert state(book)["sell"][0] == (1, "101", "0.6")
    assert [short(e) for e in book.reduce(1, D("0.7"))] == [("rejected", 1, BAD_QUANTITY)]
    assert [short(e) for e in book.reduce(1, D("0.6"))] == [("closed", 1, FILLED, "0.0")]
    assert [short(e) for e in book.reduce(1, D("0.6"))] == [("rejected", 1, UNKNOWN_ORDER)]
    assert state(book)["sell"] == [(3, "101", "4"), (2, "102", "2")]


def test_own_maker_is_ended_and_the_match_goes_on():
    book = book_with(
        (1, "sell", "1", "101", "ann"), (2, "sell", "1", "101", "bob"), self_trade="expire_maker"
    )
    happened = [short(e) for e in book.add(9, "buy", D(1), D(101), owner="ann")]
    assert happened == [
        ("accepted", 9),
        ("closed", 1, SELF_TRADE, "1"),
        ("traded", 2, 9, "101", "1"),
        ("closed", 2, FILLED, "0"),
        ("closed", 9, FILLED, "0"),
    ]
    assert len(book) == 0


def test_own_taker_is_ended_where_it_meets_itself():
    book = book_with(
        (1, "sell", "1", "101", "bob"), (2, "sell", "1", "101", "ann"), self_trade="expire_taker"
    )
    happened = [short(e) for e in book.add(9, "buy", D(3), D(101), owner="ann")]
    assert happened[-1] == ("closed", 9, SELF_TRADE, "2")
    assert state(book) == {"buy": [], "sell": [(2, "101", "1")]}


def test_fill_or_kill_does_not_count_on_own_orders():
    book = book_with(
        (1, "sell", "1", "101", "ann"), (2, "sell", "1", "101", "bob"), self_trade="expire_maker"
    )
    happened = [short(e) for e in book.add(9, "buy", D(2), D(101), owner="ann", time_in_force="FOK")]
    assert happened == [("accepted", 9), ("closed", 9, UNFILLABLE, "2")]
    assert len(book) == 2


def test_levels_sum_what_waits_at_a_price():
    book = book_with(*ASKS, (4, "buy", "1", "99"), (5, "buy", "1", "100"))
    assert book.levels("sell") == [(D(101), D(5)), (D(102), D(2))]
    assert book.levels("buy") == [(D(100), D(1)), (D(99), D(1))]
    assert (book.best("buy"), book.best("sell")) == (D(100), D(101))
    assert book.size_at("sell", D("101.00")) == D(5)  # equal prices are one level however they are written
    assert book.size_at("sell", D(103)) == 0
