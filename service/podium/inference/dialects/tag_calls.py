# ruff: noqa: RUF001  DeepSeek's markers have a full-width bar
"""Parsers of the dialects that write arguments between tags: Qwen3-Coder, GLM, DeepSeek V3.2.

Values are literal text, so their types come from the tool's schema or from the tag. A call is open
until its closing tag: before that another argument may follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from podium.inference.dialects.machine import END, Machine
from podium.inference.dialects.parser import StreamingParser
from podium.inference.dialects.values import encode_json, typed_value

__all__ = ["DsmlParser", "GlmParser", "QwenXmlParser"]


class _TagParser(StreamingParser):
    def _between(self, *ends: str) -> Machine[tuple[str, str]]:
        """Read text up to one of `ends`; the text, and which end (`END` if none came)."""
        parts: list[str] = []
        end = yield from self._until(ends, parts.append)
        return "".join(parts), end

    def _schema(self, name: str) -> Mapping[str, Any]:
        return self._schemas.get(name, {})


class QwenXmlParser(_TagParser):
    """`<tool_call><function=NAME><parameter=KEY>value</parameter></function></tool_call>`."""

    starts: ClassVar = ("<tool_call>", "<function=")
    marks = frozenset({"<tool_call>", "</tool_call>"})

    def _section(self, marker: str) -> Machine[bool]:
        self._record(marker)
        come = marker == "<function=" or (yield from self._optional("<function="))
        if not come:
            return self._give_up()
        while come:
            if not (yield from self._function()):
                return self._give_up()
            come = yield from self._optional("<function=")
        yield from self._optional("</tool_call>")
        self._record_end()
        return True

    def _function(self) -> Machine[bool]:
        name, end = yield from self._between(">")
        arguments: dict[str, Any] = {}
        while end != END:
            _, end = yield from self._between("<parameter=", "</function>")
            if end == "</function>":
                self._seal(name.strip(), encode_json(arguments))
                return True
            key, end = yield from self._between(">")
            value, end = yield from self._between("</parameter>")
            value = value.removeprefix("\n").removesuffix("\n")
            arguments[key.strip()] = typed_value(value, self._schema(name.strip()), key.strip())
        return False


class GlmParser(_TagParser):
    """`<tool_call>NAME<arg_key>k</arg_key><arg_value>v</arg_value></tool_call>`, with or without lines."""

    starts: ClassVar = ("<tool_call>",)
    marks = frozenset({"<tool_call>", "</tool_call>"})

    def _section(self, marker: str) -> Machine[bool]:
        self._record(marker)
        name, end = yield from self._between("<arg_key>", "</tool_call>")
        name = name.strip()
        arguments: dict[str, Any] = {}
        while end == "<arg_key>":
            key, end = yield from self._between("</arg_key>")
            if not (yield from self._optional("<arg_value>")):
                return self._give_up()
            value, end = yield from self._between("</arg_value>")
            arguments[key.strip()] = typed_value(value, self._schema(name), key.strip())
            if end != END:
                _, end = yield from self._between("<arg_key>", "</tool_call>")
        if end == END or not name:
            return self._give_up()
        self._seal(name, encode_json(arguments))
        self._record_end()
        return True


class DsmlParser(_TagParser):
    """DeepSeek V3.2 and V4: `invoke` and `parameter` tags whose names carry a marker token."""

    transparent_tokens: ClassVar = ("｜DSML｜",)
    starts: ClassVar = ("<｜DSML｜function_calls>", "<｜DSML｜tool_calls>")
    marks = frozenset({"<｜end▁of▁sentence｜>"})

    def _section(self, marker: str) -> Machine[bool]:
        self._record(marker)
        calls = 0
        while (yield from self._optional('<｜DSML｜invoke name="')):
            if not (yield from self._invoke()):
                return self._give_up()
            calls += 1
        closed = yield from self._optional("</" + marker[1:])
        if not calls and not closed:
            return self._give_up()
        self._record_end()
        return True

    def _invoke(self) -> Machine[bool]:
        name, end = yield from self._between('">')
        arguments: dict[str, Any] = {}
        while end != END:
            _, end = yield from self._between('<｜DSML｜parameter name="', "</｜DSML｜invoke>")
            if end == "</｜DSML｜invoke>":
                self._seal(name, encode_json(arguments))
                return True
            key, end = yield from self._between('" string="')
            literal, end = yield from self._between('">')
            value, end = yield from self._between("</｜DSML｜parameter>")
            # The tag says whether it is a string; for the rest no schema is needed to read JSON.
            arguments[key] = value if literal == "true" else typed_value(value, {}, key)
        return False
