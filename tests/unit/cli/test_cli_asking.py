"""`podium run --ask` on a real terminal: questions are put to the person, and the answers sent."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from podium.v1 import clarification_pb2, orchestrator_pb2, run_pb2
from unit.client.fake_podium import FakePodium, event, refusal, sample_events, serving


class Asks(FakePodium):
    """A run that ends once its question is settled: by an answer, or when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.settled = asyncio.Event()
        self.default = b'"Germany"'
        self.bad_answers = 0

    async def ExecuteStream(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  the contract's
        await self._enter(request, context)
        asked = run_pb2.QuestionAsked(
            question_id="q0", prompt="Which Berlin?", schema_json=b'{"enum": ["Germany", "Ohio"]}'
        )
        asked.default_json = self.default
        for each in (*sample_events()[:2], event(3, 5, question_asked=asked)):
            yield orchestrator_pb2.ExecuteStreamResponse(event=each)
        await self.settled.wait()
        settled = event(4, 9, question_settled=run_pb2.QuestionSettled(question_id="q0"))
        ended = run_pb2.RunFinished(state=run_pb2.RUN_STATE_SUCCEEDED, answer="All is said.")
        for each in (settled, event(5, 10, run_finished=ended)):
            yield orchestrator_pb2.ExecuteStreamResponse(event=each)

    async def AnswerClarification(self, request: Any, context: Any) -> Any:  # noqa: N802  the contract's
        if self.bad_answers:
            self.bad_answers -= 1
            wrong = error_details_pb2.BadRequest.FieldViolation(field="answer_json", description="is not one of those")
            bad = error_details_pb2.BadRequest(field_violations=[wrong])
            self.refusals = [refusal(grpc.StatusCode.INVALID_ARGUMENT, "no", "INVALID_REQUEST", bad)]
        response = await super().AnswerClarification(request, context)
        self.settled.set()
        return response

    async def SkipClarification(self, request: Any, context: Any) -> Any:  # noqa: N802  the contract's
        response = await super().SkipClarification(request, context)
        self.settled.set()
        return response


class Terminal:
    """The command under a terminal of its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.text = ""
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Terminal:
        self._ours, theirs = pty.openpty()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "podium", "run", "x", "--ask", "-a", self.address),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._ours, self._drain)
        return self

    async def __aexit__(self, *args: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)

    def _drain(self) -> None:
        try:
            self.text += os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # the other end is closed
            asyncio.get_running_loop().remove_reader(self._ours)
        self._changed.set()

    async def sees(self, what: str, *, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.text.count(what) < times:
                self._changed.clear()
                await self._changed.wait()

    def types(self, line: str) -> None:
        os.write(self._ours, line.encode() + b"\n")

    async def ends(self) -> int:
        """Return the exit code, once everything was written."""
        async with asyncio.timeout(20):
            code = await self._process.wait()
        self._drain()
        return code


def answers(fake: FakePodium) -> list[bytes]:
    return [r.answer_json for r in fake.requests if isinstance(r, clarification_pb2.AnswerClarificationRequest)]


@pytest.mark.parametrize(("typed", "sent"), [("Ohio", b'"Ohio"'), ("", b'"Germany"')])
async def test_what_is_typed_is_the_answer_and_an_empty_line_the_default(typed: str, sent: bytes) -> None:
    async with serving(Asks()) as fake, Terminal(fake.address) as terminal:
        await terminal.sees('[Germany | Ohio; empty for "Germany"] > ')
        terminal.types(typed)
        assert await terminal.ends() == 0
    assert answers(fake) == [sent]
    assert fake.requests[0].spec.may_ask  # type: ignore[attr-defined]
    assert "Which Berlin?" in terminal.text
    assert "All is said." in terminal.text


async def test_an_empty_line_without_a_default_skips() -> None:
    fake = Asks()
    fake.default = b""
    async with serving(fake), Terminal(fake.address) as terminal:
        await terminal.sees("[Germany | Ohio; empty to skip] > ")
        terminal.types("")
        assert await terminal.ends() == 0
    assert answers(fake) == []
    assert isinstance(fake.requests[-1], clarification_pb2.SkipClarificationRequest)


async def test_an_answer_that_does_not_fit_is_asked_for_again() -> None:
    fake = Asks()
    fake.bad_answers = 1
    async with serving(fake), Terminal(fake.address) as terminal:
        await terminal.sees("] > ")
        terminal.types("Paris")
        await terminal.sees("is not one of those")
        await terminal.sees("] > ", times=2)
        terminal.types("Ohio")
        assert await terminal.ends() == 0
    assert answers(fake) == [b'"Paris"', b'"Ohio"']


async def test_a_question_that_is_settled_elsewhere_is_left() -> None:
    async with serving(Asks()) as fake, Terminal(fake.address) as terminal:
        await terminal.sees("] > ")
        fake.settled.set()
        assert await terminal.ends() == 0
    assert answers(fake) == []
    assert "All is said." in terminal.text


async def test_ctrl_c_at_a_question_cancels_the_run() -> None:
    class Obeys(Asks):
        async def CancelRun(self, request: Any, context: Any) -> Any:  # noqa: N802  the contract's
            self.settled.set()
            return await super().CancelRun(request, context)

    async with serving(Obeys()) as fake, Terminal(fake.address) as terminal:
        await terminal.sees("] > ")
        terminal._process.send_signal(2)
        assert await terminal.ends() == 130
    assert fake.cancel_seen.is_set()
