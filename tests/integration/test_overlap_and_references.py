"""Calls start when they are sealed and what they use is there: whole runs, in virtual and in real time."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from podium.inference.http.http_errors import Upstream
from podium.inference.http.openai_quirks import QUIRKS, Vendor
from podium.inference.http.openai_stream import ChatCompletionReader
from podium.inference.http.sse import ServerEventParser
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    TextDelta,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)
from podium.orchestration.core import RunPolicy
from podium.orchestration.events import (
    CallFailed,
    CallFinished,
    CallSkipped,
    CallStarted,
    CallSucceeded,
    RunEnded,
    RunLimits,
    RunSpec,
    RunState,
)
from podium.orchestration.governor import GovernorLimits
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.tool import ToolFailureCode
from podium.tools import LocalToolExecutor, ToolRegistry, tool
from support.fake_openai import call_delta, finish, role, sse
from support.fakes import FakeTools, FunctionModel, call, make_orchestrator, make_services, scripted, sleeping, text
from support.runs import (
    DAG_MS,
    OVERLAP_MS,
    collect,
    dag_tools,
    dag_turns,
    kinds,
    outcome_of,
    overlap_tools,
    overlap_turns,
    ref,
    seconds_of,
)
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme")
SPEC = RunSpec(input="go")
WIDE = GovernorLimits(per_process=10_000, per_run=10_000, per_type=10_000)


def test_the_overlap_workload_takes_no_longer_than_it_must() -> None:
    """Eight calls sealed while the turn is written, the first of them slow: 950 ms, at most 975."""

    async def main() -> None:
        async with make_orchestrator(scripted(*overlap_turns()), overlap_tools()) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME))
        assert events[-1].time_ns / 1e6 == pytest.approx(OVERLAP_MS)
        starts = seconds_of(events, CallStarted)
        assert [round(starts[f"c0_{k}"] * 1e3) for k in range(8)] == [150 + 50 * k for k in range(8)]

    run_virtual(main())


def test_the_plan_with_references_takes_its_critical_path() -> None:
    """One turn for what takes others a turn a level; every call has its parents' results."""

    async def main() -> None:
        tools = dag_tools()
        async with make_orchestrator(scripted(*dag_turns()), tools) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME))
        assert events[-1].time_ns / 1e6 == pytest.approx(DAG_MS)
        got = {invocation.tool: json.loads(invocation.arguments_json) for invocation in tools.invocations}
        assert got["c"] == {f"from_b{number}": f"b{number}" for number in range(1, 5)}
        assert got["d"] == {"from_c": "c"}

    run_virtual(main())


def silent_planner() -> Any:
    """A model that writes a chain of calls at once and then says nothing for half a second."""
    calls = [call("step", 100)]
    calls += [call("step", 100, x=ref(f"c{index}")) for index in range(50)]
    return scripted({"events": calls, "end_ms": 600}, {"events": [text("ok")]})


def gaps_of(events: list[Any]) -> list[float]:
    """Return how long after the end of its parent each call started."""
    starts, ends = seconds_of(events, CallStarted), seconds_of(events, CallFinished)
    return [starts[f"c0_{index + 1}"] - ends[f"c0_{index}"] for index in range(50)]


def test_a_child_starts_with_its_last_parent_while_the_planner_is_silent() -> None:
    async def main() -> None:
        async with make_orchestrator(silent_planner(), FakeTools(step=sleeping(0.005, 1))) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME))
        assert gaps_of(events) == [0.0] * 50
        assert seconds_of(events, CallFinished)["c0_50"] == pytest.approx(0.1 + 51 * 0.005)

    run_virtual(main())


async def test_a_child_starts_soon_after_its_parent_in_real_time() -> None:
    """The figure is printed; the bound leaves room for a busy machine."""
    async with make_orchestrator(silent_planner(), FakeTools(step=sleeping(0.005, 1))) as orchestrator:
        events = await collect(orchestrator.stream(SPEC, ME))
    gaps = sorted(gaps_of(events))
    print(f"child after parent: median {gaps[25] * 1e3:.2f} ms, p99 {gaps[49] * 1e3:.2f} ms")
    assert gaps[25] < 0.02


async def test_waiting_calls_cost_next_to_nothing() -> None:
    """A thousand calls of ten runs wait for 3 s: the CPU that takes is printed, and bounded generously."""
    model = scripted({"events": [call("work") for _ in range(100)]}, {"events": [text("ok")]})
    tools = FakeTools(work=sleeping(60))
    async with make_orchestrator(model, tools, WIDE, policy=RunPolicy(max_calls=1000)) as orchestrator:
        runs = [asyncio.ensure_future(orchestrator.execute(SPEC, ME)) for _ in range(10)]
        async with asyncio.timeout(30):
            while tools.running < 1000:  # noqa: ASYNC110 - real time passes anyway
                await asyncio.sleep(0.01)
        began = time.process_time(), time.perf_counter()
        await asyncio.sleep(3)
        used, passed = time.process_time() - began[0], time.perf_counter() - began[1]
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
    print(f"1,000 waiting calls: {used / passed * 100:.2f} % of a core")
    assert used / passed < 0.10


# How a stream is cut means nothing.

UPSTREAM = Upstream("m", "KEY")
EARLY = ['{"n": 1}', "{}", "[]", "1", "12", "0", "true", "null", '"a"', '{"n": 1, "n": 2}', '{"a": {}}', "{} {}"]


def pieces(chance: random.Random, whole: str) -> list[str]:
    """Cut a text anywhere, empty pieces included."""
    cuts = sorted(chance.randrange(len(whole) + 1) for _ in range(chance.randrange(5)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def grown(chance: random.Random) -> str:
    """Return arguments a beginning of which can be read already."""
    early = chance.choice(EARLY)
    more = chance.choice(["", " ", "\n", "0", "34", " 5", '"', "}", ', "b": 2}', f"{chance.randrange(10**6)}"])
    return early + more


def deltas(chance: random.Random, calls: list[str]) -> list[dict[str, Any]]:
    """Return a turn that writes these calls in pieces."""
    parts: list[dict[str, Any]] = [role()]
    for index, arguments in enumerate(calls):
        parts.append(call_delta("", index=index, call_id=f"id_{index}", name="work"))
        parts += [call_delta(piece, index=index) for piece in pieces(chance, arguments)]
    return [*parts, finish("tool_calls")]


def reader() -> ChatCompletionReader:
    return ChatCompletionReader(UPSTREAM, QUIRKS[Vendor.GENERIC], ChatRequest(messages=[UserMessage("go")]))


def cut_bytes(chance: random.Random, body: bytes) -> list[bytes]:
    cuts = sorted({0, len(body), *(chance.randrange(len(body)) for _ in range(chance.randrange(6)))})
    return [body[a:b] for a, b in pairwise(cuts)]


def test_no_cut_of_a_stream_seals_a_call_early() -> None:
    """10,000 ways to cut calls whose arguments parse early and then grow: what is sealed is what was written."""
    chance = random.Random(11)
    for _ in range(10_000):
        calls = [grown(chance) for _ in range(chance.randrange(1, 3))]
        parser, target = ServerEventParser(), reader()
        sealed: list[str] = []
        for chunk in cut_bytes(chance, b"".join(sse(*deltas(chance, calls)))):
            for event in parser.feed(chunk):
                sealed += [
                    found.arguments_json.decode() for found in target.feed(event) if isinstance(found, ToolCallSealed)
                ]
                assert sealed == [arguments.strip() or "{}" for arguments in calls[: len(sealed)]]
        assert len(sealed) == len(calls)


def test_no_call_starts_with_other_than_its_final_arguments() -> None:
    """The same through whole runs, with pauses between the pieces: what a tool got is what was written in the end."""
    chance = random.Random(12)
    written: list[str] = []
    got: list[bytes] = []

    async def stream(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.turn:
            yield TextDelta("ok")
            yield TurnFinished(TurnFinishReason.STOP)
            return
        calls = [json.dumps({"n": chance.randrange(10**6), "more": [chance.randrange(10**6)]}) for _ in range(3)]
        written.extend(calls)
        parser, target = ServerEventParser(), reader()
        for chunk in cut_bytes(chance, b"".join(sse(*deltas(chance, [f"{each} " for each in calls])))):
            await asyncio.sleep(chance.random() / 10)
            for event in parser.feed(chunk):
                for found in target.feed(event):
                    yield found
        for found in target.finish():
            yield found

    class Noting(FakeTools):
        async def invoke(self, invocation: Any) -> Any:
            got.append(invocation.arguments_json)
            return await super().invoke(invocation)

    async def main() -> None:
        async with make_orchestrator(FunctionModel(stream), Noting(work=sleeping(0.01))) as orchestrator:
            for _ in range(300):
                view = await orchestrator.execute(SPEC, ME)
                assert view.state is RunState.SUCCEEDED

    run_virtual(main())
    assert [each.decode() for each in got] == written


# One bad call.


async def test_a_raising_and_a_hanging_tool_cost_only_their_own_result() -> None:
    """Through the real executor: seven results are kept, the model is told of the eighth, nothing hangs."""
    behave = {"how": "raise"}

    @tool(side_effects="none", timeout=0.2)
    async def work(i: int) -> dict[str, int]:
        """Work."""
        if i == 3 and behave["how"] == "raise":
            await asyncio.sleep(0.03)
            raise RuntimeError("secret detail")
        await asyncio.sleep(1000 if i == 3 else 0.1)
        return {"i": i}

    registry = ToolRegistry([work])
    fakes = FakeTools()
    fakes.list, fakes.get = registry.list, registry.get  # type: ignore[method-assign]
    model = scripted({"events": [call("work", i=i) for i in range(8)]}, {"events": [text("{{c0_3}}")]})
    async with LocalToolExecutor(registry) as executor:
        services = make_services(fakes, executor=executor)
        async with make_orchestrator(model, fakes, services=services) as orchestrator:
            for how, code in (("raise", ToolFailureCode.RAISED), ("hang", ToolFailureCode.TIMEOUT)):
                behave["how"] = how
                async with asyncio.timeout(20):
                    events = await collect(orchestrator.stream(SPEC, ME))
                outcomes = [outcome_of(events, f"c0_{i}") for i in range(8)]
                assert [isinstance(outcome, CallSucceeded) for outcome in outcomes] == [i != 3 for i in range(8)]
                failed = outcomes[3]
                assert isinstance(failed, CallFailed)
                assert failed.code is code
                end = events[-1].kind
                assert isinstance(end, RunEnded)
                assert (end.state, end.partial) == (RunState.SUCCEEDED, True)
                assert end.answer.startswith(code)


def test_an_executor_that_breaks_its_word_costs_one_result_too() -> None:
    """An exception that no executor should raise, and a child of the call that raised it."""

    async def broken(_: dict[str, Any]) -> Any:
        await asyncio.sleep(0.03)
        raise RuntimeError("secret detail")

    async def main() -> None:
        tools = FakeTools(broken=broken, work=sleeping(0.1, 1))
        model = scripted(
            {"events": [call("work"), call("broken"), call("work", x=ref("c1")), call("work", x=ref("c0"))]},
            {"events": [text("ok")]},
        )
        async with make_orchestrator(model, tools) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME))
        assert len(kinds(events, CallFinished)) == 4
        codes = {
            call_id: outcome.code if isinstance(outcome := outcome_of(events, call_id), CallFailed) else None
            for call_id in ("c0_0", "c0_1", "c0_2", "c0_3")
        }
        assert codes == {
            "c0_0": None,
            "c0_1": ToolFailureCode.RAISED,
            "c0_2": ToolFailureCode.DEPENDENCY_FAILED,
            "c0_3": None,
        }

    run_virtual(main())


def test_items_count_as_the_calls_that_they_are() -> None:
    """A call for each of a list makes no more calls than the run may; the rest of its items say so."""

    async def main() -> None:
        tools = FakeTools(find=sleeping(0.1, [1, 2, 3, 4, 5]), work=sleeping(0.1, "ok"))
        model = scripted(
            {"events": [call("find"), call("work", x={"$each": {"from": "c0"}}), call("work", 50)]}, {"events": []}
        )
        async with make_orchestrator(model, tools) as orchestrator:
            limited = RunSpec(input="go", limits=RunLimits(max_calls=5))
            events = await collect(orchestrator.stream(limited, ME))
        assert len(tools.invocations) == 5
        outcomes = [outcome_of(events, f"c0_1_{item}") for item in range(5)]
        assert [isinstance(outcome, CallSucceeded) for outcome in outcomes] == [True, True, True, False, False]
        assert outcomes[4] == CallSkipped("the run's limit of 5 calls was reached")
        whole = outcome_of(events, "c0_1")
        assert isinstance(whole, CallSucceeded)
        assert [item if isinstance(item, str) else "error" for item in json.loads(whole.result_json)] == [
            "ok",
            "ok",
            "ok",
            "error",
            "error",
        ]
        end = events[-1].kind
        assert isinstance(end, RunEnded)
        assert end.partial

    run_virtual(main())
