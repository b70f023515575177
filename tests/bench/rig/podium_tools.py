"""The rig's tools as Podium's; named by `PODIUM_TOOLS_PYTHON` in the server."""

from __future__ import annotations

from bench.rig import tools
from podium.tools import tool

__all__ = ["echo", "hang", "step", "work"]

# Far longer than any of them works; a call without side effects need not wait for the end of the turn.
_LONG = 600.0

echo = tool(side_effects="none", timeout=_LONG)(tools.echo)
work = tool(side_effects="none", timeout=_LONG)(tools.work)
step = tool(side_effects="none", timeout=_LONG)(tools.step)
hang = tool(side_effects="none", timeout=tools.HANG_TIMEOUT_SECONDS)(tools.hang)
