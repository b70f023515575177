"""The supervisor with a fake child and a fake clock: no process is started and nothing sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from podium.errors import FailedPrecondition, Unavailable
from podium.inference.supervisor import EngineHostSupervisor, HostState, HostStatus, SupervisorTimings


class FakeClock:
    """Time passes only in sleeps, which return at the loop's next turn."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)
        self.now += seconds


class FakeChild:
    """A child that ends when the test says so."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.terminated = 0

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    async def terminate(self, limit: float) -> None:
        self.terminated += 1
        if not self.ended.done():
            self.ended.set_result(-15)


class Stage:
    """Everything around one supervisor."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.children: list[FakeChild] = []
        self.commands: list[Sequence[str]] = []
        self.environment: Mapping[str, str] = {}
        self.history: list[HostStatus] = []
        self.health: Callable[[], None] = lambda: None
        self.on_spawn: Callable[[FakeChild], None] = lambda _: None
        self.canaries = 0

    async def spawn(self, command: Sequence[str], environment: Mapping[str, str]) -> FakeChild:
        self.commands.append(command)
        self.environment = environment
        child = FakeChild(100 + len(self.children))
        self.children.append(child)
        self.on_spawn(child)
        return child

    async def check(self, canary: bool) -> None:
        self.canaries += canary
        if self.children[-1].ended.done():
            unready()
        self.health()

    def supervisor(self, **timings: float) -> EngineHostSupervisor:
        return EngineHostSupervisor(
            Path("/model"),
            options=("--threads", "2"),
            on_change=self.history.append,
            timings=SupervisorTimings(**timings),
            check=self.check,
            spawn=self.spawn,
            sleep=self.clock.sleep,
            clock=self.clock,
        )

    @property
    def states(self) -> list[HostState]:
        return [status.state for status in self.history]


async def turns(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # any change of the fakes counts
            await asyncio.sleep(0)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def unready() -> None:
    raise Unavailable("not yet")


async def test_a_host_becomes_ready_after_its_canary(stage: Stage) -> None:
    async with stage.supervisor() as supervisor:
        await supervisor.wait_ready(5)
        assert supervisor.status.pid == 100
        assert stage.canaries == 1
    assert stage.states == [HostState.READY, HostState.STOPPED]
    assert stage.children[0].terminated == 1


async def test_the_command_names_the_model_the_socket_and_the_niceness(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PODIUM_API_KEY", "OPENAI_API_KEY", "GITHUB_TOKEN", "DB_PASSWORD"):
        monkeypatch.setenv(name, "s3cret")
    async with stage.supervisor() as supervisor:
        await supervisor.wait_ready(5)
        command = list(stage.commands[0])
        assert command[command.index("--model") + 1] == "/model"
        assert command[command.index("--listen") + 1] == supervisor.address
        assert command[command.index("--nice") + 1] == "10"
        assert command[-2:] == ["--threads", "2"]
        assert len(supervisor.address) < 105
    assert "s3cret" not in stage.environment.values()
    assert "PATH" in stage.environment


async def test_a_host_that_dies_is_restarted_with_growing_waits(stage: Stage) -> None:
    stage.on_spawn = lambda child: child.ended.set_result(1)
    async with stage.supervisor(first_backoff=1.0, max_backoff=5.0, poll_interval=0.1):
        await turns(lambda: len(stage.children) >= 5)
    assert [nap for nap in stage.clock.slept if nap >= 1][:4] == [1.0, 2.0, 5.0, 5.0]
    assert stage.states[:4] == [HostState.RESTARTING, HostState.RESTARTING, HostState.FAILED, HostState.FAILED]
    assert stage.history[0].last_error == "it ended with status 1"


async def test_a_failed_host_that_recovers_is_ready_again(stage: Stage) -> None:
    stage.on_spawn = lambda child: None if len(stage.children) > 4 else child.ended.set_result(-9)
    async with stage.supervisor() as supervisor:
        await turns(lambda: supervisor.status.state is HostState.READY)
        assert supervisor.status.restarts == 4
    assert HostState.FAILED in stage.states
    assert "signal 9" in stage.history[0].last_error


async def test_a_misconfigured_host_is_failed_at_once(stage: Stage) -> None:
    stage.on_spawn = lambda child: child.ended.set_result(2)
    async with stage.supervisor() as supervisor:
        with pytest.raises(Unavailable, match="as configured"):
            await supervisor.wait_ready(5)
        assert supervisor.status.state is HostState.FAILED


async def test_a_host_that_never_gets_ready_is_replaced(stage: Stage) -> None:
    stage.health = unready
    async with stage.supervisor(start_limit=3.0, poll_interval=1.0):
        await turns(lambda: len(stage.children) >= 2)
    assert stage.history[0].last_error == "it did not become ready in time"
    assert stage.children[0].terminated == 1


async def test_one_missed_check_is_forgiven_three_in_a_row_are_not(stage: Stage) -> None:
    answers = iter([True, True, False, True, False, False, True, False, False, False])

    def health() -> None:
        if not next(answers, True):
            unready()

    stage.health = health
    async with stage.supervisor() as supervisor:
        await turns(lambda: supervisor.status.restarts == 1)
    assert stage.children[0].terminated == 1
    assert next(status for status in stage.history if status.restarts).last_error == "it stopped answering"


async def test_long_service_wipes_out_earlier_failures(stage: Stage) -> None:
    def on_spawn(child: FakeChild) -> None:
        if len(stage.children) <= 2:
            child.ended.set_result(1)

    stage.on_spawn = on_spawn
    async with stage.supervisor(first_backoff=1.0, stable_after=60.0, health_interval=30.0) as supervisor:
        await turns(lambda: supervisor.status.state is HostState.READY)
        started = stage.clock.now
        await turns(lambda: stage.clock.now > started + 100)
        stage.children[-1].ended.set_result(-11)
        await turns(lambda: len(stage.children) == 4)
    assert [nap for nap in stage.clock.slept if nap in (1.0, 2.0, 4.0)] == [1.0, 2.0, 1.0]


async def test_leaving_while_the_host_starts_ends_it(stage: Stage) -> None:
    stage.health = unready
    async with stage.supervisor() as supervisor:
        await turns(lambda: bool(stage.children))
        folder = Path(supervisor.address.removeprefix("unix:")).parent
        assert folder.is_dir()
    assert stage.children[0].terminated == 1
    assert not folder.exists()
    with pytest.raises(FailedPrecondition):
        _ = EngineHostSupervisor(Path("/model")).address


async def test_waiting_for_a_slow_host_is_bounded(stage: Stage) -> None:
    stage.health = unready
    async with stage.supervisor(start_limit=1e9) as supervisor:
        with pytest.raises(Unavailable, match="still loading"):
            await supervisor.wait_ready(0.05)


async def test_a_folder_of_a_dead_server_is_swept(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    stale = Path("/tmp/podium-engine-4194305-test")  # no process id is this large
    stale.mkdir(exist_ok=True)  # noqa: ASYNC240  # a test may block
    async with stage.supervisor() as supervisor:
        await supervisor.wait_ready(5)
        assert supervisor.address.startswith("unix:/tmp/")
    assert not stale.exists()  # noqa: ASYNC240  # likewise
