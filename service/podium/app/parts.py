"""Builds the tools and the limits of the application from its settings."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from podium.errors import FailedPrecondition
from podium.orchestration.limits import ConcurrencyLimits
from podium.orchestration.orchestrator import OrchestratorLimits
from podium.orchestration.runner import RunnerLimits
from podium.packs.core import CorePackConfig, core_pack
from podium.settings import Settings
from podium.tools.registry import ToolRegistrationError, ToolRegistry, load_registry

__all__ = ["build_tools", "concurrency_limits", "orchestrator_limits"]


async def build_tools(settings: Settings, stack: AsyncExitStack) -> ToolRegistry:
    """Build the registry of all tools.

    Raises:
        FailedPrecondition: tools cannot be loaded, or a setting of theirs is wrong.
    """
    tools = settings.tools
    config = CorePackConfig(
        folders=(tools.workspace, *tools.folders),
        most_file_bytes=tools.max_file_bytes,
        most_query_chars=tools.max_query_chars,
        http_hosts=tools.http_hosts,
        http_internal_hosts=tools.http_internal_hosts,
        http_timeout=settings.deadlines.http_seconds,
    )
    try:
        pack = core_pack(config)
        stack.callback(pack.close)
        # Large libraries are loaded now and off the loop, not when the first call needs them.
        await asyncio.to_thread(pack.warm)
        return load_registry(
            python_modules=tools.python, packs=[pack], default_timeout_seconds=settings.deadlines.tool_seconds
        )
    except (ToolRegistrationError, ValueError) as error:
        raise FailedPrecondition(str(error)) from error


def concurrency_limits(settings: Settings) -> ConcurrencyLimits:
    """Return how many tool calls may work at once, as set."""
    run = settings.run
    return ConcurrencyLimits(per_process=run.parallel_process, per_run=run.parallel, per_type=run.parallel_type)


def orchestrator_limits(settings: Settings) -> OrchestratorLimits:
    """Return the bounds of runs as set."""
    run = settings.run
    return OrchestratorLimits(
        runner=RunnerLimits(max_calls=run.max_calls, max_turns=run.max_turns, max_tokens=run.max_tokens),
        max_active_runs=run.max_active,
        run_seconds=settings.deadlines.run_seconds,
        max_input_chars=run.max_input_chars,
    )
