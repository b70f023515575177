"""Logging: structlog to one line an event, JSON or for people, written off the event loop.

A line has `timestamp` (ISO 8601, UTC), `level`, `logger`, `message`, then `correlation_id`,
`request_id`, `run_id`, `rpc`, `user_id`, `duration_ms`, `status` where they are known, `exception`
for a traceback, and everything else under `context`. Records of the standard library (grpc,
asyncio, warnings) take the same way. Logs go to standard error: standard output is for results.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Self, cast

import orjson
import structlog

from podium import context
from podium.observability.line_writer import LineWriter
from podium.observability.masking import Masker

__all__ = ["LogConfig", "LogPipeline", "configure_logging", "get_logger"]

Event = MutableMapping[str, Any]
Processor = Callable[[Any, str, Event], Any]

_TOP_LEVEL = (
    "timestamp", "level", "logger", "message", "correlation_id", "request_id", "run_id", "rpc", "user_id",
    "duration_ms", "status", "exception",
)  # fmt: skip
_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How to log; the fields mean what the settings of the same names say.

    Attributes:
        level: lowest level written.
        format: `auto` is `console` on a terminal outside production, else `json`.
        mask: whether secrets are masked.
        correlation: whether lines carry the correlation id.
        production: whether this is production.
        cache_loggers: whether loggers keep the configuration they first saw; a few microseconds a
            line quicker, and for a process that configures once.
    """

    level: str = "INFO"
    format: Literal["auto", "json", "console"] = "auto"
    mask: bool = True
    correlation: bool = True
    production: bool = False
    cache_loggers: bool = False


class LogPipeline:
    """Logging as configured: the writer behind it, and the counts worth a metric.

    A context manager; leaving it restores what was there before and writes out what is queued.
    """

    def __init__(
        self, writer: LineWriter, masker: Masker, bridge: logging.Handler, previous_level: int, *, lines: bool
    ) -> None:
        self._writer = writer
        self._lines = lines
        self._masker = masker
        self._bridge = bridge
        self._previous_level = previous_level
        self._closed = False
        atexit.register(self.close)

    @property
    def write_line(self) -> Callable[[bytes], None] | None:
        """Takes a finished line of JSON as it is: for lines that hold no free text and come by the thousand.

        None when the log is not to have such lines: on a terminal, above INFO, or without correlation ids.
        """
        return self._writer.write if self._lines else None

    @property
    def dropped(self) -> int:
        """Lines that were lost."""
        return self._writer.dropped

    @property
    def masked(self) -> int:
        """Texts in which a secret was masked."""
        return self._masker.hits

    @property
    def masker(self) -> Masker:
        """The masker of the log, for whatever else leaves the process."""
        return self._masker

    def close(self) -> None:
        """Take the bridge away, write out what is queued, and go back to structlog's defaults."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        root = logging.getLogger()
        root.removeHandler(self._bridge)
        root.setLevel(self._previous_level)
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _LineLogger:
    """What structlog calls with a rendered line."""

    __slots__ = ("_write", "name")

    def __init__(self, write: Callable[[bytes], None], name: str) -> None:
        self._write = write
        self.name = name

    def msg(self, line: str | bytes) -> None:
        self._write(line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace"))

    log = debug = info = warning = error = critical = exception = fatal = msg


class _Bridge(logging.Handler):
    """Sends records of the standard library down the same pipeline."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            extra = {key: value for key, value in vars(record).items() if key not in _RECORD_FIELDS and key[:1] != "_"}
            extra.pop("event", None)
            logger = structlog.get_logger(record.name).bind(**extra)
            level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
            logger.log(level, _message(record), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001  logging must not raise into the program; the library reports it
            self.handleError(record)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # arguments that do not fit are no reason to lose the line
        return f"{record.msg} {record.args!r}"


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger; its name goes into every line."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(name))


def configure_logging(config: LogConfig | None = None, *, stream: BinaryIO | None = None) -> LogPipeline:
    """Set logging up for the process and return the pipeline, to be closed at the end.

    Args:
        config: how to log.
        stream: where the lines go; standard error when None.
    """
    chosen = config or LogConfig()
    target = sys.stderr.buffer if stream is None else stream
    console = chosen.format == "console" or (
        chosen.format == "auto" and not chosen.production and hasattr(target, "isatty") and target.isatty()
    )
    level = logging.getLevelNamesMapping()[chosen.level.upper()]
    writer = LineWriter(target)
    masker = Masker()
    structlog.configure(
        processors=_processors(chosen, masker, console=console, colors=console and target.isatty()),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *args: _LineLogger(writer.write, str(args[0]) if args else "podium"),
        cache_logger_on_first_use=chosen.cache_loggers,
    )
    root = logging.getLogger()
    previous = root.level
    bridge = _Bridge()
    root.addHandler(bridge)
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    lines = not console and level <= logging.INFO and chosen.correlation
    return LogPipeline(writer, masker, bridge, previous, lines=lines)


def _processors(config: LogConfig, masker: Masker, *, console: bool, colors: bool) -> list[Processor]:
    chain: list[Processor] = [
        _with_call_context(config.correlation),
        _add_level_and_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
    ]
    if not console:
        chain.append(_shape)
    if config.mask:
        chain.append(masker)
    chain.append(_console_renderer(colors) if console else _render_json)
    return chain


def _console_renderer(colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colors, event_key="message", exception_formatter=structlog.dev.plain_traceback
    )


def _with_call_context(correlation: bool) -> Processor:
    variables = [("request_id", context.request_id), ("run_id", context.run_id), ("rpc", context.rpc)]
    if correlation:
        variables.insert(0, ("correlation_id", context.correlation_id))

    def add_call_context(_logger: Any, _method: str, event: Event) -> Event:
        for name, variable in variables:
            value = variable.get("")
            if value and name not in event:
                event[name] = value
        if not correlation:
            event.pop("correlation_id", None)
        return event

    return add_call_context


def _add_level_and_name(logger: Any, method: str, event: Event) -> Event:
    event["level"] = "ERROR" if method == "exception" else method.upper()
    event["logger"] = logger.name
    return event


def _shape(_logger: Any, _method: str, event: Event) -> Event:
    shaped: Event = {}
    for name in _TOP_LEVEL:
        value = event.pop(name, _UNSET)
        if value is not _UNSET:
            shaped[name] = value
    if event:
        shaped["context"] = dict(event)
    return shaped


def _render_json(_logger: Any, _method: str, event: Event) -> bytes:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except (orjson.JSONEncodeError, TypeError):
        # Lone surrogates and integers beyond 64 bits: rare, and no reason to lose the line.
        return orjson.dumps({str(key): _safe(value) for key, value in event.items()})


def _safe(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
