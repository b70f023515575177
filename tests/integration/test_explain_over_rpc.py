"""Explain and Simulate over a real server."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from podium.v1 import explanation_pb2 as epb
from podium.v1 import orchestrator_pb2 as pb
from podium.v1 import run_pb2
from support.fakes import scripted
from support.run_server import RunServer, serving_runs
from support.runs import DAG_MS, OVERLAP_MS, dag_tools, dag_turns, overlap_tools, overlap_turns

WAITS = ("turn", "parents", "question", "budget", "cache", "queue", "retry", "work")
WORKLOADS = {
    "overlap": (overlap_tools, overlap_turns, OVERLAP_MS, {"t0", "c0_0", "t1"}),
    "references": (dag_tools, dag_turns, DAG_MS, {"t0", "c0_7", "t1"}),
}


def seconds(span: Any) -> float:
    return float(span.ToNanoseconds()) / 1e9


async def run(server: RunServer, **fields: Any) -> run_pb2.Run:
    spec = run_pb2.RunSpec(input="go", speculation=run_pb2.SPECULATION_OFF, **fields)
    reply: pb.ExecuteResponse = await server.runs.Execute(pb.ExecuteRequest(spec=spec), timeout=20)
    return reply.run


@pytest.mark.parametrize("name", WORKLOADS)
async def test_a_run_is_explained_and_its_plan_predicted(name: str) -> None:
    """Waits add up to each call's time, the critical path is marked, and a plan alone gives the makespan."""
    make_tools, turns, ideal, critical = WORKLOADS[name]
    tools = make_tools()
    async with serving_runs(scripted(*turns()), tools) as server:
        for _ in range(5):
            done = await run(server)
        explained = (await server.runs.ExplainRun(pb.ExplainRunRequest(run_id=done.run_id), timeout=10)).explanation
        wall = seconds(explained.time.wall) * 1e3
        off = []
        for call in explained.calls:
            whole = seconds(call.end_offset) - seconds(call.seal_offset)
            off.append(abs(sum(seconds(getattr(call.waits, wait)) for wait in WAITS) - whole))
        print(f"{name}: wall {wall:.0f} ms, ideal {ideal:.0f}; waits off by at most {max(off) * 1e3:.3f} ms")
        # A busy machine may stop the process between the two readings of a clock.
        assert statistics.median(off) <= 0.001
        assert max(off) <= 0.05
        assert sum(seconds(segment.duration) for segment in explained.critical_path) * 1e3 == pytest.approx(
            wall, abs=0.1
        )
        assert {call.call_id for call in explained.calls if call.critical} >= {
            each for each in critical if each[0] == "c"
        }
        tools.invocations.clear()
        planned = await run(server, plan_only=True)
        asked = pb.SimulateRunRequest(run_id=planned.run_id)
        asked.deadline.FromMilliseconds(round(ideal / 2))
        simulation: epb.Simulation = (await server.runs.SimulateRun(asked, timeout=10)).simulation
        makespan = seconds(simulation.makespan) * 1e3
        print(f"{name}: predicted {makespan:.0f} ms")
        assert makespan == pytest.approx(wall, rel=0.10)
        assert [(verdict.dimension, verdict.kept) for verdict in simulation.verdicts] == [("deadline", False)]
        assert simulation.binds_first == "deadline"
        assert not tools.invocations
