"""Which of the tools that the model was asked about fit: decided when all first words are there.

Two judges are heard: the model's "yes" or "no", and the matcher's comparison of words. They err
differently, so their log-odds are added up. The weights are provisional: they are to be fitted on
the development set once a trained adapter is final.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from podium.inference.planner.call_lines import NO, YES
from podium.inference.planner.lines import Head

__all__ = ["Heads", "log_odds"]

_MODEL, _MATCHER, _BIAS = 1.0, 0.5, 0.0
_SUREST = 12.0  # log-odds beyond which a probability is only rounding


def log_odds(head: Head) -> float:
    """Return the log-odds of "yes" that the first word tells, or of the word alone when it has no probability."""
    if head.word not in (YES, NO):
        return -_SUREST  # nothing that the model was taught, however unsure it was of that
    sure = 0.999 if head.sure is None else head.sure
    odds = math.log(max(sure, 1e-9) / max(1.0 - sure, 1e-9))
    return max(-_SUREST, min(_SUREST, odds if head.word == YES else -odds))


class Heads:
    """The first words of one request's answers.

    Args:
        matched: the matcher's log-odds of each tool that the model is asked about.
    """

    def __init__(self, matched: Sequence[float]) -> None:
        self._matched = tuple(matched)
        self._yes: list[float | None] = [None] * len(matched)
        self._left = len(matched)
        self._complete = asyncio.Event()

    async def fits(self, place: int, head: Head) -> bool:
        """Note a first word, wait for the others, and tell whether the tool at `place` is meant."""
        self._yes[place] = _MODEL * log_odds(head) + _MATCHER * self._matched[place] + _BIAS
        self._count()
        await self._complete.wait()
        return self.odds(place) >= 0.0

    def odds(self, place: int) -> float:
        """Return the joint log-odds that a tool is meant, by what is known."""
        found = self._yes[place]
        return -_SUREST if found is None else found

    def done(self, place: int) -> None:
        """Note that an answer has ended, with a first word or without."""
        if self._yes[place] is None:
            self._yes[place] = -_SUREST
            self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._complete.set()
