"""Reads what the model writes about one tool, while it writes it: first yes or no, then lines, and how sure it was."""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from podium.inference.engine import Engine, EngineRequest, FinishReason, TokenDelta, TokensFinished
from podium.inference.planner.call_lines import NO, YES
from podium.orchestration.chat import Usage

__all__ = ["Detokenizing", "Head", "Line", "LinesEnd", "write_lines"]


class _Detokenizer(Protocol):
    def push(self, ids: Sequence[int], /) -> str: ...
    def finish(self) -> str: ...


class Detokenizing(Protocol):
    """What of a tokenizer reading needs."""

    eos_token_id: int | None

    def detokenizer(self) -> _Detokenizer:
        """Return what turns the tokens of one text into that text."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """The first word, as soon as it is written.

    `sure` is its probability, 0 to 1; None when the engine does not tell.
    """

    word: str
    sure: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line, without its end.

    Attributes:
        text: what is written.
        sure: the probability of all of it, 0 to 1; None when the engine does not tell.
        tokens: of each token where it ends in the text and its log-probability; empty when the engine does not tell.
    """

    text: str
    sure: float | None = None
    tokens: tuple[tuple[int, float], ...] = ()

    def sure_of(self, start: int, end: int) -> float | None:
        """Return the probability of a part of the text, given what is before it; None when it is not known."""
        inside = [logprob for at, logprob in self.tokens if start < at <= end]
        return math.exp(sum(inside)) if inside else None


@dataclass(frozen=True, slots=True)
class LinesEnd:
    """The end of the writing, and what it took."""

    reason: FinishReason
    usage: Usage


class _Reader:
    """Parts text into lines and adds up the log-probabilities of their tokens."""

    def __init__(self, tokenizer: Detokenizing, begun: str) -> None:
        self._decoder = tokenizer.detokenizer()
        self._text, self._headed = begun, bool(begun)
        self._tokens: list[tuple[int, float]] | None = []

    def push(self, token: int, logprob: float | None) -> Iterator[Head | Line]:
        """Take a token; yield what it completes."""
        self._text += self._decoder.push([token])
        if logprob is None:
            self._tokens = None
        elif self._tokens is not None:
            self._tokens.append((len(self._text), logprob))
        if not self._headed and (word := _first_word(self._text)):
            self._headed = True
            yield Head(word, self._sure)
        yield from self._cut()

    def finish(self) -> Iterator[Line]:
        """Yield what is left, which nothing ends."""
        self._text += self._decoder.finish() + "\n"
        yield from self._cut()

    @property
    def _sure(self) -> float | None:
        return None if self._tokens is None else math.exp(sum(logprob for _, logprob in self._tokens))

    def _cut(self) -> Iterator[Line]:
        # One token may end several lines; its probability is the first one's.
        while "\n" in self._text:
            text, _, rest = self._text.partition("\n")
            space = len(text) - len(text.lstrip())
            tokens = () if self._tokens is None else tuple((at - space, logprob) for at, logprob in self._tokens)
            line = Line(text.strip(), self._sure, tokens)
            self._text, self._tokens = rest, []
            if line.text:
                yield line


def _first_word(text: str) -> str:
    """Return the first word of `text` as soon as it is known; "" while it may still become "yes" or "no"."""
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    # Most vocabularies have a token for either, and nothing behind it is waited for.
    begun = word not in (YES, NO) and (YES.startswith(word) or NO.startswith(word))
    return "" if begun and text.endswith(word) else word


async def write_lines(
    engine: Engine, tokenizer: Detokenizing, token_ids: Sequence[int], *, max_tokens: int, begun: str = ""
) -> AsyncGenerator[Head | Line | LinesEnd, None]:
    """Let the model go on from a prompt: yield the first word, each line when it is whole, then `LinesEnd`.

    Closing it early aborts the generation. A line cut off by `max_tokens` is not yielded.

    Args:
        engine, tokenizer: of the model.
        token_ids: the prompt.
        max_tokens: the most to write.
        begun: the beginning of the first line, when the prompt ends with it; then there is no `Head`.

    Raises:
        InvalidRequest, ResourceExhausted, Unavailable: as `Engine.generate` does.
    """
    eos = tokenizer.eos_token_id
    request = EngineRequest(
        request_id=f"planner-{secrets.token_hex(8)}",
        token_ids=token_ids,
        max_tokens=max_tokens,
        stop_token_ids=() if eos is None else (eos,),
        logprobs=True,
    )
    reader = _Reader(tokenizer, begun)
    async with aclosing(engine.generate(request)) as items:  # type: ignore[type-var]  # engines return async generators
        async for item in items:
            if isinstance(item, TokenDelta):
                told = item.logprobs or (None,) * len(item.token_ids)
                for token, logprob in zip(item.token_ids, told, strict=True):
                    for told_now in reader.push(token, logprob):
                        yield told_now
            elif isinstance(item, TokensFinished):
                for last in reader.finish() if item.reason is FinishReason.STOP else ():
                    yield last
                yield LinesEnd(item.reason, Usage(item.prompt_tokens, item.completion_tokens, item.cached_tokens))
                return
