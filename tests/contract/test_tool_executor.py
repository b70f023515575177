"""What every `ToolExecutor` and `ToolCatalog` promises.

A further executor joins by adding its maker to `EXECUTORS`: it must serve tools that behave like
those of `TOOLS` below, under the same names.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from podium.orchestration.tool import (
    ToolCatalog,
    ToolExecutor,
    ToolFailure,
    ToolFailureCode,
    ToolInvocation,
    ToolResult,
)
from podium.tools import LocalToolExecutor, ToolRegistry, tool


@tool(side_effects="none")
def echo(text: str, times: int = 1) -> str:
    """Repeat a text."""
    return text * times


@tool
async def fail(message: str) -> None:
    """Fail."""
    raise ValueError(message)


@tool(timeout=0.05)
async def hang() -> None:
    """Hang."""
    await asyncio.Event().wait()


@tool(timeout=30, name="wait")
async def wait_long() -> None:
    """Wait for long."""
    await asyncio.Event().wait()


@tool
async def flood() -> str:
    """Return too much."""
    return "x" * (1 << 21)


TOOLS = (echo, fail, hang, wait_long, flood)
Served = tuple[ToolCatalog, ToolExecutor]


@asynccontextmanager
async def local() -> AsyncIterator[Served]:
    registry = ToolRegistry(TOOLS)
    async with LocalToolExecutor(registry) as executor:
        yield registry, executor


EXECUTORS: list[Callable[[], AbstractAsyncContextManager[Served]]] = [local]


@pytest.fixture(params=EXECUTORS)
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """Every implementation."""
    async with request.param() as pair:
        yield pair


def call(name: str, /, **arguments: Any) -> ToolInvocation:
    return ToolInvocation(run_id="run_1", call_id="c0_0", tool=name, arguments_json=json.dumps(arguments).encode())


async def failed(served: Served, invocation: ToolInvocation) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await served[1].invoke(invocation)
    assert caught.value.message
    return caught.value


async def test_lists_every_tool_by_name_and_finds_each(served: Served) -> None:
    catalog = served[0]
    names = [spec.name for spec in catalog.list()]
    assert names == sorted(names) == ["echo", "fail", "flood", "hang", "wait"]
    for spec in catalog.list():
        found = catalog.get(spec.name)
        assert found is not None
        assert found.name == spec.name
        assert found.description
        assert found.input_schema["type"] == "object"
    assert catalog.get("nothing") is None


async def test_gives_results_as_json(served: Served) -> None:
    result = await served[1].invoke(call("echo", text="ab", times=2))
    assert isinstance(result, ToolResult)
    assert (json.loads(result.result_json), result.content_type) == ("abab", "application/json")


async def test_what_the_catalog_normalises_the_executor_takes(served: Served) -> None:
    spec = served[0].get("echo")
    assert spec is not None
    assert spec.normalise is not None
    canonical = spec.normalise({"text": "a", "times": "3"})
    assert canonical == {"text": "a", "times": 3}
    assert json.loads((await served[1].invoke(call("echo", **canonical))).result_json) == "aaa"


@pytest.mark.parametrize(
    ("invocation", "code"),
    [
        (call("nothing"), ToolFailureCode.UNKNOWN_TOOL),
        (call("echo"), ToolFailureCode.INVALID_ARGUMENTS),
        (call("echo", text=["a"]), ToolFailureCode.INVALID_ARGUMENTS),
        (call("echo", text="a", other=1), ToolFailureCode.INVALID_ARGUMENTS),
        (ToolInvocation(run_id="r", call_id="c", tool="echo", arguments_json=b"[]"), ToolFailureCode.INVALID_ARGUMENTS),
        (call("fail", message="why"), ToolFailureCode.RAISED),
        (call("hang"), ToolFailureCode.TIMEOUT),
        (call("flood"), ToolFailureCode.TOO_LARGE),
    ],
    ids=lambda value: value.tool if isinstance(value, ToolInvocation) else str(value),
)
async def test_every_other_end_is_a_typed_failure(
    served: Served, invocation: ToolInvocation, code: ToolFailureCode
) -> None:
    assert (await failed(served, invocation)).code is code
    assert json.loads((await served[1].invoke(call("echo", text="still here"))).result_json) == "still here"


async def test_cancelling_returns_promptly_and_propagates(served: Served) -> None:
    running = asyncio.create_task(served[1].invoke(call("wait")))
    for _ in range(5):
        await asyncio.sleep(0)
    running.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_calls_run_side_by_side(served: Served) -> None:
    hung = asyncio.create_task(failed(served, call("hang")))
    results = await asyncio.gather(*(served[1].invoke(call("echo", text=str(n))) for n in range(50)))
    assert [json.loads(result.result_json) for result in results] == [str(n) for n in range(50)]
    await hung
