"""Hello, order: convert 100 USDT into ETH on paper and print what it cost.

Set OMS_KEY and OMS_URL (`./oms run` prints both), then run: python examples/hello_order.py
"""

import os

from oms_client import OMSClient
from oms_client.errors import OutcomeUnknown, Rejected

client = OMSClient.from_env(userName="alice", botName="hello")
try:
    result = client.smart_order(
        "binance", "USDT", "ETH", "100", time_limit=os.environ.get("OMS_TIME_LIMIT", "20")
    )
except Rejected as no:  # a definite no: nothing was traded
    raise SystemExit(f"{no.code}: {no.message}\n{no.hint}") from None
except OutcomeUnknown as unknown:  # no answer came: find out, never send it again
    result = unknown.resolve()

print(f"{result.outcome}: spent {result.spent} USDT, received {result.received} ETH ({result.mode})")
fees = ", ".join(f"{amount} {currency}" for currency, amount in result["fees"].items())
print(f"average price {result['average_price']}, fees {fees or 'none'}")
print(f"against taking at once: {result.saved_bps} bp in {result.duration_s} s")
