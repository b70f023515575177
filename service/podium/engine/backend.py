"""What a host serves: an engine behind one small protocol, and a description of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from podium.engine.job import JobSpec, OutputSink
from podium.inference.engine import FinishReason, GuideKind
from podium.inference.model_files import ModelFiles

__all__ = ["Capabilities", "EngineBackend", "EngineState", "HostDescription", "KvEventSource"]


class EngineState(StrEnum):
    """Whether an engine can generate. UNHEALTHY may pass; FAILED and STOPPED are final."""

    STARTING = "starting"
    READY = "ready"
    REBUILDING = "rebuilding"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"
    STOPPED = "stopped"


class EngineBackend(Protocol):
    """An engine as the servicer uses it. All methods belong to the event loop that serves."""

    @property
    def state(self) -> EngineState:
        """Whether it can generate now."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests accepted and not yet let go of by the engine."""
        ...

    def start(self) -> None:
        """Begin to load the model, elsewhere than on this event loop."""
        ...

    def submit(self, spec: JobSpec, sink: OutputSink) -> None:
        """Begin a generation; each of its sequences ends with `finish`, or all of them with one `error`.

        Raises:
            AlreadyExists: its id is in flight.
            FailedPrecondition, InvalidRequest: it cannot be served.
            ResourceExhausted: too many requests are in flight.
            Unavailable: the engine is starting, failed, or closing.
        """
        ...

    def abort(self, request_id: str, finish: FinishReason = FinishReason.CANCELLED) -> bool:
        """End a generation with `finish`; false when no such request is in flight."""
        ...

    async def aclose(self) -> None:
        """End everything in flight as retryable and let go of the engine; bounded in time."""
        ...


class KvEventSource(Protocol):
    """Tells what an engine's cache holds."""

    def subscribe(self, start: int) -> AsyncIterator[Any]:
        """Yield `KvEventBatch` messages from sequence number `start` on; 0 begins with the state as it is.

        Raises:
            FailedPrecondition: `start` is no longer, or not yet, to be had; begin again with 0.
            ResourceExhausted: the subscriber fell behind.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do, which decides what is refused before it sees a request.

    Attributes:
        features: words for `GetModelInfo.supported_features`.
        fields: optional fields of `GenerateRequest` that it honours, as dotted paths.
        inert: fields that its version would ignore silently, each with the reason. They are refused with
            FAILED_PRECONDITION unless they hold the value that changes nothing.
        guides: kinds of guide that it enforces.
        max_sequences: most sequences of one request.
        max_logprobs: most alternatives per token.
        lora_ids: adapters that are configured.
    """

    features: tuple[str, ...]
    fields: frozenset[str] = frozenset()
    inert: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    guides: frozenset[GuideKind] = frozenset({GuideKind.JSON_SCHEMA, GuideKind.REGEX, GuideKind.EBNF})
    max_sequences: int = 1
    max_logprobs: int = 0
    lora_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDescription:
    """What a host says of itself. Parallel sizes count devices."""

    model: ModelFiles
    version: str
    backend: str
    max_seq_len: int
    max_batch_size: int
    capabilities: Capabilities
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    kv_events: KvEventSource | None = None
