"""Tool packs that ship with Podium, each built by a factory from its own configuration.

A pack holds tools and what they share (an index, folders, a clock), and closes it. It never reads
settings, and nothing here is global: two packs of one kind can live side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from podium.tools import Tool

__all__ = ["Pack"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pack:
    """Tools that belong together. Iterating gives the tools.

    Attributes:
        name: for messages and documentation.
        tools: the tools.
        closers: what frees their shared resources, in the order of opening.
        warmers: what loads, ahead of the first call, that which is slow to load.
    """

    name: str
    tools: tuple[Tool, ...]
    closers: tuple[Callable[[], None], ...] = ()
    warmers: tuple[Callable[[], None], ...] = ()

    def __iter__(self) -> Iterator[Tool]:
        return iter(self.tools)

    def __len__(self) -> int:
        return len(self.tools)

    def warm(self) -> None:
        """Load what is slow to load, so that the first call is not. Blocks: call it in a thread at the start."""
        for warm in self.warmers:
            warm()

    def close(self) -> None:
        """Free what the tools share, last opened first. They must not run any more."""
        for close in reversed(self.closers):
            close()
