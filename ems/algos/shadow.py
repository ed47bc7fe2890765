"""Orders that were never sent: what would have become of one resting at the touch.

A shadow joins the touch of one side behind everything displayed there, waits for the window of EXECUTION.md
4.2, and ends filled, outbid or unfilled. Its place in the queue follows the replay's model (EXECUTION.md 8):
trades at its price take from the front; of what leaves without trading, the share
`1 - (front / (front + back)) ** 3` stood behind it. The mid some seconds after a fill says what the fill was
worth. Two shadows, one on each side, run all the time; drift cancels in their average.

Floats throughout: prices in quote, sizes in base, times in seconds, results in bp. Nothing here is an amount
of money.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 5.0  # a shadow waits this long
AFTER_S = 5.0  # then the mid is compared with the price of the fill
HALF_LIFE = 200  # of the averages, in shadows or fills
PRIOR_FILLS = 20.0  # weight of the default against what is seen
PENDING_MAX = 64

_DECAY = 0.5 ** (1.0 / HALF_LIFE)


class Average:
    """An exponentially weighted mean that knows how much it has seen."""

    __slots__ = ("total", "weight")

    def __init__(self) -> None:
        self.total = 0.0
        self.weight = 0.0

    def add(self, value: float) -> None:
        self.total = self.total * _DECAY + value
        self.weight = self.weight * _DECAY + 1.0

    def mean(self, default: float, default_weight: float) -> float:
        """Return the mean, with a default that counts as so many observations."""
        return (self.total + default * default_weight) / (self.weight + default_weight)


class Shadow:
    """One hypothetical order after another at the touch of one side; +1 bids, -1 asks."""

    __slots__ = (
        "_back",
        "_filled",
        "_front",
        "_level",
        "_price",
        "_since",
        "_traded",
        "filled",
        "loss",
        "sign",
    )

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.filled = Average()  # share of shadows that fill within the window
        self.loss = Average()  # bp of price minus later mid, signed: what a fill lost against the mid
        self._price = 0.0  # 0: no shadow is out
        self._since = 0.0
        self._front = self._back = self._level = 0.0
        self._traded = 0.0  # at our price since the last book: explained shrinkage
        self._filled: deque[tuple[float, float]] = deque(maxlen=PENDING_MAX)  # (time, price) to be judged

    def trade(self, price: float, quantity: float, hits_us: bool, now: float) -> None:
        """See a public trade; `hits_us`: its taker trades with our side."""
        if not self._price or not hits_us:
            return
        distance = (self._price - price) * self.sign  # > 0: it went through our price
        if distance > 0.0:
            self._fill(now)
        elif distance == 0.0:
            self._traded += quantity
            self._front -= quantity
            if self._front < 0.0:
                self._fill(now)

    def book(self, touch: float, size: float, opposite: float, now: float) -> None:
        """See the touch of our side and the opposite one."""
        price = self._price
        if price:
            ahead = (touch - price) * self.sign
            if (price - opposite) * self.sign >= 0.0 or ahead < 0.0:
                # The market came through, or everyone else at our price is gone: we stood first, and the next
                # seller has us. (Cancels alone also empty a level; a shadow is then alone at the best.)
                if (price - opposite) * self.sign >= 0.0:
                    self._fill(now)
                else:
                    self._front = self._back = self._level = 0.0
            elif ahead > 0.0:
                self._end()  # outbid: a real order would be moved, so this one says nothing
            else:
                self._queue(size)
        if self._price and now - self._since >= WINDOW_S:
            self.filled.add(0.0)
            self._price = 0.0
        if not self._price:
            self._price, self._since = touch, now
            self._front = self._level = size
            self._back = self._traded = 0.0

    def _queue(self, size: float) -> None:
        change = size - self._level + self._traded
        self._traded = 0.0
        self._level = size
        if change >= 0.0:
            self._back += change
            return
        total = self._front + self._back
        if total > 0.0:
            front = max(self._front, 0.0)
            share = 1.0 - (front / total) ** 3
            from_back = min(-change * share, self._back)
            self._back -= from_back
            self._front = max(self._front + change + from_back, 0.0)

    def judge(self, mid: float, now: float) -> None:
        """Compare fills that are old enough with the present mid."""
        pending = self._filled
        while pending and now - pending[0][0] >= AFTER_S:
            _, price = pending.popleft()
            self.loss.add((price - mid) * self.sign / mid * 1e4)

    def own_fill(self, price: float, now: float) -> None:
        """Count a real fill of ours like a shadow's."""
        self._filled.append((now, price))

    def _fill(self, now: float) -> None:
        self.filled.add(1.0)
        self._filled.append((now, self._price))
        self._end()

    def _end(self) -> None:
        self._price = 0.0
        self._traded = 0.0
