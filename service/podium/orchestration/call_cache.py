"""Results of tool calls, kept for a while, and one call in place of several equal ones.

Equal are calls of one tenant, tool and version with the same canonical arguments. The first of them
leads: it makes the call in its own task, and the others wait for its outcome. A leader that is
cancelled hands the lead to the follower that has waited longest, who makes the call anew; the
others wait on. A failure is everybody's who waited for it, and is not kept.

A result is looked for in memory, then with a running equal call, then in the second tier (shared by
several processes), and only then made. Waiting calls are bounded by those that run: there is no
queue here that could grow by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

import orjson

from podium.orchestration.cache_memory import INLINE_BYTES, CacheKey, Entry, MemoryTier, Packed, pack, unpack
from podium.orchestration.events import ResultSource
from podium.orchestration.tool import ToolFailure, ToolFailureCode, ToolResult, ToolSpec

__all__ = ["CacheKey", "CacheStats", "CallCache", "OwnFailure", "SecondTier", "Served", "cache_key", "canonical"]

_MOST_WRITES: Final = 100
_CLOSE_SECONDS: Final = 1.0
# A float keeps 15 digits for certain, and integers beyond 64 bits become floats when they are read.
_LONG_NUMBER: Final = re.compile(rb"[0-9.]{16}")
_log = logging.getLogger(__name__)


def canonical(arguments: Any) -> bytes:
    """Return the one JSON text of equal arguments: keys sorted, no spaces, UTF-8, numbers as orjson writes them.

    Floats and integers differ (`1.0` is not `1`): a tool may treat them differently, and then a result
    would be wrong, while telling them apart costs at most a second call. Spelling does not count: `1e2`
    is `100.0`.

    Raises:
        TypeError: the arguments are no JSON value, or hold an integer beyond 64 bits.
    """
    return orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)


def cache_key(tenant: str, spec: ToolSpec, arguments_json: bytes) -> CacheKey:
    """Return the key of a call. It holds a BLAKE2b digest of the canonical arguments (no arguments are `{}`).

    Where a number may have more digits than reading it keeps, only the very same text is the same call.

    Raises:
        ValueError: `arguments_json` is not JSON.
    """
    text = canonical(orjson.loads(arguments_json or b"{}"))
    digest = hashlib.blake2b(text, digest_size=32)
    if _LONG_NUMBER.search(arguments_json):
        digest.update(b"\0")  # stands in no JSON text
        digest.update(arguments_json)
    return CacheKey(tenant, spec.name, spec.version, digest.digest())


@dataclass(frozen=True, slots=True)
class Served:
    """A result and where it came from: TOOL, CACHE (`age_seconds` old) or JOINED."""

    result: ToolResult
    source: ResultSource
    age_seconds: float = 0.0


class OwnFailure(Exception):
    """What `produce` raises when it failed for its own caller only: `error` says how.

    Whoever waits for the same call makes it anew, as when it was cancelled.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class SecondTier(Protocol):
    """A cache that several processes share.

    Neither method raises or keeps callers waiting when the tier is down: that is a miss.
    """

    async def get(self, key: CacheKey) -> bytes | None:
        """Return what was set, if it is there and its time is not over."""
        ...

    async def set(self, key: CacheKey, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds."""
        ...


@dataclass(slots=True)
class CacheStats:
    """What a cache has done. Counters but for `entries` and `bytes`, which are as of now.

    Attributes:
        hits: results that were kept, in memory or in the second tier.
        misses: calls that were made.
        joins: results and failures of an equal call that was going on.
        evictions: entries that left memory before their time was over.
        tier_hits: those of the hits that came from the second tier.
        dropped_writes: results that were not written to the second tier, as too many waited for it.
        unusable: values from the second tier that could not be read.
    """

    hits: int = 0
    misses: int = 0
    joins: int = 0
    evictions: int = 0
    tier_hits: int = 0
    dropped_writes: int = 0
    unusable: int = 0
    entries: int = 0
    bytes: int = 0


class _Flight:
    """A call that is being made. A waiter's future gives the outcome, or None: take the lead."""

    __slots__ = ("keep", "waiters")

    def __init__(self) -> None:
        self.waiters: deque[asyncio.Future[Served | None]] = deque()
        self.keep = True


class CallCache:
    """Kept results and running calls of one process. Belongs to one event loop.

    Used with `async with` where there is a second tier: writes to it are tasks that end with the block,
    after a second at most. The tier is the caller's to close, after this.

    Args:
        max_entries: how many results are kept in memory at most.
        max_bytes: how much they take at most.
        compress_over: longer results are compressed, up to 64 KiB in memory (compressing more would hold
            up the event loop) and any in the second tier.
        tier: shared with other processes, or None.
        clock: monotonic seconds, for age and expiry in memory.
        wall: seconds since the epoch, for age across processes. Where clocks of two machines differ,
            results from the other are kept for too long or not at all by that difference, and never
            longer than twice their time.
    """

    def __init__(
        self,
        *,
        max_entries: int = 1000,
        max_bytes: int = 64 * 1024 * 1024,
        compress_over: int = 1024,
        tier: SecondTier | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._memory = MemoryTier(max_entries=max_entries, max_bytes=max_bytes)
        self._max_bytes = max_bytes
        self._compress_over = compress_over
        self._tier = tier
        self._clock = clock
        self._wall = wall
        self._flights: dict[CacheKey, _Flight] = {}
        self._stats = CacheStats()
        self._group: asyncio.TaskGroup | None = None
        self._writing = 0

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        group, self._group = self._group, None
        if group is not None:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    # What ended the block is not the group's: it would come out wrapped.
                    await group.__aexit__(None, None, None)
            except TimeoutError:
                _log.warning("the shared cache did not take the last results in time")

    @property
    def stats(self) -> CacheStats:
        """The counters, brought up to date."""
        stats, memory = self._stats, self._memory
        stats.evictions, stats.entries, stats.bytes = memory.evictions, len(memory), memory.bytes
        return stats

    def peek(self, key: CacheKey) -> Served | None:
        """Return what memory has, without waiting."""
        now = self._clock()
        entry = self._memory.get(key, now)
        if entry is None or entry.packed is None:
            return None
        self._stats.hits += 1
        return Served(entry.result or unpack(entry.packed), ResultSource.CACHE, max(now - entry.made, 0.0))

    async def run(self, key: CacheKey, ttl: float, produce: Callable[[], Awaitable[ToolResult]]) -> Served:
        """Return the result of a call: kept, of an equal call that is going on, or of `produce`.

        Never two `produce` of one key at once. `produce` runs in the caller's task; its result is kept for
        `ttl` seconds (0: not at all). What is the matter with this caller only must cancel `run`, or fail with
        `OwnFailure`: others may be waiting for the same call, and then one of them takes over.

        Raises:
            ToolFailure: the call failed, this one or the one that was waited for.
        """
        if (served := self.peek(key)) is not None:
            return served
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
        elif (served := await self._follow(key, flight)) is not None:
            return served
        return await self._lead(key, flight, ttl, produce)

    def drop(self, share: float = 0.5) -> int:
        """Evict at least that share of the bytes in memory, what is worth least first; return how many went."""
        return self._memory.shrink(int(self._memory.bytes * min(max(share, 0.0), 1.0)))

    def clear(self, tenant: str | None = None) -> None:
        """Forget what memory has, of one tenant or all, and do not keep what running calls return.

        The second tier keeps what it has until its time is over.
        """
        self._memory.clear(tenant)
        for key, flight in self._flights.items():
            if tenant in (None, key.tenant):
                flight.keep = False

    async def _follow(self, key: CacheKey, flight: _Flight) -> Served | None:
        """Wait for the leader's outcome; None: this caller leads now."""
        waiter: asyncio.Future[Served | None] = asyncio.get_running_loop().create_future()
        flight.waiters.append(waiter)
        try:
            served = await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with contextlib.suppress(ValueError):  # the flight may have ended in the same moment
                    flight.waiters.remove(waiter)
            elif waiter.exception() is None and waiter.result() is None:
                # The lead came in the very moment this caller was cancelled.
                self._hand_over(key, flight)
            raise
        except Exception:
            self._stats.joins += 1
            raise
        if served is None:
            return None
        if served.source is ResultSource.CACHE:
            self._stats.hits += 1
        else:
            self._stats.joins += 1
        return served

    async def _lead(
        self, key: CacheKey, flight: _Flight, ttl: float, produce: Callable[[], Awaitable[ToolResult]]
    ) -> Served:
        try:
            served = None if self._tier is None else await self._fetch(self._tier, key, flight, ttl)
            if served is None:
                self._stats.misses += 1
                started = self._clock()
                result = await produce()
                self._keep(key, flight, result, ttl, self._clock() - started)
                served = Served(result, ResultSource.TOOL)
        except OwnFailure as own:
            self._hand_over(key, flight)
            raise own.error from None
        except Exception as error:
            if isinstance(error, ToolFailure) and error.code is ToolFailureCode.CANCELLED:
                self._hand_over(key, flight)
            else:
                self._settle(key, flight, error)
            raise
        except BaseException:
            self._hand_over(key, flight)
            raise
        self._settle(key, flight, served)
        return served

    def _settle(self, key: CacheKey, flight: _Flight, outcome: Served | Exception) -> None:
        """End a flight: everybody who waited gets the outcome."""
        del self._flights[key]
        if isinstance(outcome, Served) and flight.waiters and outcome.source is ResultSource.TOOL:
            outcome = Served(outcome.result, ResultSource.JOINED)
        for waiter in flight.waiters:
            if waiter.done():
                continue
            if isinstance(outcome, Served):
                waiter.set_result(outcome)
            else:
                waiter.set_exception(_own(outcome))
        flight.waiters.clear()

    def _hand_over(self, key: CacheKey, flight: _Flight) -> None:
        """Give the lead to the one who has waited longest; without any, the flight is over."""
        while flight.waiters:
            waiter = flight.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        del self._flights[key]

    def _keep(self, key: CacheKey, flight: _Flight, result: ToolResult, ttl: float, cost: float) -> None:
        if ttl <= 0 or not flight.keep:
            return
        long = len(result.result_json) > INLINE_BYTES
        packed = Packed(result.result_json, result.content_type) if long else pack(result, self._compress_over)
        now = self._clock()
        self._memory.put(Entry(key, packed, made=now, expires=now + ttl, cost=cost), now)
        if self._tier is None:
            return
        if self._group is None or self._writing >= _MOST_WRITES:
            self._stats.dropped_writes += 1
            return
        self._writing += 1
        self._group.create_task(
            self._write(self._tier, key, result if long else packed, ttl=ttl, made=self._wall(), cost=cost)
        )

    async def _write(
        self, tier: SecondTier, key: CacheKey, kept: ToolResult | Packed, *, ttl: float, made: float, cost: float
    ) -> None:
        try:
            if isinstance(kept, ToolResult):
                kept = await asyncio.to_thread(pack, kept, self._compress_over)
            await tier.set(key, kept.encode(made, cost), ttl)
        except Exception:  # noqa: BLE001  # one that came out here would end the whole group, and its owner
            _log.exception("a result could not be written to the shared cache")
        finally:
            self._writing -= 1

    async def _fetch(self, tier: SecondTier, key: CacheKey, flight: _Flight, ttl: float) -> Served | None:
        """Look in the second tier, and keep in memory what it has for the rest of its time."""
        encoded = await tier.get(key)
        if encoded is None:
            return None
        try:
            packed, made, cost = Packed.decode(encoded, self._max_bytes)
            long = packed.length > INLINE_BYTES
            result = await asyncio.to_thread(unpack, packed) if long else unpack(packed)
        except ValueError:
            self._stats.unusable += 1
            return None
        age = max(self._wall() - made, 0.0)
        if not age < ttl:
            return None
        if long:
            packed = Packed(result.result_json, result.content_type)
        now = self._clock()
        if flight.keep:
            self._memory.put(Entry(key, packed, made=now - age, expires=now - age + ttl, cost=cost), now)
        self._stats.hits += 1
        self._stats.tier_hits += 1
        return Served(result, ResultSource.CACHE, age)


def _own(error: Exception) -> Exception:
    """Return a failure of one caller's own: a shared one would carry the trace of whoever raised it last."""
    if not isinstance(error, ToolFailure):
        return error
    return ToolFailure(error.code, error.message, retryable=error.retryable, retry_after=error.retry_after)
