"""Positions in contracts: what they are worth, what they require, and that no money is made or lost."""

from decimal import Decimal
from random import Random

import pytest

from simulator.exchange import Exchange
from simulator.positions import LIQUIDATION, POSITION_GONE, Positions, SwapMarket
from simulator.records import (
    BAD_PARAMETER,
    INSUFFICIENT_FUNDS,
    LEVERAGE,
    REDUCE_ONLY,
    Market,
    OrderUpdate,
    PositionChange,
    Reject,
    Trigger,
)

D = Decimal
SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"
MIDNIGHT = 1_700_006_400.0  # 2023-11-15 00:00 UTC
HOUR = 3600.0


def contract(symbol=SWAP, **changes):
    values = {
        "tick": D("0.1"),
        "lot": D("0.01"),
        "min_qty": D("0.01"),
        "max_qty": D(1000),
        "maker_fee": D(0),
        "taker_fee": D(0),
        "contract_size": D("0.1"),
        "maintenance_rate": D("0.005"),
    } | changes
    base = symbol.split("/")[0]
    return SwapMarket(symbol=symbol, base=base, quote="USDT", settled_in="USDT", fee_mode="quote", **values)


class Desk:
    """An exchange with a spot market and contracts, and traders with 1,000 USDT each."""

    def __init__(self, *contracts, names=("ann", "bob"), funds="1000", now=MIDNIGHT + 1):
        spot = Market(symbol=SPOT, base="BTC", quote="USDT", tick=D("0.1"), lot=D("0.001"))
        self.exchange = Exchange("test", [spot])
        self.positions = Positions(self.exchange, contracts or [contract()])
        self.now = now
        self.accounts = {
            name: self.exchange.open_account(f"key-{name}", "secret", name=name) for name in names
        }
        for account in self.accounts.values():
            self.exchange.deposit(account, "USDT", D(funds), now)
        self.heard = []
        self.exchange.subscribe(self.heard.append)

    def show(self, bid="999", ask="1001", size="1000", symbol=SWAP):
        """A displayed book of one level a side; its middle is the mark."""
        self.exchange.set_book(symbol, [(D(bid), D(size))], [(D(ask), D(size))], self.now)

    def order(self, name, side, quantity, price=None, symbol=SWAP, **options):
        return self.exchange.create_order(
            self.accounts[name],
            symbol,
            side,
            "market" if price is None else "limit",
            D(quantity),
            None if price is None else D(price),
            now=self.now,
            **options,
        )

    def trade(self, buyer, seller, quantity, price):
        """Let one buy of another, whatever is displayed."""
        maker = self.order(seller, "sell", quantity, price)
        taker = self.order(buyer, "buy", quantity, price)
        assert maker.status == taker.status == "filled"

    def position(self, name, symbol=SWAP):
        return self.positions.position(self.accounts[name], symbol)

    def margin(self, name):
        return self.positions.margin(self.accounts[name], "USDT")

    def cash(self, name):
        return self.accounts[name].free["USDT"]

    def check(self):
        assert self.exchange.imbalance() == {}
        assert self.positions.imbalance() == {}


# One contract is 0.1 BTC. Trades of ann: (contracts, price), below zero sold. Afterwards: position, cost,
# average entry price, what was closed, and what that earned.
ENTRIES = {
    "opens long": ([(3, 1000)], ("3", "300", "1000", "0", "0")),
    "opens short": ([(-3, 1000)], ("-3", "-300", "1000", "0", "0")),
    "adds at the weighted average": ([(1, 1000), (3, 1040)], ("4", "412", "1030", "0", "0")),
    "takes a part with profit": ([(4, 1000), (-1, 1100)], ("3", "300", "1000", "1", "10")),
    "takes a part with loss": ([(-4, 1000), (1, 1100)], ("-3", "-300", "1000", "1", "-10")),
    "closes all": ([(4, 1000), (-4, 990)], ("0", "0", None, "4", "-4")),
    "turns round": ([(2, 1000), (-5, 1010)], ("-3", "-303", "1010", "2", "2")),
    "a third that does not divide": (
        [(1, 1000), (2, "1000.1"), (-1, 1000)],
        ("2", "200.01333334", None, "1", "-0.00666666"),
    ),
}


@pytest.mark.parametrize("trades, after", ENTRIES.values(), ids=ENTRIES)
def test_average_entry_and_realised_profit(trades, after):
    desk = Desk(funds="100000")
    for contracts, price in trades:
        buyer, seller = ("ann", "bob") if contracts > 0 else ("bob", "ann")
        desk.trade(buyer, seller, abs(contracts), price)
        desk.check()
    position = desk.position("ann")
    quantity, cost, entry, closed, realised = after
    assert (position.quantity, position.cost) == (D(quantity), D(cost))
    if entry is not None:
        assert desk.positions.entry_price(position) == D(entry)
    assert desk.cash("ann") == 100_000 + D(realised)
    fills = desk.accounts["ann"].fills
    assert sum(fill.realised for fill in fills) == D(realised)
    assert sum(fill.closed for fill in fills) == D(closed)


def test_what_one_wins_the_other_loses_and_the_clearing_is_empty_again():
    desk = Desk(names=("ann", "bob", "cid"))
    desk.trade("ann", "bob", 5, 1000)  # ann long, bob short
    desk.trade("cid", "ann", 5, 1100)  # ann closes with 50; bob's loss is on paper
    assert (desk.cash("ann"), desk.cash("bob"), desk.cash("cid")) == (1050, 1000, 1000)
    assert desk.exchange.clearing["USDT"] == -50
    desk.check()
    desk.trade("bob", "cid", 5, 1040)  # bob pays 20 and cid 30
    assert (desk.cash("ann"), desk.cash("bob"), desk.cash("cid")) == (1050, 980, 970)
    assert desk.exchange.clearing["USDT"] == 0
    desk.check()


def test_the_outside_takes_the_other_side_of_displayed_quotes():
    desk = Desk(contract(taker_fee=D("0.001")))
    desk.show()
    desk.order("ann", "buy", "2")
    # 2 x 0.1 BTC at 1001 is 200.2; the fee 0.2002; at the middle of 1000 it is worth 200.
    position = desk.position("ann")
    assert (position.quantity, position.cost, position.fees) == (2, D("200.2"), D("0.2002"))
    assert desk.positions.unrealised(position) == D("-0.2")
    assert desk.cash("ann") == 1000 - D("0.2002")
    assert desk.exchange.fees_collected == {"USDT": D("0.2002")}
    [fill] = desk.accounts["ann"].fills
    assert (fill.fee, fill.fee_currency, fill.closed, fill.realised) == (D("0.2002"), "USDT", 0, 0)
    desk.check()
    desk.show("1100", "1102")
    desk.order("ann", "sell", "2")
    # Sold for 220: 19.8 won, 0.22 paid.
    assert desk.cash("ann") == 1000 - D("0.2002") + D("19.8") - D("0.22")
    assert desk.exchange.outside["USDT"] == -2000 - D("19.8")
    assert desk.exchange.clearing["USDT"] == 0
    desk.check()


def test_equity_margin_and_liquidation_price_by_hand():
    desk = Desk(contract(), contract("ETH/USDT:USDT"), funds="300")
    desk.show()
    desk.show("99", "101", symbol="ETH/USDT:USDT")
    desk.positions.set_leverage(desk.accounts["ann"], SWAP, D(20), desk.now)
    desk.trade("ann", "bob", 10, 1000)  # 1 BTC
    ann = desk.margin("ann")
    assert (ann.equity, ann.position_initial, ann.order_initial) == (300, 50, 0)
    assert (ann.maintenance, ann.available) == (5, 250)
    desk.order("ann", "buy", 5, "900")  # 450 more at 20 times
    assert (desk.margin("ann").order_initial, desk.margin("ann").available) == (D("22.5"), D("227.5"))
    desk.order("ann", "sell", 10, "1100")  # closes: 1000 - 1100 is less than 1000 + 450
    assert desk.margin("ann").order_initial == D("22.5")
    desk.order("ann", "buy", 10, "90", symbol="ETH/USDT:USDT")  # 90 at 10 times
    assert desk.margin("ann").order_initial == D("31.5")
    # 300 + (p - 1000) = 0.005 p
    price = desk.positions.liquidation_price(desk.accounts["ann"], SWAP)
    assert price is not None and round(price, 6) == round(D(700) / D("0.995"), 6)
    # bob is short 1 BTC: 300 - (p - 1000) = 0.005 p
    price = desk.positions.liquidation_price(desk.accounts["bob"], SWAP)
    assert price is not None and round(price, 6) == round(D(1300) / D("1.005"), 6)
    desk.positions.set_mark(SWAP, D(1100), desk.now)
    ann = desk.margin("ann")
    assert (ann.unrealised, ann.equity, ann.position_initial, ann.maintenance) == (100, 400, 55, D("5.5"))
    assert desk.positions.liquidation_price(desk.accounts["bob"], SWAP) == price
    desk.check()


def test_money_behind_a_position_is_not_spent_elsewhere():
    desk = Desk(funds="120")
    desk.show()
    desk.exchange.set_book(SPOT, [], [(D(1000), D(5))], desk.now)
    desk.trade("ann", "bob", 10, 1000)  # 1000 at 10 times: 100 of 120
    ann = desk.accounts["ann"]
    assert desk.exchange.free(ann, "USDT") == 20
    with pytest.raises(Reject) as refused:
        desk.exchange.withdraw(ann, "USDT", D(21), desk.now)
    assert refused.value.reason == INSUFFICIENT_FUNDS
    with pytest.raises(Reject):
        desk.order("ann", "buy", "0.021", "1000", symbol=SPOT)
    desk.order("ann", "buy", "0.015", "900", symbol=SPOT)  # reserves 13.5
    assert desk.margin("ann").available == D("6.5")
    # A profit on paper is margin for contracts, and no money.
    desk.positions.set_mark(SWAP, D(1200), desk.now)
    assert desk.margin("ann").available == D("186.5")
    assert desk.exchange.free(ann, "USDT") == D("106.5")
    desk.check()


REFUSED = {
    "more than the margin allows": (("buy", "100.01"), {}, INSUFFICIENT_FUNDS),
    "a limit order beyond the margin": (("buy", "111.2", "900"), {}, INSUFFICIENT_FUNDS),
    "reduce-only without a position": (("sell", "1", "1100"), {"reduce_only": True}, REDUCE_ONLY),
    "by an amount of money": (("buy", None), {"quote_quantity": D(100)}, BAD_PARAMETER),
}


@pytest.mark.parametrize("order, options, reason", REFUSED.values(), ids=REFUSED)
def test_refused_orders_change_nothing(order, options, reason):
    desk = Desk()
    desk.show()
    desk.positions.set_mark(SWAP, D(1001), desk.now)  # so that taking at 1001 loses nothing at once
    side, quantity, *price = order
    with pytest.raises(Reject) as refused:
        desk.exchange.create_order(
            desk.accounts["ann"],
            SWAP,
            side,
            "limit" if price else "market",
            None if quantity is None else D(quantity),
            D(price[0]) if price else None,
            now=desk.now,
            **options,
        )
    assert refused.value.reason == reason
    assert not desk.accounts["ann"].orders and desk.cash("ann") == 1000
    assert desk.margin("ann").available == 1000
    desk.check()


def test_the_largest_order_is_taken_and_one_lot_more_is_not():
    desk = Desk(contract(taker_fee=D("0.0005")))
    desk.show()
    for side, price in (("buy", "1000"), ("sell", "1000")):
        largest = desk.positions.largest(desk.accounts["ann"], SWAP, side, D(price))
        with pytest.raises(Reject):
            desk.order("ann", side, largest + D("0.01"), price)
        order = desk.order("ann", side, largest, price)
        # 1000 over (1/10 + 0.0005) is 9950.248..., of 100 each.
        assert largest == D("99.5")
        desk.exchange.cancel_order(desk.accounts["ann"], order.order_id, now=desk.now)


def test_amending_takes_the_margin_of_what_is_added_only():
    desk = Desk()
    desk.show()
    ann = desk.accounts["ann"]
    order = desk.order("ann", "buy", 90, "1000")  # 9000 at 10 times: 900 of 1000
    with pytest.raises(Reject) as refused:
        desk.exchange.amend_order(ann, order.order_id, quantity=D("100.01"), now=desk.now)
    assert refused.value.reason == INSUFFICIENT_FUNDS and order.quantity == 90
    desk.exchange.amend_order(ann, order.order_id, quantity=D(100), now=desk.now)
    assert (order.quantity, desk.margin("ann").available) == (100, 0)


def test_leverage_is_bounded_and_must_be_paid_for():
    desk = Desk(funds="200")
    ann = desk.accounts["ann"]
    assert desk.positions.leverage(ann, SWAP) == 10
    for wrong in ("0.5", "101", "NaN"):
        with pytest.raises(Reject) as refused:
            desk.positions.set_leverage(ann, SWAP, D(wrong), desk.now)
        assert refused.value.reason == LEVERAGE
    desk.show()
    desk.trade("ann", "bob", 10, 1000)
    with pytest.raises(Reject) as refused:
        desk.positions.set_leverage(ann, SWAP, D(4), desk.now)  # would take 250 of 200
    assert refused.value.reason == INSUFFICIENT_FUNDS
    assert desk.positions.leverage(ann, SWAP) == 10
    desk.positions.set_leverage(ann, SWAP, D(5), desk.now)
    assert desk.margin("ann").position_initial == 200
    assert desk.positions.leverage(desk.accounts["bob"], SWAP) == 10


class TestReduceOnly:
    @pytest.fixture
    def desk(self):
        desk = Desk(funds="100000")
        desk.trade("ann", "bob", 5, 1000)
        return desk

    def reducing(self, desk):
        return [order.remaining_quantity for order in desk.accounts["ann"].open.values()]

    def test_an_order_is_no_larger_than_the_position(self, desk):
        order = desk.order("ann", "sell", 8, "1100", reduce_only=True)
        assert (order.quantity, order.reduce_only) == (5, True)
        with pytest.raises(Reject) as refused:
            desk.order("ann", "sell", 1, "1100", reduce_only=True)
        assert refused.value.reason == REDUCE_ONLY
        with pytest.raises(Reject):
            desk.order("ann", "buy", 1, "900", reduce_only=True)

    def test_a_market_order_closes_and_does_not_turn(self, desk):
        desk.show()
        desk.order("ann", "sell", 8, reduce_only=True)
        assert desk.position("ann").quantity == 0
        desk.check()

    def test_it_needs_no_margin(self, desk):
        desk.show()
        desk.exchange.withdraw(desk.accounts["ann"], "USDT", desk.margin("ann").available, desk.now)
        desk.positions.set_mark(SWAP, D(960), desk.now)
        assert desk.margin("ann").available < 0
        with pytest.raises(Reject):
            desk.order("ann", "buy", 1, "900")
        desk.order("ann", "sell", 5, "1100", reduce_only=True)
        desk.check()

    def test_orders_shrink_with_the_position_newest_first(self, desk):
        first = desk.order("ann", "sell", 3, "1100", reduce_only=True)
        second = desk.order("ann", "sell", 2, "1200", reduce_only=True)
        desk.trade("bob", "ann", 1, 1000)
        assert (first.remaining_quantity, second.remaining_quantity) == (3, 1)
        desk.trade("bob", "ann", 2, 1000)
        assert (first.remaining_quantity, second.status, second.reason) == (2, "expired", POSITION_GONE)
        assert desk.exchange.depth(SWAP, now=desk.now).asks == [(D(1100), D(2))]
        desk.trade("bob", "ann", 2, 1000)
        assert (first.status, first.filled_quantity) == ("expired", 0)
        assert desk.position("ann").quantity == 0

    def test_plain_orders_of_the_same_side_come_first(self, desk):
        only = desk.order("ann", "sell", 5, "1100", reduce_only=True)
        desk.order("ann", "sell", 3, "1100")
        assert only.remaining_quantity == 2
        # One sweep through both cannot turn the position round.
        desk.order("bob", "buy", 5, "1100")
        assert desk.position("ann").quantity == 0
        desk.check()

    def test_one_that_waits_for_a_price_is_as_large_as_the_position_when_it_fires(self, desk):
        desk.show("949", "951")
        stop = Trigger(kind="stop_loss", price=D(980), rising=False)
        order = desk.order("ann", "sell", 8, reduce_only=True, trigger=stop)
        desk.order("ann", "buy", "0.5")
        assert (order.waiting, order.quantity, desk.position("ann").quantity) == (False, D("5.5"), 0)
        desk.check()

    def test_amending_cannot_make_it_larger_than_the_position(self, desk):
        order = desk.order("ann", "sell", 2, "1100", reduce_only=True)
        desk.exchange.amend_order(desk.accounts["ann"], order.order_id, quantity=D(9), now=desk.now)
        assert (order.quantity, order.price) == (5, 1100)
        desk.order("bob", "buy", 5, "1100")
        assert desk.position("ann").quantity == 0
        desk.check()

    def test_spot_has_no_such_thing(self, desk):
        with pytest.raises(Reject) as refused:
            desk.order("ann", "sell", 1, "1100", symbol=SPOT, reduce_only=True)
        assert refused.value.reason == BAD_PARAMETER


def test_funding_is_paid_at_its_times_from_the_long_to_the_short():
    desk = Desk(names=("ann", "bob", "cid"))
    desk.show()
    desk.positions.set_funding_rate(SWAP, D("0.001"))
    desk.positions.wake(desk.now)
    assert desk.positions.next_funding(SWAP, desk.now) == MIDNIGHT + 8 * HOUR
    desk.trade("ann", "bob", 10, 1000)
    desk.trade("cid", "bob", 5, 1000)
    desk.positions.wake(MIDNIGHT + 8 * HOUR - 1)
    assert desk.cash("ann") == 1000 and not desk.positions.payments
    desk.positions.wake(MIDNIGHT + 8 * HOUR + 1)
    # 1 BTC, 0.5 BTC and -1.5 BTC at 1000, one per mille.
    assert [desk.cash(name) for name in ("ann", "cid", "bob")] == [999, D("999.5"), D("1001.5")]
    assert desk.position("ann").funding == -1
    payment = desk.positions.payments[0]
    assert (payment.account, payment.mark, payment.amount) == ("ann", 1000, -1)
    assert payment.time == MIDNIGHT + 8 * HOUR
    desk.positions.wake(MIDNIGHT + 8 * HOUR + 2)
    assert len(desk.positions.payments) == 3
    # Two times at once, at a rate that turns round; bob's other side is the outside now.
    desk.positions.set_funding_rate(SWAP, D("-0.002"))
    desk.positions.wake(MIDNIGHT + 24 * HOUR)
    assert [desk.cash(name) for name in ("ann", "cid", "bob")] == [1003, D("1001.5"), D("995.5")]
    desk.check()


def test_funding_against_the_outside_comes_from_there():
    desk = Desk()
    desk.show()
    desk.positions.set_funding_rate(SWAP, D("0.001"))
    desk.positions.wake(desk.now)
    desk.order("ann", "sell", 10)
    desk.positions.wake(MIDNIGHT + 8 * HOUR)
    assert desk.cash("ann") == 1001
    assert desk.exchange.outside["USDT"] == -2001
    desk.check()


def test_liquidation_closes_at_the_book_and_tells_in_order():
    desk = Desk(funds="100")
    desk.show("999", "1001")
    desk.positions.set_leverage(desk.accounts["ann"], SWAP, D(100), desk.now)
    desk.order("ann", "buy", 10)  # 1 BTC at 1001
    waiting = desk.order("ann", "buy", "0.1", "500")
    closing = desk.order("ann", "sell", "0.1", "2000", reduce_only=True)
    desk.heard.clear()
    desk.show("907", "909", size="4")  # 100 - 93 = 7 of equity at 908, 4.54 needed
    assert desk.position("ann").quantity == 10
    desk.show("903", "905", size="4")  # 100 - 97 = 3
    # Four contracts are all the book shows: they go at 903, the rest waits for the next book.
    assert (waiting.reason, closing.reason) == (LIQUIDATION, LIQUIDATION)
    assert desk.position("ann").quantity == 6
    desk.show("902", "904", size="100")
    assert desk.position("ann").quantity == 0
    # -98 x 0.4 - 99 x 0.6
    assert desk.cash("ann") == 100 - D("39.2") - D("59.4")
    liquidations = [desk.exchange.orders[number] for number in sorted(desk.positions.liquidations)]
    assert [(one.side, one.filled_quantity) for one in liquidations] == [("sell", 4), ("sell", 6)]
    told = [event for event in desk.heard if isinstance(event, OrderUpdate)]
    assert [event.status for event in told[:3]] == ["expired", "expired", "submitted"]
    moves = [event.quantity for event in desk.heard if isinstance(event, PositionChange)]
    assert moves == [6, 0]
    desk.check()


def test_a_debt_beyond_the_margin_is_paid_by_the_insurance():
    desk = Desk(funds="100")
    desk.show()
    desk.positions.set_leverage(desk.accounts["ann"], SWAP, D(100), desk.now)
    desk.order("ann", "sell", 10)  # at 999
    desk.show("1199", "1201")  # a jump: bought back at 1201, 202 lost
    assert desk.position("ann").quantity == 0
    assert desk.cash("ann") == 0
    desk.check()


def test_who_holds_too_little_is_liquidated_when_funding_takes_the_rest():
    desk = Desk(funds="15")
    desk.show("999.9", "1000.1")
    desk.positions.set_leverage(desk.accounts["ann"], SWAP, D(100), desk.now)
    desk.positions.set_funding_rate(SWAP, D("0.0101"))
    desk.positions.wake(desk.now)
    desk.order("ann", "buy", 10)
    desk.positions.wake(MIDNIGHT + 8 * HOUR)  # 10.1 of 14.9
    assert desk.position("ann").quantity == 0
    assert desk.cash("ann") == 15 - D("10.1") - D("0.2")
    desk.check()


def test_a_halted_contract_is_liquidated_when_it_trades_again():
    desk = Desk(funds="100")
    desk.show()
    desk.positions.set_leverage(desk.accounts["ann"], SWAP, D(100), desk.now)
    desk.order("ann", "buy", 10)
    desk.exchange.set_mode("halted", desk.now, SWAP)
    desk.show("900", "902")
    assert desk.position("ann").quantity == 10 and not desk.positions.liquidations
    desk.exchange.set_mode("trading", desk.now, SWAP)
    assert desk.position("ann").quantity == 0
    desk.check()


def test_spot_beside_contracts_is_as_it_was():
    desk = Desk(funds="1000")
    desk.exchange.set_book(SPOT, [], [(D(1000), D(5))], desk.now)
    desk.order("ann", "buy", "0.5", "1000", symbol=SPOT)
    assert desk.accounts["ann"].free == {"USDT": 500, "BTC": D("0.4995")}
    assert not desk.positions.held(desk.accounts["ann"])
    desk.check()


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_made_or_lost_whatever_is_done(seed):
    """Random traders, quotes, marks, funding, leverage, withdrawals and halts."""
    print(f"{seed=}")
    random = Random(seed)
    fees = {"maker_fee": D("-0.0001"), "taker_fee": D("0.0005")}
    desk = Desk(contract(**fees), contract("ETH/USDT:USDT", **fees), names=("ann", "bob", "cid"))
    symbols = (SWAP, "ETH/USDT:USDT")
    middle = dict.fromkeys(symbols, 1000)
    desk.positions.wake(desk.now)
    flipped = []

    def watch(event):
        if isinstance(event, OrderUpdate) and event.fill is not None and event.order.reduce_only:
            flipped.append(event.fill.quantity != event.fill.closed)

    desk.exchange.subscribe(watch)
    for _ in range(250):
        desk.now += random.choice((0.5, 600.0))
        name, symbol = random.choice(("ann", "bob", "cid")), random.choice(symbols)
        account = desk.accounts[name]
        quantity = D(random.randint(1, 3000)) / 100
        price = D(middle[symbol] + random.randint(-15, 15))
        try:
            match random.randint(0, 11):
                case 0 | 1:
                    middle[symbol] += random.randint(-25, 25)
                    desk.show(middle[symbol] - 1, middle[symbol] + 1, random.randint(1, 80), symbol)
                case 2 | 3:
                    desk.order(
                        name, random.choice(("buy", "sell")), quantity, price, symbol,
                        reduce_only=random.random() < 0.4, post_only=random.random() < 0.2,
                    )  # fmt: skip
                case 4:
                    desk.order(
                        name, random.choice(("buy", "sell")), quantity, None, symbol,
                        reduce_only=random.random() < 0.4,
                    )  # fmt: skip
                case 5:
                    desk.exchange.public_trade(
                        symbol, price, quantity, random.choice(("buy", "sell")), desk.now
                    )
                case 6:
                    desk.positions.set_leverage(account, symbol, D(random.randint(1, 100)), desk.now)
                    desk.positions.set_funding_rate(symbol, D(random.randint(-30, 30)) / 10_000)
                case 7:
                    desk.positions.wake(desk.now)
                case 8:
                    desk.exchange.cancel_all(account, now=desk.now)
                case 9:
                    price = D(middle[symbol] + random.choice((-30, -10, 10, 30)))
                    trigger = Trigger(kind="trigger", price=price, rising=price > middle[symbol])
                    desk.order(
                        name, random.choice(("buy", "sell")), quantity, None, symbol,
                        reduce_only=random.random() < 0.6, trigger=trigger, reserve_early=False,
                    )  # fmt: skip
                case 10:
                    waiting = list(account.open)
                    if waiting:
                        desk.exchange.amend_order(
                            account, random.choice(waiting), quantity=quantity, now=desk.now
                        )
                case 11:
                    if random.random() < 0.5:
                        desk.exchange.withdraw(account, "USDT", D(random.randint(1, 200)), desk.now)
                    else:
                        desk.exchange.deposit(account, "USDT", D(random.randint(1, 200)), desk.now)
        except Reject:
            pass
        desk.check()
        for held in desk.accounts.values():
            margin = desk.positions.margin(held, "USDT")
            funds = sum(position.quantity != 0 for position in desk.positions.held(held))
            assert margin.equity >= margin.maintenance or funds, "what is liquidated leaves no debt"
            for one in symbols:
                position = desk.positions.position(held, one)
                for side, sign in (("buy", -1), ("sell", 1)):
                    waiting = [
                        order
                        for order in held.open.values()
                        if (order.symbol, order.side, order.waiting) == (one, side, False)
                    ]
                    if any(order.reduce_only for order in waiting):
                        total = sum(order.remaining_quantity for order in waiting)
                        assert total <= max(0, sign * position.quantity)
    assert not any(flipped), "a reduce-only order opened something"
    # Everybody leaves, and what is left of the clearing is nothing at all.
    for symbol in symbols:
        desk.show(middle[symbol] - 1, middle[symbol] + 1, 100_000, symbol)
    for account in desk.accounts.values():
        desk.exchange.cancel_all(account, now=desk.now)
        for position in desk.positions.held(account):
            side = "sell" if position.quantity > 0 else "buy"
            desk.order(account.name, side, abs(position.quantity), None, position.symbol, reduce_only=True)
        assert desk.positions.held(account) == []
    assert desk.exchange.clearing.get("USDT", 0) == 0
    desk.check()
