"""The allowed subset of regular expressions, and what a pattern costs to compile.

A hand-written parser rather than Python's `re`, whose dialect is another: it takes lookahead,
`(?P<name>)` and `[]a]`, at which the engine's compiler raises.
"""

from __future__ import annotations

from typing import NamedTuple

from podium.engine.guide_error import GuideError

__all__ = [
    "CLASS",
    "DIGITS",
    "EXACT_SHARE",
    "LITERAL",
    "MAX_EFFORT",
    "MAX_PATTERN_SIZE",
    "NOTHING",
    "Cost",
    "check_pattern",
]

# Atoms of one pattern, counted repetitions multiplied out.
MAX_PATTERN_SIZE = 2000
# Everybody waits while a guide is compiled, and what takes long is classes of characters under a
# count: about 10 ms for each repetition, as every token of the vocabulary is tried in every state.
MAX_EFFORT = 150.0
# An exact count takes this share of the work of a range.
EXACT_SHARE = 0.4
_DIGITS_EFFORT = 0.1
_MAX_DEPTH = 32
_MAX_COUNT = 1000

_CLASS_ESCAPES = frozenset("dDsSwW")
_CONTROL_ESCAPES = frozenset("nrtvf")
_HEX_ESCAPES = {"x": 2, "u": 4}
# Escaped punctuation stands for itself; an escaped letter that is not listed above means
# something else in each dialect.
_PUNCTUATION = frozenset("\\^$.|?*+()[]{}/-\"'`~!@#%&=:;<>, _")
_MAX_CODE_POINT = 0x10FFFF


class Cost(NamedTuple):
    """What a part of a guide takes: its size in atoms, and the effort to compile it (1 is about 10 ms)."""

    size: int
    effort: float

    def plus(self, other: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(self.size + other.size, self.effort + other.effort)

    def times(self, most: int, *, exact: bool) -> Cost:
        """Return the cost of up to `most` repetitions."""
        share = EXACT_SHARE if exact else 1.0
        return Cost(self.size * max(most, 1), max(self.effort, self.effort * most * share))

    @property
    def excessive(self) -> bool:
        """Whether it is more than one guide may cost."""
        return self.size > MAX_PATTERN_SIZE or self.effort > MAX_EFFORT


NOTHING = Cost(0, 0.0)
LITERAL = Cost(1, 0.0)
DIGITS = Cost(1, _DIGITS_EFFORT)
CLASS = Cost(1, 1.0)


def check_pattern(pattern: str) -> Cost:
    """Return the cost of `pattern`.

    Raises:
        GuideError: it is malformed, outside the subset, or too costly; the text says where.
    """
    parser = _Parser(pattern)
    cost = parser.alternatives(0)
    if not parser.at_end():
        raise parser.wrong("there is an unmatched ')'")
    if cost.excessive:
        raise GuideError("the pattern takes too long to compile: use smaller counts, or '*' and '+'")
    return cost


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def wrong(self, why: str) -> GuideError:
        return GuideError(f"in the pattern, {why} (character {self._at + 1})")

    def at_end(self) -> bool:
        return self._at >= len(self._text)

    def alternatives(self, depth: int) -> Cost:
        if depth > _MAX_DEPTH:
            raise self.wrong("groups are nested too deeply")
        cost = self._sequence(depth)
        while self._peek() == "|":
            self._at += 1
            cost = cost.plus(self._sequence(depth))
        return cost

    def _sequence(self, depth: int) -> Cost:
        cost = NOTHING
        start = self._at
        if self._peek() == "^":
            if depth or self._at:
                raise self.wrong("'^' is only allowed at the very start")
            self._at += 1
        while not self.at_end() and self._peek() not in ("|", ")"):
            if self._peek() == "$":
                if depth or self._at != len(self._text) - 1:
                    raise self.wrong("'$' is only allowed at the very end")
                self._at += 1
                break
            cost = cost.plus(self._repeated(self._atom(depth)))
        if self._at == start:
            raise self.wrong("an alternative or group is empty")
        return cost

    def _atom(self, depth: int) -> Cost:
        char = self._take()
        if char == "(":
            return self._group(depth)
        if char == "[":
            return self._class()
        if char == ".":
            return CLASS
        if char == "\\":
            return self._escaped_atom()
        if char in ("*", "+", "?", "{", "}", "]"):
            self._at -= 1
            raise self.wrong(f"'{char}' has nothing to act on; write '\\{char}' for the character")
        if char == "^":
            raise self.wrong("'^' is only allowed at the very start")
        self._literal(char)
        return LITERAL

    def _escaped_atom(self) -> Cost:
        if self._escape(in_class=False) is not None:
            return LITERAL
        return DIGITS if self._text[self._at - 1] == "d" else CLASS

    def _group(self, depth: int) -> Cost:
        if self._peek() == "?":
            if self._text[self._at : self._at + 2] != "?:":
                raise self.wrong("only plain and '(?:' groups are allowed (no lookaround, flags or names)")
            self._at += 2
        cost = self.alternatives(depth + 1)
        if self._peek() != ")":
            raise self.wrong("a group is not closed")
        self._at += 1
        return cost

    def _repeated(self, cost: Cost) -> Cost:
        char = self._peek()
        if char in ("*", "+", "?"):
            self._at += 1
            cost = cost.plus(LITERAL)
        elif char == "{":
            most, exact = self._count()
            cost = cost.times(most, exact=exact)
        else:
            return cost
        if self._peek() == "?":
            raise self.wrong("lazy repetition means nothing to a guide; leave the '?' out")
        if self._peek() in ("*", "+", "{"):
            raise self.wrong("two repetitions follow each other")
        if cost.excessive:
            raise self.wrong("a repetition takes too long to compile; use a smaller count, or '*' or '+'")
        return cost

    def _count(self) -> tuple[int, bool]:
        """Return the largest count, and whether it is the only one."""
        end = self._text.find("}", self._at)
        body = self._text[self._at + 1 : end] if end > 0 else ""
        low, comma, high = body.partition(",")
        if not _is_number(low) or (high and not _is_number(high)):
            raise self.wrong("a count must be {n}, {n,} or {n,m}; write '\\{' for the character")
        most = int(high) if high else int(low)
        if int(low) > most:
            raise self.wrong("the lower count is above the upper")
        if most > _MAX_COUNT:
            raise self.wrong(f"a count is above {_MAX_COUNT}")
        if most == 0 and not (comma and not high):
            raise self.wrong("a count of zero matches nothing")
        self._at = end + 1
        return most, most == int(low) and not (comma and not high)

    def _class(self) -> Cost:
        start = self._at
        if self._peek() == "^":
            self._at += 1
        if self._peek() == "]":
            raise self.wrong("a character class is empty; write '\\]' for the character")
        after_space = False
        while self._peek() != "]":
            if self.at_end():
                raise self.wrong("a character class is not closed")
            is_space = self._text.startswith("\\s", self._at)
            low = self._class_member()
            if after_space and (low is None or self._peek() == "-"):
                # The compiler would read the two as one range, which runs backwards.
                raise self.wrong("'\\s' must come after the ranges and classes beside it")
            after_space = after_space or is_space
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._class_member()
                if low is None or high is None:
                    raise self.wrong("a range cannot start or end with a class such as '\\d'")
                if low > high:
                    raise self.wrong("a range runs backwards")
        self._at += 1
        return DIGITS if self._text[start : self._at] in ("0-9]", "\\d]") else CLASS

    def _class_member(self) -> int | None:
        """Return the member's code point, or None for a class such as `\\d`."""
        char = self._take()
        if char == "[":
            raise self.wrong("'[' inside a class must be written '\\['")
        if char == "\\":
            return self._escape(in_class=True)
        self._literal(char)
        return ord(char)

    def _escape(self, *, in_class: bool) -> int | None:
        if self.at_end():
            raise self.wrong("an escape is not finished")
        char = self._take()
        if char in _CLASS_ESCAPES:
            if in_class and char.isupper():
                raise self.wrong(f"'\\{char}' is not allowed inside a class")
            return None
        if char in _CONTROL_ESCAPES:
            return ord({"n": "\n", "r": "\r", "t": "\t", "v": "\v", "f": "\f"}[char])
        if char in _HEX_ESCAPES:
            digits = self._text[self._at : self._at + _HEX_ESCAPES[char]]
            if len(digits) != _HEX_ESCAPES[char] or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                raise self.wrong(f"'\\{char}' needs {_HEX_ESCAPES[char]} hexadecimal digits")
            self._at += len(digits)
            return self._code_point(int(digits, 16))
        if char in _PUNCTUATION:
            return ord(char)
        raise self.wrong(f"the escape '\\{char}' is not allowed")

    def _code_point(self, value: int) -> int:
        if value == 0 or 0xD800 <= value <= 0xDFFF or value > _MAX_CODE_POINT:
            raise self.wrong("an escape names no usable character")
        return value

    def _literal(self, char: str) -> None:
        if char == "\0":
            raise self.wrong("a NUL character is not allowed")

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _take(self) -> str:
        char = self._text[self._at]
        self._at += 1
        return char


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6
