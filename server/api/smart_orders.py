"""Smart orders: from one currency into another."""

from __future__ import annotations

from ems.core import errors
from server.api import examples
from server.api.routes import Noun
from server.api.writes import write

smart_orders = Noun("smart_orders", __name__)

write(smart_orders, "smart_order", example=examples.SMART_ORDER, more_errors=(errors.CURRENCY_UNKNOWN,))
