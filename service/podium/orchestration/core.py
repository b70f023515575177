"""What the parts of a run share: the process's services, and one run's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from podium.orchestration.budget import Budgets, RunBudget
from podium.orchestration.call_cache import CallCache
from podium.orchestration.events import Exhaustion, RunSpec, Speculation
from podium.orchestration.governor import Governor, Priority, RunShare
from podium.orchestration.long_results import LongResults
from podium.orchestration.prediction import Predictor
from podium.orchestration.prediction_ledger import PredictionLedger
from podium.orchestration.prices import PriceTable
from podium.orchestration.questions import Questions
from podium.orchestration.run_log import RunLog
from podium.orchestration.time_plan import TimePlan, TurnTimes
from podium.orchestration.tool import ToolExecutor
from podium.orchestration.tool_times import ToolTimes

__all__ = ["RunPolicy", "RunScope", "Services"]


def _only_itself(model: str) -> Sequence[str]:
    return (model,)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPolicy:
    """How runs are led; the server's bounds of each.

    Attributes:
        model_retries: additional attempts of a turn that said nothing yet.
        tool_retries: additional attempts of a call that may be repeated.
        max_each: most items of a call that is made for each of a list.
        max_repeats: how often the same call may give the same result before a run is taken to go in circles.
        min_confidence: share below which a call is not predicted.
        max_predictions: predicted calls of one run at once.
        cache_ttl_seconds: longest time for which a result is reused, whatever its tool allows.
        question_seconds: how long a question waits for its answer.
    """

    max_calls: int = 200
    max_turns: int = 16
    max_tokens: int = 32768
    max_cost_micros: int = 0
    model_retries: int = 3
    tool_retries: int = 3
    max_each: int = 100
    max_repeats: int = 3
    speculation: Speculation = Speculation.SAFE
    min_confidence: float = 0.6
    max_predictions: int = 4
    cache_ttl_seconds: float = 3600.0
    on_exhausted: Exhaustion = Exhaustion.FINISH
    question_seconds: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What all runs of a process share.

    `models_behind` names the models that may answer where one is asked for: several, where that is a route.
    """

    executor: ToolExecutor
    governor: Governor
    cache: CallCache
    budgets: Budgets
    prices: PriceTable
    predictor: Predictor
    ledger: PredictionLedger
    tool_times: ToolTimes
    turn_times: TurnTimes
    policy: RunPolicy
    long_results: LongResults | None = None
    models_behind: Callable[[str], Sequence[str]] = _only_itself


@dataclass(slots=True, kw_only=True)
class RunScope:
    """What the parts of one run share."""

    run_id: str
    tenant: str
    correlation_id: str
    spec: RunSpec
    services: Services
    log: RunLog
    share: RunShare
    budget: RunBudget
    questions: Questions
    time: TimePlan
    clock: Callable[[], float]
    winding_down: bool = False
    degraded: bool = False

    @property
    def priority(self) -> Priority:
        """The priority of the calls that the model asks for."""
        return Priority.BACKGROUND if self.spec.background else Priority.WAITING
