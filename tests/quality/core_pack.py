"""The shipped tools as a planner sees them, `http_get` included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from podium.orchestration.tool import ToolSpec
from podium.packs.core import CorePackConfig, core_pack

__all__ = ["core_specs"]


def core_specs(clock: Callable[[], datetime]) -> Sequence[ToolSpec]:
    """Return the specs. Nothing of the pack is run: it sees no folder."""
    pack = core_pack(
        CorePackConfig(
            folders=(),
            http_hosts=("example.com", "*.example.org", "*.example.com"),
            http_internal_hosts=("intranet.local",),
            clock=clock,
        )
    )
    return [tool.spec for tool in pack.tools]
