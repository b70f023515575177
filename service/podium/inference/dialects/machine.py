"""The machinery under every streaming parser: atoms in, events out, whatever the borders between fragments.

A parser is a generator that takes one atom at a time (a character, a control token, or the end),
so how the text was cut into fragments cannot make a difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterable
from typing import Final, TypeVar

from podium.orchestration.chat import ReasoningDelta, TextDelta, ToolCallSealed

__all__ = ["END", "Atom", "Control", "Machine", "ParserMachine", "Piece"]

T = TypeVar("T")
Piece = TextDelta | ReasoningDelta | ToolCallSealed


class Control(str):
    """A control token, which is not text however it looks."""

    __slots__ = ()


Atom = str  # one character, or a `Control`
Machine = Generator[None, Atom, T]
END: Final = Control("")

_IN_STRING = {quote: re.compile(rf"[^\\{quote}]*") for quote in "\"'"}


class ParserMachine:
    """Feeds a parser's generator, keeps what it says, and reads the things that many dialects share.

    Args:
        control: the tokenizer's control tokens: a marker that is one of them matches only as a token.
        transparent: control tokens that are parts of textual markers, and so are read as text.
    """

    # Markers of the dialect that are not looked for by name elsewhere.
    marks: frozenset[str] = frozenset()

    def __init__(self, control: Collection[str], transparent: Collection[str] = ()) -> None:
        self._control = frozenset(control)
        self._transparent = frozenset(transparent)
        self._out: list[Piece] = []
        self._back: list[Atom] = []
        self._ended = False
        self._cut = False
        self._recorded: list[str] | None = None
        self._skim: re.Pattern[str] | None = None
        self._skimmed: Callable[[str], None] = self._ignore
        self._generator = self._run()
        next(self._generator)

    def feed(self, text: str, special: bool = False) -> list[Piece]:
        """Take a fragment: any text, or one whole control token when `special`.

        Returns:
            what is certain now, in order; texts are never empty.
        """
        if special and text not in self._transparent:
            self._send(Control(text))
            return self._taken()
        at = 0
        while at < len(text):
            if self._skim is not None and (found := self._skim.match(text, at)) and found.end() > at:
                run = found.group()
                self._note(run)
                self._skimmed(run)
                at = found.end()
                continue
            self._send(text[at])
            at += 1
        return self._taken()

    def finish(self, cut: bool) -> list[Piece]:
        """End the output.

        Args:
            cut: the model did not end by itself (token limit, cancel), so an open call is incomplete.
        """
        if not self._ended:
            self._cut = cut
            self._send(END)
        return self._taken()

    def _run(self) -> Machine[None]:
        raise NotImplementedError

    # --- in and out -----------------------------------------------------------------------

    def _send(self, atom: Atom) -> None:
        if self._ended:
            return
        self._skim = None
        self._ended = atom is END
        if not isinstance(atom, Control):
            self._note(atom)
        try:
            self._generator.send(atom)
        except StopIteration:
            self._ended = True

    def _next(self) -> Machine[Atom]:
        """Read one atom; the end again and again once it has come."""
        if self._back:
            return self._back.pop()
        if self._ended:
            return END
        return (yield)

    def _next_or(self, pattern: re.Pattern[str], sink: Callable[[str], None]) -> Machine[Atom]:
        """Read one atom, and let whole runs of `pattern` that come before it go to `sink`."""
        if not self._back and not self._ended:
            self._skim, self._skimmed = pattern, sink
        return (yield from self._next())

    def _unread(self, *atoms: Atom) -> None:
        self._back.extend(reversed(atoms))

    def _taken(self) -> list[Piece]:
        out, self._out = self._out, []
        if len(out) < 2:
            return out
        joined: list[Piece] = []
        for piece in out:
            last = joined[-1] if joined else None
            if isinstance(piece, TextDelta) and isinstance(last, TextDelta):
                joined[-1] = TextDelta(last.text + piece.text)
            elif isinstance(piece, ReasoningDelta) and isinstance(last, ReasoningDelta):
                joined[-1] = ReasoningDelta(last.text + piece.text)
            else:
                joined.append(piece)
        return joined

    def _say(self, text: str) -> None:
        if text:
            self._out.append(TextDelta(text))

    def _think(self, text: str) -> None:
        if text:
            self._out.append(ReasoningDelta(text))

    def _ignore(self, _text: str) -> None:
        return

    # --- what may turn out to be text after all --------------------------------------------

    def _note(self, text: str) -> None:
        if self._recorded is not None:
            self._recorded.append(text)

    def _record(self, *start: str) -> None:
        # What was pushed back is still to be read, and is part of it then.
        waiting = reversed(self._back)
        self._recorded = [text for text in (*start, *waiting) if not isinstance(text, Control)]

    def _record_end(self) -> str:
        """Stop recording; return the text since `_record` that was read and not pushed back."""
        text = "".join(self._recorded or ())
        self._recorded = None
        unread = "".join(atom for atom in reversed(self._back) if not isinstance(atom, Control))
        return text.removesuffix(unread)

    # --- reading ---------------------------------------------------------------------------

    def _space(self) -> Machine[Atom]:
        """Skip white space; return the next other atom."""
        while True:
            atom = yield from self._next()
            if isinstance(atom, Control) or not atom.isspace():
                return atom

    def _until(self, markers: Iterable[str], sink: Callable[[str], None]) -> Machine[str]:
        """Pass text on until one of `markers`; return it, or `END`.

        Text that could be the start of a marker is held back until that is refuted. Control tokens
        that are no markers are dropped: they are not text.
        """
        tokens = {marker for marker in markers if marker in self._control}
        texts = [marker for marker in markers if marker not in self._control]
        plain = _anything_but({marker[0] for marker in texts})
        held = ""
        while True:
            atom = yield from (self._next() if held else self._next_or(plain, sink))
            if isinstance(atom, Control):
                sink(held)
                held = ""
                if atom is END:
                    return END
                # A tokenizer that does not list a marker among its control tokens may still mark it.
                if atom in tokens or atom in texts:
                    return atom
                continue
            held += atom
            while held and not any(text.startswith(held) for text in texts):
                sink(held[0])
                held = held[1:]
            if held in texts:
                return held

    def _optional(self, marker: str, *, in_call: bool = True) -> Machine[bool]:
        """Skip white space and `marker` if it comes; otherwise put back what was read.

        Inside a call (`in_call`) the start of a marker that was cut is no text, and is dropped.
        """
        read: list[Atom] = []
        atom = yield from self._next()
        while not isinstance(atom, Control) and atom.isspace():
            read.append(atom)
            atom = yield from self._next()
        read.append(atom)
        if isinstance(atom, Control):
            if atom is not END and atom == marker:
                return True
            self._unread(*read)
            return False
        seen = "" if marker in self._control else atom
        while seen and marker.startswith(seen) and seen != marker:
            atom = yield from self._next()
            read.append(atom)
            if isinstance(atom, Control):
                break
            seen += atom
        if seen == marker:
            return True
        if in_call and self._cut and read[-1] is END and marker.startswith(seen):
            read = [END]
        self._unread(*read)
        return False

    def _string(self, quote: str, sink: Callable[[str], None]) -> Machine[bool]:
        """Read the rest of a string after its opening quote; whether it was closed."""
        plain = _IN_STRING[quote]
        while True:
            atom = yield from self._next_or(plain, sink)
            if atom == "\\" and not isinstance(atom, Control):
                sink(atom)
                atom = yield from self._next()
            elif atom == quote:
                sink(atom)
                return True
            if not self._inside(atom, sink):
                return False

    def _inside(self, atom: Atom, sink: Callable[[str], None]) -> bool:
        """Take an atom of a value; false, and put back, when the value cannot go on with it."""
        if isinstance(atom, Control) and (atom is END or atom in self.marks):
            self._unread(atom)
            return False
        sink(str(atom))
        return True

    def _balanced(self, opened: str, closer: str = "") -> Machine[tuple[str, bool]]:
        """Read a value from its first bracket to the one that closes it; brackets in strings do not count.

        Args:
            opened: the first bracket, already read.
            closer: a textual marker that ends the value early, outside of strings.

        Returns:
            the value, and whether it was closed.
        """
        parts = [opened]
        depth = 1
        while depth:
            atom = yield from self._next()
            if not self._inside(atom, parts.append):
                return "".join(parts), False
            if atom == '"':
                if not (yield from self._string('"', parts.append)):
                    return "".join(parts), False
            elif atom in "{[":
                depth += 1
            elif atom in "}]":
                depth -= 1
            elif closer and atom == closer[-1] and "".join(parts[-len(closer) :]).endswith(closer):
                self._unread(*closer)
                return "".join(parts).removesuffix(closer), False
        return "".join(parts), True


def _anything_but(firsts: set[str]) -> re.Pattern[str]:
    # The `re` module keeps compiled patterns, and there are few.
    return re.compile("[^" + "".join(map(re.escape, sorted(firsts))) + "]*" if firsts else r"(?s:.*)")
