"""What every `ChatModel` promises, for those behind HTTP, against local servers that speak recorded shapes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from podium.inference.http import (
    AnthropicChatModel,
    EgressPolicy,
    HttpEndpoint,
    OpenAIChatModel,
    Vendor,
    anthropic_endpoint,
)
from podium.orchestration.chat import ChatModel
from support import chat_model_suite as suite
from support import fake_anthropic as anthropic
from support import fake_openai as openai
from support.chat_model_suite import SECRET, Scenario
from support.fake_openai import CUT, STALL, FakeServer, Reply, Request, json_reply

PAIRS = {Scenario.CALL: ((19, 21),), Scenario.TWO_CALLS: ((1, 2), (3, 4))}
SSE = {"content-type": "text/event-stream"}
REFUSAL = {"error": {"message": f"bad field, key {SECRET}", "type": "invalid_request_error", "code": None}}
DOWN = {"error": {"message": f"worker died, key {SECRET}", "type": "InternalServerError", "code": 503}}


def _openai_calls(scenario: Scenario) -> list[dict[str, object]]:
    """As OpenAI and vLLM send them: the name first, then arguments in pieces."""
    found = []
    for index, (a, b) in enumerate(PAIRS[scenario]):
        found.append(openai.call_delta("", index=index, call_id=f"call_{index}", name="add"))
        found += [openai.call_delta(piece, index=index) for piece in (f'{{"a": {a}', f', "b": {b}', "}")]
    return found


def _whole_calls(scenario: Scenario) -> list[dict[str, object]]:
    """As Ollama sends them: each whole in one delta, all with index 0, here without ids as some versions do."""
    pairs = PAIRS[scenario]
    return [openai.call_delta(f'{{"a":{a},"b":{b}}}', index=0, call_id="", name="add") for a, b in pairs]


def openai_answer(scenario: Scenario, calls: Callable[[Scenario], list[dict[str, object]]]) -> Reply:
    if scenario in PAIRS:
        return openai.completion(openai.role(), *calls(scenario), openai.finish("tool_calls"), openai.usage())
    cut_call = openai.call_delta('{"a": 19, "b"', call_id="call_0", name="add")
    replies = {
        Scenario.TALK: openai.completion(openai.role(), *map(openai.say, ("Hello", " there.")), openai.finish("stop")),
        Scenario.ANSWER: openai.completion(openai.say("It is "), openai.say("40."), openai.finish("stop")),
        Scenario.CUT: openai.completion(openai.say("Hello"), openai.finish("length")),
        Scenario.CUT_CALL: openai.completion(cut_call, openai.finish("length")),
        Scenario.ENDLESS: openai.completion(openai.say("Hello"), done=False, then=[STALL]),
        Scenario.BROKEN: openai.completion(openai.say("Hello"), DOWN, done=False),
    }
    return replies.get(scenario) or _refused(scenario)


def anthropic_answer(scenario: Scenario) -> Reply:
    begin, hello = anthropic.start(), anthropic.text(0, "Hel", "lo")
    uses = [
        event
        for index, (a, b) in enumerate(PAIRS.get(scenario, ()))
        for event in anthropic.use(index, f"toolu_{index}", "add", f'{{"a": {a}', f', "b": {b}}}')
    ]
    if uses:
        return anthropic.message(begin, *uses, *anthropic.stop("tool_use"))
    talk, answer = anthropic.text(0, "Hello", " there."), anthropic.text(0, "It is ", "40.")
    cut_call = anthropic.use(0, "toolu_0", "add", '{"a": 19, "b"')
    replies = {
        Scenario.TALK: anthropic.message(begin, anthropic.ping(), *talk, *anthropic.stop("end_turn")),
        Scenario.ANSWER: anthropic.message(begin, *answer, *anthropic.stop("end_turn")),
        Scenario.CUT: anthropic.message(begin, *hello, *anthropic.stop("max_tokens")),
        Scenario.CUT_CALL: anthropic.message(begin, *cut_call, *anthropic.stop("max_tokens")),
        Scenario.ENDLESS: anthropic.message(begin, *hello, then=[STALL]),
        Scenario.BROKEN: anthropic.message(begin, *hello, anthropic.error("overloaded_error", SECRET)),
    }
    return replies.get(scenario) or _refused(scenario)


def _refused(scenario: Scenario) -> Reply:
    match scenario:
        case Scenario.REFUSED:
            return json_reply(REFUSAL, 400)
        case Scenario.BUSY:
            return json_reply({"error": {"message": "slow down", "type": "rate_limit_error"}}, 429, retry_after="3")
        case Scenario.DOWN:
            return json_reply(DOWN, 503)
    return Reply(headers=SSE, steps=[CUT])


@asynccontextmanager
async def _subject(
    answer: Callable[[Request], Reply], make: Callable[[FakeServer], ChatModel]
) -> AsyncIterator[suite.Subject]:
    async with FakeServer(answer) as server:
        model = make(server)
        try:
            # 100 ms is the promise; the suite waits that long and no longer.
            yield suite.Subject(model=model, stopped=server.disconnected, stop_seconds=0.1)
        finally:
            assert isinstance(model, OpenAIChatModel | AnthropicChatModel)
            await model.aclose()


def _openai_factory(vendor: Vendor, calls: Callable[[Scenario], list[dict[str, object]]]) -> suite.Factory:
    @asynccontextmanager
    async def factory(scenario: Scenario) -> AsyncIterator[suite.Subject]:
        def answer(request: Request) -> Reply:
            if request.path == "/v1/models":
                return _refused(scenario) if scenario is Scenario.DOWN else openai.models("m", max_model_len=4096)
            if request.path == "/tokenize":
                words = sum(len(str(m["content"]).split()) for m in request.json()["messages"])
                return json_reply({"count": words + 5, "max_model_len": 4096, "tokens": []})
            return openai_answer(scenario, calls)

        def make(server: FakeServer) -> ChatModel:
            return OpenAIChatModel("http", "m", HttpEndpoint("http", server.url, policy=EgressPolicy()), vendor=vendor)

        async with _subject(answer, make) as subject:
            yield subject

    return factory


@asynccontextmanager
async def anthropic_factory(scenario: Scenario) -> AsyncIterator[suite.Subject]:
    def answer(request: Request) -> Reply:
        if request.path == "/v1/models/m":
            entry = {"type": "model", "id": "m", "display_name": "M", "max_input_tokens": 200_000}
            return _refused(scenario) if scenario is Scenario.DOWN else json_reply(entry)
        if request.path == "/v1/messages/count_tokens":
            return json_reply({"input_tokens": len(request.body)})
        return anthropic_answer(scenario)

    def make(server: FakeServer) -> ChatModel:
        return AnthropicChatModel("http", "m", anthropic_endpoint("http", server.origin, policy=EgressPolicy()))

    async with _subject(answer, make) as subject:
        yield subject


FACTORIES = {
    "generic": _openai_factory(Vendor.GENERIC, _openai_calls),
    "openai": _openai_factory(Vendor.OPENAI, _openai_calls),
    "vllm": _openai_factory(Vendor.VLLM, _openai_calls),
    "trtllm_serve": _openai_factory(Vendor.TRTLLM_SERVE, _openai_calls),
    "lm_studio": _openai_factory(Vendor.LM_STUDIO, _openai_calls),
    "ollama": _openai_factory(Vendor.OLLAMA, _whole_calls),
    "anthropic": anthropic_factory,
}


@pytest.mark.parametrize("check", suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("backend", FACTORIES)
async def test_contract(backend: str, check: suite.Check) -> None:
    """The shared suite."""
    await check(FACTORIES[backend])
