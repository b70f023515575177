"""pydantic-ai: `run_stream_events` with the OpenAI chat model."""

from __future__ import annotations

import functools
from typing import Any

from pydantic_ai import Agent, AgentRunResultEvent, Tool
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from bench.rig.adapters.serving import cancel_task, main
from bench.rig.tools import HANG_TIMEOUT_SECONDS, offered


class PydanticAI:
    """One agent per script."""

    def __init__(self, base_url: str) -> None:
        self._model = OpenAIChatModel("bench", provider=OpenAIProvider(base_url=base_url, api_key="bench"))
        self._agent = functools.cache(self._make)

    def _make(self, script: str) -> Agent[Any, str]:
        tools = [
            Tool(function, timeout=HANG_TIMEOUT_SECONDS if function.__name__ == "hang" else None)
            for function in offered(script)
        ]
        return Agent(self._model, tools=tools)

    async def run(self, script: str) -> str:
        answer = ""
        async with self._agent(script).run_stream_events(script) as events:
            async for event in events:
                if isinstance(event, AgentRunResultEvent):
                    answer = str(event.result.output)
        return answer

    async def cancelled(self, script: str, seconds: float) -> tuple[int, int]:
        return await cancel_task(self.run(script), seconds)


if __name__ == "__main__":
    main(PydanticAI, "pydantic-ai-slim", "openai")
