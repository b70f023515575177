"""Everything that a run can say, each with every field set; and a check that a message says all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from podium.orchestration import events as ev
from podium.orchestration.chat import ModelAttempt, TurnFinishReason, Usage
from podium.orchestration.tool import ToolFailureCode

RUN_ID = "run_01h455vb4pex5vsknk084sn02q"
TIME_NS = 1_700_000_000_123_456_789

USAGE = Usage(40, 12, 7, 1_500)
WAITS = ev.Waits(turn=0.5, parents=1.25, question=2.0, budget=3.0, cache=4.0, queue=0.000001, retry=5.0, work=6.5)
SPEC = ev.RunSpec(
    input="What is 19 * 21?",
    model="small",
    tools=("calculate", "current_time"),
    request_id="req_1",
    limits=ev.RunLimits(
        max_calls=3,
        max_turns=4,
        max_tokens=500,
        max_cost_micros=2_000_000,
        max_seconds=12.5,
        on_exhausted=ev.Exhaustion.ASK,
    ),
    labels={"team": "a"},
    plan_only=True,
    detach=True,
    background=True,
    bypass_cache=True,
    may_ask=True,
    speculation=ev.Speculation.SAFE,
)
SEALED = ev.CallSealed("c0_0", "calculate", b'{"expression": {"$from": "c0_1"}}', "2", ("c0_1",), "c0_2")
OK = ev.CallSucceeded(b'{"value": 399}', "application/json", ev.ResultSource.CACHE, 8.25)
FAILED = ev.CallFailed(ToolFailureCode.TIMEOUT, "took longer than 5 s")
PREDICTED = ev.CallPredicted("p0", "calculate", b'{"expression": "1"}', "2", 0.75, "asked for after 9 of 12 searches")
HIT = ev.PredictionSettled("p0", "c0_0", "", 0.5, 0.25, 10)
MISS = ev.PredictionSettled("p0", "", "the model did not ask for it", 0.5, 0.0, 10)
ASKED = ev.QuestionAsked(
    "q0", "c0_0", ev.QuestionKind.CHOICE, "Which Berlin?", b'{"type": "string"}', b'"Germany"', TIME_NS + 5_000_000_000
)
ANSWERED = ev.QuestionSettled("q0", ev.AnswerSource.ANSWERED, b'"Ohio"')
WIND_DOWN = ev.WindDownStarted(ev.WindDownCause.DEADLINE, "the deadline is near", ("c0_0", "c0_1"))
ATTEMPT = ModelAttempt("large", "UNAVAILABLE", 0.25)

# Each kind of event with every field set to something that is not its default.
FULL: tuple[ev.EventKind, ...] = (
    ev.RunStarted(SPEC, "small", "exec_1"),
    ev.TurnStarted(1, "small"),
    ev.TextWritten(1, 16, "Grüße"),
    SEALED,
    ev.CallStarted("c0_0", 2, b'{"expression": "19"}', "add"),
    ev.CallRetried("c0_0", 1, ToolFailureCode.UNAVAILABLE, "is away", 0.25),
    ev.CallFinished("c0_0", OK, WAITS),
    PREDICTED,
    ev.PredictionSettled("p0", "c0_0", "both are never set but here", 0.5, 0.25, 10),
    ASKED,
    ANSWERED,
    ev.BudgetExhausted("tenant", "cost_micros", 5_000, 4_999, ev.Exhaustion.ASK),
    WIND_DOWN,
    ev.TurnEnded(1, "It is 399.", USAGE, TurnFinishReason.TOOL_CALLS, "small", (ATTEMPT,)),
    ev.RunEnded(ev.RunState.FAILED, "partly", True, USAGE, ev.RunFailure("LIMIT_REACHED", "too far"), True),
)


def logged(kind: ev.EventKind, seq: int = 3) -> ev.LoggedEvent:
    return ev.LoggedEvent(RUN_ID, seq, TIME_NS, kind)


def unset_fields(message: Message, prefix: str = "") -> Iterator[str]:
    """Yield the paths of fields that are at their default, in the message and in all within it.

    Of a oneof, the members beside the chosen one do not count; times and durations are looked at as a whole.
    """
    for field in message.DESCRIPTOR.fields:
        path = f"{prefix}{field.name}"
        oneof = field.containing_oneof
        if oneof is not None and message.WhichOneof(oneof.name) not in (field.name, None):
            continue
        value: Any = getattr(message, field.name)
        if field.is_repeated:
            if not value:
                yield path
            elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
                for each in value:
                    yield from unset_fields(each, f"{path}.")
        elif field.message_type is not None:
            if not message.HasField(field.name):
                yield path
            elif not field.message_type.full_name.startswith("google.protobuf."):
                yield from unset_fields(value, f"{path}.")
        elif not value:
            yield path
