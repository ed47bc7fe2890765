"""Bybit's words for contracts: codes, and ids, which are UUIDs there.

An id tells the number it stands for; each kind of id has a range of its own.
"""

import re

# Codes of this category: https://bybit-exchange.github.io/docs/v5/error
NO_ORDER = 110001
NO_FUNDS = 110007
REDUCE_ONLY = 110017
TOO_MANY_OPEN = 110020
SAME_MODE = 110025
SAME_LEVERAGE = 110043
NO_MARGIN = 110044
NOT_NOW = 110066
DUPLICATE = 110072
RISK_LIMIT = 110013
NOT_RISING = 110092
NOT_FALLING = 110093
VALUE_SMALL = 110094

WORDS = {
    NO_ORDER: "order not exists or too late to cancel",
    NO_FUNDS: "ab not enough for new order",
    REDUCE_ONLY: "current position is zero, cannot fix reduce-only order qty",
    TOO_MANY_OPEN: "You cannot have more than 500 active orders.",
    SAME_MODE: "Position mode is not modified",
    SAME_LEVERAGE: "leverage not modified",
    NO_MARGIN: "Available margin is insufficient.",
    NOT_NOW: "No trading is currently allowed.",
    DUPLICATE: "OrderLinkedID is duplicate",
    RISK_LIMIT: "cannot set leverage gt maxLeverage by risk limit",
    VALUE_SMALL: "Order does not meet minimum order value",
}

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
ID_SPACE = 0x5AFE << 96  # of orders
TRADE_SPACE = 0x7ADE << 96
FUNDING_SPACE = 0xF00D << 96
TURNED_AWAY = 1 << 80  # numbers of orders that never reached the book begin here


def uuid_of(space: int, number: int) -> str:
    """A UUID that tells its number."""
    digits = f"{space + (number if number >= 0 else TURNED_AWAY - number):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def order_number(name: str) -> int | None:
    """Our number of an order, from its UUID."""
    if not UUID.fullmatch(name):
        return None
    number = int(name.replace("-", ""), 16) - ID_SPACE
    if not 0 < number < 2 * TURNED_AWAY:
        return None
    return TURNED_AWAY - number if number > TURNED_AWAY else number
