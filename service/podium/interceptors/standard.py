"""The chain as Podium serves it: every concern, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry

from podium.ids import Ids
from podium.interceptors.access_log import AccessLog
from podium.interceptors.authentication import Authentication
from podium.interceptors.authorisation import Authorisation
from podium.interceptors.call import MethodClass, MethodPolicy
from podium.interceptors.chain import Chain, InitialIds
from podium.interceptors.circuit_breaking import CircuitBreaking
from podium.interceptors.correlation import Correlation
from podium.interceptors.deadline import Deadline
from podium.interceptors.drain import DrainState
from podium.interceptors.error_mapping import ErrorMapping
from podium.interceptors.load_shedding import DEFAULT_LIMITS, LoadShedding
from podium.interceptors.rate_limit import RateLimit, RateLimits
from podium.interceptors.reporting import Reporting
from podium.interceptors.rpc_metrics import RpcMetrics
from podium.interceptors.validation import Validation
from podium.resilience.breakers import Breakers
from podium.security.principal import Authenticator

__all__ = ["standard_chain"]


def _unchanged(text: str) -> str:
    return text


def standard_chain(
    policies: Mapping[str, MethodPolicy],
    *,
    registry: CollectorRegistry,
    breakers: Breakers,
    drain: DrainState,
    authenticators: Sequence[Authenticator] = (),
    required: Callable[[], bool] | None = None,
    rate_limits: RateLimits | None = None,
    active_limits: Mapping[MethodClass, int] = DEFAULT_LIMITS,
    max_seconds: float = 60.0,
    send_seconds: float = 30.0,
    initial_ids: InitialIds = "on demand",
    redact: Callable[[str], str] = _unchanged,
    ids: Ids | None = None,
    write_line: Callable[[bytes], None] | None = None,
) -> Chain:
    """Return the whole chain. What the arguments mean is told by the concerns that take them."""
    return Chain(
        [
            Correlation(ids, redact=redact),
            Reporting(AccessLog(redact=redact, write=write_line), RpcMetrics(registry, policies)),
            ErrorMapping(redact=redact),
            Deadline(max_seconds=max_seconds),
            Authentication(authenticators, required=required),
            Authorisation(),
            RateLimit(rate_limits),
            LoadShedding(drain, limits=active_limits),
            CircuitBreaking(breakers),
            Validation(policies),
        ],
        policies,
        send_seconds=send_seconds,
        initial_ids=initial_ids,
    )
