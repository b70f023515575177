"""A Podium server for `bench_inference`: `InferenceService` as `podium serve` offers it, everything on.

Its one model is either an engine behind an address or an OpenAI-compatible upstream. The chain has API
keys, limits, breakers, validation, metrics and a JSON access log into a file; the limits are so wide
that nothing is refused.
"""

from __future__ import annotations

import argparse
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import uvloop

from bench.child import report_and_wait
from bench.measured_models import engine_model, upstream_model
from podium.app.chain import current_caller
from podium.app.grpc_server import server_options
from podium.inference.catalog import ConfiguredModels
from podium.interceptors import Drain, RateLimits, default_policies, standard_chain
from podium.observability.logging import LogConfig, configure_logging
from podium.observability.metrics import BreakerState, Metrics
from podium.resilience.breakers import Breakers
from podium.resilience.guarded import GuardedModel
from podium.resilience.scheduling import prefer_throughput
from podium.rpc.inference_service import InferenceServicer
from podium.security import ApiKeyAuthenticator, KeyStore
from podium.settings import Settings
from podium.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server

MODEL = "bench"
WIDE = RateLimits(per_minute=60_000_000, per_hour=10**9, burst=10**6, global_per_second=1e6)


async def serve(arguments: argparse.Namespace) -> None:
    prefer_throughput()
    async with AsyncExitStack() as stack:
        stream = stack.enter_context((arguments.directory / "access.log").open("wb", buffering=0))
        log = stack.enter_context(configure_logging(LogConfig(format="json", cache_loggers=True), stream=stream))
        metrics = Metrics.create(version="bench")
        breakers = Breakers(events=_BreakerMetrics(metrics))
        chosen = (
            engine_model(MODEL, arguments.engine) if arguments.engine else upstream_model(MODEL, arguments.upstream)
        )
        model = GuardedModel(await stack.enter_async_context(chosen), breakers, first_output=metrics.models.first_token)
        metrics.models.declare([MODEL])
        chain = standard_chain(
            default_policies(),
            registry=metrics.registry,
            breakers=breakers,
            drain=Drain(),
            authenticators=[ApiKeyAuthenticator(KeyStore(arguments.directory))],
            rate_limits=WIDE,
            redact=log.masker.mask,
            write_line=log.write_line,
        )
        stack.callback(chain.close)
        server = grpc.aio.server(interceptors=[chain], options=server_options(Settings().server))
        models = ConfiguredModels({MODEL: model}, default=MODEL)
        add_InferenceServiceServicer_to_server(InferenceServicer(models, current_caller), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, None)
        await report_and_wait({"address": f"127.0.0.1:{port}"})


class _BreakerMetrics:
    """Shows breakers in the metrics, as the application does."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics.breakers

    def declare(self, breaker: str) -> None:
        self._metrics.declare(breaker)

    def changed(self, breaker: str, state: str) -> None:
        self._metrics.changed(breaker, BreakerState(state))

    def refused(self, breaker: str) -> None:
        self._metrics.refused(breaker)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--engine", metavar="unix:PATH", help="an engine's address")
    what.add_argument("--upstream", metavar="URL", help="base URL of an OpenAI-compatible server")
    parser.add_argument("--directory", type=Path, required=True, help="where keys and the access log are")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
