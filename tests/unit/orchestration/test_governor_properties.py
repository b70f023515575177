"""Permits for tool calls under random operations: no order of them breaks a limit or loses a slot."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from podium.errors import ResourceExhausted
from podium.orchestration.governor import Governor, GovernorLimits, Permit, Priority, RunShare, Ticket
from unit.orchestration.governor_rig import Clock, virtual

WAITING = Priority.WAITING


class Model:
    """A governor under random operations, beside plain lists of who holds and who waits."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.clock = Clock()
        self.limits = GovernorLimits(
            per_process=rng.randint(2, 8),
            per_run=rng.randint(1, 5),
            per_type=rng.randint(1, 5),
            per_tenant=rng.choice([0, 0, 3]),
            tools={"a": rng.randint(1, 3)},
            weights={"T1": 3.0},
            max_queued=25,
            max_queued_run=12,
            adaptive=rng.random() < 0.3,
            aging_seconds=20.0,
        )
        self.gate = Governor(self.limits, clock=self.clock)
        self.runs: list[RunShare] = []
        self.permits: list[tuple[RunShare, str, str, Permit]] = []
        self.tickets: list[tuple[RunShare, str, str, Ticket]] = []
        self.tasks: list[tuple[RunShare, str, str, asyncio.Task[Permit]]] = []
        self.tenants: dict[int, str] = {}

    def open_run(self) -> None:
        tenant = self.rng.choice(["T0", "T1", "T2"])
        share = self.gate.for_run("r", tenant)
        self.tenants[id(share)] = tenant
        self.runs.append(share)

    async def step(self) -> None:
        rng = self.rng
        self.clock.now += rng.random()
        if len(self.runs) < 2 or (len(self.runs) < 8 and rng.random() < 0.02):
            self.open_run()
        choice = rng.random()
        if choice < 0.45:
            self.ask()
        elif choice < 0.75 and self.permits:
            self.permits.pop(rng.randrange(len(self.permits)))[3].release(failed=rng.random() < 0.1)
        elif choice < 0.82 and self.tickets:
            rng.choice(self.tickets)[3].promote(rng.choice(list(Priority)))
        elif choice < 0.86 and self.tickets:
            rng.choice(self.tickets)[3].cancel()
        elif choice < 0.92 and self.tasks:
            rng.choice(self.tasks)[3].cancel()
        elif choice < 0.93:
            self.gate.shed(rng.random() < 0.3)
        elif choice < 0.94 and len(self.runs) > 3:
            self.runs.pop(rng.randrange(len(self.runs))).close()
        if rng.random() < 0.5:
            await asyncio.sleep(0)
        self.collect()
        self.check()

    def ask(self) -> None:
        rng = self.rng
        share, priority = rng.choice(self.runs), rng.choice(list(Priority))
        tool, kind = rng.choice([("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"), ("e", "z")])
        if rng.random() < 0.3:
            if (permit := share.try_acquire(tool, kind, priority)) is not None:
                self.permits.append((share, tool, kind, permit))
            return
        try:
            ticket = share.request(tool, kind, priority)
        except ResourceExhausted as refused:
            shed = priority is not WAITING and self.gate._slots.shedding
            assert shed or share.queued >= 12 or self.gate.queued >= 25
            assert refused.retry_after is not None
            assert 0.1 <= refused.retry_after <= 30
            return
        self.tickets.append((share, tool, kind, ticket))
        self.tasks.append((share, tool, kind, asyncio.create_task(ticket.wait())))

    def collect(self) -> None:
        for entry in [entry for entry in self.tasks if entry[3].done()]:
            self.tasks.remove(entry)
            share, tool, kind, task = entry
            if not task.cancelled() and task.exception() is None:
                self.permits.append((share, tool, kind, task.result()))
        self.tickets = [entry for entry in self.tickets if not entry[3]._settled or entry[3]._permit is not None]

    def check(self) -> None:
        untaken = [(s, t, k) for s, t, k, ticket in self.tickets if ticket._permit is not None]
        holders = [(s, t, k) for s, t, k, _ in self.permits] + untaken
        waiting = [(s, t, k) for s, t, k, ticket in self.tickets if not ticket._settled]
        limits, gate = self.limits, self.gate
        assert gate.in_flight == len(holders) <= limits.per_process
        assert gate.queued == len(waiting) <= limits.max_queued
        by_run = Counter(id(s) for s, _, _ in holders)
        by_tool = Counter(t for _, t, _ in holders)
        by_type = Counter(k for _, _, k in holders)
        by_tenant = Counter(self.tenants[id(s)] for s, _, _ in holders)
        assert max(by_run.values(), default=0) <= limits.per_run
        assert max(by_type.values(), default=0) <= limits.per_type
        assert by_tool["a"] <= limits.tools["a"]
        assert max(by_tenant.values(), default=0) <= (limits.per_tenant or 99)
        if gate.in_flight == limits.per_process:
            return
        for share, tool, kind in waiting:
            assert (
                by_run[id(share)] >= limits.per_run
                or by_type[kind] >= limits.per_type
                or by_tool[tool] >= (gate.tool_limit(tool) or 99)
                or by_tenant[self.tenants[id(share)]] >= (limits.per_tenant or 99)
            ), "somebody waits who could work"

    async def finish(self) -> None:
        for share in self.runs:
            share.close()
        await asyncio.gather(*(task for *_, task in self.tasks), return_exceptions=True)
        self.collect()
        for *_, permit in self.permits:
            permit.release()
        slots = self.gate._slots
        assert (slots.in_flight, slots.queued) == (0, 0)
        assert not any(slots._queues)
        assert not any(slots._arrivals)
        assert not any(each.in_flight or each.waiting for each in (*slots.tools.values(), *slots.kinds.values()))
        assert not any(tenant.in_flight or tenant._parked for tenant in self.gate._tenants.values())


@pytest.mark.parametrize("seed", range(16))
def test_no_order_of_events_breaks_a_limit_or_loses_a_slot(seed: int) -> None:
    async def main() -> None:
        model = Model(seed)
        for _ in range(500):
            await model.step()
        await model.finish()

    virtual(main)
