"""What predicted calls cost and saved, and whether a tenant may afford more of them."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["PredictionLedger", "PredictionTotals"]

_TENANTS: Final = 4_096
_SLICES: Final = 12  # of the window
_ASSUMED_SECONDS: Final = 1.0  # a predicted call's time, until some have ended


@dataclass(frozen=True, slots=True)
class PredictionTotals:
    """All predicted calls since the process started, in seconds and in millionths of the budget's currency.

    What is neither hit nor missed is still under way. `hit_seconds` is what used calls had worked when the
    model asked for them; what was spent in all is that and `wasted_seconds`, and likewise for the costs.
    """

    started: int = 0
    hits: int = 0
    misses: int = 0
    hit_seconds: float = 0.0
    saved_seconds: float = 0.0
    wasted_seconds: float = 0.0
    hit_cost_micros: int = 0
    wasted_cost_micros: int = 0


class PredictionLedger:
    """Counts predicted calls, and holds the waste of each tenant within bounds. Belongs to one event loop.

    Over the last `window_seconds` a tenant's wasted tool time stays

    - below `max_waste_seconds`, and
    - below `max_waste_share` of the time of the calls that its models asked for, used predictions among them,
      where that is more than `free_seconds`, with which everybody starts.

    Calls under way count as if they will be wasted, each at the tenant's average, and at one second while
    there is none. So the bounds may be overrun only by calls that take longer than that.

    Args:
        max_waste_share: 0 means that nothing is ever started.
        max_waste_seconds: likewise.
        free_seconds: what may be wasted in a window before there is anything to be a share of.
        window_seconds: how long waste counts.
        clock: monotonic seconds.

    Raises:
        ValueError: a bound is negative, or the window is not above zero.
    """

    def __init__(
        self,
        *,
        max_waste_share: float = 0.25,
        max_waste_seconds: float = 30.0,
        free_seconds: float = 4.0,
        window_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (max_waste_share >= 0 and max_waste_seconds >= 0 and free_seconds >= 0 and window_seconds > 0):
            raise ValueError("bounds of waste must not be negative, and their window must be above zero")
        self._share, self._seconds, self._free = max_waste_share, max_waste_seconds, free_seconds
        self._slice = window_seconds / _SLICES
        self._clock = clock
        self._tenants: OrderedDict[str, _Account] = OrderedDict()
        self._started = self._hits = self._misses = 0
        self._hit_seconds = self._saved = self._wasted = 0.0
        self._hit_cost = self._wasted_cost = 0

    @property
    def totals(self) -> PredictionTotals:
        """All tenants' predicted calls so far."""
        return PredictionTotals(
            self._started,
            self._hits,
            self._misses,
            self._hit_seconds,
            self._saved,
            self._wasted,
            self._hit_cost,
            self._wasted_cost,
        )

    def may_start(self, tenant: str) -> bool:
        """Say whether one more predicted call of a tenant would be within bounds if it came to nothing."""
        if not self._share or not self._seconds:
            return False
        account = self._tenants.get(tenant)
        if account is None:
            return min(self._seconds, self._free) >= _ASSUMED_SECONDS
        account.advance(self._now())
        waste = account.wasted + (account.under_way + 1) * account.average
        return waste <= min(self._seconds, max(self._free, self._share * account.useful))

    def useful(self, tenant: str, seconds: float) -> None:
        """Note how long a tool worked on a call that the model had asked for; `hit` does so by itself."""
        self._account(tenant).add(useful=seconds)

    def started(self, tenant: str) -> None:
        """Note that a predicted call started; `hit` or `missed` must follow."""
        self._account(tenant).under_way += 1
        self._started += 1

    def hit(self, tenant: str, *, seconds: float, cost_micros: int = 0, saved_seconds: float = 0.0) -> None:
        """Note that the model asked for a predicted call, whose tool had then worked for `seconds`."""
        account = self._account(tenant)
        account.settle()
        account.add(useful=seconds, settled=1)
        self._hits += 1
        self._hit_seconds += seconds
        self._saved += saved_seconds
        self._hit_cost += cost_micros

    def missed(self, tenant: str, *, seconds: float, cost_micros: int = 0) -> None:
        """Note that a predicted call was for nothing, after its tool had worked for `seconds`."""
        account = self._account(tenant)
        account.settle()
        account.add(wasted=seconds, settled=1)
        self._misses += 1
        self._wasted += seconds
        self._wasted_cost += cost_micros

    def _now(self) -> int:
        return int(self._clock() // self._slice)

    def _account(self, tenant: str) -> _Account:
        account = self._tenants.get(tenant)
        if account is None:
            account = self._tenants[tenant] = _Account()
            if len(self._tenants) > _TENANTS:
                self._tenants.popitem(last=False)
        self._tenants.move_to_end(tenant)
        account.advance(self._now())
        return account


class _Slice:
    """A twelfth of the window."""

    __slots__ = ("number", "settled", "useful", "wasted", "worked")

    def __init__(self, number: int) -> None:
        self.number = number
        self.useful = 0.0
        self.wasted = 0.0
        self.worked = 0.0  # predicted calls that have ended, hit or missed
        self.settled = 0


class _Account:
    """One tenant's window."""

    __slots__ = ("_latest", "_slices", "average", "under_way", "useful", "wasted")

    def __init__(self) -> None:
        self._latest = 0
        self._slices: deque[_Slice] = deque()
        self.under_way = 0
        self.useful = 0.0
        self.wasted = 0.0
        self.average = _ASSUMED_SECONDS

    def advance(self, number: int) -> None:
        """Forget what has left the window by the slice of that number."""
        self._latest = number
        if self._slices and self._slices[0].number <= number - _SLICES:
            while self._slices and self._slices[0].number <= number - _SLICES:
                self._slices.popleft()
            # Summed afresh: taking away what was added would leave ever more rounding behind.
            self.useful = sum(each.useful for each in self._slices)
            self.wasted = sum(each.wasted for each in self._slices)
            self._take_average()

    def add(self, *, useful: float = 0.0, wasted: float = 0.0, settled: int = 0) -> None:
        """Book seconds in the latest slice; `settled` predicted calls took them."""
        if not self._slices or self._slices[-1].number != self._latest:
            self._slices.append(_Slice(self._latest))
        latest = self._slices[-1]
        latest.useful += useful
        latest.wasted += wasted
        self.useful += useful
        self.wasted += wasted
        if settled:
            latest.settled += settled
            latest.worked += useful + wasted
            self._take_average()

    def settle(self) -> None:
        """Count one call less as under way; one whose start was forgotten with its tenant never was."""
        self.under_way = max(self.under_way - 1, 0)

    def _take_average(self) -> None:
        settled = sum(each.settled for each in self._slices)
        self.average = sum(each.worked for each in self._slices) / settled if settled else _ASSUMED_SECONDS
