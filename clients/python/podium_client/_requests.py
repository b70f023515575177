"""Builds request messages from what callers pass. Pure; shared by the sync and the async client."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from podium.v1 import clarification_pb2, inference_pb2, orchestrator_pb2, run_pb2, tool_pb2
from podium_client._correlation import mint
from podium_client.generation import Message, ToolDefinition
from podium_client.runs import RunLimits, RunState

_ROLES: Mapping[str, inference_pb2.ChatRole.ValueType] = {
    "system": inference_pb2.CHAT_ROLE_SYSTEM,
    "user": inference_pb2.CHAT_ROLE_USER,
    "assistant": inference_pb2.CHAT_ROLE_ASSISTANT,
    "tool": inference_pb2.CHAT_ROLE_TOOL,
}
_CHOICES: Mapping[str | None, inference_pb2.ToolChoice.ValueType] = {
    None: inference_pb2.TOOL_CHOICE_UNSPECIFIED,
    "auto": inference_pb2.TOOL_CHOICE_AUTO,
    "none": inference_pb2.TOOL_CHOICE_NONE,
    "required": inference_pb2.TOOL_CHOICE_REQUIRED,
}
_SPECULATIONS: Mapping[str | None, run_pb2.Speculation.ValueType] = {
    None: run_pb2.SPECULATION_UNSPECIFIED,
    "off": run_pb2.SPECULATION_OFF,
    "safe": run_pb2.SPECULATION_SAFE,
}
_EXHAUSTIONS: Mapping[str | None, run_pb2.Exhaustion.ValueType] = {
    None: run_pb2.EXHAUSTION_UNSPECIFIED,
    "stop": run_pb2.EXHAUSTION_STOP,
    "finish": run_pb2.EXHAUSTION_FINISH,
    "ask": run_pb2.EXHAUSTION_ASK,
}


def run_spec(
    input: str,  # noqa: A002  the contract's name
    *,
    model: str | None,
    tools: Iterable[str],
    request_id: str | None,
    limits: RunLimits | None,
    labels: Mapping[str, str] | None,
    plan_only: bool,
    detach: bool,
    background: bool,
    bypass_cache: bool,
    may_ask: bool,
    speculation: str | None,
) -> run_pb2.RunSpec:
    """Return what to run. Without a request id one is minted, so that a retry cannot run it twice."""
    if isinstance(tools, str):
        raise TypeError("tools is a list of names, not one string")
    if speculation not in _SPECULATIONS:
        raise ValueError(f"speculation is off or safe, not {speculation!r}")
    spec = run_pb2.RunSpec(
        input=input,
        model=model or "",
        tools=list(tools),
        request_id=request_id or mint("req"),
        labels=labels or {},
        plan_only=plan_only,
        detach=detach,
        background=background,
        bypass_cache=bypass_cache,
        may_ask=may_ask,
        speculation=_SPECULATIONS[speculation],
    )
    if limits is not None:
        spec.limits.CopyFrom(_limits(limits))
    return spec


def _limits(limits: RunLimits) -> run_pb2.RunLimits:
    if limits.on_exhausted not in _EXHAUSTIONS:
        raise ValueError(f"on_exhausted is stop, finish or ask, not {limits.on_exhausted!r}")
    return run_pb2.RunLimits(
        max_calls=limits.max_calls or 0,
        max_turns=limits.max_turns or 0,
        max_tokens=limits.max_tokens or 0,
        max_cost_micros=limits.max_cost_micros or 0,
        max_duration=_span(limits.max_duration) if limits.max_duration else None,
        on_exhausted=_EXHAUSTIONS[limits.on_exhausted],
    )


def generate_request(
    prompt: str | Sequence[Message],
    *,
    model: str | None,
    tools: Iterable[ToolDefinition | str],
    tool_choice: str | None,
    max_tokens: int | None,
    temperature: float,
    top_p: float | None,
    seed: int | None,
    json_schema: Mapping[str, Any] | str | None,
    stop: Iterable[str],
) -> inference_pb2.GenerateRequest:
    """Return what to generate. A plain string is one message of the user."""
    if isinstance(stop, str):
        raise TypeError("stop is a list of texts, not one string")
    if tool_choice not in _CHOICES:
        raise ValueError(f"tool_choice is auto, none or required, not {tool_choice!r}")
    definitions, names = _tools(tools)
    return inference_pb2.GenerateRequest(
        model=model or "",
        messages=_messages(prompt),
        tools=definitions,
        tool_names=names,
        tool_choice=_CHOICES[tool_choice],
        max_tokens=max_tokens or 0,
        sampling=_sampling(temperature, top_p, seed),
        json_schema=_schema(json_schema),
        stop=list(stop),
    )


def tokens_request(
    token_ids: Sequence[int],
    *,
    model: str | None,
    max_tokens: int | None,
    temperature: float,
    top_p: float | None,
    seed: int | None,
    json_schema: Mapping[str, Any] | str | None,
    stop_token_ids: Iterable[int],
) -> inference_pb2.GenerateRequest:
    """Return what to generate from token ids."""
    return inference_pb2.GenerateRequest(
        model=model or "",
        token_ids=token_ids,
        max_tokens=max_tokens or 0,
        sampling=_sampling(temperature, top_p, seed),
        json_schema=_schema(json_schema),
        stop_token_ids=list(stop_token_ids),
    )


def count_request(
    prompt: str | Sequence[Message], *, model: str | None, tools: Iterable[ToolDefinition | str]
) -> inference_pb2.CountTokensRequest:
    """Return what to count."""
    definitions, names = _tools(tools)
    return inference_pb2.CountTokensRequest(
        model=model or "", messages=_messages(prompt), tools=definitions, tool_names=names
    )


def list_runs_request(
    page_size: int | None, page_token: str, states: Iterable[RunState]
) -> orchestrator_pb2.ListRunsRequest:
    """Return what to list."""
    return orchestrator_pb2.ListRunsRequest(
        page_size=page_size or 0,
        page_token=page_token,
        states=[RunState(state).number() for state in states],
    )


def simulate_request(
    run_id: str,
    deadline: float | timedelta | None,
    durations: Mapping[str, float | timedelta] | None,
    parallel_calls: int | None,
) -> orchestrator_pb2.SimulateRunRequest:
    """Return what to work out."""
    return orchestrator_pb2.SimulateRunRequest(
        run_id=run_id,
        deadline=None if deadline is None else _span(deadline),
        durations={tool: _span(given) for tool, given in (durations or {}).items()},
        parallel_calls=parallel_calls or 0,
    )


def list_clarifications_request(
    run_id: str, page_size: int | None, page_token: str
) -> clarification_pb2.ListClarificationsRequest:
    """Return what to list."""
    return clarification_pb2.ListClarificationsRequest(page_size=page_size or 0, page_token=page_token, run_id=run_id)


def answer_request(run_id: str, question_id: str, answer: Any) -> clarification_pb2.AnswerClarificationRequest:
    """Return what to answer. Bytes are sent as they are."""
    payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return clarification_pb2.AnswerClarificationRequest(run_id=run_id, question_id=question_id, answer_json=payload)


def invoke_request(name: str, arguments: Mapping[str, Any] | bytes | None) -> tool_pb2.InvokeToolRequest:
    """Return what to call. Bytes are sent as they are."""
    payload = arguments if isinstance(arguments, bytes) else json.dumps(arguments or {}).encode()
    return tool_pb2.InvokeToolRequest(name=name, arguments_json=payload)


def _span(given: float | timedelta) -> Duration:
    span = Duration()
    span.FromTimedelta(given if isinstance(given, timedelta) else timedelta(seconds=given))
    return span


def _schema(given: Mapping[str, Any] | str | None) -> str:
    if given is None:
        return ""
    return given if isinstance(given, str) else json.dumps(given)


def _messages(prompt: str | Sequence[Message]) -> list[inference_pb2.ChatMessage]:
    messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
    return [
        inference_pb2.ChatMessage(
            role=_ROLES[m.role],
            text=m.text,
            calls=[
                inference_pb2.ChatToolCall(call_id=c.call_id, tool=c.tool, arguments_json=c.arguments_json)
                for c in m.calls
            ],
            call_id=m.call_id,
            failed=m.failed,
        )
        for m in messages
    ]


def _tools(given: Iterable[ToolDefinition | str]) -> tuple[list[inference_pb2.ToolDefinition], list[str]]:
    """Split tools into those that the caller describes and the names of the server's own."""
    if isinstance(given, str):
        raise TypeError("tools is a list of tools, not one string")
    definitions: list[inference_pb2.ToolDefinition] = []
    names: list[str] = []
    for tool in given:
        if isinstance(tool, str):
            names.append(tool)
            continue
        schema = json.dumps(dict(tool.input_schema)).encode() if tool.input_schema else b""
        definitions.append(
            inference_pb2.ToolDefinition(
                name=tool.name,
                description=tool.description,
                input_schema_json=schema,
                examples=[
                    tool_pb2.ToolExample(request=each.request, arguments_json=json.dumps(each.arguments).encode())
                    for each in tool.examples
                ],
            )
        )
    return definitions, names


def _sampling(temperature: float, top_p: float | None, seed: int | None) -> inference_pb2.SamplingOptions:
    return inference_pb2.SamplingOptions(temperature=temperature, top_p=top_p or 0.0, seed=seed)
