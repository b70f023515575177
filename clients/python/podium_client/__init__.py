"""The Python client of Podium: `AsyncPodium` for asyncio, `Podium` for everything else.

What callers use is exported here; modules that begin with an underscore are not for them. The
package needs Podium's base install only: nothing of the server is imported, ever.
"""

from podium_client._async import AsyncPodium, AsyncRunStream, AsyncTextStream
from podium_client._channel import Tls
from podium_client._correlation import correlation
from podium_client._sync import Podium, RunStream, TextStream
from podium_client.catalog import ModelInfo, SideEffects, ToolExample, ToolInfo
from podium_client.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PodiumError,
    ResourceExhausted,
    RunFailed,
    Unauthenticated,
    Unavailable,
    Unsupported,
    Violation,
)
from podium_client.events import (
    ModelTurnFinished,
    ModelTurnStarted,
    RunEvent,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallFinished,
    ToolCallSealed,
    ToolCallStarted,
)
from podium_client.generation import Generation, Message
from podium_client.health import HealthComponent, HealthReport, HealthStatus
from podium_client.runs import (
    RunError,
    RunLimits,
    RunPage,
    RunResult,
    RunState,
    ToolCall,
    ToolCallFailure,
    ToolCallState,
    TurnFinishReason,
    Usage,
)

__all__ = [
    "AlreadyExists",
    "AsyncPodium",
    "AsyncRunStream",
    "AsyncTextStream",
    "Cancelled",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Generation",
    "HealthComponent",
    "HealthReport",
    "HealthStatus",
    "Internal",
    "InvalidRequest",
    "Message",
    "ModelInfo",
    "ModelTurnFinished",
    "ModelTurnStarted",
    "NotFound",
    "PermissionDenied",
    "Podium",
    "PodiumError",
    "ResourceExhausted",
    "RunError",
    "RunEvent",
    "RunFailed",
    "RunFinished",
    "RunLimits",
    "RunPage",
    "RunResult",
    "RunStarted",
    "RunState",
    "RunStream",
    "SideEffects",
    "TextDelta",
    "TextStream",
    "Tls",
    "ToolCall",
    "ToolCallFailure",
    "ToolCallFinished",
    "ToolCallSealed",
    "ToolCallStarted",
    "ToolCallState",
    "ToolExample",
    "ToolInfo",
    "TurnFinishReason",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "Usage",
    "Violation",
    "correlation",
]
