"""Validation errors in words that a model, or a person, can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

__all__ = ["complaint", "nearest", "shown"]

_MOST = 5
_SHOWN = 60
_LISTED = 12


def complaint(tool: str, error: ValidationError, schema: Mapping[str, Any]) -> str:
    """Say what is wrong with the arguments of `tool`, at most five things, and what would be right."""
    problems = error.errors(include_url=False, include_context=True)
    said = [_problem(problem, schema) for problem in problems[:_MOST]]
    if len(problems) > _MOST:
        said.append(f"and {len(problems) - _MOST} more")
    return f"{tool}: " + "; ".join(said)


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the known words most like `word`, whatever its case."""
    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(candidate.casefold(), candidate)
    return [folded[match] for match in difflib.get_close_matches(word.casefold(), folded, count, 0.6)]


def shown(value: object) -> str:
    """Return a short rendering of an argument."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _problem(problem: ErrorDetails, schema: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "arguments"
    kind = problem["type"]
    context = problem.get("ctx", {})
    if kind == "missing":
        return f"{where} is missing{_meaning(problem['loc'], schema)}"
    if kind == "extra_forbidden":
        return _unknown(where, problem["loc"], schema)
    if kind in ("literal_error", "enum"):
        return _choice(where, problem["input"], str(context.get("expected", "")))
    if kind in ("value_error", "assertion_error"):
        return f"{where}: {context.get('error', problem['msg'])}"
    return f"{where}: {_sentence(problem['msg'])}, not {shown(problem['input'])}"


def _meaning(path: tuple[int | str, ...], schema: Mapping[str, Any]) -> str:
    if len(path) != 1:
        return ""
    description = schema.get("properties", {}).get(path[0], {}).get("description", "")
    return f" ({description.rstrip('.')})" if description else ""


def _unknown(where: str, path: tuple[int | str, ...], schema: Mapping[str, Any]) -> str:
    if len(path) != 1:
        return f"{where} is not a known field; leave it out"
    known = list(schema.get("properties", {}))
    if not known:
        return f"{where} is not an argument: this tool takes none"
    close = nearest(str(path[0]), known, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{where} is not an argument: {hint}use {', '.join(known)}"


def _choice(where: str, given: object, expected: str) -> str:
    options = [option.strip("'") for option in expected.replace(" or ", ", ").split(", ") if option]
    close = nearest(given, options, 3) if isinstance(given, str) else []
    hint = f" (nearest: {', '.join(close)})" if close else ""
    listed = expected if len(options) <= _LISTED else f"one of {', '.join(options[:_LISTED])} and others"
    return f"{where}: {shown(given)} is not allowed{hint}; use {listed}"


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:]
