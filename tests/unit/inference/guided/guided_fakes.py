"""A fake engine and tokenizer: one token a character, answers by what the prompt or guide says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from podium.errors import Unavailable
from podium.inference.engine import EngineInfo, EngineRequest, FinishReason, TokenDelta, TokensFinished
from podium.orchestration.tool import ToolExample, ToolFailure, ToolFailureCode, ToolSpec


class CharacterTokenizer:
    """One token is one character's code point."""

    eos_token_id = 0

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        return self.encode("".join(f"<{message['role']}>{message['content']}" for message in messages))

    def detokenizer(self) -> CharacterDetokenizer:
        return CharacterDetokenizer()


class CharacterDetokenizer:
    def push(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def finish(self) -> str:
        return ""


class FakeEngine:
    """Answers with `reply(prompt, guide)`, a few characters at a time; notes what was asked, and closed early."""

    def __init__(self, reply: Callable[[str, str], str] = lambda prompt, guide: "Fine.") -> None:
        self.reply = reply
        self.requests: list[EngineRequest] = []
        self.aborted: list[str] = []
        self.reason = FinishReason.STOP
        self.ready = True

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenDelta | TokensFinished, None]:
        self.requests.append(request)
        prompt = "".join(map(chr, request.token_ids))
        text = self.reply(prompt, request.guide.text if request.guide else "")
        ended = False
        try:
            for start in range(0, len(text), 4):
                yield TokenDelta(tuple(map(ord, text[start : start + 4])))
                await asyncio.sleep(0)
            ended = True
            yield TokensFinished(reason=self.reason, prompt_tokens=len(prompt), completion_tokens=len(text))
        finally:
            if not ended:
                self.aborted.append(request.request_id)

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    async def probe(self) -> EngineInfo:
        if not self.ready:
            raise Unavailable("it is loading")
        return EngineInfo(model_id="fake", max_seq_len=2048, vocab_size=1 << 20)


def spec(
    name: str,
    description: str,
    properties: Mapping[str, Any],
    *examples: tuple[str, Mapping[str, Any]],
    required: Sequence[str] | None = None,
    **more: Any,
) -> ToolSpec:
    """Write a tool's description shortly."""
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if required is None else required),
    }
    return ToolSpec(
        name=name,
        description=description,
        input_schema=schema,
        examples=tuple(ToolExample(request, arguments) for request, arguments in examples),
        **more,
    )


def only(pattern: str, name: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return a normaliser that takes an argument only when it matches."""

    def normalise(arguments: Mapping[str, Any]) -> dict[str, Any]:
        if not re.fullmatch(pattern, str(arguments.get(name))):
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, f"{name} is wrong")
        return dict(arguments)

    return normalise


SUMS = spec(
    "sums",
    "Work out arithmetic.",
    {"expression": {"type": "string", "x-podium-kind": "expression"}},
    ("What is 2 + 2?", {"expression": "2 + 2"}),
    ("compute 7 * 3", {"expression": "7 * 3"}),
)
CLOCK = spec(
    "clock",
    "Tell the time in a city.",
    {"city": {"type": "string", "x-podium-kind": "timezone"}},
    ("What time is it in Paris?", {"city": "Paris"}),
    ("current time in Lima", {"city": "Lima"}),
)
LENGTHS = spec(
    "lengths",
    "Convert a length from one unit to another.",
    {
        "value": {"type": "number"},
        "from_unit": {"type": "string", "x-podium-kind": "unit"},
        "to_unit": {"type": "string", "x-podium-kind": "unit"},
    },
    ("convert 3 feet to metres", {"value": 3, "from_unit": "feet", "to_unit": "metres"}),
    ("how many miles are 10 km", {"value": 10, "from_unit": "km", "to_unit": "miles"}),
)
ROOMS = spec(
    "rooms",
    "Book a room.",
    {
        "people": {"type": "integer", "minimum": 1},
        "day": {"type": "string", "format": "date"},
        "view": {"type": "string", "enum": ["sea", "garden"]},
        "balcony": {"type": "boolean"},
    },
    ("book a room for 3 people on 2027-01-05", {"people": 3, "day": "2027-01-05"}),
    required=["people", "day"],
)
TOOLS = (SUMS, CLOCK, LENGTHS, ROOMS)
