"""Every way a call can end, end to end: what the client sees, what is logged, what is left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from chain_server import BEHAVIOURS, Latch, details, reason, refused, serving

from podium import errors
from podium.interceptors import draining_error

Code = grpc.StatusCode
SECRET = "postgres://admin:hunter2@db/podium"


def raising(name: str, error: Any) -> Any:
    """Return a handler of that kind which raises."""

    async def one(request: Any, context: Any) -> bytes:
        raise error

    async def many(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        raise error

    return many if name.endswith("Stream") else one


def request_of(name: str) -> Any:
    return iter([b"x"]) if name.startswith("Stream") else b"x"


DOMAIN = [
    (errors.InvalidRequest("mend it"), Code.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (errors.Unauthenticated("who"), Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (errors.PermissionDenied("no"), Code.PERMISSION_DENIED, "PERMISSION_DENIED"),
    (errors.NotFound("gone", resource_type="run", resource_name="r1"), Code.NOT_FOUND, "NOT_FOUND"),
    (errors.AlreadyExists("taken", reason="REQUEST_ID_REUSED"), Code.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    (errors.FailedPrecondition("first"), Code.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
    (errors.ResourceExhausted("full", quota="queue"), Code.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"),
    (errors.DeadlineExceeded("late"), Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    (errors.Cancelled("stopped"), Code.CANCELLED, "CANCELLED"),
    (errors.CircuitOpen("open", retry_after=7), Code.UNAVAILABLE, "CIRCUIT_OPEN"),
    (errors.Unavailable("soon", reason="MODEL_NOT_READY"), Code.UNAVAILABLE, "MODEL_NOT_READY"),
    (errors.Internal("ours"), Code.INTERNAL, "INTERNAL"),
    (TimeoutError(SECRET), Code.UNAVAILABLE, "UNAVAILABLE"),
    (ValueError(SECRET), Code.INTERNAL, "INTERNAL"),
]


@pytest.mark.parametrize(("error", "code", "name"), DOMAIN, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("kind", BEHAVIOURS)
async def test_errors_become_statuses(kind: str, error: Exception, code: Code, name: str) -> None:
    """Row by row: the code, one ErrorInfo, the ids, the log line, and no internals."""
    async with serving({kind: raising(kind, error)}) as running:
        failed = await refused(running.method(kind)(request_of(kind)))
        assert (failed.code(), reason(failed)) == (code, name)
        assert SECRET not in str(failed.trailing_metadata()) + str(failed.details())
        assert str(dict(failed.trailing_metadata())["x-request-id"]).startswith("req_")
        line = await running.line()
        assert (line["status"], line["reason"]) == (code.name, name)
        assert (code in {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED}) == ("RetryInfo" in details(failed))
        if code is Code.INTERNAL:
            info: Any = details(failed)["ErrorInfo"]
            assert info.metadata["correlation_id"] == line["correlation_id"]
            assert running.errors.lines[0]["exc_info"] is error
        assert running.chain.active == 0


@pytest.mark.parametrize("kind", BEHAVIOURS)
async def test_a_handlers_own_abort_goes_through(kind: str) -> None:
    """AbortError is re-raised; its code is the one reported."""

    async def one(request: Any, context: Any) -> None:
        await context.abort(Code.OUT_OF_RANGE, "too far")

    async def many(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b""
        await context.abort(Code.OUT_OF_RANGE, "too far")

    async with serving({kind: many if kind.endswith("Stream") else one}) as running:
        failed = await refused(running.method(kind)(request_of(kind)))
        assert (failed.code(), failed.details()) == (Code.OUT_OF_RANGE, "too far")
        assert "x-request-id" in dict(failed.trailing_metadata())
        assert (await running.line())["status"] == "OUT_OF_RANGE"


async def test_a_swallowed_abort_is_still_reported_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that catches its own AbortError changes nothing for the client or the log."""

    async def handler(request: Any, context: Any) -> bytes:
        try:
            await context.abort(Code.DATA_LOSS, "lost")
        except Exception:  # noqa: BLE001 - the very mistake under test
            return b"never sent"

    async with serving({"UnaryUnary": handler}) as running:
        failed = await refused(running.method("UnaryUnary")(b""))
        assert failed.code() is Code.DATA_LOSS
        assert (await running.line())["status"] == "DATA_LOSS"


async def test_a_code_set_by_the_handler_is_reported() -> None:
    """`set_code` and return: the message is dropped, the code counts."""

    async def handler(request: Any, context: Any) -> bytes:
        context.set_code(Code.ABORTED)
        context.set_details("changed meanwhile")
        return b"dropped"

    async with serving({"UnaryUnary": handler}) as running:
        failed = await refused(running.method("UnaryUnary")(b""))
        assert (failed.code(), failed.details()) == (Code.ABORTED, "changed meanwhile")
        assert (await running.line())["status"] == "ABORTED"


@pytest.mark.parametrize("kind", BEHAVIOURS)
async def test_a_cancellation_that_nobody_asked_for_does_not_hang_the_client(kind: str) -> None:
    """gRPC would send no status at all; the chain sends INTERNAL."""
    async with serving({kind: raising(kind, asyncio.CancelledError())}) as running:
        failed = await refused(running.method(kind)(request_of(kind), timeout=20))
        assert failed.code() is Code.INTERNAL
        assert running.errors.lines[0]["error"] == "RuntimeError"


async def test_none_is_no_reply() -> None:
    """A handler that forgets to return is our fault, told as such."""

    async def handler(request: Any, context: Any) -> None:
        return None

    async with serving({"UnaryUnary": handler}) as running:
        failed = await refused(running.method("UnaryUnary")(b""))
        assert failed.code() is Code.INTERNAL
        assert "NoneType" not in str(failed.details())


async def test_a_reply_that_cannot_be_serialised_is_internal() -> None:
    """The serialiser's complaint stays here."""

    async def handler(request: Any, context: Any) -> object:
        return object()

    def serialise(value: Any) -> bytes:
        raise TypeError(SECRET)

    made = grpc.unary_unary_rpc_method_handler(handler, response_serializer=serialise)
    async with serving({}, handlers={"UnaryUnary": made}) as running:
        failed = await refused(running.method("UnaryUnary")(b""))
        assert failed.code() is Code.INTERNAL
        assert SECRET not in str(failed.details())


class TestClientsThatLeave:
    """Cancelling, giving up and running out of time, in every state of the handler."""

    @pytest.mark.parametrize("kind", BEHAVIOURS)
    async def test_cancel_reaches_the_handler(self, kind: str) -> None:
        if os.environ.get("PODIUM_TEST_UVLOOP"):
            assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        latch = Latch()

        async def wait(context: Any) -> None:
            try:
                latch.entered.set()
                await latch.go_on.wait()
            finally:
                await asyncio.sleep(0)  # awaiting in a finaliser works
                latch.left.set()

        async def one(request: Any, context: Any) -> bytes:
            await wait(context)
            return b""

        async def many(request: Any, context: Any) -> AsyncIterator[bytes]:
            yield b"first"
            await wait(context)

        async with serving({kind: many if kind.endswith("Stream") else one}) as running:
            call = running.method(kind)(request_of(kind))
            if kind.endswith("Stream"):
                assert await call.read() == b"first"
            await latch.entered.wait()
            call.cancel()
            await latch.left.wait()
            assert (await running.line())["status"] == "CANCELLED"
            assert running.chain.active == 0

    async def test_the_callers_deadline(self) -> None:
        latch = Latch()

        async def handler(request: Any, context: Any) -> bytes:
            try:
                await latch.go_on.wait()
            finally:
                latch.left.set()
            return b""

        async with serving({"UnaryUnary": handler}) as running:
            failed = await refused(running.method("UnaryUnary")(b"", timeout=0.1))
            assert failed.code() is Code.DEADLINE_EXCEEDED
            await latch.left.wait()
            assert (await running.line())["status"] == "DEADLINE_EXCEEDED"

    async def test_leaving_in_the_middle_of_a_write(self) -> None:
        """InternalError from the write is the client's doing; the generator is closed in its own task."""
        latch = Latch()

        async def handler(request: Any, context: Any) -> AsyncIterator[bytes]:
            task = asyncio.current_task()
            try:
                while True:
                    latch.notes.append(1)
                    yield b"x" * 200_000
            finally:
                await asyncio.sleep(0)  # not struck by the cancellation that follows the failed write
                latch.notes.append(asyncio.current_task() is task)
                latch.left.set()

        async with serving({"UnaryStream": handler}) as running:
            call = running.method("UnaryStream")(b"")
            await call.read()
            await until_still(latch.notes)
            call.cancel()
            await latch.left.wait()
            assert latch.notes[-1] is True
            assert (await running.line())["status"] == "CANCELLED"
            assert not running.errors.lines


async def until_still(notes: list[Any]) -> None:
    """Wait until a producer has stopped because nobody takes what it makes."""
    before = -1
    while before != len(notes):
        before = len(notes)
        for _ in range(50):
            await asyncio.sleep(0.001)


class TestCallsThatWeEnd:
    """The server's maximum, slow readers and draining."""

    @pytest.mark.parametrize("kind", BEHAVIOURS)
    async def test_the_servers_maximum(self, kind: str) -> None:
        async def one(request: Any, context: Any) -> bytes:
            await asyncio.Event().wait()
            return b""

        async def many(request: Any, context: Any) -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.Event().wait()

        behaviour = many if kind.endswith("Stream") else one
        async with serving({kind: behaviour}, policy={"max_seconds": 0.1}) as running:
            for options in ({}, {"timeout": 30}):
                failed = await refused(running.method(kind)(request_of(kind), **options))
                assert (failed.code(), reason(failed)) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
            assert (await running.line())["status"] == "DEADLINE_EXCEEDED"

    async def test_a_handler_that_swallows_the_deadline_is_ended_all_the_same(self) -> None:
        async def handler(request: Any, context: Any) -> bytes:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return b"too late"
            return b""

        async with serving({"UnaryUnary": handler}, policy={"max_seconds": 0.05}) as running:
            failed = await refused(running.method("UnaryUnary")(b""))
            assert failed.code() is Code.DEADLINE_EXCEEDED

    async def test_a_slow_reader_is_let_go(self) -> None:
        latch = Latch()

        async def handler(request: Any, context: Any) -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 100_000
            finally:
                latch.left.set()

        async with serving({"UnaryStream": handler}, send_seconds=0.2) as running:
            call = running.method("UnaryStream")(b"")
            await call.read()
            await latch.left.wait()
            async for _ in call_to_its_end(call):
                pass
            assert await call.code() is Code.RESOURCE_EXHAUSTED
            line = await running.line()
            assert (line["status"], line["reason"]) == ("RESOURCE_EXHAUSTED", "SLOW_READER")

    async def test_draining_refuses_new_calls_and_ends_running_ones(self) -> None:
        """Fifty streams: the new call is refused, the old ones end with RetryInfo, none hangs."""
        started = 0
        all_started = asyncio.Event()

        async def handler(request: Any, context: Any) -> AsyncIterator[bytes]:
            nonlocal started
            yield b"first"
            started += 1
            if started == 50:
                all_started.set()
            await asyncio.Event().wait()

        async with serving({"UnaryStream": handler, "UnaryUnary": BEHAVIOURS["UnaryUnary"]}) as running:
            streams = [asyncio.create_task(refused(running.method("UnaryStream")(b""))) for _ in range(50)]
            await all_started.wait()
            assert running.chain.active == 50
            running.drain.draining = True
            late = await refused(running.method("UnaryUnary")(b"x"))
            assert (late.code(), reason(late)) == (Code.UNAVAILABLE, "DRAINING")
            assert "RetryInfo" in details(late)
            assert running.chain.end_active(draining_error(2.0)) == 50
            for failed in await asyncio.gather(*streams):
                assert (failed.code(), reason(failed)) == (Code.UNAVAILABLE, "DRAINING")
                retry: Any = details(failed)["RetryInfo"]
                assert retry.retry_delay.seconds == 2
            await running.chain.wait_idle()
            assert running.chain.active == 0

    async def test_wait_idle_waits_for_the_last_call(self) -> None:
        latch = Latch()

        async def handler(request: Any, context: Any) -> bytes:
            latch.entered.set()
            await latch.go_on.wait()
            return b""

        async with serving({"UnaryUnary": handler}) as running:
            call = asyncio.ensure_future(running.method("UnaryUnary")(b""))
            await latch.entered.wait()
            idle = asyncio.create_task(running.chain.wait_idle())
            await asyncio.sleep(0)
            assert not idle.done()
            latch.go_on.set()
            await idle
            assert await call == b""


async def call_to_its_end(call: Any) -> AsyncIterator[bytes]:
    """Yield messages until the end, whatever that is."""
    while True:
        try:
            message = await call.read()
        except grpc.aio.AioRpcError:
            return
        if message is grpc.aio.EOF:
            return
        yield message


class TestStandardServices:
    """Health and reflection of the libraries go through the chain without credentials."""

    async def test_health_watch_is_ended_but_not_waited_for(self) -> None:
        from grpc_health.v1 import health_pb2, health_pb2_grpc
        from grpc_health.v1._async import HealthServicer

        async with serving() as running:
            server = grpc.aio.server(interceptors=[running.chain])
            servicer = HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
            await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            running.drain.draining = True
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                answer = await stub.Check(health_pb2.HealthCheckRequest())
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
                watch = stub.Watch(health_pb2.HealthCheckRequest())
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
                assert running.chain.active == 0
                await running.chain.wait_idle()
                assert running.chain.end_active(draining_error(1.0)) == 1
                assert [message async for message in call_to_its_end(watch)] == []
                assert await watch.code() is Code.UNAVAILABLE
            await server.stop(None)


async def test_uvloop_behaves_the_same() -> None:
    """The endings that depend on the loop are run on uvloop, too, in a process of their own."""
    if os.environ.get("PODIUM_TEST_UVLOOP"):
        pytest.skip("this is that process")
    script = (
        "import sys, uvloop, pytest, asyncio; asyncio.set_event_loop_policy(uvloop.EventLoopPolicy()); "
        "sys.exit(pytest.main([sys.argv[1], '-q', '-p', 'no:cacheprovider', '-k', "
        "'Leave or WeEnd or nobody_asked', '-x']))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, __file__,
        env={**os.environ, "PODIUM_TEST_UVLOOP": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
