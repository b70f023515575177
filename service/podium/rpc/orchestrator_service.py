"""`podium.v1.OrchestratorService` over the orchestrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from podium.orchestration.orchestrator import Orchestrator
from podium.rpc.caller import CallerSource
from podium.rpc.run_messages import STATES_BY_NUMBER, event_message, run_message, spec_from_message
from podium.v1 import orchestrator_pb2 as pb
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceServicer

__all__ = ["OrchestratorServicer"]

_DEFAULT_PAGE = 50


class OrchestratorServicer(OrchestratorServiceServicer):
    """Runs requests; see the proto for what each method promises."""

    def __init__(self, orchestrator: Orchestrator, caller: CallerSource) -> None:
        self._orchestrator = orchestrator
        self._caller = caller

    async def Execute(self, request: pb.ExecuteRequest, context: object) -> pb.ExecuteResponse:
        """Run to the end."""
        caller = self._caller()
        view = await self._orchestrator.execute(
            spec_from_message(request.spec), caller.submitter, seconds=caller.run_seconds
        )
        return pb.ExecuteResponse(run=run_message(view))

    async def ExecuteStream(
        self, request: pb.ExecuteStreamRequest, context: object
    ) -> AsyncIterator[pb.ExecuteStreamResponse]:
        """Run and stream events."""
        caller = self._caller()
        events = self._orchestrator.stream(
            spec_from_message(request.spec), caller.submitter, seconds=caller.run_seconds
        )
        async with aclosing(events):
            async for event in events:
                yield pb.ExecuteStreamResponse(event=event_message(event))

    async def GetRun(self, request: pb.GetRunRequest, context: object) -> pb.GetRunResponse:
        """Return one run."""
        view = await self._orchestrator.get(request.run_id, self._caller().submitter)
        return pb.GetRunResponse(run=run_message(view))

    async def ListRuns(self, request: pb.ListRunsRequest, context: object) -> pb.ListRunsResponse:
        """Return a page of runs."""
        page = await self._orchestrator.list(
            self._caller().submitter,
            page_size=request.page_size or _DEFAULT_PAGE,
            page_token=request.page_token,
            states=frozenset(STATES_BY_NUMBER[number] for number in request.states),
        )
        return pb.ListRunsResponse(
            runs=[run_message(view, payloads=False) for view in page.runs], next_page_token=page.next_page_token
        )

    async def CancelRun(self, request: pb.CancelRunRequest, context: object) -> pb.CancelRunResponse:
        """Cancel one run."""
        view = await self._orchestrator.cancel(request.run_id, self._caller().submitter)
        return pb.CancelRunResponse(run=run_message(view))
