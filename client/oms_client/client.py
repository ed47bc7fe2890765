"""The client: all calls of the OMS in one object."""

from __future__ import annotations

from .calls.contracts import ContractCalls
from .calls.controls import ControlCalls
from .calls.notifications import NotificationCalls
from .calls.orders import OrderCalls
from .calls.plans import PlanCalls
from .calls.questions import QuestionCalls


class OMSClient(OrderCalls, PlanCalls, ContractCalls, ControlCalls, QuestionCalls, NotificationCalls):
    """A bot's connection to its OMS; safe to use from many threads.

    The first five arguments are the manual's. `key` is the private key (text), by default OMS_KEY from the
    environment; `timeout` is (seconds to connect, seconds to wait for an answer); `on_event` is called with
    the Query whenever it changes, and when the server goes away (`query.unreachable` says why) and answers
    again (`query.silent_s`), by default a line is printed if somebody watches; `idempotency_store` names a
    small file that lets a bot which died find its unfinished calls again.
    """
