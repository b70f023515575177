"""Who goes next: fair queueing between tenants by weight, and between the runs of a tenant.

Hierarchical start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996).
Everybody has a tag, in weighted seconds of slot time; the lowest tag goes next and moves on by the
time that its calls hold a slot, divided by its weight. Who comes back from having nothing to wait for
starts at the tag served last: idleness earns nothing.

Calls contend for several things, so there are several accounts: one for each tool type, and one for the
process, kept only while several types have slots free and the process decides between them. With a
single account, a tenant that uses a type that nobody else wants would pay for it with its share of all
others.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Hashable
from itertools import count
from math import inf
from typing import Final, Generic, TypeVar

__all__ = ["BY_PROCESS", "BY_TYPE", "Account", "Accounts", "Claimant", "FairQueue", "Head"]

BY_TYPE: Final = 0
BY_PROCESS: Final = 1

_LAG: Final = 8.0  # calls that somebody held up by a full tool may catch up on
_SMOOTHING: Final = 0.05
_SHORTEST: Final = 0.001  # seconds; a call that takes no time costs something too

_numbers = count()


class Account:
    """What somebody has had of one contended thing.

    Attributes:
        tag: weighted seconds of slot time.
        now: the tag served last among those below; where newcomers start.
        mean: how long calls lately held their slot, in seconds; 0 while that is unknown.
        queues: in how many queues it waits.
    """

    __slots__ = ("mean", "now", "queues", "tag")

    def __init__(self) -> None:
        self.tag = 0.0
        self.now = 0.0
        self.mean = 0.0
        self.queues = 0

    def charge(self, group: Account, weight: float) -> None:
        """Take the price of one call, as a member of `group`."""
        cost = (self.mean or group.mean or 1.0) / weight
        start = max(self.tag, group.now - _LAG * cost)
        group.now = max(group.now, start)
        self.tag = start + cost

    def held(self, seconds: float) -> None:
        """Take account of how long a call held its slot."""
        seconds = max(seconds, _SHORTEST)
        self.mean = self.mean + _SMOOTHING * (seconds - self.mean) if self.mean else seconds


Accounts = tuple[Account, Account]  # by type, by process


class Claimant:
    """A tenant or a run: who holds slots, and may hold only so many.

    Attributes:
        in_flight: slots held.
        limit: slots that may be held.
        weight: share when slots are scarce.
    """

    __slots__ = ("_accounts", "_parked", "in_flight", "limit", "weight")

    def __init__(self, limit: int, weight: float = 1.0) -> None:
        self.in_flight = 0
        self.limit = limit
        self.weight = weight
        self._accounts: dict[Account, Account] = {}
        self._parked: dict[_Node, None] = {}

    def accounts(self, roots: Accounts) -> Accounts:
        """Return its accounts with those who decide."""
        by_type, by_process = (self._accounts.get(root) for root in roots)
        if by_type is None:
            by_type = self._accounts[roots[BY_TYPE]] = Account()
        if by_process is None:
            by_process = self._accounts[roots[BY_PROCESS]] = Account()
        return by_type, by_process

    def park(self, node: _Node) -> None:
        """Set aside a place in a queue: the limit is reached."""
        self._parked[node] = None

    def forget(self, node: _Node) -> None:
        """Drop a place that is no longer needed."""
        self._parked.pop(node, None)

    def unpark(self) -> None:
        """Take the places in the queues again: a slot came free."""
        if self._parked:
            parked, self._parked = self._parked, {}
            for node in parked:
                node.enlist()


class _Node:
    """A place in an order."""

    __slots__ = ("accounts", "claimant", "entries", "groups", "number", "order")

    def __init__(self, claimant: Claimant, accounts: Accounts, groups: Accounts, order: _Order) -> None:
        self.claimant = claimant
        self.accounts = accounts
        self.groups = groups
        self.order = order
        self.number = next(_numbers)
        self.entries: list[_Entry] | None = None
        for account, group in zip(accounts, groups, strict=True):
            if not account.queues:
                account.tag = max(account.tag, group.now)
            account.queues += 1

    def enlist(self) -> None:
        self.order.add(self)

    def leave(self) -> None:
        self.order.remove(self)
        self.claimant.forget(self)
        for account in self.accounts:
            account.queues -= 1

    def charge(self, domain: int) -> None:
        self.accounts[domain].charge(self.groups[domain], self.claimant.weight)


_Entry = tuple[float, int, _Node]


class _Order:
    """Places sorted by tag, once for each account.

    A tag only ever grows, so the one under which a place is sorted is a lower bound: it is enough to
    look again when the place comes first. Python moves the tail of a list in one go, which is faster
    than a heap at these sizes, and lets places in the middle leave.
    """

    __slots__ = ("sorted",)

    def __init__(self) -> None:
        self.sorted: tuple[list[_Entry], list[_Entry]] = ([], [])

    def add(self, node: _Node) -> None:
        if node.entries is None:
            node.entries = [(account.tag, node.number, node) for account in node.accounts]
            for entries, entry in zip(self.sorted, node.entries, strict=True):
                insort(entries, entry)

    def remove(self, node: _Node) -> None:
        if node.entries is not None:
            for entries, entry in zip(self.sorted, node.entries, strict=True):
                del entries[bisect_left(entries, entry)]
            node.entries = None

    def first(self, domain: int) -> _Node | None:
        """Return the place that goes next. Those whose claimant is at its limit are set aside on the way."""
        entries = self.sorted[domain]
        while entries:
            tag, number, node = entries[0]
            now = node.accounts[domain].tag
            if now > tag:
                moved = (now, number, node)
                del entries[0]
                insort(entries, moved)
                if node.entries is not None:
                    node.entries[domain] = moved
            elif node.claimant.in_flight >= node.claimant.limit:
                self.remove(node)
                node.claimant.park(node)
            else:
                return node
        return None


T = TypeVar("T", bound=Hashable)


class _Branch(_Node, Generic[T]):
    """A tenant's place, and the runs below it."""

    __slots__ = ("lines", "runs")

    def __init__(self, claimant: Claimant, accounts: Accounts, groups: Accounts, order: _Order) -> None:
        super().__init__(claimant, accounts, groups, order)
        self.lines: dict[Claimant, _Line[T]] = {}
        self.runs = _Order()


class _Line(_Node, Generic[T]):
    """A run's place, and its waiting calls in order."""

    __slots__ = ("branch", "waiting")

    def __init__(self, claimant: Claimant, accounts: Accounts, branch: _Branch[T]) -> None:
        super().__init__(claimant, accounts, branch.accounts, branch.runs)
        self.branch = branch
        self.waiting: OrderedDict[T, None] = OrderedDict()

    def enlist(self) -> None:
        super().enlist()
        self.branch.enlist()


class Head(Generic[T]):
    """The call that goes next in a queue."""

    __slots__ = ("_branch", "_line", "call", "key")

    def __init__(self, branch: _Branch[T], line: _Line[T], domain: int) -> None:
        self._branch = branch
        self._line = line
        self.call: T = next(iter(line.waiting))
        self.key = (branch.accounts[domain].tag, line.accounts[domain].tag, line.number)

    def charge(self, *, process: bool) -> tuple[Account, ...]:
        """Take the price of the call; the process's too if it was scarce.

        To the accounts returned one says afterwards how long the call took.
        """
        for node in (self._branch, self._line):
            node.charge(BY_TYPE)
            if process:
                node.charge(BY_PROCESS)
        accounts = (*self._branch.groups, *self._branch.accounts, *self._line.accounts)
        return accounts if process else accounts[BY_TYPE::2]


class FairQueue(Generic[T]):
    """Waiting calls that need the same: one tool, one type, one priority.

    Args:
        roots: the accounts of those who decide, of the type and of the process.
    """

    __slots__ = ("_branches", "_lines", "_order", "roots")

    def __init__(self, roots: Accounts) -> None:
        self.roots = roots
        self._order = _Order()
        self._branches: dict[Claimant, _Branch[T]] = {}
        self._lines: dict[T, _Line[T]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def push(self, call: T, tenant: Claimant, run: Claimant) -> None:
        """Add a call behind those of its run."""
        branch = self._branches.get(tenant)
        if branch is None:
            branch = _Branch(tenant, tenant.accounts(self.roots), self.roots, self._order)
            self._branches[tenant] = branch
        line = branch.lines.get(run)
        if line is None:
            line = branch.lines[run] = _Line(run, run.accounts(self.roots), branch)
            line.enlist()
        line.waiting[call] = None
        self._lines[call] = line

    def remove(self, call: T) -> None:
        """Take a call out, wherever it stands. KeyError when it is not here."""
        line = self._lines.pop(call)
        del line.waiting[call]
        if line.waiting:
            return
        line.leave()
        branch = line.branch
        del branch.lines[line.claimant]
        if not branch.lines:
            branch.leave()
            del self._branches[branch.claimant]

    def blocked(self) -> bool:
        """Whether everybody here is known to be at a limit of their own."""
        return not self._order.sorted[BY_TYPE]

    def bound(self, domain: int) -> float:
        """Return a tag that nobody's here is below."""
        entries = self._order.sorted[domain]
        return entries[0][0] if entries else inf

    def head(self, domain: int) -> Head[T] | None:
        """Return the call that goes next; None when everybody here is at a limit of their own."""
        while (branch := self._order.first(domain)) is not None:
            assert isinstance(branch, _Branch)  # noqa: S101 - only branches are in this order
            line = branch.runs.first(domain)
            if line is not None:
                assert isinstance(line, _Line)  # noqa: S101 - only lines are in this order
                return Head(branch, line, domain)
            # Its runs take the place again when they leave their limit.
            self._order.remove(branch)
        return None
