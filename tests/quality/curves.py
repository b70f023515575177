"""What cannot be said in one figure: how well confidence tells right from wrong, and how times are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quality.scoring import Outcome, Specs, match, percentile

__all__ = ["QUANTILES", "judged_calls", "latency", "reliability"]

_BINS = 10
QUANTILES = tuple(range(0, 101, 2))


def judged_calls(outcomes: Sequence[Outcome], specs: Mapping[str, Specs]) -> list[tuple[float, bool]]:
    """Return the confidence of each made call that has one, and whether the call was right.

    Requests that leave an argument unsaid stay out: whether a call was right there is a matter of view.
    """
    judged = []
    for outcome in outcomes:
        if outcome.case.kind == "clarify":
            continue
        exact = match(outcome, specs[outcome.case.pack]).exact
        judged += [(c.confidence, index in exact) for index, c in enumerate(outcome.calls) if c.confidence is not None]
    return judged


def reliability(judged: Sequence[tuple[float, bool]]) -> dict[str, Any] | None:
    """Return the reliability of confidences in ten bins of equal width; None when there are none.

    `ece`, the expected calibration error, is the mean distance of a bin's confidence from its share of
    right calls, weighted by calls (Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using
    Bayesian Binning").
    """
    if not judged:
        return None
    sorted_in: list[list[tuple[float, bool]]] = [[] for _ in range(_BINS)]
    for confidence, good in judged:
        sorted_in[min(int(max(confidence, 0.0) * _BINS), _BINS - 1)].append((confidence, good))
    bins = [
        {
            "from": index / _BINS,
            "to": (index + 1) / _BINS,
            "calls": len(part),
            "confidence": round(sum(confidence for confidence, _ in part) / len(part), 3),
            "right": round(sum(good for _, good in part) / len(part), 3),
        }
        for index, part in enumerate(sorted_in)
        if part
    ]
    gaps = (abs(sum(c for c, _ in part) - sum(good for _, good in part)) for part in sorted_in)
    return {"calls": len(judged), "ece": round(sum(gaps) / len(judged), 3), "bins": bins}


def latency(outcomes: Sequence[Outcome]) -> list[float | None] | None:
    """Return the milliseconds to the first call at each of `QUANTILES`; None without calls."""
    seconds = [outcome.calls[0].seconds for outcome in outcomes if outcome.calls]
    return [percentile(seconds, quantile) for quantile in QUANTILES] if seconds else None
