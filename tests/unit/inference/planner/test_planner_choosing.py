"""Options in place of words that are none."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from planner_fakes import asked, shown, spec
from planning_fakes import CharacterTokenizer, nothing_left, text_of

from podium.errors import Unavailable
from podium.inference.engine import EngineRequest, FinishReason, GuideKind, TokenDelta, TokensFinished
from podium.inference.planner.choosing import Chooser
from podium.inference.planner.lines import Line
from podium.inference.planner.prompt import PromptEncoder
from podium.inference.planner.shown import ShownTool

TEXT = {"type": "string"}
SPECIES = {"type": "string", "enum": ["dog", "cat", "bird"]}
KINDS = {"type": "array", "items": SPECIES}
TOKENIZER = CharacterTokenizer()
PROMPT = tuple(TOKENIZER.encode("prompt\n"))


class ChoosingEngine:
    """Writes one option after another, and keeps what it was asked."""

    def __init__(self, *options: str, error: Exception | None = None) -> None:
        self.options = list(options)
        self.error = error
        self.requests: list[EngineRequest] = []

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenDelta | TokensFinished, None]:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        text = f" {self.options.pop(0)}"
        for at, token in enumerate(map(ord, text)):
            yield TokenDelta((token,), (math.log(0.5) if at == 1 else 0.0,))
        yield TokensFinished(reason=FinishReason.STOP, prompt_tokens=1, completion_tokens=len(text))


def tool(properties: dict[str, Any], required: Sequence[str] | None = None) -> ShownTool:
    return shown(spec(properties, required=required))


async def settled(engine: ChoosingEngine, of: ShownTool, text: str, request: str = "sign up our parrot Flint") -> Line:
    tokens = tuple((at + 1, -0.125) for at in range(len(text)))
    chooser = Chooser(engine, TOKENIZER, PromptEncoder(TOKENIZER))  # type: ignore[arg-type]
    line = await chooser.settled(Line(text, 0.25, tokens), of, PROMPT, asked(request))
    assert nothing_left()
    return line


async def test_a_word_that_is_no_option_is_asked_for_again() -> None:
    """With the line up to it behind the prompt, the options for a guide, and the rest of the line left as it is."""
    engine = ChoosingEngine("bird")
    line = await settled(
        engine, tool({"name": TEXT, "species": SPECIES, "at": TEXT}), "yes | name: Flint | species: parrot | at: home"
    )
    assert line.text == "yes | name: Flint | species: bird | at: home"
    assert line.sure == 0.25
    (request,) = engine.requests
    assert text_of(request) == "prompt\nyes | name: Flint | species:"
    assert request.guide is not None
    assert request.guide.kind is GuideKind.REGEX
    told = [option for option in ("dog", "cat", "bird", "parrot") if re.fullmatch(request.guide.text, f" {option}")]
    assert told == ["dog", "cat", "bird"]
    # How sure the model was of each part is known as before.
    assert line.sure_of(line.text.index("bird"), line.text.index(" | at")) == pytest.approx(0.5)
    assert line.sure_of(0, 3) == pytest.approx(math.exp(-0.375))
    assert line.sure_of(line.text.index(" | at"), len(line.text)) == pytest.approx(
        math.exp(-0.125 * len(" | at: home"))
    )


@pytest.mark.parametrize(
    "text",
    [
        "yes | name: Flint | species: bird",
        "yes | name: Flint | species: Birds",
        "yes | name: Flint | species: ?",
        "yes | name: Flint | species: $",
        "yes | name: Flint",
        "no",
        "nothing that was taught",
    ],
)
async def test_lines_that_are_left_alone(text: str) -> None:
    """An option in any spelling, what is not said or another call's result, and what is no call."""
    engine = ChoosingEngine()
    assert (await settled(engine, tool({"name": TEXT, "species": SPECIES}), text)).text == text
    assert engine.requests == []


async def test_only_required_options_are_asked_for() -> None:
    engine = ChoosingEngine()
    text = "yes | name: Flint | species: all"
    assert (await settled(engine, tool({"name": TEXT, "species": SPECIES}, ["name"]), text)).text == text
    assert engine.requests == []


async def test_each_item_of_a_list_is_asked_for_once() -> None:
    """Behind those before it; one that is an option stays, and the same option is not told twice."""
    engine = ChoosingEngine("bird", "bird", "dog")
    line = await settled(engine, tool({"kinds": KINDS}), "yes | kinds: parrot, cat, budgie, puppy")
    assert line.text == "yes | kinds: bird, cat, dog"
    asked_for = [text_of(request).removeprefix("prompt\n") for request in engine.requests]
    assert asked_for == ["yes | kinds:", "yes | kinds: bird, cat,", "yes | kinds: bird, cat,"]


async def test_an_engine_that_does_not_choose() -> None:
    """Cut off in the middle of an option, say: then the line stays."""
    text = "yes | species: parrot"
    assert (await settled(ChoosingEngine("bi"), tool({"species": SPECIES}), text)).text == text


async def test_an_engine_that_fails() -> None:
    with pytest.raises(Unavailable, match="gone"):
        await settled(ChoosingEngine(error=Unavailable("gone")), tool({"species": SPECIES}), "yes | species: parrot")
