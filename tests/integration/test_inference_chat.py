"""`podium chat` on a terminal of its own: a conversation, its commands, and Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from podium.v1 import inference_pb2
from unit.client.fake_podium import FakePodium, sample_parts, serving

# Everything that moves or colours; what is left is what a person reads.
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Talker(FakePodium):
    """Answers a message with its number in the conversation; one with `wait` in it never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for part in super().Generate(request, context):
            if part.HasField("finished") and "wait" in request.messages[-1].text:
                with self._noticing():
                    self.waits.set()
                    await asyncio.Event().wait()
            yield part

    def answer_to(self, request: inference_pb2.GenerateRequest) -> Sequence[inference_pb2.GenerateResponse]:
        part = inference_pb2.GenerateResponse
        return [part(reasoning="Hm. "), part(text=f"Answer {len(self.requests)}."), sample_parts()[-1]]

    def sent(self) -> list[tuple[str, list[str]]]:
        """Return the model and the texts of each request."""
        return [(request.model, [message.text for message in request.messages]) for request in self.requests]  # type: ignore[attr-defined]


class Terminal:
    """The other end of a command's terminal."""

    def __init__(self, process: asyncio.subprocess.Process, end: int) -> None:
        self.process = process
        self._end = end
        self._unread = ""
        self.shown = ""

    def type(self, text: str) -> None:
        """Type something, such as `hello` and the return key, or a control key."""
        os.write(self._end, text.encode())

    async def sees(self, text: str) -> None:
        """Wait until `text` is shown after what was waited for before."""
        async with asyncio.timeout(20):
            while text not in self._unread:
                chunk = await asyncio.to_thread(self._read)
                assert chunk, f"the command ended before it showed {text!r}: {self.shown!r}"
                new = CODES.sub("", chunk)
                self._unread += new
                self.shown += new
        self._unread = self._unread.partition(text)[2]

    async def left_by(self, key: str) -> int:
        """Press a key until the program ends: between prompt and wait, CPython's readline may miss a signal."""

        async def press() -> None:
            with suppress(OSError):  # it has ended
                while True:
                    self.type(key)
                    await asyncio.sleep(0.5)

        async with asyncio.TaskGroup() as group:
            pressing = group.create_task(press())
            try:
                return await self.ended()
            finally:
                pressing.cancel()

    async def ended(self) -> int:
        """Read to the end and return the exit code."""
        async with asyncio.timeout(20):
            while chunk := await asyncio.to_thread(self._read):
                self.shown += CODES.sub("", chunk)
            return await self.process.wait()

    def _read(self) -> str:
        try:
            return os.read(self._end, 65536).decode()
        except OSError:  # what Linux says when the other end has closed
            return ""


@asynccontextmanager
async def chatting(*arguments: str) -> AsyncIterator[Terminal]:
    """Run `podium chat` on a terminal that is its controlling one, so that Ctrl-C is a signal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    dropped = ("PODIUM_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "COLORTERM", "TTY_", "CI", "INPUTRC")
    env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    script = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from podium.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, "chat", *arguments),
        env={**env, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)


@pytest.fixture
async def fake() -> AsyncIterator[Talker]:
    talker = Talker()
    async with serving(talker):
        yield talker


async def test_a_conversation_is_kept_and_its_commands_obeyed(fake: Talker) -> None:
    async with chatting("-a", fake.address, "--system", "Be brief.") as terminal:
        await terminal.sees("> ")
        terminal.type("one\r")
        await terminal.sees("Hm. Answer 1.")
        await terminal.sees("embedded: 2 tokens in 0.03 s")
        await terminal.sees("> ")
        terminal.type("two\r")
        await terminal.sees("Answer 2.")
        await terminal.sees("> ")
        for command, said in (
            ("/model small", "From now on small answers."),
            ("/system", "There are no instructions now."),
            ("/reset", "The conversation is forgotten."),
            ("/nonsense", "There is no command /nonsense."),
            ("/help", "/reset"),
        ):
            terminal.type(f"{command}\r")
            await terminal.sees(said)
            await terminal.sees("> ")
        terminal.type("three\r")
        await terminal.sees("Answer 3.")
        await terminal.sees("> ")
        terminal.type("/quit\r")
        assert await terminal.ended() == 0
    assert fake.sent() == [
        ("", ["Be brief.", "one"]),
        ("", ["Be brief.", "one", "Answer 1.", "two"]),
        ("small", ["three"]),
    ]


async def test_ctrl_c_stops_the_answer_and_then_leaves(fake: Talker) -> None:
    """What came of the answer stays in the conversation; the server sees that it was left."""
    async with chatting("-a", fake.address) as terminal:
        await terminal.sees("> ")
        terminal.type("wait\r")
        await terminal.sees("Answer 1.")
        await fake.waits.wait()
        terminal.type("\x03")
        await terminal.sees("(stopped)")
        await fake.cancelled.wait()
        await terminal.sees("> ")
        terminal.type("go on\r")
        await terminal.sees("Answer 2.")
        await terminal.sees("> ")
        assert await terminal.left_by("\x03") == 130
    assert "Traceback" not in terminal.shown
    assert fake.sent()[1] == ("", ["wait", "Answer 1.", "go on"])


async def test_a_message_that_fails_is_left_out_and_the_end_of_input_leaves() -> None:
    fake = Talker()
    async with chatting("-a", "127.0.0.1:1") as terminal:
        await terminal.sees("> ")
        terminal.type("one\r")
        await terminal.sees("no Podium answers at 127.0.0.1:1")
        await terminal.sees("> ")
        terminal.type("\x04")
        assert await terminal.ended() == 0
    assert fake.sent() == []


async def test_without_a_terminal_there_are_no_control_codes(fake: Talker) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "podium", "chat", "-a", fake.address),
        env={**os.environ, "FORCE_COLOR": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(b"one\n")
    assert (process.returncode, out, err) == (0, b"Answer 1.\n", b"")
