"""`podium chat` without a terminal: one message in, plain text out. With one: see the integration tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from typer.testing import CliRunner, Result

from podium.cli.program import app
from podium.v1 import inference_pb2, run_pb2
from unit.client.fake_podium import FakePodium, refusal, sample_parts, serving


@pytest.fixture
async def fake() -> AsyncIterator[FakePodium]:
    async with serving(FakePodium()) as served:
        yield served


async def chat(fake: FakePodium, *arguments: str, stdin: str = "Hi\n") -> Result:
    return await asyncio.to_thread(
        CliRunner().invoke, app, ["chat", "--address", fake.address, *arguments], input=stdin
    )


async def test_one_message_is_answered_in_plain_text(fake: FakePodium) -> None:
    result = await chat(fake, "--model", "embedded", "--system", "Be brief.", "--deadline", "7", stdin="  Hi\nthere \n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello there\n", "")
    (request,) = fake.requests
    assert isinstance(request, inference_pb2.GenerateRequest)
    assert [(message.role, message.text) for message in request.messages] == [
        (inference_pb2.CHAT_ROLE_SYSTEM, "Be brief."),
        (inference_pb2.CHAT_ROLE_USER, "Hi\nthere"),
    ]
    assert request.model == "embedded"
    assert 5 < (fake.time_remaining[0] or 0) < 7.5


async def test_only_the_answer_is_printed_and_it_cannot_steer_a_terminal(fake: FakePodium) -> None:
    part = inference_pb2.GenerateResponse
    end = sample_parts()[-1]
    end.finished.finish_reason = run_pb2.TURN_FINISH_REASON_LENGTH
    fake.parts = [part(reasoning="Hm."), part(text="a\x1b[2Jb"), end]
    result = await chat(fake)
    assert (result.exit_code, result.stdout) == (0, "a\N{REPLACEMENT CHARACTER}[2Jb\n")
    assert result.stderr == "podium: the answer was cut at the limit on tokens\n"


async def test_no_message_is_wrong_usage(fake: FakePodium) -> None:
    result = await chat(fake, stdin=" \n")
    assert (result.exit_code, result.stdout, fake.requests) == (2, "", [])
    assert "there is no message" in result.stderr


async def test_a_refusal_says_what_to_do(fake: FakePodium) -> None:
    fake.refusals = [refusal(grpc.StatusCode.PERMISSION_DENIED, "the key lacks the scope infer", "PERMISSION_DENIED")]
    result = await chat(fake)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "podium keys list" in result.stderr


async def test_an_answer_that_breaks_off_is_exit_1(fake: FakePodium) -> None:
    fake.parts = sample_parts()[:1]
    result = await chat(fake)
    assert (result.exit_code, result.stdout) == (1, "Hello\n")
    assert "has no end" in result.stderr
