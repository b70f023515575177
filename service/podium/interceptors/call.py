"""What the chain knows about a method, and about one call of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import grpc

from podium.errors import PodiumError
from podium.security.principal import Principal

__all__ = ["OK", "Call", "Kind", "Metadata", "Method", "MethodClass", "MethodPolicy", "Outcome", "current_call"]

Metadata = tuple[tuple[str, str | bytes], ...]


class Kind(StrEnum):
    """The four kinds of method."""

    UNARY_UNARY = "unary_unary"
    UNARY_STREAM = "unary_stream"
    STREAM_UNARY = "stream_unary"
    STREAM_STREAM = "stream_stream"

    @classmethod
    def of(cls, handler: grpc.RpcMethodHandler[Any, Any]) -> Kind:
        """Return the kind of a handler."""
        if handler.request_streaming:
            return cls.STREAM_STREAM if handler.response_streaming else cls.STREAM_UNARY
        return cls.UNARY_STREAM if handler.response_streaming else cls.UNARY_UNARY

    @property
    def streams_requests(self) -> bool:
        """Whether the caller sends a stream."""
        return self in (Kind.STREAM_UNARY, Kind.STREAM_STREAM)

    @property
    def streams_responses(self) -> bool:
        """Whether the server sends a stream."""
        return self in (Kind.UNARY_STREAM, Kind.STREAM_STREAM)


class MethodClass(StrEnum):
    """What limits a method counts against. `OPEN` methods have none: health and reflection."""

    RUN = "run"
    READ = "read"
    ADMIN = "admin"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """How the chain treats a method.

    Attributes:
        scope: what the caller's credential must allow; None when the method is public.
        method_class: which limits count its calls.
        max_seconds: the longest a call may take, whatever the caller's deadline; None for any time.
        dependencies: names of breakers (or prefixes ending in `*`), one at least of which must
            let calls pass.
    """

    scope: str | None
    method_class: MethodClass
    max_seconds: float | None = 60.0
    dependencies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_seconds is not None and self.max_seconds <= 0:
            raise ValueError("a method's time limit must be above zero, or None")


@dataclass(frozen=True, slots=True)
class Method:
    """A method as the chain serves it.

    Attributes:
        path: as on the wire, `/podium.v1.ToolService/GetTool`.
        rpc: the label of logs and metrics, `podium.v1.ToolService/GetTool`.
        policy: None when nobody wrote one, which denies every call.
        open: whether the method is exempt from limits, breakers and draining.
    """

    path: str
    rpc: str
    kind: Kind
    policy: MethodPolicy | None
    open: bool

    @classmethod
    def parse(cls, path: str, kind: Kind, policy: MethodPolicy | None) -> Method:
        """Return the method of a wire path."""
        exempt = policy is not None and policy.method_class is MethodClass.OPEN
        return cls(path, path.lstrip("/"), kind, policy, exempt)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    Attributes:
        code: as the caller sees it, or would if it were still there.
        reason: of the ErrorInfo, "" when there is none.
        message: for the caller.
        details: the serialised `google.rpc.Status`, or None.
        error: what was raised, or None.
    """

    code: grpc.StatusCode
    reason: str = ""
    message: str = ""
    details: bytes | None = None
    error: BaseException | None = None


OK: Final = Outcome(grpc.StatusCode.OK)
"""The outcome of a call that went well."""


@dataclass(slots=True, eq=False)
class Call:
    """One call, built once and handed to every concern.

    Attributes:
        metadata: what the caller sent, by key; of a repeated key the last value.
        started: when the call arrived, by the chain's clock.
        context: gRPC's `ServicerContext`; untyped, as its stubs hide what may be None.
        task: the one the handler runs in.
        deadline: when the call must end, in the loop's time; None for never.
        trailers: sent with the status; add with `add_trailer`.
        ids: the pairs that may also go out as initial metadata.
        received, sent: messages so far.
        first_sent: when the first message of a response stream was sent, or None.
        writing_since: when the write in progress began, by the chain's clock, or None.
        admitted: how many admissions have passed.
        ids_due: whether the ids have yet to go out as initial metadata.
        ids_sending: the task that sends them while the handler works, or None.
        ended_by: the error with which the chain ends this call early.
        timers: cancelled when the call ends.
    """

    method: Method
    metadata: Mapping[str, str | bytes] = field(repr=False)  # credentials are in it
    started: float
    context: Any = field(repr=False)
    task: asyncio.Task[Any] = field(repr=False)
    correlation_id: str = ""
    request_id: str = ""
    principal: Principal | None = None
    deadline: float | None = None
    ids: Metadata = ()
    trailers: Metadata = ()
    received: int = 0
    sent: int = 0
    first_sent: float | None = None
    writing_since: float | None = None
    admitted: int = 0
    ids_due: bool = False
    ids_sending: asyncio.Task[None] | None = None
    ended_by: PodiumError | None = None
    timers: tuple[asyncio.TimerHandle, ...] = ()

    def text(self, key: str) -> str:
        """Return a textual metadata value, or "" when there is none."""
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def add_trailer(self, *pairs: tuple[str, str | bytes]) -> None:
        """Send these pairs with the status. Keys are lower case, texts printable ASCII."""
        self.trailers += pairs

    def interrupt(self, error: PodiumError) -> None:
        """End the call promptly with this error, unless it is being ended already."""
        if self.ended_by is None:
            self.ended_by = error
            self.task.cancel()


current_call: Final[ContextVar[Call | None]] = ContextVar("podium_current_call", default=None)
"""The call being served; None outside of calls."""
