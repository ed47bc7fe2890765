"""Requests to OKX's dialect without a socket, signed as OKX wants them."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlencode

from simulator.dialects.dialect import Request
from simulator.dialects.okx import MARKETS, Okx
from simulator.dialects.okx_words import PRIVATE_PATH, signature
from simulator.exchange import Exchange

SECRET = "a secret of OKX's shape"
WORDS = "trader words"
NOW = 1_700_000_000.0
BTC, ETH = "BTC-USDT", "ETH-USDT"
D = Decimal


class Desk:
    """One OKX with an account, a clock that stands still, and what its sockets heard."""

    def __init__(self, markets=None, **options):
        self.exchange = Exchange("okx", list(markets or MARKETS))
        self.okx = Okx(self.exchange, **options)
        self.account = self.exchange.open_account("KEY", SECRET, name="desk", passphrase=WORDS)
        self.now = NOW
        for currency, amount in (("USDT", 100_000), ("ETH", 10), ("BTC", 2)):
            self.exchange.deposit(self.account, currency, D(amount), NOW)
        for symbol in self.exchange.markets:
            self.show(symbol)

    def show(self, symbol, bids=((50, 5), (40, 5)), asks=((60, 5), (70, 5))):
        sides = [[(D(str(p)), D(str(q))) for p, q in side] for side in (bids, asks)]
        self.exchange.set_book(symbol, *sides, self.now)

    def request(self, method, path, query="", body=b"", **headers):
        return Request(
            method=method,
            path=path,
            query=query,
            headers={k.replace("_", "-"): v for k, v in headers.items() if v is not None},
            body=body,
            now=self.now,
            clock=self.now,
        )

    def answer(self, request):
        """(HTTP status, body as the wire would carry it)"""
        response = self.okx.handle(request)
        return response.status, json.loads(json.dumps(response.body))

    def public(self, path, **query):
        return self.answer(self.request("GET", f"/api/v5/{path}", urlencode(query)))

    def signed(self, method, path, query="", body="", *, secret=SECRET, at=None, **changes):
        """A private request; `changes` replace its headers, None leaves one out."""
        written = datetime.fromtimestamp(self.now if at is None else at, UTC).isoformat(
            timespec="milliseconds"
        )
        written = changes.pop("timestamp", written.replace("+00:00", "Z"))
        prehash = f"{written}{method}{path}{'?' + query if query else ''}{body}"
        headers = {
            "ok_access_key": "KEY",
            "ok_access_sign": signature(secret, prehash),
            "ok_access_timestamp": written,
            "ok_access_passphrase": WORDS,
            "content_type": "application/json",
        }
        return self.request(method, path, query, body.encode(), **headers | changes)

    def get(self, path, **query):
        return self.answer(self.signed("GET", f"/api/v5/{path}", urlencode(query)))

    def post(self, path, body, **headers):
        return self.answer(self.signed("POST", f"/api/v5/{path}", "", json.dumps(body), **headers))

    def order(self, **changes):
        """Place a resting buy of 1 ETH at 45, changed as said; the row of the answer."""
        values = {"instId": ETH, "tdMode": "cash", "side": "buy", "ordType": "limit", "px": "45", "sz": "1"}
        values = {k: v for k, v in (values | changes).items() if v is not None}
        return self.post("trade/order", values)[1]["data"][0]

    def socket(self, path=PRIVATE_PATH):
        return Socket(self, path)


class Socket:
    """One WebSocket of the dialect, without a wire."""

    def __init__(self, desk, path):
        self.desk = desk
        self.heard = []
        self.session = desk.okx.open_session(desk.request("GET", path), self._hear)
        desk.exchange.subscribe(self.session.on_event)

    def _hear(self, message, stream):
        self.heard.append((stream, json.loads(json.dumps(message)) if isinstance(message, dict) else message))

    def say(self, message):
        """Send something and return what was answered at once."""
        before = len(self.heard)
        text = message if isinstance(message, str) else json.dumps(message)
        self.session.receive(text, self.desk.request("GET", PRIVATE_PATH))
        return [message for _, message in self.heard[before:]]

    def login(self, secret=SECRET, at=None, **changes):
        stamp = str(int(self.desk.now if at is None else at))
        sign = signature(secret, f"{stamp}GET/users/self/verify")
        words = {"apiKey": "KEY", "passphrase": WORDS, "timestamp": stamp, "sign": sign}
        return self.say({"op": "login", "args": [words | changes]})[0]

    def subscribe(self, **argument):
        return self.say({"op": "subscribe", "args": [argument]})

    def data(self, channel):
        """The rows of a channel so far."""
        return [
            row
            for _, message in self.heard
            if isinstance(message, dict) and message.get("arg", {}).get("channel") == channel
            for row in message.get("data", ())
        ]

    def tick(self, seconds=0.1):
        self.desk.now += seconds
        self.session.tick(self.desk.now)
