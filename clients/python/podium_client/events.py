"""The events of a run as a caller sees them, one class a kind.

    RunEvent
    ├── RunStarted            accepted and started
    ├── ModelTurnStarted      the model begins to write
    ├── TextDelta             it wrote some text (not part of the log: `seq` is the last event's)
    ├── ToolCallSealed        it wrote a call; nothing can change it any more
    ├── ToolCallStarted       the tool was started
    ├── ToolCallRetried       an attempt failed, and another follows
    ├── ToolCallFinished      the tool ended: `ok`, or `failure`, or `skipped_because`
    ├── CallPredicted         a call was started that the model had not asked for
    ├── PredictionSettled     the model asked for it, or will not
    ├── QuestionAsked         somebody has to answer before a call, or the run, can go on
    ├── QuestionSettled       a question needs no answer any more
    ├── BudgetExhausted       a budget would be exceeded by what comes next
    ├── WindDownStarted       the run starts nothing more and answers from what it has
    ├── ModelTurnFinished     the model ended its turn
    └── RunFinished           always the last

A kind that this client does not know is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from podium.v1 import run_pb2
from podium_client._wire import parse_arguments, parse_result
from podium_client.calls import CallWaits, ResultSource, ToolCallFailure
from podium_client.clarifications import ClarificationState, QuestionKind
from podium_client.errors import RunFailed
from podium_client.runs import RunError, RunResult, RunState, TurnFinishReason, Usage, WindDownCause

__all__ = [
    "BudgetExhausted",
    "CallPredicted",
    "ModelTurnFinished",
    "ModelTurnStarted",
    "PredictionSettled",
    "QuestionAsked",
    "QuestionSettled",
    "RunEvent",
    "RunFinished",
    "RunStarted",
    "TextDelta",
    "ToolCallFinished",
    "ToolCallRetried",
    "ToolCallSealed",
    "ToolCallStarted",
    "WindDownStarted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """What all events have: the run, the number in its log (from 1, without holes), the time."""

    run_id: str
    seq: int
    time: datetime
    raw: run_pb2.RunEvent = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(RunEvent):
    """The run was accepted and started."""

    model: str
    input: str
    correlation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTurnStarted(RunEvent):
    """A model turn started; turns count from 0."""

    turn: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta(RunEvent):
    """More text of a turn, from `offset` (in code points) on."""

    turn: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallSealed(RunEvent):
    """A call is complete in the model's stream, or is one item of `item_of`, which is made for each of a list."""

    call_id: str
    tool: str
    version: str
    depends_on: tuple[str, ...]
    item_of: str = ""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as the model wrote them, parsed."""
        return parse_arguments(self.raw.tool_call_sealed.arguments_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallStarted(RunEvent):
    """The tool was started; attempts count from 1. `tool` is the one that stands in, if another ran."""

    call_id: str
    attempt: int
    tool: str = ""

    @property
    def arguments(self) -> dict[str, Any] | None:
        """What the tool got, parsed; None where that is what the model wrote."""
        payload = self.raw.tool_call_started.arguments_json
        return parse_arguments(payload) if payload else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallRetried(RunEvent):
    """An attempt failed, and another follows after `delay`."""

    call_id: str
    attempt: int
    failure: ToolCallFailure
    delay: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFinished(RunEvent):
    """A call ended: with a result when `ok`, else with a failure or because it was skipped.

    `age` is how old a result from the cache was, `waits` where the call's time went.
    """

    call_id: str
    ok: bool
    content_type: str
    failure: ToolCallFailure | None
    skipped_because: str
    source: ResultSource = ResultSource.UNSPECIFIED
    age: timedelta = timedelta()
    waits: CallWaits = field(default_factory=CallWaits)

    @property
    def result(self) -> Any:
        """The result, parsed; None when there is none."""
        return parse_result(self.raw.tool_call_finished.ok.result_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPredicted(RunEvent):
    """A call was started that the model had not asked for; `basis` says why, `confidence` is from 0 to 1."""

    prediction_id: str
    tool: str
    version: str
    confidence: float
    basis: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, parsed."""
        return parse_arguments(self.raw.call_predicted.arguments_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSettled(RunEvent):
    """The model asked for the predicted call (`call_id`), or did not ("", and `because`).

    `spent` is how long the tool had worked by then, or in all when it was for nothing; `saved` how much
    earlier the result is there; `cost_micros` what the call cost.
    """

    prediction_id: str
    call_id: str
    because: str
    spent: timedelta
    saved: timedelta
    cost_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAsked(RunEvent):
    """Somebody has to answer before `call_id` (or the run, when that is empty) can go on."""

    question_id: str
    call_id: str
    kind: QuestionKind
    prompt: str
    expire_time: datetime

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the answer."""
        return parse_arguments(self.raw.question_asked.schema_json)

    @property
    def default(self) -> Any:
        """The answer that counts when none came in time, parsed; None when there is none."""
        return parse_result(self.raw.question_asked.default_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSettled(RunEvent):
    """A question needs no answer any more; `state` says how it was settled."""

    question_id: str
    state: ClarificationState

    @property
    def answer(self) -> Any:
        """The answer that counts, parsed; None when there is none."""
        return parse_result(self.raw.question_settled.answer_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetExhausted(RunEvent):
    """A budget would be exceeded by what comes next.

    `scope` names whose it is, `dimension` what it counts, `action` what the run does about it ("" for
    something that this client does not know).
    """

    scope: str
    dimension: str
    limit: int
    used: int
    action: Literal["stop", "finish", "ask", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindDownStarted(RunEvent):
    """The run starts nothing more and answers from what it has; `missing` are the calls it does without."""

    cause: WindDownCause
    because: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTurnFinished(RunEvent):
    """A model turn ended; `text` is all of it."""

    turn: int
    text: str
    usage: Usage
    finish_reason: TurnFinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(RunEvent):
    """The run ended. `degraded`: something stood in for a tool or a model that failed."""

    state: RunState
    answer: str
    partial: bool
    usage: Usage
    error: RunError | None
    degraded: bool = False

    def raise_for_state(self) -> RunFinished:
        """Return the event itself if the run succeeded, else raise `RunFailed`."""
        if self.state is RunState.SUCCEEDED:
            return self
        end = self.raw.run_finished
        run = run_pb2.Run(
            run_id=self.run_id,
            state=end.state,
            partial=end.partial,
            degraded=end.degraded,
            usage=end.usage,
            error=end.error if end.HasField("error") else None,
            last_seq=self.seq,
        )
        raise RunFailed(RunResult.of(run))
