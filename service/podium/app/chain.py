"""Wires the interceptor chain: every concern, in order, with the settings' values."""

from __future__ import annotations

from podium.errors import FailedPrecondition
from podium.ids import Ids
from podium.interceptors.call import MethodClass, current_call
from podium.interceptors.chain import Chain
from podium.interceptors.drain import DrainState
from podium.interceptors.policies import default_policies
from podium.interceptors.rate_limit import RateLimits
from podium.interceptors.standard import standard_chain
from podium.observability.logging import LogPipeline
from podium.observability.metrics import BreakerMetrics, BreakerState, Metrics
from podium.orchestration.orchestrator import Submitter
from podium.resilience.breaker import BreakerPolicy
from podium.resilience.breakers import Breakers
from podium.rpc.caller import Caller
from podium.security.api_keys import ApiKeyAuthenticator
from podium.security.client_certificates import ClientCertificateAuthenticator
from podium.security.key_store import KeyFileError, KeyStore
from podium.security.principal import Authenticator
from podium.settings import Settings

__all__ = ["build_breakers", "build_chain", "current_caller"]


def build_breakers(settings: Settings, metrics: BreakerMetrics) -> Breakers:
    """Return the breakers of models (`model:NAME`) and tools (`tool:NAME`)."""
    breaker = settings.breaker
    return Breakers(
        BreakerPolicy(
            failures=breaker.failure_threshold,
            recovery_seconds=breaker.recovery_seconds,
            successes=breaker.success_threshold,
            call_seconds=breaker.call_timeout_seconds,
        ),
        events=_BreakerEvents(metrics),
    )


def build_chain(
    settings: Settings,
    *,
    ids: Ids,
    metrics: Metrics,
    breakers: Breakers,
    drain: DrainState,
    log: LogPipeline,
) -> Chain:
    """Return the chain with every concern.

    Raises:
        FailedPrecondition: the file with the API keys cannot be used; says what to do.
    """
    limits, deadlines = settings.limits, settings.deadlines
    policies = default_policies(
        run_seconds=deadlines.run_seconds,
        model_seconds=deadlines.generate_seconds,
        open_health=settings.auth.health_open,
        open_reflection=settings.auth.reflection_open,
    )
    return standard_chain(
        policies,
        registry=metrics.registry,
        breakers=breakers,
        drain=drain,
        authenticators=_authenticators(settings),
        required=lambda: credentials_required(settings),
        rate_limits=RateLimits(
            per_minute=limits.requests_per_minute,
            per_hour=limits.requests_per_hour,
            burst=limits.burst,
            global_per_second=limits.global_per_second,
            limit_local=not limits.exempt_local,
        ),
        active_limits=dict.fromkeys((MethodClass.RUN, MethodClass.READ, MethodClass.ADMIN), limits.max_in_flight),
        max_seconds=deadlines.read_seconds,
        redact=log.masker.mask,
        write_line=log.write_line,
        ids=ids,
    )


def credentials_required(settings: Settings) -> bool:
    """Return whether callers must say who they are."""
    return settings.auth.enabled or settings.server.tls_client_ca_file is not None


def current_caller() -> Caller:
    """Return the caller of the call that this task serves, as the chain identified it."""
    call = current_call.get()
    if call is None or call.principal is None:
        raise RuntimeError("a servicer ran outside the interceptor chain")
    principal = call.principal
    submitter = Submitter(
        owner=f"{principal.tenant}/{principal.name}",
        tenant=principal.tenant,
        correlation_id=call.correlation_id,
        admin="admin" in principal.scopes,
    )
    left = None if call.deadline is None else call.deadline - call.task.get_loop().time()
    return Caller(submitter, left)


def _authenticators(settings: Settings) -> list[Authenticator]:
    try:
        found: list[Authenticator] = [ApiKeyAuthenticator(KeyStore(settings.storage.data_dir))]
    except KeyFileError as error:
        raise FailedPrecondition(str(error)) from error
    if settings.server.tls_client_ca_file is not None:
        found.append(ClientCertificateAuthenticator())
    return found


class _BreakerEvents:
    """Shows breakers in the metrics."""

    def __init__(self, metrics: BreakerMetrics) -> None:
        self._metrics = metrics

    def declare(self, breaker: str) -> None:
        """Show a new breaker, closed."""
        self._metrics.declare(breaker)

    def changed(self, breaker: str, state: str) -> None:
        """Show a change."""
        self._metrics.changed(breaker, BreakerState(state))

    def refused(self, breaker: str) -> None:
        """Count a refusal."""
        self._metrics.refused(breaker)
