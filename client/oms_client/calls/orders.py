"""Orders: placing, editing and cancelling one, and cancelling all."""

from __future__ import annotations

from collections.abc import Mapping

from ..amounts import Amount, Time, amount_text, one_exchange, time_text
from ..answers import CancelResult, EditResult, Order, Query, SmartOrderResult
from ..arguments import AlgoParams, exit_prices, flag, style
from ..connection import Connection
from ..outcomes import is_over, is_placed, placed_order, result_of, worked


class OrderCalls(Connection):
    """Plain orders, and what becomes of them."""

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
            "raise_to_minimum": flag("raise_to_minimum", raise_to_minimum) or None,
            "resubmit": flag("resubmit", resubmit) or None,
            "allow_duplicate": flag("allow_duplicate", allow_duplicate) or None,
            **style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        if not wait:
            return self._write("market_order", body, idempotency_key, lambda query: query, until=None)
        if algo is not None:
            return self._write("market_order", body, idempotency_key, worked, until=is_over)
        return self._write("market_order", body, idempotency_key, placed_order, until=is_over)

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
            "post_only": flag("post_only", post_only),
            "time_in_force": time_in_force,
            "account": account,
            "raise_to_minimum": flag("raise_to_minimum", raise_to_minimum) or None,
            "resubmit": flag("resubmit", resubmit) or None,
            "allow_duplicate": flag("allow_duplicate", allow_duplicate) or None,
            **style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        if not wait:
            return self._write("limit_order", body, idempotency_key, lambda query: query, until=None)
        if algo is not None:
            return self._write("limit_order", body, idempotency_key, worked, until=is_over)
        rests = str(time_in_force).upper() == "GTC"
        return self._write(
            "limit_order", body, idempotency_key, placed_order, until=is_placed if rests else is_over
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
            "post_only": flag("post_only", post_only),
            "reduce_only": flag("reduce_only", reduce_only),
            "stop_loss": exit_prices("stop_loss", stop_loss),
            "take_profit": exit_prices("take_profit", take_profit),
            "raise_to_minimum": flag("raise_to_minimum", raise_to_minimum) or None,
            "resubmit": flag("resubmit", resubmit) or None,
            "account": account,
            "allow_duplicate": flag("allow_duplicate", allow_duplicate) or None,
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        if not wait:
            return self._write("order", body, idempotency_key, lambda query: query, until=None)
        at_once = str(order_type).lower() == "market" or str(time_in_force).upper() in ("IOC", "FOK")
        return self._write(
            "order", body, idempotency_key, placed_order, until=is_over if at_once else is_placed
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
        return self._write("edit_order", body, idempotency_key, result_of(EditResult), until=is_over)

    def cancel_order(
        self, order_id: str | None = None, *, client_order_id: str | None = None, dry_run: bool = False
    ) -> CancelResult:
        """Cancel one order, by our id or by the idempotency key it was asked with; returns at its end."""
        body = {
            "order_id": order_id,
            "client_order_id": client_order_id,
            **self._options(None, None, dry_run),
        }
        return self._write("cancel_order", body, None, result_of(CancelResult), until=is_over)

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
        return self._write("cancel_all_orders", body, None, result_of(CancelResult), until=is_over)
