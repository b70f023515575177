"""What the scripted upstream says and what the tools do: shared by the upstream, every adapter and the reports.

Only the standard library, because libraries with interpreters of their own read it too. A script is named by
the user's message; its turns are chosen by the number of assistant messages in the request. Times are in
milliseconds from the arrival of the request, so that delays do not add up.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CALLS",
    "CANCEL_AFTER_MS",
    "DAG_BEST_LEVELS",
    "DAG_MS",
    "DAG_NAMES",
    "DAG_PARENTS",
    "EVERY_SCRIPT",
    "IDLE_SECONDS",
    "IDLE_WAVE_CALLS",
    "IDLE_WAVE_RUNS",
    "Call",
    "Script",
    "Step",
    "Turn",
    "dag_ideal",
    "dag_turn_by_turn_ideal",
    "overlap_ideal",
    "script",
    "sleep_ms",
    "tools_of",
]

CALLS = 8
PARTS = 5
TTFT_MS = 100.0
FINAL_MS = 200.0
CANCEL_AFTER_MS = 250.0
OPEN_TOKEN_MS = 100.0
OPEN_TOKENS = 600
IDLE_SECONDS = 11.0  # a second more than is measured, so that none wakes up meanwhile
IDLE_WAVE_RUNS = 50  # started at once: more make clients' timeouts to connect fire in a busy loop
IDLE_WAVE_CALLS = IDLE_WAVE_RUNS * CALLS

# E3: A, B1..B4, C, D, E.
DAG_NAMES = ("A", "B1", "B2", "B3", "B4", "C", "D", "E")
DAG_MS: tuple[float, ...] = (100, 50, 80, 120, 200, 40, 60, 300)
DAG_PARENTS: tuple[tuple[int, ...], ...] = ((), (0,), (0,), (0,), (0,), (1, 2, 3, 4), (5,), ())
DAG_LINE_MS = 20.0
# A free call belongs to the first level.
DAG_LEVELS: tuple[tuple[int, ...], ...] = ((0, 7), (1, 2, 3, 4), (5,), (6,))
DAG_BEST_LEVELS: tuple[tuple[int, ...], ...] = ((0,), (7, 1, 2, 3, 4), (5,), (6,))  # as only foresight would have it


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call that a turn makes."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """Chunks sent at one time; `seals` are the indices of the calls that they complete."""

    at_ms: float
    chunks: tuple[Mapping[str, Any], ...]
    seals: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model. `endless`: it goes on until the caller leaves."""

    steps: tuple[Step, ...]
    endless: bool = False

    @property
    def end_ms(self) -> float:
        """When it ends."""
        return self.steps[-1].at_ms

    @property
    def sealed_ms(self) -> list[float]:
        """When each of its calls is complete, in order."""
        return [step.at_ms for step in self.steps for _ in step.seals]


@dataclass(frozen=True, slots=True)
class Script:
    """The turns of a run."""

    turns: tuple[Turn, ...]


def script(name: str) -> Script:
    """Return the script of that name.

    Names: `fan-N` (E1 with 8, E4), `overlap` (E2), `dag-plan` and `dag-turns` (E3), `idle` (E5), `raise` and
    `hang` (E6), `cancel-tools`, `cancel-both` and `cancel-stream` (E7).

    Raises:
        KeyError: there is none.
    """
    if name.startswith("fan-"):
        return _fan(int(name.removeprefix("fan-")))
    return _SCRIPTS[name]()


def tools_of(name: str) -> tuple[str, ...]:
    """Return the names of the tools that a run of a script is offered."""
    family = name.partition("-")[0]
    return {"fan": ("echo",), "dag": ("step",), "hang": ("work", "hang")}.get(family, ("work",))


def sleep_ms(name: str, index: int) -> float:
    """Return how long call `index` of a script works."""
    if name == "overlap":
        return 600.0 if index == 0 else 20.0
    if name.startswith("dag-"):
        return DAG_MS[index]
    if name.startswith("cancel-"):
        return 5000.0
    return {"raise": 30.0 if index == 3 else 100.0, "hang": 60_000.0 if index == 3 else 100.0}.get(name, 0.0)


def overlap_ideal(*, overlapping: bool) -> float:
    """Return the shortest wall time of E2: from each call's sealing on, or from the end of the turn on."""
    turn = script("overlap").turns[0]
    starts = turn.sealed_ms if overlapping else [turn.end_ms] * CALLS
    ends = [start + sleep_ms("overlap", index) for index, start in enumerate(starts)]
    return max([turn.end_ms, *ends]) + FINAL_MS


def dag_ideal() -> float:
    """Return E3's critical path: max over paths of (a line's arrival or its parents' end) + own time."""
    turn = script("dag-plan").turns[0]
    ends: list[float] = []
    for index, sealed in enumerate(turn.sealed_ms):
        ends.append(max([sealed, *(ends[parent] for parent in DAG_PARENTS[index])]) + DAG_MS[index])
    return max([turn.end_ms, *ends]) + FINAL_MS


def dag_turn_by_turn_ideal(*, overlapping: bool, levels: Sequence[Sequence[int]] = DAG_LEVELS) -> float:
    """Return the shortest wall time of E3 with a turn per level."""
    total = 0.0
    for level in levels:
        end = TTFT_MS + DAG_LINE_MS * len(level)
        sealed = [TTFT_MS + DAG_LINE_MS * number for number in range(1, len(level) + 1)]
        starts = sealed if overlapping else [end] * len(level)
        total += max([end, *(start + DAG_MS[index] for start, index in zip(starts, level, strict=True))])
    return total + FINAL_MS


# --- how turns are written ------------------------------------------------------------------------


def _delta(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _finish(reason: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


_USAGE = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}


def _begin(turn: int, index: int, call: Call) -> dict[str, Any]:
    function = {"name": call.tool, "arguments": ""}
    return _delta(tool_calls=[{"index": index, "id": f"c{turn}_{index}", "type": "function", "function": function}])


def _part(index: int, text: str) -> dict[str, Any]:
    return _delta(tool_calls=[{"index": index, "function": {"arguments": text}}])


def _cut(text: str, parts: int) -> list[str]:
    """Cut a text in nearly equal parts."""
    size, longer = divmod(len(text), parts)
    bounds = [0]
    for number in range(parts):
        bounds.append(bounds[-1] + size + (number < longer))
    return [text[start:end] for start, end in itertools.pairwise(bounds)]


def _calls(
    turn: int,
    calls: Sequence[Call],
    *,
    ttft_ms: float,
    slice_ms: float,
    closing_ms: float = 0.0,
    open_end: bool = False,
) -> Turn:
    """Write calls one after another, each over its slice of time; the next begins with the last part of the one before.

    The finish reason, which seals the last call, comes with its last part; usage and the end after `closing_ms`.
    With `open_end` the last call never ends: one more letter of its arguments every 100 ms.
    """
    parts = PARTS if slice_ms else 1
    chunks: dict[float, list[Mapping[str, Any]]] = {}
    seals: dict[float, list[int]] = {}
    for index, call in enumerate(calls):
        start = ttft_ms + index * slice_ms
        if index:
            seals.setdefault(start, []).append(index - 1)
        chunks.setdefault(start, []).append(_begin(turn, index, call))
        if open_end and index == len(calls) - 1:
            break
        for number, text in enumerate(_cut(json.dumps(call.arguments), parts), 1):
            chunks.setdefault(start + slice_ms * number / parts, []).append(_part(index, text))
    if open_end:
        for number in range(1, OPEN_TOKENS):
            chunks[ttft_ms + OPEN_TOKEN_MS * number] = [_part(len(calls) - 1, " ")]
    else:
        sealed = ttft_ms + len(calls) * slice_ms
        chunks.setdefault(sealed, []).append(_finish("tool_calls"))
        seals.setdefault(sealed, []).append(len(calls) - 1)
        chunks.setdefault(sealed + closing_ms, []).append(_USAGE)
    steps = tuple(Step(at, tuple(chunks[at]), tuple(seals.get(at, ()))) for at in sorted(chunks))
    return Turn(steps, endless=open_end)


def _text(ttft_ms: float, text: str = "done") -> Turn:
    return Turn((Step(ttft_ms, (_delta(role="assistant", content=text), _finish("stop"), _USAGE)),))


def _numbered(tool: str, count: int) -> list[Call]:
    return [Call(tool, {"i": index}) for index in range(count)]


@functools.cache
def _fan(count: int) -> Script:
    return Script((_calls(0, _numbered("echo", count), ttft_ms=0, slice_ms=0), _text(0)))


@functools.cache
def _overlap() -> Script:
    return Script((_calls(0, _numbered("work", CALLS), ttft_ms=TTFT_MS, slice_ms=50), _text(FINAL_MS)))


@functools.cache
def _dag_plan() -> Script:
    """One turn of nine lines: eight calls with references, then the closing line (finish reason, usage, end)."""
    calls = [
        Call("step", {"i": index, "uses": [{"$from": f"c0_{parent}", "path": "/id"} for parent in parents]})
        for index, parents in enumerate(DAG_PARENTS)
    ]
    plan = _calls(0, calls, ttft_ms=TTFT_MS, slice_ms=DAG_LINE_MS, closing_ms=DAG_LINE_MS)
    return Script((plan, _text(FINAL_MS)))


@functools.cache
def _dag_turns() -> Script:
    """A turn per level: the model has read the earlier results and writes the values themselves."""
    turns = [
        _calls(
            number,
            [Call("step", {"i": index, "uses": [100 + parent for parent in DAG_PARENTS[index]]}) for index in level],
            ttft_ms=TTFT_MS,
            slice_ms=DAG_LINE_MS,
        )
        for number, level in enumerate(DAG_LEVELS)
    ]
    return Script((*turns, _text(FINAL_MS)))


@functools.cache
def _eight() -> Script:
    return Script((_calls(0, _numbered("work", CALLS), ttft_ms=0, slice_ms=0), _text(0)))


@functools.cache
def _hang() -> Script:
    calls = _numbered("work", CALLS)
    calls[3] = Call("hang", {"i": 3})
    return Script((_calls(0, calls, ttft_ms=0, slice_ms=0), _text(0)))


@functools.cache
def _cancel_tools() -> Script:
    return Script((_calls(0, _numbered("work", 4), ttft_ms=0, slice_ms=0), _text(0)))


@functools.cache
def _cancel_both() -> Script:
    """Four sealed calls, and a fifth whose arguments grow for ever."""
    return Script((_calls(0, _numbered("work", 5), ttft_ms=0, slice_ms=0, open_end=True), _text(0)))


@functools.cache
def _cancel_stream() -> Script:
    steps = tuple(Step(OPEN_TOKEN_MS * number, (_delta(content="word "),)) for number in range(OPEN_TOKENS))
    return Script((Turn(steps, endless=True),))


_SCRIPTS = {
    "overlap": _overlap,
    "dag-plan": _dag_plan,
    "dag-turns": _dag_turns,
    "idle": _eight,
    "raise": _eight,
    "hang": _hang,
    "cancel-tools": _cancel_tools,
    "cancel-both": _cancel_both,
    "cancel-stream": _cancel_stream,
}

EVERY_SCRIPT = (*_SCRIPTS, *(f"fan-{width}" for width in (1, 8, 64, 512)))
