"""What a generation says on the wire: the request's message, and the items that responses make.

Servers of `trtllm.TrtllmService` differ. What is read here holds for all of them: chunks are
deltas and the complete repeats everything; the complete may be the only message, may be shorter
than the chunks together (the engine cut a stop off), or may belong to another sequence; the first
form of the service reports errors inside the stream; some keep the stop's own id in the output, or
generate past it.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Final

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

from podium.errors import Internal, InvalidRequest, PodiumError, ResourceExhausted, Unavailable
from podium.inference.engine import EngineRequest, FinishReason, GuideKind, TokenDelta, TokensFinished

__all__ = [
    "CACHE_SALT",
    "HINTS",
    "KV_CACHE_RETENTION",
    "LOGPROBS",
    "MAX_MESSAGE_BYTES",
    "PRIORITY",
    "OutputAssembler",
    "cache_salt_id",
    "generate_request",
    "wants_hints",
]

MAX_MESSAGE_BYTES: Final = 32 << 20
"""Longest message either way, as `trtllm-serve --grpc` sets it."""

CACHE_SALT: Final = "cache_salt"
KV_CACHE_RETENTION: Final = "kv_cache_retention"
PRIORITY: Final = "priority"
LOGPROBS: Final = "logprobs"
HINTS: Final = frozenset((CACHE_SALT, KV_CACHE_RETENTION, PRIORITY, LOGPROBS))
"""Names in `supported_features`: each says that the server reads that part of a request."""

_GUIDE_TYPES: Final = {
    GuideKind.JSON_SCHEMA: pb.GuidedDecodingParams.GUIDE_TYPE_JSON_SCHEMA,
    GuideKind.REGEX: pb.GuidedDecodingParams.GUIDE_TYPE_REGEX,
    GuideKind.EBNF: pb.GuidedDecodingParams.GUIDE_TYPE_EBNF_GRAMMAR,
    GuideKind.STRUCTURAL_TAG: pb.GuidedDecodingParams.GUIDE_TYPE_STRUCTURAL_TAG,
}
_OPTIONAL_SAMPLING: Final = (
    "top_k", "seed", "repetition_penalty", "presence_penalty", "frequency_penalty", "min_p",
)  # fmt: skip
# On TensorRT-LLM's scale of 0 to 100, where blocks have 35 unless told otherwise.
_RETAINED_PRIORITY: Final = 90
_LONGEST_RETENTION: Final = 86_400.0
# The first form's error message: its field in the response, its code's field, the wire type of bytes.
_ERROR_FIELD, _CODE_FIELD, _BYTES = 4, 3, 2
_OTHER_REASONS: Final = {"": FinishReason.ERROR, "stop_word": FinishReason.STOP}


def cache_salt_id(salt: str) -> int:
    """Return the signed 64-bit id of a salt, the same in every process."""
    return int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "big", signed=True)


def wants_hints(request: EngineRequest) -> bool:
    """Say whether `request` has anything that only some servers accept."""
    return (
        bool(request.cache_salt)
        or request.logprobs
        or request.retain_seconds is not None
        or request.priority is not None
    )


def generate_request(request: EngineRequest, wire_id: str, hints: frozenset[str] = frozenset()) -> pb.GenerateRequest:
    """Build the message.

    Args:
        request: what to generate.
        wire_id: the id it has on the wire.
        hints: which of `HINTS` to send.

    Raises:
        InvalidRequest: a value that the wire cannot hold.
    """
    try:
        message = _message(request, wire_id, hints)
    except (ValueError, TypeError, OverflowError) as error:
        # The library's text quotes the value.
        raise InvalidRequest(
            "A token id, limit or sampling value is out of range: ids and limits are unsigned 32-bit numbers."
        ) from error
    if message.ByteSize() > MAX_MESSAGE_BYTES:
        raise InvalidRequest("The request is larger than an engine takes (32 MiB): shorten the prompt or the guide.")
    return message


def _message(request: EngineRequest, wire_id: str, hints: frozenset[str]) -> pb.GenerateRequest:
    message = pb.GenerateRequest(
        request_id=wire_id,
        tokenized=pb.TokenizedInput(input_token_ids=request.token_ids),
        sampling_config=_sampling(request),
        output_config=pb.OutputConfig(exclude_input_from_output=True),
        max_tokens=request.max_tokens,
        streaming=True,
        stop_token_ids=request.stop_token_ids,
        ignore_eos=request.ignore_eos,
        include_stop_token_in_output=request.include_stop_token,
    )
    if request.guide is not None:
        message.guided_decoding.guide_type = _GUIDE_TYPES[request.guide.kind]
        message.guided_decoding.guide = request.guide.text
    if request.logprobs and LOGPROBS in hints:
        # The generated token's alone: no alternatives beside it.
        message.output_config.logprobs = 0
    if request.cache_salt and CACHE_SALT in hints:
        message.cache_salt_id = cache_salt_id(request.cache_salt)
    retention = _retention(request, hints)
    if retention:
        message.kv_cache_retention.policy = "token_ranges"
        message.kv_cache_retention.config_json = json.dumps(retention, separators=(",", ":"), allow_nan=False)
    return message


def _sampling(request: EngineRequest) -> pb.SamplingConfig:
    sampling = request.sampling
    # Unset means sampling at 1.0 on the wire, so temperature and top_p are always sent.
    config = pb.SamplingConfig(
        beam_width=1,
        num_return_sequences=1,
        temperature=sampling.temperature,
        top_p=1.0 if sampling.top_p is None else sampling.top_p,
    )
    for name in _OPTIONAL_SAMPLING:
        value = getattr(sampling, name)
        if value is not None:
            setattr(config, name, value)
    return config


def _retention(request: EngineRequest, hints: frozenset[str]) -> dict[str, object]:
    """Return the retention message's JSON, in the words of TensorRT-LLM's own `KvCacheRetentionConfig`.

    The wire has no field for a request's priority, so it travels here as `request_priority`.
    """
    retention: dict[str, object] = {}
    if request.retain_seconds is not None and request.retain_seconds > 0 and KV_CACHE_RETENTION in hints:
        retention["token_range_retention_configs"] = [
            {
                "token_start": 0,
                "token_end": len(request.token_ids),
                "priority": _RETAINED_PRIORITY,
                "duration_ms": math.ceil(min(request.retain_seconds, _LONGEST_RETENTION) * 1000),
            }
        ]
    if request.priority is not None and PRIORITY in hints:
        retention.setdefault("token_range_retention_configs", [])
        retention["request_priority"] = min(max(request.priority, 0.0), 1.0)
    return retention


class OutputAssembler:
    """Makes one generation's items from its responses.

    Attributes:
        engine_ended: the engine itself has ended the generation: there is nothing left to abort.
    """

    __slots__ = (
        "_cached", "_delivered", "_include_stop", "_logprobs", "_prompt", "_received", "_stop", "_stops",
        "engine_ended",
    )  # fmt: skip

    def __init__(self, request: EngineRequest) -> None:
        self.engine_ended = False
        self._logprobs = request.logprobs
        self._stops = frozenset(request.stop_token_ids)
        self._include_stop = request.include_stop_token
        self._prompt = len(request.token_ids)
        self._cached = 0
        self._received = 0
        self._delivered = 0
        self._stop: int | None = None

    def feed(self, response: Any) -> tuple[TokenDelta | TokensFinished, ...]:
        """Return what a response adds: a delta, a delta and the end, the end, or nothing.

        Raises:
            PodiumError: the response is an error in the first form's way, or breaks the contract.
        """
        kind = response.WhichOneof("response")
        if kind is None:
            error = _in_band_error(response)
            if error is not None:
                self.engine_ended = True
                raise error
            return ()
        part = response.chunk if kind == "chunk" else response.complete
        if part.sequence_index:
            # One sequence was asked for.
            return ()
        self._prompt = part.prompt_tokens or self._prompt
        self._cached = max(self._cached, part.cached_tokens)
        if kind == "chunk":
            if self._stop is not None:
                # The engine goes on behind a stop: the generation ends here for its reader.
                return (self._finished(FinishReason.STOP),)
            self._received += len(part.token_ids)
            return self._delta(part.token_ids, part.logprobs)
        self.engine_ended = True
        # Some engines send nothing before the complete, which repeats everything. One that is
        # shorter than the chunks adds nothing.
        last = self._delta(part.output_token_ids[self._received :], part.logprobs[self._received :])
        return (*last, self._complete(part))

    def _delta(self, ids: Any, logprobs: Any) -> tuple[TokenDelta, ...]:
        if self._stop is not None:
            return ()
        new = tuple(ids)
        told = _logprobs(new, logprobs) if self._logprobs else ()
        if self._stops and not self._stops.isdisjoint(new):
            at = next(index for index, token in enumerate(new) if token in self._stops)
            self._stop = new[at]
            new = new[: at + self._include_stop]
        self._delivered += len(new)
        return (TokenDelta(new, told[: len(new)]),) if new else ()

    def _complete(self, complete: Any) -> TokensFinished:
        if self._stop is not None:
            return self._finished(FinishReason.STOP)
        text = complete.finish_reason
        reason = _OTHER_REASONS.get(text)
        try:
            reason = FinishReason(text) if reason is None else reason
        except ValueError as error:
            raise Internal(
                "The engine ended a generation for a reason that is not in the contract.",
                metadata={"finish_reason": text[:64]},
            ) from error
        if complete.WhichOneof("matched_stop") == "matched_token_id":
            self._stop = complete.matched_token_id
        return self._finished(reason, complete.completion_tokens)

    def _finished(self, reason: FinishReason, generated: int = 0) -> TokensFinished:
        return TokensFinished(
            reason=reason,
            prompt_tokens=self._prompt,
            # A complete that was cut short counts less than its reader has been given.
            completion_tokens=max(generated, self._delivered),
            cached_tokens=self._cached,
            stop_token_id=self._stop,
        )


def _logprobs(ids: tuple[int, ...], entries: Any) -> tuple[float, ...]:
    """Read the log-probabilities of `ids`; empty where a server's are not just theirs.

    Some servers send none, leave some out, or fill in zeros for ids and values that they did not find.
    """
    if tuple(entry.token_id for entry in entries) != ids:
        return ()
    # Rounding may put a certain token a little above.
    values = tuple(min(entry.logprob, 0.0) for entry in entries)
    return values if all(map(math.isfinite, values)) else ()


def _in_band_error(response: Any) -> PodiumError | None:
    """Read the error message that the first form of the service sends inside the stream.

    Its text is the engine's own and stays here.
    """
    body = _unknown(response, _ERROR_FIELD)
    if not isinstance(body, bytes):
        return None
    try:
        # A message without fields keeps everything it reads as unknown.
        code = _unknown(pb.HealthCheckRequest.FromString(body), _CODE_FIELD)
    except DecodeError:
        code = None
    metadata = {"engine_code": str(code)} if isinstance(code, int) else {}
    match code:
        case 400:
            return InvalidRequest(
                "The engine refuses the request: check its lengths, sampling values and guide.", metadata=metadata
            )
        case 429:
            return ResourceExhausted(
                "The engine is busy: its queue is full.",
                reason="OVERLOADED",
                quota="engine_queue",
                retry_after=1.0,
                metadata=metadata,
            )
        case 503:
            return Unavailable("The engine cannot serve now.", retry_after=1.0, metadata=metadata)
        case _:
            return Internal("The engine failed.", metadata=metadata)


def _unknown(message: Any, number: int) -> object:
    found: object = None
    unknown = UnknownFieldSet(message)
    for index in range(len(unknown)):
        field = unknown[index]
        if field.field_number == number and (number != _ERROR_FIELD or field.wire_type == _BYTES):
            found = field.data
    return found
