"""Every refusal becomes the class that says what to do about it, with all the server said."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2

import podium_client
from podium.v1 import run_pb2
from podium_client import AsyncPodium, Podium, PodiumError, RunFailed, RunResult, Violation
from unit.client.fake_podium import FakePodium, refusal, sample_run, serving

CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: podium_client.InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: podium_client.InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: podium_client.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: podium_client.PermissionDenied,
    grpc.StatusCode.NOT_FOUND: podium_client.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: podium_client.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: podium_client.FailedPrecondition,
    grpc.StatusCode.ABORTED: podium_client.FailedPrecondition,
    grpc.StatusCode.UNIMPLEMENTED: podium_client.Unsupported,
    grpc.StatusCode.RESOURCE_EXHAUSTED: podium_client.ResourceExhausted,
    grpc.StatusCode.DEADLINE_EXCEEDED: podium_client.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: podium_client.Cancelled,
    grpc.StatusCode.UNAVAILABLE: podium_client.Unavailable,
    grpc.StatusCode.INTERNAL: podium_client.Internal,
    grpc.StatusCode.UNKNOWN: podium_client.Internal,
    grpc.StatusCode.DATA_LOSS: podium_client.Internal,
}


def test_every_status_code_has_a_class() -> None:
    assert set(CODES) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.parametrize(("code", "expected"), CODES.items(), ids=lambda value: getattr(value, "name", ""))
async def test_async_and_sync_raise_the_same_class(code: grpc.StatusCode, expected: type[PodiumError]) -> None:
    async with serving(FakePodium()) as fake:
        fake.refusals = [refusal(code, "what to do", "SOME_REASON") for _ in range(3)]
        async with AsyncPodium.connect(fake.address) as podium:
            with pytest.raises(expected) as unary:
                await podium.invoke_tool("calculate", correlation_id="exec_7")
            with pytest.raises(expected) as streamed:
                async with podium.generate("hi", correlation_id="exec_7") as texts:
                    await anext(texts)

        def call() -> PodiumError:
            with Podium.connect(fake.address) as sync, pytest.raises(expected) as raised:
                sync.invoke_tool("calculate", correlation_id="exec_7")
            return raised.value

        in_thread = await asyncio.to_thread(call)
    for error in (unary.value, streamed.value, in_thread):
        assert type(error) is expected
        assert (error.code, error.reason, error.message) == (code, "SOME_REASON", "what to do")
        assert error.correlation_id == "exec_7"
        assert error.metadata == {"method": "Execute"}
        assert error.retry_after is None


async def test_details_become_attributes() -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    quota = error_details_pb2.QuotaFailure(violations=[{"subject": "run/minute", "description": "60 a minute"}])
    bad = error_details_pb2.BadRequest(field_violations=[{"field": "spec.input", "description": "1 or more"}])
    state = error_details_pb2.PreconditionFailure(violations=[{"type": "OFF", "subject": "x", "description": "y"}])
    missing = error_details_pb2.ResourceInfo(resource_type="tool", resource_name="calculat")
    other = error_details_pb2.Help()
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.refusals = [
            refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", "RATE_LIMITED", retry, quota, other),
            refusal(grpc.StatusCode.INVALID_ARGUMENT, "no input", "INVALID_REQUEST", bad),
            refusal(grpc.StatusCode.FAILED_PRECONDITION, "off", "FAILED_PRECONDITION", state),
            refusal(grpc.StatusCode.NOT_FOUND, "no such tool", "NOT_FOUND", missing),
        ]
        with pytest.raises(podium_client.ResourceExhausted) as limited:
            await podium.get_tool("calculate")
        with pytest.raises(podium_client.InvalidRequest) as invalid:
            await podium.run("x")
        with pytest.raises(podium_client.FailedPrecondition) as off:
            await podium.run("x")
        with pytest.raises(podium_client.NotFound) as lost:
            await podium.get_tool("calculat")
    assert limited.value.retry_after == 1.5
    assert limited.value.violations == (Violation("run/minute", "60 a minute"),)
    assert invalid.value.violations == (Violation("spec.input", "1 or more"),)
    assert off.value.violations == (Violation("x", "y", "OFF"),)
    assert (lost.value.resource_type, lost.value.resource_name) == ("tool", "calculat")
    assert str(lost.value) == f"no such tool [NOT_FOUND, {lost.value.correlation_id}]"


async def test_an_unreachable_server_is_unavailable_without_a_reason() -> None:
    async with AsyncPodium.connect("127.0.0.1:1") as podium:
        with pytest.raises(podium_client.Unavailable) as raised:
            await podium.invoke_tool("calculate")
    assert raised.value.reason == ""


async def test_the_deadline_ends_a_call_that_hangs() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.hang = True
        with pytest.raises(podium_client.DeadlineExceeded) as raised:
            await podium.run("x", deadline=0.2, correlation_id="exec_9")
        await fake.cancelled.wait()
    assert raised.value.correlation_id == "exec_9"


def test_a_failed_run_raises_only_when_asked() -> None:
    result = RunResult.of(sample_run(run_pb2.RUN_STATE_FAILED))
    assert not result.ok
    with pytest.raises(RunFailed, match="the model is starting") as raised:
        result.raise_for_state()
    assert raised.value.run is result
    assert raised.value.reason == "MODEL_NOT_READY"
    done = RunResult.of(sample_run())
    assert done.raise_for_state() is done


def test_a_run_without_an_error_still_says_how_it_ended() -> None:
    with pytest.raises(RunFailed, match="CANCELLED"):
        RunResult.of(sample_run(run_pb2.RUN_STATE_CANCELLED)).raise_for_state()


async def test_broken_details_leave_code_and_message() -> None:
    class Failed:
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.NOT_FOUND

        def details(self) -> str:
            return ""

        def trailing_metadata(self) -> list[tuple[str, str | bytes]]:
            return [("grpc-status-details-bin", b"\xff\xff\xff")]

    from podium_client._status import typed_error

    error = typed_error(Failed(), sent_correlation_id="exec_1")
    assert isinstance(error, podium_client.NotFound)
    assert error.message == "the call failed with NOT_FOUND"
