"""`EngineChatModel`: an engine, its tokenizer and a dialect make a chat model."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from podium.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidRequest,
    PodiumError,
    Unavailable,
)
from podium.inference.dialects import DIALECTS, Dialect, Forced, StreamingParser
from podium.inference.dialects.guides import JSON_GUIDE_FEATURES
from podium.inference.engine import (
    Engine,
    EngineRequest,
    FinishReason,
    Guide,
    GuideKind,
    Sampling,
    TokensFinished,
)
from podium.inference.stop_text import StopText
from podium.inference.tokenizer import Tokenizer
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    ModelInfo,
    TextDelta,
    TokenCount,
    ToolCallSealed,
    ToolChoice,
    TurnFinished,
    TurnFinishReason,
    Usage,
)
from podium.orchestration.tool import ToolSpec

__all__ = ["EngineChatModel"]

_TAIL = 16  # tokens at a prompt's end that show whether it opened the model's thoughts
_ABORT_SECONDS = 1.0
_BAD_SCHEMA = "The answer's schema is not a JSON Schema object: send the schema itself as JSON text."


@dataclass(frozen=True, slots=True)
class _Prompt:
    ids: list[int]
    reasoning: bool


class EngineChatModel:
    """A `ChatModel` over an engine. Safe for many turns at once on one event loop.

    Stop texts are looked for in the answer's text, not in thoughts or arguments.

    Args:
        engine: writes tokens.
        tokenizer: of the engine's model, with its chat template.
        dialect: how the model takes conversations and writes calls; `detect` finds it.
        name: the model's name in the catalog.
        kind: of its settings table, such as `trtllm`.
        context_length: tokens of prompt and output together; 0 for what the tokenizer's configuration says.
        max_tokens: limit of an output when the request sets none.
        features: what the engine can do; None to ask it when that matters.
        aliases: other names of the model.
        remote: whether requests leave this machine.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        dialect: Dialect,
        *,
        name: str,
        kind: str = "trtllm",
        context_length: int = 0,
        max_tokens: int = 2048,
        features: Collection[str] | None = None,
        aliases: Sequence[str] = (),
        remote: bool = False,
    ) -> None:
        self.name = name
        self._engine = engine
        self._tokenizer = tokenizer
        self._dialect = dialect
        self._kind = kind
        self._context_length = context_length or tokenizer.context_length
        self._max_tokens = max_tokens
        self._features = None if features is None else frozenset(features)
        self._aliases = tuple(aliases)
        self._remote = remote
        self._stops = _stop_ids(tokenizer, dialect)

    async def info(self) -> ModelInfo:
        """Describe the model, with whether it can answer now. Never raises for an unready model."""
        try:
            seen = await self._engine.probe()
        except PodiumError as error:
            return self._described(ready=False, detail=error.message)
        features = seen.features if self._features is None else self._features
        return self._described(ready=True, features=features, most=seen.max_seq_len)

    def _described(self, *, ready: bool, detail: str = "", features: Collection[str] = (), most: int = 0) -> ModelInfo:
        template = self._tokenizer.chat_template
        lengths = [length for length in (most, self._context_length) if length]
        return ModelInfo(
            name=self.name,
            kind=self._kind,
            ready=ready,
            detail=detail,
            context_length=min(lengths, default=0),
            tools=self._dialect.tools,
            json_schema=not JSON_GUIDE_FEATURES.isdisjoint(features),
            aliases=self._aliases,
            reasoning=self._dialect.name == "harmony" or (template is not None and "<think>" in template.source),
            remote=self._remote,
        )

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count the tokens of the prompt that `request` would send; see `ChatModel.count_tokens`."""
        return TokenCount(len((await asyncio.to_thread(self._prompt, request)).ids), exact=True)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Stream one turn; see `ChatModel.stream`.

        Raises:
            InvalidRequest: the prompt is too long, or the template or the engine refuses it.
            FailedPrecondition: the model has no chat template, or the engine cannot hold to a schema.
            ResourceExhausted: the engine's queue is full; has `retry_after`.
            DeadlineExceeded: the engine's own time limit has passed.
            Cancelled: somebody else stopped the generation at the engine.
            Unavailable: the engine cannot answer just now; retryable.
        """
        # Both take milliseconds of the processor's time, which the event loop cannot spare.
        prompt = await asyncio.to_thread(self._prompt, request)
        limit = self._room(request, len(prompt.ids))
        forced = await self._forced(request)
        turn = _Turn(self._tokenizer, self._parser(request, forced, prompt), self._stops, request)
        generation = self._generation(request, prompt, limit, forced)
        finished: TokensFinished | None = None
        async with aclosing(self._engine.generate(generation)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, TokensFinished):
                    finished = item
                    break
                for event in _joined(turn.take(item.token_ids)):
                    yield event
                if turn.stopped:
                    break
        if finished is None:
            if not turn.stopped:
                raise Internal("The engine ended a generation without its result.")
            await self._abort(generation.request_id)
        for event in turn.finish(finished):
            yield event
        yield TurnFinished(turn.reason(finished), turn.usage(finished, len(prompt.ids)))

    # --- the request -----------------------------------------------------------------------

    def _prompt(self, request: ChatRequest) -> _Prompt:
        template = self._tokenizer.chat_template
        if template is None:
            raise FailedPrecondition("This model has no chat template: name a folder with one in its settings.")
        tools = _offered(request)
        messages, entries = self._dialect.entries(
            request.messages,
            tools,
            template_has_tools=template.has_tools,
            template_has_calls=template.has_calls,
        )
        ids = self._tokenizer.encode_chat(messages, tools=entries)
        if not ids:
            raise InvalidRequest("The conversation is empty: send at least one message.")
        tail = self._tokenizer.decode(ids[-_TAIL:], skip_special=False).rstrip()
        opened = any(tail.endswith(opening) for opening, _ in self._dialect.parser.thoughts)
        return _Prompt(ids, opened)

    def _room(self, request: ChatRequest, prompt_tokens: int) -> int:
        wanted = request.max_tokens or self._max_tokens
        if not self._context_length:
            return wanted
        room = self._context_length - prompt_tokens
        if room < 1:
            raise InvalidRequest(
                f"The conversation has {prompt_tokens} tokens and model {self.name!r} takes {self._context_length} "
                "with its answer: shorten it, or use a model with a longer context.",
                metadata={"prompt_tokens": str(prompt_tokens), "context_length": str(self._context_length)},
            )
        return min(wanted, room)

    async def _forced(self, request: ChatRequest) -> Forced | None:
        """Return the guide that the request needs, with the parser for what it forces."""
        tools = _offered(request)
        if request.tool_choice is ToolChoice.REQUIRED and tools:
            # Without a fitting guide the model is asked only by the prompt, and may not call.
            return self._dialect.force(tools, await self._known_features())
        if request.json_schema is None or tools:
            # While tools may be called no schema can hold; the turn that answers is checked by the caller.
            return None
        if JSON_GUIDE_FEATURES.isdisjoint(await self._known_features()):
            raise FailedPrecondition(
                "This model's engine cannot hold an answer to a JSON Schema: switch its guided decoding on, or use "
                "another model."
            )
        return Forced(Guide(GuideKind.JSON_SCHEMA, _inner_schema(request.json_schema)), DIALECTS["plain"].parser)

    async def _known_features(self) -> Collection[str]:
        if self._features is None:
            self._features = (await self._engine.probe()).features
        return self._features

    def _parser(self, request: ChatRequest, forced: Forced | None, prompt: _Prompt) -> StreamingParser:
        kind = self._dialect.parser if forced is None else forced.parser
        # A JSON guide holds from the first token on and leaves no room for thoughts.
        straight = forced is not None and forced.guide.kind is GuideKind.JSON_SCHEMA
        return kind(_offered(request), self._tokenizer.special_ids, reasoning=prompt.reasoning and not straight)

    def _generation(self, request: ChatRequest, prompt: _Prompt, limit: int, forced: Forced | None) -> EngineRequest:
        return EngineRequest(
            request_id=f"chat_{secrets.token_hex(12)}",
            token_ids=prompt.ids,
            max_tokens=limit,
            sampling=Sampling(temperature=request.temperature, top_p=request.top_p, seed=request.seed),
            guide=None if forced is None else forced.guide,
            stop_token_ids=tuple(self._stops),
            include_stop_token=self._dialect.keep_stop,
            cache_salt=_salt(request.tenant),
            priority=request.priority,
            retain_seconds=request.retain_seconds,
            seconds_left=request.seconds_left,
        )

    async def _abort(self, request_id: str) -> None:
        # Closing the stream stops most engines; one that decodes on would hold memory for nothing.
        try:
            async with asyncio.timeout(_ABORT_SECONDS):
                await self._engine.abort(request_id)
        except (TimeoutError, PodiumError):
            # The turn has its answer, and an engine that is gone decodes nothing.
            return


def _joined(events: Iterator[ChatEvent]) -> Iterator[ChatEvent]:
    """Join texts that follow each other: each event costs its caller a message on the wire."""
    texts: list[str] = []
    for event in events:
        if isinstance(event, TextDelta):
            texts.append(event.text)
            continue
        if texts:
            yield TextDelta("".join(texts))
            texts.clear()
        yield event
    if texts:
        yield TextDelta("".join(texts))


class _Turn:
    """The output of one turn: ids in, events out."""

    def __init__(
        self, tokenizer: Tokenizer, parser: StreamingParser, stops: dict[int, str], request: ChatRequest
    ) -> None:
        self._text = tokenizer.fragment_detokenizer()
        self._parser = parser
        self._stops = stops
        self._stop_text = StopText(request.stop)
        self._silent_calls = request.tool_choice is ToolChoice.NONE
        self._ended = False
        self._calls = 0
        self._tokens = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop text came, so that the engine writes on for nothing."""
        return self._stop_text.found

    def take(self, ids: Sequence[int]) -> Iterator[ChatEvent]:
        for run in self._runs(ids):
            if self._ended or self.stopped:
                return
            self._tokens += len(run)
            if run[0] in self._stops:
                yield from self._end(run[0])
            else:
                yield from self._feed(self._text.push(run))

    def _runs(self, ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """Return ids that are decoded together: all between two stops, one by one when a text may stop the turn.

        What comes after a stop text is not the model's answer, and is not counted as such.
        """
        start = 0
        for place, index in enumerate(ids):
            if index in self._stops or self._stop_text.wanted:
                if place > start:
                    yield ids[start:place]
                yield ids[place : place + 1]
                start = place + 1
        if start < len(ids):
            yield ids[start:]

    def finish(self, finished: TokensFinished | None) -> Iterator[ChatEvent]:
        """End the output; raises for a generation that did not end as one."""
        if finished is not None:
            _check(finished.reason)
            if not self._ended and finished.stop_token_id in self._stops:
                yield from self._end(finished.stop_token_id)
        yield from self._feed(self._text.finish())
        # After a stop text, and at the token limit, whatever is open stays open.
        cut = self.stopped or (finished is not None and finished.reason is FinishReason.LENGTH)
        yield from self._shown(self._parser.finish(cut and not self._ended))
        if text := self._stop_text.flush():
            yield TextDelta(text)

    def reason(self, finished: TokensFinished | None) -> TurnFinishReason:
        if finished is not None and finished.reason is FinishReason.LENGTH and not (self._ended or self.stopped):
            return TurnFinishReason.LENGTH
        return TurnFinishReason.TOOL_CALLS if self._calls else TurnFinishReason.STOP

    def usage(self, finished: TokensFinished | None, prompt_tokens: int) -> Usage:
        if finished is None:
            return Usage(prompt_tokens, self._tokens)
        # An engine counts on after our own stop.
        counted = self._tokens if self.stopped else finished.completion_tokens
        return Usage(finished.prompt_tokens or prompt_tokens, counted, finished.cached_tokens)

    def _end(self, index: int | None) -> Iterator[ChatEvent]:
        yield from self._feed(self._text.finish())
        self._ended = True
        token = self._stops.get(index, "") if index is not None else ""
        # Most stops mean nothing but the end; some are the marker that closes a call.
        if token in self._parser.marks:
            yield from self._shown(self._parser.feed(token, special=True))

    def _feed(self, fragments: Sequence[tuple[str, bool]]) -> Iterator[ChatEvent]:
        for text, special in fragments:
            yield from self._shown(self._parser.feed(text, special))

    def _shown(self, pieces: Sequence[ChatEvent]) -> Iterator[ChatEvent]:
        for piece in pieces:
            if self.stopped:
                return
            if isinstance(piece, TextDelta):
                if text := self._stop_text.push(piece.text):
                    yield TextDelta(text)
                continue
            if text := self._stop_text.flush():
                yield TextDelta(text)
            if isinstance(piece, ToolCallSealed):
                if self._silent_calls:
                    continue  # the request forbade them, and no tool was offered
                self._calls += 1
            yield piece


def _check(reason: FinishReason) -> None:
    if reason is FinishReason.CANCELLED:
        raise Cancelled("The generation was stopped at the engine.")
    if reason is FinishReason.TIMEOUT:
        raise DeadlineExceeded("The engine's time limit for one generation has passed: ask for less, or allow more.")
    if reason is FinishReason.ERROR:
        raise Unavailable("The engine failed in the middle of a generation.", retry_after=1.0)


def _offered(request: ChatRequest) -> Sequence[ToolSpec]:
    return () if request.tool_choice is ToolChoice.NONE else request.tools


def _stop_ids(tokenizer: Tokenizer, dialect: Dialect) -> dict[int, str]:
    found: dict[int, str] = {}
    names = {index: token for token, index in tokenizer.special_ids.items()}
    if tokenizer.eos_token_id is not None:
        found[tokenizer.eos_token_id] = names.get(tokenizer.eos_token_id, "")
    for token in dialect.stops:
        index = tokenizer.token_id(token)
        if index is not None:
            found[index] = token
    return found


def _salt(tenant: str) -> str:
    # Always set, so that no two tenants share a prefix; a digest, so that engines learn no names.
    return hashlib.sha256(f"podium:{tenant}".encode()).hexdigest()[:32]


def _inner_schema(text: str) -> str:
    """Return the schema itself: the wrapper of some HTTP interfaces is accepted by engines and constrains nothing."""
    try:
        schema: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest(_BAD_SCHEMA) from None
    if not isinstance(schema, dict):
        raise InvalidRequest(_BAD_SCHEMA)
    inner = schema.get("schema")
    if isinstance(inner, dict) and not {"type", "properties", "anyOf", "$ref"} & schema.keys():
        return json.dumps(inner)
    return text
