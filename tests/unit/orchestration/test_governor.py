"""Permits for tool calls: limits that hold at every moment, slots that are never lost, and turns that are fair."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from podium.errors import Cancelled, ResourceExhausted
from podium.orchestration.governor import Governor, GovernorLimits, Permit, Priority, RunShare, Ticket
from support.virtual_time import run_virtual

WAITING, BACKGROUND, PREDICTED = Priority.WAITING, Priority.BACKGROUND, Priority.PREDICTED


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


def p95(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.95) - 1]


# Limits, one at a time.


@pytest.mark.parametrize(
    ("limits", "others"),
    [
        ({"per_process": 2}, ("run 2", "tenant 2", "tool 2", "type 2")),
        ({"per_run": 2}, ("run 1", "tenant 1", "tool 2", "type 2")),
        ({"per_type": 2}, ("run 2", "tenant 2", "tool 2", "type 1")),
        ({"per_tenant": 2}, ("run 2", "tenant 1", "tool 2", "type 2")),
        ({"tools": {"tool 1": 2}}, ("run 2", "tenant 2", "tool 1", "type 1")),
    ],
)
def test_each_limit_holds_for_all_that_share_it(limits: dict[str, Any], others: tuple[str, str, str, str]) -> None:
    gate = governor(**limits)
    share = gate.for_run("run 1", "tenant 1")
    run, tenant, tool, kind = others
    other = share if run == "run 1" else gate.for_run(run, tenant)
    first, second = (share.try_acquire("tool 1", "type 1", WAITING) for _ in range(2))
    assert first is not None
    assert second is not None
    assert other.try_acquire(tool, kind, WAITING) is None
    ticket = other.request(tool, kind, WAITING)
    assert (gate.in_flight, gate.queued, granted(ticket)) == (2, 1, False)
    first.release()
    assert (gate.in_flight, gate.queued, granted(ticket)) == (2, 0, True)
    ticket.cancel()
    second.release()
    assert (gate.in_flight, gate.queued, share.in_flight, other.in_flight) == (0, 0, 0, 0)


def test_different_everything_shares_no_limit_but_that_of_the_process() -> None:
    gate = governor(per_process=3, per_run=1, per_type=1, per_tenant=1, tools={"a": 1})
    for number in range(3):
        assert gate.for_run(f"{number}", f"{number}").try_acquire(f"{number}", f"{number}", WAITING) is not None


def test_a_second_release_is_ignored() -> None:
    gate = governor()
    share = gate.for_run("r")
    first, second = (share.try_acquire("t", "t", WAITING) for _ in range(2))
    assert first is not None
    assert second is not None
    first.release()
    first.release(failed=True)
    assert gate.in_flight == 1


@pytest.mark.parametrize("wrong", [{"per_run": 0}, {"tools": {"a": 0}}, {"per_tenant": -1}, {"weights": {"a": 0.0}}])
def test_refuses_limits_that_would_stop_everything(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        GovernorLimits(**wrong)


def test_a_full_tool_type_run_or_tenant_holds_up_nobody_behind_it() -> None:
    gate = governor(per_process=9, per_run=2, per_tenant=3, per_type=2, tools={"small": 1})
    a = gate.for_run("a", "a")
    held = [a.try_acquire("small", "x", WAITING), a.try_acquire("big", "y", WAITING)]
    assert None not in held
    assert not granted(a.request("big", "y", WAITING)), "its run is full"
    other = gate.for_run("a2", "a")
    assert granted(other.request("big", "y", WAITING)), "another run may"
    assert not granted(other.request("big", "z", WAITING)), "its tenant is full"
    b = gate.for_run("b", "b")
    assert not granted(b.request("small", "x", WAITING)), "the tool is full"
    assert not granted(b.request("big", "y", WAITING)), "the type is full"
    assert granted(b.request("else", "x", WAITING))


def test_the_limit_of_a_tool_can_be_read() -> None:
    gate = governor(tools={"a": 3})
    assert (gate.tool_limit("a"), gate.tool_limit("b")) == (3, None)
    gate.for_run("r").try_acquire("b", "x", WAITING)
    assert gate.tool_limit("b") is None
    adaptive = governor(adaptive=True, per_type=7)
    adaptive.for_run("r").try_acquire("b", "x", WAITING)
    assert adaptive.tool_limit("b") == 7


# Waiting.


def test_waits_in_order_and_a_slot_is_a_context() -> None:
    async def main() -> None:
        gate = governor(loop_time, per_process=1)
        share = gate.for_run("r")
        order: list[int] = []

        async def call(number: int) -> None:
            async with share.slot("t", "t", WAITING) as permit:
                assert isinstance(permit, Permit)
                order.append(number)
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(call(number))
        assert order == [0, 1, 2, 3, 4]
        assert loop_time() == 5
        with pytest.raises(ZeroDivisionError):
            async with share.slot("t", "t", WAITING):
                1 / 0  # noqa: B018
        assert gate.in_flight == 0

    virtual(main)


def test_a_ticket_granted_before_it_is_awaited() -> None:
    async def main() -> None:
        gate = governor(per_process=1)
        ticket = gate.for_run("r").request("t", "t", WAITING)
        permit = await ticket.wait()
        with pytest.raises(RuntimeError):
            await ticket.wait()
        ticket.cancel()
        assert gate.in_flight == 1, "a permit that was taken is no longer the ticket's"
        permit.release()
        assert gate.in_flight == 0

    virtual(main)


@pytest.mark.parametrize("after_grant", [False, True])
@pytest.mark.parametrize("how", ["task", "ticket", "share"])
def test_cancelling_the_waiter_loses_no_slot(how: str, after_grant: bool) -> None:
    """Before the grant, and between the grant and the moment the waiter wakes up."""

    async def main() -> None:
        gate = governor(loop_time, per_process=1)
        share, other = gate.for_run("r"), gate.for_run("other")
        held = other.try_acquire("t", "t", WAITING)
        assert held is not None
        ticket = share.request("t", "t", WAITING)
        task = asyncio.create_task(ticket.wait())
        await asyncio.sleep(0)
        behind = other.request("t", "t", WAITING)
        if after_grant:
            held.release()
            assert granted(ticket)
        cancel: Callable[[], object] = {"task": task.cancel, "ticket": ticket.cancel, "share": share.close}[how]
        cancel()
        with pytest.raises(asyncio.CancelledError if how == "task" else Cancelled):
            await task
        if not after_grant:
            assert not granted(behind)
            held.release()
        assert granted(behind)
        behind.cancel()
        assert (gate.in_flight, gate.queued) == (0, 0)

    virtual(main)


def test_a_closed_share_gives_nothing_more() -> None:
    gate = governor()
    share = gate.for_run("r")
    permit = share.try_acquire("t", "t", WAITING)
    assert permit is not None
    untaken = share.request("t", "t", WAITING)
    share.close()
    assert not granted(untaken)
    assert gate.in_flight == 1, "what was taken stays good"
    assert share.try_acquire("t", "t", WAITING) is None
    with pytest.raises(Cancelled):
        share.request("t", "t", WAITING)
    permit.release()
    assert gate.in_flight == 0


# Priorities.


def test_a_lower_priority_waits_for_all_of_a_higher_one() -> None:
    gate = governor(per_process=1)
    share = gate.for_run("r")
    held = share.try_acquire("t", "t", WAITING)
    assert held is not None
    wanted = [PREDICTED, BACKGROUND, WAITING, PREDICTED, BACKGROUND, WAITING]
    tickets = [gate.for_run(f"{n}").request("t", "t", p) for n, p in enumerate(wanted)]
    assert [wanted[n] for n in drain(held, tickets)] == sorted(wanted)


def drain(held: Permit, tickets: list[Ticket]) -> list[int]:
    """Release one after the other, and return the order in which the tickets were granted."""
    order: list[int] = []
    held.release()
    while len(order) < len(tickets):
        [number] = [n for n, ticket in enumerate(tickets) if granted(ticket)]
        order.append(number)
        tickets[number].cancel()
    return order


def test_a_promoted_call_goes_with_those_that_a_caller_waits_for() -> None:
    gate = governor(per_process=1)
    share = gate.for_run("r")
    held = share.try_acquire("t", "t", WAITING)
    assert held is not None
    tickets = [share.request("t", "t", p) for p in (PREDICTED, PREDICTED, BACKGROUND, WAITING)]
    tickets[1].promote(WAITING)
    tickets[3].promote(PREDICTED)
    assert tickets[3].priority is WAITING, "promotion never lowers"
    assert drain(held, tickets) == [3, 1, 2, 0]
    tickets[0].promote(WAITING)


def test_background_calls_grow_old_and_predicted_ones_do_not() -> None:
    clock = Clock()
    gate = governor(clock, per_process=1, aging_seconds=30.0)
    busy = gate.for_run("w")
    held = take(busy.request("t", "t", WAITING))
    old, guess = (gate.for_run("b").request("t", "t", priority) for priority in (BACKGROUND, PREDICTED))
    for _ in range(100):
        busy.request("t", "t", WAITING)
    starved = 0
    while not granted(old):
        clock.now += 1
        held.release()
        if not granted(old):
            starved += 1
            [ticket] = busy.untaken
            held = take(ticket)
    assert 29 <= starved <= 31
    clock.now += 1_000
    for _ in range(20):
        next(iter([*old.share.untaken, *busy.untaken])).cancel()
    assert not granted(guess)


def take(ticket: Ticket) -> Permit:
    permit = ticket._take()
    assert permit is not None
    return permit


# Bounds.


def test_refuses_calls_beyond_the_bounds_and_says_when_to_come_back() -> None:
    clock = Clock()
    gate = governor(clock, per_process=1, max_queued=5, max_queued_run=3)
    share, other = gate.for_run("r"), gate.for_run("other")
    held = share.try_acquire("t", "t", WAITING)
    assert held is not None
    tickets = [share.request("t", "t", WAITING) for _ in range(3)]
    with pytest.raises(ResourceExhausted) as refused:
        share.request("t", "t", WAITING)
    assert (refused.value.quota, refused.value.reason) == ("queued_tool_calls_of_run", "OVERLOADED")
    assert refused.value.retry_after == 1.0, "nothing is known of the pace yet"
    tickets += [other.request("t", "t", WAITING) for _ in range(2)]
    with pytest.raises(ResourceExhausted) as refused:
        other.request("t", "t", WAITING)
    assert refused.value.quota == "queued_tool_calls"
    held.release()
    for _ in range(3):
        clock.now += 2
        next(ticket for ticket in tickets if granted(ticket)).cancel()
    while gate.queued < 5:
        other.request("t", "t", WAITING) if other.queued < 3 else share.request("t", "t", WAITING)
    with pytest.raises(ResourceExhausted) as refused:
        gate.for_run("third").request("t", "t", WAITING)
    assert refused.value.retry_after == pytest.approx(10.0), "five calls at one in two seconds"
    clock.now += 1000
    next(iter([*share.untaken, *other.untaken])).cancel()
    while gate.queued < 5:
        other.request("t", "t", WAITING) if other.queued < 3 else share.request("t", "t", WAITING)
    with pytest.raises(ResourceExhausted) as refused:
        gate.for_run("third").request("t", "t", WAITING)
    assert refused.value.retry_after == 30.0


def test_under_memory_pressure_only_calls_that_somebody_waits_for_are_taken() -> None:
    async def main() -> None:
        gate = governor(per_process=1)
        share = gate.for_run("r")
        held = share.try_acquire("t", "t", WAITING)
        assert held is not None
        predicted, promoted = share.request("t", "t", PREDICTED), share.request("t", "t", PREDICTED)
        background, waiting = share.request("t", "t", BACKGROUND), share.request("t", "t", WAITING)
        promoted.promote(WAITING)
        task = asyncio.create_task(predicted.wait())
        await asyncio.sleep(0)
        gate.shed(True)
        with pytest.raises(ResourceExhausted) as refused:
            await task
        assert (refused.value.quota, gate.queued) == ("memory", 3)
        for priority in (PREDICTED, BACKGROUND):
            with pytest.raises(ResourceExhausted):
                share.request("t", "t", priority)
        assert drain(held, [promoted, background, waiting]) == [2, 0, 1]
        assert share.try_acquire("t", "t", PREDICTED) is None
        gate.shed(False)
        assert share.try_acquire("t", "t", PREDICTED) is not None

    virtual(main)


# Fairness.


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


def test_what_is_no_longer_used_is_forgotten() -> None:
    gate = governor(per_process=1)
    held = gate.for_run("r").try_acquire("t", "t", WAITING)
    for number in range(5_000):
        share = gate.for_run(f"{number}", f"tenant {number}")
        share.request(f"tool {number}", f"type {number}", WAITING)
        share.close()
    assert held is not None
    del share
    gc.collect()
    slots = gate._slots
    assert max(len(slots.tools), len(slots.kinds), len(gate._tenants)) <= 4_097
    assert gate.queued == 0
    assert not any(slots._queues)
    held.release()


# Anything goes.


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


# Cost.


def test_what_a_grant_costs_with_ten_thousand_waiting() -> None:
    gate = Governor(GovernorLimits())
    shares = [gate.for_run(f"{n}", f"tenant {n % 50}") for n in range(1_000)]
    began = time.perf_counter()
    tickets = [shares[n % 1_000].request(f"tool {n % 20}", f"type {n % 20 % 6}", WAITING) for n in range(10_050)]
    asked = time.perf_counter()
    spent, grants = 0.0, 0
    while gate.in_flight:
        held = [take(ticket) for ticket in tickets if granted(ticket)]
        tickets = [ticket for ticket in tickets if not ticket._settled]
        since = time.perf_counter()
        for permit in held:
            permit.release()
        spent += time.perf_counter() - since
        grants += len(held)
    assert grants == 10_050
    print(f"{(asked - began) / 10_050 * 1e6:.1f} us a request, {spent / grants * 1e6:.1f} us a release and grant")
    assert spent < 20


def test_what_a_free_slot_costs() -> None:
    gate = Governor()
    share = gate.for_run("r")
    began = time.perf_counter()
    for _ in range(20_000):
        permit = share.try_acquire("t", "t", WAITING)
        assert permit is not None
        permit.release()
    print(f"{(time.perf_counter() - began) / 20_000 * 1e6:.2f} us for taking a free slot and giving it back")
