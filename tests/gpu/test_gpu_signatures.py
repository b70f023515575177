"""What the package looks like (T50): shown, stored if asked, and compared with the fake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpu.conftest import REAL
from podium.engine.tensorrt_llm.signatures import describe, differences
from support.fake_tensorrt_llm import FAKE_PATH


@pytest.fixture(scope="module")
def of_fake() -> dict[str, Any]:
    """The fake's description, from another process: here the real one may be imported."""
    done = subprocess.run(
        [sys.executable, "-m", "podium.engine.tensorrt_llm.signatures"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(FAKE_PATH), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        timeout=50,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_what_we_rely_on_is_there(trt: Any, of_fake: dict[str, Any]) -> None:
    here = describe()
    found = differences(here, of_fake)
    report = {"seen": here, "differences_from_the_fake": found}
    print(json.dumps(report, indent=2))
    if path := os.environ.get("PODIUM_TEST_GPU_REPORT"):
        Path(path).write_text(json.dumps(report, indent=2))
    missing = [name for name, described in here["classes"].items() if described is None]
    assert missing == []
    parameters = here["classes"]["LLM"]["signatures"]["generate_async"]
    assert parameters["()"] == "plain function"
    assert {"inputs", "sampling_params", "streaming", "lora_request", "cache_salt", "trace_headers"} <= set(parameters)
    fields = here["classes"]["SamplingParams"]["fields"]
    assert (fields["max_tokens"], fields["detokenize"]) == ("32", "True")
    assert set(of_fake["classes"]["SamplingParams"]["fields"]) <= set(fields)
    assert here["classes"]["RequestError"]["bases"][0] == "RuntimeError"
    if not REAL:
        assert found == []


def test_differences_are_told() -> None:
    one = {"classes": {"A": {"fields": {"x": "1", "y": "2"}}, "B": None}}
    other = {"classes": {"A": {"fields": {"x": "3"}}, "B": {"fields": {}}}}
    assert differences(one, other) == [
        "A.fields.x: 1 / 3",
        "A.fields.y: only in the first",
        "B: None / {'fields': {}}",
    ]
