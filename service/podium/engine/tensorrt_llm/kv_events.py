"""The engine's cache events, folded into a picture of the cache and fanned out to subscribers.

Everything here runs on the serving event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from smg_grpc_proto.generated import common_pb2

from podium.errors import FailedPrecondition, ResourceExhausted

__all__ = ["KvEventPublisher"]

_log = logging.getLogger(__name__)

_KEPT_BATCHES = 1024
_SUBSCRIBER_BATCHES = 256
_MAX_SUBSCRIBERS = 16
_SNAPSHOT_BLOCKS = 512
_SIGN = 1 << 63


class KvEventPublisher:
    """Publishes what the prefix cache holds.

    A gap in the engine's numbers means lost events: the picture is dropped and `cleared` is published, so that
    every subscriber starts over.
    """

    def __init__(self) -> None:
        # Block hash to the event's block and its parent, parents first.
        self._blocks: dict[int, tuple[Any, int | None]] = {}
        self._batches: deque[Any] = deque(maxlen=_KEPT_BATCHES)
        self._sequence = 0
        self._last_event: int | None = None
        self._subscribers: set[_Subscriber] = set()

    @property
    def blocks(self) -> frozenset[int]:
        """Hashes of the blocks that the cache holds now, as far as it told."""
        return frozenset(self._blocks)

    def publish(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take a batch of the engine's events."""
        made: list[Any] = []
        for event in events:
            number = int(event.get("event_id", 0))
            if self._last_event is not None and number != self._last_event + 1:
                _log.warning("cache events were lost; subscribers start over")
                self._blocks.clear()
                made = [common_pb2.KvCacheEvent(event_id=number, cleared=common_pb2.KvCacheCleared())]
            self._last_event = number
            folded = self._fold(number, event.get("data") or {})
            if folded is not None:
                made.append(folded)
        if not made:
            return
        self._sequence += 1
        batch = common_pb2.KvEventBatch(sequence_number=self._sequence, timestamp=time.time(), events=made)
        self._batches.append(batch)
        for subscriber in self._subscribers:
            subscriber.put(batch)

    async def subscribe(self, start: int) -> AsyncGenerator[Any, None]:
        """Yield batches from number `start` on; 0 begins with the cache as it is.

        Raises:
            FailedPrecondition: `start` is no longer, or not yet, to be had.
            ResourceExhausted: too many subscribers, or this one is too slow.
        """
        if len(self._subscribers) >= _MAX_SUBSCRIBERS:
            raise ResourceExhausted("Too many subscribers to cache events.", quota="kv_event_subscribers")
        subscriber = _Subscriber()
        # Before the first yield: nothing may come between the past and the future.
        backlog = self._snapshot() if start == 0 else self._since(start)
        self._subscribers.add(subscriber)
        try:
            for batch in backlog:
                yield batch
            while True:
                yield await subscriber.get()
        finally:
            self._subscribers.discard(subscriber)

    def _since(self, start: int) -> list[Any]:
        oldest = self._sequence - len(self._batches) + 1
        if not oldest <= start <= self._sequence + 1:
            raise FailedPrecondition("These cache events are not to be had; subscribe again from 0.")
        return [batch for batch in self._batches if batch.sequence_number >= start]

    def _snapshot(self) -> list[Any]:
        """Describe the cache under the number of the last batch, so that the next one follows on."""
        events = [_stored(self._last_event or 0, [block], parent) for block, parent in self._blocks.values()]
        return [
            common_pb2.KvEventBatch(
                sequence_number=self._sequence, timestamp=time.time(), events=events[at : at + _SNAPSHOT_BLOCKS]
            )
            for at in range(0, len(events), _SNAPSHOT_BLOCKS)
        ]

    def _fold(self, number: int, data: Mapping[str, Any]) -> Any:
        kind = data.get("type")
        if kind == "stored":
            parent = data.get("parent_hash")
            above = None if parent is None else _signed(int(parent))
            blocks = [_block(entry) for entry in data.get("blocks", ())]
            before = above
            for block in blocks:
                self._blocks[block.block_hash] = (block, before)
                before = block.block_hash
            return _stored(number, blocks, above) if blocks else None
        if kind == "removed":
            hashes = [_signed(int(entry)) for entry in data.get("block_hashes", ())]
            for entry in hashes:
                self._blocks.pop(entry, None)
            return common_pb2.KvCacheEvent(event_id=number, removed=common_pb2.KvBlocksRemoved(block_hashes=hashes))
        if kind == "updated":
            self._update(data)
        return None

    def _update(self, data: Mapping[str, Any]) -> None:
        known = self._blocks.get(_signed(int(data.get("block_hash", 0))))
        level = data.get("cache_level")
        if known is not None and isinstance(level, Mapping):
            known[0].cache_level = int(level.get("new_value", 0))


class _Subscriber:
    """A bounded queue; one who lets it fill up has lost events and must start over."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[Any] = asyncio.Queue(_SUBSCRIBER_BATCHES)
        self._behind = False

    def put(self, batch: Any) -> None:
        if self._batches.full():
            self._behind = True
        else:
            self._batches.put_nowait(batch)

    async def get(self) -> Any:
        if self._behind:
            raise ResourceExhausted(
                "The subscriber fell behind; subscribe again from 0.", reason="SLOW_READER", quota="kv_events"
            )
        return await self._batches.get()


def _stored(number: int, blocks: list[Any], parent: int | None) -> Any:
    stored = common_pb2.KvBlocksStored(blocks=blocks)
    if parent is not None:
        stored.parent_block_hash = parent
    return common_pb2.KvCacheEvent(event_id=number, stored=stored)


def _block(entry: Mapping[str, Any]) -> Any:
    tokens = [int(token["token_id"] if isinstance(token, Mapping) else token) for token in entry.get("tokens", ())]
    return common_pb2.KvBlock(
        block_hash=_signed(int(entry["block_hash"])),
        token_ids=tokens,
        block_size=len(tokens),
        cache_level=int(entry.get("cache_level", 0) or 0),
    )


def _signed(value: int) -> int:
    """Fold an unsigned 64-bit hash into the wire's signed type."""
    return value - (_SIGN << 1) if value >= _SIGN else value
