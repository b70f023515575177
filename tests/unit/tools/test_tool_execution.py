"""The local executor: whatever a tool does ends as a typed failure of that call, and of no other."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podium.orchestration.tool import ToolFailure, ToolFailureCode, ToolInvocation
from podium.tools import LocalToolExecutor, ToolRegistry, cancel_requested, current_invocation, tool

SOON = 0.05  # a timeout that a test waits for
WAIT = 10.0  # a bound on waiting for what must happen


def call(name: str, **arguments: Any) -> ToolInvocation:
    return ToolInvocation(run_id="run_1", call_id="c0_0", tool=name, arguments_json=json.dumps(arguments).encode())


@asynccontextmanager
async def executor(*functions: Callable[..., Any], **options: Any) -> AsyncIterator[LocalToolExecutor]:
    async with LocalToolExecutor(ToolRegistry(functions), **options) as made:
        yield made


async def failure(running: LocalToolExecutor, name: str, **arguments: Any) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await running.invoke(call(name, **arguments))
    return caught.value


async def result(running: LocalToolExecutor, name: str, **arguments: Any) -> Any:
    return json.loads((await running.invoke(call(name, **arguments))).result_json)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hung sync tools wait for; opened at the end, so that their threads go."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def hang(gate: threading.Event) -> Callable[..., Any]:
    @tool(timeout=SOON, side_effects="none")
    def hang(x: int = 0) -> int:
        """Hang."""
        gate.wait(WAIT)
        return x

    return hang


@tool
def double(x: int) -> int:
    """Double."""
    return x * 2


@tool
async def adouble(x: int) -> int:
    """Double."""
    return x * 2


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110  it is a thread that changes it
            await asyncio.sleep(0)


class TestCalls:
    async def test_sync_and_async_tools_give_results(self) -> None:
        async with executor(double, adouble) as running:
            assert await result(running, "double", x=4) == 8
            assert await result(running, "adouble", x=4) == 8

    async def test_sync_tools_run_in_named_threads_and_async_ones_on_the_loop(self) -> None:
        @tool
        def where() -> str:
            """Where."""
            return threading.current_thread().name

        @tool
        async def here() -> str:
            """Here."""
            return threading.current_thread().name

        async with executor(where, here) as running:
            assert (await result(running, "where")).startswith("podium-tool-")
            assert await result(running, "here") == threading.current_thread().name

    async def test_threads_are_reused(self) -> None:
        @tool
        def where() -> int:
            """Where."""
            return threading.get_ident()

        async with executor(where) as running:
            assert len({await result(running, "where") for _ in range(5)}) == 1

    async def test_calls_run_at_the_same_time(self) -> None:
        barrier = threading.Barrier(5)

        @tool
        def meet() -> int:
            """Meet."""
            return barrier.wait(WAIT)

        async with executor(meet) as running:
            assert sorted(await asyncio.gather(*(result(running, "meet") for _ in range(5)))) == [0, 1, 2, 3, 4]

    async def test_the_invocation_is_known_inside(self) -> None:
        @tool
        def run_id() -> str:
            """Run id."""
            return current_invocation().run_id

        @tool
        async def call_id() -> str:
            """Call id."""
            return (await asyncio.create_task(self._nested())).call_id

        async with executor(run_id, call_id) as running:
            assert await result(running, "run_id") == "run_1"
            assert await result(running, "call_id") == "c0_0"
        with pytest.raises(RuntimeError, match="inside a tool"):
            current_invocation()
        assert not cancel_requested()

    @staticmethod
    async def _nested() -> ToolInvocation:
        return current_invocation()


class TestArguments:
    async def test_an_unknown_tool(self) -> None:
        async with executor(double) as running:
            unknown = await failure(running, "treble\n" + "x" * 500)
        assert unknown.code is ToolFailureCode.UNKNOWN_TOOL
        assert "treble x" in unknown.message
        assert len(unknown.message) < 300

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (b"{", "not JSON"),
            (b"\xff", "not JSON"),
            (b"[1]", "must be a JSON object"),
            (b"null", "must be a JSON object"),
            (b'{"x": "two"}', "x: .*not 'two'"),
            (b"", "x is missing"),
            (b"[" * 100_000, "not JSON"),
            (b'{"x": ' + b"1" * 200_000 + b"}", "larger than 100,000 bytes"),
        ],
    )
    @pytest.mark.parametrize("name", ["double", "adouble"])
    async def test_bad_ones_are_refused(self, name: str, text: bytes, said: str) -> None:
        async with executor(double, adouble, max_argument_bytes=100_000) as running:
            with pytest.raises(ToolFailure, match=said) as caught:
                await running.invoke(ToolInvocation(run_id="r", call_id="c", tool=name, arguments_json=text))
        assert caught.value.code is ToolFailureCode.INVALID_ARGUMENTS


class TestRaising:
    @pytest.mark.parametrize(
        "error",
        [
            ValueError("no good\nsecond line"),
            SystemExit(3),
            KeyboardInterrupt(),
            GeneratorExit(),
            asyncio.CancelledError("mine"),
            TimeoutError("mine too"),
            StopIteration(1),
            StopAsyncIteration(),
            BaseExceptionGroup("several", [SystemExit(1)]),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_whatever_is_raised_is_a_failure_of_that_call(self, error: BaseException) -> None:
        @tool
        def sync_raise() -> None:
            """Raise."""
            raise error

        @tool
        async def async_raise() -> None:
            """Raise."""
            raise error

        async with executor(sync_raise, async_raise, double) as running:
            for name in ("sync_raise", "async_raise"):
                raised = await failure(running, name)
                assert raised.code is ToolFailureCode.RAISED
                assert not raised.retryable
                assert "second line" not in raised.message
            assert await result(running, "double", x=1) == 2

    async def test_the_message_names_the_type_and_the_first_line(self, caplog: pytest.LogCaptureFixture) -> None:
        @tool
        def work() -> None:
            """Work."""
            raise ValueError("the key sk-123 is\tbad\nmore")

        with caplog.at_level(logging.WARNING, "podium.tools"):
            async with executor(work, redact=lambda text: text.replace("sk-123", "[key]")) as running:
                raised = await failure(running, "work")
        assert raised.message == "work failed: ValueError: the key [key] is bad"
        record = caplog.records[0]
        assert record.exc_info is not None
        assert (record.__dict__["tool"], record.__dict__["run_id"]) == ("work", "run_1")

    async def test_an_error_that_cannot_be_shown_is_still_a_failure(self) -> None:
        class Rude(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        @tool
        def work() -> None:
            """Work."""
            raise Rude

        @tool
        def shout() -> None:
            """Shout."""
            raise ValueError("x" * 10_000)

        async with executor(work, shout) as running:
            logging.disable()
            try:
                assert (await failure(running, "work")).message == "work failed: Rude"
                assert len((await failure(running, "shout")).message) < 250
            finally:
                logging.disable(logging.NOTSET)

    async def test_a_tools_own_failure_passes(self) -> None:
        @tool
        def refuse() -> None:
            """Refuse."""
            raise ToolFailure(ToolFailureCode.NOT_ALLOWED, "not for you", retryable=True)

        async with executor(refuse) as running:
            refused = await failure(running, "refuse")
        assert (refused.code, refused.message, refused.retryable) == (ToolFailureCode.NOT_ALLOWED, "not for you", True)

    async def test_a_task_that_cancels_itself_is_a_failure(self) -> None:
        @tool
        async def suicide() -> None:
            """Cancel itself."""
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.Event().wait()

        async with executor(suicide) as running:
            assert (await failure(running, "suicide")).code is ToolFailureCode.RAISED

    async def test_a_sync_tool_that_returns_a_coroutine_is_told_so(self) -> None:
        @tool
        def sloppy(x: int) -> Any:
            """Sloppy."""
            return adouble(x)

        async with executor(sloppy) as running:
            assert "async def" in (await failure(running, "sloppy", x=1)).message

    @pytest.mark.parametrize("kind", ["sync", "async"])
    async def test_a_flood_is_too_large(self, kind: str) -> None:
        @tool
        def sync_flood() -> str:
            """Flood."""
            return "x" * 2_000_000

        @tool
        async def async_flood() -> list[int]:
            """Flood."""
            return [0] * 2_000_000

        async with executor(sync_flood, async_flood) as running:
            flooded = await failure(running, f"{kind}_flood")
        assert flooded.code is ToolFailureCode.TOO_LARGE
        assert "1,048,576 bytes" in flooded.message


class TestHanging:
    async def test_a_hung_sync_tool_times_out_and_the_next_call_works(self, hang: Callable[..., Any]) -> None:
        async with executor(hang, double, threads=1, spare_threads=1) as running:
            hung = await failure(running, "hang")
            assert hung.code is ToolFailureCode.TIMEOUT
            assert "0.05 s" in hung.message
            assert hung.retryable
            assert running.hung_calls == 1
            assert await result(running, "double", x=3) == 6

    async def test_a_hung_call_with_effects_is_not_retryable(self, gate: threading.Event) -> None:
        @tool(timeout=SOON)
        def pay() -> None:
            """Pay."""
            gate.wait(WAIT)

        async with executor(pay) as running:
            assert not (await failure(running, "pay")).retryable

    async def test_when_calls_hang_in_every_thread_further_ones_are_refused_until_one_returns(
        self, hang: Callable[..., Any], gate: threading.Event
    ) -> None:
        async with executor(hang, double, adouble, threads=2, spare_threads=1) as running:
            for _ in range(3):
                assert (await failure(running, "hang")).code is ToolFailureCode.TIMEOUT
            refused = await failure(running, "double", x=1)
            assert refused.code is ToolFailureCode.UNAVAILABLE
            assert refused.retryable
            assert "all 3 threads hang" in refused.message
            assert await result(running, "adouble", x=1) == 2
            gate.set()
            await until(lambda: running.hung_calls == 0)
            assert await result(running, "double", x=1) == 2

    async def test_a_call_that_finds_no_free_thread_in_time_is_unavailable(self, gate: threading.Event) -> None:
        started = threading.Event()

        @tool(timeout=WAIT)
        def slow() -> str:
            """Slow."""
            started.set()
            gate.wait(WAIT)
            return "done"

        @tool(timeout=SOON)
        def quick() -> str:
            """Quick."""
            return "quick"

        async with executor(slow, quick, threads=1, spare_threads=0) as running:
            first = asyncio.create_task(running.invoke(call("slow")))
            await until(started.is_set)
            refused = await failure(running, "quick")
            assert refused.code is ToolFailureCode.UNAVAILABLE
            assert "not started" in refused.message
            gate.set()
            assert (await first).result_json == b'"done"'
            assert await result(running, "quick") == "quick"

    async def test_waiting_calls_go_first_come_first_served(self, gate: threading.Event) -> None:
        order: list[int] = []

        @tool(timeout=WAIT)
        def note(x: int) -> None:
            """Note."""
            gate.wait(WAIT)
            order.append(x)

        async with executor(note, threads=1, spare_threads=0) as running:
            calls = [asyncio.create_task(running.invoke(call("note", x=x))) for x in range(5)]
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(*calls)
        assert order == [0, 1, 2, 3, 4]

    async def test_many_calls_beside_hung_ones_all_end(self, hang: Callable[..., Any]) -> None:
        async with executor(hang, double, threads=4, spare_threads=8) as running:
            hung = [asyncio.create_task(failure(running, "hang")) for _ in range(8)]
            quick = [asyncio.create_task(result(running, "double", x=x)) for x in range(200)]
            codes = {failed.code for failed in await asyncio.gather(*hung)}
            assert codes <= {ToolFailureCode.TIMEOUT, ToolFailureCode.UNAVAILABLE}
            assert await asyncio.gather(*quick) == [x * 2 for x in range(200)]

    async def test_a_hung_async_tool_is_cancelled(self) -> None:
        cleaned = asyncio.Event()

        @tool(timeout=SOON)
        async def wait_long() -> None:
            """Wait."""
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.set()

        async with executor(wait_long) as running:
            assert (await failure(running, "wait_long")).code is ToolFailureCode.TIMEOUT
            assert cleaned.is_set()
            assert running.hung_calls == 0

    async def test_an_async_tool_that_will_not_stop_is_left_behind(self) -> None:
        release = asyncio.Event()

        @tool(timeout=SOON)
        async def stubborn() -> None:
            """Ignore cancellation."""
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        async with executor(stubborn, adouble, stop_grace=0.01, most_left_behind=2) as running:
            for _ in range(2):
                assert (await failure(running, "stubborn")).code is ToolFailureCode.TIMEOUT
            assert running.hung_calls == 2
            assert (await failure(running, "adouble", x=1)).code is ToolFailureCode.UNAVAILABLE
            release.set()
            await until(lambda: running.hung_calls == 0)
            assert await result(running, "adouble", x=1) == 2


class TestCancelling:
    async def test_a_sync_call_returns_at_once_and_the_tool_can_ask(self, gate: threading.Event) -> None:
        started, told = threading.Event(), threading.Event()

        @tool(timeout=WAIT)
        def work() -> None:
            """Work."""
            started.set()
            while not cancel_requested():
                gate.wait(0.001)
            told.set()

        async with executor(work) as running:
            running_call = asyncio.create_task(running.invoke(call("work")))
            await until(started.is_set)
            running_call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running_call
            await until(lambda: told.is_set() and running.hung_calls == 0)

    async def test_an_async_call_is_cancelled_and_propagates(self) -> None:
        started, cleaned = asyncio.Event(), asyncio.Event()

        @tool(timeout=WAIT)
        async def work() -> None:
            """Work."""
            try:
                started.set()
                await asyncio.Event().wait()
            finally:
                cleaned.set()

        async with executor(work) as running:
            running_call = asyncio.create_task(running.invoke(call("work")))
            await started.wait()
            running_call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running_call
            assert cleaned.is_set()

    async def test_a_call_that_waits_for_a_thread_gives_its_place_back(self, gate: threading.Event) -> None:
        started = threading.Event()

        @tool(timeout=WAIT)
        def hold() -> None:
            """Hold."""
            started.set()
            gate.wait(WAIT)

        async with executor(hold, double, threads=1, spare_threads=0) as running:
            first = asyncio.create_task(running.invoke(call("hold")))
            await until(started.is_set)
            waiting = [asyncio.create_task(running.invoke(call("double", x=1))) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            gate.set()
            await first
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(outcomes[0], asyncio.CancelledError)
            assert not any(isinstance(outcome, BaseException) for outcome in outcomes[1:])
            assert await result(running, "double", x=2) == 4

    async def test_cancelling_the_moment_a_place_is_given_loses_none(self) -> None:
        async with executor(double, threads=1, spare_threads=0) as running:
            for turns in range(12):
                calls = [asyncio.create_task(running.invoke(call("double", x=1))) for _ in range(3)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for one in calls:
                    one.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
                await until(lambda: running.hung_calls == 0)
            assert await result(running, "double", x=2) == 4


class TestClosing:
    async def test_calls_after_closing_are_unavailable(self) -> None:
        async with executor(double, adouble) as running:
            pass
        for name in ("double", "adouble"):
            refused = await failure(running, name, x=1)
            assert (refused.code, refused.retryable) == (ToolFailureCode.UNAVAILABLE, True)

    async def test_threads_end_and_hung_ones_do_not_keep_the_process(self, hang: Callable[..., Any]) -> None:
        before = set(threading.enumerate())
        async with executor(hang, double) as running:
            await result(running, "double", x=1)
            await failure(running, "hang")
            mine = [thread for thread in threading.enumerate() if thread not in before]
            assert all(thread.daemon for thread in mine)
        await until(lambda: sum(thread.is_alive() for thread in mine) <= 1)

    async def test_waiting_calls_are_refused_when_it_closes(self, gate: threading.Event) -> None:
        started = threading.Event()

        @tool(timeout=WAIT)
        def hold() -> str:
            """Hold."""
            started.set()
            gate.wait(WAIT)
            return "held"

        async with executor(hold, double, threads=1, spare_threads=0) as running:
            first = asyncio.create_task(running.invoke(call("hold")))
            await until(started.is_set)
            second = asyncio.create_task(running.invoke(call("double", x=1)))
            await asyncio.sleep(0)
            await running.aclose()
            with pytest.raises(ToolFailure, match="stopping"):
                await second
            gate.set()
            assert (await first).result_json == b'"held"'

    async def test_a_system_without_threads_left_is_unavailable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        async with executor(double) as running:
            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", refuse)
                assert (await failure(running, "double", x=1)).code is ToolFailureCode.UNAVAILABLE
            assert await result(running, "double", x=1) == 2

    def test_a_hung_tool_does_not_outlive_its_loop(self, hang: Callable[..., Any], gate: threading.Event) -> None:
        async def main() -> None:
            async with executor(hang) as running:
                await failure(running, "hang")

        asyncio.run(main())
        gate.set()  # the thread finds the loop closed, and ends


def test_a_pool_needs_a_thread() -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        LocalToolExecutor(ToolRegistry(), threads=0)
