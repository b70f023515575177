"""Deadline: a call ends at its caller's deadline or at the server's maximum, whichever is first."""

from __future__ import annotations

from podium.errors import DeadlineExceeded
from podium.interceptors.call import Call, Method
from podium.interceptors.concern import Hooks

__all__ = ["Deadline"]


class Deadline:
    """Sets `call.deadline` and ends the call there with DEADLINE_EXCEEDED.

    Args:
        max_seconds: for methods without a policy.
    """

    name = "deadline"

    def __init__(self, *, max_seconds: float = 60.0) -> None:
        if max_seconds <= 0:
            raise ValueError("the server's maximum must be above zero")
        self._max_seconds = max_seconds

    def bind(self, method: Method) -> Hooks | None:
        """Return hooks with the method's own maximum."""
        limit = method.policy.max_seconds if method.policy is not None else self._max_seconds

        def expire(call: Call) -> None:
            call.interrupt(DeadlineExceeded("the call took longer than its deadline allowed"))

        def admit(call: Call) -> None:
            remaining = call.context.time_remaining()
            seconds = limit if remaining is None else remaining if limit is None else min(limit, remaining)
            if seconds is None:
                return
            loop = call.task.get_loop()
            call.deadline = loop.time() + seconds
            if seconds <= 0:
                raise DeadlineExceeded("the call's deadline had passed before it was served")
            # When the caller's deadline is the nearer one, the transport enforces it on both sides
            # and nobody is left to read our status: a timer of ours would only cost.
            if limit is not None and (remaining is None or limit < remaining):
                call.timers += (loop.call_later(seconds, expire, call),)

        return Hooks(admit=admit)
