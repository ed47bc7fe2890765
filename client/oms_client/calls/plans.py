"""What is planned over many markets: smart_order, liquidate, rebalance, their quotes and execution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..amounts import Amount, Exchanges
from ..answers import PortfolioResult, Query, Quote, SmartOrderResult
from ..arguments import MANUAL_NAMES, PLANNED, AlgoParams, needed, planned, style, written
from ..connection import Connection
from ..errors import InvalidRequest
from ..naming import both_spellings, snake_case
from ..outcomes import is_over, result_of


class PlanCalls(Connection):
    """Conversions and portfolios."""

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
            **style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
        }
        if quote_id is None:
            needed("smart_order", exchange=exchange, startCurrency=startCurrency, endCurrency=endCurrency)
            if startCurrencyAmount is None and end_amount is None:
                raise InvalidRequest(
                    "startCurrencyAmount: None is not an amount",
                    code="REQUEST_FIELD_MISSING",
                    hint='Give how much to spend ("1000", "35%" or "all"), or end_amount, or quote_id.',
                    details={"field": "startCurrencyAmount"},
                )
            plan.setdefault("time_limit", "60")
        body = {
            **planned("smart_order", plan, quote_id),
            "account": account,
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        return self._work("smart_order", body, idempotency_key, result_of(SmartOrderResult), wait)

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
            **style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
        }
        if quote_id is None:
            needed("liquidate", exchange=exchange, end_currency=end_currency)
        body = {
            **planned("liquidate", plan, quote_id),
            "account": account,
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        return self._work("liquidate", body, idempotency_key, result_of(PortfolioResult), wait)

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
            **style(algo, algo_params, time_limit, on_timeout, max_slippage_bps),
        }
        if quote_id is None:
            needed("rebalance", exchange=exchange, targets=targets)
        body = {
            **planned("rebalance", plan, quote_id),
            "account": account,
            **self._options(record_in_db, send_fail_email, dry_run),
        }
        return self._work("rebalance", body, idempotency_key, result_of(PortfolioResult), wait)

    def quote(self, verb: str = "smart_order", **fields: Any) -> Quote:
        """Plan smart_order, liquidate or rebalance without trading; `fields` are that call's arguments.

        Printed, the answer is a table of route, result and cost. `execute(quote)` carries it out.
        """
        named: dict[str, Any] = {}
        for name, value in fields.items():
            name = MANUAL_NAMES.get(snake_case(name), snake_case(name))
            if name in named:
                raise TypeError(f"quote() got {name} in two spellings; give one of the two")
            named[name] = value
        key = named.pop("idempotency_key", None)
        options = {name: named.pop(name, None) for name in ("record_in_db", "send_fail_email")}
        body = {
            "verb": verb,
            **written(named),
            **self._options(options["record_in_db"], options["send_fail_email"], False),
        }
        return self._write("quote", body, key, result_of(Quote), until=is_over)

    def execute(
        self, quote: Quote | str, *, verb: str | None = None, **options: Any
    ) -> SmartOrderResult | PortfolioResult | Query:
        """Carry out a quote, or the quote_id of one of `verb`, within its bounds or not at all.

        Raises QuoteLapsed where it has expired or the books have moved: nothing was sent then.
        """
        if isinstance(quote, Quote):
            verb, quote = quote["verb"], str(quote.get("quote_id") or "")
        if verb not in PLANNED:
            raise TypeError(f"execute() needs verb, one of {', '.join(PLANNED)}, beside the id of a quote")
        if not quote:
            raise TypeError("execute() needs a quote with a quote_id; this one has nothing to carry out")
        result: SmartOrderResult | PortfolioResult | Query = getattr(self, verb)(quote_id=quote, **options)
        return result
