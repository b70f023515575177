"""Events cross the wire whole: from the log to the message, through bytes, to what a client sees."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

import podium_client as client
from podium.cli.event_json import event_line
from podium.orchestration import events as ev
from podium.orchestration.chat import Usage
from podium.rpc.event_messages import event_message
from podium.v1 import clarification_pb2, run_pb2
from podium_client._event_readers import event_of
from unit.rpc.wire_samples import (
    ANSWERED,
    FAILED,
    FULL,
    OK,
    RUN_ID,
    SEALED,
    TIME_NS,
    WAITS,
    logged,
    unset_fields,
)

KINDS = get_args(ev.EventKind)


def sent(kind: ev.EventKind, currency: str = "EUR") -> run_pb2.RunEvent:
    """Return the event as it arrives."""
    return run_pb2.RunEvent.FromString(event_message(logged(kind), currency).SerializeToString())


def seen(kind: ev.EventKind) -> Any:
    """Return the event as the client shows it."""
    event = event_of(sent(kind))
    assert event is not None
    return event


def test_the_samples_are_all_kinds_of_event() -> None:
    assert {type(kind) for kind in FULL} == set(KINDS)


def test_every_kind_has_a_field_of_its_own_and_every_field_a_kind() -> None:
    fields = [sent(kind).WhichOneof("kind") for kind in FULL]
    assert len(set(fields)) == len(KINDS)
    assert set(fields) == {field.name for field in run_pb2.RunEvent.DESCRIPTOR.oneofs_by_name["kind"].fields}


@pytest.mark.parametrize("kind", FULL, ids=lambda kind: type(kind).__name__)
def test_nothing_is_lost(kind: ev.EventKind) -> None:
    """Whatever a message can say of the kind, it says."""
    assert list(unset_fields(sent(kind))) == []


@pytest.mark.parametrize("kind", FULL, ids=lambda kind: type(kind).__name__)
def test_the_envelope_is_that_of_the_log(kind: ev.EventKind) -> None:
    message, event = sent(kind), seen(kind)
    assert message.time.ToNanoseconds() == TIME_NS
    assert (event.run_id, event.seq, event.time) == (
        RUN_ID,
        3,
        datetime.fromtimestamp(TIME_NS // 1_000_000_000, UTC) + timedelta(microseconds=123_456),
    )


@pytest.mark.parametrize("kind", FULL, ids=lambda kind: type(kind).__name__)
def test_every_kind_is_one_line_of_json_without_base64(kind: ev.EventKind) -> None:
    message = sent(kind)
    line = event_line(message)
    shown = json.loads(line)
    field = message.WhichOneof("kind")
    assert set(shown) == {"run_id", "seq", "time", field}
    assert b"_json" not in line
    assert line.count(b"\n") == 1


def test_a_clients_view_of_the_calls() -> None:
    sealed = seen(SEALED)
    assert isinstance(sealed, client.ToolCallSealed)
    assert (sealed.call_id, sealed.tool, sealed.version) == ("c0_0", "calculate", "2")
    assert (sealed.depends_on, sealed.item_of) == (("c0_1",), "c0_2")
    assert sealed.arguments == {"expression": {"$from": "c0_1"}}
    started = seen(ev.CallStarted("c0_0", 2, b'{"expression": "19"}', "add"))
    assert (started.attempt, started.tool, started.arguments) == (2, "add", {"expression": "19"})
    assert seen(ev.CallStarted("c0_0", 1)).arguments is None
    retried = seen(FULL[5])
    assert isinstance(retried, client.ToolCallRetried)
    assert (retried.call_id, retried.attempt, retried.delay) == ("c0_0", 1, timedelta(seconds=0.25))
    assert retried.failure == client.ToolCallFailure("UNAVAILABLE", "UNAVAILABLE", "is away")


def test_a_clients_view_of_how_calls_end() -> None:
    ok = seen(ev.CallFinished("c0_0", OK, WAITS))
    assert isinstance(ok, client.ToolCallFinished)
    assert (ok.ok, ok.result, ok.content_type, ok.failure) == (True, {"value": 399}, "application/json", None)
    assert (ok.source, ok.age) == (client.ResultSource.CACHE, timedelta(seconds=8.25))
    assert ok.waits == client.CallWaits(
        turn=timedelta(seconds=0.5),
        parents=timedelta(seconds=1.25),
        question=timedelta(seconds=2),
        budget=timedelta(seconds=3),
        cache=timedelta(seconds=4),
        queue=timedelta(microseconds=1),
        retry=timedelta(seconds=5),
        work=timedelta(seconds=6.5),
    )
    failed = seen(ev.CallFinished("c0_0", FAILED))
    assert (failed.ok, failed.result, failed.waits) == (False, None, client.CallWaits())
    assert failed.failure == client.ToolCallFailure("TIMEOUT", "TIMEOUT", "took longer than 5 s")
    assert failed.source is client.ResultSource.UNSPECIFIED
    skipped = seen(ev.CallFinished("c0_0", ev.CallSkipped("c0_1 failed")))
    assert (skipped.ok, skipped.failure, skipped.skipped_because) == (False, None, "c0_1 failed")


def test_a_clients_view_of_predictions() -> None:
    predicted = seen(FULL[7])
    assert isinstance(predicted, client.CallPredicted)
    assert (predicted.prediction_id, predicted.tool, predicted.version) == ("p0", "calculate", "2")
    assert (predicted.arguments, predicted.confidence) == ({"expression": "1"}, 0.75)
    assert predicted.basis == "asked for after 9 of 12 searches"
    settled = seen(FULL[8])
    assert isinstance(settled, client.PredictionSettled)
    assert (settled.prediction_id, settled.call_id, settled.cost_micros) == ("p0", "c0_0", 10)
    assert (settled.spent, settled.saved) == (timedelta(seconds=0.5), timedelta(seconds=0.25))
    assert settled.because


def test_a_clients_view_of_questions() -> None:
    asked = seen(FULL[9])
    assert isinstance(asked, client.QuestionAsked)
    assert (asked.question_id, asked.call_id, asked.kind) == ("q0", "c0_0", client.QuestionKind.CHOICE)
    assert (asked.prompt, asked.schema, asked.default) == ("Which Berlin?", {"type": "string"}, "Germany")
    assert asked.expire_time - asked.time == timedelta(seconds=5)
    settled = seen(ANSWERED)
    assert isinstance(settled, client.QuestionSettled)
    assert (settled.state, settled.answer) == (client.ClarificationState.ANSWERED, "Ohio")


def test_a_clients_view_of_what_cuts_a_run_short() -> None:
    exhausted = seen(FULL[11])
    assert isinstance(exhausted, client.BudgetExhausted)
    assert (exhausted.scope, exhausted.dimension, exhausted.limit, exhausted.used, exhausted.action) == (
        "tenant",
        "cost_micros",
        5_000,
        4_999,
        "ask",
    )
    wind_down = seen(FULL[12])
    assert isinstance(wind_down, client.WindDownStarted)
    assert wind_down.cause is client.WindDownCause.DEADLINE
    assert (wind_down.because, wind_down.missing) == ("the deadline is near", ("c0_0", "c0_1"))


def test_a_clients_view_of_turns_and_ends() -> None:
    started = seen(FULL[0])
    assert (started.model, started.input, started.correlation_id) == ("small", "What is 19 * 21?", "exec_1")
    text = seen(FULL[2])
    assert (text.turn, text.offset, text.text) == (1, 16, "Grüße")
    turn = seen(FULL[13])
    assert (turn.turn, turn.text, turn.finish_reason) == (1, "It is 399.", client.TurnFinishReason.TOOL_CALLS)
    ended = seen(FULL[14])
    assert (ended.state, ended.answer, ended.partial, ended.degraded) == (
        client.RunState.FAILED,
        "partly",
        True,
        True,
    )
    assert ended.error == client.RunError("LIMIT_REACHED", "too far")
    assert ended.usage == client.Usage(
        prompt_tokens=40, completion_tokens=12, cached_tokens=7, cost_micros=1_500, currency="EUR"
    )
    with pytest.raises(client.RunFailed) as raised:
        ended.raise_for_state()
    assert raised.value.run.degraded


def test_a_currency_goes_with_a_cost_only() -> None:
    free = sent(ev.RunEnded(ev.RunState.SUCCEEDED, "x", False, Usage(1, 2, 3)))
    assert (free.run_finished.usage.cost_micros, free.run_finished.usage.currency) == (0, "")
    priced = event_message(logged(ev.RunEnded(ev.RunState.SUCCEEDED, "x", False, Usage(cost_micros=1))))
    assert priced.run_finished.usage.currency == "USD"


@pytest.mark.parametrize("source", ev.AnswerSource)
def test_every_way_to_settle_a_question_has_a_state(source: ev.AnswerSource) -> None:
    state = sent(ev.QuestionSettled("q0", source)).question_settled.state
    name = clarification_pb2.ClarificationState.Name(state)
    assert name.removeprefix("CLARIFICATION_STATE_").startswith(source.name)
    assert state != clarification_pb2.CLARIFICATION_STATE_OPEN


@pytest.mark.parametrize("kind", ev.QuestionKind)
def test_every_kind_of_question_is_told(kind: ev.QuestionKind) -> None:
    asked = ev.QuestionAsked("q0", "", kind, "?", b"{}", b"", TIME_NS)
    assert seen(asked).kind == kind.name


@pytest.mark.parametrize("source", ev.ResultSource)
def test_every_source_is_told(source: ev.ResultSource) -> None:
    assert seen(ev.CallFinished("c0_0", ev.CallSucceeded(b"1", "", source))).source == source.name


@pytest.mark.parametrize("cause", ev.WindDownCause)
def test_every_cause_is_told(cause: ev.WindDownCause) -> None:
    assert seen(ev.WindDownStarted(cause, "x")).cause == cause.name


@pytest.mark.parametrize("action", ev.Exhaustion)
def test_every_action_is_told(action: ev.Exhaustion) -> None:
    assert seen(ev.BudgetExhausted("run", "calls", 1, 1, action)).action == action.name.lower()
