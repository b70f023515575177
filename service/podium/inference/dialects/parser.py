"""The common course of a turn: thoughts first, then text and calls in any order."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from podium.inference.dialects.machine import END, Control, Machine, ParserMachine
from podium.inference.dialects.values import arguments_json
from podium.orchestration.chat import ToolCallSealed
from podium.orchestration.tool import ToolSpec

__all__ = ["StreamingParser"]

_ARGUMENT_KEYS = ("arguments", "parameters")
_ENVELOPE_KEYS = ("name", "id", "type", *_ARGUMENT_KEYS)


@dataclass(slots=True)
class _Envelope:
    """What is known so far of an object that describes a call."""

    name: str = ""
    arguments: str = ""
    provider_id: str = ""

    def take(self, key: str, value: str) -> None:
        if key == "name":
            self.name = _string_of(value)
        elif key in _ARGUMENT_KEYS:
            self.arguments = value
        elif key == "id":
            self.provider_id = _string_of(value)


class StreamingParser(ParserMachine):
    """Turns a model's output into text, thoughts and calls, as early as each is certain.

    A call is sealed at the token that closes its structure, never because what is there so far
    can be read. A call that was cut is dropped. What looked like a call but was none (a bare
    object that names no offered tool, or a call that the model itself ended before it was
    complete) is text. White space next to markers belongs to them.

    Args:
        tools: the offered tools: bare calls count only if they name one.
        control: the tokenizer's control tokens.
        reasoning: the prompt already opened the model's thoughts.
    """

    starts: ClassVar[tuple[str, ...]] = ()
    thoughts: ClassVar[tuple[tuple[str, str], ...]] = (("<think>", "</think>"),)
    # Characters that may start a call without any marker, at the beginning of a turn.
    bare: ClassVar[str] = ""
    transparent_tokens: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tools: Sequence[ToolSpec], control: Collection[str], *, reasoning: bool = False) -> None:
        self._schemas: Mapping[str, Mapping[str, Any]] = {tool.name: tool.input_schema for tool in tools}
        self._reasoning = reasoning
        self._sealed = 0
        self._broken: tuple[str, str] | None = None
        # Whether what is being read is a call for sure, so that a cut in it leaves no text.
        self._confirmed = False
        super().__init__(control, self.transparent_tokens)

    # --- the turn --------------------------------------------------------------------------

    def _run(self) -> Machine[None]:
        if self._reasoning:
            opening, closing = self.thoughts[0]
            yield from self._optional(opening)
            yield from self._reason(closing)
        fresh = True
        while not self._over():
            if fresh and (yield from self._thoughts_come()):
                continue
            space: list[str] = []
            fresh = (yield from self._speak(space, fresh=fresh)) and fresh

    def _over(self) -> bool:
        return self._ended and not any(atom is not END for atom in self._back)

    def _thoughts_come(self) -> Machine[bool]:
        for opening, closing in self.thoughts:
            if (yield from self._optional(opening, in_call=False)):
                yield from self._reason(closing)
                return True
        return False

    def _reason(self, closing: str) -> Machine[None]:
        atom = yield from self._space()
        self._unread(atom)
        # A control token that starts a call ends the thoughts too; text that looks like it does not.
        tokens = [start for start in self.starts if start in self._control]
        marker = yield from self._until([closing, *tokens], self._think)
        if marker in tokens:
            yield from self._section(marker)
        elif marker != END:
            atom = yield from self._space()
            self._unread(atom)

    def _speak(self, space: list[str], *, fresh: bool) -> Machine[bool]:
        """Read text up to the end of the next call, if one comes; whether there was no text."""
        silent = True

        def say(text: str) -> None:
            nonlocal silent
            if text:
                silent = False
                self._say("".join(space) + text)
                space.clear()

        atom = yield from self._next()
        while not isinstance(atom, Control) and atom.isspace():
            space.append(atom)
            atom = yield from self._next()
        if fresh and self.bare and not isinstance(atom, Control) and atom in self.bare and self._schemas:
            self._record(*space, atom)
            if (yield from self._bare(atom)):
                self._record_end()
                return True
            return self._give_up(was_call=self._confirmed)
        self._unread(atom)
        marker = yield from self._until(self.starts, say)
        if marker != END:
            silent = (yield from self._section(marker)) and silent
        return silent

    def _section(self, marker: str) -> Machine[bool]:
        """Read what follows a start marker; whether it was calls and nothing else."""
        raise NotImplementedError

    def _bare(self, first: str) -> Machine[bool]:
        """Read a call that has no marker; false when it was none, which is then text."""
        raise NotImplementedError

    # --- calls -----------------------------------------------------------------------------

    def _seal(self, name: str, arguments: bytes, provider_id: str = "") -> None:
        self._sealed += 1
        self._out.append(ToolCallSealed(name, arguments, provider_id))
        if self._recorded is not None:
            # The call is no text any more, whatever comes after it.
            self._record()

    def _give_up(self, *, was_call: bool = True) -> bool:
        """End a call that is not one: it is text, unless the output was cut in it; whether there was no text."""
        text = self._record_end()
        if was_call and self._ended and self._cut:
            self._back = [END]
            return True
        self._say(text)
        return not text

    def _arguments(self, name: str, ends: Sequence[str], provider_id: str = "", *, fence: str = "") -> Machine[bool]:
        """Read a call's arguments and seal it where their bracket closes, or else at one of `ends`.

        Arguments that are no object are sealed as they are, and none at all as an empty object.

        Returns:
            whether the call was sealed; an end marker that was met is left to be read.
        """
        first = yield from self._space()
        parts: list[str] = []
        if first == "{":
            textual = [end for end in ends if end not in self._control]
            value, closed = yield from self._balanced(first, textual[0] if textual else "")
            if closed:
                self._seal(name, arguments_json(value), provider_id)
                return True
            parts.append(value)
        else:
            self._unread(first)
        marker = yield from self._until(ends, parts.append)
        if marker == END:
            return False
        self._unread_marker(marker)
        raw = "".join(parts).strip().removesuffix(fence).strip()
        self._seal(name, arguments_json(raw or "{}"), provider_id)
        return True

    def _unread_marker(self, marker: str) -> None:
        # A textual marker was read one character at a time.
        self._unread(*([marker] if isinstance(marker, Control) else marker))

    def _envelope(self, *, early: bool, bare: bool = False, closer: str = "") -> Machine[bool]:
        """Read the rest of an object like `{"name": .., "arguments": {..}}`, and seal its call.

        Args:
            early: seal as soon as name and arguments are complete, not at the object's end.
            bare: there was no marker, so only an object that names an offered tool is a call.
            closer: a textual marker that ends the call even if brackets are missing.

        Returns:
            whether there was a call and its object is complete.
        """
        self._broken = None
        self._confirmed = False
        call = _Envelope()
        before = self._sealed
        while (atom := (yield from self._space())) != "}":
            if atom == ",":
                continue
            member = yield from self._member(atom, closer)
            if member is None:
                return False
            key, value, closed = member
            if not closed:
                open_call = call.name and key in _ARGUMENT_KEYS and self._sealed == before
                self._broken = (call.name, value) if open_call else None
                return False
            if self._sealed > before:
                continue
            call.take(key, value)
            if bare and (key not in _ENVELOPE_KEYS or (key == "name" and call.name not in self._schemas)):
                return False
            self._confirmed = bool(call.name)
            if early and call.name and key in _ARGUMENT_KEYS:
                self._seal_envelope(call)
        if self._sealed == before:
            if not call.name:
                return False
            self._seal_envelope(call)
        return True

    def _seal_envelope(self, call: _Envelope) -> None:
        self._seal(call.name, arguments_json(call.arguments or "{}"), call.provider_id)

    def _member(self, atom: str, closer: str) -> Machine[tuple[str, str, bool] | None]:
        """Read `"key": value`; the key, the value and whether it was closed, or None for anything else."""
        key: list[str] = []
        if atom != '"':
            self._unread(atom)
            return None
        if not (yield from self._string('"', key.append)):
            return None
        colon = yield from self._space()
        if colon != ":":
            self._unread(colon)
            return None
        first = yield from self._space()
        value, closed = yield from self._value(first, closer)
        return "".join(key)[:-1], value, closed

    def _value(self, first: str, closer: str = "") -> Machine[tuple[str, bool]]:
        """Read a JSON value whose first atom was read; its text, and whether it was closed."""
        if isinstance(first, Control):
            self._unread(first)
            return "", False
        if first in "{[":
            return (yield from self._balanced(first, closer))
        parts = [first]
        if first == '"':
            closed = yield from self._string('"', parts.append)
            return "".join(parts), closed
        while True:
            atom = yield from self._next()
            if isinstance(atom, Control) or atom.isspace() or atom in ",}]<":
                self._unread(atom)
                return "".join(parts), not isinstance(atom, Control)
            parts.append(atom)


def _string_of(text: str) -> str:
    """Return the string that JSON text is, or nothing for other values."""
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""
