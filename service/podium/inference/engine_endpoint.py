"""One endpoint of an engine pool: what is known of it, and the task that keeps knowing it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from podium.errors import Internal, PodiumError, Unavailable
from podium.inference.engine import EngineInfo, EngineRequest, TokenDelta, TokensFinished
from podium.inference.outlier_ejection import EjectionPolicy, OutlierDetector
from podium.inference.tokenizer import Tokenizer

__all__ = ["Endpoint", "EndpointState", "EndpointStatus", "PoolMember", "PoolPolicy"]

_log = logging.getLogger(__name__)


class PoolMember(Protocol):
    """An `Engine` that a pool may own; `TrtllmEngine` is one."""

    def generate(self, request: EngineRequest) -> AsyncGenerator[TokenDelta | TokensFinished, None]:
        """Stream one generation, as `Engine` does."""
        ...

    async def abort(self, request_id: str) -> None:
        """Stop a generation at its next step."""
        ...

    async def probe(self) -> EngineInfo:
        """Return what the engine is, when it is ready."""
        ...

    async def tokenizer(self) -> Tokenizer:
        """Fetch the engine's own tokenizer."""
        ...

    async def aclose(self) -> None:
        """End what is in flight and close the connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """How a pool spreads requests and judges its endpoints. Times are in seconds.

    Attributes:
        max_in_flight: requests an endpoint has at once; more are refused or go elsewhere.
        affinity_margin: how many requests more than the least busy one an endpoint that has seen
            the prompt's beginning may have and still be chosen.
        max_attempts: endpoints tried for one request, all before its first token.
        first_token_timeout: for the first item, over all attempts.
        request_timeout: for one generation, over all attempts.
        probe_interval: between two probes of an endpoint that is up, give or take a fifth.
        down_interval: likewise of one that failed its last probe.
        probe_timeout: for one probe.
        down_after: failed probes in a row that take an endpoint out.
        ejection: when failing requests take an endpoint out.
    """

    max_in_flight: int = 256
    affinity_margin: int = 4
    max_attempts: int = 3
    first_token_timeout: float = 60.0
    request_timeout: float = 120.0
    probe_interval: float = 5.0
    down_interval: float = 1.0
    probe_timeout: float = 5.0
    down_after: int = 2
    ejection: EjectionPolicy = field(default_factory=EjectionPolicy)

    def __post_init__(self) -> None:
        if min(self.max_in_flight, self.max_attempts, self.down_after) < 1 or self.affinity_margin < 0:
            raise ValueError("a pool's limits must be at least 1, and its affinity margin at least 0")


class EndpointState(StrEnum):
    """Whether an endpoint gets new requests; only the first two do."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"
    EJECTED = "ejected"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """One endpoint as health reports show it.

    Attributes:
        ejected_for: seconds until it is back in service.
        finished: generations that ended well.
        failed: generations that failed through the endpoint's own fault.
        last_error: why its last probe or request failed, in words for an operator.
    """

    address: str
    state: EndpointState
    in_flight: int
    ejected_for: float
    finished: int
    failed: int
    last_error: str


class Endpoint:
    """An engine in a pool, with its health, its load and the record of its results.

    Args:
        vet: says what is wrong with an engine that answers its probe but does not belong in the pool.
        on_down: told when the endpoint goes down, and its cache with it.
    """

    def __init__(
        self,
        address: str,
        engine: PoolMember,
        policy: PoolPolicy,
        *,
        vet: Callable[[Endpoint, EngineInfo], str],
        on_down: Callable[[Endpoint], None],
    ) -> None:
        self.address = address
        self.engine = engine
        self.info: EngineInfo | None = None
        self.healthy: bool | None = None
        self.draining = False
        self.in_flight = 0
        self.last_turn = 0
        self.outliers = OutlierDetector(policy.ejection)
        self._policy = policy
        self._vet = vet
        self._on_down = on_down
        self._finished = 0
        self._failed = 0
        self._failed_probes = 0
        self._last_error = ""
        self._recheck = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def status(self, now: float) -> EndpointStatus:
        """Return what a health report shows."""
        return EndpointStatus(
            address=self.address,
            state=self._state(now),
            in_flight=self.in_flight,
            ejected_for=self.outliers.ejected_for(now),
            finished=self._finished,
            failed=self._failed,
            last_error=self._last_error,
        )

    @property
    def usable(self) -> bool:
        """Whether it may get new requests, its ejections aside."""
        return not self.draining and self.healthy is not False

    def _state(self, now: float) -> EndpointState:
        if self.draining:
            return EndpointState.DRAINING
        if self.healthy is False:
            return EndpointState.DOWN
        if self.outliers.ejected_for(now) > 0:
            return EndpointState.EJECTED
        return EndpointState.UP if self.healthy else EndpointState.UNKNOWN

    # Load.

    def take(self) -> None:
        """Count a request in."""
        self.in_flight += 1
        self._idle.clear()

    def release(self) -> None:
        """Count it out again."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    # Results.

    def finished(self) -> None:
        """Take note of a generation that ended well."""
        self._finished += 1
        self.outliers.succeeded()

    def failed(self, error: PodiumError) -> bool:
        """Take note of a failed request; say whether the endpoint should be ejected for it.

        Only what is the endpoint's own fault counts: a refused request, a full queue and a long
        generation that ran out of time do not.
        """
        if not isinstance(error, Unavailable | Internal):
            return False
        self._failed += 1
        self._last_error = error.message
        self._recheck.set()
        return self.outliers.failed()

    # Health.

    async def watch(self) -> None:
        """Probe for ever: at intervals, and soon after a request failed."""
        while True:
            await self.check()
            up = self.healthy is not False and not self._failed_probes
            interval = self._policy.probe_interval if up else self._policy.down_interval
            # Pools that start together must not probe together.
            interval *= 0.8 + 0.4 * random.random()  # noqa: S311
            # However many requests fail, probes keep a distance.
            pause = min(interval, self._policy.down_interval / 2)
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(interval - pause):
                    await self._recheck.wait()
            except TimeoutError:
                continue

    async def check(self) -> None:
        """Probe once."""
        self._recheck.clear()
        try:
            async with asyncio.timeout(self._policy.probe_timeout):
                info = await self.engine.probe()
        except PodiumError as error:
            self._probe_failed(error.message)
        except TimeoutError:
            self._probe_failed("It does not answer its probe in time.")
        except Exception:  # noqa: BLE001  # a probe must outlive any fault, or nobody sees this endpoint come back
            _log.exception("an engine could not be probed", extra={"endpoint": self.address})
            self._probe_failed("Its probe failed; see the log.")
        else:
            wrong = self._vet(self, info)
            if wrong:
                self._failed_probes = self._policy.down_after
                self._probe_failed(wrong)
            else:
                self._probe_succeeded(info)

    def _probe_succeeded(self, info: EngineInfo) -> None:
        if self.healthy is False:
            _log.info("an engine is up again", extra={"endpoint": self.address})
        self.info = info
        self.healthy = True
        self._failed_probes = 0

    def _probe_failed(self, why: str) -> None:
        self._failed_probes += 1
        self._last_error = why
        if self.healthy is not False and self._failed_probes >= self._policy.down_after:
            self.healthy = False
            _log.warning("an engine is down", extra={"endpoint": self.address, "why": why})
            self._on_down(self)
