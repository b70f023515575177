"""Several endpoints of one model behind one `Engine`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Self

from podium.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    NotFound,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)
from podium.inference.engine import EngineInfo, EngineRequest, FinishReason, TokenDelta, TokensFinished
from podium.inference.engine_client import TrtllmEngine
from podium.inference.engine_endpoint import Endpoint, EndpointStatus, PoolMember, PoolPolicy
from podium.inference.prefix_affinity import PrefixAffinity
from podium.inference.tokenizer import Tokenizer

__all__ = ["EnginePool"]

_log = logging.getLogger(__name__)


class EnginePool:
    """An `Engine` over endpoints that serve the same model. Belongs to the event loop that enters it.

    A request goes to the endpoint that was last given the longest beginning of its prompt, as long
    as that one is not much busier than the least busy one, which gets all other requests. Before
    its first token a request that finds its endpoint unavailable goes on to another. Endpoints that
    fail their probes, or too many requests, get none until they are better; the last one that is
    left is never ejected.

    Args:
        addresses: endpoints from the start; more may be added and removed at any time.
        policy: limits, times and thresholds.
        connect: makes the client of an address; the pool closes it.
        affinity: which endpoint has seen which prompt.
    """

    def __init__(
        self,
        addresses: Sequence[str] = (),
        *,
        policy: PoolPolicy | None = None,
        connect: Callable[[str], PoolMember] = TrtllmEngine,
        affinity: PrefixAffinity | None = None,
    ) -> None:
        self._first = tuple(dict.fromkeys(addresses))
        self._policy = policy or PoolPolicy()
        self._connect = connect
        self._affinity = affinity if affinity is not None else PrefixAffinity()
        self._endpoints: dict[str, Endpoint] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._in_flight: dict[str, _Ticket] = {}
        self._turn = 0
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        for address in self._first:
            self.add(address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Abort what is in flight and close every connection."""
        self._open = False
        endpoints = list(self._endpoints.values())
        watches = list(self._watches.values())
        self._endpoints.clear()
        self._watches.clear()
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, *(endpoint.engine.aclose() for endpoint in endpoints), return_exceptions=True)

    # Endpoints.

    def add(self, address: str) -> None:
        """Add an endpoint; it gets requests from now on.

        Raises:
            AlreadyExists: the pool has it.
            Unavailable: the pool is closed.
        """
        if not self._open:
            raise _closed()
        if address in self._endpoints:
            raise AlreadyExists("The pool has this endpoint.")
        endpoint = Endpoint(
            address,
            self._connect(address),
            self._policy,
            vet=self._vet,
            on_down=lambda gone: self._affinity.forget(gone.address),
        )
        self._endpoints[address] = endpoint
        self._watches[address] = asyncio.create_task(endpoint.watch(), name=f"watch-{address}")

    async def drain(self, address: str, *, limit: float) -> bool:
        """Give an endpoint no new requests, and wait for those it has.

        Args:
            address: one of the pool's endpoints.
            limit: seconds to wait.

        Returns:
            Whether nothing is left in flight; if not, it goes on draining.

        Raises:
            NotFound: the pool has no such endpoint.
        """
        endpoint = self._get(address)
        endpoint.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await endpoint.wait_idle()
        return not endpoint.in_flight

    def resume(self, address: str) -> None:
        """Give a draining endpoint new requests again.

        Raises:
            NotFound: the pool has no such endpoint.
        """
        self._get(address).draining = False

    async def remove(self, address: str, *, limit: float = 0.0) -> None:
        """Take an endpoint out; what is still in flight after `limit` seconds is aborted.

        Raises:
            NotFound: the pool has no such endpoint.
        """
        endpoint = self._get(address)
        await self.drain(address, limit=limit)
        if self._endpoints.get(address) is not endpoint:
            # Somebody else was quicker.
            return
        del self._endpoints[address]
        watch = self._watches.pop(address)
        self._affinity.forget(address)
        watch.cancel()
        await asyncio.gather(watch, endpoint.engine.aclose(), return_exceptions=True)

    def status(self) -> tuple[EndpointStatus, ...]:
        """Return how each endpoint is, in the order they were added."""
        now = asyncio.get_running_loop().time()
        return tuple(endpoint.status(now) for endpoint in self._endpoints.values())

    def _get(self, address: str) -> Endpoint:
        endpoint = self._endpoints.get(address)
        if endpoint is None:
            raise NotFound("The pool has no such endpoint.", resource_type="endpoint", resource_name=address)
        return endpoint

    def _vet(self, candidate: Endpoint, info: EngineInfo) -> str:
        """Refuse an engine to which the same token ids mean something else."""
        for other in self._endpoints.values():
            if other is candidate or not other.healthy or other.info is None:
                continue
            if info.vocab_size and other.info.vocab_size and info.vocab_size != other.info.vocab_size:
                return (
                    f"It serves another model: its vocabulary has {info.vocab_size} tokens, "
                    f"that of the other endpoints {other.info.vocab_size}."
                )
        return ""

    # Engine.

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenDelta | TokensFinished, None]:
        """Stream one generation; the last item is `TokensFinished`.

        Closing the iterator early aborts the generation at its engine.

        Raises:
            InvalidRequest: the engine cannot serve it as it is.
            AlreadyExists: the id is in flight.
            ResourceExhausted: every endpoint has as many requests as it may, or its queue is full.
            DeadlineExceeded: it took longer than the policy's `request_timeout`.
            Unavailable: no endpoint is up, or the one that had begun to answer went away.
            Internal: an engine broke the contract.
        """
        if request.request_id in self._in_flight:
            raise AlreadyExists("A generation with this id is in flight.")
        ticket = self._in_flight[request.request_id] = _Ticket(request.request_id)
        now = asyncio.get_running_loop().time()
        until = now + self._policy.request_timeout
        try:
            attempt, item = await self._begin(request, ticket, min(until, now + self._policy.first_token_timeout))
            while not isinstance(item, TokensFinished):
                yield item
                item = await attempt.next(until)
            # A caller may leave at the last item without ever resuming this generator.
            await self._leave(ticket)
            yield item
        finally:
            await self._leave(ticket)

    async def _begin(
        self, request: EngineRequest, ticket: _Ticket, until: float
    ) -> tuple[_Attempt, TokenDelta | TokensFinished]:
        """Return the attempt that began to answer, and its first item."""
        keys = self._affinity.keys(request.token_ids, request.cache_salt)
        tried: set[Endpoint] = set()
        refusal: Unavailable | None = None
        while True:
            try:
                endpoint = self._choose(keys, tried)
            except (Unavailable, ResourceExhausted):
                if refusal is None:
                    raise
                raise refusal from None
            self._affinity.remember(keys, endpoint.address)
            ticket.attempt = attempt = _Attempt(endpoint, request, self._eject)
            try:
                return attempt, await attempt.next(until)
            except Unavailable as error:
                await attempt.aclose()
                tried.add(endpoint)
                if len(tried) >= self._policy.max_attempts or asyncio.get_running_loop().time() >= until:
                    raise
                refusal = error

    async def _leave(self, ticket: _Ticket) -> None:
        """Free the id and the place. May be repeated, also when another request has the id by now."""
        if self._in_flight.get(ticket.request_id) is ticket:
            del self._in_flight[ticket.request_id]
        if ticket.attempt is not None:
            await ticket.attempt.aclose()

    def _choose(self, keys: Sequence[bytes], tried: set[Endpoint]) -> Endpoint:
        if not self._open:
            raise _closed()
        now = asyncio.get_running_loop().time()
        usable = [endpoint for endpoint in self._endpoints.values() if endpoint.usable and endpoint not in tried]
        if not usable:
            raise Unavailable("No engine of this model is up.", retry_after=self._policy.down_interval)
        # Ejected endpoints are better than none: the others may have gone down since.
        serving = [endpoint for endpoint in usable if not endpoint.outliers.ejected_for(now)] or usable
        free = [endpoint for endpoint in serving if endpoint.in_flight < self._policy.max_in_flight]
        if not free:
            raise ResourceExhausted(
                "Every engine of this model has as many requests as it may.",
                reason="OVERLOADED",
                quota="engine_pool",
                retry_after=1.0,
            )
        chosen = min(free, key=lambda endpoint: (endpoint.in_flight, endpoint.last_turn))
        familiar = self._endpoints.get(self._affinity.find(keys) or "")
        if familiar in free and familiar.in_flight <= chosen.in_flight + self._policy.affinity_margin:
            chosen = familiar
        self._turn += 1
        chosen.last_turn = self._turn
        return chosen

    def _eject(self, endpoint: Endpoint) -> None:
        """Take an endpoint out of service for a while, unless it is the last one in service."""
        now = asyncio.get_running_loop().time()
        others = (other for other in self._endpoints.values() if other is not endpoint)
        if endpoint.outliers.ejected_for(now) or not any(
            other.usable and not other.outliers.ejected_for(now) for other in others
        ):
            return
        seconds = endpoint.outliers.eject(now)
        _log.warning("an engine fails too often", extra={"endpoint": endpoint.address, "ejected_seconds": seconds})

    async def abort(self, request_id: str) -> None:
        """Stop a generation at its next step. Harmless when it is unknown or has ended."""
        ticket = self._in_flight.get(request_id)
        if ticket is not None and ticket.attempt is not None:
            await ticket.attempt.endpoint.engine.abort(request_id)

    async def probe(self) -> EngineInfo:
        """Return what every endpoint that is up can do: the shortest context, the common features.

        Raises:
            Unavailable: no endpoint is up.
        """
        infos = self._infos()
        if not infos:
            async with asyncio.TaskGroup() as group:
                for endpoint in self._endpoints.values():
                    group.create_task(endpoint.check())
            infos = self._infos()
        if not infos:
            raise Unavailable(
                "No engine of this model is up.", reason="MODEL_NOT_READY", retry_after=self._policy.down_interval
            )
        first = infos[0]
        return EngineInfo(
            model_id=first.model_id,
            # 0 says that a server does not tell.
            max_seq_len=min((info.max_seq_len for info in infos if info.max_seq_len), default=0),
            vocab_size=max(info.vocab_size for info in infos),
            version=first.version,
            backend=first.backend,
            features=frozenset.intersection(*(info.features for info in infos)),
        )

    def _infos(self) -> list[EngineInfo]:
        return [e.info for e in self._endpoints.values() if e.healthy and not e.draining and e.info is not None]

    async def tokenizer(self) -> Tokenizer:
        """Fetch the tokenizer from the first endpoint that hands it out.

        Raises:
            FailedPrecondition: none of them does; configure one by path.
            Unavailable: no endpoint is there.
        """
        refusal: PodiumError = Unavailable("No engine of this model is up.", retry_after=self._policy.down_interval)
        for endpoint in sorted(self._endpoints.values(), key=lambda endpoint: not endpoint.healthy):
            try:
                return await endpoint.engine.tokenizer()
            except (FailedPrecondition, Unavailable, DeadlineExceeded) as error:
                # That an engine hands out none is more than that another is away.
                if not isinstance(refusal, FailedPrecondition):
                    refusal = error
        raise refusal


class _Ticket:
    """A request of the pool, and where it is."""

    __slots__ = ("attempt", "request_id")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.attempt: _Attempt | None = None


class _Attempt:
    """A request on one endpoint: holds its place there and reports how it went."""

    __slots__ = ("_began", "_eject", "_items", "_released", "endpoint")

    def __init__(self, endpoint: Endpoint, request: EngineRequest, eject: Callable[[Endpoint], None]) -> None:
        self.endpoint = endpoint
        self._eject = eject
        self._items = endpoint.engine.generate(request)
        self._began = False
        self._released = False
        endpoint.take()

    async def next(self, until: float) -> TokenDelta | TokensFinished:
        """Return the next item, at the latest at `until` on the loop's clock."""
        try:
            async with asyncio.timeout_at(until):
                item = await anext(self._items)
        except TimeoutError:
            late: PodiumError = (
                DeadlineExceeded("The engine did not finish in time.")
                if self._began
                else Unavailable("No engine began to answer in time.", retry_after=1.0)
            )
            self._failed(late)
            raise late from None
        except StopAsyncIteration:
            broken = Internal("The engine ended a generation without its result.")
            self._failed(broken)
            raise broken from None
        except PodiumError as error:
            self._failed(error)
            raise
        self._began = True
        if isinstance(item, TokensFinished):
            if item.reason is FinishReason.ERROR:
                self._failed(Internal("The engine ended a generation with an error."))
            else:
                self.endpoint.finished()
        return item

    def _failed(self, error: PodiumError) -> None:
        if self.endpoint.failed(error):
            self._eject(self.endpoint)

    async def aclose(self) -> None:
        """Leave the endpoint. May be repeated."""
        if self._released:
            return
        self._released = True
        try:
            await self._items.aclose()
        finally:
            self.endpoint.release()


def _closed() -> Unavailable:
    return Unavailable("The engine pool is closed.", retry_after=1.0)
