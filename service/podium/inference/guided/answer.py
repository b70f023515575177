"""The answer after the calls: which results there are, and whether a model's wording of them is true."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from podium.inference.guided.lexicon import FUNCTION_WORDS
from podium.inference.guided.rendering import ResultView
from podium.orchestration.chat import AssistantMessage, ChatRequest, ToolMessage, UserMessage
from podium.orchestration.tool import ToolSpec

__all__ = ["last_request", "results_of", "simple", "truthful"]

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"[A-Z][^\W\d_]{2,}")
_MAX_WORDED = 900


def last_request(request: ChatRequest) -> str:
    """Return the text of the last user message."""
    return next((message.text for message in reversed(request.messages) if isinstance(message, UserMessage)), "")


def results_of(request: ChatRequest) -> list[ResultView]:
    """Return the calls since the last user message with their results, in the order of the calls."""
    since = max((i for i, message in enumerate(request.messages) if isinstance(message, UserMessage)), default=-1)
    specs = {spec.name: spec for spec in request.tools}
    arguments: dict[str, Mapping[str, Any]] = {}
    views: list[ResultView] = []
    for message in request.messages[since + 1 :]:
        if isinstance(message, AssistantMessage):
            for call in message.calls:
                values = json.loads(call.arguments_json or b"{}")
                arguments[call.call_id] = values if isinstance(values, dict) else {}
        elif isinstance(message, ToolMessage) and not _question(specs.get(message.tool)):
            known = arguments.get(message.call_id, {})
            views.append(ResultView(message.tool, known, message.content, message.ok, specs.get(message.tool)))
    return views


def _question(spec: ToolSpec | None) -> bool:
    """Tell whether a tool only asks the person: what they answered is nothing to tell them."""
    return spec is not None and spec.type == "question"


def simple(views: Sequence[ResultView]) -> bool:
    """Tell whether the results are best told as they are: short facts, failures, or far too much to reword."""
    total = sum(len(view.content) for view in views)
    return total > _MAX_WORDED or not any(_wordy(view) for view in views)


def _wordy(view: ResultView) -> bool:
    """A few sentences of text are worth putting into an answer; numbers, records and lists are not."""
    value = view.value
    return view.ok and isinstance(value, str) and len(value.split()) > 25


def _numbers(text: str) -> set[str]:
    return {match.replace(",", "").rstrip(".:").removesuffix(".0") for match in _NUMBER.findall(text)}


def _key_facts(view: ResultView) -> list[str]:
    """Return what an answer should mention of a result: one of these at least."""
    value = view.value
    facts = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
    told = {str(argument).casefold() for argument in view.arguments.values()}
    plain = [str(fact) for fact in facts if isinstance(fact, str | int | float) and not isinstance(fact, bool)]
    return [fact for fact in plain if fact.casefold() not in told and fact] or plain


def _reflects(answer: str, view: ResultView) -> bool:
    lowered = answer.casefold()
    for fact in _key_facts(view):
        if fact.casefold() in lowered or _numbers(fact) & _numbers(answer):
            return True
        words = {word for word in re.findall(r"[^\W\d_]{4,}", fact.casefold()) if word not in FUNCTION_WORDS}
        if words and len(words & set(re.findall(r"[^\W\d_]{4,}", lowered))) >= min(3, len(words)):
            return True
    return False


def truthful(answer: str, request: str, views: Sequence[ResultView]) -> bool:
    """Tell whether an answer says only what the results and the request say, and mentions every result.

    Numbers and names must occur in them; words are not understood, so this is a check against
    invention, not a proof. A failed call can only be told by rendering.
    """
    answer = answer.strip()
    if not answer or not all(view.ok for view in views):
        return False
    source = " ".join(
        [request, *(f"{json.dumps(dict(view.arguments), ensure_ascii=False)} {view.content}" for view in views)]
    )
    known = source.casefold()
    if not _numbers(answer) <= _numbers(source):
        return False
    starts = {match.end() for match in re.finditer(r"(?:\A|[.!?:]\s+|\n\W*)", answer)}
    names = [match for match in _NAME.finditer(answer) if match.start() not in starts]
    if any(match[0].casefold() not in known for match in names):
        return False
    return all(_reflects(answer, view) for view in views)
