"""`podium.v1.ClarificationService` over the orchestrator."""

from __future__ import annotations

import base64
import binascii

from podium.errors import InvalidRequest, NotFound
from podium.orchestration.orchestrator import Orchestrator
from podium.orchestration.view import QuestionView
from podium.rpc.caller import CallerSource
from podium.rpc.clarification_messages import clarification_message
from podium.v1 import clarification_pb2 as pb
from podium.v1.clarification_pb2_grpc import ClarificationServiceServicer

__all__ = ["ClarificationServicer"]

_DEFAULT_PAGE = 50
_Place = tuple[int, str, str]


class ClarificationServicer(ClarificationServiceServicer):
    """Shows what runs ask and takes the answers; see the proto for what each method promises."""

    def __init__(self, orchestrator: Orchestrator, caller: CallerSource) -> None:
        self._orchestrator = orchestrator
        self._caller = caller

    async def ListClarifications(
        self, request: pb.ListClarificationsRequest, context: object
    ) -> pb.ListClarificationsResponse:
        """Return a page of the caller's open questions, oldest first."""
        after = _decode_token(request.page_token)
        size = request.page_size or _DEFAULT_PAGE
        found = {
            _place(run_id, question): question
            for run_id, question in self._orchestrator.questions(self._caller().submitter)
            if not request.run_id or run_id == request.run_id
        }
        places = sorted(place for place in found if place > after)
        page = places[:size]
        return pb.ListClarificationsResponse(
            clarifications=[clarification_message(place[1], found[place]) for place in page],
            next_page_token=_encode_token(page[-1]) if len(places) > size else "",
        )

    async def GetClarification(
        self, request: pb.GetClarificationRequest, context: object
    ) -> pb.GetClarificationResponse:
        """Return one question."""
        view = await self._orchestrator.get(request.run_id, self._caller().submitter)
        question = view.questions.get(request.question_id)
        if question is None:
            raise NotFound(
                f"this run has no question {request.question_id!r}",
                resource_type="podium.v1.Clarification",
                resource_name=request.question_id,
            )
        return pb.GetClarificationResponse(clarification=clarification_message(view.run_id, question))

    async def AnswerClarification(
        self, request: pb.AnswerClarificationRequest, context: object
    ) -> pb.AnswerClarificationResponse:
        """Answer one question."""
        by = self._caller().submitter
        await self._orchestrator.answer(request.run_id, request.question_id, request.answer_json, by)
        return pb.AnswerClarificationResponse()

    async def SkipClarification(
        self, request: pb.SkipClarificationRequest, context: object
    ) -> pb.SkipClarificationResponse:
        """Settle one question without an answer."""
        await self._orchestrator.skip(request.run_id, request.question_id, self._caller().submitter)
        return pb.SkipClarificationResponse()


def _place(run_id: str, question: QuestionView) -> _Place:
    return question.ask_ns, run_id, question.asked.question_id


def _encode_token(place: _Place) -> str:
    time_ns, run_id, question_id = place
    return base64.urlsafe_b64encode(f"question:{time_ns}:{run_id}:{question_id}".encode()).decode().rstrip("=")


def _decode_token(token: str) -> _Place:
    """Return the place after which a page begins."""
    if not token:
        return 0, "", ""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
        kind, time_ns, run_id, question_id = text.split(":")
        place = int(time_ns), run_id, question_id
    except (binascii.Error, ValueError):
        kind, place = "", (0, "", "")
    if kind != "question":
        raise InvalidRequest("page_token is not one that this server gave; start again without it")
    return place
