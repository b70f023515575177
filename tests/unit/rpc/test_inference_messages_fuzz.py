"""Whatever conversation is sent, it is refused by field or becomes one in which every result has its call."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from podium.errors import InvalidRequest
from podium.orchestration.chat import AssistantMessage, ToolCallSealed, ToolMessage
from podium.orchestration.orchestrator import Submitter
from podium.rpc.inference_messages import CallIds, chat_request
from podium.v1 import inference_pb2 as pb

IDS = st.sampled_from(["", "a", "b", "c0_0", "c1_0", "toolu_1"])
JSON = st.one_of(st.sampled_from([b"", b"{}", b'{"a": [1]}', b"[]", b"1", b"{", b'{"type": "object"}']), st.binary())
CALLS = st.builds(pb.ChatToolCall, call_id=IDS, tool=st.just("t"), arguments_json=JSON)
MESSAGES = st.builds(
    pb.ChatMessage,
    role=st.sampled_from([pb.CHAT_ROLE_SYSTEM, pb.CHAT_ROLE_USER, pb.CHAT_ROLE_ASSISTANT, pb.CHAT_ROLE_TOOL]),
    text=st.text(max_size=5),
    calls=st.lists(CALLS, max_size=3),
    call_id=IDS,
    failed=st.booleans(),
)
RESULTS = st.builds(pb.ChatMessage, role=st.just(pb.CHAT_ROLE_TOOL), call_id=IDS, failed=st.booleans())
ASKING = st.builds(pb.ChatMessage, role=st.just(pb.CHAT_ROLE_ASSISTANT), calls=st.lists(CALLS, max_size=2))
TOOLS = st.builds(pb.ToolDefinition, name=st.sampled_from(["t", "u"]), input_schema_json=JSON)


@given(
    messages=st.lists(st.one_of(RESULTS, ASKING, MESSAGES), max_size=6),
    tools=st.lists(TOOLS, max_size=2),
    choice=st.sampled_from(pb.ToolChoice.values()),
    written=st.lists(IDS, max_size=4),
)
def test_any_conversation(messages: Any, tools: Any, choice: Any, written: list[str]) -> None:
    request = pb.GenerateRequest(messages=messages, tools=tools, tool_choice=choice)
    try:
        asked = chat_request(request, lambda _: None, Submitter(owner="me"))
    except InvalidRequest as refused:
        (violation,) = refused.violations
        assert violation.field.startswith(("messages[", "tools", "tool_choice"))
        return
    made: list[str] = []
    answered: list[str] = []
    for message in asked.messages:
        if isinstance(message, AssistantMessage):
            made += [call.call_id for call in message.calls]
        if isinstance(message, ToolMessage):
            assert message.call_id in made
            answered.append(message.call_id)
    assert len(made) == len(set(made))
    assert len(answered) == len(set(answered))
    ids = CallIds(asked)
    new = [ids.message(ToolCallSealed("t", b"{}", provider_id)).call_id for provider_id in written]
    assert len({*made, *new}) == len(made) + len(new)
    assert all(new)
