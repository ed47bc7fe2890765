"""What a venue said, and when that is a no.

Three outcomes, decided by (sent?, HTTP status, recognised code), never by an exception's class:

* not sent, provably             -> `Rejected(sent=False)`
* a coded answer on these lists  -> `Rejected`, with the venue's own words
* everything else                -> `OutcomeUnknown`: the venue may have the order, look it up

The lists are exact. A message that is new to us, a gateway's 5xx, HTML, half an answer, a duplicate client id
(the first one arrived!) are all missing from them on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ems.core.messages import Refusal


@dataclass(frozen=True, slots=True)
class Said:
    """One coded error in a venue's own words."""

    code: str
    message: str


# (code, message) -> Refusal; message None: the code alone decides, its words vary (they carry numbers).
Refusals = Mapping[tuple[str, str | None], Refusal]


def refusal_of(said: tuple[Said, ...], refusals: Refusals) -> Refusal | None:
    """Return what these errors mean if every one of them is on the list, else None: we do not know."""
    found: Refusal | None = None
    for one in said:
        refusal = refusals.get((one.code, one.message)) or refusals.get((one.code, None))
        if refusal is None:
            return None
        found = found or refusal
    return found


def of_orders(refusals: Refusals, but: frozenset[str]) -> dict[tuple[str, str | None], Refusal]:
    """Return what of a venue's general refusals also refuses an order: all but these codes.

    They come from the front, and a proxy that repeats a request may get one for the repetition while the
    first went through: too little to call an order refused.
    """
    return {said: refusal for said, refusal in refusals.items() if said[0] not in but}


def coded(*codes: int) -> list[tuple[str, str | None]]:
    """Return these codes, whatever their words."""
    return [(str(code), None) for code in codes]
