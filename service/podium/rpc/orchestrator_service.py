"""`podium.v1.OrchestratorService` over the orchestrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from google.protobuf.duration_pb2 import Duration

from podium.orchestration.orchestrator import Orchestrator
from podium.rpc.caller import CallerSource
from podium.rpc.event_messages import event_message
from podium.rpc.explain_messages import explanation_message, simulation_message
from podium.rpc.run_messages import DEFAULT_CURRENCY, STATES_BY_NUMBER, run_message, spec_from_message
from podium.v1 import orchestrator_pb2 as pb
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceServicer

__all__ = ["OrchestratorServicer"]

_DEFAULT_PAGE = 50


class OrchestratorServicer(OrchestratorServiceServicer):
    """Runs requests; see the proto for what each method promises. `currency` (ISO 4217) is that of costs."""

    def __init__(self, orchestrator: Orchestrator, caller: CallerSource, *, currency: str = DEFAULT_CURRENCY) -> None:
        self._orchestrator = orchestrator
        self._caller = caller
        self._currency = currency

    async def Execute(self, request: pb.ExecuteRequest, context: object) -> pb.ExecuteResponse:
        """Run to the end."""
        caller = self._caller()
        view = await self._orchestrator.execute(
            spec_from_message(request.spec), caller.submitter, seconds=caller.run_seconds
        )
        return pb.ExecuteResponse(run=run_message(view, currency=self._currency))

    async def ExecuteStream(
        self, request: pb.ExecuteStreamRequest, context: object
    ) -> AsyncIterator[pb.ExecuteStreamResponse]:
        """Run and stream events."""
        caller = self._caller()
        batches = self._orchestrator.stream_together(
            spec_from_message(request.spec), caller.submitter, seconds=caller.run_seconds
        )
        async with aclosing(batches):
            async for batch in batches:
                messages = [event_message(event, self._currency) for event in batch]
                if request.together:
                    yield pb.ExecuteStreamResponse(event=messages[0], more=messages[1:])
                else:
                    for message in messages:
                        yield pb.ExecuteStreamResponse(event=message)

    async def WatchRun(self, request: pb.WatchRunRequest, context: object) -> AsyncIterator[pb.WatchRunResponse]:
        """Follow one run."""
        by = self._caller().submitter
        batches = self._orchestrator.watch_together(request.run_id, by, after_seq=request.after_seq)
        async with aclosing(batches):
            async for batch in batches:
                messages = [event_message(event, self._currency) for event in batch]
                if request.together and messages:
                    yield pb.WatchRunResponse(event=messages[0], more=messages[1:])
                else:
                    for message in messages:
                        yield pb.WatchRunResponse(event=message)

    async def GetRun(self, request: pb.GetRunRequest, context: object) -> pb.GetRunResponse:
        """Return one run."""
        view = await self._orchestrator.get(request.run_id, self._caller().submitter)
        return pb.GetRunResponse(run=run_message(view, currency=self._currency))

    async def ListRuns(self, request: pb.ListRunsRequest, context: object) -> pb.ListRunsResponse:
        """Return a page of runs."""
        page = await self._orchestrator.list(
            self._caller().submitter,
            page_size=request.page_size or _DEFAULT_PAGE,
            page_token=request.page_token,
            states=frozenset(STATES_BY_NUMBER[number] for number in request.states),
        )
        return pb.ListRunsResponse(
            runs=[run_message(view, payloads=False, currency=self._currency) for view in page.runs],
            next_page_token=page.next_page_token,
        )

    async def CancelRun(self, request: pb.CancelRunRequest, context: object) -> pb.CancelRunResponse:
        """Cancel one run."""
        view = await self._orchestrator.cancel(request.run_id, self._caller().submitter)
        return pb.CancelRunResponse(run=run_message(view, currency=self._currency))

    async def ExplainRun(self, request: pb.ExplainRunRequest, context: object) -> pb.ExplainRunResponse:
        """Explain one run."""
        explained = await self._orchestrator.explain(request.run_id, self._caller().submitter)
        return pb.ExplainRunResponse(explanation=explanation_message(explained, self._currency))

    async def SimulateRun(self, request: pb.SimulateRunRequest, context: object) -> pb.SimulateRunResponse:
        """Work out what one run would take."""
        simulation = await self._orchestrator.simulate(
            request.run_id,
            self._caller().submitter,
            deadline_seconds=_seconds(request.deadline) if request.HasField("deadline") else None,
            durations={tool: _seconds(span) for tool, span in request.durations.items()},
            parallel=request.parallel_calls or None,
        )
        return pb.SimulateRunResponse(simulation=simulation_message(simulation, self._currency))


def _seconds(span: Duration) -> float:
    return span.ToNanoseconds() / 1e9
