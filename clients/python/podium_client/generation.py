"""Talking to a model directly: the messages in, and how the generation ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Self

from podium.v1 import inference_pb2
from podium_client.runs import TurnFinishReason, Usage

__all__ = ["Generation", "Message"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a generation ended: why, what it cost, how long it took, which model wrote it."""

    finish_reason: TurnFinishReason
    usage: Usage
    model: str
    time_to_first_text: timedelta
    time: timedelta

    @classmethod
    def of(cls, raw: inference_pb2.GenerateFinished) -> Self:
        """Return the view of the message."""
        return cls(
            finish_reason=TurnFinishReason.of(raw.finish_reason),
            usage=Usage.of(raw.usage),
            model=raw.model,
            time_to_first_text=raw.timings.first_text.ToTimedelta(),
            time=raw.timings.total.ToTimedelta(),
        )
