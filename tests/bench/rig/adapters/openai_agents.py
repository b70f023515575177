"""openai-agents: `Runner.run_streamed` with the chat-completions model class, tracing off."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from typing import Any

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from bench.rig.adapters.serving import main
from bench.rig.tools import HANG_TIMEOUT_SECONDS, offered


class OpenAIAgents:
    """One agent per script."""

    def __init__(self, base_url: str) -> None:
        set_tracing_disabled(True)
        client = AsyncOpenAI(base_url=base_url, api_key="bench", max_retries=0)
        self._model = OpenAIChatCompletionsModel(model="bench", openai_client=client)
        self._agent = functools.cache(self._make)

    def _make(self, script: str) -> Agent[Any]:
        tools = [
            function_tool(function, timeout=HANG_TIMEOUT_SECONDS if function.__name__ == "hang" else None)
            for function in offered(script)
        ]
        settings = ModelSettings(parallel_tool_calls=True, include_usage=True)
        return Agent(name="bench", model=self._model, tools=[*tools], model_settings=settings)

    async def run(self, script: str) -> str:
        result = Runner.run_streamed(self._agent(script), script)
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    async def cancelled(self, script: str, seconds: float) -> tuple[int, int]:
        """Cancel by the result's own method."""
        began = time.monotonic_ns()
        result = Runner.run_streamed(self._agent(script), script)

        async def read() -> None:
            async for _ in result.stream_events():
                pass

        reader = asyncio.ensure_future(read())
        await asyncio.sleep(seconds)
        cancelled = time.monotonic_ns()
        result.cancel()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(reader, 10)
        return began, cancelled


if __name__ == "__main__":
    main(OpenAIAgents, "openai-agents", "openai")
