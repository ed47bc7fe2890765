"""The same through the server: it finds the order by itself, and the bot reads what became of it.

Start `./oms simulator --exchange binance` and a server beside it (MANUAL.md, The simulator). Set OMS_KEY and
OMS_URL for the bot, SIMULATOR_URL and SIMULATOR_TOKEN (the admin token) for the weather.
"""

import os
import time

import requests

from oms_client import OMSClient

client = OMSClient.from_env(userName="alice", botName="weather")
url = os.environ["SIMULATOR_URL"]
admin = requests.Session()
admin.headers["Authorization"] = f"Bearer {os.environ['SIMULATOR_TOKEN']}"

rules = [
    {"action": "reset", "kinds": "create", "when": "after", "count": 1},  # taken, and the line is dead
    {"action": "late", "kinds": ["orders", "fills"], "seconds": [1, 3]},  # the stream is late with the news
    {"action": "status", "status": 503, "kinds": "fetch", "count": 2},  # and look-ups fail at first
]
admin.post(f"{url}/admin/faults", json={"rules": rules}).raise_for_status()
order_id = client.limit_order("binance", "buy", "ETH/USDT", "0.01", "2600").order_id
while (order := client.get_order(order_id)).status in ("pending", "unknown"):
    print(f"{order.status}: {order['reason'] or 'sent'}")
    time.sleep(0.5)
admin.delete(f"{url}/admin/faults").raise_for_status()
client.cancel_all_orders()
while not (order := client.get_order(order_id))["closed_at"]:
    time.sleep(0.2)

name, truth = order["client_order_id"], admin.get(f"{url}/admin/truth").json()["data"]
mine = [o for a in truth["accounts"].values() for o in a["orders"] if o["client_order_id"] == name]
assert [(o["status"], o["filled_quantity"]) for o in mine] == [("canceled", "0")], mine
print(f"the exchange has it once, and says what the server says: {order.status}")
