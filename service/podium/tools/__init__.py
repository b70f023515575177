"""Tools: how they are declared, found and run.

Here live the `tool` decorator, the registry that gathers tools from modules, entry points and
packs, and the executor that runs one call and survives whatever the tool does. Limits across
calls, retries, caching and planning never do: those are the orchestrator's.
"""

from __future__ import annotations

from podium.tools._decorator import Tool, ToolDefinitionError, tool, tool_of
from podium.tools.context import cancel_requested, current_invocation
from podium.tools.execution import LocalToolExecutor
from podium.tools.registry import ToolRegistrationError, ToolRegistry, load_registry

__all__ = [
    "LocalToolExecutor",
    "Tool",
    "ToolDefinitionError",
    "ToolRegistrationError",
    "ToolRegistry",
    "cancel_requested",
    "current_invocation",
    "load_registry",
    "tool",
    "tool_of",
]
