"""An answer without a model: what the calls gave, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from podium.orchestration.chat import CallRequest
from podium.orchestration.events import CallFailed, CallOutcome, CallSkipped, CallSucceeded

__all__ = ["plain_answer"]

_LONGEST = 1_000  # characters shown of one result
_MOST = 50  # calls


def plain_answer(text: str, calls: Sequence[tuple[CallRequest, CallOutcome | None]]) -> str:
    """Return what the model had written, then each call with its result or why there is none."""
    lines = [text.strip()] if text.strip() else []
    for request, outcome in calls[:_MOST]:
        match outcome:
            case CallSucceeded(result_json=result):
                shown = result.decode("utf-8", "replace")
                lines.append(f"{request.tool}: {shown if len(shown) <= _LONGEST else shown[:_LONGEST] + '...'}")
            case CallFailed(message=message):
                lines.append(f"Missing: {request.tool}, {message}.")
            case CallSkipped(because=because):
                lines.append(f"Missing: {request.tool}, {because}.")
            case None:
                lines.append(f"Missing: {request.tool}, it did not end in time.")
    if len(calls) > _MOST:
        lines.append(f"And {len(calls) - _MOST} more calls.")
    return "\n".join(lines)
