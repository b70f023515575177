"""Puts the cases to a model and notes what it does, and how long it takes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import date
from itertools import groupby
from typing import Any

from podium.errors import PodiumError
from podium.orchestration.chat import ChatRequest, Message, SystemMessage, TextDelta, ToolCallSealed, UserMessage
from podium.orchestration.tool import ToolSpec
from quality.cases import Case
from quality.models import Contender
from quality.scoring import MadeCall, Outcome

__all__ = ["ask", "ask_all"]

_TRIES = 4
_LONGEST_WAIT = 65.0
_TURN_SECONDS = 180.0


async def ask(contender: Contender, case: Case, tools: Sequence[ToolSpec], today: date) -> Outcome:
    """Put one request; a model that is only short of room is asked again when it says that it may be."""
    for _ in range(_TRIES - 1):
        outcome, wait = await _turn(contender, case, tools, today)
        if wait is None or outcome.calls:
            return outcome
        await asyncio.sleep(min(wait, _LONGEST_WAIT))
    return (await _turn(contender, case, tools, today))[0]


async def _turn(
    contender: Contender, case: Case, tools: Sequence[ToolSpec], today: date
) -> tuple[Outcome, float | None]:
    """Return what came of one turn, and the seconds after which a failed one may be tried again."""
    request = ChatRequest(messages=_messages(contender, case, today), tools=tools, max_tokens=contender.max_tokens)
    calls: list[MadeCall] = []
    first_word: float | None = None
    said, error, wait, began = 0, "", None, time.perf_counter()
    try:
        async with (
            asyncio.timeout(_TURN_SECONDS),
            aclosing(contender.model.stream(request)) as events,  # type: ignore[type-var]
        ):
            async for event in events:
                now = time.perf_counter() - began
                if isinstance(event, ToolCallSealed):
                    calls.append(_made(event, now))
                elif isinstance(event, TextDelta) and event.text.strip():
                    first_word = now if first_word is None else first_word
                    said += len(event.text)
                    # Reading on would only cost time.
                    if said > contender.talk and not (contender.talk and calls):
                        break
    except PodiumError as problem:
        error, wait = problem.message, problem.retry_after
    except TimeoutError:
        error = f"the turn took longer than {_TURN_SECONDS:.0f} s"
    return Outcome(case, tuple(calls), first_word, error), wait


def _messages(contender: Contender, case: Case, today: date) -> list[Message]:
    said: list[Message] = [UserMessage(case.request)]
    return [SystemMessage(f"Today is {today:%A}, {today.isoformat()}."), *said] if contender.dated else said


def _made(event: ToolCallSealed, seconds: float) -> MadeCall:
    return MadeCall(
        event.tool, _arguments(event.arguments_json), event.provider_id, getattr(event, "confidence", None), seconds
    )


def _arguments(text: bytes) -> Mapping[str, Any]:
    """Return what a model wrote as arguments; what is no object cannot be right, but has to be kept."""
    try:
        found = json.loads(text)
    except ValueError:
        found = text.decode(errors="replace")
    return found if isinstance(found, dict) else {"unreadable": found}


async def ask_all(
    contender: Contender,
    cases: Sequence[Case],
    packs: Mapping[str, Sequence[ToolSpec]],
    today: date,
    *,
    done: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Put all requests, one after another, so that each one's time is its own.

    What can be kept between requests with the same tools (an index, the prompt's beginning in the engine's
    cache) is there when a pack's first request comes, as it is in a server that has been asked before.

    Args:
        contender: the model.
        cases: what to ask; those of one pack are asked together.
        packs: the tools of each.
        today: what the model is told of the day, if it is told.
        done: hears of each outcome.
    """
    outcomes = []
    for pack, part in groupby(sorted(cases, key=lambda case: case.pack), key=lambda case: case.pack):
        await _turn(contender, Case("hello", pack, (), "none"), packs[pack], today)
        for case in part:
            outcomes.append(await ask(contender, case, packs[pack], today))
            done(outcomes[-1])
    return outcomes
