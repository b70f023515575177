"""What is noted of a turn, and the model that guesses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from podium.errors import InvalidRequest, Unavailable
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    ModelInfo,
    SystemMessage,
    TextDelta,
    TokenCount,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)
from podium.orchestration.tool import ToolSpec
from quality.cases import Case, packs
from quality.chance import ChanceModel
from quality.harness import ask, ask_all
from quality.models import Contender, opened

TODAY = date(2026, 5, 2)
CASE = Case("find a", "p", (), "single")


class Played:
    """A model that plays events, a list for each turn; an error among them is raised."""

    name = "played"

    def __init__(self, *turns: Sequence[ChatEvent | Exception]) -> None:
        self.requests: list[ChatRequest] = []
        self._turns = list(turns)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        self.requests.append(request)
        for event in self._turns.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event

    async def info(self) -> ModelInfo:
        return ModelInfo(name=self.name, kind="played", ready=True)

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        return TokenCount(0, exact=True)


def contender(model: Played, *, dated: bool = False, talk: int = 0) -> Contender:
    return Contender(name="played", model=model, detail="", dated=dated, talk=talk)


def call(arguments: bytes, name: str = "find", own_id: str = "") -> ToolCallSealed:
    return ToolCallSealed(name, arguments, own_id)


END = TurnFinished(TurnFinishReason.STOP)


async def test_calls_are_noted_in_order_with_their_times() -> None:
    model = Played([call(b'{"text": "a"}', own_id="x"), call(b'{"text": "b"}'), END])

    outcome = await ask(contender(model), CASE, (), TODAY)

    assert [(c.tool, c.arguments, c.provider_id, c.confidence) for c in outcome.calls] == [
        ("find", {"text": "a"}, "x", None),
        ("find", {"text": "b"}, "", None),
    ]
    assert 0 < outcome.calls[0].seconds <= outcome.calls[1].seconds
    assert (outcome.first_word, outcome.error, outcome.declined) == (None, "", False)


@pytest.mark.parametrize("text", [b"[1]", b"{", b'"x"', b"\xff"])
async def test_arguments_that_are_no_object_are_kept_as_wrong(text: bytes) -> None:
    outcome = await ask(contender(Played([call(text), END])), CASE, (), TODAY)

    assert list(outcome.calls[0].arguments) == ["unreadable"]


async def test_the_first_word_ends_the_turn_of_a_model_that_calls_first() -> None:
    outcome = await ask(contender(Played([TextDelta(" "), TextDelta("No"), call(b"{}"), END])), CASE, (), TODAY)

    assert outcome.declined
    assert outcome.first_word is not None


@pytest.mark.parametrize(("said", "calls"), [("Let me look.", 1), ("Let me tell you a long story.", 0)])
async def test_a_model_that_talks_may_call_after_a_few_words(said: str, calls: int) -> None:
    outcome = await ask(contender(Played([TextDelta(said), call(b"{}"), END]), talk=20), CASE, (), TODAY)

    assert len(outcome.calls) == calls


async def test_a_model_that_talks_is_heard_to_its_end_once_it_has_called() -> None:
    model = Played([call(b"{}"), TextDelta("And now to something quite different."), call(b"{}"), END])

    assert len((await ask(contender(model, talk=20), CASE, (), TODAY)).calls) == 2


@pytest.mark.parametrize("dated", [True, False])
async def test_the_day_is_told_to_those_who_need_it(dated: bool) -> None:
    model = Played([END])

    await ask(contender(model, dated=dated), CASE, (), TODAY)

    told = [SystemMessage("Today is Saturday, 2026-05-02.")] if dated else []
    assert model.requests[0].messages == [*told, UserMessage("find a")]


async def test_a_model_short_of_room_is_asked_again() -> None:
    model = Played([Unavailable("busy", retry_after=0.0)], [call(b"{}"), END])

    outcome = await ask(contender(model), CASE, (), TODAY)

    assert (len(outcome.calls), outcome.error, len(model.requests)) == (1, "", 2)


async def test_a_failure_is_an_error_and_no_answer() -> None:
    outcome = await ask(contender(Played([InvalidRequest("too long")])), CASE, (), TODAY)

    assert (outcome.error, outcome.declined) == ("too long", False)


async def test_each_pack_is_warmed_once_and_its_cases_asked_together() -> None:
    model = Played(*[[END]] * 5)
    cases = [Case("b1", "b", (), "none"), Case("a1", "a", (), "none"), Case("b2", "b", (), "none")]
    heard: list[str] = []

    outcomes = await ask_all(
        contender(model), cases, {"a": (), "b": ()}, TODAY, done=lambda outcome: heard.append(outcome.case.request)
    )

    assert [request.messages for request in model.requests] == [
        [UserMessage(text)] for text in ("hello", "a1", "hello", "b1", "b2")
    ]
    assert [outcome.case.request for outcome in outcomes] == heard == ["a1", "b1", "b2"]


async def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ValueError, match=r"guess.*embedded"):
        async with opened("guess"):
            pass


SETTINGS = """
[models.played]
kind = "scripted"
file = "script.toml"
"""
SCRIPT = """
[[scripts]]
match = ""
[[scripts.turns]]
events = [{ text = "Let me look." }, { call = "find", arguments = { text = "a" } }]
"""


async def test_a_model_of_a_settings_file_is_asked_as_the_server_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "script.toml").write_text(SCRIPT, encoding="utf-8")

    async with opened(f"{tmp_path}/mine.toml:played") as found:
        outcome = await ask(found, CASE, (), TODAY)

    assert (found.name, found.dated) == ("played", True)
    assert [(call.tool, call.arguments) for call in outcome.calls] == [("find", {"text": "a"})]
    with pytest.raises(ValueError, match="it has played"):
        async with opened(f"{tmp_path}/mine.toml:other"):
            pass


class TestChance:
    async def said(self, text: str, tools: Sequence[ToolSpec], seed: int = 1) -> list[ChatEvent]:
        request = ChatRequest(messages=[UserMessage(text)], tools=tools)
        return [event async for event in ChanceModel(seed).stream(request)]

    async def test_the_same_request_gets_the_same_call(self) -> None:
        tools = packs()["second"]

        assert await self.said("book a room for 4", tools) == await self.said("book a room for 4", tools)
        assert len({repr(await self.said("book a room for 4", tools, seed)) for seed in range(20)}) > 5

    async def test_every_tool_and_none_are_as_likely(self) -> None:
        tools = packs()["second"]
        chosen = [(await self.said(f"request {number}", tools))[0] for number in range(900)]

        counts = [sum(isinstance(c, ToolCallSealed) and c.tool == tool.name for c in chosen) for tool in tools]
        counts.append(sum(isinstance(c, TextDelta) for c in chosen))

        assert sum(counts) == 900
        assert all(60 < count < 140 for count in counts), counts  # four deviations around 100

    async def test_arguments_are_of_the_right_types(self) -> None:
        for tools in packs().values():
            by_name = {tool.name: tool for tool in tools}
            for number in range(40):
                event = (await self.said(f"move 3 of X-{number} to 2026-05-03 at 9:30 for Ann", tools))[0]
                if isinstance(event, ToolCallSealed):
                    schema = by_name[event.tool].input_schema
                    problems = [
                        problem.message
                        for problem in Draft202012Validator(schema).iter_errors(json.loads(event.arguments_json))
                        # Guesses have the right type, but not always a number in range or a code of the right form.
                        if problem.validator in {"type", "required", "enum", "const", "additionalProperties"}
                    ]
                    assert problems == []

    async def test_values_come_from_the_request(self) -> None:
        tools = [tool for tool in packs()["second"] if tool.name == "add_reminder"]
        texts = "remind me of the milk on 2027-03-04"
        events = [(await self.said(texts, tools, seed))[0] for seed in range(12)]
        found = [json.loads(event.arguments_json) for event in events if isinstance(event, ToolCallSealed)]

        assert found
        assert all(values["task"] in texts and values["day"] == "2027-03-04" for values in found)

    def test_the_day_without_one_is_soon(self) -> None:
        import random

        from quality.chance import _Guesser

        guess = _Guesser("book it", {}, random.Random(1))._day()

        assert 0 <= (date.fromisoformat(guess) - datetime.now(UTC).date()).days <= 7
