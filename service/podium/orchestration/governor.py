"""Who may call a tool now: limits on calls at once, and a fair order among those who wait.

Everything happens in the caller's own turn on the event loop: whoever gives a slot back hands it to
the next in order. There is no task and no polling, so at any moment every call that could work under
all limits does work; a call that finds a free slot therefore passes nobody.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

from podium.errors import Cancelled, ResourceExhausted
from podium.orchestration.fair_queue import Claimant
from podium.orchestration.governor_limits import GovernorLimits, Priority
from podium.orchestration.slots import KEPT, NO_LIMIT, Permit, RunClaim, Slots, Ticket

__all__ = ["Governor", "GovernorLimits", "Permit", "Priority", "RunShare", "Ticket"]

_SHED_RETRY: Final = 5.0


class _Tenant(Claimant):
    """A tenant; lives as long as a run of it, or as it is among those seen last."""

    __slots__ = ("__weakref__",)


class Governor:
    """Gives out permits for tool calls. One for a process; belongs to its event loop.

    Args:
        limits: how many calls at once, and how many may wait.
        clock: monotonic seconds.
    """

    def __init__(self, limits: GovernorLimits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits or GovernorLimits()
        self._slots = Slots(self._limits, clock)
        self._tenants: WeakValueDictionary[str, _Tenant] = WeakValueDictionary()
        self._seen: OrderedDict[str, _Tenant] = OrderedDict()

    @property
    def limits(self) -> GovernorLimits:
        """What it was built with."""
        return self._limits

    @property
    def in_flight(self) -> int:
        """Permits given out and not yet back."""
        return self._slots.in_flight

    @property
    def queued(self) -> int:
        """Calls that wait."""
        return self._slots.queued

    def tool_limit(self, tool: str) -> int | None:
        """Return how many calls of a tool may work at once, as it stands; None when only its type is limited."""
        state = self._slots.tools.get(tool)
        if state is None:
            return self._limits.tools.get(tool)
        return None if state.limit == NO_LIMIT else state.limit

    def for_run(self, run_id: str, tenant: str = "") -> RunShare:
        """Return what one run may claim. Close it when the run ends."""
        found = self._tenants.get(tenant)
        if found is None:
            found = _Tenant(self._limits.per_tenant or NO_LIMIT, self._limits.weights.get(tenant, 1.0))
            self._tenants[tenant] = found
        # Else a tenant could shed what it has had by letting its last run end.
        self._seen[tenant] = found
        self._seen.move_to_end(tenant)
        if len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        return RunShare(self._slots, self._limits, run_id, found)

    def shed(self, on: bool) -> None:
        """While on, take only calls that a caller waits for; predicted ones that wait are dropped."""
        self._slots.shedding = on
        if on:
            for ticket in self._slots.waiting(Priority.PREDICTED):
                ticket.cancel(_shed_error())


class RunShare(RunClaim):
    """What one run claims: it may hold only so many slots, and goes in turn with the other runs."""

    __slots__ = ("_limits", "_slots", "closed", "run_id")

    def __init__(self, slots: Slots, limits: GovernorLimits, run_id: str, tenant: Claimant) -> None:
        super().__init__(tenant, limits.per_run)
        self._slots = slots
        self._limits = limits
        self.run_id = run_id
        self.closed = False

    @property
    def in_flight(self) -> int:
        """Permits of this run given out and not yet back."""
        return self.claim.in_flight

    @property
    def queued(self) -> int:
        """Calls of this run that wait."""
        return len(self.tickets)

    def try_acquire(self, tool: str, tool_type: str, priority: Priority) -> Permit | None:
        """Return a permit if the call may start at once, else None. Passes nobody who could use the slot."""
        slots, claim, tenant = self._slots, self.claim, self.tenant
        if (
            slots.in_flight >= slots.per_process
            or claim.in_flight >= claim.limit
            or tenant.in_flight >= tenant.limit
            or self.closed
            or (slots.shedding and priority != Priority.WAITING)
        ):
            return None
        kind = slots.kinds.get(tool_type) or slots.kind(tool_type)
        state = slots.tools.get(tool) or slots.tool(tool)
        if kind.in_flight >= kind.limit or state.in_flight >= state.limit:
            return None
        return slots.take(self, state, kind)

    def request(self, tool: str, tool_type: str, priority: Priority) -> Ticket:
        """Ask for a permit; the ticket says when it is there, which may be at once.

        Raises:
            ResourceExhausted: too many calls wait already, or memory is short and nobody waits for this one.
            Cancelled: the share is closed.
        """
        permit = self.try_acquire(tool, tool_type, priority)
        if permit is None:
            self._check(priority)
        ticket = Ticket(self._slots, self, self._slots.tool(tool), self._slots.kind(tool_type), priority)
        if permit is None:
            self._slots.enqueue(ticket)
        else:
            ticket.settle(permit, None)
        return ticket

    @asynccontextmanager
    async def slot(self, tool: str, tool_type: str, priority: Priority) -> AsyncIterator[Permit]:
        """Hold a permit for one call, waiting for it if need be. Raises what `request` and `Ticket.wait` raise.

        A call that failed for want of capacity is to be said by releasing the permit itself, `failed=True`.
        """
        permit = self.try_acquire(tool, tool_type, priority)
        if permit is None:
            permit = await self.request(tool, tool_type, priority).wait()
        try:
            yield permit
        finally:
            permit.release()

    def close(self) -> None:
        """Drop this run's waiting calls, and give no permits any more. Those that were taken stay good."""
        self.closed = True
        for ticket in [*self.tickets, *self.untaken]:
            ticket.cancel(_closed_error())

    def _check(self, priority: Priority) -> None:
        if self.closed:
            raise _closed_error()
        if self._slots.shedding and priority != Priority.WAITING:
            raise _shed_error()
        for waiting, limit, whose, quota in (
            (len(self.tickets), self._limits.max_queued_run, "of this run", "queued_tool_calls_of_run"),
            (self._slots.queued, self._limits.max_queued, "of this server", "queued_tool_calls"),
        ):
            if waiting >= limit:
                raise ResourceExhausted(
                    f"{waiting} tool calls {whose} are waiting, as many as may: try again later, or ask for fewer",
                    reason="OVERLOADED",
                    quota=quota,
                    retry_after=self._slots.drain_time(waiting),
                )


def _closed_error() -> Cancelled:
    return Cancelled("the run has ended: its tool calls are not started any more")


def _shed_error() -> ResourceExhausted:
    return ResourceExhausted(
        "memory is short: only calls that a caller waits for are taken; try again shortly",
        reason="OVERLOADED",
        quota="memory",
        retry_after=_SHED_RETRY,
    )
