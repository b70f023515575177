"""Runs as messages: everything that is known of a run, and back again what a caller asks for."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

import pytest

import podium_client as client
from podium.orchestration import events as ev
from podium.orchestration.view import QuestionView, RunView, fold
from podium.rpc.clarification_messages import clarification_message
from podium.rpc.run_messages import run_message, spec_from_message, spec_message
from podium.v1 import clarification_pb2, run_pb2
from unit.rpc.wire_samples import (
    ANSWERED,
    ASKED,
    FAILED,
    HIT,
    MISS,
    OK,
    PREDICTED,
    RUN_ID,
    SEALED,
    SPEC,
    TIME_NS,
    USAGE,
    WAITS,
    WIND_DOWN,
    logged,
    unset_fields,
)


def sample_view(outcome: ev.CallOutcome = OK, end: ev.RunState = ev.RunState.FAILED) -> RunView:
    kinds: list[ev.EventKind] = [
        ev.RunStarted(SPEC, "small", "exec_1"),
        PREDICTED,
        SEALED,
        ev.CallStarted("c0_0", 1, b'{"expression": "19"}'),
        HIT,
        ASKED,
        ANSWERED,
        ev.CallFinished("c0_0", outcome, WAITS),
        WIND_DOWN,
        ev.RunEnded(end, "partly", True, USAGE, ev.RunFailure("LIMIT_REACHED", "too far"), True),
    ]
    return fold(RUN_ID, SPEC, TIME_NS, [logged(kind, seq) for seq, kind in enumerate(kinds, 1)])


def test_a_spec_comes_back_as_it_was() -> None:
    assert list(unset_fields(spec_message(SPEC))) == []
    received = run_pb2.RunSpec.FromString(spec_message(SPEC).SerializeToString())
    assert spec_from_message(received) == SPEC


def test_what_a_spec_leaves_to_the_server_stays_left_to_it() -> None:
    plain = ev.RunSpec(input="x")
    assert spec_from_message(spec_message(plain)) == plain
    assert spec_from_message(run_pb2.RunSpec(input="x")) == plain


@pytest.mark.parametrize("name", [field.name for field in fields(ev.RunSpec)])
def test_every_field_of_a_spec_crosses(name: str) -> None:
    """One at a time, so that none rides on another."""
    one = replace(ev.RunSpec(input="x"), **{name: getattr(SPEC, name)})
    assert spec_from_message(spec_message(one)) == one


@pytest.mark.parametrize("name", [field.name for field in fields(ev.RunLimits)])
def test_every_limit_crosses(name: str) -> None:
    one = ev.RunSpec(input="x", limits=replace(ev.RunLimits(), **{name: getattr(SPEC.limits, name)}))
    assert spec_from_message(spec_message(one)) == one


def test_a_run_says_everything() -> None:
    """But for what only calls say that ended in other ways, or that made no sense together."""
    unset = set(unset_fields(run_message(sample_view())))
    assert unset == {"calls.failure", "calls.skipped_because", "predictions.settled.because"}


def test_a_clients_view_of_a_run() -> None:
    run = client.RunResult.of(run_message(sample_view(), currency="EUR"))
    assert (run.degraded, run.partial, run.usage.currency) == (True, True, "EUR")
    assert run.wind_down == client.WindDown(client.WindDownCause.DEADLINE, "the deadline is near", ("c0_0", "c0_1"))
    (call,) = run.calls
    assert call.arguments == {"expression": {"$from": "c0_1"}}
    assert call.used_arguments == {"expression": "19"}
    assert (call.item_of, call.source, call.age) == ("c0_2", client.ResultSource.CACHE, timedelta(seconds=8.25))
    assert call.waits.work == timedelta(seconds=6.5)
    (prediction,) = run.predictions
    assert (prediction.tool, prediction.settled, prediction.call_id) == ("calculate", True, "c0_0")
    assert (prediction.saved, prediction.arguments) == (timedelta(seconds=0.25), {"expression": "1"})
    (question,) = run.questions
    assert (question.run_id, question.question_id, question.state) == (
        RUN_ID,
        "q0",
        client.ClarificationState.ANSWERED,
    )
    assert (question.answer, question.default, question.prompt) == ("Ohio", "Germany", "Which Berlin?")


def test_calls_that_end_otherwise() -> None:
    (failed,) = client.RunResult.of(run_message(sample_view(FAILED))).calls
    assert failed.failure == client.ToolCallFailure("TIMEOUT", "TIMEOUT", "took longer than 5 s")
    assert failed.source is client.ResultSource.UNSPECIFIED
    (skipped,) = client.RunResult.of(run_message(sample_view(ev.CallSkipped("too late")))).calls
    assert (skipped.state, skipped.skipped_because) == (client.ToolCallState.SKIPPED, "too late")


def test_without_payloads_there_is_no_content_of_calls_and_questions() -> None:
    raw = run_message(sample_view(), payloads=False)
    text = raw.SerializeToString()
    for content in (b"399", b"$from", b'"19"', b"Ohio", b"Germany", b'"1"'):
        assert content not in text
    assert raw.calls[0].call_id == "c0_0"
    assert raw.questions[0].prompt == "Which Berlin?"


def test_a_prediction_that_is_open_says_so() -> None:
    view = fold(RUN_ID, SPEC, TIME_NS, [logged(ev.RunStarted(SPEC, "m", ""), 1), logged(PREDICTED, 2)])
    (prediction,) = client.RunResult.of(run_message(view)).predictions
    assert not prediction.settled
    view.apply(logged(MISS, 3))
    (prediction,) = client.RunResult.of(run_message(view)).predictions
    assert (prediction.settled, prediction.call_id, prediction.because) == (True, "", "the model did not ask for it")


def test_an_open_question_is_open() -> None:
    raw = clarification_message(RUN_ID, QuestionView(ASKED, TIME_NS))
    assert raw.state == clarification_pb2.CLARIFICATION_STATE_OPEN
    assert list(unset_fields(raw)) == ["answer_json"]
