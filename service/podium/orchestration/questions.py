"""The questions of one run: each waits for its answer, its default, or its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from podium.errors import FailedPrecondition, FieldViolation, InvalidRequest, NotFound
from podium.orchestration.events import AnswerSource, QuestionAsked, QuestionKind, QuestionSettled
from podium.orchestration.run_log import RunLog
from podium.packed_json import packed

__all__ = ["Answer", "Questions"]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a question was settled; `value` is None unless there is an answer."""

    source: AnswerSource
    value: Any = None


@dataclass(slots=True)
class _Open:
    asked: QuestionAsked
    schema: dict[str, Any]
    subject: str
    answer: asyncio.Future[Answer]


class Questions:
    """Asks, and takes answers.

    Args:
        log: the run's log.
        clock: seconds of the run's clock; instants of time limits are on it.
        now_ns: nanoseconds since the epoch, for the moment that callers are told.
    """

    def __init__(self, log: RunLog, clock: Callable[[], float], now_ns: Callable[[], int]) -> None:
        self._log, self._clock, self._now_ns = log, clock, now_ns
        self._open: dict[str, _Open] = {}
        self._asked = 0

    @property
    def open(self) -> int:
        """How many wait for an answer."""
        return len(self._open)

    async def ask(
        self,
        kind: QuestionKind,
        prompt: str,
        *,
        schema: dict[str, Any],
        until: float,
        call_id: str = "",
        default: Any = None,
        subject: str = "",
    ) -> Answer:
        """Put a question and wait until it is settled; `until` is its time limit, `subject` what it is about.

        Without an answer by then its default counts, and without a default (None) it has expired.
        """
        question_id = f"q{self._asked}"
        self._asked += 1
        left = max(until - self._clock(), 0.0)
        asked = QuestionAsked(
            question_id,
            call_id,
            kind,
            prompt,
            packed(schema),
            b"" if default is None else packed(default),
            self._now_ns() + round(left * 1e9),
        )
        waiting = _Open(asked, schema, subject, asyncio.get_running_loop().create_future())
        self._open[question_id] = waiting
        try:
            await self._log.append(asked)
            try:
                async with asyncio.timeout_at(until):
                    answer = await waiting.answer
            except TimeoutError:
                answer = Answer(AnswerSource.EXPIRED) if default is None else Answer(AnswerSource.DEFAULT, default)
        except asyncio.CancelledError:
            await self._log.append(QuestionSettled(question_id, AnswerSource.SKIPPED))
            raise
        finally:
            self._open.pop(question_id, None)
        answered = answer.source in (AnswerSource.ANSWERED, AnswerSource.DEFAULT)
        value = packed(answer.value) if answered else b""
        await self._log.append(QuestionSettled(question_id, answer.source, value))
        return answer

    def check(self, question_id: str, answer_json: bytes) -> tuple[QuestionAsked, str, Any]:
        """Return the question, what it is about, and the answer, if that is a possible one.

        Raises:
            InvalidRequest: it is not JSON, or not what the question's schema wants; names the field.
            NotFound: the run has no such question.
            FailedPrecondition: the question needs no answer any more.
        """
        found = self._find(question_id)
        try:
            value = orjson.loads(answer_json)
        except orjson.JSONDecodeError as error:
            raise _wrong("answer_json", f"is not JSON: {error}") from None
        problem = next(iter(Draft202012Validator(found.schema).iter_errors(value)), None)
        if problem is not None:
            path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem.absolute_path)
            raise _wrong(f"answer_json{path}", problem.message[:300])
        return found.asked, found.subject, value

    def answer(self, question_id: str, value: Any) -> None:
        """Give an answer that `check` has found possible. Raises like `check`."""
        self._find(question_id).answer.set_result(Answer(AnswerSource.ANSWERED, value))

    def skip(self, question_id: str) -> None:
        """Leave a question without an answer. Raises like `check`."""
        self._find(question_id).answer.set_result(Answer(AnswerSource.SKIPPED))

    def _find(self, question_id: str) -> _Open:
        found = self._open.get(question_id)
        if found is not None and not found.answer.done():
            return found
        if question_id in {f"q{number}" for number in range(self._asked)}:
            raise FailedPrecondition(f"question {question_id} needs no answer any more; nothing was changed")
        raise NotFound(
            f"this run has no question {question_id!r}",
            resource_type="podium.v1.Clarification",
            resource_name=question_id,
        )


def _wrong(field: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {problem}", violations=[FieldViolation(field, problem)])
