"""How the trained model answers about one tool: `no`, or a line for each call of it, values copied from the request.

    yes | restaurant: The Old Mill | guests: six | day: next Friday

The model is asked about each likely tool by itself, all at once. Whether this tool, with these
words, is meant is a far easier question for a small model than which of ten is. A value with a
space before it is made of the same tokens as in the request, which makes copying easy to learn.
`?` stands for a required value that the request does not hold, `$` for one that another call's
result gives.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["FROM_RESULT", "NO", "UNSAID", "YES", "WrittenCall", "parse_call", "write_call"]

NO, YES = "no", "yes"
UNSAID = "?"
FROM_RESULT = "$"
_SEPARATOR = " | "


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A line of the model's, taken apart.

    Attributes:
        values: the values' words by parameter.
        parts: where in the line each parameter and its value stand, from the separator before them on.
    """

    values: Mapping[str, str]
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict, compare=False)

    @property
    def unsaid(self) -> tuple[str, ...]:
        """The parameters whose value the request does not hold."""
        return tuple(name for name, value in self.values.items() if value == UNSAID)


def write_call(values: Mapping[str, str]) -> str:
    """Return the line of a call."""
    return _SEPARATOR.join([YES, *(f"{name}: {value}" for name, value in values.items())])


def parse_call(line: str, names: Sequence[str]) -> WrittenCall | None:
    """Take a line apart; None when it is `no`, or nothing that the model was taught.

    Args:
        line: without its line end.
        names: of the tool's parameters.
    """
    line = line.strip()
    answer, separator, rest = line.partition(_SEPARATOR)
    if answer.strip() != YES:
        return None
    # `owner.phone` may be called `phone` where nothing else is.
    ends = Counter(name.rpartition(".")[2] for name in names)
    whole = {end: name for name in names if ends[end := name.rpartition(".")[2]] == 1 and end not in names}
    # A value may hold the separator: only before the name of a parameter does it part.
    known = "|".join(re.escape(name) for name in sorted((*names, *whole), key=len, reverse=True))
    # The space behind an empty value belongs to the separator.
    found = list(re.finditer(rf"(?:\A| \| )({known}):(?: (?!\| ))?", rest)) if known else []
    values: dict[str, str] = {}
    parts: dict[str, tuple[int, int]] = {}
    before = len(answer) + len(separator)
    ending = [*(match.start() for match in found[1:]), len(rest)]
    for match, stop in zip(found, ending, strict=False):
        name = whole.get(match[1], match[1])
        if name not in values and (value := rest[match.end() : stop].strip()):
            values[name] = value
            parts[name] = (before + match.start() - (0 if match.start() else len(separator)), before + stop)
    return WrittenCall(values, parts)
