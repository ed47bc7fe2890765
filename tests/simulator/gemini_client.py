"""Requests to Gemini's dialect without a socket, signed as Gemini wants them."""

import base64
import hashlib
import hmac
import json
from decimal import Decimal
from urllib.parse import urlencode

from simulator.dialects.dialect import Request
from simulator.dialects.gemini import MARKETS, ORDER_EVENTS, Gemini
from simulator.exchange import Exchange

KEY, SECRET = "account-KEY", "a secret of Gemini's shape"
NOW = 1_700_000_000.0
D = Decimal


class Desk:
    """One Gemini with an account, a clock that stands still, and what its sockets heard."""

    def __init__(self, key=KEY, permissions=("read", "trade"), **options):
        self.exchange = Exchange("gemini", list(MARKETS))
        self.gemini = Gemini(self.exchange, **{"limited": False, **options})
        self.key, self.now, self.nonce = key, NOW, 1
        self.account = self.exchange.open_account(
            key, SECRET, name="desk", permissions=frozenset(permissions)
        )
        for currency, amount in (("USDT", 100_000), ("ETH", 10), ("BTC", 2)):
            self.exchange.deposit(self.account, currency, D(amount), NOW)
        for symbol in self.exchange.markets:
            self.show(symbol)

    def show(self, symbol="ETH/USDT", bids=((50, 5), (40, 5)), asks=((60, 5), (70, 5))):
        sides = [[(D(str(p)), D(str(q))) for p, q in side] for side in (bids, asks)]
        self.exchange.set_book(symbol, *sides, self.now)

    def public(self, path, **query):
        """(HTTP status, body as the wire would carry it)"""
        return self.answer(self.request("GET", path, urlencode(query), {}))

    def request(self, method, path, query, headers):
        return Request(method=method, path=path, query=query, headers=headers, now=self.now, clock=self.now)

    def answer(self, request):
        response = self.gemini.handle(request)
        body = response.body
        return response.status, json.loads(body if isinstance(body, str) else json.dumps(body))

    def headers(self, path, *, secret=SECRET, payload=None, signature=None, leave_out=(), **fields):
        """The headers of a private request; `payload` replaces its base64 text."""
        self.nonce += 1
        told = {"request": path, "nonce": str(self.nonce), **fields}
        told = {name: value for name, value in told.items() if value is not ...}
        text = payload if payload is not None else base64.b64encode(json.dumps(told).encode()).decode()
        signed = signature or hmac.new(secret.encode(), text.encode(), hashlib.sha384).hexdigest()
        headers = {
            "x-gemini-apikey": self.key,
            "x-gemini-payload": text,
            "x-gemini-signature": signed,
        }
        return {name: value for name, value in headers.items() if name not in leave_out}

    def post(self, path, **fields):
        return self.answer(self.request("POST", path, "", self.headers(path, **fields)))

    def order(self, **changes):
        """Place a resting buy of 1 ETH at 45, changed as said; `...` leaves a field out."""
        values = {
            "symbol": "ethusdt",
            "side": "buy",
            "type": "exchange limit",
            "price": "45.00",
            "amount": "1",
        }
        return self.post("/v1/order/new", **values | changes)

    def events(self, query="", **fields):
        """(what a socket of order events hears, or the refusal of its upgrade; the session)"""
        heard = []
        request = self.request("GET", ORDER_EVENTS, query, self.headers(ORDER_EVENTS, **fields))
        session = self.gemini.open_session(request, lambda message, stream: heard.append(message))
        if not hasattr(session, "on_event"):
            return session, None
        self.exchange.subscribe(session.on_event)
        return heard, session
