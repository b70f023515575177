"""Holds what happened in random runs against the rules; it knows nothing of how they are kept."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from podium.orchestration.budget import Amount
from podium.orchestration.events import (
    CallFailed,
    CallFinished,
    CallPredicted,
    CallRetried,
    CallSealed,
    CallSkipped,
    CallStarted,
    CallSucceeded,
    LoggedEvent,
    PredictionSettled,
    ResultSource,
    RunEnded,
    RunStarted,
    RunState,
    TurnEnded,
)
from podium.orchestration.tool import SideEffects, ToolFailureCode, ToolSpec
from podium.orchestration.view import fold
from support.random_plans import PlannedRun, World, refers
from support.random_runs import CLEAN_UP, Body, Played
from support.run_fates import Expected

__all__ = ["check"]

_JITTER: Final = 0.1  # seconds by which a pause may be longer than was said
_NEAR: Final = 1e-6


@dataclass(slots=True)
class _Call:
    """A call as the log has it so far."""

    sealed_at: float
    spec: ToolSpec
    turn: int
    parents: list[str]
    plan_id: str
    item: int | None = None
    waits_from: float | None = None  # since when nothing but limits may hold it up
    starts: int = 0
    attempts: int = 0
    bodies: int = 0
    effects: int = 0
    finished: CallFinished | None = None


@dataclass(slots=True)
class _Run:
    """A run as the log has it so far."""

    plan: PlannedRun
    expected: Expected
    began: float
    calls: dict[str, _Call] = field(default_factory=dict)
    turns: set[int] = field(default_factory=set)
    predicted: dict[str, CallPredicted] = field(default_factory=dict)
    settled: dict[str, PredictionSettled] = field(default_factory=dict)
    working: int = 0
    charged: int = 0
    ended: RunEnded | None = None
    cancelled_at: float | None = None


class _Checker:
    def __init__(self, world: World, played: Played) -> None:
        self._world, self._played = world, played
        self._runs: dict[str, _Run] = {}
        self._numbers = dict(played.ids)
        self._working: Counter[tuple[str, str]] = Counter()
        self._now = 0.0
        self._made: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
        self._answered = False  # a model has, so that it is known how long it takes

    def check(self) -> None:
        played = self._played
        for entry in played.entries:
            if entry.at > self._now:
                self._nothing_idle()
                self._now = entry.at
            if entry.event is not None:
                self._event(entry.event)
            elif entry.body is not None:
                (self._body_started if entry.what == "start" else self._body_ended)(entry.body)
            elif (run := self._runs.get(self._numbers.get(entry.run, ""))) is not None and run.ended is None:
                run.cancelled_at = entry.at
        for run_id, run in self._runs.items():
            self._check_log(run_id, run)
        self._check_rest()

    # --- events, as they come

    def _event(self, event: LoggedEvent) -> None:
        kind = event.kind
        assert abs(event.time_ns / 1e9 - self._now) < _NEAR
        if isinstance(kind, RunStarted):
            plan = self._world.runs[int(kind.spec.input)]
            self._runs[event.run_id] = _Run(plan, Expected(self._world, plan), self._now)
            return
        run = self._runs[event.run_id]
        assert run.ended is None, f"{kind} follows the end"
        match kind:
            case CallSealed():
                self._sealed(run, kind)
            case CallStarted():
                self._started(run, kind)
            case CallRetried():
                call = run.calls[kind.call_id]
                assert call.starts == call.bodies > 0
                assert call.finished is None
                if run.plan.spec.limits.max_cost_micros is None:
                    call.waits_from = self._now + kind.seconds + _JITTER
            case CallFinished():
                self._finished(run, kind)
            case CallPredicted() | PredictionSettled():
                self._guessed(run, kind)
            case TurnEnded():
                run.turns.add(kind.turn)
                self._answered |= not any(call.turn == kind.turn for call in run.calls.values())
                for call in run.calls.values():
                    self._may_start(run, call)
            case RunEnded():
                assert run.working == 0, "a tool outlives its run"
                assert all(call.finished for call in run.calls.values()), "a call was lost"
                assert run.predicted.keys() == run.settled.keys()
                run.ended = kind

    def _sealed(self, run: _Run, sealed: CallSealed) -> None:
        assert sealed.call_id not in run.calls
        plan_id = sealed.item_of or sealed.call_id
        turn = int(plan_id[1:].partition("_")[0])
        assert turn not in run.turns or sealed.item_of
        parents = [parent for parent in run.expected.parents[plan_id] if parent]
        item = int(sealed.call_id.rpartition("_")[2]) if sealed.item_of else None
        call = _Call(self._now, self._world.tools[sealed.tool], turn, parents, plan_id, item)
        run.calls[sealed.call_id] = call
        if sealed.item_of:
            assert run.calls[plan_id].finished is None
        else:
            assert sealed.arguments_json == run.expected.calls[plan_id].arguments_json
        self._may_start(run, call)

    def _may_start(self, run: _Run, call: _Call) -> None:
        """Note since when nothing but limits may hold up a call."""
        if call.waits_from is not None or call.finished or call.starts or run.plan.cut:
            return
        fated = run.expected.fate(call.plan_id)
        each = call.item is None and "each" in run.expected.calls[call.plan_id].arguments
        if each or not (fated.started or call.item is not None) or not self._unhindered(run, call):
            return
        shared = call.spec.cache_ttl_seconds is not None and call.spec.repeatable
        if not shared or run.plan.spec.bypass_cache:
            call.waits_from = self._now

    def _unhindered(self, run: _Run, call: _Call) -> bool:
        turn_open = call.turn not in run.turns
        if call.spec.side_effects is SideEffects.EFFECTFUL and turn_open:
            return False
        return all(_ended_well(run.calls.get(parent)) for parent in call.parents)

    def _started(self, run: _Run, started: CallStarted) -> None:
        call = run.calls[started.call_id]
        assert call.finished is None, "started after its end"
        assert self._unhindered(run, call), f"{started.call_id} started too soon"
        assert not run.expected.hopeless(call.plan_id)
        assert call.item is not None or "each" not in run.expected.calls[call.plan_id].arguments
        call.attempts += 1
        assert started.attempt == call.attempts
        stands_in = call.spec.fallback is not None and started.tool == call.spec.fallback.tool
        assert stands_in or (not started.tool and call.attempts <= 1 + self._world.policy.tool_retries)
        call.starts += 1
        call.waits_from = None

    def _finished(self, run: _Run, finished: CallFinished) -> None:
        call = run.calls[finished.call_id]
        assert call.finished is None, "ended twice"
        assert abs(finished.waits.total - (self._now - call.sealed_at)) < _NEAR
        assert min(finished.waits.__getattribute__(name) for name in finished.waits.__slots__) >= 0
        call.finished = finished
        match finished.outcome:
            case CallSkipped():
                assert call.starts == call.bodies == 0, "skipped, yet it ran"
                assert run.plan.cut
            case CallFailed(code=code, message=message):
                if code is ToolFailureCode.DEPENDENCY_FAILED:
                    assert call.starts == 0
                    self._cause_is_named(run, call, message)
            case CallSucceeded(source=ResultSource.PREDICTED):
                assert call.bodies == 0
                assert any(each.call_id == finished.call_id for each in run.settled.values())
            case CallSucceeded(source=source):
                each = call.item is None and "each" in run.expected.calls[call.plan_id].arguments
                assert call.bodies or each or source is not ResultSource.TOOL
                if source in (ResultSource.CACHE, ResultSource.JOINED):
                    self._made_before(run, call, finished.outcome.age_seconds)
        self._as_expected(run, finished, call)
        for other in run.calls.values():
            self._may_start(run, other)

    def _made_before(self, run: _Run, call: _Call, age: float) -> None:
        """A result that was not made for this call was made for the same call of the same tenant, so long ago."""
        planned = run.expected.calls[call.plan_id]
        if refers(planned.arguments):
            return
        made = self._made[run.plan.tenant, call.spec.name, json.dumps(planned.arguments)]
        assert any(abs(self._now - age - at) < _NEAR for at in made), "a result from nowhere"
        assert age <= (call.spec.cache_ttl_seconds or 0)
        assert not run.plan.spec.bypass_cache

    def _as_expected(self, run: _Run, finished: CallFinished, call: _Call) -> None:
        fate = run.expected
        fated = fate.fate(call.plan_id) if call.item is None else fate.item(call.plan_id, call.item)
        match finished.outcome:
            case CallSucceeded(result_json=result):
                if not run.plan.cut:
                    assert fated.ok, f"{finished.call_id} should have failed: {fated}"
                    assert json.loads(result) == fated.result
            case CallFailed(code=code):
                if not run.plan.cut or code is ToolFailureCode.INVALID_ARGUMENTS:
                    assert code in fated.codes, f"{finished.call_id}: {finished.outcome} instead of {fated}"

    def _cause_is_named(self, run: _Run, call: _Call, message: str) -> None:
        ancestors: set[str] = set()
        stack = list(call.parents)
        while stack:
            one = stack.pop()
            if one not in ancestors:
                ancestors.add(one)
                stack.extend(run.calls[one].parents if one in run.calls else [])
        ended = {one: run.calls[one].finished for one in ancestors if one in run.calls}
        causes = [
            one
            for one, finished in ended.items()
            if finished is not None
            and not isinstance(finished.outcome, CallSucceeded)
            and getattr(finished.outcome, "code", None) is not ToolFailureCode.DEPENDENCY_FAILED
        ]
        words = message.replace(",", " ").replace(":", " ").split()
        assert any(cause in words for cause in causes), f"{message!r} names none of {causes}"

    def _guessed(self, run: _Run, kind: CallPredicted | PredictionSettled) -> None:
        assert kind.prediction_id not in run.settled
        if isinstance(kind, CallPredicted):
            assert kind.prediction_id not in run.predicted
            assert self._world.tools[kind.tool].side_effects is SideEffects.NONE
            run.predicted[kind.prediction_id] = kind
            return
        told = run.predicted[kind.prediction_id]
        run.settled[kind.prediction_id] = kind
        assert kind.spent_seconds >= 0
        assert kind.cost_micros == self._world.tools[told.tool].cost_micros
        if kind.call_id:
            assert run.calls[kind.call_id].spec.name == told.tool
            assert kind.saved_seconds <= kind.spent_seconds + _NEAR
        else:
            assert kind.because
            assert kind.saved_seconds == 0
            if not run.plan.cut and "not ask" in kind.because:
                assert not any(self._asked_for(run, call, told) for call in run.calls.values()), "it was asked for"

    def _asked_for(self, run: _Run, call: _Call, told: CallPredicted) -> bool:
        if call.finished or call.starts or call.item is not None or call.spec.name != told.tool:
            return False
        planned = run.expected.calls[call.plan_id]
        return not planned.broken and json.loads(told.arguments_json) == planned.arguments

    # --- tools

    def _body_started(self, body: Body) -> None:
        run = self._runs[body.run_id]
        assert run.ended is None
        run.working += 1
        if run.plan.seconds is not None and not self._answered:  # a fifth is then kept for the answer
            assert self._now < run.began + 0.8 * run.plan.seconds, "there was no time left"
        if body.call_id in run.predicted:
            assert self._world.tools[body.tool].side_effects is SideEffects.NONE
            run.charged += 1
        else:
            call = run.calls[body.call_id]
            call.bodies += 1
            run.charged += call.attempts == 1
            assert call.bodies <= call.starts, "it ran more often than the log says"
            assert call.finished is None
            given = {key: value for key, value in body.arguments.items() if isinstance(value, dict)}
            assert not any("$from" in value or "$each" in value for value in given.values())
        self._count(run, body, 1)

    def _body_ended(self, body: Body) -> None:
        run = self._runs[body.run_id]
        run.working -= 1
        self._made[run.plan.tenant, body.tool, json.dumps(body.arguments)].append(self._now)
        self._count(run, body, -1)
        if body.call_id not in run.predicted:
            call = run.calls[body.call_id]
            call.effects += body.effect
            if self._world.tools[body.tool].side_effects is SideEffects.EFFECTFUL:
                assert call.effects <= 1, "an effect came twice"
        if run.cancelled_at is not None:
            assert self._now <= run.cancelled_at + 2 * CLEAN_UP

    def _count(self, run: _Run, body: Body, change: int) -> None:
        for key, limit in self._limits(run, self._world.tools[body.tool], body.run_id):
            self._working[key] += change
            assert self._working[key] <= limit, f"more than {limit} at once: {key}"

    def _limits(self, run: _Run, spec: ToolSpec, run_id: str) -> Iterator[tuple[tuple[str, str], int]]:
        limits = self._world.limits
        yield ("process", ""), limits.per_process
        yield ("run", run_id), limits.per_run
        yield ("type", spec.type), limits.per_type
        yield ("tool", spec.name), limits.tools.get(spec.name, limits.per_process)
        yield ("tenant", run.plan.tenant), limits.per_tenant or limits.per_process

    def _nothing_idle(self) -> None:
        """No call may wait while there is room under all limits that concern it."""
        if self._world.limits.adaptive:
            return
        for run_id, run in self._runs.items():
            if run.ended or run.cancelled_at is not None:
                continue
            for call_id, call in run.calls.items():
                if call.finished or call.waits_from is None or call.waits_from > self._now - _NEAR * bool(call.starts):
                    continue
                assert any(self._working[key] >= limit for key, limit in self._limits(run, call.spec, run_id)), (
                    f"{call_id} of {run_id} waits at {self._now} although there is room"
                )

    # --- afterwards

    def _check_log(self, run_id: str, run: _Run) -> None:
        played, plan = self._played, run.plan
        log, view = played.logs[run_id], played.views[run_id]
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        assert isinstance(log[-1].kind, RunEnded)
        assert view == fold(run_id, log[0].kind.spec, view.create_ns, log)  # type: ignore[union-attr]
        seen = played.followed[plan.number]
        left = plan.leaves and plan.cancel_after is not None
        assert seen == (log[: len(seen)] if left else log)
        ended = log[-1].kind
        if plan.seconds is not None:
            assert log[-1].time_ns / 1e9 <= run.began + plan.seconds + CLEAN_UP + _NEAR
            late = ended.failure is not None and ended.failure.reason == "DEADLINE_EXCEEDED"
            assert not (late and any(_ended_well(call) for call in run.calls.values())), "it had something to say"
        if run.cancelled_at is not None:
            assert ended.state is RunState.CANCELLED
            assert log[-1].time_ns / 1e9 <= run.cancelled_at + 2 * CLEAN_UP
        elif not plan.cut:
            assert ended.state is RunState.SUCCEEDED
            assert run.calls.keys() >= run.expected.calls.keys(), "a call was never sealed"
            parts = [run.expected.fate(call_id) for call_id in run.expected.calls]
            told = [json.dumps(fate.result).replace(" ", "") if fate.ok else "-" for fate in parts]
            assert ended.answer == "answer " + " ".join(told)
            assert ended.partial == any(not self._whole(run, call_id) for call_id in run.expected.calls)
        if plan.spec.limits.max_calls is not None:
            made = [call for call in run.calls.values() if call.item is None and call.starts]
            assert len(made) <= plan.spec.limits.max_calls
        for call in run.calls.values():
            lent = call.starts - call.bodies  # a prediction's tool ran instead
            assert lent in ((0, 1) if run.predicted and call.spec.side_effects is SideEffects.NONE else (0,))

    def _whole(self, run: _Run, call_id: str) -> bool:
        finished = run.calls[call_id].finished
        items = [call for call in run.calls.values() if call.plan_id == call_id and call.item is not None]
        return all(
            isinstance(each.outcome, CallSucceeded)
            for each in (finished, *(item.finished for item in items))
            if each is not None
        )

    def _check_rest(self) -> None:
        played, services = self._played, self._played.services
        assert services is not None
        assert played.active == 0
        assert not played.left_over, "tasks were left behind"
        assert not played.unusable, "nothing can be learnt from a reference"
        governor = services.governor
        assert (governor.in_flight, governor.queued) == (0, 0)
        for run_id, after, events in played.watched:
            assert events == played.logs[run_id][after:]
        self._check_budgets()
        totals = services.ledger.totals
        settled = [each for run in self._runs.values() for each in run.settled.values()]
        hits, misses = ([each for each in settled if bool(each.call_id) is hit] for hit in (True, False))
        assert (totals.started, totals.hits, totals.misses) == (len(settled), len(hits), len(misses))
        for got, want in (
            (totals.hit_seconds, sum(each.spent_seconds for each in hits)),
            (totals.saved_seconds, sum(each.saved_seconds for each in settled)),
            (totals.wasted_seconds, sum(each.spent_seconds for each in misses)),
            (totals.hit_cost_micros, sum(each.cost_micros for each in hits)),
            (totals.wasted_cost_micros, sum(each.cost_micros for each in misses)),
        ):
            assert abs(got - want) < _NEAR

    def _check_budgets(self) -> None:
        charged: defaultdict[str, int] = defaultdict(int)
        for run in self._runs.values():
            charged[run.plan.tenant] += run.charged
        for tenant, standing in self._played.accounts:
            assert standing.reserved == Amount()
            assert standing.spent.calls == charged[tenant]


def _ended_well(call: _Call | None) -> bool:
    return call is not None and call.finished is not None and isinstance(call.finished.outcome, CallSucceeded)


def check(world: World, played: Played) -> None:
    """Raise AssertionError where what happened breaks a rule."""
    _Checker(world, played).check()
