"""Questions of runs over a real server, through generated stubs.

Runs end with their process until they are stored durably, so no question here outlives a restart.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import orjson
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from podium.v1 import clarification_pb2 as cpb
from podium.v1 import orchestrator_pb2 as pb
from podium.v1 import run_pb2
from podium_client import AsyncPodium
from support.fakes import FakeTools, call, scripted, text
from support.run_server import RunServer, serving_runs
from support.runs import ref

TRIP = {"type": "object", "properties": {"nights": {"type": "integer"}}, "required": ["nights"]}


def fields_of(error: grpc.aio.AioRpcError) -> list[str]:
    """Return the paths of the fields that an error names."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    bad = error_details_pb2.BadRequest()
    assert status is not None
    assert any(detail.Unpack(bad) for detail in status.details)
    return [violation.field for violation in bad.field_violations]


async def questions(server: RunServer, number: int) -> list[cpb.Clarification]:
    """Wait until so many are open."""
    async with asyncio.timeout(20):
        while True:
            page = await server.questions.ListClarifications(cpb.ListClarificationsRequest(), timeout=10)
            if len(page.clarifications) >= number:
                return list(page.clarifications)
            await asyncio.sleep(0.01)


async def test_questions_are_listed_answered_in_any_order_and_settled_once() -> None:
    """Two questions, answered last first; a wrong answer names its field; each tool's body runs once."""
    ran: list[Any] = []

    async def work(arguments: dict[str, Any]) -> Any:
        ran.append(arguments["x"])
        return arguments["x"]

    model = scripted(
        {
            "events": [
                call("ask_user", question="City?"),
                call("ask_user", question="Trip?", kind="value", schema=TRIP),
                call("work", x=ref("c0")),
                call("work", x=ref("c1", "/nights")),
                call("work", x="free"),
            ]
        },
        {"events": [text("{{c0_2}}, {{c0_3}} nights, {{c0_4}}")]},
    )
    async with serving_runs(model, FakeTools(work=work)) as server:
        request = pb.ExecuteRequest(spec=run_pb2.RunSpec(input="go", may_ask=True))
        run = asyncio.ensure_future(server.runs.Execute(request, timeout=30))
        city, trip = await questions(server, 2)
        assert (city.prompt, trip.prompt, city.kind) == ("City?", "Trip?", cpb.QUESTION_KIND_TEXT)
        assert orjson.loads(trip.schema_json) == TRIP
        assert ran == ["free"], "what needs no answer has gone on"
        with pytest.raises(grpc.aio.AioRpcError) as wrong:
            await server.questions.AnswerClarification(
                cpb.AnswerClarificationRequest(
                    run_id=trip.run_id, question_id=trip.question_id, answer_json=b'{"nights": "two"}'
                ),
                timeout=10,
            )
        assert wrong.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert fields_of(wrong.value) == ["answer_json.nights"]
        async with AsyncPodium.connect(server.address) as client:
            await client.answer_clarification(trip.run_id, trip.question_id, {"nights": 2})
            assert [c.question_id for c in (await client.list_clarifications()).clarifications] == [city.question_id]
            await client.answer_clarification(city.run_id, city.question_id, "Oslo")
        done = (await run).run
        assert (done.state, done.answer, done.partial) == (run_pb2.RUN_STATE_SUCCEEDED, "Oslo, 2 nights, free", False)
        assert sorted(map(str, ran)) == ["2", "Oslo", "free"]
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await server.questions.AnswerClarification(
                cpb.AnswerClarificationRequest(run_id=city.run_id, question_id=city.question_id, answer_json=b'"Rome"'),
                timeout=10,
            )
        assert late.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_question_ends_before_its_callers_deadline() -> None:
    """Nobody answers: the default counts, and the answer is there in time."""
    model = scripted(
        {"events": [call("ask_user", question="City?", default="Rome"), call("ask_user", question="Sure?")]},
        {"events": [text("{{c0_0}}")]},
    )
    async with serving_runs(model, FakeTools()) as server:
        request = pb.ExecuteRequest(spec=run_pb2.RunSpec(input="go", may_ask=True))
        done = (await server.runs.Execute(request, timeout=1.5)).run
        assert (done.state, done.answer, done.partial) == (run_pb2.RUN_STATE_SUCCEEDED, "Rome", True)
        states = []
        for number in range(2):
            asked = cpb.GetClarificationRequest(run_id=done.run_id, question_id=f"q{number}")
            states.append((await server.questions.GetClarification(asked, timeout=10)).clarification.state)
        assert states == [cpb.CLARIFICATION_STATE_DEFAULTED, cpb.CLARIFICATION_STATE_EXPIRED]
