"""The adaptive limit of a tool: falls when the tool is overloaded, comes back, and is left alone otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable

from podium.orchestration.adaptive_limit import AdaptiveLimit
from podium.orchestration.governor import Governor, GovernorLimits, Priority


def used(limit: AdaptiveLimit, calls: int, seconds: Callable[[], float], *, share: float = 1.0) -> list[int]:
    """Note calls made while `share` of the limit was in flight, and return the limits that followed."""
    return [limit.note(seconds(), max(1, round(limit.limit * share))) for _ in range(calls)]


def test_starts_at_its_ceiling_and_stays_there_while_all_is_well() -> None:
    rng = random.Random(1)
    limit = AdaptiveLimit(10)
    assert limit.limit == 10
    assert set(used(limit, 2_000, lambda: rng.uniform(0.08, 0.12))) == {10}


def test_falls_when_calls_take_twice_as_long_under_load_and_comes_back() -> None:
    limit = AdaptiveLimit(10)
    used(limit, 200, lambda: 0.1)
    during = used(limit, 200, lambda: 0.2)
    assert min(during) <= 8
    after = used(limit, 600, lambda: 0.1)
    assert after[-1] == 10
    assert max(during + after) <= 10


def test_what_lasts_becomes_usual() -> None:
    limit = AdaptiveLimit(10)
    used(limit, 200, lambda: 0.1)
    assert used(limit, 3_000, lambda: 0.2)[-1] == 10


def test_good_times_are_believed_sooner_than_bad_ones() -> None:
    """After a long bad time and a short good one, what would have been normal then is too slow now."""
    limit = AdaptiveLimit(10)
    used(limit, 3_000, lambda: 1.0)
    used(limit, 300, lambda: 0.1)
    assert min(used(limit, 200, lambda: 0.4)) <= 8


def test_falls_far_when_durations_explode_but_never_below_its_floor() -> None:
    for ceiling, floor in ((10, 1), (40, 4), (1, 1)):
        limit = AdaptiveLimit(ceiling)
        seconds = [0.1]

        def worse(seconds: list[float] = seconds) -> float:
            seconds[0] *= 1.01
            return seconds[0]

        used(limit, 200, lambda: 0.1)
        limits = used(limit, 800, worse)
        assert floor <= min(limits) <= max(floor, ceiling // 2)


def test_is_left_alone_while_it_is_not_used() -> None:
    limit = AdaptiveLimit(10)
    used(limit, 200, lambda: 0.1)
    assert set(used(limit, 500, lambda: 5.0, share=0.4)) == {10}


def test_calls_of_all_lengths_do_not_matter_at_low_use() -> None:
    """Calls of 20 and of 600 ms, one after the other or two at once; also where two are all that is allowed."""
    rng = random.Random(1)
    for ceiling, in_flight in ((10, 2), (10, 1), (2, 1)):
        limit = AdaptiveLimit(ceiling)
        assert {limit.note(rng.choice([0.02, 0.6]), in_flight) for _ in range(1_000)} == {ceiling}


def test_calls_of_all_lengths_matter_little_at_full_use() -> None:
    for seed in range(5):
        rng = random.Random(seed)
        limits = used(AdaptiveLimit(10), 3_000, lambda rng=rng: rng.choice([0.02, 0.6]))  # type: ignore[misc]
        assert min(limits) >= 7


def test_failures_lower_it_at_once_and_it_recovers() -> None:
    limit = AdaptiveLimit(10)
    used(limit, 100, lambda: 0.1)
    falling = [limit.note(5.0, limit.limit, failed=True) for _ in range(7)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == 5
    for _ in range(100):
        limit.note(5.0, limit.limit, failed=True)
    assert limit.limit == 1
    assert used(limit, 600, lambda: 0.1)[-1] == 10
    assert limit.note(5.0, 2, failed=True) == 10, "one of two failed, with room for ten"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def work(governor: Governor, clock: Clock, rounds: int, seconds: float, *, failed: bool = False) -> int | None:
    share = governor.for_run("r")
    for _ in range(rounds):
        held = []
        while (permit := share.try_acquire("tool", "type", Priority.WAITING)) is not None:
            held.append(permit)
        clock.now += seconds
        for permit in held:
            permit.release(failed=failed)
    return governor.tool_limit("tool")


def test_the_governor_keeps_to_it_and_hands_out_what_comes_back() -> None:
    clock = Clock()
    governor = Governor(GovernorLimits(per_type=10), clock=clock)
    assert work(governor, clock, 20, 0.1) == 10
    fallen = work(governor, clock, 10, 0.3)
    assert fallen is not None
    assert fallen < 8
    share = governor.for_run("other")
    permits = [share.try_acquire("tool", "type", Priority.WAITING) for _ in range(10)]
    assert sum(permit is not None for permit in permits) == fallen
    for permit in permits:
        if permit is not None:
            permit.release()
    assert work(governor, clock, 200, 0.1) == 10
    assert work(governor, clock, 1, 0.1, failed=True) == 4, "of ten failures, those count that came at full use"


def test_a_permit_that_was_never_used_says_nothing() -> None:
    clock = Clock()
    governor = Governor(GovernorLimits(per_type=2), clock=clock)
    share = governor.for_run("r")
    for _ in range(200):
        tickets = [share.request("tool", "type", Priority.WAITING) for _ in range(2)]
        clock.now += 1 + clock.now
        for ticket in tickets:
            ticket.cancel()
        clock.now = 0.0
    assert governor.tool_limit("tool") == 2


def test_there_is_no_trace_of_it_when_it_is_off() -> None:
    clock = Clock()
    governor = Governor(GovernorLimits(per_type=10, adaptive=False, tools={"tool": 6}), clock=clock)
    assert work(governor, clock, 20, 0.1) == 6
    assert work(governor, clock, 20, 9.0, failed=True) == 6
    assert governor._slots.tools["tool"].adaptive is None
