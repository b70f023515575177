"""Random plans of runs: what models will write when, and how tools will behave.

A call's arguments say how its tool is to behave, so what should become of the call follows from the
plan alone (`support.run_fates`).
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from podium.orchestration.core import RunPolicy
from podium.orchestration.events import Exhaustion, RunLimits, RunSpec
from podium.orchestration.governor import GovernorLimits
from podium.orchestration.tool import Fallback, SideEffects, ToolSpec

__all__ = [
    "REFERENCES",
    "STAND_IN",
    "Arguments",
    "PlannedCall",
    "PlannedRun",
    "PlannedTurn",
    "Profile",
    "World",
    "plan",
    "refers",
]

# clean: nothing fails, one planning turn. exact: what becomes of each call follows from the plan.
# rough: with deadlines, cancellations and limits that cut runs short.
Profile = Literal["clean", "exact", "rough"]
Arguments = dict[str, Any]

REFERENCES: Final = ("x0", "x1", "each")  # the arguments that may refer to other calls
STAND_IN: Final = {"v": -1, "items": [], "got": []}
_ANY_OBJECT: Final = {"type": "object"}  # one for all: validators are kept by identity


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that the model writes at some second of its turn."""

    at: float
    tool: str
    arguments: Arguments
    provider_id: str
    broken: bool = False

    @property
    def arguments_json(self) -> bytes:
        """What the model writes."""
        text = json.dumps(self.arguments).encode()
        return text[:-1] if self.broken else text


@dataclass(frozen=True, slots=True)
class PlannedTurn:
    """One turn of the model."""

    calls: Sequence[PlannedCall]
    seconds: float
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One run; `leaves` says that it is cancelled by its caller's leaving."""

    number: int
    tenant: str
    start: float
    turns: Sequence[PlannedTurn]
    spec: RunSpec
    seconds: float | None = None
    cancel_after: float | None = None
    leaves: bool = False
    answer_seconds: float = 0.0

    @property
    def cut(self) -> bool:
        """Whether something may end it, or calls of it, before their time."""
        limits = self.spec.limits
        return (
            self.seconds is not None
            or self.cancel_after is not None
            or limits.max_calls is not None
            or limits.max_turns is not None
            or limits.max_cost_micros is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that is played together."""

    seed: int
    profile: Profile
    tools: Mapping[str, ToolSpec]
    limits: GovernorLimits
    policy: RunPolicy
    runs: Sequence[PlannedRun]
    waste: float = 1e9  # seconds that predictions may waste


def refers(arguments: Mapping[str, Any]) -> bool:
    """Whether a call uses others' results."""
    values = [arguments.get(key) for key in REFERENCES]
    return any(isinstance(value, dict) and ("$from" in value or "$each" in value) for value in values)


def plan(seed: int, profile: Profile) -> World:
    """Return a random world."""
    return _Planner(seed, profile).world()


class _Planner:
    def __init__(self, seed: int, profile: Profile) -> None:
        self._seed, self._profile = seed, profile
        self._random = random.Random(f"{profile} {seed}")
        self._numbers = itertools.count(1)

    def world(self) -> World:
        """Draw everything."""
        draw, profile = self._random, self._profile
        policy = RunPolicy(tool_retries=draw.randint(0, 3), max_each=draw.choice([2, 100]), question_seconds=2.0)
        tools = self._tools()
        types = draw.choice([1, 2, 5, 1000])
        limits = GovernorLimits(
            per_process=draw.choice([2, 5, 50, 1000]),
            per_run=draw.choice([1, 2, 4, 1000]),
            per_type=types,
            per_tenant=draw.choice([0, 0, 3]),
            tools={name: draw.randint(1, 3) for name in tools if draw.random() < 0.2},
            weights={"a": draw.choice([1.0, 4.0])},
            adaptive=profile == "rough" and draw.random() < 0.3,
        )
        if profile == "clean":
            wide = GovernorLimits(per_process=1000, per_run=1000, per_type=1000, adaptive=False)
            narrow = GovernorLimits(per_process=1000, per_run=draw.randint(1, 4), per_type=1000, adaptive=False)
            limits = draw.choice([wide, narrow])
        count = 1 if profile == "clean" else draw.randint(1, 4)
        self._same_time = draw.random() < 0.5
        runs = [self._run(number, list(tools)) for number in range(count)]
        waste = draw.choice([4.0, 1e9])
        return World(
            seed=self._seed, profile=profile, tools=tools, limits=limits, policy=policy, runs=runs, waste=waste
        )

    def _tools(self) -> dict[str, ToolSpec]:
        draw, clean = self._random, self._profile == "clean"
        tools = {}
        for number in range(draw.randint(1, 4)):
            effects = draw.choice(list(SideEffects))
            ttl = draw.choice([None, None, 2.0, 600.0])
            fallback = draw.choice(
                [None, None, Fallback(tool="t0"), Fallback(result_json=json.dumps(STAND_IN).encode())]
            )
            tools[f"t{number}"] = ToolSpec(
                name=f"t{number}",
                description="",
                input_schema=_ANY_OBJECT,
                side_effects=SideEffects.NONE if number == 0 else effects,
                timeout_seconds=1_000.0 if clean else draw.choice([3.7005, 20.0]),
                type=draw.choice(["x", "y"]),
                cache_ttl_seconds=None if clean else ttl,
                fallback=None if clean or number == 0 else fallback,
                cost_micros=draw.choice([0, 10]),
            )
        return tools

    def _run(self, number: int, tools: Sequence[str]) -> PlannedRun:
        draw, rough = self._random, self._profile == "rough"
        turns: list[PlannedTurn] = []
        for index in range(1 if self._profile == "clean" else draw.choice([1, 1, 2, 2, 3, 4])):
            turns.append(self._turn(number, index, turns, tools))
        limits = RunLimits(
            max_calls=draw.randint(1, 8) if rough and draw.random() < 0.15 else None,
            max_turns=draw.randint(1, 3) if rough and draw.random() < 0.15 else None,
            max_cost_micros=draw.randint(1, 60) if rough and draw.random() < 0.15 else None,
            on_exhausted=draw.choice([None, *Exhaustion]),
        )
        cancel = draw.choice([0.0, *[draw.uniform(0, 8)] * 9]) if rough and draw.random() < 0.3 else None
        return PlannedRun(
            number=number,
            tenant=draw.choice(["a", "b"]),
            start=draw.choice([0.0, 0.0, round(draw.uniform(0, 3), 3)]),
            turns=turns,
            spec=RunSpec(
                input=str(number), limits=limits, background=draw.random() < 0.2, bypass_cache=draw.random() < 0.1
            ),
            seconds=draw.uniform(0.5, 12) if rough and draw.random() < 0.3 else None,
            cancel_after=cancel,
            leaves=cancel == 0.0 or draw.random() < 0.4,  # so early there is nothing to name in a cancellation
            answer_seconds=draw.choice([0.0, 0.3]) if rough else 0.0,
        )

    def _turn(self, run: int, index: int, earlier: Sequence[PlannedTurn], tools: Sequence[str]) -> PlannedTurn:
        draw = self._random
        count = min(draw.randint(1, 12), draw.randint(1, 12))
        at, calls = 0.0, []
        names = [(f"c{place}", f"c{index}_{place}", self._alias(run, index, place)) for place in range(count)]
        before = [
            (f"c{turn}_{place}", call.provider_id or f"c{turn}_{place}")
            for turn, each in enumerate(earlier)
            for place, call in enumerate(each.calls)
        ]
        for place in range(count):
            if not self._same_time and draw.random() < 0.6:
                at = round(at + draw.uniform(0, 1), 3)
            tool = draw.choice(tools)
            arguments = self._arguments(tool, index)
            self._refer(arguments, place, names, before)
            calls.append(PlannedCall(at, tool, arguments, names[place][2]))
            if self._profile != "clean" and not refers(arguments) and draw.random() < 0.02:
                calls[-1] = PlannedCall(at, tool, arguments, names[place][2], broken=True)
            if len(calls) > 1 and self._profile != "clean" and draw.random() < 0.05:
                calls[-1] = replace(calls[0], at=at, provider_id=names[place][2])  # the same again
        seconds = at if self._same_time else round(at + draw.choice([0, draw.uniform(0, 1)]), 3)
        return PlannedTurn(calls, seconds, draw.choice(["", "Let me see. "]))

    def _alias(self, run: int, turn: int, place: int) -> str:
        return "" if self._random.random() < 0.5 else f"call_{run}_{turn}_{place}"

    def _arguments(self, tool: str, turn: int) -> Arguments:
        draw = self._random
        seconds = draw.choice([0.0, 1.0, round(draw.uniform(0, 5), 3)])
        does = "ok"
        if self._profile != "clean" and draw.random() < 0.25:
            does = draw.choice(["raise", "retry", "flaky", "away", "gone", "hang"])
        number = next(self._numbers)
        # Not in more than two turns of a run, or it would seem to go in circles.
        if self._profile != "clean" and turn < 2 and draw.random() < 0.15:
            number, seconds, does = 0, 1.5, "ok"  # one that other runs make as well
        return {
            "t": tool,
            "n": number,
            "s": seconds,
            "do": does,
            "k": draw.randint(1, 3) if number else 0,
            "after": draw.choice([None, 0.5, 60.0]) if number else None,
            "items": draw.choice([0, 1, 3]) if number else 2,
            "bad": [draw.randint(0, 3)] if number and self._profile != "clean" and draw.random() < 0.2 else [],
            "clean": bool(number) and draw.random() < 0.5,
        }

    def _refer(
        self,
        arguments: Arguments,
        place: int,
        names: Sequence[tuple[str, str, str]],
        before: Sequence[tuple[str, str]],
    ) -> None:
        """Let a call use others' results, now and then in a way that cannot work."""
        draw, clean = self._random, self._profile == "clean"
        for key in ("x0", "x1"):
            source = self._source(place, names, before)
            if source and draw.random() < 0.3:
                path = draw.choice(["/v", "", "/got"] if clean or draw.random() < 0.95 else ["/nowhere"])
                arguments[key] = {"$from": source, "path": path}
        source = self._source(place, names, before)
        if source and not clean and draw.random() < 0.1:
            arguments["each"] = {"$each": {"from": source, "path": draw.choice(["/items", "/items", "/items", "/v"])}}
        if not clean and draw.random() < 0.04:
            arguments["x1"] = draw.choice([{"$from": "nobody"}, {"$from": 3}, {"$from": "c0", "path": "v"}])

    def _source(self, place: int, names: Sequence[tuple[str, str, str]], before: Sequence[tuple[str, str]]) -> str:
        draw = self._random
        chance = draw.random()
        if before and chance < 0.3:
            return draw.choice(draw.choice(before))
        if self._profile != "clean" and chance > 0.92:
            return draw.choice(draw.choice(names)[:2])  # a later one, maybe, or itself
        if self._profile == "clean" and chance > 0.7 and place + 1 < len(names):
            return ""
        return draw.choice([name for name in draw.choice(names[:place]) if name]) if place else ""
