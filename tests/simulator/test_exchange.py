"""The exchange: money is neither lost nor made, a refusal changes nothing, the past can be looked at."""

from random import Random

import pytest

from simulator.records import (
    BAD_PARAMETER,
    CANCEL_ONLY,
    CANCEL_ONLY_MODE,
    DUPLICATE_CLIENT_ID,
    HALT,
    HALTED,
    INSUFFICIENT_FUNDS,
    INVALID_KEY,
    LOT_SIZE,
    MAINTENANCE,
    MAINTENANCE_MODE,
    MAX_ORDERS,
    MIN_NOTIONAL,
    ORDER_CLOSED,
    PERMISSION_DENIED,
    POST_ONLY_MODE,
    POST_ONLY_ONLY_MODE,
    POST_ONLY_WOULD_CROSS,
    PRICE_FILTER,
    TRADING,
    UNKNOWN_ORDER,
    UNKNOWN_SYMBOL,
    BalanceChange,
    BookChange,
    OrderUpdate,
    PublicTrade,
    Reject,
)
from tests.simulator.builders import START, SYMBOL, D, account, exchange, funds, market, order, owns, show

BIDS = (("99", "1"), ("98", "5"))
ASKS = (("101", "1"), ("102", "5"))


# Money


FEES = [
    # fee mode, side, what the account owns afterwards (10 000 USDT and 10 BTC before; a taker trades 2 BTC)
    ("received", "buy", funds(USDT="9797 0", BTC="11.98 0")),
    ("received", "sell", funds(USDT="10195.03 0", BTC="8 0")),
    ("quote", "buy", funds(USDT="9794.97 0", BTC="12 0")),
    ("quote", "sell", funds(USDT="10195.03 0", BTC="8 0")),
    ("base", "buy", funds(USDT="9797 0", BTC="11.98 0")),
    ("base", "sell", funds(USDT="10197 0", BTC="7.98 0")),
]


@pytest.mark.parametrize(("mode", "side", "after"), FEES, ids=[f"{m} {s}" for m, s, _ in FEES])
def test_a_taker_pays_the_fee_where_the_exchange_takes_it(mode, side, after):
    made = exchange(market(taker_fee="0.01", fee_mode=mode), bids=BIDS, asks=ASKS)
    bot = account(made, USDT="10000", BTC="10")
    # buy 1 at 101 and 1 at 102 = 203; sell 1 at 99 and 1 at 98 = 197; each plus or minus 1 %
    done = order(made, bot, side, "2")
    assert (done.status, done.filled_quantity) == ("filled", D(2))
    assert owns(made, bot) == after
    assert made.imbalance() == {}


def test_a_waiting_buy_reserves_its_cost_and_returns_what_it_did_not_need():
    made = exchange(bids=BIDS, asks=ASKS)
    bot = account(made, USDT="1000")
    order(made, bot, "buy", "2", "101.5")  # takes 1 at 101, waits with 1 at 101.5
    assert owns(made, bot) == funds(USDT="797.5 101.5", BTC="1 0")
    made.cancel_order(bot, 1, now=START)
    assert owns(made, bot) == funds(USDT="899 0", BTC="1 0")
    assert made.imbalance() == {}


def test_a_fee_in_quote_is_reserved_with_the_cost():
    made = exchange(market(maker_fee="0.01", taker_fee="0.02", fee_mode="quote"), bids=BIDS, asks=ASKS)
    bot = account(made, USDT="102")
    with pytest.raises(Reject) as refused:
        order(made, bot, "buy", "1", "100.01")  # 100.01 * 1.02 = 102.0102
    assert refused.value.reason == INSUFFICIENT_FUNDS
    waiting = order(made, bot, "buy", "1", "100")
    assert owns(made, bot) == funds(USDT="0 102")
    made.public_trade(SYMBOL, D("99.5"), D("1"), "sell", START)
    assert waiting.status == "filled"
    assert owns(made, bot) == funds(USDT="1 0", BTC="1 0")  # the maker's fee was smaller than the reserve
    assert made.imbalance() == {}


def test_a_market_order_by_quote_amount_spends_at_most_that():
    made = exchange(market(taker_fee="0.01", fee_mode="quote"), bids=BIDS, asks=ASKS)
    bot = account(made, USDT="1000")
    done = order(made, bot, "buy", None, quote_quantity=D("204"))
    # 204 / 1.01 = 201.98 without the fee: 1 at 101 and 0.99 at 102
    assert (done.status, done.filled_quantity, done.filled_quote) == ("filled", D("1.99"), D("201.98"))
    spent = D(1000) - made.balances(bot)["USDT"][0]
    assert D(203) < spent <= D(204)
    assert made.imbalance() == {}


def test_withdrawals_and_deposits_are_history_and_money():
    made = exchange()
    bot = account(made, USDT="100")
    made.withdraw(bot, "USDT", D(30), START + 1, fee=D(1))
    assert owns(made, bot) == funds(USDT="69 0")
    assert [(t.kind, t.amount, t.fee, t.time) for t in bot.transfers] == [
        ("deposit", D(100), D(0), START),
        ("withdrawal", D(30), D(1), START + 1),
    ]
    with pytest.raises(Reject) as refused:
        made.withdraw(bot, "USDT", D(69), START, fee=D(1))
    assert refused.value.reason == INSUFFICIENT_FUNDS
    assert owns(made, bot) == funds(USDT="69 0")
    assert made.imbalance() == {}


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_every_currency_adds_up(seed):
    """Random orders, cancels, trades of others and books, on two markets and three accounts."""
    rng = Random(seed)
    fee_mode = ("received", "quote", "base")[seed % 3]
    made = exchange(
        market(maker_fee="0.0007", taker_fee="0.0013", fee_mode=fee_mode, min_notional="1"),
        market("ETH/BTC", tick="0.0001", lot="0.01", min_qty="0.01", maker_fee="-0.0001", min_notional="0"),
        rng=Random(seed),
        self_trade=("expire_maker", "expire_taker", "allow")[seed // 2 % 3],
        queue_model=("probable", "risk_averse", "optimistic")[seed % 3],
    )
    bots = [account(made, name, USDT="5000", BTC="50", ETH="500") for name in ("ann", "bob", "cem")]
    now = START
    for step in range(1500):
        now += rng.random()
        symbol, middle = rng.choice(((SYMBOL, D(100)), ("ETH/BTC", D("0.05"))))
        tick = made.markets[symbol].tick
        bot, side = rng.choice(bots), rng.choice(("buy", "sell"))
        price = middle + rng.randint(-20, 20) * tick
        quantity = str(D(rng.randint(1, 3000)) * made.markets[symbol].lot)
        action = rng.random()
        try:
            if action < 0.45:
                order(
                    made,
                    bot,
                    side,
                    quantity,
                    price,
                    now,
                    symbol=symbol,
                    time_in_force=rng.choice(("GTC", "GTC", "IOC", "FOK")),
                    post_only=rng.random() < 0.1,
                )
            elif action < 0.55:
                order(made, bot, side, quantity, None, now, symbol=symbol)
            elif action < 0.6:
                order(made, bot, side, None, None, now, symbol=symbol, quote_quantity=D(rng.randint(1, 300)))
            elif action < 0.75:
                made.public_trade(symbol, price, D(quantity), side, now)
            elif action < 0.85:
                levels = [D(rng.randint(1, 5000)) / 1000 for _ in range(10)]
                made.set_book(
                    symbol,
                    [(price - (i + 1) * tick, q) for i, q in enumerate(levels[:5])],
                    [(price + (i + 1) * tick, q) for i, q in enumerate(levels[5:])],
                    now,
                )
            elif action < 0.88:
                made.cancel_all(bot, rng.choice((None, symbol)), now=now)
            elif action < 0.9:
                made.withdraw(bot, rng.choice(("USDT", "BTC")), D(1), now, fee=D("0.1"))
            elif bot.open:
                made.cancel_order(bot, rng.choice(list(bot.open)), now=now)
        except Reject:
            pass
        assert made.imbalance() == {}, f"seed {seed} step {step}"
        for owner in bots:
            assert all(free >= 0 and locked >= 0 for free, locked in made.balances(owner).values())
            reserved = {}
            for waiting in owner.open.values():
                listed = made.markets[waiting.symbol]
                currency = listed.quote if waiting.side == "buy" else listed.base
                reserved[currency] = reserved.get(currency, D(0)) + waiting.reserved
            assert {c: v for c, v in owner.locked.items() if v} == {c: v for c, v in reserved.items() if v}
    fills = [fill for bot in bots for fill in bot.fills]
    assert len(fills) > 500, "the run must trade to mean anything"
    for made_order in made.orders.values():
        assert made_order.filled_quantity == sum((f.quantity for f in made_order.fills), D(0))
        assert made_order.filled_quantity <= made_order.quantity


# Orders of different accounts


def test_accounts_trade_with_each_other_by_price_and_time():
    made = exchange(market(maker_fee="0.001", taker_fee="0.002"))
    first, second = account(made, "first", BTC="10"), account(made, "second", BTC="10")
    taker = account(made, "taker", USDT="1000")
    order(made, second, "sell", "1", "101")
    order(made, first, "sell", "1", "100")
    order(made, second, "sell", "1", "100")
    done = order(made, taker, "buy", "2.5", "101")
    assert [(f.price, f.quantity, f.liquidity) for f in done.fills] == [
        (D(100), D(1), "taker"),
        (D(100), D(1), "taker"),
        (D(101), D("0.5"), "taker"),
    ]
    assert [(f.order_id, f.liquidity, f.fee, f.fee_currency) for f in first.fills] == [
        (2, "maker", D("0.1"), "USDT")
    ]
    assert [f.trade_id for f in taker.fills] == [1, 2, 3]
    assert [f.trade_id for f in first.fills + second.fills] == [1, 2, 3]  # both sides bear one trade id
    assert owns(made, first) == funds(BTC="9 0", USDT="99.9 0")
    assert made.imbalance() == {}


@pytest.mark.parametrize(
    ("rule", "maker_status", "taker_status", "traded"),
    [
        ("expire_maker", "expired", "submitted", "0"),
        ("expire_taker", "submitted", "expired", "0"),
        ("allow", "filled", "filled", "1"),
    ],
)
def test_an_account_meets_itself(rule, maker_status, taker_status, traded):
    made = exchange(self_trade=rule)
    bot = account(made, BTC="10", USDT="1000")
    maker = order(made, bot, "sell", "1", "100")
    taker = order(made, bot, "buy", "1", "100")
    assert (maker.status, taker.status) == (maker_status, taker_status)
    assert (maker.filled_quantity, taker.filled_quantity) == (D(traded), D(traded))
    assert made.imbalance() == {}


# Refusals


REFUSALS = [
    ("unknown symbol", {"quantity": "1", "price": "100", "symbol": "XXX/USDT"}, UNKNOWN_SYMBOL),
    ("price off the tick", {"quantity": "1", "price": "100.001"}, PRICE_FILTER),
    ("price zero", {"quantity": "1", "price": "0"}, PRICE_FILTER),
    ("quantity off the lot", {"quantity": "1.0001", "price": "100"}, LOT_SIZE),
    ("quantity negative", {"quantity": "-1", "price": "100"}, LOT_SIZE),
    ("quantity not a number", {"quantity": "NaN", "price": "100"}, LOT_SIZE),
    ("quantity too large", {"quantity": "101", "price": "1"}, LOT_SIZE),
    ("worth too little", {"quantity": "0.04", "price": "100"}, MIN_NOTIONAL),
    ("market order worth too little", {"quantity": "0.04"}, MIN_NOTIONAL),
    ("funds short by one unit", {"quantity": "10", "price": "100.01"}, INSUFFICIENT_FUNDS),
    ("market order far beyond the funds", {"quantity": "50", "side": "sell"}, INSUFFICIENT_FUNDS),
    ("post-only at the ask", {"quantity": "1", "price": "101", "post_only": True}, POST_ONLY_WOULD_CROSS),
    ("client id in use", {"quantity": "1", "price": "50", "client_order_id": "used"}, DUPLICATE_CLIENT_ID),
    ("both amounts", {"quantity": "1", "quote_quantity": D(10)}, BAD_PARAMETER),
    ("no amount", {"quantity": None}, BAD_PARAMETER),
]


@pytest.mark.parametrize(("options", "reason"), [c[1:] for c in REFUSALS], ids=[c[0] for c in REFUSALS])
def test_a_refusal_names_its_reason_and_changes_nothing(options, reason):
    made = exchange(bids=BIDS, asks=ASKS)
    bot = account(made, USDT="1050", BTC="1")
    order(made, bot, "buy", "1", "50", client_order_id="used")
    events = []
    before = (owns(made, bot), len(made.orders), made.depth(SYMBOL, now=START))
    made.subscribe(events.append)
    options = dict(options)
    with pytest.raises(Reject) as refused:
        order(
            made,
            bot,
            options.pop("side", "buy"),
            options.pop("quantity"),
            options.pop("price", None),
            **options,
        )
    assert refused.value.reason == reason
    assert (owns(made, bot), len(made.orders), made.depth(SYMBOL, now=START)) == before
    assert events == []


def test_a_market_buy_needs_exactly_what_it_costs():
    made = exchange(bids=BIDS, asks=ASKS)
    poor, rich = account(made, "poor", USDT="610.99"), account(made, "rich", USDT="611")
    with pytest.raises(Reject) as refused:
        order(made, poor, "buy", "6")
    assert refused.value.reason == INSUFFICIENT_FUNDS
    assert order(made, rich, "buy", "6").status == "filled"
    assert owns(made, rich) == funds(USDT="0 0", BTC="6 0")


MODES = [
    (HALT, {}, HALTED),
    (HALT, {"post_only": True}, HALTED),
    (CANCEL_ONLY_MODE, {}, CANCEL_ONLY),
    (POST_ONLY_ONLY_MODE, {}, POST_ONLY_MODE),
    (POST_ONLY_ONLY_MODE, {"post_only": True}, None),
    (MAINTENANCE_MODE, {}, MAINTENANCE),
    (TRADING, {}, None),
]


@pytest.mark.parametrize(("mode", "options", "reason"), MODES)
@pytest.mark.parametrize("scope", ["exchange", "market"])
def test_modes(mode, options, reason, scope):
    made = exchange(bids=BIDS, asks=ASKS)
    bot = account(made, USDT="1000")
    waiting = order(made, bot, "buy", "1", "50")
    made.set_mode(mode, START, None if scope == "exchange" else SYMBOL)
    if reason is None:
        assert order(made, bot, "buy", "1", "50", **options).status == "submitted"
    else:
        with pytest.raises(Reject) as refused:
            order(made, bot, "buy", "1", "50", **options)
        wanted = HALTED if (reason, scope) == (MAINTENANCE, "market") else reason
        assert refused.value.reason == wanted
    if mode == MAINTENANCE_MODE and scope == "exchange":
        with pytest.raises(Reject):
            made.cancel_order(bot, waiting.order_id, now=START)
        made.set_mode(TRADING, START)
    assert made.cancel_order(bot, waiting.order_id, now=START).status == "canceled"


def test_no_more_open_orders_than_the_market_allows():
    made = exchange(market(max_orders=2))
    bot = account(made, USDT="1000")
    order(made, bot, "buy", "1", "50")
    order(made, bot, "buy", "1", "50")
    with pytest.raises(Reject) as refused:
        order(made, bot, "buy", "1", "50")
    assert refused.value.reason == MAX_ORDERS


@pytest.mark.parametrize(
    ("rule", "while_open", "afterwards"),
    [
        ("open", DUPLICATE_CLIENT_ID, None),
        ("forever", DUPLICATE_CLIENT_ID, DUPLICATE_CLIENT_ID),
        ("none", None, None),
    ],
)
def test_each_exchange_has_its_rule_for_client_ids(rule, while_open, afterwards):
    made = exchange(client_ids=rule)
    bot, other = account(made, USDT="1000"), account(made, "other", USDT="1000")

    def again():
        try:
            order(made, bot, "buy", "1", "50", client_order_id="x")
        except Reject as refused:
            return refused.reason
        return None

    order(made, bot, "buy", "1", "50", client_order_id="x")
    order(made, other, "buy", "1", "50", client_order_id="x")  # ids are the account's own
    assert again() == while_open
    made.cancel_all(bot, now=START)
    assert again() == afterwards


def test_keys_are_found_refused_and_revoked():
    made = exchange()
    account(made, "bot")
    made.open_account("reader", "s", name="bot", permissions=frozenset(("read",)))
    assert made.authenticate("key-bot", "trade").account == "bot"
    for key, permission, reason in (
        ("nobody", "read", INVALID_KEY),
        ("reader", "trade", PERMISSION_DENIED),
    ):
        with pytest.raises(Reject) as refused:
            made.authenticate(key, permission)
        assert refused.value.reason == reason
    made.revoke_key("key-bot")
    with pytest.raises(Reject) as refused:
        made.authenticate("key-bot")
    assert refused.value.reason == INVALID_KEY


def test_cancel_tells_unknown_from_closed_and_keeps_accounts_apart():
    made = exchange()
    bot, other = account(made, USDT="1000"), account(made, "other")
    waiting = order(made, bot, "buy", "1", "50", client_order_id="mine")
    for attempt in ({"order_id": 77}, {"client_order_id": "else"}):
        with pytest.raises(Reject) as refused:
            made.cancel_order(bot, **attempt, now=START)
        assert refused.value.reason == UNKNOWN_ORDER
    with pytest.raises(Reject) as refused:
        made.cancel_order(other, waiting.order_id, now=START)
    assert refused.value.reason == UNKNOWN_ORDER
    assert made.cancel_order(bot, client_order_id="mine", now=START).status == "canceled"
    with pytest.raises(Reject) as refused:
        made.cancel_order(bot, waiting.order_id, now=START)
    assert refused.value.reason == ORDER_CLOSED


# What time does to an order


@pytest.mark.parametrize(
    ("in_force", "quantity", "status", "filled"),
    [
        ("IOC", "3", "expired", "1"),
        ("FOK", "3", "expired", "0"),
        ("FOK", "1", "filled", "1"),
        ("GTC", "3", "partially_filled", "1"),
    ],
)
def test_time_in_force(in_force, quantity, status, filled):
    made = exchange(bids=BIDS, asks=ASKS)
    bot = account(made, USDT="1000")
    done = order(made, bot, "buy", quantity, "101", time_in_force=in_force)
    assert (done.status, done.filled_quantity) == (status, D(filled))
    assert bool(made.open_orders(bot)) == (status == "partially_filled")


def test_the_past_can_be_looked_at():
    made = exchange(bids=BIDS, asks=ASKS)
    bot = account(made, USDT="1000")
    order(made, bot, "buy", "2", "101", START + 10, client_order_id="x")
    made.cancel_order(bot, 1, now=START + 20)
    for at, status in ((5, None), (10, "partially_filled"), (19, "partially_filled"), (20, "canceled")):
        seen = made.find_order(bot, client_order_id="x", as_of=START + at)
        assert (seen and seen.status) == status
    assert [o.order_id for o in made.open_orders(bot, as_of=START + 15)] == [1]
    assert made.open_orders(bot, as_of=START + 20) == made.open_orders(bot) == []
    assert made.my_trades(bot, as_of=START + 9) == []
    assert len(made.my_trades(bot, as_of=START + 10)) == 1
    assert made.balances(bot, as_of=START - 1) == {}
    assert made.balances(bot, as_of=START + 5) == {"USDT": (D(1000), D(0))}
    assert made.balances(bot, as_of=START + 10)["USDT"] == (D(798), D(101))


def test_events_come_after_the_work_and_in_order():
    made = exchange(bids=BIDS, asks=ASKS)
    bot = account(made, USDT="1000")
    seen = []

    def listen(event):
        match event:
            case OrderUpdate():
                # The figures belong to the event, although the order has moved on already.
                seen.append((event.kind, event.status, str(event.filled_quantity), event.order.status))
            case PublicTrade():
                seen.append(("public", str(event.price), str(event.quantity), event.taker_side))
            case BalanceChange():
                seen.append(("balance", sorted(event.balances)))
            case BookChange():
                seen.append(("book", event.bids, event.asks))

    made.subscribe(listen)
    order(made, bot, "buy", "2", "102")
    assert seen == [
        ("new", "submitted", "0", "filled"),
        ("trade", "partially_filled", "1", "filled"),
        ("public", "101", "1", "buy"),
        ("trade", "filled", "2", "filled"),
        ("public", "102", "1", "buy"),
        ("balance", ["BTC", "USDT"]),
        ("book", [], seen[-1][2]),
    ]
    assert sorted(seen[-1][2]) == [(D(101), D(0)), (D(102), D(4))]


def test_the_book_shows_everybody_and_its_changes_add_up():
    made = exchange(bids=BIDS, asks=ASKS)
    bot = account(made, USDT="1000", BTC="5")
    first = made.depth(SYMBOL, now=START)
    changes = []
    made.subscribe(lambda event: changes.append(event) if isinstance(event, BookChange) else None)
    order(made, bot, "buy", "1", "100")
    order(made, bot, "sell", "1.5", "99")  # own bid at 100 is ended, 1 of 1 taken at 99, 0.5 waits
    show(made, (("98.5", "2"),), (("103", "7"),), START + 1)
    last = made.depth(SYMBOL, now=START + 1)
    replayed = {"bids": dict(first.bids), "asks": dict(first.asks)}
    for expected, change in enumerate(changes, first.sequence + 1):
        assert change.sequence == expected
        for side in replayed:
            replayed[side] |= dict(getattr(change, side))
    for side in replayed:
        assert {p: q for p, q in replayed[side].items() if q} == dict(getattr(last, side))
    assert last.asks[0] == (D(99), D("0.5"))
    assert last.sequence == changes[-1].sequence


def test_delisting_ends_orders_and_returns_their_money():
    made = exchange()
    bot = account(made, USDT="1000")
    waiting = order(made, bot, "buy", "1", "50")
    made.remove_market(SYMBOL, START)
    assert (waiting.status, waiting.reason) == ("expired", "DELISTED")
    assert owns(made, bot) == funds(USDT="1000 0")
    with pytest.raises(Reject) as refused:
        order(made, bot, "buy", "1", "50")
    assert refused.value.reason == UNKNOWN_SYMBOL
