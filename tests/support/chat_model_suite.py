"""What every `ChatModel` with a backend behind it promises, as checks that any test file can run.

A test file writes a `Factory`: an async context manager that takes a `Scenario`, makes the backend
(a fake engine, a local HTTP server) behave like that, and yields a `Subject`. Then:

    @pytest.mark.parametrize("check", chat_model_suite.CHECKS, ids=lambda check: check.__name__)
    async def test_contract(check: chat_model_suite.Check) -> None:
        await check(my_factory)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from enum import StrEnum

from podium.errors import InvalidRequest, PodiumError, ResourceExhausted, Unavailable
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatEvent,
    ChatModel,
    ChatRequest,
    Message,
    ReasoningDelta,
    TextDelta,
    ToolCallSealed,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)
from podium.orchestration.tool import ToolSpec

__all__ = ["ADD", "CHECKS", "SECRET", "Check", "Factory", "Scenario", "Subject", "collect"]

ADD = ToolSpec(
    name="add",
    description="Add two numbers.",
    input_schema={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)
# Backends that fail put this into their own error texts: it must not come out.
SECRET = "sk-do-not-show-4711"
_LIMIT_SECONDS = 20.0


class Scenario(StrEnum):
    """How the backend behaves."""

    TALK = "talk"
    """Says "Hello there." in at least two pieces and stops."""
    CALL = "call"
    """Calls `add` with {"a": 19, "b": 21} and stops."""
    TWO_CALLS = "two_calls"
    """Calls `add` with {"a": 1, "b": 2}, then with {"a": 3, "b": 4}, and stops."""
    ANSWER = "answer"
    """Says "It is 40." and stops; the request has a call and its result."""
    CUT = "cut"
    """Says "Hello" and is cut by the token limit."""
    CUT_CALL = "cut_call"
    """Is cut by the token limit inside the arguments of a call."""
    ENDLESS = "endless"
    """Says "Hello", then is silent and never ends; sets `Subject.stopped` when it is told to stop."""
    REFUSED = "refused"
    """Refuses the request as invalid, with `SECRET` in its own text."""
    BUSY = "busy"
    """Refuses the request because too many are running; retrying helps."""
    DOWN = "down"
    """Cannot be reached, or says that it cannot answer, with `SECRET` in its own text."""
    BROKEN = "broken"
    """Says "Hello", then fails in the middle, with `SECRET` in its own text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model under test. A backend in this process gives tasks of its own names that start with "backend".

    Attributes:
        stopped: set by the backend when a generation of its own was stopped early.
        stop_seconds: how soon after closing that must be.
        many: turns that the leak check takes; fewer for slow backends.
    """

    model: ChatModel
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    stop_seconds: float = 2.0
    many: int = 100


Factory = Callable[[Scenario], AbstractAsyncContextManager[Subject]]
Check = Callable[[Factory], Awaitable[None]]


async def collect(model: ChatModel, request: ChatRequest) -> list[ChatEvent]:
    """Return a whole turn's events, within a time limit."""
    async with asyncio.timeout(_LIMIT_SECONDS), aclosing(_events(model, request)) as events:
        return [event async for event in events]


async def _events(model: ChatModel, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
    async with aclosing(model.stream(request)) as events:  # type: ignore[type-var]
        async for event in events:
            yield event


def _ask(text: str = "Say hello.", *, tools: bool = False) -> ChatRequest:
    return ChatRequest(messages=[UserMessage(text)], tools=[ADD] if tools else (), tenant="tenant-a")


def _finish(events: list[ChatEvent]) -> TurnFinished:
    assert [e for e in events if isinstance(e, TurnFinished)] == events[-1:], "one finish, and it is last"
    last = events[-1]
    assert isinstance(last, TurnFinished)
    return last


def _text(events: list[ChatEvent]) -> str:
    pieces = [e.text for e in events if isinstance(e, TextDelta | ReasoningDelta)]
    assert all(pieces), "no delta is empty"
    return "".join(e.text for e in events if isinstance(e, TextDelta))


def _calls(events: list[ChatEvent]) -> list[tuple[str, object]]:
    return [(e.tool, json.loads(e.arguments_json)) for e in events if isinstance(e, ToolCallSealed)]


async def _failure(model: ChatModel, request: ChatRequest) -> tuple[list[ChatEvent], PodiumError]:
    """Return the events before the error, and the error."""
    events: list[ChatEvent] = []
    try:
        async with asyncio.timeout(_LIMIT_SECONDS), aclosing(_events(model, request)) as stream:
            async for event in stream:
                events.append(event)  # noqa: PERF401  a comprehension would lose them all when it raises
    except PodiumError as error:
        assert error.message, "an error says what to do"
        assert SECRET not in f"{error!r} {error.message} {error.metadata}", "an error shows no internals"
        return events, error
    raise AssertionError(f"no typed error was raised; the events were {events}")


async def check_text_in_order(factory: Factory) -> None:
    """Text comes in order, in pieces that are not empty; then one finish with usage."""
    async with factory(Scenario.TALK) as subject:
        events = await collect(subject.model, _ask())
    assert _text(events) == "Hello there."
    assert sum(isinstance(e, TextDelta) for e in events) >= 2
    finish = _finish(events)
    assert finish.reason is TurnFinishReason.STOP
    assert finish.usage.prompt_tokens > 0
    assert finish.usage.completion_tokens > 0


async def check_call_is_sealed(factory: Factory) -> None:
    """A call names an offered tool and holds its arguments; the finish tells that results are waited for."""
    async with factory(Scenario.CALL) as subject:
        events = await collect(subject.model, _ask("add 19 and 21", tools=True))
    assert _calls(events) == [("add", {"a": 19, "b": 21})]
    assert _finish(events).reason is TurnFinishReason.TOOL_CALLS


async def check_calls_in_order(factory: Factory) -> None:
    """Several calls of one turn come each once, in the model's order."""
    async with factory(Scenario.TWO_CALLS) as subject:
        events = await collect(subject.model, _ask("add 1 and 2, and 3 and 4", tools=True))
    assert _calls(events) == [("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})]
    assert _finish(events).reason is TurnFinishReason.TOOL_CALLS


async def check_results_are_answered(factory: Factory) -> None:
    """A history with a call and its result can be sent, and is answered in text."""
    messages: list[Message] = [
        UserMessage("add 19 and 21"),
        AssistantMessage("", (CallRequest("c0_0", "add", b'{"a": 19, "b": 21}', provider_id="abcdefgh1"),)),
        ToolMessage("c0_0", "add", "40", provider_id="abcdefgh1"),
    ]
    async with factory(Scenario.ANSWER) as subject:
        events = await collect(subject.model, ChatRequest(messages=messages, tools=[ADD], turn=1))
    assert _text(events) == "It is 40."
    assert _finish(events).reason is TurnFinishReason.STOP


async def check_length_is_told(factory: Factory) -> None:
    """A turn that the token limit cut says so."""
    async with factory(Scenario.CUT) as subject:
        events = await collect(subject.model, _ask())
    assert _text(events) == "Hello"
    assert _finish(events).reason is TurnFinishReason.LENGTH


async def check_half_a_call_is_none(factory: Factory) -> None:
    """A call that the token limit cut is not made."""
    async with factory(Scenario.CUT_CALL) as subject:
        events = await collect(subject.model, _ask("add 19 and 21", tools=True))
    assert _calls(events) == []
    assert _finish(events).reason is TurnFinishReason.LENGTH


async def check_closing_stops_the_backend(factory: Factory) -> None:
    """Closing the stream after its first event stops the generation behind it."""
    async with factory(Scenario.ENDLESS) as subject:
        stream = _events(subject.model, _ask())
        async with asyncio.timeout(_LIMIT_SECONDS):
            assert isinstance(await anext(stream), TextDelta)
            assert not subject.stopped.is_set()
            await stream.aclose()
        async with asyncio.timeout(subject.stop_seconds):
            await subject.stopped.wait()


async def check_cancelling_stops_the_backend(factory: Factory) -> None:
    """Cancelling the task that reads stops the generation, and the cancel comes through."""
    async with factory(Scenario.ENDLESS) as subject:
        started = asyncio.Event()

        async def read() -> None:
            async with aclosing(_events(subject.model, _ask())) as events:
                async for _event in events:
                    started.set()

        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read())
            async with asyncio.timeout(_LIMIT_SECONDS):
                await started.wait()
            reader.cancel()
        assert reader.cancelled()
        async with asyncio.timeout(subject.stop_seconds):
            await subject.stopped.wait()


async def check_a_bad_request_is_refused(factory: Factory) -> None:
    """What the backend calls invalid is an `InvalidRequest`."""
    async with factory(Scenario.REFUSED) as subject:
        events, error = await _failure(subject.model, _ask())
    assert events == []
    assert isinstance(error, InvalidRequest)


async def check_a_full_backend_is_told(factory: Factory) -> None:
    """Too many turns at once is a `ResourceExhausted` that says when to come again."""
    async with factory(Scenario.BUSY) as subject:
        events, error = await _failure(subject.model, _ask())
    assert events == []
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after is not None


async def check_a_missing_backend_is_told(factory: Factory) -> None:
    """A backend that is not there is `Unavailable`, so that another model may be asked."""
    async with factory(Scenario.DOWN) as subject:
        events, error = await _failure(subject.model, _ask())
        info = await subject.model.info()
    assert events == []
    assert isinstance(error, Unavailable)
    assert SECRET not in repr(info)


async def check_a_broken_stream_is_told(factory: Factory) -> None:
    """A failure in the middle is a typed error after what came before it, and never a finish."""
    async with factory(Scenario.BROKEN) as subject:
        events, error = await _failure(subject.model, _ask())
    assert "Hello".startswith(_text(events))
    assert not any(isinstance(e, TurnFinished) for e in events)
    assert isinstance(error, Unavailable)


async def check_info_and_count(factory: Factory) -> None:
    """A model describes itself, and counts more tokens for more text."""
    async with factory(Scenario.TALK) as subject:
        info = await subject.model.info()
        few = await subject.model.count_tokens(_ask("hello"))
        more = await subject.model.count_tokens(_ask("hello " * 50))
    assert info.name == subject.model.name
    assert info.kind
    assert info.ready
    assert 0 < few.tokens < more.tokens


async def check_turns_are_independent(factory: Factory) -> None:
    """Turns at once on one model do not mix."""
    async with factory(Scenario.TALK) as subject, asyncio.TaskGroup() as group:
        turns = [group.create_task(collect(subject.model, _ask(f"hello {i}"))) for i in range(8)]
        results = [await turn for turn in turns]
    assert [_text(events) for events in results] == ["Hello there."] * 8


async def check_no_task_is_left(factory: Factory) -> None:
    """After many turns, half of them left early, no task is left that was not there before."""
    async with factory(Scenario.TALK) as subject:
        await collect(subject.model, _ask())
        before = asyncio.all_tasks()
        for index in range(subject.many):
            if index % 2:
                await collect(subject.model, _ask())
                continue
            async with asyncio.timeout(_LIMIT_SECONDS), aclosing(_events(subject.model, _ask())) as events:
                await anext(events)
        left = {task for task in asyncio.all_tasks() - before if not task.get_name().startswith("backend")}
        if left:
            _ended, left = await asyncio.wait(left, timeout=subject.stop_seconds)
        assert not left


CHECKS: tuple[Check, ...] = (
    check_text_in_order,
    check_call_is_sealed,
    check_calls_in_order,
    check_results_are_answered,
    check_length_is_told,
    check_half_a_call_is_none,
    check_closing_stops_the_backend,
    check_cancelling_stops_the_backend,
    check_a_bad_request_is_refused,
    check_a_full_backend_is_told,
    check_a_missing_backend_is_told,
    check_a_broken_stream_is_told,
    check_info_and_count,
    check_turns_are_independent,
    check_no_task_is_left,
)
