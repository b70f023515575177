"""`trtllm.TrtllmService` around an engine: wire messages in, wire messages out."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import logging
import time
import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
from smg_grpc_proto.generated import common_pb2, trtllm_service_pb2_grpc
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

from podium.engine import status
from podium.engine.backend import EngineBackend, EngineState, HostDescription
from podium.engine.job import JobSpec, TokenLogprob
from podium.engine.requests import RequestReader
from podium.engine.stream import JobStreams, OutputStream
from podium.errors import Internal, PodiumError, ResourceExhausted, Unavailable
from podium.inference.engine import FinishReason
from podium.inference.model_files import ModelFiles

__all__ = ["EngineServicer", "tokenizer_archive"]

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
# A client's deadline leaves no time to send anything at its very end.
_DEADLINE_MARGIN = 0.005

_Context = Any  # grpc.aio.ServicerContext, whose type parameters differ per method


def tokenizer_archive(model: ModelFiles) -> bytes:
    """Pack the tokenizer for `GetTokenizer`; the same model gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (
            ("tokenizer.json", model.tokenizer_json),
            ("tokenizer_config.json", model.tokenizer_config),
        ):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class EngineServicer(trtllm_service_pb2_grpc.TrtllmServiceServicer):  # type: ignore[misc]  # untyped stubs
    """Serves one model.

    Args:
        flush_interval: seconds between two deltas of a stream while others are running.
        request_limit: seconds after which a generation ends as `timeout`.
        stall_limit: seconds that a delta may wait for its reader.
    """

    def __init__(
        self,
        engine: EngineBackend,
        reader: RequestReader,
        description: HostDescription,
        *,
        flush_interval: float,
        request_limit: float,
        stall_limit: float,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._description = description
        self._archive = tokenizer_archive(description.model)
        self._flush_interval = flush_interval
        self._request_limit = request_limit
        self._stall_limit = stall_limit

    async def Generate(self, request: pb.GenerateRequest, context: _Context) -> None:  # noqa: N802  # the stub's name
        """Stream one generation, as chunks and one complete, or as the complete alone."""
        try:
            spec = self._reader.read(request, self._deadline(context))
            job = JobStreams(spec.sequences)
            self._engine.submit(spec, job)
            try:
                await self._send_all(spec, job, context, streaming=request.streaming)
            finally:
                # Also when the client went away: the engine must not work for nobody.
                if not job.finished:
                    self._engine.abort(spec.request_id)
        except PodiumError as error:
            await status.abort(context, error)
        except (grpc.aio.AbortError, grpc.aio.InternalError, grpc.aio.BaseError):
            # The first is our own status; the others say that the client is gone.
            raise
        except Exception:  # noqa: BLE001  # the outermost boundary of a call
            _log.exception("a generation failed")
            await status.abort(context, Internal("The engine host failed."))

    async def _send_all(self, spec: JobSpec, job: JobStreams, context: _Context, *, streaming: bool) -> None:
        writing = asyncio.Lock()
        if spec.sequences == 1:
            await self._send(spec, 0, job.streams[0], context, writing, streaming=streaming)
            return
        try:
            async with asyncio.TaskGroup() as group:
                for index, stream in enumerate(job.streams):
                    group.create_task(self._send(spec, index, stream, context, writing, streaming=streaming))
        except BaseExceptionGroup as failed:
            # One error ends all sequences, so whichever comes first says it all.
            raise failed.exceptions[0] from None

    async def _send(
        self, spec: JobSpec, index: int, stream: OutputStream, context: _Context, writing: asyncio.Lock,
        *, streaming: bool,
    ) -> None:  # fmt: skip
        last = 0.0
        sent = 0
        ended = False
        while not ended:
            ids, ended = await stream.read()
            if streaming and ids:
                message = pb.GenerateResponse(request_id=spec.request_id, chunk=_chunk(spec, index, stream, ids, sent))
                sent += len(ids)
                await self._write(context, message, writing)
            if streaming and last and not ended and self._engine.in_flight > 1:
                # Under load messages cost as much as tokens: let a few ids gather.
                await asyncio.sleep(max(0.0, last + self._flush_interval - time.monotonic()))
            last = time.monotonic()
        complete = _complete(spec, index, stream)
        await self._write(context, pb.GenerateResponse(request_id=spec.request_id, complete=complete), writing)

    async def _write(self, context: _Context, message: Any, writing: asyncio.Lock) -> None:
        try:
            # A call takes one message at a time.
            async with asyncio.timeout(self._stall_limit), writing:
                await context.write(message)
        except TimeoutError as error:
            raise ResourceExhausted(
                "The client did not read its output in time.", reason="SLOW_READER", quota="stalled_stream"
            ) from error

    def _deadline(self, context: _Context) -> float:
        remaining = context.time_remaining()
        limit = self._request_limit if remaining is None else min(self._request_limit, remaining - _DEADLINE_MARGIN)
        return time.monotonic() + max(limit, 0.0)

    async def Abort(self, request: pb.AbortRequest, context: _Context) -> pb.AbortResponse:  # noqa: ARG002, N802
        """End a generation at its next step; its stream then ends with finish reason `cancelled`."""
        known = self._engine.abort(request.request_id)
        return pb.AbortResponse(success=known, message="" if known else "no such request in flight")

    async def HealthCheck(  # noqa: N802
        self,
        request: pb.HealthCheckRequest,  # noqa: ARG002
        context: _Context,  # noqa: ARG002
    ) -> pb.HealthCheckResponse:
        """Say `OK`, or the state that keeps it from generating."""
        state = self._engine.state
        return pb.HealthCheckResponse(status="OK" if state is EngineState.READY else state.value)

    async def GetModelInfo(  # noqa: N802
        self,
        request: pb.GetModelInfoRequest,  # noqa: ARG002
        context: _Context,
    ) -> pb.GetModelInfoResponse:
        """Describe the model once it is loaded."""
        if self._engine.state in (EngineState.STARTING, EngineState.FAILED):
            await status.abort(
                context, Unavailable("The engine is not ready.", reason="MODEL_NOT_READY", retry_after=1.0)
            )
        about = self._description
        sizes = about.model.dimensions
        return pb.GetModelInfoResponse(
            model_id=about.model.name,
            max_input_len=about.max_seq_len - 1,
            max_seq_len=about.max_seq_len,
            max_batch_size=about.max_batch_size,
            vocab_size=sizes.vocab_size,
            hidden_size=sizes.hidden_size,
            num_layers=sizes.num_layers,
            num_heads=sizes.num_heads,
            supported_features=about.capabilities.features,
        )

    async def GetServerInfo(  # noqa: N802
        self,
        request: pb.GetServerInfoRequest,  # noqa: ARG002
        context: _Context,  # noqa: ARG002
    ) -> pb.GetServerInfoResponse:
        """Name the engine, its version and how many devices it runs on."""
        about = self._description
        return pb.GetServerInfoResponse(
            version=about.version,
            backend=about.backend,
            tensor_parallel_size=about.tensor_parallel_size,
            pipeline_parallel_size=about.pipeline_parallel_size,
            context_parallel_size=1,
            world_size=about.tensor_parallel_size * about.pipeline_parallel_size,
        )

    async def GetTokenizer(  # noqa: N802
        self,
        request: common_pb2.GetTokenizerRequest,  # noqa: ARG002
        context: _Context,  # noqa: ARG002
    ) -> AsyncIterator[common_pb2.GetTokenizerChunk]:
        """Send a zip of `tokenizer.json` and `tokenizer_config.json`; its SHA-256 comes with the last part."""
        parts = range(0, len(self._archive), _CHUNK_BYTES)
        for start in parts:
            last = start == parts[-1]
            yield common_pb2.GetTokenizerChunk(
                data=self._archive[start : start + _CHUNK_BYTES],
                sha256=hashlib.sha256(self._archive).hexdigest() if last else "",
            )

    async def Embed(self, request: pb.EmbedRequest, context: _Context) -> pb.EmbedResponse:  # noqa: ARG002, N802
        """Refuse: this engine makes no embeddings."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "This engine makes no embeddings.")
        return pb.EmbedResponse()

    async def SubscribeKvEvents(  # noqa: N802
        self,
        request: common_pb2.SubscribeKvEventsRequest,
        context: _Context,
    ) -> None:
        """Stream what enters and leaves the engine's prefix cache, if it tells."""
        source = self._description.kv_events
        if source is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "This engine does not publish cache events.")
            return
        try:
            # The iterator is an async generator: closed here, so that its subscription ends with the call.
            async with contextlib.aclosing(source.subscribe(request.start_sequence_number)) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    await self._write(context, batch, asyncio.Lock())
        except PodiumError as error:
            await status.abort(context, error)


def _chunk(spec: JobSpec, index: int, stream: OutputStream, ids: list[int], sent: int) -> pb.GenerateStreamChunk:
    return pb.GenerateStreamChunk(
        token_ids=ids,
        sequence_index=index,
        prompt_tokens=len(spec.prompt),
        completion_tokens=sent + len(ids),
        cached_tokens=stream.cached_tokens,
        logprobs=_logprobs(stream.logprobs[sent : sent + len(ids)]),
    )


def _complete(spec: JobSpec, index: int, stream: OutputStream) -> pb.GenerateComplete:
    complete = pb.GenerateComplete(
        output_token_ids=stream.ids,
        sequence_index=index,
        finish_reason=(stream.finish or FinishReason.ERROR).value,
        prompt_tokens=len(spec.prompt),
        completion_tokens=len(stream.ids),
        cached_tokens=stream.cached_tokens,
        logprobs=_logprobs(stream.logprobs),
    )
    if stream.matched_stop is not None:
        complete.matched_token_id = stream.matched_stop
    return complete


def _logprobs(values: Sequence[TokenLogprob]) -> list[pb.TokenLogprob]:
    return [
        pb.TokenLogprob(
            token_id=each.token_id,
            logprob=each.logprob,
            top_logprobs=[pb.TopLogprob(token_id=token, logprob=logprob) for token, logprob in each.top],
        )
        for each in values
    ]
