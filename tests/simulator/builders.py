"""Exchanges for tests, showing only what matters to the test."""

from decimal import Decimal

from simulator.exchange import Exchange
from simulator.records import Market

D = Decimal
SYMBOL = "BTC/USDT"
START = 1_700_000_000.0


def market(symbol=SYMBOL, **changes):
    base, quote = symbol.split("/")
    values = {
        "tick": "0.01",
        "lot": "0.001",
        "min_qty": "0.001",
        "max_qty": "100",
        "min_notional": "5",
        "maker_fee": "0",
        "taker_fee": "0",
    } | changes
    decimals = {
        name: value if name in ("fee_mode", "max_orders") else D(value) for name, value in values.items()
    }
    return Market(symbol=symbol, base=base, quote=quote, **decimals)


def exchange(*markets, bids=(), asks=(), **options):
    """An exchange with one book of (price, quantity) texts."""
    made = Exchange("test", list(markets) or [market()], **options)
    show(made, bids, asks, START)
    return made


def show(made, bids, asks, now=START):
    made.set_book(SYMBOL, [(D(p), D(q)) for p, q in bids], [(D(p), D(q)) for p, q in asks], now)


def account(made, name="bot", **funds):
    """An account with money, and a key and a secret made from its name."""
    opened = made.open_account(f"key-{name}", f"secret-{name}", name=name)
    for currency, amount in funds.items():
        made.deposit(opened, currency, D(amount), START)
    return opened


def order(made, owner, side, quantity, price=None, now=START, **options):
    return made.create_order(
        owner,
        options.pop("symbol", SYMBOL),
        side,
        "market" if price is None else "limit",
        None if quantity is None else D(quantity),
        None if price is None else D(price),
        now=now,
        **options,
    )


def owns(made, owner):
    """currency -> (free, locked) as numbers that compare well."""
    return {c: (free.normalize(), locked.normalize()) for c, (free, locked) in made.balances(owner).items()}


def funds(**amounts):
    """The same, from `USDT="1 2"`: free and locked."""
    return {c: tuple(D(part).normalize() for part in text.split()) for c, text in amounts.items()}
