"""How likely a tool is meant, by the first word that the model writes about it.

Two judges are heard: the model's "yes" or "no", and the matcher's comparison of words. They err
differently, so their log-odds are added up. The weights are those of a logistic regression on the
tuning set; the bias is higher than its, since a tool that is not meant still has to compete with one
that is (`competing`).
"""

from __future__ import annotations

import math

from podium.inference.planner.call_lines import NO, YES
from podium.inference.planner.lines import Head

__all__ = ["joint_odds", "log_odds"]

_MODEL, _MATCHER, _BIAS = 1.1, 0.4, 1.5
_SUREST = 12.0  # log-odds beyond which a probability is only rounding


def log_odds(head: Head) -> float:
    """Return the log-odds of "yes" that the first word tells, or of the word alone when it has no probability."""
    if head.word not in (YES, NO):
        return -_SUREST  # nothing that the model was taught, however unsure it was of that
    sure = 0.999 if head.sure is None else head.sure
    odds = math.log(max(sure, 1e-9) / max(1.0 - sure, 1e-9))
    return max(-_SUREST, min(_SUREST, odds if head.word == YES else -odds))


def joint_odds(head: Head, matched: float) -> float:
    """Return the log-odds that a tool is meant, by the model's first word and the matcher's log-odds."""
    return _MODEL * log_odds(head) + _MATCHER * matched + _BIAS
