"""What a running tool may ask about its own call."""

from __future__ import annotations

from contextvars import ContextVar, Token

from podium.orchestration.tool import ToolInvocation

__all__ = ["Entered", "cancel_requested", "current_invocation"]


class Entered:
    """Makes a call the current one while entered.

    Attributes:
        cancelled: whether nobody waits for it any more. Set on the event loop, read in threads.
    """

    __slots__ = ("_token", "cancelled", "invocation")

    def __init__(self, invocation: ToolInvocation) -> None:
        self.invocation = invocation
        self.cancelled = False
        self._token: Token[Entered] | None = None

    def __enter__(self) -> Entered:
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


_current: ContextVar[Entered] = ContextVar("podium_current_tool_call")


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
    return call is not None and call.cancelled
