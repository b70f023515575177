"""The interceptor chain: what happens to every call before and after its handler.

One concern a file, composed once per method by `chain.Chain`. Nothing here knows what a handler
does, and nothing outside gRPC's server side belongs here.
"""

from __future__ import annotations

from podium.interceptors.access_log import AccessLog
from podium.interceptors.authentication import Authentication
from podium.interceptors.authorisation import Authorisation
from podium.interceptors.call import Call, Kind, Method, MethodClass, MethodPolicy, Outcome, current_call
from podium.interceptors.chain import Chain
from podium.interceptors.circuit_breaking import CircuitBreaking
from podium.interceptors.concern import ORDER, Concern, Hooks
from podium.interceptors.correlation import Correlation
from podium.interceptors.deadline import Deadline
from podium.interceptors.drain import Drain, DrainState, draining_error
from podium.interceptors.error_mapping import ErrorMapping
from podium.interceptors.load_shedding import LoadShedding
from podium.interceptors.policies import default_policies
from podium.interceptors.rate_limit import RateLimit, RateLimits
from podium.interceptors.reporting import Reporting
from podium.interceptors.rpc_metrics import RpcMetrics
from podium.interceptors.standard import standard_chain
from podium.interceptors.validation import Validation

__all__ = [
    "ORDER",
    "AccessLog",
    "Authentication",
    "Authorisation",
    "Call",
    "Chain",
    "CircuitBreaking",
    "Concern",
    "Correlation",
    "Deadline",
    "Drain",
    "DrainState",
    "ErrorMapping",
    "Hooks",
    "Kind",
    "LoadShedding",
    "Method",
    "MethodClass",
    "MethodPolicy",
    "Outcome",
    "RateLimit",
    "RateLimits",
    "Reporting",
    "RpcMetrics",
    "Validation",
    "current_call",
    "default_policies",
    "draining_error",
    "standard_chain",
]
