"""The slots that tool calls hold, and the queues of those that wait for one.

Everything happens in the caller's own turn on the event loop: whoever gives a slot back hands it to
the next in order. There is no task and no polling, so at any moment every call that could work under
all limits does work; a call that finds a free slot therefore passes nobody.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from podium.errors import Cancelled, PodiumError
from podium.orchestration.adaptive_limit import AdaptiveLimit
from podium.orchestration.fair_queue import BY_PROCESS, BY_TYPE, Account, Accounts, Claimant, FairQueue, Head
from podium.orchestration.governor_limits import GovernorLimits, Priority

__all__ = ["KEPT", "NO_LIMIT", "Kind", "Permit", "RunClaim", "Slots", "Ticket", "Tool"]

NO_LIMIT: Final = sys.maxsize
KEPT: Final = 4_096  # tools, types and tenants remembered while nobody uses them
_SOONEST: Final = 0.1  # seconds
_LATEST: Final = 30.0
_SMOOTHING: Final = 0.05
_TYPE_TURN: Final = 6


class Kind:
    """A tool type."""

    __slots__ = ("in_flight", "limit", "roots", "turn", "waiting")

    def __init__(self, limit: int, process: Account) -> None:
        self.in_flight = 0
        self.waiting = 0
        self.limit = limit
        self.turn = 0
        self.roots: Accounts = (Account(), process)


class Tool:
    """A tool."""

    __slots__ = ("adaptive", "in_flight", "limit", "waiting")

    def __init__(self, limit: int, adaptive: AdaptiveLimit | None) -> None:
        self.in_flight = 0
        self.waiting = 0
        self.limit = limit
        self.adaptive = adaptive


class RunClaim:
    """What one run has: slots, and calls that wait.

    Attributes:
        tickets: those that wait.
        untaken: those that were granted a permit that nobody has taken yet.
    """

    __slots__ = ("claim", "tenant", "tickets", "untaken")

    def __init__(self, tenant: Claimant, limit: int) -> None:
        self.tenant = tenant
        self.claim = Claimant(limit)
        self.tickets: dict[Ticket, None] = {}
        self.untaken: dict[Ticket, None] = {}


class Slots:
    """Every slot of the process, and everybody who waits for one.

    Attributes:
        in_flight: slots held.
        queued: calls that wait.
        per_process: slots there are.
        shedding: only calls that a caller waits for are taken.
    """

    __slots__ = (
        "_account",
        "_arrivals",
        "_gap",
        "_granted_at",
        "_limits",
        "_queues",
        "_turns",
        "clock",
        "in_flight",
        "kinds",
        "per_process",
        "queued",
        "shedding",
        "tools",
    )

    def __init__(self, limits: GovernorLimits, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.in_flight = 0
        self.queued = 0
        self.shedding = False
        self.per_process = limits.per_process
        self.kinds: dict[str, Kind] = {}
        self.tools: dict[str, Tool] = {}
        self._limits = limits
        self._account = Account()
        self._queues: tuple[dict[Kind, dict[Tool, FairQueue[Ticket]]], ...] = tuple({} for _ in Priority)
        self._arrivals: tuple[OrderedDict[Ticket, None], ...] = tuple(OrderedDict() for _ in Priority)
        self._gap = 0.0
        self._turns = 0
        self._granted_at: float | None = None

    def kind(self, name: str) -> Kind:
        """Return a tool type."""
        found = self.kinds.get(name)
        if found is None:
            _prune(self.kinds)
            found = self.kinds[name] = Kind(self._limits.per_type, self._account)
        return found

    def tool(self, name: str) -> Tool:
        """Return a tool."""
        found = self.tools.get(name)
        if found is None:
            _prune(self.tools)
            own = self._limits.tools.get(name)
            if self._limits.adaptive:
                ceiling = own or self._limits.per_type
                found = Tool(ceiling, AdaptiveLimit(ceiling))
            else:
                found = Tool(own or NO_LIMIT, None)
            self.tools[name] = found
        return found

    def take(self, share: RunClaim, tool: Tool, kind: Kind, accounts: tuple[Account, ...] = ()) -> Permit:
        """Hold a slot that is known to be free; `accounts` are told how long."""
        self.in_flight += 1
        share.tenant.in_flight += 1
        share.claim.in_flight += 1
        kind.in_flight += 1
        tool.in_flight += 1
        return Permit(self, share, tool, kind, accounts or kind.roots)

    def give_back(self, permit: Permit, seconds: float | None, failed: bool) -> None:
        """Free the slots of a permit. `seconds` is None when it was never used."""
        tool = permit.tool
        if seconds is not None:
            if tool.adaptive is not None:
                tool.limit = tool.adaptive.note(seconds, tool.in_flight, failed=failed)
            for account in permit.accounts:
                account.held(seconds)
        self.in_flight -= 1
        permit.kind.in_flight -= 1
        tool.in_flight -= 1
        for claimant in (permit.share.tenant, permit.share.claim):
            claimant.in_flight -= 1
            claimant.unpark()
        if self.queued:
            self._dispatch()

    def waiting(self, priority: Priority) -> list[Ticket]:
        """Return the tickets of a priority that wait."""
        return list(self._arrivals[priority])

    def drain_time(self, waiting: int) -> float:
        """Return in how many seconds so many calls will have been started, at the pace of late."""
        return min(max(waiting * self._gap, _SOONEST), _LATEST) if self._gap else 1.0

    def enqueue(self, ticket: Ticket) -> None:
        """Put a ticket behind those of its run."""
        queues = self._queues[ticket.priority].setdefault(ticket.kind, {})
        queue = queues.get(ticket.tool)
        if queue is None:
            queue = queues[ticket.tool] = FairQueue(ticket.kind.roots)
        queue.push(ticket, ticket.share.tenant, ticket.share.claim)
        self._arrivals[ticket.priority][ticket] = None
        self.queued += 1
        ticket.kind.waiting += 1
        ticket.tool.waiting += 1
        ticket.share.tickets[ticket] = None

    def dequeue(self, ticket: Ticket) -> None:
        """Take a ticket out, wherever it stands."""
        queues = self._queues[ticket.priority][ticket.kind]
        queue = queues[ticket.tool]
        queue.remove(ticket)
        if not queue:
            del queues[ticket.tool]
            if not queues:
                del self._queues[ticket.priority][ticket.kind]
        del self._arrivals[ticket.priority][ticket]
        self.queued -= 1
        ticket.kind.waiting -= 1
        ticket.tool.waiting -= 1
        del ticket.share.tickets[ticket]

    def move(self, ticket: Ticket, priority: Priority) -> None:
        """Give a waiting ticket another priority."""
        self.dequeue(ticket)
        ticket.priority = priority
        self.enqueue(ticket)

    def drop(self, ticket: Ticket, error: PodiumError) -> None:
        """End a waiting ticket with an error."""
        self.dequeue(ticket)
        ticket.settle(None, error)

    def _dispatch(self) -> None:
        """Give out every slot that somebody waiting can use."""
        self._age()
        while self.queued and self.in_flight < self.per_process:
            picked = self._pick()
            if picked is None:
                return
            head, several = picked
            ticket = head.call
            accounts = head.charge(process=several)
            self._note_pace()
            self.dequeue(ticket)
            ticket.settle(self.take(ticket.share, ticket.tool, ticket.kind, accounts), None)

    def _pick(self) -> tuple[Head[Ticket], bool] | None:
        """Return who goes next under all limits, and whether several types were free."""
        for kinds in self._queues:
            free: dict[Kind, list[FairQueue[Ticket]]] = {}
            for kind, queues in kinds.items():
                if kind.in_flight < kind.limit:
                    found = [q for tool, q in queues.items() if tool.in_flight < tool.limit and not q.blocked()]
                    if found:
                        free[kind] = found
            if not free:
                continue
            head = self._pick_type(free)
            if head is None and len(free) > 1:
                head = _first([queue for found in free.values() for queue in found], BY_PROCESS)
            if head is not None:
                return head, len(free) > 1
        return None

    def _pick_type(self, free: Mapping[Kind, list[FairQueue[Ticket]]]) -> Head[Ticket] | None:
        """Return who goes next of the only type, or of the one whose turn it is.

        Of the slots that several types could use, one in six goes to the types in turn. If the process's
        account decided alone, a tenant would get nothing of one type while it has much of the others.
        """
        if len(free) == 1:
            return _first(next(iter(free.values())), BY_TYPE)
        self._turns += 1
        if self._turns % _TYPE_TURN:
            return None
        kind = min(free, key=_last_turn)
        kind.turn = self._turns
        return _first(free[kind], BY_TYPE)

    def _age(self) -> None:
        arrivals = self._arrivals[Priority.BACKGROUND]
        if not arrivals:
            return
        latest = self.clock() - self._limits.aging_seconds
        while arrivals and (oldest := next(iter(arrivals))).since <= latest:
            self.move(oldest, Priority.WAITING)

    def _note_pace(self) -> None:
        now = self.clock()
        if self._granted_at is not None:
            gap = now - self._granted_at
            self._gap = self._gap + _SMOOTHING * (gap - self._gap) if self._gap else gap
        # The time to the next one says something only if that one waits already.
        self._granted_at = now if self.queued > 1 else None


class Ticket:
    """A place in the queue. Await `wait`, or `cancel` it, or close its run's share: else a permit is lost.

    Attributes:
        priority: as it stands.
        since: when it was asked for, by the governor's clock.
    """

    __slots__ = ("_error", "_future", "_permit", "_settled", "_slots", "kind", "priority", "share", "since", "tool")

    def __init__(self, slots: Slots, share: RunClaim, tool: Tool, kind: Kind, priority: Priority) -> None:
        self._slots = slots
        self.share = share
        self.tool = tool
        self.kind = kind
        self.priority = priority
        self.since = slots.clock()
        self._future: asyncio.Future[None] | None = None
        self._permit: Permit | None = None
        self._error: PodiumError | None = None
        self._settled = False

    async def wait(self) -> Permit:
        """Return the permit, which is the caller's to release; once.

        Cancelling this gives back the place, or the permit that was just granted.

        Raises:
            Cancelled: the ticket was cancelled, or its run's share closed.
            ResourceExhausted: it was dropped because memory is short.
            RuntimeError: it was awaited before.
        """
        if self._future is not None:
            raise RuntimeError("a ticket is good for one wait")
        self._future = asyncio.get_running_loop().create_future()
        if not self._settled:
            try:
                await self._future
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self._error is not None:
            raise self._error
        permit = self._take()
        assert permit is not None  # noqa: S101 - settled without an error
        return permit

    def promote(self, priority: Priority) -> None:
        """Raise the priority of a waiting call: somebody has come to wait for it. Never lowers it."""
        if not self._settled and priority < self.priority:
            self._slots.move(self, priority)

    def cancel(self, error: PodiumError | None = None) -> None:
        """Give back the place, or the permit that nobody has taken yet. Whoever waits gets `error`."""
        error = error or Cancelled("the tool call was cancelled while it waited for a slot")
        if not self._settled:
            self._slots.drop(self, error)
        elif (permit := self._take()) is not None:
            self._error = error
            permit.give_back_unused()

    def settle(self, permit: Permit | None, error: PodiumError | None) -> None:
        """Say how it ended; for the governor."""
        self._settled, self._permit, self._error = True, permit, error
        if permit is not None:
            self.share.untaken[self] = None
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def _take(self) -> Permit | None:
        permit, self._permit = self._permit, None
        self.share.untaken.pop(self, None)
        return permit


class Permit:
    """The right to run one call, from when it was granted until it is released."""

    __slots__ = ("_released", "_since", "_slots", "accounts", "kind", "share", "tool")

    def __init__(self, slots: Slots, share: RunClaim, tool: Tool, kind: Kind, accounts: tuple[Account, ...]) -> None:
        self._slots = slots
        self._released = False
        self._since = slots.clock()
        self.share = share
        self.tool = tool
        self.kind = kind
        self.accounts = accounts

    def release(self, *, failed: bool = False) -> None:
        """Give the slot back; a second time does nothing.

        `failed` says that the tool timed out or was not available, which lowers its adaptive limit.
        """
        if not self._released:
            self._released = True
            self._slots.give_back(self, self._slots.clock() - self._since, failed)

    def give_back_unused(self) -> None:
        """Give the slot back without having used it: its time says nothing of the tool."""
        if not self._released:
            self._released = True
            self._slots.give_back(self, None, failed=False)


def _prune(table: dict[str, Tool] | dict[str, Kind]) -> None:
    """Forget what nobody uses, when the table is full."""
    if len(table) >= KEPT:
        for name in [name for name, each in table.items() if not each.in_flight and not each.waiting]:
            del table[name]


def _last_turn(kind: Kind) -> int:
    return kind.turn


def _first(queues: list[FairQueue[Ticket]], domain: int) -> Head[Ticket] | None:
    if len(queues) == 1:
        return queues[0].head(domain)
    best: Head[Ticket] | None = None
    # Few need a closer look, in the order of the lowest tag that they can have.
    for bound, _, queue in sorted([(queue.bound(domain), number, queue) for number, queue in enumerate(queues)]):
        if best is not None and bound > best.key[0]:
            break
        head = queue.head(domain)
        if head is not None and (best is None or head.key < best.key):
            best = head
    return best
