"""Parser of gpt-oss's dialect: messages with headers that name a channel and perhaps a recipient."""

from __future__ import annotations

import re
from typing import ClassVar

from podium.inference.dialects.machine import END, Machine
from podium.inference.dialects.parser import StreamingParser
from podium.inference.dialects.values import arguments_json

__all__ = ["HarmonyParser"]

_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
_SEPARATORS = ("<|channel|>", "<|constrain|>")
_RECIPIENT = re.compile(r"\bto=(\S+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class HarmonyParser(StreamingParser):
    """Channel `analysis` is thoughts, `final` and `commentary` are text, a recipient makes it a call."""

    marks = frozenset({*_ENDS, "<|channel|>", "<|message|>"})
    starts: ClassVar[tuple[str, ...]] = ()

    def _run(self) -> Machine[None]:
        while not self._over():
            header: list[str] = []
            end = yield from self._until(("<|message|>", *_SEPARATORS, *_ENDS), header.append)
            while end in _SEPARATORS:
                header.append(end)
                end = yield from self._until(("<|message|>", *_SEPARATORS, *_ENDS), header.append)
            if end == "<|message|>":
                yield from self._message("".join(header))
            elif end != "<|start|>" and "<|channel|>" not in header:
                # Not a header: a model that forgot its own format.
                self._say("".join(text for text in header if text not in _SEPARATORS))

    def _message(self, header: str) -> Machine[None]:
        recipient = _RECIPIENT.search(_spaced(header))
        channel = _CHANNEL.search(header)
        if recipient is not None:
            yield from self._call_to(recipient[1].removeprefix("functions."))
            return
        sink = self._think if channel is not None and channel[1] == "analysis" else self._say
        end = yield from self._until((*_ENDS, "<|channel|>"), sink)
        if end == "<|channel|>":
            self._unread_marker(end)

    def _call_to(self, name: str) -> Machine[None]:
        parts: list[str] = []
        self._record()
        first = yield from self._space()
        if first == "{":
            value, closed = yield from self._balanced(first)
            if closed:
                self._seal(name, arguments_json(value))
                self._record_end()
                yield from self._until(_ENDS, self._ignore)
                return
            parts.append(value)
        else:
            self._unread(first)
        end = yield from self._until((*_ENDS, "<|channel|>"), parts.append)
        raw = "".join(parts).strip()
        # An engine may strip the token that ends the call, and then the end of the output is that token.
        if end == "<|call|>" or (end == END and not self._cut and raw):
            self._record_end()
            self._seal(name, arguments_json(raw or "{}"))
            return
        self._give_up()
        if end == "<|channel|>":
            self._unread_marker(end)


def _spaced(header: str) -> str:
    return re.sub(r"<\|\w+\|>", " ", header)
