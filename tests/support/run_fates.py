"""What should become of the calls of a random plan that nothing cuts short, worked out from the rules alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from podium.orchestration.tool import SideEffects, ToolFailureCode
from support.random_plans import REFERENCES, STAND_IN, Arguments, PlannedCall, PlannedRun, World
from support.random_runs import Played, result_of

__all__ = ["Expected", "Fate", "check_makespan"]

_NOWHERE: Final = object()


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a call: a result, or one of some failures. `started`: whether a tool runs."""

    result: Any = None
    codes: frozenset[ToolFailureCode] = frozenset()
    started: bool = False

    @property
    def ok(self) -> bool:
        """Whether it has a result."""
        return not self.codes


def _failed(*codes: ToolFailureCode, started: bool = False) -> Fate:
    return Fate(None, frozenset(codes), started)


class Expected:
    """The fates of one run's calls, by id."""

    def __init__(self, world: World, run: PlannedRun) -> None:
        self.calls: dict[str, PlannedCall] = {
            f"c{turn}_{place}": call
            for turn, planned in enumerate(run.turns)
            for place, call in enumerate(planned.calls)
        }
        self._world = world
        self._names = {call.provider_id: call_id for call_id, call in self.calls.items() if call.provider_id}
        self.parents = {call_id: self._parents(call_id) for call_id in self.calls}
        self._fates: dict[str, Fate] = {}

    def fate(self, call_id: str) -> Fate:
        """Return what becomes of a call."""
        found = self._fates.get(call_id)
        if found is None:
            found = self._fates[call_id] = self._fate(call_id)
        return found

    def hopeless(self, call_id: str) -> bool:
        """Whether the call itself is wrong: a bad reference, an unknown one, or one in a circle."""
        return (
            _malformed(self.calls[call_id].arguments) or None in self.parents[call_id] or call_id in self._used(call_id)
        )

    def item(self, call_id: str, index: int) -> Fate:
        """Return what becomes of one item of a call that is made for each of a list."""
        call = self.calls[call_id]
        given = self._filled(call.arguments)
        listed = given["each"]
        return self._run(call.tool, {**given, "each": listed[index]})

    def _parents(self, call_id: str) -> list[str | None]:
        arguments, turn = self.calls[call_id].arguments, call_id.partition("_")[0]
        if _malformed(arguments):
            return []
        found = []
        for source in _sources(arguments):
            name = f"{turn}_{source[1:]}" if source.startswith("c") and source[1:].isdigit() else source
            found.append(name if name in self.calls else self._names.get(source))
        return found

    def _used(self, call_id: str) -> set[str]:
        """Return what a call uses, at whatever remove."""
        seen: set[str] = set()
        stack = [parent for parent in self.parents[call_id] if parent]
        while stack:
            one = stack.pop()
            if one not in seen:
                seen.add(one)
                stack.extend(parent for parent in self.parents[one] if parent)
        return seen

    def _fate(self, call_id: str) -> Fate:
        arguments = self.calls[call_id].arguments
        codes = [ToolFailureCode.INVALID_ARGUMENTS] if self.hopeless(call_id) else []
        if self._depends_on_failed(call_id):
            codes.append(ToolFailureCode.DEPENDENCY_FAILED)
        if codes:
            return _failed(*codes)
        if self.calls[call_id].broken:
            return _failed(ToolFailureCode.INVALID_ARGUMENTS, started=True)
        if "each" in arguments:
            return self._fan(call_id)
        given = self._filled(arguments)
        return self._run(self.calls[call_id].tool, given) if given else _failed(ToolFailureCode.INVALID_ARGUMENTS)

    def _depends_on_failed(self, call_id: str) -> bool:
        if call_id not in self._used(call_id):
            return any(not self.fate(parent).ok for parent in self.parents[call_id] if parent)
        # Of several circles through one another, the first to close fails the rest.
        ring = self._around(call_id)
        uses = [parent for one in ring for parent in set(self.parents[one]) & ring]
        return len(uses) > len(ring) or any(not self.fate(one).ok for one in self._outside(ring))

    def _fan(self, call_id: str) -> Fate:
        arguments = self.calls[call_id].arguments
        if self._filled(arguments, keys=("each",)).get("each") == []:
            return Fate([])  # there is no call to make, whatever else is wrong with it
        listed = self._filled(arguments).get("each")
        if not isinstance(listed, list) or len(listed) > self._world.policy.max_each:
            return _failed(ToolFailureCode.INVALID_ARGUMENTS)
        fates = [self.item(call_id, index) for index in range(len(listed))]
        if not any(fate.ok for fate in fates):
            return _failed(ToolFailureCode.RAISED)
        texts = {ToolFailureCode.TIMEOUT: "took too long", ToolFailureCode.UNAVAILABLE: "not there"}
        return Fate([fate.result if fate.ok else {"error": texts.get(min(fate.codes), "no luck")} for fate in fates])

    def _around(self, call_id: str) -> set[str]:
        """Return the calls that use this one and are used by it, at whatever remove."""
        used = self._used(call_id)
        return {one for one in used if call_id in self._used(one)}

    def _outside(self, ring: set[str]) -> set[str]:
        """Return what the calls of a circle use besides one another."""
        return {parent for one in ring for parent in self.parents[one] if parent} - ring

    def _filled(self, arguments: Arguments, keys: Sequence[str] = REFERENCES) -> Arguments:
        """Return the arguments with what they refer to; {} when that is not there."""
        given = dict(arguments)
        for key in keys:
            if key in arguments:
                inner = arguments[key].get("$each") or {"from": arguments[key]["$from"], **arguments[key]}
                (parent,) = (p for p in [self._resolve(arguments, inner["from"])] if p)
                given[key] = _walk(self.fate(parent).result, inner.get("path", ""))
                if given[key] is _NOWHERE:
                    return {}
        return given

    def _resolve(self, arguments: Arguments, source: str) -> str | None:
        call_id = next(call_id for call_id, call in self.calls.items() if call.arguments is arguments)
        return self.parents[call_id][_sources(arguments).index(source)]

    def _run(self, tool: str, given: Arguments) -> Fate:
        spec, retries = self._world.tools[tool], self._world.policy.tool_retries
        again = spec.side_effects is not SideEffects.EFFECTFUL
        soon = given["after"] != 60.0
        slow = given["s"] > spec.timeout_seconds
        does = given["do"] if given["t"] == tool else "ok"
        code: ToolFailureCode | None = None
        if does == "gone" or (does == "away" and (given["k"] > retries or not soon)):
            code = ToolFailureCode.UNAVAILABLE
        elif does == "hang" or slow:
            code = ToolFailureCode.TIMEOUT
        elif (
            does in ("raise", "retry")
            or given.get("each", _NOWHERE) in given["bad"]
            or (does == "flaky" and (not again or given["k"] > retries))
        ):
            code = ToolFailureCode.RAISED
        if code is None:
            return Fate(result_of(given), started=True)
        if spec.fallback is None:
            return _failed(code, started=True)
        if spec.fallback.result_json:
            return Fate(STAND_IN, started=True)
        stand_in = self._run(spec.fallback.tool, given)
        return Fate(stand_in.result, stand_in.codes, started=True)


def _sources(arguments: Arguments) -> list[str]:
    found = []
    for key in REFERENCES:
        if key in arguments:
            value = arguments[key]
            found.append(value["$each"]["from"] if "$each" in value else value["$from"])
    return found


def _malformed(arguments: Arguments) -> bool:
    return any(
        isinstance(value, dict) and (not isinstance(value.get("$from", ""), str) or value.get("path") == "v")
        for value in (arguments.get(key) for key in REFERENCES)
    )


def _walk(value: Any, path: str) -> Any:
    for step in path.split("/")[1:]:
        if not isinstance(value, dict) or step not in value:
            return _NOWHERE
        value = value[step]
    return value


def check_makespan(world: World, played: Played) -> None:
    """Raise AssertionError where a clean run took longer than it had to.

    Without limits a run takes as long as its critical path. With `m` calls at once it takes at most
    `work/m` beyond that; where all calls are there from the start, at most `2 - 1/m` times the longer of
    critical path and `work/m` (Graham, "Bounds on Multiprocessing Timing Anomalies", 1969).
    """
    for run in world.runs:
        expected, (turn,) = Expected(world, run), run.turns
        ends: dict[str, float] = {}
        for call_id, call in expected.calls.items():  # parents come before those who use them
            effectful = world.tools[call.tool].side_effects is SideEffects.EFFECTFUL
            ready = max(
                call.at, turn.seconds if effectful else 0.0, *(ends[p or ""] for p in expected.parents[call_id])
            )
            ends[call_id] = ready + call.arguments["s"]
        path = max(turn.seconds, *ends.values())
        work = sum(call.arguments["s"] for call in turn.calls)
        log = played.logs[played.ids[run.number]]
        took, most = log[-1].time_ns / 1e9 - run.start, world.limits.per_run
        assert took >= max(path, work / most) - 1e-6
        if most >= len(turn.calls):
            assert took <= path * 1.01 + 1e-6
        assert took <= path + work / most + 1e-6
        if not turn.seconds:
            assert took <= (2 - 1 / most) * max(path, work / most) + 1e-6
