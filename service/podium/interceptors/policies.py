"""How the chain treats each method of Podium, and of the standard services beside it.

A method that is not in this table is closed to everybody; a test walks the protos and fails when
one is missing.
"""

from __future__ import annotations

from typing import Final

from podium.interceptors.call import MethodClass, MethodPolicy

__all__ = ["default_policies"]

_READ_SECONDS: Final = 10.0

_HEALTH: Final = (
    "/podium.v1.HealthService/Check",
    "/podium.v1.HealthService/Live",
    "/podium.v1.HealthService/Ready",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
)
_HEALTH_WATCH: Final = "/grpc.health.v1.Health/Watch"
_REFLECTION: Final = (
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
)


def default_policies(
    *,
    run_seconds: float = 60.0,
    model_seconds: float = 120.0,
    open_health: bool = True,
    open_reflection: bool = True,
) -> dict[str, MethodPolicy]:
    """Return the policy of every method, by wire path.

    Args:
        run_seconds: the longest a run, or a tool called by hand, may take.
        model_seconds: the longest one generation may take.
        open_health: whether health needs no credentials.
        open_reflection: whether reflection needs none.
    """
    run, read = MethodClass.RUN, MethodClass.READ
    orchestrator, clarification, inference, tool = (
        f"/podium.v1.{service}Service/" for service in ("Orchestrator", "Clarification", "Inference", "Tool")
    )
    policies = {
        orchestrator + "Execute": MethodPolicy("run", run, run_seconds, ("model:*",)),
        orchestrator + "ExecuteStream": MethodPolicy("run", run, run_seconds, ("model:*",)),
        # Follows a run for as long as the caller's deadline allows.
        orchestrator + "WatchRun": MethodPolicy("read", read, None, ("store",)),
        orchestrator + "GetRun": MethodPolicy("read", read, _READ_SECONDS, ("store",)),
        orchestrator + "ListRuns": MethodPolicy("read", read, _READ_SECONDS, ("store",)),
        orchestrator + "CancelRun": MethodPolicy("run", read, _READ_SECONDS),
        orchestrator + "ExplainRun": MethodPolicy("read", read, _READ_SECONDS, ("store",)),
        orchestrator + "SimulateRun": MethodPolicy("read", read, _READ_SECONDS, ("store",)),
        clarification + "ListClarifications": MethodPolicy("read", read, _READ_SECONDS),
        clarification + "GetClarification": MethodPolicy("read", read, _READ_SECONDS, ("store",)),
        clarification + "AnswerClarification": MethodPolicy("run", read, _READ_SECONDS),
        clarification + "SkipClarification": MethodPolicy("run", read, _READ_SECONDS),
        inference + "Generate": MethodPolicy("infer", run, model_seconds, ("model:*",)),
        inference + "CountTokens": MethodPolicy("infer", read, _READ_SECONDS),
        inference + "ListModels": MethodPolicy("read", read, _READ_SECONDS),
        tool + "ListTools": MethodPolicy("read", read, _READ_SECONDS),
        tool + "GetTool": MethodPolicy("read", read, _READ_SECONDS),
        tool + "InvokeTool": MethodPolicy("tools", run, run_seconds),
    }
    health = None if open_health else "read"
    for path in _HEALTH:
        policies[path] = MethodPolicy(health, MethodClass.OPEN, _READ_SECONDS)
    policies[_HEALTH_WATCH] = MethodPolicy(health, MethodClass.OPEN, None)
    for path in _REFLECTION:
        policies[path] = MethodPolicy(None if open_reflection else "read", MethodClass.OPEN, 60.0)
    return policies
