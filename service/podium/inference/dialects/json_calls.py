# ruff: noqa: RUF001  DeepSeek's markers have a full-width bar
"""Parsers of the dialects whose arguments are JSON: Hermes, Llama 3, Mistral, DeepSeek, Kimi."""

from __future__ import annotations

import re
from typing import ClassVar

from podium.inference.dialects.machine import END, Control, Machine
from podium.inference.dialects.parser import StreamingParser
from podium.inference.dialects.values import arguments_json

__all__ = ["BareJsonParser", "DeepSeekParser", "HermesParser", "KimiParser", "LlamaJsonParser", "MistralParser"]


class HermesParser(StreamingParser):
    """`<tool_call>{"name": .., "arguments": {..}}</tool_call>`, once for each call."""

    starts: ClassVar = ("<tool_call>",)
    marks = frozenset({"<tool_call>", "</tool_call>"})

    def _section(self, marker: str) -> Machine[bool]:
        self._record(marker)
        closer = "</tool_call>"
        before = self._sealed
        atom = yield from self._space()
        while atom == "{":
            seen = self._sealed
            if not (yield from self._envelope(early=True, closer=closer)):
                return (yield from self._mended(closer, sealed=self._sealed > seen))
            atom = yield from self._space()
        self._unread(atom)
        if self._sealed == before:
            return self._give_up()
        yield from self._optional(closer)
        self._record_end()
        return True

    def _mended(self, closer: str, *, sealed: bool) -> Machine[bool]:
        """Leave an object that is not well formed. `sealed`: its call was complete before that."""
        if sealed:
            # The call has started; what is wrong after its arguments is neither call nor text.
            yield from self._until([closer], self._ignore)
            self._record_end()
            return True
        if self._broken is not None and (yield from self._optional(closer)):
            # The model closed the call, so it is one; the tool layer says what is wrong with it.
            self._seal(self._broken[0], arguments_json(self._broken[1]))
            self._record_end()
            return True
        return self._give_up()


class LlamaJsonParser(StreamingParser):
    """`{"name": .., "parameters": {..}}` after `<|python_tag|>` or at the turn's start, joined by `;` or lines."""

    starts: ClassVar[tuple[str, ...]] = ("<|python_tag|>",)
    marks = frozenset({"<|python_tag|>", "<|eom_id|>", "<|eot_id|>"})
    bare: ClassVar = "{"

    def _section(self, marker: str) -> Machine[bool]:
        self._record(marker)
        first = yield from self._space()
        if first == "{" and (yield from self._objects(bare=False)):
            self._record_end()
            return True
        if first != "{":
            self._unread(first)
        return self._give_up()

    def _bare(self, first: str) -> Machine[bool]:  # noqa: ARG002  there is but one
        return (yield from self._objects(bare=True))

    def _objects(self, *, bare: bool) -> Machine[bool]:
        """Read objects after the first one's bracket; whether all were calls."""
        while (yield from self._envelope(early=False, bare=bare)):
            read: list[str] = []
            atom = yield from self._next()
            while not isinstance(atom, Control) and (atom.isspace() or atom in ";,"):
                read.append(atom)
                atom = yield from self._next()
            if atom != "{":
                # Separators belong to calls; other text starts where it starts.
                self._unread(atom)
                return True
        return False


class BareJsonParser(LlamaJsonParser):
    """One object and nothing else: what a JSON Schema guide forces, whatever the model's own dialect."""

    starts: ClassVar[tuple[str, ...]] = ()


class MistralParser(StreamingParser):
    """`[TOOL_CALLS][{..}, ..]`, or for each call `[TOOL_CALLS]NAME[CALL_ID]ID[ARGS]{..}`."""

    starts: ClassVar = ("[TOOL_CALLS]",)
    marks = frozenset({"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "</s>"})
    thoughts: ClassVar = (("[THINK]", "[/THINK]"), ("<think>", "</think>"))

    def _section(self, marker: str) -> Machine[bool]:
        self._record(marker)
        first = yield from self._space()
        if first == "[":
            done = yield from self._array()
        else:
            self._unread(first)
            done = yield from self._named()
        if not done:
            return self._give_up()
        self._record_end()
        return True

    def _array(self) -> Machine[bool]:
        while True:
            atom = yield from self._space()
            if atom == "]":
                return True
            if atom == ",":
                continue
            if atom != "{":
                self._unread(atom)
                return False
            # An id may follow the arguments, so a call ends with its object.
            if not (yield from self._envelope(early=False)):
                return False

    def _named(self) -> Machine[bool]:
        name: list[str] = []
        provider_id: list[str] = []
        marker = yield from self._until(("[ARGS]", "[CALL_ID]", "{"), name.append)
        if marker == "[CALL_ID]":
            marker = yield from self._until(("[ARGS]", "{"), provider_id.append)
        if marker == END or not "".join(name).strip():
            return False
        if marker == "{":
            # The control token between them is lost where special tokens are skipped.
            self._unread(marker)
        return (yield from self._arguments("".join(name).strip(), self.starts, "".join(provider_id).strip()))


class _SectionParser(StreamingParser):
    """A section of calls, each between its own markers, with a header before the arguments."""

    call_begin: ClassVar[str]
    call_end: ClassVar[str]
    section_end: ClassVar[str]
    header_end: ClassVar[str]

    def _section(self, marker: str) -> Machine[bool]:
        self._record(marker)
        before = self._sealed
        if marker == self.call_begin:
            self._unread(Control(marker))
        while (yield from self._optional(self.call_begin)):
            header: list[str] = []
            found = yield from self._until((self.header_end, self.call_end, self.section_end), header.append)
            if found != self.header_end or not (yield from self._call("".join(header))):
                return self._give_up()
            yield from self._optional("```")
            yield from self._optional(self.call_end)
        closed = yield from self._optional(self.section_end)
        if self._sealed == before and not closed:
            return self._give_up()
        self._record_end()
        return True

    def _call(self, header: str) -> Machine[bool]:
        raise NotImplementedError


class DeepSeekParser(_SectionParser):
    """DeepSeek V3 (`function`, separator, NAME, a fenced block) and V3.1 (NAME, separator, the object)."""

    starts: ClassVar = ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>")
    call_begin: ClassVar = "<｜tool▁call▁begin｜>"
    call_end: ClassVar = "<｜tool▁call▁end｜>"
    section_end: ClassVar = "<｜tool▁calls▁end｜>"
    header_end: ClassVar = "<｜tool▁sep｜>"
    marks = frozenset({*starts, call_end, section_end, header_end, "<｜end▁of▁sentence｜>"})

    def _call(self, header: str) -> Machine[bool]:
        name = header.strip()
        if name == "function":
            parts: list[str] = []
            if (yield from self._until(("\n", self.call_end), parts.append)) != "\n":
                return False
            name = "".join(parts).strip()
            yield from self._optional("```json")
        return bool(name) and (yield from self._arguments(name, (self.call_end, self.section_end), fence="```"))


class KimiParser(_SectionParser):
    """`<|tool_call_begin|>functions.NAME:INDEX<|tool_call_argument_begin|>{..}<|tool_call_end|>` in a section."""

    starts: ClassVar = ("<|tool_calls_section_begin|>", "<|tool_call_begin|>")
    call_begin: ClassVar = "<|tool_call_begin|>"
    call_end: ClassVar = "<|tool_call_end|>"
    section_end: ClassVar = "<|tool_calls_section_end|>"
    header_end: ClassVar = "<|tool_call_argument_begin|>"
    marks = frozenset({*starts, call_end, section_end, header_end, "<|im_end|>"})

    def _call(self, header: str) -> Machine[bool]:
        provider_id = header.strip()
        name = re.sub(r":\d+\Z", "", provider_id).removeprefix("functions.")
        return bool(name) and (yield from self._arguments(name, (self.call_end, self.section_end), provider_id))
