"""How a command fails: one line on standard error that says what to do, and the right exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

from podium import errors as server_errors
from podium.cli.terminal import clean

if TYPE_CHECKING:
    from podium_client import PodiumError

__all__ = ["CommandFailed", "Exit", "reported", "show_traceback"]

# Set by the option --traceback of the whole command line.
show_traceback: ContextVar[bool] = ContextVar("podium_show_traceback", default=False)


class Exit(IntEnum):
    """What the command line's exit codes mean."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_READY = 3


class CommandFailed(Exception):
    """A command cannot go on. `message` says what is wrong, `todo` what to do about it."""

    def __init__(self, message: str, *, todo: str = "", code: int = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.todo = todo
        self.code = code


@dataclass(frozen=True, slots=True)
class _Report:
    text: str
    code: int


@contextmanager
def reported(address: str = "") -> Iterator[None]:
    """Turn whatever goes wrong inside into one message and an exit code.

    `address` is the server that is talked to, for messages about not reaching it. A fault of ours
    shows its traceback only under `podium --traceback`.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if show_traceback.get():
            raise
        report = _report(error, address)
        typer.echo(f"podium: {clean(report.text)}", err=True)
        raise typer.Exit(report.code) from error


def _report(error: Exception, address: str) -> _Report:
    if isinstance(error, CommandFailed):
        return _Report(_sentences(error.message, error.todo), error.code)
    if isinstance(error, server_errors.PodiumError):
        return _Report(error.message, _server_code(error))
    client = sys.modules.get("podium_client.errors")  # not imported: then it cannot be one of its errors
    if client is not None and isinstance(error, client.PodiumError):
        return _client_report(error, address)
    if isinstance(error, OSError) and error.filename is not None:
        return _Report(f"{error.filename}: {error.strerror}", Exit.USAGE)
    kind = type(error).__name__
    todo = "this is a fault of Podium's; `podium --traceback COMMAND ...` shows where it happened"
    return _Report(_sentences(f"unexpected {kind}: {error}", todo), Exit.FAILED)


def _server_code(error: server_errors.PodiumError) -> int:
    match error:
        case server_errors.Unavailable():
            return Exit.NOT_READY
        case server_errors.InvalidRequest() | server_errors.FailedPrecondition() | server_errors.NotFound():
            return Exit.USAGE
        case _:
            return Exit.FAILED


def _client_report(error: PodiumError, address: str) -> _Report:
    import podium_client  # noqa: PLC0415  loaded already, since it raised

    if isinstance(error, podium_client.Unavailable) and not error.reason:
        todo = "start a server with `podium serve`, or name another with --address"
        return _Report(
            _sentences(f"no Podium answers at {address} ({error.message.rpartition(': ')[2]})", todo), Exit.NOT_READY
        )
    code, todo = Exit.FAILED, ""
    match error:
        case podium_client.Unavailable():
            code, todo = Exit.NOT_READY, "`podium health --wait 60` waits until it is ready"
        case podium_client.Unauthenticated():
            code, todo = Exit.USAGE, "put an API key into a variable and name it with --api-key-env"
        case podium_client.PermissionDenied():
            code, todo = Exit.USAGE, "use a key with the right scope (`podium keys list` on the server shows them)"
        case podium_client.Unsupported():
            code, todo = Exit.USAGE, f"what answers at {address} is no Podium, or an older one"
        case podium_client.InvalidRequest() | podium_client.NotFound() | podium_client.AlreadyExists():
            code = Exit.USAGE
        case podium_client.DeadlineExceeded():
            todo = "give it longer with --deadline SECONDS"
        case podium_client.Internal():
            todo = "quote the correlation id to the server's operator"
    if error.retry_after:
        todo = f"try again in {error.retry_after:.3g} s" + (f"; {todo}" if todo else "")
    lines = [_sentences(error.message, todo)]
    lines += [f"  {each.field}: {each.description}" for each in error.violations]
    marks = [f"reason {error.reason}"] if error.reason else [error.code.name]
    if error.correlation_id:
        marks.append(f"correlation id {error.correlation_id}")
    return _Report("\n".join([f"{lines[0]} ({', '.join(marks)})", *lines[1:]]), code)


def _sentences(message: str, todo: str) -> str:
    return f"{message}; {todo}" if todo else message
