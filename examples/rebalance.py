"""Hold 40 % BTC, 20 % ETH and 40 % USDT, over both exchanges together. Start it as often as you like.

Targets are declared: where nothing is left to do, nothing is done, so this may run from a timer.
"""

import os

from oms_client import OMSClient, QueryFailed, Rejected

TARGETS = {"BTC": "40%", "ETH": "20%", "USDT": "40%"}
client = OMSClient.from_env(userName="alice", botName="rebalance")
try:
    result = client.rebalance("all", TARGETS, time_limit=os.environ.get("OMS_TIME_LIMIT", "60"))
except Rejected as no:  # a definite no: nothing was traded
    raise SystemExit(f"{no.code}: {no.message}\n{no.hint}") from None
except QueryFailed as failed:  # accepted, worked on and failed: look at what was traded
    traded = [f"{order['filled_quantity']} {order['symbol']}" for order in failed.query["orders"]]
    raise SystemExit(f"failed: {failed}. Traded until then: {', '.join(traded) or 'nothing'}") from None

if not result.get("legs"):
    print(f"nothing traded: {result.reason}")
else:
    print(result)
    print(f"it cost {result.cost.total_bps} bp of {result.cost.notional} {result.cost.currency} traded")
