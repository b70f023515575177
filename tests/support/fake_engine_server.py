# ruff: noqa: N802  # methods are named by the wire contract
"""A scriptable `trtllm.TrtllmService` on the public stubs: well behaved unless told otherwise.

The engine behind it is kept apart from the calls, as in a real server: a job lives until it ends,
is aborted, or its call's cancellation is noticed (`deaf` servers do not notice).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from smg_grpc_proto.generated import common_pb2, trtllm_service_pb2_grpc
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

VOCABULARY = 1000
CONTEXT = 256
MAX_MESSAGE_BYTES = 32 << 20


@dataclass
class Job:
    """One generation as the engine sees it. Times are the loop's."""

    message: Any
    context: Any
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled_at: float | None = None
    aborted_at: float | None = None


Behaviour = Callable[["FakeEngine", Job], AsyncIterator[Any]]


class FakeEngine(trtllm_service_pb2_grpc.TrtllmServiceServicer):  # type: ignore[misc]  # untyped stubs
    """Serves what its `behaviour` yields.

    Attributes:
        jobs: every generation ever asked for, by wire id, in order.
        live: ids that still hold a place in the engine.
        deaf: a cancelled call does not end its job; only an Abort does.
        refused: Abort is not implemented.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, deaf: bool = False) -> None:
        self.behaviour: Behaviour = behaviour or counting
        self.deaf = deaf
        self.jobs: dict[str, Job] = {}
        self.live: set[str] = set()
        self.duplicates: list[str] = []
        self.aborts: list[str] = []
        self.health = "OK"
        self.health_gate: asyncio.Event | None = None
        self.features: tuple[str, ...] = ()
        self.vocabulary = VOCABULARY
        self.max_seq_len = CONTEXT
        self.model_asked = 0
        self.probes = 0
        self.archive = b""
        self.digest: str | None = None
        self.unimplemented: set[str] = set()
        self.arrived = asyncio.Condition()

    @property
    def messages(self) -> list[Any]:
        return [job.message for job in self.jobs.values()]

    async def wait_for(self, condition: Callable[[], bool], limit: float = 10.0) -> None:
        """Wait until `condition` holds; it is looked at whenever something happens here."""
        async with asyncio.timeout(limit), self.arrived:
            await self.arrived.wait_for(condition)

    async def happened(self) -> None:
        async with self.arrived:
            self.arrived.notify_all()

    async def Generate(self, message: Any, context: Any) -> AsyncIterator[Any]:
        if message.request_id in self.live:
            self.duplicates.append(message.request_id)
        job = self.jobs[message.request_id] = Job(message, context)
        self.live.add(message.request_id)
        await self.happened()
        try:
            async for response in self.behaviour(self, job):
                yield response
                job.began.set()
        except asyncio.CancelledError:
            job.cancelled_at = asyncio.get_running_loop().time()
            job.cancelled.set()
            if not self.deaf:
                self.live.discard(message.request_id)
            raise
        except BaseException:
            self.live.discard(message.request_id)
            raise
        else:
            self.live.discard(message.request_id)

    async def Abort(self, message: Any, context: Any) -> Any:
        await self._refuse("Abort", context)
        self.aborts.append(message.request_id)
        known = message.request_id in self.live
        self.live.discard(message.request_id)
        job = self.jobs.get(message.request_id)
        if job is not None and job.aborted_at is None:
            job.aborted_at = asyncio.get_running_loop().time()
            job.aborted.set()
        await self.happened()
        return pb.AbortResponse(success=known)

    async def HealthCheck(self, message: Any, context: Any) -> Any:
        self.probes += 1
        await self.happened()
        if self.health_gate is not None:
            await self.health_gate.wait()
        return pb.HealthCheckResponse(status=self.health)

    async def GetModelInfo(self, message: Any, context: Any) -> Any:
        await self._refuse("GetModelInfo", context)
        self.model_asked += 1
        return pb.GetModelInfoResponse(
            model_id="fake",
            vocab_size=self.vocabulary,
            max_seq_len=self.max_seq_len,
            supported_features=self.features,
        )

    async def GetServerInfo(self, message: Any, context: Any) -> Any:
        return pb.GetServerInfoResponse(version="1", backend="tensorrt-llm")

    async def GetTokenizer(self, message: Any, context: Any) -> AsyncIterator[Any]:
        if not self.archive:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")
        half = len(self.archive) // 2
        yield common_pb2.GetTokenizerChunk(data=self.archive[:half])
        digest = hashlib.sha256(self.archive).hexdigest() if self.digest is None else self.digest
        yield common_pb2.GetTokenizerChunk(data=self.archive[half:], sha256=digest)

    async def _refuse(self, method: str, context: Any) -> None:
        if method in self.unimplemented:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")


@contextlib.asynccontextmanager
async def serving(engine: FakeEngine, address: str) -> AsyncIterator[str]:
    """Serve `engine` at `address` with the limits that `trtllm-serve --grpc` has."""
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        )
    )
    trtllm_service_pb2_grpc.add_TrtllmServiceServicer_to_server(engine, server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield address
    finally:
        await server.stop(None)


# Responses.


def chunk(*ids: int, index: int = 0, **fields: Any) -> Any:
    return pb.GenerateResponse(chunk=pb.GenerateStreamChunk(token_ids=ids, sequence_index=index, **fields))


def complete(*ids: int, reason: str = "stop", index: int = 0, **fields: Any) -> Any:
    fields = {"prompt_tokens": 1, "completion_tokens": len(ids), "cached_tokens": 1, **fields}
    return pb.GenerateResponse(
        complete=pb.GenerateComplete(output_token_ids=ids, finish_reason=reason, sequence_index=index, **fields)
    )


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return bytes((number << 3, *_varint(value)))
    return bytes((number << 3 | 2, *_varint(len(value)))) + value


def _varint(value: int) -> Iterable[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def in_band_error(code: int, text: str = "internal detail: /secret/path") -> Any:
    """The error message that the first form of the service sent in field 4 of a response."""
    body = _field(1, text.encode()) + _field(2, b"SomeError") + _field(3, code)
    return raw_response(_field(4, body))


def raw_response(data: bytes) -> Any:
    return pb.GenerateResponse.FromString(data)


# Behaviours.


async def counting(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
    """Count up from the last token of the prompt, as the other fakes of engines do."""
    message = job.message
    prompt = list(message.tokenized.input_token_ids)
    guide = message.guided_decoding.guide
    if not prompt or not message.max_tokens or len(prompt) >= engine.max_seq_len or guide == "{":
        await job.context.abort(grpc.StatusCode.INVALID_ARGUMENT, "internal detail: /secret/path")
    ids: list[int] = []
    fields: dict[str, Any] = {}
    reason = "length"
    for number in itertools.count(1):
        if len(ids) >= min(message.max_tokens, engine.max_seq_len - len(prompt)):
            break
        await asyncio.sleep(0)
        if job.aborted.is_set():
            reason = "cancelled"
            break
        token = (prompt[-1] + number) % VOCABULARY
        if token in message.stop_token_ids:
            fields["matched_token_id"] = token
            reason = "stop"
            break
        ids.append(token)
        yield chunk(token, prompt_tokens=len(prompt), completion_tokens=len(ids))
    yield complete(*ids, reason=reason, prompt_tokens=len(prompt), cached_tokens=0, **fields)


def playing(*responses: Any) -> Behaviour:
    """Answer every request with these."""

    async def behaviour(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
        for response in responses:
            yield response

    return behaviour


def failing(code: grpc.StatusCode, *first: Any, text: str = "internal detail: /secret/path") -> Behaviour:
    """Answer with these and then a status."""

    async def behaviour(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
        for response in first:
            yield response
        await job.context.abort(code, text)

    return behaviour


async def prefilling(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
    """Never begin to answer."""
    await job.aborted.wait()
    yield complete(reason="cancelled")


async def decoding(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
    """Send tokens until aborted."""
    ids: list[int] = []
    while not job.aborted.is_set():
        ids.append(len(ids) % VOCABULARY)
        yield chunk(ids[-1])
        await asyncio.sleep(0.005)
    yield complete(*ids, reason="cancelled")


def idle_after(count: int) -> Behaviour:
    """Send some tokens and then nothing until aborted."""

    async def behaviour(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
        for number in range(count):
            yield chunk(number)
        await job.aborted.wait()
        yield complete(*range(count), reason="cancelled")

    return behaviour
