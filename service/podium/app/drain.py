"""The graceful end of the service."""

from __future__ import annotations

import asyncio

import grpc.aio

from podium.interceptors.chain import Chain
from podium.interceptors.drain import Drain, draining_error
from podium.observability.checks import HealthChecks
from podium.observability.logging import get_logger
from podium.rpc.standard_health import ServingBoard

__all__ = ["drain"]

_log = get_logger("podium.drain")

# What a call that we end still needs to send its status and clean up.
_LAST_WORDS_SECONDS = 5.0


async def drain(
    *,
    board: ServingBoard,
    checks: HealthChecks,
    draining: Drain,
    chain: Chain,
    server: grpc.aio.Server,
    seconds: float,
    force: asyncio.Event,
) -> bool:
    """End the service: health first, then no new calls, then the calls in progress, the server last.

    Calls in progress may go on for `seconds`; then those that are left end with UNAVAILABLE and
    RetryInfo. Setting `force` ends them at once.

    Returns:
        Whether every call ended by itself.
    """
    checks.drain()
    board.close()
    draining.draining = True
    _log.info("draining", calls=chain.active, seconds=seconds)
    idle = asyncio.ensure_future(chain.wait_idle())
    forced = asyncio.ensure_future(force.wait())
    try:
        await asyncio.wait((idle, forced), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        by_themselves = idle.done()
        if not by_themselves:
            ended = chain.end_active(draining_error(draining.retry_after))
            _log.warning("ended calls that were still going on", calls=ended, forced=force.is_set())
            await asyncio.wait((idle,), timeout=0.5 if force.is_set() else _LAST_WORDS_SECONDS)
    finally:
        idle.cancel()
        forced.cancel()
        await asyncio.gather(idle, forced, return_exceptions=True)
    await server.stop(1.0)
    _log.info("drained", by_themselves=by_themselves)
    return by_themselves
