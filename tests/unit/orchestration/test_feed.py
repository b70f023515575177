"""Readers of a run's feed, whatever their pace."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.orchestration.chat import TurnFinishReason, Usage
from podium.orchestration.events import EventKind, LoggedEvent, RunEnded, RunState, TextWritten, TurnEnded, TurnStarted
from podium.orchestration.feed import RunFeed
from support.virtual_time import run_virtual


async def one_by_one(feed: RunFeed) -> AsyncIterator[LoggedEvent]:
    async for batch in feed.follow():
        for event in batch:
            yield event


@given(
    turns=st.lists(st.lists(st.text(min_size=1, max_size=5), max_size=6), min_size=1, max_size=4),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_every_reader_sees_all_events_and_all_text(turns: list[list[str]], seed: int) -> None:
    """Readers that come early, late or lag read the same events in order and the whole text of each turn."""

    async def main() -> None:
        rng = random.Random(seed)
        feed, seq = RunFeed("run_x"), 0

        def log(kind: EventKind) -> None:
            nonlocal seq
            seq += 1
            feed.logged(LoggedEvent("run_x", seq, seq, kind))

        async def read() -> list[LoggedEvent]:
            await asyncio.sleep(rng.random() * 5)
            seen = []
            async for event in one_by_one(feed):
                seen.append(event)
                if rng.random() < 0.3:
                    await asyncio.sleep(rng.random())
            return seen

        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read()) for _ in range(4)]
            for index, chunks in enumerate(turns):
                log(TurnStarted(index, "m"))
                for chunk in chunks:
                    feed.text(chunk)
                    await asyncio.sleep(rng.random())
                log(TurnEnded(index, "".join(chunks), Usage(), TurnFinishReason.STOP))
            log(RunEnded(RunState.SUCCEEDED, "", False, Usage()))
            feed.end()
        for reader in readers:
            seen = reader.result()
            logged = [e for e in seen if not isinstance(e.kind, TextWritten)]
            assert [e.seq for e in logged] == list(range(1, seq + 1))
            for index, chunks in enumerate(turns):
                pieces = [e.kind for e in seen if isinstance(e.kind, TextWritten) and e.kind.turn == index]
                assert "".join(p.text for p in pieces) == "".join(chunks)
                offset = 0
                for piece in pieces:
                    assert piece.offset == offset
                    offset += len(piece.text)

    run_virtual(main())


def test_waiting_reader_ends_with_the_feed() -> None:
    """A reader that waits wakes when the feed ends."""

    async def main() -> None:
        feed = RunFeed("run_x")
        reading = asyncio.ensure_future(anext(feed.follow(), None))
        await asyncio.sleep(1)
        feed.end()
        assert await reading is None

    run_virtual(main())


@pytest.mark.parametrize("early", [True, False])
def test_text_before_any_turn_is_not_lost_track_of(early: bool) -> None:
    """A turn that wrote nothing yields no text events."""

    async def main() -> None:
        feed = RunFeed("run_x")
        if early:
            feed.logged(LoggedEvent("run_x", 1, 1, TurnStarted(0, "m")))
        feed.end()
        assert [type(e.kind) for e in [x async for x in one_by_one(feed)]] == ([TurnStarted] if early else [])

    run_virtual(main())
