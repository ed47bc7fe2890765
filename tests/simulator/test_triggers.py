"""Orders that wait for a price or a date, and amended ones: what fires, what it costs, who is first."""

from decimal import Decimal
from random import Random

import pytest

from simulator import records
from simulator.records import OrderUpdate, Reject, Trigger
from simulator.triggers import stop_or_profit
from tests.simulator.builders import START, SYMBOL, D, account, exchange, funds, market, order, owns, show


def waiting(made, owner, side, quantity, stop, price=None, kind="stop_loss", **options):
    options.setdefault("trigger", stop_or_profit(kind, side, D(stop)))
    return order(made, owner, side, quantity, price, **options)


def prints(made, price, quantity="0.001", now=START):
    """Somebody trades at a price."""
    made.public_trade(SYMBOL, D(price), D(quantity), "buy", now)


def kinds(made):
    """Every order event from now on, as (order id, kind, status)."""
    seen = []
    made.subscribe(
        lambda event: (
            seen.append((event.order.order_id, event.kind, event.status))
            if isinstance(event, OrderUpdate)
            else None
        )
    )
    return seen


BOOK = {"bids": (("99", "5"), ("95", "5"), ("90", "5")), "asks": (("101", "5"), ("105", "5"), ("110", "5"))}

DIRECTIONS = [
    # name, kind, side, stop, a trade that does not fire it, one that does
    ("a stop loss sells when it falls", "stop_loss", "sell", "98", "98.01", "98"),
    ("a stop loss buys when it rises", "stop_loss", "buy", "102", "101.99", "102"),
    ("a take profit sells when it rises", "take_profit", "sell", "102", "101.99", "102.5"),
    ("a take profit buys when it falls", "take_profit", "buy", "98", "98.01", "97"),
]


@pytest.mark.parametrize(("kind", "side", "stop", "near", "through"), [row[1:] for row in DIRECTIONS],
                         ids=[row[0] for row in DIRECTIONS])  # fmt: skip
def test_which_trade_fires_it(kind, side, stop, near, through):
    made = exchange(**BOOK)
    bot = account(made, USDT="1000", BTC="10")
    prints(made, "100")
    seen = kinds(made)
    placed = waiting(made, bot, side, "1", stop, kind=kind)
    prints(made, near)
    assert placed.waiting and placed.status == records.SUBMITTED and not placed.fills
    assert seen == [(placed.order_id, "new", "submitted")]
    prints(made, through)
    assert not placed.waiting and placed.status == records.FILLED
    assert seen[1:] == [
        (placed.order_id, "triggered", "submitted"),
        (placed.order_id, "trade", "filled"),
    ]
    assert placed.average_price == (D("99") if side == "sell" else D("101"))
    assert made.imbalance() == {}


def test_a_waiting_order_is_open_and_in_no_book():
    made = exchange(**BOOK)
    bot = account(made, USDT="1000")
    before = made.depth(SYMBOL, now=START)
    placed = waiting(made, bot, "buy", "1", "103", "104")
    assert made.open_orders(bot) == [placed]
    assert made.depth(SYMBOL, now=START) == before
    assert owns(made, bot) == funds(USDT="896 104")
    made.cancel_order(bot, placed.order_id, now=START)
    prints(made, "103")
    assert placed.status == records.CANCELED and not placed.fills
    assert owns(made, bot) == funds(USDT="1000 0")


RESERVES = [
    # name, side, price, early, what is left of 1000 USDT and 10 BTC as "free locked"
    ("a sale holds what it sells", "sell", None, True, {"USDT": "1000 0", "BTC": "9 1"}),
    ("a limited buy holds its limit", "buy", "104", True, {"USDT": "896 104", "BTC": "10 0"}),
    ("an unlimited buy holds its trigger's worth", "buy", None, True, {"USDT": "897 103", "BTC": "10 0"}),
    ("one that reserves late holds nothing", "buy", "104", False, {"USDT": "1000 0", "BTC": "10 0"}),
]


@pytest.mark.parametrize(("side", "price", "early", "left"), [row[1:] for row in RESERVES],
                         ids=[row[0] for row in RESERVES])  # fmt: skip
def test_what_it_holds_while_it_waits(side, price, early, left):
    made = exchange(**BOOK)
    bot = account(made, USDT="1000", BTC="10")
    placed = waiting(made, bot, side, "1", "103" if side == "buy" else "97", price, reserve_early=early)
    assert owns(made, bot) == funds(**left)
    made.cancel_order(bot, placed.order_id, now=START)
    assert owns(made, bot) == funds(USDT="1000 0", BTC="10 0")


def test_what_cannot_be_paid_for_when_it_fires_ends_there():
    made = exchange(**BOOK)
    bot = account(made, USDT="100")
    with pytest.raises(Reject, match=records.INSUFFICIENT_FUNDS):
        waiting(made, bot, "buy", "1", "103", "104")
    late = waiting(made, bot, "buy", "1", "103", "104", reserve_early=False)
    seen = kinds(made)
    prints(made, "103")
    assert (late.status, late.reason, late.fills) == (records.EXPIRED, records.INSUFFICIENT_FUNDS, [])
    assert [kind for _, kind, _ in seen] == ["triggered", "expired"]
    assert owns(made, bot) == funds(USDT="100 0")
    assert made.imbalance() == {}


def test_a_triggered_limit_waits_in_the_book_behind_what_is_there():
    made = exchange(**BOOK)
    bot, other = account(made, USDT="1000"), account(made, "other", USDT="1000")
    first = order(made, other, "buy", "1", "100")
    placed = waiting(made, bot, "buy", "1", "100.5", "100")
    prints(made, "100.5")
    assert placed.open and not placed.waiting
    assert made.best(SYMBOL, "buy", START) == (D("100"), D("2"))
    seller = account(made, "seller", BTC="5")
    order(made, seller, "sell", "1.5", "100")
    assert (first.filled_quantity, placed.filled_quantity) == (D("1"), D("0.5"))


def test_one_fired_order_fires_the_next():
    made = exchange(bids=(("99", "1"), ("95", "1"), ("90", "1")))
    bot = account(made, BTC="10")
    lower = waiting(made, bot, "sell", "1", "95.5")
    upper = waiting(made, bot, "sell", "2", "99.5")
    seen = kinds(made)
    prints(made, "99.2")
    # The upper one sells at 99 and 95; that is below 95.5.
    assert [fill.price for fill in upper.fills] == [D("99"), D("95")]
    assert [fill.price for fill in lower.fills] == [D("90")]
    assert [(number, kind) for number, kind, _ in seen] == [
        (upper.order_id, "triggered"),
        (upper.order_id, "trade"),
        (upper.order_id, "trade"),
        (lower.order_id, "triggered"),
        (lower.order_id, "trade"),
    ]
    assert made.imbalance() == {}


def test_a_price_that_was_touched_and_left_at_once_counts():
    made = exchange(bids=(("97", "5"),))
    bot, other = account(made, BTC="10"), account(made, "other", BTC="2")
    prints(made, "105")
    order(made, other, "sell", "1", "98")
    placed = waiting(made, bot, "sell", "0.5", "98.5")
    made.public_trade(SYMBOL, D("100"), D("3"), "buy", START + 1)  # meets the 98 on its way
    assert [trade.price for trade in made.recent_trades(SYMBOL)] == [D("105"), D("98"), D("100"), D("97")]
    assert (placed.status, placed.triggered_at) == (records.FILLED, START + 1)


def test_a_trigger_that_is_met_already_fires_at_once():
    made = exchange(**BOOK)
    bot = account(made, BTC="10")
    prints(made, "97")
    placed = waiting(made, bot, "sell", "1", "98")
    assert placed.status == records.FILLED and placed.triggered_at == START


REFUSED = [
    ("a trigger between two steps", {"stop": "98.001"}, records.PRICE_FILTER),
    ("no price at all", {"stop": "0"}, records.PRICE_FILTER),
    ("too little", {"quantity": "0.0001"}, records.LOT_SIZE),
    ("worth too little at its trigger", {"quantity": "0.001", "stop": "98"}, records.MIN_NOTIONAL),
    ("a date that is over", {"expires_at": START}, records.BAD_PARAMETER),
]


@pytest.mark.parametrize(("changes", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused_changes_nothing(changes, reason):
    made = exchange(**BOOK)
    bot = account(made, BTC="10")
    with pytest.raises(Reject, match=reason):
        waiting(made, bot, "sell", **{"quantity": "1", "stop": "98"} | changes)
    assert not made.orders and owns(made, bot) == funds(BTC="10 0")


def test_good_till_a_date_ends_then_whoever_looks():
    made = exchange(**BOOK)
    bot, other = account(made, USDT="1000", BTC="1"), account(made, "other", BTC="5")
    resting = order(made, bot, "buy", "1", "100", expires_at=START + 10)
    stop = waiting(made, bot, "sell", "1", "98", expires_at=START + 10)
    seen = kinds(made)
    made.advance(SYMBOL, START + 9.9)
    assert resting.open and stop.waiting and not seen
    # The order that would have met it comes too late.
    taker = order(made, other, "sell", "1", "100", START + 10)
    assert not resting.fills and not taker.fills
    assert (
        (resting.status, resting.reason) == (stop.status, stop.reason) == (records.EXPIRED, records.TIME_OVER)
    )
    assert [kind for _, kind, _ in seen] == ["expired", "expired", "new"]
    assert owns(made, bot) == funds(USDT="1000 0", BTC="1 0")


def test_an_order_as_it_stood_before_it_fired_and_before_it_was_amended():
    made = exchange(**BOOK)
    bot = account(made, BTC="10")
    placed = waiting(made, bot, "sell", "2", "98", "97", now=START)
    made.amend_order(
        bot, placed.order_id, quantity=D("1"), price=D("96"), trigger_price=D("97"), now=START + 1
    )
    made.public_trade(SYMBOL, D("97"), D("1"), "sell", START + 2)
    then = made.find_order(bot, placed.order_id, as_of=START)
    assert (then.quantity, then.price, then.trigger.price, then.waiting) == (D("2"), D("97"), D("98"), True)
    between = made.find_order(bot, placed.order_id, as_of=START + 1)
    assert (between.quantity, between.price, between.trigger.price, between.waiting) == (
        D("1"), D("96"), D("97"), True,
    )  # fmt: skip
    assert placed.status == records.FILLED and placed.triggered_at == START + 2


# --- Amending ---


def queued(made, *amendments, now=START):
    """Two orders of 2 at the same price, the first amended; then 2 are sold to them. Who got how much?"""
    first, second = account(made, "first", USDT="1000"), account(made, "second", USDT="1000")
    mine, theirs = order(made, first, "buy", "2", "100"), order(made, second, "buy", "2", "100")
    for changes in amendments:
        made.amend_order(first, mine.order_id, **{k: D(v) for k, v in changes.items()}, now=now)
    seller = account(made, "seller", BTC="5")
    order(made, seller, "sell", "2", "100")
    assert made.imbalance() == {}
    return mine.filled_quantity, theirs.filled_quantity


PRIORITY = [
    ("smaller keeps its place", [{"quantity": "1.5"}], ("1.5", "0.5")),
    ("larger goes to the end", [{"quantity": "3"}], ("0", "2")),
    ("away and back goes to the end", [{"price": "99.5"}, {"price": "100"}], ("0", "2")),
    ("a better price comes first", [{"price": "100.5"}], ("2", "0")),
    ("smaller and better comes first", [{"quantity": "1", "price": "100.5"}], ("1", "1")),
]


@pytest.mark.parametrize(("terms", "filled"), [row[1:] for row in PRIORITY], ids=[r[0] for r in PRIORITY])
def test_who_is_first_after_an_amendment(terms, filled):
    assert queued(exchange(), *terms) == tuple(map(D, filled))


def test_an_amended_order_keeps_its_id_and_holds_what_it_needs():
    made = exchange(asks=(("101", "1"),))
    bot = account(made, USDT="1000")
    placed = order(made, bot, "buy", "2", "100", client_order_id="one")
    seen = kinds(made)
    same = made.amend_order(bot, client_order_id="one", quantity=D("3"), price=D("99"), now=START + 1)
    assert same is placed and (placed.quantity, placed.price, placed.updated_at) == (
        D("3"),
        D("99"),
        START + 1,
    )
    assert owns(made, bot) == funds(USDT="703 297")
    assert made.depth(SYMBOL, now=START + 1).bids == [(D("99"), D("3"))]
    assert seen == [(placed.order_id, "amended", "submitted")]
    # Through the other side it takes, and the rest waits.
    made.amend_order(bot, placed.order_id, price=D("102"), now=START + 2)
    assert [fill.price for fill in placed.fills] == [D("101")] and placed.remaining_quantity == D("2")
    assert owns(made, bot) == funds(USDT="695 204", BTC="1 0")
    assert [kind for _, kind, _ in seen] == ["amended", "amended", "trade"]
    assert made.imbalance() == {}


def test_a_new_name_is_found_and_the_old_one_is_free():
    made = exchange()
    bot = account(made, USDT="1000")
    placed = order(made, bot, "buy", "2", "100", client_order_id="old")
    taken = order(made, bot, "buy", "1", "90", client_order_id="taken")
    with pytest.raises(Reject, match=records.DUPLICATE_CLIENT_ID):
        made.amend_order(bot, placed.order_id, quantity=D("1"), new_client_order_id="taken", now=START)
    assert placed.quantity == D("2") and made.find_order(bot, client_order_id="taken") is taken
    made.amend_order(bot, placed.order_id, quantity=D("1"), new_client_order_id="new", now=START)
    assert made.find_order(bot, client_order_id="new") is placed
    assert made.find_order(bot, client_order_id="old") is None


AMENDS_REFUSED = [
    ("what is so already", {"quantity": "2", "price": "100"}, records.NO_CHANGE),
    ("nothing", {}, records.NO_CHANGE),
    ("as much as is filled", {"quantity": "0.5"}, records.BELOW_FILLED),
    ("less than is filled", {"quantity": "0.4"}, records.BELOW_FILLED),
    ("more than can be paid", {"quantity": "11"}, records.INSUFFICIENT_FUNDS),
    ("a price that cannot be paid", {"price": "700"}, records.INSUFFICIENT_FUNDS),
    ("a price between two steps", {"price": "99.001"}, records.PRICE_FILTER),
    ("a quantity between two steps", {"quantity": "1.0001"}, records.LOT_SIZE),
    ("a trigger it does not have", {"trigger_price": "98"}, records.BAD_PARAMETER),
    ("through the other side although post-only", {"price": "1000"}, records.POST_ONLY_WOULD_CROSS),
]


@pytest.mark.parametrize(("changes", "reason"), [row[1:] for row in AMENDS_REFUSED],
                         ids=[row[0] for row in AMENDS_REFUSED])  # fmt: skip
def test_an_amendment_that_is_refused_changes_nothing(changes, reason):
    made = exchange(asks=(("1000", "1"),))
    bot, other = account(made, USDT="1000"), account(made, "other", BTC="1")
    placed = order(made, bot, "buy", "2", "100", post_only=True)
    order(made, other, "sell", "0.5", "100")
    before, seen = records.order_record(placed) | {"owns": owns(made, bot)}, kinds(made)
    with pytest.raises(Reject, match=reason):
        made.amend_order(bot, placed.order_id, **{k: D(v) for k, v in changes.items()}, now=START + 1)
    assert records.order_record(placed) | {"owns": owns(made, bot)} == before and not seen
    assert made.depth(SYMBOL, now=START + 1).bids == [(D("100"), D("1.5"))]


def test_an_order_that_is_over_or_anothers_cannot_be_amended():
    made = exchange()
    bot, other = account(made, USDT="1000"), account(made, "other", USDT="1000")
    placed = order(made, bot, "buy", "2", "100")
    with pytest.raises(Reject, match=records.UNKNOWN_ORDER):
        made.amend_order(other, placed.order_id, quantity=D("1"), now=START)
    made.cancel_order(bot, placed.order_id, now=START)
    with pytest.raises(Reject, match=records.ORDER_CLOSED):
        made.amend_order(bot, placed.order_id, quantity=D("1"), now=START)
    assert placed.quantity == D("2")


def test_an_amended_trigger_fires_by_its_new_price():
    made = exchange(**BOOK)
    bot = account(made, BTC="10")
    prints(made, "100")
    placed = waiting(made, bot, "sell", "1", "97")
    made.amend_order(bot, placed.order_id, trigger_price=D("95"), now=START)
    prints(made, "96")
    assert placed.waiting
    made.amend_order(bot, placed.order_id, trigger_price=D("96.5"), now=START)
    assert placed.status == records.FILLED


# --- Any sequence ---


@pytest.mark.parametrize("fee_mode", ["received", "quote", "base"])
@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_done_nothing_is_lost_or_made(seed, fee_mode):
    rng = Random(f"{seed} {fee_mode}")
    made = exchange(
        market(maker_fee="0.001", taker_fee="0.002", fee_mode=fee_mode, min_notional="1"),
        self_trade=rng.choice(["allow", "expire_maker", "expire_taker"]),
        rng=rng,
    )
    bots = [account(made, name, USDT="3000", BTC="30") for name in ("a", "b", "c")]
    now, done = START, {"fired": 0, "amended": 0, "ended": 0}

    def count(event):
        if isinstance(event, OrderUpdate):
            done["fired"] += event.kind == "triggered"
            done["amended"] += event.kind == "amended"
            done["ended"] += event.order.reason == records.TIME_OVER

    made.subscribe(count)

    def price():
        return D(rng.randrange(9000, 11000)) / 100

    def size():
        return D(rng.randrange(1, 3000)) / 1000

    def act():
        bot, side = rng.choice(bots), rng.choice(["buy", "sell"])
        open_orders = list(bot.open)
        choice = rng.random()
        if choice < 0.45:
            trigger = Trigger(kind="trigger", price=price(), rising=rng.random() < 0.5)
            limit = price() if rng.random() < 0.6 else None
            by_quote = limit is None and side == "buy" and rng.random() < 0.3
            made.create_order(
                bot, SYMBOL, side, "market" if limit is None else "limit",
                None if by_quote else size(), limit,
                quote_quantity=D(rng.randrange(5, 300)) if by_quote else None,
                time_in_force=rng.choice(["GTC", "GTC", "IOC", "FOK"]) if limit else "GTC",
                trigger=trigger if rng.random() < 0.6 else None,
                reserve_early=rng.random() < 0.5,
                expires_at=now + rng.randrange(1, 20) if rng.random() < 0.3 else None,
                now=now,
            )  # fmt: skip
        elif choice < 0.7 and open_orders:
            terms = {"quantity": size(), "price": price(), "trigger_price": price()}
            chosen = {name: value for name, value in terms.items() if rng.random() < 0.5}
            made.amend_order(bot, rng.choice(open_orders), **chosen, now=now)
        elif choice < 0.8 and open_orders:
            made.cancel_order(bot, rng.choice(open_orders), now=now)
        elif choice < 0.9:
            made.public_trade(SYMBOL, price(), size(), rng.choice(["buy", "sell"]), now)
        else:
            middle = rng.randrange(9500, 10500)
            show(
                made,
                [(D(middle - rng.randrange(1, 300)) / 100, size()) for _ in range(3)],
                [(D(middle + rng.randrange(1, 300)) / 100, size()) for _ in range(3)],
                now,
            )

    refused = 0
    for _ in range(400):
        now += rng.random()
        try:
            act()
        except Reject:
            refused += 1
        check_all(made, now)
    assert refused < 300 and min(done.values()) > 0, (refused, done)
    for bot in bots:
        made.cancel_all(bot, now=now)
        assert not any(locked for _, locked in made.balances(bot).values())
    assert made.imbalance() == {}


def check_all(made, now):
    """Money adds up, what is locked is what open orders hold, and each order is where it belongs."""
    assert made.imbalance() == {}
    state = made._states[SYMBOL]
    for bot in made.accounts.values():
        held = {"USDT": Decimal(0), "BTC": Decimal(0)}
        for one in bot.orders.values():
            assert one.open or not one.reserved
            held["USDT" if one.side == "buy" else "BTC"] += one.reserved
            resting = state.book.get(one.order_id)
            if one.open and not one.waiting:
                assert resting is not None and resting.remaining == one.remaining_quantity > 0
                assert (resting.price, resting.side) == (one.price, one.side)
            else:
                assert resting is None
            if one.waiting and state.last_price is not None:
                trigger = one.trigger
                fires = (
                    state.last_price >= trigger.price if trigger.rising else state.last_price <= trigger.price
                )
                assert not fires
            assert one.expires_at is None or one.expires_at > now or not one.open
            assert one.filled_quantity == sum((fill.quantity for fill in one.fills), Decimal(0))
            assert one.filled_quantity <= one.quantity
        for currency, amount in held.items():
            assert bot.locked.get(currency, Decimal(0)) == amount
            assert bot.free[currency] >= 0
