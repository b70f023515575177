"""Results too long for a model: it sees the beginning, and may read on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from podium.inference.tool_results import KeptResults, ToolResultStore
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    TextDelta,
    ToolCallSealed,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
)
from podium.orchestration.events import CallFailed, CallFinished, CallSucceeded, RunSpec
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.tool import ToolFailureCode
from support.fakes import FakeTools, FunctionModel, make_orchestrator, sleeping
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme", correlation_id="c")
LONG = "line of a long result\n" * 100


def test_the_model_reads_on_in_a_result_that_was_cut() -> None:
    """The caller gets the whole result; the model the beginning, a handle, and the tool to use it with."""
    store = ToolResultStore(new_handle=lambda: "res_1")

    async def turns(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.turn == 0:
            yield ToolCallSealed("work", b"{}")
        elif request.turn == 1:
            yield ToolCallSealed("fetch_result", json.dumps({"handle": "res_1", "offset": 2000, "limit": 50}).encode())
            yield ToolCallSealed("fetch_result", b'{"handle": "res_2"}')
        else:
            yield TextDelta("read")
            yield TurnFinished(TurnFinishReason.STOP)
            return
        yield TurnFinished(TurnFinishReason.TOOL_CALLS)

    async def main() -> None:
        model = FunctionModel(turns)
        tools = FakeTools(work=sleeping(0.1, LONG))
        async with make_orchestrator(model, tools, long_results=KeptResults(300, store)) as orchestrator:
            events = [event async for event in orchestrator.stream(RunSpec(input="go"), ME)]
        first, second, third = model.requests
        assert [tool.name for tool in first.tools] == ["work"]
        assert [tool.name for tool in second.tools] == ["work", "fetch_result"]
        shown = second.messages[-1]
        assert isinstance(shown, ToolMessage)
        assert len(shown.content) < 500
        assert 'fetch_result(handle="res_1"' in shown.content
        read, failed = third.messages[-2:]
        assert isinstance(read, ToolMessage)
        assert isinstance(failed, ToolMessage)
        assert json.loads(read.content)["text"] == json.dumps(LONG)[2000:2050]
        assert not failed.ok
        outcomes = [event.kind.outcome for event in events if isinstance(event.kind, CallFinished)]
        assert isinstance(outcomes[0], CallSucceeded)
        assert json.loads(outcomes[0].result_json) == LONG
        assert isinstance(outcomes[2], CallFailed)
        assert store.bytes_kept == 0, "nothing outlives its run"

    run_virtual(main())


def test_short_results_come_as_they_are_and_no_tool_is_offered() -> None:
    async def turns(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.turn == 0:
            yield ToolCallSealed("work", b"{}")
            yield ToolCallSealed("fetch_result", b'{"handle": "res_1"}')
            yield TurnFinished(TurnFinishReason.TOOL_CALLS)
        else:
            yield TurnFinished(TurnFinishReason.STOP)

    async def main() -> None:
        model = FunctionModel(turns)
        tools = FakeTools(work=sleeping(0.1, "short"))
        async with make_orchestrator(model, tools, long_results=KeptResults(300)) as orchestrator:
            events = [event async for event in orchestrator.stream(RunSpec(input="go"), ME)]
        assert [tool.name for tool in model.requests[1].tools] == ["work"]
        failed = [e.kind.outcome for e in events if isinstance(e.kind, CallFinished) if e.kind.call_id == "c0_1"]
        assert isinstance(failed[0], CallFailed)
        assert failed[0].code is ToolFailureCode.UNKNOWN_TOOL

    run_virtual(main())
