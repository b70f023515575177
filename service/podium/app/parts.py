"""Builds the tools of the application, and the bounds of runs, from its settings."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from podium.errors import FailedPrecondition
from podium.orchestration.orchestrator import OrchestratorLimits
from podium.packs.core import CorePackConfig, core_pack
from podium.settings import Settings
from podium.tools.registry import ToolRegistrationError, ToolRegistry, load_registry

__all__ = ["build_tools", "orchestrator_limits"]


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


def orchestrator_limits(settings: Settings) -> OrchestratorLimits:
    """Return the bounds of runs as set."""
    run = settings.run
    return OrchestratorLimits(
        max_active_runs=run.max_active,
        run_seconds=settings.deadlines.run_seconds,
        max_input_chars=run.max_input_chars,
    )
