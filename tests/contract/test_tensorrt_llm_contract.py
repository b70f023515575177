"""The suite of every `Engine`, run unchanged for the TensorRT-LLM host around the fake package."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from test_engine_contract import (  # noqa: F401  # collected here, with the engine below
    test_a_request_that_cannot_be_served_is_refused,
    test_a_stop_takes_its_log_probability_with_it,
    test_a_stop_token_ends_the_output_and_is_not_part_of_it,
    test_abort_ends_the_generation_as_cancelled,
    test_abort_of_an_unknown_id_is_harmless,
    test_an_id_in_flight_is_refused_and_free_again_afterwards,
    test_deltas_are_never_empty_and_the_last_item_counts_them,
    test_each_token_has_its_log_probability_when_asked_for_where_the_engine_can,
    test_output_is_cut_where_the_context_ends,
    test_probe_describes_the_engine,
    test_requests_run_side_by_side_and_alike,
    test_the_default_is_repeatable,
)

import engine_fixtures
from podium.engine.tensorrt_llm.model import TensorRtModel
from podium.inference.engine import Engine
from podium.inference.engine_client import TrtllmEngine
from unit.engine.tensorrt_llm import trtllm_harness
from unit.engine.tensorrt_llm.trtllm_harness import running_host

short_directory = engine_fixtures.short_directory
trt = trtllm_harness.trt
trt_model = trtllm_harness.trt_model


@pytest.fixture
async def engine(trt: Any, trt_model: TensorRtModel, short_directory: Path) -> AsyncIterator[Engine]:
    # Slow enough that 200 tokens outlast an abort.
    trt.settings.tokens_per_second = 500.0
    async with running_host(trt_model, short_directory) as address, TrtllmEngine(address) as client:
        yield client
    assert trt.calls.misuses == []
