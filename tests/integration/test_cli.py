"""The command `podium` as a process: terminals, signals, exit codes, and a real server behind it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.server import PodiumServer
from unit.client.fake_podium import FakePodium, sample_events, serving

SCRIPT = """
[[scripts]]
match = "19 * 21"
[[scripts.turns]]
events = [
  { at_ms = 5, call = "calculate", arguments = { expression = "19 * 21" } },
  { at_ms = 10, call = "current_time", arguments = { timezone = "Europe/Berlin" } },
]
[[scripts.turns]]
events = [{ text = "19 * 21 is {{c0_0/result}}, and it is " }, { text = "{{c0_1/local_time}} in Berlin." }]

[[scripts]]
match = "wait"
[[scripts.turns]]
events = [{ at_ms = 60000, text = "at last" }]
"""
QUESTION = "What is 19 * 21 and what time is it in Berlin?"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


def environment(**more: str) -> dict[str, str]:
    """Return our environment without settings of ours or of the terminal we run in."""
    dropped = ("PODIUM_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "COLORTERM", "TTY_", "CI")
    return {key: value for key, value in os.environ.items() if not key.startswith(dropped)} | more


async def start(*arguments: str, **more: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "podium", *arguments),
        env=more.pop("env", None) or environment(),
        stdin=more.pop("stdin", subprocess.DEVNULL),
        stdout=more.pop("stdout", subprocess.PIPE),
        stderr=more.pop("stderr", subprocess.PIPE),
        **more,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (out or b"").decode(), (err or b"").decode()


@pytest.fixture
async def fake() -> AsyncIterator[FakePodium]:
    async with serving(FakePodium()) as served:
        yield served


async def test_output_into_a_pipe_has_no_control_codes(fake: FakePodium) -> None:
    for forced in ({}, {"FORCE_COLOR": "1"}):
        process = await start("run", "x", "-a", fake.address, env=environment(**forced))
        code, out, err = await ended(process)
        assert (code, err) == (0, "")
        assert CONTROL.search(out) is None
        assert "19 * 21 is 399." in out


@pytest.mark.parametrize("flag", [(), ("--json",)])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_cancels_the_run_and_its_last_event_still_comes(
    fake: FakePodium, number: signal.Signals, code: int, flag: tuple[str, ...]
) -> None:
    fake.events, fake.hang = sample_events()[:6], True
    process = await start("run", "x", "-a", fake.address, *flag)
    await fake.played.wait()
    await first_line(process)
    process.send_signal(number)
    returned, out, err = await ended(process)
    assert returned == code
    assert fake.cancel_asked.is_set()
    assert "cancelled" in out.lower()
    assert "Traceback" not in err


async def first_line(process: asyncio.subprocess.Process) -> None:
    """Wait until the command has seen an event, which is when it knows the run."""
    assert process.stdout is not None
    assert await process.stdout.readline()


async def test_a_second_signal_breaks_off_a_run_that_does_not_end(fake: FakePodium) -> None:
    fake.events, fake.hang, fake.obeys_cancel = sample_events()[:6], True, False
    process = await start("run", "x", "-a", fake.address)
    await fake.played.wait()
    await first_line(process)
    process.send_signal(signal.SIGINT)
    await fake.cancel_seen.wait()
    process.send_signal(signal.SIGINT)
    assert (await ended(process))[0] == 130
    await fake.cancelled.wait()


async def test_a_run_that_does_not_end_is_broken_off_after_a_while(fake: FakePodium) -> None:
    fake.events, fake.hang, fake.obeys_cancel = sample_events()[:6], True, False
    process = await start("run", "x", "-a", fake.address)
    await fake.played.wait()
    await first_line(process)
    process.send_signal(signal.SIGTERM)
    assert (await ended(process))[0] == 143
    await fake.cancelled.wait()


async def test_a_reader_that_leaves_ends_the_command_quietly(fake: FakePodium) -> None:
    process = await start("run", "x", "-a", fake.address, "--json")
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]  # as `| head -c 0` does
    await process.wait()
    assert process.stderr is not None
    assert b"Traceback" not in await process.stderr.read()


async def on_terminal(*arguments: str, columns: int = 80, **more: str) -> tuple[int, str]:
    """Run the command on a terminal of its own and return its exit code and everything it wrote."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    process = await start(
        *arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(TERM="xterm-256color", **more)
    )
    os.close(theirs)
    shown = b""
    while chunk := await asyncio.to_thread(_read, ours):
        shown += chunk
    os.close(ours)
    return await process.wait(), shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # what Linux says when the other end has closed
        return b""


async def test_a_terminal_gets_a_picture_with_colours(fake: FakePodium) -> None:
    code, shown = await on_terminal("run", "x", "-a", fake.address)
    assert code == 0
    assert COLOUR.search(shown)
    assert "━" in shown
    assert "calculate" in shown
    assert "19 * 21 is 399. The time did not arrive." in shown
    assert "succeeded, partly" in shown


async def test_no_color_is_respected(fake: FakePodium) -> None:
    code, shown = await on_terminal("run", "x", "-a", fake.address, NO_COLOR="1")
    assert code == 0
    assert COLOUR.search(shown) is None
    assert "━" in shown


async def test_a_dumb_terminal_gets_plain_lines(fake: FakePodium) -> None:
    ours, theirs = pty.openpty()
    process = await start("run", "x", "-a", fake.address, stdout=theirs, env=environment(TERM="dumb"))
    os.close(theirs)
    shown = b""
    while chunk := await asyncio.to_thread(_read, ours):
        shown += chunk
    os.close(ours)
    assert await process.wait() == 0
    assert b"\x1b" not in shown


async def test_a_narrow_terminal_is_not_overrun(fake: FakePodium) -> None:
    code, shown = await on_terminal("run", "x", "-a", fake.address, columns=38)
    assert code == 0
    final = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.rsplit("\x1b[2K", 1)[-1])
    assert max(len(line) for line in final.replace("\r", "").split("\n")) <= 38


async def test_json_on_a_terminal_is_only_json(fake: FakePodium) -> None:
    code, shown = await on_terminal("run", "x", "-a", fake.address, "--json")
    assert code == 0
    assert [json.loads(line) for line in shown.splitlines()][-1]["run_finished"]["partial"] is True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with PodiumServer(tmp_path_factory.mktemp("cli"), script=SCRIPT) as running:
        yield running


async def test_a_real_run_end_to_end(server: PodiumServer) -> None:
    code, out, err = await ended(await start("run", QUESTION, "-a", server.address, "--json"))
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    logged = [event["seq"] for event in events if "text_delta" not in event]
    assert logged == list(range(1, len(logged) + 1))
    answer = events[-1]["run_finished"]["answer"]
    assert "399" in answer
    assert "Berlin" in answer
    started = [event["tool_call_started"]["call_id"] for event in events if "tool_call_started" in event]
    assert started == ["c0_0", "c0_1"]


async def test_the_other_commands_against_a_real_server(server: PodiumServer) -> None:
    at = ("--address", server.address)
    code, out, _ = await ended(await start("health", "--wait", "20", *at))
    assert (code, out.splitlines()[0]) == (0, f"{server.address}: SERVING")
    code, out, _ = await ended(await start("tools", "call", "calculate", '{"expression": "19 * 21"}', *at))
    assert (code, json.loads(out)["result"]) == (0, 399)
    code, out, _ = await ended(await start("tools", "list", *at))
    assert code == 0
    assert "current_time" in out
    code, out, _ = await ended(await start("models", "list", *at))
    assert "scripted (default)" in out
    code, _, err = await ended(await start("run", "x", "--model", "none", *at))
    assert code == 2
    assert "correlation id exec_" in err
    code, _, err = await ended(await start("run", "wait", "--deadline", "0.5", *at))
    assert code == 1


async def test_ctrl_c_cancels_a_real_run(server: PodiumServer) -> None:
    process = await start("run", "wait for it", "-a", server.address, "--json")
    await first_line(process)
    process.send_signal(signal.SIGINT)
    code, out, _ = await ended(process)
    assert code == 130
    assert json.loads(out.splitlines()[-1])["run_finished"]["state"] == "RUN_STATE_CANCELLED"


async def test_a_server_that_wants_keys(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = await start("keys", "create", "--data-dir", str(data))
    code, token, err = await ended(made)
    assert code == 0, err
    with PodiumServer(tmp_path, script=SCRIPT, settings={"PODIUM_AUTH__ENABLED": "true"}) as server:
        at = ("-a", server.address)
        code, _, err = await ended(await start("run", QUESTION, *at))
        assert code == 2
        assert "--api-key-env" in err
        key = environment(MY_KEY=token.strip())
        code, out, err = await ended(await start("run", QUESTION, *at, "--api-key-env", "MY_KEY", env=key))
        assert (code, err) == (0, "")
        assert "399" in out
        code, _, err = await ended(
            await start("tools", "call", "calculate", '{"expression": "1"}', *at, "--api-key-env", "MY_KEY", env=key)
        )
        assert code == 2
        assert "scope" in err


IN_PROCESS = """
import sys
from podium.cli import connection
connection.DEFAULT_ADDRESS = "127.0.0.1:1"  # where nobody answers, whatever runs on this machine
from podium.cli import main
main()
"""


async def in_process(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    (folder / "script.toml").write_text(SCRIPT, encoding="utf-8")
    (folder / "podium.toml").write_text('[models.demo]\nkind = "scripted"\nfile = "script.toml"\n', encoding="utf-8")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IN_PROCESS, *arguments),
        cwd=folder,
        env=environment(TMPDIR=str(folder)) if len(str(folder)) < 60 else environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def test_without_a_server_one_is_started_in_the_process(tmp_path: Path) -> None:
    code, out, err = await ended(await in_process(tmp_path, "run", QUESTION))
    assert code == 0, err
    assert "399" in out
    assert err == "No server answers, so one is started for this request; loading demo ...\n"


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob("podium-*"))


async def test_without_a_server_json_stays_json_and_signals_cancel(tmp_path: Path) -> None:
    process = await in_process(tmp_path, "run", "wait for it", "--json")
    await first_line(process)
    process.send_signal(signal.SIGINT)
    code, out, _ = await ended(process)
    assert code == 130
    assert json.loads(out.splitlines()[-1])["run_finished"]["state"] == "RUN_STATE_CANCELLED"
    assert [path.name for path in leftovers(tmp_path)] == [], "the temporary folder is gone"


async def test_without_a_server_a_wrong_configuration_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "podium.toml").write_text("[server]\nlistn = 1\n", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IN_PROCESS, "run", "x"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    code, out, err = await ended(process)
    assert (code, out) == (2, "")
    assert "listn" in err
