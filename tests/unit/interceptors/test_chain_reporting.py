"""Reporting: one line and one count a call, whatever its end; nothing of its content."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import orjson
import pytest
from chain_doubles import PATH, Clock, Log, hooks_of, make_call, make_method
from prometheus_client import CollectorRegistry, generate_latest

from podium.interceptors import AccessLog, Reporting, RpcMetrics
from podium.interceptors.call import OK, Kind, MethodClass, MethodPolicy, Outcome
from podium.security import Principal

Code = grpc.StatusCode
RPC = "podium.v1.ToolService/GetTool"


def report(concern: Reporting, call: Any, outcome: Outcome) -> None:
    hooks = hooks_of(concern, call.method)
    assert hooks.admit is not None
    assert hooks.finish is not None
    hooks.admit(call)
    hooks.finish(call, outcome)


class TestAccessLog:
    def test_fields(self) -> None:
        log, clock = Log(), Clock(1_000.25)
        call = make_call(
            make_method(kind=Kind.UNARY_STREAM),
            {"authorization": "Bearer sesame"},
            principal=Principal("api:k", frozenset()),
            correlation_id="c",
            request_id="r",
            received=1,
            sent=3,
            first_sent=1_000.125,
        )
        report(Reporting(AccessLog(logger=log, linger=0), clock=clock), call, OK)
        assert log.lines == [
            (
                "info",
                "call",
                {
                    "correlation_id": "c", "request_id": "r", "rpc": RPC, "user_id": "api:k", "duration_ms": 250.0,
                    "status": "OK", "kind": "unary_stream", "peer": "ipv4:127.0.0.1:5000", "received": 1, "sent": 3,
                    "first_message_ms": 125.0,
                },
            )
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("code", "level"),
        [
            (Code.INVALID_ARGUMENT, "info"),
            (Code.NOT_FOUND, "info"),
            (Code.CANCELLED, "info"),
            (Code.RESOURCE_EXHAUSTED, "warning"),
            (Code.UNAUTHENTICATED, "warning"),
            (Code.UNAVAILABLE, "warning"),
            (Code.DEADLINE_EXCEEDED, "warning"),
            (Code.INTERNAL, "error"),
            (Code.UNKNOWN, "error"),
        ],
    )
    def test_levels(self, code: Code, level: str) -> None:
        log = Log()
        access = AccessLog(logger=log, redact=lambda text: text.replace("sesame", "***"))
        report(Reporting(access), make_call(), Outcome(code, "WHY", "for sesame"))
        assert [(line[0], line[2]["reason"], line[2]["detail"]) for line in log.lines] == [(level, "WHY", "for ***")]

    def test_finished_lines_have_the_shape_of_every_line(self) -> None:
        """What goes past the logger looks as if it had gone through it."""
        lines: list[bytes] = []
        access = AccessLog(write=lines.append, linger=0, now=lambda: 1_790_000_000.25)
        concern = Reporting(access, clock=Clock(1_000.5))
        report(concern, make_call(correlation_id="c", request_id="r", received=1, sent=1), OK)
        report(concern, make_call(), Outcome(Code.UNAVAILABLE, "DRAINING", 'a "quoted" text'))
        first, second = map(orjson.loads, lines)
        assert first == {
            "timestamp": "2026-09-21T14:13:20.250000Z", "level": "INFO", "logger": "podium.access", "message": "call",
            "correlation_id": "c", "request_id": "r", "rpc": RPC, "user_id": "", "duration_ms": 500.0, "status": "OK",
            "context": {"kind": "unary_unary", "peer": "ipv4:127.0.0.1:5000", "received": 1, "sent": 1},
        }  # fmt: skip
        assert list(first)[:4] == ["timestamp", "level", "logger", "message"]
        assert (second["level"], second["status"]) == ("WARNING", "UNAVAILABLE")
        assert (second["context"]["reason"], second["context"]["detail"]) == ("DRAINING", 'a "quoted" text')

    async def test_good_calls_wait_a_moment_and_keep_their_order(self) -> None:
        log = Log()
        written = asyncio.Event()
        access = AccessLog(logger=log, linger=0.001)
        later = access.close
        access.close = lambda: (later(), written.set())  # type: ignore[method-assign, assignment, func-returns-value]
        concern = Reporting(access)
        for number in range(3):
            report(concern, make_call(request_id=str(number)), OK)
        assert log.lines == []
        report(concern, make_call(request_id="3"), Outcome(Code.INTERNAL))  # takes those before it along
        report(concern, make_call(request_id="4"), OK)
        assert [line[2]["request_id"] for line in log.lines] == ["0", "1", "2", "3"]
        written.clear()
        await written.wait()
        assert len(log.lines) == 5
        report(concern, make_call(request_id="5"), OK)
        concern.close()
        assert [line[2]["request_id"] for line in log.lines] == ["0", "1", "2", "3", "4", "5"]
        concern.close()
        assert len(log.lines) == 6

    async def test_the_wait_is_bounded_in_lines(self) -> None:
        log = Log()
        concern = Reporting(AccessLog(logger=log, linger=1_000.0))
        for _ in range(300):
            report(concern, make_call(), OK)
        assert len(log.lines) == 256
        concern.close()
        assert len(log.lines) == 300

    async def test_nothing_of_a_call_is_kept_while_a_line_waits(self) -> None:
        """The context holds on to the native call."""
        import gc
        import weakref

        class Held:
            pass

        concern = Reporting(AccessLog(logger=Log(), linger=1_000.0))
        call = make_call()
        held = call.context.held = Held()  # type: ignore[attr-defined]
        gone = weakref.ref(held)
        report(concern, call, OK)
        del call, held
        gc.collect()
        assert gone() is None
        concern.close()


class TestRpcMetrics:
    def test_zero_is_visible_from_the_start(self) -> None:
        registry = CollectorRegistry()
        RpcMetrics(registry, [PATH])
        for code in Code:
            assert registry.get_sample_value("podium_rpc_handled_total", {"rpc": RPC, "code": code.name}) == 0
        assert registry.get_sample_value("podium_rpc_started_total", {"rpc": RPC}) == 0
        assert registry.get_sample_value("podium_rpc_duration_seconds_count", {"rpc": RPC}) == 0

    def test_counts(self) -> None:
        registry, clock = CollectorRegistry(), Clock(1_000.03)
        concern = Reporting(RpcMetrics(registry), clock=clock)
        for outcome in (OK, OK, Outcome(Code.OK), Outcome(Code.NOT_FOUND)):
            report(concern, make_call(received=2, sent=3), outcome)
        hooks = hooks_of(concern)
        assert hooks.admit is not None
        hooks.admit(make_call())

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(f"podium_rpc_{name}", {"rpc": RPC, **labels})

        assert value("started_total") == 5
        assert value("in_flight") == 1
        assert value("handled_total", code="OK") == 3
        assert value("handled_total", code="NOT_FOUND") == 1
        assert value("messages_received_total") == 8
        assert value("messages_sent_total") == 12
        assert value("duration_seconds_count") == 4
        assert value("duration_seconds_sum") == pytest.approx(0.12)
        assert value("duration_seconds_bucket", le="0.025") == 0
        assert value("duration_seconds_bucket", le="0.05") == 4
        assert value("duration_seconds_bucket", le="+Inf") == 4

    def test_renders_and_survives_a_broken_clock(self) -> None:
        registry, clock = CollectorRegistry(), Clock(0.0)
        report(Reporting(RpcMetrics(registry), clock=clock), make_call(), OK)
        text = generate_latest(registry).decode()
        assert f'podium_rpc_handled_total{{code="OK",rpc="{RPC}"}} 1.0' in text
        assert f'podium_rpc_duration_seconds_sum{{rpc="{RPC}"}} 0.0' in text

    def test_two_chains_may_not_share_a_registry(self) -> None:
        registry = CollectorRegistry()
        RpcMetrics(registry)
        with pytest.raises(ValueError, match="Duplicated"):
            RpcMetrics(registry)

    def test_methods_share_nothing(self) -> None:
        registry = CollectorRegistry()
        concern = Reporting(RpcMetrics(registry))
        other = make_method(MethodPolicy("run", MethodClass.RUN), path="/a.B/C")
        report(concern, make_call(other), OK)
        assert registry.get_sample_value("podium_rpc_started_total", {"rpc": "a.B/C"}) == 1
