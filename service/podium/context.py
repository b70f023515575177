"""What the code of a call may know about the call it serves, without being handed it.

The chain sets these once per call; logs, spans and outbound requests read them. They live here,
below every other package, so that `observability` can read them without importing
`interceptors`. Outside a call each is the empty string.

Tasks started by a handler inherit the values; gRPC's done callbacks do not.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

__all__ = ["correlation_id", "request_id", "rpc", "run_id"]

correlation_id: Final[ContextVar[str]] = ContextVar("podium_correlation_id", default="")
"""Names everything done on behalf of one caller's intent; the caller may choose it."""

request_id: Final[ContextVar[str]] = ContextVar("podium_request_id", default="")
"""Names this one call; always ours."""

run_id: Final[ContextVar[str]] = ContextVar("podium_run_id", default="")
"""Names the run being worked on; set by the orchestration, not by the chain."""

rpc: Final[ContextVar[str]] = ContextVar("podium_rpc", default="")
"""The method being served, such as `podium.v1.ToolService/GetTool`."""
