"""Turns as bodies of the Chat Completions API."""

from __future__ import annotations

from typing import Any

import pytest

from podium.errors import InvalidRequest
from podium.inference.http.openai_quirks import QUIRKS, Vendor
from podium.inference.http.openai_wire import chat_body
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatRequest,
    SystemMessage,
    ToolChoice,
    ToolMessage,
    UserMessage,
)
from podium.orchestration.tool import ToolSpec
from support.chat_model_suite import ADD

OTHER = ToolSpec(name="other", description="Other.", input_schema={})
OPEN = '{"type": "object", "properties": {"a": {"type": "string"}}}'
CLOSED = '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}'


def body(vendor: Vendor = Vendor.GENERIC, **fields: Any) -> dict[str, Any]:
    request = ChatRequest(**{"messages": [UserMessage("hi")], **fields})
    return chat_body(request, model="m", quirks=QUIRKS[vendor])


def test_the_smallest_turn() -> None:
    """Nothing that was not asked for, but usage, and the temperature, whose default differs between servers."""
    assert body() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
    }


def test_options() -> None:
    """Each under its name, which for the limit differs."""
    found = body(max_tokens=5, temperature=0.7, top_p=0.9, seed=3, stop=["END"])
    assert (found["max_tokens"], found["temperature"], found["top_p"], found["seed"]) == (5, 0.7, 0.9, 3)
    assert found["stop"] == ["END"]
    openai = body(Vendor.OPENAI, max_tokens=5, messages=[SystemMessage("s")])
    assert openai["max_completion_tokens"] == 5
    assert "max_tokens" not in openai
    assert openai["messages"] == [{"role": "developer", "content": "s"}]


def test_history_with_calls() -> None:
    """Ids are unique and match their results: the provider's where it has good ones, else ours."""
    calls = (
        CallRequest("c0_0", "add", b'{"a": 1}', "call_x"),
        CallRequest("c0_1", "add", b'{"a": 2}', "call_x"),
        CallRequest("c0_2", "add", b"not json"),
    )
    messages = [
        AssistantMessage("", calls),
        ToolMessage("c0_1", "add", "two", provider_id="call_x"),
        ToolMessage("c0_0", "add", "no", ok=False, provider_id="call_x"),
        ToolMessage("c0_2", "add", "three"),
        AssistantMessage("", ()),
        AssistantMessage("and", (CallRequest("c1_0", "add", b"{}", "call_x"),)),
    ]
    found = body(messages=messages)["messages"]
    assert [call["id"] for call in found[0]["tool_calls"]] == ["call_x", "c0_1", "c0_2"]
    assert found[0]["content"] is None
    assert found[0]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert found[0]["tool_calls"][2]["function"]["arguments"] == '{"not_a_json_object":"not json"}'
    assert found[1] == {"role": "tool", "tool_call_id": "c0_1", "content": "two"}
    assert found[2] == {"role": "tool", "tool_call_id": "call_x", "content": "ERROR: no"}
    assert found[4] == {"role": "assistant", "content": ""}
    assert found[5]["tool_calls"][0]["id"] == "c1_0"


def test_tools_and_choice() -> None:
    """`auto` is everybody's default and is left out."""
    found = body(tools=[ADD, OTHER])
    assert [tool["function"]["name"] for tool in found["tools"]] == ["add", "other"]
    assert found["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert "tool_choice" not in found
    assert body(tools=[ADD], tool_choice=ToolChoice.NONE)["tool_choice"] == "none"
    assert "tools" not in body(Vendor.OLLAMA, tools=[ADD], tool_choice=ToolChoice.NONE)
    assert body(tools=[ADD], tool_choice=ToolChoice.REQUIRED)["tool_choice"] == "required"
    named = body(Vendor.TRTLLM_SERVE, tools=[ADD], tool_choice=ToolChoice.REQUIRED)["tool_choice"]
    assert named == {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(("vendor", "tools"), [(Vendor.TRTLLM_SERVE, [ADD, OTHER]), (Vendor.OLLAMA, [ADD])])
def test_a_choice_that_cannot_be_enforced_is_refused(vendor: Vendor, tools: list[ToolSpec]) -> None:
    """Rather than quietly not enforced."""
    with pytest.raises(InvalidRequest) as caught:
        body(vendor, tools=tools, tool_choice=ToolChoice.REQUIRED)
    assert caught.value.violations[0].field == "tool_choice"


def test_json_schema() -> None:
    """In the form that the server takes; strict where it can be."""
    assert body(Vendor.TRTLLM_SERVE, json_schema=OPEN)["response_format"]["type"] == "json"
    assert body(Vendor.VLLM, json_schema=OPEN)["response_format"]["json_schema"]["strict"] is True
    assert body(Vendor.OPENAI, json_schema=OPEN)["response_format"]["json_schema"]["strict"] is False
    assert body(Vendor.OPENAI, json_schema=CLOSED)["response_format"]["json_schema"]["strict"] is True
    for text in ("[]", "{", '"x"'):
        with pytest.raises(InvalidRequest):
            body(json_schema=text)
