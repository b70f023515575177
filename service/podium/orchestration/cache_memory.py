"""Results kept in memory: bounded by number and by bytes, each for its own time.

What goes first when room is needed is decided by GreedyDual-Size (Cao and Irani, "Cost-Aware WWW
Proxy Caching Algorithms", USENIX USITS 1997): an entry is worth `inflation + cost / size`, cost being
the seconds it took to make; the least worth goes, and its worth becomes the inflation that entries
used later are given. So large results that are cheap to have again make room for small and slow
ones, and what nobody asks for ages.

An entry has one place in the order at all times: a use raises its worth, and its place follows only
when it comes up for eviction. A use therefore costs no more than a look-up.
"""

from __future__ import annotations

import heapq
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from podium.orchestration.tool import ToolResult

__all__ = ["INLINE_BYTES", "CacheKey", "Entry", "MemoryTier", "Packed", "pack", "unpack"]

INLINE_BYTES: Final = 64 * 1024
"""The largest result that is compressed on the event loop: about 0.6 ms at zlib's level 1, 0.2 ms back."""

_OVERHEAD_BYTES: Final = 600  # an entry, its key and its places; measured order of magnitude, not a promise
_LEAST_COST: Final = 0.001  # seconds; nothing is free to have again
_MOST_COST: Final = 3_600.0
_LEVEL: Final = 1
_WORTHWHILE: Final = 0.9  # of the size before
_HEADER: Final = struct.Struct(">ddIH")  # made (seconds since the epoch), cost, length, length of the content type


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Names a result. `digest` stands for the canonical arguments; their text appears nowhere."""

    tenant: str
    tool: str
    version: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Packed:
    """A result as it is kept: `length` is that of the body before compression, 0 when it is not compressed."""

    body: bytes
    content_type: str
    length: int = 0

    def encode(self, made: float, cost: float) -> bytes:
        """Return the form for another process: when it was made (seconds since the epoch), its cost and itself."""
        kind = self.content_type.encode()
        return _HEADER.pack(made, cost, self.length, len(kind)) + kind + self.body

    @staticmethod
    def decode(encoded: bytes, most: int) -> tuple[Packed, float, float]:
        """Return what `encode` was given, or raise `ValueError`; bodies over `most` bytes are refused."""
        if len(encoded) < _HEADER.size:
            raise ValueError("truncated")
        made, cost, length, kind_length = _HEADER.unpack_from(encoded)
        start = _HEADER.size + kind_length
        if len(encoded) < start or max(length, len(encoded) - start) > most:
            raise ValueError("truncated or too large")
        return Packed(encoded[start:], encoded[_HEADER.size : start].decode(), length), made, cost


def pack(result: ToolResult, compress_over: int) -> Packed:
    """Return the form in which a result is kept: compressed when it is long and that saves a tenth."""
    body = result.result_json
    if len(body) > compress_over:
        compressed = zlib.compress(body, _LEVEL)
        if len(compressed) < len(body) * _WORTHWHILE:
            return Packed(compressed, result.content_type, len(body))
    return Packed(body, result.content_type)


def unpack(packed: Packed) -> ToolResult:
    """Return the result again, or raise `ValueError` when its body is damaged."""
    if not packed.length:
        return ToolResult(result_json=packed.body, content_type=packed.content_type)
    inflate = zlib.decompressobj()
    try:
        body = inflate.decompress(packed.body, packed.length)
    except zlib.error as error:
        raise ValueError("damaged") from error
    if len(body) != packed.length or not inflate.eof:
        raise ValueError("damaged")
    return ToolResult(result_json=body, content_type=packed.content_type)


class Entry:
    """One kept result. Times are of the cache's clock."""

    __slots__ = ("cost", "expires", "key", "made", "packed", "result", "size", "turn", "worth")

    def __init__(self, key: CacheKey, packed: Packed, *, made: float, expires: float, cost: float) -> None:
        self.key = key
        self.packed: Packed | None = packed  # None: it is no longer kept
        self.result = None if packed.length else unpack(packed)
        self.made = made
        self.expires = expires
        self.cost = min(max(_LEAST_COST, cost), _MOST_COST)
        self.size = len(packed.body) + len(packed.content_type) + _OVERHEAD_BYTES
        self.worth = 0.0
        self.turn = 0  # of its latest use: among those worth the same, the one longest unused goes


class MemoryTier:
    """The entries of one process. Belongs to its event loop.

    Args:
        max_entries: how many are kept at most.
        max_bytes: how much they take at most; what is larger by itself is not kept.

    Attributes:
        bytes: what the entries take, with an estimate for what is not payload.
        evictions: entries that went before their time.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        if max_entries < 1 or max_bytes < 1:
            raise ValueError("a cache needs room for at least one entry and one byte")
        self.bytes = 0
        self.evictions = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: dict[CacheKey, Entry] = {}
        self._inflation = 0.0
        self._turn = 0
        # (rank, turn, entry): entries that are gone stay until they come up, without their bodies.
        self._by_worth: list[tuple[float, int, Entry]] = []
        self._by_expiry: list[tuple[float, int, Entry]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: CacheKey, now: float) -> Entry | None:
        """Return the entry if it is there and its time is not over; that counts as a use."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.expires:
            self._remove(entry)
            return None
        self._use(entry)
        return entry

    def put(self, entry: Entry, now: float) -> None:
        """Keep an entry in place of what its key had, and make room for it."""
        if (earlier := self._entries.get(entry.key)) is not None:
            self._remove(earlier)
        self._expire(now)
        if entry.size > self._max_bytes or now >= entry.expires:
            return
        while len(self._entries) >= self._max_entries or self.bytes + entry.size > self._max_bytes:
            self._evict()
        self._use(entry)
        self._entries[entry.key] = entry
        self.bytes += entry.size
        heapq.heappush(self._by_worth, (entry.worth, entry.turn, entry))
        heapq.heappush(self._by_expiry, (entry.expires, entry.turn, entry))
        if len(self._by_expiry) > 2 * self._max_entries or len(self._by_worth) > 2 * self._max_entries:
            self._tidy()

    def shrink(self, size: int) -> int:
        """Evict entries until at least `size` bytes are free of them, and return how many are."""
        before = self.bytes
        while self._entries and before - self.bytes < size:
            self._evict()
        return before - self.bytes

    def clear(self, tenant: str | None) -> None:
        """Forget the entries of a tenant, or all."""
        for entry in [entry for key, entry in self._entries.items() if tenant in (None, key.tenant)]:
            self._remove(entry)
        self._tidy()

    def _use(self, entry: Entry) -> None:
        self._turn += 1
        entry.turn = self._turn
        entry.worth = self._inflation + entry.cost / entry.size

    def _evict(self) -> None:
        while True:
            worth, turn, entry = heapq.heappop(self._by_worth)
            if entry.packed is None:
                continue
            if entry.turn != turn:
                heapq.heappush(self._by_worth, (entry.worth, entry.turn, entry))
                continue
            self._inflation = worth
            self.evictions += 1
            self._remove(entry)
            return

    def _expire(self, now: float) -> None:
        while self._by_expiry and self._by_expiry[0][0] <= now:
            self._remove(heapq.heappop(self._by_expiry)[2])

    def _remove(self, entry: Entry) -> None:
        if entry.packed is not None:
            del self._entries[entry.key]
            self.bytes -= entry.size
            entry.packed = entry.result = None

    def _tidy(self) -> None:
        for heap in (self._by_worth, self._by_expiry):
            heap[:] = [item for item in heap if item[2].packed is not None]
            heapq.heapify(heap)
