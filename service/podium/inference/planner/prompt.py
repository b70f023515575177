"""What the trained model reads: one tool, then the request.

The tool comes first, so that an engine's prefix cache keeps it between requests. The frame uses
the model's own control tokens with roles of our own, which tell planning from talk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from podium.inference.guided.lexicon import word_set
from podium.inference.planner.call_lines import YES, write_call
from podium.inference.planner.parameters import Parameter, parameters_of
from podium.orchestration.tool import ToolSpec

__all__ = ["MAX_REQUEST", "PromptEncoder", "tool_line"]

_NOTE_WORDS = 8
_DESCRIPTION_WORDS = 24
MAX_REQUEST = 2000
_FILLER = word_set("the a an of to is it as in for or and this that such e.g its be on with whether how many")


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower())) - _FILLER


def _first_sentence(text: str, words: int) -> str:
    line = " ".join(text.split("\n\n", 1)[0].split())
    sentence = re.split(r"(?<=[.!?;])\s", line, maxsplit=1)[0].rstrip(".!?; ")
    return " ".join(sentence.split()[:words])


def _note(parameter: Parameter) -> str:
    """Return what an argument's description adds to its name, in a few words."""
    told = _first_sentence(str(parameter.slot.schema.get("description", "")), _NOTE_WORDS)
    return told if _words(told) - _words(parameter.name.replace("_", " ")) else ""


def tool_line(spec: ToolSpec, examples: Sequence[tuple[str, Mapping[str, str]]] = ()) -> str:
    """Return how a tool is shown: its signature, what it does, what its arguments mean, and example requests.

    Args:
        spec: the tool.
        examples: requests with the values of a call, by parameter, as the model should write them.
    """
    parameters = parameters_of(spec)
    shown = []
    for parameter in parameters:
        kind = parameter.shown_kind
        shown.append(f"{parameter.name}{'' if parameter.required else '?'}{f': {kind}' if kind else ''}")
    notes = [f"{p.name} = {note}" for p in parameters if (note := _note(p))]
    fields = list((spec.output_schema or {}).get("properties", {}))[:6]
    parts = [f"{spec.name}({', '.join(shown)})"]
    if fields:
        parts.append(f" -> {', '.join(fields)}")
    parts.append(f": {_first_sentence(spec.description, _DESCRIPTION_WORDS)}")
    if notes:
        parts.append(f" ({'; '.join(notes)})")
    for request, values in examples:
        parts.append(f"\n  {request} => {write_call(values)}")
    return "".join(parts)


class _Encoder(Protocol):
    def encode(self, text: str, *, parse_special: bool = False) -> list[int]: ...


class PromptEncoder:
    """Turns prompts into token ids. What people write never becomes a control token.

    Args:
        tokenizer: of the model.

    Attributes:
        yes: the tokens that a call begins with.
    """

    def __init__(self, tokenizer: _Encoder) -> None:
        self._encode = tokenizer.encode
        self._tool_begin = tokenizer.encode("<|im_start|>tool\n", parse_special=True)
        self._user_begin = tokenizer.encode("<|im_end|>\n<|im_start|>user", parse_special=True)
        self._call_begin = tokenizer.encode("<|im_end|>\n<|im_start|>call\n", parse_special=True)
        self._end = tokenizer.encode("<|im_end|>", parse_special=True)
        self.yes: Sequence[int] = tuple(tokenizer.encode(YES))

    def tool(self, line: str) -> list[int]:
        """Return the first part, the same for every request to a tool (see `tool_line`)."""
        return [*self._tool_begin, *self._encode(line)]

    def request(self, text: str) -> list[int]:
        """Return the second part, which the answer follows."""
        # With a space in front the first word has the tokens that it has elsewhere, too.
        said = " " + " ".join(text.split())[:MAX_REQUEST]
        return [*self._user_begin, *self._encode(said), *self._call_begin]

    def text(self, text: str) -> list[int]:
        """Return the beginning of an answer."""
        return [*self._encode(text)]

    def answer(self, lines: Sequence[str]) -> list[int]:
        """Return what the model should write: the lines, and the token that ends them."""
        return [*self._encode("\n".join(lines)), *self._end]
