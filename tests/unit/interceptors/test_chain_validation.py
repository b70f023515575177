"""Validation, and the table of methods."""

from __future__ import annotations

from typing import Any

import pytest
from chain_doubles import Clock, Loop, hooks_of, make_call, make_method
from google.protobuf import descriptor_pool

from podium.errors import InvalidRequest, ResourceExhausted
from podium.interceptors import MethodClass, Validation, default_policies
from podium.interceptors.streams import SlowReader
from podium.security import ALL_SCOPES
from podium.v1 import clarification_pb2, health_pb2, inference_pb2, orchestrator_pb2, run_pb2, tool_pb2

FILES = (clarification_pb2, health_pb2, inference_pb2, orchestrator_pb2, tool_pb2)


def check(message: Any) -> InvalidRequest | None:
    receive = hooks_of(Validation()).receive
    assert receive is not None
    try:
        receive(make_call(), message)
    except InvalidRequest as error:
        return error
    return None


def execute(**fields: Any) -> orchestrator_pb2.ExecuteRequest:
    return orchestrator_pb2.ExecuteRequest(spec=run_pb2.RunSpec(**{"input": "x", **fields}))


@pytest.mark.parametrize(
    ("message", "field", "rule"),
    [
        (orchestrator_pb2.ExecuteRequest(), "spec", "required"),
        (execute(input=""), "spec.input", "string.min_len"),
        (execute(tools=["good", "Bad!"]), "spec.tools[1]", "string.pattern"),
        (execute(labels={"a b": "x"}), 'spec.labels["a b"]', "string.pattern"),
        (execute(limits=run_pb2.RunLimits(max_calls=-1)), "spec.limits.max_calls", "int32.gte_lte"),
        (tool_pb2.GetToolRequest(name="X"), "name", "string.pattern"),
    ],
)
def test_violations_have_path_and_rule(message: Any, field: str, rule: str) -> None:
    """Nested, repeated and mapped fields are named as people write them."""
    error = check(message)
    assert error is not None
    assert [(each.field, each.rule) for each in error.violations] == [(field, rule)]
    assert error.violations[0].description
    assert field in error.message


def test_all_violations_are_told_at_once() -> None:
    """The text tells the first and how many more there are."""
    error = check(execute(input="", tools=["Bad!"]))
    assert error is not None
    assert len(error.violations) == 2
    assert "(and 1 more)" in error.message


def test_good_messages_and_bytes_pass() -> None:
    """Handlers without a deserialiser get bytes, which have no rules."""
    assert check(execute()) is None
    assert check(b"raw") is None


def test_rules_are_compiled_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the methods named at construction and at binding; unknown ones are passed over."""
    validation = Validation(["/podium.v1.ToolService/GetTool", "/no.Such/Method", "nonsense"])
    assert validation.bind(make_method(path="/no.Such/Method")) is not None


class TestPolicies:
    """The table covers the contract."""

    def test_every_method_of_every_proto_has_a_policy(self) -> None:
        policies = default_policies()
        served = {
            f"/{service.full_name}/{method.name}"
            for file in FILES
            for service in file.DESCRIPTOR.services_by_name.values()
            for method in service.methods
        }
        assert served <= set(policies)
        ours = {path for path in policies if path.startswith("/podium.")}
        assert ours == served

    def test_reads_are_reads(self) -> None:
        """What has no side effects counts as reading; what has counts not as such, but for cancelling."""
        policies = default_policies()
        for path, policy in policies.items():
            if not path.startswith("/podium."):
                continue
            service, _, name = path.lstrip("/").rpartition("/")
            method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
            level = method.GetOptions().idempotency_level
            if policy.method_class is MethodClass.READ:
                assert level != 0, path
            if policy.method_class is MethodClass.RUN:
                assert level == 0, path

    def test_scopes_exist_and_only_health_and_reflection_are_public(self) -> None:
        for path, policy in default_policies().items():
            assert policy.scope is None or policy.scope in ALL_SCOPES
            assert (policy.scope is None) == (policy.method_class is MethodClass.OPEN), path

    def test_health_and_reflection_may_be_closed(self) -> None:
        closed = default_policies(open_health=False, open_reflection=False)
        assert all(policy.scope is not None for policy in closed.values())

    def test_limits_are_settable(self) -> None:
        policies = default_policies(run_seconds=5.0, model_seconds=7.0)
        assert policies["/podium.v1.OrchestratorService/Execute"].max_seconds == 5.0
        assert policies["/podium.v1.InferenceService/Generate"].max_seconds == 7.0
        assert policies["/grpc.health.v1.Health/Watch"].max_seconds is None
        assert policies["/podium.v1.OrchestratorService/WatchRun"].max_seconds is None


class TestSlowReader:
    """One timer a stream, set again while messages move."""

    def watch(self, clock: Clock) -> tuple[Any, Loop]:
        call = make_call()
        task: Any = call.task
        SlowReader(call, 10.0, clock)
        return call, task.get_loop()

    def test_a_stream_that_waits_for_its_handler_is_not_slow(self) -> None:
        clock = Clock()
        call, loop = self.watch(clock)
        for _ in range(5):
            clock.now += 10
            loop.timers[-1].fire()
        assert call.ended_by is None

    def test_ends_the_call_when_one_message_takes_too_long(self) -> None:
        clock = Clock()
        call, loop = self.watch(clock)
        clock.now += 4
        call.writing_since = clock.now
        clock.now += 6
        loop.timers[-1].fire()
        assert call.ended_by is None
        assert loop.timers[-1].when == loop.now + 4  # exactly when the ten seconds are over
        clock.now += 4
        loop.timers[-1].fire()
        assert isinstance(call.ended_by, ResourceExhausted)
        assert call.ended_by.reason == "SLOW_READER"
