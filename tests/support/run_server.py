"""The run services behind the standard chain on a real port, around fake tools and models."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from prometheus_client import CollectorRegistry

from podium.app.chain import current_caller
from podium.ids import Ids
from podium.interceptors import Drain, default_policies, standard_chain
from podium.orchestration.chat import ChatModel
from podium.orchestration.core import Services
from podium.orchestration.orchestrator import Orchestrator, OrchestratorLimits
from podium.resilience.breakers import Breakers
from podium.rpc.clarification_service import ClarificationServicer
from podium.rpc.orchestrator_service import OrchestratorServicer
from podium.store.memory import MemoryRunStore
from podium.v1.clarification_pb2_grpc import ClarificationServiceStub, add_ClarificationServiceServicer_to_server
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceStub, add_OrchestratorServiceServicer_to_server
from support.fakes import FakeModels, FakeTools, loop_time, make_services

__all__ = ["RunServer", "serving_runs"]


@dataclass(frozen=True, slots=True)
class RunServer:
    """A running server and the stubs of its services."""

    address: str
    runs: Any
    questions: Any
    orchestrator: Orchestrator


@asynccontextmanager
async def serving_runs(
    model: ChatModel, tools: FakeTools, *, services: Services | None = None, **parts: Any
) -> AsyncIterator[RunServer]:
    """Serve runs; `parts` are for `make_services`."""
    orchestrator = Orchestrator(
        models=FakeModels(model),
        tools=tools,
        services=services or make_services(tools, **parts),
        store=MemoryRunStore(),
        new_run_id=Ids().run_id,
        limits=OrchestratorLimits(),
        clock=loop_time,
        clock_ns=time.time_ns,
    )
    chain = standard_chain(
        default_policies(),
        registry=CollectorRegistry(),
        breakers=Breakers(),
        drain=Drain(),
        write_line=lambda _line: None,
    )
    server = grpc.aio.server(interceptors=[chain])
    add_OrchestratorServiceServicer_to_server(OrchestratorServicer(orchestrator, current_caller), server)
    add_ClarificationServiceServicer_to_server(ClarificationServicer(orchestrator, current_caller), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    async with orchestrator:
        await server.start()
        async with grpc.aio.insecure_channel(address) as channel:
            try:
                runs, questions = OrchestratorServiceStub(channel), ClarificationServiceStub(channel)
                yield RunServer(address, runs, questions, orchestrator)
            finally:
                chain.close()
                await server.stop(None)
