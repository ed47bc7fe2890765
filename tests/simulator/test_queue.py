"""The queue model: where our waiting orders stand in a book that is only shown to us."""

import pytest

from simulator.records import BookChange
from tests.simulator.builders import START, SYMBOL, D, account, exchange, order, show

BIDS = (("99", "10"), ("98", "20"))
ASKS = (("101", "10"), ("102", "20"))


def waiting(side="buy", price="99", quantity="4", **options):
    made = exchange(bids=BIDS, asks=ASKS, **options)
    bot = account(made, USDT="10000", BTC="100")
    return made, bot, order(made, bot, side, quantity, price)


def trade(made, price, quantity, taker_side="sell", now=START):
    made.public_trade(SYMBOL, D(price), D(quantity), taker_side, now)


def filled(ours):
    return str(ours.filled_quantity.normalize())


TRADES = [
    # name, our price, trades (price, size) of others selling, what we got
    ("a trade at our price meets those ahead of us first", "99", [("99", "10")], "0"),
    ("and then us", "99", [("99", "12")], "2"),
    ("in pieces just the same", "99", [("99", "4"), ("99", "4"), ("99", "4")], "2"),
    ("and no more than we wanted", "99", [("99", "50")], "4"),
    ("an improving order has nobody ahead", "99.5", [("99.5", "3")], "3"),
    ("a trade beyond our price fills us up to its size", "99", [("98", "1.5")], "1.5"),
    ("a trade above our price is none of our business", "98", [("99", "50")], "0"),
]


@pytest.mark.parametrize(("price", "trades", "got"), [c[1:] for c in TRADES], ids=[c[0] for c in TRADES])
def test_trades(price, trades, got):
    made, _, ours = waiting(price=price)
    for at, size in trades:
        trade(made, at, size)
    assert filled(ours) == got
    assert all(fill.price == D(price) and fill.liquidity == "maker" for fill in ours.fills)
    assert made.imbalance() == {}


def test_selling_is_the_mirror_of_buying():
    made, _, ours = waiting("sell", "101")
    trade(made, "101", "12", "buy")
    trade(made, "102", "1", "buy")
    trade(made, "101", "50", "sell")  # sellers do not meet sellers
    assert filled(ours) == "3"


def test_two_orders_at_one_price_keep_their_places():
    made, bot, first = waiting(quantity="1")
    show(made, (("99", "13"), ("98", "20")), ASKS)  # 3 more join behind the first
    second = order(made, bot, "buy", "1", "99")
    trade(made, "99", "10.5")
    assert (filled(first), filled(second)) == ("0.5", "0")
    trade(made, "99", "3.5")  # 0.5 for the first, the 3 between, nothing left
    assert (filled(first), filled(second)) == ("1", "0")
    trade(made, "99", "0.4")
    assert (filled(first), filled(second)) == ("1", "0.4")


def needed(made, ours, price="99"):
    """How much must trade before we get anything."""
    for step in range(1, 400):
        trade(made, price, "0.1")
        if ours.filled_quantity:
            return step / 10
    return None


# 6 of 10 shown disappear without a trade; we joined with 10 ahead and 10 came behind us later.
@pytest.mark.parametrize(
    ("model", "ahead"),
    [("probable", 10 - 6 * 0.125), ("risk_averse", 10.0), ("optimistic", 4.0)],
)
def test_cancellations_move_us_forward_by_the_model(model, ahead):
    made, _, ours = waiting(quantity="1", queue_model=model)
    show(made, (("99", "20"), ("98", "20")), ASKS)
    show(made, (("99", "14"), ("98", "20")), ASKS)
    assert needed(made, ours) == pytest.approx(ahead, abs=0.11)


@pytest.mark.parametrize("model", ["probable", "risk_averse", "optimistic"])
def test_never_more_ahead_than_is_shown(model):
    made, _, ours = waiting(quantity="1", queue_model=model)
    show(made, (("99", "2"), ("98", "20")), ASKS)
    assert needed(made, ours) == pytest.approx(2.0, abs=0.11)


def test_a_decrease_explained_by_trades_is_not_a_cancellation():
    made, _, ours = waiting(quantity="1", queue_model="optimistic")
    show(made, (("99", "20"), ("98", "20")), ASKS)
    trade(made, "99", "6")
    show(made, (("99", "14"), ("98", "20")), ASKS)  # the same six
    assert needed(made, ours) == pytest.approx(4.0, abs=0.11)


def test_an_opposite_quote_through_our_price_fills_once_for_each_newly_shown_size():
    made, _, ours = waiting(price="99", quantity="9")
    show(made, (("97", "5"),), (("98", "3"), ("101", "10")))
    assert filled(ours) == "3"
    assert ours.fills[0].price == D(99)  # at our price: it was there first
    show(made, (("97", "5"),), (("98", "3"), ("101", "10")))  # nothing new
    assert filled(ours) == "3"
    show(made, (("97", "5"),), (("98", "5"), ("101", "10")))  # two more
    assert filled(ours) == "5"
    show(made, (("97", "5"),), (("99", "1"), ("101", "10")))  # another price, at ours
    assert filled(ours) == "6"
    assert made.imbalance() == {}


def test_what_we_have_met_is_used_up_for_everybody():
    made, bot, ours = waiting(price="99", quantity="9")
    show(made, (("97", "5"),), (("98", "3"), ("101", "10")))
    made.cancel_order(bot, ours.order_id, now=START)
    assert made.depth(SYMBOL, now=START).asks[0] == (D(101), D(10))
    other = account(made, "other", USDT="1000")
    assert order(made, other, "buy", "1").average_price == D(101)


def test_what_we_have_met_is_not_published_behind_us():
    made, _, ours = waiting(price="99", quantity="9")
    show(made, (("97", "5"),), (("98", "3"), ("101", "10")))
    for later in (0, 5, 60):
        book = made.depth(SYMBOL, now=START + later)
        assert (book.bids[0], book.asks[0]) == ((D(99), D(6)), (D(101), D(10)))
    made.cancel_order(made.accounts["bot"], ours.order_id, now=START + 60)
    book = made.depth(SYMBOL, now=START + 60)
    assert (book.bids[0][0], book.asks[0][0]) == (D(97), D(98))


def test_our_takes_deplete_the_book_and_it_refills():
    made = exchange(bids=BIDS, asks=ASKS, refill_s=5.0)
    bot = account(made, USDT="10000")
    order(made, bot, "buy", "8")
    sizes = [made.depth(SYMBOL, now=START + later).asks[0] for later in (0, 5, 10, 100)]
    assert [price for price, _ in sizes] == [D(101)] * 4
    # 10 - 8 * exp(-t / 5)
    assert [float(size) for _, size in sizes] == pytest.approx([2, 7.057, 8.917, 10], abs=0.002)
    assert all(size % D("0.001") == 0 for _, size in sizes)


def test_a_second_take_meets_only_what_is_left():
    made = exchange(bids=BIDS, asks=ASKS)
    bot = account(made, USDT="10000")
    order(made, bot, "buy", "8")
    done = order(made, bot, "buy", "5")
    assert [(fill.price, fill.quantity) for fill in done.fills] == [(D(101), D(2)), (D(102), D(3))]


def test_a_refilled_level_is_published():
    made = exchange(bids=BIDS, asks=ASKS)
    bot = account(made, USDT="10000")
    order(made, bot, "buy", "10")
    changes = []
    made.subscribe(lambda event: changes.append(event) if isinstance(event, BookChange) else None)
    made.advance(SYMBOL, START + 5)
    assert [(p, float(q)) for change in changes for p, q in change.asks] == [
        (D(101), pytest.approx(6.321, abs=0.001))
    ]


def test_another_account_meets_the_queue_in_its_order():
    made, _, ours = waiting(quantity="4")
    show(made, (("99", "12"), ("98", "20")), ASKS)  # 10 ahead of us, 2 behind
    other = account(made, "other", BTC="100")
    done = order(made, other, "sell", "15", "99")
    assert [(f.price, f.quantity) for f in done.fills] == [(D(99), D(10)), (D(99), D(4)), (D(99), D(1))]
    assert filled(ours) == "4"
    assert done.status == "filled"
    assert made.imbalance() == {}
