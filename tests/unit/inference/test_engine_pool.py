"""Where a pool sends requests, and what it does with endpoints that fail."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Sequence

import pytest

from podium.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidRequest,
    NotFound,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)
from podium.inference.engine import EngineInfo, EngineRequest, FinishReason, TokenDelta, TokensFinished
from podium.inference.engine_endpoint import EndpointState, PoolPolicy
from podium.inference.engine_pool import EnginePool
from podium.inference.outlier_ejection import EjectionPolicy
from podium.inference.tokenizer import Tokenizer
from support.virtual_time import run_virtual

Item = TokenDelta | TokensFinished


class FakeMember:
    """An engine of a pool: says its own name's first letter as a token, then waits for `go`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.go = asyncio.Event()
        self.go.set()
        self.begin = asyncio.Event()
        self.begin.set()
        self.error: Exception | None = None
        self.late_error: Exception | None = None
        self.reason = FinishReason.LENGTH
        self.info = EngineInfo(model_id="m", max_seq_len=100, vocab_size=10, features=frozenset(("abort", "x")))
        self.probe_error: Exception | None = None
        self.probes = 0
        self.seen: list[str] = []
        self.aborted: list[str] = []
        self.left: list[str] = []
        self.closed = False

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Item, None]:
        self.seen.append(request.request_id)
        try:
            await self.begin.wait()
            if self.error is not None:
                raise self.error
            yield TokenDelta((ord(self.address[0]),))
            await self.go.wait()
            if self.late_error is not None:
                raise self.late_error
            yield TokensFinished(reason=self.reason, prompt_tokens=1, completion_tokens=1)
        finally:
            self.left.append(request.request_id)

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    async def probe(self) -> EngineInfo:
        self.probes += 1
        if self.probe_error is not None:
            raise self.probe_error
        return self.info

    async def tokenizer(self) -> Tokenizer:
        raise FailedPrecondition("name the tokenizer's folder")

    async def aclose(self) -> None:
        self.closed = True


class World:
    """A pool over fake members."""

    def __init__(self, *names: str, **policy: object) -> None:
        self.members: dict[str, FakeMember] = {}
        ejection = EjectionPolicy(consecutive_failures=3, base_seconds=10.0, max_seconds=40.0)
        self.pool = EnginePool(
            names,
            policy=PoolPolicy(**{"ejection": ejection, **policy}),  # type: ignore[arg-type]
            connect=self._connect,
        )

    def _connect(self, address: str) -> FakeMember:
        self.members[address] = FakeMember(address)
        return self.members[address]

    def __getitem__(self, name: str) -> FakeMember:
        return self.members[name]

    def state(self, name: str) -> EndpointState:
        return next(endpoint.state for endpoint in self.pool.status() if endpoint.address == name)

    async def ask(self, request_id: str, tokens: Sequence[int] = (1,), salt: str = "") -> str:
        """Return the name of the member that answered."""
        answered = ""
        async for item in self.pool.generate(wanted(request_id, tokens, salt)):
            if isinstance(item, TokenDelta):
                answered = chr(item.token_ids[0])
        return answered

    async def fail(self, name: str, times: int, error: Exception) -> None:
        """Let requests fail on one member."""
        self[name].error = error
        rounds = 0
        while self[name].error is not None and rounds < times:
            with contextlib.suppress(PodiumError):
                await self.ask(f"fail-{name}-{rounds}-{len(self[name].seen)}")
            rounds += 1

    def idle(self) -> bool:
        return not any(endpoint.in_flight for endpoint in self.pool.status())


def wanted(request_id: str, tokens: Sequence[int] = (1,), salt: str = "") -> EngineRequest:
    return EngineRequest(request_id=request_id, token_ids=tuple(tokens), max_tokens=5, cache_salt=salt)


async def hold(world: World, request_id: str, tokens: Sequence[int] = (1,)) -> AsyncGenerator[Item, None]:
    """Begin a request and leave it in flight."""
    items = world.pool.generate(wanted(request_id, tokens))
    await anext(items)
    return items


LONG = tuple(range(200))


# Where requests go.


def test_requests_spread_over_the_least_busy_endpoints() -> None:
    async def main() -> None:
        world = World("a", "b", "c")
        async with world.pool:
            for member in world.members.values():
                member.go.clear()
            held = [await hold(world, f"r{n}") for n in range(9)]
            assert [endpoint.in_flight for endpoint in world.pool.status()] == [3, 3, 3]
            for items in held:
                await items.aclose()
            assert world.idle()

    run_virtual(main())


def test_a_prompt_goes_back_to_where_its_beginning_is_cached() -> None:
    async def main() -> None:
        world = World("a", "b", affinity_margin=2)
        async with world.pool:
            home = await world.ask("first", LONG)
            for number in range(6):
                assert await world.ask(f"r{number}", (*LONG[:150], number)) == home
            others = {await world.ask(f"salted{n}", LONG, salt=f"s{n}") for n in range(4)}
            assert others == {"a", "b"}, "another salt shares nothing"
            # Until it is too busy: then the cache is not worth the wait.
            world[home].go.clear()
            held = [await hold(world, f"h{n}", LONG) for n in range(3)]
            assert [e.in_flight for e in world.pool.status() if e.address == home] == [3]
            assert await world.ask("over", LONG) != home
            for items in held:
                await items.aclose()

    run_virtual(main())


def test_limits_are_refused_with_when_to_come_back() -> None:
    async def main() -> None:
        world = World("a", "b", max_in_flight=2)
        async with world.pool:
            for member in world.members.values():
                member.go.clear()
            held = [await hold(world, f"r{n}") for n in range(4)]
            with pytest.raises(ResourceExhausted) as refused:
                await world.ask("late")
            assert (refused.value.quota, refused.value.reason) == ("engine_pool", "OVERLOADED")
            assert refused.value.retry_after
            await held.pop().aclose()
            world["a"].go.set()
            world["b"].go.set()
            assert await world.ask("late"), "the place and the id are free again"
            for items in held:
                await items.aclose()

    run_virtual(main())


def test_an_id_in_flight_anywhere_is_refused() -> None:
    async def main() -> None:
        world = World("a", "b")
        async with world.pool:
            world["a"].go.clear()
            world["b"].go.clear()
            items = await hold(world, "same")
            with pytest.raises(AlreadyExists):
                await world.ask("same")
            await world.pool.abort("same")
            await world.pool.abort("never")
            assert [len(world[name].aborted) for name in "ab"] == [1, 0]
            await items.aclose()
            world["a"].go.set()
            world["b"].go.set()
            assert await world.ask("same")

    run_virtual(main())


def test_the_last_item_frees_the_place_before_its_reader_comes_back() -> None:
    async def main() -> None:
        world = World("a", max_in_flight=1)
        async with world.pool:
            first = world.pool.generate(wanted("same"))
            assert isinstance(await anext(first), TokenDelta)
            assert isinstance(await anext(first), TokensFinished)
            world["a"].go.clear()
            second = await hold(world, "same")
            await first.aclose()
            with pytest.raises(AlreadyExists):
                await world.ask("same")
            await second.aclose()
            assert world.idle()

    run_virtual(main())


# Retries.


def test_before_its_first_token_a_request_goes_on_to_another_endpoint() -> None:
    async def main() -> None:
        world = World("a", "b", "c", max_attempts=3)
        async with world.pool:
            world["a"].error = world["b"].error = Unavailable("gone")
            assert {await world.ask(f"r{n}") for n in range(3)} == {"c"}
            world["c"].error = Unavailable("gone too")
            with pytest.raises(Unavailable):
                await world.ask("none")
            assert world.idle()

    run_virtual(main())


def test_attempts_are_bounded() -> None:
    async def main() -> None:
        world = World("a", "b", "c", max_attempts=2)
        async with world.pool:
            for member in world.members.values():
                member.error = Unavailable("gone")
            with pytest.raises(Unavailable):
                await world.ask("r")
            assert sum(len(member.seen) for member in world.members.values()) == 2

    run_virtual(main())


@pytest.mark.parametrize(
    "error",
    [InvalidRequest("no"), ResourceExhausted("full", retry_after=1), Internal("broken"), FailedPrecondition("off")],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_are_not_tried_elsewhere(error: PodiumError) -> None:
    async def main() -> None:
        world = World("a", "b")
        async with world.pool:
            world["a"].error = world["b"].error = error
            with pytest.raises(type(error)):
                await world.ask("r")
            assert len(world["a"].seen) + len(world["b"].seen) == 1

    run_virtual(main())


def test_after_the_first_token_nothing_is_tried_again() -> None:
    async def main() -> None:
        world = World("a", "b")
        async with world.pool:
            world["a"].late_error = world["b"].late_error = Unavailable("died")
            with pytest.raises(Unavailable, match="died"):
                await world.ask("r")
            assert len(world["a"].seen) + len(world["b"].seen) == 1
            assert world.idle()

    run_virtual(main())


def test_nobody_waits_longer_than_the_limits() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        world = World("a", "b", first_token_timeout=7.0, request_timeout=20.0)
        async with world.pool:
            for member in world.members.values():
                member.begin.clear()
            start = loop.time()
            with pytest.raises(Unavailable, match="in time"):
                await world.ask("silent")
            assert loop.time() - start == pytest.approx(7.0)
            for member in world.members.values():
                member.begin.set()
                member.go.clear()
            start = loop.time()
            with pytest.raises(DeadlineExceeded):
                await world.ask("endless")
            assert loop.time() - start == pytest.approx(20.0)
            assert world.idle()
            assert sum(len(member.left) for member in world.members.values()) == 2, "both were left"

    run_virtual(main())


# Ejection.


def test_an_endpoint_that_fails_in_a_row_is_left_alone_for_longer_each_time() -> None:
    async def main() -> None:
        world = World("a", "b")
        async with world.pool:
            for length in (10.0, 20.0, 40.0, 40.0):
                await world.fail("a", 20, Unavailable("sick"))
                assert world.state("a") is EndpointState.EJECTED
                (status, _) = world.pool.status()
                assert status.ejected_for == pytest.approx(length)
                assert status.last_error == "sick"
                seen = len(world["a"].seen)
                assert {await world.ask(f"e{length}-{n}-{seen}") for n in range(6)} == {"b"}
                assert len(world["a"].seen) == seen
                await asyncio.sleep(length)
                assert world.state("a") is EndpointState.UP
            world["a"].error = None
            assert {await world.ask(f"w{n}") for n in range(4)} == {"a", "b"}

    run_virtual(main())


def test_the_last_endpoint_in_service_is_never_ejected() -> None:
    async def main() -> None:
        world = World("a", "b")
        async with world.pool:
            await asyncio.sleep(0.1)
            await world.fail("a", 20, Unavailable("sick"))
            await world.fail("b", 20, Internal("sick"))
            assert [world.state(name) for name in "ab"] == [EndpointState.EJECTED, EndpointState.UP]
            world["b"].error = None
            assert await world.ask("r") == "b"
            # And an ejected one is better than none.
            world["a"].error = None
            await world.pool.remove("b")
            assert await world.ask("s") == "a"

    run_virtual(main())


def test_what_is_the_callers_fault_or_only_busy_never_ejects() -> None:
    async def main() -> None:
        world = World("a", "b")
        async with world.pool:
            await asyncio.sleep(0.1)
            for error in (InvalidRequest("no"), ResourceExhausted("full", retry_after=1), FailedPrecondition("off")):
                await world.fail("a", 10, error)
            assert world.state("a") is EndpointState.UP
            assert world.pool.status()[0].failed == 0

    run_virtual(main())


def test_generations_that_end_with_an_error_count_as_failures() -> None:
    async def main() -> None:
        world = World("a", "b")
        async with world.pool:
            world["a"].reason = FinishReason.ERROR
            for number in range(8):
                await world.ask(f"r{number}")
            assert world.state("a") is EndpointState.EJECTED

    run_virtual(main())


# Health.


def test_probes_take_an_endpoint_out_and_bring_it_back() -> None:
    async def main() -> None:
        world = World("a", "b", probe_interval=5.0, down_interval=1.0)
        async with world.pool:
            assert world.state("a") is EndpointState.UNKNOWN
            await asyncio.sleep(0.1)
            assert world.state("a") is EndpointState.UP
            world["a"].probe_error = Unavailable("loading")
            await asyncio.sleep(8.0)
            assert world.state("a") is EndpointState.DOWN
            assert {await world.ask(f"r{n}") for n in range(4)} == {"b"}
            world["a"].probe_error = RuntimeError("a bug")
            await asyncio.sleep(3.0)
            assert world.state("a") is EndpointState.DOWN, "a fault of the probe does not end probing"
            world["b"].probe_error = Unavailable("loading")
            await asyncio.sleep(8.0)
            with pytest.raises(Unavailable) as down:
                await world.ask("none")
            assert down.value.retry_after == 1.0
            with pytest.raises(Unavailable):
                await world.pool.probe()
            world["a"].probe_error = None
            await asyncio.sleep(1.5)
            assert world.state("a") is EndpointState.UP
            assert await world.ask("again") == "a"

    run_virtual(main())


def test_one_lost_probe_is_forgiven() -> None:
    async def main() -> None:
        world = World("a", probe_interval=5.0, down_interval=1.0, down_after=2)
        async with world.pool:
            await asyncio.sleep(0.1)
            world["a"].probe_error = Unavailable("hiccup")
            while world["a"].probes < 2:  # noqa: ASYNC110  # in virtual time
                await asyncio.sleep(0.1)
            assert world.state("a") is EndpointState.UP
            world["a"].probe_error = None
            await asyncio.sleep(20)
            assert world.state("a") is EndpointState.UP

    run_virtual(main())


def test_failing_requests_are_followed_by_a_probe_but_not_by_a_storm() -> None:
    async def main() -> None:
        world = World("a", probe_interval=1000.0, down_interval=2.0)
        async with world.pool:
            await asyncio.sleep(1.5)
            assert world["a"].probes == 1
            world["a"].error = Unavailable("gone")
            for number in range(200):
                with pytest.raises(Unavailable):
                    await world.ask(f"r{number}")
                await asyncio.sleep(0.05)
            # Ten seconds of failures, and at most one probe a second.
            assert 5 <= world["a"].probes <= 12

    run_virtual(main())


def test_an_endpoint_with_another_vocabulary_is_kept_out() -> None:
    async def main() -> None:
        world = World("a")
        async with world.pool:
            await asyncio.sleep(0.1)
            world.pool.add("b")
            world["b"].info = dataclasses.replace(world["b"].info, vocab_size=11)
            await asyncio.sleep(0.1)
            assert world.state("b") is EndpointState.DOWN
            assert "another model" in world.pool.status()[1].last_error
            assert {await world.ask(f"r{n}") for n in range(4)} == {"a"}

    run_virtual(main())


def test_the_pool_describes_what_all_its_endpoints_can_do() -> None:
    async def main() -> None:
        world = World("a", "b", "c")
        async with world.pool:
            world["b"].info = dataclasses.replace(world["b"].info, max_seq_len=60, features=frozenset(("abort",)))
            world["c"].info = dataclasses.replace(world["c"].info, max_seq_len=0)
            info = await world.pool.probe()
            assert (info.model_id, info.max_seq_len, info.vocab_size) == ("m", 60, 10)
            assert info.features == {"abort"}
            with pytest.raises(FailedPrecondition):
                await world.pool.tokenizer()

    run_virtual(main())


# Coming and going.


def test_draining_lets_requests_end_and_takes_no_new_ones() -> None:
    async def main() -> None:
        world = World("a", "b")
        async with world.pool:
            world["a"].go.clear()
            items = await hold(world, "r")
            assert not await world.pool.drain("a", limit=3.0)
            assert world.state("a") is EndpointState.DRAINING
            assert {await world.ask(f"n{n}") for n in range(3)} == {"b"}
            world.pool.resume("a")
            assert world.state("a") is EndpointState.UP
            draining = asyncio.create_task(world.pool.drain("a", limit=30.0))
            await asyncio.sleep(1)
            world["a"].go.set()
            assert isinstance(await anext(items), TokensFinished)
            assert await draining
            await world.pool.remove("a")
            assert world["a"].closed
            assert [endpoint.address for endpoint in world.pool.status()] == ["b"]
            world.pool.add("a")
            assert "a" in {await world.ask(f"m{n}") for n in range(2)}

    run_virtual(main())


def test_endpoints_have_one_name_each() -> None:
    async def main() -> None:
        world = World("a", "a")
        with pytest.raises(Unavailable):
            world.pool.add("b")
        async with world.pool:
            assert len(world.pool.status()) == 1
            with pytest.raises(AlreadyExists):
                world.pool.add("a")
            for call in (world.pool.remove("z"), world.pool.drain("z", limit=0)):
                with pytest.raises(NotFound):
                    await call
            with pytest.raises(NotFound):
                world.pool.resume("z")
            world["a"].go.clear()
            items = await hold(world, "held")
            await asyncio.gather(world.pool.remove("a", limit=5.0), world.pool.remove("a", limit=5.0))
            await items.aclose()
            with pytest.raises(Unavailable):
                await world.ask("r")

    run_virtual(main())


def test_closing_ends_every_task_and_connection() -> None:
    async def main() -> None:
        world = World("a", "b")
        before = asyncio.all_tasks()
        async with world.pool:
            await world.ask("r")
            assert len(asyncio.all_tasks()) == len(before) + 2
        assert asyncio.all_tasks() == before
        assert all(member.closed for member in world.members.values())
        with pytest.raises(Unavailable, match="closed"):
            await world.ask("s")

    run_virtual(main())


@pytest.mark.parametrize("wrong", [{"max_in_flight": 0}, {"max_attempts": 0}, {"affinity_margin": -1}])
def test_policies_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="limits"):
        PoolPolicy(**wrong)  # type: ignore[arg-type]
