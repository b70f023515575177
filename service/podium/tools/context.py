"""What a running tool may ask about its own call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from podium.orchestration.tool import ToolInvocation

__all__ = ["cancel_requested", "current_invocation"]


@dataclass(frozen=True, slots=True)
class _Call:
    invocation: ToolInvocation
    cancelled: threading.Event = field(default_factory=threading.Event)


_current: ContextVar[_Call] = ContextVar("podium_current_tool_call")


def current_invocation() -> ToolInvocation:
    """Return the call that this code runs for: run, call and correlation ids, tenant.

    Works in async tools and in sync tools (which run in a thread), and in what they call.

    Raises:
        RuntimeError: no tool call is running here.
    """
    call = _current.get(None)
    if call is None:
        raise RuntimeError("current_invocation() only works inside a tool while Podium is running it")
    return call.invocation


def cancel_requested() -> bool:
    """Say whether nobody waits for this call any more (it timed out, or its run was cancelled).

    A thread cannot be stopped from outside: a sync tool that may run long asks this now and then,
    and returns when it is true. Always false outside a call.
    """
    call = _current.get(None)
    return call is not None and call.cancelled.is_set()


@contextmanager
def entered(invocation: ToolInvocation) -> Iterator[threading.Event]:
    """Make `invocation` the current one; yields the event that marks it as cancelled."""
    call = _Call(invocation)
    token = _current.set(call)
    try:
        yield call.cancelled
    finally:
        _current.reset(token)
