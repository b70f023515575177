"""The allowed subset of regular expressions, and what a pattern costs to compile.

A hand-written parser rather than Python's `re`, whose dialect is another: it takes lookahead,
`(?P<name>)` and `[]a]`, at which the engine's compiler raises.
"""

from __future__ import annotations

from podium.engine.guide_error import GuideError

__all__ = ["MAX_PATTERN_COST", "check_pattern"]

# Cost of one pattern: its atoms, counted repetitions multiplied out. The compiler takes about
# 0.7 ms for one repeated class, and everybody waits meanwhile.
MAX_PATTERN_COST = 2000
_MAX_DEPTH = 32
_MAX_COUNT = 1000

_CLASS_ESCAPES = frozenset("dDsSwW")
_CONTROL_ESCAPES = frozenset("nrtvf")
_HEX_ESCAPES = {"x": 2, "u": 4}
# Escaped punctuation stands for itself; an escaped letter that is not listed above means
# something else in each dialect.
_PUNCTUATION = frozenset("\\^$.|?*+()[]{}/-\"'`~!@#%&=:;<>, _")
_MAX_CODE_POINT = 0x10FFFF


def check_pattern(pattern: str) -> int:
    """Return the cost of `pattern`.

    Raises:
        GuideError: it is malformed, outside the subset, or too costly; the text says where.
    """
    parser = _Parser(pattern)
    cost = parser.alternatives(0)
    if not parser.at_end():
        raise parser.wrong("there is an unmatched ')'")
    if cost > MAX_PATTERN_COST:
        raise GuideError(f"the pattern costs {cost}, more than {MAX_PATTERN_COST}: use smaller counts")
    return cost


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def wrong(self, why: str) -> GuideError:
        return GuideError(f"in the pattern, {why} (character {self._at + 1})")

    def at_end(self) -> bool:
        return self._at >= len(self._text)

    def alternatives(self, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise self.wrong("groups are nested too deeply")
        cost = self._sequence(depth)
        while self._peek() == "|":
            self._at += 1
            cost += self._sequence(depth)
        return cost

    def _sequence(self, depth: int) -> int:
        cost = 0
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
            cost += self._repeated(self._atom(depth))
        if self._at == start:
            raise self.wrong("an alternative or group is empty")
        return max(cost, 1)

    def _atom(self, depth: int) -> int:
        char = self._take()
        if char == "(":
            return self._group(depth)
        if char == "[":
            self._class()
            return 1
        if char == "\\":
            self._escape(in_class=False)
            return 1
        if char in ("*", "+", "?", "{", "}", "]"):
            self._at -= 1
            raise self.wrong(f"'{char}' has nothing to act on; write '\\{char}' for the character")
        if char == "^":
            raise self.wrong("'^' is only allowed at the very start")
        self._literal(char)
        return 1

    def _group(self, depth: int) -> int:
        if self._peek() == "?":
            if self._text[self._at : self._at + 2] != "?:":
                raise self.wrong("only plain and '(?:' groups are allowed (no lookaround, flags or names)")
            self._at += 2
        cost = self.alternatives(depth + 1)
        if self._peek() != ")":
            raise self.wrong("a group is not closed")
        self._at += 1
        return cost

    def _repeated(self, cost: int) -> int:
        char = self._peek()
        if char in ("*", "+", "?"):
            self._at += 1
            cost += 1
        elif char == "{":
            cost *= max(self._count(), 1)
        else:
            return cost
        if self._peek() == "?":
            raise self.wrong("lazy repetition means nothing to a guide; leave the '?' out")
        if self._peek() in ("*", "+", "{"):
            raise self.wrong("two repetitions follow each other")
        if cost > MAX_PATTERN_COST:
            raise self.wrong(f"repetition costs more than {MAX_PATTERN_COST}")
        return cost

    def _count(self) -> int:
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
        return most

    def _class(self) -> None:
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
