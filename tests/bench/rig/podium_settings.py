"""The settings with which Podium is measured: one model, the upstream; every bound so wide that it never binds."""

from __future__ import annotations

from pathlib import Path

from bench.rig.upstream import MODEL as UPSTREAM_MODEL

__all__ = ["MODEL", "TOOLS_MODULE", "flags"]

MODEL = "bench"
TOOLS_MODULE = "bench.rig.podium_tools"
_LONG = 3600


def flags(base_url: str, directory: Path) -> dict[str, object]:
    """Return the settings by dotted path."""
    return {
        "server.listen": "127.0.0.1:0",
        "ops.enabled": False,
        "auth.enabled": True,
        "storage.data_dir": directory,
        "tools.workspace": directory,
        "tools.python": [TOOLS_MODULE],
        "log.level": "WARNING",
        "limits.global_per_second": 1_000_000,
        "limits.requests_per_minute": 10_000_000,
        "limits.requests_per_hour": 100_000_000,
        "limits.burst": 1_000_000,
        "limits.max_in_flight": 100_000,
        # A tool that fails in every round is what E6 is about; it must go on being asked.
        "breaker.failure_threshold": 1000,
        "breaker.call_timeout_seconds": _LONG,
        "deadlines.run_seconds": _LONG,
        "deadlines.llm_seconds": _LONG,
        # The scripts are the same in every round, so that predictions would always be right.
        "speculation.mode": "off",
        "run.parallel": 10_000,
        "run.parallel_process": 100_000,
        "run.parallel_type": 10_000,
        "run.max_active": 100_000,
        "run.max_turns": 1000,
        "run.max_calls": 10_000,
        "run.max_tokens": 1_000_000,
        f"models.{MODEL}.kind": "openai",
        f"models.{MODEL}.model": UPSTREAM_MODEL,
        f"models.{MODEL}.base_url": base_url,
    }
