"""What all runs share, as the settings say; and what gives way when memory gets short."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from podium.app.core_parts import build_services, run_policy
from podium.app.memory import watch_memory
from podium.errors import FailedPrecondition
from podium.inference.tool_results import KeptResults
from podium.observability.metrics import Metrics
from podium.orchestration.call_cache import cache_key
from podium.orchestration.chat import Usage
from podium.orchestration.core import Services
from podium.orchestration.events import Exhaustion, Speculation
from podium.orchestration.prices import Price
from podium.orchestration.tool import ToolResult
from podium.resilience.memory import MemoryLevel
from podium.settings import Settings, SettingsError, load_settings
from support.fakes import FakeTools, make_orchestrator, scripted, sleeping, text


def settings(**flags: Any) -> Settings:
    return load_settings(environ={}, flags={name.replace("__", "."): value for name, value in flags.items()}).settings


async def services_of(stack: AsyncExitStack, given: Settings) -> Services:
    return await build_services(
        given, FakeTools(work=sleeping(0)), KeptResults(1000), stack, models_behind=lambda name: (name,)
    )


async def test_settings_become_limits() -> None:
    given = settings(
        governor__tool_parallel=["search=4"],
        governor__tenant_weights=["acme=3", "other=0.5"],
        run__parallel=7,
        run__max_retries=1,
        speculation__mode="off",
        budgets__on_exhausted="ask",
        budgets__tenant_calls_per_day=5,
    )
    async with AsyncExitStack() as stack:
        services = await services_of(stack, given)
        limits = services.governor.limits
        assert (limits.per_run, limits.tools, limits.weights) == (7, {"search": 4}, {"acme": 3.0, "other": 0.5})
        run = services.budgets.for_run(owner="me", tenant="acme")
        assert run.affordable("calls") == 5  # type: ignore[arg-type]
        run.close()
    policy = run_policy(given)
    assert (policy.tool_retries, policy.speculation) == (1, Speculation.OFF)
    assert policy.on_exhausted is Exhaustion.ASK


async def test_prices_are_of_the_models_that_there_are() -> None:
    prices = {"prices.embedded.prompt_micros": 1_000_000, "prices.embedded.completion_micros": 2_000_000}
    given = load_settings(environ={}, flags=prices).settings
    async with AsyncExitStack() as stack:
        table = (await services_of(stack, given)).prices
        assert table.price("embedded", remote=False) == Price(1_000_000, None, 2_000_000)
        assert table.cost_micros("embedded", Usage(prompt_tokens=3, completion_tokens=4)) == 11
    wrong = {name.replace("embedded", "gpt"): value for name, value in prices.items()}
    with pytest.raises(SettingsError, match="prices name models that are not configured: gpt"):
        load_settings(environ={}, flags=wrong)


async def test_a_shared_cache_is_encrypted_or_said_not_to_be() -> None:
    url = {"cache.redis_url": "redis://127.0.0.1:1/0"}
    with pytest.raises(SettingsError, match=r"set storage\.secret_key and storage\.privacy_salt"):
        load_settings(environ={}, flags=url)
    sample = {
        "storage.secret_key": "put the output of openssl rand -base64 32 here",
        "storage.privacy_salt": "0123456789abcdef",
    }
    async with AsyncExitStack() as stack:
        with pytest.raises(FailedPrecondition, match="still the example"):
            await services_of(stack, load_settings(environ={}, flags={**url, **sample}).settings)
        plain = load_settings(environ={}, flags={**url, "storage.encrypt_at_rest": False}).settings
        await services_of(stack, plain)  # that Redis is not there is no reason not to start


async def test_memory_gives_way_in_steps() -> None:
    """Caches and work that nobody waits for first, then new runs; everything comes back."""
    async with AsyncExitStack() as stack:
        given = settings()
        services = await services_of(stack, given)
        spec = FakeTools(work=sleeping(0)).list()[0]

        async def produce() -> ToolResult:
            return ToolResult(result_json=b"1")

        async def fill() -> int:
            for number in range(10):
                await services.cache.run(cache_key("acme", spec, b'{"n": %d}' % number), 60.0, produce)
            return services.cache.stats.entries

        orchestrator = make_orchestrator(scripted({"events": [text("hi")]}), FakeTools(), services=services)
        metrics = Metrics.create(version="0")
        used = 0.0
        watch = watch_memory(given, services, orchestrator, metrics, read=lambda: round(used * watch_limit))
        watch_limit = watch.limit
        assert await fill() == 10
        for share, level, kept, refused in (
            (0.5, MemoryLevel.NORMAL, 10, False),
            (0.85, MemoryLevel.HIGH, 5, False),
            (0.95, MemoryLevel.CRITICAL, 0, True),
            (0.5, MemoryLevel.NORMAL, 0, False),
        ):
            used = share
            assert watch.check() is level
            assert services.cache.stats.entries == kept
            assert metrics.registry.get_sample_value("podium_memory_level") == level
            assert orchestrator.shedding is refused
        await asyncio.sleep(0)
