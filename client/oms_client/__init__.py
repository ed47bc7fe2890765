"""The client of the order and execution management system.

from oms_client import OMSClient

client = OMSClient("alice", "http://127.0.0.1:8888", "bot-1")      # the private key comes from OMS_KEY
result = client.smart_order("kraken", "USDT", "ETH", 1000)
print(result.received, result.average_price)
"""

__version__ = "0.1.0"  # before the imports: the transport tells it to the server

from .answers import (
    Answer,
    Balances,
    CancelResult,
    Costs,
    EditResult,
    ExchangeOrders,
    Fees,
    Fill,
    Halt,
    HaltedAccount,
    HaltReport,
    Halts,
    Health,
    Order,
    OrderPage,
    PortfolioResult,
    Query,
    Quote,
    Resumed,
    SmartOrderResult,
    Stats,
    Transfers,
)
from .client import OMSClient
from .errors import (
    AuthError,
    ConfigError,
    ConnectionFailed,
    FundsRanOut,
    IdempotencyConflict,
    InsufficientFunds,
    InvalidRequest,
    NotFound,
    NotSent,
    OMSError,
    OutcomeUnknown,
    QueryFailed,
    QuoteFell,
    QuoteLapsed,
    RateLimited,
    Rejected,
    Unavailable,
)
from .pending import PendingCalls
from .signing import generate_keys

__all__ = [
    "Answer",
    "AuthError",
    "Balances",
    "CancelResult",
    "EditResult",
    "Halt",
    "HaltReport",
    "HaltedAccount",
    "Halts",
    "Resumed",
    "ConfigError",
    "ConnectionFailed",
    "Costs",
    "ExchangeOrders",
    "Fees",
    "Fill",
    "FundsRanOut",
    "Health",
    "IdempotencyConflict",
    "InsufficientFunds",
    "InvalidRequest",
    "NotFound",
    "NotSent",
    "OMSClient",
    "OMSError",
    "Order",
    "OrderPage",
    "OutcomeUnknown",
    "PendingCalls",
    "PortfolioResult",
    "Query",
    "QueryFailed",
    "Quote",
    "QuoteFell",
    "QuoteLapsed",
    "RateLimited",
    "Rejected",
    "SmartOrderResult",
    "Stats",
    "Transfers",
    "Unavailable",
    "__version__",
    "generate_keys",
]
