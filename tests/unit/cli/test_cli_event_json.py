"""`--json` lines are as CONTRACT.md section 5 says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from podium.cli.event_json import event_line, event_object, message_object
from podium.v1 import inference_pb2, run_pb2
from unit.client.fake_podium import RUN_ID, sample_events


def test_the_line_of_the_contract() -> None:
    event = run_pb2.RunEvent(
        run_id="run_x",
        seq=3,
        tool_call_sealed=run_pb2.ToolCallSealed(
            call_id="c0_0", tool="calculate", arguments_json=b'{"expression": "19 * 21"}'
        ),
    )
    event.time.FromDatetime(datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC))
    assert event_line(event) == (
        b'{"run_id": "run_x", "seq": 3, "time": "2026-11-21T10:00:00.123456Z", "tool_call_sealed":'
        b' {"call_id": "c0_0", "tool": "calculate", "arguments": {"expression": "19 * 21"}}}\n'
    )


def test_every_event_is_one_line_of_json_with_one_kind() -> None:
    for event in sample_events():
        line = event_line(event)
        assert line.count(b"\n") == 1
        shown = json.loads(line)
        assert set(shown) == {"run_id", "seq", "time", event.WhichOneof("kind")}
        assert shown["run_id"] == RUN_ID


def test_the_last_line_holds_the_answer_and_the_usage_as_numbers() -> None:
    end = event_object(sample_events()[-1])["run_finished"]
    assert end["state"] == "RUN_STATE_SUCCEEDED"
    assert end["answer"] == "19 * 21 is 399. The time did not arrive."
    assert end["partial"] is True
    assert end["usage"] == {"prompt_tokens": 40, "completion_tokens": 12, "cached_tokens": 0, "cost_micros": 0}


def test_an_empty_answer_is_still_there() -> None:
    failed = run_pb2.RunFinished(state=run_pb2.RUN_STATE_FAILED, error={"reason": "INTERNAL", "message": "m"})
    assert message_object(failed) == {
        "state": "RUN_STATE_FAILED",
        "answer": "",
        "partial": False,
        "error": {"reason": "INTERNAL", "message": "m"},
        "degraded": False,
    }


def test_turn_zero_is_written_out() -> None:
    assert message_object(run_pb2.TextDelta(text="a")) == {"turn": 0, "offset": 0, "text": "a"}


def test_64_bit_integers_are_numbers() -> None:
    big = run_pb2.Usage(prompt_tokens=2**53 + 1)
    assert json.loads(json.dumps(message_object(big)))["prompt_tokens"] == 2**53 + 1


def test_results_are_json_not_base64() -> None:
    ok = run_pb2.ToolCallFinished(call_id="c0_0", ok={"result_json": '"Grüße"'.encode(), "content_type": "text/plain"})
    shown = message_object(ok)["ok"]
    assert (shown["result"], shown["content_type"]) == ("Grüße", "text/plain")
    skipped = run_pb2.ToolCallFinished(call_id="c0_0", skipped={"because": "cancelled"})
    assert message_object(skipped) == {"call_id": "c0_0", "skipped": {"because": "cancelled"}}


def test_text_is_utf8_and_half_a_surrogate_pair_is_escaped() -> None:
    def line(result: bytes) -> bytes:
        return event_line(run_pb2.RunEvent(tool_call_finished={"call_id": "c", "ok": {"result_json": result}}))

    assert "é".encode() in line('"é"'.encode())
    assert json.loads(line(b'"\\ud800"'))["tool_call_finished"]["ok"]["result"] == "\ud800"


def test_a_payload_that_is_not_json_is_shown_as_text() -> None:
    sealed = run_pb2.ToolCallSealed(call_id="c0_0", tool="t", arguments_json=b"{broken\xff")
    assert message_object(sealed)["arguments"] == "{broken�"


def test_maps_lists_and_unknown_enums() -> None:
    spec = run_pb2.RunSpec(input="x", tools=["a", "b"], labels={"team": "z"})
    shown = message_object(spec)
    assert (shown["tools"], shown["labels"]) == (["a", "b"], {"team": "z"})
    assert message_object(run_pb2.RunFinished(state=99))["state"] == 99  # type: ignore[arg-type]
    sampled = message_object(inference_pb2.SamplingOptions(seed=0))
    assert sampled["seed"] == 0
    assert "seed" not in message_object(inference_pb2.SamplingOptions())


def test_durations_are_seconds() -> None:
    attempt = run_pb2.ModelAttempt(model="small", duration={"seconds": 1, "nanos": 250_000_000})
    assert message_object(attempt) == {"model": "small", "duration": 1.25}
    waits = run_pb2.CallWaits(queue={"nanos": 1_000})
    assert json.dumps(message_object(waits)) == '{"queue": 1e-06}'


def test_the_lines_of_questions_and_predictions_hold_json() -> None:
    asked = run_pb2.QuestionAsked(
        question_id="q0", prompt="Which?", schema_json=b'{"type": "string"}', default_json=b'"a"'
    )
    asked.expire_time.FromDatetime(datetime(2026, 11, 21, 10, tzinfo=UTC))
    assert message_object(asked) == {
        "question_id": "q0",
        "kind": "QUESTION_KIND_UNSPECIFIED",
        "prompt": "Which?",
        "schema": {"type": "string"},
        "default": "a",
        "expire_time": "2026-11-21T10:00:00.000000Z",
    }
    settled = run_pb2.QuestionSettled(question_id="q0", answer_json=b"[1]")
    assert message_object(settled)["answer"] == [1]
    predicted = run_pb2.CallPredicted(prediction_id="p0", tool="t", arguments_json=b"{}", confidence=0.5)
    assert message_object(predicted) == {"prediction_id": "p0", "tool": "t", "arguments": {}, "confidence": 0.5}
