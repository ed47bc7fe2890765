"""Accepted, then no answer: a bot of plain ccxt must find its order, not place it twice.

Start `./oms simulator --exchange binance` and set what it prints: SIMULATOR_URL, SIMULATOR_TOKEN (the admin
token) and SIMULATOR_KEYS (the line with keys).
"""

import os
import uuid

import ccxt
import requests

url, market = os.environ["SIMULATOR_URL"], "BTC/USDT"
public, _, private = os.environ["SIMULATOR_KEYS"].partition(",")
assert private, "SIMULATOR_KEYS: set it to the line with keys that the simulator prints"
admin = requests.Session()
admin.headers["Authorization"] = f"Bearer {os.environ['SIMULATOR_TOKEN']}"

options = {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False}
bot = ccxt.binance({"apiKey": public, "secret": private, "timeout": 1000, "options": options})
for name in ("public", "private", "sapi"):
    bot.urls["api"][name] = url + "/" + bot.urls["api"][name].split("/", 3)[3]
price = round(bot.fetch_order_book(market, 5)["bids"][0][0] * 0.95, 2)  # far enough to rest

rule = {"action": "hang", "kinds": "create", "when": "after", "count": 1}
admin.post(f"{url}/admin/faults", json={"rules": [rule]}).raise_for_status()
name = uuid.uuid4().hex  # made, and written down, before anything is sent
try:
    order = bot.create_order(market, "limit", "buy", 0.001, price, {"clientOrderId": name})
except (ccxt.NetworkError, ccxt.ExchangeError) as doubt:
    print(f"no answer ({type(doubt).__name__}): look for it by its name, never send it again")
    order = bot.fetch_order(None, market, {"clientOrderId": name})
bot.cancel_order(order["id"], market)

truth = admin.get(f"{url}/admin/truth").json()["data"]
mine = [o for a in truth["accounts"].values() for o in a["orders"] if o["client_order_id"] == name]
assert [o["status"] for o in mine] == ["canceled"], f"once, and over: {mine}"
print(f"the exchange has it once: {mine[0]['quantity']} at {mine[0]['price']}, {mine[0]['status']}")
