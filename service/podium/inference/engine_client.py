"""The one engine client: `Engine` over `trtllm.TrtllmService`, whoever serves it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import math
import secrets
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
from smg_grpc_proto.generated import common_pb2, trtllm_service_pb2_grpc
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

from podium.errors import AlreadyExists, FailedPrecondition, Internal, Unavailable
from podium.inference.engine import EngineInfo, EngineRequest, Guide, TokenDelta, TokensFinished
from podium.inference.engine_messages import (
    HINTS,
    MAX_MESSAGE_BYTES,
    OutputAssembler,
    generate_request,
    wants_hints,
)
from podium.inference.engine_status import to_domain
from podium.inference.tokenizer import Tokenizer

__all__ = ["TrtllmEngine"]

_log = logging.getLogger(__name__)

_MAX_TOKENIZER_BYTES = 256 << 20
_MAX_ABORTS = 4096
# Ids on the wire may have 256 characters; the rest is ours.
_ID_PART = 200
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Each client has its own connection, and finds a restarted host at once.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class _Generation:
    """One generation in flight: its call, and whether the engine still has to be told of its end.

    One timer a generation looks after the wait for its next message: a timer for each message would
    cost as much as the message.
    """

    __slots__ = ("_due", "_timer", "call", "engine_ended", "released", "request_id", "stalled", "wire_id")

    def __init__(self, request_id: str, wire_id: str) -> None:
        self.request_id = request_id
        self.wire_id = wire_id
        self.call: Any = None
        self.engine_ended = False
        self.released = False
        self.stalled = False
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, limit: float) -> Any:
        """Read the next message; after `limit` seconds the call is cancelled as `stalled`."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + limit
        if self._timer is None or self._timer.when() > self._due:
            self._watch(loop)
        try:
            return await self.call.read()
        finally:
            # A reader may take its time between two messages.
            self._due = math.inf

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self.unwatch()
        self._timer = loop.call_at(self._due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._due <= loop.time():
            self.stalled = True
            self.call.cancel()
        elif self._due < math.inf:
            self._watch(loop)

    def unwatch(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class TrtllmEngine:
    """An engine behind an address. Belongs to the event loop that made it.

    Every generation has an id of its own on the wire, made from the caller's: servers mix up two
    requests with one id, and an abort that is late must not meet a later request. A generation
    left early is cancelled and, because not every server notices that, aborted by its id as well.

    Cache salts, the hints of `EngineRequest` and the wish for log-probabilities go only to servers that
    name them in their features, `cache_salt`, `kv_cache_retention`, `priority` and `logprobs`: others
    may refuse them. Where `EngineInfo.features` lacks `cache_salt` cached prefixes are shared by all
    requests, where it lacks `logprobs` deltas have none.

    Args:
        address: `unix:/path` or `host:port`, plaintext, as `trtllm-serve --grpc` offers it.
        request_timeout: seconds for one generation, from first to last token.
        first_token_timeout: seconds to wait for the first message; includes queueing and the prompt.
        stall_timeout: seconds to wait between two messages.
        control_timeout: seconds for a probe, an abort or the tokenizer.
        hints: True sends all of these whatever the server says of itself, False never does.
    """

    def __init__(
        self,
        address: str,
        *,
        request_timeout: float = 120.0,
        first_token_timeout: float = 60.0,
        stall_timeout: float = 60.0,
        control_timeout: float = 5.0,
        hints: bool | None = None,
    ) -> None:
        self.address: Final = address
        self._request_timeout = request_timeout
        self._first_token_timeout = first_token_timeout
        self._stall_timeout = stall_timeout
        self._control_timeout = control_timeout
        self._hints: frozenset[str] | None = None if hints is None else HINTS if hints else frozenset()
        self._follow_features = hints is None
        self._asking = asyncio.Lock()
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub: Any = trtllm_service_pb2_grpc.TrtllmServiceStub(self._channel)
        self._in_flight: dict[str, _Generation] = {}
        self._nonce = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._aborts: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Abort what is in flight, wait for the engine to hear of it, and close the connection."""
        self._closed = True
        try:
            for generation in list(self._in_flight.values()):
                self._release(generation)
            if self._aborts:
                await asyncio.wait(self._aborts, timeout=self._control_timeout)
        finally:
            late = list(self._aborts)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            await self._channel.close(None)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenDelta | TokensFinished, None]:
        """Stream one generation; the last item is `TokensFinished`.

        Closing the iterator early, or cancelling its task, makes the engine stop at its next step.

        Raises:
            InvalidRequest: the engine cannot serve it as it is.
            AlreadyExists: the id is in flight.
            ResourceExhausted: the engine's queue is full; has `retry_after`.
            DeadlineExceeded: it took longer than `request_timeout`.
            Unavailable: the engine is not there, stalls, or restarted under the request; retryable.
            Internal: the engine broke the contract.
        """
        if self._closed:
            raise _closed()
        if request.request_id in self._in_flight:
            raise AlreadyExists("A generation with this id is in flight.")
        wire_id = f"{request.request_id[:_ID_PART]}~{self._nonce}.{next(self._numbers)}"
        generation = _Generation(request.request_id, wire_id)
        self._in_flight[request.request_id] = generation
        try:
            hints = await self._hints_for(request)
            message = generate_request(request, generation.wire_id, hints)
            assembler = OutputAssembler(request)
            generation.call = self._stub.Generate(message, timeout=self._seconds_for(request))
            limit = self._first_token_timeout
            while True:
                response = await self._read(generation, limit)
                limit = self._stall_timeout
                try:
                    items = assembler.feed(response)
                finally:
                    generation.engine_ended = assembler.engine_ended
                for item in items:
                    if isinstance(item, TokensFinished):
                        # A caller may leave at the last item without ever resuming this generator.
                        self._release(generation)
                        yield item
                        return
                    yield item
        finally:
            self._release(generation)

    async def _read(self, generation: _Generation, limit: float) -> Any:
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task is not None else 0
        try:
            response = await generation.read(limit)
        except grpc.aio.AioRpcError as error:
            # Our own clock may run ahead of the engine's; any other status is the engine's last word.
            generation.engine_ended = error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
            raise to_domain(error) from error
        except asyncio.CancelledError:
            if task is not None and task.cancelling() > cancelled_before:
                raise
            # Nobody cancelled this task: the call was.
            if generation.stalled:
                raise Unavailable("The engine stopped answering.", retry_after=1.0) from None
            if self._closed:
                raise _closed() from None
            raise
        if response is grpc.aio.EOF:
            generation.engine_ended = True
            raise Internal("The engine ended a generation without its result.")
        if response is None:
            raise Internal("The engine sent a message that cannot be read.")
        return response

    def _release(self, generation: _Generation) -> None:
        """Free the id, and end the call on both sides if it has not ended. May be repeated."""
        if generation.released:
            return
        generation.released = True
        generation.unwatch()
        self._in_flight.pop(generation.request_id, None)
        if generation.call is None:
            return
        # An abandoned call lives until the channel closes; after the end this does nothing.
        generation.call.cancel()
        if not generation.engine_ended and len(self._aborts) < _MAX_ABORTS:
            task = asyncio.create_task(self._send_abort(generation.wire_id), name="engine-abort")
            self._aborts.add(task)
            task.add_done_callback(self._aborts.discard)

    async def _send_abort(self, wire_id: str) -> None:
        try:
            await self._stub.Abort(pb.AbortRequest(request_id=wire_id), timeout=self._control_timeout)
        except grpc.aio.AioRpcError as error:
            # The cancelled call has told any engine that is still there.
            _log.debug("an engine did not take an abort", extra={"engine_status": error.code().name})

    async def abort(self, request_id: str) -> None:
        """Stop a generation at its next step. Harmless when it is unknown, has ended, or the engine is gone."""
        generation = self._in_flight.get(request_id)
        if generation is not None:
            await self._send_abort(generation.wire_id)

    def _seconds_for(self, request: EngineRequest) -> float:
        left = request.seconds_left
        return self._request_timeout if left is None else min(self._request_timeout, max(left, 0.0))

    async def _hints_for(self, request: EngineRequest) -> frozenset[str]:
        """Return which hints the server reads; asks it when nobody has probed it yet."""
        if self._hints is None and wants_hints(request):
            async with self._asking:
                if self._hints is None:
                    self._hints = await self._ask_hints()
        return self._hints or frozenset()

    async def _ask_hints(self) -> frozenset[str]:
        try:
            model = await self._stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=self._control_timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return frozenset()
            raise to_domain(error) from error
        return HINTS.intersection(model.supported_features)

    async def probe(self) -> EngineInfo:
        """Return what the engine is, when it is ready to generate.

        Raises:
            Unavailable: it is not ready, or does not answer in time.
        """
        if self._closed:
            raise _closed()
        try:
            async with asyncio.timeout(self._control_timeout):
                health = await self._stub.HealthCheck(pb.HealthCheckRequest(), timeout=self._control_timeout)
                # Servers answer with status OK whatever their health; the text says it.
                if health.status != "OK":
                    raise Unavailable("The engine is not ready.", reason="MODEL_NOT_READY", retry_after=1.0)
                model = await self._stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=self._control_timeout)
                server = await self._stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=self._control_timeout)
        except grpc.aio.AioRpcError as error:
            mapped = to_domain(error)
            if isinstance(mapped, Unavailable):
                raise mapped from error
            raise Unavailable("The engine does not answer its probe.", retry_after=1.0) from error
        except TimeoutError as error:
            raise Unavailable("The engine does not answer its probe in time.", retry_after=1.0) from error
        features = frozenset(model.supported_features)
        if self._follow_features:
            self._hints = HINTS & features
        return EngineInfo(
            model_id=model.model_id,
            max_seq_len=model.max_seq_len,
            vocab_size=model.vocab_size,
            version=server.version,
            backend=server.backend,
            features=features,
        )

    async def tokenizer(self) -> Tokenizer:
        """Fetch the engine's own tokenizer.

        Raises:
            FailedPrecondition: this engine does not hand it out; configure one by path.
            Unavailable: the engine is not there.
            Internal: what came is damaged or too large.
        """
        call = self._stub.GetTokenizer(common_pb2.GetTokenizerRequest(), timeout=self._control_timeout * 4)
        data = bytearray()
        digest = ""
        try:
            async for chunk in call:
                data += chunk.data
                digest = chunk.sha256 or digest
                if len(data) > _MAX_TOKENIZER_BYTES:
                    raise Internal("The engine's tokenizer is too large.")
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise FailedPrecondition(
                    "This engine does not hand out its tokenizer: name the tokenizer's folder in the model's settings."
                ) from error
            raise to_domain(error) from error
        finally:
            call.cancel()
        # Building two tokenizers of 50,000 tokens takes a tenth of a second.
        return await asyncio.to_thread(_unpack, bytes(data), digest)

    async def warm(self, guides: Sequence[Guide], *, token_id: int = 0) -> None:
        """Let the engine compile guides now, one after another, so that no request waits for it later.

        Args:
            guides: compiled in this order; one that the engine refuses is logged and left out.
            token_id: any id that the model knows.

        Raises:
            Unavailable: the engine is not there.
        """
        for number, guide in enumerate(guides):
            request = EngineRequest(
                request_id=f"warm_{id(guides):x}_{number}", token_ids=(token_id,), max_tokens=1, guide=guide
            )
            try:
                async with contextlib.aclosing(self.generate(request)) as items:
                    async for _ in items:
                        continue
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001  # a guide that does not work now is refused when it is used
                _log.warning("a guide could not be warmed", extra={"error_type": type(error).__name__})


def _unpack(data: bytes, digest: str) -> Tokenizer:
    if hashlib.sha256(data).hexdigest() != digest:
        raise Internal("The engine's tokenizer arrived damaged.")
    return Tokenizer.from_zip(data)


def _closed() -> Unavailable:
    return Unavailable("The connection to this engine was closed: ask again.", retry_after=1.0)
