"""What a run may be asked for, and what is done with runs that go on or have ended."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from rich.console import Console
from typer.testing import CliRunner, Result

from podium.cli.explain_view import draw_explanation, draw_simulation
from podium.cli.program import app
from podium.cli.questions import value_of
from podium.cli.timeline import RowState, Timeline
from podium.cli.waterfall import Bar, cost, draw, summary
from podium.v1 import clarification_pb2, run_pb2
from podium_client import RunExplanation, Simulation, Usage
from podium_client._event_readers import event_of
from unit.client.fake_podium import (
    RUN_ID,
    FakePodium,
    event,
    refusal,
    sample_events,
    sample_explanation,
    sample_simulation,
    serving,
    span,
)


@pytest.fixture
async def fake() -> AsyncIterator[FakePodium]:
    async with serving(FakePodium()) as served:
        await served.health.set("", health_pb2.HealthCheckResponse.SERVING)
        yield served


async def podium(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env={"COLUMNS": None})


def rendered(what: Any, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def folded(events: list[run_pb2.RunEvent]) -> Timeline:
    timeline = Timeline()
    for raw in events:
        typed = event_of(raw)
        assert typed is not None
        timeline.apply(typed)
    return timeline


def eventful() -> list[run_pb2.RunEvent]:
    """A run in which everything happens that may happen beside the plain calls."""
    failure = run_pb2.ToolCallFailure(code="UNAVAILABLE", reason="UNAVAILABLE", message="is away")
    asked = run_pb2.QuestionAsked(question_id="q0", call_id="c0_1", prompt="Which Berlin?")
    ok = run_pb2.ToolCallOk(result_json=b"1", source=run_pb2.RESULT_SOURCE_CACHE)
    hit = run_pb2.ToolCallOk(result_json=b"2", source=run_pb2.RESULT_SOURCE_PREDICTED)
    usage = run_pb2.Usage(prompt_tokens=1, completion_tokens=1, cost_micros=12_500, currency="EUR")
    return [
        *sample_events()[:2],
        event(3, 20, call_predicted=run_pb2.CallPredicted(prediction_id="p0", tool="guess", arguments_json=b"{}")),
        event(4, 30, call_predicted=run_pb2.CallPredicted(prediction_id="p1", tool="waste", arguments_json=b"{}")),
        *sample_events()[2:6],
        event(9, 65, tool_call_retried={"call_id": "c0_0", "attempt": 1, "failure": failure, "delay": span(250)}),
        event(10, 70, tool_call_started=run_pb2.ToolCallStarted(call_id="c0_0", attempt=2)),
        event(11, 75, question_asked=asked),
        event(12, 80, tool_call_sealed=run_pb2.ToolCallSealed(call_id="c0_2", tool="guess", arguments_json=b"{}")),
        event(13, 81, prediction_settled=run_pb2.PredictionSettled(prediction_id="p0", call_id="c0_2")),
        event(14, 82, prediction_settled=run_pb2.PredictionSettled(prediction_id="p1", because="it was not asked for")),
        event(15, 85, tool_call_finished=run_pb2.ToolCallFinished(call_id="c0_2", ok=hit)),
        event(16, 90, question_settled=run_pb2.QuestionSettled(question_id="q0")),
        event(17, 95, tool_call_finished=run_pb2.ToolCallFinished(call_id="c0_0", ok=ok)),
        event(18, 96, budget_exhausted={"scope": "run", "dimension": "calls", "limit": 1000, "used": 999}),
        event(19, 97, wind_down_started={"because": "the deadline is near", "missing": ["c0_1"]}),
        event(20, 99, run_finished={"state": "RUN_STATE_SUCCEEDED", "answer": "So.", "degraded": True, "usage": usage}),
    ]


async def test_run_passes_what_it_is_asked_for_on(fake: FakePodium) -> None:
    result = await podium(
        *("run", "x", "-a", fake.address, "--plan-only", "--no-cache", "--no-speculation", "--ask"),
        *("--max-cost", "0.25"),
    )
    assert result.exit_code == 0, result.stderr
    spec = fake.requests[-1].spec  # type: ignore[attr-defined]
    assert (spec.plan_only, spec.bypass_cache, spec.may_ask, spec.detach) == (True, True, True, False)
    assert spec.speculation == run_pb2.SPECULATION_OFF
    assert spec.limits.max_cost_micros == 250_000
    assert not spec.limits.HasField("max_duration")


async def test_run_leaves_to_the_server_what_nobody_asked_for(fake: FakePodium) -> None:
    await podium("run", "x", "-a", fake.address)
    spec = fake.requests[-1].spec  # type: ignore[attr-defined]
    spec.ClearField("request_id")
    spec.ClearField("limits")
    assert spec == run_pb2.RunSpec(input="x")


async def test_a_detached_run_is_left_once_it_has_started(fake: FakePodium) -> None:
    fake.hang = True
    result = await podium("run", "x", "-a", fake.address, "--detach", "--deadline", "9")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{RUN_ID}\n", "")
    spec = fake.requests[0].spec  # type: ignore[attr-defined]
    assert spec.detach
    assert spec.limits.max_duration.seconds == 9
    assert len(fake.requests) == 1, "nobody cancels it"
    lines = (await podium("run", "x", "-a", fake.address, "--detach", "--json")).stdout.splitlines()
    assert [list(json.loads(line))[-1] for line in lines] == ["run_started"]


async def test_a_detached_run_that_never_starts_is_exit_1(fake: FakePodium) -> None:
    fake.events = []
    result = await podium("run", "x", "-a", fake.address, "--detach")
    assert result.exit_code == 1
    assert "before the run did" in result.stderr


async def test_no_server_is_started_for_a_run_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.cli.connection.DEFAULT_ADDRESS", "127.0.0.1:1")
    result = await podium("run", "x", "--detach")
    assert result.exit_code == 3
    assert "no Podium answers at 127.0.0.1:1" in result.stderr


async def test_run_explains_itself_at_the_end(fake: FakePodium) -> None:
    result = await podium("run", "x", "-a", fake.address, "--explain")
    assert result.exit_code == 0
    answered, _, explained = result.stdout.partition("succeeded, partly in")
    assert "19 * 21 is 399." in answered
    assert "Critical path" in explained
    assert "c0_0 waited 0.06 s for a slot" in explained
    assert fake.requests[-1].run_id == RUN_ID  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "x", "--explain", "--json"],
        ["run", "x", "--explain", "--detach"],
        ["run", "x", "--max-cost", "0"],
        ["explain", RUN_ID, "--takes", "calculate"],
        ["explain", RUN_ID, "--takes", "calculate=soon"],
        ["answer", RUN_ID, "q0"],
        ["answer", RUN_ID, "q0", "yes", "--skip"],
        ["watch"],
    ],
    ids=" ".join,
)
async def test_wrong_usage_is_exit_2_and_asks_no_server(arguments: list[str]) -> None:
    result = await podium(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
    assert "Traceback" not in result.stderr


async def test_plain_lines_tell_what_else_happens(fake: FakePodium) -> None:
    fake.events = eventful()
    lines = (await podium("run", "x", "-a", fake.address)).stdout.splitlines()
    assert "   0.065 s  retry   calculate 19 * 21  (UNAVAILABLE: is away; again in 0.25 s)" in lines
    assert f"   0.075 s  asks    Which Berlin?  (podium answer {RUN_ID} q0 VALUE)" in lines
    assert "   0.096 s  note    the calls of the run are used up: 999 of 1,000" in lines
    assert "   0.097 s  note    the deadline is near; answers without c0_1" in lines
    assert lines[-1] == f"succeeded, degraded in 99 ms: 3 calls, 1 + 1 tokens, 0.0125 EUR, {RUN_ID}"
    assert len([line for line in lines if " running calculate" in line]) == 1, "another attempt is no other start"


def test_a_predicted_call_has_a_row_until_the_model_asks_for_it() -> None:
    early = folded(eventful()[:4])
    assert [(row.name, row.predicted) for row in early.rows[1:]] == [("guess", True), ("waste", True)]
    assert early.calls == []
    assert "guess (predicted)" in rendered(draw(early, 0.03, width=100))
    late = folded(eventful())
    asked_for = next(row for row in late.calls if row.call_id == "c0_2")
    assert (asked_for.state, asked_for.start, asked_for.end) == (
        RowState.OK,
        pytest.approx(0.020),
        pytest.approx(0.085),
    )
    picture = rendered(draw(late, late.latest, width=100))
    assert "guess (predicted)" in picture
    assert "waste (not asked for)" in picture
    assert "calculate (from the cache)" in picture


def test_a_question_is_shown_while_it_is_open() -> None:
    events = eventful()
    asked = next(at for at, each in enumerate(events) if each.HasField("question_asked"))
    picture = rendered(draw(folded(events[: asked + 1]), 0.1, width=100))
    assert "Which Berlin?" in picture
    assert f"podium answer {RUN_ID} q0 VALUE" in picture
    assert "Which Berlin?" not in rendered(draw(folded(events), 0.1, width=100))


def test_a_retry_shows_why_until_the_next_attempt() -> None:
    events = eventful()
    retried = next(at for at, each in enumerate(events) if each.HasField("tool_call_retried"))
    row = folded(events[: retried + 1]).calls[0]
    assert (row.state, row.note) == (RowState.RUNNING, "UNAVAILABLE: is away; again in 0.25 s")
    row = folded(events[: retried + 2]).calls[0]
    assert (row.state, row.note, row.start) == (RowState.RUNNING, "", pytest.approx(0.051))


def test_questions_that_a_run_left_are_gone_with_it() -> None:
    timeline = folded([each for each in eventful() if not each.HasField("question_settled")])
    assert timeline.questions == {}
    assert "0.0125 EUR" in summary(timeline).plain


def test_costs_are_exact() -> None:
    assert cost(Usage(cost_micros=12_500, currency="EUR")) == "0.0125 EUR"
    assert cost(Usage(cost_micros=2_000_000, currency="USD")) == "2 USD"
    assert cost(Usage(cost_micros=1, currency="USD")) == "0.000001 USD"


async def test_watch_shows_a_run_that_goes_on_elsewhere(fake: FakePodium) -> None:
    result = await podium("watch", RUN_ID, "-a", fake.address)
    assert result.exit_code == 0
    assert "19 * 21 is 399." in result.stdout
    request: Any = fake.requests[-1]
    assert (request.run_id, request.after_seq) == (RUN_ID, 0)
    assert (fake.time_remaining[-1] or 0) > 3600, "for longer than other calls"
    lines = (await podium("watch", RUN_ID, "-a", fake.address, "--json", "--after-seq", "11")).stdout.splitlines()
    assert [list(json.loads(line))[-1] for line in lines] == ["run_finished"]


async def test_a_watched_run_that_fails_is_exit_1_and_one_that_is_not_there_2(fake: FakePodium) -> None:
    fake.events = [event(1, 0, run_finished=run_pb2.RunFinished(state=run_pb2.RUN_STATE_FAILED))]
    assert (await podium("watch", RUN_ID, "-a", fake.address)).exit_code == 1
    fake.refusals = [refusal(grpc.StatusCode.NOT_FOUND, "there is no such run", "NOT_FOUND")]
    assert (await podium("watch", RUN_ID, "-a", fake.address)).exit_code == 2


async def test_ctrl_c_leaves_a_watched_run_alone(fake: FakePodium) -> None:
    fake.hang = True
    watcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "podium", "watch", RUN_ID, "-a", fake.address, "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ},
    )
    assert watcher.stdout is not None
    await watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    assert await watcher.wait() == 130
    assert not fake.cancel_seen.is_set()


async def test_explain_prints_where_the_time_went(fake: FakePodium) -> None:
    result = await podium("explain", RUN_ID, "-a", fake.address)
    assert result.exit_code == 0, result.stderr
    text = result.stdout
    assert "● calculate c0_0" in text
    assert "  current_time c0_1" in text
    assert "2 tries, 60 ms for a slot" in text
    assert "cache" in text
    assert "60 ms 24% c0_0 waited 0.06 s for a slot" in text
    assert "succeeded in 250 ms; models 100 ms; tools 150 ms (0.6 at once on average); 10 ms while the model" in text
    assert "40 + 12 tokens, 0.0025 EUR" in text
    assert "predicted calls: 0 asked for, 1 for nothing" in text
    assert "it stopped starting work: the deadline is near" in text
    shown = json.loads((await podium("explain", RUN_ID, "-a", fake.address, "--json")).stdout)
    assert shown["critical_path"][1]["duration"] == 0.06
    assert shown["calls"][0]["waits"] == {"queue": 0.06, "work": 0.15}


async def test_explain_works_out_what_would_be(fake: FakePodium) -> None:
    result = await podium(
        *("explain", RUN_ID, "-a", fake.address, "--within", "0.4", "--takes", "calculate=0.35", "--parallel", "2")
    )
    assert result.exit_code == 0, result.stderr
    request: Any = fake.requests[-1]
    assert (request.deadline.ToMilliseconds(), request.parallel_calls) == (400, 2)
    assert request.durations["calculate"].ToMilliseconds() == 350
    lines = result.stdout.splitlines()
    assert "in all 500 ms, 900 ms with slow tools, 0.0015 EUR" in lines
    assert "deadline: 500 ms is more than 400 ms" in lines
    assert "seconds: 500 ms of 700 ms, but not with slow tools" in lines
    assert "calls: 1 of 8" in lines
    assert lines[-1].endswith("count as nothing: current_time")
    shown = json.loads((await podium("explain", RUN_ID, "-a", fake.address, "--simulate", "--json")).stdout)
    assert shown["binds_first"] == "deadline"
    assert shown["makespan"] == 0.5


def test_the_estimate_of_a_plan_is_part_of_its_explanation() -> None:
    raw = sample_explanation()
    raw.estimate.CopyFrom(sample_simulation())
    text = rendered(draw_explanation(RunExplanation.of(raw), width=100))
    assert "Running it would take" in text
    assert "estimated" in text


@pytest.mark.parametrize("width", [20, 44, 60, 80, 200])
def test_no_line_of_an_explanation_is_wider_than_the_terminal(width: int) -> None:
    explained = RunExplanation.of(sample_explanation())
    simulation = Simulation.of(sample_simulation())
    for picture in (draw_explanation(explained, width=width), draw_simulation(simulation, width=width)):
        assert all(len(line) <= width for line in rendered(picture, width).splitlines())


def test_a_long_path_shows_its_longest_steps() -> None:
    raw = sample_explanation()
    for _ in range(100):
        raw.critical_path.add(because="a while", duration=span(5))
    raw.critical_path.add(because="a moment", duration=span(1))
    text = rendered(draw_explanation(RunExplanation.of(raw), width=100))
    assert "and 64 shorter steps" in text
    assert "c0_0 (calculate) worked" in text
    raw.ClearField("critical_path")
    raw.critical_path.add(because="a moment", duration=span(1))
    assert "and 1 shorter step\n" in rendered(draw_explanation(RunExplanation.of(raw), width=100)).replace(" \n", "\n")


def test_an_explanation_cannot_steer_the_terminal() -> None:
    raw = sample_explanation()
    raw.calls[0].tool = raw.critical_path[0].because = raw.wind_down.because = raw.turns[0].model = "\x1b[2J"
    assert "\x1b" not in rendered(draw_explanation(RunExplanation.of(raw), width=100))


def test_dots_show_what_waited() -> None:
    assert rendered(Bar(0.5, 1.0, 1.0, "", 0.2), 10).rstrip("\n") == "  ┄┄┄━━━━━"
    assert rendered(Bar(0.5, 1.0, 1.0, "", 0.9), 10).rstrip("\n") == "     ━━━━━", "never after the start"


async def test_questions_are_listed_over_all_pages(fake: FakePodium) -> None:
    result = await podium("questions", "-a", fake.address)
    assert result.exit_code == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith(RUN_ID)]
    assert len(rows) == 2
    assert "Which Berlin?" in rows[0]
    assert 'Germany | Ohio (else "Germany")' in rows[0]
    assert "2023-11-14T22:14:20+00:00" in rows[0]


async def test_an_answer_is_sent_as_its_question_wants_it(fake: FakePodium) -> None:
    assert (await podium("answer", RUN_ID, "q0", "Ohio", "-a", fake.address)).exit_code == 0
    fake.clarification.schema_json = b'{"type": "object"}'
    assert (await podium("answer", RUN_ID, "q0", '{"max_calls": 9}', "-a", fake.address)).exit_code == 0
    answers = [each for each in fake.requests if isinstance(each, clarification_pb2.AnswerClarificationRequest)]
    assert [json.loads(each.answer_json) for each in answers] == ["Ohio", {"max_calls": 9}]
    assert (await podium("answer", RUN_ID, "q0", "--skip", "-a", fake.address)).exit_code == 0
    assert isinstance(fake.requests[-1], clarification_pb2.SkipClarificationRequest)


async def test_a_question_that_is_settled_cannot_be_answered(fake: FakePodium) -> None:
    gone = refusal(grpc.StatusCode.FAILED_PRECONDITION, "question q0 needs no answer any more", "FAILED_PRECONDITION")
    fake.refusals = [gone]
    result = await podium("answer", RUN_ID, "q0", "--skip", "-a", fake.address)
    assert result.exit_code == 1
    assert "needs no answer any more" in result.stderr


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("42", {"type": "string"}, "42"),
        ("42", {"type": "integer"}, 42),
        ("Yes", {"type": "boolean"}, True),
        ("no", {"type": "boolean"}, False),
        ("true", {"type": "boolean"}, True),
        ("perhaps", {"type": "boolean"}, "perhaps"),
        ("[1]", {}, [1]),
        ("Ohio", {"enum": ["Ohio"]}, "Ohio"),
    ],
)
def test_what_is_typed_becomes_what_is_asked_for(text: str, schema: dict[str, Any], value: Any) -> None:
    assert value_of(text, schema) == value


async def test_help_of_the_commands_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("watch", "explain", "questions", "answer"):
        result = await podium(command, "--help")
        assert (result.exit_code, "Usage" in result.stdout) == (0, True)
