"""The allowed subset of grammars: GBNF-like rules, all defined, none left-recursive, bounded in size."""

from __future__ import annotations

import re

from podium.engine.guide_error import GuideError
from podium.engine.guide_regex import CLASS, DIGITS, LITERAL, MAX_EFFORT, NOTHING, Cost

__all__ = ["check_grammar"]

_MAX_RULES = 500
_MAX_TOKENS = 20_000
_MAX_DEPTH = 32
_MAX_COUNT = 1000
_MAX_SIZE = 5000

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+|\#[^\n]*)
    | (?P<define>(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*::=)
    | (?P<rule>[A-Za-z_][A-Za-z0-9_.-]*)
    | (?P<string>"(?:[^"\\\n\r\x00]|\\(?:["\\nrt]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}))*")
    | (?P<class>\[\^?(?:[^\]\\\[\n\r\x00]|\\(?:[\]\[\\^nrt"-]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}))+\])
    | (?P<count>\{[ ]*(?P<low>[0-9]{1,6})[ ]*(?P<comma>,[ ]*(?P<high>[0-9]{1,6})?[ ]*)?\})
    | (?P<mark>[()|*+?])
    """,
    re.VERBOSE,
)
_CLASS_CHAR = re.compile(r"\\x([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\([\s\S])|([\s\S])")
_CLASS_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}

# (kind, text, largest count)
_Piece = tuple[str, str, int]


def check_grammar(text: str) -> None:
    """Vet a grammar.

    Raises:
        GuideError: it is malformed, outside the subset, or too large; the text says where.
    """
    rules = _split_rules(text)
    if "root" not in rules:
        raise GuideError("the grammar has no rule 'root'")
    first: dict[str, set[str]] = {}
    total = NOTHING
    for name, pieces in rules.items():
        body = _Body(name, pieces, rules)
        cost = body.check()
        first[name] = body.leading
        total = total.plus(cost)
    if total.size > _MAX_SIZE or total.effort > MAX_EFFORT:
        raise GuideError("the grammar takes too long to compile: use smaller counts, or '*' and '+'")
    _refuse_left_recursion(first)


def _split_rules(text: str) -> dict[str, list[_Piece]]:
    rules: dict[str, list[_Piece]] = {}
    current: list[_Piece] | None = None
    at = count = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise GuideError(f"the grammar cannot be read in line {text.count(chr(10), 0, at) + 1}")
        at = match.end()
        kind = str(match.lastgroup)
        if match.group("space") is not None:
            continue
        count += 1
        if count > _MAX_TOKENS or len(rules) > _MAX_RULES:
            raise GuideError(f"the grammar has more than {_MAX_RULES} rules or {_MAX_TOKENS} parts")
        if match.group("define") is not None:
            name = match.group("name")
            if name in rules:
                raise GuideError(f"the rule '{name}' is defined twice")
            current = rules[name] = []
            continue
        if current is None:
            raise GuideError("the grammar must begin with 'root ::='")
        current.append(_piece(match, kind))
    return rules


def _piece(match: re.Match[str], kind: str) -> _Piece:
    if match.group("count") is not None:
        low = int(match.group("low"))
        high = int(match.group("high") or low)
        if low > high or high > _MAX_COUNT or (high == 0 and match.group("comma") is None):
            raise GuideError(f"the count '{match.group()}' is not in order or above {_MAX_COUNT}")
        return "count", match.group(), high
    if match.group("class") is not None:
        _check_class(match.group("class"))
        return "class", match.group(), 1
    for name in ("rule", "string", "mark"):
        if match.group(name) is not None:
            return name, match.group(), 1
    raise GuideError(f"'{kind}' is not allowed here")


def _check_class(text: str) -> None:
    body = text[2:-1] if text.startswith("[^") else text[1:-1]
    chars: list[tuple[int, bool]] = []
    for match in _CLASS_CHAR.finditer(body):
        x, u, escaped, plain = match.groups()
        if x or u:
            chars.append((int(x or u, 16), True))
        elif escaped:
            chars.append((ord(_CLASS_ESCAPES.get(escaped, escaped)), True))
        else:
            chars.append((ord(plain), False))
    if not chars:
        raise GuideError("a character class is empty")
    index = 0
    while index < len(chars):
        is_range = index + 2 < len(chars) and chars[index + 1] == (ord("-"), False)
        if is_range and chars[index][0] > chars[index + 2][0]:
            raise GuideError(f"a range of '{text}' runs backwards")
        index += 3 if is_range else 1


class _Body:
    """One rule's right side: checks its shape and finds the rules that it can begin with."""

    def __init__(self, name: str, pieces: list[_Piece], rules: dict[str, list[_Piece]]) -> None:
        self._name = name
        self._pieces = pieces
        self._rules = rules
        self._at = 0
        self.leading: set[str] = set()

    def check(self) -> Cost:
        cost = self._alternatives(0, leads=True)[0]
        if self._at != len(self._pieces):
            raise self._wrong("an unmatched ')'")
        return cost

    def _wrong(self, what: str) -> GuideError:
        return GuideError(f"the rule '{self._name}' has {what}")

    def _alternatives(self, depth: int, *, leads: bool) -> tuple[Cost, bool]:
        """Return cost, and whether it may match nothing."""
        if depth > _MAX_DEPTH:
            raise self._wrong("groups that are nested too deeply")
        cost, empty = self._sequence(depth, leads=leads)
        while self._next() == ("mark", "|"):
            self._at += 1
            more, other_empty = self._sequence(depth, leads=leads)
            cost, empty = cost.plus(more), empty or other_empty
        return cost, empty

    def _sequence(self, depth: int, *, leads: bool) -> tuple[Cost, bool]:
        start, cost, empty = self._at, NOTHING, True
        while self._next() not in (None, ("mark", "|"), ("mark", ")")):
            more, nothing = self._element(depth, leads=leads and empty)
            cost = cost.plus(more)
            empty = empty and nothing
        if self._at == start:
            raise self._wrong('an empty alternative; write "" for nothing')
        return cost, empty

    def _element(self, depth: int, *, leads: bool) -> tuple[Cost, bool]:
        kind, text, _ = self._pieces[self._at]
        self._at += 1
        cost, empty = LITERAL, False
        if kind == "rule":
            if text not in self._rules:
                raise self._wrong(f"the rule '{text}', which is not defined")
            if leads:
                self.leading.add(text)
            # Whether that rule may match nothing is not known yet: assume it may, to be safe.
            empty = True
        elif kind == "string":
            cost, empty = Cost(max(1, len(text) - 2), 0.0), text == '""'
        elif (kind, text) == ("mark", "("):
            cost, empty = self._alternatives(depth + 1, leads=leads)
            if self._next() != ("mark", ")"):
                raise self._wrong("a group that is not closed")
            self._at += 1
        elif kind == "class":
            cost = DIGITS if text == "[0-9]" else CLASS
        else:
            raise self._wrong(f"'{text}' with nothing to act on")
        return self._repeated(cost, empty=empty)

    def _repeated(self, cost: Cost, *, empty: bool) -> tuple[Cost, bool]:
        following = self._next()
        if following is None:
            return cost, empty
        kind, text = following
        if kind == "count":
            most = self._pieces[self._at][2]
            self._at += 1
            cost = cost.times(most, exact="," not in text)
            if cost.size > _MAX_SIZE or cost.effort > MAX_EFFORT:
                raise self._wrong("a repetition that takes too long to compile")
            return cost, empty or text.lstrip("{ ").startswith("0")
        if kind == "mark" and text in ("*", "+", "?"):
            self._at += 1
            if self._next() is not None and self._next() in (("mark", "*"), ("mark", "+"), ("mark", "?")):
                raise self._wrong("two repetitions in a row")
            return cost.plus(LITERAL), empty or text != "+"
        return cost, empty

    def _next(self) -> tuple[str, str] | None:
        return self._pieces[self._at][:2] if self._at < len(self._pieces) else None


def _refuse_left_recursion(first: dict[str, set[str]]) -> None:
    """A rule that can begin with itself never ends to be expanded."""
    done: set[str] = set()
    for start in first:
        # Depth-first, without recursion: a grammar may have hundreds of rules in a chain.
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.remove(name)
                done.add(name)
            elif name in path:
                raise GuideError(f"the rule '{name}' can begin with itself")
            elif name not in done:
                path.append(name)
                stack.append((name, True))
                stack.extend((other, False) for other in first[name])
