"""A plain client of the simulated Binance: signs as its documentation says, and knows nothing of ours."""

import hashlib
import hmac
import http.client
import json
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import websocket

from simulator.dialects.binance import Binance
from simulator.faults import Faults, Rule
from simulator.wire import SimulatorServer
from tests.simulator.builders import SYMBOL, D, account, exchange, market

TIMEOUT_S = 0.8


class Client:
    """One key at one server; every request on a connection of its own."""

    def __init__(self, server, key="key-bot", secret="secret-bot"):
        self.server = server
        self.key = key
        self.secret = secret

    def send(self, method, path, headers=None, body=None, timeout_s=TIMEOUT_S):
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def get(self, path, **parameters):
        status, body, _ = self.send("GET", path + ("?" + urlencode(parameters) if parameters else ""))
        return status, json.loads(body)

    def signed_text(self, secret=None, **parameters):
        parameters.setdefault("timestamp", int(time.time() * 1000))
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        signature = hmac.new((secret or self.secret).encode(), query.encode(), hashlib.sha256).hexdigest()
        return f"{query}&signature={signature}"

    def raw(self, method, path, timeout_s=TIMEOUT_S, **parameters):
        text = self.signed_text(**parameters)
        headers = {"X-MBX-APIKEY": self.key}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return self.send(method, path, headers, text, timeout_s)
        return self.send(method, f"{path}?{text}", headers, None, timeout_s)

    def call(self, method, path, **parameters):
        status, body, _ = self.raw(method, path, **parameters)
        return status, json.loads(body)

    def place(self, side="BUY", quantity="0.1", price="50", client_id="c-1", **more):
        return self.call(
            "POST",
            "/api/v3/order",
            **order_parameters(side=side, quantity=quantity, price=price, client_id=client_id) | more,
        )

    def socket(self, path):
        return websocket.create_connection(self.server.ws_url + path, timeout=TIMEOUT_S)

    def api_text(self, method, request_id="1", **parameters):
        """A signed frame of the WebSocket API."""
        parameters = {"timestamp": int(time.time() * 1000), "apiKey": self.key} | parameters
        payload = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
        signature = hmac.new(self.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        return json.dumps(
            {"id": request_id, "method": method, "params": parameters | {"signature": signature}}
        )

    def user_stream(self):
        """A socket that has subscribed to the user data stream."""
        socket = self.socket("/ws-api/v3")
        socket.send(self.api_text("userDataStream.subscribe.signature"))
        answer = json.loads(socket.recv())
        assert answer["status"] == 200, answer
        return socket


def order_parameters(side="BUY", quantity="0.1", price="50", client_id="c-1"):
    return {
        "symbol": "BTCUSDT",
        "side": side,
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": quantity,
        "price": price,
        "newClientOrderId": client_id,
    }


@contextmanager
def served(*rules, made=None, clock=time.time, **limits):
    """A running Binance with one account; `rules` are fault rules as dictionaries."""
    made = made or exchange(market(), bids=(("99", "1"),), asks=(("101", "1"),))
    if "bot" not in made.accounts:
        account(made, USDT="10000", BTC="10")
    faults = Faults([Rule.read(rule) for rule in rules])
    with SimulatorServer(made, Binance(made, **limits), faults=faults, clock=clock) as server:
        yield Client(server)


def frames(socket, count, timeout_s=TIMEOUT_S):
    """The next messages of a socket, fewer when nothing more comes in time."""
    socket.settimeout(timeout_s)
    found = []
    while len(found) < count:
        try:
            found.append(json.loads(socket.recv()))
        except (websocket.WebSocketTimeoutException, websocket.WebSocketConnectionClosedException, OSError):
            break
    return found


__all__ = ["SYMBOL", "Client", "D", "frames", "order_parameters", "served"]
