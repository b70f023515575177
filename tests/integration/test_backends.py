"""A real server over other backends: HTTP models, engines, routes over them, and new settings while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from podium.settings.models import BUILT_IN_MODEL
from podium.v1 import inference_pb2, orchestrator_pb2, run_pb2
from podium.v1.inference_pb2_grpc import InferenceServiceStub
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from support.byte_tokenizer import tokenizer_files
from support.fake_openai import (
    FakeServer,
    Reply,
    Request,
    call_delta,
    completion,
    finish,
    json_reply,
    models,
    role,
    say,
)
from support.fake_openai import usage as used
from support.fake_tensorrt_llm import FAKE_PATH
from support.server import PodiumServer, details

SCRIPT = '[[scripts]]\nmatch = ""\n[[scripts.turns]]\n[[scripts.turns.events]]\ntext = "from the script"\n'


class ServerOver(PodiumServer):
    """A server whose `podium.toml` is given."""

    def __init__(self, folder: Path, toml: str, **options: object) -> None:
        super().__init__(folder, script=SCRIPT, **options)  # type: ignore[arg-type]
        self.configure(toml)

    extra_path = ""

    def environment(self) -> dict[str, str]:
        found = super().environment()
        return {**found, "PYTHONPATH": os.pathsep.join(part for part in (self.extra_path, found["PYTHONPATH"]) if part)}

    def configure(self, toml: str) -> None:
        self._config.write_text(toml, encoding="utf-8")

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]


@asynccontextmanager
async def over(server: PodiumServer) -> AsyncIterator[grpc.aio.Channel]:
    await asyncio.to_thread(server.__enter__)
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield channel
    finally:
        await asyncio.to_thread(server.stop)


async def generated(
    channel: grpc.aio.Channel, model: str = "", **fields: object
) -> tuple[str, inference_pb2.GenerateFinished]:
    request = inference_pb2.GenerateRequest(
        model=model,
        messages=[{"role": "CHAT_ROLE_USER", "text": "Hi"}],
        **fields,  # type: ignore[arg-type]
    )
    parts = [part async for part in InferenceServiceStub(channel).Generate(request, timeout=30, wait_for_ready=True)]
    return "".join(part.text for part in parts), parts[-1].finished


async def test_a_run_over_an_http_model_calls_real_tools(tmp_path: Path) -> None:
    """Two calls of one turn, their results sent back, and the answer; the reply says which model it was."""

    def answer(request: Request) -> Reply:
        if request.method == "GET":
            return models("qwen3")
        body = request.json()
        asked.append(body)
        if body["messages"][-1]["role"] == "tool":
            return completion(role(), say("It is "), say("399."), finish("stop"), used())
        return completion(
            role(),
            call_delta('{"expression": "19 * 21"}', index=0, call_id="call_a", name="calculate"),
            call_delta('{"timezone": "Europe/Berlin"}', index=1, call_id="call_b", name="current_time"),
            finish("tool_calls"),
            used(),
        )

    asked: list[dict[str, object]] = []
    async with FakeServer(answer) as upstream:
        toml = f'[models.local]\nkind = "openai"\nvendor = "vllm"\nmodel = "qwen3"\nbase_url = "{upstream.url}"\n'
        async with over(ServerOver(tmp_path, toml)) as channel:
            spec = run_pb2.RunSpec(input="What is 19 * 21, and what time is it in Berlin?")
            reply = await OrchestratorServiceStub(channel).Execute(
                orchestrator_pb2.ExecuteRequest(spec=spec), timeout=30
            )
    assert reply.run.answer == "It is 399.", reply.run.error
    assert [call.tool for call in reply.run.calls] == ["calculate", "current_time"]
    assert json.loads(reply.run.calls[0].result_json)["result"] == 399
    results = [m for m in asked[1]["messages"] if m["role"] == "tool"]  # type: ignore[attr-defined, index]
    assert [m["tool_call_id"] for m in results] == ["call_a", "call_b"]
    assert {tool["function"]["name"] for tool in asked[0]["tools"]} >= {"calculate", "current_time"}  # type: ignore[attr-defined]


async def test_a_route_leaves_a_failing_model_and_tells(tmp_path: Path) -> None:
    """Requests succeed on the next model; the breaker then spares the first; attempts are in the reply."""
    asked = 0

    def answer(request: Request) -> Reply:
        nonlocal asked
        if request.method == "GET":
            return models("big")
        asked += 1
        return json_reply({"error": {"message": "worker died"}}, 503)

    async with FakeServer(answer) as upstream:
        toml = (
            f'[models.big]\nkind = "openai"\nmodel = "big"\nbase_url = "{upstream.url}"\n'
            '[models.small]\nkind = "scripted"\nfile = "script.toml"\n'
            '[routes.default]\nmodels = ["big", "small"]\n'
        )
        async with over(ServerOver(tmp_path, toml)) as channel:
            seen = [await generated(channel) for _ in range(8)]
    assert {text for text, _ in seen} == {"from the script"}
    assert {end.model for _, end in seen} == {"small"}
    assert [(a.model, a.reason) for a in seen[0][1].attempts] == [("big", "UNAVAILABLE"), ("small", "")]
    assert asked == 5, "the breaker opens after five failures"
    assert [a.model for a in seen[-1][1].attempts] == ["small"]


async def test_a_silent_model_is_left_in_time(tmp_path: Path) -> None:
    """Nobody waits longer than the route says."""

    def answer(request: Request) -> Reply:
        return models("big") if request.method == "GET" else Reply(steps=[asyncio.Event()])

    async with FakeServer(answer) as upstream:
        toml = (
            f'[models.big]\nkind = "openai"\nmodel = "big"\nbase_url = "{upstream.url}"\n'
            '[models.small]\nkind = "scripted"\nfile = "script.toml"\n'
            '[routes.default]\nmodels = ["big", "small"]\nfirst_output_seconds = 0.5\n'
        )
        async with over(ServerOver(tmp_path, toml)) as channel:
            text, end = await generated(channel)
    assert text == "from the script"
    assert 0.4 < end.timings.first_output.ToTimedelta().total_seconds() < 5
    assert [a.model for a in end.attempts] == ["big", "small"]


async def test_nothing_leaves_the_machine_unless_allowed(tmp_path: Path) -> None:
    """A model elsewhere is refused before anything is looked up, and the message names the switch."""
    toml = '[models.far]\nkind = "openai"\nmodel = "m"\nbase_url = "http://models.example/v1"\n'
    server = ServerOver(tmp_path, toml, wait=False)
    async with over(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await generated(channel)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "LLM_ENABLED" in str(caught.value.details())
    toml = '[models.gpu]\nkind = "trtllm"\naddresses = ["10.1.2.3:50051"]\n'
    server = ServerOver(tmp_path, toml, wait=False)
    await asyncio.to_thread(server.__enter__)
    assert server.process is not None
    assert await asyncio.to_thread(server.process.wait, 30) == 2
    assert "LLM_ENABLED" in server.log.read_text(encoding="utf-8")


async def test_models_come_and_go_while_the_server_runs(tmp_path: Path) -> None:
    """SIGHUP adds and removes models and routes; wrong settings change nothing, and the log says why."""
    one = '[models.a]\nkind = "scripted"\nfile = "script.toml"\n'
    two = one + '[models.b]\nkind = "scripted"\nfile = "script.toml"\n[routes.default]\nmodels = ["b", "a"]\n'
    server = ServerOver(tmp_path, one)

    async def names(channel: grpc.aio.Channel, wanted: set[str]) -> None:
        stub = InferenceServiceStub(channel)
        async with asyncio.timeout(20):
            # There is no event to wait on from outside the server.
            while {m.name for m in (await stub.ListModels(inference_pb2.ListModelsRequest())).models} != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def logged(message: str) -> dict[str, object]:
        async with asyncio.timeout(20):
            while not (found := [line for line in server.lines() if line["message"] == message]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found[-1]

    async with over(server) as channel:
        assert (await generated(channel))[1].model == "a"
        server.configure(two)
        server.reload()
        await names(channel, {"a", "b", "default"})
        assert (await generated(channel))[1].model == "b"
        server.configure(two + '[models.c]\nkind = "scripted"\nfile = "missing.toml"\n')
        server.reload()
        assert "missing.toml" in str((await logged("the settings were not reloaded"))["context"])
        assert (await generated(channel))[1].model == "b"
        server.configure(one)
        server.reload()
        await names(channel, {"a"})
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await generated(channel, "b")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "a" in str(caught.value.details())


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`podium engine` with the embedded model, started by hand as on another machine."""
    from podium.inference.model_store import ModelStore

    stored = ModelStore().find(BUILT_IN_MODEL.model)
    assert stored is not None, "run `podium models pull`"
    address = f"unix:{tmp_path_factory.mktemp('e')}/s"
    command = [sys.executable, "-m", "podium", "engine", "--engine", "openvino"]
    log = tmp_path_factory.mktemp("log") / "engine.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--model", str(stored.path), "--listen", address], stdout=output, stderr=output
        )
    try:
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.embedded
@pytest.mark.timeout(120)
async def test_an_engine_elsewhere_is_a_model(tmp_path: Path, engine: str) -> None:
    """Real tokens over the one engine contract: chat, counting, a schema, token ids."""
    toml = f'[models.gpu]\nkind = "trtllm"\naddresses = ["{engine}"]\n'
    async with over(ServerOver(tmp_path, toml)) as channel:
        text, end = await generated(channel, max_tokens=16)
        assert text.strip()
        assert end.usage.completion_tokens <= 16
        schema = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
        text, _ = await generated(channel, json_schema=schema, max_tokens=64)
        assert isinstance(json.loads(text)["n"], int)
        stub = InferenceServiceStub(channel)
        counted = await stub.CountTokens(
            inference_pb2.CountTokensRequest(messages=[{"role": "CHAT_ROLE_USER", "text": "Hi"}])
        )
        assert counted.exact
        assert counted.tokens > 5
        (model,) = (await stub.ListModels(inference_pb2.ListModelsRequest())).models
        assert (model.kind, model.ready, model.token_input) == ("trtllm", True, True)
        request = inference_pb2.GenerateRequest(token_ids=[1, 2, 3], max_tokens=4)
        ids = [token async for part in stub.Generate(request) for token in part.tokens.ids]
        assert 1 <= len(ids) <= 4


async def test_keys_never_show(tmp_path: Path) -> None:
    """A provider's refusal names the setting, and neither log nor reply has the key."""
    key = "sk-" + "k3y" * 12

    def answer(request: Request) -> Reply:
        sent.append(request.headers.get("authorization", ""))
        return json_reply({"error": {"message": f"Incorrect API key provided: {key}"}}, 401)

    sent: list[str] = []
    async with FakeServer(answer) as upstream:
        toml = (
            f'[models.m]\nkind = "openai"\nmodel = "m"\nbase_url = "{upstream.url}"\napi_key_env = "MY_KEY"\n'
            '[models.s]\nkind = "scripted"\nfile = "script.toml"\n[routes.default]\nmodels = ["s"]\n'
        )
        server = ServerOver(tmp_path, toml, settings={"MY_KEY": key})
        async with over(server) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await generated(channel, "m")
    assert f"Bearer {key}" in sent
    assert "MY_KEY" in str(caught.value.details())
    assert key not in repr(details(caught.value))
    assert key not in server.log.read_text(encoding="utf-8")
    assert os.environ.get("MY_KEY") is None


async def test_tensorrt_llm_behind_the_server(tmp_path: Path) -> None:
    """The settings reach the engine, on a stand-in for the package; its death costs its own requests only."""
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer, config = tokenizer_files()
    (folder / "tokenizer.json").write_bytes(tokenizer)
    (folder / "tokenizer_config.json").write_bytes(config)
    sizes = {"max_position_embeddings": 4096, "vocab_size": 300, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(sizes), encoding="utf-8")
    toml = (
        f'[models.gpu]\nkind = "embedded"\nengine = "tensorrt_llm"\nmodel = "{folder}"\ndialect = "plain"\n'
        "[tensorrt]\nmax_batch_size = 8\nmax_num_tokens = 512\nmax_seq_len = 1024\nkv_events = true\n"
    )
    server = ServerOver(tmp_path, toml, settings={"FAKE_TRTLLM": "{}"})
    server.extra_path = str(FAKE_PATH)
    async with over(server) as channel:
        text, end = await generated(channel, max_tokens=12)
        assert text
        assert end.usage.completion_tokens == 12
        (model,) = (await InferenceServiceStub(channel).ListModels(inference_pb2.ListModelsRequest())).models
        assert (model.kind, model.ready, model.token_input, model.context_length) == ("embedded", True, True, 1024)
        assert model.json_schema
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await generated(channel, sampling={"seed": 1})
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION, "1.2.1 ignores seeds: said, not dropped"


async def test_a_model_may_be_for_some_tenants(tmp_path: Path) -> None:
    """Others do not see it and may not name it; what the server chooses, and routes, lead everybody to it."""
    toml = (
        'default_model = "open"\n[models.big]\nkind = "scripted"\nfile = "script.toml"\ntenants = ["acme"]\n'
        '[models.open]\nkind = "scripted"\nfile = "script.toml"\n[routes.best]\nmodels = ["big"]\n'
    )
    stub = OrchestratorServiceStub
    async with over(ServerOver(tmp_path, toml)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await generated(channel, "big")
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        spec = run_pb2.RunSpec(input="Hi", model="big")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(channel).Execute(orchestrator_pb2.ExecuteRequest(spec=spec), timeout=30)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert (await generated(channel, "best"))[1].model == "big"
        listed = await InferenceServiceStub(channel).ListModels(inference_pb2.ListModelsRequest())
        assert {model.name for model in listed.models} == {"best", "open"}
        acme = (("x-podium-tenant", "acme"),)
        reply = await stub(channel).Execute(orchestrator_pb2.ExecuteRequest(spec=spec), timeout=30, metadata=acme)
        assert reply.run.answer == "from the script"
