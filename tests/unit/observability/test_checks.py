"""Health: what counts for readiness, what for liveness, and who is told."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime

import pytest

from podium.observability.checks import HealthChecks, HealthReport, Outcome, Status
from podium.observability.logging import configure_logging
from podium.observability.loop_lag import LoopLag

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quiet() -> object:
    with configure_logging(stream=io.BytesIO()) as pipeline:
        yield pipeline


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def checks(clock: Clock) -> HealthChecks:
    return HealthChecks(version="1.2.3", clock=clock, now=lambda: NOW)


async def fine() -> None:
    return None


def test_without_components_the_server_is_ready(checks: HealthChecks) -> None:
    report = checks.report()
    assert (report.status, report.ready, report.live, report.reasons) == (Status.HEALTHY, True, True, ())


def test_a_component_is_not_ready_until_something_is_known(checks: HealthChecks) -> None:
    checks.add("model:m")
    assert checks.report().reasons == ("model:m: not checked yet",)
    checks.set("model:m", Status.HEALTHY)
    assert checks.is_ready()


def test_degraded_still_serves(checks: HealthChecks) -> None:
    checks.add("model:m")
    checks.set("model:m", Status.DEGRADED, "slow")
    report = checks.report()
    assert (report.status, report.ready) == (Status.DEGRADED, True)


def test_what_is_optional_only_degrades(checks: HealthChecks) -> None:
    checks.add("tool:x", optional=True)
    checks.set("tool:x", Status.UNHEALTHY, "gone")
    report = checks.report()
    assert (report.status, report.ready) == (Status.DEGRADED, True)


def test_the_last_error_stays_after_it_has_passed(checks: HealthChecks) -> None:
    checks.add("store")
    checks.set("store", Status.UNHEALTHY, "disk full")
    checks.set("store", Status.HEALTHY, "ignored")
    component = checks.components["store"]
    assert (component.detail, component.last_error, component.checked_at) == ("", "disk full", NOW)


def test_names_are_unique(checks: HealthChecks) -> None:
    checks.add("store")
    with pytest.raises(ValueError, match="already"):
        checks.add("store")


async def test_probes_are_timed_and_their_failures_told_without_internals(checks: HealthChecks, clock: Clock) -> None:
    async def slow() -> Outcome:
        clock.now += 0.25
        return Outcome(Status.DEGRADED, "slow")

    async def broken() -> None:
        raise RuntimeError("password=hunter2 at /srv/secret")

    async def hanging() -> None:
        await asyncio.Event().wait()

    checks.add("slow", slow)
    checks.add("broken", broken)
    checks.add("hanging", hanging, timeout=0.001)
    checks.add("fine", fine)
    report = await checks.check_now()
    by_name = {component.name: component for component in report.components}
    assert (by_name["slow"].status, by_name["slow"].latency_seconds) == (Status.DEGRADED, 0.25)
    assert by_name["broken"].detail == "the check failed (RuntimeError)"
    assert by_name["hanging"].detail == "no answer within 0.001 s"
    assert by_name["fine"].status is Status.HEALTHY
    assert report.reasons == ("broken: the check failed (RuntimeError)", "hanging: no answer within 0.001 s")


async def test_rounds_go_on_in_the_background_and_readers_cause_none(clock: Clock) -> None:
    rounds = 0
    twice = asyncio.Event()

    async def count() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            twice.set()

    checks = HealthChecks(version="1", interval=0.0, clock=clock)
    checks.add("x", count)
    assert rounds == 0
    async with checks:
        async with asyncio.timeout(10):
            await twice.wait()
    seen = rounds
    for _ in range(10):
        checks.report()
    assert rounds == seen


def test_listeners_hear_of_changes_only(checks: HealthChecks) -> None:
    heard: list[HealthReport] = []
    checks.on_change(heard.append)
    checks.add("a")
    checks.set("a", Status.UNHEALTHY, "x")
    checks.set("a", Status.HEALTHY)
    checks.set("a", Status.HEALTHY)
    assert [report.ready for report in heard] == [False, True]


def test_a_draining_server_is_live_and_not_ready(checks: HealthChecks) -> None:
    heard: list[HealthReport] = []
    checks.on_change(heard.append)
    checks.drain()
    report = checks.report()
    assert (report.live, report.ready, report.status) == (True, False, Status.UNHEALTHY)
    assert report.reasons == ("the server is shutting down",)
    assert heard == [report]


async def test_only_a_stuck_loop_is_not_live(clock: Clock) -> None:
    async with LoopLag(interval=1000, clock=clock) as lag:
        checks = HealthChecks(version="1", lag=lag, stuck_after=10, clock=clock)
        checks.add("model")
        checks.set("model", Status.UNHEALTHY, "gone")
        assert checks.is_live()
        clock.now += 11
        assert not checks.is_live()
        assert checks.report().reasons[0] == "the event loop does not turn"


def test_uptime_counts_from_the_start(checks: HealthChecks, clock: Clock) -> None:
    clock.now += 60
    assert checks.report().uptime_seconds == 60


async def test_components_come_and_go_while_the_server_runs(checks: HealthChecks) -> None:
    """A probe that ends after its component was removed brings nothing back."""
    probing, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        probing.set()
        await go_on.wait()

    checks.add("model:a", slow)
    heard: list[bool] = []
    checks.on_change(lambda report: heard.append(report.ready))
    async with asyncio.TaskGroup() as group:
        group.create_task(checks.check_now())
        await probing.wait()
        checks.remove("model:a")
        assert heard == [True]
        go_on.set()
    assert "model:a" not in checks.components
    checks.add("model:a", fine)
    await checks.check_now()
    assert checks.report().components[0].status is Status.HEALTHY


def test_what_is_required_may_change(checks: HealthChecks) -> None:
    checks.add("a")
    assert not checks.is_ready()
    checks.require("a", optional=True)
    assert checks.is_ready()
    checks.require("a", optional=False)
    assert not checks.is_ready()
