"""Doubles for testing concerns without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from podium.interceptors.call import Call, Kind, Method, MethodClass, MethodPolicy, Outcome
from podium.interceptors.concern import Concern, Hooks

READ = MethodPolicy("read", MethodClass.READ, 30.0)
PATH = "/podium.v1.ToolService/GetTool"


class Clock:
    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Timer:
    def __init__(self, when: float, callback: Any, arguments: tuple[Any, ...]) -> None:
        self.when = when
        self._callback = callback
        self._arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        self._callback(*self._arguments)


class Loop:
    """Takes timers and lets the test fire them."""

    def __init__(self, now: float = 50.0) -> None:
        self.now = now
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any, *arguments: Any) -> Timer:
        timer = Timer(self.now + delay, callback, arguments)
        self.timers.append(timer)
        return timer


class Task:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.cancels = 0

    def get_loop(self) -> Loop:
        return self._loop

    def cancel(self) -> None:
        self.cancels += 1

    def cancelling(self) -> int:
        return self.cancels


class Context:
    """The part of gRPC's context that concerns use."""

    def __init__(self, remaining: float | None = None, peer: str = "ipv4:127.0.0.1:5000") -> None:
        self.remaining = remaining
        self._peer = peer

    def time_remaining(self) -> float | None:
        return self.remaining

    def peer(self) -> str:
        return self._peer

    def auth_context(self) -> Mapping[str, list[bytes]]:
        return {}


def make_method(policy: MethodPolicy | None = READ, kind: Kind = Kind.UNARY_UNARY, path: str = PATH) -> Method:
    return Method.parse(path, kind, policy)


def make_call(
    method: Method | None = None,
    metadata: Mapping[str, str | bytes] | None = None,
    *,
    remaining: float | None = None,
    started: float = 1_000.0,
    **fields: Any,
) -> Call:
    task: Any = Task(Loop())
    return Call(method or make_method(), dict(metadata or {}), started, Context(remaining), task, **fields)


def hooks_of(concern: Concern, method: Method | None = None) -> Hooks:
    hooks = concern.bind(method or make_method())
    assert hooks is not None
    return hooks


def admit(concern: Concern, call: Call) -> None:
    """Run a concern's synchronous admission."""
    hooks = concern.bind(call.method)
    if hooks is not None and hooks.admit is not None:
        step = hooks.admit(call)
        assert step is None


async def admit_async(concern: Concern, call: Call) -> None:
    hooks = concern.bind(call.method)
    if hooks is not None and hooks.admit is not None:
        step = hooks.admit(call)
        if step is not None:
            assert asyncio.iscoroutine(step)
            await step


class Log:
    """Stands in for a structlog logger."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))


__all__ = ["PATH", "READ", "Clock", "Context", "Log", "Loop", "Outcome", "Task", "Timer", "admit", "admit_async"]
__all__ += ["hooks_of", "make_call", "make_method"]
