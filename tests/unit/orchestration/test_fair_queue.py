"""The order of a fair queue, compared with one that looks at everybody each time."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from podium.orchestration.fair_queue import BY_PROCESS, BY_TYPE, Account, Accounts, Claimant, FairQueue


class Plain:
    """The same rules, by looking at every waiting call."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Claimant, Claimant]] = []

    def lowest(self, roots: Accounts, domain: int) -> tuple[float, float] | None:
        tags = [
            (tenant.accounts(roots)[domain].tag, run.accounts(roots)[domain].tag)
            for _, tenant, run in self.waiting
            if tenant.in_flight < tenant.limit and run.in_flight < run.limit
        ]
        return min(tags, default=None)


@pytest.mark.parametrize("seed", range(10))
def test_the_lowest_tag_goes_first_whatever_happens(seed: int) -> None:
    rng = random.Random(seed)
    roots: Accounts = (Account(), Account())
    queue, plain = FairQueue[int](roots), Plain()
    tenants = [Claimant(rng.choice([2, 99]), rng.choice([1.0, 3.0])) for _ in range(4)]
    runs = [(tenant, Claimant(rng.choice([1, 3, 99]))) for tenant in tenants for _ in range(3)]
    working: list[tuple[Claimant, Claimant, tuple[Account, ...]]] = []
    for call in range(1_500):
        action = rng.random()
        if action < 0.45:
            tenant, run = rng.choice(runs)
            queue.push(call, tenant, run)
            plain.waiting.append((call, tenant, run))
        elif action < 0.55 and plain.waiting:
            queue.remove(plain.waiting.pop(rng.randrange(len(plain.waiting)))[0])
        elif action < 0.75 and working:
            tenant, run, accounts = working.pop(rng.randrange(len(working)))
            for account in accounts:
                account.held(rng.uniform(0.0, 2.0))
            for claimant in (tenant, run):
                claimant.in_flight -= 1
                claimant.unpark()
        else:
            domain = rng.choice([BY_TYPE, BY_PROCESS])
            head = queue.head(domain)
            lowest = plain.lowest(roots, domain)
            assert (head is None) == (lowest is None)
            assert len(queue) == len(plain.waiting)
            if head is None or lowest is None:
                continue
            entry = next(each for each in plain.waiting if each[0] == head.call)
            _, tenant, run = entry
            tag = tenant.accounts(roots)[domain].tag
            assert tag == lowest[0] >= queue.bound(domain)
            assert entry == next(each for each in plain.waiting if each[2] is run), "in order within a run"
            accounts = head.charge(process=rng.random() < 0.5)
            queue.remove(head.call)
            plain.waiting.remove(entry)
            tenant.in_flight += 1
            run.in_flight += 1
            working.append((tenant, run, accounts))
    while plain.waiting:
        queue.remove(plain.waiting.pop()[0])
    assert len(queue) == 0
    assert queue.blocked()
    assert not any(claimant._parked for pair in runs for claimant in pair)


def test_who_waited_for_something_full_catches_up_on_a_few_calls_only() -> None:
    roots: Accounts = (Account(), Account())
    queue = FairQueue[int](roots)
    a, b = Claimant(1), Claimant(99)
    late, busy = Claimant(99), Claimant(99)
    a.in_flight = 1  # at its limit for a long time
    for call in range(400):
        queue.push(call, *((a, late) if call % 2 else (b, busy)))
    order: Counter[str] = Counter()
    for turn in range(160):
        if turn == 100:
            a.limit = 99
            a.unpark()
        head = queue.head(BY_TYPE)
        assert head is not None
        head.charge(process=False)
        queue.remove(head.call)
        if turn >= 100:
            order["A" if head.call % 2 else "B"] += 1
    assert 25 <= order["A"] <= 40
