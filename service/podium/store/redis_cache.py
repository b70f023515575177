"""The second tier of the result cache: a Redis that several servers share.

Needs the extra `redis`. A Redis that is slow or gone is never waited for long: a call that takes
more than `timeout` seconds is a miss, and nobody asks again until a pause is over, which doubles
with every failure from 0.5 to 30 seconds. Then one call tries, while the others still do without.

A key in Redis is the prefix, the tenant, the tool and a digest; no argument stands in it. With a
cipher the digest cannot be guessed from arguments, and values can be neither read nor exchanged.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from podium.orchestration.call_cache import CacheKey
from podium.security.value_cipher import CipherError, ValueCipher

__all__ = ["RedisCacheTier"]

T = TypeVar("T")

_VERSION: Final = b"\x01"
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_INLINE_BYTES: Final = 256 * 1024
_log = logging.getLogger(__name__)


class RedisCacheTier:
    """A `SecondTier` in Redis. Belongs to one event loop; `aclose` ends its connections.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, with user and password where needed.
        cipher: seals values; None leaves them readable to whoever can read that Redis.
        prefix: of every key.
        timeout: seconds that one call may take, connecting included.
        max_value_bytes: longer values are not shared: they would not pass within `timeout`.
        connections: at most.
        clock: monotonic seconds, for pauses.

    Attributes:
        failures: calls that Redis did not answer properly or in time.
        unusable: values that were damaged, of another version, or not sealed with this key.
        oversized: values that were too long to share.
        skipped: look-ups that were not made, as too many were under way; waiting for them would soon take
            longer than `timeout`, and a busy Redis would seem gone.
    """

    def __init__(
        self,
        url: str,
        *,
        cipher: ValueCipher | None,
        prefix: str = "podium:cache:",
        timeout: float = 0.05,
        max_value_bytes: int = 1024 * 1024,
        connections: int = 16,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures = 0
        self.unusable = 0
        self.oversized = 0
        self.skipped = 0
        self._cipher = cipher
        self._prefix = prefix
        self._timeout = timeout
        self._max_value_bytes = max_value_bytes
        self._clock = clock
        self._pause = 0.0  # 0: it answers
        self._resting_until = 0.0
        self._trying = False
        self._complained = False
        self._asking = 0
        self._most_asking = 2 * connections
        self._writers = asyncio.Semaphore(max(connections // 2, 1))  # who writes can wait
        self._redis: Redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                max_connections=connections,
                # One limit for waiting, connecting and asking together is in `_ask`.
                timeout=None,
                socket_timeout=None,
                socket_connect_timeout=None,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
                driver_info=None,
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
            )
        )

    @property
    def available(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return not self._pause

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def get(self, key: CacheKey) -> bytes | None:
        """Return what was set, or None; never raises, and takes `timeout` at most."""
        if not self._may_ask():
            return None
        if self._asking >= self._most_asking:
            self.skipped += 1
            return None
        name = self._name(key)
        self._asking += 1
        try:
            kept = await self._ask(lambda: self._redis.get(name))
        finally:
            self._asking -= 1
        if not isinstance(kept, bytes):
            return None
        try:
            if len(kept) > _INLINE_BYTES:
                return await asyncio.to_thread(self._unwrapped, key, name, kept)
            return self._unwrapped(key, name, kept)
        except (CipherError, ValueError):
            self.unusable += 1
            return None

    async def set(self, key: CacheKey, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds, to the millisecond; never raises. Waits its turn among those who write."""
        milliseconds = int(ttl * 1000)
        if len(value) > self._max_value_bytes:
            self.oversized += 1
        elif milliseconds > 0 and self._may_ask():
            name = self._name(key)
            if len(value) > _INLINE_BYTES:
                wrapped = await asyncio.to_thread(self._wrapped, key, name, value)
            else:
                wrapped = self._wrapped(key, name, value)
            async with self._writers:
                if self._may_ask():  # it may have failed in the meantime
                    await self._ask(lambda: self._redis.set(name, wrapped, px=milliseconds))

    def _name(self, key: CacheKey) -> str:
        parts = b"".join(
            len(part).to_bytes(4, "big") + part
            for part in (key.tenant.encode(), key.tool.encode(), key.version.encode(), key.digest)
        )
        if self._cipher is None:
            digest = hashlib.blake2b(parts, digest_size=32).digest()
        else:
            digest = self._cipher.pseudonym(key.tenant, parts)
        return f"{self._prefix}{key.tenant}:{key.tool}:{digest.hex()}"

    def _wrapped(self, key: CacheKey, name: str, value: bytes) -> bytes:
        sealed = value if self._cipher is None else self._cipher.seal(key.tenant, name.encode(), value)
        return _VERSION + sealed

    def _unwrapped(self, key: CacheKey, name: str, kept: bytes) -> bytes:
        if kept[:1] != _VERSION:
            raise ValueError("another version")
        sealed = kept[1:]
        return sealed if self._cipher is None else self._cipher.open(key.tenant, name.encode(), sealed)

    def _may_ask(self) -> bool:
        return not self._pause or (not self._trying and self._clock() >= self._resting_until)

    async def _ask(self, command: Callable[[], Awaitable[T]]) -> T | None:
        """Run a command; None when it failed."""
        began = self._pause
        if trial := bool(began):
            self._trying = True
        try:
            async with asyncio.timeout(self._timeout):
                answer = await command()
        except ResponseError as error:
            # It answers, if only to refuse (out of memory, no permission): no reason to leave it alone.
            self._refused(error)
            answer = None
        except Exception as error:  # noqa: BLE001  # whatever is wrong with a cache must not fail a call
            self._failed(error, began)
            return None
        finally:
            if trial:
                self._trying = False
        if self._pause == began and trial:
            _log.info("the shared cache answers again")
            self._pause = 0.0
        return answer

    def _refused(self, error: Exception) -> None:
        self.failures += 1
        if not self._complained:
            self._complained = True
            _log.warning("the shared cache refuses commands (%s)", type(error).__name__)

    def _failed(self, error: Exception, began: float) -> None:
        self.failures += 1
        if self._pause != began:
            return  # one of many that failed together: one pause is enough
        if not self._pause:
            # The text of the error may hold the address; its kind says enough.
            _log.warning("the shared cache does not answer (%s); going on without it", type(error).__name__)
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._resting_until = self._clock() + self._pause
