"""Permits for tool calls: turns that are fair, to tenants and to the runs of each."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from podium.orchestration.governor import Governor, Priority, RunShare
from unit.orchestration.governor_rig import Clock, governor, granted, loop_time, take, virtual

WAITING = Priority.WAITING


def p95(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.95) - 1]


@dataclass
class Load:
    """Calls of many runs through one governor, and how long each waited."""

    gate: Governor
    rng: random.Random
    seconds: Callable[[random.Random], float] = lambda rng: rng.uniform(0.8, 1.2)
    waits: dict[str, list[float]] = field(default_factory=dict)
    grants: list[str] = field(default_factory=list)

    async def call(self, share: RunShare, name: str, tool: str, kind: str) -> None:
        began = loop_time()
        async with share.slot(tool, kind, WAITING):
            self.waits.setdefault(name, []).append(loop_time() - began)
            self.grants.append(name)
            await asyncio.sleep(self.seconds(self.rng))

    def run(self, group: asyncio.TaskGroup, name: str, tenant: str, kinds: list[str]) -> RunShare:
        share = self.gate.for_run(f"{name}{self.rng.random()}", tenant)
        for kind in kinds:
            group.create_task(self.call(share, name, f"tool of {kind}", kind))
        return share


BACKENDS = [f"backend {n}" for n in range(8)]


def waits_of_b(wide: list[str], *, limits: dict[str, int], seed: int) -> list[float]:
    """Waits of tenant B's 20 runs of 5 calls, spread over the backends, beside a run of A with calls to `wide`."""
    load = Load(governor(loop_time, **limits), random.Random(seed))

    async def main() -> None:
        load.gate._slots.clock = loop_time
        async with asyncio.TaskGroup() as group:
            load.run(group, "A", "A", wide)
            await asyncio.sleep(0)
            for number in range(20):
                load.run(group, "B", "B", [BACKENDS[(number * 5 + n) % len(BACKENDS)] for n in range(5)])

    virtual(main)
    assert len(load.waits["B"]) == 100
    return load.waits["B"]


@pytest.mark.parametrize("seed", range(5))
def test_many_small_runs_hardly_notice_a_wide_one_of_another_tenant(seed: int) -> None:
    """A's run sends 500 calls to a backend that B uses too."""
    limits = {"per_process": 32, "per_type": 8}
    alone = waits_of_b([], limits=limits, seed=seed)
    beside = waits_of_b(["backend 0"] * 500, limits=limits, seed=seed)
    print(f"p95 wait alone {p95(alone):.2f} s, beside the wide run {p95(beside):.2f} s")
    assert p95(beside) <= 2 * p95(alone)


@pytest.mark.parametrize("seed", range(3))
def test_beside_a_wide_run_on_all_backends_half_of_everything_is_left(seed: int) -> None:
    """A waits everywhere, so B is as well off as with half of every limit to itself, and one call in progress."""
    beside = waits_of_b(BACKENDS * 63, limits={"per_process": 32, "per_type": 8}, seed=seed)
    half = waits_of_b([], limits={"per_process": 16, "per_type": 4}, seed=seed)
    print(f"p95 wait with half of it all {p95(half):.2f} s, beside the wide run {p95(beside):.2f} s")
    assert p95(beside) <= p95(half) + 1.2


def shares(load: Load, runs: list[tuple[str, str, list[str]]], count: int) -> dict[str, float]:
    """Return whose grants the first `count` were, while everybody had calls waiting."""

    async def main() -> None:
        load.gate._slots.clock = loop_time
        async with asyncio.TaskGroup() as group:
            opened = [load.run(group, *run) for run in runs]
            while len(load.grants) < count:  # noqa: ASYNC110 - a second of this is ten steps of the clock
                await asyncio.sleep(0.1)
            assert all(share.queued for share in opened)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    virtual(main)
    counted = Counter(load.grants[40:count])
    return {name: number / (count - 40) for name, number in counted.items()}


@pytest.mark.parametrize("limits", [{"per_process": 8}, {"per_type": 8}, {"tools": {"tool of x": 3}}])
def test_weights_give_their_share_whatever_is_scarce(limits: dict[str, Any]) -> None:
    load = Load(governor(weights={"A": 1.0, "B": 3.0}, **limits), random.Random(1))
    kinds = ["x"] * 900
    found = shares(load, [("A", "A", kinds), ("B", "B", kinds)], 600)
    assert found["A"] == pytest.approx(0.25, abs=0.05)
    assert found["B"] == pytest.approx(0.75, abs=0.05)


def test_weights_hold_over_several_types_while_the_process_is_full() -> None:
    load = Load(governor(weights={"A": 1.0, "B": 3.0}, per_process=8), random.Random(1))
    runs = [("A", "A", ["x", "y", "z"] * 300), ("B", "B", ["x"] * 900)]
    assert shares(load, runs, 600)["A"] == pytest.approx(0.25, abs=0.05)


def test_runs_of_a_tenant_share_equally() -> None:
    load = Load(governor(per_process=8), random.Random(1))
    runs = [("a", "T", ["x"] * 700), ("b", "T", ["x", "y"] * 300), ("c", "T", ["y"] * 600), ("d", "U", ["y"] * 900)]
    found = shares(load, runs, 900)
    assert found["d"] == pytest.approx(1 / 2, abs=0.05)
    for name in "abc":
        assert found[name] == pytest.approx(1 / 6, abs=0.05)


def test_slot_time_is_shared_and_not_just_calls() -> None:
    """A's calls take 20 times as long; each tenant still holds half of the slots."""
    load = Load(governor(per_process=8), random.Random(1))
    held = Counter[str]()

    async def call(share: RunShare, name: str, seconds: float) -> None:
        async with share.slot("t", "t", WAITING):
            await asyncio.sleep(seconds)
            held[name] += round(seconds * 100)

    async def main() -> None:
        load.gate._slots.clock = loop_time
        a, b = load.gate.for_run("a", "A"), load.gate.for_run("b", "B")
        tasks = [asyncio.create_task(call(a, "A", 4.0)) for _ in range(300)]
        tasks += [asyncio.create_task(call(b, "B", 0.2)) for _ in range(900)]
        await asyncio.sleep(40)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual(main)
    assert 0.35 < held["B"] / held.total() < 0.65


def test_a_type_that_nobody_else_wants_costs_nothing_elsewhere() -> None:
    """A uses `y` alone. In `x`, which B wants too, it still has half."""
    load = Load(governor(per_process=99, per_type=8), random.Random(1))
    runs = [("A's y", "A", ["y"] * 900), ("A's x", "A", ["x"] * 600), ("B's x", "B", ["x"] * 600)]
    found = shares(load, runs, 800)
    assert found["A's x"] == pytest.approx(0.25, abs=0.05)
    assert found["B's x"] == pytest.approx(0.25, abs=0.05)


def test_the_process_counts_only_what_it_decides() -> None:
    """While one type alone has a slot free, that type's account pays; with two, the process's as well."""
    gate = governor(per_process=2, per_type=1)
    share = gate.for_run("r")
    held = [take(share.request("t", kind, WAITING)) for kind in "xy"]
    for kind in "xxyy":
        share.request("t", kind, WAITING)
    held[0].release()
    account = share.tenant.accounts(gate._slots.kinds["x"].roots)[1]
    assert account.tag == 0
    share.close()
    assert gate.in_flight == 1
    open_run, blocked = gate.for_run("open"), gate.for_run("blocked", "other")
    filler = take(open_run.request("t", "z", WAITING))
    tickets = [each.request("t", kind, WAITING) for each in (open_run, blocked) for kind in "vw"]
    filler.release()
    assert sum(map(granted, tickets)) == 1
    assert account.tag > 0


def test_idleness_earns_nothing() -> None:
    """B comes after A has had 200 calls, and has half from then on: not more, to make up for it."""
    clock = Clock()
    gate = governor(clock, per_process=4)
    a, b = gate.for_run("a", "A"), gate.for_run("b", "B")
    held = [take(a.request("t", "t", WAITING)) for _ in range(4)]
    for _ in range(400):
        a.request("t", "t", WAITING)
    order: list[str] = []
    for step in range(300):
        if step == 200:
            for _ in range(100):
                b.request("t", "t", WAITING)
        clock.now += 1
        held.pop(0).release()
        [ticket] = [*a.untaken, *b.untaken]
        held.append(take(ticket))
        order.append("A" if ticket.share is a else "B")
    assert order[:200] == ["A"] * 200
    assert 48 <= order[200:].count("B") <= 52


def test_nobody_waits_for_ever() -> None:
    """Under a steady overload of new runs of nine tenants, a tenth has its share, and its run all of it."""

    async def main() -> None:
        load = Load(governor(loop_time, per_process=4, per_type=3), random.Random(7))
        async with asyncio.TaskGroup() as group:
            load.run(group, "first", "T", ["x", "y"] * 10)
            for number in range(300):
                load.run(group, "other", f"T{number % 9}", ["x", "y", "x"])
                await asyncio.sleep(0.25)
                if number == 260:
                    assert len(load.waits["first"]) == 20, "20 calls at 0.4 a second"
        assert load.gate.in_flight == load.gate.queued == 0

    virtual(main)


def test_a_tenant_with_much_of_the_others_gets_something_of_every_type() -> None:
    """A waits for `x` only, and B everywhere; B holds more slots in all, but is not shut out of `x`."""
    load = Load(governor(per_process=8, per_type=3), random.Random(1))
    runs = [("A", "A", ["x"] * 400), ("B", "B", ["y", "z"] * 400), ("B's x", "B", ["x"] * 400)]
    found = shares(load, runs, 600)
    assert found["B's x"] > 0.02


def test_the_calls_of_a_cancelled_run_leave_at_once() -> None:
    async def main() -> None:
        load = Load(governor(loop_time, per_process=4), random.Random(1))
        async with asyncio.TaskGroup() as group:
            doomed = load.gate.for_run("doomed", "A")
            tasks = [asyncio.create_task(load.call(doomed, "doomed", "t", "t")) for _ in range(400)]
            load.run(group, "other", "B", ["t"] * 8)
            await asyncio.sleep(0.5)
            assert load.gate.queued > 390
            began = loop_time()
            doomed.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert loop_time() - began <= 0.01
            assert doomed.queued == doomed.in_flight == 0
            assert load.gate.in_flight == 4, "their slots went to those who wait"
        assert loop_time() < 4
        assert load.gate.in_flight == load.gate.queued == 0

    virtual(main)
