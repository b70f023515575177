"""Answers by JSON Schema: enforced whatever the model does, and bounded whatever the schema asks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import FailedPrecondition, InvalidRequest, Unavailable
from podium.inference.structured import SchemaLimits, StructuredModel, extract_json
from podium.inference.structured_schema import parse_schema
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    ModelInfo,
    ReasoningDelta,
    SystemMessage,
    TextDelta,
    TokenCount,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)

CITY = json.dumps(
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
)
GOOD = '{"city": "Rome"}'
LIMITS = SchemaLimits()


class SayingModel:
    """Says one thing a turn: events, or texts."""

    def __init__(
        self, *turns: Any, json_schema: bool = False, reason: TurnFinishReason = TurnFinishReason.STOP
    ) -> None:
        self.name = "m"
        self.turns = list(turns)
        self.json_schema = json_schema
        self.reason = reason
        self.requests: list[ChatRequest] = []

    async def info(self) -> ModelInfo:
        return ModelInfo(name="m", kind="openai", ready=True, json_schema=self.json_schema)

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        return TokenCount(sum(len(getattr(m, "text", "").split()) for m in request.messages), exact=True)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        self.requests.append(request)
        turn = self.turns[len(self.requests) - 1]
        for event in turn if isinstance(turn, list) else [turn]:
            if isinstance(event, Exception):
                raise event
            yield TextDelta(event) if isinstance(event, str) else event
        yield TurnFinished(self.reason, Usage(10, 3))


def ask(schema: str | None = CITY, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=[SystemMessage("Be short."), UserMessage("where?")], json_schema=schema, **fields)


async def answer(model: SayingModel, request: ChatRequest | None = None, **options: Any) -> list[ChatEvent]:
    return [event async for event in StructuredModel(model, **options).stream(request or ask())]


def text_of(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_request_without_a_schema_passes_untouched() -> None:
    model = SayingModel(["a", "b"])
    request = ask(None)
    assert text_of(await answer(model, request)) == "ab"
    assert model.requests == [request]


async def test_guiding_model_gets_the_schema_and_streams() -> None:
    model = SayingModel(['{"city":', ' "Rome"}'], json_schema=True)
    events = await answer(model)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ['{"city":', ' "Rome"}']
    assert model.requests[0].json_schema == CITY


async def test_guided_answer_that_ends_invalid_is_an_error_and_not_repaired() -> None:
    model = SayingModel(['{"city": 3}'], json_schema=True)
    with pytest.raises(FailedPrecondition, match=r"\$\.city") as raised:
        await answer(model)
    assert raised.value.reason == "SCHEMA_NOT_MET"
    assert len(model.requests) == 1


async def test_schema_that_the_guide_refuses_is_told_in_words() -> None:
    model = SayingModel(InvalidRequest("this guide knows no additionalProperties"), GOOD, json_schema=True)
    assert text_of(await answer(model)) == GOOD
    assert model.requests[1].json_schema is None


@pytest.mark.parametrize(
    "said",
    [GOOD, f"```json\n{GOOD}\n```", f"Sure:\n```\n{GOOD}\n```\nAnything else?", f"Here: {GOOD} - done", f"[not {GOOD}"],
)
async def test_unguided_answer_is_extracted_and_shown_when_good(said: str) -> None:
    model = SayingModel([said[:3], said[3:]])
    events = await answer(model)
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta(GOOD)]
    first = model.requests[0].messages[0]
    assert isinstance(first, SystemMessage)
    assert first.text.startswith("Be short.")
    assert CITY in first.text


async def test_wrong_answer_is_asked_again_with_what_was_wrong() -> None:
    model = SayingModel("no idea", '{"town": "Rome"}', [ReasoningDelta("hm"), GOOD])
    events = await answer(model, ask(max_tokens=100))
    assert text_of(events) == GOOD
    assert ReasoningDelta("hm") in events
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].usage == Usage(30, 9)
    last = model.requests[2]
    assert [type(m).__name__ for m in last.messages] == [
        "SystemMessage",
        "UserMessage",
        "AssistantMessage",
        "UserMessage",
    ]
    assert "'city' is a required property" in getattr(last.messages[-1], "text", "")
    assert last.max_tokens == 94


async def test_repairs_are_bounded() -> None:
    model = SayingModel("no", "no", "no", GOOD)
    with pytest.raises(FailedPrecondition, match="no JSON value"):
        await answer(model, repairs=2)
    assert len(model.requests) == 3
    model = SayingModel("no", GOOD)
    with pytest.raises(FailedPrecondition):
        await answer(model, ask(max_tokens=3))
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    ("reason", "words"), [(TurnFinishReason.LENGTH, "allow more tokens"), (TurnFinishReason.CONTENT_FILTER, "withheld")]
)
async def test_cut_answer_is_not_asked_for_again(reason: TurnFinishReason, words: str) -> None:
    for guided in (True, False):
        model = SayingModel('{"city": "Ro', reason=reason, json_schema=guided)
        with pytest.raises(FailedPrecondition, match=words):
            await answer(model)
        assert len(model.requests) == 1


@pytest.mark.parametrize("guided", [True, False])
async def test_turn_that_calls_tools_is_no_answer(guided: bool) -> None:
    sealed = ToolCallSealed("add", b"{}")
    events = await answer(SayingModel(["I look.", sealed], json_schema=guided))
    assert sealed in events
    assert text_of(events) == "I look."


async def test_failures_of_the_model_come_through() -> None:
    with pytest.raises(Unavailable):
        await answer(SayingModel(Unavailable("away")))
    with pytest.raises(FailedPrecondition, match="more than 10 characters"):
        await answer(SayingModel(["12345678", "90123"]), limits=SchemaLimits(max_answer_chars=10))


async def test_info_and_count_speak_of_the_schema() -> None:
    model = StructuredModel(SayingModel())
    assert (await model.info()).json_schema
    assert (await model.count_tokens(ask())).tokens > (await model.count_tokens(ask(None))).tokens
    guided = StructuredModel(SayingModel(json_schema=True))
    assert (await guided.count_tokens(ask())).tokens == (await guided.count_tokens(ask(None))).tokens


def deep(levels: int) -> str:
    return '{"items": ' * levels + "{}" + "}" * levels


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("{", "not valid JSON"),
        ("[1]", "something else than a schema"),
        ('{"type": "strin"}', "not a JSON Schema"),
        ('{"$schema": "http://json-schema.org/draft-07/schema#"}', "2020-12"),
        ('{"$ref": "https://example.com/x"}', "no schema in it"),
        ('{"$ref": "#/$defs/none"}', "no schema in it"),
        ('{"enum": [{"a": 1}], "$ref": "#/enum/0"}', "no schema in it"),
        ('{"$id": "https://example.com/x"}', "leave it out"),
        ('{"patternProperties": {"^a": true}}', "name the properties"),
        ('{"pattern": "(?=a)b"}', "look-around"),
        ('{"pattern": "("}', "wrong or not supported"),
        (deep(40), "flatter"),
        (json.dumps({"description": "x" * 70_000}), "smaller"),
    ],
)
async def test_schema_is_checked_before_the_model_is_asked(schema: str, words: str) -> None:
    model = SayingModel(GOOD)
    with pytest.raises(InvalidRequest, match=words):
        await answer(model, ask(schema))
    assert not model.requests


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"pattern": "^[a-z]+$"}, "abc", "ABC"),
        ({"uniqueItems": True}, [1, "1", True, {"a": 1}], [{"a": 1, "b": 2.0}, {"b": 2, "a": 1.0}]),
        ({"$defs": {"n/m": {"type": "integer"}}, "items": {"$ref": "#/$defs/n~1m"}}, [1, 2], [1, "2"]),
        ({"properties": {"$ref": {"type": "null"}, "pattern": {"type": "null"}}}, {"$ref": None}, {"pattern": 1}),
        ({"format": "email", "type": "string"}, "no address", 1),
        ({"const": {"$ref": "x"}}, {"$ref": "x"}, {}),
        (False, None, 1),
    ],
)
def test_schemas_mean_what_they_say(schema: Any, good: Any, bad: Any) -> None:
    parsed = parse_schema(json.dumps(schema), LIMITS)
    assert schema is False or parsed.problem(good) == ""
    assert parsed.problem(bad)


def test_tree_by_reference_to_itself() -> None:
    tree = parse_schema('{"type": "object", "additionalProperties": {"$ref": "#"}}', LIMITS)
    assert tree.problem({"a": {"b": {}}}) == ""
    assert "$.a.b" in tree.problem({"a": {"b": 1}})


def test_schema_made_to_explode_is_stopped() -> None:
    """Sixty references that double at each step would take longer than anybody lives."""
    defs: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    defs["d60"] = {"type": "string"}
    schema = parse_schema(json.dumps({"$defs": defs, "$ref": "#/$defs/d0"}), SchemaLimits(max_steps=5_000))
    with pytest.raises(InvalidRequest, match=r"too long|without end"):
        schema.problem("x")
    with pytest.raises(InvalidRequest, match="without end"):
        parse_schema('{"$ref": "#"}', LIMITS).problem(1)


def test_pattern_and_uniqueness_take_linear_time() -> None:
    evil = parse_schema('{"items": {"pattern": "^(a+)+$"}, "uniqueItems": true}', LIMITS)
    began = time.process_time()
    assert evil.problem(["a" * 50_000 + "!"])
    assert evil.problem([{"n": n % 19_999} for n in range(20_000)])
    assert time.process_time() - began < 10


async def test_large_answers_are_checked_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    real = extract_json

    def noting(text: str) -> str:
        seen.append(threading.current_thread() is threading.main_thread())
        return real(text)

    monkeypatch.setattr("podium.inference.structured.extract_json", noting)
    await answer(SayingModel(json.dumps({"city": "x" * 10_000})))
    await answer(SayingModel(GOOD))
    assert seen == [False, True]


def test_extraction_of_nothing_is_nothing() -> None:
    for text in ("", "none", "{", "[" * 5000, "```" * 1000, '{"a": NaN}', "\ud800"):
        assert extract_json(text) == ""


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc`{[", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    value=st.lists(values) | st.dictionaries(st.text("ab", max_size=2), values),
    before=st.text("abc \n.,", max_size=20),
    after=st.text(max_size=20),
    fenced=st.booleans(),
)
def test_any_value_is_found_in_any_prose(value: Any, before: str, after: str, fenced: bool) -> None:
    written = json.dumps(value, ensure_ascii=False)
    said = f"{before}\n```json\n{written}\n```\n" if fenced else f"{before}{written}{after}"
    assert json.loads(extract_json(said)) == value
