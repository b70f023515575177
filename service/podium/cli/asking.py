"""Puts what a run asks to the person at the terminal, and sends the answers."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import AbstractContextManager
from typing import Protocol

import podium_client
from podium.cli.questions import value_of
from podium.cli.terminal import clean
from podium_client import AsyncPodium, QuestionAsked, QuestionSettled, RunEvent

__all__ = ["Asker"]


class _Screen(Protocol):
    def paused(self) -> AbstractContextManager[object]:
        """Let others write to the terminal for the block."""


class Asker:
    """Asks one question after the other while the run goes on. `event` is told every event of the run."""

    def __init__(self, podium: AsyncPodium, screen: _Screen) -> None:
        self._podium = podium
        self._screen = screen
        self._open: deque[QuestionAsked] = deque()
        self._changed = asyncio.Event()
        self._settled: set[str] = set()

    def event(self, event: RunEvent) -> None:
        """Note what is asked, and what needs no answer any more."""
        if isinstance(event, QuestionAsked):
            self._open.append(event)
        elif isinstance(event, QuestionSettled):
            self._settled.add(event.question_id)
        else:
            return
        self._changed.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._open:
                asked = self._open.popleft()
                with self._screen.paused():
                    await self._put(asked)

    async def _put(self, asked: QuestionAsked) -> None:
        _say(f"\n{asked.prompt}")
        while asked.question_id not in self._settled:
            _say(_possible(asked), end="")
            line = await self._line(asked)
            if line is None:
                _say("\nIt needs no answer any more.")
                return
            try:
                await self._send(asked, line)
            except podium_client.InvalidRequest as error:
                _say("\n".join([each.description for each in error.violations] or [error.message]))
            except podium_client.PodiumError as error:
                _say(error.message)
                return
            else:
                return

    async def _send(self, asked: QuestionAsked, line: str) -> None:
        text = line.strip()
        if text:
            value = value_of(text, asked.schema)
            await self._podium.answer_clarification(asked.run_id, asked.question_id, value)
        elif asked.default is not None:
            await self._podium.answer_clarification(asked.run_id, asked.question_id, asked.default)
        else:
            await self._podium.skip_clarification(asked.run_id, asked.question_id)

    async def _line(self, asked: QuestionAsked) -> str | None:
        """Return a line that was typed, "" at the end of the input; None once the question is settled."""
        loop = asyncio.get_running_loop()
        typed: asyncio.Future[str] = loop.create_future()
        # A terminal hands over whole lines, so reading one does not block. A thread could not be cancelled.
        loop.add_reader(sys.stdin, _take_line, typed)
        try:
            while not typed.done() and asked.question_id not in self._settled:
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait((typed, changed), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                if not typed.done():
                    self._changed.clear()
        finally:
            loop.remove_reader(sys.stdin)
            typed.cancel()
        # Questions that came meanwhile are found by `run`.
        self._changed.set()
        return typed.result() if typed.done() and not typed.cancelled() else None


def _take_line(typed: asyncio.Future[str]) -> None:
    if not typed.done():
        typed.set_result(sys.stdin.readline())


def _say(text: str, end: str = "\n") -> None:
    """Write to the terminal."""
    sys.stdout.write(clean(text) + end)
    sys.stdout.flush()


def _possible(asked: QuestionAsked) -> str:
    """Return the line's beginning: what may be typed, and what an empty line means."""
    schema = asked.schema
    choices = schema.get("enum")
    if isinstance(choices, list):
        hint = " | ".join(map(str, choices))
    else:
        hint = "yes | no" if schema.get("type") == "boolean" else ""
    default = asked.raw.question_asked.default_json.decode(errors="replace")
    empty = f"empty for {default}" if default else "empty to skip"
    return f"[{hint}; {empty}] > " if hint else f"[{empty}] > "
