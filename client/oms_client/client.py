"""The calls of the OMS as methods: sign, send, wait, and return what happened.

A call that works on something returns when it is finished. The work itself happens at the server: when this
process dies it goes on; `wait(query_id)` or the same call with the same idempotency key takes it up again.
"""

from __future__ import annotations

import logging
import os
import platform
import stat
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

import requests

from . import __version__, progress, signing
from .amounts import (
    Amount,
    Exchanges,
    Time,
    amount_text,
    checked_key,
    currency_codes,
    exchanges,
    one_exchange,
    settings,
    time_text,
    weights,
)
from .answers import (
    Answer,
    Balances,
    CancelResult,
    Costs,
    EditResult,
    ExchangeOrders,
    Fees,
    HaltReport,
    Halts,
    Health,
    Limits,
    LimitSet,
    NotificationDone,
    NotificationRule,
    NotificationRules,
    Notifications,
    Order,
    OrderPage,
    Pnl,
    Portfolio,
    PortfolioResult,
    Query,
    Quote,
    Resumed,
    Risk,
    Slices,
    SliceSet,
    SmartOrderResult,
    Stats,
    Transfers,
)
from .contracts import ContractCalls
from .errors import (
    ConfigError,
    ConnectionFailed,
    InvalidRequest,
    OMSError,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
    from_query,
)
from .naming import both_spellings, snake_case
from .pending import PendingCalls
from .transport import Reply, Transport

DEFAULT_URL = "http://127.0.0.1:8888"
POLL_S = 20  # one long-poll; servers and proxies give up after 30
POLL_PAUSE_S = 0.5  # between answers that came at once and said nothing new
_NOT_AT_THE_VENUE_YET = ("created", "pending", "unknown")

A = TypeVar("A", bound=Answer)
OnEvent = Callable[[Query], None]
AlgoParams = Mapping[str, "str | int | float | Decimal | bool"]
log = logging.getLogger("oms_client")


class OMSClient(ContractCalls):
    """A bot's connection to its OMS; safe to use from many threads.

    The first five arguments are the manual's. `key` is the private key (text), by default OMS_KEY from the
    environment; `timeout` is (seconds to connect, seconds to wait for an answer); `on_event` is called with
    the Query whenever it changes, and when the server goes away (`query.unreachable` says why) and answers
    again (`query.silent_s`), by default a line is printed if somebody watches; `idempotency_store` names a
    small file that lets a bot which died find its unfinished calls again.
    """

    patience_s = 120.0  # how long waiting goes on while the server cannot be reached

    @both_spellings
    def __init__(
        self,
        userName: str = "",
        url: str = DEFAULT_URL,
        botName: str = "default",
        recordInDb: bool = True,
        sendFailEmail: bool = True,
        *,
        key: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
        timeout: float | tuple[float, float] = (3.05, 30),
        max_retries: int = 2,
        session: requests.Session | None = None,
        on_event: OnEvent | None = None,
        idempotency_store: str | os.PathLike[str] | PendingCalls | None = None,
    ) -> None:
        self.user_name = userName
        self.bot_name = botName
        self.record_in_db = _flag("recordInDb", recordInDb)
        self.send_fail_email = _flag("sendFailEmail", sendFailEmail)
        self._key = _private_key(key, key_file)
        timeouts = _timeouts(timeout)
        self._poll_s = max(1, min(POLL_S, int(timeouts[1]) - 5))
        self._transport = Transport(
            _checked_url(url),
            self._key,
            timeout=timeouts,
            max_retries=max_retries,
            user_agent=f"oms-client/{__version__} Python/{platform.python_version()}",
            session=session,
        )
        if on_event is None and progress.wanted():
            on_event = progress.ProgressPrinter()
        self._on_event = on_event
        if idempotency_store is None or isinstance(idempotency_store, PendingCalls):
            self._pending = idempotency_store
        else:
            self._pending = PendingCalls(idempotency_store)

    @classmethod
    def from_env(cls, **options: Any) -> OMSClient:
        """Make a client from OMS_KEY or OMS_KEY_FILE, OMS_URL, OMS_USER and OMS_BOT; `options` go on top."""
        found = {
            "url": os.environ.get("OMS_URL"),
            "userName": os.environ.get("OMS_USER"),
            "botName": os.environ.get("OMS_BOT"),
            "key_file": os.environ.get("OMS_KEY_FILE") if "OMS_KEY" not in os.environ else None,
        }
        return cls(**{**{name: value for name, value in found.items() if value}, **options})

    @property
    def url(self) -> str:
        """Give the address of the server."""
        return self._transport.url

    @property
    def keyid(self) -> str:
        """Name the key that signs, as the server's messages do."""
        return self._key.keyid

    def close(self) -> None:
        """Close the connections; queries under way go on at the server."""
        self._transport.close()

    def __enter__(self) -> OMSClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OMSClient({self.user_name!r}, {self.url!r}, {self.bot_name!r}, keyid={self.keyid!r})"

    # --- orders ---

    def market_order(
        self,
        exchange: str,
        side: str,
        symbol: str,
        quantity: Amount,
        *,
        algo: str | None = None,
        algo_params: AlgoParams | None = None,
        time_limit: Amount | None = None,
        on_timeout: str | None = None,
        max_slippage_bps: Amount | None = None,
        raise_to_minimum: bool = False,
        resubmit: bool = False,
        account: str | None = None,
        allow_duplicate: bool = False,
        idempotency_key: str | None = None,
        wait: bool = True,
        dry_run: bool = False,
        record_in_db: bool | None = None,
        send_fail_email: bool | None = None,
    ) -> Order | SmartOrderResult | Query:
        """Buy or sell `quantity` of the base currency at once; returns the order when it has ended.

        With `algo` it is worked by that algorithm instead, for `time_limit` seconds, and the result of the
        whole is returned. With `wait=False` the Query is returned as soon as the intent is written down.
        """
        body = {
            "exchange": one_exchange(exchange),
            "side": side,
            "symbol": symbol,
            "quantity": amount_text("quantity", quantity),
            "account": account,
            "raise_to_minimum": _flag("raise_to_minimum", raise_to_minimum) or None,
            "resubmit": _flag("resubmit", resubmit) or None,
            "allow_duplicate": _flag("allow_duplicate", allow_duplicate) or None,
            **_style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        if not wait:
            return self._write("market_order", body, idempotency_key, lambda query: query, until=None)
        if algo is not None:
            return self._write("market_order", body, idempotency_key, _worked, until=_is_over)
        return self._write("market_order", body, idempotency_key, _placed_order, until=_is_over)

    def limit_order(
        self,
        exchange: str,
        side: str,
        symbol: str,
        quantity: Amount,
        price: Amount,
        *,
        post_only: bool = False,
        time_in_force: str = "GTC",
        algo: str | None = None,
        algo_params: AlgoParams | None = None,
        time_limit: Amount | None = None,
        on_timeout: str | None = None,
        max_slippage_bps: Amount | None = None,
        raise_to_minimum: bool = False,
        resubmit: bool = False,
        account: str | None = None,
        allow_duplicate: bool = False,
        idempotency_key: str | None = None,
        wait: bool = True,
        dry_run: bool = False,
        record_in_db: bool | None = None,
        send_fail_email: bool | None = None,
    ) -> Order | SmartOrderResult | Query:
        """Buy or sell at `price` or better; returns the order when it stands in the book or has ended.

        With `algo` it is worked by that algorithm, never beyond `price`, and the result of the whole is
        returned. With `wait=False` the Query is returned as soon as the intent is written down.
        """
        body = {
            "exchange": one_exchange(exchange),
            "side": side,
            "symbol": symbol,
            "quantity": amount_text("quantity", quantity),
            "price": amount_text("price", price),
            "post_only": _flag("post_only", post_only),
            "time_in_force": time_in_force,
            "account": account,
            "raise_to_minimum": _flag("raise_to_minimum", raise_to_minimum) or None,
            "resubmit": _flag("resubmit", resubmit) or None,
            "allow_duplicate": _flag("allow_duplicate", allow_duplicate) or None,
            **_style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        if not wait:
            return self._write("limit_order", body, idempotency_key, lambda query: query, until=None)
        if algo is not None:
            return self._write("limit_order", body, idempotency_key, _worked, until=_is_over)
        rests = str(time_in_force).upper() == "GTC"
        return self._write(
            "limit_order", body, idempotency_key, _placed_order, until=_is_placed if rests else _is_over
        )

    def order(
        self,
        exchange: str,
        side: str,
        symbol: str,
        quantity: Amount,
        order_type: str,
        *,
        price: Amount | None = None,
        stop_price: Amount | None = None,
        time_in_force: str = "GTC",
        expires_at: Time | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        stop_loss: Mapping[str, Amount] | None = None,
        take_profit: Mapping[str, Amount] | None = None,
        raise_to_minimum: bool = False,
        resubmit: bool = False,
        account: str | None = None,
        allow_duplicate: bool = False,
        idempotency_key: str | None = None,
        wait: bool = True,
        dry_run: bool = False,
        record_in_db: bool | None = None,
        send_fail_email: bool | None = None,
    ) -> Order | Query:
        """Send one order of any type; returns it when it stands, waits for its price, or has ended.

        `order_type` is market, limit, stop_loss, stop_loss_limit, take_profit or take_profit_limit.
        """
        body = {
            "exchange": one_exchange(exchange),
            "side": side,
            "symbol": symbol,
            "quantity": amount_text("quantity", quantity),
            "order_type": order_type,
            "price": None if price is None else amount_text("price", price),
            "stop_price": None if stop_price is None else amount_text("stop_price", stop_price),
            "time_in_force": time_in_force,
            "expires_at": time_text("expires_at", expires_at),
            "post_only": _flag("post_only", post_only),
            "reduce_only": _flag("reduce_only", reduce_only),
            "stop_loss": _exit("stop_loss", stop_loss),
            "take_profit": _exit("take_profit", take_profit),
            "raise_to_minimum": _flag("raise_to_minimum", raise_to_minimum) or None,
            "resubmit": _flag("resubmit", resubmit) or None,
            "account": account,
            "allow_duplicate": _flag("allow_duplicate", allow_duplicate) or None,
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        if not wait:
            return self._write("order", body, idempotency_key, lambda query: query, until=None)
        at_once = str(order_type).lower() == "market" or str(time_in_force).upper() in ("IOC", "FOK")
        return self._write(
            "order", body, idempotency_key, _placed_order, until=_is_over if at_once else _is_placed
        )

    def edit_order(
        self,
        order_id: str | None = None,
        *,
        client_order_id: str | None = None,
        quantity: Amount | None = None,
        price: Amount | None = None,
        stop_price: Amount | None = None,
        idempotency_key: str | None = None,
        dry_run: bool = False,
    ) -> EditResult:
        """Change an open order; returns when it is certain which order stands, and on which terms."""
        body = {
            "order_id": order_id,
            "client_order_id": client_order_id,
            "quantity": None if quantity is None else amount_text("quantity", quantity),
            "price": None if price is None else amount_text("price", price),
            "stop_price": None if stop_price is None else amount_text("stop_price", stop_price),
            **self._options(None, None, dry_run),
        }
        return self._write("edit_order", body, idempotency_key, _result_of(EditResult), until=_is_over)

    def cancel_order(
        self, order_id: str | None = None, *, client_order_id: str | None = None, dry_run: bool = False
    ) -> CancelResult:
        """Cancel one order, by our id or by the idempotency key it was asked with; returns at its end."""
        body = {
            "order_id": order_id,
            "client_order_id": client_order_id,
            **self._options(None, None, dry_run),
        }
        return self._write("cancel_order", body, None, _result_of(CancelResult), until=_is_over)

    def cancel_all_orders(
        self,
        exchange: str | None = None,
        *,
        symbol: str | None = None,
        scope: str = "bot",
        dry_run: bool = False,
    ) -> CancelResult:
        """Cancel this bot's open orders (`scope="user"`: all of the user's); names what was left alone."""
        body = {
            "exchange": exchange,
            "symbol": symbol,
            "scope": scope,
            **self._options(None, None, dry_run),
        }
        return self._write("cancel_all_orders", body, None, _result_of(CancelResult), until=_is_over)

    def halt(
        self,
        *,
        all: bool = False,
        exchange: str | None = None,
        account: str | None = None,
        user: str | None = None,
        symbol: str | None = None,
        reason: str | None = None,
        everything: bool = False,
        wait: bool = True,
        timeout: float | None = None,
        dry_run: bool = False,
    ) -> HaltReport | Query:
        """Stop trading where all that is named fits; returns when it is proven that nothing is open there.

        An exchange that cannot be reached is asked until it answers: after `timeout` seconds OutcomeUnknown
        is raised, whose `query` says how far it is; the halt holds all the same.
        """
        body = {
            "all": _flag("all", all),
            "exchange": exchange,
            "account": account,
            "user": user,
            "symbol": symbol,
            "reason": reason,
            "everything": _flag("everything", everything),
            **self._options(None, None, dry_run),
        }
        if not wait:
            return self._write("halt", body, None, lambda query: query, until=None)
        deadline = _deadline(timeout)
        return self._write("halt", body, None, _result_of(HaltReport), until=_is_over, deadline=deadline)

    def resume(self, halt_id: str, *, reason: str | None = None, dry_run: bool = False) -> Resumed:
        """Lift a halt; needs the role admin. What it ended stays ended."""
        body = {"halt_id": halt_id, "reason": reason, **self._options(None, None, dry_run)}
        return self._write("resume", body, None, _result_of(Resumed), until=_is_over)

    def set_slice(
        self,
        of_bot: str,
        exchange: str,
        amounts: Mapping[str, Amount],
        *,
        account: str | None = None,
        of_user: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> SliceSet:
        """Give a bot a part of an account for its own; with no amounts it has none any more (admin)."""
        body = {
            "of_bot": of_bot,
            "exchange": exchange,
            "amounts": {currency: amount_text(currency, amount) for currency, amount in amounts.items()},
            "account": account,
            "of_user": of_user,
            "reason": reason,
            **self._options(None, None, dry_run),
        }
        return self._write("set_slice", body, None, _result_of(SliceSet), until=_is_over)

    def get_slices(self) -> Slices:
        """List your bots' slices (everybody's for an admin), and what is left of each account."""
        return self._ask(Slices, "get_slices", bot=self.bot_name)

    def get_halts(self, *, limit: int | None = None) -> Halts:
        """List the halts in force, and after them those that were lifted."""
        return self._ask(Halts, "get_halts", limit=limit, bot=self.bot_name)

    def set_limit(
        self,
        setting: str,
        value: Amount,
        *,
        user: str | None = None,
        of_bot: str | None = None,
        exchange: str | None = None,
        account: str | None = None,
        symbol: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> LimitSet:
        """Set a limit of the risk controls for every order that fits all that is named.

        `value` is in the setting's unit, "off", or "default" to take the setting back. Anybody may tighten
        with himself as `user`; everything else needs the role admin.
        """
        body = {
            "setting": setting,
            "value": str(value),
            "user": user,
            "of_bot": of_bot,
            "exchange": exchange,
            "account": account,
            "symbol": symbol,
            "reason": reason,
            **self._options(None, None, dry_run),
        }
        return self._write("set_limit", body, None, _result_of(LimitSet), until=_is_over)

    def get_limits(self, *, limit: int | None = None) -> Limits:
        """List the risk controls with the limits in force, and the latest changes."""
        return self._ask(Limits, "get_limits", limit=limit, bot=self.bot_name)

    def get_risk(self) -> Risk:
        """Say what of each counted limit is used, and what is left."""
        return self._ask(Risk, "get_risk", bot=self.bot_name)

    @both_spellings
    def smart_order(
        self,
        exchange: Exchanges | None = None,
        startCurrency: str | None = None,
        endCurrency: str | None = None,
        startCurrencyAmount: Amount | None = None,
        *,
        end_amount: Amount | None = None,
        algo: str | None = None,
        algo_params: AlgoParams | None = None,
        time_limit: Amount | None = None,
        on_timeout: str | None = None,
        max_slippage_bps: Amount | None = None,
        quote_id: str | None = None,
        account: str | None = None,
        idempotency_key: str | None = None,
        wait: bool = True,
        dry_run: bool = False,
        record_in_db: bool | None = None,
        send_fail_email: bool | None = None,
    ) -> SmartOrderResult | Query:
        """Convert one currency into another over the best paths, worked over time to keep the cost low.

        `exchange` is a name, a list of names, or "all". `startCurrencyAmount` may be "35%" or "all";
        instead of it `end_amount` says how much is to be received. `time_limit` is in seconds for the whole
        (60 unless said); `on_timeout` is "take" or "cancel". `quote_id` alone carries out a quote.

        Returns the result when all is done; with `wait=False` the Query at once. Raises QueryFailed where it
        failed: its query shows what was traded.
        """
        plan = {
            "exchange": exchange,
            "start_currency": startCurrency,
            "end_currency": endCurrency,
            "start_amount": startCurrencyAmount,
            "end_amount": end_amount,
            **_style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
        }
        if quote_id is None:
            _needed("smart_order", exchange=exchange, startCurrency=startCurrency, endCurrency=endCurrency)
            if startCurrencyAmount is None and end_amount is None:
                raise InvalidRequest(
                    "startCurrencyAmount: None is not an amount",
                    code="REQUEST_FIELD_MISSING",
                    hint='Give how much to spend ("1000", "35%" or "all"), or end_amount, or quote_id.',
                    details={"field": "startCurrencyAmount"},
                )
            plan.setdefault("time_limit", "60")
        body = {
            **_plan("smart_order", plan, quote_id),
            "account": account,
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        return self._work("smart_order", body, idempotency_key, _result_of(SmartOrderResult), wait)

    def liquidate(
        self,
        exchange: Exchanges | None = None,
        end_currency: str | None = None,
        *,
        currencies: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        min_trade: Amount | None = None,
        algo: str | None = None,
        algo_params: AlgoParams | None = None,
        time_limit: Amount | None = None,
        on_timeout: str | None = None,
        max_slippage_bps: Amount | None = None,
        quote_id: str | None = None,
        account: str | None = None,
        idempotency_key: str | None = None,
        wait: bool = True,
        dry_run: bool = False,
        record_in_db: bool | None = None,
        send_fail_email: bool | None = None,
    ) -> PortfolioResult | Query:
        """Turn everything held, or only `currencies`, into `end_currency`, on each account where it is held.

        `exclude` names what is never sold; trades below `min_trade` US dollars (10 unless said) are not made.
        The rest is as in smart_order.
        """
        plan = {
            "exchange": exchange,
            "end_currency": end_currency,
            "currencies": currencies,
            "exclude": exclude,
            "min_trade": min_trade,
            **_style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
        }
        if quote_id is None:
            _needed("liquidate", exchange=exchange, end_currency=end_currency)
        body = {
            **_plan("liquidate", plan, quote_id),
            "account": account,
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        return self._work("liquidate", body, idempotency_key, _result_of(PortfolioResult), wait)

    def rebalance(
        self,
        exchange: Exchanges | None = None,
        targets: Mapping[str, Amount] | None = None,
        *,
        keep: Iterable[str] | None = None,
        tolerance: Amount | None = None,
        min_trade: Amount | None = None,
        algo: str | None = None,
        algo_params: AlgoParams | None = None,
        time_limit: Amount | None = None,
        on_timeout: str | None = None,
        max_slippage_bps: Amount | None = None,
        quote_id: str | None = None,
        account: str | None = None,
        idempotency_key: str | None = None,
        wait: bool = True,
        dry_run: bool = False,
        record_in_db: bool | None = None,
        send_fail_email: bool | None = None,
    ) -> PortfolioResult | Query:
        """Bring what is held to target weights: `{"BTC": "60%", "USDT": 0.4}`; together they are 1.

        Held currencies without a target are sold unless `keep` names them. A weight within `tolerance` of its
        target (0.002 unless said) is left alone. The rest is as in liquidate.
        """
        plan = {
            "exchange": exchange,
            "targets": targets,
            "keep": keep,
            "tolerance": tolerance,
            "min_trade": min_trade,
            **_style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
        }
        if quote_id is None:
            _needed("rebalance", exchange=exchange, targets=targets)
        body = {
            **_plan("rebalance", plan, quote_id),
            "account": account,
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        return self._work("rebalance", body, idempotency_key, _result_of(PortfolioResult), wait)

    def quote(self, verb: str = "smart_order", **fields: Any) -> Quote:
        """Plan smart_order, liquidate or rebalance without trading; `fields` are that call's arguments.

        Printed, the answer is a table of route, result and cost. `execute(quote)` carries it out.
        """
        named: dict[str, Any] = {}
        for name, value in fields.items():
            name = _MANUAL_NAMES.get(snake_case(name), snake_case(name))
            if name in named:
                raise TypeError(f"quote() got {name} in two spellings; give one of the two")
            named[name] = value
        key = named.pop("idempotency_key", None)
        options = {name: named.pop(name, None) for name in ("record_in_db", "send_fail_email")}
        body = {
            "verb": verb,
            **_written(named),
            **self._options(options["record_in_db"], options["send_fail_email"], False),
        }
        return self._write("quote", body, key, _result_of(Quote), until=_is_over)

    def execute(
        self, quote: Quote | str, *, verb: str | None = None, **options: Any
    ) -> SmartOrderResult | PortfolioResult | Query:
        """Carry out a quote, or the quote_id of one of `verb`, within its bounds or not at all.

        Raises QuoteLapsed where it has expired or the books have moved: nothing was sent then.
        """
        if isinstance(quote, Quote):
            verb, quote = quote["verb"], str(quote.get("quote_id") or "")
        if verb not in _PLANNED:
            raise TypeError(f"execute() needs verb, one of {', '.join(_PLANNED)}, beside the id of a quote")
        if not quote:
            raise TypeError("execute() needs a quote with a quote_id; this one has nothing to carry out")
        result: SmartOrderResult | PortfolioResult | Query = getattr(self, verb)(quote_id=quote, **options)
        return result

    # --- questions ---

    def get_balances(self, exchange: str, *, account: str | None = None) -> Balances:
        """Ask what an account holds: free, used and total of every currency."""
        return self._ask(Balances, "get_balances", exchange=exchange, account=account, bot=self.bot_name)

    def get_past_orders(
        self,
        exchange: str | None = None,
        *,
        symbol: str | None = None,
        bot: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> OrderPage:
        """List the user's orders, newest first; `bot` keeps only those one bot asked for."""
        return self._ask(
            OrderPage,
            "get_past_orders",
            exchange=exchange,
            symbol=symbol,
            of_bot=bot,
            since=time_text("since", since),
            until=time_text("until", until),
            limit=limit,
            cursor=cursor,
            bot=self.bot_name,
        )

    def get_exchange_orders(
        self,
        exchange: str,
        *,
        symbol: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        account: str | None = None,
    ) -> ExchangeOrders:
        """List an account's orders as the exchange itself does, also those placed by hand; a week unless
        `since` says otherwise."""
        return self._ask(
            ExchangeOrders,
            "get_exchange_orders",
            exchange=exchange,
            symbol=symbol,
            since=time_text("since", since),
            until=time_text("until", until),
            limit=limit,
            cursor=cursor,
            account=account,
            bot=self.bot_name,
        )

    def get_withdrawal_deposit_history(
        self,
        exchange: str,
        *,
        currency: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        account: str | None = None,
    ) -> Transfers:
        """List what moved in and out of an account, of four weeks unless `since` says otherwise; nothing in
        this API can move anything out."""
        return self._ask(
            Transfers,
            "get_withdrawal_deposit_history",
            exchange=exchange,
            currency=currency,
            since=time_text("since", since),
            until=time_text("until", until),
            limit=limit,
            cursor=cursor,
            account=account,
            bot=self.bot_name,
        )

    def get_order_stats(
        self,
        exchange: str | None = None,
        *,
        symbol: str | None = None,
        bot: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        source: str | None = None,
        account: str | None = None,
    ) -> Stats:
        """Count the user's orders and add up what they traded; with source="exchange" all that the exchange
        lists."""
        return self._ask(
            Stats,
            "get_order_stats",
            exchange=exchange,
            symbol=symbol,
            of_bot=bot,
            since=time_text("since", since),
            until=time_text("until", until),
            source=source,
            account=account,
            bot=self.bot_name,
        )

    def get_fees(self, exchange: str, *, symbol: str | None = None, account: str | None = None) -> Fees:
        """Ask what trading costs this account, as fractions."""
        return self._ask(
            Fees, "get_fees", exchange=exchange, symbol=symbol, account=account, bot=self.bot_name
        )

    def get_portfolio(
        self, exchange: str | None = None, *, account: str | None = None, bot: str | None = None
    ) -> Portfolio:
        """Ask what your bots hold and earned, and what the accounts are worth; `bot` keeps only one's."""
        return self._ask(
            Portfolio,
            "get_portfolio",
            exchange=exchange,
            account=account,
            of_bot=bot,
            bot=self.bot_name,
        )

    def get_pnl(
        self,
        *,
        by: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        bot: str | None = None,
        exchange: str | None = None,
        account: str | None = None,
    ) -> Pnl:
        """Ask what your fills earned, by "day" (unless said), "bot", "exchange", "account" or "symbol"."""
        return self._ask(
            Pnl,
            "get_pnl",
            by=by,
            since=time_text("since", since),
            until=time_text("until", until),
            of_bot=bot,
            exchange=exchange,
            account=account,
            bot=self.bot_name,
        )

    def tca(
        self,
        *,
        since: Time | None = None,
        until: Time | None = None,
        exchange: str | None = None,
        algo: str | None = None,
        limit: int | None = None,
    ) -> Costs:
        """Ask what trading has cost: by order, exchange, algorithm, pair, size and spread."""
        return self._ask(Costs, "tca", **self._costs(since, until, exchange, algo, limit))

    def tca_plot(
        self,
        *,
        since: Time | None = None,
        until: Time | None = None,
        exchange: str | None = None,
        algo: str | None = None,
        limit: int | None = None,
    ) -> bytes:
        """Ask for the same report as a picture (PNG)."""
        reply = self._transport.get("/api/tca.png", self._costs(since, until, exchange, algo, limit))
        if not isinstance(reply.data, bytes):
            raise OMSError("the server sent no picture", request_id=reply.request_id)
        return reply.data

    def _costs(
        self,
        since: Time | None,
        until: Time | None,
        exchange: str | None,
        algo: str | None,
        limit: int | None,
    ) -> dict[str, Any]:
        return {
            "since": time_text("since", since),
            "until": time_text("until", until),
            "exchange": exchange,
            "algo": algo,
            "limit": limit,
            "bot": self.bot_name,
        }

    def get_notification_rules(self, *, everyone: bool = False) -> NotificationRules:
        """List your notification rules, and the channels there are; everybody's needs the role admin."""
        return self._ask(NotificationRules, "get_notification_rules", of="everyone" if everyone else None)

    def set_notification_rule(
        self,
        name: str,
        channel: str,
        *,
        address: str | None = None,
        events: Iterable[str] | None = None,
        severity: str | None = None,
        exchange: str | None = None,
        of_bot: str | None = None,
        everyone: bool = False,
        digest_minutes: int | None = None,
        digest_at: str | None = None,
        quiet_from: str | None = None,
        quiet_until: str | None = None,
        time_zone: str | None = None,
        suppress_s: int | None = None,
        repeat_s: int | None = None,
        user: str | None = None,
        dry_run: bool = False,
    ) -> NotificationRule:
        """Have events told over a channel: "in_app", "email", "webhook" or "service"; the same name replaces
        a rule."""
        said = {
            "name": name,
            "channel": channel,
            "address": address,
            "events": None if events is None else list(events),
            "severity": severity,
            "exchange": None if exchange is None else one_exchange(exchange),
            "of_bot": of_bot,
            "everyone": _flag("everyone", everyone),
            "digest_minutes": digest_minutes,
            "digest_at": digest_at,
            "quiet_from": quiet_from,
            "quiet_until": quiet_until,
            "time_zone": time_zone,
            "suppress_s": suppress_s,
            "repeat_s": repeat_s,
            "user": user,
        }
        body = {field: value for field, value in said.items() if value is not None}
        body |= self._options(None, None, dry_run)
        return self._write("set_notification_rule", body, None, _result_of(NotificationRule), until=_is_over)

    def delete_notification_rule(self, name: str, *, user: str | None = None) -> NotificationDone:
        """Forget a rule, and what waits because of it."""
        body = {"name": name, "user": user, **self._options(None, None, False)}
        return self._write(
            "delete_notification_rule", body, None, _result_of(NotificationDone), until=_is_over
        )

    def get_notifications(
        self,
        *,
        unacknowledged: bool = False,
        channel: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        after: str | None = None,
        wait_s: int | None = None,
    ) -> Notifications:
        """List what you were told, newest first. With `wait_s` wait for something to show; `after` is the
        `latest` of an earlier answer, and leaves out what you know."""
        return self._ask(
            Notifications,
            "get_notifications",
            only="unacknowledged" if unacknowledged else None,
            channel=channel,
            limit=limit,
            cursor=cursor,
            after=after,
            wait_s=wait_s,
        )

    def acknowledge_notification(self, message_id: str) -> NotificationDone:
        """Say that you have seen a message: neither it nor another about the same is repeated any more."""
        body = {"message_id": message_id, **self._options(None, None, False)}
        return self._write(
            "acknowledge_notification", body, None, _result_of(NotificationDone), until=_is_over
        )

    def test_notification(self, name: str) -> NotificationDone:
        """Send a test message the way a rule says, at once; `answer` is the channel's own."""
        body = {"name": name, **self._options(None, None, False)}
        return self._write("test_notification", body, None, _result_of(NotificationDone), until=_is_over)

    def check_health(self) -> Health:
        """Ask how the server and every exchange account are."""
        return self._ask(Health, "check_health")

    def get_query(self, query_id: str) -> Query:
        """Look at a query: its state, result and orders."""
        return self._ask(Query, "get_query", query_id=query_id)

    def get_order(self, order_id: str) -> Order:
        """Look at one order with its fills."""
        return self._ask(Order, "get_order", order_id=order_id)

    def wait(self, query_id: str, timeout: float | None = None) -> Query:
        """Wait until a query is over; raises QueryFailed, or OutcomeUnknown after `timeout` seconds."""
        deadline = _deadline(timeout)
        return self._finished(self._follow(self.get_query(query_id), _is_over, deadline, None))

    # --- writing and waiting ---

    def _options(
        self, record_in_db: bool | None, send_fail_email: bool | None, dry_run: bool
    ) -> dict[str, Any]:
        record = self.record_in_db if record_in_db is None else _flag("record_in_db", record_in_db)
        email = self.send_fail_email if send_fail_email is None else _flag("send_fail_email", send_fail_email)
        return {
            "bot": self.bot_name,
            "record_in_db": record,
            "send_fail_email": email,
            "dry_run": _flag("dry_run", dry_run),
        }

    def _work(
        self,
        verb: str,
        body: dict[str, Any],
        idempotency_key: str | None,
        result: Callable[[Query], A],
        wait: bool,
    ) -> A | Query:
        if not wait:
            return self._write(verb, body, idempotency_key, lambda query: query, until=None)
        return self._write(verb, body, idempotency_key, result, until=_is_over)

    def _write(
        self,
        verb: str,
        body: dict[str, Any],
        idempotency_key: str | None,
        result: Callable[[Query], A],
        *,
        until: Callable[[Query], bool] | None,
        deadline: float | None = None,
    ) -> A:
        key = new_idempotency_key() if idempotency_key is None else checked_key(idempotency_key)
        # A quote is asked for anew: a remembered one would be old when it is found again.
        lasting = verb != "quote" and not body.get("dry_run")
        remembered = self._pending is not None and idempotency_key is None and lasting
        if remembered:
            assert self._pending is not None
            key = self._pending.claim({"verb": verb, **body}, key)
        try:
            answer = self._carry_out(verb, body, key, result, until, deadline)
        except OutcomeUnknown:
            if remembered and self._pending is not None:
                self._pending.release(key)
            raise
        except (OMSError, ValueError):
            if remembered and self._pending is not None:
                self._pending.forget(key)
            raise
        if remembered and self._pending is not None:
            self._pending.forget(key)
        return answer

    def _carry_out(
        self,
        verb: str,
        body: dict[str, Any],
        key: str,
        result: Callable[[Query], A],
        until: Callable[[Query], bool] | None,
        deadline: float | None,
    ) -> A:
        """Send a write under its key, wait for its end and give its result; can be done again at any time."""

        def again(timeout: float | None) -> A:
            return self._resolve(verb, body, key, result, until, timeout)

        try:
            try:
                # The signature covers the body and not the header: said twice, the key cannot be changed.
                signed = {**body, "idempotency_key": key}
                query = self._read(Query, self._transport.post(f"/api/{verb}", signed, key))
            except OMSError as error:
                stored = self._stored_failure(error)
                if stored is None:
                    raise
                query = stored
            self._check_user(query)
            if until is None:
                self._tell(query)
            else:
                query = self._follow(query, until, deadline, key)
            if query["status"] == "failed":
                raise from_query(query)
            return result(query)
        except OutcomeUnknown as unknown:
            unknown.idempotency_key = key
            unknown._resume = again
            raise

    def _resolve(
        self,
        verb: str,
        body: dict[str, Any],
        key: str,
        result: Callable[[Query], A],
        until: Callable[[Query], bool] | None,
        timeout: float | None,
    ) -> A:
        """Find out what came of a write: the same key gives the same query, so nothing is done twice."""
        deadline = _deadline(timeout)
        pause_s = POLL_PAUSE_S
        while True:
            try:
                return self._carry_out(verb, body, key, result, until, deadline)
            except (OutcomeUnknown, ConnectionFailed, RateLimited, Unavailable) as error:
                if isinstance(error, Unavailable) and error.query_id is not None:
                    raise
                if _left(deadline) <= pause_s:
                    if isinstance(error, OutcomeUnknown):
                        raise
                    raise OutcomeUnknown(
                        f"still unknown: {error.message}",
                        idempotency_key=key,
                        resume=lambda more: self._resolve(verb, body, key, result, until, more),
                    ) from error
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)

    def _stored_failure(self, error: OMSError) -> Query | None:
        """Give the failed query behind the answer to a repeat, so that it raises what the first one did."""
        if not error.details.get("duplicate") or error.query_id is None:
            return None
        try:
            return self.get_query(error.query_id)
        except OMSError:
            return None

    def _follow(
        self, query: Query, until: Callable[[Query], bool], deadline: float | None, key: str | None
    ) -> Query:
        """Wait by long-poll until `until` holds, through restarts of the server; tell every change."""
        self._tell(query)
        heard_at = time.monotonic()
        pause_s = POLL_PAUSE_S
        missed = False  # changes may have passed while the server could not be reached
        while not until(query):
            if _left(deadline) <= 0:
                text = f"query {query['query_id']} is still being worked on"
                raise self._unknown(query, key, text, "Nothing is wrong")
            asked_at = time.monotonic()
            wait_s = 0 if missed else max(0, min(self._poll_s, int(_left(deadline))))
            try:
                parameters = {"query_id": query["query_id"], "wait_s": wait_s, "after_seq": query["seq"]}
                newer = self._read(Query, self._transport.get("/api/get_query", parameters, retries=0))
            except (ConnectionFailed, RateLimited, Unavailable) as error:
                if not missed:
                    self._tell(_marked(query, _unreachable=error.message))
                if time.monotonic() - heard_at > self.patience_s:
                    text = f"the server has not answered for {self.patience_s:.0f} s: {error.message}"
                    raise self._unknown(query, key, text, "The work goes on there") from error
                time.sleep(min(pause_s, max(_left(deadline), 0)))
                pause_s, missed = min(pause_s * 2, 5.0), True
                continue
            except OMSError as error:  # asking failed, which says nothing about the work
                raise self._unknown(query, key, error.message, error.hint or "The work goes on") from error
            back = _marked(newer, _silent_s=time.monotonic() - heard_at) if missed else newer
            heard_at, pause_s, missed = time.monotonic(), POLL_PAUSE_S, False
            if newer != query or back is not newer:
                query = newer
                self._tell(back)
            elif heard_at - asked_at < POLL_PAUSE_S:
                time.sleep(POLL_PAUSE_S)  # a server with many waiting callers answers at once
        return query

    def _unknown(self, query: Query, key: str | None, message: str, hint: str) -> OutcomeUnknown:
        return OutcomeUnknown(
            message,
            hint=f"{hint.rstrip('.')}; call resolve() or wait(query_id).",
            idempotency_key=key,
            query=query,
            resume=lambda timeout: self.wait(str(query["query_id"]), timeout),
        )

    @staticmethod
    def _finished(query: Query) -> Query:
        if query["status"] == "failed":
            raise from_query(query)
        return query

    def _tell(self, query: Query) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(query)
        except Exception:  # the bot's own code; an order must not be lost to a mistake in showing it
            log.exception("on_event failed for query %s", query.get("query_id"))

    def _check_user(self, query: Query) -> None:
        user = query.get("user")
        if self.user_name and user and user != self.user_name:
            log.warning("OMS_KEY is a key of user %s; userName says %s and is ignored", user, self.user_name)

    def _ask(self, kind: type[A], verb: str, **parameters: Any) -> A:
        return self._read(kind, self._transport.get(f"/api/{verb}", parameters))

    @staticmethod
    def _read(kind: type[A], reply: Reply) -> A:
        if not isinstance(reply.data, dict):
            raise OMSError(
                f"the server sent {type(reply.data).__name__} instead of an object",
                request_id=reply.request_id,
            )
        answer = kind(reply.data)
        answer._from(reply.mode, reply.request_id)
        return answer


def _marked(query: Query, **marks: Any) -> Query:
    """Copy a query with what is known of the connection beside it."""
    copy = Query(query)
    copy.__dict__.update(query.__dict__, **marks)
    return copy


# --- what a write says ---

_PLANNED = ("smart_order", "liquidate", "rebalance")
# The manual's name in snake_case -> the field it becomes.
_MANUAL_NAMES = {"start_currency_amount": "start_amount"}
_CURRENCIES = ("currencies", "exclude", "keep")
_AMOUNTS = ("start_amount", "end_amount", "min_trade", "tolerance", "time_limit", "max_slippage_bps")


def _style(
    algo: str | None,
    algo_params: AlgoParams | None,
    time_limit: Amount | None,
    on_timeout: str | None,
    max_slippage_bps: Amount | None,
) -> dict[str, Any]:
    """Give what was said about how to work an order; what was not said stays out of the body.

    A body equal to that of an older client keeps the key that client remembered for the same call.
    """
    said = {
        "algo": algo,
        "algo_params": algo_params,
        "time_limit": time_limit,
        "on_timeout": on_timeout,
        "max_slippage_bps": max_slippage_bps,
    }
    return _written(said)


def _written(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write the arguments that were given as the wire carries them."""
    written: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name == "exchange":
            value = exchanges(value)
        elif name == "targets":
            value = weights(value)
        elif name == "algo_params":
            value = settings(value)
        elif name in _CURRENCIES:
            value = currency_codes(name, value)
        elif name in _AMOUNTS:
            value = amount_text("startCurrencyAmount" if name == "start_amount" else name, value)
        written[name] = value
    return written


def _plan(verb: str, fields: Mapping[str, Any], quote_id: str | None) -> dict[str, Any]:
    """Give the body of a planned call, or of the execution of its quote, which settles everything else."""
    said = _written(fields)
    if quote_id is None:
        return said
    if said:
        raise TypeError(f"{verb}() got quote_id and {', '.join(said)}; the quote has settled everything else")
    return {"quote_id": quote_id}


def _needed(verb: str, **arguments: Any) -> None:
    missing = [name for name, value in arguments.items() if value is None]
    if missing:
        raise TypeError(f"{verb}() needs {', '.join(missing)}, or quote_id alone")


# --- what a finished query means ---


def _exit(name: str, prices: Mapping[str, Amount] | None) -> dict[str, str] | None:
    """Write the prices of an attached order."""
    if prices is None:
        return None
    if not isinstance(prices, Mapping):
        raise InvalidRequest(f'{name}: give a mapping such as {{"stop_price": "2300"}}')
    return {key: amount_text(f"{name}.{key}", price) for key, price in prices.items() if price is not None}


def _is_over(query: Query) -> bool:
    return query.is_over


def _is_placed(query: Query) -> bool:
    """Say whether the query's order stands at the exchange, or the query has ended."""
    orders = query.get("orders") or []
    # A refused order of a query that goes on may be sent once more.
    return query.is_over or (
        bool(orders) and orders[-1]["status"] not in (*_NOT_AT_THE_VENUE_YET, "rejected")
    )


def _placed_order(query: Query) -> Order:
    """Give the order a query placed; a dry run has none, and gives its plan."""
    orders, result = query.get("orders") or [], query.get("result") or {}
    # Beside the order there may be what is attached to it.
    orders = [one for one in orders if one.get("purpose") not in ("stop_loss", "take_profit")]
    more = {name: result.get(name, []) for name in ("corrections", "crossed")}
    order = Order({**orders[-1], **more} if orders else result)
    return _with_query(order, query)


def _worked(query: Query) -> SmartOrderResult:
    """Give the result of an order that an algorithm worked."""
    return _with_query(SmartOrderResult(query.get("result") or {}), query)


def _result_of(kind: type[A]) -> Callable[[Query], A]:
    return lambda query: _with_query(kind(query.get("result") or {}), query)


def _with_query(answer: A, query: Query) -> A:
    answer._from(query.mode, query.request_id)
    answer.__dict__["_query"] = query
    return answer


# --- what the constructor is given ---


def new_idempotency_key() -> str:
    """Make a UUID of version 7 (RFC 9562 5.7): it sorts by time, which makes logs and indexes readable."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _private_key(key: str | None, key_file: str | os.PathLike[str] | None) -> signing.PrivateKey:
    if key is not None and key_file is not None:
        raise ConfigError("key and key_file are both given", hint="Give one of the two.")
    if key is not None:
        source, text = "key", key
    elif key_file is not None:
        source, text = f"key_file {os.fspath(key_file)}", _read_key_file(Path(key_file))
    else:
        source, text = "OMS_KEY", os.environ.get("OMS_KEY", "")
    if not text.strip():
        raise ConfigError(
            f"{source} is empty" if source != "OMS_KEY" else "OMS_KEY is not set",
            hint="`oms keygen <USER>` makes a pair: the private key goes to OMS_KEY here, "
            "the public one to OMS_KEYS on the server.",
        )
    try:
        return signing.parse_private_key(text)
    except signing.BadKey as error:
        raise ConfigError(f"{source}: {error}") from None


def _read_key_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"key_file: {path} cannot be read: {reason}") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        log.warning("others can read the key file %s; run: chmod 600 %s", path, path)
    for line in text.splitlines():
        if line.startswith("OMS_KEY="):  # the line `oms keygen` prints
            return line[len("OMS_KEY=") :]
    return text


def _checked_url(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"url: {url!r} is not an address", hint=f"Write it like {DEFAULT_URL}.")
    if parts.username or parts.query or parts.fragment:
        raise ConfigError(f"url: {url!r} holds more than scheme, host, port and path")
    return url.strip().rstrip("/")


def _timeouts(timeout: float | tuple[float, float]) -> tuple[float, float]:
    pair = timeout if isinstance(timeout, (tuple, list)) else (timeout, timeout)
    if len(pair) != 2 or any(isinstance(s, bool) or not isinstance(s, (int, float)) or s <= 0 for s in pair):
        raise ConfigError(
            f"timeout: {timeout!r} is not a number of seconds above zero, nor a pair of them",
            hint="Give (seconds to connect, seconds to wait for an answer), such as (3.05, 30).",
        )
    return float(pair[0]), float(pair[1])


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: {value!r} is neither True nor False")
    return value


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _left(deadline: float | None) -> float:
    return float(POLL_S) if deadline is None else deadline - time.monotonic()
