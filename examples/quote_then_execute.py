"""Ask what a conversion would bring, look at it, then carry it out within what was promised or not at all.

Set OMS_KEY and OMS_URL (`./oms run` prints both), then run: python examples/quote_then_execute.py
"""

import os

from oms_client import OMSClient, QuoteLapsed

DEAREST_BPS = 50  # fees, spread and depth together, had all of it been taken at once
client = OMSClient.from_env(userName="alice", botName="quoting")

for _ in range(3):  # a market that moves may leave the bounds of a quote
    quote = client.quote(
        exchange="all",
        start_currency="USDT",
        end_currency="BTC",
        start_amount="250",
        time_limit=os.environ.get("OMS_TIME_LIMIT", "20"),
    )
    print(quote)
    if quote.quote_id is None:
        raise SystemExit(f"nothing to carry out: {quote.reason}")
    if quote.cost.total_bps > DEAREST_BPS:
        raise SystemExit(f"too dear: {quote.cost.total_bps} bp")
    try:
        result = client.execute(quote)
    except QuoteLapsed as late:  # too old, or the books have moved: nothing was sent
        print(f"{late.code}: {late.message}. Asking again.")
        continue
    print(result)
    print(f"at worst {quote.worst_case.received} was promised, {result.received} came")
    break
else:
    raise SystemExit("three quotes in a row lapsed; give max_slippage_bps more room")
