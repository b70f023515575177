"""The calls of a run as the scheduler keeps them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from podium.orchestration.call_run import ReadyCall
from podium.orchestration.chat import CallRequest
from podium.orchestration.events import CallOutcome
from podium.orchestration.life import Life
from podium.orchestration.references import References
from podium.orchestration.tool import ToolSpec

__all__ = ["NO_REFERENCES", "Node", "TurnCalls"]

NO_REFERENCES: Final = References()


@dataclass(slots=True)
class Node:
    """One call of the run."""

    request: CallRequest
    spec: ToolSpec
    turn: TurnCalls
    life: Life
    references: References = NO_REFERENCES
    arguments: Any = None  # parsed, once somebody asked
    filled_json: bytes = b""  # the arguments with their references filled in
    parent: Node | None = None  # the call whose item it is
    open_items: int = 0
    items: list[Node] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    call: ReadyCall | None = None
    working: bool = False  # without a call of its own: a guess that was adopted, items
    outcome: CallOutcome | None = None
    value: Any = None  # the result, parsed once somebody asked

    @property
    def began(self) -> bool:
        """Whether a tool was started for it."""
        return self.working or (self.call is not None and self.call.started)


@dataclass(slots=True)
class TurnCalls:
    """The calls that one model turn wrote; `done` is set once it has ended and none of them is open."""

    index: int
    nodes: list[Node] = field(default_factory=list)
    open: int = 0
    ended: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)
