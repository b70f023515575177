"""`podium models list` and `podium models test` against a fake server that answers as it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest
from typer.testing import CliRunner, Result

from podium.cli.program import app
from podium.v1 import inference_pb2
from unit.client.fake_podium import FakePodium, refusal, sample_parts, serving


class AbleModel(FakePodium):
    """Does what each check asks for; `schema_text`, `arguments` and `story` can be set to do it wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.schema_text = '{"answer": "yes"}'
        self.arguments = b'{"b": 21, "a": 19}'
        self.story = ["Once ", "upon ", "a time."]

    def answer_to(self, request: inference_pb2.GenerateRequest) -> Sequence[inference_pb2.GenerateResponse]:
        part = inference_pb2.GenerateResponse
        end = inference_pb2.GenerateResponse()
        end.CopyFrom(sample_parts()[-1])
        end.finished.timings.first_output.FromMilliseconds(12)
        end.finished.timings.per_token.FromMilliseconds(20)
        if request.json_schema:
            return [part(text=self.schema_text), end]
        if request.tools:
            call = inference_pb2.ChatToolCall(call_id="c0_0", tool=request.tools[0].name, arguments_json=self.arguments)
            return [part(tool_call=call), end] if self.arguments else [part(text="It is 40."), end]
        if "story" in request.messages[0].text:
            return [*(part(text=piece) for piece in self.story), end]
        return [part(text="Hello "), part(text="there."), end]


@pytest.fixture
async def fake() -> AsyncIterator[AbleModel]:
    model = AbleModel()
    async with serving(model):
        yield model


async def podium(*arguments: str) -> Result:
    """Run the command line in a thread, beside the fake server's loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env={"COLUMNS": None})


async def report(fake: AbleModel, *more: str) -> tuple[int, dict[str, dict[str, object]]]:
    result = await podium("models", "test", "embedded", "--json", "-a", fake.address, *more)
    assert result.stderr == ""
    body = json.loads(result.stdout)
    assert (body["model"], body["ok"]) == ("embedded", result.exit_code == 0)
    return result.exit_code, {check["name"]: check for check in body["checks"]}


async def test_models_are_listed_with_what_they_can_do(fake: AbleModel) -> None:
    result = await podium("models", "list", "--address", fake.address)
    header, away, model = result.stdout.splitlines()
    assert header.split() == ["model", "kind", "state", "context", "can", "aliases"]
    assert " ".join(away.split()) == "demo scripted not ready: its file is missing any"
    assert " ".join(model.split()) == ("embedded (default) embedded ready 8,192, writes 1,024 tools json-schema small")


async def test_a_model_that_can_do_everything_passes(fake: AbleModel) -> None:
    result = await podium("models", "test", "embedded", "-a", fake.address)
    assert (result.exit_code, result.stderr) == (0, "")
    header, *rows = result.stdout.splitlines()
    assert header.split()[:4] == ["check", "outcome", "first", "output"]
    assert [row.split()[:5] for row in rows] == [
        [name, "ok", "12", "ms", "50"] for name in ("text", "json-schema", "tools", "cancel")
    ]
    assert rows[0].endswith("Hello there.")
    assert 'add_numbers({"b": 21, "a": 19})' in rows[2]


async def test_the_report_as_json(fake: AbleModel) -> None:
    code, checks = await report(fake)
    assert code == 0
    assert list(checks) == ["text", "json-schema", "tools", "cancel"]
    assert checks["json-schema"] == {
        "name": "json-schema",
        "outcome": "ok",
        "detail": '{"answer": "yes"}',
        "first_output_seconds": 0.012,
        "tokens_per_second": 50.0,
    }
    assert {request.model for request in fake.requests[1:]} == {"embedded"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "check", "outcome", "detail"),
    [
        ({"schema_text": "Yes."}, "json-schema", "failed", "does not follow the schema: Yes."),
        ({"schema_text": '{"answer": "maybe"}'}, "json-schema", "failed", "does not follow"),
        ({"arguments": b""}, "tools", "failed", "answered in text instead of calling the tool: It is 40."),
        ({"arguments": b'{"a": 2, "b": 2}'}, "tools", "failed", "called wrongly: add_numbers("),
        ({"arguments": b"{"}, "tools", "failed", "called wrongly: add_numbers({)"),
        ({"story": ["The end."]}, "cancel", "skipped", "over before it could be left"),
        ({"tools": False}, "tools", "skipped", "does not offer it"),
    ],
)
async def test_what_does_not_work_is_told(
    fake: AbleModel, change: dict[str, object], check: str, outcome: str, detail: str
) -> None:
    vars(fake).update(change)
    code, checks = await report(fake)
    assert checks[check]["outcome"] == outcome
    assert detail in str(checks[check]["detail"])
    assert code == (1 if outcome == "failed" else 0)
    assert [name for name, seen in checks.items() if seen["outcome"] != "ok"] == [check]


async def test_a_refused_check_fails_and_the_others_go_on() -> None:
    refused = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", "RATE_LIMITED")

    class RefusesSchemas(AbleModel):
        async def _enter(self, request: object, context: object) -> None:
            if getattr(request, "json_schema", ""):
                self.refusals = [refused]
            await super()._enter(request, context)  # type: ignore[arg-type]

    async with serving(RefusesSchemas()) as picky:
        code, checks = await report(picky)  # type: ignore[arg-type]
    assert code == 1
    assert checks["json-schema"]["detail"] == "slow down (RATE_LIMITED)"
    assert checks["cancel"]["outcome"] == "ok"


async def test_leaving_is_seen_by_the_server() -> None:
    class Endless(AbleModel):
        async def Generate(self, request: object, context: object) -> AsyncIterator[object]:  # noqa: N802
            async for part in super().Generate(request, context):
                if part.HasField("finished") and "story" in request.messages[0].text:  # type: ignore[attr-defined]
                    with self._noticing():
                        await asyncio.Event().wait()
                yield part

    async with serving(Endless()) as fake:
        _, checks = await report(fake, "--deadline", "20")  # type: ignore[arg-type]
        assert checks["cancel"]["outcome"] == "ok"
        async with asyncio.timeout(10):
            await fake.cancelled.wait()


async def test_models_that_are_not_there_or_not_ready(fake: AbleModel) -> None:
    missing = await podium("models", "test", "gpt", "-a", fake.address)
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert missing.stderr == "podium: the server has no model 'gpt'; it has demo, embedded\n"
    away = await podium("models", "test", "demo", "-a", fake.address)
    assert (away.exit_code, away.stdout) == (3, "")
    assert away.stderr == "podium: model demo is not ready: its file is missing\n"
    for name in ("small", "default"):
        assert (await podium("models", "test", name, "-a", fake.address)).exit_code == 0
    nobody = await podium("models", "test", "embedded", "-a", "127.0.0.1:1")
    assert nobody.exit_code == 3
