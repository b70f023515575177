"""Permits for tool calls: limits that hold at every moment, slots that are never lost, priorities and bounds."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

import pytest

from podium.errors import Cancelled, ResourceExhausted
from podium.orchestration.governor import Governor, GovernorLimits, Permit, Priority, Ticket
from unit.orchestration.governor_rig import Clock, governor, granted, loop_time, take, virtual

WAITING, BACKGROUND, PREDICTED = Priority.WAITING, Priority.BACKGROUND, Priority.PREDICTED


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


# Forgetting.


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
