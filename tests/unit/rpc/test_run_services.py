"""OrchestratorService and ClarificationService over an orchestrator that only notes what it is asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, cast

import pytest
from google.protobuf.duration_pb2 import Duration

from podium.errors import InvalidRequest, NotFound
from podium.orchestration import events as ev
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.orchestration.view import QuestionView, RunView, fold
from podium.rpc.caller import Caller
from podium.rpc.clarification_service import ClarificationServicer
from podium.rpc.orchestrator_service import OrchestratorServicer
from podium.v1 import clarification_pb2 as cpb
from podium.v1 import orchestrator_pb2 as pb
from unit.rpc.test_explain_messages import EXPLANATION, SIMULATION
from unit.rpc.wire_samples import ASKED, FULL, RUN_ID, SPEC, TIME_NS, logged

BY = Submitter(owner="me")
OTHER_RUN = "run_01h455vb4pex5vsknk084sn0zz"


class FakeOrchestrator:
    """Answers from what it holds, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.closed = False
        self.open: list[tuple[str, QuestionView]] = []

    async def watch_together(
        self, run_id: str, by: Submitter, *, after_seq: int = 0
    ) -> AsyncGenerator[list[ev.LoggedEvent], None]:
        self.asked.append(("watch", run_id, by, after_seq))
        try:
            for seq, kind in enumerate(FULL, 1):
                if seq > after_seq:
                    yield [logged(kind, seq)]
        finally:
            self.closed = True

    async def explain(self, run_id: str, by: Submitter) -> Any:
        self.asked.append(("explain", run_id, by))
        return EXPLANATION

    async def simulate(self, run_id: str, by: Submitter, **options: Any) -> Any:
        self.asked.append(("simulate", run_id, by, options))
        return SIMULATION

    def questions(self, by: Submitter) -> list[tuple[str, QuestionView]]:
        self.asked.append(("questions", by))
        return self.open

    async def get(self, run_id: str, by: Submitter) -> RunView:
        self.asked.append(("get", run_id, by))
        return fold(run_id, SPEC, TIME_NS, [logged(FULL[0], 1), logged(ASKED, 2)])

    async def answer(self, run_id: str, question_id: str, answer_json: bytes, by: Submitter) -> None:
        self.asked.append(("answer", run_id, question_id, answer_json, by))

    async def skip(self, run_id: str, question_id: str, by: Submitter) -> None:
        self.asked.append(("skip", run_id, question_id, by))


def caller() -> Caller:
    return Caller(BY, None)


def runs(fake: FakeOrchestrator) -> OrchestratorServicer:
    return OrchestratorServicer(cast("Orchestrator", fake), caller, currency="EUR")


def clarifications(fake: FakeOrchestrator) -> ClarificationServicer:
    return ClarificationServicer(cast("Orchestrator", fake), caller)


def question(number: int, ask_ns: int) -> QuestionView:
    return QuestionView(replace(ASKED, question_id=f"q{number}"), ask_ns)


async def test_watching_streams_what_comes_after_the_number() -> None:
    fake = FakeOrchestrator()
    request = pb.WatchRunRequest(run_id=RUN_ID, after_seq=2)
    got = [response.event async for response in runs(fake).WatchRun(request, None)]
    assert fake.asked == [("watch", RUN_ID, BY, 2)]
    assert [event.seq for event in got] == list(range(3, len(FULL) + 1))
    assert got[-1].run_finished.usage.currency == "EUR"
    assert fake.closed


async def test_a_watcher_that_leaves_is_left_at_once() -> None:
    fake = FakeOrchestrator()
    stream = cast("AsyncGenerator[Any, None]", runs(fake).WatchRun(pb.WatchRunRequest(run_id=RUN_ID), None))
    await anext(stream)
    assert not fake.closed
    await stream.aclose()
    assert fake.closed


async def test_an_explanation_is_passed_on() -> None:
    fake = FakeOrchestrator()
    response = await runs(fake).ExplainRun(pb.ExplainRunRequest(run_id=RUN_ID), None)
    assert fake.asked == [("explain", RUN_ID, BY)]
    assert response.explanation.calls[0].call_id == "c1_0"
    assert response.explanation.usage.currency == "EUR"


async def test_a_simulation_gets_what_was_asked() -> None:
    fake = FakeOrchestrator()
    request = pb.SimulateRunRequest(
        run_id=RUN_ID,
        deadline=Duration(seconds=2, nanos=500_000_000),
        durations={"calculate": Duration(nanos=250_000_000)},
        parallel_calls=4,
    )
    response = await runs(fake).SimulateRun(request, None)
    await runs(fake).SimulateRun(pb.SimulateRunRequest(run_id=RUN_ID), None)
    assert [asked[3] for asked in fake.asked] == [
        {"deadline_seconds": 2.5, "durations": {"calculate": 0.25}, "parallel": 4},
        {"deadline_seconds": None, "durations": {}, "parallel": None},
    ]
    assert response.simulation.binds_first == "calls"


async def test_questions_are_listed_oldest_first_page_by_page() -> None:
    fake = FakeOrchestrator()
    fake.open = [
        (RUN_ID, question(3, TIME_NS + 9)),
        (OTHER_RUN, question(0, TIME_NS)),
        (RUN_ID, question(0, TIME_NS)),
        (RUN_ID, question(2, TIME_NS + 9)),
        (RUN_ID, question(1, TIME_NS + 5)),
    ]
    service, token, seen, pages = clarifications(fake), "", [], 0
    while True:
        page = await service.ListClarifications(cpb.ListClarificationsRequest(page_size=2, page_token=token), None)
        seen += [(each.run_id, each.question_id) for each in page.clarifications]
        pages, token = pages + 1, page.next_page_token
        if not token:
            break
    assert seen == [(RUN_ID, "q0"), (OTHER_RUN, "q0"), (RUN_ID, "q1"), (RUN_ID, "q2"), (RUN_ID, "q3")]
    assert pages == 3


async def test_a_page_that_is_just_full_is_the_last() -> None:
    fake = FakeOrchestrator()
    fake.open = [(RUN_ID, question(number, TIME_NS)) for number in range(2)]
    page = await clarifications(fake).ListClarifications(cpb.ListClarificationsRequest(page_size=2), None)
    assert (len(page.clarifications), page.next_page_token) == (2, "")


async def test_questions_of_one_run() -> None:
    fake = FakeOrchestrator()
    fake.open = [(RUN_ID, question(0, TIME_NS)), (OTHER_RUN, question(0, TIME_NS))]
    request = cpb.ListClarificationsRequest(run_id=OTHER_RUN)
    page = await clarifications(fake).ListClarifications(request, None)
    assert [each.run_id for each in page.clarifications] == [OTHER_RUN]


@pytest.mark.parametrize("token", ["x", "cXVlc3Rpb246eA", "dG9vbDphOmI6Yw", "ÿ"])
async def test_a_token_of_somebody_elses_is_refused(token: str) -> None:
    request = cpb.ListClarificationsRequest(page_token=token)
    with pytest.raises(InvalidRequest, match="page_token"):
        await clarifications(FakeOrchestrator()).ListClarifications(request, None)


async def test_one_question() -> None:
    fake = FakeOrchestrator()
    request = cpb.GetClarificationRequest(run_id=RUN_ID, question_id="q0")
    found = (await clarifications(fake).GetClarification(request, None)).clarification
    assert (found.run_id, found.question_id, found.prompt) == (RUN_ID, "q0", "Which Berlin?")
    assert found.state == cpb.CLARIFICATION_STATE_OPEN
    missing = cpb.GetClarificationRequest(run_id=RUN_ID, question_id="q7")
    with pytest.raises(NotFound) as raised:
        await clarifications(fake).GetClarification(missing, None)
    assert (raised.value.resource_type, raised.value.resource_name) == ("podium.v1.Clarification", "q7")


async def test_answers_and_skips_are_passed_on() -> None:
    fake = FakeOrchestrator()
    answer = cpb.AnswerClarificationRequest(run_id=RUN_ID, question_id="q0", answer_json=b'"Ohio"')
    await clarifications(fake).AnswerClarification(answer, None)
    await clarifications(fake).SkipClarification(cpb.SkipClarificationRequest(run_id=RUN_ID, question_id="q1"), None)
    assert fake.asked == [("answer", RUN_ID, "q0", b'"Ohio"', BY), ("skip", RUN_ID, "q1", BY)]
