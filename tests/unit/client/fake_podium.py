"""A Podium that plays what a test tells it to, on a real loopback port."""

# ruff: noqa: N802  RPC methods are named by the contract

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_status import rpc_status

from podium.v1 import (
    clarification_pb2,
    clarification_pb2_grpc,
    explanation_pb2,
    inference_pb2,
    inference_pb2_grpc,
    orchestrator_pb2,
    orchestrator_pb2_grpc,
    run_pb2,
    tool_pb2,
    tool_pb2_grpc,
)
from podium.v1 import (
    health_pb2 as podium_health_pb2,
)
from podium.v1 import (
    health_pb2_grpc as podium_health_pb2_grpc,
)

RUN_ID = "run_01h455vb4pex5vsknk084sn02q"


class FakePodium(
    orchestrator_pb2_grpc.OrchestratorServiceServicer,
    clarification_pb2_grpc.ClarificationServiceServicer,
    inference_pb2_grpc.InferenceServiceServicer,
    tool_pb2_grpc.ToolServiceServicer,
    podium_health_pb2_grpc.HealthServiceServicer,
):
    """Records every call; refuses as often as `refusals` says; then plays `events`, `parts` and so on."""

    def __init__(self) -> None:
        self.address = ""
        self.health = health.aio.HealthServicer()
        self.requests: list[Message] = []
        self.metadata: list[dict[str, str]] = []
        self.time_remaining: list[float | None] = []
        self.refusals: list[status_pb2.Status] = []
        self.events: Sequence[run_pb2.RunEvent] = sample_events()
        self.parts: Sequence[inference_pb2.GenerateResponse] = sample_parts()
        self.run = sample_run()
        self.explanation = sample_explanation()
        self.simulation = sample_simulation()
        self.clarification = sample_clarification()
        self.call = run_pb2.ToolCall(
            call_id="c0_0",
            tool="calculate",
            arguments_json=b'{"expression": "19 * 21"}',
            result_json=b'{"value": 399}',
            state=run_pb2.TOOL_CALL_STATE_SUCCEEDED,
        )
        self.tools = True
        self.hang = False
        self.obeys_cancel = True
        self.cancel_asked = asyncio.Event()
        self.cancel_seen = asyncio.Event()
        self.played = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def _enter(self, request: Message, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.time_remaining.append(context.time_remaining())
        if self.refusals:
            await context.abort_with_status(rpc_status.to_status(self.refusals.pop(0)))

    async def _hold(self) -> None:
        self.played.set()
        if self.hang:
            await self.cancel_asked.wait()

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Notice being cancelled, be it at an await or, in a generator, at a yield."""
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def Execute(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        with self._noticing():
            await self._hold()
        return orchestrator_pb2.ExecuteResponse(run=self.run)

    async def ExecuteStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._enter(request, context)
        with self._noticing():
            for event in self.events:
                yield orchestrator_pb2.ExecuteStreamResponse(event=event)
            await self._hold()
            if self.cancel_asked.is_set():
                yield orchestrator_pb2.ExecuteStreamResponse(event=cancelled_event())

    async def WatchRun(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._enter(request, context)
        with self._noticing():
            for each in self.events:
                if each.seq > request.after_seq:
                    yield orchestrator_pb2.WatchRunResponse(event=each)
            await self._hold()

    async def ExplainRun(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return orchestrator_pb2.ExplainRunResponse(explanation=self.explanation)

    async def SimulateRun(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return orchestrator_pb2.SimulateRunResponse(simulation=self.simulation)

    async def ListClarifications(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        token = "" if request.page_token else "more"
        return clarification_pb2.ListClarificationsResponse(clarifications=[self.clarification], next_page_token=token)

    async def GetClarification(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return clarification_pb2.GetClarificationResponse(clarification=self.clarification)

    async def AnswerClarification(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return clarification_pb2.AnswerClarificationResponse()

    async def SkipClarification(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return clarification_pb2.SkipClarificationResponse()

    async def GetRun(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return orchestrator_pb2.GetRunResponse(run=self.run)

    async def ListRuns(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return orchestrator_pb2.ListRunsResponse(runs=[self.run], next_page_token="more")

    async def CancelRun(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        self.cancel_seen.set()
        if self.obeys_cancel:
            self.cancel_asked.set()
        return orchestrator_pb2.CancelRunResponse(run=self.run)

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._enter(request, context)
        with self._noticing():
            for part in self.answer_to(request):
                yield part
            await self._hold()

    def answer_to(self, request: inference_pb2.GenerateRequest) -> Sequence[inference_pb2.GenerateResponse]:
        """Return the parts of an answer."""
        return self.parts

    async def ListModels(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        model = inference_pb2.Model(
            name="embedded",
            kind="embedded",
            ready=True,
            context_length=8192,
            max_output_tokens=1024,
            default=True,
            tools=self.tools,
            json_schema=True,
            aliases=["small"],
        )
        away = inference_pb2.Model(name="demo", kind="scripted", detail="its file is missing")
        return inference_pb2.ListModelsResponse(models=[away, model])

    async def CountTokens(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return inference_pb2.CountTokensResponse(tokens=7, exact=True, context_length=8192, model="embedded")

    async def ListTools(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        if not request.page_token:
            return tool_pb2.ListToolsResponse(tools=[sample_tool("calculate")], next_page_token="2")
        return tool_pb2.ListToolsResponse(tools=[sample_tool("current_time")])

    async def GetTool(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return tool_pb2.GetToolResponse(tool=sample_tool(request.name))

    async def InvokeTool(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        with self._noticing():
            await self._hold()
        return tool_pb2.InvokeToolResponse(call=self.call)

    async def Check(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        part = podium_health_pb2.HealthComponent(name="model:embedded", status=podium_health_pb2.HEALTH_STATUS_HEALTHY)
        return podium_health_pb2.CheckResponse(
            status=podium_health_pb2.HEALTH_STATUS_HEALTHY, components=[part], version="0.1.0"
        )


@asynccontextmanager
async def serving(fake: FakePodium, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[FakePodium]:
    """Serve `fake` for the block; `fake.address` says where."""
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server(fake, server)
    clarification_pb2_grpc.add_ClarificationServiceServicer_to_server(fake, server)
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(fake, server)
    tool_pb2_grpc.add_ToolServiceServicer_to_server(fake, server)
    podium_health_pb2_grpc.add_HealthServiceServicer_to_server(fake, server)
    health_pb2_grpc.add_HealthServicer_to_server(fake.health, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    fake.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)


def refusal(code: grpc.StatusCode, message: str, reason: str = "", *details: Message) -> status_pb2.Status:
    """Return a rich status as the server would send it."""
    packed = [any_pb2.Any() for _ in details]
    for box, detail in zip(packed, details, strict=True):
        box.Pack(detail)
    if reason:
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="podium.v1", metadata={"method": "Execute"}))
        packed.insert(0, info)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def sample_tool(name: str) -> tool_pb2.Tool:
    tool = tool_pb2.Tool(
        name=name,
        description="Works out an expression. Knows the four operations, powers and brackets.",
        input_schema_json=b'{"type": "object", "properties": {"expression": {"type": "string"}}}',
        side_effects=tool_pb2.SIDE_EFFECTS_NONE,
        type="cpu",
        version="1",
        examples=[tool_pb2.ToolExample(request="what is 2+2", arguments_json=b'{"expression": "2 + 2"}')],
    )
    tool.timeout.FromMilliseconds(5000)
    return tool


def sample_run(state: run_pb2.RunState.ValueType = run_pb2.RUN_STATE_SUCCEEDED) -> run_pb2.Run:
    run = run_pb2.Run(
        run_id=RUN_ID,
        state=state,
        spec=run_pb2.RunSpec(input="What is 19 * 21?", labels={"team": "a"}),
        answer="19 * 21 is 399." if state == run_pb2.RUN_STATE_SUCCEEDED else "",
        usage=run_pb2.Usage(prompt_tokens=40, completion_tokens=12),
        model="embedded",
        last_seq=6,
        calls=[
            run_pb2.ToolCall(
                call_id="c0_0",
                tool="calculate",
                arguments_json=b'{"expression": "19 * 21"}',
                result_json=b'{"value": 399}',
                state=run_pb2.TOOL_CALL_STATE_SUCCEEDED,
                attempts=1,
            )
        ],
    )
    run.create_time.FromMilliseconds(1_700_000_000_000)
    run.end_time.FromMilliseconds(1_700_000_000_250)
    run.calls[0].start_time.FromMilliseconds(1_700_000_000_100)
    run.calls[0].end_time.FromMilliseconds(1_700_000_000_120)
    if state == run_pb2.RUN_STATE_FAILED:
        run.error.reason = "MODEL_NOT_READY"
        run.error.message = "the model is starting"
    return run


def sample_clarification() -> clarification_pb2.Clarification:
    asked = clarification_pb2.Clarification(
        run_id=RUN_ID,
        question_id="q0",
        call_id="c0_1",
        kind=clarification_pb2.QUESTION_KIND_CHOICE,
        prompt="Which Berlin?",
        schema_json=b'{"type": "string", "enum": ["Germany", "Ohio"]}',
        default_json=b'"Germany"',
        state=clarification_pb2.CLARIFICATION_STATE_OPEN,
    )
    asked.create_time.FromMilliseconds(1_700_000_000_000)
    asked.expire_time.FromMilliseconds(1_700_000_060_000)
    return asked


def span(milliseconds: int) -> Duration:
    """Return a span as a message."""
    made = Duration()
    made.FromMilliseconds(milliseconds)
    return made


def sample_simulation() -> explanation_pb2.Simulation:
    """One turn and one call of it, which is estimated."""
    return explanation_pb2.Simulation(
        makespan=span(500),
        slow_makespan=span(900),
        turns=[explanation_pb2.SimulatedTurn(turn=0, start_offset=span(0), end_offset=span(200))],
        calls=[
            explanation_pb2.SimulatedCall(
                call_id="c0_0",
                tool="calculate",
                seal_offset=span(100),
                ready_offset=span(100),
                start_offset=span(150),
                end_offset=span(500),
                queue=span(50),
                estimated=True,
                critical=True,
            )
        ],
        critical_path=[
            explanation_pb2.PathSegment(
                kind=explanation_pb2.PATH_SEGMENT_KIND_WORK,
                node_id="c0_0",
                start_offset=span(150),
                duration=span(350),
                because="c0_0 (calculate) works",
            )
        ],
        usage=run_pb2.Usage(cost_micros=1500, currency="EUR"),
        tool_cost_micros=1500,
        verdicts=[
            explanation_pb2.Verdict(
                dimension="deadline", limit=0.4, predicted=0.5, slow=0.9, exceeded_offset=span(400)
            ),
            explanation_pb2.Verdict(dimension="seconds", limit=0.7, predicted=0.5, slow=0.9, kept=True),
            explanation_pb2.Verdict(dimension="calls", limit=8, predicted=1, slow=1, kept=True, kept_when_slow=True),
        ],
        binds_first="deadline",
        unknown_tools=["current_time"],
    )


def sample_explanation() -> explanation_pb2.RunExplanation:
    """A turn, a call that decides when the run ends, and one from the cache that does not."""
    return explanation_pb2.RunExplanation(
        run_id=RUN_ID,
        state=run_pb2.RUN_STATE_SUCCEEDED,
        turns=[
            explanation_pb2.ExplainedTurn(
                node_id="t0",
                turn=0,
                model="embedded",
                start_offset=span(0),
                end_offset=span(100),
                ended=True,
                time_to_first_call=span(40),
                critical=True,
            )
        ],
        calls=[
            explanation_pb2.ExplainedCall(
                call_id="c0_0",
                tool="calculate",
                depends_on=["t0"],
                seal_offset=span(40),
                start_offset=span(100),
                end_offset=span(250),
                state=run_pb2.TOOL_CALL_STATE_SUCCEEDED,
                source=run_pb2.RESULT_SOURCE_TOOL,
                attempts=2,
                waits=run_pb2.CallWaits(queue=span(60), work=span(150)),
                critical=True,
            ),
            explanation_pb2.ExplainedCall(
                call_id="c0_1",
                tool="current_time",
                depends_on=["t0"],
                seal_offset=span(50),
                end_offset=span(51),
                state=run_pb2.TOOL_CALL_STATE_SUCCEEDED,
                source=run_pb2.RESULT_SOURCE_CACHE,
            ),
        ],
        critical_path=[
            explanation_pb2.PathSegment(
                kind=explanation_pb2.PATH_SEGMENT_KIND_MODEL,
                node_id="t0",
                start_offset=span(0),
                duration=span(40),
                because="embedded wrote a part of turn 0",
            ),
            explanation_pb2.PathSegment(
                kind=explanation_pb2.PATH_SEGMENT_KIND_QUEUE,
                node_id="c0_0",
                start_offset=span(40),
                duration=span(60),
                because="c0_0 waited 0.06 s for a slot",
            ),
            explanation_pb2.PathSegment(
                kind=explanation_pb2.PATH_SEGMENT_KIND_WORK,
                node_id="c0_0",
                start_offset=span(100),
                duration=span(150),
                because="c0_0 (calculate) worked 0.15 s",
            ),
        ],
        time=explanation_pb2.TimeTotals(
            wall=span(250), tools=span(150), models=span(100), parallelism=0.6, overlapped=span(10)
        ),
        path_totals=[explanation_pb2.PathTotal(kind=explanation_pb2.PATH_SEGMENT_KIND_WORK, duration=span(150))],
        tools=[explanation_pb2.ToolTotal(tool="calculate", calls=1, attempts=2, work=span(150))],
        predictions=[
            explanation_pb2.ExplainedPrediction(prediction_id="p0", tool="calculate", settled=True, because="not asked")
        ],
        usage=run_pb2.Usage(prompt_tokens=40, completion_tokens=12, cost_micros=2500, currency="EUR"),
        wind_down=run_pb2.WindDownStarted(cause=run_pb2.WIND_DOWN_CAUSE_DEADLINE, because="the deadline is near"),
    )


def event(seq: int, milliseconds: int, **kind: Any) -> run_pb2.RunEvent:
    """Return one event at so many milliseconds after the run's start."""
    made = run_pb2.RunEvent(run_id=RUN_ID, seq=seq, **kind)
    made.time.FromMilliseconds(1_700_000_000_000 + milliseconds)
    return made


def cancelled_event() -> run_pb2.RunEvent:
    error = run_pb2.RunError(reason="CANCELLED", message="the caller cancelled it")
    return event(7, 99, run_finished=run_pb2.RunFinished(state=run_pb2.RUN_STATE_CANCELLED, error=error))


def sample_events() -> list[run_pb2.RunEvent]:
    """Two calls that overlap, then an answer in two pieces."""
    spec = run_pb2.RunSpec(input="What is 19 * 21 and what time is it in Berlin?")
    usage = run_pb2.Usage(prompt_tokens=40, completion_tokens=12)
    ok = run_pb2.ToolCallOk(result_json=b'{"value": 399}', content_type="application/json")
    late = run_pb2.ToolCallFailure(code="TIMEOUT", reason="TIMEOUT", message="took longer than 5 s")
    answer = "19 * 21 is 399. The time did not arrive."
    return [
        event(1, 0, run_started=run_pb2.RunStarted(spec=spec, model="embedded", correlation_id="exec_1")),
        event(2, 2, model_turn_started=run_pb2.ModelTurnStarted(turn=0, model="embedded")),
        event(
            3,
            50,
            tool_call_sealed=run_pb2.ToolCallSealed(
                call_id="c0_0", tool="calculate", arguments_json=b'{"expression": "19 * 21"}', version="1"
            ),
        ),
        event(4, 51, tool_call_started=run_pb2.ToolCallStarted(call_id="c0_0", attempt=1)),
        event(
            5,
            60,
            tool_call_sealed=run_pb2.ToolCallSealed(
                call_id="c0_1", tool="current_time", arguments_json=b'{"timezone": "Europe/Berlin"}', version="1"
            ),
        ),
        event(6, 61, tool_call_started=run_pb2.ToolCallStarted(call_id="c0_1", attempt=1)),
        event(7, 90, tool_call_finished=run_pb2.ToolCallFinished(call_id="c0_0", ok=ok)),
        event(8, 120, tool_call_finished=run_pb2.ToolCallFinished(call_id="c0_1", failed=late)),
        event(
            9,
            121,
            model_turn_finished=run_pb2.ModelTurnFinished(
                turn=0, usage=usage, finish_reason=run_pb2.TURN_FINISH_REASON_TOOL_CALLS
            ),
        ),
        event(10, 122, model_turn_started=run_pb2.ModelTurnStarted(turn=1, model="embedded")),
        event(10, 150, text_delta=run_pb2.TextDelta(turn=1, offset=0, text="19 * 21 is 399. ")),
        event(10, 160, text_delta=run_pb2.TextDelta(turn=1, offset=16, text="The time did not arrive.")),
        event(
            11,
            170,
            model_turn_finished=run_pb2.ModelTurnFinished(
                turn=1, text=answer, usage=usage, finish_reason=run_pb2.TURN_FINISH_REASON_STOP
            ),
        ),
        event(
            12,
            171,
            run_finished=run_pb2.RunFinished(
                state=run_pb2.RUN_STATE_SUCCEEDED, answer=answer, partial=True, usage=usage
            ),
        ),
    ]


def sample_parts() -> list[inference_pb2.GenerateResponse]:
    finished = inference_pb2.GenerateFinished(
        finish_reason=run_pb2.TURN_FINISH_REASON_STOP,
        usage=run_pb2.Usage(prompt_tokens=5, completion_tokens=2),
        model="embedded",
    )
    finished.timings.total.FromMilliseconds(30)
    return [
        inference_pb2.GenerateResponse(text="Hello"),
        inference_pb2.GenerateResponse(text=" there"),
        inference_pb2.GenerateResponse(),
        inference_pb2.GenerateResponse(finished=finished),
    ]
