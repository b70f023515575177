"""Which tools the model is asked about, and how they are shown: with examples worded as it should write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from podium.inference.guided.candidates import candidates_for
from podium.inference.guided.slots import Slot
from podium.inference.guided.toolset import PreparedTool
from podium.inference.guided.utterance import Utterance, analyse
from podium.inference.planner.parameters import Parameter, parameters_of
from podium.inference.planner.prompt import tool_line
from podium.orchestration.tool import ToolExample

__all__ = ["ShownTool", "example_values", "shown_tool"]

_SHOTS = 2
_LONGEST_EXAMPLE = 140


@dataclass(frozen=True, slots=True)
class ShownTool:
    """A tool as the model sees it: its line, and its parameters by name."""

    tool: PreparedTool
    line: str
    parameters: Mapping[str, Parameter]

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.tool.spec.name


def _leaf(arguments: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = arguments
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _said(slot: Slot, value: Any, request: Utterance) -> str:
    """Return how an example's request says a value, or the value itself where it does not say it in so many words."""
    if isinstance(value, list):
        return ", ".join(_said(slot, item, request) for item in value)
    plain = _plain(value)
    if slot.options or isinstance(value, Mapping | bool):
        return plain
    same = re.search(re.escape(plain), request.text, re.IGNORECASE)
    if same is not None:
        return same[0]
    for candidate in candidates_for(slot, request):
        if str(candidate.value) == plain or plain.startswith(f"{candidate.value}:"):
            return request.text[candidate.start : candidate.end] or plain
    return plain


def example_values(parameters: Sequence[Parameter], example: ToolExample, today: date) -> dict[str, str]:
    """Return an example's values as the model should write them, by parameter."""
    request = analyse(example.request, today)
    found = {}
    for parameter in parameters:
        value = _leaf(example.arguments, parameter.path)
        if value is not None and value not in ([], ""):
            # A call has one line, whatever an example's values hold.
            found[parameter.name] = " ".join(_said(parameter.slot, value, request).split())
    return found


def shown_tool(tool: PreparedTool, today: date) -> ShownTool:
    """Return what the model is shown of a tool."""
    spec = tool.spec
    fitting = [example for example in spec.examples if len(example.request) <= _LONGEST_EXAMPLE][:_SHOTS]
    parameters = parameters_of(spec)
    told = [(" ".join(example.request.split()), example_values(parameters, example, today)) for example in fitting]
    return ShownTool(tool, tool_line(spec, told), {parameter.name: parameter for parameter in parameters})
