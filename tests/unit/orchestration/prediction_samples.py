"""Runs to learn from: searches, and what is opened of their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from podium.orchestration.prediction import PastCall, Prediction, Predictor

TOOLS = frozenset({"search", "open", "weather", "map", "list_items", "get_item", "send"})
THRESHOLD = 0.6  # the caller's


def search(number: int, turn: int = 0) -> PastCall:
    results = [{"url": f"https://example.org/{number}/{rank}", "score": rank / 7} for rank in range(10)]
    return PastCall("search", {"query": f"topic {number}"}, {"results": results}, turn)


def opened(number: int, turn: int = 1, rank: int = 0) -> PastCall:
    return PastCall("open", {"url": f"https://example.org/{number}/{rank}"}, {"text": "words"}, turn)


def trained(runs: int, opens: Callable[[int], bool], **bounds: int) -> Predictor:
    predictor = Predictor(**bounds)
    for number in range(runs):
        calls = [search(number), opened(number)] if opens(number) else [search(number)]
        predictor.learn("t", f"find something on subject {number}a", calls)
    return predictor


def likely(predictor: Predictor, request: str, calls: Sequence[PastCall], **more: Any) -> list[Prediction]:
    found = predictor.predict("t", request, calls, tools=TOOLS, **more)
    return [each for each in found if each.confidence > THRESHOLD]


def called(found: Sequence[Prediction]) -> list[tuple[str, dict[str, Any]]]:
    return [(each.tool, dict(each.arguments)) for each in found]
