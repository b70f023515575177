"""The chain around a real server: what every call gets, and what is refused before its handler."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from pathlib import Path
from typing import Any

import grpc
import pytest
from chain_server import BEHAVIOURS, SERVICE, Latch, details, echo, reason, refused, serving

from podium import context as podium_context
from podium.interceptors import RateLimits, current_call
from podium.resilience.breakers import Breakers
from podium.security import ApiKeyAuthenticator, KeyStore
from podium.v1 import tool_pb2, tool_pb2_grpc

Code = grpc.StatusCode


async def test_all_four_kinds_work_and_are_reported() -> None:
    """Each kind answers, counts its messages both ways and leaves one line."""
    async with serving() as running:
        assert await running.method("UnaryUnary")(b"x") == b"x"
        assert [m async for m in running.method("UnaryStream")(b"3")] == [b"0", b"1", b"2"]
        assert await running.method("StreamUnary")(iter([b"a", b"b"])) == b"a,b"
        assert [m async for m in running.method("StreamStream")(iter([b"a", b"b"]))] == [b"a", b"b"]
        await running.line()
        seen = {line["rpc"].rpartition("/")[2]: (line["received"], line["sent"]) for line in running.access.lines}
        assert seen == {"UnaryUnary": (1, 1), "UnaryStream": (1, 3), "StreamUnary": (2, 1), "StreamStream": (2, 2)}
        for name in BEHAVIOURS:
            rpc = f"{SERVICE}/{name}"
            assert running.sample("podium_rpc_started_total", rpc=rpc) == 1
            assert running.sample("podium_rpc_handled_total", rpc=rpc, code="OK") == 1
            assert running.sample("podium_rpc_in_flight", rpc=rpc) == 0
            assert running.sample("podium_rpc_duration_seconds_count", rpc=rpc) == 1


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_ids_go_out_twice_and_into_the_handlers_context(name: str) -> None:
    """Initial metadata, trailers, context variables and the log agree on both ids."""
    seen: list[tuple[str, str, str]] = []

    def note() -> None:
        call = current_call.get()
        assert call is not None
        seen.append((podium_context.correlation_id.get(), podium_context.request_id.get(), podium_context.rpc.get()))

    async def one(request: Any, context: Any) -> bytes:
        note()
        return b""

    async def many(request: Any, context: Any) -> Any:
        note()
        yield b""

    async with serving({name: many if name.endswith("Stream") else one}) as running:
        request = iter([b""]) if name.startswith("Stream") else b""
        call = running.method(name)(request, metadata=(("x-correlation-id", "mine:1"),))
        if name.endswith("Stream"):
            assert [message async for message in call] == [b""]
        else:
            await call
        first, last = dict(await call.initial_metadata()), dict(await call.trailing_metadata())
        assert first["x-correlation-id"] == last["x-correlation-id"] == "mine:1"
        assert first["x-request-id"] == last["x-request-id"]
        assert re.fullmatch(r"req_[0-9a-hjkmnp-tv-z]{26}", str(first["x-request-id"]))
        assert seen == [("mine:1", first["x-request-id"], f"{SERVICE}/{name}")]
        line = await running.line()
        assert (line["correlation_id"], line["request_id"]) == ("mine:1", first["x-request-id"])


@pytest.mark.parametrize("given", ["", "x" * 129, "with space", "semi;colon", "{}", "a/b", "%0a"])
async def test_malformed_correlation_ids_are_replaced(given: str) -> None:
    """A bad id never fails a call and never comes back."""
    async with serving() as running:
        call = running.method("UnaryUnary")(b"x", metadata=(("x-correlation-id", given),))
        assert await call == b"x"
        answered = str(dict(await call.trailing_metadata())["x-correlation-id"])
        assert re.fullmatch(r"exec_[0-9a-hjkmnp-tv-z]{26}", answered)


async def test_odd_metadata_is_survived() -> None:
    """Binary, repeated and plentiful keys neither crash the chain nor reach the log."""
    async with serving() as running:
        odd = (
            ("x-correlation-id-bin", b"\x00\xff"),
            ("x-podium-tenant", ""),
            *((f"x-noise-{index}", "n" * 20) for index in range(60)),
            ("x-correlation-id", "first"),
            ("x-correlation-id", "second"),
        )
        call = running.method("UnaryUnary")(b"x", metadata=odd)
        assert await call == b"x"
        assert dict(await call.trailing_metadata())["x-correlation-id"] == "second"
        assert "n" * 20 not in str(await running.line())


async def test_oversized_metadata_is_refused_and_the_server_lives() -> None:
    """The transport refuses what is beyond its limit; the next call is served."""
    async with serving() as running:
        error = await refused(running.method("UnaryUnary")(b"x", metadata=(("x-big", "b" * 40_000),)))
        assert error.code() is Code.RESOURCE_EXHAUSTED
        assert await running.method("UnaryUnary")(b"x") == b"x"


async def test_unknown_methods_pass_through() -> None:
    """What nobody serves is UNIMPLEMENTED and is not remembered."""
    async with serving() as running:
        error = await refused(running.channel.unary_unary(f"/{SERVICE}/Nope")(b""))
        assert error.code() is Code.UNIMPLEMENTED
        assert running.chain._handlers == {}


async def test_methods_without_a_policy_are_closed() -> None:
    """A served method that no policy names is denied, logged and counted."""
    handler = grpc.method_handlers_generic_handler("podium.v1.Other", {"Do": grpc.unary_unary_rpc_method_handler(echo)})
    async with serving(extra_handlers=(handler,)) as running:
        error = await refused(running.channel.unary_unary("/podium.v1.Other/Do")(b""))
        assert (error.code(), reason(error)) == (Code.PERMISSION_DENIED, "PERMISSION_DENIED")
        assert (await running.line("Other/Do"))["status"] == "PERMISSION_DENIED"
        assert running.sample("podium_rpc_handled_total", rpc="podium.v1.Other/Do", code="PERMISSION_DENIED") == 1


class TestCredentials:
    """Keys from either header, and everything that is wrong with them."""

    async def test_good_keys(self, tmp_path: Path) -> None:
        store = KeyStore(tmp_path)
        token, record = store.create(frozenset({"read"}))
        async with serving(authenticators=[ApiKeyAuthenticator(store)]) as running:
            for metadata in ((("authorization", f"Bearer {token}"),), (("x-api-key", token),)):
                assert await running.method("UnaryUnary")(b"x", metadata=metadata) == b"x"
            assert (await running.line())["user_id"] == f"api:{record.id}"
            assert token not in str(running.access.lines)

    @pytest.mark.parametrize(
        "metadata",
        [
            (),
            (("authorization", "Bearer"),),
            (("authorization", "Basic dXNlcjpwYXNz"),),
            (("authorization", "Bearer other.token.kind"),),
            (("x-api-key", "pdm_short"),),
            (("x-api-key", "pdm_AAAAAAAA_" + "0" * 43),),
            (("x-api-key", "x" * 7_000),),
            (("authorization", "Bearer pdm_AAAAAAAA_" + "0" * 43), ("x-api-key", "pdm_BBBBBBBB_" + "0" * 43)),
        ],
    )
    async def test_bad_keys(self, tmp_path: Path, metadata: Any) -> None:
        store = KeyStore(tmp_path)
        store.create(frozenset({"read"}))
        async with serving(authenticators=[ApiKeyAuthenticator(store)]) as running:
            error = await refused(running.method("UnaryUnary")(b"x", metadata=metadata))
            assert (error.code(), reason(error)) == (Code.UNAUTHENTICATED, "UNAUTHENTICATED")
            trailers = dict(error.trailing_metadata())
            assert trailers["x-correlation-id"].startswith("exec_")
            line = await running.line()
            assert (line["level"], line["status"], line["user_id"]) == ("warning", "UNAUTHENTICATED", "")

    async def test_scope_is_needed(self, tmp_path: Path) -> None:
        store = KeyStore(tmp_path)
        token, _ = store.create(frozenset({"run", "admin"}))
        async with serving(authenticators=[ApiKeyAuthenticator(store)]) as running:
            error = await refused(running.method("UnaryUnary")(b"x", metadata=(("x-api-key", token),)))
            assert (error.code(), reason(error)) == (Code.PERMISSION_DENIED, "PERMISSION_DENIED")
            info: Any = details(error)["ErrorInfo"]
            assert info.metadata["scope"] == "read"

    async def test_a_refused_callers_bytes_are_never_parsed(self, tmp_path: Path) -> None:
        def parse(raw: bytes) -> bytes:
            raise AssertionError("parsed before the caller was known")

        handler = grpc.unary_unary_rpc_method_handler(echo, request_deserializer=parse)
        store = KeyStore(tmp_path)
        async with serving(
            {}, handlers={"UnaryUnary": handler}, authenticators=[ApiKeyAuthenticator(store)]
        ) as running:
            error = await refused(running.method("UnaryUnary")(b"x"))
            assert error.code() is Code.UNAUTHENTICATED


async def test_two_hundred_calls_over_the_limit(tmp_path: Path) -> None:
    """Of 260 calls at once 60 pass; the others get RetryInfo, QuotaFailure and the figures."""
    store = KeyStore(tmp_path)
    token, record = store.create(frozenset({"read"}))
    limits = RateLimits(per_minute=1, per_hour=1_000, burst=60, global_per_second=1_000.0)
    async with serving(authenticators=[ApiKeyAuthenticator(store)], rate_limits=limits) as running:
        method = running.method("UnaryUnary")
        calls = [method(b"x", metadata=(("x-api-key", token),)) for _ in range(260)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        errors = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert len(errors) == 200
        for error in errors:
            assert (error.code(), reason(error)) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        found: Any = details(errors[0])
        assert 0 < found["RetryInfo"].retry_delay.ToTimedelta().total_seconds() <= 60
        assert found["QuotaFailure"].violations[0].subject == f"api:{record.id}:read"
        trailers = dict(errors[0].trailing_metadata())
        assert (trailers["ratelimit-limit"], trailers["ratelimit-remaining"]) == ("60", "0")
        assert int(trailers["ratelimit-reset"]) > 0
        rpc = f"{SERVICE}/UnaryUnary"
        assert running.sample("podium_rpc_handled_total", rpc=rpc, code="RESOURCE_EXHAUSTED") == 200
        await running.line()
        assert sum(line["status"] == "RESOURCE_EXHAUSTED" for line in running.access.lines) == 200


async def test_the_local_caller_is_not_limited() -> None:
    """A server without credentials does not count its only caller."""
    limits = RateLimits(per_minute=1, per_hour=1, burst=1, global_per_second=1.0)
    async with serving(rate_limits=limits) as running:
        for _ in range(5):
            call = running.method("UnaryUnary")(b"x")
            assert await call == b"x"
            assert "ratelimit-limit" not in dict(await call.trailing_metadata())


async def test_validation_names_field_and_rule() -> None:
    """A message that breaks a rule is refused with its path; the handler does not run."""

    class Tools(tool_pb2_grpc.ToolServiceServicer):  # type: ignore[misc]
        async def GetTool(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            return tool_pb2.GetToolResponse()

    async with serving() as running:
        server = grpc.aio.server(interceptors=[running.chain])
        tool_pb2_grpc.add_ToolServiceServicer_to_server(Tools(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = tool_pb2_grpc.ToolServiceStub(channel)
            assert await stub.GetTool(tool_pb2.GetToolRequest(name="calculate")) == tool_pb2.GetToolResponse()
            error = await refused(stub.GetTool(tool_pb2.GetToolRequest(name="No Tool!")))
            garbage = await refused(channel.unary_unary("/podium.v1.ToolService/GetTool")(b"\xff\xff\xff"))
        await server.stop(None)
        assert (error.code(), reason(error)) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
        violation = details(error)["BadRequest"].field_violations[0]  # type: ignore[attr-defined]
        assert (violation.field, violation.reason) == ("name", "string.pattern")
        assert (garbage.code(), reason(garbage)) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert "DecodeError" not in str(garbage.details())


async def test_open_breakers_shed_calls_before_the_handler() -> None:
    """Only when every dependency is cut off, and with the time to wait."""
    breakers = Breakers()
    async with serving(policy={"dependencies": ("model:*",)}, breakers=breakers) as running:
        method = running.method("UnaryUnary")
        assert await method(b"x") == b"x"  # no breaker was made yet
        breakers.get("model:a").open()
        assert (await refused(method(b"x"))).code() is Code.UNAVAILABLE
        breakers.get("model:b")
        assert await method(b"x") == b"x"  # the other one lets calls pass
        breakers.get("model:b").open()
        error = await refused(method(b"x"))
        assert (error.code(), reason(error)) == (Code.UNAVAILABLE, "CIRCUIT_OPEN")
        retry: Any = details(error)["RetryInfo"]
        assert 50 < retry.retry_delay.ToTimedelta().total_seconds() <= 60


async def test_handlers_trailers_are_kept() -> None:
    """What a handler sets is sent beside ours."""

    async def handler(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("x-mine", "1"),))
        return b""

    async with serving({"UnaryUnary": handler}) as running:
        call = running.method("UnaryUnary")(b"")
        await call
        trailers = dict(await call.trailing_metadata())
        assert trailers["x-mine"] == "1"
        assert trailers["x-request-id"].startswith("req_")


class TestInitialIds:
    """Who gets ids ahead of the reply: callers who correlate, streams, and calls that take a moment."""

    async def test_quick_calls_have_their_ids_in_the_trailers(self) -> None:
        async with serving() as running:
            call = running.method("UnaryUnary")(b"x")
            assert await call == b"x"
            assert "x-request-id" not in dict(await call.initial_metadata())
            assert "x-request-id" in dict(await call.trailing_metadata())
            stream = running.method("UnaryStream")(b"1")
            assert [message async for message in stream] == [b"0"]
            assert "x-request-id" in dict(await stream.initial_metadata())

    @pytest.mark.parametrize("given", ["mine:1", "not well-formed"])
    async def test_callers_who_correlate_get_them_ahead(self, given: str) -> None:
        async with serving() as running:
            call = running.method("UnaryUnary")(b"x", metadata=(("x-correlation-id", given),))
            assert await call == b"x"
            assert dict(await call.initial_metadata()).items() <= dict(await call.trailing_metadata()).items()
            assert "x-request-id" in dict(await call.initial_metadata())

    async def test_always_is_a_choice(self) -> None:
        async with serving(initial_ids="always") as running:
            call = running.method("UnaryUnary")(b"x")
            assert await call == b"x"
            assert "x-request-id" in dict(await call.initial_metadata())

    @pytest.mark.parametrize("end", ["reply", "error", "cancel"])
    async def test_calls_that_take_longer_tell_them_meanwhile(self, end: str) -> None:
        """Seen by a client that expects a stream; for one reply, Python's waits until the end in any case."""
        latch = Latch()

        async def handler(request: bytes, context: Any) -> bytes:
            await latch.go_on.wait()
            if end == "error":
                raise ValueError
            return b"done"

        async with serving({"UnaryUnary": handler}) as running:
            call = running.channel.unary_stream(f"/{SERVICE}/UnaryUnary")(b"x")
            early = dict(await call.initial_metadata())  # while the handler is still at work
            if end == "cancel":
                call.cancel()
            else:
                latch.go_on.set()
                if end == "reply":
                    assert [message async for message in call] == [b"done"]
                else:
                    assert (await refused(call)).code() is Code.INTERNAL
                assert early["x-request-id"] == dict(await call.trailing_metadata())["x-request-id"]
            line = await running.line()
            assert early["x-request-id"] == line["request_id"]
            assert line["status"] == {"reply": "OK", "error": "INTERNAL", "cancel": "CANCELLED"}[end]


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_an_ended_call_is_freed_at_once(name: str) -> None:
    """No cycle keeps it, nor gRPC's native call with it, until the garbage collector comes."""
    seen: list[weakref.ref[Any]] = []

    def note() -> None:
        call = current_call.get()
        assert call is not None
        seen.append(weakref.ref(call.task))

    async def one(request: Any, context: Any) -> bytes:
        note()
        return b""

    async def many(request: Any, context: Any) -> Any:
        note()
        yield b""

    gc.collect()
    gc.disable()
    try:
        async with serving({name: many if name.endswith("Stream") else one}) as running:
            for _ in range(3):
                call = running.method(name)(iter([b""]) if name.startswith("Stream") else b"", timeout=60)
                if name.endswith("Stream"):
                    assert [message async for message in call] == [b""]
                else:
                    await call
                del call
            await running.chain.wait_idle()
            for _ in range(200):  # gRPC's own tasks need some turns to end
                if seen[0]() is None and seen[1]() is None:
                    break
                await asyncio.sleep(0.001)
            assert [ref() for ref in seen[:2]] == [None, None]
    finally:
        gc.enable()
