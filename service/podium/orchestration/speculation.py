"""Predicted calls of one run: started before the model asks, used only if it then asks for just that."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from podium.orchestration.budget import Dimension
from podium.orchestration.call_cache import Served, canonical
from podium.orchestration.call_run import CallRun, NotStarted, ReadyCall
from podium.orchestration.core import RunScope
from podium.orchestration.events import CallPredicted, PredictionSettled
from podium.orchestration.governor import Priority
from podium.orchestration.life import Life
from podium.orchestration.prediction import PastCall, Prediction, may_be_predicted
from podium.orchestration.tool import ToolFailure, ToolSpec
from podium.packed_json import packed

__all__ = ["Guess", "Speculation"]


_WORTHWHILE_SECONDS = 0.003  # a quicker tool costs more to predict than to call


@dataclass(slots=True)
class Guess:
    """One predicted call. `valid_through` is the last turn in which the model may still ask for it."""

    prediction_id: str
    prediction: Prediction
    spec: ToolSpec
    arguments: bytes
    valid_through: int
    task: asyncio.Task[Served | None] = field(init=False)
    start: float | None = None
    end: float | None = None


class Speculation:
    """Starts predicted calls and hands them over.

    Args:
        run: the run.
        perform: carries out calls.
        group: owns the tasks.
        tools: the run's tools.
    """

    def __init__(
        self, run: RunScope, perform: CallRun, group: asyncio.TaskGroup, tools: Mapping[str, ToolSpec]
    ) -> None:
        self._run, self._perform, self._group = run, perform, group
        self._tools = {name: spec for name, spec in tools.items() if may_be_predicted(spec.side_effects)}
        self._guesses: dict[tuple[str, bytes], Guess] = {}
        self._made = 0

    def consider(self, calls: Sequence[PastCall], *, turn: int) -> None:
        """Start what the model will probably ask for by the end of turn `turn`."""
        run, services = self._run, self._run.services
        if not self._tools or run.winding_down or not services.ledger.may_start(run.tenant):
            return
        room = services.policy.max_predictions - sum(guess.end is None for guess in self._guesses.values())
        if room <= 0:
            return
        found = services.predictor.predict(run.tenant, run.spec.input, calls, tools=self._tools.keys())
        done = {(call.tool, canonical(call.arguments)) for call in calls} if found else set()
        for prediction in found[:room]:
            if prediction.confidence < services.policy.min_confidence:
                return
            if self._tools[prediction.tool].cost_micros and run.budget.affordable(Dimension.COST) is not None:
                continue  # what may come to nothing must not cost the run a call that it needs
            usual = services.tool_times.usual(prediction.tool)
            if usual is not None and usual < _WORTHWHILE_SECONDS:
                continue
            key = (prediction.tool, canonical(prediction.arguments))
            if key not in self._guesses and key not in done:
                self._start(key, prediction, turn)

    def adopt(self, tool: str, arguments_json: bytes) -> Guess | None:
        """Return the guess that is just this call, once; None where there is none that has begun."""
        if not self._guesses:
            return None
        try:
            key = (tool, canonical(orjson.loads(arguments_json)))
        except orjson.JSONDecodeError:
            return None
        guess = self._guesses.pop(key, None)
        if guess is None:
            return None
        if guess.start is None:  # it still waits for a slot, behind everybody: the model's own call need not
            guess.task.cancel()
            return None
        return guess

    async def result(self, guess: Guess, call_id: str) -> Served | None:
        """Wait for an adopted guess and book it; None when it gave no result, and the call is to be made."""
        spent = self._worked(guess)
        try:
            served = await asyncio.shield(guess.task)
        except asyncio.CancelledError:
            await self._discard(guess, "the run ended")
            raise
        if served is None:
            await self._settle(guess, "", "the tool failed", self._worked(guess), 0.0)
            return None
        await self._settle(guess, call_id, "", spent, spent)
        return served

    async def turn_ended(self, turn: int) -> None:
        """Give up what the model did not ask for in time."""
        if self._guesses:
            await asyncio.sleep(0)  # a call that was written last looks for its guess in its first step
        for key, guess in list(self._guesses.items()):
            if guess.valid_through <= turn:
                del self._guesses[key]
                await self._discard(guess, "the model did not ask for it")

    async def close(self) -> None:
        """Give up everything that is left, and predict nothing any more."""
        self._tools = {}
        guesses, self._guesses = list(self._guesses.values()), {}
        for guess in guesses:
            await self._discard(guess, "the run ended")

    def _start(self, key: tuple[str, bytes], prediction: Prediction, turn: int) -> None:
        arguments = packed(prediction.arguments)
        guess = Guess(f"p{self._made}", prediction, self._tools[prediction.tool], arguments, turn)
        self._made += 1
        guess.task = self._group.create_task(self._guess(guess), name=guess.prediction_id)
        self._guesses[key] = guess

    async def _guess(self, guess: Guess) -> Served | None:
        async def started() -> None:
            guess.start = self._run.clock()
            self._run.services.ledger.started(self._run.tenant)
            spec, told = guess.spec, guess.prediction
            await self._run.log.append(
                CallPredicted(
                    guess.prediction_id, spec.name, guess.arguments, spec.version, told.confidence, told.basis
                )
            )

        call = ReadyCall(
            guess.prediction_id,
            guess.spec.name,
            guess.spec,
            guess.arguments,
            Life(self._run.clock),
            Priority.PREDICTED,
            predicted=True,
            on_start=started,
        )
        try:
            return await self._perform.perform(call)
        except (ToolFailure, NotStarted):
            return None
        finally:
            guess.end = self._run.clock()

    async def _discard(self, guess: Guess, because: str) -> None:
        guess.task.cancel()
        if guess.start is not None:
            await self._settle(guess, "", because, self._worked(guess), 0.0)

    def _worked(self, guess: Guess) -> float:
        """Return how long its tool has worked so far."""
        if guess.start is None:
            return 0.0
        return (self._run.clock() if guess.end is None else guess.end) - guess.start

    async def _settle(self, guess: Guess, call_id: str, because: str, spent: float, saved: float) -> None:
        cost = guess.spec.cost_micros
        ledger = self._run.services.ledger
        if call_id:
            ledger.hit(self._run.tenant, seconds=spent, cost_micros=cost, saved_seconds=saved)
        else:
            ledger.missed(self._run.tenant, seconds=spent, cost_micros=cost)
        await self._run.log.append(
            PredictionSettled(guess.prediction_id, call_id, because, spent, saved, 0 if guess.start is None else cost)
        )
