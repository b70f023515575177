"""Getting the embedded model ready, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from podium.errors import Unavailable
from podium.inference.embedded import EmbeddedModel
from podium.orchestration.chat import ChatRequest, UserMessage


@pytest.mark.parametrize("fault", [Unavailable("gone"), RuntimeError("a fault of ours")], ids=["known", "unknown"])
async def test_a_fault_while_getting_ready_is_logged_and_tried_again(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither an engine that is away nor a bug ends the task that makes the model ready."""
    model = EmbeddedModel("m", Path("absent.gguf"))
    attempts, ready = 0, asyncio.Event()

    async def get_ready(_engine: object) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise fault
        ready.set()

    async def look_again(*_: Any) -> None:
        model._host_up.set()

    monkeypatch.setattr(model, "_get_ready", get_ready)
    monkeypatch.setattr(model, "_look_again", look_again)
    model._host_up.set()
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(model._prepare(None))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            await ready.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert attempts == 2
    assert "could not be made ready" in caplog.text


async def test_turns_before_it_is_ready_are_refused_as_retryable() -> None:
    """A model that loads says so, with when to come back; it never makes a caller wait."""
    model = EmbeddedModel("m", Path("absent.gguf"))
    with pytest.raises(Unavailable, match="still loading") as refused:
        await anext(model.stream(ChatRequest(messages=[UserMessage("hi")])))
    assert (refused.value.reason, refused.value.retry_after) == ("MODEL_NOT_READY", 1.0)
    info = await model.info()
    assert (info.ready, info.detail) == (False, "it is still loading")
