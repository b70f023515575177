"""Every failure is one message on standard error and the right exit code, never a traceback."""

from __future__ import annotations

import contextvars

import grpc
import pytest
import typer

import podium_client
from podium import errors
from podium.cli.failures import CommandFailed, Exit, reported, show_traceback
from podium_client import Violation

CODE = grpc.StatusCode


def outcome(error: Exception, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(typer.Exit) as ended, reported("127.0.0.1:50051"):
        raise error
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert shown.err.startswith("podium: ")
    return ended.value.exit_code, shown.err.removeprefix("podium: ").rstrip("\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (podium_client.Unavailable("a; b: Connection refused", code=CODE.UNAVAILABLE), 3, "(Connection refused)"),
        (podium_client.Unavailable("draining", code=CODE.UNAVAILABLE, reason="DRAINING", retry_after=2), 3, "in 2 s"),
        (podium_client.Unauthenticated("no key", reason="UNAUTHENTICATED"), 2, "--api-key-env"),
        (podium_client.PermissionDenied("no scope", reason="PERMISSION_DENIED"), 2, "scope"),
        (podium_client.Unsupported("unknown method", code=CODE.UNIMPLEMENTED), 2, "no Podium"),
        (podium_client.InvalidRequest("bad", reason="INVALID_REQUEST"), 2, "bad (reason INVALID_REQUEST)"),
        (podium_client.NotFound("no such model", reason="NOT_FOUND"), 2, "no such model"),
        (podium_client.AlreadyExists("taken", reason="REQUEST_ID_REUSED"), 2, "taken"),
        (podium_client.FailedPrecondition("off", reason="FAILED_PRECONDITION"), 1, "off"),
        (podium_client.ResourceExhausted("slow down", reason="RATE_LIMITED", retry_after=1.5), 1, "in 1.5 s"),
        (podium_client.DeadlineExceeded("too late", code=CODE.DEADLINE_EXCEEDED), 1, "--deadline"),
        (podium_client.Cancelled("stopped", reason="CANCELLED"), 1, "stopped"),
        (podium_client.Internal("ours", reason="INTERNAL"), 1, "operator"),
        (errors.Unavailable("index out of reach"), 3, "index out of reach"),
        (errors.FailedPrecondition("port taken"), 2, "port taken"),
        (errors.InvalidRequest("no such scope"), 2, "no such scope"),
        (errors.NotFound("no key", resource_type="k", resource_name="n"), 2, "no key"),
        (errors.ResourceExhausted("disk full"), 1, "disk full"),
        (CommandFailed("odd", todo="do this"), 1, "odd; do this"),
        (CommandFailed("odd", code=Exit.NOT_READY), 3, "odd"),
        (FileNotFoundError(2, "No such file or directory", "ca.pem"), 2, "ca.pem: No such file"),
        (ZeroDivisionError("secret of ours"), 1, "fault of Podium's"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_failure(error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    ended, shown = outcome(error, capsys)
    assert ended == code
    assert said in shown


def test_the_correlation_id_and_the_violations_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    error = podium_client.InvalidRequest(
        "two things",
        reason="INVALID_REQUEST",
        correlation_id="exec_7",
        violations=[Violation("spec.input", "too long"), Violation("spec.tools", "twice\x1b[2J")],
    )
    _, shown = outcome(error, capsys)
    assert shown == (
        "two things (reason INVALID_REQUEST, correlation id exec_7)\n  spec.input: too long\n  spec.tools: twice�[2J"
    )


def test_exits_pass_through() -> None:
    with pytest.raises(typer.Exit) as ended, reported():
        raise typer.Exit(7)
    assert ended.value.exit_code == 7


def test_the_traceback_is_shown_on_request() -> None:
    def ask() -> None:
        show_traceback.set(True)
        with reported():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        contextvars.copy_context().run(ask)
