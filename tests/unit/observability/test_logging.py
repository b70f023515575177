"""Lines: their shape, what goes into them, and where they come from."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import structlog

from podium import context
from podium.observability.logging import LogConfig, configure_logging, get_logger


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def lines_of(act: Callable[[], None], config: LogConfig | None = None) -> list[dict[str, Any]]:
    stream = io.BytesIO()
    with configure_logging(config or LogConfig(), stream=stream):
        act()
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def text_of(act: Callable[[], None], config: LogConfig, stream: io.BytesIO | None = None) -> str:
    target = stream or io.BytesIO()
    with configure_logging(config, stream=target):
        act()
    return target.getvalue().decode()


def test_the_unified_line() -> None:
    def act() -> None:
        get_logger("podium.rpc").info(
            "rpc finished", user_id="key:Ab3", duration_ms=1.5, status="OK", request_bytes=3, correlation_id="exec_1"
        )

    (line,) = lines_of(act)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "level": "INFO",
        "logger": "podium.rpc",
        "message": "rpc finished",
        "correlation_id": "exec_1",
        "user_id": "key:Ab3",
        "duration_ms": 1.5,
        "status": "OK",
        "context": {"request_bytes": 3},
    }


async def test_the_context_of_the_call_is_in_every_line_of_its_task() -> None:
    stream = io.BytesIO()

    async def call(number: int) -> None:
        context.correlation_id.set(f"exec_{number}")
        context.request_id.set(f"req_{number}")
        context.run_id.set(f"run_{number}")
        context.rpc.set("podium.v1.X/Y")
        await asyncio.sleep(0)
        get_logger("x").info(str(number))

    with configure_logging(stream=stream):
        await asyncio.gather(*(call(number) for number in range(20)))
        get_logger("x").info("outside")
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    for line in lines[:20]:
        number = line["message"]
        assert (line["correlation_id"], line["request_id"], line["run_id"], line["rpc"]) == (
            f"exec_{number}",
            f"req_{number}",
            f"run_{number}",
            "podium.v1.X/Y",
        )
    assert "correlation_id" not in lines[20]


def test_the_correlation_id_can_be_left_out() -> None:
    (line,) = lines_of(lambda: get_logger("x").info("m", correlation_id="exec_1"), LogConfig(correlation=False))
    assert "correlation_id" not in line
    assert "context" not in line


def test_levels_below_the_chosen_one_are_not_written() -> None:
    def act() -> None:
        get_logger("x").info("no")
        get_logger("x").warning("yes")
        logging.getLogger("y").info("no")
        logging.getLogger("y").error("yes")

    assert [line["level"] for line in lines_of(act, LogConfig(level="warning"))] == ["WARNING", "ERROR"]


def test_exceptions_come_with_a_masked_traceback() -> None:
    def act() -> None:
        try:
            raise RuntimeError("password=hunter2")
        except RuntimeError:
            get_logger("x").exception("failed", token="abc")

    (line,) = lines_of(act)
    assert line["level"] == "ERROR"
    assert "RuntimeError: password=***" in line["exception"]
    assert line["context"] == {"token": "***"}


def test_masking_can_be_switched_off() -> None:
    (line,) = lines_of(lambda: get_logger("x").info("password=hunter2"), LogConfig(mask=False))
    assert line["message"] == "password=hunter2"


def test_hits_and_drops_are_counted() -> None:
    stream = io.BytesIO()
    with configure_logging(stream=stream) as pipeline:
        get_logger("x").info("password=hunter2")
        assert pipeline.masked == 1
        assert pipeline.masker.mask("token=x") == "token=***"
    assert pipeline.dropped == 0


class TestStandardLibrary:
    def test_records_take_the_same_way(self) -> None:
        def act() -> None:
            context.request_id.set("req_1")
            logging.getLogger("grpc._cython").warning(
                "peer %s gone", "p", extra={"status": "X", "foo": {"secret": "a"}}
            )

        (line,) = lines_of(lambda: _in_copy(act))
        assert (line["logger"], line["message"], line["level"]) == ("grpc._cython", "peer p gone", "WARNING")
        assert (line["request_id"], line["status"], line["context"]) == ("req_1", "X", {"foo": {"secret": "***"}})

    def test_clashing_extras_and_odd_levels_do_no_harm(self) -> None:
        def act() -> None:
            logging.getLogger("y").log(25, "between", extra={"event": "e", "level": "l", "logger": "z"})
            logging.getLogger("y").log(99, "above")

        lines = lines_of(act)
        assert [(line["level"], line["message"], line["logger"]) for line in lines] == [
            ("INFO", "between", "y"),
            ("CRITICAL", "above", "y"),
        ]

    def test_tracebacks_of_records(self) -> None:
        def act() -> None:
            try:
                raise KeyError("k")
            except KeyError:
                logging.getLogger("y").exception("bad")

        (line,) = lines_of(act)
        assert line["exception"].endswith("KeyError: 'k'")

    def test_warnings_become_lines(self) -> None:
        def act() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                logging.captureWarnings(capture=True)
                warnings.warn("old thing", stacklevel=1)

        (line,) = lines_of(act)
        assert line["logger"] == "py.warnings"
        assert "old thing" in line["message"]

    def test_a_record_whose_arguments_do_not_fit_is_written_all_the_same(self) -> None:
        def act() -> None:
            record = logging.makeLogRecord({"name": "y", "levelno": 30, "msg": "%d", "args": ("no number",)})
            logging.getLogger().handlers[-1].handle(record)

        (line,) = lines_of(act)
        assert line["message"] == "%d ('no number',)"

    def test_closing_puts_back_what_was_there(self) -> None:
        root = logging.getLogger()
        before = (root.level, list(root.handlers))
        lines_of(lambda: None, LogConfig(level="DEBUG"))
        assert (root.level, list(root.handlers)) == before
        assert not structlog.is_configured()


class TestOddValues:
    @pytest.mark.parametrize("value", [2**70, float("nan"), object(), {1: "a"}, b"\xff", {"s"}, "\ud800", ["\ud800"]])
    def test_no_value_loses_the_line(self, value: object) -> None:
        (line,) = lines_of(lambda: get_logger("x").info("m", value=value))
        assert line["message"] == "m"

    def test_a_line_is_one_line(self) -> None:
        stream = io.BytesIO()
        with configure_logging(stream=stream):
            get_logger("x").info("a\nb", c="d\r\ne")
        assert stream.getvalue().count(b"\n") == 1


class TestFormat:
    def say(self) -> None:
        get_logger("x").info("hello", a=1, password="hunter2")

    @pytest.mark.parametrize(
        ("config", "stream", "json"),
        [
            (LogConfig(), io.BytesIO, True),
            (LogConfig(), Terminal, False),
            (LogConfig(production=True), Terminal, True),
            (LogConfig(format="json"), Terminal, True),
            (LogConfig(format="console"), io.BytesIO, False),
        ],
    )
    def test_json_unless_somebody_watches(self, config: LogConfig, stream: type[io.BytesIO], json: bool) -> None:
        assert text_of(self.say, config, stream()).startswith("{") is json

    def test_the_console_line_is_plain_without_a_terminal(self) -> None:
        text = text_of(self.say, LogConfig(format="console"))
        assert "\x1b" not in text
        assert re.search(r"\[INFO +\] hello +\[x\] a=1 password=\*\*\*\n$", text)

    def test_the_console_shows_tracebacks_masked_and_without_variables(self) -> None:
        def act() -> None:
            local = "hunter2"
            try:
                raise RuntimeError(f"password={local}")
            except RuntimeError:
                get_logger("x").exception("failed")

        text = text_of(act, LogConfig(format="console"), Terminal())
        assert "RuntimeError: password=***" in text
        assert "hunter2" not in text.replace('local = "hunter2"', "")


def test_it_can_be_configured_again() -> None:
    log = get_logger("x")
    for _ in range(2):
        (line,) = lines_of(lambda: log.info("m"))
        assert line["logger"] == "x"


def test_what_is_queued_is_written_when_the_process_ends() -> None:
    code = (
        "from podium.observability.logging import configure_logging, get_logger\n"
        "configure_logging()\n"
        "for number in range(2000): get_logger('x').info(str(number))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=os.environ, timeout=50)
    assert [orjson.loads(line)["message"] for line in done.stderr.splitlines()] == [str(n) for n in range(2000)]
    assert done.stdout == b""


def _in_copy(act: Callable[[], None]) -> None:
    import contextvars

    contextvars.copy_context().run(act)
