"""`podium chat`: talk to one model, without tools or planning."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.connection import Server
from podium.cli.failures import CommandFailed, Exit, reported
from podium.cli.options import Address, ApiKeyEnv, TlsRoots, UseTls
from podium.cli.terminal import clean, output_console

if TYPE_CHECKING:
    from rich.console import Console

    from podium_client import AsyncPodium, Generation, Message

__all__ = ["chat"]

_INTERRUPTED = 130
_HELP = """\
/model NAME    answer with this model from now on; without a name, with the server's default
/system TEXT   give the model these standing instructions; without a text, none
/reset         forget the conversation
/quit          leave, as Ctrl-D does
Ctrl-C stops an answer; at the prompt it leaves."""


@dataclass(slots=True)
class _Conversation:
    """What is sent with the next message. It lasts as long as the command."""

    model: str | None
    system: str
    history: list[Message] = field(default_factory=list)

    def asking(self, text: str) -> list[Message]:
        from podium_client import Message

        instructions = [Message("system", self.system)] if self.system else []
        return [*instructions, *self.history, Message("user", text)]

    def keep(self, asked: str, answer: str) -> None:
        from podium_client import Message

        self.history += [Message("user", asked), Message("assistant", answer)]


def chat(
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="The model to talk to.")] = None,
    system: Annotated[str, typer.Option("--system", "-s", metavar="TEXT", help="Standing instructions.")] = "",
    deadline: Annotated[
        float | None,
        typer.Option("--deadline", "-d", metavar="SECONDS", min=0.001, help="For each answer.", show_default="60"),
    ] = None,
    address: Address = None,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
) -> None:
    """Talk to a model, without tools or planning.

    On a terminal the conversation goes on until /quit; /help lists what else there is. Otherwise one message
    is read from standard input and answered in plain text.
    """
    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
    conversation = _Conversation(model, system)
    try:
        if sys.stdin.isatty() and sys.stdout.isatty():
            _converse(server, conversation, deadline)
        else:
            _answer_once(server, conversation, deadline)
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


# --- one message ----------------------------------------------------------------------------


def _answer_once(server: Server, conversation: _Conversation, deadline: float | None) -> None:
    with reported(server.address):
        text = sys.stdin.read().strip()
        if not text:
            raise CommandFailed("there is no message", todo='pipe one in: echo "Hello" | podium chat', code=Exit.USAGE)
        finished = asyncio.run(_print_answer(server, conversation, text, deadline))
    if finished.finish_reason == "LENGTH":
        typer.echo("podium: the answer was cut at the limit on tokens", err=True)


async def _print_answer(server: Server, conversation: _Conversation, text: str, deadline: float | None) -> Generation:
    async with server.connect() as podium:
        stream = podium.generate(conversation.asking(text), model=conversation.model, deadline=deadline)
        async with stream as pieces:
            async for piece in pieces:
                sys.stdout.write(clean(piece))
                sys.stdout.flush()
    sys.stdout.write("\n")
    return stream.result().finished


# --- a conversation on a terminal -----------------------------------------------------------


def _converse(server: Server, conversation: _Conversation, deadline: float | None) -> None:
    # One loop for all answers, which stands still while somebody types. While it runs, its runner turns
    # Ctrl-C into cancelling the answer; at the prompt Ctrl-C is a KeyboardInterrupt as ever.
    with asyncio.Runner() as runner, reported(server.address):
        stack = AsyncExitStack()
        podium = runner.run(_connected(server, stack))
        try:
            _Session(runner, podium, server.address, conversation, deadline).talk()
        finally:
            runner.run(stack.aclose())


async def _connected(server: Server, stack: AsyncExitStack) -> AsyncPodium:
    return await stack.enter_async_context(server.connect())


@dataclass(slots=True)
class _Session:
    """A conversation on a terminal."""

    runner: asyncio.Runner
    podium: AsyncPodium
    address: str
    conversation: _Conversation
    deadline: float | None
    console: Console = field(default_factory=output_console)

    def talk(self) -> None:
        """Read and answer, until somebody leaves."""
        self._say("Ctrl-C stops an answer; /help lists the commands, /quit leaves.")
        while (line := _read_line()) is not None:
            if line.startswith("/"):
                if not self._obey(line):
                    return
            elif line:
                self._answer(line)

    def _say(self, text: str) -> None:
        self.console.print(clean(text), style="dim", markup=False)

    def _obey(self, line: str) -> bool:
        """Carry out a command; return whether the conversation goes on."""
        command, _, rest = line.partition(" ")
        rest = rest.strip()
        match command:
            case "/quit" | "/exit":
                return False
            case "/reset":
                self.conversation.history.clear()
                self._say("The conversation is forgotten.")
            case "/model":
                self.conversation.model = rest or None
                self._say(f"From now on {rest or 'the default model'} answers.")
            case "/system":
                self.conversation.system = rest
                self._say("The instructions are set." if rest else "There are no instructions now.")
            case "/help":
                self._say(_HELP)
            case _:
                self._say(f"There is no command {command}.\n{_HELP}")
        return True

    def _answer(self, text: str) -> None:
        """Stream one answer. One that Ctrl-C stopped stays in the conversation as far as it came."""
        said: list[str] = []
        try:
            with reported(self.address):
                finished = self.runner.run(self._stream(text, said))
        except KeyboardInterrupt:
            self._say("\n(stopped)")
            if said:
                self.conversation.keep(text, "".join(said))
        except typer.Exit:
            return  # it was reported, and the next message may fare better
        else:
            self.conversation.keep(text, "".join(said))
            self._say(_summary(finished))

    async def _stream(self, text: str, said: list[str]) -> Generation:
        from rich.text import Text

        from podium_client import PodiumError, ReasoningPart, TextPart

        asked = self.conversation.asking(text)
        stream = self.podium.generate(asked, model=self.conversation.model, deadline=self.deadline)
        shown = False
        try:
            async with stream as answer, aclosing(answer.parts()) as parts:
                async for part in parts:
                    if isinstance(part, TextPart | ReasoningPart):
                        style = "dim italic" if isinstance(part, ReasoningPart) else ""
                        self.console.print(Text(clean(part.text), style), end="", soft_wrap=True)
                        shown = True
                    if isinstance(part, TextPart):
                        said.append(part.text)
        except PodiumError:
            if shown:
                self.console.print()  # what went wrong is told on a line of its own
            raise
        self.console.print()
        return stream.result().finished


def _read_line() -> str | None:
    """Return what is typed; None at the end of input."""
    with suppress(ImportError):
        import readline  # noqa: F401  importing it lets `input` edit lines and recall earlier ones
    try:
        return input("> ").strip()
    except EOFError:
        typer.echo()
        return None


def _summary(finished: Generation) -> str:
    seconds = finished.time.total_seconds()
    cut = ", cut at the limit on tokens" if finished.finish_reason == "LENGTH" else ""
    return clean(f"{finished.model}: {finished.usage.completion_tokens} tokens in {seconds:.2g} s{cut}")
