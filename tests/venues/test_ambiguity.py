"""A part of `./oms ambiguity` at every change, and the proof that it would notice.

Each mutant is the gateway with one rule taken out; the cases that must betray it are named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from ems.core.messages import (
    Amended,
    AmendRefused,
    CancelAcked,
    Found,
    NewOrder,
    OrderStatus,
    OutcomeUnknown,
    Refusal,
    Rejected,
    VenueReport,
)
from ems.venues.amends import Amends
from ems.venues.cancels import Cancels
from ems.venues.ccxt_gateway import CcxtGateway
from ems.venues.creates import Creates
from ems.venues.dialects import DIALECTS
from ems.venues.gateway import VenueUnavailable
from ems.venues.lookups import Lookups
from tests.venues.ambiguity import (
    ASKED,
    NAMES_NO_ORDER,
    RESPONSES,
    SAYS_ABSENT,
    Case,
    Outcome,
    cases,
    lanes,
    main,
    play_lanes,
    summary,
    table,
)
from tests.venues.listed import EXCHANGES

SEED = 20261201
EACH = 6  # cases of every exchange


def played(wanted: list[Case], build: type[CcxtGateway] = CcxtGateway) -> list[Outcome]:
    return asyncio.run(play_lanes(lanes(wanted, Random(SEED)), at_once=8, build=build))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_no_answer_makes_us_believe_what_is_not_so(exchange: str) -> None:
    wanted = Random(f"{SEED} {exchange}").sample(cases([exchange]), EACH)
    outcomes = played(wanted)
    assert [f"{one.case.name}: {one.wrong}" for one in outcomes if one.wrong] == []
    assert sorted(one.case.name for one in outcomes) == sorted(case.name for case in wanted)
    assert summary(outcomes) == f"cases={EACH} wrong=0"


def test_the_whole_is_every_answer_to_every_question_at_every_exchange() -> None:
    whole = cases()
    assert len(whole) == len(set(whole)) >= 33 * len(EXCHANGES) * len(ASKED)
    for exchange in EXCHANGES:
        for asked, variants in ASKED.items():
            shown = {case.response for case in whole if (case.exchange, case.asked) == (exchange, asked)}
            absent: set[str | None] = {SAYS_ABSENT.get(exchange)} if asked == "fetch" else set()
            if asked == "amend" and DIALECTS[exchange].amending is None:
                absent = set(RESPONSES)
            elif asked == "amend" and exchange in NAMES_NO_ORDER:
                absent = {"another order's answer"}
            assert shown == RESPONSES.keys() - absent and len(variants) >= 2


def test_what_is_asked_for_is_played_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--exchange", EXCHANGES[0], "--asked", "create", "--cases", "2", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "cases=2 wrong=0"
    assert sum(line.count("1/1") + 2 * line.count("2/2") for line in lines) == 2


# --- It would notice ---


class FiveHundredsAreNo(Creates):
    def _judge_create(self, order: NewOrder, attempts: Any, answer: Any, failure: Any) -> VenueReport:
        if attempts and (attempts[-1].status or 0) >= 500:
            return Rejected(order_id=order.order_id, refusal=Refusal.PERMANENT, message="it said 5xx")
        return super()._judge_create(order, attempts, answer, failure)


class AnyCancelIsOurs(Cancels):
    """Believes an answer to a cancel without looking whose it is."""

    async def _try_cancel(self, cancel: Any) -> VenueReport:
        report = await super()._try_cancel(cancel)
        if isinstance(report, OutcomeUnknown) and "about another order" in report.message:
            return CancelAcked(order_id=cancel.order_id, filled_quantity=Decimal(0))
        return report


class SendsAgain(Creates):
    """Repeats an order without an answer, under another name."""

    async def _try_create(self, order: NewOrder, *about: Any) -> VenueReport:
        report = await super()._try_create(order, *about)
        if isinstance(report, OutcomeUnknown):
            twin = order.client_order_id[:-4] + (
                "0000" if not order.client_order_id.endswith("0000") else "1111"
            )
            return await super()._try_create(replace(order, client_order_id=twin), *about)
        return report


class NoAnswerIsNo(Creates):
    """Gives an order up that was not answered in time."""

    async def _try_create(self, order: NewOrder, *about: Any) -> VenueReport:
        report = await super()._try_create(order, *about)
        if isinstance(report, OutcomeUnknown):
            return Rejected(order_id=order.order_id, refusal=Refusal.PERMANENT, message=report.message)
        return report


class TroubleIsACancel(Cancels):
    async def _try_cancel(self, cancel: Any) -> VenueReport:
        report = await super()._try_cancel(cancel)
        if isinstance(report, OutcomeUnknown):
            return CancelAcked(order_id=cancel.order_id, filled_quantity=Decimal(0))
        return report


class TroubleIsAnAmendment(Amends):
    async def _try_amend(self, request: Any, *about: Any) -> Any:
        report = await super()._try_amend(request, *about)
        if isinstance(report, OutcomeUnknown):
            return Amended(order_id=request.order_id, quantity=request.quantity, price=None, stop_price=None)
        return report


class TroubleIsNoAmendment(Amends):
    async def _try_amend(self, request: Any, *about: Any) -> Any:
        report = await super()._try_amend(request, *about)
        if isinstance(report, OutcomeUnknown):
            return AmendRefused(order_id=request.order_id, refusal=Refusal.PERMANENT, message=report.message)
        return report


class AmendsAgain(Amends):
    async def _try_amend(self, request: Any, *about: Any) -> Any:
        report = await super()._try_amend(request, *about)
        if isinstance(report, OutcomeUnknown):
            again = replace(request, quantity=request.quantity - Decimal("0.001"))
            return await super()._try_amend(again, *about)
        return report


class _Absent(Lookups):
    """Takes some unreadable answers for the exchange's own word that there is no such order."""

    taken_for_absence = ""

    async def look_up(self, order_id: str, *about: Any) -> OrderStatus:
        asked_at = self._now()
        try:
            return await super().look_up(order_id, *about)
        except VenueUnavailable as error:
            if self.taken_for_absence not in str(error):
                raise
            return OrderStatus(order_id=order_id, found=Found.NOT_FOUND, query_sent_at=asked_at)


class NotFoundPagesAreAbsence(_Absent):
    taken_for_absence = "HTTP 404"


class AnythingIsAnEmptyList(_Absent):
    taken_for_absence = ""


def gateway_with(mutant: type) -> type[CcxtGateway]:
    """Return the gateway with one of its parts spoilt, and the others as they are."""

    class Spoilt(CcxtGateway):
        def open(self, deliver: Callable[[VenueReport], None]) -> None:
            super().open(deliver)
            (part,) = (part for part in vars(self).values() if type(part) in mutant.__mro__[1:-1])
            part.__class__ = mutant

    return Spoilt


# mutant -> (what is asked, variant, answers), each of which must betray it, and what is said of it
MUTANTS: dict[type, tuple[str, str, tuple[str, ...], str]] = {
    FiveHundredsAreNo: ("create", "after, resting", ("502 of HTML", "504 of HTML"), "REJECTED"),
    AnyCancelIsOurs: ("cancel", "before", ("another order's answer",), "CANCELED of an open order"),
    SendsAgain: ("create", "after, resting", ("no answer", "200 of nothing"), "2 orders at the exchange"),
    NoAnswerIsNo: ("create", "after, taken", ("no answer", "200 of nothing"), "REJECTED"),
    TroubleIsACancel: ("cancel", "before", ("no answer", "503 of HTML"), "CANCELED of an open order"),
    TroubleIsAnAmendment: ("amend", "before", ("no answer", "503 of HTML"), "said AMENDED"),
    TroubleIsNoAmendment: ("amend", "after", ("no answer", "200 of nothing"), "said no"),
    AmendsAgain: ("amend", "after", ("no answer", "200 of nothing"), "its quantity is 0.003"),
    NotFoundPagesAreAbsence: ("fetch", "unacknowledged", ("404 of HTML",), "NOT_FOUND"),
    AnythingIsAnEmptyList: ("fetch", "acknowledged", ("200 of HTML", "200 {}"), "NOT_FOUND"),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_gateway_with_a_rule_less_is_found_out(mutant: type) -> None:
    asked, variant, answers, words = MUTANTS[mutant]
    wanted = [Case("binance", asked, variant, one) for one in answers]
    outcomes = played(wanted, gateway_with(mutant))
    assert len(outcomes) == len(wanted)
    for outcome in outcomes:
        assert any(words in wrong for wrong in outcome.wrong), outcome
    assert summary(outcomes) == f"cases={len(wanted)} wrong={len(wanted)}"
    assert "0/1" in table(outcomes)
