"""What a venue said, and when that is a no.

Three outcomes, decided by (sent?, HTTP status, recognised code), never by an exception's class:

* not sent, provably             -> `Rejected(sent=False)`
* a coded answer on these lists  -> `Rejected`, with the venue's own words
* everything else                -> `OutcomeUnknown`: the venue may have the order, look it up

The lists are exact. A message that is new to us, a gateway's 5xx, HTML, half an answer, a duplicate client id
(the first one arrived!) are all missing from them on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ems.core.messages import Refusal


@dataclass(frozen=True, slots=True)
class Said:
    """One coded error in a venue's own words."""

    code: str
    message: str


# (code, message) -> Refusal; message None: the code alone decides, its words vary (they carry numbers).
Refusals = Mapping[tuple[str, str | None], Refusal]


def refusal_of(said: tuple[Said, ...], refusals: Refusals) -> Refusal | None:
    """Return what these errors mean if every one of them is on the list, else None: we do not know."""
    found: Refusal | None = None
    for one in said:
        refusal = refusals.get((one.code, one.message)) or refusals.get((one.code, None))
        if refusal is None:
            return None
        found = found or refusal
    return found


def binance_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"code": -2010, "msg": "..."}`; it comes with a 4xx, and a code above zero is no error.

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-api-information
    """
    if not 400 <= status < 500 or not isinstance(body, dict):
        return ()
    code, message = body.get("code"), body.get("msg")
    if not isinstance(code, int) or code >= 0 or not isinstance(message, str):
        return ()
    return (Said(str(code), message),)


def kraken_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"error": ["EOrder:Insufficient funds"]}`; it comes with a 200.

    https://docs.kraken.com/api/docs/guides/spot-errors
    """
    if not (200 <= status < 300 or 400 <= status < 500) or not isinstance(body, dict):
        return ()
    errors = body.get("error")
    if not isinstance(errors, list) or not all(isinstance(one, str) for one in errors):
        return ()
    if body.get("result"):
        return ()  # an error beside a result: something was done, so this is no clean no
    return tuple(Said(_kraken_code(one), one) for one in errors)


def okx_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"code": "1", "data": [{"sCode": "51008", "sMsg": "..."}], "msg": ""}`.

    Code 1 is that of refused rows, any other one above 2 is of the request as a whole and has no rows.
    https://www.okx.com/docs-v5/en/#error-code-rest-api
    """
    if not (200 <= status < 300 or 400 <= status < 500) or not isinstance(body, dict):
        return ()
    code, message, rows = body.get("code"), body.get("msg"), body.get("data")
    if not isinstance(code, str) or not isinstance(message, str):
        return ()
    told = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    codes = [row["sCode"] for row in told if isinstance(row.get("sCode"), str)]
    if codes and all(one != "0" for one in codes):
        return tuple(Said(row["sCode"], str(row.get("sMsg"))) for row in told if "sCode" in row)
    # Code 2, something done beside something refused, is on no list: that is no clean no.
    return () if code == "0" else (Said(code, message),)


def bybit_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"retCode": 170131, "retMsg": "..."}`; it comes with a 200, and 0 is no error.

    A 403 without JSON is Bybit's front, which has heard too much of this address.
    https://bybit-exchange.github.io/docs/v5/error and .../v5/rate-limit
    """
    if status == 403 and body is None:
        return (Said("403", "access too frequent"),)
    if not (200 <= status < 300 or 400 <= status < 500) or not isinstance(body, dict):
        return ()
    code, message, result = body.get("retCode"), body.get("retMsg"), body.get("result")
    if not isinstance(code, int) or isinstance(code, bool) or code == 0 or not isinstance(message, str):
        return ()
    if isinstance(result, dict) and result.get("orderId"):
        return ()  # an error that names an order: something was done, so this is no clean no
    return (Said(str(code), message),)


# https://developers.binance.com/docs/binance-spot-api-docs/errors
# Not here, so unknown: -1000 -1001 -1006 -1007 -1008 -1016 (not finished), "Duplicate order sent.".
BINANCE_ANY: Refusals = {
    ("-1002", None): Refusal.AUTH,
    ("-1022", None): Refusal.AUTH,
    ("-2014", None): Refusal.AUTH,
    ("-2015", None): Refusal.AUTH,
    ("-1003", None): Refusal.RATE_LIMIT,
    ("-1015", None): Refusal.RATE_LIMIT,
    ("-1021", None): Refusal.CLOCK,
    ("-1014", None): Refusal.PERMANENT,
    ("-1020", None): Refusal.PERMANENT,
    # The request was not understood: 11xx are checks of parameters, made before the matching engine.
    **{
        (str(-code), None): Refusal.PERMANENT
        for code in (
            1100,
            1101,
            1102,
            1103,
            1104,
            1105,
            1106,
            1108,
            1114,
            1115,
            1116,
            1117,
            1118,
            1119,
            1121,
            1128,
            1130,
        )
    },
    ("-1111", None): Refusal.LOT_TICK,
}

# An order too many has a code of its own (-1015). A -1003 comes from the front, and a proxy that repeats a
# request may get one for the repetition while the first went through: too little to call an order refused.
_NOT_OF_ORDERS = {
    "-1003",
    "10006",
    "10018",
    "403",
    "EAPI:Rate limit exceeded",
    "EGeneral:Too many requests",
    "EGeneral:Temporary lockout",
    "50011",
}


def _of_orders(refusals: Refusals) -> dict[tuple[str, str | None], Refusal]:
    return {said: refusal for said, refusal in refusals.items() if said[0] not in _NOT_OF_ORDERS}


BINANCE_CREATE: Refusals = {
    **_of_orders(BINANCE_ANY),
    ("-1112", "No orders on book for symbol."): Refusal.MARKET_CLOSED,
    ("-1013", "Filter failure: LOT_SIZE"): Refusal.LOT_TICK,
    ("-1013", "Filter failure: MARKET_LOT_SIZE"): Refusal.LOT_TICK,
    ("-1013", "Filter failure: PRICE_FILTER"): Refusal.LOT_TICK,
    ("-1013", "Invalid quantity."): Refusal.LOT_TICK,
    ("-1013", "Invalid price."): Refusal.LOT_TICK,
    ("-1013", "Filter failure: MIN_NOTIONAL"): Refusal.MIN_SIZE,
    ("-1013", "Filter failure: NOTIONAL"): Refusal.MIN_SIZE,
    ("-1013", "Price * QTY is zero or less."): Refusal.MIN_SIZE,
    ("-2010", "Price * QTY is zero or less."): Refusal.MIN_SIZE,
    ("-1013", "Filter failure: PERCENT_PRICE"): Refusal.PERMANENT,
    ("-1013", "Filter failure: PERCENT_PRICE_BY_SIDE"): Refusal.PERMANENT,
    ("-1013", "Filter failure: MAX_POSITION"): Refusal.PERMANENT,
    ("-1013", "Filter failure: MAX_NUM_ORDERS"): Refusal.PERMANENT,
    ("-1013", "Filter failure: EXCHANGE_MAX_NUM_ORDERS"): Refusal.PERMANENT,
    ("-1013", "Market is closed."): Refusal.MARKET_CLOSED,
    ("-2010", "Market is closed."): Refusal.MARKET_CLOSED,
    ("-2010", "Account has insufficient balance for requested action."): Refusal.INSUFFICIENT_FUNDS,
    ("-2010", "Order would immediately match and take."): Refusal.POST_ONLY_WOULD_CROSS,
    ("-2010", "Market orders are not supported for this symbol."): Refusal.PERMANENT,
    ("-2010", "Unsupported order combination"): Refusal.PERMANENT,
    ("-2010", "This action is disabled on this account."): Refusal.AUTH,
    ("-2010", "This account may not place or cancel orders."): Refusal.AUTH,
    ("-2010", "Rest API trading is not enabled."): Refusal.AUTH,
    ("-2010", "This symbol is not permitted for this account."): Refusal.PERMANENT,
    ("-2010", "This symbol is restricted for this account."): Refusal.PERMANENT,
}

BINANCE_CANCEL: Refusals = {
    **BINANCE_ANY,
    ("-2011", "Unknown order sent."): Refusal.UNKNOWN_ORDER,
    ("-2011", "This action is disabled on this account."): Refusal.AUTH,
    ("-2011", "This account may not place or cancel orders."): Refusal.AUTH,
    ("-2011", "Market is closed."): Refusal.MARKET_CLOSED,
}

# The only answers that mean "there is no such order". -2026 (archived) is not one: that order existed.
BINANCE_ABSENT = frozenset({("-2013", "Order does not exist.")})


def _exactly(words: str) -> tuple[str, str]:
    return _kraken_code(words), words


def _kraken_code(words: str) -> str:
    return ":".join(words.split(":")[:2])


# https://docs.kraken.com/api/docs/guides/spot-errors
# Not here, so unknown: EService:Unavailable, EService:Busy, EGeneral:Internal error, EService:Throttled,
# whatever is said about a cl_ord_id in use, and EService:Deadline elapsed ("the request timed out": that says
# that the answer was late, not whether the order was).
KRAKEN_ANY: Refusals = {
    _exactly("EAPI:Invalid key"): Refusal.AUTH,
    _exactly("EAPI:Invalid signature"): Refusal.AUTH,
    _exactly("EGeneral:Permission denied"): Refusal.AUTH,
    _exactly("ESession:Invalid session"): Refusal.AUTH,
    _exactly("ETrade:User Locked"): Refusal.AUTH,
    _exactly("EAPI:Invalid nonce"): Refusal.CLOCK,
    _exactly("EAPI:Rate limit exceeded"): Refusal.RATE_LIMIT,
    _exactly("EGeneral:Too many requests"): Refusal.RATE_LIMIT,
    _exactly("EGeneral:Temporary lockout"): Refusal.RATE_LIMIT,
    _exactly("EGeneral:Invalid arguments"): Refusal.PERMANENT,
    _exactly("EQuery:Unknown asset pair"): Refusal.PERMANENT,
    _exactly("EQuery:Invalid asset pair"): Refusal.PERMANENT,
}

# Adding an order does not count against the REST counter: only the matching engine's own limit refuses one.
KRAKEN_CREATE: Refusals = {
    **_of_orders(KRAKEN_ANY),
    _exactly("EOrder:Insufficient funds"): Refusal.INSUFFICIENT_FUNDS,
    _exactly("EOrder:Order minimum not met"): Refusal.MIN_SIZE,
    _exactly("EOrder:Cost minimum not met"): Refusal.MIN_SIZE,
    _exactly("EGeneral:Invalid arguments:volume minimum not met"): Refusal.MIN_SIZE,
    _exactly("EGeneral:Invalid arguments:volume"): Refusal.LOT_TICK,
    _exactly("EGeneral:Invalid arguments:price"): Refusal.LOT_TICK,
    ("EOrder:Invalid price", None): Refusal.LOT_TICK,  # goes on with the pair and its decimals
    _exactly("EOrder:Tick size check failed"): Refusal.LOT_TICK,
    _exactly("EOrder:Post only order"): Refusal.POST_ONLY_WOULD_CROSS,
    _exactly("EOrder:Rate limit exceeded"): Refusal.RATE_LIMIT,
    _exactly("EOrder:Orders limit exceeded"): Refusal.PERMANENT,
    _exactly("EOrder:Trading agreement required"): Refusal.PERMANENT,
    _exactly("EGeneral:Invalid arguments:ordertype"): Refusal.PERMANENT,
    _exactly("EGeneral:Invalid arguments:cl_ord_id"): Refusal.PERMANENT,
    _exactly("EGeneral:Invalid arguments:deadline"): Refusal.CLOCK,
    _exactly("EService:Market in cancel_only mode"): Refusal.MARKET_CLOSED,
    _exactly("EService:Market in post_only mode"): Refusal.MARKET_CLOSED,
    _exactly("EService:Market in limit_only mode"): Refusal.MARKET_CLOSED,
}

KRAKEN_CANCEL: Refusals = {
    **KRAKEN_ANY,
    _exactly("EOrder:Unknown order"): Refusal.UNKNOWN_ORDER,
    _exactly("EOrder:Invalid order"): Refusal.UNKNOWN_ORDER,
    _exactly("EOrder:Rate limit exceeded"): Refusal.RATE_LIMIT,
}

# "Invalid order" is said of an id that Kraken never gave out.
KRAKEN_ABSENT = frozenset((words, words) for words in ("EOrder:Unknown order", "EOrder:Invalid order"))


# https://www.okx.com/docs-v5/en/#error-code-rest-api . An error is known by its code; the words carry numbers
# and names, and were changed more than once. Not here, so unknown: 1 and 2 without a row, 50001 50004 50005
# 50013 50026 51054 51149 (busy, broken, timed out), and 51016, a client id in use.
OKX_ANY: Refusals = {
    **{
        (str(code), None): Refusal.AUTH
        for code in (
            *(50007, 50008, 50009, 50012, 50027, 50029, 50030, 50035, 50100, 50101),
            *(50103, 50104, 50105, 50106, 50107, 50110, 50111, 50113, 50114, 50119),
            *(50120, 50121, 51024),
        )
    },
    ("50102", None): Refusal.CLOCK,
    ("50112", None): Refusal.CLOCK,
    ("50011", None): Refusal.RATE_LIMIT,
    **{
        (str(code), None): Refusal.PERMANENT
        for code in (50000, 50002, 50006, 50014, 50015, 50016, 50024, 50025, 50115, 51000, 51001, 51003)
    },
}

OKX_CREATE: Refusals = {
    **_of_orders(OKX_ANY),
    ("50036", None): Refusal.CLOCK,  # the `expTime` had passed
    ("50061", None): Refusal.RATE_LIMIT,  # of the account's orders, said for the order itself
    ("51000", "Parameter px error"): Refusal.LOT_TICK,
    ("51121", None): Refusal.LOT_TICK,
    ("51020", None): Refusal.MIN_SIZE,
    ("51120", None): Refusal.MIN_SIZE,
    ("50122", None): Refusal.MIN_SIZE,
    ("51008", None): Refusal.INSUFFICIENT_FUNDS,
    ("51127", None): Refusal.INSUFFICIENT_FUNDS,
    ("51131", None): Refusal.INSUFFICIENT_FUNDS,
    **{(str(code), None): Refusal.MARKET_CLOSED for code in (51021, 51022, 51087, 51110, 51124)},
    **{
        (str(code), None): Refusal.PERMANENT
        for code in (
            *(50028, 50032, 50033, 50052, 51005, 51006, 51010, 51025, 51033, 51056, 51102, 51109),
            *(51116, 51122, 51137, 51138, 51174, 51201, 51202, 51203, 51204),
        )
    },
}

# 51410 (being cancelled already, or settled) says nothing of how that ends.
OKX_CANCEL: Refusals = {
    **OKX_ANY,
    **{(str(code), None): Refusal.UNKNOWN_ORDER for code in (51400, 51401, 51402)},
    ("51407", None): Refusal.PERMANENT,
}

# Written with a full stop on the page, and without one on the wire.
OKX_ABSENT = frozenset((("51603", "Order does not exist"), ("51603", "Order does not exist.")))


def _coded(*codes: int) -> list[tuple[str, str | None]]:
    return [(str(code), None) for code in codes]


# https://bybit-exchange.github.io/docs/v5/error; its messages vary, its codes are exact.
# Not here, so unknown: 10000 10016 170001 170007 170032 170146 170149 170234 (not finished), 429 and 10429
# (overload), 10014 (a request seen before), and 110072 170141, duplicate ids: the first one arrived.
BYBIT_ANY: Refusals = {
    **dict.fromkeys(_coded(10003, 10004, 10005, 10007, 10008, 10010, 10024, 10027, 33004), Refusal.AUTH),
    **dict.fromkeys(_coded(10006, 10018, 403), Refusal.RATE_LIMIT),
    **dict.fromkeys(_coded(10002), Refusal.CLOCK),
    **dict.fromkeys(_coded(10001, 10017, 10029, 170105, 170121, 170130, 170227), Refusal.PERMANENT),
}

BYBIT_CREATE: Refusals = {
    **_of_orders(BYBIT_ANY),
    **dict.fromkeys(_coded(170005, 170222), Refusal.RATE_LIMIT),
    **dict.fromkeys(_coded(110004, 110007, 110012, 170033, 170131), Refusal.INSUFFICIENT_FUNDS),
    **dict.fromkeys(_coded(110094, 170136, 170140), Refusal.MIN_SIZE),
    **dict.fromkeys(_coded(170134, 170137, 170148), Refusal.LOT_TICK),
    **dict.fromkeys(_coded(170218), Refusal.POST_ONLY_WOULD_CROSS),
    **dict.fromkeys(_coded(170151, 170217), Refusal.MARKET_CLOSED),
    # Type, side and time in force; too large; a price too far away; what this account or pair may not do.
    **dict.fromkeys(_coded(170115, 170116, 170117, 170124, 170135), Refusal.PERMANENT),
    **dict.fromkeys(_coded(110003, 170132, 170133, 170192, 170193, 170194), Refusal.PERMANENT),
    **dict.fromkeys(_coded(170197, 170198, 170228, 170229, 170371, 170372), Refusal.PERMANENT),
    **dict.fromkeys(_coded(110020, 170157, 170201, 170209, 170210, 170810), Refusal.PERMANENT),
}

BYBIT_CANCEL: Refusals = {
    **BYBIT_ANY,
    # Not there, filled, cancelled before, finished: who wants to know which asks for the order.
    **dict.fromkeys(_coded(110001, 170139, 170142, 170143, 170190, 170213), Refusal.UNKNOWN_ORDER),
}

# An order that is not there is an empty list; Bybit has no words for it when it is asked.
BYBIT_ABSENT: frozenset[tuple[str, str]] = frozenset()
