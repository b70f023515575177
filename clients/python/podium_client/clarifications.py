"""What runs ask their callers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from podium.v1 import clarification_pb2
from podium_client._wire import enum_of, parse_arguments, parse_result, time_in

__all__ = ["Clarification", "ClarificationPage", "ClarificationState", "QuestionKind"]


class QuestionKind(StrEnum):
    """What a question is about. `UNSPECIFIED` also stands for a kind that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    CHOICE = "CHOICE"
    TEXT = "TEXT"
    CONFIRM = "CONFIRM"
    VALUE = "VALUE"
    BUDGET = "BUDGET"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the kind with this number on the wire."""
        return enum_of(cls, clarification_pb2.QuestionKind, "QUESTION_KIND_", number)


class ClarificationState(StrEnum):
    """Where a question stands. `UNSPECIFIED` also stands for a state that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    OPEN = "OPEN"
    ANSWERED = "ANSWERED"
    DEFAULTED = "DEFAULTED"
    SKIPPED = "SKIPPED"
    EXPIRED = "EXPIRED"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the state with this number on the wire."""
        return enum_of(cls, clarification_pb2.ClarificationState, "CLARIFICATION_STATE_", number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clarification:
    """A question that a run put to its caller. `call_id` waits for the answer; the whole run does when it is empty."""

    run_id: str
    question_id: str
    call_id: str
    kind: QuestionKind
    prompt: str
    create_time: datetime | None
    expire_time: datetime | None
    state: ClarificationState
    raw: clarification_pb2.Clarification = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: clarification_pb2.Clarification) -> Self:
        """Return the view of the message."""
        return cls(
            run_id=raw.run_id,
            question_id=raw.question_id,
            call_id=raw.call_id,
            kind=QuestionKind.of(raw.kind),
            prompt=raw.prompt,
            create_time=time_in(raw, "create_time"),
            expire_time=time_in(raw, "expire_time"),
            state=ClarificationState.of(raw.state),
            raw=raw,
        )

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the answer."""
        return parse_arguments(self.raw.schema_json)

    @property
    def default(self) -> Any:
        """The answer that counts when none came in time, parsed; None when there is none."""
        return parse_result(self.raw.default_json)

    @property
    def answer(self) -> Any:
        """The answer that counts, parsed; None when there is none."""
        return parse_result(self.raw.answer_json)


@dataclass(frozen=True, slots=True)
class ClarificationPage:
    """Some questions, oldest first; pass `next_page_token` on for more, empty when there are none."""

    clarifications: tuple[Clarification, ...]
    next_page_token: str

    @classmethod
    def of(cls, raw: clarification_pb2.ListClarificationsResponse) -> Self:
        """Return the view of the message."""
        return cls(tuple(Clarification.of(each) for each in raw.clarifications), raw.next_page_token)
