"""Every exchange the gateway reaches, by the name it has here."""

from ems.venues.dialects.binance import BINANCE
from ems.venues.dialects.bybit import BYBIT
from ems.venues.dialects.coinbase import COINBASE
from ems.venues.dialects.coinbaseexchange import BITTREX, COINBASEEXCHANGE
from ems.venues.dialects.dialect import Dialect
from ems.venues.dialects.gemini import GEMINI
from ems.venues.dialects.kraken import KRAKEN
from ems.venues.dialects.okx import OKX

DIALECTS: dict[str, Dialect] = {
    dialect.exchange: dialect
    for dialect in (BINANCE, KRAKEN, BYBIT, OKX, COINBASE, GEMINI, COINBASEEXCHANGE, BITTREX)
}
