"""What happens in a run, as a log of events; everything else about a run folds from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from podium.orchestration.chat import ModelAttempt, TurnFinishReason, Usage
from podium.orchestration.tool import ToolFailureCode

__all__ = [
    "AnswerSource",
    "BudgetExhausted",
    "CallFailed",
    "CallFinished",
    "CallOutcome",
    "CallPredicted",
    "CallRetried",
    "CallSealed",
    "CallSkipped",
    "CallStarted",
    "CallSucceeded",
    "EventKind",
    "Exhaustion",
    "LoggedEvent",
    "PredictionSettled",
    "QuestionAsked",
    "QuestionKind",
    "QuestionSettled",
    "ResultSource",
    "RunEnded",
    "RunFailure",
    "RunLimits",
    "RunSpec",
    "RunStarted",
    "RunState",
    "Speculation",
    "TextWritten",
    "TurnEnded",
    "TurnStarted",
    "Waits",
    "WindDownCause",
    "WindDownStarted",
]


class RunState(StrEnum):
    """Where a run stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


class Speculation(StrEnum):
    """Whether calls may be started before the model asks for them."""

    OFF = "OFF"
    SAFE = "SAFE"  # only tools without side effects


class Exhaustion(StrEnum):
    """What a run does when a budget of its is used up."""

    STOP = "STOP"  # ends, failed
    FINISH = "FINISH"  # starts nothing more, answers from what it has
    ASK = "ASK"  # pauses until somebody allows more


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Bounds of one run; None means the server's own. Money is in millionths of the budget's currency."""

    max_calls: int | None = None
    max_turns: int | None = None
    max_tokens: int | None = None
    max_cost_micros: int | None = None
    max_seconds: float | None = None
    on_exhausted: Exhaustion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What to do, as the caller put it.

    Attributes:
        plan_only: stop before any tool runs; the calls of the first turn are the result.
        detach: the run goes on when the caller leaves.
        background: nobody waits for it; its calls give way to those of runs that somebody waits for.
        bypass_cache: results are neither taken from the cache nor kept in it.
        may_ask: the model may put questions to the caller.
        speculation: None means the server's own.
    """

    input: str
    model: str = ""
    tools: tuple[str, ...] = ()
    request_id: str = ""
    limits: RunLimits = RunLimits()
    labels: Mapping[str, str] = field(default_factory=dict)
    plan_only: bool = False
    detach: bool = False
    background: bool = False
    bypass_cache: bool = False
    may_ask: bool = False
    speculation: Speculation | None = None


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why a run has no answer. `reason` is stable, `message` is for the caller."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run was accepted and started."""

    spec: RunSpec
    model: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A model turn started; turns count from 0."""

    turn: int
    model: str


@dataclass(frozen=True, slots=True)
class TextWritten:
    """More text of a turn, from code point `offset` on. Never logged: `TurnEnded` has the whole text."""

    turn: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class CallSealed:
    """A call is complete in the model's stream, or is one item of a call that is made for each of a list.

    `arguments_json` is as the model wrote it, references and all; `item_of` is the call whose item it is.
    """

    call_id: str
    tool: str
    arguments_json: bytes
    version: str
    depends_on: tuple[str, ...] = ()
    item_of: str = ""


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The tool was started; attempts count from 1.

    `arguments_json` is what the tool got, where that is not what the model wrote (references filled in);
    `tool` is the tool that ran, where that is another (its fallback).
    """

    call_id: str
    attempt: int
    arguments_json: bytes = b""
    tool: str = ""


@dataclass(frozen=True, slots=True)
class CallRetried:
    """An attempt failed, and another follows after `seconds`."""

    call_id: str
    attempt: int
    code: ToolFailureCode
    message: str
    seconds: float


class ResultSource(StrEnum):
    """Where a result came from."""

    TOOL = "TOOL"
    CACHE = "CACHE"  # kept from an earlier call
    JOINED = "JOINED"  # an equal call was going on
    PREDICTED = "PREDICTED"  # started before the model asked
    FALLBACK = "FALLBACK"  # the tool failed, and what stands in for it answered


@dataclass(frozen=True, slots=True)
class CallSucceeded:
    """The call has a result. `age_seconds` of one from the cache."""

    result_json: bytes
    content_type: str
    source: ResultSource = ResultSource.TOOL
    age_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The tool gave no result."""

    code: ToolFailureCode
    message: str


@dataclass(frozen=True, slots=True)
class CallSkipped:
    """The call was never started."""

    because: str


CallOutcome = CallSucceeded | CallFailed | CallSkipped


@dataclass(frozen=True, slots=True)
class Waits:
    """Where a call's time went, in seconds, from its sealing to its end.

    Attributes:
        turn: for the model's turn to end, which calls with side effects wait for.
        parents: for the calls whose results it uses.
        question: for an answer from the caller.
        budget: for somebody to allow more.
        cache: for an equal call that was going on.
        queue: for a slot.
        retry: between attempts.
        work: for the tool itself.
    """

    turn: float = 0.0
    parents: float = 0.0
    question: float = 0.0
    budget: float = 0.0
    cache: float = 0.0
    queue: float = 0.0
    retry: float = 0.0
    work: float = 0.0

    @property
    def total(self) -> float:
        """The whole time."""
        return self.turn + self.parents + self.question + self.budget + self.cache + self.queue + self.retry + self.work


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A call ended."""

    call_id: str
    outcome: CallOutcome
    waits: Waits = Waits()


@dataclass(frozen=True, slots=True)
class CallPredicted:
    """A call was started that the model has not asked for: `basis` says in words why, `confidence` is a share."""

    prediction_id: str
    tool: str
    arguments_json: bytes
    version: str
    confidence: float
    basis: str


@dataclass(frozen=True, slots=True)
class PredictionSettled:
    """The model asked for the predicted call (`call_id`), or did not ("", and `because`).

    `spent_seconds` is how long the tool had worked by then, or in all when it was for nothing;
    `saved_seconds` how much earlier the result is there; `cost_micros` what the call cost.
    """

    prediction_id: str
    call_id: str
    because: str
    spent_seconds: float
    saved_seconds: float
    cost_micros: int = 0


class QuestionKind(StrEnum):
    """What a question is about."""

    CHOICE = "CHOICE"
    TEXT = "TEXT"
    CONFIRM = "CONFIRM"
    VALUE = "VALUE"
    BUDGET = "BUDGET"  # whether the run may use more


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """Somebody has to answer before `call_id` (or the run, when that is empty) can go on.

    `schema_json` is the JSON Schema of the answer, `default_json` the answer that counts when none came
    by `expire_ns` (nanoseconds since the epoch); without it the question is then skipped.
    """

    question_id: str
    call_id: str
    kind: QuestionKind
    prompt: str
    schema_json: bytes
    default_json: bytes
    expire_ns: int


class AnswerSource(StrEnum):
    """How a question was settled."""

    ANSWERED = "ANSWERED"
    DEFAULT = "DEFAULT"
    SKIPPED = "SKIPPED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class QuestionSettled:
    """A question needs no answer any more."""

    question_id: str
    source: AnswerSource
    answer_json: bytes = b""


@dataclass(frozen=True, slots=True)
class BudgetExhausted:
    """A budget would be exceeded by what comes next. `scope` names whose it is, `dimension` what it counts."""

    scope: str
    dimension: str
    limit: int
    used: int
    action: Exhaustion


class WindDownCause(StrEnum):
    """Why a run stopped starting work."""

    DEADLINE = "DEADLINE"
    BUDGET = "BUDGET"
    TURNS = "TURNS"
    LOOP = "LOOP"
    MEMORY = "MEMORY"


@dataclass(frozen=True, slots=True)
class WindDownStarted:
    """The run starts nothing more and answers from what it has; `missing` are the calls it does without."""

    cause: WindDownCause
    because: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A model turn ended. `model` answered; `attempts` are all that were asked, where there was a choice."""

    turn: int
    text: str
    usage: Usage
    reason: TurnFinishReason
    model: str = ""
    attempts: tuple[ModelAttempt, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run ended; always the last event. `degraded`: something stood in for a tool or model that failed."""

    state: RunState
    answer: str
    partial: bool
    usage: Usage
    failure: RunFailure | None = None
    degraded: bool = False


EventKind = (
    RunStarted
    | TurnStarted
    | TextWritten
    | CallSealed
    | CallStarted
    | CallRetried
    | CallFinished
    | CallPredicted
    | PredictionSettled
    | QuestionAsked
    | QuestionSettled
    | BudgetExhausted
    | WindDownStarted
    | TurnEnded
    | RunEnded
)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One entry of a run's log.

    `seq` counts from 1 without holes (a `TextWritten` repeats the last logged number); `time_ns`
    is nanoseconds since the epoch.
    """

    run_id: str
    seq: int
    time_ns: int
    kind: EventKind
