"""Governors under test: a clock to turn by hand, and a look at who has a slot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from podium.orchestration.governor import Governor, GovernorLimits, Permit, Ticket
from support.virtual_time import run_virtual


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def governor(clock: Callable[[], float] | None = None, **limits: Any) -> Governor:
    return Governor(GovernorLimits(**{"adaptive": False, **limits}), clock=clock or Clock())


def virtual(main: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await main()

    run_virtual(run())


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def granted(ticket: Ticket) -> bool:
    return ticket in ticket.share.untaken


def take(ticket: Ticket) -> Permit:
    permit = ticket._take()
    assert permit is not None
    return permit
