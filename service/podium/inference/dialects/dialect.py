# ruff: noqa: RUF001  DeepSeek's markers have a full-width bar
"""The dialects by name, and which one a model speaks."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from podium.errors import FailedPrecondition, InvalidRequest
from podium.inference.dialects.guides import (
    JSON_GUIDE_FEATURES,
    STRUCTURAL_TAG_FEATURE,
    ToolTag,
    call_schema_guide,
    structural_tag_guide,
)
from podium.inference.dialects.harmony import HarmonyParser
from podium.inference.dialects.json_calls import (
    BareJsonParser,
    DeepSeekParser,
    HermesParser,
    KimiParser,
    LlamaJsonParser,
    MistralParser,
)
from podium.inference.dialects.parser import StreamingParser
from podium.inference.dialects.pythonic import PythonicParser
from podium.inference.dialects.rendering import (
    CallWriter,
    Rendering,
    indexed_id,
    nine_characters_id,
    plain_messages,
    tool_entries,
    with_tools_in_words,
)
from podium.inference.dialects.tag_calls import DsmlParser, GlmParser, QwenXmlParser
from podium.inference.engine import Guide
from podium.orchestration.chat import AssistantMessage, Message, ToolMessage
from podium.orchestration.tool import ToolSpec

__all__ = ["DIALECTS", "Dialect", "Forced", "PlainParser", "detect", "dialect_named"]


class PlainParser(StreamingParser):
    """Text and thoughts, no calls."""

    starts: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class Forced:
    """A guide that forces a call, and the parser for what comes of it."""

    guide: Guide
    parser: type[StreamingParser]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one family of models takes conversations and writes calls.

    Attributes:
        parser: reads the model's output.
        stops: control tokens that end a turn, besides the tokenizer's own.
        keep_stop: the engine must hand out the token that ended the turn, because it says what the turn was.
        rendering: what the family's templates want of messages.
        tag: what stands around a call's arguments, for engines that know structural tags.
        write_call: writes a call, for templates that know no tools; None where that cannot be said in text.
    """

    name: str
    parser: type[StreamingParser]
    stops: tuple[str, ...]
    keep_stop: bool = False
    rendering: Rendering = field(default_factory=Rendering)
    tag: ToolTag | None = None
    write_call: CallWriter | None = None

    @property
    def tools(self) -> bool:
        """Whether the dialect has calls at all."""
        return self.parser is not PlainParser

    def entries(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        template_has_tools: bool,
        template_has_calls: bool = False,
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
        """Return messages and tools for the chat template.

        Args:
            messages: the conversation.
            tools: those that may be called.
            template_has_tools: the template describes tools to the model.
            template_has_calls: the template renders calls, also where it describes no tools.

        Raises:
            FailedPrecondition: tools are given, and neither the template nor the dialect can tell of them.
        """
        has_calls = any(isinstance(m, ToolMessage) or (isinstance(m, AssistantMessage) and m.calls) for m in messages)
        if template_has_tools or not (tools or has_calls):
            return self.rendering.messages(messages), tool_entries(tools) if tools else None
        if self.write_call is None:
            raise FailedPrecondition(
                "This model's chat template knows no tools: send no tools, or set the model's dialect to one such as "
                "'hermes' that can be described in words."
            )
        if template_has_calls:
            return self.rendering.messages(with_tools_in_words(messages, tools, self.write_call)), None
        return plain_messages(messages, tools, self.write_call), None

    def start(self, tools: Sequence[ToolSpec], control: Collection[str], *, reasoning: bool = False) -> StreamingParser:
        """Start reading one turn's output; see `StreamingParser`."""
        return self.parser(tools, control, reasoning=reasoning)

    def force(self, tools: Sequence[ToolSpec], features: Collection[str]) -> Forced | None:
        """Return a guide that forces a call of one of `tools`, or None where the engine has no fitting guides."""
        if not tools or not self.tools:
            return None
        if self.tag is not None and STRUCTURAL_TAG_FEATURE in features:
            return Forced(structural_tag_guide(self.tag, tools), self.parser)
        if not JSON_GUIDE_FEATURES.isdisjoint(features):
            return Forced(call_schema_guide(tools), BareJsonParser)
        return None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _hermes(name: str, arguments: Mapping[str, Any]) -> str:
    return f"<tool_call>\n{_json({'name': name, 'arguments': arguments})}\n</tool_call>"


def _llama(name: str, arguments: Mapping[str, Any]) -> str:
    return _json({"name": name, "parameters": arguments})


def _pythonic(name: str, arguments: Mapping[str, Any]) -> str:
    return f"[{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})]"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _qwen_xml(name: str, arguments: Mapping[str, Any]) -> str:
    parameters = "".join(f"<parameter={key}>\n{_text(value)}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"


def _glm(name: str, arguments: Mapping[str, Any]) -> str:
    pairs = "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{_text(value)}</arg_value>\n" for key, value in arguments.items()
    )
    return f"<tool_call>{name}\n{pairs}</tool_call>"


def _deepseek_v3(name: str, arguments: Mapping[str, Any]) -> str:
    call = f"function<｜tool▁sep｜>{name}\n```json\n{_json(arguments)}\n```"
    return f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{call}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"


def _deepseek_v31(name: str, arguments: Mapping[str, Any]) -> str:
    call = f"{name}<｜tool▁sep｜>{_json(arguments)}"
    return f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{call}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"


_CHAT_ML = ("<|im_end|>", "<|endoftext|>")
_DEEPSEEK = ("<｜end▁of▁sentence｜>",)

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            name="hermes",
            parser=HermesParser,
            stops=_CHAT_ML,
            tag=ToolTag(
                trigger="<tool_call>",
                begin='<tool_call>\n{"name": "{name}", "arguments": ',
                end="}\n</tool_call>",
            ),
            write_call=_hermes,
        ),
        Dialect(name="qwen_xml", parser=QwenXmlParser, stops=_CHAT_ML, write_call=_qwen_xml),
        Dialect(
            name="llama3_json",
            parser=LlamaJsonParser,
            stops=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
            rendering=Rendering(one_call=True),
            tag=ToolTag(trigger='{"name": ', begin='{"name": "{name}", "parameters": ', end="}"),
            write_call=_llama,
        ),
        Dialect(
            name="pythonic",
            parser=PythonicParser,
            stops=("<|eot|>", "<|eom|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
            write_call=_pythonic,
        ),
        Dialect(name="mistral", parser=MistralParser, stops=("</s>",), rendering=Rendering(call_id=nine_characters_id)),
        Dialect(
            name="deepseek_v3",
            parser=DeepSeekParser,
            stops=_DEEPSEEK,
            rendering=Rendering(text_arguments=True, no_text=None),
            write_call=_deepseek_v3,
        ),
        Dialect(
            name="deepseek_v31",
            parser=DeepSeekParser,
            stops=_DEEPSEEK,
            rendering=Rendering(text_arguments=True),
            tag=ToolTag(
                trigger="<｜tool▁calls▁begin｜>",
                begin="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{name}<｜tool▁sep｜>",
                end="<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            ),
            write_call=_deepseek_v31,
        ),
        Dialect(name="deepseek_dsml", parser=DsmlParser, stops=_DEEPSEEK),
        Dialect(
            name="harmony",
            parser=HarmonyParser,
            stops=("<|return|>", "<|call|>"),
            keep_stop=True,
            rendering=Rendering(one_call=True),
            tag=ToolTag(
                trigger="<|channel|>commentary to=",
                begin="<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>",
                end="<|call|>",
            ),
        ),
        Dialect(
            name="kimi_k2",
            parser=KimiParser,
            stops=("<|im_end|>", "[EOS]"),
            rendering=Rendering(call_id=indexed_id),
        ),
        Dialect(
            name="glm45",
            parser=GlmParser,
            stops=("<|endoftext|>", "<|user|>", "<|observation|>"),
            write_call=_glm,
        ),
        Dialect(
            name="plain",
            parser=PlainParser,
            stops=(*_CHAT_ML, "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>"),
        ),
    )
}

# The first whose marks are all in a template, the most telling first.
_TELLING: Sequence[tuple[str, tuple[str, ...]]] = (
    ("harmony", ("<|channel|>", "<|message|>")),
    ("deepseek_dsml", ("｜DSML｜",)),
    ("kimi_k2", ("<|tool_calls_section_begin|>",)),
    ("deepseek_v3", ("<｜tool▁calls▁begin｜>", "```json")),
    ("deepseek_v31", ("<｜tool▁calls▁begin｜>",)),
    ("mistral", ("[TOOL_CALLS]",)),
    ("glm45", ("<arg_key>",)),
    ("qwen_xml", ("<function=", "<parameter=")),
    ("pythonic", ("<|python_start|>",)),
    ("pythonic", ("[func_name1(",)),
    ("llama3_json", ("<|python_tag|>",)),
    ("llama3_json", ("ipython", '"parameters"')),
    ("hermes", ("<tool_call>",)),
)
# For models whose conversation format is not a template at all.
_TELLING_NAMES: Sequence[tuple[str, str]] = (
    ("gpt-oss", "harmony"),
    ("deepseek-v3.2", "deepseek_dsml"),
    ("deepseek-v4", "deepseek_dsml"),
    ("kimi-k2", "kimi_k2"),
)


def detect(template_text: str, model_id: str = "", special_tokens: Collection[str] = ()) -> Dialect:
    """Choose a model's dialect: by its chat template, else its name, else its control tokens.

    `plain` is for a model in which nothing tells of tools.
    """
    for name, marks in _TELLING:
        if all(mark in template_text for mark in marks):
            return DIALECTS[name]
    for part, name in _TELLING_NAMES:
        if part in model_id.lower():
            return DIALECTS[name]
    # A template without tools means a model that was not taught them, whatever its tokens.
    if not template_text:
        for name, marks in _TELLING:
            if all(mark in special_tokens for mark in marks):
                return DIALECTS[name]
    return DIALECTS["plain"]


def dialect_named(name: str) -> Dialect:
    """Return a dialect by name.

    Raises:
        InvalidRequest: there is none of this name; the message lists those that exist.
    """
    try:
        return DIALECTS[name]
    except KeyError:
        raise InvalidRequest(f"There is no dialect {name!r}; there are {', '.join(sorted(DIALECTS))}.") from None
