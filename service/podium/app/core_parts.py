"""Builds what all runs of the application share, from its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import stamina.instrumentation

from podium.errors import FailedPrecondition
from podium.observability.core_metrics import CoreFigures
from podium.observability.logging import get_logger
from podium.orchestration.budget import BudgetLimits, Budgets, Dimension, Scope
from podium.orchestration.call_cache import CallCache, SecondTier
from podium.orchestration.core import RunPolicy, Services
from podium.orchestration.events import Exhaustion, Speculation
from podium.orchestration.governor import Governor, GovernorLimits
from podium.orchestration.long_results import LongResults
from podium.orchestration.prediction import Predictor
from podium.orchestration.prediction_ledger import PredictionLedger
from podium.orchestration.prices import Price, PriceTable, UnknownPrice
from podium.orchestration.time_plan import TurnTimes
from podium.orchestration.tool import ToolExecutor
from podium.orchestration.tool_times import ToolTimes
from podium.security.value_cipher import ValueCipher
from podium.settings import Settings

__all__ = ["build_services", "core_figures", "run_policy"]

_log = get_logger("podium.core")
_SAMPLE = "put the output of"
_NEVER_COMPRESS = 1 << 62


async def build_services(
    settings: Settings,
    executor: ToolExecutor,
    long_results: LongResults,
    stack: AsyncExitStack,
    *,
    models_behind: Callable[[str], Sequence[str]],
) -> Services:
    """Return the services; what has an end is closed by `stack`.

    Raises:
        FailedPrecondition: the address of the shared cache cannot be used.
    """
    # Its hooks would log and count retries once more, with what was called in clear.
    stamina.instrumentation.set_on_retry_hooks([])
    return Services(
        executor=executor,
        governor=Governor(_governor_limits(settings)),
        cache=await stack.enter_async_context(await _cache(settings, stack)),
        budgets=_budgets(settings),
        prices=_prices(settings),
        predictor=Predictor(max_tenants=128, max_patterns_per_tenant=1024),  # at most about 100 MB
        ledger=PredictionLedger(max_waste_share=settings.speculation.max_waste_share),
        tool_times=ToolTimes(),
        turn_times=TurnTimes(),
        policy=run_policy(settings),
        long_results=long_results,
        models_behind=models_behind,
    )


def core_figures(services: Services) -> CoreFigures:
    """Return what the services count, for the metrics."""
    governor, cache = services.governor, services.cache.stats
    return CoreFigures(
        slots_taken=governor.in_flight,
        calls_waiting=governor.queued,
        cache_entries=cache.entries,
        cache_bytes=cache.bytes,
        cache_hits=cache.hits,
        cache_misses=cache.misses,
        cache_joins=cache.joins,
        cache_evictions=cache.evictions,
        budget_overshoots=services.budgets.overshoots,
    )


def run_policy(settings: Settings) -> RunPolicy:
    """Return how runs are led, as set."""
    run, speculation, budgets = settings.run, settings.speculation, settings.budgets
    return RunPolicy(
        max_calls=run.max_calls,
        max_turns=run.max_turns,
        max_tokens=run.max_tokens,
        max_cost_micros=budgets.run_cost_micros,
        tool_retries=run.max_retries,
        max_each=run.max_each,
        max_repeats=run.max_repeats,
        speculation=Speculation(speculation.mode.upper()),
        min_confidence=speculation.min_confidence,
        max_predictions=speculation.max_per_run,
        cache_ttl_seconds=settings.cache.ttl_seconds,
        on_exhausted=Exhaustion(budgets.on_exhausted.upper()),
        question_seconds=run.question_seconds,
    )


def _governor_limits(settings: Settings) -> GovernorLimits:
    run, governor = settings.run, settings.governor
    return GovernorLimits(
        per_process=run.parallel_process,
        per_run=run.parallel,
        per_type=run.parallel_type,
        per_tenant=governor.tenant_parallel,
        tools={name: int(number) for name, _, number in (item.partition("=") for item in governor.tool_parallel)},
        weights={name: float(number) for name, _, number in (item.partition("=") for item in governor.tenant_weights)},
        max_queued=governor.max_queued,
        max_queued_run=governor.max_queued_run,
        adaptive=governor.adaptive,
    )


async def _cache(settings: Settings, stack: AsyncExitStack) -> CallCache:
    cache = settings.cache
    tier: SecondTier | None = None
    if cache.redis_url is not None:
        try:
            from podium.store.redis_cache import RedisCacheTier  # noqa: PLC0415  its library is an extra
        except ImportError as error:
            raise FailedPrecondition("cache.redis_url needs the redis extra: pip install 'podium[redis]'") from error
        try:
            tier = redis = RedisCacheTier(cache.redis_url.get_secret_value(), cipher=_cipher(settings))
        except ValueError as error:
            raise FailedPrecondition(f"cache.redis_url cannot be used: {error}") from error
        stack.push_async_callback(redis.aclose)
    return CallCache(
        max_entries=cache.max_entries,
        max_bytes=cache.max_bytes,
        compress_over=1024 if cache.compress else _NEVER_COMPRESS,
        tier=tier,
    )


def _cipher(settings: Settings) -> ValueCipher | None:
    storage = settings.storage
    if not storage.encrypt_at_rest or storage.secret_key is None or storage.privacy_salt is None:
        return None
    secret, salt = storage.secret_key.get_secret_value(), storage.privacy_salt.get_secret_value()
    if secret.startswith(_SAMPLE) or salt.startswith(_SAMPLE):
        raise FailedPrecondition("storage.secret_key or storage.privacy_salt is still the example; set your own")
    return ValueCipher(secret, salt=salt)


def _budgets(settings: Settings) -> Budgets:
    budgets = settings.budgets

    def limits(whose: str) -> BudgetLimits:
        names = BudgetLimits.__dataclass_fields__
        return BudgetLimits(**{name: getattr(budgets, f"{whose}_{name}") for name in names})

    return Budgets(principal=limits("principal"), tenant=limits("tenant"), enforce=budgets.enforce, on_alert=_alert)


def _alert(scope: Scope, dimension: Dimension, share: float) -> None:
    _log.warning("a budget is nearly used up", scope=scope.value, dimension=dimension.value, share=round(share, 3))


def _prices(settings: Settings) -> PriceTable:
    budgets = settings.budgets
    unknown = UnknownPrice(budgets.unknown_price)
    ceiling = Price(budgets.ceiling_prompt_micros, None, budgets.ceiling_completion_micros)
    return PriceTable(
        {
            name: Price(table.prompt_micros, table.cached_micros, table.completion_micros)
            for name, table in settings.prices.items()
        },
        unknown=unknown,
        ceiling=ceiling if unknown is UnknownPrice.CEILING else None,
        setting="prices.NAME",
    )
