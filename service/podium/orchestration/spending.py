"""What a run does about its budgets: reserves, settles, and where one is used up, asks, finishes or stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

from podium.errors import PodiumError, ResourceExhausted
from podium.orchestration.budget import LEAST_COMPLETION, Amount, BudgetRefused, Dimension, Reservation, Scope
from podium.orchestration.call_run import ReadyCall, RunStopped
from podium.orchestration.chat import ChatModel, ChatRequest, Message, ModelInfo, TurnFinished, Usage
from podium.orchestration.core import RunScope
from podium.orchestration.events import (
    AnswerSource,
    BudgetExhausted,
    Exhaustion,
    QuestionKind,
    WindDownCause,
    WindDownStarted,
)
from podium.orchestration.life import Phase
from podium.orchestration.prices import FREE, Price
from podium.orchestration.tool import ToolFailure, ToolFailureCode

__all__ = ["Spending", "TurnAllowance", "top_up"]

_SIZE_OF_TOKEN: Final = 2
_UNHEARD_TOKENS: Final = 256  # of a turn that was broken off: thoughts, and a call that was not complete
_MORE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        name: {"type": "integer", "minimum": 0, "maximum": 10**15} for name in ("tokens", "cost_micros", "calls")
    },
    "additionalProperties": False,
    "minProperties": 1,
}


@dataclass(slots=True)
class TurnAllowance:
    """What a model turn may take. `request` is the turn's, with the tokens that it may write."""

    request: ChatRequest
    spending: Spending
    reservation: Reservation
    prompt_tokens: int = 0
    price: Price = FREE

    def settle(self, finished: TurnFinished) -> Usage:
        """Book what the turn took, and return it with its price."""
        usage = finished.usage
        cost = self.spending.cost(finished.model, usage)
        self.reservation.settle(Amount(tokens=usage.prompt_tokens + usage.completion_tokens, cost_micros=cost))
        return replace(usage, cost_micros=cost)

    def broken_off(self, heard: int) -> None:
        """Book a turn of which nobody knows what it took: its prompt, `heard` characters of answer, some more."""
        reserved = self.reservation.amount
        written = heard // _SIZE_OF_TOKEN + _UNHEARD_TOKENS
        tokens, cost = self.prompt_tokens + written, self.price.ceiling_micros(self.prompt_tokens, written)
        self.reservation.settle(
            Amount(tokens=min(tokens, reserved.tokens), cost_micros=min(cost, reserved.cost_micros))
        )


class Spending:
    """The money, tokens and calls of one run.

    Attributes:
        refused: why the run could not go on, once that is so.
    """

    def __init__(self, run: RunScope, model: ChatModel) -> None:
        self._run, self._model = run, model
        self._asking = asyncio.Lock()
        self._told: set[tuple[str, str]] = set()
        self._info: ModelInfo | None = None
        self.refused: PodiumError | None = None

    @property
    def _action(self) -> Exhaustion:
        return self._run.spec.limits.on_exhausted or self._run.services.policy.on_exhausted

    async def allow(self, call: ReadyCall, amount: Amount) -> Reservation:
        """Reserve what a call needs; where a budget is used up, do as the run says.

        Raises:
            ToolFailure: it is not allowed.
            RunStopped: it is not, and the run is to stop then.
        """
        try:
            return self._run.budget.reserve(amount)
        except BudgetRefused as refusal:
            if call.predicted:
                raise ToolFailure(ToolFailureCode.BUDGET, refusal.message) from None
            call.life.enter(Phase.BUDGET)
            while await self._room(refusal) or await self._more_for_call(refusal):
                try:
                    return self._run.budget.reserve(amount)
                except BudgetRefused as again:
                    refusal = again
            raise ToolFailure(ToolFailureCode.BUDGET, refusal.message) from None

    async def allow_turn(self, request: ChatRequest) -> TurnAllowance | None:
        """Reserve what a turn needs; None when it is not allowed, and the run is to end with what it has.

        Raises:
            FailedPrecondition: the model has no price, and a budget of money applies.
            ResourceExhausted: the budget is used up, and the run is to stop then.
        """
        budget = self._run.budget
        money = budget.affordable(Dimension.COST) is not None
        if not money and budget.affordable(Dimension.TOKENS) is None:
            return TurnAllowance(request, self, budget.reserve(Amount()))
        price = await self._price(bounded=money)
        prompt = _prompt_estimate(request)
        while True:
            try:
                wanted = self._wanted(request, prompt, price)
                reservation, tokens = budget.reserve_turn(prompt_tokens=prompt, wanted=wanted, price=price)
            except BudgetRefused as refusal:
                if not (await self._room(refusal) or await self._more(refusal)):
                    self.refused = self.refused or _exhausted(refusal)
                    return None
            else:
                return TurnAllowance(replace(request, max_tokens=tokens), self, reservation, prompt, price)

    def _wanted(self, request: ChatRequest, prompt: int, price: Price) -> int:
        """Return how many tokens to reserve for: where tools are offered, half the money is left for them.

        They start while the model still writes, and would otherwise wait for the end of its turn.
        """
        wanted = request.max_tokens or 1
        money = self._run.budget.affordable(Dimension.COST)
        if not request.tools or money is None:
            return wanted
        fits = price.affordable_completion(money // 2, prompt)
        return wanted if fits is None else min(wanted, max(fits, LEAST_COMPLETION))

    def cost(self, model: str, usage: Usage) -> int:
        """Return what a turn cost, in millionths."""
        name = model or self._model.name
        remote = self._info.remote if self._info is not None else False
        return self._run.services.prices.cost_micros(name, usage, remote=remote)

    async def _price(self, *, bounded: bool) -> Price:
        if self._info is None:
            async with asyncio.timeout_at(self._run.time.deadline):
                self._info = await self._model.info()
        services = self._run.services
        remote = self._info.remote
        models = [(name, remote) for name in services.models_behind(self._model.name)]
        return services.prices.dearest(models, bounded=bounded) if bounded else FREE

    async def _room(self, refusal: BudgetRefused) -> bool:
        """Wait while only work in progress stands in the way; return whether something changed."""
        if not refusal.held_up:
            return False
        changed = asyncio.Event()
        call_off = refusal.when_changed(changed.set)
        try:
            async with asyncio.timeout_at(self._run.time.cutoff):
                await changed.wait()
        except TimeoutError:
            return False
        finally:
            call_off()
        return True

    async def _more_for_call(self, refusal: BudgetRefused) -> bool:
        try:
            return await self._more(refusal)
        except ResourceExhausted as stop:
            raise RunStopped(stop) from None

    async def _more(self, refusal: BudgetRefused) -> bool:
        """Do about a used-up budget what the run says; return whether there may be more now."""
        action = self._action
        await self._tell(refusal, action)
        if action is Exhaustion.ASK:
            return await self._ask(refusal)
        self.refused = _exhausted(refusal)
        if action is Exhaustion.STOP:
            raise self.refused
        await self._wind_down(refusal.message)
        return False

    async def _tell(self, refusal: BudgetRefused, action: Exhaustion) -> None:
        key = (refusal.scope, refusal.dimension)
        if key not in self._told:
            self._told.add(key)
            await self._run.log.append(
                BudgetExhausted(refusal.scope, refusal.dimension, refusal.limit, refusal.used, action)
            )

    async def _ask(self, refusal: BudgetRefused) -> bool:
        """Let somebody decide. Calls that meet the same end meanwhile wait for the one answer."""
        run = self._run
        standing = run.budget.affordable(refusal.dimension)
        async with self._asking:
            if run.winding_down:
                return False
            if run.budget.affordable(refusal.dimension) != standing:
                return True  # the answer to an earlier question allowed more
            until = min(run.clock() + run.services.policy.question_seconds, run.time.question_end)
            answer = await run.questions.ask(
                QuestionKind.BUDGET, refusal.message, schema=_MORE, until=until, subject=refusal.scope
            )
            self._told.discard((refusal.scope, refusal.dimension))
            if answer.source is AnswerSource.ANSWERED and any(answer.value.values()):
                return True
            await self._wind_down(refusal.message)
            return False

    async def stop(self, limit: PodiumError) -> None:
        """Let the run end because a limit of its is reached: with an error if it says so, or has nothing to tell.

        Raises:
            PodiumError: `limit`, where the run is to stop.
        """
        self.refused = limit
        if self._action is Exhaustion.STOP:
            raise limit
        await self._wind_down(limit.message)

    async def _wind_down(self, because: str) -> None:
        if not self._run.winding_down:
            self._run.winding_down = True
            await self._run.log.append(WindDownStarted(WindDownCause.BUDGET, because))


def top_up(run: RunScope, owner: str, scope: str, more: dict[str, int]) -> None:
    """Raise the budget that a question was about."""
    amount = Amount(tokens=more.get("tokens", 0), cost_micros=more.get("cost_micros", 0), calls=more.get("calls", 0))
    if scope == Scope.RUN:
        run.budget.top_up(amount)
        return
    key = owner if scope in (Scope.PRINCIPAL_DAY, Scope.PRINCIPAL_MONTH) else run.tenant
    run.services.budgets.top_up(Scope(scope), key, amount)


def _exhausted(refusal: BudgetRefused) -> ResourceExhausted:
    return ResourceExhausted(refusal.message, reason="BUDGET_EXHAUSTED", quota=f"{refusal.scope} {refusal.dimension}")


def _prompt_estimate(request: ChatRequest) -> int:
    """Return an upper estimate of a prompt's tokens: one for every two bytes of what it holds.

    Byte-level tokenizers need a token for every three to four bytes of usual text and JSON; the rest
    allows for templates and rarer writing. What a turn really took is settled afterwards.
    """
    size = sum(_size(message) for message in request.messages)
    size += sum(len(tool.name) + len(tool.description) + len(repr(tool.input_schema)) for tool in request.tools)
    return size // _SIZE_OF_TOKEN + 16


def _size(message: Message) -> int:
    text = getattr(message, "text", "") or getattr(message, "content", "")
    return len(text.encode()) + sum(len(call.arguments_json) for call in getattr(message, "calls", ()))
