"""Questions of runs as `podium.v1` messages."""

from __future__ import annotations

from typing import Final

from podium.orchestration.events import AnswerSource, QuestionKind
from podium.orchestration.view import QuestionView
from podium.rpc.times import time_message
from podium.v1 import clarification_pb2 as pb

__all__ = ["QUESTION_KINDS", "SETTLED_STATES", "clarification_message"]

QUESTION_KINDS: Final = {kind: pb.QuestionKind.Value(f"QUESTION_KIND_{kind.name}") for kind in QuestionKind}
SETTLED_STATES: Final = {
    AnswerSource.ANSWERED: pb.CLARIFICATION_STATE_ANSWERED,
    AnswerSource.DEFAULT: pb.CLARIFICATION_STATE_DEFAULTED,
    AnswerSource.SKIPPED: pb.CLARIFICATION_STATE_SKIPPED,
    AnswerSource.EXPIRED: pb.CLARIFICATION_STATE_EXPIRED,
}


def clarification_message(run_id: str, question: QuestionView, *, payloads: bool = True) -> pb.Clarification:
    """Return a question as a message; without `payloads`, its schema, default and answer are left out."""
    asked, settled = question.asked, question.settled
    message = pb.Clarification(
        run_id=run_id,
        question_id=asked.question_id,
        call_id=asked.call_id,
        kind=QUESTION_KINDS[asked.kind],
        prompt=asked.prompt,
        create_time=time_message(question.ask_ns),
        expire_time=time_message(asked.expire_ns),
        state=SETTLED_STATES[settled.source] if settled else pb.CLARIFICATION_STATE_OPEN,
    )
    if payloads:
        message.schema_json, message.default_json = asked.schema_json, asked.default_json
        if settled:
            message.answer_json = settled.answer_json
    return message
