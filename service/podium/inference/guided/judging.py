"""A second opinion, from the model, on whether a request asks for a tool at all.

Alone, a model of 135M parameters is a poor judge of tools. But retrieval and it err differently:
where retrieval is in doubt, a call is made only when both name the same tool. The model is shown
requests of the likeliest tools and of none, and may answer only with one of their names.
"""

from __future__ import annotations

from collections.abc import Sequence

from podium.inference.engine import Guide, GuideKind
from podium.inference.guided.filling import Question
from podium.inference.guided.toolset import PreparedTool

__all__ = ["NO_TOOL", "verdict_question"]

NO_TOOL = "chat"
_TALK = ("Who wrote Don Quixote?", "Tell me a funny story.", "Why is grass green?", "Good morning!")
_SHOTS_EACH = 2


def verdict_question(request: str, tools: Sequence[PreparedTool]) -> Question:
    """Write the question which of `tools`, if any, a request asks for. The answer is a name or `NO_TOOL`."""
    shown: list[tuple[str, str]] = []
    for tool in tools:
        spec = tool.spec
        requests = [example.request for example in spec.examples[:_SHOTS_EACH]]
        requests = requests or [spec.description.partition("\n")[0].rstrip(".")]
        shown.extend((text, spec.name) for text in requests)
    # Dealt out in turn, so that neither the first nor the last shots are all of one kind.
    shown = [pair for offset in range(_SHOTS_EACH) for pair in shown[offset::_SHOTS_EACH]]
    step = max(1, len(shown) // len(_TALK))
    for place, text in enumerate(_TALK):
        shown.insert(min(len(shown), place * (step + 1) + 1), (text, NO_TOOL))
    lines = [f"Request: {text}\nAction: {name}\n" for text, name in shown]
    prompt = "\n".join([*lines, f"Request: {request.strip()[:300]}\nAction:"])
    names = "|".join([*(tool.spec.name for tool in tools), NO_TOOL])
    return Question(prompt, Guide(GuideKind.REGEX, f" (?:{names})"), 24)
