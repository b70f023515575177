"""Lets the model choose where it had to name an option and wrote something else.

Taught to copy, a small model writes "parrot" where only `dog`, `cat` and `bird` may stand. Asked again for that
one word, with the options as a guide, it mostly knows which is meant. Only required values are asked for: what
stands for an optional one is seldom meant for it.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

from podium.inference.engine import Engine, EngineRequest, Guide, GuideKind, TokenDelta
from podium.inference.guided.filling import literal
from podium.inference.guided.utterance import Utterance
from podium.inference.planner.call_lines import FROM_RESULT, UNSAID, parse_call
from podium.inference.planner.lines import Detokenizing, Line
from podium.inference.planner.parameters import Parameter
from podium.inference.planner.shown import ShownTool
from podium.inference.planner.values import Unreadable, read_items, read_value

__all__ = ["Chooser"]

_OPTION_TOKENS = 24


class _Encoder(Protocol):
    def text(self, text: str, /) -> list[int]: ...


class Chooser:
    """Puts options in place of words that are none. Safe for many lines at once.

    Args:
        engine, tokenizer: of the model.
        encoder: of its prompts.
    """

    def __init__(self, engine: Engine, tokenizer: Detokenizing, encoder: _Encoder) -> None:
        self._engine, self._tokenizer, self._encoder = engine, tokenizer, encoder

    async def settled(self, line: Line, shown: ShownTool, prompt: Sequence[int], request: Utterance) -> Line:
        """Return a line whose required options are options.

        Args:
            line: as the model wrote it.
            shown: its tool.
            prompt: what the line was the answer to.
            request: taken apart.

        Raises:
            InvalidRequest, ResourceExhausted, Unavailable: as `Engine.generate` does.
        """
        for name in shown.parameters:
            call = parse_call(line.text, tuple(shown.parameters))
            parameter = shown.parameters[name]
            if call is None or name not in call.values or not (parameter.required and parameter.options):
                continue
            said = call.values[name]
            if said in {UNSAID, FROM_RESULT} or _is_option(parameter, said, request):
                continue
            # The value ends its part.
            end = call.parts[name][1]
            start = line.text.rindex(said, 0, end)
            chosen: list[str] = []
            odds = 0.0
            for item in read_items(parameter.slot, said):
                if _is_option(parameter, item, request):
                    chosen.append(item)
                    continue
                begun = line.text[:start].rstrip() + "".join(f" {before}," for before in chosen)
                option, logprob = await self._choice([*prompt, *self._encoder.text(begun)], parameter.options)
                odds += logprob
                if option and option not in chosen:
                    chosen.append(option)
            line = _replaced(line, start, end, ", ".join(chosen), odds) if chosen else line
        return line

    async def _choice(self, prompt: Sequence[int], options: Sequence[str]) -> tuple[str, float]:
        """Return the likeliest option, and its log-probability among all that the model might have written."""
        guide = Guide(GuideKind.REGEX, f" (?:{'|'.join(filter(None, map(literal, options)))})")
        eos = self._tokenizer.eos_token_id
        request = EngineRequest(
            request_id=f"planner-{secrets.token_hex(8)}",
            token_ids=prompt,
            max_tokens=_OPTION_TOKENS,
            stop_token_ids=() if eos is None else (eos,),
            logprobs=True,
            guide=guide,
        )
        decoder, text, odds = self._tokenizer.detokenizer(), "", 0.0
        async with aclosing(self._engine.generate(request)) as items:  # type: ignore[type-var]  # engines return async generators
            async for item in items:
                if isinstance(item, TokenDelta):
                    text += decoder.push(item.token_ids)
                    odds += math.fsum(item.logprobs or ())
        option = (text + decoder.finish()).strip()
        return (option, odds) if option in options else ("", 0.0)


def _is_option(parameter: Parameter, said: str, request: Utterance) -> bool:
    try:
        read_value(parameter.slot, said, request)
    except Unreadable:
        return False
    return True


def _replaced(line: Line, start: int, end: int, text: str, logprob: float) -> Line:
    by = len(text) - (end - start)
    tokens = (
        *((at, odds) for at, odds in line.tokens if at <= start),
        (start + len(text), logprob),
        *((at + by, odds) for at, odds in line.tokens if at > end),
    )
    return Line(line.text[:start] + text + line.text[end:], line.sure, tokens if line.tokens else ())
