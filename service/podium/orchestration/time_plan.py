"""How a run shares out the time that it has: work until the cutoff, then the answer."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable

__all__ = ["TimePlan", "TurnTimes", "quantile"]

_KEPT = 64  # turns of each model
_MODELS = 1_024
_UNKNOWN_SHARE = 0.2  # of a run's time, for the answer of a model that never gave one
_LARGEST_SHARE = 0.5
_SLACK = 1.25  # an answer may take a little longer than nine of ten did
_LEAST_SECONDS = 0.02
_QUESTION_SECONDS = 0.1
_QUESTION_SHARE = 0.05


def quantile(values: Iterable[float], share: float) -> float:
    """Return the nearest-rank quantile: the smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


class TurnTimes:
    """How long the latest answering turns of each model took. One for a process."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, model: str, seconds: float) -> None:
        """Remember how long a turn took that gave the answer."""
        found = self._latest.get(model)
        if found is None:
            found = self._latest[model] = deque(maxlen=_KEPT)
            if len(self._latest) > _MODELS:
                self._latest.popitem(last=False)
        found.append(seconds)

    def p90(self, model: str) -> float | None:
        """Return the 90th percentile in seconds; None while nothing is known."""
        found = self._latest.get(model)
        return quantile(found, 0.9) if found else None


class TimePlan:
    """The instants of one run, in seconds of its clock.

    Attributes:
        start: when it began.
        deadline: when it must have ended.
    """

    __slots__ = ("_model", "_times", "deadline", "start")

    def __init__(self, start: float, deadline: float, model: str, times: TurnTimes) -> None:
        self.start, self.deadline = start, deadline
        self._model, self._times = model, times

    @property
    def cutoff(self) -> float:
        """When work must end, so that the model can still answer.

        What is kept back is 1.25 times the 90th percentile of the model's latest answers, or a fifth of
        the run while there were none; never more than half of it.
        """
        whole = self.deadline - self.start
        usual = self._times.p90(self._model)
        kept = whole * _UNKNOWN_SHARE if usual is None else max(usual * _SLACK, _LEAST_SECONDS)
        return self.deadline - min(kept, whole * _LARGEST_SHARE)

    @property
    def question_end(self) -> float:
        """When the latest question ends: a little before the cutoff, so that its default comes before that."""
        return self.cutoff - min(_QUESTION_SECONDS, (self.deadline - self.start) * _QUESTION_SHARE)
