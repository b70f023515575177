"""`podium.v1.ToolService` over the tool catalogue and executor."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable

import orjson

from podium.errors import InvalidRequest, NotFound, ResourceExhausted
from podium.orchestration.budget import Amount, BudgetRefused, Reservation, RunBudget
from podium.orchestration.core import Services
from podium.orchestration.events import CallFailed, CallSealed, CallSucceeded
from podium.orchestration.governor import Priority
from podium.orchestration.tool import (
    SideEffects,
    ToolCatalog,
    ToolFailure,
    ToolInvocation,
    ToolSpec,
)
from podium.orchestration.view import CallState, CallView
from podium.rpc.caller import CallerSource
from podium.rpc.run_messages import call_message
from podium.rpc.times import duration_message
from podium.v1 import tool_pb2 as pb
from podium.v1.tool_pb2_grpc import ToolServiceServicer

__all__ = ["ToolServicer"]

_DEFAULT_PAGE = 100
_SIDE_EFFECTS = {effect: pb.SideEffects.Value(f"SIDE_EFFECTS_{effect.name}") for effect in SideEffects}


class ToolServicer(ToolServiceServicer):
    """Describes tools and runs single calls; see the proto for what each method promises."""

    def __init__(
        self,
        catalog: ToolCatalog,
        services: Services,
        caller: CallerSource,
        new_call_scope: Callable[[], str],
    ) -> None:
        self._catalog = catalog
        self._services = services
        self._caller = caller
        self._new_call_scope = new_call_scope

    async def ListTools(self, request: pb.ListToolsRequest, context: object) -> pb.ListToolsResponse:
        """Return a page of tools, by name."""
        after = _decode_token(request.page_token)
        size = request.page_size or _DEFAULT_PAGE
        names = sorted((spec for spec in self._catalog.list() if spec.name > after), key=lambda spec: spec.name)
        page = names[:size]
        token = _encode_token(page[-1].name) if len(names) > size else ""
        return pb.ListToolsResponse(tools=[_tool_message(spec) for spec in page], next_page_token=token)

    async def GetTool(self, request: pb.GetToolRequest, context: object) -> pb.GetToolResponse:
        """Return one tool."""
        return pb.GetToolResponse(tool=_tool_message(self._find(request.name)))

    async def InvokeTool(self, request: pb.InvokeToolRequest, context: object) -> pb.InvokeToolResponse:
        """Run one call; a call that fails is a reply."""
        spec = self._find(request.name)
        submitter = self._caller().submitter
        arguments = request.arguments_json or b"{}"
        call = CallView(CallSealed("c0_0", spec.name, arguments, spec.version), time.time_ns(), attempts=1)
        invocation = ToolInvocation(
            run_id=self._new_call_scope(),
            call_id="c0_0",
            tool=spec.name,
            arguments_json=arguments,
            correlation_id=submitter.correlation_id,
            tenant=submitter.tenant,
        )
        services = self._services
        share = services.governor.for_run(invocation.run_id, submitter.tenant)
        budget = services.budgets.for_run(owner=submitter.owner, tenant=submitter.tenant)
        try:
            cost = Amount(cost_micros=spec.cost_micros, calls=1)
            reservation = _reserved(budget, cost)
            async with share.slot(spec.name, spec.type, Priority.WAITING):
                reservation.settle(cost)
                call.start_ns = time.time_ns()
                try:
                    result = await services.executor.invoke(invocation)
                except ToolFailure as failure:
                    call.state, call.failed = CallState.FAILED, CallFailed(failure.code, failure.message)
                else:
                    call.state = CallState.SUCCEEDED
                    call.succeeded = CallSucceeded(result.result_json, result.content_type)
        finally:
            budget.close()
            share.close()
        call.end_ns = time.time_ns()
        return pb.InvokeToolResponse(call=call_message(call))

    def _find(self, name: str) -> ToolSpec:
        spec = self._catalog.get(name)
        if spec is None:
            raise NotFound(
                f"there is no tool {name!r}; ListTools names those that exist",
                resource_type="podium.v1.Tool",
                resource_name=name,
            )
        return spec


def _reserved(budget: RunBudget, amount: Amount) -> Reservation:
    try:
        return budget.reserve(amount)
    except BudgetRefused as refusal:
        quota = f"{refusal.scope} {refusal.dimension}"
        raise ResourceExhausted(refusal.message, reason="BUDGET_EXHAUSTED", quota=quota) from None


def _tool_message(spec: ToolSpec) -> pb.Tool:
    return pb.Tool(
        name=spec.name,
        description=spec.description,
        input_schema_json=orjson.dumps(spec.input_schema),
        output_schema_json=orjson.dumps(spec.output_schema) if spec.output_schema is not None else b"",
        side_effects=_SIDE_EFFECTS[spec.side_effects],
        timeout=duration_message(spec.timeout_seconds),
        type=spec.type,
        cache_ttl=None if spec.cache_ttl_seconds is None else duration_message(spec.cache_ttl_seconds),
        version=spec.version,
        examples=[pb.ToolExample(request=e.request, arguments_json=orjson.dumps(e.arguments)) for e in spec.examples],
        fallback_tool=spec.fallback.tool if spec.fallback else "",
        fallback_result_json=spec.fallback.result_json if spec.fallback else b"",
        hedge=spec.hedge,
        cost_micros=spec.cost_micros,
    )


def _encode_token(name: str) -> str:
    return base64.urlsafe_b64encode(f"tool:{name}".encode()).decode().rstrip("=")


def _decode_token(token: str) -> str:
    if not token:
        return ""
    try:
        kind, _, name = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        kind, name = "", ""
    if kind != "tool":
        raise InvalidRequest("page_token is not one that this server gave; start again without it")
    return name
