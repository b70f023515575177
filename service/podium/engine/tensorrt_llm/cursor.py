"""Deltas of one sequence from the engine's cumulative output, with our own stop rules.

The engine's lists grow in place, its own deltas are stale for all sequences but one, and at a stop
the list shrinks. So the cursor keeps its own count and copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.engine.job import JobOutput, JobSpec, TokenLogprob
from podium.errors import Internal, PodiumError, Unavailable
from podium.inference.engine import FinishReason

__all__ = ["SequenceCursor", "unexpected_finish"]

_FINISHES = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "timeout": FinishReason.TIMEOUT,
}
_MAX_TEXT = 64


class SequenceCursor:
    """Where one sequence of one request has got to.

    Attributes:
        produced: ids handed out.
        ended: whether it has its finish; nothing follows.
    """

    def __init__(self, index: int, spec: JobSpec, eos_token_id: int, stop_token_ids: frozenset[int]) -> None:
        self._index = index
        self._spec = spec
        self._eos = eos_token_id
        self._stops = spec.stop_token_ids if spec.ignore_eos else spec.stop_token_ids | stop_token_ids
        self._seen = 0
        self.produced = 0
        self.ended = False

    def take(self, output: Any, cached_tokens: int) -> JobOutput | None:
        """Return what a `CompletionOutput` has beyond the last one, or None when that is nothing."""
        if self.ended:
            return None
        total = len(output.token_ids)
        ids = list(output.token_ids[self._seen : total])
        logprobs = None
        if self._spec.logprobs is not None:
            logprobs = _logprobs(ids, output.logprobs[self._seen : total], self._spec.logprobs)
        self._seen = max(self._seen, total)
        made = self._cut(ids)
        if made.finish is None and output.finish_reason is not None:
            made = self._engine_finish(made.token_ids, output)
        made.sequence = self._index
        made.cached_tokens = cached_tokens
        made.logprobs = None if logprobs is None else logprobs[: len(made.token_ids)]
        self.produced += len(made.token_ids)
        # An error is for all sequences: whoever follows the request ends them.
        self.ended = made.finish is not None
        return made if made.token_ids or self.ended or made.error is not None else None

    def finish(self, reason: FinishReason) -> JobOutput | None:
        """End the sequence from our side; None when it has ended already."""
        if self.ended:
            return None
        self.ended = True
        return JobOutput([], finish=reason, sequence=self._index)

    def _cut(self, ids: list[int]) -> JobOutput:
        """An end-of-sequence id stays as the last one, a stop id is cut off, as on every engine of ours."""
        for place, token in enumerate(ids):
            if token == self._eos and not self._spec.ignore_eos:
                return JobOutput(ids[: place + 1], finish=FinishReason.STOP)
            if token in self._stops:
                kept = place + 1 if self._spec.include_stop else place
                return JobOutput(ids[:kept], finish=FinishReason.STOP, matched_stop=token)
        return JobOutput(ids)

    def _engine_finish(self, ids: list[int], output: Any) -> JobOutput:
        reason = str(output.finish_reason)
        known = _FINISHES.get(reason)
        if known is None:
            return JobOutput([], error=unexpected_finish(reason))
        matched = output.stop_reason if known is FinishReason.STOP else None
        return JobOutput(ids, finish=known, matched_stop=matched if isinstance(matched, int) else None)


def unexpected_finish(reason: str) -> PodiumError:
    """Return the error for a finish reason that is none of ours."""
    if reason == "cancelled":
        # Our own aborts have ended the sequence before this comes.
        return Unavailable("The engine gave this request up; try again.", retry_after=1.0)
    return Internal(
        "The engine ended a generation for a reason that is not in the contract.",
        metadata={"finish_reason": reason[:_MAX_TEXT]},
    )


def _logprobs(ids: list[int], values: Sequence[Any], alternatives: int) -> list[TokenLogprob]:
    """Read either form: plain numbers, or mappings of token id to an object with `logprob`."""
    if len(values) != len(ids):
        raise Internal("The engine sent log probabilities that do not match its tokens.")
    made = []
    for token, value in zip(ids, values, strict=True):
        if not isinstance(value, Mapping):
            made.append(TokenLogprob(token, float(value)))
            continue
        pairs = {int(other): _number(entry) for other, entry in value.items()}
        top = tuple(sorted(pairs.items(), key=lambda pair: -pair[1])[:alternatives])
        made.append(TokenLogprob(token, pairs.get(token, float("-inf")), top))
    return made


def _number(entry: Any) -> float:
    """Read `Logprob(logprob, rank)` or a plain number."""
    return float(entry if isinstance(entry, int | float) else entry.logprob)
