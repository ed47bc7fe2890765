"""A venue that answers what it is told: bytes on a real socket, for what no exchange would say twice."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    """One answer. `how`: answer, close, reset, hang, truncate (the body is cut in the middle)."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    how: str = "answer"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    fields: dict[str, str]
    headers: dict[str, str]


BINANCE_MARKET = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "baseAssetPrecision": 8,
    "quoteAsset": "USDT",
    "quotePrecision": 8,
    "quoteAssetPrecision": 8,
    "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
    "icebergAllowed": True,
    "ocoAllowed": True,
    "isSpotTradingAllowed": True,
    "isMarginTradingAllowed": False,
    "permissions": [],
    "permissionSets": [["SPOT"]],
    "filters": [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": "0.01000000",
            "maxPrice": "1000000.00000000",
            "tickSize": "0.01000000",
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": "0.00001000",
            "maxQty": "9000.00000000",
            "stepSize": "0.00001000",
        },
        {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True, "avgPriceMins": 5},
    ],
}
BINANCE = {
    ("GET", "/api/v3/exchangeInfo"): Reply(body={"timezone": "UTC", "symbols": [BINANCE_MARKET]}),
    ("GET", "/sapi/v1/asset/tradeFee"): Reply(
        body=[{"symbol": "BTCUSDT", "makerCommission": "0.00020000", "takerCommission": "0.00040000"}]
    ),
}
KRAKEN = {
    ("GET", "/0/public/Assets"): Reply(
        body={
            "error": [],
            "result": {
                "XXBT": {
                    "aclass": "currency",
                    "altname": "XBT",
                    "decimals": 10,
                    "display_decimals": 5,
                    "status": "enabled",
                },
                "ZUSD": {
                    "aclass": "currency",
                    "altname": "USD",
                    "decimals": 4,
                    "display_decimals": 2,
                    "status": "enabled",
                },
            },
        }
    ),
    ("GET", "/0/public/AssetPairs"): Reply(
        body={
            "error": [],
            "result": {
                "XXBTZUSD": {
                    "altname": "XBTUSD",
                    "wsname": "XBT/USD",
                    "aclass_base": "currency",
                    "base": "XXBT",
                    "aclass_quote": "currency",
                    "quote": "ZUSD",
                    "cost_decimals": 5,
                    "pair_decimals": 2,
                    "lot_decimals": 8,
                    "lot_multiplier": 1,
                    "leverage_buy": [],
                    "leverage_sell": [],
                    "fees": [[0, 0.4], [10000, 0.35]],
                    "fees_maker": [[0, 0.25], [10000, 0.2]],
                    "ordermin": "0.0001",
                    "costmin": "0.5",
                    "tick_size": "0.1",
                    "status": "online",
                }
            },
        }
    ),
    ("POST", "/0/private/TradeVolume"): Reply(
        body={
            "error": [],
            "result": {
                "currency": "ZUSD",
                "volume": "12000.0",
                "fees": {"XXBTZUSD": {"fee": "0.3500"}},
                "fees_maker": {"XXBTZUSD": {"fee": "0.2000"}},
            },
        }
    ),
}


class ScriptedVenue:
    """Serve `replies`; a deque gives one answer after another, its last one for good. WebSockets get 404."""

    def __init__(self, exchange: str):
        self.exchange = exchange
        self.replies: dict[tuple[str, str], Reply | deque[Reply]] = dict(
            BINANCE if exchange == "binance" else KRAKEN
        )
        self.asked: list[Asked] = []
        self.clock_skew_s = 0.0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self, method: str, path: str) -> list[Asked]:
        return [one for one in self.asked if (one.method, one.path) == (method, path)]

    async def __aenter__(self) -> ScriptedVenue:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._writers: set[asyncio.StreamWriter] = set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }
        body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
        parts = urlsplit(target)
        asked = Asked(method, parts.path, dict(parse_qsl(parts.query) + parse_qsl(body)), headers)
        self.asked.append(asked)
        reply = self._reply(asked)
        if reply.how == "close":
            return False
        if reply.how == "reset":
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if reply.how == "hang":
            await asyncio.sleep(60)
        text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        payload = text.encode()
        extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        writer.write(
            f"HTTP/1.1 {reply.status} Whatever\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n{extra}\r\n".encode()
        )
        writer.write(payload[: len(payload) // 2] if reply.how == "truncate" else payload)
        await writer.drain()
        return reply.how == "answer"

    def _reply(self, asked: Asked) -> Reply:
        if asked.path in ("/api/v3/time", "/0/public/Time"):
            now = time.time() + self.clock_skew_s
            if self.exchange == "binance":
                return Reply(body={"serverTime": int(now * 1000)})
            return Reply(body={"error": [], "result": {"unixtime": int(now), "rfc1123": "..."}})
        found = self.replies.get((asked.method, asked.path), Reply(404, {"unserved": asked.path}))
        if isinstance(found, deque):
            return found.popleft() if len(found) > 1 else found[0]
        return found
