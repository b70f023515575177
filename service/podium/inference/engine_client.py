"""The one engine client: `Engine` over `trtllm.TrtllmService`, whoever serves it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from smg_grpc_proto.generated import common_pb2, trtllm_service_pb2_grpc
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

from podium.errors import AlreadyExists, FailedPrecondition, Internal, Unavailable
from podium.inference.engine import (
    EngineInfo,
    EngineRequest,
    FinishReason,
    Guide,
    GuideKind,
    TokenDelta,
    TokensFinished,
)
from podium.inference.engine_status import to_domain
from podium.inference.tokenizer import Tokenizer

__all__ = ["TrtllmEngine"]

_log = logging.getLogger(__name__)

_MAX_MESSAGE_BYTES = 32 << 20
_MAX_TOKENIZER_BYTES = 256 << 20
_GUIDE_TYPES = {
    GuideKind.JSON_SCHEMA: pb.GuidedDecodingParams.GUIDE_TYPE_JSON_SCHEMA,
    GuideKind.REGEX: pb.GuidedDecodingParams.GUIDE_TYPE_REGEX,
    GuideKind.EBNF: pb.GuidedDecodingParams.GUIDE_TYPE_EBNF_GRAMMAR,
}
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # Each client has its own connection, and finds a restarted host at once.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class TrtllmEngine:
    """An engine behind an address. Belongs to the event loop that made it.

    Args:
        address: `unix:/path` or `host:port`, plaintext, as `trtllm-serve --grpc` offers it.
        request_timeout: seconds for one generation, from first to last token.
        stall_timeout: seconds to wait for the first token, and between two.
        control_timeout: seconds for a probe, an abort or the tokenizer.
    """

    def __init__(
        self,
        address: str,
        *,
        request_timeout: float = 120.0,
        stall_timeout: float = 60.0,
        control_timeout: float = 5.0,
    ) -> None:
        self.address = address
        self._request_timeout = request_timeout
        self._stall_timeout = stall_timeout
        self._control_timeout = control_timeout
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub: Any = trtllm_service_pb2_grpc.TrtllmServiceStub(self._channel)
        self._in_flight: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; generations in flight are cancelled."""
        await self._channel.close(None)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenDelta | TokensFinished, None]:
        """Stream one generation; the last item is `TokensFinished`.

        Closing the iterator early, or cancelling its task, cancels the call, which makes the
        engine stop at its next step.

        Raises:
            InvalidRequest: the engine cannot serve it as it is.
            AlreadyExists: the id is in flight.
            ResourceExhausted: the engine's queue is full; has `retry_after`.
            DeadlineExceeded: it took longer than `request_timeout`.
            Unavailable: the engine is not there, stalls, or restarted under the request; retryable.
            Internal: the engine broke the contract.
        """
        if request.request_id in self._in_flight:
            raise AlreadyExists("A generation with this id is in flight.")
        self._in_flight.add(request.request_id)
        call = self._stub.Generate(_message(request), timeout=self._request_timeout)
        ended = False
        try:
            sent = 0
            while True:
                response = await self._read(call)
                kind = response.WhichOneof("response")
                if kind == "chunk" and response.chunk.token_ids:
                    sent += len(response.chunk.token_ids)
                    yield TokenDelta(tuple(response.chunk.token_ids))
                elif kind == "complete":
                    # Some engines send nothing before the complete, which repeats everything.
                    rest = tuple(response.complete.output_token_ids[sent:])
                    if rest:
                        yield TokenDelta(rest)
                    finished = _finished(response.complete)
                    # A caller may leave at the last item without ever resuming this generator.
                    self._in_flight.discard(request.request_id)
                    ended = True
                    yield finished
                    return
        finally:
            # An abandoned call lives until the channel closes; after the end this does nothing.
            call.cancel()
            if not ended:
                self._in_flight.discard(request.request_id)

    async def _read(self, call: Any) -> Any:
        try:
            async with asyncio.timeout(self._stall_timeout):
                response = await call.read()
        except grpc.aio.AioRpcError as error:
            raise to_domain(error) from error
        except TimeoutError as error:
            raise Unavailable("The engine stopped answering.", retry_after=1.0) from error
        if response is grpc.aio.EOF:
            raise Internal("The engine ended a generation without its result.")
        return response

    async def abort(self, request_id: str) -> None:
        """Stop a generation at its next step. Harmless when it is unknown, has ended, or the engine is gone."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._stub.Abort(pb.AbortRequest(request_id=request_id), timeout=self._control_timeout)

    async def probe(self) -> EngineInfo:
        """Return what the engine is, when it is ready to generate.

        Raises:
            Unavailable: it is not ready, or does not answer in time.
        """
        try:
            async with asyncio.timeout(self._control_timeout):
                health = await self._stub.HealthCheck(pb.HealthCheckRequest(), timeout=self._control_timeout)
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
        return EngineInfo(
            model_id=model.model_id,
            max_seq_len=model.max_seq_len,
            vocab_size=model.vocab_size,
            version=server.version,
            backend=server.backend,
            features=frozenset(model.supported_features),
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
        if hashlib.sha256(data).hexdigest() != digest:
            raise Internal("The engine's tokenizer arrived damaged.")
        # Building two tokenizers of 50,000 tokens takes a tenth of a second.
        return await asyncio.to_thread(Tokenizer.from_zip, bytes(data))

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


def _message(request: EngineRequest) -> pb.GenerateRequest:
    sampling = request.sampling
    # Unset means sampling at 1.0 on the wire, so everything that matters is always sent.
    config = pb.SamplingConfig(beam_width=1, num_return_sequences=1, temperature=sampling.temperature)
    config.top_p = 1.0 if sampling.top_p is None else sampling.top_p
    if sampling.top_k is not None:
        config.top_k = sampling.top_k
    if sampling.seed is not None:
        config.seed = sampling.seed
    if sampling.repetition_penalty is not None:
        config.repetition_penalty = sampling.repetition_penalty
    message = pb.GenerateRequest(
        request_id=request.request_id,
        tokenized=pb.TokenizedInput(input_token_ids=request.token_ids),
        sampling_config=config,
        output_config=pb.OutputConfig(exclude_input_from_output=True),
        max_tokens=request.max_tokens,
        streaming=True,
        stop_token_ids=request.stop_token_ids,
        ignore_eos=request.ignore_eos,
    )
    if request.guide is not None:
        message.guided_decoding.guide_type = _GUIDE_TYPES[request.guide.kind]
        message.guided_decoding.guide = request.guide.text
    return message


def _finished(complete: pb.GenerateComplete) -> TokensFinished:
    try:
        # An empty reason means that the engine does not know why it ended.
        reason = FinishReason(complete.finish_reason or FinishReason.ERROR)
    except ValueError as error:
        raise Internal(
            "The engine ended a generation for a reason that is not in the contract.",
            metadata={"finish_reason": complete.finish_reason[:64]},
        ) from error
    return TokensFinished(
        reason=reason,
        prompt_tokens=complete.prompt_tokens,
        completion_tokens=complete.completion_tokens,
        cached_tokens=complete.cached_tokens,
    )
