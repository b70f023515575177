"""Arithmetic as people write it, into one canonical expression: the reading half of `calculate`."""

from __future__ import annotations

import re
import unicodedata

from podium.packs.core._numbers import MULTIPLIERS, SMALL_NUMBERS, plain_digits, spelled_number

__all__ = ["CONSTANTS", "FUNCTIONS", "MOST_CHARACTERS", "canonical_expression", "pieces_of"]

MOST_CHARACTERS = 500

FUNCTIONS: dict[str, tuple[int, int]] = {  # name -> fewest and most arguments
    "abs": (1, 1), "acos": (1, 1), "asin": (1, 1), "atan": (1, 1), "cbrt": (1, 1), "ceil": (1, 1), "cos": (1, 1),
    "degrees": (1, 1), "exp": (1, 1), "factorial": (1, 1), "floor": (1, 1), "gcd": (2, 20), "hypot": (2, 20),
    "lcm": (2, 20), "ln": (1, 1), "log": (1, 2), "log10": (1, 1), "log2": (1, 1), "max": (1, 100), "mean": (1, 100),
    "min": (1, 100), "radians": (1, 1), "round": (1, 2), "sin": (1, 1), "sqrt": (1, 1), "sum": (1, 100), "tan": (1, 1),
}  # fmt: skip
CONSTANTS = ("e", "pi", "tau")

_SYMBOLS = {
    "×": " * ", "✕": " * ", "⋅": " * ", "·": " * ", "∙": " * ", "÷": " / ", "∕": " / ", "⁄": " / ", "：": ":",  # noqa: RUF001
    "^": " ** ", "√": " sqrt ", "∛": " cbrt ", "π": " pi ", "τ": " tau ", "[": "(", "]": ")", "{": "(", "}": ")",
    "$": "", "€": "", "£": "", "¥": "", "₹": "", "（": "(", "）": ")", "＋": "+", "％": "%", "、": ",",  # noqa: RUF001
}  # fmt: skip
_SUPERSCRIPTS = {"²": " ** 2 ", "³": " ** 3 ", "⁴": " ** 4 "}
_FILLER = re.compile(
    r"^(?:(?:please|can you|could you|tell me|what(?:'s|’s| is| are)|how much (?:is|are)|calculate|compute|evaluate|"  # noqa: RUF001
    r"work out|find|solve|the (?:value|result|answer) of|the)\s+)+",
)
_ENDING = re.compile(r"\s*(?:=\s*\??|\?+|equals\??|\.|!(?=\?))\s*$")
_LISTS = {"sum": "+", "product": "*", "difference": "-", "quotient": "/"}
_PHRASES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b(?:multiplied by|times)\b", " * "),
        (r"\bdivided by\b|\bover\b", " / "),
        (r"\bplus\b|\badded to\b", " + "),
        (r"\bminus\b|\bless\b", " - "),
        (r"\b(?:modulo|modulus|mod)\b", " % "),
        (r"\b(?:raised )?to the power(?: of)?\b|\braised to\b", " ** "),
        (r"\b(?:to the )?(\d+)(?:st|nd|rd|th) power(?: of)?\b", r" ** \1 "),
        (r"\bsquared\b", " ** 2 "),
        (r"\bcubed\b", " ** 3 "),
        (r"\b(?:the )?cube root(?: of)?\b", " cbrt "),
        (r"\b(?:the )?(?:square root|root)(?: of)?\b", " sqrt "),
        (r"\b(?:the )?factorial of\b", " factorial "),
        (r"\b(?:the )?absolute value of\b", " abs "),
        (r"\b(?:the )?average(?: of)?\b|\bmean of\b", " mean "),
        (r"\b(?:per ?cent|percent)\b", "%"),
        (r"%\s*of\b", " %of "),
        (r"%\s*off(?: of)?\b", " %off "),
        (r"\b(?:a |one )?half of\b", " 1 / 2 * "),
        (r"\b(?:a |one )?(?:third) of\b", " 1 / 3 * "),
        (r"\b(?:a |one )?quarter of\b", " 1 / 4 * "),
        (r"\b(?:double|twice)\b", " 2 * "),
        (r"\btriple\b", " 3 * "),
        (r"(?<=[\d)])\s*[xX]\s*(?=[\d(.])", " * "),
    )
]
_PIECE = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)|(?P<name>[a-z]+(?:10|2)?)|"
    r"(?P<operator>%off|%of|\*\*|//|[-+*/%(),!]))"
)
_LETTERS = re.compile(r"[a-z]+(?:[\s-]+(?:and\s+)?[a-z]+)*")


def canonical_expression(text: str) -> str:
    """Return `text` in canonical form: ASCII operators, single spaces around binary ones.

    Raises:
        ValueError: it is no arithmetic; the message says what is not understood.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"an expression has at most {MOST_CHARACTERS} characters")
    canonical = _read(text)
    if _read(canonical) != canonical:  # a muddle of signs; what is well formed means itself
        raise ValueError(f"{text.strip()[:60]!r} is not understood; use numbers, brackets and + - * / // % **")
    if len(canonical) > MOST_CHARACTERS:
        raise ValueError(f"written out, the expression has more than {MOST_CHARACTERS} characters")
    return canonical


def _read(text: str) -> str:
    return _joined(_resolved(pieces_of(_in_symbols(text)), text))


def pieces_of(text: str) -> list[str]:
    """Split a symbolic expression into pieces.

    Raises:
        ValueError: a character is no part of arithmetic.
    """
    pieces: list[str] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _PIECE.match(text, position)
        if match is None:
            raise ValueError(f"{text[position:].strip()[:20]!r} is not arithmetic")
        pieces.append(match[0].strip())
        position = match.end()
    return pieces


def _in_symbols(text: str) -> str:
    """Replace words and typographic symbols by ASCII ones."""
    text = plain_digits(_separated(text.strip().strip('`"“”')))
    for symbol, replacement in (_SYMBOLS | _SUPERSCRIPTS).items():
        text = text.replace(symbol, replacement)
    text = "".join(_vulgar(char) for char in text).lower()
    text = _ENDING.sub("", _FILLER.sub("", text))
    text = _LETTERS.sub(_spelled, text)
    text = _listed(text)
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    return text


def _separated(text: str) -> str:
    """Put a space after commas inside a function's parentheses: `max(1,200)` has two arguments."""
    return re.sub(
        r"\b(?:gcd|hypot|lcm|log|max|mean|min|round|sum)\s*\([^()]*\)",
        lambda match: match[0].replace(",", ", "),
        text,
        flags=re.IGNORECASE,
    )


def _vulgar(char: str) -> str:
    value = unicodedata.normalize("NFKC", char)
    return f"({value.replace('⁄', ' / ')})" if "⁄" in value else char  # noqa: RUF001


def _spelled(match: re.Match[str]) -> str:
    """Replace number words within a run of words by digits."""
    words = re.findall(r"[a-z]+", match[0])
    counts = MULTIPLIERS.keys() | {"dozen"}
    known = SMALL_NUMBERS.keys() | counts
    if not known & set(words):
        return match[0]
    words = [
        word
        for word, after in zip(words, [*words[1:], ""], strict=True)
        if word not in ("a", "an") or after not in counts
    ]
    out: list[str] = []
    index = 0
    while index < len(words):
        end = index
        while end < len(words) and (words[end] in known or (words[end] == "and" and end > index)):
            end += 1
        while end > index and words[end - 1] == "and":
            end -= 1
        value = spelled_number(words[index:end]) if end > index else None
        out.append(words[index] if value is None else str(value))
        index = index + 1 if value is None else end
    return " ".join(out)


def _listed(text: str) -> str:
    """Turn `sum of 2, 3 and 4` and `add 2 and 3` into operators."""
    match = re.fullmatch(r"(?:the )?(sum|product|difference|quotient) (?:of|between) (.+)", text)
    if match:
        parts = re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", match[2])
        return f" {_LISTS[match[1]]} ".join(parts)
    for verb, joiner, operator in (
        ("add", r"(?:and|to)", "+"),
        ("multiply", r"(?:by|and|with)", "*"),
        ("divide", "by", "/"),
    ):
        match = re.fullmatch(rf"{verb} (.+?)\s+{joiner}\s+(.+)", text)
        if match:
            return f"{match[1]} {operator} {match[2]}"
    match = re.fullmatch(r"subtract (.+?)\s+from\s+(.+)", text)
    if match:
        return f"{match[2]} - {match[1]}"
    if re.match(r"(?:the )?(?:average|mean)\b", text):
        return re.sub(r"\s+and\s+", ", ", text)
    return text


_BINARY = {"+", "-", "*", "/", "//", "%", "**"}


def _resolved(pieces: list[str], text: str) -> list[str]:
    """Settle percent signs, implied products, functions without parentheses, and factorials."""
    pieces = _percents(_added_percent(pieces))
    out: list[str] = []
    index = 0
    while index < len(pieces):
        piece = pieces[index]
        if piece[0].isalpha() and piece not in FUNCTIONS and piece not in CONSTANTS:
            known = ", ".join(FUNCTIONS)
            raise ValueError(
                f"{piece!r} is not understood in {text.strip()[:60]!r}; use numbers, + - * / // % ** and {known}"
            )
        if out and _ends_value(out[-1]) and (piece == "(" or piece[0].isalnum()) and not _is_call(out[-1]):
            out.append("*")
        if piece in FUNCTIONS and pieces[index + 1 : index + 2] != ["("]:
            end = _atom_end(pieces, index + 1, wide=FUNCTIONS[piece][1] > 2)
            pieces[index + 1 : end] = ["(", *pieces[index + 1 : end], ")"]
        out.append(piece)
        index += 1
    return _factorials(out)


def _added_percent(pieces: list[str]) -> list[str]:
    """`240 + 15%` means 15% of 240 more; elsewhere such a sum has no plain meaning."""
    match pieces:
        case [number, "+" | "-" as sign, share, "%"] if number[0].isdigit() and share[0].isdigit():
            return [number, sign, share, "%of", number]
        case [share, "%off", *rest] if rest:
            return [*_group(rest), "-", share, "%of", *_group(rest)]
    for index, piece in enumerate(pieces):
        sum_before = index >= 2 and pieces[index - 2] in ("+", "-") and index >= 3
        if piece == "%off" or (piece == "%" and sum_before and not _starts_value(pieces[index + 1 : index + 2])):
            raise ValueError("say what the percentage is of, such as 200 + 15% of 200")
    return pieces


def _group(pieces: list[str]) -> list[str]:
    return pieces if len(pieces) == 1 else ["(", *pieces, ")"]


def _percents(pieces: list[str]) -> list[str]:
    out: list[str] = []
    for index, piece in enumerate(pieces):
        if piece == "%of":
            out += ["/", "100", "*"]
        elif piece == "%" and not _starts_value(pieces[index + 1 : index + 2]):
            out += ["/", "100"]
        else:
            out.append(piece)
    return out


def _starts_value(following: list[str]) -> bool:
    return bool(following) and (following[0][0].isalnum() or following[0] in ("(", ".") or following[0][0] == ".")


def _ends_value(piece: str) -> bool:
    return piece in (")", "!") or piece[0].isalnum() or piece[0] == "."


def _is_call(piece: str) -> bool:
    return piece in FUNCTIONS


def _atom_end(pieces: list[str], start: int, *, wide: bool) -> int:
    """Return where the operand of a function without parentheses ends."""
    if wide:
        return len(pieces)
    if pieces[start : start + 1] == ["-"]:
        start += 1
    if pieces[start : start + 1] and pieces[start] in FUNCTIONS:
        start += 1
    if pieces[start : start + 1] != ["("]:
        return start + 1
    depth = 0
    for index in range(start, len(pieces)):
        depth += {"(": 1, ")": -1}.get(pieces[index], 0)
        if depth == 0:
            return index + 1
    return len(pieces)


def _factorials(pieces: list[str]) -> list[str]:
    out: list[str] = []
    for piece in pieces:
        if piece != "!":
            out.append(piece)
            continue
        start = _operand_start(out)
        out[start:] = ["factorial", *(_group(out[start:]) if out[start] == "(" else ["(", *out[start:], ")"])]
    return out


def _operand_start(pieces: list[str]) -> int:
    if not pieces or not _ends_value(pieces[-1]):
        raise ValueError("! needs a number before it")
    if pieces[-1] != ")":
        return len(pieces) - 1
    depth = 0
    for index in range(len(pieces) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(pieces[index], 0)
        if depth == 0:
            return index - 1 if index and pieces[index - 1] in FUNCTIONS else index
    raise ValueError("a bracket is missing")


def _joined(pieces: list[str]) -> str:
    if not pieces:
        raise ValueError("there is nothing to calculate; write an expression such as 19 * 21")
    text = ""
    value_before = False  # whether the last piece ended a value, so that + and - are binary
    for piece in pieces:
        if piece in _BINARY and (value_before or piece not in "+-"):
            text, value_before = f"{text} {piece} ", False
        elif piece == ",":
            text, value_before = f"{text}, ", False
        else:
            text, value_before = text + piece, _ends_value(piece) and piece not in FUNCTIONS
    return text
