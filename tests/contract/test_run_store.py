"""What every `RunStore` promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from podium.errors import AlreadyExists, InvalidRequest, NotFound
from podium.orchestration.chat import Usage
from podium.orchestration.events import RunEnded, RunSpec, RunStarted, RunState, TurnStarted
from podium.orchestration.journal import RunHeader, RunStore
from podium.store.memory import MemoryRunStore


@pytest.fixture(params=[MemoryRunStore])
def store(request: pytest.FixtureRequest) -> RunStore:
    """Every implementation."""
    factory: Callable[[], RunStore] = request.param
    return factory()


def header(number: int, owner: str = "me", **spec: str) -> RunHeader:
    """Return the header of run `number`; later numbers are later runs."""
    return RunHeader(run_id=f"run_{number:026d}", owner=owner, spec=RunSpec(input="x", **spec), create_ns=number)


ENDED = RunEnded(RunState.SUCCEEDED, "42", False, Usage(1, 2, 0))


async def test_appended_events_are_numbered_and_read_back(store: RunStore) -> None:
    """`seq` counts from 1; reading after a number gives what follows it."""
    run = await store.create(header(1))
    started = RunStarted(run.spec, "m", "c")
    events = [
        await store.append(run.run_id, kind, 10 + i) for i, kind in enumerate((started, TurnStarted(0, "m"), ENDED))
    ]
    assert [e.seq for e in events] == [1, 2, 3]
    assert list(await store.events(run.run_id)) == events
    assert list(await store.events(run.run_id, after_seq=2)) == events[2:]
    assert list(await store.events(run.run_id, after_seq=3)) == []


async def test_view_follows_the_log_and_is_the_callers_own(store: RunStore) -> None:
    """A view taken earlier does not change when the run goes on."""
    run = await store.create(header(1))
    await store.append(run.run_id, RunStarted(run.spec, "m", "c"), 10)
    early = await store.view(run.run_id, "me")
    await store.append(run.run_id, ENDED, 11)
    late = await store.view(run.run_id, "me")
    assert (early.state, late.state, late.answer) == (RunState.RUNNING, RunState.SUCCEEDED, "42")


async def test_request_id_finds_the_earlier_run(store: RunStore) -> None:
    """Same owner, id and body: the earlier run. Another body: refused. Another owner: another run."""
    first = await store.create(header(1, request_id="r"))
    assert await store.create(header(2, request_id="r")) == first
    with pytest.raises(AlreadyExists):
        await store.create(header(3, request_id="r", model="other"))
    assert (await store.create(header(4, owner="you", request_id="r"))).run_id != first.run_id


async def test_strangers_see_nothing(store: RunStore) -> None:
    """Somebody else's run and no run look alike."""
    run = await store.create(header(1))
    with pytest.raises(NotFound):
        await store.view(run.run_id, "you")
    for missing in (store.view("run_nope", "me"), store.events("run_nope"), store.append("run_nope", ENDED, 1)):
        with pytest.raises(NotFound):
            await missing


async def test_pages_go_from_newest_to_oldest_without_loss(store: RunStore) -> None:
    """Walking pages gives each run once, even when a run is added on the way; states filter."""
    for number in range(1, 8):
        await store.create(header(number))
    await store.append(header(3).run_id, RunStarted(RunSpec(input="x"), "m", ""), 1)
    seen, token = [], ""
    for _ in range(4):
        page = await store.list("me", page_size=3, page_token=token, states=())
        seen += [view.create_ns for view in page.runs]
        await store.create(header(100 + len(seen)))
        token = page.next_page_token
        if not token:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    running = await store.list("me", page_size=3, page_token="", states={RunState.RUNNING})
    assert [view.create_ns for view in running.runs] == [3]
    for forged in ("???", "bm9uc2Vuc2U", "ünïcode"):
        with pytest.raises(InvalidRequest):
            await store.list("me", page_size=3, page_token=forged, states=())


async def test_memory_is_bounded_but_keeps_what_runs() -> None:
    """The oldest ended runs go first; runs in progress stay even beyond the bound."""
    store = MemoryRunStore(max_runs=3)
    for number in range(1, 6):
        run = await store.create(header(number, request_id=f"r{number}"))
        if number != 2:
            await store.append(run.run_id, ENDED, number)
    kept = await store.list("me", page_size=10, page_token="", states=())
    assert [view.create_ns for view in kept.runs] == [5, 4, 2]
    again = await store.create(header(9, request_id="r1"))
    assert again.create_ns == 9
    by_size = MemoryRunStore(max_bytes=3000)
    for number in range(1, 20):
        run = await by_size.create(header(number))
        await by_size.append(run.run_id, ENDED, number)
    assert len((await by_size.list("me", page_size=50, page_token="", states=())).runs) < 6
