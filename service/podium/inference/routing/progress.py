"""Signs of life from models that work on an answer and have nothing to show of it yet.

Wrappers that hold an answer back (until it is checked, say) give them, and the router, which waits
for the first output with a limit, counts from the latest one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

__all__ = ["hearing", "sign_of_life"]

_hear: Final[ContextVar[Callable[[], None] | None]] = ContextVar("podium_sign_of_life", default=None)


def sign_of_life() -> None:
    """Tell whoever waits for this task's model that it is at work."""
    hear = _hear.get()
    if hear is not None:
        hear()


@contextmanager
def hearing(hear: Callable[[], None]) -> Iterator[None]:
    """Have `hear` called for each sign of life given meanwhile. No `yield` of a generator may lie inside."""
    token = _hear.set(hear)
    try:
        yield
    finally:
        _hear.reset(token)
