"""The engine: events in, effects out. It decides; it never does.

Rules:
1. `handle(event, now)` returns a `Turn`: what to write down, and what to do once that is on disk. Nothing
   else leaves.
2. An order reaches a venue only as a `Send` in the same turn as the record of its intent (R1).
3. Everything here can be rebuilt from the store: what is kept only in memory (look-ups, books) is
   learned again after a restart. Progress is derived from orders, never counted.
4. A refusal is a value (`Problem`), not an exception. Exceptions mean that a promise inside our code is
   broken.

The parts, in the order in which a command meets them: `submissions` with `waiting`; `admission` and
`selfmatch` for plain orders, `plans` (on what `sight` shows, as `drafts`) and `quotes` for the rest,
`refusals` in words; `parents` with `legs` and, for new plans, `replans`; `orders`; `cancels` beside them;
`queries` and `costs` write down what came of it; `work` is the memory they share, `account` what is known of
an exchange account, `turn` the way out. `switchboard` holds them together.
"""

from ems.engine.switchboard import Engine
from ems.engine.turn import Turn
from ems.engine.work import KEEP_ENDED_S

__all__ = ["KEEP_ENDED_S", "Engine", "Turn"]
