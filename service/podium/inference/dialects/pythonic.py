"""Parser of the dialect that writes calls as Python: `[add(a=1), find(name="x")]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from podium.inference.dialects.machine import Control, Machine
from podium.inference.dialects.parser import StreamingParser
from podium.inference.dialects.values import keyword_arguments_json

__all__ = ["PythonicParser"]


class PythonicParser(StreamingParser):
    """A list of calls with keyword arguments, at the turn's start or between Llama 4's tokens."""

    starts: ClassVar = ("<|python_start|>",)
    marks = frozenset({"<|python_start|>", "<|python_end|>", "<|eot|>", "<|eom|>", "<|eot_id|>", "<|eom_id|>"})
    bare: ClassVar = "["

    def _section(self, marker: str) -> Machine[bool]:
        self._record(marker)
        first = yield from self._space()
        if first == "[" and (yield from self._calls(bare=False)):
            yield from self._optional("<|python_end|>")
            self._record_end()
            return True
        if first != "[":
            self._unread(first)
        return self._give_up()

    def _bare(self, first: str) -> Machine[bool]:  # noqa: ARG002  there is but one
        return (yield from self._calls(bare=True))

    def _calls(self, *, bare: bool) -> Machine[bool]:
        before = self._sealed
        self._confirmed = False
        while True:
            atom = yield from self._space()
            if atom == "]":
                return self._sealed > before
            if atom == "," and self._sealed > before:
                continue
            self._unread(atom)
            name, opening = yield from self._name()
            if opening != "(" or not name or (bare and name not in self._schemas):
                self._unread(opening)
                return False
            self._confirmed = True
            parts: list[str] = []
            if not (yield from self._parentheses(parts.append)):
                return False
            self._seal(name, keyword_arguments_json("".join(parts)[:-1]))

    def _name(self) -> Machine[tuple[str, str]]:
        name = ""
        while True:
            atom = yield from self._next()
            if isinstance(atom, Control) or not (atom.isalnum() or atom in "_."):
                return name, atom
            name += atom

    def _parentheses(self, sink: Callable[[str], None]) -> Machine[bool]:
        """Read up to the parenthesis that closes the call, it included; whether it came."""
        depth = 1
        while depth:
            atom = yield from self._next()
            if not self._inside(atom, sink):
                return False
            if atom in ("'", '"'):
                if not (yield from self._literal(atom, sink)):
                    return False
            elif atom in ("(", "[", "{"):
                depth += 1
            elif atom in (")", "]", "}"):
                depth -= 1
        return True

    def _literal(self, quote: str, sink: Callable[[str], None]) -> Machine[bool]:
        """Read a string after its first quote, which may be the first of three."""
        second = yield from self._next()
        if second != quote:
            self._unread(second)
            return (yield from self._string(quote, sink))
        sink(second)
        third = yield from self._next()
        if third != quote:
            self._unread(third)
            return True
        sink(third)
        run = 0
        while run < 3:
            atom = yield from self._next()
            escaped = atom == "\\"
            if not self._inside(atom, sink):
                return False
            if escaped and not self._inside((yield from self._next()), sink):
                return False
            run = run + 1 if atom == quote else 0
        return True
