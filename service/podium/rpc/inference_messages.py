"""Generations, token counts and models as `podium.v1` messages. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from jsonschema import Draft202012Validator, SchemaError

from podium.errors import FieldViolation, InvalidRequest, NotFound
from podium.inference.engine import EngineRequest, Guide, GuideKind, Sampling
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatRequest,
    Message,
    ModelAttempt,
    ModelInfo,
    SystemMessage,
    ToolCallSealed,
    ToolChoice,
    ToolMessage,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.tool import SideEffects, ToolExample, ToolSpec
from podium.rpc.run_messages import FINISH_REASONS, attempt_messages, usage_message
from podium.v1 import inference_pb2 as pb
from podium.v1 import tool_pb2

__all__ = ["CallIds", "FindTool", "chat_request", "count_request", "engine_request", "finished_part", "model_message"]

FindTool = Callable[[str], ToolSpec | None]

_CHOICES = {
    pb.TOOL_CHOICE_UNSPECIFIED: ToolChoice.AUTO,
    pb.TOOL_CHOICE_AUTO: ToolChoice.AUTO,
    pb.TOOL_CHOICE_NONE: ToolChoice.NONE,
    pb.TOOL_CHOICE_REQUIRED: ToolChoice.REQUIRED,
}
# Deeper schemas describe no arguments that a model could fill, and would exhaust whoever walks them.
_SCHEMA_DEPTH = 64
_EXAMPLE_LENGTH = 8192
_OWN_ID = re.compile(r"c\d+_\d+")
_SENDABLE_ID = re.compile(r"[!-~]{1,256}")


def chat_request(request: pb.GenerateRequest, find_tool: FindTool, submitter: Submitter) -> ChatRequest:
    """Return the model turn that a request with messages asks for.

    Raises:
        InvalidRequest: a message, tool or option breaks a rule that the proto's own rules cannot say.
        NotFound: there is no tool of the server by a name in `tool_names`.
    """
    if request.stop_token_ids:
        raise _invalid("stop_token_ids", "goes with token_ids; use stop with messages")
    messages = _messages(request.messages)
    tools = _tools(request.tools, request.tool_names, find_tool)
    choice = _CHOICES[request.tool_choice]
    if choice is ToolChoice.REQUIRED and not tools:
        raise _invalid("tool_choice", "is REQUIRED but no tool is offered; add tools or tool_names")
    sampling = request.sampling
    return ChatRequest(
        messages=messages,
        tools=tools,
        tool_choice=choice,
        turn=_turn(messages),
        max_tokens=request.max_tokens or None,
        temperature=sampling.temperature,
        top_p=sampling.top_p or None,
        seed=sampling.seed if sampling.HasField("seed") else None,
        stop=tuple(request.stop),
        json_schema=request.json_schema or None,
        correlation_id=submitter.correlation_id,
        tenant=submitter.tenant,
    )


def count_request(request: pb.CountTokensRequest, find_tool: FindTool, submitter: Submitter) -> ChatRequest:
    """Return the turn whose prompt is to be counted; raises as `chat_request`."""
    messages = _messages(request.messages)
    return ChatRequest(
        messages=messages,
        tools=_tools(request.tools, request.tool_names, find_tool),
        turn=_turn(messages),
        correlation_id=submitter.correlation_id,
        tenant=submitter.tenant,
    )


def engine_request(request: pb.GenerateRequest, context_length: int, submitter: Submitter) -> EngineRequest:
    """Return the generation that a request with token ids asks for.

    Raises:
        InvalidRequest: it holds what only goes with messages, or leaves no room for an answer.
    """
    for field in ("stop", "tools", "tool_names", "tool_choice"):
        if getattr(request, field):
            raise _invalid(field, "goes with messages, not with token_ids")
    sampling = request.sampling
    return EngineRequest(
        request_id=f"generate-{secrets.token_hex(8)}",
        token_ids=tuple(request.token_ids),
        max_tokens=request.max_tokens or _room(len(request.token_ids), context_length),
        sampling=Sampling(
            temperature=sampling.temperature,
            top_p=sampling.top_p or None,
            seed=sampling.seed if sampling.HasField("seed") else None,
        ),
        guide=Guide(GuideKind.JSON_SCHEMA, request.json_schema) if request.json_schema else None,
        stop_token_ids=tuple(request.stop_token_ids),
        cache_salt=submitter.tenant,
    )


def finished_part(
    reason: TurnFinishReason,
    usage: Usage,
    timings: pb.GenerateTimings,
    *,
    model: str,
    attempts: Iterable[ModelAttempt] = (),
) -> pb.GenerateResponse:
    """Return the last part of an answer."""
    return pb.GenerateResponse(
        finished=pb.GenerateFinished(
            finish_reason=FINISH_REASONS[reason],
            usage=usage_message(usage),
            timings=timings,
            model=model,
            attempts=attempt_messages(attempts),
        )
    )


def model_message(info: ModelInfo, *, default: bool, token_input: bool) -> pb.Model:
    """Return a model as a message."""
    return pb.Model(
        name=info.name,
        kind=info.kind,
        ready=info.ready,
        detail=info.detail,
        context_length=info.context_length,
        tools=info.tools,
        json_schema=info.json_schema,
        default=default,
        aliases=info.aliases,
        reasoning=info.reasoning,
        parallel_calls=info.parallel_calls,
        remote=info.remote,
        max_output_tokens=info.max_output_tokens,
        token_input=token_input,
    )


class CallIds:
    """Names the calls of one answer: as the model did where that can be sent back, else `c<turn>_<index>`."""

    def __init__(self, request: ChatRequest) -> None:
        self._turn = request.turn
        self._count = 0
        # An id names one call in the whole conversation, or its result could not be told from another's.
        self._taken = {call.call_id for m in request.messages if isinstance(m, AssistantMessage) for call in m.calls}

    def message(self, call: ToolCallSealed) -> pb.ChatToolCall:
        """Return the next call of the answer as a message."""
        call_id = call.provider_id
        if call_id in self._taken or not _SENDABLE_ID.fullmatch(call_id):
            call_id = self._mint()
        self._taken.add(call_id)
        return pb.ChatToolCall(call_id=call_id, tool=call.tool, arguments_json=call.arguments_json)

    def _mint(self) -> str:
        while True:
            call_id = f"c{self._turn}_{self._count}"
            self._count += 1
            if call_id not in self._taken:
                return call_id


def _turn(messages: Iterable[Message]) -> int:
    return sum(isinstance(message, AssistantMessage) for message in messages)


def _room(prompt_tokens: int, context_length: int) -> int:
    room = context_length - prompt_tokens
    if not context_length:
        raise _invalid("max_tokens", "is needed: this model does not say how much it can write")
    if room < 1:
        raise _invalid(
            "token_ids", f"has {prompt_tokens} ids, which leaves no room for an answer in the model's {context_length}"
        )
    return room


def _messages(given: Sequence[pb.ChatMessage]) -> list[Message]:
    calls: dict[str, CallRequest] = {}
    answered: set[str] = set()
    found: list[Message] = []
    for index, message in enumerate(given):
        field = f"messages[{index}]"
        is_tool = message.role == pb.CHAT_ROLE_TOOL
        if message.calls and message.role != pb.CHAT_ROLE_ASSISTANT:
            raise _invalid(f"{field}.calls", "only a message of the assistant holds calls")
        if (message.call_id or message.failed) and not is_tool:
            raise _invalid(f"{field}.call_id", "only a message of a tool is the result of a call")
        if is_tool:
            found.append(_result(message, field, calls, answered))
        elif message.role == pb.CHAT_ROLE_ASSISTANT:
            made = tuple(_call(call, f"{field}.calls[{i}]", calls) for i, call in enumerate(message.calls))
            found.append(AssistantMessage(message.text, made))
        else:
            kind = SystemMessage if message.role == pb.CHAT_ROLE_SYSTEM else UserMessage
            found.append(kind(message.text))
    return found


def _call(message: pb.ChatToolCall, field: str, calls: dict[str, CallRequest]) -> CallRequest:
    if message.call_id in calls:
        raise _invalid(f"{field}.call_id", f"{message.call_id!r} names an earlier call; give each call its own id")
    arguments = message.arguments_json or b"{}"
    _object(arguments, f"{field}.arguments_json")
    # An id of our own making means nothing to the model, and need not suit it.
    provider_id = "" if _OWN_ID.fullmatch(message.call_id) else message.call_id
    calls[message.call_id] = call = CallRequest(message.call_id, message.tool, arguments, provider_id)
    return call


def _result(message: pb.ChatMessage, field: str, calls: Mapping[str, CallRequest], answered: set[str]) -> ToolMessage:
    call = calls.get(message.call_id)
    if call is None:
        raise _invalid(f"{field}.call_id", "names no call in an earlier message of the assistant")
    if message.call_id in answered:
        raise _invalid(f"{field}.call_id", f"the call {message.call_id!r} has a result already")
    answered.add(message.call_id)
    return ToolMessage(call.call_id, call.tool, message.text, ok=not message.failed, provider_id=call.provider_id)


def _tools(given: Iterable[pb.ToolDefinition], names: Iterable[str], find_tool: FindTool) -> tuple[ToolSpec, ...]:
    specs = [_spec(tool, f"tools[{index}]") for index, tool in enumerate(given)]
    for name in names:
        spec = find_tool(name)
        if spec is None:
            raise NotFound(
                f"there is no tool {name!r}; ListTools names those that exist",
                resource_type="podium.v1.Tool",
                resource_name=name,
            )
        specs.append(spec)
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise _invalid("tools", f"two tools are named {spec.name!r}; leave one out or rename it")
        seen.add(spec.name)
    return tuple(specs)


def _spec(tool: pb.ToolDefinition, field: str) -> ToolSpec:
    examples = tuple(_example(each, f"{field}.examples[{index}]") for index, each in enumerate(tool.examples))
    field = f"{field}.input_schema_json"
    schema = _object(tool.input_schema_json or b'{"type": "object"}', field)
    if schema.get("type", "object") != "object":
        raise _invalid(field, 'must describe an object: "type": "object"')
    if _deeper(schema, _SCHEMA_DEPTH):
        raise _invalid(field, f"is nested more than {_SCHEMA_DEPTH} deep")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = f" at {error.json_path}" if error.path else ""
        raise _invalid(field, f"is not a JSON Schema{where}: {error.message[:200]}") from None
    return ToolSpec(
        name=tool.name,
        description=tool.description,
        input_schema={"type": "object", **schema},
        side_effects=SideEffects.EFFECTFUL,
        examples=examples,
    )


def _example(example: tool_pb2.ToolExample, field: str) -> ToolExample:
    if max(len(example.request), len(example.arguments_json)) > _EXAMPLE_LENGTH:
        raise _invalid(field, f"is longer than {_EXAMPLE_LENGTH:,}; choose a shorter example")
    return ToolExample(example.request, _object(example.arguments_json or b"{}", f"{field}.arguments_json"))


def _object(text: bytes, field: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _invalid(field, "is not JSON") from None
    if not isinstance(value, dict):
        raise _invalid(field, "is not one JSON object")
    return value


def _deeper(value: Any, limit: int) -> bool:
    """Return whether JSON is nested deeper than `limit`, without recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            item
            for held in level
            for item in (held.values() if isinstance(held, dict) else held)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def _invalid(field: str, description: str) -> InvalidRequest:
    return InvalidRequest(
        f"the request breaks a rule: {field}: {description}", violations=[FieldViolation(field, description)]
    )
