"""What the runner knows of results that are too long for a model."""

from __future__ import annotations

from typing import Protocol

from podium.orchestration.tool import ToolInvocation, ToolResult, ToolSpec

__all__ = ["LongResults"]


class LongResults(Protocol):
    """Cuts long results, and keeps what was cut off for the model to read on.

    Attributes:
        tool: reads on; offered to the model once a result of its run was cut.
    """

    tool: ToolSpec

    def cut(self, text: str, *, tenant: str, run_id: str) -> str | None:
        """Return what the model is shown in place of a result; None when that is short enough as it is."""
        ...

    async def fetch(self, invocation: ToolInvocation) -> ToolResult:
        """Run a call of `tool`.

        Raises:
            ToolFailure: the arguments are wrong, or nothing is kept for them.
        """
        ...

    def forget(self, tenant: str, run_id: str) -> None:
        """Drop what is kept for a run that has ended."""
        ...
