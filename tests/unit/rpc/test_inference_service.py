"""`InferenceServicer`: what a request becomes, what an answer becomes, and how each turn is reported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import protovalidate
import pytest

from podium.errors import FailedPrecondition, InvalidRequest, NotFound, Unavailable
from podium.inference.embedded import EmbeddedModel
from podium.inference.engine import EngineRequest, FinishReason, Guide, GuideKind, TokenDelta, TokensFinished
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatEvent,
    ChatRequest,
    ModelAttempt,
    ModelInfo,
    ReasoningDelta,
    SystemMessage,
    TextDelta,
    ToolCallSealed,
    ToolChoice,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.tool import ToolExample
from podium.rpc.caller import Caller
from podium.rpc.inference_service import InferenceServicer
from podium.v1 import inference_pb2 as pb
from podium.v1 import run_pb2, tool_pb2
from support.fakes import FakeModels, FakeTools, FunctionModel, sleeping
from support.virtual_time import run_virtual

SYSTEM, USER, ASSISTANT, TOOL = (pb.CHAT_ROLE_SYSTEM, pb.CHAT_ROLE_USER, pb.CHAT_ROLE_ASSISTANT, pb.CHAT_ROLE_TOOL)
DONE = TurnFinished(TurnFinishReason.STOP, Usage(5, 3, 2))


def caller() -> Caller:
    return Caller(Submitter(owner="key", tenant="acme", correlation_id="exec_1"), 30.0)


def saying(*events: ChatEvent, every: float = 0.0) -> FunctionModel:
    async def stream(_request: ChatRequest) -> AsyncIterator[ChatEvent]:
        for event in events:
            await asyncio.sleep(every)
            yield event

    return FunctionModel(stream)


class Turns:
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int, int, int]] = []

    def finished(
        self,
        model: str,
        outcome: str,
        *,
        seconds: float,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cached_tokens: int = 0,
    ) -> None:
        assert seconds >= 0
        self.seen.append((model, outcome, prompt_tokens, completion_tokens, cached_tokens))


def servicer(*models: FunctionModel, **options: Any) -> InferenceServicer:
    return InferenceServicer(FakeModels(*models), caller, **options)


def message(role: Any, text: str = "", **fields: Any) -> pb.ChatMessage:
    return pb.ChatMessage(role=role, text=text, **fields)


def asking(text: str = "hi", **fields: Any) -> pb.GenerateRequest:
    return pb.GenerateRequest(messages=[message(USER, text)], **fields)


def a_call(call_id: str = "toolu_1", tool: str = "add", arguments: bytes = b'{"a": 1}') -> pb.ChatToolCall:
    return pb.ChatToolCall(call_id=call_id, tool=tool, arguments_json=arguments)


async def parts_of(service: InferenceServicer, request: pb.GenerateRequest) -> list[pb.GenerateResponse]:
    assert protovalidate.collect_violations(request) == []
    return [part async for part in service.Generate(request, None)]


# --- what a request becomes -----------------------------------------------------------------


async def test_a_whole_conversation_with_tools_reaches_the_model() -> None:
    """Roles, calls, results, options, the tools of both kinds, and whose request it is."""
    model = saying(DONE)
    tools = FakeTools(calculate=sleeping(0))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    request = pb.GenerateRequest(
        messages=[
            message(SYSTEM, "Be brief."),
            message(USER, "Add."),
            message(ASSISTANT, "I will.", calls=[a_call(), a_call("c0_1", arguments=b"")]),
            message(TOOL, "40", call_id="c0_1"),
            message(TOOL, "too large", call_id="toolu_1", failed=True),
        ],
        tools=[
            pb.ToolDefinition(
                name="add",
                description="Adds.",
                input_schema_json=json.dumps(schema).encode(),
                examples=[tool_pb2.ToolExample(request="add 1", arguments_json=b'{"a": 1}')],
            )
        ],
        tool_names=["calculate"],
        tool_choice=pb.TOOL_CHOICE_REQUIRED,
        max_tokens=9,
        sampling=pb.SamplingOptions(temperature=0.5, top_p=0.25, seed=0),
        stop=["\n"],
        json_schema='{"type": "object"}',
    )
    await parts_of(servicer(model, find_tool=tools.get), request)
    (asked,) = model.requests
    assert asked.messages == [
        SystemMessage("Be brief."),
        UserMessage("Add."),
        AssistantMessage(
            "I will.",
            (CallRequest("toolu_1", "add", b'{"a": 1}', "toolu_1"), CallRequest("c0_1", "add", b"{}", "")),
        ),
        ToolMessage("c0_1", "add", "40"),
        ToolMessage("toolu_1", "add", "too large", ok=False, provider_id="toolu_1"),
    ]
    assert [(tool.name, tool.description) for tool in asked.tools] == [("add", "Adds."), ("calculate", "calculate")]
    assert asked.tools[0].input_schema == schema
    assert asked.tools[0].examples == (ToolExample("add 1", {"a": 1}),)
    assert (asked.tool_choice, asked.turn, asked.max_tokens) == (ToolChoice.REQUIRED, 1, 9)
    assert (asked.temperature, asked.top_p, asked.seed, asked.stop) == (0.5, 0.25, 0, ("\n",))
    assert (asked.json_schema, asked.tenant, asked.correlation_id) == ('{"type": "object"}', "acme", "exec_1")


async def test_what_is_left_out_is_left_to_the_model() -> None:
    model = saying(DONE)
    await parts_of(servicer(model), asking(tools=[pb.ToolDefinition(name="ping")]))
    (asked,) = model.requests
    assert (asked.max_tokens, asked.top_p, asked.seed, asked.json_schema) == (None, None, None, None)
    assert (asked.tool_choice, asked.tools[0].input_schema) == (ToolChoice.AUTO, {"type": "object"})


def definition(schema: bytes, name: str = "t") -> pb.ToolDefinition:
    return pb.ToolDefinition(name=name, input_schema_json=schema)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GenerateRequest(messages=[message(USER, calls=[a_call()])]), "messages[0].calls"),
        (pb.GenerateRequest(messages=[message(USER, call_id="x")]), "messages[0].call_id"),
        (pb.GenerateRequest(messages=[message(SYSTEM, failed=True)]), "messages[0].call_id"),
        (pb.GenerateRequest(messages=[message(TOOL, "1")]), "messages[0].call_id"),
        (pb.GenerateRequest(messages=[message(TOOL, "1", call_id="nope")]), "messages[0].call_id"),
        (
            pb.GenerateRequest(messages=[message(TOOL, "1", call_id="a"), message(ASSISTANT, calls=[a_call("a")])]),
            "messages[0].call_id",
        ),
        (
            pb.GenerateRequest(
                messages=[message(ASSISTANT, calls=[a_call("a")]), *[message(TOOL, "1", call_id="a")] * 2]
            ),
            "messages[2].call_id",
        ),
        (
            pb.GenerateRequest(messages=[message(ASSISTANT, calls=[a_call("a"), a_call("a")])]),
            "messages[0].calls[1].call_id",
        ),
        (
            pb.GenerateRequest(messages=[message(ASSISTANT, calls=[a_call(arguments=b"[1]")])]),
            "messages[0].calls[0].arguments_json",
        ),
        (
            pb.GenerateRequest(messages=[message(ASSISTANT, calls=[a_call(arguments=b"{")])]),
            "messages[0].calls[0].arguments_json",
        ),
        (asking(tools=[definition(b"nonsense")]), "tools[0].input_schema_json"),
        (asking(tools=[definition(b'{"type": "array"}')]), "tools[0].input_schema_json"),
        (asking(tools=[definition(b'{"properties": 3}')]), "tools[0].input_schema_json"),
        (asking(tools=[definition(b'{"properties": {"a": {"pattern": "("}}}')]), "tools[0].input_schema_json"),
        (asking(tools=[definition(b'{"not":' * 90 + b"{}" + b"}" * 90)]), "tools[0].input_schema_json"),
        (asking(tools=[definition(b""), definition(b"")]), "tools"),
        (
            asking(tools=[pb.ToolDefinition(name="t", examples=[tool_pb2.ToolExample(request="x" * 8193)])]),
            "tools[0].examples[0]",
        ),
        (
            asking(tools=[pb.ToolDefinition(name="t", examples=[tool_pb2.ToolExample(arguments_json=b"1")])]),
            "tools[0].examples[0].arguments_json",
        ),
        (asking(tools=[definition(b"", "calculate")], tool_names=["calculate"]), "tools"),
        (asking(tool_choice=pb.TOOL_CHOICE_REQUIRED), "tool_choice"),
        (asking(stop_token_ids=[1]), "stop_token_ids"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_before_the_model(
    request_: pb.GenerateRequest, field: str
) -> None:
    model, turns = saying(DONE), Turns()
    service = servicer(model, find_tool=FakeTools(calculate=sleeping(0)).get, turns=turns)
    with pytest.raises(InvalidRequest) as refused:
        await parts_of(service, request_)
    assert [violation.field for violation in refused.value.violations] == [field]
    assert field in refused.value.message
    assert (model.requests, turns.seen) == ([], [])


async def test_unknown_tools_and_models_are_not_found() -> None:
    with pytest.raises(NotFound, match="nope"):
        await parts_of(servicer(saying(DONE)), asking(tool_names=["nope"]))
    with pytest.raises(NotFound):
        await parts_of(servicer(saying(DONE)), asking(model="nope"))


@pytest.mark.parametrize(
    ("request_", "rule"),
    [
        (pb.GenerateRequest(), "message.oneof"),
        (pb.GenerateRequest(messages=[message(USER)], token_ids=[1]), "message.oneof"),
        (pb.CountTokensRequest(), "repeated.min_items"),
        (pb.GenerateRequest(token_ids=[1], stop_token_ids=range(33)), "repeated.max_items"),
        (asking(tools=[pb.ToolDefinition(name="two words")]), "string.pattern"),
    ],
)
def test_the_rules_in_the_proto_hold(request_: Any, rule: str) -> None:
    assert [violation.proto.rule_id for violation in protovalidate.collect_violations(request_)] == [rule]


# --- what an answer becomes -----------------------------------------------------------------


def test_parts_come_in_order_and_the_last_says_how_it_ended() -> None:
    """Timings count from the request's arrival; the model that answered may be another than was asked."""
    end = TurnFinished(
        TurnFinishReason.TOOL_CALLS,
        Usage(5, 3, 2),
        model="backup",
        attempts=(ModelAttempt("first", "UNAVAILABLE", 0.5), ModelAttempt("backup", "", 0.25)),
    )
    model = saying(ReasoningDelta("Hm."), TextDelta("Let me see."), ToolCallSealed("add", b'{"a": 1}'), end, every=1.0)
    turns = Turns()
    parts = run_virtual(parts_of(servicer(model, turns=turns), asking()))
    assert [part.WhichOneof("part") for part in parts] == ["reasoning", "text", "tool_call", "finished"]
    assert (parts[0].reasoning, parts[1].text, parts[2].tool_call) == (
        "Hm.",
        "Let me see.",
        a_call("c0_0"),
    )
    finished = parts[-1].finished
    assert (finished.finish_reason, finished.model) == (run_pb2.TURN_FINISH_REASON_TOOL_CALLS, "backup")
    assert (finished.usage.prompt_tokens, finished.usage.completion_tokens, finished.usage.cached_tokens) == (5, 3, 2)
    timings = finished.timings
    seconds = [
        t.ToTimedelta().total_seconds()
        for t in (timings.first_output, timings.first_text, timings.total, timings.per_token)
    ]
    assert seconds == [1.0, 2.0, 4.0, 1.5]
    assert [(each.model, each.reason, each.duration.ToTimedelta().total_seconds()) for each in finished.attempts] == [
        ("first", "UNAVAILABLE", 0.5),
        ("backup", "", 0.25),
    ]
    assert turns.seen == [("backup", "ok", 5, 3, 2)]


async def test_an_answer_without_output_has_no_time_of_output() -> None:
    (part,) = await parts_of(servicer(saying(DONE)), asking())
    assert part.finished.timings.HasField("total")
    assert not part.finished.timings.HasField("first_output")
    assert not part.finished.timings.HasField("per_token")


async def test_every_call_of_a_conversation_has_an_id_of_its_own() -> None:
    """The model's own id is kept where it can be sent back; else, and when it is taken, one is made."""
    model = saying(
        ToolCallSealed("add", b"{}", "toolu_2"),
        ToolCallSealed("add", b"{}", "toolu_2"),
        ToolCallSealed("add", b"{}", "has a blank"),
        ToolCallSealed("add", b"{}"),
        ToolCallSealed("add", b"{}", "toolu_1"),
        DONE,
    )
    earlier = [message(USER, "x"), message(ASSISTANT, calls=[a_call("toolu_1"), a_call("c1_1")])]
    parts = await parts_of(servicer(model), pb.GenerateRequest(messages=earlier))
    assert [part.tool_call.call_id for part in parts[:-1]] == ["toolu_2", "c1_0", "c1_2", "c1_3", "c1_4"]


async def test_calls_and_results_go_round() -> None:
    """What `Generate` returned can be sent back as it is, with results."""
    model = saying(ToolCallSealed("add", b'{"a": 1}', "toolu_9"), DONE)
    service = servicer(model)
    first = await parts_of(service, asking())
    call = first[0].tool_call
    again = [message(USER, "hi"), message(ASSISTANT, calls=[call]), message(TOOL, "2", call_id=call.call_id)]
    await parts_of(service, pb.GenerateRequest(messages=again))
    assert model.requests[1].messages[-1] == ToolMessage("toolu_9", "add", "2", provider_id="toolu_9")


# --- how a turn ends ------------------------------------------------------------------------


async def test_a_model_that_fails_is_reported_and_its_error_passes() -> None:
    async def failing(_request: ChatRequest) -> AsyncIterator[ChatEvent]:
        yield TextDelta("so far")
        raise Unavailable("gone")

    turns = Turns()
    with pytest.raises(Unavailable, match="gone"):
        await parts_of(servicer(FunctionModel(failing), turns=turns), asking())
    assert turns.seen == [("function", "failed", 0, 0, 0)]


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    turns = Turns()
    with pytest.raises(Unavailable, match="broke off"):
        await parts_of(servicer(saying(TextDelta("so far")), turns=turns), asking())
    assert turns.seen == [("function", "failed", 0, 0, 0)]


async def test_leaving_early_closes_the_model_at_once() -> None:
    closed = asyncio.Event()

    async def endless(_request: ChatRequest) -> AsyncIterator[ChatEvent]:
        try:
            while True:
                yield TextDelta("more ")
        finally:
            closed.set()

    turns = Turns()
    answer: Any = servicer(FunctionModel(endless), turns=turns).Generate(asking(), None)
    async with aclosing(answer):
        await anext(answer)
    assert closed.is_set()
    assert turns.seen == [("function", "cancelled", 0, 0, 0)]


async def test_cancelling_the_task_is_reported_as_cancelled() -> None:
    waiting = asyncio.Event()

    async def stuck(_request: ChatRequest) -> AsyncIterator[ChatEvent]:
        waiting.set()
        await asyncio.Event().wait()
        yield DONE

    turns = Turns()
    task = asyncio.create_task(parts_of(servicer(FunctionModel(stuck), turns=turns), asking()))
    async with asyncio.timeout(5):
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert turns.seen == [("function", "cancelled", 0, 0, 0)]


# --- token ids ------------------------------------------------------------------------------


class FakeTokenModel:
    """Plays items for any request."""

    def __init__(self, *items: TokenDelta | TokensFinished) -> None:
        self._items = items
        self.requests: list[EngineRequest] = []
        self.closed = False

    async def generate_tokens(self, request: EngineRequest) -> AsyncIterator[TokenDelta | TokensFinished]:
        self.requests.append(request)
        try:
            for item in self._items:
                yield item
        finally:
            self.closed = True


class Sized(FunctionModel):
    """A model with a context of 8 tokens."""

    async def info(self) -> ModelInfo:
        return ModelInfo(name=self.name, kind="embedded", ready=True, context_length=8)


def tokens_end(reason: FinishReason = FinishReason.LENGTH) -> TokensFinished:
    return TokensFinished(reason=reason, prompt_tokens=3, completion_tokens=4, cached_tokens=1)


def token_service(tokens: FakeTokenModel, turns: Turns | None = None) -> InferenceServicer:
    sized = Sized(saying(DONE).stream, name="sized")
    other = FunctionModel(saying(DONE).stream, name="other")
    return servicer(sized, other, token_model={"sized": tokens}.get, turns=turns)


async def test_token_ids_go_to_the_engine_and_ids_come_back() -> None:
    tokens, turns = FakeTokenModel(TokenDelta((7,)), TokenDelta((8, 9, 10)), tokens_end()), Turns()
    request = pb.GenerateRequest(
        token_ids=[1, 2, 3],
        stop_token_ids=[0],
        json_schema="{}",
        sampling=pb.SamplingOptions(temperature=1.0, top_p=0.5, seed=4),
    )
    service = token_service(tokens, turns)
    parts = await parts_of(service, request)
    assert [list(part.tokens.ids) for part in parts[:-1]] == [[7], [8, 9, 10]]
    finished = parts[-1].finished
    assert (finished.finish_reason, finished.model) == (run_pb2.TURN_FINISH_REASON_LENGTH, "sized")
    assert finished.timings.HasField("first_output")
    assert not finished.timings.HasField("first_text")
    (asked,) = tokens.requests
    assert (asked.token_ids, asked.max_tokens, asked.stop_token_ids) == ((1, 2, 3), 5, (0,))
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.seed) == (1.0, 0.5, 4)
    assert (asked.guide, asked.cache_salt) == (Guide(GuideKind.JSON_SCHEMA, "{}"), "acme")
    assert turns.seen == [("sized", "ok", 3, 4, 1)]
    await parts_of(service, request)
    assert tokens.requests[0].request_id != tokens.requests[1].request_id


async def test_leaving_a_generation_of_ids_closes_the_engine() -> None:
    tokens = FakeTokenModel(TokenDelta((7,)), tokens_end())
    answer: Any = token_service(tokens).Generate(pb.GenerateRequest(token_ids=[1]), None)
    async with aclosing(answer):
        await anext(answer)
    assert tokens.closed


async def test_an_engine_that_stops_early_is_an_error() -> None:
    tokens, turns = FakeTokenModel(TokenDelta((7,)), tokens_end(FinishReason.ERROR)), Turns()
    with pytest.raises(Unavailable, match="stopped early"):
        await parts_of(token_service(tokens, turns), pb.GenerateRequest(token_ids=[1]))
    assert turns.seen == [("sized", "failed", 0, 0, 0)]


async def test_models_that_take_no_ids_say_so() -> None:
    with pytest.raises(FailedPrecondition, match="does not take token ids"):
        await parts_of(token_service(FakeTokenModel()), pb.GenerateRequest(model="other", token_ids=[1]))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"stop": ["x"]}, "stop"),
        ({"tools": [pb.ToolDefinition(name="t")]}, "tools"),
        ({"tool_names": ["t"]}, "tool_names"),
        ({"tool_choice": pb.TOOL_CHOICE_NONE}, "tool_choice"),
        ({"token_ids": range(8)}, "token_ids"),
    ],
)
async def test_ids_go_without_what_is_for_messages_and_need_room(fields: dict[str, Any], field: str) -> None:
    tokens = FakeTokenModel()
    with pytest.raises(InvalidRequest) as refused:
        await parts_of(token_service(tokens), pb.GenerateRequest(**{"token_ids": [1], **fields}))
    assert [violation.field for violation in refused.value.violations] == [field]
    assert tokens.requests == []


async def test_the_embedded_model_refuses_ids_while_it_loads() -> None:
    """As retryable, with when to come back, like its turns."""
    model = EmbeddedModel("m", Path("absent.gguf"))
    with pytest.raises(Unavailable, match="still loading") as refused:
        await parts_of(
            servicer(saying(DONE), token_model=lambda _: model), pb.GenerateRequest(token_ids=[1], max_tokens=1)
        )
    assert (refused.value.reason, refused.value.retry_after) == ("MODEL_NOT_READY", 1.0)


# --- counting and listing -------------------------------------------------------------------


async def test_tokens_are_counted_by_the_model() -> None:
    model = Sized(saying(DONE).stream, name="sized")
    request = pb.CountTokensRequest(messages=[message(USER, "a"), message(USER, "b")], tool_names=["calculate"])
    service = servicer(model, find_tool=FakeTools(calculate=sleeping(0)).get)
    counted = await service.CountTokens(request, None)
    assert (counted.tokens, counted.exact, counted.context_length, counted.model) == (2, False, 8, "sized")
    with pytest.raises(InvalidRequest):
        await service.CountTokens(pb.CountTokensRequest(messages=[message(TOOL, "1", call_id="x")]), None)


async def test_models_are_asked_at_once_and_tell_what_they_can_do() -> None:
    """No model waits for another to say how it is."""
    both = asyncio.Barrier(2)

    class Meeting(FunctionModel):
        async def info(self) -> ModelInfo:
            await both.wait()
            return ModelInfo(
                name=self.name,
                kind="openai",
                ready=False,
                detail="no answer",
                context_length=100,
                max_output_tokens=10,
                tools=True,
                json_schema=True,
                reasoning=True,
                parallel_calls=False,
                remote=True,
                aliases=("fast",),
            )

    def named(name: str) -> FunctionModel:
        return Meeting(saying(DONE).stream, name=name)

    find: Callable[[str], Any] = {"b": FakeTokenModel()}.get
    async with asyncio.timeout(5):
        listed = (
            await servicer(named("a"), named("b"), token_model=find).ListModels(pb.ListModelsRequest(), None)
        ).models
    assert [(m.name, m.default, m.token_input) for m in listed] == [("a", True, False), ("b", False, True)]
    assert listed[0] == pb.Model(
        name="a",
        kind="openai",
        ready=False,
        detail="no answer",
        context_length=100,
        max_output_tokens=10,
        tools=True,
        json_schema=True,
        reasoning=True,
        remote=True,
        aliases=["fast"],
        default=True,
    )
