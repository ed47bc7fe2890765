"""The operator's door of a simulated exchange: money, halts, keys, faults, and the truth.

JSON in and out, amounts as decimal strings, under /admin, with a bearer token of its own:

    GET    /admin/health                    name, mode, time, markets
    GET    /admin/truth                     orders, fills, balances of all; fees; imbalance, always {}
    GET    /admin/orders                    all orders; ?account= ?symbol= ?open=true
    POST   /admin/accounts                  name, api_key, secret [, passphrase]
    POST   /admin/deposit, /admin/withdraw  account, currency, amount
    POST   /admin/mode                      mode [, symbol]: trading halted cancel_only post_only maintenance
    POST   /admin/keys                      api_key, revoked (true or false)
    GET    /admin/faults                    the rules in force and what they have done
    POST   /admin/faults                    rules (a list) or profile (a name) [, seed]
    DELETE /admin/faults                    let everything work
    POST   /admin/book                      symbol, bids, asks: the displayed book, lists of [price, quantity]
    POST   /admin/trade                     symbol, price, quantity, taker_side: others trade with each other
    POST   /admin/expire                    order_id [, reason]: the exchange ends an order by itself
    POST   /admin/contract                  symbol [, mark] [, funding_rate]; mark null: the book decides
"""

import hmac
import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from random import Random
from typing import Any

from simulator.dialects.dialect import Request, Response
from simulator.exchange import Exchange
from simulator.faults import PROFILES, BadRule, Faults, read_rules
from simulator.positions import Positions
from simulator.records import BAD_PARAMETER, Account, Before, Levels, Reject, order_record, text


class Admin:
    """Answers requests under /admin."""

    def __init__(self, exchange: Exchange, faults: Faults, token: str) -> None:
        self._exchange = exchange
        self._faults = faults
        self._token = token
        self._routes: dict[tuple[str, str], Callable[[dict[str, Any], Request], Any]] = {
            ("GET", "health"): self._health,
            ("GET", "truth"): self._truth,
            ("GET", "orders"): self._orders,
            ("POST", "accounts"): self._open_account,
            ("POST", "deposit"): self._deposit,
            ("POST", "withdraw"): self._withdraw,
            ("POST", "mode"): self._mode,
            ("POST", "keys"): self._keys,
            ("GET", "faults"): self._show_faults,
            ("POST", "faults"): self._set_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "book"): self._book,
            ("POST", "trade"): self._trade,
            ("POST", "day"): self._day,
            ("POST", "expire"): self._expire,
            ("POST", "contract"): self._contract,
        }

    def handle(self, request: Request) -> Response:
        """Answer one request; a wrong one gets 400 with the field named."""
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return _error(401, "NOT_AUTHORIZED", "send the header Authorization: Bearer <admin token>")
        name = request.path.removeprefix("/admin").strip("/")
        route = self._routes.get((request.method, name))
        if route is None:
            offers = ", ".join(f"{method} /admin/{path}" for method, path in self._routes)
            return _error(404, "NO_SUCH_CALL", f"there is {offers}")
        try:
            data = json.loads(request.body) if request.body else {}
            if not isinstance(data, dict):
                return _error(400, "BAD_JSON", "send a JSON object")
            return Response(body={"status": "ok", "data": route(data, request)})
        except (Reject, BadRule) as error:
            reason = error.reason if isinstance(error, Reject) else BAD_PARAMETER
            return _error(400, reason, str(error))
        except ValueError as error:
            return _error(400, "BAD_PARAMETER", str(error))

    def _health(self, data: dict[str, Any], request: Request) -> Any:
        exchange = self._exchange
        return {
            "exchange": exchange.name,
            "mode": exchange.mode,
            "time": request.now,
            "markets": {symbol: exchange.mode_of(symbol) for symbol in exchange.markets},
        }

    def _truth(self, data: dict[str, Any], request: Request) -> Any:
        exchange = self._exchange
        wrong = exchange.imbalance()
        if isinstance(exchange.contracts, Positions):
            wrong |= exchange.contracts.imbalance()
        return {
            "accounts": {name: exchange.ledger(account) for name, account in exchange.accounts.items()},
            "fees_collected": {currency: text(fee) for currency, fee in exchange.fees_collected.items()},
            "outside": {currency: text(amount) for currency, amount in exchange.outside.items()},
            "imbalance": {name: text(amount) for name, amount in wrong.items()},
        }

    def _orders(self, data: dict[str, Any], request: Request) -> Any:
        wanted = request.parameters()
        orders = list(self._exchange.orders.values())
        if "account" in wanted:
            orders = [order for order in orders if order.account == wanted["account"]]
        if "symbol" in wanted:
            orders = [order for order in orders if order.symbol == wanted["symbol"]]
        if wanted.get("open") == "true":
            orders = [order for order in orders if order.open]
        return [order_record(order) for order in orders]

    def _open_account(self, data: dict[str, Any], request: Request) -> Any:
        account = self._exchange.open_account(
            _text(data, "api_key"),
            _text(data, "secret"),
            name=_text(data, "name"),
            passphrase=_text(data, "passphrase") if "passphrase" in data else None,
        )
        return {"account": account.name}

    def _deposit(self, data: dict[str, Any], request: Request) -> Any:
        account = self._account(data)
        transfer = self._exchange.deposit(
            account, _text(data, "currency"), _amount(data, "amount"), request.now
        )
        return {"transfer_id": transfer.transfer_id}

    def _withdraw(self, data: dict[str, Any], request: Request) -> Any:
        account = self._account(data)
        transfer = self._exchange.withdraw(
            account, _text(data, "currency"), _amount(data, "amount"), request.now
        )
        return {"transfer_id": transfer.transfer_id}

    def _mode(self, data: dict[str, Any], request: Request) -> Any:
        symbol = _text(data, "symbol") if "symbol" in data else None
        self._exchange.set_mode(_text(data, "mode"), request.now, symbol)
        return {}

    def _keys(self, data: dict[str, Any], request: Request) -> Any:
        if not isinstance(data.get("revoked"), bool):
            raise ValueError("revoked: use true or false")
        self._exchange.revoke_key(_text(data, "api_key"), data["revoked"])
        return {}

    def _show_faults(self, data: dict[str, Any], request: Request) -> Any:
        return {
            "rules": [rule.write() for rule in self._faults.rules],
            "profiles": list(PROFILES),
            "struck": [
                {
                    "action": s.action,
                    "when": s.rule.when,
                    "target": s.target,
                    "seconds": s.seconds,
                    "time": s.now,
                }
                for s in self._faults.log
            ],
        }

    def _set_faults(self, data: dict[str, Any], request: Request) -> Any:
        if "profile" in data:
            name = _text(data, "profile")
            if name not in PROFILES:
                raise ValueError(f"profile: use one of {', '.join(PROFILES)}")
            parsed = read_rules(PROFILES[name])
        else:
            parsed = read_rules(data.get("rules", []))
        if "seed" in data:
            self._faults.rng = Random(int(data["seed"]))
        self._faults.set(parsed)
        return {"rules": len(parsed)}

    def _clear_faults(self, data: dict[str, Any], request: Request) -> Any:
        self._faults.clear()
        return {}

    def _book(self, data: dict[str, Any], request: Request) -> Any:
        self._exchange.set_book(
            _text(data, "symbol"), _levels(data, "bids"), _levels(data, "asks"), request.now
        )
        return {}

    def _trade(self, data: dict[str, Any], request: Request) -> Any:
        side = data.get("taker_side")
        if side not in ("buy", "sell"):
            raise ValueError("taker_side: use buy or sell")
        self._exchange.public_trade(
            _text(data, "symbol"), _amount(data, "price"), _amount(data, "quantity"), side, request.now
        )
        return {}

    def _day(self, data: dict[str, Any], request: Request) -> Any:
        bounds = [None if data.get(name) is None else _amount(data, name) for name in ("low", "high")]
        before = Before(volume=_amount(data, "volume"), low=bounds[0], high=bounds[1])
        self._exchange.before[_text(data, "symbol")] = before
        return {}

    def _expire(self, data: dict[str, Any], request: Request) -> Any:
        if not isinstance(data.get("order_id"), int):
            raise ValueError("order_id: use the number of an open order")
        self._exchange.expire_order(data["order_id"], str(data.get("reason", "EXCHANGE")), request.now)
        return {}

    def _contract(self, data: dict[str, Any], request: Request) -> Any:
        contracts, symbol = self._exchange.contracts, _text(data, "symbol")
        if not isinstance(contracts, Positions) or symbol not in contracts.markets:
            raise ValueError(f"symbol: there is no contract {symbol}")
        if "funding_rate" in data:
            rate = data["funding_rate"]
            signed = rate.removeprefix("-") if isinstance(rate, str) else rate
            contracts.set_funding_rate(
                symbol, _decimal(signed, "funding_rate").copy_sign(-1 if signed != rate else 1)
            )
        if "mark" in data:
            mark = None if data["mark"] is None else _amount(data, "mark")
            contracts.set_mark(symbol, mark, request.now)
        now = contracts.mark(symbol)
        return {
            "mark": None if now is None else text(now),
            "funding_rate": text(contracts.funding_rate(symbol)),
            "next_funding": contracts.next_funding(symbol, request.now),
        }

    def _account(self, data: dict[str, Any]) -> Account:
        account = self._exchange.accounts.get(_text(data, "account"))
        if account is None:
            raise ValueError(f"account: use one of {', '.join(self._exchange.accounts) or '(none yet)'}")
        return account


def _error(status: int, code: str, message: str) -> Response:
    return Response(status=status, body={"status": "error", "error": {"code": code, "message": message}})


def _text(data: dict[str, Any], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field}: send a text that is not empty")
    return value


def _decimal(value: Any, field: str) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or amount < 0:
        raise ValueError(f'{field}: send a decimal string such as "1.5"')
    return amount


def _amount(data: dict[str, Any], field: str) -> Decimal:
    amount = _decimal(data.get(field), field)
    if not amount:
        raise ValueError(f"{field}: must be more than zero")
    return amount


def _levels(data: dict[str, Any], field: str) -> Levels:
    levels = data.get(field)
    if not isinstance(levels, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in levels):
        raise ValueError(f'{field}: send a list of ["price", "quantity"] pairs')
    return [(_decimal(price, field), _decimal(quantity, field)) for price, quantity in levels]
