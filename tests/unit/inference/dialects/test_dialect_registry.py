"""Choosing a dialect, and how conversations are rendered for each family of templates."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from podium.errors import FailedPrecondition, InvalidRequest
from podium.inference.chat_template import ChatTemplate
from podium.inference.dialects import DIALECTS, detect, dialect_named
from podium.inference.engine import GuideKind
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    Message,
    SystemMessage,
    ToolCallSealed,
    ToolMessage,
    UserMessage,
)
from support.recorded import TOOLS

CONVERSATION: list[Message] = [
    SystemMessage("Be brief."),
    UserMessage("add"),
    AssistantMessage(
        "Sure.",
        (
            CallRequest("c0_0", "add", b'{"a": 1, "b": 2}', provider_id="abcdefgh1"),
            CallRequest("c0_1", "add", b'{"a": 3, "b": 4}'),
        ),
    ),
    ToolMessage("c0_0", "add", "3", provider_id="abcdefgh1"),
    ToolMessage("c0_1", "add", "no such number", ok=False),
    UserMessage("thanks"),
]


@pytest.mark.parametrize(
    ("template", "model", "tokens", "name"),
    [
        ("{{ x }}<tool_call>{{ tools }}", "", (), "hermes"),
        ("<tool_call>\n<function=example>\n<parameter=a>", "", (), "qwen_xml"),
        ("<|python_tag|> {{ tools }}", "", (), "llama3_json"),
        ('ipython {"name": 1, "parameters": 2}', "", (), "llama3_json"),
        ("<|python_start|> <|python_tag|>", "", (), "pythonic"),
        ("[TOOL_CALLS]", "", (), "mistral"),
        ("<｜tool▁calls▁begin｜> ```json", "", (), "deepseek_v3"),  # noqa: RUF001  its own mark
        ("<｜tool▁calls▁begin｜>", "", (), "deepseek_v31"),  # noqa: RUF001  its own mark
        ("", "deepseek-ai/DeepSeek-V3.2", (), "deepseek_dsml"),
        ("<|channel|><|message|>", "", (), "harmony"),
        ("", "openai/gpt-oss-20b", (), "harmony"),
        ("", "", ("<|channel|>", "<|message|>"), "harmony"),
        ("<|tool_calls_section_begin|>", "", (), "kimi_k2"),
        ("<tool_call><arg_key>", "", (), "glm45"),
        ("{{ messages }}", "some-model", ("[TOOL_CALLS]",), "plain"),
    ],
)
def test_a_dialect_is_told_by_the_template(template: str, model: str, tokens: tuple[str, ...], name: str) -> None:
    assert detect(template, model, tokens).name == name


def test_an_unknown_dialect_names_those_that_exist() -> None:
    assert dialect_named("hermes") is DIALECTS["hermes"]
    with pytest.raises(InvalidRequest, match=r"'klingon'.*hermes"):
        dialect_named("klingon")


def entries(name: str) -> list[dict[str, Any]]:
    return DIALECTS[name].entries(CONVERSATION, TOOLS, template_has_tools=True)[0]


def test_calls_and_results_as_most_templates_want_them() -> None:
    system, user, assistant, first, second, _ = entries("hermes")
    assert (system["role"], user["content"]) == ("system", "add")
    assert assistant["content"] == "Sure."
    assert [call["function"]["arguments"] for call in assistant["tool_calls"]] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert [call["id"] for call in assistant["tool_calls"]] == ["abcdefgh1", "c0_1"]
    assert (first["role"], first["tool_call_id"], first["content"]) == ("tool", "abcdefgh1", "3")
    assert (second["tool_call_id"], second["content"]) == ("c0_1", "no such number")


def test_arguments_as_text_where_templates_join_strings() -> None:
    assert entries("deepseek_v3")[2]["tool_calls"][0]["function"]["arguments"] == '{"a": 1, "b": 2}'


def test_ids_in_the_form_that_templates_check() -> None:
    """Mistral takes nine letters and digits, Kimi counts; results bear the id of their call."""
    mistral = entries("mistral")
    ids = [call["id"] for call in mistral[2]["tool_calls"]]
    assert ids[0] == "abcdefgh1"
    assert len(ids[1]) == 9
    assert ids[1].isalnum()
    assert [mistral[3]["tool_call_id"], mistral[4]["tool_call_id"]] == ids
    assert [call["id"] for call in entries("kimi_k2")[2]["tool_calls"]] == ["abcdefgh1", "functions.add:1"]


def test_one_call_a_message_where_templates_refuse_more() -> None:
    roles = [(e["role"], len(e.get("tool_calls", ()))) for e in entries("harmony")]
    assert roles == [
        ("system", 0),
        ("user", 0),
        ("assistant", 1),
        ("tool", 0),
        ("assistant", 1),
        ("tool", 0),
        ("user", 0),
    ]
    assert [e["content"] for e in entries("llama3_json") if e["role"] == "assistant"] == ["Sure.", ""]


def test_arguments_that_are_no_object_can_still_be_told() -> None:
    messages = [AssistantMessage("", (CallRequest("c0_0", "add", b"{oops"), CallRequest("c0_1", "add", b"[1]")))]
    (entry,), _ = DIALECTS["hermes"].entries(messages, (), template_has_tools=True)
    assert [c["function"]["arguments"] for c in entry["tool_calls"]] == [{"arguments": "{oops"}, {"arguments": [1]}]


@pytest.mark.parametrize("name", [name for name, dialect in DIALECTS.items() if dialect.write_call is not None])
def test_what_the_fallback_writes_is_what_the_parser_reads(name: str) -> None:
    """A call in the described form, as told in a history, is a call when the model copies it."""
    dialect = DIALECTS[name]
    assert dialect.write_call is not None
    arguments = {"query": 'it\'s "so"', "limit": 12, "exact": True}
    parser = dialect.start(TOOLS, ())
    pieces = [*parser.feed(dialect.write_call("search", arguments)), *parser.finish(False)]
    calls = [piece for piece in pieces if isinstance(piece, ToolCallSealed)]
    assert [(call.tool, json.loads(call.arguments_json)) for call in calls] == [("search", arguments)]
    assert len(pieces) == 1


def test_tools_in_words_for_templates_without_tools() -> None:
    told, tools = DIALECTS["hermes"].entries(CONVERSATION, TOOLS, template_has_tools=False)
    assert tools is None
    assert [entry["role"] for entry in told] == ["system", "user", "assistant", "user"]
    assert told[0]["content"].startswith("Be brief.")
    assert '"name": "search"' in told[0]["content"]
    assert told[2]["content"].count("<tool_call>") == 2
    assert told[3]["content"] == "Result of add: 3\nFailure of add: no such number\nthanks"
    with pytest.raises(FailedPrecondition, match="knows no tools"):
        DIALECTS["plain"].entries(CONVERSATION, (), template_has_tools=False)


def test_tools_in_words_beside_calls_in_the_templates_own_form() -> None:
    """DeepSeek's templates render calls, but leave the tools to the system message."""
    told, tools = DIALECTS["deepseek_v31"].entries(
        CONVERSATION, TOOLS, template_has_tools=False, template_has_calls=True
    )
    assert tools is None
    assert [entry["role"] for entry in told] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert '"name": "search"' in told[0]["content"]
    assert told[2]["tool_calls"][0]["function"]["arguments"] == '{"a": 1, "b": 2}'


def test_templates_may_ask_for_json_in_every_form_they_know() -> None:
    source = "{{ messages | tojson(ensure_ascii=True, indent=1, sort_keys=True) }}"
    assert ChatTemplate(source).render([{"role": "é"}]) == '[\n {\n  "role": "\\u00e9"\n }\n]'


def test_a_template_uses_tools_or_not() -> None:
    assert ChatTemplate("{% if not tools is defined %}{% set tools = none %}{% endif %}{{ tools }}").has_tools
    assert not ChatTemplate("{{ messages }} You have tools.").has_tools


@pytest.mark.parametrize("name", [name for name, dialect in DIALECTS.items() if dialect.tools])
def test_a_call_can_be_forced_in_every_dialect(name: str) -> None:
    """A JSON guide describes calls that its parser reads; a structural tag holds each tool's own schema."""
    dialect = DIALECTS[name]
    assert dialect.force(TOOLS, ()) is None
    forced = dialect.force(TOOLS, {"guided_decoding"})
    assert forced is not None
    assert forced.guide.kind is GuideKind.JSON_SCHEMA
    written = {"name": "search", "parameters": {"query": "x"}}
    jsonschema.validate(written, json.loads(forced.guide.text))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "other", "parameters": {}}, json.loads(forced.guide.text))
    (call,) = forced.parser(TOOLS, ()).feed(json.dumps(written))
    assert isinstance(call, ToolCallSealed)
    tagged = dialect.force(TOOLS, {"structural_tag", "guided_decoding"})
    assert tagged is not None
    if dialect.tag is None:
        assert tagged.guide.kind is GuideKind.JSON_SCHEMA
        return
    form = json.loads(tagged.guide.text)["format"]
    assert form["at_least_one"]
    for tag, tool in zip(form["tags"], TOOLS, strict=True):
        assert tag["begin"].startswith(form["triggers"][0])
        assert tag["content"]["json_schema"] == tool.input_schema
        parser = tagged.parser(TOOLS, ("<|channel|>", "<|message|>", "<|call|>", "<|constrain|>"))
        begin = tag["begin"] + "{}" + tag["end"]
        pieces = [piece for text, special in tokens(begin) for piece in parser.feed(text, special)]
        assert pieces == [ToolCallSealed(tool.name, b"{}")]


def tokens(text: str) -> list[tuple[str, bool]]:
    parts: list[tuple[str, bool]] = []
    while text:
        control = next(
            (c for c in ("<|channel|>", "<|message|>", "<|call|>", "<|constrain|>") if text.startswith(c)), ""
        )
        parts.append((control, True) if control else (text[0], False))
        text = text[len(parts[-1][0]) :]
    return parts
