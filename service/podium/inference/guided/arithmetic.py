"""Arithmetic in words and symbols: where it stands in a text, and the same in symbols.

"twelve times (3 plus 4)" becomes `12 * (3 + 4)`. What is already in symbols is kept to the letter.
"""

from __future__ import annotations

import ast
import re

from podium.inference.guided.lexicon import NUMBER_SCALES, NUMBER_WORDS

__all__ = ["find_expressions", "to_symbols", "words_to_number"]

_FUNCTIONS = (
    "sqrt|cbrt|sin|cos|tan|asin|acos|atan|log10|log2|log|ln|exp|abs|round|floor|ceil|min|max|factorial|pow|hypot"
)
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?(?:e[+-]?\d+)?|\.\d+)"
_NUMBER_WORD = "(?:" + "|".join((*sorted(NUMBER_WORDS, key=len, reverse=True), *NUMBER_SCALES, "dozen")) + ")"
_SPELLED = (
    rf"(?:an? (?=hundred|thousand|million|billion|dozen))?{_NUMBER_WORD}(?:(?: and |[ -]){_NUMBER_WORD})*"
    rf"(?: point {_NUMBER_WORD}(?: {_NUMBER_WORD})*)?"
)

# What each wording becomes; the first that matches at a place wins.
_TOKENS: tuple[tuple[str, str | None], ...] = (
    (r"(?:the )?(?:square root of|sqrt of)", "sqrt"),
    (r"(?:the )?cube root of", "cbrt"),
    (r"(?:the )?factorial of", "factorial"),
    (r"(?:the )?absolute value of", "abs"),
    (rf"(?:{_FUNCTIONS})(?= ?\()", None),
    (r"to the (?:power(?: of)?)|raised to(?: the power(?: of)?)?|\*\*", "**"),
    (r"to the (\w+?)(?:st|nd|rd|th) power", "power"),
    (r"divided by|÷|/", "/"),
    (r"over(?= (?:\d|\())", "/"),
    (r"multiplied by|times|x(?= ?[\d(])|×|·|\*", "*"),  # noqa: RUF001
    (r"modulo|mod(?!\w)|(?<=\d )%(?= ?\d)", "%"),
    (r"(?:%|percent|per cent) of", "% of"),
    (r"(?:%|percent|per cent)", "/ 100"),
    (r"plus|\+", "+"),
    (r"minus|[-−–]", "-"),  # noqa: RUF001
    (r"squared|²", "** 2"),
    (r"cubed|³", "** 3"),
    (r"\^", "^"),
    (r"[()]", None),
    (r"(?:pi|π|tau)(?!\w)", None),
    (_NUMBER, None),
    (_SPELLED, "word"),
    (r",(?= ?[\d(])", None),
)
_TOKEN = re.compile(
    "|".join(f"(?P<t{index}>(?<![a-zA-Z]){pattern})" if pattern[0] not in r"\[(?÷" else f"(?P<t{index}>{pattern})"
             for index, (pattern, _) in enumerate(_TOKENS)),
    re.IGNORECASE,
)  # fmt: skip
_MEANINGS = {f"t{index}": meaning for index, (_, meaning) in enumerate(_TOKENS)}
_VERB_FORMS = (
    (re.compile(rf"\bsubtract ({_NUMBER}) from ({_NUMBER})", re.IGNORECASE), r"\2 - \1"),
    (re.compile(rf"\btake ({_NUMBER}) (?:away )?from ({_NUMBER})", re.IGNORECASE), r"\2 - \1"),
    (re.compile(rf"\bdivide ({_NUMBER}) by ({_NUMBER})", re.IGNORECASE), r"\1 / \2"),
    (re.compile(rf"\bdifference (?:of|between) ({_NUMBER}) and ({_NUMBER})", re.IGNORECASE), r"\1 - \2"),
    (re.compile(rf"\b(?:half|half of) ({_NUMBER})(?![\w.:/-])", re.IGNORECASE), r"\1 / 2"),
    (re.compile(rf"\b(?:double|twice) ({_NUMBER})(?![\w.:/-])", re.IGNORECASE), r"2 * \1"),
)
_LIST_FORM = re.compile(
    rf"\b(add(?: up)?|sum(?: up)?(?: of)?|total of|multiply|product of|average of|mean of) "
    rf"({_NUMBER}(?:(?:, and |, | and | to | with | plus | by )-?{_NUMBER})+)",
    re.IGNORECASE,
)
_OPERATOR = re.compile(r"[-+*/%^]|sqrt|cbrt|[a-z]+\(")


def words_to_number(text: str) -> float | None:
    """Return the value of a number in words or digits ("two hundred and five", "1,200"), or None."""
    text = text.lower().replace(",", "").strip()
    if re.fullmatch(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", text):
        return float(text)
    whole, _, decimals = text.partition(" point ")
    total, part, seen = 0.0, 0.0, False
    for word in re.split(r"[ -]", whole):
        if word in NUMBER_WORDS:
            part, seen = part + NUMBER_WORDS[word], True
        elif word == "hundred":
            part, seen = (part or 1) * 100, True
        elif word == "dozen":
            part, seen = (part or 1) * 12, True
        elif word in NUMBER_SCALES:
            total, part, seen = total + (part or 1) * NUMBER_SCALES[word], 0.0, True
        elif word not in {"and", "a", "an"}:
            return None
    if decimals:
        digits = [NUMBER_WORDS.get(word, 10) for word in decimals.split()]
        if max(digits) > 9:
            return None
        part += sum(digit / 10 ** (place + 1) for place, digit in enumerate(digits))
    return total + part if seen else None


def _number_text(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _symbol(match: re.Match[str]) -> str | None:
    meaning = _MEANINGS[match.lastgroup or ""]
    text = match[0]
    if meaning is None:
        return text.replace(",", "") if text[0].isdigit() else text
    if meaning == "word":
        value = words_to_number(text)
        return None if value is None else _number_text(value)
    if meaning == "power":
        word = re.sub(r"^to the |(?:st|nd|rd|th) power$", "", text, flags=re.IGNORECASE)
        value = words_to_number(word)
        return None if value is None else f"** {_number_text(value)}"
    return meaning


def _compose(symbols: list[str]) -> str:
    """Join symbols into an expression; give prefix functions their brackets and percentages their meaning."""
    parts: list[str] = []
    for symbol in symbols:
        if parts and parts[-1] in {"sqrt", "cbrt", "factorial", "abs"} and symbol != "(":
            parts[-1] = f"{parts[-1]}({symbol})"
        elif symbol == "% of":
            parts.extend(("/", "100", "*"))
        else:
            parts.append(symbol)
    text = " ".join(parts)
    text = re.sub(r"\( ", "(", re.sub(r" \)", ")", text))
    text = re.sub(r"\b(" + _FUNCTIONS + r") \(", r"\1(", text)
    return re.sub(r" ,", ",", text)


def _well_formed(expression: str) -> bool:
    try:
        tree = ast.parse(expression.replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return not isinstance(tree.body, (ast.Constant, ast.Name, ast.Tuple)) and not (
        isinstance(tree.body, ast.UnaryOp) and isinstance(tree.body.operand, ast.Constant)
    )


def to_symbols(text: str) -> str | None:
    """Return `text` as an expression in symbols when all of it is arithmetic with an operator, else None."""
    position, symbols = 0, []
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        match = _TOKEN.match(text, position)
        symbol = _symbol(match) if match else None
        if match is None or symbol is None:
            return None
        symbols.append(symbol)
        position = match.end()
    if symbols[1:] == ["/ 100"]:
        return None  # "60 percent" is a quantity
    expression = _compose(symbols)
    return expression if _OPERATOR.search(expression) and _well_formed(expression) else None


def _runs(text: str) -> list[list[re.Match[str]]]:
    """Group the arithmetic tokens of `text` that only blanks part."""
    runs: list[list[re.Match[str]]] = []
    end, depth = -1, 0
    for match in _TOKEN.finditer(text):
        if not runs or end < 0 or text[end : match.start()].strip():
            runs.append([])
            depth = 0
        if match[0] == "," and depth <= 0:
            end = -1  # a comma outside brackets parts two pieces of arithmetic
            continue
        depth += (match[0] == "(") - (match[0] == ")")
        runs[-1].append(match)
        end = match.end()
    return [run for run in runs if run]


def _longest(text: str, run: list[re.Match[str]]) -> tuple[int, int, str] | None:
    """Return the longest well-formed part of a run, trimming at most a few tokens on either side."""
    for trimmed in range(min(5, len(run))):
        for left in range(trimmed + 1):
            part = run[left : len(run) - (trimmed - left)]
            if len(part) < 2:
                continue
            start, end = part[0].start(), part[-1].end()
            raw = text[start:end]
            symbols = to_symbols(raw)
            if symbols is not None:
                verbatim = re.fullmatch(r"[\d\s.+*/%^()-]+", raw) is not None and "," not in raw
                return start, end, raw.strip() if verbatim and "% of" not in raw else symbols
    return None


def _over_list(match: re.Match[str]) -> str:
    """Write "the sum of 1, 2 and 3" and its like in symbols."""
    numbers = [number.replace(",", "") for number in re.findall(_NUMBER, match[2])]
    verb = match[1].lower()
    if verb.startswith(("average", "mean")):
        return f"({' + '.join(numbers)}) / {len(numbers)}"
    return (" * " if verb.startswith(("multiply", "product")) else " + ").join(numbers)


def find_expressions(text: str) -> list[tuple[int, int, str]]:
    """Return `(start, end, expression)` of each piece of arithmetic, in order, without overlap."""
    found = [(m.start(), m.end(), _over_list(m)) for m in _LIST_FORM.finditer(text)]
    for pattern, replacement in _VERB_FORMS:
        found.extend((m.start(), m.end(), m.expand(replacement)) for m in pattern.finditer(text))
    for run in _runs(text):
        longest = _longest(text, run) if len(run) <= 400 else None
        if longest and not any(longest[0] < end and start < longest[1] for start, end, _ in found):
            found.append(longest)
    return sorted(found)
