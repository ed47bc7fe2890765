"""What did my bots ask for, and what came of it? Plain SQL on the server's own database (SQLite).

Run it on the server's machine; OMS_DATABASE names the file (`./oms run` prints it).
"""

import os
import sqlite3
from collections import Counter

path = os.environ.get("OMS_DATABASE", "var/run/oms.sqlite")
LATEST = """
    SELECT query_id, accepted_at, bot, verb, exchange, status, error_code
    FROM queries ORDER BY accepted_at DESC LIMIT 10
"""
FILLS = """
    SELECT bot, symbol, side, COUNT(*) AS fills, SUM(CAST(quantity AS REAL)) AS quantity, fee_currency,
           SUM(CAST(fee AS REAL)) AS fee
    FROM fills GROUP BY bot, symbol, side, fee_currency ORDER BY bot
"""  # amounts are exact text; REAL is good enough for the eye

with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
    database.row_factory = sqlite3.Row
    queries = database.execute(LATEST).fetchall()
    for query in queries:
        outcome = query["error_code"] or query["status"]
        asked = f"{query['verb']:<14} {query['exchange']}"
        print(f"{query['accepted_at'][:19]}  {query['bot']:<12} {asked}  {outcome}")
    print(f"outcomes of the last {len(queries)}:", dict(Counter(query["status"] for query in queries)))
    for row in database.execute(FILLS):
        print(
            f"{row['bot']:<12} {row['side']} {row['quantity']:.6f} {row['symbol']} in {row['fills']} fills, "
            f"fees {row['fee']:.6f} {row['fee_currency']}"
        )
