"""langgraph: langchain's `create_agent` with a streaming ChatOpenAI, read by `astream(stream_mode="values")`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI

from bench.rig.adapters.serving import cancel_task, main
from bench.rig.tools import HANG_TIMEOUT_SECONDS, offered


class LangGraph:
    """One graph per script."""

    def __init__(self, base_url: str) -> None:
        self._model = ChatOpenAI(
            model="bench", base_url=base_url, api_key="bench", streaming=True, stream_usage=True, max_retries=0
        )
        self._agent = functools.cache(self._make)

    def _make(self, script: str) -> Any:
        return create_agent(self._model, [_tool(function) for function in offered(script)])

    async def run(self, script: str) -> str:
        last: dict[str, Any] = {}
        given = {"messages": [{"role": "user", "content": script}]}
        async for state in self._agent(script).astream(given, stream_mode="values"):
            last = state
        return str(last["messages"][-1].content)

    async def cancelled(self, script: str, seconds: float) -> tuple[int, int]:
        return await cancel_task(self.run(script), seconds)


def _tool(function: Callable[..., Any]) -> StructuredTool:
    """Make a tool; one with a timeout watches the clock itself, as tools have no such option here."""
    if function.__name__ != "hang":
        return StructuredTool.from_function(coroutine=function)

    @functools.wraps(function)
    async def timed(i: int) -> dict[str, Any]:
        async with asyncio.timeout(HANG_TIMEOUT_SECONDS):
            return await function(i)  # type: ignore[no-any-return]

    return StructuredTool.from_function(coroutine=timed)


if __name__ == "__main__":
    main(LangGraph, "langgraph", "langchain", "langchain-openai", "openai")
