"""The calls about runs of the client for threads. Their twins for asyncio are in `_async_runs.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast

import grpc

from podium.v1 import clarification_pb2, clarification_pb2_grpc, orchestrator_pb2, orchestrator_pb2_grpc
from podium_client import _requests
from podium_client._channel import CallOptions, Endpoint
from podium_client._status import FailedCall, typed_error
from podium_client._sync_streams import RunStream, RunWatch
from podium_client.clarifications import Clarification, ClarificationPage
from podium_client.explanations import RunExplanation
from podium_client.runs import RunLimits, RunPage, RunResult, RunState
from podium_client.simulations import Simulation

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class RunCalls:
    """What a client does with runs and their questions."""

    _endpoint: Endpoint
    _orchestrator: orchestrator_pb2_grpc.OrchestratorServiceStub
    _clarifications: clarification_pb2_grpc.ClarificationServiceStub

    def run(
        self,
        input: str,  # noqa: A002  the contract's name
        *,
        model: str | None = None,
        tools: Iterable[str] = (),
        request_id: str | None = None,
        limits: RunLimits | None = None,
        labels: Mapping[str, str] | None = None,
        plan_only: bool = False,
        detach: bool = False,
        background: bool = False,
        bypass_cache: bool = False,
        may_ask: bool = False,
        speculation: Literal["off", "safe"] | None = None,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> RunResult:
        """Run a request to its end and return the run. A run that fails is returned too.

        Args:
            input: the request in plain language.
            model: name or alias; the server's default otherwise.
            tools: names of the tools that may be used; all that the caller may use otherwise.
            request_id: the same id with the same request is the same run, however often it is sent.
                Minted when not given, so that a lost connection can be retried safely.
            limits: bounds of this run, within the server's own.
            labels: free marks, kept with the run.
            plan_only: stop before any tool runs; the run's calls are those that would be made first.
            detach: the run goes on when this call is left; `watch` and `get_run` find it again.
            background: nobody waits for it; its calls give way to those of other runs.
            bypass_cache: take no results from the server's cache and keep none in it.
            may_ask: the model may put questions, which `answer_clarification` answers.
            speculation: whether calls may be started before the model asks for them: `off`, or `safe`
                for tools without side effects; as the server is set otherwise.
            deadline: seconds for the whole run.
            correlation_id: found again in the server's logs and on the result.
        """
        spec = _requests.run_spec(
            input,
            model=model,
            tools=tools,
            request_id=request_id,
            limits=limits,
            labels=labels,
            plan_only=plan_only,
            detach=detach,
            background=background,
            bypass_cache=bypass_cache,
            may_ask=may_ask,
            speculation=speculation,
        )
        options = self._endpoint.call(deadline, correlation_id)
        request = orchestrator_pb2.ExecuteRequest(spec=spec)
        response = unary(self._orchestrator.Execute, request, options)
        return RunResult.of(response.run, correlation_id=options.correlation_id)

    def stream(
        self,
        input: str,  # noqa: A002  the contract's name
        *,
        model: str | None = None,
        tools: Iterable[str] = (),
        request_id: str | None = None,
        limits: RunLimits | None = None,
        labels: Mapping[str, str] | None = None,
        plan_only: bool = False,
        detach: bool = False,
        background: bool = False,
        bypass_cache: bool = False,
        may_ask: bool = False,
        speculation: Literal["off", "safe"] | None = None,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> RunStream:
        """Run a request and stream its events; arguments as for `run`.

        Use it as `with podium.stream(...) as events: for event in events: ...`. Leaving
        the block before the run has ended cancels the run, unless it is detached.
        """
        spec = _requests.run_spec(
            input,
            model=model,
            tools=tools,
            request_id=request_id,
            limits=limits,
            labels=labels,
            plan_only=plan_only,
            detach=detach,
            background=background,
            bypass_cache=bypass_cache,
            may_ask=may_ask,
            speculation=speculation,
        )
        request = orchestrator_pb2.ExecuteStreamRequest(spec=spec, together=True)
        return RunStream(self._orchestrator.ExecuteStream, request, self._endpoint.call(deadline, correlation_id))

    def watch(
        self,
        run_id: str,
        *,
        after_seq: int = 0,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> RunWatch:
        """Follow a run that was started elsewhere, or before a connection broke: its log, then what happens.

        Use it like `stream`. Text comes for the turn in progress only; a run that has ended gives its log.

        Args:
            run_id: the run.
            after_seq: only events after this one, such as `last_seq` of the stream that broke.
            deadline: seconds to follow it; the run goes on.
            correlation_id: found again in the server's logs.
        """
        request = orchestrator_pb2.WatchRunRequest(run_id=run_id, after_seq=after_seq, together=True)
        return RunWatch(self._orchestrator.WatchRun, request, self._endpoint.call(deadline, correlation_id))

    def get_run(
        self, run_id: str, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> RunResult:
        """Return one run as it stands."""
        options = self._endpoint.call(deadline, correlation_id)
        request = orchestrator_pb2.GetRunRequest(run_id=run_id)
        return RunResult.of((unary(self._orchestrator.GetRun, request, options)).run)

    def list_runs(
        self,
        *,
        page_size: int | None = None,
        page_token: str = "",
        states: Iterable[RunState] = (),
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> RunPage:
        """Return a page of the caller's runs, newest first."""
        options = self._endpoint.call(deadline, correlation_id)
        request = _requests.list_runs_request(page_size, page_token, states)
        return RunPage.of(unary(self._orchestrator.ListRuns, request, options))

    def cancel_run(
        self, run_id: str, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> RunResult:
        """Cancel a run and return it as it then stands. One that has ended is left as it is."""
        options = self._endpoint.call(deadline, correlation_id)
        request = orchestrator_pb2.CancelRunRequest(run_id=run_id)
        return RunResult.of((unary(self._orchestrator.CancelRun, request, options)).run)

    def explain_run(
        self, run_id: str, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> RunExplanation:
        """Return where the time and the money of a run went, so far or in all."""
        options = self._endpoint.call(deadline, correlation_id)
        request = orchestrator_pb2.ExplainRunRequest(run_id=run_id)
        return RunExplanation.of((unary(self._orchestrator.ExplainRun, request, options)).explanation)

    def simulate_run(
        self,
        run_id: str,
        *,
        run_deadline: float | timedelta | None = None,
        durations: Mapping[str, float | timedelta] | None = None,
        parallel_calls: int | None = None,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> Simulation:
        """Work out what a run would take, without calling a model or a tool.

        Args:
            run_id: a run that ended, or one that only planned (`plan_only`).
            run_deadline: seconds that the run would have; whether they suffice is one of the verdicts.
            durations: what if: seconds that calls of a tool would take, by tool.
            parallel_calls: calls at once; the server's limit otherwise.
            deadline: seconds for the answer.
            correlation_id: found again in the server's logs.
        """
        options = self._endpoint.call(deadline, correlation_id)
        request = _requests.simulate_request(run_id, run_deadline, durations, parallel_calls)
        return Simulation.of((unary(self._orchestrator.SimulateRun, request, options)).simulation)

    def list_clarifications(
        self,
        run_id: str = "",
        *,
        page_size: int | None = None,
        page_token: str = "",
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> ClarificationPage:
        """Return a page of the caller's open questions, oldest first; those of one run if it is named."""
        options = self._endpoint.call(deadline, correlation_id)
        request = _requests.list_clarifications_request(run_id, page_size, page_token)
        return ClarificationPage.of(unary(self._clarifications.ListClarifications, request, options))

    def get_clarification(
        self,
        run_id: str,
        question_id: str,
        *,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> Clarification:
        """Return one question, open or settled."""
        options = self._endpoint.call(deadline, correlation_id)
        request = clarification_pb2.GetClarificationRequest(run_id=run_id, question_id=question_id)
        response = unary(self._clarifications.GetClarification, request, options)
        return Clarification.of(response.clarification)

    def answer_clarification(
        self,
        run_id: str,
        question_id: str,
        answer: Any,
        *,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> None:
        """Answer a question: with a value of JSON as its schema says, or with bytes that hold one.

        `InvalidRequest` leaves the question open; `FailedPrecondition` says that it was settled before.
        """
        options = self._endpoint.call(deadline, correlation_id)
        request = _requests.answer_request(run_id, question_id, answer)
        unary(self._clarifications.AnswerClarification, request, options)

    def skip_clarification(
        self,
        run_id: str,
        question_id: str,
        *,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> None:
        """Settle a question without an answer: the run does without what waits for it."""
        options = self._endpoint.call(deadline, correlation_id)
        request = clarification_pb2.SkipClarificationRequest(run_id=run_id, question_id=question_id)
        unary(self._clarifications.SkipClarification, request, options)


def unary(
    method: grpc.UnaryUnaryMultiCallable[_Request, _Response], request: _Request, options: CallOptions
) -> _Response:
    try:
        return method(
            request, timeout=options.timeout, metadata=options.metadata, wait_for_ready=options.wait_for_ready
        )
    except grpc.RpcError as error:  # what gRPC raises is the ended call as well
        raise typed_error(cast("FailedCall", error), sent_correlation_id=options.correlation_id) from error
