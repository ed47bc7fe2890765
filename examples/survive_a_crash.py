"""A bot that may be killed at any moment: started again, it finds the order it had under way.

The file named by `idempotency_store` remembers the keys of calls that are not over. The same call with the
same fields takes up the same query, so nothing is bought twice. Try it: start it, kill -9 it, start it again.
"""

import os

from oms_client import OMSClient, OutcomeUnknown, QueryFailed

client = OMSClient.from_env(userName="alice", botName="survivor", idempotency_store="survivor.pending")
try:
    result = client.smart_order(
        "kraken", "USDT", "BTC", "100", time_limit=os.environ.get("OMS_TIME_LIMIT", "30")
    )
except OutcomeUnknown as unknown:  # the server cannot be reached; its key stays in the file
    raise SystemExit(f"still unknown: {unknown}. Start this again later.") from None
except QueryFailed as failed:  # accepted, worked on and failed: look at what was traded
    traded = [f"{order['filled_quantity']} {order['symbol']}" for order in failed.query["orders"]]
    raise SystemExit(f"failed: {failed}. Traded until then: {', '.join(traded) or 'nothing'}") from None

print(f"query {result.query['query_id']}: received {result.received} BTC for {result.spent} USDT")
