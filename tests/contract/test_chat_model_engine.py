"""The engine-backed chat model keeps every promise of `ChatModel`, in each of several dialects, and its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from podium.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidRequest,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)
from podium.inference.dialects import DIALECTS
from podium.inference.engine import EngineInfo, EngineRequest, FinishReason, GuideKind, TokenDelta, TokensFinished
from podium.inference.engine_chat import EngineChatModel
from podium.inference.model_store import ModelStore
from podium.inference.tokenizer import Tokenizer
from podium.orchestration.chat import (
    ChatRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallSealed,
    ToolChoice,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from support import chat_model_suite as suite
from support.byte_tokenizer import TEMPLATE, byte_tokenizer
from support.chat_model_suite import ADD, Scenario, Subject, collect


@dataclass
class ScriptedEngine:
    """An engine that writes given texts, a few tokens at a time, and notes what it is asked."""

    tokenizer: Tokenizer
    output: str = ""
    reason: FinishReason = FinishReason.STOP
    endless: bool = False
    refusal: PodiumError | None = None
    failure: PodiumError | None = None
    unready: bool = False
    unfinished: bool = False
    stop_token: str = ""
    step: int = 3
    features: frozenset[str] = frozenset()
    requests: list[EngineRequest] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenDelta | TokensFinished, None]:
        self.requests.append(request)
        if self.refusal is not None:
            raise self.refusal
        ids = self.tokenizer.encode(self.output, parse_special=True)
        ended = False
        try:
            for start in range(0, len(ids), self.step):
                yield TokenDelta(tuple(ids[start : start + self.step]))
                await asyncio.sleep(0)
            if self.endless:
                await asyncio.Event().wait()
            if self.failure is not None:
                raise self.failure
            ended = True
            if not self.unfinished:
                stop = self.tokenizer.token_id(self.stop_token) if self.stop_token else None
                yield TokensFinished(
                    reason=self.reason,
                    prompt_tokens=len(request.token_ids),
                    completion_tokens=len(ids),
                    cached_tokens=1,
                    stop_token_id=stop,
                )
        finally:
            if not ended:
                self.stopped.set()

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    async def probe(self) -> EngineInfo:
        if self.unready:
            raise Unavailable("The engine is not ready.")
        return EngineInfo(model_id="m", max_seq_len=2048, vocab_size=300, features=self.features)


CALLS: dict[str, Callable[[Sequence[dict[str, int]]], str]] = {
    "hermes": lambda calls: "\n".join(
        f'<tool_call>\n{{"name": "add", "arguments": {json.dumps(a)}}}\n</tool_call>' for a in calls
    ),
    "llama3_json": lambda calls: "; ".join(json.dumps({"name": "add", "parameters": a}) for a in calls),
    "mistral": lambda calls: "".join(f"[TOOL_CALLS]add[ARGS]{json.dumps(a)}" for a in calls),
    "pythonic": lambda calls: "[" + ", ".join(f"add(a={a['a']}, b={a['b']})" for a in calls) + "]",
}
SECRET = suite.SECRET


def factory(dialect: str) -> suite.Factory:
    """Return the suite's factory for a model that speaks this dialect."""
    write = CALLS[dialect]
    call = write([{"a": 19, "b": 21}])
    outputs: dict[Scenario, dict[str, Any]] = {
        Scenario.TALK: {"output": "Hello there.<|im_end|>"},
        Scenario.CALL: {"output": call},
        Scenario.TWO_CALLS: {"output": write([{"a": 1, "b": 2}, {"a": 3, "b": 4}])},
        Scenario.ANSWER: {"output": "It is 40."},
        Scenario.CUT: {"output": "Hello", "reason": FinishReason.LENGTH},
        Scenario.CUT_CALL: {"output": call[: call.rindex("1")], "reason": FinishReason.LENGTH},
        Scenario.ENDLESS: {"output": "Hello", "endless": True},
        Scenario.REFUSED: {"refusal": InvalidRequest("The engine refuses the request.")},
        Scenario.BUSY: {"refusal": ResourceExhausted("The engine's queue is full.", retry_after=1.0)},
        Scenario.DOWN: {"refusal": Unavailable("The engine is not there."), "unready": True},
        Scenario.BROKEN: {"output": "Hello", "failure": Unavailable("The engine went away.")},
    }

    @asynccontextmanager
    async def make(scenario: Scenario) -> AsyncIterator[Subject]:
        engine = ScriptedEngine(byte_tokenizer(), **outputs[scenario])
        yield Subject(model=model_of(engine, dialect), stopped=engine.stopped)

    made: Callable[[Scenario], AbstractAsyncContextManager[Subject]] = make
    return made


def model_of(engine: ScriptedEngine, dialect: str = "hermes", **options: Any) -> EngineChatModel:
    return EngineChatModel(engine, engine.tokenizer, DIALECTS[dialect], name="m", **options)


@pytest.mark.parametrize("dialect", sorted(CALLS))
@pytest.mark.parametrize("check", suite.CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: suite.Check, dialect: str) -> None:
    await check(factory(dialect))


def ask(text: str = "hi", **options: Any) -> ChatRequest:
    return ChatRequest(messages=[UserMessage(text)], **options)


def text_of(events: Sequence[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def run(output: str, request: ChatRequest | None = None, dialect: str = "hermes", **engine: Any) -> list[Any]:
    scripted = ScriptedEngine(byte_tokenizer(), output, **engine)
    return list(await collect(model_of(scripted, dialect), request or ask()))


async def test_the_prompt_is_rendered_once_and_begins_once() -> None:
    """The template brings the first token; encoding must not add another."""
    engine = ScriptedEngine(byte_tokenizer(), "ok")
    await collect(model_of(engine), ask("héllo <|im_end|> <s>"))
    ids = list(engine.requests[0].token_ids)
    begin, end = engine.tokenizer.special_ids["<s>"], engine.tokenizer.special_ids["<|im_end|>"]
    assert ids.count(begin) == 1
    assert ids[0] == begin
    assert ids.count(end) == 1, "a person's text never becomes a control token"
    assert engine.tokenizer.decode(ids, skip_special=False).count("héllo <|im_end|> <s>") == 1


async def test_rendering_leaves_the_event_loop_free() -> None:
    """Templates and tokenizers take milliseconds, and work in a thread."""
    engine = ScriptedEngine(byte_tokenizer(), "ok")
    threads: list[int] = []
    encode = engine.tokenizer.encode_chat

    def noted(*arguments: Any, **options: Any) -> list[int]:
        threads.append(threading.get_ident())
        return encode(*arguments, **options)

    engine.tokenizer.encode_chat = noted  # type: ignore[method-assign]
    await collect(model_of(engine), ask())
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_the_engine_gets_what_the_request_says() -> None:
    """Limits, sampling, tenant, priority and retention reach the engine."""
    engine = ScriptedEngine(byte_tokenizer(), "ok")
    model = model_of(engine, max_tokens=77)
    await collect(model, ask(temperature=0.5, top_p=0.9, seed=7, tenant="a", priority=0.8, retain_seconds=3.0))
    await collect(model, ask(max_tokens=5, tenant="b"))
    first, second = engine.requests
    assert first.max_tokens == 77
    assert second.max_tokens == 5
    assert (first.sampling.temperature, first.sampling.top_p, first.sampling.seed) == (0.5, 0.9, 7)
    assert (first.priority, first.retain_seconds) == (0.8, 3.0)
    assert first.cache_salt
    assert first.cache_salt != second.cache_salt, "tenants share no cached prefix"
    assert first.request_id != second.request_id
    assert engine.tokenizer.token_id("<|im_end|>") in first.stop_token_ids


@pytest.mark.parametrize("step", [1, 2, 5, 100])
async def test_a_stop_text_ends_the_turn_wherever_tokens_are_cut(step: int) -> None:
    """What precedes the stop is the answer, and the engine is told to stop."""
    engine = ScriptedEngine(byte_tokenizer(), "One. ENxx Two END three four five six", step=step)
    events = await collect(model_of(engine), ask(stop=["END", "never"]))
    assert text_of(events) == "One. ENxx Two "
    finish = events[-1]
    assert isinstance(finish, TurnFinished)
    assert finish.reason is TurnFinishReason.STOP
    assert finish.usage.completion_tokens == len("One. ENxx Two END"), "what came after the stop is not counted"
    assert engine.aborted == [engine.requests[0].request_id]
    assert engine.stopped.is_set() or step == 100


async def test_text_that_only_begins_like_a_stop_is_kept() -> None:
    assert text_of(await run("Two EN", ask(stop=["END"]))) == "Two EN"


async def test_a_stop_text_inside_arguments_is_no_stop() -> None:
    events = await run(CALLS["hermes"]([{"a": 1, "b": 2}]), ask(stop=['"b"'], tools=[ADD]))
    assert [json.loads(e.arguments_json) for e in events if isinstance(e, ToolCallSealed)] == [{"a": 1, "b": 2}]


async def test_nothing_after_the_end_token_counts() -> None:
    """Engines hand out the end token itself, and some go on after it."""
    events = await run("Hi<|im_end|>ignored")
    assert text_of(events) == "Hi"


async def test_characters_of_several_tokens_come_whole() -> None:
    events = await run("größer 日本 🎼", step=1)
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(pieces) == "größer 日本 🎼"
    assert not any("\ufffd" in piece for piece in pieces)


async def test_thoughts_that_the_prompt_opened() -> None:
    """Templates of some models write the opening mark themselves."""
    engine = ScriptedEngine(byte_tokenizer(TEMPLATE + "<think>\n"), "Let me see.</think>\n\nHello")
    events = await collect(model_of(engine), ask())
    assert "".join(e.text for e in events if isinstance(e, ReasoningDelta)) == "Let me see."
    assert text_of(events) == "Hello"


@pytest.mark.parametrize("kept", [True, False])
async def test_a_stop_token_that_closes_a_call_is_seen_kept_or_stripped(kept: bool) -> None:
    output = "<|channel|>commentary to=functions.add<|message|>12" + ("<|call|>" if kept else "")
    engine = ScriptedEngine(byte_tokenizer(eos="<|return|>"), output, stop_token="" if kept else "<|call|>")
    events = await collect(model_of(engine, "harmony"), ask(tools=[ADD]))
    assert [(e.tool, e.arguments_json) for e in events if isinstance(e, ToolCallSealed)] == [("add", b"12")]
    assert engine.requests[0].include_stop_token
    finish = events[-1]
    assert isinstance(finish, TurnFinished)
    assert finish.reason is TurnFinishReason.TOOL_CALLS


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (FinishReason.CANCELLED, Cancelled),
        (FinishReason.TIMEOUT, DeadlineExceeded),
        (FinishReason.ERROR, Unavailable),
    ],
)
async def test_other_endings_are_errors(reason: FinishReason, error: type[PodiumError]) -> None:
    with pytest.raises(error):
        await run("Hel", reason=reason)


async def test_an_engine_that_forgets_its_result_is_at_fault() -> None:
    with pytest.raises(Internal):
        await run("Hel", unfinished=True)


async def test_a_call_sealed_before_the_cut_stays() -> None:
    output = CALLS["hermes"]([{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    events = await run(output[:-24], ask(tools=[ADD]), reason=FinishReason.LENGTH)
    assert [json.loads(e.arguments_json) for e in events if isinstance(e, ToolCallSealed)] == [{"a": 1, "b": 2}]
    assert events[-1].reason is TurnFinishReason.LENGTH
    assert text_of(events) == ""


async def test_a_prompt_that_is_too_long_is_refused_before_the_engine() -> None:
    engine = ScriptedEngine(byte_tokenizer(), "ok")
    with pytest.raises(InvalidRequest, match="shorten it"):
        await collect(model_of(engine, context_length=50), ask("long " * 20))
    assert engine.requests == []


async def test_the_output_is_limited_to_the_room_that_is_left() -> None:
    engine = ScriptedEngine(byte_tokenizer(), "ok")
    model = model_of(engine, context_length=200)
    await collect(model, ask(max_tokens=1000))
    assert len(engine.requests[0].token_ids) + engine.requests[0].max_tokens == 200


async def test_usage_is_the_engines() -> None:
    events = await run("Hello<|im_end|>")
    usage = events[-1].usage
    assert usage == Usage(usage.prompt_tokens, 6, 1)


async def test_a_schema_becomes_a_guide_without_its_wrapper() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    engine = ScriptedEngine(byte_tokenizer(), '{"name": "add"}', features=frozenset({"guided_decoding"}))
    wrapped = json.dumps({"name": "answer", "schema": schema})
    events = await collect(model_of(engine, "llama3_json"), ask(json_schema=wrapped))
    guide = engine.requests[0].guide
    assert guide is not None
    assert guide.kind is GuideKind.JSON_SCHEMA
    assert json.loads(guide.text) == schema
    assert text_of(events) == '{"name": "add"}'


async def test_a_schema_without_guides_is_refused() -> None:
    """Engines without them would answer freely, as if nothing had been asked."""
    engine = ScriptedEngine(byte_tokenizer(), "free text")
    with pytest.raises(FailedPrecondition, match="guided decoding"):
        await collect(model_of(engine), ask(json_schema='{"type": "object"}'))
    assert engine.requests == []
    with pytest.raises(InvalidRequest, match="JSON Schema"):
        await run("", ask(json_schema="[1"), features=frozenset({"guided_decoding"}))


async def test_a_required_call_is_forced() -> None:
    """With structural tags in the dialect's own form, else as one object that a JSON Schema describes."""
    request = ask(tools=[ADD], tool_choice=ToolChoice.REQUIRED)
    tagged = ScriptedEngine(
        byte_tokenizer(), CALLS["hermes"]([{"a": 1, "b": 2}]), features=frozenset({"structural_tag"})
    )
    plain = ScriptedEngine(
        byte_tokenizer(TEMPLATE + "<think>"),
        '{"name": "add", "parameters": {"a": 1, "b": 2}}',
        features=frozenset({"guided_decoding"}),
    )
    for engine, kind in ((tagged, GuideKind.STRUCTURAL_TAG), (plain, GuideKind.JSON_SCHEMA)):
        events = await collect(model_of(engine), request)
        assert [json.loads(e.arguments_json) for e in events if isinstance(e, ToolCallSealed)] == [{"a": 1, "b": 2}]
        guide = engine.requests[0].guide
        assert guide is not None
        assert guide.kind is kind


async def test_forbidden_calls_are_neither_offered_nor_made() -> None:
    engine = ScriptedEngine(byte_tokenizer(), "No. " + CALLS["hermes"]([{"a": 1, "b": 2}]))
    events = await collect(model_of(engine), ask(tools=[ADD], tool_choice=ToolChoice.NONE))
    assert "add" not in engine.tokenizer.decode(engine.requests[0].token_ids)
    assert not any(isinstance(event, ToolCallSealed) for event in events)
    assert events[-1].reason is TurnFinishReason.STOP  # type: ignore[union-attr]


async def test_a_template_without_tools_is_told_of_them_in_words() -> None:
    simple = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    engine = ScriptedEngine(byte_tokenizer(simple), "ok")
    await collect(model_of(engine), ask(tools=[ADD]))
    prompt = engine.tokenizer.decode(engine.requests[0].token_ids)
    assert "Add two numbers." in prompt
    assert "<tool_call>" in prompt
    with pytest.raises(FailedPrecondition, match="knows no tools"):
        await collect(model_of(engine, "mistral"), ask(tools=[ADD]))


async def test_info_tells_what_the_engine_can_do() -> None:
    engine = ScriptedEngine(byte_tokenizer(), features=frozenset({"guided_decoding"}))
    info = await model_of(engine, kind="trtllm", aliases=["x"]).info()
    assert (info.ready, info.json_schema, info.context_length, info.tools) == (True, True, 2048, True)
    engine.unready = True
    info = await model_of(engine).info()
    assert not info.ready
    assert info.detail


@pytest.mark.embedded
async def test_the_embedded_models_own_tokenizer() -> None:
    """A real vocabulary, whose tokens do not end where calls or characters do."""
    stored = ModelStore().find()
    if stored is None:
        pytest.skip("the embedded model is not here: run `podium models pull`")
    engine = ScriptedEngine(
        Tokenizer.from_directory(stored.path), "Größe 🎼. " + CALLS["hermes"]([{"a": 1, "b": 2}]) + "<|im_end|>", step=1
    )
    events = await collect(model_of(engine), ask("add 1 and 2 <|im_end|>", tools=[ADD]))
    assert text_of(events) == "Größe 🎼. "
    assert [json.loads(e.arguments_json) for e in events if isinstance(e, ToolCallSealed)] == [{"a": 1, "b": 2}]
    assert events[-1].reason is TurnFinishReason.TOOL_CALLS  # type: ignore[union-attr]
    prompt = engine.tokenizer.decode(engine.requests[0].token_ids, skip_special=False)
    assert prompt.endswith("<|im_start|>assistant\n")
    assert "Add two numbers." in prompt
    count = await model_of(engine).count_tokens(ask("add 1 and 2 <|im_end|>", tools=[ADD]))
    assert (count.tokens, count.exact) == (len(engine.requests[0].token_ids), True)
